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

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define TAG 0x59a

FIXTURE(sparse)
{
	int fd;
	uint64_t total;
};

FIXTURE_SETUP(sparse)
{
	settle();
	pools_scaled(4);
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

/* Where holes were read is noted in nodes of 64 places, each of 2 MiB: one node a load. */
#define NODE_BYTES (64 * LEAF_BYTES)
#define WINDOW_LOADS 4096UL
#define WINDOW_BYTES (WINDOW_LOADS * NODE_BYTES)

/* KASAN counts what was freed until the cache is shrunk. */
static void shrink_nodes(void)
{
	int fd = open("/sys/kernel/slab/radix_tree_node/shrink", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) != 1)
		die("radix_tree_node/shrink: %m");
	close(fd);
}

static uint64_t nodes_in_use(void)
{
	FILE *file = fopen("/proc/slabinfo", "r");
	unsigned long active = 0;
	char line[256];

	if (!file)
		die("/proc/slabinfo: %m");
	shrink_nodes();
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "radix_tree_node %lu", &active) == 1)
			break;
	fclose(file);
	return active;
}

/* What is freed is freed some time later. */
static bool wait_for_nodes(uint64_t most)
{
	double end = now() + 10;

	while (nodes_in_use() > most && now() < end)
		usleep(20000);
	return nodes_in_use() <= most;
}

static bool load_window(const char *map, size_t loads)
{
	size_t i;

	for (i = 0; i < loads; i++)
		if (*(const volatile char *)(map + i * NODE_BYTES))
			return false;
	return true;
}

/* What was noted where holes were read does not outlive the mapping, nor a DISCARD. */
TEST_F_TIMEOUT(sparse, notes_of_loads_go, 90)
{
	uint64_t before, window, windows = scaled(8, 2);
	char *map;

	if (access("/proc/slabinfo", R_OK))
		SKIP(return, "the kernel does not count its slabs");
	before = nodes_in_use();
	for (window = 0; window < windows; window++) {
		map = object_map(self->fd, window * WINDOW_BYTES / PAGE, WINDOW_BYTES / PAGE);
		ASSERT_TRUE(load_window(map, WINDOW_LOADS));
		/* There would be nothing to see otherwise. */
		ASSERT_GE(nodes_in_use(), before + WINDOW_LOADS / 2);
		if (window % 2) {
			ASSERT_EQ(0, object_discard(self->fd, window * WINDOW_BYTES / PAGE,
						    WINDOW_BYTES / PAGE));
		} else {
			munmap(map, WINDOW_BYTES);
		}
		EXPECT_TRUE(wait_for_nodes(before + WINDOW_LOADS / 2))
			TH_LOG("window %lu: %lu nodes, %lu before", (unsigned long)window,
			       (unsigned long)nodes_in_use(), (unsigned long)before);
		if (window % 2) {
			EXPECT_VERIFY_OK();
			ASSERT_TRUE(load_window(map, WINDOW_LOADS));
			munmap(map, WINDOW_BYTES);
		}
	}
	/* As long as somebody maps it too, it stays. */
	map = object_map(self->fd, 0, WINDOW_BYTES / PAGE);
	munmap(object_map(self->fd, 0, WINDOW_BYTES / PAGE), WINDOW_BYTES);
	ASSERT_TRUE(load_window(map, WINDOW_LOADS));
	munmap(object_map(self->fd, 0, WINDOW_BYTES / PAGE), WINDOW_BYTES);
	EXPECT_GE(nodes_in_use(), before + WINDOW_LOADS / 2);
	EXPECT_VERIFY_OK();
	/* And a store finds the zero page wherever it is mapped. */
	map[5 * NODE_BYTES] = 7;
	EXPECT_EQ(7, map[5 * NODE_BYTES]);
	munmap(map, WINDOW_BYTES);
}

struct looker {
	const volatile char *at[2];
	volatile bool stop;
};

static void *look(void *arg)
{
	struct looker *looker = arg;
	uint64_t state = (uint64_t)arg;
	char sum = 0;

	while (!looker->stop)
		sum += looker->at[chance(&state) % 2][chance(&state) % LEAF_PAGES * PAGE];
	return (void *)(intptr_t)sum;
}

/* DISCARD, and munmap() of another mapping, against loads that note anew. */
TEST_F_TIMEOUT(sparse, notes_go_and_come, 90)
{
	char *a = object_map(self->fd, 0, LEAF_PAGES), *b = object_map(self->fd, 0, LEAF_PAGES);
	struct looker looker = { .at = { a, b } };
	pthread_t threads[2];
	uint64_t state = seed();
	double end = now() + seconds(6);
	unsigned int rounds = 0, i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, look, &looker));
	for (; now() < end; rounds++) {
		size_t page = chance(&state) % LEAF_PAGES;
		char *c = object_map(self->fd, 0, LEAF_PAGES);
		char value = rounds % 100 + 1;

		ASSERT_EQ(0, c[page * PAGE]);
		if (rounds % 3 == 0)
			munmap(c, LEAF_BYTES);
		ASSERT_EQ(0, object_discard(self->fd, 0, LEAF_PAGES));
		a[page * PAGE] = value;
		ASSERT_EQ(value, ((volatile char *)b)[page * PAGE])
			TH_LOG("round %u, page %zu", rounds, page);
		ASSERT_TRUE(rounds % 3 == 0 || value == ((volatile char *)c)[page * PAGE]);
		ASSERT_EQ(0, object_discard(self->fd, 0, LEAF_PAGES));
		ASSERT_EQ(0, ((volatile char *)a)[page * PAGE]);
		if (rounds % 3)
			munmap(c, LEAF_BYTES);
		if (rounds % 64 == 0)
			EXPECT_VERIFY_OK();
	}
	looker.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	note("%u rounds", rounds);
	EXPECT_GT(rounds, 10);
	munmap(a, LEAF_BYTES);
	munmap(b, LEAF_BYTES);
}

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP CGROUPS "/vmlab-sparse"

static bool set_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/*
 * Its mappings come and go, and with each 256 page tables; somebody else keeps what it
 * notes, which is more than 32 MiB in the end.
 */
static int load_everywhere(void *arg)
{
	const uint64_t loads = 256, bytes = loads * NODE_BYTES;
	int fd = (int)(intptr_t)arg;
	uint64_t window;

	CHECK(set_file(CGROUP "/cgroup.procs", "0"));
	for (window = 0; window < 65536 / loads; window++) {
		char *map = object_map(fd, window * bytes / PAGE, bytes / PAGE);

		CHECK(load_window(map, loads));
		munmap(map, bytes);
	}
	return 0;
}

/*
 * What somebody else's mapping keeps is charged to the memory cgroup of who read: that has
 * an end, which is the cgroup's and no SIGBUS.
 */
TEST_F_TIMEOUT(sparse, notes_are_charged, 120)
{
	uint64_t sigbus = counter("fault_sigbus");
	char *map;

	mount("none", CGROUPS, "cgroup2", 0, NULL);
	set_file(CGROUPS "/cgroup.subtree_control", "+memory");
	if ((mkdir(CGROUP, 0755) && errno != EEXIST) ||
	    !set_file(CGROUP "/memory.max", "16M"))
		SKIP(return, "no memory cgroups");
	map = object_map(self->fd, 0, OBJECT_END / 2 / PAGE);
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(load_everywhere, (void *)(intptr_t)self->fd));
	EXPECT_EQ(sigbus, counter("fault_sigbus"));
	munmap(map, OBJECT_END / 2);
	rmdir(CGROUP);
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
