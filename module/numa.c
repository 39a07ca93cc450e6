// SPDX-License-Identifier: GPL-2.0
/*
 * Which node a frame comes from, and the statistics of it.
 *
 * Owns the order in which nodes are tried and the per-node counters.  It never
 * allocates a frame itself.
 */
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

	pool->fallback = kcalloc(MAX_NUMNODES, sizeof(*pool->fallback), GFP_KERNEL);
	if (!pool->fallback)
		return -ENOMEM;
	/* Insertion sort: itself first, as its distance is the least. */
	for (nid = 0; nid < MAX_NUMNODES; nid++) {
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

/**
 * vmlab_numa_nearest() - the pool that is the nearest to a node without one
 * @vm: the instance
 * @nid: the node
 *
 * Return: the pool; NULL when the instance has none at all.
 */
struct vmlab_pool *vmlab_numa_nearest(struct vmlab *vm, int nid)
{
	struct vmlab_pool *best = NULL;
	int i;

	for (i = 0; i < MAX_NUMNODES; i++)
		if (vm->pools[i] && (!best || node_distance(nid, i) <
					      node_distance(nid, best->nid)))
			best = vm->pools[i];
	return best;
}

/**
 * vmlab_numa_node() - the node that a new page of the running task should be on
 * @vm: the instance
 *
 * Local first: the node of the CPU that runs.
 *
 * Return: the node.
 */
int vmlab_numa_node(struct vmlab *vm)
{
	return numa_mem_id();
}

/**
 * vmlab_numa_count_miss() - count a frame that came from another node than was wanted
 * @wanted: the pool of the node wanted
 * @got: the pool that the frame is from
 *
 * As in the kernel's zone_statistics() (mm/page_alloc.c): hit and miss are about
 * the wish, local and other about the CPU that asked.
 */
void vmlab_numa_count_miss(struct vmlab_pool *wanted, struct vmlab_pool *got)
{
	this_cpu_inc(got->node_stats->count[VMLAB_numa_miss]);
	this_cpu_inc(wanted->node_stats->count[VMLAB_numa_foreign]);
	trace_numa(wanted->nid, got->nid);
	vmlab_numa_count_cpu(got, 1);
}
