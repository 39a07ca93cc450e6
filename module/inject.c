// SPDX-License-Identifier: GPL-2.0
/*
 * Injected faults: makes allocations and I/O fail on demand, to show that nothing but
 * what failed is harmed.
 *
 * Owns debugfs inject/: one file for each class of inject.h, and `all`.  What is asked
 * for is `off`, `nth N [TIMES]` or `random PERMILLE [SEED]`.  Which calls fail follows
 * from that and from the order of the calls alone, so that a failure can be repeated.
 * It must never fail a call by itself that nobody asked for, and what it needs itself
 * never fails on demand: it could not be turned off again.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "debugfs.h"
#include "vmlab.h"

#define VMLAB_INJECT_COMMAND	80	/* bytes of the longest command */

/* On while any class of any instance is: that is all that instances share. */
DEFINE_STATIC_KEY_FALSE(vmlab_inject_key);

static const char * const vmlab_inject_names[VMLAB_NR_INJECT] = {
#define X(name, text) #name,
	VMLAB_INJECT_CLASSES(X)
#undef X
};

/* One number for each call of each class, without any order that could be met by chance. */
static u64 vmlab_inject_draw(u64 seed, enum vmlab_inject_class class, u64 call)
{
	u64 x = seed + (u64)class * 0xd1342543de82ef95ULL + call * 0x9e3779b97f4a7c15ULL;

	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ULL;
	x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ULL;
	return x ^ (x >> 32);
}

/**
 * vmlab_inject_hit() - count a call, and say whether it fails
 * @vm: the instance
 * @class: its class
 *
 * Context: any; takes no lock.  Call vmlab_should_fail() instead.
 */
bool vmlab_inject_hit(struct vmlab *vm, enum vmlab_inject_class class)
{
	struct vmlab_inject_knob *knob = &vm->inject.knobs[class];
	/* Pairs with the release in vmlab_inject_set(): the rest belongs to this mode. */
	enum vmlab_inject_mode mode = smp_load_acquire(&knob->mode);
	u64 call;

	if (mode == VMLAB_INJECT_OFF)
		return false;
	call = atomic64_inc_return(&knob->nr_seen);
	if (mode == VMLAB_INJECT_NTH) {
		u64 nth = READ_ONCE(knob->nth);

		if (call < nth || call - nth >= READ_ONCE(knob->times))
			return false;
	} else if (vmlab_inject_draw(READ_ONCE(knob->seed), class, call) % 1000 >=
		   READ_ONCE(knob->permille)) {
		return false;
	}
	atomic64_inc(&knob->nr_injected);
	vmlab_count(vm, injected, 1);
	return true;
}

/* What a command asks for, as a knob. */
static int vmlab_inject_parse(char *command, struct vmlab_inject_knob *to)
{
	char *words[3] = {}, *word;
	unsigned int nr = 0;

	while ((word = strsep(&command, " \t\n"))) {
		if (!*word)
			continue;
		if (nr == ARRAY_SIZE(words))
			return -EINVAL;
		words[nr++] = word;
	}
	if (nr == 1 && !strcmp(words[0], "off")) {
		to->mode = VMLAB_INJECT_OFF;
		return 0;
	}
	if (nr < 2)
		return -EINVAL;
	if (!strcmp(words[0], "nth")) {
		to->mode = VMLAB_INJECT_NTH;
		to->times = 1;
		if (kstrtou64(words[1], 0, &to->nth) || !to->nth ||
		    (nr == 3 && (kstrtou64(words[2], 0, &to->times) || !to->times)))
			return -EINVAL;
		return 0;
	}
	if (strcmp(words[0], "random"))
		return -EINVAL;
	to->mode = VMLAB_INJECT_RANDOM;
	to->seed = get_random_u32();
	if (kstrtouint(words[1], 0, &to->permille) || !to->permille || to->permille > 1000 ||
	    (nr == 3 && kstrtou64(words[2], 0, &to->seed)))
		return -EINVAL;
	return 0;
}

/*
 * vm->inject.lock held.  Calls under way meanwhile may be counted for the old setting or
 * for the new one.  What was counted stays to be read after `off`.
 */
static void vmlab_inject_set(struct vmlab_inject_knob *knob,
			     const struct vmlab_inject_knob *to)
{
	bool was_on = knob->mode != VMLAB_INJECT_OFF;

	WRITE_ONCE(knob->mode, VMLAB_INJECT_OFF);
	if (to->mode == VMLAB_INJECT_OFF) {
		if (was_on)
			static_branch_dec(&vmlab_inject_key);
		return;
	}
	WRITE_ONCE(knob->nth, to->nth);
	WRITE_ONCE(knob->times, to->times);
	WRITE_ONCE(knob->permille, to->permille);
	WRITE_ONCE(knob->seed, to->seed);
	atomic64_set(&knob->nr_seen, 0);
	atomic64_set(&knob->nr_injected, 0);
	/* Pairs with the acquire in vmlab_inject_hit(). */
	smp_store_release(&knob->mode, to->mode);
	if (!was_on)
		static_branch_inc(&vmlab_inject_key);
}

/* From @first to @last; -EINVAL for what is no command, and nothing is changed. */
static ssize_t vmlab_inject_write(struct vmlab *vm, const char __user *from, size_t count,
				  unsigned int first, unsigned int last)
{
	struct vmlab_inject_knob to = {};
	unsigned int i;
	char *command;
	int err;

	if (count >= VMLAB_INJECT_COMMAND)
		return -EINVAL;
	command = memdup_user_nul(from, count);
	if (IS_ERR(command))
		return PTR_ERR(command);
	err = strlen(command) == count ? vmlab_inject_parse(command, &to) : -EINVAL;
	kfree(command);
	if (err)
		return err;
	mutex_lock(&vm->inject.lock);
	for (i = first; i <= last; i++)
		vmlab_inject_set(&vm->inject.knobs[i], &to);
	mutex_unlock(&vm->inject.lock);
	return count;
}

/* In the words of the command that sets it. */
static void vmlab_inject_print(struct seq_file *m, const struct vmlab_inject_knob *knob)
{
	switch (knob->mode) {
	case VMLAB_INJECT_NTH:
		seq_printf(m, "nth %llu %llu", knob->nth, knob->times);
		break;
	case VMLAB_INJECT_RANDOM:
		seq_printf(m, "random %u %llu", knob->permille, knob->seed);
		break;
	default:
		seq_puts(m, "off");
		break;
	}
}

static int vmlab_inject_one_show(struct seq_file *m, void *unused)
{
	struct vmlab_inject_knob *knob = m->private;

	mutex_lock(&knob->vm->inject.lock);
	vmlab_inject_print(m, knob);
	seq_printf(m, "\nseen %llu\ninjected %llu\n", (u64)atomic64_read(&knob->nr_seen),
		   (u64)atomic64_read(&knob->nr_injected));
	mutex_unlock(&knob->vm->inject.lock);
	return 0;
}

static ssize_t vmlab_inject_one_write(struct file *file, const char __user *from,
				      size_t count, loff_t *pos)
{
	struct vmlab_inject_knob *knob = file_inode(file)->i_private;
	struct vmlab *vm = knob->vm;
	unsigned int class = knob - vm->inject.knobs;

	return vmlab_inject_write(vm, from, count, class, class);
}

VMLAB_RW_FILE(vmlab_inject_one);

static int vmlab_inject_all_show(struct seq_file *m, void *unused)
{
	struct vmlab *vm = m->private;
	unsigned int i;

	mutex_lock(&vm->inject.lock);
	for (i = 0; i < VMLAB_NR_INJECT; i++) {
		struct vmlab_inject_knob *knob = &vm->inject.knobs[i];

		seq_printf(m, "%s seen %llu injected %llu ", vmlab_inject_names[i],
			   (u64)atomic64_read(&knob->nr_seen),
			   (u64)atomic64_read(&knob->nr_injected));
		vmlab_inject_print(m, knob);
		seq_putc(m, '\n');
	}
	mutex_unlock(&vm->inject.lock);
	return 0;
}

static ssize_t vmlab_inject_all_write(struct file *file, const char __user *from,
				      size_t count, loff_t *pos)
{
	return vmlab_inject_write(file_inode(file)->i_private, from, count, 0,
				  VMLAB_NR_INJECT - 1);
}

VMLAB_RW_FILE(vmlab_inject_all);

/**
 * vmlab_inject_debugfs() - make inject/ and its files
 * @vm: the instance
 * @parent: its directory, which goes with all that is in it
 */
void vmlab_inject_debugfs(struct vmlab *vm, struct dentry *parent)
{
	struct dentry *dir = vmlab_debugfs_dir("inject", parent);
	unsigned int i;

	if (!dir)
		return;
	for (i = 0; i < VMLAB_NR_INJECT; i++)
		debugfs_create_file(vmlab_inject_names[i], 0600, dir, &vm->inject.knobs[i],
				    &vmlab_inject_one_fops);
	debugfs_create_file("all", 0600, dir, vm, &vmlab_inject_all_fops);
}

/**
 * vmlab_inject_init() - inject nothing
 * @vm: the instance
 */
void vmlab_inject_init(struct vmlab *vm)
{
	unsigned int i;

	mutex_init(&vm->inject.lock);
	for (i = 0; i < VMLAB_NR_INJECT; i++)
		vm->inject.knobs[i].vm = vm;
}

/**
 * vmlab_inject_exit() - stop it, at the instance's end
 * @vm: the instance; nobody can reach its debugfs files any more
 *
 * Context: process context, sleeps.
 */
void vmlab_inject_exit(struct vmlab *vm)
{
	const struct vmlab_inject_knob off = { .mode = VMLAB_INJECT_OFF };
	unsigned int i;

	mutex_lock(&vm->inject.lock);
	for (i = 0; i < VMLAB_NR_INJECT; i++)
		vmlab_inject_set(&vm->inject.knobs[i], &off);
	mutex_unlock(&vm->inject.lock);
}
