#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Unmodified programs behind numactl: memtester on /dev/vmlab, and python3 through `vmlab run`,
# have their pages on the nodes that numactl was told. What says so is debugfs: the table `numa`
# while the program lives, and each node's counters. It must never pass when a program has no
# page at all.
#
# vmlab-test: shapes=four
set -uo pipefail

here=$(dirname "$(readlink -f "$0")")
tree=/sys/kernel/debug/vmlab
pages=1024

for command in numactl memtester python3; do
	if ! command -v $command >/dev/null; then
		echo "$command is not installed: skipped"
		exit 4
	fi
done
vmlab=$here/../build/tools/vmlab
[[ -x $vmlab ]] || vmlab=$(command -v vmlab) || {
	echo "the command vmlab is not built: skipped"
	exit 4
}

# What no policy is strict about must find room where it is wanted.
nodes=()
for directory in "$tree"/node*/; do
	(($(<"$directory/pool_mb") > 0)) && echo 32 >"$directory/pool_mb" &&
		nodes+=("$(basename "$directory" | tr -dc 0-9)")
done
mapfile -t nodes < <(printf '%s\n' "${nodes[@]}" | sort -n)
last=${nodes[-1]}
if ((${#nodes[@]} < 2)); then
	echo "there is one node with a pool: skipped"
	exit 4
fi

hits() { # NODE
	awk '$1 == "numa_hit" { print $2 }' "$tree/node$1/stats"
}

# on NODE PID: frames of a process' objects there
on() {
	awk -v pid="$2" -v node="N$1=" '$2 == pid { for (i = 4; i <= NF; i++) if (index($i, node) == 1) sum += substr($i, length(node) + 1) }
		END { print sum + 0 }' $tree/numa
}

number=0
result() { # STATUS NAME
	number=$((number + 1))
	if (($1 == 0)); then echo "ok $number - $2"; else echo "not ok $number - $2"; fi
}

# at_least WHAT NUMBER LEAST, at_most WHAT NUMBER MOST
at_least() { (($2 >= $3)) || { echo "# $1: $2, at least $3 expected"; return 1; }; }
at_most() { (($2 <= $3)) || { echo "# $1: $2, at most $3 expected"; return 1; }; }

# What memtester tests is gone when it has ended: the counters tell where it was.
memtester_behind() { # POLICY NODE...: and these alone
	local policy=$1 node before=() status=0 share
	shift
	for node in "${nodes[@]}"; do before[node]=$(hits "$node"); done
	MEMTESTER_TEST_MASK=0x1 numactl "$policy" memtester -p 0 -d /dev/vmlab 4M 1 >memtester.log 2>&1 || {
		sed 's/^/# /' memtester.log | tail -n 5
		status=1
	}
	share=$((pages / $#))
	for node in "${nodes[@]}"; do
		local got=$(($(hits "$node") - before[node]))
		if [[ " $* " == *" $node "* ]]; then
			at_least "frames from node $node" $got $share || status=1
		else
			at_most "frames from node $node" $got 0 || status=1
		fi
	done
	result $status "memtester behind numactl $policy"
}

# 5 MiB of a program that never heard of vmlab, looked at while it waits.
python_behind() { # POLICY NODE...
	local policy=$1 node status=0 share got
	shift
	mkfifo go ready
	numactl "$policy" "$vmlab" run -- python3 -c '
import os, sys
# Small objects: python maps memory for those itself, for others it asks the C library.
data = [bytes([1 + number % 255]) * 400 for number in range(12000)]
with open("ready", "w") as ready:
    ready.write(str(os.getpid()))
with open("go") as go:
    go.read()
sys.exit(any(item != bytes([1 + number % 255]) * 400 for number, item in enumerate(data)))
' &
	local job=$! pid
	pid=$(<ready)
	share=$((pages / $#))
	for node in "${nodes[@]}"; do
		got=$(on "$node" "$pid")
		if [[ " $* " == *" $node "* ]]; then
			at_least "frames on node $node" "$got" $share || status=1
		else
			at_most "frames on node $node" "$got" 0 || status=1
		fi
	done
	: >go
	wait $job || status=1
	rm -f go ready
	result $status "python3 behind numactl $policy"
}

echo "TAP version 13"
for try in memtester_behind python_behind; do
	$try --interleave=all "${nodes[@]}"
	$try "--membind=$last" "$last"
	$try "--preferred=$last" "$last"
done
echo "1..$number"
