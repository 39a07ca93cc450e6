// SPDX-License-Identifier: GPL-2.0
/*
 * The benchmark's program, run in a guest by tools/bench/run: rounds of rows, the sides in
 * turn, one line of output for each round of each side:
 *
 *	round NAME SIDE NUMBER OPERATIONS NANOSECONDS [COUNT=VALUE]...
 *
 * Where the guest's clock counts instructions a nanosecond is one instruction.  It must never
 * throw away or average anything, and never be run where it matters: it formats disks and
 * turns swap off.
 */
#include "bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

/*
 * Marks that the counting plugin looks for: instructions that do nothing and that no
 * compiler makes.  See tools/bench/plugin/count.c.
 */
static inline void mark_begin(void)
{
	asm volatile("nopl 0x76b0be61(%%rax,%%rax,1)" : : : "memory");
}

static inline void mark_end(void)
{
	asm volatile("nopl 0x76b0be62(%%rax,%%rax,1)" : : : "memory");
}

static struct row_table *tables;

void rows_add(struct row_table *table)
{
	struct row_table **at = &tables;

	while (*at)
		at = &(*at)->next;
	*at = table;
}

void round_begin(struct round *round)
{
	mark_begin();
	round->begun = now_ns();
}

void round_end(struct round *round, uint64_t ops)
{
	round->ns += now_ns() - round->begun;
	mark_end();
	round->ops += ops;
}

void round_count(struct round *round, const char *name, double value)
{
	if (round->nr_counts == MAX_COUNTS)
		die("too many counts");
	round->counts[round->nr_counts].name = name;
	round->counts[round->nr_counts++].value = value;
}

static const char *const side_names[NR_SIDES] = { "vmlab", "linux" };

static void print_round(const struct round *round, bool one_side)
{
	int i;

	if (!round->ops)
		die("row %s measured nothing", round->name);
	printf("round %s %s %d %llu %llu", round->name,
	       one_side ? "limit" : side_names[round->side], round->number,
	       (unsigned long long)round->ops, (unsigned long long)round->ns);
	for (i = 0; i < round->nr_counts; i++)
		printf(" %s=%.6g", round->counts[i].name, round->counts[i].value);
	printf("\n");
	fflush(stdout);
}

void round_part(struct round *round, const char *name)
{
	if (round->ops)
		print_round(round, false);
	round->name = name;
	round->ns = 0;
	round->ops = 0;
	round->nr_counts = 0;
}

/* What a row needs, made right before each of its rounds, outside of what is measured. */
static void prepare(const struct row *row, enum side side)
{
	if (side == SIDE_VMLAB && !(row->flags & ROW_ONE_SIDE)) {
		if (row->flags & ROW_STOCK)
			stock_fill();
		else
			stock_off();
		/* Rows that want whole chunks zeroed ahead fill that stock themselves. */
		chunk_stock_fill(0);
	}
}

static void run_round(const struct row *row, enum side side, int number)
{
	struct round round = {
		.name = row->name, .number = number, .side = side,
		.random = row->random, .write = row->write, .arg = row->arg,
	};

	prepare(row, side);
	/* What the round before left to RCU, work queues and the reclaim thread. */
	nap(200);
	row->run(&round);
	if (!(row->flags & ROW_PARTS))
		print_round(&round, row->flags & ROW_ONE_SIDE);
}

/*
 * Writes all of them once: a RAM disk takes its memory at the first write to a place, and the
 * rounds would become cheaper until swap has been everywhere.
 */
static void ram_disks(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	command("/sbin/modprobe brd rd_nr=2 rd_size=65536");
	command("dd if=/dev/zero of=/dev/ram0 bs=1M count=64 conv=fsync 2>/dev/null");
	command("dd if=/dev/zero of=/dev/ram1 bs=1M count=64 conv=fsync 2>/dev/null");
}

static void row_setup(const struct row *row)
{
	if (row->flags & ROW_HUGE)
		promotion_set(false);
	if (row->flags & ROW_LIMIT)
		limit_load();
	if (row->flags & ROW_RAM_SWAP) {
		ram_disks();
		swap_on(SIDE_VMLAB, "/dev/ram0");
		swap_on(SIDE_LINUX, "/dev/ram1");
	}
	if (row->flags & ROW_DISK_SWAP) {
		pool_set_mb(SWAP_POOL_MB);
		swap_on(SIDE_VMLAB, "/dev/vda");
		swap_on(SIDE_LINUX, "/dev/vdb");
	}
	if (row->flags & (ROW_BIG_POOL | ROW_HUGE))
		pool_set_mb(BIG_POOL_MB);
}

static void row_teardown(const struct row *row)
{
	if (row->flags & ROW_HUGE)
		promotion_set(true);
	if (row->flags & ROW_RAM_SWAP) {
		swap_off(SIDE_VMLAB, "/dev/ram0");
		swap_off(SIDE_LINUX, "/dev/ram1");
	}
	if (row->flags & ROW_DISK_SWAP) {
		swap_off(SIDE_VMLAB, "/dev/vda");
		swap_off(SIDE_LINUX, "/dev/vdb");
		pool_set_mb(POOL_MB);
	}
	if (row->flags & (ROW_BIG_POOL | ROW_HUGE))
		pool_set_mb(POOL_MB);
}

/* What the command line says. */
static struct {
	bool icount;
	int rounds;
	int settle;
	bool sides[NR_SIDES];
	char **names;
	int nr_names;
} options = { .rounds = 1, .sides = { true, true } };

static void run_row(const struct row *row)
{
	bool one = row->flags & (ROW_ONE_SIDE | ROW_VMLAB_ONLY);
	int number, side;

	row_setup(row);
	for (number = 0; number < options.rounds; number++)
		for (side = 0; side < NR_SIDES; side++)
			if (one ? side == SIDE_VMLAB : options.sides[side])
				run_round(row, side, number);
	row_teardown(row);
}

static bool wanted(const struct row *row)
{
	int i;

	if (options.icount ? !(row->flags & ROW_ICOUNT) : row->flags & ROW_NOT_WALL)
		return false;
	for (i = 0; i < options.nr_names; i++)
		if (!strcmp(options.names[i], row->name))
			return true;
	return !options.nr_names;
}

static int run_rows(void)
{
	struct row_table *table;
	const struct row *row;
	int nr = 0;

	for (table = tables; table; table = table->next) {
		for (row = table->rows; row->name; row++) {
			if (!wanted(row))
				continue;
			run_row(row);
			nr++;
		}
	}
	return nr;
}

static void list(void)
{
	struct row_table *table;
	const struct row *row;

	for (table = tables; table; table = table->next)
		for (row = table->rows; row->name; row++)
			printf("%s %s%s%s\n", row->name, row->unit,
			       row->flags & ROW_ICOUNT ? " icount" : "",
			       row->flags & ROW_NOT_WALL ? "" : " wall");
}

static void usage(void)
{
	fprintf(stderr, "Call: bench --list\n"
		"      bench [--icount] [--rounds N] [--settle SECONDS] [--side vmlab|linux] [ROW]...\n");
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "list", no_argument, NULL, 'l' },
		{ "icount", no_argument, NULL, 'i' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "settle", required_argument, NULL, 's' },
		{ "side", required_argument, NULL, 'S' },
		{ 0 }
	};
	int c, side;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'l':
			list();
			exit(0);
		case 'i':
			options.icount = true;
			break;
		case 'r':
			options.rounds = atoi(optarg);
			break;
		case 's':
			options.settle = atoi(optarg);
			break;
		case 'S':
			for (side = 0; side < NR_SIDES; side++)
				options.sides[side] = !strcmp(optarg, side_names[side]);
			break;
		default:
			usage();
		}
	}
	if (options.rounds < 1 || options.settle < 0 ||
	    !(options.sides[SIDE_VMLAB] || options.sides[SIDE_LINUX]))
		usage();
	options.names = argv + optind;
	options.nr_names = argc - optind;
}

int main(int argc, char **argv)
{
	struct utsname name;

	parse(argc, argv);
	uname(&name);
	printf("kernel %s\n", name.release);
	fflush(stdout);
	/* Nothing of this program may fault, or be swapped, while it measures. */
	if (mlockall(MCL_CURRENT))
		die("mlockall: %m");
	nap(options.settle * 1000);
	if (!run_rows())
		die("no such row");
	return 0;
}
