// SPDX-License-Identifier: GPL-2.0
/*
 * The preload library's ranges and its allocator of offsets, against a map with one
 * byte for each page.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "../../tools/preload/extent.h"

#define PAGES	2048
#define BLOCKS	4096

static void *blocks[BLOCKS];
static unsigned int nr_blocks;
static bool exhausted;

static void *more(size_t *size)
{
	*size = 3 * sizeof(struct extent);
	if (exhausted || nr_blocks == BLOCKS)
		return NULL;
	return blocks[nr_blocks++] = malloc(*size);
}

static struct extent_pool pool;
static struct extents space;
static uint8_t taken[PAGES];

static void start(void)
{
	pool = (struct extent_pool){ .more = more, .random = unit_random(1u << 31) };
	space = (struct extents){ };
	memset(taken, 0, sizeof(taken));
	CHECK(space_init(&space, &pool, PAGES));
}

static void stop(void)
{
	extents_clear(&space, &pool);
	CHECK_EQ(space.nr, 0);
	while (nr_blocks)
		free(blocks[--nr_blocks]);
}

static uint64_t longest_of(const struct extent *extent)
{
	uint64_t longest, below;

	if (!extent)
		return 0;
	longest = extent->end - extent->start;
	below = longest_of(extent->left);
	longest = below > longest ? below : longest;
	below = longest_of(extent->right);
	longest = below > longest ? below : longest;
	CHECK_EQ(extent->longest, longest);
	if (extent->left)
		CHECK(extent->left->priority <= extent->priority);
	if (extent->right)
		CHECK(extent->right->priority <= extent->priority);
	return longest;
}

/* The set is exactly the free pages of the map, each run of them one range. */
static void check(void)
{
	uint64_t page = 0, nr = 0;
	struct extent *extent;

	for (extent = extents_from(&space, 0); extent; extent = extents_from(&space, extent->end)) {
		for (; page < extent->start; page++)
			CHECK(taken[page]);
		for (; page < extent->end; page++)
			CHECK(!taken[page]);
		CHECK(page == PAGES || taken[page]);
		nr++;
	}
	for (; page < PAGES; page++)
		CHECK(taken[page]);
	CHECK_EQ(space.nr, nr);
	longest_of(space.root);
}

static bool free_run(uint64_t first, uint64_t length)
{
	uint64_t page;

	if (first + length > PAGES)
		return false;
	for (page = first; page < first + length; page++)
		if (taken[page])
			return false;
	return true;
}

/* The lowest place at or above @from, else the lowest of all; PAGES: none. */
static uint64_t expected(uint64_t from, uint64_t length, uint64_t align, uint64_t phase)
{
	uint64_t page;

	for (page = from; page < PAGES; page++)
		if (page % align == phase && free_run(page, length))
			return page;
	for (page = 0; page < from; page++)
		if (page % align == phase && free_run(page, length))
			return page;
	return PAGES;
}

static void alloc_one(void)
{
	uint64_t length = 1 + unit_random(unit_chance(8) ? 300 : 20);
	uint64_t align = 1ULL << unit_random(7), phase = unit_random(align);
	uint64_t from = unit_chance(2) ? 0 : unit_random(PAGES), offset = 0;
	uint64_t want = expected(from, length, align, phase);

	CHECK(extent_reserve(&pool, 1));
	if (!space_alloc(&space, &pool, from, length, align, phase, &offset)) {
		CHECK_EQ(want, PAGES);
		return;
	}
	CHECK_EQ(offset, want);
	memset(taken + offset, 1, length);
}

static void take_one(void)
{
	uint64_t offset = unit_random(PAGES), length = 1 + unit_random(20);
	bool is_free = free_run(offset, length);

	CHECK(extent_reserve(&pool, 1));
	CHECK_EQ(space_take(&space, &pool, offset, length), is_free);
	if (is_free)
		memset(taken + offset, 1, length);
}

static void free_one(void)
{
	uint64_t offset = unit_random(PAGES), length = 0, most = 1 + unit_random(60);

	while (length < most && offset + length < PAGES && taken[offset + length])
		length++;
	if (!length)
		return;
	CHECK(extent_reserve(&pool, 1));
	space_free(&space, &pool, offset, length);
	memset(taken + offset, 0, length);
}

static void test_model(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 6000; i++) {
		switch (unit_random(4)) {
		case 0:
			alloc_one();
			break;
		case 1:
			take_one();
			break;
		default:
			free_one();
		}
		check();
	}
	stop();
}

/* One node for each call is enough, and none is lost. */
static void test_nodes(void)
{
	size_t nr;

	start();
	for (nr = 0; nr < 3000; nr++) {
		size_t before;

		CHECK(extent_reserve(&pool, 1));
		before = pool.nr_free + space.nr;
		if (unit_chance(2))
			take_one();
		else
			free_one();
		CHECK((pool.nr_free + space.nr - before) % 3 == 0);
	}
	exhausted = true;
	CHECK(!extent_reserve(&pool, pool.nr_free + 1));
	exhausted = false;
	stop();
}

static void test_full(void)
{
	uint64_t offset, page;

	start();
	for (page = 0; page < PAGES; page++) {
		CHECK(extent_reserve(&pool, 1));
		CHECK(space_alloc(&space, &pool, 0, 1, 1, 0, &offset));
		CHECK_EQ(offset, page);
	}
	CHECK(!space_alloc(&space, &pool, 0, 1, 1, 0, &offset));
	CHECK(!space_take(&space, &pool, 5, 1));
	CHECK_EQ(space.nr, 0);
	CHECK(extent_reserve(&pool, PAGES));
	for (page = 0; page < PAGES; page += 2)
		space_free(&space, &pool, page, 1);
	CHECK_EQ(space.nr, PAGES / 2);
	CHECK(!space_alloc(&space, &pool, 0, 2, 1, 0, &offset));
	for (page = 1; page < PAGES; page += 2)
		space_free(&space, &pool, page, 1);
	CHECK_EQ(space.nr, 1);
	CHECK(space_alloc(&space, &pool, 0, PAGES, 1, 0, &offset));
	stop();
}

static unsigned int depth(const struct extent *extent)
{
	unsigned int left, right;

	if (!extent)
		return 0;
	left = depth(extent->left);
	right = depth(extent->right);
	return 1 + (left > right ? left : right);
}

/* Ascending insertion is what programs do, and the worst case of a plain tree. */
static void test_depth(void)
{
	struct extents set = { };
	uint64_t i;

	start();
	for (i = 0; i < 8000; i++) {
		CHECK(extent_reserve(&pool, 1));
		extents_insert(&set, extent_new(&pool, 2 * i, 2 * i + 1));
	}
	CHECK_EQ(set.nr, 8000);
	CHECK(depth(set.root) < 64);
	CHECK_EQ(extents_from(&set, 4001)->start, 4002);
	CHECK_EQ(extents_from(&set, 4000)->start, 4000);
	CHECK(!extents_from(&set, 15999));
	extents_clear(&set, &pool);
	stop();
}

static const struct unit_test tests[] = {
	{ "offsets: agree with a map of pages", test_model },
	{ "offsets: one node a call, none lost", test_nodes },
	{ "offsets: full, and whole again", test_full },
	{ "ranges: stay shallow", test_depth },
};

int main(void)
{
	return unit_main(tests, sizeof(tests) / sizeof(tests[0]));
}
