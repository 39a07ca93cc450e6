// SPDX-License-Identifier: GPL-2.0
/*
 * The exports that vmlab needs and that nothing else in contract.ko happens to use.
 *
 * Owns the list.  A kernel that lacks one does not build or load this module, and modpost
 * or the kernel log says which.  vmlab.ko's own link says the same of what it uses today;
 * here is also what copy-on-write, huge pages and NUMA will use.
 */
#include <linux/bio.h>
#include <linux/cpuhotplug.h>
#include <linux/crc32c.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/percpu-rwsem.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "ct.h"

static const void *const ct_needs[] __used = {
	/* page tables and mappings */
	apply_to_page_range,
	unmap_mapping_pages,
	unmap_mapping_range,
	zap_vma_ptes,
	thp_get_unmapped_area,
	find_vma,
	/* other address spaces: promotion, the OOM policy */
	get_task_mm,
	mmput,
	mmput_async,
	__mmdrop,
	/* frames */
	split_page,
	__free_pages,
	/* threads, CPUs, locks, grace periods */
	kthread_stop,
	__cpuhp_setup_state,
	__percpu_down_read,
	percpu_down_write,
	call_rcu,
	rcu_barrier,
	synchronize_rcu,
	/* swap */
	bioset_init,
	bio_alloc_bioset,
	submit_bio,
	submit_bio_wait,
	/* killing and limits */
	kill_pid,
	capable,
};
