// SPDX-License-Identifier: GPL-2.0
/*
 * The command `vmlab`: chooses the subcommand.  What the subcommands do stands in
 * their own files; nothing here may touch the device.
 */
#include "vmlab.h"

#include <argp.h>
#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} commands[] = {
	{ "run", vmlab_run },
	{ "status", vmlab_status },
	{ "walk", vmlab_walk },
};

static const char doc[] =
	"See and use vmlab, a virtual memory system in a Linux module."
	"\v"
	"Commands:\n"
	"  run      run a program whose memory comes from vmlab\n"
	"  status   show pools, swap, objects and counters\n"
	"  walk     show the page walk of one address of a process\n"
	"\n"
	"`vmlab COMMAND --help' tells more about each.";

static int chosen = -1;

static error_t parse(int key, char *arg, struct argp_state *state)
{
	size_t i;

	switch (key) {
	case ARGP_KEY_ARG:
		for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			if (!strcmp(commands[i].name, arg))
				chosen = i;
		if (chosen < 0)
			argp_error(state, "there is no command '%s'", arg);
		/* The rest is the subcommand's. */
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a command is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.parser = parse,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = doc,
};

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("vmlab: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EXIT_FAILURE);
}

void fail_debugfs(const char *name)
{
	int error = errno;

	if (geteuid())
		fail("%s/%s: %s\ndebugfs is for root only: sudo vmlab ...", DEBUGFS, name,
		     strerror(error));
	if (access("/sys/module/vmlab", F_OK))
		fail("the module is not loaded: modprobe vmlab, or insmod vmlab.ko");
	if (error == ENOENT && access(DEBUGFS, F_OK))
		fail("debugfs is not mounted: mount -t debugfs none /sys/kernel/debug");
	fail("%s/%s: %s", DEBUGFS, name, strerror(error));
}

int main(int argc, char **argv)
{
	static char name[64];
	int first;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
	for (first = 1; strcmp(argv[first], commands[chosen].name); first++)
		;
	snprintf(name, sizeof(name), "vmlab %s", commands[chosen].name);
	argv[first] = name;
	return commands[chosen].main(argc - first, argv + first);
}
