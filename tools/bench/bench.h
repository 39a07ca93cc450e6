/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The benchmark's own program: what its files share.
 *
 * A row is one thing that is measured on several sides: vmlab's memory, Linux's own.  A new
 * one is an entry in the table of a rows_*.c file, or a new such file: the makefile takes
 * every *.c of this directory, and BENCH_ROWS() makes the table known.  Nothing here judges
 * a figure: every round is printed as it is, and the host does the statistics.
 */
#ifndef VMLAB_BENCH_H
#define VMLAB_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE		4096UL
#define MIB		(1UL << 20)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

enum side { SIDE_VMLAB, SIDE_LINUX, NR_SIDES };

/* Where a row makes sense, besides a guest with an ordinary clock. */
#define ROW_ICOUNT	0x1	/* where the clock counts instructions */
#define ROW_NOT_WALL	0x2	/* nowhere else */
/* What it needs. */
#define ROW_STOCK	0x4	/* vmlab's stock of zeroed frames full; else it is off */
#define ROW_RAM_SWAP	0x8	/* swap on RAM disks */
#define ROW_DISK_SWAP	0x10	/* swap on /dev/vda (vmlab) and /dev/vdb (Linux), a small pool */
#define ROW_LIMIT	0x20	/* the test module limit.ko */
#define ROW_ONE_SIDE	0x40	/* a limit, not a comparison: measured once a round */
#define ROW_VMLAB_ONLY	0x80	/* Linux has no such thing */
#define ROW_PARTS	0x100	/* measures and prints several rows by itself */
#define ROW_DISK	0x200	/* /dev/vda, on which no swap is */
#define ROW_HUGE	0x400	/* a pool for half a GiB of huge pages, no promotion */
#define ROW_BIG_POOL	0x800	/* room for 512 MiB */

#define MAX_COUNTS	16

/**
 * struct round - one measurement of one row on one side
 * @name:	of the row, or of the part of it that is measured now
 * @number:	0 for the first one, which the host throws away
 * @side:	whose memory
 * @random:	the row's order: random, else ascending
 * @write:	the row's access: stores, else loads
 * @arg:	the row's own
 * @ns:		what the measured part took: the sum of all marked windows
 * @ops:	how many operations that were
 * @counts:	what else is worth to be told
 */
struct round {
	const char *name;
	int number;
	enum side side;
	bool random;
	bool write;
	int arg;
	uint64_t ns;
	uint64_t ops;
	struct {
		const char *name;
		double value;
	} counts[MAX_COUNTS];
	int nr_counts;
	uint64_t begun;
};

struct row {
	const char *name;
	const char *unit;
	void (*run)(struct round *round);
	unsigned int flags;
	bool random;
	bool write;
	int arg;
};

/* Makes a table of rows known; a row without a name ends it. */
struct row_table {
	const struct row *rows;
	struct row_table *next;
};

void rows_add(struct row_table *table);

#define BENCH_ROWS(table_)						\
static void __attribute__((constructor)) add_rows(void)			\
{									\
	static struct row_table node = { .rows = table_ };		\
									\
	rows_add(&node);						\
}

/* The measured part: may be entered several times in a round. */
void round_begin(struct round *round);
void round_end(struct round *round, uint64_t ops);
void round_count(struct round *round, const char *name, double value);
/* A row that measures several things one after the other: the next one is this. */
void round_part(struct round *round, const char *name);

/* memory.c */
struct memory {
	enum side side;
	char *map;
	size_t pages;
	int fd;
};

void memory_map(struct memory *memory, enum side side, size_t pages);
void memory_map_private(struct memory *memory, enum side side, size_t pages);
void memory_map_shared(struct memory *memory, enum side side, size_t pages);
void memory_map_huge(struct memory *memory, enum side side, size_t pages, bool private);
void memory_unmap(struct memory *memory);
void memory_close(struct memory *memory);
void memory_fill(struct memory *memory);
uint64_t memory_pageout(struct memory *memory);
const uint32_t *order_of(size_t pages, bool random);
void touch(const struct memory *memory, const uint32_t *order, size_t nr, bool write);

/* machine.c */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
uint64_t now_ns(void);
void nap(unsigned int ms);
void file_read(const char *path, char *text, size_t size);
bool file_write(const char *path, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void command(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t kernel_counter(const char *name);
uint64_t vmlab_counter(const char *name);
uint64_t vmlab_pool_frames(const char *field);
void stock_off(void);
uint64_t stock_fill(void);
uint64_t zero_thread_ns(void);
void chunk_stock_fill(unsigned int chunks);
void promotion_set(bool on);
void pool_set_mb(unsigned int mb);
void swap_on(enum side side, const char *disk);
void swap_off(enum side side, const char *disk);

/* The pool that rows have, those of swap, and those of much memory or of huge pages. */
#define POOL_MB 256
#define SWAP_POOL_MB 16
#define BIG_POOL_MB 640

struct disk_stat {
	uint64_t reads, read_pages, writes, write_pages;
};

void disk_stat(const char *disk, struct disk_stat *stat);
void limit_load(void);
int limit_open(void);

#endif /* VMLAB_BENCH_H */
