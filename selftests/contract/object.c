// SPDX-License-Identifier: GPL-2.0
/*
 * Objects of /dev/vmlab_contract and what can be asked about them.
 *
 * Owns the ioctls: tests do not call them by themselves where there is a function here.
 */
#include "test.h"

#include <string.h>

static int ask(int fd, unsigned long cmd, void *arg, const char *name)
{
	int ret = ioctl(fd, cmd, arg);

	if (ret < 0)
		die("%s: %m", name);
	return ret;
}

#define ASK(fd, cmd, arg) ask(fd, cmd, (void *)(uintptr_t)(arg), #cmd)

/* An object whose callbacks do what @flags (CT_*) say. */
int object(unsigned int flags)
{
	int fd = open(CT_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die(CT_DEVICE ": %m");
	setup(fd, flags);
	return fd;
}

void setup(int fd, unsigned int flags)
{
	ASK(fd, CT_IOC_SETUP, flags);
}

/* Forgets the events so far. */
void reset(int fd)
{
	ASK(fd, CT_IOC_RESET, 0);
}

struct ct_events events(int fd)
{
	struct ct_events seen;

	ASK(fd, CT_IOC_EVENTS, &seen);
	return seen;
}

static char *map(int fd, int flags, unsigned int first, unsigned int pages)
{
	char *address = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, first * PAGE);

	if (address == MAP_FAILED)
		die("mmap: %m");
	return address;
}

char *shared_map(int fd, unsigned int first, unsigned int pages)
{
	return map(fd, MAP_SHARED, first, pages);
}

char *private_map(int fd, unsigned int first, unsigned int pages)
{
	return map(fd, MAP_PRIVATE, first, pages);
}

/* The whole object, shared, where a chunk fits a PMD. */
char *chunk_map(int fd)
{
	char *address = shared_map(fd, 0, CT_PAGES);

	if ((uintptr_t)address % LEAF_BYTES)
		die("the mapping is not aligned to 2 MiB");
	return address;
}

struct ct_entry look(int fd, const void *address)
{
	struct ct_entry entry = { .addr = (uintptr_t)address };

	ASK(fd, CT_IOC_LOOK, &entry);
	return entry;
}

/* How many of the pages the caller's tables map, by whatever size. */
unsigned int present_ptes(int fd, const char *map, unsigned int pages)
{
	unsigned int i, found = 0;

	for (i = 0; i < pages; i++)
		found += !!(look(fd, map + i * PAGE).flags & CT_PRESENT);
	return found;
}

void set_ptes(int fd, char *map, unsigned int pages, unsigned int flags)
{
	struct ct_range range = { .addr = (uintptr_t)map, .pages = pages, .flags = flags };

	ASK(fd, CT_IOC_SET, &range);
}

int change(int fd, unsigned int first, unsigned int pages, unsigned int flags, unsigned int zap)
{
	struct ct_range range = {
		.first = first, .pages = pages, .flags = flags, .zap = zap,
	};

	return ASK(fd, CT_IOC_CHANGE, &range);
}

void zap(int fd, char *map, unsigned int pages)
{
	struct ct_range range = { .addr = (uintptr_t)map, .pages = pages };

	ASK(fd, CT_IOC_ZAP, &range);
}

int zap_all(int fd, unsigned int first, unsigned int pages)
{
	struct ct_range range = { .first = first, .pages = pages };

	return ASK(fd, CT_IOC_ZAP_ALL, &range);
}

/* apply_to_page_range() without a callback: 0 or -errno. */
int tables(int fd, char *map, unsigned int pages)
{
	struct ct_range range = { .addr = (uintptr_t)map, .pages = pages };

	return ioctl(fd, CT_IOC_TABLES, &range) ? -errno : 0;
}

int vmas(int fd, unsigned int first, unsigned int pages)
{
	struct ct_range range = { .first = first, .pages = pages };

	return ASK(fd, CT_IOC_TREE, &range);
}

/* 0 or -errno. */
int retire(int fd, char *map)
{
	struct ct_range range = { .addr = (uintptr_t)map };

	return ioctl(fd, CT_IOC_RETIRE, &range) ? -errno : 0;
}

/* Addresses that nothing else uses, aligned to 2 MiB. */
char *address_space(size_t bytes)
{
	char *room = mmap(NULL, bytes + LEAF_BYTES, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		die("no address space: %m");
	return room + (-(uintptr_t)room & (LEAF_BYTES - 1));
}

/* What follows @start at the beginning of a line of a file in /proc; NULL: no such line. */
const char *word_after(const char *path, const char *start)
{
	static char line[1024];
	const char *found = NULL;
	FILE *file = fopen(path, "r");

	if (!file)
		die("%s: %m", path);
	while (!found && fgets(line, sizeof(line), file))
		if (!strncmp(line, start, strlen(start)))
			found = line + strlen(start);
	fclose(file);
	return found;
}

/* A child of the test must end well, or the test has failed or skipped as the child did. */
void child_ok(pid_t pid)
{
	int status = child_wait(pid);

	if (status == BY_SIGNAL(9))
		die("a child was killed");
	if (status)
		_exit(status);
}

void run_child(int (*body)(void *arg), void *arg)
{
	child_ok(child_start(body, arg));
}
