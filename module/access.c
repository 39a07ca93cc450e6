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
 * As with any shared mapping, a debugger writes only where the program itself may; as
 * with any private one, wherever it could be allowed to: its copy alone changes.
 *
 * Context: mmap_lock held for read.
 * Return: bytes copied, or -errno.
 */
int vmlab_vma_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
		     int write)
{
	struct vmlab_region *region = vma->vm_private_data;
	loff_t pos = ((loff_t)vma->vm_pgoff << PAGE_SHIFT) + (addr - vma->vm_start);

	unsigned long need = VM_MAYREAD;

	if (write)
		need = vmlab_region_is_private(region) ? VM_MAYWRITE : VM_WRITE;
	if (!region->object || !(vma->vm_flags & need))
		return -EFAULT;
	return vmlab_copy(region->object, pos, buf,
			  min_t(unsigned long, len, vma->vm_end - addr), write);
}
