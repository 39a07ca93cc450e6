// SPDX-License-Identifier: GPL-2.0
/*
 * Which nodes a memory policy comes to for a page, and the statistics of it.
 *
 * Owns the order in which nodes are tried and the per-node counters.  Which policy goes for a
 * page is mempolicy.c's.  It never allocates a frame itself.
 *
 * A cpuset's memory nodes bound the policies of its tasks: the kernel sees to that.  They do
 * not bound what is taken elsewhere for want of frames, without a policy: the pools are the
 * instance's, not the machine's.
 */
#include <linux/bitops.h>
#include <linux/slab.h>
#include <linux/topology.h>

#include "trace.h"
#include "vmlab.h"

/**
 * vmlab_numa_init_fallback() - order the pools by distance from one of them
 * @pool: the one
 *
 * Context: every pool of the instance is in vm->pools; not yet in use.
 * Return: 0 or -ENOMEM.
 */
int vmlab_numa_init_fallback(struct vmlab_pool *pool)
{
	struct vmlab *vm = pool->vm;
	int nid, i, nr = 0;

	pool->fallback = kcalloc(VMLAB_NODES_MAX, sizeof(*pool->fallback), GFP_KERNEL);
	if (!pool->fallback)
		return -ENOMEM;
	/* Insertion sort: itself first, as its distance is the least. */
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid])
			continue;
		for (i = nr++; i > 0; i--) {
			if (node_distance(pool->nid, pool->fallback[i - 1]) <=
			    node_distance(pool->nid, nid))
				break;
			pool->fallback[i] = pool->fallback[i - 1];
		}
		pool->fallback[i] = nid;
	}
	pool->nr_fallback = nr;
	return 0;
}

/* The nearest of some nodes to one; at least one bit of @nodes is set. */
static int vmlab_numa_nearest_of(int nid, unsigned long nodes)
{
	int i, best = __ffs(nodes);

	for_each_set_bit(i, &nodes, VMLAB_NODES_MAX)
		if (node_distance(nid, i) < node_distance(nid, best))
			best = i;
	return best;
}

/**
 * vmlab_numa_nearest() - the pool that is the nearest to a node without one
 * @vm: the instance
 * @nid: the node
 *
 * Return: the pool; NULL when the instance has none at all.
 */
struct vmlab_pool *vmlab_numa_nearest(struct vmlab *vm, int nid)
{
	unsigned long nodes = READ_ONCE(vm->pool_nodes);
	int i;

	if (nodes)
		return vm->pools[vmlab_numa_nearest_of(nid, nodes)];
	/* All are empty: one of those, whose reclaim says so. */
	for (i = 0; i < VMLAB_NODES_MAX; i++)
		if (vm->pools[i])
			return vm->pools[i];
	return NULL;
}

/**
 * vmlab_numa_pool_resized() - a pool may have got its first memory, or lost its last
 * @pool: the pool
 *
 * Context: vm->activity held for write, or the pool is not yet in use.
 */
void vmlab_numa_pool_resized(struct vmlab_pool *pool)
{
	if (pool->nr_chunks)
		WRITE_ONCE(pool->vm->pool_nodes, pool->vm->pool_nodes | BIT(pool->nid));
	else
		WRITE_ONCE(pool->vm->pool_nodes, pool->vm->pool_nodes & ~BIT(pool->nid));
}

/* The node whose turn it is when each of @nodes takes its weight of turns, one after another. */
static int vmlab_numa_turn(struct vmlab *vm, unsigned long nodes, bool weighted, u64 index)
{
	unsigned int weights = 0, weight;
	int i;

	for_each_set_bit(i, &nodes, VMLAB_NODES_MAX)
		weights += weighted ? READ_ONCE(vm->pools[i]->weight) : 1;
	index %= weights;
	for_each_set_bit(i, &nodes, VMLAB_NODES_MAX) {
		weight = weighted ? READ_ONCE(vm->pools[i]->weight) : 1;
		if (index < weight)
			return i;
		index -= weight;
	}
	/* A weight was changed meanwhile. */
	return __ffs(nodes);
}

/**
 * vmlab_place_find() - where a page should be by a policy
 * @vm: the instance
 * @mpol: the policy, not 0
 * @index: what is counted when pages are spread: pages, or huge pages
 *
 * As policy_nodemask() and its callers have it (mm/mempolicy.c), among the nodes whose pools
 * have memory now: the others are as nodes without memory are for Linux.
 *
 * Context: any but interrupts; does not sleep.
 */
struct vmlab_place vmlab_place_find(struct vmlab *vm, u64 mpol, u64 index)
{
	unsigned long nodes = vmlab_mpol_nodes(mpol) & READ_ONCE(vm->pool_nodes);
	unsigned int mode = vmlab_mpol_mode(mpol);
	struct vmlab_place place = { .nid = numa_mem_id() };
	int home = vmlab_mpol_home(mpol);

	switch (mode) {
	case VMLAB_MPOL_PREFERRED:
		if (vmlab_mpol_nodes(mpol))
			place.nid = __ffs(vmlab_mpol_nodes(mpol));
		break;
	case VMLAB_MPOL_BIND:
	case VMLAB_MPOL_PREFERRED_MANY:
		place.strict = mode == VMLAB_MPOL_BIND;
		place.nodes = nodes;
		if (nodes)
			place.nid = vmlab_numa_nearest_of(home < 0 ? place.nid : home, nodes);
		else if (place.strict)
			place.nid = NUMA_NO_NODE;
		break;
	case VMLAB_MPOL_INTERLEAVE:
	case VMLAB_MPOL_WEIGHTED_INTERLEAVE:
		if (!nodes)
			break;
		place.spread = true;
		place.nid = vmlab_numa_turn(vm, nodes, mode == VMLAB_MPOL_WEIGHTED_INTERLEAVE,
					    index);
		break;
	}
	return place;
}

/**
 * vmlab_place_among() - where a page should be that is to be on some nodes, by turns
 * @vm: the instance
 * @nodes: those, and no others
 * @index: as for vmlab_place_find()
 *
 * Context: any but interrupts; does not sleep.
 */
struct vmlab_place vmlab_place_among(struct vmlab *vm, unsigned long nodes, u64 index)
{
	struct vmlab_place place = { .nid = NUMA_NO_NODE, .strict = true };

	place.nodes = nodes & READ_ONCE(vm->pool_nodes);
	if (place.nodes)
		place.nid = vmlab_numa_turn(vm, place.nodes, false, index);
	return place;
}

/**
 * vmlab_numa_count_miss() - count a frame that came from another node than was wanted
 * @wanted: the pool of the node wanted
 * @got: the pool that the frame is from
 * @nr: frames
 *
 * As in the kernel's zone_statistics() (mm/page_alloc.c): hit and miss are about
 * the wish, local and other about the CPU that asked.
 */
void vmlab_numa_count_miss(struct vmlab_pool *wanted, struct vmlab_pool *got, unsigned int nr)
{
	this_cpu_add(got->node_stats->count[VMLAB_numa_miss], nr);
	this_cpu_add(wanted->node_stats->count[VMLAB_numa_foreign], nr);
	vmlab_numa_count_cpu(got, nr);
	while (nr--)
		trace_numa(wanted->nid, got->nid);
}
