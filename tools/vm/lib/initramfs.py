# SPDX-License-Identifier: GPL-2.0
"""Owns what the guest's kernel unpacks first: a base archive per kernel (busybox, and the modules that the host's
root file system needs), kept in the cache, and a small one per run (init, session, settings, command, vmlab.ko).
Must never contain anything of the host that the run did not ask for."""

import gzip
import hashlib
import lzma
import os
import shlex
import stat

import host
import images
import status

APPLETS = ("cat chmod cp cut date dd dmesg echo grep head hostname ifconfig insmod kill ln ls mkdir mkfifo mount mv "
           "poweroff printf rm sed setsid sh sleep sync sysctl switch_root tail touch tr umount").split()
WANTED = ("virtio_pci", "virtio_console", "virtio_blk", "9p", "9pnet_virtio", "overlay")


class Archive:
    """A cpio archive in the "newc" format."""

    def __init__(self):
        self.data = bytearray()
        self.count = 0

    def add(self, name, data=b"", mode=stat.S_IFREG | 0o644, device=(0, 0)):
        """One file, link, directory or device; the directories above it must have been added."""
        self.count += 1
        raw = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0)
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.data += bytes(-len(self.data) % 4) + data
        self.data += bytes(-len(self.data) % 4)

    def directory(self, name):
        """An empty directory."""
        self.add(name, mode=stat.S_IFDIR | 0o755)

    def finish(self):
        """The bytes."""
        self.add("TRAILER!!!", mode=0)
        self.data += bytes(-len(self.data) % 512)
        return bytes(self.data)


def boot_modules(kernel):
    """The files of WANTED and what they depend on, in the order of loading."""
    built_in, paths, needs = set(), {}, {}
    for name in ("modules.builtin", "modules.dep"):
        try:
            with open(os.path.join(kernel.modules, name), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            path, _, rest = line.partition(":")
            short = os.path.basename(path).split(".ko")[0].replace("-", "_")
            if name == "modules.builtin":
                built_in.add(short)
            else:
                paths[short] = path
                needs[short] = [os.path.basename(p).split(".ko")[0].replace("-", "_") for p in rest.split()]
    order = []

    def visit(name):
        if name in built_in or name in order or name not in paths:
            return
        for other in needs[name]:
            visit(other)
        order.append(name)

    for name in WANTED:
        visit(name)
    return [os.path.join(kernel.modules, paths[name]) for name in order]


def plain_module(path):
    """A module's bytes, decompressed."""
    with open(path, "rb") as file:
        data = file.read()
    for suffix, decompress in ((".xz", lzma.decompress), (".gz", gzip.decompress), (".zst", images.unzstd)):
        if path.endswith(suffix):
            return decompress(data)
    return data


def base(kernel):
    """The bytes of the base archive."""
    busybox = host.static_busybox()
    modules = boot_modules(kernel)
    key = hashlib.sha256(" ".join(APPLETS + list(WANTED)).encode())
    for path in [busybox, *modules]:
        facts = os.stat(path)
        key.update(f"{path} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    path = os.path.join(kernel.directory, f"base-{key.hexdigest()[:16]}.cpio")
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        pass
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "lower", "upper", "new", "over", "modules", "vmlab"):
        archive.directory(name)
    archive.add("dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1))
    with open(busybox, "rb") as file:
        archive.add("bin/busybox", file.read(), stat.S_IFREG | 0o755)
    for applet in APPLETS:
        archive.add(f"bin/{applet}", b"busybox", stat.S_IFLNK | 0o777)
    for number, module in enumerate(modules):
        archive.add(f"modules/{number:02}-{os.path.basename(module).split('.ko')[0]}.ko", plain_module(module))
    data = archive.finish()
    host.write_atomically(path, data)
    return data


def module_depends(module):
    """The names in a module's "depends=" line."""
    start = module.find(b"\0depends=")
    if start < 0:
        return []
    text = module[start + 9:module.index(b"\0", start + 9)].decode()
    return [name for name in text.split(",") if name]


def settings(values):
    """Shell assignments for init and session."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()).encode()


def command_script(environment, directory, command):
    """The shell script that becomes the guest's command."""
    lines = ["#!/bin/sh", "# Made by tools/vm/guest: the environment, the directory and the command of this run."]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    lines += [f"cd {shlex.quote(directory)} || exit 126", f"exec {shlex.join(command)}", ""]
    return "\n".join(lines).encode(errors="surrogateescape")


def for_run(values, environment, directory, command, module):
    """The bytes of the archive of one run; `module` is vmlab.ko's content or None."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    archive = Archive()
    try:
        for name in ("init", "session"):
            with open(os.path.join(here, "guestside", name), "rb") as file:
                archive.add("init" if name == "init" else "vmlab/session", file.read(), stat.S_IFREG | 0o755)
    except OSError as error:
        raise status.Failure(status.BOOT, f"part of the harness is missing: {error}") from None
    archive.add("vmlab/settings", settings(values))
    archive.add("vmlab/command", command_script(environment, directory, command))
    if module is not None:
        archive.add("vmlab/vmlab.ko", module)
    return archive.finish()
