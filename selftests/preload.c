// SPDX-License-Identifier: GPL-2.0
/*
 * libvmlab-preload.so: the calls of an unmodified program, on memory of vmlab and,
 * by system calls that the library does not see, on ordinary memory.  What both
 * return and hold must be the same.  The program starts itself anew with the library
 * in front of it; a test must never pass when nothing came from vmlab.
 *
 * vmlab-test: timeout=400
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define RW	(PROT_READ | PROT_WRITE)

/* Smallest mapping that comes from vmlab here, in pages. */
#define MIN_PAGES 4

static char *map(size_t pages)
{
	void *at = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

static bool mapped(const char *at)
{
	unsigned char vec;

	return !syscall(SYS_mincore, at, PAGE, &vec);
}

/* An error is expected. */
#define CHECK_ERRNO(call, number) do {	\
	errno = 0;			\
	CHECK((long)(call) == -1);	\
	CHECK(errno == (number));	\
} while (0)

static int inside_map(void)
{
	char *at = map(64), *other;

	CHECK(preload_maps(at));
	CHECK(!pages_not_zero(at, 64));
	pages_fill(at, 1, 0, 64, 1);
	/* A hole in the middle; what is mapped there again is new. */
	CHECK(!munmap(at + 16 * PAGE, 16 * PAGE));
	CHECK(try_load(at + 20 * PAGE, NULL) == SIGSEGV);
	CHECK(!pages_wrong(at, 1, 0, 16, 1));
	CHECK(!pages_wrong(at + 32 * PAGE, 1, 32, 32, 1));
	other = mmap(at + 16 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(other == at + 16 * PAGE && preload_maps(other));
	CHECK(!pages_not_zero(other, 16));
	CHECK_ERRNO(mmap(at + 8 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	CHECK(!pages_wrong(at, 1, 0, 16, 1));
	/* Ours over ours, ordinary memory over ours, ours over ordinary memory. */
	CHECK(mmap(at + 8 * PAGE, 16 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at + 8 * PAGE);
	CHECK(!pages_wrong(at, 1, 0, 8, 1) && !pages_not_zero(at + 8 * PAGE, 24));
	CHECK(mmap(at, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == at);
	CHECK(!preload_maps(at) && preload_maps(at + 2 * PAGE) && !pages_not_zero(at, 2));
	CHECK(mmap(at, 64 * PAGE, PROT_READ, ANON | MAP_FIXED | MAP_NORESERVE, -1, 0) == at);
	CHECK(preload_maps(at) && !pages_not_zero(at, 64));
	CHECK(try_store(at, 1) == SIGSEGV);
	CHECK(!munmap(at, 64 * PAGE));
	/* Errors are those of ordinary memory. */
	CHECK_ERRNO(mmap(NULL, 0, RW, ANON, -1, 0), EINVAL);
	CHECK_ERRNO(mmap((void *)0x1001, 64 * PAGE, RW, ANON | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, 1UL << 63, RW, ANON, -1, 0), ENOMEM);
	CHECK_ERRNO(munmap(at, 0), EINVAL);
	CHECK_ERRNO(munmap(at + 1, PAGE), EINVAL);
	/* What stays ordinary memory. */
	at = mmap(NULL, (MIN_PAGES - 1) * PAGE, RW, ANON, -1, 0);
	CHECK(at != MAP_FAILED && !preload_maps(at));
	at = mmap(NULL, 64 * PAGE, RW, ANON | MAP_STACK, -1, 0);
	CHECK(at != MAP_FAILED && !preload_maps(at));
	at = mmap(NULL, 64 * PAGE, RW, ANON | MAP_32BIT, -1, 0);
	CHECK(at != MAP_FAILED && !preload_maps(at) && (uint64_t)at < 1UL << 32);
	at = mmap(NULL, 64 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED && !preload_maps(at));
	at = mmap(NULL, 64 * PAGE, RW | PROT_EXEC, ANON, -1, 0);
	CHECK(at != MAP_FAILED && !preload_maps(at));
	return 0;
}

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif

/* What hugetlbfs would give, where it had any. */
static int inside_hugetlb(void)
{
	uint32_t words[2 * LEAF_PAGES];
	char *at = mmap(NULL, 2 * LEAF_BYTES, RW, ANON | MAP_HUGETLB, -1, 0);
	size_t i;
	int fd;

	CHECK(at != MAP_FAILED && preload_maps(at) && !((uintptr_t)at % LEAF_BYTES));
	fd = open("/dev/vmlab", O_RDWR | O_CLOEXEC);
	CHECK(!address_residency(fd, at, 2 * LEAF_PAGES, words));
	for (i = 0; i < 2 * LEAF_PAGES; i++)
		CHECK(words[i] & VMLAB_RES_HUGE && words[i] & VMLAB_RES_RESERVED);
	CHECK(!pages_not_zero(at, 2 * LEAF_PAGES));
	pages_fill(at, 3, 0, 2 * LEAF_PAGES, 1);
	CHECK(!pages_wrong(at, 3, 0, 2 * LEAF_PAGES, 1));
	CHECK(!munmap(at, 2 * LEAF_BYTES));
	at = mmap(NULL, LEAF_BYTES, RW, ANON | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
	CHECK(at != MAP_FAILED && preload_maps(at));
	CHECK(!munmap(at, LEAF_BYTES));
	/* More than there is: as on the kernel's own, which has none here. */
	CHECK_ERRNO(mmap(NULL, TIB, RW, ANON | MAP_HUGETLB, -1, 0), ENOMEM);
	close(fd);
	return 0;
}

/* A reservation, taken into use piece by piece; and code, for which ours will not do. */
static int inside_protect(void)
{
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	char *at = mmap(NULL, TIB, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	size_t i;

	CHECK(at != MAP_FAILED && preload_maps(at));
	for (i = 0; i < 32; i++) {
		char *piece = at + i * 4096 * PAGE;

		CHECK(try_load(piece, NULL) == SIGSEGV);
		CHECK(!mprotect(piece, 8 * PAGE, RW));
		CHECK(!pages_not_zero(piece, 8));
		pages_fill(piece, 2, i * 8, 8, 1);
		CHECK(try_load(piece + 8 * PAGE, NULL) == SIGSEGV);
	}
	for (i = 0; i < 32; i++) {
		char *piece = at + i * 4096 * PAGE;

		CHECK(!mprotect(piece, 4 * PAGE, PROT_READ));
		CHECK(try_store(piece, 1) == SIGSEGV);
		CHECK(!mprotect(piece, 8 * PAGE, RW));
		CHECK(!pages_wrong(piece, 2, i * 8, 8, 1));
		CHECK(!try_store(piece, *piece));
		CHECK(!mprotect(piece, 8 * PAGE, PROT_NONE));
		CHECK(try_load(piece, NULL) == SIGSEGV);
	}
	CHECK_ERRNO(mprotect(at + 1, PAGE, RW), EINVAL);
	CHECK(!munmap(at + 4096 * PAGE, PAGE));
	CHECK_ERRNO(mprotect(at + 4095 * PAGE, 3 * PAGE, PROT_READ), ENOMEM);
	CHECK(!try_load(at + 4095 * PAGE, NULL));
	CHECK(!munmap(at, TIB));

	at = map(16);
	memcpy(at + 8 * PAGE, code, sizeof(code));
	CHECK(!mprotect(at + 8 * PAGE, PAGE, PROT_READ | PROT_EXEC));
	CHECK(((int (*)(void))(at + 8 * PAGE))() == 42);
	return 0;
}

static int inside_remap(void)
{
	char *at = map(32), *to, *fence;
	size_t i;

	pages_fill(at, 3, 0, 32, 1);
	/* Shrink, and grow again where nothing is behind it. */
	CHECK(mremap(at, 32 * PAGE, 16 * PAGE, 0) == at);
	CHECK(!mapped(at + 16 * PAGE));
	to = mremap(at, 16 * PAGE, 24 * PAGE, 0);
	CHECK(to == at && preload_maps(at + 16 * PAGE));
	CHECK(!pages_wrong(at, 3, 0, 16, 1) && !pages_not_zero(at + 16 * PAGE, 8));
	pages_fill(at + 16 * PAGE, 3, 16, 8, 1);
	/* In two pieces now, which move as one. */
	fence = mmap(at + 24 * PAGE, PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(fence == at + 24 * PAGE);
	CHECK_ERRNO(mremap(at, 24 * PAGE, 32 * PAGE, 0), ENOMEM);
	CHECK(!pages_wrong(at, 3, 0, 24, 1));
	to = mremap(at, 24 * PAGE, 2000 * PAGE, MREMAP_MAYMOVE);
	CHECK(to != MAP_FAILED && to != at && !mapped(at));
	CHECK(!pages_wrong(to, 3, 0, 24, 1) && !pages_not_zero(to + 24 * PAGE, 1976));
	/* To a place of the caller's, over something that is ours. */
	at = map(64);
	memset(at, 0xee, 64 * PAGE);
	CHECK(mremap(to, 24 * PAGE, 48 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at);
	CHECK(!pages_wrong(at, 3, 0, 24, 1) && !pages_not_zero(at + 24 * PAGE, 24));
	CHECK(at[48 * PAGE] == (char)0xee && !mapped(to));
	CHECK(!pages_not_zero(to + 24 * PAGE, 1976));
	CHECK_ERRNO(mremap(at, 48 * PAGE, 48 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   at + 8 * PAGE), EINVAL);
	CHECK_ERRNO(mremap(at, 0, 48 * PAGE, MREMAP_MAYMOVE), EINVAL);
	CHECK_ERRNO(mremap(at, PAGE, 0, MREMAP_MAYMOVE), EINVAL);
	CHECK_ERRNO(mremap(at, PAGE, 2 * PAGE, 64), EINVAL);
	CHECK(!mprotect(at, 8 * PAGE, PROT_READ));
	CHECK_ERRNO(mremap(at, 16 * PAGE, 64 * PAGE, MREMAP_MAYMOVE), EFAULT);
	CHECK(!pages_wrong(at, 3, 0, 24, 1));
	/* As realloc() does, and every step is one more piece for the kernel. */
	at = map(MIN_PAGES);
	pages_fill(at, 4, 0, MIN_PAGES, 1);
	for (i = MIN_PAGES; i < 200; i += 4) {
		at = mremap(at, i * PAGE, (i + 4) * PAGE, MREMAP_MAYMOVE);
		CHECK(at != MAP_FAILED);
		CHECK(!pages_not_zero(at + i * PAGE, 4));
		pages_fill(at + i * PAGE, 4, i, 4, 1);
	}
	CHECK(!pages_wrong(at, 4, 0, 200, 1));
	/* The old place stays, and is empty. */
	to = mremap(at, 200 * PAGE, 200 * PAGE, MREMAP_MAYMOVE | 4 /* DONTUNMAP */, NULL);
	CHECK(to != MAP_FAILED && to != at);
	CHECK(!pages_wrong(to, 4, 0, 200, 1) && !pages_not_zero(at, 200));
	return 0;
}

static int wiped_child(void *at)
{
	return pages_not_zero(at, 8) ? 1 : 0;
}

static int gone_child(void *at)
{
	return mapped(at) ? 1 : 0;
}

static int inside_advise(void)
{
	char *at = map(64), *ordinary;
	unsigned char vec[64];
	size_t i;

	pages_fill(at, 5, 0, 64, 1);
	CHECK(!madvise(at + 8 * PAGE, 8 * PAGE, MADV_DONTNEED));
	CHECK(!pages_not_zero(at + 8 * PAGE, 8) && !pages_wrong(at, 5, 0, 8, 1));
	CHECK(!madvise(at + 16 * PAGE, 8 * PAGE, MADV_FREE));
	CHECK(!pages_not_zero(at + 16 * PAGE, 8) && !pages_wrong(at + 24 * PAGE, 5, 24, 40, 1));
	CHECK(!posix_madvise(at + 24 * PAGE, 8 * PAGE, POSIX_MADV_DONTNEED));
	for (i = 0; i < 64; i++)
		CHECK(!madvise(at + i * PAGE, PAGE, i % 2 ? MADV_COLD : MADV_PAGEOUT));
	CHECK(!pages_wrong(at + 24 * PAGE, 5, 24, 40, 1));
	CHECK(!madvise(at, 64 * PAGE, MADV_WILLNEED));
	CHECK(!posix_madvise(at, 64 * PAGE, POSIX_MADV_SEQUENTIAL));
	CHECK(!madvise(at, 64 * PAGE, MADV_HUGEPAGE) || errno == EINVAL);
	CHECK(!madvise(at, 64 * PAGE, MADV_DONTDUMP) && !madvise(at, 64 * PAGE, MADV_DODUMP));
	CHECK_ERRNO(madvise(at, 64 * PAGE, MADV_REMOVE), EINVAL);
	CHECK_ERRNO(madvise(at, 64 * PAGE, 12345), EINVAL);
	CHECK_ERRNO(madvise(at + 1, PAGE, MADV_DONTNEED), EINVAL);
	CHECK(!pages_wrong(at + 24 * PAGE, 5, 24, 40, 1));
	/* Across ours, a hole and ordinary memory. */
	ordinary = mmap(at + 40 * PAGE, PAGE, RW, ANON | MAP_FIXED, -1, 0);
	CHECK(ordinary == at + 40 * PAGE && !preload_maps(ordinary));
	*ordinary = 1;
	CHECK(!munmap(at + 36 * PAGE, 2 * PAGE));
	CHECK_ERRNO(madvise(at, 64 * PAGE, MADV_DONTNEED), ENOMEM);
	CHECK(!pages_not_zero(at, 36) && !pages_not_zero(at + 38 * PAGE, 26));

	at = mmap(NULL, 64 * PAGE, RW, ANON | MAP_POPULATE, -1, 0);
	CHECK(at != MAP_FAILED);
	if (preload_maps(at) && !under_pressure() && !strcmp(preload_device(), "/dev/vmlab")) {
		CHECK(!mincore(at, 64 * PAGE, vec));
		for (i = 0; i < 64; i++)
			CHECK(vec[i] & 1);
		CHECK(!madvise(at, 64 * PAGE, MADV_DONTNEED) && !mincore(at, 64 * PAGE, vec));
		for (i = 0; i < 64; i++)
			CHECK(!(vec[i] & 1));
		CHECK(!madvise(at, 32 * PAGE, MADV_POPULATE_WRITE));
		CHECK(!mincore(at, 64 * PAGE, vec));
		for (i = 0; i < 64; i++)
			CHECK((vec[i] & 1) == (i < 32));
	}
	CHECK(!mprotect(at, 32 * PAGE, PROT_READ));
	CHECK_ERRNO(madvise(at, 32 * PAGE, MADV_POPULATE_WRITE), EINVAL);
	CHECK(!mlock(at + 100, 3 * PAGE) && !munlock(at, 4 * PAGE));
	/* Kernels differ in whether they look behind a hole: as this one does. */
	CHECK(!munmap(at + 8 * PAGE, PAGE));
	ordinary = (char *)syscall(SYS_mmap, NULL, 24 * PAGE, PROT_READ, ANON, -1, 0);
	CHECK(ordinary != MAP_FAILED && !syscall(SYS_munmap, ordinary, PAGE));
	CHECK(syscall(SYS_madvise, ordinary, 24 * PAGE, MADV_POPULATE_WRITE) == -1);
	i = errno;
	CHECK_ERRNO(madvise(at + 8 * PAGE, 24 * PAGE, MADV_POPULATE_WRITE), i);
	CHECK(!syscall(SYS_munmap, ordinary, 24 * PAGE));

	at = map(8);
	pages_fill(at, 5, 0, 8, 1);
	CHECK(!madvise(at, 8 * PAGE, MADV_WIPEONFORK));
	CHECK(!pages_wrong(at, 5, 0, 8, 1));
	CHECK(!child_run(wiped_child, at));
	at = map(8);
	CHECK(!madvise(at, 8 * PAGE, MADV_DONTFORK));
	CHECK(!child_run(gone_child, at));
	return 0;
}

/* Programs that close everything, or want just this number. */
static int inside_close(void)
{
	struct rlimit limit;
	char *at = map(16);
	int fd, end;

	pages_fill(at, 6, 0, 16, 1);
	CHECK(preload_maps(at));
	closefrom(3);
	CHECK(preload_maps(map(16)));
	CHECK(!close_range(3, ~0U, 0));
	CHECK(preload_maps(map(16)));
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	/* A few are left for this test. */
	end = limit.rlim_cur < 4096 ? limit.rlim_cur - 12 : 4096;
	for (fd = 3; fd < end; fd++)
		close(fd);
	CHECK(preload_maps(map(16)));
	for (fd = 3; fd < end; fd++)
		CHECK(dup2(1, fd) == fd);
	CHECK(preload_maps(map(16)));
	for (fd = 3; fd < end; fd++)
		CHECK(!close(fd) || errno == EBADF);
	CHECK(preload_maps(map(16)));
	/* By system calls that nobody sees: there is a new object. */
	syscall(SYS_close_range, 3, ~0U, 0);
	for (fd = 3; fd < end; fd++)
		CHECK(syscall(SYS_dup2, 1, fd) == fd);
	CHECK(preload_maps(map(16)));
	CHECK(!madvise(at, 8 * PAGE, MADV_DONTNEED));
	CHECK(!pages_not_zero(at, 8) && !pages_wrong(at + 8 * PAGE, 6, 8, 8, 1));
	/* And what was unmapped that way is not taken for ours. */
	CHECK(!syscall(SYS_munmap, at, 16 * PAGE));
	CHECK(syscall(SYS_mmap, at, 16 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == (long)at);
	memset(at, 1, 16 * PAGE);
	CHECK(!madvise(at, 16 * PAGE, MADV_DONTNEED));
	CHECK(!pages_not_zero(at, 16));
	return 0;
}

/*
 * The differential part: two arenas, the same calls on both.  They lie where the
 * kernel puts nothing by itself.
 */
#define ARENA_PAGES	96UL
#define ORACLE		((char *)(1UL << 40))
#define SUBJECT		((char *)(1UL << 40) + (1UL << 30))
#define NOWHERE		(-1)

struct page {
	int mapping;	/* NOWHERE: none */
	int prot;
};

static struct page model[ARENA_PAGES];
static uint64_t random_state;
static int mappings;
static unsigned long calls, skipped;
static char doing[160];

static uint64_t below(uint64_t bound)
{
	return chance(&random_state) % bound;
}

static bool uniform(size_t first, size_t pages)
{
	size_t i;

	if (first + pages > ARENA_PAGES || model[first].mapping == NOWHERE)
		return false;
	for (i = 1; i < pages; i++)
		if (model[first + i].mapping != model[first].mapping ||
		    model[first + i].prot != model[first].prot)
			return false;
	return true;
}

/* Something that keeps a range from being one mapping for the kernel. */
static bool broken(size_t first, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (model[first + i].mapping == NOWHERE ||
		    model[first + i].prot != model[first].prot)
			return true;
	return false;
}

static void set_model(size_t first, size_t pages, int mapping, int prot)
{
	for (; pages--; first++)
		model[first] = (struct page){ .mapping = mapping, .prot = prot };
}

static void same(long one, int one_errno, long two, int two_errno)
{
	if (one != two || (one == -1 && one_errno != two_errno))
		die("call %lu, %s: ordinary memory %ld (errno %d), vmlab %ld (errno %d)", calls,
		    doing, one, one == -1 ? one_errno : 0, two, two == -1 ? two_errno : 0);
}

#define DOING(...) snprintf(doing, sizeof(doing), __VA_ARGS__)

/* Every page: the same bytes, or the same signal. */
static void compare(void)
{
	static char one[PAGE], two[PAGE];
	size_t i;

	for (i = 0; i < ARENA_PAGES; i++) {
		bool readable = model[i].mapping != NOWHERE && model[i].prot & PROT_READ;
		int a = try_copy(one, ORACLE + i * PAGE, readable ? PAGE : 1);
		int b = try_copy(two, SUBJECT + i * PAGE, readable ? PAGE : 1);
		bool is = model[i].mapping != NOWHERE;

		if (mapped(ORACLE + i * PAGE) != is || mapped(SUBJECT + i * PAGE) != is)
			die("call %lu, %s: page %zu should%s be mapped, is %d and %d", calls,
			    doing, i, is ? "" : " not", mapped(ORACLE + i * PAGE),
			    mapped(SUBJECT + i * PAGE));

		/* What can be written can be read, on this machine. */
		if (a != b || (readable && a))
			die("call %lu, %s: page %zu: signal %d on ordinary memory, %d on vmlab's",
			    calls, doing, i, a, b);
		if (!a && memcmp(one, two, readable ? PAGE : 1))
			die("call %lu, %s: page %zu differs", calls, doing, i);
	}
}

static long world(const char *base, long result)
{
	return result == -1 ? -1 : result - (long)base;
}

static const int prots[] = { PROT_NONE, PROT_READ, RW, RW, RW };

static void do_map(size_t first, size_t pages)
{
	int prot = prots[below(5)], flags = ANON | MAP_NORESERVE;
	int one_errno, two_errno;
	long one, two;

	flags |= below(3) ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	if (!below(4))
		flags |= MAP_POPULATE;
	DOING("mmap(%zu + %zu, prot %d, flags %#x)", first, pages, prot, flags);
	one = world(ORACLE, syscall(SYS_mmap, ORACLE + first * PAGE, pages * PAGE, prot, flags,
				    -1, 0));
	one_errno = errno;
	two = world(SUBJECT, (long)mmap(SUBJECT + first * PAGE, pages * PAGE, prot, flags,
					-1, 0));
	two_errno = errno;
	same(one, one_errno, two, two_errno);
	if (one != -1)
		set_model(first, pages, mappings++, prot);
}

static void do_unmap(size_t first, size_t pages)
{
	int one_errno;
	long one, two;

	DOING("munmap(%zu + %zu)", first, pages);
	one = syscall(SYS_munmap, ORACLE + first * PAGE, pages * PAGE);
	one_errno = errno;
	two = munmap(SUBJECT + first * PAGE, pages * PAGE);
	same(one, one_errno, two, errno);
	set_model(first, pages, NOWHERE, 0);
}

static void do_protect(size_t first, size_t pages)
{
	int prot = prots[below(5)], one_errno;
	long one, two;
	size_t i;

	DOING("mprotect(%zu + %zu, prot %d)", first, pages, prot);
	one = syscall(SYS_mprotect, ORACLE + first * PAGE, pages * PAGE, prot);
	one_errno = errno;
	two = mprotect(SUBJECT + first * PAGE, pages * PAGE, prot);
	same(one, one_errno, two, errno);
	for (i = first; i < first + pages && model[i].mapping != NOWHERE; i++)
		model[i].prot = prot;
}

static void do_advise(size_t first, size_t pages)
{
	static const int advices[] = {
		MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_NORMAL, MADV_RANDOM, MADV_WILLNEED,
		MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
		MADV_NOHUGEPAGE, MADV_DONTDUMP, 999,
	};
	int advice = advices[below(sizeof(advices) / sizeof(advices[0]))], one_errno;
	/* On ordinary memory it is left open when FREE takes effect. */
	int now = advice == MADV_FREE ? MADV_DONTNEED : advice;
	long one, two;

	DOING("madvise(%zu + %zu, %d)", first, pages, advice);
	one = syscall(SYS_madvise, ORACLE + first * PAGE, pages * PAGE, now);
	one_errno = errno;
	two = madvise(SUBJECT + first * PAGE, pages * PAGE, advice);
	same(one, one_errno, two, errno);
	for (; advice == MADV_FREE && pages--; first++)
		if (!preload_maps(SUBJECT + first * PAGE))
			syscall(SYS_madvise, SUBJECT + first * PAGE, PAGE, now);
}

/* @to: a page, or NOWHERE for a call without MREMAP_FIXED. */
static void do_remap(size_t first, size_t pages, size_t new_pages, long to)
{
	int flags = to != NOWHERE ? MREMAP_MAYMOVE | MREMAP_FIXED : below(2) ? MREMAP_MAYMOVE : 0;
	bool one_mapping = uniform(first, pages), inside;
	int one_errno, two_errno, mapping = model[first].mapping, prot = model[first].prot;
	long one, two;

	/*
	 * Whether neighbours have become one mapping is the kernel's affair, and newer ones
	 * move several at once.
	 */
	if (!one_mapping && (to != NOWHERE || (pages < new_pages && !broken(first, pages))))
		return;
	/* Growing must not lead out of the arena. */
	if (to == NOWHERE && first + new_pages > ARENA_PAGES)
		return;
	DOING("mremap(%zu + %zu, %zu, flags %d, to %ld)", first, pages, new_pages, flags, to);
	one = syscall(SYS_mremap, ORACLE + first * PAGE, pages * PAGE, new_pages * PAGE, flags,
		      ORACLE + to * (long)PAGE);
	one_errno = errno;
	DOING("mremap(%zu + %zu, %zu, flags %d, to %ld) %d", first, pages, new_pages, flags, to,
	      one == -1 ? -one_errno : 0);
	if (one == -1 && one_errno == EFAULT && one_mapping) {
		/* Ordinary memory may stay in pieces for the kernel, after a fork. */
		skipped++;
	} else {
		two = (long)mremap(SUBJECT + first * PAGE, pages * PAGE, new_pages * PAGE, flags,
				   SUBJECT + to * (long)PAGE);
		two_errno = errno;
		inside = one >= (long)ORACLE && one < (long)(ORACLE + ARENA_PAGES * PAGE);
		if (inside || one == -1) {
			same(world(ORACLE, one), one_errno, world(SUBJECT, two), two_errno);
		} else {
			/* Moved out of the arena: both are moved back. */
			CHECK(two != -1 && (two < (long)SUBJECT ||
					    two >= (long)(SUBJECT + ARENA_PAGES * PAGE)));
			set_model(first, pages, NOWHERE, 0);
			first = below(ARENA_PAGES - new_pages + 1);
			one = syscall(SYS_mremap, one, new_pages * PAGE, new_pages * PAGE,
				      MREMAP_MAYMOVE | MREMAP_FIXED, ORACLE + first * PAGE);
			CHECK(one == (long)(ORACLE + first * PAGE));
			two = (long)mremap((void *)two, new_pages * PAGE, new_pages * PAGE,
					   MREMAP_MAYMOVE | MREMAP_FIXED, SUBJECT + first * PAGE);
			CHECK(two == (long)(SUBJECT + first * PAGE));
			set_model(first, new_pages, mapping, prot);
			return;
		}
	}
	if (to != NOWHERE && one == -1 && one_errno != EINVAL) {
		/* Whether the target was wiped first depends on the kernel. */
		munmap(SUBJECT + to * PAGE, new_pages * PAGE);
		syscall(SYS_munmap, ORACLE + to * PAGE, new_pages * PAGE);
		set_model(to, new_pages, NOWHERE, 0);
		if (new_pages < pages) {
			munmap(SUBJECT + (first + new_pages) * PAGE, (pages - new_pages) * PAGE);
			syscall(SYS_munmap, ORACLE + (first + new_pages) * PAGE,
				(pages - new_pages) * PAGE);
			set_model(first + new_pages, pages - new_pages, NOWHERE, 0);
		}
	}
	if (one == -1)
		return;
	if (new_pages < pages)
		set_model(first + new_pages, pages - new_pages, NOWHERE, 0);
	if (to == NOWHERE && new_pages <= pages)
		return;
	if (to != NOWHERE)
		set_model(first, pages < new_pages ? pages : new_pages, NOWHERE, 0);
	set_model(to != NOWHERE ? to : first, new_pages, mapping, prot);
}

static void do_store(size_t first, size_t pages)
{
	size_t i;

	DOING("stores to %zu + %zu", first, pages);
	for (i = first; i < first + pages; i++) {
		char byte = below(256);
		size_t at = i * PAGE + below(PAGE - 64);
		int one = try_store(ORACLE + at, byte), two = try_store(SUBJECT + at, byte);

		if (one != two)
			die("call %lu: a store to page %zu: signals %d and %d", calls, i, one, two);
		if (!one && below(2)) {
			memset(ORACLE + at, byte, 64);
			memset(SUBJECT + at, byte, 64);
		}
	}
}

/* System calls that read from memory and write to it. */
static void do_transfer(size_t first, size_t pages)
{
	int one_errno, fds[2];
	char *buffer;
	long one, two;

	CHECK(!pipe(fds));
	if (below(2)) {
		DOING("write() from %zu", first);
		one = write(fds[1], ORACLE + first * PAGE, PAGE);
		one_errno = errno;
		two = write(fds[1], SUBJECT + first * PAGE, PAGE);
		same(one, one_errno, two, errno);
	} else {
		buffer = calloc(1, 64);
		memset(buffer, below(256), 64);
		CHECK(write(fds[1], buffer, 64) == 64);
		DOING("read() to %zu", first);
		one = read(fds[0], ORACLE + first * PAGE, 64);
		one_errno = errno;
		if (one > 0)
			CHECK(write(fds[1], buffer, 64) == 64);
		two = read(fds[0], SUBJECT + first * PAGE, 64);
		same(one, one_errno, two, errno);
		free(buffer);
	}
	close(fds[0]);
	close(fds[1]);
}

static void step(int generation);

static void do_fork(int generation)
{
	uint64_t more = calls + 6;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		random_state ^= 0x5555;
		compare();
		while (calls < more)
			step(generation + 1);
		_exit(0);
	}
	while (calls < more - 3)
		step(generation + 1);
	if (child_wait(pid))
		die("call %lu: a child of generation %d found a difference", calls, generation + 1);
}

static void step(int generation)
{
	size_t first = below(ARENA_PAGES), pages = 1 + below(below(3) ? 12 : ARENA_PAGES);
	size_t new_pages = 1 + below(16);

	if (pages > ARENA_PAGES - first)
		pages = ARENA_PAGES - first;
	calls++;
	switch (below(20)) {
	case 0 ... 3:
		do_map(first, pages);
		break;
	case 4 ... 5:
		do_unmap(first, pages);
		break;
	case 6 ... 7:
		do_protect(first, pages);
		break;
	case 8 ... 10:
		do_advise(first, pages);
		break;
	case 11 ... 12:
		do_remap(first, pages < 16 ? pages : 16, new_pages, NOWHERE);
		break;
	case 13:
		do_remap(first, pages < 16 ? pages : 16, new_pages, below(ARENA_PAGES - 16));
		break;
	case 14 ... 17:
		do_store(first, pages);
		break;
	case 18:
		do_transfer(first, pages);
		break;
	default:
		if (generation < 2)
			do_fork(generation);
	}
	compare();
}

static int inside_random(void)
{
	double end = now() + seconds(8);
	/* A slow kernel has so much longer for as many calls. */
	double last = end + 8 * (slowness() - 1);

	random_state = seed();
	set_model(0, ARENA_PAGES, NOWHERE, 0);
	while (now() < end || (calls <= 50 && now() < last))
		step(0);
	note("%lu calls, %lu mremap() left out", calls, skipped);
	CHECK(calls > 50);
	return 0;
}

/* Threads that map, grow, discard and unmap what is theirs, while one forks. */
#define THREADS 4

static volatile bool stop;

static void churn(uint64_t tag, uint64_t state, unsigned int rounds)
{
	char *at[8] = { };
	size_t pages[8];

	while (rounds-- && !stop) {
		unsigned int i = chance(&state) % 8;
		uint64_t what = chance(&state) % 8;

		if (!at[i]) {
			pages[i] = 1 + chance(&state) % 40;
			at[i] = map(pages[i]);
			CHECK(!pages_not_zero(at[i], pages[i]));
			pages_fill(at[i], tag, i * 1000, pages[i], 1);
		} else if (what < 3) {
			size_t more = 1 + chance(&state) % 80;

			at[i] = mremap(at[i], pages[i] * PAGE, more * PAGE, MREMAP_MAYMOVE);
			CHECK(at[i] != MAP_FAILED);
			if (more > pages[i]) {
				CHECK(!pages_not_zero(at[i] + pages[i] * PAGE, more - pages[i]));
				pages_fill(at[i] + pages[i] * PAGE, tag, i * 1000 + pages[i],
					   more - pages[i], 1);
			}
			pages[i] = more;
		} else if (what == 3) {
			CHECK(!madvise(at[i], pages[i] * PAGE, MADV_DONTNEED));
			CHECK(!pages_not_zero(at[i], pages[i]));
			pages_fill(at[i], tag, i * 1000, pages[i], 1);
		} else if (what == 4) {
			CHECK(!mprotect(at[i], PAGE, PROT_READ));
			CHECK(!mprotect(at[i], PAGE, RW));
		} else if (what == 5) {
			CHECK(!munmap(at[i], pages[i] * PAGE));
			at[i] = NULL;
		}
		if (at[i])
			CHECK(!pages_wrong(at[i], tag, i * 1000, pages[i], 1));
	}
}

static void *churning(void *number)
{
	churn((uint64_t)number, 0x1234567 + (uint64_t)number, 1000000);
	return NULL;
}

/* As what an allocator does in a handler of a profiler, say. */
static void handler(int number)
{
	int saved = errno;
	char *at = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0);

	if (at == MAP_FAILED || munmap(at, 16 * PAGE))
		_exit(3);
	errno = saved;
}

static int inside_threads(void)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	double end = now() + seconds(8);
	pthread_t threads[THREADS];
	uint64_t i, forks = 0;

	CHECK(!sigaction(SIGUSR1, &action, NULL));
	for (i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, churning, (void *)(i + 1)));
	while (now() < end) {
		pid_t pid = forks % 4 == 3 ? vfork() : fork();

		CHECK(pid >= 0);
		if (!pid && forks % 4 == 3)
			_exit(0);
		if (!pid) {
			char *at = map(16);

			/* Not the memory of the threads that there are no more. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			CHECK(preload_maps(at));
			churn(100 + forks, forks + 1, 30);
			_exit(0);
		}
		pthread_kill(threads[forks % THREADS], SIGUSR1);
		CHECK(!child_wait(pid));
		forks++;
	}
	stop = true;
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	note("%lu forks", (unsigned long)forks);
	CHECK(forks > 3);
	return 0;
}

static void *idle(void *arg)
{
	return arg;
}

/* The stack of a thread cannot be ours: its end is told by a futex in it. */
static int inside_stack(void)
{
	pthread_attr_t attributes;
	char *at = map(64);
	pthread_t thread;
	void *result;

	CHECK(preload_maps(at));
	CHECK(!pthread_attr_init(&attributes));
	CHECK(!pthread_attr_setstack(&attributes, at, 64 * PAGE));
	CHECK(!preload_maps(at));
	CHECK(!pthread_create(&thread, &attributes, idle, at));
	CHECK(!pthread_join(thread, &result) && result == at);
	return 0;
}

static const struct {
	const char *name;
	int (*body)(void);
} bodies[] = {
	{ "map", inside_map }, { "hugetlb", inside_hugetlb },
	{ "protect", inside_protect }, { "remap", inside_remap },
	{ "advise", inside_advise }, { "close", inside_close }, { "random", inside_random },
	{ "threads", inside_threads }, { "stack", inside_stack },
};

/* Runs before main() when this is the program under the library. */
__attribute__((constructor)) static void inside_main(void)
{
	const char *name = getenv(PRELOAD_INSIDE);
	size_t i;

	for (i = 0; name && i < sizeof(bodies) / sizeof(bodies[0]); i++)
		if (!strcmp(bodies[i].name, name))
			exit(bodies[i].body());
}

FIXTURE(preload)
{
};

FIXTURE_VARIANT(preload)
{
	const char *name;
};

FIXTURE_SETUP(preload)
{
	if (access(preload_device(), R_OK | W_OK))
		die("%s: %m", preload_device());
}

FIXTURE_TEARDOWN(preload)
{
	unlink(PRELOAD_STATS);
}

FIXTURE_VARIANT_ADD(preload, map) { .name = "map" };
FIXTURE_VARIANT_ADD(preload, hugetlb) { .name = "hugetlb" };
FIXTURE_VARIANT_ADD(preload, protect) { .name = "protect" };
FIXTURE_VARIANT_ADD(preload, remap) { .name = "remap" };
FIXTURE_VARIANT_ADD(preload, advise) { .name = "advise" };
FIXTURE_VARIANT_ADD(preload, close) { .name = "close" };
FIXTURE_VARIANT_ADD(preload, stack) { .name = "stack" };
FIXTURE_VARIANT_ADD(preload, random) { .name = "random" };
FIXTURE_VARIANT_ADD(preload, threads) { .name = "threads" };

TEST_F_TIMEOUT(preload, same, 150)
{
	EXPECT_EQ(0, preload_inside(variant->name));
	EXPECT_NE(0, preload_stat(" mmap "));
	EXPECT_EQ(0, preload_stat(" failed "));
	EXPECT_EQ(strcmp(variant->name, "hugetlb") ? 0 : 2, preload_stat(" reserve "));
}

/* Where there is no device, programs run all the same. */
TEST(without_device)
{
	static const char program[] = "python3 -c 'print(len(str([*range(200000)])))'";

	setenv("VMLAB_PRELOAD_DEVICE", "/nonexistent", 1);
	setenv("VMLAB_PRELOAD_STATS", PRELOAD_STATS, 1);
	EXPECT_EQ(0, run("test \"$(LD_PRELOAD=%s %s)\" = 1488890", preload_library(), program));
	EXPECT_EQ(0, preload_stat(" mmap "));
	EXPECT_NE(0, preload_stat(" failed "));
	unlink(PRELOAD_STATS);
}

TEST_HARNESS_MAIN
