// SPDX-License-Identifier: GPL-2.0
/*
 * The one descriptor of /dev/vmlab, which the program must not notice: it is opened
 * at the start, has a high number, and survives the calls with which programs close
 * all descriptors.  A program that closes it all the same, by a system call of its
 * own, gets a new object, if it still may open one.  Never maps anything.
 */
#include "preload.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmlab.h"

/* Out of the way of programs that expect the lowest numbers, or use select(). */
#define HIGH_FD		1000

static char path[PATH_MAX] = "/dev/vmlab";
static int device = -1;
static uint64_t identity[2];
static uint64_t device_number;

static long status_of(int fd, struct stat *status)
{
	return sys_call(SYS_fstat, fd, (long)status, 0, 0, 0, 0);
}

static int raise_fd(int fd)
{
	struct rlimit limit;
	long high = HIGH_FD, raised;

	if (!sys_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit, 0, 0) &&
	    limit.rlim_cur <= HIGH_FD + 8)
		high = limit.rlim_cur > 16 ? limit.rlim_cur - 8 : 3;
	raised = sys_fcntl(fd, F_DUPFD_CLOEXEC, high);
	if (raised < 0)
		return fd;
	sys_close(fd);
	return raised;
}

static long device_open(void)
{
	struct stat status;
	long fd = sys_open(path, O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	fd = raise_fd(fd);
	if (status_of(fd, &status)) {
		sys_close(fd);
		return -EBADF;
	}
	identity[0] = status.st_dev;
	identity[1] = status.st_ino;
	device_number = status.st_rdev;
	return fd;
}

/* Called once, before anything else here. */
void device_init(void)
{
	const char *said = getenv("VMLAB_PRELOAD_DEVICE");
	long fd;

	if (said && *said && strlen(said) < sizeof(path))
		strcpy(path, said);
	fd = device_open();
	if (fd >= 0)
		device = fd;
}

/* Whether this is the file that mappings of ours show in /proc/self/maps. */
bool device_is(uint64_t dev, uint64_t inode)
{
	return identity[1] && dev == identity[0] && inode == identity[1];
}

/**
 * device_fd() - the descriptor of the program's object
 *
 * Under book_lock().  Looks whether the number still stands for the device: mapping
 * another file instead would be worse than all else.
 *
 * Return: the descriptor or -errno.
 */
int device_fd(void)
{
	struct stat status;
	long fd;

	if (device < 0)
		return -ENODEV;
	if (!status_of(device, &status) && status.st_rdev == device_number &&
	    device_is(status.st_dev, status.st_ino))
		return device;
	/* In a child of vfork() the parent's number is right for the parent. */
	if (!book_owner())
		return -EBADF;
	fd = device_open();
	if (fd < 0)
		return fd;
	count(COUNT_reopen);
	device = fd;
	return device;
}

static long range_call(unsigned long command, uint64_t address, uint64_t length, uint32_t flags)
{
	struct vmlab_ioc_range range = {
		.size = sizeof(range),
		.flags = VMLAB_RANGE_ADDRESS | flags,
		.offset = address,
		.length = length,
	};

	return sys_ioctl(device, command, &range);
}

/**
 * device_range() - an ioctl on what is mapped in a range
 * @command: VMLAB_IOC_DISCARD, ...
 * @address: first byte
 * @length: bytes
 *
 * Return: 0 or -errno; -ENOMEM or -ENOTTY where nothing of vmlab is mapped.
 */
long device_range(unsigned long command, uint64_t address, uint64_t length)
{
	return range_call(command, address, length, 0);
}

/**
 * device_reserve() - give what is mapped in a range huge pages that stay
 * @address: first byte
 * @length: bytes
 * @gigantic: of 1 GiB, not 2 MiB
 *
 * Return: 0 or -errno.
 */
long device_reserve(uint64_t address, uint64_t length, bool gigantic)
{
	return range_call(VMLAB_IOC_RESERVE, address, length,
			  gigantic ? VMLAB_RANGE_GIGANTIC : 0);
}

/**
 * device_residency() - where the pages of a range are
 * @address: first byte
 * @length: bytes
 * @words: one for each page
 *
 * Return: 0 or -errno.
 */
long device_residency(uint64_t address, uint64_t length, uint32_t *words)
{
	struct vmlab_ioc_residency residency = {
		.size = sizeof(residency),
		.flags = VMLAB_RANGE_ADDRESS,
		.offset = address,
		.length = length,
		.vec = (uint64_t)words,
	};

	return sys_ioctl(device, VMLAB_IOC_RESIDENCY, &residency);
}

/*
 * What programs close.  close() goes on to the C library's own, which a thread can
 * be cancelled in; the others cannot be, and are the system calls.
 */
int __close(int fd);

API int close(int fd)
{
	if (fd >= 0 && fd == __atomic_load_n(&device, __ATOMIC_RELAXED)) {
		errno = EBADF;
		return -1;
	}
	return __close(fd);
}

static long close_around(unsigned int first, unsigned int last, int flags)
{
	unsigned int ours = __atomic_load_n(&device, __ATOMIC_RELAXED);
	long result = 0;

	/* It is close-on-exec already. */
	if (ours == -1U || ours < first || ours > last || flags & CLOSE_RANGE_CLOEXEC)
		return sys_call(SYS_close_range, first, last, flags, 0, 0, 0);
	if (ours > first)
		result = sys_call(SYS_close_range, first, ours - 1, flags, 0, 0, 0);
	if (!result && ours < last)
		result = sys_call(SYS_close_range, ours + 1, last, flags, 0, 0, 0);
	return result;
}

API int close_range(unsigned int first, unsigned int last, int flags)
{
	return sys_errno(close_around(first, last, flags));
}

API void closefrom(int first)
{
	close_around(first < 0 ? 0 : first, UINT_MAX, 0);
}

/* Makes way for a program that wants this very number; not in a child of vfork(). */
static void make_way(int wanted)
{
	struct book_guard guard;
	long fd;

	if (wanted < 0 || wanted != __atomic_load_n(&device, __ATOMIC_RELAXED) ||
	    !book_owner())
		return;
	book_lock(&guard);
	if (wanted == device) {
		fd = sys_fcntl(device, F_DUPFD_CLOEXEC, HIGH_FD / 2);
		if (fd >= 0)
			__atomic_store_n(&device, fd, __ATOMIC_RELAXED);
	}
	book_unlock(&guard);
}

API int dup2(int from, int to)
{
	make_way(to);
	return sys_errno(sys_call(SYS_dup2, from, to, 0, 0, 0, 0));
}

API int dup3(int from, int to, int flags)
{
	make_way(to);
	return sys_errno(sys_call(SYS_dup3, from, to, flags, 0, 0, 0));
}
