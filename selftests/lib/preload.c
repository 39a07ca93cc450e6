// SPDX-License-Identifier: GPL-2.0
/*
 * Programs under libvmlab-preload.so: starts the test program anew with the library
 * in front of it, and reads what the library has counted.  It must never take a
 * library that is not there for one that redirects nothing.
 */
#include "vmlab_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

const char *preload_device(void)
{
	return getenv("VMLAB_PRELOAD_DEVICE") ?: "/dev/vmlab";
}

/* In build/tools, seen from where the programs are built and where they are installed. */
const char *preload_library(void)
{
	static const char * const places[] = { "../tools", "../../tools" };
	static char path[4096];
	char self[2048];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	size_t i;

	if (length < 0)
		die("/proc/self/exe: %m");
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s/libvmlab-preload.so", self, places[i]);
		if (!access(path, R_OK))
			return path;
	}
	die("build/tools/libvmlab-preload.so is not built: make tools");
}

/* Runs this program with PRELOAD_INSIDE=@name under the library; child_wait()'s result. */
int preload_inside(const char *name)
{
	pid_t pid;

	unlink(PRELOAD_STATS);
	pid = fork();
	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setenv("LD_PRELOAD", preload_library(), 1);
		setenv(PRELOAD_INSIDE, name, 1);
		setenv("VMLAB_PRELOAD_MIN", "16K", 1);
		setenv("VMLAB_PRELOAD_STATS", PRELOAD_STATS, 1);
		execl("/proc/self/exe", "preload", NULL);
		die("exec: %m");
	}
	return child_wait(pid);
}

/* A number of the first process that ended; " NAME ", since names contain each other. */
uint64_t preload_stat(const char *name)
{
	char text[2048] = "", *at;
	FILE *file = fopen(PRELOAD_STATS, "re");

	if (!file || !fgets(text, sizeof(text), file))
		die("%s is missing or empty: nothing came from vmlab", PRELOAD_STATS);
	fclose(file);
	at = strstr(text, name);
	if (!at)
		die("%s has no '%s': %s", PRELOAD_STATS, name, text);
	return strtoull(at + strlen(name), NULL, 10);
}

/* Whether what is mapped at an address is the device. */
bool preload_maps(const void *address)
{
	unsigned long start, end;
	char line[512], *name;
	bool ours = false;
	FILE *maps = fopen("/proc/self/maps", "re");

	if (!maps)
		die("/proc/self/maps: %m");
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx", &start, &end) != 2)
			die("/proc/self/maps: %s", line);
		name = strchr(line, '/');
		if ((unsigned long)address >= start && (unsigned long)address < end)
			ours = name && !strncmp(name, preload_device(), strlen(preload_device()));
	}
	fclose(maps);
	return ours;
}
