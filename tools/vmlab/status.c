// SPDX-License-Identifier: GPL-2.0
/*
 * vmlab status: what is in debugfs, in tables for people.  It adds up and changes
 * units, and must never show a number that is not there: columns are found by name.
 */
#include "vmlab.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_KIB	4
#define MOST_OBJECTS	12
#define COLUMNS		16

struct status {
	bool all;
};

/* Counters by what they are about; those of a group that are 0 are left out. */
static const struct {
	const char *title;
	const char *prefixes;
} groups[] = {
	{ "Faults", "fault_ slot_wait" },
	{ "Copy-on-write", "clone unshare fork_ snapshot cow" },
	{ "Reclaim", "reclaim_ evict clock_ unmap_" },
	{ "Swap", "swap_" },
	{ "Errors", "alloc_fail limit_hit oom_" },
	{ "Other", "" },
};

static const struct argp_option options[] = {
	{ "all", 'a', NULL, 0, "all objects, and counters that are 0", 0 },
	{ 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct status *status = state->input;

	switch (key) {
	case 'a':
		status->all = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is not understood", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.doc = "Show vmlab's pools, policies, swap devices, objects and counters."
	       "\v"
	       "All of it is in " DEBUGFS ", where scripts should read it.",
};

static FILE *open_file(const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), DEBUGFS "/%s", name);
	file = fopen(path, "re");
	if (!file)
		fail_debugfs(name);
	return file;
}

static int words(char *line, char **word, int most)
{
	int nr = 0;

	for (line = strtok(line, " \t\n"); line && nr < most; line = strtok(NULL, " \t\n"))
		word[nr++] = line;
	return nr;
}

static double mib(const char *pages)
{
	return strtoull(pages, NULL, 10) * PAGE_KIB / 1024.0;
}

/* "node0 total 4096 free 140 huge_free 0 ..." */
static void show_pools(void)
{
	static const char * const shown[] = {
		"total", "free", "resident", "leaf", "dirty", "pinned",
	};
	FILE *file = open_file("pool");
	char *line = NULL, *word[64];
	size_t size = 0, i;

	printf("%-10s", "Pool, MiB");
	for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		printf(" %10s", shown[i]);
	printf("\n");
	while (getline(&line, &size, file) > 0) {
		int nr = words(line, word, 64), at;

		if (!nr)
			continue;
		printf("  %-8s", word[0]);
		for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
			for (at = 1; at + 1 < nr && strcmp(word[at], shown[i]); at += 2)
				;
			if (at + 1 < nr)
				printf(" %10.1f", mib(word[at + 1]));
			else
				printf(" %10s", "-");
		}
		printf("\n");
	}
	free(line);
	fclose(file);
}

static void show_settings(void)
{
	static const char * const names[] = {
		"policy", "oom", "swappiness", "watermark_low", "watermark_high",
	};
	char line[256];
	size_t i;

	printf("\nSettings\n");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FILE *file = open_file(names[i]);

		if (fgets(line, sizeof(line), file))
			printf("  %-15s %s", names[i], line);
		fclose(file);
	}
}

/* The table is the kernel's own. */
static void show_swap(void)
{
	FILE *file = open_file("swap");
	char *line = NULL;
	size_t size = 0;
	int nr = 0;

	printf("\nSwap, KiB\n");
	while (getline(&line, &size, file) > 0) {
		printf("  %s", line);
		nr++;
	}
	if (nr < 2)
		printf("  none: mkswap DEVICE, then echo on DEVICE >" DEBUGFS "/swap\n");
	free(line);
	fclose(file);
}

struct object {
	char *line;
	char *word[COLUMNS];
	int nr;
	uint64_t pages;
};

static int by_pages(const void *one, const void *two)
{
	const struct object *a = one, *b = two;

	return a->pages < b->pages ? 1 : a->pages > b->pages ? -1 : 0;
}

static int find_column(const struct object *head, const char *name)
{
	int i;

	for (i = 0; i < head->nr; i++)
		if (!strcmp(head->word[i], name))
			return i;
	fail("%s/objects has no column '%s'", DEBUGFS, name);
}

static void show_objects(bool all)
{
	FILE *file = open_file("objects");
	struct object *object = NULL, head;
	size_t nr = 0, size = 0, i;
	char *line = NULL;
	int resident, swapped, at;

	if (getline(&line, &size, file) <= 0)
		fail(DEBUGFS "/objects is empty");
	head.nr = words(line, head.word, COLUMNS);
	resident = find_column(&head, "resident");
	swapped = find_column(&head, "swapped");
	for (;;) {
		struct object *more;
		char *text = NULL;

		size = 0;
		if (getline(&text, &size, file) <= 0) {
			free(text);
			break;
		}
		more = realloc(object, (nr + 1) * sizeof(*object));
		if (!more)
			fail("no memory");
		object = more;
		object[nr].line = text;
		object[nr].nr = words(text, object[nr].word, COLUMNS);
		if (object[nr].nr <= resident || object[nr].nr <= swapped)
			fail(DEBUGFS "/objects: a line is not understood");
		object[nr].pages = strtoull(object[nr].word[resident], NULL, 10) +
				   strtoull(object[nr].word[swapped], NULL, 10);
		nr++;
	}
	qsort(object, nr, sizeof(*object), by_pages);
	printf("\nObjects: %zu; resident and swapped in MiB\n  ", nr);
	for (at = 0; at < head.nr; at++)
		printf("%*s", at ? 12 : 8, head.word[at]);
	printf("\n");
	for (i = 0; i < nr && (all || i < MOST_OBJECTS); i++) {
		printf("  ");
		for (at = 0; at < object[i].nr; at++) {
			if (at == resident || at == swapped)
				printf("%12.1f", mib(object[i].word[at]));
			else
				printf("%*s", at ? 12 : 8, object[i].word[at]);
		}
		printf("\n");
	}
	if (i < nr)
		printf("  and %zu smaller ones (--all)\n", nr - i);
	for (i = 0; i < nr; i++)
		free(object[i].line);
	free(object);
	free(line);
	fclose(file);
}

/* The first group that has a prefix of the name; the last has the empty one. */
static size_t group_of(const char *name)
{
	size_t group;

	for (group = 0; *groups[group].prefixes; group++) {
		const char *prefix = groups[group].prefixes;

		while (*prefix) {
			size_t length = strcspn(prefix, " ");

			if (!strncmp(name, prefix, length))
				return group;
			prefix += length + (prefix[length] == ' ');
		}
	}
	return group;
}

static void show_counters(bool all)
{
	size_t group, nr = sizeof(groups) / sizeof(groups[0]);
	char name[128];
	unsigned long long value;

	for (group = 0; group < nr; group++) {
		FILE *file = open_file("stats");
		bool titled = false;

		while (fscanf(file, "%127s %llu", name, &value) == 2) {
			if (group_of(name) != group || (!value && !all))
				continue;
			if (!titled)
				printf("\n%s\n", groups[group].title);
			titled = true;
			printf("  %-24s %14llu\n", name, value);
		}
		fclose(file);
	}
}

int vmlab_status(int argc, char **argv)
{
	struct status status = { };

	argp_parse(&argp, argc, argv, 0, NULL, &status);
	show_pools();
	show_settings();
	show_swap();
	show_objects(status.all);
	show_counters(status.all);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
