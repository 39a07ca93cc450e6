// SPDX-License-Identifier: GPL-2.0
/*
 * When memory is taken back: watermarks, the reclaim threads, direct reclaim, and
 * the allocator that waits.
 *
 * Owns the decision how much must go and from where.  Which pages go is the
 * policy's, how they go is evict.c's.  It must never be called with a slot locked.
 */
#include <linux/kthread.h>
#include <linux/sched/signal.h>

#include "trace.h"
#include "vmlab.h"

/* Frames that one direct reclaim wants to free: its own, and some for the next. */
#define VMLAB_DIRECT_BATCH	64
/* Jiffies to wait for frames that others are freeing. */
#define VMLAB_BUSY_WAIT		(10 * HZ)
/* Jiffies between two rounds, as long as something is on its way. */
#define VMLAB_MOMENT		max(HZ / 50, 1)
/* Jiffies to wait once for frames that nobody accounts for. */
#define VMLAB_IDLE_WAIT		16
/* Share of a pool that one round of its thread may take. */
#define VMLAB_STEP_SHARE	16
/* Frames of a lineage whose accessed bits are read together. */
#define VMLAB_LIMIT_WINDOW	64

/**
 * vmlab_watermark() - a watermark in frames
 * @pool: the pool
 * @permille: in tenths of a percent of its frames
 *
 * Return: frames; a few even in a tiny pool, none in an empty one.
 */
unsigned long vmlab_watermark(struct vmlab_pool *pool, unsigned int permille)
{
	unsigned long total = vmlab_pool_nr_frames(pool);

	return total ? max(total * permille / 1000, 8UL) : 0;
}

/* Frames of one 2 MiB of one lineage, from @frames[0] on: how many are there? */
static unsigned int vmlab_young_group(struct vmlab_frame **frames, unsigned int nr,
				      struct vmlab_lineage *lineage, u64 index)
{
	unsigned int n = 1;

	while (n < nr && rcu_access_pointer(frames[n]->lineage) == lineage &&
	       READ_ONCE(frames[n]->pgoff) >> VMLAB_LEAF_SHIFT == index)
		n++;
	return n;
}

/**
 * vmlab_scan_young() - read and clear frames' accessed bits, for a policy
 * @scan: the scan
 * @frames: frames that were resident a moment ago
 * @nr: how many
 * @young: bits to set, one for each that was accessed since the last look
 *
 * Frames that lie together in an object cost one walk together.
 *
 * Context: may sleep.
 */
void vmlab_scan_young(struct vmlab_scan *scan, struct vmlab_frame **frames,
		      unsigned int nr, unsigned long *young)
{
	struct vmlab *vm = scan->pool->vm;
	unsigned int i, n, chances = 0;

	for (i = 0; i < nr; i += n) {
		struct vmlab_lineage *lineage;
		unsigned long group = 0;
		u64 index;

		n = 1;
		rcu_read_lock();
		lineage = rcu_dereference(frames[i]->lineage);
		if (!lineage || !vmlab_lineage_tryget(lineage)) {
			rcu_read_unlock();
			continue;
		}
		rcu_read_unlock();
		index = READ_ONCE(frames[i]->pgoff) >> VMLAB_LEAF_SHIFT;
		n = vmlab_young_group(frames + i, min_t(unsigned int, nr - i, BITS_PER_LONG),
				      lineage, index);
		vmlab_rmap_young(lineage, index, frames + i, n, &group, true);
		vmlab_lineage_put(lineage);
		for_each_set_bit(index, &group, n)
			__set_bit(i + index, young);
	}
	for (i = 0; i < nr; i++) {
		/*
		 * The frame may be another's by now.  In the stock the same byte says
		 * that it is zeroed: to lose that costs no more than zeroing it again.
		 */
		if (READ_ONCE(frames[i]->accessed)) {
			WRITE_ONCE(frames[i]->accessed, 0);
			__set_bit(i, young);
		}
		chances += test_bit(i, young);
	}
	vmlab_count(vm, clock_scanned, nr);
	vmlab_count(vm, clock_second_chance, chances);
	trace_clock_scan(scan->pool->nid, nr, chances, nr - chances);
}

/**
 * vmlab_scan_lap() - a policy's hand came round
 * @scan: the scan
 */
void vmlab_scan_lap(struct vmlab_scan *scan)
{
	vmlab_count(scan->pool->vm, clock_laps, 1);
}

/* Selects and locks some; how many frames were looked at. */
static unsigned int vmlab_reclaim_select(struct vmlab_pool *pool, struct vmlab_batch *batch,
					 unsigned long to_scan)
{
	struct vmlab_scan *scan = &batch->scan;
	struct vmlab *vm = pool->vm;
	unsigned int i;

	scan->pool = pool;
	scan->nr_wanted = VMLAB_BATCH;
	scan->nr_to_scan = min_t(unsigned long, to_scan, UINT_MAX);
	scan->nr_scanned = 0;
	scan->nr_victims = 0;
	vm->policy->select(scan);
	for (i = 0; i < scan->nr_victims && batch->nr < batch->max; i++)
		vmlab_evict_add(vm, batch, scan->victims[i]);
	return max(scan->nr_scanned, 1U);
}

/*
 * One round: select, lock, evict.  Whole batches: a flush and a bio cost the same for one page
 * as for many.  Adds up the frames looked at.
 */
static unsigned int vmlab_reclaim_round(struct vmlab_pool *pool, struct vmlab_batch *batch,
					unsigned int nr, unsigned long *scanned)
{
	unsigned long total = vmlab_pool_nr_frames(pool), looked = 0;
	unsigned int asked;

	batch->all_failed = false;
	for (asked = 0; asked < nr && looked < total; asked += VMLAB_BATCH)
		looked += vmlab_reclaim_select(pool, batch, total - looked);
	*scanned += looked;
	return batch->nr ? vmlab_evict(pool->vm, batch) : 0;
}

/*
 * Swappiness weighs dirty pages, which cost a write, against clean ones, which
 * cost nothing: at 100 both go alike, below fewer dirty ones are taken as long as
 * others are found, above fewer clean ones.
 */
static void vmlab_reclaim_quota(struct vmlab *vm, struct vmlab_batch *batch, bool strict)
{
	unsigned int s = READ_ONCE(vm->swappiness);

	batch->dirty_quota = batch->max;
	batch->clean_quota = batch->max;
	if (!strict)
		return;
	batch->dirty_quota = batch->max * min(s, 100U) / 100;
	batch->clean_quota = batch->max * min(200 - s, 100U) / 100;
}

/**
 * vmlab_reclaim_pool() - free frames of a node
 * @pool: the pool
 * @nr: how many
 *
 * Looks at every frame up to three times: once to find it accessed and clear that,
 * once to see that it was not accessed again, and once more without regard to
 * swappiness.
 *
 * Context: sleeps for I/O; no slot locked; vm->activity held for read.
 * Return: frames freed; -EBUSY when none were but others move some out or in, or the swap
 * devices took nothing just now, so that it is worth to come again; 0 when nothing can be
 * freed.
 */
long vmlab_reclaim_pool(struct vmlab_pool *pool, unsigned int nr)
{
	unsigned long total = vmlab_pool_nr_frames(pool);
	struct vmlab_batch *batch = vmlab_batch_alloc(pool->vm, nr);
	bool busy = atomic_read(&pool->vm->nr_moving);
	unsigned long scanned = 0;
	bool failing = false;
	long freed = 0;

	/* Then no page has a copy, nor can have one. */
	if (!vmlab_swap_has_devs(pool->vm))
		scanned = 3 * total;
	while (freed < nr && scanned < 3 * total) {
		vmlab_reclaim_quota(pool->vm, batch, scanned < 2 * total);
		freed += vmlab_reclaim_round(pool, batch, min(nr, batch->max), &scanned);
		/* The devices take nothing now: later, perhaps. */
		failing = batch->all_failed && vmlab_swap_is_failing(pool->vm);
		if (failing || fatal_signal_pending(current))
			break;
		cond_resched();
	}
	if (!freed && (busy || atomic_read(&pool->vm->nr_moving) ||
		       failing || vmlab_swap_is_failing(pool->vm)))
		freed = -EBUSY;
	vmlab_batch_free(pool->vm, batch);
	return freed;
}

/*
 * Where swap has no room, dirty pages stay: to lock each with all that share it, only to
 * see that, would take a family of processes at its limit minutes.
 */
static bool vmlab_limit_may_go(struct vmlab_lineage *lineage, unsigned long word, bool room)
{
	if (!vmlab_word_is_frame(word))
		return false;
	if (room || !vmlab_frame_seems_dirty(vmlab_word_frame(word)))
		return true;
	vmlab_count(lineage->vm, evict_no_swap, 1);
	return false;
}

/* The frames that a window of the @nth leaf of 2 MiB names; -1: there is none.  RCU. */
static int vmlab_limit_frames(struct vmlab_lineage *lineage, u64 index, unsigned int nth,
			      unsigned int from, struct vmlab_frame **frames)
{
	bool room = vmlab_swap_has_room(lineage->vm);
	struct vmlab_leaf *leaf;
	unsigned int i;
	int n = -1;

	rcu_read_lock();
	/* Looked up anew each time: lists are short but for swarms of unshared copies. */
	leaf = xa_load(&lineage->leaves, index);
	while (leaf && nth--)
		leaf = rcu_dereference(leaf->next);
	if (leaf) {
		n = 0;
		spin_lock(&leaf->lock);
		for (i = from; !leaf->dead && i < from + VMLAB_LIMIT_WINDOW; i++)
			if (vmlab_limit_may_go(lineage, leaf->words[i], room))
				frames[n++] = vmlab_word_frame(leaf->words[i]);
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return n;
}

/* Adds the pages of one leaf's window that were not accessed lately to a batch. */
static bool vmlab_limit_scan_leaf(struct vmlab_lineage *lineage, u64 index, unsigned int nth,
				  unsigned int from, struct vmlab_batch *batch)
{
	struct vmlab_frame *frames[VMLAB_LIMIT_WINDOW];
	unsigned long young = 0;
	int i, n;

	n = vmlab_limit_frames(lineage, index, nth, from, frames);
	if (n <= 0)
		return !n;
	vmlab_rmap_young(lineage, index, frames, n, &young, true);
	for (i = 0; i < n && batch->nr < VMLAB_BATCH; i++)
		if (!test_bit(i, &young))
			vmlab_evict_add(lineage->vm, batch, frames[i]);
	return true;
}

/* The same for all leaves of the 2 MiB. */
static void vmlab_limit_scan_window(struct vmlab_lineage *lineage, u64 index,
				    unsigned int from, struct vmlab_batch *batch)
{
	unsigned int nth = 0;

	while (batch->nr < VMLAB_BATCH && !fatal_signal_pending(current) &&
	       vmlab_limit_scan_leaf(lineage, index, nth, from, batch)) {
		nth++;
		cond_resched();
	}
}

/* Moves the lineage's hand by one window; false at the end of a lap. */
static bool vmlab_limit_scan(struct vmlab_lineage *lineage, struct vmlab_batch *batch)
{
	u64 hand = READ_ONCE(lineage->hand);
	unsigned long index = hand >> VMLAB_LEAF_SHIFT;

	if (!xa_find(&lineage->leaves, &index, ULONG_MAX, XA_PRESENT)) {
		WRITE_ONCE(lineage->hand, 0);
		return false;
	}
	if (index != hand >> VMLAB_LEAF_SHIFT)
		hand = (u64)index << VMLAB_LEAF_SHIFT;
	/* Two threads may take the same window: each evicts what it can lock. */
	WRITE_ONCE(lineage->hand, hand + VMLAB_LIMIT_WINDOW);
	vmlab_limit_scan_window(lineage, index, hand & (VMLAB_LEAF_SLOTS - 1), batch);
	return true;
}

/**
 * vmlab_reclaim_lineage() - free frames of one lineage, which is at its limit
 * @lineage: the lineage
 * @nr: how many
 *
 * CLOCK over the lineage's pages in their order, whatever the policy is.
 *
 * Context, Return: as vmlab_reclaim_pool().
 */
long vmlab_reclaim_lineage(struct vmlab_lineage *lineage, unsigned int nr)
{
	struct vmlab_batch *batch = vmlab_batch_alloc(lineage->vm, VMLAB_BATCH);
	bool busy = atomic_read(&lineage->nr_moving), failing = false;
	unsigned int laps = vmlab_swap_has_devs(lineage->vm) ? 0 : 3;
	long freed = 0;

	vmlab_count(lineage->vm, reclaim_limit, 1);
	while (freed < nr && laps < 3) {
		batch->dirty_quota = VMLAB_BATCH;
		batch->clean_quota = VMLAB_BATCH;
		while (batch->nr + VMLAB_LIMIT_WINDOW <= VMLAB_BATCH && batch->nr < nr) {
			cond_resched();
			if (!fatal_signal_pending(current) && vmlab_limit_scan(lineage, batch))
				continue;
			/* What the next lap finds, this batch may have locked. */
			if (++laps == 3 || batch->nr || fatal_signal_pending(current))
				break;
		}
		if (batch->nr)
			freed += vmlab_evict(lineage->vm, batch);
		failing = batch->all_failed && vmlab_swap_is_failing(lineage->vm);
		if (failing || fatal_signal_pending(current))
			break;
		cond_resched();
	}
	if (!freed && (busy || atomic_read(&lineage->nr_moving) ||
		       failing || vmlab_swap_is_failing(lineage->vm)))
		freed = -EBUSY;
	vmlab_batch_free(lineage->vm, batch);
	return freed;
}

/**
 * vmlab_frame_try() - charge and take a frame without waiting
 * @lineage: who pays
 * @place: where it should be
 * @flags: VMLAB_ALLOC_*
 *
 * Context: a slot may be locked; does not sleep.
 * Return: the frame, INFLIGHT, or NULL.
 */
struct vmlab_frame *vmlab_frame_try(struct vmlab_lineage *lineage, struct vmlab_place place,
				    unsigned int flags)
{
	struct vmlab_frame *frame;

	if (!vmlab_lineage_charge(lineage, 1))
		return NULL;
	frame = vmlab_frame_alloc(lineage->vm, place, flags);
	if (!frame)
		vmlab_lineage_uncharge(lineage, 1);
	return frame;
}

/**
 * vmlab_frame_unget() - free a frame and uncharge it
 * @lineage: who paid
 * @frame: INFLIGHT
 */
void vmlab_frame_unget(struct vmlab_lineage *lineage, struct vmlab_frame *frame)
{
	vmlab_frame_free(frame);
	vmlab_lineage_uncharge(lineage, 1);
}

/* Counts from the first call on; in time, since a round of reclaim may take long. */
static bool vmlab_waited_enough(unsigned long *until)
{
	if (!*until)
		*until = (jiffies + VMLAB_BUSY_WAIT) | 1;
	return time_after(jiffies, *until);
}

/*
 * Frames that others are about to free are worth a wait, though not for ever: their I/O
 * may hang.  False when there is nothing to wait for.
 */
static bool vmlab_worth_a_wait(long freed, unsigned long *until)
{
	if (freed > 0)
		*until = 0;
	return freed == -EBUSY && !vmlab_waited_enough(until);
}

/*
 * A tick, or a moment while something is on its way and nobody has evicted anything: to look
 * at all frames again would find the same.
 */
static void vmlab_wait_moment(struct vmlab *vm)
{
	long evicted = atomic_long_read(&vm->nr_evicted);
	int ticks = VMLAB_MOMENT;

	do
		schedule_timeout_killable(1);
	while (--ticks > 0 && !fatal_signal_pending(current) &&
	       atomic_long_read(&vm->nr_evicted) == evicted &&
	       (atomic_read(&vm->nr_moving) || vmlab_swap_is_failing(vm)));
}

/**
 * vmlab_reclaim_failed() - was a round of reclaim for nothing?
 * @vm: the instance
 * @freed: what it returned
 * @until: the caller's, 0 at first: when to give up, in jiffies
 *
 * Waits a moment for frames that others are about to free.
 *
 * Context: sleeps; vm->activity not held.
 * Return: false when it is worth to go on.
 */
bool vmlab_reclaim_failed(struct vmlab *vm, long freed, unsigned long *until)
{
	if (!vmlab_worth_a_wait(freed, until))
		return freed <= 0;
	vmlab_wait_moment(vm);
	return false;
}

/*
 * Waits a moment with vm->activity let go: who wants the world to stand still would keep
 * everybody else waiting behind him.  The caller has charged nothing that verify would miss.
 */
static void vmlab_wait_inactive(struct vmlab *vm)
{
	percpu_up_read(&vm->activity);
	vmlab_wait_moment(vm);
	percpu_down_read(&vm->activity);
}

/* vmlab_reclaim_failed() with vm->activity held, but while it waits. */
static bool vmlab_reclaim_failed_active(struct vmlab *vm, long freed, unsigned long *until)
{
	if (!vmlab_worth_a_wait(freed, until))
		return freed <= 0;
	vmlab_wait_inactive(vm);
	return false;
}

/*
 * Waits once, for others who have locked victims and not yet counted them as on their way,
 * or who have frames in hand that no slot names yet.
 */
static void vmlab_wait_idle(struct vmlab *vm, atomic_t *nr_moving)
{
	long evicted = atomic_long_read(&vm->nr_evicted);
	int ticks;

	percpu_up_read(&vm->activity);
	for (ticks = 0; ticks < VMLAB_IDLE_WAIT && !fatal_signal_pending(current); ticks++) {
		if (atomic_read(nr_moving) || atomic_long_read(&vm->nr_evicted) != evicted)
			break;
		schedule_timeout_killable(1);
	}
	percpu_down_read(&vm->activity);
}

static int vmlab_charge_wait(struct vmlab_lineage *lineage)
{
	unsigned long until = 0;
	bool waited = false;
	long used, freed;

	while (!vmlab_lineage_charge(lineage, 1)) {
		vmlab_count(lineage->vm, limit_hit, 1);
		if (fatal_signal_pending(current))
			return -EINTR;
		used = atomic_long_read(&lineage->nr_frames);
		freed = vmlab_reclaim_lineage(lineage, VMLAB_DIRECT_BATCH / 2);
		if (freed > 0)
			waited = false;
		if (!vmlab_reclaim_failed_active(lineage->vm, freed, &until))
			continue;
		/* Others may have freed some. */
		if (atomic_long_read(&lineage->nr_frames) < used)
			continue;
		if (waited)
			return -ENOSPC;
		vmlab_wait_idle(lineage->vm, &lineage->nr_moving);
		waited = true;
	}
	return 0;
}

/**
 * vmlab_reclaim_to_limit() - evict what a lineage has above its limit
 * @lineage: the lineage
 *
 * As far as that goes: what cannot leave stays.
 *
 * Context: sleeps for I/O; no locks.
 */
void vmlab_reclaim_to_limit(struct vmlab_lineage *lineage)
{
	unsigned long until = 0;
	long limit, freed;

	for (;;) {
		/* Another call may lift it meanwhile. */
		limit = READ_ONCE(lineage->limit);
		if (!limit || atomic_long_read(&lineage->nr_frames) <= limit)
			return;
		percpu_down_read(&lineage->vm->activity);
		freed = vmlab_reclaim_lineage(lineage, VMLAB_DIRECT_BATCH);
		percpu_up_read(&lineage->vm->activity);
		if (vmlab_reclaim_failed(lineage->vm, freed, &until) ||
		    fatal_signal_pending(current))
			return;
	}
}

/**
 * vmlab_reclaim_for_copy() - at its limit a lineage evicts pages for an object to come
 * @lineage: the lineage
 *
 * Others may take what was made free.
 *
 * Context: sleeps for I/O; vm->activity held for read, no slot locked, clone_sem not held.
 */
void vmlab_reclaim_for_copy(struct vmlab_lineage *lineage)
{
	long limit = READ_ONCE(lineage->limit);

	if (!limit || atomic_long_read(&lineage->nr_frames) < limit)
		return;
	vmlab_count(lineage->vm, limit_hit, 1);
	vmlab_reclaim_lineage(lineage, VMLAB_DIRECT_BATCH / 2);
}

/**
 * vmlab_reclaim_direct() - one round on the nodes in turn, until one gives something
 * @vm: the instance
 * @place: where a frame is wanted; where it may not be nothing is taken away
 *
 * Context, Return: as vmlab_reclaim_pool().
 */
long vmlab_reclaim_direct(struct vmlab *vm, struct vmlab_place place)
{
	struct vmlab_pool *wanted = vmlab_place_pool(vm, place);
	long freed = 0, ret;
	int i;

	if (!wanted)
		return 0;
	vmlab_count(vm, reclaim_direct, 1);
	for (i = 0; i < wanted->nr_fallback && freed <= 0; i++) {
		if (!vmlab_place_allows(place, wanted->fallback[i]))
			continue;
		ret = vmlab_reclaim_pool(vm->pools[wanted->fallback[i]], VMLAB_DIRECT_BATCH);
		freed = ret ? : freed;
	}
	return freed;
}

static bool vmlab_drain_all(struct vmlab *vm)
{
	bool all = true;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid])
			all &= vmlab_pool_drain(vm->pools[nid]);
	return all;
}

/*
 * Nothing could be reclaimed: have others freed something, are frames in caches, or in the
 * hands of somebody?  Each is asked once, since each answer costs a look at all frames.
 */
static bool vmlab_worth_a_retry(struct vmlab *vm, struct vmlab_place place, long evicted,
				bool *drained, bool *waited, unsigned long *until)
{
	/* What is evicted elsewhere is no help to who may not go there. */
	if (!place.strict && atomic_long_read(&vm->nr_evicted) != evicted) {
		/* What others freed may be in their caches by now. */
		*drained = false;
		return true;
	}
	/* The last free frames may sit in other CPUs' caches. */
	if (!*drained) {
		*drained = vmlab_drain_all(vm);
		return *drained || !vmlab_reclaim_failed_active(vm, -EBUSY, until);
	}
	if (*waited)
		return false;
	vmlab_wait_idle(vm, &vm->nr_moving);
	*waited = true;
	return true;
}

/*
 * What is left to do: wait for a chunk that is being emptied, whose frames may come back,
 * or ask the OOM policy.  vm->activity is let go in both: who empties the chunk wants it
 * for write.
 */
static int vmlab_last_resort(struct vmlab *vm, struct vmlab_place place, unsigned int flags,
			     unsigned long ends, unsigned long *until)
{
	if (READ_ONCE(vm->shrinking) && !vmlab_waited_enough(until)) {
		vmlab_wait_inactive(vm);
		return 0;
	}
	/* Who was killed frees what he has step by step: worth a wait of its own. */
	*until = 0;
	return flags & VMLAB_ALLOC_NO_OOM ? -ENOSPC : vmlab_oom(vm, place, ends);
}

/**
 * vmlab_frame_make_room() - reclaim once, so that the next try may find a frame
 * @lineage: who will pay
 * @place: where it should be
 *
 * For a fault that can come again: nothing is promised, and nobody is killed.
 *
 * Context: as vmlab_frame_get().
 */
void vmlab_frame_make_room(struct vmlab_lineage *lineage, struct vmlab_place place)
{
	if (!vmlab_lineage_charge(lineage, 1)) {
		vmlab_count(lineage->vm, limit_hit, 1);
		vmlab_reclaim_lineage(lineage, VMLAB_DIRECT_BATCH / 2);
		return;
	}
	vmlab_lineage_uncharge(lineage, 1);
	vmlab_reclaim_direct(lineage->vm, place);
}

/**
 * vmlab_frame_get() - charge and take a frame, reclaiming for it if need be
 * @lineage: who pays
 * @place: where it should be
 * @flags: VMLAB_ALLOC_*
 * @frame: out: the frame, INFLIGHT
 *
 * Context: sleeps; no slot locked; vm->activity held for read.
 * Return: 0; -ENOSPC when the limit or the pool is exhausted and the OOM policy
 * gives nothing, or @place is nowhere; -EINTR on a fatal signal.  Never -ENOMEM: that is the
 * machine's memory.
 */
int vmlab_frame_get(struct vmlab_lineage *lineage, struct vmlab_place place, unsigned int flags,
		    struct vmlab_frame **frame)
{
	struct vmlab *vm = lineage->vm;
	unsigned long until = 0, ends = 0;
	bool drained = false, waited = false;
	long evicted;
	int err;

	if (!vmlab_place_pool(vm, place))
		return -ENOSPC;
	for (;;) {
		if (!drained)
			ends = vmlab_oom_ends(vm);
		err = vmlab_charge_wait(lineage);
		if (err)
			return err;
		*frame = vmlab_frame_alloc(vm, place, flags);
		if (*frame)
			return 0;
		/* vm->activity may be let go below: leave no charge that verify would miss. */
		vmlab_lineage_uncharge(lineage, 1);
		if (fatal_signal_pending(current))
			return -EINTR;
		evicted = atomic_long_read(&vm->nr_evicted);
		if (!vmlab_reclaim_failed_active(vm, vmlab_reclaim_direct(vm, place), &until))
			continue;
		if (vmlab_worth_a_retry(vm, place, evicted, &drained, &waited, &until))
			continue;
		err = vmlab_last_resort(vm, place, flags, ends, &until);
		if (err)
			return err;
		drained = false;
		waited = false;
	}
}

/**
 * vmlab_reclaim_wake() - a node's free frames fell below the low watermark
 * @pool: the pool
 *
 * Context: any but interrupts; cheap when its thread is at work already.
 */
void vmlab_reclaim_wake(struct vmlab_pool *pool)
{
	if (READ_ONCE(pool->reclaim_wanted))
		return;
	WRITE_ONCE(pool->reclaim_wanted, true);
	wake_up(&pool->reclaim_wait);
}

static bool vmlab_reclaim_below(struct vmlab_pool *pool, unsigned int permille)
{
	return vmlab_pool_free_frames(pool) < vmlab_watermark(pool, permille);
}

/*
 * What a thread frees in one round: as much as a chunk holds, so that a cold one leaves by one
 * I/O, but no large part of a small pool.  Who waits for a frame asks for less.
 */
static unsigned int vmlab_reclaim_step(struct vmlab_pool *pool)
{
	return clamp_t(unsigned long, vmlab_pool_nr_frames(pool) / VMLAB_STEP_SHARE, VMLAB_BATCH,
		       VMLAB_BATCH_LARGE);
}

/* Works until the high watermark; false when nothing can be freed. */
static bool vmlab_reclaim_balance(struct vmlab_pool *pool)
{
	struct vmlab *vm = pool->vm;
	long freed = 1;

	vmlab_count(vm, reclaim_wake, 1);
	while (freed > 0 && !kthread_should_stop() &&
	       vmlab_reclaim_below(pool, READ_ONCE(vm->watermark_high))) {
		percpu_down_read(&vm->activity);
		freed = vmlab_reclaim_pool(pool, vmlab_reclaim_step(pool));
		percpu_up_read(&vm->activity);
		cond_resched();
	}
	return freed > 0;
}

static int vmlab_reclaim_thread(void *arg)
{
	struct vmlab_pool *pool = arg;

	while (!kthread_should_stop()) {
		wait_event_idle(pool->reclaim_wait,
				kthread_should_stop() || READ_ONCE(pool->reclaim_wanted));
		if (kthread_should_stop())
			break;
		/* Nothing to free: whoever allocates next finds out by itself, too. */
		if (!vmlab_reclaim_balance(pool))
			schedule_timeout_idle(HZ / 10);
		WRITE_ONCE(pool->reclaim_wanted, false);
		/* Woken for nothing between the two: allocations wake it again. */
	}
	return 0;
}

/**
 * vmlab_reclaim_start() - start a node's reclaim thread
 * @pool: the pool
 *
 * Return: 0 or -errno.
 */
int vmlab_reclaim_start(struct vmlab_pool *pool)
{
	return vmlab_thread_start(pool, vmlab_reclaim_thread, "vmlab_reclaimd/%d",
				  &pool->reclaim_task);
}

/**
 * vmlab_reclaim_stop() - stop it
 * @pool: the pool; never started is fine
 */
void vmlab_reclaim_stop(struct vmlab_pool *pool)
{
	vmlab_thread_stop(&pool->reclaim_task);
}
