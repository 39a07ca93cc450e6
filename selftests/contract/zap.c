// SPDX-License-Identifier: GPL-2.0
/*
 * Taking pages out of page tables, through i_mmap, in any process, and what keeps the
 * tables while vmlab is at it.
 */
#include "test.h"

#include <string.h>

#define PAGES 64
#define HOLD_MS 1500
#define HOLD_LONG_MS 10000

CONTRACT(zap_exact, "zap_vma_ptes() clears the pages named and no others",
	 "pages in use would vanish from tables, or stay there when their frames are freed")
{
	int fd = object(0), i;
	char *map = shared_map(fd, 0, CT_PAGES);

	for (i = 0; i < PAGES; i++)
		map[i * PAGE] = i;
	zap(fd, map + 10 * PAGE, 20);
	for (i = 0; i < PAGES; i++)
		EQUAL(i < 10 || i >= 30, !!(look(fd, map + i * PAGE).flags & CT_PRESENT));
	for (i = 0; i < PAGES; i++)
		EQUAL(i, map[i * PAGE]);
}

CONTRACT(zap_of_nothing, "zap_vma_ptes() of pages that have no page table does nothing",
	 "the zap that only flushes would build tables or fail")
{
	int fd = object(0);
	char *map = chunk_map(fd);

	map[0] = 1;
	zap(fd, map + LEAF_BYTES, CT_CHUNK_PAGES);
	zap(fd, map + PAGE, CT_PAGES - 1);
	EQUAL(CT_LEVEL_NONE, look(fd, map + LEAF_BYTES).level);
	EQUAL(1, present_ptes(fd, map, CT_PAGES));
}

struct two {
	int fd;
	char *map;
	int ready[2], go[2];
};

static int touch_and_wait(void *arg)
{
	struct two *two = arg;
	char byte;
	int i;

	for (i = 0; i < PAGES; i++)
		two->map[i * PAGE] = 1;
	EQUAL(PAGES, present_ptes(two->fd, two->map, PAGES));
	REQUIRE(write(two->ready[1], "", 1) == 1);
	REQUIRE(read(two->go[0], &byte, 1) == 1);
	EQUAL(PAGES - 20, present_ptes(two->fd, two->map, PAGES));
	for (i = 0; i < PAGES; i++)
		EQUAL(1, two->map[i * PAGE]);
	return 0;
}

static void zap_in_two(bool by_mapping)
{
	struct ct_range range = { .first = 10, .pages = 20 };
	struct two two = { .fd = object(0) };
	char byte;
	pid_t pid;

	two.map = shared_map(two.fd, 0, CT_PAGES);
	REQUIRE(!pipe(two.ready) && !pipe(two.go));
	pid = child_start(touch_and_wait, &two);
	close(two.ready[1]);
	REQUIRE(read(two.ready[0], &byte, 1) == 1);
	memset(two.map, 1, PAGES * PAGE);
	if (by_mapping)
		EQUAL(0, ioctl(two.fd, CT_IOC_UNMAP, &range));
	else
		EQUAL(2, zap_all(two.fd, range.first, range.pages));
	EQUAL(PAGES - 20, present_ptes(two.fd, two.map, PAGES));
	REQUIRE(write(two.go[1], "", 1) == 1);
	child_ok(pid);
}

CONTRACT(zap_under_i_mmap, "under i_mmap alone zap_vma_ptes() works on the VMA of another process",
	 "reclaim could not take a page out of the processes that map it")
{
	zap_in_two(false);
}

CONTRACT(unmap_mapping, "unmap_mapping_range() takes pages out of every process that maps them",
	 "discarded pages would stay mapped somewhere")
{
	zap_in_two(true);
}

CONTRACT(zap_in_fault, "a fault may zap its own page and map another: one trap",
	 "copy-on-write would trap twice, or leave the old page mapped")
{
	int fd = object(CT_COW), i;
	char *map = shared_map(fd, 0, CT_CHUNK_PAGES);

	for (i = 0; i < PAGES; i++)
		EQUAL(0, map[i * PAGE]);
	reset(fd);
	for (i = 0; i < PAGES; i++) {
		map[i * PAGE] = i;
		EQUAL(CT_CHUNK_PAGES + i, look(fd, map + i * PAGE).page);
	}
	EQUAL(PAGES, events(fd).mkwrite);
	EQUAL(0, events(fd).fault);
	for (; i < 2 * PAGES; i++)
		map[i * PAGE] = i;
	EQUAL(PAGES, events(fd).fault);
	for (i = 0; i < 2 * PAGES; i++)
		EQUAL(i, map[i * PAGE]);
}

CONTRACT(tree, "i_mmap finds each VMA for exactly the pages it maps, in every process",
	 "reclaim would miss a process, or look into one that maps something else")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES);
	struct two two = { .fd = fd, .map = map };
	char byte;
	pid_t pid;

	EQUAL(1, vmas(fd, 0, CT_PAGES));
	EQUAL(0, vmas(fd, PAGES, 1));
	EQUAL(0, munmap(map + 20 * PAGE, 10 * PAGE));
	EQUAL(2, vmas(fd, 0, CT_PAGES));
	EQUAL(1, vmas(fd, 19, 1));
	EQUAL(0, vmas(fd, 20, 10));
	EQUAL(1, vmas(fd, 29, 2));
	two.map = shared_map(fd, 100, PAGES);
	REQUIRE(!pipe(two.ready) && !pipe(two.go));
	setup(fd, 0);
	pid = fork();
	if (!pid) {
		REQUIRE(write(two.ready[1], "", 1) == 1);
		REQUIRE(read(two.go[0], &byte, 1) == 1);
		_exit(0);
	}
	REQUIRE(read(two.ready[0], &byte, 1) == 1);
	EQUAL(6, vmas(fd, 0, CT_PAGES));
	EQUAL(2, vmas(fd, 100, 1));
	REQUIRE(write(two.go[1], "", 1) == 1);
	child_ok(pid);
	EQUAL(3, vmas(fd, 0, CT_PAGES));
}

/* What somebody does while i_mmap is held, and then says that it is done. */
struct during {
	int fd;
	char *map, *room;
	int (*what)(struct during *during);
	int ready[2];
};

static void wait_until_held(int fd)
{
	while (!events(fd).held)
		usleep(1000);
}

static int do_during(void *arg)
{
	struct during *during = arg;

	during->map[0] = 1;
	during->map[LEAF_BYTES] = 1;
	REQUIRE(write(during->ready[1], "", 1) == 1);
	wait_until_held(during->fd);
	EQUAL(0, during->what(during));
	EQUAL(0, ioctl(during->fd, CT_IOC_WAKE));
	return 0;
}

static int hold(struct during *during, unsigned int ms)
{
	char byte;
	int woken;

	close(during->ready[1]);
	REQUIRE(read(during->ready[0], &byte, 1) == 1);
	woken = ioctl(during->fd, CT_IOC_HOLD, ms);
	REQUIRE(woken >= 0);
	return woken;
}

/* Whether it was done before i_mmap was let go, after so long at most. */
static bool done_while_held(int (*what)(struct during *during), unsigned int ms)
{
	struct during during = { .fd = object(0), .what = what };
	int woken;
	pid_t pid;

	during.map = chunk_map(during.fd);
	during.room = address_space(CT_PAGES * PAGE);
	REQUIRE(!pipe(during.ready));
	pid = child_start(do_during, &during);
	woken = hold(&during, ms);
	child_ok(pid);
	return woken;
}

static int fault_a_page(struct during *during)
{
	during->map[PAGE] = 1;
	return 0;
}

CONTRACT(faults_under_i_mmap, "faults do not wait for i_mmap",
	 "a fault that waits for an eviction would wait for ever for the one that evicts")
{
	REQUIRE(done_while_held(fault_a_page, HOLD_LONG_MS * slowness()));
}

static int unmap_all(struct during *during)
{
	return munmap(during->map, CT_PAGES * PAGE);
}

CONTRACT(munmap_waits, "munmap() waits for i_mmap before it frees page tables",
	 "a walk through i_mmap would follow tables that are free by now, and change what has "
	 "become of them")
{
	REQUIRE(!done_while_held(unmap_all, HOLD_MS));
}

static int move_tables(struct during *during)
{
	return mremap(during->map, CT_PAGES * PAGE, CT_PAGES * PAGE,
		      MREMAP_MAYMOVE | MREMAP_FIXED, during->room) != during->room;
}

CONTRACT(mremap_waits, "mremap() waits for i_mmap before it moves whole page tables",
	 "a walk would change PTEs of other addresses than it meant")
{
	REQUIRE(!done_while_held(move_tables, HOLD_MS));
}

static int touch_until_held(void *arg)
{
	struct during *during = arg;

	during->map[0] = 1;
	REQUIRE(write(during->ready[1], "", 1) == 1);
	wait_until_held(during->fd);
	return 0;
}

CONTRACT(exit_waits, "exit() waits for i_mmap before it frees page tables",
	 "a walk through i_mmap would follow tables of a process that has ended")
{
	struct during during = { .fd = object(0) };
	pid_t pid;
	int woken;

	during.map = chunk_map(during.fd);
	REQUIRE(!pipe(during.ready));
	pid = fork();
	if (!pid) {
		run_child(touch_until_held, &during);
		_exit(ioctl(during.fd, CT_IOC_WAKE));
	}
	woken = hold(&during, HOLD_MS);
	child_ok(pid);
	EQUAL(0, woken);
}

static int do_nothing(void *arg)
{
	return 0;
}

CONTRACT(not_visible_in_open, "a VMA cannot be found in i_mmap before its ->open",
	 "reclaim would look into a VMA whose region nobody has counted yet")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES), *room = address_space(PAGES * PAGE);

	EQUAL(0, munmap(map + 20 * PAGE, 10 * PAGE));
	REQUIRE(mremap(map, 20 * PAGE, 20 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	run_child(do_nothing, NULL);
	REQUIRE(events(fd).open >= 2 && events(fd).open_fork == 2);
	EQUAL(0, events(fd).open_visible);
}

static int map_and_exit(void *arg)
{
	struct during *during = arg;

	memset(during->map, 1, PAGES * PAGE);
	return 0;
}

CONTRACT(all_gone_at_close, "at ->close the pages are unmapped and the VMA is out of i_mmap",
	 "what a private object gives up there would still be mapped, or be taken for covered "
	 "by the very VMA that goes")
{
	struct during during = { .fd = object(0) };
	char *room = address_space(PAGES * PAGE);

	during.map = shared_map(during.fd, 0, PAGES);
	memset(during.map, 1, PAGES * PAGE);
	run_child(map_and_exit, &during);
	EQUAL(1, events(during.fd).close);
	EQUAL(0, munmap(during.map + 10 * PAGE, 10 * PAGE));
	REQUIRE(mremap(during.map + 20 * PAGE, 44 * PAGE, 44 * PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	EQUAL(0, munmap(room, 44 * PAGE));
	EQUAL(0, munmap(during.map, PAGES * PAGE));
	EQUAL(5, events(during.fd).close);
	EQUAL(0, events(during.fd).close_visible);
	EQUAL(0, events(during.fd).close_ptes);
}
