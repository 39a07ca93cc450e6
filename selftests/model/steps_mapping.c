// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that change a thread's mappings: map, unmap, move, shrink and protect parts of
 * them, and give advice.  They change no byte, so they need no page's lock.
 */
#include "model.h"

#include <string.h>

static void load_first(struct thread *thread, unsigned int page)
{
	uint64_t word;

	page_lock(thread, page);
	word = *(volatile uint64_t *)view_need(thread, page, PROT_READ);
	check(page, &word, 0, 8, "a load from a changed mapping");
	page_unlock(thread, page);
}

static void step_mmap(struct thread *thread)
{
	unsigned int page = any_page(thread);

	view_map(thread, page, run_from(page, 1 + pick(thread, 700)));
	load_first(thread, page);
}

static void step_munmap(struct thread *thread)
{
	unsigned int page = any_page(thread);

	view_unmap(thread, page, run_from(page, 1 + pick(thread, 60)));
}

/* A part of one piece that is mapped, with this page in it. */
static unsigned int some_part(struct thread *thread, unsigned int page, unsigned int most)
{
	view_need(thread, page, PROT_NONE);
	return view_clip(thread, page, 1 + pick(thread, most));
}

static void step_move(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = some_part(thread, page, 600);

	view_move(thread, page, nr);
	load_first(thread, page + nr - 1);
}

static void step_shrink(struct thread *thread)
{
	unsigned int page = any_page(thread);

	some_part(thread, page, 1);
	view_shrink(thread, page);
}

static void step_protect(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = some_part(thread, page, 100);

	switch (pick(thread, 4)) {
	case 0:
		view_protect(thread, page, nr, PROT_NONE);
		break;
	case 1:
		view_protect(thread, page, nr, PROT_READ | PROT_WRITE);
		break;
	default:
		view_protect(thread, page, nr, PROT_READ);
		break;
	}
}

/*
 * Read-only and back at once, with a store behind it: a clean page must not be writable
 * without the module's knowledge.
 */
static void step_protect_and_store(struct thread *thread)
{
	unsigned int page = any_page(thread), at = pick(thread, WORDS) * 8, nr;
	char *mapped;

	page_lock(thread, page);
	mapped = view_need(thread, page, PROT_READ);
	nr = view_clip(thread, page, 1 + pick(thread, 16));
	*(volatile char *)mapped;
	view_protect(thread, page, nr, PROT_READ);
	memcpy(thread->buffer, mapped, PAGE);
	check(page, thread->buffer, 0, PAGE, "a load of what is read-only");
	view_protect(thread, page, nr, PROT_READ | PROT_WRITE);
	fill(thread->buffer, page, at, 8, thread->owner,
	     change_begin(page, thread->owner, CHANGE_WRITE, at, 8));
	*(volatile uint64_t *)(mapped + at) = *(uint64_t *)thread->buffer;
	change_end(page);
	page_unlock(thread, page);
}

static void step_advise(struct thread *thread)
{
	static const int advices[] = { MADV_NORMAL, MADV_SEQUENTIAL, MADV_RANDOM, MADV_WILLNEED };
	unsigned int page = any_page(thread);
	int advice = advices[pick(thread, 4)];
	struct piece *piece;

	some_part(thread, page, 1);
	/* Of a whole piece: advice for a part of a VMA splits it. */
	piece = view_piece(thread, page);
	if (madvise(piece->address, view_bytes(page, piece->pages), advice))
		fail("madvise(%d) of %u pages: %m", advice, piece->pages);
}

static void step_sync(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = some_part(thread, page, 100);

	if (msync(view_address(thread, page), view_bytes(page, nr), MS_SYNC))
		fail("msync of %u pages: %m", nr);
	if (fsync(object_of(page)->fd))
		fail("fsync: %m");
}

static const struct step steps[] = {
	{ "mmap", 6, step_mmap },
	{ "munmap", 10, step_munmap },
	{ "mremap that moves", 6, step_move },
	{ "mremap that shrinks", 4, step_shrink },
	{ "mprotect", 8, step_protect },
	{ "mprotect and store", 20, step_protect_and_store },
	{ "madvise", 4, step_advise },
	{ "msync and fsync", 3, step_sync },
};

STEPS(steps);
