// SPDX-License-Identifier: GPL-2.0
/*
 * Counters against events: while several processes fault, fork, copy, discard and are evicted,
 * the kernel adds up every event of each tracepoint (hist triggers, which lose none), and at the
 * end each counter of debugfs must have grown by just that sum.  A second run makes allocations
 * and I/O fail meanwhile, a third lets the OOM policy kill.  It judges sums at rest only: the
 * counters and the events of one moment need not agree.  SECONDS= sets the time of the first two.
 *
 * vmlab-test: timeout=300 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define EVENTS "/sys/kernel/tracing/events/vmlab/"
#define WORKERS 5		/* the last one is for huge pages */
#define SMALL_MB 8
#define PAGES (3 * LEAF_PAGES)
#define TAG 0xc0
#define TRIES 3
#define VM_FAULT_RETRY 0x400

/* What each event is added up by. */
static const struct {
	const char *event, *trigger;
} hists[] = {
	{ "fault_enter", "hist:keys=write:size=2048" },
	{ "fault_exit", "hist:keys=kind,result:size=2048" },
	{ "evict", "hist:keys=written:size=2048" },
	{ "clock_scan", "hist:keys=node:vals=scanned,second_chances:size=2048" },
	{ "swap_out", "hist:keys=error:size=2048" },
	{ "swap_in", "hist:keys=readahead,error:size=2048" },
	{ "unmap_flush", "hist:keys=cpus:vals=pages:size=2048" },
	{ "oom", "hist:keys=policy:size=2048" },
	{ "cow", "hist:keys=common_type:size=2048" },
	{ "clone", "hist:keys=common_type:vals=leaves:size=2048" },
	{ "unshare", "hist:keys=common_type:size=2048" },
	{ "numa", "hist:keys=wanted,got:size=2048" },
	{ "promote", "hist:keys=node:size=2048" },
	{ "split", "hist:keys=common_type:size=2048" },
};

static void tell(const char *event, const char *off, const char *trigger)
{
	char path[128], text[128];
	int fd, length;

	snprintf(path, sizeof(path), EVENTS "%s/trigger", event);
	length = snprintf(text, sizeof(text), "%s%s", off, trigger);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, length) != length)
		die("%s: %s: %m", path, text);
	close(fd);
}

static void hists_start(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hists); i++)
		tell(hists[i].event, "", hists[i].trigger);
}

static void hists_end(void)
{
	size_t i;
	char path[128], text[512];

	for (i = 0; i < ARRAY_SIZE(hists); i++) {
		int fd, length;

		snprintf(path, sizeof(path), EVENTS "%s/trigger", hists[i].event);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		close(fd);
		text[length > 0 ? length : 0] = '\0';
		if (!strncmp(text, "hist:", 5))
			tell(hists[i].event, "!", hists[i].trigger);
	}
}

/* "name: value" in a line of a hist; false when it has none. */
static bool field(const char *line, const char *name, uint64_t *value)
{
	size_t length = strlen(name);
	const char *at = line;

	while ((at = strstr(at, name))) {
		/* A whole word: `pages` is not the end of another name. */
		if ((at == line || strchr(" {", at[-1])) && at[length] == ':') {
			*value = strtoull(at + length + 1, NULL, 10);
			return true;
		}
		at += length;
	}
	return false;
}

/* Events of one kind: of those whose keys are as wanted, the sum of a value. */
struct sum {
	const char *event;
	const char *what;	/* NULL: they are counted; `cpus` is a key, and goes for each */
	const char *key;	/* NULL: all of them */
	int64_t want;
	bool retried;		/* only those with VM_FAULT_RETRY in the result */
};

static bool is_wanted(const struct sum *sum, const char *line)
{
	uint64_t value;

	if (sum->key && (!field(line, sum->key, &value) || (int64_t)value != sum->want))
		return false;
	return !sum->retried || (field(line, "result", &value) && (value & VM_FAULT_RETRY));
}

static uint64_t add_up(const struct sum *sum)
{
	const char *what = sum->what ?: "hitcount";
	uint64_t total = 0, value, hits;
	char path[128], line[512];
	FILE *file;

	snprintf(path, sizeof(path), EVENTS "%s/hist", sum->event);
	file = fopen(path, "r");
	if (!file)
		die("%s: %m", path);
	while (fgets(line, sizeof(line), file)) {
		if (*line != '{' || !field(line, "hitcount", &hits) || !is_wanted(sum, line))
			continue;
		if (!field(line, what, &value))
			die("the hist of %s has no %s: %s", sum->event, what, line);
		total += strcmp(what, "cpus") ? value : value * hits;
	}
	fclose(file);
	return total;
}

/*
 * Events that the kernel lost: it does so when a CPU is interrupted while it makes an entry, and
 * another one needs the same (__tracing_map_insert() in kernel/trace/tracing_map.c).
 */
static uint64_t hists_lost(void)
{
	char path[128], line[512];
	uint64_t lost = 0;
	FILE *file;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hists); i++) {
		snprintf(path, sizeof(path), EVENTS "%s/hist", hists[i].event);
		file = fopen(path, "r");
		if (!file)
			die("%s: %m", path);
		while (fgets(line, sizeof(line), file))
			if (strstr(line, "Dropped:"))
				lost += strtoull(strchr(line, ':') + 1, NULL, 10);
		fclose(file);
	}
	return lost;
}

static uint64_t hits(const char *event)
{
	const struct sum all = { .event = event };

	return add_up(&all);
}

/* As enum vmlab_fault_kind in module/fault_kind.h. */
enum { ZERO = 1, HOLE, MINOR, MKWRITE, COW, REUSE, SWAP, RETRY, NO_PAGE, HUGE, GIGANTIC };

/* Which runs a counter must have grown in, or else it was not tested there. */
#define BUSY 1
#define FAILING 2
#define KILLING 4

/* Each counter that has a tracepoint, and the events that it must be the sum of. */
static const struct {
	const char *name;
	int runs;
	struct sum sum, also;
	bool of_nodes;
} counters[] = {
	{ "fault_zero", BUSY | FAILING | KILLING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = ZERO } },
	{ "fault_hole", BUSY, .sum = { .event = "fault_exit", .key = "kind", .want = HOLE } },
	{ "fault_minor", BUSY, .sum = { .event = "fault_exit", .key = "kind", .want = MINOR } },
	{ "fault_mkwrite", BUSY, .sum = { .event = "fault_exit", .key = "kind", .want = MKWRITE } },
	{ "fault_cow_copy", BUSY | FAILING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = COW } },
	{ "fault_cow_reuse", BUSY, .sum = { .event = "fault_exit", .key = "kind", .want = REUSE } },
	{ "fault_swap", BUSY | FAILING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = SWAP } },
	/* To wait for a page that is read, or for anything else. */
	{ "fault_retry", BUSY | FAILING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = SWAP, .retried = true },
	  .also = { .event = "fault_exit", .key = "kind", .want = RETRY, .retried = true } },
	{ "fault_sigbus", FAILING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = NO_PAGE } },
	{ "fault_huge", BUSY | FAILING,
	  .sum = { .event = "fault_exit", .key = "kind", .want = HUGE } },
	{ "fault_gigantic", 0,
	  .sum = { .event = "fault_exit", .key = "kind", .want = GIGANTIC } },
	{ "thp_collapse_alloc", BUSY | FAILING, .sum = { .event = "promote" } },
	{ "thp_split_page", BUSY | FAILING, .sum = { .event = "split" } },
	{ "clone", BUSY | FAILING, .sum = { .event = "clone" } },
	{ "clone_leaf_pages", BUSY | FAILING, .sum = { .event = "clone", .what = "leaves" } },
	{ "unshare", BUSY | FAILING, .sum = { .event = "unshare" } },
	{ "cow_copy", BUSY | FAILING, .sum = { .event = "cow" } },
	{ "evict", BUSY | FAILING, .sum = { .event = "evict" } },
	{ "swap_clean_drop", BUSY, .sum = { .event = "evict", .key = "written", .want = 0 } },
	{ "clock_scanned", BUSY, .sum = { .event = "clock_scan", .what = "scanned" } },
	{ "clock_second_chance", BUSY, .sum = { .event = "clock_scan", .what = "second_chances" } },
	{ "swap_out", BUSY | FAILING, .sum = { .event = "swap_out", .key = "error", .want = 0 } },
	{ "swap_write_error", FAILING,
	  .sum = { .event = "swap_out", .key = "error", .want = -EIO } },
	{ "swap_in", BUSY | FAILING, .sum = { .event = "swap_in", .key = "error", .want = 0 } },
	{ "swap_read_error", FAILING, .sum = { .event = "swap_in", .key = "error", .want = -EIO } },
	{ "swap_checksum_error", 0,
	  .sum = { .event = "swap_in", .key = "error", .want = -EILSEQ } },
	{ "swap_readahead", BUSY, .sum = { .event = "swap_in", .key = "readahead", .want = 1 } },
	{ "unmap_flush", BUSY | FAILING, .sum = { .event = "unmap_flush" } },
	{ "unmap_flush_pages", BUSY | FAILING, .sum = { .event = "unmap_flush", .what = "pages" } },
	{ "unmap_flush_cpus", BUSY | FAILING, .sum = { .event = "unmap_flush", .what = "cpus" } },
	{ "oom_kill", KILLING, .sum = { .event = "oom", .key = "policy", .want = 0 } },
	{ "oom_sigbus", FAILING, .sum = { .event = "oom", .key = "policy", .want = 1 } },
	{ "numa_miss", BUSY | FAILING, .sum = { .event = "numa" }, .of_nodes = true },
	{ "numa_foreign", BUSY | FAILING, .sum = { .event = "numa" }, .of_nodes = true },
};

#define NR_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static void read_counters(uint64_t *to)
{
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++)
		to[i] = counters[i].of_nodes ? node_counters(counters[i].name) :
					       counter(counters[i].name);
}

static void read_events(uint64_t *to)
{
	size_t i;

	for (i = 0; i < NR_COUNTERS; i++) {
		to[i] = add_up(&counters[i].sum);
		if (counters[i].also.event)
			to[i] += add_up(&counters[i].also);
	}
}

/* Waits until nothing is counted and nothing happens any more: reclaim goes on for a while. */
static void read_at_rest(uint64_t *values, uint64_t *events)
{
	double until = now() + 20 * slowness();
	uint64_t again[NR_COUNTERS];

	read_counters(values);
	do {
		usleep(300000);
		memcpy(again, values, sizeof(again));
		read_events(events);
		read_counters(values);
		if (now() > until)
			die("the counters do not come to rest");
	} while (memcmp(again, values, sizeof(again)));
}

static bool has_hists(void)
{
	return !access(EVENTS "fault_exit/hist", R_OK);
}

static void resize_all(unsigned long mb)
{
	int node;

	for (node = 0; node < nr_nodes(); node++)
		if (pool_resize(node, mb))
			die("node %d's pool does not become %lu MiB", node, mb);
}

FIXTURE(counters)
{
	uint64_t before[NR_COUNTERS];
};

static void begin(uint64_t *before)
{
	uint64_t events[NR_COUNTERS];

	hists_end();
	hists_start();
	read_at_rest(before, events);
	/* What came before the counters were read must not be added up. */
	hists_end();
	hists_start();
}

/* Can this run not be judged?  Then all begins again, but not for ever. */
static bool again(uint64_t *before, unsigned int *tries)
{
	uint64_t lost = hists_lost();

	if (!lost)
		return false;
	if (++*tries == TRIES)
		die("the kernel lost events in each of %u runs", TRIES);
	note("the kernel has lost %lu events: once more", (unsigned long)lost);
	begin(before);
	return true;
}

FIXTURE_SETUP(counters)
{
	if (!has_hists())
		SKIP(return, "the kernel has no hist triggers");
	settle();
	swap_all_off();
	if (swap_use_only(pressure_disk()))
		die("cannot swap to %s: %m", pressure_disk());
	resize_all(SMALL_MB);
	begin(self->before);
}

FIXTURE_TEARDOWN(counters)
{
	hists_end();
	swap_all_off();
	settle();
	EXPECT_VERIFY_OK();
}

static void compare(struct __test_metadata *_metadata, const uint64_t *before, int run)
{
	uint64_t after[NR_COUNTERS], events[NR_COUNTERS];
	size_t i;

	read_at_rest(after, events);
	for (i = 0; i < NR_COUNTERS; i++) {
		const char *name = counters[i].name;
		uint64_t counted = after[i] - before[i];

		note("%-20s counted %8lu events %8lu", name, (unsigned long)counted,
		     (unsigned long)events[i]);
		EXPECT_EQ(events[i], counted) TH_LOG("%s", name);
		if (counters[i].runs & run)
			EXPECT_GT(events[i], 0) TH_LOG("%s: nothing to see", name);
	}
	EXPECT_EQ(hits("fault_enter"), hits("fault_exit"));
}

struct work {
	int fd, snapshot;
	char *shared, *private;
	uint64_t state;
	unsigned int steps;
};

/* Anything may fail, when that was asked for. */
static void touch_some(struct work *work, char *map, unsigned int pages)
{
	size_t page = chance(&work->state) % PAGES;
	unsigned char byte;

	while (pages--) {
		if (chance(&work->state) % 2)
			try_store(map + page * PAGE, page);
		else
			try_load(map + page * PAGE, &byte);
		page = chance(&work->state) % 4 ? (page + 1) % PAGES :
		       chance(&work->state) % PAGES;
	}
}

static void fork_one(struct work *work)
{
	pid_t pid = fork();

	if (!pid) {
		work->state ^= 0x55555;
		touch_some(work, work->private, 40);
		_exit(0);
	}
	touch_some(work, work->private, 40);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void new_snapshot(struct work *work)
{
	if (work->snapshot >= 0)
		close(work->snapshot);
	work->snapshot = object_snapshot(work->fd, 0);
}

static void new_private(struct work *work)
{
	void *map;

	if (work->private)
		munmap(work->private, PAGES * PAGE);
	map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, work->fd, 0);
	work->private = map == MAP_FAILED ? NULL : map;
}

static void step(struct work *work)
{
	size_t page = chance(&work->state) % PAGES;
	char bytes[PAGE];

	work->steps++;
	page_fill(bytes, TAG, page, work->steps);
	switch (chance(&work->state) % 16) {
	case 0 ... 5:
		touch_some(work, work->shared, 30);
		break;
	case 6 ... 8:
		if (work->private)
			touch_some(work, work->private, 30);
		break;
	case 9 ... 10:
		if (work->private)
			fork_one(work);
		break;
	case 11:
		object_discard(work->fd, page, 20);
		break;
	case 12:
		object_pageout(work->fd, page, 100);
		break;
	case 13:
		new_snapshot(work);
		break;
	case 14:
		if (work->snapshot >= 0)
			pwrite(work->snapshot, bytes, PAGE, page * PAGE);
		else
			pread(work->fd, bytes, PAGE, page * PAGE);
		break;
	case 15:
		new_private(work);
		break;
	}
}

static double work_until;

static int work_on(void *arg)
{
	struct work work = { .snapshot = -1, .state = *(uint64_t *)arg | 1 };
	double leave = now() + (work_until - now()) / 4;
	cpu_set_t all, one;

	/* All begin on one node, so that it is full while the other is not. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	work.fd = object_open();
	CHECK(work.fd >= 0);
	work.shared = object_map(work.fd, 0, PAGES);
	/* Of some, so that there are both: faults of 4 KiB and of 2 MiB. */
	if (chance(&work.state) % 2)
		madvise(work.shared, PAGES * PAGE, MADV_HUGEPAGE);
	while (now() < leave)
		step(&work);
	CHECK(!sched_setaffinity(0, sizeof(all), &all));
	while (now() < work_until)
		step(&work);
	CHECK(work.steps > 5);
	return 0;
}

/* 2 MiB again and again, which are given up as a whole, or in parts. */
static int work_on_huge(void *arg)
{
	uint64_t state = *(uint64_t *)arg | 1;
	int fd = object_open();
	char *map;

	CHECK(fd >= 0);
	map = object_map(fd, 0, LEAF_PAGES);
	CHECK(!madvise(map, LEAF_BYTES, MADV_HUGEPAGE));
	while (now() < work_until) {
		unsigned int page = chance(&state) % LEAF_PAGES;

		try_store(map + page * PAGE, 1);
		if (chance(&state) % 2)
			object_discard(fd, page, 1);
		else
			object_pageout(fd, page, 1);
		object_range(fd, VMLAB_IOC_COLLAPSE, 0, LEAF_BYTES, NULL);
		object_discard(fd, 0, LEAF_PAGES);
		usleep(1000);
	}
	return 0;
}

static void start_work(pid_t *pids, unsigned int seconds)
{
	uint64_t faults = counter("thp_fault_alloc"), promotions = counter("thp_collapse_alloc");
	uint64_t state = seed(), mine = chance(&state);
	int i;

	work_until = now() + seconds;
	/* New chunks are whole: the others, and those before, leave none so. */
	resize_all(SMALL_MB + 4);
	pids[WORKERS - 1] = child_start(work_on_huge, &mine);
	while ((counter("thp_fault_alloc") == faults ||
		counter("thp_collapse_alloc") == promotions) && now() < work_until)
		usleep(1000);
	resize_all(SMALL_MB);
	for (i = 0; i < WORKERS - 1; i++) {
		mine = chance(&state);
		pids[i] = child_start(work_on, &mine);
	}
}

/* SECONDS= may be long; who hangs is found by the runner. */
TEST_F_TIMEOUT(counters, busy, 36000)
{
	unsigned int tries = 0;
	pid_t pids[WORKERS];
	int i;

	do {
		start_work(pids, seconds(20));
		for (i = 0; i < WORKERS; i++)
			EXPECT_EQ(0, child_wait(pids[i]));
	} while (again(self->before, &tries));
	compare(_metadata, self->before, BUSY);
}

/* Workers have their objects by then: what fails is what they do with them. */
static void fail_some(struct __test_metadata *_metadata)
{
	static const char * const classes[] = { "frame", "leaf", "xarray", "object", "region" };
	uint64_t broken = counter("fork_broken"), given_up = counter("oom_sigbus");
	pid_t pids[WORKERS];
	size_t i;

	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	start_work(pids, seconds(20));
	usleep(300000 * slowness());
	for (i = 0; i < ARRAY_SIZE(classes); i++)
		ASSERT_EQ(0, inject(classes[i], "random 100"));
	/* Each page that fails is tried once more, alone. */
	ASSERT_EQ(0, inject("io", "random 300"));
	/* Nobody gets a frame until somebody has given up. */
	ASSERT_EQ(0, inject("frame", "random 1000"));
	while (counter("oom_sigbus") == given_up && now() < work_until - 5)
		usleep(50000);
	ASSERT_EQ(0, inject("frame", "random 100"));
	for (i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, child_wait(pids[i]));
	inject_off();
	EXPECT_GT(counter("fork_broken"), broken);
}

TEST_F_TIMEOUT(counters, failing, 36000)
{
	unsigned int tries = 0;

	do {
		fail_some(_metadata);
	} while (again(self->before, &tries));
	compare(_metadata, self->before, FAILING);
}

static int take_all(void *arg)
{
	size_t page, pages = *(size_t *)arg;
	char *map = object_map(object_open(), 0, pages);

	for (page = 0; page < pages; page++)
		map[page * PAGE] = 1;
	return 0;
}

TEST_F_TIMEOUT(counters, killing, 60)
{
	size_t pages = pool_sum("total") + 100;
	unsigned int tries = 0;

	swap_all_off();
	do {
		EXPECT_EQ(BY_SIGNAL(SIGKILL), child_run(take_all, &pages));
	} while (again(self->before, &tries));
	compare(_metadata, self->before, KILLING);
}

TEST_HARNESS_MAIN
