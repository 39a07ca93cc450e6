// SPDX-License-Identifier: GPL-2.0
/*
 * What of huge pages can be set: debugfs `huge`, `zero_chunks`, promote/ and `compact`, and
 * a node's `gigantic`.
 *
 * Owns their names and bounds.  It must never act on pages: who uses a value looks at it when
 * he comes by.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "debugfs.h"
#include "vmlab.h"

static int vmlab_huge_setting_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	vmlab_debugfs_show_choice(m, vmlab_huge_names, VMLAB_HUGE_NR, READ_ONCE(vm->huge));
	return 0;
}

static ssize_t vmlab_huge_setting_write(struct file *file, const char __user *from,
					size_t count, loff_t *pos)
{
	int i = vmlab_debugfs_choose(from, count, vmlab_huge_names, VMLAB_HUGE_NR);

	if (i < 0)
		return i;
	vmlab_huge_set(vmlab_file_private(file), i);
	return count;
}

VMLAB_RW_FILE(vmlab_huge_setting);

static const struct {
	const char	*name;
	unsigned int	max;
} vmlab_promote_names[VMLAB_PROMOTE_NR] = {
	[VMLAB_PROMOTE_MAX_NONE]	= { "max_none", VMLAB_LEAF_SLOTS - 1 },
	[VMLAB_PROMOTE_MAX_SHARED]	= { "max_shared", VMLAB_LEAF_SLOTS },
	[VMLAB_PROMOTE_MAX_SWAPPED]	= { "max_swapped", VMLAB_LEAF_SLOTS },
	[VMLAB_PROMOTE_SCAN_MS]		= { "scan_ms", 3600000 },
	[VMLAB_PROMOTE_SCAN_LEAVES]	= { "scan_leaves", 1U << 20 },
	[VMLAB_PROMOTE_COW_HUGE]	= { "cow_huge", 1 },
	[VMLAB_PROMOTE_ZERO_CHUNKS]	= { "zero_chunks", 1U << 20 },
};

/* The number of a value is told by the name of its file. */
static int vmlab_promote_which(const struct file *file)
{
	const char *name = file->f_path.dentry->d_name.name;
	int i;

	for (i = 0; i < VMLAB_PROMOTE_NR; i++)
		if (!strcmp(vmlab_promote_names[i].name, name))
			return i;
	return -ENOENT;
}

static int vmlab_promote_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;
	int which = vmlab_promote_which(m->file);

	if (which < 0)
		return which;
	seq_printf(m, "%u\n", READ_ONCE(vm->promote[which]));
	return 0;
}

static ssize_t vmlab_promote_write(struct file *file, const char __user *from, size_t count,
				   loff_t *pos)
{
	struct vmlab *vm = vmlab_file_private(file);
	int which = vmlab_promote_which(file), err;
	unsigned int value;

	if (which < 0)
		return which;
	err = kstrtouint_from_user(from, count, 0, &value);
	if (err)
		return err;
	if (value > vmlab_promote_names[which].max)
		return -EINVAL;
	WRITE_ONCE(vm->promote[which], value);
	vmlab_huge_wake(vm);
	return count;
}

VMLAB_RW_FILE(vmlab_promote);

static void vmlab_compact_node(struct vmlab *vm, int nid)
{
	if (vm->pools[nid])
		vmlab_compact(vm->pools[nid], UINT_MAX, 1);
}

/* A node's number, or `all`. */
static ssize_t vmlab_compact_write(struct file *file, const char __user *from, size_t count,
				   loff_t *pos)
{
	char *word = vmlab_debugfs_word(from, count, VMLAB_WORD_MAX);
	struct vmlab *vm = file->private_data;
	unsigned int nid;
	int err = 0;

	if (IS_ERR(word))
		return PTR_ERR(word);
	if (!strcmp(word, "all")) {
		for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
			vmlab_compact_node(vm, nid);
	} else {
		err = kstrtouint(word, 10, &nid);
		if (!err && (nid >= VMLAB_NODES_MAX || !vm->pools[nid]))
			err = -EINVAL;
		if (!err)
			vmlab_compact_node(vm, nid);
	}
	kfree(word);
	return err ?: count;
}

static const struct file_operations vmlab_compact_fops = {
	.owner	= THIS_MODULE,
	.open	= simple_open,
	.write	= vmlab_compact_write,
	.llseek	= noop_llseek,
};

static int vmlab_gigantic_show(struct seq_file *m, void *unused)
{
	unsigned int nr_free, nr = vmlab_gigantic_count(m->private, &nr_free);

	seq_printf(m, "total %u\nfree %u\n", nr, nr_free);
	return 0;
}

static ssize_t vmlab_gigantic_write(struct file *file, const char __user *from, size_t count,
				    loff_t *pos)
{
	unsigned int nr;
	int err = kstrtouint_from_user(from, count, 0, &nr);

	if (!err)
		err = vmlab_gigantic_set(vmlab_file_private(file), nr);
	return err ?: count;
}

VMLAB_RW_FILE(vmlab_gigantic);

/**
 * vmlab_huge_debugfs_pool() - make a node's file
 * @pool: its pool
 * @parent: its directory
 */
void vmlab_huge_debugfs_pool(struct vmlab_pool *pool, struct dentry *parent)
{
	debugfs_create_file("gigantic", 0600, parent, pool, &vmlab_gigantic_fops);
}

/**
 * vmlab_huge_debugfs() - make the files
 * @vm: the instance
 * @parent: its directory
 */
void vmlab_huge_debugfs(struct vmlab *vm, struct dentry *parent)
{
	struct dentry *dir = vmlab_debugfs_dir("promote", parent);
	unsigned int i;

	debugfs_create_file("compact", 0200, parent, vm, &vmlab_compact_fops);
	debugfs_create_file("huge", 0600, parent, vm, &vmlab_huge_setting_fops);
	for (i = 0; dir && i < VMLAB_PROMOTE_NR; i++)
		debugfs_create_file(vmlab_promote_names[i].name, 0600,
				    i == VMLAB_PROMOTE_ZERO_CHUNKS ? parent : dir, vm,
				    &vmlab_promote_fops);
}
