// SPDX-License-Identifier: GPL-2.0
/*
 * When nothing can be reclaimed: who is killed for it, or who gets the error.
 *
 * Owns the choice of a victim, and the wait until it is gone.  It never touches
 * slots or frames, and never leaves an exhausted pool to the machine's own OOM
 * killer, whose table knows nothing of the pool.
 *
 * As in mm/oom_kill.c one victim at a time: while it has not exited, nobody
 * else is killed.  Its pages go when its descriptors are closed and its
 * mappings gone, which is before it turns into a zombie.
 */
#define pr_fmt(fmt) "vmlab: " fmt

#include <linux/bsearch.h>
#include <linux/oom.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "trace.h"
#include "vmlab.h"

#define VMLAB_OOM_WAIT		(10 * HZ)	/* for a victim to be gone */
#define VMLAB_OOM_STEP		max(HZ / 50, 1)
#define VMLAB_OOM_LOG_ROWS	32
#define VMLAB_OOM_FIRST_ROWS	256

/**
 * struct vmlab_oom - the victim of an instance
 * @lock:	one choice at a time; all that follows
 * @victim:	killed (or dying by itself) and not yet gone, with a reference
 * @nr_ends:	how often the wait for one ended well: there were frames, or it was gone
 * @hung:	the last wait timed out: those who are dying already are passed
 *		over until somebody is gone
 * @ratelimit:	of the tables in the log
 */
struct vmlab_oom {
	struct mutex		lock;		/* the rest of the structure */
	struct task_struct	*victim;
	unsigned long		nr_ends;
	bool			hung;
	struct ratelimit_state	ratelimit;
};

/**
 * struct vmlab_oom_row - one address space, and the process that it belongs to
 * @mm:		with a reference on the structure
 * @obj:	an object that it maps, with a reference, while rows are collected
 * @pages:	frames of the objects that it maps, leaves included
 * @task:	a thread group leader, with a reference; NULL: none found
 * @adj:	its oom_score_adj
 * @points:	what the choice goes by, in frames
 * @dying:	killed already
 * @exempt:	must not be killed
 */
struct vmlab_oom_row {
	struct mm_struct	*mm;
	struct vmlab_object	*obj;
	u64			pages;
	struct task_struct	*task;
	short			adj;
	long			points;
	bool			dying;
	bool			exempt;
};

/**
 * struct vmlab_oom_table - the rows that are collected
 * @rows:	by lineage; within one in any order, and with duplicates at first
 * @nr:		how many
 * @room:	for how many.  That grows between the collecting passes, never within one:
 *		i_mmap is held
 * @from:	the first of the lineage that is collected now
 * @full:	this pass has found more than there is room for
 */
struct vmlab_oom_table {
	struct vmlab_oom_row	*rows;
	unsigned int		nr;
	unsigned int		room;
	unsigned int		from;
	bool			full;
};

static int vmlab_oom_by_object(const void *a, const void *b)
{
	const struct vmlab_oom_row *l = a, *r = b;

	if (l->obj != r->obj)
		return l->obj < r->obj ? -1 : 1;
	return l->mm < r->mm ? -1 : l->mm > r->mm;
}

static int vmlab_oom_by_mm(const void *a, const void *b)
{
	const struct vmlab_oom_row *l = a, *r = b;

	return l->mm < r->mm ? -1 : l->mm > r->mm;
}

static int vmlab_oom_by_points(const void *a, const void *b)
{
	const struct vmlab_oom_row *l = a, *r = b;

	return l->points > r->points ? -1 : l->points < r->points;
}

static void vmlab_oom_row_put(struct vmlab_oom_row *row)
{
	if (row->obj)
		vmlab_object_put(row->obj);
	if (row->task)
		put_task_struct(row->task);
	mmdrop(row->mm);
}

/* Drops the rows from @from on. */
static void vmlab_oom_truncate(struct vmlab_oom_table *table, unsigned int from)
{
	while (table->nr > from) {
		vmlab_oom_row_put(&table->rows[--table->nr]);
		cond_resched();
	}
	table->full = false;
}

/*
 * Sorts the rows of the lineage by object and address space, and drops duplicates: the
 * references of those are never the last ones.
 */
static void vmlab_oom_dedup(struct vmlab_oom_table *table)
{
	unsigned int i, nr = table->from;

	sort(table->rows + nr, table->nr - nr, sizeof(*table->rows), vmlab_oom_by_object, NULL);
	for (i = nr; i < table->nr; i++) {
		struct vmlab_oom_row row = table->rows[i];

		if (nr > table->from && !vmlab_oom_by_object(&table->rows[nr - 1], &row))
			vmlab_oom_row_put(&row);
		else
			table->rows[nr++] = row;
		cond_resched();
	}
	table->nr = nr;
}

static bool vmlab_oom_grow(struct vmlab *vm, struct vmlab_oom_table *table)
{
	unsigned int room = table->room ? table->room * 2 : VMLAB_OOM_FIRST_ROWS;
	struct vmlab_oom_row *rows;

	/* kvmalloc() warns of more. */
	if (room > INT_MAX / sizeof(*rows))
		return false;
	rows = vmlab_should_fail(vm, VMLAB_INJECT_oom) ? NULL :
	       kvcalloc(room, sizeof(*rows), GFP_KERNEL);
	if (!rows)
		return false;
	if (table->nr)
		memcpy(rows, table->rows, table->nr * sizeof(*rows));
	kvfree(table->rows);
	table->rows = rows;
	table->room = room;
	return true;
}

/*
 * One more row fits.  There are as many VMAs as programs like, and forks mix those of
 * all processes: what counts is {object, mm}.  Fewer than half must be left, lest they
 * be sorted for every few VMAs.
 */
static bool vmlab_oom_has_room(struct vmlab_oom_table *table)
{
	if (table->nr < table->room)
		return true;
	vmlab_oom_dedup(table);
	return table->nr - table->from < (table->room - table->from) / 2;
}

/* i_mmap_rwsem held: the VMA, so its region and its mm, stay. */
static void vmlab_oom_add_vma(struct vm_area_struct *vma, void *arg)
{
	struct vmlab_region *region = READ_ONCE(vma->vm_private_data);
	struct vmlab_oom_table *table = arg;
	struct vmlab_oom_row *row;

	if (!region || !region->object || table->full)
		return;
	/* The pieces of a split mapping mostly follow each other. */
	row = table->nr > table->from ? &table->rows[table->nr - 1] : NULL;
	if (row && row->mm == vma->vm_mm && row->obj == region->object)
		return;
	if (!vmlab_oom_has_room(table)) {
		table->full = true;
		return;
	}
	row = &table->rows[table->nr++];
	*row = (struct vmlab_oom_row){ .mm = vma->vm_mm, .obj = region->object };
	mmgrab(row->mm);
	vmlab_object_get(row->obj);
}

/* What an object has where it would be of use to who is short of frames. */
static u64 vmlab_oom_pages(struct vmlab_object *obj, struct vmlab_place place)
{
	struct vmlab_usage usage;
	u64 pages = 0;
	int nid;

	vmlab_object_usage(obj, &usage);
	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vmlab_place_allows(place, nid))
			pages += usage.on_node[nid];
	return pages;
}

/* Turns {mm, object} of the lineage into {mm, pages}. */
static void vmlab_oom_count_pages(struct vmlab_oom_table *table, struct vmlab_place place)
{
	struct vmlab_object *seen = NULL;
	u64 pages = 0;
	unsigned int i;

	vmlab_oom_dedup(table);
	for (i = table->from; i < table->nr; i++) {
		struct vmlab_oom_row *row = &table->rows[i];

		if (row->obj != seen) {
			seen = row->obj;
			pages = vmlab_oom_pages(seen, place);
		}
		row->pages = pages;
		cond_resched();
	}
	/* Not before: @seen is compared by its address above. */
	for (i = table->from; i < table->nr; i++) {
		vmlab_object_put(table->rows[i].obj);
		table->rows[i].obj = NULL;
		cond_resched();
	}
}

/* One row for each address space. */
static void vmlab_oom_merge(struct vmlab_oom_table *table)
{
	unsigned int i, nr = 0;

	sort(table->rows, table->nr, sizeof(*table->rows), vmlab_oom_by_mm, NULL);
	for (i = 0; i < table->nr; i++) {
		struct vmlab_oom_row row = table->rows[i];

		if (nr && table->rows[nr - 1].mm == row.mm) {
			table->rows[nr - 1].pages += row.pages;
			vmlab_oom_row_put(&row);
			continue;
		}
		table->rows[nr++] = row;
		cond_resched();
	}
	table->nr = nr;
}

/* Every address space that maps an object, with the frames of those objects. */
static int vmlab_oom_collect(struct vmlab *vm, struct vmlab_place place,
			     struct vmlab_oom_table *table)
{
	struct vmlab_lineage *lineage;
	u64 id;

	for (id = 0; (lineage = vmlab_lineage_next(vm, &id)); id++) {
		table->from = table->nr;
		for (;;) {
			vmlab_rmap_for_each_vma(lineage, vmlab_oom_add_vma, table);
			if (!table->full)
				break;
			vmlab_oom_truncate(table, table->from);
			if (!vmlab_oom_grow(vm, table)) {
				vmlab_lineage_put(lineage);
				return -ENOMEM;
			}
		}
		vmlab_oom_count_pages(table, place);
		vmlab_lineage_put(lineage);
		cond_resched();
	}
	vmlab_oom_merge(table);
	return 0;
}

static bool vmlab_oom_is_kthread(const struct task_struct *process)
{
	/* The core changes its other bits plainly. */
	return data_race(process->flags) & PF_KTHREAD;
}

static short vmlab_oom_adj(const struct task_struct *process)
{
	/* Whoever writes it just now is heard the next time. */
	return data_race(READ_ONCE(process->signal->oom_score_adj));
}

/* RCU held.  The address space of a process; some of its threads may be gone. */
static struct mm_struct *vmlab_oom_process_mm(struct task_struct *process)
{
	struct mm_struct *mm = NULL;
	struct task_struct *thread;

	for_each_thread(process, thread) {
		task_lock(thread);
		mm = thread->mm;
		task_unlock(thread);
		if (mm)
			break;
	}
	/* Only compared: the table holds a reference on those that matter. */
	return mm;
}

/* Finds whose the address spaces are, and weighs them. */
static void vmlab_oom_weigh(struct vmlab *vm, struct vmlab_place place,
			    struct vmlab_oom_table *table)
{
	struct task_struct *process;
	unsigned int i;
	long total = 0;
	int nid;

	for (nid = 0; nid < VMLAB_NODES_MAX; nid++)
		if (vm->pools[nid] && vmlab_place_allows(place, nid))
			total += vmlab_pool_nr_frames(vm->pools[nid]);

	rcu_read_lock();
	for_each_process(process) {
		struct vmlab_oom_row key = {}, *row;

		if (vmlab_oom_is_kthread(process))
			continue;
		key.mm = vmlab_oom_process_mm(process);
		if (!key.mm || !table->nr)
			continue;
		row = bsearch(&key, table->rows, table->nr, sizeof(key), vmlab_oom_by_mm);
		if (!row)
			continue;
		/* Processes may share one: all of them go, or none. */
		if (!row->task) {
			get_task_struct(process);
			row->task = process;
			row->adj = vmlab_oom_adj(process);
		}
		if (is_global_init(process) ||
		    vmlab_oom_adj(process) == OOM_SCORE_ADJ_MIN)
			row->exempt = true;
		/* Who begins to die just now is waited for as one who was killed. */
		if (data_race(READ_ONCE(process->signal->flags)) & SIGNAL_GROUP_EXIT)
			row->dying = true;
	}
	rcu_read_unlock();

	for (i = 0; i < table->nr; i++) {
		struct vmlab_oom_row *row = &table->rows[i];

		row->points = (long)row->pages + row->adj * total / 1000;
	}
	sort(table->rows, table->nr, sizeof(*table->rows), vmlab_oom_by_points, NULL);
}

static void vmlab_oom_log(struct vmlab_oom_table *table, struct vmlab_oom_row *chosen)
{
	unsigned int i;

	for (i = 0; i < table->nr && i < VMLAB_OOM_LOG_ROWS; i++) {
		struct vmlab_oom_row *row = &table->rows[i];
		char comm[TASK_COMM_LEN] = "(exiting)";

		if (!i)
			pr_warn("oom: [   pid ]     frames  adj     points name\n");
		if (row->task)
			get_task_comm(comm, row->task);
		pr_warn("oom: [%7d] %10llu %5d %10ld %s%s\n",
			row->task ? task_tgid_nr(row->task) : 0, row->pages,
			row->adj, row->points, comm,
			row == chosen ? " (chosen)" : row->exempt ? " (exempt)" :
			row->dying ? " (dying)" : "");
	}
	if (table->nr > VMLAB_OOM_LOG_ROWS)
		pr_warn("oom: and %u more\n", table->nr - VMLAB_OOM_LOG_ROWS);
}

/* SIGKILL for every process that shares the address space. */
static void vmlab_oom_kill_mm(struct mm_struct *mm)
{
	struct task_struct *process;

	rcu_read_lock();
	for_each_process(process) {
		if (vmlab_oom_is_kthread(process))
			continue;
		if (vmlab_oom_process_mm(process) == mm)
			kill_pid(task_tgid(process), SIGKILL, 1);
	}
	rcu_read_unlock();
}

static void vmlab_oom_kill(struct vmlab *vm, struct vmlab_oom_table *table,
			   struct vmlab_oom_row *row, int nid)
{
	char comm[TASK_COMM_LEN];

	get_task_comm(comm, row->task);
	if (__ratelimit(&vm->oom->ratelimit))
		vmlab_oom_log(table, row);
	pr_warn("oom: the pool of node %d is exhausted: killed process %d (%s): %llu frames, oom_score_adj %d\n",
		nid, task_tgid_nr(row->task), comm, row->pages, row->adj);
	vmlab_count(vm, oom_kill, 1);
	trace_oom(nid, task_tgid_nr(row->task), row->points, VMLAB_OOM_KILL);
	vmlab_oom_kill_mm(row->mm);
}

/*
 * Makes somebody the victim: who is dying already and holds frames, else who has
 * most points.  Return: 0; -EAGAIN: none needed, frames are on their way;
 * -ENOMEM: nobody can be.
 */
static int vmlab_oom_choose(struct vmlab *vm, struct vmlab_place place)
{
	struct vmlab_oom_row *row, *chosen = NULL;
	struct vmlab_oom *oom = vm->oom;
	struct vmlab_oom_table table = {};
	bool leaving = false;
	unsigned int i;
	int err;

	err = vmlab_oom_collect(vm, place, &table);
	if (err)
		goto out;
	vmlab_oom_weigh(vm, place, &table);
	for (i = 0; i < table.nr; i++) {
		row = &table.rows[i];
		if (!row->pages)
			continue;
		if (!row->task)
			leaving = true;
		else if (row->dying && !oom->hung)
			break;
		else if (!row->dying && !row->exempt && !chosen)
			chosen = row;
	}
	if (i < table.nr) {
		chosen = row;
	} else if (leaving && !oom->hung) {
		/* Its tasks are past exit_mm(), its mappings are being undone. */
		err = -EAGAIN;
		goto out;
	} else if (chosen) {
		vmlab_oom_kill(vm, &table, chosen, place.nid);
	} else {
		err = -ENOMEM;
		goto out;
	}
	oom->victim = chosen->task;
	chosen->task = NULL;
out:
	vmlab_oom_truncate(&table, 0);
	kvfree(table.rows);
	return err;
}

/* Is every thread of the process past the closing of its files? */
static bool vmlab_oom_is_gone(struct task_struct *process)
{
	struct task_struct *thread;
	bool gone = true;

	rcu_read_lock();
	for_each_thread(process, thread)
		/* Looked at until it says so. */
		if (!data_race(READ_ONCE(thread->exit_state)))
			gone = false;
	rcu_read_unlock();
	return gone;
}

static void vmlab_oom_forget(struct vmlab_oom *oom)
{
	if (oom->victim)
		put_task_struct(oom->victim);
	oom->victim = NULL;
}

/* Free frames on the nodes that an allocation for @place may take them from. */
static unsigned long vmlab_oom_free_frames(struct vmlab *vm, struct vmlab_place place)
{
	struct vmlab_pool *pool = vmlab_place_pool(vm, place);
	unsigned long nr = 0;
	int i;

	for (i = 0; pool && i < pool->nr_fallback; i++)
		if (vmlab_place_allows(place, pool->fallback[i]))
			nr += vmlab_pool_free_frames(vm->pools[pool->fallback[i]]);
	return nr;
}

static int vmlab_oom_wait_ended(struct vmlab_oom *oom)
{
	oom->hung = false;
	WRITE_ONCE(oom->nr_ends, oom->nr_ends + 1);
	return 0;
}

/*
 * oom->lock held.  Waits for the victim (or, without one, for those who are on
 * their way out) or for free frames, whichever comes first.
 */
static int vmlab_oom_wait(struct vmlab *vm, struct vmlab_place place, unsigned long before)
{
	unsigned long deadline = jiffies + VMLAB_OOM_WAIT;
	struct vmlab_oom *oom = vm->oom;

	while (!fatal_signal_pending(current)) {
		if (vmlab_oom_free_frames(vm, place) > before)
			return vmlab_oom_wait_ended(oom);
		if (oom->victim && vmlab_oom_is_gone(oom->victim)) {
			vmlab_oom_forget(oom);
			return vmlab_oom_wait_ended(oom);
		}
		if (time_after(jiffies, deadline)) {
			/* It hangs in the kernel: let the next choice pass it over. */
			vmlab_oom_forget(oom);
			oom->hung = true;
			return 0;
		}
		schedule_timeout_killable(VMLAB_OOM_STEP);
	}
	return -EINTR;
}

static int vmlab_oom_kill_and_wait(struct vmlab *vm, struct vmlab_place place,
				   unsigned long before, unsigned long ends)
{
	struct vmlab_oom *oom = vm->oom;
	int err = 0;

	if (mutex_lock_killable(&oom->lock))
		return -EINTR;
	/* What a small victim had may all be in caches, or in the hands of one waiter. */
	if (oom->nr_ends != ends || vmlab_oom_free_frames(vm, place) > before)
		goto unlock;
	if (!oom->victim)
		err = vmlab_oom_choose(vm, place);
	if (!err || err == -EAGAIN)
		err = vmlab_oom_wait(vm, place, before);
unlock:
	mutex_unlock(&oom->lock);
	return err;
}

/**
 * vmlab_oom_ends() - how often somebody has ceased to wait for a victim
 * @vm: the instance
 *
 * Return: the number for vmlab_oom(): read before the allocation is tried and free frames
 * are fetched from the CPUs' caches for the last time.
 */
unsigned long vmlab_oom_ends(struct vmlab *vm)
{
	return READ_ONCE(vm->oom->nr_ends);
}

/**
 * vmlab_oom() - an allocation found nothing free and nothing to reclaim
 * @vm: the instance
 * @place: where the allocation was for
 * @ends: what vmlab_oom_ends() said: if it is not true any more, a victim has gone since,
 *	and nobody is killed before that was of no use
 *
 * Kills the largest user of the pool, if the policy says so and nobody is dying
 * already, and waits until that has freed something, 10 seconds at most.
 *
 * Context: process context, sleeps.  May be called under mmap_lock or a VMA lock.
 * No slot locked.  vm->activity held for read; it is let go meanwhile: who waits
 * to write it keeps readers out, and the victim is one of them when it gives
 * back its pages.  So what the caller found out about leaves and slots is stale
 * afterwards, and it must hold no frame that is in flight.
 * Return: 0: try again; -EINTR: the caller is being killed itself; -ENOSPC: there
 * is nobody to kill, or the policy is to fail.
 */
int vmlab_oom(struct vmlab *vm, struct vmlab_place place, unsigned long ends)
{
	unsigned long before = vmlab_oom_free_frames(vm, place);
	int err = -ENOSPC;

	if (fatal_signal_pending(current))
		return -EINTR;
	if (READ_ONCE(vm->oom_policy) == VMLAB_OOM_KILL) {
		percpu_up_read(&vm->activity);
		err = vmlab_oom_kill_and_wait(vm, place, before, ends);
		percpu_down_read(&vm->activity);
	}
	/* Also when there was no memory to find out whom to kill. */
	if (err == -ENOMEM)
		err = -ENOSPC;
	if (err == -ENOSPC) {
		vmlab_count(vm, oom_sigbus, 1);
		trace_oom(place.nid, task_tgid_nr(current), 0, VMLAB_OOM_SIGBUS);
	}
	return err;
}

/**
 * vmlab_oom_init() - prepare an instance for vmlab_oom()
 * @vm: the instance; its policy becomes kill
 *
 * Return: 0 or -ENOMEM.
 */
int vmlab_oom_init(struct vmlab *vm)
{
	struct vmlab_oom *oom;

	oom = kzalloc(sizeof(*oom), GFP_KERNEL);
	if (!oom)
		return -ENOMEM;
	mutex_init(&oom->lock);
	ratelimit_state_init(&oom->ratelimit, DEFAULT_RATELIMIT_INTERVAL,
			     DEFAULT_RATELIMIT_BURST);
	vm->oom = oom;
	vm->oom_policy = VMLAB_OOM_KILL;
	return 0;
}

/**
 * vmlab_oom_exit() - undo vmlab_oom_init()
 * @vm: the instance; never initialised is fine
 */
void vmlab_oom_exit(struct vmlab *vm)
{
	if (!vm->oom)
		return;
	vmlab_oom_forget(vm->oom);
	kfree(vm->oom);
	vm->oom = NULL;
}
