// SPDX-License-Identifier: GPL-2.0
/*
 * Swap devices: on, off, who gets the next page.
 *
 * Owns struct vmlab_swap_dev, the table of devices and the order in which they
 * are filled.  It must never write to a device that mkswap has not prepared,
 * never take a device from anyone, and never let one go that an entry names;
 * it touches objects only for swapoff, and then as a fault would.
 *
 * A device is reached in two ways.  Who has an entry, with a reference on it,
 * finds its device in vm->swap_devs without a lock: a device with used slots
 * stays.  Who wants an entry walks vm->swap_order under RCU, so that swapoff,
 * after a grace period, knows that no allocation is half-way.
 */
#define pr_fmt(fmt) "vmlab: " fmt

#include <linux/bitmap.h>
#include <linux/blkdev.h>
#include <linux/kdev_t.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swab.h>
#include <linux/swap.h>
#include <linux/vmalloc.h>

#include "vmlab.h"

/* How long a device that took nothing is passed over while another has room. */
#define VMLAB_SWAP_PAUSE	(5 * HZ)
/* How often it is tried where none has. */
#define VMLAB_SWAP_TRY		max(HZ / 10, 1)

#define VMLAB_SWAP_MIN_PAGES	10	/* the least that mkswap makes, header included */
#define VMLAB_SWAP_MAX_PRIORITY	32767	/* as for swapon(2) */
#define VMLAB_SWAP_MAGIC	"SWAPSPACE2"
#define VMLAB_SWAP_MAGIC_OLD	"SWAP-SPACE"
#define VMLAB_SWAP_MAGIC_LEN	10

/* A device that an entry names, or any under vm->swap_mutex: it cannot go away. */
static struct vmlab_swap_dev *vmlab_swap_dev_stable(struct vmlab *vm, unsigned int index)
{
	return rcu_dereference_protected(vm->swap_devs[index], true);
}

static struct vmlab_swap_dev *vmlab_swap_dev_of(struct vmlab *vm, u64 entry)
{
	return vmlab_swap_dev_stable(vm, vmlab_swap_entry_dev(entry));
}

/**
 * vmlab_swap_init() - an instance without swap devices
 * @vm: the instance, zeroed but for its locks
 *
 * Return: 0 or -ENOMEM.
 */
int vmlab_swap_init(struct vmlab *vm)
{
	return vmlab_swap_io_init(vm);
}

static void vmlab_swap_dev_free(struct vmlab_swap_dev *dev)
{
	if (dev->handle)
		vmlab_bdev_close(dev->handle);
	vfree(dev->map.slots);
	vfree(dev->map.used);
	vfree(dev->map.full);
	kfree(dev->path);
	kfree(dev);
}

/**
 * vmlab_swap_exit() - let all devices go
 * @vm: the instance, without objects, so that no entry is named any more
 *
 * Also undoes a vmlab_swap_init() that failed.
 */
void vmlab_swap_exit(struct vmlab *vm)
{
	struct vmlab_swap_dev *dev;
	unsigned int i;

	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		dev = vmlab_swap_dev_stable(vm, i);
		if (!dev)
			continue;
		WARN_ON_ONCE(vmlab_swap_map_used(&dev->map));
		RCU_INIT_POINTER(vm->swap_devs[i], NULL);
		vmlab_swap_dev_free(dev);
	}
	kfree(rcu_replace_pointer(vm->swap_order, NULL, true));
	vmlab_swap_io_exit(vm);
}

/* Says why a call is refused, once, and passes the errno on. */
static __printf(3, 4) int vmlab_swap_refuse(const char *path, int error,
					    const char *fmt, ...)
{
	struct va_format vaf;
	va_list args;

	va_start(args, fmt);
	vaf.fmt = fmt;
	vaf.va = &args;
	pr_warn("swap: %s: %pV\n", path, &vaf);
	va_end(args);
	return error;
}

/*
 * The order in which devices are filled: all in the table but @without, plus
 * @with.  Under vm->swap_mutex.
 */
static struct vmlab_swap_order *vmlab_swap_order_make(struct vmlab *vm,
						      struct vmlab_swap_dev *with,
						      struct vmlab_swap_dev *without)
{
	struct vmlab_swap_order *order;
	struct vmlab_swap_dev *dev;
	unsigned int i, j, group;

	order = vmlab_should_fail(vm, VMLAB_INJECT_swapon) ? NULL :
		kzalloc(sizeof(*order), GFP_KERNEL);
	if (!order)
		return NULL;

	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		dev = vmlab_swap_dev_stable(vm, i);
		if (!dev && with && with->index == i)
			dev = with;
		if (!dev || dev == without)
			continue;
		for (j = order->nr; j && order->devs[j - 1]->priority < dev->priority; j--)
			order->devs[j] = order->devs[j - 1];
		order->devs[j] = dev;
		order->nr++;
	}

	for (i = 0, group = 0; i < order->nr; i++) {
		if (order->devs[i]->priority != order->devs[group]->priority)
			group = i;
		order->group_nr[group]++;
	}
	return order;
}

static void vmlab_swap_order_publish(struct vmlab *vm, struct vmlab_swap_order *order)
{
	struct vmlab_swap_order *old;

	old = rcu_replace_pointer(vm->swap_order, order,
				  lockdep_is_held(&vm->swap_mutex));
	if (old)
		kfree_rcu(old, rcu);
}

/* As Linux: each device without a priority of its own comes after those before it. */
static int vmlab_swap_auto_priority(struct vmlab *vm)
{
	struct vmlab_swap_dev *dev;
	int lowest = 0;
	unsigned int i;

	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		dev = vmlab_swap_dev_stable(vm, i);
		if (dev)
			lowest = min(lowest, dev->priority);
	}
	return lowest - 1;
}

/* The automatic priorities below the one that goes move up; their order stays. */
static void vmlab_swap_close_gap(struct vmlab *vm, int gone)
{
	struct vmlab_swap_dev *dev;
	unsigned int i;

	for (i = 0; gone < 0 && i < VMLAB_SWAP_MAX_DEVS; i++) {
		dev = vmlab_swap_dev_stable(vm, i);
		if (dev && dev->priority < gone)
			dev->priority++;
	}
}

static int vmlab_swap_open(struct vmlab_swap_dev *dev, const char *path)
{
	struct vmlab_bdev_handle *handle;
	int error;

	/* @dev as the holder: an exclusive opener that gives the same one is let in. */
	handle = vmlab_bdev_open(path, dev);
	if (!IS_ERR(handle)) {
		dev->handle = handle;
		dev->bdev = vmlab_bdev(handle);
		return 0;
	}

	error = PTR_ERR(handle);
	switch (error) {
	case -ENOENT:
		return vmlab_swap_refuse(path, error, "does not exist");
	case -ENOTBLK:
		return vmlab_swap_refuse(path, error,
			"is not a block device: put a swap file behind a loop device");
	case -EBUSY:
		return vmlab_swap_refuse(path, error,
			"is in use: unmount it, or end who else has claimed it");
	case -EACCES:
	case -EROFS:
		return vmlab_swap_refuse(path, error, "is read-only, or may not be opened");
	default:
		return vmlab_swap_refuse(path, error, "cannot be opened (error %d)", error);
	}
}

/*
 * The list of bad pages.  The header declares it with one element, as structures were
 * written before flexible arrays: a pointer keeps the compiler from believing that.
 */
static const u32 *vmlab_swap_bad_pages(const union swap_header *header)
{
	return header->info.badpages;
}

/*
 * What mkswap wrote.  Linux also takes areas of the other byte order; nobody
 * who has one on x86-64 is helped by more than being told.
 */
static int vmlab_swap_check_header(const char *path, const union swap_header *header,
				   u64 dev_pages)
{
	u64 nr_pages = (u64)header->info.last_page + 1;
	const u32 *bad = vmlab_swap_bad_pages(header);
	unsigned int i;

	if (!memcmp(header->magic.magic, VMLAB_SWAP_MAGIC_OLD, VMLAB_SWAP_MAGIC_LEN))
		return vmlab_swap_refuse(path, -EINVAL,
			"has a swap signature of the old kind (SWAP-SPACE): run mkswap on it");
	if (memcmp(header->magic.magic, VMLAB_SWAP_MAGIC, VMLAB_SWAP_MAGIC_LEN))
		return vmlab_swap_refuse(path, -EINVAL,
			"has no swap signature for pages of %lu bytes: run mkswap on it",
			PAGE_SIZE);
	if (header->info.version == swab32(1))
		return vmlab_swap_refuse(path, -EINVAL,
			"was prepared on a machine of the other byte order: run mkswap on it");
	if (header->info.version != 1)
		return vmlab_swap_refuse(path, -EINVAL,
			"has a swap header of version %u instead of 1: run mkswap on it",
			header->info.version);
	if (nr_pages > dev_pages)
		return vmlab_swap_refuse(path, -EINVAL,
			"is %llu KiB, its swap header says %llu: run mkswap on it",
			dev_pages << (PAGE_SHIFT - 10), nr_pages << (PAGE_SHIFT - 10));
	if (nr_pages < VMLAB_SWAP_MIN_PAGES)
		return vmlab_swap_refuse(path, -EINVAL,
			"is too small a swap area: at least %lu KiB are needed",
			VMLAB_SWAP_MIN_PAGES * PAGE_SIZE >> 10);
	if (nr_pages > VMLAB_SWAP_MAX_PAGES)
		return vmlab_swap_refuse(path, -EFBIG,
			"is larger than %llu GiB, the most that can be indexed: split it",
			VMLAB_SWAP_MAX_PAGES >> (30 - PAGE_SHIFT));
	if (header->info.nr_badpages > MAX_SWAP_BADPAGES)
		return vmlab_swap_refuse(path, -EINVAL,
			"has a swap header that lists %u bad pages: run mkswap on it",
			header->info.nr_badpages);
	for (i = 0; i < header->info.nr_badpages; i++)
		if (!bad[i] || bad[i] > header->info.last_page)
			return vmlab_swap_refuse(path, -EINVAL,
				"lists a bad page %u of %llu: run mkswap on it",
				bad[i], nr_pages);
	return 0;
}

static void *vmlab_swap_zalloc(struct vmlab *vm, u64 size)
{
	if (vmlab_should_fail(vm, VMLAB_INJECT_swapon))
		return NULL;
	return __vmalloc(size, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN |
			 __GFP_RETRY_MAYFAIL);
}

static int vmlab_swap_make_map(struct vmlab_swap_dev *dev, const char *path,
			       const union swap_header *header)
{
	u64 nr_slots = (u64)header->info.last_page + 1;
	u64 slots_size = nr_slots * sizeof(struct vmlab_swap_slot);
	u64 used_size = BITS_TO_LONGS(nr_slots) * sizeof(long);
	u64 full_size = BITS_TO_LONGS(vmlab_swap_map_groups(nr_slots)) * sizeof(long);
	u64 total = slots_size + used_size + full_size;
	struct vmlab_swap_map *map = &dev->map;
	unsigned int i;

	/* A lab must not push the machine that it runs on into reclaim. */
	if (total >> PAGE_SHIFT > si_mem_available() / 2)
		goto no_memory;

	map->slots = vmlab_swap_zalloc(dev->vm, slots_size);
	map->used = vmlab_swap_zalloc(dev->vm, used_size);
	map->full = vmlab_swap_zalloc(dev->vm, full_size);
	if (!map->slots || !map->used || !map->full)
		goto no_memory;

	vmlab_swap_map_init(map, nr_slots, map->used, map->full, map->slots);
	for (i = 0; i < header->info.nr_badpages; i++)
		vmlab_swap_map_mark_bad(map, vmlab_swap_bad_pages(header)[i]);
	if (!map->nr_free)
		return vmlab_swap_refuse(path, -EINVAL, "has no page that is not bad");
	return 0;

no_memory:
	return vmlab_swap_refuse(path, -ENOMEM,
		"needs %llu KiB of the machine's memory for its books: use a smaller one",
		total >> 10);
}

static int vmlab_swap_prepare(struct vmlab_swap_dev *dev, const char *path)
{
	u64 dev_pages = bdev_nr_bytes(dev->bdev) >> PAGE_SHIFT;
	union swap_header *header;
	struct page *page;
	int error;

	if (bdev_is_zoned(dev->bdev) || bdev_logical_block_size(dev->bdev) > PAGE_SIZE)
		return vmlab_swap_refuse(path, -EINVAL,
			"cannot be written in single pages of %lu bytes", PAGE_SIZE);
	/* Before its header is asked for: mkswap could not help. */
	if (dev_pages < VMLAB_SWAP_MIN_PAGES)
		return vmlab_swap_refuse(path, -EINVAL,
			"is too small for swap: at least %lu KiB are needed",
			VMLAB_SWAP_MIN_PAGES * PAGE_SIZE >> 10);

	page = vmlab_should_fail(dev->vm, VMLAB_INJECT_swapon) ? NULL : alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;

	/* Nothing that was written through the page cache may follow us. */
	error = sync_blockdev(dev->bdev);
	if (!error && vmlab_should_fail(dev->vm, VMLAB_INJECT_io))
		error = -EIO;
	if (!error)
		error = vmlab_swap_rw_page(dev->bdev, page, 0, REQ_OP_READ | REQ_SYNC);
	if (error) {
		error = vmlab_swap_refuse(path, -EIO, "its first page cannot be read");
		goto out;
	}

	header = page_address(page);
	error = vmlab_swap_check_header(path, header, dev_pages);
	if (!error)
		error = vmlab_swap_make_map(dev, path, header);
out:
	__free_page(page);
	return error;
}

/* The device that @path names, by any of its names; under vm->swap_mutex. */
static struct vmlab_swap_dev *vmlab_swap_find(struct vmlab *vm, const char *path,
					      int *error)
{
	struct vmlab_swap_dev *dev;
	unsigned int i;
	dev_t devt;

	*error = lookup_bdev(path, &devt);
	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		dev = vmlab_swap_dev_stable(vm, i);
		if (!dev)
			continue;
		/* Its node in /dev may be gone: then the name that swapon was given. */
		if (*error ? !strcmp(dev->path, path) : dev->bdev->bd_dev == devt)
			return dev;
	}
	return NULL;
}

static int vmlab_swap_add(struct vmlab *vm, const char *path, int priority)
{
	struct vmlab_swap_order *order;
	struct vmlab_swap_dev *dev;
	unsigned int index;
	int error;

	if (vmlab_swap_find(vm, path, &error))
		return vmlab_swap_refuse(path, -EBUSY, "is on already");
	for (index = 0; index < VMLAB_SWAP_MAX_DEVS; index++)
		if (!vmlab_swap_dev_stable(vm, index))
			break;
	if (index == VMLAB_SWAP_MAX_DEVS)
		return vmlab_swap_refuse(path, -ENOSPC,
			"would be one more than %u swap devices", VMLAB_SWAP_MAX_DEVS);

	dev = vmlab_should_fail(vm, VMLAB_INJECT_swapon) ? NULL :
	      kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return -ENOMEM;
	dev->vm = vm;
	dev->index = index;
	dev->accepting = true;
	dev->priority = priority < 0 ? vmlab_swap_auto_priority(vm) : priority;
	error = -ENOMEM;
	if (!vmlab_should_fail(vm, VMLAB_INJECT_swapon))
		dev->path = kstrdup(path, GFP_KERNEL);
	if (!dev->path)
		goto free;

	error = vmlab_swap_open(dev, path);
	if (error)
		goto free;
	error = vmlab_swap_prepare(dev, path);
	if (error)
		goto free;

	error = -ENOMEM;
	order = vmlab_swap_order_make(vm, dev, NULL);
	if (!order)
		goto free;
	rcu_assign_pointer(vm->swap_devs[index], dev);
	vmlab_swap_order_publish(vm, order);
	pr_info("swap: %s: on, %llu KiB, priority %d\n", path,
		READ_ONCE(dev->map.nr_free) << (PAGE_SHIFT - 10), dev->priority);
	return 0;

free:
	vmlab_swap_dev_free(dev);
	return error;
}

/**
 * vmlab_swapon() - begin to swap to a block device
 * @vm: the instance
 * @path: a name of the device, which mkswap has prepared
 * @priority: 0 to 32767, higher ones are filled first, equal ones in turn;
 *	      negative: lower than all that are on
 *
 * Every refusal is explained in the kernel log.
 *
 * Context: sleeps; takes vm->swap_mutex.
 * Return: 0; -ENOENT: there is no such path; -ENOTBLK: not a block device;
 * -EINVAL: no valid swap header, too small, zoned, or a priority that is too
 * high; -EFBIG: too large to be indexed; -EBUSY: mounted, claimed by another,
 * or on already; -EACCES: read-only; -ENOSPC: VMLAB_SWAP_MAX_DEVS are on;
 * -EIO: the header cannot be read; -ENOMEM: no memory for the books; -EINTR:
 * killed while another swapon or swapoff ran; or what opening the device gave.
 */
int vmlab_swapon(struct vmlab *vm, const char *path, int priority)
{
	int error;

	if (priority > VMLAB_SWAP_MAX_PRIORITY)
		return vmlab_swap_refuse(path, -EINVAL, "priority %d is more than %d",
					 priority, VMLAB_SWAP_MAX_PRIORITY);
	if (mutex_lock_killable(&vm->swap_mutex))
		return -EINTR;
	error = vmlab_swap_add(vm, path, priority);
	mutex_unlock(&vm->swap_mutex);
	return error;
}

/* Used slots whose page has a frame too; a guess while others work. */
static u64 vmlab_swap_count_cached(struct vmlab_swap_dev *dev)
{
	struct vmlab_swap_map *map = &dev->map;
	u64 nr = 0;
	u64 i;

	for (i = 1; i < map->nr_slots; i++) {
		/* Only counted, and never followed. */
		if (data_race(map->slots[i].frame))
			nr++;
		if (!(i & (VMLAB_SWAP_GROUP - 1)))
			cond_resched();
	}
	return nr;
}

/*
 * Whether the pages of @dev could fit elsewhere: a cheap answer before memory
 * is filled to the brim only to find out.  When it is wrong, because others
 * work meanwhile, bringing the pages back finds out the hard way.
 */
static bool vmlab_swap_fits(struct vmlab *vm, struct vmlab_swap_dev *dev)
{
	struct vmlab_swap_dev *other;
	u64 need, room = 0;
	unsigned int i;
	int nid;

	for_each_node(nid)
		if (vm->pools[nid])
			room += vmlab_pool_free_frames(vm->pools[nid]);
	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		other = vmlab_swap_dev_stable(vm, i);
		if (other && other != dev)
			room += READ_ONCE(other->map.nr_free);
	}
	/* A guess: pages come and go. */
	need = data_race(vmlab_swap_map_used(&dev->map));
	if (need <= room)
		return true;

	/* Some of them have a frame already; and frames with a copy elsewhere can go. */
	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		other = vmlab_swap_dev_stable(vm, i);
		if (other)
			room += vmlab_swap_count_cached(other);
	}
	return need <= room;
}

static bool vmlab_swap_is_on(u64 entry, const struct vmlab_swap_dev *dev)
{
	return entry && vmlab_swap_entry_dev(entry) == dev->index;
}

/*
 * Gives a page of @dev a frame, if it has none, and drops its copy on @dev.
 * vm->activity is let go after each page: who wants the world to stand still
 * should not wait for a disk longer than a fault makes him.
 */
static int vmlab_swap_bring_back(struct vmlab_swap_dev *dev, struct vmlab_object *obj,
				 u64 pgoff, bool resident)
{
	struct vmlab *vm = dev->vm;
	struct vmlab_slot slot;
	int error;

	if (signal_pending(current))
		return -EINTR;
	percpu_down_read(&vm->activity);
	if (resident)
		error = vmlab_slot_lock(obj, pgoff, VMLAB_SLOT_KILLABLE, &slot);
	else
		error = vmlab_slot_lock_present(obj, pgoff, VMLAB_FILL_READ, &slot);
	if (!error) {
		if (vmlab_word_is_frame(slot.word) &&
		    vmlab_swap_is_on(vmlab_word_frame(slot.word)->swap, dev))
			vmlab_slot_dirty(&slot);
		vmlab_slot_unlock(&slot);
	}
	percpu_up_read(&vm->activity);

	switch (error) {
	case -ENOENT:	/* discarded meanwhile */
		return 0;
	case -EILSEQ:
		return -EIO;
	default:
		return error;
	}
}

/*
 * The slots of the next leaf at or behind *@index that have to do with @dev, as
 * they are now.  Returns false when there is no such leaf.
 */
static bool vmlab_swap_peek_leaf(struct vmlab_swap_dev *dev, struct vmlab_object *obj,
				 u64 *index, unsigned long *swapped,
				 unsigned long *resident)
{
	u64 last = (VMLAB_OBJECT_PAGES >> VMLAB_LEAF_SHIFT) - 1;
	struct vmlab_frame *frame;
	struct vmlab_leaf *leaf;
	unsigned long word;
	unsigned int i;

	bitmap_zero(swapped, VMLAB_LEAF_SLOTS);
	bitmap_zero(resident, VMLAB_LEAF_SLOTS);

	/* So that no frame that a slot names goes away with its chunk. */
	percpu_down_read(&dev->vm->activity);
	rcu_read_lock();
	leaf = vmlab_leaf_next(obj, index, last);
	if (!leaf)
		goto out;
	spin_lock(&leaf->lock);
	for (i = 0; !leaf->dead && i < VMLAB_LEAF_SLOTS; i++) {
		word = leaf->words[i];
		if (vmlab_word_is_swap(word)) {
			if (vmlab_swap_is_on(vmlab_word_entry(word), dev))
				__set_bit(i, swapped);
		} else if (vmlab_word_is_frame(word)) {
			frame = vmlab_word_frame(word);
			/* Without the slot's lock: who acts on it takes that and looks again. */
			if (vmlab_swap_is_on(data_race(frame->swap), dev))
				__set_bit(i, resident);
		}
	}
	spin_unlock(&leaf->lock);
out:
	rcu_read_unlock();
	percpu_up_read(&dev->vm->activity);
	return leaf;
}

static int vmlab_swap_empty_object(struct vmlab_swap_dev *dev, struct vmlab_object *obj)
{
	DECLARE_BITMAP(swapped, VMLAB_LEAF_SLOTS);
	DECLARE_BITMAP(resident, VMLAB_LEAF_SLOTS);
	u64 index, first;
	unsigned int i;
	int error;

	for (index = 0; vmlab_swap_peek_leaf(dev, obj, &index, swapped, resident);
	     index++) {
		first = index << VMLAB_LEAF_SHIFT;
		/* Those with a frame first: they need no memory. */
		for_each_set_bit(i, resident, VMLAB_LEAF_SLOTS) {
			error = vmlab_swap_bring_back(dev, obj, first + i, true);
			if (error)
				return error;
		}
		for_each_set_bit(i, swapped, VMLAB_LEAF_SLOTS) {
			error = vmlab_swap_bring_back(dev, obj, first + i, false);
			if (error)
				return error;
		}
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static bool vmlab_swap_is_empty(struct vmlab_swap_dev *dev)
{
	bool empty;

	spin_lock(&dev->map.lock);
	empty = !vmlab_swap_map_used(&dev->map);
	spin_unlock(&dev->map.lock);
	return empty;
}

/* Brings everything back from a device that hands out no more slots. */
static int vmlab_swap_empty(struct vmlab_swap_dev *dev)
{
	struct vmlab *vm = dev->vm;
	struct vmlab_object *obj;
	int error = 0;
	u64 id;

	while (!vmlab_swap_is_empty(dev)) {
		for (id = 0; !error; id++) {
			obj = vmlab_object_next(vm, &id);
			if (!obj)
				break;
			error = vmlab_swap_empty_object(dev, obj);
			vmlab_object_put(obj);
		}
		if (error)
			return error;
		if (vmlab_swap_is_empty(dev))
			break;
		/* The rest is in an eviction's hands, or goes with a dying object. */
		schedule_timeout_interruptible(1);
		if (signal_pending(current))
			return -EINTR;
	}
	return 0;
}

static int vmlab_swap_remove(struct vmlab *vm, const char *path)
{
	struct vmlab_swap_order *order;
	struct vmlab_swap_dev *dev;
	int error;

	dev = vmlab_swap_find(vm, path, &error);
	if (!dev)
		return vmlab_swap_refuse(path, error == -ENOENT ? error : -EINVAL,
					 "is not one of the swap devices");
	order = vmlab_swap_order_make(vm, NULL, dev);
	if (!order)
		return -ENOMEM;

	/* After a grace period nobody allocates there who saw it accepting. */
	WRITE_ONCE(dev->accepting, false);
	synchronize_rcu();

	error = vmlab_swap_fits(vm, dev) ? vmlab_swap_empty(dev) : -ENOMEM;
	if (error) {
		WRITE_ONCE(dev->accepting, true);
		kfree(order);
		return vmlab_swap_refuse(path, error, "stays on: %s",
			error == -ENOMEM ? "there is no room for its pages elsewhere" :
			error == -EINTR ? "interrupted" :
			error == -EIO ? "it has pages that cannot be read" : "failed");
	}

	RCU_INIT_POINTER(vm->swap_devs[dev->index], NULL);
	vmlab_swap_order_publish(vm, order);
	vmlab_swap_close_gap(vm, dev->priority);
	/* For walkers of the old order, and for who is just letting the map's lock go. */
	synchronize_rcu();
	vmlab_swap_dev_free(dev);
	pr_info("swap: %s: off\n", path);
	return 0;
}

/**
 * vmlab_swapoff() - bring all pages back from a device, and let it go
 * @vm: the instance
 * @path: any name of the device
 *
 * No page gets onto the device any more from the start.  When the call fails,
 * nothing is lost, and the device takes pages again.
 *
 * Context: sleeps, long; takes vm->swap_mutex, and vm->activity step by step.
 * A signal ends it.
 * Return: 0; -EINVAL: not a device that is on; -ENOENT: there is no such path;
 * -ENOMEM: memory and the other devices cannot hold its pages; -EINTR: a
 * signal came; -EIO: a page could not be read.
 */
int vmlab_swapoff(struct vmlab *vm, const char *path)
{
	int error;

	if (mutex_lock_killable(&vm->swap_mutex))
		return -EINTR;
	error = vmlab_swap_remove(vm, path);
	mutex_unlock(&vm->swap_mutex);
	return error;
}

/**
 * vmlab_swap_show() - a table of the devices
 * @vm: the instance
 * @m: where to
 *
 * The columns of /proc/swaps, then pages that went bad or were marked so by
 * mkswap, pages read and written since swapon (all of these in KiB), and how
 * many pages could not be read or written or came back changed.
 *
 * Context: sleeps; takes vm->swap_mutex.
 */
int vmlab_swap_show(struct vmlab *vm, struct seq_file *m)
{
	unsigned int kib = PAGE_SHIFT - 10;
	struct vmlab_swap_dev *dev;
	unsigned int i;

	/* A swapoff may hold it for minutes. */
	if (mutex_lock_killable(&vm->swap_mutex))
		return -EINTR;
	seq_printf(m, "%-32s%-12s%-12s%-12s%-12s%-8s%-12s%-12s%s\n", "Filename", "Type",
		   "Size", "Used", "Priority", "Bad", "Read", "Written", "Errors");
	for (i = 0; i < VMLAB_SWAP_MAX_DEVS; i++) {
		size_t start = m->count;

		dev = vmlab_swap_dev_stable(vm, i);
		if (!dev)
			continue;
		seq_escape(m, dev->path, " \t\n\\");
		seq_printf(m, "%*s", max_t(int, 32 - (int)(m->count - start), 1), "");
		spin_lock(&dev->map.lock);
		seq_printf(m, "%-12s%-12llu%-12llu%-12d%-8llu", "partition",
			   (dev->map.nr_slots - dev->map.nr_bad) << kib,
			   vmlab_swap_map_used(&dev->map) << kib, dev->priority,
			   (dev->map.nr_bad - 1) << kib);
		spin_unlock(&dev->map.lock);
		seq_printf(m, "%-12llu%-12llu%llu\n",
			   (u64)atomic64_read(&dev->nr_read) << kib,
			   (u64)atomic64_read(&dev->nr_written) << kib,
			   (u64)atomic64_read(&dev->nr_errors));
	}
	mutex_unlock(&vm->swap_mutex);
	return 0;
}

/**
 * vmlab_swap_free_pages() - how many pages can still be swapped out
 * @vm: the instance
 *
 * Cheap, and old by the time it is read.
 *
 * Context: any but interrupts.
 * Return: pages.
 */
u64 vmlab_swap_free_pages(struct vmlab *vm)
{
	struct vmlab_swap_order *order;
	unsigned int i;
	u64 nr = 0;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	for (i = 0; order && i < order->nr; i++)
		if (READ_ONCE(order->devs[i]->accepting))
			nr += READ_ONCE(order->devs[i]->map.nr_free);
	rcu_read_unlock();
	return nr;
}

/**
 * vmlab_swap_used_pages() - how many slots are in use on all devices
 * @vm: the instance
 *
 * Devices on their way off are counted too.  Exact while nothing happens.
 *
 * Context: any but interrupts.
 * Return: pages.
 */
u64 vmlab_swap_used_pages(struct vmlab *vm)
{
	struct vmlab_swap_order *order;
	unsigned int i;
	u64 nr = 0;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	for (i = 0; order && i < order->nr; i++) {
		struct vmlab_swap_map *map = &order->devs[i]->map;

		spin_lock(&map->lock);
		nr += vmlab_swap_map_used(map);
		spin_unlock(&map->lock);
	}
	rcu_read_unlock();
	return nr;
}

/* Does vmlab_swap_alloc() look at a device? */
static bool vmlab_swap_dev_has_room(struct vmlab_swap_dev *dev)
{
	return READ_ONCE(dev->accepting) && READ_ONCE(dev->map.nr_free);
}

/**
 * vmlab_swap_has_room() - is there a free slot?
 * @vm: the instance
 *
 * Context: any; no locks.
 * Return: whether vmlab_swap_alloc() might find one now.
 */
bool vmlab_swap_has_room(struct vmlab *vm)
{
	struct vmlab_swap_order *order;
	bool room = false;
	unsigned int i;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	for (i = 0; order && i < order->nr && !room; i++)
		room = vmlab_swap_dev_has_room(order->devs[i]);
	rcu_read_unlock();
	return room;
}

/* Has it taken nothing the last time, and not long ago? */
static bool vmlab_swap_dev_fails(struct vmlab_swap_dev *dev)
{
	return READ_ONCE(dev->failing) &&
	       time_before(jiffies, READ_ONCE(dev->failed_at) + VMLAB_SWAP_PAUSE);
}

/* One caller every now and then may find out whether it takes anything now. */
static bool vmlab_swap_dev_try(struct vmlab_swap_dev *dev)
{
	unsigned long at = READ_ONCE(dev->try_at);

	return time_after_eq(jiffies, at) &&
	       cmpxchg(&dev->try_at, at, jiffies + VMLAB_SWAP_TRY) == at;
}

/**
 * vmlab_swap_note_write() - tell what a device did with a batch of writes
 * @vm: the instance
 * @entry: one of them, on which the caller has a reference
 * @works: whether it took any; else it is passed over for a while
 *
 * Context: process context; may hold spinlocks.
 */
void vmlab_swap_note_write(struct vmlab *vm, u64 entry, bool works)
{
	struct vmlab_swap_dev *dev = vmlab_swap_dev_of(vm, entry);

	if (works && !READ_ONCE(dev->failing))
		return;
	if (!works) {
		WRITE_ONCE(dev->failed_at, jiffies);
		WRITE_ONCE(dev->try_at, jiffies + VMLAB_SWAP_TRY);
	}
	/* For people: when it began, and when it was over. */
	if (xchg(&dev->failing, !works) != works)
		return;
	if (works)
		pr_info_ratelimited("swap: %s: takes pages again\n", dev->path);
	else
		pr_warn_ratelimited("swap: %s: takes no page: passed over for now\n",
				    dev->path);
}

/**
 * vmlab_swap_is_failing() - is there room, but only on devices that took nothing lately?
 * @vm: the instance
 *
 * Context: any but interrupts.
 */
bool vmlab_swap_is_failing(struct vmlab *vm)
{
	struct vmlab_swap_order *order;
	bool fails = false, works = false;
	unsigned int i;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	for (i = 0; order && i < order->nr && !works; i++) {
		struct vmlab_swap_dev *dev = order->devs[i];

		if (!vmlab_swap_dev_has_room(dev))
			continue;
		fails |= vmlab_swap_dev_fails(dev);
		works |= !vmlab_swap_dev_fails(dev);
	}
	rcu_read_unlock();
	return fails && !works;
}

/**
 * vmlab_swap_has_devs() - is any swap device on?
 * @vm: the instance
 *
 * Context: any but interrupts.
 */
bool vmlab_swap_has_devs(struct vmlab *vm)
{
	struct vmlab_swap_order *order;
	bool has;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	has = order && order->nr;
	rcu_read_unlock();
	return has;
}

/*
 * From one group of devices with equal priority, which begins at order->devs[@group].
 * @failing: from those that have taken nothing lately, else from the others.
 */
static unsigned int vmlab_swap_alloc_group(struct vmlab_swap_order *order,
					   unsigned int group, bool failing,
					   unsigned int nr, u64 *first)
{
	unsigned int group_nr = order->group_nr[group];
	struct vmlab_swap_dev *dev;
	unsigned int i, got, turn = 0;

	if (group_nr > 1)
		turn = (unsigned int)atomic_read(&order->taken[group]) / VMLAB_SWAP_TURN;
	for (i = 0; i < group_nr; i++) {
		dev = order->devs[group + (turn + i) % group_nr];
		if (!vmlab_swap_dev_has_room(dev))
			continue;
		if (vmlab_swap_dev_fails(dev) != failing)
			continue;
		if (failing && !vmlab_swap_dev_try(dev))
			continue;
		got = vmlab_swap_map_alloc(&dev->map, nr, first);
		if (!got)
			continue;
		if (group_nr > 1)
			atomic_add(got, &order->taken[group]);
		*first = vmlab_swap_entry(dev->index, *first);
		return got;
	}
	return 0;
}

/**
 * vmlab_swap_alloc() - take a run of free slots
 * @vm: the instance
 * @nr: slots wanted, at least 1
 * @first: out: entry of the first one; the others follow it
 *
 * From the device with the highest priority that has room; devices of equal
 * priority take turns.  A device that took nothing lately comes last, and then only
 * every now and then.  Who gets fewer than wanted asks again for the rest.
 * Each entry has one reference then, which is the caller's.
 *
 * Context: process context; may hold spinlocks.
 * Return: length of the run, 0 to @nr; 0: there is no room at all.
 */
unsigned int vmlab_swap_alloc(struct vmlab *vm, unsigned int nr, u64 *first)
{
	struct vmlab_swap_order *order;
	unsigned int i, got = 0;

	rcu_read_lock();
	order = rcu_dereference(vm->swap_order);
	for (i = 0; order && i < order->nr && !got; i += order->group_nr[i])
		got = vmlab_swap_alloc_group(order, i, false, nr, first);
	for (i = 0; order && i < order->nr && !got; i += order->group_nr[i])
		got = vmlab_swap_alloc_group(order, i, true, nr, first);
	rcu_read_unlock();
	return got;
}

/**
 * vmlab_swap_get() - one more reference on an entry
 * @vm: the instance
 * @entry: the entry, on which the caller knows a reference
 *
 * Context: process context; may hold spinlocks.
 * Return: whether it was taken.  An entry that VMLAB_SWAP_REFS_MAX users name takes no
 * more: bring the page into a frame.
 */
bool vmlab_swap_get(struct vmlab *vm, u64 entry)
{
	return vmlab_swap_map_get(&vmlab_swap_dev_of(vm, entry)->map,
				  vmlab_swap_entry_offset(entry));
}

/**
 * vmlab_swap_put() - give back a reference on an entry
 * @vm: the instance
 * @entry: the entry; not to be used afterwards, nor its slot's descriptor
 *
 * Context: process context; may hold spinlocks.
 */
void vmlab_swap_put(struct vmlab *vm, u64 entry)
{
	vmlab_swap_map_put(&vmlab_swap_dev_of(vm, entry)->map,
			   vmlab_swap_entry_offset(entry));
}

/**
 * vmlab_swap_mark_bad() - give back an entry that could not be written
 * @vm: the instance
 * @entry: the entry; the caller has its only reference, and loses it
 *
 * The slot is not used again until the device has been off.
 *
 * Context: process context; may hold spinlocks.
 */
void vmlab_swap_mark_bad(struct vmlab *vm, u64 entry)
{
	vmlab_swap_map_mark_bad(&vmlab_swap_dev_of(vm, entry)->map,
				vmlab_swap_entry_offset(entry));
}

/**
 * vmlab_swap_slot() - what is kept for an entry
 * @vm: the instance
 * @entry: the entry, on which the caller knows a reference
 *
 * Its checksum and its frame belong to who holds the lock of an object's slot
 * that names the entry.
 *
 * Return: the slot's descriptor.
 */
struct vmlab_swap_slot *vmlab_swap_slot(struct vmlab *vm, u64 entry)
{
	return &vmlab_swap_dev_of(vm, entry)->map.slots[vmlab_swap_entry_offset(entry)];
}

/**
 * vmlab_swap_bdev() - the device that an entry is on
 * @vm: the instance
 * @entry: the entry, on which the caller knows a reference
 *
 * Return: the block device, open while the entry is used.
 */
struct block_device *vmlab_swap_bdev(struct vmlab *vm, u64 entry)
{
	return vmlab_swap_dev_of(vm, entry)->bdev;
}

/**
 * vmlab_swap_dev() - a device by its number
 * @vm: the instance
 * @index: 0 to VMLAB_SWAP_MAX_DEVS - 1
 *
 * Context: holds vm->swap_mutex, or a reference on an entry of the device.
 * Return: the device, or NULL when there is none.
 */
struct vmlab_swap_dev *vmlab_swap_dev(struct vmlab *vm, unsigned int index)
{
	return vmlab_swap_dev_stable(vm, index);
}
