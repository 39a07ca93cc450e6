// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that change the instance and the machine under everybody's feet: swap devices,
 * pool sizes, policies, CPUs.  One at a time; who finds another at it does something else.
 * Sizes stay such that everything has a place: an error here is one of the module.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

static bool begin(struct thread *thread)
{
	uint32_t nobody = 0;

	return atomic_compare_exchange_strong(&model->admin, &nobody, thread->owner);
}

static void end(void)
{
	atomic_store(&model->admin, 0);
}

static void step_swap(struct thread *thread)
{
	int error;

	if (!begin(thread))
		return;
	if (swap_is_on(model->spare))
		error = swap_off(model->spare);
	else
		error = swap_on_priority(model->spare, pick(thread, 100));
	if (error)
		fail("swap on or off %s: %s", model->spare, strerror(-error));
	end();
}

/* Up and down by a quarter of what was there at first. */
static void step_resize(struct thread *thread)
{
	unsigned long mb = under_pressure() ? 8 : 32;
	int node = nth_node(pool_nodes(), pick(thread, 64)), error;

	if (!begin(thread))
		return;
	mb = mb * 3 / 4 + pick(thread, mb / 4 + 1) * 2;
	error = pool_resize(node, mb);
	/* ENOSPC: pages have no other place just now; ENOMEM: the machine has no more. */
	if (error && error != -ENOSPC && error != -ENOMEM)
		fail("node %d's pool to %lu MiB: %s", node, mb, strerror(-error));
	end();
}

static void step_policy(struct thread *thread)
{
	const char *name = pick(thread, 2) ? "fifo" : "clock";
	int error;

	if (!begin(thread))
		return;
	error = debugfs_write("policy", "%s\n", name);
	if (error)
		fail("policy %s: %s", name, strerror(-error));
	end();
}

static void step_swappiness(struct thread *thread)
{
	unsigned int value = pick(thread, 201);
	int error;

	if (!begin(thread))
		return;
	error = debugfs_write("swappiness", "%u\n", value);
	if (error)
		fail("swappiness %u: %s", value, strerror(-error));
	end();
}

static void cpu_write(const char *value)
{
	int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, value, 1) < 0 && errno != EBUSY && errno != EINTR)
		fail("CPU 1 to %s: %m", value);
	close(fd);
}

static void step_cpu(struct thread *thread)
{
	if (!begin(thread))
		return;
	cpu_write("0");
	usleep(pick(thread, 20000));
	cpu_write("1");
	end();
}

static const struct step steps[] = {
	{ "swap on and off", 1, step_swap },
	{ "pool resize", 2, step_resize },
	{ "policy", 2, step_policy },
	{ "swappiness", 1, step_swappiness },
	{ "CPU off and on", 1, step_cpu },
};

STEPS(steps);
