// SPDX-License-Identifier: GPL-2.0
/*
 * Rows: what nobody can do better than, whatever the design, to judge the others by.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "limit/limit.h"

#define PAGES 3584

/* Exception, the core's way to a handler, one PTE set under its lock, and back. */
static void empty_fault(struct round *round)
{
	const uint32_t *order = order_of(PAGES, true);
	struct memory memory = { .pages = PAGES, .fd = limit_open() };

	memory.map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
	if (memory.map == MAP_FAILED)
		die("mmap: %m");
	/* The page tables are not what is measured. */
	touch(&memory, order, PAGES, true);
	if (ioctl(memory.fd, LIMIT_IOC_UNMAP, memory.map))
		die("unmap: %m");
	round_begin(round);
	touch(&memory, order, PAGES, true);
	round_end(round, PAGES);
	memory_unmap(&memory);
	memory_close(&memory);
}

static void zero_page(struct round *round)
{
	int fd = limit_open();

	round_begin(round);
	if (ioctl(fd, LIMIT_IOC_CLEAR, PAGES))
		die("clear: %m");
	round_end(round, PAGES);
	close(fd);
}

static void present(struct round *round)
{
	const uint32_t *order = order_of(PAGES, true);
	struct memory memory;

	memory_map(&memory, SIDE_LINUX, PAGES);
	touch(&memory, order, PAGES, true);
	round_begin(round);
	touch(&memory, order, PAGES, true);
	round_end(round, PAGES);
	memory_unmap(&memory);
}

static void system_call(struct round *round)
{
	int i;

	round_begin(round);
	for (i = 0; i < 4096; i++)
		syscall(SYS_getppid);
	round_end(round, 4096);
}

#define DISK_BYTES (8 * MIB)

/* The disk under swap, one request at a time past every cache: @arg KiB each. */
static void disk(struct round *round)
{
	size_t size = round->arg * 1024UL, nr = DISK_BYTES / size, i;
	const uint32_t *order = order_of(nr, round->random);
	int fd = open("/dev/vda", O_RDWR | O_DIRECT | O_CLOEXEC);
	char *buffer = aligned_alloc(PAGE, size);
	ssize_t done;

	if (fd < 0 || !buffer)
		die("/dev/vda: %m");
	memset(buffer, 1, size);
	round_begin(round);
	for (i = 0; i < nr; i++) {
		if (round->write)
			done = pwrite(fd, buffer, size, order[i] * size);
		else
			done = pread(fd, buffer, size, order[i] * size);
		if (done != (ssize_t)size)
			die("/dev/vda: %m");
	}
	round_end(round, nr);
	round_count(round, "mib_s", DISK_BYTES / (double)MIB / (round->ns / 1e9));
	free(buffer);
	close(fd);
}

#define LIMIT (ROW_ICOUNT | ROW_LIMIT | ROW_ONE_SIDE)

static const struct row rows[] = {
	{ "empty_fault", "fault", empty_fault, LIMIT },
	{ "zero_page", "page", zero_page, LIMIT },
	{ "present", "page", present, ROW_ICOUNT | ROW_ONE_SIDE },
	{ "system_call", "call", system_call, ROW_ICOUNT | ROW_ONE_SIDE },
	{ "disk_read_4k_random", "I/O", disk, ROW_ONE_SIDE | ROW_DISK, true, false, 4 },
	{ "disk_write_4k_random", "I/O", disk, ROW_ONE_SIDE | ROW_DISK, true, true, 4 },
	{ "disk_read_4k_seq", "I/O", disk, ROW_ONE_SIDE | ROW_DISK, false, false, 4 },
	{ "disk_read_512k_seq", "I/O", disk, ROW_ONE_SIDE | ROW_DISK, false, false, 512 },
	{ "disk_write_512k_seq", "I/O", disk, ROW_ONE_SIDE | ROW_DISK, false, true, 512 },
	{ 0 }
};

BENCH_ROWS(rows);
