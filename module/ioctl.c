// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: everything that comes from user space is checked here.
 *
 * Owns the rules at the head of uapi/vmlab.h.  Behind it ranges are in pages, within
 * the object, and do not wrap; what is done with them is done elsewhere.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "vmlab.h"

/*
 * Reads a structure whose first field is its size.  What a newer caller adds at the
 * end is refused unless it is zero; no older and smaller version ever was.
 */
static int vmlab_get_struct(void *to, size_t size, void __user *from)
{
	u32 user_size;

	if (get_user(user_size, (u32 __user *)from))
		return -EFAULT;
	if (user_size < size)
		return -EINVAL;
	if (user_size > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(to, size, from, user_size);
}

/* Bytes to pages. */
static int vmlab_check_range(u64 offset, u64 length, u64 *first, u64 *nr)
{
	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(length))
		return -EINVAL;
	if (offset > VMLAB_OBJECT_SIZE || length > VMLAB_OBJECT_SIZE - offset)
		return -EINVAL;
	*first = offset >> PAGE_SHIFT;
	*nr = length >> PAGE_SHIFT;
	return 0;
}

static u64 vmlab_features(struct vmlab *vm)
{
	u64 swap = vmlab_swap_free_pages(vm) + vmlab_swap_used_pages(vm);

	return swap ? VMLAB_FEATURE_SWAP : 0;
}

static long vmlab_ioctl_info(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_info info;
	struct vmlab_usage usage;
	int err = vmlab_get_struct(&info, sizeof(info), arg);

	if (err)
		return err;
	if (info.flags)
		return -EINVAL;
	vmlab_object_usage(obj, &usage);
	info = (struct vmlab_ioc_info) {
		.size		= info.size,
		.version	= VMLAB_ABI_VERSION,
		.page_size	= PAGE_SIZE,
		.features	= vmlab_features(obj->vm),
		.id		= obj->id,
		.resident_pages	= usage.resident,
		.swapped_pages	= usage.swapped,
		.leaf_pages	= usage.leaves,
		.dirty_pages	= usage.dirty,
		.pinned_pages	= usage.pinned,
		.limit_pages	= READ_ONCE(obj->lineage->limit),
		.faults		= usage.events.faults,
		.swap_ins	= usage.events.swap_ins,
		.swap_outs	= usage.events.swap_outs,
		.evictions	= usage.events.evictions,
	};
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

/**
 * struct vmlab_range_call - an ioctl on a range of pages
 * @fn:		does it
 * @write:	it changes what the pages hold
 * @held:	by address it is done with mmap_lock held for read, for so many pages at a time,
 *		a power of two: what it changes must not belong to another mapping by now, nor
 *		be half of what a fork copies.  0: it is not held
 */
struct vmlab_range_call {
	int	(*fn)(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
	bool	write;
	u64	held;
};

static const struct vmlab_range_call vmlab_range_calls[] = {
	[_IOC_NR(VMLAB_IOC_DISCARD)] = {
		.fn = vmlab_range_discard, .write = true, .held = VMLAB_OBJECT_PAGES,
	},
	[_IOC_NR(VMLAB_IOC_POPULATE)] = {
		.fn = vmlab_range_populate, .held = VMLAB_LEAF_SLOTS,
	},
	[_IOC_NR(VMLAB_IOC_PIN)] = {
		.fn = vmlab_range_pin, .held = VMLAB_LEAF_SLOTS,
	},
	[_IOC_NR(VMLAB_IOC_UNPIN)] = {
		.fn = vmlab_range_unpin, .held = VMLAB_OBJECT_PAGES,
	},
	[_IOC_NR(VMLAB_IOC_PAGEOUT)] = { .fn = vmlab_range_pageout },
	[_IOC_NR(VMLAB_IOC_SPLIT)] = { .fn = vmlab_range_split },
	/* These two take mmap_lock themselves, of all who map the pages. */
	[_IOC_NR(VMLAB_IOC_COLLAPSE)] = { .fn = vmlab_range_collapse },
	[_IOC_NR(VMLAB_IOC_RESERVE)] = { .fn = vmlab_range_reserve, .write = true },
};

/* RESERVE with VMLAB_RANGE_GIGANTIC. */
static const struct vmlab_range_call vmlab_reserve_gigantic = {
	.fn = vmlab_range_reserve_gigantic, .write = true,
};

/**
 * struct vmlab_piece - a part of a range of addresses, that one VMA maps
 * @region: what is mapped; with a reference, which keeps a private object
 * @file: the VMA's; with a reference, which keeps its object
 * @first: first page of the object
 * @nr: pages
 * @writable: the mapping may be written to, or be made so
 */
struct vmlab_piece {
	struct vmlab_region	*region;
	struct file		*file;
	u64			first;
	u64			nr;
	bool			writable;
};

static void vmlab_piece_put(struct vmlab_piece *piece)
{
	vmlab_region_put(piece->region);
	fput(piece->file);
}

/* What is mapped at the begin of a range of the caller's addresses.  mmap_lock held. */
static int vmlab_look_piece(unsigned long addr, u64 nr, struct vmlab_piece *piece)
{
	struct vm_area_struct *vma = vma_lookup(current->mm, addr);

	if (!vma || vma->vm_ops != &vmlab_vm_ops)
		return -ENOMEM;
	piece->region = vma->vm_private_data;
	if (!piece->region->object)
		return -ENOMEM;
	piece->file = vma->vm_file;
	piece->first = linear_page_index(vma, addr);
	piece->nr = min_t(u64, nr, (vma->vm_end - addr) >> PAGE_SHIFT);
	piece->writable = vma->vm_flags & VM_MAYWRITE;
	return 0;
}

/* Likewise, with references; the mapping may go meanwhile. */
static int vmlab_find_piece(unsigned long addr, u64 nr, struct vmlab_piece *piece)
{
	struct mm_struct *mm = current->mm;
	int err;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = vmlab_look_piece(addr, nr, piece);
	if (!err) {
		kref_get(&piece->region->ref);
		get_file(piece->file);
	}
	mmap_read_unlock(mm);
	return err;
}

static int vmlab_piece_do(const struct vmlab_piece *piece, const struct vmlab_range_call *call,
			  u64 *done)
{
	u64 part = 0;
	int err;

	if (call->write && !piece->writable)
		return -EACCES;
	err = call->fn(piece->region->object, piece->first, piece->nr, &part);
	*done += part;
	return err;
}

/* One mapping, or as much of it as @call does at a time. */
static int vmlab_piece_do_held(u64 addr, u64 nr, const struct vmlab_range_call *call,
			       struct vmlab_piece *piece, u64 *done)
{
	struct mm_struct *mm = current->mm;
	int err;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	err = vmlab_look_piece(addr, nr, piece);
	if (!err) {
		piece->nr = min(piece->nr, call->held - (piece->first & (call->held - 1)));
		err = vmlab_piece_do(piece, call, done);
	}
	mmap_read_unlock(mm);
	return err;
}

static int vmlab_piece_do_free(u64 addr, u64 nr, const struct vmlab_range_call *call,
			       struct vmlab_piece *piece, u64 *done)
{
	int err = vmlab_find_piece(addr, nr, piece);

	if (err)
		return err;
	err = vmlab_piece_do(piece, call, done);
	vmlab_piece_put(piece);
	return err;
}

/* Does @call for each mapping in a range of the caller's addresses. */
static int vmlab_range_by_address(u64 addr, u64 nr, const struct vmlab_range_call *call,
				  u64 *done)
{
	struct vmlab_piece piece;
	int err;

	while (nr) {
		err = call->held ? vmlab_piece_do_held(addr, nr, call, &piece, done) :
				   vmlab_piece_do_free(addr, nr, call, &piece, done);
		if (err)
			return err;
		addr += piece.nr << PAGE_SHIFT;
		nr -= piece.nr;
	}
	return 0;
}

/* Addresses: a range that does not wrap, nor leave what user space can have. */
static int vmlab_check_addresses(u64 addr, u64 length, u64 *nr)
{
	if (!PAGE_ALIGNED(addr) || !PAGE_ALIGNED(length))
		return -EINVAL;
	if (length > TASK_SIZE_MAX || addr > TASK_SIZE_MAX - length)
		return -EINVAL;
	*nr = length >> PAGE_SHIFT;
	return 0;
}

static long vmlab_ioctl_range(struct file *file, void __user *arg,
			      const struct vmlab_range_call *call)
{
	u32 known = VMLAB_RANGE_ADDRESS;
	struct vmlab_ioc_range range;
	u64 first, nr, done = 0;
	int err = vmlab_get_struct(&range, sizeof(range), arg);

	if (err)
		return err;
	if (call->fn == vmlab_range_reserve)
		known |= VMLAB_RANGE_GIGANTIC;
	if (range.flags & ~known)
		return -EINVAL;
	if (range.flags & VMLAB_RANGE_GIGANTIC)
		call = &vmlab_reserve_gigantic;
	if (range.flags & VMLAB_RANGE_ADDRESS) {
		err = vmlab_check_addresses(range.offset, range.length, &nr);
		if (!err)
			err = vmlab_range_by_address(range.offset, nr, call, &done);
	} else {
		if (call->write && !(file->f_mode & FMODE_WRITE))
			return -EBADF;
		err = vmlab_check_range(range.offset, range.length, &first, &nr);
		if (!err && nr)
			err = call->fn(file->private_data, first, nr, &done);
	}
	range.done = done << PAGE_SHIFT;
	if (copy_to_user(arg, &range, sizeof(range)))
		return -EFAULT;
	return err;
}

static long vmlab_ioctl_limit(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_ioc_limit limit;
	int err = vmlab_get_struct(&limit, sizeof(limit), arg);

	if (err)
		return err;
	if (limit.flags & ~VMLAB_LIMIT_SET || limit.limit_pages > VMLAB_OBJECT_PAGES)
		return -EINVAL;
	if (limit.flags & VMLAB_LIMIT_SET) {
		WRITE_ONCE(lineage->limit, limit.limit_pages);
		vmlab_reclaim_to_limit(lineage);
	}
	limit.limit_pages = READ_ONCE(lineage->limit);
	limit.used_pages = atomic_long_read(&lineage->nr_frames);
	return copy_to_user(arg, &limit, sizeof(limit)) ? -EFAULT : 0;
}

static long vmlab_residency_by_address(u64 addr, u64 nr, u32 __user *vec)
{
	struct vmlab_piece piece;
	int err = 0;

	while (nr && !err) {
		err = vmlab_find_piece(addr, nr, &piece);
		if (err)
			break;
		err = vmlab_residency(piece.region->object, piece.first, piece.nr, vec);
		vmlab_piece_put(&piece);
		addr += piece.nr << PAGE_SHIFT;
		nr -= piece.nr;
		vec += piece.nr;
	}
	return err;
}

static long vmlab_ioctl_residency(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_residency res;
	u64 first, nr;
	int err = vmlab_get_struct(&res, sizeof(res), arg);

	if (err)
		return err;
	if (res.flags & ~VMLAB_RANGE_ADDRESS)
		return -EINVAL;
	if (res.flags & VMLAB_RANGE_ADDRESS) {
		err = vmlab_check_addresses(res.offset, res.length, &nr);
		return err ? : vmlab_residency_by_address(res.offset, nr,
							  u64_to_user_ptr(res.vec));
	}
	err = vmlab_check_range(res.offset, res.length, &first, &nr);
	if (err)
		return err;
	return vmlab_residency(obj, first, nr, u64_to_user_ptr(res.vec));
}

/* More words than this no mask needs, as get_nodes() in mm/mempolicy.c has it. */
#define VMLAB_MASK_BITS_MAX	(PAGE_SIZE * BITS_PER_BYTE)

/* A mask of nodes; what no pool can be on is left out. */
static int vmlab_get_nodes(u64 addr, u32 maxnode, unsigned long *nodes)
{
	u64 __user *words = u64_to_user_ptr(addr);
	u64 word;
	u32 bit;

	*nodes = 0;
	if (maxnode > VMLAB_MASK_BITS_MAX)
		return -EINVAL;
	for (bit = 0; bit < maxnode; bit += 64) {
		if (get_user(word, words++))
			return -EFAULT;
		if (maxnode - bit < 64)
			word &= BIT_ULL(maxnode - bit) - 1;
		if (!bit)
			*nodes = word & VMLAB_NODES_MASK;
		if (word && bit + __fls(word) >= MAX_NUMNODES)
			return -EINVAL;
	}
	return 0;
}

/* All of the mask is written, as far as @maxnode goes. */
static int vmlab_put_nodes(u64 addr, u32 maxnode, unsigned long nodes)
{
	u64 __user *words = u64_to_user_ptr(addr);
	u32 bit;

	if (maxnode > VMLAB_MASK_BITS_MAX || (nodes && __fls(nodes) >= maxnode))
		return -EINVAL;
	for (bit = 0; bit < maxnode; bit += 64)
		if (put_user(bit ? 0ULL : (u64)nodes, words++))
			return -EFAULT;
	return 0;
}

static int vmlab_mempolicy_set(struct vmlab_object *obj, const struct vmlab_ioc_mempolicy *ask,
			       u64 first, u64 nr)
{
	unsigned long nodes;
	u64 mpol;
	int err = vmlab_get_nodes(ask->nodes, ask->maxnode, &nodes);

	if (err)
		return err;
	if (ask->mode > VMLAB_MPOL_WEIGHTED_INTERLEAVE)
		return -EINVAL;
	mpol = vmlab_mpol_make(ask->mode, nodes, NUMA_NO_NODE);
	err = vmlab_mpol_check(obj->vm, mpol);
	return err || !nr ? err : vmlab_mpol_set(obj, first, nr, mpol);
}

static long vmlab_ioctl_mempolicy(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_mempolicy ask;
	u64 first, nr, end, mpol;
	int err = vmlab_get_struct(&ask, sizeof(ask), arg);

	if (err)
		return err;
	if (ask.flags & ~VMLAB_MEMPOLICY_SET)
		return -EINVAL;
	err = vmlab_check_range(ask.offset, ask.length, &first, &nr);
	if (err)
		return err;
	if (ask.flags & VMLAB_MEMPOLICY_SET)
		return vmlab_mempolicy_set(obj, &ask, first, nr);
	if (!nr)
		return 0;
	end = first + nr;
	mpol = vmlab_mpol_get(obj, first, &end);
	ask.mode = vmlab_mpol_mode(mpol);
	ask.length = (end - first) << PAGE_SHIFT;
	err = vmlab_put_nodes(ask.nodes, ask.maxnode, vmlab_mpol_nodes(mpol));
	if (!err && copy_to_user(arg, &ask, sizeof(ask)))
		err = -EFAULT;
	return err;
}

static int vmlab_migrate_by_address(u64 addr, u64 nr, unsigned long nodes, u64 *moved)
{
	struct vmlab_piece piece;
	int err, busy = 0;
	u64 part;

	while (nr) {
		err = vmlab_find_piece(addr, nr, &piece);
		if (err)
			return err;
		err = vmlab_range_migrate(piece.region->object, piece.first, piece.nr, nodes,
					  &part);
		vmlab_piece_put(&piece);
		*moved += part;
		if (err == -EBUSY)
			busy = err;
		else if (err)
			return err;
		addr += piece.nr << PAGE_SHIFT;
		nr -= piece.nr;
	}
	return busy;
}

static long vmlab_ioctl_migrate(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_migrate ask;
	u64 first, nr, moved = 0;
	unsigned long nodes;
	int err = vmlab_get_struct(&ask, sizeof(ask), arg);

	if (err)
		return err;
	if (ask.flags & ~VMLAB_RANGE_ADDRESS || ask.pad)
		return -EINVAL;
	err = ask.flags & VMLAB_RANGE_ADDRESS ?
	      vmlab_check_addresses(ask.offset, ask.length, &nr) :
	      vmlab_check_range(ask.offset, ask.length, &first, &nr);
	if (!err)
		err = vmlab_get_nodes(ask.nodes, ask.maxnode, &nodes);
	if (err)
		return err;
	nodes &= READ_ONCE(obj->vm->pool_nodes);
	if (nr && !nodes)
		return -EINVAL;
	if (ask.flags & VMLAB_RANGE_ADDRESS)
		err = vmlab_migrate_by_address(ask.offset, nr, nodes, &moved);
	else
		err = vmlab_range_migrate(obj, first, nr, nodes, &moved);
	ask.moved = moved << PAGE_SHIFT;
	return copy_to_user(arg, &ask, sizeof(ask)) ? -EFAULT : err;
}

static long vmlab_ioctl_snapshot(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_snapshot snap;
	struct file *file;
	int err = vmlab_get_struct(&snap, sizeof(snap), arg);

	if (err)
		return err;
	if (snap.flags & ~VMLAB_SNAPSHOT_FROZEN || snap.pad)
		return -EINVAL;
	snap.fd = vmlab_dev_snapshot(obj, snap.flags & VMLAB_SNAPSHOT_FROZEN, &snap.id, &file);
	if (snap.fd < 0)
		return snap.fd;
	/* Installed last: from then on it is the caller's, whatever happens. */
	if (copy_to_user(arg, &snap, sizeof(snap))) {
		put_unused_fd(snap.fd);
		fput(file);
		return -EFAULT;
	}
	fd_install(snap.fd, file);
	return 0;
}

static long vmlab_ioctl_walk(void __user *arg)
{
	struct vmlab_ioc_walk ask, walk;
	int err = vmlab_get_struct(&ask, sizeof(ask), arg);

	if (err)
		return err;
	if (ask.flags)
		return -EINVAL;
	err = vmlab_walk_address(current->mm, ask.address,
				 ns_capable_noaudit(&init_user_ns, CAP_SYS_ADMIN), &walk);
	if (err)
		return err;
	walk.size = ask.size;
	return copy_to_user(arg, &walk, sizeof(walk)) ? -EFAULT : 0;
}

/**
 * vmlab_ioctl() - file_operations->unlocked_ioctl
 * @file: an open /dev/vmlab
 * @cmd: dispatched by its number alone, so that structures can grow
 * @arg: address of the structure
 *
 * Return: 0 or -errno, see uapi/vmlab.h; -ENOTTY for what is no ioctl of ours.
 */
long vmlab_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vmlab_object *obj = file->private_data;
	void __user *user = (void __user *)arg;
	unsigned int nr = _IOC_NR(cmd);

	if (_IOC_TYPE(cmd) != VMLAB_IOC_MAGIC)
		return -ENOTTY;
	if (nr < ARRAY_SIZE(vmlab_range_calls)) {
		const struct vmlab_range_call *call =
			&vmlab_range_calls[array_index_nospec(nr, ARRAY_SIZE(vmlab_range_calls))];

		if (call->fn)
			return vmlab_ioctl_range(file, user, call);
	}
	switch (nr) {
	case _IOC_NR(VMLAB_IOC_INFO):
		return vmlab_ioctl_info(obj, user);
	case _IOC_NR(VMLAB_IOC_LIMIT):
		return vmlab_ioctl_limit(obj, user);
	case _IOC_NR(VMLAB_IOC_RESIDENCY):
		return vmlab_ioctl_residency(obj, user);
	case _IOC_NR(VMLAB_IOC_SNAPSHOT):
		return vmlab_ioctl_snapshot(obj, user);
	case _IOC_NR(VMLAB_IOC_MEMPOLICY):
		return vmlab_ioctl_mempolicy(obj, user);
	case _IOC_NR(VMLAB_IOC_MIGRATE):
		return vmlab_ioctl_migrate(obj, user);
	case _IOC_NR(VMLAB_IOC_WALK):
		return vmlab_ioctl_walk(user);
	default:
		return -ENOTTY;
	}
}
