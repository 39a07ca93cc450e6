// SPDX-License-Identifier: GPL-2.0
/*
 * mmap, munmap, mprotect.  Owns the decision which memory comes from vmlab; must
 * never let a call fail that would succeed on ordinary memory.
 */
#include "preload.h"

#include "vmlab.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT		26
#define MAP_HUGE_MASK		0x3f
#endif

#define HUGE_BYTES_LOG		21
#define GIGANTIC_BYTES_LOG	30

/* What a mapping may ask for and still come from vmlab. */
#define MAP_FINE	(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_FIXED_NOREPLACE | \
			 MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_DENYWRITE | \
			 MAP_EXECUTABLE)

/* Code is ordinary memory: /dev may be mounted noexec. */
static bool wanted(uint64_t length, int prot, int flags)
{
	if ((flags & (MAP_ANONYMOUS | MAP_TYPE)) != (MAP_ANONYMOUS | MAP_PRIVATE))
		return false;
	if (length < preload_min) {
		count(COUNT_small);
		return false;
	}
	if (flags & ~MAP_FINE || prot & ~PROT_RW) {
		count(COUNT_kind);
		return false;
	}
	return true;
}

static long map_ours(uint64_t address, uint64_t length, int prot, int flags)
{
	struct book_guard guard;
	long result;

	book_lock(&guard);
	result = book_map(address, length, prot, flags & (MAP_FIXED | MAP_FIXED_NOREPLACE),
			  NO_OFFSET);
	book_unlock(&guard);
	if (sys_failed(result)) {
		/* Nor would ordinary memory have been mapped there. */
		if (result != -EEXIST)
			count(result == -ENFILE ? COUNT_many : COUNT_failed);
		return result;
	}
	count(COUNT_mmap);
	count_add(COUNT_mmap_bytes, length);
	if ((flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE && prot & PROT_RW) {
		count(COUNT_populate);
		device_range(VMLAB_IOC_POPULATE, result, length);
	}
	return result;
}

/* The size of page that is asked for: 2 MiB, by name or as the kernel's default, or 1 GiB; or 0. */
static uint64_t wants_huge(uint64_t address, uint64_t length, int prot, int *flags)
{
	unsigned int size = (unsigned int)*flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;

	if (!size)
		size = HUGE_BYTES_LOG;
	if (!(*flags & MAP_HUGETLB) || (size != HUGE_BYTES_LOG && size != GIGANTIC_BYTES_LOG))
		return 0;
	if (address & ((1UL << size) - 1) || !length || length > VMLAB_OBJECT_SIZE)
		return 0;
	*flags &= ~(MAP_HUGETLB | MAP_HUGE_MASK << MAP_HUGE_SHIFT);
	return wanted(length, prot, *flags) ? 1UL << size : 0;
}

/*
 * MAP_HUGETLB: chunks that stay, all of them now.  What vmlab has not got the kernel may have;
 * with MAP_FIXED what was there before is gone, as it would be.
 */
static long map_huge(uint64_t address, uint64_t length, int prot, int flags, uint64_t page)
{
	uint64_t bytes = (length + page - 1) & ~(page - 1);
	struct book_guard guard;
	long result, error;

	result = map_ours(address, bytes, prot, flags & ~MAP_POPULATE);
	if (sys_failed(result))
		return result;
	error = device_reserve(result, bytes, page != HUGE_BYTES);
	if (!error) {
		count(COUNT_reserve);
		return result;
	}
	book_lock(&guard);
	if (!sys_munmap(result, bytes))
		book_forget(result, result + bytes);
	book_unlock(&guard);
	return error;
}

static long map(uint64_t address, uint64_t length, int prot, int flags, int fd,
		uint64_t offset)
{
	struct book_guard guard;
	int plain = flags;
	uint64_t page = wants_huge(address, length, prot, &plain);
	long result;

	if (page) {
		result = map_huge(address, length, prot, plain, page);
		if (!sys_failed(result) || result == -EEXIST)
			return result;
	}
	if (length && length <= VMLAB_OBJECT_SIZE && page_aligned(address) &&
	    wanted(length, prot, flags)) {
		result = map_ours(address, page_up(length), prot, flags);
		if (!sys_failed(result) || result == -EEXIST)
			return result;
	}
	if (!(flags & MAP_FIXED)) {
		result = sys_mmap(address, length, prot, flags, fd, offset);
		/* What the books have there was unmapped without their knowledge. */
		if (!sys_failed(result) && book_may_hold(result, result + page_up(length))) {
			book_lock(&guard);
			book_forget(result, result + page_up(length));
			book_unlock(&guard);
		}
		return result;
	}
	book_lock(&guard);
	result = sys_mmap(address, length, prot, flags, fd, offset);
	if (!sys_failed(result))
		book_forget(result, result + page_up(length));
	book_unlock(&guard);
	return result;
}

API void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)sys_errno(map((uint64_t)address, length, prot, flags, fd, offset));
}

API void *mmap64(void *address, size_t length, int prot, int flags, int fd, off64_t offset)
{
	return (void *)sys_errno(map((uint64_t)address, length, prot, flags, fd, offset));
}

API int munmap(void *address, size_t length)
{
	uint64_t start = (uint64_t)address, end = start + page_up(length);
	struct book_guard guard;
	long result;

	if (!book_may_hold(start, end))
		return sys_errno(sys_munmap(start, length));
	book_lock(&guard);
	book_reserve();
	result = sys_munmap(start, length);
	if (!result) {
		count(COUNT_munmap);
		book_forget(start, end);
	}
	book_unlock(&guard);
	return sys_errno(result);
}

/* Under the lock, one mapping: executable memory may have to be ordinary. */
static long protect_ours(uint64_t start, uint64_t end, int prot, int pkey)
{
	long result = sys_mprotect(start, end - start, prot, pkey);

	if (result == -EACCES && prot & PROT_EXEC) {
		result = remap_convert(start, end);
		if (!result)
			return sys_mprotect(start, end - start, prot, pkey);
	}
	if (!result)
		book_protect(start, end, prot);
	return result;
}

/*
 * Piece by piece, in order: where the kernel stops at an error, the books are right
 * as far as it came.
 */
static long protect(uint64_t start, uint64_t length, int prot, int pkey)
{
	uint64_t end = start + page_up(length), at;
	struct book_guard guard;
	long result = 0;

	if (!page_aligned(start) || !length || end < start || !book_may_hold(start, end))
		return sys_mprotect(start, length, prot, pkey);
	book_lock(&guard);
	for (at = start; at < end && !result;) {
		struct extent *found = book_from(at);
		uint64_t next = end;

		if (found && found->start <= at) {
			if (found->end < end)
				next = found->end;
			result = book_reserve() ? protect_ours(at, next, prot, pkey) : -ENOMEM;
		} else {
			if (found && found->start < end)
				next = found->start;
			result = sys_mprotect(at, next - at, prot, pkey);
		}
		at = next;
	}
	book_unlock(&guard);
	return result;
}

API int mprotect(void *address, size_t length, int prot)
{
	return sys_errno(protect((uint64_t)address, length, prot, -1));
}

API int pkey_mprotect(void *address, size_t length, int prot, int pkey)
{
	return sys_errno(protect((uint64_t)address, length, prot, pkey));
}
