# SPDX-License-Identifier: GPL-2.0
"""A host in QEMU: SVM and nested paging in QEMU's own emulation, or real nested hardware."""

import contextlib
import socket
import subprocess

import debian_root
import emulator
import host
import initramfs
import kernel_packages
import machine
from settings import SEEN

TIMEOUT = 900
KERNEL_LINE = "console=ttyS0 panic=-1 loglevel=7 mitigations=off no_timer_check unknown_nmi_panic panic_print=0xc0"
"""On a busy machine the kernel's look at whether its timer ticks was seen to be over before the first tick. An NMI has it
tell where each of its processors is, and what waits."""
NMI_SECONDS = 60
DEBIANS = "qemu-system-x86_64"
HARDWARE = ["-accel", "kvm", "-cpu", "host"]
COUNTING = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-smp", "1"]
"""One instruction a nanosecond: the time-stamp counter, of a gigahertz, counts them."""


def processors(order):
    """The program, its options for the processors, and the vendor of the modules to load."""
    if not order.counting and (order.cpu == "intel" or machine.nested_hardware("svm")):
        return DEBIANS, [*HARDWARE, "-smp", "2"], order.cpu
    options = COUNTING if order.counting else ["-accel", "tcg,thread=multi", "-smp", "2"]
    return f"/stage/{emulator.PROGRAM}", [*options, "-cpu", "max,+svm,+npt"], "amd"


def run(order, kernel=None, modules_folder=None, our_folder=None, parameters=""):
    """Boot a host, run the order's command, return the outcome."""
    program, options, vendor = processors(order)
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
        if program != DEBIANS:
            binds.append((emulator.EMULATOR.get(), "/stage", False))
        second = ["-chardev", "stdio,id=terminal,signal=off", "-serial", "chardev:terminal"] if order.interactive else ["-serial", "file:/out/output"]
        words = [program, *options, "-m", f"{order.memory or 2048}", "-nodefaults", "-no-reboot", "-display", "none",
                 "-monitor", "unix:/out/monitor,server=on,wait=off",
                 "-kernel", f"/image/{kernel.name}", "-initrd", "/out/initrd",
                 "-append", f"{KERNEL_LINE} {parameters}".strip(), "-device", "virtio-rng-pci",
                 "-serial", "file:/out/kernel", *second, "-serial", "file:/out/report"]
        for tag, path in (("root", "/export"), ("kvmi", SEEN), ("modules", "/packages")):
            words += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap"]
        errors = open(folder / "emulator", "wb")
        streams = {} if order.interactive else {"stdin": subprocess.DEVNULL, "stdout": errors}
        with errors:
            return debian_root.start(words, binds, stderr=errors, start_new_session=not order.interactive, **streams)

    return host.run(order, start, TIMEOUT if not order.interactive else 10 ** 9, examine)


def examine(folder):
    """Have a host that hangs say where its processors are: an NMI makes its kernel panic, and that ends it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(folder / "monitor"))
        monitor.sendall(b"nmi\n")
        monitor.settimeout(NMI_SECONDS)
        while monitor.recv(4096):
            pass
