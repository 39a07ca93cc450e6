// SPDX-License-Identifier: GPL-2.0
/*
 * The stock of frames zeroed ahead, and of whole chunks, filled by a thread of low priority.
 *
 * Owns how large the stock may be and when it is filled.  The frames in it
 * stay free: reclaim counts them as such, and allocations that want no zeros
 * take them when nothing else is left.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/sched.h>

#include "vmlab.h"

/* Share of a pool that the stock may hold, whatever vm->zero_stock says. */
#define VMLAB_STOCK_SHARE	16

static unsigned long vmlab_stock_target(struct vmlab_pool *pool)
{
	return min_t(unsigned long, vmlab_pool_nr_frames(pool) / VMLAB_STOCK_SHARE,
		     READ_ONCE(pool->vm->zero_stock));
}

/* Only out of plenty: a frame in the stock is one that reclaim need not free. */
static bool vmlab_stock_wanted(struct vmlab_pool *pool)
{
	unsigned long high = vmlab_watermark(pool, READ_ONCE(pool->vm->watermark_high));

	return READ_ONCE(pool->nr_stock) < vmlab_stock_target(pool) &&
	       READ_ONCE(pool->nr_free) > high + READ_ONCE(pool->nr_stock);
}

/* Zeroes one frame into the stock; false when the stock wants no more. */
static bool vmlab_stock_fill_one(struct vmlab_pool *pool)
{
	struct vmlab_frame *frame;
	bool filled = false;

	percpu_down_read(&pool->vm->activity);
	if (!vmlab_stock_wanted(pool))
		goto out;
	frame = vmlab_pool_take_one(pool);
	if (!frame)
		goto out;
	clear_page(vmlab_frame_addr(frame));
	vmlab_pool_put_stock(pool, frame);
	vmlab_count(pool->vm, zero_filled_pages, 1);
	filled = true;
out:
	percpu_up_read(&pool->vm->activity);
	return filled;
}

/* Whole chunks, where huge pages are wanted at all: at most half of a pool. */
static bool vmlab_chunk_stock_wanted(struct vmlab_pool *pool)
{
	unsigned int max = min(READ_ONCE(pool->vm->promote[VMLAB_PROMOTE_ZERO_CHUNKS]),
			       READ_ONCE(pool->nr_chunks) / 2);

	return READ_ONCE(pool->vm->huge) != VMLAB_HUGE_NEVER &&
	       READ_ONCE(pool->nr_zeroed_chunks) < max &&
	       READ_ONCE(pool->nr_whole) > READ_ONCE(pool->nr_zeroed_chunks) &&
	       READ_ONCE(pool->nr_free) >= vmlab_high_watermark(pool) + VMLAB_CHUNK_FRAMES;
}

/* Zeroes one chunk; false when no more are wanted, or there are none. */
static bool vmlab_stock_zero_chunk(struct vmlab_pool *pool)
{
	struct vmlab_chunk *chunk = NULL;
	bool zeroed;

	percpu_down_read(&pool->vm->activity);
	if (vmlab_chunk_stock_wanted(pool))
		chunk = vmlab_chunk_take_whole(pool, vmlab_high_watermark(pool), true, &zeroed);
	if (chunk) {
		vmlab_chunk_zero(chunk);
		vmlab_chunk_put_whole(chunk, true);
		vmlab_count(pool->vm, thp_zeroed_chunks, 1);
	}
	percpu_up_read(&pool->vm->activity);
	return chunk;
}

static int vmlab_zero_thread(void *arg)
{
	struct vmlab_pool *pool = arg;

	set_user_nice(current, MAX_NICE);
	set_freezable();
	while (!kthread_should_stop()) {
		try_to_freeze();
		wait_event_freezable(pool->zero_wait,
				     kthread_should_stop() || vmlab_stock_wanted(pool) ||
				     vmlab_chunk_stock_wanted(pool));
		while (!kthread_should_stop() && vmlab_stock_fill_one(pool))
			cond_resched();
		while (!kthread_should_stop() && vmlab_stock_zero_chunk(pool))
			cond_resched();
		/* Not at once again, should it find none against what the counts say. */
		if (!kthread_should_stop() && vmlab_chunk_stock_wanted(pool))
			schedule_timeout_idle(HZ / 10);
	}
	return 0;
}

/**
 * vmlab_zero_wake() - the stock runs low
 * @pool: the pool
 *
 * Context: any but interrupts; cheap when the thread is busy already.
 */
void vmlab_zero_wake(struct vmlab_pool *pool)
{
	if (wq_has_sleeper(&pool->zero_wait))
		wake_up(&pool->zero_wait);
}

/**
 * vmlab_zero_set_stock() - bound the stock of every node
 * @vm: the instance
 * @max: frames; what is above goes back among the free frames at once
 *
 * Frames that per-CPU caches took from the stock already stay there.
 *
 * Context: process context, sleeps.
 */
void vmlab_zero_set_stock(struct vmlab *vm, unsigned int max)
{
	int nid;

	WRITE_ONCE(vm->zero_stock, max);
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		struct vmlab_pool *pool = vm->pools[nid];

		if (!pool)
			continue;
		percpu_down_read(&vm->activity);
		while (vmlab_pool_trim_stock(pool, vmlab_stock_target(pool)))
			cond_resched();
		percpu_up_read(&vm->activity);
		vmlab_zero_wake(pool);
	}
}

/**
 * vmlab_zero_start() - start a pool's zeroing thread
 * @pool: the pool
 *
 * Return: 0 or -errno.
 */
int vmlab_zero_start(struct vmlab_pool *pool)
{
	return vmlab_thread_start(pool, vmlab_zero_thread, "vmlab_zerod/%d", &pool->zero_task);
}

/**
 * vmlab_zero_stop() - stop it
 * @pool: the pool; never started is fine
 */
void vmlab_zero_stop(struct vmlab_pool *pool)
{
	vmlab_thread_stop(&pool->zero_task);
}
