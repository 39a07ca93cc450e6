/* SPDX-License-Identifier: GPL-2.0 */
/* Annotations of the kernel, as far as the files under test use them. */
#ifndef UNIT_LINUX_COMPILER_H
#define UNIT_LINUX_COMPILER_H

#define __rcu
#define __percpu
#define __user
#define __force
#define __must_check		__attribute__((__warn_unused_result__))
#define __aligned(x)		__attribute__((__aligned__(x)))
#define __always_unused		__attribute__((__unused__))

#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)

#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)&(x))
/* User space has no KCSAN to be told. */
#define data_race(x)		(x)
#define WRITE_ONCE(x, value)	(*(volatile __typeof__(x) *)&(x) = (value))

#endif
