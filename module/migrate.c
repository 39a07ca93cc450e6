// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl(MIGRATE): pages move to other nodes while programs use them.
 *
 * Owns the order in which that is safe, 2 MiB at a time.  The leaf is frozen, so that none of
 * its slots can be locked and nothing of it be mapped; the other slots that name the same
 * frames are locked; then the pages are unmapped, flushed, copied and named anew.  What is in
 * use elsewhere at that moment stays, and is told.  Frames are taken before anything is
 * unmapped.
 *
 * It must never evict from a node that is not asked for, nor move a reserved huge page.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vmlab.h"

/* How often frames are reclaimed, or busy pages asked again, for one leaf. */
#define VMLAB_MIGRATE_TRIES	8

/**
 * struct vmlab_migrate - pages of one leaf on their way
 * @obj:	the object
 * @nodes:	where to: a mask of nodes whose pools have memory
 * @moved:	pages moved so far
 * @short_of:	a frame for this place was wanting
 * @busy:	pages that were in use elsewhere
 * @reserved:	pages of RESERVE
 * @which:	slots whose pages move
 * @shared:	those of them whose frames other leaves name, too
 * @to:		the new frames, by slot
 */
struct vmlab_migrate {
	struct vmlab_object	*obj;
	unsigned long		nodes;
	u64			moved;
	struct vmlab_place	short_of;
	unsigned int		busy;
	unsigned int		reserved;
	DECLARE_BITMAP(which, VMLAB_LEAF_SLOTS);
	DECLARE_BITMAP(shared, VMLAB_LEAF_SLOTS);
	struct vmlab_frame	*to[VMLAB_LEAF_SLOTS];
};

static bool vmlab_migrate_is_there(struct vmlab_migrate *m, struct vmlab_frame *frame)
{
	return m->nodes >> vmlab_frame_nid(frame) & 1;
}

/* The slot of a frozen leaf, which is as good as locked. */
static struct vmlab_slot vmlab_migrate_slot(struct vmlab_leaf *leaf, unsigned int i)
{
	return (struct vmlab_slot){ .leaf = leaf, .index = i, .word = leaf->words[i] };
}

static void vmlab_migrate_unlock(struct vmlab_migrate *m, struct vmlab_leaf *leaf,
				 unsigned int i, struct vmlab_frame *to)
{
	struct vmlab_slot slot = vmlab_migrate_slot(leaf, i);

	if (test_bit(i, m->shared))
		vmlab_siblings_unlock(&slot, vmlab_word_frame(slot.word), vmlab_frame_word(to));
}

/* Locks a page's other slots and takes a frame for it; false: none was to be had. */
static bool vmlab_migrate_choose(struct vmlab_migrate *m, struct vmlab_leaf *leaf,
				 unsigned int i)
{
	struct vmlab_slot slot = vmlab_migrate_slot(leaf, i);
	struct vmlab_frame *from = vmlab_word_frame(slot.word);
	struct vmlab_place place;

	if (!vmlab_word_is_frame(slot.word) || vmlab_migrate_is_there(m, from))
		return true;
	/* A copy of a reserved huge page may be split, but that stays. */
	if (READ_ONCE(from->chunk->reserved)) {
		m->reserved++;
		return true;
	}
	if (atomic_read(&from->refs) > 1) {
		if (!vmlab_siblings_trylock(&slot)) {
			m->busy++;
			return true;
		}
		__set_bit(i, m->shared);
	}
	place = vmlab_place_among(m->obj->vm, m->nodes, vmlab_slot_pgoff(&slot));
	m->to[i] = vmlab_frame_alloc(m->obj->vm, place, 0);
	if (m->to[i]) {
		__set_bit(i, m->which);
		return true;
	}
	vmlab_migrate_unlock(m, leaf, i, from);
	__clear_bit(i, m->shared);
	m->short_of = place;
	return false;
}

static void vmlab_migrate_count(struct vmlab_frame *from, struct vmlab_frame *to)
{
	this_cpu_inc(vmlab_frame_pool(from)->node_stats->count[VMLAB_migrate_out]);
	this_cpu_inc(vmlab_frame_pool(to)->node_stats->count[VMLAB_migrate_in]);
}

/* Unmapped and flushed: the page is what the new frame holds from now on. */
static void vmlab_migrate_page(struct vmlab_migrate *m, struct vmlab_leaf *leaf, unsigned int i)
{
	struct vmlab_frame *from = vmlab_word_frame(leaf->words[i]), *to = m->to[i];
	struct vmlab *vm = m->obj->vm;

	vmlab_frame_copy(vm, leaf->lineage, from, to);
	vmlab_migrate_unlock(m, leaf, i, to);
	spin_lock(&leaf->lock);
	leaf->words[i] = vmlab_frame_word(to) | (leaf->words[i] & VMLAB_SLOT_FLAGS);
	spin_unlock(&leaf->lock);
	vmlab_migrate_count(from, to);
	vmlab_frame_retire(from);
	vmlab_frame_free(from);
}

/* @leaf is frozen, and of 4 KiB pages. */
static int vmlab_migrate_frozen(struct vmlab_migrate *m, struct vmlab_leaf *leaf,
				unsigned int from, unsigned int to)
{
	struct vmlab_tlb tlb;
	unsigned int i;
	int err = 0;

	bitmap_zero(m->which, VMLAB_LEAF_SLOTS);
	bitmap_zero(m->shared, VMLAB_LEAF_SLOTS);
	for (i = from; i < to && !err; i++)
		err = vmlab_migrate_choose(m, leaf, i) ? 0 : -ENOSPC;
	if (bitmap_empty(m->which, VMLAB_LEAF_SLOTS))
		return err;
	vmlab_tlb_begin(&tlb, leaf->lineage);
	vmlab_tlb_unmap(&tlb, leaf, m->which, m->shared);
	vmlab_tlb_end(&tlb);
	for_each_set_bit(i, m->which, VMLAB_LEAF_SLOTS) {
		vmlab_migrate_page(m, leaf, i);
		cond_resched();
	}
	i = bitmap_weight(m->which, VMLAB_LEAF_SLOTS);
	m->moved += i;
	vmlab_count(m->obj->vm, migrate, i);
	return err;
}

static int vmlab_migrate_small(struct vmlab_migrate *m, u64 index, unsigned int from,
			       unsigned int to)
{
	struct vmlab_leaf *leaf;
	int err;

	err = vmlab_leaf_freeze(m->obj, index << VMLAB_LEAF_SHIFT, VMLAB_FREEZE_ANY, true, &leaf);
	if (err || !leaf)
		return err;
	/* Made one just now: again. */
	err = leaf->huge ? -EAGAIN : vmlab_migrate_frozen(m, leaf, from, to);
	vmlab_leaf_thaw(leaf);
	return err;
}

/*
 * Its node, if it is a huge page that should move; -ENOENT: it is none; -EEXIST: there already;
 * -EBUSY: reserved, and elsewhere.
 */
static int vmlab_migrate_look(struct vmlab_migrate *m, u64 index)
{
	struct vmlab_frame *frame;
	struct vmlab_leaf *leaf;
	int err = -ENOENT;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(m->obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		if (!leaf->dead && leaf->huge) {
			frame = vmlab_word_frame(leaf->words[0]);
			err = vmlab_migrate_is_there(m, frame) ? -EEXIST :
			      READ_ONCE(frame->chunk->reserved) ? -EBUSY :
			      vmlab_frame_nid(frame);
		}
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return err;
}

/* To another chunk on one node. */
static bool vmlab_migrate_chunk(struct vmlab_migrate *m, u64 index, int from, int nid)
{
	const struct vmlab_collapse_rules rules = { .nid = nid, .move = true };
	struct vmlab *vm = m->obj->vm;

	if (vmlab_collapse(m->obj, index, &rules))
		return false;
	m->moved += VMLAB_LEAF_SLOTS;
	vmlab_count(vm, migrate, VMLAB_LEAF_SLOTS);
	this_cpu_add(vm->pools[from]->node_stats->count[VMLAB_migrate_out], VMLAB_LEAF_SLOTS);
	this_cpu_add(vm->pools[nid]->node_stats->count[VMLAB_migrate_in], VMLAB_LEAF_SLOTS);
	return true;
}

/* As one piece, if it can be: where its turn is, or on another of the nodes. */
static bool vmlab_migrate_whole(struct vmlab_migrate *m, u64 index, int from)
{
	int nid, turn = vmlab_place_among(m->obj->vm, m->nodes, index).nid;

	if (turn >= 0 && vmlab_migrate_chunk(m, index, from, turn))
		return true;
	for_each_set_bit(nid, &m->nodes, VMLAB_NODES_MAX)
		if (nid != turn && vmlab_migrate_chunk(m, index, from, nid))
			return true;
	return false;
}

/* One attempt at slots @from to @to - 1 of a leaf. */
static int vmlab_migrate_leaf(struct vmlab_migrate *m, u64 index, unsigned int from,
			      unsigned int to)
{
	int err = vmlab_migrate_look(m, index);

	if (err == -EEXIST)
		return 0;
	if (err == -EBUSY) {
		m->reserved = to - from;
		return 0;
	}
	if (err >= 0) {
		if (to - from == VMLAB_LEAF_SLOTS && vmlab_migrate_whole(m, index, err))
			return 0;
		err = vmlab_leaf_make_small(m->obj, index, false);
		if (err)
			return err == -EBUSY ? -EAGAIN : err;
	}
	return vmlab_migrate_small(m, index, from, to);
}

/* One attempt, and what makes the next one worth it; @tries is how many are left. */
static int vmlab_migrate_try(struct vmlab_migrate *m, u64 index, unsigned int from,
			     unsigned int to, unsigned int *tries)
{
	struct vmlab *vm = m->obj->vm;
	struct vmlab_pool *pool;
	u64 moved = m->moved;
	unsigned long until = 0;
	long freed = 1;
	int err;

	m->busy = 0;
	m->reserved = 0;
	percpu_down_read(&vm->activity);
	err = vmlab_migrate_leaf(m, index, from, to);
	if (err == -ENOSPC)
		freed = vmlab_reclaim_direct(vm, m->short_of);
	percpu_up_read(&vm->activity);
	--*tries;
	if (m->moved > moved || freed > 1)
		*tries = VMLAB_MIGRATE_TRIES;
	/* The last free frames may sit in CPUs' caches. */
	pool = err == -ENOSPC ? vmlab_place_pool(vm, m->short_of) : NULL;
	if (pool && !freed && *tries == VMLAB_MIGRATE_TRIES - 1) {
		/* verify counts what is in them. */
		percpu_down_read(&vm->activity);
		vmlab_pool_drain(pool);
		percpu_up_read(&vm->activity);
	} else if (err == -ENOSPC && vmlab_reclaim_failed(vm, freed, &until)) {
		*tries = 0;
	}
	if (!err && m->busy && *tries)
		schedule_timeout_killable(1);
	return fatal_signal_pending(current) ? -EINTR : err;
}

/* Attempts, until all is moved that can be. */
static int vmlab_migrate_tries(struct vmlab_migrate *m, u64 index, unsigned int from,
			       unsigned int to)
{
	unsigned int tries = VMLAB_MIGRATE_TRIES;
	int err;

	do {
		err = vmlab_migrate_try(m, index, from, to, &tries);
		cond_resched();
	} while (tries && (err == -EAGAIN || err == -ENOSPC || (!err && m->busy)));
	if (err == -ENOSPC)
		return -ENOMEM;
	if (!err && !m->busy && !m->reserved)
		return 0;
	vmlab_count(m->obj->vm, migrate_busy, m->busy);
	return err && err != -EAGAIN ? err : -EBUSY;
}

/**
 * vmlab_range_migrate() - move a range's pages to some nodes
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @nodes: a mask of nodes whose pools have memory, at least one
 * @moved: out: pages moved
 *
 * Pages that are on one of the nodes stay, the others go to them by turns.  What is on swap or
 * not there at all has no node yet.
 *
 * Context: sleeps; no locks.
 * Return: 0; -EBUSY: all but some were dealt with, which are reserved, or in use for too long;
 * -ENOMEM: the nodes are full; -EINTR on a fatal signal.
 */
int vmlab_range_migrate(struct vmlab_object *obj, u64 first, u64 nr, unsigned long nodes,
			u64 *moved)
{
	u64 index = first >> VMLAB_LEAF_SHIFT, end = first + nr;
	struct vmlab_leaf *leaf;
	struct vmlab_migrate *m;
	int err = 0, busy = 0;

	*moved = 0;
	m = vmlab_should_fail(obj->vm, VMLAB_INJECT_call) ? NULL : kmalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->obj = obj;
	m->nodes = nodes;
	m->moved = 0;
	for (; nr && !err; index++) {
		u64 base;

		rcu_read_lock();
		leaf = vmlab_leaf_next(obj, &index, (end - 1) >> VMLAB_LEAF_SHIFT);
		rcu_read_unlock();
		if (!leaf)
			break;
		base = index << VMLAB_LEAF_SHIFT;
		err = vmlab_migrate_tries(m, index, max(first, base) - base,
					  min_t(u64, end - base, VMLAB_LEAF_SLOTS));
		if (err == -EBUSY) {
			busy = err;
			err = 0;
		}
	}
	*moved = m->moved;
	kfree(m);
	return err ? : busy;
}
