// SPDX-License-Identifier: GPL-2.0
/*
 * An object's own page table: leaves of 512 slots, and the slots' locks.
 *
 * Owns struct vmlab_leaf, the tables that find leaves, and every change of a
 * slot word.  It never looks into a frame and never touches a hardware page
 * table; who changes a slot has unmapped what it named.
 *
 * Objects of a lineage may own a leaf together.  One that wants to change it for
 * itself gets a leaf of its own first (unshare.c), in place of the other.  So who
 * looked a leaf up must, under leaf->lock, see that it is still the object's:
 * object->leaf_seq says so.
 */
#include <linux/hash.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "trace.h"
#include "vmlab.h"

/*
 * In place of a leaf, the mark: there is none, but PTEs may map the zero page somewhere
 * in this 2 MiB.  The leaf that comes here one day starts with ZERO in every slot.
 *
 * A mark is taken away in three steps: it becomes a fading one, with a number of its own;
 * the PTEs go; if it is the same still, it goes.  Nobody maps the zero page on the strength
 * of a fading mark, which becomes a good one first; and to a leaf that comes it is a mark.
 *
 * Marks are entries of an XArray, 9 to 576 bytes each, and charged to the memory cgroup of
 * who loads, as the page tables are that the load takes, 4 KiB for each mark.
 */
#define VMLAB_LEAF_ZERO_MARK	xa_mk_value(1)

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
		/* A place that is only reserved is not to be looked at again. */
		if (xa_is_zero(entry))
			return NULL;
	} while (xas_retry(&xas, entry));
	return xa_is_value(entry) ? NULL : entry;
}

/**
 * vmlab_leaf_next() - find the next leaf
 * @obj: the object
 * @index: in: where to begin; out: the leaf's index
 * @last: where to end
 *
 * Context: rcu_read_lock() held.  Check leaf->dead under leaf->lock.
 * Return: the leaf, or NULL.
 */
struct vmlab_leaf *vmlab_leaf_next(struct vmlab_object *obj, u64 *index, u64 last)
{
	unsigned long i = *index;
	void *entry;

	/* A program that looked everywhere leaves millions of marks: they are not tagged so. */
	for (entry = xa_find(&obj->leaves, &i, last, VMLAB_TAG_LEAF); entry;
	     entry = xa_find_after(&obj->leaves, &i, last, VMLAB_TAG_LEAF)) {
		/* It may have become one just now. */
		if (!xa_is_value(entry)) {
			*index = i;
			return entry;
		}
	}
	return NULL;
}

/**
 * vmlab_leaf_store() - put a leaf into an object's table
 * @obj: the object
 * @leaf: the leaf; no memory is needed for its place
 *
 * Context: xa_lock of obj->leaves held.
 */
void vmlab_leaf_store(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	__xa_store(&obj->leaves, leaf->index, leaf, GFP_NOWAIT);
	__xa_set_mark(&obj->leaves, leaf->index, VMLAB_TAG_LEAF);
	__xa_clear_mark(&obj->leaves, leaf->index, VMLAB_TAG_ZERO);
}

/* xa_lock held; the place is somebody's already. */
static void vmlab_leaf_store_mark(struct vmlab_object *obj, unsigned long index)
{
	__xa_store(&obj->leaves, index, VMLAB_LEAF_ZERO_MARK, GFP_NOWAIT);
	__xa_clear_mark(&obj->leaves, index, VMLAB_TAG_LEAF);
	__xa_set_mark(&obj->leaves, index, VMLAB_TAG_ZERO);
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
	int err;

	if (entry == VMLAB_LEAF_ZERO_MARK)
		return 1;
	if (entry && !xa_is_value(entry))
		return 0;
	if (!entry && vmlab_should_fail(obj->vm, VMLAB_INJECT_xarray))
		return -ENOMEM;
	xa_lock(&obj->leaves);
	/* As xa_reserve() does: what is there is left alone. */
	err = xa_err(__xa_cmpxchg(&obj->leaves, index, NULL, XA_ZERO_ENTRY,
				  GFP_KERNEL_ACCOUNT));
	if (!err) {
		/* A place that is only reserved, by a leaf on its way too, reads as NULL. */
		entry = xa_load(&obj->leaves, index);
		if (!entry || xa_is_value(entry))
			vmlab_leaf_store_mark(obj, index);
		err = !entry || xa_is_value(entry);
	}
	xa_unlock(&obj->leaves);
	return err;
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
	return xa_load(&obj->leaves, pgoff >> VMLAB_LEAF_SHIFT) == VMLAB_LEAF_ZERO_MARK;
}

/**
 * vmlab_marks_fade() - begin to take away the next run of marks
 * @obj: the object
 * @index: in: where to begin; out: the first 2 MiB of the run
 * @last: where to end
 * @nr: out: how many
 *
 * Marks that fade already, which others are about to take away, are passed over.
 *
 * Context: vm->activity held for read until vmlab_marks_erase().
 * Return: the number of these marks; 0: there are none.
 */
unsigned long vmlab_marks_fade(struct vmlab_object *obj, u64 *index, u64 last,
			       unsigned int *nr)
{
	unsigned long i = *index, number = 0;
	void *entry;

	*nr = 0;
	if (!vmlab_has_zero_marks(obj))
		return 0;
	xa_lock(&obj->leaves);
	entry = xa_find(&obj->leaves, &i, last, VMLAB_TAG_ZERO);
	while (entry && entry != VMLAB_LEAF_ZERO_MARK)
		entry = xa_find_after(&obj->leaves, &i, last, VMLAB_TAG_ZERO);
	if (entry) {
		number = ++obj->nr_fades;
		*index = i;
		while (*nr < VMLAB_MARKS_AT_ONCE && i <= last &&
		       xa_load(&obj->leaves, i) == VMLAB_LEAF_ZERO_MARK) {
			__xa_store(&obj->leaves, i++, xa_mk_value(1 + number), GFP_NOWAIT);
			++*nr;
		}
	}
	xa_unlock(&obj->leaves);
	return number;
}

/**
 * vmlab_marks_erase() - take them away
 * @obj: the object
 * @index: the first of the run
 * @nr: how many
 * @number: from vmlab_marks_fade(); no PTE maps the zero page since then, but where the mark
 *	has become another
 */
void vmlab_marks_erase(struct vmlab_object *obj, u64 index, unsigned int nr,
		       unsigned long number)
{
	xa_lock(&obj->leaves);
	for (; nr--; index++)
		if (xa_load(&obj->leaves, index) == xa_mk_value(1 + number))
			__xa_erase(&obj->leaves, index);
	xa_unlock(&obj->leaves);
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
	/* Where the zero page is mapped by 4 KiB a huge page has no place. */
	if (entry && (!xa_is_value(entry) || leaf->huge))
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
	vmlab_leaf_store(obj, leaf);
	vmlab_leaf_list(leaf);
unlock:
	xa_unlock(ranges);
	xa_unlock(&obj->leaves);
	return err;
}

static int vmlab_leaf_reserve(struct xarray *leaves, struct vmlab_leaf *leaf)
{
	if (vmlab_should_fail(leaf->lineage->vm, VMLAB_INJECT_xarray))
		return -ENOMEM;
	return xa_reserve(leaves, leaf->index, GFP_KERNEL_ACCOUNT);
}

/**
 * vmlab_leaf_publish() - put a new leaf into its object's table
 * @obj: the object
 * @leaf: the leaf, in no table
 *
 * Context: may sleep; lineage->clone_sem held for read.
 * Return: 0; -EEXIST: another was faster, or the leaf is a huge page and there is a mark of
 * the zero page; -ENOMEM.
 */
int vmlab_leaf_publish(struct vmlab_object *obj, struct vmlab_leaf *leaf)
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

/**
 * vmlab_leaf_alloc() - an empty leaf
 * @lineage: whose
 * @index: which 2 MiB
 * @frame: where its slots are to be: INFLIGHT, charged to @lineage; zeroed, or written by
 *	the caller before anyone sees the leaf
 *
 * Context: may sleep.
 * Return: the leaf, in no table and with one owner, or NULL: @frame is as before.
 */
struct vmlab_leaf *vmlab_leaf_alloc(struct vmlab_lineage *lineage, u64 index,
				    struct vmlab_frame *frame)
{
	struct vmlab_leaf *leaf;

	leaf = vmlab_should_fail(lineage->vm, VMLAB_INJECT_leaf) ? NULL :
	       kmem_cache_zalloc(vmlab_leaf_cache, GFP_KERNEL);
	if (!leaf) {
		vmlab_count(lineage->vm, alloc_fail, 1);
		return NULL;
	}
	spin_lock_init(&leaf->lock);
	leaf->lineage = lineage;
	leaf->index = index;
	leaf->owners = 1;
	leaf->frame = frame;
	leaf->words = vmlab_frame_addr(frame);
	frame->leaf = leaf;
	vmlab_frame_set_state(frame, VMLAB_FRAME_LEAF);
	return leaf;
}

static void vmlab_leaf_free_frame(struct vmlab_leaf *leaf)
{
	leaf->frame->leaf = NULL;
	vmlab_frame_set_state(leaf->frame, VMLAB_FRAME_INFLIGHT);
	vmlab_frame_unget(leaf->lineage, leaf->frame);
}

/**
 * vmlab_leaf_free() - free a leaf that never was in a table, and its frame
 * @leaf: the leaf
 */
void vmlab_leaf_free(struct vmlab_leaf *leaf)
{
	vmlab_leaf_free_frame(leaf);
	kmem_cache_free(vmlab_leaf_cache, leaf);
}

/**
 * vmlab_leaf_list() - put a leaf into the list of its lineage's
 * @leaf: not listed; the list of its 2 MiB is not empty, so that no memory is needed
 *
 * Context: xa_lock of lineage->leaves held.
 */
void vmlab_leaf_list(struct vmlab_leaf *leaf)
{
	struct xarray *ranges = &leaf->lineage->leaves;

	RCU_INIT_POINTER(leaf->next, xa_load(ranges, leaf->index));
	__xa_store(ranges, leaf->index, leaf, GFP_NOWAIT);
}

/**
 * vmlab_leaf_is_of() - does an object have this leaf?
 * @obj: the object
 * @leaf: the leaf
 *
 * Context: rcu_read_lock() held, or the leaf kept otherwise.  An answer lasts only
 * while a slot of the leaf is locked, or it is.
 */
bool vmlab_leaf_is_of(struct vmlab_object *obj, struct vmlab_leaf *leaf)
{
	return xa_load(&obj->leaves, leaf->index) == leaf;
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
 * Return: 0 (also when it has one already); -ENOMEM: the machine has no memory; -ENOSPC
 * as vmlab_frame_get(); -EINTR on a fatal signal.
 */
int vmlab_leaf_create(struct vmlab_object *obj, u64 pgoff, unsigned int flags)
{
	struct vmlab_lineage *lineage = obj->lineage;
	struct vmlab_frame *frame;
	struct vmlab_leaf *leaf;
	int err;

	err = vmlab_frame_get(lineage, vmlab_place(obj, pgoff), VMLAB_ALLOC_ZERO | flags, &frame);
	if (err)
		return err;
	leaf = vmlab_leaf_alloc(lineage, pgoff >> VMLAB_LEAF_SHIFT, frame);
	if (!leaf) {
		vmlab_frame_unget(lineage, frame);
		return -ENOMEM;
	}
	vmlab_leaf_inherit_run(obj, leaf);

	down_read(&lineage->clone_sem);
	err = vmlab_leaf_publish(obj, leaf);
	up_read(&lineage->clone_sem);
	if (!err) {
		vmlab_count(obj->vm, leaf_alloc, 1);
		return 0;
	}
	vmlab_leaf_free(leaf);
	if (err == -EEXIST)
		return 0;
	vmlab_count(obj->vm, alloc_fail, 1);
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

/**
 * vmlab_events_add() - add what was counted elsewhere
 * @to: the sum
 * @from: the addend
 */
void vmlab_events_add(struct vmlab_events *to, const struct vmlab_events *from)
{
	to->faults += from->faults;
	to->swap_ins += from->swap_ins;
	to->swap_outs += from->swap_outs;
	to->evictions += from->evictions;
}

/* leaf->lock held.  May PTEs map the zero page in it? */
static bool vmlab_leaf_has_zero(struct vmlab_leaf *leaf)
{
	unsigned int i;

	/* Only where a slot is empty. */
	if (leaf->nr_present + leaf->nr_swapped == VMLAB_LEAF_SLOTS)
		return false;
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++)
		if (leaf->words[i] & VMLAB_SLOT_ZERO)
			return true;
	return false;
}

enum vmlab_leaf_leave {
	VMLAB_LEAF_STAYS,
	VMLAB_LEAF_LEFT,	/* others own it */
	VMLAB_LEAF_DEAD,	/* nobody does */
};

/*
 * An owner gives up a leaf: one that others own too, or an empty one.  leaf->lock held,
 * as until it is out of the owner's table: who found it there must not take it, owned by
 * one other now, for the owner's own.
 */
static enum vmlab_leaf_leave vmlab_leaf_leave(struct vmlab_leaf *leaf, bool shared_only)
{
	bool empty = !leaf->nr_locked && !leaf->nr_present && !leaf->nr_swapped &&
		     !leaf->frozen;

	if (leaf->owners > 1 && (shared_only || empty)) {
		WRITE_ONCE(leaf->owners, leaf->owners - 1);
		return VMLAB_LEAF_LEFT;
	}
	if (leaf->owners == 1 && empty && !shared_only) {
		leaf->dead = true;
		return VMLAB_LEAF_DEAD;
	}
	return VMLAB_LEAF_STAYS;
}

static bool vmlab_leaf_remove(struct vmlab_object *obj, u64 index, bool shared_only)
{
	enum vmlab_leaf_leave how;
	struct vmlab_leaf *leaf;

	xa_lock(&obj->leaves);
	leaf = xa_load(&obj->leaves, index);
	if (!leaf || xa_is_value(leaf)) {
		xa_unlock(&obj->leaves);
		return false;
	}
	spin_lock(&leaf->lock);
	how = vmlab_leaf_leave(leaf, shared_only);
	if (how == VMLAB_LEAF_STAYS) {
		spin_unlock(&leaf->lock);
		xa_unlock(&obj->leaves);
		return false;
	}
	if (vmlab_leaf_has_zero(leaf))
		vmlab_leaf_store_mark(obj, index);
	else
		__xa_erase(&obj->leaves, index);
	/* For who has found the leaf and not yet locked it. */
	smp_store_release(&obj->leaf_seq, obj->leaf_seq + 1);
	spin_unlock(&leaf->lock);
	if (how == VMLAB_LEAF_DEAD) {
		vmlab_leaf_unlink_range(obj->lineage, leaf);
		vmlab_events_add(&obj->events, &leaf->events);
	}
	xa_unlock(&obj->leaves);
	if (how == VMLAB_LEAF_DEAD) {
		vmlab_leaf_free_frame(leaf);
		vmlab_count(obj->vm, leaf_free, 1);
		call_rcu(&leaf->rcu, vmlab_leaf_free_rcu);
	}
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
	vmlab_leaf_remove(obj, index, false);
}

/**
 * vmlab_leaf_detach() - leave a leaf to its other owners
 * @obj: the object; none of its VMAs maps anything of the leaf, nor can it now
 * @index: which 2 MiB
 *
 * Context: process context; does not sleep.
 * Return: false when there are no other owners, and nothing was done.
 */
bool vmlab_leaf_detach(struct vmlab_object *obj, u64 index)
{
	return vmlab_leaf_remove(obj, index, true);
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

/* One for all leaves of the same 2 MiB of a lineage. */
static wait_queue_head_t *vmlab_slot_wait_head(struct vmlab_lineage *lineage, u64 index)
{
	return &lineage->vm->slot_wait[hash_64(lineage->id ^ index,
					       ilog2(VMLAB_SLOT_WAITS))];
}

/* leaf->lock held; the slot is not locked. */
static void vmlab_slot_set_locked(struct vmlab_leaf *leaf, unsigned int index,
				  struct vmlab_slot *slot)
{
	slot->leaf = leaf;
	slot->index = index;
	slot->word = leaf->words[index];
	slot->tracked = false;
	slot->events = 0;
	leaf->words[index] |= VMLAB_SLOT_LOCKED;
	leaf->nr_locked++;
}

/* leaf->lock held. */
static __always_inline bool __vmlab_slot_trylock(struct vmlab_leaf *leaf, unsigned int index,
						 struct vmlab_slot *slot)
{
	if (leaf->frozen || (leaf->words[index] & VMLAB_SLOT_LOCKED))
		return false;
	vmlab_slot_set_locked(leaf, index, slot);
	return true;
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
	bool locked;

	spin_lock(&leaf->lock);
	locked = !leaf->dead && __vmlab_slot_trylock(leaf, index, slot);
	spin_unlock(&leaf->lock);
	return locked;
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
	unsigned long seq;
	int err;

	rcu_read_lock();
again:
	seq = vmlab_leaf_seq(obj);
	leaf = vmlab_leaf_lookup(obj, pgoff);
	if (unlikely(!leaf)) {
		rcu_read_unlock();
		return -ENOENT;
	}
	spin_lock(&leaf->lock);
	/* Has the object another one by now, or none? */
	if (unlikely(leaf->dead || READ_ONCE(obj->leaf_seq) != seq)) {
		spin_unlock(&leaf->lock);
		cpu_relax();
		goto again;
	}
	err = __vmlab_slot_trylock(leaf, vmlab_slot_index(pgoff), slot) ? 0 : -EAGAIN;
	spin_unlock(&leaf->lock);
	rcu_read_unlock();
	return err;
}

/**
 * vmlab_hole_find() - find the leaf of a page that seems to be a plain hole
 * @obj: the object
 * @pgoff: the page's index
 *
 * Context: rcu_read_lock() held; vmlab_leaf_seq() read before.
 * Return: the leaf, or NULL when the page has none, or is something else.
 */
struct vmlab_leaf *vmlab_hole_find(struct vmlab_object *obj, u64 pgoff)
{
	struct vmlab_leaf *leaf = vmlab_leaf_lookup(obj, pgoff);

	/* A leaf that is gone by now may show any word: it is looked at again. */
	return leaf && !data_race(READ_ONCE(leaf->words[vmlab_slot_index(pgoff)])) ? leaf : NULL;
}

/**
 * vmlab_hole_lock() - lock the leaf of a plain hole that the object alone may fill
 * @obj: the object
 * @leaf: from vmlab_hole_find()
 * @index: which slot
 * @seq: from vmlab_leaf_seq(), before vmlab_hole_find()
 *
 * What is done to the page under leaf->lock, up to vmlab_hole_fill(), needs no slot lock:
 * nobody can lock the slot meanwhile, nor come to own the leaf.
 *
 * Context: rcu_read_lock() held since vmlab_hole_find(); does not sleep.
 * Return: whether it is one still; if not, vmlab_hole_unlock() is next.
 */
bool vmlab_hole_lock(struct vmlab_object *obj, struct vmlab_leaf *leaf, unsigned int index,
		     unsigned long seq)
	__acquires(&leaf->lock)
{
	spin_lock(&leaf->lock);
	return !leaf->dead && !leaf->words[index] && leaf->owners == 1 && !leaf->frozen &&
	       READ_ONCE(obj->leaf_seq) == seq;
}

/**
 * vmlab_hole_unlock() - undo vmlab_hole_lock()
 * @leaf: the leaf
 */
void vmlab_hole_unlock(struct vmlab_leaf *leaf)
	__releases(&leaf->lock)
{
	spin_unlock(&leaf->lock);
}

/**
 * vmlab_hole_fill() - publish a page where a plain hole was, for a fault
 * @leaf: locked by vmlab_hole_lock(); unlocked on return
 * @index: which slot
 * @frame: committed
 */
void vmlab_hole_fill(struct vmlab_leaf *leaf, unsigned int index, struct vmlab_frame *frame)
	__releases(&leaf->lock)
{
	leaf->words[index] = vmlab_frame_word(frame);
	leaf->nr_present++;
	leaf->events.faults++;
	spin_unlock(&leaf->lock);
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
	lock_acquire(&slot->leaf->lineage->vm->slot_dep_map, 0, 1, 0, 1, NULL, _THIS_IP_);
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

/**
 * vmlab_leaf_is_alone() - is every page of a huge leaf its object's alone?
 * @leaf: the leaf
 *
 * Context: leaf->lock held.
 */
bool vmlab_leaf_is_alone(struct vmlab_leaf *leaf)
{
	unsigned int i;

	if (leaf->owners > 1)
		return false;
	for (i = 0; i < VMLAB_LEAF_SLOTS; i++)
		if (atomic_read(&vmlab_word_frame(leaf->words[i])->refs) > 1)
			return false;
	return true;
}

/**
 * vmlab_leaf_split() - a leaf's slots name one chunk in order no longer
 * @leaf: a huge one
 *
 * The pages stay where they are, and nothing is allocated: a chunk is whole or broken only
 * in that its frames are freed one by one from now on.
 *
 * Context: leaf->lock held, or the instance is frozen.
 */
void vmlab_leaf_split(struct vmlab_leaf *leaf)
{
	leaf->huge = false;
	vmlab_count(leaf->lineage->vm, thp_split_page, 1);
	trace_split(leaf->lineage->id, leaf->index);
}

/* leaf->lock held: publishes a word and drops its lock bit. */
static void vmlab_slot_publish(struct vmlab_leaf *leaf, unsigned int index,
			       unsigned long word)
{
	unsigned long old = leaf->words[index] & ~(VMLAB_SLOT_LOCKED | VMLAB_SLOT_EVICT);

	if (old != word) {
		vmlab_leaf_account(leaf, old, -1);
		vmlab_leaf_account(leaf, word, 1);
		if (unlikely(leaf->huge) && vmlab_word_frame(old) != vmlab_word_frame(word))
			vmlab_leaf_split(leaf);
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
		head = vmlab_slot_wait_head(leaf->lineage, leaf->index);
	}
	spin_unlock(&leaf->lock);
	if (unlikely(head))
		wake_up_all(head);
}

/* leaf->lock held. */
static void vmlab_leaf_count_events(struct vmlab_leaf *leaf, u8 events)
{
	leaf->events.faults += !!(events & VMLAB_EVENT_FAULT);
	leaf->events.swap_ins += !!(events & VMLAB_EVENT_SWAP_IN);
	leaf->events.swap_outs += !!(events & VMLAB_EVENT_SWAP_OUT);
	leaf->events.evictions += !!(events & VMLAB_EVENT_EVICT);
}

/**
 * vmlab_leaf_exchange() - a leaf becomes a huge one
 * @leaf: frozen, all its slots unlocked, none pinned or on swap
 * @words: what it names from now on: the frames of one chunk, in order
 *
 * What it named before is the caller's to let go.
 */
void vmlab_leaf_exchange(struct vmlab_leaf *leaf, const unsigned long *words)
{
	spin_lock(&leaf->lock);
	memcpy(leaf->words, words, VMLAB_LEAF_SLOTS * sizeof(*words));
	leaf->nr_present = VMLAB_LEAF_SLOTS;
	leaf->huge = true;
	spin_unlock(&leaf->lock);
}

/**
 * vmlab_leaf_clear() - all slots of a leaf become holes, and are unlocked
 * @leaf: named 512 frames, which are gone; all its slots are locked by the caller
 */
void vmlab_leaf_clear(struct vmlab_leaf *leaf)
{
	spin_lock(&leaf->lock);
	memset(leaf->words, 0, VMLAB_LEAF_SLOTS * sizeof(*leaf->words));
	leaf->nr_present = 0;
	leaf->nr_locked = 0;
	vmlab_leaf_unlock_and_wake(leaf);
}

/**
 * vmlab_slot_map_begin() - lock a slot's leaf, to set a PTE
 * @slot: a locked slot
 *
 * Until vmlab_slot_map_end() or vmlab_slot_map_cancel() nobody can come to own the leaf
 * too: who finds here that it has one owner, and the frame one reference, may set a
 * writable PTE.
 *
 * Return: whether the leaf has one owner.
 */
bool vmlab_slot_map_begin(struct vmlab_slot *slot)
	__acquires(&slot->leaf->lock)
{
	spin_lock(&slot->leaf->lock);
	return slot->leaf->owners == 1;
}

/**
 * vmlab_slot_map_cancel() - undo vmlab_slot_map_begin(); the slot stays locked
 * @slot: the slot
 */
void vmlab_slot_map_cancel(struct vmlab_slot *slot)
	__releases(&slot->leaf->lock)
{
	spin_unlock(&slot->leaf->lock);
}

/**
 * vmlab_slot_map_end() - after vmlab_slot_map_begin(): as vmlab_slot_unlock()
 * @slot: the slot
 */
void vmlab_slot_map_end(struct vmlab_slot *slot)
	__releases(&slot->leaf->lock)
{
	struct vmlab_leaf *leaf = slot->leaf;

	if (slot->tracked)
		lock_map_release(&leaf->lineage->vm->slot_dep_map);
	vmlab_slot_publish(leaf, slot->index, slot->word);
	if (slot->events)
		vmlab_leaf_count_events(leaf, slot->events);
	slot->leaf = NULL;
	vmlab_leaf_unlock_and_wake(leaf);
}

/**
 * vmlab_slot_unlock() - publish a slot's word and unlock it
 * @slot: a locked slot; @slot->word is what it holds from now on
 *
 * Context: any but interrupts; does not sleep.
 */
void vmlab_slot_unlock(struct vmlab_slot *slot)
{
	vmlab_slot_map_begin(slot);
	vmlab_slot_map_end(slot);
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

/* Leaf->lock held.  If the slot cannot be locked now, ask for a wake-up. */
static bool vmlab_slot_is_busy(struct vmlab_leaf *leaf, unsigned int index)
{
	if (leaf->dead || (!leaf->frozen && !(leaf->words[index] & VMLAB_SLOT_LOCKED)))
		return false;
	leaf->waiters = true;
	return true;
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
		unlocked = !vmlab_slot_is_busy(leaf, vmlab_slot_index(pgoff));
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
	wait_queue_head_t *head = vmlab_slot_wait_head(obj->lineage, pgoff >> VMLAB_LEAF_SHIFT);

	vmlab_count(obj->vm, slot_wait, 1);
	if (killable)
		return wait_event_killable(*head, vmlab_slot_is_unlocked(obj, pgoff)) ?
			-EINTR : 0;
	wait_event(*head, vmlab_slot_is_unlocked(obj, pgoff));
	return 0;
}

/* Is the page's slot unlocked in every leaf of the lineage? */
static bool vmlab_siblings_are_unlocked(struct vmlab_lineage *lineage, u64 pgoff)
{
	struct vmlab_leaf *leaf;
	bool busy = false;

	rcu_read_lock();
	for (leaf = xa_load(&lineage->leaves, pgoff >> VMLAB_LEAF_SHIFT); leaf && !busy;
	     leaf = rcu_dereference(leaf->next)) {
		spin_lock(&leaf->lock);
		busy = vmlab_slot_is_busy(leaf, vmlab_slot_index(pgoff));
		spin_unlock(&leaf->lock);
	}
	rcu_read_unlock();
	return !busy;
}

/**
 * vmlab_siblings_wait() - sleep until nobody has the page locked for any object
 * @obj: an object that has it
 * @pgoff: the page's index
 *
 * Context: sleeps; no slot locked.
 * Return: 0, or -EINTR on a fatal signal.
 */
int vmlab_siblings_wait(struct vmlab_object *obj, u64 pgoff)
{
	wait_queue_head_t *head = vmlab_slot_wait_head(obj->lineage, pgoff >> VMLAB_LEAF_SHIFT);

	vmlab_count(obj->vm, slot_wait, 1);
	return wait_event_killable(*head, vmlab_siblings_are_unlocked(obj->lineage, pgoff)) ?
		-EINTR : 0;
}

static bool vmlab_leaf_may_freeze(struct vmlab_leaf *leaf, enum vmlab_freeze which)
{
	switch (which) {
	case VMLAB_FREEZE_SHARED:
		return leaf->owners > 1;
	case VMLAB_FREEZE_OWN:
		return leaf->owners == 1;
	default:
		return true;
	}
}

/* Freezes a leaf; false: somebody else has. */
static bool vmlab_leaf_try_freeze(struct vmlab_object *obj, u64 pgoff, enum vmlab_freeze which,
				  struct vmlab_leaf **leaf)
{
	struct vmlab_leaf *found;
	bool done = true;

	*leaf = NULL;
	rcu_read_lock();
	found = vmlab_leaf_lookup(obj, pgoff);
	if (found) {
		spin_lock(&found->lock);
		if (!found->dead && vmlab_leaf_may_freeze(found, which) &&
		    vmlab_leaf_is_of(obj, found)) {
			done = !found->frozen;
			found->frozen = true;
			*leaf = done ? found : NULL;
		}
		spin_unlock(&found->lock);
	}
	rcu_read_unlock();
	return done;
}

/* Is no slot of a frozen leaf locked any more? */
static bool vmlab_leaf_is_drained(struct vmlab_leaf *leaf)
{
	bool drained;

	spin_lock(&leaf->lock);
	drained = !leaf->nr_locked;
	if (!drained)
		leaf->waiters = true;
	spin_unlock(&leaf->lock);
	return drained;
}

/**
 * vmlab_leaf_freeze() - let nothing in a leaf change
 * @obj: one of its owners
 * @pgoff: a page of it
 * @which: which leaves are meant; others may come to own it meanwhile, or let it go
 * @wait: until the slots that are locked now are not; no others can be
 * @leaf: out: the leaf, which stays until vmlab_leaf_thaw(); NULL when the object has
 *	none here, or none that is meant
 *
 * Context: sleeps if @wait; no slot locked.
 * Return: 0; -EAGAIN: not @wait, and it would have had to; -EINTR on a fatal signal.
 */
int vmlab_leaf_freeze(struct vmlab_object *obj, u64 pgoff, enum vmlab_freeze which, bool wait,
		      struct vmlab_leaf **leaf)
{
	wait_queue_head_t *head = vmlab_slot_wait_head(obj->lineage, pgoff >> VMLAB_LEAF_SHIFT);
	int err;

	while (!vmlab_leaf_try_freeze(obj, pgoff, which, leaf)) {
		err = wait ? vmlab_slot_wait(obj, pgoff, true) : -EAGAIN;
		if (err)
			return err;
	}
	if (!*leaf || vmlab_leaf_is_drained(*leaf))
		return 0;
	err = -EAGAIN;
	if (wait)
		err = wait_event_killable(*head, vmlab_leaf_is_drained(*leaf)) ? -EINTR : 0;
	if (err)
		vmlab_leaf_thaw(*leaf);
	return err;
}

/**
 * vmlab_leaf_thaw() - undo vmlab_leaf_freeze()
 * @leaf: the leaf; not to be touched afterwards
 */
void vmlab_leaf_thaw(struct vmlab_leaf *leaf)
{
	spin_lock(&leaf->lock);
	leaf->frozen = false;
	leaf->waiters = true;
	vmlab_leaf_unlock_and_wake(leaf);
}
