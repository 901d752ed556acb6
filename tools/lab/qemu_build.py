# SPDX-License-Identifier: GPL-2.0
"""QEMU that hands guests over to introspection tools: Debian's own source package, with the series in `tools/qemu`."""

import debian_root
import modules
import source_package
from settings import BUILD, CHECKOUT, JOBS
from stage import Stage

PATCHES = sorted((CHECKOUT / "tools/qemu").glob("*.patch"))
"""What each is for stands at its head."""

HEADERS = {"include/uapi/linux/kvmi.h": "linux-headers/linux/kvmi.h",
           "arch/x86/include/uapi/asm/kvmi.h": "linux-headers/asm-x86/kvmi.h"}
"""What the kernel and QEMU agree on: where it is here, and where QEMU has its headers of the kernel."""

DEVICES = """
CONFIG_PCI_DEVICES=n
CONFIG_ISAPC=n
CONFIG_MICROVM=n
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VHOST_VSOCK=y
"""
"""What guests of the lab may have: the rest of QEMU's devices would only cost time."""

OPTIONS = """
    --target-list=x86_64-softmmu --without-default-features --without-default-devices --with-devices-x86_64=lab
    --enable-kvm --disable-tcg --enable-vhost-kernel --enable-fdt=system --disable-install-blobs --disable-download
    --disable-docs --disable-debug-info --prefix=/usr --disable-relocatable
    --firmwarepath=/usr/share/qemu:/usr/share/seabios
""".split()
"""The firmware is that of Debian's packages: the source package has none."""

PROGRAM = "qemu-system-x86_64"


def build():
    """Build QEMU and leave it as build/qemu/qemu-system-x86_64."""
    path = BUILD / "qemu" / PROGRAM
    modules.replace(path, (_QEMU.get() / PROGRAM).read_bytes())
    path.chmod(0o755)


def _build(folder):
    source_package.fetch(folder, "qemu", _QEMU.log)
    source = folder / "debs/qemu"
    (source / "configs/devices/x86_64-softmmu/lab.mak").write_text(DEVICES)
    for ours, theirs in HEADERS.items():
        (source / theirs).write_bytes((CHECKOUT / ours).read_bytes())
    source_package.build(folder, "qemu", [(patch.name, patch.read_text()) for patch in PATCHES],
                         ["mkdir b", "cd b", "../configure " + " ".join(OPTIONS), f"ninja -j{JOBS} {PROGRAM}",
                          f"strip {PROGRAM}", f"cp {PROGRAM} /stage/{PROGRAM}"], _QEMU.log)


_QEMU = Stage("qemu", "building QEMU", {"options": OPTIONS, "devices": DEVICES, "patches": [patch.read_text() for patch in PATCHES],
                                        "headers": [(CHECKOUT / name).read_text() for name in HEADERS],
                                        "root": debian_root.root().key}, _build, [PROGRAM])
