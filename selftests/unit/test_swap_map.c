// SPDX-License-Identifier: GPL-2.0
/*
 * module/swap_map.c: no slot is handed out twice, lost, or found with too much
 * effort; runs follow each other.
 */
#include <linux/kernel.h>
#include <stdlib.h>
#include <string.h>

#include "swap_map.h"
#include "unit.h"

static struct vmlab_swap_map map;
static unsigned long *used, *full;
static struct vmlab_swap_slot *slots;

static void start(u64 nr_slots)
{
	free(used);
	free(full);
	free(slots);
	used = calloc(BITS_TO_LONGS(nr_slots), sizeof(long));
	full = calloc(BITS_TO_LONGS(vmlab_swap_map_groups(nr_slots)), sizeof(long));
	slots = calloc(nr_slots, sizeof(*slots));
	vmlab_swap_map_init(&map, nr_slots, used, full, slots);
}

static void stop(void)
{
	free(used);
	free(full);
	free(slots);
	used = NULL;
	full = NULL;
	slots = NULL;
}

/* Takes slots one at a time until none is free. */
static void fill(void)
{
	u64 first;

	while (vmlab_swap_map_alloc(&map, 1, &first))
		;
}

/* What must hold of every map. */
static void check_books(void)
{
	u64 i, nr_free = 0, nr_bad = 0, group_free = 0;

	CHECK(!map.lock.held);
	for (i = 0; i < map.nr_slots; i++) {
		CHECK(test_bit(i, used) == !!slots[i].refs);
		nr_free += !slots[i].refs;
		nr_bad += slots[i].refs == VMLAB_SWAP_REFS_BAD;
		group_free += !slots[i].refs;
		if (i == map.nr_slots - 1 || !((i + 1) & (VMLAB_SWAP_GROUP - 1))) {
			CHECK(test_bit(i >> VMLAB_SWAP_GROUP_SHIFT, full) == !group_free);
			group_free = 0;
		}
	}
	CHECK_EQ(map.nr_free, nr_free);
	CHECK_EQ(map.nr_bad, nr_bad);
	CHECK_EQ(vmlab_swap_map_used(&map), map.nr_slots - nr_free - nr_bad);
}

static void test_layout(void)
{
	CHECK_EQ(sizeof(struct vmlab_swap_slot), 16);
	/* An entry and a slot word's flags fit into a word. */
	CHECK(VMLAB_SWAP_MAX_PAGES <= 1ULL << VMLAB_SWAP_DEV_SHIFT);
	CHECK((u64)VMLAB_SWAP_MAX_DEVS << VMLAB_SWAP_DEV_SHIFT <= 1ULL << (64 - 6));
	/* What the head of swap_map.h says. */
	CHECK(vmlab_swap_map_groups(VMLAB_SWAP_MAX_PAGES) <= 8192 * 64);
}

static void test_new(void)
{
	start(1000);
	CHECK_EQ(map.nr_free, 999);
	CHECK_EQ(map.nr_bad, 1);
	CHECK_EQ(slots[0].refs, VMLAB_SWAP_REFS_BAD);
	CHECK_EQ(vmlab_swap_map_used(&map), 0);
	check_books();
}

static void test_sequential(void)
{
	u64 first, next = 1;
	unsigned int i, j;

	start(10000);
	for (i = 0; i < 70; i++) {
		CHECK_EQ(vmlab_swap_map_alloc(&map, 128, &first), 128);
		CHECK_EQ(first, next);
		for (j = 0; j < 128; j++)
			CHECK_EQ(slots[first + j].refs, 1);
		next += 128;
	}
	/* What became free behind the cursor waits for its turn. */
	for (i = 1; i < 129; i++)
		CHECK(vmlab_swap_map_put(&map, i));
	CHECK_EQ(vmlab_swap_map_alloc(&map, 128, &first), 128);
	CHECK_EQ(first, next);
	check_books();
}

static void test_wrap(void)
{
	u64 first;

	start(300);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 250, &first), 250);
	vmlab_swap_map_put(&map, 10);
	vmlab_swap_map_put(&map, 11);
	/* 49 at the end are more than the 2 at the start. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 60, &first), 49);
	CHECK_EQ(first, 251);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 60, &first), 2);
	CHECK_EQ(first, 10);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 60, &first), 0);
	check_books();
}

static void test_runs(void)
{
	u64 first;
	unsigned int i;

	start(1000);
	fill();
	for (i = 100; i < 104; i++)
		vmlab_swap_map_put(&map, i);
	for (i = 200; i < 216; i++)
		vmlab_swap_map_put(&map, i);
	for (i = 300; i < 308; i++)
		vmlab_swap_map_put(&map, i);
	/* The first that is long enough. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 8, &first), 8);
	CHECK_EQ(first, 200);
	/* It goes on there. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 8, &first), 8);
	CHECK_EQ(first, 208);
	/* None is long enough: the longest. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 16, &first), 8);
	CHECK_EQ(first, 300);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 16, &first), 4);
	CHECK_EQ(first, 100);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 16, &first), 0);
}

static void test_groups(void)
{
	u64 first;
	u64 edge = VMLAB_SWAP_GROUP;
	u64 i;

	start(3 * VMLAB_SWAP_GROUP + 77);
	fill();
	check_books();
	/* A run over the edge of two groups is one run. */
	for (i = edge - 5; i < edge + 5; i++)
		vmlab_swap_map_put(&map, i);
	check_books();
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 10);
	CHECK_EQ(first, edge - 5);
	check_books();
	/* One over three. */
	for (i = edge - 1; i < 2 * edge + 1; i++)
		vmlab_swap_map_put(&map, i);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 2 * edge, &first), edge + 2);
	CHECK_EQ(first, edge - 1);
	check_books();
	/* The last slot of all, in a group that is not whole. */
	vmlab_swap_map_put(&map, 3 * edge + 76);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 2, &first), 1);
	CHECK_EQ(first, 3 * edge + 76);
	/* A free slot before the cursor in the cursor's own group. */
	vmlab_swap_map_put(&map, 3 * edge + 3);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 2, &first), 1);
	CHECK_EQ(first, 3 * edge + 3);
	check_books();
}

static void test_effort(void)
{
	u64 nr_slots = 1 << 21;
	unsigned long most = vmlab_swap_map_groups(nr_slots) / 64 + 4 * VMLAB_SWAP_GROUP / 64 + 8;
	u64 offset, first, i;
	unsigned int round;

	start(nr_slots);
	while (vmlab_swap_map_alloc(&map, 1024, &first))
		;
	/* One free slot, anywhere. */
	for (round = 0; round < 200; round++) {
		offset = 1 + unit_random(nr_slots - 1);
		vmlab_swap_map_put(&map, offset);
		unit_words_searched = 0;
		CHECK_EQ(vmlab_swap_map_alloc(&map, 128, &first), 1);
		CHECK_EQ(first, offset);
		CHECK(unit_words_searched <= most);
	}
	/* Every other slot free: no run of 2 can be had, and not everything is tried. */
	for (i = 1; i < nr_slots; i += 2)
		vmlab_swap_map_put(&map, i);
	for (round = 0; round < 200; round++) {
		unit_words_searched = 0;
		CHECK_EQ(vmlab_swap_map_alloc(&map, 128, &first), 1);
		CHECK(unit_words_searched < 100 + VMLAB_SWAP_GROUP / 64);
	}
	stop();
}

static void test_refs(void)
{
	struct vmlab_frame frame;
	unsigned int i;
	u64 first;

	start(100);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 1, &first), 1);
	slots[first].frame = &frame;
	CHECK(vmlab_swap_map_get(&map, first));
	CHECK(!vmlab_swap_map_put(&map, first));
	CHECK(slots[first].frame == &frame);
	CHECK(vmlab_swap_map_put(&map, first));
	CHECK(!slots[first].frame);
	CHECK_EQ(slots[first].refs, 0);
	check_books();

	/* A count stops at its limit, and comes back from there. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 1, &first), 1);
	for (i = 1; i < VMLAB_SWAP_REFS_MAX; i++)
		CHECK(vmlab_swap_map_get(&map, first));
	CHECK_EQ(slots[first].refs, VMLAB_SWAP_REFS_MAX);
	CHECK(!vmlab_swap_map_get(&map, first));
	CHECK_EQ(slots[first].refs, VMLAB_SWAP_REFS_MAX);
	for (i = 1; i < VMLAB_SWAP_REFS_MAX; i++)
		CHECK(!vmlab_swap_map_put(&map, first));
	CHECK(vmlab_swap_map_put(&map, first));
	check_books();
}

static void test_reuse(void)
{
	struct vmlab_frame frame;
	u64 first;

	start(10);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 9, &first), 9);
	slots[4].crc = 0x1234;
	slots[4].frame = &frame;
	CHECK(vmlab_swap_map_put(&map, 4));
	CHECK_EQ(vmlab_swap_map_alloc(&map, 1, &first), 1);
	CHECK_EQ(first, 4);
	CHECK_EQ(slots[4].crc, 0);
	CHECK(!slots[4].frame);
}

static void test_bad(void)
{
	u64 first;

	start(10);
	/* One that mkswap listed. */
	vmlab_swap_map_mark_bad(&map, 3);
	CHECK_EQ(map.nr_bad, 2);
	CHECK_EQ(map.nr_free, 8);
	/* Listed twice. */
	vmlab_swap_map_mark_bad(&map, 3);
	CHECK_EQ(map.nr_bad, 2);
	CHECK_EQ(map.nr_free, 8);
	check_books();
	/* One that could not be written. */
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 6);
	CHECK_EQ(first, 4);
	vmlab_swap_map_mark_bad(&map, 5);
	CHECK_EQ(map.nr_bad, 3);
	CHECK_EQ(map.nr_free, 2);
	CHECK_EQ(vmlab_swap_map_used(&map), 5);
	check_books();
	/* Neither comes back. */
	for (first = 4; first < 10; first++)
		if (first != 5)
			vmlab_swap_map_put(&map, first);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 4);
	CHECK_EQ(first, 6);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 2);
	CHECK_EQ(first, 1);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 1);
	CHECK_EQ(first, 4);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 10, &first), 0);
	check_books();
}

static void test_all_bad(void)
{
	u64 i, first;

	start(VMLAB_SWAP_GROUP + 3);
	for (i = 1; i < map.nr_slots; i++)
		vmlab_swap_map_mark_bad(&map, i);
	CHECK_EQ(map.nr_free, 0);
	CHECK_EQ(vmlab_swap_map_used(&map), 0);
	check_books();
	CHECK_EQ(vmlab_swap_map_alloc(&map, 1, &first), 0);
}

static void test_misuse(void)
{
	u64 first;

	start(10);
	CHECK_EQ(vmlab_swap_map_alloc(&map, 1, &first), 1);
	CHECK(vmlab_swap_map_get(&map, first));
	CHECK(!vmlab_swap_map_put(&map, 7));
	CHECK(!vmlab_swap_map_put(&map, 0));
	CHECK(!vmlab_swap_map_get(&map, 7));
	CHECK(!vmlab_swap_map_get(&map, 0));
	unit_expect_warnings(4);
	/* Others name it too: they would read from a slot that is gone. */
	vmlab_swap_map_mark_bad(&map, first);
	unit_expect_warnings(1);
	CHECK_EQ(slots[first].refs, 2);
	CHECK_EQ(map.nr_free, 8);
	check_books();
}

/* The first slot at or behind @from, going round, that @refs says is free. */
static u64 model_next(const u16 *refs, u64 nr_slots, u64 from)
{
	u64 i;

	for (i = 0; i < nr_slots; i++)
		if (!refs[(from + i) % nr_slots])
			return (from + i) % nr_slots;
	return nr_slots;
}

static u64 model_run(const u16 *refs, u64 nr_slots, u64 from, u64 nr)
{
	u64 i;

	for (i = 0; i < nr && from + i < nr_slots && !refs[from + i]; i++)
		;
	return i;
}

/* What an allocation must give, whatever its strategy, and what next-fit must. */
static u64 model_alloc(u16 *refs, u64 nr_slots, u64 last)
{
	u64 nr = 1 + unit_random(unit_chance(4) ? 600 : 20);
	u64 next = model_next(refs, nr_slots, last);
	u64 first = 0, got, i;

	got = vmlab_swap_map_alloc(&map, nr, &first);
	if (next == nr_slots) {
		CHECK_EQ(got, 0);
		return last;
	}
	CHECK(got >= 1 && got <= nr);
	CHECK(first + got <= nr_slots);
	if (model_run(refs, nr_slots, next, nr) == nr) {
		CHECK_EQ(first, next);
		CHECK_EQ(got, nr);
	}
	/* All of the run that it chose. */
	CHECK_EQ(model_run(refs, nr_slots, first, nr), got);
	for (i = first; i < first + got; i++) {
		CHECK_EQ(refs[i], 0);
		CHECK(!slots[i].frame);
		refs[i] = 1;
	}
	return first + got;
}

static void model_put(u16 *refs, u64 offset)
{
	bool freed = refs[offset] == 1;

	if (!refs[offset] || refs[offset] == VMLAB_SWAP_REFS_BAD)
		return;
	CHECK_EQ(vmlab_swap_map_put(&map, offset), freed);
	refs[offset]--;
}

static void model_change(u16 *refs, u64 nr_slots)
{
	u64 offset = unit_random(nr_slots);
	u64 end = min(offset + unit_random(unit_chance(4) ? 400 : 10), nr_slots);

	for (; offset < end; offset++) {
		if (unit_chance(2000) && refs[offset] <= 1) {
			vmlab_swap_map_mark_bad(&map, offset);
			refs[offset] = VMLAB_SWAP_REFS_BAD;
		} else if (unit_chance(6) && refs[offset] &&
			   refs[offset] < VMLAB_SWAP_REFS_MAX) {
			CHECK(vmlab_swap_map_get(&map, offset));
			refs[offset]++;
		} else {
			model_put(refs, offset);
		}
	}
}

static void test_random(void)
{
	static u16 refs[3 * VMLAB_SWAP_GROUP];
	unsigned int round, step;
	u64 nr_slots, last, i;

	for (round = 0; round < 60; round++) {
		nr_slots = 2 + unit_random(unit_chance(2) ? 300 : ARRAY_SIZE(refs) - 2);
		start(nr_slots);
		memset(refs, 0, sizeof(refs));
		refs[0] = VMLAB_SWAP_REFS_BAD;
		last = 1;
		for (step = 0; step < 600; step++) {
			if (unit_chance(3))
				last = model_alloc(refs, nr_slots, last);
			else
				model_change(refs, nr_slots);
		}
		for (i = 0; i < nr_slots; i++)
			CHECK_EQ(slots[i].refs, refs[i]);
		check_books();
	}
	stop();
}

static const struct unit_test tests[] = {
	{ "swap_map: sizes and limits", test_layout },
	{ "swap_map: a new map is free but for the header", test_new },
	{ "swap_map: one run follows the other", test_sequential },
	{ "swap_map: at the end it goes on at the start", test_wrap },
	{ "swap_map: the first run that is long enough, or the longest", test_runs },
	{ "swap_map: runs over the edges of groups", test_groups },
	{ "swap_map: the last free slot is found, and the effort is bounded", test_effort },
	{ "swap_map: references, up to their limit", test_refs },
	{ "swap_map: a slot starts afresh", test_reuse },
	{ "swap_map: bad slots are never handed out", test_bad },
	{ "swap_map: all slots bad", test_all_bad },
	{ "swap_map: misuse warns and changes nothing", test_misuse },
	{ "swap_map: random use against a model", test_random },
};

int main(void)
{
	return unit_main(tests, ARRAY_SIZE(tests));
}
