/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface between reclaim and a replacement policy.
 *
 * A policy says which resident frames of a node should leave next, and
 * nothing else: it never touches slots, page tables, swap or the frames'
 * contents.  Like frame.h, this header includes nothing that a user-space
 * unit test cannot have.
 *
 * Life: one policy serves all pools of an instance.  init() and exit() run
 * while the instance is frozen: no frame changes its state meanwhile.
 */
#ifndef VMLAB_POLICY_H
#define VMLAB_POLICY_H

#include <linux/errno.h>
#include <linux/minmax.h>

#include "frame.h"

#define VMLAB_BATCH		128	/* most victims of one round */

/**
 * struct vmlab_scan - one round of victim selection on one node
 * @pool:	the node's pool
 * @nr_wanted:	victims wanted, at most VMLAB_BATCH
 * @nr_to_scan:	frames that may be looked at
 * @nr_scanned:	out: frames looked at; resident or not, so that a pool with
 *		few resident frames ends too
 * @nr_victims:	out: victims found
 * @victims:	out: the victims
 */
struct vmlab_scan {
	struct vmlab_pool	*pool;
	unsigned int		nr_wanted;
	unsigned int		nr_to_scan;
	unsigned int		nr_scanned;
	unsigned int		nr_victims;
	struct vmlab_frame	*victims[VMLAB_BATCH];
};

/**
 * struct vmlab_policy_ops - a replacement policy
 * @name:	as written to debugfs `policy`
 * @init:	optional: build the policy's state in *vmlab_policy_data(pool)
 *		from the frames that are resident; may sleep; 0 or -errno
 * @exit:	optional: undo init()
 * @insert:	optional: the frame has become resident; must not sleep
 * @remove:	optional: the frame is no longer resident; must not sleep
 * @select:	fill scan->victims; may sleep.  Victims that turn out to be
 *		busy, pinned or without room on swap stay resident, and the
 *		policy must not propose them again before the others had
 *		their turn.
 *
 * insert() and remove() run under the lock of a slot that names the frame,
 * select() may run in several threads at once.
 */
struct vmlab_policy_ops {
	const char	*name;
	int		(*init)(struct vmlab_pool *pool);
	void		(*exit)(struct vmlab_pool *pool);
	void		(*insert)(struct vmlab_pool *pool, struct vmlab_frame *frame);
	void		(*remove)(struct vmlab_pool *pool, struct vmlab_frame *frame);
	void		(*select)(struct vmlab_scan *scan);
};

extern const struct vmlab_policy_ops vmlab_policy_clock;
extern const struct vmlab_policy_ops vmlab_policy_fifo;

/* What policies may use: policy.c, pool.c and reclaim.c, or a unit test's own. */
void *vmlab_policy_alloc(size_t size);
void vmlab_policy_free(void *data);
void **vmlab_policy_data(struct vmlab_pool *pool);
unsigned long vmlab_pool_nr_frames(struct vmlab_pool *pool);
struct vmlab_frame *vmlab_pool_frame(struct vmlab_pool *pool, unsigned long pos);
void vmlab_scan_young(struct vmlab_scan *scan, struct vmlab_frame **frames,
		      unsigned int nr, unsigned long *young);
void vmlab_scan_lap(struct vmlab_scan *scan);

#endif /* VMLAB_POLICY_H */
