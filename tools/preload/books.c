// SPDX-License-Identifier: GPL-2.0
/*
 * The books: which addresses are mapped from the program's object at which offset,
 * and which offsets are free.  It owns their lock, what a fork does to them, and
 * the only place where /dev/vmlab is mapped.
 *
 * The lock lies in a page that the kernel wipes in a forked child.  The child thus
 * finds it free, whoever held it; and sees by that page that it is a new process.
 * Whether another thread was at work on the books at the moment of the fork is noted
 * in ordinary memory: stores reach the child in the order in which they were made,
 * since a thread that meets a page already copied waits in the kernel until the fork
 * is done.  If one was, the child makes the books anew out of /proc/self/maps.
 */
#include "preload.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "vmlab.h"

#define MIN_DEFAULT	(64UL << 10)
#define MAPS_DEFAULT	32000
#define POOL_BLOCK	(64UL << 10)
/* More nodes than any one call needs. */
#define NODES_PER_CALL	16
/* Children look for offsets in different places, see book_lock(). */
#define PLACES		1024
#define PLACE_BYTES	(VMLAB_OBJECT_SIZE / PLACES)

/* Zero in a forked child. */
struct wiped {
	uint32_t lock;
	uint32_t known;
	long pid;
};

static struct wiped *wiped;
static struct extents maps;
static struct extents space;
static struct extent_pool pool;
static uint64_t place;
static uint64_t max_maps = MAPS_DEFAULT;
static uint64_t mapped_bytes;
static uint32_t at_work;
static bool lost;

/* All addresses that were ever ours lie between these; read without the lock. */
static uint64_t lowest = UINT64_MAX;
static uint64_t highest;

uint64_t preload_min = MIN_DEFAULT;

static void *pool_more(size_t *size)
{
	long block = sys_mmap(0, POOL_BLOCK, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*size = POOL_BLOCK;
	return sys_failed(block) ? NULL : (void *)block;
}

static void complain(const char *name, const char *value)
{
	static const char start[] = "vmlab-preload: not understood and ignored: ";

	sys_write(2, start, sizeof(start) - 1);
	sys_write(2, name, strlen(name));
	sys_write(2, "=", 1);
	sys_write(2, value, strlen(value));
	sys_write(2, "\n", 1);
}

static void read_number(const char *name, uint64_t *number)
{
	static const char units[] = "KMGT";
	const char *value = getenv(name), *unit;
	unsigned long long said;
	char *rest;
	int saved = errno;

	if (!value || !*value)
		return;
	errno = 0;
	said = strtoull(value, &rest, 0);
	unit = *rest ? strchr(units, *rest & ~0x20) : NULL;
	if (unit) {
		unsigned int shift = 10 * (unit - units + 1);

		if (said > UINT64_MAX >> shift)
			errno = ERANGE;
		said <<= shift;
		rest++;
	}
	if (errno || *rest || *value == '-')
		complain(name, value);
	else
		*number = said;
	errno = saved;
}

static void book_init(void)
{
	long page = sys_mmap(0, PAGE_BYTES, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	pool.more = pool_more;
	pool.random = (uint64_t)&page ^ page;
	read_number("VMLAB_PRELOAD_MIN", &preload_min);
	read_number("VMLAB_PRELOAD_MAPS", &max_maps);
	if (preload_min < PAGE_BYTES)
		preload_min = PAGE_BYTES;
	stats_init();
	device_init();
	if (sys_failed(page) || sys_failed(sys_madvise(page, PAGE_BYTES, MADV_WIPEONFORK)) ||
	    !space_init(&space, &pool, VMLAB_OBJECT_SIZE)) {
		lost = true;
		return;
	}
	wiped = (struct wiped *)page;
	wiped->known = 1;
	wiped->pid = sys_getpid();
}

/*
 * Before any thread, as a rule; but an allocator may map memory before the
 * constructors of this library have run.
 */
static void book_once(void)
{
	static uint32_t state;
	uint32_t fresh = 0;

	if (__atomic_load_n(&state, __ATOMIC_ACQUIRE) == 2)
		return;
	if (__atomic_compare_exchange_n(&state, &fresh, 1, false, __ATOMIC_ACQUIRE,
					__ATOMIC_ACQUIRE)) {
		book_init();
		__atomic_store_n(&state, 2, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 2)
		sys_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

__attribute__((constructor)) static void book_start(void)
{
	book_once();
}

static void futex_lock(uint32_t *word)
{
	uint32_t free = 0;

	if (__atomic_compare_exchange_n(word, &free, 1, false, __ATOMIC_ACQUIRE,
					__ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE))
		sys_call(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, 2, 0, 0, 0);
}

static void futex_unlock(uint32_t *word)
{
	if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
		sys_call(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

static bool book_rebuild(void);

/**
 * book_lock() - before the books are read or changed
 * @guard: for book_unlock()
 *
 * A handler of a signal may map memory too, so none runs while the lock is held.
 */
void book_lock(struct book_guard *guard)
{
	uint64_t all = ~0ULL;

	book_once();
	sys_call(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&guard->signals, 8, 0, 0);
	if (!wiped)
		return;
	futex_lock(&wiped->lock);
	if (!wiped->known) {
		/*
		 * A child.  Its new mappings go to another part of the object than
		 * those of its parent and its siblings, for the sake of the reverse map
		 * of the lineage that they share.
		 */
		wiped->known = 1;
		wiped->pid = sys_getpid();
		place = ((uint64_t)wiped->pid * 0x9e3779b97f4a7c15ULL >> 54) * PLACE_BYTES;
		stats_child();
		if (at_work && !lost)
			lost = !book_rebuild();
	}
	__atomic_store_n(&at_work, 1, __ATOMIC_SEQ_CST);
}

/**
 * book_unlock() - when the books are right again
 * @guard: of book_lock()
 */
void book_unlock(struct book_guard *guard)
{
	if (wiped) {
		__atomic_store_n(&at_work, 0, __ATOMIC_RELEASE);
		futex_unlock(&wiped->lock);
	}
	sys_call(SYS_rt_sigprocmask, SIG_SETMASK, (long)&guard->signals, 0, 8, 0, 0);
}

/* Whether this is the process that the books are about, and not its vfork() child. */
bool book_owner(void)
{
	book_once();
	return !wiped || !wiped->known || wiped->pid == sys_getpid();
}

/* Without the lock: false says that nothing of the range can be ours. */
bool book_may_hold(uint64_t start, uint64_t end)
{
	return start < __atomic_load_n(&highest, __ATOMIC_RELAXED) &&
	       end > __atomic_load_n(&lowest, __ATOMIC_RELAXED);
}

/* Nodes for one call; when there are none, that call does without us. */
bool book_reserve(void)
{
	return !lost && extent_reserve(&pool, NODES_PER_CALL);
}

/* The lowest mapping that reaches beyond @address. */
struct extent *book_from(uint64_t address)
{
	return extents_from(&maps, address);
}

static void enter(uint64_t start, uint64_t end, uint64_t offset, int prot)
{
	struct extent *map = extent_new(&pool, start, end);

	map->offset = offset;
	map->prot = prot;
	extents_insert(&maps, map);
	mapped_bytes += end - start;
	if (start < lowest)
		__atomic_store_n(&lowest, start, __ATOMIC_RELAXED);
	if (end > highest)
		__atomic_store_n(&highest, end, __ATOMIC_RELAXED);
	if (mapped_bytes > preload_counts[COUNT_peak_bytes])
		preload_counts[COUNT_peak_bytes] = mapped_bytes;
	if (maps.nr > preload_counts[COUNT_peak_maps])
		preload_counts[COUNT_peak_maps] = maps.nr;
}

/* As the kernel splits a VMA; uses up to one node. */
static void split_at(uint64_t address)
{
	struct extent *map = extents_from(&maps, address);
	struct extent *rest;

	if (!map || map->start >= address || !extent_reserve(&pool, 1))
		return;
	rest = extent_new(&pool, address, map->end);
	rest->offset = map->offset + (address - map->start);
	rest->prot = map->prot;
	extents_remove(&maps, map);
	map->end = address;
	extents_insert(&maps, map);
	extents_insert(&maps, rest);
}

/**
 * book_forget() - nothing of ours is mapped in a range any more
 * @start: first byte
 * @end: first byte behind
 */
void book_forget(uint64_t start, uint64_t end)
{
	struct extent *map;

	if (start >= end || !book_may_hold(start, end))
		return;
	split_at(start);
	split_at(end);
	while ((map = extents_from(&maps, start)) && map->start < end) {
		uint64_t offset = map->offset, bytes = map->end - map->start;

		extents_remove(&maps, map);
		extent_delete(&pool, map);
		if (offset < VMLAB_OBJECT_SIZE)
			space_free(&space, &pool, offset, bytes);
		mapped_bytes -= bytes;
	}
}

/**
 * book_forget_unmapped() - after a call that may have wiped a range and then failed
 * @start: first byte
 * @end: first byte behind
 */
void book_forget_unmapped(uint64_t start, uint64_t end)
{
	struct extent *map;

	while (start < end && (map = extents_from(&maps, start)) && map->start < end) {
		uint64_t from = map->start > start ? map->start : start;
		uint64_t until = map->end < end ? map->end : end;
		unsigned char vec;

		if (sys_call(SYS_mincore, from, PAGE_BYTES, (long)&vec, 0, 0, 0) == -ENOMEM)
			book_forget(from, until);
		start = until;
	}
}

/**
 * book_move() - mappings have moved
 * @start: first byte
 * @end: first byte behind
 * @to: where @start is now; nothing of ours is in the books there
 */
void book_move(uint64_t start, uint64_t end, uint64_t to)
{
	struct extent *map;

	split_at(start);
	split_at(end);
	while ((map = extents_from(&maps, start)) && map->start < end) {
		uint64_t at = map->start - start + to, bytes = map->end - map->start;
		uint64_t offset = map->offset;
		int prot = map->prot;

		extents_remove(&maps, map);
		extent_delete(&pool, map);
		mapped_bytes -= bytes;
		enter(at, at + bytes, offset, prot);
	}
}

/**
 * book_protect() - mappings have another protection
 * @start: first byte
 * @end: first byte behind
 * @prot: PROT_*
 */
void book_protect(uint64_t start, uint64_t end, int prot)
{
	struct extent *map = extents_from(&maps, start);

	if (map && map->start <= start && map->end >= end && map->prot == prot)
		return;
	split_at(start);
	split_at(end);
	for (map = extents_from(&maps, start); map && map->start < end;
	     map = extents_from(&maps, map->end))
		map->prot = prot;
}

/**
 * book_segment() - what a range begins with
 * @start: first byte of the range
 * @end: first byte behind it
 *
 * Takes the lock.
 */
struct segment book_segment(uint64_t start, uint64_t end)
{
	struct segment segment = { .start = start, .end = end };
	struct book_guard guard;
	struct extent *map;

	if (!book_may_hold(start, end))
		return segment;
	book_lock(&guard);
	map = extents_from(&maps, start);
	if (map && map->start <= start) {
		segment.ours = true;
		segment.prot = map->prot;
		if (map->end < end)
			segment.end = map->end;
	} else if (map && map->start < end) {
		segment.end = map->start;
	}
	book_unlock(&guard);
	return segment;
}

/**
 * book_map() - map new memory of vmlab and enter it
 * @address: as for mmap()
 * @length: bytes, whole pages
 * @prot: PROT_*
 * @flags: MAP_FIXED, MAP_FIXED_NOREPLACE or 0
 * @offset: the offset that is wanted if it is free, or NO_OFFSET
 *
 * Return: the address or -errno; -ENFILE when there are too many mappings.
 */
long book_map(uint64_t address, uint64_t length, int prot, int flags, uint64_t offset)
{
	uint64_t align = length >= GIGANTIC_BYTES ? GIGANTIC_BYTES :
			 length >= HUGE_BYTES ? HUGE_BYTES : PAGE_BYTES;
	long result;
	int fd;

	if (!book_reserve())
		return -ENOMEM;
	if (maps.nr >= max_maps)
		return -ENFILE;
	fd = device_fd();
	if (fd < 0)
		return fd;
	/* Address and offset agree modulo 2 MiB, or 1 GiB, wherever a huge page could be. */
	if ((offset == NO_OFFSET || !space_take(&space, &pool, offset, length)) &&
	    !space_alloc(&space, &pool, place, length, align, address, &offset))
		return -ENOMEM;
	/* The pool is not what Linux's accounting of memory is about. */
	result = sys_mmap(address, length, prot, MAP_PRIVATE | MAP_NORESERVE | flags, fd,
			  offset);
	if (sys_failed(result)) {
		space_free(&space, &pool, offset, length);
		return result;
	}
	/* Replaced by this mapping, or unmapped behind our back. */
	book_forget(result, result + length);
	enter(result, result + length, offset, prot);
	return result;
}

struct line {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	int prot;
	bool ours;
};

/* The number at @text, and past the one character that ends it. */
static const char *number(const char *text, unsigned int base, uint64_t *value)
{
	for (*value = 0; *text; text++) {
		unsigned int digit = *text >= 'a' ? *text - 'a' + 10 : *text - '0';

		if (digit >= base)
			return text + 1;
		*value = *value * base + digit;
	}
	return text;
}

/* "START-END rwxp OFFSET MAJOR:MINOR INODE    PATH"; @text ends with a 0. */
static struct line read_line(const char *text)
{
	struct line line = { };
	uint64_t major, minor, inode;
	const char *prot;

	text = number(text, 16, &line.start);
	prot = number(text, 16, &line.end);
	text = number(prot + 5, 16, &line.offset);
	text = number(text, 16, &major);
	text = number(text, 16, &minor);
	number(text, 10, &inode);
	line.prot = (prot[0] == 'r' ? PROT_READ : 0) | (prot[1] == 'w' ? PROT_WRITE : 0) |
		    (prot[2] == 'x' ? PROT_EXEC : 0);
	line.ours = prot[3] == 'p' && device_is(makedev(major, minor), inode);
	return line;
}

/*
 * Out of what the kernel says is mapped.  The buffer is not on the stack, which may
 * be a small one; the lock is held.
 */
static bool book_rebuild(void)
{
	static char text[16384];
	int fd = sys_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	size_t have = 0;
	long got;

	if (fd < 0)
		return false;
	count(COUNT_rebuild);
	/* Sets that a thread was at work on cannot be walked: their nodes are given up. */
	maps = (struct extents){ };
	space = (struct extents){ };
	pool.free = NULL;
	pool.nr_free = 0;
	mapped_bytes = 0;
	if (!space_init(&space, &pool, VMLAB_OBJECT_SIZE)) {
		sys_close(fd);
		return false;
	}
	while ((got = sys_read(fd, text + have, sizeof(text) - 1 - have)) > 0) {
		char *from = text, *end;

		have += got;
		text[have] = '\0';
		while ((end = strchr(from, '\n'))) {
			struct line line;

			*end = '\0';
			line = read_line(from);
			from = end + 1;
			if (!line.ours || !extent_reserve(&pool, NODES_PER_CALL))
				continue;
			if (!space_take(&space, &pool, line.offset, line.end - line.start))
				line.offset = NO_OFFSET;
			enter(line.start, line.end, line.offset, line.prot);
		}
		have -= from - text;
		memmove(text, from, have);
	}
	sys_close(fd);
	return !got;
}
