// SPDX-License-Identifier: GPL-2.0
/*
 * Memory policies of such mappings: vmlab allocates by itself, so it must be told them.
 */
#include "test.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>

#define PAGES 64
#define NODE_0 1UL

static long bind_pages(char *map, size_t bytes, int mode, unsigned long nodes)
{
	return syscall(SYS_mbind, map, bytes, mode, mode == MPOL_DEFAULT ? NULL : &nodes,
		       mode == MPOL_DEFAULT ? 0 : 8 * sizeof(nodes), 0);
}

static struct ct_policy policy(int fd, const char *address)
{
	struct ct_policy policy = { .addr = (uintptr_t)address };

	EQUAL(0, ioctl(fd, CT_IOC_POLICY, &policy));
	return policy;
}

static char *bound(int fd)
{
	char *map = shared_map(fd, 0, PAGES);

	if (bind_pages(map, PAGES * PAGE, MPOL_BIND, NODE_0)) {
		REQUIRE(errno == ENOSYS);
		SKIP("a kernel without NUMA");
	}
	return map;
}

CONTRACT(set_policy, "mbind() calls ->set_policy, and the VMA's policy can be read",
	 "mbind() would succeed and pages be placed anywhere")
{
	int fd = object(0);
	char *map = bound(fd);

	EQUAL(1, events(fd).set_policy);
	EQUAL(MPOL_BIND, policy(fd, map).vma_mode);
	EQUAL(NODE_0, policy(fd, map).vma_nodes);
	EQUAL(0, bind_pages(map, PAGES * PAGE, MPOL_DEFAULT, 0));
	EQUAL(1, events(fd).unset_policy);
	EQUAL(-1, policy(fd, map).vma_mode);
}

CONTRACT(set_policy_of_a_part, "mbind() of a part splits the VMA first, and tells the part only",
	 "the policy of a part would hold for the whole")
{
	int fd = object(0);
	char *map = shared_map(fd, 0, PAGES);

	if (bind_pages(map + 8 * PAGE, 8 * PAGE, MPOL_INTERLEAVE, NODE_0)) {
		REQUIRE(errno == ENOSYS);
		SKIP("a kernel without NUMA");
	}
	EQUAL(1, events(fd).set_policy);
	EQUAL(2, events(fd).open);
	EQUAL(-1, policy(fd, map).vma_mode);
	EQUAL(MPOL_INTERLEAVE, policy(fd, map + 8 * PAGE).vma_mode);
	EQUAL(-1, policy(fd, map + 16 * PAGE).vma_mode);
}

CONTRACT(get_policy, "get_mempolicy(MPOL_F_ADDR) asks ->get_policy",
	 "programs would read another policy than the one in force")
{
	int fd = object(0), mode = -1;
	char *map = bound(fd);

	EQUAL(0, syscall(SYS_get_mempolicy, &mode, NULL, 0, map, MPOL_F_ADDR));
	EQUAL(MPOL_BIND, mode);
	REQUIRE(events(fd).get_policy >= 1);
}

struct place {
	int fd;
	char *map;
};

static int child_policy(void *arg)
{
	struct place *place = arg;

	EQUAL(MPOL_BIND, policy(place->fd, place->map).vma_mode);
	return 0;
}

CONTRACT(policy_forked, "a forked VMA has its parent's policy, without ->set_policy",
	 "the child's pages would be placed anywhere")
{
	struct place place = { .fd = object(0) };

	place.map = bound(place.fd);
	reset(place.fd);
	run_child(child_policy, &place);
	EQUAL(0, events(place.fd).set_policy);
}

CONTRACT(task_policy, "set_mempolicy() can be read from the task",
	 "numactl in front of a program would do nothing")
{
	unsigned long nodes = NODE_0;
	int fd = object(0);

	EQUAL(-1, policy(fd, NULL).task_mode);
	if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, 8 * sizeof(nodes))) {
		REQUIRE(errno == ENOSYS);
		SKIP("a kernel without NUMA");
	}
	EQUAL(MPOL_INTERLEAVE, policy(fd, NULL).task_mode);
}
