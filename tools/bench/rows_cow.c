// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: fork, snapshots, and the stores that break what they share.
 */
#include "bench.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmlab.h"

/* 128 MiB: what a page and 2 MiB cost does not depend on how many there are. */
#define PAGES		32768
/* 512 MiB, to show that it does not, and what of fork() is there in any case. */
#define PAGES_BIG	131072
#define LEAF_PAGES	512

/* What the child does with its copy. */
enum child { CHILD_NOTHING, CHILD_READS, CHILD_WRITES };

static void child_touch(struct memory *memory, enum child what)
{
	if (what != CHILD_NOTHING)
		touch(memory, order_of(memory->pages, false), memory->pages,
		      what == CHILD_WRITES);
}

static pid_t start_child(struct memory *memory, enum child what, bool stay)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		child_touch(memory, what);
		while (stay)
			pause();
		_exit(0);
	}
	return pid;
}

static void end_child(pid_t pid, bool stays)
{
	int status;

	if (stays)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || (!stays && status))
		die("the child ended with status %#x", status);
}

static void map_filled(struct memory *memory, struct round *round, size_t pages)
{
	memory_map_private(memory, round->side, pages);
	memory_fill(memory);
	/* Built before the clock runs. */
	order_of(pages, false);
}

static void unmap(struct memory *memory)
{
	memory_unmap(memory);
	memory_close(memory);
}

/* fork(), the child ends at once, the parent waits; @arg: so many pages. */
static void fork_and_exit(struct round *round)
{
	struct memory memory;

	map_filled(&memory, round, round->arg);
	round_begin(round);
	end_child(start_child(&memory, CHILD_NOTHING, false), false);
	round_end(round, 1);
	unmap(&memory);
}

/* The same, but the child touches every page before it ends. */
static void fork_and_touch(struct round *round)
{
	struct memory memory;

	map_filled(&memory, round, PAGES / 4);
	round_begin(round);
	end_child(start_child(&memory, round->write ? CHILD_WRITES : CHILD_READS, false), false);
	round_end(round, PAGES / 4);
	unmap(&memory);
}

/* The parent stores to every @arg-th page while a child has them too. */
static void parent_breaks(struct round *round)
{
	struct memory memory;
	size_t i, nr = 0;
	pid_t pid;

	map_filled(&memory, round, PAGES / 4);
	pid = start_child(&memory, CHILD_NOTHING, true);
	round_begin(round);
	for (i = 0; i < PAGES / 4; i += round->arg, nr++)
		*(volatile uint64_t *)(memory.map + i * PAGE) = i;
	round_end(round, nr);
	end_child(pid, true);
	unmap(&memory);
}

/* The same after the child has ended: the pages are the parent's alone again. */
static void parent_reuses(struct round *round)
{
	struct memory memory;

	map_filled(&memory, round, PAGES / 4);
	end_child(start_child(&memory, CHILD_NOTHING, false), false);
	round_begin(round);
	memory_fill(&memory);
	round_end(round, PAGES / 4);
	unmap(&memory);
}

/* SNAPSHOT and the end of the copy; @arg: so many pages. */
static void snapshot(struct round *round)
{
	struct vmlab_ioc_snapshot snap = { .size = sizeof(snap) };
	struct memory memory;

	memory_map(&memory, round->side, round->arg);
	memory_fill(&memory);
	round_begin(round);
	if (ioctl(memory.fd, VMLAB_IOC_SNAPSHOT, &snap))
		die("SNAPSHOT: %m");
	close(snap.fd);
	round_end(round, 1);
	unmap(&memory);
}

static const struct row rows[] = {
	{ "fork_exit_128m", "fork", fork_and_exit, ROW_ICOUNT, false, false, PAGES },
	{ "fork_exit_512m", "fork", fork_and_exit, ROW_ICOUNT | ROW_BIG_POOL, false, false,
	  PAGES_BIG },
	{ "fork_exit_empty", "fork", fork_and_exit, ROW_ICOUNT, false, false, 1 },
	{ "snapshot_128m", "copy", snapshot, ROW_ICOUNT | ROW_VMLAB_ONLY, false, false, PAGES },
	{ "snapshot_512m", "copy", snapshot, ROW_ICOUNT | ROW_VMLAB_ONLY | ROW_BIG_POOL, false,
	  false, PAGES_BIG },
	{ "cow_dense", "page", parent_breaks, ROW_ICOUNT, false, true, 1 },
	{ "cow_sparse", "page", parent_breaks, ROW_ICOUNT, false, true, LEAF_PAGES },
	{ "cow_reuse", "page", parent_reuses, ROW_ICOUNT, false, true },
	{ "fork_child_reads", "page", fork_and_touch, ROW_ICOUNT, false, false },
	{ "fork_child_writes", "page", fork_and_touch, ROW_ICOUNT, false, true },
	{ 0 }
};

BENCH_ROWS(rows);
