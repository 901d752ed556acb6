# SPDX-License-Identifier: GPL-2.0
"""The guest that watches another: Debian's own kernel, a busybox, the tool, and vsock.

It runs the lines that come through its second serial port.
"""

import re

import debian_root
import initramfs
import kernel_packages
from cpio import Archive
from failure import Failure
from modules import replace
from settings import BUILD, SEEN

MODULES = ["vmw_vsock_virtio_transport"]
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
for module in $(cat /modules/order); do insmod /modules/$module; done
stty -F /dev/ttyS1 raw -echo
echo watcher is up
while read -r line; do eval "$line"; done </dev/ttyS1
"""


def build():
    """Leave its initial RAM file system as build/guest/watcher; its kernel is the other guest's. The tool has been built."""
    archive = Archive()
    for name in ("bin", "dev", "proc", "modules"):
        archive.folder(name)
    root = debian_root.root().get()
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("bin/kvmi", (BUILD / "kvmi").read_bytes(), 0o755)
    made = {"bin", "dev", "proc", "modules"}
    for path in _libraries():
        _folders(archive, path, made)
        archive.file(path, (root / path).read_bytes(), 0o755)
    initramfs.add_modules(archive, MODULES, kernel_packages.modules_folder())
    archive.file("init", INIT.encode(), 0o755)
    replace(BUILD / "guest/watcher", archive.bytes())


def _libraries():
    """The libraries of the tool, as paths in the root and in the guest."""
    listed = debian_root.ask(["ldd", f"{SEEN}/build/kvmi"])
    found = re.findall(r"(?:=> |^\s*)/(\S+)", listed or "", re.M)
    if not found:
        raise Failure(f"the tool's libraries are not known: {listed}")
    return found


def _folders(archive, path, made):
    """Add the folders that hold a file, once each."""
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        name = "/".join(parts[:count])
        if name not in made:
            archive.folder(name)
            made.add(name)
