// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages: when a store gets 2 MiB, what they are mapped by, and that nothing that is done
 * to a part of them loses a byte of the rest.
 *
 * Free chunks are needed: the pools are made large enough, in the phase of pressure too.
 *
 * vmlab-test: timeout=300
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define TAG 0x4096e
#define POOL_MB 24
#define CHUNKS 4
#define PAGES (CHUNKS * LEAF_PAGES)

FIXTURE(huge)
{
	int fd;
	char *map;
};

FIXTURE_SETUP(huge)
{
	int node;

	settle();
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, POOL_MB));
	/* The threads look at nothing until they are told to. */
	ASSERT_EQ(0, debugfs_write("promote/scan_leaves", "0\n"));
	ASSERT_EQ(0, debugfs_write("zero_chunks", "4\n"));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->map = object_map(self->fd, 0, PAGES);
	ASSERT_EQ(0, (uintptr_t)self->map % LEAF_BYTES);
}

FIXTURE_TEARDOWN(huge)
{
	EXPECT_VERIFY_OK();
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	EXPECT_EQ(0, debugfs_write("huge", "madvise\n"));
	EXPECT_EQ(0, debugfs_write("promote/scan_ms", "1000\n"));
	EXPECT_EQ(0, debugfs_write("promote/scan_leaves", "64\n"));
	EXPECT_EQ(0, debugfs_write("zero_chunks", "0\n"));
	settle();
}

static bool is_huge(int fd, const void *address)
{
	struct vmlab_ioc_walk walk = { .size = sizeof(walk), .address = (uintptr_t)address };

	if (ioctl(fd, VMLAB_IOC_WALK, &walk))
		die("WALK: %m");
	return walk.nr_levels == VMLAB_WALK_PMD + 1 &&
	       (walk.levels[VMLAB_WALK_PMD].flags & VMLAB_WALK_HUGE);
}

static uint64_t huge_pages(int fd, uint64_t page, uint64_t pages)
{
	return object_count(fd, page, pages, VMLAB_RES_HUGE);
}

TEST_F(huge, one_fault_for_two_mib)
{
	uint64_t faults = counter("fault_huge"), allocs = counter("thp_fault_alloc");
	struct vmlab_ioc_walk walk = { .size = sizeof(walk), .address = (uintptr_t)self->map };
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		page_fill(self->map + i * PAGE, TAG, i, 1);
	EXPECT_EQ(CHUNKS, counter("fault_huge") - faults);
	EXPECT_EQ(CHUNKS, counter("thp_fault_alloc") - allocs);
	EXPECT_EQ(PAGES, huge_pages(self->fd, 0, PAGES));
	for (i = 0; i < CHUNKS; i++)
		EXPECT_TRUE(is_huge(self->fd, self->map + i * LEAF_BYTES + 5 * PAGE));
	ASSERT_EQ(0, ioctl(self->fd, VMLAB_IOC_WALK, &walk));
	EXPECT_TRUE(walk.levels[VMLAB_WALK_PMD].flags & VMLAB_WALK_SPECIAL);
	EXPECT_TRUE(walk.slot & VMLAB_WALK_SLOT_HUGE);
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, PAGES, 1));
}

TEST_F(huge, memory_is_zero)
{
	unsigned int round;

	for (round = 0; round < 3; round++) {
		self->map[round * PAGE] = 1;
		EXPECT_TRUE(is_huge(self->fd, self->map));
		self->map[round * PAGE] = 0;
		EXPECT_EQ(0, pages_not_zero(self->map, LEAF_PAGES));
		pages_fill(self->map, TAG, 0, LEAF_PAGES, 1);
		EXPECT_EQ(0, object_discard(self->fd, 0, LEAF_PAGES));
		EXPECT_FALSE(is_huge(self->fd, self->map));
	}
	/* A load costs no frame. */
	EXPECT_EQ(0, self->map[LEAF_BYTES]);
	EXPECT_EQ(0, object_count(self->fd, LEAF_PAGES, LEAF_PAGES, VMLAB_RES_RESIDENT));
}

TEST_F(huge, settings)
{
	uint64_t before = counter("thp_fault_fallback");

	ASSERT_EQ(0, debugfs_write("huge", "never\n"));
	self->map[0] = 1;
	EXPECT_FALSE(is_huge(self->fd, self->map));
	ASSERT_EQ(0, debugfs_write("huge", "madvise\n"));
	self->map[LEAF_BYTES] = 1;
	EXPECT_FALSE(is_huge(self->fd, self->map + LEAF_BYTES));
	ASSERT_EQ(0, madvise(self->map + 2 * LEAF_BYTES, LEAF_BYTES, MADV_HUGEPAGE));
	self->map[2 * LEAF_BYTES] = 1;
	EXPECT_TRUE(is_huge(self->fd, self->map + 2 * LEAF_BYTES));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	ASSERT_EQ(0, madvise(self->map + 3 * LEAF_BYTES, LEAF_BYTES, MADV_NOHUGEPAGE));
	self->map[3 * LEAF_BYTES] = 1;
	EXPECT_FALSE(is_huge(self->fd, self->map + 3 * LEAF_BYTES));
	/* None of these was one that might have had it. */
	EXPECT_EQ(before, counter("thp_fault_fallback"));
	EXPECT_EQ(-EINVAL, debugfs_write("huge", "sometimes\n"));
}

TEST_F(huge, falls_back_with_the_reason)
{
	uint64_t place = counter("thp_fallback_place"), used = counter("thp_fallback_used");
	uint64_t limit = counter("thp_fallback_limit"), chunk = counter("thp_fallback_chunk");
	char *shifted, *other_map, *room = mmap(NULL, 3 * LEAF_BYTES, PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *small = (char *)(((uintptr_t)room + 2 * LEAF_BYTES) & ~(LEAF_BYTES - 1));
	int other = object_open();

	/* No room for 2 MiB, where no page table is. */
	ASSERT_EQ(small, mmap(small, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			      self->fd, 0));
	small[0] = 1;
	EXPECT_EQ(1, counter("thp_fallback_place") - place);
	EXPECT_FALSE(is_huge(self->fd, small));
	munmap(room, 3 * LEAF_BYTES);
	/* A page is there already; and where zeros were read. */
	other_map = object_map(self->fd, 0, PAGES);
	EXPECT_EQ(1, self->map[0]);
	other_map[PAGE] = 2;
	EXPECT_EQ(1, counter("thp_fallback_used") - used);
	EXPECT_EQ(0, self->map[2 * LEAF_BYTES]);
	other_map[2 * LEAF_BYTES + PAGE] = 2;
	EXPECT_EQ(2, counter("thp_fallback_used") - used);
	munmap(other_map, PAGES * PAGE);
	/* The limit. */
	ASSERT_EQ(0, object_limit(other, 300));
	shifted = object_map(other, 0, LEAF_PAGES);
	shifted[0] = 1;
	EXPECT_EQ(1, counter("thp_fallback_limit") - limit);
	EXPECT_FALSE(is_huge(other, shifted));
	ASSERT_EQ(0, object_discard(other, 0, LEAF_PAGES));
	munmap(shifted, LEAF_BYTES);
	/* The chunk is within it, but not the frame for its slots. */
	ASSERT_EQ(0, object_limit(other, LEAF_PAGES));
	shifted = object_map(other, 0, LEAF_PAGES);
	shifted[0] = 1;
	EXPECT_EQ(2, counter("thp_fallback_limit") - limit);
	EXPECT_EQ(chunk, counter("thp_fallback_chunk"));
	EXPECT_FALSE(is_huge(other, shifted));
	munmap(shifted, LEAF_BYTES);
	close(other);
	/* No chunk, by injection. */
	ASSERT_EQ(0, inject("huge", "random 1000"));
	self->map[LEAF_BYTES] = 1;
	inject_off();
	EXPECT_EQ(1, counter("thp_fallback_chunk") - chunk);
	EXPECT_FALSE(is_huge(self->fd, self->map + LEAF_BYTES));
}

TEST_F(huge, parts_are_discarded)
{
	uint64_t splits = counter("thp_split_page");

	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, object_discard(self->fd, 100, 50));
	EXPECT_EQ(1, counter("thp_split_page") - splits);
	EXPECT_FALSE(is_huge(self->fd, self->map));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 100, 1));
	EXPECT_EQ(0, pages_not_zero(self->map + 100 * PAGE, 50));
	EXPECT_EQ(0, pages_wrong(self->map + 150 * PAGE, TAG, 150, PAGES - 150, 1));
	EXPECT_EQ(PAGES - LEAF_PAGES, huge_pages(self->fd, 0, PAGES));
	/* All of another: that is no split. */
	ASSERT_EQ(0, object_discard(self->fd, LEAF_PAGES, LEAF_PAGES));
	EXPECT_EQ(1, counter("thp_split_page") - splits);
}

TEST_F(huge, parts_are_unmapped_and_protected)
{
	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, munmap(self->map + 100 * PAGE, 10 * PAGE));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 100, 1));
	ASSERT_EQ(0, mprotect(self->map + LEAF_BYTES + 50 * PAGE, PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, try_store(self->map + LEAF_BYTES + 50 * PAGE, 1));
	EXPECT_EQ(0, try_store(self->map + LEAF_BYTES + 51 * PAGE + 100, 0));
	/* The whole, back and forth. */
	ASSERT_EQ(0, mprotect(self->map + 2 * LEAF_BYTES, LEAF_BYTES, PROT_READ));
	EXPECT_EQ(SIGSEGV, try_store(self->map + 2 * LEAF_BYTES, 1));
	ASSERT_EQ(0, mprotect(self->map + 2 * LEAF_BYTES, LEAF_BYTES, PROT_READ | PROT_WRITE));
	pages_fill(self->map + 2 * LEAF_BYTES, TAG, 2 * LEAF_PAGES, LEAF_PAGES, 2);
	EXPECT_TRUE(is_huge(self->fd, self->map + 2 * LEAF_BYTES));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, LEAF_PAGES, 1));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 2 * LEAF_PAGES, LEAF_PAGES, 2));
	EXPECT_EQ(PAGES, huge_pages(self->fd, 0, PAGES));
	/* Moved, the mapping may be huge still, or again. */
	EXPECT_EQ(0, pages_wrong(self->map + 3 * LEAF_BYTES, TAG, 3 * LEAF_PAGES, LEAF_PAGES, 1));
}

static int child_checks_and_stores(void *arg)
{
	char *map = arg;

	CHECK(!pages_wrong(map, TAG, 0, PAGES, 1));
	pages_fill(map, TAG, 0, 64, 7);
	pages_fill(map + LEAF_BYTES, TAG, LEAF_PAGES, LEAF_PAGES, 7);
	CHECK(!pages_wrong(map, TAG, 0, 64, 7));
	CHECK(!pages_wrong(map + 64 * PAGE, TAG, 64, LEAF_PAGES - 64, 1));
	CHECK(!pages_wrong(map + LEAF_BYTES, TAG, LEAF_PAGES, LEAF_PAGES, 7));
	return 0;
}

TEST_F(huge, fork_copies_small_pages)
{
	char *map = object_map_private(self->fd, 0, PAGES);
	uint64_t copies;

	ASSERT_EQ(0, (uintptr_t)map % LEAF_BYTES);
	pages_fill(map, TAG, 0, PAGES, 1);
	ASSERT_TRUE(is_huge(self->fd, map));
	copies = counter("cow_copy");
	ASSERT_EQ(0, child_run(child_checks_and_stores, map));
	/* Stores in sequence copy some pages ahead. */
	EXPECT_GE(counter("cow_copy") - copies, 64 + LEAF_PAGES);
	EXPECT_LE(counter("cow_copy") - copies, 64 + 16 + LEAF_PAGES);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	/* Nobody else has them any more: stores take them as they are, by 2 MiB. */
	copies = counter("cow_copy");
	pages_fill(map, TAG, 0, PAGES, 2);
	EXPECT_EQ(copies, counter("cow_copy"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 2));
	EXPECT_TRUE(is_huge(self->fd, map));
	munmap(map, PAGES * PAGE);
}

TEST_F(huge, snapshot_keeps_the_moment)
{
	char *copy;
	int fd;

	pages_fill(self->map, TAG, 0, PAGES, 1);
	fd = object_snapshot(self->fd, 0);
	ASSERT_GE(fd, 0);
	copy = object_map(fd, 0, PAGES);
	EXPECT_EQ(0, pages_wrong(copy, TAG, 0, PAGES, 1));
	EXPECT_TRUE(is_huge(fd, copy));
	pages_fill(self->map + 10 * PAGE, TAG, 10, 10, 2);
	pages_fill(copy + 15 * PAGE, TAG, 15, 10, 3);
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 10, 1));
	EXPECT_EQ(0, pages_wrong(self->map + 10 * PAGE, TAG, 10, 10, 2));
	EXPECT_EQ(0, pages_wrong(self->map + 20 * PAGE, TAG, 20, PAGES - 20, 1));
	EXPECT_EQ(0, pages_wrong(copy, TAG, 0, 15, 1));
	EXPECT_EQ(0, pages_wrong(copy + 15 * PAGE, TAG, 15, 10, 3));
	EXPECT_EQ(0, pages_wrong(copy + 25 * PAGE, TAG, 25, PAGES - 25, 1));
	EXPECT_VERIFY_OK();
	munmap(copy, PAGES * PAGE);
	close(fd);
}

TEST_F(huge, goes_to_swap_and_comes_back)
{
	uint64_t splits = counter("thp_split_page"), bios;

	if (!under_pressure())
		SKIP(return, "there is no swap in this phase");
	pages_fill(self->map, TAG, 0, PAGES, 1);
	EXPECT_EQ(10, object_pageout(self->fd, 20, 10));
	EXPECT_EQ(1, counter("thp_split_page") - splits);
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, LEAF_PAGES, 1));
	/* All of one by one I/O. */
	bios = counter("swap_out_bio");
	EXPECT_EQ(LEAF_PAGES, object_pageout(self->fd, LEAF_PAGES, LEAF_PAGES));
	EXPECT_EQ(1, counter("swap_out_bio") - bios);
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	EXPECT_VERIFY_OK();
}

/* Nobody may take references on frames that vmlab will give to others. */
TEST_F(huge, is_not_pinned_by_others)
{
	struct iovec iov = { .iov_base = self->map, .iov_len = PAGE };
	int fds[2];

	pages_fill(self->map, TAG, 0, LEAF_PAGES, 1);
	ASSERT_TRUE(is_huge(self->fd, self->map));
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-1, vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_TRUE(is_huge(self->fd, self->map));
	close(fds[0]);
	close(fds[1]);
}

TEST_F_TIMEOUT(huge, pool_shrinks_under_it, 60)
{
	int node;

	pages_fill(self->map, TAG, 0, PAGES, 1);
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, 6));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	EXPECT_VERIFY_OK();
	pages_fill(self->map, TAG, 0, PAGES, 2);
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, POOL_MB));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 2));
}

/* Every second page of 4 KiB, in all of the object. */
static void fill_small(char *map, unsigned int step)
{
	unsigned int i;

	if (debugfs_write("huge", "never\n"))
		die("debugfs huge: %m");
	for (i = 0; i < PAGES; i += step)
		page_fill(map + i * PAGE, TAG, i, 1);
}

static unsigned int wrong_small(const char *map, unsigned int step)
{
	unsigned int i, wrong = 0;

	for (i = 0; i < PAGES; i++)
		wrong += i % step ? !page_is_zero(map + i * PAGE) :
				    !page_is(map + i * PAGE, TAG, i, 1);
	return wrong;
}

static int64_t collapse(int fd, uint64_t page, uint64_t pages)
{
	uint64_t done;
	int err = object_range(fd, VMLAB_IOC_COLLAPSE, page * PAGE, pages * PAGE, &done);

	return err ?: (int64_t)(done / PAGE);
}

TEST_F(huge, collapse)
{
	uint64_t collapses = counter("thp_collapse_alloc");
	unsigned int i;

	fill_small(self->map, 2);
	EXPECT_EQ(0, huge_pages(self->fd, 0, PAGES));
	EXPECT_EQ(PAGES, collapse(self->fd, 0, PAGES));
	EXPECT_EQ(CHUNKS, counter("thp_collapse_alloc") - collapses);
	EXPECT_EQ(PAGES, huge_pages(self->fd, 0, PAGES));
	EXPECT_EQ(0, wrong_small(self->map, 2));
	/* Where a table of 4 KiB was is one entry now. */
	for (i = 0; i < CHUNKS; i++)
		EXPECT_TRUE(is_huge(self->fd, self->map + i * LEAF_BYTES));
	EXPECT_EQ(PAGES, collapse(self->fd, 0, PAGES));
	EXPECT_EQ(CHUNKS, counter("thp_collapse_alloc") - collapses);
	EXPECT_VERIFY_OK();
	/* And back. */
	EXPECT_EQ(0, object_range(self->fd, VMLAB_IOC_SPLIT, 100 * PAGE, PAGE, NULL));
	EXPECT_EQ(PAGES - LEAF_PAGES, huge_pages(self->fd, 0, PAGES));
	EXPECT_EQ(0, wrong_small(self->map, 2));
	EXPECT_FALSE(is_huge(self->fd, self->map));
}

TEST_F(huge, collapse_of_what_is_on_swap)
{
	if (!under_pressure())
		SKIP(return, "there is no swap in this phase");
	fill_small(self->map, 1);
	EXPECT_GT(object_pageout(self->fd, 0, PAGES), 0);
	EXPECT_EQ(PAGES, collapse(self->fd, 0, PAGES));
	EXPECT_EQ(0, wrong_small(self->map, 1));
	EXPECT_EQ(PAGES, huge_pages(self->fd, 0, PAGES));
	/* Copies on swap went with the pages: they need not be written again. */
	EXPECT_EQ(0, object_count(self->fd, 0, PAGES, VMLAB_RES_DIRTY));
}

TEST_F(huge, collapse_refuses)
{
	uint64_t fails;
	int fd;

	EXPECT_EQ(-EINVAL, collapse(self->fd, 0, LEAF_PAGES));
	fill_small(self->map, 2);
	EXPECT_EQ(-EINVAL, collapse(self->fd, 1, LEAF_PAGES));
	EXPECT_EQ(-EINVAL, collapse(self->fd, 0, LEAF_PAGES - 1));
	EXPECT_EQ(-EINVAL, collapse(self->fd, PAGES, LEAF_PAGES));
	ASSERT_EQ(0, object_pin(self->fd, 4, 1));
	EXPECT_EQ(-EBUSY, collapse(self->fd, 0, LEAF_PAGES));
	ASSERT_EQ(0, object_unpin(self->fd, 4, 1));
	fd = object_snapshot(self->fd, 0);
	EXPECT_EQ(-EBUSY, collapse(self->fd, 0, LEAF_PAGES));
	/* A leaf of its own with pages of others: they are copied. */
	self->map[0] ^= 1;
	EXPECT_EQ(LEAF_PAGES, collapse(self->fd, 0, LEAF_PAGES));
	self->map[0] ^= 1;
	EXPECT_EQ(0, wrong_small(self->map, 2));
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, 2, 1, 1));
	close(fd);
	/* The limit, and a chunk that is not to be had. */
	ASSERT_EQ(0, object_limit(self->fd, object_frames(self->fd) + 10));
	EXPECT_EQ(-ENOMEM, collapse(self->fd, LEAF_PAGES, LEAF_PAGES));
	ASSERT_EQ(0, object_limit(self->fd, 0));
	ASSERT_EQ(0, inject("huge", "random 1000"));
	EXPECT_EQ(-ENOMEM, collapse(self->fd, LEAF_PAGES, LEAF_PAGES));
	/* Nor memory to do it in; each is counted. */
	fails = counter("thp_collapse_fail");
	ASSERT_EQ(0, inject("call", "random 1000"));
	EXPECT_EQ(-ENOMEM, collapse(self->fd, LEAF_PAGES, LEAF_PAGES));
	EXPECT_EQ(1, counter("thp_collapse_fail") - fails);
	inject_off();
	EXPECT_EQ(LEAF_PAGES, collapse(self->fd, LEAF_PAGES, LEAF_PAGES));
	EXPECT_EQ(0, wrong_small(self->map, 2));
}

static bool wait_for_huge(int fd, uint64_t pages)
{
	double until = now() + 20 * slowness();

	while (huge_pages(fd, 0, PAGES) < pages)
		if (now() > until)
			return false;
	return true;
}

/* The table in the way goes after the pages have moved, and a fault then maps 2 MiB. */
static bool becomes_huge(int fd, const volatile char *address)
{
	double until = now() + 20 * slowness();

	do {
		(void)*address;
		if (is_huge(fd, (const char *)address))
			return true;
		usleep(20000);
	} while (now() < until);
	return false;
}

TEST_F_TIMEOUT(huge, promoted_in_the_background, 60)
{
	unsigned int i;

	fill_small(self->map, 2);
	ASSERT_EQ(0, debugfs_write("promote/scan_ms", "50\n"));
	ASSERT_EQ(0, debugfs_write("promote/scan_leaves", "64\n"));
	ASSERT_EQ(0, debugfs_write("promote/max_none", "100\n"));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	usleep(500000);
	EXPECT_EQ(0, huge_pages(self->fd, 0, PAGES));
	ASSERT_EQ(0, debugfs_write("promote/max_none", "256\n"));
	EXPECT_TRUE(wait_for_huge(self->fd, PAGES));
	EXPECT_EQ(0, wrong_small(self->map, 2));
	for (i = 0; i < CHUNKS; i++)
		EXPECT_TRUE(becomes_huge(self->fd, self->map + i * LEAF_BYTES));
	EXPECT_EQ(0, wrong_small(self->map, 2));
	ASSERT_EQ(0, debugfs_write("promote/max_none", "511\n"));
}

struct writer {
	pthread_t thread;
	atomic_bool stop;
	char *map;
	uint32_t generation[PAGES];
	uint64_t wrong, steps;
};

/* Stores at random to pages of 4 KiB, and looks first what is there. */
static void *write_at_random(void *arg)
{
	struct writer *w = arg;
	uint64_t state = 1;

	while (!atomic_load(&w->stop)) {
		size_t i = chance(&state) % PAGES;

		if (w->generation[i])
			w->wrong += !page_is(w->map + i * PAGE, TAG, i, w->generation[i]);
		page_fill(w->map + i * PAGE, TAG, i, ++w->generation[i]);
		w->steps++;
	}
	return NULL;
}

static uint64_t writer_wrong(const struct writer *w)
{
	uint64_t wrong = w->wrong;
	size_t i;

	for (i = 0; i < PAGES; i++)
		wrong += w->generation[i] ?
			 !page_is(w->map + i * PAGE, TAG, i, w->generation[i]) :
			 !page_is_zero(w->map + i * PAGE);
	return wrong;
}

#define SCANS 10

/* Mostly present leaves become huge pages under who writes to them; then memory gets short. */
TEST_F_TIMEOUT(huge, promoted_while_it_is_written_to, 120)
{
	static struct writer w;
	uint64_t before, huge;
	int node;

	ASSERT_EQ(0, debugfs_write("huge", "never\n"));
	w = (struct writer){ .map = self->map };
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, write_at_random, &w));
	while (object_count(self->fd, 0, PAGES, VMLAB_RES_RESIDENT) < PAGES * 3 / 4)
		usleep(10000);
	ASSERT_EQ(0, debugfs_write("promote/scan_ms", "100\n"));
	ASSERT_EQ(0, debugfs_write("promote/scan_leaves", "64\n"));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	before = counter("promote_scan");
	while (counter("promote_scan") - before < (uint64_t)SCANS * nr_nodes())
		usleep(50000);
	huge = huge_pages(self->fd, 0, PAGES);
	note("after %d scans %lu of %lu pages are in huge ones", SCANS, (unsigned long)huge,
	     (unsigned long)PAGES);
	EXPECT_GE(huge * 10, PAGES * 9);
	if (under_pressure()) {
		uint64_t splits = counter("thp_split_page");

		for (node = 0; node < nr_nodes(); node++)
			EXPECT_EQ(0, pool_resize(node, 2));
		EXPECT_GT(counter("thp_split_page"), splits);
		usleep(500000);
		for (node = 0; node < nr_nodes(); node++)
			EXPECT_EQ(0, pool_resize(node, POOL_MB));
		usleep(500000);
	}
	atomic_store(&w.stop, true);
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
	note("%lu stores", (unsigned long)w.steps);
	EXPECT_EQ(0, writer_wrong(&w));
}

TEST_F_TIMEOUT(huge, compaction_makes_chunks, 60)
{
	uint64_t free, whole;
	unsigned int i;

	/* Many chunks with a few pages in each. */
	ASSERT_EQ(0, debugfs_write("huge", "never\n"));
	pages_fill(self->map, TAG, 0, PAGES, 1);
	for (i = 0; i < PAGES; i++)
		if (i % 16)
			ASSERT_EQ(0, object_discard(self->fd, i, 1));
	ASSERT_EQ(0, debugfs_write("compact", "all\n"));
	free = pool_sum("free");
	whole = pool_sum("huge_free");
	note("%lu of %lu free frames are in whole chunks", (unsigned long)whole,
	     (unsigned long)free);
	EXPECT_GE(whole * 10, free * 8);
	EXPECT_EQ(0, wrong_small(self->map, 16));
	EXPECT_EQ(-EINVAL, debugfs_write("compact", "everything\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("compact", "%d\n", 1023));
}

TEST_F(huge, a_copy_of_all_of_it_where_that_is_wanted)
{
	char *map = object_map_private(self->fd, 0, PAGES);
	uint64_t copies, allocs;

	pages_fill(map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, debugfs_write("promote/cow_huge", "1\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("promote/cow_huge", "2\n"));
	copies = counter("cow_copy");
	allocs = counter("thp_cow_alloc");
	ASSERT_EQ(0, child_run(child_checks_and_stores, map));
	EXPECT_EQ(copies, counter("cow_copy"));
	EXPECT_EQ(2, counter("thp_cow_alloc") - allocs);
	ASSERT_EQ(0, debugfs_write("promote/cow_huge", "0\n"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	munmap(map, PAGES * PAGE);
}

static int reserve(int fd, uint64_t page, uint64_t pages)
{
	return object_range(fd, VMLAB_IOC_RESERVE, page * PAGE, pages * PAGE, NULL);
}

TEST_F_TIMEOUT(huge, reserved_pages_stay, 60)
{
	char *stream;
	int other = object_open(), node;
	size_t i, cold;

	ASSERT_EQ(0, debugfs_write("huge", "never\n"));
	EXPECT_EQ(0, self->map[LEAF_BYTES + 7 * PAGE]);
	ASSERT_EQ(0, reserve(self->fd, 0, PAGES));
	EXPECT_EQ(PAGES, object_count(self->fd, 0, PAGES, VMLAB_RES_RESERVED));
	EXPECT_EQ(0, pages_not_zero(self->map, PAGES));
	pages_fill(self->map, TAG, 0, PAGES, 1);
	for (i = 0; i < CHUNKS; i++)
		EXPECT_TRUE(is_huge(self->fd, self->map + i * LEAF_BYTES));
	ASSERT_EQ(0, reserve(self->fd, 0, PAGES));
	/* Nothing takes them. */
	EXPECT_EQ(0, object_pageout(self->fd, 0, PAGES));
	EXPECT_EQ(-EBUSY, object_discard(self->fd, 3, 1));
	EXPECT_EQ(-EBUSY, object_range(self->fd, VMLAB_IOC_SPLIT, 0, PAGE, NULL));
	for (node = 0; node < nr_nodes(); node++)
		pool_resize(node, 6);
	if (under_pressure()) {
		/* Some times what is left beside them. */
		cold = pool_sum("total");
		stream = object_map(other, 0, cold);
		pages_fill(stream, TAG + 1, 0, cold, 1);
		EXPECT_EQ(0, pages_wrong(stream, TAG + 1, 0, cold, 1));
		munmap(stream, cold * PAGE);
	}
	EXPECT_EQ(PAGES, huge_pages(self->fd, 0, PAGES));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	close(other);
}

TEST_F(huge, reserve_all_or_nothing)
{
	uint64_t total = pool_sum("total"), frames;
	int fd, copy;

	EXPECT_EQ(-EINVAL, reserve(self->fd, 1, LEAF_PAGES));
	EXPECT_EQ(-EINVAL, reserve(self->fd, 0, LEAF_PAGES + 1));
	EXPECT_EQ(0, reserve(self->fd, 0, 0));
	fd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-EBADF, reserve(fd, 0, LEAF_PAGES));
	close(fd);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-ENOTTY, reserve(fd, 0, LEAF_PAGES));
	close(fd);
	/* More than there is: nothing is left of the attempt. */
	frames = object_frames(self->fd);
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, total));
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, 4 * total));
	EXPECT_EQ(frames, object_frames(self->fd));
	EXPECT_EQ(0, object_count(self->fd, 0, total, VMLAB_RES_RESIDENT));
	/* Nor where something is. */
	self->map[2 * LEAF_BYTES] = 1;
	EXPECT_EQ(-EBUSY, reserve(self->fd, 0, PAGES));
	EXPECT_EQ(0, object_count(self->fd, 0, LEAF_PAGES, VMLAB_RES_RESIDENT));
	ASSERT_EQ(0, object_limit(self->fd, frames + LEAF_PAGES));
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, 2 * LEAF_PAGES));
	ASSERT_EQ(0, object_limit(self->fd, 0));
	/* Copies are as of any pages. */
	ASSERT_EQ(0, reserve(self->fd, 0, LEAF_PAGES));
	pages_fill(self->map, TAG, 0, LEAF_PAGES, 1);
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	pages_fill(self->map, TAG, 0, 10, 2);
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, LEAF_PAGES, 1));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 10, 2));
	EXPECT_EQ(0, pages_wrong(self->map + 10 * PAGE, TAG, 10, LEAF_PAGES - 10, 1));
	close(copy);
}

/* As a user without capabilities, who may lock so many chunks. */
static int reserve_unprivileged(void *arg)
{
	unsigned long chunks = (unsigned long)arg;
	struct rlimit limit = { chunks * LEAF_BYTES, chunks * LEAF_BYTES };
	int fd = object_open(), second = object_open(), copy;

	CHECK(fd >= 0 && second >= 0);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	if (!chunks) {
		CHECK(reserve(fd, 0, LEAF_PAGES) == -EPERM);
		return 0;
	}
	/* All or nothing. */
	CHECK(reserve(fd, 0, (chunks + 1) * LEAF_PAGES) == -ENOMEM);
	CHECK(!object_frames(fd));
	CHECK(!reserve(fd, 0, chunks * LEAF_PAGES));
	/* What is reserved already costs nothing more, and pins are from the same purse. */
	CHECK(!reserve(fd, 0, chunks * LEAF_PAGES));
	CHECK(reserve(second, 0, LEAF_PAGES) == -ENOMEM);
	CHECK(object_pin(second, 0, 1) == -ENOMEM);
	CHECK(!object_discard(second, 0, 1));
	/* A copy keeps it as long as there is one. */
	copy = object_snapshot(fd, 0);
	CHECK(copy >= 0);
	CHECK(!close(fd));
	CHECK(reserve(second, 0, LEAF_PAGES) == -ENOMEM);
	CHECK(!close(copy));
	CHECK(!reserve(second, 0, chunks * LEAF_PAGES));
	return 0;
}

TEST_F(huge, reserve_is_limited)
{
	/* It is the opener's purse, and so would be left empty by a leak. */
	EXPECT_EQ(0, child_run(reserve_unprivileged, (void *)2));
	EXPECT_EQ(0, child_run(reserve_unprivileged, (void *)2));
	EXPECT_EQ(0, child_run(reserve_unprivileged, (void *)0));
	/* With CAP_IPC_LOCK. */
	EXPECT_EQ(0, reserve(self->fd, 0, 3 * LEAF_PAGES));
}

/* Stores to what a call is about to reserve, and knows what it has stored. */
struct storer {
	char *map;
	size_t pages;
	uint64_t state;
	uint32_t generation;
	atomic_bool stop;
	atomic_bool stored[2 * LEAF_PAGES];
};

static void *store_meanwhile(void *arg)
{
	struct storer *storer = arg;

	/* Not before the call has come that far: what is in use it would refuse. */
	usleep(chance(&storer->state) % 3000);
	while (!storer->stop) {
		size_t page = chance(&storer->state) % storer->pages;

		page_fill(storer->map + page * PAGE, TAG, page, storer->generation);
		storer->stored[page] = true;
		if (chance(&storer->state) % 8 == 0)
			usleep(200);
	}
	return NULL;
}

/* Not one of them may be lost, and all others are zeros. */
static unsigned int lost_stores(const struct storer *storer)
{
	unsigned int page, lost = 0;

	for (page = 0; page < storer->pages; page++) {
		const char *at = storer->map + page * PAGE;

		lost += storer->stored[page] ?
			!page_is(at, TAG, page, storer->generation) : !page_is_zero(at);
	}
	return lost;
}

#define RIVALS 3

/* Memory of all rivals. */
struct contest {
	uint64_t most;
	atomic_uint tried;
};

/* BY_SIGNAL() and 1 are no answers of it. */
static int reserve_most(void *arg)
{
	struct contest *contest = arg;
	int fd = object_open(), error = reserve(fd, 0, contest->most);

	CHECK(!error || error == -ENOMEM);
	contest->tried++;
	while (contest->tried < RIVALS)
		usleep(1000);
	return error ? 0 : 2;
}

/* Each wants more than half of all chunks, at once: one gets them, none spoils another's. */
TEST_F_TIMEOUT(huge, reserve_one_after_the_other, 60)
{
	struct contest *contest = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int round, i, got;
	pid_t pid[RIVALS];

	ASSERT_NE(MAP_FAILED, contest);
	contest->most = pool_sum("total") * 5 / 8 / LEAF_PAGES * LEAF_PAGES;
	for (round = 0; round < 5; round++) {
		uint64_t whole = pool_sum("huge_free");

		contest->tried = 0;
		for (i = 0; i < RIVALS; i++)
			pid[i] = child_start(reserve_most, contest);
		for (i = 0, got = 0; i < RIVALS; i++) {
			int status = child_wait(pid[i]);

			EXPECT_TRUE(status == 0 || status == 2);
			got += status == 2;
		}
		EXPECT_EQ(1, got)
			TH_LOG("round %u: %lu of %lu wanted were whole", round,
			       (unsigned long)whole, (unsigned long)contest->most);
	}
	munmap(contest, PAGE);
}

TEST_F_TIMEOUT(huge, what_is_stored_while_reserve_fails, 120)
{
	double until = now() + seconds(4) * slowness();
	uint64_t total = pool_sum("total"), reserved;
	unsigned int rounds, failed = 0, lost = 0;
	struct storer *storer = calloc(1, sizeof(*storer));
	pthread_t thread;
	int error;

	ASSERT_NE(NULL, storer);
	storer->state = seed();
	storer->pages = 2 * LEAF_PAGES;
	for (rounds = 0; (rounds < 5 || now() < until) && !lost; rounds++) {
		int fd = object_open();

		ASSERT_GE(fd, 0);
		memset(storer->stored, 0, sizeof(storer->stored));
		storer->stop = false;
		storer->generation = rounds + 1;
		storer->map = object_map(fd, 0, storer->pages);
		reserved = counter("thp_reserve");
		ASSERT_EQ(0, pthread_create(&thread, NULL, store_meanwhile, storer));
		/* More than there is. */
		error = reserve(fd, 0, total);
		storer->stop = true;
		pthread_join(thread, NULL);
		EXPECT_TRUE(error == -ENOMEM || error == -EBUSY) TH_LOG("%d", error);
		failed += counter("thp_reserve") > reserved + 1;
		lost = lost_stores(storer);
		EXPECT_EQ(0, object_count(fd, 0, total, VMLAB_RES_RESERVED));
		munmap(storer->map, storer->pages * PAGE);
		close(fd);
	}
	EXPECT_EQ(0, lost);
	if (lost)
		note("wrong: %u of %zu pages are not what was stored", lost, storer->pages);
	note("%u rounds, in %u some was reserved first", rounds, failed);
	EXPECT_GE(failed, 1);
	free(storer);
}

TEST_HARNESS_MAIN
