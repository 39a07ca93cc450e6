#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The bpftrace scripts of tools/bpf run, see a workload, and end when they are told to. It
# judges that each prints what it is for, never how fast anything was.
#
# vmlab-test: timeout=200 phases=pressure
set -uo pipefail

here=$(dirname "$(readlink -f "$0")")
scripts=$here/../tools/bpf
if ! command -v bpftrace >/dev/null; then
	echo "bpftrace is not installed: skipped"
	exit 4
fi
if [[ ! -r /sys/kernel/btf/vmlinux ]]; then
	echo "the kernel has no BTF: skipped"
	exit 4
fi
if [[ ! -d $scripts ]]; then
	echo "tools/bpf is not beside the tests: skipped"
	exit 4
fi

# What the pools hold, on each node.
pools() { # MIB
	local node
	for node in /sys/kernel/debug/vmlab/node*/pool_mb; do
		echo "$1" >"$node"
	done
}

# More than the pool holds, twice, so that faults of each kind happen and the hand turns.
workload() {
	pools 4
	python3 - <<'PYTHON'
import mmap, os
fd = os.open("/dev/vmlab", os.O_RDWR)
size = 12 << 20
memory = mmap.mmap(fd, size)
for turn in range(2):
    for offset in range(0, size, 4096):
        if turn:
            assert memory[offset] == 1 + offset // 4096 % 255, offset
        else:
            memory[offset] = 1 + offset // 4096 % 255
PYTHON
}

# A few huge pages by faults, then split, then promoted by COLLAPSE.
workload_huge() {
	pools 24
	python3 - <<'PYTHON'
import fcntl, mmap, os, struct
fd = os.open("/dev/vmlab", os.O_RDWR)
huge, pages = 2 << 20, 4
memory = mmap.mmap(fd, pages * huge)
memory.madvise(14)  # MADV_HUGEPAGE
for page in range(pages):
    memory[page * huge + 5000] = 1 + page
def act(number):
    request = 3 << 30 | struct.calcsize("=IIQQQ") << 16 | 0xbd << 8 | number
    fcntl.ioctl(fd, request, struct.pack("=IIQQQ", struct.calcsize("=IIQQQ"), 0, 0, pages * huge, 0))
act(0x0b)  # SPLIT
act(0x0a)  # COLLAPSE
for page in range(pages):
    assert memory[page * huge + 5000] == 1 + page, page
PYTHON
}

# More than node 0 has, where nothing else is wanted.
workload_numa() {
	pools 4
	numactl --preferred=0 python3 - <<'PYTHON'
import mmap, os
fd = os.open("/dev/vmlab", os.O_RDWR)
size = 6 << 20
memory = mmap.mmap(fd, size)
for offset in range(0, size, 4096):
    memory[offset] = 1
PYTHON
}

number=0
declare -A pid
# start SCRIPT: begins to watch. To load a script takes longer than all that there is to see.
start() {
	bpftrace "$scripts/$1" >"$1.log" 2>&1 &
	pid[$1]=$!
}

# ready SCRIPT: waits until it says something.
ready() {
	for _ in {1..300}; do
		grep -q '[^[:space:]]' "$1.log" && break
		kill -0 "${pid[$1]}" 2>/dev/null || break
		sleep 0.2
	done
}

# ends SCRIPT PATTERN...: it must end when it is told to, and have printed something that matches each pattern.
ends() {
	local script=$1 status=$failed pattern
	shift
	kill -INT "${pid[$script]}" 2>/dev/null
	wait "${pid[$script]}"
	case $? in
	0 | 130) ;;
	*) status=1 ;;
	esac
	for pattern in "$@"; do
		grep -Eq -- "$pattern" "$script.log" || {
			echo "# nothing matches $pattern"
			status=1
		}
	done
	((status == 0)) || sed 's/^/# /' "$script.log" | head -n 60
	number=$((number + 1))
	if ((status == 0)); then echo "ok $number - $script"; else echo "not ok $number - $script"; fi
}

echo "TAP version 13"
all=(faultlat.bt clockhand.bt thptrace.bt numamiss.bt)
for script in "${all[@]}"; do start "$script"; done
for script in "${all[@]}"; do ready "$script"; done
failed=0
for load in workload workload_numa workload_huge; do "$load" || failed=1; done
sleep 2
ends faultlat.bt '@faults\[zero\]: [0-9]' '@faults\[(swap|retry)\]: [0-9]' '@ns\[zero\]'
ends clockhand.bt '@total_scanned\[[0-9]+\]: [0-9]' '@total_evicted\[[0-9]+, written\]: [0-9]'
ends thptrace.bt '@total_huge_faults\[[0-9]+\]: [0-9]' '@total_promotions\[[0-9]+\]: [0-9]' \
	'@total_splits: [0-9]' '@pages_of_a_promotion'
ends numamiss.bt '@total_misses\[0, 1\]: [0-9]' '@faults_on_node\[1\]: [0-9]'
echo "1..$number"
