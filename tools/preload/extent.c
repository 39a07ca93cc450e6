// SPDX-License-Identifier: GPL-2.0
/*
 * The treap of extent.h.  It owns the order and the notes of the longest range;
 * it must never allocate, and never look into what belongs to the owner.
 */
#include "extent.h"

/**
 * extent_reserve() - see to it that the next extent_new() calls succeed
 * @pool: where nodes come from
 * @nr: how many
 *
 * Return: false when there is no memory.
 */
bool extent_reserve(struct extent_pool *pool, size_t nr)
{
	while (pool->nr_free < nr) {
		size_t size, i;
		struct extent *block = pool->more(&size);

		if (!block)
			return false;
		for (i = 0; i < size / sizeof(*block); i++)
			extent_delete(pool, &block[i]);
	}
	return true;
}

/* xorshift64*: the upper half is good enough for a treap */
static uint32_t extent_random(struct extent_pool *pool)
{
	uint64_t x = pool->random ?: 0x9e3779b97f4a7c15ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	pool->random = x;
	return (x * 0x2545f4914f6cdd1dULL) >> 32;
}

/**
 * extent_new() - take a node that was reserved
 * @pool: where nodes come from
 * @start: first byte
 * @end: first byte behind
 */
struct extent *extent_new(struct extent_pool *pool, uint64_t start, uint64_t end)
{
	struct extent *extent = pool->free;

	pool->free = extent->left;
	pool->nr_free--;
	*extent = (struct extent) {
		.start = start,
		.end = end,
		.longest = end - start,
		.priority = extent_random(pool),
	};
	return extent;
}

/**
 * extent_delete() - give a node back, which is in no set
 * @pool: where nodes come from
 * @extent: the node
 */
void extent_delete(struct extent_pool *pool, struct extent *extent)
{
	extent->left = pool->free;
	pool->free = extent;
	pool->nr_free++;
}

static void note_longest(struct extent *extent)
{
	extent->longest = extent->end - extent->start;
	if (extent->left && extent->left->longest > extent->longest)
		extent->longest = extent->left->longest;
	if (extent->right && extent->right->longest > extent->longest)
		extent->longest = extent->right->longest;
}

/* Into those that start before @point and those that do not. */
static void split(struct extent *root, uint64_t point, struct extent **low,
		  struct extent **high)
{
	if (!root) {
		*low = NULL;
		*high = NULL;
	} else if (root->start < point) {
		split(root->right, point, &root->right, high);
		*low = root;
		note_longest(root);
	} else {
		split(root->left, point, low, &root->left);
		*high = root;
		note_longest(root);
	}
}

/* All of @low lie before all of @high. */
static struct extent *join(struct extent *low, struct extent *high)
{
	if (!low || !high)
		return low ?: high;
	if (low->priority > high->priority) {
		low->right = join(low->right, high);
		note_longest(low);
		return low;
	}
	high->left = join(low, high->left);
	note_longest(high);
	return high;
}

/**
 * extents_insert() - put a range into a set
 * @set: the set
 * @extent: overlaps none that is in it
 */
void extents_insert(struct extents *set, struct extent *extent)
{
	struct extent *low, *high;

	split(set->root, extent->start, &low, &high);
	extent->left = NULL;
	extent->right = NULL;
	note_longest(extent);
	set->root = join(join(low, extent), high);
	set->nr++;
}

static struct extent *remove_from(struct extent *root, struct extent *extent)
{
	if (root == extent)
		return join(root->left, root->right);
	if (extent->start < root->start)
		root->left = remove_from(root->left, extent);
	else
		root->right = remove_from(root->right, extent);
	note_longest(root);
	return root;
}

/**
 * extents_remove() - take a range out of a set
 * @set: the set
 * @extent: is in it
 */
void extents_remove(struct extents *set, struct extent *extent)
{
	set->root = remove_from(set->root, extent);
	set->nr--;
}

/**
 * extents_from() - the lowest range that reaches beyond a point
 * @set: the set
 * @point: the range's end is above it; its start may be, too
 *
 * Return: the range or NULL.
 */
struct extent *extents_from(const struct extents *set, uint64_t point)
{
	struct extent *extent = set->root, *found = NULL;

	while (extent) {
		if (extent->end > point) {
			found = extent;
			extent = extent->left;
		} else {
			extent = extent->right;
		}
	}
	return found;
}

static bool fits(const struct extent *extent, uint64_t from, uint64_t length,
		 uint64_t align, uint64_t phase, uint64_t *start)
{
	uint64_t at = extent->start > from ? extent->start : from;

	at += (phase - at) & (align - 1);
	if (at > extent->end || extent->end - at < length)
		return false;
	*start = at;
	return true;
}

static struct extent *fit_below(struct extent *root, uint64_t from, uint64_t length,
				uint64_t align, uint64_t phase, uint64_t *start)
{
	struct extent *found;

	if (!root || root->longest < length)
		return NULL;
	if (root->end <= from)
		return fit_below(root->right, from, length, align, phase, start);
	found = fit_below(root->left, from, length, align, phase, start);
	if (found)
		return found;
	if (fits(root, from, length, align, phase, start))
		return root;
	return fit_below(root->right, from, length, align, phase, start);
}

/**
 * extents_fit() - the lowest place for a length
 * @set: the set
 * @from: no byte below it
 * @length: bytes
 * @align: a power of two
 * @phase: the place modulo @align
 * @start: out: the place
 *
 * Return: the range that has it, or NULL.
 */
struct extent *extents_fit(const struct extents *set, uint64_t from, uint64_t length,
			   uint64_t align, uint64_t phase, uint64_t *start)
{
	return fit_below(set->root, from, length, align, phase & (align - 1), start);
}

/**
 * extents_clear() - take all ranges out of a set and give the nodes back
 * @set: the set
 * @pool: where they came from
 */
void extents_clear(struct extents *set, struct extent_pool *pool)
{
	while (set->root) {
		struct extent *extent = set->root;

		extents_remove(set, extent);
		extent_delete(pool, extent);
	}
}
