# SPDX-License-Identifier: GPL-2.0
"""Owns the command line of tools/vm/kernel: fetching kernel images into the cache and telling releases. Must
never print anything but the release on stdout, since makefiles read it."""

import os
import sys

import host
import images
import status

HELP = """usage: kernel fetch SERIES|RELEASE     download and unpack the image into the cache; print its release
       kernel release SERIES|RELEASE   print the release only
       kernel path SERIES|RELEASE      fetch, and print the directory that holds vmlinux and lib/modules

SERIES is 6.1 or 6.12, meaning what Debian's metapackages linux-image-amd64 and linux-image-6.12-amd64 name now;
RELEASE is the full name of a kernel in Debian's archive. Nothing is installed: images are unpacked into
${XDG_CACHE_HOME:-~/.cache}/vmlab/kernels/RELEASE. Statuses: 0 done, 200 wrong usage, 201 missing packages, 202 no image.
"""


def main(words):
    """What to print; raises status.Failure."""
    words = [word for word in words if word != "--install"]
    install = len(words) < len(sys.argv) - 1 or os.environ.get("VMLAB_INSTALL") == "1"
    if words and words[0] in ("-h", "--help"):
        return HELP.rstrip()
    if len(words) != 2 or words[0] not in ("fetch", "release", "path"):
        raise status.Failure(status.USAGE, "usage: kernel fetch|release|path SERIES|RELEASE")
    if words[0] == "release":
        return images.resolve(words[1], images.Archive())
    host.need({"kmod": "depmod"}, install)
    kernel = images.fetch(words[1])
    return kernel.release if words[0] == "fetch" else kernel.directory


if __name__ == "__main__":
    try:
        host.catch_signals()
        print(main(sys.argv[1:]))
    except status.Failure as failure:
        host.say(failure.text)
        sys.exit(failure.status)
    except host.Interrupted as interrupted:
        host.stop_all()
        sys.exit(128 + interrupted.number)
