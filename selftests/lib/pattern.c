// SPDX-License-Identifier: GPL-2.0
/*
 * Patterns: each page says in its first three words who wrote it, as which
 * page, and which time; the rest follows from these, so that no two pages of a
 * test are alike and a page in the wrong place can be named.  It must never
 * take what it compares with from the memory under test.
 */
#include "vmlab_test.h"

#include <string.h>

#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ULL;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dULL;
	return x ^ (x >> 33);
}

static uint64_t first_word(uint32_t tag, uint64_t number, uint32_t generation)
{
	return mix(number ^ mix(((uint64_t)generation << 32) | tag));
}

#define STEP 0x9e3779b97f4a7c15ULL

void page_fill(void *page, uint32_t tag, uint64_t number, uint32_t generation)
{
	uint64_t *words = page;
	uint64_t word = first_word(tag, number, generation);
	unsigned int i;

	words[0] = tag;
	words[1] = number;
	words[2] = generation;
	for (i = 3; i < WORDS; i++) {
		word += STEP;
		words[i] = word;
	}
}

bool page_is(const void *page, uint32_t tag, uint64_t number, uint32_t generation)
{
	const volatile uint64_t *words = page;
	uint64_t word = first_word(tag, number, generation);
	unsigned int i;

	if (words[0] != tag || words[1] != number || words[2] != generation)
		return false;
	for (i = 3; i < WORDS; i++) {
		word += STEP;
		if (words[i] != word)
			return false;
	}
	return true;
}

bool page_is_zero(const void *page)
{
	const volatile uint64_t *words = page;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (words[i])
			return false;
	return true;
}

void pages_fill(void *base, uint32_t tag, uint64_t first, uint64_t pages,
		uint32_t generation)
{
	uint64_t i;

	for (i = 0; i < pages; i++)
		page_fill((char *)base + i * PAGE, tag, first + i, generation);
}

static void complain(const void *page, uint32_t tag, uint64_t number, uint32_t generation)
{
	const uint64_t *words = page;

	note("page %#lx of %u.%u is wrong: its head reads %#lx of %lu.%lu", (unsigned long)number,
	     tag, generation, (unsigned long)words[1], (unsigned long)words[0],
	     (unsigned long)words[2]);
}

/* How many pages are not what pages_fill() made them; names the first. */
uint64_t pages_wrong(const void *base, uint32_t tag, uint64_t first, uint64_t pages,
		     uint32_t generation)
{
	uint64_t wrong = 0, i;

	for (i = 0; i < pages; i++) {
		const char *page = (const char *)base + i * PAGE;

		if (page_is(page, tag, first + i, generation))
			continue;
		if (!wrong++)
			complain(page, tag, first + i, generation);
	}
	return wrong;
}

uint64_t pages_not_zero(const void *base, uint64_t pages)
{
	uint64_t wrong = 0, i;

	for (i = 0; i < pages; i++)
		wrong += !page_is_zero((const char *)base + i * PAGE);
	return wrong;
}

/* The same by write() and read(). */
int object_write_pages(int fd, uint32_t tag, uint64_t first, uint64_t pages,
		       uint32_t generation)
{
	char page[PAGE];
	uint64_t i;

	for (i = first; i < first + pages; i++) {
		ssize_t done;

		page_fill(page, tag, i, generation);
		done = pwrite(fd, page, PAGE, i * PAGE);
		if (done != (ssize_t)PAGE)
			return done < 0 ? -errno : -EIO;
	}
	return 0;
}

uint64_t object_wrong_pages(int fd, uint32_t tag, uint64_t first, uint64_t pages,
			    uint32_t generation)
{
	char page[PAGE];
	uint64_t wrong = 0, i;

	for (i = first; i < first + pages; i++) {
		memset(page, 0xee, PAGE);
		if (pread(fd, page, PAGE, i * PAGE) == (ssize_t)PAGE &&
		    page_is(page, tag, i, generation))
			continue;
		if (!wrong++)
			complain(page, tag, i, generation);
	}
	return wrong;
}
