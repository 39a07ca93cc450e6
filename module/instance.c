// SPDX-License-Identifier: GPL-2.0
/*
 * An instance: put together from its parts, and taken apart in the opposite order.
 *
 * Owns struct vmlab itself and what its parameters mean.  All other state hangs off it
 * and belongs to the file that made it.
 */
#define pr_fmt(fmt) "vmlab: " fmt

#include <linux/cpuhotplug.h>
#include <linux/nodemask.h>
#include <linux/slab.h>

#include "vmlab.h"

#define VMLAB_POOL_MB_DEFAULT	256
#define VMLAB_WATERMARK_LOW	20	/* tenths of a percent */
#define VMLAB_WATERMARK_HIGH	40
#define VMLAB_SWAPPINESS	100	/* dirty and clean pages alike */
#define VMLAB_ZERO_STOCK	4096	/* 16 MiB */
/* Rounds of eviction, and swap-ins, that can always be under way. */
#define VMLAB_MIN_BATCHES	4

static int vmlab_cpuhp_state;

/* MiB wanted on each node. */
struct vmlab_pool_sizes {
	unsigned long	mb[VMLAB_NODES_MAX];
};

static int vmlab_parse_mb(const char *s, unsigned long *mb)
{
	int err = kstrtoul(s, 10, mb);

	return err ? : *mb > VMLAB_POOL_MB_MAX ? -ERANGE : 0;
}

/* A node whose first memory comes later has no pool until the next load. */
static bool vmlab_node_gets_pool(int nid)
{
	return nid < VMLAB_NODES_MAX && node_state(nid, N_MEMORY);
}

/* "N:MB,N:MB,...": nodes that are not named get nothing. */
static int vmlab_parse_per_node(char *list, struct vmlab_pool_sizes *sizes)
{
	char *item, *colon;
	unsigned int nid;

	while ((item = strsep(&list, ","))) {
		colon = strchr(item, ':');
		if (!colon)
			return -EINVAL;
		*colon = '\0';
		if (kstrtouint(item, 10, &nid) || nid >= VMLAB_NODES_MAX ||
		    !vmlab_node_gets_pool(nid) || vmlab_parse_mb(colon + 1, &sizes->mb[nid]))
			return -EINVAL;
	}
	return 0;
}

/* A total is shared out evenly, chunk by chunk. */
static void vmlab_spread_total(unsigned long mb, struct vmlab_pool_sizes *sizes)
{
	unsigned long chunks = DIV_ROUND_UP(mb, 2), nodes = 0, n = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		nodes += vmlab_node_gets_pool(nid);
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vmlab_node_gets_pool(nid))
			continue;
		sizes->mb[nid] = 2 * (chunks / nodes + (n < chunks % nodes));
		n++;
	}
}

static unsigned long vmlab_default_mb(void)
{
	return clamp(totalram_pages() >> (20 - PAGE_SHIFT + 3), 2UL,
		     (unsigned long)VMLAB_POOL_MB_DEFAULT);
}

static int vmlab_parse_sizes(const char *param, struct vmlab_pool_sizes *sizes)
{
	unsigned long mb;
	char *copy;
	int err;

	if (!param || !*param) {
		vmlab_spread_total(vmlab_default_mb(), sizes);
		return 0;
	}
	if (strchr(param, ':')) {
		copy = kstrdup(param, GFP_KERNEL);
		if (!copy)
			return -ENOMEM;
		err = vmlab_parse_per_node(strim(copy), sizes);
		kfree(copy);
	} else {
		err = vmlab_parse_mb(param, &mb);
		if (!err && !mb)
			err = -EINVAL;
		if (!err)
			vmlab_spread_total(mb, sizes);
	}
	if (err && err != -ENOMEM) {
		pr_err("pool_mb=%s: give a number of MiB, or NODE:MIB,NODE:MIB\n", param);
		err = -EINVAL;
	}
	return err;
}

static int vmlab_fill_pool(struct vmlab_pool *pool, unsigned long mb)
{
	unsigned long chunks = DIV_ROUND_UP(mb, 2), got;

	got = vmlab_pool_add_chunks(pool, chunks);
	if (got < chunks)
		pr_warn("node %d: the pool has %lu MiB instead of %lu: not enough free memory\n",
			pool->nid, got * 2, chunks * 2);
	if (chunks && !got)
		return -ENOMEM;
	return 0;
}

static int vmlab_create_pools(struct vmlab *vm, const char *param)
{
	struct vmlab_pool_sizes *sizes;
	bool any = false, wanted = false;
	int nid, err;

	sizes = kvzalloc(sizeof(*sizes), GFP_KERNEL);
	if (!sizes)
		return -ENOMEM;
	err = vmlab_parse_sizes(param, sizes);
	if (err)
		goto out;
	err = -ENOMEM;
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vmlab_node_gets_pool(nid))
			continue;
		vm->pools[nid] = vmlab_pool_create(vm, nid);
		if (!vm->pools[nid])
			goto out;
	}
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid])
			continue;
		if (vmlab_numa_init_fallback(vm->pools[nid]))
			goto out;
		wanted |= sizes->mb[nid];
		if (!vmlab_fill_pool(vm->pools[nid], sizes->mb[nid]))
			any |= sizes->mb[nid];
	}
	err = wanted && !any ? -ENOMEM : 0;
out:
	kvfree(sizes);
	return err;
}

static int vmlab_start_threads(struct vmlab *vm)
{
	int nid, err;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid])
			continue;
		err = vmlab_reclaim_start(vm->pools[nid]);
		if (!err)
			err = vmlab_zero_start(vm->pools[nid]);
		if (!err)
			err = vmlab_promote_start(vm->pools[nid]);
		if (err)
			return err;
	}
	return 0;
}

static void vmlab_stop_threads(struct vmlab *vm)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid])
			continue;
		vmlab_promote_stop(vm->pools[nid]);
		vmlab_zero_stop(vm->pools[nid]);
		vmlab_reclaim_stop(vm->pools[nid]);
	}
}

static void vmlab_destroy_pools(struct vmlab *vm)
{
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		vmlab_pool_destroy(vm->pools[nid]);
}

/* What is no more than initialising memory, and cannot fail. */
static void vmlab_init_fields(struct vmlab *vm)
{
	static struct lock_class_key slot_key;
	unsigned int i;

	vmlab_inject_init(vm);
	xa_init(&vm->lineages);
	xa_init(&vm->objects);
	mutex_init(&vm->swap_mutex);
	mutex_init(&vm->reserve_mutex);
	mutex_init(&vm->resize_mutex);
	for (i = 0; i < VMLAB_SLOT_WAITS; i++)
		init_waitqueue_head(&vm->slot_wait[i]);
	lockdep_init_map(&vm->slot_dep_map, "vmlab_slot", &slot_key, 0);
	vm->watermark_low = VMLAB_WATERMARK_LOW;
	vm->watermark_high = VMLAB_WATERMARK_HIGH;
	vm->swappiness = VMLAB_SWAPPINESS;
	vm->zero_stock = VMLAB_ZERO_STOCK;
	vm->oom_policy = VMLAB_OOM_KILL;
}

static const struct vmlab_policy_ops *vmlab_find_policy_param(const char *name)
{
	const struct vmlab_policy_ops *ops;

	ops = vmlab_policy_find(name && *name ? name : "clock");
	if (!ops)
		pr_err("policy=%s: no such replacement policy; there are clock and fifo\n", name);
	return ops;
}

/* For the reserves of vm->batches and vm->swapins, which make up for what fails here. */
static void *vmlab_batch_kmalloc(gfp_t gfp, void *vm)
{
	if (vmlab_should_fail(vm, VMLAB_INJECT_batch))
		return NULL;
	return kmalloc(vmlab_batch_size(VMLAB_BATCH), gfp);
}

static void *vmlab_swapin_kmalloc(gfp_t gfp, void *vm)
{
	if (vmlab_should_fail(vm, VMLAB_INJECT_swapin))
		return NULL;
	return kmalloc(sizeof(struct vmlab_swapin), gfp);
}

/* The setting that a parameter names; -EINVAL. */
static int vmlab_find_huge_param(const char *name)
{
	int i = match_string(vmlab_huge_names, VMLAB_HUGE_NR, name && *name ? name : "madvise");

	if (i < 0)
		pr_err("huge=%s: not one of always, madvise and never\n", name);
	return i;
}

/**
 * vmlab_create() - make an instance
 * @params: what the user asked for
 *
 * Context: may sleep.
 * Return: the instance, or ERR_PTR(): -EINVAL for parameters, what vmlab_swapon()
 * returns for the swap device, -ENOMEM.
 */
struct vmlab *vmlab_create(const struct vmlab_params *params)
{
	const struct vmlab_policy_ops *policy = vmlab_find_policy_param(params->policy);
	int err = -ENOMEM, huge = vmlab_find_huge_param(params->huge);
	struct vmlab *vm;

	if (!policy || huge < 0)
		return ERR_PTR(-EINVAL);
	vm = kvzalloc(sizeof(*vm), GFP_KERNEL);
	if (!vm)
		return ERR_PTR(-ENOMEM);
	vmlab_init_fields(vm);
	vmlab_huge_init(vm, huge);
	if (percpu_init_rwsem(&vm->activity))
		goto free;
	vm->stats = alloc_percpu(struct vmlab_stats);
	vm->batches = mempool_create(VMLAB_MIN_BATCHES, vmlab_batch_kmalloc, mempool_kfree, vm);
	vm->swapins = mempool_create(VMLAB_MIN_BATCHES, vmlab_swapin_kmalloc, mempool_kfree, vm);
	if (!vm->stats || !vm->batches || !vm->swapins)
		goto free_memory;
	err = vmlab_fs_mount(vm);
	if (err)
		goto free_memory;
	err = vmlab_swap_init(vm);
	if (err)
		goto unmount;
	err = vmlab_oom_init(vm);
	if (err)
		goto exit_swap;
	err = vmlab_create_pools(vm, params->pool_mb);
	if (err)
		goto destroy_pools;
	err = vmlab_policy_switch(vm, policy);
	if (err)
		goto destroy_pools;
	err = cpuhp_state_add_instance_nocalls(vmlab_cpuhp_state, &vm->cpuhp);
	if (err)
		goto stop_policy;
	err = vmlab_start_threads(vm);
	if (err)
		goto stop_threads;
	if (params->swap && *params->swap) {
		err = vmlab_swapon(vm, params->swap, -1);
		if (err)
			goto stop_threads;
	}
	vmlab_debugfs_create(vm);
	return vm;

stop_threads:
	vmlab_stop_threads(vm);
	cpuhp_state_remove_instance_nocalls(vmlab_cpuhp_state, &vm->cpuhp);
stop_policy:
	vmlab_policy_switch(vm, NULL);
destroy_pools:
	vmlab_destroy_pools(vm);
	vmlab_oom_exit(vm);
exit_swap:
	vmlab_swap_exit(vm);
unmount:
	vmlab_fs_unmount(vm);
free_memory:
	mempool_destroy(vm->swapins);
	mempool_destroy(vm->batches);
	free_percpu(vm->stats);
	percpu_free_rwsem(&vm->activity);
free:
	kvfree(vm);
	return ERR_PTR(err);
}

/**
 * vmlab_destroy() - undo vmlab_create()
 * @vm: the instance; no object is left
 */
void vmlab_destroy(struct vmlab *vm)
{
	vmlab_debugfs_remove(vm);
	vmlab_inject_exit(vm);
	vmlab_stop_threads(vm);
	cpuhp_state_remove_instance_nocalls(vmlab_cpuhp_state, &vm->cpuhp);
	vmlab_policy_switch(vm, NULL);
	vmlab_destroy_pools(vm);
	vmlab_oom_exit(vm);
	vmlab_swap_exit(vm);
	vmlab_fs_unmount(vm);
	mempool_destroy(vm->swapins);
	mempool_destroy(vm->batches);
	free_percpu(vm->stats);
	percpu_free_rwsem(&vm->activity);
	kvfree(vm);
}

/*
 * Not under vm->activity: who has it for write may be waited for by one that keeps CPUs
 * from going.  verify, which reads the caches, keeps them from going itself.
 */
static int vmlab_cpu_dead(unsigned int cpu, struct hlist_node *node)
{
	struct vmlab *vm = hlist_entry(node, struct vmlab, cpuhp);
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			vmlab_pool_drain_cpu(vm->pools[nid], cpu);
	return 0;
}

/**
 * vmlab_instance_init() - what all instances need once
 *
 * Return: 0 or -errno.
 */
int vmlab_instance_init(void)
{
	int state = cpuhp_setup_state_multi(CPUHP_BP_PREPARE_DYN, "mm/vmlab:dead", NULL,
					    vmlab_cpu_dead);

	if (state < 0)
		return state;
	vmlab_cpuhp_state = state;
	return 0;
}

/**
 * vmlab_instance_exit() - undo vmlab_instance_init()
 */
void vmlab_instance_exit(void)
{
	cpuhp_remove_multi_state(vmlab_cpuhp_state);
}
