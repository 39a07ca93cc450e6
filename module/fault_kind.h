/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kinds of page fault: what each turned out to be when it ended.  fault.c
 * decides, the tracepoint fault_exit prints (trace.h has the names).
 *
 * Includes nothing, and must stay so.
 */
#ifndef VMLAB_FAULT_KIND_H
#define VMLAB_FAULT_KIND_H

/**
 * enum vmlab_fault_kind - what a fault turned out to be
 * @VMLAB_FAULT_NONE:	 nothing was left to do: somebody else was faster
 * @VMLAB_FAULT_ZERO:	 a store to a hole got a zeroed frame
 * @VMLAB_FAULT_HOLE:	 a load from a hole mapped the zero page
 * @VMLAB_FAULT_MINOR:	 the page was resident
 * @VMLAB_FAULT_MKWRITE: a read-only PTE of a resident page was made writable
 * @VMLAB_FAULT_COW:	 a store to a shared page got a copy of it
 * @VMLAB_FAULT_REUSE:	 a store to a page once shared found it its own
 * @VMLAB_FAULT_SWAP:	 the page had to be read from swap
 * @VMLAB_FAULT_RETRY:	 the fault lock was dropped to wait
 * @VMLAB_FAULT_SIGBUS:	 there is no page to be had
 * @VMLAB_FAULT_HUGE:	 2 MiB were mapped at once
 * @VMLAB_FAULT_GIGANTIC: 1 GiB was mapped at once
 */
enum vmlab_fault_kind {
	VMLAB_FAULT_NONE,
	VMLAB_FAULT_ZERO,
	VMLAB_FAULT_HOLE,
	VMLAB_FAULT_MINOR,
	VMLAB_FAULT_MKWRITE,
	VMLAB_FAULT_COW,
	VMLAB_FAULT_REUSE,
	VMLAB_FAULT_SWAP,
	VMLAB_FAULT_RETRY,
	VMLAB_FAULT_SIGBUS,
	VMLAB_FAULT_HUGE,
	VMLAB_FAULT_GIGANTIC,
};

#endif /* VMLAB_FAULT_KIND_H */
