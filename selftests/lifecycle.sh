#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module's own life: loading with good and bad parameters, with a pool larger than the
# machine, unloading while it is in use and while it is not, 80 times over (fewer where the
# kernel is slow), and descriptors until there are no more. It must leave the module loaded as
# it found it, and never unload another one.
#
# vmlab-test: timeout=900 phases=plain
set -uo pipefail

tree=/sys/kernel/debug/vmlab
number=0

point() { # STATUS NAME
	number=$((number + 1))
	if (($1 == 0)); then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
	fi
}

# Runs a command and says what it printed when it fails.
try() {
	local said status
	said=$("$@" 2>&1)
	status=$?
	((status == 0)) || echo "# $*: status $status: $said" >&2
	return $status
}

# Without the module everything that follows would only write a file called /dev/vmlab.
load() {
	try insmod "$VMLAB_KO" "$@" && return
	echo "Bail out! the module does not load"
	exit 1
}

unload() { try rmmod vmlab; }

loaded() { [[ -d /sys/module/vmlab ]]; }

# refused ERRNO-TEXT PARAMETER...: insmod must fail with this error and leave nothing.
refused() {
	local want=$1 said
	shift
	said=$(LC_ALL=C insmod "$VMLAB_KO" "$@" 2>&1)
	if loaded; then
		echo "# insmod $* was not refused"
		rmmod vmlab
		return 1
	fi
	[[ $said == *"$want"* && ! -e /dev/vmlab && ! -e $tree ]] && return 0
	echo "# insmod $*: $said (expected: $want)"
	return 1
}

total_mb() { awk '{ sum += $3 } END { print sum * 4 / 1024 }' "$tree/pool"; }

# What other programs have left in caches would come and go meanwhile.
available_kib() {
	local cache

	sync
	echo 3 >/proc/sys/vm/drop_caches
	# KASAN keeps what was freed, up to a 32nd of the memory, until the cache it is of is shrunk.
	for cache in /sys/kernel/slab/*/shrink; do
		[[ ! -w $cache ]] || echo 1 >"$cache"
	done
	# The kernel counts the pages of its per-CPU lists as in use; they can be 40 MiB.
	awk '$1 == "count:" { listed += $2 }
		$1 == "MemAvailable:" { print $2 + listed * '"$(($(getconf PAGESIZE) / 1024))"' }' \
		/proc/zoneinfo /proc/meminfo
}

if [[ -z ${VMLAB_KO:-} || ! -r $VMLAB_KO ]]; then
	echo "VMLAB_KO does not name the module: skipped"
	exit 4
fi

echo "TAP version 13"
loaded && unload

# --- parameters ---
load pool_mb=32 && [[ $(total_mb) == 32 ]]
point $? "pool_mb is a total"
unload
load pool_mb=0:8,1:24 && [[ $(cat $tree/node0/pool_mb) == 8 && $(cat $tree/node1/pool_mb) == 24 ]]
point $? "pool_mb can be given for each node"
unload
load pool_mb=8 policy=fifo && [[ $(cat $tree/policy) == *"[fifo]"* ]]
point $? "policy is taken"
unload
read -r _ disk <<<"${VMLAB_DISKS:-}"
if [[ -n $disk ]] && mkswap "$disk" >/dev/null 2>&1; then
	load pool_mb=8 swap="$disk" && grep -q "^$disk " $tree/swap
	point $? "swap is on from the start"
	unload
	try mkswap "$disk" >/dev/null
	point $? "and off at the end"
fi
load && [[ $(total_mb) -gt 0 ]]
point $? "a default exists for everything"
unload

status=0
for value in many -5 5x "0:8," 9999:8 0: :8 0:8,1:x 0:-1 99999999999999999999; do
	refused "Invalid parameters" "pool_mb=$value" || status=1
done
point $status "bad pool_mb is EINVAL"
refused "Invalid parameters" pool_mb=8 policy=best
point $? "an unknown policy is EINVAL"
# insmod's words for ENOENT.
refused "Unknown symbol in module" pool_mb=8 swap=/dev/vmlab-none
point $? "a missing swap device is ENOENT"
if [[ -n $disk ]]; then
	dd if=/dev/zero of="$disk" bs=4096 count=1 2>/dev/null
	refused "Invalid parameters" pool_mb=8 swap="$disk"
	point $? "a swap device without signature is EINVAL"
fi

# --- a pool larger than the machine ---
dmesg -C
load pool_mb=8192
point $? "a pool larger than memory loads"
if loaded; then
	got=$(total_mb)
	echo "# got $got MiB"
	((got > 0 && got < 8192))
	point $? "with what it got"
	dmesg | grep -Eiq 'vmlab:.*(pool|node).*(of|instead|only|wanted|less)'
	point $? "and says so"
	(($(available_kib) > 64 * 1024))
	point $? "and leaves the machine something"
	! grep -q BAD $tree/verify
	point $? "and its books are right"
	unload
fi

# --- not while it is in use ---
load pool_mb=8
exec {fd}<>/dev/vmlab
! LC_ALL=C rmmod vmlab 2>rmmod.log && grep -q "in use" rmmod.log && loaded
point $? "rmmod is refused while it is open"
sleep 1000 <&"$fd" &
child=$!
exec {fd}>&-
! rmmod vmlab 2>/dev/null && loaded
point $? "and while another process has it open"
kill $child
wait $child 2>/dev/null
unload
point $? "and works afterwards"

load pool_mb=8
python3 - <<'PYTHON' &
import mmap, os, time
fd = os.open("/dev/vmlab", os.O_RDWR)
memory = mmap.mmap(fd, 1 << 20)
os.close(fd)
memory[:4] = b"here"
open("mapped", "w").close()
time.sleep(1000)
PYTHON
child=$!
while [[ ! -e mapped ]] && kill -0 $child; do sleep 0.1; done
# Python keeps a twin of the descriptor: both hold the object.
! rmmod vmlab 2>/dev/null && loaded
point $? "rmmod is refused while it is mapped"
kill -9 $child
wait $child 2>/dev/null
unload
point $? "and works when the process was killed"

load pool_mb=8
exec {fd}<$tree/stats
rmmod vmlab 2>/dev/null
status=$?
read -r _ <&"$fd"
exec {fd}<&-
((status == 0)) || unload
point $? "an open debugfs file survives rmmod, or prevents it"

# --- descriptors ---
load pool_mb=8
python3 - <<'PYTHON'
import errno, os, resource, sys
# Thousands of objects one after the other, then as many as a process may have.
for number in range(3000):
    fd = os.open("/dev/vmlab", os.O_RDWR)
    if number % 7 == 0:
        os.pwrite(fd, b"x", number << 21)
    os.close(fd)
resource.setrlimit(resource.RLIMIT_NOFILE, (1500, 1500))
fds = []
try:
    while True:
        fds.append(os.open("/dev/vmlab", os.O_RDWR))
        if len(fds) % 16 == 0:
            os.pwrite(fds[-1], b"%d" % len(fds), 4096)
except OSError as error:
    if error.errno != errno.EMFILE:
        sys.exit(f"after {len(fds)}: {error}")
if len(fds) < 1000:
    sys.exit(f"only {len(fds)} descriptors")
for number in range(16, len(fds) + 1, 16):
    want = b"%d" % number
    if os.pread(fds[number - 1], len(want), 4096) != want:
        sys.exit(f"object {number} has other bytes")
os.close(fds.pop())
with open("/sys/kernel/debug/vmlab/objects") as table:
    if len(table.readlines()) != len(fds) + 1:
        sys.exit("the table of objects is incomplete")
PYTHON
point $? "thousands of opens, and descriptors until EMFILE"
! grep -q BAD $tree/verify && [[ $(wc -l <$tree/objects) == 1 ]]
point $? "nothing is left of them"
unload

# --- many rounds ---
rounds=$((80 / ${VMLAB_SLOWNESS:-1}))
status=0
modules=$(lsmod | wc -l)
# From here: what came before left files in the guest's memory, too.
sleep 1
before=$(available_kib)
for ((round = 1; round <= rounds; round++)); do
	load pool_mb=4
	if ! printf 'some bytes' | dd of=/dev/vmlab bs=4096 2>/dev/null || ! unload; then
		echo "# in round $round"
		status=1
		break
	fi
done
point $status "$rounds rounds of load, use and unload"
[[ $(lsmod | wc -l) == "$modules" && ! -e /dev/vmlab && ! -e $tree ]]
point $? "leave nothing in /dev, in debugfs, or in the list of modules"
sleep 1
after=$(available_kib)
echo "# MemAvailable: $before KiB before, $after KiB after"
((after + 8 * 1024 > before))
point $? "and no memory"

loaded || load pool_mb=64
point $? "the module is loaded again"
echo "1..$number"
