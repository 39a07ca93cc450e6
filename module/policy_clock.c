// SPDX-License-Identifier: GPL-2.0
/*
 * CLOCK: the hand goes round the node's frames and gives second chances.
 *
 * F. J. Corbato, "A Paging Experiment with the Multics System", 1969.  The frames
 * in their physical order are the circle, so a fault costs CLOCK nothing: no list
 * to put a frame on, no lock to take.  The hand tests and clears the hardware's
 * accessed bits, a window of frames at a time; a frame found accessed is left, one
 * that was not touched since the hand came by last is a victim.
 *
 * Owns the hand.  It must not touch slots, page tables or frames' contents.
 */
#include "policy.h"

/* Frames whose accessed bits are read together. */
#define CLOCK_WINDOW	64U

struct vmlab_clock {
	spinlock_t	lock;
	unsigned long	hand;
};

static struct vmlab_clock *clock_of(struct vmlab_pool *pool)
{
	return *vmlab_policy_data(pool);
}

static int clock_init(struct vmlab_pool *pool)
{
	struct vmlab_clock *clock = vmlab_policy_alloc(sizeof(*clock));

	if (!clock)
		return -ENOMEM;
	spin_lock_init(&clock->lock);
	*vmlab_policy_data(pool) = clock;
	return 0;
}

static void clock_exit(struct vmlab_pool *pool)
{
	vmlab_policy_free(clock_of(pool));
	*vmlab_policy_data(pool) = NULL;
}

/*
 * Moves the hand over the next frames and says where it was: threads that scan
 * at the same time get windows of their own.
 */
static unsigned long clock_advance(struct vmlab_scan *scan, unsigned long total,
				   unsigned int nr)
{
	struct vmlab_clock *clock = clock_of(scan->pool);
	unsigned long from;
	bool lap = false;

	spin_lock(&clock->lock);
	if (clock->hand >= total)	/* the pool has shrunk */
		clock->hand = 0;
	from = clock->hand;
	clock->hand += nr;
	if (clock->hand >= total) {
		clock->hand -= total;
		lap = true;
	}
	spin_unlock(&clock->lock);
	if (lap)
		vmlab_scan_lap(scan);
	return from;
}

static unsigned int clock_window(struct vmlab_scan *scan, unsigned long from,
				 unsigned long total, unsigned int nr,
				 struct vmlab_frame **frames)
{
	unsigned int i, resident = 0;

	for (i = 0; i < nr; i++) {
		struct vmlab_frame *frame;

		frame = vmlab_pool_frame(scan->pool, (from + i) % total);
		/* It may change at once: evict locks the slot and looks again. */
		if (READ_ONCE(frame->state) == VMLAB_FRAME_RESIDENT)
			frames[resident++] = frame;
	}
	return resident;
}

static void clock_select(struct vmlab_scan *scan)
{
	unsigned long total = vmlab_pool_nr_frames(scan->pool);
	struct vmlab_frame *frames[CLOCK_WINDOW];
	DECLARE_BITMAP(young, CLOCK_WINDOW);

	while (total && scan->nr_victims < scan->nr_wanted &&
	       scan->nr_scanned < scan->nr_to_scan) {
		unsigned int nr, resident, i;
		unsigned long from;

		/* No more than can become victims: none is passed over unseen. */
		nr = min(CLOCK_WINDOW, scan->nr_wanted - scan->nr_victims);
		nr = min(nr, scan->nr_to_scan - scan->nr_scanned);
		nr = min_t(unsigned long, nr, total);
		from = clock_advance(scan, total, nr);
		resident = clock_window(scan, from, total, nr, frames);
		scan->nr_scanned += nr;

		bitmap_zero(young, CLOCK_WINDOW);
		vmlab_scan_young(scan, frames, resident, young);
		for (i = 0; i < resident; i++)
			if (!test_bit(i, young))
				scan->victims[scan->nr_victims++] = frames[i];
	}
}

const struct vmlab_policy_ops vmlab_policy_clock = {
	.name	= "clock",
	.init	= clock_init,
	.exit	= clock_exit,
	.select	= clock_select,
};
