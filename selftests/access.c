// SPDX-License-Identifier: GPL-2.0
/*
 * A debugger's view: PTRACE_PEEKDATA, PTRACE_POKEDATA and /proc/PID/mem on
 * resident pages, pages on swap and holes of another process.  It must never
 * write what the process could not have been allowed to write itself.
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#define TAG 0xacce
#define PAGES 24

FIXTURE(access)
{
	int fd, rd, memory;
	char *map, *hole, *readable, *readonly;
	pid_t child;
};

static int sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return 0;
}

FIXTURE_SETUP(access)
{
	char path[64];
	int status;

	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->rd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	ASSERT_GE(self->rd, 0);
	self->map = object_map(self->fd, 0, PAGES);
	self->hole = object_map(self->fd, TIB / PAGE, PAGES);
	self->readable = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->readable);
	self->readonly = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->rd, 0);
	ASSERT_NE(MAP_FAILED, self->readonly);
	pages_fill(self->map, TAG, 0, PAGES, 1);
	self->child = child_start(sleep_for_ever, NULL);
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, self->child, NULL, NULL));
	ASSERT_EQ(self->child, waitpid(self->child, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	snprintf(path, sizeof(path), "/proc/%d/mem", self->child);
	self->memory = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->memory, 0);
}

FIXTURE_TEARDOWN(access)
{
	close(self->memory);
	kill(self->child, SIGKILL);
	child_wait(self->child);
	EXPECT_VERIFY_OK();
	close(self->fd);
	close(self->rd);
}

static void peek_and_poke(struct __test_metadata *_metadata, FIXTURE_DATA(access) *self)
{
	static char whole[PAGES * PAGE];
	uint64_t word;
	size_t i;

	for (i = 0; i < PAGES; i++) {
		char *address = self->map + i * PAGE + 8;

		errno = 0;
		word = ptrace(PTRACE_PEEKDATA, self->child, address, NULL);
		ASSERT_EQ(0, errno);
		ASSERT_EQ(i, word);
	}
	ASSERT_EQ(sizeof(whole), pread(self->memory, whole, sizeof(whole), (off_t)self->map));
	EXPECT_EQ(0, pages_wrong(whole, TAG, 0, PAGES, 1));
	/* Not aligned, across a page. */
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, self->child, self->map + 2 * PAGE - 3,
			    0x1122334455667788));
	memcpy(&word, self->map + 2 * PAGE - 3, 8);
	EXPECT_EQ(0x1122334455667788, word);
	pages_fill(whole, TAG, 0, PAGES, 2);
	ASSERT_EQ(sizeof(whole), pwrite(self->memory, whole, sizeof(whole), (off_t)self->map));
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, PAGES, 2));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, PAGES, 2));
}

TEST_F(access, resident)
{
	peek_and_poke(_metadata, self);
}

TEST_F(access, on_swap)
{
	settle();
	if (!under_pressure())
		ASSERT_EQ(0, swap_use_only(spare_disk()));
	ASSERT_EQ(PAGES, object_pageout(self->fd, 0, PAGES));
	peek_and_poke(_metadata, self);
}

TEST_F(access, holes)
{
	char buffer[2 * PAGE];
	uint64_t frames = object_frames(self->fd);

	memset(buffer, 0xee, sizeof(buffer));
	ASSERT_EQ(sizeof(buffer), pread(self->memory, buffer, sizeof(buffer), (off_t)self->hole));
	EXPECT_EQ(0, pages_not_zero(buffer, 2));
	EXPECT_LE(object_frames(self->fd), frames);
	EXPECT_EQ(0, ptrace(PTRACE_PEEKDATA, self->child, self->hole + 4 * PAGE, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, self->child, self->hole + 5 * PAGE, 77));
	EXPECT_EQ(77, *(uint64_t *)(self->hole + 5 * PAGE));
	pages_fill(buffer, TAG, 3, 2, 3);
	ASSERT_EQ(sizeof(buffer), pwrite(self->memory, buffer, sizeof(buffer),
					 (off_t)self->hole + 7 * PAGE));
	EXPECT_EQ(0, pages_wrong(self->hole + 7 * PAGE, TAG, 3, 2, 3));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, PAGES, 1));
}

TEST_F(access, zero_page_mapped_elsewhere)
{
	ASSERT_EQ(0, pages_not_zero(self->hole, PAGES));
	ASSERT_EQ(0, ptrace(PTRACE_POKEDATA, self->child, self->hole + PAGE, 5));
	EXPECT_EQ(5, *(volatile uint64_t *)(self->hole + PAGE));
}

TEST_F(access, protections)
{
	char buffer[PAGE];
	uint64_t word = 0;
	ssize_t done;

	ASSERT_EQ(PAGE, pread(self->memory, buffer, PAGE, (off_t)self->readable));
	EXPECT_TRUE(page_is(buffer, TAG, 0, 1));
	ASSERT_EQ(PAGE, pread(self->memory, buffer, PAGE, (off_t)self->readonly));
	EXPECT_TRUE(page_is_zero(buffer));
	/* The descriptor was open for reading only: no way to write. */
	done = pwrite(self->memory, "x", 1, (off_t)self->readonly);
	EXPECT_EQ(-1, done);
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, self->child, self->readonly, 1));
	EXPECT_TRUE(page_is_zero(self->readonly));
	/* The mapping is read-only for now: all of a word is written, or none and EIO. */
	done = pwrite(self->memory, "12345678", 8, (off_t)self->readable);
	memcpy(&word, self->map, 8);
	EXPECT_TRUE((done == 8 && !memcmp(&word, "12345678", 8)) ||
		    (done == -1 && errno == EIO && word == TAG));
	/* Behind the end of the mapping. */
	ASSERT_EQ(0, munmap(self->readonly, PAGE));
	EXPECT_EQ(-1, pread(self->memory, buffer, 1, 0));
}

TEST_HARNESS_MAIN
