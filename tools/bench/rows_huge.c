// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: huge pages, against Linux's own (THP), both by MADV_HUGEPAGE.  What a page costs is
 * told by 4 KiB, so that it can be compared with the other rows.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES_PER_MB (MIB / PAGE)
/* 256 MiB, and as many chunks. */
#define PAGES (256 * PAGES_PER_MB)
#define CHUNKS 128

/* What faults a round took, and whether all that vmlab gave was huge. */
struct faults {
	uint64_t faults, huge, zeroed;
};

static struct faults faults_of(enum side side)
{
	struct faults faults = { 0 };

	if (side == SIDE_VMLAB) {
		faults.huge = vmlab_counter("thp_fault_alloc");
		faults.faults = vmlab_counter("fault_huge") + vmlab_counter("fault_zero");
		faults.zeroed = vmlab_counter("zero_hit");
	} else {
		faults.huge = kernel_counter("thp_fault_alloc");
	}
	return faults;
}

/* The first touch of every page, in ascending order; @arg: out of so many zeroed chunks. */
static void first_touch(struct round *round)
{
	const uint32_t *order = order_of(PAGES, false);
	struct faults before, after;
	struct memory memory;

	/* Filled, and not filled again while it is used. */
	if (round->side == SIDE_VMLAB)
		chunk_stock_fill(round->arg);
	chunk_stock_fill(0);
	before = faults_of(round->side);
	memory_map_huge(&memory, round->side, PAGES, false);
	round_begin(round);
	touch(&memory, order, PAGES, true);
	round_end(round, PAGES);
	after = faults_of(round->side);
	memory_unmap(&memory);
	memory_close(&memory);
	if (after.huge - before.huge != PAGES / 512)
		die("%llu huge pages, not %lu", (unsigned long long)(after.huge - before.huge),
		    PAGES / 512);
	/* The first round uses up what was zeroed before the row began. */
	if (round->side == SIDE_VMLAB && round->number &&
	    after.zeroed - before.zeroed != round->arg * 512UL)
		die("%llu pages were zeroed ahead",
		    (unsigned long long)(after.zeroed - before.zeroed));
	if (round->side == SIDE_VMLAB)
		round_count(round, "faults", after.faults - before.faults);
}

/* What the thread spends to zero a chunk ahead, by page. */
static void refill(struct round *round)
{
	uint64_t before, ns;
	struct memory memory;

	chunk_stock_fill(0);
	memory_map_huge(&memory, round->side, PAGES, false);
	memory_fill(&memory);
	memory_unmap(&memory);
	memory_close(&memory);
	nap(200);
	before = vmlab_counter("thp_zeroed_chunks");
	ns = zero_thread_ns();
	chunk_stock_fill(CHUNKS);
	round->ns = zero_thread_ns() - ns;
	round->ops = (vmlab_counter("thp_zeroed_chunks") - before) * 512;
	chunk_stock_fill(0);
}

/* A child of one that is @ahead runs when its parent sleeps, not before fork() has returned. */
static void run_ahead(bool ahead)
{
	struct sched_param param = { .sched_priority = ahead };
	int policy = ahead ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER;

	if (sched_setscheduler(0, policy, &param))
		die("sched_setscheduler: %m");
}

/*
 * fork() alone, and with the child's end, for which the parent waits; @arg: so many MiB are in
 * huge pages.
 */
static void fork_measured(struct round *round, bool exits)
{
	struct memory memory;
	int status;
	pid_t pid;

	memory_map_huge(&memory, round->side, round->arg * PAGES_PER_MB, true);
	memory_fill(&memory);
	if (!exits)
		run_ahead(true);
	round_begin(round);
	pid = fork();
	while (!pid && !exits)
		pause();
	if (!pid)
		_exit(0);
	if (pid < 0)
		die("fork: %m");
	if (!exits) {
		round_end(round, 1);
		run_ahead(false);
		kill(pid, SIGKILL);
	}
	if (waitpid(pid, &status, 0) != pid || (exits && status))
		die("a child did not end well: %m");
	if (exits)
		round_end(round, 1);
	memory_unmap(&memory);
	memory_close(&memory);
}

static void fork_alone(struct round *round)
{
	fork_measured(round, false);
}

static void fork_and_exit(struct round *round)
{
	fork_measured(round, true);
}

static const struct row rows[] = {
	{ "huge_store_seq", "page", first_touch, ROW_ICOUNT | ROW_HUGE, false, true },
	{ "huge_store_seq_stock", "page", first_touch, ROW_ICOUNT | ROW_HUGE, false, true, CHUNKS },
	{ "huge_refill", "page", refill, ROW_ICOUNT | ROW_HUGE | ROW_NOT_WALL | ROW_VMLAB_ONLY },
	{ "huge_fork_512m", "fork", fork_alone, ROW_ICOUNT | ROW_HUGE, false, false, 512 },
	{ "huge_fork_exit_128m", "fork", fork_and_exit, ROW_ICOUNT | ROW_HUGE, false, false, 128 },
	{ "huge_fork_exit_512m", "fork", fork_and_exit, ROW_ICOUNT | ROW_HUGE, false, false, 512 },
	{ 0 }
};

BENCH_ROWS(rows);
