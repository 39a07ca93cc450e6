// SPDX-License-Identifier: GPL-2.0
/*
 * Memory policies: which one goes for a page.
 *
 * In this order, as for the shared memory of Linux (shmem_get_policy() in mm/shmem.c and
 * get_vma_policy() in mm/mempolicy.c):
 *
 *   an object's range		what mbind() said of a mapping of it, or ioctl(MEMPOLICY)
 *   the task's			set_mempolicy(), numactl
 *   none			the node of the CPU, then the others by distance
 *
 * What is mapped shared is one object for all who map it; each private mapping has its own, and
 * what is said of that goes for nobody else.
 *
 * Owns the policies of objects: a maple tree of ranges, whose entries are the policies
 * themselves.  Those of the kernel's are read where nobody else changes them: a VMA's in
 * mbind(), a task's by itself.  It must never keep one of those: they are translated, which
 * takes no reference.  So calls, read-ahead and threads know of mbind() as faults do.
 */
#include <linux/maple_tree.h>
#include <linux/mempolicy.h>

#include "vmlab.h"

/**
 * vmlab_mpol_from() - translate a memory policy of the kernel
 * @pol: the policy; NULL: none
 *
 * Return: the policy as a word, 0: none, or one of a kind that is not known here.
 */
u64 vmlab_mpol_from(const struct mempolicy *pol)
{
#ifdef CONFIG_NUMA
	unsigned long nodes;
	int home;

	if (!pol || pol->mode > VMLAB_MPOL_WEIGHTED_INTERLEAVE)
		return 0;
	/* A cpuset that changes may rewrite it meanwhile: either mask will do. */
	nodes = data_race(READ_ONCE(nodes_addr(pol->nodes)[0]));
	/* mpol_set_nodemask() leaves what was in that memory before. */
	if (pol->mode == VMLAB_MPOL_LOCAL)
		nodes = 0;
	home = READ_ONCE(pol->home_node);
	if (home >= VMLAB_NODES_MAX)
		home = NUMA_NO_NODE;
	return vmlab_mpol_make(pol->mode, nodes, home);
#else
	return 0;
#endif
}

/**
 * vmlab_mpol_find() - the policy for a page
 * @obj: its object
 * @pgoff: the page
 *
 * Context: any but interrupts; does not sleep.
 * Return: the policy, 0: none.
 */
u64 vmlab_mpol_find(struct vmlab_object *obj, u64 pgoff)
{
	void *entry = vmlab_mpol_any(obj) ? mtree_load(&obj->mpols, pgoff) : NULL;

	return entry ? xa_to_value(entry) : vmlab_mpol_from(vmlab_task_policy());
}

/**
 * vmlab_mpol_is_one() - does one policy go for all of some 2 MiB?
 * @obj: the object
 * @index: the first 2 MiB
 * @nr: how many
 */
bool vmlab_mpol_is_one(struct vmlab_object *obj, u64 index, u64 nr)
{
	u64 first = index << VMLAB_LEAF_SHIFT, last = first + (nr << VMLAB_LEAF_SHIFT);
	u64 end = last;

	vmlab_mpol_get(obj, first, &end);
	return end == last;
}

/**
 * vmlab_mpol_check() - can a policy be obeyed?
 * @vm: the instance
 * @mpol: the policy
 *
 * Return: 0; -EINVAL: it names no node that has a pool, or none at all where it must, or some
 * where it must not.
 */
int vmlab_mpol_check(struct vmlab *vm, u64 mpol)
{
	unsigned long nodes = vmlab_mpol_nodes(mpol);

	switch (vmlab_mpol_mode(mpol)) {
	case VMLAB_MPOL_DEFAULT:
	case VMLAB_MPOL_LOCAL:
		return nodes ? -EINVAL : 0;
	case VMLAB_MPOL_PREFERRED:
	case VMLAB_MPOL_PREFERRED_MANY:
	case VMLAB_MPOL_BIND:
	case VMLAB_MPOL_INTERLEAVE:
	case VMLAB_MPOL_WEIGHTED_INTERLEAVE:
		return nodes & READ_ONCE(vm->pool_nodes) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

/**
 * vmlab_mpol_init() - an object without policies
 * @obj: new
 */
void vmlab_mpol_init(struct vmlab_object *obj)
{
	mt_init_flags(&obj->mpols, MT_FLAGS_USE_RCU);
}

/**
 * vmlab_mpol_exit() - forget an object's policies
 * @obj: nobody finds it any more
 */
void vmlab_mpol_exit(struct vmlab_object *obj)
{
	mtree_destroy(&obj->mpols);
}

/**
 * vmlab_mpol_set() - give a range of an object a policy
 * @obj: the object
 * @first: first page
 * @nr: pages, at least 1
 * @mpol: the policy; 0: none
 *
 * Pages that are there already stay where they are.
 *
 * Context: sleeps; also under mmap_lock.
 * Return: 0 or -ENOMEM.
 */
int vmlab_mpol_set(struct vmlab_object *obj, u64 first, u64 nr, u64 mpol)
{
	if (!mpol && !vmlab_mpol_any(obj))
		return 0;
	if (vmlab_should_fail(obj->vm, VMLAB_INJECT_call))
		return -ENOMEM;
	return mtree_store_range(&obj->mpols, first, first + nr - 1,
				 mpol ? xa_mk_value(mpol) : NULL, GFP_KERNEL_ACCOUNT);
}

/**
 * vmlab_mpol_get() - the policy of a page of an object, and how far it goes
 * @obj: the object
 * @pgoff: the page
 * @end: in: where to stop looking; out: the first page from there on that may have another
 *
 * Return: the policy, 0: none.
 */
u64 vmlab_mpol_get(struct vmlab_object *obj, u64 pgoff, u64 *end)
{
	MA_STATE(mas, &obj->mpols, pgoff, pgoff);
	void *entry;

	if (!vmlab_mpol_any(obj))
		return 0;
	rcu_read_lock();
	entry = mas_walk(&mas);
	if (mas.last >= pgoff && mas.last < *end - 1)
		*end = mas.last + 1;
	rcu_read_unlock();
	return entry ? xa_to_value(entry) : 0;
}

/**
 * vmlab_mpol_copy() - give a range of a copy of an object the same policies
 * @to: the copy; has none there
 * @from: the original
 * @first: first page
 * @nr: pages
 *
 * Context: sleeps.
 * Return: 0 or -ENOMEM.
 */
int vmlab_mpol_copy(struct vmlab_object *to, struct vmlab_object *from, u64 first, u64 nr)
{
	u64 last = first + nr, end, mpol;
	int err = 0;

	if (!vmlab_mpol_any(from))
		return 0;
	for (; !err && first < last; first = end) {
		end = last;
		mpol = vmlab_mpol_get(from, first, &end);
		if (mpol)
			err = vmlab_mpol_set(to, first, end - first, mpol);
		cond_resched();
	}
	return err;
}

/**
 * vmlab_vma_set_policy() - vm_operations->set_policy: mbind()
 * @vma: the mapping, cut to the range
 * @pol: its policy from now on; NULL: none
 *
 * A policy goes for the object, so for all who map it: shmem_set_policy() does the same.  There
 * is no ->get_policy, which would have to give out policies of the kernel's:
 * get_mempolicy() tells what mbind() said of the mapping asked about.
 *
 * Context: mmap_lock held for write.
 * Return: 0; -EINVAL: none of its nodes has a pool; -ENOMEM.
 */
int vmlab_vma_set_policy(struct vm_area_struct *vma, struct mempolicy *pol)
{
	struct vmlab_region *region = vma->vm_private_data;
	struct vmlab_object *obj = region->object;
	u64 mpol = vmlab_mpol_from(pol);
	int err;

	if (!obj)
		return 0;
	/* Linux takes a preferred node without memory for a wish. */
	if (vmlab_mpol_mode(mpol) == VMLAB_MPOL_BIND) {
		err = vmlab_mpol_check(obj->vm, mpol);
		if (err)
			return err;
	}
	return vmlab_mpol_set(obj, vma->vm_pgoff, vma_pages(vma), mpol);
}
