// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/vmlab: open, mmap, llseek, fsync, fadvise, fdinfo.
 *
 * Owns the character device and what one open of it is.  It only dispatches: the work
 * is done in the files named in vmlab.h.
 */
#include <linux/fadvise.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <linux/splice.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "vmlab.h"

static struct vmlab *vmlab_dev_instance;

static int vmlab_open(struct inode *inode, struct file *file)
{
	struct vmlab_object *obj = vmlab_object_create(vmlab_dev_instance);

	if (IS_ERR(obj))
		return PTR_ERR(obj);
	file->private_data = obj;
	/* All VMAs of the lineage in one i_mmap, whoever opened what. */
	file->f_mapping = obj->lineage->inode->i_mapping;
	return 0;
}

static int vmlab_release(struct inode *inode, struct file *file)
{
	vmlab_object_destroy(file->private_data);
	return 0;
}

static int vmlab_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* Not VM_SHARED, which a read-only descriptor's shared mapping lacks too. */
	bool shared = vma->vm_flags & VM_MAYSHARE;
	struct vmlab_region *region;

	if (vma->vm_pgoff + vma_pages(vma) > VMLAB_OBJECT_PAGES)
		return -EINVAL;
	region = shared ? vmlab_region_shared(file->private_data) :
			  vmlab_region_private(file->private_data, vma->vm_pgoff,
					       vma_pages(vma));
	if (!region)
		return -ENOMEM;
	vma->vm_private_data = region;
	vma->vm_ops = &vmlab_vm_ops;
	/*
	 * A private mapping is given VM_SHARED, though not VM_MAYSHARE: so the core asks
	 * ->pfn_mkwrite where it would otherwise make an anonymous copy (wp_pfn_shared()
	 * in mm/memory.c), and copies stay ours.
	 */
	if (!shared)
		vm_flags_set(vma, VM_SHARED);
	/* PFNMAP: nobody else may take references on our pages, or free them. */
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

/* Where 1 GiB of the object begins at an address that one PUD can map; or an error. */
static unsigned long vmlab_get_gigantic_area(struct file *file, unsigned long len,
					     unsigned long pgoff, unsigned long flags)
{
	unsigned long addr;

	if (!vmlab_gigantic_works() || len < PUD_SIZE || len > TASK_SIZE - PUD_SIZE)
		return -ENOMEM;
	addr = thp_get_unmapped_area(file, 0, len + PUD_SIZE, pgoff, flags);
	if (IS_ERR_VALUE(addr))
		return addr;
	return addr + (((pgoff << PAGE_SHIFT) - addr) & (PUD_SIZE - 1));
}

static bool vmlab_in_remap_file_pages(void)
{
	int nr = syscall_get_nr(current, current_pt_regs());

#ifdef CONFIG_IA32_EMULATION
	if (in_ia32_syscall())
		return nr == __NR_ia32_remap_file_pages;
#endif
	/* An x32 program's has one bit more. */
	return (nr & ~__X32_SYSCALL_BIT) == __NR_remap_file_pages;
}

/*
 * Also asked about fixed addresses, before what is mapped there goes.  remap_file_pages(2)
 * is for mappings that were made with MAP_SHARED, which it knows by VM_SHARED
 * (mm/mmap.c), so that it would give who has nothing but a private copy the very object,
 * and any page of it.  Nothing but its number tells it from an mmap() of the descriptor.
 */
static unsigned long vmlab_get_unmapped_area(struct file *file, unsigned long addr,
					     unsigned long len, unsigned long pgoff,
					     unsigned long flags)
{
	struct vm_area_struct *vma;
	unsigned long found;

	if ((flags & MAP_FIXED) && vmlab_in_remap_file_pages()) {
		vma = find_vma(current->mm, addr);
		if (vma && vma->vm_start <= addr && !(vma->vm_flags & VM_MAYSHARE))
			return -EINVAL;
	}
	if (!addr && !(flags & MAP_FIXED)) {
		found = vmlab_get_gigantic_area(file, len, pgoff, flags);
		if (!IS_ERR_VALUE(found))
			return found;
	}
	return thp_get_unmapped_area(file, addr, len, pgoff, flags);
}

static loff_t vmlab_llseek(struct file *file, loff_t offset, int whence)
{
	struct vmlab_object *obj = file->private_data;

	switch (whence) {
	case SEEK_DATA:
	case SEEK_HOLE:
		if (offset < 0 || offset >= (loff_t)VMLAB_OBJECT_SIZE)
			return -ENXIO;
		offset = whence == SEEK_DATA ? vmlab_seek_data(obj, offset) :
					       vmlab_seek_hole(obj, offset);
		if (offset < 0)
			return offset;
		return vfs_setpos(file, offset, VMLAB_OBJECT_SIZE);
	default:
		return generic_file_llseek_size(file, offset, whence, VMLAB_OBJECT_SIZE,
						VMLAB_OBJECT_SIZE);
	}
}

/*
 * There is nothing behind the object that could be written back: its swap is a place
 * for pages, not for keeps.  As on tmpfs, all is as stable as it can be.
 */
static int vmlab_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	return 0;
}

static int vmlab_fadvise(struct file *file, loff_t offset, loff_t len, int advice)
{
	u64 first, last;

	switch (advice) {
	case POSIX_FADV_NORMAL:
	case POSIX_FADV_SEQUENTIAL:
	case POSIX_FADV_RANDOM:
	case POSIX_FADV_NOREUSE:
	case POSIX_FADV_DONTNEED:
		return len < 0 ? -EINVAL : 0;
	case POSIX_FADV_WILLNEED:
		break;
	default:
		return -EINVAL;
	}
	if (offset < 0 || len < 0)
		return -EINVAL;
	if (offset >= (loff_t)VMLAB_OBJECT_SIZE)
		return 0;
	if (!len || len > (loff_t)VMLAB_OBJECT_SIZE - offset)
		len = VMLAB_OBJECT_SIZE - offset;
	first = offset >> PAGE_SHIFT;
	last = (offset + len - 1) >> PAGE_SHIFT;
	return vmlab_range_willneed(file->private_data, first, last - first + 1);
}

static void vmlab_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct vmlab_object *obj = file->private_data;
	struct vmlab_usage usage;

	vmlab_object_usage(obj, &usage);
	seq_printf(m, "vmlab-id:\t%llu\n", obj->id);
	seq_printf(m, "vmlab-resident:\t%llu\n", usage.resident);
	seq_printf(m, "vmlab-swapped:\t%llu\n", usage.swapped);
	seq_printf(m, "vmlab-leaves:\t%llu\n", usage.leaves);
	seq_printf(m, "vmlab-dirty:\t%llu\n", usage.dirty);
	seq_printf(m, "vmlab-pinned:\t%llu\n", usage.pinned);
	seq_printf(m, "vmlab-limit:\t%lu\n", READ_ONCE(obj->lineage->limit));
	seq_printf(m, "vmlab-shared:\t%llu\n", usage.shared);
	seq_printf(m, "vmlab-faults:\t%llu\n", usage.events.faults);
	seq_printf(m, "vmlab-swap-ins:\t%llu\n", usage.events.swap_ins);
	seq_printf(m, "vmlab-swap-outs:\t%llu\n", usage.events.swap_outs);
}

static const struct file_operations vmlab_fops = {
	.owner			= THIS_MODULE,
	.open			= vmlab_open,
	.release		= vmlab_release,
	.mmap			= vmlab_mmap,
	.get_unmapped_area	= vmlab_get_unmapped_area,
	.read_iter		= vmlab_read_iter,
	.write_iter		= vmlab_write_iter,
	.splice_read		= vmlab_splice_read,
	.splice_write		= iter_file_splice_write,
	.llseek			= vmlab_llseek,
	.fsync			= vmlab_fsync,
	.fadvise		= vmlab_fadvise,
	.unlocked_ioctl		= vmlab_ioctl,
	.compat_ioctl		= compat_ptr_ioctl,
	.show_fdinfo		= vmlab_show_fdinfo,
};

static struct miscdevice vmlab_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "vmlab",
	.fops	= &vmlab_fops,
	.mode	= 0600,
};

/**
 * vmlab_dev_snapshot() - give a copy of an object a descriptor
 * @obj: the object
 * @frozen: the descriptor, and all that comes from it, is read-only
 * @id: out: the copy's number
 * @file: out: what the descriptor is to stand for
 *
 * Context: sleeps; no locks.
 * Return: a descriptor that is reserved, for the caller to fd_install() @file, or -errno.
 */
int vmlab_dev_snapshot(struct vmlab_object *obj, bool frozen, u64 *id, struct file **file)
{
	struct vmlab_object *copy;
	int fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	copy = vmlab_snapshot(obj, frozen);
	if (IS_ERR(copy)) {
		put_unused_fd(fd);
		return PTR_ERR(copy);
	}
	*file = vmlab_fs_file(copy->lineage, "vmlab-snapshot", frozen ? O_RDONLY : O_RDWR,
			      &vmlab_fops);
	if (IS_ERR(*file)) {
		put_unused_fd(fd);
		vmlab_object_destroy(copy);
		return PTR_ERR(*file);
	}
	(*file)->private_data = copy;
	*id = copy->id;
	return fd;
}

/**
 * vmlab_dev_register() - make /dev/vmlab appear
 * @vm: the instance whose objects it opens
 *
 * Return: 0 or -errno.
 */
int vmlab_dev_register(struct vmlab *vm)
{
	vmlab_dev_instance = vm;
	return misc_register(&vmlab_misc);
}

/**
 * vmlab_dev_unregister() - make it disappear
 */
void vmlab_dev_unregister(void)
{
	misc_deregister(&vmlab_misc);
	vmlab_dev_instance = NULL;
}
