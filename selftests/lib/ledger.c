// SPDX-License-Identifier: GPL-2.0
/*
 * An object beside a ledger of its true bytes, for tests in which anything may fail.
 * Each operation returns 0, the signal or -errno; a failure may only leave the page as
 * it was, or with the first bytes of a store that was interrupted.  It must never take
 * its truth from the object, and never take a failure that nobody could explain: wrong
 * bytes and wrong errors end the process.  Several processes may each have one; threads
 * may not, because signal handlers are a process's.
 */
#include "vmlab_test.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *truth_of(struct ledger *ledger, size_t page)
{
	return ledger->truth + page * PAGE;
}

/* A new object; -errno when there is none. */
int ledger_open(struct ledger *ledger, uint32_t tag, size_t pages, uint64_t state)
{
	*ledger = (struct ledger) { .tag = tag, .pages = pages, .state = state | 1 };
	ledger->fd = object_open();
	if (ledger->fd < 0)
		return ledger->fd;
	ledger->truth = calloc(pages, PAGE);
	ledger->maybe = calloc(pages, sizeof(*ledger->maybe));
	if (!ledger->truth || !ledger->maybe)
		die("no memory for a ledger");
	return 0;
}

/* Maps it, or maps it anew elsewhere; 0 or -errno, and then there is no mapping. */
int ledger_map(struct ledger *ledger)
{
	size_t bytes = ledger->pages * PAGE;
	char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ledger->fd, 0);
	int error = map == MAP_FAILED ? -errno : 0;

	if (ledger->map)
		munmap(ledger->map, bytes);
	ledger->map = error ? NULL : map;
	return error;
}

void ledger_close(struct ledger *ledger)
{
	size_t i;

	for (i = 0; i < ledger->pages; i++)
		free(ledger->maybe[i]);
	free(ledger->maybe);
	free(ledger->truth);
	if (ledger->map)
		munmap(ledger->map, ledger->pages * PAGE);
	close(ledger->fd);
}

/* Compares a page that was seen; settles what a failed store left open. */
static void compare(struct ledger *ledger, size_t page, const unsigned char *seen)
{
	unsigned char *truth = truth_of(ledger, page), *begun = ledger->maybe[page];
	size_t i = 0;

	while (begun && i < PAGE && seen[i] == begun[i])
		i++;
	if (memcmp(seen + i, truth + i, PAGE - i)) {
		while (seen[i] == truth[i])
			i++;
		note("%lu steps, %lu failures%s", (unsigned long)ledger->steps,
		     (unsigned long)ledger->failures, begun ? ", one a store here" : "");
		die("page %zu of %#x: byte %zu reads %#x, should be %#x", page, ledger->tag, i,
		    seen[i], truth[i]);
	}
	memcpy(truth, seen, PAGE);
	free(begun);
	ledger->maybe[page] = NULL;
}

/* By the mapping: 0 or the signal. */
int ledger_load(struct ledger *ledger, size_t page)
{
	unsigned char seen[PAGE];
	int number = try_copy(seen, ledger->map + page * PAGE, PAGE);

	if (!number)
		compare(ledger, page, seen);
	return number;
}

int ledger_read(struct ledger *ledger, size_t page)
{
	unsigned char seen[PAGE];
	ssize_t done;

	/* So that the buffer is there: else a part may come, for want of a bounce page. */
	memset(seen, 0xee, PAGE);
	done = pread(ledger->fd, seen, PAGE, page * PAGE);
	if (done < 0)
		return -errno;
	if (done != (ssize_t)PAGE)
		die("pread of a page read %zd bytes", done);
	compare(ledger, page, seen);
	return 0;
}

int ledger_store(struct ledger *ledger, size_t page)
{
	unsigned char *begun = malloc(PAGE);
	int number;

	if (!begun)
		die("no memory for a page");
	/* What an earlier one left open must be seen before: else there are three versions. */
	if (ledger->maybe[page]) {
		free(begun);
		return ledger_load(ledger, page);
	}
	page_fill(begun, ledger->tag, page, ++ledger->generation);
	number = try_copy(ledger->map + page * PAGE, begun, PAGE);
	if (number) {
		ledger->maybe[page] = begun;
		return number;
	}
	memcpy(truth_of(ledger, page), begun, PAGE);
	free(begun);
	return 0;
}

int ledger_write(struct ledger *ledger, size_t page)
{
	unsigned char bytes[PAGE];
	ssize_t done;
	int error;

	/* See ledger_store(). */
	if (ledger->maybe[page]) {
		error = ledger_read(ledger, page);
		return error == -ENOMEM ? -ENOSPC : error;
	}
	page_fill(bytes, ledger->tag, page, ++ledger->generation);
	done = pwrite(ledger->fd, bytes, PAGE, page * PAGE);
	if (done < 0)
		return -errno;
	memcpy(truth_of(ledger, page), bytes, done);
	return 0;
}

int ledger_discard(struct ledger *ledger, size_t page)
{
	int error = object_discard(ledger->fd, page, 1);

	if (error)
		return error;
	memset(truth_of(ledger, page), 0, PAGE);
	free(ledger->maybe[page]);
	ledger->maybe[page] = NULL;
	return 0;
}

static int look_at_some(void *arg)
{
	struct ledger *ledger = arg;
	int i, number;

	for (i = 0; i < 6; i++) {
		number = ledger_load(ledger, chance(&ledger->state) % ledger->pages);
		if (number && number != SIGBUS)
			return 1;
	}
	return 0;
}

/* Is @result a failure that may be? */
static void judge(struct ledger *ledger, const char *what, int result, int this, int that)
{
	ledger->steps++;
	if (!result)
		return;
	ledger->failures++;
	if (result != this && result != that)
		die("%s: failed with %d, which is not for this", what, result);
}

/* One operation at random; failures are counted. */
void ledger_step(struct ledger *ledger)
{
	size_t page = chance(&ledger->state) % ledger->pages;
	unsigned int what = chance(&ledger->state) % 32;
	uint32_t vec[64];
	int64_t done;

	if (!ledger->map || what == 31) {
		judge(ledger, "mmap", ledger_map(ledger), -ENOMEM, 0);
		return;
	}
	switch (what) {
	case 0 ... 7:
		judge(ledger, "store", ledger_store(ledger, page), SIGBUS, 0);
		break;
	case 8 ... 14:
		judge(ledger, "load", ledger_load(ledger, page), SIGBUS, 0);
		break;
	case 15 ... 17:
		judge(ledger, "write", ledger_write(ledger, page), -ENOSPC, -EIO);
		break;
	case 18 ... 20:
		judge(ledger, "read", ledger_read(ledger, page), -ENOMEM, -EIO);
		break;
	case 21 ... 22:
		judge(ledger, "DISCARD", ledger_discard(ledger, page), 0, 0);
		break;
	case 23 ... 24:
		done = object_pageout(ledger->fd, page, 64);
		judge(ledger, "PAGEOUT", done < 0 ? done : 0, 0, 0);
		break;
	case 25:
		judge(ledger, "POPULATE", object_populate(ledger->fd, page, 4), -ENOMEM, -EIO);
		break;
	case 26:
		judge(ledger, "PIN", object_pin(ledger->fd, page, 2), -ENOMEM, -EIO);
		judge(ledger, "UNPIN", object_unpin(ledger->fd, page, 2), 0, 0);
		break;
	case 27:
		judge(ledger, "RESIDENCY", object_residency(ledger->fd, page, 64, vec), -ENOMEM, 0);
		break;
	case 28:
		posix_fadvise(ledger->fd, page * PAGE, 64 * PAGE, POSIX_FADV_WILLNEED);
		break;
	case 29:
		if (chance(&ledger->state) % 8 == 0 && child_run(look_at_some, ledger))
			die("a forked child saw what it should not");
		break;
	case 30:
		done = object_open();
		judge(ledger, "open", done < 0 ? done : 0, -ENOMEM, 0);
		if (done >= 0)
			close(done);
		break;
	}
}

/* Every byte, when nothing fails any more. */
void ledger_check(struct ledger *ledger)
{
	size_t i;
	int error;

	for (i = 0; i < ledger->pages; i++) {
		error = i % 2 && ledger->map ? ledger_load(ledger, i) : ledger_read(ledger, i);
		if (error)
			die("page %zu of %#x cannot be read: %d", i, ledger->tag, error);
	}
}

/*
 * The life of a worker: steps for some time, and @steps at least, for which slow kernels take
 * longer; then it stops itself (SIGSTOP), so that the parent
 * can end whatever makes things fail, and once it is let go on, checks all.  Returns an exit
 * status.
 */
int ledger_work(struct ledger *ledger, unsigned int seconds, unsigned int steps)
{
	double until = now() + seconds;

	while (now() < until || ledger->steps < steps)
		ledger_step(ledger);
	note("%lu steps, %lu failures", (unsigned long)ledger->steps,
	     (unsigned long)ledger->failures);
	raise(SIGSTOP);
	ledger_check(ledger);
	return 0;
}
