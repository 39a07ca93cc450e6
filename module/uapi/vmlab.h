/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ABI of vmlab: the ioctls of /dev/vmlab and their structures.
 *
 * This is the only header of the project that user space includes.  It must
 * never change the meaning or the offset of a field that is here: structures
 * grow at their end, and @size says how much of one the caller knows.
 *
 * Rules that hold for every structure here:
 *  - @size is sizeof() the structure as the caller knows it.  A kernel that
 *    knows more takes the rest as zero; one that knows less answers E2BIG
 *    when a byte that it does not know is not zero.
 *  - Bits of @flags that are not named here, and padding, must be zero: else
 *    EINVAL.
 *  - @offset and @length are bytes within the object (the file offset that
 *    mmap(2) and pread(2) use too), multiples of the page size; a range that
 *    wraps or that passes VMLAB_OBJECT_SIZE is EINVAL, a length of 0 does
 *    nothing.
 *  - Addresses are 64 bits wide for 32-bit callers too.
 */
#ifndef _UAPI_VMLAB_H
#define _UAPI_VMLAB_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The size of every object in bytes: 128 TiB, nearly all of it a hole. */
#define VMLAB_OBJECT_SIZE	(1ULL << 47)

/* INFO: bits of @features */
#define VMLAB_FEATURE_SWAP	(1ULL << 0)	/* a swap device is on */

/**
 * struct vmlab_ioc_info - VMLAB_IOC_INFO: what this module and this object are
 * @size:		in: see the head of this file
 * @flags:		in: 0
 * @version:		out: version of the ABI, VMLAB_ABI_VERSION
 * @page_size:		out: bytes in a page
 * @features:		out: VMLAB_FEATURE_*
 * @id:			out: the object's number, as in debugfs `objects`
 * @resident_pages:	out: pages of the object that have a frame
 * @swapped_pages:	out: pages of the object that are on swap only
 * @leaf_pages:		out: frames that hold the object's own page table
 * @dirty_pages:	out: resident pages without a valid copy on swap
 * @pinned_pages:	out: pages pinned by VMLAB_IOC_PIN
 * @limit_pages:	out: the lineage's limit in frames, 0: none
 * @faults:		out: faults that found work to do in this object
 * @swap_ins:		out: pages read back from swap
 * @swap_outs:		out: pages written to swap
 * @evictions:		out: pages whose frame was taken, written or not
 */
struct vmlab_ioc_info {
	__u32 size;
	__u32 flags;
	__u32 version;
	__u32 page_size;
	__u64 features;
	__u64 id;
	__u64 resident_pages;
	__u64 swapped_pages;
	__u64 leaf_pages;
	__u64 dirty_pages;
	__u64 pinned_pages;
	__u64 limit_pages;
	__u64 faults;
	__u64 swap_ins;
	__u64 swap_outs;
	__u64 evictions;
};

#define VMLAB_ABI_VERSION	1

/**
 * struct vmlab_ioc_range - the ioctls that act on a range of the object
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_RANGE_ADDRESS or 0
 * @offset:	in: first byte; with VMLAB_RANGE_ADDRESS an address
 * @length:	in: bytes
 * @done:	out: bytes dealt with, also when the call failed part way
 *
 * VMLAB_IOC_DISCARD:	free frames and swap of the range; it reads as zeros
 *			then.  Pinned pages: EBUSY.
 * VMLAB_IOC_PAGEOUT:	evict what can be evicted; @done counts the bytes
 *			evicted.  What is pinned or busy stays.
 * VMLAB_IOC_POPULATE:	give every page of the range a frame (read from swap,
 *			or zeroed).  ENOMEM when the pool or the limit is
 *			exhausted, EIO when swap fails.
 * VMLAB_IOC_PIN:	populate, and keep from eviction.  RLIMIT_MEMLOCK counts
 *			(ENOMEM, or EPERM where it is 0) unless CAP_IPC_LOCK.
 *			Pinning twice is pinning once.
 * VMLAB_IOC_UNPIN:	undo PIN; pages that are not pinned are skipped.
 * VMLAB_IOC_COLLAPSE:	make each 2 MiB of the range a huge page: one chunk, that
 *			one entry maps where the mapping has room for it.  Holes
 *			become pages of zeros, what is on swap is read, and pages
 *			that are shared are copied.  The range is made of whole 2 MiB
 *			of the object, else EINVAL; EINVAL too where there is no page
 *			at all.  ENOMEM: no chunk is free, or the limit; EBUSY: pages
 *			are pinned, or the 2 MiB are another object's too.
 * VMLAB_IOC_SPLIT:	make each huge page that has a part in the range pages of
 *			4 KiB, which stay where they are.  EBUSY: it is a reserved one.
 * VMLAB_IOC_RESERVE:	give the range huge pages that stay: never split by eviction,
 *			never swapped, never moved to make room, freed with the object.
 *			All of the range gets them, or ENOMEM and nothing changed.  The
 *			range is made of whole 2 MiB of the object, else EINVAL, that are
 *			holes or reserved already, else EBUSY.  With VMLAB_RANGE_ADDRESS that
 *			goes for each mapping by itself.  It counts against RLIMIT_MEMLOCK
 *			as PIN does, with the same errors.  DISCARD of what is reserved
 *			is EBUSY.  Who stores to a copy of it, or to the original while
 *			there is a copy, gets pages of 4 KiB as with any other.
 */
struct vmlab_ioc_range {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 done;
};

/*
 * @offset is an address of the caller, who acts on what is mapped there: with
 * MAP_PRIVATE that is the mapping's own copy, which no descriptor stands for.
 * Any descriptor of /dev/vmlab will do.  ENOMEM: a part of the range is not
 * mapped from /dev/vmlab; what lies before it is done.  DISCARD needs a mapping
 * that may be made writable: else EACCES.
 */
#define VMLAB_RANGE_ADDRESS	(1U << 0)

/*
 * VMLAB_IOC_RESERVE only: pages of 1 GiB, of those that debugfs node<N>/gigantic has set aside.
 * The range is made of whole GiB of the object that are holes, or such pages already.  A mapping
 * that has a GiB at an address that is a multiple of it, where nothing was touched before, maps
 * it by one entry.  EOPNOTSUPP: the kernel or the processor cannot do that; ENOMEM: fewer are
 * free.
 */
#define VMLAB_RANGE_GIGANTIC	(1U << 1)

/**
 * struct vmlab_ioc_limit - VMLAB_IOC_LIMIT: bound the frames of the lineage
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_LIMIT_SET, or 0 to read only
 * @limit_pages: in, out: frames, those of its own page table included; 0: none
 * @used_pages:	out: frames in use now
 *
 * A lineage at its limit evicts its own pages first; when it cannot, a fault
 * gets SIGBUS, write() ENOSPC and an ioctl ENOMEM.  A limit below what is used
 * evicts at once, as far as that goes, and is set all the same.
 */
struct vmlab_ioc_limit {
	__u32 size;
	__u32 flags;
	__u64 limit_pages;
	__u64 used_pages;
};

#define VMLAB_LIMIT_SET		(1U << 0)

/**
 * struct vmlab_ioc_residency - VMLAB_IOC_RESIDENCY: where each page is
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_RANGE_ADDRESS or 0
 * @offset:	in: first byte; with VMLAB_RANGE_ADDRESS an address
 * @length:	in: bytes
 * @vec:	in: address of one __u32 for each page of the range
 *
 * Each word is 0 for a hole, else VMLAB_RES_* bits, with the NUMA node of a
 * resident page in its top byte.  It is a snapshot: it may be old by the time
 * it is read.
 */
struct vmlab_ioc_residency {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 vec;
};

#define VMLAB_RES_RESIDENT	(1U << 0)	/* has a frame */
#define VMLAB_RES_DIRTY		(1U << 1)	/* no valid copy on swap */
#define VMLAB_RES_ACCESSED	(1U << 2)	/* a PTE's accessed bit is set */
#define VMLAB_RES_HUGE		(1U << 3)	/* part of a huge page: 2 MiB in one chunk */
#define VMLAB_RES_SHARED	(1U << 4)	/* more than one object owns it */
#define VMLAB_RES_PINNED	(1U << 5)	/* pinned by VMLAB_IOC_PIN */
#define VMLAB_RES_SWAPPED	(1U << 6)	/* on swap, without a frame */
#define VMLAB_RES_RESERVED	(1U << 7)	/* part of a huge page of RESERVE */
#define VMLAB_RES_NODE_SHIFT	24
#define VMLAB_RES_NODE(word)	((word) >> VMLAB_RES_NODE_SHIFT)

/**
 * struct vmlab_ioc_snapshot - VMLAB_IOC_SNAPSHOT: a copy of the object as it is now
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_SNAPSHOT_FROZEN, or 0: the copy is writable
 * @fd:		out: descriptor of the copy, close-on-exec
 * @pad:	in: 0
 * @id:		out: the copy's number, as in debugfs `objects`
 *
 * Costs one step for each 2 MiB in use; pages are copied when either side changes
 * them.  The copy is in the same lineage, whose limit counts both.  ENOMEM: memory
 * or the limit is exhausted; EMFILE, ENFILE as open(2).
 */
struct vmlab_ioc_snapshot {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 pad;
	__u64 id;
};

#define VMLAB_SNAPSHOT_FROZEN	(1U << 0)

/**
 * struct vmlab_ioc_mempolicy - VMLAB_IOC_MEMPOLICY: on which nodes a range's pages should be
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_MEMPOLICY_SET, or 0 to read only
 * @offset:	in: first byte
 * @length:	in: bytes.  Read only, out: as far from @offset on the answer goes
 * @mode:	in, out: VMLAB_MPOL_*
 * @maxnode:	in: bits of the mask, at most 32768
 * @nodes:	in: address of the mask: words of 64 bits, node 0 is the lowest bit of the
 *		first.  It is read, or written, up to @maxnode
 *
 * What mbind(2) says of a shared mapping is the same, and the later of the two counts; but the
 * kernel keeps to itself an mbind(2) that repeats what was said of that very mapping before.  A
 * policy stays with the object, whether it is mapped or not, until another one is set;
 * copies by VMLAB_IOC_SNAPSHOT begin with it.  It goes before what set_mempolicy(2) says of
 * the task.  Pages that are there already stay where they are: see VMLAB_IOC_MIGRATE.
 *
 * A huge page has one policy: where parts of 2 MiB have different ones there is none, and
 * VMLAB_IOC_COLLAPSE is EBUSY, VMLAB_IOC_RESERVE EINVAL.
 *
 * Nodes that have no pool, or one without memory, are left out.  EINVAL: no node is left,
 * or DEFAULT or LOCAL has any; a node past all that a kernel can have; read only, @maxnode
 * is too small for the answer.
 */
struct vmlab_ioc_mempolicy {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u32 mode;
	__u32 maxnode;
	__u64 nodes;
};

#define VMLAB_MEMPOLICY_SET	(1U << 0)

/* vmlab_ioc_mempolicy.mode: numbered as in <linux/mempolicy.h> */
#define VMLAB_MPOL_DEFAULT	0	/* none: the task's goes */
#define VMLAB_MPOL_PREFERRED	1	/* the lowest of the nodes, else near to it */
#define VMLAB_MPOL_BIND		2	/* on the nodes and nowhere else */
#define VMLAB_MPOL_INTERLEAVE	3	/* by turns: page by page, 2 MiB by 2 MiB */
#define VMLAB_MPOL_LOCAL	4	/* where the CPU is */
#define VMLAB_MPOL_PREFERRED_MANY 5	/* on the nodes, else elsewhere */
#define VMLAB_MPOL_WEIGHTED_INTERLEAVE 6 /* by turns, as many as debugfs node<N>/weight says */

/**
 * struct vmlab_ioc_migrate - VMLAB_IOC_MIGRATE: move the pages of a range to some nodes
 * @size:	in: see the head of this file
 * @flags:	in: VMLAB_RANGE_ADDRESS or 0
 * @offset:	in: first byte; with VMLAB_RANGE_ADDRESS an address
 * @length:	in: bytes
 * @nodes:	in: address of a mask as vmlab_ioc_mempolicy's
 * @maxnode:	in: bits of the mask
 * @pad:	in: 0
 * @moved:	out: bytes moved, also when the call failed part way
 *
 * Pages that are on one of the nodes stay; the others go to them by turns, from the node
 * that has room.  Huge pages go as such where a chunk is free there.  Programs go on
 * meanwhile; pinned pages move as well.  What is on swap or a hole has no node.
 *
 * EINVAL: no node of the mask has a pool with memory; ENOMEM: they are full, and nothing of
 * theirs can be evicted; EBUSY: some pages stayed, all others were dealt with: those that
 * VMLAB_IOC_RESERVE has given, that a copy of the object has pinned, or that were in use
 * elsewhere all the time.
 */
struct vmlab_ioc_migrate {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 length;
	__u64 nodes;
	__u32 maxnode;
	__u32 pad;
	__u64 moved;
};

/* WALK: the levels of the hardware's page table, from the top */
#define VMLAB_WALK_PGD		0
#define VMLAB_WALK_P4D		1
#define VMLAB_WALK_PUD		2
#define VMLAB_WALK_PMD		3
#define VMLAB_WALK_PTE		4
#define VMLAB_WALK_LEVELS	5

/**
 * struct vmlab_walk_level - one entry of the hardware's page table
 * @entry:	as it is in memory.  Without VMLAB_WALK_FRAMES the bits of the
 *		physical address are 0, and all of them if it is not present
 * @flags:	VMLAB_WALK_*: what @entry says, whatever the processor's layout
 * @index:	which entry of its table: the address' bits from @shift on
 * @shift:	bits of the address below the index
 */
struct vmlab_walk_level {
	__u64 entry;
	__u32 flags;
	__u16 index;
	__u16 shift;
};

/* vmlab_walk_level.flags: of every entry */
#define VMLAB_WALK_FOLDED	(1U << 0)	/* no such level here: all else is 0 */
#define VMLAB_WALK_NONE		(1U << 1)	/* empty */
#define VMLAB_WALK_PRESENT	(1U << 2)	/* the processor goes on through it */
#define VMLAB_WALK_TABLE	(1U << 3)	/* names the next level's table */
#define VMLAB_WALK_WRITE	(1U << 4)	/* stores are allowed */
#define VMLAB_WALK_USER		(1U << 5)	/* user space is allowed */
#define VMLAB_WALK_NOEXEC	(1U << 6)	/* instructions are not fetched */
#define VMLAB_WALK_ACCESSED	(1U << 7)	/* was used */
/* of entries that name memory, not a table */
#define VMLAB_WALK_DIRTY	(1U << 8)	/* was stored through */
#define VMLAB_WALK_HUGE		(1U << 9)	/* names 2 MiB or 1 GiB at once */
#define VMLAB_WALK_ZERO_PAGE	(1U << 10)	/* names the page that is always zero */
#define VMLAB_WALK_SPECIAL	(1U << 11)	/* Linux: nobody counts references */
#define VMLAB_WALK_SOFT_DIRTY	(1U << 12)	/* Linux: changed since clear_refs */
#define VMLAB_WALK_UFFD_WP	(1U << 13)	/* Linux: protected by userfaultfd */
#define VMLAB_WALK_PROTNONE	(1U << 14)	/* Linux: names memory, nobody may use it */
#define VMLAB_WALK_OTHER	(1U << 15)	/* Linux: its own swap entry or a mark */

/**
 * struct vmlab_ioc_walk - VMLAB_IOC_WALK: how an address of the caller is translated
 * @size:	in: see the head of this file
 * @flags:	in: 0
 * @address:	in: any address of user space, mapped or not, aligned or not
 * @status:	out: VMLAB_WALK_MAPPED, _OURS, _FRAMES
 * @nr_levels:	out: levels that the processor reads, folded ones among them; from
 *		there on @levels is 0
 * @levels:	out: by VMLAB_WALK_PGD to VMLAB_WALK_PTE
 * @pfn:	out: page frame number of the page at @address by these, or 0.  Needs
 *		VMLAB_WALK_FRAMES, as all physical addresses here do
 *
 * The rest is 0 without VMLAB_WALK_OURS:
 *
 * @object:	out: number of the object, as in debugfs `objects`; with MAP_PRIVATE
 *		that of the mapping's own copy
 * @page:	out: which page of the object
 * @kind:	out: VMLAB_KIND_*
 * @slot:	out: VMLAB_WALK_SLOT_*, or 0 for VMLAB_KIND_BROKEN
 * @owners:	out: objects that share the slot's leaf; 0: there is no leaf
 * @refs:	out: slots that name the frame; 0: there is no frame
 * @node:	out: NUMA node of the frame
 * @swap_dev:	out: with VMLAB_WALK_SLOT_SWAP or _COPY: the swap device, numbered as
 *		stat(2) numbers it in st_rdev
 * @frame:	out: page frame number of the frame, or 0.  Needs VMLAB_WALK_FRAMES
 * @swap_offset: out: page of that device.  Needs VMLAB_WALK_FRAMES
 *
 * Nothing changes by it: no page is read in, no accessed bit is set or cleared.
 * Unless the slot is locked, the page table and the slot are of one moment.
 *
 * VMLAB_WALK_FRAMES is there for callers with CAP_SYS_ADMIN, who see the same in
 * /proc/PID/pagemap.  EINVAL: @address is not one of user space.
 */
struct vmlab_ioc_walk {
	__u32 size;
	__u32 flags;
	__u64 address;
	__u32 status;
	__u32 nr_levels;
	struct vmlab_walk_level levels[VMLAB_WALK_LEVELS];
	__u64 pfn;
	__u64 object;
	__u64 page;
	__u32 kind;
	__u32 slot;
	__u32 owners;
	__u32 refs;
	__u32 node;
	__u32 swap_dev;
	__u64 frame;
	__u64 swap_offset;
};

/* vmlab_ioc_walk.status */
#define VMLAB_WALK_MAPPED	(1U << 0)	/* something is mapped there */
#define VMLAB_WALK_OURS		(1U << 1)	/* from /dev/vmlab */
#define VMLAB_WALK_FRAMES	(1U << 2)	/* physical addresses are shown */

/* vmlab_ioc_walk.slot: one of the first four, and more */
#define VMLAB_WALK_SLOT_HOLE	(1U << 0)	/* empty */
#define VMLAB_WALK_SLOT_ZERO	(1U << 1)	/* empty; the zero page may be mapped */
#define VMLAB_WALK_SLOT_FRAME	(1U << 2)	/* names a frame */
#define VMLAB_WALK_SLOT_SWAP	(1U << 3)	/* names a swap entry */
#define VMLAB_WALK_SLOT_LOCKED	(1U << 4)	/* somebody is at work on it */
#define VMLAB_WALK_SLOT_PINNED	(1U << 5)	/* pinned by VMLAB_IOC_PIN */
#define VMLAB_WALK_SLOT_DIRTY	(1U << 6)	/* frame: no valid copy on swap */
#define VMLAB_WALK_SLOT_COPY	(1U << 7)	/* frame: swap has a valid copy */
#define VMLAB_WALK_SLOT_ACCESSED (1U << 8)	/* frame: used by read() or write() */
#define VMLAB_WALK_SLOT_AHEAD	(1U << 9)	/* frame: read ahead, not used yet */
#define VMLAB_WALK_SLOT_HUGE	(1U << 10)	/* frame: part of a huge page */

/* vmlab_ioc_walk.kind: what made the object */
#define VMLAB_KIND_OPEN		1		/* open() of /dev/vmlab */
#define VMLAB_KIND_SNAPSHOT	2		/* VMLAB_IOC_SNAPSHOT */
#define VMLAB_KIND_PRIVATE	3		/* MAP_PRIVATE, or fork() of such a mapping */
#define VMLAB_KIND_BROKEN	4		/* none: a fork had no memory for it */

#define VMLAB_IOC_MAGIC		0xbd

#define VMLAB_IOC_INFO		_IOWR(VMLAB_IOC_MAGIC, 0x00, struct vmlab_ioc_info)
#define VMLAB_IOC_DISCARD	_IOWR(VMLAB_IOC_MAGIC, 0x01, struct vmlab_ioc_range)
#define VMLAB_IOC_PAGEOUT	_IOWR(VMLAB_IOC_MAGIC, 0x02, struct vmlab_ioc_range)
#define VMLAB_IOC_POPULATE	_IOWR(VMLAB_IOC_MAGIC, 0x03, struct vmlab_ioc_range)
#define VMLAB_IOC_PIN		_IOWR(VMLAB_IOC_MAGIC, 0x04, struct vmlab_ioc_range)
#define VMLAB_IOC_UNPIN		_IOWR(VMLAB_IOC_MAGIC, 0x05, struct vmlab_ioc_range)
#define VMLAB_IOC_LIMIT		_IOWR(VMLAB_IOC_MAGIC, 0x06, struct vmlab_ioc_limit)
#define VMLAB_IOC_RESIDENCY	_IOWR(VMLAB_IOC_MAGIC, 0x07, struct vmlab_ioc_residency)
#define VMLAB_IOC_SNAPSHOT	_IOWR(VMLAB_IOC_MAGIC, 0x08, struct vmlab_ioc_snapshot)
#define VMLAB_IOC_WALK		_IOWR(VMLAB_IOC_MAGIC, 0x09, struct vmlab_ioc_walk)

#define VMLAB_IOC_COLLAPSE	_IOWR(VMLAB_IOC_MAGIC, 0x0a, struct vmlab_ioc_range)
#define VMLAB_IOC_SPLIT		_IOWR(VMLAB_IOC_MAGIC, 0x0b, struct vmlab_ioc_range)
#define VMLAB_IOC_RESERVE	_IOWR(VMLAB_IOC_MAGIC, 0x0c, struct vmlab_ioc_range)
#define VMLAB_IOC_MEMPOLICY	_IOWR(VMLAB_IOC_MAGIC, 0x0d, struct vmlab_ioc_mempolicy)
#define VMLAB_IOC_MIGRATE	_IOWR(VMLAB_IOC_MAGIC, 0x0e, struct vmlab_ioc_migrate)

#endif /* _UAPI_VMLAB_H */
