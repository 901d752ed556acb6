# SPDX-License-Identifier: GPL-2.0
"""What a host starts with: busybox, the modules that reach its root, and a dozen lines of shell."""

import json
import lzma

import debian_root
import kernel_packages
from cpio import Archive

AMD_MODULES = ["9pnet_virtio", "9p", "overlay"]
BOCHS_MODULES = ["ata_piix", "sd_mod", "ext4", "overlay"]

AMD_ROOT = """
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose root /lower
"""
BOCHS_ROOT = """
mount -t ext4 -o ro /dev/sda /lower
"""
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "insmod $module failed"; done
{root}
mount -t tmpfs over /over
mkdir /over/up /over/work
mount -t overlay -o lowerdir=/lower,upperdir=/over/up,workdir=/over/work root /host || exec sh
mount --move /dev /host/dev
cp /job /host/run/kvmi-job
cp /agent.py /host/run/kvmi-agent.py
exec switch_root /host /usr/bin/python3 -S -B /run/kvmi-agent.py
"""


def closure(dependencies, names):
    """The modules needed for `names`, as paths, each after those it depends on.

    `dependencies` is the text of `modules.dep`.
    """
    needs = {}
    for line in dependencies.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {path.rsplit("/", 1)[-1].split(".")[0].replace("-", "_"): path for path in needs}
    order = []

    def add(path):
        if path not in order:
            for needed in reversed(needs[path]):
                add(needed)
            order.append(path)

    for name in names:
        if name in by_name:
            add(by_name[name])
    return order


def base(names, root_lines, folder=None):
    """The part of the archive that is the same for each boot; `folder` holds the kernel's modules."""
    folder = folder or kernel_packages.modules_folder()
    archive = Archive()
    for name in ("bin", "dev", "lower", "over", "host", "modules"):
        archive.folder(name)
    archive.file("bin/busybox", (debian_root.root().get() / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", INIT.format(root=root_lines.strip()).encode(), 0o755)
    add_modules(archive, names, folder)
    return archive.bytes()


def add_modules(archive, names, folder):
    """Add kernel modules and what they need; `modules/order` is the order to load them in."""
    order = []
    for path in closure((folder / "modules.dep").read_text(), names):
        name = path.rsplit("/", 1)[-1].split(".ko")[0] + ".ko"
        content = (folder / path).read_bytes()
        archive.file(f"modules/{name}", lzma.decompress(content) if path.endswith(".xz") else content)
        order.append(name)
    archive.file("modules/order", "\n".join(order).encode())


def job(description, agent):
    """The part that differs: what this boot is to do, and the program that does it."""
    archive = Archive()
    archive.file("job", json.dumps(description).encode())
    archive.file("agent.py", agent)
    return archive.bytes()
