/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Injected faults: the classes of what can be made to fail, and the one question that
 * the places ask which can fail.
 *
 * A class is a kind of allocation with one ordinary error path; `io` is the end of an
 * I/O.  The question must stay free while nothing is injected: a static key guards it,
 * which is the only state that is not an instance's own.
 */
#ifndef VMLAB_INJECT_H
#define VMLAB_INJECT_H

#include <linux/atomic.h>
#include <linux/jump_label.h>
#include <linux/mutex.h>
#include <linux/types.h>

/*	name		what fails */
#define VMLAB_INJECT_CLASSES(X) \
	X(frame,	"taking frames of one node's pool") \
	X(huge,		"taking a whole chunk of one node's pool") \
	X(leaf,		"the descriptor of a leaf") \
	X(table,	"building the hardware page tables in a fault") \
	X(xarray,	"an entry in a table of leaves, objects or lineages") \
	X(object,	"an object, its lineage or its inode") \
	X(region,	"what mmap() keeps for a mapping") \
	X(batch,	"memory for a round of eviction: the reserve is used, or waited for") \
	X(swapin,	"memory for a swap-in: likewise") \
	X(bio,		"the bio of a run of pages: they go one by one") \
	X(io,		"the I/O of a bio, although it was done") \
	X(swapon,	"the books of a swap device, in swapon and swapoff") \
	X(chunk,	"memory for a pool that grows, and pages of 1 GiB") \
	X(policy,	"the state of a replacement policy, when it changes") \
	X(oom,		"the table that the OOM policy chooses from") \
	X(call,		"a buffer of read(), write() or RESIDENCY") \
	X(verify,	"memory that verify counts in")

enum vmlab_inject_class {
#define X(name, text) VMLAB_INJECT_##name,
	VMLAB_INJECT_CLASSES(X)
#undef X
	VMLAB_NR_INJECT
};

enum vmlab_inject_mode {
	VMLAB_INJECT_OFF,
	VMLAB_INJECT_NTH,
	VMLAB_INJECT_RANDOM,
};

struct vmlab;

/**
 * struct vmlab_inject_knob - what is injected into one class
 * @vm:		the instance
 * @mode:	changes last when it goes on and first when it goes off
 * @nth:	for NTH: the first call that fails, counted from 1
 * @times:	for NTH: how many calls in a row fail
 * @permille:	for RANDOM: how many of 1000 calls fail
 * @seed:	for RANDOM: decides which
 * @nr_seen:	calls since it went on
 * @nr_injected: how many of them failed
 */
struct vmlab_inject_knob {
	struct vmlab		*vm;
	enum vmlab_inject_mode	mode;
	u64			nth;
	u64			times;
	unsigned int		permille;
	u64			seed;
	atomic64_t		nr_seen;
	atomic64_t		nr_injected;
};

/**
 * struct vmlab_inject - what is injected into an instance
 * @lock:	one change at a time
 * @knobs:	by class
 */
struct vmlab_inject {
	struct mutex		lock;
	struct vmlab_inject_knob knobs[VMLAB_NR_INJECT];
};

/* inject.c */
DECLARE_STATIC_KEY_FALSE(vmlab_inject_key);

struct dentry;

void vmlab_inject_init(struct vmlab *vm);
void vmlab_inject_exit(struct vmlab *vm);
void vmlab_inject_debugfs(struct vmlab *vm, struct dentry *parent);
bool vmlab_inject_hit(struct vmlab *vm, enum vmlab_inject_class class);

/**
 * vmlab_should_fail() - must this call fail, because somebody asked for that?
 * @vm: the instance
 * @class: what the caller is about to allocate or do
 *
 * To be asked in place of the allocation, so that all that follows is the ordinary
 * error path.
 *
 * Context: any.
 */
static inline bool vmlab_should_fail(struct vmlab *vm, enum vmlab_inject_class class)
{
	return static_branch_unlikely(&vmlab_inject_key) && vmlab_inject_hit(vm, class);
}

#endif /* VMLAB_INJECT_H */
