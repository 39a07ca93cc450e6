// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: two threads that fault in one mapping, against one thread alone.  Only where two CPUs
 * run at once does this mean anything.  It must never touch the same page from both.
 */
#include "bench.h"

#include <pthread.h>

#include "vmlab.h"

#define PAGES 3584

struct worker {
	const struct memory *memory;
	const uint32_t *order;
	size_t first;
	pthread_barrier_t *start;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct memory part = *worker->memory;

	part.map += worker->first * PAGE;
	pthread_barrier_wait(worker->start);
	touch(&part, worker->order, PAGES, true);
	return NULL;
}

/* Nanoseconds for @nr threads, each with as many pages of its own. */
static uint64_t together(enum side side, int nr, const uint32_t *order)
{
	struct worker workers[2];
	pthread_barrier_t start;
	struct memory memory;
	pthread_t threads[2];
	uint64_t ns;
	int i;

	memory_map(&memory, side, nr * PAGES);
	pthread_barrier_init(&start, NULL, nr + 1);
	for (i = 0; i < nr; i++) {
		workers[i] = (struct worker) { &memory, order, i * PAGES, &start };
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			die("cannot make a thread");
	}
	nap(20);
	ns = now_ns();
	pthread_barrier_wait(&start);
	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	ns = now_ns() - ns;
	pthread_barrier_destroy(&start);
	memory_unmap(&memory);
	memory_close(&memory);
	return ns;
}

static void two_threads(struct round *round)
{
	const uint32_t *order = order_of(PAGES, round->random);
	uint64_t one;

	one = together(round->side, 1, order);
	nap(100);
	round->ns = together(round->side, 2, order);
	round->ops = 2 * PAGES;
	/* 2: twice the work in the same time. */
	round_count(round, "scaling", 2.0 * one / round->ns);
}

static const struct row rows[] = {
	{ "threads_store_random", "page", two_threads, 0, true },
	{ "threads_store_seq", "page", two_threads, 0, false },
	{ 0 }
};

BENCH_ROWS(rows);
