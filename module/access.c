// SPDX-License-Identifier: GPL-2.0
/*
 * vm_operations->access: ptrace, /proc/PID/mem and gdb reach pages here, as
 * get_user_pages() refuses mappings like ours.
 *
 * Owns the checks that the core leaves to the callee: it calls ->access without a
 * look at the VMA's permissions (__access_remote_vm() in mm/memory.c).
 */
#include "vmlab.h"

/**
 * vmlab_vma_access() - vm_operations->access
 * @vma: the VMA
 * @addr: first byte, within it
 * @buf: kernel memory
 * @len: bytes; may reach past the VMA
 * @write: nonzero: from @buf into the mapping
 *
 * As with any shared mapping, a debugger writes only where the program itself may.
 *
 * Context: mmap_lock held for read.
 * Return: bytes copied, or -errno.
 */
int vmlab_vma_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
		     int write)
{
	struct vmlab_region *region = vma->vm_private_data;
	loff_t pos = ((loff_t)vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start);

	if (write ? !(vma->vm_flags & VM_WRITE) : !(vma->vm_flags & VM_MAYREAD))
		return -EFAULT;
	return vmlab_copy(region->object, pos, buf,
			  min_t(unsigned long, len, vma->vm_end - addr), write);
}
