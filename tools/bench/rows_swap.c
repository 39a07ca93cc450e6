// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: memory that pages.  On RAM disks, where nothing has to be waited for, what it costs;
 * on disks, in a pool of half the size, how it is done: I/Os, pages per I/O, flushes.  Linux
 * has a memory cgroup of the pool's size then.  It must never count what was done while the
 * memory was filled as part of what came after.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmlab.h"

/* --- on a RAM disk ------------------------------------------------------- */

#define PAGES 3584

static void pageout(struct round *round)
{
	struct memory memory;
	uint64_t out;

	memory_map(&memory, round->side, PAGES);
	memory_fill(&memory);
	round_begin(round);
	out = memory_pageout(&memory);
	round_end(round, PAGES);
	round_count(round, "out_pages", out);
	memory_unmap(&memory);
	memory_close(&memory);
}

static void touch_after_pageout(struct round *round)
{
	const uint32_t *order = order_of(PAGES, round->random);
	struct memory memory;
	uint64_t out;

	memory_map(&memory, round->side, PAGES);
	memory_fill(&memory);
	out = memory_pageout(&memory);
	nap(100);
	round_begin(round);
	touch(&memory, order, PAGES, round->write);
	round_end(round, PAGES);
	round_count(round, "out_pages", out);
	memory_unmap(&memory);
	memory_close(&memory);
}

/* --- at twice the pool --------------------------------------------------- */

#define DISK_PAGES (2 * SWAP_POOL_MB * MIB / PAGE)
#define GROUP "/sys/fs/cgroup/bench"

struct counts {
	struct disk_stat disk;
	uint64_t evict, flush, flush_pages;
};

static void read_counts(enum side side, struct counts *counts)
{
	disk_stat(side == SIDE_VMLAB ? "/dev/vda" : "/dev/vdb", &counts->disk);
	counts->evict = vmlab_counter("evict");
	counts->flush = vmlab_counter("unmap_flush");
	counts->flush_pages = vmlab_counter("unmap_flush_pages");
}

/* One pass over the memory: how it was done, by what the block layer saw. */
static void pass(struct round *round, const char *name, const struct memory *memory, bool random,
		 bool write)
{
	const uint32_t *order = order_of(memory->pages, random);
	struct counts before, after;

	round_part(round, name);
	read_counts(round->side, &before);
	round_begin(round);
	touch(memory, order, memory->pages, write);
	round_end(round, memory->pages);
	read_counts(round->side, &after);
	round_count(round, "reads", after.disk.reads - before.disk.reads);
	round_count(round, "read_pages", after.disk.read_pages - before.disk.read_pages);
	round_count(round, "writes", after.disk.writes - before.disk.writes);
	round_count(round, "write_pages", after.disk.write_pages - before.disk.write_pages);
	if (round->side == SIDE_VMLAB) {
		round_count(round, "evict", after.evict - before.evict);
		round_count(round, "flush", after.flush - before.flush);
		round_count(round, "flush_pages", after.flush_pages - before.flush_pages);
	}
}

/*
 * Room for as many pages as vmlab's pool holds, and for what that does not hold but a cgroup
 * is charged for: the program itself, and the page tables of the memory to come.  Without
 * a MiB more the cgroup's OOM killer strikes when I/O is slow; with half of one it still did,
 * once in many rounds.
 */
static void enter_group(void)
{
	char text[64];

	mkdir(GROUP, 0755);
	if (!file_write("/sys/fs/cgroup/cgroup.subtree_control", "+memory\n") ||
	    !file_write(GROUP "/cgroup.procs", "%d\n", getpid()))
		die("memory cgroup: %m");
	file_read(GROUP "/memory.current", text, sizeof(text));
	if (!file_write(GROUP "/memory.max", "%lu\n",
			SWAP_POOL_MB * MIB + strtoul(text, NULL, 10) + DISK_PAGES * 8 +
			MIB))
		die("memory.max: %m");
}

static void passes(struct round *round)
{
	struct memory memory;

	if (round->side == SIDE_LINUX)
		enter_group();
	memory_map(&memory, round->side, DISK_PAGES);
	pass(round, "swap_out_seq", &memory, false, true);
	pass(round, "swap_in_seq", &memory, false, false);
	pass(round, "swap_store_seq", &memory, false, true);
	pass(round, "swap_in_random", &memory, true, false);
	pass(round, "swap_store_random", &memory, true, true);
}

/* In a process of its own, which takes its memory and its cgroup with it. */
static void at_twice_the_pool(struct round *round)
{
	int status;
	pid_t pid;

	order_of(DISK_PAGES, false);
	order_of(DISK_PAGES, true);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		passes(round);
		/* Prints the last part. */
		round_part(round, "");
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("the process that swaps ended with %x", status);
	if (round->side == SIDE_LINUX && rmdir(GROUP))
		die("%s: %m", GROUP);
}

#define RAM (ROW_ICOUNT | ROW_RAM_SWAP)

static const struct row rows[] = {
	{ "pageout", "page", pageout, RAM },
	{ "swapped_load_random", "page", touch_after_pageout, RAM, true, false },
	{ "swapped_load_seq", "page", touch_after_pageout, RAM, false, false },
	{ "swapped_store_random", "page", touch_after_pageout, RAM, true, true },
	{ "swap_disk", "page", at_twice_the_pool, ROW_DISK_SWAP | ROW_PARTS },
	{ 0 }
};

BENCH_ROWS(rows);
