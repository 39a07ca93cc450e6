// SPDX-License-Identifier: GPL-2.0
/*
 * MAP_PRIVATE by the VM_SHARED technique: ->mmap sets VM_SHARED, but not VM_MAYSHARE, so
 * that the core asks ->pfn_mkwrite for each first store and never makes a copy of its own.
 */
#include "test.h"

#include <string.h>
#include <sys/syscall.h>

#define PAGES 64

CONTRACT(stores_ask, "a store to a read-only page of a private mapping comes to ->pfn_mkwrite",
	 "vmlab's copy-on-write would not be asked, and a store would show in other objects")
{
	int fd = object(CT_COW);
	char *map = private_map(fd, 0, PAGES);

	EQUAL(0, map[0]);
	EQUAL(0, look(fd, map).page);
	reset(fd);
	map[0] = 5;
	EQUAL(1, events(fd).mkwrite);
	EQUAL(0, events(fd).fault);
	/* By the object's rule it moved to the other chunk, and no further. */
	EQUAL(CT_CHUNK_PAGES, look(fd, map).page);
	EQUAL(5, map[0]);
}

CONTRACT(no_copies, "the core makes no anonymous copy of a page of such a mapping",
	 "the data would be in pages that vmlab neither sees, nor reclaims, nor clones")
{
	int fd = object(0), i;
	char *map = private_map(fd, 0, PAGES);

	for (i = 0; i < PAGES; i++) {
		if (i % 2)
			EQUAL(0, map[i * PAGE]);
		map[i * PAGE] = 1;
		EQUAL(i, look(fd, map + i * PAGE).page);
		REQUIRE(look(fd, map + i * PAGE).flags & CT_SPECIAL);
	}
	/* And a copy would have been noticed. */
	fd = object(CT_PLAIN_PRIVATE);
	map = private_map(fd, 0, PAGES);
	EQUAL(0, map[0]);
	map[0] = 1;
	EQUAL(-1, look(fd, map).page);
}

static int split_and_leave(void *arg)
{
	char *map = arg;

	map[3 * PAGE] = 1;
	return munmap(map + PAGE, PAGE);
}

CONTRACT(writable_balanced, "i_mmap_writable is the same after as before",
	 "the count would run away with each private mapping, and in the end mappings be refused")
{
	int fd = object(0), round, before = ioctl(fd, CT_IOC_WRITABLE);

	for (round = 0; round < (int)scaled(50, 10); round++) {
		char *map = private_map(fd, 0, PAGES), *room = address_space(PAGES * PAGE);

		map[0] = 1;
		run_child(split_and_leave, map);
		EQUAL(0, munmap(map + 8 * PAGE, PAGE));
		EQUAL(0, mprotect(map + 16 * PAGE, PAGE, PROT_READ));
		REQUIRE(mremap(map, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) ==
			room);
		EQUAL(0, munmap(room, PAGES * PAGE));
		EQUAL(0, munmap(map, PAGES * PAGE));
	}
	EQUAL(before, ioctl(fd, CT_IOC_WRITABLE));
	EQUAL(0, vmas(fd, 0, CT_PAGES));
}

CONTRACT(maps_says_p, "/proc/PID/maps shows the mapping as private",
	 "debuggers and checkpoints would take the mapping for shared memory")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES), start[32];
	const char *rest;

	snprintf(start, sizeof(start), "%lx-%lx ", (unsigned long)map,
		 (unsigned long)map + PAGES * PAGE);
	rest = word_after("/proc/self/maps", start);
	REQUIRE(rest && !strncmp(rest, "rw-p", 4));
}

CONTRACT(readonly_descriptor, "a writable private mapping of a read-only descriptor works",
	 "POSIX allows it, and programs that do it would fail")
{
	int fd = open(CT_DEVICE, O_RDONLY | O_CLOEXEC);
	char *map;

	REQUIRE(fd >= 0);
	map = private_map(fd, 0, PAGES);
	EQUAL(0, map[0]);
	map[0] = 1;
	EQUAL(1, map[0]);
	FAILS(EACCES, mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0));
}

CONTRACT(clean_stays_readonly,
	 "a clean read-only PTE stays read-only when mprotect() allows stores again",
	 "a store to a page that others share would not be noticed: it would show in a parent, "
	 "a child or a snapshot")
{
	int fd = object(0), which, i;

	for (which = 0; which < 2; which++) {
		char *map = which ? private_map(fd, 0, PAGES) : shared_map(fd, 0, PAGES);

		set_ptes(fd, map, PAGES / 2, CT_YOUNG);
		EQUAL(0, mprotect(map, PAGES * PAGE, PROT_READ));
		EQUAL(0, map[PAGES / 2 * PAGE]);
		EQUAL(0, mprotect(map, PAGES * PAGE, PROT_READ | PROT_WRITE));
		for (i = 0; i <= PAGES / 2; i++) {
			REQUIRE(look(fd, map + i * PAGE).flags & CT_PRESENT);
			REQUIRE(!(look(fd, map + i * PAGE).flags & CT_WRITE));
			reset(fd);
			map[i * PAGE] = 0;
			EQUAL(1, events(fd).mkwrite);
		}
	}
}

CONTRACT(dirty_becomes_writable, "a dirty read-only PTE becomes writable without a question",
	 "no more than that the rule to keep read-only PTEs clean would guard against nothing")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES);

	set_ptes(fd, map, 1, CT_YOUNG | CT_DIRTY);
	EQUAL(0, mprotect(map, PAGE, PROT_READ));
	EQUAL(0, mprotect(map, PAGE, PROT_READ | PROT_WRITE));
	if (!(look(fd, map).flags & CT_WRITE))
		SKIP("this kernel asks for dirty ones too, which does no harm");
}

CONTRACT(page_prot, "vm_page_prot of a mapping that wants to be asked grants no stores",
	 "a PTE made from it, or put back by the core, would be writable unasked")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES);

	set_ptes(fd, map, 1, CT_YOUNG);
	REQUIRE(!(look(fd, map).flags & CT_WRITE));
	reset(fd);
	map[0] = 1;
	EQUAL(1, events(fd).mkwrite);
}

CONTRACT(access_called, "/proc/PID/mem reads and writes come to ->access, in parts if it says so",
	 "debuggers would see nothing of vmlab's memory, or write around copy-on-write")
{
	int fd = object(0), mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char *map = private_map(fd, 0, PAGES), bytes[2 * PAGE];

	REQUIRE(mem >= 0);
	memset(bytes, 7, sizeof(bytes));
	EQUAL(sizeof(bytes), pwrite(mem, bytes, sizeof(bytes), (off_t)map + PAGE / 2));
	REQUIRE(events(fd).access >= 2);
	EQUAL(0, map[PAGE / 2 - 1]);
	EQUAL(7, map[PAGE / 2]);
	EQUAL(7, map[5 * PAGE / 2 - 1]);
	EQUAL(0, map[5 * PAGE / 2]);
	memset(bytes, 0, sizeof(bytes));
	EQUAL(sizeof(bytes), pread(mem, bytes, sizeof(bytes), (off_t)map + PAGE / 2));
	EQUAL(7, bytes[0]);
	EQUAL(7, bytes[sizeof(bytes) - 1]);
}

CONTRACT(access_unchecked, "->access is called for stores into read-only mappings too",
	 "no more than that its own look at the VMA's permissions would be one too many, and "
	 "breakpoints in read-only private mappings would not work")
{
	int fd = object(0), mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char *map = private_map(fd, 0, PAGES);

	REQUIRE(mem >= 0);
	EQUAL(0, mprotect(map, PAGE, PROT_READ));
	if (pwrite(mem, "x", 1, (off_t)map) != 1)
		SKIP("this kernel refuses by itself");
	EQUAL(1, events(fd).access_forbidden);
}

CONTRACT(old_len_0, "mremap() with an old length of 0 is refused with EFAULT",
	 "a private mapping could be duplicated: two that share stores")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES), *shared = shared_map(fd, 0, PAGES);

	FAILS(EFAULT, mremap(map, 0, PAGES * PAGE, MREMAP_MAYMOVE));
	FAILS(EFAULT, mremap(shared, 0, PAGES * PAGE, MREMAP_MAYMOVE));
}

CONTRACT(remap_file_pages_asks,
	 "remap_file_pages() is refused, or calls ->mmap for a shared mapping",
	 "a private mapping would turn into a shared one, and vmlab not know")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES);

	reset(fd);
	if (!syscall(SYS_remap_file_pages, map, PAGE, 0, 5, 0))
		EQUAL(1, events(fd).mmap_shared);
	EQUAL(events(fd).mmap, events(fd).mmap_shared);
}

static long committed_kb(void)
{
	return atol(word_after("/proc/meminfo", "Committed_AS:"));
}

CONTRACT(commit_balanced, "commit accounting of private mappings is balanced",
	 "each private mapping would leave something behind until the machine refuses memory")
{
	const size_t bytes = 256 * MIB;
	long before = committed_kb(), with;
	int fd = object(0), round;
	char *map;

	for (round = 0; round < 20; round++) {
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		REQUIRE(map != MAP_FAILED);
		with = committed_kb();
		EQUAL(0, munmap(map + bytes / 4, bytes / 4));
		EQUAL(0, mprotect(map, bytes / 8, PROT_READ));
		EQUAL(0, munmap(map, bytes));
	}
	REQUIRE(with > before);
	/* Twenty times too much or too little would be 5 GiB. */
	REQUIRE(labs(committed_kb() - before) < 128 * 1024);
}

CONTRACT(no_rss, "pages of the mapping are not counted as resident in the process",
	 "counts that only one side keeps would not be zero at exit, which the kernel reports")
{
	int fd = object(0), i;
	char *map = private_map(fd, 0, CT_PAGES);
	long before, after;

	before = atol(word_after("/proc/self/status", "VmRSS:"));
	for (i = 0; i < CT_PAGES; i++)
		map[i * PAGE] = 1;
	after = atol(word_after("/proc/self/status", "VmRSS:"));
	REQUIRE(after - before < CT_PAGES * 4 / 2);
}

CONTRACT(no_merging, "pieces of a mapping never merge again",
	 "->close would come for a VMA whose pages another one still maps, and a part of the "
	 "object be given up with it")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES);

	reset(fd);
	EQUAL(0, mprotect(map + 16 * PAGE, 16 * PAGE, PROT_READ));
	EQUAL(0, mprotect(map + 16 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE));
	EQUAL(2, events(fd).open);
	EQUAL(0, events(fd).close);
	EQUAL(3, vmas(fd, 0, PAGES));
	EQUAL(0, munmap(map, PAGES * PAGE));
	EQUAL(3, events(fd).close);
}

/* The VmFlags of a mapping, or NULL. */
static const char *smaps_flags(const char *start)
{
	static char line[512];
	FILE *file = fopen("/proc/self/smaps", "r");
	bool inside = false, found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		inside = inside || !strncmp(line, start, strlen(start));
		found = inside && !strncmp(line, "VmFlags:", 8);
	}
	if (file)
		fclose(file);
	return found ? line : NULL;
}

CONTRACT(not_mergeable, "KSM takes no such mapping, whatever the program advises",
	 "pages of vmlab would be exchanged for pages that it does not own")
{
	int fd = object(0);
	char *map = private_map(fd, 0, PAGES), start[32];
	const char *flags;

	map[0] = 1;
	/* Advice that is ignored, or that a kernel without KSM refuses. */
	madvise(map, PAGES * PAGE, MADV_MERGEABLE);
	snprintf(start, sizeof(start), "%lx-%lx ", (unsigned long)map,
		 (unsigned long)map + PAGES * PAGE);
	flags = smaps_flags(start);
	REQUIRE(flags && strstr(flags, " pf ") && !strstr(flags, " mg "));
}

CONTRACT(clear_refs, "/proc/PID/clear_refs leaves the PTEs of such a mapping alone",
	 "pages in use would look unused to CLOCK, and PTEs be written without vmlab's locks")
{
	int fd = object(0), clear = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	char *map = private_map(fd, 0, PAGES);
	unsigned int before;

	REQUIRE(clear >= 0);
	set_ptes(fd, map, 1, CT_YOUNG | CT_DIRTY | CT_WRITE);
	before = look(fd, map).flags;
	/* Accessed bits of all; of file mappings; soft-dirty bits, by write-protection. */
	EQUAL(1, write(clear, "1", 1));
	EQUAL(1, write(clear, "3", 1));
	if (write(clear, "4", 1) != 1)
		note("this kernel tracks no soft-dirty pages");
	EQUAL(before, look(fd, map).flags);
}
