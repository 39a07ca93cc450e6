// SPDX-License-Identifier: GPL-2.0
/*
 * PUDs that map 1 GiB of an object at once.
 *
 * Owns every PUD that vmlab sets.  Where all 512 leaves of a GiB are huge ones, and their
 * chunks those of one gigantic page in their order (gigantic.c), one entry can map it.  It is
 * nothing but a shorter way to the same frames: who unmaps a page of it takes the entry away
 * (rmap.c), and the next access sets it again, or, where that cannot be, what it needs of 2 MiB
 * or 4 KiB: then a table is in its place, for good.
 *
 * Rules that keep memory whole:
 *
 *  - A PUD is set with i_mmap_rwsem held for write since the first leaf was looked at, each
 *    under its lock, and found huge, with none of its slots locked.  All who unmap hold it for
 *    read: who has locked a slot by then was seen, who does later finds the PUD.  And who has the
 *    core zap where he has not seen a table below the PUD (zap_pud_range() in mm/memory.c) holds
 *    it, so that none comes just then, which would be called bad.
 *  - It is set with mmap_lock held, not the lock of the VMA alone: ->open and ->mprotect take
 *    away what is mapped so before a VMA is split, moved or protected (region.c), and after it
 *    none may come.  The core cannot split a PUD that two VMAs share, nor move a part of one
 *    (move_page_tables() in mm/mremap.c); and it warns where it finds one that PROT_NONE hides
 *    (pudp_invalidate() in arch/x86/mm/pgtable.c).
 *  - It is writable only where every page is the object's alone and dirty; else it is clean.
 *
 * Only kernels with a special bit for PUDs are built with this (ARCH_SUPPORTS_PUD_PFNMAP, of
 * 6.12): get_user_pages() leaves those alone.  userfaultfd, which would have them split by
 * others than their owner, may be refused such mappings by the kernel, or not: here it bars them.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/userfaultfd_k.h>

#include "vmlab.h"

/*
 * The chunk of a huge leaf, or NULL.  With @all only of one that nobody is about to change, and
 * what is not true of all its pages goes from there.
 */
static struct vmlab_chunk *vmlab_pud_look(struct vmlab_object *obj, u64 index, unsigned int *all)
{
	struct vmlab_chunk *chunk = NULL;
	struct vmlab_leaf *leaf;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, index << VMLAB_LEAF_SHIFT);
	if (leaf) {
		spin_lock(&leaf->lock);
		if (!leaf->dead && leaf->huge && vmlab_leaf_is_of(obj, leaf) &&
		    !(all && (leaf->nr_locked || leaf->frozen))) {
			chunk = vmlab_word_frame(leaf->words[0])->chunk;
			if (all)
				*all &= vmlab_leaf_all(leaf);
		}
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return chunk;
}

/**
 * vmlab_gigantic_find() - is 1 GiB of an object one gigantic page?
 * @obj: the object
 * @index: the first of its 512 leaves
 * @all: out: VMLAB_ALL_* of all its pages, and only if nobody is about to change any; or NULL:
 *	it is enough to know what it is
 *
 * Context: sleeps; vm->activity held for read.  The answer lasts with i_mmap_rwsem held for
 * write, as far as the head of this file says.
 * Return: the page, or NULL.
 */
struct vmlab_gigantic *vmlab_gigantic_find(struct vmlab_object *obj, u64 index,
					   unsigned int *all)
{
	struct vmlab_gigantic *gigantic = NULL;
	struct vmlab_chunk *chunk;
	unsigned int i;

	if (all)
		*all = VMLAB_ALL_ALONE | VMLAB_ALL_DIRTY;
	for (i = 0; i < VMLAB_GIGANTIC_CHUNKS; i++) {
		chunk = vmlab_pud_look(obj, index + i, all);
		if (!chunk || !chunk->gigantic || (gigantic && chunk->gigantic != gigantic) ||
		    chunk != &chunk->gigantic->chunks[i])
			return NULL;
		gigantic = chunk->gigantic;
		cond_resched();
	}
	return gigantic;
}

/**
 * vmlab_pud_fits() - could 1 GiB of a mapping be mapped by one PUD?
 * @vma: the mapping
 * @addr: an address in the 1 GiB
 *
 * Context: mmap_lock or the lock of the VMA held.
 */
bool vmlab_pud_fits(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long start = addr & PUD_MASK;

	return start >= vma->vm_start && vma->vm_end - start >= PUD_SIZE &&
	       IS_ALIGNED(linear_page_index(vma, start), VMLAB_GIGANTIC_FRAMES);
}

static pud_t vmlab_pud(struct vm_area_struct *vma, unsigned long pfn, bool write)
{
	pud_t pud = pud_mkspecial(pud_mkhuge(pfn_pud(pfn, vma->vm_page_prot)));

	return write ? pud_set_flags(pud, _PAGE_RW | _PAGE_DIRTY | _PAGE_SOFT_DIRTY) :
		       pud_mkclean(pud_wrprotect(pud));
}

/* False: a table came first. */
static bool vmlab_pud_set(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	spinlock_t *ptl = pud_lock(mm, vmf->pud);
	bool same = vmlab_pud_is_huge(*vmf->pud) && pud_pfn(*vmf->pud) == pfn;

	if (pud_none(*vmf->pud) || (same && write)) {
		set_pud_at(mm, vmf->address & PUD_MASK, vmf->pud,
			   vmlab_pud(vmf->vma, pfn, write));
		same = true;
	}
	spin_unlock(ptl);
	return same;
}

/**
 * vmlab_pud_may_map() - is a fault worth a look for 1 GiB?
 * @vma: the mapping
 * @obj: its object
 * @addr: the address
 *
 * Context: mmap_lock or the lock of the VMA held.
 */
bool vmlab_pud_may_map(struct vm_area_struct *vma, struct vmlab_object *obj, unsigned long addr)
{
	return READ_ONCE(obj->lineage->gigantic) && vmlab_pud_fits(vma, addr) &&
	       !mm_has_notifiers(vma->vm_mm) && !userfaultfd_armed(vma);
}

/**
 * vmlab_pud_map() - answer a fault by a PUD, if that can be
 * @vmf: the fault, of an empty PUD or of a store to a read-only one
 * @obj: the object
 * @write: a store
 * @node: out: where the memory is
 *
 * Context: mmap_lock held, and vm->activity for read; sleeps; no slot locked.
 * Return: whether it is mapped; if not it is 2 MiB or 4 KiB.
 */
bool vmlab_pud_map(struct vm_fault *vmf, struct vmlab_object *obj, bool write, int *node)
{
	u64 index = round_down(vmf->pgoff, VMLAB_GIGANTIC_FRAMES) >> VMLAB_LEAF_SHIFT;
	struct address_space *mapping = obj->lineage->inode->i_mapping;
	struct vmlab_gigantic *gigantic;
	bool writable, mapped = false;
	struct vmlab_chunk *chunk;
	unsigned int all;

	/* To look at all of it takes long: not where the first 2 MiB tell that it is none. */
	chunk = vmlab_pud_look(obj, index, NULL);
	if (!chunk || !chunk->gigantic)
		return false;
	i_mmap_lock_write(mapping);
	gigantic = vmlab_gigantic_find(obj, index, &all);
	writable = (vmf->vma->vm_flags & VM_WRITE) && all == (VMLAB_ALL_ALONE | VMLAB_ALL_DIRTY);
	if (gigantic && (writable || !write)) {
		mapped = vmlab_pud_set(vmf, gigantic->frames[0].pfn, writable);
		*node = gigantic->chunks[0].pool->nid;
	}
	i_mmap_unlock_write(mapping);
	return mapped;
}
