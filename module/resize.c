// SPDX-License-Identifier: GPL-2.0
/*
 * A pool grows and shrinks while it is in use.
 *
 * Owns the moving of frames.  A chunk that goes is emptied while the instance stands
 * still: then no slot is locked, no I/O under way, and a page moves by unmapping it,
 * copying it and naming the copy.  Pinned pages move too: what is promised is that
 * they stay in memory, not where.
 */
#include <linux/sched/signal.h>

#include "vmlab.h"

/* Rounds of reclaim without any gain before a chunk is given up. */
#define VMLAB_SHRINK_TRIES	3

/* The next leaf of a list, this one included, that names a frame.  Frozen. */
static struct vmlab_leaf *vmlab_leaf_naming(struct vmlab_leaf *leaf,
					    struct vmlab_frame *frame)
{
	unsigned int index = frame->pgoff & (VMLAB_LEAF_SLOTS - 1);

	while (leaf && vmlab_word_frame(leaf->words[index]) != frame)
		leaf = rcu_dereference_protected(leaf->next, true);
	return leaf;
}

/**
 * vmlab_frame_copy() - a resident page gets another frame
 * @vm: the instance
 * @lineage: whose page it is
 * @from: its frame; stays RESIDENT, to be retired when no slot names it any more
 * @to: INFLIGHT; becomes what @from is, with its copy on swap
 *
 * Context: the page is unmapped and flushed; all slots that name it are the caller's.
 */
void vmlab_frame_copy(struct vmlab *vm, struct vmlab_lineage *lineage, struct vmlab_frame *from,
		      struct vmlab_frame *to)
{
	copy_page(vmlab_frame_addr(to), vmlab_frame_addr(from));
	to->flags = from->flags;
	to->swap = from->swap;
	from->swap = 0;
	vmlab_frame_commit(to, lineage, from->pgoff);
	WRITE_ONCE(to->accessed, 1);	/* its accessed bits went with the PTEs */
	atomic_set(&to->refs, atomic_read(&from->refs));
	if (to->swap)
		WRITE_ONCE(vmlab_swap_slot(vm, to->swap)->frame, to);
}

static void vmlab_resident_move(struct vmlab *vm, struct vmlab_frame *from,
				struct vmlab_frame *to)
{
	struct vmlab_lineage *lineage = rcu_dereference_protected(from->lineage, true);
	struct vmlab_leaf *first = xa_load(&lineage->leaves, from->pgoff >> VMLAB_LEAF_SHIFT);
	unsigned int index = from->pgoff & (VMLAB_LEAF_SLOTS - 1);
	struct vmlab_leaf *leaf;

	for (leaf = vmlab_leaf_naming(first, from); leaf;
	     leaf = vmlab_leaf_naming(rcu_dereference_protected(leaf->next, true), from))
		vmlab_rmap_unmap_page(lineage, leaf, index);
	vmlab_frame_copy(vm, lineage, from, to);
	for (leaf = vmlab_leaf_naming(first, from); leaf;
	     leaf = vmlab_leaf_naming(rcu_dereference_protected(leaf->next, true), from)) {
		if (leaf->huge)
			vmlab_leaf_split(leaf);
		leaf->words[index] = vmlab_frame_word(to) |
				     (leaf->words[index] & VMLAB_SLOT_FLAGS);
	}
	vmlab_frame_retire(from);
}

/**
 * vmlab_chunk_evacuate() - move what is in a chunk elsewhere, as far as there are free frames
 * @vm: the instance
 * @chunk: offline; its CPU caches are drained
 * @place: where to
 *
 * Context: vm->activity held for write.
 * Return: pages moved.
 */
unsigned int vmlab_chunk_evacuate(struct vmlab *vm, struct vmlab_chunk *chunk,
				  struct vmlab_place place)
{
	struct vmlab_frame *from, *to;
	unsigned int i, moved = 0;
	u8 state;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		from = &chunk->frames[i];
		/* A CPU that dies may give free frames back: see vmlab_cpu_dead(). */
		state = READ_ONCE(from->state);
		if (state != VMLAB_FRAME_RESIDENT && state != VMLAB_FRAME_LEAF)
			continue;
		to = vmlab_frame_alloc(vm, place, 0);
		if (!to)
			break;
		if (state == VMLAB_FRAME_LEAF)
			vmlab_leaf_move(from, to);
		else
			vmlab_resident_move(vm, from, to);
		vmlab_frame_free_direct(from);
		vmlab_count(vm, migrate, 1);
		moved++;
		cond_resched();
	}
	return moved;
}

/* One attempt to empty an offline chunk; true when it is gone. */
static bool vmlab_chunk_try_remove(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	struct vmlab *vm = pool->vm;
	bool gone;

	vmlab_pool_drain(pool);
	percpu_down_write(&vm->activity);
	if (!READ_ONCE(chunk->reserved))
		vmlab_chunk_evacuate(vm, chunk, vmlab_place_near(pool->nid));
	/* A CPU that died may just be giving back the last frames, see vmlab_cpu_dead(). */
	spin_lock(&pool->lock);
	gone = vmlab_chunk_is_whole(chunk);
	spin_unlock(&pool->lock);
	if (gone)
		vmlab_pool_forget_chunk(pool, chunk);
	percpu_up_write(&vm->activity);
	return gone;
}

/* Frees frames that the chunk's pages can move to, or the chunk's own. */
static long vmlab_shrink_reclaim(struct vmlab_pool *pool)
{
	struct vmlab *vm = pool->vm;
	long freed;

	percpu_down_read(&vm->activity);
	freed = vmlab_reclaim_pool(pool, VMLAB_BATCH);
	percpu_up_read(&vm->activity);
	return freed;
}

/*
 * Is there room for what is in a chunk: on swap, or in other chunks?  Not a promise, but
 * who asks for the impossible should not have frames taken away from others meanwhile.
 */
static bool vmlab_chunk_has_room(struct vmlab *vm, struct vmlab_chunk *chunk)
{
	unsigned long room = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			room += vmlab_pool_free_frames(vm->pools[nid]);
	/*
	 * Its own free frames are not among them: it is unlinked.  What is in use on swap may
	 * be copies of clean pages, which can just be dropped.
	 */
	room += vmlab_swap_free_pages(vm) + vmlab_swap_used_pages(vm);
	return room >= VMLAB_CHUNK_FRAMES - READ_ONCE(chunk->nr_free);
}

static int vmlab_chunk_empty(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	unsigned long until = 0;
	unsigned int tries = 0;

	vmlab_pool_drain(pool);
	if (!vmlab_chunk_has_room(pool->vm, chunk))
		return -ENOSPC;
	while (!vmlab_chunk_try_remove(pool, chunk)) {
		if (READ_ONCE(chunk->reserved))
			return -EBUSY;
		if (vmlab_reclaim_failed(pool->vm, vmlab_shrink_reclaim(pool), &until) &&
		    ++tries == VMLAB_SHRINK_TRIES)
			return -ENOSPC;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int vmlab_chunk_remove(struct vmlab_pool *pool, struct vmlab_chunk *chunk)
{
	int err;

	WRITE_ONCE(pool->vm->shrinking, true);
	vmlab_pool_unlink_chunk(pool, chunk);
	err = vmlab_chunk_empty(pool, chunk);
	if (err)
		vmlab_pool_link_chunk(pool, chunk);
	else
		vmlab_chunk_free(chunk);
	WRITE_ONCE(pool->vm->shrinking, false);
	return err;
}

/* The last chunk that is not reserved.  vm->resize_mutex held. */
static struct vmlab_chunk *vmlab_chunk_to_remove(struct vmlab_pool *pool)
{
	unsigned int i = pool->nr_chunks;

	while (i--)
		if (!READ_ONCE(pool->chunks[i]->reserved))
			return pool->chunks[i];
	return NULL;
}

static int vmlab_pool_shrink(struct vmlab_pool *pool, unsigned int chunks)
{
	struct vmlab_chunk *chunk;
	int err = 0;

	while (!err && chunks < pool->nr_chunks) {
		chunk = vmlab_chunk_to_remove(pool);
		err = chunk ? vmlab_chunk_remove(pool, chunk) : -ENOSPC;
		if (err == -EBUSY)	/* reserved just now: another one */
			err = 0;
	}
	return err;
}

/**
 * vmlab_pool_mb() - the size of a pool
 * @pool: the pool
 *
 * Return: MiB.
 */
unsigned long vmlab_pool_mb(struct vmlab_pool *pool)
{
	return (unsigned long)READ_ONCE(pool->nr_chunks) * 2;
}

/**
 * vmlab_pool_resize() - change the size of a pool in use
 * @vm: the instance
 * @nid: the node
 * @mb: MiB wanted, rounded up to whole chunks of 2 MiB
 *
 * What is in chunks that go moves to free frames of any node, or to swap.
 *
 * Context: sleeps; no locks.
 * Return: 0; -EINVAL for a node without a pool or a size past all memory; -ENOMEM when
 * the machine has not enough, -ENOSPC when the pages find no other place, or -EINTR:
 * the pool then has the size that it got to.
 */
int vmlab_pool_resize(struct vmlab *vm, int nid, unsigned long mb)
{
	unsigned long chunks = mb / 2 + mb % 2;
	struct vmlab_pool *pool;
	int err = 0;

	if (nid < 0 || nid >= VMLAB_NODES_MAX || !vm->pools[nid] || mb > VMLAB_POOL_MB_MAX)
		return -EINVAL;
	pool = vm->pools[nid];
	if (mutex_lock_killable(&vm->resize_mutex))
		return -EINTR;
	if (chunks > pool->nr_chunks) {
		unsigned int wanted = chunks - pool->nr_chunks;

		if (vmlab_pool_add_chunks(pool, wanted) < wanted)
			err = -ENOMEM;
	}
	if (!err)
		err = vmlab_pool_shrink(pool, chunks);
	mutex_unlock(&vm->resize_mutex);
	/* The stock went with the chunks' free frames. */
	vmlab_zero_wake(pool);
	return err;
}
