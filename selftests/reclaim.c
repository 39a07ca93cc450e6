// SPDX-License-Identifier: GPL-2.0
/*
 * Reclaim: second chances, batches, watermarks, pins, limits, and both
 * policies.  Which page leaves is a matter of degree, so the tests compare
 * groups of pages; that what left comes back unchanged is not.
 *
 * vmlab-test: timeout=300 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#define TAG 0x4ec
#define SMALL_MB 4

FIXTURE(reclaim)
{
	int fd;
};

FIXTURE_VARIANT(reclaim)
{
	const char *policy;
};

FIXTURE_VARIANT_ADD(reclaim, clock)
{
	.policy = "clock",
};

FIXTURE_VARIANT_ADD(reclaim, fifo)
{
	.policy = "fifo",
};

FIXTURE_SETUP(reclaim)
{
	int node;

	settle();
	ASSERT_EQ(0, swap_use_only(spare_disk()));
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, SMALL_MB));
	ASSERT_EQ(0, debugfs_write("policy", "%s\n", variant->policy));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(reclaim)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
}

/*
 * Streams @cold pages past @hot ones that are read again every 64 pages; how many of the
 * hot ones had to be read from swap meanwhile.
 */
static uint64_t hot_pages_missed(const char *map, size_t hot, size_t cold)
{
	uint64_t ins = counter("swap_in");
	int other = object_open();
	char *stream = object_map(other, 0, cold);
	size_t i, k;

	for (i = 0; i < cold; i++) {
		page_fill(stream + i * PAGE, TAG + 1, i, 1);
		for (k = 0; k < hot && i % 64 == 0; k++)
			if (((volatile uint64_t *)(map + k * PAGE))[1] != k)
				die("hot page %zu is wrong", k);
	}
	munmap(stream, cold * PAGE);
	close(other);
	return counter("swap_in") - ins;
}

#define HOT_ROUNDS 4

/* Pages used all the time must be there more often than pages used once. */
TEST_F_TIMEOUT(reclaim, hot_pages_stay, 120)
{
	size_t total = pool_sum("total"), hot = total / 8, cold = 4 * total;
	bool clock = !strcmp(variant->policy, "clock");
	uint64_t chances = counter("clock_second_chance"), missed;
	char *map = object_map(self->fd, 0, hot);
	unsigned int round = 0;

	pages_fill(map, TAG, 0, hot, 1);
	/*
	 * FIFO throws each of them out about cold / total = 4 times.  CLOCK must do with half
	 * of that in one round of some: when all pages in memory have been used, a reader who
	 * waits for a frame cannot use his again before the hand has come round, and where it
	 * stands then is chance.
	 */
	do {
		missed = hot_pages_missed(map, hot, cold);
		note("%s: %zu hot pages were read %lu times", variant->policy, hot,
		     (unsigned long)missed);
	} while (clock && missed > 2 * hot && ++round < HOT_ROUNDS);
	if (clock) {
		EXPECT_LE(missed, 2 * hot);
		EXPECT_GT(counter("clock_second_chance"), chances);
	} else {
		EXPECT_GT(missed, 2 * hot);
		EXPECT_EQ(chances, counter("clock_second_chance"));
	}
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, hot, 1));
	munmap(map, hot * PAGE);
}

TEST_F_TIMEOUT(reclaim, one_flush_for_many_pages, 60)
{
	size_t pages = 3 * pool_sum("total");
	char *map = object_map(self->fd, 0, pages);
	uint64_t flushes = counter("unmap_flush"), flushed = counter("unmap_flush_pages");
	uint64_t evicted = counter("evict"), cpus = counter("unmap_flush_cpus");

	pages_fill(map, TAG, 0, pages, 1);
	flushes = counter("unmap_flush") - flushes;
	flushed = counter("unmap_flush_pages") - flushed;
	evicted = counter("evict") - evicted;
	note("%lu pages evicted, %lu flushes for %lu pages", (unsigned long)evicted,
	     (unsigned long)flushes, (unsigned long)flushed);
	EXPECT_GE(evicted, pages / 2);
	EXPECT_GT(flushes, 0);
	EXPECT_GE(flushed, flushes * 8);
	EXPECT_GE(counter("unmap_flush_cpus"), cpus);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

static unsigned int setting(const char *name)
{
	char text[64];

	if (debugfs_read(name, text, sizeof(text)) < 0)
		die("debugfs %s: %m", name);
	return strtoul(text, NULL, 10);
}

/* The reclaim threads bring each node above its low mark, with nobody's help. */
TEST_F_TIMEOUT(reclaim, watermarks, 60)
{
	unsigned int low = setting("watermark_low"), high = setting("watermark_high");
	size_t pages = 2 * pool_sum("total");
	char *map = object_map(self->fd, 0, pages);
	uint64_t wakes = counter("reclaim_wake");
	double until;
	int node;

	ASSERT_GT(low, 0);
	ASSERT_LT(low, high);
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_GT(counter("reclaim_wake"), wakes);
	for (node = 0; node < nr_nodes(); node++) {
		for (until = now() + 10; now() < until; usleep(20000))
			if (pool_field(node, "free") * 1000 >= pool_field(node, "total") * low)
				break;
		EXPECT_GE(pool_field(node, "free") * 1000, pool_field(node, "total") * low);
	}
	/* Higher marks are met at once. */
	ASSERT_EQ(0, debugfs_write("watermark_high", "400\n"));
	ASSERT_EQ(0, debugfs_write("watermark_low", "300\n"));
	for (node = 0; node < nr_nodes(); node++) {
		for (until = now() + 10; now() < until; usleep(20000))
			if (pool_field(node, "free") * 10 >= pool_field(node, "total") * 3)
				break;
		EXPECT_GE(pool_field(node, "free") * 10, pool_field(node, "total") * 3);
	}
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(-EINVAL, debugfs_write("watermark_low", "400\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("watermark_high", "300\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("watermark_low", "0\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("watermark_high", "100000\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("watermark_low", "x\n"));
	ASSERT_EQ(0, debugfs_write("watermark_low", "%u\n", low));
	ASSERT_EQ(0, debugfs_write("watermark_high", "%u\n", high));
	munmap(map, pages * PAGE);
}

TEST_F_TIMEOUT(reclaim, pinned_pages_never_leave, 60)
{
	size_t total = pool_sum("total"), pinned = total / 4, pages = 2 * total;
	char *map = object_map(self->fd, 0, pinned), *stream;
	int other = object_open();
	struct vmlab_ioc_info info;

	stream = object_map(other, 0, pages);
	pages_fill(map, TAG, 0, pinned, 1);
	ASSERT_EQ(0, object_pin(self->fd, 0, pinned));
	pages_fill(stream, TAG + 1, 0, pages, 1);
	EXPECT_EQ(0, pages_wrong(stream, TAG + 1, 0, pages, 1));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(pinned, info.resident_pages);
	EXPECT_EQ(pinned, object_count(self->fd, 0, pinned, VMLAB_RES_PINNED));
	EXPECT_EQ(pinned, pool_sum("pinned"));
	/* Not once while nobody looked, either: pinning read nothing and wrote nothing since. */
	EXPECT_EQ(pinned, info.dirty_pages);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pinned, 1));
	munmap(map, pinned * PAGE);
	munmap(stream, pages * PAGE);
	close(other);
}

/* A lineage at its limit pays with its own pages. */
TEST_F(reclaim, limit_spares_others)
{
	const size_t pages = 400;
	char *map = object_map(self->fd, 0, pages), *own;
	int other = object_open();
	struct vmlab_ioc_info info;

	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(0, object_limit(other, 64));
	own = object_map(other, 0, pages);
	pages_fill(own, TAG + 1, 0, pages, 1);
	EXPECT_EQ(0, pages_wrong(own, TAG + 1, 0, pages, 1));
	EXPECT_LE(object_frames(other), 64);
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(pages, info.resident_pages);
	EXPECT_EQ(0, info.evictions);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
	munmap(own, pages * PAGE);
	close(other);
}

TEST_F_TIMEOUT(reclaim, swappiness, 60)
{
	static const unsigned int values[] = { 0, 200, 60 };
	unsigned int first = setting("swappiness");
	size_t pages = pool_sum("total") * 5 / 4, i;
	char *map = object_map(self->fd, 0, pages);

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ASSERT_EQ(0, debugfs_write("swappiness", "%u\n", values[i]));
		EXPECT_EQ(values[i], setting("swappiness"));
		pages_fill(map, TAG, 0, pages, i);
		EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, i));
	}
	EXPECT_EQ(-EINVAL, debugfs_write("swappiness", "201\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("swappiness", "-1\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("swappiness", "many\n"));
	EXPECT_EQ(60, setting("swappiness"));
	ASSERT_EQ(0, debugfs_write("swappiness", "%u\n", first));
	munmap(map, pages * PAGE);
}

TEST_F(reclaim, policy_names)
{
	char text[256], want[64];

	ASSERT_GT(debugfs_read("policy", text, sizeof(text)), 0);
	snprintf(want, sizeof(want), "[%s]", variant->policy);
	EXPECT_NE(NULL, strstr(text, want));
	EXPECT_NE(NULL, strstr(text, "clock"));
	EXPECT_NE(NULL, strstr(text, "fifo"));
	EXPECT_EQ(-EINVAL, debugfs_write("policy", "best\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("policy", "\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("policy", "clock fifo\n"));
	ASSERT_GT(debugfs_read("policy", text, sizeof(text)), 0);
	EXPECT_NE(NULL, strstr(text, want));
}

TEST_HARNESS_MAIN
