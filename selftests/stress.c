// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once, at random, for a while: processes and threads store,
 * load, read, write, discard, evict, populate, pin, map, move, protect and
 * fork on one object, while policies and limits change.  Every page has one
 * owner, who keeps its true contents in ordinary memory and compares every
 * byte; the owners' pages lie side by side, so that they meet in every page
 * table.  SEED= repeats the choices, SECONDS= sets the time.  It must never
 * compare the object with anything that came from it.
 *
 * vmlab-test: timeout=240
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>

#define TAG 0x57e
#define PROCESSES 2
#define THREADS 2
#define OWNERS (PROCESSES * THREADS)

struct owner {
	int fd;
	size_t pages;		/* of the object; every OWNERS-th is ours */
	unsigned int number;
	uint64_t state;
	char *map;
	unsigned char *model;	/* the true bytes of our pages */
	double until;
	uint64_t steps;
};

static size_t any_page(struct owner *owner)
{
	size_t own = owner->pages / OWNERS;

	return chance(&owner->state) % own * OWNERS + owner->number;
}

static unsigned char *truth(struct owner *owner, size_t page)
{
	return owner->model + page / OWNERS * PAGE;
}

static void check(struct owner *owner, size_t page, const void *seen, size_t from, size_t bytes)
{
	const unsigned char *want = truth(owner, page) + from, *got = seen;
	size_t i;

	if (!memcmp(want, got, bytes))
		return;
	for (i = 0; want[i] == got[i]; i++)
		if (i == bytes - 1)
			die("page %zu of owner %u was wrong for a moment", page, owner->number);
	die("page %zu of owner %u after %lu steps: byte %zu reads %#x, should be %#x", page,
	    owner->number, (unsigned long)owner->steps, from + i, got[i], want[i]);
}

static void scribble(struct owner *owner, unsigned char *to, size_t bytes)
{
	uint64_t value = chance(&owner->state);
	size_t i;

	for (i = 0; i < bytes; i++)
		to[i] = value >> (i % 8 * 8) ^ i >> 3;
}

static int look_at_some(void *arg)
{
	struct owner *owner = arg;
	int i;

	for (i = 0; i < 20; i++) {
		size_t page = any_page(owner);

		check(owner, page, owner->map + page * PAGE, 0, PAGE);
	}
	return 0;
}

static void move_mapping(struct owner *owner)
{
	size_t bytes = owner->pages * PAGE;
	char *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *moved = mremap(owner->map, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room);

	/*
	 * Pieces of the mapping may differ in protection: then it cannot move as one.
	 * The room may be another thread's by now: it is left alone.
	 */
	if (moved == MAP_FAILED) {
		munmap(owner->map, bytes);
		moved = object_map(owner->fd, 0, owner->pages);
	}
	owner->map = moved;
}

static void step(struct owner *owner)
{
	size_t page = any_page(owner), from = chance(&owner->state) % PAGE;
	size_t bytes = 1 + chance(&owner->state) % (PAGE - from);
	off_t offset = page * PAGE + from;
	unsigned char buffer[PAGE], *real = truth(owner, page) + from;
	char *mapped = owner->map + offset;

	switch (chance(&owner->state) % 32) {
	case 0 ... 7:
		scribble(owner, real, bytes);
		memcpy(mapped, real, bytes);
		break;
	case 8 ... 14:
		check(owner, page, mapped, from, bytes);
		break;
	case 15 ... 18:
		scribble(owner, real, bytes);
		if (pwrite(owner->fd, real, bytes, offset) != (ssize_t)bytes)
			die("pwrite: %m");
		break;
	case 19 ... 21:
		if (pread(owner->fd, buffer, bytes, offset) != (ssize_t)bytes)
			die("pread: %m");
		check(owner, page, buffer, from, bytes);
		break;
	case 22 ... 23:
		memset(truth(owner, page), 0, PAGE);
		if (object_discard(owner->fd, page, 1))
			die("DISCARD: %m");
		break;
	case 24:
		if (object_pageout(owner->fd, page, chance(&owner->state) % 100) < 0)
			die("PAGEOUT: %m");
		break;
	case 25:
		if (object_populate(owner->fd, page, 1))
			die("POPULATE: %m");
		check(owner, page, owner->map + page * PAGE, 0, PAGE);
		break;
	case 26:
		if (object_pin(owner->fd, page, 1))
			die("PIN: %m");
		check(owner, page, owner->map + page * PAGE, 0, PAGE);
		if (object_unpin(owner->fd, page, 1))
			die("UNPIN: %m");
		break;
	case 27:
		/* From our own mapping to another page of ours. */
		if (page + OWNERS < owner->pages && from + bytes <= PAGE) {
			memcpy(real + PAGE, real, bytes);
			if (pwrite(owner->fd, mapped, bytes, offset + OWNERS * PAGE) !=
			    (ssize_t)bytes)
				die("pwrite from a mapping: %m");
		}
		break;
	case 28:
		mprotect(owner->map + page * PAGE, PAGE, PROT_READ);
		check(owner, page, owner->map + page * PAGE, 0, PAGE);
		mprotect(owner->map + page * PAGE, PAGE, PROT_READ | PROT_WRITE);
		break;
	case 29:
		if (chance(&owner->state) % 16 == 0)
			move_mapping(owner);
		break;
	case 30:
		if (chance(&owner->state) % 32 == 0 && child_run(look_at_some, owner))
			die("a forked child saw wrong bytes");
		break;
	case 31:
		if (chance(&owner->state) % 32 == 0)
			debugfs_write("policy", chance(&owner->state) % 2 ? "fifo\n" : "clock\n");
		break;
	}
	owner->steps++;
}

static void *own(void *arg)
{
	struct owner *owner = arg;
	size_t page;

	while (now() < owner->until)
		step(owner);
	for (page = owner->number; page < owner->pages; page += OWNERS)
		check(owner, page, owner->map + page * PAGE, 0, PAGE);
	return NULL;
}

static int work(void *arg)
{
	struct owner *first = arg;
	struct owner owners[THREADS];
	pthread_t threads[THREADS];
	uint64_t steps = 0;
	size_t i;

	for (i = 0; i < THREADS; i++) {
		owners[i] = *first;
		owners[i].number += i;
		owners[i].state = first->state * (2 * owners[i].number + 3) | 1;
		owners[i].map = object_map(first->fd, 0, first->pages);
		owners[i].model = calloc(first->pages / OWNERS + 1, PAGE);
		CHECK(owners[i].model);
		CHECK(!pthread_create(&threads[i], NULL, own, &owners[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		steps += owners[i].steps;
	}
	note("%lu steps", (unsigned long)steps);
	return steps < 10;
}

FIXTURE(stress)
{
	int fd;
};

FIXTURE_SETUP(stress)
{
	settle();
	if (under_pressure())
		pools_scaled(4);
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(stress)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
}

static void stress(struct __test_metadata *_metadata, int fd, size_t pages, unsigned int time)
{
	struct owner owner = { .fd = fd, .pages = pages / OWNERS * OWNERS, .state = seed() };
	pid_t pids[PROCESSES];
	size_t i;

	owner.until = now() + time;
	for (i = 0; i < PROCESSES; i++) {
		owner.number = i * THREADS;
		pids[i] = child_start(work, &owner);
	}
	/* The laws hold at every moment, not only at the end. */
	while (now() < owner.until) {
		EXPECT_VERIFY_OK();
		usleep(300000);
	}
	for (i = 0; i < PROCESSES; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
}

TEST_F_TIMEOUT(stress, together, 120)
{
	/* Under pressure half as much again as fits, else a quarter of the pool. */
	size_t total = pool_sum("total");

	stress(_metadata, self->fd, under_pressure() ? total * 3 / 2 : total / 4, seconds(8));
}

/* Few pages: everybody meets in one or two page tables all the time. */
TEST_F_TIMEOUT(stress, in_one_place, 120)
{
	ASSERT_EQ(0, swap_use_only(under_pressure() ? pressure_disk() : spare_disk()));
	stress(_metadata, self->fd, 600, seconds(6));
}

TEST_HARNESS_MAIN
