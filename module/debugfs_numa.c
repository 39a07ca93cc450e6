// SPDX-License-Identifier: GPL-2.0
/*
 * What of nodes can be seen and set: debugfs `numa`, node<N>/stats and node<N>/weight.
 *
 * Owns their formats.  It must never act on pages: who places one looks at the weights when
 * he comes by.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "debugfs.h"
#include "vmlab.h"

static int vmlab_node_stats_show(struct seq_file *m, void *unused)
{
	struct vmlab_pool *pool = m->private;
	int i;

	for (i = 0; i < VMLAB_NR_NODE_STATS; i++)
		seq_printf(m, "%s %llu\n", vmlab_node_stat_names[i],
			   vmlab_node_stat_sum(pool, i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vmlab_node_stats);

static int vmlab_weight_show(struct seq_file *m, void *unused)
{
	struct vmlab_pool *pool = m->private;

	seq_printf(m, "%u\n", READ_ONCE(pool->weight));
	return 0;
}

/* 1 to 255, as for /sys/kernel/mm/mempolicy/weighted_interleave. */
static ssize_t vmlab_weight_write(struct file *file, const char __user *from, size_t count,
				  loff_t *pos)
{
	struct vmlab_pool *pool = vmlab_file_private(file);
	u8 weight;
	int err = kstrtou8_from_user(from, count, 0, &weight);

	if (err)
		return err;
	if (!weight)
		return -EINVAL;
	WRITE_ONCE(pool->weight, weight);
	return count;
}

VMLAB_RW_FILE(vmlab_weight);

static void vmlab_numa_show_nodes(struct seq_file *m, struct vmlab *vm,
				  const struct vmlab_usage *usage)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			seq_printf(m, " N%d=%llu", nid, usage->on_node[nid]);
}

/* Frames of each object by node, those of its own page table included. */
static int vmlab_numa_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;
	struct vmlab_usage usage;
	struct vmlab_object *obj;
	u64 id;

	for (id = 0; (obj = vmlab_object_next(vm, &id)); id++) {
		vmlab_object_usage(obj, &usage);
		seq_printf(m, "%llu %d ", obj->id, obj->pid);
		vmlab_debugfs_show_comm(m, obj->comm);
		vmlab_numa_show_nodes(m, vm, &usage);
		seq_putc(m, '\n');
		vmlab_object_put(obj);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vmlab_numa);

/**
 * vmlab_numa_debugfs() - make the instance's file
 * @vm: the instance
 * @parent: its directory
 */
void vmlab_numa_debugfs(struct vmlab *vm, struct dentry *parent)
{
	debugfs_create_file("numa", 0400, parent, vm, &vmlab_numa_fops);
}

/**
 * vmlab_numa_debugfs_pool() - make a node's files
 * @pool: its pool
 * @parent: its directory
 */
void vmlab_numa_debugfs_pool(struct vmlab_pool *pool, struct dentry *parent)
{
	debugfs_create_file("stats", 0400, parent, pool, &vmlab_node_stats_fops);
	debugfs_create_file("weight", 0600, parent, pool, &vmlab_weight_fops);
}
