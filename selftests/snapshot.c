// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl(SNAPSHOT): a copy of an object as it was at one moment, with a descriptor of its
 * own, frozen or not.  It must go exactly when its last user does, and no sooner.
 *
 * vmlab-test: timeout=400
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define TAG 0x54a
#define PAGES (2 * LEAF_PAGES + 40)

FIXTURE(snapshot)
{
	int fd;
	uint64_t used;
	char *map;
};

/* Not all that are not free: some are just being zeroed. */
static uint64_t frames_used(void)
{
	return pool_sum("resident") + pool_sum("leaf");
}

FIXTURE_SETUP(snapshot)
{
	settle();
	self->used = frames_used();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->map = object_map(self->fd, 0, PAGES);
	pages_fill(self->map, TAG, 0, PAGES, 1);
}

FIXTURE_TEARDOWN(snapshot)
{
	inject_off();
	EXPECT_VERIFY_OK();
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	settle();
	EXPECT_EQ(self->used, frames_used());
	EXPECT_VERIFY_OK();
}

static void press(int fd)
{
	if (under_pressure() && object_pageout(fd, 0, PAGES) < 0)
		die("cannot page out: %m");
}

TEST_F(snapshot, both_sides_write)
{
	int copy = object_snapshot(self->fd, 0);
	struct vmlab_ioc_info info;
	char *map;
	size_t i;

	ASSERT_GE(copy, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(copy, F_GETFD));
	EXPECT_VERIFY_OK();
	for (i = 0; i < PAGES; i += 2)
		page_fill(self->map + i * PAGE, TAG, i, 2);
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, PAGES, 1));
	map = object_map(copy, 0, PAGES);
	for (i = 0; i < PAGES; i += 3)
		page_fill(map + i * PAGE, TAG, i, 3);
	ASSERT_EQ(0, object_write_pages(copy, TAG, 900, 10, 4));
	press(copy);
	press(self->fd);
	for (i = 0; i < PAGES; i++) {
		ASSERT_TRUE(page_is(self->map + i * PAGE, TAG, i, i % 2 ? 1 : 2));
		ASSERT_TRUE(page_is(map + i * PAGE, TAG, i,
				    i >= 900 && i < 910 ? 4 : i % 3 ? 1 : 3));
	}
	EXPECT_EQ(0, object_discard(copy, 0, PAGES));
	EXPECT_EQ(0, pages_not_zero(map, PAGES));
	ASSERT_EQ(0, object_info(copy, &info));
	EXPECT_EQ(0, info.resident_pages + info.swapped_pages);
	EXPECT_EQ(PAGE, pwrite(copy, self->map + PAGE, PAGE, PAGE));
	EXPECT_TRUE(page_is(map + PAGE, TAG, 1, 1));
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(page_is(self->map + i * PAGE, TAG, i, i % 2 ? 1 : 2));
	munmap(map, PAGES * PAGE);
	close(copy);
}

TEST_F(snapshot, frozen)
{
	int copy = object_snapshot(self->fd, VMLAB_SNAPSHOT_FROZEN), again;
	char *map, *private, *shared = self->map;

	ASSERT_GE(copy, 0);
	EXPECT_EQ(-1, pwrite(copy, "x", 1, 0));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-EBADF, object_discard(copy, 0, 1));
	map = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, copy, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, mprotect(map, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-EACCES, address_range(self->fd, VMLAB_IOC_DISCARD, map, 1, NULL));
	EXPECT_EQ(0, object_populate(copy, 0, PAGES + LEAF_PAGES));
	pages_fill(shared, TAG, 0, PAGES, 2);
	press(copy);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	/* Copies of it may change. */
	private = object_map_private(copy, 0, PAGES);
	pages_fill(private, TAG, 0, PAGES, 3);
	again = object_snapshot(copy, 0);
	ASSERT_GE(again, 0);
	ASSERT_EQ(0, object_write_pages(again, TAG, 0, PAGES, 4));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, pages_wrong(private, TAG, 0, PAGES, 3));
	EXPECT_EQ(0, object_wrong_pages(again, TAG, 0, PAGES, 4));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, PAGES, 2));
	EXPECT_VERIFY_OK();
	close(copy);
	close(again);
	munmap(private, PAGES * PAGE);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	munmap(map, PAGES * PAGE);
}

/* Copies of copies, each a step further; the ones in the middle go first. */
TEST_F(snapshot, chain)
{
	int fd[12], i;

	fd[0] = self->fd;
	for (i = 1; i < 12; i++) {
		fd[i] = object_snapshot(fd[i - 1], 0);
		ASSERT_GE(fd[i], 0);
		ASSERT_EQ(0, object_write_pages(fd[i], TAG, i * 50, 100, 1 + i));
		if (i % 4 == 0)
			press(fd[i]);
	}
	for (i = 2; i < 12; i += 2)
		close(fd[i]);
	EXPECT_VERIFY_OK();
	for (i = 1; i < 12; i += 2) {
		int j;

		EXPECT_EQ(0, object_wrong_pages(fd[i], TAG, 0, 50, 1));
		for (j = 1; j < i; j++)
			EXPECT_EQ(0, object_wrong_pages(fd[i], TAG, j * 50, 50, 1 + j));
		EXPECT_EQ(0, object_wrong_pages(fd[i], TAG, i * 50, 100, 1 + i));
		EXPECT_EQ(0, object_wrong_pages(fd[i], TAG, i * 50 + 100,
						PAGES - i * 50 - 100, 1));
		close(fd[i]);
	}
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
}

#define MANY 1000

TEST_F_TIMEOUT(snapshot, a_thousand, 240)
{
	struct rlimit limit = { MANY + 64, MANY + 64 };
	uint64_t state = seed(), used;
	static int fd[MANY];
	char page[PAGE] __attribute__((aligned(8)));
	int i, j;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	/* One leaf: each copy's own costs a frame. */
	ASSERT_EQ(0, object_discard(self->fd, 0, PAGES));
	pages_fill(self->map, TAG, 0, 32, 1);
	used = frames_used();
	for (i = 0; i < MANY; i++) {
		fd[i] = object_snapshot(self->fd, i % 2 ? VMLAB_SNAPSHOT_FROZEN : 0);
		ASSERT_GE(fd[i], 0) TH_LOG("copy %d", i);
		page_fill(self->map + i % 32 * PAGE, TAG, i % 32, 2 + i);
	}
	EXPECT_VERIFY_OK();
	for (i = MANY - 1; i > 0; i--) {
		int k = chance(&state) % (i + 1), swap = fd[i];

		fd[i] = fd[k];
		fd[k] = swap;
	}
	for (i = 0; i < MANY; i++) {
		uint64_t generation[32], newest = 0;

		/* Which one is it?  Its pages say how far the object was. */
		for (j = 0; j < 32; j++) {
			ASSERT_EQ((ssize_t)PAGE, pread(fd[i], page, PAGE, j * PAGE));
			generation[j] = ((uint64_t *)page)[2];
			ASSERT_TRUE(page_is(page, TAG, j, generation[j]));
			if (generation[j] > newest)
				newest = generation[j];
		}
		for (j = 0; j < 32 && newest > 33; j++)
			ASSERT_LT(newest - generation[j], 32);
		close(fd[i]);
		if (i % 250 == 249)
			EXPECT_VERIFY_OK();
	}
	if (!under_pressure())
		EXPECT_EQ(used, frames_used());
}

TEST_F(snapshot, goes_with_its_last_user)
{
	uint64_t used = frames_used(), more;
	char *map, *private;
	int copy;

	if (under_pressure())
		SKIP(return, "frames are counted, which come and go under pressure");
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	EXPECT_EQ(used, frames_used());
	pages_fill(self->map, TAG, 0, PAGES, 2);
	more = frames_used();
	EXPECT_EQ(used + PAGES + 3, more);
	map = object_map(copy, 0, 8);
	private = object_map_private(copy, 8, 8);
	close(copy);
	EXPECT_EQ(more, frames_used());
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 8, 1));
	munmap(map, 8 * PAGE);
	/* The file is mapped still, though only by a copy of it. */
	EXPECT_EQ(more, frames_used());
	EXPECT_EQ(0, pages_wrong(private, TAG, 8, 8, 1));
	munmap(private, 8 * PAGE);
	EXPECT_EQ(used, frames_used());

	/* The original goes first. */
	copy = object_snapshot(self->fd, 0);
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	EXPECT_EQ(used, frames_used());
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, PAGES, 2));
	close(copy);
	EXPECT_EQ(self->used, frames_used());
	self->fd = object_open();
	self->map = object_map(self->fd, 0, PAGES);
}

#define COUNTED 48
#define WRITERS 3

static char *area;
static volatile bool stop;
static volatile uint64_t lost;

static volatile uint64_t *counted(char *base, unsigned int writer, unsigned int page)
{
	return (volatile uint64_t *)(base + (writer * 300 + page * 5) * PAGE) + 17;
}

static void *writer(void *arg)
{
	unsigned int me = (uintptr_t)arg, page;
	uint64_t n;

	for (n = 1; !stop; n++)
		for (page = 0; page < COUNTED; page++) {
			if (*counted(area, me, page) != n - 1)
				lost++;
			*counted(area, me, page) = n;
		}
	return NULL;
}

/* Pages are counted up one after the other: any moment's view has one step in it at most. */
TEST_F_TIMEOUT(snapshot, while_threads_write, 120)
{
	pthread_t thread[WRITERS];
	unsigned int me, page, i;

	area = self->map;
	stop = false;
	lost = 0;
	for (me = 0; me < WRITERS; me++)
		for (page = 0; page < COUNTED; page++)
			*counted(area, me, page) = 0;
	for (me = 0; me < WRITERS; me++)
		ASSERT_EQ(0, pthread_create(&thread[me], NULL, writer, (void *)(uintptr_t)me));
	for (i = 0; i < 20; i++) {
		int copy = object_snapshot(self->fd, VMLAB_SNAPSHOT_FROZEN);
		char *map = mmap(NULL, PAGES * PAGE, PROT_READ, i % 2 ? MAP_SHARED : MAP_PRIVATE,
				 copy, 0);

		ASSERT_NE(MAP_FAILED, map);
		for (me = 0; me < WRITERS; me++) {
			uint64_t first = *counted(map, me, 0), last = first, n;

			for (page = 1; page < COUNTED; page++) {
				n = *counted(map, me, page);
				EXPECT_TRUE(n == last || (n == first - 1 && last == first))
					TH_LOG("%lu after %lu, first %lu", n, last, first);
				last = n;
			}
		}
		if (i % 5 == 4)
			press(self->fd);
		munmap(map, PAGES * PAGE);
		close(copy);
	}
	stop = true;
	for (me = 0; me < WRITERS; me++)
		pthread_join(thread[me], NULL);
	EXPECT_EQ(0, lost);
}

static int raw(int fd, struct vmlab_ioc_snapshot *snapshot)
{
	return ioctl(fd, VMLAB_IOC_SNAPSHOT, snapshot) ? -errno : 0;
}

TEST_F(snapshot, bad_calls)
{
	struct vmlab_ioc_snapshot good = { .size = sizeof(good) }, bad;
	struct rlimit limit;
	int other[2], next, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char *page;

	ASSERT_EQ(0, pipe(other));
	bad = good;
	EXPECT_EQ(-ENOTTY, raw(null, &bad));
	EXPECT_EQ(-ENOTTY, raw(other[0], &bad));
	EXPECT_EQ(-EBADF, raw(-1, &bad));
	close(null);
	close(other[0]);
	next = dup(other[1]);
	close(next);
	bad.flags = 2;
	EXPECT_EQ(-EINVAL, raw(self->fd, &bad));
	bad = good;
	bad.pad = 1;
	EXPECT_EQ(-EINVAL, raw(self->fd, &bad));
	bad = good;
	bad.size = 0;
	EXPECT_GT(0, raw(self->fd, &bad));
	bad.size = sizeof(bad) - 4;
	EXPECT_GT(0, raw(self->fd, &bad));
	EXPECT_EQ(-EFAULT, raw(self->fd, NULL));
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, &good, sizeof(good));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, raw(self->fd, (void *)page));
	munmap(page, PAGE);
	/* No descriptor was lost in any of these. */
	EXPECT_EQ(next, dup(other[1]));
	close(next);
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = next;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, object_snapshot(self->fd, 0));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	close(other[1]);
}

TEST_F(snapshot, until_memory_ends)
{
	static const char *const classes[] = { "object", "xarray" };
	struct vmlab_ioc_info info;
	int fd[64], n, i, nth;

	for (i = 0; i < 2; i++)
		for (nth = 1; nth < 6; nth++) {
			int copy;

			ASSERT_EQ(0, inject(classes[i], "nth %d", nth));
			copy = object_snapshot(self->fd, 0);
			inject_off();
			EXPECT_TRUE(copy >= 0 || copy == -ENOMEM) TH_LOG("%d", copy);
			if (copy >= 0) {
				EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, PAGES, 1));
				close(copy);
			}
			EXPECT_VERIFY_OK();
			/* After a failure half way the object can be written as before. */
			pages_fill(self->map, TAG, 0, PAGES, 1);
		}
	/* Else there would be room for many more, in place of pages. */
	swap_all_off();
	ASSERT_EQ(0, object_info(self->fd, &info));
	ASSERT_EQ(0, object_limit(self->fd, info.resident_pages + info.leaf_pages + 20));
	for (n = 0; n < 64; n++) {
		fd[n] = object_snapshot(self->fd, 0);
		if (fd[n] < 0)
			break;
	}
	EXPECT_GE(20, n);
	EXPECT_EQ(-ENOMEM, fd[n]);
	EXPECT_VERIFY_OK();
	for (i = 0; i < n; i++) {
		EXPECT_EQ(0, object_wrong_pages(fd[i], TAG, 0, PAGES, 1));
		close(fd[i]);
	}
	ASSERT_EQ(0, object_limit(self->fd, 0));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
}

TEST_HARNESS_MAIN
