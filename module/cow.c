// SPDX-License-Identifier: GPL-2.0
/*
 * A page that several leaves name becomes one of its own for one of them.
 *
 * Owns the copying of pages.  The order keeps memory whole: unmap the old frame from
 * this object, flush, copy, and only then name the new frame and let the old one go.
 * Copied before the flush, the page would lose what a CPU with an old translation
 * stores meanwhile.  It must never touch a page's other owners.
 */
#include <linux/highmem.h>

#include "trace.h"
#include "vmlab.h"

/**
 * vmlab_slot_is_shared() - do other leaves name this slot's frame too?
 * @slot: locked, naming a frame
 *
 * In a leaf with one owner "no" stays true as long as the slot is locked, see the head
 * of vmlab.h; "yes" may be old.
 */
bool vmlab_slot_is_shared(const struct vmlab_slot *slot)
{
	return atomic_read(&vmlab_word_frame(slot->word)->refs) > 1;
}

/**
 * vmlab_cow_copy() - give a slot a copy of its page
 * @obj: the leaf's only owner
 * @slot: locked, naming a frame that other leaves name too
 * @spare: a charged frame, or NULL in it: one is looked for, without waiting.  NULL in
 *	it on return
 *
 * The page is not mapped by @obj afterwards.
 *
 * Context: may sleep, not for memory.
 * Return: 0 and @slot names a dirty frame of its own, or -EAGAIN: there was no frame.
 */
int vmlab_cow_copy(struct vmlab_object *obj, struct vmlab_slot *slot,
		   struct vmlab_frame **spare)
{
	struct vmlab_frame *old = vmlab_word_frame(slot->word);
	unsigned long pinned = slot->word & VMLAB_SLOT_PINNED;
	u64 pgoff = vmlab_slot_pgoff(slot);
	struct vmlab_frame *new = *spare;

	*spare = NULL;
	if (!new)
		new = vmlab_frame_try(obj->lineage, vmlab_numa_node(obj->vm), 0);
	if (!new)
		return -EAGAIN;
	/* First: a fork may have write-protected the page and still owe the flush. */
	vmlab_rmap_unmap_page(obj->lineage, slot->leaf, slot->index);
	copy_page(vmlab_frame_addr(new), vmlab_frame_addr(old));
	trace_cow(obj->id, pgoff, old->pfn, new->pfn);
	vmlab_slot_drop(slot);
	new->flags = VMLAB_FRAME_DIRTY;
	vmlab_frame_commit(new, obj->lineage, pgoff);
	slot->word = vmlab_frame_word(new) | pinned;
	vmlab_count(obj->vm, cow_copy, 1);
	return 0;
}
