// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs `walk`: a page walk to read aloud.  Write `PID ADDRESS`, read the answer on the
 * same open file.
 *
 * Owns the text and the names in it, and who may look at whom: what is told is
 * walk.c's.  An open file holds one answer, never a process.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/kdev_t.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/user_namespace.h>

#include "vmlab.h"

#define VMLAB_QUERY_MAX	64

/**
 * struct vmlab_walk_file - an open `walk`; under the seq_file's lock
 * @asked:	there is an answer
 * @pid:	as it was written
 * @walk:	the answer
 */
struct vmlab_walk_file {
	bool			asked;
	pid_t			pid;
	struct vmlab_ioc_walk	walk;
};

struct vmlab_walk_name {
	u32		flag;
	const char	*name;
};

static const char * const vmlab_walk_levels[VMLAB_WALK_LEVELS] = {
	[VMLAB_WALK_PGD] = "PGD",
	[VMLAB_WALK_P4D] = "P4D",
	[VMLAB_WALK_PUD] = "PUD",
	[VMLAB_WALK_PMD] = "PMD",
	[VMLAB_WALK_PTE] = "PTE",
};

static const struct vmlab_walk_name vmlab_walk_flag_names[] = {
	{ VMLAB_WALK_FOLDED,		"folded" },
	{ VMLAB_WALK_NONE,		"none" },
	{ VMLAB_WALK_PRESENT,		"present" },
	{ VMLAB_WALK_PROTNONE,		"protnone" },
	{ VMLAB_WALK_OTHER,		"other" },
	{ VMLAB_WALK_TABLE,		"table" },
	{ VMLAB_WALK_HUGE,		"huge" },
	{ VMLAB_WALK_WRITE,		"write" },
	{ VMLAB_WALK_USER,		"user" },
	{ VMLAB_WALK_NOEXEC,		"noexec" },
	{ VMLAB_WALK_ACCESSED,		"accessed" },
	{ VMLAB_WALK_DIRTY,		"dirty" },
	{ VMLAB_WALK_ZERO_PAGE,		"zero_page" },
	{ VMLAB_WALK_SPECIAL,		"special" },
	{ VMLAB_WALK_SOFT_DIRTY,	"soft_dirty" },
	{ VMLAB_WALK_UFFD_WP,		"uffd_wp" },
};

static const struct vmlab_walk_name vmlab_walk_slot_names[] = {
	{ VMLAB_WALK_SLOT_HOLE,		"hole" },
	{ VMLAB_WALK_SLOT_ZERO,		"zero" },
	{ VMLAB_WALK_SLOT_FRAME,	"frame" },
	{ VMLAB_WALK_SLOT_SWAP,		"swap" },
	{ VMLAB_WALK_SLOT_LOCKED,	"locked" },
	{ VMLAB_WALK_SLOT_PINNED,	"pinned" },
};

static const struct vmlab_walk_name vmlab_walk_frame_names[] = {
	{ VMLAB_WALK_SLOT_DIRTY,	"dirty" },
	{ VMLAB_WALK_SLOT_COPY,		"copy" },
	{ VMLAB_WALK_SLOT_ACCESSED,	"accessed" },
	{ VMLAB_WALK_SLOT_AHEAD,	"ahead" },
	{ VMLAB_WALK_SLOT_HUGE,		"huge" },
};

static const char * const vmlab_walk_kinds[] = {
	[VMLAB_KIND_OPEN]	= "open",
	[VMLAB_KIND_SNAPSHOT]	= "snapshot",
	[VMLAB_KIND_PRIVATE]	= "private",
	[VMLAB_KIND_BROKEN]	= "broken",
};

static void vmlab_walk_show_names(struct seq_file *m, const struct vmlab_walk_name *names,
				  unsigned int nr, u32 flags)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (flags & names[i].flag)
			seq_printf(m, " %s", names[i].name);
}

/* The bits of @value, the highest of @nr first. */
static void vmlab_walk_show_bits(struct seq_file *m, u64 value, unsigned int nr)
{
	while (nr--)
		seq_putc(m, value >> nr & 1 ? '1' : '0');
}

static void vmlab_walk_show_level(struct seq_file *m, const struct vmlab_ioc_walk *walk,
				  unsigned int level)
{
	const struct vmlab_walk_level *l = &walk->levels[level];

	seq_puts(m, vmlab_walk_levels[level]);
	if (!(l->flags & VMLAB_WALK_FOLDED)) {
		seq_printf(m, "[%3u] bits %2u-%u ", l->index, l->shift + 8, l->shift);
		vmlab_walk_show_bits(m, l->index, 9);
		seq_printf(m, " entry 0x%016llx", l->entry);
	}
	vmlab_walk_show_names(m, vmlab_walk_flag_names, ARRAY_SIZE(vmlab_walk_flag_names),
			      l->flags);
	seq_putc(m, '\n');
}

static void vmlab_walk_show_swap(struct seq_file *m, const struct vmlab_ioc_walk *walk)
{
	dev_t dev = new_decode_dev(walk->swap_dev);

	seq_printf(m, "swap device %u:%u", MAJOR(dev), MINOR(dev));
	if (walk->status & VMLAB_WALK_FRAMES)
		seq_printf(m, " offset %llu", walk->swap_offset);
	seq_putc(m, '\n');
}

static void vmlab_walk_show_ours(struct seq_file *m, const struct vmlab_ioc_walk *walk)
{
	if (!(walk->status & VMLAB_WALK_OURS)) {
		seq_puts(m, "slot none\n");
		return;
	}
	seq_printf(m, "object %llu kind %s page %llu\n", walk->object,
		   vmlab_walk_kinds[walk->kind], walk->page);
	seq_printf(m, "slot [%3llu] owners %u", walk->page & (VMLAB_LEAF_SLOTS - 1),
		   walk->owners);
	vmlab_walk_show_names(m, vmlab_walk_slot_names, ARRAY_SIZE(vmlab_walk_slot_names),
			      walk->slot);
	seq_putc(m, '\n');
	if (walk->slot & VMLAB_WALK_SLOT_FRAME) {
		seq_puts(m, "frame");
		if (walk->status & VMLAB_WALK_FRAMES)
			seq_printf(m, " pfn 0x%llx", walk->frame);
		seq_printf(m, " node %u refs %u", walk->node, walk->refs);
		vmlab_walk_show_names(m, vmlab_walk_frame_names,
				      ARRAY_SIZE(vmlab_walk_frame_names), walk->slot);
		seq_putc(m, '\n');
	}
	if (walk->slot & (VMLAB_WALK_SLOT_SWAP | VMLAB_WALK_SLOT_COPY))
		vmlab_walk_show_swap(m, walk);
}

static int vmlab_walk_show(struct seq_file *m, void *unused)
{
	struct vmlab_walk_file *file = m->private;
	const struct vmlab_ioc_walk *walk = &file->walk;
	unsigned int level;

	if (!file->asked) {
		seq_puts(m, "# write \"PID ADDRESS\" to this open file, then read it\n");
		return 0;
	}
	seq_printf(m, "walk %d 0x%llx %s\n", file->pid, walk->address,
		   walk->status & VMLAB_WALK_MAPPED ? "mapped" : "unmapped");
	for (level = 0; level < walk->nr_levels; level++)
		vmlab_walk_show_level(m, walk, level);
	seq_puts(m, "byte      bits 11-0 ");
	vmlab_walk_show_bits(m, walk->address, PAGE_SHIFT);
	seq_printf(m, " offset 0x%llx\n", walk->address & ~PAGE_MASK);
	if (walk->pfn)
		seq_printf(m, "page pfn 0x%llx\n", walk->pfn);
	vmlab_walk_show_ours(m, walk);
	return 0;
}

/* The address space of a process, which others need CAP_SYS_PTRACE to look into. */
static struct mm_struct *vmlab_walk_mm(pid_t nr)
{
	struct pid *pid = find_get_pid(nr);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	struct mm_struct *mm;

	put_pid(pid);
	if (!task)
		return ERR_PTR(-ESRCH);
	mm = get_task_mm(task);
	put_task_struct(task);
	if (!mm)
		return ERR_PTR(-ESRCH);
	if (mm != current->mm && !capable(CAP_SYS_PTRACE)) {
		mmput(mm);
		return ERR_PTR(-EPERM);
	}
	return mm;
}

/* `PID ADDRESS`, the address in C's notation, blanks around both. */
static int vmlab_walk_parse(char *text, pid_t *pid, u64 *addr)
{
	char *first = strim(text), *second;
	size_t length = strcspn(first, " \t");

	if (!first[length])
		return -EINVAL;
	first[length] = '\0';
	second = skip_spaces(first + length + 1);
	if (kstrtoint(first, 10, pid) || *pid <= 0 || kstrtoull(second, 0, addr))
		return -EINVAL;
	return 0;
}

static int vmlab_walk_ask(struct file *file, char *text, struct vmlab_walk_file *answer)
{
	struct mm_struct *mm;
	u64 addr;
	int err;

	err = vmlab_walk_parse(text, &answer->pid, &addr);
	if (err)
		return err;
	mm = vmlab_walk_mm(answer->pid);
	if (IS_ERR(mm))
		return PTR_ERR(mm);
	/* As for pagemap: who opened the file counts, not whose output it became. */
	err = vmlab_walk_address(mm, addr,
				 file_ns_capable(file, &init_user_ns, CAP_SYS_ADMIN),
				 &answer->walk);
	mmput(mm);
	return err;
}

static int vmlab_walk_query(struct file *file, const char __user *from, size_t count,
			    struct vmlab_walk_file *answer)
{
	char *text;
	int err;

	if (count >= VMLAB_QUERY_MAX)
		return -EINVAL;
	text = memdup_user_nul(from, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	err = strlen(text) == count ? vmlab_walk_ask(file, text, answer) : -EINVAL;
	kfree(text);
	return err;
}

static ssize_t vmlab_walk_write(struct file *file, const char __user *from, size_t count,
				loff_t *pos)
{
	struct seq_file *m = file->private_data;
	struct vmlab_walk_file answer;
	int err;

	/* A query that fails must not leave another one's answer to be taken for its own. */
	err = vmlab_walk_query(file, from, count, &answer);
	answer.asked = !err;
	mutex_lock(&m->lock);
	*(struct vmlab_walk_file *)m->private = answer;
	mutex_unlock(&m->lock);
	/* Each answer is read from its beginning. */
	*pos = 0;
	return err ?: count;
}

static int vmlab_walk_open(struct inode *inode, struct file *file)
{
	struct vmlab_walk_file *answer = kzalloc(sizeof(*answer), GFP_KERNEL);
	int err;

	if (!answer)
		return -ENOMEM;
	err = single_open(file, vmlab_walk_show, answer);
	if (err)
		kfree(answer);
	return err;
}

static int vmlab_walk_release(struct inode *inode, struct file *file)
{
	kfree(((struct seq_file *)file->private_data)->private);
	return single_release(inode, file);
}

const struct file_operations vmlab_walk_fops = {
	.owner		= THIS_MODULE,
	.open		= vmlab_walk_open,
	.read		= seq_read,
	.write		= vmlab_walk_write,
	.llseek		= seq_lseek,
	.release	= vmlab_walk_release,
};
