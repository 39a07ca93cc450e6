// SPDX-License-Identifier: GPL-2.0
/*
 * The least that a page fault of a driver's mapping can cost, and the cost of clearing a page.
 *
 * Owns /dev/vmlab_limit.  A fault there maps one and the same page, whatever the address: it
 * looks nothing up, allocates nothing and counts nothing.  It is for the benchmark's guests
 * alone; of vmlab it must never use more than compat.h.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "compat.h"
#include "limit.h"

static struct page *limit_page;

static vm_fault_t limit_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = vmf->address & PAGE_MASK;
	/* Writable and dirty: nobody has to be asked a second time. */
	pte_t entry = pte_mkspecial(pte_mkdirty(pfn_pte(page_to_pfn(limit_page), PAGE_SHARED)));
	spinlock_t *ptl;

	if (pmd_none(READ_ONCE(*vmf->pmd)) &&
	    apply_to_page_range(vma->vm_mm, addr, PAGE_SIZE, NULL, NULL))
		return VM_FAULT_OOM;
	ptl = pte_lockptr(vma->vm_mm, vmf->pmd);
	spin_lock(ptl);
	set_pte_at(vma->vm_mm, addr, pte_offset_kernel(vmf->pmd, addr), entry);
	spin_unlock(ptl);
	return VM_FAULT_NOPAGE;
}

/* That it is here lets the core fault under the lock of the VMA alone. */
static vm_fault_t limit_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	return 0;
}

static const struct vm_operations_struct limit_vm_ops = {
	.fault		= limit_fault,
	.map_pages	= limit_map_pages,
};

static int limit_mmap(struct file *file, struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &limit_vm_ops;
	return 0;
}

static long limit_unmap(unsigned long addr)
{
	struct vm_area_struct *vma;
	long err = -EINVAL;

	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma && vma->vm_ops == &limit_vm_ops) {
		zap_vma_ptes(vma, vma->vm_start, vma->vm_end - vma->vm_start);
		err = 0;
	}
	mmap_read_unlock(current->mm);
	return err;
}

static long limit_ioctl(struct file *file, unsigned int request, unsigned long arg)
{
	switch (request) {
	case LIMIT_IOC_CLEAR:
		while (arg--)
			clear_page(page_address(limit_page));
		return 0;
	case LIMIT_IOC_UNMAP:
		return limit_unmap(arg);
	}
	return -ENOTTY;
}

static const struct file_operations limit_fops = {
	.owner		= THIS_MODULE,
	.mmap		= limit_mmap,
	.unlocked_ioctl	= limit_ioctl,
};

static struct miscdevice limit_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "vmlab_limit",
	.fops	= &limit_fops,
	.mode	= 0600,
};

static int __init limit_init(void)
{
	int err;

	limit_page = alloc_page(GFP_KERNEL);
	if (!limit_page)
		return -ENOMEM;
	err = misc_register(&limit_device);
	if (err)
		__free_page(limit_page);
	return err;
}
module_init(limit_init);

static void __exit limit_exit(void)
{
	misc_deregister(&limit_device);
	__free_page(limit_page);
}
module_exit(limit_exit);

MODULE_DESCRIPTION("The least that a page fault costs, for vmlab's benchmark");
MODULE_LICENSE("GPL");
