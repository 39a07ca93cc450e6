#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio writes, reads back and verifies an object larger than the pool, through mmap and through
# read() and write(). fio opens its file again before it verifies, and each open of /dev/vmlab is
# a new object: a small preloaded library gives it the first one every time. The test must
# never pass when less was verified than was written, or when nothing went to swap.
#
# vmlab-test: timeout=300 phases=pressure
set -uo pipefail

here=$(dirname "$(readlink -f "$0")")

for command in fio gcc python3; do
	if ! command -v $command >/dev/null; then
		echo "$command is not installed: skipped"
		exit 4
	fi
done

gcc -shared -fPIC -O2 -o same_object.so "$here/fio/same_object.c" || exit 1

tree=/sys/kernel/debug/vmlab
if ((${VMLAB_SLOWNESS:-1} > 1)); then
	for pool in "$tree"/node*/pool_mb; do
		echo 2 >"$pool"
	done
fi
size_kib=$(awk '{ sum += $3 } END { print sum * 4 * 3 / 2 }' $tree/pool)
number=0

stat() { awk -v name="$1" '$1 == name { print $2 }' $tree/stats; }

job() { # ENGINE PATTERN
	local log=fio-$1-$2.json status=0 out written=0 verified=0
	out=$(stat swap_out)
	LD_PRELOAD=$PWD/same_object.so fio --thread --name=vmlab --filename=/dev/vmlab \
		--ioengine="$1" --rw="$2" --bs=4k --size="${size_kib}k" --verify=crc32c \
		--verify_fatal=1 --do_verify=1 --fallocate=none --invalidate=0 \
		--output-format=json --output="$log" >fio.err 2>&1 || status=1
	read -r written verified < <(python3 - "$log" <<'PYTHON'
import json, sys
text = open(sys.argv[1]).read()
job = json.loads(text[text.index("{"):])["jobs"][0]
print(job["write"]["io_kbytes"], -1 if job["error"] else job["read"]["io_kbytes"])
PYTHON
	)
	out=$(($(stat swap_out) - out))
	echo "# $1 $2: $written KiB written, $verified KiB verified, $out pages to swap"
	((written >= size_kib && verified >= size_kib && out > size_kib / 4 / 4)) || status=1
	grep -q BAD $tree/verify && status=1
	((status == 0)) || sed 's/^/# /' fio.err "$log" | head -n 20
	number=$((number + 1))
	if ((status == 0)); then
		echo "ok $number - $1 $2"
	else
		echo "not ok $number - $1 $2"
	fi
}

echo "TAP version 13"
job psync write
job psync randwrite
job mmap write
job mmap randwrite
echo "1..$number"
