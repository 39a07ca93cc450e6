/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The command `vmlab`: one file for each subcommand, each with an argp of its own.
 * A subcommand returns the status to exit with.
 */
#ifndef VMLAB_TOOL_H
#define VMLAB_TOOL_H

#include <stddef.h>
#include <stdint.h>

#define DEBUGFS	"/sys/kernel/debug/vmlab"

int vmlab_run(int argc, char **argv);
int vmlab_status(int argc, char **argv);
int vmlab_walk(int argc, char **argv);

/* Ends the command with status 1. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Why a file of debugfs cannot be opened, and what to do; ends the command. */
void fail_debugfs(const char *name) __attribute__((noreturn));

#endif
