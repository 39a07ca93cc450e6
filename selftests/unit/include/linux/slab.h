/* SPDX-License-Identifier: GPL-2.0 */
/* Memory, from malloc(), so that ASan watches it. */
#ifndef UNIT_LINUX_SLAB_H
#define UNIT_LINUX_SLAB_H

#include <linux/types.h>
#include <stdlib.h>

#define GFP_KERNEL	0U
#define GFP_ATOMIC	1U

static inline void *kzalloc(size_t size, gfp_t gfp)
{
	(void)gfp;
	return calloc(1, size);
}

static inline void *kmalloc(size_t size, gfp_t gfp)
{
	(void)gfp;
	return malloc(size);
}

static inline void *kcalloc(size_t nr, size_t size, gfp_t gfp)
{
	(void)gfp;
	return calloc(nr, size);
}

static inline void kfree(const void *p)
{
	free((void *)p);
}

#endif
