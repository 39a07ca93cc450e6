// SPDX-License-Identifier: GPL-2.0
/*
 * fork() of private mappings: the child has what the parent had at that moment, and from
 * then on neither sees what the other stores.  A fork that finds no memory must harm the
 * child alone; pages that many have must be written and read once.
 *
 * vmlab-test: timeout=400
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define TAG 0xf02
#define PAGES (2 * LEAF_PAGES + 40)

FIXTURE(fork)
{
	int fd;
	uint64_t used;
	char *map;
};

/* The same for children, who have it by fork. */
static int fd;
static char *map;

/* Not all that are not free: some are just being zeroed. */
static uint64_t frames_used(void)
{
	return pool_sum("resident") + pool_sum("leaf");
}

FIXTURE_SETUP(fork)
{
	settle();
	self->used = frames_used();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->map = object_map_private(self->fd, 0, PAGES);
	fd = self->fd;
	map = self->map;
	pages_fill(map, TAG, 0, PAGES, 1);
}

FIXTURE_TEARDOWN(fork)
{
	inject_off();
	EXPECT_VERIFY_OK();
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	settle();
	EXPECT_EQ(self->used, frames_used());
	EXPECT_VERIFY_OK();
}

static void press(void)
{
	if (under_pressure() && address_range(fd, VMLAB_IOC_PAGEOUT, map, PAGES, NULL))
		die("cannot page out: %m");
}

/* Pages are of generation @fresh where number % every == 0, else of @old. */
static size_t mixed_wrong(uint32_t old, uint32_t fresh, size_t every)
{
	size_t i, wrong = 0;

	for (i = 0; i < PAGES; i++)
		wrong += !page_is(map + i * PAGE, TAG, i, i % every ? old : fresh);
	return wrong;
}

static void mixed_fill(uint32_t fresh, size_t every)
{
	size_t i;

	for (i = 0; i < PAGES; i += every)
		page_fill(map + i * PAGE, TAG, i, fresh);
}

static int reads_and_writes(void *arg)
{
	int *go = arg;
	char byte;

	CHECK(read(go[0], &byte, 1) == 1);
	CHECK(!pages_wrong(map, TAG, 0, PAGES, 1));
	mixed_fill(2, 3);
	press();
	CHECK(!mixed_wrong(1, 2, 3));
	return 0;
}

TEST_F(fork, each_has_its_own)
{
	pid_t pid[3];
	int go[2], i;

	ASSERT_EQ(0, pipe(go));
	for (i = 0; i < 3; i++)
		pid[i] = child_start(reads_and_writes, go);
	mixed_fill(3, 2);
	EXPECT_VERIFY_OK();
	ASSERT_EQ(3, write(go[1], "abc", 3));
	press();
	EXPECT_EQ(0, mixed_wrong(1, 3, 2));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_EQ(0, mixed_wrong(1, 3, 2));
	close(go[0]);
	close(go[1]);
}

/* Each generation changes pages, forks, and finds its own as it left them. */
static int generation(void *arg)
{
	uintptr_t depth = (uintptr_t)arg;
	size_t i;

	for (i = depth; i < PAGES; i += 7)
		page_fill(map + i * PAGE, TAG, i, 10 + depth);
	if (depth < 6)
		CHECK(!child_run(generation, (void *)(depth + 1)));
	if (depth == 3)
		press();
	/* Page i is that of the last generation, up to this one, that changed it. */
	for (i = 0; i < PAGES; i++) {
		uintptr_t last = 0, d;

		for (d = 1; d <= depth; d++)
			if (i >= d && (i - d) % 7 == 0)
				last = d;
		CHECK(page_is(map + i * PAGE, TAG, i, last ? 10 + last : 1));
	}
	return 0;
}

TEST_F(fork, generations)
{
	EXPECT_EQ(0, child_run(generation, (void *)1));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
}

static int forks_and_goes(void *arg)
{
	int *report = arg;
	pid_t pid = fork();

	if (pid)
		return pid < 0;
	/* An orphan by now or soon. */
	usleep(20000);
	pid = pages_wrong(map, TAG, 0, PAGES, 1);
	pages_fill(map, TAG, 0, PAGES, 5);
	pid += pages_wrong(map, TAG, 0, PAGES, 5);
	CHECK(write(report[1], &pid, sizeof(pid)) == sizeof(pid));
	return 0;
}

TEST_F(fork, parent_ends_first)
{
	int report[2], wrong = -1;

	ASSERT_EQ(0, pipe(report));
	EXPECT_EQ(0, child_run(forks_and_goes, report));
	ASSERT_EQ((ssize_t)sizeof(wrong), read(report[0], &wrong, sizeof(wrong)));
	EXPECT_EQ(0, wrong);
	close(report[0]);
	/* The end of the pipe goes with the orphan, whose memory went before. */
	close(report[1]);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	usleep(200000);
}

/* Pins a page that is in another VMA than the first of its 2 MiB, forks, and goes. */
static int pins_and_goes(void *arg)
{
	pid_t parent = getpid(), pid;
	uint32_t words[2];

	CHECK(!mprotect(map, 8 * PAGE, PROT_READ));
	CHECK(!address_range(fd, VMLAB_IOC_PIN, map + 12 * PAGE, 2, NULL));
	pid = fork();
	CHECK(!address_residency(fd, map + 12 * PAGE, 2, words));
	CHECK(!(words[0] & VMLAB_RES_PINNED) == !pid && !(words[1] & VMLAB_RES_PINNED) == !pid);
	if (pid)
		return pid < 0;
	while (getppid() == parent)
		usleep(1000);
	return 0;
}

/* The pins end with who made them: the child must not be left with them. */
TEST_F(fork, parent_ends_with_pins)
{
	uint64_t pinned = pool_sum("pinned");
	struct pollfd gone = { .events = POLLIN };
	int report[2];

	ASSERT_EQ(0, pipe(report));
	EXPECT_EQ(0, child_run(pins_and_goes, NULL));
	close(report[1]);
	gone.fd = report[0];
	/* The orphan's end of the pipe is closed after its memory is gone. */
	EXPECT_EQ(1, poll(&gone, 1, 20000 * slowness()));
	close(report[0]);
	EXPECT_EQ(pinned, pool_sum("pinned"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
}

/*
 * Writers count up in their pages, one page after the other: in any moment's view page p
 * is as far as page p + 1, or one further.  What a thread stored it must find again.
 */
#define COUNTED 48
#define WRITERS 3

static struct {
	volatile bool stop;
	volatile uint64_t lost;
} writers;

static volatile uint64_t *counted(unsigned int writer, unsigned int page)
{
	return (volatile uint64_t *)(map + (writer * 300 + page * 5) * PAGE) + 17;
}

static void *writer(void *arg)
{
	unsigned int me = (uintptr_t)arg, page;
	uint64_t n;

	for (n = 1; !writers.stop; n++)
		for (page = 0; page < COUNTED; page++) {
			if (*counted(me, page) != n - 1)
				writers.lost++;
			*counted(me, page) = n;
		}
	return NULL;
}

static int one_moment(void *arg)
{
	unsigned int me, page;
	int round;

	for (round = 0; round < 2; round++) {
		for (me = 0; me < WRITERS; me++) {
			uint64_t first = *counted(me, 0), last = first, n;

			for (page = 1; page < COUNTED; page++) {
				n = *counted(me, page);
				CHECK(n == last || (n == first - 1 && last == first));
				last = n;
			}
		}
		usleep(5000);
	}
	for (me = 0; me < WRITERS; me++)
		for (page = 0; page < COUNTED; page++)
			*counted(me, page) = 0xdead;
	return 0;
}

static void fork_under_fire(struct __test_metadata *_metadata, unsigned int forks)
{
	pthread_t thread[WRITERS];
	unsigned int i, page;

	for (i = 0; i < WRITERS; i++)
		for (page = 0; page < COUNTED; page++)
			*counted(i, page) = 0;
	memset(&writers, 0, sizeof(writers));
	for (i = 0; i < WRITERS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, writer, (void *)(uintptr_t)i));
	for (i = 0; i < forks; i++) {
		EXPECT_EQ(0, child_run(one_moment, NULL));
		if (i % 4 == 3)
			press();
	}
	writers.stop = true;
	for (i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, writers.lost);
}

TEST_F_TIMEOUT(fork, while_threads_write, 120)
{
	fork_under_fire(_metadata, scaled(15, 8));
}

/* Many VMAs, over the edges of leaves, while others write to some of them. */
TEST_F_TIMEOUT(fork, split_in_pieces, 120)
{
	size_t i;

	for (i = 1; i < PAGES - 40; i += 41)
		ASSERT_EQ(0, madvise(map + i * PAGE, 3 * PAGE, MADV_RANDOM));
	fork_under_fire(_metadata, scaled(8, 4));
	pages_fill(map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, munmap(map + 500 * PAGE, 30 * PAGE));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 500, 1));
	EXPECT_EQ(0, pages_wrong(map + 530 * PAGE, TAG, 530, PAGES - 530, 1));
}

static volatile int shares;

static int shares_all(void *arg)
{
	pages_fill(map, TAG, 0, 100, 8);
	shares = 1;
	return 0;
}

TEST_F(fork, same_address_space_is_no_copy)
{
	char *stack = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t clones = counter("clone");
	pid_t pid;

	ASSERT_NE(MAP_FAILED, stack);
	pid = clone(shares_all, stack + MIB, CLONE_VM | SIGCHLD, NULL);
	ASSERT_GT(pid, 0);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(1, shares);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 100, 8));
	pid = vfork();
	if (!pid) {
		map[PAGE - 1] = 0x55;
		_exit(0);
	}
	ASSERT_GT(pid, 0);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(0x55, map[PAGE - 1]);
	EXPECT_EQ(clones, counter("clone"));
	munmap(stack, MIB);
}

static int partly_there(void *arg)
{
	CHECK(!pages_wrong(map, TAG, 0, 100, 1));
	CHECK(try_load(map + 100 * PAGE, NULL) == SIGSEGV);
	CHECK(try_load(map + 699 * PAGE, NULL) == SIGSEGV);
	CHECK(!pages_wrong(map + 700 * PAGE, TAG, 700, PAGES - 700, 1));
	pages_fill(map + 700 * PAGE, TAG, 700, PAGES - 700, 2);
	return 0;
}

TEST_F(fork, advice_on_forking)
{
	ASSERT_EQ(0, madvise(map + 100 * PAGE, 600 * PAGE, MADV_DONTFORK));
	EXPECT_EQ(0, child_run(partly_there, NULL));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	ASSERT_EQ(0, madvise(map + 100 * PAGE, 600 * PAGE, MADV_DOFORK));
	/* What is set on ours for the core's sake must not become the child's. */
	madvise(map, PAGES * PAGE, MADV_KEEPONFORK);
	EXPECT_EQ(0, child_run(generation, (void *)1));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
}

static int is_broken(void *arg)
{
	unsigned char byte;

	CHECK(try_load(map, &byte) == SIGBUS);
	CHECK(try_store(map + PAGE, 1) == SIGBUS);
	CHECK(address_range(fd, VMLAB_IOC_DISCARD, map, 1, NULL) == -ENOMEM);
	/* It can be forked, split and given back as any other. */
	CHECK(!mprotect(map + 10 * PAGE, PAGE, PROT_READ));
	if (!arg)
		CHECK(!child_run(is_broken, map));
	CHECK(!munmap(map, 20 * PAGE));
	CHECK(object_open() >= 0);
	return 0;
}

TEST_F(fork, without_memory_only_the_child_suffers)
{
	static const char *const classes[] = { "region", "object", "xarray" };
	uint64_t broken = counter("fork_broken"), resident;
	struct vmlab_ioc_info info;
	size_t i;
	pid_t pid;
	int go[2];
	char byte;

	ASSERT_EQ(0, pipe(go));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, inject(classes[i], "nth 1"));
		pid = fork();
		if (!pid) {
			if (read(go[0], &byte, 1) != 1)
				_exit(1);
			_exit(is_broken(NULL));
		}
		inject_off();
		ASSERT_GT(pid, 0);
		EXPECT_LT(broken, counter("fork_broken"));
		broken = counter("fork_broken");
		EXPECT_VERIFY_OK();
		pages_fill(map, TAG, 0, PAGES, 20 + i);
		ASSERT_EQ(1, write(go[1], "", 1));
		EXPECT_EQ(0, child_wait(pid));
		broken = counter("fork_broken");
		EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 20 + i));
	}
	/* A limit that is reached: the child's object would be one too many. */
	ASSERT_EQ(0, object_info(fd, &info));
	ASSERT_EQ(0, object_limit(fd, 1));
	resident = counter("fork_broken");
	EXPECT_EQ(0, child_run(is_broken, map));
	EXPECT_LT(resident, counter("fork_broken"));
	ASSERT_EQ(0, object_limit(fd, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 22));
	close(go[0]);
	close(go[1]);
}

/* Will a fork leave out the page tables of what is mapped here? */
static bool tables_stay_behind(const void *at)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	bool inside = false, found = false;
	char line[512];

	if (!file)
		die("/proc/self/smaps: %m");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)at && (uintptr_t)at < end;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, " wf");
	}
	fclose(file);
	return found;
}

struct orphan {
	pid_t parent;
	int tell, fd;
	char *shared;
};

/* Its children may get the address of the mm of its own parent, which is gone. */
static void forks_as_an_orphan(const struct orphan *orphan)
{
	int i, bad = 0, status;

	while (getppid() == orphan->parent)
		usleep(1000);
	usleep(100000);
	for (i = 0; i < 200; i++) {
		pid_t pid;

		if (madvise(orphan->shared, LEAF_BYTES, MADV_KEEPONFORK))
			die("MADV_KEEPONFORK: %m");
		pid = fork();
		if (!pid)
			_exit(!tables_stay_behind(orphan->shared));
		bad += waitpid(pid, &status, 0) != pid || status;
	}
	/* Nobody waits for its end: whoever counts frames next must not find these. */
	munmap(orphan->shared, LEAF_BYTES);
	close(orphan->fd);
	if (write(orphan->tell, &bad, sizeof(bad)) != sizeof(bad))
		die("write: %m");
}

static int leaves_an_orphan(void *arg)
{
	struct orphan orphan = { .parent = getpid(), .tell = *(int *)arg };

	orphan.fd = object_open();
	orphan.shared = object_map(orphan.fd, 0, LEAF_PAGES);
	pages_fill(orphan.shared, TAG, 0, 10, 1);
	if (fork())
		return 0;
	forks_as_an_orphan(&orphan);
	_exit(0);
}

/* Of what is mapped shared no page table is copied either, whoever forks and how often. */
TEST_F_TIMEOUT(fork, tables_are_never_copied, 60)
{
	int tell[2], bad = -1;

	ASSERT_EQ(0, pipe(tell));
	EXPECT_EQ(0, child_run(leaves_an_orphan, &tell[1]));
	close(tell[1]);
	ASSERT_EQ((ssize_t)sizeof(bad), read(tell[0], &bad, sizeof(bad)));
	EXPECT_EQ(0, bad);
	close(tell[0]);
}

static int reads_what_is_there(void *arg)
{
	CHECK(!pages_wrong(map, TAG, 0, PAGES, *(uint32_t *)arg));
	return 0;
}

/* At its limit a lineage evicts for the child's object, as it does for a page. */
TEST_F_TIMEOUT(fork, at_its_limit, 120)
{
	struct vmlab_ioc_limit limit = { .size = sizeof(limit) };
	uint64_t broken = counter("fork_broken");
	uint32_t generation;
	int copy;

	ASSERT_EQ(0, swap_use_only(spare_disk()));
	for (generation = 2; generation < 6; generation++) {
		pages_fill(map, TAG, 0, PAGES, generation);
		ASSERT_EQ(0, ioctl(fd, VMLAB_IOC_LIMIT, &limit));
		ASSERT_GT(limit.used_pages, 100);
		ASSERT_EQ(0, object_limit(fd, limit.used_pages));
		EXPECT_EQ(0, child_run(reads_what_is_there, &generation));
		ASSERT_EQ(0, ioctl(fd, VMLAB_IOC_LIMIT, &limit));
		ASSERT_EQ(0, object_limit(fd, limit.used_pages));
		copy = object_snapshot(fd, 0);
		EXPECT_GE(copy, 0);
		close(copy);
		ASSERT_EQ(0, object_limit(fd, 0));
	}
	EXPECT_EQ(broken, counter("fork_broken"));
}

static int reads_all(void *arg)
{
	int *go = arg;
	char byte;

	CHECK(read(go[0], &byte, 1) == 1);
	CHECK(!pages_wrong(map, TAG, 0, 64, 1));
	return 0;
}

/* Parent and ten children have the pages: one write, one read for all of them. */
TEST_F_TIMEOUT(fork, swapped_once_for_all, 60)
{
	uint64_t in, out, done;
	pid_t pid[10];
	int go[2], i;

	ASSERT_EQ(0, swap_use_only(spare_disk()));
	ASSERT_EQ(0, pipe(go));
	pages_fill(map, TAG, 0, 64, 1);
	for (i = 0; i < 10; i++)
		pid[i] = child_start(reads_all, go);
	/* Half of the leaves are shared as such, the others only name the same frames. */
	map[600 * PAGE] ^= 1;
	map[300 * PAGE] ^= 1;
	out = counter("swap_out");
	ASSERT_EQ(0, address_range(fd, VMLAB_IOC_PAGEOUT, map, 64, &done));
	EXPECT_EQ(64, done);
	EXPECT_EQ(out + 64, counter("swap_out"));
	EXPECT_VERIFY_OK();
	in = counter("swap_in");
	ASSERT_EQ(10, write(go[1], "0123456789", 10));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 64, 1));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_EQ(in + 64, counter("swap_in"));
	EXPECT_EQ(out + 64, counter("swap_out"));
	close(go[0]);
	close(go[1]);
	munmap(map + 64 * PAGE, (PAGES - 64) * PAGE);
}

/* Each forks until it may not, and writes. */
static int bomb(void *arg)
{
	uintptr_t depth = (uintptr_t)arg;
	size_t page;
	int i;

	for (i = 0; i < 3 && depth; i++)
		if (!fork())
			_exit(bomb((void *)(depth - 1)));
	for (page = 0; page < 200; page += 3)
		if (try_store(map + page * PAGE, depth))
			break;
	while (wait(NULL) > 0)
		;
	return 0;
}

TEST_F_TIMEOUT(fork, bomb_meets_the_limit, 120)
{
	struct vmlab_ioc_info info;

	if (under_pressure())
		pages_fill(map, TAG, 0, PAGES, 1);
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	ASSERT_EQ(0, object_limit(fd, PAGES + 300));
	EXPECT_EQ(0, child_run(bomb, (void *)3));
	ASSERT_EQ(0, object_info(fd, &info));
	EXPECT_EQ(PAGES + 300, info.limit_pages);
	EXPECT_VERIFY_OK();
	ASSERT_EQ(0, object_limit(fd, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
}

static int works_for_ever(void *arg)
{
	uint32_t n;

	for (n = 2;; n++) {
		if (!fork()) {
			mixed_fill(n, 5);
			_exit(0);
		}
		mixed_fill(n, 3);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

TEST_F_TIMEOUT(fork, killed_at_any_moment, 60)
{
	uint64_t state = seed();
	int i;

	for (i = 0; i < (int)scaled(12, 6); i++) {
		pid_t pid = child_start(works_for_ever, NULL);

		usleep(chance(&state) % 60000);
		kill(pid, SIGKILL);
		EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(pid));
		EXPECT_VERIFY_OK();
	}
	usleep(300000);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
}

TEST_HARNESS_MAIN
