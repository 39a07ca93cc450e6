// SPDX-License-Identifier: GPL-2.0
/*
 * The one place where the tracepoints of trace.h are made.
 *
 * It must hold nothing else.
 */
#include "vmlab.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
