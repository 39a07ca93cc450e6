// SPDX-License-Identifier: GPL-2.0
/*
 * The machine's NUMA nodes, memory policies by the bare system calls, and vmlab's own.  It
 * must never assume that nodes are numbered without gaps, or that each has CPUs or a pool.
 */
#include "vmlab_test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define MASK_BITS 64

/* Those whose pools have memory, as a mask. */
uint64_t pool_nodes(void)
{
	uint64_t mask = 0;
	int node;

	for (node = 0; node < MASK_BITS; node++)
		if (node_has_pool(node) && pool_mb(node))
			mask |= 1ULL << node;
	return mask;
}

/* The @nth node of a mask, counted from 0 and round again. */
int nth_node(uint64_t mask, uint64_t nth)
{
	for (nth %= __builtin_popcountll(mask); nth; nth--)
		mask &= mask - 1;
	return __builtin_ctzll(mask);
}

/* One of a node's CPUs, or -1. */
int node_cpu(int node)
{
	char path[64];
	int cpu, found = -1;

	for (cpu = 0; cpu < CPU_SETSIZE && found < 0; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpu%d", node, cpu);
		if (!access(path, F_OK))
			found = cpu;
	}
	return found;
}

/* The caller runs there from now on; -1: anywhere. */
int run_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (cpu >= 0)
		CPU_SET(cpu, &set);
	else
		memset(&set, 0xff, sizeof(set));
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

int node_distance(int from, int to)
{
	char path[64], text[1024] = "", *rest = text, *word = NULL;
	FILE *file, *online;
	int node;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", from);
	file = fopen(path, "r");
	if (!file || !fgets(text, sizeof(text), file))
		die("%s: %m", path);
	fclose(file);
	/* One number for each node that is online, in order. */
	for (node = 0; node <= to; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d", node);
		online = fopen(path, "r");
		if (!online)
			continue;
		fclose(online);
		word = strsep(&rest, " ");
	}
	if (!word || !*word)
		die("node %d has no distance to node %d", from, to);
	return atoi(word);
}

/* The one of a mask that is the nearest to a node; of two alike the lower. */
int nearest_node(int from, uint64_t mask)
{
	int best = -1, node;

	for (node = 0; node < MASK_BITS; node++)
		if ((mask >> node & 1) &&
		    (best < 0 || node_distance(from, node) < node_distance(from, best)))
			best = node;
	return best;
}

/* set_mempolicy(2) and mbind(2): the kernel's numbers are those of VMLAB_MPOL_*. */
int task_mempolicy(int mode, uint64_t nodes)
{
	unsigned long mask = nodes;

	return syscall(SYS_set_mempolicy, mode, nodes ? &mask : NULL, MASK_BITS + 1) ? -errno : 0;
}

int range_policy(void *address, size_t pages, int mode, uint64_t nodes)
{
	unsigned long mask = nodes;

	return syscall(SYS_mbind, address, pages * PAGE, mode, nodes ? &mask : NULL,
		       MASK_BITS + 1, 0) ? -errno : 0;
}

int object_policy(int fd, uint64_t page, uint64_t pages, int mode, uint64_t nodes)
{
	struct vmlab_ioc_mempolicy policy = {
		.size = sizeof(policy), .flags = VMLAB_MEMPOLICY_SET, .offset = page * PAGE,
		.length = pages * PAGE, .mode = mode, .maxnode = MASK_BITS,
		.nodes = (uintptr_t)&nodes,
	};

	return ioctl(fd, VMLAB_IOC_MEMPOLICY, &policy) ? -errno : 0;
}

/* What an object's policy is at a page; the mode, and how many pages it goes. */
int object_policy_at(int fd, uint64_t page, uint64_t *nodes, uint64_t *pages)
{
	struct vmlab_ioc_mempolicy policy = {
		.size = sizeof(policy), .offset = page * PAGE,
		.length = VMLAB_OBJECT_SIZE - page * PAGE, .maxnode = MASK_BITS,
		.nodes = (uintptr_t)nodes,
	};

	if (ioctl(fd, VMLAB_IOC_MEMPOLICY, &policy))
		return -errno;
	if (pages)
		*pages = policy.length / PAGE;
	return policy.mode;
}

static int migrate(int fd, uint32_t flags, uint64_t begin, uint64_t pages, uint64_t nodes,
		   uint64_t *moved)
{
	struct vmlab_ioc_migrate ask = {
		.size = sizeof(ask), .flags = flags, .offset = begin, .length = pages * PAGE,
		.maxnode = MASK_BITS, .nodes = (uintptr_t)&nodes,
	};
	int error = ioctl(fd, VMLAB_IOC_MIGRATE, &ask) ? -errno : 0;

	if (moved)
		*moved = ask.moved / PAGE;
	return error;
}

int object_migrate(int fd, uint64_t page, uint64_t pages, uint64_t nodes, uint64_t *moved)
{
	return migrate(fd, 0, page * PAGE, pages, nodes, moved);
}

int address_migrate(int fd, const void *address, uint64_t pages, uint64_t nodes,
		    uint64_t *moved)
{
	return migrate(fd, VMLAB_RANGE_ADDRESS, (uintptr_t)address, pages, nodes, moved);
}

/* How many resident pages at an address are on one of @nodes. */
uint64_t pages_on(int fd, const void *address, size_t pages, uint64_t nodes)
{
	uint32_t *vec = calloc(pages, sizeof(*vec));
	uint64_t count = 0;
	size_t i;

	if (!vec || address_residency(fd, address, pages, vec))
		die("RESIDENCY: %m");
	for (i = 0; i < pages; i++)
		count += (vec[i] & VMLAB_RES_RESIDENT) && (nodes >> VMLAB_RES_NODE(vec[i]) & 1);
	free(vec);
	return count;
}

/* All weights are what they are at first. */
void nodes_alike(void)
{
	char file[32];
	int node;

	for (node = 0; node < MASK_BITS; node++) {
		snprintf(file, sizeof(file), "node%d/%s", node, "weight");
		if (node_has_pool(node) && debugfs_write(file, "1\n"))
			die("debugfs %s: %m", file);
	}
}

/* A counter of debugfs node<N>/stats. */
uint64_t node_counter(int node, const char *name)
{
	char file[32];

	snprintf(file, sizeof(file), "node%d/%s", node, "stats");
	return debugfs_value(file, name);
}

uint64_t node_counters(const char *name)
{
	uint64_t sum = 0;
	int node;

	for (node = 0; node < MASK_BITS; node++)
		if (node_has_pool(node))
			sum += node_counter(node, name);
	return sum;
}
