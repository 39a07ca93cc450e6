// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of objects: they own the same leaves as the original, until one side changes
 * something.
 *
 * Owns the order in which that is safe.  First each leaf gets one owner more, under its
 * lock: from then on nobody is granted a write to it.  Then what was granted before is
 * taken back, by write-protecting the PTEs of the original.  It never waits for a slot
 * and takes no frame.
 *
 * It does wait for memory of the machine, with lineage->clone_sem held (and mmap_lock, in
 * a fork, whose own tables are allocated in the same way).  That cannot come back to us:
 * we have no shrinker, our pages are on no LRU, and no reclaim of the core's asks for
 * i_mmap_rwsem of our inodes.  Nor is it for ever: somebody whom the OOM killer has chosen
 * and who cannot exit, as he waits for clone_sem, is passed over after a second, and we
 * may be the next: then we get what is left, or -ENOMEM.  Rather fail than wait would be
 * worse: a fork cannot say so, and its child would get SIGBUS for a short want of memory.
 *
 * What the copy has is what the original had when the write-protected translations were
 * flushed: stores until then went to frames that both have.
 */
#include <linux/sched.h>

#include "trace.h"
#include "vmlab.h"

/**
 * vmlab_clone_has_leaves() - has an object anything in a range?
 * @obj: the object
 * @first: first page
 * @last: last page
 *
 * Marks of the zero page count as something.
 *
 * Context: any; lasts while lineage->clone_sem is held for write.
 */
bool vmlab_clone_has_leaves(struct vmlab_object *obj, u64 first, u64 last)
{
	unsigned long index = first >> VMLAB_LEAF_SHIFT;

	return xa_find(&obj->leaves, &index, last >> VMLAB_LEAF_SHIFT, XA_PRESENT);
}

/* Adds an owner to a leaf; false when it is gone by now. */
static bool vmlab_clone_own(struct vmlab_object *from, struct vmlab_object *to, u64 index)
{
	struct vmlab_leaf *leaf;

	/* clone_sem: it can be left or freed meanwhile, but not exchanged. */
	xa_lock(&from->leaves);
	leaf = xa_load(&from->leaves, index);
	if (!leaf || xa_is_value(leaf)) {
		xa_unlock(&from->leaves);
		return false;
	}
	spin_lock(&leaf->lock);
	if (leaf->owners++ == 1) {
		vmlab_events_add(&from->events, &leaf->events);
		memset(&leaf->events, 0, sizeof(leaf->events));
	}
	spin_unlock(&leaf->lock);
	xa_unlock(&from->leaves);
	/* The place is reserved: nothing is allocated. */
	xa_lock(&to->leaves);
	vmlab_leaf_store(to, leaf);
	xa_unlock(&to->leaves);
	return true;
}

/**
 * vmlab_clone_leaves() - let one object own what another has in a range
 * @from: the original
 * @to: the copy, of the same lineage.  Leaves that it has already stay
 * @first: first page
 * @last: last page; all of the leaves that the range touches are shared
 *
 * Write-protecting what @from maps is left to the caller, who may have several ranges.
 *
 * Context: may sleep; lineage->clone_sem held for write, vm->activity for read.
 * Return: 0 or -ENOMEM: what was shared until then stays so.
 */
int vmlab_clone_leaves(struct vmlab_object *from, struct vmlab_object *to, u64 first,
		       u64 last)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, end = last >> VMLAB_LEAF_SHIFT;
	struct vmlab_leaf *leaf;
	unsigned long shared = 0;
	int err = 0;

	WRITE_ONCE(from->lineage->cloned, true);

	for (; !err; index++) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(from, &index, end);
		rcu_read_unlock();
		if (!leaf)
			break;
		if (xa_load(&to->leaves, index))
			continue;
		/* Before there is an owner more, which a failure would have to take back. */
		err = vmlab_should_fail(from->vm, VMLAB_INJECT_xarray) ? -ENOMEM :
		      xa_reserve(&to->leaves, index, GFP_KERNEL_ACCOUNT);
		if (err)
			break;
		if (vmlab_clone_own(from, to, index))
			shared++;
		else
			xa_release(&to->leaves, index);
		cond_resched();
	}
	if (err)
		vmlab_count(from->vm, alloc_fail, 1);
	vmlab_count(from->vm, clone, 1);
	vmlab_count(from->vm, clone_leaf_pages, shared);
	trace_clone(from->id, to->id, shared, err);
	return err;
}
