# SPDX-License-Identifier: GPL-2.0
"""Owns reading the guest's kernel log: which lines mean that something is wrong, of what kind, and which part of the
log to show. Pure text in, text out. Must never decide on a status for lines that a healthy kernel prints."""

import re

import status

# The first pattern that matches a line gives its kind; the order matters within one line only.
REPORTS = (
    (status.LOCKUP, r"watchdog: BUG: soft lockup|BUG: workqueue lockup|Watchdog detected hard LOCKUP"),
    (status.LOCKUP, r"INFO: task .* blocked for more than|blocked for more than \d+ seconds"),
    (status.LOCKUP, r"rcu: INFO: rcu_\w+ (self-)?detected stall|detected expedited stalls"),
    (status.LOCKUP, r"Kernel panic - not syncing: (softlockup|hung_task|RCU Stall|hard lockup)"),
    (status.WARN, r"BUG: (KASAN|KCSAN|KMSAN|KFENCE)|UBSAN:|kmemleak: \d+ new suspected"),
    (status.WARN, r"possible (recursive|irq lock inversion|circular)|circular locking dependency|INFO: inconsistent lock"),
    (status.WARN, r"suspicious RCU usage|bad unlock balance|held lock freed|lock held when returning|Invalid wait context"),
    (status.WARN, r"(SOFTIRQ|HARDIRQ|[A-Z]+)-safe -> .*-unsafe lock order|INFO: lockdep is turned off|MAX_LOCK\w+ too low"),
    (status.WARN, r"BUG: (sleeping function|scheduling while atomic|workqueue leaked|using smp_processor_id)"),
    (status.WARN, r"DEBUG_LOCKS_WARN_ON|ODEBUG:|BUG: Bad (page|rss)|Bad page (state|map)|BUG .*: .*(Redzone|Poison|Objects remaining)"),
    (status.WARN, r"WARNING: |Kernel panic - not syncing: (kernel: )?panic_on_warn"),
    (status.OOPS, r"\bBUG: |Oops: |general protection fault|[Kk]ernel BUG at|Kernel panic - not syncing|Internal error:"),
    (status.OOPS, r"unable to handle (kernel|page fault)|double fault|stack guard page was hit|sysrq: Trigger a crash"),
)
_COMPILED = [(kind, re.compile(pattern)) for kind, pattern in REPORTS]
_ANY = re.compile("|".join(pattern for _, pattern in REPORTS))
_STAMP = re.compile(r"^\[ *\d+\.\d+\](\[ *[TC]\d+\])? ")
_TASK = re.compile(r"task:\S.* state:(\S) .*ppid:(\d+)")
# Lines of ours, and lines of programs that write to the kernel log, are not the kernel's.
_NOT_REPORTS = re.compile(r"FAULT_INJECTION|guest-init:|page allocation failure|Speculative Return Stack|"
                          r"Spectre|MDS |Unmaintained driver|out-of-tree module taints|module verification failed")


def kind_of(line):
    """The status that a line of the log calls for, or None."""
    if not _ANY.search(line) or _NOT_REPORTS.search(line):
        return None
    for kind, pattern in _COMPILED:
        if pattern.search(line):
            return kind
    return None


class Log:
    """The lines of one guest, fed in pieces of bytes."""

    KEEP = 20000  # lines in memory: the newest, or those around the first report

    def __init__(self):
        self.lines = []
        self.partial = b""
        self.report = None        # (status, line number) of the first report
        self.only_warns = True    # none of the reports so far was worse than a WARN
        self.dropped = 0

    def feed(self, data):
        """More of the log; returns whether it brought the first report."""
        had = self.report
        *whole, self.partial = (self.partial + data).split(b"\n")
        for raw in whole:
            line = raw.decode(errors="replace").rstrip("\r")
            kind = kind_of(line)
            if kind is not None:
                if self.report is None:
                    self.report = (kind, len(self.lines) + self.dropped)
                if kind != status.WARN:
                    self.only_warns = False
            if self.report is None or len(self.lines) < 2 * self.KEEP:
                self.lines.append(line)
        if len(self.lines) > self.KEEP and self.report is None:
            self.dropped += self.KEEP // 2
            del self.lines[:self.KEEP // 2]
        return had is None and self.report is not None

    def mark(self):
        """A place in the log, for since()."""
        return len(self.lines) + self.dropped

    def since(self, mark):
        """The lines from a mark on."""
        return self.lines[max(0, mark - self.dropped):]

    def report_text(self, most=250):
        """The first report: a few lines before it and its trace, up to the list of tasks that a panic adds."""
        at = self.report[1] - self.dropped
        text = self.lines[max(0, at - 3):at + most]
        end = next((i for i, line in enumerate(text) if i > 3 and _TASK.match(_STAMP.sub("", line))), len(text))
        return text[:end]

    def report_line(self):
        """The first report's own line without its time stamp."""
        return _STAMP.sub("", self.lines[self.report[1] - self.dropped]).strip()


def backtraces(lines):
    """Of what a guest prints after the NMI of a time-out: every CPU's backtrace, and the tasks that are no idle kernel
    threads. Lines that belong to neither are left out."""
    chosen, keep = [], True
    for line in lines:
        text = _STAMP.sub("", line)
        task = _TASK.match(text)
        if task:
            keep = task.group(2) not in ("0", "2") or task.group(1) in "RD"
        elif text.startswith("Sched Debug Version"):
            keep = False
        elif re.search(r"NMI backtrace for cpu|Sending NMI|Kernel panic|sysrq: Show|Uhhuh|Showing|Kernel Offset", text):
            keep = True
        if keep:
            chosen.append(line)
    return chosen
