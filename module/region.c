// SPDX-License-Identifier: GPL-2.0
/*
 * What a VMA has of ours: its region, which names its object.
 *
 * Owns the life of private objects: they come with a MAP_PRIVATE mapping or with a fork
 * of one, and go with the last VMA that maps them.  All private mappings of one file's
 * object in one address space share one private object, as long as they do not
 * overlap: so a fork makes one object, however many mappings there are.
 *
 * It must never fail a fork, which cannot be told (->open returns nothing): a child for
 * which there is no memory gets a region without an object, and SIGBUS when it touches
 * the mapping.
 */
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "trace.h"
#include "vmlab.h"

/* Private objects of one address space that are asked whether they have room. */
#define VMLAB_PRIVATE_TRIES	16

/* What forked VMAs get when there is no memory for more; never counted, never freed. */
static struct vmlab_region vmlab_broken_region = { .ref = KREF_INIT(1) };

static struct vmlab_region *vmlab_region_alloc(struct vmlab_object *obj, struct mm_struct *mm)
{
	struct vmlab_region *region;

	region = vmlab_should_fail(obj->vm, VMLAB_INJECT_region) ? NULL :
		 kmalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return NULL;
	kref_init(&region->ref);
	region->object = obj;
	/* Forked copies of a shared mapping have the region for longer than it lives. */
	mmgrab(mm);
	region->mm = mm;
	return region;
}

static void vmlab_region_free(struct vmlab_region *region)
{
	mmdrop(region->mm);
	kfree(region);
}

/**
 * vmlab_region_shared() - what a new shared mapping's vm_private_data points to
 * @obj: what it maps
 *
 * Return: the region with one reference, or NULL.
 */
struct vmlab_region *vmlab_region_shared(struct vmlab_object *obj)
{
	struct vmlab_region *region = vmlab_region_alloc(obj, current->mm);

	if (region)
		vmlab_object_get(obj);
	return region;
}

/* A region of a private object.  lineage->clone_sem held for write. */
static struct vmlab_region *vmlab_region_of(struct vmlab_object *obj)
{
	struct vmlab_region *region = vmlab_region_alloc(obj, obj->mm);

	if (region)
		obj->nr_regions++;
	return region;
}

/* A new private object.  lineage->clone_sem held for write. */
static struct vmlab_object *vmlab_private_create(struct vmlab_object *from,
						 struct vmlab_object *file_obj,
						 struct mm_struct *mm)
{
	struct vmlab_object *obj = vmlab_object_copy(from, VMLAB_OBJECT_PRIVATE);

	if (IS_ERR(obj))
		return NULL;
	obj->mm = mm;
	vmlab_object_get(file_obj);
	obj->file_obj = file_obj;
	list_add(&obj->siblings, &file_obj->privates);
	return obj;
}

/* The last region of a private object goes, or its first could not be made. */
static void vmlab_private_put(struct vmlab_object *obj, unsigned int nr)
{
	struct rw_semaphore *sem = &obj->lineage->clone_sem;
	bool last;

	down_write(sem);
	WRITE_ONCE(obj->nr_regions, obj->nr_regions - nr);
	last = !obj->nr_regions;
	if (last)
		list_del_init(&obj->siblings);
	up_write(sem);
	if (last)
		vmlab_object_destroy(obj);
}

/* May a new mapping of these pages go into this private object? */
static bool vmlab_private_has_room(struct vmlab_object *obj, u64 first, u64 last,
				   bool clone)
{
	if (clone) {
		/* Leaves are shared as a whole: nothing else may be in or over them. */
		first = round_down(first, VMLAB_LEAF_SLOTS);
		last = round_up(last + 1, VMLAB_LEAF_SLOTS) - 1;
		if (vmlab_clone_has_leaves(obj, first, last))
			return false;
	}
	return !vmlab_rmap_covered(obj, first, last, NULL) &&
	       vmlab_range_is_hole(obj, first, last - first + 1);
}

/*
 * The newest first, and only some: a program that maps the same pages thousands of times
 * gets an object for each, and would wait longer for each.
 */
static struct vmlab_object *vmlab_private_find(struct vmlab_object *file_obj, u64 first,
					       u64 last, bool clone)
{
	unsigned int tries = VMLAB_PRIVATE_TRIES;
	struct vmlab_object *obj;

	list_for_each_entry(obj, &file_obj->privates, siblings) {
		if (obj->mm != current->mm)
			continue;
		if (vmlab_private_has_room(obj, first, last, clone))
			return obj;
		if (!--tries)
			break;
	}
	return NULL;
}

/* Has the object leaves, not just marks, in a range? */
static bool vmlab_object_has_content(struct vmlab_object *obj, u64 first, u64 last)
{
	u64 index = first >> VMLAB_LEAF_SHIFT;
	bool has;

	rcu_read_lock();
	has = vmlab_leaf_next(obj, &index, last >> VMLAB_LEAF_SHIFT);
	rcu_read_unlock();
	return has;
}

static struct vmlab_region *vmlab_region_private_locked(struct vmlab_object *file_obj,
							u64 first, u64 last,
							struct vmlab_object **unused)
{
	bool clone = vmlab_object_has_content(file_obj, first, last);
	struct vmlab_region *region;
	struct vmlab_object *obj;
	int err = 0;

	obj = vmlab_private_find(file_obj, first, last, clone);
	if (!obj)
		obj = vmlab_private_create(file_obj, file_obj, current->mm);
	if (!obj)
		return NULL;
	region = vmlab_region_of(obj);
	/* What was said of mappings of these pages that are gone. */
	if (region)
		err = vmlab_mpol_set(obj, first, last - first + 1, 0);
	if (region && clone && !err) {
		err = vmlab_clone_leaves(file_obj, obj, first, last);
		vmlab_rmap_wrprotect(file_obj, round_down(first, VMLAB_LEAF_SLOTS),
				     round_up(last + 1, VMLAB_LEAF_SLOTS) - 1, NULL);
	}
	if (region && !err)
		return region;
	if (region) {
		/* It had no leaves there: see vmlab_private_has_room(). */
		if (clone)
			vmlab_clone_undo(obj, first, last);
		obj->nr_regions--;
		vmlab_region_free(region);
	}
	if (!obj->nr_regions)
		*unused = obj;
	return NULL;
}

/**
 * vmlab_region_private() - what a new private mapping's vm_private_data points to
 * @obj: the file's object, of which it shows what there is now
 * @first: first page
 * @nr: pages
 *
 * Context: mmap_lock held for write; sleeps.
 * Return: the region with one reference, or NULL when there is no memory.
 */
struct vmlab_region *vmlab_region_private(struct vmlab_object *obj, u64 first, u64 nr)
{
	struct rw_semaphore *sem = &obj->lineage->clone_sem;
	struct vmlab_object *unused = NULL;
	struct vmlab_region *region;

	percpu_down_read(&obj->vm->activity);
	vmlab_reclaim_for_copy(obj->lineage);
	down_write(sem);
	region = vmlab_region_private_locked(obj, first, first + nr - 1, &unused);
	up_write(sem);
	percpu_up_read(&obj->vm->activity);
	if (unused)
		vmlab_private_put(unused, 0);
	return region;
}

/* The child's object of one fork: the pieces of a split mapping share it. */
static struct vmlab_object *vmlab_fork_object(struct vmlab_object *parent,
					      struct mm_struct *mm)
{
	struct vmlab_object *file_obj = parent->file_obj;
	struct vmlab_object *obj;

	list_for_each_entry(obj, &file_obj->privates, siblings)
		if (obj->mm == mm && obj->parent == parent->id)
			return obj;
	return vmlab_private_create(parent, file_obj, mm);
}

static struct vmlab_region *vmlab_region_fork_locked(struct vm_area_struct *vma,
						     struct vmlab_object *parent,
						     struct vmlab_object **unused)
{
	u64 first = vma->vm_pgoff, last = first + vma_pages(vma) - 1;
	struct vmlab_object *obj = vmlab_fork_object(parent, vma->vm_mm);
	struct vmlab_region *region;
	int err;

	if (!obj)
		return NULL;
	region = vmlab_region_of(obj);
	if (!region) {
		if (!obj->nr_regions)
			*unused = obj;
		return NULL;
	}
	/* Before anything is shared: see vmlab_unshare_must_not(). */
	WRITE_ONCE(parent->forking, true);
	err = vmlab_mpol_copy(obj, parent, first, last - first + 1);
	if (!err)
		err = vmlab_clone_leaves(parent, obj, first, last);
	/* dup_mmap() flushes the parent before the child can run. */
	vmlab_rmap_wrprotect(parent, round_down(first, VMLAB_LEAF_SLOTS),
			     round_up(last + 1, VMLAB_LEAF_SLOTS) - 1, parent->mm);
	if (!err)
		return region;
	obj->nr_regions--;
	vmlab_region_free(region);
	if (!obj->nr_regions)
		*unused = obj;
	return NULL;
}

/* What the child's VMA gets in place of its parent's region. */
static struct vmlab_region *vmlab_region_fork(struct vm_area_struct *vma,
					      struct vmlab_object *parent)
{
	struct rw_semaphore *sem = &parent->lineage->clone_sem;
	struct vmlab_object *unused = NULL;
	struct vmlab_region *region;

	percpu_down_read(&parent->vm->activity);
	vmlab_reclaim_for_copy(parent->lineage);
	down_write(sem);
	region = vmlab_region_fork_locked(vma, parent, &unused);
	up_write(sem);
	percpu_up_read(&parent->vm->activity);
	if (unused)
		vmlab_private_put(unused, 0);
	if (region)
		return region;
	vmlab_count(parent->vm, fork_broken, 1);
	return &vmlab_broken_region;
}

static void vmlab_region_release(struct kref *ref)
{
	struct vmlab_region *region = container_of(ref, struct vmlab_region, ref);

	if (vmlab_region_is_private(region))
		vmlab_private_put(region->object, 1);
	else
		vmlab_object_put(region->object);
	vmlab_region_free(region);
}

/**
 * vmlab_region_put() - drop a reference
 * @region: the region
 *
 * Context: may sleep.
 */
void vmlab_region_put(struct vmlab_region *region)
{
	if (region->object)
		kref_put(&region->ref, vmlab_region_release);
}

/* A part of what a PUD maps must not be changed by the core: see pud.c.  A fork has none yet. */
static void vmlab_region_unmap_gigantic(struct vm_area_struct *vma, unsigned long start,
					unsigned long end)
{
	struct vmlab_region *region = vma->vm_private_data;

	if (READ_ONCE(region->object->lineage->gigantic))
		vmlab_rmap_unmap_huge(region->object, vma->vm_mm, linear_page_index(vma, start),
				      linear_page_index(vma, end - PAGE_SIZE), true);
}

/**
 * vmlab_region_mprotect() - vm_operations->mprotect: part of a VMA is about to be protected
 * @vma: the VMA
 * @start: first address
 * @end: behind the last one
 * @flags: what the part is going to have
 *
 * Context: mmap_lock held for write; sleeps.
 * Return: 0: it may be.
 */
int vmlab_region_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			  unsigned long flags)
{
	struct vmlab_region *region = vma->vm_private_data;

	if (region->object)
		vmlab_region_unmap_gigantic(vma, start, end);
	return 0;
}

/**
 * vmlab_region_open() - vm_operations->open: a VMA was split, moved or forked
 * @vma: the new VMA, with the old one's vm_private_data
 *
 * dup_mmap() (kernel/fork.c) calls this before it copies page tables: with
 * VM_WIPEONFORK it copies none, and the child finds its pages by its own faults.
 * Where a private mapping has no memory for the copy, only the child is harmed.
 *
 * Context: mmap_lock held for write; sleeps.
 */
void vmlab_region_open(struct vm_area_struct *vma)
{
	struct vmlab_region *region = vma->vm_private_data;

	if (vma->vm_mm != region->mm && !(vma->vm_flags & VM_WIPEONFORK))
		vm_flags_set(vma, VM_WIPEONFORK);
	if (!region->object)
		return;
	/*
	 * It may be mremap() that moves what is mapped here.  Who evicts must not make a huge PMD
	 * an empty one meanwhile, where the core would move that as a table.
	 */
	if (!vmlab_mremap_looks_again() && vma->vm_mm == current->mm)
		vmlab_rmap_unmap_huge(region->object, vma->vm_mm, vma->vm_pgoff,
				      vma->vm_pgoff + vma_pages(vma) - 1, false);
	vmlab_region_unmap_gigantic(vma, vma->vm_start, vma->vm_end);
	if (vma->vm_mm != region->mm && vmlab_region_is_private(region))
		WRITE_ONCE(vma->vm_private_data, vmlab_region_fork(vma, region->object));
	else
		kref_get(&region->ref);
}

/**
 * vmlab_region_close() - vm_operations->close: a VMA ends
 * @vma: the VMA; its page tables are gone, and flushed
 *
 * A private object loses what no other VMA of it maps, any other only the notes where its
 * holes were read.
 *
 * Context: mmap_lock held for write, or the address space ends; sleeps.
 */
void vmlab_region_close(struct vm_area_struct *vma)
{
	struct vmlab_region *region = vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	u64 first = vma->vm_pgoff, last = first + vma_pages(vma) - 1, nr;
	bool private;

	if (!obj)
		return;
	private = vmlab_region_is_private(region);
	/* With its last VMA all of it goes. */
	if (private ? kref_read(&region->ref) > 1 || READ_ONCE(obj->nr_regions) > 1 :
		      vmlab_has_zero_marks(obj)) {
		while ((nr = vmlab_rmap_next_uncovered(obj, &first, last, vma))) {
			if (private)
				vmlab_range_unmapped(obj, first, nr, vma);
			else
				vmlab_range_forget_zero(obj, first, nr, vma);
			first += nr;
			if (first > last)
				break;
		}
	}
	vmlab_region_put(region);
}
