// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what was redirected, and what was not and why.  VMLAB_PRELOAD_STATS=FILE
 * appends a line for each process that mapped memory of vmlab, or could not, and that
 * ends by exit().  It must never be what makes a program fail.
 */
#include "preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

uint64_t preload_counts[NR_COUNTS];

static char file[PATH_MAX];

/* Called once. */
void stats_init(void)
{
	const char *said = getenv("VMLAB_PRELOAD_STATS");

	if (said && strlen(said) < sizeof(file))
		strcpy(file, said);
}

/* A child counts what it does itself. */
void stats_child(void)
{
	memset(preload_counts, 0, sizeof(preload_counts));
}

static char *add_text(char *to, const char *text)
{
	size_t length = strlen(text);

	memcpy(to, text, length);
	return to + length;
}

static char *add_number(char *to, uint64_t number)
{
	char digits[20];
	int nr = 0;

	do {
		digits[nr++] = '0' + number % 10;
		number /= 10;
	} while (number);
	while (nr)
		*to++ = digits[--nr];
	return to;
}

__attribute__((destructor)) static void stats_print(void)
{
	static const char * const names[] = {
#define X(name) #name,
		PRELOAD_COUNTERS(X)
#undef X
	};
	char line[NR_COUNTS * 40 + 64], *end = line, comm[17] = "";
	bool own = strcmp(file, "-");
	struct book_guard guard;
	int i, fd;

	if (!*file)
		return;
	/* So that a child which mapped nothing does not count what its parent did. */
	book_lock(&guard);
	book_unlock(&guard);
	if (!preload_counts[COUNT_mmap] && !preload_counts[COUNT_failed])
		return;
	sys_call(SYS_prctl, PR_GET_NAME, (long)comm, 0, 0, 0, 0);
	for (i = 0; comm[i]; i++)
		if (comm[i] <= ' ')
			comm[i] = '_';
	end = add_text(end, "vmlab-preload pid ");
	end = add_number(end, sys_getpid());
	end = add_text(end, " comm ");
	end = add_text(end, comm);
	for (i = 0; i < NR_COUNTS; i++) {
		end = add_text(end, " ");
		end = add_text(end, names[i]);
		end = add_text(end, " ");
		end = add_number(end, preload_counts[i]);
	}
	*end++ = '\n';
	fd = own ? sys_open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : 2;
	if (fd < 0)
		return;
	sys_write(fd, line, end - line);
	if (own)
		sys_close(fd);
}
