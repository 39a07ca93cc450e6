// SPDX-License-Identifier: GPL-2.0
/*
 * After a worker's death: what it had under way is found out and made definite.
 *
 * A page it was about to change must have old or new bytes; which of them, the model may
 * not learn from the object, so they are written anew.  Runs in the controller, when every
 * process of the worker is gone; other workers go on meanwhile, and wait for the locks.
 */
#include "model.h"

#include <string.h>

static bool is_of(unsigned int owner, unsigned int worker)
{
	return owner && owner != CONTROLLER && (owner - 1) / THREADS == worker;
}

static void read_page(unsigned int page, unsigned char *bytes)
{
	ssize_t done = pread(object_of(page)->fd, bytes, PAGE, offset_of(page));

	if (done != (ssize_t)PAGE)
		fail("pread of page %u after its writer's death: %zd, %m", page, done);
}

/* Old or new?  A discard takes a page as a whole, a write byte by byte. */
static void check_begun(unsigned int page, const unsigned char *seen)
{
	const unsigned char *old = model->truth[page];
	struct change *now = &model->page[page].now;
	unsigned char new[PAGE];
	unsigned int i;

	memcpy(new, old, PAGE);
	if (now->kind == CHANGE_DISCARD)
		memset(new, 0, PAGE);
	else
		fill(new + now->from, page, now->from, now->bytes, now->owner, now->generation);
	if (!memcmp(seen, old, PAGE) || !memcmp(seen, new, PAGE))
		return;
	for (i = 0; i < PAGE; i++)
		if (now->kind == CHANGE_DISCARD || (seen[i] != old[i] && seen[i] != new[i]))
			wrong(page, seen, 0, PAGE, "the controller: neither old nor new");
}

static void write_anew(unsigned int page)
{
	struct change was = model->page[page].now;
	unsigned char bytes[PAGE];
	uint32_t generation;
	ssize_t done;

	if (was.kind == CHANGE_DISCARD) {
		was.from = 0;
		was.bytes = PAGE;
	}
	generation = change_begin(page, CONTROLLER, CHANGE_WRITE, was.from, was.bytes);
	fill(bytes, page, was.from, was.bytes, CONTROLLER, generation);
	done = pwrite(object_of(page)->fd, bytes, was.bytes, offset_of(page) + was.from);
	if (done != was.bytes)
		fail("pwrite to page %u after its writer's death: %m", page);
	change_end(page);
}

static void recover_page(unsigned int page)
{
	struct model_page *p = &model->page[page];
	unsigned char seen[PAGE];

	if (p->pinned) {
		int error = object_unpin(object_of(page)->fd, offset_of(page) / PAGE, 1);

		if (error)
			fail("UNPIN of page %u after a death: %s", page, strerror(-error));
		p->pinned = false;
	}
	if (p->now.state == CHANGE_BEGUN) {
		read_page(page, seen);
		check_begun(page, seen);
		write_anew(page);
	} else if (p->now.state == CHANGE_DONE) {
		change_apply(page);
	}
	/* Killed before or after, with no change under way: old bytes. */
	read_page(page, seen);
	check(page, seen, 0, PAGE, "the controller after a death");
	atomic_store(&p->lock, 0);
}

void recover(unsigned int worker)
{
	unsigned int page;

	for (page = 0; page < model->nr_pages; page++)
		if (is_of(model->page[page].lock, worker))
			recover_page(page);
	if (is_of(model->admin, worker))
		atomic_store(&model->admin, 0);
	if (is_of(model->reserver, worker))
		atomic_store(&model->reserver, 0);
	/* Its private mappings and snapshots, and its children's, are no more. */
	lives_end(worker);
}
