// SPDX-License-Identifier: GPL-2.0
/*
 * Children, guarded loads and stores, commands, and chance that can be
 * repeated.  Children must never run a test's own assertions: these jump back
 * into the parent's code.
 */
#include "vmlab_test.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

static void say(const char *format, va_list args)
{
	char line[512] = "# ";

	vsnprintf(line + 2, sizeof(line) - 3, format, args);
	strcat(line, "\n");
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

/* One diagnostic line of TAP. */
void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	_exit(1);
}

/* Runs @body in a child that does not outlive its parent. */
pid_t child_start(int (*body)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork: %m");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	_exit(body(arg));
}

/* The child's exit status, or BY_SIGNAL(). */
int child_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid: %m");
	return WIFSIGNALED(status) ? BY_SIGNAL(WTERMSIG(status)) : WEXITSTATUS(status);
}

int child_run(int (*body)(void *arg), void *arg)
{
	return child_wait(child_start(body, arg));
}

static __thread sigjmp_buf guard;
static __thread bool guarded;

static void caught(int number)
{
	if (!guarded) {
		signal(number, SIG_DFL);
		raise(number);
		return;
	}
	siglongjmp(guard, number);
}

static void guard_up(struct sigaction old[2])
{
	struct sigaction action = { .sa_handler = caught };

	sigaction(SIGBUS, &action, &old[0]);
	sigaction(SIGSEGV, &action, &old[1]);
	guarded = true;
}

static void guard_down(const struct sigaction old[2])
{
	guarded = false;
	sigaction(SIGBUS, &old[0], NULL);
	sigaction(SIGSEGV, &old[1], NULL);
}

/*
 * memcpy() that returns the number of the signal it met, or 0.  The handlers
 * are the whole process's: one thread at a time.
 */
int try_copy(void *to, const void *from, size_t bytes)
{
	struct sigaction old[2];
	int number;

	guard_up(old);
	number = sigsetjmp(guard, 1);
	if (!number) {
		volatile unsigned char *t = to;
		const volatile unsigned char *f = from;
		size_t i;

		for (i = 0; i < bytes; i++)
			t[i] = f[i];
	}
	guard_down(old);
	return number;
}

int try_load(const volatile void *address, unsigned char *byte)
{
	unsigned char unused;

	return try_copy(byte ?: &unused, (const void *)address, 1);
}

int try_store(volatile void *address, unsigned char byte)
{
	return try_copy((void *)address, &byte, 1);
}

/* A shell command, its output swallowed; its exit status. */
int run(const char *format, ...)
{
	char command[1024] = "exec >/dev/null 2>&1; ";
	const int begin = strlen(command), room = sizeof(command) - begin;
	va_list args;
	int used, status;

	va_start(args, format);
	used = vsnprintf(command + begin, room, format, args);
	va_end(args);
	if (used < 0 || used >= room)
		die("a command is too long");
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : BY_SIGNAL(WTERMSIG(status));
}

uint64_t chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* SEED=, or one of the moment; printed, so that a failure can be repeated. */
uint64_t seed(void)
{
	const char *said = getenv("SEED");
	uint64_t value = said ? strtoull(said, NULL, 0) : (uint64_t)time(NULL) ^ getpid();

	note("SEED=%llu", (unsigned long long)value);
	return value ?: 1;
}

unsigned int seconds(unsigned int unless_said)
{
	const char *said = getenv("SECONDS");

	return said && atoi(said) > 0 ? (unsigned int)atoi(said) : unless_said;
}

/*
 * How many times longer than on a kernel of Debian's everything may take: the
 * debug kernels check each access of theirs.
 */
unsigned int slowness(void)
{
	const char *said = getenv("VMLAB_SLOWNESS");

	return said && atoi(said) > 0 ? (unsigned int)atoi(said) : 1;
}

/*
 * How much to do of what is repeated only to give chance more to work with, or is large only
 * to go round often: @usual, divided by slowness(), but never less than @least, which must
 * be enough for the test to show what it is for.
 */
unsigned long scaled(unsigned long usual, unsigned long least)
{
	unsigned long fewer = usual / slowness();

	return fewer > least ? fewer : least;
}

unsigned int __wrap_alarm(unsigned int seconds)
{
	return __real_alarm(seconds * slowness());
}

/* The name of the kernel in the check runner, "6.12" or "kasan" for instance. */
bool kernel_is(const char *name)
{
	const char *said = getenv("VMLAB_KERNEL");

	return said && !strcmp(said, name);
}

double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}
