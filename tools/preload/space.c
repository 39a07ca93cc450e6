// SPDX-License-Identifier: GPL-2.0
/*
 * Which offsets of the program's object no mapping uses.  Lowest place first, so
 * that small mappings share leaves of the object's page table; neighbours that are
 * free are always one range.  It must never need more nodes than it says: one for
 * each call.
 */
#include "extent.h"

/**
 * space_init() - make all of the object free
 * @space: empty so far
 * @pool: where nodes come from
 * @size: bytes of the object
 *
 * Return: false when there is no memory.
 */
bool space_init(struct extents *space, struct extent_pool *pool, uint64_t size)
{
	if (!extent_reserve(pool, 1))
		return false;
	extents_insert(space, extent_new(pool, 0, size));
	return true;
}

/* @offset to @end out of the free range @extent; one node may be needed. */
static void carve(struct extents *space, struct extent_pool *pool, struct extent *extent,
		  uint64_t offset, uint64_t end)
{
	uint64_t behind = extent->end;

	extents_remove(space, extent);
	if (extent->start < offset) {
		extent->end = offset;
		extents_insert(space, extent);
		if (end < behind)
			extents_insert(space, extent_new(pool, end, behind));
	} else if (end < behind) {
		extent->start = end;
		extents_insert(space, extent);
	} else {
		extent_delete(pool, extent);
	}
}

/**
 * space_alloc() - take a free range
 * @space: what is free
 * @pool: has a node
 * @from: where to look first; below it only if there is no place above
 * @length: bytes
 * @align: a power of two
 * @phase: the offset modulo @align
 * @offset: out: the range's start
 *
 * Return: false when no range is long enough.
 */
bool space_alloc(struct extents *space, struct extent_pool *pool, uint64_t from,
		 uint64_t length, uint64_t align, uint64_t phase, uint64_t *offset)
{
	struct extent *extent = extents_fit(space, from, length, align, phase, offset);

	if (!extent && from)
		extent = extents_fit(space, 0, length, align, phase, offset);
	if (!extent)
		return false;
	carve(space, pool, extent, *offset, *offset + length);
	return true;
}

/**
 * space_take() - take this range and no other
 * @space: what is free
 * @pool: has a node
 * @offset: the range's start
 * @length: bytes
 *
 * Return: false when a part of it is not free.
 */
bool space_take(struct extents *space, struct extent_pool *pool, uint64_t offset,
		uint64_t length)
{
	struct extent *extent = extents_from(space, offset);

	if (!extent || extent->start > offset || extent->end < offset + length)
		return false;
	carve(space, pool, extent, offset, offset + length);
	return true;
}

/**
 * space_free() - give a range back
 * @space: what is free
 * @pool: has a node
 * @offset: the range's start; all of it is taken
 * @length: bytes
 */
void space_free(struct extents *space, struct extent_pool *pool, uint64_t offset,
		uint64_t length)
{
	struct extent *before = offset ? extents_from(space, offset - 1) : NULL;
	struct extent *behind = extents_from(space, offset);
	uint64_t start = offset, end = offset + length;

	if (before && before->end == offset) {
		start = before->start;
		extents_remove(space, before);
		behind = extents_from(space, offset);
		if (behind && behind->start == end) {
			end = behind->end;
			extents_remove(space, behind);
			extent_delete(pool, behind);
		}
		before->start = start;
		before->end = end;
		extents_insert(space, before);
		return;
	}
	if (behind && behind->start == end) {
		extents_remove(space, behind);
		behind->start = start;
		extents_insert(space, behind);
		return;
	}
	extents_insert(space, extent_new(pool, start, end));
}
