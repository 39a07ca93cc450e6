// SPDX-License-Identifier: GPL-2.0
/*
 * A library to be preloaded into fio, which opens its file again before it verifies: each
 * open of /dev/vmlab would be a new object, so it is given the first one every time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static int object = -1;

static int same(const char *name, const char *path, int flags, mode_t mode)
{
	int (*real)(const char *path, int flags, ...);

	real = dlsym(RTLD_NEXT, name);
	if (strcmp(path, "/dev/vmlab"))
		return real(path, flags, mode);
	if (object < 0)
		object = real(path, O_RDWR);
	return object < 0 ? -1 : dup(object);
}

#define WRAP(name)						\
int name(const char *path, int flags, ...)			\
{								\
	mode_t mode = 0;					\
	va_list args;						\
								\
	if (flags & O_CREAT) {					\
		va_start(args, flags);				\
		mode = va_arg(args, int);			\
		va_end(args);					\
	}							\
	return same(#name, path, flags, mode);			\
}

WRAP(open)
WRAP(open64)
