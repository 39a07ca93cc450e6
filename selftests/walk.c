// SPDX-License-Identifier: GPL-2.0
/*
 * WALK and debugfs `walk`: what they tell is what /proc/PID/pagemap tells, what stands in
 * the tables themselves, what the other ioctls tell, and what the test has done; they
 * change nothing and refuse what is no address or no process.  It must never compare
 * WALK with itself alone.
 *
 * pagemap passes over mappings like ours (walk_page_test() in mm/pagewalk.c skips
 * VM_PFNMAP), so it judges the memory of Linux.  For ours the tables are read from
 * /proc/kcore, which shows physical memory: from an entry of the top table, which pagemap
 * has vouched for with another page below it, down to the page's contents.
 *
 * vmlab-test: timeout=400
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <elf.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define TAG 0x3a1
#define WALK_FILE "/sys/kernel/debug/vmlab/walk"

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)
#define PM_PFN(word)	((word) & ((1ULL << 55) - 1))

/* The bits of an entry that hold a physical address, on any x86-64. */
#define ENTRY_ADDRESS	0x000ffffffffff000ULL
#define NAMES_MEMORY	(VMLAB_WALK_PRESENT | VMLAB_WALK_PROTNONE)
#define SLOT_STATES	(VMLAB_WALK_SLOT_HOLE | VMLAB_WALK_SLOT_ZERO | VMLAB_WALK_SLOT_FRAME | \
			 VMLAB_WALK_SLOT_SWAP)

static int walk_at(int fd, uint64_t address, struct vmlab_ioc_walk *w)
{
	*w = (struct vmlab_ioc_walk) { .size = sizeof(*w), .address = address };
	return ioctl(fd, VMLAB_IOC_WALK, w) ? -errno : 0;
}

static int walk(int fd, const volatile void *address, struct vmlab_ioc_walk *w)
{
	return walk_at(fd, (uintptr_t)address, w);
}

static int pagemap_open(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static uint64_t pagemap_word(int pagemap, uint64_t address)
{
	uint64_t word;

	if (pread(pagemap, &word, sizeof(word), address / PAGE * sizeof(word)) != sizeof(word))
		die("pagemap at %#lx: %m", (unsigned long)address);
	return word;
}

/* --- physical memory ------------------------------------------------------ */

#define MAX_PIECES 64

static struct {
	int fd;
	int nr;
	struct {
		uint64_t begin, end, offset;
	} pieces[MAX_PIECES];
} memory = { .fd = -1 };

/* Finds the RAM in /proc/kcore.  Kernels without it: nothing is compared with memory. */
static bool memory_open(void)
{
	Elf64_Ehdr head;
	Elf64_Phdr piece;
	static bool tried;
	int i;

	if (tried)
		return memory.fd >= 0;
	tried = true;
	memory.fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (memory.fd < 0) {
		note("no /proc/kcore: tables are not compared with memory");
		return false;
	}
	if (pread(memory.fd, &head, sizeof(head), 0) != sizeof(head))
		die("/proc/kcore: %m");
	for (i = 0; i < head.e_phnum && memory.nr < MAX_PIECES; i++) {
		if (pread(memory.fd, &piece, sizeof(piece), head.e_phoff + i * sizeof(piece)) !=
		    sizeof(piece))
			die("/proc/kcore: %m");
		if (piece.p_type != PT_LOAD || piece.p_paddr == ~0ULL)
			continue;
		memory.pieces[memory.nr].begin = piece.p_paddr;
		memory.pieces[memory.nr].end = piece.p_paddr + piece.p_memsz;
		memory.pieces[memory.nr++].offset = piece.p_offset;
	}
	return true;
}

static uint64_t memory_word(uint64_t address)
{
	uint64_t word;
	int i;

	for (i = 0; i < memory.nr; i++) {
		if (address < memory.pieces[i].begin || address >= memory.pieces[i].end)
			continue;
		if (pread(memory.fd, &word, sizeof(word),
			  address - memory.pieces[i].begin + memory.pieces[i].offset) !=
		    sizeof(word))
			die("/proc/kcore at %#lx: %m", (unsigned long)address);
		return word;
	}
	die("no memory at %#lx", (unsigned long)address);
}

/* Is each entry what stands in the table that the entry above names? */
static bool in_memory(const struct vmlab_ioc_walk *w)
{
	uint64_t table = w->levels[VMLAB_WALK_PGD].entry & ENTRY_ADDRESS;
	unsigned int i;

	for (i = VMLAB_WALK_P4D; i < w->nr_levels; i++) {
		const struct vmlab_walk_level *l = &w->levels[i];

		if (l->flags & VMLAB_WALK_FOLDED)
			continue;
		if (memory_word(table + (w->address >> l->shift & 511) * 8) != l->entry)
			return false;
		table = l->entry & ENTRY_ADDRESS;
	}
	return true;
}

/* --- what must agree ------------------------------------------------------ */

static const struct vmlab_walk_level *last_level(const struct vmlab_ioc_walk *w)
{
	return &w->levels[w->nr_levels - 1];
}

/* What the hardware's side and pagemap disagree in; NULL: nothing. */
static const char *differs(const struct vmlab_ioc_walk *w, uint64_t word)
{
	uint32_t flags = last_level(w)->flags;

	if (!w->nr_levels || w->nr_levels > VMLAB_WALK_LEVELS)
		return "number of levels";
	if (w->status & VMLAB_WALK_OURS)
		return word & (PM_PRESENT | PM_SWAP) ? "pagemap sees what it never saw" : NULL;
	if (!(flags & NAMES_MEMORY) != !(word & PM_PRESENT))
		return "present";
	if ((flags & NAMES_MEMORY) && w->pfn != PM_PFN(word))
		return "pfn";
	if (!(flags & NAMES_MEMORY) && w->pfn)
		return "pfn of nothing";
	/* pagemap adds what the whole mapping is. */
	if ((flags & VMLAB_WALK_SOFT_DIRTY) && !(word & PM_SOFT_DIRTY))
		return "soft-dirty";
	if ((flags & NAMES_MEMORY) && !(flags & VMLAB_WALK_UFFD_WP) != !(word & PM_UFFD_WP))
		return "write-protected by userfaultfd";
	return NULL;
}

/* What a walk contradicts itself in; NULL: nothing. */
static const char *contradicts(const struct vmlab_ioc_walk *w)
{
	const struct vmlab_walk_level *l = last_level(w);
	uint32_t state = w->slot & SLOT_STATES;
	unsigned int i;

	for (i = 0; i + 1 < w->nr_levels; i++)
		if (!(w->levels[i].flags & (VMLAB_WALK_TABLE | VMLAB_WALK_FOLDED)))
			return "goes on below what is no table";
	for (i = w->nr_levels; i < VMLAB_WALK_LEVELS; i++)
		if (w->levels[i].entry || w->levels[i].flags)
			return "tells of what was not read";
	if (!(w->status & VMLAB_WALK_OURS))
		return w->object || w->slot || w->owners || w->refs || w->frame ?
			"has a slot that is not ours" : NULL;
	if (w->slot & VMLAB_WALK_SLOT_LOCKED)
		return NULL;
	if (!state || (state & (state - 1)))
		return "not in one state";
	if (state == VMLAB_WALK_SLOT_FRAME ? !w->refs : w->refs)
		return "references";
	if (state != VMLAB_WALK_SLOT_FRAME && (w->slot & (VMLAB_WALK_SLOT_DIRTY |
	    VMLAB_WALK_SLOT_COPY | VMLAB_WALK_SLOT_PINNED)))
		return "facts of a frame that is not there";
	if (!(l->flags & NAMES_MEMORY))
		return l->flags & VMLAB_WALK_OTHER ? "an entry that is not ours" : NULL;
	if (!(l->flags & (VMLAB_WALK_SPECIAL | VMLAB_WALK_HUGE)))
		return "not special";
	if (l->flags & VMLAB_WALK_ZERO_PAGE) {
		if (state != VMLAB_WALK_SLOT_ZERO || (l->flags & VMLAB_WALK_WRITE))
			return "the zero page";
		return NULL;
	}
	if (state != VMLAB_WALK_SLOT_FRAME)
		return "maps what the slot does not name";
	if ((w->status & VMLAB_WALK_FRAMES) && w->frame != w->pfn)
		return "maps another frame than the slot names";
	if ((l->flags & VMLAB_WALK_WRITE) && !(w->slot & VMLAB_WALK_SLOT_DIRTY))
		return "writable and clean";
	if ((l->flags & VMLAB_WALK_WRITE) && w->refs > 1)
		return "writable and shared";
	return NULL;
}

/*
 * Walks, and looks into pagemap and memory, until nothing changed meanwhile: reclaim
 * works beside the test.  What is wrong, or NULL.
 */
static const char *disagreement(int fd, int pagemap, const volatile void *address,
				struct vmlab_ioc_walk *w)
{
	struct vmlab_ioc_walk before;
	bool same = true;
	const char *wrong;
	uint64_t after;
	int tries;

	for (tries = 0; tries < 10000; tries++) {
		if (walk(fd, address, &before))
			return "WALK failed";
		after = pagemap_word(pagemap, (uintptr_t)address);
		if (memory_open())
			same = in_memory(&before);
		if (walk(fd, address, w))
			return "WALK failed";
		if (memcmp(&before, w, sizeof(before)) || (w->slot & VMLAB_WALK_SLOT_LOCKED))
			continue;
		wrong = differs(w, after) ?: contradicts(w) ?: same ? NULL : "memory";
		if (wrong)
			note("%p: %s: pagemap %#llx, pfn %#llx, flags %#x, slot %#x, frame %#llx",
			     address, wrong, (unsigned long long)after,
			     (unsigned long long)w->pfn, last_level(w)->flags, w->slot,
			     (unsigned long long)w->frame);
		return wrong;
	}
	return "never at rest";
}

FIXTURE(walk)
{
	int fd;
	int pagemap;
	struct vmlab_ioc_info info;
};

/* Is the top of the way to @w the one on which pagemap found a page of Linux? */
static bool top_is_right(int fd, int pagemap, const struct vmlab_ioc_walk *w)
{
	static volatile char *page;
	struct vmlab_ioc_walk other;

	if (!page) {
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			die("mmap: %m");
	}
	page[0] = 1;
	if (disagreement(fd, pagemap, page, &other) || !other.pfn)
		return false;
	return other.levels[0].index == w->levels[0].index &&
	       other.levels[0].entry == w->levels[0].entry;
}

FIXTURE_SETUP(walk)
{
	settle();
	if (!under_pressure())
		ASSERT_EQ(0, swap_use_only(spare_disk()));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	ASSERT_EQ(0, object_info(self->fd, &self->info));
	self->pagemap = pagemap_open(getpid());
	ASSERT_GE(self->pagemap, 0);
}

FIXTURE_TEARDOWN(walk)
{
	EXPECT_VERIFY_OK();
	close(self->pagemap);
	close(self->fd);
	settle();
}

TEST_F(walk, pagemap_knows_nothing_of_ours)
{
	volatile char *map = object_map(self->fd, 0, 1);
	struct vmlab_ioc_walk w;

	map[0] = 1;
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &w));
	EXPECT_NE(0, w.pfn);
	EXPECT_TRUE(top_is_right(self->fd, self->pagemap, &w));
	munmap((void *)map, PAGE);
}

TEST_F(walk, one_page)
{
	volatile char *map = object_map(self->fd, 1000, 8);
	struct vmlab_ioc_walk w;
	struct stat disk;
	unsigned int i;

	/* A hole: no page of ours, whatever tables there are. */
	ASSERT_EQ(0, walk(self->fd, map, &w));
	EXPECT_EQ(sizeof(w), w.size);
	EXPECT_EQ((uintptr_t)map, w.address);
	EXPECT_EQ(VMLAB_WALK_MAPPED | VMLAB_WALK_OURS | VMLAB_WALK_FRAMES, w.status);
	EXPECT_EQ(self->info.id, w.object);
	EXPECT_EQ(1000, w.page);
	EXPECT_EQ(VMLAB_KIND_OPEN, w.kind);
	EXPECT_EQ(VMLAB_WALK_SLOT_HOLE, w.slot);
	EXPECT_EQ(VMLAB_WALK_NONE, last_level(&w)->flags);
	EXPECT_EQ(0, w.owners + w.refs + w.pfn + w.frame);

	/* A load: the zero page. */
	EXPECT_EQ(0, map[0]);
	ASSERT_EQ(0, walk(self->fd, map, &w));
	EXPECT_EQ(VMLAB_WALK_LEVELS, w.nr_levels);
	EXPECT_EQ(VMLAB_WALK_SLOT_ZERO, w.slot);
	EXPECT_EQ(VMLAB_WALK_PRESENT | VMLAB_WALK_USER | VMLAB_WALK_ACCESSED |
		  VMLAB_WALK_ZERO_PAGE | VMLAB_WALK_SPECIAL,
		  last_level(&w)->flags & ~(VMLAB_WALK_NOEXEC | VMLAB_WALK_SOFT_DIRTY));
	EXPECT_NE(0, w.pfn);
	EXPECT_EQ(0, w.frame);

	/* A store, at an address within the page. */
	map[PAGE + 123] = 1;
	ASSERT_EQ(0, walk(self->fd, map + PAGE + 123, &w));
	EXPECT_EQ((uintptr_t)map + PAGE + 123, w.address);
	EXPECT_EQ(1001, w.page);
	EXPECT_EQ(VMLAB_WALK_SLOT_FRAME | VMLAB_WALK_SLOT_DIRTY,
		  w.slot & ~VMLAB_WALK_SLOT_ACCESSED);
	EXPECT_EQ(1, w.owners);
	EXPECT_EQ(1, w.refs);
	EXPECT_EQ(w.pfn, w.frame);
	EXPECT_LT(w.node, 64);
	EXPECT_EQ(w.frame << 12, last_level(&w)->entry & ENTRY_ADDRESS);
	EXPECT_EQ(VMLAB_WALK_PRESENT | VMLAB_WALK_WRITE | VMLAB_WALK_USER | VMLAB_WALK_ACCESSED |
		  VMLAB_WALK_DIRTY | VMLAB_WALK_SPECIAL,
		  last_level(&w)->flags & ~(VMLAB_WALK_NOEXEC | VMLAB_WALK_SOFT_DIRTY));
	for (i = 0; i < w.nr_levels; i++) {
		const struct vmlab_walk_level *l = &w.levels[i];

		if (l->flags & VMLAB_WALK_FOLDED) {
			EXPECT_EQ(VMLAB_WALK_P4D, i);
			EXPECT_EQ(0, l->entry + l->shift + l->index);
			continue;
		}
		EXPECT_EQ(w.address >> l->shift & 511, l->index);
		EXPECT_NE(0, l->flags & VMLAB_WALK_PRESENT);
		EXPECT_NE(0, l->entry & 1);
		EXPECT_EQ(i < VMLAB_WALK_PTE, !!(l->flags & VMLAB_WALK_TABLE));
	}
	EXPECT_EQ(12, w.levels[VMLAB_WALK_PTE].shift);
	EXPECT_EQ(21, w.levels[VMLAB_WALK_PMD].shift);
	EXPECT_EQ(30, w.levels[VMLAB_WALK_PUD].shift);
	EXPECT_EQ(w.levels[VMLAB_WALK_P4D].flags & VMLAB_WALK_FOLDED ? 39 : 48,
		  w.levels[VMLAB_WALK_PGD].shift);

	/* Out, and in again by a load: clean, not writable, with a copy on swap. */
	ASSERT_EQ(1, object_pageout(self->fd, 1001, 1));
	ASSERT_EQ(0, walk(self->fd, map + PAGE, &w));
	EXPECT_EQ(VMLAB_WALK_SLOT_SWAP, w.slot);
	EXPECT_EQ(VMLAB_WALK_NONE, last_level(&w)->flags);
	EXPECT_NE(0, w.swap_offset);
	ASSERT_EQ(0, stat(under_pressure() ? pressure_disk() : spare_disk(), &disk));
	EXPECT_EQ(disk.st_rdev, w.swap_dev);
	EXPECT_EQ(1, map[PAGE + 123]);
	ASSERT_EQ(0, walk(self->fd, map + PAGE, &w));
	EXPECT_EQ(VMLAB_WALK_SLOT_FRAME | VMLAB_WALK_SLOT_COPY,
		  w.slot & ~VMLAB_WALK_SLOT_ACCESSED);
	EXPECT_NE(0, w.swap_offset);
	EXPECT_EQ(0, last_level(&w)->flags & (VMLAB_WALK_WRITE | VMLAB_WALK_DIRTY));

	/* Resident without a PTE. */
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 1002 * PAGE));
	ASSERT_EQ(0, walk(self->fd, map + 2 * PAGE, &w));
	EXPECT_NE(0, w.slot & VMLAB_WALK_SLOT_FRAME);
	EXPECT_EQ(VMLAB_WALK_NONE, last_level(&w)->flags);
	EXPECT_EQ(0, w.pfn);
	EXPECT_NE(0, w.frame);
	ASSERT_EQ(0, object_pin(self->fd, 1002, 1));
	ASSERT_EQ(0, walk(self->fd, map + 2 * PAGE, &w));
	EXPECT_NE(0, w.slot & VMLAB_WALK_SLOT_PINNED);
	munmap((void *)map, 8 * PAGE);
}

/* --- ten thousand pages in all states ------------------------------------ */

#define SPREAD	(1UL << 18)	/* pages: 1 GiB */
#define PAGES	10000

enum state {
	HOLE, LOADED, STORED, CLEANED, OUT, PINNED, WRITTEN, DISCARDED, READ_ONLY, FORBIDDEN,
	NR_STATES
};

static const struct {
	const char *name;
	uint32_t slot;		/* one of these */
	uint32_t flags, not;	/* of the PTE: all of these, and none of those */
	bool evictable;
} states[NR_STATES] = {
	[HOLE]		= { "hole", VMLAB_WALK_SLOT_HOLE | VMLAB_WALK_SLOT_ZERO,
			    VMLAB_WALK_NONE, 0, false },
	[LOADED]	= { "loaded", VMLAB_WALK_SLOT_ZERO, VMLAB_WALK_ZERO_PAGE,
			    VMLAB_WALK_WRITE, false },
	[STORED]	= { "stored", VMLAB_WALK_SLOT_FRAME,
			    VMLAB_WALK_PRESENT | VMLAB_WALK_WRITE | VMLAB_WALK_DIRTY, 0, true },
	[CLEANED]	= { "cleaned", VMLAB_WALK_SLOT_FRAME, VMLAB_WALK_PRESENT,
			    VMLAB_WALK_WRITE | VMLAB_WALK_DIRTY, true },
	[OUT]		= { "out", VMLAB_WALK_SLOT_SWAP, VMLAB_WALK_NONE, 0, false },
	[PINNED]	= { "pinned", VMLAB_WALK_SLOT_FRAME, 0, 0, false },
	[WRITTEN]	= { "written", VMLAB_WALK_SLOT_FRAME, VMLAB_WALK_NONE, 0, true },
	[DISCARDED]	= { "discarded", VMLAB_WALK_SLOT_HOLE | VMLAB_WALK_SLOT_ZERO,
			    VMLAB_WALK_NONE, 0, false },
	[READ_ONLY]	= { "read-only", VMLAB_WALK_SLOT_FRAME, VMLAB_WALK_PRESENT,
			    VMLAB_WALK_WRITE, true },
	[FORBIDDEN]	= { "forbidden", VMLAB_WALK_SLOT_FRAME, VMLAB_WALK_PROTNONE,
			    VMLAB_WALK_PRESENT, true },
};

struct picked {
	uint32_t page;
	enum state state;
};

static void pick(struct picked *picked, uint64_t *state)
{
	static unsigned char taken[SPREAD];
	size_t i;

	memset(taken, 0, sizeof(taken));
	for (i = 0; i < PAGES; i++) {
		do
			picked[i].page = chance(state) % SPREAD;
		while (taken[picked[i].page]);
		taken[picked[i].page] = 1;
		picked[i].state = chance(state) % NR_STATES;
	}
}

static int bring_about(int fd, volatile char *map, const struct picked *p)
{
	volatile uint64_t *page = (volatile uint64_t *)(map + p->page * PAGE);
	const uint64_t own = p->page + 1;
	int protection = p->state == READ_ONLY ? PROT_READ : PROT_NONE;

	switch (p->state) {
	case HOLE:
	case NR_STATES:
		return 0;
	case LOADED:
		return page[0] != 0;
	case WRITTEN:
		return pwrite(fd, &own, sizeof(own), p->page * PAGE) != sizeof(own);
	case PINNED:
		return object_pin(fd, p->page, 1);
	default:
		page[0] = own;
	}
	switch (p->state) {
	case CLEANED:
	case OUT:
		/* Reclaim may have been faster. */
		if (object_pageout(fd, p->page, 1) != 1 && !under_pressure())
			return -1;
		return p->state == CLEANED && page[0] != own;
	case DISCARDED:
		return object_discard(fd, p->page, 1);
	case READ_ONLY:
	case FORBIDDEN:
		return mprotect((void *)page, PAGE, protection);
	default:
		return 0;
	}
}

/* Is it what the test made of the page?  Reclaim may have taken its frame. */
static bool expected(const struct vmlab_ioc_walk *w, enum state state)
{
	uint32_t flags = last_level(w)->flags;

	if (under_pressure() && states[state].evictable && (w->slot & VMLAB_WALK_SLOT_SWAP))
		return flags & VMLAB_WALK_NONE;
	return (w->slot & SLOT_STATES & states[state].slot) &&
	       (flags & states[state].flags) == states[state].flags &&
	       !(flags & states[state].not) &&
	       !(w->slot & VMLAB_WALK_SLOT_PINNED) == (state != PINNED);
}

/* Does the frame hold what was stored to the page?  Each page has a number of its own. */
static bool frame_is_the_pages(int fd, const struct vmlab_ioc_walk *w, const struct picked *p)
{
	struct vmlab_ioc_walk before = *w, after;
	uint64_t word;

	for (;;) {
		if (!(before.slot & VMLAB_WALK_SLOT_FRAME) || !memory_open())
			return true;
		word = memory_word(before.frame * PAGE);
		if (walk_at(fd, w->address, &after))
			return false;
		if (after.frame == before.frame)
			return word == (p->state == PINNED ? 0 : p->page + 1);
		before = after;
	}
}

/* RESIDENCY's word for the same page. */
static bool residency_agrees(int fd, const struct vmlab_ioc_walk *w)
{
	uint32_t word, wanted = 0;
	struct vmlab_ioc_walk before, again;

	do {
		if (walk_at(fd, w->address, &before) || object_residency(fd, w->page, 1, &word) ||
		    walk_at(fd, w->address, &again))
			return false;
	} while (memcmp(&before, &again, sizeof(again)) || (again.slot & VMLAB_WALK_SLOT_LOCKED));
	if (again.slot & VMLAB_WALK_SLOT_SWAP)
		wanted = VMLAB_RES_SWAPPED;
	if (again.slot & VMLAB_WALK_SLOT_FRAME)
		wanted = VMLAB_RES_RESIDENT | again.node << VMLAB_RES_NODE_SHIFT;
	if (again.slot & VMLAB_WALK_SLOT_DIRTY)
		wanted |= VMLAB_RES_DIRTY;
	if (again.slot & VMLAB_WALK_SLOT_PINNED)
		wanted |= VMLAB_RES_PINNED;
	if ((again.slot & VMLAB_WALK_SLOT_ACCESSED) ||
	    (last_level(&again)->flags & (VMLAB_WALK_ACCESSED | VMLAB_WALK_ZERO_PAGE)) ==
	     VMLAB_WALK_ACCESSED)
		wanted |= VMLAB_RES_ACCESSED;
	/* The mappings of others count there too. */
	return (word & ~VMLAB_RES_ACCESSED) == (wanted & ~VMLAB_RES_ACCESSED) &&
	       (word & VMLAB_RES_ACCESSED) >= (wanted & VMLAB_RES_ACCESSED);
}

TEST_F_TIMEOUT(walk, ten_thousand_pages_in_all_states, 240)
{
	static struct picked picked[PAGES];
	volatile char *map = object_map(self->fd, 0, SPREAD);
	unsigned int wrong = 0, seen[NR_STATES] = { 0 }, mapped = 0, out = 0;
	struct vmlab_ioc_info before, after;
	struct vmlab_ioc_walk w;
	uint64_t state = seed();
	size_t i;

	/* No neighbour is read ahead or mapped along: each page is what it was made. */
	ASSERT_EQ(0, madvise((void *)map, SPREAD * PAGE, MADV_RANDOM));
	pick(picked, &state);
	for (i = 0; i < PAGES; i++) {
		const struct picked *p = &picked[i];

		ASSERT_EQ(0, bring_about(self->fd, map, p))
			TH_LOG("page %u, %s", p->page, states[p->state].name);
	}
	ASSERT_EQ(0, object_info(self->fd, &before));
	for (i = 0; i < PAGES && wrong < 10; i++) {
		const struct picked *p = &picked[i];

		if (disagreement(self->fd, self->pagemap, map + p->page * PAGE, &w)) {
			wrong++;
			continue;
		}
		if (!expected(&w, p->state) || w.page != p->page || w.object != self->info.id) {
			note("page %u, %s: flags %#x, slot %#x", p->page, states[p->state].name,
			     last_level(&w)->flags, w.slot);
			wrong++;
		} else if (!frame_is_the_pages(self->fd, &w, p)) {
			note("page %u, %s: frame %#llx holds something else", p->page,
			     states[p->state].name, (unsigned long long)w.frame);
			wrong++;
		} else if (i % 8 == 0 && !residency_agrees(self->fd, &w)) {
			note("page %u, %s: RESIDENCY differs", p->page, states[p->state].name);
			wrong++;
		}
		seen[p->state]++;
		mapped += !!(last_level(&w)->flags & NAMES_MEMORY);
		out += !!(w.slot & VMLAB_WALK_SLOT_SWAP);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_TRUE(top_is_right(self->fd, self->pagemap, &w));
	for (i = 0; i < NR_STATES; i++)
		EXPECT_GT(seen[i], PAGES / NR_STATES / 2);
	note("%u mapped, %u on swap", mapped, out);
	EXPECT_GT(mapped, 0);
	EXPECT_GT(out, 0);
	/* Nothing came of all this. */
	ASSERT_EQ(0, object_info(self->fd, &after));
	EXPECT_EQ(before.faults, after.faults);
	EXPECT_EQ(before.swap_ins, after.swap_ins);
	EXPECT_EQ(before.leaf_pages, after.leaf_pages);
	if (!under_pressure())
		EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	munmap((void *)map, SPREAD * PAGE);
}

/* --- other processes ----------------------------------------------------- */

/* What a child and its parent tell each other. */
struct shared {
	int fd;
	volatile char *map;
	uint64_t pages;
	uint64_t seed;
	volatile int step;
	struct vmlab_ioc_walk child, parent;
};

static struct shared *shared_make(int fd, volatile char *map, uint64_t pages)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		die("mmap: %m");
	s->fd = fd;
	s->map = map;
	s->pages = pages;
	return s;
}

static bool wait_for_step(struct shared *s, int step)
{
	double until = now() + 60;

	while (s->step < step && now() < until)
		usleep(1000);
	return s->step >= step;
}

/* A walk as debugfs tells it; 0 or -errno. */
static int walk_text(int file, pid_t pid, uint64_t address, char *text, size_t size)
{
	char query[64];
	ssize_t got, used = 0;

	snprintf(query, sizeof(query), "%d 0x%llx\n", pid, (unsigned long long)address);
	if (write(file, query, strlen(query)) != (ssize_t)strlen(query))
		return -errno;
	do {
		got = read(file, text + used, size - 1 - used);
		if (got < 0)
			return -errno;
		used += got;
	} while (got && used < (ssize_t)size - 1);
	text[used] = '\0';
	return 0;
}

/* The number behind @name at the beginning of a line; 0 when there is none. */
static uint64_t text_number(const char *text, const char *name)
{
	const char *found = text;

	while ((found = strstr(found, name))) {
		if (found == text || found[-1] == '\n')
			return strtoull(found + strlen(name), NULL, 0);
		found++;
	}
	return 0;
}

static int forked(void *arg)
{
	struct shared *s = arg;
	int pagemap = pagemap_open(getpid());
	struct vmlab_ioc_walk w;
	uint64_t i;

	CHECK(pagemap >= 0);
	for (i = 0; i < s->pages; i++) {
		volatile char *page = s->map + i * PAGE;

		/* Before: nothing is mapped here, whatever the parent has. */
		if (i % 16 == 0)
			CHECK(!disagreement(s->fd, pagemap, page, &w));
		switch (chance(&s->seed) % 4) {
		case 0:
			page[1] = 1;
			break;
		case 1:
			CHECK(page[1] <= 1);
			break;
		}
		CHECK(!disagreement(s->fd, pagemap, page, &w));
	}
	s->step = 1;
	CHECK(wait_for_step(s, 2));
	return 0;
}

/* Reads the levels back from the text; false when there is none. */
static bool text_levels(const char *text, uint64_t address, struct vmlab_ioc_walk *w)
{
	static const char * const names[] = { "PGD[", "P4D[", "PUD[", "PMD[", "PTE[" };
	unsigned int i;

	*w = (struct vmlab_ioc_walk) { .address = address };
	for (i = 0; i < VMLAB_WALK_LEVELS; i++) {
		struct vmlab_walk_level *l = &w->levels[i];
		const char *line = strstr(text, names[i]);
		unsigned long long entry;
		unsigned int index, shift;

		l->flags = i == VMLAB_WALK_P4D && !line ? VMLAB_WALK_FOLDED : 0;
		if (!line && !l->flags)
			break;
		w->nr_levels++;
		if (!line)
			continue;
		if (sscanf(line + 4, "%u] bits %*u-%u %*s entry %llx", &index, &shift, &entry) != 3)
			return false;
		l->index = index;
		l->shift = shift;
		l->entry = entry;
	}
	return w->nr_levels;
}

/* Walks another process by debugfs, and compares with memory and the process' mapping. */
static int foreign_errors(pid_t pid, struct shared *s, uint64_t object)
{
	int file = open(WALK_FILE, O_RDWR | O_CLOEXEC), wrong = 0;
	char text[4096], again[4096];
	struct vmlab_ioc_walk w;
	bool right;
	uint64_t i;

	if (file < 0)
		die("walk cannot be opened: %m");
	for (i = 0; i < s->pages; i++) {
		uint64_t address = (uintptr_t)s->map + i * PAGE;

		do {
			if (walk_text(file, pid, address, text, sizeof(text)))
				die("debugfs walk: %m");
			right = text_levels(text, address, &w) &&
				(!memory_open() || in_memory(&w));
			if (walk_text(file, pid, address, again, sizeof(again)))
				die("debugfs walk: %m");
		} while (strcmp(text, again));
		if (right && text_number(text, "object ") == object)
			continue;
		if (!wrong++)
			note("process %d, page %lu:\n%s", pid, (unsigned long)i, text);
	}
	close(file);
	return wrong;
}

TEST_F_TIMEOUT(walk, after_fork_and_from_outside, 120)
{
	const size_t pages = 1000;
	volatile char *map = object_map(self->fd, 0, pages);
	struct shared *s = shared_make(self->fd, map, pages);
	struct vmlab_ioc_walk w;
	unsigned int wrong = 0;
	pid_t child;
	size_t i;

	s->seed = seed();
	for (i = 0; i < pages; i += 2)
		map[i * PAGE] = 1;
	ASSERT_GE(object_pageout(self->fd, pages / 2, 100), 0);
	child = child_start(forked, s);
	ASSERT_TRUE(wait_for_step(s, 1));
	EXPECT_EQ(0, foreign_errors(child, s, self->info.id));
	EXPECT_EQ(0, foreign_errors(getpid(), s, self->info.id));
	for (i = 0; i < pages; i++)
		wrong += !!disagreement(self->fd, self->pagemap, map + i * PAGE, &w);
	EXPECT_EQ(0, wrong);
	s->step = 2;
	EXPECT_EQ(0, child_wait(child));
	munmap(s, sizeof(*s));
	munmap((void *)map, pages * PAGE);
}

/* Two mappings of one page show one frame. */
TEST_F(walk, two_mappings_one_frame)
{
	volatile char *first = object_map(self->fd, 77, 1), *second = object_map(self->fd, 70, 20);
	int other = object_open();
	volatile char *third = object_map(other, 77, 1);
	struct vmlab_ioc_walk a, b, c;

	first[0] = 1;
	EXPECT_EQ(1, second[7 * PAGE]);
	third[0] = 1;
	ASSERT_EQ(0, walk(self->fd, first, &a));
	ASSERT_EQ(0, walk(self->fd, second + 7 * PAGE, &b));
	ASSERT_EQ(0, walk(self->fd, third, &c));
	EXPECT_EQ(a.pfn, b.pfn);
	EXPECT_EQ(a.frame, b.frame);
	EXPECT_EQ(a.object, b.object);
	EXPECT_EQ(77, b.page);
	EXPECT_NE(0, last_level(&a)->flags & VMLAB_WALK_WRITE);
	/* Any descriptor will do for any address, and tells whose it is. */
	EXPECT_NE(a.object, c.object);
	EXPECT_NE(a.pfn, c.pfn);
	EXPECT_EQ(77, c.page);
	munmap((void *)first, PAGE);
	munmap((void *)second, 20 * PAGE);
	munmap((void *)third, PAGE);
	close(other);
}

/* --- memory that is not ours --------------------------------------------- */

static int global_variable = 1;

TEST_F(walk, memory_of_linux)
{
	const size_t huge = 2 * MIB;
	volatile char *anonymous = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *room = mmap(NULL, 4 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	volatile char *aligned = (char *)(((uintptr_t)room + huge - 1) & -huge);
	struct vmlab_ioc_walk w;
	size_t i;

	ASSERT_NE(MAP_FAILED, anonymous);
	ASSERT_NE(MAP_FAILED, (volatile char *)room);
	anonymous[PAGE] = 1;
	EXPECT_EQ(0, anonymous[2 * PAGE]);
	anonymous[3 * PAGE] = 1;
	ASSERT_EQ(0, mprotect((void *)(anonymous + 3 * PAGE), PAGE, PROT_NONE));
	for (i = 0; i < 16; i++) {
		EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, anonymous + i * PAGE, &w));
		EXPECT_EQ(VMLAB_WALK_MAPPED | VMLAB_WALK_FRAMES, w.status);
	}
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, &i, &w));
	EXPECT_NE(0, last_level(&w)->flags & VMLAB_WALK_WRITE);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, &global_variable, &w));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, "a constant", &w));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, (void *)walk_text, &w));
	EXPECT_EQ(0, last_level(&w)->flags & VMLAB_WALK_NOEXEC);

	/* 2 MiB at once, if Linux has them: the PMD names the memory. */
	madvise(room, 4 * huge, MADV_HUGEPAGE);
	for (i = 0; i < 2 * huge; i += PAGE)
		aligned[i] = 1;
	for (i = 0; i < 2 * huge; i += 37 * PAGE)
		EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, aligned + i, &w));
	note("anonymous memory is mapped at level %u", w.nr_levels);
	if (w.nr_levels == VMLAB_WALK_PMD + 1) {
		EXPECT_NE(0, last_level(&w)->flags & VMLAB_WALK_HUGE);
		/* A hole in it: it is taken apart. */
		ASSERT_EQ(0, munmap((void *)(aligned + huge + 5 * PAGE), PAGE));
		for (i = 0; i < 2 * huge; i += 11 * PAGE)
			EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, aligned + i, &w));
		EXPECT_EQ(VMLAB_WALK_LEVELS, w.nr_levels);
	}
	munmap(room, 4 * huge);
	munmap((void *)anonymous, 16 * PAGE);

	/* Nothing is mapped here any more. */
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, aligned, &w));
	EXPECT_EQ(VMLAB_WALK_FRAMES, w.status);
	EXPECT_EQ(VMLAB_WALK_NONE, last_level(&w)->flags);
	ASSERT_EQ(0, walk_at(self->fd, 0, &w));
	EXPECT_EQ(VMLAB_WALK_FRAMES, w.status);
	EXPECT_EQ(VMLAB_WALK_NONE, last_level(&w)->flags);
	EXPECT_LT(w.nr_levels, VMLAB_WALK_LEVELS);
}

static int bring_about_linux(volatile char *page, unsigned int choice)
{
	switch (choice) {
	case 0:
		return 0;
	case 1:
		return page[0] != 0;
	case 2:
		page[0] = 1;
		return madvise((void *)page, PAGE, MADV_DONTNEED);
	case 3:
		page[0] = 1;
		return mprotect((void *)page, PAGE, PROT_READ);
	case 4:
		page[0] = 1;
		return mprotect((void *)page, PAGE, PROT_NONE);
	default:
		page[0] = 1;
		return 0;
	}
}

static int walks_copies(void *arg)
{
	struct shared *s = arg;
	int pagemap = pagemap_open(getpid());
	struct vmlab_ioc_walk w;
	uint64_t i;

	CHECK(pagemap >= 0);
	for (i = 0; i < s->pages; i++) {
		CHECK(!disagreement(s->fd, pagemap, s->map + i * 13 * PAGE, &w));
		if (i % 2 && last_level(&w)->flags & VMLAB_WALK_DIRTY)
			CHECK(try_store(s->map + i * 13 * PAGE, 2) != SIGBUS);
		CHECK(!disagreement(s->fd, pagemap, s->map + i * 13 * PAGE, &w));
	}
	return 0;
}

/* As many of Linux' own pages, private and shared, which pagemap does see. */
TEST_F_TIMEOUT(walk, ten_thousand_pages_of_linux, 120)
{
	const size_t pages = 2 * PAGES;
	unsigned int wrong = 0, mapped = 0, side;
	uint64_t state = seed();
	struct vmlab_ioc_walk w;
	struct shared *s;
	size_t i;

	for (side = 0; side < 2; side++) {
		volatile char *map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
					  (side ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(MAP_FAILED, map);
		ASSERT_EQ(0, madvise((void *)map, pages * PAGE, MADV_NOHUGEPAGE));
		for (i = 0; i < pages; i += 4)
			ASSERT_EQ(0, bring_about_linux(map + i * PAGE, chance(&state) % 8));
		for (i = 0; i < PAGES / 2 && wrong < 10; i++) {
			size_t page = chance(&state) % pages;

			wrong += !!disagreement(self->fd, self->pagemap, map + page * PAGE, &w);
			mapped += w.pfn != 0;
		}
		s = shared_make(self->fd, map, 500);
		EXPECT_EQ(0, child_run(walks_copies, s));
		munmap(s, sizeof(*s));
		munmap((void *)map, pages * PAGE);
	}
	EXPECT_EQ(0, wrong);
	note("%u of %u pages of Linux were mapped", mapped, PAGES);
	EXPECT_GT(mapped, PAGES / 10);
}

/* --- who may see what ---------------------------------------------------- */

struct unprivileged {
	int fd, file;
	volatile char *map;
	struct vmlab_ioc_walk seen;
	pid_t parent;
};

static int look_unprivileged(void *arg)
{
	struct unprivileged *u = arg;
	struct vmlab_ioc_walk w;
	char text[4096];
	unsigned int i;
	int page;

	for (page = 0; page < 4; page++)
		CHECK(try_load(u->map + page * PAGE, NULL) == 0);
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	for (page = 0; page < 5; page++) {
		CHECK(!walk(u->fd, u->map + page * PAGE, &w));
		CHECK(w.status == (VMLAB_WALK_MAPPED | VMLAB_WALK_OURS));
		CHECK(!w.pfn && !w.frame && !w.swap_offset);
		for (i = 0; i < w.nr_levels; i++)
			CHECK(!(w.levels[i].entry & ENTRY_ADDRESS));
		CHECK(!contradicts(&w));
		if (page == 0)
			CHECK(w.slot == u->seen.slot && w.refs == u->seen.refs);
		if (page < 4)
			CHECK(last_level(&w)->entry & 1);
		else
			CHECK(w.slot & VMLAB_WALK_SLOT_SWAP);
	}
	CHECK(!walk(u->fd, &w, &w));
	CHECK(last_level(&w)->flags & VMLAB_WALK_PRESENT);
	CHECK(!(last_level(&w)->entry & ENTRY_ADDRESS) && !w.pfn);
	/* debugfs: not to be opened; a descriptor passed on shows no foreign process. */
	CHECK(open(WALK_FILE, O_RDWR) < 0 && errno == EACCES);
	CHECK(walk_text(u->file, u->parent, (uintptr_t)u->map, text, sizeof(text)) == -EPERM);
	CHECK(!walk_text(u->file, getpid(), (uintptr_t)u->map, text, sizeof(text)));
	CHECK(text_number(text, "object ") == u->seen.object);
	return 0;
}

TEST_F(walk, unprivileged)
{
	volatile char *map = object_map(self->fd, 0, 8);
	struct unprivileged u = {
		.fd = self->fd, .map = map, .parent = getpid(),
		.file = open(WALK_FILE, O_RDWR | O_CLOEXEC),
	};

	ASSERT_GE(u.file, 0);
	pages_fill((void *)map, TAG, 0, 5, 1);
	ASSERT_EQ(1, object_pageout(self->fd, 4, 1));
	ASSERT_EQ(0, walk(self->fd, map, &u.seen));
	EXPECT_EQ(0, child_run(look_unprivileged, &u));
	close(u.file);
	munmap((void *)map, 8 * PAGE);
}

/* --- what is refused ----------------------------------------------------- */

static const uint64_t no_addresses[] = {
	1ULL << 63, ~0ULL, -PAGE, 0xffff888000000000ULL, 0xffffffff81000000ULL,
	0xffffffffff600000ULL /* vsyscall */, 1ULL << 57, 1ULL << 60,
};

TEST_F(walk, bad_addresses_and_structures)
{
	struct {
		struct vmlab_ioc_walk w;
		unsigned char behind[64];
	} big = { 0 };
	struct vmlab_ioc_walk w;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(no_addresses); i++)
		EXPECT_EQ(-EINVAL, walk_at(self->fd, no_addresses[i], &w))
			TH_LOG("%#lx", (unsigned long)no_addresses[i]);
	w = (struct vmlab_ioc_walk) { .size = sizeof(w), .flags = 1 };
	EXPECT_EQ(-1, ioctl(self->fd, VMLAB_IOC_WALK, &w));
	EXPECT_EQ(EINVAL, errno);
	w = (struct vmlab_ioc_walk) { .size = sizeof(w) - 8 };
	EXPECT_EQ(-1, ioctl(self->fd, VMLAB_IOC_WALK, &w));
	EXPECT_EQ(EINVAL, errno);
	w = (struct vmlab_ioc_walk) { .size = 0xffffffff };
	EXPECT_EQ(-1, ioctl(self->fd, VMLAB_IOC_WALK, &w));
	EXPECT_EQ(E2BIG, errno);
	big.w.size = sizeof(big);
	EXPECT_EQ(0, ioctl(self->fd, VMLAB_IOC_WALK, &big));
	EXPECT_EQ(sizeof(big), big.w.size);
	memset(&big, 0, sizeof(big));
	big.w.size = sizeof(big);
	big.behind[63] = 1;
	EXPECT_EQ(-1, ioctl(self->fd, VMLAB_IOC_WALK, &big));
	EXPECT_EQ(E2BIG, errno);
	EXPECT_EQ(-1, ioctl(self->fd, VMLAB_IOC_WALK, NULL));
	EXPECT_EQ(EFAULT, errno);
	/* What the structure held before is no input, and all of it is overwritten. */
	memset(&w, 0xee, sizeof(w));
	w.size = sizeof(w);
	w.flags = 0;
	w.address = (uintptr_t)&w;
	ASSERT_EQ(0, ioctl(self->fd, VMLAB_IOC_WALK, &w));
	EXPECT_EQ(NULL, contradicts(&w));
	EXPECT_EQ(0, w.object + w.page + w.kind + w.node + w.swap_dev + w.swap_offset);
}

/* The answer may be put into the very page that is asked for. */
TEST_F(walk, into_the_page_itself)
{
	struct vmlab_ioc_walk *w = object_map(self->fd, 3, 1);

	w->size = sizeof(*w);
	w->address = (uintptr_t)w;
	ASSERT_EQ(0, ioctl(self->fd, VMLAB_IOC_WALK, w));
	EXPECT_EQ(3, w->page);
	EXPECT_NE(0, w->slot & VMLAB_WALK_SLOT_DIRTY);
	munmap(w, PAGE);
}

static int exits(void *arg)
{
	return 0;
}

TEST_F(walk, bad_queries)
{
	static const char * const none[] = {
		"\n", " ", "abc", "1", "1 ", "\t1\n", "1 2 3", "1 0x", "1 0xzz", "1 -1", "1,2",
		"-1 0x1000", "0 0x1000", "0x1 0x1000", "1.5 2", "99999999999 0x1000",
		"1 0x10000000000000000", "self 0x1000", "1 0x1000 x", "1 7fff00000000",
		"                                                              1 0x1000",
	};
	int file = open(WALK_FILE, O_RDWR | O_CLOEXEC), empty;
	pid_t gone = child_start(exits, NULL);
	char text[4096], query[64];
	siginfo_t info;
	size_t i;

	ASSERT_GE(file, 0);
	/* Nothing was asked yet. */
	ASSERT_GT(read(file, text, sizeof(text) - 1), 0);
	EXPECT_EQ('#', text[0]);
	for (i = 0; i < ARRAY_SIZE(none); i++) {
		EXPECT_EQ(0, walk_text(file, getpid(), (uintptr_t)&i, text, sizeof(text)));
		EXPECT_EQ(-1, write(file, none[i], strlen(none[i])));
		EXPECT_EQ(EINVAL, errno) TH_LOG("'%s'", none[i]);
		/* The answer to the query before must not stand for this one. */
		lseek(file, 0, SEEK_SET);
		memset(text, 0, sizeof(text));
		EXPECT_GT(read(file, text, sizeof(text) - 1), 0);
		EXPECT_EQ('#', text[0]) TH_LOG("'%s'", none[i]);
	}
	EXPECT_EQ(-1, write(file, "1 0x1000\0.", 10));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(file, "", 0));
	EXPECT_EQ(-1, syscall(SYS_write, file, 16, 8));
	EXPECT_EQ(EFAULT, errno);
	for (i = 0; i < ARRAY_SIZE(no_addresses); i++)
		EXPECT_EQ(-EINVAL, walk_text(file, getpid(), no_addresses[i], text, sizeof(text)));
	/* Decimal is an address as well, blanks do not matter. */
	snprintf(query, sizeof(query), "  %d\t  %llu\n", getpid(),
		 (unsigned long long)(uintptr_t)&i);
	EXPECT_EQ(strlen(query), write(file, query, strlen(query)));

	/* No such process; one without memory; one that has ended. */
	EXPECT_EQ(-ESRCH, walk_text(file, 0x3fffffff, 0x1000, text, sizeof(text)));
	EXPECT_EQ(-ESRCH, walk_text(file, 2, 0x1000, text, sizeof(text)));
	ASSERT_EQ(0, waitid(P_PID, gone, &info, WEXITED | WNOWAIT));
	EXPECT_EQ(-ESRCH, walk_text(file, gone, 0x1000, text, sizeof(text)));
	ASSERT_EQ(0, child_wait(gone));
	EXPECT_EQ(-ESRCH, walk_text(file, gone, 0x1000, text, sizeof(text)));
	close(file);

	/* A descriptor for one direction. */
	empty = open(WALK_FILE, O_WRONLY | O_CLOEXEC);
	ASSERT_GE(empty, 0);
	EXPECT_EQ(strlen(query), write(empty, query, strlen(query)));
	close(empty);
}

/* --- the text ------------------------------------------------------------ */

struct name {
	uint32_t flag;
	const char *name;
};

static void put_names(FILE *out, uint32_t flags, const struct name *names)
{
	for (; names->name; names++)
		if (flags & names->flag)
			fprintf(out, " %s", names->name);
}

static void put_bits(FILE *out, uint64_t value, int nr)
{
	while (nr-- > 0)
		fputc('0' + (value >> nr & 1), out);
}

/* The text for an answer of the ioctl, as docs/interface.md says it. */
static void render(const struct vmlab_ioc_walk *w, char *text, size_t size)
{
	static const char * const levels[] = { "PGD", "P4D", "PUD", "PMD", "PTE" };
	static const struct name flags[] = {
		{ VMLAB_WALK_FOLDED, "folded" }, { VMLAB_WALK_NONE, "none" },
		{ VMLAB_WALK_PRESENT, "present" }, { VMLAB_WALK_PROTNONE, "protnone" },
		{ VMLAB_WALK_OTHER, "other" }, { VMLAB_WALK_TABLE, "table" },
		{ VMLAB_WALK_HUGE, "huge" }, { VMLAB_WALK_WRITE, "write" },
		{ VMLAB_WALK_USER, "user" }, { VMLAB_WALK_NOEXEC, "noexec" },
		{ VMLAB_WALK_ACCESSED, "accessed" }, { VMLAB_WALK_DIRTY, "dirty" },
		{ VMLAB_WALK_ZERO_PAGE, "zero_page" }, { VMLAB_WALK_SPECIAL, "special" },
		{ VMLAB_WALK_SOFT_DIRTY, "soft_dirty" }, { VMLAB_WALK_UFFD_WP, "uffd_wp" }, { }
	};
	static const struct name slot[] = {
		{ VMLAB_WALK_SLOT_HOLE, "hole" }, { VMLAB_WALK_SLOT_ZERO, "zero" },
		{ VMLAB_WALK_SLOT_FRAME, "frame" }, { VMLAB_WALK_SLOT_SWAP, "swap" },
		{ VMLAB_WALK_SLOT_LOCKED, "locked" }, { VMLAB_WALK_SLOT_PINNED, "pinned" }, { }
	};
	static const struct name frame[] = {
		{ VMLAB_WALK_SLOT_DIRTY, "dirty" }, { VMLAB_WALK_SLOT_COPY, "copy" },
		{ VMLAB_WALK_SLOT_ACCESSED, "accessed" }, { VMLAB_WALK_SLOT_AHEAD, "ahead" }, { }
	};
	FILE *out = fmemopen(text, size, "w");
	unsigned int i;

	fprintf(out, "walk %d 0x%llx %smapped\n", getpid(), (unsigned long long)w->address,
		w->status & VMLAB_WALK_MAPPED ? "" : "un");
	for (i = 0; i < w->nr_levels; i++) {
		const struct vmlab_walk_level *l = &w->levels[i];

		fprintf(out, "%s", levels[i]);
		if (!(l->flags & VMLAB_WALK_FOLDED)) {
			fprintf(out, "[%3u] bits %2u-%u ", l->index, l->shift + 8, l->shift);
			put_bits(out, w->address >> l->shift, 9);
			fprintf(out, " entry 0x%016llx", (unsigned long long)l->entry);
		}
		put_names(out, l->flags, flags);
		fputc('\n', out);
	}
	fprintf(out, "byte      bits 11-0 ");
	put_bits(out, w->address, 12);
	fprintf(out, " offset 0x%llx\n", (unsigned long long)w->address % PAGE);
	if (w->pfn)
		fprintf(out, "page pfn 0x%llx\n", (unsigned long long)w->pfn);
	if (w->status & VMLAB_WALK_OURS) {
		fprintf(out, "object %llu kind open page %llu\nslot [%3llu] owners %u",
			(unsigned long long)w->object, (unsigned long long)w->page,
			(unsigned long long)w->page % LEAF_PAGES, w->owners);
		put_names(out, w->slot, slot);
	} else {
		fprintf(out, "slot none");
	}
	fputc('\n', out);
	if (w->slot & VMLAB_WALK_SLOT_FRAME) {
		fprintf(out, "frame pfn 0x%llx node %u refs %u", (unsigned long long)w->frame,
			w->node, w->refs);
		put_names(out, w->slot, frame);
		fputc('\n', out);
	}
	if (w->slot & (VMLAB_WALK_SLOT_SWAP | VMLAB_WALK_SLOT_COPY))
		fprintf(out, "swap device %u:%u offset %llu\n", major(w->swap_dev),
			minor(w->swap_dev), (unsigned long long)w->swap_offset);
	fclose(out);
}

TEST_F(walk, text_is_the_ioctl_in_words)
{
	char *map = object_map(self->fd, 600, 8), told[4096], wanted[4096];
	int file = open(WALK_FILE, O_RDWR | O_CLOEXEC);
	volatile char *addresses[] = {
		map, map + PAGE + 5, map + 2 * PAGE + 4095, map + 3 * PAGE, map + 4 * PAGE,
		map + 5 * PAGE, (char *)&file, NULL, (char *)wanted,
	};
	struct vmlab_ioc_walk w, again;
	int tries;
	size_t i;

	ASSERT_GE(file, 0);
	memset(told, 0, sizeof(told));
	memset(wanted, 0, sizeof(wanted));
	pages_fill(map, TAG, 0, 4, 1);
	ASSERT_EQ(2, object_pageout(self->fd, 600, 2));
	EXPECT_EQ(TAG, *(volatile uint64_t *)map);
	ASSERT_EQ(0, object_pin(self->fd, 602, 1));
	ASSERT_EQ(0, pages_not_zero(map + 4 * PAGE, 1));
	ASSERT_EQ(0, mprotect(map + 3 * PAGE, PAGE, PROT_NONE));
	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		/* Until nothing changed meanwhile. */
		for (tries = 0; tries < 1000; tries++) {
			ASSERT_EQ(0, walk(self->fd, addresses[i], &w));
			ASSERT_EQ(0, walk_text(file, getpid(), (uintptr_t)addresses[i], told,
					       sizeof(told)));
			ASSERT_EQ(0, walk(self->fd, addresses[i], &again));
			if (!memcmp(&w, &again, sizeof(w)))
				break;
		}
		render(&w, wanted, sizeof(wanted));
		EXPECT_STREQ(wanted, told);
		if (i < 3)
			fprintf(stderr, "%s", told);
	}
	/* By one read of a byte each the text is the same. */
	ASSERT_EQ(0, lseek(file, 0, SEEK_SET));
	for (i = 0; i < strlen(wanted); i++) {
		char byte;

		ASSERT_EQ(1, read(file, &byte, 1));
		ASSERT_EQ(wanted[i], byte);
	}
	close(file);
	munmap(map, 8 * PAGE);
}

/* --- while everything changes -------------------------------------------- */

#define BUSY_PAGES	96

struct busy {
	int fd;
	char *map;
	char *churn;
	uint64_t seed;
	volatile bool stop;
};

static void *changes(void *arg)
{
	struct busy *b = arg;
	uint64_t state = b->seed;

	while (!b->stop) {
		uint64_t page = chance(&state) % BUSY_PAGES, nr = 1 + chance(&state) % 8;
		char *at = b->map + page * PAGE;

		if (page + nr > BUSY_PAGES)
			nr = BUSY_PAGES - page;
		switch (chance(&state) % 10) {
		case 0:
			object_discard(b->fd, page, nr);
			break;
		case 1:
			object_pageout(b->fd, page, nr);
			break;
		case 2:
			mprotect(at, nr * PAGE, PROT_READ);
			break;
		case 3:
			mprotect(at, nr * PAGE, PROT_READ | PROT_WRITE);
			break;
		case 4:
			object_pin(b->fd, page, 1);
			object_unpin(b->fd, page, 1);
			break;
		case 5:
			object_write_pages(b->fd, TAG, page, 1, 1);
			break;
		case 6:
		case 7:
			(void)*(volatile char *)at;
			break;
		default:
			/* By the kernel: the page may be read-only just now. */
			syscall(SYS_getcwd, at, PAGE);
		}
	}
	return NULL;
}

#define CHURN_BYTES	(8 * MIB)

/* Linux' own memory comes and goes, in small and huge pages, tables and all. */
static void *churns(void *arg)
{
	struct busy *b = arg;
	uint64_t state = b->seed + 1;
	size_t i;

	while (!b->stop) {
		uint64_t choice = chance(&state);
		char *at = mmap(b->churn, CHURN_BYTES, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		if (at == MAP_FAILED)
			die("mmap: %m");
		madvise(at, CHURN_BYTES, choice & 1 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		for (i = 0; i < CHURN_BYTES; i += 61 * PAGE)
			at[i] = 1;
		if (choice & 2)
			madvise(at + 3 * PAGE, MIB, MADV_DONTNEED);
		if (choice & 4)
			munmap(at + 2 * MIB, 2 * MIB);
		munmap(at, CHURN_BYTES);
	}
	return NULL;
}

static int walks_from_outside(void *arg)
{
	struct busy *b = arg;
	int file = open(WALK_FILE, O_RDWR | O_CLOEXEC);
	uint64_t state = b->seed + 2;
	char text[4096];

	CHECK(file >= 0);
	for (;;) {
		uint64_t choice = chance(&state);
		char *at = choice & 1 ? b->churn + choice % CHURN_BYTES :
					b->map + choice % (BUSY_PAGES * PAGE);
		int error = walk_text(file, getppid(), (uintptr_t)at, text, sizeof(text));

		CHECK(!error);
		CHECK(!strncmp(text, "walk ", 5));
	}
	return 0;
}

TEST_F_TIMEOUT(walk, while_everything_changes, 120)
{
	struct busy b = { .fd = self->fd, .seed = seed() };
	uint64_t state = b.seed + 3, walks = 0, locked = 0;
	double until = now() + seconds(6);
	pthread_t threads[3];
	struct vmlab_ioc_walk w;
	const char *wrong;
	pid_t child;
	size_t i;

	b.map = object_map(self->fd, 0, BUSY_PAGES);
	b.churn = mmap(NULL, CHURN_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	ASSERT_NE(MAP_FAILED, b.churn);
	child = child_start(walks_from_outside, &b);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, i < 2 ? changes : churns, &b));
	while (now() < until) {
		for (i = 0; i < 64; i++) {
			uint64_t choice = chance(&state);

			ASSERT_EQ(0, walk(self->fd, b.map + choice % (BUSY_PAGES * PAGE), &w));
			wrong = contradicts(&w);
			EXPECT_EQ(NULL, wrong)
				TH_LOG("%s: flags %#x, slot %#x, pfn %#llx, frame %#llx", wrong,
				       last_level(&w)->flags, w.slot, w.pfn, w.frame);
			locked += !!(w.slot & VMLAB_WALK_SLOT_LOCKED);
			ASSERT_EQ(0, walk(self->fd, b.churn + choice % CHURN_BYTES, &w));
			walks++;
		}
	}
	b.stop = true;
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	note("%lu walks, %lu of a locked slot", (unsigned long)walks, (unsigned long)locked);
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
	munmap(b.map, BUSY_PAGES * PAGE);
	munmap(b.churn, CHURN_BYTES);
}

/* --- copy-on-write ------------------------------------------------------- */

/* NULL: this kernel module has no private mappings. */
static volatile char *map_private(int fd, uint64_t page, size_t pages)
{
	char *map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
			 page * PAGE);

	if (map != MAP_FAILED)
		return map;
	if (errno != EOPNOTSUPP)
		die("mmap(MAP_PRIVATE): %m");
	return NULL;
}

static int breaks_cow(void *arg)
{
	struct shared *s = arg;
	struct vmlab_ioc_walk w;
	int pagemap = pagemap_open(getpid());

	CHECK(pagemap >= 0);
	/* Nothing is mapped in a child until it is touched, but its slot names the frame. */
	CHECK(!disagreement(s->fd, pagemap, s->map, &w));
	CHECK(!(last_level(&w)->flags & NAMES_MEMORY));
	CHECK(w.slot & VMLAB_WALK_SLOT_FRAME);
	CHECK(w.object != s->parent.object && w.page == s->parent.page);
	CHECK(w.owners > 1 || w.refs > 1);
	/* A load: one frame at the same address of both. */
	CHECK(s->map[0] == 1);
	CHECK(!disagreement(s->fd, pagemap, s->map, &s->child));
	s->step = 1;
	CHECK(wait_for_step(s, 2));
	/* A store: two. */
	s->map[0] = 2;
	CHECK(!disagreement(s->fd, pagemap, s->map, &s->child));
	s->step = 3;
	CHECK(wait_for_step(s, 4));
	CHECK(s->map[0] == 2);
	return 0;
}

TEST_F(walk, fork_shows_one_frame_then_two)
{
	volatile char *map = map_private(self->fd, 40, 4);
	struct shared *s;
	pid_t child;

	if (!map)
		SKIP(return, "no private mappings");
	s = shared_make(self->fd, map, 4);
	map[0] = 1;
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &s->parent));
	EXPECT_EQ(1, s->parent.owners);
	EXPECT_EQ(1, s->parent.refs);
	child = child_start(breaks_cow, s);
	ASSERT_TRUE(wait_for_step(s, 1));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &s->parent));
	EXPECT_EQ(s->parent.frame, s->child.frame);
	EXPECT_EQ(s->child.frame, s->child.pfn);
	EXPECT_EQ(0, last_level(&s->parent)->flags & VMLAB_WALK_WRITE);
	EXPECT_EQ(0, last_level(&s->child)->flags & VMLAB_WALK_WRITE);
	s->step = 2;
	ASSERT_TRUE(wait_for_step(s, 3));
	EXPECT_EQ(1, map[0]);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &s->parent));
	EXPECT_EQ(s->parent.frame, s->parent.pfn);
	EXPECT_EQ(s->child.frame, s->child.pfn);
	EXPECT_NE(s->parent.frame, s->child.frame);
	EXPECT_EQ(1, s->parent.refs);
	EXPECT_EQ(1, s->child.refs);
	s->step = 4;
	EXPECT_EQ(0, child_wait(child));
	munmap(s, sizeof(*s));
	munmap((void *)map, 4 * PAGE);
}

TEST_F(walk, snapshot_shows_one_frame_then_two)
{
	volatile char *open = object_map(self->fd, 0, 4), *copy;
	struct vmlab_ioc_snapshot snapshot = { .size = sizeof(snapshot) };
	struct vmlab_ioc_walk mine, theirs;

	open[0] = 1;
	if (ioctl(self->fd, VMLAB_IOC_SNAPSHOT, &snapshot)) {
		ASSERT_EQ(ENOTTY, errno);
		SKIP(return, "no snapshots");
	}
	copy = object_map(snapshot.fd, 0, 4);
	EXPECT_EQ(1, copy[0]);
	EXPECT_EQ(1, open[0]);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, open, &mine));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, copy, &theirs));
	EXPECT_EQ(VMLAB_KIND_OPEN, mine.kind);
	EXPECT_EQ(VMLAB_KIND_SNAPSHOT, theirs.kind);
	EXPECT_EQ(snapshot.id, theirs.object);
	EXPECT_EQ(2, theirs.owners);
	EXPECT_EQ(mine.pfn, theirs.pfn);
	EXPECT_EQ(0, last_level(&mine)->flags & VMLAB_WALK_WRITE);
	open[0] = 2;
	EXPECT_EQ(1, copy[0]);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, open, &mine));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, copy, &theirs));
	EXPECT_EQ(1, mine.owners);
	EXPECT_EQ(1, theirs.owners);
	EXPECT_NE(mine.pfn, theirs.pfn);
	EXPECT_NE(0, last_level(&mine)->flags & VMLAB_WALK_WRITE);
	munmap((void *)copy, 4 * PAGE);
	munmap((void *)open, 4 * PAGE);
	close(snapshot.fd);
}

TEST_F(walk, private_of_a_file_with_content)
{
	volatile char *open = object_map(self->fd, 0, 4), *map;
	struct vmlab_ioc_walk mine, theirs;

	open[0] = 1;
	open[PAGE] = 1;
	map = map_private(self->fd, 0, 4);
	if (!map)
		SKIP(return, "no private mappings");
	EXPECT_EQ(1, map[0]);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &mine));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, open, &theirs));
	EXPECT_NE(mine.object, theirs.object);
	EXPECT_NE(mine.kind, theirs.kind);
	EXPECT_EQ(self->info.id, theirs.object);
	EXPECT_EQ(mine.frame, theirs.frame);
	map[0] = 2;
	EXPECT_EQ(1, open[0]);
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, map, &mine));
	EXPECT_EQ(NULL, disagreement(self->fd, self->pagemap, open, &theirs));
	EXPECT_NE(mine.pfn, theirs.pfn);
	EXPECT_NE(mine.frame, theirs.frame);
	munmap((void *)map, 4 * PAGE);
	munmap((void *)open, 4 * PAGE);
}

TEST_HARNESS_MAIN
