// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that make processes and end them.  The controller's SIGKILL is none of them: it
 * comes at any time.
 */
#include "model.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MOST 8

/* The child sees what the parent saw, and the parent what the child stores. */
static void child_of(struct thread *thread, unsigned int first, unsigned int nr)
{
	unsigned int i;

	for (i = first; i < first + nr; i++) {
		memcpy(thread->buffer, view_address(thread, i), PAGE);
		check(i, thread->buffer, 0, PAGE, "a load in a forked child");
	}
	/* It stores by the same address, as the parent's name, under the parent's lock. */
	i = first + nr - 1;
	fill(thread->buffer, i, 0, PAGE, thread->owner,
	     change_begin(i, thread->owner, CHANGE_WRITE, 0, PAGE));
	memcpy(view_address(thread, i), thread->buffer, PAGE);
	change_end(i);
	_exit(0);
}

static void step_fork(struct thread *thread)
{
	unsigned int first = any_page(thread), nr = run_from(first, 1 + pick(thread, MOST)), i;
	int status;
	pid_t pid;

	run_lock(thread, first, nr);
	view_map(thread, first, nr);
	for (i = first; i < first + nr; i++)
		*(volatile char *)view_address(thread, i);
	pid = fork();
	if (!pid) {
		/* Not after its thread: the group is killed as a whole. */
		child_of(thread, first, nr);
	}
	if (pid < 0)
		fail("fork: %m");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %m");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("a forked child ended with status %#x", status);
	for (i = first; i < first + nr; i++) {
		memcpy(thread->buffer, view_address(thread, i), PAGE);
		check(i, thread->buffer, 0, PAGE, "a load after a forked child's store");
	}
	run_unlock(thread, first, nr);
}

/* With whatever the other threads are in the middle of.  To start again takes long: rarely. */
static void step_exit(struct thread *thread)
{
	if (!pick(thread, 5) && !model->stop)
		_exit(EXIT_AGAIN);
}

static const struct step steps[] = {
	{ "fork", 3, step_fork },
	{ "exit", 1, step_exit },
};

STEPS(steps);
