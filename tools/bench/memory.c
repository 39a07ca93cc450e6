// SPDX-License-Identifier: GPL-2.0
/*
 * Memory to be measured: the same few steps on vmlab's and on Linux's own.  Linux's is always
 * in pages of 4 KiB, unless huge ones are asked for.  It must never touch a page outside of
 * what its caller measures.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmlab.h"

#define HUGE_BYTES (2 * MIB)

static int vmlab_open(void)
{
	int fd = open("/dev/vmlab", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/vmlab: %m");
	return fd;
}

static void map_fd(struct memory *memory, int flags)
{
	memory->map = mmap(NULL, memory->pages * PAGE, PROT_READ | PROT_WRITE, flags,
			   memory->fd, 0);
	if (memory->map == MAP_FAILED)
		die("mmap: %m");
}

static void map(struct memory *memory, enum side side, size_t pages, int flags)
{
	memory->side = side;
	memory->pages = pages;
	memory->fd = -1;
	if (side == SIDE_VMLAB) {
		memory->fd = vmlab_open();
		map_fd(memory, flags);
		return;
	}
	memory->map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory->map == MAP_FAILED)
		die("mmap: %m");
	if (madvise(memory->map, pages * PAGE, MADV_NOHUGEPAGE))
		die("MADV_NOHUGEPAGE: %m");
}

/* vmlab's memory, or Linux's anonymous memory. */
void memory_map(struct memory *memory, enum side side, size_t pages)
{
	map(memory, side, pages, MAP_SHARED);
}

/* The same, but a forked child has a copy. */
void memory_map_private(struct memory *memory, enum side side, size_t pages)
{
	map(memory, side, pages, MAP_PRIVATE);
}

/* Memory that outlives its mapping: vmlab's does, Linux's is then a memfd. */
void memory_map_shared(struct memory *memory, enum side side, size_t pages)
{
	if (side == SIDE_VMLAB && !memory->map) {
		memory_map(memory, side, pages);
		return;
	}
	if (!memory->map) {
		memory->side = side;
		memory->pages = pages;
		memory->fd = memfd_create("bench", MFD_CLOEXEC);
		if (memory->fd < 0 || ftruncate(memory->fd, pages * PAGE))
			die("memfd: %m");
	}
	map_fd(memory, MAP_SHARED);
}

/* Memory that is to have huge pages, in a place for them; Linux's is anonymous. */
void memory_map_huge(struct memory *memory, enum side side, size_t pages, bool private)
{
	size_t bytes = pages * PAGE, head;
	char *room;

	memory->side = side;
	memory->pages = pages;
	memory->fd = -1;
	if (side == SIDE_VMLAB) {
		memory->fd = vmlab_open();
		map_fd(memory, private ? MAP_PRIVATE : MAP_SHARED);
	} else {
		room = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (room == MAP_FAILED)
			die("mmap: %m");
		head = -(uintptr_t)room % HUGE_BYTES;
		memory->map = room + head;
		if ((head && munmap(room, head)) ||
		    munmap(memory->map + bytes, HUGE_BYTES - head))
			die("munmap: %m");
	}
	if ((uintptr_t)memory->map % HUGE_BYTES || madvise(memory->map, bytes, MADV_HUGEPAGE))
		die("no mapping for huge pages: %m");
}

/* Keeps the address in @map, to say that there was a mapping. */
void memory_unmap(struct memory *memory)
{
	if (munmap(memory->map, memory->pages * PAGE))
		die("munmap: %m");
}

void memory_close(struct memory *memory)
{
	if (memory->fd >= 0)
		close(memory->fd);
	memory->fd = -1;
}

/*
 * A store to each page, in ascending order.  Never zeros: Linux does not write pages of
 * zeros to swap.
 */
void memory_fill(struct memory *memory)
{
	size_t i;

	for (i = 0; i < memory->pages; i++)
		*(volatile uint64_t *)(memory->map + i * PAGE) = i + 1;
}

static uint64_t vmlab_range(int fd, unsigned long request, size_t pages)
{
	struct vmlab_ioc_range range = { .size = sizeof(range), .length = pages * PAGE };

	if (ioctl(fd, request, &range))
		die("ioctl %lx: %m", request);
	return range.done / PAGE;
}

/* All of it to swap, as far as it goes: returns how many pages went. */
uint64_t memory_pageout(struct memory *memory)
{
	uint64_t before;

	if (memory->side == SIDE_VMLAB)
		return vmlab_range(memory->fd, VMLAB_IOC_PAGEOUT, memory->pages);
	before = kernel_counter("pswpout");
	if (madvise(memory->map, memory->pages * PAGE, MADV_PAGEOUT))
		die("MADV_PAGEOUT: %m");
	return kernel_counter("pswpout") - before;
}

/* The numbers of pages in the order in which they are touched; always the same one. */
const uint32_t *order_of(size_t pages, bool random)
{
	static uint32_t *orders[2];
	static size_t sizes[2];
	uint64_t seed = 0x9e3779b97f4a7c15;
	uint32_t *order, swap;
	size_t i, j;

	if (sizes[random] == pages)
		return orders[random];
	free(orders[random]);
	order = malloc(pages * sizeof(*order));
	if (!order)
		die("out of memory");
	for (i = 0; i < pages; i++)
		order[i] = i;
	for (i = pages - 1; random && i; i--) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		j = seed % (i + 1);
		swap = order[i];
		order[i] = order[j];
		order[j] = swap;
	}
	orders[random] = order;
	sizes[random] = pages;
	return order;
}

void touch(const struct memory *memory, const uint32_t *order, size_t nr, bool write)
{
	size_t i;

	if (write)
		for (i = 0; i < nr; i++)
			*(volatile uint64_t *)(memory->map + order[i] * PAGE) = i + 1;
	else
		for (i = 0; i < nr; i++)
			(void)*(volatile uint64_t *)(memory->map + order[i] * PAGE);
}
