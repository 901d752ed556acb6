# SPDX-License-Identifier: GPL-2.0
"""A host in Bochs: VMX and EPT of an Intel processor, or SVM of an AMD one that QEMU models less well."""

import subprocess

import bochs
import debian_root
import disk
import host
import initramfs
import kernel_packages
from settings import LOG

TIMEOUT = 1800
DRAIN_SECONDS = 2
HERTZ = 50_000_000
"""Instructions in a second of the host's clock.

The time-stamp counter of Bochs counts instructions, while its CPUID promises a processor of some gigahertz. A
kernel that believes CPUID has seconds of billions of instructions, and whoever spins for a second, half a minute
of ours. So the kernel is told.
"""
HERTZ_WITH_GUEST = 150_000_000
"""The same where a guest runs: the timer interrupts of two kernels take a third of a slow processor."""
KERNEL_LINE = "console=ttyS0 panic=-1 nokaslr mitigations=off tsc=reliable tsc_early_khz={khz} loglevel=5"
MODELS = {"intel": ("corei7_skylake_x", "intel"), "amd-bochs": ("ryzen", "amd")}

CONFIGURATION = """
display_library: nogui
cpu: model={model}, count=1, ips={hertz}, reset_on_triple_fault=1
memory: guest={memory}, host={memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file={vga}
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=/out/disk.img, mode=volatile, cylinders=0
ata0-slave: type=cdrom, path=/out/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=/out/kernel
com2: enabled=1, mode=file, dev=/out/output
com3: enabled=1, mode=file, dev=/out/report
log: /out/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
clock: sync=none, time0=946684800
pci: enabled=1, chipset=i440fx
"""
MENU = "default host\nprompt 0\ntimeout 0\nlabel host\nkernel /vmlinuz\nappend initrd=/initrd {line}\n"
MAKE_ISO = """
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 /out/iso/isolinux/
cp /packages/vmlinuz /out/iso/vmlinuz
exec xorriso -as mkisofs -quiet -o /out/boot.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table /out/iso
"""


def run(order):
    """Boot a host, run the order's command, return the outcome."""
    model, vendor = MODELS[order.cpu]
    program = bochs.bochs().get()

    def start(folder):
        _media(folder, order, vendor)
        vga = debian_root.ask(["sh", "-c", "ls /usr/share/vgabios/*lgpl*latest* /usr/share/vgabios/vgabios.bin "
                               "/usr/share/bochs/VGABIOS* 2>/dev/null | head -1"]) or ""
        text = CONFIGURATION.format(model=model, hertz=_hertz(order), memory=order.memory or 1024, vga=vga.strip())
        (folder / "bochsrc").write_text(text)
        for name in ("kernel", "output", "report"):
            (folder / name).touch()
        binds = [(folder, "/out", True), (program, "/bochs", False)]
        with open(folder / "emulator", "wb") as errors:
            return debian_root.start(["/bochs/bochs", "-q", "-f", "/out/bochsrc"], binds, stdin=subprocess.DEVNULL,
                                     stdout=errors, stderr=errors, start_new_session=True)

    return host.run(order, start, TIMEOUT)


def _hertz(order):
    return HERTZ_WITH_GUEST if order.extra else HERTZ


def _media(folder, order, vendor):
    """Make what Bochs boots from: an image with kernel and initramfs, and the disk."""
    disk.make(folder, order)
    (folder / "iso/isolinux").mkdir(parents=True)
    description = host.job(order, vendor, drain=DRAIN_SECONDS)
    archive = initramfs.base(initramfs.BOCHS_MODULES, initramfs.BOCHS_ROOT)
    (folder / "iso/initrd").write_bytes(archive + initramfs.job(description, host.AGENT.read_bytes()))
    line = KERNEL_LINE.format(khz=_hertz(order) // 1000)
    (folder / "iso/isolinux/isolinux.cfg").write_text(MENU.format(line=line))
    binds = [(folder, "/out", True), (kernel_packages.modules_folder(), "/packages", False)]
    debian_root.run(["sh", "-ec", MAKE_ISO], LOG / "iso.log", "making the boot image", binds)
