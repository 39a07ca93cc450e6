// SPDX-License-Identifier: GPL-2.0
/*
 * The pools: their books, growing and shrinking while threads work on them,
 * CPUs that come and go with frames in their caches, nodes that help each
 * other.  A pool must never lose a frame, and shrinking must never lose a page.
 *
 * vmlab-test: timeout=300
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define TAG 0x9001

FIXTURE(pool)
{
	int fd;
};

FIXTURE_SETUP(pool)
{
	settle();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(pool)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
}

/* Nothing is in flight when nobody works: the parts are the whole, on each node. */
TEST_F(pool, the_line_adds_up)
{
	char *map = object_map(self->fd, 0, 1000);
	int node;

	pages_fill(map, TAG, 0, 1000, 1);
	for (node = 0; node < nr_nodes(); node++) {
		EXPECT_EQ(pool_mb(node) * MIB / PAGE, pool_field(node, "total"));
		EXPECT_LE(pool_field(node, "zeroed"), pool_field(node, "free"));
		EXPECT_LE(pool_field(node, "huge_free"), pool_field(node, "free"));
		EXPECT_LE(pool_field(node, "dirty"), pool_field(node, "resident"));
		EXPECT_LE(pool_field(node, "pinned"), pool_field(node, "resident"));
	}
	/* The thread that zeroes ahead works too: no more, and verify waits for its last frame. */
	ASSERT_EQ(0, debugfs_write("zero_stock", "0\n"));
	EXPECT_VERIFY_OK();
	for (node = 0; node < nr_nodes() && !under_pressure(); node++)
		EXPECT_EQ(pool_field(node, "total"),
			  pool_field(node, "free") + pool_field(node, "resident") +
			  pool_field(node, "leaf"));
	ASSERT_EQ(0, debugfs_write("zero_stock", "%u\n", 4096));
	EXPECT_EQ(object_frames(self->fd), pool_sum("resident") + pool_sum("leaf"));
	if (!under_pressure())
		EXPECT_EQ(1000, pool_sum("dirty"));
	munmap(map, 1000 * PAGE);
	close(self->fd);
	EXPECT_TRUE(wait_for_free(pool_sum("total")));
	EXPECT_EQ(0, pool_sum("resident"));
	self->fd = object_open();
}

/* Off, on again; whatever the stock, what a store gets is zero. */
TEST_F_TIMEOUT(pool, zero_stock, 60)
{
	const size_t pages = 1000;
	char *map = object_map(self->fd, 0, 2 * pages);
	size_t i;
	uint64_t filled, hits, total = pool_sum("total");

	ASSERT_EQ(0, debugfs_write("zero_stock", "0\n"));
	/* What per-CPU caches took earlier stays with them; the thread may have one in hand. */
	usleep(100000);
	EXPECT_LE(pool_sum("zeroed"), 64 * nr_nodes());
	filled = counter("zero_filled_pages");
	hits = counter("zero_hit");
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(filled, counter("zero_filled_pages"));
	EXPECT_LE(counter("zero_hit") - hits, 64 * nr_nodes());
	EXPECT_VERIFY_OK();

	ASSERT_EQ(0, debugfs_write("zero_stock", "%u\n", 64));
	if (!under_pressure()) {
		EXPECT_TRUE(wait_for_pool("zeroed", 64));
		EXPECT_LE(pool_sum("zeroed"), (64 + 64) * nr_nodes());
	}
	ASSERT_EQ(0, debugfs_write("zero_stock", "%u\n", 4096));
	EXPECT_EQ(-EINVAL, debugfs_write("zero_stock", "many\n"));
	EXPECT_EQ(-ERANGE, debugfs_write("zero_stock", "4294967296\n"));
	if (!under_pressure())
		EXPECT_TRUE(wait_for_pool("zeroed", total / 16 / 2));
	/* One byte of each, so that the rest shows what was in the frame. */
	for (i = pages; i < 2 * pages; i++) {
		map[i * PAGE] = 1;
		map[i * PAGE] = 0;
	}
	EXPECT_EQ(0, pages_not_zero(map + pages * PAGE, pages));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, 2 * pages * PAGE);
}

struct worker {
	char *map;
	size_t first, pages;
	atomic_bool stop;
	atomic_uint rounds;
	size_t wrong;
};

static void *write_and_verify(void *arg)
{
	struct worker *worker = arg;
	char *map = worker->map + worker->first * PAGE;
	uint32_t generation;

	for (generation = 1; !worker->stop; generation++) {
		pages_fill(map, TAG, worker->first, worker->pages, generation);
		worker->wrong += pages_wrong(map, TAG, worker->first, worker->pages, generation);
		worker->rounds++;
	}
	return NULL;
}

/* Both pools up and down, three threads on them; each size must be reached. */
TEST_F_TIMEOUT(pool, resize_in_use, 90)
{
	static const unsigned long sizes[] = { 12, 8, 20, 6, 16, 10, 24, 8 };
	struct worker workers[3];
	pthread_t threads[3];
	size_t i, pages = 700;
	char *map = object_map(self->fd, 0, 3 * pages);
	int node;

	for (i = 0; i < 3; i++) {
		workers[i] = (struct worker) { .map = map, .first = i * pages, .pages = pages };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, write_and_verify, &workers[i]));
	}
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (node = 0; node < nr_nodes(); node++) {
			EXPECT_EQ(0, pool_resize(node, sizes[i])) TH_LOG("%lu MiB", sizes[i]);
			EXPECT_EQ(sizes[i], pool_mb(node));
			EXPECT_EQ(sizes[i] * MIB / PAGE, pool_field(node, "total"));
		}
		EXPECT_VERIFY_OK();
		usleep(100000);
	}
	for (i = 0; i < 3; i++)
		workers[i].stop = true;
	for (i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, workers[i].wrong);
		EXPECT_GT(workers[i].rounds, 1);
	}
	munmap(map, 3 * pages * PAGE);
}

/* What is in the way moves, to the other node too, or to swap. */
TEST_F_TIMEOUT(pool, shrinking_moves_pages, 60)
{
	const size_t pages = 1500;
	char *map = object_map(self->fd, 0, pages);
	int node;

	pages_fill(map, TAG, 0, pages, 1);
	for (node = 0; node < nr_nodes(); node++)
		EXPECT_EQ(0, pool_resize(node, 4));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

/* Less than what is pinned: refused, and everything is as it was. */
TEST_F_TIMEOUT(pool, shrinking_spares_pins, 60)
{
	size_t pages;
	char *map;
	unsigned long mb;
	int node;

	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, 8));
	pages = pool_sum("total") * 3 / 4;
	map = object_map(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(0, object_pin(self->fd, 0, pages));
	for (node = 0; node < nr_nodes(); node++) {
		mb = pool_mb(node);
		if (node == nr_nodes() - 1) {
			EXPECT_LT(pool_resize(node, 2), 0);
			EXPECT_GT(pool_mb(node), 2);
			EXPECT_LE(pool_mb(node), mb);
		} else {
			/* May work as far as the other nodes have room. */
			pool_resize(node, 2);
		}
		EXPECT_VERIFY_OK();
	}
	EXPECT_EQ(pages, object_count(self->fd, 0, pages, VMLAB_RES_PINNED | VMLAB_RES_RESIDENT));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* Without swap, less than what is used is refused too, and nobody is killed for it. */
TEST_F_TIMEOUT(pool, shrinking_without_swap, 60)
{
	uint64_t kills = counter("oom_kill");
	size_t pages;
	char *map;
	int node, refused = 0;

	swap_all_off();
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, 8));
	pages = pool_sum("total") * 3 / 4;
	map = object_map(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	for (node = 0; node < nr_nodes(); node++)
		refused += pool_resize(node, 2) < 0;
	EXPECT_GT(refused, 0);
	EXPECT_EQ(kills, counter("oom_kill"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

TEST_F(pool, bad_sizes)
{
	unsigned long mb = pool_mb(0);

	EXPECT_EQ(-EINVAL, debugfs_write("node0/pool_mb", "many\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("node0/pool_mb", "-2\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("node0/pool_mb", "8 8\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("node0/pool_mb", "\n"));
	EXPECT_EQ(-ERANGE, debugfs_write("node0/pool_mb", "99999999999999999999999\n"));
	EXPECT_LT(debugfs_write("node0/pool_mb", "18446744073709551615\n"), 0);
	EXPECT_EQ(mb, pool_mb(0));
}

/* More than the machine has: it must say so, not take everything and hang. */
TEST_F_TIMEOUT(pool, absurd_size, 60)
{
	unsigned long mb = pool_mb(0);

	EXPECT_EQ(-ENOMEM, debugfs_write("node0/pool_mb", "1000000\n"));
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, pool_resize(0, mb));
	EXPECT_EQ(mb, pool_mb(0));
}

static bool cpu_online(int cpu, bool on)
{
	return !run("echo %d > /sys/devices/system/cpu/cpu%d/online", on, cpu);
}

/* A CPU goes away with frames in its cache while threads allocate and free. */
TEST_F_TIMEOUT(pool, cpu_hotplug, 90)
{
	struct worker worker = { .pages = 600 };
	uint64_t free;
	pthread_t thread;
	cpu_set_t set;
	int round;

	if (access("/sys/devices/system/cpu/cpu1/online", W_OK))
		SKIP(return, "there is no second CPU to take away");
	free = pool_sum("free");
	for (round = 0; round < 4; round++) {
		int fd = object_open();

		worker.map = object_map(fd, 0, worker.pages);
		worker.stop = false;
		worker.rounds = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL, write_and_verify, &worker));
		CPU_ZERO(&set);
		CPU_SET(1, &set);
		pthread_setaffinity_np(thread, sizeof(set), &set);
		while (!worker.rounds)
			usleep(10000);
		ASSERT_TRUE(cpu_online(1, false));
		EXPECT_VERIFY_OK();
		usleep(50000);
		EXPECT_EQ(0, object_populate(fd, worker.pages, 100));
		EXPECT_EQ(0, object_discard(fd, worker.pages, 100));
		ASSERT_TRUE(cpu_online(1, true));
		worker.stop = true;
		pthread_join(thread, NULL);
		EXPECT_EQ(0, worker.wrong);
		munmap(worker.map, worker.pages * PAGE);
		close(fd);
	}
	EXPECT_TRUE(wait_for_free(free));
}

/* A node without room is helped by the others, and the books say who helped. */
TEST_F(pool, nodes_help_each_other)
{
	size_t pages;
	char *map;

	if (nr_nodes() < 2 || under_pressure())
		SKIP(return, "needs two nodes, and pages that stay where they are");
	ASSERT_EQ(0, pool_resize(0, 4));
	ASSERT_EQ(0, pool_resize(1, 16));
	pages = 16 * MIB / PAGE;
	map = object_map(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_GT(pool_field(1, "resident"), 8 * MIB / PAGE);
	EXPECT_EQ(pages, pool_sum("resident"));
	munmap(map, pages * PAGE);
}

/* Frames are zeroed ahead, and the stock is used. */
TEST_F(pool, zeroed_stock)
{
	uint64_t hits = counter("zero_hit");
	char *map = object_map(self->fd, 0, 600);
	double until = now() + 10;
	size_t page = 600;

	/* Who asks for frames makes somebody think of those who will. */
	while (!pool_sum("zeroed") && now() < until) {
		ASSERT_EQ(0, object_populate(self->fd, page, 16));
		page += 16;
		usleep(20000);
	}
	EXPECT_GT(pool_sum("zeroed"), 0);
	EXPECT_EQ(0, object_populate(self->fd, 0, 600));
	EXPECT_GT(counter("zero_hit"), hits);
	EXPECT_EQ(0, pages_not_zero(map, 600));
	munmap(map, 600 * PAGE);
}

TEST_HARNESS_MAIN
