// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the tests of a table and prints TAP.  Each test starts from the same
 * seed, whatever ran before it: a failure can be repeated alone.
 */
#include "unit.h"

#include <linux/bitmap.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

unsigned long unit_words_searched;

static jmp_buf unit_end;
static unsigned int unit_warnings;
static char unit_last_warning[256];
static u64 unit_state;

void unit_fail(const char *file, int line, const char *fmt, ...)
{
	const char *name = strrchr(file, '/');
	va_list args;

	printf("# %s:%d: ", name ? name + 1 : file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	longjmp(unit_end, 1);
}

void unit_warn(const char *file, int line, const char *condition)
{
	unit_warnings++;
	snprintf(unit_last_warning, sizeof(unit_last_warning), "%s:%d: %s", file, line,
		 condition);
}

void unit_expect_warnings(unsigned int nr)
{
	unsigned int got = unit_warnings;

	unit_warnings = 0;
	if (got != nr)
		unit_fail(__FILE__, __LINE__, "%u warnings, not %u; the last: %s", got, nr,
			  got ? unit_last_warning : "none");
}

/* splitmix64 */
static u64 unit_next(void)
{
	u64 z = unit_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

u32 unit_random(u32 bound)
{
	return unit_next() % bound;
}

bool unit_chance(u32 one_in)
{
	return !unit_random(one_in);
}

static bool unit_run(const struct unit_test *test, u64 seed)
{
	unit_state = seed;
	unit_warnings = 0;
	if (setjmp(unit_end))
		return false;
	test->run();
	unit_expect_warnings(0);
	return true;
}

int unit_main(const struct unit_test *tests, unsigned int nr)
{
	const char *said = getenv("SEED");
	u64 seed = said && *said ? strtoull(said, NULL, 0) : (u64)time(NULL);
	unsigned int i, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%u\n# SEED=%llu\n", nr, seed);
	for (i = 0; i < nr; i++) {
		bool ok = unit_run(&tests[i], seed);

		if (!ok)
			printf("# to repeat: SEED=%llu\n", seed);
		printf("%sok %u - %s\n", ok ? "" : "not ", i + 1, tests[i].name);
		failed += !ok;
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
