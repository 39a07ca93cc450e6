// SPDX-License-Identifier: GPL-2.0
/*
 * What the benchmark asks of the guest that it runs in: clocks, vmlab's debugfs, swap, disks,
 * the test module.  A value that is not there ends the program: a figure without what it
 * stands on must never be printed.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define TREE "/sys/kernel/debug/vmlab/"
#define STOCK 4096

void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	fflush(stdout);
	fprintf(stderr, "bench: ");
	errno = error;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

void nap(unsigned int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

void file_read(const char *path, char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %m", path);
	while ((got = read(fd, text + used, size - 1 - used)) > 0)
		used += got;
	if (got < 0)
		die("%s: %m", path);
	close(fd);
	text[used] = '\0';
}

bool file_write(const char *path, const char *format, ...)
{
	char text[256];
	int length, fd;
	va_list args;
	bool done;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, length) == length;
	close(fd);
	return done;
}

void command(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (system(text))
		die("failed: %s", text);
}

/* The value of a line `name value`. */
static uint64_t value_in(const char *path, const char *name)
{
	char text[16384], *line, *rest = text;
	size_t length = strlen(name);

	file_read(path, text, sizeof(text));
	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, name, length) && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	die("%s has no %s", path, name);
}

uint64_t vmlab_counter(const char *name)
{
	return value_in(TREE "stats", name);
}

uint64_t kernel_counter(const char *name)
{
	return value_in("/proc/vmstat", name);
}

uint64_t vmlab_pool_frames(const char *field)
{
	char text[4096], *word, *rest = text;

	file_read(TREE "pool", text, sizeof(text));
	while ((word = strsep(&rest, "\n ")))
		if (!strcmp(word, field))
			return strtoull(strsep(&rest, "\n "), NULL, 10);
	die("debugfs pool has no %s", field);
}

static bool stock_set(unsigned int frames)
{
	return file_write(TREE "zero_stock", "%u\n", frames);
}

void stock_off(void)
{
	if (!stock_set(0))
		die("zero_stock: %m");
}

/* Waits until the thread has filled it; returns how many frames it holds. */
uint64_t stock_fill(void)
{
	uint64_t before = ~0ULL, zeroed = 0;

	if (!stock_set(STOCK))
		die("zero_stock: %m");
	while (zeroed != before) {
		before = zeroed;
		nap(200);
		zeroed = vmlab_pool_frames("zeroed");
	}
	return zeroed;
}

/* Bounds the stock of whole chunks, and waits until the thread has zeroed as many. */
void chunk_stock_fill(unsigned int chunks)
{
	uint64_t before = ~0ULL, zeroed = 0;

	if (!file_write(TREE "zero_chunks", "%u\n", chunks))
		die("zero_chunks: %m");
	while (chunks && zeroed != before) {
		before = zeroed;
		nap(200);
		zeroed = vmlab_counter("thp_zeroed_chunks");
	}
}

/* On or off: how many leaves it looks at in a second, 64 being what it is unless told. */
void promotion_set(bool on)
{
	if (!file_write(TREE "promote/scan_leaves", "%u\n", on ? 64 : 0))
		die("promote/scan_leaves: %m");
}

/* Time on a CPU of the threads that zero ahead. */
uint64_t zero_thread_ns(void)
{
	unsigned long long sum = 0, ns;
	char path[64], text[256];
	bool found = false;
	int pid;

	/* Kernel threads of a module that was loaded at boot have small numbers. */
	for (pid = 1; pid < 4096; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (access(path, R_OK))
			continue;
		file_read(path, text, sizeof(text));
		if (strncmp(text, "vmlab_zerod", strlen("vmlab_zerod")))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
		file_read(path, text, sizeof(text));
		if (sscanf(text, "%llu", &ns) != 1)
			die("%s: %s", path, text);
		sum += ns;
		found = true;
	}
	if (!found)
		die("no thread vmlab_zerod");
	return sum;
}

void pool_set_mb(unsigned int mb)
{
	if (!file_write(TREE "node0/pool_mb", "%u\n", mb))
		die("the pool does not become %u MiB: %m", mb);
}

void swap_on(enum side side, const char *disk)
{
	command("/sbin/mkswap -f %s >/dev/null 2>&1", disk);
	if (side == SIDE_VMLAB ? !file_write(TREE "swap", "on %s\n", disk) : swapon(disk, 0))
		die("swap on %s: %m", disk);
}

void swap_off(enum side side, const char *disk)
{
	if (side == SIDE_VMLAB ? !file_write(TREE "swap", "off %s\n", disk) : swapoff(disk))
		die("swap off %s: %m", disk);
}

/* What reached the disk: requests after merging. */
void disk_stat(const char *disk, struct disk_stat *stat)
{
	unsigned long long v[7];
	char path[64], text[512];

	snprintf(path, sizeof(path), "/sys/block/%s/stat", disk + strlen("/dev/"));
	file_read(path, text, sizeof(text));
	if (sscanf(text, "%llu %llu %llu %llu %llu %llu %llu",
		   &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6]) != 7)
		die("%s: %s", path, text);
	stat->reads = v[0];
	stat->read_pages = v[2] / 8;
	stat->writes = v[4];
	stat->write_pages = v[6] / 8;
}

/* The test module, built for this kernel by tools/bench/run. */
void limit_load(void)
{
	const char *path = getenv("VMLAB_BENCH_LIMIT");
	int fd;

	if (!access("/dev/vmlab_limit", F_OK))
		return;
	fd = open(path ? path : "limit.ko", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		die("%s: %m", path ? path : "limit.ko");
	close(fd);
}

int limit_open(void)
{
	int fd = open("/dev/vmlab_limit", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/vmlab_limit: %m");
	return fd;
}
