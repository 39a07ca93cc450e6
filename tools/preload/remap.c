// SPDX-License-Identifier: GPL-2.0
/*
 * mremap, and moving contents by hand.  The kernel moves and shrinks mappings of
 * vmlab, but never grows them: that is a second mapping behind the first.  What is
 * one mapping for the program may thus be several for the kernel, here called pieces.
 * Must never lose contents: a place is made first, then contents go there.
 */
#include "preload.h"

#include <stdarg.h>
#include <string.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

/* Where user space ends. */
#define ADDRESS_END	((1ULL << 47) - PAGE_BYTES)
/* A mapping that has grown this often is copied into one piece. */
#define MOST_PIECES	16

static bool is_zero(const uint64_t *words)
{
	size_t i;

	for (i = 0; i < PAGE_BYTES / sizeof(*words); i++)
		if (words[i])
			return false;
	return true;
}

/* Pages of zeros stay holes.  The target is new and writable. */
static long copy(uint64_t to, uint64_t from, uint64_t length, int prot)
{
	uint64_t at;

	if (!(prot & PROT_READ)) {
		long result = sys_mprotect(from, length, PROT_READ, -1);

		if (result)
			return result;
	}
	for (at = 0; at < length; at += PAGE_BYTES)
		if (!is_zero((const uint64_t *)(from + at)))
			memcpy((void *)(to + at), (const void *)(from + at), PAGE_BYTES);
	return 0;
}

static long map_ordinary(uint64_t address, uint64_t length, int prot, int flags)
{
	long result = sys_mmap(address, length, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags,
			       -1, 0);

	if (!sys_failed(result))
		book_forget(result, result + length);
	return result;
}

/* New memory in place of what is mapped at @address, which is of no use to anyone. */
static long map_over(uint64_t address, uint64_t length, int prot, uint64_t offset)
{
	long result = book_map(address, length, prot, MAP_FIXED, offset);

	if (sys_failed(result))
		result = map_ordinary(address, length, prot, MAP_FIXED);
	return result;
}

/* One piece, or a part of one, to a place that is of no use to anyone. */
static long move_piece(const struct extent *piece, uint64_t start, uint64_t end, uint64_t to)
{
	int prot = piece->prot;
	long result;

	result = sys_mremap(start, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED,
			    to);
	if (!sys_failed(result)) {
		book_move(start, end, to);
		return 0;
	}
	/* For the kernel it is several mappings. */
	result = map_over(to, end - start, PROT_RW, NO_OFFSET);
	if (sys_failed(result))
		return result;
	result = copy(to, start, end - start, prot);
	if (result)
		return result;
	count(COUNT_copied);
	if (prot != PROT_RW && !sys_mprotect(to, end - start, prot, -1))
		book_protect(to, to + (end - start), prot);
	sys_munmap(start, end - start);
	book_forget(start, end);
	return 0;
}

static long move(uint64_t start, uint64_t end, uint64_t to)
{
	uint64_t at = start;

	while (at < end) {
		struct extent *piece = book_from(at);
		uint64_t next = piece->end < end ? piece->end : end;
		long result;

		if (!book_reserve())
			return -ENOMEM;
		result = move_piece(piece, at, next, to + (at - start));
		if (result)
			return result;
		at = next;
	}
	return 0;
}

/*
 * How many pieces make up a range that is one mapping for the program; 0 if it is
 * more than that.
 */
static unsigned int pieces(uint64_t start, uint64_t end, int *prot)
{
	struct extent *piece = book_from(start);
	unsigned int nr = 0;

	if (piece && piece->start > start)
		return 0;
	for (; start < end; piece = book_from(start)) {
		if (!piece || (nr && (piece->start != start || piece->prot != *prot)))
			return 0;
		*prot = piece->prot;
		start = piece->end;
		nr++;
	}
	return nr;
}

/* An empty place for @length bytes where huge pages would be aligned as at @like. */
static long find_place(uint64_t length, uint64_t like)
{
	uint64_t slack = length >= HUGE_BYTES ? HUGE_BYTES : 0, skip;
	long place = sys_mmap(0, length + slack, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sys_failed(place))
		return place;
	book_forget(place, place + length + slack);
	if (!slack)
		return place;
	skip = (like - place) & (HUGE_BYTES - 1);
	if (skip)
		sys_munmap(place, skip);
	if (slack > skip)
		sys_munmap(place + skip + length, slack - skip);
	return place + skip;
}

/*
 * All contents into one new mapping at @to, an empty place or 0.  The old mapping stays
 * when that fails.
 */
static long gather(uint64_t start, uint64_t old_length, uint64_t length, uint64_t to, int prot)
{
	long result = book_map(to, length, PROT_RW, to ? MAP_FIXED : 0, NO_OFFSET);

	if (sys_failed(result))
		return result;
	to = result;
	result = copy(to, start, old_length, prot);
	if (result)
		return result;
	count(COUNT_copied);
	if (prot != PROT_RW && !sys_mprotect(to, length, prot, -1))
		book_protect(to, to + length, prot);
	sys_munmap(start, old_length);
	book_forget(start, start + old_length);
	return to;
}

static long grow_here(uint64_t start, uint64_t old_length, uint64_t length, int prot)
{
	uint64_t tail = start + old_length;
	const struct extent *last = book_from(tail - 1);
	long result;

	result = book_map(tail, length - old_length, prot, MAP_FIXED_NOREPLACE,
			  last->offset + (tail - last->start));
	if (sys_failed(result))
		return result;
	count(COUNT_grown);
	return start;
}

/* To @to, an empty place as long as the new length. */
static long grow_there(uint64_t start, uint64_t old_length, uint64_t length, int prot,
		       uint64_t to, unsigned int nr)
{
	uint64_t tail = to + old_length;
	long result;

	if (nr >= MOST_PIECES) {
		result = gather(start, old_length, length, to, prot);
		if (!sys_failed(result))
			return result;
	}
	if (length > old_length) {
		const struct extent *last = book_from(start + old_length - 1);

		result = map_over(tail, length - old_length, prot,
				  last->offset + (start + old_length - last->start));
		if (sys_failed(result))
			return result;
	}
	result = move(start, start + old_length, to);
	if (result)
		return result;
	count(COUNT_moved);
	return to;
}

/* The place is wiped first, as the kernel does, whatever comes of the rest. */
static long move_to(uint64_t start, uint64_t old_length, uint64_t length, uint64_t to)
{
	unsigned int nr;
	long result;
	int prot;

	if (!page_aligned(to) || length > ADDRESS_END || to > ADDRESS_END - length ||
	    (to < start + old_length && start < to + length))
		return -EINVAL;
	/* One system call checks the place, wipes it and keeps it for us. */
	result = sys_mmap(to, length, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (sys_failed(result))
		return result;
	book_forget(to, to + length);
	if (old_length > length) {
		result = sys_munmap(start + length, old_length - length);
		if (!result)
			book_forget(start + length, start + old_length);
		else
			goto fail;
		old_length = length;
	}
	result = -EFAULT;
	nr = pieces(start, start + old_length, &prot);
	if (nr)
		result = grow_there(start, old_length, length, prot, to, nr);
	if (!sys_failed(result))
		return result;
fail:
	sys_munmap(to, length);
	book_forget(to, to + length);
	return result;
}

static long grow(uint64_t start, uint64_t old_length, uint64_t length, int flags)
{
	unsigned int nr;
	long result, to;
	int prot;

	nr = pieces(start, start + old_length, &prot);
	if (!nr)
		return -EFAULT;
	if (nr < MOST_PIECES || !(flags & MREMAP_MAYMOVE)) {
		result = grow_here(start, old_length, length, prot);
		if (!sys_failed(result))
			return result;
	}
	if (!(flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	to = find_place(length, start);
	if (sys_failed(to))
		return to;
	result = grow_there(start, old_length, length, prot, to, nr);
	if (sys_failed(result)) {
		sys_munmap(to, length);
		book_forget(to, to + length);
	}
	return result;
}

/* Under the lock; @old lies in a mapping of ours. */
static long remap_ours(uint64_t old, uint64_t old_length, uint64_t length, int flags, uint64_t to)
{
	long result;

	if (!book_reserve())
		return -ENOMEM;
	if (!old_length)
		return -EINVAL;
	if (flags & MREMAP_DONTUNMAP) {
		result = remap_convert(old, old + old_length);
		return result ?: sys_mremap(old, old_length, length, flags, to);
	}
	if (flags & MREMAP_FIXED)
		return move_to(old, old_length, length, to);
	if (length > old_length)
		return grow(old, old_length, length, flags);
	result = sys_mremap(old, old_length, length, flags, to);
	if (!sys_failed(result))
		book_forget(old + length, old + old_length);
	return result;
}

/* Under the lock; @old is not ours, but what is cut off or replaced may be. */
static long remap_other(uint64_t old, uint64_t old_length, uint64_t length, int flags, uint64_t to)
{
	uint64_t cut = length < old_length ? length : old_length;
	long result;

	book_reserve();
	result = sys_mremap(old, old_length, length, flags, to);
	if (sys_failed(result)) {
		book_forget_unmapped(old, old + old_length);
		if (flags & MREMAP_FIXED)
			book_forget_unmapped(to, to + length);
		return result;
	}
	book_forget(old + cut, old + old_length);
	if (result == (long)old)
		book_forget(old + old_length, old + length);
	else
		book_forget(result, result + length);
	return result;
}

static long remap(uint64_t old, uint64_t old_length, uint64_t length, int flags, uint64_t to)
{
	bool valid = page_aligned(old) && length && page_up(length) &&
		     !(flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) &&
		     (flags & MREMAP_MAYMOVE || !(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))) &&
		     (!(flags & MREMAP_DONTUNMAP) || page_up(old_length) == page_up(length)) &&
		     page_up(old_length) >= old_length && old + page_up(old_length) >= old;
	struct book_guard guard;
	struct extent *map;
	long result;

	if (!valid)
		return sys_mremap(old, old_length, length, flags, to);
	old_length = page_up(old_length);
	length = page_up(length);
	if (!book_may_hold(old, old + (old_length ?: 1)) &&
	    (!(flags & MREMAP_FIXED) || !book_may_hold(to, to + length)))
		return sys_mremap(old, old_length, length, flags, to);
	book_lock(&guard);
	map = book_from(old);
	if (map && map->start <= old)
		result = remap_ours(old, old_length, length, flags, to);
	else
		result = remap_other(old, old_length, length, flags, to);
	book_unlock(&guard);
	return result;
}

API void *mremap(void *old, size_t old_length, size_t length, int flags, ...)
{
	uint64_t to = 0;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_list args;

		va_start(args, flags);
		to = (uint64_t)va_arg(args, void *);
		va_end(args);
	}
	return (void *)sys_errno(remap((uint64_t)old, old_length, length, flags, to));
}

/**
 * remap_convert() - make what is ours in a range ordinary memory, at the same place
 * @start: first byte
 * @end: first byte behind
 *
 * Under the lock.  For what no mapping of a driver can be given.
 *
 * Return: 0 or -errno; then the rest of the range is what it was.
 */
long remap_convert(uint64_t start, uint64_t end)
{
	struct extent *map;

	while (book_reserve() && (map = book_from(start)) && map->start < end) {
		uint64_t from = map->start > start ? map->start : start, until = from, length;
		int prot = map->prot;
		long result, place;

		/* What was one mapping shall be one. */
		for (; map && map->start <= until && until < end && map->prot == prot;
		     map = book_from(until))
			until = map->end < end ? map->end : end;
		length = until - from;
		place = map_ordinary(0, length, PROT_RW, MAP_NORESERVE);
		if (sys_failed(place))
			return place;
		result = copy(place, from, length, prot);
		if (!result && prot != PROT_RW)
			result = sys_mprotect(place, length, prot, -1);
		if (!result)
			result = sys_mremap(place, length, length,
					    MREMAP_MAYMOVE | MREMAP_FIXED, from);
		if (sys_failed(result)) {
			sys_munmap(place, length);
			return result;
		}
		count(COUNT_converted);
		book_forget(from, until);
		start = until;
	}
	return 0;
}

/**
 * remap_fresh() - put new memory in place of what is ours in a range
 * @start: first byte
 * @end: first byte behind
 *
 * Under the lock.
 *
 * Return: 0 or -errno; then the rest of the range is what it was.
 */
long remap_fresh(uint64_t start, uint64_t end)
{
	struct extent *map;

	while (book_reserve() && (map = book_from(start)) && map->start < end) {
		uint64_t from = map->start > start ? map->start : start;
		uint64_t until = map->end < end ? map->end : end;
		long result = map_over(from, until - from, map->prot, NO_OFFSET);

		if (sys_failed(result))
			return result;
		start = until;
	}
	return 0;
}
