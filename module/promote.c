// SPDX-License-Identifier: GPL-2.0
/*
 * The threads that make huge pages of small ones, one for each node, at the lowest priority.
 *
 * Owns when leaves are looked at, and which of them are worth it: what khugepaged
 * (mm/khugepaged.c) goes by.  How a leaf becomes a huge page is collapse.c's; it must never
 * touch a page itself.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>

#include "vmlab.h"

/* Free frames that make a chunk worth to be emptied for a huge page. */
#define VMLAB_COMPACT_LEAST	(VMLAB_CHUNK_FRAMES / 2)

static bool vmlab_promote_may(struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	enum vmlab_huge_setting setting = *(enum vmlab_huge_setting *)arg;
	vm_flags_t flags;

	/* Where a secondary MMU looks on they are mapped by 4 KiB: see vmlab_huge_fault(). */
	if (mm_has_notifiers(vma->vm_mm))
		return false;
	/* mmap_lock is not held: madvise() may as well come a moment later. */
	flags = data_race(vma->vm_flags);
	return setting == VMLAB_HUGE_ALWAYS ? !(flags & VM_NOHUGEPAGE) : flags & VM_HUGEPAGE;
}

static void vmlab_promote_rules(struct vmlab_pool *pool, struct vmlab_collapse_rules *rules)
{
	const unsigned int *promote = pool->vm->promote;

	rules->max_none = READ_ONCE(promote[VMLAB_PROMOTE_MAX_NONE]);
	rules->max_shared = READ_ONCE(promote[VMLAB_PROMOTE_MAX_SHARED]);
	rules->max_swapped = READ_ONCE(promote[VMLAB_PROMOTE_MAX_SWAPPED]);
	rules->nid = pool->nid;
}

/* One leaf.  Says what vmlab_collapse() says. */
static int vmlab_promote_try(struct vmlab_pool *pool, struct vmlab_object *obj, u64 index)
{
	struct vmlab_collapse_rules rules;
	int err;

	vmlab_promote_rules(pool, &rules);
	percpu_down_read(&pool->vm->activity);
	err = vmlab_collapse(obj, index, &rules);
	percpu_up_read(&pool->vm->activity);
	return err;
}

static void vmlab_promote_leaf(struct vmlab_pool *pool, struct vmlab_object *obj, u64 index)
{
	enum vmlab_huge_setting setting = READ_ONCE(pool->vm->huge);
	int err;

	if (setting == VMLAB_HUGE_NEVER ||
	    !vmlab_rmap_find_huge(obj, index, vmlab_promote_may, &setting))
		return;
	err = vmlab_promote_try(pool, obj, index);
	if (err == -ENOSPC && vmlab_compact(pool, 1, VMLAB_COMPACT_LEAST))
		err = vmlab_promote_try(pool, obj, index);
	/* A huge one may be mapped by 4 KiB still, from before or since a fork. */
	if (!err || err == -EEXIST)
		vmlab_retire_tables(obj, index);
}

/* The next leaf of an object from @index on; false when there is none. */
static bool vmlab_promote_next(struct vmlab_object *obj, u64 *index)
{
	bool found;

	rcu_read_lock();
	found = vmlab_leaf_next(obj, index, VMLAB_OBJECT_PAGES >> VMLAB_LEAF_SHIFT);
	rcu_read_unlock();
	return found;
}

/* Looks at some leaves, and goes on there the next time. */
static void vmlab_promote_scan(struct vmlab_pool *pool)
{
	unsigned int left = READ_ONCE(pool->vm->promote[VMLAB_PROMOTE_SCAN_LEAVES]);
	struct vmlab *vm = pool->vm;
	struct vmlab_object *obj;

	vmlab_count(vm, promote_scan, 1);
	while (left && !kthread_should_stop()) {
		obj = vmlab_object_next(vm, &pool->promote_id);
		if (!obj) {	/* once round */
			pool->promote_id = 0;
			pool->promote_index = 0;
			return;
		}
		for (; left && vmlab_promote_next(obj, &pool->promote_index); left--) {
			vmlab_count(vm, promote_scan_leaves, 1);
			vmlab_promote_leaf(pool, obj, pool->promote_index++);
			if (kthread_should_stop())
				break;
			cond_resched();
		}
		vmlab_object_put(obj);
		if (left) {
			pool->promote_id++;
			pool->promote_index = 0;
		}
	}
}

/* Asleep before it looks how long: a new value, or the end, that comes meanwhile wakes it. */
static void vmlab_promote_sleep(struct vmlab *vm)
{
	set_current_state(TASK_INTERRUPTIBLE);
	if (!kthread_should_stop())
		schedule_timeout(msecs_to_jiffies(READ_ONCE(vm->promote[VMLAB_PROMOTE_SCAN_MS])) +
				 1);
	__set_current_state(TASK_RUNNING);
}

static int vmlab_promote_thread(void *arg)
{
	struct vmlab_pool *pool = arg;
	struct vmlab *vm = pool->vm;

	set_user_nice(current, MAX_NICE);
	set_freezable();
	while (!kthread_should_stop()) {
		try_to_freeze();
		wait_event_freezable(pool->promote_wait,
				     kthread_should_stop() ||
				     READ_ONCE(vm->huge) != VMLAB_HUGE_NEVER);
		if (kthread_should_stop())
			break;
		vmlab_promote_scan(pool);
		vmlab_promote_sleep(vm);
	}
	return 0;
}

/**
 * vmlab_promote_start() - start a node's thread
 * @pool: the node's pool
 *
 * Return: 0 or -errno.
 */
int vmlab_promote_start(struct vmlab_pool *pool)
{
	return vmlab_thread_start(pool, vmlab_promote_thread, "vmlab_promoted/%d",
				  &pool->promote_task);
}

/**
 * vmlab_promote_stop() - stop it
 * @pool: the pool; never started is fine
 */
void vmlab_promote_stop(struct vmlab_pool *pool)
{
	vmlab_thread_stop(&pool->promote_task);
}
