// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that load and store through a mapping, with the page's lock and without.
 */
#include "model.h"

#include <string.h>

/* By 8 bytes where that is possible: what is seen meanwhile is old or new. */
static void store(char *to, const unsigned char *bytes, unsigned int nr)
{
	unsigned int i = 0;

	if ((uintptr_t)to % 8 == 0)
		for (; i + 8 <= nr; i += 8)
			*(volatile uint64_t *)(to + i) = *(const uint64_t *)(bytes + i);
	for (; i < nr; i++)
		((volatile char *)to)[i] = bytes[i];
}

static void store_range(struct thread *thread, unsigned int page, unsigned int from,
			unsigned int nr)
{
	char *to = view_need(thread, page, PROT_READ | PROT_WRITE);
	uint32_t generation;

	generation = change_begin(page, thread->owner, CHANGE_WRITE, from, nr);
	fill(thread->buffer, page, from, nr, thread->owner, generation);
	store(to + from, thread->buffer, nr);
	change_end(page);
}

static void step_store(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);

	page_lock(thread, page);
	store_range(thread, page, from, nr);
	page_unlock(thread, page);
}

static void load_page(struct thread *thread, unsigned int page, const char *how)
{
	memcpy(thread->buffer, view_need(thread, page, PROT_READ), PAGE);
	check(page, thread->buffer, 0, PAGE, how);
}

static void step_load(struct thread *thread)
{
	unsigned int page = any_page(thread);

	page_lock(thread, page);
	load_page(thread, page, "a load");
	page_unlock(thread, page);
}

/* One word: the cheapest way to have a page accessed. */
static void step_load_word(struct thread *thread)
{
	unsigned int page = any_page(thread), at = pick(thread, WORDS) * 8;
	uint64_t word;

	page_lock(thread, page);
	word = *(volatile uint64_t *)(view_need(thread, page, PROT_READ) + at);
	check(page, &word, at, 8, "a load of one word");
	page_unlock(thread, page);
}

static void step_peek(struct thread *thread)
{
	check_unlocked(thread, any_page(thread), true);
}

/* In sequence: what reads ahead and fills ahead has its turn. */
static void step_sweep_load(struct thread *thread)
{
	unsigned int first = pick(thread, model->nr_pages), i;
	unsigned int nr = run_from(first, 8 + pick(thread, 120));

	for (i = first; i < first + nr && !model->pause; i++) {
		page_lock(thread, i);
		load_page(thread, i, "a load in sequence");
		page_unlock(thread, i);
	}
}

static void step_sweep_store(struct thread *thread)
{
	unsigned int first = pick(thread, model->nr_pages), i;
	unsigned int nr = run_from(first, 8 + pick(thread, 56));

	for (i = first; i < first + nr && !model->pause; i++) {
		page_lock(thread, i);
		store_range(thread, i, 0, PAGE);
		page_unlock(thread, i);
	}
}

static const struct step steps[] = {
	{ "store", 100, step_store },
	{ "load", 100, step_load },
	{ "load of a word", 60, step_load_word },
	{ "load without the lock", 60, step_peek },
	{ "loads in sequence", 15, step_sweep_load },
	{ "stores in sequence", 10, step_sweep_store },
};

STEPS(steps);
