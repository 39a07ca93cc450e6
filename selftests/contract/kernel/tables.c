// SPDX-License-Identifier: GPL-2.0
/*
 * Looks at and changes page tables as vmlab does: through i_mmap and by address.
 *
 * Owns every walk, and every change of a PTE outside a fault.  It must never change a PTE
 * but under the page table lock.
 */
#include <linux/interval_tree_generic.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>

#include "ct.h"

static inline unsigned long ct_vma_first(struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}

static inline unsigned long ct_vma_last(struct vm_area_struct *vma)
{
	return vma->vm_pgoff + vma_pages(vma) - 1;
}

/* As module/rmap.c: the core's own iterators are not exported, their generator is. */
INTERVAL_TREE_DEFINE(struct vm_area_struct, shared.rb, unsigned long,
		     shared.rb_subtree_last, ct_vma_first, ct_vma_last,
		     static inline __maybe_unused, ct_vma_tree)

static struct vm_area_struct *ct_vma_first_in(struct ct_object *obj, unsigned long first,
					      unsigned long last)
{
	return ct_vma_tree_iter_first(&obj->inode->i_mapping->i_mmap, first, last);
}

/**
 * ct_walk_pmd() - find the PMD entry of an address
 * @mm: the address space
 * @addr: user address
 *
 * Context: mmap_lock or i_mmap_rwsem keeps the page tables.
 * Return: the entry, which may be empty or huge, or NULL when there is none.
 */
pmd_t *ct_walk_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	if (pgd_none(READ_ONCE(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(READ_ONCE(*pud)) || pud_leaf(READ_ONCE(*pud)))
		return NULL;
	return pmd_offset(pud, addr);
}

static pte_t ct_changed(struct mm_struct *mm, unsigned long addr, pte_t *pte,
			unsigned int change)
{
	if (change & CT_CHANGE_CLEAR)
		return ptep_get_and_clear(mm, addr, pte);
	if (change & CT_CHANGE_WRPROTECT)
		set_pte_at(mm, addr, pte, pte_mkclean(pte_wrprotect(*pte)));
	if (change & CT_CHANGE_OLD)
		clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&pte->pte);
	return *pte;
}

/**
 * ct_change_ptes() - change every PTE that is not empty, without a flush
 * @mm: the address space
 * @start: first address
 * @end: where to stop
 * @change: CT_CHANGE_*; 0 counts only
 *
 * Context: mmap_lock or i_mmap_rwsem keeps the page tables.
 * Return: how many there were.
 */
unsigned int ct_change_ptes(struct mm_struct *mm, unsigned long start, unsigned long end,
			    unsigned int change)
{
	unsigned long addr = start, next;
	unsigned int found = 0;
	spinlock_t *ptl;
	pmd_t *pmd;
	pte_t *pte;

	for (; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		pmd = ct_walk_pmd(mm, addr);
		if (!pmd || pmd_none(READ_ONCE(*pmd)) || pmd_leaf(READ_ONCE(*pmd)))
			continue;
		ptl = pte_lockptr(mm, pmd);
		spin_lock(ptl);
		pte = pte_offset_kernel(pmd, addr);
		for (; addr < next; addr += PAGE_SIZE, pte++) {
			if (pte_none(*pte))
				continue;
			ct_changed(mm, addr, pte, change);
			found++;
		}
		spin_unlock(ptl);
	}
	return found;
}

/**
 * ct_tree_count() - how many VMAs i_mmap has for pages of an object
 * @obj: the object
 * @first: first page
 * @last: last page
 * @only: count this VMA only; NULL: any
 *
 * Return: how many.
 */
unsigned int ct_tree_count(struct ct_object *obj, unsigned long first, unsigned long last,
			   struct vm_area_struct *only)
{
	struct vm_area_struct *vma;
	unsigned int found = 0;

	i_mmap_lock_read(obj->inode->i_mapping);
	for (vma = ct_vma_first_in(obj, first, last); vma;
	     vma = ct_vma_tree_iter_next(vma, first, last))
		found += !only || vma == only;
	i_mmap_unlock_read(obj->inode->i_mapping);
	return found;
}

static int ct_page_index(struct ct_object *obj, unsigned long pfn)
{
	int chunk;

	for (chunk = 0; chunk < ARRAY_SIZE(obj->chunks); chunk++) {
		unsigned long first = page_to_pfn(obj->chunks[chunk]);

		if (pfn >= first && pfn < first + CT_CHUNK_PAGES)
			return chunk * CT_CHUNK_PAGES + (pfn - first);
	}
	return -1;
}

static void ct_look_pte(struct ct_object *obj, struct ct_entry *entry, pte_t pte)
{
	entry->level = CT_LEVEL_TABLE;
	if (!pte_present(pte))
		return;
	entry->flags = CT_PRESENT | (pte_write(pte) ? CT_WRITE : 0) |
		       (pte_dirty(pte) ? CT_DIRTY : 0) | (pte_young(pte) ? CT_YOUNG : 0) |
		       (pte_special(pte) ? CT_SPECIAL : 0);
	entry->page = ct_page_index(obj, pte_pfn(pte));
}

static void ct_look_pmd(struct ct_object *obj, struct ct_entry *entry, pmd_t pmd)
{
	entry->level = CT_LEVEL_HUGE;
	entry->flags = CT_PRESENT | (pmd_write(pmd) ? CT_WRITE : 0) |
		       (pmd_dirty(pmd) ? CT_DIRTY : 0) | (pmd_young(pmd) ? CT_YOUNG : 0) |
		       (ct_pmd_special(pmd) ? CT_SPECIAL : 0);
	entry->page = ct_page_index(obj, pmd_pfn(pmd));
}

/**
 * ct_look() - what the caller's page tables hold for an address
 * @obj: whose pages to recognise
 * @entry: in: the address; out: the rest
 *
 * Return: 0.
 */
int ct_look(struct ct_object *obj, struct ct_entry *entry)
{
	struct mm_struct *mm = current->mm;
	spinlock_t *ptl;
	pmd_t *pmd;

	entry->level = CT_LEVEL_NONE;
	entry->flags = 0;
	entry->page = -1;
	mmap_read_lock(mm);
	pmd = ct_walk_pmd(mm, entry->addr);
	if (pmd && pmd_leaf(READ_ONCE(*pmd))) {
		ct_look_pmd(obj, entry, READ_ONCE(*pmd));
	} else if (pmd && !pmd_none(READ_ONCE(*pmd))) {
		ptl = pte_lockptr(mm, pmd);
		spin_lock(ptl);
		ct_look_pte(obj, entry, *pte_offset_kernel(pmd, entry->addr));
		spin_unlock(ptl);
	}
	mmap_read_unlock(mm);
	return 0;
}

/* The VMA of the caller that covers a range and maps the object; mmap_lock is held. */
static struct vm_area_struct *ct_vma_of(struct ct_object *obj, const struct ct_range *range)
{
	struct vm_area_struct *vma = vma_lookup(current->mm, range->addr);

	if (!ct_is_mapping_of(vma, obj) || offset_in_page(range->addr) ||
	    range->pages > (vma->vm_end - range->addr) >> PAGE_SHIFT)
		return NULL;
	return vma;
}

struct ct_set_arg {
	struct ct_object	*obj;
	struct vm_area_struct	*vma;
	unsigned int		flags;
};

static int ct_set_one(pte_t *pte, unsigned long addr, void *data)
{
	struct ct_set_arg *set = data;
	unsigned long index = linear_page_index(set->vma, addr);
	pte_t entry = ct_pte(set->vma, ct_page(set->obj, index), false);

	if (set->flags & CT_DIRTY)
		entry = pte_mkdirty(entry);
	if (set->flags & CT_WRITE)
		entry = pte_mkwrite_novma(entry);
	entry = set->flags & CT_YOUNG ? pte_mkyoung(entry) : pte_mkold(entry);
	set_pte_at(set->vma->vm_mm, addr, pte, entry);
	return 0;
}

/**
 * ct_set() - set PTEs, of which the caller has none there
 * @obj: the object
 * @range: where, and with which bits
 *
 * Return: 0 or -errno.
 */
int ct_set(struct ct_object *obj, const struct ct_range *range)
{
	struct ct_set_arg set = { .obj = obj, .flags = range->flags };
	int err = -EFAULT;

	mmap_read_lock(current->mm);
	set.vma = ct_vma_of(obj, range);
	if (set.vma)
		err = apply_to_page_range(current->mm, range->addr,
					  (unsigned long)range->pages << PAGE_SHIFT,
					  ct_set_one, &set);
	mmap_read_unlock(current->mm);
	return err;
}

static unsigned long ct_vma_addr(struct vm_area_struct *vma, unsigned long index)
{
	return vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT);
}

/**
 * ct_change() - change PTEs of pages of the object in every VMA, found through i_mmap
 * @obj: the object
 * @range: which pages, what to do, and whether to flush by a nested zap
 *
 * Return: how many PTEs were changed.
 */
int ct_change(struct ct_object *obj, const struct ct_range *range)
{
	unsigned long first = range->first, last = first + range->pages - 1, from, to;
	struct vm_area_struct *vma;
	unsigned int changed = 0;

	i_mmap_lock_read(obj->inode->i_mapping);
	for (vma = ct_vma_first_in(obj, first, last); vma;
	     vma = ct_vma_tree_iter_next(vma, first, last)) {
		from = max(first, ct_vma_first(vma));
		to = min(last, ct_vma_last(vma));
		if (range->flags & CT_FLUSH_NESTED)
			inc_tlb_flush_pending(vma->vm_mm);
		changed += ct_change_ptes(vma->vm_mm, ct_vma_addr(vma, from),
					  ct_vma_addr(vma, to + 1), range->flags);
		if (range->flags & CT_FLUSH_NESTED) {
			zap_vma_ptes(vma, ct_vma_addr(vma, range->zap), PAGE_SIZE);
			dec_tlb_flush_pending(vma->vm_mm);
		}
	}
	i_mmap_unlock_read(obj->inode->i_mapping);
	return changed;
}

/**
 * ct_zap() - zap_vma_ptes() on the caller's mapping
 * @obj: the object
 * @range: where
 *
 * Return: 0 or -EFAULT.
 */
int ct_zap(struct ct_object *obj, const struct ct_range *range)
{
	struct vm_area_struct *vma;

	mmap_read_lock(current->mm);
	vma = ct_vma_of(obj, range);
	if (vma)
		zap_vma_ptes(vma, range->addr, (unsigned long)range->pages << PAGE_SHIFT);
	mmap_read_unlock(current->mm);
	return vma ? 0 : -EFAULT;
}

/**
 * ct_zap_all() - zap pages of the object in every VMA, under i_mmap alone
 * @obj: the object
 * @range: which pages
 *
 * Return: in how many VMAs.
 */
int ct_zap_all(struct ct_object *obj, const struct ct_range *range)
{
	unsigned long first = range->first, last = first + range->pages - 1, from, to;
	struct vm_area_struct *vma;
	unsigned int found = 0;

	i_mmap_lock_read(obj->inode->i_mapping);
	for (vma = ct_vma_first_in(obj, first, last); vma;
	     vma = ct_vma_tree_iter_next(vma, first, last)) {
		from = max(first, ct_vma_first(vma));
		to = min(last, ct_vma_last(vma));
		zap_vma_ptes(vma, ct_vma_addr(vma, from), (to - from + 1) << PAGE_SHIFT);
		found++;
	}
	i_mmap_unlock_read(obj->inode->i_mapping);
	return found;
}

/**
 * ct_tables() - apply_to_page_range() without a callback
 * @obj: the object
 * @range: where
 *
 * Return: what it returned, or -EFAULT.
 */
int ct_tables(struct ct_object *obj, const struct ct_range *range)
{
	int err = -EFAULT;

	mmap_read_lock(current->mm);
	if (ct_vma_of(obj, range))
		err = apply_to_page_range(current->mm, range->addr,
					  (unsigned long)range->pages << PAGE_SHIFT, NULL, NULL);
	mmap_read_unlock(current->mm);
	return err;
}

/**
 * ct_pending() - what the announcements of flushes say of each other
 *
 * The caller has one thread only, so nobody else announces anything.
 *
 * Return: CT_PENDING_* bits of what is as expected.
 */
int ct_pending(void)
{
	struct mm_struct *mm = current->mm;
	int right = 0;

	if (!mm_tlb_flush_pending(mm) && !mm_tlb_flush_nested(mm))
		right |= CT_PENDING_NONE;
	inc_tlb_flush_pending(mm);
	if (mm_tlb_flush_pending(mm) && !mm_tlb_flush_nested(mm))
		right |= CT_PENDING_ONE;
	inc_tlb_flush_pending(mm);
	if (mm_tlb_flush_pending(mm) && mm_tlb_flush_nested(mm))
		right |= CT_PENDING_TWO;
	dec_tlb_flush_pending(mm);
	dec_tlb_flush_pending(mm);
	return right;
}
