// SPDX-License-Identifier: GPL-2.0
/*
 * contract.ko: /dev/vmlab_contract, its objects, its ioctls.
 *
 * Owns the device and the life of an object.  It shows whether a kernel keeps what vmlab
 * relies on, and stands apart from vmlab.ko, so that it can be asked before that is ever
 * loaded.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ct.h"

#define CT_FS_MAGIC	0x76636f6e	/* "vcon" */

static struct vfsmount *ct_mnt;

static int ct_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, CT_FS_MAGIC) ? 0 : -ENOMEM;
}

/* No .owner, as in module/fs.c: a test looks whether the mount pins the module. */
static struct file_system_type ct_fs_type = {
	.name			= "vmlab_contract",
	.init_fs_context	= ct_fs_init_context,
	.kill_sb		= kill_anon_super,
};

static void ct_free_chunks(struct ct_object *obj)
{
	int chunk, i;

	for (chunk = 0; chunk < ARRAY_SIZE(obj->chunks); chunk++)
		for (i = 0; obj->chunks[chunk] && i < CT_CHUNK_PAGES; i++)
			__free_page(obj->chunks[chunk] + i);
}

/* Single pages, so that one that somebody managed to pin does not take others along. */
static int ct_alloc_chunks(struct ct_object *obj)
{
	const gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	int chunk;

	for (chunk = 0; chunk < ARRAY_SIZE(obj->chunks); chunk++) {
		obj->chunks[chunk] = alloc_pages(gfp, get_order(PMD_SIZE));
		if (!obj->chunks[chunk])
			return -ENOMEM;
		split_page(obj->chunks[chunk], get_order(PMD_SIZE));
	}
	return 0;
}

#ifdef CONFIG_MMU_NOTIFIER
static int ct_notify_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct ct_object *obj = container_of(notifier, struct ct_object, notifier);

	ct_count(obj, notified);
	if (!mm_tlb_flush_pending(range->mm))
		ct_count(obj, notified_unannounced);
	return 0;
}

/* By now entries may have changed, and whoever changed them has not flushed yet. */
static void ct_notify_end(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	ct_notify_start(notifier, range);
}

static const struct mmu_notifier_ops ct_notifier_ops = {
	.invalidate_range_start	= ct_notify_start,
	.invalidate_range_end	= ct_notify_end,
};

static int ct_notify(struct ct_object *obj, bool on)
{
	int err;

	if (on == !!obj->notified_mm)
		return -EBUSY;
	if (on) {
		obj->notifier.ops = &ct_notifier_ops;
		err = mmu_notifier_register(&obj->notifier, current->mm);
		if (!err)
			obj->notified_mm = current->mm;
		return err;
	}
	mmu_notifier_unregister(&obj->notifier, obj->notified_mm);
	obj->notified_mm = NULL;
	return 0;
}
#else
static int ct_notify(struct ct_object *obj, bool on)
{
	return -EOPNOTSUPP;
}
#endif

static int ct_dev_open(struct inode *inode, struct file *file)
{
	struct ct_object *obj = kzalloc(sizeof(*obj), GFP_KERNEL);
	int err;

	if (!obj)
		return -ENOMEM;
	mutex_init(&obj->lock);
	init_waitqueue_head(&obj->wait);
	err = ct_alloc_chunks(obj);
	if (err)
		goto free;
	obj->inode = alloc_anon_inode(ct_mnt->mnt_sb);
	if (IS_ERR(obj->inode)) {
		err = PTR_ERR(obj->inode);
		goto free;
	}
	file->private_data = obj;
	file->f_mapping = obj->inode->i_mapping;
	return 0;

free:
	ct_free_chunks(obj);
	kfree(obj);
	return err;
}

static int ct_dev_release(struct inode *inode, struct file *file)
{
	struct ct_object *obj = file->private_data;

	if (obj->notified_mm)
		ct_notify(obj, false);
	iput(obj->inode);
	ct_free_chunks(obj);
	kfree(obj);
	return 0;
}

static int ct_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct ct_object *obj = file->private_data;

	ct_count(obj, fsync);
	return 0;
}

static int ct_fadvise(struct file *file, loff_t offset, loff_t len, int advice)
{
	struct ct_object *obj = file->private_data;

	ct_count(obj, fadvise);
	return 0;
}

/*
 * i_mmap is held for a while: who wants to free page tables, or to move them, must wait.
 * Whoever did it nevertheless, and then said so by CT_IOC_WAKE, was too early.
 */
static int ct_hold(struct ct_object *obj, unsigned int ms)
{
	bool woken;

	i_mmap_lock_read(obj->inode->i_mapping);
	ct_count(obj, held);
	woken = wait_event_timeout(obj->wait, READ_ONCE(obj->woken),
				   msecs_to_jiffies(min(ms, 60000U)));
	i_mmap_unlock_read(obj->inode->i_mapping);
	return woken;
}

static void ct_wake(struct ct_object *obj)
{
	WRITE_ONCE(obj->woken, true);
	wake_up_all(&obj->wait);
}

static int ct_empty_release(struct inode *inode, struct file *file)
{
	return 0;
}

static const struct file_operations ct_empty_fops = {
	.owner		= THIS_MODULE,
	.release	= ct_empty_release,
};

/* As a snapshot will be made: a file of ours that nobody opened by a path. */
static int ct_file(void)
{
	struct inode *inode;
	struct file *file;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	inode = alloc_anon_inode(ct_mnt->mnt_sb);
	if (IS_ERR(inode)) {
		put_unused_fd(fd);
		return PTR_ERR(inode);
	}
	/* What fput() will drop. */
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(inode, ct_mnt, "contract", O_RDWR, &ct_empty_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(inode);
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

static void ct_policy(struct ct_policy *policy)
{
	policy->task_mode = -1;
	policy->vma_mode = -1;
	policy->vma_nodes = 0;
#ifdef CONFIG_NUMA
	{
		struct vm_area_struct *vma;

		task_lock(current);
		if (current->mempolicy)
			policy->task_mode = current->mempolicy->mode;
		task_unlock(current);
		mmap_read_lock(current->mm);
		vma = vma_lookup(current->mm, policy->addr);
		if (vma && vma->vm_policy) {
			policy->vma_mode = vma->vm_policy->mode;
			policy->vma_nodes = nodes_addr(vma->vm_policy->nodes)[0];
		}
		mmap_read_unlock(current->mm);
	}
#endif
}

static long ct_ioctl_plain(struct ct_object *obj, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case CT_IOC_SETUP:
		obj->flags = arg;
		return 0;
	case CT_IOC_RESET:
		memset(&obj->events, 0, sizeof(obj->events));
		bitmap_zero(obj->faulted, CT_PAGES);
		WRITE_ONCE(obj->woken, false);
		return 0;
	case CT_IOC_HOLD:
		return ct_hold(obj, arg);
	case CT_IOC_WAKE:
		ct_wake(obj);
		return 0;
	case CT_IOC_WRITABLE:
		return atomic_read(&obj->inode->i_mapping->i_mmap_writable);
	case CT_IOC_RETIRED:
		return ct_retired_left();
	case CT_IOC_FILE:
		return ct_file();
	case CT_IOC_NOTIFY:
		return ct_notify(obj, arg);
	case CT_IOC_PENDING:
		return ct_pending();
	default:
		return -ENOTTY;
	}
}

static long ct_ioctl_range(struct ct_object *obj, unsigned int cmd, const struct ct_range *range)
{
	if (range->first >= CT_PAGES || range->pages > CT_PAGES - range->first)
		return -EINVAL;
	switch (cmd) {
	case CT_IOC_SET:
		return ct_set(obj, range);
	case CT_IOC_CHANGE:
		return ct_change(obj, range);
	case CT_IOC_ZAP:
		return ct_zap(obj, range);
	case CT_IOC_ZAP_ALL:
		return ct_zap_all(obj, range);
	case CT_IOC_UNMAP:
		unmap_mapping_range(obj->inode->i_mapping, (loff_t)range->first << PAGE_SHIFT,
				    (loff_t)range->pages << PAGE_SHIFT, 1);
		return 0;
	case CT_IOC_TABLES:
		return ct_tables(obj, range);
	case CT_IOC_TREE:
		return ct_tree_count(obj, range->first, range->first + range->pages - 1, NULL);
	case CT_IOC_RETIRE:
		return ct_retire(obj, range->addr);
	default:
		return -ENOTTY;
	}
}

static long ct_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ct_object *obj = file->private_data;
	void __user *user = (void __user *)arg;
	union {
		struct ct_events events;
		struct ct_entry entry;
		struct ct_policy policy;
		struct ct_range range;
	} u;
	long ret = 0;

	if (_IOC_TYPE(cmd) != 'C' || _IOC_SIZE(cmd) > sizeof(u))
		return -ENOTTY;
	if (!_IOC_SIZE(cmd))
		return ct_ioctl_plain(obj, cmd, arg);
	memset(&u, 0, sizeof(u));
	if ((_IOC_DIR(cmd) & _IOC_WRITE) && copy_from_user(&u, user, _IOC_SIZE(cmd)))
		return -EFAULT;
	switch (cmd) {
	case CT_IOC_EVENTS:
		u.events = obj->events;
		u.events.faulted_pages = bitmap_weight(obj->faulted, CT_PAGES);
		break;
	case CT_IOC_LOOK:
		ret = ct_look(obj, &u.entry);
		break;
	case CT_IOC_POLICY:
		ct_policy(&u.policy);
		break;
	default:
		ret = ct_ioctl_range(obj, cmd, &u.range);
	}
	if (ret >= 0 && (_IOC_DIR(cmd) & _IOC_READ) && copy_to_user(user, &u, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static const struct file_operations ct_fops = {
	.owner			= THIS_MODULE,
	.open			= ct_dev_open,
	.release		= ct_dev_release,
	.mmap			= ct_mmap,
	.get_unmapped_area	= thp_get_unmapped_area,
	.fsync			= ct_fsync,
	.fadvise		= ct_fadvise,
	.unlocked_ioctl		= ct_ioctl,
};

static struct miscdevice ct_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "vmlab_contract",
	.fops	= &ct_fops,
	.mode	= 0600,
};

static int __init ct_init(void)
{
	int err;

	ct_mnt = kern_mount(&ct_fs_type);
	if (IS_ERR(ct_mnt))
		return PTR_ERR(ct_mnt);
	err = misc_register(&ct_misc);
	if (err)
		kern_unmount(ct_mnt);
	return err;
}

static void __exit ct_exit(void)
{
	misc_deregister(&ct_misc);
	ct_retired_exit();
	kern_unmount(ct_mnt);
}

module_init(ct_init);
module_exit(ct_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Shows whether a kernel keeps what vmlab relies on");
