# SPDX-License-Identifier: GPL-2.0
"""QEMU that hands guests over to introspection tools: Debian's own source package, with the series in `tools/qemu`."""

import debian_root
import modules
import source_package
from settings import BUILD, CHECKOUT, JOBS
from stage import Stage

PATCHES = sorted((CHECKOUT / "tools/qemu").glob("*.patch"))
"""What each is for stands at its head."""

HEADERS = [("include/uapi/linux/kvmi.h", "linux-headers/linux/kvmi.h"),
           ("arch/x86/include/uapi/asm/kvmi.h", "linux-headers/asm-x86/kvmi.h")]
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

COMMON = """
    --target-list=x86_64-softmmu --without-default-features --without-default-devices --with-devices-x86_64=lab
    --enable-kvm --enable-fdt=system --disable-install-blobs --disable-download --disable-docs --disable-debug-info
    --prefix=/usr --disable-relocatable --firmwarepath=/usr/share/qemu:/usr/share/seabios
""".split()
"""Options of every QEMU. The firmware is that of Debian's packages: the source package has none."""

OPTIONS = ["--disable-tcg", "--enable-vhost-kernel"]

PROGRAM = "qemu-system-x86_64"


def build():
    """Build QEMU and leave it as build/qemu/qemu-system-x86_64."""
    path = BUILD / "qemu" / PROGRAM
    modules.replace(path, (_QEMU.get() / PROGRAM).read_bytes())
    path.chmod(0o755)


def stage(name, title, options, devices, patches, headers=()):
    """The stage of a QEMU: a folder that holds the program.

    `devices` are lines of Kconfig, `headers` pairs of a file's place here and in QEMU.
    """
    texts = [(patch.name, patch.read_text()) for patch in patches]
    headers = [(theirs, (CHECKOUT / ours).read_text()) for ours, theirs in headers]

    def make(folder):
        source_package.fetch(folder, "qemu", made.log)
        source = folder / "debs/qemu"
        (source / "configs/devices/x86_64-softmmu/lab.mak").write_text(devices)
        for place, text in headers:
            (source / place).write_text(text)
        source_package.build(folder, "qemu", texts,
                             ["mkdir b", "cd b", "../configure " + " ".join([*COMMON, *options]), f"ninja -j{JOBS} {PROGRAM}",
                              f"strip {PROGRAM}", f"cp {PROGRAM} /stage/{PROGRAM}"], made.log)

    made = Stage(name, title, {"options": [*COMMON, *options], "devices": devices, "patches": texts, "headers": headers,
                               "root": debian_root.root().key}, make, [PROGRAM])
    return made


_QEMU = stage("qemu", "building QEMU", OPTIONS, DEVICES, PATCHES, HEADERS)
