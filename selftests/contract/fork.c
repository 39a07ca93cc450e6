// SPDX-License-Identifier: GPL-2.0
/*
 * What fork() does with a mapping, and in which order.  vmlab lets the core copy nothing,
 * and protects the parent's pages from within ->open.
 */
#include "test.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGES 64

struct family {
	int fd;
	char *map;
};

static int do_nothing(void *arg)
{
	return 0;
}

static int has_all(void *arg)
{
	struct family *family = arg;

	EQUAL(PAGES, present_ptes(family->fd, family->map, PAGES));
	return 0;
}

static int has_none(void *arg)
{
	struct family *family = arg;

	EQUAL(0, present_ptes(family->fd, family->map, PAGES));
	return 0;
}

static struct family family(unsigned int flags)
{
	struct family made = { .fd = object(flags) };

	made.map = shared_map(made.fd, 0, PAGES);
	set_ptes(made.fd, made.map, PAGES, CT_WRITE | CT_DIRTY | CT_YOUNG);
	reset(made.fd);
	return made;
}

CONTRACT(open_before_copy, "->open of a forked VMA comes before its page tables are copied",
	 "VM_WIPEONFORK would be set too late: the child would map pages that vmlab takes for "
	 "unmapped there, and go on using their frames when others own them")
{
	struct family f = family(CT_COPY_TABLES);

	run_child(has_all, &f);		/* this kernel does copy when it is let */
	EQUAL(1, events(f.fd).open_fork);
	EQUAL(0, events(f.fd).open_fork_ptes);
}

CONTRACT(wipe_in_open, "VM_WIPEONFORK set in ->open prevents the copy",
	 "the child would map pages that vmlab takes for unmapped there")
{
	struct family f = family(0);

	run_child(has_none, &f);
	EQUAL(PAGES, present_ptes(f.fd, f.map, PAGES));
}

static int keep_on_fork(void *arg)
{
	struct family *family = arg;
	int i;

	EQUAL(0, madvise(family->map, PAGES * PAGE, MADV_KEEPONFORK));
	for (i = 0; i < PAGES; i++)
		family->map[i * PAGE] = 1;
	run_child(has_none, family);
	return 0;
}

CONTRACT(keeponfork, "MADV_KEEPONFORK does not undo VM_WIPEONFORK of the next fork",
	 "a program could make the core copy PTEs that vmlab does not know of")
{
	struct family f = family(0);

	run_child(keep_on_fork, &f);
}

CONTRACT(wipeonfork, "MADV_WIPEONFORK by the program is refused",
	 "a program that asks for zeros in its child would get the parent's data")
{
	struct family f = family(0);

	FAILS(EINVAL, madvise(f.map, PAGES * PAGE, MADV_WIPEONFORK));
}

CONTRACT(open_mm, "->open has the mapping's own mm for a split and a move, another one for fork",
	 "a split would be taken for a fork and its pages cloned, or a fork for a split and the "
	 "child share what is the parent's")
{
	struct family f = family(0);
	char *room = address_space(PAGES * PAGE);

	EQUAL(0, munmap(f.map + 20 * PAGE, 10 * PAGE));
	REQUIRE(events(f.fd).open > 0);
	reset(f.fd);
	REQUIRE(mremap(f.map, 20 * PAGE, 20 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	EQUAL(1, events(f.fd).open);
	EQUAL(0, events(f.fd).open_fork);
	reset(f.fd);
	run_child(do_nothing, NULL);
	EQUAL(0, events(f.fd).open);
	EQUAL(2, events(f.fd).open_fork);
	EQUAL(2, events(f.fd).close);
}

static char stack[1 << 16] __attribute__((aligned(16)));

CONTRACT(vfork_opens_nothing, "vfork() and clone(CLONE_VM) do not call ->open",
	 "objects would be cloned for a child that has no address space of its own")
{
	struct family f = family(0);
	pid_t pid;

	pid = vfork();
	if (!pid)
		_exit(0);
	child_ok(pid);
	pid = clone(do_nothing, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
	REQUIRE(pid > 0);
	child_ok(pid);
	EQUAL(0, events(f.fd).open + events(f.fd).open_fork);
}

CONTRACT(parent_locked, "in ->open of a fork the parent's mmap_lock is held for write",
	 "a fault of another thread could make a page writable behind the pass that protects "
	 "the parent's pages, and its stores would show in the child")
{
	struct family f = family(0);

	run_child(do_nothing, NULL);
	EQUAL(1, events(f.fd).open_fork);
	EQUAL(0, events(f.fd).open_parent_unlocked);
}

CONTRACT(fork_flushes, "fork() ends with a flush of the parent's whole TLB",
	 "threads of the parent would go on storing through translations that ->open has "
	 "write-protected, and their stores would show in the child")
{
	struct family f = family(0);
	struct spinner *spinner = spin_stale(f.fd, f.map, 0, PAGES);

	setup(f.fd, CT_WPROTECT_FORK);
	child_ok(child_start(do_nothing, NULL));
	spin_rounds(spinner, 2);
	EQUAL(PAGES, events(f.fd).faulted_pages);
	spin_stop(spinner);
}

CONTRACT(forked_pieces, "fork() calls ->open once for each piece of a mapping that was split",
	 "pieces that nobody asked about would be missing in the child's object")
{
	struct family f = family(0);

	EQUAL(0, mprotect(f.map + 16 * PAGE, 8 * PAGE, PROT_READ));
	EQUAL(0, mprotect(f.map + 40 * PAGE, 8 * PAGE, PROT_READ));
	reset(f.fd);
	run_child(has_none, &f);
	EQUAL(5, events(f.fd).open_fork);
	EQUAL(5, events(f.fd).close);
}

static int has_no_mapping(void *arg)
{
	struct family *family = arg;

	EQUAL(1, vmas(family->fd, 0, 16));	/* the parent's */
	FAILS(ENOMEM, msync(family->map, PAGE, MS_ASYNC));
	return 0;
}

CONTRACT(dontfork, "a VMA with MADV_DONTFORK is not forked, and ->open is not called for it",
	 "the child would get a copy that it can never reach, and that nobody gives back")
{
	struct family f = family(0);

	EQUAL(0, madvise(f.map, 16 * PAGE, MADV_DONTFORK));
	reset(f.fd);
	run_child(has_no_mapping, &f);
	EQUAL(1, events(f.fd).open_fork);	/* the rest of it */
	EQUAL(PAGES, present_ptes(f.fd, f.map, PAGES));
	EQUAL(0, madvise(f.map, 16 * PAGE, MADV_DOFORK));
	reset(f.fd);
	run_child(do_nothing, NULL);
	EQUAL(2, events(f.fd).open_fork);
}

CONTRACT(protected_none, "write-protection survives mprotect(PROT_NONE) and back",
	 "a store to a page that was forked while nobody could touch it would show in the child")
{
	struct family f = family(CT_WPROTECT_FORK);
	int i;

	setup(f.fd, CT_WPROTECT_FORK);
	EQUAL(0, mprotect(f.map, PAGES * PAGE, PROT_NONE));
	child_ok(child_start(do_nothing, NULL));
	EQUAL(0, mprotect(f.map, PAGES * PAGE, PROT_READ | PROT_WRITE));
	for (i = 0; i < PAGES; i++) {
		REQUIRE(!(look(f.fd, f.map + i * PAGE).flags & CT_WRITE));
		reset(f.fd);
		f.map[i * PAGE] = 1;
		EQUAL(1, events(f.fd).mkwrite);
	}
}

static void overcommit(const char *mode)
{
	int fd = open("/proc/sys/vm/overcommit_memory", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, mode, strlen(mode)) != (ssize_t)strlen(mode))
		note("overcommit_memory cannot be set: errno %d", errno);
	close(fd);
}

CONTRACT(failed_fork, "a fork that fails half way calls ->close for each ->open of it",
	 "the child's object would stay for ever, and share what the parent stores to")
{
	/* Lower than where mappings are put by themselves: a fork begins with these. */
	char *low = (char *)0x100000000000;
	int fd = object(0);
	size_t bytes;
	pid_t pid;

	REQUIRE(mmap(low, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		     fd, 0) == low);
	REQUIRE(mmap(low + MIB, PAGES * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0) == low + MIB);
	/* So much that the kernel may promise it once, but not twice. */
	bytes = atol(word_after("/proc/meminfo", "CommitLimit:"));
	bytes = (bytes - atol(word_after("/proc/meminfo", "Committed_AS:"))) * 1024 / 3 * 2;
	REQUIRE(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		MAP_FAILED);
	reset(fd);
	overcommit("2");
	pid = fork();
	if (!pid)
		_exit(0);
	overcommit("0");
	if (pid > 0) {
		child_ok(pid);
		SKIP("the fork did not fail");
	}
	EQUAL(2, events(fd).open_fork);
	EQUAL(2, events(fd).close);
	EQUAL(2, vmas(fd, 0, PAGES));
}
