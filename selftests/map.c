// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings and descriptors: parts unmapped, moved, shrunk and reprotected;
 * several mappings of one object; fork, exec and kill; which ways of opening
 * and passing a descriptor reach the same object and which make a new one.  It
 * must never leave a process behind.
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TAG 0x3a9

FIXTURE(map)
{
	int fd;
};

FIXTURE_SETUP(map)
{
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(map)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
}

TEST_F(map, unmap_parts)
{
	const size_t pages = 3 * LEAF_PAGES;
	char *map = object_map(self->fd, 0, pages);
	size_t i;

	pages_fill(map, TAG, 0, pages, 1);
	/* A hole in the middle, both ends, then every second page of a stretch. */
	ASSERT_EQ(0, munmap(map + 700 * PAGE, 100 * PAGE));
	ASSERT_EQ(0, munmap(map, 10 * PAGE));
	ASSERT_EQ(0, munmap(map + (pages - 10) * PAGE, 10 * PAGE));
	for (i = 100; i < 200; i += 2)
		ASSERT_EQ(0, munmap(map + i * PAGE, PAGE));
	EXPECT_EQ(SIGSEGV, try_load(map, NULL));
	EXPECT_EQ(SIGSEGV, try_load(map + 750 * PAGE, NULL));
	EXPECT_EQ(0, pages_wrong(map + 10 * PAGE, TAG, 10, 90, 1));
	EXPECT_EQ(0, pages_wrong(map + 800 * PAGE, TAG, 800, pages - 810, 1));
	for (i = 101; i < 200; i += 2)
		EXPECT_EQ(0, pages_wrong(map + i * PAGE, TAG, i, 1, 1));
	EXPECT_VERIFY_OK();
	/* What is unmapped is not gone. */
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 1));
	ASSERT_EQ(0, munmap(map, pages * PAGE));
	map = object_map(self->fd, 0, pages);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

TEST_F(map, move_and_shrink)
{
	const size_t pages = LEAF_PAGES + 64;
	char *map = object_map(self->fd, 0, pages), *room, *moved;

	pages_fill(map, TAG, 0, pages, 1);
	room = mmap(NULL, (pages + 1) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	moved = mremap(map, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE);
	ASSERT_EQ(room + PAGE, moved);
	EXPECT_EQ(SIGSEGV, try_load(map, NULL));
	EXPECT_EQ(0, pages_wrong(moved, TAG, 0, pages, 1));
	pages_fill(moved, TAG, 0, pages, 2);
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 2));

	ASSERT_EQ(moved, mremap(moved, pages * PAGE, 100 * PAGE, 0));
	EXPECT_EQ(SIGSEGV, try_load(moved + 100 * PAGE, NULL));
	EXPECT_EQ(0, pages_wrong(moved, TAG, 0, 100, 2));
	/* The middle alone moves back. */
	ASSERT_EQ(map, mremap(moved + 20 * PAGE, 30 * PAGE, 30 * PAGE,
			      MREMAP_MAYMOVE | MREMAP_FIXED, map));
	EXPECT_EQ(0, pages_wrong(map, TAG, 20, 30, 2));
	EXPECT_EQ(0, pages_wrong(moved, TAG, 0, 20, 2));
	EXPECT_EQ(0, pages_wrong(moved + 50 * PAGE, TAG, 50, 50, 2));
	pages_fill(map, TAG, 20, 30, 3);
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 20, 30, 3));

	/* The core lets no driver mapping grow. */
	EXPECT_EQ(MAP_FAILED, mremap(map, 30 * PAGE, 31 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, pages_wrong(map, TAG, 20, 30, 3));
	munmap(map, 30 * PAGE);
	munmap(room, (pages + 1) * PAGE);
}

TEST_F(map, reprotect)
{
	const size_t pages = 64;
	char *map = object_map(self->fd, 0, pages);
	unsigned int round;

	for (round = 1; round <= 20; round++) {
		pages_fill(map, TAG, 0, pages, round);
		ASSERT_EQ(0, mprotect(map + 16 * PAGE, 16 * PAGE, PROT_READ));
		ASSERT_EQ(SIGSEGV, try_store(map + 20 * PAGE, 1));
		ASSERT_EQ(0, mprotect(map + 40 * PAGE, 8 * PAGE, PROT_NONE));
		ASSERT_EQ(SIGSEGV, try_load(map + 40 * PAGE, NULL));
		if (under_pressure())
			ASSERT_GE(object_pageout(self->fd, 0, pages), 0);
		ASSERT_EQ(0, pages_wrong(map, TAG, 0, 40, round));
		ASSERT_EQ(0, mprotect(map, pages * PAGE, PROT_READ | PROT_WRITE));
		ASSERT_EQ(0, pages_wrong(map, TAG, 0, pages, round));
	}
	munmap(map, pages * PAGE);
}

TEST_F(map, several_mappings_of_one_object)
{
	const size_t pages = LEAF_PAGES;
	char *whole = object_map(self->fd, 0, pages);
	char *second = object_map(self->fd, 0, pages);
	char *shifted = object_map(self->fd, 100, 200);
	size_t i;

	for (i = 0; i < pages; i++)
		page_fill((i % 2 ? whole : second) + i * PAGE, TAG, i, 1);
	EXPECT_EQ(0, pages_wrong(whole, TAG, 0, pages, 1));
	EXPECT_EQ(0, pages_wrong(second, TAG, 0, pages, 1));
	EXPECT_EQ(0, pages_wrong(shifted, TAG, 100, 200, 1));
	pages_fill(shifted, TAG, 100, 200, 2);
	EXPECT_EQ(0, pages_wrong(whole + 100 * PAGE, TAG, 100, 200, 2));
	EXPECT_VERIFY_OK();
	if (under_pressure())
		EXPECT_GT(object_pageout(self->fd, 0, pages), 0);
	EXPECT_EQ(0, pages_wrong(second + 100 * PAGE, TAG, 100, 200, 2));
	/* Gone through one mapping is gone through all. */
	ASSERT_EQ(0, object_discard(self->fd, 150, 10));
	EXPECT_EQ(0, pages_not_zero(whole + 150 * PAGE, 10));
	EXPECT_EQ(0, pages_not_zero(shifted + 50 * PAGE, 10));
	munmap(whole, pages * PAGE);
	EXPECT_EQ(0, pages_wrong(second, TAG, 0, 100, 1));
	munmap(second, pages * PAGE);
	munmap(shifted, 200 * PAGE);
}

struct pair {
	int fd;
	char *map;
	size_t pages;
	int to_child[2], to_parent[2];
};

static void tell(const int ends[2])
{
	CHECK(write(ends[1], "", 1) == 1);
}

static void hear(const int ends[2])
{
	char byte;

	CHECK(read(ends[0], &byte, 1) == 1);
}

static int forked(void *arg)
{
	struct pair *pair = arg;

	CHECK(!pages_wrong(pair->map, TAG, 0, pair->pages, 1));
	pages_fill(pair->map, TAG, 0, pair->pages / 2, 2);
	tell(pair->to_parent);
	hear(pair->to_child);
	CHECK(!pages_wrong(pair->map, TAG, 0, pair->pages, 3));
	munmap(pair->map, pair->pages * PAGE);
	CHECK(!object_wrong_pages(pair->fd, TAG, 0, pair->pages, 3));
	return 0;
}

TEST_F(map, fork_shares)
{
	struct pair pair = { .fd = self->fd, .pages = 600 };
	pid_t child;

	pair.map = object_map(self->fd, 0, pair.pages);
	ASSERT_EQ(0, pipe(pair.to_child));
	ASSERT_EQ(0, pipe(pair.to_parent));
	pages_fill(pair.map, TAG, 0, pair.pages, 1);
	child = child_start(forked, &pair);
	hear(pair.to_parent);
	EXPECT_EQ(0, pages_wrong(pair.map, TAG, 0, pair.pages / 2, 2));
	EXPECT_EQ(0, pages_wrong(pair.map + pair.pages / 2 * PAGE, TAG, pair.pages / 2,
				 pair.pages / 2, 1));
	pages_fill(pair.map, TAG, 0, pair.pages, 3);
	EXPECT_VERIFY_OK();
	tell(pair.to_child);
	EXPECT_EQ(0, child_wait(child));
	EXPECT_EQ(0, pages_wrong(pair.map, TAG, 0, pair.pages, 3));
	munmap(pair.map, pair.pages * PAGE);
}

/* A forked child in turn has children, with parts of the mapping missing. */
static int family(void *arg)
{
	struct pair *pair = arg;
	char *map = pair->map;

	munmap(map + 10 * PAGE, 10 * PAGE);
	CHECK(!pages_wrong(map, TAG, 0, 10, 1));
	if (pair->pages) {
		pair->pages--;
		CHECK(!child_run(family, pair));
	}
	page_fill(map + (20 + pair->pages) * PAGE, TAG, 0x99, 9);
	return 0;
}

TEST_F(map, generations)
{
	struct pair pair = { .fd = self->fd, .pages = 5 };
	char *map = object_map(self->fd, 0, 64);
	size_t i;

	pages_fill(map, TAG, 0, 64, 1);
	pair.map = map;
	EXPECT_EQ(0, child_run(family, &pair));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 20, 1));
	for (i = 20; i < 25; i++)
		EXPECT_TRUE(page_is(map + i * PAGE, TAG, 0x99, 9)) TH_LOG("page %zu", i);
	EXPECT_EQ(0, pages_wrong(map + 25 * PAGE, TAG, 25, 64 - 25, 1));
	munmap(map, 64 * PAGE);
}

static int execute(void *arg)
{
	struct pair *pair = arg;
	char command[96];

	CHECK(!fcntl(pair->fd, F_SETFD, 0));
	snprintf(command, sizeof(command), "printf '%%s' 'written by a shell' >&%d", pair->fd);
	execl("/bin/sh", "sh", "-c", command, NULL);
	return 127;
}

TEST_F(map, exec_keeps_the_descriptor)
{
	struct pair pair = { .fd = self->fd, .pages = 16 };
	char text[32] = "";

	pair.map = object_map(self->fd, 0, pair.pages);
	pages_fill(pair.map, TAG, 0, pair.pages, 1);
	ASSERT_EQ(3 * PAGE, lseek(self->fd, 3 * PAGE, SEEK_SET));
	EXPECT_EQ(0, child_run(execute, &pair));
	ASSERT_EQ(18, pread(self->fd, text, 18, 3 * PAGE));
	EXPECT_STREQ("written by a shell", text);
	EXPECT_EQ(0, pages_wrong(pair.map, TAG, 0, 3, 1));
	EXPECT_EQ(0, pages_wrong(pair.map + 4 * PAGE, TAG, 4, 12, 1));
	munmap(pair.map, pair.pages * PAGE);
}

static int work_until_killed(void *arg)
{
	struct pair *pair = arg;
	uint64_t state = getpid();
	int fd = object_open();
	char *own, page[PAGE];

	CHECK(fd >= 0);
	own = object_map(fd, 0, 2048);
	tell(pair->to_parent);
	for (;;) {
		size_t number = chance(&state) % 2048;

		page_fill(own + number * PAGE, TAG, number, 1);
		CHECK(page_is(own + number * PAGE, TAG, number, 1));
		page_fill(pair->map + number % pair->pages * PAGE, TAG, number % pair->pages, 5);
		CHECK(pread(fd, page, PAGE, number * PAGE) == PAGE);
		CHECK(page_is(page, TAG, number, 1));
		if (number % 64 == 0)
			object_pageout(fd, 0, 2048);
	}
	return 0;
}

/* SIGKILL at any moment: the shared object stays whole, everything else comes back. */
TEST_F(map, killed_at_any_moment)
{
	struct pair pair = { .fd = self->fd, .pages = 64 };
	uint64_t state = seed(), free;
	int round;

	pair.map = object_map(self->fd, 0, pair.pages);
	ASSERT_EQ(0, pipe(pair.to_parent));
	pages_fill(pair.map, TAG, 0, pair.pages, 5);
	ASSERT_TRUE(wait_for_free(1));
	free = pool_sum("free");
	for (round = 0; round < 12; round++) {
		pid_t child = child_start(work_until_killed, &pair);

		hear(pair.to_parent);
		usleep(chance(&state) % 60000);
		kill(child, SIGKILL);
		ASSERT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
	}
	/* A page killed in the middle of a fill is as right as one filled again: same bytes. */
	EXPECT_EQ(0, pages_wrong(pair.map, TAG, 0, pair.pages, 5));
	EXPECT_TRUE(wait_for_free(free - pair.pages)) TH_LOG("%lu of %lu", pool_sum("free"), free);
	munmap(pair.map, pair.pages * PAGE);
}

static uint64_t object_id(int fd)
{
	struct vmlab_ioc_info info;

	return object_info(fd, &info) ? 0 : info.id;
}

TEST_F(map, what_reaches_the_same_object)
{
	int other = object_open(), twin = dup(self->fd), again, sockets[2], passed = -1;
	char path[64], control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'x', page[PAGE];
	struct iovec vec = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &vec, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *head;

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 1, 1));
	ASSERT_NE(0, object_id(self->fd));
	/* A new open, and a new open through /proc, are new objects. */
	ASSERT_GE(other, 0);
	EXPECT_NE(object_id(self->fd), object_id(other));
	ASSERT_EQ(PAGE, pread(other, page, PAGE, 0));
	EXPECT_TRUE(page_is_zero(page));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(again, 0);
	EXPECT_NE(object_id(self->fd), object_id(again));
	EXPECT_NE(object_id(other), object_id(again));
	ASSERT_EQ(PAGE, pread(again, page, PAGE, 0));
	EXPECT_TRUE(page_is_zero(page));
	/* A twin and a passed descriptor are the object itself. */
	EXPECT_EQ(object_id(self->fd), object_id(twin));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &twin, sizeof(int));
	ASSERT_EQ(1, sendmsg(sockets[0], &message, 0));
	close(twin);
	ASSERT_EQ(1, recvmsg(sockets[1], &message, 0));
	head = CMSG_FIRSTHDR(&message);
	ASSERT_NE(NULL, head);
	memcpy(&passed, CMSG_DATA(head), sizeof(int));
	EXPECT_EQ(object_id(self->fd), object_id(passed));
	EXPECT_EQ(0, object_wrong_pages(passed, TAG, 0, 1, 1));
	close(passed);
	close(sockets[0]);
	close(sockets[1]);
	close(again);
	close(other);
}

/* The mapping lives on without the descriptor, and its frames with it. */
TEST_F(map, mapping_outlives_the_descriptor)
{
	const size_t pages = 300;
	int fd = object_open();
	char *map = object_map(fd, 0, pages);
	uint64_t free;

	pages_fill(map, TAG, 0, pages, 1);
	close(fd);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	free = pool_sum("free");
	munmap(map, pages * PAGE);
	EXPECT_TRUE(wait_for_free(free + (under_pressure() ? 1 : pages)));
}

TEST_F(map, calls_on_a_mapping)
{
	const size_t pages = 16;
	char *map = object_map(self->fd, 0, pages);
	unsigned char vec[16];

	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(0, msync(map, pages * PAGE, MS_SYNC));
	EXPECT_EQ(0, msync(map, pages * PAGE, MS_ASYNC));
	EXPECT_EQ(0, mincore(map, pages * PAGE, vec));
	EXPECT_EQ(0, mlock(map, pages * PAGE));
	EXPECT_EQ(0, munlock(map, pages * PAGE));
	/* What would throw contents away behind vmlab's back is refused. */
	EXPECT_EQ(-1, madvise(map, pages * PAGE, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(map, pages * PAGE, MADV_FREE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(map, pages * PAGE, MADV_WIPEONFORK));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(map, pages * PAGE, MADV_REMOVE));
	EXPECT_EQ(0, madvise(map, pages * PAGE, MADV_DONTFORK));
	EXPECT_EQ(0, madvise(map, pages * PAGE, MADV_DOFORK));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* MADV_DONTFORK: the child has no mapping, the parent keeps it. */
static int expect_nothing_there(void *arg)
{
	return try_load(arg, NULL) == SIGSEGV ? 0 : 1;
}

TEST_F(map, dontfork)
{
	char *map = object_map(self->fd, 0, 4);

	pages_fill(map, TAG, 0, 4, 1);
	ASSERT_EQ(0, madvise(map, 4 * PAGE, MADV_DONTFORK));
	EXPECT_EQ(0, child_run(expect_nothing_there, map));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 4, 1));
	munmap(map, 4 * PAGE);
}

TEST_HARNESS_MAIN
