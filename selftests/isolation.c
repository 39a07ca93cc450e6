// SPDX-License-Identifier: GPL-2.0
/*
 * Isolation: no object ever shows a byte of another.  Secrets are written,
 * given up in every way there is (discard, close, exit, kill, eviction), and
 * looked for in fresh memory of others.  A page that is neither zero nor the
 * reader's own must never be seen.
 *
 * vmlab-test: timeout=300
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>

#define SECRET 0x5ec

FIXTURE(isolation)
{
	size_t total;
};

FIXTURE_SETUP(isolation)
{
	settle();
	pools_scaled(4);
	self->total = pool_sum("total");
}

FIXTURE_TEARDOWN(isolation)
{
	EXPECT_VERIFY_OK();
}

/* How much of the pool to use: most of it, so that frames go round. */
static size_t most(size_t total)
{
	return total * 3 / 4;
}

static void spill(size_t pages)
{
	int fd = object_open();
	char *map = object_map(fd, 0, pages);

	pages_fill(map, SECRET, 0, pages, 1);
	munmap(map, pages * PAGE);
	close(fd);
}

/* Every way to get fresh memory; counts pages that are not zero. */
static size_t look(size_t pages)
{
	int fd = object_open();
	char *map = object_map(fd, 0, pages), page[PAGE];
	size_t i, wrong = 0;

	for (i = 0; i < pages; i++) {
		switch (i % 3) {
		case 0: /* a store of one byte */
			map[i * PAGE + PAGE - 1] = 1;
			map[i * PAGE + PAGE - 1] = 0;
			wrong += !page_is_zero(map + i * PAGE);
			break;
		case 1: /* a write of one byte */
			if (pwrite(fd, "", 1, i * PAGE + 5) != 1 ||
			    pread(fd, page, PAGE, i * PAGE) != (ssize_t)PAGE)
				die("cannot write: %m");
			wrong += !page_is_zero(page);
			break;
		case 2:
			if (object_populate(fd, i, 1))
				die("cannot populate: %m");
			wrong += !page_is_zero(map + i * PAGE);
			break;
		}
	}
	munmap(map, pages * PAGE);
	close(fd);
	return wrong;
}

TEST_F_TIMEOUT(isolation, after_close, 60)
{
	size_t pages = most(self->total);

	spill(pages);
	EXPECT_EQ(0, look(pages));
}

TEST_F_TIMEOUT(isolation, after_discard, 60)
{
	size_t pages = most(self->total);
	int fd = object_open();
	char *map = object_map(fd, 0, pages);

	pages_fill(map, SECRET, 0, pages, 1);
	ASSERT_EQ(0, object_discard(fd, 0, pages));
	EXPECT_EQ(0, pages_not_zero(map, pages));
	EXPECT_EQ(0, look(pages));
	/* The object itself gets zeros again, too. */
	EXPECT_EQ(0, object_populate(fd, 0, pages));
	EXPECT_EQ(0, pages_not_zero(map, pages));
	munmap(map, pages * PAGE);
	close(fd);
}

static int spill_and_exit(void *arg)
{
	size_t pages = (size_t)arg;
	char *map = object_map(object_open(), 0, pages);

	pages_fill(map, SECRET, 0, pages, 1);
	return 0;
}

static int spill_and_die(void *arg)
{
	spill_and_exit(arg);
	return raise(SIGKILL);
}

TEST_F_TIMEOUT(isolation, after_exit_and_kill, 90)
{
	size_t pages = most(self->total);

	EXPECT_EQ(0, child_run(spill_and_exit, (void *)pages));
	EXPECT_EQ(0, look(pages));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(spill_and_die, (void *)pages));
	EXPECT_EQ(0, look(pages));
}

/* Two frames are one page each: what was evicted and came back is still one's own. */
static int keep_own(void *arg)
{
	size_t pages = (size_t)arg & 0xffffff;
	uint32_t tag = (size_t)arg >> 24, generation;
	int fd = object_open();
	char *map = object_map(fd, 0, pages);

	for (generation = 1; generation <= 3; generation++) {
		CHECK(generation > 1 || !pages_not_zero(map, pages));
		pages_fill(map, tag, 0, pages, generation);
		CHECK(!pages_wrong(map, tag, 0, pages, generation));
		CHECK(!object_wrong_pages(fd, tag, 0, pages, generation));
	}
	return 0;
}

TEST_F_TIMEOUT(isolation, side_by_side, 90)
{
	/* Under pressure together twice the pool, else two thirds of it. */
	size_t pages = under_pressure() ? self->total * 2 / 3 : self->total * 2 / 9;
	pid_t pids[3];
	size_t i;

	for (i = 0; i < 3; i++)
		pids[i] = child_start(keep_own, (void *)((i + 1) << 24 | pages));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
	EXPECT_EQ(0, look(most(self->total)));
}

/* read() past what was written, and a partly written page, give zeros only. */
TEST_F(isolation, rest_of_a_page)
{
	char page[PAGE];
	size_t i;
	int fd;

	spill(most(self->total));
	fd = object_open();
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(3, pwrite(fd, "abc", 3, i * 7 * PAGE + 100));
		ASSERT_EQ(PAGE, pread(fd, page, PAGE, i * 7 * PAGE));
		ASSERT_EQ(0, memcmp(page + 100, "abc", 3));
		memset(page + 100, 0, 3);
		ASSERT_TRUE(page_is_zero(page)) TH_LOG("page %zu", i * 7);
	}
	close(fd);
}

/* A swap slot that changes hands, and a read of it that failed, show nothing. */
TEST_F_TIMEOUT(isolation, swap_slots_change_hands, 60)
{
	const size_t pages = 600;
	int one = object_open(), two = object_open();
	char *first = object_map(one, 0, pages), *second = object_map(two, 0, pages);
	int round;

	ASSERT_EQ(0, swap_use_only(spare_disk()));
	for (round = 1; round <= 4; round++) {
		pages_fill(first, SECRET, 0, pages, round);
		ASSERT_GE(object_pageout(one, 0, pages), 1);
		ASSERT_EQ(0, object_discard(one, 0, pages / 2));
		pages_fill(second, SECRET + 1, 0, pages, round);
		ASSERT_GE(object_pageout(two, 0, pages), 1);
		ASSERT_EQ(0, pages_not_zero(first, pages / 2));
		ASSERT_EQ(0, pages_wrong(first + pages / 2 * PAGE, SECRET, pages / 2, pages / 2,
					 round));
		ASSERT_EQ(0, pages_wrong(second, SECRET + 1, 0, pages, round));
	}
	munmap(first, pages * PAGE);
	munmap(second, pages * PAGE);
	EXPECT_VERIFY_OK();
	close(one);
	close(two);
	settle();
}

TEST_HARNESS_MAIN
