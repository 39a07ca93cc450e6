// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: everything that comes from user space is checked here.
 *
 * Owns the rules at the head of uapi/vmlab.h.  Behind it ranges are in pages, within
 * the object, and do not wrap; what is done with them is done elsewhere.
 */
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
	percpu_down_read(&obj->vm->activity);
	vmlab_object_usage(obj, &usage);
	percpu_up_read(&obj->vm->activity);
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
		.faults		= usage.faults,
		.swap_ins	= atomic64_read(&obj->swap_ins),
		.swap_outs	= atomic64_read(&obj->swap_outs),
		.evictions	= atomic64_read(&obj->evictions),
	};
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

typedef int (*vmlab_range_fn)(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);

static long vmlab_ioctl_range(struct vmlab_object *obj, void __user *arg,
			      vmlab_range_fn fn)
{
	struct vmlab_ioc_range range;
	u64 first, nr, done = 0;
	int err = vmlab_get_struct(&range, sizeof(range), arg);

	if (err)
		return err;
	if (range.flags)
		return -EINVAL;
	err = vmlab_check_range(range.offset, range.length, &first, &nr);
	if (err)
		return err;
	if (nr)
		err = fn(obj, first, nr, &done);
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

static long vmlab_ioctl_residency(struct vmlab_object *obj, void __user *arg)
{
	struct vmlab_ioc_residency res;
	u64 first, nr;
	int err = vmlab_get_struct(&res, sizeof(res), arg);

	if (err)
		return err;
	if (res.flags)
		return -EINVAL;
	err = vmlab_check_range(res.offset, res.length, &first, &nr);
	if (err)
		return err;
	return vmlab_residency(obj, first, nr, u64_to_user_ptr(res.vec));
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

	if (_IOC_TYPE(cmd) != VMLAB_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(VMLAB_IOC_INFO):
		return vmlab_ioctl_info(obj, user);
	case _IOC_NR(VMLAB_IOC_DISCARD):
		if (!(file->f_mode & FMODE_WRITE))
			return -EBADF;
		return vmlab_ioctl_range(obj, user, vmlab_range_discard);
	case _IOC_NR(VMLAB_IOC_PAGEOUT):
		return vmlab_ioctl_range(obj, user, vmlab_range_pageout);
	case _IOC_NR(VMLAB_IOC_POPULATE):
		return vmlab_ioctl_range(obj, user, vmlab_range_populate);
	case _IOC_NR(VMLAB_IOC_PIN):
		return vmlab_ioctl_range(obj, user, vmlab_range_pin);
	case _IOC_NR(VMLAB_IOC_UNPIN):
		return vmlab_ioctl_range(obj, user, vmlab_range_unpin);
	case _IOC_NR(VMLAB_IOC_LIMIT):
		return vmlab_ioctl_limit(obj, user);
	case _IOC_NR(VMLAB_IOC_RESIDENCY):
		return vmlab_ioctl_residency(obj, user);
	default:
		return -ENOTTY;
	}
}
