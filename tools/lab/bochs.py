# SPDX-License-Identifier: GPL-2.0
"""Bochs with VMX: Debian's own source package, configured so that it emulates virtualization."""

from pathlib import Path

import debian_root
import source_package
from settings import JOBS
from stage import Stage

OPTIONS = """
    --with-nogui --enable-smp --enable-cpu-level=6 --enable-x86-64 --enable-vmx=2 --enable-svm --enable-avx --enable-evex
    --enable-all-optimizations --enable-pci --enable-e1000 --disable-docbook --disable-plugins CXXFLAGS=-O2
""".split()
SHARE = "/usr/share"
PATCHES = sorted((Path(__file__).parent / "patches").glob("bochs-*.patch"))
"""What Bochs gets wrong, and why it matters, stands at each patch's head."""


def bochs():
    """The stage of Bochs: the folder holds the program `bochs`."""
    return _BOCHS


def _build(folder):
    source_package.fetch(folder, "bochs", _BOCHS.log)
    source_package.build(folder, "bochs", [(patch.name, patch.read_text()) for patch in PATCHES],
                         ["./configure " + " ".join(OPTIONS), f"make -j{JOBS}", "strip bochs", "cp bochs /stage/bochs"],
                         _BOCHS.log)


_BOCHS = Stage("bochs", "building Bochs", {"options": OPTIONS, "patches": [patch.read_text() for patch in PATCHES], "root": debian_root.root().key}, _build, ["bochs"])
