// SPDX-License-Identifier: GPL-2.0
/*
 * What 5,000 mappings cost: to evict a page, vmlab looks at every VMA that maps the
 * 2 MiB of the object which the page lies in.  The preload library gives each mapping
 * its own offset, so these are few; beside it the same with one mapping, and with
 * 5,000 at one offset, as a library would do that gave offsets no thought.  Times are
 * printed, and never judged.  (Fewer where the kernel is slow.)
 *
 * vmlab-test: timeout=300 phases=plain
 */
#include "kselftest_harness.h"
#include "vmlab_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAPPINGS	5000
#define PAGES_EACH	16UL
#define BYTES_EACH	(PAGES_EACH * PAGE)
#define RW		(PROT_READ | PROT_WRITE)
#define LEAVES		(MAPPINGS * BYTES_EACH / LEAF_BYTES + 512)

static char *maps[MAPPINGS];

static unsigned int mappings(void)
{
	return scaled(MAPPINGS, 1000);
}

/* The most VMAs of the device that share 2 MiB of an object, and how many there are. */
static unsigned int most_in_a_leaf(unsigned int *vmas)
{
	static unsigned int leaf[LEAVES];
	unsigned long start, end, offset;
	unsigned int most = 0;
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");

	CHECK(file);
	memset(leaf, 0, sizeof(leaf));
	*vmas = 0;
	while (fgets(line, sizeof(line), file)) {
		unsigned long at, last;

		CHECK(sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3);
		if (!strstr(line, "/dev/vmlab"))
			continue;
		++*vmas;
		last = offset + end - start - 1;
		for (at = offset / LEAF_BYTES; at <= last / LEAF_BYTES; at++) {
			CHECK(at < LEAVES);
			if (++leaf[at] > most)
				most = leaf[at];
		}
	}
	fclose(file);
	return most;
}

/* Touches a page of each, evicts @nr of them one by one, and reads these again. */
static void measure(const char *what, unsigned int nr)
{
	unsigned int vmas, most, i;
	double begin, touched, evicted, back;
	int fd = object_open();
	uint64_t done = 0;

	CHECK(fd >= 0);
	begin = now();
	for (i = 0; i < mappings(); i++)
		page_fill(maps[i], 1, i, 1);
	touched = now();
	for (i = 0; i < nr; i++) {
		struct vmlab_ioc_range range = {
			.size = sizeof(range),
			.flags = VMLAB_RANGE_ADDRESS,
			.offset = (uint64_t)maps[i],
			.length = PAGE,
		};

		CHECK(!ioctl(fd, VMLAB_IOC_PAGEOUT, &range));
		done += range.done / PAGE;
	}
	evicted = now();
	for (i = 0; i < nr; i++)
		CHECK(page_is(maps[i], 1, i, 1));
	back = now();
	most = most_in_a_leaf(&vmas);
	note("%s: %u VMAs, at most %u in 2 MiB; %llu pages evicted", what, vmas, most,
	     (unsigned long long)done);
	note("  per page: touch %.0f us, evict %.0f us, back %.0f us",
	     (touched - begin) * 1e6 / mappings(), (evicted - touched) * 1e6 / nr,
	     (back - evicted) * 1e6 / nr);
	CHECK(done > nr / 2);
	close(fd);
}

static int inside_library(void)
{
	unsigned int i, vmas;
	double begin = now();

	for (i = 0; i < mappings(); i++) {
		maps[i] = mmap(NULL, BYTES_EACH, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(maps[i] != MAP_FAILED);
	}
	note("mmap() by the library: %.0f us each", (now() - begin) * 1e6 / mappings());
	measure("by the library", mappings());
	CHECK(most_in_a_leaf(&vmas) <= LEAF_BYTES / BYTES_EACH + 1);
	CHECK(vmas >= mappings());
	begin = now();
	for (i = 0; i < mappings(); i++)
		CHECK(!munmap(maps[i], BYTES_EACH));
	note("munmap() by the library: %.0f us each", (now() - begin) * 1e6 / mappings());
	CHECK(!most_in_a_leaf(&vmas) && !vmas);
	return 0;
}

static int one_mapping(void *unused)
{
	int fd = object_open();
	char *map = mmap(NULL, mappings() * BYTES_EACH, RW, MAP_PRIVATE, fd, 0);
	unsigned int i;

	CHECK(map != MAP_FAILED);
	for (i = 0; i < mappings(); i++)
		maps[i] = map + i * BYTES_EACH;
	measure("one mapping", mappings());
	return 0;
}

static int one_offset(void *unused)
{
	int fd = object_open();
	unsigned int i, vmas;

	for (i = 0; i < mappings(); i++) {
		maps[i] = mmap(NULL, BYTES_EACH, RW, MAP_PRIVATE, fd, 0);
		CHECK(maps[i] != MAP_FAILED);
	}
	/* A few will do: each of them makes vmlab look at all VMAs. */
	measure("all at one offset", mappings() / 50);
	CHECK(most_in_a_leaf(&vmas) == mappings());
	return 0;
}

__attribute__((constructor)) static void inside_main(void)
{
	if (getenv(PRELOAD_INSIDE))
		exit(inside_library());
}

FIXTURE(maps)
{
};

FIXTURE_SETUP(maps)
{
	ASSERT_EQ(0, swap_use_only(pressure_disk()));
}

FIXTURE_TEARDOWN(maps)
{
	EXPECT_VERIFY_OK();
	unlink(PRELOAD_STATS);
	swap_all_off();
}

TEST_F_TIMEOUT(maps, five_thousand, 280)
{
	EXPECT_EQ(0, child_run(one_mapping, NULL));
	EXPECT_EQ(0, preload_inside("library"));
	EXPECT_GE(preload_stat(" mmap "), mappings());
	EXPECT_EQ(0, preload_stat(" failed "));
	EXPECT_EQ(0, child_run(one_offset, NULL));
}

TEST_HARNESS_MAIN
