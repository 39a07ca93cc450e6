/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libvmlab-preload.so: private anonymous memory of an unmodified program comes from
 * /dev/vmlab.
 *
 * The parts: device.c has the descriptor, books.c knows what is mapped where and
 * under which lock, map.c, remap.c and advise.c are the calls that programs make,
 * stats.c counts.  extent.c and space.c are pure.
 *
 * Rules that hold everywhere:
 *  - No allocator, and no function of the C library that might use one: programs'
 *    allocators are above this library.  Memory for the books comes straight from
 *    the kernel.
 *  - What cannot be had from vmlab is ordinary memory, and counted.
 *  - The books are changed under book_lock(), with all signals blocked, and so that
 *    a fork from another thread at any moment leaves the child something to recover
 *    from.  No handler of pthread_atfork(): an allocator's own handlers hold its
 *    locks while it maps memory.
 *  - What the books say may be out of date, because a program can change its address
 *    space by system calls that are not seen here.  The kernel's answer counts.
 */
#ifndef VMLAB_PRELOAD_H
#define VMLAB_PRELOAD_H

#include <signal.h>
#include <sys/mman.h>

#include "extent.h"
#include "sys.h"

#define API		__attribute__((visibility("default")))

#define PAGE_BYTES	4096UL
#define HUGE_BYTES	(2UL << 20)
#define GIGANTIC_BYTES	(1UL << 30)
#define PROT_RW		(PROT_READ | PROT_WRITE)

static inline uint64_t page_up(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) & -PAGE_BYTES;
}

static inline bool page_aligned(uint64_t bytes)
{
	return !(bytes & (PAGE_BYTES - 1));
}

/*
 * Counters, with the meaning that docs/preload.md gives them; in the order in which
 * they are printed.
 */
#define PRELOAD_COUNTERS(X)							\
	X(mmap) X(mmap_bytes) X(peak_bytes) X(peak_maps)			\
	X(small) X(kind) X(many) X(failed)					\
	X(munmap) X(grown) X(moved) X(copied) X(converted)			\
	X(discard) X(pageout) X(populate) X(pin) X(reserve)			\
	X(stale) X(reopen) X(rebuild)

enum preload_counter {
#define X(name) COUNT_ ## name,
	PRELOAD_COUNTERS(X)
#undef X
	NR_COUNTS
};

extern uint64_t preload_counts[NR_COUNTS];

static inline void count_add(enum preload_counter counter, uint64_t nr)
{
	__atomic_fetch_add(&preload_counts[counter], nr, __ATOMIC_RELAXED);
}

static inline void count(enum preload_counter counter)
{
	count_add(counter, 1);
}

/* stats.c */
void stats_init(void);
void stats_child(void);

/* device.c */
void device_init(void);
int device_fd(void);
long device_range(unsigned long command, uint64_t address, uint64_t length);
long device_reserve(uint64_t address, uint64_t length, bool gigantic);
long device_residency(uint64_t address, uint64_t length, uint32_t *words);
bool device_is(uint64_t device, uint64_t inode);

/* books.c */
struct book_guard {
	uint64_t signals;
};

/* A part of a range that is all ours or not ours at all. */
struct segment {
	uint64_t start;
	uint64_t end;
	bool ours;
	int prot;
};

extern uint64_t preload_min;

void book_lock(struct book_guard *guard);
void book_unlock(struct book_guard *guard);
bool book_may_hold(uint64_t start, uint64_t end);
bool book_reserve(void);
bool book_owner(void);
struct extent *book_from(uint64_t address);
void book_forget(uint64_t start, uint64_t end);
void book_forget_unmapped(uint64_t start, uint64_t end);
void book_move(uint64_t start, uint64_t end, uint64_t to);
void book_protect(uint64_t start, uint64_t end, int prot);
struct segment book_segment(uint64_t start, uint64_t end);
long book_map(uint64_t address, uint64_t length, int prot, int flags, uint64_t offset);

/* At and above it are no offsets; parts of such a mapping have none either. */
#define NO_OFFSET	(1ULL << 63)

/* remap.c */
long remap_convert(uint64_t start, uint64_t end);
long remap_fresh(uint64_t start, uint64_t end);

#endif
