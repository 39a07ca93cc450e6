// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the contract: one TAP line for each thing that vmlab relies on in a kernel.
 *
 * Owns the loading of contract.ko, the processes that tests run in and what is said of
 * them.  It must not use vmlab.ko, which may be what the kernel is no good for.
 *
 * vmlab-test: timeout=900 phases=plain
 */
#include "test.h"

#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#define TEST_SECONDS 120

/* What the kernel says when it finds something wrong with itself. */
static const char *const complaints[] = {
	"WARNING:", "BUG:", "UBSAN:", "ODEBUG:", "Oops", "general protection", "Bad page",
	"possible circular", "possible recursive", "suspicious RCU", "inconsistent lock",
	"Invalid wait context", "bad unlock balance", "page tables are lost",
};

/* "fork" for fork.c: what a test's name begins with. */
static const char *topic(const struct contract *contract)
{
	static char name[64];
	const char *file = strrchr(contract->file, '/');

	snprintf(name, sizeof(name), "%s", file ? file + 1 : contract->file);
	name[strcspn(name, ".")] = '\0';
	return name;
}

static int by_place(const void *a, const void *b)
{
	const struct contract *const *x = a, *const *y = b;

	return strcmp((*x)->file, (*y)->file) ?: (*x)->line - (*y)->line;
}

static bool wanted(const struct contract *contract, char **topics)
{
	if (!*topics)
		return true;
	for (; *topics; topics++)
		if (!strcmp(*topics, topic(contract)))
			return true;
	return false;
}

char *skip_reason;

static bool complains(const char *line)
{
	unsigned int i;

	for (i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++)
		if (strstr(line, complaints[i]))
			return true;
	return false;
}

/* Shows what the kernel log has new from its first complaint on; whether there is one. */
static bool log_complains(int log)
{
	char record[8192];
	unsigned int shown = 0;
	ssize_t length;

	for (;;) {
		char *line;

		length = read(log, record, sizeof(record) - 1);
		if (length < 0 && errno == EPIPE)	/* overtaken: go on with what is left */
			continue;
		if (length <= 0)
			return shown;
		record[length] = '\0';
		line = strchr(record, ';') ?: record;
		line[strcspn(line, "\n")] = '\0';
		if (!shown && !complains(line))
			continue;
		if (shown++ < 60)
			note("kernel log: %s", line + 1);
	}
}

/* The exit status of a test; its processes are gone when this returns. */
static int run_one(const struct contract *contract)
{
	struct timespec tick = { .tv_nsec = 10 * 1000 * 1000 };
	double until = now() + TEST_SECONDS * slowness();
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork: %m");
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		contract->run();
		_exit(0);
	}
	setpgid(pid, pid);
	while (!waitpid(pid, &status, WNOHANG)) {
		if (now() > until) {
			note("not done after %d seconds", TEST_SECONDS * slowness());
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			return 1;
		}
		nanosleep(&tick, NULL);
	}
	kill(-pid, SIGKILL);
	if (WIFSIGNALED(status)) {
		note("killed by signal %d", WTERMSIG(status));
		return 1;
	}
	return WEXITSTATUS(status);
}

/* Beside this program: build/selftests/contract, build/RELEASE-contract/contract.ko. */
static const char *module_path(void)
{
	static char path[2 * PATH_MAX];
	char self[PATH_MAX] = "";
	struct utsname name;

	if (getenv("VMLAB_CONTRACT_KO"))
		return getenv("VMLAB_CONTRACT_KO");
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || uname(&name))
		die("where am I? %m");
	snprintf(path, sizeof(path), "%s/../%s-contract/contract.ko", dirname(self),
		 name.release);
	return path;
}

static bool load(void)
{
	const char *path = module_path();
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		note("%s: %m (tools/build --contract makes it)", path);
		return false;
	}
	if (syscall(SYS_finit_module, fd, "", 0)) {
		note("loading %s: %m (the kernel log says more)", path);
		close(fd);
		return false;
	}
	close(fd);
	return true;
}

int main(int argc, char **argv)
{
	const struct contract **each;
	unsigned int planned = 2, number = 1;
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	bool loaded;

	if (log < 0 || lseek(log, 0, SEEK_END))
		die("the kernel log: %m");

	skip_reason = mmap(NULL, SKIP_REASON_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (skip_reason == MAP_FAILED)
		die("no memory");
	setvbuf(stdout, NULL, _IOLBF, 0);
	qsort(__start_contracts, __stop_contracts - __start_contracts, sizeof(*each), by_place);
	for (each = __start_contracts; each < __stop_contracts; each++)
		planned += wanted(*each, argv + 1);
	printf("TAP version 13\n1..%u\n", planned);
	loaded = load();
	if (!loaded)
		note("vmlab would not load either: the kernel lacks something it needs");
	printf("%sok 1 exports: contract.ko loads\n", loaded ? "" : "not ");
	for (each = __start_contracts; each < __stop_contracts; each++) {
		char skip[SKIP_REASON_SIZE + 16] = "";
		int status = 1;

		if (!wanted(*each, argv + 1))
			continue;
		if (loaded)
			status = run_one(*each);
		else
			strcpy(skip, " # SKIP contract.ko is not loaded");
		if (loaded && status == STATUS_WARNED)
			status = log_complains(log) ? 0 : 1;
		else if (loaded && log_complains(log))
			status = 1;
		if (loaded && status == STATUS_SKIP)
			snprintf(skip, sizeof(skip), " # SKIP %s", skip_reason);
		if (!*skip && status)
			note("so vmlab would be wrong: %s", (*each)->otherwise);
		printf("%sok %u %s: %s%s\n", *skip || !status ? "" : "not ", ++number,
		       topic(*each), (*each)->name, skip);
	}
	if (loaded && syscall(SYS_delete_module, "contract", O_NONBLOCK)) {
		note("unloading contract.ko: %m");
		note("so vmlab would be wrong: rmmod vmlab would never work again");
		loaded = false;
	}
	loaded &= !log_complains(log);
	printf("%sok %u exports: contract.ko unloads, nothing of it is left in use\n",
	       loaded ? "" : "not ", ++number);
	return 0;
}
