/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A unit test is a table of functions.  Each prints one TAP line; a check that
 * does not hold ends its function, not the program.
 */
#ifndef UNIT_H
#define UNIT_H

#include <linux/types.h>

struct unit_test {
	const char *name;
	void (*run)(void);
};

/* Runs all tests of @tests; returns main()'s status. */
int unit_main(const struct unit_test *tests, unsigned int nr);

void unit_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((__noreturn__, __format__(__printf__, 3, 4)));

#define CHECK(condition) do { \
	if (!(condition)) \
		unit_fail(__FILE__, __LINE__, "%s", #condition); \
} while (0)

#define CHECK_EQ(got, expected) do { \
	long long __got = (got), __expected = (expected); \
	if (__got != __expected) \
		unit_fail(__FILE__, __LINE__, "%s is %lld, not %s = %lld", #got, __got, \
			  #expected, __expected); \
} while (0)

/* The running test caused @nr warnings on purpose since the last call. */
void unit_expect_warnings(unsigned int nr);

/* Numbers that SEED= repeats: below @bound, and true in one of @one_in cases. */
u32 unit_random(u32 bound);
bool unit_chance(u32 one_in);

#endif
