/* SPDX-License-Identifier: GPL-2.0 */
/*
 * min() and max().  The plain ones insist on equal types, as the kernel's do,
 * and evaluate their arguments once.
 */
#ifndef UNIT_LINUX_MINMAX_H
#define UNIT_LINUX_MINMAX_H

#define __unit_pick(type, x, y, op) ({ \
	type __x = (x); \
	type __y = (y); \
	__x op __y ? __x : __y; })

#define __unit_pick_same(x, y, op) ({ \
	__auto_type __x = (x); \
	__auto_type __y = (y); \
	(void)(&__x == &__y); \
	__x op __y ? __x : __y; })

#define min(x, y)		__unit_pick_same(x, y, <)
#define max(x, y)		__unit_pick_same(x, y, >)
#define min_t(type, x, y)	__unit_pick(type, x, y, <)
#define max_t(type, x, y)	__unit_pick(type, x, y, >)
#define clamp(value, low, high)	min(max(value, low), high)

#endif
