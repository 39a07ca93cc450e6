// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of 1 GiB: set aside, reserved, mapped by one entry, and never seen to be anything but
 * 512 chunks by who does something to a part of them.
 *
 * They need a machine that has a GiB to be emptied: where it is a small one, or the kernel can
 * map none, what is asked for is refused, and the rest is skipped.
 *
 * vmlab-test: timeout=400 phases=plain shapes=large
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define TAG 0x616
#define POOL_MB 24
#define GIB (1UL << 30)
#define PAGES (GIB / PAGE)
#define STEP 61			/* of so many pages one is filled, and looked at */

/* At least this much has a machine where it must work. */
#define LARGE (4UL << 30)

static int reserve(int fd, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct vmlab_ioc_range range = {
		.size = sizeof(range), .flags = VMLAB_RANGE_GIGANTIC | flags,
		.offset = offset, .length = length,
	};

	return ioctl(fd, VMLAB_IOC_RESERVE, &range) ? -errno : 0;
}

static int set_aside(int node, unsigned int nr)
{
	char name[32];

	snprintf(name, sizeof(name), "node%d/gigantic", node);
	return debugfs_write(name, "%u\n", nr);
}

static uint64_t aside(int node, const char *field)
{
	char name[32];

	snprintf(name, sizeof(name), "node%d/gigantic", node);
	return debugfs_value(name, field);
}

/*
 * One on any node, which stays from one test to the next: a GiB that was given back is soon one
 * that cannot be emptied.  The node, or an error.
 */
static int set_one_aside(void)
{
	int node, err = -ENOENT;

	for (node = 0; node < nr_nodes(); node++) {
		if (!node_has_pool(node))
			continue;
		err = set_aside(node, 1);
		if (!err)
			return node;
	}
	return err;
}

/* Can the processor map them? */
static bool has_pdpe1gb(void)
{
	return !system("grep -qw pdpe1gb /proc/cpuinfo");
}

static bool is_large(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE > LARGE && !kernel_is("6.1") &&
	       has_pdpe1gb();
}

/* What is said where it cannot be at all, or else. */
static int unless_able(int error)
{
	return kernel_is("6.1") || !has_pdpe1gb() ? -EOPNOTSUPP : error;
}

static void fill(char *map, uint32_t generation)
{
	size_t i;

	for (i = 0; i < PAGES; i += STEP)
		page_fill(map + i * PAGE, TAG, i, generation);
}

/* How many of what was filled from page @from up to @to is not so. */
static size_t wrong(const char *map, size_t from, size_t to, uint32_t generation)
{
	size_t i, nr = 0;

	for (i = (from + STEP - 1) / STEP * STEP; i < to; i += STEP)
		nr += !page_is(map + (i - from) * PAGE, TAG, i, generation);
	return nr;
}

/* The level whose entry maps an address: VMLAB_WALK_PUD, _PMD or _PTE; -1: none does. */
static int mapped_by(int fd, const void *address)
{
	struct vmlab_ioc_walk walk = { .size = sizeof(walk), .address = (uintptr_t)address };
	const struct vmlab_walk_level *last;

	if (ioctl(fd, VMLAB_IOC_WALK, &walk))
		die("WALK: %m");
	last = &walk.levels[walk.nr_levels - 1];
	if (!(last->flags & VMLAB_WALK_PRESENT))
		return -1;
	if (!(last->flags & VMLAB_WALK_SPECIAL))
		die("the entry is not special");
	return walk.nr_levels - 1;
}

FIXTURE(gigantic)
{
	int node;
	int fd;
	char *map;
};

FIXTURE_SETUP(gigantic)
{
	int node;

	settle();
	for (node = 0; node < nr_nodes(); node++)
		if (node_has_pool(node))
			ASSERT_EQ(0, pool_resize(node, POOL_MB));
	ASSERT_EQ(0, debugfs_write("promote/scan_leaves", "0\n"));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->node = set_one_aside();
	if (self->node < 0 && !is_large()) {
		close(self->fd);
		SKIP(return, "no GiB could be set aside: %s", strerror(-self->node));
	}
	ASSERT_GE(self->node, 0) TH_LOG("%s", strerror(-self->node));
	self->map = object_map(self->fd, 0, PAGES);
	ASSERT_EQ(0, (uintptr_t)self->map % GIB);
}

FIXTURE_TEARDOWN(gigantic)
{
	if (self->node < 0)
		return;
	EXPECT_VERIFY_OK();
	munmap(self->map, GIB);
	close(self->fd);
	settle();
	EXPECT_EQ(1, aside(self->node, "free"));
	EXPECT_EQ(0, debugfs_write("promote/scan_leaves", "64\n"));
}

/* Whatever the machine: what cannot be is refused. */
TEST(refused)
{
	int fd = object_open(), node = nth_node(pool_nodes(), 0), err;
	struct vmlab_ioc_range range = {
		.size = sizeof(range), .flags = VMLAB_RANGE_GIGANTIC, .length = LEAF_BYTES,
	};

	ASSERT_GE(fd, 0);
	err = reserve(fd, 0, GIB, 0);
	EXPECT_EQ(unless_able(-ENOMEM), err);
	EXPECT_EQ(0, object_frames(fd));
	/* The flag is RESERVE's alone. */
	EXPECT_EQ(-1, ioctl(fd, VMLAB_IOC_POPULATE, &range));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, VMLAB_IOC_COLLAPSE, &range));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, set_aside(node, 0));
	/* For the last test, see there. */
	if (!is_large()) {
		err = set_aside(node, 1000);
		EXPECT_EQ(unless_able(-ENOMEM), err);
		EXPECT_EQ(0, set_aside(node, 0));
	}
	EXPECT_EQ(0, aside(node, "total"));
	EXPECT_VERIFY_OK();
	close(fd);
}

TEST_F_TIMEOUT(gigantic, one_entry_for_one_gib, 200)
{
	uint64_t faults = counter("fault_gigantic");

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	EXPECT_EQ(0, aside(self->node, "free"));
	EXPECT_EQ(PAGES, object_count(self->fd, 0, PAGES, VMLAB_RES_RESERVED));
	EXPECT_EQ(-1, mapped_by(self->fd, self->map));
	fill(self->map, 1);
	EXPECT_EQ(1, counter("fault_gigantic") - faults);
	EXPECT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
	EXPECT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map + GIB - PAGE));
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 61 * STEP, 1, 1));
	EXPECT_EQ(0, reserve(self->fd, 0, GIB, 0));
	EXPECT_EQ(0, reserve(self->fd, (uintptr_t)self->map, GIB, VMLAB_RANGE_ADDRESS));
	/* Nothing takes it. */
	EXPECT_EQ(0, object_pageout(self->fd, 0, LEAF_PAGES));
	EXPECT_EQ(-EBUSY, object_discard(self->fd, 3, 1));
	EXPECT_EQ(-EBUSY, set_aside(self->node, 0));
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
}

/* Maps a GiB that was reserved just now, and stores to each page; how many were not zero. */
static size_t stain(int fd)
{
	char *map = object_map(fd, 0, PAGES);
	size_t i, stained = 0;

	for (i = 0; i < PAGES; i++)
		stained += !page_is_zero(map + i * PAGE);
	for (i = 0; i < PAGES; i++)
		map[i * PAGE + i % PAGE] = 1;
	if (mapped_by(fd, map) != VMLAB_WALK_PUD)
		die("it is not mapped by one entry");
	munmap(map, GIB);
	return stained;
}

/* All of it is zero, although it was not when it was given back. */
TEST_F_TIMEOUT(gigantic, memory_is_zero, 300)
{
	int next = object_open();

	ASSERT_GE(next, 0);
	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	EXPECT_EQ(0, stain(self->fd));
	EXPECT_EQ(-ENOMEM, reserve(next, 0, GIB, 0));
	munmap(self->map, GIB);
	close(self->fd);
	self->fd = next;
	self->map = object_map(next, 0, PAGES);
	settle();
	ASSERT_EQ(0, reserve(next, 0, GIB, 0));
	EXPECT_EQ(0, stain(next));
}

static int look_and_store(void *arg)
{
	char *map = arg;

	CHECK(!wrong(map, 0, PAGES, 1));
	page_fill(map + 7 * STEP * PAGE, TAG, 7 * STEP, 2);
	CHECK(page_is(map + 7 * STEP * PAGE, TAG, 7 * STEP, 2));
	return 0;
}

TEST_F_TIMEOUT(gigantic, children_share_it, 200)
{
	uint64_t faults;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	faults = counter("fault_gigantic");
	EXPECT_EQ(0, child_run(look_and_store, self->map));
	EXPECT_EQ(1, counter("fault_gigantic") - faults);
	EXPECT_TRUE(page_is(self->map + 7 * STEP * PAGE, TAG, 7 * STEP, 2));
	EXPECT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
}

/* A private mapping, and its fork: a store copies 4 KiB and no more. */
TEST_F_TIMEOUT(gigantic, private_copies_a_page, 300)
{
	char *map = object_map_private(self->fd, 0, PAGES);
	uint64_t copies;

	ASSERT_EQ(0, (uintptr_t)map % GIB);
	ASSERT_EQ(0, reserve(self->fd, (uintptr_t)map, GIB, VMLAB_RANGE_ADDRESS));
	fill(map, 1);
	EXPECT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, map));
	copies = counter("cow_copy");
	EXPECT_EQ(0, child_run(look_and_store, map));
	EXPECT_LE(counter("cow_copy") - copies, 16);
	EXPECT_EQ(0, wrong(map, 0, PAGES, 1));
	EXPECT_VERIFY_OK();
	fill(map, 3);
	EXPECT_EQ(0, wrong(map, 0, PAGES, 3));
	EXPECT_EQ(0, self->map[0]);
	munmap(map, GIB);
}

TEST_F_TIMEOUT(gigantic, snapshot_keeps_what_was, 300)
{
	uint64_t split, copies;
	int copy;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	split = counter("thp_split_pud");
	copies = counter("cow_copy");
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
	EXPECT_VERIFY_OK();
	/* One page of another, and all around it stays. */
	page_fill(self->map + 3 * STEP * PAGE, TAG, 3 * STEP, 2);
	EXPECT_TRUE(page_is(self->map + 3 * STEP * PAGE, TAG, 3 * STEP, 2));
	EXPECT_LE(counter("cow_copy") - copies, 16);
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 3 * STEP, 1, 1));
	EXPECT_EQ(0, wrong(self->map + 4 * STEP * PAGE, 4 * STEP, PAGES, 1));
	EXPECT_NE(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
	note("%lu PUDs split", (unsigned long)(counter("thp_split_pud") - split));
	close(copy);
	fill(self->map, 4);
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 4));
}

/* write() changes what the entry maps: it must go, and nothing of the rest is lost. */
TEST_F_TIMEOUT(gigantic, write_beside_a_mapping, 200)
{
	size_t page = 5 * STEP;
	int copy;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
	ASSERT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, page, 1, 2));
	EXPECT_TRUE(page_is(self->map + page * PAGE, TAG, page, 2));
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, page, 1, 1));
	EXPECT_VERIFY_OK();
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, page, 1, 1));
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
	close(copy);
}

/* What PROT_NONE hides is unmapped, too, where the object has another page by now. */
TEST_F_TIMEOUT(gigantic, hidden_is_not_forgotten, 300)
{
	size_t page = 9 * STEP;
	int copy;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	ASSERT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
	ASSERT_EQ(0, mprotect(self->map, GIB, PROT_NONE));
	ASSERT_EQ(0, mprotect(self->map, GIB, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, wrong(self->map, 0, 16 * STEP, 1));
	ASSERT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, self->map));
	ASSERT_EQ(0, mprotect(self->map, GIB, PROT_NONE));
	EXPECT_EQ(SIGSEGV, try_store(self->map, 1));
	EXPECT_VERIFY_OK();
	copy = object_snapshot(self->fd, 0);
	ASSERT_GE(copy, 0);
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, page, 1, 2));
	ASSERT_EQ(0, mprotect(self->map, GIB, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(page_is(self->map + page * PAGE, TAG, page, 2));
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, page, 1, 1));
	EXPECT_VERIFY_OK();
	page_fill(self->map + page * PAGE, TAG, page, 1);
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
	close(copy);
}

/* All that cuts a mapping, or moves it, leaves the other parts as they were. */
TEST_F_TIMEOUT(gigantic, parts_of_a_mapping, 300)
{
	size_t half = PAGES / 2;
	char *map, *room;
	int what;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	for (what = 0; what < 8; what++) {
		map = object_map(self->fd, 0, PAGES);
		EXPECT_EQ(0, wrong(map, 0, 4 * STEP, 1));
		ASSERT_EQ(VMLAB_WALK_PUD, mapped_by(self->fd, map));
		room = mmap(NULL, 2 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);
		ASSERT_NE(MAP_FAILED, room);
		switch (what) {
		case 0:
			EXPECT_EQ(0, mprotect(map, half * PAGE, PROT_READ));
			EXPECT_EQ(SIGSEGV, try_store(map, 1));
			break;
		case 1:
			EXPECT_EQ(0, mprotect(map, GIB, PROT_READ));
			EXPECT_EQ(SIGSEGV, try_store(map + GIB - 1, 1));
			EXPECT_EQ(0, mprotect(map, GIB, PROT_READ | PROT_WRITE));
			page_fill(map, TAG, 0, 1);
			break;
		case 2:
			EXPECT_EQ(0, munmap(map + 5 * PAGE, PAGE));
			EXPECT_EQ(SIGSEGV, try_store(map + 5 * PAGE, 1));
			break;
		case 3:
			EXPECT_EQ(0, madvise(map + LEAF_BYTES, LEAF_BYTES, MADV_NOHUGEPAGE));
			break;
		case 4:
			/* The whole, to where it is aligned. */
			room = (char *)(((uintptr_t)room + GIB - 1) & ~(GIB - 1));
			EXPECT_EQ(room, mremap(map, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, room));
			map = room;
			break;
		case 5:
			/* And to where it is not. */
			room = (char *)(((uintptr_t)room + GIB - 1) & ~(GIB - 1)) + PAGE;
			if (munmap(room - PAGE, GIB + PAGE))
				die("munmap: %m");
			EXPECT_EQ(room, mremap(map, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, room));
			map = room;
			break;
		case 6:
			/* A part. */
			EXPECT_EQ(room, mremap(map + half * PAGE, GIB - half * PAGE,
					       GIB - half * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
					       room));
			EXPECT_EQ(0, wrong(room, half, PAGES, 1));
			EXPECT_EQ(SIGSEGV, try_store(map + half * PAGE, 1));
			EXPECT_EQ(0, wrong(map, 0, half, 1));
			EXPECT_VERIFY_OK();
			munmap(room, GIB - half * PAGE);
			munmap(map, half * PAGE);
			continue;
		case 7:
			/* Another one in its midst. */
			EXPECT_EQ(map + half * PAGE,
				  mmap(map + half * PAGE, LEAF_BYTES, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, self->fd, 0));
			EXPECT_TRUE(page_is(map + half * PAGE, TAG, 0, 1));
			EXPECT_EQ(map + half * PAGE,
				  mmap(map + half * PAGE, LEAF_BYTES, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_FIXED, self->fd, half * PAGE));
			break;
		}
		EXPECT_VERIFY_OK();
		EXPECT_EQ(0, wrong(map + 64 * PAGE, 64, PAGES, 1)) TH_LOG("case %d", what);
		munmap(map, GIB);
	}
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
}

static int as_nobody(void *arg)
{
	struct rlimit limit = { GIB / 2, GIB / 2 };
	int fd = object_open();

	CHECK(fd >= 0);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	CHECK(reserve(fd, 0, GIB, 0) == -ENOMEM);
	CHECK(!object_frames(fd));
	return 0;
}

/* What is left of it after a store to each 2 MiB that a copy has too cannot be had back. */
static int goes_on_to_pay(void *arg)
{
	struct rlimit limit = { GIB, GIB };
	int fd = object_open(), other = object_open(), copy;
	char *map;
	size_t i;

	CHECK(fd >= 0 && other >= 0);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	CHECK(!reserve(fd, 0, GIB, 0));
	map = object_map(fd, 0, PAGES);
	fill(map, 1);
	copy = object_snapshot(fd, 0);
	CHECK(copy >= 0);
	for (i = 0; i < PAGES; i += LEAF_PAGES)
		map[i * PAGE + PAGE / 2] = 1;
	CHECK(!close(copy));
	CHECK(object_range(other, VMLAB_IOC_RESERVE, 0, LEAF_BYTES, NULL) == -ENOMEM);
	CHECK(object_count(fd, 0, PAGES, VMLAB_RES_RESERVED) == PAGES - PAGES / LEAF_PAGES);
	CHECK(!object_pageout(fd, 1, LEAF_PAGES - 1));
	CHECK(!munmap(map, GIB));
	CHECK(!close(fd));
	/* Nothing of it is left. */
	CHECK(!object_range(other, VMLAB_IOC_RESERVE, 0, LEAF_BYTES, NULL));
	return 0;
}

TEST_F_TIMEOUT(gigantic, paid_for_to_the_end, 300)
{
	EXPECT_EQ(0, child_run(goes_on_to_pay, NULL));
}

TEST_F_TIMEOUT(gigantic, bad_input, 200)
{
	uint64_t frames;
	int fd;

	EXPECT_EQ(-EINVAL, reserve(self->fd, PAGE, GIB, 0));
	EXPECT_EQ(-EINVAL, reserve(self->fd, LEAF_BYTES, GIB, 0));
	EXPECT_EQ(-EINVAL, reserve(self->fd, 0, GIB + LEAF_BYTES, 0));
	EXPECT_EQ(-EINVAL, reserve(self->fd, 0, LEAF_BYTES, 0));
	EXPECT_EQ(-EINVAL, reserve(self->fd, 0, GIB, 1U << 5));
	EXPECT_EQ(-EINVAL, reserve(self->fd, VMLAB_OBJECT_SIZE, GIB, 0));
	EXPECT_EQ(-EINVAL, reserve(self->fd, 0, ~(GIB - 1), 0));
	EXPECT_EQ(0, reserve(self->fd, 0, 0, 0));
	fd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-EBADF, reserve(fd, 0, GIB, 0));
	close(fd);
	/* More than is set aside: nothing is left of the attempt. */
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, 2 * GIB, 0));
	EXPECT_EQ(0, object_frames(self->fd));
	EXPECT_EQ(1, aside(self->node, "free"));
	/* Where something is, at the very end. */
	self->map[GIB - 1] = 1;
	EXPECT_EQ(-EBUSY, reserve(self->fd, 0, GIB, 0));
	frames = object_frames(self->fd);
	EXPECT_LE(frames, 2 * LEAF_PAGES + 2);
	EXPECT_EQ(1, aside(self->node, "free"));
	EXPECT_EQ(1, self->map[GIB - 1]);
	ASSERT_EQ(0, object_discard(self->fd, PAGES - LEAF_PAGES, LEAF_PAGES));
	/* Its limit, and that of a user. */
	ASSERT_EQ(0, object_limit(self->fd, PAGES));
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, GIB, 0));
	ASSERT_EQ(0, object_limit(self->fd, 0));
	EXPECT_EQ(0, child_run(as_nobody, NULL));
	EXPECT_EQ(1, aside(self->node, "free"));
}

struct holder {
	int ready[2], go[2];
};

/* Has a GiB, says so, and waits. */
static int hold(void *arg)
{
	struct holder *holder = arg;
	int fd = object_open();
	char *map, byte;

	CHECK(fd >= 0 && !reserve(fd, 0, GIB, 0));
	map = object_map(fd, 0, PAGES);
	fill(map, 1);
	CHECK(write(holder->ready[1], "", 1) == 1);
	CHECK(read(holder->go[0], &byte, 1) == 1);
	CHECK(!wrong(map, 0, PAGES, 1));
	return 0;
}

static int grow(void *arg)
{
	size_t i, pages = 2 * pool_sum("total");
	char *map = object_map(object_open(), 0, pages);

	for (i = 0; i < pages; i++)
		map[i * PAGE] = 1;
	return 0;
}

/* To kill who has a GiB would give the pool nothing. */
TEST_F_TIMEOUT(gigantic, oom_kills_another, 200)
{
	struct holder holder;
	char byte;
	pid_t pid;

	swap_all_off();
	ASSERT_EQ(0, pipe(holder.ready));
	ASSERT_EQ(0, pipe(holder.go));
	pid = child_start(hold, &holder);
	ASSERT_EQ(1, read(holder.ready[0], &byte, 1));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(grow, NULL));
	ASSERT_EQ(1, write(holder.go[1], "", 1));
	EXPECT_EQ(0, child_wait(pid));
}

/* A program that asks the kernel for one, with the preload library. */
TEST_F_TIMEOUT(gigantic, map_huge_1gb, 200)
{
	uint64_t faults = counter("fault_gigantic");

	EXPECT_EQ(0, run("LD_PRELOAD=%s python3 -c '\n"
			 "import mmap\n"
			 "ANON = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS\n"
			 "HUGE_1GB = 0x40000 | 30 << 26\n"
			 "m = mmap.mmap(-1, 1 << 30, flags=ANON | HUGE_1GB)\n"
			 "assert \"/dev/vmlab\" in open(\"/proc/self/maps\").read()\n"
			 "m[5] = 7\n"
			 "m[(1 << 30) - 1] = 9\n"
			 "assert m[5] == 7 and m[(1 << 30) - 1] == 9 and not m[4096]\n"
			 "try:\n"
			 "    mmap.mmap(-1, 1 << 30, flags=ANON | HUGE_1GB)\n"
			 "except OSError as error:\n"
			 "    assert error.errno == 12\n"
			 "else:\n"
			 "    raise SystemExit(\"a second one\")\n"
			 "'", preload_library()));
	EXPECT_EQ(1, counter("fault_gigantic") - faults);
}

/* The mapping has no room for it, or a table was in the way: 2 MiB at a time. */
TEST_F_TIMEOUT(gigantic, where_it_does_not_fit, 200)
{
	char *map = mmap(NULL, GIB + LEAF_BYTES, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ASSERT_NE(MAP_FAILED, map);
	map = (char *)(((uintptr_t)map + LEAF_BYTES - 1) & ~(LEAF_BYTES - 1));
	if (!((uintptr_t)map % GIB))
		map += LEAF_BYTES;
	ASSERT_EQ(map, mmap(map, GIB - LEAF_BYTES, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, self->fd, 0));
	self->map[5 * LEAF_BYTES] = 1;
	ASSERT_EQ(0, object_discard(self->fd, 5 * LEAF_PAGES, LEAF_PAGES));
	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	EXPECT_EQ(VMLAB_WALK_PMD, mapped_by(self->fd, self->map));
	EXPECT_EQ(0, wrong(map, 0, PAGES - LEAF_PAGES, 1));
	EXPECT_EQ(VMLAB_WALK_PMD, mapped_by(self->fd, map));
	munmap(map, GIB - LEAF_BYTES);
}

struct race {
	int fd;
	atomic_bool stop;
	atomic_ulong rounds, wrong;
};

/* Each time a new mapping, whose first access sets the entry anew. */
static void *map_and_look(void *arg)
{
	struct race *race = arg;
	uint64_t state = seed();

	while (!race->stop) {
		char *map = object_map(race->fd, 0, PAGES);
		unsigned int i;

		for (i = 0; i < 32; i++) {
			size_t page = chance(&state) % (PAGES / STEP) * STEP;

			race->wrong += !page_is(map + page * PAGE, TAG, page, 1);
		}
		mprotect(map + chance(&state) % PAGES * PAGE, PAGE, PROT_READ);
		munmap(map, GIB);
		race->rounds++;
	}
	return NULL;
}

/* Copies come and go meanwhile, which takes all entries away or makes them read-only. */
TEST_F_TIMEOUT(gigantic, copies_meanwhile, 300)
{
	struct race race = { .fd = self->fd };
	double until = now() + seconds(8);
	pthread_t threads[2];
	unsigned int copies;
	size_t i;

	ASSERT_EQ(0, reserve(self->fd, 0, GIB, 0));
	fill(self->map, 1);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, map_and_look, &race));
	for (copies = 0; copies < 4 || now() < until; copies++) {
		int copy = object_snapshot(self->fd, 0);

		ASSERT_GE(copy, 0);
		page_fill(self->map + 2 * STEP * PAGE, TAG, 2 * STEP, 1);
		EXPECT_EQ(0, object_wrong_pages(copy, TAG, 2 * STEP, 1, 1));
		close(copy);
	}
	race.stop = true;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, race.wrong);
	EXPECT_GE(race.rounds, 2);
	note("%u copies, %lu mappings", copies, race.rounds);
	EXPECT_EQ(0, wrong(self->map, 0, PAGES, 1));
}

/* Its memory, and each of its books: what was had by then is given back. */
TEST_F_TIMEOUT(gigantic, injected, 200)
{
	unsigned int nth, reached = 0;

	for (nth = 1; nth <= 4; nth++) {
		ASSERT_EQ(0, inject("chunk", "nth %u", nth));
		EXPECT_EQ(-ENOMEM, set_aside(self->node, 2));
		reached += inject_count("chunk");
		ASSERT_EQ(0, inject("chunk", "off"));
		EXPECT_EQ(1, aside(self->node, "total"));
		EXPECT_VERIFY_OK();
	}
	/* The first at least; the others where there is memory for a second GiB. */
	EXPECT_GE(reached, 1);
	note("%u of 4 were reached", reached);
}

/*
 * The last, as it leaves the machine without a GiB that could be emptied: as many as there can be,
 * and the machine has them again.
 */
TEST_F_TIMEOUT(gigantic, given_back, 200)
{
	uint64_t before;

	EXPECT_EQ(-ENOMEM, set_aside(self->node, -1));
	note("%lu GiB", (unsigned long)aside(self->node, "total"));
	before = sysconf(_SC_AVPHYS_PAGES);
	EXPECT_EQ(0, set_aside(self->node, 0));
	EXPECT_EQ(0, aside(self->node, "total"));
	EXPECT_GE(sysconf(_SC_AVPHYS_PAGES), before + PAGES / 2);
	EXPECT_EQ(-ENOMEM, reserve(self->fd, 0, GIB, 0));
	EXPECT_VERIFY_OK();
	munmap(self->map, GIB);
	close(self->fd);
	/* There is none that could be free again. */
	self->node = -1;
}

TEST_HARNESS_MAIN
