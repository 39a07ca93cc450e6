// SPDX-License-Identifier: GPL-2.0
/*
 * A thread on a CPU of its own that stores to the same pages for ever, so that this CPU
 * holds translations for them that only a flush takes away.
 *
 * Owns the thread.  Between two rounds it looks at nothing but its own memory, so no system
 * call and no other page gives the CPU a reason to forget.
 */
#include "test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct spinner {
	pthread_t thread;
	char *map;
	unsigned int pages;
	atomic_uint rounds;
	atomic_bool stop;
};

static void *spin_body(void *arg)
{
	struct spinner *spinner = arg;
	unsigned int i;

	while (!atomic_load(&spinner->stop)) {
		for (i = 0; i < spinner->pages; i++)
			((volatile char *)spinner->map)[i * PAGE]++;
		atomic_fetch_add(&spinner->rounds, 1);
	}
	return NULL;
}

static void stay_on(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity: %m");
}

/* Starts it on CPU 1, and stays on CPU 0.  All its pages have been stored to on return. */
struct spinner *spin(char *map, unsigned int pages)
{
	struct spinner *spinner = calloc(1, sizeof(*spinner));

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP("this takes two CPUs");
	if (!spinner)
		die("no memory");
	spinner->map = map;
	spinner->pages = pages;
	stay_on(1);
	if (pthread_create(&spinner->thread, NULL, spin_body, spinner))
		die("no thread");
	stay_on(0);
	spin_rounds(spinner, 3);
	return spinner;
}

/* Waits until it went round so many times more. */
void spin_rounds(struct spinner *spinner, unsigned int rounds)
{
	unsigned int until = atomic_load(&spinner->rounds) + rounds + 1;

	while ((int)(atomic_load(&spinner->rounds) - until) < 0)
		sched_yield();
}

void spin_stop(struct spinner *spinner)
{
	atomic_store(&spinner->stop, true);
	pthread_join(spinner->thread, NULL);
	free(spinner);
}

/*
 * Starts a spinner whose CPU is seen to use translations that are out of date: only where
 * that can be seen does a test show that something flushes.  All pages are writable and
 * nothing is owed on return; events are forgotten.
 */
struct spinner *spin_stale(int fd, char *map, unsigned int first, unsigned int pages)
{
	struct spinner *spinner = spin(map, pages);
	unsigned int asked, try;

	for (try = 0; try < 10; try++) {
		reset(fd);
		change(fd, first, pages, CT_CHANGE_WRPROTECT, 0);
		spin_rounds(spinner, 2);
		asked = events(fd).faulted_pages;
		change(fd, first, pages, CT_CHANGE_WRPROTECT | CT_FLUSH_NESTED, first);
		spin_rounds(spinner, 2);
		reset(fd);
		if (asked <= pages / 2)
			return spinner;
	}
	SKIP("this CPU forgets translations by itself, so no flush can be shown");
}
