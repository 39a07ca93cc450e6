// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that look for translations that outlive their page: a second thread touches a page
 * without pause, on the other CPU, while this one takes the page away and gives its frame to
 * others.
 *
 * Whoever evicts or discards must have flushed that CPU's TLB before the frame is used
 * again.  Nothing else flushes it meanwhile: the toucher makes no system call, and shares
 * its address space with the thread that acts.
 */
#include "model.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define ROUNDS 12
#define NEIGHBOURS 4		/* pages that take the frames that become free */

/**
 * struct toucher - the second thread
 * @at:		the page, mapped
 * @page:	of the model
 * @owner:	whose patterns are there
 * @floor:	the generation that is there at least
 * @zero:	odd: may be a hole; changes with each discard and each write after it
 * @touched:	loads so far, or words stored
 * @stop:	told to end
 * @found:	a word that must not have been seen, and @wanted the floor then
 */
struct toucher {
	volatile uint64_t *at;
	unsigned int page;
	unsigned int owner;
	atomic_uint floor;
	atomic_uint zero;
	atomic_ulong touched;
	atomic_bool stop;
	atomic_ulong found;
	uint32_t wanted;
};

static uint64_t word_of(const struct toucher *t, unsigned int word, uint32_t generation)
{
	uint64_t bytes;

	fill(&bytes, t->page, word * 8, 8, t->owner, generation);
	return bytes;
}

/* The first word of the page, from the floor on; or 0 while that may be. */
static bool right(const struct toucher *t, uint64_t word, uint32_t floor, uint32_t zero)
{
	if (!word)
		return zero % 2 || zero != atomic_load(&t->zero);
	return word >> 40 >= floor && word << 24 == word_of(t, 0, 0) << 24;
}

/* Away from the CPU of who acts; where there is no other one, nothing is lost. */
static void go_to_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *touch_by_loads(void *arg)
{
	struct toucher *t = arg;

	go_to_cpu(1);
	while (!t->stop) {
		uint32_t floor = atomic_load(&t->floor), zero = atomic_load(&t->zero);
		uint64_t word = *t->at;

		t->touched++;
		if (right(t, word, floor, zero))
			continue;
		t->wanted = floor;
		t->found = word;
		break;
	}
	return NULL;
}

static void start(struct toucher *t, pthread_t *id, void *(*body)(void *arg))
{
	go_to_cpu(0);
	if (pthread_create(id, NULL, body, t))
		fail("no second thread");
}

static void finish(struct toucher *t, pthread_t id)
{
	cpu_set_t all;

	t->stop = true;
	pthread_join(id, NULL);
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
}

/* Until it has touched the page again, so that its CPU has a translation; or long enough. */
static void let_touch(struct toucher *t)
{
	uint64_t until = t->touched + 2;
	unsigned int tries;

	for (tries = 0; t->touched < until && !t->found && tries < 1000; tries++)
		usleep(20);
}

static void write_all(struct thread *thread, struct toucher *t, unsigned int page)
{
	uint32_t generation = change_begin(page, thread->owner, CHANGE_WRITE, 0, PAGE);

	fill(thread->buffer, page, 0, PAGE, thread->owner, generation);
	if (pwrite(object_of(page)->fd, thread->buffer, PAGE, offset_of(page)) != (ssize_t)PAGE)
		fail("pwrite to page %u: %m", page);
	change_end(page);
	if (page != t->page)
		return;
	t->floor = generation;
	if (t->zero % 2)
		t->zero++;
}

static void discard(struct thread *thread, struct toucher *t, unsigned int page)
{
	int error;

	if (page == t->page)
		t->zero++;
	change_begin(page, thread->owner, CHANGE_DISCARD, 0, PAGE);
	error = object_discard(object_of(page)->fd, offset_of(page) / PAGE, 1);
	if (error)
		fail("DISCARD of page %u: %s", page, strerror(-error));
	change_end(page);
}

static void page_out(unsigned int page)
{
	int64_t done = object_pageout(object_of(page)->fd, offset_of(page) / PAGE, 1);

	if (done < 0)
		fail("PAGEOUT of page %u: %s", page, strerror(-done));
}

/* Takes the frame that has become free, if nobody else does. */
static void take_frames(struct thread *thread, struct toucher *t, unsigned int nr)
{
	unsigned int i;

	for (i = 1; i < nr; i++)
		discard(thread, t, t->page + i);
	for (i = 1; i < nr; i++)
		write_all(thread, t, t->page + i);
}

static void step_stale_load(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, NEIGHBOURS), i;
	struct toucher t = { .page = page, .owner = thread->owner };
	pthread_t id;

	run_lock(thread, page, nr);
	write_all(thread, &t, page);
	t.at = (uint64_t *)view_need(thread, page, PROT_READ);
	start(&t, &id, touch_by_loads);
	for (i = 0; i < ROUNDS && !t.found && !model->pause; i++) {
		let_touch(&t);
		if (pick(thread, 3))
			page_out(page);
		else
			discard(thread, &t, page);
		take_frames(thread, &t, nr);
		write_all(thread, &t, page);
	}
	let_touch(&t);
	finish(&t, id);
	if (t.found) {
		speak("page %u was read wrong while it was taken away: a stale translation?",
		      page);
		note("  generation %u at least should have been there", t.wanted);
		tell_word("found", t.found);
		tell_page(page);
		_exit(1);
	}
	run_unlock(thread, page, nr);
}

/* Each word once: one that went to a frame of before is missing for ever. */
static void *touch_by_stores(void *arg)
{
	struct toucher *t = arg;
	unsigned int i;

	go_to_cpu(1);
	for (i = 0; i < WORDS && !t->stop; i++) {
		uint64_t word = word_of(t, i, t->floor);
		volatile unsigned int wait;

		t->at[i] = word;
		t->touched = i + 1;
		for (wait = 0; wait < 200; wait++)
			;
	}
	return NULL;
}

static void step_stale_store(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, NEIGHBOURS);
	struct toucher t = { .page = page, .owner = thread->owner };
	pthread_t id;

	run_lock(thread, page, nr);
	t.at = (uint64_t *)view_need(thread, page, PROT_READ | PROT_WRITE);
	t.floor = change_begin(page, thread->owner, CHANGE_WRITE, 0, PAGE);
	start(&t, &id, touch_by_stores);
	while (t.touched < WORDS) {
		page_out(page);
		take_frames(thread, &t, nr);
		usleep(pick(thread, 300));
	}
	finish(&t, id);
	change_end(page);
	memcpy(thread->buffer, (char *)t.at, PAGE);
	check(page, thread->buffer, 0, PAGE, "a load after stores while it was paged out");
	run_unlock(thread, page, nr);
}

static const struct step steps[] = {
	{ "loads while taken away", 3, step_stale_load },
	{ "stores while paged out", 2, step_stale_store },
};

STEPS(steps);
