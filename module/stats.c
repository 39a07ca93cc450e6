// SPDX-License-Identifier: GPL-2.0
/*
 * The counters: their names, and their sums over the CPUs.
 *
 * Counting itself is vmlab_count() of stats.h, inline.  This file must never
 * take a lock: a sum is a reading while others count.
 */
#include <linux/percpu.h>

#include "vmlab.h"

/* By enum vmlab_stat, as debugfs `stats` prints them. */
const char * const vmlab_stat_names[VMLAB_NR_STATS] = {
#define X(name, text) #name,
	VMLAB_STATS(X)
#undef X
};

/* By enum vmlab_node_stat, as debugfs node<N>/`stats` prints them. */
const char * const vmlab_node_stat_names[VMLAB_NR_NODE_STATS] = {
	[VMLAB_numa_hit]	= "numa_hit",
	[VMLAB_numa_miss]	= "numa_miss",
	[VMLAB_numa_foreign]	= "numa_foreign",
	[VMLAB_interleave_hit]	= "interleave_hit",
	[VMLAB_local_node]	= "local_node",
	[VMLAB_other_node]	= "other_node",
	[VMLAB_fault_local]	= "fault_local",
	[VMLAB_fault_remote]	= "fault_remote",
	[VMLAB_migrate_in]	= "migrate_in",
	[VMLAB_migrate_out]	= "migrate_out",
};

/**
 * vmlab_stat_sum() - a counter's value
 * @vm: the instance
 * @stat: which counter
 *
 * Any context, no locks.
 *
 * Return: events (or pages, or ns: see the name) on all CPUs since load,
 * those that are offline now included.
 */
u64 vmlab_stat_sum(struct vmlab *vm, enum vmlab_stat stat)
{
	unsigned int cpu;
	u64 sum = 0;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(vm->stats, cpu)->count[stat]);
	return sum;
}

/**
 * vmlab_node_stat_sum() - a node's counter's value
 * @pool: the node's pool
 * @stat: which counter
 *
 * Any context, no locks.
 *
 * Return: frames handed out, faults or pages moved on all CPUs since load: see @stat.
 */
u64 vmlab_node_stat_sum(struct vmlab_pool *pool, enum vmlab_node_stat stat)
{
	unsigned int cpu;
	u64 sum = 0;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(pool->node_stats, cpu)->count[stat]);
	return sum;
}
