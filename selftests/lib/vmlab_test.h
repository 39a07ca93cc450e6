/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the selftests share: objects, patterns, debugfs, children, swap devices.
 *
 * Functions that stand for a system call return its result or -errno, so that
 * a test can say which error it wants in one line.  A function that cannot do
 * its work because the surroundings are broken (no debugfs, no memory) says so
 * and ends the process as failed.  Nothing here may include the kernel's
 * harness: that belongs to each program.
 */
#ifndef VMLAB_TEST_H
#define VMLAB_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "vmlab.h"

#define PAGE		4096UL
#define MIB		(1UL << 20)
#define TIB		(1UL << 40)
#define LEAF_PAGES	512UL
#define LEAF_BYTES	(LEAF_PAGES * PAGE)
#define OBJECT_END	((off_t)VMLAB_OBJECT_SIZE)

/* object.c: the device and its ioctls; pages are counted from the object's start */
int object_open(void);
void *object_map(int fd, uint64_t page, size_t pages);
void *object_map_private(int fd, uint64_t page, size_t pages);
int object_info(int fd, struct vmlab_ioc_info *info);
uint64_t object_frames(int fd);
int object_range(int fd, unsigned long cmd, uint64_t offset, uint64_t length,
		 uint64_t *done);
int object_discard(int fd, uint64_t page, uint64_t pages);
int64_t object_pageout(int fd, uint64_t page, uint64_t pages);
int object_populate(int fd, uint64_t page, uint64_t pages);
int object_pin(int fd, uint64_t page, uint64_t pages);
int object_unpin(int fd, uint64_t page, uint64_t pages);
int object_limit(int fd, uint64_t pages);
int object_residency(int fd, uint64_t page, uint64_t pages, uint32_t *vec);
uint64_t object_count(int fd, uint64_t page, uint64_t pages, uint32_t bits);
int object_snapshot(int fd, uint32_t flags);
int address_range(int fd, unsigned long cmd, const void *address, uint64_t pages,
		  uint64_t *done);
int address_residency(int fd, const void *address, uint64_t pages, uint32_t *vec);

/* pattern.c: what a page holds, from who wrote it, where, and how often */
void page_fill(void *page, uint32_t tag, uint64_t number, uint32_t generation);
bool page_is(const void *page, uint32_t tag, uint64_t number, uint32_t generation);
bool page_is_zero(const void *page);
void pages_fill(void *base, uint32_t tag, uint64_t first, uint64_t pages,
		uint32_t generation);
uint64_t pages_wrong(const void *base, uint32_t tag, uint64_t first, uint64_t pages,
		     uint32_t generation);
uint64_t pages_not_zero(const void *base, uint64_t pages);
int object_write_pages(int fd, uint32_t tag, uint64_t first, uint64_t pages,
		       uint32_t generation);
uint64_t object_wrong_pages(int fd, uint32_t tag, uint64_t first, uint64_t pages,
			    uint32_t generation);

/* debugfs.c: the tree in /sys/kernel/debug/vmlab */
int debugfs_read(const char *name, char *text, size_t size);
int debugfs_write(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
uint64_t debugfs_value(const char *file, const char *name);
uint64_t counter(const char *name);
int nr_nodes(void);
bool node_has_pool(int node);
uint64_t pool_field(int node, const char *field);
uint64_t pool_sum(const char *field);
unsigned long pool_mb(int node);
int pool_resize(int node, unsigned long mb);
void pools_scaled(unsigned long least_mb);
const char *verify_complaints(void);
bool wait_for_free(uint64_t frames);
bool wait_for_pool(const char *field, uint64_t least);
void settle(void);
bool under_pressure(void);

/* Every law must hold: for the teardown of a fixture, while its objects live. */
#define EXPECT_VERIFY_OK() EXPECT_STREQ("", verify_complaints())

/* nodes.c: NUMA nodes, and where pages are and should be; nodes are masks */
uint64_t pool_nodes(void);
int nth_node(uint64_t mask, uint64_t nth);
int node_cpu(int node);
int run_on_cpu(int cpu);
int node_distance(int from, int to);
int nearest_node(int from, uint64_t mask);
int task_mempolicy(int mode, uint64_t nodes);
int range_policy(void *address, size_t pages, int mode, uint64_t nodes);
int object_policy(int fd, uint64_t page, uint64_t pages, int mode, uint64_t nodes);
int object_policy_at(int fd, uint64_t page, uint64_t *nodes, uint64_t *pages);
int object_migrate(int fd, uint64_t page, uint64_t pages, uint64_t nodes, uint64_t *moved);
int address_migrate(int fd, const void *address, uint64_t pages, uint64_t nodes,
		    uint64_t *moved);
uint64_t pages_on(int fd, const void *address, size_t pages, uint64_t nodes);
void nodes_alike(void);
uint64_t node_counter(int node, const char *name);
uint64_t node_counters(const char *name);

/* process.c: children, signals, chance */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
pid_t child_start(int (*body)(void *arg), void *arg);
int child_wait(pid_t pid);
int child_run(int (*body)(void *arg), void *arg);
int try_load(const volatile void *address, unsigned char *byte);
int try_store(volatile void *address, unsigned char byte);
int try_copy(void *to, const void *from, size_t bytes);
int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t chance(uint64_t *state);
uint64_t seed(void);
unsigned int seconds(unsigned int unless_said);
unsigned int slowness(void);
unsigned long scaled(unsigned long usual, unsigned long least);
bool kernel_is(const char *name);
double now(void);
/* The programs are linked so that the harness's limits for each test come to the wrap. */
unsigned int __real_alarm(unsigned int seconds);
unsigned int __wrap_alarm(unsigned int seconds);

/* In the body of a child: say what is wrong and end with status 1. */
#define CHECK(condition) do {							\
	if (!(condition)) {							\
		note("%s:%d: not true: %s (errno %d)", __FILE__, __LINE__,	\
		     #condition, errno);					\
		_exit(1);							\
	}									\
} while (0)

/* What child_wait() returns for a child that a signal has ended. */
#define BY_SIGNAL(number)	(128 + (number))

/* preload.c: the program itself once more, with the preload library in front of it */
#define PRELOAD_STATS	"preload.stats"
#define PRELOAD_INSIDE	"VMLAB_TEST_INSIDE"

const char *preload_device(void);
const char *preload_library(void);
int preload_inside(const char *name);
uint64_t preload_stat(const char *name);
bool preload_maps(const void *address);

/* swapdev.c: disks and what can be made of them */
const char *spare_disk(void);
const char *pressure_disk(void);
uint64_t disk_bytes(const char *path);
int swap_format(const char *path);
int swap_on(const char *path);
int swap_on_priority(const char *path, int priority);
int swap_off(const char *path);
bool swap_is_on(const char *path);
uint64_t swap_field(const char *path, const char *field);
void swap_all_off(void);
int swap_use_only(const char *path);
bool dm_create(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
bool dm_switch(const char *name, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void dm_remove(const char *name);
const char *ram_disk(unsigned int mb);
void ram_disk_remove(void);

/* ledger.c: an object whose true bytes are known, whatever fails */
struct ledger {
	int fd;
	uint32_t tag, generation;
	size_t pages;
	char *map;		/* NULL while mmap() fails */
	unsigned char *truth;
	unsigned char **maybe;	/* by page: what a store that failed may have begun to write */
	uint64_t state;		/* of chance() */
	uint64_t steps, failures;
};

int ledger_open(struct ledger *ledger, uint32_t tag, size_t pages, uint64_t state);
int ledger_map(struct ledger *ledger);
void ledger_close(struct ledger *ledger);
int ledger_store(struct ledger *ledger, size_t page);
int ledger_load(struct ledger *ledger, size_t page);
int ledger_write(struct ledger *ledger, size_t page);
int ledger_read(struct ledger *ledger, size_t page);
int ledger_discard(struct ledger *ledger, size_t page);
void ledger_step(struct ledger *ledger);
void ledger_check(struct ledger *ledger);
int ledger_work(struct ledger *ledger, unsigned int seconds, unsigned int steps);

/* inject.c: what is made to fail, and whom that must not harm */
struct bystander;
int inject(const char *class, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void inject_off(void);
uint64_t inject_seen(const char *class);
uint64_t inject_count(const char *class);
struct bystander *bystander_start(size_t pages);
bool bystander_is_well(struct bystander *other);
bool bystander_stop(struct bystander *other);
uint64_t used_frames(void);
void wait_given_back(uint64_t frames, const char *swap);

#endif /* VMLAB_TEST_H */
