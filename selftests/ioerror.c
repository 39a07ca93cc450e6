// SPDX-License-Identifier: GPL-2.0
/*
 * Disks that fail in part, at times, or quietly: one bad sector, writes that fail while
 * memory is short, data that is not what was written, a disk that goes and comes back.
 * Who needs the page that cannot be had gets SIGBUS or EIO; every other page, and a
 * bystander's object, keeps its bytes; when the disk is well again all is there.  (A disk
 * that fails as a whole is in swap.c.)  SEED= and SECONDS= as ever.
 *
 * vmlab-test: timeout=300 phases=pressure
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <signal.h>
#include <sys/wait.h>

#define TAG 0x10e
#define SMALL_MB 4
#define DM "vmlabioerror"
#define MAPPER "/dev/mapper/" DM
#define SECTORS (PAGE / 512)

FIXTURE(ioerror)
{
	const char *disk;
	uint64_t sectors, used;
	int fd;
};

/* Also after a test that was ended half way: then the device may have to be healed first. */
static void clean_up(const char *disk, uint64_t sectors)
{
	inject_off();
	if (!access(MAPPER, F_OK))
		dm_switch(DM, "0 %lu linear %s 0", sectors, disk);
	swap_all_off();
	dm_remove(DM);
	settle();
}

FIXTURE_SETUP(ioerror)
{
	self->disk = spare_disk();
	self->sectors = disk_bytes(self->disk) / 512;
	clean_up(self->disk, self->sectors);
	swap_all_off();
	ASSERT_EQ(0, debugfs_write("oom", "sigbus\n"));
	self->used = used_frames();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(ioerror)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	wait_given_back(self->used, NULL);
	EXPECT_EQ(self->used, used_frames());
	clean_up(self->disk, self->sectors);
	EXPECT_VERIFY_OK();
}

/* Which block of a disk holds a page, by what is in it; 0 when none does. */
static uint64_t block_of(const char *disk, uint64_t page, uint32_t generation)
{
	int fd = open(disk, O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *bytes = aligned_alloc(PAGE, MIB);
	uint64_t block = 0, found = 0;
	ssize_t got, i;

	if (fd < 0 || !bytes)
		die("cannot read %s: %m", disk);
	while (!found && (got = pread(fd, bytes, MIB, block * PAGE)) > 0)
		for (i = 0; i < got; i += PAGE, block++)
			if (page_is(bytes + i, TAG, page, generation))
				found = block;
	close(fd);
	free(bytes);
	return found;
}

/* One block is exchanged, past everybody's back; @old is what was there. */
static void scribble(const char *disk, uint64_t block, const void *page, void *old)
{
	int fd = open(disk, O_RDWR | O_DIRECT | O_CLOEXEC);
	char *bytes = aligned_alloc(PAGE, PAGE);

	if (fd < 0 || !bytes || pread(fd, bytes, PAGE, block * PAGE) != (ssize_t)PAGE)
		die("cannot read block %lu of %s: %m", (unsigned long)block, disk);
	if (old)
		memcpy(old, bytes, PAGE);
	memcpy(bytes, page, PAGE);
	if (pwrite(fd, bytes, PAGE, block * PAGE) != (ssize_t)PAGE)
		die("cannot write block %lu of %s: %m", (unsigned long)block, disk);
	close(fd);
	free(bytes);
}

FIXTURE(bad_sector)
{
	const char *disk;
	uint64_t sectors;
	struct bystander *other;
	int fd;
};

FIXTURE_VARIANT(bad_sector)
{
	bool dust;	/* a write makes the sector good, as disks do; else it stays bad */
};

FIXTURE_VARIANT_ADD(bad_sector, for_ever)
{
	.dust = false,
};

FIXTURE_VARIANT_ADD(bad_sector, until_written)
{
	.dust = true,
};

FIXTURE_SETUP(bad_sector)
{
	self->disk = spare_disk();
	self->sectors = disk_bytes(self->disk) / 512;
	self->other = NULL;
	clean_up(self->disk, self->sectors);
	swap_all_off();
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
	run("modprobe dm-dust");
	if (!(variant->dust ? dm_create(DM, "0 %lu dust %s 0 4096", self->sectors, self->disk) :
			      dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk)))
		SKIP(return, "no %s", variant->dust ? "dm-dust" : "device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	/* On the same disk. */
	self->other = bystander_start(300);
}

FIXTURE_TEARDOWN(bad_sector)
{
	if (self->other) {
		EXPECT_TRUE(bystander_is_well(self->other));
		EXPECT_TRUE(bystander_stop(self->other));
	}
	close(self->fd);
	clean_up(self->disk, self->sectors);
	EXPECT_VERIFY_OK();
}

static bool block_is_bad(bool dust, const char *disk, uint64_t sectors, uint64_t block)
{
	unsigned long at = block * SECTORS, next = at + SECTORS;

	if (dust)
		return !run("dmsetup message " DM " 0 addbadblock %lu", (unsigned long)block) &&
		       !run("dmsetup message " DM " 0 enable");
	/* Of three pieces, which only a table on stdin can have. */
	if (run("dmsetup --noudevsync suspend --noflush --nolockfs " DM))
		return false;
	return !run("(echo 0 %lu linear %s 0; echo %lu %lu error; echo %lu %lu linear %s %lu) | %s",
		    at, disk, at, SECTORS, next, sectors - next, disk, next,
		    "dmsetup load --noudevsync " DM) &&
	       !run("dmsetup --noudevsync resume " DM);
}

static bool all_blocks_are_good(bool dust, const char *disk, uint64_t sectors)
{
	return dust ? !run("dmsetup message " DM " 0 disable") :
		      dm_switch(DM, "0 %lu linear %s 0", sectors, disk);
}

TEST_F_TIMEOUT(bad_sector, harms_one_page, 60)
{
	const size_t pages = 200, bad = 77;
	uint64_t errors = counter("swap_read_error"), done, block;
	char *map = object_map(self->fd, 0, pages), page[PAGE];
	unsigned char byte;
	size_t i;

	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	block = block_of(self->disk, bad, 1);
	ASSERT_NE(0, block);
	ASSERT_TRUE(block_is_bad(variant->dust, self->disk, self->sectors, block));

	/* It is among what is read ahead, and then among what is asked for. */
	EXPECT_EQ(-EIO, object_range(self->fd, VMLAB_IOC_POPULATE, (bad - 10) * PAGE, 20 * PAGE,
				     &done));
	EXPECT_EQ(10 * PAGE, done);
	for (i = 0; i < pages; i++) {
		if (i != bad)
			ASSERT_TRUE(page_is(map + i * PAGE, TAG, i, 1)) TH_LOG("page %zu", i);
	}
	EXPECT_EQ(SIGBUS, try_load(map + bad * PAGE, &byte));
	EXPECT_EQ(SIGBUS, try_store(map + bad * PAGE, 1));
	EXPECT_EQ(-1, pread(self->fd, page, PAGE, bad * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(self->fd, page, 10, bad * PAGE + 100));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-EIO, object_pin(self->fd, bad, 1));
	EXPECT_GE(counter("swap_read_error"), errors + 6);
	EXPECT_EQ(-EIO, swap_off(MAPPER));
	EXPECT_TRUE(swap_is_on(MAPPER));
	EXPECT_TRUE(bystander_is_well(self->other));
	EXPECT_VERIFY_OK();

	/* What cannot be read can be thrown away; the place is used again or given up. */
	ASSERT_EQ(0, object_discard(self->fd, bad, 1));
	EXPECT_EQ(0, pages_not_zero(map + bad * PAGE, 1));
	pages_fill(map, TAG, 0, pages, 2);
	for (i = 0; i < 4 && object_count(self->fd, 0, pages, VMLAB_RES_RESIDENT); i++)
		ASSERT_GE(object_pageout(self->fd, 0, pages), 0);
	EXPECT_EQ(0, object_count(self->fd, 0, pages, VMLAB_RES_RESIDENT));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

TEST_F_TIMEOUT(bad_sector, is_well_again, 60)
{
	const size_t pages = 200, bad = 123;
	char *map = object_map(self->fd, 0, pages);
	uint64_t block;

	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	block = block_of(self->disk, bad, 1);
	ASSERT_NE(0, block);
	ASSERT_TRUE(block_is_bad(variant->dust, self->disk, self->sectors, block));
	EXPECT_EQ(SIGBUS, try_load(map + bad * PAGE, NULL));
	EXPECT_EQ(-EIO, swap_off(MAPPER));
	ASSERT_TRUE(all_blocks_are_good(variant->dust, self->disk, self->sectors));
	EXPECT_EQ(0, swap_off(MAPPER));
	EXPECT_FALSE(swap_is_on(MAPPER));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* All that is on a disk, and one page read from it cannot be trusted, or is an old one. */
TEST_F_TIMEOUT(ioerror, wrong_data, 60)
{
	const size_t pages = 64, wrong = 21, old = 42;
	char *map, page[PAGE], right[2][PAGE];
	const char *ram = ram_disk(32);
	struct bystander *other;
	uint64_t errors, block[2];

	if (!ram)
		SKIP(return, "no brd");
	ASSERT_EQ(0, swap_use_only(ram));
	other = bystander_start(300);
	map = object_map(self->fd, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	pages_fill(map, TAG, 0, pages, 2);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	block[0] = block_of(ram, wrong, 2);
	block[1] = block_of(ram, old, 2);
	ASSERT_TRUE(block[0] && block[1]);
	memset(page, 0, PAGE);
	scribble(ram, block[0], page, right[0]);
	page_fill(page, TAG, old, 1);
	scribble(ram, block[1], page, right[1]);

	errors = counter("swap_checksum_error");
	EXPECT_EQ(SIGBUS, try_load(map + wrong * PAGE, NULL));
	EXPECT_EQ(SIGBUS, try_store(map + old * PAGE, 1));
	EXPECT_EQ(-1, pread(self->fd, page, PAGE, wrong * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(self->fd, page, 1, old * PAGE));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-EIO, object_populate(self->fd, old, 1));
	EXPECT_EQ(-EIO, swap_off(ram));
	EXPECT_GE(counter("swap_checksum_error"), errors + 6);
	/* Neighbours, and others on the same disk. */
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, wrong, 2));
	EXPECT_EQ(0, pages_wrong(map + (wrong + 1) * PAGE, TAG, wrong + 1, old - wrong - 1, 2));
	EXPECT_EQ(0, pages_wrong(map + (old + 1) * PAGE, TAG, old + 1, pages - old - 1, 2));
	EXPECT_TRUE(bystander_is_well(other));
	EXPECT_VERIFY_OK();

	scribble(ram, block[0], right[0], NULL);
	scribble(ram, block[1], right[1], NULL);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	EXPECT_EQ(0, swap_off(ram));
	EXPECT_TRUE(bystander_is_well(other));
	EXPECT_TRUE(bystander_stop(other));
	munmap(map, pages * PAGE);
	ram_disk_remove();
}

static void small_pool(void)
{
	int node;

	for (node = 0; node < nr_nodes(); node++)
		if (pool_resize(node, scaled(SMALL_MB, 2)))
			die("cannot make the pools small: %m");
}

/* Memory is short and every write fails: who wants more gets SIGBUS, nobody else anything. */
TEST_F_TIMEOUT(ioerror, writes_fail_under_pressure, 120)
{
	struct bystander *other;
	struct ledger ledger;
	uint64_t failed;
	size_t i;

	run("modprobe dm-flakey");
	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	small_pool();
	other = bystander_start(300);
	if (!dm_switch(DM, "0 %lu flakey %s 0 0 1 1 error_writes", self->sectors, self->disk))
		SKIP(return, "no dm-flakey");
	ASSERT_EQ(0, ledger_open(&ledger, TAG + 1, pool_sum("total") * 5 / 4, 1));
	ASSERT_EQ(0, ledger_map(&ledger));
	failed = counter("swap_write_error");
	for (i = 0; i < ledger.pages; i++) {
		int number = i % 2 ? ledger_store(&ledger, i) : ledger_write(&ledger, i);

		if (!number)
			continue;
		ASSERT_EQ(i % 2 ? SIGBUS : -ENOSPC, number) TH_LOG("page %zu", i);
		/* Each has waited 10 seconds for the disk to come back. */
		if (++ledger.failures == 3)
			break;
	}
	EXPECT_EQ(3, ledger.failures);
	EXPECT_GE(i, ledger.pages / 2);
	EXPECT_GT(counter("swap_write_error"), failed);
	EXPECT_EQ(0, swap_field(MAPPER, "Bad"));
	EXPECT_VERIFY_OK();
	/* What is there is right while the disk still fails; holes read as zeros. */
	ASSERT_EQ(0, object_discard(ledger.fd, 0, 600));
	memset(ledger.truth, 0, 600 * PAGE);
	EXPECT_TRUE(bystander_is_well(other));
	ledger_check(&ledger);
	/* The disk is well; what has failed before works now. */
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	for (i = 0; i < ledger.pages; i++) {
		ASSERT_EQ(0, ledger_store(&ledger, i))
			TH_LOG("page %zu", i);
	}
	ledger_check(&ledger);
	EXPECT_TRUE(bystander_is_well(other));
	ledger_close(&ledger);
	EXPECT_TRUE(bystander_stop(other));
}

static int mixed(void *arg)
{
	/* Enough steps to fill the pool, or no disk would be needed. */
	return ledger_work(arg, seconds(8), 600);
}

#define WORKERS 2

/* One second there, one second away, while work goes on and it is put off and on. */
TEST_F_TIMEOUT(ioerror, comes_and_goes, 120)
{
	int i, status, stopped = 0, offs = 0, refusals = 0, error;
	uint64_t state = seed(), errors = counter("swap_read_error") + counter("swap_write_error");
	struct ledger ledgers[WORKERS];
	struct bystander *other;
	pid_t pids[WORKERS];

	run("modprobe dm-flakey");
	/* The bystander's pages have another disk. */
	ASSERT_EQ(0, swap_use_only(pressure_disk()));
	other = bystander_start(300);
	ASSERT_EQ(0, swap_off(pressure_disk()));
	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	small_pool();
	for (i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, ledger_open(&ledgers[i], TAG + 2 + i, pool_sum("total") * 2 / 3,
					 state * (2 * i + 3)));
		ASSERT_EQ(0, ledger_map(&ledgers[i]));
	}
	if (!dm_switch(DM, "0 %lu flakey %s 0 1 1", self->sectors, self->disk))
		SKIP(return, "no dm-flakey");
	for (i = 0; i < WORKERS; i++)
		pids[i] = child_start(mixed, &ledgers[i]);
	while (stopped < WORKERS) {
		usleep(300000);
		error = swap_is_on(MAPPER) ? swap_off(MAPPER) : swap_on(MAPPER);
		EXPECT_TRUE(!error || error == -EIO || error == -ENOMEM) TH_LOG("%d", error);
		/* Away for a moment: no place on it is the worse for that. */
		if (swap_is_on(MAPPER))
			EXPECT_EQ(0, swap_field(MAPPER, "Bad"));
		offs += !error;
		refusals += error != 0;
		EXPECT_VERIFY_OK();
		while (waitpid(-1, &status, WUNTRACED | WNOHANG) > 0) {
			ASSERT_TRUE(WIFSTOPPED(status));
			stopped++;
		}
	}
	note("%d times on or off, %d refusals", offs, refusals);
	EXPECT_GT(counter("swap_read_error") + counter("swap_write_error"), errors);
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	if (!swap_is_on(MAPPER))
		ASSERT_EQ(0, swap_on(MAPPER));
	for (i = 0; i < WORKERS; i++) {
		kill(pids[i], SIGCONT);
		EXPECT_EQ(0, child_wait(pids[i]));
	}
	EXPECT_TRUE(bystander_is_well(other));
	for (i = 0; i < WORKERS; i++)
		ledger_close(&ledgers[i]);
	EXPECT_TRUE(bystander_stop(other));
	EXPECT_VERIFY_OK();
}

/* A block that cannot be written costs one slot, and no page. */
TEST_F_TIMEOUT(ioerror, one_block_is_bad, 60)
{
	const size_t pages = 300;
	char *map = object_map(self->fd, 0, pages);

	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	/* The first after the header is the first that is taken, and goes with 127 others. */
	ASSERT_TRUE(block_is_bad(false, self->disk, self->sectors, 50));
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(pages - 1, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(4, swap_field(MAPPER, "Bad"));
	EXPECT_EQ(1, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(4, swap_field(MAPPER, "Bad"));
	EXPECT_EQ(4 * pages, swap_field(MAPPER, "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* One that takes nothing is left alone while another has room, and tried when none has. */
TEST_F_TIMEOUT(ioerror, a_dead_disk_is_passed_over, 60)
{
	const char *other = pressure_disk();
	const size_t pages = 600;
	char *map = object_map(self->fd, 0, pages);
	uint64_t errors, tried;
	double start;

	run("modprobe dm-flakey");
	if (!dm_create(DM, "0 %lu linear %s 0", self->sectors, self->disk))
		SKIP(return, "no device mapper");
	ASSERT_EQ(0, swap_use_only(MAPPER));
	ASSERT_EQ(0, swap_off(MAPPER));
	ASSERT_EQ(0, swap_on_priority(MAPPER, 10));
	if (!dm_switch(DM, "0 %lu flakey %s 0 0 1 1 error_writes", self->sectors, self->disk))
		SKIP(return, "no dm-flakey");
	pages_fill(map, TAG, 0, pages, 1);

	/* The only one: tried again and again, but not all the time. */
	errors = counter("swap_write_error");
	start = now();
	for (tried = 0; now() < start + 1; tried++)
		ASSERT_EQ(0, object_pageout(self->fd, 0, 64));
	errors = counter("swap_write_error") - errors;
	EXPECT_GE(errors, 2 * 64);
	EXPECT_LE(errors, ((now() - start) * 10 + 2) * 64)
		TH_LOG("%lu calls", (unsigned long)tried);

	ASSERT_EQ(0, swap_format(other));
	ASSERT_EQ(0, swap_on_priority(other, 1));
	errors = counter("swap_write_error");
	/* What meets it first stays for now; 5 seconds later it may be met again. */
	EXPECT_GE(object_pageout(self->fd, 0, pages) + object_pageout(self->fd, 0, pages) +
		  object_pageout(self->fd, 0, pages), pages);
	EXPECT_LE(counter("swap_write_error"), errors + 2 * 128);
	EXPECT_EQ(0, object_count(self->fd, 0, pages, VMLAB_RES_RESIDENT));
	EXPECT_EQ(0, swap_field(MAPPER, "Bad"));
	EXPECT_EQ(0, swap_field(MAPPER, "Used"));
	EXPECT_EQ(4 * pages, swap_field(other, "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* It works again, and comes first again once it was tried. */
	ASSERT_TRUE(dm_switch(DM, "0 %lu linear %s 0", self->sectors, self->disk));
	pages_fill(map, TAG, 0, pages, 2);
	usleep(5500000);
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(4 * pages, swap_field(MAPPER, "Used"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

TEST_HARNESS_MAIN
