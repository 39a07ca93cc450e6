// SPDX-License-Identifier: GPL-2.0
/*
 * read(), write() and lseek() on the frames that mmap shows: the same bytes by
 * every way, holes that cost nothing, buffers that are vmlab mappings
 * themselves, buffers that are not there, and the end of the object.  It must
 * never compare a mapping with itself: the expected bytes are kept apart.
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <sys/sendfile.h>
#include <sys/uio.h>

#define TAG 0xbeef

FIXTURE(rw)
{
	int fd;
};

FIXTURE_SETUP(rw)
{
	self->fd = object_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(rw)
{
	EXPECT_VERIFY_OK();
	close(self->fd);
}

static void scribble(void *to, size_t bytes, uint64_t *state)
{
	unsigned char *byte = to;

	while (bytes--)
		*byte++ = chance(state) >> 40;
}

/* Pieces of any size at any place, by either way in and either way out. */
TEST_F(rw, same_bytes_as_the_mapping)
{
	const size_t pages = 64, size = pages * PAGE;
	char *map = object_map(self->fd, 0, pages), *model = calloc(pages, PAGE);
	char *piece = malloc(4 * PAGE);
	uint64_t state = seed();
	int round;

	ASSERT_NE(NULL, model);
	for (round = 0; round < 400; round++) {
		size_t length = 1 + chance(&state) % (chance(&state) % 4 ? 300 : 4 * PAGE);
		size_t offset = chance(&state) % (size - length);

		scribble(piece, length, &state);
		memcpy(model + offset, piece, length);
		if (chance(&state) % 2)
			memcpy(map + offset, piece, length);
		else
			ASSERT_EQ(length, pwrite(self->fd, piece, length, offset));
		length = 1 + chance(&state) % (4 * PAGE);
		offset = chance(&state) % (size - length);
		if (chance(&state) % 2) {
			ASSERT_EQ(length, pread(self->fd, piece, length, offset));
			ASSERT_EQ(0, memcmp(model + offset, piece, length));
		} else {
			ASSERT_EQ(0, memcmp(model + offset, map + offset, length));
		}
	}
	free(piece);
	free(model);
	munmap(map, size);
}

TEST_F(rw, holes_read_as_zeros_for_nothing)
{
	const size_t pages = 2 * LEAF_PAGES;
	char *buffer = malloc(pages * PAGE);
	uint64_t before = pool_sum("free");

	memset(buffer, 0xee, pages * PAGE);
	ASSERT_EQ(pages * PAGE, pread(self->fd, buffer, pages * PAGE, 5 * TIB));
	EXPECT_EQ(0, pages_not_zero(buffer, pages));
	EXPECT_EQ(0, object_frames(self->fd));
	EXPECT_EQ(before, pool_sum("free"));
	free(buffer);
}

TEST_F(rw, partial_pages)
{
	char page[PAGE], expect[PAGE] = { 0 };

	/* Some bytes into a hole: the rest of the page is zeros. */
	ASSERT_EQ(3, pwrite(self->fd, "abc", 3, 100));
	memcpy(expect + 100, "abc", 3);
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 0));
	EXPECT_EQ(0, memcmp(expect, page, PAGE));
	/* Across two pages: one of them a hole. */
	ASSERT_EQ(6, pwrite(self->fd, "uvwxyz", 6, PAGE - 3));
	ASSERT_EQ(8, pread(self->fd, page, 8, PAGE - 4));
	EXPECT_EQ(0, memcmp("\0uvwxyz\0", page, 8));
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 0));
	memcpy(expect + PAGE - 3, "uvw", 3);
	EXPECT_EQ(0, memcmp(expect, page, PAGE));
}

TEST_F(rw, vectors)
{
	char a[10], b[PAGE], c[3 * PAGE], expect[10 + PAGE + 3 * PAGE];
	struct iovec vec[] = { { a, sizeof(a) }, { NULL, 0 }, { b, sizeof(b) }, { c, sizeof(c) } };
	uint64_t state = seed();
	const off_t offset = LEAF_BYTES - PAGE - 7;

	scribble(expect, sizeof(expect), &state);
	memcpy(a, expect, sizeof(a));
	memcpy(b, expect + sizeof(a), sizeof(b));
	memcpy(c, expect + sizeof(a) + sizeof(b), sizeof(c));
	ASSERT_EQ(sizeof(expect), pwritev(self->fd, vec, 4, offset));
	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	memset(c, 0, sizeof(c));
	ASSERT_EQ(sizeof(expect), preadv(self->fd, vec, 4, offset));
	EXPECT_EQ(0, memcmp(a, expect, sizeof(a)));
	EXPECT_EQ(0, memcmp(b, expect + sizeof(a), sizeof(b)));
	EXPECT_EQ(0, memcmp(c, expect + sizeof(a) + sizeof(b), sizeof(c)));
	EXPECT_EQ(0, pwritev(self->fd, vec, 0, 0));
	EXPECT_EQ(0, pwrite(self->fd, a, 0, 0));
	EXPECT_EQ(0, pread(self->fd, a, 0, 0));
}

/* The buffer is a mapping of another object, resident, on swap, or a hole. */
TEST_F(rw, buffer_of_another_object)
{
	const size_t pages = 32;
	int other = object_open();
	char *map;

	ASSERT_GE(other, 0);
	map = object_map(other, 0, pages);
	pages_fill(map, TAG, 0, pages, 1);
	if (under_pressure())
		EXPECT_GT(object_pageout(other, 0, pages), 0);
	ASSERT_EQ(pages * PAGE, pwrite(self->fd, map, pages * PAGE, 0));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 0, pages, 1));
	ASSERT_EQ(0, object_discard(other, 0, pages));
	/* Into a hole, and out of one. */
	ASSERT_EQ(pages * PAGE, pread(self->fd, map, pages * PAGE, 0));
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, pages, 1));
	ASSERT_EQ(0, object_discard(other, 0, pages));
	ASSERT_EQ(pages * PAGE, pwrite(self->fd, map, pages * PAGE, 0));
	EXPECT_EQ(pages * PAGE, pread(self->fd, map, pages * PAGE, 0));
	EXPECT_EQ(0, pages_not_zero(map, pages));
	munmap(map, pages * PAGE);
	close(other);
}

/* The buffer is the object itself: other pages, the same page, the same bytes. */
TEST_F(rw, buffer_of_the_same_object)
{
	char *map = object_map(self->fd, 0, 8), *model = calloc(8, PAGE);
	uint64_t state = seed();
	size_t step;

	scribble(map, 8 * PAGE, &state);
	memcpy(model, map, 8 * PAGE);

	/* Page 0 to page 1, page 2 from page 1, by either call. */
	ASSERT_EQ(PAGE, pwrite(self->fd, map, PAGE, PAGE));
	memcpy(model + PAGE, model, PAGE);
	ASSERT_EQ(PAGE, pread(self->fd, map + 2 * PAGE, PAGE, PAGE));
	memcpy(model + 2 * PAGE, model + PAGE, PAGE);
	EXPECT_EQ(0, memcmp(model, map, 8 * PAGE));

	/* Within one page, both directions, apart. */
	ASSERT_EQ(1000, pwrite(self->fd, map + 3 * PAGE, 1000, 3 * PAGE + 2000));
	memcpy(model + 3 * PAGE + 2000, model + 3 * PAGE, 1000);
	ASSERT_EQ(500, pread(self->fd, map + 3 * PAGE, 500, 3 * PAGE + 3500));
	memcpy(model + 3 * PAGE, model + 3 * PAGE + 3500, 500);
	EXPECT_EQ(0, memcmp(model, map, 8 * PAGE));

	/* The very same bytes. */
	ASSERT_EQ(4 * PAGE, pwrite(self->fd, map + PAGE, 4 * PAGE, PAGE));
	ASSERT_EQ(4 * PAGE, pread(self->fd, map + PAGE, 4 * PAGE, PAGE));
	EXPECT_EQ(0, memcmp(model, map, 8 * PAGE));

	/* Overlapping within a page: what lies outside the target must not change. */
	for (step = 1; step < 3; step++) {
		const size_t from = 4 * PAGE + 1000, to = from + (step == 1 ? 16 : -16);

		ASSERT_EQ(2000, pwrite(self->fd, map + from, 2000, to));
		EXPECT_EQ(0, memcmp(model, map, to));
		EXPECT_EQ(0, memcmp(model + to + 2000, map + to + 2000, 8 * PAGE - to - 2000));
		memcpy(model + to, map + to, 2000);
		ASSERT_EQ(2000, pread(self->fd, map + to, 2000, from));
		EXPECT_EQ(0, memcmp(model, map, to));
		EXPECT_EQ(0, memcmp(model + to + 2000, map + to + 2000, 8 * PAGE - to - 2000));
		memcpy(model + to, map + to, 2000);
	}

	/* A hole of the object is filled from, and into, itself. */
	ASSERT_EQ(0, object_discard(self->fd, 6, 2));
	memset(model + 6 * PAGE, 0, 2 * PAGE);
	ASSERT_EQ(PAGE, pwrite(self->fd, map + 6 * PAGE, PAGE, 7 * PAGE));
	ASSERT_EQ(PAGE, pread(self->fd, map + 6 * PAGE, PAGE, 6 * PAGE));
	ASSERT_EQ(PAGE / 2, pwrite(self->fd, map + 7 * PAGE, PAGE / 2, 7 * PAGE + PAGE / 2));
	EXPECT_EQ(0, memcmp(model, map, 8 * PAGE));

	/* The source is on swap, and so is the target. */
	if (under_pressure()) {
		EXPECT_GE(object_pageout(self->fd, 0, 8), 1);
		ASSERT_EQ(2 * PAGE, pwrite(self->fd, map + PAGE / 2, 2 * PAGE, 4 * PAGE + 100));
		memcpy(model + 4 * PAGE + 100, model + PAGE / 2, 2 * PAGE);
		EXPECT_EQ(0, memcmp(model, map, 8 * PAGE));
	}
	free(model);
	munmap(map, 8 * PAGE);
}

/* A buffer that ends half way: the part that was there counts, and no more. */
TEST_F(rw, buffers_that_are_not_there)
{
	char *buffer = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	char page[PAGE];
	ssize_t done;

	ASSERT_NE(MAP_FAILED, buffer);
	ASSERT_EQ(0, munmap(buffer + PAGE, PAGE));
	EXPECT_EQ(-1, pread(self->fd, buffer + PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, buffer + PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, (void *)0xffff800000000000, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);

	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 0, 3, 1));
	memset(buffer, 0xaa, PAGE);
	done = pwrite(self->fd, buffer, 2 * PAGE, 0);
	EXPECT_EQ(PAGE, done);
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 0));
	EXPECT_EQ(0, memcmp(page, buffer, PAGE));
	EXPECT_EQ(0, object_wrong_pages(self->fd, TAG, 1, 2, 1));

	/* It ends in the middle of a page of the object. */
	done = pwrite(self->fd, buffer + 1000, PAGE, 2 * PAGE);
	EXPECT_EQ(PAGE - 1000, done);
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 2 * PAGE));
	EXPECT_EQ(0, memcmp(page, buffer, PAGE - 1000));
	page_fill(buffer, TAG, 2, 1);
	EXPECT_EQ(0, memcmp(page + PAGE - 1000, buffer + PAGE - 1000, 1000));

	memset(buffer, 0, PAGE);
	done = pread(self->fd, buffer, 2 * PAGE, PAGE);
	EXPECT_EQ(PAGE, done);
	EXPECT_TRUE(page_is(buffer, TAG, 1, 1));

	/* A failed write into a hole leaves it zeros. */
	EXPECT_EQ(-1, pwrite(self->fd, buffer + PAGE, 10, 50 * PAGE + 5));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 50 * PAGE));
	EXPECT_TRUE(page_is_zero(page));
	munmap(buffer, PAGE);
	munmap(buffer + 2 * PAGE, PAGE);
}

TEST_F(rw, the_end)
{
	char buffer[200];

	memset(buffer, 'x', sizeof(buffer));
	EXPECT_EQ(10, pwrite(self->fd, buffer, sizeof(buffer), OBJECT_END - 10));
	memset(buffer, 0, sizeof(buffer));
	EXPECT_EQ(10, pread(self->fd, buffer, sizeof(buffer), OBJECT_END - 10));
	EXPECT_EQ(0, memcmp(buffer, "xxxxxxxxxx\0", 11));
	EXPECT_EQ(0, pread(self->fd, buffer, 1, OBJECT_END));
	EXPECT_EQ(0, pread(self->fd, buffer, 1, 1LL << 60));
	EXPECT_EQ(-1, pwrite(self->fd, buffer, 1, OBJECT_END));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(-1, pwrite(self->fd, buffer, 1, 1LL << 60));
	EXPECT_EQ(EFBIG, errno);
	EXPECT_EQ(-1, pread(self->fd, buffer, 1, -1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->fd, buffer, 1, -1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(rw, seek)
{
	char page[PAGE];
	int twin;

	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(12345, lseek(self->fd, 12345, SEEK_SET));
	EXPECT_EQ(12300, lseek(self->fd, -45, SEEK_CUR));
	EXPECT_EQ(OBJECT_END, lseek(self->fd, 0, SEEK_END));
	EXPECT_EQ(0, read(self->fd, page, 1));
	EXPECT_EQ(OBJECT_END - 1, lseek(self->fd, -1, SEEK_END));
	EXPECT_EQ(-1, lseek(self->fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(self->fd, 0, 99));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(OBJECT_END - 1, lseek(self->fd, 0, SEEK_CUR));

	/* read() and write() move on, for every descriptor of the same open. */
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
	ASSERT_EQ(5, write(self->fd, "12345", 5));
	twin = dup(self->fd);
	EXPECT_EQ(5, lseek(twin, 0, SEEK_CUR));
	ASSERT_EQ(3, write(twin, "678", 3));
	EXPECT_EQ(8, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(8, pread(self->fd, page, 8, 0));
	EXPECT_EQ(0, memcmp(page, "12345678", 8));
	EXPECT_EQ(8, lseek(self->fd, 0, SEEK_CUR));
	close(twin);
}

TEST_F(rw, seek_data_and_hole)
{
	const off_t far = 3 * TIB;
	char byte = 1;

	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(7, lseek(self->fd, 7, SEEK_HOLE));
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, 10, 5, 1));
	ASSERT_EQ(0, object_write_pages(self->fd, TAG, LEAF_PAGES - 1, 2, 1));
	ASSERT_EQ(1, pwrite(self->fd, &byte, 1, far + 100));

	EXPECT_EQ(10 * PAGE, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(10 * PAGE + 33, lseek(self->fd, 10 * PAGE + 33, SEEK_DATA));
	EXPECT_EQ(15 * PAGE, lseek(self->fd, 10 * PAGE + 33, SEEK_HOLE));
	EXPECT_EQ(15 * PAGE, lseek(self->fd, 15 * PAGE, SEEK_HOLE));
	EXPECT_EQ((LEAF_PAGES - 1) * PAGE, lseek(self->fd, 15 * PAGE, SEEK_DATA));
	EXPECT_EQ((LEAF_PAGES + 1) * PAGE, lseek(self->fd, (LEAF_PAGES - 1) * PAGE, SEEK_HOLE));
	EXPECT_EQ(far, lseek(self->fd, (LEAF_PAGES + 1) * PAGE, SEEK_DATA));
	EXPECT_EQ(far + PAGE, lseek(self->fd, far, SEEK_HOLE));
	EXPECT_EQ(-1, lseek(self->fd, far + PAGE, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, lseek(self->fd, OBJECT_END, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(-1, lseek(self->fd, OBJECT_END, SEEK_HOLE));
	EXPECT_EQ(ENXIO, errno);

	/* The end of the object is a hole even behind its last page. */
	ASSERT_EQ(1, pwrite(self->fd, &byte, 1, OBJECT_END - 1));
	EXPECT_EQ(OBJECT_END, lseek(self->fd, OBJECT_END - 1, SEEK_HOLE));

	/* Pages on swap are data, discarded ones are not. */
	if (under_pressure()) {
		EXPECT_EQ(5, object_pageout(self->fd, 10, 5));
		EXPECT_EQ(10 * PAGE, lseek(self->fd, 0, SEEK_DATA));
	}
	ASSERT_EQ(0, object_discard(self->fd, 10, 5));
	EXPECT_EQ((LEAF_PAGES - 1) * PAGE, lseek(self->fd, 0, SEEK_DATA));
}

TEST_F(rw, pipes_and_files)
{
	char *map = object_map(self->fd, 0, 16), page[PAGE];
	FILE *file = tmpfile();
	ssize_t sent, done;
	int ends[2];
	off_t offset = 2 * PAGE;

	ASSERT_NE(NULL, file);
	ASSERT_EQ(0, pipe(ends));
	pages_fill(map, TAG, 0, 4, 1);
	/* From the mapping into a pipe and back into a hole of it. */
	ASSERT_EQ(4 * PAGE, write(ends[1], map, 4 * PAGE));
	ASSERT_EQ(4 * PAGE, read(ends[0], map + 4 * PAGE, 4 * PAGE));
	EXPECT_EQ(0, pages_wrong(map + 4 * PAGE, TAG, 0, 4, 1));
	/* The same with a file. */
	ASSERT_EQ(4 * PAGE, pwrite(fileno(file), map, 4 * PAGE, 0));
	ASSERT_EQ(4 * PAGE, pread(fileno(file), map + 8 * PAGE, 4 * PAGE, 0));
	EXPECT_EQ(0, pages_wrong(map + 8 * PAGE, TAG, 0, 4, 1));
	/* sendfile() out of the object, a hole among the pages, and splice() into it. */
	sent = sendfile(ends[1], self->fd, &offset, PAGE);
	ASSERT_EQ(PAGE, sent);
	EXPECT_EQ(3 * PAGE, offset);
	ASSERT_EQ(PAGE, read(ends[0], page, PAGE));
	EXPECT_TRUE(page_is(page, TAG, 2, 1));
	offset = 100 * PAGE;
	ASSERT_EQ(PAGE, sendfile(ends[1], self->fd, &offset, PAGE));
	ASSERT_EQ(PAGE, read(ends[0], page, PAGE));
	EXPECT_TRUE(page_is_zero(page));
	page_fill(page, TAG, 77, 2);
	ASSERT_EQ(PAGE, write(ends[1], page, PAGE));
	offset = 200 * PAGE + 17;
	for (sent = 0; sent < PAGE; sent += done) {
		done = splice(ends[0], NULL, self->fd, &offset, PAGE - sent, 0);
		ASSERT_GT(done, 0);
	}
	memset(page, 0, PAGE);
	ASSERT_EQ(PAGE, pread(self->fd, page, PAGE, 200 * PAGE + 17));
	EXPECT_TRUE(page_is(page, TAG, 77, 2));
	/* What is in a pipe stays as it was when the object changes. */
	offset = 0;
	ASSERT_EQ(PAGE, splice(self->fd, &offset, ends[1], NULL, PAGE, 0));
	page_fill(map, TAG, 0, 3);
	ASSERT_EQ(PAGE, read(ends[0], page, PAGE));
	EXPECT_TRUE(page_is(page, TAG, 0, 1));
	fclose(file);
	close(ends[0]);
	close(ends[1]);
	munmap(map, 16 * PAGE);
}

/* get_user_pages() cannot have these frames: direct I/O must be refused, not done halfway. */
TEST_F(rw, direct_io_is_refused)
{
	int disk = open(spare_disk(), O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *map = object_map(self->fd, 0, 2);

	ASSERT_GE(disk, 0);
	page_fill(map, TAG, 0, 1);
	EXPECT_EQ(-1, pread(disk, map, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(disk, map + PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, pages_wrong(map, TAG, 0, 1, 1));
	munmap(map, 2 * PAGE);
	close(disk);
}

TEST_F(rw, modes_and_syncs)
{
	int rd = open("/dev/vmlab", O_RDONLY | O_CLOEXEC);
	int wr = open("/dev/vmlab", O_WRONLY | O_CLOEXEC);
	char byte = 1;

	ASSERT_GE(rd, 0);
	ASSERT_GE(wr, 0);
	EXPECT_EQ(-1, write(rd, &byte, 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, read(wr, &byte, 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(1, write(wr, &byte, 1));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, fdatasync(self->fd));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, MIB, POSIX_FADV_WILLNEED));
	EXPECT_EQ(0, posix_fadvise(self->fd, 0, MIB, POSIX_FADV_RANDOM));
	EXPECT_EQ(-1, ftruncate(self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
	close(rd);
	close(wr);
}

/* One call that moves more than the pool holds. */
TEST_F(rw, larger_than_the_pool)
{
	const size_t pages = under_pressure() ? pool_sum("total") * 3 / 2 : 2048;
	char *buffer = malloc(pages * PAGE);

	ASSERT_NE(NULL, buffer);
	pages_fill(buffer, TAG, 0, pages, 4);
	ASSERT_EQ(pages * PAGE, pwrite(self->fd, buffer, pages * PAGE, 0));
	memset(buffer, 0, pages * PAGE);
	ASSERT_EQ(pages * PAGE, pread(self->fd, buffer, pages * PAGE, 0));
	EXPECT_EQ(0, pages_wrong(buffer, TAG, 0, pages, 4));
	free(buffer);
}

TEST_HARNESS_MAIN
