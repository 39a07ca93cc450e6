/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Spinlocks for a single thread: nobody ever waits, so taking a lock that is
 * held is a deadlock, and giving back one that is not held a mistake.
 */
#ifndef UNIT_LINUX_SPINLOCK_H
#define UNIT_LINUX_SPINLOCK_H

#include <linux/bug.h>
#include <linux/types.h>

typedef struct {
	bool held;
} spinlock_t;

static inline void spin_lock_init(spinlock_t *lock)
{
	lock->held = false;
}

static inline void spin_lock(spinlock_t *lock)
{
	WARN_ON(lock->held);
	lock->held = true;
}

static inline void spin_unlock(spinlock_t *lock)
{
	WARN_ON(!lock->held);
	lock->held = false;
}

static inline bool spin_trylock(spinlock_t *lock)
{
	if (lock->held)
		return false;
	lock->held = true;
	return true;
}

#define spin_lock_irqsave(lock, flags)		((flags) = 0, spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags)	((void)(flags), spin_unlock(lock))
#define lockdep_assert_held(lock)		((void)WARN_ON(!(lock)->held))

#endif
