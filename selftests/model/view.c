// SPDX-License-Identifier: GPL-2.0
/*
 * A thread's own mappings of the objects: which page is mapped where, and how.
 *
 * Each thread maps every object for itself, in pieces; a piece is one VMA, which the
 * kernel splits where we do and never merges.  Other threads never touch a thread's
 * pieces.  It must never leave a range unmapped that something else could have been put
 * into by then: addresses are chosen by the kernel.
 */
#include "model.h"

#include <stdlib.h>

/* VMAs that one thread may have: more make every fault of the process slow. */
#define MOST_PIECES 200

static size_t unit(unsigned int page)
{
	return object_of(page)->stride * PAGE;
}

size_t view_bytes(unsigned int page, unsigned int pages)
{
	return pages * unit(page);
}

struct piece *view_piece(struct thread *thread, unsigned int page)
{
	return thread->pieces[page];
}

/* Where the page is mapped, or NULL. */
char *view_address(struct thread *thread, unsigned int page)
{
	struct piece *piece = thread->pieces[page];

	return piece ? piece->address + (page - piece->first) * unit(page) : NULL;
}

static struct piece *add(struct thread *thread, unsigned int page, unsigned int pages,
			 char *address, int protection)
{
	struct piece *piece = malloc(sizeof(*piece));
	unsigned int i;

	if (!piece)
		fail("no memory for a piece");
	*piece = (struct piece) { address, page, pages, protection };
	for (i = 0; i < pages; i++)
		thread->pieces[page + i] = piece;
	thread->nr_pieces++;
	return piece;
}

/* Makes a part of a piece a piece of its own, as the kernel does with the VMA. */
static struct piece *cut(struct thread *thread, unsigned int page, unsigned int pages)
{
	struct piece old = *thread->pieces[page];
	unsigned int end = page + pages, old_end = old.first + old.pages;

	if (old.pages == pages)
		return thread->pieces[page];
	free(thread->pieces[page]);
	thread->nr_pieces--;
	if (old.first < page)
		add(thread, old.first, page - old.first, old.address, old.protection);
	if (end < old_end)
		add(thread, end, old_end - end, old.address + (end - old.first) * unit(page),
		    old.protection);
	return add(thread, page, pages, old.address + (page - old.first) * unit(page),
		   old.protection);
}

static void forget(struct thread *thread, struct piece *piece)
{
	unsigned int i;

	for (i = 0; i < piece->pages; i++)
		thread->pieces[piece->first + i] = NULL;
	thread->nr_pieces--;
	free(piece);
}

/* How many pages from this one on are in its piece. */
unsigned int view_clip(struct thread *thread, unsigned int page, unsigned int pages)
{
	struct piece *piece = thread->pieces[page];
	unsigned int left = piece->first + piece->pages - page;

	return pages < left ? pages : left;
}

void view_unmap(struct thread *thread, unsigned int page, unsigned int pages)
{
	unsigned int end = page + pages, nr;

	for (; page < end; page += nr) {
		nr = 1;
		if (!thread->pieces[page])
			continue;
		nr = view_clip(thread, page, end - page);
		if (munmap(view_address(thread, page), view_bytes(page, nr)))
			fail("munmap of %u pages: %m", nr);
		forget(thread, cut(thread, page, nr));
	}
}

/* Maps a run as one piece, wherever the kernel likes. */
void view_map(struct thread *thread, unsigned int page, unsigned int pages)
{
	struct object *object = object_of(page);
	char *address;

	if (thread->nr_pieces > MOST_PIECES)
		view_unmap(thread, 0, model->nr_pages);
	view_unmap(thread, page, pages);
	address = mmap(NULL, view_bytes(page, pages), PROT_READ | PROT_WRITE, MAP_SHARED,
		       object->fd, offset_of(page));
	if (address == MAP_FAILED)
		fail("mmap of %u pages from page %u on: %m", pages, page);
	add(thread, page, pages, address, PROT_READ | PROT_WRITE);
}

void view_protect(struct thread *thread, unsigned int page, unsigned int pages, int protection)
{
	if (mprotect(view_address(thread, page), view_bytes(page, pages), protection))
		fail("mprotect of %u pages: %m", pages);
	cut(thread, page, pages)->protection = protection;
}

/* Advice that the kernel keeps for a VMA: one for a part of it splits it. */
void view_advise(struct thread *thread, unsigned int page, unsigned int pages, int advice)
{
	if (madvise(view_address(thread, page), view_bytes(page, pages), advice))
		fail("madvise(%d) of %u pages: %m", advice, pages);
	cut(thread, page, pages);
}

/* To another address; what is around it stays. */
void view_move(struct thread *thread, unsigned int page, unsigned int pages)
{
	size_t bytes = view_bytes(page, pages);
	char *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		fail("no room to move a mapping to: %m");
	if (mremap(view_address(thread, page), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
		   room) != room)
		fail("mremap of %u pages: %m", pages);
	cut(thread, page, pages)->address = room;
}

/* Its piece ends after this page from now on. */
void view_shrink(struct thread *thread, unsigned int page)
{
	struct piece *piece = thread->pieces[page];
	unsigned int keep = page - piece->first + 1, last = piece->pages - keep;

	if (!last)
		return;
	if (mremap(piece->address, view_bytes(page, piece->pages), view_bytes(page, keep), 0) !=
	    piece->address)
		fail("mremap that shrinks to %u pages: %m", keep);
	forget(thread, cut(thread, page + 1, last));
}

/* The page's address, mapped with at least this protection. */
char *view_need(struct thread *thread, unsigned int page, int protection)
{
	struct object *object = object_of(page);
	struct piece *piece = thread->pieces[page];

	if (!piece) {
		/* All of it at once, or a part, so that VMAs of all sizes come up. */
		if (pick(thread, 2)) {
			view_map(thread, object->first, object->pages);
		} else {
			unsigned int first = page - page % 64;

			if (first < object->first)
				first = object->first;
			view_map(thread, first, run_from(first, 64));
		}
	} else if ((piece->protection & protection) != protection) {
		if (pick(thread, 2))
			view_protect(thread, page, 1, PROT_READ | PROT_WRITE);
		else
			view_protect(thread, piece->first, piece->pages, PROT_READ | PROT_WRITE);
	}
	return view_address(thread, page);
}
