// SPDX-License-Identifier: GPL-2.0
/*
 * Which slots of a swap device are free, and how often each is named.
 *
 * Owns struct vmlab_swap_map and every slot's reference count.  It must never
 * touch a page or the device, never sleep, and never hand out a slot that is
 * bad or named; and it needs no service of the kernel but a spinlock, so that
 * the unit tests compile it in user space.
 *
 * Allocation is next-fit: a run begins where the last one ended, so that one
 * batch of evictions follows the other on the disk, and what is freed behind
 * the cursor gathers into larger holes until the cursor comes round.
 */
#include <linux/bitmap.h>
#include <linux/bug.h>
#include <linux/minmax.h>

#include "swap_map.h"

/* How many free runs are looked at for one that is long enough. */
#define VMLAB_SWAP_MAX_RUNS	16

/* The group that @offset is in has just lost a free slot. */
static void vmlab_swap_map_update_full(struct vmlab_swap_map *map, u64 offset)
{
	unsigned long group = offset >> VMLAB_SWAP_GROUP_SHIFT;
	unsigned long first = group << VMLAB_SWAP_GROUP_SHIFT;
	unsigned long end = min_t(u64, first + VMLAB_SWAP_GROUP, map->nr_slots);

	if (find_next_zero_bit(map->used, end, first) >= end)
		__set_bit(group, map->full);
}

/* The first free slot at or behind @from, or nr_slots. */
static u64 vmlab_swap_map_next_free(struct vmlab_swap_map *map, u64 from)
{
	unsigned long nr_groups = vmlab_swap_map_groups(map->nr_slots);
	unsigned long group = from >> VMLAB_SWAP_GROUP_SHIFT;
	u64 offset, end;

	while (from < map->nr_slots) {
		group = find_next_zero_bit(map->full, nr_groups, group);
		if (group >= nr_groups)
			break;
		from = max_t(u64, from, (u64)group << VMLAB_SWAP_GROUP_SHIFT);
		end = min_t(u64, (u64)(group + 1) << VMLAB_SWAP_GROUP_SHIFT,
			    map->nr_slots);
		offset = find_next_zero_bit(map->used, end, from);
		if (offset < end)
			return offset;
		/* Its free slots are all before @from: only the first group's can be. */
		from = end;
		group++;
	}
	return map->nr_slots;
}

/**
 * vmlab_swap_map_init() - a map with all slots free but slot 0
 * @map: the map, uninitialised
 * @nr_slots: slots, the header included; 1 to VMLAB_SWAP_MAX_PAGES
 * @used: zeroed bitmap of @nr_slots bits; stays the caller's
 * @full: zeroed bitmap of vmlab_swap_map_groups(@nr_slots) bits; stays the caller's
 * @slots: @nr_slots zeroed descriptors; stay the caller's
 *
 * Slot 0 is the device's header, and is bad from the start.  Other slots that
 * must not be used are told by vmlab_swap_map_mark_bad().
 */
void vmlab_swap_map_init(struct vmlab_swap_map *map, u64 nr_slots,
			 unsigned long *used, unsigned long *full,
			 struct vmlab_swap_slot *slots)
{
	spin_lock_init(&map->lock);
	map->nr_slots = nr_slots;
	map->nr_free = nr_slots;
	map->nr_bad = 0;
	map->cursor = 1;
	map->used = used;
	map->full = full;
	map->slots = slots;
	vmlab_swap_map_mark_bad(map, 0);
}

/**
 * vmlab_swap_map_alloc() - take a run of free slots
 * @map: the map
 * @nr: slots wanted, at least 1
 * @first: out: the first slot of the run
 *
 * The run begins at the first free slot behind the last allocation, if @nr
 * slots are free there; else it is the first of the next few free runs that
 * is long enough, or the longest of those.  The effort is bounded, and at
 * least one slot is found if one is free.  Every slot of the run has one
 * reference then, which is the caller's.
 *
 * Context: takes @map->lock; process context.
 * Return: length of the run, 1 to @nr; 0 when no slot is free.
 */
unsigned int vmlab_swap_map_alloc(struct vmlab_swap_map *map, unsigned int nr,
				  u64 *first)
{
	u64 best = 0, best_nr = 0;
	bool wrapped = false;
	unsigned int runs;
	u64 start, end, i;

	spin_lock(&map->lock);
	if (!map->nr_free || !nr)
		goto out;

	end = map->cursor;
	for (runs = 0; runs < VMLAB_SWAP_MAX_RUNS && best_nr < nr; runs++) {
		start = vmlab_swap_map_next_free(map, end);
		if (start >= map->nr_slots) {
			if (wrapped)
				break;
			wrapped = true;
			start = vmlab_swap_map_next_free(map, 0);
		}
		end = min_t(u64, start + nr, map->nr_slots);
		end = find_next_bit(map->used, end, start);
		if (end - start > best_nr) {
			best = start;
			best_nr = end - start;
		}
	}

	for (i = best; i < best + best_nr; i++) {
		__set_bit(i, map->used);
		map->slots[i].crc = 0;
		map->slots[i].refs = 1;
		map->slots[i].frame = NULL;
	}
	for (i = best; i < best + best_nr; i = (i | (VMLAB_SWAP_GROUP - 1)) + 1)
		vmlab_swap_map_update_full(map, i);
	WRITE_ONCE(map->nr_free, map->nr_free - best_nr);
	map->cursor = best + best_nr;
	*first = best;
out:
	spin_unlock(&map->lock);
	return best_nr;
}

/**
 * vmlab_swap_map_get() - take one more reference on a slot
 * @map: the map
 * @offset: the slot; the caller knows that it has a reference already
 *
 * A count never overflows: a slot that VMLAB_SWAP_REFS_MAX users name takes
 * no more, and who wanted one must bring the page into a frame instead.
 *
 * Context: takes @map->lock; process context.
 * Return: whether the reference was taken.
 */
bool vmlab_swap_map_get(struct vmlab_swap_map *map, u64 offset)
{
	struct vmlab_swap_slot *slot = &map->slots[offset];
	bool got = false;

	spin_lock(&map->lock);
	if (!WARN_ON_ONCE(!slot->refs || slot->refs == VMLAB_SWAP_REFS_BAD) &&
	    slot->refs < VMLAB_SWAP_REFS_MAX) {
		slot->refs++;
		got = true;
	}
	spin_unlock(&map->lock);
	return got;
}

/**
 * vmlab_swap_map_put() - give a reference back
 * @map: the map
 * @offset: the slot
 *
 * With the last reference the slot is free, and forgets its frame: who gives
 * it back touches the slot's descriptor before, not after.
 *
 * Context: takes @map->lock; process context.
 * Return: whether the slot became free.
 */
bool vmlab_swap_map_put(struct vmlab_swap_map *map, u64 offset)
{
	struct vmlab_swap_slot *slot = &map->slots[offset];
	bool freed = false;

	spin_lock(&map->lock);
	if (!WARN_ON_ONCE(!slot->refs || slot->refs == VMLAB_SWAP_REFS_BAD) &&
	    !--slot->refs) {
		slot->frame = NULL;
		__clear_bit(offset, map->used);
		__clear_bit(offset >> VMLAB_SWAP_GROUP_SHIFT, map->full);
		WRITE_ONCE(map->nr_free, map->nr_free + 1);
		freed = true;
	}
	spin_unlock(&map->lock);
	return freed;
}

/**
 * vmlab_swap_map_mark_bad() - never hand out this slot again
 * @map: the map
 * @offset: the slot: free, or with a single reference, which is the caller's
 *	    and is handed over
 *
 * Telling it twice is telling it once.
 *
 * Context: takes @map->lock; process context.
 */
void vmlab_swap_map_mark_bad(struct vmlab_swap_map *map, u64 offset)
{
	struct vmlab_swap_slot *slot = &map->slots[offset];

	spin_lock(&map->lock);
	if (slot->refs == VMLAB_SWAP_REFS_BAD || WARN_ON_ONCE(slot->refs > 1))
		goto out;
	if (!slot->refs) {
		__set_bit(offset, map->used);
		vmlab_swap_map_update_full(map, offset);
		WRITE_ONCE(map->nr_free, map->nr_free - 1);
	}
	slot->frame = NULL;
	slot->refs = VMLAB_SWAP_REFS_BAD;
	map->nr_bad++;
out:
	spin_unlock(&map->lock);
}
