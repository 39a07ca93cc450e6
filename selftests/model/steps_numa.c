// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that have to do with NUMA: memory policies of threads, mappings and objects, weights,
 * and pages that are moved between nodes.
 *
 * None of them changes a byte.  They never judge where a page is: that depends on what others
 * do meanwhile.  Strict policies are for when a swap device is sure to be on: without one a
 * node alone need not have room.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

/* Some of the nodes whose pools have memory. */
static uint64_t some_nodes(struct thread *thread)
{
	uint64_t all = pool_nodes(), some = all & chance(&thread->state);

	return some ?: 1ULL << nth_node(all, pick(thread, 64));
}

/* One that set_mempolicy() of any kernel knows, and what nodes go with it. */
static int some_policy(struct thread *thread, uint64_t *nodes)
{
	static const int modes[] = {
		VMLAB_MPOL_DEFAULT, VMLAB_MPOL_PREFERRED, VMLAB_MPOL_INTERLEAVE,
		VMLAB_MPOL_LOCAL, VMLAB_MPOL_PREFERRED_MANY, VMLAB_MPOL_BIND,
	};
	int mode = modes[pick(thread, model->unswapped ? 5 : 6)];

	*nodes = some_nodes(thread);
	if (mode == VMLAB_MPOL_DEFAULT || mode == VMLAB_MPOL_LOCAL)
		*nodes = 0;
	return mode;
}

static void must(int error, const char *what, int mode, uint64_t nodes)
{
	if (error)
		fail("%s, mode %d, nodes %#lx: %s", what, mode, (unsigned long)nodes,
		     strerror(-error));
}

static void step_task(struct thread *thread)
{
	uint64_t nodes;
	int mode = some_policy(thread, &nodes);

	must(task_mempolicy(mode, nodes), "set_mempolicy", mode, nodes);
}

/* Of a whole mapping: a part would become a VMA of its own, which cannot be moved with the rest. */
static void step_mapping(struct thread *thread)
{
	struct piece *piece;
	uint64_t nodes;
	int mode = some_policy(thread, &nodes);
	unsigned int page = any_page(thread);

	view_need(thread, page, PROT_NONE);
	piece = view_piece(thread, page);
	must(range_policy(view_address(thread, piece->first),
			  view_bytes(piece->first, piece->pages) / PAGE, mode, nodes),
	     "mbind", mode, nodes);
}

static void step_object(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 400));
	uint64_t nodes;
	int mode = some_policy(thread, &nodes);

	if (mode == VMLAB_MPOL_INTERLEAVE && pick(thread, 2))
		mode = VMLAB_MPOL_WEIGHTED_INTERLEAVE;
	must(object_policy(object_of(page)->fd, offset_of(page) / PAGE, object_span(page, nr), mode,
			   nodes), "MEMPOLICY", mode, nodes);
}

static void step_weight(struct thread *thread)
{
	char file[32];

	snprintf(file, sizeof(file), "node%d/%s", nth_node(pool_nodes(), pick(thread, 64)),
		 "weight");
	if (debugfs_write(file, "%u\n", 1 + pick(thread, 5)))
		fail("%s: %m", file);
}

static void step_migrate(struct thread *thread)
{
	unsigned int page = any_page(thread), nr = run_from(page, 1 + pick(thread, 500));
	uint64_t nodes = some_nodes(thread), pages = object_span(page, nr), moved;
	char *at = pick(thread, 2) ? view_address(thread, page) : NULL;
	int error;

	if (at)
		error = address_migrate(object_of(page)->fd, at, 1, nodes, &moved);
	else
		error = object_migrate(object_of(page)->fd, offset_of(page) / PAGE, pages, nodes,
				       &moved);
	/* Nodes that are full, pages that are in use or reserved: those stay. */
	if (error && error != -ENOMEM && error != -EBUSY)
		fail("MIGRATE of %lu pages from page %u on: %s", (unsigned long)pages, page,
		     strerror(-error));
	page_lock(thread, page);
	memcpy(thread->buffer, view_need(thread, page, PROT_READ), PAGE);
	check(page, thread->buffer, 0, PAGE, "a load after MIGRATE");
	page_unlock(thread, page);
}

static const struct step steps[] = {
	{ "set_mempolicy", 4, step_task },
	{ "mbind", 4, step_mapping },
	{ "MEMPOLICY", 4, step_object },
	{ "node weight", 1, step_weight },
	{ "MIGRATE", 10, step_migrate },
};

STEPS(steps);
