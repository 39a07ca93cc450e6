// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that fork children who live on their own: each has a copy of the private mappings
 * of its parent, as they were at the fork, changes its own, forks again, and ends by itself
 * or is killed at any moment, while its parent goes on.
 *
 * A child takes no step of a worker and no page's lock.  What it has and what is right for
 * it is in its life, which the parent fills before the fork and the kernel must agree with.
 */
#include "model.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#define DEEPEST 7

static void act_of_life(struct thread *thread);

/* --- the parent ----------------------------------------------------------- */

static void check_status(pid_t pid, int status)
{
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	if (WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGALRM))
		return;
	fail("a child that lived on its own, %d, ended with status %#x", pid, status);
}

/* Waits for a child, or only looks whether it has ended. */
static void wait_for(pid_t *child, int flags)
{
	pid_t done;
	int status;

	while ((done = waitpid(*child, &status, flags)) < 0)
		if (errno != EINTR)
			fail("waitpid: %m");
	if (!done)
		return;
	check_status(*child, status);
	life_end(*child);
	*child = 0;
}

static pid_t *free_child(struct thread *thread)
{
	pid_t *free = NULL;
	unsigned int i;

	for (i = 0; i < CHILDREN; i++) {
		if (thread->children[i])
			wait_for(&thread->children[i], WNOHANG);
		if (!thread->children[i])
			free = &thread->children[i];
	}
	return free;
}

static void fill_life(struct thread *thread, struct life *life)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++) {
		struct copy *copy = thread->held[i].copy;

		if (!copy)
			continue;
		copy_inherit(&life->copies[i], copy);
		/* One that can be written is one for both: it stays the parent's. */
		if (copy->kind == COPY_SNAPSHOT)
			atomic_store(&life->copies[i].kind, COPY_NONE);
	}
}

/* As a debugger: what the parent has is not to change by that. */
static void write_to_child(struct thread *thread, struct life *life, pid_t child)
{
	unsigned int nr = pick(thread, COPIES), from = pick(thread, PAGE), page;
	unsigned int bytes = 1 + pick(thread, PAGE - from);
	struct copy *copy = &life->copies[nr];
	struct held *held = &thread->held[nr];
	unsigned char seen[PAGE];
	char path[40];
	off_t offset;
	int mem;

	page = copy->kind == COPY_PRIVATE ? pick(thread, copy->pages) : 0;
	if (copy->kind != COPY_PRIVATE || !held->page[page].at)
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		fail("open %s: %m", path);
	offset = (off_t)(uintptr_t)held->page[page].at;
	copy_did(copy, "write by the parent, to /proc/PID/mem", page, 1);
	copy_begin(copy, page, from, bytes, thread->buffer);
	if (pwrite(mem, thread->buffer, bytes, offset + from) != (ssize_t)bytes)
		fail("a write to %s: %m", path);
	copy_end(copy, page, from, bytes);
	if (pread(mem, seen, PAGE, offset) != (ssize_t)PAGE)
		fail("a read of %s: %m", path);
	if (memcmp(seen, copy->truth[page], PAGE)) {
		tell_word("a child's page, seen by its parent, begins with",
			  word_at(seen, 0, 0, PAGE));
		fail("/proc/PID/mem of a child has not what was written to it");
	}
	close(mem);
	copy_did(held->copy, "write to a child, by /proc/PID/mem", page, 1);
	memcpy(thread->buffer, copy_need(thread, held, page, PROT_READ), PAGE);
	copy_check(held, page, thread->buffer, 0, PAGE, "a load after a write to a child");
}

/* --- the child ------------------------------------------------------------ */

static void take_copy(struct held *held, struct copy *copy)
{
	bool broken = false;
	unsigned int page;

	/* The parent's may be another by now. */
	held->copy = copy;
	for (page = 0; page < copy->pages; page++) {
		held->page[page].pinned = false;
		if (held->page[page].at)
			broken |= copy_is_broken(held, page);
	}
	if (broken || copy->kind == COPY_NONE)
		copy_drop(held);
}

static void take_life(struct thread *thread, struct life *life)
{
	static struct place place;
	unsigned int i;

	/* What is told of steps is the parent's, who goes on. */
	place.number = thread->place->number;
	place.kind = thread->place->kind;
	thread->place = &place;
	thread->life = life;
	memset(thread->children, 0, sizeof(thread->children));
	close(thread->mem);
	thread->mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (thread->mem < 0)
		fail("open /proc/self/mem: %m");
	for (i = 0; i < COPIES; i++)
		if (thread->held[i].copy)
			take_copy(&thread->held[i], &life->copies[i]);
}

static void end_by_itself_later(struct thread *thread)
{
	unsigned int after = 1 + pick(thread, 400000) * slowness();
	struct itimerval timer = { 0 };

	timer.it_value.tv_sec = after / 1000000;
	timer.it_value.tv_usec = after % 1000000;
	if (setitimer(ITIMER_REAL, &timer, NULL))
		fail("setitimer: %m");
}

static void check_copies(struct thread *thread, const char *how)
{
	unsigned int i;

	for (i = 0; i < COPIES; i++)
		if (thread->held[i].copy)
			copy_check_all(thread, &thread->held[i], how);
}

static void live(struct thread *thread)
{
	unsigned int acts = pick(thread, 40), i;

	if (!pick(thread, 3))
		end_by_itself_later(thread);
	if (pick(thread, 8))
		check_copies(thread, "a forked child");
	for (i = 0; i < acts && !model->stop && !model->failed; i++) {
		while (model->pause && !model->stop && !model->failed)
			usleep(2000);
		act_of_life(thread);
	}
	if (pick(thread, 2))
		check_copies(thread, "a forked child before its end");
	/* The others become orphans. */
	for (i = 0; i < CHILDREN; i++)
		if (thread->children[i] && pick(thread, 2))
			wait_for(&thread->children[i], 0);
	life_end(getpid());
	_exit(model->failed);
}

static void begin_life(struct thread *thread, struct life *life, pid_t parent, uint64_t state,
		       int socket)
{
	char byte = 'r';

	if (!life_given(life, parent))
		_exit(0);
	thread->state = state;
	take_life(thread, life);
	/* The parent may write to our memory before we begin. */
	if (socket >= 0 &&
	    (send(socket, &byte, 1, MSG_NOSIGNAL) != 1 || read(socket, &byte, 1) != 1)) {
		life_end(getpid());
		_exit(0);
	}
	if (socket >= 0)
		close(socket);
	live(thread);
}

/* --- both ----------------------------------------------------------------- */

static void fork_life(struct thread *thread)
{
	uint64_t state = chance(&thread->state) | 1;
	pid_t parent = getpid(), *child = free_child(thread);
	bool wait = !pick(thread, 3);
	int ends[2] = { -1, -1 };
	struct life *life;
	char byte;

	if (!child)
		return;
	life = life_take(thread);
	if (!life)
		return;
	fill_life(thread, life);
	if (wait && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		fail("socketpair: %m");
	*child = fork();
	if (*child < 0)
		fail("fork: %m");
	if (!*child) {
		if (wait)
			close(ends[0]);
		begin_life(thread, life, parent, state, ends[1]);
	}
	if (!wait)
		return;
	close(ends[1]);
	if (read(ends[0], &byte, 1) == 1) {
		write_to_child(thread, life, *child);
		if (send(ends[0], &byte, 1, MSG_NOSIGNAL) != 1)
			fail("a child that waits is gone: %m");
	}
	close(ends[0]);
}

static void kill_or_wait(struct thread *thread)
{
	pid_t *child = &thread->children[pick(thread, CHILDREN)];

	if (!*child)
		return;
	if (pick(thread, 2) && !model->failed) {
		kill(*child, SIGKILL);
		wait_for(child, 0);
	} else {
		wait_for(child, WNOHANG);
	}
}

static void act_of_life(struct thread *thread)
{
	struct held *held = copy_any(thread);

	switch (pick(thread, 12)) {
	case 0:
		if (thread->life->depth < DEEPEST)
			fork_life(thread);
		break;
	case 1:
		kill_or_wait(thread);
		break;
	case 2:
		check_unlocked(thread, any_page(thread), pick(thread, 2));
		break;
	default:
		if (held)
			copy_act(thread, held);
		break;
	}
}

/* What each has after it is looked at later, by acts. */
static void step_fork_life(struct thread *thread)
{
	fork_life(thread);
}

static void step_kill_or_wait(struct thread *thread)
{
	kill_or_wait(thread);
}

static const struct step steps[] = {
	{ "fork of a life", 6, step_fork_life },
	{ "end of a life", 4, step_kill_or_wait },
};

STEPS(steps);
