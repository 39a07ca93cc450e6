/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls of limit.ko, the benchmark's test module.
 */
#ifndef VMLAB_BENCH_LIMIT_H
#define VMLAB_BENCH_LIMIT_H

#include <linux/ioctl.h>

#define LIMIT_IOC_CLEAR	_IO('b', 0)	/* clear one page, so many times */
#define LIMIT_IOC_UNMAP	_IO('b', 1)	/* unmap the pages of the mapping at an address */

#endif /* VMLAB_BENCH_LIMIT_H */
