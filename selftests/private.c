// SPDX-License-Identifier: GPL-2.0
/*
 * MAP_PRIVATE: a view of the object as it was when it was mapped, whose stores stay in
 * it.  Stores must reach neither the object nor any other mapping, whatever is done to
 * the protection, the place and the extent of the mapping; what a mapping alone had is
 * free when it is gone.
 *
 * vmlab-test: timeout=300
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TAG 0x941
#define SYS_IA32_REMAP_FILE_PAGES 257
#define PAGES (2 * LEAF_PAGES + 40)

FIXTURE(private)
{
	int fd;
	uint64_t used;
};

/* Not all that are not free: some are just being zeroed. */
static uint64_t frames_used(void)
{
	return pool_sum("resident") + pool_sum("leaf");
}

FIXTURE_SETUP(private)
{
	settle();
	self->used = frames_used();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(private)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
	EXPECT_EQ(self->used, frames_used());
	EXPECT_VERIFY_OK();
}

/* Out of memory and back, where there is somewhere to go. */
static void press(int fd, void *base, size_t pages)
{
	if (under_pressure() && address_range(fd, VMLAB_IOC_PAGEOUT, base, pages, NULL))
		die("cannot page out: %m");
}

TEST_F(private, untouched_object_reads_zeros)
{
	char *map = object_map_private(self->fd, 7, PAGES);

	EXPECT_EQ(0, pages_not_zero(map, PAGES));
	EXPECT_VERIFY_OK();
	pages_fill(map, TAG, 7, PAGES, 1);
	press(self->fd, map, PAGES);
	EXPECT_EQ(0, pages_wrong(map, TAG, 7, PAGES, 1));
	munmap(map, PAGES * PAGE);
	map = object_map(self->fd, 7, PAGES);
	EXPECT_EQ(0, pages_not_zero(map, PAGES));
	munmap(map, PAGES * PAGE);
}

TEST_F(private, view_of_that_moment)
{
	char *shared = object_map(self->fd, 0, PAGES), *map;
	size_t i;

	pages_fill(shared, TAG, 0, PAGES, 1);
	map = object_map_private(self->fd, 0, PAGES);
	/* The object goes on, through every door. */
	for (i = 0; i < PAGES; i += 3)
		page_fill(shared + i * PAGE, TAG, i, 2);
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 100, 20, 3));
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	ASSERT_EQ(0, object_discard(self->fd, 200, 100));
	ASSERT_EQ(0, object_discard(self->fd, LEAF_PAGES, LEAF_PAGES));
	EXPECT_VERIFY_OK();
	press(self->fd, map, PAGES);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, pages_not_zero(shared + 200 * PAGE, 100));
	EXPECT_EQ(0, pages_not_zero(shared + LEAF_BYTES, LEAF_PAGES));

	/* And the mapping's stores stay there. */
	pages_fill(map, TAG, 0, PAGES, 4);
	press(self->fd, map, PAGES);
	EXPECT_EQ(0, pages_wrong(shared + 100 * PAGE, TAG, 100, 20, 3));
	EXPECT_EQ(0, pages_not_zero(shared + LEAF_BYTES, LEAF_PAGES));
	for (i = 0; i < 100; i++)
		EXPECT_TRUE(page_is(shared + i * PAGE, TAG, i, i % 3 ? 1 : 2));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 4));
	EXPECT_VERIFY_OK();
	munmap(map, PAGES * PAGE);
	munmap(shared, PAGES * PAGE);
}

TEST_F(private, descriptor_that_only_reads)
{
	int rd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	char *map;

	ASSERT_GE(rd, 0);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, rd, 0));
	EXPECT_EQ(EACCES, errno);
	map = object_map_private(rd, 0, 100);
	close(rd);
	pages_fill(map, TAG, 0, 100, 1);
	press(self->fd, map, 100);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 100, 1));
	munmap(map, 100 * PAGE);
}

/*
 * mprotect() makes dirty entries of the page tables writable without asking: there must
 * be none of pages that somebody else has too.
 */
TEST_F(private, reprotect_leaks_nothing)
{
	const size_t pages = 96;
	char *shared = object_map(self->fd, 0, pages), *map, *witness;
	unsigned int round;

	pages_fill(shared, TAG, 0, pages, 1);
	map = object_map_private(self->fd, 0, pages);
	for (round = 2; round < 22; round++) {
		/* Loaded, stored to, or neither; then read-only; then a copy is made. */
		ASSERT_EQ(0, pages_wrong(map, TAG, 0, pages / 2, round - 1));
		page_fill(map, TAG, 0, round - 1);
		ASSERT_EQ(0, mprotect(map, pages * PAGE, PROT_READ));
		ASSERT_EQ(SIGSEGV, try_store(map, 1));
		witness = object_map_private(self->fd, 0, pages);
		if (round % 3 == 0)
			press(self->fd, map, pages);
		ASSERT_EQ(0, pages_wrong(witness, TAG, 0, pages, 1));
		ASSERT_EQ(0, mprotect(map, pages * PAGE, PROT_READ | PROT_WRITE));
		pages_fill(map, TAG, 0, pages, round);
		ASSERT_EQ(0, pages_wrong(witness, TAG, 0, pages, 1));
		ASSERT_EQ(0, pages_wrong(shared, TAG, 0, pages, 1));
		ASSERT_EQ(0, pages_wrong(map, TAG, 0, pages, round));
		munmap(witness, pages * PAGE);
	}
	EXPECT_VERIFY_OK();
	munmap(map, pages * PAGE);
	munmap(shared, pages * PAGE);
}

TEST_F(private, read_only_object_is_not_written_by_a_copy_of_its_entries)
{
	const size_t pages = 64;
	char *shared = object_map(self->fd, 0, pages), *map;

	pages_fill(shared, TAG, 0, pages, 1);
	/* Dirty entries that are read-only when the copy is made. */
	ASSERT_EQ(0, mprotect(shared, pages * PAGE, PROT_READ));
	map = object_map_private(self->fd, 0, pages);
	ASSERT_EQ(0, mprotect(shared, pages * PAGE, PROT_READ | PROT_WRITE));
	pages_fill(shared, TAG, 0, pages, 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
	munmap(shared, pages * PAGE);
}

TEST_F(private, split_move_and_shrink)
{
	char *shared = object_map(self->fd, 0, PAGES), *map, *room;
	size_t i;

	pages_fill(shared, TAG, 0, PAGES, 1);
	map = object_map_private(self->fd, 0, PAGES);
	for (i = 0; i < PAGES; i += 2)
		page_fill(map + i * PAGE, TAG, i, 2);
	for (i = 0; i < 40; i++)
		ASSERT_EQ(0, mprotect(map + (400 + 5 * i) * PAGE, PAGE, PROT_READ));
	room = mmap(NULL, 300 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	ASSERT_EQ(room, mremap(map, 300 * PAGE, 300 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room));
	EXPECT_EQ(SIGSEGV, try_load(map, NULL));
	press(self->fd, room, 300);
	for (i = 0; i < PAGES; i++)
		ASSERT_TRUE(page_is((i < 300 ? room : map) + i * PAGE, TAG, i, i % 2 ? 1 : 2))
			TH_LOG("page %zu", i);
	ASSERT_EQ(room, mremap(room, 300 * PAGE, 50 * PAGE, 0));
	EXPECT_EQ(SIGSEGV, try_load(room + 50 * PAGE, NULL));
	for (i = 0; i < 50; i++)
		EXPECT_TRUE(page_is(room + i * PAGE, TAG, i, i % 2 ? 1 : 2));
	EXPECT_VERIFY_OK();
	EXPECT_EQ(MAP_FAILED, mremap(room, 50 * PAGE, 51 * PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(room, 0, PAGE, MREMAP_MAYMOVE));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, PAGES, 1));
	munmap(room, 50 * PAGE);
	munmap(map + 300 * PAGE, (PAGES - 300) * PAGE);
	munmap(shared, PAGES * PAGE);
}

/* The child's mapping, by its parent as a debugger; read-only and read-write pages. */
static int debugged(void *arg)
{
	char *map = arg;

	CHECK(!mprotect(map, 8 * PAGE, PROT_READ));
	CHECK(!ptrace(PTRACE_TRACEME, 0, 0, 0));
	raise(SIGSTOP);
	/* What the debugger wrote is here, and nothing else changed. */
	CHECK(!memcmp(map + 3 * PAGE + 100, "debugger", 8));
	CHECK(!memcmp(map + 20 * PAGE + 100, "debugger", 8));
	CHECK(*(long *)(map + 5 * PAGE + 64) == 0x7e57);
	CHECK(!pages_wrong(map, TAG, 0, 3, 1));
	CHECK(!pages_wrong(map + 21 * PAGE, TAG, 21, 10, 1));
	return 0;
}

TEST_F(private, debuggers_write_to_the_copy)
{
	char *shared = object_map(self->fd, 0, 64), *map, path[64], bytes[8];
	int mem, status;
	pid_t pid;

	pages_fill(shared, TAG, 0, 64, 1);
	map = object_map_private(self->fd, 0, 64);
	pid = child_start(debugged, map);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_GE(mem, 0);
	EXPECT_EQ(8, pwrite(mem, "debugger", 8, (uintptr_t)map + 3 * PAGE + 100));
	EXPECT_EQ(8, pwrite(mem, "debugger", 8, (uintptr_t)map + 20 * PAGE + 100));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, map + 5 * PAGE + 64, 0x7e57L));
	EXPECT_EQ(8, pread(mem, bytes, 8, (uintptr_t)map + 3 * PAGE + 100));
	EXPECT_EQ(0, memcmp(bytes, "debugger", 8));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 64, 1));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, 64, 1));
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, pid, 0, 0));
	EXPECT_EQ(0, child_wait(pid));
	close(mem);
	munmap(map, 64 * PAGE);
	munmap(shared, 64 * PAGE);
}

TEST_F(private, what_nobody_else_maps_is_freed)
{
	const size_t pages = 2 * LEAF_PAGES;
	char *map = object_map_private(self->fd, 0, pages), *shared;
	uint64_t used;

	if (under_pressure())
		SKIP(return, "frames are counted, which come and go under pressure");
	pages_fill(map, TAG, 0, pages, 1);
	used = frames_used();
	EXPECT_EQ(self->used + pages + 2, used);
	munmap(map + 100 * PAGE, 100 * PAGE);
	EXPECT_EQ(used - 100, frames_used());
	munmap(map + LEAF_BYTES, LEAF_BYTES);
	EXPECT_EQ(used - 100 - LEAF_PAGES - 1, frames_used());
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 100, 1));
	EXPECT_EQ(0, pages_wrong(map + 200 * PAGE, TAG, 200, LEAF_PAGES - 200, 1));
	munmap(map, LEAF_BYTES);
	EXPECT_EQ(self->used, frames_used());

	/* A copy of two leaves, of which a part is mapped: all of it goes. */
	shared = object_map(self->fd, 0, pages);
	pages_fill(shared, TAG, 0, pages, 2);
	used = frames_used();
	map = object_map_private(self->fd, 500, 24);
	pages_fill(map, TAG, 500, 24, 3);
	EXPECT_EQ(0, object_discard(self->fd, 0, pages));
	munmap(map + 12 * PAGE, 12 * PAGE);
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, pages_wrong(map, TAG, 500, 12, 3));
	munmap(map, 12 * PAGE);
	EXPECT_EQ(self->used, frames_used());
	munmap(shared, pages * PAGE);
}

TEST_F(private, two_of_the_same_range)
{
	char *shared = object_map(self->fd, 0, PAGES), *a, *b;

	pages_fill(shared, TAG, 0, PAGES, 1);
	a = object_map_private(self->fd, 0, PAGES);
	pages_fill(shared, TAG, 0, PAGES, 2);
	b = object_map_private(self->fd, 0, PAGES);
	EXPECT_EQ(0, pages_wrong(a, TAG, 0, PAGES, 1));
	EXPECT_EQ(0, pages_wrong(b, TAG, 0, PAGES, 2));
	pages_fill(a, TAG, 0, PAGES, 3);
	press(self->fd, b, PAGES);
	EXPECT_EQ(0, pages_wrong(b, TAG, 0, PAGES, 2));
	pages_fill(b, TAG, 0, PAGES, 4);
	EXPECT_EQ(0, pages_wrong(a, TAG, 0, PAGES, 3));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, PAGES, 2));
	EXPECT_VERIFY_OK();
	munmap(a, PAGES * PAGE);
	EXPECT_EQ(0, pages_wrong(b, TAG, 0, PAGES, 4));
	munmap(b, PAGES * PAGE);
	munmap(shared, PAGES * PAGE);
}

/* Pieces that overlap, follow each other, or come back to where others were. */
TEST_F(private, pieces_in_any_order)
{
	enum { SLOTS = 24 };
	struct { char *map; size_t page, pages; uint32_t generation; } piece[SLOTS] = {};
	char *shared = object_map(self->fd, 0, PAGES);
	uint32_t generation = 1, i, object = 0;
	uint64_t state = seed();
	size_t p;

	for (i = 0; i < scaled(400, 150); i++) {
		uint32_t n = chance(&state) % SLOTS;

		if (piece[n].map) {
			for (p = 0; p < piece[n].pages; p++)
				ASSERT_TRUE(piece[n].generation ?
					    page_is(piece[n].map + p * PAGE, TAG,
						    piece[n].page + p, piece[n].generation) :
					    page_is_zero(piece[n].map + p * PAGE))
					TH_LOG("step %u page %zu", i, piece[n].page + p);
			munmap(piece[n].map, piece[n].pages * PAGE);
			piece[n].map = NULL;
			continue;
		}
		if (chance(&state) % 8 == 0) {
			object = chance(&state) % 3 ? ++generation : 0;
			if (object)
				pages_fill(shared, TAG, 0, PAGES, object);
			else
				ASSERT_EQ(0, object_discard(self->fd, 0, PAGES));
		}
		piece[n].page = chance(&state) % (PAGES - 30);
		piece[n].pages = 1 + chance(&state) % 30;
		piece[n].map = object_map_private(self->fd, piece[n].page, piece[n].pages);
		piece[n].generation = object;
		if (chance(&state) % 2) {
			piece[n].generation = ++generation;
			pages_fill(piece[n].map, TAG, piece[n].page, piece[n].pages, generation);
		}
		if (chance(&state) % 8 == 0)
			press(self->fd, piece[n].map, piece[n].pages);
	}
	EXPECT_VERIFY_OK();
	for (i = 0; i < SLOTS; i++)
		if (piece[i].map)
			munmap(piece[i].map, piece[i].pages * PAGE);
	munmap(shared, PAGES * PAGE);
}

TEST_F(private, mapped_over_itself)
{
	char *map = object_map_private(self->fd, 0, PAGES);

	pages_fill(map, TAG, 0, PAGES, 1);
	ASSERT_EQ(map + 10 * PAGE, mmap(map + 10 * PAGE, 600 * PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_FIXED, self->fd, 10 * PAGE));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 10, 1));
	EXPECT_EQ(0, pages_not_zero(map + 10 * PAGE, 600));
	EXPECT_EQ(0, pages_wrong(map + 610 * PAGE, TAG, 610, PAGES - 610, 1));
	pages_fill(map, TAG, 0, PAGES, 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, PAGES, 2));
	EXPECT_VERIFY_OK();
	munmap(map, PAGES * PAGE);
}

static int remap_pages(void *map, size_t pages, size_t to)
{
	return syscall(SYS_remap_file_pages, map, pages * PAGE, 0, to, 0) ? -errno : 0;
}

/* The same from a 32-bit program, whose calls have other numbers. */
static int remap_pages_ia32(void *map, size_t pages, size_t to)
{
	long ret = SYS_IA32_REMAP_FILE_PAGES;

	asm volatile("int $0x80" : "+a" (ret)
		     : "b" (map), "c" (pages * PAGE), "d" (0L), "S" (to), "D" (0L)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

static int remap_without_descriptor(void *arg)
{
	char *map = arg;

	CHECK(remap_pages(map, 4, 8) == -EINVAL);
	CHECK(remap_pages(map + PAGE, 1, 8) == -EINVAL);
	CHECK(!pages_wrong(map, TAG, 0, 8, 2));
	return 0;
}

/* A private mapping is no way to the object itself, nor to pages that it never showed. */
TEST_F(private, is_not_remapped)
{
	const size_t pages = 8;
	char *shared = object_map(self->fd, 0, 2 * pages), *map, *low;
	int number;

	pages_fill(shared, TAG, 0, 2 * pages, 1);
	map = object_map_private(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(-EINVAL, remap_pages(map, pages, pages));
	EXPECT_EQ(-EINVAL, remap_pages(map, pages, 0));
	EXPECT_EQ(-EINVAL, remap_pages(map + PAGE, 2, pages));
	ASSERT_EQ(0, mprotect(map, pages * PAGE, PROT_READ));
	EXPECT_EQ(-EINVAL, remap_pages(map, pages, pages));
	ASSERT_EQ(0, mprotect(map, pages * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, child_run(remap_without_descriptor, map));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, 2 * pages, 1));

	low = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_32BIT,
		   self->fd, 0);
	ASSERT_NE(MAP_FAILED, low);
	pages_fill(low, TAG, 0, pages, 3);
	number = remap_pages_ia32(low, pages, pages);
	EXPECT_TRUE(number == -EINVAL || number == -ENOSYS) TH_LOG("%d", number);
	EXPECT_EQ(0, pages_wrong(low, TAG, 0, pages, 3));
	munmap(low, pages * PAGE);

	/* A shared one is: that is what the call is for. */
	EXPECT_EQ(0, remap_pages(shared, 4, pages));
	EXPECT_EQ(0, pages_wrong(shared, TAG, pages, 4, 1));
	/* And who has the descriptor may map the object over his copy. */
	ASSERT_EQ(map, mmap(map, pages * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
			    self->fd, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
	munmap(shared, 2 * pages * PAGE);
}

TEST_F(private, discard_by_address)
{
	const size_t pages = LEAF_PAGES + 100;
	char *shared = object_map(self->fd, 0, pages), *map, *reader;
	uint32_t vec[16];
	uint64_t done;

	pages_fill(shared, TAG, 0, pages, 1);
	map = object_map_private(self->fd, 0, pages);
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_DISCARD, map, pages, &done));
	EXPECT_EQ(pages, done);
	EXPECT_EQ(0, pages_not_zero(map, pages));
	EXPECT_EQ(0, pages_wrong(shared, TAG, 0, pages, 1));
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_DISCARD, map + 8 * PAGE, 8, NULL));
	EXPECT_EQ(0, pages_not_zero(map + 8 * PAGE, 8));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 8, 2));
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_POPULATE, map + 8 * PAGE, 8, &done));
	EXPECT_EQ(8, done);
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_PIN, map + 8 * PAGE, 8, NULL));
	ASSERT_EQ(0, address_residency(self->fd, map + 4 * PAGE, 16, vec));
	EXPECT_FALSE(vec[0] & VMLAB_RES_PINNED);
	EXPECT_TRUE(vec[4] & VMLAB_RES_PINNED);
	EXPECT_TRUE(vec[4] & VMLAB_RES_RESIDENT);
	EXPECT_EQ(-EBUSY, address_range(self->fd, VMLAB_IOC_DISCARD, map, 16, NULL));
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_UNPIN, map, 16, NULL));
	EXPECT_EQ(0, address_range(self->fd, VMLAB_IOC_PIN, map, 16, NULL));
	EXPECT_VERIFY_OK();

	/* What is not ours, not there, or not to be changed. */
	EXPECT_EQ(-EINVAL, address_range(self->fd, VMLAB_IOC_DISCARD, map + 1, 1, NULL));
	EXPECT_EQ(-EINVAL, address_range(self->fd, VMLAB_IOC_DISCARD, map,
					 UINT64_MAX / PAGE, NULL));
	EXPECT_EQ(-EINVAL, address_range(self->fd, VMLAB_IOC_DISCARD,
					 (void *)0xfffffffffffff000, 1, NULL));
	EXPECT_EQ(-ENOMEM, address_range(self->fd, VMLAB_IOC_PAGEOUT, (void *)PAGE, 1, NULL));
	reader = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT_EQ(-ENOMEM, address_range(self->fd, VMLAB_IOC_DISCARD, reader, 1, NULL));
	munmap(reader, PAGE);
	munmap(map + 50 * PAGE, PAGE);
	EXPECT_EQ(-ENOMEM, address_range(self->fd, VMLAB_IOC_DISCARD, map + 40 * PAGE, 20, &done));
	EXPECT_EQ(10, done);
	munmap(map, pages * PAGE);
	munmap(shared, pages * PAGE);
}

TEST_F(private, bad_places)
{
	bool replaced;
	char *map;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, self->fd,
				   OBJECT_END - PAGE));
	EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW) TH_LOG("errno %d", errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->fd, 17));
	EXPECT_EQ(EINVAL, errno);
	map = object_map_private(self->fd, OBJECT_END / PAGE - 2, 2);
	pages_fill(map, TAG, 0, 2, 1);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 2, 1));
	/* The core takes it for a shared one, and maps the object there: its zeros. */
	replaced = !remap_file_pages(map, PAGE, 0, OBJECT_END / PAGE - 2, 0);
	EXPECT_EQ(0, replaced ? pages_not_zero(map, 1) : pages_wrong(map, TAG, 0, 1, 1));
	EXPECT_EQ(0, pages_wrong(map + PAGE, TAG, 1, 1, 1));
	munmap(map, 2 * PAGE);
}

TEST_F(private, no_memory_for_it)
{
	static const char *const classes[] = { "region", "object", "xarray" };
	char *shared = object_map(self->fd, 0, 64);
	size_t i;

	pages_fill(shared, TAG, 0, 64, 1);
	for (i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		ASSERT_EQ(0, inject(classes[i], "nth 1"));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, 64 * PAGE, PROT_READ, MAP_PRIVATE, self->fd, 0));
		EXPECT_EQ(ENOMEM, errno);
		inject_off();
		EXPECT_VERIFY_OK();
		pages_fill(shared, TAG, 0, 64, 2 + i);
		EXPECT_EQ(0, pages_wrong(shared, TAG, 0, 64, 2 + i));
	}
	munmap(shared, 64 * PAGE);
}

TEST_HARNESS_MAIN
