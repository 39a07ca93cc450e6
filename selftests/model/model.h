/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The model test: workers take random steps on shared objects, and a model in ordinary
 * shared memory knows every byte that must be there.
 *
 * Processes: a controller (controller.c) forks workers (worker.c) of several threads each,
 * kills some of them in the middle of whatever they do, and stops all of them every few
 * seconds to have `verify` read.  Threads take steps; a step is a function in a file
 * steps_*.c, told to the rest by STEPS(): a new feature is one more such file.
 *
 * Memory (memory.c): pages of the objects are counted through, over all objects.  Each has
 * its true bytes, a lock, and the change that is under way, all in memory that outlives a
 * killed worker.  No byte of the model ever came from an object: it must stay so.
 *
 * Copies (copy.c): private mappings and snapshots of some of these pages, and copies of those.
 * Each has true bytes of its own and a name in patterns.  It belongs to one thread, or to a
 * child that was forked to live on its own (a life), and vanishes with it.
 *
 * Rules for a step: it draws chance from thread->state only, so that SEED= repeats it; it
 * changes a page only between change_begin() and change_end(), its lock held; it locks
 * several pages in ascending order; it keeps no lock when it returns.  What lives on its own
 * takes no page's lock at all: nobody would give it back.
 */
#ifndef VMLAB_MODEL_H
#define VMLAB_MODEL_H

#include "vmlab_test.h"

#include <stdatomic.h>
#include <stdint.h>

#define WORKERS 3
#define THREADS 3		/* of each worker */
#define OBJECTS 4
#define HISTORY 8		/* changes, and steps, that each page remembers */
#define CONTROLLER 255		/* as an owner; threads are 1, 2, ... */
#define EXIT_AGAIN 7		/* a worker's exit status: it wants to be started again */
#define COPIES 4		/* that a thread, or a life, has at a time */
#define COPY_PAGES 24
#define LIVES (WORKERS * THREADS + 15)	/* the threads' own come first */
#define COPY_OWNER 16		/* the first owner that is a copy */
#define LIFE_ROOTS 16
#define CHILDREN 4		/* that a thread, or a life, has at a time */

#define WORDS (PAGE / sizeof(uint64_t))

enum change_kind { CHANGE_WRITE, CHANGE_DISCARD };
enum change_state { CHANGE_NONE, CHANGE_BEGUN, CHANGE_DONE };

/* What @owner does, or did, to a page. */
struct change {
	_Atomic uint32_t state;
	uint8_t kind;
	uint8_t owner;
	uint16_t from, bytes;
	uint32_t generation;
};

/* A step that touched a page, for the report. */
struct visit {
	uint64_t step;		/* number within its thread */
	uint32_t generation;	/* the page's, then */
	uint8_t owner;
	uint8_t kind;		/* which step, see steps_name() */
};

/**
 * struct model_page - what is known of one page, besides its bytes
 * @lock:	0 or who holds it; everything below is the holder's but for lock-free looks
 * @sequence:	odd while a change is under way
 * @generation:	of the last change, begun or done
 * @written:	not a hole: written to since it was discarded
 * @pinned:	by the holder of the lock
 * @now:	the change under way
 * @changes:	the last ones, by generation
 * @visits:	the last steps that had to do with it
 * @nr_visits:	ever
 */
struct model_page {
	_Atomic uint32_t lock;
	_Atomic uint32_t sequence;
	_Atomic uint32_t generation;
	bool written;
	bool pinned;
	struct change now;
	struct change changes[HISTORY];
	struct visit visits[HISTORY];
	_Atomic uint32_t nr_visits;
};

/**
 * struct object - one object under test, and where in it the model's pages lie
 * @fd:		the same number in all workers
 * @base:	page of the object that is the model's first
 * @stride:	pages of the object from one page of the model to the next
 * @first:	its first page, of the model's
 * @pages:	how many
 * @limited:	its lineage had a limit at some time: copies may have been refused since
 */
struct object {
	int fd;
	uint64_t base;
	unsigned int stride;
	unsigned int first;
	unsigned int pages;
	_Atomic bool limited;
};

enum copy_kind { COPY_NONE, COPY_PRIVATE, COPY_SNAPSHOT, COPY_FROZEN };

/* What was done to a copy, for the report. */
struct deed {
	const char *what;
	unsigned int page, pages;	/* of the copy */
	uint32_t generation;
};

/**
 * struct copy - what is known of a copy of some pages
 * @kind:	what it is; COPY_NONE: it is no more
 * @from:	the owner that it is a copy of, 0: an object
 * @root:	which copy of an object's it descends from
 * @first:	its first page, of the model's
 * @pages:	how many
 * @generation:	of its last change; goes on for the next copy with this name
 * @nr_deeds:	ever
 * @deeds:	the last ones
 * @truth:	the bytes
 */
struct copy {
	_Atomic uint32_t kind;
	unsigned int from;
	uint32_t root;
	unsigned int first, pages;
	uint32_t generation;
	unsigned int nr_deeds;
	struct deed deeds[HISTORY];
	unsigned char truth[COPY_PAGES][PAGE];
};

/**
 * struct life - who has copies: a thread, or a child that lives on its own
 * @pid:	of the child, or of who is about to fork it; 0: no child, or a thread's
 * @worker:	the worker that it is of, or descends from
 * @owner:	the thread likewise
 * @depth:	forks from there
 * @nr_roots:	how many @roots
 * @roots:	of what its process had at the fork, copies of other threads among it
 * @copies:	its copies
 */
struct life {
	_Atomic pid_t pid;
	unsigned int worker;
	unsigned int owner;
	unsigned int depth;
	unsigned int nr_roots;
	uint32_t roots[LIFE_ROOTS];
	struct copy copies[COPIES];
};

/* Where a process has a page of a copy, and how.  Not mapped: NULL. */
struct copy_page {
	char *at;
	int protection;
	bool head;		/* a VMA begins here */
	bool pinned;
};

/* A process's side of a copy; the descriptor is a snapshot's, else -1. */
struct held {
	struct copy *copy;
	int fd;
	struct copy_page page[COPY_PAGES];
};

/* What outlives a thread; a worker that is started again goes on from here. */
struct place {
	_Atomic uint64_t number;	/* of the step */
	_Atomic int kind;		/* of the step, -1: none */
	_Atomic bool parked;
	_Atomic unsigned int stored;	/* words, see steps_race.c */
};

/**
 * struct model - what controller and workers share
 * @seed:	where all chance comes from
 * @nr_pages:	of all objects
 * @pause:	park at the next step
 * @stop:	end after this step
 * @failed:	somebody has found something wrong
 * @admin:	lock (an owner) of who changes the instance or the machine
 * @reserver:	lock (an owner) of who has reserved memory, which nothing evicts
 * @unswapped:	no device is sure to be on: objects must fit into the pool
 * @spare:	the swap device that goes on and off
 * @places:	the threads
 * @objects:	the objects
 * @roots:	copies of objects so far
 * @nr_lives:	children that lived on their own so far
 * @deepest:	most forks from a thread to one of them
 * @lives:	who has copies
 * @page:	one for each page
 * @truth:	the bytes of each page
 */
struct model {
	uint64_t seed;
	unsigned int nr_pages;
	_Atomic bool pause;
	_Atomic bool stop;
	_Atomic bool failed;
	_Atomic uint32_t admin;
	_Atomic uint32_t reserver;
	bool unswapped;
	char spare[64];
	struct place places[WORKERS * THREADS];
	struct object objects[OBJECTS];
	_Atomic uint32_t roots;
	_Atomic unsigned int nr_lives;
	_Atomic unsigned int deepest;
	struct life lives[LIVES];
	struct model_page *page;
	unsigned char (*truth)[PAGE];
};

extern struct model *model;

/* A piece of a thread's mapping of an object: one VMA.  The kernel never merges these. */
struct piece {
	char *address;
	unsigned int first;	/* page of the model */
	unsigned int pages;
	int protection;
};

/**
 * struct thread - a thread of a worker
 * @worker:	which
 * @owner:	its name in locks and patterns, from 1 on
 * @place:	what of it outlives it
 * @state:	of chance, set anew for each step
 * @pieces:	for each page of the model: the piece that maps it for this thread, or NULL
 * @nr_pieces:	all
 * @mem:	/proc/self/mem
 * @life:	its life
 * @held:	its copies
 * @children:	that it has to wait for
 * @buffer:	a page for whoever needs one
 */
struct thread {
	unsigned int worker;
	unsigned int owner;
	struct place *place;
	uint64_t state;
	struct piece **pieces;
	unsigned int nr_pieces;
	int mem;
	struct life *life;
	struct held held[COPIES];
	pid_t children[CHILDREN];
	unsigned char buffer[PAGE] __attribute__((aligned(8)));
};

/**
 * struct step - one kind of step
 * @name:	for the report
 * @weight:	how often, compared with others
 * @run:	what it does
 */
struct step {
	const char *name;
	unsigned int weight;
	void (*run)(struct thread *thread);
};

void steps_add(const struct step *steps, unsigned int nr);
unsigned int steps_nr(void);
const struct step *steps_get(int kind);
const char *steps_name(int kind);
int steps_choose(uint64_t chance);

/* Tells of the steps in a file. */
#define STEPS(table)								\
	static void __attribute__((constructor)) add_steps(void)		\
	{									\
		steps_add(table, sizeof(table) / sizeof((table)[0]));		\
	}									\
	struct step

/* memory.c */
void model_create(unsigned int pages, uint64_t seed);
uint64_t mix(uint64_t value);
struct object *object_of(unsigned int page);
off_t offset_of(unsigned int page);
uint64_t object_span(unsigned int page, unsigned int nr);
void fill(void *bytes, unsigned int page, unsigned int from, unsigned int nr,
	  unsigned int owner, uint32_t generation);
unsigned int pick(struct thread *thread, unsigned int below);
unsigned int any_page(struct thread *thread);
unsigned int run_from(unsigned int page, unsigned int most);
void page_lock(struct thread *thread, unsigned int page);
void page_unlock(struct thread *thread, unsigned int page);
void run_lock(struct thread *thread, unsigned int first, unsigned int nr);
void run_unlock(struct thread *thread, unsigned int first, unsigned int nr);
uint32_t change_begin(unsigned int page, unsigned int owner, enum change_kind kind,
		      unsigned int from, unsigned int nr);
void change_end(unsigned int page);
void change_apply(unsigned int page);
void visit(struct thread *thread, unsigned int page);
void check(unsigned int page, const void *seen, unsigned int from, unsigned int nr,
	   const char *how);
void check_unlocked(struct thread *thread, unsigned int page, bool mapped);

/* copy.c */
struct life *life_begin(struct thread *thread, unsigned int nr);
struct life *life_take(struct thread *thread);
bool life_given(struct life *life, pid_t taker);
void life_end(pid_t pid);
void lives_end(unsigned int worker);
unsigned int copy_owner(const struct copy *copy);
void copy_tell(unsigned int owner, char *text, size_t size);
void copy_tell_at(struct thread *thread, const char *address);
void copy_tell_page(const struct held *held, unsigned int page);
bool copy_has_room(void);
struct held *copy_free(struct thread *thread);
struct held *copy_any(struct thread *thread);
struct copy *copy_new(struct thread *thread, struct held *held, enum copy_kind kind,
		      unsigned int first, unsigned int pages, const struct copy *from);
void copy_inherit(struct copy *to, const struct copy *from);
bool copy_map(struct held *held, int fd);
void copy_unmap(struct held *held, unsigned int page, unsigned int pages);
void copy_drop(struct held *held);
void copy_protect(struct held *held, unsigned int page, unsigned int pages, int protection);
void copy_move(struct held *held, unsigned int page, unsigned int pages);
unsigned int copy_run(const struct held *held, unsigned int page, unsigned int most);
size_t copy_bytes(const struct held *held, unsigned int pages);
off_t copy_offset(const struct held *held, unsigned int page);
char *copy_need(struct thread *thread, struct held *held, unsigned int page, int protection);
const unsigned char *copy_begin(struct copy *copy, unsigned int page, unsigned int from,
				unsigned int nr, unsigned char *bytes);
void copy_end(struct copy *copy, unsigned int page, unsigned int from, unsigned int nr);
bool copy_is_broken(const struct held *held, unsigned int page);
void copy_zero(struct copy *copy, unsigned int page);
void copy_did(struct copy *copy, const char *what, unsigned int page, unsigned int pages);
void copy_check(struct held *held, unsigned int page, const void *seen, unsigned int from,
		unsigned int nr, const char *how);
void copy_check_all(struct thread *thread, struct held *held, const char *how);

/* steps_cow.c */
void copy_act(struct thread *thread, struct held *held);

/* report.c */
void wrong(unsigned int page, const void *seen, unsigned int from, unsigned int nr,
	   const char *how) __attribute__((noreturn));
void speak(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void tell_page(unsigned int page);
uint64_t word_at(const unsigned char *bytes, unsigned int at, unsigned int from,
		 unsigned int nr);
void tell_word(const char *what, uint64_t word);

/* recover.c */
void recover(unsigned int worker);

/* view.c */
struct piece *view_piece(struct thread *thread, unsigned int page);
char *view_address(struct thread *thread, unsigned int page);
char *view_need(struct thread *thread, unsigned int page, int protection);
size_t view_bytes(unsigned int page, unsigned int pages);
void view_map(struct thread *thread, unsigned int page, unsigned int pages);
void view_unmap(struct thread *thread, unsigned int page, unsigned int pages);
unsigned int view_clip(struct thread *thread, unsigned int page, unsigned int pages);
void view_advise(struct thread *thread, unsigned int page, unsigned int pages, int advice);
void view_protect(struct thread *thread, unsigned int page, unsigned int pages, int protection);
void view_move(struct thread *thread, unsigned int page, unsigned int pages);
void view_shrink(struct thread *thread, unsigned int page);

/* worker.c, controller.c */
int worker_run(unsigned int worker, int socket);
int socket_send(int socket, int fd, int number);
void model_run(uint64_t seed, unsigned int time);

#endif /* VMLAB_MODEL_H */
