#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio writes, reads back and verifies an object larger than the pool, through mmap and through
# read() and write(). Each open of /dev/vmlab is a new object, so everything is verified by
# the job that wrote it while it has the file open: with the backlog, not in a second pass.
# It must never pass when less was verified than was written.
#
# vmlab-test: timeout=300 phases=pressure
set -uo pipefail

if ! command -v fio >/dev/null; then
	echo "fio is not installed: skipped"
	exit 4
fi

tree=/sys/kernel/debug/vmlab
pool_kib=$(awk '{ sum += $3 } END { print sum * 4 }' $tree/pool)
size_kib=$((pool_kib * 2))
number=0

stat() { awk -v name="$1" '$1 == name { print $2 }' $tree/stats; }

# job ENGINE PATTERN: the backlog is as large as the pool and a bit, so that what is verified
# has been on swap.
job() {
	local engine=$1 pattern=$2 log=fio-$1-$2.json status=0 out verified written
	local blocks=$((size_kib / 4))
	out=$(stat swap_out)
	fio --name=vmlab --filename=/dev/vmlab --ioengine="$engine" --rw="$pattern" --bs=4k \
		--size="${size_kib}k" --verify=crc32c --verify_fatal=1 --do_verify=0 \
		--verify_backlog=$((blocks * 5 / 8)) --verify_backlog_batch=$((blocks * 5 / 8)) \
		--randrepeat=1 --norandommap=0 --fallocate=none --output-format=json --output="$log" \
		--invalidate=0 >fio.err 2>&1 || status=1
	read -r written verified < <(python3 - "$log" <<'PYTHON'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]
print(job["write"]["io_kbytes"], job["read"]["io_kbytes"] if not job["error"] else -1)
PYTHON
	)
	echo "# $engine $pattern: ${written:-?} KiB written, ${verified:-?} KiB verified," \
		"$(($(stat swap_out) - out)) pages to swap"
	[[ ${written:-0} -ge $size_kib && ${verified:-0} -ge $((size_kib / 2)) ]] || status=1
	(($(stat swap_out) - out > blocks / 4)) || status=1
	grep -q BAD $tree/verify && status=1
	((status == 0)) || sed 's/^/# /' fio.err | tail -n 20
	number=$((number + 1))
	if ((status == 0)); then
		echo "ok $number - $engine $pattern"
	else
		echo "not ok $number - $engine $pattern"
	fi
}

echo "TAP version 13"
job psync write
job psync randwrite
job mmap write
job mmap randwrite
echo "1..$number"
