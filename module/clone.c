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

/* xa_lock of the original's table held. */
static void vmlab_clone_own(struct vmlab_object *from, struct vmlab_leaf *leaf)
{
	spin_lock(&leaf->lock);
	WRITE_ONCE(leaf->owners, leaf->owners + 1);
	if (leaf->owners == 2) {
		vmlab_events_add(&from->events, &leaf->events);
		memset(&leaf->events, 0, sizeof(leaf->events));
	}
	spin_unlock(&leaf->lock);
}

/*
 * Adds an owner to the leaves of a group, but those that the copy has already.  clone_sem:
 * they can be left or freed meanwhile, but not exchanged.  How many.
 */
static unsigned int vmlab_clone_own_group(struct vmlab_object *from, struct vmlab_object *to,
					  u64 first, u64 last, bool fresh,
					  struct vmlab_leaf **leaves)
{
	XA_STATE(xas, &from->leaves, first);
	unsigned int nr = 0;
	void *entry;

	xas_lock(&xas);
	xas_for_each(&xas, entry, last) {
		if (xa_is_value(entry) || xa_is_zero(entry))
			continue;
		if (!fresh && xa_load(&to->leaves, xas.xa_index))
			continue;
		vmlab_clone_own(from, entry);
		leaves[nr++] = entry;
	}
	xas_unlock(&xas);
	return nr;
}

/*
 * Puts leaves of one group into the copy's table.  The last place of the group is reserved,
 * so the node is there that all of them are in, but where it was given up just now: then its
 * memory is waited for, as nothing can be taken back any more.
 */
static void vmlab_clone_store_group(struct vmlab_object *to, struct vmlab_leaf **leaves,
				    unsigned int nr)
{
	XA_STATE(xas, &to->leaves, 0);
	unsigned int i;

	xas_lock(&xas);
	for (i = 0; i < nr; i++) {
		/* The next place is found without another walk from the top. */
		if (i && leaves[i]->index == leaves[i - 1]->index + 1)
			xas_next(&xas);
		else
			xas_set(&xas, leaves[i]->index);
		xas_store(&xas, leaves[i]);
		while (unlikely(xas_error(&xas))) {
			xas_unlock(&xas);
			xas_nomem(&xas, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
			xas_lock(&xas);
			xas_store(&xas, leaves[i]);
		}
		xas_set_mark(&xas, VMLAB_TAG_LEAF);
	}
	xas_unlock(&xas);
	/* Without an error it frees what was not needed. */
	xas_nomem(&xas, GFP_KERNEL);
}

/* Shares the leaves from @index on, up to the end of their node in the table; -ENOMEM. */
static int vmlab_clone_group(struct vmlab_object *from, struct vmlab_object *to, u64 index,
			     u64 last, bool fresh, unsigned long *shared)
{
	struct vmlab_leaf *leaves[XA_CHUNK_SIZE];
	unsigned int nr;
	int err;

	/*
	 * Before there is an owner more, which a failure would have to take back.  The last
	 * place: the table may have the first one without a node.
	 */
	err = vmlab_should_fail(from->vm, VMLAB_INJECT_xarray) ? -ENOMEM :
	      xa_reserve(&to->leaves, last, GFP_KERNEL_ACCOUNT);
	if (err)
		return err;
	nr = vmlab_clone_own_group(from, to, index, last, fresh, leaves);
	vmlab_clone_store_group(to, leaves, nr);
	*shared += nr;
	/* If there is no leaf in that place. */
	xa_release(&to->leaves, last);
	return 0;
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
	u64 index = first >> VMLAB_LEAF_SHIFT, end = last >> VMLAB_LEAF_SHIFT, group;
	struct vmlab_leaf *leaf;
	/*
	 * A copy that has nothing yet gets nothing but by this, as clone_sem is held; but for marks
	 * of the zero page, which are never where leaves are.
	 */
	bool fresh = data_race(xa_empty(&to->leaves));
	unsigned long shared = 0;
	int err = 0;

	WRITE_ONCE(from->lineage->cloned, true);

	for (; !err; index = group + 1) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(from, &index, end);
		rcu_read_unlock();
		if (!leaf)
			break;
		group = min_t(u64, index | (XA_CHUNK_SIZE - 1), end);
		err = vmlab_clone_group(from, to, index, group, fresh, &shared);
		cond_resched();
	}
	if (err)
		vmlab_count(from->vm, alloc_fail, 1);
	vmlab_count(from->vm, clone, 1);
	vmlab_count(from->vm, clone_leaf_pages, shared);
	trace_clone(from->id, to->id, shared, err);
	return err;
}

/**
 * vmlab_clone_undo() - a copy gives up what a vmlab_clone_leaves() that failed gave it
 * @to: the copy; it had no leaves in the range before, and nothing maps them
 * @first: first page
 * @last: last page
 *
 * Context: may sleep; lineage->clone_sem held for write, vm->activity for read.
 */
void vmlab_clone_undo(struct vmlab_object *to, u64 first, u64 last)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, end = last >> VMLAB_LEAF_SHIFT;
	struct vmlab_leaf *leaf;

	for (;; index++) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(to, &index, end);
		rcu_read_unlock();
		if (!leaf)
			break;
		vmlab_leaf_detach(to, index);
		cond_resched();
	}
}
