// SPDX-License-Identifier: GPL-2.0
/*
 * Takes an empty PTE table out of its PMD, so that a huge page can take its place: nothing
 * that is exported does that.
 *
 * Owns the tables that were taken out until they are free.  It must never touch a table
 * that has an entry, nor free one before a grace period: get_user_pages_fast() walks
 * tables with no more than interrupts off.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pgtable.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "ct.h"

/**
 * struct ct_retired - a table on its way out
 * @rcu:	for the grace period
 * @next:	on ct_ready
 * @table:	its page
 */
struct ct_retired {
	struct rcu_head		rcu;
	struct ct_retired	*next;
	struct page		*table;
};

static DEFINE_SPINLOCK(ct_ready_lock);
static struct ct_retired *ct_ready;
static atomic_t ct_left = ATOMIC_INIT(0);

/*
 * Where page table locks are allocated apart (lockdep, PREEMPT_RT), freeing one is not
 * exported: there a later fault gives the table to the core, which frees what it finds
 * in vmf->prealloc_pte and does not need.
 */
static void ct_retired_done(struct rcu_head *rcu)
{
	struct ct_retired *retired = container_of(rcu, struct ct_retired, rcu);

#if !ALLOC_SPLIT_PTLOCKS
	ct_table_free(retired->table);
	kfree(retired);
	atomic_dec(&ct_left);
#else
	spin_lock(&ct_ready_lock);
	retired->next = ct_ready;
	ct_ready = retired;
	spin_unlock(&ct_ready_lock);
#endif
}

/**
 * ct_retired_give() - let the core free a table
 * @vmf: a fault that is about to end
 */
void ct_retired_give(struct vm_fault *vmf)
{
	struct ct_retired *retired;

	if (vmf->prealloc_pte || !READ_ONCE(ct_ready))
		return;
	spin_lock_bh(&ct_ready_lock);
	retired = ct_ready;
	if (retired)
		ct_ready = retired->next;
	spin_unlock_bh(&ct_ready_lock);
	if (!retired)
		return;
	vmf->prealloc_pte = retired->table;
	kfree(retired);
	atomic_dec(&ct_left);
}

/**
 * ct_retired_left() - how many tables are not free yet
 *
 * Return: the number, after all grace periods that have begun.
 */
int ct_retired_left(void)
{
	rcu_barrier();
	return atomic_read(&ct_left);
}

/**
 * ct_retired_exit() - wait for those that will be freed
 */
void ct_retired_exit(void)
{
	if (ct_retired_left())
		pr_err("contract: %d page tables are lost\n", atomic_read(&ct_left));
}

static bool ct_table_is_empty(pmd_t *pmd)
{
	pte_t *pte = pte_offset_kernel(pmd, 0);
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		if (!pte_none(pte[i]))
			return false;
	return true;
}

/* Both locks are held.  A flush is announced, and owed. */
static struct page *ct_detach(struct mm_struct *mm, unsigned long addr, pmd_t *pmd)
{
	if (!ct_table_is_empty(pmd))
		return NULL;
	inc_tlb_flush_pending(mm);
	return pmd_pgtable(pmdp_huge_get_and_clear(mm, addr, pmd));
}

/* The PMD loses its table, if it has one that is empty. */
static struct page *ct_take_table(struct mm_struct *mm, unsigned long addr, pmd_t *pmd)
{
	spinlock_t *pml = pmd_lock(mm, pmd), *ptl;
	struct page *table = NULL;

	if (pmd_none(*pmd) || pmd_leaf(*pmd))
		goto unlock;
	ptl = pte_lockptr(mm, pmd);
	if (ptl == pml) {	/* page table locks are not split */
		table = ct_detach(mm, addr, pmd);
		goto unlock;
	}
	spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
	table = ct_detach(mm, addr, pmd);
	spin_unlock(ptl);
unlock:
	spin_unlock(pml);
	return table;
}

static int ct_retire_locked(struct ct_object *obj, unsigned long addr,
			    struct ct_retired *retired)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	pmd_t *pmd;

	if (!ct_is_mapping_of(vma, obj) || addr < vma->vm_start || addr + PMD_SIZE > vma->vm_end)
		return -EFAULT;
	pmd = ct_walk_pmd(mm, addr);
	if (!pmd)
		return -ENOENT;
	zap_vma_ptes(vma, addr, PMD_SIZE);
	retired->table = ct_take_table(mm, addr, pmd);
	if (!retired->table)
		return -ENOENT;
	/* Nested in the announcement: flushes all, what the CPUs know of upper levels too. */
	zap_vma_ptes(vma, addr, PAGE_SIZE);
	dec_tlb_flush_pending(mm);
	mm_dec_nr_ptes(mm);
	return 0;
}

/**
 * ct_retire() - unmap 2 MiB of the caller's mapping and take the PTE table away
 * @obj: the object
 * @addr: anywhere in the 2 MiB
 *
 * Return: 0, -ENOENT when there is no table, or -errno.
 */
int ct_retire(struct ct_object *obj, unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	struct ct_retired *retired = kzalloc(sizeof(*retired), GFP_KERNEL);
	int err;

	if (!retired)
		return -ENOMEM;
	if (CT_RETIRE_LOCKS_WRITE)
		mmap_write_lock(mm);
	else
		mmap_read_lock(mm);
	mutex_lock(&obj->lock);
	err = ct_retire_locked(obj, addr & PMD_MASK, retired);
	mutex_unlock(&obj->lock);
	if (CT_RETIRE_LOCKS_WRITE)
		mmap_write_unlock(mm);
	else
		mmap_read_unlock(mm);
	if (err) {
		kfree(retired);
		return err;
	}
	atomic_inc(&ct_left);
	call_rcu(&retired->rcu, ct_retired_done);
	return 0;
}
