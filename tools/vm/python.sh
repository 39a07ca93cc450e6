# SPDX-License-Identifier: GPL-2.0
# python.sh: sourced by the commands beside it. It owns one thing: finding a python3 that can run lib/, and
# saying in one line which package is missing when there is none (or installing it when that was asked for).
# It must never run anything else, nor install a package that it has not listed first.
# shellcheck shell=sh

find_python() { # NAME ARG...: sets PYTHON, or exits 201
	name=$1
	shift
	for PYTHON in /usr/bin/python3 python3; do
		if "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
			return
		fi
	done
	install=${VMLAB_INSTALL:-0}
	for arg; do
		case $arg in
		--install) install=1 ;;
		--) break ;;
		esac
	done
	if [ "$install" = 1 ] && [ "$(id -u)" = 0 ]; then
		echo "$name: installs: python3" >&2
		apt-get update -q >&2
		if DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q \
			--no-install-recommends python3 >&2 </dev/null; then
			PYTHON=/usr/bin/python3
			return
		fi
	fi
	echo "$name: missing packages: python3 (apt-get install --no-install-recommends python3)" >&2
	exit 201
}
