// SPDX-License-Identifier: GPL-2.0
/*
 * An object's own page table: leaves of 512 slots, and the slots' locks.
 *
 * Owns struct vmlab_leaf, the tables that find leaves, and every change of a
 * slot word.  It never looks into a frame and never touches a hardware page
 * table; who changes a slot has unmapped what it named.
 */
#include <linux/hash.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vmlab.h"

/*
 * In place of a leaf: there is none, but PTEs may map the zero page somewhere
 * in this 2 MiB.  The leaf that comes here one day starts with ZERO in every
 * slot.
 */
#define VMLAB_LEAF_ZERO_MARK	xa_mk_value(1)
#define VMLAB_MARKS_AT_ONCE	1024

static struct kmem_cache *vmlab_leaf_cache;

/**
 * vmlab_leaf_init() - what leaf.c needs once for the module
 *
 * Return: 0 or -ENOMEM.
 */
int vmlab_leaf_init(void)
{
	vmlab_leaf_cache = KMEM_CACHE(vmlab_leaf, SLAB_ACCOUNT | SLAB_HWCACHE_ALIGN);
	return vmlab_leaf_cache ? 0 : -ENOMEM;
}

/**
 * vmlab_leaf_exit() - undo vmlab_leaf_init(), after the last leaf is gone
 */
void vmlab_leaf_exit(void)
{
	rcu_barrier();
	kmem_cache_destroy(vmlab_leaf_cache);
}

static void vmlab_leaf_free_rcu(struct rcu_head *rcu)
{
	kmem_cache_free(vmlab_leaf_cache, container_of(rcu, struct vmlab_leaf, rcu));
}

static unsigned int vmlab_slot_index(u64 pgoff)
{
	return pgoff & (VMLAB_LEAF_SLOTS - 1);
}

/**
 * vmlab_slot_pgoff() - the page that a slot stands for
 * @slot: a locked slot
 *
 * Return: index of the page within its object.
 */
u64 vmlab_slot_pgoff(const struct vmlab_slot *slot)
{
	return (slot->leaf->index << VMLAB_LEAF_SHIFT) + slot->index;
}

/**
 * vmlab_leaf_lookup() - find the leaf of a page
 * @obj: the object
 * @pgoff: the page's index
 *
 * Context: rcu_read_lock() held.  Check leaf->dead under leaf->lock.
 * Return: the leaf, or NULL.
 */
struct vmlab_leaf *vmlab_leaf_lookup(struct vmlab_object *obj, u64 pgoff)
{
	XA_STATE(xas, &obj->leaves, pgoff >> VMLAB_LEAF_SHIFT);
	void *entry;

	/* As xa_load(), which each fault would pay for taking RCU once more. */
	do {
		entry = xas_load(&xas);
	} while (xas_retry(&xas, entry));
	return xa_is_value(entry) || xa_is_zero(entry) ? NULL : entry;
}

/**
 * vmlab_leaf_next() - find the next leaf
 * @obj: the object
 * @index: in: where to begin; out: the leaf's index
 * @last: where to end
 *
 * Context: rcu_read_lock() held, once and over nothing that was looked up before: it is
 * let go in between.  May sleep.  Check leaf->dead under leaf->lock.
 * Return: the leaf, or NULL.
 */
struct vmlab_leaf *vmlab_leaf_next(struct vmlab_object *obj, u64 *index, u64 last)
{
	unsigned long i = *index;
	unsigned int marks = 0;
	void *entry;

	for (entry = xa_find(&obj->leaves, &i, last, XA_PRESENT); entry;
	     entry = xa_find_after(&obj->leaves, &i, last, XA_PRESENT)) {
		if (!xa_is_value(entry)) {
			*index = i;
			return entry;
		}
		/* A program that looked everywhere leaves millions of marks. */
		if (++marks % VMLAB_MARKS_AT_ONCE == 0) {
			rcu_read_unlock();
			cond_resched();
			rcu_read_lock();
		}
	}
	return NULL;
}

/**
 * vmlab_leaf_mark_zero() - say that a PTE is going to map the zero page
 * @obj: the object
 * @pgoff: the page's index
 *
 * Context: may sleep.
 * Return: 1 when there is no leaf and the mark is set, 0 when there is a leaf,
 * whose slot must be used instead, or -ENOMEM.
 */
int vmlab_leaf_mark_zero(struct vmlab_object *obj, u64 pgoff)
{
	unsigned long index = pgoff >> VMLAB_LEAF_SHIFT;
	void *entry = xa_load(&obj->leaves, index);

	if (!entry && vmlab_should_fail(obj->vm, VMLAB_INJECT_xarray))
		return -ENOMEM;
	if (!entry)
		entry = xa_cmpxchg(&obj->leaves, index, NULL, VMLAB_LEAF_ZERO_MARK,
				   GFP_KERNEL_ACCOUNT);
	/* An entry that was only reserved (by a leaf on its way) looks like success. */
	if (!entry)
		entry = xa_cmpxchg(&obj->leaves, index, XA_ZERO_ENTRY, VMLAB_LEAF_ZERO_MARK,
				   GFP_KERNEL_ACCOUNT);
	if (xa_is_err(entry))
		return xa_err(entry);
	return !entry || xa_is_value(entry);
}

/**
 * vmlab_leaf_is_zero_marked() - is there no leaf, but a mark
 * @obj: the object
 * @pgoff: the page's index
 *
 * Context: any.
 */
bool vmlab_leaf_is_zero_marked(struct vmlab_object *obj, u64 pgoff)
{
	return xa_is_value(xa_load(&obj->leaves, pgoff >> VMLAB_LEAF_SHIFT));
}

/*
 * Puts a new leaf into both tables, or neither, without letting the locks go in between:
 * -EAGAIN when one of them has no memory for the entry.  Nothing can be taken back once
 * others have seen the leaf.
 */
static int vmlab_leaf_try_publish(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	struct xarray *ranges = &obj->lineage->leaves;
	int err = -EEXIST;
	void *entry;
	unsigned int i;

	xa_lock(&obj->leaves);
	xa_lock(ranges);
	entry = xa_load(&obj->leaves, leaf->index);
	if (entry && !xa_is_value(entry))
		goto unlock;
	for (i = 0; entry && i < VMLAB_LEAF_SLOTS; i++)
		leaf->words[i] = VMLAB_SLOT_ZERO;
	/* Reserve, as xa_reserve() does: the store below cannot fail then. */
	err = vmlab_should_fail(obj->vm, VMLAB_INJECT_xarray) ? -ENOMEM :
	      xa_err(__xa_cmpxchg(ranges, leaf->index, NULL, XA_ZERO_ENTRY, GFP_NOWAIT));
	if (!err)
		err = vmlab_should_fail(obj->vm, VMLAB_INJECT_xarray) ? -ENOMEM :
		      xa_err(__xa_store(&obj->leaves, leaf->index, leaf, GFP_NOWAIT));
	if (err) {
		err = -EAGAIN;
		goto unlock;
	}
	RCU_INIT_POINTER(leaf->next, xa_load(ranges, leaf->index));
	__xa_store(ranges, leaf->index, leaf, GFP_NOWAIT);
unlock:
	xa_unlock(ranges);
	xa_unlock(&obj->leaves);
	return err;
}

static int vmlab_leaf_reserve(struct xarray *leaves, struct vmlab_leaf *leaf)
{
	if (vmlab_should_fail(leaf->object->vm, VMLAB_INJECT_xarray))
		return -ENOMEM;
	return xa_reserve(leaves, leaf->index, GFP_KERNEL_ACCOUNT);
}

/* Publishes a new leaf; -EEXIST when another was faster. */
static int vmlab_leaf_publish(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	int err;

	for (;;) {
		err = vmlab_leaf_reserve(&obj->lineage->leaves, leaf);
		if (!err)
			err = vmlab_leaf_reserve(&obj->leaves, leaf);
		/* An old leaf's entry may have held the place, and gone with it: again. */
		if (!err)
			err = vmlab_leaf_try_publish(obj, leaf);
		if (err != -EAGAIN)
			break;
	}
	/* A place reserved for nothing: nothing else is given up by this. */
	if (err)
		xa_release(&obj->leaves, leaf->index);
	return err;
}

/* A run of sequential stores goes on across leaves. */
static void vmlab_leaf_inherit_run(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	struct vmlab_leaf *prev;

	if (!leaf->index)
		return;
	rcu_read_lock();
	prev = vmlab_leaf_lookup(obj, (leaf->index - 1) << VMLAB_LEAF_SHIFT);
	if (prev && READ_ONCE(prev->seq_next) == VMLAB_LEAF_SLOTS)
		leaf->seq_run = READ_ONCE(prev->seq_run);
	rcu_read_unlock();
}

/**
 * vmlab_leaf_create() - make sure that a page has a leaf
 * @obj: the object
 * @pgoff: the page's index
 * @flags: VMLAB_ALLOC_NO_OOM or 0
 *
 * Context: may sleep and reclaim; no slot locked.
 * Return: 0 (also when it has one already), -ENOMEM, or -EINTR on a fatal signal.
 */
int vmlab_leaf_create(struct vmlab_object *obj, u64 pgoff, unsigned int flags)
{
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_leaf *leaf;
	int err;

	leaf = vmlab_should_fail(obj->vm, VMLAB_INJECT_leaf) ? NULL :
	       kmem_cache_zalloc(vmlab_leaf_cache, GFP_KERNEL);
	if (!leaf) {
		vmlab_count(obj->vm, alloc_fail, 1);
		return -ENOMEM;
	}
	err = vmlab_frame_get(lineage, vmlab_numa_node(obj->vm), VMLAB_ALLOC_ZERO | flags,
			      &leaf->frame);
	if (err)
		goto free_leaf;
	spin_lock_init(&leaf->lock);
	leaf->object = obj;
	leaf->index = pgoff >> VMLAB_LEAF_SHIFT;
	leaf->words = vmlab_frame_addr(leaf->frame);
	leaf->frame->leaf = leaf;
	vmlab_frame_set_state(leaf->frame, VMLAB_FRAME_LEAF);
	vmlab_leaf_inherit_run(obj, leaf);

	err = vmlab_leaf_publish(obj, leaf);
	if (!err) {
		vmlab_count(obj->vm, leaf_alloc, 1);
		return 0;
	}
	leaf->frame->leaf = NULL;
	vmlab_frame_set_state(leaf->frame, VMLAB_FRAME_INFLIGHT);
	vmlab_frame_unget(lineage, leaf->frame);
	if (err == -EEXIST)
		err = 0;
	else
		vmlab_count(obj->vm, alloc_fail, 1);
free_leaf:
	kmem_cache_free(vmlab_leaf_cache, leaf);
	return err;
}

static void vmlab_leaf_unlink_range(struct vmlab_lineage *lineage, struct vmlab_leaf *leaf)
{
	struct xarray *ranges = &lineage->leaves;
	struct vmlab_leaf *next, *pos;

	xa_lock(ranges);
	next = rcu_dereference_protected(leaf->next, lockdep_is_held(&ranges->xa_lock));
	pos = xa_load(ranges, leaf->index);
	if (pos == leaf) {
		if (next)
			__xa_store(ranges, leaf->index, next, GFP_NOWAIT);
		else
			__xa_erase(ranges, leaf->index);
	} else {
		while (rcu_access_pointer(pos->next) != leaf)
			pos = rcu_dereference_protected(pos->next,
							lockdep_is_held(&ranges->xa_lock));
		rcu_assign_pointer(pos->next, next);
	}
	xa_unlock(ranges);
}

/* Marks an empty leaf dead; says whether PTEs may map the zero page in it. */
static bool vmlab_leaf_kill(struct vmlab_leaf *leaf, bool *zero)
{
	unsigned int i;

	*zero = false;
	spin_lock(&leaf->lock);
	if (leaf->nr_locked || leaf->nr_present || leaf->nr_swapped) {
		spin_unlock(&leaf->lock);
		return false;
	}
	for (i = 0; i < VMLAB_LEAF_SLOTS && !*zero; i++)
		*zero = leaf->words[i] & VMLAB_SLOT_ZERO;
	leaf->dead = true;
	spin_unlock(&leaf->lock);
	return true;
}

/**
 * vmlab_leaf_reap() - free a leaf if it is empty
 * @obj: the object
 * @index: which 2 MiB
 *
 * Context: process context, no slot of it locked by the caller; does not sleep.
 */
void vmlab_leaf_reap(struct vmlab_object *obj, u64 index)
{
	struct vmlab_leaf *leaf;
	bool zero;

	xa_lock(&obj->leaves);
	leaf = xa_load(&obj->leaves, index);
	if (!leaf || xa_is_value(leaf) || !vmlab_leaf_kill(leaf, &zero)) {
		xa_unlock(&obj->leaves);
		return;
	}
	if (zero)
		__xa_store(&obj->leaves, index, VMLAB_LEAF_ZERO_MARK, GFP_NOWAIT);
	else
		__xa_erase(&obj->leaves, index);
	vmlab_leaf_unlink_range(obj->lineage, leaf);
	xa_unlock(&obj->leaves);

	atomic64_add(leaf->nr_faults, &obj->nr_faults);
	leaf->frame->leaf = NULL;
	vmlab_frame_set_state(leaf->frame, VMLAB_FRAME_INFLIGHT);
	vmlab_frame_unget(obj->lineage, leaf->frame);
	vmlab_count(obj->vm, leaf_free, 1);
	call_rcu(&leaf->rcu, vmlab_leaf_free_rcu);
}

/**
 * vmlab_leaf_move() - a leaf's slots move to another frame
 * @from: its frame now; becomes INFLIGHT
 * @to: INFLIGHT; becomes its frame
 *
 * Context: the instance is frozen.
 */
void vmlab_leaf_move(struct vmlab_frame *from, struct vmlab_frame *to)
{
	struct vmlab_leaf *leaf = from->leaf;

	copy_page(vmlab_frame_addr(to), vmlab_frame_addr(from));
	leaf->words = vmlab_frame_addr(to);
	leaf->frame = to;
	to->leaf = leaf;
	vmlab_frame_set_state(to, VMLAB_FRAME_LEAF);
	from->leaf = NULL;
	vmlab_frame_set_state(from, VMLAB_FRAME_INFLIGHT);
}

static wait_queue_head_t *vmlab_slot_wait_head(struct vmlab_object *obj, u64 index)
{
	return &obj->vm->slot_wait[hash_64(obj->id ^ index, ilog2(VMLAB_SLOT_WAITS))];
}

/* leaf->lock held; the slot is not locked. */
static void vmlab_slot_set_locked(struct vmlab_leaf *leaf, unsigned int index,
				  struct vmlab_slot *slot)
{
	slot->leaf = leaf;
	slot->index = index;
	slot->word = leaf->words[index];
	leaf->words[index] |= VMLAB_SLOT_LOCKED;
	leaf->nr_locked++;
}

static __always_inline bool __vmlab_slot_trylock(struct vmlab_leaf *leaf, unsigned int index,
						 struct vmlab_slot *slot)
{
	bool locked = false;

	spin_lock(&leaf->lock);
	if (!leaf->dead && !(leaf->words[index] & VMLAB_SLOT_LOCKED)) {
		vmlab_slot_set_locked(leaf, index, slot);
		slot->tracked = false;
		slot->fault = false;
		locked = true;
	}
	spin_unlock(&leaf->lock);
	return locked;
}

/**
 * vmlab_slot_trylock_in() - lock a slot of a leaf already found, if it is free
 * @leaf: the leaf, kept by RCU or by another locked slot
 * @index: which of its slots
 * @slot: out: the locked slot
 *
 * Context: any but interrupts; does not sleep.
 * Return: whether the slot is locked now.
 */
bool vmlab_slot_trylock_in(struct vmlab_leaf *leaf, unsigned int index,
			   struct vmlab_slot *slot)
{
	return __vmlab_slot_trylock(leaf, index, slot);
}

/**
 * vmlab_slot_trylock_holes() - lock a run of slots that are plain holes
 * @leaf: the leaf, kept by another locked slot
 * @index: the first
 * @nr: at most so many
 *
 * Stops at the first that is locked, not empty, or may be mapped to the zero page.
 *
 * Return: how many are locked now.
 */
unsigned int vmlab_slot_trylock_holes(struct vmlab_leaf *leaf, unsigned int index,
				      unsigned int nr)
{
	unsigned int i;

	nr = min(nr, VMLAB_LEAF_SLOTS - index);
	spin_lock(&leaf->lock);
	for (i = 0; i < nr && !leaf->words[index + i]; i++)
		leaf->words[index + i] = VMLAB_SLOT_LOCKED;
	leaf->nr_locked += i;
	spin_unlock(&leaf->lock);
	return i;
}

/**
 * vmlab_slot_trylock() - lock the slot of a page, if it is free
 * @obj: the object
 * @pgoff: the page's index
 * @slot: out: the locked slot
 *
 * Context: any but interrupts; does not sleep.
 * Return: 0, -ENOENT when the page has no leaf, -EAGAIN.
 */
int vmlab_slot_trylock(struct vmlab_object *obj, u64 pgoff, struct vmlab_slot *slot)
{
	struct vmlab_leaf *leaf;
	int err = -ENOENT;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, pgoff);
	if (likely(leaf))
		err = __vmlab_slot_trylock(leaf, vmlab_slot_index(pgoff), slot) ? 0 : -EAGAIN;
	rcu_read_unlock();
	return err;
}

/**
 * vmlab_slot_lock() - lock the slot of a page
 * @obj: the object
 * @pgoff: the page's index
 * @how: what ends the waiting while it is locked already
 * @slot: out: the locked slot
 *
 * Context: sleeps; no other slot is locked by the caller.
 * Return: 0, -ENOENT when the page has no leaf, or -EINTR as @how says.
 */
int vmlab_slot_lock(struct vmlab_object *obj, u64 pgoff, enum vmlab_slot_wait how,
		    struct vmlab_slot *slot)
{
	int err;

	while ((err = vmlab_slot_trylock(obj, pgoff, slot)) == -EAGAIN) {
		err = vmlab_slot_wait(obj, pgoff, how == VMLAB_SLOT_KILLABLE);
		if (err)
			return err;
	}
	if (err)
		return err;
	slot->tracked = true;
	lock_map_acquire(&obj->vm->slot_dep_map);
	return 0;
}

/**
 * vmlab_slot_track() - tell lockdep of a slot that was locked by trylock
 * @slot: the slot, the only one that the caller holds
 *
 * Batches of slots are not told: there may be more than lockdep can hold.
 */
void vmlab_slot_track(struct vmlab_slot *slot)
{
	slot->tracked = true;
	lock_acquire(&slot->leaf->object->vm->slot_dep_map, 0, 1, 0, 1, NULL, _THIS_IP_);
}

/* Counts what a word says into its leaf, +1 or -1. */
static void vmlab_leaf_account(struct vmlab_leaf *leaf, unsigned long word, int delta)
{
	if (vmlab_word_is_swap(word))
		leaf->nr_swapped += delta;
	else if (vmlab_word_is_frame(word))
		leaf->nr_present += delta;
	if (word & VMLAB_SLOT_PINNED)
		leaf->nr_pinned += delta;
}

/* leaf->lock held: publishes a word and drops its lock bit. */
static void vmlab_slot_publish(struct vmlab_leaf *leaf, unsigned int index,
			       unsigned long word)
{
	unsigned long old = leaf->words[index] & ~VMLAB_SLOT_LOCKED;

	if (old != word) {
		vmlab_leaf_account(leaf, old, -1);
		vmlab_leaf_account(leaf, word, 1);
	}
	leaf->words[index] = word;
	leaf->nr_locked--;
}

static void vmlab_leaf_unlock_and_wake(struct vmlab_leaf *leaf)
	__releases(&leaf->lock)
{
	wait_queue_head_t *head = NULL;

	/* Once unlocked the leaf may be gone: look up what is needed before. */
	if (unlikely(leaf->waiters)) {
		leaf->waiters = false;
		head = vmlab_slot_wait_head(leaf->object, leaf->index);
	}
	spin_unlock(&leaf->lock);
	if (unlikely(head))
		wake_up_all(head);
}

/**
 * vmlab_slot_unlock() - publish a slot's word and unlock it
 * @slot: a locked slot; @slot->word is what it holds from now on
 *
 * Context: any but interrupts; does not sleep.
 */
void vmlab_slot_unlock(struct vmlab_slot *slot)
{
	struct vmlab_leaf *leaf = slot->leaf;

	if (slot->tracked)
		lock_map_release(&leaf->object->vm->slot_dep_map);
	spin_lock(&leaf->lock);
	vmlab_slot_publish(leaf, slot->index, slot->word);
	leaf->nr_faults += slot->fault;
	vmlab_leaf_unlock_and_wake(leaf);
	slot->leaf = NULL;
}

/**
 * vmlab_slot_unlock_run() - publish and unlock a run of slots
 * @leaf: their leaf
 * @index: the first
 * @nr: how many, all locked by the caller with vmlab_slot_trylock_holes()
 * @words: the frames that they name from now on; NULL: holes still
 */
void vmlab_slot_unlock_run(struct vmlab_leaf *leaf, unsigned int index, unsigned int nr,
			   const unsigned long *words)
{
	unsigned int i;

	if (!nr)
		return;
	spin_lock(&leaf->lock);
	/* They were plain holes: all that changes is what this adds. */
	for (i = 0; i < nr; i++)
		leaf->words[index + i] = words ? words[i] : 0;
	leaf->nr_locked -= nr;
	if (words)
		leaf->nr_present += nr;
	vmlab_leaf_unlock_and_wake(leaf);
}

/* Is the slot unlocked, or gone?  If not, ask for a wake-up. */
static bool vmlab_slot_is_unlocked(struct vmlab_object *obj, u64 pgoff)
{
	struct vmlab_leaf *leaf;
	bool unlocked = true;

	rcu_read_lock();
	leaf = vmlab_leaf_lookup(obj, pgoff);
	if (leaf) {
		spin_lock(&leaf->lock);
		if (!leaf->dead &&
		    (leaf->words[vmlab_slot_index(pgoff)] & VMLAB_SLOT_LOCKED)) {
			leaf->waiters = true;
			unlocked = false;
		}
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return unlocked;
}

/**
 * vmlab_slot_wait() - sleep until a slot is not locked
 * @obj: the object
 * @pgoff: the page's index
 * @killable: give up on a fatal signal
 *
 * Context: sleeps; no slot locked.
 * Return: 0 or -EINTR.
 */
int vmlab_slot_wait(struct vmlab_object *obj, u64 pgoff, bool killable)
{
	wait_queue_head_t *head = vmlab_slot_wait_head(obj, pgoff >> VMLAB_LEAF_SHIFT);

	vmlab_count(obj->vm, slot_wait, 1);
	if (killable)
		return wait_event_killable(*head, vmlab_slot_is_unlocked(obj, pgoff)) ?
			-EINTR : 0;
	wait_event(*head, vmlab_slot_is_unlocked(obj, pgoff));
	return 0;
}
