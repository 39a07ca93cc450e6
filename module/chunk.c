// SPDX-License-Identifier: GPL-2.0
/*
 * Which frames of a 2 MiB chunk are free.
 *
 * Owns a chunk's bitmap and its count, nothing else: no locks, no memory, no
 * lists.  It needs no service of the kernel, so that the unit tests compile
 * it in user space; it must stay so.
 */
#include "frame.h"

/**
 * vmlab_chunk_init() - a chunk with all frames free
 * @chunk: the chunk, uninitialised
 * @pool: the pool it will be in
 * @frames: VMLAB_CHUNK_FRAMES descriptors; all but @pfn is set here
 * @order: order of the pieces that its memory came in
 */
void vmlab_chunk_init(struct vmlab_chunk *chunk, struct vmlab_pool *pool,
		      struct vmlab_frame *frames, u8 order)
{
	unsigned int i;

	chunk->pool = pool;
	INIT_LIST_HEAD(&chunk->link);
	chunk->order = order;
	chunk->offline = false;
	chunk->zeroed = false;
	chunk->reserved = false;
	chunk->payer = NULL;
	chunk->gigantic = NULL;
	chunk->nr_free = VMLAB_CHUNK_FRAMES;
	bitmap_fill(chunk->free, VMLAB_CHUNK_FRAMES);
	chunk->frames = frames;
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		frames[i].chunk = chunk;
		frames[i].lineage = NULL;
		frames[i].pgoff = 0;
		INIT_LIST_HEAD(&frames[i].lru);
		frames[i].swap = 0;
		atomic_set(&frames[i].refs, 0);
		frames[i].state = VMLAB_FRAME_FREE;
		frames[i].flags = 0;
		frames[i].zeroed = 0;
		frames[i].policy = 0;
	}
}

/**
 * vmlab_chunk_take() - take free frames
 * @chunk: the chunk
 * @frames: where they are put, in ascending order
 * @nr: how many are wanted
 *
 * Context: pool->lock held.
 * Return: how many were taken, 0 to @nr; their state is CACHED.
 */
unsigned int vmlab_chunk_take(struct vmlab_chunk *chunk,
			      struct vmlab_frame **frames, unsigned int nr)
{
	unsigned long *word = chunk->free;
	struct vmlab_frame *frame;
	unsigned int taken = 0;

	/* By words: a search from the begin for each bit is most of what this would cost. */
	while (taken < nr && word < chunk->free + BITS_TO_LONGS(VMLAB_CHUNK_FRAMES)) {
		if (!*word) {
			word++;
			continue;
		}
		frame = &chunk->frames[(word - chunk->free) * BITS_PER_LONG + __ffs(*word)];
		*word &= *word - 1;
		vmlab_frame_set_state(frame, VMLAB_FRAME_CACHED);
		frames[taken++] = frame;
	}
	WRITE_ONCE(chunk->nr_free, chunk->nr_free - taken);	/* debugfs looks without the lock */
	if (taken)
		chunk->zeroed = false;	/* each frame that is left still says so */
	return taken;
}

/**
 * vmlab_chunk_put() - give a frame back
 * @chunk: its chunk
 * @frame: the frame, not free
 *
 * Context: pool->lock held.
 */
void vmlab_chunk_put(struct vmlab_chunk *chunk, struct vmlab_frame *frame)
{
	__set_bit(vmlab_frame_index(frame), chunk->free);
	if (!chunk->gigantic)
		WRITE_ONCE(chunk->reserved, false);
	vmlab_frame_set_state(frame, VMLAB_FRAME_FREE);
	WRITE_ONCE(frame->zeroed, 0);
	WRITE_ONCE(chunk->nr_free, chunk->nr_free + 1);
}

/**
 * vmlab_chunk_take_all() - take a chunk of which all frames are free
 * @chunk: the chunk
 *
 * Context: pool->lock held.  The frames' state is INFLIGHT.
 */
void vmlab_chunk_take_all(struct vmlab_chunk *chunk)
{
	unsigned int i;

	bitmap_zero(chunk->free, VMLAB_CHUNK_FRAMES);
	WRITE_ONCE(chunk->nr_free, 0);
	chunk->zeroed = false;
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		vmlab_frame_set_state(&chunk->frames[i], VMLAB_FRAME_INFLIGHT);
}

/**
 * vmlab_chunk_put_all() - give all frames of a chunk back
 * @chunk: the chunk, none of its frames free
 * @zeroed: they are all zero
 *
 * Context: pool->lock held.
 */
void vmlab_chunk_put_all(struct vmlab_chunk *chunk, bool zeroed)
{
	unsigned int i;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		vmlab_frame_set_state(&chunk->frames[i], VMLAB_FRAME_FREE);
		WRITE_ONCE(chunk->frames[i].zeroed, zeroed);
	}
	bitmap_fill(chunk->free, VMLAB_CHUNK_FRAMES);
	WRITE_ONCE(chunk->nr_free, VMLAB_CHUNK_FRAMES);
	chunk->zeroed = zeroed;
	WRITE_ONCE(chunk->reserved, false);
}
