// SPDX-License-Identifier: GPL-2.0
/*
 * Takes empty PTE tables out of PMDs, so that one entry can map the 2 MiB.
 *
 * Where pages of 4 KiB were mapped once their table stays, and nothing that is exported takes
 * it away.  Owns the way to do that, and the tables until they are free.  It is what the core
 * does in retract_page_tables() (mm/khugepaged.c): empty the table with its leaf frozen, so
 * that nothing is mapped anew; take it out under the locks of the PMD and of the table; flush,
 * upper levels too; and free it after a grace period, for get_user_pages_fast() and who else
 * walks without a lock.
 *
 * It must never take a table that has an entry, nor one of an address space that it does not
 * hold the mmap_lock of: since 6.5 whoever walks to a table looks again under its lock whether
 * it is in place, before that mmap_lock must be held for write.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "vmlab.h"

/* Mappings of the same 2 MiB that are dealt with together. */
#define VMLAB_RETIRE_VMAS	16

/**
 * struct vmlab_retired - a table on its way out
 * @rcu:	for the grace period
 * @next:	in vmlab_retired_ready
 * @table:	its page
 */
struct vmlab_retired {
	struct rcu_head		rcu;
	struct vmlab_retired	*next;
	struct page		*table;
};

static DEFINE_SPINLOCK(vmlab_retired_lock);
static struct vmlab_retired *vmlab_retired_ready;

/*
 * Where page table locks are allocated apart (lockdep, PREEMPT_RT) nothing exported frees one:
 * there a later fault gives the table to the core, which frees what it finds in
 * vmf->prealloc_pte and does not need (do_fault() in mm/memory.c).
 */
static void vmlab_retired_rcu(struct rcu_head *rcu)
{
	struct vmlab_retired *retired = container_of(rcu, struct vmlab_retired, rcu);

#if !ALLOC_SPLIT_PTLOCKS
	vmlab_table_free(retired->table);
	kfree(retired);
#else
	spin_lock(&vmlab_retired_lock);
	retired->next = vmlab_retired_ready;
	WRITE_ONCE(vmlab_retired_ready, retired);
	spin_unlock(&vmlab_retired_lock);
#endif
}

/**
 * __vmlab_retired_give() - let the core free a table
 * @vmf: what ->fault was called with, and is about to return from
 */
void __vmlab_retired_give(struct vm_fault *vmf)
{
	struct vmlab_retired *retired;

	if (likely(!READ_ONCE(vmlab_retired_ready)) || vmf->prealloc_pte)
		return;
	spin_lock_bh(&vmlab_retired_lock);
	retired = vmlab_retired_ready;
	if (retired)
		WRITE_ONCE(vmlab_retired_ready, retired->next);
	spin_unlock_bh(&vmlab_retired_lock);
	if (!retired)
		return;
	vmf->prealloc_pte = retired->table;
	kfree(retired);
}

/**
 * vmlab_retire_exit() - forget tables that no fault came by to give to the core
 *
 * They are lost, on kernels that are built so; everywhere else there are none.
 *
 * Context: after vmlab_leaf_exit(), whose rcu_barrier() is for tables on their way, too.
 */
void vmlab_retire_exit(void)
{
	struct vmlab_retired *retired;

	while ((retired = vmlab_retired_ready)) {
		vmlab_retired_ready = retired->next;
		kfree(retired);
	}
}

static bool vmlab_table_is_empty(pmd_t *pmd)
{
	pte_t *pte = pte_offset_kernel(pmd, 0);
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		if (!pte_none(pte[i]))
			return false;
	return true;
}

/* Both locks are held.  A flush is announced, and owed. */
static struct page *vmlab_table_detach(struct mm_struct *mm, unsigned long addr, pmd_t *pmd)
{
	if (!vmlab_table_is_empty(pmd))
		return NULL;
	inc_tlb_flush_pending(mm);
	return pmd_pgtable(pmdp_huge_get_and_clear(mm, addr, pmd));
}

/* The PMD loses its table, if it has one that is empty. */
static struct page *vmlab_table_take(struct mm_struct *mm, unsigned long addr, pmd_t *pmd)
{
	spinlock_t *pml = pmd_lock(mm, pmd), *ptl;
	struct page *table = NULL;

	if (!vmlab_pmd_is_table(*pmd))
		goto unlock;
	ptl = pte_lockptr(mm, pmd);
	if (ptl == pml) {	/* page table locks are not split */
		table = vmlab_table_detach(mm, addr, pmd);
		goto unlock;
	}
	spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
	table = vmlab_table_detach(mm, addr, pmd);
	spin_unlock(ptl);
unlock:
	spin_unlock(pml);
	return table;
}

/* The leaf is frozen. */
static void vmlab_retire_frozen(struct vm_area_struct *vma, unsigned long addr,
				struct vmlab *vm, struct vmlab_retired **retired)
{
	struct mm_struct *mm = vma->vm_mm;
	pmd_t *pmd = vmlab_walk_pmd(mm, addr);

	if (!pmd || !vmlab_pmd_is_table(READ_ONCE(*pmd)))
		return;
	zap_vma_ptes(vma, addr, PMD_SIZE);
	(*retired)->table = vmlab_table_take(mm, addr, pmd);
	if (!(*retired)->table)
		return;
	/* Nested in what was announced: all is flushed, what CPUs know of upper levels too. */
	zap_vma_ptes(vma, addr, PAGE_SIZE);
	dec_tlb_flush_pending(mm);
	mm_dec_nr_ptes(mm);
	vmlab_count(vm, thp_retire_table, 1);
	call_rcu(&(*retired)->rcu, vmlab_retired_rcu);
	*retired = NULL;
}

/* mmap_lock held.  Does the address still map what it did? */
static struct vm_area_struct *vmlab_retire_find(struct mm_struct *mm, unsigned long addr,
						struct vmlab_object *obj, u64 index)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	struct vmlab_region *region;

	if (!vma || vma->vm_ops != &vmlab_vm_ops)
		return NULL;
	region = vma->vm_private_data;
	if (region->object != obj || (vma->vm_flags & VM_NOHUGEPAGE) ||
	    linear_page_index(vma, addr) != index << VMLAB_LEAF_SHIFT ||
	    !vmlab_huge_fits(vma, addr))
		return NULL;
	return vma;
}

static void vmlab_retire_one(struct mm_struct *mm, unsigned long addr, struct vmlab_object *obj,
			     u64 index)
{
	struct vmlab_retired *retired;
	struct vm_area_struct *vma;
	struct vmlab_leaf *leaf;

	/* Without memory it stays as it is: mapped by 4 KiB. */
	retired = vmlab_should_fail(obj->vm, VMLAB_INJECT_table) ? NULL :
		  kmalloc(sizeof(*retired), GFP_KERNEL);
	if (!retired || vmlab_retire_lock(mm))
		goto free;
	vma = vmlab_retire_find(mm, addr, obj, index);
	if (!vma)
		goto unlock;
	percpu_down_read(&obj->vm->activity);
	if (!vmlab_leaf_freeze(obj, index << VMLAB_LEAF_SHIFT, VMLAB_FREEZE_ANY, true, &leaf) &&
	    leaf) {
		if (leaf->huge)
			vmlab_retire_frozen(vma, addr, obj->vm, &retired);
		vmlab_leaf_thaw(leaf);
	}
	percpu_up_read(&obj->vm->activity);
unlock:
	vmlab_retire_unlock(mm);
free:
	kfree(retired);
}

/* Where the 2 MiB are mapped by 4 KiB; the address spaces stay until they are put. */
struct vmlab_retire {
	unsigned int		nr;
	struct mm_struct	*mms[VMLAB_RETIRE_VMAS];
	unsigned long		addrs[VMLAB_RETIRE_VMAS];
};

static bool vmlab_retire_collect(struct vm_area_struct *vma, unsigned long addr, void *arg)
{
	struct vmlab_retire *r = arg;
	pmd_t *pmd = vmlab_walk_pmd(vma->vm_mm, addr);

	if (pmd && vmlab_pmd_is_table(READ_ONCE(*pmd)) && !mm_has_notifiers(vma->vm_mm) &&
	    mmget_not_zero(vma->vm_mm)) {
		r->mms[r->nr] = vma->vm_mm;
		r->addrs[r->nr++] = addr;
	}
	return r->nr == VMLAB_RETIRE_VMAS;
}

/**
 * vmlab_retire_tables() - let the mappings of a huge leaf map it by one entry
 * @obj: the object; the caller has a reference
 * @index: which 2 MiB; nothing is done where they are no huge leaf
 *
 * What cannot be done now, for want of memory or because there are too many mappings, is left:
 * they are mapped by 4 KiB.
 *
 * Context: sleeps; no locks: takes mmap_lock of others.
 */
void vmlab_retire_tables(struct vmlab_object *obj, u64 index)
{
	struct vmlab_retire r = { .nr = 0 };
	unsigned int i;

	vmlab_rmap_find_huge(obj, index, vmlab_retire_collect, &r);
	for (i = 0; i < r.nr; i++) {
		vmlab_retire_one(r.mms[i], r.addrs[i], obj, index);
		mmput_async(r.mms[i]);
	}
}
