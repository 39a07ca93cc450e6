// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/vmlab: what is, for scripts and people to read, and what can
 * be set.
 *
 * Owns the names and formats of these files, which scripts rely on, and nothing
 * else: each value belongs to the file that uses it.  Everything that looks at
 * slots or frames holds vm->activity for read in steps, and only within one
 * show or next of a seq_file, so never across a copy to the reader.
 *
 * Only root may look: frames, pages and names of all users are in here.
 *
 * An open file does not keep an object alive.  debugfs itself sees to it that
 * no operation runs once vmlab_debugfs_remove_object() has returned.
 */
#include <linux/ctype.h>
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string_helpers.h>
#include <linux/uaccess.h>

#include "debugfs.h"
#include "vmlab.h"

#define VMLAB_SWAPPINESS_MAX	200
#define VMLAB_WATERMARK_MAX	500	/* tenths of a percent */
#define VMLAB_PRIORITY_MAX	32767	/* as swapon(2) */
#define VMLAB_VERIFY_BUFFER	SZ_16K

/**
 * vmlab_debugfs_word() - what was written, without blanks around it
 * @from: user memory
 * @count: bytes
 * @limit: more than there may be
 *
 * One write is one command: what is too long or has a NUL in it is none.
 *
 * Return: the word, to be freed with kfree(), or ERR_PTR().
 */
char *vmlab_debugfs_word(const char __user *from, size_t count, size_t limit)
{
	char *buf, *word;

	if (count >= limit)
		return ERR_PTR(-EINVAL);
	buf = memdup_user_nul(from, count);
	if (IS_ERR(buf))
		return buf;
	if (strlen(buf) != count) {
		kfree(buf);
		return ERR_PTR(-EINVAL);
	}
	word = strim(buf);
	memmove(buf, word, strlen(word) + 1);
	return buf;
}

/* --- counters ------------------------------------------------------------ */

static int vmlab_stats_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;
	unsigned int i;

	for (i = 0; i < VMLAB_NR_STATS; i++)
		seq_printf(m, "%s %llu\n", vmlab_stat_names[i], vmlab_stat_sum(vm, i));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vmlab_stats);

/* --- pools --------------------------------------------------------------- */

struct vmlab_pool_census {
	unsigned long	state[VMLAB_FRAME_NR_STATES];
	unsigned long	huge_free;
	unsigned long	zeroed;
	unsigned long	dirty;
};

/* Others go on: a frame may be counted in a state that it has left since. */
static void vmlab_census_chunk(struct vmlab_chunk *chunk, struct vmlab_pool_census *census)
{
	unsigned int i;

	if (chunk->order == VMLAB_CHUNK_ORDER && READ_ONCE(chunk->nr_free) == VMLAB_CHUNK_FRAMES)
		census->huge_free += VMLAB_CHUNK_FRAMES;
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		struct vmlab_frame *frame = &chunk->frames[i];
		u8 state = READ_ONCE(frame->state);

		census->state[state]++;
		if (state == VMLAB_FRAME_CACHED && READ_ONCE(frame->zeroed))
			census->zeroed++;
		if (state == VMLAB_FRAME_RESIDENT && vmlab_frame_seems_dirty(frame))
			census->dirty++;
	}
}

static void vmlab_census(struct vmlab_pool *pool, struct vmlab_pool_census *census)
{
	struct vmlab *vm = pool->vm;
	unsigned int i;
	bool more;

	memset(census, 0, sizeof(*census));
	for (i = 0, more = true; more; i++) {
		percpu_down_read(&vm->activity);
		more = i < pool->nr_chunks;
		if (more)
			vmlab_census_chunk(pool->chunks[i], census);
		percpu_up_read(&vm->activity);
		cond_resched();
	}
}

/* Adds up the pinned frames of one leaf by node. */
static void vmlab_leaf_pinned(struct vmlab_leaf *leaf, unsigned long *by_node)
{
	unsigned int i;

	spin_lock(&leaf->lock);
	for (i = 0; !leaf->dead && leaf->nr_pinned && i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = leaf->words[i];

		if ((word & VMLAB_SLOT_PINNED) && vmlab_word_is_frame(word))
			by_node[vmlab_frame_nid(vmlab_word_frame(word))]++;
	}
	spin_unlock(&leaf->lock);
}

static void vmlab_object_pinned(struct vmlab_object *obj, unsigned long *by_node)
{
	struct vmlab_leaf *leaf;
	u64 index = 0;

	do {
		percpu_down_read(&obj->vm->activity);
		rcu_read_lock();
		leaf = vmlab_leaf_next(obj, &index, ULONG_MAX);
		if (leaf)
			vmlab_leaf_pinned(leaf, by_node);
		rcu_read_unlock();
		percpu_up_read(&obj->vm->activity);
		index++;
		cond_resched();
	} while (leaf);
}

static int vmlab_pool_show(struct seq_file *m, void *unused)
{
	struct vmlab_pool_census census;
	struct vmlab *vm = m->private;
	struct vmlab_object *obj;
	unsigned long *pinned;
	int nid;
	u64 id;

	pinned = kcalloc(VMLAB_NODES_MAX, sizeof(*pinned), GFP_KERNEL);
	if (!pinned)
		return -ENOMEM;
	for (id = 0; (obj = vmlab_object_next(vm, &id)); id++) {
		if (atomic_long_read(&obj->nr_pinned))
			vmlab_object_pinned(obj, pinned);
		vmlab_object_put(obj);
	}
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		struct vmlab_pool *pool = vm->pools[nid];

		if (!pool)
			continue;
		vmlab_census(pool, &census);
		seq_printf(m, "node%d total %lu free %lu huge_free %lu zeroed %lu resident %lu leaf %lu dirty %lu pinned %lu\n",
			   nid, vmlab_pool_nr_frames(pool),
			   census.state[VMLAB_FRAME_FREE] + census.state[VMLAB_FRAME_CACHED],
			   census.huge_free, census.zeroed,
			   census.state[VMLAB_FRAME_RESIDENT],
			   census.state[VMLAB_FRAME_LEAF], census.dirty, pinned[nid]);
	}
	kfree(pinned);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vmlab_pool);

static int vmlab_pool_mb_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%lu\n", vmlab_pool_mb(m->private));
	return 0;
}

static ssize_t vmlab_pool_mb_write(struct file *file, const char __user *from,
				   size_t count, loff_t *pos)
{
	struct vmlab_pool *pool = vmlab_file_private(file);
	unsigned long mb;
	int err;

	err = kstrtoul_from_user(from, count, 0, &mb);
	if (!err)
		err = vmlab_pool_resize(pool->vm, pool->nid, mb);
	return err ?: count;
}

VMLAB_RW_FILE(vmlab_pool_mb);

/* --- what can be chosen and set ------------------------------------------ */

static int vmlab_policy_file_show(struct seq_file *m, void *unused)
{
	char buf[256] = "";

	vmlab_policy_show(m->private, buf, sizeof(buf));
	seq_printf(m, "%s\n", strim(buf));
	return 0;
}

static ssize_t vmlab_policy_file_write(struct file *file, const char __user *from,
				       size_t count, loff_t *pos)
{
	const struct vmlab_policy_ops *ops;
	char *name;
	int err;

	name = vmlab_debugfs_word(from, count, VMLAB_WORD_MAX);
	if (IS_ERR(name))
		return PTR_ERR(name);
	ops = vmlab_policy_find(name);
	err = ops ? vmlab_policy_switch(vmlab_file_private(file), ops) : -EINVAL;
	kfree(name);
	return err ?: count;
}

VMLAB_RW_FILE(vmlab_policy_file);

static const char * const vmlab_oom_names[] = {
	[VMLAB_OOM_KILL]	= "kill",
	[VMLAB_OOM_SIGBUS]	= "sigbus",
};

/**
 * vmlab_debugfs_show_choice() - print names, the chosen one in brackets
 * @m: where to
 * @names: the names
 * @nr: how many
 * @chosen: which
 */
void vmlab_debugfs_show_choice(struct seq_file *m, const char * const *names, unsigned int nr,
			       unsigned int chosen)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		seq_printf(m, i == chosen ? "%s[%s]" : "%s%s", i ? " " : "", names[i]);
	seq_putc(m, '\n');
}

/**
 * vmlab_debugfs_choose() - which of some names was written?
 * @from: user memory
 * @count: bytes
 * @names: the names
 * @nr: how many
 *
 * Return: its number, or -errno.
 */
int vmlab_debugfs_choose(const char __user *from, size_t count, const char * const *names,
			 unsigned int nr)
{
	char *name = vmlab_debugfs_word(from, count, VMLAB_WORD_MAX);
	int i;

	if (IS_ERR(name))
		return PTR_ERR(name);
	i = match_string(names, nr, name);
	kfree(name);
	return i;
}

static int vmlab_oom_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	vmlab_debugfs_show_choice(m, vmlab_oom_names, ARRAY_SIZE(vmlab_oom_names),
				  READ_ONCE(vm->oom_policy));
	return 0;
}

static ssize_t vmlab_oom_write(struct file *file, const char __user *from,
			       size_t count, loff_t *pos)
{
	struct vmlab *vm = vmlab_file_private(file);
	int i;

	i = vmlab_debugfs_choose(from, count, vmlab_oom_names, ARRAY_SIZE(vmlab_oom_names));
	if (i < 0)
		return i;
	WRITE_ONCE(vm->oom_policy, i);
	return count;
}

VMLAB_RW_FILE(vmlab_oom);

static int vmlab_swappiness_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	seq_printf(m, "%u\n", READ_ONCE(vm->swappiness));
	return 0;
}

static ssize_t vmlab_swappiness_write(struct file *file, const char __user *from,
				      size_t count, loff_t *pos)
{
	struct vmlab *vm = vmlab_file_private(file);
	unsigned int value;
	int err;

	err = kstrtouint_from_user(from, count, 0, &value);
	if (err)
		return err;
	if (value > VMLAB_SWAPPINESS_MAX)
		return -EINVAL;
	WRITE_ONCE(vm->swappiness, value);
	return count;
}

VMLAB_RW_FILE(vmlab_swappiness);

static int vmlab_zero_stock_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	seq_printf(m, "%u\n", READ_ONCE(vm->zero_stock));
	return 0;
}

static ssize_t vmlab_zero_stock_write(struct file *file, const char __user *from,
				      size_t count, loff_t *pos)
{
	unsigned int value;
	int err;

	err = kstrtouint_from_user(from, count, 0, &value);
	if (err)
		return err;
	vmlab_zero_set_stock(vmlab_file_private(file), value);
	return count;
}

VMLAB_RW_FILE(vmlab_zero_stock);

/* The threads look at the marks only when they are woken. */
static void vmlab_watermarks_changed(struct vmlab *vm)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		struct vmlab_pool *pool = vm->pools[nid];

		if (pool && vmlab_pool_free_frames(pool) <
			    vmlab_watermark(pool, READ_ONCE(vm->watermark_low)))
			vmlab_reclaim_wake(pool);
	}
}

static int vmlab_watermark_set(struct vmlab *vm, const char __user *from, size_t count,
			       bool high)
{
	unsigned int value;
	int err;

	err = kstrtouint_from_user(from, count, 0, &value);
	if (err)
		return err;
	if (!value || value > VMLAB_WATERMARK_MAX)
		return -EINVAL;
	/* Two writers must not pass each other's test. */
	if (mutex_lock_interruptible(&vm->resize_mutex))
		return -EINTR;
	if (high ? value <= vm->watermark_low : value >= vm->watermark_high)
		err = -EINVAL;
	else
		WRITE_ONCE(*(high ? &vm->watermark_high : &vm->watermark_low), value);
	mutex_unlock(&vm->resize_mutex);
	if (!err)
		vmlab_watermarks_changed(vm);
	return err;
}

static int vmlab_watermark_low_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	seq_printf(m, "%u\n", READ_ONCE(vm->watermark_low));
	return 0;
}

static ssize_t vmlab_watermark_low_write(struct file *file, const char __user *from,
					 size_t count, loff_t *pos)
{
	return vmlab_watermark_set(vmlab_file_private(file), from, count, false) ?: count;
}

VMLAB_RW_FILE(vmlab_watermark_low);

static int vmlab_watermark_high_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;

	seq_printf(m, "%u\n", READ_ONCE(vm->watermark_high));
	return 0;
}

static ssize_t vmlab_watermark_high_write(struct file *file, const char __user *from,
					  size_t count, loff_t *pos)
{
	return vmlab_watermark_set(vmlab_file_private(file), from, count, true) ?: count;
}

VMLAB_RW_FILE(vmlab_watermark_high);

/* --- swap ---------------------------------------------------------------- */

static int vmlab_swap_file_show(struct seq_file *m, void *unused)
{
	return vmlab_swap_show(m->private, m);
}

/* Cuts the next word off; NULL when there is none. */
static char *vmlab_next_word(char **rest)
{
	char *word = skip_spaces(*rest);

	if (!*word)
		return NULL;
	*rest = word;
	while (**rest && !isspace(**rest))
		(*rest)++;
	if (**rest)
		*(*rest)++ = '\0';
	return word;
}

/* `on PATH [PRIORITY]` or `off PATH`; a blank in a path is \040, as in /proc/swaps. */
static int vmlab_swap_command(struct vmlab *vm, char *command)
{
	char *verb = vmlab_next_word(&command);
	char *path = vmlab_next_word(&command);
	char *priority = vmlab_next_word(&command);
	int value = -1;

	if (!path || vmlab_next_word(&command))
		return -EINVAL;
	string_unescape_inplace(path, UNESCAPE_OCTAL);
	if (!strcmp(verb, "off") && !priority)
		return vmlab_swapoff(vm, path);
	if (strcmp(verb, "on"))
		return -EINVAL;
	if (priority && (kstrtoint(priority, 10, &value) || value < 0 ||
			 value > VMLAB_PRIORITY_MAX))
		return -EINVAL;
	return vmlab_swapon(vm, path, value);
}

static ssize_t vmlab_swap_file_write(struct file *file, const char __user *from,
				     size_t count, loff_t *pos)
{
	char *command;
	int err;

	command = vmlab_debugfs_word(from, count, PATH_MAX + VMLAB_WORD_MAX);
	if (IS_ERR(command))
		return PTR_ERR(command);
	err = vmlab_swap_command(vmlab_file_private(file), command);
	kfree(command);
	return err ?: count;
}

VMLAB_RW_FILE(vmlab_swap_file);

/* --- all objects --------------------------------------------------------- */

/* The position in the file is 0 for the header, then the object's number. */
static void *vmlab_objects_find(struct seq_file *m, loff_t *pos)
{
	struct vmlab_object *obj;
	u64 id = *pos;

	obj = vmlab_object_next(m->private, &id);
	if (obj)
		*pos = id;
	return obj;
}

static void *vmlab_objects_start(struct seq_file *m, loff_t *pos)
{
	return *pos ? vmlab_objects_find(m, pos) : SEQ_START_TOKEN;
}

static void *vmlab_objects_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	if (v != SEQ_START_TOKEN)
		vmlab_object_put(v);
	cond_resched();
	return vmlab_objects_find(m, pos);
}

static void vmlab_objects_stop(struct seq_file *m, void *v)
{
	if (v && v != SEQ_START_TOKEN)
		vmlab_object_put(v);
}

struct vmlab_vma_count {
	struct vmlab_object	*obj;
	unsigned long		nr;
};

static void vmlab_count_vma(struct vm_area_struct *vma, void *arg)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);
	struct vmlab_vma_count *count = arg;

	if (region && region->object == count->obj)
		count->nr++;
}

/**
 * vmlab_debugfs_show_comm() - print a task's name as one column
 * @m: where to
 * @comm: the name, any bytes
 */
void vmlab_debugfs_show_comm(struct seq_file *m, const char *comm)
{
	size_t len = strnlen(comm, TASK_COMM_LEN);

	if (!len)
		seq_putc(m, '-');
	/* Blanks and what does not print become \ooo: it is one column. */
	seq_escape_mem(m, comm, len, ESCAPE_OCTAL | ESCAPE_NAP | ESCAPE_APPEND, " \\");
}

static const char * const vmlab_object_kinds[] = {
	[VMLAB_OBJECT_FILE]	= "open",
	[VMLAB_OBJECT_SNAPSHOT]	= "snapshot",
	[VMLAB_OBJECT_PRIVATE]	= "private",
};

static int vmlab_objects_show(struct seq_file *m, void *v)
{
	struct vmlab_vma_count vmas = { .obj = v };
	struct vmlab_object *obj = v;
	struct vmlab_usage usage;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "id pid comm kind parent vmas resident swapped shared huge\n");
		return 0;
	}
	vmlab_object_usage(obj, &usage);
	vmlab_rmap_for_each_vma(obj->lineage, vmlab_count_vma, &vmas);
	seq_printf(m, "%llu %d ", obj->id, obj->pid);
	vmlab_debugfs_show_comm(m, obj->comm);
	seq_printf(m, " %s %llu %lu %llu %llu %llu %llu\n", vmlab_object_kinds[obj->kind],
		   obj->parent, vmas.nr, usage.resident, usage.swapped, usage.shared,
		   usage.huge);
	return 0;
}

static const struct seq_operations vmlab_objects_sops = {
	.start	= vmlab_objects_start,
	.next	= vmlab_objects_next,
	.stop	= vmlab_objects_stop,
	.show	= vmlab_objects_show,
};

static int vmlab_objects_open(struct inode *inode, struct file *file)
{
	int err = seq_open(file, &vmlab_objects_sops);

	if (!err)
		((struct seq_file *)file->private_data)->private = inode->i_private;
	return err;
}

static const struct file_operations vmlab_objects_fops = {
	.owner		= THIS_MODULE,
	.open		= vmlab_objects_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= seq_release,
};

/* --- one object ---------------------------------------------------------- */

static int vmlab_object_stats_show(struct seq_file *m, void *unused)
{
	struct vmlab_object *obj = m->private;
	struct vmlab_usage usage;

	vmlab_object_usage(obj, &usage);
	seq_printf(m, "resident_pages %llu\n", usage.resident);
	seq_printf(m, "swapped_pages %llu\n", usage.swapped);
	seq_printf(m, "leaf_pages %llu\n", usage.leaves);
	seq_printf(m, "dirty_pages %llu\n", usage.dirty);
	seq_printf(m, "pinned_pages %llu\n", usage.pinned);
	seq_printf(m, "limit_pages %lu\n", READ_ONCE(obj->lineage->limit));
	seq_printf(m, "used_pages %ld\n", atomic_long_read(&obj->lineage->nr_frames));
	seq_printf(m, "shared_pages %llu\n", usage.shared);
	seq_printf(m, "huge_pages %llu\n", usage.huge);
	seq_printf(m, "faults %llu\n", usage.events.faults);
	seq_printf(m, "swap_ins %llu\n", usage.events.swap_ins);
	seq_printf(m, "swap_outs %llu\n", usage.events.swap_outs);
	seq_printf(m, "evictions %llu\n", usage.events.evictions);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(vmlab_object_stats);

#define VMLAB_SHOWN_RESIDENT	0x01
#define VMLAB_SHOWN_DIRTY	0x02
#define VMLAB_SHOWN_SWAPPED	0x04
#define VMLAB_SHOWN_ZERO	0x08
#define VMLAB_SHOWN_PINNED	0x10

/**
 * struct vmlab_slots - an open `slots` file
 * @obj:	whose slots
 * @index:	which leaf @states is a copy of; ULLONG_MAX: none
 * @states:	VMLAB_SHOWN_* of its slots; 0: a hole
 * @first:	the run that is being shown: its first page
 * @last:	its last page
 * @state:	its VMLAB_SHOWN_*
 */
struct vmlab_slots {
	struct vmlab_object	*obj;
	u64			index;
	u8			states[VMLAB_LEAF_SLOTS];
	u64			first;
	u64			last;
	u8			state;
};

static u8 vmlab_word_shown(unsigned long word)
{
	u8 state = 0;

	if (vmlab_word_is_swap(word))
		state = VMLAB_SHOWN_SWAPPED;
	else if (vmlab_word_is_frame(word))
		state = vmlab_frame_seems_dirty(vmlab_word_frame(word)) ?
			VMLAB_SHOWN_RESIDENT | VMLAB_SHOWN_DIRTY : VMLAB_SHOWN_RESIDENT;
	else if (word & VMLAB_SLOT_ZERO)
		state = VMLAB_SHOWN_ZERO;
	if (word & VMLAB_SLOT_PINNED)
		state |= VMLAB_SHOWN_PINNED;
	return state;
}

static void vmlab_slots_copy(struct vmlab_slots *s, struct vmlab_leaf *leaf)
{
	unsigned int i;

	spin_lock(&leaf->lock);
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++)
		s->states[i] = leaf->dead ? 0 : vmlab_word_shown(leaf->words[i]);
	spin_unlock(&leaf->lock);
}

/* Copies the first leaf from @index on; false when there is none. */
static bool vmlab_slots_load(struct vmlab_slots *s, u64 index)
{
	struct vmlab_leaf *leaf;

	if (s->index == index)
		return true;
	percpu_down_read(&s->obj->vm->activity);
	rcu_read_lock();
	leaf = vmlab_leaf_next(s->obj, &index, ULONG_MAX);
	if (leaf) {
		vmlab_slots_copy(s, leaf);
		s->index = index;
	}
	rcu_read_unlock();
	percpu_up_read(&s->obj->vm->activity);
	return leaf;
}

/* Extends the run @s->first.. as far as its state goes, across leaves too. */
static void vmlab_slots_extend(struct vmlab_slots *s)
{
	u64 next = s->last + 1;

	for (;; next++) {
		u64 index = next >> VMLAB_LEAF_SHIFT;

		if (index != s->index && (!vmlab_slots_load(s, index) || s->index != index))
			break;
		if (s->states[next & (VMLAB_LEAF_SLOTS - 1)] != s->state)
			break;
		if (!(next & (VMLAB_LEAF_SLOTS - 1)))
			cond_resched();
	}
	s->last = next - 1;
}

/* The position in the file is a page index: the run that begins there or next. */
static void *vmlab_slots_find(struct vmlab_slots *s, u64 pos)
{
	for (;;) {
		if (!vmlab_slots_load(s, pos >> VMLAB_LEAF_SHIFT))
			return NULL;
		if (pos >> VMLAB_LEAF_SHIFT != s->index)
			pos = s->index << VMLAB_LEAF_SHIFT;
		do {
			s->state = s->states[pos & (VMLAB_LEAF_SLOTS - 1)];
			if (s->state) {
				s->first = pos;
				s->last = pos;
				vmlab_slots_extend(s);
				return s;
			}
		} while (++pos & (VMLAB_LEAF_SLOTS - 1));
		if (fatal_signal_pending(current))
			return ERR_PTR(-EINTR);
		cond_resched();
	}
}

static void *vmlab_slots_start(struct seq_file *m, loff_t *pos)
{
	struct vmlab_slots *s = m->private;

	s->index = ULLONG_MAX;
	return vmlab_slots_find(s, *pos);
}

static void *vmlab_slots_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct vmlab_slots *s = m->private;

	*pos = s->last + 1;
	cond_resched();
	return vmlab_slots_find(s, *pos);
}

static void vmlab_slots_stop(struct seq_file *m, void *v)
{
}

static int vmlab_slots_show(struct seq_file *m, void *v)
{
	struct vmlab_slots *s = v;

	seq_printf(m, "%llu %llu %s%s%s\n", s->first, s->last,
		   s->state & VMLAB_SHOWN_RESIDENT ? "resident" :
		   s->state & VMLAB_SHOWN_SWAPPED ? "swapped" : "zero",
		   s->state & VMLAB_SHOWN_DIRTY ? ",dirty" : "",
		   s->state & VMLAB_SHOWN_PINNED ? ",pinned" : "");
	return 0;
}

static const struct seq_operations vmlab_slots_sops = {
	.start	= vmlab_slots_start,
	.next	= vmlab_slots_next,
	.stop	= vmlab_slots_stop,
	.show	= vmlab_slots_show,
};

static int vmlab_slots_open(struct inode *inode, struct file *file)
{
	struct vmlab_slots *s = __seq_open_private(file, &vmlab_slots_sops, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->obj = inode->i_private;
	return 0;
}

static const struct file_operations vmlab_slots_fops = {
	.owner		= THIS_MODULE,
	.open		= vmlab_slots_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= seq_release_private,
};

/* --- checking the books -------------------------------------------------- */

static int vmlab_verify_show(struct seq_file *m, void *unused)
{
	return vmlab_verify(m->private, m);
}

static int vmlab_verify_open(struct inode *inode, struct file *file)
{
	/* A buffer that is too small would mean to check everything once more. */
	return single_open_size(file, vmlab_verify_show, inode->i_private,
				VMLAB_VERIFY_BUFFER);
}

static const struct file_operations vmlab_verify_fops = {
	.owner		= THIS_MODULE,
	.open		= vmlab_verify_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= single_release,
};

static int vmlab_break_file_show(struct seq_file *m, void *unused)
{
	return vmlab_break_show(m->private, m);
}

static ssize_t vmlab_break_file_write(struct file *file, const char __user *from,
				      size_t count, loff_t *pos)
{
	char *law;
	int err;

	law = vmlab_debugfs_word(from, count, VMLAB_WORD_MAX);
	if (IS_ERR(law))
		return PTR_ERR(law);
	err = vmlab_break(vmlab_file_private(file), law);
	kfree(law);
	return err ?: count;
}

VMLAB_RW_FILE(vmlab_break_file);

/* --- the tree ------------------------------------------------------------ */

static const struct {
	const char			*name;
	umode_t				mode;
	const struct file_operations	*fops;
} vmlab_files[] = {
	{ "stats",		0400, &vmlab_stats_fops },
	{ "pool",		0400, &vmlab_pool_fops },
	{ "policy",		0600, &vmlab_policy_file_fops },
	{ "oom",		0600, &vmlab_oom_fops },
	{ "swappiness",		0600, &vmlab_swappiness_fops },
	{ "zero_stock",		0600, &vmlab_zero_stock_fops },
	{ "watermark_low",	0600, &vmlab_watermark_low_fops },
	{ "watermark_high",	0600, &vmlab_watermark_high_fops },
	{ "swap",		0600, &vmlab_swap_file_fops },
	{ "objects",		0400, &vmlab_objects_fops },
	{ "walk",		0600, &vmlab_walk_fops },
	{ "verify",		0400, &vmlab_verify_fops },
	{ "break",		0600, &vmlab_break_file_fops },
};

/**
 * vmlab_debugfs_dir() - make a directory that root alone may look into
 * @name: its name
 * @parent: where
 *
 * Return: the directory, or NULL: without debugfs everything works but for this.
 */
struct dentry *vmlab_debugfs_dir(const char *name, struct dentry *parent)
{
	struct dentry *dir = debugfs_create_dir(name, parent);

	if (IS_ERR(dir))
		return NULL;
	/*
	 * debugfs makes directories 0755, whatever is in them.  Whoever opens the device makes one
	 * here: he must be able to look up a name, but need not list them.
	 */
	d_inode(dir)->i_mode = S_IFDIR | 0711;
	return dir;
}

/**
 * vmlab_debugfs_add_pool() - show a node's pool as node<N>/
 * @pool: the pool; shown already is fine
 *
 * Context: process context; nothing else adds or removes pools meanwhile.
 */
void vmlab_debugfs_add_pool(struct vmlab_pool *pool)
{
	char name[32];

	if (!pool->vm->debugfs || pool->debugfs)
		return;
	snprintf(name, sizeof(name), "node%d", pool->nid);
	pool->debugfs = vmlab_debugfs_dir(name, pool->vm->debugfs);
	if (!pool->debugfs)
		return;
	debugfs_create_file("pool_mb", 0600, pool->debugfs, pool, &vmlab_pool_mb_fops);
	vmlab_huge_debugfs_pool(pool, pool->debugfs);
	vmlab_numa_debugfs_pool(pool, pool->debugfs);
}

/**
 * vmlab_debugfs_add_object() - show an object as object<ID>/
 * @obj: the object, in vm->objects from now on until it is removed here
 *
 * Context: process context, sleeps.
 */
void vmlab_debugfs_add_object(struct vmlab_object *obj)
{
	char name[32];

	if (!obj->vm->debugfs)
		return;
	snprintf(name, sizeof(name), "object%llu", obj->id);
	obj->debugfs = vmlab_debugfs_dir(name, obj->vm->debugfs);
	if (!obj->debugfs)
		return;
	debugfs_create_file("stats", 0400, obj->debugfs, obj, &vmlab_object_stats_fops);
	debugfs_create_file("slots", 0400, obj->debugfs, obj, &vmlab_slots_fops);
}

/**
 * vmlab_debugfs_remove_object() - undo vmlab_debugfs_add_object()
 * @obj: the object; never shown is fine
 *
 * Nobody reads its files any more when this returns.  They are not looked up by name: who
 * closes an object last may be somebody whom debugfs shows nothing.
 *
 * Context: process context, sleeps; vm->activity not held, as readers take it.
 */
void vmlab_debugfs_remove_object(struct vmlab_object *obj)
{
	debugfs_remove(obj->debugfs);
	obj->debugfs = NULL;
}

/**
 * vmlab_debugfs_create() - show an instance, with the pools that it has
 * @vm: the instance; all that the files show works
 *
 * Context: process context, sleeps.
 */
void vmlab_debugfs_create(struct vmlab *vm)
{
	unsigned int i;
	int nid;

	vm->debugfs = vmlab_debugfs_dir("vmlab", NULL);
	if (!vm->debugfs)
		return;
	for (i = 0; i < ARRAY_SIZE(vmlab_files); i++)
		debugfs_create_file(vmlab_files[i].name, vmlab_files[i].mode,
				    vm->debugfs, vm, vmlab_files[i].fops);
	vmlab_inject_debugfs(vm, vm->debugfs);
	vmlab_huge_debugfs(vm, vm->debugfs);
	vmlab_numa_debugfs(vm, vm->debugfs);
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vmlab_debugfs_add_pool(vm->pools[nid]);
}

/**
 * vmlab_debugfs_remove() - undo vmlab_debugfs_create()
 * @vm: the instance; never shown is fine
 *
 * Nobody reads or writes its files any more when this returns.
 *
 * Context: process context, sleeps.
 */
void vmlab_debugfs_remove(struct vmlab *vm)
{
	int nid;

	debugfs_remove(vm->debugfs);
	vm->debugfs = NULL;
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vm->pools[nid]->debugfs = NULL;
}
