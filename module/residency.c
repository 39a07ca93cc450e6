// SPDX-License-Identifier: GPL-2.0
/*
 * What an object's pages are: RESIDENCY, and lseek()'s SEEK_DATA and SEEK_HOLE.
 *
 * Owns no state and changes none: accessed bits are read, not cleared.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vmlab.h"

/* What one leaf's worth of answers needs. */
struct vmlab_residency {
	u32			words[VMLAB_LEAF_SLOTS];
	struct vmlab_frame	*frames[VMLAB_LEAF_SLOTS];
	u16			slots[VMLAB_LEAF_SLOTS];	/* of each of @frames */
	unsigned int		nr_frames;
	DECLARE_BITMAP(young, VMLAB_LEAF_SLOTS);
};

/* A leaf's pins are of one of its owners: for the others its pages are not pinned. */
static u32 vmlab_residency_word(unsigned long word, bool shared, bool pins)
{
	struct vmlab_frame *frame;
	u32 res;

	if (vmlab_word_is_swap(word))
		return VMLAB_RES_SWAPPED;
	if (!vmlab_word_is_frame(word))
		return 0;
	frame = vmlab_word_frame(word);
	res = VMLAB_RES_RESIDENT | (u32)vmlab_frame_nid(frame) << VMLAB_RES_NODE_SHIFT;
	if (vmlab_frame_seems_dirty(frame))
		res |= VMLAB_RES_DIRTY;
	if (READ_ONCE(frame->accessed))
		res |= VMLAB_RES_ACCESSED;
	if (shared || atomic_read(&frame->refs) > 1)
		res |= VMLAB_RES_SHARED;
	if (READ_ONCE(frame->chunk->reserved))
		res |= VMLAB_RES_RESERVED;
	if (pins && (word & VMLAB_SLOT_PINNED))
		res |= VMLAB_RES_PINNED;
	return res;
}

/* False: the object has got another leaf meanwhile, with its pins. */
static bool vmlab_residency_slots(struct vmlab_object *obj, u64 index, unsigned int from,
				  unsigned int nr, struct vmlab_residency *r)
{
	struct vmlab_leaf *leaf;
	bool current_leaf = true;
	unsigned int i;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		current_leaf = !leaf->dead && vmlab_leaf_is_of(obj, leaf);
		for (i = 0; current_leaf && i < nr; i++) {
			unsigned long word = leaf->words[from + i];

			r->words[i] = vmlab_residency_word(word, leaf->owners > 1,
							   leaf->pinner == obj->id);
			if (leaf->huge)
				r->words[i] |= VMLAB_RES_HUGE;
			if (vmlab_word_is_frame(word)) {
				r->slots[r->nr_frames] = i;
				r->frames[r->nr_frames++] = vmlab_word_frame(word);
			}
		}
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return current_leaf;
}

static void vmlab_residency_leaf(struct vmlab_object *obj, u64 index, unsigned int from,
				 unsigned int nr, struct vmlab_residency *r)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	percpu_down_read(&obj->vm->activity);
	while (!vmlab_residency_slots(obj, index, from, nr, r))
		;
	if (r->nr_frames)
		vmlab_rmap_young(obj->lineage, index, r->frames, r->nr_frames, r->young, false);
	for_each_set_bit(i, r->young, r->nr_frames)
		r->words[r->slots[i]] |= VMLAB_RES_ACCESSED;
	percpu_up_read(&obj->vm->activity);
}

/**
 * vmlab_residency() - tell where each page of a range is
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @vec: user memory for one u32 a page
 *
 * Context: sleeps; no locks.
 * Return: 0, -EFAULT, -ENOMEM, or -EINTR on a fatal signal.
 */
int vmlab_residency(struct vmlab_object *obj, u64 first, u64 nr, u32 __user *vec)
{
	struct vmlab_residency *r;
	int err = 0;

	if (!nr)
		return 0;
	r = vmlab_should_fail(obj->vm, VMLAB_INJECT_call) ? NULL :
	    kvmalloc(sizeof(*r), GFP_KERNEL);
	if (!r)
		return -ENOMEM;
	while (nr && !err) {
		unsigned int from = first & (VMLAB_LEAF_SLOTS - 1);
		unsigned int n = min_t(u64, nr, VMLAB_LEAF_SLOTS - from);

		vmlab_residency_leaf(obj, first >> VMLAB_LEAF_SHIFT, from, n, r);
		if (copy_to_user(vec, r->words, n * sizeof(*vec)))
			err = -EFAULT;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		first += n;
		nr -= n;
		vec += n;
		cond_resched();
	}
	kvfree(r);
	return err;
}

/* First slot of a leaf from @from on that is, or is not, a hole; 512 if there is none. */
static unsigned int vmlab_leaf_seek(struct vmlab_leaf *leaf, unsigned int from, bool data)
{
	unsigned int i = from;

	spin_lock(&leaf->lock);
	if (leaf->dead)
		i = data ? VMLAB_LEAF_SLOTS : from;
	else
		while (i < VMLAB_LEAF_SLOTS && vmlab_word_is_empty(leaf->words[i]) == data)
			i++;
	spin_unlock(&leaf->lock);
	return i;
}

/* First page from @pgoff on that is no hole; VMLAB_OBJECT_PAGES: there is none. */
static u64 vmlab_next_data(struct vmlab_object *obj, u64 pgoff)
{
	u64 index = pgoff >> VMLAB_LEAF_SHIFT, begin = index;
	unsigned int from = pgoff & (VMLAB_LEAF_SLOTS - 1), i = VMLAB_LEAF_SLOTS;
	struct vmlab_leaf *leaf;

	for (;; index++) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(obj, &index, ULONG_MAX);
		if (leaf)
			i = vmlab_leaf_seek(leaf, index == begin ? from : 0, true);
		rcu_read_unlock();
		if (!leaf)
			return VMLAB_OBJECT_PAGES;
		if (i < VMLAB_LEAF_SLOTS)
			return (index << VMLAB_LEAF_SHIFT) + i;
		cond_resched();
	}
}

/**
 * vmlab_range_is_hole() - is there no page in a range?
 * @obj: the object
 * @first: first page
 * @nr: pages
 *
 * Context: may sleep; vm->activity held for read.
 */
bool vmlab_range_is_hole(struct vmlab_object *obj, u64 first, u64 nr)
{
	return vmlab_next_data(obj, first) >= first + nr;
}

/* A position that was found: the start of a page, but never before where it began. */
static loff_t vmlab_seek_result(loff_t offset, u64 pgoff)
{
	return max_t(loff_t, offset, pgoff << PAGE_SHIFT);
}

/**
 * vmlab_seek_data() - lseek(SEEK_DATA)
 * @obj: the object
 * @offset: where to begin, within the object
 *
 * Pages on swap are data; so is a page once stored to, even if it is all zero.
 *
 * Context: sleeps; no locks.
 * Return: the position, or -ENXIO when only a hole follows.
 */
loff_t vmlab_seek_data(struct vmlab_object *obj, loff_t offset)
{
	u64 pgoff;

	percpu_down_read(&obj->vm->activity);
	pgoff = vmlab_next_data(obj, offset >> PAGE_SHIFT);
	percpu_up_read(&obj->vm->activity);
	return pgoff == VMLAB_OBJECT_PAGES ? -ENXIO : vmlab_seek_result(offset, pgoff);
}

/**
 * vmlab_seek_hole() - lseek(SEEK_HOLE)
 * @obj: the object
 * @offset: where to begin, within the object
 *
 * Context: sleeps; no locks.
 * Return: the position; the object's end is a hole.
 */
loff_t vmlab_seek_hole(struct vmlab_object *obj, loff_t offset)
{
	u64 pgoff = offset >> PAGE_SHIFT;
	struct vmlab_leaf *leaf;
	unsigned int from, i;

	while (pgoff < VMLAB_OBJECT_PAGES) {
		from = pgoff & (VMLAB_LEAF_SLOTS - 1);
		percpu_down_read(&obj->vm->activity);
		rcu_read_lock();
		leaf = vmlab_leaf_lookup(obj, pgoff);
		i = leaf ? vmlab_leaf_seek(leaf, from, false) : from;
		rcu_read_unlock();
		percpu_up_read(&obj->vm->activity);
		pgoff += i - from;
		if (i < VMLAB_LEAF_SLOTS)
			break;
		cond_resched();
	}
	return vmlab_seek_result(offset, pgoff);
}
