# SPDX-License-Identifier: GPL-2.0
"""The guest of the scene: Debian's own kernel and a busybox that prints a heartbeat."""

import debian_root
import kernel_packages
import modules
from cpio import Archive

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
n=0
while :; do n=$((n + 1)); echo "heartbeat $n"; /bin/busybox sleep 1; done
"""


def build(folder):
    """Leave the guest's `vmlinuz` and `initrd` in `folder`."""
    archive = Archive()
    for name in ("bin", "dev"):
        archive.folder(name)
    archive.file("bin/busybox", (debian_root.root().get() / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", INIT.encode(), 0o755)
    modules.replace(folder / "initrd", archive.bytes())
    modules.replace(folder / "vmlinuz", (kernel_packages.modules_folder() / "vmlinuz").read_bytes())
