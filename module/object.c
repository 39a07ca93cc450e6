// SPDX-License-Identifier: GPL-2.0
/*
 * Objects and lineages: their life, their numbers, their limits.
 *
 * Owns struct vmlab_object and struct vmlab_lineage.  An object's pages go when
 * its file is released (vmlab_object_destroy()); what is left after that is a
 * shell for those who still hold a reference.  It never touches a slot: range.c
 * empties the object.
 */
#include <linux/cred.h>
#include <linux/sched.h>
#include <linux/sched/user.h>
#include <linux/slab.h>

#include "vmlab.h"

/*
 * Two xarrays whose locks nest: lockdep must tell them apart.  XA_FLAGS_ACCOUNT, because most
 * of their nodes come from a first try with flags of the XArray's own.
 */
static struct lock_class_key vmlab_object_leaves_key;
static struct lock_class_key vmlab_lineage_leaves_key;

static struct vmlab_lineage *vmlab_lineage_create(struct vmlab *vm, u64 id)
{
	struct vmlab_lineage *lineage;
	int err = -ENOMEM;

	lineage = vmlab_should_fail(vm, VMLAB_INJECT_object) ? NULL :
		  kzalloc(sizeof(*lineage), GFP_KERNEL_ACCOUNT);
	if (!lineage)
		return ERR_PTR(-ENOMEM);
	kref_init(&lineage->ref);
	lineage->vm = vm;
	lineage->id = id;
	xa_init_flags(&lineage->leaves, XA_FLAGS_ACCOUNT);
	init_rwsem(&lineage->clone_sem);
	lockdep_set_class(&lineage->leaves.xa_lock, &vmlab_lineage_leaves_key);
	lineage->inode = vmlab_fs_inode(vm, id);
	if (IS_ERR(lineage->inode)) {
		err = PTR_ERR(lineage->inode);
		goto free;
	}
	err = vmlab_should_fail(vm, VMLAB_INJECT_xarray) ? -ENOMEM :
	      xa_err(xa_store(&vm->lineages, id, lineage, GFP_KERNEL_ACCOUNT));
	if (err)
		goto put_inode;
	return lineage;

put_inode:
	iput(lineage->inode);
free:
	kfree(lineage);
	return ERR_PTR(err);
}

static void vmlab_lineage_release(struct kref *ref)
{
	struct vmlab_lineage *lineage = container_of(ref, struct vmlab_lineage, ref);

	WARN_ON_ONCE(atomic_long_read(&lineage->nr_frames));
	xa_erase(&lineage->vm->lineages, lineage->id);
	xa_destroy(&lineage->leaves);
	iput(lineage->inode);
	kfree_rcu(lineage, rcu);
}

/**
 * vmlab_lineage_tryget() - take a reference on a lineage found under RCU
 * @lineage: the lineage
 *
 * Return: whether there is one now.
 */
bool vmlab_lineage_tryget(struct vmlab_lineage *lineage)
{
	return kref_get_unless_zero(&lineage->ref);
}

/**
 * vmlab_lineage_put() - drop a reference
 * @lineage: the lineage
 *
 * Context: may sleep.
 */
void vmlab_lineage_put(struct vmlab_lineage *lineage)
{
	kref_put(&lineage->ref, vmlab_lineage_release);
}

/**
 * vmlab_lineage_next() - go through all lineages
 * @vm: the instance
 * @id: in: the lowest number wanted; out: the number found
 *
 * Return: the lineage with a reference, or NULL at the end.
 */
struct vmlab_lineage *vmlab_lineage_next(struct vmlab *vm, u64 *id)
{
	struct vmlab_lineage *lineage;
	unsigned long i = *id;

	rcu_read_lock();
	lineage = xa_find(&vm->lineages, &i, ULONG_MAX, XA_PRESENT);
	while (lineage && !vmlab_lineage_tryget(lineage))
		lineage = xa_find_after(&vm->lineages, &i, ULONG_MAX, XA_PRESENT);
	rcu_read_unlock();
	*id = i;
	return lineage;
}

/**
 * vmlab_lineage_charge() - count frames against the limit
 * @lineage: whose
 * @nr: frames
 *
 * Return: false when the limit would be passed; nothing is charged then.
 */
bool vmlab_lineage_charge(struct vmlab_lineage *lineage, unsigned long nr)
{
	long limit = READ_ONCE(lineage->limit);
	long used;

	if (likely(!limit)) {
		atomic_long_add(nr, &lineage->nr_frames);
		return true;
	}
	/* Not add and look: others within the limit would fail for a charge undone. */
	used = atomic_long_read(&lineage->nr_frames);
	do {
		if (used + (long)nr > limit)
			return false;
	} while (!atomic_long_try_cmpxchg(&lineage->nr_frames, &used, used + nr));
	return true;
}

/**
 * vmlab_lineage_uncharge() - undo vmlab_lineage_charge()
 * @lineage: whose
 * @nr: frames
 */
void vmlab_lineage_uncharge(struct vmlab_lineage *lineage, unsigned long nr)
{
	atomic_long_sub(nr, &lineage->nr_frames);
}

static struct vmlab_object *vmlab_object_alloc(struct vmlab *vm)
{
	struct vmlab_object *obj;

	obj = vmlab_should_fail(vm, VMLAB_INJECT_object) ? NULL :
	      kzalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);
	if (!obj)
		return NULL;
	kref_init(&obj->ref);
	obj->vm = vm;
	obj->id = atomic64_inc_return(&vm->next_id);
	xa_init_flags(&obj->leaves, XA_FLAGS_ACCOUNT);
	lockdep_set_class(&obj->leaves.xa_lock, &vmlab_object_leaves_key);
	vmlab_mpol_init(obj);
	INIT_LIST_HEAD(&obj->siblings);
	INIT_LIST_HEAD(&obj->privates);
	obj->pid = task_tgid_nr(current);
	get_task_comm(obj->comm, current);
	obj->pin_user = get_uid(current_user());
	return obj;
}

static void vmlab_object_unalloc(struct vmlab_object *obj)
{
	free_uid(obj->pin_user);
	kfree(obj);
}

/**
 * vmlab_object_create() - an empty object with a lineage of its own
 * @vm: the instance
 *
 * Return: the object with one reference, or ERR_PTR().
 */
struct vmlab_object *vmlab_object_create(struct vmlab *vm)
{
	struct vmlab_object *obj = vmlab_object_alloc(vm);
	int err;

	if (!obj)
		return ERR_PTR(-ENOMEM);
	obj->kind = VMLAB_OBJECT_FILE;
	obj->lineage = vmlab_lineage_create(vm, obj->id);
	if (IS_ERR(obj->lineage)) {
		err = PTR_ERR(obj->lineage);
		goto free;
	}
	err = vmlab_should_fail(vm, VMLAB_INJECT_xarray) ? -ENOMEM :
	      xa_err(xa_store(&vm->objects, obj->id, obj, GFP_KERNEL_ACCOUNT));
	if (err)
		goto put_lineage;
	vmlab_debugfs_add_object(obj);
	return obj;

put_lineage:
	vmlab_lineage_put(obj->lineage);
free:
	vmlab_object_unalloc(obj);
	return ERR_PTR(err);
}

/**
 * vmlab_object_copy() - an empty object of the same lineage
 * @from: what it is going to be a copy of; held by the caller
 * @kind: what it is
 *
 * It counts against the lineage's limit like a frame.  Its pages are clone.c's.
 *
 * Context: may sleep; also under mmap_lock; vm->activity held for read.
 * Return: the object with one reference, or ERR_PTR(-ENOMEM).
 */
struct vmlab_object *vmlab_object_copy(struct vmlab_object *from,
				       enum vmlab_object_kind kind)
{
	struct vmlab_lineage *lineage = from->lineage;
	struct vmlab_object *obj;

	if (atomic_inc_return(&lineage->nr_objects) >= VMLAB_LINEAGE_OBJECTS)
		goto uncount;
	if (!vmlab_lineage_charge(lineage, 1))
		goto uncount;
	obj = vmlab_object_alloc(from->vm);
	if (!obj)
		goto uncharge;
	obj->kind = kind;
	obj->parent = from->id;
	/* From the store on others find it. */
	kref_get(&lineage->ref);
	obj->lineage = lineage;
	if (vmlab_should_fail(obj->vm, VMLAB_INJECT_xarray) ||
	    xa_err(xa_store(&obj->vm->objects, obj->id, obj, GFP_KERNEL_ACCOUNT)))
		goto free;
	return obj;

free:
	vmlab_lineage_put(lineage);
	vmlab_object_unalloc(obj);
uncharge:
	vmlab_lineage_uncharge(lineage, 1);
uncount:
	atomic_dec(&lineage->nr_objects);
	vmlab_count(from->vm, alloc_fail, 1);
	return ERR_PTR(-ENOMEM);
}

static void vmlab_object_release(struct kref *ref)
{
	struct vmlab_object *obj = container_of(ref, struct vmlab_object, ref);

	if (obj->file_obj)
		vmlab_object_put(obj->file_obj);
	xa_destroy(&obj->leaves);
	vmlab_mpol_exit(obj);
	free_uid(obj->pin_user);
	vmlab_lineage_put(obj->lineage);
	kfree_rcu(obj, rcu);
}

/**
 * vmlab_object_get() - take a reference
 * @obj: the object, which the caller holds by other means
 */
void vmlab_object_get(struct vmlab_object *obj)
{
	kref_get(&obj->ref);
}

/**
 * vmlab_object_put() - drop a reference
 * @obj: the object
 *
 * Context: may sleep.
 */
void vmlab_object_put(struct vmlab_object *obj)
{
	kref_put(&obj->ref, vmlab_object_release);
}

static bool vmlab_object_has_leaves(struct vmlab_object *obj)
{
	u64 index = 0;
	bool has;

	rcu_read_lock();
	has = vmlab_leaf_next(obj, &index, ULONG_MAX);
	rcu_read_unlock();
	return has;
}

/**
 * vmlab_object_destroy() - the file is gone: free all pages
 * @obj: the object; no VMA maps it any more
 *
 * Drops the reference that vmlab_object_create() gave.
 *
 * Context: may sleep, also for I/O that is under way on its pages.
 */
void vmlab_object_destroy(struct vmlab_object *obj)
{
	u64 done;

	vmlab_debugfs_remove_object(obj);
	vmlab_range_unpin(obj, 0, VMLAB_OBJECT_PAGES, &done);
	vmlab_range_clear(obj);
	/* A leaf stays while a sweep has just locked one of its slots to look at it. */
	while (vmlab_object_has_leaves(obj)) {
		schedule_timeout_uninterruptible(1);
		vmlab_range_clear(obj);
	}
	/* For who adds up: both, or none. */
	percpu_down_read(&obj->vm->activity);
	xa_erase(&obj->vm->objects, obj->id);
	if (obj->kind != VMLAB_OBJECT_FILE) {
		vmlab_lineage_uncharge(obj->lineage, 1);
		atomic_dec(&obj->lineage->nr_objects);
	}
	percpu_up_read(&obj->vm->activity);
	vmlab_object_put(obj);
}

/**
 * vmlab_object_next() - go through all objects
 * @vm: the instance
 * @id: in: the lowest number wanted; out: the number found
 *
 * Return: the object with a reference, or NULL at the end.
 */
struct vmlab_object *vmlab_object_next(struct vmlab *vm, u64 *id)
{
	struct vmlab_object *obj;
	unsigned long i = *id;

	rcu_read_lock();
	obj = xa_find(&vm->objects, &i, ULONG_MAX, XA_PRESENT);
	while (obj && !kref_get_unless_zero(&obj->ref))
		obj = xa_find_after(&vm->objects, &i, ULONG_MAX, XA_PRESENT);
	rcu_read_unlock();
	*id = i;
	return obj;
}

static void vmlab_leaf_usage(struct vmlab_leaf *leaf, struct vmlab_usage *usage)
{
	unsigned int i;

	spin_lock(&leaf->lock);
	if (leaf->dead)
		goto out;
	usage->leaves++;
	usage->on_node[vmlab_frame_nid(leaf->frame)]++;
	usage->resident += leaf->nr_present;
	usage->swapped += leaf->nr_swapped;
	usage->huge += leaf->huge ? leaf->nr_present : 0;
	vmlab_events_add(&usage->events, &leaf->events);
	for (i = 0; leaf->nr_present && i < VMLAB_LEAF_SLOTS; i++) {
		unsigned long word = leaf->words[i];

		if (!vmlab_word_is_frame(word))
			continue;
		if (!vmlab_word_frame(word)->chunk->gigantic)
			usage->on_node[vmlab_frame_nid(vmlab_word_frame(word))]++;
		usage->dirty += vmlab_frame_seems_dirty(vmlab_word_frame(word));
		usage->shared += leaf->owners > 1 ||
				 atomic_read(&vmlab_word_frame(word)->refs) > 1;
	}
out:
	spin_unlock(&leaf->lock);
}

/**
 * vmlab_object_usage() - add up what an object uses
 * @obj: the object
 * @usage: out: the sums
 *
 * What it shares with others is counted in full, and so is what happened to leaves while
 * they were shared.
 *
 * Context: may sleep; vm->activity not held.
 */
void vmlab_object_usage(struct vmlab_object *obj, struct vmlab_usage *usage)
{
	struct vmlab_leaf *leaf;
	u64 index = 0;

	percpu_down_read(&obj->vm->activity);
	memset(usage, 0, sizeof(*usage));
	usage->pinned = atomic_long_read(&obj->nr_pinned);
	xa_lock(&obj->leaves);
	usage->events = obj->events;
	xa_unlock(&obj->leaves);
	usage->events.faults += atomic64_read(&obj->nr_faults);
	for (;; index++) {
		rcu_read_lock();
		leaf = vmlab_leaf_next(obj, &index, ULONG_MAX);
		if (leaf)
			vmlab_leaf_usage(leaf, usage);
		rcu_read_unlock();
		if (!leaf)
			break;
		cond_resched();
	}
	percpu_up_read(&obj->vm->activity);
}
