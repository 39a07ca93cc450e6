// SPDX-License-Identifier: GPL-2.0
/*
 * The controller: starts workers, kills them, stops them for a look at the laws, and
 * counts at the end whether everything is back.
 *
 * It is the only process that knows all others, and the only one that ends the test.  It
 * must never take a step while threads run.
 */
#include "model.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PAUSE_SECONDS 3
#define PARK_SECONDS 120	/* until all threads must have stopped */
#define LOOK_SECONDS 10		/* until the laws are looked at while some still run */
#define CPU "/sys/devices/system/cpu/cpu1/online"

static pid_t pids[WORKERS], groups[WORKERS];
static uint64_t state;
static unsigned int kills, pauses, restarts;

/* What must be the same at the end. */
struct books {
	uint64_t total, free, resident, leaf, dirty, pinned, swapped;
};

static struct books books_read(void)
{
	struct books books = {
		.total = pool_sum("total"), .free = pool_sum("free"),
		.resident = pool_sum("resident"), .leaf = pool_sum("leaf"),
		.dirty = pool_sum("dirty"), .pinned = pool_sum("pinned"),
	};

	if (under_pressure())
		books.swapped = swap_field(pressure_disk(), "used");
	return books;
}

static void tell_books(const char *when, const struct books *books)
{
	note("%s: total %lu, free %lu, resident %lu, leaf %lu, dirty %lu, pinned %lu, swap %lu KiB",
	     when, books->total, books->free, books->resident, books->leaf, books->dirty,
	     books->pinned, books->swapped);
}

/* Frames come back late (RCU, caches of reclaim): wait for what must come true. */
static void books_compare(const struct books *begin)
{
	double until = now() + 15 * slowness();
	struct books end;

	for (;;) {
		end = books_read();
		if (!memcmp(begin, &end, sizeof(end)))
			return;
		if (now() > until)
			break;
		usleep(100000);
	}
	tell_books("at the start", begin);
	tell_books("now", &end);
	fail("pool and swap are not as empty as at the start");
}

static unsigned int whose(pid_t pid)
{
	unsigned int worker;

	for (worker = 0; worker < WORKERS && pids[worker] != pid; worker++)
		;
	return worker;
}

static void start(unsigned int worker)
{
	unsigned int i;
	int ends[2];

	for (i = 0; i < THREADS; i++) {
		struct place *place = &model->places[worker * THREADS + i];

		atomic_store(&place->parked, false);
		atomic_store(&place->kind, -1);
	}
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		die("socketpair: %m");
	for (i = 1; i < OBJECTS; i += 2)
		if (socket_send(ends[0], model->objects[i].fd, model->objects[i].fd))
			die("a descriptor could not be sent: %m");
	pids[worker] = fork();
	if (pids[worker] < 0)
		die("fork: %m");
	if (!pids[worker]) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		/* These come through the socket; until then the numbers stay in use. */
		for (i = 1; i < OBJECTS; i += 2)
			dup2(ends[1], model->objects[i].fd);
		_exit(worker_run(worker, ends[1]));
	}
	groups[worker] = pids[worker];
	setpgid(pids[worker], pids[worker]);
	close(ends[0]);
	close(ends[1]);
}

static void cpus_on(void)
{
	int fd = open(CPU, O_WRONLY | O_CLOEXEC);

	/* It fails where the CPU is on already. */
	if (fd >= 0 && write(fd, "1", 1) < 0 && errno != EINVAL)
		note("cpu1 stays off: %m");
	if (fd >= 0)
		close(fd);
}

/* The worker is dead: wait for its children, mend, start it again. */
static void bury(unsigned int worker, bool again)
{
	pid_t group = pids[worker];

	kill(-group, SIGKILL);
	while (waitpid(-group, NULL, 0) > 0 || errno == EINTR)
		;
	pids[worker] = 0;
	if (model->failed)
		return;
	recover(worker);
	cpus_on();
	if (again) {
		start(worker);
		restarts++;
	}
}

static void kill_one(void)
{
	unsigned int worker = chance(&state) % WORKERS;

	kill(-pids[worker], SIGKILL);
	if (waitpid(pids[worker], NULL, 0) < 0)
		die("waitpid: %m");
	kills++;
	bury(worker, true);
}

/* A child that outlived its parent. */
static void bury_orphan(pid_t pid, int status)
{
	life_end(pid);
	if ((WIFEXITED(status) && WEXITSTATUS(status)) ||
	    (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGALRM))
		fail("orphan %d ended with status %#x", pid, status);
}

/* Workers that ended by themselves; false: no process is left. */
static bool reap(void)
{
	unsigned int worker;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		worker = whose(pid);
		if (worker == WORKERS) {
			bury_orphan(pid, status);
			continue;
		}
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_AGAIN) {
			bury(worker, true);
			continue;
		}
		pids[worker] = 0;
		if (WIFSIGNALED(status))
			fail("worker %u was killed by signal %d, not by us", worker,
			     WTERMSIG(status));
		if (WEXITSTATUS(status) || !model->stop)
			fail("worker %u ended with status %d", worker, WEXITSTATUS(status));
	}
	return !pid;
}

static void kill_all(void)
{
	unsigned int worker;

	/* Who speaks needs a moment; a worker that did is gone, but not its children. */
	usleep(500000);
	for (worker = 0; worker < WORKERS; worker++)
		if (groups[worker])
			kill(-groups[worker], SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	cpus_on();
}

static void tell_threads(void)
{
	unsigned int i;

	for (i = 0; i < WORKERS * THREADS; i++)
		note("  thread %u: step %lu, %s%s", i + 1,
		     (unsigned long)model->places[i].number, steps_name(model->places[i].kind),
		     model->places[i].parked ? ", parked" : "");
}

static bool all_parked(void)
{
	unsigned int i;

	for (i = 0; i < WORKERS * THREADS; i++)
		if (!model->places[i].parked)
			return false;
	return true;
}

static void check_page(unsigned int page)
{
	unsigned char seen[PAGE];
	ssize_t done;

	if (model->page[page].lock || model->page[page].now.state != CHANGE_NONE)
		fail("page %u is locked by %u, but nobody runs", page, model->page[page].lock);
	done = pread(object_of(page)->fd, seen, PAGE, offset_of(page));
	if (done != (ssize_t)PAGE)
		fail("pread of page %u by the controller: %zd, %m", page, done);
	check(page, seen, 0, PAGE, "the controller");
}

static void check_laws(const char *when)
{
	const char *complaints = verify_complaints();

	if (*complaints)
		fail("%s: verify says %s", when, complaints);
}

/*
 * Everybody stops: the laws must hold, and a part of the pages is looked at.  Who does not
 * stop may wait for what a broken law has taken away, so the laws are not put off for long.
 */
static void pause_all(void)
{
	double until = now() + PARK_SECONDS * slowness();
	double look = now() + LOOK_SECONDS * slowness();
	unsigned int page;

	atomic_store(&model->pause, true);
	while (!all_parked() && !model->failed) {
		reap();
		if (now() > until) {
			tell_threads();
			fail("threads did not stop within %u s", PARK_SECONDS * slowness());
		}
		if (now() > look) {
			check_laws("while threads do not stop");
			look = now() + LOOK_SECONDS * slowness();
		}
		usleep(5000);
	}
	if (!model->failed) {
		check_laws("at a pause");
		for (page = pauses % 8; page < model->nr_pages; page += 8)
			check_page(page);
		pauses++;
	}
	atomic_store(&model->pause, false);
}

static void end_all(void)
{
	double until = now() + PARK_SECONDS * slowness();
	bool left;

	atomic_store(&model->stop, true);
	do {
		left = reap();
		if (now() > until) {
			tell_threads();
			fail("workers did not end within %u s", PARK_SECONDS * slowness());
		}
		usleep(5000);
	} while (left && !model->failed);
}

static void create_objects(unsigned int pages)
{
	static const unsigned int parts[OBJECTS] = { 12, 10, 9, 1 };	/* of 32 */
	unsigned int first = 0, i;

	for (i = 0; i < OBJECTS; i++) {
		struct object *object = &model->objects[i];

		object->fd = object_open();
		if (object->fd < 0)
			die("no object: %s", strerror(-object->fd));
		object->first = first;
		object->pages = i == OBJECTS - 1 ? pages - first : pages * parts[i] / 32;
		object->stride = 1;
		first += object->pages;
	}
	/*
	 * At the very end, across leaves from the middle of one on, and with holes between; 2 MiB
	 * are whole in each, so that there can be huge pages.
	 */
	model->objects[1].base = VMLAB_OBJECT_SIZE / PAGE - model->objects[1].pages;
	model->objects[2].base = 1000 * LEAF_PAGES - 40;
	model->objects[3].base = 12345;
	model->objects[3].stride = 37;
}

/* The processes of the test itself, in a child, so that failures end it all the same. */
static int control(void *arg)
{
	double end = now() + *(unsigned int *)arg;
	double next_pause = now() + PAUSE_SECONDS, next_kill = now() + 1;
	uint64_t steps = 0, faults = counter("thp_fault_alloc");
	uint64_t promotions = counter("thp_collapse_alloc"), reserved = counter("thp_reserve");
	unsigned int i;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	state = mix(model->seed) | 1;
	for (i = 0; i < WORKERS; i++)
		start(i);
	while (now() < end && !model->failed) {
		usleep(10000);
		reap();
		if (now() >= next_kill) {
			kill_one();
			next_kill = now() + 0.5 + chance(&state) % 1500 / 1000.0;
		}
		if (now() >= next_pause) {
			pause_all();
			next_pause = now() + PAUSE_SECONDS;
		}
	}
	if (!model->failed)
		end_all();
	faults = counter("thp_fault_alloc") - faults;
	promotions = counter("thp_collapse_alloc") - promotions;
	reserved = counter("thp_reserve") - reserved;
	if (model->failed) {
		tell_threads();
		kill_all();
		return 1;
	}
	check_laws("at the end");
	for (i = 0; i < model->nr_pages; i++)
		check_page(i);
	for (i = 0; i < WORKERS * THREADS; i++)
		steps += model->places[i].number;
	note("%lu steps, %u pauses, %u kills, %u starts again", (unsigned long)steps, pauses,
	     kills, restarts);
	note("%u copies of objects, %u children on their own, up to %u forks deep",
	     model->roots, model->nr_lives, model->deepest);
	note("%lu huge pages by faults, %lu of small ones, %lu reserved", (unsigned long)faults,
	     (unsigned long)promotions, (unsigned long)reserved);
	/* Under pressure a chunk is seldom free when a fault wants one: either will do. */
	return steps < WORKERS * THREADS || !pauses || !(faults + promotions);
}

static void choose_spare(void)
{
	snprintf(model->spare, sizeof(model->spare), "%s", spare_disk());
	if (swap_format(model->spare))
		die("mkswap %s failed", model->spare);
}

/* What steps set anew, besides what settle() puts back. */
static const char * const kept[] = {
	"swappiness", "zero_chunks", "promote/max_none", "promote/max_shared",
	"promote/max_swapped", "promote/scan_ms", "promote/scan_leaves", "promote/cow_huge",
};

#define NR_KEPT (sizeof(kept) / sizeof(kept[0]))

static void settings_read(char (*values)[32])
{
	unsigned int i;

	for (i = 0; i < NR_KEPT; i++)
		if (debugfs_read(kept[i], values[i], sizeof(values[i])) < 0)
			die("debugfs %s: %m", kept[i]);
}

static void settings_write(char (*values)[32])
{
	unsigned int i;

	for (i = 0; i < NR_KEPT; i++)
		if (debugfs_write(kept[i], "%s", values[i]))
			die("cannot set %s back: %m", kept[i]);
}

/* Ends the process as failed when something is wrong. */
void model_run(uint64_t seed, unsigned int time)
{
	char settings[NR_KEPT][32];
	unsigned int total, i;
	struct books begin;
	int failed;

	settle();
	settings_read(settings);
	total = pool_sum("total");
	/* Under pressure half as much again as fits; else an eighth, as copies need room too. */
	model_create(under_pressure() ? total * 3 / 2 : total / 8, seed);
	model->unswapped = !under_pressure();
	choose_spare();
	/* Nobody is to be killed but by us: what finds no memory fails, and says so. */
	if (debugfs_write("oom", "sigbus\n"))
		die("cannot choose the OOM policy: %m");
	begin = books_read();
	create_objects(model->nr_pages);
	failed = child_run(control, &time);
	cpus_on();
	/* Back to what other tests count on; settle() does the rest. */
	settings_write(settings);
	nodes_alike();
	check_laws("after the workers");
	for (i = 0; i < OBJECTS; i++)
		close(model->objects[i].fd);
	if (failed)
		die("the model test has found something wrong, see above");
	settle();
	books_compare(&begin);
	check_laws("after all");
}
