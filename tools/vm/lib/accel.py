# SPDX-License-Identifier: GPL-2.0
"""Owns the choice between hardware virtualisation (KVM) and software emulation (TCG). decide() is a pure
function of the facts, tested by a table of cases; look() collects the facts. Must never start a guest, and
must never choose KVM merely because /dev/kvm exists: some machines have one that runs no stock kernel."""

import collections
import fcntl
import os
import platform

import status

Facts = collections.namedtuple("Facts", "machine device flags probe")
# machine  what uname -m says
# device   of /dev/kvm: "absent", "denied" (cannot be opened for reading and writing) or "open"
# flags    the host CPU's flags, a set of words
# probe    whether KVM made an empty virtual machine: True, False, or None when not tried

CHOICES = ("auto", "kvm", "tcg")


def decide(want, icount, facts):
    """(accelerator, reason) for a wish among CHOICES; ValueError when the wish cannot be granted."""
    if want not in CHOICES:
        raise ValueError(f"unknown accelerator {want!r}: choose among {', '.join(CHOICES)}")
    if icount and want == "kvm":
        raise ValueError("counting instructions needs tcg, not kvm")
    if icount:
        return "tcg", "instructions are counted"
    if want != "auto":
        return want, "as asked"
    if facts.machine != "x86_64":
        return "tcg", f"the host is {facts.machine}"
    if facts.device == "absent":
        return "tcg", "no /dev/kvm"
    if facts.device == "denied":
        return "tcg", "/dev/kvm may not be opened"
    if not facts.flags & {"vmx", "svm"}:
        return "tcg", "/dev/kvm is there but the CPU has neither vmx nor svm"
    if not facts.probe:
        return "tcg", "/dev/kvm makes no virtual machine"
    return "kvm", "/dev/kvm works and the CPU has " + " ".join(sorted(facts.flags & {"vmx", "svm"}))


def look(path="/dev/kvm", cpuinfo="/proc/cpuinfo"):
    """The facts of this machine."""
    flags = set()
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    flags = set(line.partition(":")[2].split())
                    break
    except OSError:
        pass
    if not os.path.exists(path):
        return Facts(platform.machine(), "absent", flags, None)
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return Facts(platform.machine(), "denied", flags, None)
    try:
        machine = fcntl.ioctl(device, 0xAE01, 0) if fcntl.ioctl(device, 0xAE00, 0) == 12 else -1
        # KVM_CREATE_VM if KVM_GET_API_VERSION is the one that all of QEMU's speak
        probe = machine >= 0
        if probe:
            os.close(machine)
    except OSError:
        probe = False
    finally:
        os.close(device)
    return Facts(platform.machine(), "open", flags, probe)


def choose(want, icount):
    """decide() on this machine, a wish that cannot be granted being a usage failure."""
    try:
        return decide(want, icount, look())
    except ValueError as error:
        raise status.Failure(status.USAGE, str(error)) from None
