// SPDX-License-Identifier: GPL-2.0
/*
 * Churn: many short lives of objects of mixed sizes, until free memory lies in bits of every
 * chunk; then compaction must make whole chunks of most of it.  The bytes of each object are
 * its own until it ends.
 *
 * SEED= repeats a run, LIVES= sets how many objects there are (2,000), COMPACT=1 compacts now and
 * then as well.  A line `life N free F whole W` each hundredth is for who draws a picture.
 *
 * vmlab-test: timeout=600 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <stdlib.h>
#include <string.h>

#define TAG 0xc4
#define POOL_MB 48
#define LIVE 96
#define LIVES 2000

struct life {
	int fd;
	char *map;
	size_t pages, step;
	uint64_t number;
};

static uint64_t state;

static uint64_t setting(const char *name, uint64_t unless_said)
{
	const char *said = getenv(name);

	return said && *said ? strtoull(said, NULL, 0) : unless_said;
}

/* From a page to 4 MiB, each doubling as likely as the others; some are sparse, some huge. */
static void begin(struct life *life, uint64_t number)
{
	size_t i;

	life->pages = 1UL << chance(&state) % 10;
	life->pages += chance(&state) % life->pages;
	life->step = chance(&state) % 4 ? 1 : 1 + chance(&state) % 7;
	life->number = number;
	life->fd = object_open();
	if (life->fd < 0)
		die("/dev/vmlab: %m");
	life->map = object_map(life->fd, 0, life->pages);
	if (chance(&state) % 4 == 0)
		madvise(life->map, life->pages * PAGE, MADV_HUGEPAGE);
	for (i = 0; i < life->pages; i += life->step)
		*(uint64_t *)(life->map + i * PAGE) = number << 20 | i;
}

static void end(struct life *life)
{
	size_t i;

	for (i = 0; i < life->pages; i += life->step)
		if (*(uint64_t *)(life->map + i * PAGE) != (life->number << 20 | i))
			die("life %lu: page %zu is wrong", (unsigned long)life->number, i);
	munmap(life->map, life->pages * PAGE);
	close(life->fd);
	life->map = NULL;
}

static void tell(uint64_t number, uint64_t *free, uint64_t *whole)
{
	*free = pool_sum("free");
	*whole = pool_sum("huge_free");
	note("life %lu free %lu whole %lu", (unsigned long)number, (unsigned long)*free,
	     (unsigned long)*whole);
}

TEST(churn)
{
	uint64_t lives = setting("LIVES", scaled(LIVES, 600)), number, free, whole;
	bool compacts = setting("COMPACT", 0);
	static struct life life[LIVE];
	int node, i;

	state = seed();
	settle();
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, POOL_MB));
	for (number = 0; number < lives; number++) {
		struct life *next = &life[chance(&state) % LIVE];

		if (next->map)
			end(next);
		begin(next, number);
		if (number % (lives / 100 ?: 1))
			continue;
		if (compacts)
			ASSERT_EQ(0, debugfs_write("compact", "all\n"));
		tell(number, &free, &whole);
	}
	/* The stock of zeroed frames is free too, but kept on purpose: a 16th of the pool. */
	ASSERT_EQ(0, debugfs_write("zero_stock", "0\n"));
	ASSERT_EQ(0, debugfs_write("compact", "all\n"));
	tell(number, &free, &whole);
	ASSERT_EQ(0, debugfs_write("zero_stock", "4096\n"));
	EXPECT_GE(whole * 10, free * 8);
	EXPECT_VERIFY_OK();
	for (i = 0; i < LIVE; i++)
		if (life[i].map)
			end(&life[i]);
	EXPECT_VERIFY_OK();
	settle();
}

TEST_HARNESS_MAIN
