#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Owns the host-side tests of the guest harness: tables of cases for its pure parts (which accelerator, sizes and NUMA
nodes, what a kernel log means). Must never start a guest or need one; prints TAP and takes a second."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../tools/vm/lib"))

import accel  # noqa: E402
import console  # noqa: E402
import machine  # noqa: E402
import status  # noqa: E402

results = []


def check(name, expected, function, *arguments):
    """One case: the value, or the exception's class, that a call gives."""
    try:
        got = function(*arguments)
    except ValueError as error:
        got = type(error)
    good = got == expected
    results.append(good)
    print(f"{'ok' if good else 'not ok'} {len(results)} - {name}")
    if not good:
        print(f"# expected {expected!r}\n# got      {got!r}")


def accelerator(want, icount, machine_name, device, flags, probe):
    """Only the choice, not its reason."""
    return accel.decide(want, icount, accel.Facts(machine_name, device, set(flags.split()), probe))[0]


REFUSED = ValueError
ACCELERATOR = (
    # name                                           expected want    icount machine   device    flags      probe
    ("no /dev/kvm",                                  "tcg",   "auto", False, "x86_64", "absent", "vmx",     None),
    ("/dev/kvm of another group",                    "tcg",   "auto", False, "x86_64", "denied", "vmx",     None),
    ("Intel with a working /dev/kvm",                "kvm",   "auto", False, "x86_64", "open",   "fpu vmx", True),
    ("AMD with a working /dev/kvm",                  "kvm",   "auto", False, "x86_64", "open",   "fpu svm", True),
    ("a /dev/kvm without vmx or svm",                "tcg",   "auto", False, "x86_64", "open",   "fpu sse", True),
    ("flags that merely contain the letters",        "tcg",   "auto", False, "x86_64", "open",   "vmx_x svmx", True),
    ("a /dev/kvm that makes no machine",             "tcg",   "auto", False, "x86_64", "open",   "vmx",     False),
    ("a /dev/kvm never probed",                      "tcg",   "auto", False, "x86_64", "open",   "vmx",     None),
    ("an arm64 host with KVM",                       "tcg",   "auto", False, "aarch64", "open",  "",        True),
    ("counting instructions",                        "tcg",   "auto", True,  "x86_64", "open",   "vmx",     True),
    ("counting instructions, kvm asked",             REFUSED, "kvm",  True,  "x86_64", "open",   "vmx",     True),
    ("tcg asked where kvm works",                    "tcg",   "tcg",  False, "x86_64", "open",   "vmx",     True),
    ("kvm asked where it looks hopeless",            "kvm",   "kvm",  False, "x86_64", "open",   "",        True),
    ("kvm asked without a device",                   "kvm",   "kvm",  False, "x86_64", "absent", "",        None),
    ("an unknown wish",                              REFUSED, "hvf",  False, "x86_64", "open",   "vmx",     True),
)
for case in ACCELERATOR:
    check(f"accelerator: {case[0]}", case[1], accelerator, *case[2:])
check("accelerator: this machine's facts give some choice", True,
      lambda: accel.decide("auto", False, accel.look())[0] in ("kvm", "tcg"))

for text, expected in (("2G", 2 << 30), ("512M", 512 << 20), ("64", 64 << 20), ("4096k", 4 << 20), ("1GiB", 1 << 30),
                       ("0", 0), ("", REFUSED), ("-1G", REFUSED), ("1.5G", REFUSED), ("2X", REFUSED)):
    check(f"size: {text!r}", expected, machine.size, text)

NODES = (
    ("cpus=2,memory=1G", machine.Node(2, 1 << 30)),
    ("cpus=0,memory=1G,distance=20:10", machine.Node(0, 1 << 30, [20, 10])),
    ("memory=0", machine.Node(1, 0)),
    ("cpus=x", REFUSED),
    ("cpus", REFUSED),
    ("colour=red", REFUSED),
    ("distance=9", REFUSED),
    ("distance=10:256", REFUSED),
)
for text, expected in NODES:
    check(f"node: {text}", expected, machine.parse_node, text)

G = 1 << 30
CHECKS = (
    ("two plain ones", None, [machine.Node(1, G), machine.Node(1, G)]),
    ("one without CPUs, one without memory", None, [machine.Node(2, G), machine.Node(0, G), machine.Node(1, 0)]),
    ("one with neither", REFUSED, [machine.Node(1, G), machine.Node(0, 0)]),
    ("no CPU at all", REFUSED, [machine.Node(0, G)]),
    ("no memory at all", REFUSED, [machine.Node(1, 0)]),
    ("a distance short", REFUSED, [machine.Node(1, G, [10]), machine.Node(1, G)]),
    ("not 10 to itself", REFUSED, [machine.Node(1, G, [11, 20]), machine.Node(1, G)]),
    ("10 to another", REFUSED, [machine.Node(1, G, [10, 10]), machine.Node(1, G)]),
)
for name, expected, nodes in CHECKS:
    check(f"nodes: {name}", expected, machine.check_nodes, nodes)
check("nodes: three CPUs dealt to two nodes", [machine.Node(2, G), machine.Node(1, G)], machine.even_nodes, 2, 3, 2 * G)
check("nodes: equal CPUs share sockets", "4,sockets=2,cores=2,threads=1",
      lambda: machine.numa_words([machine.Node(2, G), machine.Node(2, G)])[1])
check("nodes: unequal CPUs have a socket each", "3,sockets=3,cores=1,threads=1",
      lambda: machine.numa_words([machine.Node(2, G), machine.Node(1, G)])[1])

LINES = (
    ("[    2.0] WARNING: CPU: 0 PID: 183 at mm/memory.c:3 i+0x37/0xff0 [t]", status.WARN),
    ("[    2.0] Kernel panic - not syncing: kernel: panic_on_warn set ...", status.WARN),
    ("[    2.0] BUG: KASAN: slab-use-after-free in vmlab_fault+0x12/0x40 [vmlab]", status.WARN),
    ("[    2.0] UBSAN: shift-out-of-bounds in fs/x.c:1:2", status.WARN),
    ("[    2.0] WARNING: possible recursive locking detected", status.WARN),
    ("[    2.0] WARNING: possible circular locking dependency detected", status.WARN),
    ("[    2.0] BUG: sleeping function called from invalid context at mm/x.c:1", status.WARN),
    ("[    2.0] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)", status.WARN),
    ("[    2.0] BUG: kernel NULL pointer dereference, address: 0000000000000000", status.OOPS),
    ("[    2.0] Oops: general protection fault, probably for non-canonical address", status.OOPS),
    ("[    2.0] kernel BUG at /x/t.c:3!", status.OOPS),
    ("[    2.0] Kernel panic - not syncing: Fatal exception", status.OOPS),
    ("[    2.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]", status.LOCKUP),
    ("[    2.0] INFO: task dd:193 blocked for more than 30 seconds.", status.LOCKUP),
    ("[    2.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", status.LOCKUP),
    ("[    2.0] rcu: INFO: rcu_sched self-detected stall on CPU", status.LOCKUP),
    ("[    2.0] Kernel panic - not syncing: hung_task: blocked tasks", status.LOCKUP),
    ("[    2.0] t: module verification failed: signature and/or required key missing - tainting kernel", None),
    ("[    2.0] DEBUG: nothing", None),
    ("[    2.0] FAULT_INJECTION: forcing a failure.", None),
    ("[    2.0] Kernel command line: console=ttyS0 panic_on_warn=1 softlockup_panic=1 oops=panic", None),
    ("[    2.0] Freeing unused kernel image (text/rodata gap) memory: 2036K", None),
)
for line, expected in LINES:
    check(f"log: {line[12:60]}", expected, console.kind_of, line)


def fed(*pieces):
    """The first report's line of a log fed in pieces."""
    log = console.Log()
    news = [log.feed(piece) for piece in pieces]
    return news, log.report_line()


check("log: a report cut in two pieces is seen once", ([False, True, False], "kernel BUG at x.c:1!"),
      fed, b"[ 1.0] fine\r\n[ 2.0] kernel BU", b"G at x.c:1!\r\n", b"[ 2.1] Oops: 1\n")

print(f"1..{len(results)}")
sys.exit(0 if all(results) else 1)
