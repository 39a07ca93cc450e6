// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a batch of victims out of memory.
 *
 * Owns the order in which that happens: lock the slots (trylock, what is busy
 * stays); find room on swap; unmap all, one flush for as many as possible; write
 * the dirty ones; turn slots into swap entries; free the frames.  A slot stops
 * naming its frame only after the flush, and a page that could not be written
 * stays, dirty again.  It never chooses: policies and reclaim.c do.
 */
#include <linux/mempool.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "trace.h"
#include "vmlab.h"

/**
 * vmlab_batch_size() - bytes of a batch
 * @max: victims that it has room for
 */
size_t vmlab_batch_size(unsigned int max)
{
	return struct_size_t(struct vmlab_batch, victims, max) +
	       max * sizeof(struct vmlab_swap_io);
}

/* A large one, if the machine has memory to spare: it has no reserve. */
static struct vmlab_batch *vmlab_batch_alloc_large(struct vmlab *vm)
{
	if (vmlab_should_fail(vm, VMLAB_INJECT_batch))
		return NULL;
	return kmalloc(vmlab_batch_size(VMLAB_BATCH_LARGE),
		       GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
}

/**
 * vmlab_batch_alloc() - memory for a round of eviction
 * @vm: the instance
 * @wanted: victims that there may be; it has room for VMLAB_BATCH, or for so many
 *
 * Context: may wait for another round to end; starts no I/O.
 * Return: an empty batch that takes clean and dirty victims alike.
 */
struct vmlab_batch *vmlab_batch_alloc(struct vmlab *vm, unsigned int wanted)
{
	struct vmlab_batch *batch = NULL;
	unsigned int max = VMLAB_BATCH_LARGE;

	if (wanted > VMLAB_BATCH)
		batch = vmlab_batch_alloc_large(vm);
	if (!batch) {
		max = VMLAB_BATCH;
		batch = mempool_alloc(vm->batches, GFP_NOIO);
	}
	batch->max = max;
	batch->io.io = (struct vmlab_swap_io *)(batch->victims + max);
	batch->nr = 0;
	batch->all_failed = false;
	batch->dirty_quota = max;
	batch->clean_quota = max;
	return batch;
}

/**
 * vmlab_batch_free() - give it back
 * @vm: the instance
 * @batch: without victims
 */
void vmlab_batch_free(struct vmlab *vm, struct vmlab_batch *batch)
{
	if (batch->max > VMLAB_BATCH)
		kfree(batch);
	else
		mempool_free(batch, vm->batches);
}

/**
 * vmlab_evict_add_slot() - add a page to a batch
 * @batch: not full
 * @lineage: the page's lineage
 * @slot: its slot, locked; the batch has it from now on, if it takes it
 *
 * Return: false, and the slot is still the caller's, when it names no frame, is
 * pinned or reserved, or the batch takes no more of its kind.
 */
bool vmlab_evict_add_slot(struct vmlab_batch *batch, struct vmlab_lineage *lineage,
			  struct vmlab_slot *slot)
{
	struct vmlab_victim *victim = &batch->victims[batch->nr];
	struct vmlab_frame *frame;
	unsigned int *quota;
	bool dirty, shared;

	if (!vmlab_word_is_frame(slot->word) || (slot->word & VMLAB_SLOT_PINNED))
		return false;
	frame = vmlab_word_frame(slot->word);
	if (READ_ONCE(frame->chunk->reserved))
		return false;
	dirty = READ_ONCE(frame->flags) & VMLAB_FRAME_DIRTY;
	quota = dirty ? &batch->dirty_quota : &batch->clean_quota;
	if (!*quota)
		return false;
	/* References do not rise while a slot that names the frame is locked. */
	shared = atomic_read(&frame->refs) > 1;
	if (shared && !vmlab_siblings_trylock(slot))
		return false;
	/* swapoff may have taken its copy away meanwhile, by the slot of a sibling. */
	if (shared && dirty != !!(frame->flags & VMLAB_FRAME_DIRTY)) {
		vmlab_siblings_unlock(slot, frame, vmlab_frame_word(frame));
		return false;
	}
	--*quota;
	kref_get(&lineage->ref);
	victim->lineage = lineage;
	victim->frame = frame;
	victim->slot = *slot;
	victim->pgoff = vmlab_slot_pgoff(slot);
	victim->write = dirty;
	victim->shared = shared;
	victim->entry = dirty ? 0 : frame->swap;
	batch->nr++;
	return true;
}

/* Finds the slot that names a frame and locks it, if it is free.  RCU. */
static bool vmlab_frame_trylock_slot(struct vmlab_lineage *lineage,
				     struct vmlab_frame *frame, struct vmlab_slot *slot)
{
	u64 pgoff = READ_ONCE(frame->pgoff);
	struct vmlab_leaf *leaf;

	for (leaf = xa_load(&lineage->leaves, pgoff >> VMLAB_LEAF_SHIFT); leaf;
	     leaf = rcu_dereference(leaf->next)) {
		if (!vmlab_slot_trylock_in(leaf, pgoff & (VMLAB_LEAF_SLOTS - 1), slot))
			continue;
		if (vmlab_word_is_frame(slot->word) && vmlab_word_frame(slot->word) == frame)
			return true;
		vmlab_slot_unlock(slot);
	}
	return false;
}

/**
 * vmlab_evict_add() - add a frame that a policy proposed
 * @vm: the instance
 * @batch: not full
 * @frame: some frame: by now it may be free, or another page's
 *
 * Return: whether the batch has it.
 */
bool vmlab_evict_add(struct vmlab *vm, struct vmlab_batch *batch,
		     struct vmlab_frame *frame)
{
	struct vmlab_lineage *lineage;
	struct vmlab_slot slot;
	bool added = false;

	rcu_read_lock();
	lineage = rcu_dereference(frame->lineage);
	if (!lineage || !vmlab_lineage_tryget(lineage)) {
		rcu_read_unlock();
		return false;
	}
	if (vmlab_frame_trylock_slot(lineage, frame, &slot)) {
		added = vmlab_evict_add_slot(batch, lineage, &slot);
		if (!added)
			vmlab_slot_unlock(&slot);
	}
	rcu_read_unlock();
	if (!added)
		vmlab_count(vm, evict_busy, 1);
	vmlab_lineage_put(lineage);
	return added;
}

/* Neighbours in the object become neighbours on disk. */
static int vmlab_victim_cmp(const void *a, const void *b)
{
	const struct vmlab_victim *x = a, *y = b;

	if (x->lineage != y->lineage)
		return x->lineage->id < y->lineage->id ? -1 : 1;
	if (x->pgoff != y->pgoff)
		return x->pgoff < y->pgoff ? -1 : 1;
	return 0;
}

/* Unlocks a victim's slots; they say what its first slot says. */
static void vmlab_victim_release(struct vmlab_victim *victim)
{
	if (victim->shared)
		vmlab_siblings_unlock(&victim->slot, victim->frame, victim->slot.word);
	vmlab_slot_unlock(&victim->slot);
	vmlab_lineage_put(victim->lineage);
}

/* Gives each dirty victim a slot on swap; those that find none leave the batch. */
static void vmlab_evict_find_room(struct vmlab *vm, struct vmlab_batch *batch)
{
	unsigned int i, kept = 0, dirty = 0, run = 0;
	u64 next = 0;

	for (i = 0; i < batch->nr; i++)
		dirty += batch->victims[i].write;
	for (i = 0; i < batch->nr; i++) {
		struct vmlab_victim *victim = &batch->victims[i];

		if (victim->write) {
			if (!run)
				run = vmlab_swap_alloc(vm, dirty, &next);
			/* One fewer, whether it finds one or not: each run must be used up. */
			dirty--;
			if (!run) {
				vmlab_count(vm, evict_no_swap, 1);
				vmlab_victim_release(victim);
				continue;
			}
			victim->entry = next++;
			run--;
		}
		atomic_inc(&victim->lineage->nr_moving);
		if (kept != i)
			batch->victims[kept] = *victim;
		kept++;
	}
	batch->nr = kept;
}

/* Unmaps the victims from @i on that are in one lineage; returns the next one's index. */
static unsigned int vmlab_evict_unmap_lineage(struct vmlab_batch *batch, unsigned int i)
{
	struct vmlab_lineage *lineage = batch->victims[i].lineage;
	DECLARE_BITMAP(shared, VMLAB_LEAF_SLOTS);
	DECLARE_BITMAP(slots, VMLAB_LEAF_SLOTS);
	struct vmlab_tlb tlb;

	vmlab_tlb_begin(&tlb, lineage);
	while (i < batch->nr && batch->victims[i].lineage == lineage) {
		struct vmlab_leaf *leaf = batch->victims[i].slot.leaf;

		bitmap_zero(slots, VMLAB_LEAF_SLOTS);
		bitmap_zero(shared, VMLAB_LEAF_SLOTS);
		for (; i < batch->nr && batch->victims[i].slot.leaf == leaf; i++) {
			__set_bit(batch->victims[i].slot.index, slots);
			if (batch->victims[i].shared)
				__set_bit(batch->victims[i].slot.index, shared);
		}
		vmlab_tlb_unmap(&tlb, leaf, slots, shared);
	}
	vmlab_tlb_end(&tlb);
	return i;
}

/*
 * Dirty is cleared after the unmapping and before the write: from here on only
 * who takes the slot's lock can make the page dirty again.
 */
static void vmlab_evict_write(struct vmlab *vm, struct vmlab_batch *batch)
{
	struct vmlab_swap_batch *io = &batch->io;
	unsigned int i;

	io->vm = vm;
	io->write = true;
	io->nr = 0;
	for (i = 0; i < batch->nr; i++) {
		struct vmlab_victim *victim = &batch->victims[i];

		if (!victim->write)
			continue;
		victim->frame->flags &= ~VMLAB_FRAME_DIRTY;
		io->io[io->nr].frame = victim->frame;
		io->io[io->nr].entry = victim->entry;
		io->nr++;
	}
	if (!io->nr)
		return;
	vmlab_swap_submit(io);
	vmlab_swap_wait(io);
}

/*
 * The page goes: its slots name the swap entry, and the frame is free.  The reference
 * of the clean copy, or that of the write, becomes the first slot's.
 */
static void vmlab_evict_commit(struct vmlab *vm, struct vmlab_victim *victim)
{
	struct vmlab_frame *frame = victim->frame;
	int i, refs = atomic_read(&frame->refs);

	for (i = 1; i < refs; i++)
		WARN_ON_ONCE(!vmlab_swap_get(vm, victim->entry));
	if (!victim->write)
		WRITE_ONCE(vmlab_swap_slot(vm, victim->entry)->frame, NULL);
	frame->swap = 0;
	victim->slot.word = vmlab_entry_word(victim->entry);
	trace_evict(victim->lineage->id, victim->pgoff, vmlab_frame_nid(frame), frame->pfn,
		    victim->write);
	victim->slot.events |= VMLAB_EVENT_EVICT;
	if (victim->write)
		victim->slot.events |= VMLAB_EVENT_SWAP_OUT;
	else
		vmlab_count(vm, swap_clean_drop, 1);
	if (victim->shared) {
		vmlab_siblings_unlock(&victim->slot, frame, victim->slot.word);
		victim->shared = false;
	}
	vmlab_frame_retire(frame);
	vmlab_frame_unget(victim->lineage, frame);
}

/* The write failed: the page stays as it was. */
static void vmlab_evict_undo(struct vmlab *vm, struct vmlab_victim *victim, bool bad)
{
	victim->frame->flags |= VMLAB_FRAME_DIRTY;
	if (bad)
		vmlab_swap_mark_bad(vm, victim->entry);
	else
		vmlab_swap_put(vm, victim->entry);
}

/**
 * vmlab_evict() - evict a batch
 * @vm: the instance
 * @batch: its victims; empty afterwards
 *
 * Context: sleeps for I/O; holds no slot but the victims'.  vm->activity held for read.
 * Return: pages evicted.
 */
unsigned int vmlab_evict(struct vmlab *vm, struct vmlab_batch *batch)
{
	unsigned int i, written = 0, failed = 0, evicted = 0;

	sort(batch->victims, batch->nr, sizeof(batch->victims[0]), vmlab_victim_cmp, NULL);
	vmlab_evict_find_room(vm, batch);
	atomic_add(batch->nr, &vm->nr_moving);
	for (i = 0; i < batch->nr;)
		i = vmlab_evict_unmap_lineage(batch, i);
	vmlab_evict_write(vm, batch);
	for (i = 0; i < batch->nr; i++) {
		struct vmlab_victim *victim = &batch->victims[i];
		bool bad = false;
		int error = 0;

		if (victim->write) {
			bad = batch->io.io[written].bad;
			error = batch->io.io[written++].error;
			trace_swap_out(victim->entry, victim->pgoff, error);
		}
		if (error) {
			vmlab_evict_undo(vm, victim, bad);
			failed++;
		} else {
			vmlab_evict_commit(vm, victim);
			evicted++;
		}
		atomic_dec(&victim->lineage->nr_moving);
		vmlab_victim_release(victim);
	}
	atomic_long_add(evicted, &vm->nr_evicted);
	atomic_sub(batch->nr, &vm->nr_moving);
	batch->all_failed = failed && failed == written;
	batch->nr = 0;
	vmlab_count(vm, evict, evicted);
	return evicted;
}
