// SPDX-License-Identifier: GPL-2.0
/*
 * Nobody gets hold of the frames of a huge page: direct I/O, vmsplice(), process_vm_readv()
 * and its sister, and buffers registered with io_uring are tried on one, while another thread
 * fills it, evicts it, in whole and in part, and discards it.  A stranger, a process with an
 * object of its own, takes the frames that become free, and must find its bytes as it left
 * them.  All of them answer EFAULT, as for any mapping of a driver; a reference taken would
 * be one on memory that is somebody else's a moment later.
 *
 * 6.1 has no mark in a PMD that keeps get_user_pages_fast() away but the one for devices: it
 * is this that is tried here.
 *
 * vmlab-test: timeout=300 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define TAG 0x609
#define POOL_MB 24
#define ATTEMPTS 400
#define ROUNDS 12
#define RUN 8			/* pages of one attempt, at most */
#define LEFT 0x5a		/* what is on the disk */

/* What the processes of a test share. */
struct race {
	int fd;			/* of the object */
	char *map;		/* of 2 MiB of it */
	int other;		/* the disk, a pipe's end or a ring, by what is tried */
	atomic_bool stop;
	atomic_uint rounds, wrong;
	uint64_t state;
};

static ssize_t result(ssize_t done)
{
	return done < 0 ? -errno : done;
}

static ssize_t try_direct_read(struct race *race, struct iovec *iov)
{
	return result(preadv(race->other, iov, 1, 0));
}

static ssize_t try_direct_write(struct race *race, struct iovec *iov)
{
	return result(pwritev(race->other, iov, 1, 0));
}

static ssize_t try_vmsplice(struct race *race, struct iovec *iov)
{
	return result(vmsplice(race->other, iov, 1, SPLICE_F_NONBLOCK));
}

static char page_run[RUN * PAGE];

static ssize_t try_process_read(struct race *race, struct iovec *iov)
{
	struct iovec mine = { .iov_base = page_run, .iov_len = iov->iov_len };

	return result(process_vm_readv(getpid(), &mine, 1, iov, 1, 0));
}

static ssize_t try_process_write(struct race *race, struct iovec *iov)
{
	struct iovec mine = { .iov_base = page_run, .iov_len = iov->iov_len };

	return result(process_vm_writev(getpid(), &mine, 1, iov, 1, 0));
}

static ssize_t try_register(struct race *race, struct iovec *iov)
{
	ssize_t done = result(syscall(SYS_io_uring_register, race->other,
				      IORING_REGISTER_BUFFERS, iov, 1));

	/* Zero is all that it says when it has pinned them. */
	return done ?: (ssize_t)iov->iov_len;
}

static int open_disk(void)
{
	static char bytes[LEAF_BYTES];
	int fd = open(spare_disk(), O_RDWR | O_CLOEXEC);

	memset(bytes, LEFT, sizeof(bytes));
	if (fd < 0 || pwrite(fd, bytes, sizeof(bytes), 0) != sizeof(bytes) || fsync(fd))
		die("%s: %m", spare_disk());
	close(fd);
	return open(spare_disk(), O_RDWR | O_DIRECT | O_CLOEXEC);
}

/* Is it all as it was? */
static bool disk_is_left(void)
{
	static char bytes[RUN * PAGE];
	int fd = open(spare_disk(), O_RDONLY | O_CLOEXEC);
	size_t i;

	if (fd < 0 || pread(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
		die("%s: %m", spare_disk());
	close(fd);
	for (i = 0; i < sizeof(bytes) && bytes[i] == LEFT; i++)
		;
	return i == sizeof(bytes);
}

/* The end that is read stays open, but is not read. */
static int open_pipe(void)
{
	int ends[2];

	return pipe2(ends, O_CLOEXEC) ? -1 : ends[1];
}

static int open_ring(void)
{
	struct io_uring_params params = { 0 };

	return syscall(SYS_io_uring_setup, 4, &params);
}

static int open_nothing(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* A mapping without page tables, as the first one was, in its place. */
static void map_anew(struct race *race)
{
	if (mmap(race->map, LEAF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, race->fd,
		 0) != race->map)
		die("mmap: %m");
}

/* What was taken apart is a huge page again each time: by a fault, or by COLLAPSE. */
static void *churn(void *arg)
{
	struct race *race = arg;
	uint32_t generation = 0;

	while (!race->stop) {
		generation++;
		if (generation % 2)
			map_anew(race);
		pages_fill(race->map, TAG, 0, LEAF_PAGES, generation);
		if (generation % 2 == 0)
			object_range(race->fd, VMLAB_IOC_COLLAPSE, 0, LEAF_BYTES, NULL);
		switch (generation % 4) {
		case 0:
			object_pageout(race->fd, 0, LEAF_PAGES);
			break;
		case 1:
			object_pageout(race->fd, 100, 30);
			break;
		case 2:
			object_discard(race->fd, 200, 1);
			pages_fill(race->map + 200 * PAGE, TAG, 200, 1, generation);
			break;
		}
		race->wrong += pages_wrong(race->map, TAG, 0, LEAF_PAGES, generation);
		object_discard(race->fd, 0, LEAF_PAGES);
		race->rounds++;
	}
	return NULL;
}

/* Has the frames that others give up, and knows what it put there. */
static int stranger(void *arg)
{
	struct race *race = arg;
	uint32_t generation = 0;
	int fd = object_open();
	char *map;

	CHECK(fd >= 0);
	map = object_map(fd, 0, 2 * LEAF_PAGES);
	/* Frames of chunks that were split, and whole chunks. */
	CHECK(!madvise(map, LEAF_BYTES, MADV_NOHUGEPAGE));
	while (!race->stop) {
		generation++;
		pages_fill(map, ~TAG, 0, 2 * LEAF_PAGES, generation);
		usleep(1000);
		CHECK(!pages_wrong(map, ~TAG, 0, 2 * LEAF_PAGES, generation));
		CHECK(!object_discard(fd, 0, 2 * LEAF_PAGES));
	}
	return 0;
}

FIXTURE(hugegup)
{
	struct race *race;
};

FIXTURE_VARIANT(hugegup)
{
	ssize_t (*attempt)(struct race *race, struct iovec *iov);
	int (*open)(void);
	int also;		/* another error that is as good */
	bool optional;		/* the kernel may have no such thing */
};

FIXTURE_VARIANT_ADD(hugegup, direct_read) { try_direct_read, open_disk };
FIXTURE_VARIANT_ADD(hugegup, direct_write) { try_direct_write, open_disk };
FIXTURE_VARIANT_ADD(hugegup, vmsplice) { try_vmsplice, open_pipe };
FIXTURE_VARIANT_ADD(hugegup, process_vm_readv) { try_process_read, open_nothing };
FIXTURE_VARIANT_ADD(hugegup, process_vm_writev) { try_process_write, open_nothing };
/* It refuses what is mapped from files by another error, if it looks at that first. */
FIXTURE_VARIANT_ADD(hugegup, io_uring_buffers) {
	try_register, open_ring, .also = EOPNOTSUPP, .optional = true
};

FIXTURE_SETUP(hugegup)
{
	int node;

	settle();
	if (swap_use_only(pressure_disk()))
		die("cannot swap to %s: %m", pressure_disk());
	for (node = 0; node < nr_nodes(); node++)
		ASSERT_EQ(0, pool_resize(node, POOL_MB));
	ASSERT_EQ(0, debugfs_write("huge", "always\n"));
	self->race = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->race);
	self->race->state = seed();
	self->race->fd = object_open();
	ASSERT_GE(self->race->fd, 0);
	self->race->map = object_map(self->race->fd, 0, LEAF_PAGES);
	ASSERT_EQ(0, (uintptr_t)self->race->map % LEAF_BYTES);
	self->race->other = variant->open();
	if (self->race->other < 0 && variant->optional && (errno == ENOSYS || errno == EPERM))
		SKIP(return, "the kernel has no such call");
	ASSERT_GE(self->race->other, 0);
}

FIXTURE_TEARDOWN(hugegup)
{
	EXPECT_VERIFY_OK();
	munmap(self->race->map, LEAF_BYTES);
	close(self->race->fd);
	close(self->race->other);
	swap_all_off();
	settle();
}

static struct iovec some_run(struct race *race)
{
	unsigned int page = chance(&race->state) % LEAF_PAGES;
	unsigned int pages = 1 + chance(&race->state) % RUN;

	if (pages > LEAF_PAGES - page)
		pages = LEAF_PAGES - page;
	return (struct iovec) { race->map + page * PAGE, pages * PAGE };
}

/* While nothing happens, on a page that is a huge one for sure. */
TEST_F(hugegup, at_rest)
{
	struct iovec iov = { self->race->map + 7 * PAGE, PAGE };
	ssize_t done;

	pages_fill(self->race->map, TAG, 0, LEAF_PAGES, 1);
	ASSERT_EQ(LEAF_PAGES, object_count(self->race->fd, 0, LEAF_PAGES, VMLAB_RES_HUGE));
	done = variant->attempt(self->race, &iov);
	if (done == -ENOSYS)
		SKIP(return, "this kernel has no such call");
	if (!variant->also || done != -variant->also) {
		EXPECT_EQ(-EFAULT, done);
		if (done >= 0)
			note("wrong: a page of a huge one could be had");
	}
	EXPECT_EQ(0, pages_wrong(self->race->map, TAG, 0, LEAF_PAGES, 1));
	if (variant->open == open_disk)
		EXPECT_TRUE(disk_is_left());
}

TEST_F_TIMEOUT(hugegup, while_it_comes_and_goes, 120)
{
	uint64_t huge = counter("thp_fault_alloc"), splits = counter("thp_split_page");
	uint64_t promotions = counter("thp_collapse_alloc");
	double until = now() + 60 * slowness();
	struct race *race = self->race;
	/* Four rounds have one of each kind. */
	const unsigned int rounds = scaled(ROUNDS, 8), enough = scaled(ATTEMPTS, 60);
	unsigned int attempts, bad = 0;
	struct iovec first = some_run(race);
	pthread_t thread;
	pid_t pid;

	if (variant->attempt(race, &first) == -ENOSYS)
		SKIP(return, "this kernel has no such call");
	pid = child_start(stranger, race);
	ASSERT_EQ(0, pthread_create(&thread, NULL, churn, race));
	for (attempts = 0; (attempts < enough || race->rounds < rounds) && now() < until;
	     attempts++) {
		struct iovec iov = some_run(race);
		ssize_t done = variant->attempt(race, &iov);

		if (done != -EFAULT && (!variant->also || done != -variant->also) && !bad++)
			EXPECT_EQ(-EFAULT, done);
	}
	race->stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, child_wait(pid));
	note("%u attempts, %u rounds, %lu huge pages by faults, %lu by COLLAPSE, %lu splits",
	     attempts, race->rounds, (unsigned long)(counter("thp_fault_alloc") - huge),
	     (unsigned long)(counter("thp_collapse_alloc") - promotions),
	     (unsigned long)(counter("thp_split_page") - splits));
	EXPECT_EQ(0, bad);
	EXPECT_EQ(0, race->wrong);
	if (bad || race->wrong)
		note("wrong: %u attempts did not fail as they should, %u pages differ", bad,
		     race->wrong);
	EXPECT_GE(race->rounds, rounds);
	EXPECT_GT(counter("thp_fault_alloc"), huge);
	EXPECT_GT(counter("thp_collapse_alloc"), promotions);
	EXPECT_GT(counter("thp_split_page"), splits + 2);
	if (variant->open == open_disk)
		EXPECT_TRUE(disk_is_left());
}

TEST_HARNESS_MAIN
