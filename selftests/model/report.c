// SPDX-License-Identifier: GPL-2.0
/*
 * What is said when something is wrong: the page, what should be there, what is, and who
 * had to do with it lately.  The first who finds something speaks; all others end.  It must
 * never return into the code that found the model broken.
 */
#include "model.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The headline.  Returns only to the first who speaks: all others end. */
static void speak_list(const char *format, va_list args)
{
	char text[400];

	if (atomic_exchange(&model->failed, true))
		_exit(1);
	/* A life that was to end by itself at any moment: not at this one. */
	signal(SIGALRM, SIG_IGN);
	vsnprintf(text, sizeof(text), format, args);
	note("MODEL: %s", text);
}

void speak(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	speak_list(format, args);
	va_end(args);
}

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	speak_list(format, args);
	va_end(args);
	_exit(1);
}

void tell_word(const char *what, uint64_t word)
{
	unsigned int place = word, page = (place >> 9) - 1;
	char owner[80];

	copy_tell((unsigned int)(word >> 32) & 255, owner, sizeof(owner));
	if (!word)
		note("  %s: 0: a hole", what);
	else if (page < model->nr_pages)
		note("  %s: %#lx: page %u (object %ld at %#lx), word %u, %s, generation %u",
		     what, (unsigned long)word, page, (long)(object_of(page) - model->objects),
		     (unsigned long)offset_of(page), place & 511, owner,
		     (unsigned int)(word >> 40));
	else
		note("  %s: %#lx: no pattern", what, (unsigned long)word);
}

void tell_page(unsigned int page)
{
	struct model_page *p = &model->page[page];
	struct object *object = object_of(page);
	unsigned int i, nr = p->nr_visits;
	uint32_t residency = 0;

	object_residency(object->fd, offset_of(page) / PAGE, 1, &residency);
	note("  page %u: object %ld, offset %#lx, generation %u, %s, locked by %u, residency %#x",
	     page, (long)(object - model->objects), (unsigned long)offset_of(page), p->generation,
	     p->written ? "written" : "a hole", p->lock, residency);
	if (p->now.state != CHANGE_NONE)
		note("  under way: %s of bytes %u to %u by thread %u, generation %u",
		     p->now.kind == CHANGE_DISCARD ? "discard" : "write", p->now.from,
		     p->now.from + p->now.bytes - 1, p->now.owner, p->now.generation);
	for (i = nr > HISTORY ? nr - HISTORY : 0; i < nr; i++) {
		struct visit *v = &p->visits[i % HISTORY];

		note("  step %lu of thread %u: %s, at generation %u", (unsigned long)v->step,
		     v->owner, steps_name(v->kind), v->generation);
	}
}

/* The word of 8 bytes that a byte of a page is in, as far as it was looked at. */
uint64_t word_at(const unsigned char *bytes, unsigned int at, unsigned int from,
		 unsigned int nr)
{
	uint64_t word = 0;
	unsigned int i;

	for (i = at & ~7U; i < (at & ~7U) + 8; i++)
		if (i >= from && i < from + nr)
			word |= (uint64_t)bytes[i - from] << i % 8 * 8;
	return word;
}

void wrong(unsigned int page, const void *seen, unsigned int from, unsigned int nr,
	   const char *how)
{
	const unsigned char *got = seen, *want = model->truth[page] + from;
	unsigned int at = 0, differ = 0, i;
	unsigned char again[PAGE];

	for (i = nr; i-- > 0;) {
		if (got[i] == want[i])
			continue;
		differ++;
		at = i;
	}
	speak("page %u: %s saw %u bytes of %u to %u that should be others, the first is %u",
	      page, how, differ, from, from + nr - 1, from + at);
	tell_word("expected", word_at(want, from + at, from, nr));
	tell_word("found", word_at(got, from + at, from, nr));
	if (pread(object_of(page)->fd, again, PAGE, offset_of(page)) == (ssize_t)PAGE)
		tell_word("pread() now", word_at(again, from + at, 0, PAGE));
	tell_page(page);
	_exit(1);
}
