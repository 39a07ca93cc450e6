// SPDX-License-Identifier: GPL-2.0
/*
 * When nothing is left: who is killed, who is spared, who gets an error, and
 * what others notice.  The machine's own OOM killer must never be what answers
 * an exhausted pool: its counter is looked at after each test.
 *
 * vmlab-test: timeout=300 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>

#define TAG 0x00f
#define SMALL_MB 4

static uint64_t machine_kills(void)
{
	char name[64];
	unsigned long value;
	FILE *file = fopen("/proc/vmstat", "r");

	if (!file)
		die("/proc/vmstat: %m");
	while (fscanf(file, "%63s %lu", name, &value) == 2) {
		if (!strcmp(name, "oom_kill")) {
			fclose(file);
			return value;
		}
	}
	/* Built without CONFIG_VM_EVENT_COUNTERS: nothing to compare. */
	fclose(file);
	return 0;
}

FIXTURE(oom)
{
	size_t total;
	uint64_t machine;
	int ready[2], go[2];
};

FIXTURE_SETUP(oom)
{
	int node;

	swap_all_off();
	dm_remove("vmlaboom");
	settle();
	swap_all_off();
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, SMALL_MB));
	self->total = pool_sum("total");
	self->machine = machine_kills();
	ASSERT_TRUE(wait_for_free(self->total));
	ASSERT_EQ(0, pipe(self->ready));
	ASSERT_EQ(0, pipe(self->go));
}

FIXTURE_TEARDOWN(oom)
{
	EXPECT_TRUE(wait_for_free(self->total)) TH_LOG("frames did not come back");
	EXPECT_VERIFY_OK();
	EXPECT_EQ(self->machine, machine_kills());
	settle();
}

struct task {
	size_t pages;
	int score, expect;
	int *ready, *go;
};

static void set_score(int score)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "w");

	CHECK(file);
	CHECK(fprintf(file, "%d", score) > 0);
	CHECK(!fclose(file));
}

/* Fills some pages, says so, waits, and checks that all is still there. */
static int stay_small(void *arg)
{
	struct task *task = arg;
	int fd = object_open();
	char *map, byte;

	CHECK(fd >= 0);
	set_score(task->score);
	map = object_map(fd, 0, task->pages);
	pages_fill(map, TAG, 0, task->pages, 1);
	CHECK(write(task->ready[1], "", 1) == 1);
	CHECK(read(task->go[0], &byte, 1) == 1);
	CHECK(!pages_wrong(map, TAG, 0, task->pages, 1));
	return 0;
}

/* Stores to ever more pages; the number of the signal it got, if it lives. */
static int grow(void *arg)
{
	struct task *task = arg;
	int fd = object_open(), number = 0;
	char *map;
	size_t i;

	CHECK(fd >= 0);
	set_score(task->score);
	map = object_map(fd, 0, task->pages);
	for (i = 0; i < task->pages && !number; i++)
		number = try_store(map + i * PAGE, i % 255 + 1);
	if (number == SIGBUS) {
		/* What was there before is there still. */
		size_t filled = i - 1;

		for (i = 0; i < filled; i++)
			CHECK(((unsigned char *)map)[i * PAGE] == i % 255 + 1);
	}
	return number;
}

static pid_t start_small(FIXTURE_DATA(oom) *self, struct task *task)
{
	pid_t pid;
	char byte;

	task->ready = self->ready;
	task->go = self->go;
	pid = child_start(stay_small, task);
	if (read(self->ready[0], &byte, 1) != 1)
		die("the small process is gone: %m");
	return pid;
}

TEST_F_TIMEOUT(oom, the_largest_is_killed, 60)
{
	struct task small = { .pages = self->total / 8 };
	struct task large = { .pages = 2 * self->total };
	uint64_t kills = counter("oom_kill");
	pid_t pid = start_small(self, &small);

	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(grow, &large));
	EXPECT_EQ(kills + 1, counter("oom_kill"));
	ASSERT_EQ(1, write(self->go[1], "", 1));
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(0, run("dmesg | grep -q 'vmlab: oom: .*chosen'"));
}

TEST_F_TIMEOUT(oom, the_score_is_respected, 60)
{
	struct task small = { .pages = self->total / 4, .score = 1000 };
	/* As much as fits once the other is gone. */
	struct task large = { .pages = self->total * 9 / 10, .score = 0 };
	uint64_t kills = counter("oom_kill");
	pid_t pid = start_small(self, &small);

	EXPECT_EQ(0, child_run(grow, &large));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(pid));
	EXPECT_EQ(kills + 1, counter("oom_kill"));
}

/* Nobody may be killed: then it is an error for who asks. */
TEST_F_TIMEOUT(oom, nobody_to_kill, 60)
{
	struct task large = { .pages = 2 * self->total, .score = -1000 };
	uint64_t kills = counter("oom_kill");

	EXPECT_EQ(SIGBUS, child_run(grow, &large));
	EXPECT_EQ(kills, counter("oom_kill"));
}

TEST_F_TIMEOUT(oom, sigbus, 60)
{
	struct task small = { .pages = self->total / 8 };
	struct task large = { .pages = 2 * self->total };
	uint64_t kills = counter("oom_kill"), errors = counter("oom_sigbus");
	uint64_t faults = counter("fault_sigbus");
	pid_t pid = start_small(self, &small);

	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	EXPECT_EQ(SIGBUS, child_run(grow, &large));
	EXPECT_EQ(kills, counter("oom_kill"));
	EXPECT_GT(counter("oom_sigbus"), errors);
	EXPECT_GT(counter("fault_sigbus"), faults);
	ASSERT_EQ(1, write(self->go[1], "", 1));
	EXPECT_EQ(0, child_wait(pid));
}

/* Calls get an errno instead, and say how far they came. */
TEST_F_TIMEOUT(oom, calls_fail, 60)
{
	char *buffer = malloc(2 * self->total * PAGE), byte;
	int fd = object_open();
	ssize_t done;
	uint64_t populated;

	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	pages_fill(buffer, TAG, 0, 2 * self->total, 1);
	done = pwrite(fd, buffer, 2 * self->total * PAGE, 0);
	ASSERT_GT(done, 0);
	EXPECT_LT(done, self->total * PAGE);
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, 0, done / PAGE, 1));
	EXPECT_EQ(-1, pwrite(fd, buffer, PAGE, TIB));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(-ENOMEM, object_populate(fd, TIB / PAGE, 1));
	EXPECT_EQ(-ENOMEM, object_pin(fd, TIB / PAGE, 1));
	/* Reading needs nothing. */
	EXPECT_EQ(1, pread(fd, &byte, 1, 2 * TIB));
	ASSERT_EQ(0, object_discard(fd, 0, self->total));
	EXPECT_EQ(PAGE, pwrite(fd, buffer, PAGE, TIB));
	ASSERT_EQ(0, object_range(fd, VMLAB_IOC_DISCARD, 0, OBJECT_END, NULL));
	EXPECT_EQ(-ENOMEM, object_range(fd, VMLAB_IOC_POPULATE, 0, 2 * self->total * PAGE,
					&populated));
	EXPECT_GT(populated, self->total * PAGE / 2);
	free(buffer);
	close(fd);
}

/* Swap is there and full. */
TEST_F_TIMEOUT(oom, swap_is_full_too, 90)
{
	struct task large = { .pages = 3 * self->total };
	uint64_t kills = counter("oom_kill");

	if (!dm_create("vmlaboom", "0 %lu linear %s 0", self->total * 8, spare_disk()))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only("/dev/mapper/vmlaboom"));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(grow, &large));
	EXPECT_EQ(kills + 1, counter("oom_kill"));
	EXPECT_EQ(0, swap_field("/dev/mapper/vmlaboom", "Used"));
	/* What fits in both is fine. */
	large.pages = self->total * 3 / 2;
	EXPECT_EQ(0, child_run(grow, &large));
	swap_all_off();
	dm_remove("vmlaboom");
}

/* Several at once: one after the other goes until the rest fits, and only then. */
TEST_F_TIMEOUT(oom, several_at_once, 90)
{
	struct task large = { .pages = self->total * 3 / 5 };
	pid_t pids[4];
	int i, killed = 0, fine = 0;

	for (i = 0; i < 4; i++)
		pids[i] = child_start(grow, &large);
	for (i = 0; i < 4; i++) {
		int status = child_wait(pids[i]);

		killed += status == BY_SIGNAL(SIGKILL);
		fine += !status;
	}
	EXPECT_EQ(4, killed + fine);
	EXPECT_GE(fine, 1);
}

#define STORERS 8
#define HOLE_EVERY 64

struct storer {
	pthread_barrier_t *start;
	char *at;
};

static void *store_once(void *arg)
{
	struct storer *storer = arg;

	pthread_barrier_wait(storer->start);
	*(volatile char *)storer->at = 1;
	return NULL;
}

/* Takes all there is, but for holes; then threads fill some of those at once. */
static int fill_and_store_at_once(void *arg)
{
	struct task *task = arg;
	struct storer storers[STORERS];
	pthread_t threads[STORERS];
	pthread_barrier_t start;
	int fd = object_open(), i;
	size_t page;
	char *map;

	CHECK(fd >= 0);
	set_score(-1000);
	map = object_map(fd, 0, task->pages);
	CHECK(!madvise(map, task->pages * PAGE, MADV_RANDOM));
	for (page = 0; page < task->pages; page++)
		if (page % HOLE_EVERY && try_store(map + page * PAGE, 1))
			break;
	CHECK(page < task->pages && page / HOLE_EVERY >= STORERS);
	CHECK(!debugfs_write("oom", "kill\n"));
	CHECK(!pthread_barrier_init(&start, NULL, STORERS));
	for (i = 0; i < STORERS; i++) {
		storers[i] = (struct storer){ &start, map + i * HOLE_EVERY * PAGE };
		CHECK(!pthread_create(&threads[i], NULL, store_once, &storers[i]));
	}
	for (i = 0; i < STORERS; i++)
		CHECK(!pthread_join(threads[i], NULL));
	return 0;
}

/*
 * One victim has enough for all who wait.  Its frames may be in the cache of a CPU when others
 * look for them, so that a second one goes at worst; not one for each who waits.
 */
TEST_F_TIMEOUT(oom, no_more_than_needed, 60)
{
	struct task small = { .pages = 2 * STORERS }, large = { .pages = 2 * self->total };
	uint64_t kills = counter("oom_kill");
	int i, killed = 0;
	pid_t pids[12];

	for (i = 0; i < 12; i++)
		pids[i] = start_small(self, &small);
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	EXPECT_EQ(0, child_run(fill_and_store_at_once, &large));
	kills = counter("oom_kill") - kills;
	EXPECT_GE(kills, 1);
	EXPECT_LE(kills, 2);
	for (i = 0; i < 12; i++)
		ASSERT_EQ(1, write(self->go[1], "", 1));
	for (i = 0; i < 12; i++) {
		int status = child_wait(pids[i]);

		EXPECT_TRUE(!status || status == BY_SIGNAL(SIGKILL)) TH_LOG("%d", status);
		killed += status != 0;
	}
	EXPECT_EQ(kills, killed);
}

#define PIECES 2000
#define COPIES 8

static int map_and_wait(void *arg)
{
	struct task *task = arg;
	char byte;

	CHECK(write(task->ready[1], "", 1) == 1);
	CHECK(read(task->go[0], &byte, 1) == 1);
	return 0;
}

/* The table to choose from has a row for a process and an object, not one for each mapping. */
TEST_F_TIMEOUT(oom, thousands_of_mappings, 90)
{
	struct task large = { .pages = 2 * self->total };
	struct task task = { .ready = self->ready, .go = self->go };
	/* More than the table has rows at first. */
	const int pieces = scaled(PIECES, 400);
	int fd = object_open(), i;
	uint64_t kills = counter("oom_kill");
	char *maps[PIECES], byte;
	pid_t pids[COPIES];

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, object_write_pages(fd, TAG, 0, 8, 1));
	for (i = 0; i < pieces; i++)
		maps[i] = object_map(fd, 2 * i, 1);
	/* The copies' mappings lie between each other's in the order that they are met. */
	for (i = 0; i < COPIES; i++) {
		pids[i] = child_start(map_and_wait, &task);
		ASSERT_EQ(1, read(self->ready[0], &byte, 1));
	}
	ASSERT_EQ(0, inject("oom", "nth 1000000"));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(grow, &large));
	EXPECT_EQ(kills + 1, counter("oom_kill"));
	/* It began with room for more than that, and never grew. */
	EXPECT_EQ(1, inject_seen("oom"));
	inject_off();
	for (i = 0; i < COPIES; i++)
		ASSERT_EQ(1, write(self->go[1], "", 1));
	for (i = 0; i < COPIES; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
	for (i = 0; i < pieces; i++)
		munmap(maps[i], PAGE);
	close(fd);
}

TEST_F(oom, bad_policies)
{
	char text[64];

	EXPECT_EQ(-EINVAL, debugfs_write("oom", "panic\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("oom", "\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("oom", "kill sigbus\n"));
	ASSERT_GT(debugfs_read("oom", text, sizeof(text)), 0);
	EXPECT_STREQ("[kill] sigbus\n", text);
}

TEST_HARNESS_MAIN
