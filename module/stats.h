/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The counters: one list of names, from which the enumeration, the table that
 * debugfs prints and the documentation come.
 *
 * Counters count events, unless their name ends in _pages or _ns.  They only
 * grow.  A counter is added where the event happens, once.
 */
#ifndef VMLAB_STATS_H
#define VMLAB_STATS_H

#include <linux/types.h>

/*	name			what one count means */
#define VMLAB_STATS(X) \
	X(fault_zero,		"a store to a hole got a zeroed frame") \
	X(fault_hole,		"a load from a hole mapped the zero page") \
	X(fault_minor,		"a fault found its page resident") \
	X(fault_mkwrite,	"a read-only PTE of a resident page was made writable") \
	X(fault_cow_copy,	"a store to a shared page got a copy of it") \
	X(fault_cow_reuse,	"a store to a page once shared found it its own") \
	X(fault_around,		"a resident neighbour was mapped along") \
	X(fault_ahead,		"a hole ahead of sequential stores got a frame along") \
	X(fault_huge,		"a fault mapped 2 MiB at once") \
	X(fault_gigantic,	"a fault mapped 1 GiB at once") \
	X(fault_swap,		"a fault had to read swap") \
	X(fault_retry,		"a fault dropped its lock to wait") \
	X(fault_sigbus,		"a fault ended in SIGBUS") \
	X(slot_wait,		"somebody slept until a slot was unlocked") \
	X(clone,		"an object was copied, by fork, mmap or snapshot") \
	X(clone_leaf_pages,	"leaves that those copies share") \
	X(snapshot,		"a copy was asked for by ioctl") \
	X(fork_broken,		"a forked mapping had no memory for its copy") \
	X(unshare,		"a shared leaf was copied for one of its owners") \
	X(cow_copy,		"a shared page was copied, for a fault or a call") \
	X(leaf_alloc,		"a leaf was made") \
	X(leaf_free,		"a leaf was freed") \
	X(zero_hit,		"a zeroed frame came from the stock") \
	X(zero_miss,		"a frame was zeroed when it was needed") \
	X(zero_filled_pages,	"pages zeroed ahead for the stock") \
	X(alloc_fail,		"an allocation of the module's own failed") \
	X(injected,		"a call failed because inject/ asked for that") \
	X(reclaim_wake,		"a reclaim thread began to work") \
	X(reclaim_direct,	"an allocation reclaimed by itself") \
	X(reclaim_limit,	"a lineage at its limit evicted its own pages") \
	X(evict,		"a page lost its frame") \
	X(evict_busy,		"a victim was busy and stayed") \
	X(evict_no_swap,	"a dirty victim stayed for want of a swap slot") \
	X(clock_scanned,	"the hand looked at a resident frame") \
	X(clock_second_chance,	"the hand found a frame accessed and left it") \
	X(clock_laps,		"the hand came round") \
	X(swap_out,		"a page was written to swap") \
	X(swap_out_bio,		"a bio was written to swap") \
	X(swap_in,		"a page was read from swap") \
	X(swap_in_bio,		"a bio was read from swap") \
	X(swap_readahead,	"a page was read ahead of a fault") \
	X(swap_readahead_hit,	"a page read ahead was used") \
	X(swap_clean_drop,	"a clean page was dropped without a write") \
	X(swap_read_error,	"a page could not be read from swap") \
	X(swap_write_error,	"a page could not be written to swap") \
	X(swap_join,		"a page was found resident under another owner's name") \
	X(swap_checksum_error,	"a page read from swap was not what was written") \
	X(unmap_flush,		"an address space was flushed after unmapping") \
	X(unmap_flush_pages,	"pages unmapped before those flushes") \
	X(unmap_flush_cpus,	"CPUs that those flushes had to reach") \
	X(discard_pages,	"pages discarded") \
	X(populate_pages,	"pages that POPULATE or PIN made resident or found so") \
	X(pageout_pages,	"pages evicted by PAGEOUT") \
	X(migrate,		"a page moved to another frame") \
	X(migrate_busy,		"a page that MIGRATE was to move was in use and stayed") \
	X(thp_fault_alloc,	"a store to a hole got a chunk of 2 MiB") \
	X(thp_fault_fallback,	"a store that might have had one got 4 KiB, for one of these:") \
	X(thp_fallback_place,	"the mapping has no room for 2 MiB there") \
	X(thp_fallback_policy,	"a memory policy goes for a part of the 2 MiB only") \
	X(thp_fallback_used,	"some of the 2 MiB was in use by 4 KiB already") \
	X(thp_fallback_chunk,	"no chunk was free") \
	X(thp_fallback_limit,	"the lineage's limit") \
	X(thp_fallback_memory,	"the machine had no memory for its books") \
	X(thp_collapse_alloc,	"pages of 4 KiB became 2 MiB in one chunk") \
	X(thp_collapse_fail,	"they should have, but memory was wanting, or they were in use") \
	X(thp_retire_table,	"an empty PTE table made room for a PMD") \
	X(thp_cow_alloc,	"a store to a shared huge page got a copy of all of it") \
	X(thp_reserve,		"2 MiB were reserved") \
	X(thp_split_pud,	"1 GiB mapped by one entry was unmapped, by vmlab") \
	X(promote_scan,		"a thread looked for leaves to make huge pages of") \
	X(promote_scan_leaves,	"leaves that it looked at") \
	X(compact_chunk,	"a chunk was emptied to be one piece of free memory") \
	X(compact_migrate,	"pages that were moved for that") \
	X(thp_split_page,	"2 MiB in one chunk became pages of 4 KiB") \
	X(thp_zeroed_chunks,	"chunks zeroed ahead") \
	X(limit_hit,		"an allocation met its lineage's limit") \
	X(oom_kill,		"the OOM policy killed a task") \
	X(oom_sigbus,		"the pool was exhausted and the asker got an error")

enum vmlab_stat {
#define X(name, text) VMLAB_##name,
	VMLAB_STATS(X)
#undef X
	VMLAB_NR_STATS
};

enum vmlab_node_stat {
	VMLAB_numa_hit,
	VMLAB_numa_miss,
	VMLAB_numa_foreign,
	VMLAB_interleave_hit,
	VMLAB_local_node,
	VMLAB_other_node,
	VMLAB_fault_local,
	VMLAB_fault_remote,
	VMLAB_migrate_in,
	VMLAB_migrate_out,
	VMLAB_NR_NODE_STATS
};

/**
 * struct vmlab_stats - one CPU's share of the counters
 * @count:	by enum vmlab_stat
 */
struct vmlab_stats {
	u64 count[VMLAB_NR_STATS];
};

/**
 * struct vmlab_node_stats - one CPU's share of a node's counters
 * @count:	by enum vmlab_node_stat
 */
struct vmlab_node_stats {
	u64 count[VMLAB_NR_NODE_STATS];
};

struct vmlab;
struct vmlab_pool;

/* stats.c */
extern const char * const vmlab_stat_names[VMLAB_NR_STATS];
u64 vmlab_stat_sum(struct vmlab *vm, enum vmlab_stat stat);
extern const char * const vmlab_node_stat_names[VMLAB_NR_NODE_STATS];
u64 vmlab_node_stat_sum(struct vmlab_pool *pool, enum vmlab_node_stat stat);

/* Counts @nr events; any context. */
#define vmlab_count(vm, name, nr) \
	this_cpu_add((vm)->stats->count[VMLAB_##name], (nr))

#endif /* VMLAB_STATS_H */
