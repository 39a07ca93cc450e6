// SPDX-License-Identifier: GPL-2.0
/*
 * Page faults: what a load and a store get, what a hole costs, how the zero
 * page gives way to a frame in every mapping at once, how much fault-ahead may
 * take, and which mappings are refused.  It must never take a counter's word
 * for what the bytes say.
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <pthread.h>
#include <signal.h>

#define TAG 0xfa01

FIXTURE(fault)
{
	int fd;
};

FIXTURE_SETUP(fault)
{
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(fault)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
}

TEST_F(fault, demand_zero)
{
	const size_t pages = 256;
	char *map = object_map(self->fd, 0, pages);
	size_t i;

	for (i = 0; i < pages; i++)
		map[i * PAGE + i] = 1 + i % 255;
	for (i = 0; i < pages; i++) {
		ASSERT_EQ((char)(1 + i % 255), map[i * PAGE + i]);
		map[i * PAGE + i] = 0;
		ASSERT_TRUE(page_is_zero(map + i * PAGE)) TH_LOG("page %zu", i);
	}
	munmap(map, pages * PAGE);
}

TEST_F(fault, load_from_hole_takes_no_frame)
{
	const size_t pages = 2 * LEAF_PAGES;
	char *map = object_map(self->fd, 0, pages);
	uint64_t before = pool_sum("free");

	EXPECT_EQ(0, pages_not_zero(map, pages));
	EXPECT_EQ(0, object_frames(self->fd));
	EXPECT_EQ(before, pool_sum("free"));
	EXPECT_EQ(pages, object_count(self->fd, 0, pages, 0));
	EXPECT_EQ(0, object_count(self->fd, 0, pages, VMLAB_RES_RESIDENT));
	munmap(map, pages * PAGE);
}

struct share {
	char *map;
	size_t pages;
	int ready[2], go[2];
};

static int load_then_load_again(void *arg)
{
	struct share *share = arg;
	char byte = 1;

	CHECK(!pages_not_zero(share->map, share->pages));
	CHECK(write(share->ready[1], &byte, 1) == 1);
	CHECK(read(share->go[0], &byte, 1) == 1);
	return pages_wrong(share->map, TAG, 0, share->pages, 1) != 0;
}

/* Everybody has the zero page mapped; then one stores. */
TEST_F(fault, zero_page_gives_way_everywhere)
{
	const size_t pages = 64;
	struct share share = { .pages = pages };
	char *first = object_map(self->fd, 0, pages);
	char *second = object_map(self->fd, 0, pages);
	pid_t child;
	char byte;

	share.map = first;
	ASSERT_EQ(0, pipe(share.ready));
	ASSERT_EQ(0, pipe(share.go));
	child = child_start(load_then_load_again, &share);
	ASSERT_EQ(1, read(share.ready[0], &byte, 1));
	EXPECT_EQ(0, pages_not_zero(first, pages));
	EXPECT_EQ(0, pages_not_zero(second, pages));
	/* A third of the pages by either mapping, a third by write(). */
	pages_fill(first, TAG, 0, 20, 1);
	pages_fill(second + 20 * PAGE, TAG, 20, 20, 1);
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 40, pages - 40, 1));
	EXPECT_EQ(0, pages_wrong(first, TAG, 0, pages, 1));
	EXPECT_EQ(0, pages_wrong(second, TAG, 0, pages, 1));
	ASSERT_EQ(1, write(share.go[1], "", 1));
	EXPECT_EQ(0, child_wait(child));
	munmap(first, pages * PAGE);
	munmap(second, pages * PAGE);
}

FIXTURE(order)
{
	int fd;
	size_t pages;
};

FIXTURE_VARIANT(order)
{
	int step;
};

FIXTURE_VARIANT_ADD(order, ascending)
{
	.step = 1,
};

FIXTURE_VARIANT_ADD(order, descending)
{
	.step = -1,
};

FIXTURE_VARIANT_ADD(order, random)
{
	.step = 0,
};

FIXTURE_SETUP(order)
{
	/* Under pressure twice what the pool holds. */
	settle();
	if (under_pressure())
		pools_scaled(2);
	self->pages = under_pressure() ? 2 * pool_sum("total") : 3072;
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(order)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
	settle();
}

/* The i-th page in an order; @mask is one less than a power of two, @pages at most that. */
static size_t nth(int step, size_t i, size_t pages, uint64_t salt)
{
	if (step)
		return step > 0 ? i : pages - 1 - i;
	/* Odd multiples are a permutation of what is below a power of two: skip the rest. */
	return (i * (2 * (salt % 100000) + 1234567)) & (pages - 1);
}

struct look {
	int fd;
	char *map;
	size_t pages;
};

static int look_from_child(void *arg)
{
	struct look *look = arg;

	CHECK(!pages_wrong(look->map, TAG, 0, look->pages, 7));
	CHECK(!object_wrong_pages(look->fd, TAG, 0, look->pages, 7));
	return 0;
}

TEST_F_TIMEOUT(order, stores_then_loads, 60)
{
	size_t pages = LEAF_PAGES, i;
	uint64_t salt = seed();
	struct look look = { .fd = self->fd };

	while (pages * 2 <= self->pages)
		pages *= 2;
	look.map = object_map(self->fd, 0, pages);
	look.pages = pages;
	for (i = 0; i < pages; i++) {
		size_t page = nth(variant->step, i, pages, salt | 1);

		page_fill(look.map + page * PAGE, TAG, page, 7);
	}
	for (i = 0; i < pages; i++) {
		size_t page = nth(variant->step, i, pages, salt | 1);

		ASSERT_TRUE(page_is(look.map + page * PAGE, TAG, page, 7)) TH_LOG("page %zu", page);
	}
	EXPECT_EQ(0, child_run(look_from_child, &look));
	munmap(look.map, pages * PAGE);
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 7));
}

/* Resident neighbours are mapped along with the page that is asked for. */
TEST_F(fault, around)
{
	const size_t pages = 256;
	uint64_t around = counter("fault_around"), minor;
	char *map;

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, pages, 1));
	map = object_map(self->fd, 0, pages);
	minor = counter("fault_minor");
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	minor = counter("fault_minor") - minor;
	around = counter("fault_around") - around;
	EXPECT_GT(around, pages / 2);
	EXPECT_LT(minor, pages / 2);
	/* What was mapped along is read-only: a store still has to be noticed. */
	pages_fill(map, TAG, 0, pages, 2);
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 2));
	munmap(map, pages * PAGE);
}

TEST_F(fault, ahead_when_sequential)
{
	const size_t pages = LEAF_PAGES;
	char *map = object_map(self->fd, 0, pages);
	uint64_t ahead = counter("fault_ahead"), zero = counter("fault_zero");

	pages_fill(map, TAG, 0, pages, 1);
	ahead = counter("fault_ahead") - ahead;
	zero = counter("fault_zero") - zero;
	EXPECT_GT(ahead, pages / 2);
	EXPECT_LT(zero, pages / 2);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	munmap(map, pages * PAGE);
}

/* Frames that the object has or had: what was evicted counts too. */
static uint64_t cost(int fd)
{
	struct vmlab_ioc_info info;

	if (object_info(fd, &info))
		die("INFO: %m");
	return info.resident_pages + info.swapped_pages + info.leaf_pages;
}

/* One page in 16: what is not touched must cost next to nothing. */
TEST_F(fault, sparse_ascending)
{
	const size_t touched = 1024;
	char *map = object_map(self->fd, 0, touched * 16);
	size_t i;

	for (i = 0; i < touched; i++)
		page_fill(map + i * 16 * PAGE, TAG, i, 3);
	EXPECT_LE(cost(self->fd) * 10, touched * 11);
	for (i = 0; i < touched; i++)
		ASSERT_TRUE(page_is(map + i * 16 * PAGE, TAG, i, 3));
	munmap(map, touched * 16 * PAGE);
}

TEST_F(fault, sparse_random)
{
	const size_t touched = 1024;
	char *map = object_map(self->fd, 0, touched * 16);
	uint64_t state = seed();
	size_t i, distinct = 0;

	/* Anywhere, so that now and then two are neighbours. */
	for (i = 0; i < touched; i++) {
		size_t page = chance(&state) % (touched * 16);

		distinct += page_is_zero(map + page * PAGE);
		page_fill(map + page * PAGE, TAG, page, 3);
	}
	EXPECT_LE(cost(self->fd) * 10, distinct * 11);
	EXPECT_GE(cost(self->fd), distinct);
	munmap(map, touched * 16 * PAGE);
}

/* After MADV_RANDOM not even a sequential writer gets more than it touches. */
/*
 * An instruction that reads and writes may fault for each apart, and the store then
 * meets the zero page where there is no leaf yet.
 */
TEST_F(fault, read_modify_write)
{
	const size_t leaves = 8;
	char *map = object_map(self->fd, 0, leaves * LEAF_PAGES);
	size_t i;

	for (i = 0; i < leaves; i++)
		asm volatile("addl %1, %0"
			     : "+m" (*(int *)(map + i * LEAF_BYTES + 8 * PAGE)) : "r" (7));
	for (i = 0; i < leaves; i++)
		EXPECT_EQ(7, *(int *)(map + i * LEAF_BYTES + 8 * PAGE));
	munmap(map, leaves * LEAF_BYTES);
}

TEST_F(fault, madvise)
{
	const size_t pages = 256;
	char *map = object_map(self->fd, 0, pages);
	uint64_t ahead;

	EXPECT_EQ(0, madvise(map, pages * PAGE, MADV_SEQUENTIAL));
	EXPECT_EQ(0, madvise(map, pages * PAGE, MADV_WILLNEED));
	ASSERT_EQ(0, madvise(map, pages * PAGE, MADV_RANDOM));
	ahead = counter("fault_ahead");
	pages_fill(map, TAG, 0, pages / 2, 1);
	EXPECT_EQ(ahead, counter("fault_ahead"));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages / 2, 1));
	EXPECT_EQ(0, pages_not_zero(map + pages / 2 * PAGE, pages / 2));
	munmap(map, pages * PAGE);
}

static void *map_at(int fd, off_t offset, size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

TEST_F(fault, ends_of_an_object)
{
	char *map;

	/* The last page, and one far up. */
	map = map_at(self->fd, OBJECT_END - PAGE, PAGE);
	ASSERT_NE(MAP_FAILED, map);
	page_fill(map, TAG, 1, 1);
	EXPECT_TRUE(page_is(map, TAG, 1, 1));
	munmap(map, PAGE);
	map = map_at(self->fd, 127 * TIB + LEAF_BYTES - PAGE, 2 * PAGE);
	ASSERT_NE(MAP_FAILED, map);
	pages_fill(map, TAG, 10, 2, 1);
	munmap(map, 2 * PAGE);
	map = map_at(self->fd, 127 * TIB + LEAF_BYTES - PAGE, 2 * PAGE);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, pages_wrong(map, TAG, 10, 2, 1));
	munmap(map, 2 * PAGE);

	EXPECT_EQ(MAP_FAILED, map_at(self->fd, OBJECT_END, PAGE));
	EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW) TH_LOG("errno %d", errno);
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, OBJECT_END - PAGE, 2 * PAGE));
	EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW) TH_LOG("errno %d", errno);
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, 0x7ffffffffffff000, 2 * PAGE));
	EXPECT_TRUE(errno == EINVAL || errno == EOVERFLOW) TH_LOG("errno %d", errno);
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, 1, PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, map_at(self->fd, 0, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(fault, protections)
{
	int rd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	char *map = object_map(self->fd, 0, 2);
	unsigned char byte;

	/* What the mapping does not allow is SIGSEGV, before and after there is a page. */
	ASSERT_EQ(0, mprotect(map, 2 * PAGE, PROT_READ));
	EXPECT_EQ(0, try_load(map, &byte));
	EXPECT_EQ(SIGSEGV, try_store(map, 1));
	EXPECT_EQ(SIGSEGV, try_store(map + PAGE, 1));
	ASSERT_EQ(0, mprotect(map, 2 * PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, try_store(map, 1));
	ASSERT_EQ(0, mprotect(map, 2 * PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, try_load(map, &byte));
	ASSERT_EQ(0, mprotect(map, 2 * PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, try_store(map, 2));
	EXPECT_EQ(0, try_load(map, &byte));
	EXPECT_EQ(1, byte);
	munmap(map, 2 * PAGE);

	/* A descriptor that cannot write gives no mapping that can. */
	ASSERT_GE(rd, 0);
	EXPECT_EQ(MAP_FAILED, map_at(rd, 0, PAGE));
	EXPECT_EQ(EACCES, errno);
	map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, rd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_TRUE(page_is_zero(map));
	EXPECT_EQ(-1, mprotect(map, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	munmap(map, PAGE);
	close(rd);
}

TEST_F(fault, code_runs)
{
	static const unsigned char code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42,%eax; ret */
	int (*function)(void);

	ASSERT_EQ(sizeof(code), pwrite(self->fd, code, sizeof(code), PAGE));
	function = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, self->fd, PAGE);
	ASSERT_NE(MAP_FAILED, (void *)function);
	EXPECT_EQ(42, function());
	if (under_pressure()) {
		EXPECT_EQ(1, object_pageout(self->fd, 1, 1));
		EXPECT_EQ(42, function());
	}
	munmap((void *)function, PAGE);
}

#define THREADS 4
#define RACED 512

struct racer {
	uint64_t *words;
	unsigned int number;
	pthread_barrier_t *start;
};

static void *store_own_words(void *arg)
{
	struct racer *racer = arg;
	size_t page;

	pthread_barrier_wait(racer->start);
	for (page = 0; page < RACED; page++)
		racer->words[page * (PAGE / 8) + racer->number] =
			page * THREADS + racer->number + 1;
	return NULL;
}

/* Threads that fault in the same pages at the same moment share one frame each. */
TEST_F(fault, same_page_at_once)
{
	struct racer racers[THREADS];
	pthread_barrier_t start;
	pthread_t threads[THREADS];
	uint64_t *words = (void *)object_map(self->fd, 0, RACED);
	size_t page, i;

	pthread_barrier_init(&start, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		racers[i] = (struct racer) { words, i, &start };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, store_own_words, &racers[i]));
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (page = 0; page < RACED; page++)
		for (i = 0; i < THREADS; i++)
			ASSERT_EQ(page * THREADS + i + 1, words[page * (PAGE / 8) + i]);
	munmap(words, RACED * PAGE);
}

TEST_HARNESS_MAIN
