// SPDX-License-Identifier: GPL-2.0
/*
 * Steps that copy a page while a second thread stores to it without pause, on the other CPU.
 *
 * It stores each word once, in order.  So whatever moment a copy is of, it has the first few
 * of the new words and the old ones behind, for ever; and the original has all in the end.
 * A store that comes by a translation from before the copy is seen in the copy, or is
 * missing from the original.
 */
#include "model.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

#define SNAPSHOTS 3

/**
 * struct storer - the second thread
 * @at:		the page, mapped
 * @page:	of the model
 * @owner:	of the words
 * @generation:	of the words
 * @wait:	between two words
 * @stored:	words so far; in memory that a child sees too
 */
struct storer {
	volatile uint64_t *at;
	unsigned int page;
	unsigned int owner;
	uint32_t generation;
	unsigned int wait;
	atomic_uint *stored;
};

static void go_to_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void go_anywhere(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
}

static void *store_words(void *arg)
{
	struct storer *storer = arg;
	unsigned char words[PAGE];
	unsigned int i;

	go_to_cpu(1);
	fill(words, storer->page, 0, PAGE, storer->owner, storer->generation);
	for (i = 0; i < WORDS; i++) {
		volatile unsigned int wait;
		uint64_t word;

		memcpy(&word, words + i * 8, 8);
		storer->at[i] = word;
		*storer->stored = i + 1;
		for (wait = 0; wait < storer->wait; wait++)
			;
	}
	return NULL;
}

static void start(struct storer *storer, pthread_t *id)
{
	*storer->stored = 0;
	go_to_cpu(0);
	if (pthread_create(id, NULL, store_words, storer))
		fail("no second thread");
}

static void finish(pthread_t id)
{
	pthread_join(id, NULL);
	go_anywhere();
}

/* How many of the new words a page begins with; all behind must be old. */
static unsigned int new_words(const struct storer *storer, const unsigned char *old,
			      const unsigned char *seen, const char *what)
{
	unsigned char words[PAGE];
	unsigned int nr = 0;

	fill(words, storer->page, 0, PAGE, storer->owner, storer->generation);
	while (nr < WORDS && !memcmp(seen + nr * 8, words + nr * 8, 8))
		nr++;
	if (!memcmp(seen + nr * 8, old + nr * 8, PAGE - nr * 8))
		return nr;
	while (!memcmp(seen + nr * 8, old + nr * 8, 8))
		nr++;
	speak("page %u: %s is of no moment while words were stored in order", storer->page, what);
	note("  word %u, of %u stored by now, is out of order", nr, *storer->stored);
	tell_word("found", word_at(seen, nr * 8, 0, PAGE));
	tell_word("expected", word_at(old, nr * 8, 0, PAGE));
	tell_page(storer->page);
	_exit(1);
}

/* Of a copy that began after @before words, and was there before @after are known of. */
static unsigned int words_between(const struct storer *storer, const unsigned char *old,
				  const unsigned char *seen, unsigned int before,
				  unsigned int after, const char *what)
{
	unsigned int nr = new_words(storer, old, seen, what);

	if (nr >= before && nr <= after + 1)
		return nr;
	speak("page %u: %s has %u new words, but there were %u to %u", storer->page, what, nr,
	      before, after + 1);
	tell_page(storer->page);
	_exit(1);
}

/* --- snapshots ------------------------------------------------------------ */

struct taken {
	int fd;
	unsigned int words;
};

static void read_snapshot(int fd, unsigned int page, unsigned char *bytes)
{
	ssize_t done = pread(fd, bytes, PAGE, offset_of(page));

	if (done != (ssize_t)PAGE)
		fail("pread of page %u of a snapshot: %zd, %m", page, done);
}

/* False: the limit has no room for it. */
static bool take(struct thread *thread, const struct storer *storer, struct taken *taken)
{
	unsigned int before = *storer->stored, after;

	taken->fd = object_snapshot(object_of(storer->page)->fd, VMLAB_SNAPSHOT_FROZEN);
	after = *storer->stored;
	if (taken->fd == -ENOMEM && object_of(storer->page)->limited)
		return false;
	if (taken->fd < 0)
		fail("SNAPSHOT: %s", strerror(-taken->fd));
	read_snapshot(taken->fd, storer->page, thread->buffer);
	taken->words = words_between(storer, model->truth[storer->page], thread->buffer, before,
				     after, "a snapshot");
	return true;
}

/* No word has come since. */
static void look_again(struct thread *thread, const struct storer *storer,
		       const struct taken *taken)
{
	unsigned int nr;

	read_snapshot(taken->fd, storer->page, thread->buffer);
	nr = new_words(storer, model->truth[storer->page], thread->buffer, "a snapshot later");
	if (nr != taken->words)
		fail("page %u of a snapshot had %u new words, and has %u later", storer->page,
		     taken->words, nr);
	close(taken->fd);
}

static void step_snapshots(struct thread *thread)
{
	struct storer storer = {
		.page = any_page(thread), .owner = thread->owner, .wait = 100 + pick(thread, 900),
		.stored = &thread->place->stored,
	};
	struct taken taken[SNAPSHOTS];
	unsigned int nr = 0, i;
	pthread_t id;

	if (!copy_has_room())
		return;
	page_lock(thread, storer.page);
	storer.at = (uint64_t *)view_need(thread, storer.page, PROT_READ | PROT_WRITE);
	storer.generation = change_begin(storer.page, thread->owner, CHANGE_WRITE, 0, PAGE);
	start(&storer, &id);
	while (*storer.stored < WORDS && nr < SNAPSHOTS) {
		usleep(pick(thread, 500));
		if (!take(thread, &storer, &taken[nr]))
			break;
		nr++;
	}
	finish(id);
	for (i = 0; i < nr; i++)
		look_again(thread, &storer, &taken[i]);
	change_end(storer.page);
	memcpy(thread->buffer, (char *)storer.at, PAGE);
	check(storer.page, thread->buffer, 0, PAGE, "a load after stores between snapshots");
	page_unlock(thread, storer.page);
}

/* --- forks ---------------------------------------------------------------- */

/* Its memory is of the moment of the fork, and stays so. */
static void look_in_child(struct thread *thread, struct held *held, unsigned int page,
			  const struct storer *storer, unsigned int before)
{
	unsigned int after = *storer->stored, nr, again;
	const unsigned char *old = held->copy->truth[page];

	if (copy_is_broken(held, page))
		_exit(0);
	memcpy(thread->buffer, (char *)storer->at, PAGE);
	nr = words_between(storer, old, thread->buffer, before, after, "a forked child");
	usleep(pick(thread, 3000));
	memcpy(thread->buffer, (char *)storer->at, PAGE);
	again = new_words(storer, old, thread->buffer, "a forked child later");
	if (nr != again)
		fail("page %u of a forked child had %u new words, and has %u later", storer->page,
		     nr, again);
	_exit(0);
}

static void fork_and_look(struct thread *thread, struct held *held, unsigned int page,
			  const struct storer *storer)
{
	unsigned int before = *storer->stored;
	pid_t child = fork();
	int status;

	if (child < 0)
		fail("fork: %m");
	if (!child)
		look_in_child(thread, held, page, storer, before);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %m");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("a forked child ended with status %#x", status);
}

/* Of a private page that is left; in the child it must not be changed, nor moved. */
static void step_forks(struct thread *thread)
{
	struct held *held = copy_any(thread);
	struct storer storer = {
		.wait = 500 + pick(thread, 3000), .stored = &thread->place->stored,
	};
	unsigned int page, rounds = 1 + pick(thread, 4);
	pthread_t id;

	if (!held || held->copy->kind != COPY_PRIVATE)
		return;
	page = pick(thread, held->copy->pages);
	if (!held->page[page].at)
		return;
	storer.page = held->copy->first + page;
	storer.owner = copy_owner(held->copy);
	storer.at = (uint64_t *)copy_need(thread, held, page, PROT_READ | PROT_WRITE);
	copy_did(held->copy, "stores between forks", page, 1);
	copy_begin(held->copy, page, 0, PAGE, thread->buffer);
	storer.generation = held->copy->generation;
	start(&storer, &id);
	while (*storer.stored < WORDS && rounds--) {
		usleep(pick(thread, 500));
		fork_and_look(thread, held, page, &storer);
	}
	finish(id);
	copy_end(held->copy, page, 0, PAGE);
	memcpy(thread->buffer, (char *)storer.at, PAGE);
	copy_check(held, page, thread->buffer, 0, PAGE, "a load after stores between forks");
}

static const struct step steps[] = {
	{ "stores between snapshots", 3, step_snapshots },
	{ "stores between forks", 4, step_forks },
};

STEPS(steps);
