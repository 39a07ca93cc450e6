# SPDX-License-Identifier: GPL-2.0
"""Owns the virtual machine's shape: sizes, NUMA nodes, the kernel's command line and QEMU's. All of it is pure:
text and numbers in, lists of words out, so that it can be tested without a guest. Must never touch the host."""

import re

UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(text):
    """Bytes of "2G", "512M", "4096K"; a bare number means MiB."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError(f"not a size: {text!r} (say 512M or 2G)")
    return int(match.group(1)) * UNITS[match.group(2).upper()]


def number(text, least, what):
    """A whole number that is not below `least`."""
    if not re.fullmatch(r"\d+", text) or int(text) < least:
        raise ValueError(f"{what} must be a whole number from {least}: {text!r}")
    return int(text)


class Node:
    """A NUMA node: a count of CPUs, bytes of memory, and its distances to every node or None."""

    def __init__(self, cpus, memory, distances=None):
        self.cpus = cpus
        self.memory = memory
        self.distances = distances

    def __eq__(self, other):
        return (self.cpus, self.memory, self.distances) == (other.cpus, other.memory, other.distances)

    def __repr__(self):
        return f"Node({self.cpus}, {self.memory}, {self.distances})"


def parse_node(text):
    """A Node out of "cpus=1,memory=512M,distance=10:20"."""
    values = {"cpus": "1", "memory": "512M"}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name not in ("cpus", "memory", "distance"):
            raise ValueError(f"--node understands cpus=N,memory=SIZE,distance=A:B:.., not {part!r}")
        values[name] = value
    distances = None
    if "distance" in values:
        distances = [number(word, 10, "a distance") for word in values["distance"].split(":")]
        if max(distances) > 255:
            raise ValueError("a distance is at most 255")
    return Node(number(values["cpus"], 0, "a node's CPUs"), size(values["memory"]), distances)


def even_nodes(count, cpus, memory):
    """`count` nodes with the CPUs dealt out and the memory in equal parts of whole MiB."""
    part = memory // count >> 20 << 20
    return [Node(cpus // count + (i < cpus % count), part) for i in range(count)]


def check_nodes(nodes):
    """ValueError unless a machine can be made of them."""
    if not sum(node.cpus for node in nodes):
        raise ValueError("no node has a CPU")
    if not sum(node.memory for node in nodes):
        raise ValueError("no node has memory")
    for i, node in enumerate(nodes):
        if not node.cpus and not node.memory:
            raise ValueError(f"node {i} has neither CPUs nor memory")
        if node.distances is not None:
            if len(node.distances) != len(nodes):
                raise ValueError(f"node {i} gives {len(node.distances)} distances for {len(nodes)} nodes")
            if node.distances[i] != 10:
                raise ValueError(f"node {i}'s distance to itself must be 10")
            if any(value == 10 for j, value in enumerate(node.distances) if j != i):
                raise ValueError(f"node {i}'s distance to another node must be more than 10")


def numa_words(nodes):
    """QEMU's words for the nodes: every CPU a socket of its own unless the nodes that have some have equally
    many, since a socket in two nodes makes the kernel WARN."""
    cpus = sum(node.cpus for node in nodes)
    counts = {node.cpus for node in nodes if node.cpus}
    sockets = cpus // counts.pop() if len(counts) == 1 else cpus
    words = ["-smp", f"{cpus},sockets={sockets},cores={cpus // sockets},threads=1"]
    first = 0
    for i, node in enumerate(nodes):
        entry = f"node,nodeid={i}"
        if node.cpus:
            entry += f",cpus={first}-{first + node.cpus - 1}"
            first += node.cpus
        if node.memory:
            words += ["-object", f"memory-backend-ram,id=memory{i},size={node.memory}"]
            entry += f",memdev=memory{i}"
        words += ["-numa", entry]
    for i, node in enumerate(nodes):
        for j, value in enumerate(node.distances or ()):
            if i != j:
                words += ["-numa", f"dist,src={i},dst={j},val={value}"]
    return words


def kernel_parameters(icount, append):
    """The kernel's command line: every kind of fault becomes a panic within a minute.

    Not sooner: under software emulation, clearing one page has been seen to take more than 27 seconds of the guest's time.
    """
    words = ["console=ttyS0", "loglevel=7", "log_buf_len=4M", "panic=-1", "oops=panic", "panic_on_warn=1",
             "softlockup_panic=1", "hung_task_panic=1", "sysctl.kernel.panic_on_rcu_stall=1",
             "unknown_nmi_panic", "panic_print=0x41", "watchdog_thresh=30", "rcupdate.rcu_cpu_stall_timeout=60",
             "sysctl.kernel.hung_task_timeout_secs=60", "tsc=reliable", "no_timer_check", "mitigations=off",
             "nokaslr", "random.trust_cpu=on", "rdinit=/init"]
    if icount:
        words.append("clearcpuid=rep_good,erms,fsrm")
    return " ".join(words + ([append] if append else []))


def words_for(spec):
    """QEMU's command line. `spec` has accel, icount, nodes (or None), cpus, memory, kernel, initrd, parameters, disks
    (paths), shares (directories), root_owner (whether we are root), and ports: file descriptors of connected sockets
    named console, qmp, control, out and err; and more: words of the user's own."""
    accel = {"kvm": "kvm", "tcg": "tcg,thread=single" if spec.icount else "tcg,thread=multi"}[spec.accel]
    words = ["qemu-system-x86_64", "-name", "vmlab", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-machine", "q35", "-accel", accel]
    if spec.icount:
        words += ["-cpu", "max,erms=off,rdrand=off,rdseed=off", "-icount", "shift=0,sleep=off",
                  "-rtc", "base=2026-01-01,clock=vm", "-seed", "1"]
    else:
        words += ["-cpu", "host" if spec.accel == "kvm" else "max"]
    words += ["-m", f"{spec.memory >> 20}M"]
    words += numa_words(spec.nodes) if spec.nodes else ["-smp", str(spec.cpus)]
    words += ["-kernel", spec.kernel, "-initrd", spec.initrd, "-append", spec.parameters]

    for name, descriptor in spec.ports.items():
        words += ["-chardev", f"socket,id={name},fd={descriptor}"]
    words += ["-serial", "chardev:console", "-mon", "chardev=qmp,mode=control",
              "-device", "virtio-serial-pci,max_ports=4"]
    for port, name in ((1, "control"), (2, "out"), (3, "err")):
        words += ["-device", f"virtserialport,nr={port},chardev={name},name=vmlab.{name}"]

    words += ["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
              "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"]
    model = "passthrough" if spec.root_owner else "none"
    for i, path in enumerate(spec.shares):
        words += ["-fsdev", f"local,id=share{i},path={path.replace(',', ',,')},security_model={model},multidevs=remap",
                  "-device", f"virtio-9p-pci,fsdev=share{i},mount_tag=share{i}"]
    for i, path in enumerate(spec.disks):
        words += ["-drive", f"if=none,id=disk{i},file={path},format=raw,cache=unsafe,discard=unmap,file.locking=off",
                  "-device", f"virtio-blk-pci,drive=disk{i}"]
    return words + spec.more
