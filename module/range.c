// SPDX-License-Identifier: GPL-2.0
/*
 * What acts on ranges of an object: discard, page out, populate, pin; and the steps
 * on one slot that they share with faults, read() and write().
 *
 * Owns no state.  It goes through a range leaf by leaf, holds vm->activity for one
 * leaf or one page at a time, and gives up on a fatal signal in between, but when an
 * object ends.
 */
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "vmlab.h"

/* Pages read together when a caller is known to want the whole range. */
#define VMLAB_RANGE_READ	VMLAB_BATCH
/* For @readahead: as many as the last window's use suggests. */
#define VMLAB_READ_WINDOW	UINT_MAX

/**
 * vmlab_frame_dirty() - a page is going to differ from its copy on swap
 * @vm: the instance
 * @frame: its frame; a slot that names it is locked, or cannot be
 */
void vmlab_frame_dirty(struct vmlab *vm, struct vmlab_frame *frame)
{
	u64 entry = frame->swap;

	if (frame->flags & VMLAB_FRAME_DIRTY)
		return;
	/* By one of several slots, perhaps: those who have another one look as well. */
	WRITE_ONCE(frame->flags, frame->flags | VMLAB_FRAME_DIRTY);
	WRITE_ONCE(frame->swap, 0);
	if (entry) {
		WRITE_ONCE(vmlab_swap_slot(vm, entry)->frame, NULL);
		vmlab_swap_put(vm, entry);
	}
}

/**
 * vmlab_slot_dirty() - vmlab_frame_dirty() for what a slot names
 * @slot: locked, naming a frame
 */
void vmlab_slot_dirty(struct vmlab_slot *slot)
{
	vmlab_frame_dirty(slot->leaf->lineage->vm, vmlab_word_frame(slot->word));
}

/* One slot less names a frame; the last one lets it go. */
static void vmlab_slot_drop_frame(struct vmlab_slot *slot)
{
	struct vmlab_frame *frame = vmlab_word_frame(slot->word);

	if (!atomic_dec_and_test(&frame->refs))
		return;
	vmlab_slot_dirty(slot);
	vmlab_frame_retire(frame);
	vmlab_frame_unget(slot->leaf->lineage, frame);
}

/**
 * vmlab_slot_drop() - a slot becomes a hole
 * @slot: locked; if it names a frame, its owners have unmapped and flushed that already
 */
void vmlab_slot_drop(struct vmlab_slot *slot)
{
	if (vmlab_word_is_frame(slot->word))
		vmlab_slot_drop_frame(slot);
	else if (vmlab_word_is_swap(slot->word))
		vmlab_swap_put(slot->leaf->lineage->vm, vmlab_word_entry(slot->word));
	slot->word = 0;
}

/**
 * vmlab_slot_clear_zero() - take the zero page away from who maps it here
 * @obj: the object
 * @slot: locked, a hole that is going to have a frame
 *
 * Context: may sleep.
 */
void vmlab_slot_clear_zero(struct vmlab_object *obj, struct vmlab_slot *slot)
{
	if (!(slot->word & VMLAB_SLOT_ZERO))
		return;
	vmlab_rmap_unmap_page(obj->lineage, slot->leaf, slot->index);
	slot->word &= ~VMLAB_SLOT_ZERO;
}

/*
 * What a locked slot still lacks; the slot is unlocked then, and all is looked at again.
 * After VMLAB_LACKS_NOTHING, and after an error, it is as before: locked.
 */
#define VMLAB_LACKS_FRAME	1
#define VMLAB_LACKS_SIBLING	2	/* which is about to have the page */
#define VMLAB_LACKS_LEAF	3	/* of its object's own */

static int vmlab_slot_read(struct vmlab_object *obj, struct vmlab_slot *slot,
			   struct vmlab_frame **spare, unsigned int readahead)
{
	struct vmlab_swapin *in;
	int claimed;

	if (!*spare)
		*spare = vmlab_frame_try(obj->lineage, vmlab_place(obj, vmlab_slot_pgoff(slot)),
					 0);
	if (!*spare)
		return VMLAB_LACKS_FRAME;
	claimed = vmlab_siblings_claim(slot);
	if (claimed) {
		/* Its contents are somebody's: not for a hole that the page may be next time. */
		vmlab_frame_unget(obj->lineage, *spare);
		*spare = NULL;
		return claimed > 0 ? 0 : VMLAB_LACKS_SIBLING;
	}
	if (readahead == VMLAB_READ_WINDOW)
		readahead = vmlab_swapin_window(obj, slot, NULL);
	in = vmlab_swapin_start(obj, slot, spare, readahead);
	return vmlab_swapin_finish(obj, in, slot);
}

static int vmlab_slot_create(struct vmlab_object *obj, struct vmlab_slot *slot,
			     struct vmlab_frame **spare)
{
	struct vmlab_frame *frame = *spare;

	if (!frame)
		frame = vmlab_frame_try(obj->lineage, vmlab_place(obj, vmlab_slot_pgoff(slot)),
					VMLAB_ALLOC_ZERO);
	if (!frame)
		return VMLAB_LACKS_FRAME;
	*spare = NULL;
	vmlab_slot_clear_zero(obj, slot);
	frame->flags = VMLAB_FRAME_DIRTY;
	vmlab_frame_commit(frame, obj->lineage, vmlab_slot_pgoff(slot));
	slot->word = vmlab_frame_word(frame);
	return 0;
}

/* Makes a locked slot name a frame. */
static int vmlab_slot_fill(struct vmlab_object *obj, struct vmlab_slot *slot,
			   struct vmlab_frame **spare, enum vmlab_fill fill,
			   unsigned int readahead)
{
	int lacks = 0;

	if (fill == VMLAB_FILL_WRITE && READ_ONCE(slot->leaf->owners) > 1)
		return VMLAB_LACKS_LEAF;
	if (vmlab_word_is_swap(slot->word))
		lacks = vmlab_slot_read(obj, slot, spare, readahead);
	else if (vmlab_word_is_frame(slot->word))
		vmlab_swapin_touch(slot);
	else if (fill == VMLAB_FILL_READ)
		return -ENOENT;
	else
		return vmlab_slot_create(obj, slot, spare);
	if (lacks || fill != VMLAB_FILL_WRITE || !vmlab_slot_is_shared(slot))
		return lacks;
	return vmlab_cow_copy(obj, slot, spare) ? VMLAB_LACKS_FRAME : 0;
}

/* What a call says: a program cannot do more about a full pool than about a full machine. */
static int vmlab_call_error(int err)
{
	return err == -ENOSPC ? -ENOMEM : err;
}

/* Gets what a slot lacked; the slot is unlocked, and @spare at hand only for a frame. */
static int vmlab_slot_supply(struct vmlab_object *obj, u64 pgoff, int lacks,
			     struct vmlab_frame **spare)
{
	if (lacks == VMLAB_LACKS_SIBLING)
		return vmlab_siblings_wait(obj, pgoff);
	/* Not kept where vm->activity may be let go, see vmlab_frame_get(). */
	if (*spare)
		vmlab_frame_unget(obj->lineage, *spare);
	*spare = NULL;
	if (lacks == VMLAB_LACKS_LEAF)
		return vmlab_leaf_unshare(obj, pgoff, VMLAB_ALLOC_NO_OOM);
	if (lacks == -ENOENT)
		return vmlab_leaf_create(obj, pgoff, VMLAB_ALLOC_NO_OOM);
	return vmlab_frame_get(obj->lineage, vmlab_place(obj, pgoff),
			       VMLAB_ALLOC_ZERO | VMLAB_ALLOC_NO_OOM, spare);
}

/*
 * For calls, which can report an error: nobody is killed to make room for them, as the
 * OOM policy may do for a fault.
 */
static int vmlab_slot_lock_filled(struct vmlab_object *obj, u64 pgoff, enum vmlab_fill fill,
				  unsigned int readahead, struct vmlab_slot *slot)
{
	struct vmlab_frame *spare = NULL;
	int err;

	for (;;) {
		err = vmlab_slot_lock(obj, pgoff, VMLAB_SLOT_KILLABLE, slot);
		if (!err) {
			err = vmlab_slot_fill(obj, slot, &spare, fill, readahead);
			if (!err)
				break;
			vmlab_slot_unlock(slot);
			if (err < 0)
				break;
		} else if (err != -ENOENT || fill == VMLAB_FILL_READ) {
			break;
		}
		err = vmlab_call_error(vmlab_slot_supply(obj, pgoff, err, &spare));
		if (err)
			break;
	}
	if (spare)
		vmlab_frame_unget(obj->lineage, spare);
	return err;
}

/**
 * vmlab_slot_lock_present() - lock a page's slot and make it resident
 * @obj: the object
 * @pgoff: the page
 * @fill: what to do with a hole, and with a page that others have too.  After WRITE the
 *	page is the object's alone, until the next clone: see vmlab_slot_map_begin()
 * @slot: out: locked, naming a frame
 *
 * Context: sleeps, reclaims, reads swap; no slot locked; vm->activity held for read.
 * Return: 0; -ENOENT: a hole, and @fill is READ; -ENOMEM; -EIO; -EINTR on a fatal signal.
 */
int vmlab_slot_lock_present(struct vmlab_object *obj, u64 pgoff, enum vmlab_fill fill,
			    struct vmlab_slot *slot)
{
	return vmlab_slot_lock_filled(obj, pgoff, fill, VMLAB_READ_WINDOW, slot);
}

static bool vmlab_object_has_leaf(struct vmlab_object *obj, u64 index)
{
	bool has;

	rcu_read_lock();
	has = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	rcu_read_unlock();
	return has;
}

/* What discard does with one leaf: its slots from @from to @to, in one flush. */
struct vmlab_discard {
	DECLARE_BITMAP(locked, VMLAB_LEAF_SLOTS);
	DECLARE_BITMAP(mapped, VMLAB_LEAF_SLOTS);
	DECLARE_BITMAP(busy, VMLAB_LEAF_SLOTS);
	unsigned int pinned;
	bool huge;	/* all of a chunk, which is nobody else's */
};

/*
 * Locks all that can be had at once; the caller keeps the leaf by RCU.  False: the object
 * shares the leaf, or has another by now.
 */
static bool vmlab_discard_lock(struct vmlab_object *obj, struct vmlab_leaf *leaf,
			       unsigned int from, unsigned int to, bool reserved,
			       struct vmlab_discard *d)
{
	unsigned int i;
	bool own;

	memset(d, 0, sizeof(*d));
	spin_lock(&leaf->lock);
	own = !leaf->dead && leaf->owners == 1 && vmlab_leaf_is_of(obj, leaf);
	for (i = from; own && i <= to; i++) {
		unsigned long word = leaf->words[i];

		if (leaf->frozen || (word & VMLAB_SLOT_LOCKED)) {
			__set_bit(i, d->busy);
			continue;
		}
		if (vmlab_word_is_empty(word))
			continue;
		if ((word & VMLAB_SLOT_PINNED) || (!reserved && vmlab_word_is_reserved(word))) {
			d->pinned++;
			continue;
		}
		leaf->words[i] |= VMLAB_SLOT_LOCKED;
		leaf->nr_locked++;
		__set_bit(i, d->locked);
		if (vmlab_word_is_frame(word))
			__set_bit(i, d->mapped);
	}
	/* What goes as a whole is not split. */
	if (own && leaf->huge && bitmap_full(d->locked, VMLAB_LEAF_SLOTS)) {
		leaf->huge = false;
		d->huge = vmlab_leaf_is_alone(leaf);
	}
	spin_unlock(&leaf->lock);
	return own;
}

static void vmlab_discard_locked(struct vmlab_object *obj, struct vmlab_leaf *leaf,
				 struct vmlab_discard *d)
{
	struct vmlab_tlb tlb;
	unsigned int i;

	if (!bitmap_empty(d->mapped, VMLAB_LEAF_SLOTS)) {
		vmlab_tlb_begin(&tlb, obj->lineage);
		vmlab_tlb_unmap(&tlb, leaf, d->mapped, NULL);
		vmlab_tlb_end(&tlb);
	}
	if (d->huge) {
		vmlab_chunk_drop(leaf);
		return;
	}
	for_each_set_bit(i, d->locked, VMLAB_LEAF_SLOTS) {
		struct vmlab_slot slot = { .leaf = leaf, .index = i };

		slot.word = READ_ONCE(leaf->words[i]) & ~VMLAB_SLOT_LOCKED;
		vmlab_slot_drop(&slot);
		vmlab_slot_unlock(&slot);
	}
}

/* One that was busy: wait for it.  False: others own the leaf by now. */
static bool vmlab_discard_one(struct vmlab_object *obj, u64 pgoff, bool reserved,
			      unsigned int *pinned)
{
	struct vmlab_slot slot;
	bool own;

	if (vmlab_slot_lock(obj, pgoff, VMLAB_SLOT_WAIT, &slot))
		return true;
	/* A copy that is made from here on is one of the page discarded. */
	own = READ_ONCE(slot.leaf->owners) == 1;
	if ((slot.word & VMLAB_SLOT_PINNED) || (!reserved && vmlab_word_is_reserved(slot.word))) {
		++*pinned;
	} else if (own && !vmlab_word_is_empty(slot.word)) {
		if (vmlab_word_is_frame(slot.word))
			vmlab_rmap_unmap_page(obj->lineage, slot.leaf, slot.index);
		vmlab_slot_drop(&slot);
	}
	vmlab_slot_unlock(&slot);
	return own;
}

/*
 * Discards what is in a leaf of the object's own; false: it has none, or shares it.
 * @reserved: also what is reserved, as nobody has it mapped any more.
 */
static bool vmlab_discard_own(struct vmlab_object *obj, u64 index, unsigned int from,
			      unsigned int to, bool reserved, u64 *pinned)
{
	struct vmlab_discard d;
	struct vmlab_leaf *leaf;
	unsigned int i;
	bool own;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	own = leaf && vmlab_discard_lock(obj, leaf, from, to, reserved, &d);
	rcu_read_unlock();
	if (!own)
		return false;
	vmlab_count(obj->vm, discard_pages, bitmap_weight(d.locked, VMLAB_LEAF_SLOTS));
	vmlab_discard_locked(obj, leaf, &d);
	for_each_set_bit(i, d.busy, VMLAB_LEAF_SLOTS)
		if (!vmlab_discard_one(obj, (index << VMLAB_LEAF_SHIFT) + i, reserved, &d.pinned))
			return false;
	vmlab_leaf_reap(obj, index);
	*pinned += d.pinned;
	return true;
}

/* Leaves a leaf to its other owners; nothing of it is mapped when it goes. */
static int vmlab_discard_shared(struct vmlab_object *obj, u64 index)
{
	u64 first = index << VMLAB_LEAF_SHIFT;
	struct vmlab_leaf *leaf;
	int err = vmlab_leaf_freeze(obj, first, VMLAB_FREEZE_SHARED, true, &leaf);

	if (err || !leaf)
		return err;
	/* Frozen: nothing of it is mapped anew before the object has left it. */
	vmlab_rmap_unmap_object(obj, first, first + VMLAB_LEAF_SLOTS - 1);
	if (vmlab_leaf_detach(obj, index))
		vmlab_count(obj->vm, discard_pages, leaf->nr_present + leaf->nr_swapped);
	vmlab_leaf_thaw(leaf);
	return 0;
}

static int vmlab_discard_leaf(struct vmlab_object *obj, u64 index, unsigned int from,
			      unsigned int to, u64 *pinned)
{
	bool whole = !from && to == VMLAB_LEAF_SLOTS - 1;
	u64 pgoff = index << VMLAB_LEAF_SHIFT;
	int err = 0;

	while (!err && vmlab_object_has_leaf(obj, index)) {
		if (vmlab_discard_own(obj, index, from, to, false, pinned))
			return 0;
		/* Pins go with the leaf that their object keeps, and are told of one by one. */
		if (whole && !atomic_long_read(&obj->nr_pinned))
			err = vmlab_discard_shared(obj, index);
		else
			err = vmlab_leaf_unshare(obj, pgoff, VMLAB_ALLOC_NO_OOM);
	}
	return vmlab_call_error(err);
}

/* The part of a leaf that lies in a range of pages. */
static void vmlab_range_clip(u64 index, u64 first, u64 last, unsigned int *from,
			     unsigned int *to)
{
	u64 base = index << VMLAB_LEAF_SHIFT;

	*from = first > base ? first - base : 0;
	*to = min_t(u64, last - base, VMLAB_LEAF_SLOTS - 1);
}

/* Finds the next leaf of a range; false at its end. */
static bool vmlab_range_next_leaf(struct vmlab_object *obj, u64 *index, u64 last)
{
	bool found;

	rcu_read_lock();
	found = vmlab_leaf_next(obj, index, last >> VMLAB_LEAF_SHIFT);
	rcu_read_unlock();
	return found;
}

typedef int (*vmlab_range_leaf_fn)(struct vmlab_object *obj, u64 index, unsigned int from,
				   unsigned int to, u64 *done);

/* Calls @fn for the leaves of a range, each in an activity section of its own. */
static int vmlab_range_leaves(struct vmlab_object *obj, u64 first, u64 nr,
			      vmlab_range_leaf_fn fn, u64 *done)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, last = first + nr - 1;
	unsigned int from, to;
	int err;

	for (; nr && vmlab_range_next_leaf(obj, &index, last); index++) {
		vmlab_range_clip(index, first, last, &from, &to);
		percpu_down_read(&obj->vm->activity);
		err = fn(obj, index, from, to, done);
		percpu_up_read(&obj->vm->activity);
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

static int vmlab_discard_killable(struct vmlab_object *obj, u64 index, unsigned int from,
				  unsigned int to, u64 *pinned)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	return vmlab_discard_leaf(obj, index, from, to, pinned);
}

static int vmlab_clear_leaf(struct vmlab_object *obj, u64 index, unsigned int from,
			    unsigned int to, u64 *pinned)
{
	while (vmlab_object_has_leaf(obj, index))
		if (vmlab_leaf_detach(obj, index) ||
		    vmlab_discard_own(obj, index, from, to, true, pinned))
			break;
	return 0;
}

/* Takes the marks of the zero page from some whole 2 MiB, and the zero page itself. */
static int vmlab_forget_zero(struct vmlab_object *obj, u64 index, u64 end, bool killable)
{
	unsigned long number = 1;
	unsigned int nr;

	while (number && index < end) {
		if (killable && fatal_signal_pending(current))
			return -EINTR;
		percpu_down_read(&obj->vm->activity);
		number = vmlab_marks_fade(obj, &index, end - 1, &nr);
		if (number) {
			vmlab_rmap_unmap_object(obj, index << VMLAB_LEAF_SHIFT,
						((index + nr) << VMLAB_LEAF_SHIFT) - 1);
			vmlab_marks_erase(obj, index, nr, number);
		}
		percpu_up_read(&obj->vm->activity);
		index += nr;
		cond_resched();
	}
	return 0;
}

/**
 * vmlab_range_forget_zero() - nobody maps a range any more: forget where zeros were read
 * @obj: the object
 * @first: first page
 * @nr: pages, at least 1
 * @but: the VMA that ends, which does not count; or NULL
 *
 * Marks of 2 MiB that the object's VMAs still map some of stay.
 *
 * Context: as vmlab_range_unmapped().
 */
void vmlab_range_forget_zero(struct vmlab_object *obj, u64 first, u64 nr,
			     struct vm_area_struct *but)
{
	u64 index = first >> VMLAB_LEAF_SHIFT;
	u64 end = ((first + nr - 1) >> VMLAB_LEAF_SHIFT) + 1;

	if (!vmlab_has_zero_marks(obj))
		return;
	/* Only the first and the last can be mapped still. */
	if (vmlab_rmap_covered(obj, index << VMLAB_LEAF_SHIFT,
			       (index << VMLAB_LEAF_SHIFT) + VMLAB_LEAF_SLOTS - 1, but))
		index++;
	if (index < end && vmlab_rmap_covered(obj, (end - 1) << VMLAB_LEAF_SHIFT,
					      (end << VMLAB_LEAF_SHIFT) - 1, but))
		end--;
	vmlab_forget_zero(obj, index, end, false);
}

/**
 * vmlab_range_forget() - forget where zeros were read in whole 2 MiB
 * @obj: the object
 * @first: first page, of the first of them
 * @nr: pages
 *
 * Nobody maps the zero page there any more, until he loads again.
 *
 * Context: sleeps; no locks.
 */
void vmlab_range_forget(struct vmlab_object *obj, u64 first, u64 nr)
{
	vmlab_forget_zero(obj, first >> VMLAB_LEAF_SHIFT, (first + nr) >> VMLAB_LEAF_SHIFT, false);
}

/**
 * vmlab_range_clear() - free all that an object has, at its end
 * @obj: the object; nobody maps it, nothing is pinned
 *
 * Context: as vmlab_range_discard(), but no signal ends it.
 */
void vmlab_range_clear(struct vmlab_object *obj)
{
	u64 pinned = 0;

	vmlab_range_leaves(obj, 0, VMLAB_OBJECT_PAGES, vmlab_clear_leaf, &pinned);
	vmlab_forget_zero(obj, 0, VMLAB_OBJECT_PAGES >> VMLAB_LEAF_SHIFT, false);
}

static int vmlab_range_unpin_fn(struct vmlab_object *obj, u64 index, unsigned int from,
				unsigned int to, u64 *done)
{
	u64 base = index << VMLAB_LEAF_SHIFT;
	struct vmlab_slot slot;
	unsigned int i;

	for (i = from; i <= to && atomic_long_read(&obj->nr_pinned); i++) {
		if (vmlab_slot_lock(obj, base + i, VMLAB_SLOT_WAIT, &slot))
			break;
		if ((slot.word & VMLAB_SLOT_PINNED) &&
		    READ_ONCE(slot.leaf->pinner) == obj->id) {
			slot.word &= ~VMLAB_SLOT_PINNED;
			atomic_long_dec(&obj->nr_pinned);
			vmlab_lock_uncharge(obj->pin_user, 1);
		}
		vmlab_slot_unlock(&slot);
	}
	return 0;
}

/* Of a leaf that is shared, and of which a part is mapped no more. */
static int vmlab_unmapped_leaf(struct vmlab_object *obj, u64 index, unsigned int from,
			       unsigned int to, struct vm_area_struct *but)
{
	u64 base = index << VMLAB_LEAF_SHIFT, pinned = 0;
	bool covered = vmlab_rmap_covered(obj, base, base + VMLAB_LEAF_SLOTS - 1, but);

	/*
	 * A copy has whole leaves, also what it never mapped of them.  What another VMA had
	 * pinned, which is unmapped already but not closed yet, must not be left to others.
	 */
	if (!covered) {
		from = 0;
		to = VMLAB_LEAF_SLOTS - 1;
		vmlab_range_unpin_fn(obj, index, from, to, NULL);
	}
	while (vmlab_object_has_leaf(obj, index)) {
		if (vmlab_discard_own(obj, index, from, to, !covered, &pinned))
			break;
		if (!covered) {
			if (vmlab_leaf_detach(obj, index))
				break;
		} else if (vmlab_leaf_unshare(obj, base, VMLAB_ALLOC_NO_OOM)) {
			/* What its owners share stays until the last of them goes. */
			break;
		}
	}
	return 0;
}

/**
 * vmlab_range_unmapped() - free what no VMA of a private object maps any more
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @but: the VMA that ends, which does not count
 *
 * Where it would take memory that cannot be had, something may stay for a while: a leaf
 * that is shared with another object and that another mapping needs a part of.
 *
 * Context: mmap_lock of its address space held for write, or that ends; sleeps.
 */
void vmlab_range_unmapped(struct vmlab_object *obj, u64 first, u64 nr,
			  struct vm_area_struct *but)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, last = first + nr - 1, done;
	unsigned int from, to;

	vmlab_range_unpin(obj, first, nr, &done);
	for (; vmlab_range_next_leaf(obj, &index, last); index++) {
		vmlab_range_clip(index, first, last, &from, &to);
		percpu_down_read(&obj->vm->activity);
		vmlab_unmapped_leaf(obj, index, from, to, but);
		percpu_up_read(&obj->vm->activity);
		cond_resched();
	}
	vmlab_range_forget_zero(obj, first, nr, but);
}

/**
 * vmlab_range_discard() - make a range a hole
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages dealt with
 *
 * Context: sleeps, also for I/O under way on the pages; no locks, but mmap_lock may be held.
 * Return: 0, -EBUSY when pinned pages stayed, or -EINTR on a fatal signal.
 */
int vmlab_range_discard(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	u64 pinned = 0;

	int err = vmlab_range_leaves(obj, first, nr, vmlab_discard_killable, &pinned);

	if (!err && nr)
		err = vmlab_forget_zero(obj, round_up(first, VMLAB_LEAF_SLOTS) >> VMLAB_LEAF_SHIFT,
					(first + nr) >> VMLAB_LEAF_SHIFT, true);
	*done = err ? 0 : nr - pinned;
	return err ? : pinned ? -EBUSY : 0;
}

/*
 * After I/O: who wants the world to stand still, and everybody behind him, should not
 * wait for that of a whole leaf.  No slot is locked.
 */
static void vmlab_range_breathe(struct vmlab_object *obj)
{
	percpu_up_read(&obj->vm->activity);
	cond_resched();
	percpu_down_read(&obj->vm->activity);
}

/*
 * Evicts one batch of a leaf's pages from @from on, and moves that: how many.  The batch may
 * be one of the last in reserve: it is not kept where vm->activity is let go.
 */
static unsigned int vmlab_range_pageout_batch(struct vmlab_object *obj, u64 index,
					      unsigned int *from, unsigned int to)
{
	struct vmlab_batch *batch = vmlab_batch_alloc(obj->vm, to - *from + 1);
	unsigned int evicted = 0;
	struct vmlab_slot slot;

	for (; *from <= to && batch->nr < batch->max; ++*from) {
		if (vmlab_slot_trylock(obj, (index << VMLAB_LEAF_SHIFT) + *from, &slot))
			continue;
		if (!vmlab_evict_add_slot(batch, obj->lineage, &slot))
			vmlab_slot_unlock(&slot);
	}
	if (batch->nr)
		evicted = vmlab_evict(obj->vm, batch);
	vmlab_batch_free(obj->vm, batch);
	return evicted;
}

static int vmlab_range_pageout_fn(struct vmlab_object *obj, u64 index, unsigned int from,
				  unsigned int to, u64 *done)
{
	unsigned int evicted;

	while (from <= to) {
		evicted = vmlab_range_pageout_batch(obj, index, &from, to);
		vmlab_count(obj->vm, pageout_pages, evicted);
		*done += evicted;
		if (from <= to)
			vmlab_range_breathe(obj);
	}
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/**
 * vmlab_range_pageout() - evict what can be evicted of a range
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages evicted
 *
 * Context: sleeps for I/O; no locks.
 * Return: 0, or -EINTR on a fatal signal.
 */
int vmlab_range_pageout(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	*done = 0;
	return vmlab_range_leaves(obj, first, nr, vmlab_range_pageout_fn, done);
}

/* Pages from @pgoff to the end of the range that one read may bring. */
static unsigned int vmlab_range_ahead(u64 pgoff, u64 end)
{
	return min_t(u64, end - pgoff, VMLAB_RANGE_READ) - 1;
}

/**
 * vmlab_range_populate() - give every page of a range a frame
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages that have one, from the start on
 *
 * Context: sleeps, reclaims, reads swap; no locks, but mmap_lock may be held for read.
 * Return: 0, -ENOMEM, -EIO, or -EINTR on a fatal signal.
 */
int vmlab_range_populate(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	struct vmlab_slot slot;
	u64 i;
	int err;

	for (i = 0, *done = 0; i < nr; i++, ++*done) {
		percpu_down_read(&obj->vm->activity);
		err = vmlab_slot_lock_filled(obj, first + i, VMLAB_FILL_CREATE,
					     vmlab_range_ahead(first + i, first + nr), &slot);
		if (!err)
			vmlab_slot_unlock(&slot);
		percpu_up_read(&obj->vm->activity);
		if (err)
			return err;
		vmlab_count(obj->vm, populate_pages, 1);
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/**
 * vmlab_lock_charge() - count pages that are going to stay, as mlock()'s do
 * @obj: the object; its opener's RLIMIT_MEMLOCK they count against
 * @nr: how many
 *
 * Return: 0; -ENOMEM above the caller's limit, -EPERM where that is 0, unless the caller has
 * CAP_IPC_LOCK.
 */
int vmlab_lock_charge(struct vmlab_object *obj, unsigned long nr)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK);
	unsigned long pages = atomic_long_add_return(nr, &obj->pin_user->locked_vm);

	if (limit == RLIM_INFINITY || pages <= limit >> PAGE_SHIFT || capable(CAP_IPC_LOCK))
		return 0;
	vmlab_lock_uncharge(obj->pin_user, nr);
	return limit ? -ENOMEM : -EPERM;
}

/**
 * vmlab_lock_uncharge() - undo vmlab_lock_charge()
 * @user: obj->pin_user
 * @nr: pages
 */
void vmlab_lock_uncharge(struct user_struct *user, unsigned long nr)
{
	atomic_long_sub(nr, &user->locked_vm);
}

/*
 * Pins are of one object: a leaf that others come to own just now is not the place.  The
 * slot is unlocked.
 */
static int vmlab_pin_slot(struct vmlab_object *obj, struct vmlab_slot *slot)
{
	int err = 0;

	if (!(slot->word & VMLAB_SLOT_PINNED))
		err = vmlab_lock_charge(obj, 1);
	if (err) {
		vmlab_slot_unlock(slot);
		return err;
	}
	if (!vmlab_slot_map_begin(slot)) {
		if (!(slot->word & VMLAB_SLOT_PINNED))
			vmlab_lock_uncharge(obj->pin_user, 1);
		err = -EAGAIN;
	} else if (!(slot->word & VMLAB_SLOT_PINNED)) {
		slot->word |= VMLAB_SLOT_PINNED;
		WRITE_ONCE(slot->leaf->pinner, obj->id);
		atomic_long_inc(&obj->nr_pinned);
	}
	vmlab_slot_map_end(slot);
	return err;
}

static int vmlab_pin_one(struct vmlab_object *obj, u64 pgoff, u64 end)
{
	struct vmlab_slot slot;
	int err;

	do {
		err = vmlab_slot_lock_filled(obj, pgoff, VMLAB_FILL_WRITE,
					     vmlab_range_ahead(pgoff, end), &slot);
		if (err)
			return err;
		err = vmlab_pin_slot(obj, &slot);
	} while (err == -EAGAIN);
	return err;
}

/**
 * vmlab_range_pin() - populate a range and keep it from eviction
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages pinned, from the start on; they stay so after an error
 *
 * Context: as vmlab_range_populate().
 * Return: 0; -ENOMEM or -EPERM as mlock(2); -EIO; -EINTR on a fatal signal.
 */
int vmlab_range_pin(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	u64 i;
	int err;

	for (i = 0, *done = 0; i < nr; i++, ++*done) {
		percpu_down_read(&obj->vm->activity);
		err = vmlab_pin_one(obj, first + i, first + nr);
		percpu_up_read(&obj->vm->activity);
		if (err)
			return err;
		vmlab_count(obj->vm, populate_pages, 1);
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/**
 * vmlab_range_unpin() - undo vmlab_range_pin()
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages dealt with
 *
 * Return: 0.
 */
int vmlab_range_unpin(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	*done = nr;
	if (!atomic_long_read(&obj->nr_pinned))
		return 0;
	return vmlab_range_leaves(obj, first, nr, vmlab_range_unpin_fn, NULL);
}

/**
 * vmlab_leaf_bring() - bring back what a part of a leaf has on swap
 * @obj: the object
 * @index: which 2 MiB
 * @from: first slot
 * @to: last slot
 *
 * Context: as vmlab_slot_lock_present(), but vm->activity is let go for a moment now and then.
 * Return: 0; -ENOMEM; -EIO; -EINTR on a fatal signal.
 */
int vmlab_leaf_bring(struct vmlab_object *obj, u64 index, unsigned int from, unsigned int to)
{
	u64 base = index << VMLAB_LEAF_SHIFT;
	struct vmlab_slot slot;
	unsigned int i;
	int err;

	for (i = from; i <= to; i++) {
		err = vmlab_slot_lock_filled(obj, base + i, VMLAB_FILL_READ,
					     vmlab_range_ahead(base + i, base + to + 1), &slot);
		if (!err)
			vmlab_slot_unlock(&slot);
		else if (err != -ENOENT)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (!err)
			vmlab_range_breathe(obj);
	}
	return 0;
}

static int vmlab_range_willneed_fn(struct vmlab_object *obj, u64 index, unsigned int from,
				   unsigned int to, u64 *done)
{
	return vmlab_leaf_bring(obj, index, from, to);
}

/**
 * vmlab_range_willneed() - bring back what a range has on swap
 * @obj: the object
 * @first: first page
 * @nr: pages
 *
 * Advice: what cannot be had is left, without an error.
 *
 * Context: as vmlab_range_populate().
 * Return: 0, or -EINTR on a fatal signal.
 */
int vmlab_range_willneed(struct vmlab_object *obj, u64 first, u64 nr)
{
	int err = vmlab_range_leaves(obj, first, nr, vmlab_range_willneed_fn, NULL);

	return err == -EINTR ? err : 0;
}
