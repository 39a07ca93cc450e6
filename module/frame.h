/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames, chunks and pools: the descriptors of physical memory.
 *
 * Owns the layout of what chunk.c, pool.c and the replacement policies work
 * on.  It includes nothing of vmlab, so that those files also compile in user
 * space, where selftests/unit tests them; it must stay so.
 */
#ifndef VMLAB_FRAME_H
#define VMLAB_FRAME_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct vmlab;
struct vmlab_gigantic;
struct vmlab_leaf;
struct vmlab_lineage;
struct vmlab_pool;

#define VMLAB_CHUNK_SHIFT	9
#define VMLAB_CHUNK_FRAMES	(1U << VMLAB_CHUNK_SHIFT)
#define VMLAB_CHUNK_ORDER	VMLAB_CHUNK_SHIFT

/**
 * enum vmlab_frame_state - who has the frame
 * @VMLAB_FRAME_FREE:	  its bit in chunk->free is set
 * @VMLAB_FRAME_CACHED:	  free too, but in a per-CPU cache or in the zeroed stock
 * @VMLAB_FRAME_INFLIGHT: taken by someone who has not yet named it in a slot,
 *			  or no longer does
 * @VMLAB_FRAME_RESIDENT: named by a slot
 * @VMLAB_FRAME_LEAF:	  holds the slots of a leaf
 * @VMLAB_FRAME_EVICTING: RESIDENT, named by several slots, of which somebody is
 *			  locking all to evict it
 */
enum vmlab_frame_state {
	VMLAB_FRAME_FREE,
	VMLAB_FRAME_CACHED,
	VMLAB_FRAME_INFLIGHT,
	VMLAB_FRAME_RESIDENT,
	VMLAB_FRAME_LEAF,
	VMLAB_FRAME_EVICTING,
	VMLAB_FRAME_NR_STATES,
};

/*
 * vmlab_frame.flags: changed only by who holds the lock of a slot naming it.  While
 * several slots do, READAHEAD is clear, and only an eviction, which holds all of them,
 * and swapoff, of which there is one, change DIRTY.
 */
#define VMLAB_FRAME_DIRTY	0x01	/* swap has no valid copy */
#define VMLAB_FRAME_READAHEAD	0x02	/* read ahead, not yet asked for */

/**
 * struct vmlab_frame - one 4 KiB piece of the pool; one cache line
 * @pfn:	page frame number
 * @chunk:	the chunk it belongs to, for ever
 * @lineage:	resident: the lineage of the page in it.  RCU: who found the
 *		frame by sweeping takes the lineage by tryget and looks again
 * @pgoff:	resident: the page's index within its objects
 * @leaf:	state LEAF: the leaf whose slots it holds
 * @lru:	for the policy (resident)
 * @next:	in the zeroed stock: the next one in it
 * @swap:	swap entry that holds a valid copy of a clean page, else 0
 * @refs:	how many slots name the frame
 * @state:	enum vmlab_frame_state
 * @flags:	VMLAB_FRAME_*
 * @zeroed:	not resident: known to be all zero
 * @accessed:	resident: read() or write() used it since the last look; the
 *		software twin of a PTE's accessed bit
 * @policy:	for the policy alone
 */
struct vmlab_frame {
	unsigned long		pfn;
	struct vmlab_chunk	*chunk;
	struct vmlab_lineage __rcu *lineage;
	u64			pgoff;
	union {
		struct list_head	lru;
		struct vmlab_frame	*next;
	};
	union {
		u64			swap;
		struct vmlab_leaf	*leaf;
	};
	atomic_t		refs;
	u8			state;
	u8			flags;
	union {
		u8		zeroed;
		u8		accessed;
	};
	u8			policy;
} __aligned(64);

/**
 * struct vmlab_chunk - 512 frames: 2 MiB of the pool
 * @pool:	the pool it is in
 * @link:	in pool->partial or pool->whole, or empty when full or offline
 * @order:	its memory came as 512 >> order pieces of this order; 9: one
 *		aligned piece of 2 MiB
 * @nr_free:	bits set in @free
 * @offline:	being emptied, or part of a page of 1 GiB: frames are not handed out from it
 * @zeroed:	all frames are free and known to be all zero
 * @reserved:	a huge page of RESERVE, until the first of its frames is freed; part of a page
 *		of 1 GiB: until the last is.  Set before a slot names it; read by who holds a
 *		slot that does, or the instance frozen
 * @payer:	as long as it is reserved: whose RLIMIT_MEMLOCK it counts against
 * @gigantic:	the page of 1 GiB that it is a part of, for ever; or NULL
 * @free:	a bit per frame: free here
 * @frames:	the descriptors, 512 of them, in order
 *
 * Everything but @order, @gigantic and @frames is under pool->lock.
 */
struct vmlab_chunk {
	struct vmlab_pool	*pool;
	struct list_head	link;
	u8			order;
	bool			offline;
	bool			zeroed;
	bool			reserved;
	u16			nr_free;
	struct user_struct	*payer;
	struct vmlab_gigantic	*gigantic;
	DECLARE_BITMAP(free, VMLAB_CHUNK_FRAMES);
	struct vmlab_frame	*frames;
};

/* chunk.c: which frames of a chunk are free.  No locks of its own. */
void vmlab_chunk_init(struct vmlab_chunk *chunk, struct vmlab_pool *pool,
		      struct vmlab_frame *frames, u8 order);
unsigned int vmlab_chunk_take(struct vmlab_chunk *chunk,
			      struct vmlab_frame **frames, unsigned int nr);
void vmlab_chunk_put(struct vmlab_chunk *chunk, struct vmlab_frame *frame);
void vmlab_chunk_take_all(struct vmlab_chunk *chunk);
void vmlab_chunk_put_all(struct vmlab_chunk *chunk, bool zeroed);

static inline bool vmlab_chunk_is_whole(const struct vmlab_chunk *chunk)
{
	return chunk->nr_free == VMLAB_CHUNK_FRAMES;
}

/*
 * A frame's state changes under the lock of whoever has the frame, but is read
 * without one by the sweep of a policy and by debugfs: the former locks the
 * slot and looks again before it acts, the latter only counts.
 */
static inline void vmlab_frame_set_state(struct vmlab_frame *frame,
					 enum vmlab_frame_state state)
{
	WRITE_ONCE(frame->state, state);
}

/* For who only shows or counts, and holds no lock of a slot that names the frame. */
static inline bool vmlab_frame_seems_dirty(struct vmlab_frame *frame)
{
	/* Who has the slot may change them: either answer was true a moment ago. */
	return data_race(frame->flags) & VMLAB_FRAME_DIRTY;
}

static inline unsigned int vmlab_frame_index(const struct vmlab_frame *frame)
{
	return frame - frame->chunk->frames;
}

#endif /* VMLAB_FRAME_H */
