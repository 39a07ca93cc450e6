// SPDX-License-Identifier: GPL-2.0
/*
 * The story of a page fault.
 *
 * Owns vm_operations and every PTE that vmlab sets: no other file makes a page
 * reachable, but huge.c by PMDs and pud.c by PUDs.  A PTE is set under the lock of its
 * slot, or, for neighbours that are resident already, under leaf->lock.  Rules that keep
 * memory whole:
 *
 *  - Writes come only through PTEs that are made writable here, after the page was
 *    marked dirty, and only where it is the object's alone: a leaf with one owner, a
 *    frame with one reference, looked at under leaf->lock.  Read-only PTEs are inserted
 *    clean: mprotect() makes a dirty one writable without asking
 *    (can_change_pte_writable() in mm/mprotect.c).
 *  - ->pfn_mkwrite never returns 0, which would let the core make the PTE writable
 *    by itself after our locks are gone.  Where it drops the fault's lock, to wait, it
 *    returns VM_FAULT_NOPAGE beside VM_FAULT_RETRY: wp_pfn_shared() in mm/memory.c
 *    then touches nothing any more, which it would after VM_FAULT_RETRY alone.
 *    Unmapping the page, so that ->fault comes and waits, is no way: a load that is
 *    quicker maps it again, read-only, and it need not be another thread's.  QEMU makes a
 *    load and a store of one instruction.
 *  - After the fault's lock was dropped neither vma nor vmf is touched.
 */
#include <linux/file.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <asm/pgalloc.h>

#include "fault_kind.h"
#include "trace.h"
#include "vmlab.h"

/* Resident neighbours mapped along with a load: an aligned window of pages. */
#define VMLAB_AROUND	16U
/* Holes filled ahead of sequential stores: at most so many, a quarter of the run. */
#define VMLAB_AHEAD_MAX	63U
#define VMLAB_RUN_MAX	1024U

/**
 * struct vmlab_fault - a fault on its way
 * @vmf: the core's description; invalid once @file is set
 * @obj: the object
 * @addr: page aligned address
 * @pgoff: the page
 * @write: a store
 * @mkwrite: comes through ->pfn_mkwrite
 * @slot: the page's slot, while locked
 * @spare: a charged, zeroed frame in hand, or NULL
 * @region: what the VMA has; with a reference once @file is set
 * @file: set once the fault's lock was dropped: keeps the object, or its file's
 * @ahead: pages behind this one that were copied along with it
 * @kind: what happened, for the trace
 * @node: on which node, or NUMA_NO_NODE
 */
struct vmlab_fault {
	struct vm_fault		*vmf;
	struct vmlab_region	*region;
	struct vmlab_object	*obj;
	unsigned long		addr;
	u64			pgoff;
	bool			write;
	bool			mkwrite;
	struct vmlab_slot	slot;
	struct vmlab_frame	*spare;
	struct file		*file;
	unsigned int		ahead;
	int			kind;
	int			node;
};

/* Not a vm_fault_t: look at the slot again. */
#define VMLAB_FAULT_AGAIN	((__force vm_fault_t)~0U)

static __always_inline pte_t vmlab_pte(struct vm_area_struct *vma, unsigned long pfn,
				       bool write)
{
	pte_t pte = pte_mkspecial(pfn_pte(pfn, vma->vm_page_prot));

	/* One step instead of two with all that shadow stacks ask for: it is no such page. */
	return write ? pte_set_flags(pte, _PAGE_RW | _PAGE_DIRTY | _PAGE_SOFT_DIRTY) :
		       pte_mkclean(pte_wrprotect(pte));
}

/* The same for the frames of a run: @base is the entry for page frame 0. */
static __always_inline pte_t vmlab_pte_at(pte_t base, unsigned long pfn)
{
	return __pte(pte_val(base) | PFN_PHYS(pfn));
}

/* Does the PMD point to a PTE table? */
static __always_inline bool vmlab_fault_has_table(struct vm_fault *vmf)
{
	return vmlab_pmd_is_table(READ_ONCE(*vmf->pmd));
}

/*
 * Makes sure that there is a PTE table, of the memory that the core has brought along where
 * there was none (__do_fault() in mm/memory.c).  VM_FAULT_NOPAGE: 2 MiB are mapped here by
 * now, or were a moment ago; the access comes again if it must.
 */
static vm_fault_t vmlab_fault_prepare_tables(struct vmlab_fault *f)
{
	struct vm_fault *vmf = f->vmf;
	spinlock_t *ptl;

	if (likely(vmlab_fault_has_table(vmf)))
		return 0;
	if (vmlab_should_fail(f->obj->vm, VMLAB_INJECT_table))
		return VM_FAULT_OOM;
	if (!vmf->prealloc_pte)
		return VM_FAULT_NOPAGE;
	/* As the core's pmd_install() (mm/memory.c), which is not exported. */
	ptl = pmd_lock(vmf->vma->vm_mm, vmf->pmd);
	if (pmd_none(*vmf->pmd)) {
		mm_inc_nr_ptes(vmf->vma->vm_mm);
		/* The table must be seen to be empty before it is seen. */
		smp_wmb();
		pmd_populate(vmf->vma->vm_mm, vmf->pmd, vmf->prealloc_pte);
		vmf->prealloc_pte = NULL;
	}
	spin_unlock(ptl);
	return vmlab_fault_has_table(vmf) ? 0 : VM_FAULT_NOPAGE;
}

static __always_inline spinlock_t *vmlab_fault_ptl(struct vm_fault *vmf)
{
	return pte_lockptr(vmf->vma->vm_mm, vmf->pmd);
}

static __always_inline pte_t *vmlab_fault_pte(struct vm_fault *vmf)
{
	return pte_offset_kernel(vmf->pmd, vmf->address);
}

/* May the fault's lock be dropped?  Once, so that the second try makes progress. */
static bool vmlab_fault_may_drop(struct vmlab_fault *f)
{
	return fault_flag_allow_retry_first(f->vmf->flags) &&
	       !(f->vmf->flags & FAULT_FLAG_RETRY_NOWAIT);
}

static void vmlab_fault_drop(struct vmlab_fault *f)
{
	f->file = get_file(f->vmf->vma->vm_file);
	kref_get(&f->region->ref);
	vmlab_release_fault_lock(f->vmf);
	f->vmf = NULL;
	f->kind = VMLAB_FAULT_RETRY;
}

static vm_fault_t vmlab_fault_error(struct vmlab_fault *f)
{
	f->kind = VMLAB_FAULT_SIGBUS;
	return VM_FAULT_SIGBUS;
}

/*
 * No leaf, no mark, no frame.  Where it is the machine's memory that is short, or that of a
 * memory cgroup, this says what Linux's own handlers do: the core looks for somebody to
 * kill, and the fault comes again (pagefault_out_of_memory() in mm/oom_kill.c).  SIGBUS is
 * for what is ours: the pool and the limit.
 */
static vm_fault_t vmlab_fault_lacks(struct vmlab_fault *f, int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : vmlab_fault_error(f);
}

/* The slot is busy (an eviction, a swap-in, another fault): wait, then look again. */
static vm_fault_t vmlab_fault_busy(struct vmlab_fault *f)
{
	if (f->vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if (vmlab_fault_may_drop(f)) {
		vmlab_fault_drop(f);
		vmlab_slot_wait(f->obj, f->pgoff, true);
		return VM_FAULT_RETRY;
	}
	if (vmlab_slot_wait(f->obj, f->pgoff, true))
		return vmlab_fault_error(f);
	return VMLAB_FAULT_AGAIN;
}

/* Where the page should be. */
static __always_inline struct vmlab_place vmlab_fault_place(struct vmlab_fault *f)
{
	return vmlab_place(f->obj, f->pgoff);
}

/* No frame could be had without waiting, and the slot is unlocked: wait for one. */
static vm_fault_t vmlab_fault_get_frame(struct vmlab_fault *f)
{
	/* Reclaim may write to swap: not with the fault's lock held, if it can be helped. */
	if (vmlab_fault_may_drop(f)) {
		vmlab_fault_drop(f);
		vmlab_frame_make_room(f->obj->lineage, vmlab_fault_place(f));
		return VM_FAULT_RETRY;
	}
	if (vmlab_frame_get(f->obj->lineage, vmlab_fault_place(f), VMLAB_ALLOC_ZERO, &f->spare))
		return vmlab_fault_error(f);
	return VMLAB_FAULT_AGAIN;
}

/* A sibling is about to read the page, for this slot too: wait, then look again. */
static vm_fault_t vmlab_fault_sibling(struct vmlab_fault *f)
{
	if (f->vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	if (vmlab_fault_may_drop(f)) {
		vmlab_fault_drop(f);
		vmlab_siblings_wait(f->obj, f->pgoff);
		return VM_FAULT_RETRY;
	}
	if (vmlab_siblings_wait(f->obj, f->pgoff))
		return vmlab_fault_error(f);
	return VMLAB_FAULT_AGAIN;
}

/* Not kept where vm->activity may be let go (vmlab_oom()): verify would miss it. */
static void vmlab_fault_put_spare(struct vmlab_fault *f)
{
	if (f->spare)
		vmlab_frame_unget(f->obj->lineage, f->spare);
	f->spare = NULL;
}

/* With mmap_lock held there is no fork of this address space at work. */
static unsigned int vmlab_fault_fork_flag(struct vmlab_fault *f)
{
	if (!vmlab_fault_has_mmap_lock(f->vmf))
		return VMLAB_ALLOC_NO_FORK;
	if (READ_ONCE(f->obj->forking))
		WRITE_ONCE(f->obj->forking, false);
	return 0;
}

/*
 * A store to a leaf that others own too; the slot is unlocked.  Where the fault has the
 * lock of its VMA alone, a fork may be at work that comes to this VMA only later: the
 * fault then comes back with mmap_lock, which the fork holds until all is flushed.
 */
static vm_fault_t vmlab_fault_unshare(struct vmlab_fault *f)
{
	int err = vmlab_leaf_unshare(f->obj, f->pgoff,
				     VMLAB_ALLOC_NO_WAIT | vmlab_fault_fork_flag(f));

	if (!err)
		return VMLAB_FAULT_AGAIN;
	if (err == -ENOMEM)
		return VM_FAULT_OOM;
	vmlab_fault_put_spare(f);
	if (vmlab_fault_may_drop(f)) {
		/* What fails for good fails again when the fault comes back. */
		vmlab_fault_drop(f);
		vmlab_leaf_unshare(f->obj, f->pgoff, VMLAB_ALLOC_NO_OOM | VMLAB_ALLOC_NO_FORK);
		return VM_FAULT_RETRY;
	}
	err = vmlab_leaf_unshare(f->obj, f->pgoff, 0);
	return err ? vmlab_fault_lacks(f, err) : VMLAB_FAULT_AGAIN;
}

static void vmlab_fault_unlock(struct vmlab_fault *f)
{
	f->slot.events |= VMLAB_EVENT_FAULT;
	vmlab_slot_unlock(&f->slot);
}

/*
 * A leaf that comes later finds this PTE when it fills the hole: it looks into this table
 * after the leaf is visible.  One that came before is visible now: the page table lock is a
 * full barrier on x86.
 */
static void vmlab_fault_map_nothing(pmd_t *pmd, void *arg)
{
	struct vmlab_fault *f = arg;
	struct vm_area_struct *vma = f->vmf->vma;
	pte_t *pte = pte_offset_kernel(pmd, f->addr);

	if (!vmlab_leaf_is_zero_marked(f->obj, f->pgoff))
		return;
	if (pte_none(*pte))
		set_pte_at(vma->vm_mm, f->addr, pte,
			   vmlab_pte(vma, my_zero_pfn(f->addr), false));
	f->kind = VMLAB_FAULT_HOLE;
}

/*
 * A store, and loads keep mapping the 2 MiB by a PMD that it cannot use: as it is going to
 * split them anyway, it does so now.
 */
static vm_fault_t vmlab_fault_store_huge(struct vmlab_fault *f)
{
	vm_fault_t ret;

	if (vmlab_huge_store(f->vmf, f->obj, &f->node)) {
		f->kind = VMLAB_FAULT_HUGE;
		return VM_FAULT_NOPAGE;
	}
	ret = vmlab_fault_unshare(f);
	if (ret != VMLAB_FAULT_AGAIN)
		return ret;
	if (vmlab_leaf_make_small(f->obj, f->pgoff >> VMLAB_LEAF_SHIFT, true))
		return vmlab_fault_error(f);
	return VMLAB_FAULT_AGAIN;
}

/* A load from a hole in 2 MiB that have no leaf yet: costs no memory of the pool. */
static vm_fault_t vmlab_fault_load_nothing(struct vmlab_fault *f)
{
	int marked = vmlab_leaf_mark_zero(f->obj, f->pgoff);

	if (marked < 0)
		return vmlab_fault_lacks(f, marked);
	/* No slot is locked that would keep the table. */
	if (!marked || !vmlab_with_table(f->vmf->vma->vm_mm, f->vmf->pmd,
					 vmlab_fault_map_nothing, f))
		return VMLAB_FAULT_AGAIN;
	if (f->kind != VMLAB_FAULT_HOLE)
		return VMLAB_FAULT_AGAIN;
	atomic64_inc(&f->obj->nr_faults);
	return VM_FAULT_NOPAGE;
}

/* Maps a page where nothing is mapped; the slot is locked, or leaf->lock held. */
static __always_inline void vmlab_fault_set_new(struct vm_fault *vmf, pte_t entry)
{
	spinlock_t *ptl = vmlab_fault_ptl(vmf);
	pte_t *pte = vmlab_fault_pte(vmf);

	spin_lock(ptl);
	if (pte_none(*pte))
		set_pte_at(vmf->vma->vm_mm, vmf->address & PAGE_MASK, pte, entry);
	spin_unlock(ptl);
}

/* A load from a hole: the zero page, and a note in the slot that it is mapped. */
static vm_fault_t vmlab_fault_load_hole(struct vmlab_fault *f)
{
	vmlab_fault_set_new(f->vmf, vmlab_pte(f->vmf->vma, my_zero_pfn(f->addr), false));
	f->slot.word |= VMLAB_SLOT_ZERO;
	f->kind = VMLAB_FAULT_HOLE;
	vmlab_fault_unlock(f);
	return VM_FAULT_NOPAGE;
}

/*
 * How many holes to fill ahead.  Stores that go on where the last ones ended make a
 * run; ahead of it go a quarter of its length, so that a program never holds much
 * more than it touched.
 */
static unsigned int vmlab_fault_ahead_window(struct vmlab_fault *f)
{
	struct vm_area_struct *vma = f->vmf->vma;
	struct vmlab_leaf *leaf = f->slot.leaf;
	unsigned int run, ahead;

	if (READ_ONCE(leaf->seq_next) != f->slot.index)
		return 0;
	run = READ_ONCE(leaf->seq_run);
	if (run < 4 || (vma->vm_flags & VM_RAND_READ))
		return 0;
	ahead = min(run / 4, VMLAB_AHEAD_MAX);
	ahead = min_t(unsigned long, ahead,
		      ((pmd_addr_end(f->addr, vma->vm_end) - f->addr) >> PAGE_SHIFT) - 1);
	return min(ahead, VMLAB_LEAF_SLOTS - 1 - f->slot.index);
}

static void vmlab_fault_note_run(struct vmlab_fault *f, unsigned int filled)
{
	struct vmlab_leaf *leaf = f->slot.leaf;
	unsigned int run = 0;

	if (READ_ONCE(leaf->seq_next) == f->slot.index)
		run = READ_ONCE(leaf->seq_run);
	WRITE_ONCE(leaf->seq_run, min(run + filled, VMLAB_RUN_MAX));
	WRITE_ONCE(leaf->seq_next, f->slot.index + filled);
}

/* No neighbour is worth an eviction. */
static bool vmlab_pool_has_plenty(struct vmlab_pool *pool, unsigned int nr)
{
	return vmlab_pool_free_frames(pool) >=
	       nr + vmlab_watermark(pool, READ_ONCE(pool->vm->watermark_high));
}

/* Frames for the pages after this one, where they should not all be together. */
static unsigned int vmlab_fault_place_ahead(struct vmlab_fault *f, struct vmlab_frame **frames,
					    unsigned int nr)
{
	struct vmlab_object *obj = f->obj;
	u64 pgoff = f->pgoff + 1;
	unsigned int got;

	for (got = 0; got < nr; got++, pgoff++) {
		frames[got] = vmlab_frame_alloc(obj->vm, vmlab_place(obj, pgoff),
						VMLAB_ALLOC_ZERO);
		if (!frames[got])
			break;
	}
	return got;
}

static unsigned int vmlab_fault_alloc_ahead(struct vmlab_fault *f, struct vmlab_pool *pool,
					    struct vmlab_frame **frames, unsigned int nr)
{
	struct vmlab_place place = vmlab_fault_place(f);
	unsigned int got;

	if (unlikely(place.spread || vmlab_mpol_any(f->obj)))
		return vmlab_fault_place_ahead(f, frames, nr);
	got = vmlab_frame_alloc_bulk(pool, VMLAB_ALLOC_ZERO, frames, nr);
	vmlab_numa_count(vmlab_place_pool(f->obj->vm, place), pool, got);
	return got;
}

/* Locks up to @nr holes after the page and finds frames for them, out of plenty only. */
static unsigned int vmlab_fault_take_ahead(struct vmlab_fault *f, struct vmlab_pool *pool,
					   struct vmlab_frame **frames, unsigned int nr)
{
	struct vmlab_lineage *lineage = f->obj->lineage;
	struct vmlab_leaf *leaf = f->slot.leaf;
	unsigned int locked, got;

	if (!vmlab_pool_has_plenty(pool, nr))
		return 0;
	locked = vmlab_slot_trylock_holes(leaf, f->slot.index + 1, nr);
	if (!locked)
		return 0;
	if (!vmlab_lineage_charge(lineage, locked)) {
		vmlab_slot_unlock_run(leaf, f->slot.index + 1, locked, NULL);
		return 0;
	}
	got = vmlab_fault_alloc_ahead(f, pool, frames, locked);
	if (got < locked) {
		vmlab_lineage_uncharge(lineage, locked - got);
		vmlab_slot_unlock_run(leaf, f->slot.index + 1 + got, locked - got, NULL);
	}
	return got;
}

/*
 * Sets PTEs of frames just committed, writable; all but the first not yet accessed.
 * leaf->lock held, by vmlab_slot_map_begin(), which said that the leaf has one owner.
 */
static void vmlab_fault_map_new(struct vmlab_fault *f, struct vmlab_frame **frames,
				unsigned int nr)
{
	struct vm_area_struct *vma = f->vmf->vma;
	pte_t base = vmlab_pte(vma, 0, vma->vm_flags & VM_WRITE);
	spinlock_t *ptl = vmlab_fault_ptl(f->vmf);
	pte_t *pte = vmlab_fault_pte(f->vmf);
	unsigned int i;

	spin_lock(ptl);
	for (i = 0; i < nr; i++, base = pte_mkold(base))
		if (pte_none(pte[i]))
			set_pte_at(vma->vm_mm, f->addr + i * PAGE_SIZE, pte + i,
				   vmlab_pte_at(base, frames[i]->pfn));
	spin_unlock(ptl);
}

static void vmlab_fault_stored(struct vmlab_fault *f, struct vmlab_frame *frame,
			       unsigned int nr)
{
	vmlab_fault_note_run(f, nr);
	f->kind = VMLAB_FAULT_ZERO;
	f->node = vmlab_frame_nid(frame);
	f->slot.word = vmlab_frame_word(frame);
	f->slot.events |= VMLAB_EVENT_FAULT;
}

static void vmlab_fault_commit_new(struct vmlab_object *obj, struct vmlab_frame *frame,
				   u64 pgoff)
{
	frame->flags = VMLAB_FRAME_DIRTY;
	vmlab_frame_commit(frame, obj->lineage, pgoff);
}

/*
 * A store that goes on with a run: frames for holes ahead too.  Apart from the store of
 * one page, because kernels that zero the stack would pay for these arrays each time.
 */
static noinline vm_fault_t vmlab_fault_store_run(struct vmlab_fault *f,
						 struct vmlab_frame *frame,
						 unsigned int ahead)
{
	struct vmlab_frame *frames[1 + VMLAB_AHEAD_MAX];
	unsigned long words[1 + VMLAB_AHEAD_MAX];
	struct vmlab_leaf *leaf = f->slot.leaf;
	unsigned int nr, i;
	bool own;

	frames[0] = frame;
	nr = 1 + vmlab_fault_take_ahead(f, vmlab_frame_pool(frame), frames + 1, ahead);
	for (i = 0; i < nr; i++) {
		vmlab_fault_commit_new(f->obj, frames[i], f->pgoff + i);
		words[i] = vmlab_frame_word(frames[i]);
	}
	vmlab_count(f->obj->vm, fault_ahead, nr - 1);
	vmlab_fault_stored(f, frame, nr);
	own = vmlab_slot_map_begin(&f->slot);
	if (own)
		vmlab_fault_map_new(f, frames, nr);
	vmlab_slot_map_cancel(&f->slot);
	/* The first slot keeps the leaf until the last of the run is unlocked. */
	vmlab_slot_unlock_run(leaf, f->slot.index + 1, nr - 1, words + 1);
	vmlab_slot_unlock(&f->slot);
	return own ? VM_FAULT_NOPAGE : VMLAB_FAULT_AGAIN;
}

/*
 * A store to a plain hole that continues no run: most of what a program that touches its
 * memory for the first time does.  All that such a page needs is done under leaf->lock,
 * so that its slot need not be locked and unlocked, and without a struct vmlab_fault, which
 * takes its time to fill.  The frame is taken, and zeroed, before.  What it could not do,
 * vmlab_fault_handle() does; then nothing was done.
 *
 * Return: the node of the page, or NUMA_NO_NODE.
 */
static __always_inline int vmlab_fault_store_plain(struct vm_fault *vmf,
						   struct vmlab_object *obj)
{
	unsigned int index = vmf->pgoff & (VMLAB_LEAF_SLOTS - 1);
	struct vm_area_struct *vma = vmf->vma;
	struct vmlab_frame *frame;
	int node = NUMA_NO_NODE;
	struct vmlab_leaf *leaf;
	unsigned long seq;

	rcu_read_lock();
	seq = vmlab_leaf_seq(obj);
	leaf = vmlab_hole_find(obj, vmf->pgoff);
	if (!leaf || READ_ONCE(leaf->seq_next) == index)
		goto out;
	frame = vmlab_frame_try(obj->lineage, vmlab_place(obj, vmf->pgoff), VMLAB_ALLOC_ZERO);
	if (!frame)
		goto out;
	/* The table can go only while the leaf is frozen. */
	if (unlikely(!vmlab_hole_lock(obj, leaf, index, seq) || !vmlab_fault_has_table(vmf))) {
		vmlab_hole_unlock(leaf);
		vmlab_frame_unget(obj->lineage, frame);
		goto out;
	}
	vmlab_fault_commit_new(obj, frame, vmf->pgoff);
	vmlab_fault_set_new(vmf, vmlab_pte(vma, frame->pfn, vma->vm_flags & VM_WRITE));
	WRITE_ONCE(leaf->seq_run, 1);
	WRITE_ONCE(leaf->seq_next, index + 1);
	node = vmlab_frame_nid(frame);
	vmlab_hole_fill(leaf, index, frame);
out:
	rcu_read_unlock();
	return node;
}

/* A store to a hole: a zeroed frame. */
static vm_fault_t vmlab_fault_store_hole(struct vmlab_fault *f)
{
	struct vmlab_frame *frame = f->spare;
	unsigned int ahead;
	bool own;

	if (READ_ONCE(f->slot.leaf->owners) > 1) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_unshare(f);
	}
	if (!frame)
		frame = vmlab_frame_try(f->obj->lineage, vmlab_fault_place(f), VMLAB_ALLOC_ZERO);
	if (!frame) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_get_frame(f);
	}
	f->spare = NULL;
	vmlab_slot_clear_zero(f->obj, &f->slot);
	ahead = vmlab_fault_ahead_window(f);
	if (ahead)
		return vmlab_fault_store_run(f, frame, ahead);
	vmlab_fault_commit_new(f->obj, frame, f->pgoff);
	vmlab_fault_stored(f, frame, 1);
	own = vmlab_slot_map_begin(&f->slot);
	if (own)
		vmlab_fault_map_new(f, &frame, 1);
	vmlab_slot_map_end(&f->slot);
	/* A copy that came meanwhile has the zeroed page too: look again. */
	return own ? VM_FAULT_NOPAGE : VMLAB_FAULT_AGAIN;
}

/*
 * Maps resident neighbours, read-only, clean and not yet accessed.  leaf->lock is held
 * from reading a word to setting the PTE: who wants to unmap the page sets its lock bit
 * under leaf->lock first, so it either is skipped here or sees the PTE.
 */
static unsigned int vmlab_map_neighbours(struct vm_fault *vmf, struct vmlab_leaf *leaf,
					 u64 first, u64 last, unsigned long young)
{
	struct vm_area_struct *vma = vmf->vma;
	spinlock_t *ptl = pte_lockptr(vma->vm_mm, vmf->pmd);
	unsigned int mapped = 0;
	u64 pgoff;

	spin_lock(ptl);
	for (pgoff = first; pgoff <= last; pgoff++) {
		unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
		unsigned long word = leaf->words[pgoff & (VMLAB_LEAF_SLOTS - 1)];
		pte_t *pte = pte_offset_kernel(vmf->pmd, addr);
		struct vmlab_frame *frame;
		pte_t entry;

		if ((word & VMLAB_SLOT_LOCKED) || !vmlab_word_is_frame(word) || !pte_none(*pte))
			continue;
		frame = vmlab_word_frame(word);
		/* Its first use must be seen: the next window's size depends on it. */
		if (READ_ONCE(frame->flags) & VMLAB_FRAME_READAHEAD)
			continue;
		entry = vmlab_pte(vma, frame->pfn, false);
		set_pte_at(vma->vm_mm, addr, pte, addr == young ? entry : pte_mkold(entry));
		mapped++;
	}
	spin_unlock(ptl);
	return mapped;
}

/* The aligned window round a page: within its leaf, its VMA and its PTE table. */
static void vmlab_around_window(struct vmlab_fault *f, u64 *first, u64 *last)
{
	struct vm_area_struct *vma = f->vmf->vma;
	unsigned long start = max(f->addr & PMD_MASK, vma->vm_start);
	unsigned long end = pmd_addr_end(f->addr, vma->vm_end);
	u64 low = f->pgoff - ((f->addr - start) >> PAGE_SHIFT);
	u64 high = f->pgoff + ((end - f->addr) >> PAGE_SHIFT) - 1;

	*first = max_t(u64, low, f->pgoff & ~(u64)(VMLAB_AROUND - 1));
	*last = min_t(u64, high, f->pgoff | (VMLAB_AROUND - 1));
}

/* leaf->lock held. */
static void vmlab_fault_around(struct vmlab_fault *f)
{
	u64 first, last;

	if (f->vmf->vma->vm_flags & VM_RAND_READ)
		return;
	vmlab_around_window(f, &first, &last);
	vmlab_count(f->obj->vm, fault_around,
		    vmlab_map_neighbours(f->vmf, f->slot.leaf, first, last, 0));
}

/*
 * Grants stores to neighbours for which a fault would find out nothing: dirty pages that
 * are the object's alone.  leaf->lock held, by vmlab_slot_map_begin(), which said that
 * the leaf has one owner.
 */
static void vmlab_fault_write_around(struct vmlab_fault *f, u64 first, u64 last)
{
	struct vm_area_struct *vma = f->vmf->vma;
	struct vmlab_leaf *leaf = f->slot.leaf;
	spinlock_t *ptl = vmlab_fault_ptl(f->vmf);
	unsigned int granted = 0;
	u64 pgoff;

	spin_lock(ptl);
	for (pgoff = first; pgoff <= last; pgoff++) {
		unsigned long addr = vma->vm_start + ((pgoff - vma->vm_pgoff) << PAGE_SHIFT);
		unsigned long word = leaf->words[pgoff & (VMLAB_LEAF_SLOTS - 1)];
		pte_t *pte = pte_offset_kernel(f->vmf->pmd, addr);
		struct vmlab_frame *frame;

		if ((word & VMLAB_SLOT_LOCKED) || !vmlab_word_is_frame(word))
			continue;
		frame = vmlab_word_frame(word);
		if ((READ_ONCE(frame->flags) & (VMLAB_FRAME_DIRTY | VMLAB_FRAME_READAHEAD)) !=
		    VMLAB_FRAME_DIRTY || atomic_read(&frame->refs) > 1)
			continue;
		if (pte_none(*pte)) {
			set_pte_at(vma->vm_mm, addr, pte,
				   pte_mkold(vmlab_pte(vma, frame->pfn, true)));
		} else if (pte_pfn(*pte) == frame->pfn && !pte_write(*pte)) {
			/* The hardware may set the accessed bit meanwhile. */
			set_bit(_PAGE_BIT_RW, (unsigned long *)&pte->pte);
		} else {
			continue;
		}
		granted++;
	}
	spin_unlock(ptl);
	vmlab_count(f->obj->vm, fault_around, granted);
}

/* Stores in sequence, or to what a copy that is gone by now had write-protected. */
static void vmlab_fault_around_store(struct vmlab_fault *f, bool reuse)
{
	u64 first, last;

	if (f->vmf->vma->vm_flags & VM_RAND_READ)
		return;
	if (f->ahead) {
		vmlab_fault_write_around(f, f->pgoff + 1, f->pgoff + f->ahead);
	} else if (reuse) {
		vmlab_around_window(f, &first, &last);
		vmlab_fault_write_around(f, first, last);
	}
}

static void vmlab_fault_found_present(struct vmlab_fault *f, bool reuse)
{
	if (f->kind != VMLAB_FAULT_NONE)
		return;
	if (!f->mkwrite)
		f->kind = VMLAB_FAULT_MINOR;
	else
		f->kind = reuse ? VMLAB_FAULT_REUSE : VMLAB_FAULT_MKWRITE;
}

/* leaf->lock held.  False: the PTE maps what this slot never named. */
static bool vmlab_fault_set_present(struct vmlab_fault *f, struct vmlab_frame *frame,
				    bool write)
{
	struct vm_area_struct *vma = f->vmf->vma;
	spinlock_t *ptl = vmlab_fault_ptl(f->vmf);
	pte_t *pte = vmlab_fault_pte(f->vmf);
	bool good;

	spin_lock(ptl);
	good = pte_none(*pte) || pte_pfn(*pte) == frame->pfn;
	if (good && (pte_none(*pte) || !pte_write(*pte)))
		set_pte_at(vma->vm_mm, f->addr, pte, vmlab_pte(vma, frame->pfn, write));
	spin_unlock(ptl);
	return good;
}

/*
 * Maps a page that is resident, and the object's alone if this is a store.  One that is
 * dirty already is mapped writable at once, where the VMA allows it: there is nothing
 * left to find out by a second fault.
 */
static vm_fault_t vmlab_fault_map(struct vmlab_fault *f, bool reuse)
{
	struct vmlab_frame *frame = vmlab_word_frame(f->slot.word);
	struct vm_area_struct *vma = f->vmf->vma;
	bool alone = vmlab_slot_map_begin(&f->slot) && !vmlab_slot_is_shared(&f->slot);
	bool write = alone && (vma->vm_flags & VM_WRITE) && (frame->flags & VMLAB_FRAME_DIRTY);

	/* A copy came in between. */
	if (f->write && !alone) {
		vmlab_slot_map_end(&f->slot);
		return VMLAB_FAULT_AGAIN;
	}
	if (WARN_ON_ONCE(!vmlab_fault_set_present(f, frame, write))) {
		/* A fault that left it would come for ever. */
		vmlab_slot_map_end(&f->slot);
		zap_vma_ptes(vma, f->addr, PAGE_SIZE);
		return VMLAB_FAULT_AGAIN;
	}
	if (!f->write)
		vmlab_fault_around(f);
	else if (write)
		vmlab_fault_around_store(f, reuse);
	vmlab_fault_found_present(f, reuse);
	f->node = vmlab_frame_nid(frame);
	f->slot.events |= VMLAB_EVENT_FAULT;
	vmlab_slot_map_end(&f->slot);
	return VM_FAULT_NOPAGE;
}

/* A store to a page that other leaves name too: a copy of it. */
static vm_fault_t vmlab_fault_copy(struct vmlab_fault *f)
{
	unsigned int ahead;

	if (vmlab_cow_copy(f->obj, &f->slot, &f->spare)) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_get_frame(f);
	}
	f->kind = VMLAB_FAULT_COW;
	ahead = vmlab_fault_ahead_window(f);
	if (ahead && vmlab_pool_has_plenty(vmlab_frame_pool(vmlab_word_frame(f->slot.word)), ahead))
		f->ahead = vmlab_cow_copy_ahead(f->obj, &f->slot, ahead);
	vmlab_fault_note_run(f, 1 + f->ahead);
	return vmlab_fault_map(f, false);
}

/* The page is resident. */
static vm_fault_t vmlab_fault_present(struct vmlab_fault *f)
{
	struct vmlab_frame *frame = vmlab_word_frame(f->slot.word);
	bool reuse;

	vmlab_swapin_touch(&f->slot);
	if (!f->write)
		return vmlab_fault_map(f, false);
	if (READ_ONCE(f->slot.leaf->owners) > 1) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_unshare(f);
	}
	if (vmlab_slot_is_shared(&f->slot))
		return vmlab_fault_copy(f);
	reuse = (frame->flags & VMLAB_FRAME_DIRTY) && READ_ONCE(f->obj->lineage->cloned);
	vmlab_slot_dirty(&f->slot);
	return vmlab_fault_map(f, reuse);
}

/* The page is on swap: read it, without the fault's lock where that may be dropped. */
static vm_fault_t vmlab_fault_swapped(struct vmlab_fault *f)
{
	struct vmlab_swapin *in;
	unsigned int window;
	int claimed;

	if (!f->spare)
		f->spare = vmlab_frame_try(f->obj->lineage, vmlab_fault_place(f), 0);
	if (!f->spare) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_get_frame(f);
	}
	claimed = vmlab_siblings_claim(&f->slot);
	/* Its contents are somebody's: not for a hole that the page may be next time. */
	if (claimed)
		vmlab_fault_put_spare(f);
	if (claimed > 0)
		return vmlab_fault_present(f);
	if (claimed < 0) {
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_sibling(f);
	}
	window = vmlab_swapin_window(f->obj, &f->slot, f->vmf->vma);
	in = vmlab_swapin_start(f->obj, &f->slot, &f->spare, window);
	f->kind = VMLAB_FAULT_SWAP;
	if (!vmlab_fault_may_drop(f)) {
		if (!vmlab_swapin_finish(f->obj, in, &f->slot))
			return vmlab_fault_present(f);
		vmlab_slot_unlock(&f->slot);
		return vmlab_fault_error(f);
	}
	vmlab_fault_drop(f);
	f->kind = VMLAB_FAULT_SWAP;
	vmlab_count(f->obj->vm, fault_retry, 1);
	/* An error shows itself again, and for good, when the fault comes back. */
	vmlab_swapin_finish(f->obj, in, &f->slot);
	vmlab_fault_unlock(f);
	return VM_FAULT_RETRY;
}

/* One look at the page: find the leaf, lock the slot, act by its state. */
static vm_fault_t vmlab_fault_once(struct vmlab_fault *f)
{
	int err;

	err = vmlab_slot_trylock(f->obj, f->pgoff, &f->slot);
	if (err == -EAGAIN)
		return vmlab_fault_busy(f);
	if (err == -ENOENT && !f->write)
		return vmlab_fault_load_nothing(f);
	if (err == -ENOENT) {
		vmlab_fault_put_spare(f);
		err = vmlab_leaf_create(f->obj, f->pgoff, 0);
		return err ? vmlab_fault_lacks(f, err) : VMLAB_FAULT_AGAIN;
	}
	vmlab_slot_track(&f->slot);
	/* From here on it stays: it goes only while the leaf is frozen. */
	if (unlikely(!vmlab_fault_has_table(f->vmf))) {
		vmlab_slot_unlock(&f->slot);
		return VMLAB_FAULT_AGAIN;
	}
	if (vmlab_word_is_frame(f->slot.word))
		return vmlab_fault_present(f);
	if (vmlab_word_is_swap(f->slot.word))
		return vmlab_fault_swapped(f);
	return f->write ? vmlab_fault_store_hole(f) : vmlab_fault_load_hole(f);
}

/* Once for each fault, by what it was in the end: as fault_exit tells it. */
static void vmlab_fault_count(struct vmlab *vm, int kind, int node)
{
	static const u8 stats[] = {
		[VMLAB_FAULT_ZERO]	= VMLAB_fault_zero,
		[VMLAB_FAULT_HOLE]	= VMLAB_fault_hole,
		[VMLAB_FAULT_MINOR]	= VMLAB_fault_minor,
		[VMLAB_FAULT_MKWRITE]	= VMLAB_fault_mkwrite,
		[VMLAB_FAULT_COW]	= VMLAB_fault_cow_copy,
		[VMLAB_FAULT_REUSE]	= VMLAB_fault_cow_reuse,
		[VMLAB_FAULT_SWAP]	= VMLAB_fault_swap,
		[VMLAB_FAULT_RETRY]	= VMLAB_fault_retry,
		[VMLAB_FAULT_SIGBUS]	= VMLAB_fault_sigbus,
		[VMLAB_FAULT_HUGE]	= VMLAB_fault_huge,
		[VMLAB_FAULT_GIGANTIC]	= VMLAB_fault_gigantic,
	};

	BUILD_BUG_ON(VMLAB_NR_STATS > U8_MAX);
	if (kind != VMLAB_FAULT_NONE)
		this_cpu_inc(vm->stats->count[stats[kind]]);
	if (node != NUMA_NO_NODE)
		vmlab_numa_count_fault(vm->pools[node]);
}

/* A fork had no memory for this mapping: see region.c. */
static noinline vm_fault_t vmlab_fault_broken(struct vm_fault *vmf)
{
	struct vmlab_object *file_obj = vmf->vma->vm_file->private_data;
	unsigned long addr = vmf->address & PAGE_MASK;

	trace_fault_enter(0, addr, vmf->pgoff, vmf->flags & FAULT_FLAG_WRITE);
	vmlab_fault_count(file_obj->vm, VMLAB_FAULT_SIGBUS, NUMA_NO_NODE);
	trace_fault_exit(0, addr, vmf->pgoff, VMLAB_FAULT_SIGBUS, NUMA_NO_NODE,
			 (__force unsigned int)VM_FAULT_SIGBUS);
	return VM_FAULT_SIGBUS;
}

/* True: 2 MiB are mapped at once. */
static bool vmlab_fault_huge(struct vmlab_fault *f)
{
	if (!pmd_none(READ_ONCE(*f->vmf->pmd)) ||
	    vmlab_huge_fault(f->vmf, f->obj, f->write, vmlab_fault_fork_flag(f), &f->node) !=
	    VM_FAULT_NOPAGE)
		return false;
	f->kind = VMLAB_FAULT_HUGE;
	return true;
}

/* What every fault begins with: vm->activity is held from here on. */
static __always_inline void vmlab_fault_begin(struct vm_fault *vmf, struct vmlab_object *obj,
					      bool write)
{
	trace_fault_enter(obj->id, vmf->address & PAGE_MASK, vmf->pgoff, write);
	/* Not percpu_down_read() at once: it looks for something better to do first. */
	if (unlikely(!percpu_down_read_trylock(&obj->vm->activity)))
		percpu_down_read(&obj->vm->activity);
}

/* And what it ends with; nothing of @vmf is looked at, which may be gone. */
static __always_inline void vmlab_fault_end(struct vmlab_object *obj, unsigned long addr,
					    u64 pgoff, int kind, int node, vm_fault_t ret)
{
	percpu_up_read(&obj->vm->activity);
	vmlab_fault_count(obj->vm, kind, node);
	trace_fault_exit(obj->id, addr, pgoff, kind, node, (__force unsigned int)ret);
}

/* Until the page is there, or can be waited for without the fault's lock, or must fail. */
static vm_fault_t vmlab_fault_try(struct vmlab_fault *f)
{
	vm_fault_t ret;

	do {
		if (unlikely(f->write && vmlab_pmd_is_huge(READ_ONCE(*f->vmf->pmd))))
			ret = vmlab_fault_store_huge(f);
		else
			ret = vmlab_fault_prepare_tables(f);
		if (!ret)
			ret = vmlab_fault_once(f);
		if (ret != VMLAB_FAULT_AGAIN)
			return ret;
		cond_resched();
	} while (!fatal_signal_pending(current));
	return vmlab_fault_error(f);
}

/* All that vmlab_fault_store_plain() is not for. */
static noinline vm_fault_t vmlab_fault_handle(struct vm_fault *vmf, struct vmlab_region *region,
					      bool mkwrite)
{
	struct vmlab_fault f = {
		.vmf	 = vmf,
		.region	 = region,
		.obj	 = region->object,
		.addr	 = vmf->address & PAGE_MASK,
		.pgoff	 = vmf->pgoff,
		.write	 = mkwrite || (vmf->flags & FAULT_FLAG_WRITE),
		.mkwrite = mkwrite,
		.kind	 = VMLAB_FAULT_NONE,
		.node	 = NUMA_NO_NODE,
	};
	vm_fault_t ret = VM_FAULT_NOPAGE;

	if (likely(vmlab_fault_has_table(vmf)) || !vmlab_fault_huge(&f)) {
		ret = vmlab_fault_try(&f);
		vmlab_fault_put_spare(&f);
	}
	if (f.vmf && !mkwrite)
		vmlab_retired_give(f.vmf);
	vmlab_fault_end(f.obj, f.addr, f.pgoff, f.kind, f.node, ret);
	if (f.file) {
		vmlab_region_put(f.region);
		fput(f.file);
	}
	return ret;
}

static vm_fault_t vmlab_vm_fault(struct vm_fault *vmf)
{
	struct vmlab_region *region = vmf->vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	int node = NUMA_NO_NODE;

	if (unlikely(!obj))
		return vmlab_fault_broken(vmf);
	vmlab_fault_begin(vmf, obj, write);
	if (write && likely(vmlab_fault_has_table(vmf)))
		node = vmlab_fault_store_plain(vmf, obj);
	if (node == NUMA_NO_NODE)
		return vmlab_fault_handle(vmf, region, false);
	vmlab_retired_give(vmf);
	vmlab_fault_end(obj, vmf->address & PAGE_MASK, vmf->pgoff, VMLAB_FAULT_ZERO, node,
			VM_FAULT_NOPAGE);
	return VM_FAULT_NOPAGE;
}

static vm_fault_t vmlab_vm_pfn_mkwrite(struct vm_fault *vmf)
{
	struct vmlab_region *region = vmf->vma->vm_private_data;
	vm_fault_t ret;

	if (unlikely(!region->object))
		return vmlab_fault_broken(vmf);
	vmlab_fault_begin(vmf, region->object, true);
	ret = vmlab_fault_handle(vmf, region, true);
	return ret & VM_FAULT_RETRY ? ret | VM_FAULT_NOPAGE : ret;
}

/*
 * Runs under RCU and must not sleep.  The core asks it before ->fault for loads, and
 * that it is here at all lets 6.12 call ->fault under the lock of the VMA alone.
 */
static vm_fault_t vmlab_vm_map_pages(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	struct vmlab_region *region = vmf->vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	unsigned long addr = vmf->address & PAGE_MASK;
	vm_fault_t ret = 0;
	struct vmlab_leaf *leaf;
	int node = NUMA_NO_NODE;
	unsigned int mapped;
	unsigned long word;
	pte_t *pte;
	bool found;

	if (!obj)
		return 0;
	if (!vmlab_fault_has_table(vmf) || (vmf->vma->vm_flags & VM_RAND_READ))
		return 0;
	if (!percpu_down_read_trylock(&obj->vm->activity))
		return 0;
	rcu_read_lock();	/* 6.1 leaves that to the callee */
	leaf = vmlab_leaf_lookup(obj, vmf->pgoff);
	if (!leaf)
		goto out;
	/* The core's window is within one PTE table, but not always within one leaf. */
	first = max_t(pgoff_t, first, leaf->index << VMLAB_LEAF_SHIFT);
	last = min_t(pgoff_t, last, (leaf->index << VMLAB_LEAF_SHIFT) + VMLAB_LEAF_SLOTS - 1);
	spin_lock(&leaf->lock);
	if (leaf->dead || leaf->frozen || !vmlab_leaf_is_of(obj, leaf) ||
	    !vmlab_fault_has_table(vmf)) {
		spin_unlock(&leaf->lock);
		goto out;
	}
	mapped = vmlab_map_neighbours(vmf, leaf, first, last, addr);
	pte = pte_offset_kernel(vmf->pmd, addr);
	found = mapped && !pte_none(READ_ONCE(*pte));
	word = leaf->words[vmf->pgoff & (VMLAB_LEAF_SLOTS - 1)];
	if (found && vmlab_word_is_frame(word))
		node = vmlab_frame_nid(vmlab_word_frame(word));
	spin_unlock(&leaf->lock);
	if (found) {
		/* A whole fault, as far as anyone who watches can tell. */
		trace_fault_enter(obj->id, addr, vmf->pgoff, false);
		vmlab_fault_count(obj->vm, VMLAB_FAULT_MINOR, node);
		mapped--;
		ret = VM_FAULT_NOPAGE;
		trace_fault_exit(obj->id, addr, vmf->pgoff, VMLAB_FAULT_MINOR, node,
				 (__force unsigned int)ret);
	}
	vmlab_count(obj->vm, fault_around, mapped);
out:
	rcu_read_unlock();
	percpu_up_read(&obj->vm->activity);
	return ret;
}

#if VMLAB_HAVE_GIGANTIC
/*
 * The core asks this before there is a table where a larger page could be mapped.  For 2 MiB that
 * is left to ->fault, which 6.1 asks as well.
 */
static vm_fault_t vmlab_vm_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	struct vmlab_region *region = vmf->vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	unsigned long addr = vmf->address & PAGE_MASK;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	int node;

	if (order != PUD_SHIFT - PAGE_SHIFT || !obj || !vmlab_pud_may_map(vmf->vma, obj, addr))
		return VM_FAULT_FALLBACK;
	if (!vmlab_fault_has_mmap_lock(vmf)) {
		vmlab_release_fault_lock(vmf);
		return VM_FAULT_RETRY;
	}
	percpu_down_read(&obj->vm->activity);
	if (!vmlab_pud_map(vmf, obj, write, &node)) {
		percpu_up_read(&obj->vm->activity);
		return VM_FAULT_FALLBACK;
	}
	atomic64_inc(&obj->nr_faults);
	/* Told only now: what it does not map is a fault of 2 MiB or 4 KiB. */
	trace_fault_enter(obj->id, addr, vmf->pgoff, write);
	vmlab_fault_end(obj, addr, vmf->pgoff, VMLAB_FAULT_GIGANTIC, node, VM_FAULT_NOPAGE);
	return VM_FAULT_NOPAGE;
}
#endif

const struct vm_operations_struct vmlab_vm_ops = {
	.open		= vmlab_region_open,
	.close		= vmlab_region_close,
	.fault		= vmlab_vm_fault,
	.map_pages	= vmlab_vm_map_pages,
#if VMLAB_HAVE_GIGANTIC
	.huge_fault	= vmlab_vm_huge_fault,
	.mprotect	= vmlab_region_mprotect,
#endif
	.pfn_mkwrite	= vmlab_vm_pfn_mkwrite,
	.access		= vmlab_vma_access,
#ifdef CONFIG_NUMA
	.set_policy	= vmlab_vma_set_policy,
#endif
};
