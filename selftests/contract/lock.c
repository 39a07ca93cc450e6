// SPDX-License-Identifier: GPL-2.0
/*
 * Under which locks the core calls the handlers of faults, and which may be dropped.
 */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/utsname.h>

#define PAGES 64

static bool kernel_before(int major, int minor)
{
	struct utsname name;
	int has_major = 0, has_minor = 0;

	uname(&name);
	if (sscanf(name.release, "%d.%d", &has_major, &has_minor) != 2)
		die("what kernel is %s?", name.release);
	return has_major < major || (has_major == major && has_minor < minor);
}

CONTRACT(vma_lock, "faults run under the lock of the VMA alone where ->map_pages is set",
	 "slower, no more: every fault of a program would contend for mmap_lock")
{
	int fd = object(0), i;
	char *map = shared_map(fd, 0, PAGES);

	if (kernel_before(6, 4))
		SKIP("this kernel has no lock of a VMA");
	for (i = 0; i < PAGES; i++)
		map[i * PAGE] = 1;
	EQUAL(PAGES, events(fd).fault);
	EQUAL(PAGES, events(fd).fault_vma_lock);
}

CONTRACT(retry, "->fault may drop its lock and return VM_FAULT_RETRY, and soon may no more",
	 "a page on swap would be waited for with the lock held, or the fault come for ever")
{
	int fd = object(CT_DROP_LOCK);
	char *map = shared_map(fd, 0, PAGES);

	map[0] = 1;
	REQUIRE(events(fd).fault_dropped >= 1);
	REQUIRE(events(fd).fault <= 3);
	EQUAL(1, map[0]);
	reset(fd);
	EQUAL(0, map[PAGE]);
	REQUIRE(events(fd).fault_dropped >= 1);
	REQUIRE(events(fd).fault <= 3);
}

struct store {
	pthread_t thread;
	char *address;
	int signal;
};

static void *store_one(void *arg)
{
	struct store *store = arg;

	store->signal = try_store(store->address, 9);
	return NULL;
}

static void store_until_waiting(int fd, struct store *store, char *address)
{
	store->address = address;
	REQUIRE(!pthread_create(&store->thread, NULL, store_one, store));
	while (!events(fd).waiting)
		usleep(1000);
}

static int wake(int fd, struct store *store)
{
	EQUAL(0, ioctl(fd, CT_IOC_WAKE));
	REQUIRE(!pthread_join(store->thread, NULL));
	return store->signal;
}

static int do_nothing(void *arg)
{
	return 0;
}

CONTRACT(dropped_really, "while a fault has dropped its lock others map, unmap and fork",
	 "a fault that waits for the disk would stop every other thread, and two that wait for "
	 "each other would do so for ever")
{
	int fd = object(CT_WAIT);
	char *map = shared_map(fd, 0, PAGES), *other;
	struct store store;

	store_until_waiting(fd, &store, map);
	other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(other != MAP_FAILED);
	EQUAL(0, munmap(map + 32 * PAGE, PAGE));
	EQUAL(0, mprotect(map + 40 * PAGE, PAGE, PROT_READ));
	run_child(do_nothing, NULL);
	EQUAL(0, wake(fd, &store));
	EQUAL(9, map[0]);
}

CONTRACT(vma_may_go, "the mapping may go while a fault has dropped its lock",
	 "the kernel would look at a VMA that is free")
{
	int fd = object(CT_WAIT);
	char *map = shared_map(fd, 0, PAGES);
	struct store store;

	store_until_waiting(fd, &store, map);
	EQUAL(0, munmap(map, PAGES * PAGE));
	EQUAL(0, vmas(fd, 0, PAGES));
	EQUAL(SIGSEGV, wake(fd, &store));
}

CONTRACT(mkwrite_retry,
	 "->pfn_mkwrite may drop its lock and return VM_FAULT_RETRY beside VM_FAULT_NOPAGE",
	 "a store to a shared page would wait for memory with the lock held, or its fault use a "
	 "VMA that is free")
{
	int fd = object(CT_DROP_MKWRITE);
	char *map = shared_map(fd, 0, PAGES);
	struct store store;

	EQUAL(0, map[0]);
	reset(fd);
	map[0] = 1;
	REQUIRE(events(fd).fault_dropped >= 1);
	REQUIRE(events(fd).mkwrite >= 2 && events(fd).mkwrite <= 3);
	EQUAL(0, events(fd).fault);
	EQUAL(1, map[0]);
	/* Meanwhile the mapping may go. */
	EQUAL(0, map[PAGE]);
	setup(fd, CT_DROP_MKWRITE | CT_WAIT);
	store_until_waiting(fd, &store, map + PAGE);
	EQUAL(0, munmap(map, PAGES * PAGE));
	EQUAL(0, vmas(fd, 0, PAGES));
	EQUAL(SIGSEGV, wake(fd, &store));
}

CONTRACT(map_pages_first, "->map_pages is asked before ->fault for loads, and its answer counts",
	 "fault-around would map nothing, or ->fault come for pages that are mapped")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES);

	EQUAL(0, map[0]);
	EQUAL(1, events(fd).map_pages);
	EQUAL(1, events(fd).fault);
	setup(fd, CT_MAP_AROUND);
	EQUAL(0, map[PAGE]);
	EQUAL(2, events(fd).map_pages);
	EQUAL(1, events(fd).fault);
	REQUIRE(look(fd, map + PAGE).flags & CT_PRESENT);
	map[2 * PAGE] = 1;
	EQUAL(2, events(fd).map_pages);
	note("->map_pages ran %s RCU", events(fd).map_pages_rcu ? "under" : "without visible");
}

CONTRACT(map_pages_unlocked, "->map_pages is called without the page table lock",
	 "taking it there would hang")
{
	int fd = object(CT_MAP_AROUND), i;
	char *map = shared_map(fd, 0, PAGES);

	for (i = 0; i < PAGES; i++)
		EQUAL(0, map[i * PAGE]);
	REQUIRE(events(fd).map_pages > PAGES / 2);
	EQUAL(0, events(fd).map_pages_locked);
}

CONTRACT(map_pages_window, "the window of ->map_pages stays within the VMA and one PTE table",
	 "neighbours would be written beyond the end of a page table")
{
	int fd = object(0), i;
	char *map = chunk_map(fd);

	/* Islands of a few pages, at the edges of a table and in its midst. */
	for (i = 3; i < CT_PAGES; i += 32)
		EQUAL(0, munmap(map + i * PAGE, 7 * PAGE));
	EQUAL(0, munmap(map + 500 * PAGE, 8 * PAGE));
	EQUAL(0, munmap(map + 516 * PAGE, 8 * PAGE));
	reset(fd);
	for (i = 0; i < CT_PAGES; i++)
		if (try_load(map + i * PAGE, NULL))
			continue;
	REQUIRE(events(fd).map_pages > CT_PAGES / 2);
	EQUAL(0, events(fd).map_pages_wrong);
}

CONTRACT(sleep_in_handlers, "->fault and ->pfn_mkwrite may sleep",
	 "a debug kernel would say that they must not, and others hang")
{
	int fd = object(CT_MAP_READONLY);
	char *map = shared_map(fd, 0, PAGES);

	/* Both take a mutex of the object. */
	map[0] = 1;
	EQUAL(1, events(fd).fault);
	EQUAL(1, events(fd).mkwrite);
	EQUAL(1, map[0]);
}
