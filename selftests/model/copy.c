// SPDX-License-Identifier: GPL-2.0
/*
 * Copies of the model's pages: private mappings, snapshots, and copies of these.
 *
 * Owns what is known of each: its true bytes, in memory that all processes share, and, for
 * the process that has it, where it is mapped.  The true bytes come from the model, from
 * the copy that it is a copy of, and from patterns with its own name; never from a mapping.
 * A copy is changed by one thread only, so it needs no lock; it must never be used by
 * another process than the one whose life it is in.
 */
#include "model.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define FIRST_CHILD (WORKERS * THREADS)

/* Of objects, at a time: each may keep alive what the object was at another moment. */
static unsigned int most_roots(void)
{
	return model->unswapped ? 8 : 16;
}

static size_t unit(const struct copy *copy)
{
	return object_of(copy->first)->stride * PAGE;
}

size_t copy_bytes(const struct held *held, unsigned int pages)
{
	return pages * unit(held->copy);
}

off_t copy_offset(const struct held *held, unsigned int page)
{
	return offset_of(held->copy->first + page);
}

/* --- lives ---------------------------------------------------------------- */

static void life_clear(struct life *life)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++)
		atomic_store(&life->copies[i].kind, COPY_NONE);
	life->nr_roots = 0;
	life->depth = 0;
}

/* A thread's own. */
struct life *life_begin(struct thread *thread, unsigned int nr)
{
	struct life *life = &model->lives[nr];
	unsigned int i;

	life_clear(life);
	life->worker = thread->worker;
	life->owner = thread->owner;
	for (i = 0; i < COPIES; i++)
		thread->held[i].fd = -1;
	return life;
}

static bool life_is_on(const struct life *life)
{
	return life < model->lives + FIRST_CHILD || life->pid;
}

/* Copies of objects that some copy, and so a page of that moment, may still be there of. */
static unsigned int roots_of(const struct life *life, uint32_t *roots, unsigned int nr,
			     unsigned int most)
{
	unsigned int i, j;

	for (i = 0; i < COPIES + life->nr_roots; i++) {
		uint32_t root = i < COPIES ? life->copies[i].root : life->roots[i - COPIES];

		if (i < COPIES && life->copies[i].kind == COPY_NONE)
			continue;
		for (j = 0; j < nr && roots[j] != root; j++)
			;
		if (j == nr && nr < most)
			roots[nr++] = root;
	}
	return nr;
}

/*
 * A place for a child that is about to be forked, or NULL.  The child will also have, and
 * never use, what the other threads of its process have.
 */
struct life *life_take(struct thread *thread)
{
	struct life *life, *other;
	unsigned int i;

	for (i = FIRST_CHILD; i < LIVES; i++) {
		pid_t nobody = 0;

		if (atomic_compare_exchange_strong(&model->lives[i].pid, &nobody, getpid()))
			break;
	}
	if (i == LIVES)
		return NULL;
	life = &model->lives[i];
	life_clear(life);
	life->worker = thread->worker;
	life->owner = thread->owner;
	life->depth = thread->life->depth + 1;
	model->nr_lives++;
	if (life->depth > model->deepest)
		model->deepest = life->depth;
	life->nr_roots = roots_of(thread->life, life->roots, 0, LIFE_ROOTS);
	for (i = 0; i < FIRST_CHILD && life->depth == 1; i++) {
		other = &model->lives[i];
		if (other->worker == thread->worker)
			life->nr_roots = roots_of(other, life->roots, life->nr_roots, LIFE_ROOTS);
	}
	return life;
}

/* The child is there and takes its place; false: that was taken back. */
bool life_given(struct life *life, pid_t taker)
{
	return atomic_compare_exchange_strong(&life->pid, &taker, getpid());
}

/* A process is gone, or its fork has failed: what it had is no more. */
void life_end(pid_t pid)
{
	unsigned int i;

	for (i = FIRST_CHILD; i < LIVES; i++) {
		pid_t gone = pid;

		atomic_compare_exchange_strong(&model->lives[i].pid, &gone, 0);
	}
}

/* All processes of a worker are gone.  Whose child a place is tells its pid alone. */
void lives_end(unsigned int worker)
{
	unsigned int i;

	for (i = worker * THREADS; i < (worker + 1) * THREADS; i++)
		life_clear(&model->lives[i]);
	for (i = FIRST_CHILD; i < LIVES; i++) {
		pid_t pid = model->lives[i].pid;

		if (pid && kill(pid, 0) && errno == ESRCH)
			life_end(pid);
	}
}

/* --- names ---------------------------------------------------------------- */

unsigned int copy_owner(const struct copy *copy)
{
	unsigned int nr = ((char *)copy - (char *)model->lives) / sizeof(struct life);

	return COPY_OWNER + nr * COPIES + (copy - model->lives[nr].copies);
}

/* Who an owner in a pattern is: "thread 3", or what kind of copy, and whose. */
void copy_tell(unsigned int owner, char *text, size_t size)
{
	static const char *const kinds[] = {
		"former copy", "private mapping", "snapshot", "frozen snapshot",
	};
	unsigned int nr = (owner - COPY_OWNER) / COPIES, index = (owner - COPY_OWNER) % COPIES;
	struct life *life = &model->lives[nr];

	if (owner < COPY_OWNER || nr >= LIVES)
		snprintf(text, size, "thread %u", owner);
	else if (nr < FIRST_CHILD)
		snprintf(text, size, "%s %u of thread %u", kinds[life->copies[index].kind], owner,
			 life->owner);
	else
		snprintf(text, size, "%s %u of process %d, %u forks from thread %u",
			 kinds[life->copies[index].kind], owner, life->pid, life->depth,
			 life->owner);
}

/* --- copies --------------------------------------------------------------- */

/* May an object be copied once more? */
bool copy_has_room(void)
{
	uint32_t roots[64];
	unsigned int nr = 0, i;

	for (i = 0; i < LIVES; i++)
		if (life_is_on(&model->lives[i]))
			nr = roots_of(&model->lives[i], roots, nr, 64);
	return nr < most_roots();
}

/* A place for one copy more, or NULL. */
struct held *copy_free(struct thread *thread)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++)
		if (!thread->held[i].copy)
			return &thread->held[i];
	return NULL;
}

/* One that the thread has, or NULL. */
struct held *copy_any(struct thread *thread)
{
	unsigned int first = pick(thread, COPIES), i;

	for (i = 0; i < COPIES; i++)
		if (thread->held[(first + i) % COPIES].copy)
			return &thread->held[(first + i) % COPIES];
	return NULL;
}

void copy_did(struct copy *copy, const char *what, unsigned int page, unsigned int pages)
{
	struct deed *deed = &copy->deeds[copy->nr_deeds++ % HISTORY];

	*deed = (struct deed) { what, page, pages, copy->generation };
}

/*
 * A run of pages is being copied: from @from, or from their object, whose locks are held.
 * What is right for them from now on is what was right for the original.
 */
struct copy *copy_new(struct thread *thread, struct held *held, enum copy_kind kind,
		      unsigned int first, unsigned int pages, const struct copy *from)
{
	struct copy *copy = &thread->life->copies[held - thread->held];
	unsigned int i;

	copy->first = first;
	copy->pages = pages;
	copy->from = from ? copy_owner(from) : 0;
	copy->root = from ? from->root : ++model->roots;
	copy->nr_deeds = 0;
	for (i = 0; i < pages; i++)
		memcpy(copy->truth[i],
		       from ? from->truth[first - from->first + i] : model->truth[first + i], PAGE);
	atomic_store(&copy->kind, kind);
	copy_did(copy, "made", 0, pages);
	memset(held, 0, sizeof(*held));
	held->fd = -1;
	held->copy = copy;
	return copy;
}

/* What a forked child is going to have. */
void copy_inherit(struct copy *to, const struct copy *from)
{
	to->first = from->first;
	to->pages = from->pages;
	to->from = copy_owner(from);
	to->root = from->root;
	memcpy(to->deeds, from->deeds, sizeof(to->deeds));
	to->nr_deeds = from->nr_deeds;
	memcpy(to->truth, from->truth, from->pages * PAGE);
	atomic_store(&to->kind, from->kind);
	copy_did(to, "fork (and before it, the parent's)", 0, to->pages);
}

/* Maps pages that are not; @fd is what they are in.  False: there is no memory. */
static bool map(struct held *held, int fd, unsigned int page, unsigned int pages)
{
	struct copy *copy = held->copy;
	int protection = copy->kind == COPY_FROZEN ? PROT_READ : PROT_READ | PROT_WRITE;
	unsigned int i;
	char *address;

	address = mmap(NULL, copy_bytes(held, pages), protection,
		       copy->kind == COPY_PRIVATE ? MAP_PRIVATE : MAP_SHARED, fd,
		       copy_offset(held, page));
	if (address == MAP_FAILED && errno == ENOMEM && object_of(copy->first)->limited)
		return false;
	if (address == MAP_FAILED)
		fail("mmap of %u pages of a copy from page %u on: %m", pages, copy->first + page);
	for (i = 0; i < pages; i++) {
		struct copy_page *p = &held->page[page + i];

		p->at = address + copy_bytes(held, i);
		p->protection = protection;
		p->head = !i;
	}
	return true;
}

/* All of a new copy; false, and there is none: its lineage has reached its limit. */
bool copy_map(struct held *held, int fd)
{
	if (map(held, fd, 0, held->copy->pages))
		return true;
	copy_drop(held);
	return false;
}

/* How many pages from this one on are in its VMA, at most; 0: it is not mapped. */
unsigned int copy_run(const struct held *held, unsigned int page, unsigned int most)
{
	unsigned int nr = 0;

	while (nr < most && page + nr < held->copy->pages && held->page[page + nr].at &&
	       (!nr || !held->page[page + nr].head))
		nr++;
	return nr;
}

/* The VMA that a part of one was in has ended before it, and behind it begins one. */
static void cut(struct held *held, unsigned int page, unsigned int pages)
{
	held->page[page].head = true;
	if (page + pages < held->copy->pages)
		held->page[page + pages].head = true;
}

/* A part of a VMA.  What is private is lost by it; what is in a snapshot is not. */
void copy_unmap(struct held *held, unsigned int page, unsigned int pages)
{
	unsigned int i;

	if (munmap(held->page[page].at, copy_bytes(held, pages)))
		fail("munmap of %u pages of a copy: %m", pages);
	cut(held, page, pages);
	for (i = page; i < page + pages; i++) {
		held->page[i].at = NULL;
		if (held->copy->kind == COPY_PRIVATE)
			held->page[i].pinned = false;
	}
}

/* The process does without it from now on. */
void copy_drop(struct held *held)
{
	unsigned int page, nr;

	for (page = 0; page < held->copy->pages; page += nr ?: 1) {
		nr = copy_run(held, page, COPY_PAGES);
		if (nr)
			copy_unmap(held, page, nr);
	}
	if (held->fd >= 0)
		close(held->fd);
	atomic_store(&held->copy->kind, COPY_NONE);
	held->copy = NULL;
	held->fd = -1;
}

/* A part of a VMA. */
void copy_protect(struct held *held, unsigned int page, unsigned int pages, int protection)
{
	unsigned int i;

	if (mprotect(held->page[page].at, copy_bytes(held, pages), protection))
		fail("mprotect of %u pages of a copy to %d: %m", pages, protection);
	if (copy_run(held, page, COPY_PAGES) != pages || !held->page[page].head)
		cut(held, page, pages);
	for (i = page; i < page + pages; i++)
		held->page[i].protection = protection;
}

/* A part of a VMA, to another address. */
void copy_move(struct held *held, unsigned int page, unsigned int pages)
{
	size_t bytes = copy_bytes(held, pages);
	char *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	if (room == MAP_FAILED)
		fail("no room to move a copy to: %m");
	if (mremap(held->page[page].at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room) != room)
		fail("mremap of %u pages of a copy: %m", pages);
	cut(held, page, pages);
	for (i = 0; i < pages; i++)
		held->page[page + i].at = room + copy_bytes(held, i);
}

/*
 * The page's address, mapped with at least this protection.  A private page must be mapped
 * already: it would not be the same if it were mapped anew.
 */
char *copy_need(struct thread *thread, struct held *held, unsigned int page, int protection)
{
	struct copy_page *p = &held->page[page];
	unsigned int nr = 1, first = page;

	if (!p->at) {
		while (page + nr < held->copy->pages && !held->page[page + nr].at)
			nr++;
		if (!map(held, held->fd, page, 1 + pick(thread, nr)))
			fail("no memory to map a snapshot");
	}
	if ((p->protection & protection) != protection) {
		while (!held->page[first].head)
			first--;
		if (pick(thread, 2))
			copy_protect(held, page, 1, PROT_READ | protection);
		else
			copy_protect(held, first, copy_run(held, first, COPY_PAGES),
				     PROT_READ | protection);
	}
	return p->at;
}

/*
 * A page that nothing can be had of, because the fork that it came by found no memory.  The
 * limit of its lineage is the only reason that is right.
 */
bool copy_is_broken(const struct held *held, unsigned int page)
{
	struct vmlab_ioc_walk walk = {
		.size = sizeof(walk), .address = (uintptr_t)held->page[page].at,
	};

	if (ioctl(model->objects[0].fd, VMLAB_IOC_WALK, &walk))
		fail("WALK: %m");
	if (walk.kind != VMLAB_KIND_BROKEN)
		return false;
	if (!object_of(held->copy->first)->limited)
		fail("a forked child has a mapping without memory, and there is no limit");
	return true;
}

/* --- bytes ---------------------------------------------------------------- */

/* What is going to be written, a new generation of it. */
const unsigned char *copy_begin(struct copy *copy, unsigned int page, unsigned int from,
				unsigned int nr, unsigned char *bytes)
{
	fill(bytes, copy->first + page, from, nr, copy_owner(copy), ++copy->generation);
	return bytes;
}

/* It was written. */
void copy_end(struct copy *copy, unsigned int page, unsigned int from, unsigned int nr)
{
	fill(copy->truth[page] + from, copy->first + page, from, nr, copy_owner(copy),
	     copy->generation);
}

void copy_zero(struct copy *copy, unsigned int page)
{
	memset(copy->truth[page], 0, PAGE);
}

static void tell_walk(const char *address)
{
	struct vmlab_ioc_walk walk = {
		.size = sizeof(walk), .address = (uintptr_t)address,
	};

	if (ioctl(model->objects[0].fd, VMLAB_IOC_WALK, &walk))
		return;
	note("  mapped at %p: object %lu, kind %u, slot %#x, owners %u, refs %u, pte %#lx",
	     address, (unsigned long)walk.object, walk.kind, walk.slot, walk.owners, walk.refs,
	     (unsigned long)walk.levels[VMLAB_WALK_PTE].entry);
}

void copy_tell_page(const struct held *held, unsigned int page)
{
	struct copy *copy = held->copy;
	unsigned int i, nr = copy->nr_deeds;
	char from[100];

	copy_tell(copy->from, from, sizeof(from));
	note("  page %u of %u from %u on, generation %u, a copy of %s", page, copy->pages,
	     copy->first, copy->generation, copy->from ? from : "an object");
	if (held->page[page].at)
		tell_walk(held->page[page].at);
	for (i = nr > HISTORY ? nr - HISTORY : 0; i < nr; i++) {
		struct deed *deed = &copy->deeds[i % HISTORY];

		note("  %s: pages %u to %u, at generation %u", deed->what, deed->page,
		     deed->page + deed->pages - 1, deed->generation);
	}
}

/* For who was caught by a signal. */
void copy_tell_at(struct thread *thread, const char *address)
{
	unsigned int i, page;

	for (i = 0; i < COPIES; i++) {
		struct held *held = &thread->held[i];

		for (page = 0; held->copy && page < held->copy->pages; page++) {
			char *at = held->page[page].at;
			char who[100];

			if (!at || address < at || address >= at + PAGE)
				continue;
			copy_tell(copy_owner(held->copy), who, sizeof(who));
			note("  it is in %s", who);
			copy_tell_page(held, page);
		}
	}
}

/* Every byte must be right. */
void copy_check(struct held *held, unsigned int page, const void *seen, unsigned int from,
		unsigned int nr, const char *how)
{
	const unsigned char *got = seen, *want = held->copy->truth[page] + from;
	unsigned int at, differ = 0, i;
	char who[100];

	if (!memcmp(got, want, nr))
		return;
	for (at = 0; got[at] == want[at]; at++)
		;
	for (i = at; i < nr; i++)
		differ += got[i] != want[i];
	copy_tell(copy_owner(held->copy), who, sizeof(who));
	speak("page %u of %s: %s saw %u bytes of %u to %u that should be others, the first is %u",
	      held->copy->first + page, who, how, differ, from, from + nr - 1, from + at);
	tell_word("expected", word_at(want, from + at, from, nr));
	tell_word("found", word_at(got, from + at, from, nr));
	copy_tell_page(held, page);
	_exit(1);
}

/* All that is left of it, from the first page to the last or the other way. */
void copy_check_all(struct thread *thread, struct held *held, const char *how)
{
	unsigned int pages = held->copy->pages, i;
	bool back = pick(thread, 2);

	for (i = 0; i < pages; i++) {
		unsigned int page = back ? pages - 1 - i : i;

		if (!held->page[page].at)
			continue;
		memcpy(thread->buffer, copy_need(thread, held, page, PROT_READ), PAGE);
		copy_check(held, page, thread->buffer, 0, PAGE, how);
	}
}
