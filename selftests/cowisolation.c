// SPDX-License-Identifier: GPL-2.0
/*
 * Copies and isolation: a family of processes, each with private mappings that it shares
 * in part with its parents, does everything at random, and knows of every page what it
 * must hold.  A byte that another process stored after they parted, or that anyone had
 * in the frame before, must never be seen: not under pressure, and not after I/O errors.
 *
 * vmlab-test: timeout=400
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SECRET 0xc0d
#define PAGES (LEAF_PAGES + 200)

FIXTURE(cowisolation)
{
	uint64_t used;
};

static uint64_t frames_used(void)
{
	return pool_sum("resident") + pool_sum("leaf");
}

FIXTURE_SETUP(cowisolation)
{
	settle();
	self->used = frames_used();
}

FIXTURE_TEARDOWN(cowisolation)
{
	inject_off();
	EXPECT_VERIFY_OK();
	settle();
	EXPECT_EQ(self->used, frames_used());
}

/*
 * A member's view: the truth is in ordinary memory, which fork copies by other means.
 * Generation 0 is zeros.  No two members ever use the same generation.
 */
struct view {
	int fd;
	char *map;
	uint32_t *truth;
	uint32_t *maybe;	/* generation + 1 of what may have begun to replace it, or 0 */
	uint32_t *next;		/* of all members, shared */
	bool errors;		/* SIGBUS is expected now and then */
	uint64_t state;
};

static struct view family(int fd, bool errors)
{
	struct view view = { .fd = fd, .errors = errors, .state = seed() };

	view.map = object_map_private(fd, 0, PAGES);
	view.truth = calloc(PAGES, sizeof(*view.truth));
	view.maybe = calloc(PAGES, sizeof(*view.maybe));
	view.next = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!view.truth || !view.maybe || view.next == MAP_FAILED)
		die("no memory: %m");
	return view;
}

static void family_ends(struct view *view)
{
	munmap(view->map, PAGES * PAGE);
	munmap(view->next, PAGE);
	free(view->truth);
	free(view->maybe);
}

static void make(char *page, uint32_t number, uint32_t generation)
{
	if (generation)
		page_fill(page, SECRET, number, generation);
	else
		memset(page, 0, PAGE);
}

/* Each byte is that of one generation, or of the one that may have begun to replace it. */
static bool holds(const char *page, uint32_t number, uint32_t generation, uint32_t maybe)
{
	char old[PAGE] __attribute__((aligned(8))), fresh[PAGE] __attribute__((aligned(8)));
	size_t i;

	make(old, number, generation);
	if (!memcmp(page, old, PAGE))
		return true;
	if (!maybe)
		return false;
	make(fresh, number, maybe - 1);
	for (i = 0; i < PAGE; i++)
		if (page[i] != old[i] && page[i] != fresh[i])
			return false;
	return true;
}

/* False: it holds what it must not.  A page that cannot be read holds nothing. */
static bool view_page_is_right(struct view *view, size_t page)
{
	char copy[PAGE] __attribute__((aligned(8)));
	int number = try_copy(copy, view->map + page * PAGE, PAGE);

	if (number)
		return view->errors && number == SIGBUS;
	return holds(copy, page, view->truth[page], view->maybe[page]);
}

static int view_is_right(struct view *view)
{
	size_t page;

	for (page = 0; page < PAGES; page++)
		if (!view_page_is_right(view, page)) {
			uint64_t *words = (uint64_t *)(view->map + page * PAGE);

			note("page %zu should be %u, is %#lx %lu %lu", page, view->truth[page],
			     words[0], words[1], words[2]);
			return 1;
		}
	return 0;
}

static void view_store(struct view *view, size_t page)
{
	uint32_t generation = __atomic_add_fetch(view->next, 1, __ATOMIC_RELAXED);
	char copy[PAGE] __attribute__((aligned(8)));

	if (view->maybe[page])
		return;
	page_fill(copy, SECRET, page, generation);
	if (try_copy(view->map + page * PAGE, copy, PAGE))
		view->maybe[page] = generation + 1;
	else
		view->truth[page] = generation;
}

static void view_discard(struct view *view, size_t page, size_t pages)
{
	int error;
	size_t i;

	for (i = page; i < page + pages; i++)
		if (view->maybe[i])
			return;
	error = address_range(view->fd, VMLAB_IOC_DISCARD, view->map + page * PAGE, pages, NULL);
	if (error && !view->errors)
		die("DISCARD: %d", error);
	for (i = page; i < page + pages; i++) {
		if (error)
			view->maybe[i] = 1;
		else
			view->truth[i] = 0;
	}
}

static int member(struct view *view, unsigned int depth, unsigned int steps);

static int view_step(struct view *view, unsigned int depth, unsigned int steps)
{
	size_t page = chance(&view->state) % PAGES, pages = 1 + chance(&view->state) % 40;
	size_t i;
	pid_t pid;

	if (pages > PAGES - page)
		pages = PAGES - page;
	switch (chance(&view->state) % 16) {
	case 0 ... 5:
		for (i = page; i < page + pages; i++)
			view_store(view, i);
		break;
	case 6 ... 9:
		for (i = page; i < page + pages; i++)
			CHECK(view_page_is_right(view, i));
		break;
	case 10:
		view_discard(view, page, pages);
		break;
	case 11:
		if (address_range(view->fd, VMLAB_IOC_PAGEOUT, view->map, PAGES, NULL))
			CHECK(view->errors);
		break;
	case 12:
		CHECK(!mprotect(view->map + page * PAGE, pages * PAGE, PROT_READ));
		CHECK(try_store(view->map + page * PAGE, 1));
		CHECK(!mprotect(view->map, PAGES * PAGE, PROT_READ | PROT_WRITE));
		break;
	case 13:
		if (address_range(view->fd, VMLAB_IOC_POPULATE, view->map + page * PAGE, pages,
				  NULL))
			CHECK(view->errors || under_pressure());
		break;
	case 14:
		/* What is mapped anew is zeros, if it can be. */
		if (view->errors)
			break;
		CHECK(!munmap(view->map + page * PAGE, pages * PAGE));
		CHECK(mmap(view->map + page * PAGE, pages * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_FIXED, view->fd, page * PAGE) != MAP_FAILED);
		memset(view->truth + page, 0, pages * sizeof(*view->truth));
		break;
	case 15:
		if (!depth)
			break;
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			view->state ^= getpid() * 0x9e3779b97f4a7c15ULL;
			_exit(member(view, depth - 1, steps / 2));
		}
		break;
	}
	return 0;
}

static int member(struct view *view, unsigned int depth, unsigned int steps)
{
	unsigned int i;
	int wrong = 0, status;

	/* Before anything else: what a fork gives is what the parent had. */
	CHECK(!view_is_right(view));
	for (i = 0; i < steps; i++)
		wrong |= view_step(view, depth, steps);
	wrong |= view_is_right(view);
	while (wait(&status) > 0)
		wrong |= status;
	wrong |= view_is_right(view);
	return !!wrong;
}

static int family_lives(void *arg)
{
	return member(arg, 3, scaled(60, 24));
}

TEST_F_TIMEOUT(cowisolation, a_family_at_random, 200)
{
	int fd = object_open(), round;
	struct view view = family(fd, false);

	for (round = 0; round < (int)scaled(3, 2); round++) {
		EXPECT_EQ(0, child_run(family_lives, &view));
		view.state += round + 1;
		view_store(&view, round);
		EXPECT_EQ(0, view_is_right(&view));
		EXPECT_VERIFY_OK();
	}
	family_ends(&view);
	close(fd);
}

/* The file's object has content of its own, which goes on too. */
TEST_F_TIMEOUT(cowisolation, a_family_and_its_file, 200)
{
	int fd = object_open(), copy, round;
	char *shared = object_map(fd, 0, PAGES), *map;
	struct view view;

	for (round = 0; round < (int)scaled(2, 1); round++) {
		pid_t pid;
		size_t i;

		pages_fill(shared, 0xf11e, 0, PAGES, 1 + round);
		copy = object_snapshot(fd, 0);
		ASSERT_GE(copy, 0);
		ASSERT_EQ(0, object_discard(copy, 0, PAGES));
		view = family(copy, false);
		pid = child_start(family_lives, &view);
		for (i = 0; i < PAGES; i += 3)
			page_fill(shared + i * PAGE, 0xf11e, i, 10 + round);
		map = object_map_private(fd, 0, PAGES);
		pages_fill(map, 0xf11f, 0, PAGES, 1);
		EXPECT_EQ(0, child_wait(pid));
		for (i = 0; i < PAGES; i++)
			ASSERT_TRUE(page_is(shared + i * PAGE, 0xf11e, i,
					    (i % 3 ? 1 : 10) + round));
		EXPECT_EQ(0, pages_wrong(map, 0xf11f, 0, PAGES, 1));
		EXPECT_VERIFY_OK();
		munmap(map, PAGES * PAGE);
		family_ends(&view);
		close(copy);
	}
	munmap(shared, PAGES * PAGE);
	close(fd);
}

/* Frames that held secrets come back zeroed, whoever had them together. */
TEST_F_TIMEOUT(cowisolation, frames_of_a_family_come_back_empty, 100)
{
	int fd, round;
	size_t pages;
	char *map;

	pools_scaled(4);
	pages = pool_sum("total") * 3 / 4;
	for (round = 0; round < (int)scaled(2, 1); round++) {
		struct view view;

		fd = object_open();
		view = family(fd, false);
		EXPECT_EQ(0, child_run(family_lives, &view));
		family_ends(&view);
		close(fd);
		fd = object_open();
		map = object_map_private(fd, 0, pages);
		ASSERT_EQ(0, address_range(fd, VMLAB_IOC_POPULATE, map, pages, NULL));
		EXPECT_EQ(0, pages_not_zero(map, pages));
		munmap(map, pages * PAGE);
		close(fd);
	}
}

/* Copies on swap are taken back while families share pages that have them. */
TEST_F_TIMEOUT(cowisolation, swapoff_beside_a_family, 200)
{
	int fd = object_open(), rounds = 0, status;
	struct view view = family(fd, false);
	size_t i;
	pid_t pid;

	ASSERT_EQ(0, swap_use_only(spare_disk()));
	for (i = 0; i < PAGES; i++)
		view_store(&view, i);
	pid = child_start(family_lives, &view);
	while (!waitpid(pid, &status, WNOHANG)) {
		int error = swap_off(spare_disk());

		EXPECT_TRUE(!error || error == -ENOMEM) TH_LOG("swapoff: %d", error);
		if (!error)
			ASSERT_EQ(0, swap_on(spare_disk()));
		rounds++;
	}
	EXPECT_EQ(0, status);
	EXPECT_LT(0, rounds);
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, view_is_right(&view));
	family_ends(&view);
	close(fd);
}

/* A read or write that fails shows nothing else in the page's place. */
TEST_F_TIMEOUT(cowisolation, after_io_errors, 200)
{
	static const char *const classes[] = { "io", "bio", "frame", "leaf", "xarray", "object",
					       "region" };
	int fd = object_open();
	struct view view = family(fd, true);
	size_t i;

	ASSERT_EQ(0, swap_use_only(under_pressure() ? pressure_disk() : spare_disk()));
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	for (i = 0; i < PAGES; i++)
		view_store(&view, i);
	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		ASSERT_EQ(0, inject(classes[i], "random 30 %lu", seed()));
		EXPECT_EQ(0, child_run(family_lives, &view));
		view_store(&view, i);
		inject_off();
		EXPECT_VERIFY_OK();
		/* What can be read again is right; nothing of the parent's may be lost. */
		view.errors = false;
		EXPECT_EQ(0, view_is_right(&view)) TH_LOG("after %s", classes[i]);
		view.errors = true;
		view.state += i + 1;
	}
	family_ends(&view);
	close(fd);
}

TEST_HARNESS_MAIN
