// SPDX-License-Identifier: GPL-2.0
/*
 * Objects of /dev/vmlab and their ioctls, in pages.  It must never hide an
 * error of the module: every failure comes back as -errno.
 */
#include "vmlab_test.h"

#include <stdlib.h>
#include <sys/ioctl.h>

/* A new object, readable and writable. */
int object_open(void)
{
	int fd = open("/dev/vmlab", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* A shared mapping, readable and writable; ends the process when there is none. */
void *object_map(int fd, uint64_t page, size_t pages)
{
	void *base = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, page * PAGE);

	if (base == MAP_FAILED)
		die("mmap of %zu pages at page %#lx: %m", pages, (unsigned long)page);
	return base;
}

/* A private mapping, likewise. */
void *object_map_private(int fd, uint64_t page, size_t pages)
{
	void *base = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, page * PAGE);

	if (base == MAP_FAILED)
		die("private mmap of %zu pages at page %#lx: %m", pages, (unsigned long)page);
	return base;
}

int object_info(int fd, struct vmlab_ioc_info *info)
{
	*info = (struct vmlab_ioc_info) { .size = sizeof(*info) };
	return ioctl(fd, VMLAB_IOC_INFO, info) ? -errno : 0;
}

/* Frames that the object costs: its pages and its own page table. */
uint64_t object_frames(int fd)
{
	struct vmlab_ioc_info info;

	if (object_info(fd, &info))
		die("INFO: %m");
	return info.resident_pages + info.leaf_pages;
}

int object_range(int fd, unsigned long cmd, uint64_t offset, uint64_t length,
		 uint64_t *done)
{
	struct vmlab_ioc_range range = {
		.size = sizeof(range), .offset = offset, .length = length,
	};
	int error = ioctl(fd, cmd, &range) ? -errno : 0;

	if (done)
		*done = range.done;
	return error;
}

int object_discard(int fd, uint64_t page, uint64_t pages)
{
	return object_range(fd, VMLAB_IOC_DISCARD, page * PAGE, pages * PAGE, NULL);
}

/* Pages evicted, or -errno. */
int64_t object_pageout(int fd, uint64_t page, uint64_t pages)
{
	uint64_t done;
	int error = object_range(fd, VMLAB_IOC_PAGEOUT, page * PAGE, pages * PAGE, &done);

	return error ?: (int64_t)(done / PAGE);
}

int object_populate(int fd, uint64_t page, uint64_t pages)
{
	return object_range(fd, VMLAB_IOC_POPULATE, page * PAGE, pages * PAGE, NULL);
}

int object_pin(int fd, uint64_t page, uint64_t pages)
{
	return object_range(fd, VMLAB_IOC_PIN, page * PAGE, pages * PAGE, NULL);
}

int object_unpin(int fd, uint64_t page, uint64_t pages)
{
	return object_range(fd, VMLAB_IOC_UNPIN, page * PAGE, pages * PAGE, NULL);
}

int object_limit(int fd, uint64_t pages)
{
	struct vmlab_ioc_limit limit = {
		.size = sizeof(limit), .flags = VMLAB_LIMIT_SET, .limit_pages = pages,
	};

	return ioctl(fd, VMLAB_IOC_LIMIT, &limit) ? -errno : 0;
}

int object_residency(int fd, uint64_t page, uint64_t pages, uint32_t *vec)
{
	struct vmlab_ioc_residency residency = {
		.size = sizeof(residency), .offset = page * PAGE, .length = pages * PAGE,
		.vec = (uintptr_t)vec,
	};

	return ioctl(fd, VMLAB_IOC_RESIDENCY, &residency) ? -errno : 0;
}

/* How many pages of a range have all of @bits. */
uint64_t object_count(int fd, uint64_t page, uint64_t pages, uint32_t bits)
{
	uint32_t *vec = calloc(pages, sizeof(*vec));
	uint64_t count = 0, i;

	if (!vec || object_residency(fd, page, pages, vec))
		die("RESIDENCY: %m");
	for (i = 0; i < pages; i++)
		count += (vec[i] & bits) == bits;
	free(vec);
	return count;
}

/* A copy's descriptor, or -errno. */
int object_snapshot(int fd, uint32_t flags)
{
	struct vmlab_ioc_snapshot snapshot = { .size = sizeof(snapshot), .flags = flags };

	return ioctl(fd, VMLAB_IOC_SNAPSHOT, &snapshot) ? -errno : snapshot.fd;
}

/* The same ioctls on what is mapped at an address; @done in pages. */
int address_range(int fd, unsigned long cmd, const void *address, uint64_t pages,
		  uint64_t *done)
{
	struct vmlab_ioc_range range = {
		.size = sizeof(range), .flags = VMLAB_RANGE_ADDRESS,
		.offset = (uintptr_t)address, .length = pages * PAGE,
	};
	int error = ioctl(fd, cmd, &range) ? -errno : 0;

	if (done)
		*done = range.done / PAGE;
	return error;
}

int address_residency(int fd, const void *address, uint64_t pages, uint32_t *vec)
{
	struct vmlab_ioc_residency residency = {
		.size = sizeof(residency), .flags = VMLAB_RANGE_ADDRESS,
		.offset = (uintptr_t)address, .length = pages * PAGE, .vec = (uintptr_t)vec,
	};

	return ioctl(fd, VMLAB_IOC_RESIDENCY, &residency) ? -errno : 0;
}
