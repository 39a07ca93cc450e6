/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How an assumption about the kernel is written down as a test.
 *
 *	CONTRACT(id, "what the kernel does", "what vmlab would do wrong if it did not")
 *	{
 *		int fd = object(CT_FLAGS);
 *		...
 *		REQUIRE(condition);
 *	}
 *
 * Owns the frame in which tests run: main.c finds them by themselves, in the order of files
 * and lines, and runs each in a process of its own that is killed after a while.  A test ends
 * at the first thing that is not as it should be; what it leaves open goes with it.
 */
#ifndef CONTRACT_TEST_H
#define CONTRACT_TEST_H

#include "vmlab_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "contract.h"

struct contract {
	const char *file;
	int line;
	const char *name;
	const char *otherwise;
	void (*run)(void);
};

/* Where the linker puts them all. */
extern const struct contract *__start_contracts[], *__stop_contracts[];

#define CONTRACT(id, what, wrong)						\
	static void id(void);							\
	static const struct contract contract_##id = {				\
		.file = __FILE__, .line = __LINE__, .name = what,		\
		.otherwise = wrong, .run = id,					\
	};									\
	static const struct contract *contract_of_##id				\
		__attribute__((used, section("contracts"))) = &contract_##id;	\
	static void id(void)

#define STATUS_SKIP 4
#define STATUS_WARNED 5		/* passed, and the kernel log must have a warning of it */

#define REQUIRE(condition) do {							\
	if (!(condition)) {							\
		note("%s:%d: not true: %s (errno %d)", __FILE__, __LINE__,	\
		     #condition, errno);					\
		_exit(1);							\
	}									\
} while (0)

#define EQUAL(wanted, found) do {						\
	long long wanted_ = (wanted), found_ = (found);				\
										\
	if (wanted_ != found_) {						\
		note("%s:%d: %s is %lld, not %lld", __FILE__, __LINE__, #found,	\
		     found_, wanted_);						\
		_exit(1);							\
	}									\
} while (0)

/* The call fails, and this way. */
#define FAILS(error, call) do {							\
	long long result_;							\
										\
	errno = 0;								\
	result_ = (long long)(call);						\
	if (result_ != -1 || errno != (error)) {				\
		note("%s:%d: %s: result %lld, errno %d, not %s", __FILE__,	\
		     __LINE__, #call, result_, errno, #error);			\
		_exit(1);							\
	}									\
} while (0)

/* Where a process of a test leaves the reason for main.c. */
extern char *skip_reason;
#define SKIP_REASON_SIZE 256

#define SKIP(...) do {								\
	snprintf(skip_reason, SKIP_REASON_SIZE, __VA_ARGS__);			\
	_exit(STATUS_SKIP);							\
} while (0)

/* object.c: the device; each call ends the test when it fails, unless it says so */
int object(unsigned int flags);
void setup(int fd, unsigned int flags);
void reset(int fd);
struct ct_events events(int fd);
char *shared_map(int fd, unsigned int first, unsigned int pages);
char *private_map(int fd, unsigned int first, unsigned int pages);
char *chunk_map(int fd);
struct ct_entry look(int fd, const void *address);
unsigned int present_ptes(int fd, const char *map, unsigned int pages);
void set_ptes(int fd, char *map, unsigned int pages, unsigned int flags);
int change(int fd, unsigned int first, unsigned int pages, unsigned int flags,
	   unsigned int zap);
void zap(int fd, char *map, unsigned int pages);
int zap_all(int fd, unsigned int first, unsigned int pages);
int tables(int fd, char *map, unsigned int pages);
int vmas(int fd, unsigned int first, unsigned int pages);
int retire(int fd, char *map);
char *address_space(size_t bytes);
const char *word_after(const char *path, const char *start);
void child_ok(pid_t pid);
void run_child(int (*body)(void *arg), void *arg);

/* spin.c: a thread on another CPU that stores to pages, round after round */
struct spinner;
struct spinner *spin(char *map, unsigned int pages);
struct spinner *spin_stale(int fd, char *map, unsigned int first, unsigned int pages);
void spin_rounds(struct spinner *spinner, unsigned int rounds);
void spin_stop(struct spinner *spinner);

#endif /* CONTRACT_TEST_H */
