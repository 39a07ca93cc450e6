/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where a page should be: a memory policy, and what it says of one page.
 *
 * Owns the words, not the choice: which policy goes for a page is mempolicy.c's, which nodes
 * that comes to is numa.c's, and from which of them a frame is had is pool.c's.
 */
#ifndef VMLAB_NUMA_H
#define VMLAB_NUMA_H

#include <linux/bits.h>
#include <linux/numa.h>
#include <linux/types.h>

/*
 * Nodes that can have a pool, from 0 on: as many as find room in a word beside a policy's mode.
 * So a policy needs no memory and no references, and a mask of nodes is passed by value.
 */
#define VMLAB_NODES_MAX		(MAX_NUMNODES < 48 ? MAX_NUMNODES : 48)
#define VMLAB_NODES_MASK	GENMASK_ULL(VMLAB_NODES_MAX - 1, 0)

/*
 * A memory policy (u64 mpol), 0: none.  62 bits, so that an entry of a maple tree can hold it:
 *
 *   61    55 54  51 50  48 47                                      0
 *  +--------+------+------+-----------------------------------------+
 *  | home+1 |  0   | mode | nodes                                   |
 *  +--------+------+------+-----------------------------------------+
 */
#define VMLAB_MPOL_MODE_SHIFT	48
#define VMLAB_MPOL_HOME_SHIFT	55

static inline u64 vmlab_mpol_make(unsigned int mode, unsigned long nodes, int home)
{
	return (nodes & VMLAB_NODES_MASK) | (u64)mode << VMLAB_MPOL_MODE_SHIFT |
	       (u64)(home + 1) << VMLAB_MPOL_HOME_SHIFT;
}

static inline unsigned long vmlab_mpol_nodes(u64 mpol)
{
	return mpol & VMLAB_NODES_MASK;
}

static inline unsigned int vmlab_mpol_mode(u64 mpol)
{
	return mpol >> VMLAB_MPOL_MODE_SHIFT & 7;
}

/* The node that MPOL_BIND and MPOL_PREFERRED_MANY begin with, or -1: that of the CPU. */
static inline int vmlab_mpol_home(u64 mpol)
{
	return (int)(mpol >> VMLAB_MPOL_HOME_SHIFT & 0x7f) - 1;
}

/**
 * struct vmlab_place - where one page should be
 * @nodes:	the nodes to take it from first, as a mask; 0: all, by distance from @nid
 * @nid:	the node wanted; NUMA_NO_NODE: there is none where it may be
 * @strict:	nowhere but on @nodes
 * @spread:	@nid is the page's by its index: see interleave_hit
 */
struct vmlab_place {
	unsigned long		nodes;
	s16			nid;
	bool			strict;
	bool			spread;
};

/* May a page be on a node at all? */
static inline bool vmlab_place_allows(struct vmlab_place place, int nid)
{
	return !place.strict || (place.nodes >> nid & 1);
}

/* On a node, or as near to it as can be. */
static inline struct vmlab_place vmlab_place_near(int nid)
{
	return (struct vmlab_place){ .nid = nid };
}

/* On a node of a pool, and nowhere else. */
static inline struct vmlab_place vmlab_place_only(int nid)
{
	return (struct vmlab_place){ .nid = nid, .nodes = BIT(nid), .strict = true };
}

#endif /* VMLAB_NUMA_H */
