/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sets of ranges that do not overlap, in order: a treap, with the longest range
 * of each subtree noted in its root, so that the lowest range that is long
 * enough is found without looking at all.
 *
 * Pure: no system call, no allocator.  Nodes come from a pool that its owner
 * fills; whoever changes a set asks extent_reserve() for nodes first, and then
 * cannot fail half-way.
 */
#ifndef VMLAB_PRELOAD_EXTENT_H
#define VMLAB_PRELOAD_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct extent - one range
 * @left:	smaller ones, or the next of the pool's free nodes
 * @right:	larger ones
 * @start:	first byte
 * @end:	first byte behind it
 * @longest:	length of the longest range of this subtree
 * @offset:	the owner's: where in the object the range begins
 * @priority:	random; larger than those of both subtrees
 * @prot:	the owner's: PROT_*
 */
struct extent {
	struct extent *left;
	struct extent *right;
	uint64_t start;
	uint64_t end;
	uint64_t longest;
	uint64_t offset;
	uint32_t priority;
	int prot;
};

/**
 * struct extent_pool - where nodes come from
 * @free:	list through @left
 * @nr_free:	its length
 * @random:	state of the priorities
 * @more:	gives a block of memory for nodes and its size, or NULL
 */
struct extent_pool {
	struct extent *free;
	size_t nr_free;
	uint64_t random;
	void *(*more)(size_t *size);
};

struct extents {
	struct extent *root;
	size_t nr;
};

bool extent_reserve(struct extent_pool *pool, size_t nr);
struct extent *extent_new(struct extent_pool *pool, uint64_t start, uint64_t end);
void extent_delete(struct extent_pool *pool, struct extent *extent);

void extents_insert(struct extents *set, struct extent *extent);
void extents_remove(struct extents *set, struct extent *extent);
struct extent *extents_from(const struct extents *set, uint64_t point);
struct extent *extents_fit(const struct extents *set, uint64_t from, uint64_t length,
			   uint64_t align, uint64_t phase, uint64_t *start);
void extents_clear(struct extents *set, struct extent_pool *pool);

/* space.c: which parts of the object are free, as a set of ranges of offsets */
bool space_init(struct extents *space, struct extent_pool *pool, uint64_t size);
bool space_alloc(struct extents *space, struct extent_pool *pool, uint64_t from,
		 uint64_t length, uint64_t align, uint64_t phase, uint64_t *offset);
bool space_take(struct extents *space, struct extent_pool *pool, uint64_t offset,
		uint64_t length);
void space_free(struct extents *space, struct extent_pool *pool, uint64_t offset,
		uint64_t length);

#endif
