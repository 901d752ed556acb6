# SPDX-License-Identifier: GPL-2.0
"""The scene, played in a host: start a guest under unmodified QEMU, introspect it, leave it as it was."""

import json
import re
import subprocess
import sys
import time

from running import SECONDS, Unseen
from vm import BOOT_SECONDS, ROOTKIT, TOOL, Guest

PAUSE_SECONDS = 6
SHOWN_LINES = 5
STEPS = 20
SHOWN_BY = {"ops": "first line of /proc/cpuinfo", "text": "/proc/loadavg", "wp": "/proc/uptime"}
"""Where what the rootkit changes is seen."""


def tell(text):
    """One line of the transcript."""
    print(text, flush=True)


def kvmi(guest, *words, shown=None):
    """Run the tool, show the command and what it printed (or its first lines), return that."""
    tell("$ kvmi " + " ".join(guest.words(*words)[1:]))
    status, text = guest.tool(*words)
    lines = text.splitlines()
    if shown and len(lines) > shown:
        lines[shown:] = [f"... {len(lines) - shown} lines more"]
    tell("\n".join("    " + line for line in lines))
    if status:
        raise Unseen(f"kvmi {words[0]} ended with status {status}")
    return text


def banner(guest):
    """Find the guest kernel's banner in guest physical memory and read it."""
    found = re.search(r"0x[0-9a-f]+", kvmi(guest, "find", "Linux version 7."))
    if not found:
        raise Unseen("the banner is not in guest memory")
    text = kvmi(guest, "read", found.group(), "96")
    if "Linux" not in "".join(re.findall(r"  (\S.{0,15})$", text, re.M)):
        raise Unseen("what is read there is not the banner")


def trace(guest, what, *words):
    """Trace so many events, as programs do; tell what came and how fast."""
    *events, end = map(json.loads, kvmi(guest, "trace", *words, "--json", shown=2).splitlines())
    if not events:
        raise Unseen(f"{what}: no event")
    tell(f"{what}: {end['events']} in {end['seconds']:.1f} s, {end['per_second']:.0f} per second")
    guest.await_heartbeats(1, SECONDS, f"after the trace of {what}")
    return events


def traces(guest):
    """See the guest switch between address spaces, ask for CPUID, arm its timer."""
    events = trace(guest, "switches of CR3", "--cr", "3", "--count", "20")
    if any(event["event"] != "CR" or event["data"]["cr"] != 3 for event in events):
        raise Unseen("something else than writes to CR3 was traced")
    events = trace(guest, "executions of CPUID", "--cpuid", "--count", "20")
    leaves = sorted({int(event["data"]["function"], 16) for event in events})
    tell("leaves: " + ", ".join(map(hex, leaves)))
    trace(guest, "writes to the timer's MSR", "--msr", "TSC_DEADLINE", "--count", "100")
    trace(guest, "breakpoints", "--breakpoint", "--count", "2")


def step(guest):
    """See what a vCPU does, instruction by instruction."""
    text = kvmi(guest, "trace", "--step", str(STEPS), "--disassemble")
    if len(re.findall(r"rip [0-9a-f]{16} SINGLESTEP  \S", text)) != STEPS:
        raise Unseen(f"{STEPS} single steps")
    guest.await_heartbeats(1, SECONDS, "after the single steps")


def pause(guest):
    """Stop all vCPUs, see that the guest is silent, let it go on."""
    holder = guest.start("pause")
    try:
        tell(f"$ kvmi pause --pid {guest.pid} &")
        tell("    " + holder.line().rstrip())
        time.sleep(2)
        if not holder.lives():
            raise Unseen(f"kvmi pause ended at once with status {holder.status()}: {''.join(holder.rest())}")
        before = guest.heartbeats()
        time.sleep(PAUSE_SECONDS)
        after = guest.heartbeats()
        tell(f"heartbeats in {PAUSE_SECONDS} s: {after - before}")
        if after != before:
            raise Unseen("the guest went on while it was paused")
        kvmi(guest, "resume")
        holder.status()
        tell("".join("    " + line for line in holder.rest()).rstrip())
        tell(f"after the resume: heartbeat {guest.await_heartbeats(2, SECONDS, 'after the resume')}")
    finally:
        holder.kill()


def show_rooted(guest):
    """What the guest shows where its rootkit changes something; which of that is changed."""
    changed, shown = guest.rooted()
    for way, value in shown.items():
        tell(f"    {SHOWN_BY[way]}: {value or '(nothing)'}")
    return changed


def attack(guest):
    """The guest loads its rootkit; which of its changes have an effect."""
    tell("in the guest: insmod rootkit.ko")
    guest.attack()
    return show_rooted(guest)


def rootkit(guest):
    """See a rootkit at work in the guest's kernel, and then stopped."""
    tell("a rootkit, and nobody watches")
    if attack(guest) != set(ROOTKIT):
        raise Unseen("the rootkit did not work")
    guest.obey("rmmod rootkit")
    tell(f"$ kvmi protect --pid {guest.pid} --action block &")
    guard = guest.start("protect", "--action", "block")
    try:
        for _ in range(3):
            tell("    " + guard.line().rstrip())
        if attack(guest):
            raise Unseen("the rootkit was not stopped")
        guard.interrupt()
        lines = "".join(guard.rest()).rstrip()
        tell("\n".join("    " + line for line in lines.splitlines() if "self-patching" not in line))
        if guard.status() or lines.count(" by insmod ") != lines.count(": blocked ") or ": blocked " not in lines:
            raise Unseen("kvmi protect did not name the rootkit")
    finally:
        guard.kill()
    guest.obey("rmmod rootkit")
    tell(f"the guest lives on: heartbeat {guest.await_heartbeats(2, SECONDS, 'after the rootkit')}")


def play(guest):
    """The whole scene, from the running QEMU on."""
    tell(f"a guest starts: QEMU, process {guest.pid}")
    guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
    tell(f"it is up: heartbeat {guest.heartbeats()}")
    kvmi(guest, "info")
    facts = subprocess.run([TOOL, "--json", "list"], stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    tell("    " + facts.stdout.strip())
    json.loads(facts.stdout)
    for vcpu in ("0", "1"):
        text = kvmi(guest, "regs", "--vcpu", vcpu)
        if not re.search(r"\brip\b", text, re.I) or not re.search(r"\bcr3\b", text, re.I):
            raise Unseen(f"the registers of vCPU {vcpu}")
    banner(guest)
    traces(guest)
    kvmi(guest, "xsave", shown=SHOWN_LINES)
    if "write-back" not in kvmi(guest, "mtrr", "0x1000"):
        raise Unseen("the guest's memory is not write-back")
    step(guest)
    pause(guest)
    rootkit(guest)
    tell(f"detached; the guest goes on: heartbeat {guest.await_heartbeats(3, SECONDS, 'after the detach')}")


def main():
    """Start the guest, play, end the guest."""
    with Guest("orders=1 caller=1") as guest:
        try:
            play(guest)
        except (Unseen, subprocess.TimeoutExpired, ValueError) as problem:
            tell(f"NOT SEEN: {problem}")
            return 1
    tell("all of it was seen")
    return 0


sys.exit(main())
