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
GUEST_SECONDS = 1500
GUEST_BOOTS = 6
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
    """Runs a program on this host that prints TAP, or says all by its exit status."""
    path = log_path(group)
    tap = Tap(report, group, path)
    status = None
    with open(path, "w", encoding="utf-8") as log:
        try:
            child = Children.start(command, env=dict(os.environ, **(environment or {})))
        except OSError as error:
            tap.fail("program", str(error))
            return
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


class Program:
    """A selftest program and what its source says about how to run it.

    A line `vmlab-test: timeout=300 phases=plain kernels=6.12` anywhere in the source sets the
    seconds that one run may take, the phases and the kernels; each part may be left out.
    """

    def __init__(self, source):
        self.source = source
        self.name = re.sub(r"\.(c|sh)$", "", os.path.basename(source))
        if source.endswith(".c"):
            self.path = os.path.join(TOP, "build", "selftests", self.name)
        else:
            self.path = source
        self.seconds, self.phases, self.kernels = PROGRAM_SECONDS, ["plain", "pressure"], None
        with open(source, encoding="utf-8") as file:
            found = re.search(r"\bvmlab-test:\s*(.*?)\s*(?:\*/)?$", file.read(), re.M)
        for setting in found.group(1).split() if found else []:
            key, _, value = setting.partition("=")
            if key == "timeout" and value.isdigit():
                self.seconds = int(value)
            elif key == "phases" and set(value.split(",")) <= {"plain", "pressure"}:
                self.phases = value.split(",")
            elif key == "kernels" and value:
                self.kernels = value.split(",")
            else:
                raise SystemExit(f"{source}: cannot understand '{setting}' in its vmlab-test line")


def wanted(name):
    return not TESTS or name in TESTS


def programs():
    sources = glob.glob(f"{TOP}/selftests/*.c") + glob.glob(f"{TOP}/selftests/*.sh")
    return [program for program in map(Program, sorted(sources)) if wanted(program.name)]


class Guest:
    """The selftest programs on one kernel, in as few boots as they leave possible."""

    def __init__(self, report, kernel, todo):
        self.report, self.kernel, self.todo = report, kernel, todo
        self.log_path = log_path(f"guest-{kernel}")
        self.tap = None
        self.current = None
        self.recent = collections.deque(maxlen=20 * TAIL)
        self.ready = False

    def group(self, phase, name):
        return f"{self.kernel} {phase} {name}"

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
        release = subprocess.run(
            [f"{TOP}/tools/build", "--kver", self.kernel, "--print"], capture_output=True, text=True, check=False,
        ).stdout.split()[:1]
        module = os.path.join(TOP, "build", release[0] if release else "", "vmlab.ko")
        plan = [f"{phase}:{program.seconds}:{program.path}" for phase, program in self.todo]
        seconds = min(GUEST_SECONDS, 180 + sum(program.seconds + 30 for _, program in self.todo))
        command = [
            f"{TOP}/tools/vm/guest", "--kernel", self.kernel, "--cpus", "2", "--memory", "2G", "--nodes", "2",
            "--disk", "512M", "--disk", "64M", "--module", "pool_mb=64", "--timeout", str(seconds),
            "--", f"{TOP}/tools/check/inside", "--module", module, *plan,
        ]
        self.report.say(f"       {self.kernel}: booting a guest (boot {number}) for {len(self.todo)} programs")
        log.write(f"# boot {number}: {' '.join(command)}\n")
        self.ready, self.current, self.tap = False, None, None
        self.recent.clear()
        status = None
        child = Children.start(command)
        try:
            for line in lines_of(child, seconds + 120):
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
            self.failed(self.kernel, "did not start", status)
            return False
        if self.current:
            phase, name = self.current
            self.failed(self.group(phase, name), "ended while this program ran", status)
            self.done(phase, name)
        elif status and not self.todo:
            self.failed(self.kernel, "ended badly after the last program", status)
        return True

    def failed(self, group, what, status):
        """A guest that ended by itself: its own last word, and the trace from where it begins."""
        lines = list(self.recent)
        last = [line for line in lines if line.startswith("guest: ")][-1:]
        begin = [number for number, line in enumerate(lines) if ALARM.search(line)][:1]
        details = lines[begin[0]:begin[0] + TAIL] if begin else lines
        self.report.result("failed", group, "guest", why=f"{what} (status {status}): {last[0][7:] if last else ''}",
                           details=details, log=self.log_path)

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
            wrong = event["wrong"]
            if wrong is not None:
                self.report.result("failed" if wrong else "passed", group, "laws hold, log clean, nothing left",
                                   why=wrong[0] if wrong else "", details=wrong, log=self.log_path)
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
    return [kernel for kernel in KERNELS if run_step(report, "build", kernel, ["tools/build", "--kver", kernel], 600)]


def check_host(report, kernels):
    """Tests that run here and boot guests of their own."""
    if wanted("vm"):
        run_tap(report, "guest harness", ["selftests/vm/run", "--quick"], 900)
    for path in sorted(glob.glob(f"{TOP}/selftests/host/*")):
        name = os.path.basename(path).removesuffix(".sh")
        if os.access(path, os.X_OK) and os.path.isfile(path) and wanted(name):
            for kernel in kernels:
                run_tap(report, f"{kernel} host {name}", [path], 900, {"KERNEL": kernel})


def check_selftests(report):
    kernels = build_modules(report)
    chosen = programs()
    if chosen and not run_step(report, "build", "selftests", ["make", "-C", "selftests", "--no-print-directory"], 600):
        chosen = []
    lanes = []
    for kernel in kernels:
        mine = [program for program in chosen if not program.kernels or kernel in program.kernels]
        todo = [(phase, program) for phase in ("plain", "pressure") for program in mine if phase in program.phases]
        if todo:
            lanes.append(threading.Thread(target=run_lane, args=(report, Guest(report, kernel, todo))))
    for lane in lanes:
        lane.start()
    for lane in lanes:
        while lane.is_alive():
            lane.join(1)
    check_host(report, kernels)


def run_lane(report, guest):
    try:
        guest.run()
    except Stop:
        pass
    except Exception as error:  # pylint: disable=broad-except
        report.result("failed", guest.kernel, "runner", why=repr(error), log=guest.log_path)


SUITES = {
    "static": [check_static],
    "unit": [check_unit],
    "selftests": [check_selftests],
    "dkms": [check_dkms],
    "all": [check_static, check_unit, check_dkms, check_selftests],
}


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
