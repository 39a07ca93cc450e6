// SPDX-License-Identifier: GPL-2.0
/*
 * Brings pages back from swap, and reads ahead.
 *
 * Owns the way of a slot from a swap entry to a frame, and the size of the
 * read-ahead window.  Reading is split in two, so that a fault can drop its lock
 * in between.  What comes in stays clean: the copy on swap keeps its reference
 * until the page becomes dirty.
 */
#include <linux/log2.h>
#include <linux/mempool.h>

#include "trace.h"
#include "vmlab.h"

/* Share of the low watermark that is kept from read-ahead. */
#define VMLAB_RA_RESERVE	16

/* A stream of faults goes on across leaves: what the leaf before says of it. */
static void vmlab_swapin_inherit(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	struct vmlab_leaf *prev;

	if (!leaf->index)
		return;
	rcu_read_lock();
	prev = vmlab_leaf_lookup(obj, (leaf->index - 1) << VMLAB_LEAF_SHIFT);
	if (prev && READ_ONCE(prev->ra_nr) &&
	    READ_ONCE(prev->ra_start) + READ_ONCE(prev->ra_nr) == VMLAB_LEAF_SLOTS) {
		WRITE_ONCE(leaf->ra_hits, READ_ONCE(prev->ra_hits));
		WRITE_ONCE(leaf->ra_nr, READ_ONCE(prev->ra_nr));
		WRITE_ONCE(leaf->ra_start, 0);
	}
	rcu_read_unlock();
}

/**
 * vmlab_swapin_window() - how many pages to read ahead of a fault
 * @obj: whose page it is
 * @slot: the page that is read in any case, locked
 * @vma: where the fault is, for its advice; NULL for read() and write()
 *
 * The size follows the use made of the last window, by the rule of the kernel's
 * own swap read-ahead (__swapin_nr_pages() in mm/swap_state.c): as many as were
 * used, rounded up; never less than half of the last; nothing for the first fault
 * off the path.  Each leaf has a window of its own, so that a program may go through
 * several places at once.  Racing faults may spoil the figures, never more.
 *
 * Context: any.
 * Return: pages, 0 to VMLAB_RA_MAX - 1.
 */
unsigned int vmlab_swapin_window(struct vmlab_object *obj, struct vmlab_slot *slot,
				 struct vm_area_struct *vma)
{
	struct vmlab_leaf *leaf = slot->leaf;
	unsigned int index = slot->index, last, hits, start, pages;
	bool adjacent;

	if (vma && (vma->vm_flags & VM_RAND_READ))
		return 0;
	if (vma && (vma->vm_flags & VM_SEQ_READ))
		return VMLAB_RA_MAX - 1;
	if (!index)
		vmlab_swapin_inherit(obj, leaf);
	start = READ_ONCE(leaf->ra_start);
	last = READ_ONCE(leaf->ra_nr);
	hits = READ_ONCE(leaf->ra_hits);
	adjacent = last && (index == start + last || index + 1 == start || !index);
	if (!hits && !adjacent)
		pages = 1;
	else
		pages = max_t(unsigned int, roundup_pow_of_two(hits + 2), 4);
	pages = clamp(pages, last / 2, (unsigned int)VMLAB_RA_MAX);
	pages = clamp(pages, 1U, VMLAB_LEAF_SLOTS - index);
	WRITE_ONCE(leaf->ra_hits, 0);
	WRITE_ONCE(leaf->ra_start, index);
	WRITE_ONCE(leaf->ra_nr, pages);
	return pages - 1;
}

/**
 * vmlab_swapin_touch() - a resident page is used
 * @slot: locked, naming a frame
 *
 * If it was read ahead and is used now for the first time, that is a hit.
 */
void vmlab_swapin_touch(struct vmlab_slot *slot)
{
	struct vmlab_frame *frame = vmlab_word_frame(slot->word);
	struct vmlab_leaf *leaf = slot->leaf;

	if (likely(!(READ_ONCE(frame->flags) & VMLAB_FRAME_READAHEAD)))
		return;
	frame->flags &= ~VMLAB_FRAME_READAHEAD;
	vmlab_count(leaf->lineage->vm, swap_readahead_hit, 1);
	WRITE_ONCE(leaf->ra_hits, READ_ONCE(leaf->ra_hits) + 1);
}

/* Is a lineage so near to its limit that guesses must not use it up? */
static bool vmlab_swapin_near_limit(struct vmlab_lineage *lineage)
{
	long limit = READ_ONCE(lineage->limit);

	return limit && atomic_long_read(&lineage->nr_frames) > limit - limit / 8;
}

static void vmlab_swapin_add(struct vmlab_swapin *in, const struct vmlab_slot *slot,
			     struct vmlab_frame *frame)
{
	unsigned int i = in->io.nr++;

	in->slots[i] = *slot;
	in->io.io[i].frame = frame;
	in->io.io[i].entry = vmlab_word_entry(slot->word);
}

/* Tries to lock the next page of the window; it must lie next to the last on disk. */
static bool vmlab_swapin_add_next(struct vmlab_object *obj, struct vmlab_swapin *in)
{
	struct vmlab_slot *first = &in->slots[0];
	struct vmlab_frame *frame;
	struct vmlab_slot slot;
	unsigned int n = in->io.nr;
	struct vmlab_pool *pool = vmlab_frame_pool(in->io.io[0].frame);

	if (first->index + n >= VMLAB_LEAF_SLOTS)
		return false;
	/*
	 * Guesses must not take the last frames.  But no more than that is kept from them: a
	 * window cut short has few hits, and makes the next one small.
	 */
	if (vmlab_pool_free_frames(pool) <=
	    vmlab_watermark(pool, READ_ONCE(obj->vm->watermark_low)) / VMLAB_RA_RESERVE)
		return false;
	if (vmlab_swapin_near_limit(obj->lineage))
		return false;
	if (!vmlab_slot_trylock_in(first->leaf, first->index + n, &slot))
		return false;
	if (!vmlab_word_is_swap(slot.word) ||
	    vmlab_word_entry(slot.word) != in->io.io[0].entry + n)
		goto unlock;
	frame = vmlab_frame_try(obj->lineage, vmlab_place(obj, vmlab_slot_pgoff(&slot)), 0);
	if (!frame)
		goto unlock;
	if (vmlab_siblings_claim(&slot)) {
		vmlab_frame_unget(obj->lineage, frame);
		goto unlock;
	}
	vmlab_swapin_add(in, &slot, frame);
	return true;
unlock:
	vmlab_slot_unlock(&slot);
	return false;
}

/**
 * vmlab_swapin_start() - begin to read a page, and pages after it
 * @obj: the object
 * @slot: its slot, locked, naming a swap entry, and vmlab_siblings_claim() said to read
 *	it.  What returns owns it
 * @spare: a charged frame, which is used up: NULL in it on return
 * @readahead: how many of the following pages to read too, at most
 *
 * Only pages of the same leaf that lie next to each other on disk are read ahead, so
 * that it all is one I/O.
 *
 * Context: does not wait for memory of the pool; may for the I/O of others.
 * Return: the read under way.
 */
struct vmlab_swapin *vmlab_swapin_start(struct vmlab_object *obj,
					struct vmlab_slot *slot,
					struct vmlab_frame **spare,
					unsigned int readahead)
{
	struct vmlab_frame *frame = *spare;
	struct vmlab_swapin *in;

	*spare = NULL;
	in = mempool_alloc(obj->vm->swapins, GFP_NOIO);
	in->io.vm = obj->vm;
	in->io.write = false;
	in->io.nr = 0;
	in->io.io = in->pages;
	vmlab_swapin_add(in, slot, frame);
	readahead = min_t(unsigned int, readahead, VMLAB_BATCH - 1);
	while (in->io.nr <= readahead && vmlab_swapin_add_next(obj, in))
		;
	vmlab_count(obj->vm, swap_readahead, in->io.nr - 1);
	atomic_add(in->io.nr, &obj->lineage->nr_moving);
	atomic_add(in->io.nr, &obj->vm->nr_moving);
	vmlab_swap_submit(&in->io);
	return in;
}

/* One page has come: its slot names the frame, or still the entry after an error. */
static int vmlab_swapin_commit(struct vmlab_object *obj, struct vmlab_slot *slot,
			       struct vmlab_swap_io *io, bool readahead)
{
	struct vmlab_frame *frame = io->frame;
	u64 pgoff = vmlab_slot_pgoff(slot);

	trace_swap_in(io->entry, pgoff, readahead, io->error);
	if (io->error) {
		vmlab_siblings_unclaim(obj->vm, io->entry);
		vmlab_frame_unget(obj->lineage, frame);
		return -EIO;
	}
	/* The slot's reference on the entry becomes the clean copy's. */
	frame->flags = readahead ? VMLAB_FRAME_READAHEAD : 0;
	frame->swap = io->entry;
	vmlab_frame_commit(frame, obj->lineage, pgoff);
	slot->word = vmlab_frame_word(frame);
	slot->events |= VMLAB_EVENT_SWAP_IN;
	vmlab_siblings_bring(slot, io->entry, frame);
	return 0;
}

/**
 * vmlab_swapin_finish() - wait for a read and put the pages into their slots
 * @obj: the object
 * @in: from vmlab_swapin_start(); freed
 * @slot: out: the slot asked for, locked; the others are unlocked
 *
 * Context: sleeps for I/O.
 * Return: 0 and @slot names a frame, or -EIO and it names the entry still.
 */
int vmlab_swapin_finish(struct vmlab_object *obj, struct vmlab_swapin *in,
			struct vmlab_slot *slot)
{
	unsigned int i;
	int err;

	vmlab_swap_wait(&in->io);
	for (i = 1; i < in->io.nr; i++) {
		vmlab_swapin_commit(obj, &in->slots[i], &in->io.io[i], true);
		vmlab_slot_unlock(&in->slots[i]);
	}
	*slot = in->slots[0];
	err = vmlab_swapin_commit(obj, slot, &in->io.io[0], false);
	/* Last: who sees none on the way finds them resident. */
	atomic_sub(in->io.nr, &obj->vm->nr_moving);
	atomic_sub(in->io.nr, &obj->lineage->nr_moving);
	mempool_free(in, obj->vm->swapins);
	return err;
}
