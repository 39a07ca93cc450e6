// SPDX-License-Identifier: GPL-2.0
/*
 * The model's memory: true bytes, locks, changes, and the comparison with what was seen.
 *
 * A page's bytes follow from who wrote them, where, and which change of the page it was;
 * every 8 bytes say all of it, so that a page in the wrong place, or an old one, can be
 * named.  Everything a thread may be killed in the middle of is here in an order that
 * recover.c can finish or undo.  It must never copy anything into the model but patterns.
 */
#include "model.h"

#include <sched.h>
#include <string.h>

struct model *model;

static void *shared(size_t bytes)
{
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		die("no memory for the model: %m");
	return base;
}

void model_create(unsigned int pages, uint64_t seed)
{
	model = shared(sizeof(*model));
	model->nr_pages = pages;
	model->seed = seed;
	model->page = shared(pages * sizeof(*model->page));
	model->truth = shared(pages * PAGE);
}

uint64_t mix(uint64_t value)
{
	value ^= value >> 31;
	value *= 0x7fb5d329728ea185ULL;
	value ^= value >> 27;
	value *= 0x81dadef4bc2dd44dULL;
	return value ^ (value >> 33);
}

struct object *object_of(unsigned int page)
{
	struct object *object = model->objects;

	while (page >= object->first + object->pages)
		object++;
	return object;
}

off_t offset_of(unsigned int page)
{
	struct object *object = object_of(page);

	return (object->base + (uint64_t)(page - object->first) * object->stride) * PAGE;
}

/* Pages of an object for so many of the model, up to and with the last one. */
uint64_t object_span(unsigned int page, unsigned int nr)
{
	return (uint64_t)(nr - 1) * object_of(page)->stride + 1;
}

/* Where in 32 bits, who in 8, which change in 24: tell_word() takes it apart. */
static uint64_t pattern(unsigned int page, unsigned int word, unsigned int owner,
			uint32_t generation)
{
	return (uint64_t)generation << 40 | (uint64_t)owner << 32 |
	       ((uint64_t)(page + 1) << 9 | word);
}

void fill(void *bytes, unsigned int page, unsigned int from, unsigned int nr,
	  unsigned int owner, uint32_t generation)
{
	unsigned char *to = bytes;
	unsigned int at = from;

	while (at < from + nr) {
		uint64_t word = pattern(page, at / 8, owner, generation) >> at % 8 * 8;
		unsigned int part = 8 - at % 8;

		if (part > from + nr - at)
			part = from + nr - at;
		memcpy(to, &word, part);
		to += part;
		at += part;
	}
}

unsigned int pick(struct thread *thread, unsigned int below)
{
	return chance(&thread->state) % below;
}

/* Mostly anywhere; often enough one of few that everybody comes back to. */
unsigned int any_page(struct thread *thread)
{
	struct object *object;

	if (pick(thread, 4))
		return pick(thread, model->nr_pages);
	object = &model->objects[pick(thread, OBJECTS)];
	return object->first + object->pages / 2 + pick(thread, 24);
}

/* How many pages from this one on, at most, are in its object. */
unsigned int run_from(unsigned int page, unsigned int most)
{
	struct object *object = object_of(page);
	unsigned int left = object->first + object->pages - page;

	return most < left ? most : left;
}

void visit(struct thread *thread, unsigned int page)
{
	struct model_page *p = &model->page[page];
	struct visit *v = &p->visits[atomic_fetch_add(&p->nr_visits, 1) % HISTORY];

	v->step = thread->place->number;
	v->generation = p->generation;
	v->owner = thread->owner;
	v->kind = thread->place->kind;
}

void page_lock(struct thread *thread, unsigned int page)
{
	struct model_page *p = &model->page[page];
	unsigned int tries;

	for (tries = 0;; tries++) {
		uint32_t nobody = 0;

		if (atomic_compare_exchange_strong(&p->lock, &nobody, thread->owner))
			break;
		if (tries < 20)
			sched_yield();
		else
			usleep(200);
	}
	visit(thread, page);
}

void page_unlock(struct thread *thread, unsigned int page)
{
	atomic_store(&model->page[page].lock, 0);
}

void run_lock(struct thread *thread, unsigned int first, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		page_lock(thread, first + i);
}

void run_unlock(struct thread *thread, unsigned int first, unsigned int nr)
{
	while (nr--)
		page_unlock(thread, first + nr);
}

/*
 * Says what is going to happen to a page, before it does.  Whoever dies from here on
 * leaves a page that has old or new bytes in this range, and old ones elsewhere.
 */
uint32_t change_begin(unsigned int page, unsigned int owner, enum change_kind kind,
		      unsigned int from, unsigned int nr)
{
	struct model_page *p = &model->page[page];
	uint32_t generation = p->generation + 1;

	p->now.kind = kind;
	p->now.owner = owner;
	p->now.from = from;
	p->now.bytes = nr;
	p->now.generation = generation;
	p->changes[generation % HISTORY] = p->now;
	atomic_store(&p->now.state, CHANGE_BEGUN);
	if (p->sequence % 2 == 0)
		atomic_fetch_add(&p->sequence, 1);
	atomic_store(&p->generation, generation);
	return generation;
}

/* The bytes are in the object: whoever dies from here on leaves new ones. */
void change_end(unsigned int page)
{
	atomic_store(&model->page[page].now.state, CHANGE_DONE);
	change_apply(page);
}

/* Brings the model up to date; may be done twice. */
void change_apply(unsigned int page)
{
	struct model_page *p = &model->page[page];
	struct change *now = &p->now;

	if (now->kind == CHANGE_DISCARD) {
		memset(model->truth[page], 0, PAGE);
		p->written = false;
	} else {
		fill(model->truth[page] + now->from, page, now->from, now->bytes, now->owner,
		     now->generation);
		p->written = true;
	}
	if (p->sequence % 2)
		atomic_fetch_add(&p->sequence, 1);
	atomic_store(&now->state, CHANGE_NONE);
}

/* The page's lock is held and no change is under way: every byte must be right. */
void check(unsigned int page, const void *seen, unsigned int from, unsigned int nr,
	   const char *how)
{
	if (memcmp(seen, model->truth[page] + from, nr))
		wrong(page, seen, from, nr, how);
}

static unsigned char byte_after(const struct change *change, unsigned int page, unsigned int at)
{
	unsigned char byte = 0;

	if (change->kind == CHANGE_WRITE)
		fill(&byte, page, at, 1, change->owner, change->generation);
	return byte;
}

/*
 * Bytes that were seen while changes went on: each must be the one before, or one that a
 * change since then brought.  Changes that are forgotten by now are left out by giving up.
 */
static void check_any_of(unsigned int page, const unsigned char *before, uint32_t generation,
			 const unsigned char *seen, const char *how)
{
	struct model_page *p = &model->page[page];
	uint32_t last = atomic_load(&p->generation);
	struct change changes[HISTORY];
	unsigned int nr = last - generation, at, i;

	if (nr >= HISTORY)
		return;
	for (i = 0; i < nr; i++)
		changes[i] = p->changes[(generation + 1 + i) % HISTORY];
	if (atomic_load(&p->generation) - generation >= HISTORY)
		return;
	for (at = 0; at < PAGE; at++) {
		bool right = seen[at] == before[at];

		for (i = 0; !right && i < nr; i++)
			right = (changes[i].kind == CHANGE_DISCARD ||
				 (at >= changes[i].from &&
				  at < changes[i].from + changes[i].bytes)) &&
				seen[at] == byte_after(&changes[i], page, at);
		if (!right)
			wrong(page, seen, 0, PAGE, how);
	}
}

/* Looks at a page without its lock: any of the generations meanwhile is right. */
void check_unlocked(struct thread *thread, unsigned int page, bool mapped)
{
	struct model_page *p = &model->page[page];
	const volatile uint64_t *words;
	unsigned char before[PAGE];
	uint32_t sequence, generation;
	unsigned int tries, i;

	words = mapped ? (void *)view_need(thread, page, PROT_READ) : NULL;
	for (tries = 0; tries < 5; tries++, sched_yield()) {
		sequence = atomic_load(&p->sequence);
		generation = atomic_load(&p->generation);
		memcpy(before, model->truth[page], PAGE);
		atomic_thread_fence(memory_order_seq_cst);
		if (sequence % 2 == 0 && sequence == atomic_load(&p->sequence) &&
		    generation == atomic_load(&p->generation))
			break;
	}
	if (tries == 5)
		return;
	visit(thread, page);
	if (mapped)
		for (i = 0; i < WORDS; i++)
			((uint64_t *)thread->buffer)[i] = words[i];
	else if (pread(object_of(page)->fd, thread->buffer, PAGE, offset_of(page)) !=
		 (ssize_t)PAGE)
		fail("pread of page %u: %m", page);
	atomic_thread_fence(memory_order_seq_cst);
	if (!memcmp(before, thread->buffer, PAGE))
		return;
	check_any_of(page, before, generation, thread->buffer,
		     mapped ? "a load without the lock" : "pread() without the lock");
}
