/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls as the kernel has them: a result or -errno.  The library stands in
 * front of the C library's functions of the same names, so that it must never call
 * those itself; and errno stays what it is unless a caller is to see a new one.
 */
#ifndef VMLAB_PRELOAD_SYS_H
#define VMLAB_PRELOAD_SYS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long sys_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static inline bool sys_failed(long result)
{
	return (unsigned long)result >= -4095UL;
}

/* What a function of the C library returns: -1 and errno. */
static inline long sys_errno(long result)
{
	if (!sys_failed(result))
		return result;
	errno = -result;
	return -1;
}

static inline long sys_mmap(uint64_t address, size_t length, int prot, int flags, int fd,
			    uint64_t offset)
{
	return sys_call(SYS_mmap, address, length, prot, flags, fd, offset);
}

static inline long sys_munmap(uint64_t address, size_t length)
{
	return sys_call(SYS_munmap, address, length, 0, 0, 0, 0);
}

static inline long sys_mremap(uint64_t old, size_t old_length, size_t length, int flags,
			      uint64_t address)
{
	return sys_call(SYS_mremap, old, old_length, length, flags, address, 0);
}

static inline long sys_mprotect(uint64_t address, size_t length, int prot, int pkey)
{
	if (pkey == -1)
		return sys_call(SYS_mprotect, address, length, prot, 0, 0, 0);
	return sys_call(SYS_pkey_mprotect, address, length, prot, pkey, 0, 0);
}

static inline long sys_madvise(uint64_t address, size_t length, int advice)
{
	return sys_call(SYS_madvise, address, length, advice, 0, 0, 0);
}

static inline long sys_ioctl(int fd, unsigned long command, void *argument)
{
	return sys_call(SYS_ioctl, fd, command, (long)argument, 0, 0, 0);
}

static inline long sys_open(const char *path, int flags, int mode)
{
	return sys_call(SYS_open, (long)path, flags, mode, 0, 0, 0);
}

static inline long sys_close(int fd)
{
	return sys_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long sys_read(int fd, void *to, size_t length)
{
	return sys_call(SYS_read, fd, (long)to, length, 0, 0, 0);
}

static inline long sys_write(int fd, const void *from, size_t length)
{
	return sys_call(SYS_write, fd, (long)from, length, 0, 0, 0);
}

static inline long sys_fcntl(int fd, int command, long argument)
{
	return sys_call(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

static inline long sys_getpid(void)
{
	return sys_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

#endif
