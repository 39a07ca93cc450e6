// SPDX-License-Identifier: GPL-2.0
/*
 * NUMA: each page is on the node where its memory policy wants it, whoever set that and
 * however the page came; strict policies are strict; pages that are moved lose no byte; and
 * the statistics add up.
 *
 * It finds out what nodes there are: some may have no CPU, no memory or no pool.  What takes
 * two nodes is skipped where there is one.
 *
 * vmlab-test: timeout=300 shapes=one,four
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define TAG 0x40da
#define PAGES (LEAF_PAGES + 88)

FIXTURE(numa)
{
	uint64_t nodes;		/* whose pools have memory */
	int first, other;	/* two of them, or one twice */
	int fd;
	char *map;
};

FIXTURE_SETUP(numa)
{
	settle();
	ASSERT_EQ(0, debugfs_write("huge", "never\n"));
	self->nodes = pool_nodes();
	ASSERT_NE(0, self->nodes);
	self->first = nth_node(self->nodes, 0);
	self->other = nth_node(self->nodes, 1);
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->map = object_map(self->fd, 0, PAGES);
}

FIXTURE_TEARDOWN(numa)
{
	task_mempolicy(VMLAB_MPOL_DEFAULT, 0);
	run_on_cpu(-1);
	EXPECT_VERIFY_OK();
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	nodes_alike();
	settle();
}

#define BIT(node) (1ULL << (node))

/* Under pressure too there are free chunks then. */
static int room_for_chunks(uint64_t nodes)
{
	int node, error = 0;

	for (node = 0; node < 64 && !error; node++)
		if (nodes >> node & 1)
			error = pool_resize(node, 24);
	return error;
}

#define NEED_TWO_NODES() do {							\
	if (self->first == self->other)						\
		SKIP(return, "there is one node with a pool");			\
} while (0)

/* Fresh pages each time, so that their place is new. */
static void store_anew(int fd, char *map, size_t pages, uint32_t generation)
{
	if (object_discard(fd, 0, pages))
		die("DISCARD: %m");
	pages_fill(map, TAG, 0, pages, generation);
}

/* Pages of a range that are not on the node that their index says. */
static uint64_t not_in_turn(int fd, uint64_t first, size_t pages, uint64_t nodes)
{
	uint32_t vec[PAGES];
	uint64_t wrong = 0;
	size_t i;

	if (object_residency(fd, first, pages, vec))
		die("RESIDENCY: %m");
	for (i = 0; i < pages; i++)
		wrong += VMLAB_RES_NODE(vec[i]) != (uint32_t)nth_node(nodes, first + i);
	return wrong;
}

TEST_F(numa, local_first)
{
	int node, cpu;

	for (node = 0; node < 64; node++) {
		cpu = node_cpu(node);
		if (cpu < 0)
			continue;
		ASSERT_EQ(0, run_on_cpu(cpu));
		store_anew(self->fd, self->map, PAGES, node + 1);
		EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES,
					  BIT(nearest_node(node, self->nodes))));
		EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, node + 1));
	}
}

TEST_F(numa, set_mempolicy_one_node)
{
	static const int modes[] = { VMLAB_MPOL_PREFERRED, VMLAB_MPOL_BIND };
	unsigned int i;
	int node;

	for (node = 0; node < 64; node++) {
		for (i = 0; i < 2 && (self->nodes >> node & 1); i++) {
			ASSERT_EQ(0, task_mempolicy(modes[i], BIT(node)));
			store_anew(self->fd, self->map, PAGES, 10 + i);
			EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES, BIT(node)));
			/* write() and POPULATE go by it as well. */
			ASSERT_EQ(0, object_discard(self->fd, 0, PAGES));
			ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 100, 20 + i));
			ASSERT_EQ(0, object_populate(self->fd, 0, PAGES));
			EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES, BIT(node)));
			EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 100, 20 + i));
		}
	}
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_PREFERRED_MANY, self->nodes));
	store_anew(self->fd, self->map, PAGES, 3);
	EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES, self->nodes));
}

TEST_F(numa, interleave_by_page)
{
	uint64_t hits = node_counters("interleave_hit");

	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	store_anew(self->fd, self->map, PAGES, 1);
	EXPECT_EQ(0, not_in_turn(self->fd, 0, PAGES, self->nodes));
	EXPECT_LE(PAGES, node_counters("interleave_hit") - hits);
	/* At random, too. */
	ASSERT_EQ(0, object_discard(self->fd, 0, PAGES));
	for (size_t i = 0; i < PAGES; i++)
		page_fill(self->map + i * 271 % PAGES * PAGE, TAG, i * 271 % PAGES, 2);
	EXPECT_EQ(0, not_in_turn(self->fd, 0, PAGES, self->nodes));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 2));
}

TEST_F(numa, interleave_after_swap)
{
	if (!under_pressure())
		SKIP(return, "there is no swap in this phase");
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	store_anew(self->fd, self->map, PAGES, 1);
	EXPECT_LT(0, object_pageout(self->fd, 0, PAGES));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, not_in_turn(self->fd, 0, PAGES, self->nodes));
}

TEST_F(numa, interleave_by_chunk)
{
	const size_t chunks = 4, pages = chunks * LEAF_PAGES;
	uint32_t vec[4 * LEAF_PAGES];
	char *map;

	NEED_TWO_NODES();
	ASSERT_EQ(0, room_for_chunks(self->nodes));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	map = object_map(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(0, object_residency(self->fd, 0, pages, vec));
	for (size_t i = 0; i < pages; i++) {
		ASSERT_TRUE(vec[i] & VMLAB_RES_HUGE);
		ASSERT_EQ(nth_node(self->nodes, i / LEAF_PAGES), VMLAB_RES_NODE(vec[i]));
	}
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* A huge page has one policy. */
TEST_F(numa, no_huge_page_of_two_policies)
{
	uint64_t before = counter("thp_fallback_policy");
	char *map = object_map(self->fd, 0, 2 * LEAF_PAGES);

	ASSERT_EQ(0, room_for_chunks(self->nodes));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	ASSERT_EQ(0, object_policy(self->fd, 100, 100, VMLAB_MPOL_BIND, BIT(self->other)));
	pages_fill(map, TAG, 0, 2 * LEAF_PAGES, 1);
	EXPECT_EQ(1, counter("thp_fallback_policy") - before);
	EXPECT_EQ(LEAF_PAGES, object_count(self->fd, 0, 2 * LEAF_PAGES, VMLAB_RES_HUGE));
	EXPECT_EQ(100, pages_on(self->fd, map + 100 * PAGE, 100, BIT(self->other)));
	EXPECT_EQ(-EBUSY, object_range(self->fd, VMLAB_IOC_COLLAPSE, 0, LEAF_BYTES, NULL));
	ASSERT_EQ(0, object_discard(self->fd, 0, LEAF_PAGES));
	EXPECT_EQ(-EINVAL, object_range(self->fd, VMLAB_IOC_RESERVE, 0, LEAF_BYTES, NULL));
	munmap(map, 2 * LEAF_BYTES);
}

TEST_F(numa, weighted)
{
	uint64_t weights = 0;
	int node, turn = 0;
	char file[32];

	for (node = 0; node < 64; node++) {
		if (!(self->nodes >> node & 1))
			continue;
		snprintf(file, sizeof(file), "node%d/%s", node, "weight");
		EXPECT_EQ(-EINVAL, debugfs_write(file, "0\n"));
		EXPECT_EQ(-ERANGE, debugfs_write(file, "256\n"));
		EXPECT_EQ(-EINVAL, debugfs_write(file, "heavy\n"));
		ASSERT_EQ(0, debugfs_write(file, "%d\n", ++turn));
		weights += turn;
	}
	ASSERT_EQ(0, object_policy(self->fd, 0, PAGES, VMLAB_MPOL_WEIGHTED_INTERLEAVE,
				   self->nodes));
	store_anew(self->fd, self->map, PAGES / weights * weights, 1);
	for (node = 0, turn = 0; node < 64; node++)
		if (self->nodes >> node & 1)
			EXPECT_EQ(PAGES / weights * ++turn,
				  pages_on(self->fd, self->map, PAGES, BIT(node)));
}

static int child_is_bound_too(void *map)
{
	int fd = object_open(), last = 63 - __builtin_clzll(pool_nodes());

	pages_fill(map, TAG, 0, PAGES, 9);
	CHECK(pages_on(fd, (char *)map + 100 * PAGE, 100, BIT(last)) == 100);
	return 0;
}

/* mbind() of a part: of a private mapping that part's, of a shared one everybody's. */
TEST_F(numa, mbind)
{
	char *private = object_map_private(self->fd, 0, PAGES), *again;
	uint64_t nodes = 0, pages = 0;
	int last = nth_node(self->nodes, __builtin_popcountll(self->nodes) - 1);

	ASSERT_EQ(0, range_policy(private + 100 * PAGE, 100, VMLAB_MPOL_BIND, BIT(last)));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	pages_fill(private, TAG, 0, PAGES, 5);
	EXPECT_EQ(100, pages_on(self->fd, private + 100 * PAGE, 100, BIT(last)));
	EXPECT_EQ(100, pages_on(self->fd, private, 100, BIT(self->first)));
	EXPECT_EQ(PAGES - 200, pages_on(self->fd, private + 200 * PAGE, PAGES - 200,
					BIT(self->first)));
	EXPECT_EQ(0, pages_wrong(private, TAG, 0, PAGES, 5));
	/* Calls know of it as faults do, and so does a child. */
	ASSERT_EQ(0, address_range(self->fd, VMLAB_IOC_DISCARD, private, PAGES, NULL));
	ASSERT_EQ(0, address_range(self->fd, VMLAB_IOC_POPULATE, private, PAGES, NULL));
	EXPECT_EQ(100, pages_on(self->fd, private + 100 * PAGE, 100, BIT(last)));
	EXPECT_EQ(100, pages_on(self->fd, private, 100, BIT(self->first)));
	EXPECT_EQ(0, child_run(child_is_bound_too, private));
	munmap(private, PAGES * PAGE);
	/* Nothing is left of it for the next mapping. */
	private = object_map_private(self->fd, 0, PAGES);
	pages_fill(private, TAG, 0, PAGES, 6);
	EXPECT_EQ(PAGES, pages_on(self->fd, private, PAGES, BIT(self->first)));
	munmap(private, PAGES * PAGE);

	ASSERT_EQ(0, range_policy(self->map + 200 * PAGE, 50, VMLAB_MPOL_PREFERRED, BIT(last)));
	EXPECT_EQ(VMLAB_MPOL_DEFAULT, object_policy_at(self->fd, 0, &nodes, &pages));
	EXPECT_EQ(200, pages);
	EXPECT_EQ(VMLAB_MPOL_PREFERRED, object_policy_at(self->fd, 210, &nodes, &pages));
	EXPECT_EQ(40, pages);
	EXPECT_EQ(BIT(last), nodes);
	again = object_map(self->fd, 0, PAGES);
	pages_fill(again, TAG, 0, PAGES, 1);
	EXPECT_EQ(50, pages_on(self->fd, again + 200 * PAGE, 50, BIT(last)));
	EXPECT_EQ(200, pages_on(self->fd, again, 200, BIT(self->first)));
	munmap(again, PAGES * PAGE);
	/* And back. */
	ASSERT_EQ(0, range_policy(self->map, PAGES, VMLAB_MPOL_DEFAULT, 0));
	EXPECT_EQ(VMLAB_MPOL_DEFAULT, object_policy_at(self->fd, 210, &nodes, NULL));
	EXPECT_EQ(0, nodes);
	/* One without nodes has none: what the kernel keeps in their place is not for us. */
	ASSERT_EQ(0, range_policy(self->map, PAGES, VMLAB_MPOL_LOCAL, 0));
	EXPECT_EQ(VMLAB_MPOL_LOCAL, object_policy_at(self->fd, 210, &nodes, NULL));
	EXPECT_EQ(0, nodes);
	ASSERT_EQ(0, range_policy(self->map, PAGES, VMLAB_MPOL_PREFERRED, 0));
	EXPECT_EQ(VMLAB_MPOL_LOCAL, object_policy_at(self->fd, 210, &nodes, NULL));
	EXPECT_EQ(0, nodes);
}

static int child_stores(void *map)
{
	CHECK(!task_mempolicy(VMLAB_MPOL_DEFAULT, 0));
	pages_fill(map, TAG, 0, PAGES, 7);
	return 0;
}

/* A policy of the object's needs no mapping, and goes before that of the task. */
TEST_F(numa, mempolicy_stays_with_the_object)
{
	int last = nth_node(self->nodes, __builtin_popcountll(self->nodes) - 1), copy;
	uint64_t nodes;
	char *map;

	ASSERT_EQ(0, object_policy(self->fd, 0, PAGES, VMLAB_MPOL_BIND, BIT(last)));
	munmap(self->map, PAGES * PAGE);
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	self->map = object_map(self->fd, 0, PAGES);
	EXPECT_EQ(0, child_run(child_stores, self->map));
	EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES, BIT(last)));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 7));

	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	EXPECT_EQ(VMLAB_MPOL_BIND, object_policy_at(copy, PAGES - 1, &nodes, NULL));
	EXPECT_EQ(BIT(last), nodes);
	EXPECT_EQ(VMLAB_MPOL_DEFAULT, object_policy_at(copy, PAGES, &nodes, NULL));
	map = object_map(copy, 0, PAGES);
	pages_fill(map, TAG, 0, PAGES, 8);
	EXPECT_EQ(PAGES, pages_on(copy, map, PAGES, BIT(last)));
	munmap(map, PAGES * PAGE);
	close(copy);

	ASSERT_EQ(0, object_policy(self->fd, 10, 10, VMLAB_MPOL_LOCAL, 0));
	EXPECT_EQ(VMLAB_MPOL_LOCAL, object_policy_at(self->fd, 10, &nodes, NULL));
	ASSERT_EQ(0, object_policy(self->fd, 0, PAGES, VMLAB_MPOL_DEFAULT, 0));
	store_anew(self->fd, self->map, PAGES, 9);
	EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES, BIT(self->first)));
}

/* A preferred node that is full: the others in order of distance. */
TEST_F(numa, falls_back_by_distance)
{
	int other = object_open();
	size_t fill = pool_field(self->first, "total") - 64;
	char *map = object_map(other, 0, fill);
	uint64_t missed, left = self->nodes & ~BIT(self->first), foreign;

	NEED_TWO_NODES();
	swap_all_off();
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_PREFERRED, BIT(self->first)));
	memset(map, 1, fill * PAGE);
	missed = node_counter(nearest_node(self->first, left), "numa_miss");
	foreign = node_counter(self->first, "numa_foreign");
	pages_fill(self->map, TAG, 0, PAGES, 1);
	EXPECT_LE(PAGES - 100, pages_on(self->fd, self->map, PAGES,
					BIT(nearest_node(self->first, left))));
	EXPECT_LE(PAGES - 100, node_counter(nearest_node(self->first, left), "numa_miss") - missed);
	EXPECT_LE(PAGES - 100, node_counter(self->first, "numa_foreign") - foreign);
	munmap(map, fill * PAGE);
	close(other);
}

/* Strict: nobody else pays, and there is no way out. */
TEST_F_TIMEOUT(numa, strict_on_a_full_node, 120)
{
	size_t total = pool_field(self->first, "total"), pages = 2 * total, stored = 0;
	int other = object_open();
	char *theirs, *map;
	size_t half;

	NEED_TWO_NODES();
	half = pool_field(self->other, "total") / 2;
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->other)));
	theirs = object_map(other, 0, half);
	pages_fill(theirs, TAG + 1, 0, half, 1);
	EXPECT_EQ(half, pages_on(other, theirs, half, BIT(self->other)));

	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	map = object_map(self->fd, 0, pages);
	while (stored < pages && !try_store(map + stored * PAGE, 1))
		page_fill(map + stored * PAGE, TAG, stored, 1), stored++;
	EXPECT_TRUE(under_pressure() ? stored == pages : stored < total);
	EXPECT_LT(total * 3 / 4, pages_on(self->fd, map, pages, BIT(self->first)));
	EXPECT_EQ(0, pages_on(self->fd, map, pages, ~BIT(self->first)));
	/* The others' pages have not moved. */
	EXPECT_EQ(half, pages_on(other, theirs, half, BIT(self->other)));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, stored, 1));
	EXPECT_EQ(0, pages_on(self->fd, map, pages, ~BIT(self->first)));
	munmap(map, pages * PAGE);
	munmap(theirs, half * PAGE);
	close(other);
}

static int child_overflows(void *unused)
{
	int node = nth_node(pool_nodes(), 0);
	size_t pages = pool_field(node, "total") + 1;

	CHECK(!task_mempolicy(VMLAB_MPOL_BIND, BIT(node)));
	memset(object_map(object_open(), 0, pages), 1, pages * PAGE);
	return 0;
}

/* Who overflows a node is killed for it, not who has more on another. */
TEST_F_TIMEOUT(numa, oom_of_one_node, 60)
{
	size_t most = pool_field(self->first, "total") * 5 / 4;
	uint64_t kills = counter("oom_kill");
	int other = object_open();
	char *mine;

	NEED_TWO_NODES();
	swap_all_off();
	ASSERT_EQ(0, pool_resize(self->other, 2 * pool_mb(self->first)));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->other)));
	mine = object_map(other, 0, most);
	memset(mine, 1, most * PAGE);
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(child_overflows, NULL));
	EXPECT_LT(kills, counter("oom_kill"));
	EXPECT_EQ(most, pages_on(other, mine, most, BIT(self->other)));
	munmap(mine, most * PAGE);
	close(other);
}

TEST_F(numa, pool_of_nothing)
{
	int cpu = node_cpu(self->other);
	uint64_t left = self->nodes & ~BIT(self->other), nodes = BIT(self->other);

	NEED_TWO_NODES();
	ASSERT_EQ(0, pool_resize(self->other, 0));
	EXPECT_EQ(left, pool_nodes());
	EXPECT_EQ(-EINVAL, object_policy(self->fd, 0, PAGES, VMLAB_MPOL_BIND, nodes));
	EXPECT_EQ(-EINVAL, object_policy(self->fd, 0, PAGES, VMLAB_MPOL_INTERLEAVE, nodes));
	EXPECT_EQ(-EINVAL, range_policy(self->map, PAGES, VMLAB_MPOL_BIND, nodes));
	EXPECT_EQ(-EINVAL, object_migrate(self->fd, 0, PAGES, nodes, NULL));
	/* The task's policy is not ours to refuse; but there is nothing where it is strict. */
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, nodes));
	EXPECT_EQ(SIGBUS, try_store(self->map, 1));
	EXPECT_EQ(-ENOMEM, object_populate(self->fd, 0, 1));
	/* Others leave it out. */
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	store_anew(self->fd, self->map, PAGES, 1);
	EXPECT_EQ(0, not_in_turn(self->fd, 0, PAGES, left));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_PREFERRED, nodes));
	store_anew(self->fd, self->map, PAGES, 2);
	EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES,
				  BIT(nearest_node(self->other, left))));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_DEFAULT, 0));
	if (cpu >= 0) {
		uint64_t misses = node_counters("numa_miss");

		ASSERT_EQ(0, run_on_cpu(cpu));
		store_anew(self->fd, self->map, PAGES, 3);
		EXPECT_EQ(PAGES, pages_on(self->fd, self->map, PAGES,
					  BIT(nearest_node(self->other, left))));
		/* Nobody misses what is not there. */
		EXPECT_EQ(misses, node_counters("numa_miss"));
	}
}

TEST_F(numa, migrate)
{
	uint64_t in = node_counters("migrate_in"), out = node_counters("migrate_out");
	uint64_t moves = counter("migrate"), moved, round;

	NEED_TWO_NODES();
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, object_discard(self->fd, 50, 10));
	for (round = 0; round < 4; round++) {
		int node = round % 2 ? self->first : self->other;

		ASSERT_EQ(0, object_migrate(self->fd, 0, PAGES, BIT(node), &moved));
		EXPECT_EQ(PAGES - 10, moved);
		EXPECT_EQ(PAGES - 10, pages_on(self->fd, self->map, PAGES, BIT(node)));
		EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 50, 1));
		EXPECT_EQ(0, pages_not_zero(self->map + 50 * PAGE, 10));
		EXPECT_EQ(0, pages_wrong(self->map + 60 * PAGE, TAG, 60, PAGES - 60, 1));
		/* Those that are there stay. */
		ASSERT_EQ(0, object_migrate(self->fd, 0, PAGES, BIT(node), &moved));
		EXPECT_EQ(0, moved);
	}
	/* A part, by its address. */
	ASSERT_EQ(0, address_migrate(self->fd, self->map + 100 * PAGE, 100, BIT(self->other),
				     &moved));
	EXPECT_EQ(100, moved);
	EXPECT_EQ(100, pages_on(self->fd, self->map, PAGES, BIT(self->other)));
	EXPECT_EQ(4 * (PAGES - 10) + 100, counter("migrate") - moves);
	EXPECT_EQ(4 * (PAGES - 10) + 100, node_counters("migrate_in") - in);
	EXPECT_EQ(4 * (PAGES - 10) + 100, node_counters("migrate_out") - out);
	/* To several: by turns, but for those that are on one already. */
	ASSERT_EQ(0, object_migrate(self->fd, 0, PAGES, BIT(self->first), NULL));
	if (self->nodes & ~(BIT(self->first) | BIT(self->other))) {
		uint64_t others = self->nodes & ~BIT(self->first);

		ASSERT_EQ(0, object_migrate(self->fd, 60, 300, others, &moved));
		EXPECT_EQ(300, moved);
		EXPECT_EQ(0, not_in_turn(self->fd, 60, 300, others));
	}
}

static int child_keeps(void *map)
{
	/* Two slots name each of these; and some are the child's own. */
	pages_fill(map, TAG, 0, 100, 2);
	CHECK(!pages_wrong((char *)map + 100 * PAGE, TAG, 100, PAGES - 100, 1));
	kill(getppid(), SIGUSR1);
	for (int i = 0; i < 40; i++) {
		usleep(20000);
		CHECK(!pages_wrong(map, TAG, 0, 100, 2));
		CHECK(!pages_wrong((char *)map + 100 * PAGE, TAG, 100, PAGES - 100, 1));
	}
	return 0;
}

/* What a parent and a child share moves for both. */
TEST_F(numa, migrate_what_is_shared)
{
	char *map = object_map_private(self->fd, 0, PAGES);
	sigset_t set;
	uint64_t moved;
	int signal, error;
	pid_t child;

	NEED_TWO_NODES();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	pages_fill(map, TAG, 0, PAGES, 1);
	child = child_start(child_keeps, map);
	sigwait(&set, &signal);
	error = address_migrate(self->fd, map, PAGES, BIT(self->other), &moved);
	/* The child looks at them all the time. */
	EXPECT_TRUE(!error || error == -EBUSY);
	EXPECT_LE(PAGES - 50, moved);
	EXPECT_LE(PAGES - 50, pages_on(self->fd, map, PAGES, BIT(self->other)));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	error = address_migrate(self->fd, map, PAGES, BIT(self->first), &moved);
	EXPECT_TRUE(!error || error == -EBUSY);
	EXPECT_EQ(0, child_wait(child));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	munmap(map, PAGES * PAGE);
}

struct writer {
	pthread_t thread;
	atomic_bool stop;
	char *map;
	uint32_t generation[PAGES];
	uint64_t wrong, steps, state;
};

static void *write_at_random(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->stop)) {
		size_t i = chance(&w->state) % PAGES;

		if (w->generation[i])
			w->wrong += !page_is(w->map + i * PAGE, TAG, i, w->generation[i]);
		page_fill(w->map + i * PAGE, TAG, i, ++w->generation[i]);
		w->steps++;
	}
	return NULL;
}

TEST_F_TIMEOUT(numa, migrate_under_a_writer, 120)
{
	static struct writer w;
	double until = now() + seconds(5);
	uint64_t moved, total = 0;
	unsigned int round = 0;
	size_t i;
	int error;

	NEED_TWO_NODES();
	w = (struct writer){ .map = self->map, .state = seed() };
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, write_at_random, &w));
	for (; now() < until; round++) {
		int to = round % 2 ? self->first : self->other;

		error = object_migrate(self->fd, 0, PAGES, BIT(to), &moved);
		EXPECT_TRUE(!error || error == -EBUSY);
		total += moved;
		if (under_pressure() && round % 4 == 3)
			object_pageout(self->fd, 0, PAGES);
	}
	atomic_store(&w.stop, true);
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
	note("%u rounds, %lu pages moved, %lu stores", round, (unsigned long)total,
	     (unsigned long)w.steps);
	EXPECT_EQ(0, w.wrong);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(!w.generation[i] ||
			    page_is(self->map + i * PAGE, TAG, i, w.generation[i]));
	EXPECT_LT(0, total);
}

TEST_F(numa, migrate_huge_pinned_and_reserved)
{
	uint64_t moved, splits;
	char *map;
	int copy;

	NEED_TWO_NODES();
	ASSERT_EQ(0, room_for_chunks(self->nodes));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	map = object_map(self->fd, 0, LEAF_PAGES);
	pages_fill(map, TAG, 0, LEAF_PAGES, 1);
	ASSERT_EQ(LEAF_PAGES, object_count(self->fd, 0, LEAF_PAGES, VMLAB_RES_HUGE));
	splits = counter("thp_split_page");
	ASSERT_EQ(0, object_migrate(self->fd, 0, LEAF_PAGES, BIT(self->other), &moved));
	EXPECT_EQ(LEAF_PAGES, moved);
	EXPECT_EQ(LEAF_PAGES, object_count(self->fd, 0, LEAF_PAGES, VMLAB_RES_HUGE));
	EXPECT_EQ(LEAF_PAGES, pages_on(self->fd, map, LEAF_PAGES, BIT(self->other)));
	EXPECT_EQ(splits, counter("thp_split_page"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, LEAF_PAGES, 1));
	/* Of a part only that part goes. */
	ASSERT_EQ(0, object_migrate(self->fd, 10, 20, BIT(self->first), &moved));
	EXPECT_EQ(20, moved);
	EXPECT_EQ(20, pages_on(self->fd, map, LEAF_PAGES, BIT(self->first)));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, LEAF_PAGES, 1));
	/* Pinned is in memory, not in one place. */
	ASSERT_EQ(0, object_pin(self->fd, 0, LEAF_PAGES));
	ASSERT_EQ(0, object_migrate(self->fd, 0, LEAF_PAGES, BIT(self->first), &moved));
	EXPECT_EQ(LEAF_PAGES - 20, moved);
	EXPECT_EQ(LEAF_PAGES, object_count(self->fd, 0, LEAF_PAGES, VMLAB_RES_PINNED));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, LEAF_PAGES, 1));
	ASSERT_EQ(0, object_unpin(self->fd, 0, LEAF_PAGES));
	munmap(map, LEAF_PAGES * PAGE);
	/* What was reserved stays, and is where the policy says. */
	ASSERT_EQ(0, object_range(self->fd, VMLAB_IOC_RESERVE, LEAF_BYTES, LEAF_BYTES, NULL));
	map = object_map(self->fd, LEAF_PAGES, LEAF_PAGES);
	EXPECT_EQ(LEAF_PAGES, pages_on(self->fd, map, LEAF_PAGES, BIT(self->first)));
	EXPECT_EQ(-EBUSY, object_migrate(self->fd, LEAF_PAGES, LEAF_PAGES, BIT(self->other),
					 &moved));
	EXPECT_EQ(0, moved);
	ASSERT_EQ(0, object_migrate(self->fd, LEAF_PAGES, LEAF_PAGES, BIT(self->first), NULL));
	/* Also what is no huge page for this object any more: a copy shares it. */
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	map[0] = 1;
	EXPECT_EQ(-EBUSY, object_migrate(self->fd, LEAF_PAGES, LEAF_PAGES, BIT(self->other),
					 &moved));
	EXPECT_EQ(1, moved);
	EXPECT_EQ(LEAF_PAGES, object_count(copy, LEAF_PAGES, LEAF_PAGES, VMLAB_RES_RESERVED));
	close(copy);
	munmap(map, LEAF_PAGES * PAGE);
}

/* Nodes that are full: what can be evicted there makes room, and nothing elsewhere does. */
TEST_F_TIMEOUT(numa, migrate_to_a_full_node, 60)
{
	size_t total = pool_field(self->other, "total");
	int other = object_open(), error;
	char *theirs = object_map(other, 0, total);
	uint64_t moved;

	NEED_TWO_NODES();
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->other)));
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	pages_fill(theirs, TAG + 1, 0, total - 100, 1);
	error = object_migrate(self->fd, 0, PAGES, BIT(self->other), &moved);
	if (under_pressure()) {
		EXPECT_EQ(0, error);
		EXPECT_LT(PAGES * 3 / 4, moved);
	} else {
		EXPECT_EQ(-ENOMEM, error);
	}
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, pages_wrong(theirs, TAG + 1, 0, total - 100, 1));
	munmap(theirs, total * PAGE);
	close(other);
}

/* Each frame is hit or missed, local or not; who missed it is somewhere foreign. */
TEST_F(numa, statistics_add_up)
{
	static const char * const modes[] = { "numa_hit", "numa_miss", "numa_foreign",
					      "local_node", "other_node" };
	uint64_t before[5], grown[5], faults;
	unsigned int i;

	for (i = 0; i < 5; i++)
		before[i] = node_counters(modes[i]);
	faults = node_counters("fault_local") + node_counters("fault_remote");
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	store_anew(self->fd, self->map, PAGES, 1);
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	store_anew(self->fd, self->map, PAGES, 1);
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_DEFAULT, 0));
	store_anew(self->fd, self->map, PAGES, 1);
	for (i = 0; i < 5; i++)
		grown[i] = node_counters(modes[i]) - before[i];
	EXPECT_LE(3 * PAGES, grown[0] + grown[1]);
	EXPECT_EQ(grown[0] + grown[1], grown[3] + grown[4]);
	EXPECT_EQ(grown[1], grown[2]);
	EXPECT_LT(faults, node_counters("fault_local") + node_counters("fault_remote"));
}

/* A store through a CPU of another node is remote. */
TEST_F(numa, local_and_remote_faults)
{
	int cpu = node_cpu(self->first);
	uint64_t local, remote;

	NEED_TWO_NODES();
	if (cpu < 0)
		SKIP(return, "node %d has no CPU", self->first);
	ASSERT_EQ(0, run_on_cpu(cpu));
	ASSERT_EQ(0, madvise(self->map, PAGES * PAGE, MADV_RANDOM));
	local = node_counter(self->first, "fault_local");
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->first)));
	store_anew(self->fd, self->map, PAGES, 1);
	EXPECT_LE(PAGES, node_counter(self->first, "fault_local") - local);
	remote = node_counter(self->other, "fault_remote");
	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_BIND, BIT(self->other)));
	store_anew(self->fd, self->map, PAGES, 1);
	EXPECT_LE(PAGES, node_counter(self->other, "fault_remote") - remote);
}

/* debugfs `numa`: what each object has on each node. */
TEST_F(numa, table_of_objects)
{
	struct vmlab_ioc_info info;
	char text[16384], *line, *rest = text, *at, name[16];
	uint64_t pages = 0;

	ASSERT_EQ(0, task_mempolicy(VMLAB_MPOL_INTERLEAVE, self->nodes));
	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, object_info(self->fd, &info));
	ASSERT_LT(0, debugfs_read("numa", text, sizeof(text)));
	while ((line = strsep(&rest, "\n"))) {
		if (strtoull(line, NULL, 10) != info.id)
			continue;
		for (int node = 0; node < 64; node++) {
			snprintf(name, sizeof(name), " N%d=", node);
			at = strstr(line, name);
			if (at)
				pages += strtoull(at + strlen(name), NULL, 10);
			if (at && (self->nodes >> node & 1))
				EXPECT_LT(0, strtoull(at + strlen(name), NULL, 10));
		}
	}
	EXPECT_EQ(object_frames(self->fd), pages);
}

static int mempolicy(int fd, struct vmlab_ioc_mempolicy policy)
{
	if (!policy.size)
		policy.size = sizeof(policy);
	return ioctl(fd, VMLAB_IOC_MEMPOLICY, &policy) ? -errno : 0;
}

TEST_F(numa, bad_policies)
{
	uint64_t mask[512] = { self->nodes }, none = 0, absent[16] = {};
	const uint64_t address = (uintptr_t)mask, set = VMLAB_MEMPOLICY_SET;

#define ASK(...) mempolicy(self->fd, (struct vmlab_ioc_mempolicy){ __VA_ARGS__ })
	EXPECT_EQ(-EINVAL, ASK(.size = 8));
	EXPECT_EQ(-E2BIG, ASK(.size = 8192));
	EXPECT_EQ(-EINVAL, ASK(.flags = 2, .length = PAGE));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .offset = 1, .length = PAGE,
			       .mode = VMLAB_MPOL_LOCAL));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .offset = VMLAB_OBJECT_SIZE, .length = PAGE,
			       .mode = VMLAB_MPOL_LOCAL));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .offset = PAGE, .length = -PAGE));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = 7, .nodes = address,
			       .maxnode = 64));
	/* Masks: empty, where it must not be; full, where it must not be; absent; too long. */
	for (int mode = VMLAB_MPOL_PREFERRED; mode <= VMLAB_MPOL_WEIGHTED_INTERLEAVE; mode++) {
		if (mode == VMLAB_MPOL_LOCAL)
			continue;
		EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = mode));
		EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = mode, .maxnode = 64,
				       .nodes = (uintptr_t)&none));
		absent[0] = ~self->nodes;
		EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = mode, .maxnode = 64,
				       .nodes = (uintptr_t)absent));
		absent[0] = 0;
		absent[15] = 1;
		EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = mode, .maxnode = 1024,
				       .nodes = (uintptr_t)absent));
	}
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_DEFAULT,
			       .maxnode = 64, .nodes = address));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_LOCAL,
			       .maxnode = 64, .nodes = address));
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_BIND,
			       .maxnode = 32769, .nodes = address));
	EXPECT_EQ(-EFAULT, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_BIND,
			       .maxnode = 64, .nodes = 8));
	EXPECT_EQ(-EFAULT, ASK(.length = PAGE, .maxnode = 64, .nodes = 8));
	/* A long mask is one with zeros at its end; a bit past all nodes is one too many. */
	EXPECT_EQ(0, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_BIND, .maxnode = 32768,
			 .nodes = address));
	mask[511] = 1;
	EXPECT_EQ(-EINVAL, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_BIND,
			       .maxnode = 32768, .nodes = address));
	/* And what is past @maxnode is nobody's. */
	EXPECT_EQ(0, ASK(.flags = set, .length = PAGE, .mode = VMLAB_MPOL_BIND, .maxnode = 64,
			 .nodes = address));
	/* To read: room for the answer. */
	EXPECT_EQ(-EINVAL, ASK(.length = PAGE));
	EXPECT_EQ(0, ASK(.length = 0, .maxnode = 64, .nodes = address));
	EXPECT_EQ(self->nodes, mask[0]);
	EXPECT_EQ(0, ASK(.length = PAGE, .maxnode = 32768, .nodes = address));
	EXPECT_EQ(self->nodes, mask[0]);
	EXPECT_EQ(0, mask[511]);
	EXPECT_EQ(0, ASK(.flags = set, .mode = VMLAB_MPOL_LOCAL));
#undef ASK
	/* mbind() itself: the kernel has looked at these before us. */
	EXPECT_EQ(-EINVAL, range_policy(self->map, PAGES, VMLAB_MPOL_BIND, 0));
}

static int migrate(int fd, struct vmlab_ioc_migrate ask)
{
	if (!ask.size)
		ask.size = sizeof(ask);
	return ioctl(fd, VMLAB_IOC_MIGRATE, &ask) ? -errno : 0;
}

TEST_F(numa, bad_migrations)
{
	uint64_t mask = self->nodes, absent = ~self->nodes;
	const uint64_t address = (uintptr_t)&mask;

#define ASK(...) migrate(self->fd, (struct vmlab_ioc_migrate){ __VA_ARGS__ })
	pages_fill(self->map, TAG, 0, PAGES, 1);
	EXPECT_EQ(-EINVAL, ASK(.size = 8));
	EXPECT_EQ(-EINVAL, ASK(.flags = 2, .maxnode = 64, .nodes = address));
	EXPECT_EQ(-EINVAL, ASK(.pad = 1, .maxnode = 64, .nodes = address));
	EXPECT_EQ(-EINVAL, ASK(.length = PAGE));
	EXPECT_EQ(-EINVAL, ASK(.length = PAGE, .maxnode = 64, .nodes = (uintptr_t)&absent));
	EXPECT_EQ(-EFAULT, ASK(.length = PAGE, .maxnode = 64, .nodes = 8));
	EXPECT_EQ(-EINVAL, ASK(.offset = 7, .length = PAGE, .maxnode = 64, .nodes = address));
	EXPECT_EQ(-EINVAL, ASK(.length = VMLAB_OBJECT_SIZE + PAGE, .maxnode = 64,
			       .nodes = address));
	EXPECT_EQ(0, ASK(.length = 0, .maxnode = 64, .nodes = address));
	EXPECT_EQ(0, ASK(.length = VMLAB_OBJECT_SIZE, .maxnode = 64, .nodes = address));
	/* An address that is not ours. */
	EXPECT_EQ(-ENOMEM, ASK(.flags = VMLAB_RANGE_ADDRESS, .offset = address & -PAGE,
			       .length = PAGE, .maxnode = 64, .nodes = address));
#undef ASK
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 1));
}

TEST_HARNESS_MAIN
