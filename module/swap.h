/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Swap devices and swap I/O, as the rest of the module sees them.
 *
 * swap.c owns the devices and their table, swap_io.c the bios.  Neither ever
 * touches an object's slots, but for swapoff, which brings pages back through
 * the functions that faults use.
 */
#ifndef VMLAB_SWAP_H
#define VMLAB_SWAP_H

#include <linux/atomic.h>
#include <linux/blk_types.h>
#include <linux/completion.h>
#include <linux/rcupdate.h>

#include "policy.h"
#include "swap_map.h"

struct seq_file;
struct vmlab;
struct vmlab_bdev_handle;

/**
 * struct vmlab_swap_dev - one swap device
 * @vm: @index:	whose, and which of its swap_devs
 * @handle:	what keeps the device open, for us alone
 * @bdev:	the device
 * @path:	as it was named at swapon, for people
 * @priority:	higher ones are filled first; negative: chosen by us.  Under
 *		vm->swap_mutex
 * @accepting:	slots may be allocated; cleared while swapoff empties it
 * @failing:	the last batch of writes failed as a whole
 * @failed_at:	when that was, in jiffies
 * @try_at:	when it may be tried next, if nothing else has room
 * @map:	its slots
 * @nr_read: @nr_written: pages, since swapon
 * @nr_errors:	pages that could not be read or written, or had a wrong checksum
 */
struct vmlab_swap_dev {
	struct vmlab			*vm;
	unsigned int			index;
	struct vmlab_bdev_handle	*handle;
	struct block_device		*bdev;
	char				*path;
	int				priority;
	bool				accepting;
	bool				failing;
	unsigned long			failed_at;
	unsigned long			try_at;
	struct vmlab_swap_map		map;
	atomic64_t			nr_read;
	atomic64_t			nr_written;
	atomic64_t			nr_errors;
};

/* Pages that one of several devices with equal priority gets in a row. */
#define VMLAB_SWAP_TURN		512

/**
 * struct vmlab_swap_order - the devices, in the order in which they are filled
 * @rcu:	replaced as a whole, freed after a grace period
 * @nr:		devices
 * @devs:	by falling priority
 * @group_nr:	devices of equal priority from the one with this index on, that
 *		is the first of them; 0 for the others
 * @taken:	by the same index: pages handed out by the group, for taking turns
 */
struct vmlab_swap_order {
	struct rcu_head		rcu;
	unsigned int		nr;
	struct vmlab_swap_dev	*devs[VMLAB_SWAP_MAX_DEVS];
	unsigned int		group_nr[VMLAB_SWAP_MAX_DEVS];
	atomic_t		taken[VMLAB_SWAP_MAX_DEVS];
};

static inline unsigned int vmlab_swap_entry_dev(u64 entry)
{
	return entry >> VMLAB_SWAP_DEV_SHIFT;
}

static inline u64 vmlab_swap_entry_offset(u64 entry)
{
	return entry & ((1ULL << VMLAB_SWAP_DEV_SHIFT) - 1);
}

static inline u64 vmlab_swap_entry(unsigned int dev, u64 offset)
{
	return (u64)dev << VMLAB_SWAP_DEV_SHIFT | offset;
}

/**
 * struct vmlab_swap_io - one page of a batch
 * @frame:	memory; the caller keeps it in flight or its slot locked
 * @entry:	where on swap
 * @error:	out, after vmlab_swap_wait(): 0, -EIO, or for reads -EILSEQ: the
 *		checksum is wrong
 * @bad:	out, for writes that failed: it is the slot's fault, not the whole device's
 */
struct vmlab_swap_io {
	struct vmlab_frame	*frame;
	u64			entry;
	int			error;
	bool			bad;
};

/**
 * struct vmlab_swap_batch - pages that are read or written together
 *
 * The caller sets @vm, @write, @nr, and frame and entry of each page; the rest
 * is set by vmlab_swap_submit().  All of it stays valid until vmlab_swap_wait()
 * has returned.
 *
 * @vm:		the instance
 * @write:	direction
 * @nr:		pages
 * @pending:	bios under way, plus one while submitting
 * @done:	completed when @pending drops to 0
 * @io:		the pages, in memory of the caller's; runs of consecutive entries become one
 *		bio each
 */
struct vmlab_swap_batch {
	struct vmlab		*vm;
	bool			write;
	unsigned int		nr;
	atomic_t		pending;
	struct completion	done;
	struct vmlab_swap_io	*io;
};

/* vmlab_swap_slot.frame: somebody reads the page, for all who name the entry */
#define VMLAB_SWAP_READING	((struct vmlab_frame *)1)

/* swap.c */
int vmlab_swap_init(struct vmlab *vm);
void vmlab_swap_exit(struct vmlab *vm);
int vmlab_swapon(struct vmlab *vm, const char *path, int priority);
int vmlab_swapoff(struct vmlab *vm, const char *path);
int vmlab_swap_show(struct vmlab *vm, struct seq_file *m);
u64 vmlab_swap_free_pages(struct vmlab *vm);
u64 vmlab_swap_used_pages(struct vmlab *vm);
bool vmlab_swap_has_room(struct vmlab *vm);
unsigned int vmlab_swap_alloc(struct vmlab *vm, unsigned int nr, u64 *first);
bool vmlab_swap_get(struct vmlab *vm, u64 entry);
void vmlab_swap_put(struct vmlab *vm, u64 entry);
void vmlab_swap_mark_bad(struct vmlab *vm, u64 entry);
void vmlab_swap_note_write(struct vmlab *vm, u64 entry, bool works);
bool vmlab_swap_is_failing(struct vmlab *vm);
bool vmlab_swap_has_devs(struct vmlab *vm);
struct vmlab_swap_slot *vmlab_swap_slot(struct vmlab *vm, u64 entry);
struct block_device *vmlab_swap_bdev(struct vmlab *vm, u64 entry);
struct vmlab_swap_dev *vmlab_swap_dev(struct vmlab *vm, unsigned int index);

/* swap_io.c; vmlab_swap_init() and vmlab_swap_exit() call the first two */
int vmlab_swap_io_init(struct vmlab *vm);
void vmlab_swap_io_exit(struct vmlab *vm);
int vmlab_swap_rw_page(struct block_device *bdev, struct page *page, u64 offset,
		       blk_opf_t opf);
void vmlab_swap_submit(struct vmlab_swap_batch *batch);
void vmlab_swap_wait(struct vmlab_swap_batch *batch);

#endif /* VMLAB_SWAP_H */
