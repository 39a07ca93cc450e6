// SPDX-License-Identifier: GPL-2.0
/*
 * vmlab's debugfs tree, read and written as a script would.  It must never
 * guess: a counter or a column that is not there ends the process as failed.
 */
#include "vmlab_test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TREE "/sys/kernel/debug/vmlab/"
#define MAX_NODES 64

static unsigned long first_mb[MAX_NODES];

bool under_pressure(void)
{
	return getenv("VMLAB_PRESSURE");
}

/* The bytes read, with a 0 behind them, or -errno. */
int debugfs_read(const char *name, char *text, size_t size)
{
	char path[256];
	size_t used = 0;
	ssize_t got;
	int fd;

	text[0] = '\0';
	snprintf(path, sizeof(path), TREE "%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text + used, size - 1 - used);
		if (got < 0) {
			int error = -errno;

			close(fd);
			return error;
		}
		used += got;
	} while (got && used < size - 1);
	close(fd);
	text[used] = '\0';
	return used;
}

/* One write() of a line; 0 or -errno. */
int debugfs_write(const char *name, const char *format, ...)
{
	char path[256], text[512];
	int fd, length, error = 0;
	va_list args;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(path, sizeof(path), TREE "%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != length)
		error = errno ? -errno : -EIO;
	close(fd);
	return error;
}

/* What a line `NAME VALUE` of a file says. */
uint64_t debugfs_value(const char *file, const char *name)
{
	char text[16384], *line, *rest = text;
	size_t length = strlen(name);

	if (debugfs_read(file, text, sizeof(text)) < 0)
		die("debugfs %s: %m", file);
	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, name, length) && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	die("%s has no line %s", file, name);
}

uint64_t counter(const char *name)
{
	return debugfs_value("stats", name);
}

bool node_has_pool(int node)
{
	char path[64];

	snprintf(path, sizeof(path), TREE "node%d", node);
	return !access(path, F_OK);
}

int nr_nodes(void)
{
	int node, count = 0;

	for (node = 0; node < MAX_NODES; node++)
		count += node_has_pool(node);
	return count;
}

/* A value in a node's line of `pool`, which reads `node0 total 8192 free 8000 ...`. */
uint64_t pool_field(int node, const char *field)
{
	char text[4096], *line, *name, *value, *rest = text;

	if (debugfs_read("pool", text, sizeof(text)) < 0)
		die("debugfs pool: %m");
	while ((line = strsep(&rest, "\n"))) {
		name = strsep(&line, " ");
		if (strncmp(name, "node", 4) || atoi(name + 4) != node)
			continue;
		while ((name = strsep(&line, " ")) && (value = strsep(&line, " ")))
			if (!strcmp(name, field))
				return strtoull(value, NULL, 10);
	}
	die("pool has no %s of node %d", field, node);
}

uint64_t pool_sum(const char *field)
{
	uint64_t sum = 0;
	int node;

	for (node = 0; node < MAX_NODES; node++)
		if (node_has_pool(node))
			sum += pool_field(node, field);
	return sum;
}

unsigned long pool_mb(int node)
{
	char name[32], text[64];

	snprintf(name, sizeof(name), "node%d/%s", node, "pool_mb");
	if (debugfs_read(name, text, sizeof(text)) < 0)
		die("debugfs %s: %m", name);
	return strtoul(text, NULL, 10);
}

int pool_resize(int node, unsigned long mb)
{
	char name[32];

	snprintf(name, sizeof(name), "node%d/%s", node, "pool_mb");
	return debugfs_write(name, "%lu\n", mb);
}

/*
 * Smaller pools where the kernel is slow, of so many MiB at least on each node: for tests whose
 * work grows with the pool.  settle() undoes it.
 */
void pools_scaled(unsigned long least_mb)
{
	int node;

	for (node = 0; node < MAX_NODES; node++) {
		/* A pool is made of chunks of 2 MiB. */
		unsigned long fewer = scaled(first_mb[node], least_mb) & ~1UL;

		if (node_has_pool(node) && fewer < first_mb[node] && pool_resize(node, fewer))
			die("cannot make node %d's pool %lu MiB: %m", node, fewer);
	}
}

/* The BAD lines of `verify`, or "" when every law holds. */
const char *verify_complaints(void)
{
	static char bad[4096];
	char text[16384], *line, *rest = text;
	int laws = 0;

	bad[0] = '\0';
	if (debugfs_read("verify", text, sizeof(text)) < 0)
		return "verify cannot be read";
	while ((line = strsep(&rest, "\n"))) {
		laws += *line != '\0';
		if (strstr(line, "BAD") && strlen(bad) + strlen(line) + 2 < sizeof(bad)) {
			strcat(bad, line);
			strcat(bad, "\n");
		}
	}
	return laws ? bad : "verify checked nothing";
}

/* Frames come back late (exit, RCU); false when they do not within 10 s. */
bool wait_for_pool(const char *field, uint64_t least)
{
	double until = now() + 10;

	while (pool_sum(field) < least) {
		if (now() > until)
			return false;
		usleep(20000);
	}
	return true;
}

bool wait_for_free(uint64_t frames)
{
	return wait_for_pool("free", frames);
}

/* What the program found when it began: the sizes that settle() goes back to. */
static void __attribute__((constructor)) remember_sizes(void)
{
	int node;

	for (node = 0; node < MAX_NODES; node++)
		if (node_has_pool(node))
			first_mb[node] = pool_mb(node);
}

/* Back to the state that a program of this phase begins with. */
void settle(void)
{
	int node;

	inject_off();
	if (debugfs_write("policy", "clock\n") || debugfs_write("oom", "kill\n") ||
	    debugfs_write("huge", "madvise\n"))
		die("cannot choose policies: %m");
	if (under_pressure()) {
		const char *path = pressure_disk();

		if (swap_use_only(path))
			die("cannot swap to %s only: %m", path);
	} else {
		swap_all_off();
	}
	for (node = 0; node < MAX_NODES; node++)
		if (node_has_pool(node) && first_mb[node] && pool_mb(node) != first_mb[node] &&
		    pool_resize(node, first_mb[node]))
			die("cannot make node %d's pool %lu MiB: %m", node, first_mb[node]);
}
