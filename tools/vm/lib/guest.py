# SPDX-License-Identifier: GPL-2.0
"""Owns the command line of tools/vm/guest and the order of a run: options, packages, kernel, module, machine, result.
Must never decide what a log line means, how QEMU is told something, or what the host can do: console.py, machine.py,
accel.py and host.py do."""

import hashlib
import os
import platform
import re
import secrets
import sys
import time
import types

import accel
import host
import images
import initramfs
import machine
import run
import status

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))

HELP = """usage: guest [OPTION]... -- COMMAND [ARG...]

Boots a kernel in a throw-away virtual machine, loads vmlab, runs COMMAND as root in the present directory with the
host's root file system visible, and exits with COMMAND's own status. Whatever COMMAND writes to files is thrown away,
except below --share. Its stdout and stderr come out live; its stdin is /dev/null.

  --kernel NAME      a series (6.1, 6.12: what Debian's metapackages name now), a release, or a directory with a built
                     kernel; default: the newest series. Images are unpacked into ~/.cache/vmlab, not installed
  --cpus N           default 2
  --memory SIZE      default 2G; a bare number means MiB
  --nodes N          N NUMA nodes with equal parts of the CPUs and the memory
  --node cpus=N,memory=SIZE[,distance=A:B:..]
                     one NUMA node, again for each (instead of --cpus, --memory, --nodes); 0 CPUs or 0 memory is
                     allowed; defaults cpus=1, memory=512M; distances to every node in order, 10 to itself.
                     Linux numbers the nodes that have CPUs first, so put those first
  --disk SIZE        a virtio disk, empty and thrown away: /dev/vda, the next one /dev/vdb, ...
  --module "PARAMS"  load vmlab with these parameters (default: none)
  --no-module        neither build nor load vmlab
  --append "WORDS"   more kernel parameters; panic_on_warn=0 among them makes a WARN no failure
  --icount           one CPU whose clock counts instructions: for repeatable measurements, slow
  --timeout SECONDS  for COMMAND, default 600
  --share DIR        DIR is the host's own, read-write, at the same path (again for more directories). The guest caches
                     it: what the host changes there meanwhile may go unseen, what the guest writes arrives within
                     seconds, and all of it before the guest ends. Without it no file of the host is ever written
  --accel auto|kvm|tcg
                     hardware virtualisation or emulation; auto, the default, takes KVM only where it can work
  --install          install missing packages (as root), after listing them
  --qemu "WORDS"     more words for QEMU itself (again for more)
  --quiet            do not tell the kernel and accelerator chosen

Environment: VMLAB_KO=FILE loads that module instead of building one; VMLAB_GUEST_CONSOLE=FILE keeps the kernel's
console; VMLAB_ACCEL and VMLAB_INSTALL=1 are as the options. COMMAND gets PATH, HOME, TERM, LANG, LC_*, TZ, SEED,
SECONDS and all that begins with VMLAB_ or KSFT; VMLAB_IN_GUEST=1; VMLAB_KO, where the module can be found inside. No
udev runs inside; /lib/modules is complete, so modprobe works.

Exit statuses: COMMAND's own, or with a last line "guest: ..." on stderr:
"""

PASS = re.compile(r"(PATH|HOME|TERM|LANG|LC_\w+|TZ|SEED|SECONDS|VMLAB_\w+|KSFT\w*)$")


def help_text():
    """HELP and the statuses."""
    lines = [f"  {number}  {text}" for number, text in sorted(status.NAMES.items())]
    return HELP + "\n".join(lines) + "\n  129, 130, 143  ended by SIGHUP, SIGINT, SIGTERM"


def parse(words):
    """The options, or status.Failure."""
    options = types.SimpleNamespace(
        kernel=images.NEWEST, cpus=None, memory=None, nodes=None, node=[], disk=[], module=None, no_module=False,
        append=[], icount=False, timeout="600", share=[], accel=os.environ.get("VMLAB_ACCEL") or "auto",
        install=os.environ.get("VMLAB_INSTALL") == "1", qemu=[], quiet=False, help=False)
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        key = name[2:].replace("-", "_")
        if word in ("-h", "--help"):
            options.help = True
            return options
        if not name.startswith("--") or not hasattr(options, key) or key == "help":
            raise ValueError(f"unknown option {word!r}" + ("" if word.startswith("-") else " (write -- before the command)"))
        present = getattr(options, key)
        if isinstance(present, bool):
            if equals:
                raise ValueError(f"{name} takes no value")
            setattr(options, key, True)
            continue
        if not equals:
            if not words:
                raise ValueError(f"{name} needs a value")
            value = words.pop(0)
        if isinstance(present, list):
            present.append(value)
        else:
            setattr(options, key, value)
    options.command = words
    if not words or not words[0]:
        raise ValueError("no command: guest [OPTION]... -- COMMAND [ARG...]")
    return options


def checked(options):
    """The options with numbers for text."""
    if options.module is not None and options.no_module:
        raise ValueError("--module and --no-module exclude each other")
    if options.node and (options.nodes or options.cpus or options.memory):
        raise ValueError("--node says all about CPUs and memory: leave out --nodes, --cpus and --memory")
    try:
        options.timeout = float(options.timeout)
    except ValueError:
        options.timeout = 0
    if not 0 < options.timeout < 1e7:
        raise ValueError("--timeout must be a number of seconds")
    options.disks = [machine.size(text) for text in options.disk]
    if any(not size or size % 512 for size in options.disks) or len(options.disks) > 16:
        raise ValueError("at most 16 disks, each of whole sectors")
    cpus = machine.number(options.cpus or ("1" if options.icount else "2"), 1, "--cpus")
    memory = machine.size(options.memory or "2G")
    nodes = None
    if options.node:
        nodes = [machine.parse_node(text) for text in options.node]
    elif options.nodes:
        nodes = machine.even_nodes(machine.number(options.nodes, 1, "--nodes"), cpus, memory)
    if nodes:
        machine.check_nodes(nodes)
        cpus, memory = sum(node.cpus for node in nodes), sum(node.memory for node in nodes)
    if options.icount and cpus != 1:
        raise ValueError("--icount works with one CPU only")
    if memory < 128 << 20:
        raise ValueError("a guest needs 128M of memory at least")
    if cpus > 255:
        raise ValueError("at most 255 CPUs")
    options.cpu_count, options.memory_bytes, options.node_list = cpus, memory, nodes
    options.shares = []
    for path in options.share:
        if not os.path.isdir(path):
            raise ValueError(f"--share: {path} is no directory")
        options.shares.append(os.path.realpath(path))
    if options.accel not in accel.CHOICES:
        raise ValueError(f"--accel is one of {', '.join(accel.CHOICES)}")
    return options


def needed(options, kernel):
    """{package: program} for this run, `kernel` being None until it is known."""
    if kernel is None:
        return {"qemu-system-x86": "qemu-system-x86_64", "busybox-static": "busybox", "kmod": "depmod"}
    tools = {}
    if not options.no_module and not os.environ.get("VMLAB_KO"):
        tools = {"make": "make", "gcc": "gcc"}
        if not kernel.tree:
            tools[f"linux-headers-{kernel.release}"] = f"/usr/src/linux-headers-{kernel.release}/Makefile"
    return tools


def build_module(kernel):
    """vmlab.ko's bytes for this kernel, made up to date first."""
    path = os.environ.get("VMLAB_KO")
    if not path:
        path = os.path.join(REPOSITORY, "build", kernel.release, "vmlab.ko")
        which = f"KDIR={kernel.tree}" if kernel.tree else f"KVER={kernel.release}"
        drop = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS", "KVER", "KDIR", "M", "O", "W")
        environment = {name: value for name, value in os.environ.items() if name not in drop}
        key = hashlib.sha256(f"{REPOSITORY} {kernel.release}".encode()).hexdigest()[:16]
        with host.lock(f"build-{key}"):
            code, text = host.run(["make", "-C", REPOSITORY, "--no-print-directory", which], env=environment)
            if code:
                sys.stderr.write(text)
                raise status.Failure(status.MODULE, f"vmlab did not build: make -C {REPOSITORY} {which} "
                                                    f"ended with {code}")
            return read_module(path)
    return read_module(path)


def read_module(path):
    """A file's bytes."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise status.Failure(status.MODULE, f"no module: {error}") from None


def present_directory():
    """The caller's directory, by the name it used."""
    logical = os.environ.get("PWD", "")
    try:
        if os.path.isabs(logical) and os.path.samefile(logical, "."):
            return logical
        return os.getcwd()
    except OSError as error:
        raise status.Failure(status.USAGE, f"the present directory is gone: {error}") from None


def command_environment(module):
    """What the command inside finds in its environment."""
    values = {name: value for name, value in os.environ.items() if PASS.match(name)}
    path = values.get("PATH", "").split(":")
    values["PATH"] = ":".join(dict.fromkeys([*filter(None, path), "/usr/local/sbin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]))
    values.setdefault("HOME", "/root")
    values.update(USER="root", LOGNAME="root", VMLAB_IN_GUEST="1")
    if module is not None:
        values["VMLAB_KO"] = "/run/vmlab/vmlab.ko"
    return values


def covered(paths):
    """Those of the paths that the guest's own /run, /dev, /proc and /sys would hide."""
    real = [os.path.realpath(path) for path in paths]
    return sorted({path for path in real if re.match(r"/(run|dev)/.", path)})


def go(options):
    """Run the guest; returns the command's status."""
    host.need(needed(options, None), options.install)
    kernel = images.find(options.kernel)
    host.need(needed(options, kernel), options.install)
    module = None if options.no_module else build_module(kernel)
    chosen, why = accel.choose(options.accel, options.icount)
    directory = present_directory()
    if not options.quiet:
        plural = "" if options.cpu_count == 1 else "s"
        host.say(f"{kernel.release}, {options.cpu_count} CPU{plural}, {options.memory_bytes >> 20} MiB, "
                 f"{chosen} ({why})")

    mark = secrets.token_hex(16)
    keep = covered([directory, REPOSITORY, kernel.modules])
    clock = 1767225600 if options.icount else int(time.time())  # counting starts on 2026-01-01
    values = {"mark": mark, "clock": clock, "release": kernel.release, "modules": os.path.realpath(kernel.modules),
              "depends": " ".join(initramfs.module_depends(module)) if module is not None else "",
              "parameters": options.module or "", "keep_count": len(keep), "share_count": len(options.shares)}
    values.update({f"keep_{i}": path for i, path in enumerate(keep)})
    values.update({f"share_{i}": path for i, path in enumerate(options.shares)})
    # The kernel wants each archive at a multiple of four bytes; both end at a multiple of 512.
    first_files = initramfs.base(kernel) + initramfs.for_run(values, command_environment(module), directory,
                                                             options.command, module)
    descriptors = [run.unlinked_file(run.room(len(first_files)), content=first_files)]
    place = run.room(sum(options.disks))
    descriptors += [run.unlinked_file(place, length=size) for size in options.disks]
    paths = [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]

    append = " ".join(filter(None, [kernel.parameters, *options.append]))
    guest = run.Guest(os.environ.get("VMLAB_GUEST_CONSOLE"))
    try:
        guest.start(lambda ports: machine.words_for(types.SimpleNamespace(
            accel=chosen, icount=options.icount, nodes=options.node_list, cpus=options.cpu_count,
            memory=options.memory_bytes, kernel=kernel.vmlinux, initrd=paths[0], disks=paths[1:], ports=ports,
            parameters=machine.kernel_parameters(options.icount, append), shares=options.shares,
            more=" ".join(options.qemu).split(),
            root_owner=os.geteuid() == 0)), mark.encode(), descriptors)
        result = guest.wait(options.timeout)
    finally:
        host.ignore_signals()
        guest.end()
    report = guest.log.report
    warn_allowed = re.search(r"(^| )panic_on_warn=0( |$)", append) and guest.log.only_warns
    if report and not (warn_allowed and report[0] == status.WARN):
        raise run.failure(report[0], f"{status.SHORT[report[0]]} in the kernel, although the command "
                                     f"ended with {result}: {guest.log.report_line()}", guest.log.report_text())
    return result


def main():
    """The exit status."""
    try:
        try:
            options = parse(sys.argv[1:])
            if options.help:
                print(help_text())
                return 0
            options = checked(options)
        except ValueError as error:
            raise status.Failure(status.USAGE, f"{error} (guest --help)") from None
        if platform.machine() != "x86_64" and options.accel == "kvm":
            raise status.Failure(status.USAGE, "kvm needs an x86-64 host")
        host.catch_signals()
        return go(options)
    except status.Failure as failure:
        for line in getattr(failure, "details", ()):
            sys.stderr.write(f"  | {line}\n")
        host.say(failure.text)
        return failure.status
    except host.Interrupted as interrupted:
        host.say(f"ended by {interrupted}")
        return 128 + interrupted.number
    finally:
        host.ignore_signals()
        host.stop_all()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # reader threads may be waiting in a read that never ends
