// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that act on ranges by ioctl and lseek(), and look at what these tell.
 */
#include "model.h"

#include <string.h>

#define MOST 64

static uint64_t first_of(unsigned int page)
{
	return offset_of(page) / PAGE;
}

static void must(int error, const char *what, unsigned int page, unsigned int nr)
{
	if (error)
		fail("%s of %u pages from page %u on: %s", what, nr, page, strerror(-error));
}

static void step_pageout(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 200));
	uint64_t pages = object_span(page, nr);
	int64_t done = object_pageout(object_of(page)->fd, first_of(page), pages);

	must(done < 0 ? done : 0, "PAGEOUT", page, nr);
	if (done > (int64_t)pages)
		fail("PAGEOUT of %lu pages evicted %ld", (unsigned long)pages, (long)done);
}

static void step_discard(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 12)), i;

	run_lock(thread, page, nr);
	for (i = 0; i < nr; i++)
		change_begin(page + i, thread->owner, CHANGE_DISCARD, 0, PAGE);
	must(object_discard(object_of(page)->fd, first_of(page), object_span(page, nr)), "DISCARD",
	     page, nr);
	for (i = 0; i < nr; i++)
		change_end(page + i);
	run_unlock(thread, page, nr);
}

static void step_populate(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 40));

	if (object_of(page)->stride > 1)
		nr = 1;
	must(object_populate(object_of(page)->fd, first_of(page), nr), "POPULATE", page, nr);
}

static void check_pinned(unsigned int page, unsigned int nr)
{
	uint32_t words[MOST];
	unsigned int i;

	must(object_residency(object_of(page)->fd, first_of(page), nr, words), "RESIDENCY",
	     page, nr);
	for (i = 0; i < nr; i++)
		if (!(words[i] & VMLAB_RES_RESIDENT) || !(words[i] & VMLAB_RES_PINNED))
			fail("page %u is pinned, but RESIDENCY says %#x", page + i, words[i]);
}

static void step_pin(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 6)), i;
	int fd = object_of(page)->fd;

	if (object_of(page)->stride > 1)
		nr = 1;
	run_lock(thread, page, nr);
	for (i = 0; i < nr; i++)
		model->page[page + i].pinned = true;
	must(object_pin(fd, first_of(page), nr), "PIN", page, nr);
	if (object_pageout(fd, first_of(page), nr))
		fail("PAGEOUT evicted pinned pages from page %u on", page);
	check_pinned(page, nr);
	for (i = 0; i < nr; i++) {
		memcpy(thread->buffer, view_need(thread, page + i, PROT_READ), PAGE);
		check(page + i, thread->buffer, 0, PAGE, "a load while pinned");
	}
	must(object_unpin(fd, first_of(page), nr), "UNPIN", page, nr);
	for (i = 0; i < nr; i++)
		model->page[page + i].pinned = false;
	run_unlock(thread, page, nr);
}

/* What was written is somewhere; nobody else has pinned it; no bit is unheard of. */
static void step_residency(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, MOST)), i;
	const uint32_t bits = VMLAB_RES_RESIDENT | VMLAB_RES_DIRTY | VMLAB_RES_ACCESSED |
			      VMLAB_RES_SWAPPED | VMLAB_RES_SHARED | VMLAB_RES_HUGE;
	const uint32_t of_frames = VMLAB_RES_DIRTY | VMLAB_RES_ACCESSED | VMLAB_RES_HUGE;
	uint32_t words[MOST];

	if (object_of(page)->stride > 1)
		nr = 1;
	run_lock(thread, page, nr);
	must(object_residency(object_of(page)->fd, first_of(page), nr, words), "RESIDENCY",
	     page, nr);
	for (i = 0; i < nr; i++) {
		uint32_t said = words[i] & ((1U << VMLAB_RES_NODE_SHIFT) - 1);
		bool resident = said & VMLAB_RES_RESIDENT, swapped = said & VMLAB_RES_SWAPPED;

		if ((said & ~bits) || (resident && swapped) ||
		    (model->page[page + i].written && !resident && !swapped) ||
		    (!resident && (said & of_frames))) {
			speak("RESIDENCY of page %u says %#x", page + i, words[i]);
			tell_page(page + i);
			_exit(1);
		}
	}
	run_unlock(thread, page, nr);
}

/* What was written is data for lseek(); a hole may be filled ahead at any time. */
static void step_seek(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 16)), i;
	int fd = object_of(page)->fd;
	off_t from = offset_of(page), data, hole;

	if (object_of(page)->stride > 1)
		nr = 1;
	run_lock(thread, page, nr);
	for (i = 0; i < nr && model->page[page + i].written; i++)
		;
	data = lseek(fd, from, SEEK_DATA);
	hole = lseek(fd, from, SEEK_HOLE);
	if (i && data != from) {
		speak("SEEK_DATA from page %u on finds %#lx, not %#lx", page, (unsigned long)data,
		      (unsigned long)from);
		tell_page(page);
		_exit(1);
	}
	if (hole < from + (off_t)(i * PAGE)) {
		speak("SEEK_HOLE from page %u on finds %#lx, but %u pages are written", page,
		      (unsigned long)hole, i);
		tell_page(page);
		_exit(1);
	}
	run_unlock(thread, page, nr);
}

static void step_willneed(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 100));
	int error = posix_fadvise(object_of(page)->fd, offset_of(page),
				  object_span(page, nr) * PAGE, POSIX_FADV_WILLNEED);

	must(-error, "posix_fadvise", page, nr);
}

/* Only where its pages can go to swap, and never so low that one access cannot be served. */
static void step_limit(struct thread *thread)
{
	struct object *object = &model->objects[pick(thread, OBJECTS)];
	unsigned int limit = object->pages * 2 / 3 + pick(thread, object->pages);
	bool on = pick(thread, 2);

	if (model->unswapped || object->pages < 1000)
		return;
	object->limited = true;
	must(object_limit(object->fd, on ? limit : 0), "LIMIT", object->first, object->pages);
}

static const struct step steps[] = {
	{ "PAGEOUT", 40, step_pageout },
	{ "DISCARD", 25, step_discard },
	{ "POPULATE", 8, step_populate },
	{ "PIN and UNPIN", 8, step_pin },
	{ "RESIDENCY", 10, step_residency },
	{ "lseek", 10, step_seek },
	{ "posix_fadvise", 4, step_willneed },
	{ "LIMIT", 2, step_limit },
};

STEPS(steps);
