/* SPDX-License-Identifier: GPL-2.0 */
/*
 * contract.ko: the types that its files share.
 *
 *   main.c      the device, its objects, the ioctls
 *   vma.c       vm_operations that note how the core calls them
 *   tables.c    looks at and changes page tables, with and without a flush
 *   retire.c    takes an empty PTE table out of its PMD
 *   needs.c     the exports that vmlab needs
 *   versions.h  differences between kernel versions that vmlab itself has no use for yet
 *
 * Everything here does what vmlab does, in as few lines as show it, one caller at a time.
 * It must never take a reference on a page of the object for user space: that nobody can
 * is one of the things tested.
 *
 * Lock order: mmap_lock, object->lock, i_mmap_rwsem, page table locks.
 */
#ifndef CT_H
#define CT_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "compat.h"
#include "contract.h"
#include "versions.h"

/* Events are counted without a lock: tests look at them when nothing is going on. */
#define ct_count(obj, event)	((obj)->events.event++)

/**
 * struct ct_object - what one open of the device gives
 * @lock:	PTE inserts against retirement of their table
 * @flags:	what the callbacks do
 * @events:	what they saw
 * @faulted:	pages for which a callback was asked
 * @moved:	pages that CT_COW moved to the other chunk
 * @chunks:	first page of each chunk
 * @inode:	whose i_mmap has the object's VMAs
 * @mm:		the address space that called mmap(); compared, never followed
 * @wait:	where faults and CT_IOC_HOLD wait for @woken
 * @woken:	CT_IOC_WAKE came
 * @notifier:	CT_IOC_NOTIFY's
 * @notified_mm: whose address space that is registered for
 */
struct ct_object {
	struct mutex		lock;
	unsigned int		flags;
	struct ct_events	events;
	DECLARE_BITMAP(faulted, CT_PAGES);
	DECLARE_BITMAP(moved, CT_PAGES);
	struct page		*chunks[CT_PAGES / CT_CHUNK_PAGES];
	struct inode		*inode;
	struct mm_struct	*mm;
	wait_queue_head_t	wait;
	bool			woken;
	struct mmu_notifier	notifier;
	struct mm_struct	*notified_mm;
};

static inline struct page *ct_page(struct ct_object *obj, unsigned long index)
{
	return obj->chunks[index / CT_CHUNK_PAGES] + index % CT_CHUNK_PAGES;
}

/* vma.c */
int ct_mmap(struct file *file, struct vm_area_struct *vma);
bool ct_is_mapping_of(struct vm_area_struct *vma, struct ct_object *obj);
pte_t ct_pte(struct vm_area_struct *vma, struct page *page, bool write);

/* tables.c */
pmd_t *ct_walk_pmd(struct mm_struct *mm, unsigned long addr);
unsigned int ct_change_ptes(struct mm_struct *mm, unsigned long start, unsigned long end,
			    unsigned int change);
unsigned int ct_tree_count(struct ct_object *obj, unsigned long first, unsigned long last,
			   struct vm_area_struct *only);
int ct_look(struct ct_object *obj, struct ct_entry *entry);
int ct_set(struct ct_object *obj, const struct ct_range *range);
int ct_change(struct ct_object *obj, const struct ct_range *range);
int ct_zap(struct ct_object *obj, const struct ct_range *range);
int ct_zap_all(struct ct_object *obj, const struct ct_range *range);
int ct_tables(struct ct_object *obj, const struct ct_range *range);
int ct_pending(void);

/* retire.c */
int ct_retire(struct ct_object *obj, unsigned long addr);
int ct_retired_left(void);
void ct_retired_give(struct vm_fault *vmf);
void ct_retired_exit(void);

#endif /* CT_H */
