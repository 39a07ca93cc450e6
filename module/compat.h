/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every difference between the kernel versions that vmlab supports, each with
 * the date it was added and the reason.  No other file of the module looks at
 * the version of the kernel.
 */
#ifndef VMLAB_COMPAT_H
#define VMLAB_COMPAT_H

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/version.h>

#ifndef CONFIG_X86_64
#error "vmlab walks page tables as x86-64 lays them out, and supports nothing else yet"
#endif

/*
 * 2026-11-22: the series that the tests run on.  Within 6.1 the interfaces
 * used here have been the same since 6.1.0.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "vmlab needs Linux 6.1 or newer"
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0) && LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "vmlab supports Linux 6.1 and 6.12 or newer; nothing between was tested"
#endif

/* 2026-11-22: 6.3 made vma->vm_flags read-only but for accessors. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

/*
 * 2026-11-29: before 6.12 move_normal_pmd() and move_ptes() (mm/mremap.c) take what a PMD
 * names for a table because it was not empty, nor huge, when move_page_tables() looked
 * at it without a lock; 6.12 looks again under the PMD's lock.
 */
static inline bool vmlab_mremap_looks_again(void)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0);
}

/*
 * 2026-11-22: 6.4 lets faults run under the lock of the VMA alone; before, it
 * is always mmap_lock.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
static inline void vmlab_release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}

static inline bool vmlab_fault_has_mmap_lock(struct vm_fault *vmf)
{
	return true;
}
#else
static inline void vmlab_release_fault_lock(struct vm_fault *vmf)
{
	release_fault_lock(vmf);
}

static inline bool vmlab_fault_has_mmap_lock(struct vm_fault *vmf)
{
	return !(vmf->flags & FAULT_FLAG_VMA_LOCK);
}
#endif

/*
 * 2026-11-22: 6.9 made an open block device a file; before, it was the device
 * itself.  @holder tells exclusive openers apart: another one gets EBUSY.
 */
struct vmlab_bdev_handle;

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
#define VMLAB_BDEV_MODE		(FMODE_READ | FMODE_WRITE | FMODE_EXCL)

static inline struct vmlab_bdev_handle *vmlab_bdev_open(const char *path, void *holder)
{
	return (void *)blkdev_get_by_path(path, VMLAB_BDEV_MODE, holder);
}

static inline struct block_device *vmlab_bdev(struct vmlab_bdev_handle *handle)
{
	return (void *)handle;
}

static inline void vmlab_bdev_close(struct vmlab_bdev_handle *handle)
{
	blkdev_put(vmlab_bdev(handle), VMLAB_BDEV_MODE);
}
#else
static inline struct vmlab_bdev_handle *vmlab_bdev_open(const char *path, void *holder)
{
	return (void *)bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE,
					      holder, NULL);
}

static inline struct block_device *vmlab_bdev(struct vmlab_bdev_handle *handle)
{
	return file_bdev((void *)handle);
}

static inline void vmlab_bdev_close(struct vmlab_bdev_handle *handle)
{
	bdev_fput((void *)handle);
}
#endif

/*
 * 2026-11-29: 6.12 marks PMDs special, so that get_user_pages() leaves them alone.  Before,
 * only the bit of device memory keeps it away: no such memory is found, and it gives up.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define VMLAB_PMD_SPECIAL	_PAGE_DEVMAP

static inline pmd_t vmlab_pmd_mkspecial(pmd_t pmd)
{
	return pmd_mkdevmap(pmd);
}

static inline bool vmlab_pmd_special(pmd_t pmd)
{
	return pmd_devmap(pmd);
}
#else
#define VMLAB_PMD_SPECIAL	_PAGE_SPECIAL

static inline pmd_t vmlab_pmd_mkspecial(pmd_t pmd)
{
	return pmd_mkspecial(pmd);
}

static inline bool vmlab_pmd_special(pmd_t pmd)
{
	return pmd_special(pmd);
}
#endif

/*
 * 2026-11-30: what pages of 1 GiB need came with 6.12.  That kernel walks into a table that is
 * none where one thread reads /proc/PID/smaps of a PUD that another maps anew, before 6.12.84
 * (6.18.21, 6.19.11, 7.0: "mm/pagewalk: fix race between concurrent split and refault"); the
 * first that was read whole, and tested, is 6.12.117.  Kbuild has the condition, too.
 */
#if defined(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && defined(CONFIG_CONTIG_ALLOC)
#define VMLAB_HAVE_GIGANTIC	1

static inline bool vmlab_gigantic_works(void)
{
	return boot_cpu_has(X86_FEATURE_GBPAGES) &&
	       (LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0) ||
		(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 117) &&
		 LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)));
}

static inline bool vmlab_pud_special(pud_t pud)
{
	return pud_special(pud);
}
#else
#define VMLAB_HAVE_GIGANTIC	0

static inline bool vmlab_gigantic_works(void)
{
	return false;
}

static inline bool vmlab_pud_special(pud_t pud)
{
	return false;
}
#endif

/*
 * 2026-11-29: since 6.5 whoever walks to a PTE table looks again under its lock whether it
 * still is in place, so taking one away needs mmap_lock for read only.  6.6 gave the
 * destructor its present name.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
static inline int vmlab_retire_lock(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

static inline void vmlab_retire_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

static inline void vmlab_table_free(struct page *table)
{
	pgtable_pte_page_dtor(table);
	__free_page(table);
}
#else
static inline int vmlab_retire_lock(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

static inline void vmlab_retire_unlock(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
}

static inline void vmlab_table_free(struct page *table)
{
	pagetable_pte_dtor(page_ptdesc(table));
	__free_page(table);
}
#endif

/*
 * 2026-11-30: later kernels tell alloc_contig_range() by flags of its own what else the memory
 * is for, instead of by a migrate type.
 */
#ifdef ACR_FLAGS_NONE
#define VMLAB_CONTIG_ANY	ACR_FLAGS_NONE
#else
#define VMLAB_CONTIG_ANY	MIGRATE_MOVABLE
#endif

static inline int vmlab_alloc_contig(unsigned long pfn, unsigned long nr, gfp_t gfp)
{
	return alloc_contig_range(pfn, pfn + nr, VMLAB_CONTIG_ANY, gfp);
}

/* Without NUMA a task has no memory policy, nor does struct mempolicy have any member. */
#ifdef CONFIG_NUMA
static inline const struct mempolicy *vmlab_task_policy(void)
{
	return current->mempolicy;
}
#else
static inline const struct mempolicy *vmlab_task_policy(void)
{
	return NULL;
}
#endif

/* 2026-11-22: 6.5 made one helper for all splice reads that go through ->read_iter. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define vmlab_splice_read	generic_file_splice_read
#else
#define vmlab_splice_read	copy_splice_read
#endif

#endif /* VMLAB_COMPAT_H */
