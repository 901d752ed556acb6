# SPDX-License-Identifier: GPL-2.0
"""The first process of a host: makes it a usable machine, runs one command, reports, powers off.

Its serial ports: 0 is the kernel's log, 1 the command's input and output, 2 what programs report to
the lab (one JSON value per line, the last being {"exit": status}).
"""

import ctypes
import json
import os
import subprocess
import sys
import time
import traceback

LIBC = ctypes.CDLL(None, use_errno=True)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "LC_ALL": "C.UTF-8", "TERM": "linux", "KVMI_REPORT": "/dev/ttyS2", "PYTHONDONTWRITEBYTECODE": "1"}
MOUNTS = [("proc", "/proc", "proc", ""), ("sys", "/sys", "sysfs", ""), ("run", "/tmp", "tmpfs", "mode=1777"),
          ("cgroup2", "/sys/fs/cgroup", "cgroup2", ""), ("debugfs", "/sys/kernel/debug", "debugfs", ""),
          ("tracefs", "/sys/kernel/tracing", "tracefs", ""), ("shm", "/dev/shm", "tmpfs", "mode=1777"),
          ("devpts", "/dev/pts", "devpts", "ptmxmode=0666")]


def mount(source, target, kind, options="", flags=0):
    """Mount a file system; a failure is told, not fatal."""
    os.makedirs(target, exist_ok=True)
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        log(f"mounting {target} failed: {os.strerror(ctypes.get_errno())}", 4)


def log(text, level=6):
    """Write a line to the kernel's log."""
    with open("/dev/kmsg", "w", encoding="utf-8") as file:
        file.write(f"<{level}>kvmi-lab: {text}")


def report(value):
    """Send one value to the lab."""
    with open("/dev/ttyS2", "w", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def tool(*words):
    """Run a program of the host; its complaint goes to the kernel's log."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=ENVIRONMENT, text=True, check=False)
    if done.returncode:
        log(f"{' '.join(words)}: {done.stdout.strip()}", 4)
    return done.returncode == 0


def load(job):
    """Load the KVM modules that the job names."""
    for name in job["before"]:
        tool("modprobe", name)
    for path, parameters in job["modules"]:
        if not tool("insmod", path, *parameters):
            raise RuntimeError(f"{path} could not be loaded: see the kernel's log")


def set_up(job):
    """Make the host a usable machine."""
    for entry in MOUNTS:
        mount(*entry)
    for tag, target in job["shares"]:
        mount(tag, target, "9p", "ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose", flags=1)
    for name in ("ttyS1", "ttyS2"):
        tool("stty", "-F", f"/dev/{name}", "raw", "-echo", "115200")
    log("ready", 4)
    for path, value in (("/sys/fs/cgroup/cgroup.subtree_control", "+memory"), ("/proc/sys/kernel/hostname", "host"),
                        ("/proc/sys/kernel/printk_ratelimit", "0")):
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            log(f"{path}: {error}", 4)
    tool("ip", "link", "set", "lo", "up")
    for name in job["also"]:
        tool("modprobe", name)
    load(job)
    if os.path.exists("/dev/kvm"):
        os.chmod("/dev/kvm", 0o666)
    os.makedirs("/root", exist_ok=True)


def run(job):
    """Run the job's command on the second serial port and return its status."""
    port = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    if job["interactive"]:
        subprocess.run(["stty", "-F", "/dev/ttyS1", "sane", "rows", str(job["rows"]), "columns", str(job["columns"])],
                       check=False)
        child = subprocess.Popen(["setsid", "--ctty", "--wait", "bash", "-i"], stdin=port, stdout=port, stderr=port,
                                 cwd="/", env=ENVIRONMENT | {"TERM": job["term"]})
    else:
        child = subprocess.Popen(["sh", "-c", job["command"]], stdin=subprocess.DEVNULL, stdout=port, stderr=port,
                                 cwd="/", env=ENVIRONMENT, start_new_session=True)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            LIBC.tcdrain(port)
            return os.waitstatus_to_exitcode(status)


def find_leaks():
    """Ask a debug kernel for leaked memory; what it finds goes to its log."""
    path = "/sys/kernel/debug/kmemleak"
    if not os.path.exists(path):
        return
    for pause in (1, 6):
        time.sleep(pause)
        with open(path, "w", encoding="ascii") as file:
            file.write("scan")
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            log("kmemleak: " + line.rstrip(), 4)


def check_locking():
    """A debug kernel stops looking at locks after its first complaint, whoever caused it: say so."""
    try:
        with open("/proc/lockdep_stats", encoding="ascii") as file:
            if not any(line.split() == ["debug_locks:", "1"] for line in file):
                log("lock debugging is off", 3)
    except FileNotFoundError:
        pass


def main():
    """The whole life of a host."""
    with open("/run/kvmi-job", encoding="utf-8") as file:
        job = json.load(file)
    status = 125
    try:
        set_up(job)
        report({"ready": True})
        status = run(job)
        find_leaks()
        check_locking()
    except BaseException as error:  # pylint: disable=broad-except  (the first process must not end)
        log("the host failed: " + "; ".join(traceback.format_exc().splitlines()[-3:]), 3)
        report({"failure": str(error)})
    log("done")
    report({"exit": status if status >= 0 else 128 - status})
    os.sync()
    time.sleep(job["drain"])
    LIBC.reboot(0x4321FEDC)
    time.sleep(60)
    sys.exit(0)


main()
