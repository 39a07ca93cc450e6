// SPDX-License-Identifier: GPL-2.0
/*
 * The threads of a node: started and stopped here, and nowhere else.
 *
 * Owns no state: each is the file's that has its work.  It must never be called under a lock.
 */
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/sched.h>

#include "vmlab.h"

/**
 * vmlab_thread_start() - start a thread of a node
 * @pool: the node's pool, what @work gets
 * @work: what it does, until kthread_should_stop()
 * @name: its name, with the node's number for the one %d in it
 * @task: out: the thread; as before if there is none
 *
 * Return: 0 or -errno.
 */
int vmlab_thread_start(struct vmlab_pool *pool, int (*work)(void *pool), const char *name,
		       struct task_struct **task)
{
	struct task_struct *new = kthread_create_on_node(work, pool, pool->nid, name, pool->nid);

	if (IS_ERR(new))
		return PTR_ERR(new);
	*task = new;
	wake_up_process(new);
	return 0;
}

/**
 * vmlab_thread_stop() - stop it, and wait until it has ended
 * @task: the thread, NULL afterwards; never started is fine
 */
void vmlab_thread_stop(struct task_struct **task)
{
	if (*task)
		kthread_stop(*task);
	*task = NULL;
}
