// SPDX-License-Identifier: GPL-2.0
/*
 * Swap: objects four times the pool, clean pages dropped, read-ahead that
 * adapts, several devices, devices taken away in use, devices that fail, lie
 * or are slow, and processes killed while they wait for them.  It must never
 * accept wrong bytes: a page is right, or it is an error.
 *
 * vmlab-test: timeout=400 phases=pressure
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>

#define TAG 0x5a9
#define SMALL_MB 4
#define DM "vmlabswap"
#define MAPPER "/dev/mapper/" DM

FIXTURE(swap)
{
	int fd;
	const char *disk;
	uint64_t sectors;
};

/* For what needs a pool that is full; elsewhere nothing should be evicted but by us. */
static size_t small_pool(void)
{
	int node;

	for (node = 0; node < nr_nodes(); node++)
		if (pool_resize(node, scaled(SMALL_MB, 2)))
			die("cannot make the pools small");
	return pool_sum("total");
}

FIXTURE_SETUP(swap)
{
	/* A test that was ended by an assertion has left its devices. */
	swap_all_off();
	dm_remove(DM "2");
	dm_remove(DM);
	settle();
	swap_all_off();
	self->disk = spare_disk();
	self->sectors = disk_bytes(self->disk) / 512;
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(swap)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	swap_all_off();
	dm_remove(DM "2");
	dm_remove(DM);
	settle();
	EXPECT_VERIFY_OK();
}

struct job {
	int fd;
	char *map;
	size_t pages;
	uint32_t generation;
	int ready[2];
};

static int read_all(void *arg)
{
	struct job *job = arg;

	return object_wrong_pages(job->fd, TAG, 0, job->pages, job->generation) != 0;
}

TEST_F_TIMEOUT(swap, four_times_the_pool, 120)
{
	struct job job = { .fd = self->fd, .generation = 1 };
	uint64_t out = counter("swap_out"), in = counter("swap_in");
	struct vmlab_ioc_info info;

	ASSERT_EQ(0, swap_use_only(self->disk));
	job.pages = 4 * small_pool();
	job.map = object_map(self->fd, 0, job.pages);
	pages_fill(job.map, TAG, 0, job.pages, 1);
	EXPECT_EQ(0, pages_wrong(job.map, TAG, 0, job.pages, 1));
	EXPECT_EQ(0, child_run(read_all, &job));
	EXPECT_GE(counter("swap_out") - out, job.pages / 2);
	EXPECT_GE(counter("swap_in") - in, job.pages);
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(job.pages, info.resident_pages + info.swapped_pages);
	EXPECT_GE(info.swapped_pages, job.pages / 2);
	munmap(job.map, job.pages * PAGE);
}

/* What every page should hold is known by its generation alone. */
TEST_F_TIMEOUT(swap, any_order, 120)
{
	size_t pages = 2 * small_pool(), i, round;
	uint32_t *generation = calloc(pages, sizeof(*generation));
	char *map = object_map(self->fd, 0, pages), page[PAGE];
	uint64_t state = seed();

	ASSERT_NE(NULL, generation);
	ASSERT_EQ(0, swap_use_only(self->disk));
	for (round = 0; round < 3 * pages; round++) {
		i = chance(&state) % pages;
		if (generation[i]) {
			ASSERT_TRUE(page_is(map + i * PAGE, TAG, i, generation[i]))
				TH_LOG("page %zu in round %zu", i, round);
		} else {
			ASSERT_TRUE(page_is_zero(map + i * PAGE));
		}
		switch (chance(&state) % 3) {
		case 0:
			page_fill(map + i * PAGE, TAG, i, ++generation[i]);
			break;
		case 1:
			page_fill(page, TAG, i, ++generation[i]);
			ASSERT_EQ(PAGE, pwrite(self->fd, page, PAGE, i * PAGE));
			break;
		}
	}
	for (i = 0; i < pages; i++) {
		if (generation[i])
			ASSERT_TRUE(page_is(map + i * PAGE, TAG, i, generation[i]));
	}
	free(generation);
	munmap(map, pages * PAGE);
}

TEST_F(swap, clean_pages_are_dropped)
{
	const size_t pages = 256;
	char *map = object_map(self->fd, 0, pages);
	uint64_t out, drop;

	ASSERT_EQ(0, swap_use_only(self->disk));
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(pages * 4, swap_field(self->disk, "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* Only read since: nothing to write. */
	out = counter("swap_out");
	drop = counter("swap_clean_drop");
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(out, counter("swap_out"));
	EXPECT_EQ(drop + pages, counter("swap_clean_drop"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* One page stored to by a mapping, one by write(). */
	page_fill(map + 17 * PAGE, TAG, 17, 2);
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 99, 1, 2));
	EXPECT_EQ(2, object_count(self->fd, 0, pages, VMLAB_RES_DIRTY));
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(out + 2, counter("swap_out"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 17, 1));
	EXPECT_EQ(0, pages_wrong(map + 17 * PAGE, TAG, 17, 1, 2));
	EXPECT_EQ(0, pages_wrong(map + 99 * PAGE, TAG, 99, 1, 2));
	EXPECT_EQ(0, pages_wrong(map + 100 * PAGE, TAG, 100, pages - 100, 1));
	munmap(map, pages * PAGE);
}

TEST_F(swap, clusters_and_readahead)
{
	const size_t pages = 2 * LEAF_PAGES;
	char *map = object_map(self->fd, 0, pages);
	uint64_t in, bios, ahead, hits;
	size_t i;

	ASSERT_EQ(0, swap_use_only(self->disk));
	pages_fill(map, TAG, 0, pages, 1);
	bios = counter("swap_out_bio");
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_LE(counter("swap_out_bio") - bios, pages / 16);

	in = counter("swap_in");
	bios = counter("swap_in_bio");
	ahead = counter("swap_readahead");
	hits = counter("swap_readahead_hit");
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(in + pages, counter("swap_in"));
	EXPECT_LE(counter("swap_in_bio") - bios, pages / 4);
	EXPECT_GE(counter("swap_readahead") - ahead, pages / 2);
	EXPECT_GE(counter("swap_readahead_hit") - hits, pages / 2);

	/* One page in 32, against the current: hardly anything is read in vain. */
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	in = counter("swap_in");
	for (i = pages; i >= 32; i -= 32)
		ASSERT_TRUE(page_is(map + (i - 32) * PAGE, TAG, i - 32, 1));
	EXPECT_LE(counter("swap_in") - in, pages / 32 * 4);

	ASSERT_GE(object_pageout(self->fd, 0, pages), 1);
	ASSERT_EQ(0, madvise(map, pages * PAGE, MADV_RANDOM));
	ahead = counter("swap_readahead");
	for (i = 0; i < 64; i++)
		ASSERT_TRUE(page_is(map + i * PAGE, TAG, i, 1));
	EXPECT_EQ(ahead, counter("swap_readahead"));
	munmap(map, pages * PAGE);
}

TEST_F(swap, slots_are_given_back)
{
	const size_t pages = 300;
	char *map = object_map(self->fd, 0, pages);

	ASSERT_EQ(0, swap_use_only(self->disk));
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(pages * 4, swap_field(self->disk, "Used"));
	ASSERT_EQ(0, object_discard(self->fd, 0, 100));
	EXPECT_EQ((pages - 100) * 4, swap_field(self->disk, "Used"));
	EXPECT_EQ(0, pages_not_zero(map, 100));
	/* A page that is stored to gives up its copy. */
	pages_fill(map + 100 * PAGE, TAG, 100, 100, 2);
	EXPECT_EQ((pages - 200) * 4, swap_field(self->disk, "Used"));
	EXPECT_EQ(0, pages_wrong(map + 100 * PAGE, TAG, 100, 100, 2));
	EXPECT_EQ(0, pages_wrong(map + 200 * PAGE, TAG, 200, 100, 1));
	munmap(map, pages * PAGE);
	close(self->fd);
	EXPECT_EQ(0, swap_field(self->disk, "Used"));
	self->fd = object_open();
}

static int read_until_told(void *arg)
{
	struct job *job = arg;
	size_t i;

	CHECK(write(job->ready[1], "", 1) == 1);
	for (;;)
		for (i = 0; i < job->pages; i++)
			CHECK(page_is(job->map + i * PAGE, TAG, i, job->generation));
	return 0;
}

TEST_F_TIMEOUT(swap, off_in_use, 60)
{
	struct job job = { .fd = self->fd, .pages = 1200, .generation = 3 };
	struct vmlab_ioc_info info;
	pid_t child;
	char byte;

	ASSERT_EQ(0, swap_use_only(self->disk));
	job.map = object_map(self->fd, 0, job.pages);
	pages_fill(job.map, TAG, 0, job.pages, 3);
	ASSERT_EQ(job.pages, object_pageout(self->fd, 0, job.pages));
	ASSERT_EQ(0, pipe(job.ready));
	child = child_start(read_until_told, &job);
	ASSERT_EQ(1, read(job.ready[0], &byte, 1));
	EXPECT_EQ(0, swap_off(self->disk));
	EXPECT_FALSE(swap_is_on(self->disk));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(0, info.swapped_pages);
	EXPECT_EQ(job.pages, info.resident_pages);
	EXPECT_EQ(job.pages, info.dirty_pages);
	kill(child, SIGKILL);
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
	EXPECT_EQ(0, pages_wrong(job.map, TAG, 0, job.pages, 3));
	/* The device is free for others now. */
	EXPECT_EQ(0, swap_format(self->disk));
	munmap(job.map, job.pages * PAGE);
}

TEST_F_TIMEOUT(swap, off_without_room, 60)
{
	size_t pages = 2 * small_pool();
	char *map = object_map(self->fd, 0, pages);
	uint64_t kills = counter("oom_kill");

	ASSERT_EQ(0, swap_use_only(self->disk));
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(-ENOMEM, swap_off(self->disk));
	EXPECT_TRUE(swap_is_on(self->disk));
	EXPECT_EQ(kills, counter("oom_kill"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	/* With room it goes. */
	ASSERT_EQ(0, object_discard(self->fd, 0, pages * 3 / 4));
	EXPECT_EQ(0, swap_off(self->disk));
	EXPECT_EQ(0, pages_wrong(map + pages * 3 / 4 * PAGE, TAG, pages * 3 / 4, pages / 4, 2));
	munmap(map, pages * PAGE);
}

TEST_F_TIMEOUT(swap, two_devices, 60)
{
	const size_t pages = 1000;
	char *map = object_map(self->fd, 0, pages);
	uint64_t small = 512 * 8; /* sectors in 512 pages */

	if (!dm_create(DM, "0 %lu linear %s 0", small, self->disk) ||
	    !dm_create(DM "2", "0 %lu linear %s %lu", self->sectors - small, self->disk, small))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_format(MAPPER));
	ASSERT_EQ(0, swap_format(MAPPER "2"));
	ASSERT_EQ(0, swap_on_priority(MAPPER, 20));
	ASSERT_EQ(0, swap_on_priority(MAPPER "2", 10));
	EXPECT_EQ(20, swap_field(MAPPER, "Priority"));
	EXPECT_EQ(10, swap_field(MAPPER "2", "Priority"));
	pages_fill(map, TAG, 0, pages, 1);
	/* The better one first, then the other. */
	ASSERT_EQ(200, object_pageout(self->fd, 0, 200));
	EXPECT_EQ(200 * 4, swap_field(MAPPER, "Used"));
	EXPECT_EQ(0, swap_field(MAPPER "2", "Used"));
	ASSERT_EQ(800, object_pageout(self->fd, 200, 800));
	EXPECT_EQ(511 * 4, swap_field(MAPPER, "Used"));
	EXPECT_EQ((pages - 511) * 4, swap_field(MAPPER "2", "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* The better one goes; then all can be on the other. */
	EXPECT_EQ(0, swap_off(MAPPER));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(pages * 4, swap_field(MAPPER "2", "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* Equals take turns. */
	ASSERT_EQ(0, swap_on_priority(MAPPER, 10));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_GT(swap_field(MAPPER, "Used"), 0);
	EXPECT_GT(swap_field(MAPPER "2", "Used"), 0);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

static int cycle_and_check(void *arg)
{
	struct job *job = arg;
	uint32_t generation;
	size_t i;

	CHECK(write(job->ready[1], "", 1) == 1);
	for (generation = 1; generation < 4; generation++) {
		pages_fill(job->map, TAG, 0, job->pages, generation);
		for (i = 0; i < job->pages; i++)
			CHECK(page_is(job->map + i * PAGE, TAG, i, generation));
	}
	return 0;
}

TEST_F_TIMEOUT(swap, policy_changes_meanwhile, 120)
{
	struct job job = { .fd = self->fd };
	int switches, status = -1;
	pid_t child;
	char byte;

	ASSERT_EQ(0, swap_use_only(self->disk));
	job.pages = 2 * small_pool();
	job.map = object_map(self->fd, 0, job.pages);
	ASSERT_EQ(0, pipe(job.ready));
	child = child_start(cycle_and_check, &job);
	ASSERT_EQ(1, read(job.ready[0], &byte, 1));
	for (switches = 0; waitpid(child, &status, WNOHANG) == 0; switches++) {
		EXPECT_EQ(0, debugfs_write("policy", switches % 2 ? "clock\n" : "fifo\n"));
		usleep(30000);
	}
	EXPECT_EQ(0, status);
	EXPECT_GT(switches, 3);
	EXPECT_EQ(0, pages_wrong(job.map, TAG, 0, job.pages, 3));
	munmap(job.map, job.pages * PAGE);
}

static int touch_all(void *arg)
{
	struct job *job = arg;
	size_t i;

	CHECK(write(job->ready[1], "", 1) == 1);
	for (i = 0; i < job->pages; i += 8)
		CHECK(page_is(job->map + i * PAGE, TAG, i, 1));
	for (;;)
		pause();
	return 0;
}

/* Each read takes 60 ms: the child is killed while it waits for one. */
TEST_F_TIMEOUT(swap, killed_during_swap_in, 60)
{
	struct job job = { .fd = self->fd, .pages = 512 };
	uint64_t state = seed();
	pid_t child;
	int round;
	char byte;

	run("modprobe dm-delay");
	if (!dm_create(DM, "0 %lu delay %s 0 60 %s 0 0", self->sectors, self->disk, self->disk))
		SKIP(return, "no dm-delay");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	job.map = object_map(self->fd, 0, job.pages);
	pages_fill(job.map, TAG, 0, job.pages, 1);
	ASSERT_EQ(0, madvise(job.map, job.pages * PAGE, MADV_RANDOM));
	ASSERT_EQ(0, pipe(job.ready));
	for (round = 0; round < 6; round++) {
		ASSERT_GE(object_pageout(self->fd, 0, job.pages), 1);
		child = child_start(touch_all, &job);
		ASSERT_EQ(1, read(job.ready[0], &byte, 1));
		usleep(20000 + chance(&state) % 400000);
		EXPECT_EQ(0, kill(child, SIGKILL));
		EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
		EXPECT_VERIFY_OK();
	}
	EXPECT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	EXPECT_EQ(0, pages_wrong(job.map, TAG, 0, job.pages, 1));
	munmap(job.map, job.pages * PAGE);
}

static int bus_error(void *arg)
{
	unsigned char byte = *(volatile unsigned char *)arg;

	return byte ? 1 : 2;
}

TEST_F(swap, read_errors)
{
	const size_t pages = 64;
	char *map = object_map(self->fd, 0, pages), *fine, buffer[PAGE];
	int other = object_open();
	uint64_t errors;
	size_t i;

	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	ASSERT_GE(other, 0);
	fine = object_map(other, 0, pages);
	pages_fill(fine, TAG + 1, 0, pages, 1);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	errors = counter("swap_read_error");
	ASSERT_TRUE(dm_switch(DM, "0 %lu error", self->sectors));

	EXPECT_EQ(BY_SIGNAL(SIGBUS), child_run(bus_error, map + 3 * PAGE));
	EXPECT_EQ(SIGBUS, try_load(map + 5 * PAGE, NULL));
	EXPECT_EQ(SIGBUS, try_store(map + 5 * PAGE, 1));
	EXPECT_EQ(-1, pread(self->fd, buffer, PAGE, 7 * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(self->fd, "x", 1, 8 * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-EIO, object_populate(self->fd, 9, 1));
	EXPECT_EQ(-EIO, swap_off(MAPPER));
	EXPECT_TRUE(swap_is_on(MAPPER));
	EXPECT_GE(counter("swap_read_error"), errors + 6);
	/* Nobody else is harmed, and a hole still is one. */
	EXPECT_EQ(0, pages_wrong(fine, TAG + 1, 0, pages, 1));
	EXPECT_EQ(PAGE, pread(self->fd, buffer, PAGE, 2 * pages * PAGE));
	EXPECT_TRUE(page_is_zero(buffer));
	EXPECT_VERIFY_OK();

	/* The device is well again, and everything is there. */
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	for (i = 0; i < pages; i++)
		ASSERT_TRUE(page_is(map + i * PAGE, TAG, i, 1)) TH_LOG("page %zu", i);
	munmap(map, pages * PAGE);
	munmap(fine, pages * PAGE);
	close(other);
}

/* A read that fails half way tells what came before. */
TEST_F(swap, read_errors_half_way)
{
	char buffer[4 * PAGE];

	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 4, 1));
	ASSERT_EQ(2, object_pageout(self->fd, 2, 2));
	ASSERT_TRUE(dm_switch(DM, "0 %lu error", self->sectors));
	EXPECT_EQ(2 * PAGE, pread(self->fd, buffer, 4 * PAGE, 0));
	EXPECT_EQ(0, pages_wrong(buffer, TAG, 0, 2, 1));
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, 4, 1));
}

TEST_F(swap, write_errors)
{
	const size_t pages = 64;
	char *map = object_map(self->fd, 0, pages);
	struct vmlab_ioc_info info;
	uint64_t errors;

	run("modprobe dm-flakey");
	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	pages_fill(map, TAG, 0, pages, 1);
	if (!dm_switch(DM, "0 %lu flakey %s 0 0 1 1 error_writes", self->sectors, self->disk))
		SKIP(return, "no dm-flakey");
	errors = counter("swap_write_error");
	EXPECT_EQ(0, object_pageout(self->fd, 0, pages));
	EXPECT_GE(counter("swap_write_error"), errors + pages);
	/* It is the device that does not work, not each place on it. */
	EXPECT_EQ(0, swap_field(MAPPER, "Bad"));
	EXPECT_EQ(0, swap_field(MAPPER, "Used"));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(pages, info.resident_pages);
	EXPECT_EQ(pages, info.dirty_pages);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_VERIFY_OK();
	/* Well again, which is tried some times a second. */
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	usleep(200000);
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

TEST_F(swap, lies_are_caught)
{
	const size_t pages = 64, length = 4 * MIB;
	char *map = object_map(self->fd, 0, pages), page[PAGE];
	char *before, *after;
	uint64_t errors;
	int disk;
	size_t i;

	ASSERT_EQ(0, swap_use_only(self->disk));
	before = aligned_alloc(PAGE, length);
	after = aligned_alloc(PAGE, length);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	disk = open(self->disk, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		SKIP(return, "the kernel lets nobody write to a claimed disk");
	ASSERT_EQ(length, pread(disk, before, length, 0));
	/* One bit of each of the first pages, and the rest in the wrong order. */
	memcpy(after, before, length);
	for (i = 1; i < 32; i++)
		after[i * PAGE + 77 * i] ^= 1 << i % 8;
	for (i = 32; i < length / PAGE; i++)
		memcpy(after + i * PAGE, before + (length / PAGE + 31 - i) * PAGE, PAGE);
	ASSERT_EQ(length, pwrite(disk, after, length, 0));

	errors = counter("swap_checksum_error");
	for (i = 0; i < pages; i++) {
		if (i % 2) {
			ASSERT_EQ(SIGBUS, try_load(map + i * PAGE, NULL)) TH_LOG("page %zu", i);
		} else {
			ASSERT_EQ(-1, pread(self->fd, page, PAGE, i * PAGE)) TH_LOG("page %zu", i);
			ASSERT_EQ(EIO, errno);
		}
	}
	EXPECT_GE(counter("swap_checksum_error"), errors + pages);
	/* The truth is told again. */
	ASSERT_EQ(length, pwrite(disk, before, length, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	close(disk);
	free(before);
	free(after);
	munmap(map, pages * PAGE);
}

TEST_HARNESS_MAIN
