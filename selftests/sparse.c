// SPDX-License-Identifier: GPL-2.0
/*
 * Sparse objects: one page in every 2 MiB, so that each page has a page table
 * of its own.  All of it comes out of the pool: a walk through 1 TiB ends when
 * the pool does, and must never hurt the machine.
 *
 * vmlab-test: timeout=240
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>

#define TAG 0x59a

FIXTURE(sparse)
{
	int fd;
	uint64_t total;
};

FIXTURE_SETUP(sparse)
{
	settle();
	self->total = pool_sum("total");
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(sparse)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	EXPECT_TRUE(wait_for_free(self->total));
	EXPECT_EQ(0, pool_sum("leaf"));
	settle();
}

static uint64_t machine_kib(const char *field)
{
	FILE *file = fopen("/proc/meminfo", "r");
	const size_t length = strlen(field);
	unsigned long kib = 0;
	char line[128];

	if (!file)
		die("/proc/meminfo: %m");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, field, length) && sscanf(line + length, ": %lu", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/*
 * What the machine may have less of afterwards.  KASAN keeps what was freed for
 * a while, to see who still uses it: up to a 32nd of the memory.
 */
static uint64_t slack_kib(void)
{
	return 64 * 1024 + (kernel_is("kasan") ? machine_kib("MemTotal") / 32 : 0);
}

/* As many as fit with their page tables: everything is there. */
TEST_F_TIMEOUT(sparse, a_page_in_every_leaf, 60)
{
	const size_t touched = self->total / 4;
	struct vmlab_ioc_info info;
	char page[PAGE];
	size_t i;

	for (i = 0; i < touched; i++) {
		page_fill(page, TAG, i, 1);
		ASSERT_EQ(PAGE, pwrite(self->fd, page, PAGE,
				       i * LEAF_BYTES + i % LEAF_PAGES * PAGE));
	}
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(touched, info.leaf_pages);
	EXPECT_EQ(touched, info.resident_pages + info.swapped_pages);
	for (i = 0; i < touched; i++) {
		ASSERT_EQ(PAGE, pread(self->fd, page, PAGE,
				      i * LEAF_BYTES + i % LEAF_PAGES * PAGE));
		ASSERT_TRUE(page_is(page, TAG, i, 1)) TH_LOG("page %zu", i);
	}
	/* Given back page by page, the tables go too. */
	for (i = 0; i < touched; i++)
		ASSERT_EQ(0, object_discard(self->fd, i * LEAF_PAGES + i % LEAF_PAGES, 1));
	EXPECT_EQ(0, object_frames(self->fd));
}

/* Loads cost nothing at all, however far they go. */
TEST_F_TIMEOUT(sparse, loads_over_one_tebibyte, 60)
{
	const size_t leaves = TIB / LEAF_BYTES;
	char *map = object_map(self->fd, 0, TIB / PAGE);
	uint64_t free = pool_sum("free");
	size_t i;

	for (i = 0; i < leaves; i += 37)
		ASSERT_EQ(0, map[i * LEAF_BYTES + i % LEAF_PAGES * PAGE]);
	EXPECT_EQ(0, object_frames(self->fd));
	EXPECT_EQ(free, pool_sum("free"));
	munmap(map, TIB);
}

/* Stores until the end, or until there is no memory; what was stored stays. */
static int walk(void *arg)
{
	int fd = (int)(intptr_t)arg, number = 0;
	char *map = object_map(fd, 0, TIB / PAGE);
	size_t i, stored;

	for (i = 0; i < TIB / LEAF_BYTES; i++) {
		number = try_store(map + i * LEAF_BYTES, i % 255 + 1);
		if (number)
			break;
	}
	stored = i;
	CHECK(number == SIGBUS);
	note("one page in every 2 MiB: %zu pages, then SIGBUS", stored);
	/* Page tables do not go to swap: make room to look at what they name. */
	stored -= stored / 8;
	CHECK(!object_discard(fd, stored * LEAF_PAGES, TIB / PAGE - stored * LEAF_PAGES));
	for (i = 0; i < stored; i++)
		CHECK(((unsigned char *)map)[i * LEAF_BYTES] == i % 255 + 1);
	return 0;
}

TEST_F_TIMEOUT(sparse, stores_over_one_tebibyte, 120)
{
	uint64_t before = machine_kib("MemAvailable");
	struct vmlab_ioc_info info;

	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	EXPECT_EQ(0, child_run(walk, (void *)(intptr_t)self->fd));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_LE(info.resident_pages + info.leaf_pages, self->total);
	EXPECT_GE(info.leaf_pages, self->total / 4);
	/* The page tables of the child's mapping are gone; vmlab's own cost is a few words each. */
	EXPECT_GT(machine_kib("MemAvailable") + slack_kib(), before);
}

/* The same under the policy that kills: the walker goes, nobody else does. */
static int walk_on(void *arg)
{
	int fd = object_open();
	char *map = object_map(fd, 0, TIB / PAGE);
	size_t i;

	for (i = 0; i < TIB / LEAF_BYTES; i++)
		map[i * LEAF_BYTES] = 1;
	return 0;
}

TEST_F_TIMEOUT(sparse, the_walker_is_killed, 120)
{
	uint64_t kills = counter("oom_kill");

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 50, 1));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(walk_on, NULL));
	EXPECT_EQ(kills + 1, counter("oom_kill"));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, 50, 1));
}

/* A limit holds page tables too. */
TEST_F(sparse, limit_counts_page_tables)
{
	char byte = 1;
	size_t i;

	ASSERT_EQ(0, object_limit(self->fd, 64));
	for (i = 0; i < 200; i++)
		if (pwrite(self->fd, &byte, 1, i * LEAF_BYTES) != 1)
			break;
	EXPECT_LT(i, 64);
	EXPECT_GE(i, 32);
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_LE(object_frames(self->fd), 64);
}

TEST_HARNESS_MAIN
