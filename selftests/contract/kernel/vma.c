// SPDX-License-Identifier: GPL-2.0
/*
 * vm_operations that note how the core calls them, and do what the object's flags say.
 *
 * Owns every PTE and PMD that a fault sets.  What it does for each flag is what vmlab does
 * or will do there; it judges nothing itself.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/mempolicy.h>
#include <linux/rcupdate.h>
#include <asm/pgalloc.h>

#include "ct.h"

static const struct vm_operations_struct ct_vm_ops, ct_vm_ops_without_map_pages;

/**
 * ct_is_mapping_of() - does a VMA map this object?
 * @vma: any VMA, or NULL
 * @obj: the object
 *
 * Return: whether it does.
 */
bool ct_is_mapping_of(struct vm_area_struct *vma, struct ct_object *obj)
{
	return vma && (vma->vm_ops == &ct_vm_ops ||
		       vma->vm_ops == &ct_vm_ops_without_map_pages) &&
	       vma->vm_private_data == obj;
}

/**
 * ct_pte() - a PTE as vmlab makes it
 * @vma: where
 * @page: of what
 * @write: writable and dirty, else read-only and clean
 *
 * Return: the PTE.
 */
pte_t ct_pte(struct vm_area_struct *vma, struct page *page, bool write)
{
	pte_t pte = pte_mkspecial(pfn_pte(page_to_pfn(page), vma->vm_page_prot));

	return write ? pte_mkwrite_novma(pte_mkdirty(pte)) : pte_mkclean(pte_wrprotect(pte));
}

/* CT_COW: the page's data move to the other chunk, once, in the same trap. */
static void ct_move(struct ct_object *obj, unsigned long index)
{
	if (test_and_set_bit(index, obj->moved))
		return;
	copy_highpage(ct_page(obj, index + CT_CHUNK_PAGES), ct_page(obj, index));
}

static struct page *ct_page_now(struct ct_object *obj, unsigned long index)
{
	return ct_page(obj, test_bit(index, obj->moved) ? index + CT_CHUNK_PAGES : index);
}

/* Puts the table that the fault has brought along where there is none. */
static bool ct_make_table(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	spinlock_t *ptl;

	if (!pmd_none(READ_ONCE(*vmf->pmd)))
		return true;
	if (!vmf->prealloc_pte)
		return false;
	ptl = pmd_lock(mm, vmf->pmd);
	if (pmd_none(*vmf->pmd)) {
		mm_inc_nr_ptes(mm);
		smp_wmb();	/* it must be seen to be empty before it is seen */
		pmd_populate(mm, vmf->pmd, vmf->prealloc_pte);
		vmf->prealloc_pte = NULL;
	}
	spin_unlock(ptl);
	return true;
}

static vm_fault_t ct_map_pte(struct vm_fault *vmf, bool write)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ct_object *obj = vma->vm_private_data;
	unsigned long addr = vmf->address & PAGE_MASK;
	spinlock_t *ptl;
	pte_t *pte;

	if (!ct_make_table(vmf) || pmd_leaf(READ_ONCE(*vmf->pmd)))
		return VM_FAULT_NOPAGE;
	if (write && (obj->flags & CT_COW) && vmf->pgoff < CT_CHUNK_PAGES) {
		/* The flush comes before the entry changes its page. */
		zap_vma_ptes(vma, addr, PAGE_SIZE);
		ct_move(obj, vmf->pgoff);
	}
	ptl = pte_lockptr(vma->vm_mm, vmf->pmd);
	pte = pte_offset_kernel(vmf->pmd, addr);
	spin_lock(ptl);
	set_pte_at(vma->vm_mm, addr, pte, ct_pte(vma, ct_page_now(obj, vmf->pgoff), write));
	spin_unlock(ptl);
	return VM_FAULT_NOPAGE;
}

static bool ct_chunk_fits(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long start = vmf->address & PMD_MASK;

	return start >= vma->vm_start && start + PMD_SIZE <= vma->vm_end &&
	       !((vmf->pgoff ^ (vmf->address >> PAGE_SHIFT)) & (CT_CHUNK_PAGES - 1));
}

/* Drops the fault's lock, waits, and has the fault come again. */
static vm_fault_t ct_drop(struct vm_fault *vmf)
{
	struct ct_object *obj = vmf->vma->vm_private_data;
	struct file *file = get_file(vmf->vma->vm_file);

	ct_count(obj, fault_dropped);
	vmlab_release_fault_lock(vmf);
	if (obj->flags & CT_WAIT) {
		ct_count(obj, waiting);
		wait_event_killable(obj->wait, READ_ONCE(obj->woken));
	} else {
		msleep(20);
	}
	fput(file);
	return VM_FAULT_RETRY;
}

static bool ct_may_drop(struct vm_fault *vmf)
{
	return fault_flag_allow_retry_first(vmf->flags) &&
	       !(vmf->flags & FAULT_FLAG_RETRY_NOWAIT);
}

static vm_fault_t ct_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ct_object *obj = vma->vm_private_data;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	vm_fault_t ret;

	ct_count(obj, fault);
	if (vmf->flags & CT_FAULT_FLAG_VMA_LOCK)
		ct_count(obj, fault_vma_lock);
	if (write)
		ct_count(obj, fault_write);
	if (pmd_none(READ_ONCE(*vmf->pmd))) {
		ct_count(obj, fault_empty);
		if (vmf->prealloc_pte)
			ct_count(obj, fault_table);
	}
	if (vmf->pgoff >= CT_PAGES)
		return VM_FAULT_SIGBUS;
	set_bit(vmf->pgoff, obj->faulted);
	if ((obj->flags & (CT_DROP_LOCK | CT_WAIT)) && ct_may_drop(vmf))
		return ct_drop(vmf);

	mutex_lock(&obj->lock);
	if (!(vma->vm_flags & VM_WRITE) || (obj->flags & CT_MAP_READONLY))
		write = false;
	if ((obj->flags & CT_HUGE) && pmd_none(READ_ONCE(*vmf->pmd)) && ct_chunk_fits(vmf)) {
		struct page *chunk = obj->chunks[vmf->pgoff / CT_CHUNK_PAGES];

		ret = ct_insert_pmd(vmf, chunk, write);
	} else {
		ret = ct_map_pte(vmf, write);
	}
	ct_retired_give(vmf);
	mutex_unlock(&obj->lock);
	return ret;
}

static vm_fault_t ct_pfn_mkwrite(struct vm_fault *vmf)
{
	struct ct_object *obj = vmf->vma->vm_private_data;
	vm_fault_t ret;

	ct_count(obj, mkwrite);
	set_bit(vmf->pgoff, obj->faulted);
	/* With VM_FAULT_RETRY alone the core would go on to use the VMA. */
	if ((obj->flags & CT_DROP_MKWRITE) && ct_may_drop(vmf))
		return ct_drop(vmf) | VM_FAULT_NOPAGE;
	mutex_lock(&obj->lock);
	ret = ct_map_pte(vmf, true);
	mutex_unlock(&obj->lock);
	return ret;
}

static vm_fault_t ct_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct vm_area_struct *vma = vmf->vma;
	struct ct_object *obj = vma->vm_private_data;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long low = addr - ((vmf->pgoff - first) << PAGE_SHIFT);
	unsigned long high = addr + ((last - vmf->pgoff) << PAGE_SHIFT);
	vm_fault_t ret = 0;
	spinlock_t *ptl;

	ct_count(obj, map_pages);
	if (rcu_preempt_depth())
		ct_count(obj, map_pages_rcu);
	if (first > vmf->pgoff || last < vmf->pgoff || low < vma->vm_start ||
	    high >= vma->vm_end || (low & PMD_MASK) != (high & PMD_MASK))
		ct_count(obj, map_pages_wrong);
	if (pmd_none(READ_ONCE(*vmf->pmd)) || pmd_leaf(READ_ONCE(*vmf->pmd)))
		return 0;
	ptl = pte_lockptr(vma->vm_mm, vmf->pmd);
	/* Nobody else is there while this is tested. */
	if (!spin_trylock(ptl)) {
		ct_count(obj, map_pages_locked);
		return 0;
	}
	if (obj->flags & CT_MAP_AROUND) {
		set_pte_at(vma->vm_mm, addr, pte_offset_kernel(vmf->pmd, addr),
			   ct_pte(vma, ct_page_now(obj, vmf->pgoff), false));
		ret = VM_FAULT_NOPAGE;
	}
	spin_unlock(ptl);
	return ret;
}

static unsigned int ct_vma_ptes(struct vm_area_struct *vma)
{
	return ct_change_ptes(vma->vm_mm, vma->vm_start, vma->vm_end, 0);
}

static void ct_open(struct vm_area_struct *vma)
{
	struct ct_object *obj = vma->vm_private_data;

	if (ct_tree_count(obj, 0, ULONG_MAX, vma))
		ct_count(obj, open_visible);
	if (vma->vm_mm == obj->mm) {
		ct_count(obj, open);
		return;
	}
	ct_count(obj, open_fork);
	obj->events.open_fork_ptes += ct_vma_ptes(vma);
	if (vma->vm_mm == current->mm)
		return;		/* a child splits its own */
	if (mmap_read_trylock(current->mm)) {
		ct_count(obj, open_parent_unlocked);
		mmap_read_unlock(current->mm);
	}
	if (obj->flags & CT_WPROTECT_FORK)
		ct_change_ptes(current->mm, vma->vm_start, vma->vm_end, CT_CHANGE_WRPROTECT);
	if (!(obj->flags & CT_COPY_TABLES))
		vm_flags_set(vma, VM_WIPEONFORK);
}

static void ct_close(struct vm_area_struct *vma)
{
	struct ct_object *obj = vma->vm_private_data;

	ct_count(obj, close);
	if (ct_tree_count(obj, 0, ULONG_MAX, vma))
		ct_count(obj, close_visible);
	obj->events.close_ptes += ct_vma_ptes(vma);
}

static int ct_access(struct vm_area_struct *vma, unsigned long addr, void *buf, int len,
		     int write)
{
	struct ct_object *obj = vma->vm_private_data;
	unsigned long index = vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
	void *bytes = page_address(ct_page_now(obj, index)) + offset_in_page(addr);

	ct_count(obj, access);
	if (write && !(vma->vm_flags & VM_WRITE))
		ct_count(obj, access_forbidden);
	if (addr + len > vma->vm_end)
		ct_count(obj, access_past);
	len = min_t(unsigned long, len, PAGE_SIZE - offset_in_page(addr));
	if (write)
		memcpy(bytes, buf, len);
	else
		memcpy(buf, bytes, len);
	return len;
}

#ifdef CONFIG_NUMA
static int ct_set_policy(struct vm_area_struct *vma, struct mempolicy *new)
{
	struct ct_object *obj = vma->vm_private_data;

	if (new)
		ct_count(obj, set_policy);
	else
		ct_count(obj, unset_policy);
	return 0;
}

static struct mempolicy *ct_get_policy(CT_GET_POLICY_ARGS)
{
	struct ct_object *obj = vma->vm_private_data;

	ct_count(obj, get_policy);
	return vma->vm_policy;
}
#endif

#ifdef CONFIG_NUMA
#define CT_POLICY_OPS	.set_policy = ct_set_policy, .get_policy = ct_get_policy,
#else
#define CT_POLICY_OPS
#endif

static const struct vm_operations_struct ct_vm_ops = {
	.open		= ct_open,
	.close		= ct_close,
	.fault		= ct_fault,
	.map_pages	= ct_map_pages,
	.pfn_mkwrite	= ct_pfn_mkwrite,
	.access		= ct_access,
	CT_POLICY_OPS
};

static const struct vm_operations_struct ct_vm_ops_without_map_pages = {
	.open		= ct_open,
	.close		= ct_close,
	.fault		= ct_fault,
	.pfn_mkwrite	= ct_pfn_mkwrite,
	.access		= ct_access,
	CT_POLICY_OPS
};

/**
 * ct_mmap() - ->mmap of the device
 * @file: the open file
 * @vma: the new mapping
 *
 * Return: 0 or -EINVAL.
 */
int ct_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ct_object *obj = file->private_data;

	/* Longer ones are for the accounts only: there is nothing behind the last page. */
	ct_count(obj, mmap);
	if (vma->vm_flags & VM_MAYSHARE)
		ct_count(obj, mmap_shared);
	else if (!(obj->flags & CT_PLAIN_PRIVATE))
		vm_flags_set(vma, VM_SHARED);
	obj->mm = vma->vm_mm;
	vma->vm_private_data = obj;
	vma->vm_ops = obj->flags & CT_NO_MAP_PAGES ? &ct_vm_ops_without_map_pages : &ct_vm_ops;
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}
