# SPDX-License-Identifier: GPL-2.0
"""The kernel tree: Debian's source, configured and prepared like Debian's own build of it."""

import debian_root
import kernel_packages
from settings import CC, JOBS, TREE
from stage import Stage

_trees = {}


def make_words(*words):
    """The make command of the kernel build, with Debian's compiler and release name."""
    return ["make", f"-j{JOBS}", f"CC={CC}", f"KERNELRELEASE={kernel_packages.version()}", *words]


def tree():
    """The stage of the prepared tree."""
    if "stock" not in _trees:
        inputs = {"kernel": kernel_packages.version(), "packages": kernel_packages.packages().key,
                  "root": debian_root.root().key, "code": 1}
        _trees["stock"] = Stage("tree", "preparing the kernel tree", inputs, _build,
                                ["Module.symvers", "rust/libkernel.rmeta", ".config"])
    return _trees["stock"]


def unpack(folder, log):
    """Unpack the kernel's source into `folder`."""
    binds = [(folder, TREE, True), (kernel_packages.packages().get(), "/packages", False)]
    debian_root.run(["tar", "-xf", "/packages/source.tar.xz", "--strip-components=1", "-C", TREE],
                    log, "unpacking the kernel's source", binds)
    return binds


def _build(folder):
    log = tree().log
    binds = unpack(folder, log)
    headers = f"/packages/x/usr/src/linux-headers-{kernel_packages.version()}"
    for step in (["cp", f"{headers}/.config", ".config"],
                 make_words("olddefconfig"),
                 make_words("modules_prepare"),
                 make_words("headers"),
                 ["cp", f"{headers}/Module.symvers", f"{headers}/vmlinux", "."]):
        debian_root.run(step, log, "preparing the kernel tree: " + " ".join(step[:1] + step[-1:]), binds, cwd=TREE)
