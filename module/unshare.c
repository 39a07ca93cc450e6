// SPDX-License-Identifier: GPL-2.0
/*
 * A leaf that several objects own becomes one of its own for one of them.
 *
 * Owns the copying of leaves.  What leaves is the object that is going to change
 * something; the others keep the leaf, so that nobody has to look for them.  It must
 * never copy a slot that is locked: the leaf is frozen first, and once its last slot
 * is unlocked nothing in it changes until it is thawed.
 */
#include "trace.h"
#include "vmlab.h"

static __always_inline void vmlab_unshare_frame(struct vmlab_frame *frame)
{
	/* Hits of read-ahead are counted for one owner: see frame.h. */
	if (unlikely(READ_ONCE(frame->flags) & VMLAB_FRAME_READAHEAD))
		frame->flags &= ~VMLAB_FRAME_READAHEAD;
	atomic_inc(&frame->refs);
}

/* Copies one word; what it names has one more name then. */
static void vmlab_unshare_word(struct vmlab *vm, struct vmlab_leaf *to, unsigned int i,
			       unsigned long word, bool pins)
{
	if (!pins)
		word &= ~VMLAB_SLOT_PINNED;
	if (vmlab_word_is_frame(word)) {
		vmlab_unshare_frame(vmlab_word_frame(word));
		to->nr_present++;
	} else if (vmlab_word_is_swap(word)) {
		/* Objects of a lineage are fewer than references that a slot can have. */
		WARN_ON_ONCE(!vmlab_swap_get(vm, vmlab_word_entry(word)));
		to->nr_swapped++;
	}
	to->nr_pinned += !!(word & VMLAB_SLOT_PINNED);
	to->words[i] = word;
}

static void vmlab_unshare_copy(struct vmlab *vm, struct vmlab_leaf *from,
			       struct vmlab_leaf *to, bool pins)
{
	const unsigned long *words = from->words;
	unsigned long *copies = to->words;
	unsigned int present = 0, i;

	/* Most slots are plain pages, and this loop is most of what an unshare costs. */
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = words[i];

		copies[i] = word;
		if (unlikely(word & VMLAB_SLOT_FLAGS)) {
			vmlab_unshare_word(vm, to, i, word, pins);
		} else if (word) {
			vmlab_unshare_frame(vmlab_word_frame(word));
			present++;
		}
	}
	to->nr_present += present;
	to->huge = from->huge;
	to->pinner = pins ? from->pinner : 0;
	to->seq_next = from->seq_next;
	to->seq_run = from->seq_run;
	to->ra_start = from->ra_start;
	to->ra_nr = from->ra_nr;
	to->ra_hits = from->ra_hits;
}

/* The copy is not needed: none of its references is the last one. */
static void vmlab_unshare_undo(struct vmlab *vm, struct vmlab_leaf *leaf)
{
	unsigned int i;

	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = leaf->words[i];

		if (vmlab_word_is_frame(word))
			atomic_dec(&vmlab_word_frame(word)->refs);
		else if (vmlab_word_is_swap(word))
			vmlab_swap_put(vm, vmlab_word_entry(word));
	}
	vmlab_leaf_free(leaf);
}

/* The pins go with the object that made them.  leaf->lock held. */
static void vmlab_unshare_drop_pins(struct vmlab_leaf *leaf)
{
	unsigned int i;

	for (i = 0; leaf->nr_pinned && i < VMLAB_LEAF_SLOTS; i++) {
		if (!(leaf->words[i] & VMLAB_SLOT_PINNED))
			continue;
		leaf->words[i] &= ~VMLAB_SLOT_PINNED;
		leaf->nr_pinned--;
	}
}

/*
 * A fork write-protects one VMA after another and flushes at its end.  A thread that got
 * a page of its own in between, and then stores to one that the child is going to share,
 * or by a translation not yet flushed, would let the child see the second store without
 * the first.  clone_sem held: the fork has said that it is there, or has shared nothing.
 */
static bool vmlab_unshare_must_not(struct vmlab_object *obj, unsigned int flags)
{
	return (flags & VMLAB_ALLOC_NO_FORK) && READ_ONCE(obj->forking);
}

/*
 * Puts the copy in the leaf's place, if the object still shares the leaf.  Both tables
 * have entries here already: no memory is needed.
 */
static bool vmlab_unshare_publish(struct vmlab_object *obj, struct vmlab_leaf *from,
				  struct vmlab_leaf *to, bool pins, unsigned int flags)
{
	struct xarray *ranges = &obj->lineage->leaves;
	bool done = false;

	down_read(&obj->lineage->clone_sem);
	xa_lock(&obj->leaves);
	xa_lock(ranges);
	spin_lock(&from->lock);
	if (from->owners > 1 && vmlab_leaf_is_of(obj, from) &&
	    !vmlab_unshare_must_not(obj, flags)) {
		WRITE_ONCE(from->owners, from->owners - 1);
		if (pins)
			vmlab_unshare_drop_pins(from);
		vmlab_leaf_list(to);
		vmlab_leaf_store(obj, to);
		/* After the store: who reads the new number finds the new leaf. */
		smp_store_release(&obj->leaf_seq, obj->leaf_seq + 1);
		done = true;
	}
	spin_unlock(&from->lock);
	xa_unlock(ranges);
	xa_unlock(&obj->leaves);
	up_read(&obj->lineage->clone_sem);
	return done;
}

static int vmlab_unshare_frozen(struct vmlab_object *obj, struct vmlab_leaf *from,
				struct vmlab_leaf *to, unsigned int flags)
{
	struct vmlab *vm = obj->vm;
	bool pins = from->nr_pinned && from->pinner == obj->id;
	unsigned int present;

	vmlab_unshare_copy(vm, from, to, pins);
	present = to->nr_present;
	if (!vmlab_unshare_publish(obj, from, to, pins, flags)) {
		vmlab_unshare_undo(vm, to);
		return vmlab_unshare_must_not(obj, flags) ? -EAGAIN : 0;
	}
	vmlab_count(vm, unshare, 1);
	vmlab_count(vm, leaf_alloc, 1);
	trace_unshare(obj->id, to->index, present);
	return 0;
}

/**
 * vmlab_leaf_unshare() - give an object a leaf of its own
 * @obj: the object
 * @pgoff: a page of the leaf
 * @flags: VMLAB_ALLOC_*; VMLAB_ALLOC_NO_WAIT: wait neither for a frame nor for slots;
 *	VMLAB_ALLOC_NO_FORK: the caller's store must be held up while a fork is at work,
 *	and it does not hold mmap_lock, which would see to that
 *
 * Nothing is done where the object has a leaf of its own, or none.  From then on
 * nobody knows: another clone may come at once.
 *
 * Context: sleeps; reclaims unless NO_WAIT; no slot locked; vm->activity held for read.
 * Return: 0; -ENOMEM: the machine has no memory; -ENOSPC as vmlab_frame_get(); -EINTR on
 * a fatal signal; -EAGAIN: NO_WAIT, and it would have had to, or NO_FORK, and there is one.
 */
int vmlab_leaf_unshare(struct vmlab_object *obj, u64 pgoff, unsigned int flags)
{
	bool wait = !(flags & VMLAB_ALLOC_NO_WAIT);
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_place place = vmlab_place(obj, pgoff);
	struct vmlab_leaf *from, *to;
	struct vmlab_frame *frame;
	int err;

	if (vmlab_unshare_must_not(obj, flags))
		return -EAGAIN;
	/* All words of the new leaf will be written: it need not be zeroed. */
	if (wait) {
		err = vmlab_frame_get(lineage, place, flags, &frame);
		if (err)
			return err;
	} else {
		frame = vmlab_frame_try(lineage, place, 0);
		if (!frame)
			return -EAGAIN;
	}
	to = vmlab_leaf_alloc(lineage, pgoff >> VMLAB_LEAF_SHIFT, frame);
	if (!to) {
		vmlab_frame_unget(lineage, frame);
		return -ENOMEM;
	}
	err = vmlab_leaf_freeze(obj, pgoff, VMLAB_FREEZE_SHARED, wait, &from);
	if (err || !from) {
		vmlab_leaf_free(to);
		return err;
	}
	err = vmlab_unshare_frozen(obj, from, to, flags);
	vmlab_leaf_thaw(from);
	return err;
}
