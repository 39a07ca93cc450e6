// SPDX-License-Identifier: GPL-2.0
/*
 * Slots of different leaves that stand for the same page: what one of them names, others
 * may name too.
 *
 * Owns what must happen to all of them together: evicting a frame, and bringing a page
 * back once for all who have it on swap.  All siblings of a slot stand at the same place
 * in leaves of the same 2 MiB, which the lineage lists.  It must never wait for one
 * sibling while it holds another.
 *
 * References on a frame rise only where a leaf is copied, which waits until none of its
 * slots is locked (unshare.c), and here, under the lock of a slot that names the frame.
 * So who holds all slots that name a frame has it alone.
 */
#include "vmlab.h"

static struct vmlab_leaf *vmlab_siblings_first(struct vmlab_slot *slot)
{
	return xa_load(&slot->leaf->lineage->leaves, slot->leaf->index);
}

/* --- eviction ------------------------------------------------------------ */

static bool vmlab_sibling_trylock(struct vmlab_leaf *leaf, unsigned int index,
				  struct vmlab_frame *frame)
{
	unsigned long word;
	bool locked = false;

	spin_lock(&leaf->lock);
	/* The words of a dead leaf may be another one's by now. */
	word = leaf->dead ? 0 : leaf->words[index];
	if (!leaf->frozen && vmlab_word_is_frame(word) &&
	    vmlab_word_frame(word) == frame &&
	    !(word & (VMLAB_SLOT_LOCKED | VMLAB_SLOT_PINNED))) {
		leaf->words[index] |= VMLAB_SLOT_LOCKED | VMLAB_SLOT_EVICT;
		leaf->nr_locked++;
		locked = true;
	}
	spin_unlock(&leaf->lock);
	return locked;
}

static void vmlab_sibling_unlock(struct vmlab_leaf *leaf, unsigned int index,
				 struct vmlab_frame *frame, unsigned long word)
{
	struct vmlab_slot slot = { .leaf = leaf, .index = index, .word = word };
	unsigned long now;

	/* The slots of a leaf that died are somebody's page by now. */
	spin_lock(&leaf->lock);
	now = leaf->dead ? 0 : leaf->words[index];
	spin_unlock(&leaf->lock);
	/* What is marked so is locked by who evicts the frame: us. */
	if ((now & VMLAB_SLOT_EVICT) && vmlab_word_frame(now) == frame)
		vmlab_slot_unlock(&slot);
}

/**
 * vmlab_siblings_unlock() - undo vmlab_siblings_trylock()
 * @slot: the slot; stays locked
 * @frame: what its siblings name
 * @word: what they name from now on
 *
 * Context: any but interrupts; does not sleep.
 */
void vmlab_siblings_unlock(struct vmlab_slot *slot, struct vmlab_frame *frame,
			   unsigned long word)
{
	struct vmlab_leaf *leaf, *next;

	rcu_read_lock();
	for (leaf = vmlab_siblings_first(slot); leaf; leaf = next) {
		next = rcu_dereference(leaf->next);
		if (leaf != slot->leaf)
			vmlab_sibling_unlock(leaf, slot->index, frame, word);
	}
	rcu_read_unlock();
	cmpxchg(&frame->state, VMLAB_FRAME_EVICTING, VMLAB_FRAME_RESIDENT);
}

/**
 * vmlab_siblings_trylock() - lock all other slots that name a slot's frame, or none
 * @slot: locked, naming a frame
 *
 * Context: any but interrupts; does not sleep.
 * Return: whether all are locked now.
 */
bool vmlab_siblings_trylock(struct vmlab_slot *slot)
{
	struct vmlab_frame *frame = vmlab_word_frame(slot->word);
	struct vmlab_leaf *leaf;
	int locked = 1;

	/* Of two who have a part of them each, one must not take the other's for its own. */
	if (cmpxchg(&frame->state, VMLAB_FRAME_RESIDENT, VMLAB_FRAME_EVICTING) !=
	    VMLAB_FRAME_RESIDENT)
		return false;
	rcu_read_lock();
	for (leaf = vmlab_siblings_first(slot); leaf; leaf = rcu_dereference(leaf->next))
		if (leaf != slot->leaf)
			locked += vmlab_sibling_trylock(leaf, slot->index, frame);
	rcu_read_unlock();
	if (locked == atomic_read(&frame->refs))
		return true;
	vmlab_siblings_unlock(slot, frame, vmlab_frame_word(frame));
	return false;
}

/* --- swap-in ------------------------------------------------------------- */

/* Names a frame in one slot more.  A slot that names it already is locked. */
static void vmlab_sibling_name(struct vmlab *vm, struct vmlab_slot *slot,
			       struct vmlab_frame *frame)
{
	u64 entry = vmlab_word_entry(slot->word);

	/* Hits of read-ahead are counted for one owner: see frame.h. */
	if (READ_ONCE(frame->flags) & VMLAB_FRAME_READAHEAD)
		frame->flags &= ~VMLAB_FRAME_READAHEAD;
	atomic_inc(&frame->refs);
	slot->word = vmlab_frame_word(frame);
	vmlab_swap_put(vm, entry);
}

/* A sibling has the page: take its frame. */
static bool vmlab_siblings_join(struct vmlab *vm, struct vmlab_slot *slot,
				struct vmlab_frame *frame)
{
	struct vmlab_leaf *leaf;
	struct vmlab_slot other;
	bool joined = false;

	rcu_read_lock();
	for (leaf = vmlab_siblings_first(slot); leaf && !joined;
	     leaf = rcu_dereference(leaf->next)) {
		if (leaf == slot->leaf || !vmlab_slot_trylock_in(leaf, slot->index, &other))
			continue;
		joined = vmlab_word_is_frame(other.word) &&
			 vmlab_word_frame(other.word) == frame &&
			 READ_ONCE(frame->swap) == vmlab_word_entry(slot->word);
		if (joined)
			vmlab_sibling_name(vm, slot, frame);
		vmlab_slot_unlock(&other);
	}
	rcu_read_unlock();
	if (joined)
		vmlab_count(vm, swap_join, 1);
	return joined;
}

/**
 * vmlab_siblings_claim() - a page is going to be read for a slot, and for all like it
 * @slot: locked, naming a swap entry
 *
 * Context: any but interrupts; does not sleep.
 * Return: 0: read it, then call vmlab_siblings_bring() or vmlab_siblings_unclaim(); 1:
 * a sibling has it, and @slot names its frame now; -EAGAIN: a sibling is about to have
 * it: unlock the slot, vmlab_siblings_wait(), and look again.
 */
int vmlab_siblings_claim(struct vmlab_slot *slot)
{
	struct vmlab *vm = slot->leaf->lineage->vm;
	struct vmlab_swap_slot *copy = vmlab_swap_slot(vm, vmlab_word_entry(slot->word));
	struct vmlab_frame *frame;

	/* References come only with copies of this leaf: the slot's own stays the only one. */
	if (data_race(READ_ONCE(copy->refs)) == 1)
		return 0;
	frame = cmpxchg(&copy->frame, NULL, VMLAB_SWAP_READING);
	if (!frame)
		return 0;
	if (frame != VMLAB_SWAP_READING && vmlab_siblings_join(vm, slot, frame))
		return 1;
	return -EAGAIN;
}

/**
 * vmlab_siblings_unclaim() - a page claimed could not be read
 * @vm: the instance
 * @entry: what the slot names; still locked
 */
void vmlab_siblings_unclaim(struct vmlab *vm, u64 entry)
{
	cmpxchg(&vmlab_swap_slot(vm, entry)->frame, VMLAB_SWAP_READING, NULL);
}

/**
 * vmlab_siblings_bring() - a page claimed was read: all who want it have it
 * @slot: locked, naming @frame now
 * @entry: what it named before
 * @frame: RESIDENT, clean, with @entry as its copy
 *
 * Siblings that are busy keep the entry, and find the frame by it when they look.
 */
void vmlab_siblings_bring(struct vmlab_slot *slot, u64 entry, struct vmlab_frame *frame)
{
	struct vmlab *vm = slot->leaf->lineage->vm;
	struct vmlab_swap_slot *copy = vmlab_swap_slot(vm, entry);
	struct vmlab_leaf *leaf;
	struct vmlab_slot other;
	bool shared;

	/* First: who has a slot of it next may take its copy away, and says so there. */
	WRITE_ONCE(copy->frame, frame);
	/* Others only let theirs go. */
	shared = data_race(READ_ONCE(copy->refs)) > 1;
	rcu_read_lock();
	for (leaf = shared ? vmlab_siblings_first(slot) : NULL; leaf;
	     leaf = rcu_dereference(leaf->next)) {
		if (leaf == slot->leaf || !vmlab_slot_trylock_in(leaf, slot->index, &other))
			continue;
		if (vmlab_word_is_swap(other.word) && vmlab_word_entry(other.word) == entry)
			vmlab_sibling_name(vm, &other, frame);
		vmlab_slot_unlock(&other);
	}
	rcu_read_unlock();
}
