# SPDX-License-Identifier: GPL-2.0
"""The guest of the scene: Debian's own kernel and a busybox that prints a heartbeat.

With `caller=1` on its kernel's command line it also calls the tool and runs into INT3, each second, in a program
that INT3 ends. With `orders=1` it runs the lines that come through its second serial port, which may load the
module of `rootkit.py`.
"""

import struct

import debian_root
import kernel_packages
import modules
import rootkit
from cpio import Archive
from settings import BUILD, SEEN

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
export PATH=/bin
[ "$orders" ] && { busybox --install -s /bin; stty -F /dev/ttyS1 raw -echo; }
[ "$orders" ] && while read -r line; do eval "$line"; done </dev/ttyS1 2>/dev/null &
n=0
while :; do n=$((n + 1)); echo "heartbeat $n"; [ "$caller" ] && /bin/caller; /bin/busybox sleep 1; done 2>/dev/null
"""

CALL = bytes.fromhex("31c0" "0fa2" "81f96e74656c" "b822000000" "bf18000000" "be00000000" "7405" "0f01d9" "eb03" "0f01c1" "cc")
"""xor %eax, %eax; cpuid; cmp $"ntel", %ecx; mov $34, %eax; mov $24, %edi; mov $0, %esi; je 1f; vmmcall; jmp 2f;
1: vmcall; 2: int3"""

ADDRESS = 0x400000

FILES = ["vmlinuz", "initrd"]
FOLDER = BUILD / "guest"


def program(code):
    """An ELF file with nothing but this code."""
    size = 64 + 56 + len(code)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, ADDRESS + 64 + 56, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, size, size, 0x1000) + code


def build():
    """Leave the guest's `vmlinuz` and `initrd` in `FOLDER`; where they are, and where a host looks for them."""
    archive = Archive()
    for name in ("bin", "dev", "proc"):
        archive.folder(name)
    archive.file("bin/busybox", (debian_root.root().get() / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("bin/caller", program(CALL), 0o755)
    archive.file("rootkit.ko", rootkit.build().read_bytes(), 0o644)
    archive.file("init", INIT.encode(), 0o755)
    modules.replace(FOLDER / "initrd", archive.bytes())
    modules.replace(FOLDER / "vmlinuz", (kernel_packages.modules_folder() / "vmlinuz").read_bytes())
    return [(FOLDER / name, f"{SEEN}/build/guest/{name}") for name in FILES]
