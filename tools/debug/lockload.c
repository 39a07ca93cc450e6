// SPDX-License-Identifier: GPL-2.0
/*
 * Inside the guest of tools/debug/lockstat: threads, each on a CPU of its own, fault pages in,
 * while the kernel counts what happens to its locks. Only the faults are counted: what
 * comes before and between them is not. It prints what the kernel says as it is; to judge it
 * is the caller's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include "vmlab.h"

#define PAGE		4096UL
#define PAGES		1024UL	/* of each thread: two leaves */
#define THREADS		2
#define TREE		"/sys/kernel/debug/vmlab/"

struct worker {
	pthread_t thread;
	int fd, cpu;
	char *map;
	unsigned long sum;
};

static struct worker workers[THREADS];
static pthread_barrier_t start, end;
static bool loads, over;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* The lines of a file that have @with in them, each behind @mark. */
static void show(const char *path, const char *mark, const char *with)
{
	FILE *file = fopen(path, "re");
	char line[1024];

	if (!file)
		die(path);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, with))
			printf("%s %s", mark, line);
	fclose(file);
}

/* Faults that vmlab has seen, of all kinds; one that had to come again counts once more. */
static uint64_t faults(void)
{
	static const char * const kinds[] = {
		"fault_zero", "fault_hole", "fault_minor", "fault_mkwrite", "fault_swap",
		"fault_retry",
	};
	FILE *file = fopen(TREE "stats", "re");
	char line[256], name[128];
	unsigned long value;
	uint64_t sum = 0;
	size_t i;

	if (!file)
		die(TREE "stats");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%127s %lu", name, &value) != 2)
			continue;
		for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (!strcmp(name, kinds[i]))
				sum += value;
	}
	fclose(file);
	return sum;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	cpu_set_t set;
	size_t i;

	CPU_ZERO(&set);
	CPU_SET(worker->cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
	for (;;) {
		pthread_barrier_wait(&start);
		if (over)
			return NULL;
		for (i = 0; i < PAGES; i++) {
			volatile char *at = worker->map + i * PAGE;

			if (loads)
				worker->sum += *at;
			else
				*at = 1;
		}
		pthread_barrier_wait(&end);
	}
}

static void act(int fd, unsigned long cmd)
{
	struct vmlab_ioc_range range = { .size = sizeof(range), .length = THREADS * PAGES * PAGE };

	if (ioctl(fd, cmd, &range))
		die("ioctl");
}

/* Each worker's pages: in one object, one behind the other's, or at the start of its own. */
static void map_all(bool own)
{
	int i, fd = -1;

	for (i = 0; i < THREADS; i++) {
		if (fd < 0 || own)
			fd = open("/dev/vmlab", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			die("/dev/vmlab");
		workers[i].fd = fd;
		workers[i].map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				      own ? 0 : i * PAGES * PAGE);
		if (workers[i].map == MAP_FAILED)
			die("mmap");
		/* A fault for each page: none is filled, read or mapped along. */
		if (madvise(workers[i].map, PAGES * PAGE, MADV_RANDOM))
			die("madvise");
	}
}

static void unmap_all(bool own)
{
	int i;

	for (i = 0; i < THREADS; i++) {
		munmap(workers[i].map, PAGES * PAGE);
		if (own || !i)
			close(workers[i].fd);
	}
}

static uint64_t run_all(bool load)
{
	uint64_t before = faults();

	loads = load;
	put("/proc/sys/kernel/lock_stat", "1");
	pthread_barrier_wait(&start);
	pthread_barrier_wait(&end);
	put("/proc/sys/kernel/lock_stat", "0");
	return faults() - before;
}

static void measure(const char *name, bool own, bool back, unsigned int seconds)
{
	double until = now() + seconds;
	unsigned int rounds = 0, i;
	uint64_t sum = 0;

	put("/proc/lock_stat", "0");
	map_all(own);
	for (; !rounds || now() < until; rounds++) {
		for (i = 0; i < THREADS; i++)
			act(workers[i].fd, VMLAB_IOC_DISCARD);
		if (back) {
			for (i = 0; i < THREADS; i++)
				memset(workers[i].map, 1, PAGES * PAGE);
			act(workers[0].fd, VMLAB_IOC_PAGEOUT);
		}
		sum += run_all(back);
	}
	unmap_all(own);
	printf("phase %s\nrounds %u\nfaults %lu\n", name, rounds, (unsigned long)sum);
	show("/proc/lock_stat", "stat", ":");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 20;
	int i;

	put("/proc/sys/kernel/lock_stat", "0");
	/* May be there already. */
	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	if (system("mkswap /dev/vda >/dev/null"))
		die("mkswap");
	put(TREE "swap", "on /dev/vda\n");
	/* The thread that zeroes ahead takes locks too, which would seem to be the faults'. */
	put(TREE "zero_stock", "0\n");
	pthread_barrier_init(&start, NULL, THREADS + 1);
	pthread_barrier_init(&end, NULL, THREADS + 1);
	for (i = 0; i < THREADS; i++) {
		workers[i].cpu = i;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("pthread_create");
	}
	measure("stores into one object", false, false, seconds);
	measure("stores into an object each", true, false, seconds);
	measure("loads from swap, of one object", false, true, seconds);
	over = true;
	pthread_barrier_wait(&start);
	for (i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	/* Whose lock classes are whose: by where their keys are. */
	show("/proc/kallsyms", "symbol", "[vmlab]");
	show("/proc/lockdep", "class", ": ");
	return 0;
}
