/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmlab: the types that the files of the module share, and who owns what.
 *
 * The parts, one file each:
 *
 *   main.c      module parameters; what starts and stops, in order
 *   instance.c  struct vmlab: made from its parts, taken apart again
 *   fs.c        the pseudo file system whose inodes carry each lineage's i_mmap
 *   dev.c       /dev/vmlab: open, mmap, llseek, fsync, fadvise, fdinfo
 *   rw.c        read() and write()
 *   ioctl.c     the ioctls: checks what users pass in, calls the owners
 *   fault.c     vm_operations: the story of a page fault
 *   access.c    vm_operations->access: ptrace and /proc/PID/mem
 *   object.c    objects and lineages: life, lookup by number, limits
 *   region.c    what a VMA has of ours: its object, fork, the end of a piece
 *   clone.c     copies of objects: which leaves they share, write protection
 *   snapshot.c  the ioctl that copies an object
 *   leaf.c      an object's own page table: leaves of 512 slots, slot locks
 *   siblings.c  slots of different leaves that name the same frame
 *   unshare.c   a leaf of several objects becomes one of its own
 *   cow.c       a page of several leaves becomes one of its own
 *   range.c     discard, page out, populate, pin: acts on ranges of slots
 *   residency.c what RESIDENCY and SEEK_DATA tell
 *   walk.c      what WALK tells: an address through both page tables
 *   chunk.c     which frames of a 2 MiB chunk are free (pure)
 *   pool.c      frames of a node: allocate, free, per-CPU caches
 *   resize.c    a pool grows and shrinks while in use; moves frames
 *   zero.c      the stock of frames zeroed ahead
 *   thread.c    starts and stops the threads of a node
 *   rmap.c      the hardware page tables: walk, accessed bits, unmap, flush
 *   reclaim.c   watermarks, reclaim threads, direct reclaim
 *   evict.c     takes a batch of victims out of memory
 *   policy.c    which policy is in force; policy_*.c the policies
 *   swap.c      swap devices: on, off, their table
 *   swap_map.c  which slots of a device are free (pure)
 *   swap_io.c   bios, plugging, checksums
 *   swapin.c    brings pages back, reads ahead
 *   huge.c      2 MiB in one chunk: by faults, and the PMDs that map them
 *   collapse.c  moves the pages of 2 MiB into one chunk
 *   promote.c   the threads that have that done
 *   reserve.c   huge pages that stay
 *   gigantic.c  pages of 1 GiB, set aside for these
 *   pud.c       maps such a page by one entry
 *   compact.c   makes free chunks of free frames
 *   retire.c    takes empty PTE tables away, for a PMD that maps 2 MiB
 *   oom.c       when nothing can be reclaimed
 *   inject.c    makes allocations and I/O fail on demand
 *   mempolicy.c which memory policy goes for a page
 *   numa.c      which nodes that comes to, and their statistics
 *   migrate.c   moves pages to other nodes
 *   stats.c     per-CPU counters
 *   debugfs.c   shows and sets; debugfs_huge.c, debugfs_numa.c and debugfs_walk.c as well
 *   verify.c    checks the books
 *   trace.h     the tracepoints
 *   compat.h    every difference between kernel versions
 *
 * The flow of a fault (fault.c): find the leaf; lock the slot; by its state,
 *   hole     take a frame (zeroed), or map the zero page for a load;
 *   swapped  start the read, drop the fault lock, wait, VM_FAULT_RETRY;
 *   present  use the frame;
 * set the PTE, and its neighbours'; unlock.
 *
 * Lock order, outermost first:
 *
 *   mmap_lock or the VMA lock
 *     vm->reserve_mutex             one RESERVE at a time
 *     vm->swap_mutex                swapon, swapoff, verify
 *       vm->resize_mutex            resize, compaction, gigantic pages, verify, watermarks
 *         cpu_hotplug_lock          verify; elsewhere by trylock only
 *           vm->activity            percpu-rwsem: read: changes slots, frames or
 *                                   PTEs; write: verify, resize, compaction,
 *                                   gigantic pages, policy switch.
 *                                   Never held across a user copy that may fault:
 *                                   a second read of it could deadlock
 *             slot lock             a bit; one page's state, held across the PTE
 *                                   change and across I/O.  Block on one only
 *                                   while holding none; further ones by trylock.
 *                                   A frozen leaf counts as all of its slots
 *               lineage->clone_sem  which objects own which leaf.  Write: clone,
 *                                   which never waits for a slot.  Read: a new or
 *                                   an unshared leaf is published; write()'s copy.
 *                                   No frame is waited for under it; memory
 *                                   of the machine is (clone.c)
 *                 i_mmap_rwsem      as the core takes it; for write: a PUD is set (pud.c)
 *                 lock of object->mpols  which policy goes for a range; let go where
 *                                   memory is waited for.  Lookups take none
 *                   xa_lock of object->leaves, then of lineage->leaves
 *                     leaf->lock    slot words and the leaf's counts
 *                       page table lock
 *                         pool->lock  chunks; behind per-CPU caches
 *                         a swap map's lock, a policy's own lock
 *
 * A slot stops naming a frame only after every PTE of it is unmapped and
 * flushed.  Who evicts sets the slot's lock bit (under leaf->lock, a full
 * barrier) before it takes a page table lock; who maps without a slot lock
 * (fault-around) holds leaf->lock from reading the word to setting the PTE.
 *
 * Who shares what: objects of one lineage own leaves together (leaf->owners), and
 * leaves name frames together (frame->refs).  A page may be written only where both
 * are 1: that is looked at under leaf->lock, which is held until the writable PTE is
 * set.  Clone raises owners under leaf->lock first and write-protects afterwards, so
 * it finds every such PTE.  Who holds all slots that name a frame has it alone
 * (siblings.c).
 */
#ifndef VMLAB_H
#define VMLAB_H

#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/maple_tree.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/percpu-rwsem.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "frame.h"
#include "inject.h"
#include "numa.h"
#include "policy.h"
#include "stats.h"
#include "swap.h"
#include "uapi/vmlab.h"

#define VMLAB_LEAF_SHIFT	9
#define VMLAB_LEAF_SLOTS	(1U << VMLAB_LEAF_SHIFT)
#define VMLAB_OBJECT_PAGES	(VMLAB_OBJECT_SIZE >> PAGE_SHIFT)
#define VMLAB_SLOT_WAITS	64
#define VMLAB_POOL_MB_MAX	(1UL << 26)	/* 64 TiB */
#define VMLAB_RA_MAX		64	/* pages of the largest read-ahead window */
#define VMLAB_MARKS_AT_ONCE	512	/* marks of the zero page that are taken away together */
/*
 * Objects of one lineage, at most: a fork bomb ends here.  Fewer than the references
 * that a swap slot can count.
 */
#define VMLAB_LINEAGE_OBJECTS	16384

/*
 * A slot is one word:
 *
 *   63                                        6  5  4  3    2     1     0
 *  +--------------------------------------------+--+--+---+-----+-----+------+
 *  | frame descriptor's address, or swap entry  |0 |EV|PIN|ZERO |SWAP |LOCKED|
 *  +--------------------------------------------+--+--+---+-----+-----+------+
 *
 * ZERO: the slot is empty, but a PTE may map the zero page here.
 * EV: locked by who evicts the frame, together with all others that name it.
 */
#define VMLAB_SLOT_LOCKED	0x01UL
#define VMLAB_SLOT_SWAP		0x02UL
#define VMLAB_SLOT_ZERO		0x04UL
#define VMLAB_SLOT_PINNED	0x08UL
#define VMLAB_SLOT_EVICT	0x10UL
#define VMLAB_SLOT_FLAGS	0x3fUL
#define VMLAB_SLOT_SHIFT	6

static inline bool vmlab_word_is_frame(unsigned long word)
{
	return !(word & VMLAB_SLOT_SWAP) && (word & ~VMLAB_SLOT_FLAGS);
}

static inline bool vmlab_word_is_swap(unsigned long word)
{
	return word & VMLAB_SLOT_SWAP;
}

static inline bool vmlab_word_is_empty(unsigned long word)
{
	return !(word & (~VMLAB_SLOT_FLAGS | VMLAB_SLOT_SWAP));
}

static inline struct vmlab_frame *vmlab_word_frame(unsigned long word)
{
	return (struct vmlab_frame *)(word & ~VMLAB_SLOT_FLAGS);
}

/* Is it a part of a huge page of RESERVE? */
static inline bool vmlab_word_is_reserved(unsigned long word)
{
	return vmlab_word_is_frame(word) &&
	       READ_ONCE(vmlab_word_frame(word)->chunk->reserved);
}

/* Swap entries are never 0: offset 0 of a device is its header. */
static inline u64 vmlab_word_entry(unsigned long word)
{
	return word >> VMLAB_SLOT_SHIFT;
}

static inline unsigned long vmlab_frame_word(struct vmlab_frame *frame)
{
	return (unsigned long)frame;
}

static inline unsigned long vmlab_entry_word(u64 entry)
{
	return (entry << VMLAB_SLOT_SHIFT) | VMLAB_SLOT_SWAP;
}

/**
 * struct vmlab_events - what is counted for INFO, by leaf while that has one owner
 * @faults:	faults that found work
 * @swap_ins:	pages read from swap
 * @swap_outs:	pages written to swap
 * @evictions:	pages whose frame was taken
 */
struct vmlab_events {
	u64			faults;
	u64			swap_ins;
	u64			swap_outs;
	u64			evictions;
};

/**
 * struct vmlab_leaf - 512 slots: 2 MiB of an object, or of several that share it
 * @lock:	slot words and every field down to @words
 * @nr_locked:	slots whose lock bit is set
 * @nr_present:	slots that name a frame
 * @nr_swapped:	slots that name a swap entry
 * @nr_pinned:	slots with the PINNED bit
 * @dead:	no longer in any table; look the leaf up again
 * @waiters:	someone sleeps until a slot is unlocked
 * @frozen:	being unshared or moved: no slot can be locked
 * @huge:	its slots name the frames of one chunk, in their order
 * @seq_next:	slot that continues the run of sequential write faults
 * @seq_run:	length of that run in pages, saturating
 * @ra_start:	slot where the last read-ahead window began
 * @ra_nr:	its pages
 * @ra_hits:	pages read ahead that were used since it was sized
 * @owners:	objects in whose tables it is
 * @pinner:	number of the object whose pins @nr_pinned are
 * @events:	what happened here
 * @words:	the slots; they live in @frame
 * @frame:	a frame of the pool, state LEAF
 * @lineage:	the lineage of its owners, who keep it
 * @index:	which 2 MiB of the object: page index >> VMLAB_LEAF_SHIFT
 * @next:	next distinct leaf of the lineage for the same 2 MiB, under the
 *		xa_lock of lineage->leaves
 * @rcu:	freed after a grace period: lookups run under RCU
 */
struct vmlab_leaf {
	spinlock_t		lock;
	u16			nr_locked;
	u16			nr_present;
	u16			nr_swapped;
	u16			nr_pinned;
	bool			dead;
	bool			waiters;
	bool			frozen;
	bool			huge;
	u16			seq_next;
	u16			seq_run;
	u16			ra_start;
	u16			ra_nr;
	u16			ra_hits;
	u32			owners;
	u64			pinner;
	struct vmlab_events	events;
	unsigned long		*words;
	struct vmlab_frame	*frame;
	struct vmlab_lineage	*lineage;
	u64			index;
	struct vmlab_leaf __rcu	*next;
	struct rcu_head		rcu;
};

/* vmlab_slot.events: what vmlab_slot_unlock() counts in the leaf */
#define VMLAB_EVENT_FAULT	0x1
#define VMLAB_EVENT_SWAP_IN	0x2
#define VMLAB_EVENT_SWAP_OUT	0x4
#define VMLAB_EVENT_EVICT	0x8

/**
 * struct vmlab_slot - a slot that the caller has locked
 * @leaf:	its leaf, which cannot go away while the slot is locked, and which no
 *		owner can exchange for one of its own
 * @index:	which of the 512
 * @word:	its contents without the lock bit; what vmlab_slot_unlock() publishes
 * @tracked:	lockdep knows of it
 * @events:	VMLAB_EVENT_*, counted in the leaf when it is unlocked
 */
struct vmlab_slot {
	struct vmlab_leaf	*leaf;
	unsigned int		index;
	unsigned long		word;
	bool			tracked;
	u8			events;
};

/* What is tagged in object->leaves: so neither kind is looked for among the other. */
#define VMLAB_TAG_LEAF		XA_MARK_0
#define VMLAB_TAG_ZERO		XA_MARK_1	/* marks of the zero page, see leaf.c */

enum vmlab_object_kind {
	VMLAB_OBJECT_FILE,	/* an open of /dev/vmlab */
	VMLAB_OBJECT_SNAPSHOT,	/* ioctl(SNAPSHOT) */
	VMLAB_OBJECT_PRIVATE,	/* MAP_PRIVATE mappings of one mm */
};

/**
 * struct vmlab_object - an array of pages: what one open of /dev/vmlab gives, or a copy
 * @ref:	one of the open file or of all regions, one per lookup by number
 * @vm:		its instance
 * @lineage:	its lineage; holds a reference
 * @id:		its number, never used again
 * @parent:	number of the object that it is a copy of, or 0
 * @kind:	what it is
 * @frozen:	a snapshot that nobody may change
 * @leaves:	page index >> VMLAB_LEAF_SHIFT to leaf.  A value entry instead of a leaf
 *		says: no leaf, but PTEs may map the zero page in this 2 MiB (leaf.c)
 * @nr_fades:	how often marks of the zero page were about to be taken away, under the
 *		xa_lock of @leaves
 * @mpols:	memory policies of ranges of pages, see mempolicy.c
 * @leaf_seq:	how often a leaf in @leaves was exchanged for another.  Who looks one
 *		up reads it before, and again under leaf->lock
 * @mm:		PRIVATE: whose mappings; compared, never followed
 * @file_obj:	PRIVATE: the object of the file that is mapped; holds a reference
 * @nr_regions:	PRIVATE: regions that have it; under lineage->clone_sem
 * @forking:	PRIVATE: a fork of @mm may be copying it now; set with @mm's mmap_lock held
 *		for write and clone_sem, cleared with mmap_lock held for read
 * @siblings:	in @file_obj->privates; a FILE's or SNAPSHOT's is unused
 * @privates:	PRIVATE objects of this one's file; under lineage->clone_sem
 * @pid:	who made it, for people
 * @comm:	its name
 * @pin_user:	whose RLIMIT_MEMLOCK the pins count against
 * @nr_pinned:	pinned pages
 * @events:	what happened in leaves that are gone or shared; under clone_sem or
 *		xa_lock of @leaves
 * @nr_faults:	faults without a leaf
 * @debugfs:	its directory there, or NULL
 * @rcu:	freed after a grace period
 */
struct vmlab_object {
	struct kref		ref;
	struct vmlab		*vm;
	struct vmlab_lineage	*lineage;
	u64			id;
	u64			parent;
	enum vmlab_object_kind	kind;
	bool			frozen;
	struct xarray		leaves;
	unsigned long		nr_fades;
	unsigned long		leaf_seq;
	struct maple_tree	mpols;
	struct mm_struct	*mm;
	struct vmlab_object	*file_obj;
	unsigned int		nr_regions;
	bool			forking;
	struct list_head	siblings;
	struct list_head	privates;
	pid_t			pid;
	char			comm[TASK_COMM_LEN];
	struct user_struct	*pin_user;
	atomic_long_t		nr_pinned;
	struct vmlab_events	events;
	atomic64_t		nr_faults;
	struct dentry		*debugfs;
	struct rcu_head		rcu;
};

/**
 * struct vmlab_lineage - all objects that came from one open
 * @ref:	one per object, one per tryget
 * @vm:		its instance
 * @id:		inode number and the first object's number
 * @inode:	its inode on vmlab's file system; i_mmap knows every VMA that could
 *		map any of its frames
 * @leaves:	page index >> VMLAB_LEAF_SHIFT to the first of its distinct leaves
 * @clone_sem:	which of its objects own which leaf; see the head of this file
 * @nr_objects:	its objects but the first
 * @cloned:	there were others once: read-only PTEs need not be news to stores
 * @gigantic:	some of it was a page of 1 GiB once: PUDs may map it
 * @limit:	bound of @nr_frames, 0: none
 * @hand:	where eviction for the limit goes on (page index)
 * @rcu:	freed after a grace period
 * @nr_frames:	frames charged: resident pages, leaves, and one for each object
 *		but the first
 * @nr_moving:	pages on their way to swap or back: soon there are frames to evict
 */
struct vmlab_lineage {
	struct kref		ref;
	struct vmlab		*vm;
	u64			id;
	struct inode		*inode;
	struct xarray		leaves;
	struct rw_semaphore	clone_sem;
	atomic_t		nr_objects;
	bool			cloned;
	bool			gigantic;
	unsigned long		limit;
	u64			hand;
	struct rcu_head		rcu;

	atomic_long_t		nr_frames ____cacheline_aligned_in_smp;
	atomic_t		nr_moving;
};

/**
 * struct vmlab_region - what a VMA's vm_private_data points to
 * @ref:	one per VMA: the pieces of a split share it, and the forked copies of
 *		a shared mapping
 * @object:	what is mapped; holds a reference.  NULL: a fork had no memory for it
 * @mm:		the address space that it was made for; compared, never followed.  With a
 *		reference: another must not come to have its address
 */
struct vmlab_region {
	struct kref		ref;
	struct vmlab_object	*object;
	struct mm_struct	*mm;
};

#define VMLAB_PCP_MAX		32

/**
 * struct vmlab_pcp - a CPU's cache of free frames of one node
 * @nr:		how many @frames
 * @nr_zeroed:	how many @zeroed
 * @frames:	frames of unknown contents
 * @zeroed:	frames of the zeroed stock
 *
 * Touched only by its CPU with preemption off, or by anyone once the CPU is dead.
 */
struct vmlab_pcp {
	u16			nr;
	u16			nr_zeroed;
	struct vmlab_frame	*frames[VMLAB_PCP_MAX];
	struct vmlab_frame	*zeroed[VMLAB_PCP_MAX];
};

/**
 * struct vmlab_pool - the frames of one NUMA node
 * @vm:		the instance
 * @pcp:	per-CPU caches
 * @node_stats:	per-CPU counters of the node
 * @chunks:	all chunks in sweep order, NULL-free; changes only while the
 *		instance is frozen (vm->activity held for write)
 * @fallback:	nodes to try in turn, this one first, by distance
 * @nid:	the node
 * @nr_fallback: how many @fallback
 * @nr_chunks:	how many @chunks
 * @pcp_batch:	frames moved between a per-CPU cache and the pool at once
 * @weight:	its share of what is interleaved by weight, at least 1
 * @lock:	what follows, and the chunks' books
 * @partial:	chunks with some free frames
 * @whole:	chunks with all frames free; those that are zeroed at the tail
 * @nr_whole:	how many of them are 2 MiB in one piece
 * @nr_zeroed_chunks: how many of those are zeroed
 * @gigantic:	pages of 1 GiB, which are in none of the other lists; changes only while the
 *		instance is frozen
 * @nr_gigantic: how many
 * @stock:	the first of the frames zeroed ahead
 * @nr_free:	free frames outside the per-CPU caches, the stock included
 * @nr_stock:	frames in @stock
 * @policy_data: the policy's own
 * @reclaim_task: its reclaim thread
 * @reclaim_wait: where that sleeps
 * @reclaim_wanted: somebody saw the low watermark
 * @zero_task:	the thread that zeroes ahead
 * @zero_wait:	where that sleeps
 * @promote_task: the thread that makes huge pages of small ones
 * @promote_wait: where that sleeps
 * @promote_id:	number of the object where it goes on
 * @promote_index: and which 2 MiB of that
 * @debugfs:	its directory
 */
struct vmlab_pool {
	struct vmlab		*vm;
	struct vmlab_pcp __percpu *pcp;
	struct vmlab_node_stats __percpu *node_stats;
	struct vmlab_chunk	**chunks;
	int			*fallback;
	int			nid;
	int			nr_fallback;
	unsigned int		nr_chunks;
	unsigned int		pcp_batch;
	u8			weight;

	spinlock_t		lock ____cacheline_aligned_in_smp;
	struct list_head	partial;
	struct list_head	whole;
	unsigned int		nr_whole;
	unsigned int		nr_zeroed_chunks;
	struct list_head	gigantic;
	unsigned int		nr_gigantic;
	struct vmlab_frame	*stock;
	unsigned long		nr_free;
	unsigned long		nr_stock;

	void			*policy_data ____cacheline_aligned_in_smp;
	struct task_struct	*reclaim_task;
	wait_queue_head_t	reclaim_wait;
	bool			reclaim_wanted;
	struct task_struct	*zero_task;
	wait_queue_head_t	zero_wait;
	struct task_struct	*promote_task;
	wait_queue_head_t	promote_wait;
	u64			promote_id;
	u64			promote_index;
	struct dentry		*debugfs;
};

/*
 * Three parts of whole cache lines: what is read by all who allocate, what they write under the
 * lock once in a batch, and what the node's own threads write.
 */
static_assert(offsetof(struct vmlab_pool, weight) < SMP_CACHE_BYTES);
static_assert(offsetof(struct vmlab_pool, lock) % SMP_CACHE_BYTES == 0);
static_assert(offsetof(struct vmlab_pool, policy_data) % SMP_CACHE_BYTES == 0);

enum vmlab_huge_setting {
	VMLAB_HUGE_ALWAYS,
	VMLAB_HUGE_MADVISE,
	VMLAB_HUGE_NEVER,
	VMLAB_HUGE_NR,
};

/* What of the making of huge pages can be set; in vm->promote. */
enum vmlab_promote {
	VMLAB_PROMOTE_MAX_NONE,		/* holes that may become pages of zeros */
	VMLAB_PROMOTE_MAX_SHARED,	/* pages that other leaves name, too, and are copied */
	VMLAB_PROMOTE_MAX_SWAPPED,	/* pages that are read from swap for it */
	VMLAB_PROMOTE_SCAN_MS,		/* between two looks of the thread */
	VMLAB_PROMOTE_SCAN_LEAVES,	/* leaves that one looks at */
	VMLAB_PROMOTE_COW_HUGE,		/* a store to a shared huge page copies 2 MiB, not 4 KiB */
	VMLAB_PROMOTE_ZERO_CHUNKS,	/* chunks of a node that are zeroed ahead */
	VMLAB_PROMOTE_NR,
};

enum vmlab_oom_policy {
	VMLAB_OOM_KILL,
	VMLAB_OOM_SIGBUS,
};

/**
 * struct vmlab - an instance: everything hangs off it, nothing is global
 * @activity:	read: changes slots, frames or PTEs; write: the world stands still
 * @stats:	per-CPU counters
 * @pools:	by node number; NULL: no pool there
 * @pool_nodes: mask of the nodes whose pools have memory; changes only while frozen
 * @mnt:	the mount of its pseudo file system
 * @lineages:	by number; lookups under RCU and by tryget
 * @objects:	likewise
 * @policy:	the policy in force; changes only while frozen
 * @batches:	memory for eviction rounds, so that reclaim never waits for memory
 *		that only reclaim can free
 * @swapins:	memory for pages on their way in, likewise
 * @slot_wait:	where waiters for slots sleep, hashed by leaf
 * @slot_dep_map: what lockdep sees of slot locks taken by waiting
 * @watermark_low: in tenths of a percent of a node's frames: reclaim begins
 * @watermark_high: likewise: reclaim ends
 * @swappiness:	0 to 200
 * @zero_stock:	how many frames a node's stock of zeroed ones may hold
 * @huge:	which mappings get huge pages
 * @promote:	by enum vmlab_promote
 * @oom_policy:	what to do when nothing can be reclaimed
 * @oom:	oom.c's own
 * @swap_mutex:	swapon, swapoff
 * @swap_devs:	by device number of a swap entry.  A device stays as long as any
 *		entry names it, so who holds an entry needs no lock
 * @swap_order:	in which order devices are filled, by RCU
 * @swap_bios:	where bios come from
 * @reserve_mutex: one RESERVE at a time: none takes back what another was promised
 * @resize_mutex: one resize at a time
 * @cpuhp:	for CPU hotplug
 * @debugfs:	its directory
 * @inject:	inject.c's own
 * @nr_moving:	pages on their way to swap or back: soon there are frames to evict
 * @nr_evicted:	pages evicted: shows those who found none that others did
 * @shrinking:	a chunk is being emptied: its frames may come back
 * @next_id:	numbers for objects
 */
struct vmlab {
	struct percpu_rw_semaphore activity;
	struct vmlab_stats __percpu *stats;
	struct vmlab_pool	*pools[MAX_NUMNODES];
	unsigned long		pool_nodes;
	struct vfsmount		*mnt;
	struct xarray		lineages;
	struct xarray		objects;
	const struct vmlab_policy_ops *policy;
	mempool_t		*batches;
	mempool_t		*swapins;
	wait_queue_head_t	slot_wait[VMLAB_SLOT_WAITS];
	struct lockdep_map	slot_dep_map;
	unsigned int		watermark_low;
	unsigned int		watermark_high;
	unsigned int		swappiness;
	unsigned int		zero_stock;
	enum vmlab_huge_setting	huge;
	unsigned int		promote[VMLAB_PROMOTE_NR];
	enum vmlab_oom_policy	oom_policy;
	struct vmlab_oom	*oom;
	struct mutex		swap_mutex;
	struct vmlab_swap_dev __rcu *swap_devs[VMLAB_SWAP_MAX_DEVS];
	struct vmlab_swap_order __rcu *swap_order;
	struct bio_set		*swap_bios;
	struct mutex		reserve_mutex;
	struct mutex		resize_mutex;
	struct hlist_node	cpuhp;
	struct dentry		*debugfs;
	unsigned int		broken_law;	/* verify.c: broken on purpose; 0: none */
	struct vmlab_inject	inject;

	atomic_t		nr_moving ____cacheline_aligned_in_smp;
	atomic_long_t		nr_evicted;
	bool			shrinking;
	atomic64_t		next_id;
};

/*
 * What every fault reads shares no cache line with what those write who evict, or make objects:
 * the line would wander between nodes.  Counters that faults write are per CPU.
 */
static_assert(offsetof(struct vmlab, nr_moving) % SMP_CACHE_BYTES == 0);
static_assert(sizeof(struct vmlab) - offsetof(struct vmlab, nr_moving) == SMP_CACHE_BYTES);

/* instance.c */
struct vmlab_params {
	const char *pool_mb;	/* "256" or "0:128,1:64"; NULL: a default */
	const char *policy;	/* NULL: clock */
	const char *swap;	/* path, or NULL */
	const char *huge;	/* NULL: madvise */
};

struct vmlab *vmlab_create(const struct vmlab_params *params);
void vmlab_destroy(struct vmlab *vm);
int vmlab_instance_init(void);
void vmlab_instance_exit(void);

/* fs.c */
int vmlab_fs_mount(struct vmlab *vm);
void vmlab_fs_unmount(struct vmlab *vm);
struct inode *vmlab_fs_inode(struct vmlab *vm, u64 ino);
struct file *vmlab_fs_file(struct vmlab_lineage *lineage, const char *name, int flags,
			   const struct file_operations *fops);

/* dev.c */
int vmlab_dev_register(struct vmlab *vm);
void vmlab_dev_unregister(void);
int vmlab_dev_snapshot(struct vmlab_object *obj, bool frozen, u64 *id, struct file **file);

/* rw.c */
ssize_t vmlab_read_iter(struct kiocb *iocb, struct iov_iter *to);
ssize_t vmlab_write_iter(struct kiocb *iocb, struct iov_iter *from);
int vmlab_copy(struct vmlab_object *obj, loff_t pos, void *buf, size_t len, bool write);

/* ioctl.c */
long vmlab_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* fault.c, access.c */
extern const struct vm_operations_struct vmlab_vm_ops;
int vmlab_vma_access(struct vm_area_struct *vma, unsigned long addr, void *buf,
		     int len, int write);

/* region.c */
struct vmlab_region *vmlab_region_shared(struct vmlab_object *obj);
struct vmlab_region *vmlab_region_private(struct vmlab_object *obj, u64 first, u64 nr);
void vmlab_region_put(struct vmlab_region *region);
void vmlab_region_open(struct vm_area_struct *vma);
void vmlab_region_close(struct vm_area_struct *vma);
int vmlab_region_mprotect(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			  unsigned long flags);

/* Is the VMA's object one of its own, that only its address space maps? */
static inline bool vmlab_region_is_private(const struct vmlab_region *region)
{
	return region->object && region->object->kind == VMLAB_OBJECT_PRIVATE;
}

/* clone.c */
int vmlab_clone_leaves(struct vmlab_object *from, struct vmlab_object *to, u64 first,
		       u64 last);
bool vmlab_clone_has_leaves(struct vmlab_object *obj, u64 first, u64 last);
void vmlab_clone_undo(struct vmlab_object *to, u64 first, u64 last);

/* snapshot.c */
struct vmlab_object *vmlab_snapshot(struct vmlab_object *obj, bool frozen);

/* unshare.c */
int vmlab_leaf_unshare(struct vmlab_object *obj, u64 pgoff, unsigned int flags);

/* siblings.c */
bool vmlab_siblings_trylock(struct vmlab_slot *slot);
void vmlab_siblings_unlock(struct vmlab_slot *slot, struct vmlab_frame *frame,
			   unsigned long word);
int vmlab_siblings_claim(struct vmlab_slot *slot);
void vmlab_siblings_unclaim(struct vmlab *vm, u64 entry);
void vmlab_siblings_bring(struct vmlab_slot *slot, u64 entry, struct vmlab_frame *frame);

/* cow.c */
bool vmlab_slot_is_shared(const struct vmlab_slot *slot);
#define VMLAB_COW_AHEAD_MAX	15U
unsigned int vmlab_cow_copy_ahead(struct vmlab_object *obj, struct vmlab_slot *slot,
				  unsigned int nr);
int vmlab_cow_copy(struct vmlab_object *obj, struct vmlab_slot *slot,
		   struct vmlab_frame **spare);

/* object.c */
struct vmlab_object *vmlab_object_create(struct vmlab *vm);
struct vmlab_object *vmlab_object_copy(struct vmlab_object *from,
				       enum vmlab_object_kind kind);
void vmlab_object_destroy(struct vmlab_object *obj);
struct vmlab_object *vmlab_object_next(struct vmlab *vm, u64 *id);
void vmlab_object_get(struct vmlab_object *obj);
void vmlab_object_put(struct vmlab_object *obj);
struct vmlab_lineage *vmlab_lineage_next(struct vmlab *vm, u64 *id);
bool vmlab_lineage_tryget(struct vmlab_lineage *lineage);
void vmlab_lineage_put(struct vmlab_lineage *lineage);
bool vmlab_lineage_charge(struct vmlab_lineage *lineage, unsigned long nr);
void vmlab_lineage_uncharge(struct vmlab_lineage *lineage, unsigned long nr);

/**
 * struct vmlab_usage - what an object uses, in pages
 */
struct vmlab_usage {
	u64 resident;
	u64 swapped;
	u64 leaves;
	u64 dirty;
	u64 pinned;
	u64 shared;
	u64 huge;
	u64 on_node[VMLAB_NODES_MAX];	/* frames of the pools, those of leaves included */
	struct vmlab_events events;
};

void vmlab_object_usage(struct vmlab_object *obj, struct vmlab_usage *usage);

/* leaf.c */
int vmlab_leaf_init(void);
void vmlab_leaf_exit(void);
struct vmlab_leaf *vmlab_leaf_lookup(struct vmlab_object *obj, u64 pgoff);
struct vmlab_leaf *vmlab_leaf_next(struct vmlab_object *obj, u64 *index, u64 last);
int vmlab_leaf_create(struct vmlab_object *obj, u64 pgoff, unsigned int flags);
void vmlab_leaf_reap(struct vmlab_object *obj, u64 index);
bool vmlab_leaf_detach(struct vmlab_object *obj, u64 index);
void vmlab_leaf_move(struct vmlab_frame *from, struct vmlab_frame *to);
struct vmlab_leaf *vmlab_leaf_alloc(struct vmlab_lineage *lineage, u64 index,
				    struct vmlab_frame *frame);
void vmlab_leaf_free(struct vmlab_leaf *leaf);
int vmlab_leaf_publish(struct vmlab_object *obj, struct vmlab_leaf *leaf);
bool vmlab_leaf_is_alone(struct vmlab_leaf *leaf);
void vmlab_leaf_split(struct vmlab_leaf *leaf);
void vmlab_leaf_clear(struct vmlab_leaf *leaf);
void vmlab_leaf_exchange(struct vmlab_leaf *leaf, const unsigned long *words);
void vmlab_leaf_list(struct vmlab_leaf *leaf);
bool vmlab_leaf_is_of(struct vmlab_object *obj, struct vmlab_leaf *leaf);

enum vmlab_freeze {
	VMLAB_FREEZE_SHARED,	/* a leaf of several objects */
	VMLAB_FREEZE_OWN,	/* one that is the object's alone */
	VMLAB_FREEZE_ANY,
};

int vmlab_leaf_freeze(struct vmlab_object *obj, u64 pgoff, enum vmlab_freeze which, bool wait,
		      struct vmlab_leaf **leaf);
void vmlab_leaf_thaw(struct vmlab_leaf *leaf);
void vmlab_events_add(struct vmlab_events *to, const struct vmlab_events *from);
void vmlab_leaf_store(struct vmlab_object *obj, struct vmlab_leaf *leaf);
int vmlab_leaf_mark_zero(struct vmlab_object *obj, u64 pgoff);

/* Was a hole of some 2 MiB without a leaf ever loaded from? */
static inline bool vmlab_has_zero_marks(const struct vmlab_object *obj)
{
	/* A mark that is set just now might as well be set a moment later. */
	return data_race(xa_marked(&obj->leaves, VMLAB_TAG_ZERO));
}

bool vmlab_leaf_is_zero_marked(struct vmlab_object *obj, u64 pgoff);
unsigned long vmlab_marks_fade(struct vmlab_object *obj, u64 *index, u64 last,
			       unsigned int *nr);
void vmlab_marks_erase(struct vmlab_object *obj, u64 index, unsigned int nr,
		       unsigned long number);

enum vmlab_slot_wait {
	VMLAB_SLOT_KILLABLE,	/* -EINTR on a fatal signal */
	VMLAB_SLOT_WAIT,	/* nothing */
};

int vmlab_slot_trylock(struct vmlab_object *obj, u64 pgoff, struct vmlab_slot *slot);

/* To be read before a leaf is looked up. */
static inline unsigned long vmlab_leaf_seq(struct vmlab_object *obj)
{
	/* Before the look: who exchanges a leaf counts afterwards. */
	return smp_load_acquire(&obj->leaf_seq);
}

struct vmlab_leaf *vmlab_hole_find(struct vmlab_object *obj, u64 pgoff);
bool vmlab_hole_lock(struct vmlab_object *obj, struct vmlab_leaf *leaf, unsigned int index,
		     unsigned long seq);
void vmlab_hole_unlock(struct vmlab_leaf *leaf);
void vmlab_hole_fill(struct vmlab_leaf *leaf, unsigned int index, struct vmlab_frame *frame);
int vmlab_slot_lock(struct vmlab_object *obj, u64 pgoff, enum vmlab_slot_wait how,
		    struct vmlab_slot *slot);
void vmlab_slot_track(struct vmlab_slot *slot);
bool vmlab_slot_trylock_in(struct vmlab_leaf *leaf, unsigned int index,
			   struct vmlab_slot *slot);
unsigned int vmlab_slot_trylock_holes(struct vmlab_leaf *leaf, unsigned int index,
				      unsigned int nr);
void vmlab_slot_unlock(struct vmlab_slot *slot);
void vmlab_slot_unlock_run(struct vmlab_leaf *leaf, unsigned int index, unsigned int nr,
			   const unsigned long *words);
int vmlab_slot_wait(struct vmlab_object *obj, u64 pgoff, bool killable);
int vmlab_siblings_wait(struct vmlab_object *obj, u64 pgoff);
bool vmlab_slot_map_begin(struct vmlab_slot *slot);
void vmlab_slot_map_end(struct vmlab_slot *slot);
void vmlab_slot_map_cancel(struct vmlab_slot *slot);
u64 vmlab_slot_pgoff(const struct vmlab_slot *slot);

/* range.c */
void vmlab_range_clear(struct vmlab_object *obj);
int vmlab_range_discard(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_pageout(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_populate(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_pin(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_unpin(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_willneed(struct vmlab_object *obj, u64 first, u64 nr);
int vmlab_lock_charge(struct vmlab_object *obj, unsigned long nr);
void vmlab_lock_uncharge(struct user_struct *user, unsigned long nr);
int vmlab_leaf_bring(struct vmlab_object *obj, u64 index, unsigned int from, unsigned int to);

enum vmlab_fill {
	VMLAB_FILL_READ,	/* a hole stays one: -ENOENT */
	VMLAB_FILL_CREATE,	/* a hole gets a zeroed frame */
	VMLAB_FILL_WRITE,	/* and the page is its object's alone */
};

int vmlab_slot_lock_present(struct vmlab_object *obj, u64 pgoff, enum vmlab_fill fill,
			    struct vmlab_slot *slot);
void vmlab_range_unmapped(struct vmlab_object *obj, u64 first, u64 nr,
			  struct vm_area_struct *but);
void vmlab_range_forget_zero(struct vmlab_object *obj, u64 first, u64 nr,
			     struct vm_area_struct *but);
void vmlab_range_forget(struct vmlab_object *obj, u64 first, u64 nr);
void vmlab_slot_clear_zero(struct vmlab_object *obj, struct vmlab_slot *slot);
void vmlab_slot_dirty(struct vmlab_slot *slot);
void vmlab_frame_dirty(struct vmlab *vm, struct vmlab_frame *frame);
void vmlab_slot_drop(struct vmlab_slot *slot);

/* huge.c */
extern const char * const vmlab_huge_names[VMLAB_HUGE_NR];
void vmlab_huge_init(struct vmlab *vm, enum vmlab_huge_setting setting);
void vmlab_huge_set(struct vmlab *vm, enum vmlab_huge_setting setting);
void vmlab_huge_wake(struct vmlab *vm);
bool vmlab_huge_fits(struct vm_area_struct *vma, unsigned long addr);
vm_fault_t vmlab_huge_fault(struct vm_fault *vmf, struct vmlab_object *obj, bool write,
			    unsigned int flags, int *node);
bool vmlab_huge_store(struct vm_fault *vmf, struct vmlab_object *obj, int *node);

/* What is true of all pages of a huge leaf. */
#define VMLAB_ALL_ALONE		0x1	/* the object's alone */
#define VMLAB_ALL_DIRTY		0x2	/* without a copy on swap */
unsigned int vmlab_leaf_all(struct vmlab_leaf *leaf);
int vmlab_huge_create(struct vmlab_object *obj, u64 index, struct vmlab_place place,
		      struct user_struct *payer);
int vmlab_huge_create_in(struct vmlab_object *obj, u64 index, struct vmlab_place place,
			 struct vmlab_chunk *chunk, struct user_struct *payer);
void vmlab_chunk_drop(struct vmlab_leaf *leaf);
void vmlab_chunk_zero(struct vmlab_chunk *chunk);

/* collapse.c */

/**
 * struct vmlab_collapse_rules - which leaves become huge pages
 * @max_none:	slots that may be holes
 * @max_shared:	slots whose frames other leaves name, too
 * @max_swapped: slots that may have to be read from swap
 * @nid:	only if most of its pages are on this node; NUMA_NO_NODE: on any
 * @copy:	a huge page of which others name a part too becomes one of its own
 * @move:	a huge page that is the object's alone goes to another chunk on @nid
 */
struct vmlab_collapse_rules {
	unsigned int	max_none;
	unsigned int	max_shared;
	unsigned int	max_swapped;
	int		nid;
	bool		copy;
	bool		move;
};

int vmlab_collapse(struct vmlab_object *obj, u64 index, const struct vmlab_collapse_rules *rules);
void vmlab_leaf_unmap(struct vmlab_leaf *leaf);
int vmlab_leaf_make_small(struct vmlab_object *obj, u64 index, bool reserved);
int vmlab_range_collapse(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_split(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);

/* reserve.c */
struct user_struct *vmlab_chunk_take_payer(struct vmlab_chunk *chunk);
void vmlab_payer_put(struct user_struct *payer);
void vmlab_chunk_unreserve(struct vmlab_chunk *chunk);
int vmlab_range_reserve(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);
int vmlab_range_reserve_gigantic(struct vmlab_object *obj, u64 first, u64 nr, u64 *done);

/* gigantic.c, pud.c */
#define VMLAB_GIGANTIC_FRAMES	(PUD_SIZE >> PAGE_SHIFT)
#define VMLAB_GIGANTIC_CHUNKS	(VMLAB_GIGANTIC_FRAMES >> VMLAB_CHUNK_SHIFT)

/**
 * struct vmlab_gigantic - 1 GiB of contiguous memory, set aside for RESERVE
 * @link:	in pool->gigantic
 * @chunks:	its chunks, all of them, by address
 * @frames:	theirs
 * @claimed:	somebody is about to use it, or to free it
 *
 * @claimed is under pool->lock, as the chunks are.
 */
struct vmlab_gigantic {
	struct list_head	link;
	struct vmlab_chunk	*chunks;
	struct vmlab_frame	*frames;
	bool			claimed;
};

#if VMLAB_HAVE_GIGANTIC
struct vmlab_gigantic *vmlab_gigantic_claim(struct vmlab *vm, struct vmlab_place place);
void vmlab_gigantic_unclaim(struct vmlab_gigantic *gigantic);
int vmlab_gigantic_set(struct vmlab_pool *pool, unsigned int nr);
unsigned int vmlab_gigantic_count(struct vmlab_pool *pool, unsigned int *nr_free);
void vmlab_gigantic_exit(struct vmlab_pool *pool);

struct vmlab_gigantic *vmlab_gigantic_find(struct vmlab_object *obj, u64 index,
					   unsigned int *all);
bool vmlab_pud_fits(struct vm_area_struct *vma, unsigned long addr);
bool vmlab_pud_may_map(struct vm_area_struct *vma, struct vmlab_object *obj,
		       unsigned long addr);
bool vmlab_pud_map(struct vm_fault *vmf, struct vmlab_object *obj, bool write, int *node);
#else
static inline struct vmlab_gigantic *vmlab_gigantic_claim(struct vmlab *vm,
							  struct vmlab_place place)
{
	return NULL;
}

static inline void vmlab_gigantic_unclaim(struct vmlab_gigantic *gigantic)
{
}

static inline int vmlab_gigantic_set(struct vmlab_pool *pool, unsigned int nr)
{
	return nr ? -EOPNOTSUPP : 0;
}

static inline unsigned int vmlab_gigantic_count(struct vmlab_pool *pool, unsigned int *nr_free)
{
	*nr_free = 0;
	return 0;
}

static inline void vmlab_gigantic_exit(struct vmlab_pool *pool)
{
}

static inline struct vmlab_gigantic *vmlab_gigantic_find(struct vmlab_object *obj, u64 index,
							 unsigned int *all)
{
	return NULL;
}

static inline bool vmlab_pud_fits(struct vm_area_struct *vma, unsigned long addr)
{
	return false;
}
#endif

/* retire.c */
void vmlab_retire_tables(struct vmlab_object *obj, u64 index);
void __vmlab_retired_give(struct vm_fault *vmf);
void vmlab_retire_exit(void);

/* Where page table locks are part of struct page, there never is one to give. */
static inline void vmlab_retired_give(struct vm_fault *vmf)
{
	if (ALLOC_SPLIT_PTLOCKS)
		__vmlab_retired_give(vmf);
}

/* promote.c */
int vmlab_promote_start(struct vmlab_pool *pool);
void vmlab_promote_stop(struct vmlab_pool *pool);

/* compact.c */
unsigned int vmlab_compact(struct vmlab_pool *pool, unsigned int wanted, unsigned int least);
bool vmlab_range_is_of_chunks(u64 first, u64 nr);

/* residency.c */
int vmlab_residency(struct vmlab_object *obj, u64 first, u64 nr, u32 __user *vec);
bool vmlab_range_is_hole(struct vmlab_object *obj, u64 first, u64 nr);
loff_t vmlab_seek_data(struct vmlab_object *obj, loff_t offset);
loff_t vmlab_seek_hole(struct vmlab_object *obj, loff_t offset);

/* walk.c */
int vmlab_walk_address(struct mm_struct *mm, u64 addr, bool frames,
		       struct vmlab_ioc_walk *walk);

/* pool.c */
#define VMLAB_ALLOC_ZERO	0x1	/* all bytes zero */
#define VMLAB_ALLOC_NO_OOM	0x2	/* rather fail than ask the OOM policy */
#define VMLAB_ALLOC_NO_WAIT	0x4	/* rather fail than wait */
#define VMLAB_ALLOC_NO_FORK	0x8	/* vmlab_leaf_unshare(): not while a fork may be at work */

struct vmlab_pool *vmlab_pool_create(struct vmlab *vm, int nid);
void vmlab_pool_destroy(struct vmlab_pool *pool);
unsigned int vmlab_pool_add_chunks(struct vmlab_pool *pool, unsigned int nr);
bool vmlab_pool_drain(struct vmlab_pool *pool);
void vmlab_pool_drain_cpu(struct vmlab_pool *pool, unsigned int cpu);
unsigned long vmlab_pool_free_frames(struct vmlab_pool *pool);
unsigned int vmlab_frame_alloc_bulk(struct vmlab_pool *pool, unsigned int flags,
				    struct vmlab_frame **frames, unsigned int nr);
struct vmlab_frame *vmlab_frame_alloc(struct vmlab *vm, struct vmlab_place place,
				      unsigned int flags);
void vmlab_frame_free(struct vmlab_frame *frame);
void vmlab_frame_commit(struct vmlab_frame *frame, struct vmlab_lineage *lineage,
			u64 pgoff);
void vmlab_chunk_commit(struct vmlab_chunk *chunk, struct vmlab_lineage *lineage, u64 pgoff,
			unsigned long *words);
void vmlab_frame_retire(struct vmlab_frame *frame);
struct vmlab_frame *vmlab_pool_take_one(struct vmlab_pool *pool);
void vmlab_pool_put_stock(struct vmlab_pool *pool, struct vmlab_frame *frame);
bool vmlab_pool_trim_stock(struct vmlab_pool *pool, unsigned long keep);
void vmlab_chunk_free(struct vmlab_chunk *chunk);
struct vmlab_chunk *vmlab_chunk_alloc(struct vmlab_pool *pool);
bool vmlab_machine_has_room(unsigned long nr);
void vmlab_pool_link_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk);
void vmlab_pool_unlink_locked(struct vmlab_pool *pool, struct vmlab_chunk *chunk);
void vmlab_pool_unlink_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk);
void vmlab_pool_forget_chunk(struct vmlab_pool *pool, struct vmlab_chunk *chunk);
void vmlab_frame_free_direct(struct vmlab_frame *frame);
struct vmlab_chunk *vmlab_chunk_take_whole(struct vmlab_pool *pool, unsigned long keep,
					   bool dirty, bool *zeroed);
void vmlab_chunk_put_whole(struct vmlab_chunk *chunk, bool zeroed);

static inline struct page *vmlab_frame_page(const struct vmlab_frame *frame)
{
	return pfn_to_page(frame->pfn);
}

static inline void *vmlab_frame_addr(const struct vmlab_frame *frame)
{
	return __va(PFN_PHYS(frame->pfn));
}

static inline struct vmlab_pool *vmlab_frame_pool(const struct vmlab_frame *frame)
{
	return frame->chunk->pool;
}

static inline int vmlab_frame_nid(const struct vmlab_frame *frame)
{
	return frame->chunk->pool->nid;
}

/* resize.c */
int vmlab_pool_resize(struct vmlab *vm, int nid, unsigned long mb);
unsigned int vmlab_chunk_evacuate(struct vmlab *vm, struct vmlab_chunk *chunk,
				  struct vmlab_place place);
void vmlab_frame_copy(struct vmlab *vm, struct vmlab_lineage *lineage, struct vmlab_frame *from,
		      struct vmlab_frame *to);
unsigned long vmlab_pool_mb(struct vmlab_pool *pool);

/* zero.c */
int vmlab_zero_start(struct vmlab_pool *pool);
void vmlab_zero_stop(struct vmlab_pool *pool);
void vmlab_zero_wake(struct vmlab_pool *pool);
void vmlab_zero_set_stock(struct vmlab *vm, unsigned int max);

/* thread.c */
int vmlab_thread_start(struct vmlab_pool *pool, int (*work)(void *pool), const char *name,
		       struct task_struct **task);
void vmlab_thread_stop(struct task_struct **task);

/* rmap.c */

/**
 * struct vmlab_tlb - unmaps pages of one lineage, with one flush per address space
 * @vm:		the instance
 * @lineage:	the lineage
 * @nr:		address spaces with a flush to come
 * @mms:	those: one of their VMAs, an address in it, pages unmapped so far
 *
 * Lives between vmlab_tlb_begin() and vmlab_tlb_end(), which hold i_mmap_rwsem
 * for read.
 */
#define VMLAB_TLB_MMS	16
struct vmlab_tlb {
	struct vmlab		*vm;
	struct vmlab_lineage	*lineage;
	unsigned int		nr;
	struct {
		struct vm_area_struct	*vma;
		unsigned long		addr;
		unsigned int		pages;
	} mms[VMLAB_TLB_MMS];
};

void vmlab_tlb_begin(struct vmlab_tlb *tlb, struct vmlab_lineage *lineage);
void vmlab_tlb_unmap(struct vmlab_tlb *tlb, struct vmlab_leaf *leaf,
		     const unsigned long *slots, const unsigned long *shared);
void vmlab_rmap_wrprotect(struct vmlab_object *obj, u64 first, u64 last,
			  struct mm_struct *flushed);
void vmlab_rmap_unmap_object(struct vmlab_object *obj, u64 first, u64 last);
bool vmlab_rmap_covered(struct vmlab_object *obj, u64 first, u64 last,
			struct vm_area_struct *but);
bool vmlab_rmap_find_huge(struct vmlab_object *obj, u64 index,
			  bool (*fn)(struct vm_area_struct *vma, unsigned long addr, void *arg),
			  void *arg);
void vmlab_rmap_unmap_huge(struct vmlab_object *obj, struct mm_struct *mm, u64 first, u64 last,
			   bool gigantic_only);
u64 vmlab_rmap_next_uncovered(struct vmlab_object *obj, u64 *first, u64 last,
			      struct vm_area_struct *but);
void vmlab_tlb_end(struct vmlab_tlb *tlb);
void vmlab_rmap_unmap_page(struct vmlab_lineage *lineage, struct vmlab_leaf *leaf,
			   unsigned int index);
void vmlab_rmap_young(struct vmlab_lineage *lineage, u64 index,
		      struct vmlab_frame **frames, unsigned int nr,
		      unsigned long *young, bool clear);
pmd_t *vmlab_walk_pmd(struct mm_struct *mm, unsigned long addr);

typedef void (*vmlab_table_fn)(pmd_t *pmd, void *arg);
bool vmlab_with_table(struct mm_struct *mm, pmd_t *pmd, vmlab_table_fn fn, void *arg);

static inline bool vmlab_pud_is_table(pud_t pud)
{
	/* As vmlab_pmd_is_table(). */
	return (pud_val(pud) & (_PAGE_PRESENT | _PAGE_PSE)) == _PAGE_PRESENT;
}

/* Also with PROT_NONE, where pud_present() is false. */
static inline bool vmlab_pud_is_huge(pud_t pud)
{
	return pud_leaf(pud);
}

/* An entry that points to a PTE table, as opposed to one that maps 2 MiB, or nothing. */
static inline bool vmlab_pmd_is_table(pmd_t pmd)
{
	/* pmd_present() && !pmd_leaf(), which each fault would compute masks for. */
	return (pmd_val(pmd) & (_PAGE_PRESENT | _PAGE_PSE)) == _PAGE_PRESENT;
}

static inline bool vmlab_pmd_is_huge(pmd_t pmd)
{
	return pmd_present(pmd) && pmd_leaf(pmd);
}

/* The processor may set the accessed bit meanwhile. */
static inline bool vmlab_pmd_same_table(pmd_t a, pmd_t b)
{
	return !((pmd_val(a) ^ pmd_val(b)) & ~_PAGE_ACCESSED);
}

/**
 * vmlab_rmap_fn() - called for one VMA's PTE table that covers part of a leaf
 * @vma: the VMA
 * @addr: user address of @pte
 * @pte: first entry, under its page table lock
 * @index: slot of the first entry
 * @nr: entries
 * @arg: the caller's
 */
typedef void (*vmlab_rmap_fn)(struct vm_area_struct *vma, unsigned long addr,
			      pte_t *pte, unsigned int index, unsigned int nr,
			      void *arg);

/**
 * vmlab_rmap_huge_fn() - called for one VMA's PMD that maps 2 MiB
 * @vma: the VMA
 * @addr: user address of the 2 MiB
 * @pmd: the entry, under its page table lock
 * @arg: the caller's
 */
typedef void (*vmlab_rmap_huge_fn)(struct vm_area_struct *vma, unsigned long addr,
				   pmd_t *pmd, void *arg);

/* The same for a PUD that maps 1 GiB. */
typedef void (*vmlab_rmap_gigantic_fn)(struct vm_area_struct *vma, unsigned long addr,
				       pud_t *pud, void *arg);
void vmlab_rmap_for_each_vma(struct vmlab_lineage *lineage,
			     void (*fn)(struct vm_area_struct *vma, void *arg),
			     void *arg);

/* reclaim.c */
int vmlab_reclaim_start(struct vmlab_pool *pool);
void vmlab_reclaim_stop(struct vmlab_pool *pool);
void vmlab_reclaim_wake(struct vmlab_pool *pool);
long vmlab_reclaim_pool(struct vmlab_pool *pool, unsigned int nr);
long vmlab_reclaim_lineage(struct vmlab_lineage *lineage, unsigned int nr);
void vmlab_reclaim_to_limit(struct vmlab_lineage *lineage);
void vmlab_reclaim_for_copy(struct vmlab_lineage *lineage);
bool vmlab_reclaim_failed(struct vmlab *vm, long freed, unsigned long *until);
struct vmlab_frame *vmlab_frame_try(struct vmlab_lineage *lineage, struct vmlab_place place,
				    unsigned int flags);
int vmlab_frame_get(struct vmlab_lineage *lineage, struct vmlab_place place, unsigned int flags,
		    struct vmlab_frame **frame);
long vmlab_reclaim_direct(struct vmlab *vm, struct vmlab_place place);
void vmlab_frame_make_room(struct vmlab_lineage *lineage, struct vmlab_place place);
void vmlab_frame_unget(struct vmlab_lineage *lineage, struct vmlab_frame *frame);
unsigned long vmlab_watermark(struct vmlab_pool *pool, unsigned int permille);

/* Below so many free frames nobody takes any that can do without. */
static inline unsigned long vmlab_high_watermark(struct vmlab_pool *pool)
{
	return vmlab_watermark(pool, READ_ONCE(pool->vm->watermark_high));
}

/* evict.c */

/**
 * struct vmlab_victim - a locked slot on its way out
 * @lineage:	with a reference
 * @frame:	what the slot names
 * @slot:	the slot
 * @pgoff:	the page
 * @entry:	where its contents are or will be on swap
 * @write:	it is dirty: they must be written first
 * @shared:	other leaves name the frame too; their slots are locked as well, with
 *		the EVICT bit
 */
struct vmlab_victim {
	struct vmlab_lineage	*lineage;
	struct vmlab_frame	*frame;
	struct vmlab_slot	slot;
	u64			pgoff;
	u64			entry;
	bool			write;
	bool			shared;
};

/**
 * struct vmlab_batch - one round of eviction
 * @scan:	the policy's choice
 * @io:		what is written
 * @dirty_quota: how many dirty victims are taken at most
 * @clean_quota: how many clean ones
 * @all_failed: out: there were writes, and none succeeded
 * @max:	victims that it has room for
 * @nr:		victims taken
 * @victims:	those; what @io is about comes after them
 */
struct vmlab_batch {
	struct vmlab_scan	scan;
	struct vmlab_swap_batch	io;
	unsigned int		dirty_quota;
	unsigned int		clean_quota;
	bool			all_failed;
	unsigned int		max;
	unsigned int		nr;
	struct vmlab_victim	victims[];
};

/* A large one has room for what one chunk holds, so that this leaves by one I/O. */
#define VMLAB_BATCH_LARGE	VMLAB_LEAF_SLOTS

size_t vmlab_batch_size(unsigned int max);
struct vmlab_batch *vmlab_batch_alloc(struct vmlab *vm, unsigned int wanted);
void vmlab_batch_free(struct vmlab *vm, struct vmlab_batch *batch);
bool vmlab_evict_add(struct vmlab *vm, struct vmlab_batch *batch,
		     struct vmlab_frame *frame);
bool vmlab_evict_add_slot(struct vmlab_batch *batch, struct vmlab_lineage *lineage,
			  struct vmlab_slot *slot);
unsigned int vmlab_evict(struct vmlab *vm, struct vmlab_batch *batch);

/* policy.c */
const struct vmlab_policy_ops *vmlab_policy_find(const char *name);
int vmlab_policy_switch(struct vmlab *vm, const struct vmlab_policy_ops *ops);
int vmlab_policy_show(struct vmlab *vm, char *buf, size_t size);

/* swapin.c */

/**
 * struct vmlab_swapin - pages on their way in: one asked for, others read ahead
 * @io:		the I/O; io.io[0] is the page asked for
 * @pages:	what @io is about
 * @slots:	the locked slots, in the same order
 */
struct vmlab_swapin {
	struct vmlab_swap_batch	io;
	struct vmlab_swap_io	pages[VMLAB_BATCH];
	struct vmlab_slot	slots[VMLAB_BATCH];
};

struct vmlab_swapin *vmlab_swapin_start(struct vmlab_object *obj,
					struct vmlab_slot *slot,
					struct vmlab_frame **spare,
					unsigned int readahead);
int vmlab_swapin_finish(struct vmlab_object *obj, struct vmlab_swapin *in,
			struct vmlab_slot *slot);
unsigned int vmlab_swapin_window(struct vmlab_object *obj, struct vmlab_slot *slot,
				 struct vm_area_struct *vma);
void vmlab_swapin_touch(struct vmlab_slot *slot);

/* oom.c */
int vmlab_oom_init(struct vmlab *vm);
void vmlab_oom_exit(struct vmlab *vm);
unsigned long vmlab_oom_ends(struct vmlab *vm);
int vmlab_oom(struct vmlab *vm, struct vmlab_place place, unsigned long ends);

/* mempolicy.c */
u64 vmlab_mpol_from(const struct mempolicy *pol);
u64 vmlab_mpol_find(struct vmlab_object *obj, u64 pgoff);
bool vmlab_mpol_is_one(struct vmlab_object *obj, u64 index, u64 nr);
int vmlab_mpol_check(struct vmlab *vm, u64 mpol);
void vmlab_mpol_init(struct vmlab_object *obj);
void vmlab_mpol_exit(struct vmlab_object *obj);
int vmlab_mpol_set(struct vmlab_object *obj, u64 first, u64 nr, u64 mpol);
u64 vmlab_mpol_get(struct vmlab_object *obj, u64 pgoff, u64 *end);
int vmlab_mpol_copy(struct vmlab_object *to, struct vmlab_object *from, u64 first, u64 nr);
int vmlab_vma_set_policy(struct vm_area_struct *vma, struct mempolicy *pol);

/* Has any page of the object a policy of its own? */
static inline bool vmlab_mpol_any(const struct vmlab_object *obj)
{
	/* Compared, never followed: a policy that comes just now goes for the next page. */
	return unlikely(!data_race(mtree_empty(&obj->mpols)));
}

/**
 * vmlab_mpol() - the memory policy for a page
 * @obj: its object
 * @pgoff: the page
 *
 * Return: the policy, 0: none.
 */
static inline u64 vmlab_mpol(struct vmlab_object *obj, u64 pgoff)
{
	if (likely(!vmlab_mpol_any(obj) && !vmlab_task_policy()))
		return 0;
	return vmlab_mpol_find(obj, pgoff);
}

/* migrate.c */
int vmlab_range_migrate(struct vmlab_object *obj, u64 first, u64 nr, unsigned long nodes,
			u64 *moved);

/* numa.c */
int vmlab_numa_init_fallback(struct vmlab_pool *pool);
void vmlab_numa_pool_resized(struct vmlab_pool *pool);
struct vmlab_place vmlab_place_find(struct vmlab *vm, u64 mpol, u64 index);
struct vmlab_place vmlab_place_among(struct vmlab *vm, unsigned long nodes, u64 index);
void vmlab_numa_count_miss(struct vmlab_pool *wanted, struct vmlab_pool *got, unsigned int nr);
struct vmlab_pool *vmlab_numa_nearest(struct vmlab *vm, int nid);

/**
 * vmlab_place_at() - where a page should be by a policy
 * @vm: the instance
 * @mpol: the policy, 0: none
 * @index: what is counted when pages are spread: pages, or huge pages
 */
static inline struct vmlab_place vmlab_place_at(struct vmlab *vm, u64 mpol, u64 index)
{
	return likely(!mpol) ? vmlab_place_near(numa_mem_id()) : vmlab_place_find(vm, mpol, index);
}

/* Where a page should be that is wanted by the running task. */
static inline struct vmlab_place vmlab_place(struct vmlab_object *obj, u64 pgoff)
{
	return vmlab_place_at(obj->vm, vmlab_mpol(obj, pgoff), pgoff);
}

/* And 2 MiB, for which one policy goes: see vmlab_mpol_is_one(). */
static inline struct vmlab_place vmlab_place_huge(struct vmlab_object *obj, u64 index)
{
	return vmlab_place_at(obj->vm, vmlab_mpol(obj, index << VMLAB_LEAF_SHIFT), index);
}

/* The pool of a node, or the nearest to it; NULL when the instance has none at all. */
static inline struct vmlab_pool *vmlab_place_pool(struct vmlab *vm, struct vmlab_place place)
{
	if (unlikely(place.nid < 0))
		return NULL;
	return likely(vm->pools[place.nid]) ? vm->pools[place.nid] :
	       vmlab_numa_nearest(vm, place.nid);
}

/* Is the node that of the CPU that asked? */
static inline void vmlab_numa_count_cpu(struct vmlab_pool *pool, unsigned int nr)
{
	if (likely(pool->nid == numa_node_id()))
		this_cpu_add(pool->node_stats->count[VMLAB_local_node], nr);
	else
		this_cpu_add(pool->node_stats->count[VMLAB_other_node], nr);
}

/* Counts a fault that found or got its page on a node. */
static inline void vmlab_numa_count_fault(struct vmlab_pool *pool)
{
	if (likely(pool->nid == numa_node_id()))
		this_cpu_inc(pool->node_stats->count[VMLAB_fault_local]);
	else
		this_cpu_inc(pool->node_stats->count[VMLAB_fault_remote]);
}

/* Counts frames that came from the node that was wanted; see vmlab_numa_count_miss(). */
static inline void vmlab_numa_count_hit(struct vmlab_pool *pool, unsigned int nr)
{
	this_cpu_add(pool->node_stats->count[VMLAB_numa_hit], nr);
	vmlab_numa_count_cpu(pool, nr);
}

/*
 * Counts frames of one pool where those of another were wanted, if it had any: where there is
 * no memory nobody can have wanted it.
 */
static inline void vmlab_numa_count(struct vmlab_pool *wanted, struct vmlab_pool *got,
				    unsigned int nr)
{
	if (likely(wanted == got || !vmlab_pool_nr_frames(wanted)))
		vmlab_numa_count_hit(got, nr);
	else
		vmlab_numa_count_miss(wanted, got, nr);
}

/* The same for frames whose node was chosen by a policy, perhaps. */
static inline void vmlab_numa_count_placed(struct vmlab_pool *pool, struct vmlab_place place,
					   unsigned int nr)
{
	vmlab_numa_count_hit(pool, nr);
	if (unlikely(place.spread))
		this_cpu_add(pool->node_stats->count[VMLAB_interleave_hit], nr);
}

/* debugfs.c; what its files share is in debugfs.h */
void vmlab_debugfs_create(struct vmlab *vm);
void vmlab_debugfs_add_pool(struct vmlab_pool *pool);
void vmlab_debugfs_remove(struct vmlab *vm);
void vmlab_debugfs_add_object(struct vmlab_object *obj);
void vmlab_debugfs_remove_object(struct vmlab_object *obj);

/* debugfs_walk.c */
extern const struct file_operations vmlab_walk_fops;

/* verify.c */
struct seq_file;
int vmlab_verify(struct vmlab *vm, struct seq_file *m);
int vmlab_break(struct vmlab *vm, const char *law);
int vmlab_break_show(struct vmlab *vm, struct seq_file *m);

#endif /* VMLAB_H */
