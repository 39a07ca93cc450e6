// SPDX-License-Identifier: GPL-2.0
/*
 * What vmlab tells about itself: the files of its debugfs tree and their
 * formats, the laws that `verify` checks (and that it notices when one is
 * broken), the tracepoints, and that counters and trace events agree.  It must
 * never leave a law broken or an event switched on.
 *
 * vmlab-test: timeout=240
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <dirent.h>
#include <grp.h>
#include <sys/stat.h>

#define TAG 0xdeb
#define TREE "/sys/kernel/debug/vmlab"
#define TRACING "/sys/kernel/tracing"

FIXTURE(debugfs)
{
	int fd;
	char *map;
	char text[65536];
};

#define PAGES 200

FIXTURE_SETUP(debugfs)
{
	settle();
	if (!under_pressure())
		ASSERT_EQ(0, swap_use_only(spare_disk()));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	self->map = object_map(self->fd, 0, PAGES);
	/* Some of each: dirty, clean with a copy, on swap, pinned, mapped. */
	pages_fill(self->map, TAG, 0, PAGES, 1);
	ASSERT_EQ(PAGES, object_pageout(self->fd, 0, PAGES));
	ASSERT_EQ(0, pages_wrong(self->map, TAG, 0, 100, 1));
	pages_fill(self->map + 50 * PAGE, TAG, 50, 25, 2);
	ASSERT_EQ(0, object_pin(self->fd, 70, 5));
}

FIXTURE_TEARDOWN(debugfs)
{
	debugfs_write("break", "none\n");
	EXPECT_VERIFY_OK();
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	settle();
}

TEST_F(debugfs, tree)
{
	static const char * const files[] = {
		"stats", "pool", "policy", "oom", "swappiness", "zero_stock",
		"watermark_low", "watermark_high", "swap", "objects", "verify", "break",
		"node0/stats", "node0/pool_mb",
	};
	char path[128];
	struct stat stat_;
	size_t i;

	ASSERT_EQ(0, stat(TREE, &stat_));
	EXPECT_EQ(0711, stat_.st_mode & 0777);
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), TREE "/%s", files[i]);
		ASSERT_EQ(0, stat(path, &stat_)) TH_LOG("%s", path);
		EXPECT_EQ(0, stat_.st_mode & 0077) TH_LOG("%s", path);
		EXPECT_EQ(0, stat_.st_uid);
		EXPECT_GT(debugfs_read(files[i], self->text, sizeof(self->text)), 0)
			TH_LOG("%s", files[i]);
		EXPECT_EQ('\n', self->text[strlen(self->text) - 1]) TH_LOG("%s", files[i]);
		/* What is only to be read cannot be written. */
		if (!(stat_.st_mode & 0200))
			EXPECT_LT(debugfs_write(files[i], "1\n"), 0) TH_LOG("%s", files[i]);
	}
}

/* `name value`, one a line, each name once, nothing missing that the design names. */
TEST_F(debugfs, stats)
{
	static const char * const names[] = {
		"fault_zero", "fault_minor", "fault_around", "fault_ahead", "fault_swap",
		"fault_retry", "fault_sigbus", "evict", "clock_scanned", "clock_second_chance",
		"clock_laps", "swap_out", "swap_in", "swap_readahead", "swap_readahead_hit",
		"swap_clean_drop", "swap_read_error", "swap_write_error", "swap_checksum_error",
		"unmap_flush", "unmap_flush_pages", "unmap_flush_cpus", "oom_kill", "oom_sigbus",
		"alloc_fail",
	};
	char *line, *rest = self->text, name[64], again[80];
	unsigned long long value;
	int fields;
	char tail;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		counter(names[i]);
	ASSERT_GT(debugfs_read("stats", self->text, sizeof(self->text)), 0);
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		fields = sscanf(line, "%63s %llu%c", name, &value, &tail);
		EXPECT_EQ(2, fields) TH_LOG("%s", line);
		if (rest) {
			snprintf(again, sizeof(again), "\n%s ", name);
			EXPECT_EQ(NULL, strstr(rest, again)) TH_LOG("%s", name);
		}
	}
	ASSERT_GT(debugfs_read("node0/stats", self->text, sizeof(self->text)), 0);
	EXPECT_NE(NULL, strstr(self->text, "numa_hit "));
	EXPECT_NE(NULL, strstr(self->text, "numa_miss "));
	EXPECT_NE(NULL, strstr(self->text, "numa_foreign "));
	EXPECT_NE(NULL, strstr(self->text, "interleave_hit "));
	EXPECT_NE(NULL, strstr(self->text, "local_node "));
	EXPECT_NE(NULL, strstr(self->text, "other_node "));
}

TEST_F(debugfs, objects)
{
	struct vmlab_ioc_info info;
	char *line, *rest = self->text, kind[32], comm[64];
	unsigned long id, parent, vmas, resident, swapped;
	bool found = false;
	int pid, fields;

	ASSERT_EQ(0, object_info(self->fd, &info));
	ASSERT_GT(debugfs_read("objects", self->text, sizeof(self->text)), 0);
	line = strsep(&rest, "\n");
	EXPECT_STREQ("id pid comm kind parent vmas resident swapped shared huge", line);
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		fields = sscanf(line, "%lu %d %63s %31s %lu %lu %lu %lu", &id, &pid, comm, kind,
				&parent, &vmas, &resident, &swapped);
		ASSERT_EQ(8, fields) TH_LOG("%s", line);
		if (id != info.id)
			continue;
		found = true;
		EXPECT_EQ(getpid(), pid);
		EXPECT_STREQ("debugfs", comm);
		EXPECT_EQ(1, vmas);
		EXPECT_EQ(info.resident_pages, resident);
		EXPECT_EQ(info.swapped_pages, swapped);
		EXPECT_EQ(PAGES, resident + swapped);
	}
	EXPECT_TRUE(found);
}

/* object<ID>/slots: runs of equal state, ascending, that cover every page. */
TEST_F(debugfs, slots)
{
	char name[64], *line, *rest = self->text, state[64];
	unsigned long first, last, next = 0, resident = 0, swapped = 0, pinned = 0, dirty = 0;
	struct vmlab_ioc_info info;
	int fields;

	ASSERT_EQ(0, object_info(self->fd, &info));
	snprintf(name, sizeof(name), "object%llu/slots", (unsigned long long)info.id);
	ASSERT_GT(debugfs_read(name, self->text, sizeof(self->text)), 0);
	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		fields = sscanf(line, "%lu %lu %63s", &first, &last, state);
		ASSERT_EQ(3, fields) TH_LOG("%s", line);
		EXPECT_GE(first, next);
		EXPECT_GE(last, first);
		next = last + 1;
		if (strstr(state, "resident"))
			resident += last - first + 1;
		if (strstr(state, "swapped"))
			swapped += last - first + 1;
		if (strstr(state, "pinned"))
			pinned += last - first + 1;
		if (strstr(state, "dirty"))
			dirty += last - first + 1;
	}
	EXPECT_EQ(info.resident_pages, resident);
	EXPECT_EQ(info.swapped_pages, swapped);
	EXPECT_EQ(info.dirty_pages, dirty);
	EXPECT_EQ(5, pinned);
	snprintf(name, sizeof(name), "object%llu/stats", (unsigned long long)info.id);
	ASSERT_GT(debugfs_read(name, self->text, sizeof(self->text)), 0);
	EXPECT_NE(NULL, strstr(self->text, "pinned_pages 5\n")) TH_LOG("%s", self->text);
	/* It goes with the object. */
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	EXPECT_EQ(-ENOENT, debugfs_read(name, self->text, sizeof(self->text)));
	self->fd = object_open();
	self->map = object_map(self->fd, 0, PAGES);
}

/* Each law, broken on purpose, reads BAD, it alone, and ok when it holds again. */
TEST_F_TIMEOUT(debugfs, laws, 60)
{
	char laws[1024], *rest = laws, *law;
	int broken = 0;

	ASSERT_GT(debugfs_read("break", laws, sizeof(laws)), 0);
	EXPECT_NE(NULL, strstr(laws, "[none]")) TH_LOG("%s", laws);
	while ((law = strsep(&rest, "\n "))) {
		if (!*law || *law == '[')
			continue;
		EXPECT_STREQ("", verify_complaints());
		ASSERT_EQ(0, debugfs_write("break", "%s\n", law)) TH_LOG("%s", law);
		EXPECT_NE(NULL, strstr(verify_complaints(), "BAD")) TH_LOG("%s stayed whole", law);
		EXPECT_NE(NULL, strstr(verify_complaints(), law)) TH_LOG("%s is not named", law);
		ASSERT_EQ(0, debugfs_write("break", "none\n"));
		EXPECT_STREQ("", verify_complaints()) TH_LOG("after %s", law);
		broken++;
	}
	EXPECT_GE(broken, 6);
	EXPECT_EQ(-EINVAL, debugfs_write("break", "everything\n"));
	EXPECT_EQ(-EINVAL, debugfs_write("break", "\n"));
	/* And nothing was really harmed. */
	EXPECT_EQ(0, pages_wrong(self->map, TAG, 0, 50, 1));
	EXPECT_EQ(0, pages_wrong(self->map + 50 * PAGE, TAG, 50, 25, 2));
	EXPECT_EQ(0, pages_wrong(self->map + 75 * PAGE, TAG, 75, PAGES - 75, 1));
}

static int read_only_for_root(void *arg)
{
	char text[64];

	CHECK(!setresuid(65534, 65534, 65534));
	CHECK(debugfs_read("stats", text, sizeof(text)) == -EACCES);
	CHECK(debugfs_read("objects", text, sizeof(text)) == -EACCES);
	CHECK(open("/dev/vmlab", O_RDWR) < 0 && errno == EACCES);
	return 0;
}

TEST_F(debugfs, for_root_only)
{
	EXPECT_EQ(0, child_run(read_only_for_root, NULL));
}

static bool is_shown(uint64_t id)
{
	char name[64], text[256];

	snprintf(name, sizeof(name), "object%llu/stats", (unsigned long long)id);
	return debugfs_read(name, text, sizeof(text)) > 0;
}

struct owner {
	int fd, tell[2];
};

/* Has one object from root and opens another, of which it tells the number; ends both. */
static int own_as_nobody(void *arg)
{
	struct owner *owner = arg;
	struct vmlab_ioc_info info;
	char byte;
	int fd;

	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	fd = object_open();
	CHECK(fd >= 0);
	CHECK(!object_info(fd, &info));
	CHECK(write(owner->tell[1], &info.id, sizeof(info.id)) == sizeof(info.id));
	/* The parent has closed its own by then. */
	CHECK(read(owner->fd, &byte, 1) == 1);
	return 0;
}

/* Whoever opens an object, and whoever closes it last: it is shown as long as it is there. */
TEST_F(debugfs, objects_of_others)
{
	struct vmlab_ioc_info info;
	struct owner owner;
	uint64_t id;
	pid_t pid;
	int go[2];

	ASSERT_EQ(0, pipe(owner.tell));
	ASSERT_EQ(0, pipe(go));
	owner.fd = go[0];
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_TRUE(is_shown(info.id));
	ASSERT_EQ(0, chmod("/dev/vmlab", 0666));
	pid = child_start(own_as_nobody, &owner);
	ASSERT_EQ((ssize_t)sizeof(id), read(owner.tell[0], &id, sizeof(id)));
	EXPECT_EQ(0, chmod("/dev/vmlab", 0600));
	EXPECT_TRUE(is_shown(id));
	munmap(self->map, PAGES * PAGE);
	close(self->fd);
	EXPECT_TRUE(is_shown(info.id));
	ASSERT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_wait(pid));
	settle();
	EXPECT_FALSE(is_shown(id));
	EXPECT_FALSE(is_shown(info.id));
	/* For the teardown. */
	self->fd = object_open();
	self->map = object_map(self->fd, 0, PAGES);
	close(owner.tell[0]);
	close(owner.tell[1]);
	close(go[0]);
	close(go[1]);
}

static void trace_set(const char *file, const char *text)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), TRACING "/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("%s: %m", path);
	close(fd);
}

/* How many lines of the trace have all three of these in them. */
static uint64_t traced(const char *event, const char *what, const char *more)
{
	FILE *file = fopen(TRACING "/trace", "r");
	char line[1024], name[64];
	uint64_t count = 0;

	if (!file)
		die("trace: %m");
	snprintf(name, sizeof(name), " %s: ", event);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, name) && strstr(line, what) && strstr(line, more);
	fclose(file);
	return count;
}

static const char * const compared[] = {
	"fault_zero", "fault_hole", "fault_minor", "fault_mkwrite", "fault_swap", "fault_retry",
	"fault_sigbus", "evict", "swap_out", "swap_in", "swap_clean_drop", "unmap_flush",
	"swap_readahead",
};

/* Every event is counted, every count is an event. */
TEST_F_TIMEOUT(debugfs, counters_agree_with_events, 90)
{
	static const char * const events[] = {
		"fault_enter", "fault_exit", "evict", "clock_scan", "swap_out", "swap_in",
		"unmap_flush", "oom", "numa",
	};
	uint64_t before[ARRAY_SIZE(compared)], seen[ARRAY_SIZE(compared)];
	uint64_t flushed = 0, lost;
	char *map;
	size_t i, pages = 1500;

	if (access(TRACING "/events/vmlab", F_OK))
		SKIP(return, "tracefs is not mounted");
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		char path[128];

		snprintf(path, sizeof(path), TRACING "/events/vmlab/%s/format", events[i]);
		EXPECT_EQ(0, access(path, R_OK)) TH_LOG("no event %s", events[i]);
	}
	trace_set("tracing_on", "0");
	trace_set("buffer_size_kb", "8192");
	trace_set("trace", "");
	trace_set("events/vmlab/enable", "1");
	/* Small pools without anything going on: nobody but us makes anything move. */
	munmap(self->map, PAGES * PAGE);
	ASSERT_EQ(0, object_unpin(self->fd, 0, PAGES));
	ASSERT_EQ(0, object_range(self->fd, VMLAB_IOC_DISCARD, 0, OBJECT_END, NULL));
	usleep(300000);

	trace_set("tracing_on", "1");
	for (i = 0; i < ARRAY_SIZE(compared); i++)
		before[i] = counter(compared[i]);
	flushed = counter("unmap_flush_pages");
	map = object_map(self->fd, 0, pages);
	ASSERT_EQ(0, pages_not_zero(map, 100));
	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	ASSERT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	ASSERT_GE(object_pageout(self->fd, 0, 500), 1);
	ASSERT_EQ(0, object_discard(self->fd, 700, 100));
	munmap(map, pages * PAGE);
	for (i = 0; i < ARRAY_SIZE(compared); i++)
		before[i] = counter(compared[i]) - before[i];
	flushed = counter("unmap_flush_pages") - flushed;
	trace_set("tracing_on", "0");
	trace_set("events/vmlab/enable", "0");

	lost = run("! grep -hq '^overrun: [1-9]' " TRACING "/per_cpu/cpu*/stats");
	EXPECT_EQ(0, lost) TH_LOG("the trace buffer was too small");
	seen[0] = traced("fault_exit", "kind=zero ", "");
	seen[1] = traced("fault_exit", "kind=hole ", "");
	seen[2] = traced("fault_exit", "kind=minor ", "");
	seen[3] = traced("fault_exit", "kind=mkwrite ", "");
	seen[4] = traced("fault_exit", "kind=swap ", "");
	/* Whatever it waited for: VM_FAULT_RETRY is among the bits. */
	seen[5] = traced("fault_exit", "result=0x400\n", "");
	seen[6] = traced("fault_exit", "kind=sigbus ", "");
	seen[7] = traced("evict", "", "");
	seen[8] = traced("swap_out", "error=0\n", "");
	seen[9] = traced("swap_in", "error=0\n", "");
	seen[10] = traced("evict", "written=0", "");
	seen[11] = traced("unmap_flush", "", "");
	seen[12] = traced("swap_in", "readahead=1", "");
	for (i = 0; i < ARRAY_SIZE(compared); i++) {
		const char *name = compared[i];

		EXPECT_EQ(before[i], seen[i]) TH_LOG("%s", name);
	}
	EXPECT_EQ(traced("fault_enter", "", ""), traced("fault_exit", "", ""));
	EXPECT_GE(before[7], pages);
	EXPECT_GT(before[4] + before[5], 0);
	EXPECT_GT(before[0], 0);
	EXPECT_GE(flushed, before[11]);
	trace_set("trace", "");
	trace_set("buffer_size_kb", "1408");
}

TEST_HARNESS_MAIN
