// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that must be refused as swap, each with its errno, and commands that
 * make no sense.  A refusal must never change a byte of the device.
 *
 * vmlab-test: phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>

#define DM "vmlabbad"
#define MAPPER "/dev/mapper/" DM

/* What mkswap writes into the first page. */
struct header {
	char boot[1024];
	uint32_t version;
	uint32_t last_page;
	uint32_t nr_badpages;
	char uuid[16];
	char label[16];
	uint32_t padding[117];
	uint32_t badpages[3];
};

union first_page {
	struct header header;
	char bytes[PAGE];
};

FIXTURE(swapon)
{
	const char *disk;
	union first_page good;
};

static void put_page(const char *disk, const void *bytes)
{
	int fd = open(disk, O_WRONLY | O_SYNC | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, bytes, PAGE, 0) != (ssize_t)PAGE)
		die("writing to %s: %m", disk);
	close(fd);
}

static void get_pages(const char *disk, void *bytes, size_t length)
{
	int fd = open(disk, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, bytes, length, 0) != (ssize_t)length)
		die("reading %s: %m", disk);
	close(fd);
}

FIXTURE_SETUP(swapon)
{
	settle();
	dm_remove(DM);
	self->disk = spare_disk();
	ASSERT_EQ(0, swap_format(self->disk));
	get_pages(self->disk, &self->good, PAGE);
}

FIXTURE_TEARDOWN(swapon)
{
	EXPECT_VERIFY_OK();
	settle();
	dm_remove(DM);
	put_page(self->disk, &self->good);
}

TEST_F(swapon, no_signature)
{
	static char before[64 * 1024], after[64 * 1024];
	char zeros[PAGE] = { 0 };

	put_page(self->disk, zeros);
	get_pages(self->disk, before, sizeof(before));
	EXPECT_EQ(-EINVAL, swap_on(self->disk));
	EXPECT_FALSE(swap_is_on(self->disk));
	get_pages(self->disk, after, sizeof(after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
}

TEST_F(swapon, wrong_headers)
{
	static const struct {
		const char *what;
		size_t offset;
		uint32_t value;
	} wrong[] = {
		{ "version 0", 1024, 0 },
		{ "version 2", 1024, 2 },
		{ "the other byte order", 1024, 0x01000000 },
		{ "last page 0", 1028, 0 },
		{ "last page 3", 1028, 3 },
		{ "last page behind the end", 1028, 64 * 256 },
		{ "last page far behind the end", 1028, 0xffffffff },
		{ "too many bad pages", 1032, 0x7fffffff },
		{ "one bad page: the header", 1032, 1 },
		{ "signature of the old kind", PAGE - 6, 0x4f43462d },
		{ "signature with an error", PAGE - 4, 0x33454341 },
	};
	union first_page page, now;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		page = self->good;
		memcpy(page.bytes + wrong[i].offset, &wrong[i].value, 4);
		if (!strcmp(wrong[i].what, "signature of the old kind"))
			memcpy(page.bytes + PAGE - 10, "SWAP-SPACE", 10);
		put_page(self->disk, &page);
		EXPECT_EQ(-EINVAL, swap_on(self->disk)) TH_LOG("%s", wrong[i].what);
		EXPECT_FALSE(swap_is_on(self->disk));
		get_pages(self->disk, &now, PAGE);
		EXPECT_EQ(0, memcmp(&page, &now, PAGE)) TH_LOG("%s", wrong[i].what);
	}
	/* The signature where a machine with larger pages has it. */
	page = self->good;
	memset(page.bytes + PAGE - 10, 0, 10);
	put_page(self->disk, &page);
	EXPECT_EQ(-EINVAL, swap_on(self->disk));
	put_page(self->disk, &self->good);
	EXPECT_EQ(0, swap_on(self->disk));
	EXPECT_EQ(0, swap_off(self->disk));
}

/* Bad pages that mkswap knows of are never used. */
TEST_F(swapon, bad_pages)
{
	union first_page page = self->good;
	int fd = object_open();

	page.header.last_page = 19;
	page.header.nr_badpages = 3;
	page.header.badpages[0] = 1;
	page.header.badpages[1] = 7;
	page.header.badpages[2] = 19;
	put_page(self->disk, &page);
	swap_all_off();
	ASSERT_EQ(0, swap_on(self->disk));
	EXPECT_EQ(16 * 4, swap_field(self->disk, "Size"));
	ASSERT_EQ(0, object_write_pages(fd, 1, 0, 40, 1));
	EXPECT_EQ(16, object_pageout(fd, 0, 40));
	EXPECT_EQ(0, object_wrong_pages(fd, 1, 0, 40, 1));
	close(fd);
	EXPECT_EQ(0, swap_off(self->disk));
}

TEST_F(swapon, too_small)
{
	union first_page page = self->good;

	if (!dm_create(DM, "0 %d linear %s 0", 8 * 8, self->disk))
		SKIP(return, "no device mapper");
	page.header.last_page = 7;
	put_page(MAPPER, &page);
	EXPECT_EQ(-EINVAL, swap_on(MAPPER));
	/* Not even one page. */
	dm_remove(DM);
	ASSERT_TRUE(dm_create(DM, "0 4 linear %s 0", self->disk));
	EXPECT_LT(swap_on(MAPPER), 0);
	EXPECT_FALSE(swap_is_on(MAPPER));
}

TEST_F(swapon, missing_or_no_block_device)
{
	EXPECT_EQ(-ENOENT, swap_on("/dev/vmlab-none"));
	EXPECT_EQ(-ENOENT, swap_off("/dev/vmlab-none"));
	EXPECT_EQ(-ENOTBLK, swap_on("/dev/null"));
	EXPECT_EQ(-ENOTBLK, swap_on("/etc/passwd"));
	EXPECT_EQ(-ENOTBLK, swap_on("/etc"));
	EXPECT_EQ(-ENOTDIR, swap_on("/dev/null/x"));
	EXPECT_EQ(-EINVAL, swap_off("/dev/null"));
	EXPECT_EQ(-EINVAL, swap_off(self->disk));
}

TEST_F(swapon, twice)
{
	EXPECT_EQ(0, swap_on(self->disk));
	EXPECT_EQ(-EBUSY, swap_on(self->disk));
	/* By another name too. */
	ASSERT_EQ(0, symlink(self->disk, "alias"));
	EXPECT_EQ(-EBUSY, swap_on_priority(realpath("alias", NULL), 5));
	EXPECT_TRUE(swap_is_on(self->disk));
	/* Linux's own swap and a file system keep away from it, and it from theirs. */
	EXPECT_EQ(-1, swapon(self->disk, 0));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_NE(0, run("mke2fs -q -F %s 1024", self->disk));
	EXPECT_EQ(0, swap_off(self->disk));
	EXPECT_EQ(-EINVAL, swap_off(self->disk));
	unlink("alias");
}

TEST_F(swapon, another_owner)
{
	ASSERT_EQ(0, swapon(self->disk, 0));
	EXPECT_EQ(-EBUSY, swap_on(self->disk));
	ASSERT_EQ(0, swapoff(self->disk));

	if (!dm_create(DM, "0 4096 linear %s 0", self->disk))
		SKIP(return, "no device mapper");
	EXPECT_EQ(-EBUSY, swap_on(self->disk));
}

TEST_F(swapon, mounted)
{
	char *there;

	if (run("mke2fs -q -F -t ext4 %s 16384", self->disk))
		SKIP(return, "no mke2fs");
	run("modprobe ext4");
	mkdir("there", 0700);
	there = realpath("there", NULL);
	if (mount(self->disk, there, "ext4", 0, NULL))
		SKIP(return, "no ext4");
	EXPECT_EQ(-EBUSY, swap_on(self->disk));
	EXPECT_EQ(0, run("echo text >there/file && sync && grep -q text there/file"));
	EXPECT_EQ(0, umount(there));
	/* Unmounted it has no signature, but someone's data. */
	EXPECT_EQ(-EINVAL, swap_on(self->disk));
	EXPECT_EQ(0, mount(self->disk, there, "ext4", 0, NULL));
	EXPECT_EQ(0, run("grep -q text there/file"));
	EXPECT_EQ(0, umount(there));
	rmdir(there);
	free(there);
}

TEST_F(swapon, read_only)
{
	int error;

	ASSERT_EQ(0, run("blockdev --setro %s", self->disk));
	error = swap_on(self->disk);
	EXPECT_TRUE(error == -EACCES || error == -EROFS) TH_LOG("error %d", error);
	EXPECT_EQ(0, run("blockdev --setrw %s", self->disk));
	EXPECT_EQ(0, swap_on(self->disk));
	EXPECT_EQ(0, swap_off(self->disk));
}

TEST_F(swapon, commands)
{
	static const char * const nonsense[] = {
		"\n", " ", "on", "off", "on ", "frob /dev/vdb", "ON /dev/vdb", "/dev/vdb",
		"on /dev/vdb 1 2", "on /dev/vdb -1", "on /dev/vdb 32768", "on /dev/vdb high",
		"on /dev/vdb 99999999999999999999", "off /dev/vdb 3", "on\\040/dev/vdb",
	};
	char text[5000];
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(nonsense); i++) {
		EXPECT_EQ(-EINVAL, debugfs_write("swap", "%s", nonsense[i]))
			TH_LOG("command %zu", i);
	}
	fd = open("/sys/kernel/debug/vmlab/swap", O_WRONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(-1, write(fd, "on /dev/\0vdb", 12));
	EXPECT_EQ(EINVAL, errno);
	memset(text, 'x', sizeof(text));
	memcpy(text, "on /", 4);
	EXPECT_EQ(-1, write(fd, text, sizeof(text)));
	EXPECT_TRUE(errno == EINVAL || errno == ENAMETOOLONG) TH_LOG("errno %d", errno);
	EXPECT_EQ(-1, syscall(SYS_write, fd, 16L, 10L));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
	/* Blanks around are fine, and so is a priority. */
	EXPECT_EQ(0, debugfs_write("swap", "  on   %s\t7  ", self->disk));
	EXPECT_EQ(7, swap_field(self->disk, "Priority"));
	EXPECT_EQ(0, debugfs_write("swap", "off %s", self->disk));
}

TEST_HARNESS_MAIN
