// SPDX-License-Identifier: GPL-2.0
/*
 * 2 MiB mappings: how they come, how they go, and how a page table that was there before
 * can be got rid of.
 */
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define THP "/sys/kernel/mm/transparent_hugepage/enabled"

static void stamp(char *map, unsigned int pages)
{
	unsigned int i;

	for (i = 0; i < pages; i++)
		*(unsigned int *)(map + i * PAGE) = ~i;
}

static unsigned int wrong_stamps(const char *map, unsigned int first, unsigned int pages)
{
	unsigned int i, wrong = 0;

	for (i = first; i < first + pages; i++)
		wrong += *(const unsigned int *)(map + i * PAGE) != ~i;
	return wrong;
}

/* An object of which the first chunk is mapped by a PMD and stamped. */
static char *huge_map(int fd)
{
	char *map = chunk_map(fd);

	stamp(map, CT_CHUNK_PAGES);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	reset(fd);
	return map;
}

CONTRACT(aligned, "thp_get_unmapped_area() places a mapping where chunks fit PMDs",
	 "huge pages could not be mapped by one entry, or rarely")
{
	int fd = object(0), i;

	for (i = 0; i < 10; i++) {
		char *map = shared_map(fd, 0, CT_CHUNK_PAGES + i * 16);

		EQUAL(0, (uintptr_t)map % LEAF_BYTES);
		/* Page 512 of the object is the first of a chunk. */
		map = shared_map(fd, 256 - i, CT_PAGES - 256 + i);
		EQUAL(0, (uintptr_t)(map + (256 + i) * PAGE) % LEAF_BYTES);
	}
}

CONTRACT(insert_from_fault, "->fault may fill an empty PMD: 2 MiB by one fault",
	 "there would be no huge pages, or one fault for each 4 KiB of them")
{
	int fd = object(CT_HUGE), i;
	char *map = chunk_map(fd);

	for (i = 0; i < CT_CHUNK_PAGES; i++)
		map[i * PAGE] = 1;
	EQUAL(1, events(fd).fault);
	EQUAL(0, events(fd).mkwrite);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	EQUAL(0, look(fd, map).page);
	REQUIRE(look(fd, map).flags & CT_WRITE);
	EQUAL(CT_LEVEL_NONE, look(fd, map + LEAF_BYTES).level);
	/* In a private mapping as well. */
	map = private_map(fd, 0, CT_CHUNK_PAGES);
	map[0] = 1;
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
}

CONTRACT(marked, "the PMD is marked as one whose pages nobody may take references on",
	 "get_user_pages() would pin frames that vmlab gives to others")
{
	int fd = object(CT_HUGE);

	REQUIRE(look(fd, huge_map(fd)).flags & CT_SPECIAL);
}

static void thp(const char *setting)
{
	int fd = open(THP, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		SKIP(THP ": %m");
	EQUAL(strlen(setting), write(fd, setting, strlen(setting)));
	close(fd);
}

static int insert_huge(void *arg)
{
	huge_map(object(CT_HUGE));
	return 0;
}

CONTRACT(no_veto, "that does not depend on the setting of transparent huge pages",
	 "vmlab's own setting would be half of the truth")
{
	char was[64] = "", *setting;
	int fd = open(THP, O_RDONLY | O_CLOEXEC), status;

	if (fd < 0 || read(fd, was, sizeof(was) - 1) < 0)
		SKIP(THP ": %m");
	setting = strchr(was, '[');
	REQUIRE(setting);
	setting[strcspn(setting, "]")] = '\0';
	thp("never");
	status = child_run(insert_huge, NULL);
	thp(setting + 1);
	EQUAL(0, status);
}

CONTRACT(zap_of_a_part, "a zap of one page of it drops the whole PMD, and the data stay",
	 "the rest would stay mapped by a PMD that vmlab takes for gone, or be lost")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);

	zap(fd, map + 100 * PAGE, 1);
	EQUAL(CT_LEVEL_NONE, look(fd, map).level);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	REQUIRE(events(fd).fault >= 1);
}

CONTRACT(munmap_of_a_part, "munmap() of a part of it drops the whole PMD, and the data stay",
	 "the part would stay mapped, or the rest be lost")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);

	EQUAL(0, munmap(map + 100 * PAGE, 100 * PAGE));
	REQUIRE(look(fd, map).level != CT_LEVEL_HUGE);
	REQUIRE(try_load(map + 100 * PAGE, NULL));
	EQUAL(0, wrong_stamps(map, 0, 100));
	EQUAL(0, wrong_stamps(map, 200, CT_CHUNK_PAGES - 200));
	/* There is no room for a whole chunk now. */
	EQUAL(CT_LEVEL_TABLE, look(fd, map).level);
}

CONTRACT(mprotect_of_a_part, "mprotect() of a part of it drops the whole PMD, and holds",
	 "stores would go through where the program has forbidden them")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);

	EQUAL(0, mprotect(map + 100 * PAGE, 100 * PAGE, PROT_READ));
	REQUIRE(look(fd, map).level != CT_LEVEL_HUGE);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	REQUIRE(try_store(map + 100 * PAGE, 1));
	EQUAL(0, try_store(map + 200 * PAGE, 1));
}

CONTRACT(mremap_keeps, "mremap() of a whole chunk moves or drops the PMD, and the data stay",
	 "the old addresses would go on to reach the frame, or the new ones another")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd), *room = address_space(LEAF_BYTES);

	REQUIRE(mremap(map, LEAF_BYTES, LEAF_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, room) == room);
	REQUIRE(try_load(map, NULL));
	EQUAL(0, wrong_stamps(room, 0, CT_CHUNK_PAGES));
	EQUAL(CT_LEVEL_HUGE, look(fd, room).level);
}

CONTRACT(store_to_readonly, "a store into a read-only PMD drops it and comes to ->fault",
	 "a store to a shared chunk would go through unseen, or fault for ever")
{
	int fd = object(CT_HUGE | CT_MAP_READONLY);
	char *map = chunk_map(fd);

	EQUAL(0, map[0]);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	REQUIRE(!(look(fd, map).flags & CT_WRITE));
	setup(fd, 0);		/* and 4 KiB from now on */
	reset(fd);
	map[5 * PAGE] = 1;
	EQUAL(1, events(fd).fault_write);
	EQUAL(CT_LEVEL_TABLE, look(fd, map).level);
	EQUAL(1, present_ptes(fd, map, CT_CHUNK_PAGES));
}

CONTRACT(clean_pmd_stays, "a clean read-only PMD never becomes writable by mprotect()",
	 "a store to a shared chunk would go through unseen and show in others")
{
	int fd = object(CT_HUGE | CT_MAP_READONLY);
	char *map = chunk_map(fd);

	EQUAL(0, map[0]);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	REQUIRE(!(look(fd, map).flags & CT_DIRTY));
	EQUAL(0, mprotect(map, CT_PAGES * PAGE, PROT_READ));
	EQUAL(0, mprotect(map, CT_PAGES * PAGE, PROT_READ | PROT_WRITE));
	REQUIRE(!(look(fd, map).flags & CT_WRITE));
	setup(fd, 0);
	reset(fd);
	map[0] = 1;
	REQUIRE(events(fd).fault_write + events(fd).mkwrite >= 1);
}

static int has_no_pmd(void *arg)
{
	char *map = arg;
	int fd = open(CT_DEVICE, O_RDWR | O_CLOEXEC);

	EQUAL(CT_LEVEL_NONE, look(fd, map).level);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	return 0;
}

CONTRACT(pmd_not_forked, "VM_WIPEONFORK set in ->open prevents the copy of a PMD",
	 "the child would map a chunk that vmlab takes for unmapped there")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);

	run_child(has_no_pmd, map);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
}

CONTRACT(demotion, "after a zap of the whole PMD its pages can be mapped by 4 KiB",
	 "chunks could not be split")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);

	zap(fd, map, CT_CHUNK_PAGES);
	EQUAL(CT_LEVEL_NONE, look(fd, map).level);
	setup(fd, 0);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	EQUAL(CT_LEVEL_TABLE, look(fd, map).level);
	EQUAL(CT_CHUNK_PAGES, present_ptes(fd, map, CT_CHUNK_PAGES));
}

CONTRACT(zap_flushes_pmd, "a zap of a PMD has flushed when it returns",
	 "CPUs would go on storing into a chunk that is another's by then")
{
	int fd = object(CT_HUGE);
	char *map = huge_map(fd);
	struct spinner *spinner = spin(map, 64);

	setup(fd, 0);
	reset(fd);
	zap(fd, map, CT_CHUNK_PAGES);
	spin_rounds(spinner, 2);
	EQUAL(64, events(fd).faulted_pages);
	spin_stop(spinner);
}

static long table_kb(void)
{
	return atol(word_after("/proc/self/status", "VmPTE:"));
}

/* The core frees tables that it finds in later faults, where vmlab cannot. */
static int all_tables_freed(int fd, char *map)
{
	int i, left = ioctl(fd, CT_IOC_RETIRED);

	setup(fd, 0);
	map[LEAF_BYTES] = 1;
	for (i = 0; left && i < 100000; i++) {
		zap(fd, map + LEAF_BYTES, 1);
		map[LEAF_BYTES] = 1;
		left = ioctl(fd, CT_IOC_RETIRED);
	}
	if (i)
		note("page table locks are allocated apart: %d faults freed the tables", i);
	return left;
}

CONTRACT(retire_table, "an empty PTE table can be taken out of its PMD and freed",
	 "memory once mapped by 4 KiB could never be mapped by 2 MiB again, or its table be "
	 "freed while somebody uses it")
{
	int fd = object(0);
	char *map = chunk_map(fd);
	long before = table_kb();

	stamp(map, CT_CHUNK_PAGES);
	EQUAL(4, table_kb() - before);
	EQUAL(0, retire(fd, map));
	EQUAL(CT_LEVEL_NONE, look(fd, map).level);
	EQUAL(before, table_kb());
	EQUAL(-ENOENT, retire(fd, map));
	setup(fd, CT_HUGE);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	EQUAL(before, table_kb());
	zap(fd, map, CT_CHUNK_PAGES);
	EQUAL(0, all_tables_freed(fd, map));
}

CONTRACT(table_of_fault, "->fault of an empty PMD brings a PTE table along, to be put in or freed",
	 "pages of 4 KiB could not be mapped where huge ones may come at the same moment")
{
	int fd = object(0);
	char *map = chunk_map(fd);
	long before = table_kb();

	map[0] = 1;
	map[LEAF_BYTES] = 1;
	REQUIRE(map[PAGE] == 0);
	EQUAL(2, events(fd).fault_empty);
	EQUAL(2, events(fd).fault_table);
	EQUAL(8, table_kb() - before);
	setup(fd, CT_HUGE);
	EQUAL(0, munmap(map, CT_PAGES * PAGE));
	EQUAL(before, table_kb());
	/* Where a huge page takes the place it is the core's to free. */
	map = chunk_map(fd);
	before = table_kb();
	reset(fd);
	map[0] = 1;
	EQUAL(1, events(fd).fault_table);
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	EQUAL(before, table_kb());
}

struct churn {
	char *map;
	atomic_bool stop;
	atomic_uint rounds;
	unsigned int number;
	unsigned int wrong;
};

static void *churn_pages(void *arg)
{
	struct churn *churn = arg;
	unsigned int i, value = 0;

	/* Every second page is this thread's. */
	while (!atomic_load(&churn->stop)) {
		for (i = churn->number; i < CT_CHUNK_PAGES; i += 2) {
			volatile unsigned int *word = (unsigned int *)(churn->map + i * PAGE) +
						      churn->number;

			churn->wrong += *word != value;
			*word = value + 1;
		}
		value++;
		atomic_fetch_add(&churn->rounds, 1);
	}
	return NULL;
}

CONTRACT(retire_in_use, "that works again and again under threads that use the memory",
	 "as before, but only now and then")
{
	int fd = object(0), round, retired = 0, i;
	char *map = chunk_map(fd);
	struct churn churn[2] = { { .map = map }, { .map = map, .number = 1 } };
	pthread_t threads[2];
	double until;

	for (i = 0; i < 2; i++)
		REQUIRE(!pthread_create(&threads[i], NULL, churn_pages, &churn[i]));
	until = now() + 5;
	for (round = 0; round < 1000 && now() < until; round++) {
		setup(fd, round % 2 ? CT_HUGE : 0);
		/* Huge pages are dropped by the zap it begins with. */
		if (!retire(fd, map))
			retired++;
		if (round % 16 == 0)
			run_child(insert_huge, NULL);
	}
	for (i = 0; i < 2; i++)
		atomic_store(&churn[i].stop, true);
	for (i = 0; i < 2; i++) {
		REQUIRE(!pthread_join(threads[i], NULL));
		EQUAL(0, churn[i].wrong);
		REQUIRE(churn[i].rounds > 0);
	}
	note("%d of %d tries found a table and retired it", retired, round);
	REQUIRE(retired > 2);
	EQUAL(0, all_tables_freed(fd, map));
}

CONTRACT(tables_of_huge, "apply_to_page_range() on a huge PMD fails with EINVAL and warns",
	 "it would put PTEs into what is no table")
{
	int fd = object(CT_HUGE);
	const char *panics;
	char *map = huge_map(fd);

	panics = word_after("/proc/sys/kernel/panic_on_warn", "");
	if (!panics || atoi(panics))
		SKIP("it would end the guest: try with panic_on_warn=0");
	/* The suite's runner takes a warning for a failure, also where it ends no guest. */
	if (getenv("VMLAB_PHASE"))
		SKIP("not where warnings count: run it by itself");
	EQUAL(-EINVAL, tables(fd, map, 1));
	EQUAL(CT_LEVEL_HUGE, look(fd, map).level);
	EQUAL(0, wrong_stamps(map, 0, CT_CHUNK_PAGES));
	_exit(STATUS_WARNED);
}
