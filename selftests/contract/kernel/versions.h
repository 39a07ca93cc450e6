/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions that only the contract meets, each with the date it
 * was added and the reason.  What vmlab itself needs is in module/compat.h, and an entry
 * moves there when vmlab begins to use it.
 */
#ifndef CT_VERSIONS_H
#define CT_VERSIONS_H

#include <linux/mm.h>
#include <linux/pfn_t.h>
#include <linux/version.h>

/* 2026-11-22: 6.4 lets faults run under the lock of the VMA alone, and says so by a flag. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define CT_FAULT_FLAG_VMA_LOCK	0U
#else
#define CT_FAULT_FLAG_VMA_LOCK	FAULT_FLAG_VMA_LOCK
#endif

/* 2026-11-22: 6.7 gave pte_mkwrite() a VMA, and the plain form a new name. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
static inline pte_t pte_mkwrite_novma(pte_t pte)
{
	return pte_mkwrite(pte);
}
#endif

/* 2026-11-22: 6.8 made ->get_policy tell where in the interleaving an address is. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define CT_GET_POLICY_ARGS	struct vm_area_struct *vma, unsigned long addr
#else
#define CT_GET_POLICY_ARGS	struct vm_area_struct *vma, unsigned long addr, pgoff_t *ilx
#endif

/*
 * 2026-11-22: 6.12 marks PMDs special, so that get_user_pages() leaves them alone.
 * Before, only the devmap bits keep it away; and 6.9 dropped the form with a pgprot.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
static inline vm_fault_t ct_insert_pmd(struct vm_fault *vmf, struct page *page, bool write)
{
	pfn_t pfn = __pfn_to_pfn_t(page_to_pfn(page), PFN_DEV | PFN_MAP);

	return vmf_insert_pfn_pmd_prot(vmf, pfn, vmf->vma->vm_page_prot, write);
}

static inline bool ct_pmd_special(pmd_t pmd)
{
	return pmd_devmap(pmd);
}
#else
static inline vm_fault_t ct_insert_pmd(struct vm_fault *vmf, struct page *page, bool write)
{
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(page_to_pfn(page), PFN_DEV), write);
}

static inline bool ct_pmd_special(pmd_t pmd)
{
	return pmd_special(pmd);
}
#endif

/*
 * 2026-11-22: since 6.5 whoever walks to a PTE table looks again under its lock whether
 * it still is in place, so taking one away needs mmap_lock for read only.  6.6 gave the
 * destructor its present name.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define CT_RETIRE_LOCKS_WRITE	true

static inline void ct_table_free(struct page *table)
{
	pgtable_pte_page_dtor(table);
	__free_page(table);
}
#else
#define CT_RETIRE_LOCKS_WRITE	false

static inline void ct_table_free(struct page *table)
{
	pagetable_pte_dtor(page_ptdesc(table));
	__free_page(table);
}
#endif

#endif /* CT_VERSIONS_H */
