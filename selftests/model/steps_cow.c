// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that make copies of pages, by MAP_PRIVATE and by ioctl(SNAPSHOT), and all that is
 * done to a copy while it is there.
 *
 * An object's page is locked when it is copied, so that the model knows it at that moment;
 * from then on each side changes as it likes.  What is done to a copy (an act) takes no lock
 * and is for its process alone: children that live on their own (steps_family.c) act too.
 */
#include "model.h"

#include <string.h>

/* One kind of act; what it is for depends on the kind of copy. */
struct act {
	const char *name;
	unsigned int weight;
	bool changes;		/* what a frozen snapshot refuses */
	void (*run)(struct thread *thread, struct held *held);
};

static void must(int error, const char *what, struct held *held, unsigned int page,
		 unsigned int nr)
{
	char who[100];

	if (!error)
		return;
	copy_tell(copy_owner(held->copy), who, sizeof(who));
	speak("%s of %u pages of %s: %s", what, nr, who, strerror(-error));
	copy_tell_page(held, page);
	_exit(1);
}

static bool is_private(const struct held *held)
{
	return held->copy->kind == COPY_PRIVATE;
}

/* A page that can be reached, and how many with it at most; 0: nothing is left of it. */
static unsigned int some_pages(struct thread *thread, struct held *held, unsigned int most,
			       unsigned int *page)
{
	unsigned int pages = held->copy->pages, first = pick(thread, pages), i;

	for (i = 0; i < pages; i++) {
		*page = (first + i) % pages;
		if (is_private(held) && !held->page[*page].at)
			continue;
		copy_need(thread, held, *page, PROT_NONE);
		return copy_run(held, *page, 1 + pick(thread, most));
	}
	return 0;
}

/* Only those of them that are not pinned. */
static unsigned int not_pinned(struct held *held, unsigned int page, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr && !held->page[page + i].pinned; i++)
		;
	return i;
}

/* Pages between the first and the last of so many, as the kernel counts them. */
static uint64_t span(struct held *held, unsigned int nr)
{
	return copy_bytes(held, nr - 1) / PAGE + 1;
}

/* By address; of snapshots also by offset. */
static int range(struct thread *thread, struct held *held, unsigned long what,
		 unsigned int page, unsigned int nr, uint64_t *done)
{
	int error;

	if (is_private(held) || pick(thread, 2))
		return address_range(model->objects[0].fd, what, held->page[page].at,
				     span(held, nr), done);
	error = object_range(held->fd, what, copy_offset(held, page), span(held, nr) * PAGE, done);
	if (done)
		*done /= PAGE;
	return error;
}

static void act_load(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 3, &page), i;

	for (i = page; i < page + nr; i++) {
		memcpy(thread->buffer, copy_need(thread, held, i, PROT_READ), PAGE);
		copy_check(held, i, thread->buffer, 0, PAGE, "a load");
	}
}

static void act_load_word(struct thread *thread, struct held *held)
{
	unsigned int page, at = pick(thread, WORDS) * 8;
	uint64_t word;

	if (!some_pages(thread, held, 1, &page))
		return;
	word = *(volatile uint64_t *)(copy_need(thread, held, page, PROT_READ) + at);
	copy_check(held, page, &word, at, 8, "a load of one word");
}

static void store(struct thread *thread, struct held *held, unsigned int page,
		  unsigned int from, unsigned int nr)
{
	char *to = copy_need(thread, held, page, PROT_READ | PROT_WRITE);

	memcpy(to + from, copy_begin(held->copy, page, from, nr, thread->buffer), nr);
	copy_end(held->copy, page, from, nr);
}

static void act_store(struct thread *thread, struct held *held)
{
	unsigned int from = pick(thread, PAGE), nr = 1 + pick(thread, PAGE - from), page;

	if (!some_pages(thread, held, 1, &page))
		return;
	copy_did(held->copy, "store", page, 1);
	store(thread, held, page, from, nr);
}

static void act_stores(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, COPY_PAGES, &page), i;

	copy_did(held->copy, "stores in sequence", page, nr);
	for (i = page; i < page + nr; i++)
		store(thread, held, i, 0, PAGE);
}

/* A private one can be read and written by calls as a debugger does it. */
static void act_read(struct thread *thread, struct held *held)
{
	unsigned int from = pick(thread, PAGE), nr = 1 + pick(thread, PAGE - from), page;
	off_t offset;
	ssize_t done;

	if (!some_pages(thread, held, 1, &page))
		return;
	offset = is_private(held) ? (off_t)(uintptr_t)held->page[page].at :
		 copy_offset(held, page);
	done = pread(is_private(held) ? thread->mem : held->fd, thread->buffer, nr, offset + from);
	if (done != (ssize_t)nr)
		must(done < 0 ? -errno : -EIO, "read", held, page, 1);
	copy_check(held, page, thread->buffer, from, nr, "a read()");
}

/* What the mapping allows makes no difference: a debugger may write to what is private. */
static void act_write(struct thread *thread, struct held *held)
{
	unsigned int from = pick(thread, PAGE), nr = 1 + pick(thread, PAGE - from), page;
	off_t offset;
	ssize_t done;

	if (!some_pages(thread, held, 1, &page))
		return;
	copy_did(held->copy, is_private(held) ? "write to /proc/PID/mem" : "write()", page, 1);
	offset = is_private(held) ? (off_t)(uintptr_t)held->page[page].at :
		 copy_offset(held, page);
	copy_begin(held->copy, page, from, nr, thread->buffer);
	done = pwrite(is_private(held) ? thread->mem : held->fd, thread->buffer, nr, offset + from);
	if (done != (ssize_t)nr)
		must(done < 0 ? -errno : -EIO, "write", held, page, 1);
	copy_end(held->copy, page, from, nr);
}

static void act_check_all(struct thread *thread, struct held *held)
{
	copy_check_all(thread, held, "a look at all");
}

static void act_discard(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 6, &page), i;

	nr = not_pinned(held, page, nr);
	if (!nr)
		return;
	copy_did(held->copy, "DISCARD", page, nr);
	must(range(thread, held, VMLAB_IOC_DISCARD, page, nr, NULL), "DISCARD", held, page, nr);
	for (i = page; i < page + nr; i++)
		copy_zero(held->copy, i);
}

static void act_pageout(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, COPY_PAGES, &page);
	uint64_t done;

	if (!nr)
		return;
	copy_did(held->copy, "PAGEOUT", page, nr);
	must(range(thread, held, VMLAB_IOC_PAGEOUT, page, nr, &done), "PAGEOUT", held, page, nr);
	if (done > span(held, nr) || (done && !not_pinned(held, page, nr) && nr == 1))
		fail("PAGEOUT of %u pages of a copy evicted %lu", nr, (unsigned long)done);
}

static void act_populate(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 8, &page);

	if (!nr)
		return;
	if (object_of(held->copy->first)->stride > 1)
		nr = 1;
	copy_did(held->copy, "POPULATE", page, nr);
	must(range(thread, held, VMLAB_IOC_POPULATE, page, nr, NULL), "POPULATE", held, page, nr);
}

/* They stay so until the next time, or until they are unmapped; a child's are not. */
static void act_pin(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 3, &page), i;
	uint64_t done;

	if (not_pinned(held, 0, held->copy->pages) < held->copy->pages || !nr)
		return;
	if (object_of(held->copy->first)->stride > 1)
		nr = 1;
	copy_did(held->copy, "PIN", page, nr);
	must(range(thread, held, VMLAB_IOC_PIN, page, nr, NULL), "PIN", held, page, nr);
	for (i = page; i < page + nr; i++)
		held->page[i].pinned = true;
	must(range(thread, held, VMLAB_IOC_PAGEOUT, page, nr, &done), "PAGEOUT", held, page, nr);
	if (done)
		fail("PAGEOUT evicted %lu pinned pages of a copy", (unsigned long)done);
}

static void act_unpin(struct thread *thread, struct held *held)
{
	unsigned int page, nr, i;

	for (page = 0; page < held->copy->pages; page++) {
		if (!held->page[page].pinned)
			continue;
		copy_need(thread, held, page, PROT_NONE);
		nr = copy_run(held, page, COPY_PAGES);
		copy_did(held->copy, "UNPIN", page, nr);
		must(range(thread, held, VMLAB_IOC_UNPIN, page, nr, NULL), "UNPIN", held, page,
		     nr);
		for (i = page; i < page + nr; i++)
			held->page[i].pinned = false;
	}
}

static bool is_hole(const struct copy *copy, unsigned int page)
{
	return !copy->truth[page][0] &&
	       !memcmp(copy->truth[page], copy->truth[page] + 1, PAGE - 1);
}

/* What is not zeros is somewhere; what is pinned is here. */
static void act_residency(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 8, &page), i;
	uint32_t words[8];

	if (!nr)
		return;
	if (object_of(held->copy->first)->stride > 1)
		nr = 1;
	must(address_residency(model->objects[0].fd, held->page[page].at, nr, words),
	     "RESIDENCY", held, page, nr);
	for (i = 0; i < nr; i++) {
		bool resident = words[i] & VMLAB_RES_RESIDENT;
		bool swapped = words[i] & VMLAB_RES_SWAPPED;

		if ((resident && swapped) ||
		    (!resident && !swapped && !is_hole(held->copy, page + i)) ||
		    (held->page[page + i].pinned != !!(words[i] & VMLAB_RES_PINNED)) ||
		    (held->page[page + i].pinned && !resident)) {
			speak("RESIDENCY of page %u of a copy says %#x; it is %spinned",
			      held->copy->first + page + i, words[i],
			      held->page[page + i].pinned ? "" : "not ");
			copy_tell_page(held, page + i);
			_exit(1);
		}
	}
}

static void act_protect(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 8, &page);

	if (nr)
		copy_protect(held, page, nr, pick(thread, 3) ? PROT_READ : PROT_NONE);
}

/* A page that was writable, and others have by now: not writable unnoticed. */
static void act_protect_and_store(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 8, &page), i;

	if (!nr)
		return;
	copy_did(held->copy, "mprotect and store", page, nr);
	copy_protect(held, page, nr, PROT_READ);
	copy_protect(held, page, nr, PROT_READ | PROT_WRITE);
	i = page + pick(thread, nr);
	store(thread, held, i, pick(thread, WORDS) * 8, 8);
}

static void act_move(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, COPY_PAGES, &page);

	if (!nr)
		return;
	copy_did(held->copy, "mremap", page, nr);
	copy_move(held, page, nr);
}

static void act_unmap(struct thread *thread, struct held *held)
{
	unsigned int page, nr = some_pages(thread, held, 5, &page);

	if (!nr)
		return;
	copy_did(held->copy, "munmap", page, nr);
	copy_unmap(held, page, nr);
}

/* A copy of the copy, where it has a descriptor. */
static void act_copy(struct thread *thread, struct held *held)
{
	enum copy_kind kind = COPY_PRIVATE + pick(thread, 3);
	struct held *to = copy_free(thread);
	struct copy *from = held->copy;
	unsigned int page, nr;
	int fd = -1;

	if (is_private(held) || !to)
		return;
	page = pick(thread, from->pages);
	nr = 1 + pick(thread, from->pages - page);
	if (kind != COPY_PRIVATE) {
		fd = object_snapshot(held->fd, kind == COPY_FROZEN ? VMLAB_SNAPSHOT_FROZEN : 0);
		if (fd == -ENOMEM && object_of(from->first)->limited)
			return;
		must(fd < 0 ? fd : 0, "SNAPSHOT", held, page, nr);
	}
	copy_did(from, kind == COPY_PRIVATE ? "mapped privately" : "SNAPSHOT", page, nr);
	copy_new(thread, to, kind, from->first + page, nr, from);
	to->fd = fd;
	copy_map(to, kind == COPY_PRIVATE ? held->fd : fd);
}

static void act_drop(struct thread *thread, struct held *held)
{
	copy_drop(held);
}

static const struct act acts[] = {
	{ "load", 20, false, act_load },
	{ "load of a word", 15, false, act_load_word },
	{ "store", 25, true, act_store },
	{ "stores in sequence", 3, true, act_stores },
	{ "read", 10, false, act_read },
	{ "write", 10, true, act_write },
	{ "look at all", 5, false, act_check_all },
	{ "DISCARD", 4, true, act_discard },
	{ "PAGEOUT", 10, false, act_pageout },
	{ "POPULATE", 3, false, act_populate },
	{ "PIN", 3, true, act_pin },
	{ "UNPIN", 3, true, act_unpin },
	{ "RESIDENCY", 3, false, act_residency },
	{ "mprotect", 5, false, act_protect },
	{ "mprotect and store", 8, true, act_protect_and_store },
	{ "mremap", 4, false, act_move },
	{ "munmap of a part", 2, false, act_unmap },
	{ "copy of the copy", 5, false, act_copy },
	{ "drop", 2, false, act_drop },
};

/* A frozen snapshot refuses what would change it, by whatever way. */
static void be_refused(struct thread *thread, struct held *held)
{
	unsigned int page = pick(thread, held->copy->pages);
	char *at = copy_need(thread, held, page, PROT_NONE);
	off_t offset = copy_offset(held, page);
	char byte = pick(thread, 255) + 1;

	if (pwrite(held->fd, &byte, 1, offset) != -1 || errno != EBADF)
		fail("a write to a frozen snapshot: %m");
	if (pwrite(thread->mem, &byte, 1, (off_t)(uintptr_t)at) != -1)
		fail("a write to a frozen snapshot by /proc/PID/mem was not refused");
	if (object_discard(held->fd, offset / PAGE, 1) != -EBADF ||
	    address_range(model->objects[0].fd, VMLAB_IOC_DISCARD, at, 1, NULL) != -EACCES)
		fail("DISCARD of a frozen snapshot was not refused");
	if (mprotect(at, PAGE, PROT_READ | PROT_WRITE) != -1 || errno != EACCES)
		fail("a frozen snapshot can be made writable: %m");
	memcpy(thread->buffer, copy_need(thread, held, page, PROT_READ), PAGE);
	copy_check(held, page, thread->buffer, 0, PAGE, "a load after what was refused");
}

void copy_act(struct thread *thread, struct held *held)
{
	unsigned int sum = 0, i, at;

	for (i = 0; i < sizeof(acts) / sizeof(acts[0]); i++)
		sum += acts[i].weight;
	at = pick(thread, sum);
	for (i = 0; at >= acts[i].weight; i++)
		at -= acts[i].weight;
	if (acts[i].changes && held->copy->kind == COPY_FROZEN)
		be_refused(thread, held);
	else
		acts[i].run(thread, held);
}

/* --- steps ---------------------------------------------------------------- */

/* Where the next copy goes.  No object is copied while too much of the past is kept. */
static struct held *place(struct thread *thread)
{
	struct held *held = copy_free(thread);

	if (copy_has_room() && held)
		return held;
	held = copy_any(thread);
	if (held)
		copy_drop(held);
	return NULL;
}

static void check_new(struct thread *thread, struct held *held)
{
	if (pick(thread, 2))
		copy_check_all(thread, held, "the first look");
}

static void step_private(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, COPY_PAGES));
	struct held *held = place(thread);
	bool made;

	if (!held)
		return;
	run_lock(thread, page, nr);
	copy_new(thread, held, COPY_PRIVATE, page, nr, NULL);
	made = copy_map(held, object_of(page)->fd);
	run_unlock(thread, page, nr);
	if (made)
		check_new(thread, held);
}

static void step_snapshot(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, COPY_PAGES));
	enum copy_kind kind = pick(thread, 2) ? COPY_SNAPSHOT : COPY_FROZEN;
	struct held *held = place(thread);
	int fd;

	if (!held)
		return;
	run_lock(thread, page, nr);
	fd = object_snapshot(object_of(page)->fd,
			     kind == COPY_FROZEN ? VMLAB_SNAPSHOT_FROZEN : 0);
	if (fd >= 0)
		copy_new(thread, held, kind, page, nr, NULL);
	else if (fd != -ENOMEM || !object_of(page)->limited)
		fail("SNAPSHOT of page %u's object: %s", page, strerror(-fd));
	run_unlock(thread, page, nr);
	if (fd < 0)
		return;
	held->fd = fd;
	copy_map(held, fd);
	check_new(thread, held);
}

static void step_act(struct thread *thread)
{
	struct held *held;
	unsigned int nr;

	for (nr = 1 + pick(thread, 4); nr; nr--) {
		held = copy_any(thread);
		if (held)
			copy_act(thread, held);
	}
}

static const struct step steps[] = {
	{ "private mapping", 8, step_private },
	{ "SNAPSHOT", 3, step_snapshot },
	{ "acts on copies", 120, step_act },
};

STEPS(steps);
