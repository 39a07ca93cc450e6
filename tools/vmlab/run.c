// SPDX-License-Identifier: GPL-2.0
/*
 * vmlab run: starts a program with libvmlab-preload.so in front of it.  It must say
 * what is wrong before the program starts: the library itself never complains, it
 * falls back to ordinary memory.
 */
#include "vmlab.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LIBRARY	"libvmlab-preload.so"

struct run {
	const char *device;
	const char *min;
	const char *alloc;
	const char *stats;
	char **program;
};

static const struct {
	const char *name;
	const char *file;
	const char *package;
} allocators[] = {
	{ "jemalloc", "libjemalloc.so.2", "libjemalloc2" },
	{ "mimalloc", "libmimalloc.so.2", "libmimalloc2.0" },
	{ "tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4" },
};

static const char doc[] =
	"Run PROGRAM; its private anonymous memory comes from vmlab, and that of its children."
	"\v"
	"Only what the program, or its allocator, maps through the C library's mmap() is "
	"redirected: jemalloc, mimalloc, tcmalloc and programs that map their heaps themselves "
	"(python3, gcc, java, node). malloc() of the C library itself cannot be; --alloc puts "
	"another in its place. Statically linked and setuid programs run on ordinary memory.\n\n"
	"What cannot be mapped from vmlab (a stack, code, too many mappings) is "
	"ordinary memory: --stats tells how much. The status is PROGRAM's own; 127: not found, "
	"126: cannot be run.";

static const struct argp_option options[] = {
	{ "instance", 'i', "DEVICE", 0,
	  "the device of the instance to use; default: /dev/vmlab", 0 },
	{ "min", 'm', "SIZE", 0,
	  "smallest mapping that comes from vmlab, with K, M or G; default: 64K", 0 },
	{ "alloc", 'a', "NAME", 0,
	  "jemalloc, mimalloc, tcmalloc or a library's path: an allocator for malloc()", 0 },
	{ "stats", 's', "FILE", OPTION_ARG_OPTIONAL,
	  "append counts to FILE as each process exits; without FILE to standard error", 0 },
	{ 0 }
};

static void check_size(const char *text, struct argp_state *state)
{
	char *end;

	errno = 0;
	if (*text < '0' || *text > '9' || !strtoull(text, &end, 0) || errno ||
	    (*end && (!strchr("kKmMgG", *end) || end[1])))
		argp_error(state, "'%s' is no size", text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run *run = state->input;

	switch (key) {
	case 'i':
		run->device = arg;
		return 0;
	case 'm':
		check_size(arg, state);
		run->min = arg;
		return 0;
	case 'a':
		run->alloc = arg;
		return 0;
	case 's':
		run->stats = arg ?: "-";
		return 0;
	case ARGP_KEY_ARGS:
		run->program = state->argv + state->next;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "the program to run is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "[--] PROGRAM [ARGUMENT...]",
	.doc = doc,
};

static void check_device(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);
	void *page;

	if (fd < 0 && (errno == ENOENT || errno == ENXIO))
		fail("there is no %s: is the module loaded? (modprobe vmlab)", device);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		fail("%s: %m\nIt is root's alone, unless a udev rule gives it to a group: see docs/vmlab.rules",
		     device);
	if (fd < 0)
		fail("%s: %m", device);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (page == MAP_FAILED)
		fail("%s does not map privately: %m", device);
	munmap(page, 4096);
	close(fd);
}

/* Beside this command, where it was built; or in lib/vmlab, where it is installed. */
static void find_library(char *path)
{
	static const char * const places[] = { "", "../lib/vmlab/" };
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t i;

	if (length < 0)
		fail("/proc/self/exe: %m");
	self[length] = '\0';
	*(strrchr(self, '/') + 1) = '\0';
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (snprintf(path, PATH_MAX, "%s%s%s", self, places[i], LIBRARY) < PATH_MAX &&
		    !access(path, R_OK))
			return;
	}
	fail("%s is neither in %s nor in %s../lib/vmlab", LIBRARY, self, self);
}

static void find_allocator(const char *name, char *path)
{
	static const char * const places[] = {
		"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/lib", "/usr/lib",
	};
	size_t which, i;

	if (strchr(name, '/')) {
		if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX || access(path, R_OK))
			fail("%s: %m", name);
		return;
	}
	for (which = 0; which < sizeof(allocators) / sizeof(allocators[0]); which++)
		if (!strcmp(allocators[which].name, name))
			break;
	if (which == sizeof(allocators) / sizeof(allocators[0]))
		fail("'%s' is no allocator that is known here: jemalloc, mimalloc, tcmalloc or a path",
		     name);
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, PATH_MAX, "%s/%s", places[i], allocators[which].file);
		if (!access(path, R_OK))
			return;
	}
	fail("%s is not installed (Debian: apt-get install %s)", allocators[which].file,
	     allocators[which].package);
}

/* Ours is first, so that the allocator's calls of mmap() find it. */
static void set_preload(const char *alloc)
{
	const char *before = getenv("LD_PRELOAD");
	char library[PATH_MAX], allocator[PATH_MAX] = "", *all;

	find_library(library);
	if (alloc)
		find_allocator(alloc, allocator);
	if (strpbrk(library, " :") || strpbrk(allocator, " :"))
		fail("LD_PRELOAD cannot hold a path with a blank or a colon: %s %s", library,
		     allocator);
	if (asprintf(&all, "%s%s%s%s%s", library, alloc ? ":" : "", allocator,
		     before && *before ? ":" : "", before ?: "") < 0)
		fail("no memory");
	setenv("LD_PRELOAD", all, 1);
	free(all);
}

/* The program may change its directory. */
static void set_stats(const char *file)
{
	char *here = getcwd(NULL, 0), *path;

	if (*file == '/' || !strcmp(file, "-") || !here)
		path = strdup(file);
	else if (asprintf(&path, "%s/%s", here, file) < 0)
		path = NULL;
	if (!path)
		fail("no memory");
	setenv("VMLAB_PRELOAD_STATS", path, 1);
	free(path);
	free(here);
}

int vmlab_run(int argc, char **argv)
{
	struct run run = { .device = "/dev/vmlab" };

	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &run);
	check_device(run.device);
	set_preload(run.alloc);
	setenv("VMLAB_PRELOAD_DEVICE", run.device, 1);
	if (run.min)
		setenv("VMLAB_PRELOAD_MIN", run.min, 1);
	if (run.stats)
		set_stats(run.stats);
	if (run.alloc && !strcmp(run.alloc, "tcmalloc"))
		setenv("TCMALLOC_SKIP_SBRK", "1", 0);
	execvp(run.program[0], run.program);
	fprintf(stderr, "vmlab: %s: %m\n", run.program[0]);
	return errno == ENOENT ? 127 : 126;
}
