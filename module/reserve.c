// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages that stay: ioctl(RESERVE), what hugetlbfs is for the memory of Linux.
 *
 * Owns the promise that a range gets all of its chunks or none.  A chunk is reserved from
 * before a slot names it until the first of its frames is freed, and who evicts, discards,
 * splits or moves asks for that.  Other than for a huge page by chance other nodes are asked
 * for one, chunks are emptied, and pages evicted.  1 GiB is 512 chunks of one of the pages that
 * gigantic.c has set aside, and no others: each is reserved, and paid for, until the last of its
 * frames is freed, as nothing else could get them back.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "vmlab.h"

/**
 * vmlab_chunk_take_payer() - a chunk need not stay any more, but is still paid for
 * @chunk: the chunk
 *
 * Context: any but interrupts; others may do the same.
 * Return: who pays, for vmlab_payer_put(); or NULL.
 */
struct user_struct *vmlab_chunk_take_payer(struct vmlab_chunk *chunk)
{
	struct user_struct *payer = xchg(&chunk->payer, NULL);

	WRITE_ONCE(chunk->reserved, false);
	return payer;
}

/**
 * vmlab_payer_put() - nobody pays for a chunk any more
 * @payer: from vmlab_chunk_take_payer()
 *
 * Context: any but interrupts.
 */
void vmlab_payer_put(struct user_struct *payer)
{
	if (!payer)
		return;
	vmlab_lock_uncharge(payer, VMLAB_CHUNK_FRAMES);
	free_uid(payer);
}

/**
 * vmlab_chunk_unreserve() - a chunk need not stay any more
 * @chunk: the chunk
 *
 * Context: any but interrupts; others may do the same.
 */
void vmlab_chunk_unreserve(struct vmlab_chunk *chunk)
{
	vmlab_payer_put(vmlab_chunk_take_payer(chunk));
}

/* How often pages are evicted for the sake of one chunk. */
#define VMLAB_RESERVE_RECLAIMS	4

/* Whole or made so, on the node wanted first. */
static int vmlab_reserve_chunk(struct vmlab_object *obj, u64 index, struct vmlab_place place)
{
	struct vmlab *vm = obj->vm;
	struct vmlab_pool *wanted = vmlab_place_pool(vm, place);
	int i, err = -ENOSPC;

	for (i = 0; wanted && i < wanted->nr_fallback && err == -ENOSPC; i++) {
		if (!vmlab_place_allows(place, wanted->fallback[i]))
			continue;
		percpu_down_read(&vm->activity);
		err = vmlab_huge_create(obj, index, vmlab_place_only(wanted->fallback[i]),
					obj->pin_user);
		percpu_up_read(&vm->activity);
	}
	return err;
}

static bool vmlab_reserve_compact(struct vmlab *vm, struct vmlab_place place)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		struct vmlab_pool *pool = vm->pools[nid];

		/* It makes whole chunks, not free frames. */
		if (!pool || !vmlab_place_allows(place, nid) || READ_ONCE(pool->nr_whole) ||
		    vmlab_pool_free_frames(pool) < vmlab_high_watermark(pool) + VMLAB_CHUNK_FRAMES)
			continue;
		if (vmlab_compact(pool, 1, 1))
			return true;
	}
	return false;
}

/* Evicts as much as two chunks hold: what one needs, and room for what is moved. */
static bool vmlab_reserve_reclaim(struct vmlab *vm, struct vmlab_place place)
{
	long freed = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX && freed <= 0; nid++) {
		if (!vm->pools[nid] || !vmlab_place_allows(place, nid))
			continue;
		percpu_down_read(&vm->activity);
		freed = vmlab_reclaim_pool(vm->pools[nid], 2 * VMLAB_CHUNK_FRAMES);
		percpu_up_read(&vm->activity);
	}
	return freed > 0;
}

/* After it an attempt more is worth it; false: there is nothing that could be done. */
static bool vmlab_reserve_make_room(struct vmlab *vm, struct vmlab_place place,
				    unsigned int *reclaims)
{
	if (vmlab_reserve_compact(vm, place))
		return true;
	return (*reclaims)++ < VMLAB_RESERVE_RECLAIMS && vmlab_reserve_reclaim(vm, place);
}

/* Are these 2 MiB reserved already? */
static bool vmlab_is_reserved(struct vmlab_object *obj, u64 index)
{
	struct vmlab_leaf *leaf;
	bool reserved = false;

	/* Who moves frames, also that of the leaf's words, takes no other lock. */
	percpu_down_read(&obj->vm->activity);
	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		reserved = !leaf->dead && leaf->huge && vmlab_word_is_reserved(leaf->words[0]);
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	percpu_up_read(&obj->vm->activity);
	return reserved;
}

/* Out of a page of 1 GiB, if @chunk is given; else any. */
static int vmlab_reserve_create(struct vmlab_object *obj, u64 index, struct vmlab_place place,
				struct vmlab_chunk *chunk)
{
	int err;

	if (!chunk)
		return vmlab_reserve_chunk(obj, index, place);
	percpu_down_read(&obj->vm->activity);
	err = vmlab_huge_create_in(obj, index, place, chunk, obj->pin_user);
	percpu_up_read(&obj->vm->activity);
	return err;
}

/* 1: reserved now, 0: it was already, which is no good if @chunk is wanted. */
static int vmlab_reserve_get(struct vmlab_object *obj, u64 index, struct vmlab_chunk *chunk)
{
	u64 pgoff = index << VMLAB_LEAF_SHIFT;
	struct vmlab_place place = vmlab_place_huge(obj, index);
	unsigned int reclaims = 0;
	int err;

	do {
		if (!chunk && vmlab_is_reserved(obj, index))
			return 0;
		if (!vmlab_mpol_is_one(obj, index, 1))
			return -EINVAL;
		/* Where only zeros were read nothing need stay. */
		percpu_down_read(&obj->vm->activity);
		vmlab_leaf_reap(obj, index);
		percpu_up_read(&obj->vm->activity);
		vmlab_range_forget(obj, pgoff, VMLAB_LEAF_SLOTS);
		err = vmlab_reserve_create(obj, index, place, chunk);
		if (err == -ENOSPC && fatal_signal_pending(current))
			return -EINTR;
	} while (err == -ENOSPC && vmlab_reserve_make_room(obj->vm, place, &reclaims));
	switch (err) {
	case 0:
		vmlab_count(obj->vm, thp_reserve, 1);
		return 1;
	case -EEXIST:
		return !chunk && vmlab_is_reserved(obj, index) ? 0 : -EBUSY;
	case -ENOSPC:
		return -ENOMEM;
	default:
		return err;
	}
}

/* Likewise, if the user may have so much that stays. */
static int vmlab_reserve_one(struct vmlab_object *obj, u64 index, struct vmlab_chunk *chunk)
{
	int err = vmlab_lock_charge(obj, VMLAB_CHUNK_FRAMES);

	if (err)
		return !chunk && vmlab_is_reserved(obj, index) ? 0 : err;
	/* The chunk's, which may outlive the object in a copy. */
	get_uid(obj->pin_user);
	err = vmlab_reserve_get(obj, index, chunk);
	if (err <= 0) {
		vmlab_lock_uncharge(obj->pin_user, VMLAB_CHUNK_FRAMES);
		free_uid(obj->pin_user);
	}
	return err;
}

static unsigned long vmlab_nr_chunks(struct vmlab *vm)
{
	unsigned long nr = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			nr += READ_ONCE(vm->pools[nid]->nr_chunks);
	return nr;
}

static bool vmlab_chunk_is_zero(struct vmlab_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		if (memchr_inv(vmlab_frame_addr(&chunk->frames[i]), 0, PAGE_SIZE))
			return false;
		cond_resched();
	}
	return true;
}

/* The promise is taken back, but for a part of 1 GiB: see the head of this file. */
static void vmlab_unreserve(struct vmlab_object *obj, u64 index)
{
	struct vmlab_chunk *chunk;
	struct vmlab_leaf *leaf;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		chunk = leaf->dead || !leaf->huge ? NULL : vmlab_word_frame(leaf->words[0])->chunk;
		if (chunk && !chunk->gigantic)
			vmlab_chunk_unreserve(chunk);
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
}

/* What others have stored there meanwhile stays, as any huge page. */
static void vmlab_reserve_undo_one(struct vmlab_object *obj, u64 index)
{
	struct vmlab_leaf *leaf;
	bool drop = false;

	vmlab_unreserve(obj, index);
	if (vmlab_leaf_freeze(obj, index << VMLAB_LEAF_SHIFT, VMLAB_FREEZE_OWN, true, &leaf) ||
	    !leaf)
		return;
	if (leaf->huge) {
		vmlab_leaf_unmap(leaf);
		drop = vmlab_chunk_is_zero(vmlab_word_frame(leaf->words[0])->chunk);
		spin_lock(&leaf->lock);
		drop = drop && vmlab_leaf_is_alone(leaf) && !leaf->nr_pinned;
		leaf->huge = !drop;
		spin_unlock(&leaf->lock);
	}
	/* A frozen leaf is one of which all slots are locked. */
	if (drop)
		vmlab_chunk_drop(leaf);
	vmlab_leaf_thaw(leaf);
	if (drop)
		vmlab_leaf_reap(obj, index);
}

static void vmlab_reserve_undo(struct vmlab_object *obj, u64 index, const unsigned long *made,
			       unsigned long nr)
{
	unsigned long i;

	for_each_set_bit(i, made, nr) {
		percpu_down_read(&obj->vm->activity);
		vmlab_reserve_undo_one(obj, index + i);
		percpu_up_read(&obj->vm->activity);
		cond_resched();
	}
}

/*
 * 2 MiB from the @from-th on of what begins with @index, up to the @to-th, out of @chunks if
 * these are given; what was made is told in @made.
 */
static int vmlab_reserve_run(struct vmlab_object *obj, u64 index, unsigned long from,
			     unsigned long to, struct vmlab_chunk *chunks, unsigned long *made)
{
	unsigned long i;
	int err = 0;

	for (i = from; i < to && err >= 0; i++) {
		err = vmlab_reserve_one(obj, index + i, chunks ? chunks + (i - from) : NULL);
		if (err > 0)
			__set_bit(i, made);
		if (err >= 0 && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	return min(err, 0);
}

static bool vmlab_is_gigantic(struct vmlab_object *obj, u64 index)
{
	struct vmlab_gigantic *gigantic;

	percpu_down_read(&obj->vm->activity);
	gigantic = vmlab_gigantic_find(obj, index, NULL);
	percpu_up_read(&obj->vm->activity);
	return gigantic;
}

/* The same for 1 GiB. */
static int vmlab_reserve_gib(struct vmlab_object *obj, u64 index, unsigned long from,
			     unsigned long *made)
{
	struct vmlab_gigantic *gigantic;
	int err;

	if (vmlab_is_gigantic(obj, index + from))
		return 0;
	if (!vmlab_mpol_is_one(obj, index + from, VMLAB_GIGANTIC_CHUNKS))
		return -EINVAL;
	gigantic = vmlab_gigantic_claim(obj->vm, vmlab_place_huge(obj, index + from));
	if (!gigantic)
		return -ENOMEM;
	/* Before anything can be mapped so. */
	WRITE_ONCE(obj->lineage->gigantic, true);
	err = vmlab_reserve_run(obj, index, from, from + VMLAB_GIGANTIC_CHUNKS, gigantic->chunks,
				made);
	vmlab_gigantic_unclaim(gigantic);
	return err;
}

/* All of them, or none but those that were reserved before.  vm->reserve_mutex held. */
static int vmlab_reserve_all(struct vmlab_object *obj, u64 index, unsigned long nr,
			     bool gigantic, unsigned long *made)
{
	unsigned long i;
	int err = 0;

	if (!gigantic)
		err = vmlab_reserve_run(obj, index, 0, nr, NULL, made);
	for (i = 0; gigantic && !err && i < nr; i += VMLAB_GIGANTIC_CHUNKS)
		err = vmlab_reserve_gib(obj, index, i, made);
	if (err)
		vmlab_reserve_undo(obj, index, made, nr);
	return err;
}

static int vmlab_reserve_locked(struct vmlab_object *obj, u64 index, u64 nr, bool gigantic)
{
	unsigned long *made;
	int err = -EINTR;
	u64 i;

	made = vmlab_should_fail(obj->vm, VMLAB_INJECT_call) ? NULL :
	       bitmap_zalloc(max_t(u64, nr, 1), GFP_KERNEL);
	if (!made)
		return -ENOMEM;
	if (!mutex_lock_killable(&obj->vm->reserve_mutex)) {
		err = vmlab_reserve_all(obj, index, nr, gigantic, made);
		mutex_unlock(&obj->vm->reserve_mutex);
	}
	bitmap_free(made);
	/* Where 4 KiB were mapped once, a table is in the way. */
	for (i = 0; i < nr && !err; i++)
		vmlab_retire_tables(obj, index + i);
	return err;
}

/**
 * vmlab_range_reserve() - give a range huge pages that stay
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: all, or 0
 *
 * Context: sleeps; no locks.
 * Return: 0; -EINVAL: not of whole 2 MiB, or with several memory policies in one; -EBUSY: some
 * of it has pages already; -ENOMEM; -EPERM as mlock(2); -EINTR on a fatal signal.
 */
int vmlab_range_reserve(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	u64 chunks = nr >> VMLAB_LEAF_SHIFT;
	int err;

	*done = 0;
	if (!vmlab_range_is_of_chunks(first, nr))
		return -EINVAL;
	if (chunks > vmlab_nr_chunks(obj->vm))
		return -ENOMEM;
	err = vmlab_reserve_locked(obj, first >> VMLAB_LEAF_SHIFT, chunks, false);
	if (!err)
		*done = nr;
	return err;
}

static u64 vmlab_nr_gigantic(struct vmlab *vm)
{
	u64 nr = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			nr += READ_ONCE(vm->pools[nid]->nr_gigantic);
	return nr;
}

/**
 * vmlab_range_reserve_gigantic() - give a range pages of 1 GiB that stay
 * @obj: the object
 * @first: first page
 * @nr: pages
 * @done: out: all, or 0
 *
 * Context: sleeps; no locks.
 * Return: as vmlab_range_reserve(), but -EINVAL: not of whole GiB; -ENOMEM: fewer are free of
 * those set aside; -EOPNOTSUPP: the kernel or the processor cannot map them.
 */
int vmlab_range_reserve_gigantic(struct vmlab_object *obj, u64 first, u64 nr, u64 *done)
{
	int err;

	*done = 0;
	if (!vmlab_gigantic_works())
		return -EOPNOTSUPP;
	if (!IS_ALIGNED(first, VMLAB_GIGANTIC_FRAMES) || !IS_ALIGNED(nr, VMLAB_GIGANTIC_FRAMES))
		return -EINVAL;
	if (nr / VMLAB_GIGANTIC_FRAMES > vmlab_nr_gigantic(obj->vm))
		return -ENOMEM;
	err = vmlab_reserve_locked(obj, first >> VMLAB_LEAF_SHIFT, nr >> VMLAB_LEAF_SHIFT, true);
	if (!err)
		*done = nr;
	return err;
}
