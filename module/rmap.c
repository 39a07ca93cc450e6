// SPDX-License-Identifier: GPL-2.0
/*
 * The hardware page tables: find the PTEs that map a page, read and clear their
 * accessed bits, unmap them, flush.
 *
 * Owns every walk through another address space.  All of them run under the
 * lineage's i_mmap_rwsem held for read: the core unlinks a VMA under the write
 * side (unlink_file_vma(), mm/vma.c) before it frees page tables (free_pgtables(),
 * mm/memory.c), so the tables below a VMA found here stay, but for an empty PTE table
 * that makes room for a huge page (retire.c): that is freed by RCU, so who goes into one
 * does so under RCU, and looks again under its lock.  It must never set a PTE, and never
 * take a slot lock.
 *
 * 2 MiB may be mapped by one PMD (huge.c), 1 GiB by one PUD (pud.c).  To unmap a page of it is
 * to unmap all of it: the others come back by faults.  While i_mmap_rwsem is held no such PUD
 * comes, but the core may drop one (__split_huge_pud() in mm/huge_memory.c).
 *
 * Flushing with what is exported: between inc_tlb_flush_pending() and
 * dec_tlb_flush_pending(), a zap by the core sees that another change of the
 * same address space is under way (mm_tlb_flush_nested()), and its
 * tlb_finish_mmu() (mm/mmu_gather.c) flushes the whole of it.  So any number of
 * PTEs can be cleared by hand, and one zap of one page flushes for all.
 */
#include <linux/interval_tree_generic.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>

#include "trace.h"
#include "vmlab.h"

static inline unsigned long vmlab_vma_first(struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}

static inline unsigned long vmlab_vma_last(struct vm_area_struct *vma)
{
	return vma->vm_pgoff + vma_pages(vma) - 1;
}

/*
 * The core's own iterators over i_mmap (mm/interval_tree.c) are not exported;
 * the header that makes them is public.  Only the iterators are used here.
 */
INTERVAL_TREE_DEFINE(struct vm_area_struct, shared.rb, unsigned long,
		     shared.rb_subtree_last, vmlab_vma_first, vmlab_vma_last,
		     static inline __maybe_unused, vmlab_vma_tree)

static struct vm_area_struct *vmlab_vma_first_in(struct address_space *mapping, u64 first,
						 u64 last)
{
	return vmlab_vma_tree_iter_first(&mapping->i_mmap, first, last);
}

/*
 * The object that a VMA maps, or NULL.  A fork exchanges vm_private_data while the
 * child's VMA may be found already; both regions stay meanwhile.
 */
static struct vmlab_object *vmlab_vma_object(struct vm_area_struct *vma)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);

	return region->object;
}

/*
 * The PUD entry of an address, if there is a table of them.  @size: out: how much around @addr
 * the answer holds for.
 */
static __always_inline pud_t *vmlab_walk_pud(struct mm_struct *mm, unsigned long addr,
					     unsigned long *size)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;

	*size = PGDIR_SIZE;
	if (pgd_none(READ_ONCE(*pgd)))
		return NULL;
	*size = P4D_SIZE;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return NULL;
	*size = PUD_SIZE;
	return pud_offset(p4d, addr);
}

/* Is it 1 GiB that one entry maps?  Locked: who changes it may have it nowhere for a moment. */
static bool vmlab_walk_is_gigantic(struct mm_struct *mm, unsigned long addr)
{
	unsigned long size;
	pud_t *pud = vmlab_walk_pud(mm, addr, &size);
	spinlock_t *ptl;
	bool is;

	if (!VMLAB_HAVE_GIGANTIC || !pud || vmlab_pud_is_table(READ_ONCE(*pud)))
		return false;
	ptl = pud_lock(mm, pud);
	is = vmlab_pud_is_huge(*pud);
	spin_unlock(ptl);
	return is;
}

/*
 * The PMD entry of an address, if it is not empty.  @size: out: how much around @addr the
 * answer holds for.
 */
static pmd_t *vmlab_walk(struct mm_struct *mm, unsigned long addr, unsigned long *size)
{
	pud_t *pud = vmlab_walk_pud(mm, addr, size);
	pmd_t *pmd;

	if (!pud)
		return NULL;
	if (unlikely(!vmlab_pud_is_table(READ_ONCE(*pud)))) {
		/* Who drops or changes a huge one has it nowhere until he lets the lock go. */
		if (VMLAB_HAVE_GIGANTIC)
			spin_unlock(pud_lock(mm, pud));
		if (!vmlab_pud_is_table(READ_ONCE(*pud)))
			return NULL;
	}
	*size = PMD_SIZE;
	pmd = pmd_offset(pud, addr);
	/*
	 * Who moves a huge page (move_huge_pmd() in mm/huge_memory.c) or drops it for a store
	 * (__split_huge_pmd() there) has it nowhere, or still in TLBs, until he lets the lock go.
	 */
	if (!pmd_present(READ_ONCE(*pmd)))
		spin_unlock(pmd_lock(mm, pmd));
	return pmd_present(READ_ONCE(*pmd)) ? pmd : NULL;
}

/*
 * Zaps 1 GiB that one PUD maps, which its VMA has: the core takes a part only with mmap_lock held
 * (zap_pud_range() in mm/memory.c).
 */
static bool vmlab_zap_gigantic(struct vm_area_struct *vma, unsigned long addr)
{
	if (!vmlab_walk_is_gigantic(vma->vm_mm, addr))
		return false;
	zap_vma_ptes(vma, addr & PUD_MASK, PUD_SIZE);
	vmlab_count(vmlab_vma_object(vma)->vm, thp_split_pud, 1);
	return true;
}

/* The core's own zap passes an empty PMD without such a look: wait here before it. */
static void vmlab_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long length)
{
	unsigned long at, next, size, end = addr + length;

	for (at = addr; at < end; at = next) {
		vmlab_walk(vma->vm_mm, at, &size);
		if (size == PUD_SIZE)
			vmlab_zap_gigantic(vma, at);
		next = (at & ~(size - 1)) + size;
		cond_resched();
	}
	zap_vma_ptes(vma, addr, length);
}

/**
 * vmlab_walk_pmd() - find the PMD entry of an address
 * @mm: the address space
 * @addr: user address
 *
 * Context: page tables are stable, see the head of this file.
 * Return: the entry if it points to a PTE table or maps 2 MiB, else NULL.
 */
pmd_t *vmlab_walk_pmd(struct mm_struct *mm, unsigned long addr)
{
	unsigned long size;

	return vmlab_walk(mm, addr, &size);
}

/**
 * vmlab_with_table() - do something with the PTE table that a PMD entry points to
 * @mm: the address space
 * @pmd: the entry
 * @fn: called under the table's lock; must not sleep
 * @arg: for @fn
 *
 * As the core's pte_offset_map_lock() since 6.5, which is not exported: the table is looked
 * for again under its lock.
 *
 * Return: whether there is a table; if not, @fn was not called.
 */
bool vmlab_with_table(struct mm_struct *mm, pmd_t *pmd, vmlab_table_fn fn, void *arg)
{
	bool found = false;
	spinlock_t *ptl;
	pmd_t now;

	rcu_read_lock();
	now = READ_ONCE(*pmd);
	if (vmlab_pmd_is_table(now)) {
		ptl = pte_lockptr(mm, &now);
		spin_lock(ptl);
		found = vmlab_pmd_same_table(now, READ_ONCE(*pmd));
		if (likely(found))
			fn(pmd, arg);
		spin_unlock(ptl);
	}
	rcu_read_unlock();
	return found;
}

/**
 * struct vmlab_visitor - what is done where part of an object is mapped
 * @table:	called for a PTE table
 * @huge:	called for a PMD that maps 2 MiB
 * @gigantic:	called for a PUD that maps 1 GiB
 * @arg:	for all
 */
struct vmlab_visitor {
	vmlab_rmap_fn		table;
	vmlab_rmap_huge_fn	huge;
	vmlab_rmap_gigantic_fn	gigantic;
	void			*arg;
};

/* Part of a PTE table, for a visitor. */
struct vmlab_visit {
	const struct vmlab_visitor	*visitor;
	struct vm_area_struct		*vma;
	unsigned long			addr;
	unsigned long			next;
};

static void vmlab_visit_table_locked(pmd_t *pmd, void *arg)
{
	struct vmlab_visit *visit = arg;
	unsigned long addr = visit->addr;

	visit->visitor->table(visit->vma, addr, pte_offset_kernel(pmd, addr),
			      linear_page_index(visit->vma, addr) & (VMLAB_LEAF_SLOTS - 1),
			      (visit->next - addr) >> PAGE_SHIFT, visit->visitor->arg);
}

/* False: there is no table, or none any more. */
static bool vmlab_visit_table(struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr,
			      unsigned long next, const struct vmlab_visitor *visitor)
{
	struct vmlab_visit visit = {
		.visitor = visitor, .vma = vma, .addr = addr, .next = next,
	};

	return vmlab_with_table(vma->vm_mm, pmd, vmlab_visit_table_locked, &visit);
}

static bool vmlab_visit_huge(struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr,
			     const struct vmlab_visitor *visitor)
{
	spinlock_t *ptl;
	bool huge;

	if (!vmlab_pmd_is_huge(READ_ONCE(*pmd)))
		return false;
	ptl = pmd_lock(vma->vm_mm, pmd);
	huge = vmlab_pmd_is_huge(READ_ONCE(*pmd));
	if (huge)
		visitor->huge(vma, addr & PMD_MASK, pmd, visitor->arg);
	spin_unlock(ptl);
	return huge;
}

/* False: what is there came just now, and is no PUD that maps memory. */
static bool vmlab_visit_gigantic(struct vm_area_struct *vma, unsigned long addr,
				 const struct vmlab_visitor *visitor)
{
	unsigned long size;
	pud_t *pud = vmlab_walk_pud(vma->vm_mm, addr, &size);
	spinlock_t *ptl;
	bool found;

	if (!VMLAB_HAVE_GIGANTIC || !pud)
		return true;
	ptl = pud_lock(vma->vm_mm, pud);
	if (vmlab_pud_is_huge(*pud))
		visitor->gigantic(vma, addr & PUD_MASK, pud, visitor->arg);
	found = !vmlab_pud_is_table(*pud);
	spin_unlock(ptl);
	return found;
}

/* Where a VMA maps pages @first to @last; false: nowhere. */
static bool vmlab_vma_clip(struct vm_area_struct *vma, u64 first, u64 last,
			   unsigned long *addr, unsigned long *end)
{
	u64 from = max_t(u64, first, vmlab_vma_first(vma));
	u64 to = min_t(u64, last, vmlab_vma_last(vma));

	if (from > to)
		return false;
	*addr = vma->vm_start + ((from - vma->vm_pgoff) << PAGE_SHIFT);
	*end = vma->vm_start + ((to + 1 - vma->vm_pgoff) << PAGE_SHIFT);
	return true;
}

/* Visits what maps part of pages @first to @last in one VMA. */
static void vmlab_vma_visit(struct vm_area_struct *vma, u64 first, u64 last,
			    const struct vmlab_visitor *visitor)
{
	unsigned long addr, end, next, size;
	pmd_t *pmd;

	if (!vmlab_vma_clip(vma, first, last, &addr, &end))
		return;
	for (; addr < end; addr = next) {
		pmd = vmlab_walk(vma->vm_mm, addr, &size);
		next = min((addr & ~(size - 1)) + size, end);
		if (!pmd && size == PUD_SIZE && !vmlab_visit_gigantic(vma, addr, visitor))
			next = addr;
		if (!pmd)
			continue;
		/* One may just become the other. */
		while (!vmlab_visit_huge(vma, pmd, addr, visitor) &&
		       !vmlab_visit_table(vma, pmd, addr, next, visitor) &&
		       pmd_present(READ_ONCE(*pmd)))
			cpu_relax();
		cond_resched();
	}
}

/**
 * vmlab_rmap_for_each_vma() - visit every VMA that maps part of a lineage
 * @lineage: the lineage
 * @fn: called for each; may sleep
 * @arg: for @fn
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_rmap_for_each_vma(struct vmlab_lineage *lineage,
			     void (*fn)(struct vm_area_struct *vma, void *arg), void *arg)
{
	struct address_space *mapping = lineage->inode->i_mapping;
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	for (vma = vmlab_vma_first_in(mapping, 0, ULONG_MAX); vma;
	     vma = vmlab_vma_tree_iter_next(vma, 0, ULONG_MAX)) {
		fn(vma, arg);
		cond_resched();
	}
	i_mmap_unlock_read(mapping);
}

struct vmlab_young_arg {
	u64			leaf;
	struct vmlab_frame	**frames;
	unsigned int		nr;
	unsigned long		*young;
	bool			clear;
};

static bool vmlab_pte_test_young(pte_t *pte, bool clear)
{
	if (!pte_young(*pte))
		return false;
	/* As ptep_test_and_clear_young() (arch/x86/mm/pgtable.c), not exported. */
	return !clear || test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&pte->pte);
}

static void vmlab_rmap_young_table(struct vm_area_struct *vma, unsigned long addr,
				   pte_t *pte, unsigned int index, unsigned int nr,
				   void *arg)
{
	struct vmlab_young_arg *y = arg;
	unsigned int i;

	for (i = 0; i < y->nr; i++) {
		u64 pgoff = READ_ONCE(y->frames[i]->pgoff);
		unsigned int slot = pgoff & (VMLAB_LEAF_SLOTS - 1);
		pte_t *entry = pte + (slot - index);

		if (pgoff >> VMLAB_LEAF_SHIFT != y->leaf || slot < index || slot >= index + nr)
			continue;
		if (pte_present(*entry) && pte_pfn(*entry) == y->frames[i]->pfn &&
		    vmlab_pte_test_young(entry, y->clear))
			__set_bit(i, y->young);
	}
}

/*
 * One bit tells of 512 pages: it is left with each of them, for who asks of the others.  While
 * the PMD maps them, which its lock sees to, they are resident, and what is written here
 * means that (struct vmlab_frame).
 */
static void vmlab_rmap_young_huge(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd,
				  void *arg)
{
	struct vmlab_young_arg *y = arg;
	unsigned long first = pmd_pfn(*pmd);
	struct vmlab_chunk *chunk = NULL;
	unsigned int i;

	if (!pmd_young(*pmd))
		return;
	for (i = 0; i < y->nr; i++) {
		if (y->frames[i]->pfn - first >= VMLAB_CHUNK_FRAMES)
			continue;
		__set_bit(i, y->young);
		chunk = y->frames[i]->chunk;
	}
	if (!chunk || !y->clear ||
	    !test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)pmd))
		return;
	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++)
		WRITE_ONCE(chunk->frames[i].accessed, 1);
}

/* One bit tells of all of it.  It stays set: what is reserved is not evicted, young or not. */
static void vmlab_rmap_young_gigantic(struct vm_area_struct *vma, unsigned long addr, pud_t *pud,
				      void *arg)
{
	struct vmlab_young_arg *y = arg;
	unsigned long first = pud_pfn(*pud);
	unsigned int i;

	for (i = 0; i < y->nr; i++)
		if (pud_young(*pud) && y->frames[i]->pfn - first < VMLAB_GIGANTIC_FRAMES)
			__set_bit(i, y->young);
}

/**
 * vmlab_rmap_young() - read the accessed bits of frames of one 2 MiB
 * @lineage: the lineage, held by the caller
 * @index: which 2 MiB
 * @frames: the frames; those that turn out to be elsewhere by now are skipped
 * @nr: how many
 * @young: bits to be set, one for each of @frames that some PTE has accessed
 * @clear: clear the accessed bits too
 *
 * As in the core, there is no flush: a CPU that still has the translation may use
 * the page without setting the bit again (ptep_clear_flush_young() in
 * arch/x86/mm/pgtable.c gives the reasons).
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_rmap_young(struct vmlab_lineage *lineage, u64 index,
		      struct vmlab_frame **frames, unsigned int nr,
		      unsigned long *young, bool clear)
{
	struct address_space *mapping = lineage->inode->i_mapping;
	u64 first = index << VMLAB_LEAF_SHIFT, last = first + VMLAB_LEAF_SLOTS - 1;
	struct vmlab_young_arg arg = {
		.leaf = index, .frames = frames, .nr = nr, .young = young, .clear = clear,
	};
	const struct vmlab_visitor visitor = {
		.table = vmlab_rmap_young_table, .huge = vmlab_rmap_young_huge,
		.gigantic = vmlab_rmap_young_gigantic, .arg = &arg,
	};
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	for (vma = vmlab_vma_first_in(mapping, first, last); vma;
	     vma = vmlab_vma_tree_iter_next(vma, first, last)) {
		vmlab_vma_visit(vma, first, last, &visitor);
		cond_resched();
	}
	i_mmap_unlock_read(mapping);
}

/*
 * Does this VMA's object have this leaf?  It can get it meanwhile, by a fork, but has
 * then mapped nothing of it; it cannot exchange it, as a slot of it is locked.
 */
static bool vmlab_vma_has_leaf(struct vm_area_struct *vma, struct vmlab_leaf *leaf)
{
	struct vmlab_object *obj = vmlab_vma_object(vma);

	return obj && vmlab_leaf_is_of(obj, leaf);
}

static void vmlab_tlb_flush_vma(struct vmlab_tlb *tlb, struct vm_area_struct *vma,
				unsigned int pages)
{
	unsigned int cpus = cpumask_weight(mm_cpumask(vma->vm_mm));

	vmlab_count(tlb->vm, unmap_flush, 1);
	vmlab_count(tlb->vm, unmap_flush_pages, pages);
	vmlab_count(tlb->vm, unmap_flush_cpus, cpus);
	trace_unmap_flush(tlb->lineage->id, pages, cpus);
}

/*
 * Zaps something small, for the flush.  Of a huge page all of it, which its VMA has: on 6.1 a part
 * would find the PMD that a fault may set again in between, and call it bad, as it has the bit
 * of device memory (pmd_none_or_trans_huge_or_clear_bad()).
 */
static void vmlab_tlb_zap(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long size;
	pmd_t *pmd = vmlab_walk(vma->vm_mm, addr, &size);

	if (pmd && vmlab_pmd_is_huge(READ_ONCE(*pmd)))
		zap_vma_ptes(vma, addr & PMD_MASK, PMD_SIZE);
	else if (pmd || size != PUD_SIZE || !vmlab_zap_gigantic(vma, addr))
		zap_vma_ptes(vma, addr, PAGE_SIZE);
}

static void vmlab_tlb_flush(struct vmlab_tlb *tlb)
{
	unsigned int i;

	for (i = 0; i < tlb->nr; i++) {
		struct vm_area_struct *vma = tlb->mms[i].vma;

		vmlab_tlb_zap(vma, tlb->mms[i].addr);
		dec_tlb_flush_pending(vma->vm_mm);
		vmlab_tlb_flush_vma(tlb, vma, tlb->mms[i].pages);
	}
	tlb->nr = 0;
}

/**
 * vmlab_tlb_begin() - begin to unmap pages of a lineage
 * @tlb: uninitialised
 * @lineage: the lineage, held by the caller
 *
 * Context: may sleep; i_mmap_rwsem is held for read until vmlab_tlb_end().
 */
void vmlab_tlb_begin(struct vmlab_tlb *tlb, struct vmlab_lineage *lineage)
{
	tlb->vm = lineage->vm;
	tlb->lineage = lineage;
	tlb->nr = 0;
	i_mmap_lock_read(lineage->inode->i_mapping);
}

/*
 * The entry of an address space whose flush is pending from now on; makes room if need
 * be.  Says whether it is new.
 */
static unsigned int vmlab_tlb_slot(struct vmlab_tlb *tlb, struct vm_area_struct *vma,
				   bool *fresh)
{
	unsigned int i;

	*fresh = false;
	for (i = 0; i < tlb->nr; i++)
		if (tlb->mms[i].vma->vm_mm == vma->vm_mm)
			return i;
	if (tlb->nr == VMLAB_TLB_MMS)
		vmlab_tlb_flush(tlb);
	*fresh = true;
	i = tlb->nr++;
	tlb->mms[i].vma = vma;
	tlb->mms[i].addr = vma->vm_start;
	tlb->mms[i].pages = 0;
	inc_tlb_flush_pending(vma->vm_mm);
	return i;
}

/* @words: of a leaf that the VMA need not have: only PTEs of its very frames go. */
struct vmlab_unmap_arg {
	const unsigned long	*slots;
	const unsigned long	*words;
	unsigned int		pages;
	unsigned long		addr;
};

static void vmlab_unmap_table(struct vm_area_struct *vma, unsigned long addr, pte_t *pte,
			      unsigned int index, unsigned int nr, void *arg)
{
	struct vmlab_unmap_arg *unmap = arg;
	unsigned int i = index;

	for_each_set_bit_from(i, unmap->slots, index + nr) {
		unsigned int n = i - index;

		if (pte_none(pte[n]))
			continue;
		if (unmap->words &&
		    pte_pfn(pte[n]) != vmlab_word_frame(unmap->words[i])->pfn)
			continue;
		unmap->addr = addr + n * PAGE_SIZE;
		ptep_get_and_clear(vma->vm_mm, unmap->addr, pte + n);
		unmap->pages++;
	}
}

/* Is any page asked for among @nr frames from @pfn on, which one entry maps? */
static bool vmlab_unmap_has(const struct vmlab_unmap_arg *unmap, unsigned long pfn,
			    unsigned long nr)
{
	unsigned int i;

	if (!unmap->words)
		return true;
	for_each_set_bit(i, unmap->slots, VMLAB_LEAF_SLOTS)
		if (vmlab_word_frame(unmap->words[i])->pfn - pfn < nr)
			return true;
	return false;
}

/* The pages that nobody asked to unmap find their way back by faults. */
static void vmlab_unmap_huge(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd,
			     void *arg)
{
	struct vmlab_unmap_arg *unmap = arg;

	if (!vmlab_unmap_has(unmap, pmd_pfn(*pmd), VMLAB_CHUNK_FRAMES))
		return;
	unmap->addr = addr;
	pmdp_huge_get_and_clear(vma->vm_mm, addr, pmd);
	unmap->pages += VMLAB_CHUNK_FRAMES;
}

static void vmlab_unmap_gigantic(struct vm_area_struct *vma, unsigned long addr, pud_t *pud,
				 void *arg)
{
	struct vmlab_unmap_arg *unmap = arg;

	if (!vmlab_unmap_has(unmap, pud_pfn(*pud), VMLAB_GIGANTIC_FRAMES))
		return;
	unmap->addr = addr;
	pudp_huge_get_and_clear(vma->vm_mm, addr, pud);
	unmap->pages += VMLAB_GIGANTIC_FRAMES;
	vmlab_count(vmlab_vma_object(vma)->vm, thp_split_pud, 1);
}

/*
 * Secondary MMUs (KVM) must hear of it before the PTEs go: only the core's own
 * zap tells them.
 */
static unsigned int vmlab_unmap_notify(struct vm_area_struct *vma, u64 first,
				       const unsigned long *slots)
{
	unsigned int start, end, pages = 0;

	for_each_set_bitrange(start, end, slots, VMLAB_LEAF_SLOTS) {
		u64 from = max_t(u64, first + start, vmlab_vma_first(vma));
		u64 to = min_t(u64, first + end, vmlab_vma_last(vma) + 1);

		if (from >= to)
			continue;
		vmlab_zap(vma, vma->vm_start + ((from - vma->vm_pgoff) << PAGE_SHIFT),
			  (to - from) << PAGE_SHIFT);
		pages += to - from;
	}
	return pages;
}

static void vmlab_tlb_unmap_vma(struct vmlab_tlb *tlb, struct vm_area_struct *vma,
				u64 first, const unsigned long *slots,
				const unsigned long *words)
{
	struct vmlab_unmap_arg arg = { .slots = slots, .words = words };
	const struct vmlab_visitor visitor = {
		.table = vmlab_unmap_table, .huge = vmlab_unmap_huge,
		.gigantic = vmlab_unmap_gigantic, .arg = &arg,
	};
	unsigned int low = find_first_bit(slots, VMLAB_LEAF_SLOTS);
	unsigned int high = find_last_bit(slots, VMLAB_LEAF_SLOTS);
	unsigned int i;
	bool fresh;

	if (mm_has_notifiers(vma->vm_mm)) {
		arg.pages = vmlab_unmap_notify(vma, first, slots);
		if (arg.pages)
			vmlab_tlb_flush_vma(tlb, vma, arg.pages);
		return;
	}
	/* The pending flush must be announced before the first PTE changes. */
	i = vmlab_tlb_slot(tlb, vma, &fresh);
	vmlab_vma_visit(vma, first + low, first + high, &visitor);
	if (arg.pages) {
		/* Its page is gone already: the flush need not take another. */
		tlb->mms[i].vma = vma;
		tlb->mms[i].addr = arg.addr;
	}
	tlb->mms[i].pages += arg.pages;
	/*
	 * Nothing found here is nothing to flush, unless somebody else (munmap(), a zap)
	 * has cleared PTEs of this address space and not flushed yet.
	 */
	if (fresh && !arg.pages && !mm_tlb_flush_nested(vma->vm_mm)) {
		dec_tlb_flush_pending(vma->vm_mm);
		tlb->nr--;
	}
}

/**
 * vmlab_tlb_unmap() - unmap slots of a leaf, everywhere; flushed by vmlab_tlb_end()
 * @tlb: between vmlab_tlb_begin() and vmlab_tlb_end()
 * @leaf: the leaf
 * @slots: bitmap of its slots; all locked by the caller
 * @shared: those of them whose frames other leaves name too, in slots that the caller
 *	has locked as well: they go from VMAs with those leaves too.  NULL: none
 */
void vmlab_tlb_unmap(struct vmlab_tlb *tlb, struct vmlab_leaf *leaf,
		     const unsigned long *slots, const unsigned long *shared)
{
	struct address_space *mapping = tlb->lineage->inode->i_mapping;
	u64 first = leaf->index << VMLAB_LEAF_SHIFT;
	unsigned int low = find_first_bit(slots, VMLAB_LEAF_SLOTS);
	unsigned int high = find_last_bit(slots, VMLAB_LEAF_SLOTS);
	struct vm_area_struct *vma;

	if (low >= VMLAB_LEAF_SLOTS)
		return;
	for (vma = vmlab_vma_first_in(mapping, first + low, first + high); vma;
	     vma = vmlab_vma_tree_iter_next(vma, first + low, first + high)) {
		if (vmlab_vma_has_leaf(vma, leaf))
			vmlab_tlb_unmap_vma(tlb, vma, first, slots, NULL);
		else if (shared && !bitmap_empty(shared, VMLAB_LEAF_SLOTS))
			vmlab_tlb_unmap_vma(tlb, vma, first, shared, leaf->words);
		cond_resched();
	}
}

/**
 * vmlab_tlb_end() - flush what was unmapped
 * @tlb: begun with vmlab_tlb_begin()
 *
 * From its return on no CPU can reach the pages any more.
 */
void vmlab_tlb_end(struct vmlab_tlb *tlb)
{
	vmlab_tlb_flush(tlb);
	i_mmap_unlock_read(tlb->lineage->inode->i_mapping);
}

static void vmlab_wrprotect_table(struct vm_area_struct *vma, unsigned long addr, pte_t *pte,
				  unsigned int index, unsigned int nr, void *arg)
{
	unsigned int *pages = arg, i;

	for (i = 0; i < nr; i++) {
		/* The hardware may set accessed and dirty bits meanwhile. */
		pte_t old = READ_ONCE(pte[i]);

		if (!pte_present(old) || !(pte_write(old) || pte_dirty(old)))
			continue;
		while (!try_cmpxchg((long *)&pte[i].pte, (long *)&old.pte,
				    pte_val(pte_mkclean(pte_wrprotect(old)))))
			;
		++*pages;
	}
}

static void vmlab_wrprotect_huge(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmd,
				 void *arg)
{
	pmd_t old = READ_ONCE(*pmd);
	unsigned int *pages = arg;

	if (!pmd_write(old) && !pmd_dirty(old))
		return;
	while (!try_cmpxchg((long *)&pmd->pmd, (long *)&old.pmd,
			    pmd_val(pmd_mkclean(pmd_wrprotect(old)))))
		;
	*pages += VMLAB_CHUNK_FRAMES;
}

static void vmlab_wrprotect_gigantic(struct vm_area_struct *vma, unsigned long addr, pud_t *pud,
				     void *arg)
{
	pud_t old = READ_ONCE(*pud);
	unsigned int *pages = arg;

	if (!pud_write(old) && !pud_dirty(old))
		return;
	while (!try_cmpxchg((long *)&pud->pud, (long *)&old.pud,
			    pud_val(pud_mkclean(pud_wrprotect(old)))))
		;
	*pages += VMLAB_GIGANTIC_FRAMES;
}

static void vmlab_wrprotect_vma(struct vmlab_tlb *tlb, struct vm_area_struct *vma, u64 first,
				u64 last, struct mm_struct *flushed)
{
	u64 from = max_t(u64, first, vmlab_vma_first(vma));
	u64 to = min_t(u64, last, vmlab_vma_last(vma));
	unsigned long addr = vma->vm_start + ((from - vma->vm_pgoff) << PAGE_SHIFT);
	unsigned int pages = 0, i = 0;
	const struct vmlab_visitor visitor = {
		.table = vmlab_wrprotect_table, .huge = vmlab_wrprotect_huge,
		.gigantic = vmlab_wrprotect_gigantic, .arg = &pages,
	};
	bool fresh = false;

	/* Secondary MMUs hear only of the core's own changes: unmap instead. */
	if (mm_has_notifiers(vma->vm_mm)) {
		vmlab_zap(vma, addr, (to - from + 1) << PAGE_SHIFT);
		vmlab_tlb_flush_vma(tlb, vma, to - from + 1);
		return;
	}
	if (vma->vm_mm != flushed)
		i = vmlab_tlb_slot(tlb, vma, &fresh);
	vmlab_vma_visit(vma, from, to, &visitor);
	if (vma->vm_mm == flushed)
		return;
	tlb->mms[i].pages += pages;
	if (fresh && !pages && !mm_tlb_flush_nested(vma->vm_mm)) {
		dec_tlb_flush_pending(vma->vm_mm);
		tlb->nr--;
	}
}

/**
 * vmlab_rmap_wrprotect() - let no store to what an object maps go unnoticed
 * @obj: the object; nobody is granted a write to the range any more
 * @first: first page
 * @last: last page
 * @flushed: an address space that is going to be flushed by others; or NULL
 *
 * The PTEs are clean afterwards, too: mprotect() makes dirty ones writable without
 * asking, also of a mapping that was read-only when this was called.
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_rmap_wrprotect(struct vmlab_object *obj, u64 first, u64 last,
			  struct mm_struct *flushed)
{
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	struct vm_area_struct *vma;
	struct vmlab_tlb tlb;

	vmlab_tlb_begin(&tlb, obj->lineage);
	for (vma = vmlab_vma_first_in(mapping, first, last); vma;
	     vma = vmlab_vma_tree_iter_next(vma, first, last)) {
		if (vmlab_vma_object(vma) == obj)
			vmlab_wrprotect_vma(&tlb, vma, first, last, flushed);
		cond_resched();
	}
	vmlab_tlb_end(&tlb);
}

/**
 * vmlab_rmap_unmap_object() - unmap a range from one object's VMAs, and flush
 * @obj: the object
 * @first: first page
 * @last: last page
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_rmap_unmap_object(struct vmlab_object *obj, u64 first, u64 last)
{
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	struct vm_area_struct *vma;
	struct vmlab_tlb tlb;

	vmlab_tlb_begin(&tlb, obj->lineage);
	for (vma = vmlab_vma_first_in(mapping, first, last); vma;
	     vma = vmlab_vma_tree_iter_next(vma, first, last)) {
		u64 from = max_t(u64, first, vmlab_vma_first(vma));
		u64 to = min_t(u64, last, vmlab_vma_last(vma));

		cond_resched();
		if (vmlab_vma_object(vma) != obj)
			continue;
		vmlab_zap(vma, vma->vm_start + ((from - vma->vm_pgoff) << PAGE_SHIFT),
			  (to - from + 1) << PAGE_SHIFT);
		vmlab_tlb_flush_vma(&tlb, vma, to - from + 1);
	}
	vmlab_tlb_end(&tlb);
}

/**
 * vmlab_rmap_next_uncovered() - the next run of pages that no VMA of an object maps
 * @obj: the object
 * @first: in: where to begin; out: first page of the run
 * @last: where to end
 * @but: a VMA that does not count, or NULL
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 * Return: pages in the run; 0: all is covered.
 */
u64 vmlab_rmap_next_uncovered(struct vmlab_object *obj, u64 *first, u64 last,
			      struct vm_area_struct *but)
{
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	u64 pos = *first, end = last + 1;
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	/* They come by their first page. */
	for (vma = vmlab_vma_first_in(mapping, pos, last); vma && pos <= last;
	     vma = vmlab_vma_tree_iter_next(vma, *first, last)) {
		cond_resched();
		if (vma == but || vmlab_vma_object(vma) != obj)
			continue;
		if (vmlab_vma_first(vma) > pos) {
			end = vmlab_vma_first(vma);
			break;
		}
		pos = max_t(u64, pos, vmlab_vma_last(vma) + 1);
	}
	i_mmap_unlock_read(mapping);
	*first = pos;
	return pos > last ? 0 : end - pos;
}

/**
 * vmlab_rmap_covered() - does a VMA of an object map any page of a range?
 * @obj: the object
 * @first: first page
 * @last: last page
 * @but: a VMA that does not count, or NULL
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
bool vmlab_rmap_covered(struct vmlab_object *obj, u64 first, u64 last,
			struct vm_area_struct *but)
{
	u64 pos = first;

	return vmlab_rmap_next_uncovered(obj, &pos, last, but) != last - first + 1;
}

/**
 * vmlab_rmap_find_huge() - look at the mappings that could map 2 MiB by one PMD
 * @obj: the object
 * @index: which 2 MiB
 * @fn: called for each of the object's VMAs with room for them, with their address; must not
 *	sleep; true ends the search
 * @arg: for @fn
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 * Return: whether @fn returned true.
 */
bool vmlab_rmap_find_huge(struct vmlab_object *obj, u64 index,
			  bool (*fn)(struct vm_area_struct *vma, unsigned long addr, void *arg),
			  void *arg)
{
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	u64 first = index << VMLAB_LEAF_SHIFT;
	struct vm_area_struct *vma;
	bool found = false;

	i_mmap_lock_read(mapping);
	for (vma = vmlab_vma_first_in(mapping, first, first); vma && !found;
	     vma = vmlab_vma_tree_iter_next(vma, first, first)) {
		unsigned long addr = vma->vm_start + ((first - vma->vm_pgoff) << PAGE_SHIFT);

		cond_resched();
		if (vmlab_vma_object(vma) == obj && IS_ALIGNED(addr, PMD_SIZE) &&
		    vma->vm_end - addr >= PMD_SIZE)
			found = fn(vma, addr, arg);
	}
	i_mmap_unlock_read(mapping);
	return found;
}

/* mmap_lock held for write. */
static void vmlab_vma_unmap_huge(struct vmlab_tlb *tlb, struct vm_area_struct *vma, u64 first,
				 u64 last, bool gigantic_only)
{
	unsigned long addr, end, next, size;
	pmd_t *pmd;

	if (!vmlab_vma_clip(vma, first, last, &addr, &end))
		return;
	for (; addr < end; addr = next) {
		pmd = vmlab_walk(vma->vm_mm, addr, &size);
		if (pmd && gigantic_only) {
			pmd = NULL;
			size = PUD_SIZE;
		}
		next = min((addr & ~(size - 1)) + size, end);
		if (pmd && vmlab_pmd_is_huge(READ_ONCE(*pmd))) {
			vmlab_tlb_zap(vma, addr);
			vmlab_tlb_flush_vma(tlb, vma, VMLAB_LEAF_SLOTS);
		} else if (!pmd && size == PUD_SIZE && vmlab_zap_gigantic(vma, addr)) {
			vmlab_tlb_flush_vma(tlb, vma, VMLAB_GIGANTIC_FRAMES);
		}
		cond_resched();
	}
}

/**
 * vmlab_rmap_unmap_huge() - unmap what an address space maps by PMDs of 2 MiB, or PUDs
 * @obj: the object
 * @mm: the address space
 * @first: first page
 * @last: last page
 * @gigantic_only: only PUDs
 *
 * Context: mmap_lock of @mm held for write, so nothing is mapped anew; takes i_mmap_rwsem for
 * read.
 */
void vmlab_rmap_unmap_huge(struct vmlab_object *obj, struct mm_struct *mm, u64 first, u64 last,
			   bool gigantic_only)
{
	struct vmlab_tlb tlb = { .vm = obj->vm, .lineage = obj->lineage };
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	for (vma = vmlab_vma_first_in(mapping, first, last); vma;
	     vma = vmlab_vma_tree_iter_next(vma, first, last)) {
		if (vma->vm_mm == mm && vmlab_vma_object(vma) == obj)
			vmlab_vma_unmap_huge(&tlb, vma, first, last, gigantic_only);
		cond_resched();
	}
	i_mmap_unlock_read(mapping);
}

struct vmlab_unmapped {
	struct mm_struct	*mm;
	unsigned long		addr;
	bool			unmapped;
};

static void vmlab_page_is_unmapped_locked(pmd_t *pmd, void *arg)
{
	struct vmlab_unmapped *u = arg;

	u->unmapped = pte_none(*pte_offset_kernel(pmd, u->addr)) && !mm_tlb_flush_pending(u->mm);
}

/*
 * Is there nothing to unmap and nothing to flush at an address?  The look must be under
 * the page table lock: mremap() moves PTEs from one table to another under both locks,
 * a load from a hole decides under it to map the zero page, and only so is a flush that
 * somebody else owes seen (mm_tlb_flush_pending()).
 */
static bool vmlab_page_is_unmapped(struct vm_area_struct *vma, unsigned long addr)
{
	struct vmlab_unmapped u = { .mm = vma->vm_mm, .addr = addr };
	unsigned long size;
	pmd_t *pmd = vmlab_walk(u.mm, addr, &size);

	if (pmd && vmlab_with_table(u.mm, pmd, vmlab_page_is_unmapped_locked, &u))
		return u.unmapped;
	if (!pmd && size == PUD_SIZE && vmlab_walk_is_gigantic(u.mm, addr))
		return false;
	/* A huge page may be there, or may have been a moment ago, and be still in TLBs. */
	return !(pmd && pmd_present(READ_ONCE(*pmd))) && !mm_tlb_flush_pending(u.mm);
}

/**
 * vmlab_rmap_unmap_page() - unmap one page everywhere and flush
 * @lineage: the lineage
 * @leaf: its leaf
 * @index: the slot, locked by the caller
 *
 * One page is cheaper to flush by its address than with the whole address space.
 *
 * Context: may sleep; takes i_mmap_rwsem for read.
 */
void vmlab_rmap_unmap_page(struct vmlab_lineage *lineage, struct vmlab_leaf *leaf,
			   unsigned int index)
{
	struct address_space *mapping = lineage->inode->i_mapping;
	struct vmlab_tlb tlb = { .vm = lineage->vm, .lineage = lineage };
	u64 pgoff = (leaf->index << VMLAB_LEAF_SHIFT) + index;
	struct vm_area_struct *vma;
	unsigned long addr;

	i_mmap_lock_read(mapping);
	for (vma = vmlab_vma_first_in(mapping, pgoff, pgoff); vma;
	     vma = vmlab_vma_tree_iter_next(vma, pgoff, pgoff)) {
		cond_resched();
		addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
		if (!vmlab_vma_has_leaf(vma, leaf) || vmlab_page_is_unmapped(vma, addr))
			continue;
		vmlab_tlb_zap(vma, addr);
		vmlab_tlb_flush_vma(&tlb, vma, 1);
	}
	i_mmap_unlock_read(mapping);
}
