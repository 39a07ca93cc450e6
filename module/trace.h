/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints, system `vmlab`: what happens, one event per thing that the
 * counters of stats.h also count where both exist.
 *
 * Included by whoever calls one; trace.c alone makes them.  An event must
 * never be emitted with a lock order of its own in mind: any context will do.
 *
 * Fields keep their names and meaning: scripts in tools/bpf read them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vmlab

#if !defined(VMLAB_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VMLAB_TRACE_H

#include <linux/tracepoint.h>

#include "fault_kind.h"
#include "vmlab.h"

/* User space is told the numbers behind these names. */
TRACE_DEFINE_ENUM(VMLAB_FAULT_NONE);
TRACE_DEFINE_ENUM(VMLAB_FAULT_ZERO);
TRACE_DEFINE_ENUM(VMLAB_FAULT_HOLE);
TRACE_DEFINE_ENUM(VMLAB_FAULT_MINOR);
TRACE_DEFINE_ENUM(VMLAB_FAULT_MKWRITE);
TRACE_DEFINE_ENUM(VMLAB_FAULT_COW);
TRACE_DEFINE_ENUM(VMLAB_FAULT_REUSE);
TRACE_DEFINE_ENUM(VMLAB_FAULT_SWAP);
TRACE_DEFINE_ENUM(VMLAB_FAULT_RETRY);
TRACE_DEFINE_ENUM(VMLAB_FAULT_SIGBUS);
TRACE_DEFINE_ENUM(VMLAB_FAULT_HUGE);
TRACE_DEFINE_ENUM(VMLAB_FAULT_GIGANTIC);
TRACE_DEFINE_ENUM(VMLAB_OOM_KILL);
TRACE_DEFINE_ENUM(VMLAB_OOM_SIGBUS);

/* A fault of a vmlab mapping begins. */
TRACE_EVENT(fault_enter,

	TP_PROTO(u64 object, unsigned long address, u64 pgoff, bool write),

	TP_ARGS(object, address, pgoff, write),

	TP_STRUCT__entry(
		__field(u64,		object)
		__field(unsigned long,	address)
		__field(u64,		pgoff)
		__field(bool,		write)
	),

	TP_fast_assign(
		__entry->object = object;
		__entry->address = address;
		__entry->pgoff = pgoff;
		__entry->write = write;
	),

	TP_printk("object=%llu address=0x%lx pgoff=%llu write=%d",
		  __entry->object, __entry->address, __entry->pgoff,
		  __entry->write)
);

/*
 * It ends, in the same task: what it was, where its frame is (node -1: there is
 * none) and the VM_FAULT_* bits that the kernel was given.  Object 0: a fork had no
 * memory for one.
 */
TRACE_EVENT(fault_exit,

	TP_PROTO(u64 object, unsigned long address, u64 pgoff, int kind,
		 int node, unsigned int result),

	TP_ARGS(object, address, pgoff, kind, node, result),

	TP_STRUCT__entry(
		__field(u64,		object)
		__field(unsigned long,	address)
		__field(u64,		pgoff)
		__field(int,		kind)
		__field(int,		node)
		__field(unsigned int,	result)
	),

	TP_fast_assign(
		__entry->object = object;
		__entry->address = address;
		__entry->pgoff = pgoff;
		__entry->kind = kind;
		__entry->node = node;
		__entry->result = result;
	),

	TP_printk("object=%llu address=0x%lx pgoff=%llu kind=%s node=%d result=0x%x",
		  __entry->object, __entry->address, __entry->pgoff,
		  __print_symbolic(__entry->kind,
				   { VMLAB_FAULT_NONE, "none" },
				   { VMLAB_FAULT_ZERO, "zero" },
				   { VMLAB_FAULT_HOLE, "hole" },
				   { VMLAB_FAULT_MINOR, "minor" },
				   { VMLAB_FAULT_MKWRITE, "mkwrite" },
				   { VMLAB_FAULT_COW, "cow" },
				   { VMLAB_FAULT_REUSE, "reuse" },
				   { VMLAB_FAULT_SWAP, "swap" },
				   { VMLAB_FAULT_RETRY, "retry" },
				   { VMLAB_FAULT_SIGBUS, "sigbus" },
				   { VMLAB_FAULT_HUGE, "huge" },
				   { VMLAB_FAULT_GIGANTIC, "gigantic" }),
		  __entry->node, __entry->result)
);

/* A page lost its frame; written: to swap, now. */
TRACE_EVENT(evict,

	TP_PROTO(u64 lineage, u64 pgoff, int node, unsigned long pfn,
		 bool written),

	TP_ARGS(lineage, pgoff, node, pfn, written),

	TP_STRUCT__entry(
		__field(u64,		lineage)
		__field(u64,		pgoff)
		__field(int,		node)
		__field(unsigned long,	pfn)
		__field(bool,		written)
	),

	TP_fast_assign(
		__entry->lineage = lineage;
		__entry->pgoff = pgoff;
		__entry->node = node;
		__entry->pfn = pfn;
		__entry->written = written;
	),

	TP_printk("lineage=%llu pgoff=%llu node=%d pfn=0x%lx written=%d",
		  __entry->lineage, __entry->pgoff, __entry->node,
		  __entry->pfn, __entry->written)
);

/* The hand of CLOCK stops: frames it looked at, spared, and proposed. */
TRACE_EVENT(clock_scan,

	TP_PROTO(int node, unsigned int scanned, unsigned int second_chances,
		 unsigned int victims),

	TP_ARGS(node, scanned, second_chances, victims),

	TP_STRUCT__entry(
		__field(int,		node)
		__field(unsigned int,	scanned)
		__field(unsigned int,	second_chances)
		__field(unsigned int,	victims)
	),

	TP_fast_assign(
		__entry->node = node;
		__entry->scanned = scanned;
		__entry->second_chances = second_chances;
		__entry->victims = victims;
	),

	TP_printk("node=%d scanned=%u second_chances=%u victims=%u",
		  __entry->node, __entry->scanned, __entry->second_chances,
		  __entry->victims)
);

/* A page was written to swap, or could not be. */
TRACE_EVENT(swap_out,

	TP_PROTO(u64 swap_entry, u64 pgoff, int error),

	TP_ARGS(swap_entry, pgoff, error),

	TP_STRUCT__entry(
		__field(u64,	entry)
		__field(u64,	pgoff)
		__field(int,	error)
	),

	TP_fast_assign(
		__entry->entry = swap_entry;
		__entry->pgoff = pgoff;
		__entry->error = error;
	),

	TP_printk("device=%llu offset=%llu pgoff=%llu error=%d",
		  __entry->entry >> VMLAB_SWAP_DEV_SHIFT,
		  __entry->entry & ((1ULL << VMLAB_SWAP_DEV_SHIFT) - 1),
		  __entry->pgoff, __entry->error)
);

/* A page was read from swap, or could not be. */
TRACE_EVENT(swap_in,

	TP_PROTO(u64 swap_entry, u64 pgoff, bool readahead, int error),

	TP_ARGS(swap_entry, pgoff, readahead, error),

	TP_STRUCT__entry(
		__field(u64,	entry)
		__field(u64,	pgoff)
		__field(bool,	readahead)
		__field(int,	error)
	),

	TP_fast_assign(
		__entry->entry = swap_entry;
		__entry->pgoff = pgoff;
		__entry->readahead = readahead;
		__entry->error = error;
	),

	TP_printk("device=%llu offset=%llu pgoff=%llu readahead=%d error=%d",
		  __entry->entry >> VMLAB_SWAP_DEV_SHIFT,
		  __entry->entry & ((1ULL << VMLAB_SWAP_DEV_SHIFT) - 1),
		  __entry->pgoff, __entry->readahead, __entry->error)
);

/* One address space was flushed after pages of it were unmapped. */
TRACE_EVENT(unmap_flush,

	TP_PROTO(u64 lineage, unsigned int pages, unsigned int cpus),

	TP_ARGS(lineage, pages, cpus),

	TP_STRUCT__entry(
		__field(u64,		lineage)
		__field(unsigned int,	pages)
		__field(unsigned int,	cpus)
	),

	TP_fast_assign(
		__entry->lineage = lineage;
		__entry->pages = pages;
		__entry->cpus = cpus;
	),

	TP_printk("lineage=%llu pages=%u cpus=%u",
		  __entry->lineage, __entry->pages, __entry->cpus)
);

/*
 * Nothing could be reclaimed.  Policy kill: the victim and its points in
 * frames; sigbus, or nobody to kill: the asker, and 0.
 */
TRACE_EVENT(oom,

	TP_PROTO(int node, int pid, long score, int policy),

	TP_ARGS(node, pid, score, policy),

	TP_STRUCT__entry(
		__field(int,	node)
		__field(int,	pid)
		__field(long,	score)
		__field(int,	policy)
	),

	TP_fast_assign(
		__entry->node = node;
		__entry->pid = pid;
		__entry->score = score;
		__entry->policy = policy;
	),

	TP_printk("node=%d pid=%d score=%ld policy=%s",
		  __entry->node, __entry->pid, __entry->score,
		  __print_symbolic(__entry->policy,
				   { VMLAB_OOM_KILL, "kill" },
				   { VMLAB_OOM_SIGBUS, "sigbus" }))
);

/* A shared page was copied for one of its owners. */
TRACE_EVENT(cow,

	TP_PROTO(u64 object, u64 pgoff, unsigned long from, unsigned long to),

	TP_ARGS(object, pgoff, from, to),

	TP_STRUCT__entry(
		__field(u64,		object)
		__field(u64,		pgoff)
		__field(unsigned long,	from)
		__field(unsigned long,	to)
	),

	TP_fast_assign(
		__entry->object = object;
		__entry->pgoff = pgoff;
		__entry->from = from;
		__entry->to = to;
	),

	TP_printk("object=%llu pgoff=%llu from=0x%lx to=0x%lx",
		  __entry->object, __entry->pgoff, __entry->from, __entry->to)
);

/* An object, or a range of it, was copied: how many leaves both own now. */
TRACE_EVENT(clone,

	TP_PROTO(u64 from, u64 to, unsigned long leaves, int error),

	TP_ARGS(from, to, leaves, error),

	TP_STRUCT__entry(
		__field(u64,		from)
		__field(u64,		to)
		__field(unsigned long,	leaves)
		__field(int,		error)
	),

	TP_fast_assign(
		__entry->from = from;
		__entry->to = to;
		__entry->leaves = leaves;
		__entry->error = error;
	),

	TP_printk("from=%llu to=%llu leaves=%lu error=%d",
		  __entry->from, __entry->to, __entry->leaves, __entry->error)
);

/* A shared leaf was copied for one of its owners, with so many resident pages. */
TRACE_EVENT(unshare,

	TP_PROTO(u64 object, u64 index, unsigned int present),

	TP_ARGS(object, index, present),

	TP_STRUCT__entry(
		__field(u64,		object)
		__field(u64,		index)
		__field(unsigned int,	present)
	),

	TP_fast_assign(
		__entry->object = object;
		__entry->index = index;
		__entry->present = present;
	),

	TP_printk("object=%llu index=%llu present=%u",
		  __entry->object, __entry->index, __entry->present)
);

/* Pages of 4 KiB became 2 MiB in one chunk: on which node, and how many were copied. */
TRACE_EVENT(promote,

	TP_PROTO(u64 lineage, u64 index, int node, unsigned int copied),

	TP_ARGS(lineage, index, node, copied),

	TP_STRUCT__entry(
		__field(u64,		lineage)
		__field(u64,		index)
		__field(int,		node)
		__field(unsigned int,	copied)
	),

	TP_fast_assign(
		__entry->lineage = lineage;
		__entry->index = index;
		__entry->node = node;
		__entry->copied = copied;
	),

	TP_printk("lineage=%llu index=%llu node=%d copied=%u", __entry->lineage,
		  __entry->index, __entry->node, __entry->copied)
);

/* 2 MiB in one chunk became pages of 4 KiB. */
TRACE_EVENT(split,

	TP_PROTO(u64 lineage, u64 index),

	TP_ARGS(lineage, index),

	TP_STRUCT__entry(
		__field(u64,	lineage)
		__field(u64,	index)
	),

	TP_fast_assign(
		__entry->lineage = lineage;
		__entry->index = index;
	),

	TP_printk("lineage=%llu index=%llu", __entry->lineage, __entry->index)
);

/* A frame came from node @got, where node @wanted was asked for. */
TRACE_EVENT(numa,

	TP_PROTO(int wanted, int got),

	TP_ARGS(wanted, got),

	TP_STRUCT__entry(
		__field(int,	wanted)
		__field(int,	got)
	),

	TP_fast_assign(
		__entry->wanted = wanted;
		__entry->got = got;
	),

	TP_printk("wanted=%d got=%d", __entry->wanted, __entry->got)
);

#endif /* VMLAB_TRACE_H */

/* Kbuild puts the directory of this file on the include path. */
#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
