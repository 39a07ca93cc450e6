/* SPDX-License-Identifier: GPL-2.0 */
/* Warnings: told to the running test, which fails unless it expects them. */
#ifndef UNIT_LINUX_BUG_H
#define UNIT_LINUX_BUG_H

#include <linux/compiler.h>
#include <stdbool.h>

void unit_warn(const char *file, int line, const char *condition);

#define WARN_ON(condition) ({ \
	bool __warn = !!(condition); \
	if (__warn) \
		unit_warn(__FILE__, __LINE__, #condition); \
	__warn; })
#define WARN_ON_ONCE(condition)	WARN_ON(condition)

#endif
