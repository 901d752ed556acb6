# SPDX-License-Identifier: GPL-2.0
"""The QEMU that emulates AMD hosts: Debian's own source package, with what keeps its emulation from being right mended."""

from pathlib import Path

import qemu_build

PATCHES = sorted((Path(__file__).parent / "patches").glob("qemu-*.patch"))
"""What QEMU gets wrong, and why it matters, stands at each patch's head."""

DEVICES = """
CONFIG_PCI_DEVICES=n
CONFIG_ISAPC=n
CONFIG_MICROVM=n
CONFIG_Q35=n
CONFIG_I440FX=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_9P=y
CONFIG_VIRTIO_RNG=y
"""
"""What the lab's hosts have."""

PROGRAM = qemu_build.PROGRAM
EMULATOR = qemu_build.stage("emulator", "building the hosts' QEMU", ["--enable-tcg", "--enable-virtfs", "--enable-attr"],
                            DEVICES, PATCHES)
"""The stage: its folder holds the program."""
