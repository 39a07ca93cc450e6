// SPDX-License-Identifier: GPL-2.0
/*
 * Injected faults: every class of allocation, and I/O, is made to fail.  Who asked gets
 * the right errno or signal; a bystander, whose object is looked at byte by byte, is not
 * harmed; what failed left no trace in the books; and the same works at once when nothing
 * fails any more.  Classes are failed one call after the other through a fixed piece of
 * work, then all of them at random through work at random: SEED= repeats that, SECONDS=
 * sets the time.
 *
 * vmlab-test: timeout=500
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define TAG 0x1e7
#define ALWAYS "random 1000"

static const char * const classes[] = {
	"frame", "huge", "leaf", "table", "xarray", "object", "region", "batch", "swapin",
	"bio", "io", "swapon", "chunk", "policy", "oom", "call", "verify",
};

static const char *swap_disk(void)
{
	return under_pressure() ? pressure_disk() : spare_disk();
}

/* Away with bad slots, which injected write errors leave. */
static void fresh_swap(void)
{
	swap_all_off();
	if (swap_use_only(swap_disk()))
		die("cannot swap to %s: %m", swap_disk());
}

FIXTURE(inject)
{
	struct bystander *other;
	uint64_t used, total;
};

FIXTURE_SETUP(inject)
{
	settle();
	pools_scaled(under_pressure() ? 4 : 8);
	fresh_swap();
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	self->used = used_frames();
	self->total = pool_sum("total");
	/* Under pressure it alone has more than fits. */
	self->other = bystander_start(under_pressure() ? self->total * 9 / 8 : 600);
}

FIXTURE_TEARDOWN(inject)
{
	inject_off();
	EXPECT_VERIFY_OK();
	EXPECT_TRUE(bystander_is_well(self->other));
	EXPECT_TRUE(bystander_stop(self->other));
	/* As empty as before. */
	wait_given_back(self->used, swap_disk());
	EXPECT_EQ(self->used, used_frames());
	EXPECT_EQ(0, swap_field(swap_disk(), "Used"));
	EXPECT_EQ(self->total, pool_sum("total"));
	EXPECT_VERIFY_OK();
	swap_all_off();
	settle();
}

/* What a page of ours holds, if its store worked. */
static bool store_page(char *map, size_t page, uint32_t generation)
{
	char bytes[PAGE];

	page_fill(bytes, TAG, page, generation);
	return !try_copy(map + page * PAGE, bytes, PAGE);
}

static ssize_t write_byte(int fd, size_t page)
{
	return pwrite(fd, "x", 1, page * PAGE) == 1 ? 0 : -errno;
}

static ssize_t read_page(int fd, size_t page, void *to)
{
	memset(to, 0xee, PAGE);
	return pread(fd, to, PAGE, page * PAGE) == (ssize_t)PAGE ? 0 : -errno;
}

TEST_F(inject, knobs)
{
	static const char * const bad[] = {
		"", "on", "nth", "nth 0", "nth x", "nth 1 0", "nth 1 2 3", "nth -1", "random",
		"random 0", "random 1001", "random 5 x", "random 5 6 7", "off 1", "nth1",
	};
	char text[4096], line[64];
	int fd = object_open();
	uint64_t all;
	size_t i;

	ASSERT_GE(fd, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, inject("region", "%s", bad[i])) TH_LOG("'%s'", bad[i]);
	EXPECT_EQ(-EINVAL, inject("region", "nth 1%100s", ""));
	EXPECT_EQ(-ENOENT, inject("nothing", "off"));
	/* The third and fourth of six. */
	all = counter("injected");
	ASSERT_EQ(0, inject("region", "nth 3 2"));
	for (i = 1; i <= 6; i++) {
		void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

		if (i == 3 || i == 4) {
			EXPECT_EQ(MAP_FAILED, map);
			EXPECT_EQ(ENOMEM, errno);
		} else {
			ASSERT_NE(MAP_FAILED, map);
			munmap(map, PAGE);
		}
	}
	ASSERT_GT(debugfs_read("inject/region", text, sizeof(text)), 0);
	EXPECT_STREQ("nth 3 2\nseen 6\ninjected 2\n", text);
	EXPECT_EQ(all + 2, counter("injected"));
	/* What was counted can be read afterwards. */
	ASSERT_EQ(0, inject("region", "off"));
	ASSERT_GT(debugfs_read("inject/region", text, sizeof(text)), 0);
	EXPECT_STREQ("off\nseen 6\ninjected 2\n", text);
	/* `all` sets all and shows all, in this order. */
	ASSERT_EQ(0, inject("all", "nth 1000000"));
	ASSERT_GT(debugfs_read("inject/all", text, sizeof(text)), 0);
	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		snprintf(line, sizeof(line), "%s seen ", classes[i]);
		EXPECT_NE(NULL, strstr(text, line)) TH_LOG("%s", classes[i]);
	}
	for (i = 0, all = 0; text[i]; i++)
		all += text[i] == '\n';
	EXPECT_EQ(ARRAY_SIZE(classes), all);
	EXPECT_EQ(-EINVAL, inject("all", "nonsense"));
	inject_off();
	close(fd);
}

/* Which of 64 calls fail at random. */
static uint64_t drawn(int fd, const char *command)
{
	uint64_t mask = 0;
	int i;

	if (inject("region", "%s", command))
		die("inject region %s: %m", command);
	for (i = 0; i < 64; i++) {
		void *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

		if (map == MAP_FAILED)
			mask |= 1ULL << i;
		else
			munmap(map, PAGE);
	}
	if (inject_seen("region") != 64 || inject_count("region") != __builtin_popcountll(mask))
		die("the knob has counted wrong");
	return mask;
}

TEST_F(inject, the_seed_decides)
{
	int fd = object_open();
	char text[128], *line;
	uint64_t mask;

	ASSERT_GE(fd, 0);
	mask = drawn(fd, "random 300 17");
	EXPECT_EQ(mask, drawn(fd, "random 300 17"));
	EXPECT_NE(mask, drawn(fd, "random 300 18"));
	EXPECT_EQ(~0ULL, drawn(fd, "random 1000 17"));
	/* About a third: that 64 throws give less than 4 or more than 44 is no chance. */
	EXPECT_GE(__builtin_popcountll(mask), 4);
	EXPECT_LE(__builtin_popcountll(mask), 44);
	/* A seed that nobody gave is shown, so that it can be given. */
	mask = drawn(fd, "random 500");
	ASSERT_GT(debugfs_read("inject/region", text, sizeof(text)), 0);
	line = text;
	EXPECT_EQ(mask, drawn(fd, strsep(&line, "\n")));
	close(fd);
}

TEST_F(inject, open_fails)
{
	int fd = object_open(), n;
	char page[PAGE];

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, inject("object", ALWAYS));
	EXPECT_EQ(-ENOMEM, object_open());
	/* Those that are there need none. */
	EXPECT_EQ(0, object_write_pages(fd, TAG, 0, 4, 1));
	EXPECT_EQ(0, read_page(fd, 9, page));
	for (n = 1; n <= 3; n++) {
		ASSERT_EQ(0, inject("object", "nth %d", n));
		EXPECT_EQ(-ENOMEM, object_open());
		EXPECT_EQ(1, inject_count("object"));
	}
	inject_off();
	for (n = 1; n <= 2; n++) {
		ASSERT_EQ(0, inject("xarray", "nth %d", n));
		EXPECT_EQ(-ENOMEM, object_open());
		EXPECT_EQ(1, inject_count("xarray"));
	}
	inject_off();
	n = object_open();
	EXPECT_GE(n, 0);
	close(n);
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, 0, 4, 1));
	close(fd);
}

static int touch_and_fork(void *arg)
{
	char *map = arg;
	pid_t child;

	/* Pieces of a mapping and copies of it share what mmap() made. */
	CHECK(!mprotect(map + PAGE, PAGE, PROT_READ));
	CHECK(!munmap(map + 3 * PAGE, PAGE));
	child = fork();
	CHECK(child >= 0);
	CHECK(page_is(map, TAG, 0, 1) && page_is(map + PAGE, TAG, 1, 1));
	if (!child)
		_exit(0);
	CHECK(!child_wait(child));
	return 0;
}

TEST_F(inject, mmap_fails)
{
	int fd = object_open();
	char *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, 4);
	pages_fill(map, TAG, 0, 4, 1);
	ASSERT_EQ(0, inject("region", ALWAYS));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, child_run(touch_and_fork, map));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 4, 1));
	inject_off();
	munmap(map, 4 * PAGE);
	close(fd);
}

static int store_at(void *arg)
{
	*(volatile char *)arg = 1;
	return 0;
}

static int load_at(void *arg)
{
	return *(volatile char *)arg;
}

/* A child that goes on trying. */
static pid_t start_trying(int (*access)(void *arg), char *at, const char *class)
{
	uint64_t failed = inject_count(class);
	pid_t child = child_start(access, at);

	while (inject_count(class) < failed + 3)
		usleep(1000);
	return child;
}

static void expect_tries_for_ever(struct __test_metadata *_metadata, int (*access)(void *arg),
				  char *at, const char *class)
{
	pid_t child = start_trying(access, at, class);

	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
}

/* It tries until it is killed, and the next until nothing fails any more. */
static void expect_tries(struct __test_metadata *_metadata, int (*access)(void *arg), char *at,
			 const char *class)
{
	pid_t child;

	expect_tries_for_ever(_metadata, access, at, class);
	child = start_trying(access, at, class);
	ASSERT_EQ(0, inject(class, "off"));
	EXPECT_EQ(0, child_wait(child));
	ASSERT_EQ(0, inject(class, ALWAYS));
}

/*
 * No leaf, no entry for one: nothing new in 2 MiB that have none; all else goes on.  It is
 * the machine that has no memory then: an access waits for some, as it does in Linux.
 */
TEST_F_TIMEOUT(inject, leaves_fail, 60)
{
	static const char * const names[] = { "leaf", "xarray" };
	const size_t pages = 6 * LEAF_PAGES;
	int fd = object_open(), zero = open("/dev/zero", O_RDONLY);
	char page[PAGE], *map;
	unsigned char byte;
	size_t i;

	ASSERT_GE(fd, 0);
	ASSERT_GE(zero, 0);
	map = object_map(fd, 0, pages);
	ASSERT_TRUE(store_page(map, 0, 1));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		bool entry = !strcmp(names[i], "xarray");
		size_t free = (1 + i) * LEAF_PAGES, other = (3 + i) * LEAF_PAGES;
		uint64_t sigbus = counter("fault_sigbus");

		/* A few failures nobody notices. */
		ASSERT_EQ(0, inject(names[i], "nth 1 3"));
		EXPECT_TRUE(store_page(map, other, 1));
		EXPECT_EQ(3, inject_count(names[i]));
		ASSERT_EQ(0, object_discard(fd, other, LEAF_PAGES));

		ASSERT_EQ(0, inject(names[i], ALWAYS));
		expect_tries(_metadata, store_at, map + other * PAGE, names[i]);
		ASSERT_EQ(0, object_discard(fd, other, LEAF_PAGES));
		/* A load needs no leaf, but an entry that says that the zero page is mapped. */
		if (entry)
			expect_tries(_metadata, load_at, map + (5 * LEAF_PAGES) * PAGE, names[i]);
		else
			EXPECT_EQ(0, try_load(map + free * PAGE, &byte));
		EXPECT_EQ(sigbus, counter("fault_sigbus"));
		/* A call that copies to such a place cannot try for ever. */
		EXPECT_EQ(-1, read(zero, map + free * PAGE, 10));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(0, read_page(fd, free, page));
		EXPECT_TRUE(page_is_zero(page));
		EXPECT_EQ(-ENOSPC, write_byte(fd, free));
		EXPECT_EQ(-ENOMEM, object_populate(fd, free, 3));
		EXPECT_EQ(-ENOMEM, object_pin(fd, free, 3));
		EXPECT_EQ(0, object_discard(fd, 0, pages));
		EXPECT_EQ(0, object_pageout(fd, free, 512));
		EXPECT_EQ(0, object_count(fd, free, 512, VMLAB_RES_RESIDENT));
		inject_off();
		EXPECT_TRUE(store_page(map, free, 1));
		EXPECT_EQ(0, pages_wrong(map + free * PAGE, TAG, free, 1, 1));
		EXPECT_VERIFY_OK();
		ASSERT_TRUE(store_page(map, 0, 1));
	}
	/* Where there is a leaf, none is needed. */
	ASSERT_EQ(0, inject("leaf", ALWAYS));
	ASSERT_EQ(0, inject("xarray", ALWAYS));
	EXPECT_TRUE(store_page(map, 7, 1));
	EXPECT_EQ(1, object_pageout(fd, 7, 1));
	EXPECT_EQ(0, object_populate(fd, 7, 3));
	EXPECT_EQ(0, pages_wrong(map + 7 * PAGE, TAG, 7, 1, 1));
	EXPECT_EQ(0, inject_count("leaf") + inject_count("xarray"));
	inject_off();
	munmap(map, pages * PAGE);
	close(zero);
	close(fd);
}

/* As Linux has it: who has no page table tries again until there is one, or it is killed. */
TEST_F(inject, page_tables_fail)
{
	int fd = object_open(), zero = open("/dev/zero", O_RDONLY);
	char *map;
	pid_t child;

	ASSERT_GE(fd, 0);
	ASSERT_GE(zero, 0);
	map = object_map(fd, 0, 8 * LEAF_PAGES);
	ASSERT_EQ(0, inject("table", "nth 1 3"));
	EXPECT_TRUE(store_page(map, 0, 1));
	EXPECT_EQ(3, inject_count("table"));
	EXPECT_GE(inject_seen("table"), 4);
	ASSERT_EQ(0, inject("table", ALWAYS));
	/* Where there is a table, none is needed. */
	EXPECT_TRUE(store_page(map, 1, 1));
	/* A call that copies to such a place cannot try for ever. */
	EXPECT_EQ(-1, read(zero, map + 4 * LEAF_BYTES, 10));
	EXPECT_EQ(EFAULT, errno);
	child = child_start(store_at, map + 6 * LEAF_BYTES);
	usleep(200000);
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
	child = child_start(store_at, map + 6 * LEAF_BYTES);
	usleep(100000);
	inject_off();
	EXPECT_EQ(0, child_wait(child));
	EXPECT_EQ(1, map[6 * LEAF_BYTES]);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 2, 1));
	munmap(map, 8 * LEAF_BYTES);
	close(zero);
	close(fd);
}

TEST_F_TIMEOUT(inject, frames_fail, 120)
{
	/* Holes that no run of stores has filled ahead. */
	const size_t pages = 256, hole = pages + 100;
	uint64_t kills = counter("oom_kill");
	int fd = object_open(), node;
	unsigned char byte;
	char page[PAGE], *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, 2 * pages);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_GE(object_pageout(fd, 0, pages / 2), 1);
	/* One node has none: the other has. */
	ASSERT_EQ(0, inject("frame", "nth 1"));
	EXPECT_TRUE(store_page(map, hole, 1));
	EXPECT_EQ(1, inject_count("frame"));
	/* Nobody has any, but not for long. */
	ASSERT_EQ(0, inject("frame", "nth 1 %d", 2 * nr_nodes()));
	EXPECT_TRUE(store_page(map, hole + 1, 1));
	ASSERT_EQ(0, inject("frame", ALWAYS));
	EXPECT_EQ(SIGBUS, try_store(map + (hole + 2) * PAGE, 1));
	EXPECT_EQ(-ENOSPC, write_byte(fd, hole + 2));
	EXPECT_EQ(-ENOMEM, object_populate(fd, hole + 2, 1));
	EXPECT_EQ(-ENOMEM, object_pin(fd, hole + 2, 1));
	/* A hole needs none. */
	EXPECT_EQ(0, try_load(map + (hole + 2) * PAGE, &byte));
	EXPECT_EQ(0, byte);
	/* All that could go has gone to make room: a page on swap cannot come back. */
	EXPECT_EQ(SIGBUS, try_load(map, &byte));
	EXPECT_EQ(SIGBUS, try_store(map, 1));
	EXPECT_EQ(-ENOMEM, read_page(fd, 1, page));
	EXPECT_EQ(-ENOSPC, write_byte(fd, 1));
	EXPECT_EQ(-ENOMEM, object_populate(fd, 2, 1));
	EXPECT_EQ(-ENOMEM, swap_off(swap_disk()));
	EXPECT_TRUE(swap_is_on(swap_disk()));
	EXPECT_EQ(0, object_discard(fd, hole, 1));
	inject_off();
	EXPECT_EQ(kills, counter("oom_kill"));
	for (node = 0; node < nr_nodes(); node++)
		EXPECT_GT(pool_field(node, "free"), 0);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(0, pages_wrong(map + (hole + 1) * PAGE, TAG, hole + 1, 1, 1));
	EXPECT_EQ(0, pages_not_zero(map + (hole + 2) * PAGE, 1));
	munmap(map, 2 * pages * PAGE);
	close(fd);
}

/* With the policy to kill, but no memory to find out whom: who asked gets the error. */
/* The threads that zero and promote in the background, who would ask for chunks too. */
static const char * const background[] = { "zero_chunks", "promote/scan_leaves" };

#define BACKGROUND ARRAY_SIZE(background)

static void background_off(char (*before)[32])
{
	size_t i;

	for (i = 0; i < BACKGROUND; i++)
		if (debugfs_read(background[i], before[i], sizeof(before[i])) < 0 ||
		    debugfs_write(background[i], "0\n"))
			die("debugfs %s: %m", background[i]);
}

static void background_on(char (*before)[32])
{
	size_t i;

	for (i = 0; i < BACKGROUND; i++)
		if (debugfs_write(background[i], "%s", before[i]))
			die("debugfs %s: %m", background[i]);
}

static uint64_t huge_pages(int fd, size_t page)
{
	return object_count(fd, page, LEAF_PAGES, VMLAB_RES_HUGE);
}

/* No chunk, or something else that a huge page takes: 4 KiB then, and each is counted. */
TEST_F_TIMEOUT(inject, huge_pages_fail, 120)
{
	const struct {
		const char *class, *counter;
		int times;
	} reasons[] = {
		{ "huge", "thp_fallback_chunk", 1 },
		/* The frame of the leaf's slots, which may be any node's. */
		{ "frame", "thp_fallback_chunk", nr_nodes() },
		{ "leaf", "thp_fallback_memory", 1 },
		{ "xarray", "thp_fallback_memory", 1 },
	};
	const size_t nr = ARRAY_SIZE(reasons), pages = (nr + 1) * LEAF_PAGES;
	uint64_t allocs = counter("thp_fault_alloc"), fallbacks = counter("thp_fault_fallback");
	uint64_t sigbus = counter("fault_sigbus");
	int fd = object_open(), node;
	unsigned long mb[2] = { 0 };
	char before[BACKGROUND][32], *map;
	size_t i;

	ASSERT_GE(fd, 0);
	ASSERT_LE(nr_nodes(), 2);
	background_off(before);
	for (node = 0; node < nr_nodes(); node++) {
		mb[node] = pool_mb(node);
		ASSERT_EQ(0, pool_resize(node, mb[node] + 16));
	}
	map = object_map(fd, 0, pages);
	ASSERT_EQ(0, madvise(map, pages * PAGE, MADV_HUGEPAGE));
	for (i = 0; i < nr; i++) {
		uint64_t reason = counter(reasons[i].counter);

		ASSERT_EQ(0, inject(reasons[i].class, "nth 1 %d", reasons[i].times));
		EXPECT_TRUE(store_page(map, i * LEAF_PAGES, 1)) TH_LOG("%s", reasons[i].class);
		EXPECT_EQ(reasons[i].times, inject_count(reasons[i].class));
		inject_off();
		EXPECT_EQ(1, counter(reasons[i].counter) - reason) TH_LOG("%s", reasons[i].class);
		EXPECT_EQ(0, huge_pages(fd, i * LEAF_PAGES));
		/* It stays so, and all the rest of it can be had. */
		pages_fill(map + i * LEAF_BYTES, TAG, i * LEAF_PAGES, LEAF_PAGES, 1);
		EXPECT_EQ(0, huge_pages(fd, i * LEAF_PAGES));
		EXPECT_VERIFY_OK();
	}
	EXPECT_EQ(nr, counter("thp_fault_fallback") - fallbacks);
	EXPECT_EQ(allocs, counter("thp_fault_alloc"));
	/* As long as they are there: what is huge needs none of these. */
	EXPECT_TRUE(store_page(map, nr * LEAF_PAGES, 1));
	EXPECT_EQ(LEAF_PAGES, huge_pages(fd, nr * LEAF_PAGES));
	EXPECT_EQ(1, counter("thp_fault_alloc") - allocs);
	ASSERT_EQ(0, inject("all", ALWAYS));
	pages_fill(map + nr * LEAF_BYTES, TAG, nr * LEAF_PAGES, LEAF_PAGES, 1);
	inject_off();
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_EQ(sigbus, counter("fault_sigbus"));
	munmap(map, pages * PAGE);
	close(fd);
	for (node = 0; node < nr_nodes(); node++)
		EXPECT_EQ(0, pool_resize(node, mb[node]));
	background_on(before);
}

static int reserve(int fd, size_t page, size_t pages)
{
	return object_range(fd, VMLAB_IOC_RESERVE, page * PAGE, pages * PAGE, NULL);
}

/* One page of 2 MiB is in use, and whatever fails it stays as it is. */
static void reserve_beside_a_page(struct __test_metadata *_metadata, const char *class,
				  unsigned int n, unsigned int times)
{
	const size_t used = 3 * LEAF_PAGES + 7;
	int fd = object_open(), error;
	uint64_t frames;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, object_write_pages(fd, TAG, used, 1, 1));
	frames = object_frames(fd);
	ASSERT_EQ(0, inject(class, "nth %u %u", n, times));
	error = reserve(fd, 0, 4 * LEAF_PAGES);
	inject_off();
	EXPECT_TRUE(error == -ENOMEM || error == -EBUSY)
		TH_LOG("%s %u: %d", class, n, error);
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, used, 1, 1));
	/* On swap it takes less than before. */
	EXPECT_LE(object_frames(fd), frames);
	EXPECT_EQ(0, object_count(fd, 0, 3 * LEAF_PAGES, VMLAB_RES_RESIDENT));
	close(fd);
}

/* All of the chunks or ENOMEM, and then nothing is left of the attempt. */
static bool reserve_some(struct __test_metadata *_metadata, const char *class, unsigned int n,
			 unsigned int times)
{
	int fd = object_open(), error;
	char *map;
	bool hit;

	EXPECT_GE(fd, 0);
	map = object_map(fd, 0, 3 * LEAF_PAGES);
	/* Zeros are mapped here, and a table is in the way. */
	EXPECT_EQ(0, map[LEAF_BYTES + 5 * PAGE]);
	EXPECT_EQ(0, inject(class, "nth %u %u", n, times));
	error = reserve(fd, 0, 3 * LEAF_PAGES);
	hit = inject_count(class);
	inject_off();
	EXPECT_TRUE(!error || (hit && error == -ENOMEM)) TH_LOG("%s %u: %d", class, n, error);
	EXPECT_EQ(error ? 0 : 3 * LEAF_PAGES,
		  object_count(fd, 0, 3 * LEAF_PAGES, VMLAB_RES_RESERVED));
	EXPECT_EQ(error ? 0 : 3 * (LEAF_PAGES + 1), object_frames(fd)) TH_LOG("%s %u", class, n);
	EXPECT_EQ(0, pages_not_zero(map, 3 * LEAF_PAGES));
	EXPECT_VERIFY_OK();
	/* It can be had at once when nothing fails. */
	EXPECT_EQ(0, reserve(fd, 0, 3 * LEAF_PAGES));
	pages_fill(map, TAG, 0, 3 * LEAF_PAGES, 1);
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, 0, 3 * LEAF_PAGES, 1));
	munmap(map, 3 * LEAF_BYTES);
	close(fd);
	return hit;
}

TEST_F_TIMEOUT(inject, reserving_fails, 200)
{
	/* Calls in a row: of all nodes, and as often as it is tried again, where it is. */
	const struct {
		const char *class;
		unsigned int times, fails;
	} classes[] = {
		{ "huge", 1, 0 }, { "huge", 1000, 1 }, { "frame", 1, 0 }, { "frame", 1000, 1 },
		{ "leaf", 1, 1 }, { "xarray", 1, 1 }, { "call", 1, 1 }, { "table", 1, 0 },
	};
	unsigned long mb[2] = { 0 };
	char before[BACKGROUND][32];
	unsigned int n;
	int node, fd;
	size_t i;

	ASSERT_LE(nr_nodes(), 2);
	background_off(before);
	for (node = 0; node < nr_nodes(); node++) {
		mb[node] = pool_mb(node);
		ASSERT_EQ(0, pool_resize(node, mb[node] + 16));
	}
	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		for (n = 1; reserve_some(_metadata, classes[i].class, n, classes[i].times); n++) {
			reserve_beside_a_page(_metadata, classes[i].class, n, classes[i].times);
			ASSERT_LT(n, 100);
		}
		note("%s: %u calls", classes[i].class, n - 1);
		EXPECT_GE(n, 2) TH_LOG("%s", classes[i].class);
	}
	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		if (!classes[i].fails)
			continue;
		fd = object_open();
		ASSERT_EQ(0, inject(classes[i].class, ALWAYS));
		EXPECT_EQ(-ENOMEM, reserve(fd, 0, LEAF_PAGES)) TH_LOG("%s", classes[i].class);
		inject_off();
		EXPECT_EQ(0, object_frames(fd));
		close(fd);
	}
	for (node = 0; node < nr_nodes(); node++)
		EXPECT_EQ(0, pool_resize(node, mb[node]));
	background_on(before);
}

TEST_F_TIMEOUT(inject, nobody_can_be_chosen, 60)
{
	uint64_t kills = counter("oom_kill");
	int fd = object_open();
	char *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, 8);
	ASSERT_EQ(0, debugfs_write("oom", "kill\n"));
	ASSERT_EQ(0, inject("oom", ALWAYS));
	ASSERT_EQ(0, inject("frame", ALWAYS));
	EXPECT_EQ(SIGBUS, try_store(map, 1));
	EXPECT_GE(inject_count("oom"), 1);
	inject_off();
	EXPECT_EQ(kills, counter("oom_kill"));
	EXPECT_TRUE(store_page(map, 0, 1));
	munmap(map, 8 * PAGE);
	close(fd);
}

TEST_F_TIMEOUT(inject, reads_and_writes_fail, 60)
{
	const size_t pages = 128;
	uint64_t written = counter("swap_write_error"), read = counter("swap_read_error");
	struct vmlab_ioc_info info;
	int fd = object_open();
	char page[PAGE], *map;
	unsigned char byte;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	/* Pinned, so that under pressure nobody but us moves them. */
	ASSERT_EQ(0, object_pin(fd, 0, pages));
	ASSERT_EQ(0, inject("io", ALWAYS));
	ASSERT_EQ(0, object_unpin(fd, 0, pages));
	EXPECT_EQ(0, object_pageout(fd, 0, pages));
	EXPECT_GE(counter("swap_write_error"), written + pages);
	EXPECT_EQ(0, object_pin(fd, 0, pages));
	inject_off();
	ASSERT_EQ(0, object_info(fd, &info));
	EXPECT_EQ(pages, info.resident_pages);
	EXPECT_EQ(pages, info.dirty_pages);
	/* Not one was taken: so it is no single slot's fault. */
	EXPECT_EQ(0, swap_field(swap_disk(), "Bad"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));

	ASSERT_EQ(0, object_unpin(fd, 0, pages));
	/* The device is tried again some times a second. */
	usleep(200000);
	ASSERT_GE(object_pageout(fd, 0, pages), 1);
	ASSERT_EQ(0, object_count(fd, 0, pages, VMLAB_RES_RESIDENT));
	ASSERT_EQ(0, inject("io", ALWAYS));
	EXPECT_EQ(SIGBUS, try_load(map, &byte));
	EXPECT_EQ(SIGBUS, try_store(map + PAGE, 1));
	EXPECT_EQ(-EIO, read_page(fd, 2, page));
	EXPECT_EQ(-EIO, write_byte(fd, 3));
	EXPECT_EQ(-EIO, object_populate(fd, 4, 2));
	EXPECT_EQ(-EIO, object_pin(fd, 6, 2));
	EXPECT_GE(counter("swap_read_error"), read + 6);
	inject_off();
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
	close(fd);
	EXPECT_EQ(0, inject("io", ALWAYS));
	EXPECT_EQ(-EIO, swap_on(under_pressure() ? spare_disk() : pressure_disk()));
	inject_off();
}

/* A read that was done and fails all the same: swapoff leaves the device on. */
TEST_F_TIMEOUT(inject, swapoff_fails, 60)
{
	const size_t pages = 200;
	int fd = object_open(), n;
	char *map;

	ASSERT_GE(fd, 0);
	/* The bystander's pages would need the room of ours, and more. */
	if (under_pressure())
		ASSERT_EQ(0, swap_format(spare_disk()) ?: swap_on_priority(spare_disk(), 0));
	map = object_map(fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_GE(object_pageout(fd, 0, pages), 1);
	ASSERT_EQ(0, inject("io", "nth 1 1000000"));
	EXPECT_EQ(-EIO, swap_off(swap_disk()));
	inject_off();
	ASSERT_EQ(0, inject("swapon", "nth 1"));
	EXPECT_EQ(-ENOMEM, swap_off(swap_disk()));
	EXPECT_TRUE(swap_is_on(swap_disk()));
	EXPECT_VERIFY_OK();
	inject_off();
	ASSERT_EQ(0, swap_off(swap_disk()));
	EXPECT_FALSE(swap_is_on(swap_disk()));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* On again: each of its allocations in turn. */
	ASSERT_EQ(0, swap_format(swap_disk()));
	for (n = 1; n < 50; n++) {
		int error;

		ASSERT_EQ(0, inject("swapon", "nth %d", n));
		error = swap_on(swap_disk());
		if (!inject_count("swapon")) {
			EXPECT_EQ(0, error);
			break;
		}
		ASSERT_EQ(-ENOMEM, error);
		ASSERT_FALSE(swap_is_on(swap_disk()));
	}
	EXPECT_GE(n, 5);
	EXPECT_LT(n, 50);
	inject_off();
	if (under_pressure())
		EXPECT_EQ(0, swap_off(spare_disk()));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
	close(fd);
}

/* What has a reserve, or another way, does its work without. */
TEST_F_TIMEOUT(inject, reserves_suffice, 120)
{
	static const char * const names[] = { "batch", "swapin", "bio" };
	const size_t pages = 200;
	int fd = object_open();
	char *map;
	size_t i;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, pages);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		uint64_t bios = counter("swap_out_bio");

		pages_fill(map, TAG, 0, pages, i);
		ASSERT_EQ(0, inject(names[i], ALWAYS));
		EXPECT_GE(object_pageout(fd, 0, pages), 1);
		EXPECT_EQ(0, object_count(fd, 0, pages, VMLAB_RES_RESIDENT));
		EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, i));
		EXPECT_EQ(0, object_wrong_pages(fd, TAG, 0, pages, i));
		EXPECT_GE(inject_count(names[i]), 1) TH_LOG("%s", names[i]);
		/* Without bios for runs, there is one for each page. */
		if (!strcmp(names[i], "bio") && !under_pressure())
			EXPECT_EQ(bios + pages, counter("swap_out_bio"));
		inject_off();
		EXPECT_VERIFY_OK();
	}
	munmap(map, pages * PAGE);
	close(fd);
}

TEST_F_TIMEOUT(inject, resize_fails, 60)
{
	unsigned long mb = pool_mb(0);
	int fd = object_open(), n, error;
	char *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, 100);
	pages_fill(map, TAG, 0, 100, 1);
	ASSERT_EQ(0, inject("chunk", ALWAYS));
	EXPECT_EQ(-ENOMEM, pool_resize(0, mb + 4));
	EXPECT_EQ(mb, pool_mb(0));
	/* In pieces, when none of 2 MiB is to be had. */
	for (n = 1; n < 20; n++) {
		ASSERT_EQ(0, inject("chunk", "nth %d", n));
		error = pool_resize(0, mb + 4);
		EXPECT_TRUE(!error || error == -ENOMEM);
		EXPECT_EQ(!error, pool_mb(0) == mb + 4);
		EXPECT_VERIFY_OK();
		inject_off();
		ASSERT_EQ(0, pool_resize(0, mb));
		if (!inject_count("chunk"))
			break;
	}
	EXPECT_LT(n, 20);
	/* A chunk that cannot be emptied stays; that it can be means that all went to swap. */
	ASSERT_EQ(0, object_pin(fd, 0, 100));
	ASSERT_EQ(0, inject("frame", ALWAYS));
	error = pool_resize(0, 2);
	EXPECT_TRUE(!error || error == -ENOSPC);
	inject_off();
	ASSERT_EQ(0, pool_resize(0, mb));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 100, 1));
	munmap(map, 100 * PAGE);
	close(fd);
}

TEST_F(inject, policies_fail)
{
	int fd = object_open(), n, error = -1;
	char text[128], *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, 100);
	pages_fill(map, TAG, 0, 100, 1);
	ASSERT_EQ(0, inject("policy", ALWAYS));
	EXPECT_EQ(-ENOMEM, debugfs_write("policy", "fifo\n"));
	for (n = 1; n < 10 && error; n++) {
		ASSERT_EQ(0, inject("policy", "nth %d", n));
		error = debugfs_write("policy", "fifo\n");
		ASSERT_GT(debugfs_read("policy", text, sizeof(text)), 0);
		EXPECT_NE(NULL, strstr(text, error ? "[clock]" : "[fifo]"));
		EXPECT_EQ(error ? 1 : 0, inject_count("policy"));
		EXPECT_EQ(error ? -ENOMEM : 0, error);
		EXPECT_VERIFY_OK();
	}
	EXPECT_EQ(nr_nodes() + 2, n);
	inject_off();
	EXPECT_GE(object_pageout(fd, 0, 100), 1);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 100, 1));
	EXPECT_EQ(0, debugfs_write("policy", "clock\n"));
	munmap(map, 100 * PAGE);
	close(fd);
}

TEST_F(inject, calls_fail)
{
	char text[8192], *buffer;
	int fd = object_open(), n;
	uint64_t moved, nodes;
	uint32_t vec[8];

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, object_write_pages(fd, TAG, 0, 8, 1));
	/* A buffer that is not there yet needs a page in between. */
	buffer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, inject("call", ALWAYS));
	EXPECT_EQ(-1, pread(fd, buffer, PAGE, 0));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-ENOMEM, object_residency(fd, 0, 8, vec));
	/* Policies stay as they were, and pages where they were. */
	EXPECT_EQ(-ENOMEM, object_policy(fd, 0, 8, VMLAB_MPOL_INTERLEAVE, pool_nodes()));
	EXPECT_EQ(-ENOMEM, object_migrate(fd, 0, 8, pool_nodes(), &moved));
	EXPECT_EQ(0, moved);
	EXPECT_EQ(VMLAB_MPOL_DEFAULT, object_policy_at(fd, 0, &nodes, NULL));
	/* One that is there needs none. */
	memset(buffer, 0, PAGE);
	EXPECT_EQ(PAGE, pread(fd, buffer, PAGE, PAGE));
	EXPECT_TRUE(page_is(buffer, TAG, 1, 1));
	inject_off();
	munmap(buffer, PAGE);
	for (n = 1; n < 50; n++) {
		ASSERT_EQ(0, inject("verify", "nth %d", n));
		if (debugfs_read("verify", text, sizeof(text)) > 0)
			break;
	}
	EXPECT_EQ(0, inject_count("verify"));
	EXPECT_GE(n, 4);
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, 0, 8, 1));
	close(fd);
}

static int is_broken_everywhere(void *arg)
{
	char *map = arg;
	int page;

	for (page = 0; page < 4; page++)
		CHECK(try_load(map + page * PAGE, NULL) == SIGBUS);
	return 0;
}

static int has_all_four(void *map)
{
	CHECK(!pages_wrong(map, TAG, 0, 4, 1));
	return 0;
}

/* Frames for MIGRATE: what has none stays, whole, and the next attempt moves it. */
TEST_F(inject, migrating_fails)
{
	uint64_t nodes = pool_nodes(), moved = 0, all = 0;
	int fd = object_open(), tries, error, from = nth_node(nodes, 0), to = nth_node(nodes, 1);
	char *map = object_map(fd, 0, 600);

	if (from == to)
		SKIP(return, "there is one node with a pool");
	ASSERT_EQ(0, object_policy(fd, 0, 600, VMLAB_MPOL_BIND, 1ULL << from));
	pages_fill(map, TAG, 0, 600, 1);
	/* What goes to swap meanwhile comes back there. */
	ASSERT_EQ(0, object_policy(fd, 0, 600, VMLAB_MPOL_PREFERRED, 1ULL << to));
	for (tries = 1; tries < 200 && pages_on(fd, map, 600, 1ULL << from); tries++) {
		ASSERT_EQ(0, inject("frame", "random 500 %d", tries));	/* a seed each time */
		error = object_migrate(fd, 0, 600, 1ULL << to, &moved);
		inject_off();
		EXPECT_TRUE(!error || error == -ENOMEM || error == -EBUSY);
		all += moved;
		EXPECT_EQ(0, pages_wrong(map, TAG, 0, 600, 1));
	}
	note("%d attempts", tries - 1);
	EXPECT_EQ(0, pages_on(fd, map, 600, 1ULL << from));
	if (!under_pressure())
		EXPECT_EQ(600, all);
	munmap(map, 600 * PAGE);
	close(fd);
}

/* A child that was to have its parent's policies, and had no memory for them, has nothing. */
TEST_F(inject, policies_of_a_fork_fail)
{
	int fd = object_open();
	char *map = object_map_private(fd, 0, 4);

	pages_fill(map, TAG, 0, 4, 1);
	ASSERT_EQ(0, range_policy(map, 4, VMLAB_MPOL_INTERLEAVE, pool_nodes()));
	ASSERT_EQ(0, inject("call", ALWAYS));
	EXPECT_EQ(0, child_run(is_broken_everywhere, map));
	inject_off();
	EXPECT_EQ(0, child_run(has_all_four, map));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 4, 1));
	munmap(map, 4 * PAGE);
	close(fd);
}

/* --- what copies share --- */

/* How many objects there are. */
static int nr_objects(void)
{
	char text[65536], *at = text;
	int lines = 0;

	if (debugfs_read("objects", text, sizeof(text)) < 0)
		die("debugfs objects: %m");
	while ((at = strchr(at, '\n'))) {
		at++;
		lines++;
	}
	return lines;
}

/*
 * 2 MiB and a bit, some of it on swap; holes; and some pages more than 128 MiB further on.  Of
 * the leaves that a copy is to have, 64 are taken together, so that there are two such groups.
 */
#define NEAR_PAGES (LEAF_PAGES + 88)
#define FAR_FIRST (70 * LEAF_PAGES)
#define FAR_PAGES 40
#define SHARED_PAGES (FAR_FIRST + FAR_PAGES)
#define GROUPS 2

static void shared_fill(char *map, uint32_t generation)
{
	pages_fill(map, TAG, 0, NEAR_PAGES, generation);
	pages_fill(map + FAR_FIRST * PAGE, TAG, FAR_FIRST, FAR_PAGES, generation);
}

static uint64_t shared_wrong(const char *map, uint32_t generation)
{
	return pages_wrong(map, TAG, 0, NEAR_PAGES, generation) +
	       pages_wrong(map + FAR_FIRST * PAGE, TAG, FAR_FIRST, FAR_PAGES, generation);
}

static uint64_t shared_wrong_by_read(int fd, uint32_t generation)
{
	return object_wrong_pages(fd, TAG, 0, NEAR_PAGES, generation) +
	       object_wrong_pages(fd, TAG, FAR_FIRST, FAR_PAGES, generation);
}

static char *fill_private(int fd)
{
	char *map = object_map_private(fd, 0, SHARED_PAGES);

	shared_fill(map, 1);
	if (address_range(fd, VMLAB_IOC_PAGEOUT, map, NEAR_PAGES / 3, NULL))
		die("PAGEOUT: %m");
	return map;
}

/* A mapping that a fork had no memory for: SIGBUS wherever it is touched, and no harm else. */
static int is_broken(void *arg)
{
	char *map = arg, byte, page[PAGE];
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	uint32_t vec[1];
	pid_t child;

	CHECK(fd >= 0);
	CHECK(try_load(map, (unsigned char *)&byte) == SIGBUS);
	CHECK(try_store(map + PAGE, 1) == SIGBUS);
	CHECK(try_load(map + LEAF_BYTES, (unsigned char *)&byte) == SIGBUS);
	CHECK(pread(fd, page, PAGE, (uintptr_t)map + 2 * PAGE) == -1 && errno == EIO);
	CHECK(pwrite(fd, page, PAGE, (uintptr_t)map + 2 * PAGE) == -1 && errno == EIO);
	CHECK(write(fd, map + PAGE, 1) == -1);
	close(fd);
	fd = object_open();
	if (fd >= 0)
		CHECK(address_residency(fd, map, 1, vec));
	/* It can be cut, moved, protected, forked and unmapped. */
	CHECK(!mprotect(map + 3 * PAGE, 2 * PAGE, PROT_READ));
	CHECK(!munmap(map + 8 * PAGE, PAGE));
	CHECK(try_load(map + 3 * PAGE, (unsigned char *)&byte) == SIGBUS);
	child = fork();
	CHECK(child >= 0);
	if (!child)
		_exit(try_load(map, (unsigned char *)&byte) == SIGBUS ? 0 : 1);
	CHECK(!child_wait(child));
	CHECK(!munmap(map, 8 * PAGE));
	return 0;
}

static int is_whole(void *map)
{
	CHECK(!shared_wrong(map, 1));
	shared_fill(map, 2);
	CHECK(!shared_wrong(map, 2));
	return 0;
}

/* The child stops itself, so that it looks when nothing fails any more. */
struct fork_then {
	int (*look)(void *map);
	void *map;
};

static int stop_and_look(void *arg)
{
	struct fork_then *then = arg;

	raise(SIGSTOP);
	return then->look(then->map);
}

static pid_t fork_and_stop(int (*look)(void *map), void *map)
{
	struct fork_then then = { look, map };
	pid_t child = child_start(stop_and_look, &then);
	int status;

	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		die("the child did not stop");
	return child;
}

/* Each allocation of a fork in turn: its child is without the mapping, nobody else is harmed. */
TEST_F_TIMEOUT(inject, forks_fail, 120)
{
	static const char * const names[] = { "object", "xarray", "region" };
	int fd = object_open(), objects, n;
	uint64_t broken, sigbus;
	pid_t child;
	char *map;
	size_t i;

	ASSERT_GE(fd, 0);
	map = fill_private(fd);
	objects = nr_objects();
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		for (n = 1;; n++) {
			broken = counter("fork_broken");
			sigbus = counter("fault_sigbus");
			ASSERT_EQ(0, inject(names[i], "nth %d", n));
			child = fork_and_stop(is_broken, map);
			if (!inject_count(names[i]))
				break;
			EXPECT_EQ(1, inject_count(names[i]));
			inject_off();
			EXPECT_EQ(broken + 1, counter("fork_broken")) TH_LOG("%s", names[i]);
			kill(child, SIGCONT);
			EXPECT_EQ(0, child_wait(child)) TH_LOG("%s %d", names[i], n);
			/* Three of it, one after mprotect(), one of its own child. */
			EXPECT_LE(sigbus + 5, counter("fault_sigbus"));
			EXPECT_EQ(objects, nr_objects());
			EXPECT_EQ(0, shared_wrong(map, 1));
			EXPECT_VERIFY_OK();
		}
		/* The first that does not fail is whole. */
		EXPECT_EQ(broken, counter("fork_broken"));
		kill(child, SIGKILL);
		EXPECT_EQ(BY_SIGNAL(SIGKILL), child_wait(child));
		inject_off();
		/* The object's number, and a node of the table for each group of leaves. */
		EXPECT_EQ(strcmp(names[i], "xarray") ? 2 : 2 + GROUPS, n) TH_LOG("%s", names[i]);
		child = fork_and_stop(is_whole, map);
		kill(child, SIGCONT);
		EXPECT_EQ(0, child_wait(child));
	}
	EXPECT_EQ(0, shared_wrong(map, 1));
	shared_fill(map, 3);
	EXPECT_EQ(0, shared_wrong(map, 3));
	munmap(map, SHARED_PAGES * PAGE);
	close(fd);
}

static int is_half_broken(void *arg)
{
	char *map = arg;
	unsigned char byte;

	/* The first piece was made, the second was not. */
	CHECK(!pages_wrong(map, TAG, 0, 10, 1));
	CHECK(try_load(map + 10 * PAGE, &byte) == SIGBUS);
	CHECK(try_load(map + 19 * PAGE, &byte) == SIGBUS);
	CHECK(!pages_wrong(map + 20 * PAGE, TAG, 20, NEAR_PAGES - 20, 1));
	CHECK(store_page(map, 0, 5) && page_is(map, TAG, 0, 5));
	return 0;
}

/* Of a mapping in pieces, each piece for itself. */
TEST_F_TIMEOUT(inject, a_piece_of_a_fork_fails, 60)
{
	int fd = object_open();
	pid_t child;
	char *map;

	ASSERT_GE(fd, 0);
	map = fill_private(fd);
	ASSERT_EQ(0, mprotect(map + 10 * PAGE, 10 * PAGE, PROT_READ));
	ASSERT_EQ(0, inject("region", "nth 2"));
	child = fork_and_stop(is_half_broken, map);
	EXPECT_EQ(1, inject_count("region"));
	inject_off();
	kill(child, SIGCONT);
	EXPECT_EQ(0, child_wait(child));
	EXPECT_EQ(0, shared_wrong(map, 1));
	munmap(map, SHARED_PAGES * PAGE);
	close(fd);
}

/* A snapshot or a private mapping is all there or not at all. */
TEST_F_TIMEOUT(inject, copies_fail, 120)
{
	static const char * const names[] = { "object", "xarray", "region" };
	int fd = object_open(), objects, n, copy, snapshots, mappings;
	size_t i;
	char *map;
	void *at;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, SHARED_PAGES);
	shared_fill(map, 1);
	ASSERT_GE(object_pageout(fd, 0, NEAR_PAGES / 3), 1);
	objects = nr_objects();
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		for (n = 1, snapshots = 0; !snapshots; n++) {
			ASSERT_EQ(0, inject(names[i], "nth %d", n));
			copy = object_snapshot(fd, 0);
			snapshots = !inject_count(names[i]);
			inject_off();
			if (snapshots) {
				ASSERT_GE(copy, 0);
				EXPECT_EQ(0, shared_wrong_by_read(copy, 1));
				close(copy);
			} else {
				EXPECT_EQ(-ENOMEM, copy) TH_LOG("%s %d", names[i], n);
			}
			EXPECT_EQ(objects, nr_objects());
			EXPECT_EQ(0, shared_wrong(map, 1));
			EXPECT_VERIFY_OK();
		}
		/* A snapshot needs an object, a number, nodes for its leaves, and no region. */
		EXPECT_EQ(!strcmp(names[i], "xarray") ? 3 + GROUPS :
			  strcmp(names[i], "region") ? 3 : 2, n);
		for (n = 1, mappings = 0; !mappings; n++) {
			ASSERT_EQ(0, inject(names[i], "nth %d", n));
			at = mmap(NULL, SHARED_PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
			mappings = at != MAP_FAILED;
			if (!mappings)
				EXPECT_EQ(ENOMEM, errno);
			EXPECT_EQ(!mappings, inject_count(names[i]));
			inject_off();
			if (mappings) {
				EXPECT_EQ(0, shared_wrong(at, 1));
				munmap(at, SHARED_PAGES * PAGE);
			}
			EXPECT_EQ(objects, nr_objects());
			EXPECT_EQ(0, shared_wrong(map, 1));
			EXPECT_VERIFY_OK();
		}
		EXPECT_EQ(strcmp(names[i], "xarray") ? 3 : 3 + GROUPS, n) TH_LOG("%s", names[i]);
	}
	/* The object is its own again: nothing must be copied. */
	shared_fill(map, 2);
	EXPECT_EQ(0, shared_wrong(map, 2));
	munmap(map, SHARED_PAGES * PAGE);
	close(fd);
}

/* Every way to change a page that needs memory for it; none gets any. */
static void change_fails(struct __test_metadata *_metadata, int fd, char *map, size_t page,
			 const char *class)
{
	uint64_t copied = counter("cow_copy"), unshared = counter("unshare");

	/* Of frames the pool has none; a leaf's descriptor is the machine's memory. */
	if (!strcmp(class, "leaf"))
		expect_tries_for_ever(_metadata, store_at, map + page * PAGE, class);
	else
		EXPECT_EQ(SIGBUS, try_store(map + page * PAGE, 1));
	EXPECT_EQ(-ENOSPC, write_byte(fd, page));
	EXPECT_EQ(-ENOMEM, object_pin(fd, page, 1));
	EXPECT_EQ(copied, counter("cow_copy"));
	EXPECT_EQ(unshared, counter("unshare"));
}

TEST_F_TIMEOUT(inject, unsharing_fails, 120)
{
	static const char * const names[] = { "leaf", "frame" };
	const size_t pages = 200;
	uint64_t unshared;
	int fd, copy;
	size_t i;
	char *map;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		fd = object_open();
		ASSERT_GE(fd, 0);
		map = object_map(fd, 0, pages);
		pages_fill(map, TAG, 0, pages, 1);
		copy = object_snapshot(fd, 0);
		ASSERT_GE(copy, 0);
		ASSERT_EQ(0, inject(names[i], ALWAYS));
		change_fails(_metadata, fd, map, 7, names[i]);
		EXPECT_EQ(-ENOSPC, write_byte(copy, 7));
		/* A part of 2 MiB that others have too cannot be given up without a leaf. */
		EXPECT_EQ(-ENOMEM, object_discard(fd, 5, 10));
		inject_off();
		EXPECT_VERIFY_OK();
		EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1)) TH_LOG("%s", names[i]);
		EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, pages, 1)) TH_LOG("%s", names[i]);
		/* And now it works, once, for the one who asks. */
		unshared = counter("unshare");
		EXPECT_TRUE(store_page(map, 7, 2));
		EXPECT_TRUE(store_page(map, 8, 2));
		EXPECT_LE(unshared + 1, counter("unshare"));
		EXPECT_EQ(0, pages_wrong(map + 7 * PAGE, TAG, 7, 2, 2));
		EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, pages, 1)) TH_LOG("%s", names[i]);
		close(copy);
		munmap(map, pages * PAGE);
		close(fd);
	}
}

/* The leaf is its own, the page is not: a copy of the page, for which there is no frame. */
TEST_F_TIMEOUT(inject, copying_fails, 60)
{
	const size_t pages = 200;
	int fd = object_open(), copy;
	char *map;

	ASSERT_GE(fd, 0);
	map = object_map(fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	copy = object_snapshot(fd, 0);
	ASSERT_GE(copy, 0);
	ASSERT_TRUE(store_page(map, 0, 2));
	ASSERT_EQ(0, inject("frame", ALWAYS));
	change_fails(_metadata, fd, map, 7, "frame");
	/* To give up one's part of it needs none. */
	EXPECT_EQ(0, object_discard(fd, 5, 1));
	inject_off();
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, pages_not_zero(map + 5 * PAGE, 1));
	EXPECT_EQ(0, pages_wrong(map + 6 * PAGE, TAG, 6, pages - 6, 1));
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, pages, 1));
	EXPECT_TRUE(store_page(map, 7, 2));
	EXPECT_EQ(0, pages_wrong(map + 7 * PAGE, TAG, 7, 1, 2));
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, pages, 1));
	/* Not for the first time it is tried, but at once when it is tried again. */
	ASSERT_EQ(0, inject("frame", "nth 1 %d", 2 * nr_nodes()));
	EXPECT_TRUE(store_page(map, 9, 2));
	EXPECT_GE(inject_count("frame"), 1);
	inject_off();
	EXPECT_EQ(0, pages_wrong(map + 9 * PAGE, TAG, 9, 1, 2));
	EXPECT_EQ(0, object_wrong_pages(copy, TAG, 0, pages, 1));
	close(copy);
	munmap(map, pages * PAGE);
	close(fd);
}

/* A process that has the same private mapping, and looks at a page when it is told to. */
struct kin {
	pid_t pid;
	int ask, answer;
};

static int look_when_told(char *map, int ask, int answer)
{
	uint32_t page;
	char bytes[PAGE];
	int result;

	while (read(ask, &page, sizeof(page)) == sizeof(page)) {
		result = try_copy(bytes, map + page * PAGE, PAGE);
		if (!result && !page_is(bytes, TAG, page, 1))
			result = -1;
		CHECK(write(answer, &result, sizeof(result)) == sizeof(result));
	}
	return 0;
}

static void kin_start(struct kin *kin, int nr, char *map)
{
	int i, j, ask[2], answer[2];

	for (i = 0; i < nr; i++) {
		if (pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
			die("no pipe: %m");
		kin[i].pid = fork();
		if (kin[i].pid < 0)
			die("no child: %m");
		if (!kin[i].pid) {
			/* Each must see its own parent's end only. */
			for (j = 0; j < i; j++)
				close(kin[j].ask);
			close(ask[1]);
			_exit(look_when_told(map, ask[0], answer[1]));
		}
		close(ask[0]);
		close(answer[1]);
		kin[i].ask = ask[1];
		kin[i].answer = answer[0];
	}
}

static void kin_tell(struct kin *kin, uint32_t page)
{
	if (write(kin->ask, &page, sizeof(page)) != sizeof(page))
		die("a child is gone");
}

/* 0: it saw the right bytes; -1: wrong ones; or the signal. */
static int kin_result(struct kin *kin)
{
	int result;

	if (read(kin->answer, &result, sizeof(result)) != sizeof(result))
		die("a child is gone");
	return result;
}

static int kin_look(struct kin *kin, uint32_t page)
{
	kin_tell(kin, page);
	return kin_result(kin);
}

static bool kin_stop(struct kin *kin)
{
	close(kin->ask);
	close(kin->answer);
	return !child_wait(kin->pid);
}

/* A page on swap that five have: who reads it and fails gets SIGBUS, the others lose nothing. */
TEST_F_TIMEOUT(inject, reads_of_shared_pages_fail, 120)
{
	const size_t pages = 64;
	int fd = object_open(), i, result, failed, seen;
	uint64_t errors, state = seed();
	struct kin kin[4];
	uint32_t page;
	char *map;

	ASSERT_GE(fd, 0);
	map = object_map_private(fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	kin_start(kin, 4, map);
	/* Half of them have a leaf of their own by now. */
	EXPECT_EQ(0, kin_look(&kin[0], 1));
	ASSERT_EQ(0, address_range(fd, VMLAB_IOC_PAGEOUT, map, pages, NULL));

	/* One after the other, all fail. */
	errors = counter("swap_read_error");
	ASSERT_EQ(0, inject("io", ALWAYS));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(SIGBUS, kin_look(&kin[i], 3));
	EXPECT_EQ(SIGBUS, try_store(map + 3 * PAGE, 1));
	EXPECT_LE(errors + 5, counter("swap_read_error"));
	inject_off();
	EXPECT_VERIFY_OK();
	/* One fails, as often as it is tried for it; the next does not, and reads it for all. */
	for (page = 8; page < 16; page++) {
		ASSERT_EQ(0, inject("io", ALWAYS));
		EXPECT_EQ(SIGBUS, kin_look(&kin[page % 4], page));
		inject_off();
		for (i = 0; i < 4; i++)
			EXPECT_EQ(0, kin_look(&kin[(page + 1 + i) % 4], page));
	}
	/*
	 * All at once, so many reads fail, and tries again: each gets the right bytes or SIGBUS,
	 * and does not hang.
	 */
	for (page = 20, failed = 0, seen = 0; page < pages; page++) {
		ASSERT_EQ(0, inject("io", "nth 1 %lu", 1 + chance(&state) % 40));
		for (i = 0; i < 4; i++)
			kin_tell(&kin[i], page);
		for (i = 0; i < 4; i++) {
			result = kin_result(&kin[i]);
			EXPECT_TRUE(!result || result == SIGBUS) TH_LOG("%d", result);
			failed += result != 0;
			seen += !result;
		}
		inject_off();
		for (i = 0; i < 4; i++)
			EXPECT_EQ(0, kin_look(&kin[i], page));
	}
	note("all at once: %d failed, %d did not", failed, seen);
	EXPECT_GE(failed, 1);
	EXPECT_GE(seen, 1);
	EXPECT_VERIFY_OK();
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* A store to a page that could not be read, when it can be: a copy for one alone. */
	ASSERT_EQ(0, address_range(fd, VMLAB_IOC_PAGEOUT, map, pages, NULL));
	ASSERT_EQ(0, inject("io", ALWAYS));
	EXPECT_EQ(SIGBUS, try_store(map + 4 * PAGE, 1));
	inject_off();
	EXPECT_TRUE(store_page(map, 4, 2));
	EXPECT_EQ(0, pages_wrong(map + 4 * PAGE, TAG, 4, 1, 2));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, kin_look(&kin[i], 4));
		EXPECT_TRUE(kin_stop(&kin[i]));
	}
	munmap(map, pages * PAGE);
	close(fd);
}

/*
 * The piece of work for the sweep: everything once, the same each time.  Each operation
 * may fail with what is right for it, and no other way.
 */
static void judge(struct __test_metadata *_metadata, const char *what, int result, int may)
{
	if (!result || result == may || result == -EIO)
		return;
	EXPECT_EQ(0, result)
		TH_LOG("%s", what);
}

/* What a child may find of a private mapping: what was there, or SIGBUS. */
static int look_at_copy(void *arg)
{
	char *map = arg, bytes[PAGE];
	int number = try_copy(bytes, map + 5 * PAGE, PAGE);

	CHECK(!number || number == SIGBUS);
	number = try_store(map + 6 * PAGE, 1);
	CHECK(!number || number == SIGBUS);
	return 0;
}

/* Under pressure pages may be on swap again before all are there: EBUSY. */
static void collapse_once(struct __test_metadata *_metadata, struct ledger *ledger)
{
	uint64_t done;
	int error = object_range(ledger->fd, VMLAB_IOC_COLLAPSE, LEAF_BYTES, LEAF_BYTES, &done);

	/* EINVAL: not one store has worked. */
	if (error != -EBUSY && error != -EINVAL)
		judge(_metadata, "COLLAPSE", error, -ENOMEM);
	EXPECT_EQ(error ? 0 : LEAF_BYTES, done);
	judge(_metadata, "read of what was collapsed", ledger_read(ledger, LEAF_PAGES + 100),
	      -ENOMEM);
	judge(_metadata, "compact", debugfs_write("compact", "all\n"), 0);
	judge(_metadata, "SPLIT",
	      object_range(ledger->fd, VMLAB_IOC_SPLIT, LEAF_BYTES, PAGE, NULL), 0);
}

/*
 * An object of its own, as what is reserved does not go before that does; -1: there is none.
 * @error: out: what RESERVE says, which under pressure may find no chunk anyhow.
 */
static int reserve_once(struct __test_metadata *_metadata, struct ledger *ledger, int *error)
{
	int fd = object_open(), busy;

	judge(_metadata, "open", fd < 0 ? fd : 0, -ENOMEM);
	if (fd < 0)
		return -1;
	*error = reserve(fd, LEAF_PAGES, LEAF_PAGES);
	judge(_metadata, "RESERVE", *error, -ENOMEM);
	EXPECT_EQ(*error ? 0 : LEAF_PAGES + 1, object_frames(fd));
	if (!*error) {
		EXPECT_EQ(-EBUSY, object_discard(fd, LEAF_PAGES + 3, 1));
		EXPECT_EQ(0, object_pageout(fd, LEAF_PAGES, LEAF_PAGES));
	}
	/* What is in use already stays as it is; the ledger is looked at in the end. */
	busy = reserve(ledger->fd, 0, LEAF_PAGES);
	if (busy != -EBUSY)
		judge(_metadata, "RESERVE of what may be in use", busy, -ENOMEM);
	return fd;
}

/* Nothing fails any more. */
static void reserve_check(struct __test_metadata *_metadata, int fd, int error)
{
	EXPECT_EQ(error ? 0 : LEAF_PAGES, object_count(fd, 0, 3 * LEAF_PAGES, VMLAB_RES_RESERVED));
	EXPECT_EQ(error ? 0 : LEAF_PAGES, object_count(fd, 0, 3 * LEAF_PAGES, VMLAB_RES_RESIDENT));
	EXPECT_EQ(0, object_write_pages(fd, TAG, LEAF_PAGES, 1, 1));
	EXPECT_EQ(0, object_wrong_pages(fd, TAG, LEAF_PAGES, 1, 1));
	close(fd);
}

/* Copies of an object come and change, or do not come; none changes another. */
static void copies_once(struct __test_metadata *_metadata, struct ledger *ledger)
{
	size_t page = 5, bytes = ledger->pages * PAGE;
	char *before = malloc(PAGE), seen[PAGE], *map;
	/* What a failed store left open could be either. */
	bool known = !ledger->maybe[page];
	int copy;

	if (!before)
		die("no memory");
	memcpy(before, ledger->truth + page * PAGE, PAGE);
	copy = object_snapshot(ledger->fd, 0);
	judge(_metadata, "SNAPSHOT", copy < 0 ? copy : 0, -ENOMEM);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, ledger->fd, 0);
	judge(_metadata, "private mmap", map == MAP_FAILED ? -errno : 0, -ENOMEM);
	if (map != MAP_FAILED) {
		judge(_metadata, "private store", try_store(map + (page + 2) * PAGE, 1), SIGBUS);
		EXPECT_EQ(0, child_run(look_at_copy, map));
	}
	if (ledger->map)
		judge(_metadata, "store to what is shared", ledger_store(ledger, page), SIGBUS);
	judge(_metadata, "write to what is shared", ledger_write(ledger, page + 1), -ENOSPC);
	judge(_metadata, "PAGEOUT of what is shared",
	      object_pageout(ledger->fd, 0, ledger->pages) < 0, 0);
	if (copy >= 0 && known) {
		ssize_t done;

		/* So that the buffer is there: see ledger_read(). */
		memset(seen, 0xee, PAGE);
		done = pread(copy, seen, PAGE, page * PAGE);
		judge(_metadata, "read of a snapshot", done < 0 ? -errno : 0, -ENOMEM);
		if (done >= 0)
			EXPECT_EQ(0, memcmp(seen, before, PAGE));
	}
	if (map != MAP_FAILED && known && !try_copy(seen, map + page * PAGE, PAGE))
		EXPECT_EQ(0, memcmp(seen, before, PAGE));
	if (map != MAP_FAILED)
		munmap(map, bytes);
	if (copy >= 0)
		close(copy);
	free(before);
}

static void all_once(struct __test_metadata *_metadata, unsigned long mb)
{
	static const size_t pages = 2 * LEAF_PAGES + 40;
	const char *more = under_pressure() ? spare_disk() : pressure_disk();
	struct ledger ledger;
	char text[8192];
	uint32_t vec[64];
	size_t i, page;
	int error, reserved, no_reserve = 0;

	error = ledger_open(&ledger, TAG + 1, pages, 1);
	judge(_metadata, "open", error, -ENOMEM);
	if (error)
		return;
	judge(_metadata, "mmap", ledger_map(&ledger), -ENOMEM);
	/* 2 MiB by one store, where there is a chunk. */
	if (ledger.map) {
		EXPECT_EQ(0, madvise(ledger.map + LEAF_BYTES, LEAF_BYTES, MADV_HUGEPAGE));
		judge(_metadata, "store", ledger_store(&ledger, LEAF_PAGES + 100), SIGBUS);
	}
	for (i = 0; i < 3; i++) {
		page = i * LEAF_PAGES + 5;
		if (ledger.map) {
			judge(_metadata, "load of a hole", ledger_load(&ledger, page), SIGBUS);
			judge(_metadata, "store", ledger_store(&ledger, page), SIGBUS);
			judge(_metadata, "store", ledger_store(&ledger, page + 1), SIGBUS);
		}
		judge(_metadata, "write", ledger_write(&ledger, page + 2), -ENOSPC);
		judge(_metadata, "read", ledger_read(&ledger, page + 3), -ENOMEM);
		judge(_metadata, "POPULATE", object_populate(ledger.fd, page + 4, 3), -ENOMEM);
	}
	judge(_metadata, "PAGEOUT", object_pageout(ledger.fd, 0, pages) < 0, 0);
	collapse_once(_metadata, &ledger);
	copies_once(_metadata, &ledger);
	reserved = reserve_once(_metadata, &ledger, &no_reserve);
	for (i = 0; i < 3; i++) {
		page = i * LEAF_PAGES + 5;
		judge(_metadata, "read", ledger_read(&ledger, page), -ENOMEM);
		judge(_metadata, "write", ledger_write(&ledger, page + 1), -ENOSPC);
		if (ledger.map)
			judge(_metadata, "load", ledger_load(&ledger, page + 2), SIGBUS);
	}
	judge(_metadata, "PIN", object_pin(ledger.fd, 5, 4), -ENOMEM);
	judge(_metadata, "UNPIN", object_unpin(ledger.fd, 5, 4), 0);
	judge(_metadata, "RESIDENCY", object_residency(ledger.fd, 0, 64, vec), -ENOMEM);
	judge(_metadata, "DISCARD", ledger_discard(&ledger, 6), 0);
	judge(_metadata, "policy", debugfs_write("policy", "fifo\n"), -ENOMEM);
	judge(_metadata, "policy", debugfs_write("policy", "clock\n"), -ENOMEM);
	judge(_metadata, "growing", pool_resize(0, mb + 2), -ENOMEM);
	judge(_metadata, "swapon", swap_on(more), -ENOMEM);
	error = swap_is_on(more) ? swap_off(more) : 0;
	judge(_metadata, "swapoff", error, -ENOMEM);
	error = debugfs_read("verify", text, sizeof(text));
	judge(_metadata, "verify", error < 0 ? error : 0, -ENOMEM);
	EXPECT_EQ(NULL, strstr(text, "BAD"));

	/* Nothing fails any more: every byte is there, and all can be put back. */
	inject_off();
	if (swap_is_on(more))
		EXPECT_EQ(0, swap_off(more));
	EXPECT_EQ(0, pool_resize(0, mb));
	EXPECT_EQ(0, debugfs_write("policy", "clock\n"));
	ledger_check(&ledger);
	if (reserved >= 0)
		reserve_check(_metadata, reserved, no_reserve);
	EXPECT_VERIFY_OK();
	ledger_close(&ledger);
}

FIXTURE(sweep)
{
	struct bystander *other;
	uint64_t used;
	unsigned long mb;
	char background[BACKGROUND][32];
};

FIXTURE_VARIANT(sweep)
{
	const char *class;
	unsigned int times;	/* how many calls in a row */
	uint64_t least;		/* calls in the piece of work, at least */
};

FIXTURE_SETUP(sweep)
{
	settle();
	pools_scaled(under_pressure() ? 4 : 8);
	fresh_swap();
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	ASSERT_EQ(0, swap_format(under_pressure() ? spare_disk() : pressure_disk()));
	background_off(self->background);
	self->used = used_frames();
	self->mb = pool_mb(0);
	self->other = bystander_start(under_pressure() ? pool_sum("total") : 300);
}

FIXTURE_TEARDOWN(sweep)
{
	inject_off();
	EXPECT_TRUE(bystander_is_well(self->other));
	EXPECT_TRUE(bystander_stop(self->other));
	wait_given_back(self->used, swap_disk());
	EXPECT_EQ(self->used, used_frames());
	EXPECT_EQ(0, swap_field(swap_disk(), "Used"));
	EXPECT_VERIFY_OK();
	background_on(self->background);
	swap_all_off();
	settle();
}

#define CLASS(name, calls) .class = #name, .times = 1, .least = (calls)

FIXTURE_VARIANT_ADD(sweep, frame) { CLASS(frame, 10) };
/* On both nodes, and again when it is tried again. */
FIXTURE_VARIANT_ADD(sweep, frames) { .class = "frame", .times = 6, .least = 10 };
FIXTURE_VARIANT_ADD(sweep, huge) { CLASS(huge, 2) };
FIXTURE_VARIANT_ADD(sweep, leaf) { CLASS(leaf, 3) };
FIXTURE_VARIANT_ADD(sweep, table) { CLASS(table, 2) };
FIXTURE_VARIANT_ADD(sweep, xarray) { CLASS(xarray, 8) };
FIXTURE_VARIANT_ADD(sweep, object) { CLASS(object, 3) };
FIXTURE_VARIANT_ADD(sweep, region) { CLASS(region, 1) };
FIXTURE_VARIANT_ADD(sweep, batch) { CLASS(batch, 3) };
FIXTURE_VARIANT_ADD(sweep, swapin) { CLASS(swapin, 6) };
FIXTURE_VARIANT_ADD(sweep, bio) { CLASS(bio, 6) };
FIXTURE_VARIANT_ADD(sweep, io) { CLASS(io, 6) };
FIXTURE_VARIANT_ADD(sweep, swapon) { CLASS(swapon, 6) };
FIXTURE_VARIANT_ADD(sweep, chunk) { CLASS(chunk, 4) };
FIXTURE_VARIANT_ADD(sweep, policy) { CLASS(policy, 2) };
FIXTURE_VARIANT_ADD(sweep, call) { CLASS(call, 1) };
FIXTURE_VARIANT_ADD(sweep, verify) { CLASS(verify, 4) };

TEST_F_TIMEOUT(sweep, call_by_call, 200)
{
	uint64_t n, step = 1, seen = 0, state = seed();
	const uint64_t singly = scaled(16, 4);
	bool last = false;

	for (n = 1; !last; n += step) {
		ASSERT_EQ(0, inject(variant->class, "nth %lu %u", (unsigned long)n,
				    variant->times));
		all_once(_metadata, self->mb);
		last = !inject_count(variant->class);
		seen = inject_seen(variant->class);
		/*
		 * The first ones one by one, then with growing strides, lest it take for ever.
		 * Which ones those are is chance: in time each call has its turn.
		 */
		if (n >= singly)
			step = 1 + chance(&state) % (2 * n / scaled(4, 1));
		ASSERT_LT(seen, 5000);
	}
	note("%s: %lu calls, none failed of those from %lu on", variant->class,
	     (unsigned long)seen, (unsigned long)(n - step));
	EXPECT_GE(seen, variant->least);
}

static unsigned int least_steps;

static int mixed(void *arg)
{
	return ledger_work(arg, seconds(6), least_steps);
}

#define WORKERS 3

/* What an administrator does meanwhile; returns how much of it failed, as it may. */
static int administer(struct __test_metadata *_metadata, int round, unsigned long mb)
{
	const char *more = under_pressure() ? spare_disk() : pressure_disk();
	int failed = 0, error;
	char text[8192];

	error = debugfs_write("policy", round % 2 ? "clock\n" : "fifo\n");
	EXPECT_TRUE(!error || error == -ENOMEM);
	failed += error != 0;
	error = pool_resize(0, round % 2 ? mb : mb + 2);
	EXPECT_TRUE(!error || error == -ENOMEM || error == -ENOSPC);
	failed += error != 0;
	error = swap_is_on(more) ? swap_off(more) : swap_on(more);
	EXPECT_TRUE(!error || error == -ENOMEM || error == -EIO);
	failed += error != 0;
	error = debugfs_read("verify", text, sizeof(text));
	EXPECT_TRUE(error > 0 || error == -ENOMEM);
	EXPECT_EQ(NULL, strstr(text, "BAD")) TH_LOG("%s", text);
	return failed + (error < 0);
}

static void mixed_load(struct __test_metadata *_metadata, unsigned int permille, size_t pages)
{
	const char *more = under_pressure() ? spare_disk() : pressure_disk();
	int i, status, stopped, round, failed = 0;
	struct ledger ledgers[WORKERS];
	uint64_t state = seed(), injected;
	unsigned long mb = pool_mb(0);
	pid_t pids[WORKERS];

	ASSERT_EQ(0, swap_format(more));
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, ledger_open(&ledgers[i], TAG + 2 + i, pages, state * (2 * i + 3)));
		ASSERT_EQ(0, ledger_map(&ledgers[i]));
	}
	/* Enough to meet failures, which come by chance. */
	least_steps = 5000 / permille;
	injected = counter("injected");
	ASSERT_EQ(0, inject("all", "random %u %lu", permille, (unsigned long)state));
	for (i = 0; i < WORKERS; i++)
		pids[i] = child_start(mixed, &ledgers[i]);
	for (stopped = 0, round = 0; stopped < WORKERS; round++) {
		failed += administer(_metadata, round, mb);
		usleep(100000);
		while (waitpid(-1, &status, WUNTRACED | WNOHANG) > 0) {
			ASSERT_TRUE(WIFSTOPPED(status));
			stopped++;
		}
	}
	inject_off();
	note("%d rounds of administration, %d failures", round, failed);
	EXPECT_VERIFY_OK();
	EXPECT_GT(counter("injected"), injected + 10);
	for (i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGCONT);
		EXPECT_EQ(0, child_wait(pids[i]));
		ledger_close(&ledgers[i]);
	}
	if (swap_is_on(more))
		EXPECT_EQ(0, swap_off(more));
	EXPECT_EQ(0, pool_resize(0, mb));
}

TEST_F_TIMEOUT(inject, one_in_a_hundred, 120)
{
	mixed_load(_metadata, 10, under_pressure() ? self->total / 4 : 1000);
}

TEST_F_TIMEOUT(inject, one_in_ten, 120)
{
	mixed_load(_metadata, 100, under_pressure() ? self->total / 4 : 1000);
}

TEST_HARNESS_MAIN
