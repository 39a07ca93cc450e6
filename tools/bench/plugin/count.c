// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin: counts executed instructions by address between the marks that the
 * benchmark's program sets, and writes them to a file when the machine ends.
 *
 * The marks are no-operations of eight bytes with a number that no compiler uses; see
 * tools/bench/main.c.  It must never change what the guest does.
 *
 *	-plugin count.so,out=FILE,skip=WINDOWS
 *
 * FILE: a line `windows N`, then lines `address count` in hexadecimal and decimal, those of
 * zero left out.  The first WINDOWS are not counted.  It is written anew after each window,
 * because nobody ends a guest gently.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

/* An address of the guest.  Processes share those of user space: only ours runs. */
struct place {
	uint64_t address;
	uint64_t count;
	struct place *next;
};

#define BUCKETS (1 << 16)

static struct place *buckets[BUCKETS];
static const uint8_t mark[4] = { 0x0f, 0x1f, 0x84, 0x00 };
static const char *out;
static unsigned int windows, skip;
static bool counting;

static struct place *place_of(uint64_t address)
{
	struct place **at = &buckets[(address ^ address >> 16) % BUCKETS], *place;

	for (place = *at; place; place = place->next)
		if (place->address == address)
			return place;
	place = calloc(1, sizeof(*place));
	if (!place)
		abort();
	place->address = address;
	place->next = *at;
	*at = place;
	return place;
}

static void write_out(void)
{
	FILE *file = fopen(out, "w");
	const struct place *place;
	size_t i;

	if (!file) {
		perror(out);
		return;
	}
	fprintf(file, "windows %u\n", windows - skip);
	for (i = 0; i < BUCKETS; i++)
		for (place = buckets[i]; place; place = place->next)
			if (place->count)
				fprintf(file, "%" PRIx64 " %" PRIu64 "\n", place->address,
					place->count);
	fclose(file);
}

static void begin(unsigned int cpu, void *data)
{
	counting = ++windows > skip;
}

static void end(unsigned int cpu, void *data)
{
	if (counting)
		write_out();
	counting = false;
}

static void executed(unsigned int cpu, void *data)
{
	if (counting)
		((struct place *)data)->count++;
}

/* nopl NUMBER(%rax,%rax,1): 0f 1f 84 00, then the number's four bytes. */
static int mark_of(const struct qemu_plugin_insn *insn)
{
	const uint8_t *bytes = qemu_plugin_insn_data(insn);

	if (qemu_plugin_insn_size(insn) != 8 || memcmp(bytes, mark, sizeof(mark)) ||
	    bytes[5] != 0xbe || bytes[6] != 0xb0 || bytes[7] != 0x76)
		return 0;
	return bytes[4];
}

static void on_execution(struct qemu_plugin_insn *insn, void (*cb)(unsigned int, void *),
			 void *data)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, cb, QEMU_PLUGIN_CB_NO_REGS, data);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		switch (mark_of(insn)) {
		case 0x61:
			on_execution(insn, begin, NULL);
			break;
		case 0x62:
			on_execution(insn, end, NULL);
			break;
		default:
			on_execution(insn, executed, place_of(qemu_plugin_insn_vaddr(insn)));
		}
	}
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		else if (!strncmp(argv[i], "skip=", 5))
			skip = atoi(argv[i] + 5);
	}
	if (!out) {
		fprintf(stderr, "count.so: out=FILE is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
