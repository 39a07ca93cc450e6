#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The check runner: starts every kind of test, reads what they say, and counts.

It owns the one meaning of passed, failed and skipped, the logs in build/log/, and the last
line `N passed, N failed`. A test point is counted once for each way it was run (kernel, phase).
What does not answer (a plan that is not fulfilled, a program that dies or hangs, a guest that
does not boot) is always a failure with a name; nothing that did not run may count as passed.
"""

import argparse
import collections
import glob
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LOGS = os.path.join(TOP, "build", "log")
KERNELS = os.environ.get("KERNELS", "").split() or ["6.1", "6.12"]
TESTS = os.environ.get("TESTS", "").split()

PROGRAM_SECONDS = 120  # for one run of one selftest program, unless its source says otherwise
GUEST_SECONDS = 2700
LONGER = int(os.environ.get("SECONDS") or 0)  # what randomised programs are asked to take
GUEST_BOOTS = 6
COVERAGE_PERCENT = 85  # of the module's lines: what `make coverage` asks for
TAIL = 40
# Where a trace begins in the kernel log of a guest that died.
ALARM = re.compile(r"WARNING: |BUG: |Oops|Kernel panic|general protection|INFO: task|soft lockup|rcu: .*stall")


class Report:
    """Counts results and shows them as they come; safe to use from several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.failures = []

    def say(self, text):
        with self.lock:
            print(text, flush=True)

    def result(self, verdict, group, name, seconds=None, why="", details=(), log=""):
        took = f"  {seconds:.1f}s" if seconds is not None else ""
        word = {"passed": "ok", "failed": "FAILED", "skipped": "skip"}[verdict]
        if Children.stopping:
            return  # what we ended ourselves says nothing
        with self.lock:
            self.counts[verdict] += 1
            print(f"{word:6} {group}: {name}{took}{'  # ' + why if why else ''}", flush=True)
            if verdict == "failed":
                self.failures.append(f"{group}: {name}{'  # ' + why if why else ''}")
                for line in list(details)[-TAIL:]:
                    print(f"       | {line}", flush=True)
                if log:
                    print(f"       | (log: {os.path.relpath(log, TOP)})", flush=True)

    def finish(self):
        """Prints the summary; the exit status."""
        if self.failures:
            print("\nFailed:")
            for failure in self.failures:
                print(f"  {failure}")
        counts = self.counts
        skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
        print(f"{counts['passed']} passed, {counts['failed']} failed{skipped}", flush=True)
        return 0 if counts["passed"] and not counts["failed"] else 1


class Tap:
    """One producer of TAP or KTAP: feed it lines, then tell it the exit status.

    Several TAP streams one after the other are understood. Indented (nested) results are
    details of the result that follows them.
    """

    POINT = re.compile(r"(not )?ok\b(?:\s+\d+)?(?:\s+-)?\s*(.*?)(?:\s+#\s*(SKIP|TODO|XFAIL)\b:?\s*(.*))?$", re.I)
    PLAN = re.compile(r"1\.\.(\d+)\s*(?:#\s*SKIP\S*\s*(.*))?$", re.I)

    def __init__(self, report, group, log=""):
        self.report, self.group, self.log = report, group, log
        self.planned, self.seen, self.streams, self.failed = None, 0, 0, False
        self.started = False
        self.recent = collections.deque(maxlen=TAIL)
        self.last = time.monotonic()

    def seconds(self):
        now = time.monotonic()
        took, self.last = now - self.last, now
        return took

    def fail(self, name, why, details=()):
        self.failed = True
        self.report.result("failed", self.group, name, self.seconds(), why, details or self.recent, self.log)

    def close_stream(self):
        if self.started and self.planned is None:
            self.fail("plan", "no plan was printed")
        elif self.planned is not None and self.planned != self.seen:
            self.fail("plan", f"{self.planned} tests planned, {self.seen} seen")
        self.planned, self.seen, self.started = None, 0, False

    def feed(self, line):
        if re.match(r"K?TAP version \d+$", line.strip()) and not line[:1].isspace():
            self.close_stream()
            self.started = True
            self.streams += 1
            return
        plan = self.PLAN.match(line)
        if plan:
            if self.planned is not None:
                self.close_stream()
            self.planned, self.started = int(plan.group(1)), True
            self.streams = self.streams or 1
            if self.planned == 0 and plan.group(2) is not None:
                self.report.result("skipped", self.group, "all", self.seconds(), plan.group(2))
            return
        point = self.POINT.match(line) if line.startswith(("ok", "not ok")) else None
        if not point:
            if line.strip():
                self.recent.append(line)
            return
        self.seen, self.started = self.seen + 1, True
        self.streams = self.streams or 1
        bad, name, directive, why = point.groups()
        name = name or f"test {self.seen}"
        if directive and directive.upper() == "SKIP":
            self.report.result("skipped", self.group, name, self.seconds(), why)
        elif directive:
            verdict = "an expected failure" if bad else "passed although it was expected to fail"
            self.report.result("skipped", self.group, name, self.seconds(), f"{verdict}: {why}")
        elif bad:
            self.fail(name, "", list(self.recent))
        else:
            self.report.result("passed", self.group, name, self.seconds())
        self.recent.clear()

    def end(self, status):
        """The producer has ended; status is None when it was killed for taking too long."""
        if status is None:
            if self.planned != self.seen:
                self.report.say(f"       {self.group}: {self.seen} of {self.planned or 'unknown'} tests were done")
            self.fail("program", "timed out")
            return
        silent = not self.streams
        if not silent:
            self.close_stream()
        if status == 4 and silent:
            why = self.recent[-1] if self.recent else "the program skipped itself"
            self.report.result("skipped", self.group, "program", self.seconds(), why)
        elif status == 0 and silent:
            self.report.result("passed", self.group, "program", self.seconds())
        elif status not in (0, 4) and not self.failed:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            self.fail("program", how)


class Stop(Exception):
    """The user has interrupted us."""


class Children:
    """Processes that we started, so that an interruption can end them."""

    lock = threading.Lock()
    running = set()
    stopping = False

    @classmethod
    def start(cls, command, **options):
        with cls.lock:
            if cls.stopping:
                raise Stop
            child = subprocess.Popen(
                command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True, **options,
            )
            cls.running.add(child)
            return child

    @classmethod
    def forget(cls, child):
        with cls.lock:
            cls.running.discard(child)

    @classmethod
    def stop(cls, child, patience=20):
        """Ends a process and its group: politely first, so that a guest can clean up."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                pass
            try:
                child.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        cls.forget(child)

    @classmethod
    def stop_all(cls):
        with cls.lock:
            cls.stopping = True
            running = list(cls.running)
        for child in running:
            cls.stop(child)


def lines_of(child, seconds):
    """Each line that a process prints, until it ends or its time is over (TimeoutError)."""
    until = time.monotonic() + seconds
    selector = selectors.DefaultSelector()
    selector.register(child.stdout, selectors.EVENT_READ)
    pending = b""
    while True:
        if time.monotonic() > until:
            raise TimeoutError
        if not selector.select(1):
            if child.poll() is not None:
                break  # something that it started still holds the pipe
            continue
        block = os.read(child.stdout.fileno(), 65536)
        if not block:
            break
        pending += block
        *lines, pending = pending.split(b"\n")
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if pending:
        yield pending.decode(errors="replace")


def log_path(name):
    os.makedirs(LOGS, exist_ok=True)
    return os.path.join(LOGS, re.sub(r"[^A-Za-z0-9._-]+", "-", name) + ".log")


def run_tap(report, group, command, seconds, environment=None):
    """Runs a program on this host that prints TAP, or says all by its exit status; True when nothing failed."""
    path = log_path(group)
    tap = Tap(report, group, path)
    status = None
    with open(path, "w", encoding="utf-8") as log:
        try:
            child = Children.start(command, env=dict(os.environ, **(environment or {})))
        except OSError as error:
            tap.fail("program", str(error))
            return False
        try:
            for line in lines_of(child, seconds):
                log.write(line + "\n")
                log.flush()
                tap.feed(line)
            status = child.wait(30)
        except (TimeoutError, subprocess.TimeoutExpired):
            status = None
        finally:
            Children.stop(child)
    tap.end(status)
    return not tap.failed


def run_step(report, group, name, command, seconds):
    """Runs a command that passes or fails as a whole; True when it passed."""
    path = log_path(f"{group}-{name}")
    begin, recent, status = time.monotonic(), collections.deque(maxlen=TAIL), None
    with open(path, "w", encoding="utf-8") as log:
        child = Children.start(command)
        try:
            for line in lines_of(child, seconds):
                log.write(line + "\n")
                recent.append(line)
            status = child.wait(30)
        except (TimeoutError, subprocess.TimeoutExpired):
            recent.append(f"timed out after {seconds} s")
        finally:
            Children.stop(child)
    verdict = "passed" if status == 0 else "failed"
    report.result(verdict, group, name, time.monotonic() - begin, "", recent, path)
    return status == 0


# Guests besides the usual one, which has two NUMA nodes that are alike. Of four nodes one has no memory, one no CPU, and
# none is as far from the others as the next; a large guest has some whole GiB.
SHAPES = {
    "large": ["--node", "cpus=2,memory=6G"],
    "one": ["--node", "cpus=2,memory=2G"],
    "four": [
        "--node", "cpus=1,memory=1G,distance=10:25:30:15", "--node", "cpus=1,memory=1G,distance=25:10:15:30",
        "--node", "cpus=1,memory=0,distance=30:15:10:20", "--node", "cpus=0,memory=1G,distance=15:30:20:10",
    ],
}


class Program:
    """A selftest program and what its source says about how to run it.

    A line `vmlab-test: timeout=300 phases=plain kernels=6.12` anywhere in the source sets the
    seconds that one run may take, the phases and the kernels; `turns=3`: it does three things
    one after the other, each for as long as SECONDS says; `shapes=one,four`: it runs in guests
    of those SHAPES as well. Each part may be left out.
    """

    def __init__(self, source, name=""):
        self.source = source
        self.name = name or re.sub(r"\.(c|sh)$", "", os.path.basename(source))
        if source.endswith(".c"):
            self.path = os.path.join(TOP, "build", "selftests", self.name)
        else:
            self.path = source
        self.seconds, self.phases, self.kernels = PROGRAM_SECONDS, ["plain", "pressure"], None
        self.longer, self.shapes = LONGER, []
        with open(source, encoding="utf-8") as file:
            found = re.search(r"\bvmlab-test:\s*(.*?)\s*(?:\*/)?$", file.read(), re.M)
        for setting in found.group(1).split() if found else []:
            key, _, value = setting.partition("=")
            if key == "timeout" and value.isdigit():
                self.seconds = int(value)
            elif key == "turns" and value.isdigit():
                self.longer = LONGER * int(value)
            elif key == "phases" and set(value.split(",")) <= {"plain", "pressure"}:
                self.phases = value.split(",")
            elif key == "shapes" and set(value.split(",")) <= SHAPES.keys():
                self.shapes = value.split(",")
            elif key == "kernels" and value:
                self.kernels = value.split(",")
            else:
                raise SystemExit(f"{source}: cannot understand '{setting}' in its vmlab-test line")
        self.seconds += self.longer


# What must be free for a guest of a shape, where that is more than others take: else nothing runs there.
SHAPE_GIB = {"large": 8}


def memory_free(meminfo="/proc/meminfo", cgroup="/sys/fs/cgroup"):
    """Bytes that this machine can give away; fewer where a cgroup has a bound."""
    with open(meminfo, encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    try:
        with open(f"{cgroup}/memory.max", encoding="ascii") as bound, \
                open(f"{cgroup}/memory.current", encoding="ascii") as current:
            free = min(free, int(bound.read()) - int(current.read()))
    except (OSError, ValueError):  # there is none
        pass
    return free


def wanted(name):
    return not TESTS or name in TESTS


class Kernel:
    """What a guest boots: one of Debian's kernels, named by its series, or a debug kernel.

    `slowness` says how many times longer than on Debian's kernels everything may take there, and
    `lanes` which phases go into the same guest. Once it is seen to break the contract it is
    `suspect`, and what fails there later may fail because of that.
    """

    DEBUG_SERIES = "6.12"  # of the source that tools/debug/kernel builds
    DEBUG = {
        # What KASAN keeps for itself is an eighth of the memory, page owner and kmemleak take more.
        "kasan": {"slowness": 6, "memory": "3G"},
        # Races are found by stopping a CPU where another one may come by.
        "kcsan": {"slowness": 6, "memory": "3G"},
    }

    def __init__(self, name, tree=""):
        self.name, self.tree = name, tree
        self.slowness, self.memory = 1, "2G"
        self.series, self.lanes = name, [("plain", "pressure")]
        self.suspect = False
        if tree:
            kind = self.DEBUG.get(name) or self.kind_of(tree)
            self.series, self.lanes = self.DEBUG_SERIES, [("plain",), ("pressure",)]
            self.slowness, self.memory = kind["slowness"], kind["memory"]

    @classmethod
    def kind_of(cls, tree):
        """What a build tree of somebody else's needs, by its configuration."""
        with open(os.path.join(tree, ".config"), encoding="utf-8") as file:
            options = file.read()
        for name, kind in cls.DEBUG.items():
            if f"\nCONFIG_{name.upper()}=y" in options:
                return kind
        return {"slowness": 1, "memory": "2G"}

    @classmethod
    def chosen(cls):
        """The one that KDIR or KVER names; None when they name none that is there."""
        tree, name = os.environ.get("KDIR", ""), os.environ.get("KVER", "")
        if tree:
            try:
                with open(os.path.join(tree, "include/config/kernel.release"), encoding="utf-8") as file:
                    kernel = cls(file.read().strip(), os.path.realpath(tree))
            except OSError:
                return None
        elif name:
            kernel = cls(name)
        else:
            return None
        found = re.match(r"\d+\.\d+", kernel.name)
        kernel.series = found.group() if found else kernel.name
        return kernel

    def label(self):
        return f"{self.name} (suspect)" if self.suspect else self.name

    def broke_contract(self, report):
        self.suspect = True
        report.say(f"       {self.name}: THIS KERNEL BREAKS THE CONTRACT: whatever fails from now on may fail for "
                   "that, and vmlab must not be used on it")

    def build_arguments(self):
        return ["--kdir", self.tree] if self.tree else ["--kver", self.name]

    def guest_name(self):
        """What tools/vm/guest calls it."""
        return self.tree or self.name

    def release(self):
        words = subprocess.run(
            [f"{TOP}/tools/build", *self.build_arguments(), "--print"], capture_output=True, text=True, check=False,
        ).stdout.split()
        return words[0] if words else ""

    def environment(self):
        """What the tests are told of it."""
        return {"VMLAB_KERNEL": self.name, "VMLAB_SLOWNESS": str(self.slowness)}

    def runs(self, program):
        return not program.kernels or self.name in program.kernels or self.series in program.kernels


CONTRACT = "contract"


def programs():
    """Those that are wanted; the contract first: it says what the others may count on."""
    sources = glob.glob(f"{TOP}/selftests/*.c") + glob.glob(f"{TOP}/selftests/*.sh")
    found = [Program(f"{TOP}/selftests/contract/main.c", CONTRACT), *map(Program, sorted(sources))]
    return [program for program in found if wanted(program.name)]


class Guest:
    """The selftest programs on one kernel, in as few boots as they leave possible.

    `name` tells its log from those of other guests with the same kernel, and `shape` is one of SHAPES. With `coverage`, a
    directory, `module` has been built to count lines, and each boot leaves its counts there.
    """

    def __init__(self, report, kernel, todo, name="", shape="", module="", coverage=""):
        self.report, self.kernel, self.todo, self.shape = report, kernel, todo, shape
        self.name = name or kernel.name
        self.module = module or os.path.join(TOP, "build", kernel.release(), "vmlab.ko")
        self.coverage = coverage
        self.log_path = log_path(f"guest-{self.name}")
        self.tap = None
        self.current = None
        self.recent = collections.deque(maxlen=20 * TAIL)
        self.ready = False

    def group(self, phase, name):
        where = f"{self.shape} {phase}" if self.shape else phase
        return f"{self.kernel.label()} {where} {name}"

    def skip(self, why):
        for phase, program in self.todo:
            self.report.result("skipped", self.group(phase, program.name), "program", why=why)

    def nodes(self):
        return SHAPES.get(self.shape) or ["--cpus", "2", "--nodes", "2", "--memory", self.kernel.memory]

    def run(self):
        """Boots until everything has run; what ends a guest early has already been counted."""
        with open(self.log_path, "w", encoding="utf-8") as log:
            for boot in range(1, GUEST_BOOTS + 1):
                before = len(self.todo)
                if not self.boot(log, boot):
                    break
                if not self.todo:
                    return
                if len(self.todo) == before:
                    break
        for phase, program in self.todo:
            self.report.result("failed", self.group(phase, program.name), "program",
                               why="not run: the guest could not go on")

    def boot(self, log, number):
        """One guest; False when another boot would be of no use."""
        slowness = self.kernel.slowness
        plan = [f"{phase}:{program.seconds * slowness}:{program.path}" for phase, program in self.todo]
        seconds = sum(program.seconds + 30 for _, program in self.todo)
        seconds = min(GUEST_SECONDS + sum(program.longer for _, program in self.todo), 180 + seconds) * slowness
        command = [
            f"{TOP}/tools/vm/guest", "--kernel", self.kernel.guest_name(), *self.nodes(), "--disk", "512M", "--disk", "64M", "--module", "pool_mb=64",
            "--timeout", str(seconds),
        ]
        inside = [f"{TOP}/tools/check/inside", "--module", self.module]
        if self.coverage:
            counts = os.path.join(self.coverage, f"{self.name}-{number}")
            os.makedirs(counts)
            command += ["--share", counts]
            inside += ["--coverage", counts]
        command += ["--", *inside, *plan]
        self.report.say(f"       {self.name}: booting a guest (boot {number}) for {len(self.todo)} programs")
        log.write(f"# boot {number}: {' '.join(command)}\n")
        self.ready, self.current, self.tap = False, None, None
        self.recent.clear()
        status = None
        child = Children.start(command, env=dict(os.environ, VMLAB_KO=self.module, **self.kernel.environment()))
        try:
            for line in lines_of(child, seconds + 180 * slowness):
                log.write(line + "\n")
                log.flush()
                if line.startswith("@@ "):
                    self.event(json.loads(line[3:]))
                elif line.startswith("> ") and self.tap:
                    self.tap.feed(line[2:])
                else:
                    self.recent.append(line)
            status = child.wait(60)
        except (TimeoutError, subprocess.TimeoutExpired):
            pass
        finally:
            Children.stop(child)
        if Children.stopping:
            raise Stop
        if not self.ready:
            self.failed(self.name, "did not start", status)
            return False
        if self.current:
            phase, name = self.current
            self.failed(self.group(phase, name), "ended while this program ran", status)
            self.done(phase, name)
        elif status and not self.todo:
            self.failed(self.name, "ended badly after the last program", status)
        return True

    def failed(self, group, what, status):
        """A guest that ended by itself: its own last word, and the trace from where it begins."""
        lines = list(self.recent)
        last = [line for line in lines if line.startswith("guest: ")][-1:]
        begin = [number for number, line in enumerate(lines) if ALARM.search(line)][:1]
        details = lines[begin[0]:begin[0] + TAIL] if begin else lines
        self.report.result("failed", group, "guest", why=f"{what} (status {status}): {last[0][7:] if last else ''}",
                           details=details, log=self.log_path)

    def verdict(self, group, what, wrong):
        self.report.result("failed" if wrong else "passed", group, what,
                           why=wrong[0] if wrong else "", details=wrong, log=self.log_path)

    def done(self, phase, name):
        self.todo = [item for item in self.todo if (item[0], item[1].name) != (phase, name)]

    def name_of(self, event):
        return event["phase"], re.sub(r"\.sh$", "", event["program"])

    def event(self, event):
        kind = event["event"]
        if kind == "ready":
            self.ready = True
            return
        if kind == "done":
            return
        if kind == "unloaded":
            self.verdict(self.name, "the module unloads, log clean, nothing leaked", event["wrong"])
            return
        phase, name = self.name_of(event)
        group = self.group(phase, name)
        if kind == "start":
            self.current = (phase, name)
            self.tap = Tap(self.report, group, self.log_path)
        elif kind == "unsettled":
            self.report.result("failed", group, "settings", why=event["why"], log=self.log_path)
            self.done(phase, name)
        elif kind == "end":
            self.tap.end(event["status"])
            if name == CONTRACT and self.tap.failed:
                self.kernel.broke_contract(self.report)
            if event["wrong"] is not None:
                self.verdict(group, "laws hold, log clean, nothing left", event["wrong"])
            self.tap = self.current = None
            self.done(phase, name)
        elif kind == "stuck":
            self.report.result("failed", group, "program", why="could not be killed", log=self.log_path)


def check_unit(report):
    if TESTS and "unit" not in TESTS:
        return
    run_tap(report, "runner", [sys.executable, "-B", "tools/check/test_runner.py"], 120)
    run_tap(report, "make", ["tools/check/test_build", *KERNELS], 300)
    run_tap(report, "unit", ["make", "--no-print-directory", "-s", "-C", "selftests/unit", "check"], 600)


def check_static(report):
    if TESTS and "static" not in TESTS:
        return
    run_tap(report, "static", ["tools/check/static", *KERNELS], 900)


def check_dkms(report):
    if TESTS and "dkms" not in TESTS:
        return
    run_tap(report, "dkms", ["selftests/dkms/run", *KERNELS], 900)


def build_modules(report):
    """The kernels whose module could be built."""
    kernels = [Kernel(name) for name in KERNELS]
    return [kernel for kernel in kernels if build_module(report, kernel)]


def build_module(report, kernel):
    """True when vmlab.ko could be built; without contract.ko the contract fails by itself."""
    command = ["tools/build", *kernel.build_arguments()]
    if wanted(CONTRACT):
        run_step(report, "build", f"{kernel.name} contract.ko", [*command, "--contract"], 600)
    return run_step(report, "build", kernel.name, command, 600)


def check_host(report, kernels):
    """Tests that run here and boot guests of their own."""
    for path in sorted(glob.glob(f"{TOP}/selftests/host/*")):
        name = os.path.basename(path).removesuffix(".sh")
        if os.access(path, os.X_OK) and os.path.isfile(path) and wanted(name):
            for kernel in kernels:
                run_tap(report, f"{kernel.name} host {name}", [path], 900 * kernel.slowness,
                        {"KERNEL": kernel.guest_name(), **kernel.environment()})


def build_selftests(report):
    """The programs that are wanted, built, and the tools that some of them try."""
    chosen = programs()
    if chosen and not run_step(report, "build", "tools", ["make", "--no-print-directory", "tools"], 300):
        chosen = []
    if chosen and not run_step(report, "build", "selftests", ["make", "-C", "selftests", "--no-print-directory"], 600):
        chosen = []
    return chosen


def run_programs(report, kernels, chosen, **options):
    """Runs programs in guests, those of all lanes side by side, and then those of other shapes, two by two."""
    lanes = []
    for kernel in kernels:
        mine = [program for program in chosen if kernel.runs(program)]
        for phases in kernel.lanes:
            todo = [(phase, program) for phase in phases for program in mine if phase in program.phases]
            name = kernel.name if len(kernel.lanes) == 1 else f"{kernel.name}-{'-'.join(phases)}"
            if todo:
                lanes.append(Guest(report, kernel, todo, name, **options))
    run_lanes(report, lanes)
    shaped = []
    for shape in SHAPES:
        for kernel in kernels:
            # What there is to be seen of nodes is seen under pressure.
            todo = [("pressure", program) for program in chosen if kernel.runs(program) and shape in program.shapes]
            if not todo:
                continue
            guest = Guest(report, kernel, todo, f"{kernel.name}-{shape}", shape, **options)
            if memory_free() >= SHAPE_GIB.get(shape, 0) << 30:
                shaped.append(guest)
            else:
                guest.skip(f"less than {SHAPE_GIB[shape]} GiB of memory are free here")
    for first in range(0, len(shaped), 2):
        run_lanes(report, shaped[first:first + 2])


def run_lanes(report, guests):
    lanes = [threading.Thread(target=run_lane, args=(report, guest)) for guest in guests]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        while lane.is_alive():
            lane.join(1)


def check_selftests(report):
    kernels = build_modules(report)
    run_programs(report, kernels, build_selftests(report))
    if wanted("vm"):
        run_tap(report, "guest harness", ["selftests/vm/run", "--quick"], 900)
    check_host(report, kernels)


def debug_kernel(report, name):
    """A debug kernel, built unless it is cached; None when it cannot be had."""
    if not run_step(report, "debug kernel", name, ["tools/debug/kernel", name], 4 * 3600):
        return None
    tree = subprocess.run(["tools/debug/kernel", name], capture_output=True, text=True, check=True).stdout.strip()
    return Kernel(name, tree)


def check_debug(report, name):
    """The whole suite on a debug kernel, after a proof that its checkers are awake."""
    kernel = debug_kernel(report, name)
    if not kernel:
        return
    if wanted("awake"):
        run_tap(report, f"{name} awake", ["selftests/awake/run", kernel.name, kernel.tree], 1800)
    if not build_module(report, kernel):
        return
    chosen = build_selftests(report)
    if name == "kasan":
        run_counting(report, kernel, chosen)
    else:
        run_programs(report, [kernel], chosen)
    check_host(report, [kernel])


def check_contract(report, kernel):
    """The contract in a guest of its own, where vmlab was never loaded."""
    command = [
        f"{TOP}/tools/vm/guest", "--kernel", kernel.guest_name(), "--cpus", "2", "--nodes", "2", "--memory",
        kernel.memory, "--disk", "64M", "--no-module", "--timeout", str(900 * kernel.slowness), "--",
        f"{TOP}/build/selftests/contract",
    ]
    if not run_tap(report, f"{kernel.name} contract", command, 1200 * kernel.slowness, kernel.environment()):
        kernel.broke_contract(report)


def check_compat(report):
    """Whether vmlab builds and works on the kernel that KVER or KDIR names: contract first, then the suite."""
    kernel = Kernel.chosen()
    if not kernel:
        report.result("failed", "compat", "kernel", why="say KVER=RELEASE|SERIES, or KDIR=TREE with a built kernel")
        return
    built = build_module(report, kernel)
    chosen = build_selftests(report)
    if any(program.name == CONTRACT for program in chosen):
        check_contract(report, kernel)
    if built:
        run_programs(report, [kernel], [program for program in chosen if program.name != CONTRACT])
        check_host(report, [kernel])


def check_mutants(report):
    """Each planted bug must be caught by the model test."""
    if wanted("mutants"):
        run_tap(report, "mutants", ["tools/check/mutants", *KERNELS], 7200)


def check_coverage(report):
    """Which lines of the module the suite runs: on the debug kernel, which can count them."""
    kernel = debug_kernel(report, "kasan")
    if kernel:  # the contract is not about vmlab
        run_counting(report, kernel, [program for program in build_selftests(report) if program.name != CONTRACT])


def run_counting(report, kernel, chosen):
    """Runs programs with a module that counts its lines, and shows which ran: the figure comes with each debug run."""
    into = os.path.join(TOP, "build", "gcov")
    command = ["tools/build", *kernel.build_arguments(), "--into", into, "--", "VMLAB_GCOV=1"]
    if not run_step(report, "build", "vmlab.ko that counts lines", command, 600):
        return
    counts = os.path.join(TOP, "build", "coverage", "counts")
    shutil.rmtree(os.path.dirname(counts), ignore_errors=True)
    built = os.path.join(into, kernel.release())
    run_programs(report, [kernel], chosen, module=f"{built}/vmlab.ko", coverage=counts)
    run_coverage(report, built, counts)


def run_coverage(report, built, counts):
    """Judges the figure, and shows the table that coverage.py prints."""
    least = 0 if TESTS else COVERAGE_PERCENT  # a part of the suite runs a part of the lines
    command = [sys.executable, "-B", "tools/check/coverage.py", "--least", str(least), built, counts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report.say((done.stdout + done.stderr).rstrip())
    last = (done.stdout.strip().splitlines() or ["no figure"])[-1]
    verdict = {0: "passed", 1: "failed"}.get(done.returncode, "failed")
    report.result(verdict, "coverage", f"at least {least} % of the module's lines run", why=last)


def run_lane(report, guest):
    try:
        guest.run()
    except Stop:
        pass
    except Exception as error:  # pylint: disable=broad-except
        report.result("failed", guest.name, "runner", why=repr(error), log=guest.log_path)


SUITES = {
    "static": [check_static],
    "unit": [check_unit],
    "selftests": [check_selftests],
    "dkms": [check_dkms],
    "debug": [lambda report: check_debug(report, "kasan")],
    "kcsan": [lambda report: check_debug(report, "kcsan")],
    "coverage": [check_coverage],
    "compat": [check_compat],
    "mutants": [check_mutants],
    "all": [check_static, check_unit, check_dkms, check_selftests],
}
SUITES["everything"] = SUITES["all"] + SUITES["debug"] + SUITES["kcsan"] + [check_mutants]


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description="run tests; see tools/check/run")
    parser.add_argument("suite", choices=sorted(SUITES))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    os.chdir(TOP)
    report = Report()
    begin = time.monotonic()
    try:
        for suite in SUITES[arguments.suite]:
            suite(report)
    except (KeyboardInterrupt, Stop):
        Children.stop_all()
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        report.say("interrupted")
        report.finish()
        return 130
    minutes, seconds = divmod(round(time.monotonic() - begin), 60)
    print(f"\nTook {minutes} min {seconds} s; full logs are in build/log/")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
