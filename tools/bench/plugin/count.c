// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin: counts executed instructions by address between the marks that the
 * benchmark's program sets, and writes them to a file when the machine ends.
 *
 * The marks are no-operations of eight bytes with a number that no compiler uses; see
 * tools/bench/main.c.  It declares of QEMU's plugin interface (version 1, QEMU 4.2 and later)
 * only what it uses, because Debian 12 does not package the header.  It must never change
 * what the guest does.
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

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;

enum { QEMU_PLUGIN_CB_NO_REGS };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int, void *), int flags,
					    void *data);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

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

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t i, nr = qemu_plugin_tb_n_insns(tb);

	for (i = 0; i < nr; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		switch (mark_of(insn)) {
		case 0x61:
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
			break;
		case 0x62:
			qemu_plugin_register_vcpu_insn_exec_cb(insn, end,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
			break;
		default:
			qemu_plugin_register_vcpu_insn_exec_cb(insn, executed,
							       QEMU_PLUGIN_CB_NO_REGS,
							       place_of(qemu_plugin_insn_vaddr(insn)));
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
