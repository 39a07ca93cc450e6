// SPDX-License-Identifier: GPL-2.0
/*
 * A huge page is moved by mremap(), or dropped by mprotect(), over and over, while another thread
 * discards it, evicts it or makes it anew.  The core does its part under the PMD's lock alone,
 * and for a moment the entry is nowhere, or still in TLBs: who looks for mappings just then must
 * not believe that there are none, or what has been given up stays mapped.
 *
 * That moment is some instructions long.  A clock of perf interrupts the thread that moves as
 * often as can be, so that at times it is stopped in the middle.  SECONDS= sets the time of each
 * test.
 *
 * vmlab-test: timeout=200 turns=8
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>

#define POOL_MB 24
#define INTERVAL_NS 50000
#define ROUNDS 8		/* at least */

/**
 * struct race - what the threads share
 * @fd:		the object, of which 2 MiB are mapped
 * @places:	where: at one of them, in turn
 * @seq:	odd while what is mapped changes, see look()
 * @value:	what must be there, at @page; changes only while @seq is odd
 * @looks:	of the thread that moves
 * @moves:	that it has made
 * @rounds:	of the one that changes
 * @wrong:	looks that saw something else
 * @stop:	end
 */
struct race {
	int fd;
	unsigned int page;
	uint64_t value;
	char *places[2];
	atomic_ulong seq, looks, moves, rounds, wrong;
	uint64_t seen, wanted;
	atomic_bool stop;
};

/* Interrupts this thread, wherever it is, as long as the descriptor is open. */
static int start_clock(void)
{
	struct perf_event_attr often = {
		.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(often), .sample_period = INTERVAL_NS * slowness(),
	};
	int fd = syscall(SYS_perf_event_open, &often, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		note("nothing interrupts the thread that moves: %m");
	return fd;
}

/*
 * What is mapped must be what the object has, if nobody has changed that meanwhile.  A store comes
 * first, as it brings a huge page where all is a hole, and a load does not.
 */
static void look(struct race *race, char *at)
{
	uint64_t seq = race->seq, value = race->value, seen;
	volatile uint64_t *word = (uint64_t *)(at + race->page * PAGE);

	atomic_thread_fence(memory_order_acquire);
	*(volatile char *)at = 1;
	seen = *word;
	atomic_thread_fence(memory_order_acquire);
	if (!(seq % 2) && race->seq == seq && seen != value && !race->wrong++) {
		race->seen = seen;
		race->wanted = value;
	}
	race->looks++;
}

static void *mover(void *arg)
{
	int clock = start_clock();
	struct race *race = arg;
	unsigned int turn;

	for (turn = 0; !race->stop; turn++) {
		char *from = race->places[turn % 2], *to = race->places[(turn + 1) % 2];

		look(race, from);
		if (mremap(from, LEAF_BYTES, LEAF_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			die("mremap: %m");
		look(race, to);
		race->moves++;
	}
	close(clock);
	return NULL;
}

/* A VMA that was cut once has no room for a PMD: there is a new one each time. */
static void *protector(void *arg)
{
	struct race *race = arg;
	char *at = race->places[0];
	int clock = start_clock();

	while (!race->stop) {
		if (mmap(at, LEAF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, race->fd,
			 0) != at)
			die("mmap: %m");
		look(race, at);
		if (mprotect(at + 100 * PAGE, PAGE, PROT_READ))
			die("mprotect: %m");
		look(race, at);
		race->moves++;
	}
	close(clock);
	return NULL;
}

static void wait_for_looks(struct race *race, unsigned int nr)
{
	uint64_t until = race->looks + nr;

	while (race->looks < until && !race->stop)
		sched_yield();
}

static void change_begin(struct race *race)
{
	race->seq++;
	atomic_thread_fence(memory_order_release);
}

static void change_end(struct race *race, uint64_t value)
{
	race->value = value;
	atomic_thread_fence(memory_order_release);
	race->seq++;
	/* It must be seen before the next change takes away what was left mapped. */
	wait_for_looks(race, 3);
	race->rounds++;
}

static void write_value(struct race *race, uint64_t value)
{
	if (pwrite(race->fd, &value, sizeof(value), race->page * PAGE) != sizeof(value))
		die("pwrite: %m");
}

static void must(const char *what, int64_t result)
{
	if (result < 0)
		die("%s: %s", what, strerror(-result));
}

/* In use by others for a moment: EBUSY; it stays small then. */
static void make_huge(struct race *race)
{
	int error = object_range(race->fd, VMLAB_IOC_COLLAPSE, 0, LEAF_BYTES, NULL);

	if (error != -EBUSY && error != -ENOMEM)
		must("COLLAPSE", error);
	wait_for_looks(race, 2);
}

static void discards(struct race *race, uint64_t round)
{
	change_begin(race);
	must("DISCARD", object_discard(race->fd, 0, LEAF_PAGES));
	change_end(race, 0);
	change_begin(race);
	write_value(race, round);
	change_end(race, round);
	/* Where a load came before the store there is a table in the way. */
	make_huge(race);
}

static void pages_out(struct race *race, uint64_t round)
{
	change_begin(race);
	must("PAGEOUT", object_pageout(race->fd, 0, LEAF_PAGES));
	write_value(race, round);
	change_end(race, round);
	make_huge(race);
}

static void collapses(struct race *race, uint64_t round)
{
	must("SPLIT", object_range(race->fd, VMLAB_IOC_SPLIT, 0, LEAF_BYTES, NULL));
	make_huge(race);
	change_begin(race);
	write_value(race, round);
	change_end(race, round);
}

FIXTURE(hugemoves)
{
	struct race race;
};

FIXTURE_VARIANT(hugemoves)
{
	void *(*mover)(void *arg);
	void (*change)(struct race *race, uint64_t round);
	bool swap;
};

FIXTURE_VARIANT_ADD(hugemoves, moved_discarded) { mover, discards };
FIXTURE_VARIANT_ADD(hugemoves, moved_paged_out) { mover, pages_out, .swap = true };
FIXTURE_VARIANT_ADD(hugemoves, moved_collapsed) { mover, collapses };
FIXTURE_VARIANT_ADD(hugemoves, protected_discarded) { protector, discards };
FIXTURE_VARIANT_ADD(hugemoves, protected_paged_out) { protector, pages_out, .swap = true };
FIXTURE_VARIANT_ADD(hugemoves, protected_collapsed) { protector, collapses };

FIXTURE_SETUP(hugemoves)
{
	struct race *race = &self->race;
	char *room;
	int node;

	settle();
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, POOL_MB));
	/* The threads look at nothing, and what was given up keeps its bytes. */
	ASSERT_EQ(0, debugfs_write("promote/scan_leaves", "0\n"));
	ASSERT_EQ(0, debugfs_write("zero_chunks", "0\n"));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	memset(race, 0, sizeof(*race));
	race->page = 77;
	race->fd = object_open();
	ASSERT_GE(race->fd, 0);
	room = mmap(NULL, 4 * LEAF_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	race->places[0] = (char *)(((uintptr_t)room + LEAF_BYTES - 1) & ~(LEAF_BYTES - 1));
	race->places[1] = race->places[0] + 2 * LEAF_BYTES;
	ASSERT_EQ(race->places[0], mmap(race->places[0], LEAF_BYTES, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_FIXED, race->fd, 0));
}

FIXTURE_TEARDOWN(hugemoves)
{
	EXPECT_VERIFY_OK();
	close(self->race.fd);
	EXPECT_EQ(0, debugfs_write("huge", "madvise\n"));
	EXPECT_EQ(0, debugfs_write("promote/scan_leaves", "64\n"));
	settle();
}

TEST_F_TIMEOUT(hugemoves, nothing_stays_mapped, 4000)
{
	uint64_t huge = counter("fault_huge"), round;
	double until = now() + seconds(4) * slowness();
	struct race *race = &self->race;
	pthread_t thread;

	if (variant->swap && !under_pressure())
		SKIP(return, "there is no swap in this phase");
	ASSERT_EQ(0, pthread_create(&thread, NULL, variant->mover, race));
	wait_for_looks(race, 2);
	for (round = 1; (round <= ROUNDS || now() < until) && !race->wrong; round++)
		variant->change(race, round);
	EXPECT_VERIFY_OK();
	race->stop = true;
	pthread_join(thread, NULL);
	note("%lu moves, %lu changes, %lu looks, %lu mapped by 2 MiB", (unsigned long)race->moves,
	     (unsigned long)race->rounds, (unsigned long)race->looks,
	     (unsigned long)(counter("fault_huge") - huge));
	EXPECT_EQ(0, race->wrong);
	if (race->wrong)
		note("wrong: %lu is mapped, the object has %lu", (unsigned long)race->seen,
		     (unsigned long)race->wanted);
	EXPECT_GE(race->moves, ROUNDS);
	EXPECT_GE(counter("fault_huge") - huge, ROUNDS);
}

TEST_HARNESS_MAIN
