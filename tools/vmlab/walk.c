// SPDX-License-Identifier: GPL-2.0
/*
 * vmlab walk: asks debugfs for the page walk of one address and prints the answer,
 * which is the kernel's own text.
 */
#include "vmlab.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct walk {
	unsigned long long pid;
	unsigned long long address;
	int nr;
};

static unsigned long long read_number(const char *text, int base, struct argp_state *state)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, base);
	if (errno || end == text || *end || *text == '-')
		argp_error(state, "'%s' is no number", text);
	return value;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct walk *walk = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (walk->nr == 0)
			walk->pid = read_number(arg, 10, state);
		else if (walk->nr == 1)
			walk->address = read_number(arg, 16, state);
		else
			argp_error(state, "too many arguments");
		walk->nr++;
		return 0;
	case ARGP_KEY_END:
		if (walk->nr < 2)
			argp_error(state, "a process and an address are needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "PID ADDRESS",
	.doc = "Show what every level of the hardware page table has for ADDRESS (hexadecimal) of "
	       "process PID, and vmlab's own slot and frame beside it."
	       "\v"
	       "Addresses of a process stand in /proc/PID/maps.",
};

int vmlab_walk(int argc, char **argv)
{
	struct walk walk = { };
	char text[4096];
	ssize_t got;
	int fd, length;

	argp_parse(&argp, argc, argv, 0, NULL, &walk);
	fd = open(DEBUGFS "/walk", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail_debugfs("walk");
	length = snprintf(text, sizeof(text), "%llu %#llx\n", walk.pid, walk.address);
	if (write(fd, text, length) < 0) {
		if (errno == ESRCH)
			fail("there is no process %llu", walk.pid);
		fail("process %llu, address %#llx: %m", walk.pid, walk.address);
	}
	while ((got = read(fd, text, sizeof(text))) > 0)
		fwrite(text, 1, got, stdout);
	if (got < 0)
		fail("process %llu, address %#llx: %m", walk.pid, walk.address);
	close(fd);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
