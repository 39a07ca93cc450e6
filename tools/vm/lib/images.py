# SPDX-License-Identifier: GPL-2.0
"""Owns kernels: what a release or series name means today, fetching Debian's image packages and unpacking
them into the cache without installing them, taking the vmlinux out of a vmlinuz, and giving a built tree the
same shape. Must never install a kernel, and must never leave a half unpacked one where another run finds it."""

import bz2
import contextlib
import glob
import gzip
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import tempfile

import host
import status

SERIES = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
NEWEST = "6.12"


class Kernel:
    """A kernel that can be booted: `release`, `vmlinux` (the file for QEMU's -kernel), `modules` (the
    directory that the guest sees as /lib/modules/RELEASE), `directory` (a place for derived files),
    `tree` (the build tree, or None for a Debian kernel) and `parameters` (words for its command line that its tree
    asks for, in a file of that name)."""

    def __init__(self, release, vmlinux, modules, directory, tree=None, parameters=""):
        self.release = release
        self.vmlinux = vmlinux
        self.modules = modules
        self.directory = directory
        self.tree = tree
        self.parameters = parameters


def version_key(release):
    """Sorts releases as numbers, not as text."""
    return [int(number) for number in re.findall(r"\d+", release)]


# --- names ------------------------------------------------------------------------------------------------


class Archive:
    """Debian's archive through apt: with the machine's own package lists, or with lists of our own in the
    cache when those are absent or out of date, so that nothing of the machine changes."""

    def __init__(self):
        self.options = []

    def show(self, package, field):
        """One field of the candidate version of a package, or None."""
        code, text = host.run(["apt-cache", *self.options, "show", "--no-all-versions", package])
        match = re.search(rf"^{field}: (.*)$", text, re.MULTILINE)
        return match.group(1) if code == 0 and match else None

    def refresh(self):
        """Fetch package lists into the cache and use them from now on."""
        lists, archives = host.cache("apt", "lists", ""), host.cache("apt", "archives", "")
        self.options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={archives}",
                        "-o", "APT::Sandbox::User=root"]
        with host.lock("apt"):
            host.say("reads Debian's package lists")
            code, text = host.run(["apt-get", *self.options, "-q", "update"])
        if code:
            raise status.Failure(status.BOOT, "apt-get update failed: " + text.strip().splitlines()[-1])

    def download(self, package, directory):
        """The path of the downloaded .deb, or None."""
        command = ["apt-get", *self.options, "-o", "APT::Sandbox::User=root", "-q", "download", package]
        code, _ = host.run(command, cwd=directory)
        found = glob.glob(os.path.join(directory, "*.deb"))
        return found[0] if code == 0 and found else None


def newest_here(series):
    """The newest release of a series in the cache or installed on this machine, or None."""
    found = os.listdir(host.cache("kernels", "")) if os.path.isdir(host.cache("kernels")) else []
    found += [path.removeprefix("/boot/vmlinuz-") for path in glob.glob("/boot/vmlinuz-*")]
    found = [name for name in found if re.match(re.escape(series) + r"\.\d+[-+].*amd64$", name)]
    return max(found, key=version_key, default=None)


def resolve(name, archive):
    """The release that a series names today (a release names itself)."""
    if name not in SERIES:
        if not re.match(r"\d+\.\d+\.\d+[-+][\w.+~-]+$", name):
            known = ", ".join(SERIES)
            raise status.Failure(status.USAGE, f"no such kernel: {name!r} is neither a series ({known}), "
                                               "nor a release, nor a directory with a built kernel")
        return name
    for attempt in (0, 1):
        depends = archive.show(SERIES[name], "Depends")
        match = re.match(r"linux-image-(\S+)", depends or "")
        if match:
            return match.group(1)
        if attempt == 0:
            with contextlib.suppress(status.Failure):
                archive.refresh()
    here = newest_here(name)
    if not here:
        raise status.Failure(status.BOOT, f"apt knows no {SERIES[name]}: cannot tell the release of {name}")
    return here


# --- images -----------------------------------------------------------------------------------------------


def unzstd(data):
    """Python 3.11 has no zstd of its own."""
    return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout


FORMATS = ((b"\x1f\x8b", gzip.decompress), (b"\xfd7zXZ\0", lzma.decompress), (b"BZh", bz2.decompress),
           (b"\x5d\0\0", lzma.decompress), (b"\x28\xb5\x2f\xfd", unzstd))


def vmlinux_of(image):
    """The ELF image inside a bzImage (Documentation/arch/x86/boot.rst tells the header), or None when it
    cannot be had or has no entry for PVH."""
    if image[0x202:0x206] != b"HdrS" and image[0x202:0x206] != b"SrdH":
        return None
    setup = (image[0x1F1] or 4) + 1
    start = setup * 512 + int.from_bytes(image[0x248:0x24C], "little")
    payload = image[start:start + int.from_bytes(image[0x24C:0x250], "little") - 4]
    for magic, decompress in FORMATS:
        if payload.startswith(magic):
            try:
                data = decompress(payload)
            except (OSError, EOFError, lzma.LZMAError, subprocess.CalledProcessError):
                return None
            return data if has_pvh(data) else None
    return payload if payload.startswith(b"\x7fELF") and has_pvh(payload) else None


def has_pvh(elf):
    """Whether a vmlinux can be entered by PVH: a note of type 18 by "Xen"."""
    return b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0" in elf or b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0" in elf


def finish(directory, release, image, system_map):
    """Make vmlinux (or, failing that, keep the bzImage) and modules.dep in an unpacked directory."""
    with open(image, "rb") as file:
        packed = file.read()
    elf = vmlinux_of(packed)
    with open(os.path.join(directory, "vmlinux" if elf else "bzImage"), "wb") as file:
        file.write(elf or packed)
    modules = os.path.join(directory, "lib/modules", release)
    for name in ("build", "source"):
        tail = release if name == "build" else re.sub(r"-(cloud-|rt-)?amd64$", "-common", release)
        link = os.path.join(modules, name)
        if not os.path.lexists(link):
            os.symlink(f"/usr/src/linux-headers-{tail}", link)
    extra = ["-F", system_map] if os.path.exists(system_map) else []
    code, text = host.run(["depmod", *extra, "-b", directory, release])
    if code:
        raise status.Failure(status.BOOT, f"depmod failed for {release}: {text.strip()}")


def unpack(deb, release, directory):
    """A Debian image package becomes directory/{vmlinux,config,System.map,lib/modules/RELEASE}."""
    code, text = host.run(["dpkg-deb", "-x", deb, directory])
    if code:
        raise status.Failure(status.BOOT, f"dpkg-deb failed: {text.strip()}")
    if os.path.isdir(os.path.join(directory, "usr/lib/modules")):
        os.makedirs(os.path.join(directory, "lib"), exist_ok=True)
        shutil.move(os.path.join(directory, "usr/lib/modules"), os.path.join(directory, "lib/modules"))
    shutil.rmtree(os.path.join(directory, "usr"), ignore_errors=True)
    boot = os.path.join(directory, "boot")
    finish(directory, release, f"{boot}/vmlinuz-{release}", f"{boot}/System.map-{release}")
    for name in ("config", "System.map"):
        if os.path.exists(f"{boot}/{name}-{release}"):
            os.rename(f"{boot}/{name}-{release}", os.path.join(directory, name))
    shutil.rmtree(boot)


def copy_installed(release, directory):
    """The same out of a kernel that is installed on this machine."""
    modules = os.path.join(directory, "lib/modules", release)
    os.makedirs(os.path.dirname(modules))
    shutil.copytree(f"/lib/modules/{release}", modules, symlinks=True)
    finish(directory, release, f"/boot/vmlinuz-{release}", f"/boot/System.map-{release}")


def cached(release):
    """The Kernel in the cache, or None."""
    directory = host.cache("kernels", release)
    for name in ("vmlinux", "bzImage"):
        if os.path.exists(os.path.join(directory, name)):
            return Kernel(release, os.path.join(directory, name),
                          os.path.join(directory, "lib/modules", release), directory)
    return None


def fetch(name):
    """The Kernel that a series or release names; downloaded unless the cache has it."""
    archive = Archive()
    release = resolve(name, archive)
    kernel = cached(release)
    if kernel:
        return kernel
    with host.lock(f"kernel-{release}"):
        kernel = cached(release)
        if kernel:
            return kernel
        home = host.cache("kernels", "")
        for stale in glob.glob(os.path.join(home, f".{release}.*")):
            shutil.rmtree(stale, ignore_errors=True)  # ours alone: we hold the lock
        directory = tempfile.mkdtemp(prefix=f".{release}.", dir=home)
        try:
            os.chmod(directory, 0o755)
            host.say(f"fetches the kernel image {release} into {home} (not installed)")
            deb = archive.download(f"linux-image-{release}", directory)
            if not deb and not archive.options:
                with contextlib.suppress(status.Failure):
                    archive.refresh()
                    deb = archive.download(f"linux-image-{release}", directory)
            if deb:
                unpack(deb, release, directory)
                os.unlink(deb)
            elif os.path.exists(f"/boot/vmlinuz-{release}") and os.path.isdir(f"/lib/modules/{release}/kernel"):
                copy_installed(release, directory)
            else:
                raise status.Failure(status.BOOT, f"apt-get could not download linux-image-{release}")
            os.rename(directory, os.path.join(home, release))
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    return cached(release)


# --- built trees ------------------------------------------------------------------------------------------


def tree_release(tree):
    """The release of a built tree, or None when the directory is no such thing."""
    try:
        with open(os.path.join(tree, "include/config/kernel.release"), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def from_tree(tree):
    """A Kernel out of a build tree. Its modules are symlinks to the tree's, with modules.dep beside them."""
    tree = os.path.realpath(tree)
    release = tree_release(tree)
    if not release:
        raise status.Failure(status.USAGE, f"{tree} holds no built kernel (no include/config/kernel.release)")
    image = None
    for name in ("vmlinux", "arch/x86/boot/bzImage"):
        path = os.path.join(tree, name)
        if os.path.exists(path) and (name != "vmlinux" or file_has_pvh(path)):
            image = path
            break
    if not image:
        raise status.Failure(status.BOOT, f"{tree} holds neither a vmlinux for PVH nor a bzImage")
    key = hashlib.sha256(tree.encode()).hexdigest()[:16]
    directory = host.cache("trees", key)
    with host.lock(f"tree-{key}"):
        modules = tree_modules(tree, release, directory)
    parameters = ""
    with contextlib.suppress(OSError), open(os.path.join(tree, "parameters"), encoding="ascii") as file:
        parameters = " ".join(file.read().split())
    return Kernel(release, image, modules, directory, tree=tree, parameters=parameters)


def file_has_pvh(path):
    """has_pvh() of the note segments alone: a vmlinux with debug information is large."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF":
            return False
        file.seek(int.from_bytes(head[32:40], "little"))
        size, count = int.from_bytes(head[54:56], "little"), int.from_bytes(head[56:58], "little")
        for entry in [file.read(size) for _ in range(count)]:
            if int.from_bytes(entry[:4], "little") == 4:  # PT_NOTE
                file.seek(int.from_bytes(entry[8:16], "little"))
                if has_pvh(file.read(int.from_bytes(entry[32:40], "little"))):
                    return True
    return False


def tree_modules(tree, release, directory):
    """directory/lib/modules/RELEASE for a tree, made anew when the tree was built anew."""
    modules = os.path.join(directory, "lib/modules", release)
    order = os.path.join(tree, "modules.order")
    names = []
    if os.path.exists(order):
        with open(order, encoding="utf-8") as file:
            names = [re.sub(r"\.o$", ".ko", line.strip().removeprefix("kernel/")) for line in file]
    names = [name for name in names if os.path.exists(os.path.join(tree, name))]
    source = os.path.realpath(os.path.join(tree, "source"))  # apart from the tree when built with O=
    source = source if os.path.isdir(source) else tree
    stamp = hashlib.sha256(f"{release} {source}\n".encode())
    for name in ["modules.builtin", *names]:
        path = os.path.join(tree, name)
        if os.path.exists(path):
            facts = os.stat(path)
            stamp.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    stamp_file = os.path.join(directory, "stamp")
    with contextlib.suppress(OSError), open(stamp_file, encoding="ascii") as file:
        if file.read() == stamp.hexdigest():
            return modules
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(modules)
    for name in names:
        path = os.path.join(modules, "kernel", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(os.path.join(tree, name), path)
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        if os.path.exists(os.path.join(tree, name)):
            shutil.copy(os.path.join(tree, name), modules)
    with open(os.path.join(modules, "modules.order"), "w", encoding="utf-8") as file:
        file.writelines(f"kernel/{name}\n" for name in names)
    os.symlink(tree, os.path.join(modules, "build"))
    os.symlink(source, os.path.join(modules, "source"))
    code, text = host.run(["depmod", "-b", directory, release])
    if code:
        raise status.Failure(status.BOOT, f"depmod failed for {tree}: {text.strip()}")
    host.write_atomically(stamp_file, stamp.hexdigest().encode())
    return modules


def find(name):
    """The Kernel for what the user wrote: a directory, a release or a series."""
    if os.path.isdir(name) and (os.sep in name or tree_release(name)):
        return from_tree(name)
    return fetch(name)
