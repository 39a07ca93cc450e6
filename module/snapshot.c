// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl(SNAPSHOT): a copy of a whole object, as it is at one moment.
 *
 * Owns no state: the copy is clone.c's work, its descriptor dev.c's.
 */
#include "vmlab.h"

static int vmlab_snapshot_fill(struct vmlab_object *from, struct vmlab_object *to)
{
	struct rw_semaphore *sem = &from->lineage->clone_sem;
	int err;

	percpu_down_read(&from->vm->activity);
	down_write(sem);
	err = vmlab_clone_leaves(from, to, 0, VMLAB_OBJECT_PAGES - 1);
	/* Also after an error: what is shared already must not be writable. */
	vmlab_rmap_wrprotect(from, 0, VMLAB_OBJECT_PAGES - 1, NULL);
	up_write(sem);
	percpu_up_read(&from->vm->activity);
	return err;
}

/**
 * vmlab_snapshot() - copy an object
 * @obj: the original
 * @frozen: nobody may change the copy
 *
 * Context: sleeps; no locks.
 * Return: the copy with one reference, to be ended by vmlab_object_destroy(), or
 * ERR_PTR(-ENOMEM).
 */
struct vmlab_object *vmlab_snapshot(struct vmlab_object *obj, bool frozen)
{
	struct vmlab_object *copy;
	int err;

	percpu_down_read(&obj->vm->activity);
	vmlab_reclaim_for_copy(obj->lineage);
	copy = vmlab_object_copy(obj, VMLAB_OBJECT_SNAPSHOT);
	percpu_up_read(&obj->vm->activity);
	if (IS_ERR(copy))
		return copy;
	copy->frozen = frozen;
	err = vmlab_mpol_copy(copy, obj, 0, VMLAB_OBJECT_PAGES);
	if (!err)
		err = vmlab_snapshot_fill(obj, copy);
	if (err) {
		vmlab_object_destroy(copy);
		return ERR_PTR(err);
	}
	vmlab_count(obj->vm, snapshot, 1);
	vmlab_debugfs_add_object(copy);
	return copy;
}
