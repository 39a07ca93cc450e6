// SPDX-License-Identifier: GPL-2.0
/*
 * FIFO: the frame that became resident first leaves first, used or not.
 *
 * The baseline that every other policy must beat, and the one that shows Belady's
 * anomaly (L. A. Belady, R. A. Nelson, G. S. Shedler, 1969).
 *
 * Owns a queue of the resident frames.  It must not touch slots, page tables or
 * frames' contents.
 */
#include "policy.h"

struct vmlab_fifo {
	spinlock_t		lock;
	struct list_head	queue;
};

static struct vmlab_fifo *fifo_of(struct vmlab_pool *pool)
{
	return *vmlab_policy_data(pool);
}

static void fifo_insert(struct vmlab_pool *pool, struct vmlab_frame *frame)
{
	struct vmlab_fifo *fifo = fifo_of(pool);

	spin_lock(&fifo->lock);
	list_add_tail(&frame->lru, &fifo->queue);
	spin_unlock(&fifo->lock);
}

static void fifo_remove(struct vmlab_pool *pool, struct vmlab_frame *frame)
{
	struct vmlab_fifo *fifo = fifo_of(pool);

	spin_lock(&fifo->lock);
	list_del_init(&frame->lru);
	spin_unlock(&fifo->lock);
}

/* Frames that are resident already have no order that FIFO knows: take the pool's. */
static int fifo_init(struct vmlab_pool *pool)
{
	unsigned long pos, total = vmlab_pool_nr_frames(pool);
	struct vmlab_fifo *fifo = vmlab_policy_alloc(sizeof(*fifo));

	if (!fifo)
		return -ENOMEM;
	spin_lock_init(&fifo->lock);
	INIT_LIST_HEAD(&fifo->queue);
	*vmlab_policy_data(pool) = fifo;
	for (pos = 0; pos < total; pos++) {
		struct vmlab_frame *frame = vmlab_pool_frame(pool, pos);

		if (READ_ONCE(frame->state) == VMLAB_FRAME_RESIDENT)
			fifo_insert(pool, frame);
	}
	return 0;
}

static void fifo_exit(struct vmlab_pool *pool)
{
	struct vmlab_fifo *fifo = fifo_of(pool);

	while (!list_empty(&fifo->queue))
		list_del_init(fifo->queue.next);
	vmlab_policy_free(fifo);
	*vmlab_policy_data(pool) = NULL;
}

static void fifo_select(struct vmlab_scan *scan)
{
	struct vmlab_fifo *fifo = fifo_of(scan->pool);

	spin_lock(&fifo->lock);
	while (scan->nr_victims < scan->nr_wanted && scan->nr_scanned < scan->nr_to_scan &&
	       !list_empty(&fifo->queue)) {
		struct vmlab_frame *frame;

		frame = list_first_entry(&fifo->queue, struct vmlab_frame, lru);
		/* To the end: one that cannot leave now waits until the others had a turn. */
		list_move_tail(&frame->lru, &fifo->queue);
		scan->victims[scan->nr_victims++] = frame;
		scan->nr_scanned++;
	}
	/* An empty queue must end the scan as a full lap does. */
	if (list_empty(&fifo->queue))
		scan->nr_scanned = scan->nr_to_scan;
	spin_unlock(&fifo->lock);
}

const struct vmlab_policy_ops vmlab_policy_fifo = {
	.name	= "fifo",
	.init	= fifo_init,
	.exit	= fifo_exit,
	.insert	= fifo_insert,
	.remove	= fifo_remove,
	.select	= fifo_select,
};
