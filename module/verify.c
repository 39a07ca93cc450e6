// SPDX-License-Identifier: GPL-2.0
/*
 * Checks the books: counts everything anew and compares.
 *
 * Owns the laws, and the knob that breaks each on purpose.  It trusts no counter
 * and follows no pointer to a frame before it has found it among the chunks.
 * While it works the instance is frozen (vm->activity held for write): nothing
 * changes a slot, a frame, a leaf or a swap slot, and no slot is locked.  What
 * goes on are munmap(), exit() and mremap(): PTEs may vanish or move under it,
 * never appear, and page tables stay, as it holds i_mmap_rwsem.
 *
 * It must change nothing.  A law is broken only from the beginning to the end of
 * one check, all of it frozen, so that nobody but the check can see it.
 *
 * The laws, by the name that debugfs `verify` prints:
 *
 *   frames    every frame is in exactly one state: its bit in the chunk is set, or
 *             one cache, one leaf or a slot has it; the pool's sums are right
 *   refs      a resident frame is named by as many slots as it has references,
 *             and knows the page that they stand for
 *   swap      a swap slot has as many references as slots and clean frames name
 *             it; the maps' sums are right
 *   ptes      a PTE maps the frame that the slot of its object names, or the zero
 *             page where the slot is an empty one that allows it; a PMD that maps
 *             2 MiB maps the chunk of a huge leaf, and a PUD that maps 1 GiB those of 512
 *   writable  no store goes unnoticed: no writable PTE of a frame that is clean,
 *             or that several leaves or objects have, none of the zero page, no
 *             dirty PTE where there may be no writable one; a clean frame has a
 *             copy on swap
 *   huge      the slots of a huge leaf name all frames of one chunk, in order, whose
 *             memory is one piece; whole chunks, zeroed ones, are as many as counted,
 *             and the zeroed ones are zero
 *   counts    what leaves, objects and lineages count is what is in them; a leaf
 *             has as many owners as objects have it
 *
 * It takes 4 bytes of memory per frame and 2 per swap slot, and time linear in
 * these, in the leaves and in the page tables that exist.
 */
#include <linux/cpu.h>
#include <linux/bsearch.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "vmlab.h"

enum vmlab_law {
	VMLAB_LAW_NONE,
	VMLAB_LAW_FRAMES,
	VMLAB_LAW_REFS,
	VMLAB_LAW_SWAP,
	VMLAB_LAW_PTES,
	VMLAB_LAW_WRITABLE,
	VMLAB_LAW_HUGE,
	VMLAB_LAW_COUNTS,
	VMLAB_NR_LAWS
};

static const char * const vmlab_law_names[VMLAB_NR_LAWS] = {
	[VMLAB_LAW_NONE]	= "none",
	[VMLAB_LAW_FRAMES]	= "frames",
	[VMLAB_LAW_REFS]	= "refs",
	[VMLAB_LAW_SWAP]	= "swap",
	[VMLAB_LAW_PTES]	= "ptes",
	[VMLAB_LAW_WRITABLE]	= "writable",
	[VMLAB_LAW_HUGE]	= "huge",
	[VMLAB_LAW_COUNTS]	= "counts",
};

#define VMLAB_OFFENDERS		4
#define VMLAB_OFFENDER_LEN	120

/**
 * struct vmlab_verdict - what was found about one law
 * @nr_bad:	offences
 * @text:	the first few, in words
 */
struct vmlab_verdict {
	u64	nr_bad;
	char	text[VMLAB_OFFENDERS][VMLAB_OFFENDER_LEN];
};

/**
 * struct vmlab_check_chunk - finds a frame's chunk by the frame's address
 * @frames:	the chunk's descriptors
 * @pool:	the pool that has it
 */
struct vmlab_check_chunk {
	struct vmlab_frame	*frames;
	struct vmlab_pool	*pool;
};

/**
 * struct vmlab_broken - what was changed to break a law, to be undone
 * @law:	which; NONE: nothing is broken
 * @pool:	where; what does not belong to @law is NULL
 * @frame:	where
 * @map:	where
 * @slot:	of @map; NULL: its sum
 * @leaf:	where; NULL: the sum of @lineage
 * @lineage:	with a reference
 */
struct vmlab_broken {
	enum vmlab_law		law;
	struct vmlab_pool	*pool;
	struct vmlab_frame	*frame;
	struct vmlab_swap_map	*map;
	struct vmlab_swap_slot	*slot;
	struct vmlab_leaf	*leaf;
	struct vmlab_lineage	*lineage;
};

/**
 * struct vmlab_check - one check
 * @vm:		the instance
 * @verdicts:	by law
 * @wanted:	the law that is to be broken
 * @broken:	what was done for that
 * @chunks:	all chunks of all pools, by address
 * @nr_chunks:	how many
 * @hint:	the one that was found last
 * @counts:	by place in @chunks, 512 each: how many caches, leaves or slots
 *		name the frame
 * @maps:	by device
 * @named:	by device and offset: how many slots and frames name the swap slot
 * @state:	frames by state
 * @nr_slots:	slots that name a frame
 * @nr_swapped:	slots that name a swap slot
 * @nr_leaves:	leaves listed by lineages
 * @nr_owners:	owners that these count
 * @nr_object_leaves: leaves found in objects, each as often as it is found
 * @nr_objects:	objects
 * @nr_swap_used: swap slots with references
 * @nr_ptes:	present PTEs
 * @nr_zero_ptes: those of the zero page
 * @nr_writable: those that are writable
 * @nr_huge:	huge leaves
 * @nr_pmds:	PMDs that map one
 * @nr_puds:	PUDs that map 1 GiB
 * @nr_whole:	free chunks in one piece
 * @find:	looking for a mapped frame: nothing is judged
 * @found:	the frame found
 */
struct vmlab_check {
	struct vmlab			*vm;
	struct vmlab_verdict		verdicts[VMLAB_NR_LAWS];
	enum vmlab_law			wanted;
	struct vmlab_broken		broken;

	struct vmlab_check_chunk	*chunks;
	unsigned int			nr_chunks;
	unsigned int			hint;
	u32				*counts;
	struct vmlab_swap_map		*maps[VMLAB_SWAP_MAX_DEVS];
	u16				*named[VMLAB_SWAP_MAX_DEVS];

	u64				state[VMLAB_FRAME_NR_STATES];
	u64				nr_slots;
	u64				nr_swapped;
	u64				nr_leaves;
	u64				nr_owners;
	u64				nr_object_leaves;
	u64				nr_objects;
	u64				nr_swap_used;
	u64				nr_ptes;
	u64				nr_zero_ptes;
	u64				nr_writable;
	u64				nr_huge;
	u64				nr_pmds;
	u64				nr_puds;
	u64				nr_whole;

	enum vmlab_law			find;
	struct vmlab_frame		*found;
};

static __printf(3, 4) void vmlab_bad(struct vmlab_check *c, enum vmlab_law law,
				     const char *fmt, ...)
{
	struct vmlab_verdict *verdict = &c->verdicts[law];
	va_list args;

	if (verdict->nr_bad < VMLAB_OFFENDERS) {
		va_start(args, fmt);
		vscnprintf(verdict->text[verdict->nr_bad], VMLAB_OFFENDER_LEN, fmt, args);
		va_end(args);
	}
	verdict->nr_bad++;
}

/* --- finding a frame's count --------------------------------------------- */

static int vmlab_check_by_address(const void *a, const void *b)
{
	const struct vmlab_check_chunk *l = a, *r = b;

	return l->frames < r->frames ? -1 : l->frames > r->frames;
}

static int vmlab_check_within(const void *key, const void *chunk)
{
	const struct vmlab_frame *frames = ((const struct vmlab_check_chunk *)chunk)->frames;
	const struct vmlab_frame *frame = key;

	if (frame < frames)
		return -1;
	return frame >= frames + VMLAB_CHUNK_FRAMES;
}

/* The count of a frame; NULL when the address is not one of a frame. */
static u32 *vmlab_check_count(struct vmlab_check *c, const struct vmlab_frame *frame)
{
	struct vmlab_check_chunk *chunk = c->chunks + c->hint;
	size_t offset;

	if (!c->nr_chunks)
		return NULL;
	if (vmlab_check_within(frame, chunk)) {
		chunk = bsearch(frame, c->chunks, c->nr_chunks, sizeof(*c->chunks),
				vmlab_check_within);
		if (!chunk)
			return NULL;
		c->hint = chunk - c->chunks;
	}
	offset = (const char *)frame - (const char *)chunk->frames;
	if (offset % sizeof(*frame))
		return NULL;
	return &c->counts[(size_t)c->hint * VMLAB_CHUNK_FRAMES + offset / sizeof(*frame)];
}

/* The descriptor of the swap slot that an entry names, and its count. */
static struct vmlab_swap_slot *vmlab_check_entry(struct vmlab_check *c, u64 entry,
						 u16 **named)
{
	u64 dev = entry >> VMLAB_SWAP_DEV_SHIFT;
	u64 offset = entry & ((1ULL << VMLAB_SWAP_DEV_SHIFT) - 1);

	if (dev >= VMLAB_SWAP_MAX_DEVS || !c->maps[dev] || !offset ||
	    offset >= c->maps[dev]->nr_slots)
		return NULL;
	*named = &c->named[dev][offset];
	return &c->maps[dev]->slots[offset];
}

static void vmlab_check_name_entry(struct vmlab_check *c, u64 entry,
				   struct vmlab_lineage *lineage, u64 pgoff)
{
	u16 *named;

	if (!vmlab_check_entry(c, entry, &named))
		vmlab_bad(c, VMLAB_LAW_SWAP,
			  "lineage %llu page %llu names no swap slot: entry %#llx",
			  lineage->id, pgoff, entry);
	else if (*named < U16_MAX)
		++*named;
}

/* --- caches -------------------------------------------------------------- */

static void vmlab_check_cached(struct vmlab_check *c, struct vmlab_pool *pool,
			       struct vmlab_frame *frame, const char *where)
{
	u32 *count = vmlab_check_count(c, frame);

	if (!count || c->chunks[c->hint].pool != pool)
		vmlab_bad(c, VMLAB_LAW_FRAMES, "node %d: %s holds what is no frame of it",
			  pool->nid, where);
	else if (frame->state != VMLAB_FRAME_CACHED)
		vmlab_bad(c, VMLAB_LAW_FRAMES, "node %d: %s holds pfn %#lx of state %u",
			  pool->nid, where, frame->pfn, frame->state);
	else
		++*count;
}

/* The caches stand still: only allocations and frees touch them, see pool.c. */
static void vmlab_check_caches(struct vmlab_check *c, struct vmlab_pool *pool)
{
	struct vmlab_frame *frame;
	unsigned long stock = 0;
	unsigned int cpu, i;

	for_each_possible_cpu(cpu) {
		struct vmlab_pcp *pcp = per_cpu_ptr(pool->pcp, cpu);

		if (pcp->nr > VMLAB_PCP_MAX || pcp->nr_zeroed > VMLAB_PCP_MAX) {
			vmlab_bad(c, VMLAB_LAW_FRAMES,
				  "node %d: the cache of CPU %u holds %u and %u frames",
				  pool->nid, cpu, pcp->nr, pcp->nr_zeroed);
			continue;
		}
		for (i = 0; i < pcp->nr; i++)
			vmlab_check_cached(c, pool, pcp->frames[i], "a CPU's cache");
		for (i = 0; i < pcp->nr_zeroed; i++)
			vmlab_check_cached(c, pool, pcp->zeroed[i], "a CPU's zeroed cache");
	}
	/* A list that ends nowhere is longer than was counted, too. */
	for (frame = pool->stock; frame && stock <= pool->nr_stock; frame = frame->next) {
		vmlab_check_cached(c, pool, frame, "the zeroed stock");
		stock++;
		if (!(stock % 4096))
			cond_resched();
	}
	if (stock != pool->nr_stock)
		vmlab_bad(c, VMLAB_LAW_FRAMES, "node %d: %lu in the stock, %lu counted",
			  pool->nid, stock, pool->nr_stock);
}

/* --- leaves -------------------------------------------------------------- */

/* Return: whether this is the first slot that names it. */
static bool vmlab_check_name_frame(struct vmlab_check *c, struct vmlab_frame *frame,
				   struct vmlab_lineage *lineage, u64 pgoff)
{
	u32 *count = vmlab_check_count(c, frame);

	if (!count) {
		vmlab_bad(c, VMLAB_LAW_REFS, "lineage %llu page %llu names no frame",
			  lineage->id, pgoff);
	} else if (frame->state != VMLAB_FRAME_RESIDENT) {
		vmlab_bad(c, VMLAB_LAW_REFS,
			  "lineage %llu page %llu names pfn %#lx of state %u",
			  lineage->id, pgoff, frame->pfn, frame->state);
	} else {
		++*count;
		if (rcu_access_pointer(frame->lineage) != lineage || frame->pgoff != pgoff)
			vmlab_bad(c, VMLAB_LAW_REFS,
				  "lineage %llu page %llu names pfn %#lx, which says page %llu",
				  lineage->id, pgoff, frame->pfn, frame->pgoff);
	}
	return count && *count == 1;
}

static void vmlab_check_leaf_frame(struct vmlab_check *c, struct vmlab_leaf *leaf)
{
	u32 *count = vmlab_check_count(c, leaf->frame);

	if (!count || leaf->frame->state != VMLAB_FRAME_LEAF || leaf->frame->leaf != leaf ||
	    leaf->words != vmlab_frame_addr(leaf->frame))
		vmlab_bad(c, VMLAB_LAW_FRAMES, "the frame of leaf %llu is not its own",
			  leaf->index);
	else
		++*count;
}

static void vmlab_check_huge_leaf(struct vmlab_check *c, struct vmlab_lineage *lineage,
				  struct vmlab_leaf *leaf)
{
	struct vmlab_frame *first = vmlab_word_frame(leaf->words[0]);
	unsigned int i;

	c->nr_huge++;
	if (!vmlab_word_is_frame(leaf->words[0]) || !vmlab_check_count(c, first) ||
	    vmlab_frame_index(first) || first->chunk->order != VMLAB_CHUNK_ORDER) {
		vmlab_bad(c, VMLAB_LAW_HUGE, "lineage %llu leaf %llu is huge and has no chunk",
			  lineage->id, leaf->index);
		return;
	}
	for (i = 1; i < VMLAB_LEAF_SLOTS; i++)
		if (!vmlab_word_is_frame(leaf->words[i]) ||
		    vmlab_word_frame(leaf->words[i]) != first + i)
			break;
	if (i < VMLAB_LEAF_SLOTS)
		vmlab_bad(c, VMLAB_LAW_HUGE, "lineage %llu leaf %llu is huge, but slot %u is not",
			  lineage->id, leaf->index, i);
}

/* Return: frames that the leaf accounts for, its own included; shared ones but once. */
static u64 vmlab_check_leaf(struct vmlab_check *c, struct vmlab_lineage *lineage,
			    struct vmlab_leaf *leaf)
{
	unsigned int present = 0, swapped = 0, pinned = 0, locked = 0, i;
	u64 frames = 1;

	c->nr_leaves++;
	c->nr_owners += leaf->owners;
	vmlab_check_leaf_frame(c, leaf);
	if (leaf->huge)
		vmlab_check_huge_leaf(c, lineage, leaf);
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = leaf->words[i];
		u64 pgoff = (leaf->index << VMLAB_LEAF_SHIFT) + i;

		if (vmlab_word_is_swap(word)) {
			swapped++;
			vmlab_check_name_entry(c, vmlab_word_entry(word), lineage, pgoff);
		} else if (vmlab_word_is_frame(word)) {
			present++;
			frames += vmlab_check_name_frame(c, vmlab_word_frame(word), lineage,
							 pgoff);
		}
		pinned += !!(word & VMLAB_SLOT_PINNED);
		locked += !!(word & VMLAB_SLOT_LOCKED);
	}
	if (present != leaf->nr_present || swapped != leaf->nr_swapped ||
	    pinned != leaf->nr_pinned)
		vmlab_bad(c, VMLAB_LAW_COUNTS,
			  "lineage %llu leaf %llu: %u present %u swapped %u pinned, counted %u %u %u",
			  lineage->id, leaf->index, present, swapped, pinned,
			  leaf->nr_present, leaf->nr_swapped, leaf->nr_pinned);
	if (locked || leaf->nr_locked || leaf->dead || leaf->frozen || !leaf->owners)
		vmlab_bad(c, VMLAB_LAW_COUNTS,
			  "lineage %llu leaf %llu: %u slots locked, counted %u, %u owners%s%s",
			  lineage->id, leaf->index, locked, leaf->nr_locked, leaf->owners,
			  leaf->dead ? ", dead" : "", leaf->frozen ? ", frozen" : "");
	c->nr_slots += present;
	c->nr_swapped += swapped;
	return frames;
}

/* Frozen, so the lists stand still. */
static struct vmlab_leaf *vmlab_check_next_leaf(struct vmlab_leaf *leaf)
{
	return rcu_dereference_protected(leaf->next, true);
}

static void vmlab_check_lineage(struct vmlab_check *c, struct vmlab_lineage *lineage)
{
	struct vmlab_leaf *leaf;
	unsigned long index;
	u64 frames = 0;

	xa_for_each(&lineage->leaves, index, leaf) {
		for (; leaf; leaf = vmlab_check_next_leaf(leaf)) {
			if (leaf->index != index)
				vmlab_bad(c, VMLAB_LAW_COUNTS,
					  "lineage %llu: leaf %llu is listed at %lu",
					  lineage->id, leaf->index, index);
			frames += vmlab_check_leaf(c, lineage, leaf);
		}
		cond_resched();
	}
	/* One for each object but the first. */
	frames += atomic_read(&lineage->nr_objects);
	if (frames != atomic_long_read(&lineage->nr_frames))
		vmlab_bad(c, VMLAB_LAW_COUNTS, "lineage %llu: %llu frames, charged %ld",
			  lineage->id, frames, atomic_long_read(&lineage->nr_frames));
}

/* Is the leaf in the list of its lineage? */
static bool vmlab_check_is_listed(struct vmlab_object *obj, struct vmlab_leaf *leaf,
				  unsigned long index)
{
	struct vmlab_leaf *pos = xa_load(&obj->lineage->leaves, index);

	while (pos && pos != leaf)
		pos = vmlab_check_next_leaf(pos);
	return pos;
}

static void vmlab_check_object(struct vmlab_check *c, struct vmlab_object *obj)
{
	unsigned long index;
	long pinned = 0;
	void *entry;

	c->nr_objects++;
	xa_for_each(&obj->leaves, index, entry) {
		struct vmlab_leaf *leaf = entry;

		if (xa_is_value(entry))
			continue;
		c->nr_object_leaves++;
		if (leaf->pinner == obj->id)
			pinned += leaf->nr_pinned;
		if (leaf->lineage != obj->lineage || leaf->index != index ||
		    !vmlab_check_is_listed(obj, leaf, index))
			vmlab_bad(c, VMLAB_LAW_COUNTS,
				  "object %llu: its leaf %lu is another's, or unlisted",
				  obj->id, index);
		cond_resched();
	}
	if (pinned != atomic_long_read(&obj->nr_pinned))
		vmlab_bad(c, VMLAB_LAW_COUNTS, "object %llu: %ld pinned, counted %ld",
			  obj->id, pinned, atomic_long_read(&obj->nr_pinned));
}

/* --- frames -------------------------------------------------------------- */

/* A clean frame's copy on swap: the frame is one more that names the slot. */
static void vmlab_check_copy(struct vmlab_check *c, struct vmlab_frame *frame)
{
	struct vmlab_swap_slot *slot;
	u16 *named;

	if (frame->flags & VMLAB_FRAME_DIRTY) {
		if (frame->swap)
			vmlab_bad(c, VMLAB_LAW_SWAP, "pfn %#lx is dirty and has copy %#llx",
				  frame->pfn, frame->swap);
		return;
	}
	if (!frame->swap) {
		vmlab_bad(c, VMLAB_LAW_WRITABLE, "pfn %#lx is clean and has no copy",
			  frame->pfn);
		return;
	}
	slot = vmlab_check_entry(c, frame->swap, &named);
	if (!slot) {
		vmlab_bad(c, VMLAB_LAW_SWAP, "pfn %#lx has no copy at entry %#llx",
			  frame->pfn, frame->swap);
		return;
	}
	if (*named < U16_MAX)
		++*named;
	if (slot->frame != frame)
		vmlab_bad(c, VMLAB_LAW_SWAP, "entry %#llx does not know its pfn %#lx",
			  frame->swap, frame->pfn);
}

static void vmlab_check_frame(struct vmlab_check *c, struct vmlab_chunk *chunk,
			      struct vmlab_frame *frame, u32 count, bool free)
{
	u8 state = frame->state;
	u32 refs = atomic_read(&frame->refs);

	if (state >= VMLAB_FRAME_NR_STATES || frame->chunk != chunk) {
		vmlab_bad(c, VMLAB_LAW_FRAMES, "pfn %#lx: state %u, or another's chunk",
			  frame->pfn, state);
		return;
	}
	c->state[state]++;
	if (free ? state != VMLAB_FRAME_FREE : state == VMLAB_FRAME_FREE)
		vmlab_bad(c, VMLAB_LAW_FRAMES, "pfn %#lx: state %u, its bit says %s",
			  frame->pfn, state, free ? "free" : "taken");
	switch (state) {
	case VMLAB_FRAME_INFLIGHT:
		vmlab_bad(c, VMLAB_LAW_FRAMES, "pfn %#lx is in flight", frame->pfn);
		break;
	case VMLAB_FRAME_CACHED:
	case VMLAB_FRAME_LEAF:
		if (count != 1)
			vmlab_bad(c, VMLAB_LAW_FRAMES, "pfn %#lx is in %u %s", frame->pfn,
				  count, state == VMLAB_FRAME_LEAF ? "leaves" : "caches");
		break;
	case VMLAB_FRAME_RESIDENT:
		if (!count || count != refs)
			vmlab_bad(c, VMLAB_LAW_REFS, "pfn %#lx: %u slots, %u references",
				  frame->pfn, count, refs);
		vmlab_check_copy(c, frame);
		break;
	}
}

static void vmlab_check_chunk(struct vmlab_check *c, struct vmlab_pool *pool,
			      struct vmlab_chunk *chunk)
{
	unsigned int weight = bitmap_weight(chunk->free, VMLAB_CHUNK_FRAMES), i;
	u32 *counts;

	if (chunk->pool != pool || weight != chunk->nr_free)
		vmlab_bad(c, VMLAB_LAW_FRAMES,
			  "node %d: a chunk at pfn %#lx has %u free, counted %u",
			  pool->nid, chunk->frames[0].pfn, weight, chunk->nr_free);
	counts = vmlab_check_count(c, chunk->frames);
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		vmlab_check_frame(c, chunk, &chunk->frames[i], counts[i],
				  test_bit(i, chunk->free));
}

/* Return: whether it is a free one in one piece. */
static bool vmlab_check_whole(struct vmlab_check *c, struct vmlab_pool *pool,
			      struct vmlab_chunk *chunk, unsigned int *zeroed)
{
	unsigned int i;

	if (chunk->reserved != !!chunk->payer)
		vmlab_bad(c, VMLAB_LAW_HUGE,
			  "node %d: a chunk at pfn %#lx is %sreserved, but %s pays", pool->nid,
			  chunk->frames[0].pfn, chunk->reserved ? "" : "not ",
			  chunk->payer ? "somebody" : "nobody");
	if (chunk->zeroed && (chunk->offline || !vmlab_chunk_is_whole(chunk)))
		vmlab_bad(c, VMLAB_LAW_HUGE, "node %d: a chunk at pfn %#lx is zeroed and in use",
			  pool->nid, chunk->frames[0].pfn);
	if (chunk->order != VMLAB_CHUNK_ORDER || chunk->offline || !vmlab_chunk_is_whole(chunk))
		return false;
	if (chunk->reserved)
		vmlab_bad(c, VMLAB_LAW_HUGE, "node %d: a free chunk at pfn %#lx is reserved",
			  pool->nid, chunk->frames[0].pfn);
	*zeroed += chunk->zeroed;
	for (i = 0; chunk->zeroed && i < VMLAB_CHUNK_FRAMES; i++)
		if (memchr_inv(vmlab_frame_addr(&chunk->frames[i]), 0, PAGE_SIZE))
			vmlab_bad(c, VMLAB_LAW_HUGE, "node %d: pfn %#lx is zeroed and not zero",
				  pool->nid, chunk->frames[i].pfn);
	return true;
}

/* None of what is set aside may be counted as the pool's. */
static void vmlab_check_gigantic(struct vmlab_check *c, struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic;
	unsigned int i, zeroed, nr = 0;

	list_for_each_entry(gigantic, &pool->gigantic, link) {
		for (i = 0, zeroed = 0; i < VMLAB_GIGANTIC_CHUNKS; i++) {
			struct vmlab_chunk *chunk = &gigantic->chunks[i];

			vmlab_check_chunk(c, pool, chunk);
			if (vmlab_check_whole(c, pool, chunk, &zeroed) || !chunk->offline ||
			    chunk->gigantic != gigantic || !list_empty(&chunk->link))
				vmlab_bad(c, VMLAB_LAW_HUGE,
					  "node %d: a chunk of 1 GiB at pfn %#lx is the pool's",
					  pool->nid, chunk->frames[0].pfn);
			if (vmlab_chunk_is_whole(chunk) == chunk->reserved)
				vmlab_bad(c, VMLAB_LAW_HUGE,
					  "node %d: a chunk of 1 GiB at pfn %#lx is %s", pool->nid,
					  chunk->frames[0].pfn,
					  chunk->reserved ? "free and reserved" : "used and not");
			cond_resched();
		}
		nr++;
	}
	if (nr != pool->nr_gigantic)
		vmlab_bad(c, VMLAB_LAW_HUGE, "node %d: %u pages of 1 GiB, counted %u", pool->nid,
			  nr, pool->nr_gigantic);
}

static void vmlab_check_pool(struct vmlab_check *c, struct vmlab_pool *pool)
{
	unsigned int i, whole = 0, zeroed = 0;
	unsigned long free = pool->nr_stock;

	for (i = 0; i < pool->nr_chunks; i++) {
		vmlab_check_chunk(c, pool, pool->chunks[i]);
		whole += vmlab_check_whole(c, pool, pool->chunks[i], &zeroed);
		if (!pool->chunks[i]->offline)
			free += pool->chunks[i]->nr_free;
		cond_resched();
	}
	vmlab_check_gigantic(c, pool);
	c->nr_whole += whole;
	if (whole != pool->nr_whole || zeroed != pool->nr_zeroed_chunks)
		vmlab_bad(c, VMLAB_LAW_HUGE,
			  "node %d: %u whole chunks, %u zeroed, counted %u and %u", pool->nid,
			  whole, zeroed, pool->nr_whole, pool->nr_zeroed_chunks);
	if (free != pool->nr_free)
		vmlab_bad(c, VMLAB_LAW_FRAMES, "node %d: %lu free, counted %lu",
			  pool->nid, free, pool->nr_free);
}

/* --- swap ---------------------------------------------------------------- */

static void vmlab_check_swap_slot(struct vmlab_check *c, u64 entry,
				  struct vmlab_swap_slot *slot, u16 named)
{
	u32 *count;

	if (slot->refs == VMLAB_SWAP_REFS_BAD || !slot->refs) {
		if (named)
			vmlab_bad(c, VMLAB_LAW_SWAP, "entry %#llx is %s and named %u times",
				  entry, slot->refs ? "bad" : "free", named);
		return;
	}
	c->nr_swap_used++;
	if (slot->refs != named)
		vmlab_bad(c, VMLAB_LAW_SWAP, "entry %#llx: named %u times, %u references",
			  entry, named, slot->refs);
	if (!slot->frame)
		return;
	count = vmlab_check_count(c, slot->frame);
	if (!count || slot->frame->state != VMLAB_FRAME_RESIDENT || slot->frame->swap != entry)
		vmlab_bad(c, VMLAB_LAW_SWAP, "entry %#llx knows a frame that is not its own",
			  entry);
}

static void vmlab_check_map(struct vmlab_check *c, unsigned int dev)
{
	struct vmlab_swap_map *map = c->maps[dev];
	u64 offset, free = 0, bad = 0;

	for (offset = 0; offset < map->nr_slots; offset++) {
		struct vmlab_swap_slot *slot = &map->slots[offset];

		if (test_bit(offset, map->used) != !!slot->refs)
			vmlab_bad(c, VMLAB_LAW_SWAP,
				  "device %u slot %llu: %u references, its bit says %s",
				  dev, offset, slot->refs, slot->refs ? "free" : "used");
		free += !slot->refs;
		bad += slot->refs == VMLAB_SWAP_REFS_BAD;
		vmlab_check_swap_slot(c, (u64)dev << VMLAB_SWAP_DEV_SHIFT | offset, slot,
				      c->named[dev][offset]);
		if (!(offset % 65536))
			cond_resched();
	}
	if (free != map->nr_free || bad != map->nr_bad)
		vmlab_bad(c, VMLAB_LAW_SWAP,
			  "device %u: %llu free %llu bad, counted %llu %llu",
			  dev, free, bad, map->nr_free, map->nr_bad);
}

/* --- page tables --------------------------------------------------------- */

/**
 * struct vmlab_check_pte - one mapped page
 * @obj:	the object of its VMA
 * @pgoff:	the page
 * @addr:	where it is mapped
 * @pfn:	what the PTE maps
 * @write:	it is writable
 * @dirty:	it is dirty
 */
struct vmlab_check_pte {
	struct vmlab_object	*obj;
	u64			pgoff;
	unsigned long		addr;
	unsigned long		pfn;
	bool			write;
	bool			dirty;
};

/* @entry: what object->leaves has for the 2 MiB: a leaf, a mark, or nothing. */
static void vmlab_check_zero_pte(struct vmlab_check *c, struct vmlab_check_pte *pte,
				 void *entry, unsigned long word)
{
	c->nr_zero_ptes++;
	if (!xa_is_value(entry) && !(vmlab_word_is_empty(word) && (word & VMLAB_SLOT_ZERO)))
		vmlab_bad(c, VMLAB_LAW_PTES,
			  "object %llu page %llu: the zero page at %#lx, its slot says %#lx",
			  pte->obj->id, pte->pgoff, pte->addr, word & VMLAB_SLOT_FLAGS);
	if (pte->write)
		vmlab_bad(c, VMLAB_LAW_WRITABLE,
			  "object %llu page %llu: a writable zero page at %#lx",
			  pte->obj->id, pte->pgoff, pte->addr);
}

static void vmlab_check_frame_pte(struct vmlab_check *c, struct vmlab_check_pte *pte,
				  struct vmlab_leaf *leaf, struct vmlab_frame *frame)
{
	bool dirty = frame->flags & VMLAB_FRAME_DIRTY;
	bool shared = leaf->owners > 1 || atomic_read(&frame->refs) > 1;

	if (pte->pfn != frame->pfn)
		vmlab_bad(c, VMLAB_LAW_PTES,
			  "object %llu page %llu: pfn %#lx at %#lx, its slot names %#lx",
			  pte->obj->id, pte->pgoff, pte->pfn, pte->addr, frame->pfn);
	c->nr_writable += pte->write;
	if (pte->write && (!dirty || shared))
		vmlab_bad(c, VMLAB_LAW_WRITABLE,
			  "object %llu page %llu: writable at %#lx, %s, %d references, %u owners",
			  pte->obj->id, pte->pgoff, pte->addr, dirty ? "dirty" : "clean",
			  atomic_read(&frame->refs), leaf->owners);
	else if (pte->dirty && (!dirty || shared))
		vmlab_bad(c, VMLAB_LAW_WRITABLE,
			  "object %llu page %llu: a dirty PTE at %#lx of a %s frame",
			  pte->obj->id, pte->pgoff, pte->addr, dirty ? "shared" : "clean");
}

static void vmlab_check_pte(struct vmlab_check *c, struct vmlab_check_pte *pte, void *entry)
{
	struct vmlab_leaf *leaf = xa_is_value(entry) ? NULL : entry;
	unsigned long word = leaf ? leaf->words[pte->pgoff & (VMLAB_LEAF_SLOTS - 1)] : 0;
	bool known = vmlab_word_is_frame(word) &&
		     vmlab_check_count(c, vmlab_word_frame(word));

	if (c->find) {
		if (known && (c->find == VMLAB_LAW_PTES || pte->write))
			c->found = vmlab_word_frame(word);
		return;
	}
	c->nr_ptes++;
	if (is_zero_pfn(pte->pfn))
		vmlab_check_zero_pte(c, pte, entry, word);
	else if (known)
		vmlab_check_frame_pte(c, pte, leaf, vmlab_word_frame(word));
	else
		vmlab_bad(c, VMLAB_LAW_PTES,
			  "object %llu page %llu: pfn %#lx at %#lx, its slot names no frame",
			  pte->obj->id, pte->pgoff, pte->pfn, pte->addr);
}

static void vmlab_check_table(struct vmlab_check *c, struct vm_area_struct *vma, pmd_t *pmd,
			      unsigned long addr, unsigned long end)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);
	struct vmlab_check_pte found = { .obj = region->object };
	unsigned long index = ULONG_MAX;
	void *entry = NULL;
	spinlock_t *ptl;	/* of the PTE table */
	pte_t *pte;

	/* Who would take the table away is frozen. */
	ptl = pte_lockptr(vma->vm_mm, pmd);
	spin_lock(ptl);
	for (pte = pte_offset_kernel(pmd, addr); addr < end; pte++, addr += PAGE_SIZE) {
		pte_t now = READ_ONCE(*pte);

		if (!pte_present(now))
			continue;
		/* A fork without memory for its copy maps nothing. */
		if (!found.obj) {
			vmlab_bad(c, VMLAB_LAW_PTES, "no object, but pfn %#lx at %#lx",
				  pte_pfn(now), addr);
			continue;
		}
		found.addr = addr;
		found.pgoff = linear_page_index(vma, addr);
		found.pfn = pte_pfn(now);
		found.write = pte_write(now);
		found.dirty = pte_dirty(now);
		/* A PTE table need not be aligned with the leaves. */
		if (found.pgoff >> VMLAB_LEAF_SHIFT != index) {
			index = found.pgoff >> VMLAB_LEAF_SHIFT;
			entry = xa_load(&found.obj->leaves, index);
		}
		/* What is not special can be pinned behind our back. */
		if (!c->find && !pte_special(now))
			vmlab_bad(c, VMLAB_LAW_PTES, "object %llu page %llu: not special at %#lx",
				  found.obj->id, found.pgoff, addr);
		vmlab_check_pte(c, &found, entry);
	}
	spin_unlock(ptl);
}

/* A PMD that maps 2 MiB, as 512 PTEs. */
static void vmlab_check_huge_pmd(struct vmlab_check *c, struct vm_area_struct *vma, pmd_t *pmd,
				 unsigned long addr)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);
	struct vmlab_check_pte found = { .obj = region->object };
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	struct vmlab_leaf *leaf = NULL;
	pmd_t now = READ_ONCE(*pmd);
	unsigned int i;

	/* munmap() goes on. */
	if (!vmlab_pmd_is_huge(now))
		goto unlock;
	if (found.obj)
		leaf = xa_load(&found.obj->leaves,
			       linear_page_index(vma, addr) >> VMLAB_LEAF_SHIFT);
	if (!leaf || xa_is_value(leaf) || !leaf->huge || !vmlab_huge_fits(vma, addr)) {
		if (!c->find)
			vmlab_bad(c, VMLAB_LAW_PTES, "2 MiB at %#lx, and no huge leaf there", addr);
		goto unlock;
	}
	if (!c->find && !vmlab_pmd_special(now))
		vmlab_bad(c, VMLAB_LAW_PTES, "2 MiB at %#lx are not special", addr);
	c->nr_pmds += !c->find;
	found.write = pmd_write(now);
	found.dirty = pmd_dirty(now);
	for (i = 0; i < VMLAB_LEAF_SLOTS && !c->found; i++) {
		found.addr = (addr & PMD_MASK) + i * PAGE_SIZE;
		found.pgoff = (leaf->index << VMLAB_LEAF_SHIFT) + i;
		found.pfn = pmd_pfn(now) + i;
		vmlab_check_pte(c, &found, leaf);
	}
unlock:
	spin_unlock(ptl);
}

/* A PUD that maps 1 GiB, as so many PTEs. */
static void vmlab_check_gigantic_pud(struct vmlab_check *c, struct vm_area_struct *vma,
				     pud_t now, unsigned long addr)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);
	struct vmlab_check_pte found = { .obj = region->object };
	struct vmlab_leaf *leaf = NULL;
	unsigned long i;

	if (!c->find && (!found.obj || !vmlab_pud_fits(vma, addr) || !vmlab_pud_special(now)))
		vmlab_bad(c, VMLAB_LAW_PTES, "1 GiB at %#lx is of no object, or not special", addr);
	c->nr_puds += !c->find;
	found.write = pud_write(now);
	found.dirty = pud_dirty(now);
	for (i = 0; found.obj && i < VMLAB_GIGANTIC_FRAMES && !c->found; i++) {
		found.addr = (addr & PUD_MASK) + i * PAGE_SIZE;
		found.pgoff = linear_page_index(vma, found.addr);
		found.pfn = pud_pfn(now) + i;
		if (!(i % VMLAB_LEAF_SLOTS)) {
			leaf = xa_load(&found.obj->leaves, found.pgoff >> VMLAB_LEAF_SHIFT);
			if (!c->find && (!leaf || xa_is_value(leaf) || !leaf->huge))
				vmlab_bad(c, VMLAB_LAW_PTES, "1 GiB at %#lx, no huge leaf at %#lx",
					  addr, found.addr);
			cond_resched();
		}
		vmlab_check_pte(c, &found, leaf);
	}
}

static void vmlab_check_pmds(struct vmlab_check *c, struct vm_area_struct *vma, pud_t *pud,
			     unsigned long addr, unsigned long end)
{
	pmd_t *pmd = pmd_offset(pud, addr);
	unsigned long next;

	for (; addr < end; pmd++, addr = next) {
		pmd_t now = READ_ONCE(*pmd);

		next = pmd_addr_end(addr, end);
		if (!pmd_present(now))
			continue;
		if (!pmd_leaf(now))
			vmlab_check_table(c, vma, pmd, addr, next);
		else
			vmlab_check_huge_pmd(c, vma, pmd, addr);
		cond_resched();
	}
}

static void vmlab_check_puds(struct vmlab_check *c, struct vm_area_struct *vma, p4d_t *p4d,
			     unsigned long addr, unsigned long end)
{
	pud_t *pud = pud_offset(p4d, addr);
	unsigned long next;

	for (; addr < end; pud++, addr = next) {
		pud_t now = READ_ONCE(*pud);

		next = pud_addr_end(addr, end);
		/* It may go meanwhile, but what it maps is frozen. */
		if (vmlab_pud_is_huge(now))
			vmlab_check_gigantic_pud(c, vma, now, addr);
		else if (vmlab_pud_is_table(now))
			vmlab_check_pmds(c, vma, pud, addr, next);
	}
}

/* Goes down only where there are tables: 512 GiB are passed in a few steps. */
static void vmlab_check_vma(struct vm_area_struct *vma, void *arg)
{
	unsigned long addr = vma->vm_start, next, p4d_next;
	struct vmlab_check *c = arg;
	p4d_t *p4d;
	pgd_t *pgd;

	for (; addr < vma->vm_end && !c->found; addr = next) {
		next = pgd_addr_end(addr, vma->vm_end);
		pgd = pgd_offset(vma->vm_mm, addr);
		if (!pgd_present(READ_ONCE(*pgd)))
			continue;
		p4d = p4d_offset(pgd, addr);
		for (; addr < next; p4d++, addr = p4d_next) {
			p4d_next = p4d_addr_end(addr, next);
			if (p4d_present(READ_ONCE(*p4d)))
				vmlab_check_puds(c, vma, p4d, addr, p4d_next);
		}
	}
}

static void vmlab_check_ptes(struct vmlab_check *c)
{
	struct vmlab_lineage *lineage;
	u64 id;

	for (id = 0; !c->found && (lineage = vmlab_lineage_next(c->vm, &id)); id++) {
		vmlab_rmap_for_each_vma(lineage, vmlab_check_vma, c);
		vmlab_lineage_put(lineage);
	}
}

/* --- breaking a law ------------------------------------------------------ */

static struct vmlab_frame *vmlab_find_resident(struct vmlab_check *c, u8 flags)
{
	unsigned int i, j;

	for (i = 0; i < c->nr_chunks; i++) {
		for (j = 0; j < VMLAB_CHUNK_FRAMES; j++) {
			struct vmlab_frame *frame = &c->chunks[i].frames[j];

			if (frame->state == VMLAB_FRAME_RESIDENT &&
			    (frame->flags & flags) == flags)
				return frame;
		}
		cond_resched();
	}
	return NULL;
}

/* A frame that some PTE maps, writable if @law is WRITABLE. */
static struct vmlab_frame *vmlab_find_mapped(struct vmlab_check *c, enum vmlab_law law)
{
	struct vmlab_frame *frame;

	c->find = law;
	vmlab_check_ptes(c);
	frame = c->found;
	c->find = VMLAB_LAW_NONE;
	c->found = NULL;
	return frame;
}

static bool vmlab_break_swap(struct vmlab_check *c)
{
	struct vmlab_broken *b = &c->broken;
	unsigned int dev;
	u64 offset;

	for (dev = 0; dev < VMLAB_SWAP_MAX_DEVS && !b->slot; dev++) {
		struct vmlab_swap_map *map = c->maps[dev];

		if (!map)
			continue;
		b->map = map;
		for (offset = 1; offset < map->nr_slots && !b->slot; offset++)
			if (map->slots[offset].refs &&
			    map->slots[offset].refs < VMLAB_SWAP_REFS_MAX)
				b->slot = &map->slots[offset];
	}
	if (b->slot)
		b->slot->refs++;
	else if (b->map)
		WRITE_ONCE(b->map->nr_free, b->map->nr_free + 1);
	return b->map;
}

static bool vmlab_break_counts(struct vmlab_check *c)
{
	struct vmlab_broken *b = &c->broken;
	unsigned long index = 0;
	u64 id;

	for (id = 0; !b->leaf; id++) {
		struct vmlab_lineage *lineage = vmlab_lineage_next(c->vm, &id);

		if (!lineage)
			break;
		if (b->lineage)
			vmlab_lineage_put(b->lineage);
		b->lineage = lineage;
		index = 0;
		b->leaf = xa_find(&lineage->leaves, &index, ULONG_MAX, XA_PRESENT);
	}
	if (b->leaf)
		b->leaf->nr_present++;
	else if (b->lineage)
		atomic_long_inc(&b->lineage->nr_frames);
	return b->lineage;
}

/*
 * Breaks @c->wanted, if there is anything to break; vmlab_break_undo() must
 * follow before the instance goes on.
 */
static void vmlab_break_apply(struct vmlab_check *c)
{
	struct vmlab_broken *b = &c->broken;
	bool done = false;

	switch (c->wanted) {
	case VMLAB_LAW_FRAMES:
		b->pool = c->nr_chunks ? c->chunks[0].pool : NULL;
		done = b->pool;
		if (done)
			WRITE_ONCE(b->pool->nr_free, b->pool->nr_free + 1);
		break;
	case VMLAB_LAW_REFS:
		b->frame = vmlab_find_resident(c, 0);
		done = b->frame;
		if (done)
			atomic_dec(&b->frame->refs);
		break;
	case VMLAB_LAW_SWAP:
		done = vmlab_break_swap(c);
		break;
	case VMLAB_LAW_PTES:
		/* The descriptor lies, not the PTE: its users go on meanwhile. */
		b->frame = vmlab_find_mapped(c, VMLAB_LAW_PTES);
		done = b->frame;
		if (done)
			b->frame->pfn ^= 1;
		break;
	case VMLAB_LAW_WRITABLE:
		b->frame = vmlab_find_mapped(c, VMLAB_LAW_WRITABLE);
		if (!b->frame || !(b->frame->flags & VMLAB_FRAME_DIRTY))
			b->frame = vmlab_find_resident(c, VMLAB_FRAME_DIRTY);
		done = b->frame;
		if (done)
			b->frame->flags &= ~VMLAB_FRAME_DIRTY;
		break;
	case VMLAB_LAW_HUGE:
		b->pool = c->nr_chunks ? c->chunks[0].pool : NULL;
		done = b->pool;
		if (done)
			WRITE_ONCE(b->pool->nr_whole, b->pool->nr_whole + 1);
		break;
	case VMLAB_LAW_COUNTS:
		done = vmlab_break_counts(c);
		break;
	default:
		break;
	}
	b->law = done ? c->wanted : VMLAB_LAW_NONE;
}

static void vmlab_break_undo(struct vmlab_check *c)
{
	struct vmlab_broken *b = &c->broken;

	switch (b->law) {
	case VMLAB_LAW_FRAMES:
		WRITE_ONCE(b->pool->nr_free, b->pool->nr_free - 1);
		break;
	case VMLAB_LAW_REFS:
		atomic_inc(&b->frame->refs);
		break;
	case VMLAB_LAW_SWAP:
		if (b->slot)
			b->slot->refs--;
		else
			WRITE_ONCE(b->map->nr_free, b->map->nr_free - 1);
		break;
	case VMLAB_LAW_PTES:
		b->frame->pfn ^= 1;
		break;
	case VMLAB_LAW_WRITABLE:
		b->frame->flags |= VMLAB_FRAME_DIRTY;
		break;
	case VMLAB_LAW_HUGE:
		WRITE_ONCE(b->pool->nr_whole, b->pool->nr_whole - 1);
		break;
	case VMLAB_LAW_COUNTS:
		if (b->leaf)
			b->leaf->nr_present--;
		else
			atomic_long_dec(&b->lineage->nr_frames);
		break;
	default:
		break;
	}
	if (b->lineage)
		vmlab_lineage_put(b->lineage);
}

/* --- one check ----------------------------------------------------------- */

static void vmlab_check_collect(struct vmlab_check *c, struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic;
	unsigned int i;

	for (i = 0; i < pool->nr_chunks; i++)
		c->chunks[c->nr_chunks++] = (struct vmlab_check_chunk){
			.frames = pool->chunks[i]->frames, .pool = pool,
		};
	list_for_each_entry(gigantic, &pool->gigantic, link)
		for (i = 0; i < VMLAB_GIGANTIC_CHUNKS; i++)
			c->chunks[c->nr_chunks++] = (struct vmlab_check_chunk){
				.frames = gigantic->chunks[i].frames, .pool = pool,
			};
}

/* Memory for all counts, before anything stands still.  Both mutexes are held. */
static int vmlab_check_prepare(struct vmlab_check *c)
{
	struct vmlab *vm = c->vm;
	unsigned int dev, nr = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			nr += vm->pools[nid]->nr_chunks +
			      vm->pools[nid]->nr_gigantic * VMLAB_GIGANTIC_CHUNKS;
	if (!vmlab_should_fail(vm, VMLAB_INJECT_verify))
		c->chunks = kvcalloc(nr + 1, sizeof(*c->chunks), GFP_KERNEL);
	if (!vmlab_should_fail(vm, VMLAB_INJECT_verify))
		c->counts = kvcalloc(nr + 1, VMLAB_CHUNK_FRAMES * sizeof(*c->counts), GFP_KERNEL);
	if (!c->chunks || !c->counts)
		return -ENOMEM;
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vmlab_check_collect(c, vm->pools[nid]);
	sort(c->chunks, c->nr_chunks, sizeof(*c->chunks), vmlab_check_by_address, NULL);

	for (dev = 0; dev < VMLAB_SWAP_MAX_DEVS; dev++) {
		struct vmlab_swap_dev *swap =
			rcu_dereference_protected(vm->swap_devs[dev],
						  lockdep_is_held(&vm->swap_mutex));

		if (!swap)
			continue;
		c->maps[dev] = &swap->map;
		/* kvcalloc() has a bound of 2 GiB, and warns. */
		if (!vmlab_should_fail(vm, VMLAB_INJECT_verify))
			c->named[dev] = vcalloc(swap->map.nr_slots, sizeof(*c->named[dev]));
		if (!c->named[dev])
			return -ENOMEM;
	}
	return 0;
}

/* The instance is frozen. */
static void vmlab_check_all(struct vmlab_check *c)
{
	struct vmlab_lineage *lineage;
	struct vmlab *vm = c->vm;
	struct vmlab_object *obj;
	unsigned int dev;
	int nid;
	u64 id;

	/* Caches and leaves count their frames first, and slots what they name. */
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vmlab_check_caches(c, vm->pools[nid]);
	for (id = 0; (lineage = vmlab_lineage_next(vm, &id)); id++) {
		vmlab_check_lineage(c, lineage);
		vmlab_lineage_put(lineage);
	}
	for (id = 0; (obj = vmlab_object_next(vm, &id)); id++) {
		vmlab_check_object(c, obj);
		vmlab_object_put(obj);
	}
	if (c->nr_owners != c->nr_object_leaves)
		vmlab_bad(c, VMLAB_LAW_COUNTS, "leaves have %llu owners, objects %llu leaves",
			  c->nr_owners, c->nr_object_leaves);
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vmlab_check_pool(c, vm->pools[nid]);
	for (dev = 0; dev < VMLAB_SWAP_MAX_DEVS; dev++)
		if (c->maps[dev])
			vmlab_check_map(c, dev);
	vmlab_check_ptes(c);
}

static void vmlab_check_details(struct vmlab_check *c, enum vmlab_law law, struct seq_file *m)
{
	switch (law) {
	case VMLAB_LAW_FRAMES:
		seq_printf(m, "%llu total = %llu free + %llu cached + %llu resident + %llu leaves + %llu in flight",
			   (u64)c->nr_chunks * VMLAB_CHUNK_FRAMES,
			   c->state[VMLAB_FRAME_FREE], c->state[VMLAB_FRAME_CACHED],
			   c->state[VMLAB_FRAME_RESIDENT], c->state[VMLAB_FRAME_LEAF],
			   c->state[VMLAB_FRAME_INFLIGHT]);
		break;
	case VMLAB_LAW_REFS:
		seq_printf(m, "%llu slots name %llu resident frames", c->nr_slots,
			   c->state[VMLAB_FRAME_RESIDENT]);
		break;
	case VMLAB_LAW_SWAP:
		seq_printf(m, "%llu slots swapped, %llu swap slots used", c->nr_swapped,
			   c->nr_swap_used);
		break;
	case VMLAB_LAW_PTES:
		seq_printf(m, "%llu present, %llu of them the zero page", c->nr_ptes,
			   c->nr_zero_ptes);
		break;
	case VMLAB_LAW_WRITABLE:
		seq_printf(m, "%llu writable PTEs", c->nr_writable);
		break;
	case VMLAB_LAW_HUGE:
		seq_printf(m, "%llu huge leaves, %llu PMDs, %llu PUDs, %llu whole chunks free",
			   c->nr_huge, c->nr_pmds, c->nr_puds, c->nr_whole);
		break;
	case VMLAB_LAW_COUNTS:
		seq_printf(m, "%llu leaves of %llu objects", c->nr_leaves, c->nr_objects);
		break;
	default:
		break;
	}
}

static void vmlab_check_print(struct vmlab_check *c, struct seq_file *m)
{
	enum vmlab_law law;
	unsigned int i;

	for (law = VMLAB_LAW_FRAMES; law < VMLAB_NR_LAWS; law++) {
		struct vmlab_verdict *verdict = &c->verdicts[law];

		seq_printf(m, "%s %s: ", verdict->nr_bad ? "BAD" : "ok", vmlab_law_names[law]);
		vmlab_check_details(c, law, m);
		if (verdict->nr_bad)
			seq_printf(m, "; %llu bad", verdict->nr_bad);
		for (i = 0; i < verdict->nr_bad && i < VMLAB_OFFENDERS; i++)
			seq_printf(m, "; %s", verdict->text[i]);
		if (law == c->wanted)
			seq_puts(m, c->broken.law ? " (broken on purpose)" :
						    " (nothing there to break)");
		seq_putc(m, '\n');
	}
}

static void vmlab_check_free(struct vmlab_check *c)
{
	unsigned int dev;

	for (dev = 0; dev < VMLAB_SWAP_MAX_DEVS; dev++)
		vfree(c->named[dev]);
	kvfree(c->counts);
	kvfree(c->chunks);
	kfree(c);
}

/**
 * vmlab_verify() - check every law now, and print a line about each
 * @vm: the instance; stands still meanwhile
 * @m: where to: `ok NAME: details` or `BAD NAME: details; N bad; the first few`
 *
 * Context: process context, sleeps, long; no lock of vmlab's held.
 * Return: 0, whatever the verdict; -ENOMEM when there is no memory to count in;
 * -EINTR.
 */
int vmlab_verify(struct vmlab *vm, struct seq_file *m)
{
	struct vmlab_check *c;
	int err = -EINTR;

	c = vmlab_should_fail(vm, VMLAB_INJECT_verify) ? NULL : kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	c->vm = vm;
	c->wanted = READ_ONCE(vm->broken_law);
	if (mutex_lock_interruptible(&vm->swap_mutex))
		goto free;
	if (mutex_lock_interruptible(&vm->resize_mutex))
		goto unlock_swap;
	err = vmlab_check_prepare(c);
	if (!err) {
		/* A CPU that dies has its cache drained without vm->activity. */
		cpus_read_lock();
		percpu_down_write(&vm->activity);
		vmlab_break_apply(c);
		vmlab_check_all(c);
		vmlab_break_undo(c);
		percpu_up_write(&vm->activity);
		cpus_read_unlock();
	}
	mutex_unlock(&vm->resize_mutex);
unlock_swap:
	mutex_unlock(&vm->swap_mutex);
	if (!err)
		vmlab_check_print(c, m);
free:
	vmlab_check_free(c);
	return err;
}

/**
 * vmlab_break() - choose the law that every vmlab_verify() from now on finds broken
 * @vm: the instance
 * @law: its name, or "none"
 *
 * The damage is done within the check, where nobody else can see it, and is
 * undone before the check ends.  A law about frames, PTEs or swap slots can be
 * broken only while there are some: the check says so.
 *
 * Return: 0, or -EINVAL for a name that is none.
 */
int vmlab_break(struct vmlab *vm, const char *law)
{
	int i = match_string(vmlab_law_names, VMLAB_NR_LAWS, law);

	if (i < 0)
		return -EINVAL;
	WRITE_ONCE(vm->broken_law, i);
	return 0;
}

/**
 * vmlab_break_show() - print the names for vmlab_break(), the one in force in brackets
 * @vm: the instance
 * @m: where to
 *
 * Return: 0.
 */
int vmlab_break_show(struct vmlab *vm, struct seq_file *m)
{
	unsigned int now = READ_ONCE(vm->broken_law), i;

	for (i = 0; i < VMLAB_NR_LAWS; i++)
		seq_printf(m, i == now ? "%s[%s]" : "%s%s", i ? " " : "",
			   vmlab_law_names[i]);
	seq_putc(m, '\n');
	return 0;
}
