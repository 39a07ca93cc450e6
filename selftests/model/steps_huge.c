// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that have to do with huge pages: advice, 2 MiB given up and begun anew, COLLAPSE and
 * SPLIT, RESERVE, compaction, and the settings that all of these and the promotion thread go by.
 *
 * None of them changes a byte but what gives 2 MiB up, which locks all of the model's pages
 * in there.  They never judge whether a page is a huge one, unless it is reserved: that is the
 * module's to choose.  What is reserved stays until its object goes, so it is in an object of
 * its own, which is known to one thread only.
 */
#include "model.h"

#include <string.h>

/* 2 MiB of an object, and which pages of the model lie in there. */
struct leaf {
	const struct object *object;
	uint64_t start;			/* page of the object */
	unsigned int first, pages;	/* of the model */
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* Whole ones only, between the object's first and last page of the model. */
static struct leaf some_leaf(struct thread *thread)
{
	const struct object *object = &model->objects[pick(thread, OBJECTS)];
	uint64_t end = object->base + (uint64_t)(object->pages - 1) * object->stride + 1;
	uint64_t start = round_up(object->base, LEAF_PAGES);
	struct leaf leaf = { .object = object };
	uint64_t first, last;

	if (end < start + LEAF_PAGES)
		fail("the object of page %u has no whole 2 MiB", object->first);
	leaf.start = start + pick(thread, (end - start) / LEAF_PAGES) * LEAF_PAGES;
	first = round_up(leaf.start - object->base, object->stride) / object->stride;
	last = (leaf.start + LEAF_PAGES - 1 - object->base) / object->stride;
	leaf.first = object->first + first;
	leaf.pages = last - first + 1;
	return leaf;
}

/* Has it in one piece, with room for a PMD, that can be stored to. */
static void map_leaf(struct thread *thread, const struct leaf *leaf)
{
	const struct object *object = leaf->object;
	unsigned int first = leaf->first, end = first + leaf->pages;
	struct piece *piece;

	/* With holes between, its first byte lies before the first page of the model. */
	if (object->stride > 1) {
		first -= first > object->first;
		end += end < object->first + object->pages;
	}
	piece = view_piece(thread, first);
	if (!piece || piece != view_piece(thread, end - 1) ||
	    piece->protection != (PROT_READ | PROT_WRITE))
		view_map(thread, first, end - first);
}

static void load_from(struct thread *thread, const struct leaf *leaf, const char *how)
{
	unsigned int page = leaf->first + pick(thread, leaf->pages);

	page_lock(thread, page);
	memcpy(thread->buffer, view_need(thread, page, PROT_READ), PAGE);
	check(page, thread->buffer, 0, PAGE, how);
	page_unlock(thread, page);
}

static void step_advise(struct thread *thread)
{
	unsigned int page = any_page(thread), nr;
	int advice = pick(thread, 4) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
	struct piece *piece;

	view_need(thread, page, PROT_NONE);
	piece = view_piece(thread, page);
	nr = view_clip(thread, page, 1 + pick(thread, 600));
	if (pick(thread, 2))
		view_advise(thread, piece->first, piece->pages, advice);
	else
		view_advise(thread, page, nr, advice);
}

static void store(struct thread *thread, unsigned int page)
{
	char *to = view_need(thread, page, PROT_READ | PROT_WRITE);

	fill(thread->buffer, page, 0, PAGE, thread->owner,
	     change_begin(page, thread->owner, CHANGE_WRITE, 0, PAGE));
	memcpy(to, thread->buffer, PAGE);
	change_end(page);
}

/* Nothing is left of them, and the next store may have 2 MiB. */
static void step_anew(struct thread *thread)
{
	struct leaf leaf = some_leaf(thread);
	unsigned int i, nr = 1 + pick(thread, 8);
	int error;

	map_leaf(thread, &leaf);
	if (pick(thread, 8))
		view_advise(thread, leaf.first, leaf.pages, MADV_HUGEPAGE);
	run_lock(thread, leaf.first, leaf.pages);
	for (i = 0; i < leaf.pages; i++)
		change_begin(leaf.first + i, thread->owner, CHANGE_DISCARD, 0, PAGE);
	error = object_discard(leaf.object->fd, leaf.start, LEAF_PAGES);
	if (error)
		fail("DISCARD of 2 MiB from page %u on: %s", leaf.first, strerror(-error));
	for (i = 0; i < leaf.pages; i++)
		change_end(leaf.first + i);
	for (i = 0; i < nr; i++)
		store(thread, leaf.first + pick(thread, leaf.pages));
	for (i = 0; i < nr; i++) {
		unsigned int page = leaf.first + pick(thread, leaf.pages);

		memcpy(thread->buffer, view_need(thread, page, PROT_READ), PAGE);
		check(page, thread->buffer, 0, PAGE, "a load from 2 MiB that were begun anew");
	}
	run_unlock(thread, leaf.first, leaf.pages);
}

/* By address where a mapping is asked for, else by offset; @done in pages. */
static int range(struct thread *thread, const struct leaf *leaf, unsigned long what,
		 uint64_t start, uint64_t pages, uint64_t *done)
{
	char *at = view_address(thread, leaf->first);
	int error;

	*done = 0;
	if (at && pick(thread, 2)) {
		at -= offset_of(leaf->first) - (off_t)(start * PAGE);
		return address_range(leaf->object->fd, what, at, pages, done);
	}
	error = object_range(leaf->object->fd, what, start * PAGE, pages * PAGE, done);
	*done /= PAGE;
	return error;
}

static void step_collapse(struct thread *thread)
{
	struct leaf leaf = some_leaf(thread);
	uint64_t shift = pick(thread, 8) ? 0 : 1 + pick(thread, LEAF_PAGES - 1), done;
	int error;

	if (pick(thread, 2))
		map_leaf(thread, &leaf);
	error = range(thread, &leaf, VMLAB_IOC_COLLAPSE, leaf.start + shift, LEAF_PAGES - shift,
		      &done);
	switch (-error) {
	case 0:
		if (shift || done != LEAF_PAGES)
			fail("COLLAPSE from page %u on, but for %lu pages: %lu are done",
			     leaf.first, (unsigned long)shift, (unsigned long)done);
		break;
	case EINVAL:	/* no page at all, or not whole 2 MiB */
	case ENOMEM:	/* no chunk, a limit, or not mapped */
	case EBUSY:	/* pinned, or another object's too */
	case ENOTTY:	/* there is no such ioctl */
		break;
	default:
		fail("COLLAPSE from page %u on: %s", leaf.first, strerror(-error));
	}
	load_from(thread, &leaf, "a load after COLLAPSE");
}

static void step_split(struct thread *thread)
{
	struct leaf leaf = some_leaf(thread);
	uint64_t first = pick(thread, LEAF_PAGES), done;
	uint64_t pages = 1 + pick(thread, LEAF_PAGES - first);
	int error;

	if (pick(thread, 2))
		map_leaf(thread, &leaf);
	error = range(thread, &leaf, VMLAB_IOC_SPLIT, leaf.start + first, pages, &done);
	/* ENOMEM: by address, and a part is not mapped; ENOTTY: there is no such ioctl. */
	if ((error && error != -ENOMEM && error != -ENOTTY) || done > pages)
		fail("SPLIT from page %u on: %s, %lu of %lu pages are done", leaf.first,
		     strerror(-error), (unsigned long)done, (unsigned long)pages);
	load_from(thread, &leaf, "a load after SPLIT");
}

static void set(const char *file, const char *value)
{
	int error = debugfs_write(file, "%s\n", value);

	if (error)
		fail("%s to %s: %s", file, value, strerror(-error));
}

static void step_setting(struct thread *thread)
{
	static const char * const settings[] = { "always", "always", "madvise", "never" };

	set("huge", settings[pick(thread, 4)]);
}

static void step_tunables(struct thread *thread)
{
	static const struct {
		const char *file, *values[3];
	} tunables[] = {
		{ "promote/max_none", { "0", "256", "511" } },
		{ "promote/max_shared", { "0", "256", "512" } },
		{ "promote/max_swapped", { "0", "64", "512" } },
		{ "promote/scan_ms", { "10", "100", "1000" } },
		{ "promote/scan_leaves", { "1", "64", "4096" } },
		{ "zero_chunks", { "0", "4", "1000" } },
		{ "promote/cow_huge", { "0", "0", "1" } },
	};
	unsigned int which = pick(thread, sizeof(tunables) / sizeof(tunables[0]));

	/* Copies of 2 MiB where 4 KiB were stored to need not fit into the pool. */
	if (model->unswapped && !strcmp(tunables[which].file, "promote/cow_huge"))
		return;
	set(tunables[which].file, tunables[which].values[pick(thread, 3)]);
}

static void step_compact(struct thread *thread)
{
	int node = nth_node(pool_nodes(), pick(thread, 64)), error;

	error = pick(thread, 3) ? debugfs_write("compact", "%d\n", node) :
				  debugfs_write("compact", "all\n");
	/* ENOENT: there is no such file. */
	if (error && error != -ENOENT)
		fail("compact: %s", strerror(-error));
}

/* What is reserved is whole and resident, and has nothing on swap. */
static void check_reserved(struct thread *thread, char *at, uint32_t generation, const char *when)
{
	const uint32_t bits = VMLAB_RES_RESIDENT | VMLAB_RES_HUGE | VMLAB_RES_RESERVED;
	uint32_t words[LEAF_PAGES];
	unsigned int i;
	uint64_t bad;
	int error;

	error = address_residency(model->objects[0].fd, at, LEAF_PAGES, words);
	if (error)
		fail("RESIDENCY of what is reserved: %s", strerror(-error));
	for (i = 0; i < LEAF_PAGES; i++)
		if ((words[i] & bits) != bits || (words[i] & VMLAB_RES_SWAPPED))
			fail("%s: RESIDENCY of reserved page %u says %#x", when, i, words[i]);
	bad = generation ? pages_wrong(at, thread->owner, 0, LEAF_PAGES, generation) :
			   pages_not_zero(at, LEAF_PAGES);
	if (bad)
		fail("%s: %lu pages of what is reserved are wrong", when, (unsigned long)bad);
}

/* Each says what docs/interface.md says, and changes nothing. */
static void act_on_reserved(struct thread *thread, char *at)
{
	static const struct {
		const char *name;
		unsigned long what;
		bool whole;
		int says;
		uint64_t done;
	} acts[] = {
		{ "PAGEOUT", VMLAB_IOC_PAGEOUT, false, 0, 0 },
		{ "DISCARD", VMLAB_IOC_DISCARD, false, -EBUSY, 0 },
		{ "SPLIT", VMLAB_IOC_SPLIT, false, -EBUSY, 0 },
		{ "COLLAPSE", VMLAB_IOC_COLLAPSE, true, 0, LEAF_PAGES },
		{ "RESERVE", VMLAB_IOC_RESERVE, true, 0, LEAF_PAGES },
	};
	unsigned int which = pick(thread, sizeof(acts) / sizeof(acts[0]));
	unsigned int first = acts[which].whole ? 0 : pick(thread, LEAF_PAGES);
	uint64_t pages = acts[which].whole ? LEAF_PAGES : 1 + pick(thread, LEAF_PAGES - first);
	uint64_t done;
	int says = address_range(model->objects[0].fd, acts[which].what, at + first * PAGE, pages,
				 &done);

	if (says != acts[which].says || done != acts[which].done)
		fail("%s of %lu reserved pages says %s, %lu done", acts[which].name,
		     (unsigned long)pages, strerror(-says), (unsigned long)done);
}

/*
 * The descriptor is closed, and the mapping left to no child: else a child that another thread
 * forks would keep what is reserved.
 */
static char *map_anew(struct thread *thread)
{
	int fd = object_open();
	char *at;

	if (fd < 0)
		fail("no object to reserve in: %s", strerror(-fd));
	at = object_map(fd, pick(thread, 1000) * LEAF_PAGES, LEAF_PAGES);
	if (madvise(at, LEAF_BYTES, MADV_DONTFORK))
		fail("MADV_DONTFORK: %m");
	close(fd);
	return at;
}

static void use_reserved(struct thread *thread, char *at)
{
	uint32_t generation = 1 + pick(thread, 1 << 20);
	unsigned int i, nr = 1 + pick(thread, 6);

	check_reserved(thread, at, 0, "when it is new");
	pages_fill(at, thread->owner, 0, LEAF_PAGES, generation);
	for (i = 0; i < nr; i++)
		act_on_reserved(thread, at);
	check_reserved(thread, at, generation, "after it was acted on");
}

static void step_reserve(struct thread *thread)
{
	uint32_t nobody = 0;
	uint64_t done;
	char *at;
	int error;

	if (!atomic_compare_exchange_strong(&model->reserver, &nobody, thread->owner))
		return;
	at = map_anew(thread);
	error = address_range(model->objects[0].fd, VMLAB_IOC_RESERVE, at, LEAF_PAGES, &done);
	if (!error && done == LEAF_PAGES)
		use_reserved(thread, at);
	else if (error != -ENOMEM || done || pages_not_zero(at, LEAF_PAGES))
		fail("RESERVE: %s, %lu pages done", strerror(-error), (unsigned long)done);
	if (munmap(at, LEAF_BYTES))
		fail("munmap of what was reserved: %m");
	atomic_store(&model->reserver, 0);
}

static const struct step steps[] = {
	{ "madvise of huge pages", 12, step_advise },
	{ "2 MiB anew", 5, step_anew },
	{ "COLLAPSE", 8, step_collapse },
	{ "SPLIT", 8, step_split },
	{ "RESERVE", 2, step_reserve },
	{ "huge: the setting", 4, step_setting },
	{ "huge: tunables", 3, step_tunables },
	{ "compaction", 2, step_compact },
};

STEPS(steps);
