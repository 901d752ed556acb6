# SPDX-License-Identifier: GPL-2.0
"""Bochs with VMX: Debian's own source package, configured so that it emulates virtualization."""

from pathlib import Path

import debian_root
from settings import JOBS
from stage import Stage

OPTIONS = """
    --with-nogui --enable-smp --enable-cpu-level=6 --enable-x86-64 --enable-vmx=2 --enable-svm --enable-avx --enable-evex
    --enable-all-optimizations --enable-pci --enable-e1000 --disable-docbook --disable-plugins CXXFLAGS=-O2
""".split()
SHARE = "/usr/share"
PATCH = Path(__file__).parent / "patches/bochs-external-interrupts.patch"
"""What Bochs gets wrong, and why it matters, stands at the patch's head."""


def bochs():
    """The stage of Bochs: the folder holds the program `bochs`."""
    return _BOCHS


def _build(folder):
    from kernel_packages import APT, ARCHIVE_FOLDERS
    for name in ARCHIVE_FOLDERS:
        (folder / name).mkdir()
    binds = [(folder, "/stage", True)]
    log = _BOCHS.log
    debian_root.run(["apt-get", *APT, "update"], log, "reading the archive's lists", binds)
    # The two archives are all that is needed; apt verifies each against the signed list of sources.
    for part in ("--tar-only", "--diff-only"):
        debian_root.run(["apt-get", *APT, "source", "--download-only", part, "bochs"], log, "fetching Bochs", binds,
                        cwd="/stage/debs")
    (folder / PATCH.name).write_bytes(PATCH.read_bytes())
    lines = ["cd debs", "mkdir bochs", "tar -xf bochs_*.orig.tar.* --strip-components=1 -C bochs",
             "tar -xf bochs_*.debian.tar.* -C bochs", "cd bochs",
             "for name in $(sed 's/#.*//' debian/patches/series); do patch -p1 < debian/patches/$name; done",
             f"patch -p1 < /stage/{PATCH.name}",
             "./configure " + " ".join(OPTIONS), f"make -j{JOBS}", "strip bochs",
             "cp bochs /stage/bochs", "cd /stage", "rm -rf lists cache debs"]
    debian_root.run(["sh", "-exc", "\n".join(lines)], log, "building Bochs", binds, cwd="/stage")


_BOCHS = Stage("bochs", "building Bochs", {"options": OPTIONS, "patch": PATCH.read_text(), "root": debian_root.root().key}, _build, ["bochs"])
