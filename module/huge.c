// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages: 2 MiB of an object in one chunk, and the PMDs that map them.
 *
 * Owns every PMD that vmlab sets, and what makes a leaf a huge one: all its slots name the
 * frames of one chunk, in their order (leaf->huge).  Each frame keeps a descriptor and
 * references of its own, so all that is done to pages is done to these as well, one by one,
 * and a huge leaf is split by nothing but that.
 *
 * Rules that keep memory whole:
 *
 *  - A PMD is set with leaf->lock held since it was seen that the leaf is huge and none of its
 *    slots is locked.  Who locks a slot to unmap its page either comes first, or finds the PMD.
 *  - It is writable only where every page is the object's alone, and every frame was marked
 *    dirty before; a read-only one is clean (see fault.c for both).
 *  - It never takes the place of a PTE table, which would have to be empty and to be freed:
 *    retire.c does that.
 *
 * Nothing that is exported sets a PMD whose place another thread may fill with a table at
 * the same moment: vmf_insert_pfn_pmd() (mm/huge_memory.c) warns of that.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>

#include "trace.h"
#include "vmlab.h"

const char * const vmlab_huge_names[VMLAB_HUGE_NR] = {
	[VMLAB_HUGE_ALWAYS]	= "always",
	[VMLAB_HUGE_MADVISE]	= "madvise",
	[VMLAB_HUGE_NEVER]	= "never",
};

/**
 * vmlab_huge_init() - what of huge pages an instance begins with
 * @vm: the instance, not in use yet
 * @setting: which mappings get them
 *
 * As khugepaged's in mm/khugepaged.c, but a tenth of the time between two looks.
 */
void vmlab_huge_init(struct vmlab *vm, enum vmlab_huge_setting setting)
{
	vm->huge = setting;
	vm->promote[VMLAB_PROMOTE_MAX_NONE] = VMLAB_LEAF_SLOTS - 1;
	vm->promote[VMLAB_PROMOTE_MAX_SHARED] = VMLAB_LEAF_SLOTS / 2;
	vm->promote[VMLAB_PROMOTE_MAX_SWAPPED] = VMLAB_LEAF_SLOTS / 8;
	vm->promote[VMLAB_PROMOTE_SCAN_MS] = 1000;
	vm->promote[VMLAB_PROMOTE_SCAN_LEAVES] = 64;
	vm->promote[VMLAB_PROMOTE_ZERO_CHUNKS] = 4;
}

/**
 * vmlab_huge_wake() - something changed that threads go by
 * @vm: the instance
 *
 * Context: any but interrupts.
 */
void vmlab_huge_wake(struct vmlab *vm)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid])
			continue;
		vmlab_zero_wake(vm->pools[nid]);
		wake_up(&vm->pools[nid]->promote_wait);
		/* It may be waiting for the time that was set before. */
		if (vm->pools[nid]->promote_task)
			wake_up_process(vm->pools[nid]->promote_task);
	}
}

/**
 * vmlab_huge_set() - choose which mappings get huge pages
 * @vm: the instance
 * @setting: the choice; pages that are there already stay as they are
 */
void vmlab_huge_set(struct vmlab *vm, enum vmlab_huge_setting setting)
{
	WRITE_ONCE(vm->huge, setting);
	vmlab_huge_wake(vm);
}

/**
 * vmlab_huge_fits() - could 2 MiB of a mapping be mapped by one PMD?
 * @vma: the mapping
 * @addr: an address in the 2 MiB
 *
 * Context: mmap_lock or the lock of the VMA held.
 */
bool vmlab_huge_fits(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long start = addr & PMD_MASK;

	return start >= vma->vm_start && vma->vm_end - start >= PMD_SIZE &&
	       IS_ALIGNED(linear_page_index(vma, start), VMLAB_LEAF_SLOTS);
}

/* May a store to a hole have 2 MiB? */
static bool vmlab_huge_is_wanted(struct vmlab *vm, const struct vm_area_struct *vma)
{
	switch (READ_ONCE(vm->huge)) {
	case VMLAB_HUGE_ALWAYS:
		return !(vma->vm_flags & VM_NOHUGEPAGE);
	case VMLAB_HUGE_MADVISE:
		return vma->vm_flags & VM_HUGEPAGE;
	default:
		return false;
	}
}

static pmd_t vmlab_pmd(struct vm_area_struct *vma, unsigned long pfn, bool write)
{
	pmd_t pmd = vmlab_pmd_mkspecial(pmd_mkhuge(pfn_pmd(pfn, vma->vm_page_prot)));

	return write ? pmd_set_flags(pmd, _PAGE_RW | _PAGE_DIRTY | _PAGE_SOFT_DIRTY) :
		       pmd_mkclean(pmd_wrprotect(pmd));
}

/* leaf->lock held.  Whoever fills the place first has it; the access comes again. */
static void vmlab_pmd_set(struct vm_fault *vmf, unsigned long pfn, bool write)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	spinlock_t *ptl = pmd_lock(mm, vmf->pmd);

	/* A read-only one that a load has set just now becomes writable where it stands. */
	if (pmd_none(*vmf->pmd) ||
	    (write && vmlab_pmd_is_huge(*vmf->pmd) && pmd_pfn(*vmf->pmd) == pfn))
		set_pmd_at(mm, vmf->address & PMD_MASK, vmf->pmd,
			   vmlab_pmd(vmf->vma, pfn, write));
	spin_unlock(ptl);
}

/**
 * vmlab_leaf_all() - what is true of all pages of a huge leaf
 * @leaf: the leaf, whose frames are those of its chunk
 *
 * Context: leaf->lock held, as until the PMD is set.
 * Return: VMLAB_ALL_*.
 */
unsigned int vmlab_leaf_all(struct vmlab_leaf *leaf)
{
	struct vmlab_frame *frame = vmlab_word_frame(leaf->words[0]);
	struct vmlab_frame *end = frame + VMLAB_CHUNK_FRAMES;
	unsigned int refs = 0, all = 0;
	u8 flags = VMLAB_FRAME_DIRTY;

	for (; frame < end; frame++) {
		refs |= atomic_read(&frame->refs);
		flags &= READ_ONCE(frame->flags);
	}
	/* None has less than one. */
	if (leaf->owners == 1 && refs == 1)
		all |= VMLAB_ALL_ALONE;
	if (flags)
		all |= VMLAB_ALL_DIRTY;
	return all;
}

static void vmlab_leaf_dirty(struct vmlab_leaf *leaf)
{
	unsigned int i;

	for (i = 0; i < VMLAB_LEAF_SLOTS; i++)
		vmlab_frame_dirty(leaf->lineage->vm, vmlab_word_frame(leaf->words[i]));
}

/* leaf->lock held.  Maps a huge leaf, if what the fault wants can be had by that. */
static bool vmlab_huge_map_locked(struct vm_fault *vmf, struct vmlab_leaf *leaf, bool write)
{
	unsigned int all;

	if (!leaf->huge || leaf->nr_locked || leaf->frozen)
		return false;
	all = vmf->vma->vm_flags & VM_WRITE ? vmlab_leaf_all(leaf) : 0;
	/* A copy of one page, as 4 KiB. */
	if (write && !(all & VMLAB_ALL_ALONE))
		return false;
	if (write && !(all & VMLAB_ALL_DIRTY)) {
		vmlab_leaf_dirty(leaf);
		all |= VMLAB_ALL_DIRTY;
	}
	vmlab_pmd_set(vmf, vmlab_word_frame(leaf->words[0])->pfn,
		      all == (VMLAB_ALL_ALONE | VMLAB_ALL_DIRTY));
	leaf->events.faults++;
	return true;
}

enum vmlab_huge_look {
	VMLAB_HUGE_NO_LEAF,
	VMLAB_HUGE_SMALL,	/* pages of 4 KiB, or to be mapped as such */
	VMLAB_HUGE_MAPPED,
};

/* Maps the 2 MiB that a fault is about, if they are in a huge leaf. */
static enum vmlab_huge_look vmlab_huge_map(struct vm_fault *vmf, struct vmlab_object *obj,
					   bool write, int *node)
{
	enum vmlab_huge_look look = VMLAB_HUGE_NO_LEAF;
	struct vmlab_leaf *leaf;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, vmf->pgoff);
	if (leaf) {
		spin_lock(&leaf->lock);
		look = VMLAB_HUGE_SMALL;
		/* Exchanged just now: the fault finds the new one by 4 KiB. */
		if (!leaf->dead && vmlab_leaf_is_of(obj, leaf) &&
		    vmlab_huge_map_locked(vmf, leaf, write)) {
			*node = vmlab_frame_nid(vmlab_word_frame(leaf->words[0]));
			look = VMLAB_HUGE_MAPPED;
		}
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return look;
}

static void vmlab_chunk_retire(struct vmlab *vm, struct vmlab_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		vmlab_frame_dirty(vm, &chunk->frames[i]);
		vmlab_frame_retire(&chunk->frames[i]);
	}
}

/**
 * vmlab_chunk_drop() - all slots of a leaf become holes, and its chunk is free
 * @leaf: was a huge one, of one owner, its frames without other names; all slots are locked by
 *	the caller, and nothing is mapped.  Unlocked on return
 *
 * Context: process context; does not sleep.
 */
void vmlab_chunk_drop(struct vmlab_leaf *leaf)
{
	struct vmlab_chunk *chunk = vmlab_word_frame(leaf->words[0])->chunk;
	struct vmlab_lineage *lineage = leaf->lineage;

	vmlab_chunk_retire(lineage->vm, chunk);
	vmlab_chunk_put_whole(chunk, false);
	vmlab_lineage_uncharge(lineage, VMLAB_CHUNK_FRAMES);
	vmlab_leaf_clear(leaf);
}

/**
 * vmlab_chunk_zero() - zero all frames of a chunk
 * @chunk: all its frames INFLIGHT
 *
 * Context: may sleep.
 */
void vmlab_chunk_zero(struct vmlab_chunk *chunk)
{
	unsigned int i;

	for (i = 0; i < VMLAB_CHUNK_FRAMES; i++) {
		clear_page(vmlab_frame_addr(&chunk->frames[i]));
		if (!(i % 64))
			cond_resched();
	}
}

/* A whole chunk of a node's, all zero, out of plenty only: no huge page is worth an eviction. */
static struct vmlab_chunk *vmlab_huge_take_chunk(struct vmlab *vm, struct vmlab_place place)
{
	struct vmlab_pool *pool = vmlab_place_pool(vm, place);
	struct vmlab_chunk *chunk = NULL;
	bool zeroed;

	if (pool)
		chunk = vmlab_chunk_take_whole(pool, vmlab_high_watermark(pool), false, &zeroed);
	if (!chunk) {
		vmlab_count(vm, thp_fallback_chunk, 1);
		return NULL;
	}
	vmlab_numa_count_placed(pool, place, VMLAB_CHUNK_FRAMES);
	if (zeroed) {
		vmlab_count(vm, zero_hit, VMLAB_CHUNK_FRAMES);
		vmlab_zero_wake(pool);
	} else {
		vmlab_chunk_zero(chunk);
		vmlab_count(vm, zero_miss, VMLAB_CHUNK_FRAMES);
	}
	return chunk;
}

/* The leaf for a chunk, with a frame for its slots; an error is counted, by reason. */
static int vmlab_huge_alloc_leaf(struct vmlab_object *obj, u64 index, struct vmlab_place place,
				 struct vmlab_leaf **leaf)
{
	struct vmlab_frame *frame;

	if (!vmlab_lineage_charge(obj->lineage, 1)) {
		vmlab_count(obj->vm, thp_fallback_limit, 1);
		return -ENOMEM;
	}
	frame = vmlab_frame_alloc(obj->vm, place, 0);
	if (!frame) {
		vmlab_lineage_uncharge(obj->lineage, 1);
		vmlab_count(obj->vm, thp_fallback_chunk, 1);
		return -ENOSPC;
	}
	*leaf = vmlab_leaf_alloc(obj->lineage, index, frame);
	if (!*leaf) {
		vmlab_frame_unget(obj->lineage, frame);
		vmlab_count(obj->vm, thp_fallback_memory, 1);
		return -ENOMEM;
	}
	return 0;
}

static int vmlab_huge_publish(struct vmlab_object *obj, struct vmlab_leaf *leaf,
			      struct vmlab_chunk *chunk, struct user_struct *payer)
{
	struct vmlab_lineage *lineage = obj->lineage;
	int err;

	chunk->payer = payer;
	WRITE_ONCE(chunk->reserved, payer);
	vmlab_chunk_commit(chunk, lineage, leaf->index << VMLAB_LEAF_SHIFT, leaf->words);
	leaf->nr_present = VMLAB_LEAF_SLOTS;
	leaf->huge = true;
	leaf->seq_next = VMLAB_LEAF_SLOTS;
	down_read(&lineage->clone_sem);
	err = vmlab_leaf_publish(obj, leaf);
	up_read(&lineage->clone_sem);
	if (!err) {
		vmlab_count(obj->vm, leaf_alloc, 1);
		return 0;
	}
	vmlab_chunk_retire(obj->vm, chunk);
	WRITE_ONCE(chunk->reserved, false);
	chunk->payer = NULL;
	if (err == -EEXIST)
		vmlab_count(obj->vm, thp_fallback_used, 1);
	else
		vmlab_count(obj->vm, thp_fallback_memory, 1);
	return err;
}

/* Charged, and the chunk's frames are INFLIGHT and zero; both are the caller's if it fails. */
static int vmlab_huge_fill(struct vmlab_object *obj, u64 index, struct vmlab_place place,
			   struct vmlab_chunk *chunk, struct user_struct *payer)
{
	struct vmlab_leaf *leaf;
	int err = vmlab_huge_alloc_leaf(obj, index, place, &leaf);

	if (err)
		return err;
	err = vmlab_huge_publish(obj, leaf, chunk, payer);
	if (err)
		vmlab_leaf_free(leaf);
	return err;
}

/**
 * vmlab_huge_create() - give 2 MiB of holes a chunk
 * @obj: the object
 * @index: which 2 MiB; has no leaf
 * @place: where it should be
 * @payer: it is to stay, see reserve.c, and this reference is the chunk's then, if it works;
 *	or NULL
 *
 * Context: may sleep, not for frames; no slot locked; vm->activity held for read.
 * Return: 0; -EEXIST: there is a leaf by now, or a mark of the zero page; -ENOSPC: no chunk;
 * -ENOMEM: the limit, or the machine's memory.  All but 0 are counted, by reason.
 */
int vmlab_huge_create(struct vmlab_object *obj, u64 index, struct vmlab_place place,
		      struct user_struct *payer)
{
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_chunk *chunk;
	int err = -ENOSPC;

	if (!vmlab_lineage_charge(lineage, VMLAB_CHUNK_FRAMES)) {
		vmlab_count(obj->vm, thp_fallback_limit, 1);
		return -ENOMEM;
	}
	chunk = vmlab_huge_take_chunk(obj->vm, place);
	if (!chunk)
		goto uncharge;
	err = vmlab_huge_fill(obj, index, place, chunk, payer);
	if (!err)
		return 0;
	/* Nobody has stored to it. */
	vmlab_chunk_put_whole(chunk, true);
uncharge:
	vmlab_lineage_uncharge(lineage, VMLAB_CHUNK_FRAMES);
	return err;
}

/**
 * vmlab_huge_create_in() - give 2 MiB of holes a chunk of a gigantic page
 * @obj: the object
 * @index: which 2 MiB; has no leaf
 * @place: where its leaf should be
 * @chunk: whole, and claimed by the caller
 * @payer: as vmlab_huge_create()
 *
 * Context: as vmlab_huge_create().
 * Return: as vmlab_huge_create(), but -ENOSPC: no frame for the leaf.
 */
int vmlab_huge_create_in(struct vmlab_object *obj, u64 index, struct vmlab_place place,
			 struct vmlab_chunk *chunk, struct user_struct *payer)
{
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_pool *pool = chunk->pool;
	int err;

	if (!vmlab_lineage_charge(lineage, VMLAB_CHUNK_FRAMES)) {
		vmlab_count(obj->vm, thp_fallback_limit, 1);
		return -ENOMEM;
	}
	spin_lock(&pool->lock);
	vmlab_chunk_take_all(chunk);
	spin_unlock(&pool->lock);
	vmlab_chunk_zero(chunk);
	vmlab_count(obj->vm, zero_miss, VMLAB_CHUNK_FRAMES);
	err = vmlab_huge_fill(obj, index, place, chunk, payer);
	if (!err) {
		vmlab_numa_count_hit(pool, VMLAB_CHUNK_FRAMES);
		return 0;
	}
	vmlab_chunk_put_whole(chunk, false);
	vmlab_lineage_uncharge(lineage, VMLAB_CHUNK_FRAMES);
	return err;
}

/**
 * vmlab_huge_store() - answer a store to 2 MiB that are mapped read-only by one PMD
 * @vmf: the fault; the core has dropped that PMD, but loads may have set it again
 * @obj: the object
 * @node: out: where the page is
 *
 * Context: as vmlab_huge_fault().
 * Return: false: not all of it is the object's alone.
 */
bool vmlab_huge_store(struct vm_fault *vmf, struct vmlab_object *obj, int *node)
{
	return vmlab_huge_map(vmf, obj, true, node) == VMLAB_HUGE_MAPPED;
}

/*
 * A store to a huge page that others have too: a copy of all of it, where that is wanted.
 * The fork flag of @flags is vmlab_leaf_unshare()'s.
 */
static bool vmlab_huge_copy(struct vmlab_object *obj, u64 pgoff, unsigned int flags)
{
	const struct vmlab_collapse_rules rules = {
		.max_shared = VMLAB_LEAF_SLOTS, .nid = NUMA_NO_NODE, .copy = true,
	};

	if (!READ_ONCE(obj->vm->promote[VMLAB_PROMOTE_COW_HUGE]))
		return false;
	if (vmlab_leaf_unshare(obj, pgoff, VMLAB_ALLOC_NO_WAIT | flags) ||
	    vmlab_collapse(obj, pgoff >> VMLAB_LEAF_SHIFT, &rules))
		return false;
	vmlab_count(obj->vm, thp_cow_alloc, 1);
	return true;
}

/**
 * vmlab_huge_fault() - answer a fault by a PMD, if that can be
 * @vmf: the fault, of an empty PMD
 * @obj: the object
 * @write: a store
 * @flags: VMLAB_ALLOC_NO_FORK or 0, see vmlab_leaf_unshare()
 * @node: out: where the page is
 *
 * Loads from holes get no chunk: they cost no frame, so that a program may look at 1 TiB.
 *
 * Context: the fault's lock and vm->activity held for read; no slot locked; may sleep, not
 * for frames.
 * Return: VM_FAULT_NOPAGE, or VM_FAULT_FALLBACK: 4 KiB it must be.
 */
vm_fault_t vmlab_huge_fault(struct vm_fault *vmf, struct vmlab_object *obj, bool write,
			    unsigned int flags, int *node)
{
	u64 index = vmf->pgoff >> VMLAB_LEAF_SHIFT;
	bool wanted = write && vmlab_huge_is_wanted(obj->vm, vmf->vma);
	enum vmlab_huge_look look = VMLAB_HUGE_NO_LEAF;

	/* Secondary MMUs ask for pages of 4 KiB only, before 6.12 (KVM by follow_pte()). */
	if (vmlab_huge_fits(vmf->vma, vmf->address) && !mm_has_notifiers(vmf->vma->vm_mm)) {
		if (!(vmf->vma->vm_flags & VM_NOHUGEPAGE))
			look = vmlab_huge_map(vmf, obj, write, node);
		if (look == VMLAB_HUGE_SMALL && write && vmlab_huge_copy(obj, vmf->pgoff, flags))
			look = vmlab_huge_map(vmf, obj, write, node);
		if (look == VMLAB_HUGE_MAPPED)
			return VM_FAULT_NOPAGE;
		if (!wanted)
			return VM_FAULT_FALLBACK;
		if (look == VMLAB_HUGE_SMALL) {
			vmlab_count(obj->vm, thp_fallback_used, 1);
		} else if (!vmlab_mpol_is_one(obj, index, 1)) {
			vmlab_count(obj->vm, thp_fallback_policy, 1);
		} else if (!vmlab_huge_create(obj, index, vmlab_place_huge(obj, index), NULL)) {
			vmlab_count(obj->vm, thp_fault_alloc, 1);
			/* If a copy came in between, the fault finds that out by 4 KiB. */
			if (vmlab_huge_map(vmf, obj, write, node) == VMLAB_HUGE_MAPPED)
				return VM_FAULT_NOPAGE;
			return VM_FAULT_FALLBACK;
		}
	} else if (wanted) {
		vmlab_count(obj->vm, thp_fallback_place, 1);
	}
	if (wanted)
		vmlab_count(obj->vm, thp_fault_fallback, 1);
	return VM_FAULT_FALLBACK;
}
