# SPDX-License-Identifier: GPL-2.0
"""Owns what the commands in tools/vm do to the host: running other programs so that they die with us, the
cache directory, locks, and the check for missing packages. Must never install a package unless that was
asked for and the list was printed first, and must never write outside the cache and the temporary files."""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import status

os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin:/usr/bin:/bin"

_children = set()
_libc = ctypes.CDLL(None, use_errno=True)


class Interrupted(Exception):
    """A signal asked us to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def say(text):
    """One line of ours on stderr; the streams of the guest's command stay its own."""
    sys.stderr.write(f"{os.path.basename(sys.argv[0]).removesuffix('.py')}: {text}\n")
    sys.stderr.flush()


def catch_signals():
    """SIGINT, SIGTERM and SIGHUP become an exception in the main thread, so that `finally` cleans up."""

    def handler(number, _frame):
        ignore_signals()
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, handler)


def ignore_signals():
    """From here on cleaning up is not to be interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(argv, **options):
    """Popen in a session of its own (a terminal's Ctrl-C reaches only us), killed by the kernel if we die."""
    process = subprocess.Popen(argv, start_new_session=True, preexec_fn=_die_with_parent, **options)
    _children.add(process)
    return process


def stop(process):
    """Kill a child and everything that it started, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    _children.discard(process)


def stop_all():
    """Kill every child that is still there."""
    for process in list(_children):
        stop(process)


def run(argv, **options):
    """Run to the end with stdout and stderr in one text; returns (status, text)."""
    process = start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True, errors="replace", **options)
    try:
        text = process.communicate()[0]
    finally:
        stop(process)
    return process.returncode, text


def cache(*parts):
    """A path below the cache directory; its parent is made."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = os.path.join(os.path.abspath(base), "vmlab", *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


@contextlib.contextmanager
def lock(name):
    """Only one process at a time between here and the end of the block, whoever dies in it."""
    with open(cache("locks", name), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path, data):
    """`path` appears whole or not at all."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def static_busybox():
    """The path of a busybox that runs without libraries, or None."""
    for path in ("/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        table = int.from_bytes(data[32:40], "little")
        size, count = int.from_bytes(data[54:56], "little"), int.from_bytes(data[56:58], "little")
        kinds = {int.from_bytes(data[table + i * size:table + i * size + 4], "little") for i in range(count)}
        if data[:4] == b"\x7fELF" and 3 not in kinds:  # PT_INTERP
            return path
    return None


def missing(tools):
    """The packages, sorted, that `tools` ({package: program or path}) finds absent."""
    absent = []
    for package, program in tools.items():
        if package == "busybox-static":
            found = static_busybox()
        elif program.startswith("/"):
            found = os.path.exists(program)
        else:
            found = shutil.which(program)
        if not found:
            absent.append(package)
    return sorted(absent)


def need(tools, install):
    """Fails with status.PACKAGES, or installs after printing the list, unless nothing is missing."""
    absent = missing(tools)
    if not absent:
        return
    command = "apt-get install --no-install-recommends " + " ".join(absent)
    if not install or os.geteuid() != 0:
        why = " (--install works only for root)" if install else " (--install does it)"
        raise status.Failure(status.PACKAGES, f"missing packages: {' '.join(absent)}; {command}{why}")
    install_packages(absent)
    absent = missing(tools)
    if absent:
        raise status.Failure(status.PACKAGES, f"still missing after installing: {' '.join(absent)}")


def install_packages(packages):
    """Print what apt-get would install, then install it."""
    options = ["-o", "DPkg::Lock::Timeout=600", "--no-install-recommends", "-y", "-q"]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    code, text = run(["apt-get", *options, "-s", "install", *packages], env=environment)
    if code:
        run(["apt-get", "-q", "update"], env=environment)
        code, text = run(["apt-get", *options, "-s", "install", *packages], env=environment)
    new = [line.split()[1] for line in text.splitlines() if line.startswith("Inst ")]
    say("installs: " + " ".join(new or packages))
    code, text = run(["apt-get", *options, "install", *packages], env=environment)
    if code:
        sys.stderr.write(text)
        raise status.Failure(status.PACKAGES, f"apt-get could not install {' '.join(packages)}")
