// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: what each does, what each refuses and with which errno, how
 * their structures may grow, and callers of 32 bits.  It must never take an
 * error for granted: after each refusal the contents are as before.
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <grp.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#define TAG 0x10c

FIXTURE(ioctl)
{
	int fd;
};

FIXTURE_SETUP(ioctl)
{
	settle();
	if (!under_pressure())
		ASSERT_EQ(0, swap_use_only(spare_disk()));
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(ioctl)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
}

TEST_F(ioctl, info)
{
	struct vmlab_ioc_info info, later;

	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(VMLAB_ABI_VERSION, info.version);
	EXPECT_EQ(PAGE, info.page_size);
	EXPECT_EQ(VMLAB_FEATURE_SWAP, info.features & VMLAB_FEATURE_SWAP);
	EXPECT_GT(info.id, 0);
	EXPECT_EQ(0, info.resident_pages + info.swapped_pages + info.leaf_pages +
		     info.dirty_pages + info.pinned_pages + info.limit_pages);

	ASSERT_EQ(0, object_populate(self->fd, 500, 100));
	ASSERT_EQ(0, object_pin(self->fd, 500, 10));
	EXPECT_EQ(90, object_pageout(self->fd, 500, 100));
	ASSERT_EQ(0, object_info(self->fd, &later));
	EXPECT_EQ(info.id, later.id);
	EXPECT_EQ(10, later.resident_pages);
	EXPECT_EQ(90, later.swapped_pages);
	EXPECT_EQ(2, later.leaf_pages);
	EXPECT_EQ(10, later.dirty_pages);
	EXPECT_EQ(10, later.pinned_pages);
	EXPECT_EQ(info.evictions + 90, later.evictions);
	EXPECT_EQ(info.swap_outs + 90, later.swap_outs);
	ASSERT_EQ(0, object_populate(self->fd, 500, 100));
	ASSERT_EQ(0, object_info(self->fd, &later));
	EXPECT_EQ(info.swap_ins + 90, later.swap_ins);
	EXPECT_EQ(100, later.resident_pages);
	if (!under_pressure()) {
		swap_all_off();
		ASSERT_EQ(0, object_info(self->fd, &later));
		EXPECT_EQ(0, later.features & VMLAB_FEATURE_SWAP);
	}
}

TEST_F(ioctl, discard)
{
	const size_t pages = 2 * LEAF_PAGES;
	char *map = object_map(self->fd, 0, pages);
	uint64_t free;

	ASSERT_TRUE(wait_for_free(1));
	free = pool_sum("free");
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_GE(object_pageout(self->fd, 0, 100), 0);
	ASSERT_EQ(0, object_discard(self->fd, 50, 600));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 50, 1));
	EXPECT_EQ(0, pages_not_zero(map + 50 * PAGE, 600));
	EXPECT_EQ(0, pages_wrong(map + 650 * PAGE, TAG, 650, pages - 650, 1));
	/* Everything goes, its own page table too. */
	ASSERT_EQ(0, object_range(self->fd, VMLAB_IOC_DISCARD, 0, OBJECT_END, NULL));
	EXPECT_EQ(0, object_frames(self->fd));
	EXPECT_TRUE(wait_for_free(free));
	EXPECT_EQ(0, pages_not_zero(map, pages));
	/* Pinned pages stay, the others go. */
	pages_fill(map, TAG, 0, 10, 2);
	ASSERT_EQ(0, object_pin(self->fd, 3, 2));
	EXPECT_EQ(-EBUSY, object_discard(self->fd, 0, 10));
	EXPECT_EQ(0, pages_wrong(map + 3 * PAGE, TAG, 3, 2, 2));
	ASSERT_EQ(0, object_unpin(self->fd, 0, 10));
	EXPECT_EQ(0, object_discard(self->fd, 0, 10));
	EXPECT_EQ(0, pages_not_zero(map, 10));
	munmap(map, pages * PAGE);
}

TEST_F(ioctl, pageout_and_populate)
{
	const size_t pages = 400;
	char *map = object_map(self->fd, 0, pages);
	uint64_t done;

	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(pages, object_pageout(self->fd, 0, pages));
	EXPECT_EQ(pages, object_count(self->fd, 0, pages, VMLAB_RES_SWAPPED));
	EXPECT_EQ(0, object_count(self->fd, 0, pages, VMLAB_RES_RESIDENT));
	/* Holes count nothing, and neither does what is out already. */
	EXPECT_EQ(0, object_pageout(self->fd, 0, 10 * pages));
	ASSERT_EQ(0, object_range(self->fd, VMLAB_IOC_POPULATE, 0, (pages + 50) * PAGE, &done));
	EXPECT_EQ((pages + 50) * PAGE, done);
	EXPECT_EQ(pages + 50, object_count(self->fd, 0, pages + 50, VMLAB_RES_RESIDENT));
	EXPECT_EQ(50, object_count(self->fd, 0, pages + 50, VMLAB_RES_DIRTY));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
	map = object_map(self->fd, pages, 50);
	EXPECT_EQ(0, pages_not_zero(map, 50));
	munmap(map, 50 * PAGE);
	/* More than there is: what fits was populated. */
	if (!under_pressure()) {
		settle();
		EXPECT_EQ(-ENOMEM, object_range(self->fd, VMLAB_IOC_POPULATE, TIB, 4096 * MIB,
						&done));
		EXPECT_GT(done, 0);
		EXPECT_LE(done, pool_sum("total") * PAGE);
		EXPECT_EQ(0, object_discard(self->fd, TIB / PAGE, 4096 * MIB / PAGE));
	}
}

TEST_F(ioctl, pin)
{
	const size_t pages = 32;
	char *map = object_map(self->fd, 0, pages);
	struct vmlab_ioc_info info;

	pages_fill(map, TAG, 0, pages, 1);
	ASSERT_EQ(pages, object_pageout(self->fd, 0, pages));
	/* Pinning reads in what is out, fills holes, and twice is once. */
	ASSERT_EQ(0, object_pin(self->fd, 0, pages + 8));
	ASSERT_EQ(0, object_pin(self->fd, 0, pages));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(pages + 8, info.pinned_pages);
	EXPECT_EQ(pages + 8, object_count(self->fd, 0, pages + 8,
					  VMLAB_RES_PINNED | VMLAB_RES_RESIDENT));
	EXPECT_EQ(pages + 8, pool_sum("pinned"));
	EXPECT_EQ(0, object_pageout(self->fd, 0, pages + 8));
	ASSERT_EQ(0, object_unpin(self->fd, 0, 16));
	EXPECT_EQ(16, object_pageout(self->fd, 0, pages + 8));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	ASSERT_EQ(0, object_unpin(self->fd, 0, 10 * pages));
	ASSERT_EQ(0, object_unpin(self->fd, 0, pages));
	ASSERT_EQ(0, object_info(self->fd, &info));
	EXPECT_EQ(0, info.pinned_pages);
	/* Closing unpins: the mapping alone keeps no pin once both are gone. */
	ASSERT_EQ(0, object_pin(self->fd, 0, 4));
	munmap(map, pages * PAGE);
	close(self->fd);
	EXPECT_EQ(0, pool_sum("pinned"));
	self->fd = object_open();
}

/* As a user without capabilities, with a limit of @arg pages on locked memory. */
static int pin_unprivileged(void *arg)
{
	unsigned long pages = (unsigned long)arg;
	struct rlimit limit = { pages * PAGE, pages * PAGE };
	int fd = object_open(), second = object_open();

	CHECK(fd >= 0 && second >= 0);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	CHECK(!setgroups(0, NULL));
	CHECK(!setresgid(65534, 65534, 65534));
	CHECK(!setresuid(65534, 65534, 65534));
	if (!pages) {
		CHECK(object_pin(fd, 0, 1) == -EPERM);
		return 0;
	}
	CHECK(!object_pin(fd, 0, pages - 1));
	CHECK(object_pin(fd, 100, 2) == -ENOMEM);
	CHECK(!object_pin(fd, 0, pages - 1));
	CHECK(object_unpin(fd, 100, 2) == 0);
	CHECK(!object_pin(second, 0, 1));
	CHECK(object_pin(second, 1, 1) == -ENOMEM);
	CHECK(!object_unpin(fd, 0, 1));
	CHECK(!object_pin(second, 1, 1));
	CHECK(!close(fd));
	CHECK(!object_pin(second, 2, pages - 2));
	CHECK(object_pin(second, 500, 1) == -ENOMEM);
	CHECK(!object_discard(second, 400, 1));
	return 0;
}

TEST_F(ioctl, pin_is_limited)
{
	EXPECT_EQ(0, child_run(pin_unprivileged, (void *)16));
	EXPECT_EQ(0, child_run(pin_unprivileged, (void *)0));
	/* Everything was given back: it works again. */
	EXPECT_EQ(0, child_run(pin_unprivileged, (void *)16));
	EXPECT_EQ(0, pool_sum("pinned"));
}

TEST_F(ioctl, limit)
{
	struct vmlab_ioc_limit limit = { .size = sizeof(limit) };
	const size_t pages = 300;
	char *map = object_map(self->fd, 0, pages);

	ASSERT_EQ(0, ioctl(self->fd, VMLAB_IOC_LIMIT, &limit));
	EXPECT_EQ(0, limit.limit_pages);
	EXPECT_EQ(0, limit.used_pages);
	ASSERT_EQ(0, object_limit(self->fd, 100));
	pages_fill(map, TAG, 0, pages, 1);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	EXPECT_LE(object_frames(self->fd), 100);
	ASSERT_EQ(0, ioctl(self->fd, VMLAB_IOC_LIMIT, &limit));
	EXPECT_EQ(100, limit.limit_pages);
	EXPECT_LE(limit.used_pages, 100);
	EXPECT_GT(limit.used_pages, 20);
	/* A lower limit evicts at once. */
	ASSERT_EQ(0, object_limit(self->fd, 50));
	EXPECT_LE(object_frames(self->fd), 50);
	ASSERT_EQ(0, object_limit(self->fd, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	/* Pinned pages cannot go; the limit is set all the same. */
	ASSERT_EQ(0, object_pin(self->fd, 0, 60));
	EXPECT_EQ(0, object_limit(self->fd, 50));
	EXPECT_GE(object_frames(self->fd), 60);
	EXPECT_EQ(-ENOMEM, object_populate(self->fd, 10000, 1));
	EXPECT_EQ(-1, pwrite(self->fd, "x", 1, TIB));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 60, 1));
	ASSERT_EQ(0, object_limit(self->fd, 0));
	EXPECT_EQ(1, pwrite(self->fd, "x", 1, TIB));
	munmap(map, pages * PAGE);
}

TEST_F(ioctl, residency)
{
	char *map = object_map(self->fd, 0, 8);
	uint32_t vec[8];
	size_t i;

	pages_fill(map, TAG, 0, 2, 1);
	ASSERT_EQ(0, pages_not_zero(map + 6 * PAGE, 1));
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 2, 2, 1));
	ASSERT_EQ(0, object_pin(self->fd, 4, 1));
	ASSERT_EQ(1, object_pageout(self->fd, 1, 1));
	ASSERT_EQ(0, object_residency(self->fd, 0, 8, vec));
	for (i = 0; i < 8; i++) {
		if (vec[i] & VMLAB_RES_RESIDENT)
			EXPECT_LT(VMLAB_RES_NODE(vec[i]), 64);
		vec[i] &= (1U << VMLAB_RES_NODE_SHIFT) - 1;
	}
	EXPECT_EQ(VMLAB_RES_RESIDENT | VMLAB_RES_DIRTY | VMLAB_RES_ACCESSED, vec[0]);
	EXPECT_EQ(VMLAB_RES_SWAPPED, vec[1]);
	EXPECT_EQ(VMLAB_RES_RESIDENT | VMLAB_RES_DIRTY, vec[2] & ~VMLAB_RES_ACCESSED);
	EXPECT_EQ(VMLAB_RES_RESIDENT | VMLAB_RES_DIRTY | VMLAB_RES_PINNED,
		  vec[4] & ~VMLAB_RES_ACCESSED);
	EXPECT_EQ(0, vec[5]);
	EXPECT_EQ(0, vec[6]);
	EXPECT_EQ(-EFAULT, object_residency(self->fd, 0, 8, (void *)16));
	EXPECT_EQ(0, object_residency(self->fd, 0, 0, NULL));
	munmap(map, 8 * PAGE);
}

static const unsigned long range_calls[] = {
	VMLAB_IOC_DISCARD, VMLAB_IOC_PAGEOUT, VMLAB_IOC_POPULATE, VMLAB_IOC_PIN, VMLAB_IOC_UNPIN,
	VMLAB_IOC_RESIDENCY,
};

TEST_F(ioctl, bad_ranges)
{
	static const struct {
		uint64_t offset, length;
	} bad[] = {
		{ 1, PAGE }, { 0, 1 }, { PAGE - 1, PAGE }, { 0, PAGE + 512 },
		{ VMLAB_OBJECT_SIZE, PAGE }, { VMLAB_OBJECT_SIZE - PAGE, 2 * PAGE },
		{ 0, VMLAB_OBJECT_SIZE + PAGE }, { -PAGE, PAGE }, { -PAGE, 2 * PAGE },
		{ PAGE, -PAGE }, { 1ULL << 63, 1ULL << 63 }, { 1ULL << 62, PAGE },
	};
	size_t call, i;

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 4, 1));
	for (call = 0; call < ARRAY_SIZE(range_calls); call++) {
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			/* RESIDENCY has its address where the others have done. */
			struct vmlab_ioc_range range = {
				.size = sizeof(range), .offset = bad[i].offset,
				.length = bad[i].length, .done = (uintptr_t)&range,
			};

			EXPECT_EQ(-1, ioctl(self->fd, range_calls[call], &range));
			EXPECT_EQ(EINVAL, errno) TH_LOG("call %zu, range %zu", call, i);
		}
	}
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, 4, 1));
	/* No length is no work; the very end is allowed. */
	EXPECT_EQ(0, object_discard(self->fd, 0, 0));
	EXPECT_EQ(0, object_range(self->fd, VMLAB_IOC_PIN, OBJECT_END, 0, NULL));
	EXPECT_EQ(0, object_range(self->fd, VMLAB_IOC_POPULATE, OBJECT_END - PAGE, PAGE, NULL));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, 4, 1));
}

/* Every structure, followed by bytes that no kernel knows yet. */
union any {
	struct vmlab_ioc_info info;
	struct vmlab_ioc_range range;
	struct vmlab_ioc_limit limit;
	struct vmlab_ioc_residency residency;
	struct {
		uint32_t size, flags;
	} head;
	unsigned char bytes[8192];
};

static const struct {
	unsigned long call;
	uint32_t size;
} calls[] = {
	{ VMLAB_IOC_INFO, sizeof(struct vmlab_ioc_info) },
	{ VMLAB_IOC_DISCARD, sizeof(struct vmlab_ioc_range) },
	{ VMLAB_IOC_PAGEOUT, sizeof(struct vmlab_ioc_range) },
	{ VMLAB_IOC_POPULATE, sizeof(struct vmlab_ioc_range) },
	{ VMLAB_IOC_PIN, sizeof(struct vmlab_ioc_range) },
	{ VMLAB_IOC_UNPIN, sizeof(struct vmlab_ioc_range) },
	{ VMLAB_IOC_LIMIT, sizeof(struct vmlab_ioc_limit) },
	{ VMLAB_IOC_RESIDENCY, sizeof(struct vmlab_ioc_residency) },
	{ VMLAB_IOC_WALK, sizeof(struct vmlab_ioc_walk) },
	{ VMLAB_IOC_MEMPOLICY, sizeof(struct vmlab_ioc_mempolicy) },
	{ VMLAB_IOC_MIGRATE, sizeof(struct vmlab_ioc_migrate) },
};

TEST_F(ioctl, sizes_and_flags)
{
	static union any any;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		uint32_t size = calls[i].size;

		memset(&any, 0, sizeof(any));
		any.head.size = size;
		EXPECT_EQ(0, ioctl(self->fd, calls[i].call, &any)) TH_LOG("call %zu", i);

		/* Too small to say anything. */
		memset(&any, 0, sizeof(any));
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_EQ(EINVAL, errno) TH_LOG("call %zu", i);
		any.head.size = 7;
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_EQ(EINVAL, errno) TH_LOG("call %zu", i);

		/* Flags that nobody has named. */
		any.head.size = size;
		any.head.flags = 1U << 31;
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_EQ(EINVAL, errno) TH_LOG("call %zu", i);
		any.head.flags = 2;
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_EQ(EINVAL, errno) TH_LOG("call %zu", i);

		/* A caller who knows more, and says nothing with it. */
		memset(&any, 0, sizeof(any));
		any.head.size = size + 64;
		EXPECT_EQ(0, ioctl(self->fd, calls[i].call, &any)) TH_LOG("call %zu", i);
		memset(&any, 0, sizeof(any));
		any.head.size = size + 64;
		any.bytes[size + 63] = 1;
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_EQ(E2BIG, errno) TH_LOG("call %zu", i);
		/* Behind what it says it knows nobody looks. */
		any.head.size = size + 63;
		EXPECT_EQ(0, ioctl(self->fd, calls[i].call, &any)) TH_LOG("call %zu", i);
		/* Absurd. */
		any.head.size = 0xffffffff;
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, &any));
		EXPECT_TRUE(errno == E2BIG || errno == EINVAL) TH_LOG("call %zu: %d", i, errno);
	}
	/* Nothing is written behind what the caller knows. */
	memset(&any, 0xee, sizeof(any));
	any.head.size = 24;
	any.head.flags = 0;
	if (!ioctl(self->fd, VMLAB_IOC_INFO, &any)) {
		EXPECT_EQ(VMLAB_ABI_VERSION, any.info.version);
		EXPECT_EQ(0xee, any.bytes[24]);
	} else {
		EXPECT_EQ(EINVAL, errno);
	}
}

TEST_F(ioctl, bad_addresses_and_numbers)
{
	char *edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	struct vmlab_ioc_info info;
	int plain = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t i;

	ASSERT_NE(MAP_FAILED, edge);
	ASSERT_EQ(0, munmap(edge + PAGE, PAGE));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		char *half = edge + PAGE - 8;

		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, NULL));
		EXPECT_EQ(EFAULT, errno) TH_LOG("call %zu", i);
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, (void *)0xffff888000000000));
		EXPECT_EQ(EFAULT, errno) TH_LOG("call %zu", i);
		memcpy(half, &calls[i].size, 4);
		EXPECT_EQ(-1, ioctl(self->fd, calls[i].call, half));
		EXPECT_EQ(EFAULT, errno) TH_LOG("call %zu", i);
		/* The wrong kind of file. */
		EXPECT_EQ(-1, ioctl(plain, calls[i].call, edge));
		EXPECT_EQ(ENOTTY, errno) TH_LOG("call %zu", i);
	}
	/* Numbers that are not taken, and another magic. */
	info.size = sizeof(info);
	info.flags = 0;
	EXPECT_EQ(-1, ioctl(self->fd, _IOWR(VMLAB_IOC_MAGIC, 0xff, struct vmlab_ioc_info), &info));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, _IOWR('x', 0, struct vmlab_ioc_info), &info));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, 0x5401 /* TCGETS */, edge));
	EXPECT_EQ(ENOTTY, errno);
	/* The structure may itself lie in a mapping of the object. */
	munmap(edge, PAGE);
	edge = object_map(self->fd, 0, 1);
	memcpy(edge, &calls[0].size, 4);
	EXPECT_EQ(0, ioctl(self->fd, VMLAB_IOC_INFO, edge));
	EXPECT_EQ(VMLAB_ABI_VERSION, ((struct vmlab_ioc_info *)edge)->version);
	munmap(edge, PAGE);
	close(plain);
}

/* ioctl() as a 32-bit program calls it; 0 or -errno. */
static int ioctl32(int fd, uint32_t call, void *address)
{
	int result;

	asm volatile("int $0x80"
		     : "=a" (result)
		     : "a" (54), "b" (fd), "c" (call), "d" ((uint32_t)(uintptr_t)address)
		     : "memory", "r8", "r9", "r10", "r11");
	return result;
}

TEST_F(ioctl, from_32_bits)
{
	char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct vmlab_ioc_info *info = (void *)low;
	struct vmlab_ioc_range *range = (void *)low;
	struct vmlab_ioc_residency *residency = (void *)low;
	uint32_t *vec = (void *)(low + 2048);

	ASSERT_NE(MAP_FAILED, low);
	info->size = sizeof(*info);
	ASSERT_EQ(0, ioctl32(self->fd, VMLAB_IOC_INFO, info));
	EXPECT_EQ(VMLAB_ABI_VERSION, info->version);
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 8, 1));
	*range = (struct vmlab_ioc_range) {
		.size = sizeof(*range), .offset = 4 * PAGE, .length = 4 * PAGE,
	};
	EXPECT_EQ(0, ioctl32(self->fd, VMLAB_IOC_DISCARD, range));
	EXPECT_EQ(4 * PAGE, range->done);
	*residency = (struct vmlab_ioc_residency) {
		.size = sizeof(*residency), .length = 8 * PAGE, .vec = (uintptr_t)vec,
	};
	EXPECT_EQ(0, ioctl32(self->fd, VMLAB_IOC_RESIDENCY, residency));
	EXPECT_TRUE(vec[3] & VMLAB_RES_RESIDENT);
	EXPECT_EQ(0, vec[4]);
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, 4, 1));
	range->size = 3;
	EXPECT_EQ(-EINVAL, ioctl32(self->fd, VMLAB_IOC_DISCARD, range));
	EXPECT_EQ(-EFAULT, ioctl32(self->fd, VMLAB_IOC_INFO, NULL));
	EXPECT_EQ(-ENOTTY, ioctl32(self->fd, _IOWR(VMLAB_IOC_MAGIC, 0xff, int), info));
	munmap(low, PAGE);
}

TEST_F(ioctl, fdinfo)
{
	char path[64], text[2048] = "";
	struct vmlab_ioc_info info;
	FILE *file;

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 20, 1));
	ASSERT_EQ(5, object_pageout(self->fd, 0, 5));
	ASSERT_EQ(0, object_info(self->fd, &info));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	EXPECT_GT(fread(text, 1, sizeof(text) - 1, file), 0);
	fclose(file);
	/* The numbers of the object, by names that say so. */
	EXPECT_NE(NULL, strstr(text, "resident")) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "swapped")) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "\t15\n")) TH_LOG("%s", text);
	EXPECT_NE(NULL, strstr(text, "\t5\n")) TH_LOG("%s", text);
}

TEST_HARNESS_MAIN
