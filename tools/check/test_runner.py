#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of the check runner's own judgement, printing TAP.

It owns the table of what each kind of TAP stream must count as. It must never start a guest:
all of it works on text and on small child processes.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import tempfile

import coverage
import runner


def without_suffix(name):
    """The module in a file beside this one whose name has no .py."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


inside = without_suffix("inside")

# name, lines of a program, its exit status, what must be counted: (passed, failed, skipped)
STREAMS = [
    ("all pass", "TAP version 13\n1..2\nok 1 a\nok 2 b", 0, (2, 0, 0)),
    ("plan at the end", "TAP version 13\nok 1 - a\nok 2 - b\n1..2", 0, (2, 0, 0)),
    ("one fails", "TAP version 13\n1..2\nok 1 a\nnot ok 2 b", 1, (1, 1, 0)),
    ("a failure with status 0", "TAP version 13\n1..1\nnot ok 1 b", 0, (0, 1, 0)),
    ("a skip", "TAP version 13\n1..2\nok 1 a\nok 2 b # SKIP no disk", 0, (1, 0, 1)),
    ("all skipped", "TAP version 13\n1..0 # SKIP no device", 4, (0, 0, 1)),
    ("an expected failure", "TAP version 13\n1..1\nnot ok 1 b # TODO later", 0, (0, 0, 1)),
    ("too few points", "TAP version 13\n1..3\nok 1 a", 0, (1, 1, 0)),
    ("too many points", "TAP version 13\n1..1\nok 1 a\nok 2 b", 0, (2, 1, 0)),
    ("no plan", "TAP version 13\nok 1 a", 0, (1, 1, 0)),
    ("died after its last point", "TAP version 13\n1..1\nok 1 a", -11, (1, 1, 0)),
    ("status without a failed point", "TAP version 13\n1..1\nok 1 a", 1, (1, 1, 0)),
    ("timed out", "TAP version 13\n1..2\nok 1 a", None, (1, 1, 0)),
    ("two streams", "TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..1\nok 1 b", 0, (2, 0, 0)),
    ("two streams without versions", "1..1\nok 1 a\n1..1\nok 1 b", 0, (2, 0, 0)),
    ("the first of two is short", "TAP version 13\n1..2\nok 1 a\nTAP version 13\n1..1\nok 1 b", 0, (2, 1, 0)),
    ("nested results are details", "TAP version 13\n1..1\n  1..2\n  ok 1 x\n  not ok 2 y\nnot ok 1 a", 1, (0, 1, 0)),
    ("silent success", "", 0, (1, 0, 0)),
    ("silent failure", "something", 1, (0, 1, 0)),
    ("silent skip", "no disk", 4, (0, 0, 1)),
    ("words that only begin like results", "okay then\nnot okay\n1..1\nok 1 a", 0, (1, 0, 0)),
]

# exit status of the whole run: (passed, failed) -> status
TOTALS = [((3, 0), 0), ((3, 1), 1), ((0, 1), 1), ((0, 0), 1)]

# the vmlab-test line of a source, and (seconds, phases, kernels) or None for a refusal
SETTINGS = [
    ("/* nothing said */", (runner.PROGRAM_SECONDS, ["plain", "pressure"], None)),
    ("/* vmlab-test: timeout=300 */", (300, ["plain", "pressure"], None)),
    ("# vmlab-test: phases=plain kernels=6.1,6.12", (runner.PROGRAM_SECONDS, ["plain"], ["6.1", "6.12"])),
    ("/* vmlab-test: phases=often */", None),
    ("/* vmlab-test: timeout=soon */", None),
    ("# vmlab-test: timeout=300 turns=3", (300, ["plain", "pressure"], None)),
    ("# vmlab-test: turns=many", None),
    ("# vmlab-test: shapes=one,four", (runner.PROGRAM_SECONDS, ["plain", "pressure"], None)),
    ("# vmlab-test: shapes=round", None),
]

# the kernels= of a program, a kernel (name, tree), and whether it runs there
PLACES = [
    (None, ("6.1", ""), True),
    (None, ("kasan", "/tree"), True),
    (["6.12"], ("6.1", ""), False),
    (["6.12"], ("kasan", "/tree"), True),
    (["6.1"], ("kasan", "/tree"), False),
    (["kcsan"], ("kasan", "/tree"), False),
    (["kcsan"], ("kcsan", "/tree"), True),
]

# a kernel's log, and what must be found wrong with it: the first lines of what is reported
RULE = "=" * 66
LOGS = [
    ("a quiet log", ["vmlab: pool of 64 MiB"], []),
    ("a warning", ["a", "WARNING: CPU: 0", "b"], ["kernel log:", "a", "WARNING: CPU: 0", "b"]),
    ("UBSAN", ["UBSAN: array-index-out-of-bounds in x.c"], ["kernel log:", "UBSAN: array-index-out-of-bounds in x.c"]),
    ("lockdep gives up", ["turning off the locking correctness validator."],
     ["kernel log:", "turning off the locking correctness validator."]),
    ("a race of the core", [RULE, "BUG: KCSAN: data-race in a / b", "x", RULE, "quiet"], []),
    ("a race in vmlab", [RULE, "BUG: KCSAN: data-race in a [vmlab] / b", "x", RULE],
     ["kernel log:", "BUG: KCSAN: data-race in a [vmlab] / b", "x", RULE]),
    ("a warning after a race of the core", ["BUG: KCSAN: data-race in a / b", RULE, "WARNING: CPU: 1"],
     ["kernel log:", "WARNING: CPU: 1"]),
]

# lines that did not run, lines with code, and the ranges to be shown
RANGES = [
    ([], [1, 2, 3], []),
    ([2], [1, 2, 3], [[2, 2]]),
    ([1, 2, 5], [1, 2, 5, 9], [[1, 5]]),
    ([1, 2, 5], [1, 2, 4, 5], [[1, 2], [5, 5]]),
]


# files of a cgroup, and how many bytes of 8 KiB are left
MEMORY = [
    ({}, 8192),
    ({"memory.max": "max\n", "memory.current": "5\n"}, 8192),
    ({"memory.max": "4096\n", "memory.current": "1096\n"}, 3000),
    ({"memory.max": "1048576\n", "memory.current": "5\n"}, 8192),
]


class Lines:
    """Stands for inside's Log: gives its lines once."""

    def __init__(self, lines):
        self.left = lines

    def lines(self):
        given, self.left = self.left, []
        return given


def complaints(lines):
    with contextlib.redirect_stdout(io.StringIO()):
        return inside.alarms(Lines(lines))


def runs(kernels, place):
    program = type("Program", (), {"kernels": kernels})
    return runner.Kernel(*place).runs(program)


def lines_added():
    """Two boots of one object, whose counts are added; a kernel header, which is not ours."""
    lines = {"module/a.c": {}}
    for count in (0, 3):
        coverage.add(lines, {"files": [
            {"file": "/built/module/a.c", "lines": [{"line_number": 1, "count": count}, {"line_number": 2, "count": 0}]},
            {"file": "/kernel/include/linux/mm.h", "lines": [{"line_number": 1, "count": 1}]},
        ]}, "/built")
    return lines


def guest_events():
    """What a guest's events count as, up to its unloading the module."""
    report = runner.Report()
    program = type("Program", (), {"name": "prog"})
    with contextlib.redirect_stdout(io.StringIO()):
        guest = runner.Guest(report, runner.Kernel("kasan", "/tree"), [("plain", program)], "kasan-plain", "/vmlab.ko")
        for line in (
            '{"event": "ready"}',
            '{"event": "start", "program": "prog", "phase": "plain"}',
            '{"event": "end", "program": "prog", "phase": "plain", "status": 0, "wrong": []}',
            '{"event": "unloaded", "wrong": ["leaked: unreferenced object"]}',
            '{"event": "done"}',
        ):
            guest.event(json.loads(line))
    return report.counts["passed"], report.counts["failed"], guest.todo


def suspect(point):
    """The name that a program's results have after the contract ran, which had one test point."""
    guest = runner.Guest(runner.Report(), runner.Kernel("6.1"), [], module="x")
    program = {"phase": "plain", "program": "contract"}
    with contextlib.redirect_stdout(io.StringIO()):
        guest.event({"event": "start", **program})
        guest.tap.feed("1..1")
        guest.tap.feed(point)
        guest.event({"event": "end", "status": 0, "wrong": [], **program})
    return guest.group("plain", "swap")


def judged(text, status):
    report = runner.Report()
    with contextlib.redirect_stdout(io.StringIO()):
        tap = runner.Tap(report, "test")
        for line in text.splitlines():
            tap.feed(line)
        tap.end(status)
    return tuple(report.counts[verdict] for verdict in ("passed", "failed", "skipped"))


def total(passed, failed):
    report = runner.Report()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for _ in range(passed):
            report.result("passed", "g", "n")
        for _ in range(failed):
            report.result("failed", "g", "n")
        status = report.finish()
    return status, said.getvalue().splitlines()[-1]


def memory_free(files):
    """Of a machine with 8 KiB available, in a cgroup with these files."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in {"meminfo": "MemTotal: 9 kB\nMemAvailable: 8 kB\n", **files}.items():
            with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                file.write(content)
        return runner.memory_free(os.path.join(directory, "meminfo"), directory)


def settings(text):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "test.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"// SPDX-License-Identifier: GPL-2.0\n{text}\nint main(void);\n")
        try:
            program = runner.Program(path)
        except SystemExit:
            return None
    return program.seconds, program.phases, program.kernels


def commands():
    """What run_tap makes of real processes."""
    with tempfile.TemporaryDirectory() as directory:
        runner.LOGS = directory
        for name, command, seconds, expected in [
            ("a command that passes", "echo 1..1; echo ok 1", 10, (1, 0, 0)),
            ("a command that hangs", "echo 1..1; sleep 60", 1, (0, 1, 0)),
            ("a command that is killed", "echo 1..1; echo ok 1; kill -9 $$", 10, (1, 1, 0)),
            ("a child that keeps the pipe open", "echo 1..1; echo ok 1; sleep 60 & exit 0", 20, (1, 0, 0)),
            ("a last line without its end", "echo 1..1; printf 'ok 1'", 10, (1, 0, 0)),
        ]:
            report = runner.Report()
            with contextlib.redirect_stdout(io.StringIO()):
                runner.run_tap(report, "test", ["sh", "-c", command], seconds)
            got = tuple(report.counts[verdict] for verdict in ("passed", "failed", "skipped"))
            yield name, got, expected
        report = runner.Report()
        with contextlib.redirect_stdout(io.StringIO()):
            runner.run_tap(report, "test", ["/nowhere/program"], 1)
        yield "a command that is missing", report.counts["failed"], 1


def main():
    cases = [(name, judged(text, status), expected) for name, text, status, expected in STREAMS]
    for (passed, failed), expected in TOTALS:
        line = f"{passed} passed, {failed} failed"
        cases.append((f"exit status and last line of {line}", total(passed, failed), (expected, line)))
    cases += [(f"settings: {text}", settings(text), expected) for text, expected in SETTINGS]
    cases += list(commands())
    cases += [(f"{place[0]} runs what says kernels={kernels}", runs(kernels, place), expected)
              for kernels, place, expected in PLACES]
    cases += [(f"kernel log: {name}", complaints(lines), expected) for name, lines, expected in LOGS]
    cases += [(f"ranges of {missed} in {code}", coverage.ranges(missed, code), expected)
              for missed, code, expected in RANGES]
    cases += [(f"memory free with {files}", memory_free(files), expected) for files, expected in MEMORY]
    cases.append(("counts of two boots are added", lines_added(), {"module/a.c": {1: 3, 2: 0}}))
    cases.append(("a leak after the last program counts", guest_events(), (2, 1, [])))
    runner.TESTS = []
    cases.append(("the contract comes first", [program.name for program in runner.programs()][:1], ["contract"]))
    cases.append(("a kernel that keeps it", suspect("ok 1 a"), "6.1 plain swap"))
    cases.append(("a kernel that breaks it is suspect", suspect("not ok 1 a"), "6.1 (suspect) plain swap"))
    print("TAP version 13")
    print(f"1..{len(cases)}")
    failed = 0
    for number, (name, got, expected) in enumerate(cases, 1):
        if got != expected:
            failed += 1
            print(f"# got {got}, expected {expected}")
        print(f"{'ok' if got == expected else 'not ok'} {number} {name.replace('#', '')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
