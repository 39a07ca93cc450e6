// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: a process of several threads that take one step after the other.
 *
 * It may be killed at any moment, and be started again; then its threads go on with the
 * step after the one they were killed in.  It must never end well in the middle of a step.
 */
#include "model.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static __thread struct thread *current;

/* A message with a descriptor in it: SCM_RIGHTS. */
int socket_send(int socket, int fd, int number)
{
	char room[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec text = { &number, sizeof(number) };
	struct msghdr message = {
		.msg_iov = &text, .msg_iovlen = 1,
		.msg_control = room, .msg_controllen = sizeof(room),
	};
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);

	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	return sendmsg(socket, &message, 0) < 0 ? -errno : 0;
}

static int socket_receive(int socket, int *number)
{
	char room[CMSG_SPACE(sizeof(int))];
	struct iovec text = { number, sizeof(*number) };
	struct msghdr message = {
		.msg_iov = &text, .msg_iovlen = 1,
		.msg_control = room, .msg_controllen = sizeof(room),
	};
	struct cmsghdr *control;
	int fd;

	if (recvmsg(socket, &message, 0) != sizeof(*number))
		fail("no message with a descriptor: %m");
	control = CMSG_FIRSTHDR(&message);
	if (!control || control->cmsg_type != SCM_RIGHTS)
		fail("a message without a descriptor");
	memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

/* Every other object comes by SCM_RIGHTS instead of by fork; the number stays the same. */
static void receive_objects(int socket)
{
	unsigned int i;

	for (i = 1; i < OBJECTS; i += 2) {
		int number, fd = socket_receive(socket, &number);

		if (dup2(fd, number) != number || close(fd))
			fail("dup2 of a descriptor that was sent: %m");
	}
	close(socket);
}

/* No step touches what it may not, so a signal is a failure: say whose and where. */
static void caught(int number, siginfo_t *info, void *context)
{
	char *address = info->si_addr, *at;
	unsigned int page;

	speak("signal %d at %p in step %lu of thread %u, %s", number, address,
	      current ? (unsigned long)current->place->number : 0, current ? current->owner : 0,
	      current ? steps_name(current->place->kind) : "a thread of a step");
	for (page = 0; current && page < model->nr_pages; page++) {
		at = view_address(current, page);
		if (at && address >= at && address < at + PAGE)
			tell_page(page);
	}
	if (current)
		copy_tell_at(current, address);
	_exit(1);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

static void park(struct place *place)
{
	atomic_store(&place->parked, true);
	while (model->pause && !model->stop)
		usleep(2000);
	atomic_store(&place->parked, false);
}

static void *take_steps(void *arg)
{
	struct thread *thread = arg;
	struct place *place = thread->place;

	current = thread;
	while (!model->stop && !model->failed) {
		if (model->pause) {
			park(place);
			continue;
		}
		/* Chance of this step alone: what came before makes no difference. */
		thread->state = mix(mix(model->seed + thread->owner) + ++place->number) | 1;
		place->kind = steps_choose(chance(&thread->state));
		steps_get(place->kind)->run(thread);
		place->kind = -1;
	}
	return NULL;
}

int worker_run(unsigned int worker, int socket)
{
	struct thread *threads = calloc(THREADS, sizeof(*threads));
	pthread_t ids[THREADS];
	unsigned int i;

	setpgid(0, 0);
	receive_objects(socket);
	catch_signals();
	for (i = 0; i < THREADS; i++) {
		struct thread *thread = &threads[i];

		thread->worker = worker;
		thread->owner = worker * THREADS + i + 1;
		thread->place = &model->places[thread->owner - 1];
		thread->pieces = calloc(model->nr_pages, sizeof(*thread->pieces));
		thread->life = life_begin(thread, thread->owner - 1);
		thread->mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
		if (!thread->pieces || thread->mem < 0)
			fail("a worker cannot begin: %m");
		if (pthread_create(&ids[i], NULL, take_steps, thread))
			fail("no thread");
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	return model->failed;
}
