// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 1 GiB: contiguous memory that is set aside for RESERVE, as nr_hugepages of
 * hugepages-1048576kB does for hugetlbfs.
 *
 * Owns struct vmlab_gigantic and where its memory comes from.  Each is 512 chunks that are
 * offline for good: no pool hands out their frames, no policy looks at them, nobody empties
 * them, and a frame that is freed goes back to its chunk and no further.  So one is free again
 * when all its chunks are whole.  It must never take a part of one for anything but RESERVE.
 *
 * Linux has alloc_contig_pages() for this, which 6.12 does not export yet.  Like that, this tries
 * with alloc_contig_range() (mm/page_alloc.c) each place that could do: the highest first, to
 * leave what devices can reach to them, and never in ZONE_MOVABLE, which must be one that can
 * be emptied.
 */
#include <linux/gfp.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vmlab.h"

/* --- memory -------------------------------------------------------------- */

/* As pfn_range_valid_contig() (mm/page_alloc.c).  All of a zone is on one node. */
static bool vmlab_gigantic_may_be_at(unsigned long pfn, int nid)
{
	struct page *page = pfn_to_online_page(pfn);
	struct zone *zone = page ? page_zone(page) : NULL;
	unsigned long end = pfn + VMLAB_GIGANTIC_FRAMES;

	if (!zone || zone_to_nid(zone) != nid || zone_idx(zone) == ZONE_MOVABLE)
		return false;
	for (; pfn < end; pfn++) {
		page = pfn_to_online_page(pfn);
		if (!page || page_zone(page) != zone || PageReserved(page) || PageHuge(page))
			return false;
	}
	return true;
}

/* How often all of a node is tried: a page that is in use for a moment bars the GiB around it. */
#define VMLAB_GIGANTIC_TRIES	3

/* 1 GiB of a node's memory, emptied: its first page frame, or 0. */
static unsigned long vmlab_gigantic_try_memory(int nid)
{
	unsigned long pfn = ALIGN_DOWN(node_end_pfn(nid), VMLAB_GIGANTIC_FRAMES);

	while (pfn >= node_start_pfn(nid) + VMLAB_GIGANTIC_FRAMES) {
		pfn -= VMLAB_GIGANTIC_FRAMES;
		if (fatal_signal_pending(current))
			return 0;
		if (vmlab_gigantic_may_be_at(pfn, nid) &&
		    !vmlab_alloc_contig(pfn, VMLAB_GIGANTIC_FRAMES, GFP_KERNEL | __GFP_NOWARN))
			return pfn;
		cond_resched();
	}
	return 0;
}

static unsigned long vmlab_gigantic_find_memory(int nid)
{
	unsigned int tries = VMLAB_GIGANTIC_TRIES;
	unsigned long pfn;

	for (;;) {
		pfn = vmlab_gigantic_try_memory(nid);
		if (pfn || !--tries || fatal_signal_pending(current))
			return pfn;
		schedule_timeout_killable(HZ / 5);
	}
}

static void vmlab_gigantic_free(struct vmlab_gigantic *gigantic)
{
	free_contig_range(gigantic->frames[0].pfn, VMLAB_GIGANTIC_FRAMES);
	kvfree(gigantic->frames);
	kvfree(gigantic->chunks);
	kfree(gigantic);
}

static void vmlab_gigantic_init(struct vmlab_gigantic *gigantic, struct vmlab_pool *pool,
				unsigned long pfn)
{
	unsigned int i, j;

	for (i = 0; i < VMLAB_GIGANTIC_CHUNKS; i++) {
		struct vmlab_chunk *chunk = &gigantic->chunks[i];

		vmlab_chunk_init(chunk, pool, gigantic->frames + i * VMLAB_CHUNK_FRAMES,
				 VMLAB_CHUNK_ORDER);
		chunk->gigantic = gigantic;
		chunk->offline = true;
		for (j = 0; j < VMLAB_CHUNK_FRAMES; j++)
			chunk->frames[j].pfn = pfn++;
		cond_resched();
	}
}

/* The memory first: its books are 16 MiB, and none of that may be in the way. */
static struct vmlab_gigantic *vmlab_gigantic_alloc(struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic;
	struct vmlab *vm = pool->vm;
	unsigned long pfn;

	pfn = vmlab_should_fail(vm, VMLAB_INJECT_chunk) ? 0 :
	      vmlab_gigantic_find_memory(pool->nid);
	if (!pfn)
		return NULL;
	gigantic = vmlab_should_fail(vm, VMLAB_INJECT_chunk) ? NULL :
		   kzalloc_node(sizeof(*gigantic), GFP_KERNEL, pool->nid);
	if (!gigantic)
		goto free_memory;
	gigantic->chunks = vmlab_should_fail(vm, VMLAB_INJECT_chunk) ? NULL :
			   kvcalloc_node(VMLAB_GIGANTIC_CHUNKS, sizeof(*gigantic->chunks),
					 GFP_KERNEL, pool->nid);
	gigantic->frames = vmlab_should_fail(vm, VMLAB_INJECT_chunk) ? NULL :
			   kvmalloc_node(VMLAB_GIGANTIC_FRAMES * sizeof(*gigantic->frames),
					 GFP_KERNEL, pool->nid);
	if (!gigantic->chunks || !gigantic->frames)
		goto free_books;
	vmlab_gigantic_init(gigantic, pool, pfn);
	return gigantic;
free_books:
	kvfree(gigantic->frames);
	kvfree(gigantic->chunks);
	kfree(gigantic);
free_memory:
	free_contig_range(pfn, VMLAB_GIGANTIC_FRAMES);
	return NULL;
}

/* --- how many ------------------------------------------------------------ */

/* pool->lock held. */
static bool vmlab_gigantic_is_free(struct vmlab_gigantic *gigantic)
{
	unsigned int i;

	if (gigantic->claimed)
		return false;
	for (i = 0; i < VMLAB_GIGANTIC_CHUNKS; i++)
		if (!vmlab_chunk_is_whole(&gigantic->chunks[i]))
			return false;
	return true;
}

/* One that is free, for the caller alone; or NULL. */
static struct vmlab_gigantic *vmlab_gigantic_claim_of(struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic, *found = NULL;

	spin_lock(&pool->lock);
	list_for_each_entry(gigantic, &pool->gigantic, link) {
		if (!vmlab_gigantic_is_free(gigantic))
			continue;
		found = gigantic;
		found->claimed = true;
		break;
	}
	spin_unlock(&pool->lock);
	return found;
}

/**
 * vmlab_gigantic_unclaim() - it is used by now, or is not going to be
 * @gigantic: from vmlab_gigantic_claim()
 *
 * Context: any but interrupts.
 */
void vmlab_gigantic_unclaim(struct vmlab_gigantic *gigantic)
{
	struct vmlab_pool *pool = gigantic->chunks[0].pool;

	spin_lock(&pool->lock);
	gigantic->claimed = false;
	spin_unlock(&pool->lock);
}

/**
 * vmlab_gigantic_claim() - find a free page of 1 GiB
 * @vm: the instance
 * @place: where it should be
 *
 * Context: any but interrupts.
 * Return: the page, which nobody else gets until vmlab_gigantic_unclaim(), or NULL.
 */
struct vmlab_gigantic *vmlab_gigantic_claim(struct vmlab *vm, struct vmlab_place place)
{
	struct vmlab_pool *wanted = vmlab_place_pool(vm, place);
	struct vmlab_gigantic *gigantic = NULL;
	int i;

	for (i = 0; wanted && i < wanted->nr_fallback && !gigantic; i++)
		if (vmlab_place_allows(place, wanted->fallback[i]))
			gigantic = vmlab_gigantic_claim_of(vm->pools[wanted->fallback[i]]);
	return gigantic;
}

static int vmlab_gigantic_add(struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic;

	if (!vmlab_machine_has_room(VMLAB_GIGANTIC_FRAMES))
		return -ENOMEM;
	gigantic = vmlab_gigantic_alloc(pool);
	if (!gigantic)
		return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
	/* Who counts all frames finds them all, or none. */
	percpu_down_write(&pool->vm->activity);
	spin_lock(&pool->lock);
	list_add_tail(&gigantic->link, &pool->gigantic);
	WRITE_ONCE(pool->nr_gigantic, pool->nr_gigantic + 1);
	spin_unlock(&pool->lock);
	percpu_up_write(&pool->vm->activity);
	return 0;
}

static int vmlab_gigantic_remove(struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic = vmlab_gigantic_claim_of(pool);

	if (!gigantic)
		return -EBUSY;
	percpu_down_write(&pool->vm->activity);
	spin_lock(&pool->lock);
	list_del(&gigantic->link);
	WRITE_ONCE(pool->nr_gigantic, pool->nr_gigantic - 1);
	spin_unlock(&pool->lock);
	percpu_up_write(&pool->vm->activity);
	vmlab_gigantic_free(gigantic);
	return 0;
}

/**
 * vmlab_gigantic_set() - change how many pages of 1 GiB a node has
 * @pool: the node's pool
 * @nr: how many are wanted
 *
 * Context: sleeps; no locks.
 * Return: 0; -ENOMEM: no GiB of the node can be emptied, -EBUSY: the rest is in use, or -EINTR
 * on a fatal signal: there are as many then as it got to; -EOPNOTSUPP: the kernel or the
 * processor cannot map them.
 */
int vmlab_gigantic_set(struct vmlab_pool *pool, unsigned int nr)
{
	struct vmlab *vm = pool->vm;
	int err = 0;

	if (nr && !vmlab_gigantic_works())
		return -EOPNOTSUPP;
	if (mutex_lock_killable(&vm->resize_mutex))
		return -EINTR;
	while (!err && pool->nr_gigantic < nr)
		err = vmlab_gigantic_add(pool);
	while (!err && pool->nr_gigantic > nr)
		err = vmlab_gigantic_remove(pool);
	mutex_unlock(&vm->resize_mutex);
	return err;
}

/**
 * vmlab_gigantic_count() - how many pages of 1 GiB a node has
 * @pool: the node's pool
 * @nr_free: out: how many are free, and not about to be used
 *
 * Return: all of them.
 */
unsigned int vmlab_gigantic_count(struct vmlab_pool *pool, unsigned int *nr_free)
{
	struct vmlab_gigantic *gigantic;
	unsigned int nr, free = 0;

	spin_lock(&pool->lock);
	nr = pool->nr_gigantic;
	list_for_each_entry(gigantic, &pool->gigantic, link)
		free += vmlab_gigantic_is_free(gigantic);
	spin_unlock(&pool->lock);
	*nr_free = free;
	return nr;
}

/**
 * vmlab_gigantic_exit() - free all of a node's
 * @pool: the node's pool; none is in use
 */
void vmlab_gigantic_exit(struct vmlab_pool *pool)
{
	struct vmlab_gigantic *gigantic, *next;

	list_for_each_entry_safe(gigantic, next, &pool->gigantic, link)
		vmlab_gigantic_free(gigantic);
}
