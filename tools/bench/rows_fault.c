// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: first touches, touches of pages that are there but not mapped, taking memory back.
 */
#include "bench.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmlab.h"

/* 14 MiB: together with their leaves they fit into a full stock. */
#define PAGES 3584

/* The first touch of every page. */
static void first_touch(struct round *round)
{
	const uint32_t *order = order_of(PAGES, round->random);
	struct memory memory;

	memory_map(&memory, round->side, PAGES);
	round_begin(round);
	touch(&memory, order, PAGES, round->write);
	round_end(round, PAGES);
	memory_unmap(&memory);
	memory_close(&memory);
}

/* Stores where the zero page is mapped. */
static void store_after_load(struct round *round)
{
	const uint32_t *order = order_of(PAGES, round->random);
	struct memory memory;

	memory_map(&memory, round->side, PAGES);
	touch(&memory, order, PAGES, false);
	round_begin(round);
	touch(&memory, order, PAGES, true);
	round_end(round, PAGES);
	memory_unmap(&memory);
	memory_close(&memory);
}

/* The pages are in memory, the page tables are gone.  Linux: a memfd, the nearest it has. */
static void touch_after_unmap(struct round *round)
{
	const uint32_t *order = order_of(PAGES, round->random);
	struct memory memory = { 0 };

	memory_map_shared(&memory, round->side, PAGES);
	memory_fill(&memory);
	memory_unmap(&memory);
	memory_map_shared(&memory, round->side, PAGES);
	round_begin(round);
	touch(&memory, order, PAGES, round->write);
	round_end(round, PAGES);
	memory_unmap(&memory);
	memory_close(&memory);
}

/* munmap() and, for vmlab, the close() that gives the memory back. */
static void take_back(struct round *round)
{
	struct memory memory;

	memory_map(&memory, round->side, PAGES);
	memory_fill(&memory);
	round_begin(round);
	memory_unmap(&memory);
	memory_close(&memory);
	round_end(round, PAGES);
}

static void discard(struct round *round)
{
	struct vmlab_ioc_range range = { .size = sizeof(range), .length = PAGES * PAGE };
	struct memory memory;
	int err;

	memory_map(&memory, round->side, PAGES);
	memory_fill(&memory);
	round_begin(round);
	if (round->side == SIDE_VMLAB)
		err = ioctl(memory.fd, VMLAB_IOC_DISCARD, &range);
	else
		err = madvise(memory.map, PAGES * PAGE, MADV_DONTNEED);
	round_end(round, PAGES);
	if (err)
		die("cannot give memory back: %m");
	memory_unmap(&memory);
	memory_close(&memory);
}

/* Frames for all pages by one call, and with @arg the first touches that follow. */
static void populate(struct round *round)
{
	struct vmlab_ioc_range range = { .size = sizeof(range), .length = PAGES * PAGE };
	const uint32_t *order = order_of(PAGES, false);
	struct memory memory;
	int err;

	memory_map(&memory, round->side, PAGES);
	round_begin(round);
	if (round->side == SIDE_VMLAB)
		err = ioctl(memory.fd, VMLAB_IOC_POPULATE, &range);
	else
		err = madvise(memory.map, PAGES * PAGE, MADV_POPULATE_WRITE);
	if (!err && round->arg)
		touch(&memory, order, PAGES, true);
	round_end(round, PAGES);
	if (err)
		die("cannot get memory: %m");
	memory_unmap(&memory);
	memory_close(&memory);
}

/* The stock's other half: what the thread spends to zero a page ahead. */
static void refill(struct round *round)
{
	uint64_t before, pages, ns;

	stock_off();
	nap(200);
	before = vmlab_counter("zero_filled_pages");
	ns = zero_thread_ns();
	stock_fill();
	pages = vmlab_counter("zero_filled_pages") - before;
	round->ns = zero_thread_ns() - ns;
	round->ops = pages;
}

static const struct row rows[] = {
	{ "store_random", "page", first_touch, ROW_ICOUNT, true, true },
	{ "store_random_stock", "page", first_touch, ROW_ICOUNT | ROW_STOCK, true, true },
	{ "store_seq", "page", first_touch, ROW_ICOUNT, false, true },
	{ "store_seq_stock", "page", first_touch, ROW_ICOUNT | ROW_STOCK, false, true },
	{ "stock_refill", "page", refill, ROW_ICOUNT | ROW_NOT_WALL | ROW_VMLAB_ONLY },
	{ "load_hole_random", "page", first_touch, ROW_ICOUNT, true, false },
	{ "load_hole_seq", "page", first_touch, ROW_ICOUNT, false, false },
	{ "store_after_load", "page", store_after_load, ROW_ICOUNT, true, true },
	{ "remap_load_random", "page", touch_after_unmap, ROW_ICOUNT, true, false },
	{ "remap_load_seq", "page", touch_after_unmap, ROW_ICOUNT, false, false },
	{ "remap_store_random", "page", touch_after_unmap, ROW_ICOUNT, true, true },
	{ "remap_store_seq", "page", touch_after_unmap, ROW_ICOUNT, false, true },
	{ "populate", "page", populate, ROW_ICOUNT, false, true, 0 },
	{ "populate_store", "page", populate, ROW_ICOUNT, false, true, 1 },
	{ "discard", "page", discard, ROW_ICOUNT },
	{ "free", "page", take_back, ROW_ICOUNT },
	{ 0 }
};

BENCH_ROWS(rows);
