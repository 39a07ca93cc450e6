#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Real programs while huge pages come, split and come back as fast as can be: every mapping may
# have them, the threads that promote look at all leaves all the time, and all nodes are
# compacted in a loop beside; on slow kernels at longer intervals, so that the programs come to
# something. memtester, fio (which verifies) and redis (which saves while it is written to; a
# second server loads the file) have three quarters of the pools, each for SECONDS, or 15, or
# for one run if that takes longer; a process that takes half of them for a moment now and then
# drives the programs' pages to swap, and leaves free chunks behind. It must never pass when no
# huge page came or none was split, when nothing went to swap, or when `verify` was not read.
#
# vmlab-test: timeout=400 phases=pressure turns=3
set -uo pipefail

# The shell counts on from what the environment says.
time=$SECONDS
((time)) || time=15
slowness=${VMLAB_SLOWNESS:-1}

here=$(dirname "$(readlink -f "$0")")
tree=/sys/kernel/debug/vmlab
pool_mb=16

for command in memtester fio gcc python3 redis-server redis-cli redis-benchmark; do
	if ! command -v $command >/dev/null; then
		echo "$command is not installed: skipped"
		exit 4
	fi
done
if [[ ! -r $here/../tools/demo/apps_inside ]]; then
	echo "tools/demo is not beside the tests: skipped"
	exit 4
fi

set_all() {
	local pool total

	for pool in "$tree"/node*/pool_mb; do
		echo $pool_mb >"$pool" || exit 1
	done
	echo $((20 * slowness)) >$tree/promote/scan_ms || exit 1
	echo 4096 >$tree/promote/scan_leaves || exit 1
	echo 511 >$tree/promote/max_none || exit 1
	echo 4 >$tree/zero_chunks || exit 1
	echo always >$tree/huge || exit 1
	total=$(awk '{ sum += $3 } END { print sum }' $tree/pool)
	size_mb=$((total * 3 / 4 / 256))
	squeeze_mb=$((total / 2 / 256))
}

compact() {
	while echo all >$tree/compact; do
		sleep "$(awk -v n="$slowness" 'BEGIN { print n / 20 }')"
	done
}

# Fills an object, and looks whether it holds what it should; then lets the others have the room.
squeeze() {
	exec python3 -c '
import mmap, os, sys, time

size, turn = int(sys.argv[1]) << 20, 0
while True:
    turn += 1
    fd = os.open("/dev/vmlab", os.O_RDWR)
    memory = mmap.mmap(fd, size)
    pages = [b"%16d%16d" % (turn, page) * 128 for page in range(size >> 12)]
    for page, bytes in enumerate(pages):
        memory[page << 12:(page + 1) << 12] = bytes
    for page, bytes in enumerate(pages):
        if memory[page << 12:(page + 1) << 12] != bytes:
            sys.exit(f"# squeeze: page {page} is wrong in turn {turn}")
    memory.close()
    os.close(fd)
    time.sleep(2)
' "$squeeze_mb"
}

stat() { awk -v name="$1" '$1 == name { print $2 }' $tree/stats; }

laws() { # in a file of its own, so that nothing is taken for `ok` that was not read
	cat $tree/verify >laws
	if [[ ! -s laws ]] || grep -qv '^ok ' laws; then
		sed 's/^/# verify: /' laws
		return 1
	fi
	looks=$((looks + 1))
}

memtester_run() { # MASK
	if ! MEMTESTER_TEST_MASK=$1 memtester -p 0 -d /dev/vmlab "${size_mb}M" 1 >memtester.log 2>&1 ||
	   grep -q FAILURE memtester.log; then
		tr '\b' '\n' <memtester.log | grep -v '^ *$' | tail -n 20 | sed 's/^/# /'
		return 1
	fi
}

# Each run begins with "stuck address", whatever the mask, and then "random value", as others compare
# what that has left equal; and takes a part of the rest.
try_memtester() {
	local masks=(0x1 0x9 0x81 0x10001 0x8001 0x3 0x101 0x41) runs=0

	while ((runs == 0 || SECONDS < until)); do
		memtester_run "${masks[runs % ${#masks[@]}]}" || return 1
		laws || return 1
		runs=$((runs + 1))
	done
	echo "# memtester: $runs runs on $size_mb MiB"
}

fio_run() { # ENGINE PATTERN
	if ! LD_PRELOAD=$PWD/same_object.so fio --thread --name=vmlab --filename=/dev/vmlab \
		--ioengine="$1" --rw="$2" --bs=4k --size="${size_mb}M" --verify=crc32c \
		--verify_fatal=1 --do_verify=1 --fallocate=none --invalidate=0 \
		--output-format=json --output=fio.json >fio.err 2>&1; then
		sed 's/^/# /' fio.err fio.json | head -n 20
		return 1
	fi
	python3 - fio.json $((size_mb * 1024)) <<'PYTHON'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]
done = job["write"]["io_kbytes"], job["read"]["io_kbytes"]
if job["error"] or min(done) < int(sys.argv[2]):
    sys.exit(f"# {job['jobname']}: error {job['error']}, {done} KiB written and verified")
PYTHON
}

try_fio() {
	local kinds=("mmap write" "mmap randwrite" "psync randwrite" "psync write") runs=0 engine pattern

	while ((runs == 0 || SECONDS < until)); do
		read -r engine pattern <<<"${kinds[runs % ${#kinds[@]}]}"
		fio_run "$engine" "$pattern" || return 1
		laws || return 1
		runs=$((runs + 1))
	done
	echo "# fio: $runs times $size_mb MiB written and verified"
}

# One server for all of the time: what it has is written to, saved and compared again and again.
try_redis() {
	cat >redis_inside.py <<'PYTHON' || return 1
import importlib.machinery, importlib.util, os, subprocess, sys, time

path, seconds = sys.argv[1], float(sys.argv[2])
loader = importlib.machinery.SourceFileLoader("apps_inside", path)
apps = importlib.util.module_from_spec(importlib.util.spec_from_loader("apps_inside", loader))
loader.exec_module(apps)
KEYS = 20000 // int(os.environ.get("VMLAB_SLOWNESS", "1"))


def write_all(server, requests, *options):
    return [*server.benchmark(requests)[:-4], "-r", str(KEYS), "-n", str(requests), *options, *apps.SET]


def save(server):
    """The digest at the fork, with a writer at work; and how much that wrote meanwhile."""
    writer = subprocess.Popen(write_all(server, KEYS, "-l"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        digest, started = server.at_once("DEBUG DIGEST", "BGSAVE")
        if len(digest) != 40 or "started" not in started:
            raise apps.Failed(f"redis said {digest}, {started}")
        writes = int(server.info("total_commands_processed"))
        while server.info("rdb_bgsave_in_progress") == "1":
            time.sleep(0.2)
        writes = int(server.info("total_commands_processed")) - writes
    finally:
        writer.kill()
        writer.wait()
    if server.info("rdb_last_bgsave_status") != "ok":
        raise apps.Failed(f"BGSAVE failed: {server.tail()}")
    if writes < 100:
        raise apps.Failed("nothing was written while the child saved")
    return digest, writes


def loaded(directory, dump):
    os.makedirs(directory, exist_ok=True)
    os.rename(dump, f"{directory}/dump.rdb")
    second = apps.Redis(directory, lambda command: command)
    try:
        return second.say("DEBUG DIGEST")
    finally:
        second.stop()


def laws():
    wrong = [law for law in apps.read("verify").splitlines() if not law.startswith("ok ")]
    if wrong:
        raise apps.Failed(f"verify: {wrong}")


def main():
    end, saves, writes = time.monotonic() + seconds, 0, 0
    first = os.path.abspath("first")
    server = apps.Redis(first, lambda command: apps.on_vmlab(*command))
    try:
        apps.run(*write_all(server, 2 * KEYS))
        while not saves or time.monotonic() < end:
            digest, written = save(server)
            laws()
            other = loaded(os.path.abspath("second"), f"{first}/dump.rdb")
            if other != digest:
                raise apps.Failed(f"digest at the fork {digest}, of what a second server loads {other}")
            saves, writes = saves + 1, writes + written
        print(f"# redis: {server.info('used_memory_human')}, {saves} times saved, loaded and compared, "
              f"{writes} commands meanwhile", flush=True)
    finally:
        if server.process.poll() is None:
            server.stop()
    if not apps.redirected().get("mmap"):
        raise apps.Failed("nothing came from vmlab")


try:
    main()
except (apps.Failed, OSError, subprocess.TimeoutExpired) as problem:
    sys.exit(f"# redis: {problem}")
PYTHON
	python3 -B redis_inside.py "$here/../tools/demo/apps_inside" $((until - SECONDS)) 2>&1 || return 1
	laws
}

counted="thp_fault_alloc thp_collapse_alloc thp_split_page compact_chunk swap_out swap_in"
number=0

try() { # NAME
	local status=0 name looks=0 until=$((SECONDS + time))
	declare -A before grown

	for name in $counted; do
		before[$name]=$(stat "$name")
	done
	"try_$1" || status=1
	laws || status=1
	for name in $counted; do
		grown[$name]=$(($(stat "$name") - before[$name]))
	done
	echo "# $1: $looks looks at verify;$(for name in $counted; do echo -n " $name ${grown[$name]}"; done)"
	if ((grown[thp_fault_alloc] + grown[thp_collapse_alloc] == 0 || grown[thp_split_page] == 0 ||
	     grown[compact_chunk] == 0 || grown[swap_out] == 0 || grown[swap_in] == 0)); then
		echo "# it did not do what it is for"
		status=1
	fi
	number=$((number + 1))
	if ((status == 0)); then echo "ok $number - $1"; else echo "not ok $number - $1"; fi
}

gcc -shared -fPIC -O2 -o same_object.so "$here/fio/same_object.c" || exit 1
set_all
compact &
beside=($!)
squeeze &
beside+=($!)
trap 'kill "${beside[@]}" 2>/dev/null' EXIT

echo "TAP version 13"
try memtester
try fio
try redis
for pid in "${beside[@]}"; do
	if ! kill "$pid"; then
		echo "# what runs beside the programs ended before them"
		exit 1
	fi
done
wait
echo "1..$number"
