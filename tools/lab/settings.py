# SPDX-License-Identifier: GPL-2.0
"""What is fixed about the lab: folders, package lists, compiler.

The one place that names the kernel is the file `kernel-version` beside this one.
"""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The repository this lab belongs to."""

BUILD = CHECKOUT / "build"
"""Everything that is made from this checkout."""

LOG = BUILD / "log"
"""Long outputs, one file per step."""

CACHE = Path(os.environ.get("KVMI_CACHE") or Path.home() / ".cache" / "kvmi").resolve()
"""Everything that is fetched or built once for all checkouts."""

KERNEL = (Path(__file__).parent / "kernel-version").read_text().strip()
"""The release of Debian's kernel that the modules are built for."""

SERIES = ".".join(KERNEL.split(".")[:2])
"""The first two numbers of the kernel's version, as in `linux-source-7.3`."""

SUITE = "trixie"
"""The Debian release of the root: the one whose backports hold the kernel."""

CC = "x86_64-linux-gnu-gcc-14"
"""The compiler of Debian's own kernel build."""

JOBS = os.cpu_count() or 2

ROOT_PACKAGES = """
    ca-certificates build-essential bc bison flex libelf-dev libssl-dev cpio kmod rsync python3
    rustc rust-src cargo bindgen rustfmt rust-clippy libclang-19-dev clang lld llvm dwarves
    qemu-system-x86 busybox-static xz-utils zstd
    isolinux syslinux-common xorriso bochsbios vgabios e2fsprogs iproute2 procps
    meson ninja-build pkgconf python3-venv python3-pycotap libglib2.0-dev libfdt-dev
""".split()
"""What the root is made of: compilers, emulators, and what makes boot media."""

TREE = "/usr/src/linux"
"""Where a kernel tree is seen inside the root."""

SEEN = "/kvmi"
"""Where this checkout is seen, inside the root and inside the hosts."""


def inputs_of(*names):
    """The contents of lab files, as the part of a stage's inputs that is code."""
    here = Path(__file__).parent
    return {name: (here / name).read_text() for name in names}
