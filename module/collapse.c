// SPDX-License-Identifier: GPL-2.0
/*
 * Moves the pages of 2 MiB into one chunk, so that one entry can map them: what khugepaged
 * and MADV_COLLAPSE do for the memory of Linux (mm/khugepaged.c); and the way back.
 *
 * Owns the order in which that is safe.  The chunk is there first.  Then the leaf is frozen,
 * so that none of its slots can be locked and nothing of it be mapped; its pages are unmapped
 * and flushed; copied; named, all at once; and only then are the old frames let go.  A clone
 * may come at any time, and finds either all of the old frames or all of the new.
 *
 * It must never evict for the sake of a chunk: a huge page is not worth that.
 */
#include <linux/highmem.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "trace.h"
#include "vmlab.h"

/**
 * struct vmlab_collapse - 2 MiB on their way
 * @chunk:	where they go; its frames are INFLIGHT
 * @zeroed:	it was all zero
 * @move:	from another chunk, not from pages of 4 KiB
 * @extra:	frames charged beyond those that the pages had already
 * @copied:	pages that were there
 * @alone:	those that had no other name then: their charge is the new ones'
 * @old:	the leaf's words as they were
 * @new:	as they will be
 */
struct vmlab_collapse {
	struct vmlab_chunk	*chunk;
	bool			zeroed;
	bool			move;
	unsigned int		extra;
	unsigned int		copied;
	DECLARE_BITMAP(alone, VMLAB_LEAF_SLOTS);
	unsigned long		old[VMLAB_LEAF_SLOTS];
	unsigned long		new[VMLAB_LEAF_SLOTS];
};

/* What a leaf has in it. */
struct vmlab_leaf_census {
	unsigned int	none;
	unsigned int	shared;
	unsigned int	swapped;
	unsigned int	pinned;
	u16		on_node[VMLAB_NODES_MAX];
};

/*
 * The node that more than half of the pages are on.  Where there is none, they are spread: then
 * huge pages take turns on the nodes that have no less than their share.
 */
static int vmlab_census_node(const struct vmlab_leaf_census *census, u64 index)
{
	unsigned int present = VMLAB_LEAF_SLOTS - census->none - census->swapped, nr = 0;
	unsigned long nodes = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (2 * census->on_node[nid] > present)
			return nid;
		nr += !!census->on_node[nid];
	}
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (census->on_node[nid] && 2 * nr * census->on_node[nid] >= present)
			nodes |= BIT(nid);
	if (!nodes)
		return NUMA_NO_NODE;
	for (index %= hweight_long(nodes); index; index--)
		nodes &= nodes - 1;
	return __ffs(nodes);
}

/* And where the pages' memory policy wants the huge page. */
static int vmlab_collapse_node(struct vmlab_object *obj, u64 index,
			       const struct vmlab_leaf_census *census)
{
	struct vmlab_place place = vmlab_place_huge(obj, index);
	int nid = vmlab_census_node(census, index);

	if (nid == NUMA_NO_NODE || place.spread || !vmlab_place_allows(place, nid))
		return place.nid;
	return nid;
}

static void vmlab_leaf_count(struct vmlab_leaf *leaf, struct vmlab_leaf_census *census)
{
	unsigned int i;

	memset(census, 0, sizeof(*census));
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = leaf->words[i];

		census->pinned += !!(word & VMLAB_SLOT_PINNED);
		if (vmlab_word_is_swap(word)) {
			census->swapped++;
		} else if (vmlab_word_is_frame(word)) {
			census->shared += atomic_read(&vmlab_word_frame(word)->refs) > 1;
			census->on_node[vmlab_frame_nid(vmlab_word_frame(word))]++;
		} else {
			census->none++;
		}
	}
}

/* leaf->lock held.  May this become a huge page?  Says on which node. */
static int vmlab_collapse_judge(struct vmlab_object *obj, struct vmlab_leaf *leaf,
				const struct vmlab_collapse_rules *rules, int *nid,
				bool *swapped)
{
	struct vmlab_leaf_census census;

	if (leaf->huge && !rules->copy && !rules->move)
		return -EEXIST;
	if (rules->move && !leaf->huge)
		return -EAGAIN;
	if (leaf->owners > 1)
		return -EBUSY;
	vmlab_leaf_count(leaf, &census);
	if (rules->copy && (!leaf->huge || !census.shared))
		return -EEXIST;
	if (census.pinned)
		return -EBUSY;
	if (census.none == VMLAB_LEAF_SLOTS)
		return -EINVAL;
	if (census.none > rules->max_none || census.shared > rules->max_shared ||
	    census.swapped > rules->max_swapped)
		return -EAGAIN;
	*swapped = census.swapped;
	*nid = rules->move ? rules->nid : vmlab_collapse_node(obj, leaf->index, &census);
	return rules->nid != NUMA_NO_NODE && rules->nid != *nid ? -EAGAIN : 0;
}

static int vmlab_collapse_look(struct vmlab_object *obj, u64 index,
			       const struct vmlab_collapse_rules *rules, int *nid,
			       bool *swapped)
{
	struct vmlab_leaf *leaf;
	int err = -EINVAL;

	if (!vmlab_mpol_is_one(obj, index, 1))
		return -EBUSY;
	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		if (!leaf->dead && vmlab_leaf_is_of(obj, leaf))
			err = vmlab_collapse_judge(obj, leaf, rules, nid, swapped);
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return err;
}

/* The leaf is frozen: what it has now it keeps. */
static int vmlab_collapse_begin(struct vmlab_leaf *leaf, struct vmlab_collapse *c)
{
	struct vmlab_leaf_census census;
	unsigned int i;

	vmlab_leaf_count(leaf, &census);
	/* Collapsed, pinned, evicted or discarded by others since it was looked at. */
	if ((leaf->huge ? !census.shared != c->move : c->move) || census.pinned || census.swapped ||
	    census.none == VMLAB_LEAF_SLOTS)
		return -EAGAIN;
	if (c->move && vmlab_word_is_reserved(leaf->words[0]))
		return -EBUSY;
	memcpy(c->old, leaf->words, sizeof(c->old));
	bitmap_zero(c->alone, VMLAB_LEAF_SLOTS);
	/* References do not rise, but those of others may go at any time. */
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++)
		if (vmlab_word_is_frame(c->old[i]) &&
		    atomic_read(&vmlab_word_frame(c->old[i])->refs) == 1)
			__set_bit(i, c->alone);
	c->copied = VMLAB_LEAF_SLOTS - census.none;
	c->extra = VMLAB_LEAF_SLOTS - bitmap_weight(c->alone, VMLAB_LEAF_SLOTS);
	return vmlab_lineage_charge(leaf->lineage, c->extra) ? 0 : -ENOSPC;
}

/**
 * vmlab_leaf_unmap() - unmap all of a leaf, everywhere, and flush
 * @leaf: frozen
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_leaf_unmap(struct vmlab_leaf *leaf)
{
	DECLARE_BITMAP(all, VMLAB_LEAF_SLOTS);
	struct vmlab_tlb tlb;

	bitmap_fill(all, VMLAB_LEAF_SLOTS);
	vmlab_tlb_begin(&tlb, leaf->lineage);
	vmlab_tlb_unmap(&tlb, leaf, all, NULL);
	vmlab_tlb_end(&tlb);
}

/* The old frame is this leaf's alone: the new one takes its place on swap, too. */
static void vmlab_collapse_inherit(struct vmlab *vm, struct vmlab_frame *from,
				   struct vmlab_frame *to)
{
	to->flags = from->flags & VMLAB_FRAME_DIRTY;
	to->swap = from->swap;
	from->swap = 0;
	if (to->swap)
		WRITE_ONCE(vmlab_swap_slot(vm, to->swap)->frame, to);
}

static void vmlab_collapse_copy(struct vmlab_leaf *leaf, struct vmlab_collapse *c)
{
	u64 pgoff = leaf->index << VMLAB_LEAF_SHIFT;
	unsigned int i;

	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		struct vmlab_frame *to = &c->chunk->frames[i], *from = NULL;

		if (vmlab_word_is_frame(c->old[i]))
			from = vmlab_word_frame(c->old[i]);
		if (from)
			copy_page(vmlab_frame_addr(to), vmlab_frame_addr(from));
		else if (!c->zeroed)
			clear_page(vmlab_frame_addr(to));
		to->flags = VMLAB_FRAME_DIRTY;
		to->swap = 0;
		if (from && atomic_read(&from->refs) == 1)
			vmlab_collapse_inherit(leaf->lineage->vm, from, to);
		vmlab_frame_commit(to, leaf->lineage, pgoff + i);
		/* Its accessed bit went with the PTE. */
		WRITE_ONCE(to->accessed, !!from);
		c->new[i] = vmlab_frame_word(to);
		if (!(i % 64))
			cond_resched();
	}
}

/* Nothing names the old frames for this leaf any more. */
static void vmlab_collapse_free_old(struct vmlab_lineage *lineage, struct vmlab_collapse *c)
{
	unsigned int i;

	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		struct vmlab_frame *frame = vmlab_word_frame(c->old[i]);

		if (!vmlab_word_is_frame(c->old[i]) || !atomic_dec_and_test(&frame->refs))
			continue;
		vmlab_frame_dirty(lineage->vm, frame);
		vmlab_frame_retire(frame);
		vmlab_frame_free(frame);
		if (!test_bit(i, c->alone))
			vmlab_lineage_uncharge(lineage, 1);
	}
}

/* @leaf is frozen, and thawed on return. */
static int vmlab_collapse_frozen(struct vmlab_leaf *leaf, struct vmlab_collapse *c)
{
	struct vmlab_lineage *lineage = leaf->lineage;
	u64 index = leaf->index;
	int err = vmlab_collapse_begin(leaf, c);

	if (err) {
		vmlab_leaf_thaw(leaf);
		return err;
	}
	vmlab_leaf_unmap(leaf);
	vmlab_collapse_copy(leaf, c);
	vmlab_leaf_exchange(leaf, c->new);
	vmlab_leaf_thaw(leaf);
	vmlab_collapse_free_old(lineage, c);
	if (c->move)
		return 0;
	vmlab_count(lineage->vm, thp_collapse_alloc, 1);
	trace_promote(lineage->id, index, c->chunk->pool->nid, c->copied);
	return 0;
}

static int vmlab_collapse_take(struct vmlab_object *obj, int nid, struct vmlab_collapse *c)
{
	struct vmlab_pool *pool = vmlab_place_pool(obj->vm, vmlab_place_near(nid));

	c->chunk = pool ? vmlab_chunk_take_whole(pool, vmlab_high_watermark(pool), false,
						 &c->zeroed) : NULL;
	if (!c->chunk)
		return -ENOSPC;
	vmlab_numa_count_hit(pool, VMLAB_CHUNK_FRAMES);
	return 0;
}

/**
 * vmlab_collapse() - make a huge page of 2 MiB of an object
 * @obj: the object
 * @index: which 2 MiB
 * @rules: what may be made one
 *
 * How it is mapped is another matter: see vmlab_retire_tables().
 *
 * Context: sleeps; no slot locked; vm->activity held for read, and let go for a moment now and
 * then while pages are read from swap.
 * Return: 0; -EEXIST: it is one already; -EINVAL: there is no page; -EBUSY: pinned, in a leaf of
 * several objects, or a memory policy goes for a part of it only; -EAGAIN: @rules, or others were
 * at work on it; -ENOSPC: no free chunk, or the limit; -ENOMEM; -EIO; -EINTR on a fatal signal.
 */
int vmlab_collapse(struct vmlab_object *obj, u64 index, const struct vmlab_collapse_rules *rules)
{
	struct vmlab_collapse *c;
	struct vmlab_leaf *leaf;
	bool swapped = false;
	int nid, err;

	err = vmlab_collapse_look(obj, index, rules, &nid, &swapped);
	/* What is evicted again meanwhile ends the attempt later. */
	if (!err && swapped)
		err = vmlab_leaf_bring(obj, index, 0, VMLAB_LEAF_SLOTS - 1);
	if (err)
		return err;
	c = vmlab_should_fail(obj->vm, VMLAB_INJECT_call) ? NULL :
	    kmalloc(sizeof(*c), GFP_KERNEL);
	if (c)
		c->move = rules->move;
	err = c ? vmlab_collapse_take(obj, nid, c) : -ENOMEM;
	if (err)
		goto out;
	err = vmlab_leaf_freeze(obj, index << VMLAB_LEAF_SHIFT, VMLAB_FREEZE_OWN, true, &leaf);
	if (!err)
		err = leaf ? vmlab_collapse_frozen(leaf, c) : -EAGAIN;
	if (err)
		vmlab_chunk_put_whole(c->chunk, c->zeroed);
out:
	kfree(c);
	if (err && !rules->move)
		vmlab_count(obj->vm, thp_collapse_fail, 1);
	return err;
}

#define VMLAB_COLLAPSE_TRIES	8

/* What a call says; others may have been at work on the pages for a moment. */
static int vmlab_collapse_call(struct vmlab_object *obj, u64 index)
{
	const struct vmlab_collapse_rules all = {
		.max_none = VMLAB_LEAF_SLOTS, .max_shared = VMLAB_LEAF_SLOTS,
		.max_swapped = VMLAB_LEAF_SLOTS, .nid = NUMA_NO_NODE,
	};
	unsigned int tries = VMLAB_COLLAPSE_TRIES;
	int err;

	do {
		percpu_down_read(&obj->vm->activity);
		err = vmlab_collapse(obj, index, &all);
		percpu_up_read(&obj->vm->activity);
	} while (err == -EAGAIN && --tries);
	switch (err) {
	case -EEXIST:
		return 0;
	case -EAGAIN:
		return -EBUSY;
	case -ENOSPC:
		return -ENOMEM;
	default:
		return err;
	}
}

/**
 * vmlab_range_is_of_chunks() - is a range made of whole 2 MiB of its object?
 * @first: first page
 * @nr: pages
 */
bool vmlab_range_is_of_chunks(u64 first, u64 nr)
{
	return IS_ALIGNED(first, VMLAB_LEAF_SLOTS) && IS_ALIGNED(nr, VMLAB_LEAF_SLOTS);
}

/**
 * vmlab_range_collapse() - make huge pages of a range
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages that are in huge ones, from the start on
 *
 * Context: sleeps; no locks.
 * Return: 0; -EINVAL: not of whole 2 MiB, or no page is there; -EBUSY, -ENOMEM, -EIO; -EINTR
 * on a fatal signal.
 */
int vmlab_range_collapse(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	int err;

	*done = 0;
	if (!vmlab_range_is_of_chunks(first, nr))
		return -EINVAL;
	for (; nr; nr -= VMLAB_LEAF_SLOTS, first += VMLAB_LEAF_SLOTS) {
		err = vmlab_collapse_call(obj, first >> VMLAB_LEAF_SHIFT);
		if (err)
			return err;
		vmlab_retire_tables(obj, first >> VMLAB_LEAF_SHIFT);
		*done += VMLAB_LEAF_SLOTS;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/**
 * vmlab_leaf_make_small() - make small pages of a huge one
 * @obj: the object
 * @index: which 2 MiB
 * @reserved: also if it is a reserved one
 *
 * Context: sleeps; no slot locked; vm->activity held for read.
 * Return: 0, also when it is none; -EBUSY: it is reserved; -EINTR on a fatal signal.
 */
int vmlab_leaf_make_small(struct vmlab_object *obj, u64 index, bool reserved)
{
	struct vmlab_leaf *leaf;
	int err;

	err = vmlab_leaf_freeze(obj, index << VMLAB_LEAF_SHIFT, VMLAB_FREEZE_ANY, true, &leaf);
	if (err || !leaf)
		return err;
	if (leaf->huge && !reserved && vmlab_word_is_reserved(leaf->words[0])) {
		err = -EBUSY;
	} else if (leaf->huge) {
		vmlab_leaf_unmap(leaf);
		spin_lock(&leaf->lock);
		vmlab_leaf_split(leaf);
		spin_unlock(&leaf->lock);
	}
	vmlab_leaf_thaw(leaf);
	return err;
}

/**
 * vmlab_range_split() - make small pages of huge ones
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: pages dealt with
 *
 * Context: sleeps; no locks.
 * Return: 0; -EBUSY: one is reserved; or -EINTR on a fatal signal.
 */
int vmlab_range_split(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, last = (first + nr - 1) >> VMLAB_LEAF_SHIFT;
	struct vmlab_leaf *leaf;
	int err = 0;

	*done = 0;
	for (; nr && !err; index++) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(obj, &index, last);
		rcu_read_unlock();
		if (!leaf)
			break;
		percpu_down_read(&obj->vm->activity);
		err = vmlab_leaf_make_small(obj, index, false);
		percpu_up_read(&obj->vm->activity);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	if (!err)
		*done = nr;
	return err;
}
