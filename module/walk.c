// SPDX-License-Identifier: GPL-2.0
/*
 * One address, all the way down: what the hardware's page table says, and beside it
 * what our own does.
 *
 * Owns what WALK and debugfs `walk` tell.  It must never change anything: no page is
 * faulted in, no bit of an entry is touched, no slot is locked.
 *
 *    an address, with four levels of tables; with five the PGD has bits 56..48
 *
 *     47     39 38     30 29     21 20     12 11           0
 *    +---------+---------+---------+---------+--------------+
 *    |   PGD   |   PUD   |   PMD   |   PTE   | within a page|
 *    +---------+---------+---------+---------+--------------+
 *        \         \         \         \
 *         index of the entry in its table of 512
 *
 * How the tables stay while they are read: mmap_lock is held for read, which keeps the
 * VMA, but not everything below it: a table goes when khugepaged or a huge mapping
 * takes its place, and where nothing is mapped, munmap() frees it with mmap_lock held
 * for read only.  So entries are read as gup_fast does (mm/gup.c): each once, with
 * interrupts off.  Who frees a table first waits for all CPUs to answer an interrupt, or
 * for a grace period of RCU (mm/mmu_gather.c).
 *
 * How both sides are of one moment: our slot and the PTE are read in one section of
 * leaf->lock, and the object has the leaf still afterwards.  Whoever makes a PTE of ours
 * name something else holds that lock or has locked the slot, which the answer says.
 */
#include <linux/blk_types.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>

#include "vmlab.h"

/* Entries as they were read, from the top; @nr of them. */
struct vmlab_walk_raw {
	unsigned int	nr;
	u64		entry[VMLAB_WALK_LEVELS];
};

static const u8 vmlab_walk_shifts[VMLAB_WALK_LEVELS] = {
	[VMLAB_WALK_P4D]	= P4D_SHIFT,
	[VMLAB_WALK_PUD]	= PUD_SHIFT,
	[VMLAB_WALK_PMD]	= PMD_SHIFT,
	[VMLAB_WALK_PTE]	= PAGE_SHIFT,
};

static unsigned int vmlab_walk_shift(unsigned int level)
{
	/* Where the PGD begins is known only at run time. */
	return level == VMLAB_WALK_PGD ? PGDIR_SHIFT : vmlab_walk_shifts[level];
}

/* The names of levels are fixed, their number is not: with four the P4D is folded. */
static bool vmlab_walk_is_folded(unsigned int level)
{
	return level == VMLAB_WALK_P4D && !pgtable_l5_enabled();
}

/* Upper levels only: does the processor find another table there? */
static bool vmlab_walk_is_table(u64 entry)
{
	return (entry & (_PAGE_PRESENT | _PAGE_PSE)) == _PAGE_PRESENT;
}

/* Interrupts are off.  Each entry is read once: what it names may be gone the next time. */
static void vmlab_walk_tables(struct mm_struct *mm, unsigned long addr,
			      struct vmlab_walk_raw *raw)
{
	pgd_t *pgdp = pgd_offset(mm, addr);
	pgd_t pgd = READ_ONCE(*pgdp);
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;

	raw->entry[VMLAB_WALK_PGD] = pgd_val(pgd);
	raw->nr = 1;
	if (!vmlab_walk_is_table(raw->entry[VMLAB_WALK_PGD]))
		return;
	p4dp = p4d_offset_lockless(pgdp, pgd, addr);
	p4d = READ_ONCE(*p4dp);
	raw->entry[VMLAB_WALK_P4D] = p4d_val(p4d);
	raw->nr++;
	if (!vmlab_walk_is_table(raw->entry[VMLAB_WALK_P4D]))
		return;
	pudp = pud_offset_lockless(p4dp, p4d, addr);
	pud = READ_ONCE(*pudp);
	raw->entry[VMLAB_WALK_PUD] = pud_val(pud);
	raw->nr++;
	if (!vmlab_walk_is_table(raw->entry[VMLAB_WALK_PUD]))
		return;
	pmdp = pmd_offset_lockless(pudp, pud, addr);
	pmd = READ_ONCE(*pmdp);
	raw->entry[VMLAB_WALK_PMD] = pmd_val(pmd);
	raw->nr++;
	if (!vmlab_walk_is_table(raw->entry[VMLAB_WALK_PMD]))
		return;
	raw->entry[VMLAB_WALK_PTE] = pte_val(READ_ONCE(*pte_offset_kernel(&pmd, addr)));
	raw->nr++;
}

static void vmlab_walk_read(struct mm_struct *mm, unsigned long addr,
			    struct vmlab_walk_raw *raw)
{
	unsigned long flags;

	local_irq_save(flags);
	vmlab_walk_tables(mm, addr, raw);
	local_irq_restore(flags);
}

/* --- what an entry says -------------------------------------------------- */

struct vmlab_walk_bit {
	u64	entry;
	u32	flag;
};

/* Bits that mean the same at every level. */
static const struct vmlab_walk_bit vmlab_walk_bits[] = {
	{ _PAGE_RW,		VMLAB_WALK_WRITE },
	{ _PAGE_USER,		VMLAB_WALK_USER },
	{ _PAGE_NX,		VMLAB_WALK_NOEXEC },
	{ _PAGE_ACCESSED,	VMLAB_WALK_ACCESSED },
};

/* Bits that in the entry of a table are ignored, or mean something else. */
static const struct vmlab_walk_bit vmlab_walk_memory_bits[] = {
	{ _PAGE_DIRTY,		VMLAB_WALK_DIRTY },
	{ _PAGE_SPECIAL,	VMLAB_WALK_SPECIAL },
	{ _PAGE_SOFT_DIRTY,	VMLAB_WALK_SOFT_DIRTY },
	{ _PAGE_UFFD_WP,	VMLAB_WALK_UFFD_WP },
};

static u32 vmlab_walk_translate(const struct vmlab_walk_bit *bits, unsigned int nr, u64 entry)
{
	u32 flags = 0;
	unsigned int i;

	/* A bit that this kernel does not use is 0. */
	for (i = 0; i < nr; i++)
		if (entry & bits[i].entry)
			flags |= bits[i].flag;
	return flags;
}

static u32 vmlab_walk_flags(unsigned int level, u64 entry)
{
	u32 flags;

	if (!entry)
		return VMLAB_WALK_NONE;
	/* Not present, and yet the bit that only means anything if it is: PROT_NONE. */
	if (entry & _PAGE_PRESENT)
		flags = VMLAB_WALK_PRESENT;
	else if (entry & _PAGE_PROTNONE)
		flags = VMLAB_WALK_PROTNONE;
	else
		return VMLAB_WALK_OTHER;
	flags |= vmlab_walk_translate(vmlab_walk_bits, ARRAY_SIZE(vmlab_walk_bits), entry);
	if (level != VMLAB_WALK_PTE && vmlab_walk_is_table(entry))
		return flags | VMLAB_WALK_TABLE;
	if (level != VMLAB_WALK_PTE)
		flags |= VMLAB_WALK_HUGE;
	if (level == VMLAB_WALK_PMD && (entry & VMLAB_PMD_SPECIAL))
		flags |= VMLAB_WALK_SPECIAL;
	if (level == VMLAB_WALK_PUD && vmlab_pud_special(__pud(entry)))
		flags |= VMLAB_WALK_SPECIAL;
	return flags | vmlab_walk_translate(vmlab_walk_memory_bits,
					    ARRAY_SIZE(vmlab_walk_memory_bits), entry);
}

/* The frame behind the last entry read, if that names memory. */
static unsigned long vmlab_walk_pfn(unsigned int level, u64 entry, unsigned long addr)
{
	switch (level) {
	case VMLAB_WALK_PTE:
		return pte_pfn(__pte(entry));
	case VMLAB_WALK_PMD:
		return pmd_pfn(__pmd(entry)) + ((addr & ~PMD_MASK) >> PAGE_SHIFT);
	default:
		return pud_pfn(__pud(entry)) + ((addr & ~PUD_MASK) >> PAGE_SHIFT);
	}
}

static u64 vmlab_walk_hide(u64 entry, u32 flags)
{
	return flags & VMLAB_WALK_OTHER ? 0 : entry & ~PTE_PFN_MASK;
}

static void vmlab_walk_levels(struct vmlab_ioc_walk *walk, const struct vmlab_walk_raw *raw)
{
	unsigned int level, last = raw->nr - 1;
	bool frames = walk->status & VMLAB_WALK_FRAMES;
	unsigned long pfn;

	for (level = 0; level <= last; level++) {
		struct vmlab_walk_level *l = &walk->levels[level];
		u64 entry = raw->entry[level];

		if (vmlab_walk_is_folded(level)) {
			l->flags = VMLAB_WALK_FOLDED;
			continue;
		}
		l->flags = vmlab_walk_flags(level, entry);
		l->entry = frames ? entry : vmlab_walk_hide(entry, l->flags);
		l->shift = vmlab_walk_shift(level);
		l->index = (walk->address >> l->shift) & (PTRS_PER_PTE - 1);
	}
	walk->nr_levels = raw->nr;

	/* A table in the last place was read before the level below was: not here. */
	if (!(walk->levels[last].flags & (VMLAB_WALK_PRESENT | VMLAB_WALK_PROTNONE)))
		return;
	pfn = vmlab_walk_pfn(last, raw->entry[last], walk->address);
	if (last == VMLAB_WALK_PTE && is_zero_pfn(pfn))
		walk->levels[last].flags |= VMLAB_WALK_ZERO_PAGE;
	if (frames)
		walk->pfn = pfn;
}

/* --- our side ------------------------------------------------------------ */

/* rcu_read_lock() held: a device that is off is freed after a grace period. */
static void vmlab_walk_entry(struct vmlab *vm, struct vmlab_ioc_walk *walk, u64 entry)
{
	struct vmlab_swap_dev *dev =
		rcu_dereference(vm->swap_devs[vmlab_swap_entry_dev(entry)]);

	if (dev)
		walk->swap_dev = new_encode_dev(dev->bdev->bd_dev);
	if (walk->status & VMLAB_WALK_FRAMES)
		walk->swap_offset = vmlab_swap_entry_offset(entry);
}

/* leaf->lock held; vm->activity too, so that the frame is the slot's. */
static void vmlab_walk_frame(struct vmlab *vm, struct vmlab_ioc_walk *walk,
			     struct vmlab_frame *frame)
{
	/* Not the slot's lock, which whoever changes them has: what is told was so a moment ago. */
	u8 flags = data_race(READ_ONCE(frame->flags));
	/* So was this. */
	u64 copy = data_race(READ_ONCE(frame->swap));

	walk->slot |= VMLAB_WALK_SLOT_FRAME;
	walk->refs = atomic_read(&frame->refs);
	walk->node = vmlab_frame_nid(frame);
	if (walk->status & VMLAB_WALK_FRAMES)
		walk->frame = frame->pfn;
	if (READ_ONCE(frame->accessed))
		walk->slot |= VMLAB_WALK_SLOT_ACCESSED;
	if (flags & VMLAB_FRAME_READAHEAD)
		walk->slot |= VMLAB_WALK_SLOT_AHEAD;
	if (flags & VMLAB_FRAME_DIRTY) {
		walk->slot |= VMLAB_WALK_SLOT_DIRTY;
	} else if (copy) {
		walk->slot |= VMLAB_WALK_SLOT_COPY;
		vmlab_walk_entry(vm, walk, copy);
	}
}

/* leaf->lock held. */
static void vmlab_walk_word(struct vmlab *vm, struct vmlab_ioc_walk *walk, unsigned long word)
{
	if (vmlab_word_is_swap(word)) {
		walk->slot |= VMLAB_WALK_SLOT_SWAP;
		vmlab_walk_entry(vm, walk, vmlab_word_entry(word));
	} else if (vmlab_word_is_frame(word)) {
		vmlab_walk_frame(vm, walk, vmlab_word_frame(word));
	} else {
		walk->slot |= word & VMLAB_SLOT_ZERO ? VMLAB_WALK_SLOT_ZERO :
						       VMLAB_WALK_SLOT_HOLE;
	}
	if (word & VMLAB_SLOT_LOCKED)
		walk->slot |= VMLAB_WALK_SLOT_LOCKED;
	if (word & VMLAB_SLOT_PINNED)
		walk->slot |= VMLAB_WALK_SLOT_PINNED;
}

/*
 * Reads both sides.  False when the object got, lost or exchanged its leaf meanwhile:
 * then they need not be of one moment.
 */
static bool vmlab_walk_both(struct vmlab_object *obj, struct mm_struct *mm,
			    struct vmlab_ioc_walk *walk, struct vmlab_walk_raw *raw)
{
	bool stable = true, zero = false;
	struct vmlab_leaf *leaf;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, walk->page);
	if (leaf) {
		spin_lock(&leaf->lock);
		stable = !leaf->dead;
		if (stable) {
			vmlab_walk_read(mm, walk->address, raw);
			vmlab_walk_word(obj->vm, walk,
					leaf->words[walk->page & (VMLAB_LEAF_SLOTS - 1)]);
			walk->owners = leaf->owners;
			if (leaf->huge)
				walk->slot |= VMLAB_WALK_SLOT_HUGE;
		}
		spin_unlock(&leaf->lock);
	} else {
		zero = vmlab_leaf_is_zero_marked(obj, walk->page);
		walk->slot = zero ? VMLAB_WALK_SLOT_ZERO : VMLAB_WALK_SLOT_HOLE;
		vmlab_walk_read(mm, walk->address, raw);
	}
	stable = stable && vmlab_leaf_lookup(obj, walk->page) == leaf &&
		 (leaf || vmlab_leaf_is_zero_marked(obj, walk->page) == zero);
	rcu_read_unlock();
	return stable;
}

static const u32 vmlab_walk_kinds[] = {
	[VMLAB_OBJECT_FILE]	= VMLAB_KIND_OPEN,
	[VMLAB_OBJECT_SNAPSHOT]	= VMLAB_KIND_SNAPSHOT,
	[VMLAB_OBJECT_PRIVATE]	= VMLAB_KIND_PRIVATE,
};

/* mmap_lock held: the VMA keeps its object. */
static int vmlab_walk_ours(struct vm_area_struct *vma, struct vmlab_ioc_walk *walk,
			   struct vmlab_walk_raw *raw)
{
	struct vmlab_region *region = vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	struct vmlab_ioc_walk begin;
	bool stable;

	walk->status |= VMLAB_WALK_OURS;
	walk->page = linear_page_index(vma, walk->address);
	if (!obj) {
		walk->kind = VMLAB_KIND_BROKEN;
		vmlab_walk_read(vma->vm_mm, walk->address, raw);
		return 0;
	}
	walk->object = obj->id;
	walk->kind = vmlab_walk_kinds[obj->kind];
	begin = *walk;
	do {
		if (fatal_signal_pending(current))
			return -EINTR;
		*walk = begin;
		percpu_down_read(&obj->vm->activity);
		stable = vmlab_walk_both(obj, vma->vm_mm, walk, raw);
		percpu_up_read(&obj->vm->activity);
		cond_resched();
	} while (!stable);
	return 0;
}

/**
 * vmlab_walk_address() - tell how an address is translated
 * @mm: the address space, with a reference on its users
 * @addr: the address
 * @frames: may physical addresses be told
 * @walk: out: all but size and flags; see uapi/vmlab.h
 *
 * Context: sleeps; takes mmap_lock for read.
 * Return: 0, -EINVAL when the address is not one of user space, or -EINTR on a fatal
 * signal.
 */
int vmlab_walk_address(struct mm_struct *mm, u64 addr, bool frames,
		       struct vmlab_ioc_walk *walk)
{
	struct vmlab_walk_raw raw;
	struct vm_area_struct *vma;
	int err = 0;

	*walk = (struct vmlab_ioc_walk) {
		.address = addr,
		.status = frames ? VMLAB_WALK_FRAMES : 0,
	};
	if (addr >= mm->task_size)
		return -EINVAL;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = find_vma(mm, addr);
	if (vma && vma->vm_start <= addr)
		walk->status |= VMLAB_WALK_MAPPED;
	if (walk->status & VMLAB_WALK_MAPPED && vma->vm_ops == &vmlab_vm_ops)
		err = vmlab_walk_ours(vma, walk, &raw);
	else
		vmlab_walk_read(mm, addr, &raw);
	mmap_read_unlock(mm);
	if (!err)
		vmlab_walk_levels(walk, &raw);
	return err;
}
