/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Swap entries, the map of a device's slots, and swap I/O.
 *
 * A swap entry names one 4 KiB slot of one device: device number << 40 |
 * page offset on the device.  Offset 0 is the header, so no entry is 0.
 *
 * swap_map.c owns the map: which slots are free, how many references each
 * has, which are bad.  It needs no service of the kernel but a spinlock, and
 * must stay so: selftests/unit compiles it in user space.
 */
#ifndef VMLAB_SWAP_MAP_H
#define VMLAB_SWAP_MAP_H

#include "frame.h"

#define VMLAB_SWAP_MAX_DEVS	32
#define VMLAB_SWAP_DEV_SHIFT	40
#define VMLAB_SWAP_MAX_PAGES	(1ULL << 31)	/* 8 TiB a device */
#define VMLAB_SWAP_REFS_MAX	0xfffe
#define VMLAB_SWAP_REFS_BAD	0xffff

/*
 * Slots are counted in groups, so that a search steps over full ones: at most
 * 8192 words of @full and 64 of a group are read to find a free slot, however
 * large and full the device is.
 */
#define VMLAB_SWAP_GROUP_SHIFT	12
#define VMLAB_SWAP_GROUP	(1UL << VMLAB_SWAP_GROUP_SHIFT)

static inline unsigned long vmlab_swap_map_groups(u64 nr_slots)
{
	return (nr_slots + VMLAB_SWAP_GROUP - 1) >> VMLAB_SWAP_GROUP_SHIFT;
}

/**
 * struct vmlab_swap_slot - one slot of a device
 * @crc:	CRC-32C of what was written
 * @refs:	slots of objects that name it, plus one while a resident clean
 *		frame has its copy here; VMLAB_SWAP_REFS_BAD: never used
 * @frame:	the frame that holds the same page, while it is resident and clean;
 *		or a mark that it is being read (siblings.c)
 */
struct vmlab_swap_slot {
	u32			crc;
	u16			refs;
	struct vmlab_frame	*frame;
};

/**
 * struct vmlab_swap_map - which slots are free
 * @lock:	all of it but slots[].crc and .frame, which belong to who holds
 *		the lock of an object's slot that names the entry
 * @nr_slots:	slots, the header (slot 0, bad) included
 * @nr_free: @nr_bad: how many
 * @cursor:	where the next run is looked for: behind the last one
 * @used:	bitmap of slots: in use or bad
 * @full:	bitmap of groups: no free slot in it
 * @slots:	by offset
 */
struct vmlab_swap_map {
	spinlock_t		lock;		/* innermost; see above */
	u64			nr_slots;
	u64			nr_free;
	u64			nr_bad;
	u64			cursor;
	unsigned long		*used;
	unsigned long		*full;
	struct vmlab_swap_slot	*slots;
};

/* Slots that hold a page or are about to; @map->lock, or a guess. */
static inline u64 vmlab_swap_map_used(const struct vmlab_swap_map *map)
{
	return map->nr_slots - map->nr_free - map->nr_bad;
}

void vmlab_swap_map_init(struct vmlab_swap_map *map, u64 nr_slots,
			 unsigned long *used, unsigned long *full,
			 struct vmlab_swap_slot *slots);
unsigned int vmlab_swap_map_alloc(struct vmlab_swap_map *map, unsigned int nr,
				  u64 *first);
bool vmlab_swap_map_get(struct vmlab_swap_map *map, u64 offset);
bool vmlab_swap_map_put(struct vmlab_swap_map *map, u64 offset);
void vmlab_swap_map_mark_bad(struct vmlab_swap_map *map, u64 offset);

#endif /* VMLAB_SWAP_MAP_H */
