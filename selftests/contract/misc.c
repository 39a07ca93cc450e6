// SPDX-License-Identifier: GPL-2.0
/*
 * What remains: making page tables, system calls on such a mapping, files, references on
 * the module.
 */
#include "test.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#define PAGES 64

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

CONTRACT(tables_without_callback, "apply_to_page_range() without a callback makes an empty table",
	 "a fault would find no table under its lock, or one with something in it")
{
	int fd = object(0);
	char *map = chunk_map(fd);

	EQUAL(CT_LEVEL_NONE, look(fd, map).level);
	EQUAL(0, tables(fd, map, 1));
	EQUAL(CT_LEVEL_TABLE, look(fd, map).level);
	EQUAL(0, present_ptes(fd, map, CT_CHUNK_PAGES));
	EQUAL(CT_LEVEL_NONE, look(fd, map + LEAF_BYTES).level);
	map[PAGE] = 1;
	EQUAL(0, tables(fd, map, 1));
	EQUAL(1, present_ptes(fd, map, CT_CHUNK_PAGES));
}

/* What madvise() says; vmlab's documents and its preload library count on it. */
static const struct {
	int advice;
	const char *name;
	int error;
} advices[] = {
	{ MADV_NORMAL, "NORMAL", 0 },
	{ MADV_SEQUENTIAL, "SEQUENTIAL", 0 },
	{ MADV_RANDOM, "RANDOM", 0 },
	{ MADV_WILLNEED, "WILLNEED", 0 },
	{ MADV_HUGEPAGE, "HUGEPAGE", 0 },
	{ MADV_NOHUGEPAGE, "NOHUGEPAGE", 0 },
	{ MADV_DONTFORK, "DONTFORK", 0 },
	{ MADV_DOFORK, "DOFORK", 0 },
	{ MADV_POPULATE_READ, "POPULATE_READ", EINVAL },
	{ MADV_POPULATE_WRITE, "POPULATE_WRITE", EINVAL },
	{ MADV_DONTNEED, "DONTNEED", EINVAL },
	{ MADV_COLD, "COLD", EINVAL },
	{ MADV_PAGEOUT, "PAGEOUT", EINVAL },
	{ MADV_FREE, "FREE", EINVAL },
	{ MADV_WIPEONFORK, "WIPEONFORK", EINVAL },
	{ MADV_COLLAPSE, "COLLAPSE", EINVAL },
	{ MADV_REMOVE, "REMOVE", ENODEV },
};

static void advise(char *map, bool shared)
{
	unsigned int i, wrong = 0;

	for (i = 0; i < sizeof(advices) / sizeof(advices[0]); i++) {
		int wanted = advices[i].error;
		int error = madvise(map, CT_CHUNK_PAGES * PAGE, advices[i].advice) ? errno : 0;

		if (error == wanted)
			continue;
		note("MADV_%s of a %s mapping: errno %d, not %d", advices[i].name,
		     shared ? "shared" : "private", error, wanted);
		wrong++;
	}
	EQUAL(0, wrong);
}

CONTRACT(madvise_answers, "madvise() answers as it always did, and takes no page away",
	 "a program would be told that pages are dropped which are not, or lose pages that "
	 "vmlab knows nothing of")
{
	int fd = object(0);
	char *map = chunk_map(fd), *private = private_map(fd, 0, CT_CHUNK_PAGES);

	map[0] = 1;
	private[0] = 1;
	advise(map, true);
	advise(private, false);
	EQUAL(1, map[0]);
	EQUAL(1, private[0]);
	EQUAL(1, present_ptes(fd, map, CT_CHUNK_PAGES));
	EQUAL(1, present_ptes(fd, private, CT_CHUNK_PAGES));
}

CONTRACT(fadvise_called, "madvise(MADV_WILLNEED) calls ->fadvise, msync() calls ->fsync",
	 "read-ahead by madvise() would do nothing")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES);

	EQUAL(0, madvise(map, PAGES * PAGE, MADV_WILLNEED));
	EQUAL(1, events(fd).fadvise);
	EQUAL(0, msync(map, PAGES * PAGE, MS_SYNC));
	EQUAL(1, events(fd).fsync);
}

CONTRACT(no_growth, "mremap() cannot make such a mapping grow",
	 "faults would come for pages that ->mmap never agreed to")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES);

	FAILS(EFAULT, mremap(map, PAGES * PAGE, 2 * PAGES * PAGE, MREMAP_MAYMOVE));
}

CONTRACT(move_and_shrink, "mremap() moves and shrinks it, and the pages stay what they are",
	 "data would be at other addresses than the program is told")
{
	int fd = object(0), i;
	char *map = shared_map(fd, 0, PAGES), *room = address_space(PAGES * PAGE);

	for (i = 0; i < PAGES; i++)
		map[i * PAGE] = i;
	REQUIRE(mremap(map, PAGES * PAGE, PAGES / 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       room) == room);
	for (i = 0; i < PAGES / 2; i++) {
		EQUAL(i, room[i * PAGE]);
		EQUAL(i, look(fd, room + i * PAGE).page);
	}
	REQUIRE(try_load(room + PAGES / 2 * PAGE, NULL));
	REQUIRE(try_load(map, NULL));
}

CONTRACT(populate_nothing, "MAP_POPULATE, mlock() and mincore() succeed and touch nothing",
	 "frames would be taken that nobody asked for, or programs fail that only lock memory")
{
	int fd = object(0);
	unsigned char vec[PAGES];
	char *map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 fd, 0);

	REQUIRE(map != MAP_FAILED);
	EQUAL(0, mlock(map, PAGES * PAGE));
	EQUAL(0, mincore(map, PAGES * PAGE, vec));
	EQUAL(0, present_ptes(fd, map, PAGES));
	EQUAL(0, events(fd).fault);
}

CONTRACT(no_userfaultfd, "userfaultfd does not take such a mapping",
	 "faults would be answered by somebody else, with pages that are not vmlab's")
{
	int fd = object(0), uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	if (uffd < 0)
		SKIP("no userfaultfd here: %m");
	EQUAL(0, ioctl(uffd, UFFDIO_API, &api));
	range.range.start = (uintptr_t)shared_map(fd, 0, PAGES);
	range.range.len = PAGES * PAGE;
	FAILS(EINVAL, ioctl(uffd, UFFDIO_REGISTER, &range));
}

static long references(void)
{
	const char *line = word_after("/sys/module/contract/refcnt", "");

	REQUIRE(line);
	return atol(line);
}

CONTRACT(mount_pins_nothing, "a pseudo file system without .owner does not pin its module",
	 "rmmod vmlab would never work")
{
	EQUAL(0, references());
	REQUIRE(object(0) >= 0);
	EQUAL(1, references());
}

CONTRACT(file_references,
	 "alloc_file_pseudo() takes no reference on the module, and fput() drops one",
	 "each snapshot would leave a reference behind and rmmod never work, or drop one too "
	 "many and the module go while it is in use")
{
	int fd = object(0), file;
	long before = references();

	file = ioctl(fd, CT_IOC_FILE);
	REQUIRE(file >= 0);
	EQUAL(before + 1, references());
	EQUAL(0, close(file));
	EQUAL(before, references());
}
