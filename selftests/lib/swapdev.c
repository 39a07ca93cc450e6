// SPDX-License-Identifier: GPL-2.0
/*
 * Disks that tests may write to: the two of VMLAB_DISKS, device-mapper targets
 * on the second, a RAM disk.  It must never touch another device.
 */
#include "vmlab_test.h"

#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static const char *disk(int which)
{
	static char names[2][64];
	const char *said = getenv("VMLAB_DISKS");

	if (!said || sscanf(said, "%63s %63s", names[0], names[1]) != 2)
		die("VMLAB_DISKS must name two disks that may be overwritten");
	return names[which];
}

/* Free in both phases, 64 MiB. */
const char *spare_disk(void)
{
	return disk(1);
}

/* The disk that is swap already under pressure. */
const char *pressure_disk(void)
{
	return disk(0);
}

uint64_t disk_bytes(const char *path)
{
	uint64_t bytes = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		die("size of %s: %m", path);
	close(fd);
	return bytes;
}

int swap_format(const char *path)
{
	return run("mkswap %s", path) ? -EIO : 0;
}

int swap_on(const char *path)
{
	return debugfs_write("swap", "on %s\n", path);
}

int swap_on_priority(const char *path, int priority)
{
	return debugfs_write("swap", "on %s %d\n", path, priority);
}

int swap_off(const char *path)
{
	return debugfs_write("swap", "off %s\n", path);
}

/* The line of a device in `swap`, its words in @words; how many there are. */
static int swap_line(const char *path, char *text, size_t size, char **words, int most)
{
	char *line, *word, *rest = text;
	int nr = 0;

	if (debugfs_read("swap", text, size) < 0)
		die("debugfs swap: %m");
	while ((line = strsep(&rest, "\n"))) {
		for (nr = 0; nr < most && (word = strsep(&line, " \t"));)
			if (*word)
				words[nr++] = word;
		if (nr && !strcmp(words[0], path))
			return nr;
	}
	return 0;
}

bool swap_is_on(const char *path)
{
	char text[4096], *words[16];

	return swap_line(path, text, sizeof(text), words, 16) > 0;
}

/* A column of a device's line, by the names in the first line; 0 when it is off. */
uint64_t swap_field(const char *path, const char *field)
{
	char text[4096], head[4096], *words[16], *word, *rest = head;
	int nr = swap_line(path, text, sizeof(text), words, 16), i = 0;

	if (!nr)
		return 0;
	if (debugfs_read("swap", head, sizeof(head)) < 0)
		die("debugfs swap: %m");
	head[strcspn(head, "\n")] = '\0';
	while ((word = strsep(&rest, " \t"))) {
		if (!*word)
			continue;
		if (!strcasecmp(word, field) && i < nr)
			return strtoull(words[i], NULL, 10);
		i++;
	}
	die("swap has no column %s", field);
}

static void others_off(const char *keep)
{
	char text[4096], *line, *rest = text;

	if (debugfs_read("swap", text, sizeof(text)) < 0)
		die("debugfs swap: %m");
	while ((line = strsep(&rest, "\n"))) {
		line[strcspn(line, " \t")] = '\0';
		if (*line == '/' && (!keep || strcmp(line, keep)) && swap_off(line))
			die("swap off %s: %m", line);
	}
}

void swap_all_off(void)
{
	others_off(NULL);
}

/* Formats a device and makes it the only one. */
int swap_use_only(const char *path)
{
	int error;

	others_off(path);
	if (swap_is_on(path))
		return 0;
	error = swap_format(path);
	return error ?: swap_on(path);
}

static bool dm(const char *what, const char *name, const char *format, va_list args)
{
	char table[512];

	vsnprintf(table, sizeof(table), format, args);
	return !run("dmsetup %s --noudevsync %s --table '%s'", what, name, table);
}

/* A device /dev/mapper/NAME with this table; false when that cannot be had. */
bool dm_create(const char *name, const char *format, ...)
{
	va_list args;
	bool made;

	run("modprobe dm-mod");
	va_start(args, format);
	made = dm("create", name, format, args);
	va_end(args);
	return made && !run("dmsetup --noudevsync mknodes");
}

/* Gives it another table; I/O under way is waited for. */
bool dm_switch(const char *name, const char *format, ...)
{
	va_list args;
	bool made;

	if (run("dmsetup --noudevsync suspend --noflush --nolockfs %s", name))
		return false;
	va_start(args, format);
	made = dm("load", name, format, args);
	va_end(args);
	return !run("dmsetup --noudevsync resume %s", name) && made;
}

void dm_remove(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	if (!access(path, F_OK))
		run("dmsetup --noudevsync remove --force --retry %s; dmsetup --noudevsync mknodes",
		    name);
}

/* /dev/ram0 of that size, or NULL. */
const char *ram_disk(unsigned int mb)
{
	if (run("modprobe brd rd_nr=1 rd_size=%u", mb * 1024) || access("/dev/ram0", F_OK))
		return NULL;
	return "/dev/ram0";
}

void ram_disk_remove(void)
{
	run("rmmod brd");
}
