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

/* Copies a page that is unmapped and flushed, and names the copy in its stead. */
static void vmlab_cow_exchange(struct vmlab_object *obj, struct vmlab_slot *slot,
			       struct vmlab_frame *new)
{
	struct vmlab_frame *old = vmlab_word_frame(slot->word);
	unsigned long pinned = slot->word & VMLAB_SLOT_PINNED;
	u64 pgoff = vmlab_slot_pgoff(slot);

	copy_page(vmlab_frame_addr(new), vmlab_frame_addr(old));
	trace_cow(obj->id, pgoff, old->pfn, new->pfn);
	vmlab_slot_drop(slot);
	new->flags = VMLAB_FRAME_DIRTY;
	vmlab_frame_commit(new, obj->lineage, pgoff);
	slot->word = vmlab_frame_word(new) | pinned;
	vmlab_count(obj->vm, cow_copy, 1);
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
	struct vmlab_frame *new = *spare;

	*spare = NULL;
	if (!new)
		new = vmlab_frame_try(obj->lineage, vmlab_place(obj, vmlab_slot_pgoff(slot)), 0);
	if (!new)
		return -EAGAIN;
	/* First: a fork may have write-protected the page and still owe the flush. */
	vmlab_rmap_unmap_page(obj->lineage, slot->leaf, slot->index);
	vmlab_cow_exchange(obj, slot, new);
	return 0;
}

/*
 * Locks the slots of a run, as far as each names a frame that others name too, and there
 * is a frame for its copy at hand.  How many.
 */
static unsigned int vmlab_cow_take_run(struct vmlab_object *obj, struct vmlab_leaf *leaf,
				       unsigned int index, unsigned int nr,
				       struct vmlab_slot *slots, struct vmlab_frame **frames)
{
	unsigned int i;
	u64 pgoff;

	for (i = 0; i < nr; i++) {
		if (!vmlab_slot_trylock_in(leaf, index + i, &slots[i]))
			break;
		frames[i] = NULL;
		pgoff = vmlab_slot_pgoff(&slots[i]);
		if (vmlab_word_is_frame(slots[i].word) && !(slots[i].word & VMLAB_SLOT_PINNED) &&
		    vmlab_slot_is_shared(&slots[i]))
			frames[i] = vmlab_frame_try(obj->lineage, vmlab_place(obj, pgoff), 0);
		if (!frames[i]) {
			vmlab_slot_unlock(&slots[i]);
			break;
		}
	}
	return i;
}

/**
 * vmlab_cow_copy_ahead() - give an object copies of the pages behind one just copied
 * @obj: the object
 * @slot: locked, in a leaf of the object's own
 * @nr: how many pages, within the leaf; at most VMLAB_COW_AHEAD_MAX are copied
 *
 * For stores that go on in sequence: they share one unmapping and one flush, which cost
 * more than the copying.  Ends at the first page that is busy, or nobody else's as well,
 * or for which there is no frame without waiting.  No copy is mapped afterwards.
 *
 * Context: may sleep, not for memory.
 * Return: how many were copied.
 */
unsigned int vmlab_cow_copy_ahead(struct vmlab_object *obj, struct vmlab_slot *slot,
				  unsigned int nr)
{
	DECLARE_BITMAP(which, VMLAB_LEAF_SLOTS) = {};
	struct vmlab_frame *frames[VMLAB_COW_AHEAD_MAX];
	struct vmlab_slot slots[VMLAB_COW_AHEAD_MAX];
	struct vmlab_tlb tlb;
	unsigned int i;

	nr = vmlab_cow_take_run(obj, slot->leaf, slot->index + 1,
				min(nr, VMLAB_COW_AHEAD_MAX), slots, frames);
	if (!nr)
		return 0;
	bitmap_set(which, slot->index + 1, nr);
	vmlab_tlb_begin(&tlb, obj->lineage);
	vmlab_tlb_unmap(&tlb, slot->leaf, which, NULL);
	vmlab_tlb_end(&tlb);
	for (i = 0; i < nr; i++) {
		vmlab_cow_exchange(obj, &slots[i], frames[i]);
		vmlab_slot_unlock(&slots[i]);
	}
	return nr;
}
