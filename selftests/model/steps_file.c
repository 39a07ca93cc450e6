// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that read and write by calls: pread(), pwrite(), with buffers in ordinary memory
 * and in the object itself, and through /proc/self/mem as a debugger does.
 */
#include "model.h"

#include <string.h>
#include <sys/uio.h>

static void step_pwrite(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);
	uint32_t generation;
	ssize_t done;

	page_lock(thread, page);
	generation = change_begin(page, thread->owner, CHANGE_WRITE, from, nr);
	fill(thread->buffer, page, from, nr, thread->owner, generation);
	done = pwrite(object_of(page)->fd, thread->buffer, nr, offset_of(page) + from);
	if (done != (ssize_t)nr)
		fail("pwrite of %u bytes to page %u: %zd, %m", nr, page, done);
	change_end(page);
	page_unlock(thread, page);
}

/* Several pages in one call. */
static void step_pwritev(struct thread *thread)
{
	static __thread unsigned char bytes[8][PAGE];
	unsigned int first = any_page(thread), nr = run_from(first, 1 + pick(thread, 8)), i;
	struct iovec parts[8];
	ssize_t done;

	if (object_of(first)->stride > 1)
		nr = 1;
	run_lock(thread, first, nr);
	for (i = 0; i < nr; i++) {
		fill(bytes[i], first + i, 0, PAGE, thread->owner,
		     change_begin(first + i, thread->owner, CHANGE_WRITE, 0, PAGE));
		parts[i] = (struct iovec) { bytes[i], PAGE };
	}
	done = pwritev(object_of(first)->fd, parts, nr, offset_of(first));
	if (done != (ssize_t)(nr * PAGE))
		fail("pwritev of %u pages from page %u on: %zd, %m", nr, first, done);
	for (i = 0; i < nr; i++)
		change_end(first + i);
	run_unlock(thread, first, nr);
}

static void step_pread(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);
	ssize_t done;

	page_lock(thread, page);
	done = pread(object_of(page)->fd, thread->buffer, nr, offset_of(page) + from);
	if (done != (ssize_t)nr)
		fail("pread of %u bytes of page %u: %zd, %m", nr, page, done);
	check(page, thread->buffer, from, nr, "pread()");
	page_unlock(thread, page);
}

static void step_pread_unlocked(struct thread *thread)
{
	check_unlocked(thread, any_page(thread), false);
}

/* A page's bytes onto themselves, by way of its own mapping: nothing changes. */
static void step_self_copy(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);
	bool write = pick(thread, 2);
	int fd = object_of(page)->fd;
	ssize_t done;
	char *mapped;

	page_lock(thread, page);
	mapped = view_need(thread, page, PROT_READ | PROT_WRITE) + from;
	/* A page that is written to is no hole any more. */
	if (model->page[page].written) {
		if (write)
			done = pwrite(fd, mapped, nr, offset_of(page) + from);
		else
			done = pread(fd, mapped, nr, offset_of(page) + from);
		if (done != (ssize_t)nr)
			fail("%s of page %u by its own mapping: %zd, %m",
			     write ? "pwrite" : "pread", page, done);
	}
	memcpy(thread->buffer, mapped, nr);
	check(page, thread->buffer, from, nr, "a copy onto itself");
	page_unlock(thread, page);
}

static void step_mem_read(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);
	ssize_t done;

	page_lock(thread, page);
	done = pread(thread->mem, thread->buffer, nr,
		     (off_t)(uintptr_t)view_need(thread, page, PROT_READ) + from);
	if (done != (ssize_t)nr)
		fail("/proc/self/mem of %u bytes of page %u: %zd, %m", nr, page, done);
	check(page, thread->buffer, from, nr, "/proc/self/mem");
	page_unlock(thread, page);
}

static void step_mem_write(struct thread *thread)
{
	unsigned int page = any_page(thread), from = pick(thread, PAGE);
	unsigned int nr = 1 + pick(thread, PAGE - from);
	uint32_t generation;
	ssize_t done;
	char *to;

	page_lock(thread, page);
	to = view_need(thread, page, PROT_READ | PROT_WRITE) + from;
	generation = change_begin(page, thread->owner, CHANGE_WRITE, from, nr);
	fill(thread->buffer, page, from, nr, thread->owner, generation);
	done = pwrite(thread->mem, thread->buffer, nr, (off_t)(uintptr_t)to);
	if (done != (ssize_t)nr)
		fail("/proc/self/mem: writing %u bytes of page %u: %zd, %m", nr, page, done);
	change_end(page);
	page_unlock(thread, page);
}

static const struct step steps[] = {
	{ "pwrite", 60, step_pwrite },
	{ "pwritev", 20, step_pwritev },
	{ "pread", 60, step_pread },
	{ "pread without the lock", 40, step_pread_unlocked },
	{ "copy onto itself", 15, step_self_copy },
	{ "read of /proc/self/mem", 10, step_mem_read },
	{ "write to /proc/self/mem", 10, step_mem_write },
};

STEPS(steps);
