// SPDX-License-Identifier: GPL-2.0
/*
 * The knobs in debugfs inject/, and a bystander: a process with an object of its own,
 * which must find every byte as it left it, whatever is done to others.  The bystander
 * must never look while something is injected: the failure would be its own.
 */
#include "vmlab_test.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define DIRECTORY "inject/"
#define TAG 0xb75

/* What is written to inject/@class; 0 or -errno. */
int inject(const char *class, const char *format, ...)
{
	char name[64], text[128];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(name, sizeof(name), DIRECTORY "%s", class);
	return debugfs_write(name, "%s\n", text);
}

void inject_off(void)
{
	if (debugfs_write("inject/all", "off\n"))
		die("cannot end the injected faults: %m");
}

static uint64_t count(const char *class, const char *field)
{
	char name[64];

	snprintf(name, sizeof(name), DIRECTORY "%s", class);
	return debugfs_value(name, field);
}

uint64_t inject_seen(const char *class)
{
	return count(class, "seen");
}

uint64_t inject_count(const char *class)
{
	return count(class, "injected");
}

struct bystander {
	pid_t pid;
	int ask, answer;
};

/* A third of its pages is on swap, if there is any, one in eight is a hole, a few are pinned. */
static int stand_by(int ask, int answer, size_t pages)
{
	int fd = object_open();
	char *map, byte;
	size_t i;

	CHECK(fd >= 0);
	map = object_map(fd, 0, pages);
	for (i = 0; i < pages; i++)
		if (i % 8)
			page_fill(map + i * PAGE, TAG, i, 1);
	CHECK(!object_pin(fd, 1, 3));
	CHECK(object_pageout(fd, 0, pages / 3) >= 0);
	CHECK(write(answer, "y", 1) == 1);
	while (read(ask, &byte, 1) == 1) {
		byte = 'y';
		for (i = 0; i < pages && byte == 'y'; i++) {
			char page[PAGE], *seen = map + i * PAGE;
			bool same = true;

			/* By its mapping and by read() in turn. */
			if (i % 2) {
				same = pread(fd, page, PAGE, i * PAGE) == (ssize_t)PAGE;
				seen = page;
			}
			if (same)
				same = i % 8 ? page_is(seen, TAG, i, 1) : page_is_zero(seen);
			if (!same) {
				note("page %zu of the bystander is not what it was", i);
				byte = 'n';
			}
		}
		if (object_count(fd, 1, 3, VMLAB_RES_PINNED | VMLAB_RES_RESIDENT) != 3) {
			note("the bystander's pinned pages are not pinned and resident");
			byte = 'n';
		}
		CHECK(write(answer, &byte, 1) == 1);
	}
	return 0;
}

struct bystander *bystander_start(size_t pages)
{
	struct bystander *other = calloc(1, sizeof(*other));
	int ask[2], answer[2];
	char byte;

	if (!other || pipe2(ask, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		die("no bystander: %m");
	other->pid = fork();
	if (other->pid < 0)
		die("no bystander: %m");
	if (!other->pid) {
		/* It ends with its parent, whose end of the pipe is the only one. */
		close(ask[1]);
		close(answer[0]);
		_exit(stand_by(ask[0], answer[1], pages));
	}
	close(ask[0]);
	close(answer[1]);
	other->ask = ask[1];
	other->answer = answer[0];
	if (read(other->answer, &byte, 1) != 1)
		die("the bystander could not make itself ready");
	return other;
}

/* Is it alive, with all its bytes? */
bool bystander_is_well(struct bystander *other)
{
	char byte;

	return write(other->ask, "?", 1) == 1 && read(other->answer, &byte, 1) == 1 && byte == 'y';
}

/* Ends it; whether it was well to the end. */
bool bystander_stop(struct bystander *other)
{
	bool well;

	close(other->ask);
	close(other->answer);
	well = !child_wait(other->pid);
	free(other);
	return well;
}

/* Frames that objects have: their pages and their own page tables. */
uint64_t used_frames(void)
{
	return pool_sum("resident") + pool_sum("leaf");
}

/*
 * Waits some seconds, if need be, until no more than @frames are used, and nothing of the disk
 * @swap, unless that is NULL.  Whether it came to that is for the caller to see.
 */
void wait_given_back(uint64_t frames, const char *swap)
{
	double until = now() + 10 * slowness();

	while (now() < until && (used_frames() > frames || (swap && swap_field(swap, "Used"))))
		usleep(20000);
}
