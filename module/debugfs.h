/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files that make up /sys/kernel/debug/vmlab share.  Only debugfs*.c and inject.c
 * include it.
 */
#ifndef VMLAB_DEBUGFS_H
#define VMLAB_DEBUGFS_H

#include <linux/fs.h>
#include <linux/seq_file.h>

#define VMLAB_WORD_MAX		64

/* A file that is read through name##_show() and written through name##_write(). */
#define VMLAB_RW_FILE(name)						\
static int name##_open(struct inode *inode, struct file *file)		\
{									\
	return single_open(file, name##_show, inode->i_private);	\
}									\
									\
static const struct file_operations name##_fops = {			\
	.owner		= THIS_MODULE,					\
	.open		= name##_open,					\
	.read		= seq_read,					\
	.write		= name##_write,					\
	.llseek		= seq_lseek,					\
	.release	= single_release,				\
}

static inline void *vmlab_file_private(struct file *file)
{
	return ((struct seq_file *)file->private_data)->private;
}

char *vmlab_debugfs_word(const char __user *from, size_t count, size_t limit);
void vmlab_debugfs_show_choice(struct seq_file *m, const char * const *names, unsigned int nr,
			       unsigned int chosen);
int vmlab_debugfs_choose(const char __user *from, size_t count, const char * const *names,
			 unsigned int nr);
struct dentry *vmlab_debugfs_dir(const char *name, struct dentry *parent);

void vmlab_debugfs_show_comm(struct seq_file *m, const char *comm);

/* debugfs_huge.c */
struct vmlab;
struct vmlab_pool;
void vmlab_huge_debugfs(struct vmlab *vm, struct dentry *parent);
void vmlab_huge_debugfs_pool(struct vmlab_pool *pool, struct dentry *parent);

/* debugfs_numa.c */
void vmlab_numa_debugfs(struct vmlab *vm, struct dentry *parent);
void vmlab_numa_debugfs_pool(struct vmlab_pool *pool, struct dentry *parent);

#endif /* VMLAB_DEBUGFS_H */
