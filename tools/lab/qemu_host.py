# SPDX-License-Identifier: GPL-2.0
"""A host in QEMU: SVM and nested paging in QEMU's own emulation, or real nested hardware."""

import subprocess

import debian_root
import host
import initramfs
import kernel_packages
import machine
from settings import SEEN

TIMEOUT = 900
KERNEL_LINE = "console=ttyS0 panic=-1 loglevel=7 mitigations=off no_timer_check"
"""On a busy machine the kernel's look at whether its timer ticks was seen to be over before the first tick."""
HARDWARE = ["-accel", "kvm", "-cpu", "host"]
COUNTING = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]
"""One instruction a nanosecond: the time-stamp counter, of a gigahertz, counts them."""


def accelerator(order):
    """QEMU's options for the processors, and the vendor of the modules to load."""
    if order.counting:
        return [*COUNTING, "-cpu", "max,+svm,+npt"], "amd"
    if order.cpu == "intel":
        return [*HARDWARE, "-smp", "2"], "intel"
    if machine.nested_hardware("svm"):
        return [*HARDWARE, "-smp", "2"], "amd"
    return ["-accel", "tcg,thread=multi", "-cpu", "max,+svm,+npt", "-smp", "2"], "amd"


def run(order, kernel=None, modules_folder=None, our_folder=None, parameters=""):
    """Boot a host, run the order's command, return the outcome."""
    options, vendor = accelerator(order)
    modules_folder = modules_folder or kernel_packages.modules_folder()
    kernel = kernel or modules_folder / "vmlinuz"
    shares = [("kvmi", SEEN), ("modules", f"/lib/modules/{modules_folder.name}")]

    def start(folder):
        description = host.job(order, vendor, drain=0, shares=shares, folder=our_folder)
        archive = initramfs.base(initramfs.AMD_MODULES, initramfs.AMD_ROOT, modules_folder)
        (folder / "initrd").write_bytes(archive + initramfs.job(description, host.AGENT.read_bytes()))
        for name in ("kernel", "output", "report"):
            (folder / name).touch()
        binds = [(folder, "/out", True), (kernel.parent, "/image", False), (modules_folder, "/packages", False),
                 (debian_root.root().get(), "/export", False)]
        second = ["-chardev", "stdio,id=terminal,signal=off", "-serial", "chardev:terminal"] if order.interactive else ["-serial", "file:/out/output"]
        words = ["qemu-system-x86_64", *options, "-m", f"{order.memory or 2048}", "-nodefaults", "-no-reboot",
                 "-display", "none", "-kernel", f"/image/{kernel.name}", "-initrd", "/out/initrd",
                 "-append", f"{KERNEL_LINE} {parameters}".strip(), "-device", "virtio-rng-pci",
                 "-serial", "file:/out/kernel", *second, "-serial", "file:/out/report"]
        for tag, path in (("root", "/export"), ("kvmi", SEEN), ("modules", "/packages")):
            words += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
        errors = open(folder / "emulator", "wb")
        streams = {} if order.interactive else {"stdin": subprocess.DEVNULL, "stdout": errors}
        with errors:
            return debian_root.start(words, binds, stderr=errors, start_new_session=not order.interactive, **streams)

    return host.run(order, start, TIMEOUT if not order.interactive else 10 ** 9)
