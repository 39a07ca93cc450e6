# SPDX-License-Identifier: GPL-2.0
"""Owns the statuses with which the commands in tools/vm end when something other than the guest's command
decides, and the exception that carries one of them with its last line. Must never print or exit by itself."""

USAGE = 200      # wrong options
PACKAGES = 201   # packages are missing
BOOT = 202       # no kernel image, QEMU did not start, or the guest did not come up
MODULE = 203     # vmlab did not build or did not load
TIMEOUT = 204    # the command ran longer than --timeout
OOPS = 205       # oops, BUG or panic
LOCKUP = 206     # soft lockup, hung task or RCU stall
WARN = 207       # WARN, or a report of KASAN, UBSAN, lockdep, kmemleak and the like
LOST = 208       # QEMU ended, or closed the line, without the command's status

NAMES = {
    USAGE: "wrong options",
    PACKAGES: "packages are missing (listed, with the apt-get command)",
    BOOT: "no kernel image, or the guest did not boot",
    MODULE: "vmlab did not build or did not load",
    TIMEOUT: "time-out; every CPU's backtrace is printed",
    OOPS: "oops, BUG or panic in the guest's kernel",
    LOCKUP: "lockup, hung task or RCU stall in the guest's kernel",
    WARN: "WARN, or a report of KASAN, UBSAN, lockdep, kmemleak ...",
    LOST: "QEMU ended without the command's status",
}

SHORT = {OOPS: "oops or panic", LOCKUP: "lockup", WARN: "warning or report"}


class Failure(Exception):
    """Ends the command with `status`, `text` being the last line on stderr."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text
