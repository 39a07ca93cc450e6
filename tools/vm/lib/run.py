# SPDX-License-Identifier: GPL-2.0
"""Owns one running guest: QEMU's process, its sockets, the streams, the time-outs, and the end. Everything that it
makes on the host is a descriptor (sockets, unlinked files) or a process that dies with ours, so that nothing can be
left behind. Must never write to stdout anything that the guest's command did not write."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time

import console
import host
import status

PORTS = ("console", "qmp", "control", "out", "err")
BOOT_SECONDS = 300
PANIC_SECONDS = 60  # what a kernel gets to print its last words


def unlinked_file(directory, length=0, content=None):
    """A descriptor of a file that has no name; its /proc path can be opened by a child that inherits it."""
    with tempfile.TemporaryFile(prefix="vmlab-", dir=directory) as file:
        if content is not None:
            file.write(content)
            file.flush()
        if length:
            file.truncate(length)
        return os.dup(file.fileno())


def room(need):
    """The directory for temporary data: memory (/dev/shm) when that much fits there with half of it to spare."""
    try:
        facts = os.statvfs("/dev/shm")
        free = facts.f_bavail * facts.f_frsize
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
        if os.access("/dev/shm", os.W_OK) and need * 3 // 2 < min(free, available):
            return "/dev/shm"
    except (OSError, StopIteration):
        pass
    return tempfile.gettempdir()


class Relay(threading.Thread):
    """Copies one stream of the command to a descriptor of ours, up to the run's mark."""

    def __init__(self, source, target, mark, events, name):
        super().__init__(daemon=True)
        self.source, self.target, self.mark, self.events, self.label = source, target, mark, events, name
        self.complete = False

    def run(self):
        held, broken = b"", False
        while not self.complete:
            try:
                data = self.source.recv(1 << 16)
            except OSError:
                data = b""
            held += data
            at = held.find(self.mark)
            if at >= 0:
                ready, self.complete = held[:at], True
            elif not data:
                ready = held
            else:
                keep = next((n for n in range(min(len(held), len(self.mark) - 1), 0, -1)
                             if self.mark.startswith(held[-n:])), 0)
                ready, held = held[:len(held) - keep], held[len(held) - keep:]
            while ready and not broken:
                try:
                    ready = ready[os.write(self.target, ready):]
                except BlockingIOError:
                    time.sleep(0.01)
                except OSError:
                    broken = True
                    self.events.put(("broken", self.label))
            if not data:
                break
        self.events.put(("stream", self.label))


class Guest:
    """One guest from start to end. `log` is its console; end() may be called at any moment."""

    def __init__(self, console_path):
        self.events = queue.Queue()
        self.log = console.Log()
        self.console_file = open(console_path, "wb", buffering=0) if console_path else None
        self.process = None
        self.ours = {}
        self.relays = []
        self.readers = []
        self.stage = "boot"  # boot, module, command, status
        self.result = None
        self.qmp_lock = threading.Lock()

    # --- start and end ---

    def start(self, make_words, mark, descriptors):
        """Start QEMU; make_words({port: descriptor}) gives its command line."""
        theirs = {}
        for name in PORTS:
            self.ours[name], theirs[name] = socket.socketpair()
        words = make_words({name: end.fileno() for name, end in theirs.items()})
        pass_fds = [end.fileno() for end in theirs.values()] + list(descriptors)
        self.process = host.start(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, pass_fds=pass_fds)
        for end in theirs.values():
            end.close()
        for name, target in (("out", 1), ("err", 2)):
            self.relays.append(Relay(self.ours[name], target, mark, self.events, name))
        for target in (self.read_console, self.read_control, self.read_qmp, self.read_qemu):
            self.readers.append(threading.Thread(target=target, daemon=True))
        for thread in self.relays + self.readers:
            thread.start()

    def end(self):
        """Kill QEMU; the console is read to its end."""
        if self.process:
            host.stop(self.process)
            self.readers[0].join(5)
        for end in self.ours.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if self.console_file:
            self.console_file.close()
            self.console_file = None

    # --- readers, one thread each ---

    def read_console(self):
        """The kernel's console into the log."""
        while True:
            try:
                data = self.ours["console"].recv(1 << 16)
            except OSError:
                break
            if not data:
                break
            if self.console_file:
                with contextlib.suppress(OSError):
                    self.console_file.write(data)
            if self.log.feed(data):
                self.events.put(("report", ""))

    def read_control(self):
        """What the guest's session tells."""
        with self.ours["control"].makefile("r", encoding="utf-8", errors="replace") as file:
            with contextlib.suppress(OSError):
                for line in file:
                    self.events.put(("control", line.strip()))

    def read_qmp(self):
        """QEMU's greetings, answers and events; all that matters is that they are taken."""
        with contextlib.suppress(OSError):
            while self.ours["qmp"].recv(1 << 16):
                pass

    def read_qemu(self):
        """What QEMU itself says, and its end."""
        self.qemu_text = self.process.stdout.read().decode(errors="replace").strip()
        self.process.wait()
        self.events.put(("exit", ""))

    # --- the main thread ---

    def next_event(self, deadline):
        """The next (kind, text), or ("late", "") at the deadline (None: never)."""
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return "late", ""
            try:
                return self.events.get(timeout=min(3600, left) if left is not None else 3600)
            except queue.Empty:
                continue

    def nmi(self):
        """A non-maskable interrupt for the guest: its kernel then prints every backtrace and panics."""
        with contextlib.suppress(OSError):
            for command in ("qmp_capabilities", "inject-nmi"):
                self.ours["qmp"].sendall(json.dumps({"execute": command}).encode() + b"\n")

    def wait_for_last_words(self, seconds=PANIC_SECONDS):
        """Until QEMU ends by itself, the guest's kernel having panicked."""
        deadline = time.monotonic() + seconds
        while True:
            kind, _ = self.next_event(deadline)
            if kind in ("exit", "late"):
                break
        self.readers[0].join(2)

    def wait(self, timeout):
        """Run to the end. Returns the command's status, or raises status.Failure. A Failure's `details`, if any, are
        the lines of the log to show."""
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            kind, text = self.next_event(deadline)
            if kind == "late":
                self.time_out(timeout)
            elif kind == "exit":
                self.readers[0].join(5)
                raise self.died()
            elif kind == "broken":
                raise host.Interrupted(signal.SIGPIPE)
            elif kind == "control":
                word, _, rest = text.partition(" ")
                if word == "module":
                    self.stage = "module"
                elif word == "command":
                    self.stage = "command"
                    deadline = time.monotonic() + timeout
                elif word == "module-failed":
                    self.stage = "module-failed"
                elif word == "status":
                    self.result = int(rest)
                    self.stage = "status" if self.stage != "module-failed" else self.stage
                    deadline = None
            if self.result is not None and all(relay.complete for relay in self.relays):
                break
        self.end()
        if self.stage == "module-failed":
            raise failure(status.MODULE, "vmlab did not load (insmod's words and the kernel's are above)")
        return self.result

    def time_out(self, timeout):
        """The deadline of the boot or of the command has passed."""
        mark = self.log.mark()
        stage = self.stage
        self.nmi()
        self.wait_for_last_words()
        self.end()
        lines = self.log.since(mark)
        if stage in ("boot", "module"):
            raise failure(status.BOOT, f"the guest was not up after {BOOT_SECONDS} s", lines)
        details = console.backtraces(lines)
        note = "" if details else "; the guest's kernel did not even answer a non-maskable interrupt"
        raise failure(status.TIMEOUT, f"time-out: the command ran longer than {timeout:g} s{note}", details)

    def died(self):
        """QEMU has ended without the status: why?"""
        where = {"boot": "while booting", "module": "while loading vmlab", "module-failed": "while loading vmlab"}
        place = where.get(self.stage, "while the command ran")
        if self.log.report:
            kind = self.log.report[0]
            if self.stage == "boot":
                kind = status.BOOT
            return failure(kind, f"{status.SHORT[self.log.report[0]]} in the kernel {place}: "
                                 f"{self.log.report_line()}", self.log.report_text())
        tail = self.log.lines[-30:]
        if self.stage == "boot":
            said = self.qemu_text.splitlines()[-1:] or [line for line in tail if "guest-init:" in line][-1:]
            return failure(status.BOOT, "the guest did not boot" + "".join(f": {line}" for line in said), tail)
        said = f": {self.qemu_text}" if self.qemu_text else ""
        return failure(status.LOST, f"the machine stopped {place} and gave no status{said}", tail)


def failure(kind, text, details=()):
    """A status.Failure with lines of the log to show before its last line."""
    made = status.Failure(kind, text)
    made.details = details
    return made
