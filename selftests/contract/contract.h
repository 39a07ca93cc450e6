/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What contract.ko and the program that asks it say to each other.
 *
 * Owns the ioctls of /dev/vmlab_contract.  One open is one object of CT_PAGES pages, and
 * its callbacks do what CT_IOC_SETUP said.  It is no interface for anybody else, has no
 * versions, and must never be loaded where memory matters.
 */
#ifndef VMLAB_CONTRACT_H
#define VMLAB_CONTRACT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CT_DEVICE		"/dev/vmlab_contract"
#define CT_PAGES		1024	/* two chunks of 2 MiB */
#define CT_CHUNK_PAGES		512

/* CT_IOC_SETUP: what the callbacks of an object's mappings do */
#define CT_PLAIN_PRIVATE	0x001	/* private mappings are left without VM_SHARED */
#define CT_COPY_TABLES		0x002	/* ->open does not set VM_WIPEONFORK */
#define CT_NO_MAP_PAGES		0x004	/* for later mmap(): vm_operations lack ->map_pages */
#define CT_MAP_READONLY		0x008	/* ->fault maps read-only */
#define CT_WPROTECT_FORK	0x010	/* ->open write-protects the parent, no flush */
#define CT_DROP_LOCK		0x020	/* ->fault drops its lock where it may, and retries */
#define CT_WAIT			0x040	/* as that, and first waits for CT_IOC_WAKE */
#define CT_HUGE			0x080	/* ->fault maps a chunk where the PMD is empty */
#define CT_COW			0x100	/* stores move a page to the object's other chunk */
#define CT_MAP_AROUND		0x200	/* ->map_pages maps the page */
#define CT_DROP_MKWRITE		0x400	/* ->pfn_mkwrite drops its lock where it may, and retries */

/**
 * struct ct_events - what the callbacks saw since CT_IOC_RESET; all are counts
 * @mmap: ->mmap calls
 * @mmap_shared: of these, with VM_MAYSHARE
 * @open: ->open calls whose VMA is of the mm that called mmap()
 * @open_fork: ->open calls whose VMA is of another
 * @open_visible: ->open calls whose VMA could be found in i_mmap already
 * @open_fork_ptes: PTEs that forked VMAs had at ->open
 * @open_parent_unlocked: forks in which the parent's mmap_lock was not held for write
 * @close: ->close calls
 * @close_visible: ->close calls whose VMA could still be found in i_mmap
 * @close_ptes: PTEs that VMAs still had at ->close
 * @fault: ->fault calls
 * @fault_write: of these, for stores
 * @fault_vma_lock: of these, under the lock of the VMA alone
 * @fault_dropped: of these, that dropped their lock
 * @fault_empty: of these, with an empty PMD
 * @fault_table: of those, that brought a PTE table along
 * @faulted_pages: pages for which ->fault or ->pfn_mkwrite was called
 * @mkwrite: ->pfn_mkwrite calls
 * @map_pages: ->map_pages calls
 * @map_pages_rcu: of these, within rcu_read_lock(); 0 where that cannot be seen
 * @map_pages_locked: of these, with the page table lock held by the caller
 * @map_pages_wrong: of these, with a window beyond the VMA or the PTE table
 * @access: ->access calls
 * @access_forbidden: of these, stores into VMAs without VM_WRITE
 * @access_past: of these, that reach past the VMA's end
 * @fsync: ->fsync calls
 * @fadvise: ->fadvise calls
 * @set_policy: ->set_policy calls with a policy
 * @unset_policy: ->set_policy calls without one
 * @get_policy: ->get_policy calls
 * @notified: changes that an mmu notifier was told of (CT_IOC_NOTIFY)
 * @notified_unannounced: of these, with no TLB flush announced as pending
 * @waiting: faults that wait for CT_IOC_WAKE now
 * @held: CT_IOC_HOLD calls that got i_mmap
 */
struct ct_events {
	__u32 mmap;
	__u32 mmap_shared;
	__u32 open;
	__u32 open_fork;
	__u32 open_visible;
	__u32 open_fork_ptes;
	__u32 open_parent_unlocked;
	__u32 close;
	__u32 close_visible;
	__u32 close_ptes;
	__u32 fault;
	__u32 fault_write;
	__u32 fault_vma_lock;
	__u32 fault_dropped;
	__u32 fault_empty;
	__u32 fault_table;
	__u32 faulted_pages;
	__u32 mkwrite;
	__u32 map_pages;
	__u32 map_pages_rcu;
	__u32 map_pages_locked;
	__u32 map_pages_wrong;
	__u32 access;
	__u32 access_forbidden;
	__u32 access_past;
	__u32 fsync;
	__u32 fadvise;
	__u32 set_policy;
	__u32 unset_policy;
	__u32 get_policy;
	__u32 notified;
	__u32 notified_unannounced;
	__u32 waiting;
	__u32 held;
};

/* struct ct_entry: what the caller's page tables hold for an address */
#define CT_LEVEL_NONE		0	/* no PTE table */
#define CT_LEVEL_TABLE		1	/* a PTE table; the flags are the PTE's */
#define CT_LEVEL_HUGE		2	/* a huge PMD; the flags are the PMD's */

#define CT_PRESENT		0x01
#define CT_WRITE		0x02
#define CT_DIRTY		0x04
#define CT_YOUNG		0x08
#define CT_SPECIAL		0x10

struct ct_entry {
	__u64 addr;		/* in */
	__u32 level;
	__u32 flags;
	__s32 page;		/* of the object, or -1 */
	__u32 pad;
};

/* struct ct_range flags for CT_IOC_CHANGE: what to do with the PTEs, then how to flush */
#define CT_CHANGE_CLEAR		0x01
#define CT_CHANGE_WRPROTECT	0x02	/* and clean */
#define CT_CHANGE_OLD		0x04
#define CT_FLUSH_NESTED		0x10	/* announce, change, zap page @zap, retract */

/* Bits of what CT_IOC_PENDING returns */
#define CT_PENDING_NONE		0x01	/* nothing announced: neither pending nor nested */
#define CT_PENDING_ONE		0x02	/* announced once: pending, not nested */
#define CT_PENDING_TWO		0x04	/* announced twice: pending and nested */

struct ct_range {
	__u64 addr;		/* CT_IOC_SET, _ZAP, _TABLES, _RETIRE */
	__u32 first;		/* page of the object: CT_IOC_CHANGE, _ZAP_ALL, _UNMAP, _TREE */
	__u32 pages;
	__u32 flags;
	__u32 zap;
};

struct ct_policy {
	__u64 addr;		/* in */
	__s32 task_mode;	/* of the caller, or -1 */
	__s32 vma_mode;		/* of the VMA at @addr, or -1 */
	__u64 vma_nodes;
};

#define CT_IOC_SETUP		_IO('C', 0)			/* flags by value */
#define CT_IOC_RESET		_IO('C', 1)
#define CT_IOC_EVENTS		_IOR('C', 2, struct ct_events)
#define CT_IOC_LOOK		_IOWR('C', 3, struct ct_entry)
#define CT_IOC_SET		_IOW('C', 4, struct ct_range)	/* flags as struct ct_entry's */
#define CT_IOC_CHANGE		_IOW('C', 5, struct ct_range)	/* returns PTEs changed */
#define CT_IOC_ZAP		_IOW('C', 6, struct ct_range)
#define CT_IOC_ZAP_ALL		_IOW('C', 7, struct ct_range)	/* in every VMA of the object */
#define CT_IOC_UNMAP		_IOW('C', 8, struct ct_range)	/* unmap_mapping_range() */
#define CT_IOC_TABLES		_IOW('C', 9, struct ct_range)	/* apply_to_page_range() */
#define CT_IOC_HOLD		_IO('C', 10)			/* ms; 1: woken meanwhile */
#define CT_IOC_WAKE		_IO('C', 11)
#define CT_IOC_TREE		_IOW('C', 12, struct ct_range)	/* returns VMAs found */
#define CT_IOC_WRITABLE		_IO('C', 13)			/* returns i_mmap_writable */
#define CT_IOC_RETIRE		_IOW('C', 14, struct ct_range)
#define CT_IOC_RETIRED		_IO('C', 15)			/* returns tables not freed yet */
#define CT_IOC_FILE		_IO('C', 16)			/* a file descriptor */
#define CT_IOC_NOTIFY		_IO('C', 17)			/* 1: on, 0: off */
#define CT_IOC_POLICY		_IOWR('C', 18, struct ct_policy)
#define CT_IOC_PENDING		_IO('C', 19)

#endif /* VMLAB_CONTRACT_H */
