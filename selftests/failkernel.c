// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own fault injection (failslab, fail_page_alloc, fail_make_request), aimed
 * at what is called from the module: what of the core below it fails, inject/ cannot
 * reach.  Only debug kernels have it; elsewhere all is skipped.  Work at random goes on
 * meanwhile, with administration beside it; no byte may be wrong, and the books must
 * balance.  The kernel's reports are the judge of the rest.  It must never leave the
 * kernel failing: others run after it.
 *
 * vmlab-test: timeout=300
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#define TAG 0xfa1
#define WORKERS 2
#define TIMES 1000000
#define DEBUGFS "/sys/kernel/debug/"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		error = -errno;
	close(fd);
	return error;
}

static int set(const char *kind, const char *name, uint64_t value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", kind, name);
	snprintf(text, sizeof(text), "%lu", (unsigned long)value);
	return write_file(path, text);
}

/* Where the module's code is, which only root can see. */
static bool module_text(uint64_t *start, uint64_t *end)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char line[512], type;
	unsigned long address;

	*start = UINT64_MAX;
	*end = 0;
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "\t[vmlab]") || sscanf(line, "%lx %c", &address, &type) != 2 ||
		    (type | 0x20) != 't')
			continue;
		*start = address < *start ? address : *start;
		*end = address > *end ? address : *end;
	}
	fclose(file);
	*end += PAGE;
	return *start && *start < *end;
}

static const char * const kinds[] = { "failslab", "fail_page_alloc", "fail_make_request" };

static void disk_may_fail(const char *disk, bool may)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/%s/make-it-fail", strrchr(disk, '/') + 1);
	if (write_file(path, may ? "1" : "0"))
		die("%s: %m", path);
}

static const char *swap_disk(void)
{
	return under_pressure() ? pressure_disk() : spare_disk();
}

static void all_off(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (set(kinds[i], "probability", 0))
			die("%s cannot be ended: %m", kinds[i]);
	disk_may_fail(swap_disk(), false);
}

/* Aims one kind; it fails nothing before its probability is set. */
static int aim(const char *kind, uint64_t start, uint64_t end)
{
	int error = set(kind, "probability", 0);

	error = error ?: set(kind, "interval", 1);
	error = error ?: set(kind, "space", 0);
	error = error ?: set(kind, "times", TIMES);
	error = error ?: set(kind, "verbose", 0);
	error = error ?: set(kind, "stacktrace-depth", 32);
	error = error ?: set(kind, "require-start", start);
	error = error ?: set(kind, "require-end", end);
	if (!error && strcmp(kind, "fail_make_request"))
		error = set(kind, "ignore-gfp-wait", 0);
	if (!error && !strcmp(kind, "fail_page_alloc"))
		error = set(kind, "min-order", 0) ?: set(kind, "ignore-gfp-highmem", 0);
	return error;
}

/* How often one kind has failed since it was aimed. */
static long failures(const char *kind)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), DEBUGFS "%s/times", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("%s: %m", path);
	close(fd);
	return TIMES - strtol(text, NULL, 0);
}

FIXTURE(failkernel)
{
	struct bystander *other;
	uint64_t start, end, used;
};

FIXTURE_SETUP(failkernel)
{
	size_t i;

	self->other = NULL;
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (set(kinds[i], "stacktrace-depth", 32))
			SKIP(return, "a kernel without %s by stack trace", kinds[i]);
	ASSERT_TRUE(module_text(&self->start, &self->end));
	all_off();
	settle();
	if (under_pressure())
		pools_scaled(4);
	ASSERT_EQ(0, swap_use_only(swap_disk()));
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	self->used = used_frames();
	self->other = bystander_start(under_pressure() ? pool_sum("total") : 300);
}

FIXTURE_TEARDOWN(failkernel)
{
	if (!self->other)
		return;
	all_off();
	EXPECT_VERIFY_OK();
	EXPECT_TRUE(bystander_is_well(self->other));
	EXPECT_TRUE(bystander_stop(self->other));
	wait_given_back(self->used, swap_disk());
	EXPECT_EQ(self->used, used_frames());
	EXPECT_EQ(0, swap_field(swap_disk(), "Used"));
	EXPECT_VERIFY_OK();
	swap_all_off();
	settle();
}

static int mixed(void *arg)
{
	return ledger_work(arg, seconds(10), 10);
}

struct administration {
	unsigned long mb;
	const char *more;	/* a disk put on and off */
};

/* Every call may fail for want of memory; what it could not do is done by the next. */
static int administer(void *arg)
{
	struct administration *work = arg;
	double until = now() + seconds(10);
	int round, failed = 0, error;
	char text[8192];

	for (round = 0; now() < until; round++) {
		error = debugfs_write("policy", round % 2 ? "clock\n" : "fifo\n");
		CHECK(!error || error == -ENOMEM);
		failed += error != 0;
		error = pool_resize(0, round % 2 ? work->mb : work->mb + 2);
		CHECK(!error || error == -ENOMEM || error == -ENOSPC);
		failed += error != 0;
		error = round % 2 ? swap_off(work->more) : swap_on(work->more);
		/* It may be on still, or off, because the call before has failed. */
		CHECK(!error || error == -ENOMEM || error == -EIO ||
		      error == (round % 2 ? -EINVAL : -EBUSY));
		failed += error != 0;
		error = debugfs_read("verify", text, sizeof(text));
		CHECK(error > 0 || error == -ENOMEM);
		CHECK(error < 0 || !strstr(text, "BAD"));
		failed += error < 0;
		usleep(100000);
	}
	note("%d rounds of administration, %d failures", round, failed);
	raise(SIGSTOP);
	return 0;
}

static void fail(struct __test_metadata *_metadata, uint64_t start, uint64_t end,
		 const char *only, unsigned int percent)
{
	struct administration work = { .mb = pool_mb(0) };
	struct ledger ledgers[WORKERS];
	uint64_t state = seed();
	pid_t pids[WORKERS + 1];
	int i, status;
	long sum = 0;

	work.more = under_pressure() ? spare_disk() : pressure_disk();
	ASSERT_EQ(0, swap_format(work.more));
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, ledger_open(&ledgers[i], TAG + i,
					 under_pressure() ? pool_sum("total") / 4 : 800,
					 state * (2 * i + 3)));
		ASSERT_EQ(0, ledger_map(&ledgers[i]));
	}
	for (i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		ASSERT_EQ(0, aim(kinds[i], start, end));
		if (!only || !strcmp(only, kinds[i]))
			ASSERT_EQ(0, set(kinds[i], "probability", percent));
	}
	disk_may_fail(swap_disk(), true);
	for (i = 0; i < WORKERS; i++)
		pids[i] = child_start(mixed, &ledgers[i]);
	pids[WORKERS] = child_start(administer, &work);
	for (i = 0; i <= WORKERS; i++) {
		EXPECT_EQ(pids[i], waitpid(pids[i], &status, WUNTRACED));
		EXPECT_TRUE(WIFSTOPPED(status));
	}
	all_off();
	for (i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		note("%s: %ld failures", kinds[i], failures(kinds[i]));
		sum += failures(kinds[i]);
	}
	/* How many depends on how far they got: the fewer the slower the machine. */
	EXPECT_GE(sum, 1);
	EXPECT_VERIFY_OK();
	for (i = 0; i <= WORKERS; i++) {
		kill(pids[i], SIGCONT);
		EXPECT_EQ(0, child_wait(pids[i]));
	}
	for (i = 0; i < WORKERS; i++)
		ledger_close(&ledgers[i]);
	if (swap_is_on(work.more))
		EXPECT_EQ(0, swap_off(work.more));
	EXPECT_EQ(0, pool_resize(0, work.mb));
}

TEST_F_TIMEOUT(failkernel, slab, 120)
{
	fail(_metadata, self->start, self->end, "failslab", 5);
}

TEST_F_TIMEOUT(failkernel, pages, 120)
{
	fail(_metadata, self->start, self->end, "fail_page_alloc", 5);
}

TEST_F_TIMEOUT(failkernel, requests, 120)
{
	fail(_metadata, self->start, self->end, "fail_make_request", 5);
}

TEST_F_TIMEOUT(failkernel, everything, 120)
{
	fail(_metadata, self->start, self->end, NULL, 2);
}

TEST_HARNESS_MAIN
