# SPDX-License-Identifier: GPL-2.0
"""The scene, played in a host: start a guest under unmodified QEMU, introspect it, leave it as it was."""

import json
import re
import signal
import subprocess
import sys
import time

TOOL = "/kvmi/build/kvmi"
CONSOLE = "/tmp/console"
BOOT_SECONDS = 240
TOOL_SECONDS = 120
PAUSE_SECONDS = 6
QEMU = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "256", "-nodefaults", "-no-reboot",
        "-display", "none", "-kernel", "/kvmi/build/guest/vmlinuz", "-initrd", "/kvmi/build/guest/initrd",
        "-append", "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable", "-serial", f"file:{CONSOLE}"]


class Unseen(Exception):
    """Something that should have been seen was not."""


def tell(text):
    """One line of the transcript."""
    print(text, flush=True)


def heartbeats():
    """The number of the guest's last heartbeat, 0 before the first."""
    try:
        with open(CONSOLE, encoding="utf-8", errors="replace") as file:
            found = re.findall(r"heartbeat (\d+)", file.read())
    except FileNotFoundError:
        return 0
    return int(found[-1]) if found else 0


def await_heartbeats(count, seconds, guest, what):
    """Wait until the guest has beaten `count` times more."""
    start, end = heartbeats(), time.monotonic() + seconds
    while heartbeats() < start + count:
        if guest.poll() is not None:
            raise Unseen(f"QEMU ended with status {guest.returncode}")
        if time.monotonic() > end:
            raise Unseen(f"{what}: no heartbeat for {seconds} s")
        time.sleep(0.2)
    return heartbeats()


def kvmi(pid, *words, wanted=0):
    """Run the tool, show the command and what it printed, return that."""
    command = [TOOL, words[0], "--pid", str(pid), *words[1:]]
    tell("$ kvmi " + " ".join(command[1:]))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=TOOL_SECONDS, check=False)
    tell("\n".join("    " + line for line in done.stdout.splitlines()))
    if done.returncode != wanted:
        raise Unseen(f"kvmi {words[0]} ended with status {done.returncode}")
    return done.stdout


def banner(pid):
    """Find the guest kernel's banner in guest physical memory and read it."""
    found = re.search(r"0x[0-9a-f]+", kvmi(pid, "find", "Linux version 7."))
    if not found:
        raise Unseen("the banner is not in guest memory")
    text = kvmi(pid, "read", found.group(), "96")
    if "Linux" not in "".join(re.findall(r"  (\S.{0,15})$", text, re.M)):
        raise Unseen("what is read there is not the banner")


def pause(pid, guest):
    """Stop all vCPUs, see that the guest is silent, let it go on."""
    holder = subprocess.Popen([TOOL, "pause", "--pid", str(pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        tell(f"$ kvmi pause --pid {pid} &")
        tell("    " + holder.stdout.readline().rstrip())
        time.sleep(2)
        if holder.poll() is not None:
            raise Unseen(f"kvmi pause ended at once with status {holder.returncode}: {holder.stdout.read()}")
        before = heartbeats()
        time.sleep(PAUSE_SECONDS)
        after = heartbeats()
        tell(f"heartbeats in {PAUSE_SECONDS} s: {after - before}")
        if after != before:
            raise Unseen("the guest went on while it was paused")
        kvmi(pid, "resume")
        holder.wait(TOOL_SECONDS)
        tell("".join("    " + line for line in holder.stdout.readlines()).rstrip())
        tell(f"after the resume: heartbeat {await_heartbeats(2, 60, guest, 'after the resume')}")
    finally:
        if holder.poll() is None:
            holder.send_signal(signal.SIGTERM)
            holder.wait(TOOL_SECONDS)


def play(guest):
    """The whole scene, from the running QEMU on."""
    pid = guest.pid
    tell(f"a guest starts: QEMU, process {pid}")
    await_heartbeats(2, BOOT_SECONDS, guest, "while the guest boots")
    tell(f"it is up: heartbeat {heartbeats()}")
    kvmi(pid, "info")
    facts = subprocess.run([TOOL, "--json", "list"], stdout=subprocess.PIPE, text=True, timeout=TOOL_SECONDS, check=False)
    tell("    " + facts.stdout.strip())
    json.loads(facts.stdout)
    for vcpu in ("0", "1"):
        text = kvmi(pid, "regs", "--vcpu", vcpu)
        if not re.search(r"\brip\b", text, re.I) or not re.search(r"\bcr3\b", text, re.I):
            raise Unseen(f"the registers of vCPU {vcpu}")
    banner(pid)
    pause(pid, guest)
    tell(f"detached; the guest goes on: heartbeat {await_heartbeats(3, 60, guest, 'after the detach')}")


def main():
    """Start the guest, play, end the guest."""
    guest = subprocess.Popen(QEMU, stdin=subprocess.DEVNULL)
    try:
        play(guest)
    except (Unseen, subprocess.TimeoutExpired, ValueError) as problem:
        tell(f"NOT SEEN: {problem}")
        return 1
    finally:
        guest.kill()
        guest.wait()
    tell("all of it was seen")
    return 0


sys.exit(main())
