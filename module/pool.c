// SPDX-License-Identifier: GPL-2.0
/*
 * The frames of a node: where they come from, who gets them, the per-CPU
 * caches before them.
 *
 * Owns struct vmlab_pool's chunks and free frames.  It never waits for memory
 * and never reclaims: reclaim.c does, around vmlab_frame_alloc().  It must
 * never hand out a frame that another user's bytes are in, unless the caller
 * overwrites all of it.
 */
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vmlab.h"

/* One cache line, so that two CPUs' frames never share one; 1.6 % of the memory. */
static_assert(sizeof(struct vmlab_frame) == 64);

/* Pieces that a chunk's memory may come in, best first. */
static const u8 vmlab_chunk_orders[] = { VMLAB_CHUNK_ORDER, 6, 3, 0 };

/**
 * vmlab_machine_has_room() - may a pool grow?
 * @nr: by so many frames
 *
 * What the rest of the machine keeps then: a lab must not push its host into its own reclaim.
 */
bool vmlab_machine_has_room(unsigned long nr)
{
	long keep = max(totalram_pages() / 16, SZ_64M >> PAGE_SHIFT);

	return si_mem_available() > keep + (long)nr;
}

static void vmlab_chunk_free_pieces(struct vmlab_chunk *chunk, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i += 1U << chunk->order)
		__free_pages(vmlab_frame_page(&chunk->frames[i]), chunk->order);
}

/*
 * __GFP_COMP: should a block driver ever take a reference on a page that it
 * writes out, it gets the head's, instead of raising a tail's from zero.
 */
static bool vmlab_chunk_alloc_pieces(struct vmlab_chunk *chunk, struct vmlab_pool *pool)
{
	gfp_t gfp = GFP_KERNEL | __GFP_THISNODE | __GFP_NOWARN | __GFP_NORETRY |
		    __GFP_COMP;
	unsigned int i, j;
	struct page *page;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i += 1U << chunk->order) {
		page = vmlab_should_fail(pool->vm, VMLAB_INJECT_chunk) ? NULL :
		       alloc_pages_node(pool->nid, gfp, chunk->order);
		if (!page) {
			vmlab_chunk_free_pieces(chunk, i);
			return false;
		}
		for (j = 0; j < 1U << chunk->order; j++)
			chunk->frames[i + j].pfn = page_to_pfn(page) + j;
	}
	return true;
}

/**
 * vmlab_chunk_alloc() - get memory for 512 frames
 * @pool: the pool that it is for; not linked into it yet
 *
 * One aligned piece of 2 MiB if there is one, else smaller ones: fragmentation
 * alone does not fail it.
 *
 * Context: process context, may sleep, does not invoke the OOM killer.
 * Return: the chunk, or NULL when the node has no memory to spare.
 */
struct vmlab_chunk *vmlab_chunk_alloc(struct vmlab_pool *pool)
{
	struct vmlab_frame *frames;
	struct vmlab_chunk *chunk;
	unsigned int i;

	if (!vmlab_machine_has_room(VMLAB_CHUNK_FRAMES))
		return NULL;
	chunk = vmlab_should_fail(pool->vm, VMLAB_INJECT_chunk) ? NULL :
		kzalloc_node(sizeof(*chunk), GFP_KERNEL, pool->nid);
	frames = vmlab_should_fail(pool->vm, VMLAB_INJECT_chunk) ? NULL :
		 kvmalloc_node(VMLAB_CHUNK_FRAMES * sizeof(*frames), GFP_KERNEL, pool->nid);
	if (!chunk || !frames)
		goto err;
	chunk->frames = frames;
	for (i = 0; i < ARRAY_SIZE(vmlab_chunk_orders); i++) {
		chunk->order = vmlab_chunk_orders[i];
		if (vmlab_chunk_alloc_pieces(chunk, pool)) {
			vmlab_chunk_init(chunk, pool, frames, chunk->order);
			return chunk;
		}
	}
err:
	kvfree(frames);
	kfree(chunk);
	return NULL;
}

/**
 * vmlab_chunk_free() - give a chunk's memory back to the machine
 * @chunk: not linked into its pool, all its frames free
 */
void vmlab_chunk_free(struct vmlab_chunk *chunk)
{
	vmlab_chunk_free_pieces(chunk, VMLAB_CHUNK_FRAMES);
	kvfree(chunk->frames);
	kfree(chunk);
}

/*
 * So many more frames are free, or fewer when @nr is negative.  pool->lock
 * held; who only wants to know whether there are many reads the sum, and that
 * of the stock, without it.
 */
static void vmlab_pool_count_free(struct vmlab_pool *pool, long nr)
{
	WRITE_ONCE(pool->nr_free, pool->nr_free + nr);
}

/* A chunk that can be a huge page comes to pool->whole, or goes.  pool->lock held. */
static void vmlab_pool_count_whole(struct vmlab_pool *pool, struct vmlab_chunk *chunk, int nr)
{
	if (chunk->order != VMLAB_CHUNK_ORDER)
		return;
	WRITE_ONCE(pool->nr_whole, pool->nr_whole + nr);
	if (chunk->zeroed)
		WRITE_ONCE(pool->nr_zeroed_chunks, pool->nr_zeroed_chunks + nr);
}

/* Puts the chunk on the list that its count asks for.  pool->lock held. */
static void vmlab_chunk_relink(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	if (chunk->offline)
		return;
	if (!chunk->nr_free) {
		list_del_init(&chunk->link);
	} else if (vmlab_chunk_is_whole(chunk)) {
		list_move(&chunk->link, &pool->whole);
		vmlab_pool_count_whole(pool, chunk, 1);
	} else if (list_empty(&chunk->link) || chunk->nr_free == 1 ||
		 chunk->nr_free == VMLAB_CHUNK_FRAMES - 1) {
		list_move(&chunk->link, &pool->partial);
	}
}

/**
 * vmlab_pool_link_chunk() - let frames of a chunk be handed out
 * @pool: its pool
 * @chunk: new, or offline and to be so no more
 */
void vmlab_pool_link_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	spin_lock(&pool->lock);
	chunk->offline = false;
	vmlab_pool_count_free(pool, chunk->nr_free);
	if (vmlab_chunk_is_whole(chunk)) {
		list_add(&chunk->link, &pool->whole);	/* zeroed ones are at the tail */
		vmlab_pool_count_whole(pool, chunk, 1);
	} else if (chunk->nr_free) {
		list_add_tail(&chunk->link, &pool->partial);
	}
	spin_unlock(&pool->lock);
}

static void vmlab_pool_set_batch(struct vmlab_pool *pool)
{
	unsigned long frames = vmlab_pool_nr_frames(pool);

	/* All caches together hold at most about an eighth of a small pool. */
	pool->pcp_batch = clamp_t(unsigned long, frames / (16 * num_possible_cpus()),
				  1, VMLAB_PCP_MAX / 2);
}

/**
 * vmlab_pool_add_chunks() - let a pool grow
 * @pool: the pool
 * @nr: chunks wanted
 *
 * Context: process context; vm->resize_mutex held, or the pool is not yet in use.
 * Return: chunks added; fewer than @nr when memory is short, or on a fatal signal.
 */
unsigned int vmlab_pool_add_chunks(struct vmlab_pool *pool, unsigned int nr)
{
	struct vmlab_chunk **chunks, **old;
	unsigned int added = 0, i;

	if (vmlab_should_fail(pool->vm, VMLAB_INJECT_chunk))
		return 0;
	/* Not even the table of what the machine cannot have. */
	nr = min_t(unsigned long, nr, si_mem_available() / VMLAB_CHUNK_FRAMES);
	chunks = kvmalloc_array(pool->nr_chunks + nr, sizeof(*chunks), GFP_KERNEL);
	if (!chunks)
		return 0;
	while (added < nr && !fatal_signal_pending(current)) {
		struct vmlab_chunk *chunk = vmlab_chunk_alloc(pool);

		if (!chunk)
			break;
		chunks[pool->nr_chunks + added++] = chunk;
		cond_resched();
	}

	percpu_down_write(&pool->vm->activity);
	for (i = 0; i < pool->nr_chunks; i++)
		chunks[i] = pool->chunks[i];
	old = pool->chunks;
	pool->chunks = chunks;
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks + added);
	for (i = pool->nr_chunks - added; i < pool->nr_chunks; i++)
		vmlab_pool_link_chunk(pool, chunks[i]);
	vmlab_pool_set_batch(pool);
	vmlab_numa_pool_resized(pool);
	percpu_up_write(&pool->vm->activity);
	kvfree(old);
	vmlab_zero_wake(pool);
	return added;
}

/**
 * vmlab_pool_create() - an empty pool
 * @vm: the instance
 * @nid: the node
 *
 * Return: the pool, or NULL.
 */
struct vmlab_pool *vmlab_pool_create(struct vmlab *vm, int nid)
{
	struct vmlab_pool *pool;

	pool = kzalloc_node(sizeof(*pool), GFP_KERNEL, nid);
	if (!pool)
		return NULL;
	pool->vm = vm;
	pool->nid = nid;
	pool->weight = 1;
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->partial);
	INIT_LIST_HEAD(&pool->whole);
	INIT_LIST_HEAD(&pool->gigantic);
	init_waitqueue_head(&pool->reclaim_wait);
	init_waitqueue_head(&pool->zero_wait);
	init_waitqueue_head(&pool->promote_wait);
	vmlab_pool_set_batch(pool);
	pool->pcp = alloc_percpu(struct vmlab_pcp);
	pool->node_stats = alloc_percpu(struct vmlab_node_stats);
	if (!pool->pcp || !pool->node_stats)
		goto err;
	return pool;
err:
	free_percpu(pool->node_stats);
	free_percpu(pool->pcp);
	kfree(pool);
	return NULL;
}

/**
 * vmlab_pool_destroy() - free a pool and all its memory
 * @pool: no frame in use, its threads stopped; may be NULL
 */
void vmlab_pool_destroy(struct vmlab_pool *pool)
{
	unsigned int i;

	if (!pool)
		return;
	for (i = 0; i < pool->nr_chunks; i++)
		vmlab_chunk_free(pool->chunks[i]);
	vmlab_gigantic_exit(pool);
	kvfree(pool->chunks);
	kfree(pool->fallback);
	free_percpu(pool->node_stats);
	free_percpu(pool->pcp);
	kfree(pool);
}

/* Takes up to @nr frames out of the chunks, fullest use first.  pool->lock held. */
static unsigned int vmlab_pool_take(struct vmlab_pool *pool,
				    struct vmlab_frame **frames, unsigned int nr)
{
	struct vmlab_chunk *chunk;
	unsigned int got = 0;

	while (got < nr) {
		/* Broken chunks first: whole ones are wanted for 2 MiB pages. */
		chunk = list_first_entry_or_null(&pool->partial, struct vmlab_chunk, link);
		if (!chunk)
			chunk = list_first_entry_or_null(&pool->whole,
							 struct vmlab_chunk, link);
		if (!chunk)
			break;
		if (vmlab_chunk_is_whole(chunk))
			vmlab_pool_count_whole(pool, chunk, -1);
		got += vmlab_chunk_take(chunk, frames + got, nr - got);
		if (!chunk->nr_free)
			list_del_init(&chunk->link);
		else
			list_move(&chunk->link, &pool->partial);
	}
	vmlab_pool_count_free(pool, -(long)got);
	return got;
}

/* Takes up to @nr frames out of the zeroed stock.  pool->lock held. */
static unsigned int vmlab_pool_take_zeroed(struct vmlab_pool *pool,
					   struct vmlab_frame **frames, unsigned int nr)
{
	struct vmlab_frame *frame;
	unsigned int got = 0;

	for (frame = pool->stock; got < nr && frame; frame = pool->stock) {
		pool->stock = frame->next;
		INIT_LIST_HEAD(&frame->lru);
		frames[got++] = frame;
	}
	WRITE_ONCE(pool->nr_stock, pool->nr_stock - got);
	vmlab_pool_count_free(pool, -(long)got);
	return got;
}

static void vmlab_pool_put(struct vmlab_pool *pool, struct vmlab_frame *frame)
{
	struct vmlab_chunk *chunk = frame->chunk;

	vmlab_chunk_put(chunk, frame);
	if (chunk->offline)
		return;
	vmlab_pool_count_free(pool, 1);
	vmlab_chunk_relink(pool, chunk);
}

/* Preemption is off; fills this CPU's cache from the stock or from the chunks. */
static void vmlab_pcp_refill(struct vmlab_pool *pool, struct vmlab_pcp *pcp, bool zeroed,
			     bool want_zero)
{
	unsigned long low = vmlab_watermark(pool, READ_ONCE(pool->vm->watermark_low));
	unsigned long nr_free;
	bool zero_wanted;

	spin_lock(&pool->lock);
	if (zeroed)
		pcp->nr_zeroed = vmlab_pool_take_zeroed(pool, pcp->zeroed,
							pool->pcp_batch);
	else
		pcp->nr = vmlab_pool_take(pool, pcp->frames, pool->pcp_batch);
	nr_free = pool->nr_free;
	zero_wanted = want_zero && pool->nr_stock < pool->pcp_batch;
	spin_unlock(&pool->lock);

	if (nr_free < low)
		vmlab_reclaim_wake(pool);
	else if (zero_wanted)
		vmlab_zero_wake(pool);
}

static __always_inline struct vmlab_frame *vmlab_pcp_take(struct vmlab_pool *pool,
							  struct vmlab_pcp *pcp,
							  bool want_zero)
{
	if (want_zero) {
		if (!pcp->nr_zeroed && READ_ONCE(pool->nr_stock))
			vmlab_pcp_refill(pool, pcp, true, want_zero);
		if (pcp->nr_zeroed)
			return pcp->zeroed[--pcp->nr_zeroed];
	}
	if (!pcp->nr)
		vmlab_pcp_refill(pool, pcp, false, want_zero);
	if (pcp->nr)
		return pcp->frames[--pcp->nr];
	/* The last frames of a full pool may be in the stock. */
	if (!pcp->nr_zeroed && READ_ONCE(pool->nr_stock))
		vmlab_pcp_refill(pool, pcp, true, want_zero);
	if (pcp->nr_zeroed)
		return pcp->zeroed[--pcp->nr_zeroed];
	return NULL;
}

static void vmlab_frame_zero(struct vmlab *vm, struct vmlab_frame *frame)
{
	if (READ_ONCE(frame->zeroed)) {
		vmlab_count(vm, zero_hit, 1);
		return;
	}
	clear_page(vmlab_frame_addr(frame));
	vmlab_count(vm, zero_miss, 1);
}

/* One frame of one node: what most faults need, without what a run of them costs. */
static __always_inline struct vmlab_frame *vmlab_frame_alloc_one(struct vmlab_pool *pool,
								 unsigned int flags)
{
	struct vmlab_frame *frame;

	if (vmlab_should_fail(pool->vm, VMLAB_INJECT_frame))
		return NULL;
	frame = vmlab_pcp_take(pool, get_cpu_ptr(pool->pcp), flags & VMLAB_ALLOC_ZERO);
	put_cpu_ptr(pool->pcp);
	if (unlikely(!frame))
		return NULL;
	vmlab_frame_set_state(frame, VMLAB_FRAME_INFLIGHT);
	if (flags & VMLAB_ALLOC_ZERO)
		vmlab_frame_zero(pool->vm, frame);
	return frame;
}

/**
 * vmlab_frame_alloc_bulk() - take free frames of one node
 * @pool: the node's pool
 * @flags: VMLAB_ALLOC_*
 * @frames: where they are put
 * @nr: how many are wanted
 *
 * The frames' state is INFLIGHT: the caller names them by vmlab_frame_commit(), or
 * gives them back.  Nothing is charged to a lineage here.
 *
 * Context: any context that is not atomic with regard to this CPU's cache, that
 * is, not in interrupts; does not sleep.  vm->activity held for read.
 * Return: how many were had, 0 to @nr.
 */
unsigned int vmlab_frame_alloc_bulk(struct vmlab_pool *pool, unsigned int flags,
				    struct vmlab_frame **frames, unsigned int nr)
{
	struct vmlab_pcp *pcp = get_cpu_ptr(pool->pcp);
	unsigned int got = 0, i;

	/* Not a return: the compiler would make two functions of it, at a price. */
	if (vmlab_should_fail(pool->vm, VMLAB_INJECT_frame))
		nr = 0;
	while (got < nr) {
		struct vmlab_frame *frame;

		frame = vmlab_pcp_take(pool, pcp, flags & VMLAB_ALLOC_ZERO);
		if (!frame)
			break;
		vmlab_frame_set_state(frame, VMLAB_FRAME_INFLIGHT);
		frames[got++] = frame;
	}
	put_cpu_ptr(pool->pcp);

	if (flags & VMLAB_ALLOC_ZERO)
		for (i = 0; i < got; i++)
			vmlab_frame_zero(pool->vm, frames[i]);
	return got;
}

/* One frame of the other nodes of a mask, the nearest first. */
static struct vmlab_frame *vmlab_frame_alloc_from(struct vmlab_pool *wanted, unsigned long nodes,
						  unsigned int flags)
{
	struct vmlab_frame *frame;
	int i;

	for (i = 0; i < wanted->nr_fallback; i++) {
		struct vmlab_pool *pool = wanted->vm->pools[wanted->fallback[i]];

		if (pool == wanted || !(nodes >> pool->nid & 1))
			continue;
		frame = vmlab_frame_alloc_one(pool, flags);
		if (!frame)
			continue;
		vmlab_numa_count(wanted, pool, 1);
		return frame;
	}
	return NULL;
}

/* The node wanted has none: another one's.  Apart from where it has, which is nearly always. */
static noinline struct vmlab_frame *vmlab_frame_alloc_other(struct vmlab_pool *wanted,
							    struct vmlab_place place,
							    unsigned int flags)
{
	unsigned long first = place.nodes ? : ~0UL;
	struct vmlab_frame *frame = vmlab_frame_alloc_from(wanted, first, flags);

	if (!frame && !place.strict && ~first)
		frame = vmlab_frame_alloc_from(wanted, ~first, flags);
	return frame;
}

/**
 * vmlab_frame_alloc() - take a free frame, from the node wanted or the next that has one
 * @vm: the instance
 * @place: where it should be
 * @flags: VMLAB_ALLOC_*
 *
 * Context: as vmlab_frame_alloc_bulk().
 * Return: the frame, INFLIGHT and uncharged, or NULL when no node has one.
 */
struct vmlab_frame *vmlab_frame_alloc(struct vmlab *vm, struct vmlab_place place,
				      unsigned int flags)
{
	struct vmlab_pool *wanted = vmlab_place_pool(vm, place);
	struct vmlab_frame *frame;

	if (unlikely(!wanted))
		return NULL;
	frame = vmlab_frame_alloc_one(wanted, flags);
	if (unlikely(!frame))
		return vmlab_frame_alloc_other(wanted, place, flags);
	vmlab_numa_count_placed(wanted, place, 1);
	return frame;
}

/**
 * vmlab_frame_free() - give a frame back
 * @frame: INFLIGHT; nothing maps it, no slot names it
 *
 * Context: not in interrupts; does not sleep.  vm->activity held for read.
 */
void vmlab_frame_free(struct vmlab_frame *frame)
{
	struct vmlab_pool *pool = vmlab_frame_pool(frame);
	struct vmlab_pcp *pcp;

	WRITE_ONCE(frame->zeroed, 0);
	/* Whoever gets it next has been promised nothing. */
	if (unlikely(READ_ONCE(frame->chunk->reserved))) {
		/* Part of a page of 1 GiB is reserved for as long as it is in use. */
		if (frame->chunk->gigantic) {
			vmlab_frame_free_direct(frame);
			return;
		}
		vmlab_chunk_unreserve(frame->chunk);
	}
	pcp = get_cpu_ptr(pool->pcp);
	if (pcp->nr >= 2 * pool->pcp_batch) {
		unsigned int keep = pool->pcp_batch;

		spin_lock(&pool->lock);
		while (pcp->nr > keep)
			vmlab_pool_put(pool, pcp->frames[--pcp->nr]);
		spin_unlock(&pool->lock);
		if (!READ_ONCE(pool->nr_stock))
			vmlab_zero_wake(pool);
	}
	vmlab_frame_set_state(frame, VMLAB_FRAME_CACHED);
	pcp->frames[pcp->nr++] = frame;
	put_cpu_ptr(pool->pcp);
}

/**
 * vmlab_pool_take_one() - take a free frame past the per-CPU caches
 * @pool: the pool
 *
 * For the zeroing thread, which must not drain its CPU's cache.
 *
 * Return: a frame, INFLIGHT, or NULL.
 */
struct vmlab_frame *vmlab_pool_take_one(struct vmlab_pool *pool)
{
	struct vmlab_frame *frame = NULL;

	spin_lock(&pool->lock);
	if (vmlab_pool_take(pool, &frame, 1))
		vmlab_frame_set_state(frame, VMLAB_FRAME_INFLIGHT);
	spin_unlock(&pool->lock);
	return frame;
}

/**
 * vmlab_pool_put_stock() - put a zeroed frame into the stock
 * @pool: its pool
 * @frame: INFLIGHT and all zero
 */
void vmlab_pool_put_stock(struct vmlab_pool *pool, struct vmlab_frame *frame)
{
	spin_lock(&pool->lock);
	vmlab_frame_set_state(frame, VMLAB_FRAME_CACHED);
	WRITE_ONCE(frame->zeroed, 1);
	frame->next = pool->stock;
	pool->stock = frame;
	WRITE_ONCE(pool->nr_stock, pool->nr_stock + 1);
	vmlab_pool_count_free(pool, 1);
	spin_unlock(&pool->lock);
}

/**
 * vmlab_pool_trim_stock() - give zeroed frames back to their chunks
 * @pool: the pool
 * @keep: how many frames may stay in the stock
 *
 * Context: vm->activity held for read, or vm->resize_mutex: verify counts the stock; does
 * not sleep.
 * Return: whether there are more to give back: the lock is let go after some.
 */
bool vmlab_pool_trim_stock(struct vmlab_pool *pool, unsigned long keep)
{
	struct vmlab_frame *frame;
	unsigned int i;
	bool more;

	spin_lock(&pool->lock);
	for (i = 0; i < VMLAB_PCP_MAX && pool->nr_stock > keep; i++) {
		vmlab_pool_take_zeroed(pool, &frame, 1);
		vmlab_pool_put(pool, frame);
	}
	more = pool->nr_stock > keep;
	spin_unlock(&pool->lock);
	return more;
}

/* A chunk whose memory is one piece, zeroed if there is one.  pool->lock held. */
static struct vmlab_chunk *vmlab_pool_find_whole(struct vmlab_pool *pool, bool dirty_only)
{
	struct vmlab_chunk *chunk;

	/* Zeroed ones are at the tail. */
	if (!dirty_only && !list_empty(&pool->whole)) {
		chunk = list_last_entry(&pool->whole, struct vmlab_chunk, link);
		if (chunk->zeroed)
			return chunk;
	}
	list_for_each_entry(chunk, &pool->whole, link)
		if (chunk->order == VMLAB_CHUNK_ORDER && !chunk->zeroed)
			return chunk;
	return NULL;
}

/**
 * vmlab_chunk_take_whole() - take 2 MiB in one piece
 * @pool: from where
 * @keep: frames that must be left free
 * @dirty: one that is not zeroed, for who fills the stock
 * @zeroed: out: it is all zero
 *
 * Nothing is charged to a lineage here.
 *
 * Context: not in interrupts; does not sleep.  vm->activity held for read.
 * Return: the chunk, all its frames INFLIGHT, or NULL.
 */
struct vmlab_chunk *vmlab_chunk_take_whole(struct vmlab_pool *pool, unsigned long keep,
					   bool dirty, bool *zeroed)
{
	struct vmlab_chunk *chunk = NULL;

	if (vmlab_should_fail(pool->vm, VMLAB_INJECT_huge))
		return NULL;
	spin_lock(&pool->lock);
	if (pool->nr_free >= keep + VMLAB_CHUNK_FRAMES)
		chunk = vmlab_pool_find_whole(pool, dirty);
	if (chunk) {
		list_del_init(&chunk->link);
		*zeroed = chunk->zeroed;
		vmlab_pool_count_whole(pool, chunk, -1);
		vmlab_chunk_take_all(chunk);
		vmlab_pool_count_free(pool, -(long)VMLAB_CHUNK_FRAMES);
	}
	spin_unlock(&pool->lock);
	return chunk;
}

/**
 * vmlab_chunk_put_whole() - give 2 MiB back
 * @chunk: all its frames INFLIGHT; nothing maps them, no slot names them
 * @zeroed: they are all zero
 *
 * Context: as vmlab_chunk_take_whole().
 */
void vmlab_chunk_put_whole(struct vmlab_chunk *chunk, bool zeroed)
{
	struct vmlab_pool *pool = chunk->pool;

	if (READ_ONCE(chunk->reserved))
		vmlab_chunk_unreserve(chunk);
	spin_lock(&pool->lock);
	if (chunk->offline)
		zeroed = false;
	vmlab_chunk_put_all(chunk, zeroed);
	if (!chunk->offline) {
		vmlab_pool_count_free(pool, VMLAB_CHUNK_FRAMES);
		if (zeroed)
			list_add_tail(&chunk->link, &pool->whole);
		else
			list_add(&chunk->link, &pool->whole);
		vmlab_pool_count_whole(pool, chunk, 1);
	}
	spin_unlock(&pool->lock);
}

/**
 * vmlab_frame_free_direct() - give a frame back past the per-CPU caches
 * @frame: INFLIGHT; nothing maps it, no slot names it
 *
 * For frames whose chunk is to become empty, or is part of a page of 1 GiB.
 */
void vmlab_frame_free_direct(struct vmlab_frame *frame)
{
	struct vmlab_pool *pool = vmlab_frame_pool(frame);
	struct vmlab_chunk *chunk = frame->chunk;
	struct user_struct *payer = NULL;

	spin_lock(&pool->lock);
	vmlab_pool_put(pool, frame);
	/* With the lock held: the next may reserve it at once. */
	if (chunk->gigantic && vmlab_chunk_is_whole(chunk))
		payer = vmlab_chunk_take_payer(chunk);
	spin_unlock(&pool->lock);
	vmlab_payer_put(payer);
}

/**
 * vmlab_pool_unlink_locked() - vmlab_pool_unlink_chunk() for who holds pool->lock
 * @pool: its pool
 * @chunk: the chunk
 */
void vmlab_pool_unlink_locked(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	chunk->offline = true;
	list_del_init(&chunk->link);
	vmlab_pool_count_free(pool, -(long)chunk->nr_free);
	if (vmlab_chunk_is_whole(chunk))
		vmlab_pool_count_whole(pool, chunk, -1);
	chunk->zeroed = false;
}

/**
 * vmlab_pool_unlink_chunk() - hand no frame of a chunk out any more
 * @pool: its pool
 * @chunk: the chunk; offline from now on
 *
 * Undone by vmlab_pool_link_chunk().
 */
void vmlab_pool_unlink_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	spin_lock(&pool->lock);
	vmlab_pool_unlink_locked(pool, chunk);
	spin_unlock(&pool->lock);
}

/**
 * vmlab_pool_forget_chunk() - a pool shrinks by a chunk
 * @pool: its pool
 * @chunk: offline, all its frames free
 *
 * Context: vm->activity held for write.
 */
void vmlab_pool_forget_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	unsigned int i;

	for (i = 0; pool->chunks[i] != chunk; i++)
		;
	WRITE_ONCE(pool->nr_chunks, pool->nr_chunks - 1);
	for (; i < pool->nr_chunks; i++)
		pool->chunks[i] = pool->chunks[i + 1];
	vmlab_pool_set_batch(pool);
	vmlab_numa_pool_resized(pool);
}

/* All but the policy's part of it. */
static __always_inline void __vmlab_frame_commit(struct vmlab_frame *frame,
						 struct vmlab_lineage *lineage, u64 pgoff)
{
	/* A sweep may still hold the frame as what it was before, and looks without a lock. */
	WRITE_ONCE(frame->pgoff, pgoff);
	WRITE_ONCE(frame->accessed, 0);
	atomic_set(&frame->refs, 1);
	rcu_assign_pointer(frame->lineage, lineage);
	vmlab_frame_set_state(frame, VMLAB_FRAME_RESIDENT);
}

/**
 * vmlab_frame_commit() - a frame becomes a resident page
 * @frame: INFLIGHT
 * @lineage: whose page it is; charged already
 * @pgoff: which page
 *
 * Context: the slot that will name it is locked, or its leaf->lock held; does not sleep.
 */
void vmlab_frame_commit(struct vmlab_frame *frame, struct vmlab_lineage *lineage,
			u64 pgoff)
{
	struct vmlab_pool *pool = vmlab_frame_pool(frame);
	const struct vmlab_policy_ops *policy = pool->vm->policy;

	__vmlab_frame_commit(frame, lineage, pgoff);
	if (policy->insert)
		policy->insert(pool, frame);
}

/**
 * vmlab_chunk_commit() - the frames of a chunk become resident pages, dirty ones
 * @chunk: all its frames INFLIGHT
 * @lineage: whose pages they are; charged already
 * @pgoff: the first page
 * @words: out: what the leaf's slots are to be
 *
 * Context: as vmlab_frame_commit().
 */
void vmlab_chunk_commit(struct vmlab_chunk *chunk, struct vmlab_lineage *lineage, u64 pgoff,
			unsigned long *words)
{
	const struct vmlab_policy_ops *policy = chunk->pool->vm->policy;
	unsigned int i;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		chunk->frames[i].flags = VMLAB_FRAME_DIRTY;
		__vmlab_frame_commit(&chunk->frames[i], lineage, pgoff + i);
		words[i] = vmlab_frame_word(&chunk->frames[i]);
	}
	/* What is set aside for pages of 1 GiB no policy chooses from. */
	if (!policy->insert || chunk->gigantic)
		return;
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		policy->insert(chunk->pool, &chunk->frames[i]);
}

/**
 * vmlab_frame_retire() - a resident page's frame is named no more
 * @frame: RESIDENT, unmapped and flushed; becomes INFLIGHT
 *
 * Context: the slot that named it is locked; does not sleep.
 */
void vmlab_frame_retire(struct vmlab_frame *frame)
{
	struct vmlab_pool *pool = vmlab_frame_pool(frame);
	const struct vmlab_policy_ops *policy = pool->vm->policy;

	if (policy->remove)
		policy->remove(pool, frame);
	vmlab_frame_set_state(frame, VMLAB_FRAME_INFLIGHT);
	RCU_INIT_POINTER(frame->lineage, NULL);
	atomic_set(&frame->refs, 0);
	frame->flags = 0;
	WRITE_ONCE(frame->zeroed, 0);
}

/**
 * vmlab_pool_drain_cpu() - empty one CPU's cache
 * @pool: the pool
 * @cpu: the CPU: this one, with preemption off, or one that is dead
 */
void vmlab_pool_drain_cpu(struct vmlab_pool *pool, unsigned int cpu)
{
	struct vmlab_pcp *pcp = per_cpu_ptr(pool->pcp, cpu);

	spin_lock(&pool->lock);
	while (pcp->nr)
		vmlab_pool_put(pool, pcp->frames[--pcp->nr]);
	while (pcp->nr_zeroed)
		vmlab_pool_put(pool, pcp->zeroed[--pcp->nr_zeroed]);
	spin_unlock(&pool->lock);
}

static long vmlab_pool_drain_this_cpu(void *pool)
{
	vmlab_pool_drain_cpu(pool, get_cpu());
	put_cpu();
	return 0;
}

/**
 * vmlab_pool_drain() - empty every cache and the zeroed stock
 * @pool: the pool
 *
 * While a CPU comes or goes the caches stay as they are: to wait for it with
 * vm->activity held could be to wait for verify, which waits for us.
 *
 * Context: process context, sleeps, no locks below vm->activity.
 * Return: false when the caches stayed as they were.
 */
bool vmlab_pool_drain(struct vmlab_pool *pool)
{
	bool drained = cpus_read_trylock();
	unsigned int cpu;

	if (drained) {
		for_each_online_cpu(cpu)
			work_on_cpu(cpu, vmlab_pool_drain_this_cpu, pool);
		cpus_read_unlock();
	}
	while (vmlab_pool_trim_stock(pool, 0))
		cond_resched();
	return drained;
}

/**
 * vmlab_pool_free_frames() - free frames outside the per-CPU caches
 * @pool: the pool
 *
 * Return: frames; a snapshot.
 */
unsigned long vmlab_pool_free_frames(struct vmlab_pool *pool)
{
	return READ_ONCE(pool->nr_free);
}

/**
 * vmlab_policy_data() - where the policy keeps its state for a pool
 * @pool: the pool
 */
void **vmlab_policy_data(struct vmlab_pool *pool)
{
	return &pool->policy_data;
}

/**
 * vmlab_pool_nr_frames() - size of a pool
 * @pool: the pool
 *
 * Return: frames, free or not.
 */
unsigned long vmlab_pool_nr_frames(struct vmlab_pool *pool)
{
	return (unsigned long)READ_ONCE(pool->nr_chunks) << VMLAB_CHUNK_SHIFT;
}

/**
 * vmlab_pool_frame() - a frame by its place in the circular order
 * @pool: the pool
 * @pos: 0 to vmlab_pool_nr_frames() - 1
 *
 * Context: vm->activity held, so that the order stands still.
 */
struct vmlab_frame *vmlab_pool_frame(struct vmlab_pool *pool, unsigned long pos)
{
	return &pool->chunks[pos >> VMLAB_CHUNK_SHIFT]->frames[pos & (VMLAB_CHUNK_FRAMES - 1)];
}
