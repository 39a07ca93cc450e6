// SPDX-License-Identifier: GPL-2.0
/*
 * Advice and locks on memory: what the kernel does not do for mappings of vmlab is
 * an ioctl.  The lock of the books is not held meanwhile, since swap may be slow.
 */
#include "preload.h"

#include <dlfcn.h>
#include <pthread.h>

#include "vmlab.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif

/* Pages whose residency is asked for at once. */
#define RESIDENCY_PAGES	256

/* What the kernel says to an ioctl on an address where nothing of vmlab is. */
static bool not_ours(long result)
{
	return result == -ENOTTY || result == -ENOMEM;
}

/*
 * A discard of memory that a child shares may need memory itself.  When there is none,
 * new memory in place of the old does as well.
 */
static long discard(const struct segment *segment)
{
	uint64_t length = segment->end - segment->start;
	long result = device_range(VMLAB_IOC_DISCARD, segment->start, length);
	struct book_guard guard;

	if (not_ours(result)) {
		count(COUNT_stale);
		if (!sys_madvise(segment->start, length, MADV_DONTNEED))
			return 0;
		book_lock(&guard);
		result = remap_fresh(segment->start, segment->end);
		book_unlock(&guard);
	}
	if (!result)
		count(COUNT_discard);
	/* As for memory that mlock() holds. */
	return result == -EBUSY ? -EINVAL : result;
}

static long populate(const struct segment *segment, int prot, int advice)
{
	uint64_t length = segment->end - segment->start;
	long result;

	if (!(segment->prot & prot))
		return -EINVAL;
	result = device_range(VMLAB_IOC_POPULATE, segment->start, length);
	/* The kernel's answer is right where this is not ours, or not any more. */
	if (not_ours(result) && !sys_madvise(segment->start, length, advice))
		return 0;
	if (!result)
		count(COUNT_populate);
	/* What the kernel says when populating would have been a SIGBUS. */
	return result == -EIO ? -EFAULT : result;
}

static long pageout(const struct segment *segment)
{
	long result = device_range(VMLAB_IOC_PAGEOUT, segment->start,
				   segment->end - segment->start);

	if (!result)
		count(COUNT_pageout);
	/* It is advice. */
	return not_ours(result) ? 0 : result;
}

/* Memory that a fork wipes has to be ordinary. */
static long convert_and_advise(const struct segment *segment, int advice)
{
	struct book_guard guard;
	long result;

	book_lock(&guard);
	result = remap_convert(segment->start, segment->end);
	book_unlock(&guard);
	return result ?: sys_madvise(segment->start, segment->end - segment->start, advice);
}

static long advise_ours(const struct segment *segment, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
		return discard(segment);
	case MADV_COLD:
	case MADV_PAGEOUT:
		return pageout(segment);
	case MADV_POPULATE_READ:
		return populate(segment, PROT_READ, advice);
	case MADV_POPULATE_WRITE:
		return populate(segment, PROT_WRITE, advice);
	case MADV_WIPEONFORK:
		return convert_and_advise(segment, advice);
	case MADV_REMOVE:
		return -EINVAL;
	case MADV_DODUMP:
		/* Core dumps leave these mappings out all the same. */
		return 0;
	default:
		return sys_madvise(segment->start, segment->end - segment->start, advice);
	}
}

/*
 * Populating ends at a hole from 6.9 on; older kernels go on behind it, where another
 * error may come.  Asked once, of a hole before a page that cannot be populated.  (What
 * another thread maps into that very hole meanwhile could only make the errno another.)
 */
static bool populating_goes_on(void)
{
	static int goes_on = -1;
	int known = __atomic_load_n(&goes_on, __ATOMIC_RELAXED);
	long pages;

	if (known >= 0)
		return known;
	pages = sys_mmap(0, 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(pages))
		return false;
	sys_munmap(pages, PAGE_BYTES);
	known = sys_madvise(pages, 2 * PAGE_BYTES, MADV_POPULATE_READ) != -ENOMEM;
	sys_munmap(pages + PAGE_BYTES, PAGE_BYTES);
	__atomic_store_n(&goes_on, known, __ATOMIC_RELAXED);
	return known;
}

/*
 * The kernel goes on behind a hole and says ENOMEM in the end; any other error ends
 * the call.
 */
static long advise(uint64_t start, uint64_t length, int advice)
{
	bool populates = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
	uint64_t end = start + page_up(length);
	bool hole = false;

	if (!page_aligned(start) || end <= start || page_up(length) < length ||
	    !book_may_hold(start, end))
		return sys_madvise(start, length, advice);
	while (start < end) {
		struct segment segment = book_segment(start, end);
		uint64_t bytes = segment.end - start;
		long result;

		result = segment.ours ? advise_ours(&segment, advice) :
					sys_madvise(start, bytes, advice);
		if (result && (result != -ENOMEM ||
			       (populates && (segment.ours || !populating_goes_on()))))
			return result;
		hole = hole || result;
		start = segment.end;
	}
	return hole ? -ENOMEM : 0;
}

API int madvise(void *address, size_t length, int advice)
{
	return sys_errno(advise((uint64_t)address, length, advice));
}

/* The C library's does nothing for DONTNEED; nor does this one. */
API int posix_madvise(void *address, size_t length, int advice)
{
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	return -advise((uint64_t)address, length, advice);
}

static long pin(uint64_t start, uint64_t length, int flags, bool lock)
{
	uint64_t end = page_up(start + length);
	long result;

	start &= -PAGE_BYTES;
	while (start < end) {
		struct segment segment = book_segment(start, end);
		uint64_t bytes = segment.end - segment.start;

		result = -ENOTTY;
		if (segment.ours && !flags) {
			result = device_range(lock ? VMLAB_IOC_PIN : VMLAB_IOC_UNPIN, start, bytes);
			if (!result)
				count(COUNT_pin);
			else if (result == -EIO)
				result = -EAGAIN;
		}
		if (result == -ENOTTY)
			result = lock ? sys_call(SYS_mlock2, start, bytes, flags, 0, 0, 0) :
					sys_call(SYS_munlock, start, bytes, 0, 0, 0, 0);
		if (result)
			return result;
		start = segment.end;
	}
	return 0;
}

API int mlock(const void *address, size_t length)
{
	uint64_t start = (uint64_t)address;

	if (start + length < start || !book_may_hold(start, page_up(start + length)))
		return sys_errno(sys_call(SYS_mlock, start, length, 0, 0, 0, 0));
	return sys_errno(pin(start, length, 0, true));
}

API int mlock2(const void *address, size_t length, unsigned int flags)
{
	uint64_t start = (uint64_t)address;

	if (start + length < start || !book_may_hold(start, page_up(start + length)))
		return sys_errno(sys_call(SYS_mlock2, start, length, flags, 0, 0, 0));
	return sys_errno(pin(start, length, flags, true));
}

API int munlock(const void *address, size_t length)
{
	uint64_t start = (uint64_t)address;

	if (start + length < start || !book_may_hold(start, page_up(start + length)))
		return sys_errno(sys_call(SYS_munlock, start, length, 0, 0, 0, 0));
	return sys_errno(pin(start, length, 0, false));
}

static long resident(uint64_t start, uint64_t end, unsigned char *vec)
{
	uint32_t words[RESIDENCY_PAGES];

	while (start < end) {
		uint64_t bytes = end - start, i;
		long result;

		if (bytes > RESIDENCY_PAGES * PAGE_BYTES)
			bytes = RESIDENCY_PAGES * PAGE_BYTES;
		result = device_residency(start, bytes, words);
		if (result)
			return result;
		for (i = 0; i < bytes / PAGE_BYTES; i++)
			vec[i] = !!(words[i] & VMLAB_RES_RESIDENT);
		vec += bytes / PAGE_BYTES;
		start += bytes;
	}
	return 0;
}

API int mincore(void *address, size_t length, unsigned char *vec)
{
	uint64_t start = (uint64_t)address, end = start + page_up(length);
	long result = 0;

	if (!page_aligned(start) || end <= start || !book_may_hold(start, end))
		return sys_errno(sys_call(SYS_mincore, start, length, (long)vec, 0, 0, 0));
	while (start < end && !result) {
		struct segment segment = book_segment(start, end);
		uint64_t bytes = segment.end - start;

		/* The kernel's answer first: it checks @vec, too. */
		result = sys_call(SYS_mincore, start, bytes, (long)vec, 0, 0, 0);
		if (!result && segment.ours)
			resident(start, segment.end, vec);
		vec += bytes / PAGE_BYTES;
		start = segment.end;
	}
	return sys_errno(result);
}

/*
 * The end of a thread is told by a futex on its stack that is not private, and those
 * do not work in mappings of a driver.
 */
API int pthread_attr_setstack(pthread_attr_t *attributes, void *address, size_t size)
{
	static int (*real)(pthread_attr_t *attributes, void *address, size_t size);
	uint64_t start = (uint64_t)address & -PAGE_BYTES;
	uint64_t end = page_up((uint64_t)address + size);
	struct book_guard guard;
	long result = 0;

	if (!real)
		real = dlsym(RTLD_NEXT, "pthread_attr_setstack");
	if (book_may_hold(start, end)) {
		book_lock(&guard);
		result = remap_convert(start, end);
		book_unlock(&guard);
	}
	if (!real)
		result = -ENOSYS;
	return result ? -result : real(attributes, address, size);
}
