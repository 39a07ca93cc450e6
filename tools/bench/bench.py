# SPDX-License-Identifier: GPL-2.0
"""Owns how the benchmark's guests are run and what their lines mean: builds, starts a guest, collects rounds, and makes medians
and spreads of them. Shared by run and compare. Must never judge a figure, and must never let a guest's failure pass."""

import collections
import os
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
OUT = f"{TOP}/build/bench"
SETTLE = 10  # seconds of the guest's clock before the first round


class Failed(Exception):
    """Something that had to work did not."""


class Progress:
    """Says where a long run is: one line for each row that begins."""

    def __init__(self):
        self.begin = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self.begin:5.0f} s] {text}", file=sys.stderr, flush=True)


Round = collections.namedtuple("Round", "ops ns counts")


class Rounds:
    """What the guests printed: row, side -> rounds in order. The first round of each guest is thrown away."""

    def __init__(self):
        self.rounds = collections.defaultdict(list)

    def add(self, words):
        """The words of a line `round NAME SIDE NUMBER OPS NS COUNT=VALUE...`."""
        name, side, number, ops, ns = words[1:6]
        counts = {key: float(value) for key, value in (word.split("=") for word in words[6:])}
        if int(number):
            self.rounds[name, side].append(Round(int(ops), int(ns), counts))

    def names(self):
        """The rows in the order of their first line."""
        return list(dict.fromkeys(name for name, _ in self.rounds))

    def of(self, name, side):
        return self.rounds.get((name, side), [])

    def per_op(self, name, side):
        """Nanoseconds, or instructions, per operation in each round."""
        return [entry.ns / entry.ops for entry in self.of(name, side)]

    def median(self, name, side):
        values = self.per_op(name, side)
        return statistics.median(values) if values else None

    def least(self, name, side):
        return min(self.per_op(name, side), default=None)

    def spread(self, name, side):
        """From the least to the greatest, as a share of the median."""
        values = self.per_op(name, side)
        return (max(values) - min(values)) / statistics.median(values) if values else None

    def count(self, name, side, count):
        """The median of what was counted in each round."""
        values = [entry.counts[count] for entry in self.of(name, side) if count in entry.counts]
        return statistics.median(values) if values else None

    def ratios(self, name):
        """vmlab's time divided by Linux's, pair by pair."""
        return [a / b for a, b in zip(self.per_op(name, "vmlab"), self.per_op(name, "linux"))]


def build(kernel):
    """Build all for a kernel; returns its release."""
    result = subprocess.run([f"{TOP}/tools/bench/build", kernel], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            check=False)
    if result.returncode:
        sys.stderr.write(result.stderr)
        raise Failed(f"tools/bench/build {kernel} ended with {result.returncode}")
    return result.stdout.split()[-1]


def guest(rounds, progress, label, kernel, release, words, icount, module=None, append="", disks=0):
    """Run the program with `words` in one guest, and add what it prints to `rounds`."""
    environment = dict(os.environ, VMLAB_BENCH_LIMIT=f"{OUT}/{release}/limit.ko", VMLAB_KO=module or f"{TOP}/build/{release}/vmlab.ko")
    command = [f"{TOP}/tools/vm/guest", "--quiet", "--kernel", kernel, "--memory", "2048M", "--module", "pool_mb=256",
               "--timeout", "3000"]
    command += ["--icount"] if icount else ["--cpus", "2"]
    command += ["--append", append] if append else []
    command += ["--disk", "160M"] * disks
    command += ["--", f"{OUT}/bench", "--settle", str(SETTLE), *(["--icount"] if icount else []), *words]
    progress.say(f"{label}: a guest")
    row, log = None, []
    with subprocess.Popen(command, cwd=TOP, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            log.append(line)
            fields = line.split()
            if fields[:1] != ["round"]:
                continue
            rounds.add(fields)
            if fields[1] != row:
                row = fields[1]
                progress.say(f"{label}: {row}")
    if process.returncode:
        sys.stderr.writelines(log[-5:])
        raise Failed(f"{label}: the guest ended with {process.returncode}")


def rows_with(word):
    """The names of the rows that `bench --list` marks with a word."""
    text = subprocess.run([f"{OUT}/bench", "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.split()[0] for line in text.splitlines() if word in line.split()[2:]]
