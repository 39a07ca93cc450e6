// SPDX-License-Identifier: GPL-2.0
/*
 * Makes free chunks of free frames: empties chunks of which a part is in use.
 *
 * Owns the choice of chunks.  The moving is resize.c's, with the instance standing still for
 * one chunk at a time.  It must never take a frame that somebody might need: what is moved
 * goes to free frames of other chunks that are in use already.
 */
#include <linux/sched/signal.h>

#include "vmlab.h"

/* Chunks that are looked at for one: a lock is held meanwhile. */
#define VMLAB_COMPACT_LOOKS	4096

/*
 * The chunk with the least in it, if the others have room for that.  pool->lock held.  Chunks
 * that no huge page can use are left alone, and so is one that is whole.
 */
static struct vmlab_chunk *vmlab_compact_choose(struct vmlab_pool *pool, unsigned int least)
{
	unsigned int looks = VMLAB_COMPACT_LOOKS;
	struct vmlab_chunk *chunk, *best = NULL;
	unsigned long room = 0;

	list_for_each_entry(chunk, &pool->partial, link) {
		if (!looks--)
			break;
		room += chunk->nr_free;
		if (chunk->order == VMLAB_CHUNK_ORDER && chunk->nr_free >= least &&
		    (!best || chunk->nr_free > best->nr_free))
			best = chunk;
	}
	if (!best || room - best->nr_free < VMLAB_CHUNK_FRAMES - best->nr_free)
		return NULL;
	return best;
}

/* Takes the chosen one out of use. */
static struct vmlab_chunk *vmlab_compact_take(struct vmlab_pool *pool, unsigned int least)
{
	struct vmlab_chunk *chunk;

	spin_lock(&pool->lock);
	chunk = vmlab_compact_choose(pool, least);
	if (chunk)
		vmlab_pool_unlink_locked(pool, chunk);
	spin_unlock(&pool->lock);
	return chunk;
}

static bool vmlab_compact_one(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	struct vmlab *vm = pool->vm;
	unsigned int moved;
	bool whole;

	vmlab_pool_drain(pool);
	percpu_down_write(&vm->activity);
	moved = vmlab_chunk_evacuate(vm, chunk, vmlab_place_only(pool->nid));
	percpu_up_write(&vm->activity);
	vmlab_count(vm, compact_migrate, moved);
	spin_lock(&pool->lock);
	whole = vmlab_chunk_is_whole(chunk);
	spin_unlock(&pool->lock);
	vmlab_pool_link_chunk(pool, chunk);
	if (whole)
		vmlab_count(vm, compact_chunk, 1);
	return whole;
}

/**
 * vmlab_compact() - make free chunks of a node's free frames
 * @pool: the node's pool
 * @wanted: chunks
 * @least: frames that must be free in a chunk that is emptied, at least 1
 *
 * Context: sleeps; no locks.
 * Return: chunks made.
 */
unsigned int vmlab_compact(struct vmlab_pool *pool, unsigned int wanted, unsigned int least)
{
	struct vmlab_chunk *chunk;
	unsigned int made = 0;

	if (mutex_lock_killable(&pool->vm->resize_mutex))
		return 0;
	/* The free frames of a chunk at work come back: nobody need die for want of them. */
	WRITE_ONCE(pool->vm->shrinking, true);
	while (made < wanted) {
		chunk = vmlab_compact_take(pool, least);
		if (!chunk || !vmlab_compact_one(pool, chunk))
			break;
		made++;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	WRITE_ONCE(pool->vm->shrinking, false);
	mutex_unlock(&pool->vm->resize_mutex);
	vmlab_zero_wake(pool);
	return made;
}
