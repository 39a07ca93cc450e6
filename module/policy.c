// SPDX-License-Identifier: GPL-2.0
/*
 * Which replacement policy is in force, and how it changes.
 *
 * Owns the table of policies.  A new one is a file policy_NAME.c with its ops, and
 * a line in the table.
 */
#include <linux/errno.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "vmlab.h"

static const struct vmlab_policy_ops * const vmlab_policies[] = {
	&vmlab_policy_clock,
	&vmlab_policy_fifo,
};

/**
 * vmlab_policy_find() - look a policy up
 * @name: its name
 *
 * Return: its ops, or NULL.
 */
const struct vmlab_policy_ops *vmlab_policy_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vmlab_policies); i++)
		if (sysfs_streq(name, vmlab_policies[i]->name))
			return vmlab_policies[i];
	return NULL;
}

static void vmlab_policy_stop(struct vmlab *vm, const struct vmlab_policy_ops *ops, int end)
{
	int nid;

	for (nid = 0; nid < end; nid++)
		if (vm->pools[nid] && ops->exit)
			ops->exit(vm->pools[nid]);
}

/* Who insists does not want to hear of injected failures: they might never end. */
static int vmlab_policy_start(struct vmlab *vm, const struct vmlab_policy_ops *ops, bool insist)
{
	int nid, err;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++) {
		if (!vm->pools[nid] || !ops->init)
			continue;
		err = !insist && vmlab_should_fail(vm, VMLAB_INJECT_policy) ? -ENOMEM :
		      ops->init(vm->pools[nid]);
		if (err) {
			vmlab_policy_stop(vm, ops, nid);
			return err;
		}
	}
	return 0;
}

/**
 * vmlab_policy_switch() - put another policy in force
 * @vm: the instance
 * @ops: the policy; NULL: none, at the instance's end
 *
 * The world stands still meanwhile: no frame changes its state.  If the new policy
 * cannot start, the old one starts again with what it finds resident.
 *
 * Context: may sleep; vm->activity is taken for write.
 * Return: 0 or -ENOMEM.
 */
int vmlab_policy_switch(struct vmlab *vm, const struct vmlab_policy_ops *ops)
{
	const struct vmlab_policy_ops *old;
	int err = 0;

	percpu_down_write(&vm->activity);
	old = vm->policy;
	if (old == ops)
		goto out;
	if (old)
		vmlab_policy_stop(vm, old, VMLAB_NODES_MAX);
	WRITE_ONCE(vm->policy, ops);
	if (!ops)
		goto out;
	err = vmlab_policy_start(vm, ops, false);
	if (err && old) {
		/* A few bytes a node, freed a moment ago: insist on getting them back. */
		WRITE_ONCE(vm->policy, old);
		while (vmlab_policy_start(vm, old, true))
			cond_resched();
	}
out:
	percpu_up_write(&vm->activity);
	return err;
}

/**
 * vmlab_policy_show() - the names, the one in force in brackets
 * @vm: the instance
 * @buf: where to
 * @size: its size in bytes
 *
 * Return: characters written.
 */
int vmlab_policy_show(struct vmlab *vm, char *buf, size_t size)
{
	const struct vmlab_policy_ops *now = READ_ONCE(vm->policy);
	unsigned int i, len = 0;

	for (i = 0; i < ARRAY_SIZE(vmlab_policies); i++)
		len += scnprintf(buf + len, size - len,
				 vmlab_policies[i] == now ? "%s[%s]" : "%s%s",
				 i ? " " : "", vmlab_policies[i]->name);
	len += scnprintf(buf + len, size - len, "\n");
	return len;
}

/**
 * vmlab_policy_alloc() - memory for a policy's state of a pool
 * @size: bytes
 *
 * Return: zeroed memory or NULL.
 */
void *vmlab_policy_alloc(size_t size)
{
	return kzalloc(size, GFP_KERNEL);
}

/**
 * vmlab_policy_free() - free it
 * @data: from vmlab_policy_alloc(), or NULL
 */
void vmlab_policy_free(void *data)
{
	kfree(data);
}
