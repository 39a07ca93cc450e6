// SPDX-License-Identifier: GPL-2.0
/*
 * The module: its parameters, and what starts and stops in which order.
 *
 * Owns the one instance that /dev/vmlab uses.  Nothing else here lasts.
 */
#include <linux/init.h>
#include <linux/module.h>

#include "vmlab.h"

static char *pool_mb;
module_param(pool_mb, charp, 0444);
MODULE_PARM_DESC(pool_mb, "size of the frame pool in MiB: a total, or NODE:MIB,NODE:MIB");

static char *policy;
module_param(policy, charp, 0444);
MODULE_PARM_DESC(policy, "replacement policy: clock (default) or fifo");

static char *swap;
module_param(swap, charp, 0444);
MODULE_PARM_DESC(swap, "path of a block device prepared with mkswap");

static char *huge;
module_param(huge, charp, 0444);
MODULE_PARM_DESC(huge, "which mappings get huge pages: always, madvise (default) or never");

static struct vmlab *vmlab_default;

static int __init vmlab_init(void)
{
	const struct vmlab_params params = {
		.pool_mb = pool_mb, .policy = policy, .swap = swap, .huge = huge,
	};
	int err;

	err = vmlab_leaf_init();
	if (err)
		return err;
	err = vmlab_instance_init();
	if (err)
		goto exit_leaf;
	vmlab_default = vmlab_create(&params);
	if (IS_ERR(vmlab_default)) {
		err = PTR_ERR(vmlab_default);
		goto exit_instance;
	}
	err = vmlab_dev_register(vmlab_default);
	if (err)
		goto destroy;
	return 0;

destroy:
	vmlab_destroy(vmlab_default);
exit_instance:
	vmlab_instance_exit();
exit_leaf:
	vmlab_leaf_exit();
	return err;
}

static void __exit vmlab_exit(void)
{
	vmlab_dev_unregister();
	vmlab_destroy(vmlab_default);
	vmlab_instance_exit();
	vmlab_leaf_exit();
	vmlab_retire_exit();
}

module_init(vmlab_init);
module_exit(vmlab_exit);

MODULE_DESCRIPTION("A whole virtual memory system in a module");
MODULE_AUTHOR("The vmlab developers");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("GPL");
