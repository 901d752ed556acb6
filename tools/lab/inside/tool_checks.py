# SPDX-License-Identifier: GPL-2.0
"""The tool at work on a real guest, run in a host: each check is one test of the lab.

Usage: tool_checks.py [PART [NAME..]]: only the checks whose name holds PART and begins with one of the NAMEs. The guest
boots once, while its boot is traced. Its kernel leaves vCPU 1 idle (isolcpus), so that what is done to that vCPU meets
no program.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import listen_checks
import memory_checks
from asking import ask, interrupted, killed, value, want
from checking import run, tell
from report import report
from running import SECONDS, Unseen
from vm import BOOT_SECONDS, Guest

PARAMETERS = "isolcpus=1 caller=1 orders=1"
BOOT_TRACE = "/tmp/boot-trace"
GUESTS = 3
"""How many of them may die before the checks that are left do not run."""
BOOT_WATCHED = ["--cr", "0", "--cr", "4", "--msr", "EFER", "--msr", "LSTAR", "--descriptor", "--xsetbv"]
LONG = "100s"
"""What a trace may take that stops after so many events."""
WRITE_BACK, UNCACHEABLE = 6, 0
DEBUG, NMI = 1, 2
"""Vectors. Linux lets a #DB pass for which DR6 has no reason."""


def trace(guest, *words):
    """Trace; the events, and the line at the end."""
    *events, end = map(json.loads, ask(guest, "trace", *words, "--json").splitlines())
    want(end["event"] == "end" and end["events"] == len(events), f"the last line is {end}")
    return events, end


def traced(guest, count, *words):
    """Trace until so many events came."""
    events, _ = trace(guest, *words, "--count", str(count), "--for", LONG)
    want(len(events) == count, f"{len(events)} events in {LONG}, not {count}")
    return events


def kinds(events, event, **data):
    """The events of one kind whose data has these members."""
    return [found for found in events if found["event"] == event and data.items() <= found["data"].items()]


def only(events, event, **data):
    """See that there are events, all of one kind."""
    want(events and kinds(events, event, **data) == events, f"not all are {event} {data}: {events[:3]}")


def booted(event, **data):
    """A check that something was seen while the guest booted."""
    def check(_guest):
        with open(BOOT_TRACE, encoding="utf-8") as file:
            *events, end = map(json.loads, file)
        want(end["events"] == len(events), f"the last line is {end}")
        want(kinds(events, event, **data), f"no {event} {data} in {len(events)} events")
    return check


def inject(guest):
    """An exception that Linux lets pass."""
    took = value(guest, "inject", str(DEBUG), "--vcpu", "1")
    want(took["nr"] == DEBUG and took["vcpu"] == 1, f"it took {took}")


def inject_refused(guest):
    """An NMI is no exception."""
    want("no exception" in ask(guest, "inject", str(NMI), status=1), "it is not said why")


def xsave(guest):
    """What is copied out can be loaded, and is then there."""
    shown = value(guest, "xsave", "--vcpu", "1")
    want(len(shown["xmm"]) == 16, f"{len(shown['xmm'])} registers")
    ask(guest, "xsave", "--vcpu", "1", "--output", "/tmp/xsave")
    want(os.path.getsize("/tmp/xsave") == 4096, "it is not 4096 bytes")
    ask(guest, "xsave", "--vcpu", "1", "--load", "/tmp/xsave")
    want(value(guest, "xsave", "--vcpu", "1") == shown, "it has changed")


def mtrr(guest):
    """Memory, and the interrupt controller behind it."""
    for gpa, kind in (("0x1000", WRITE_BACK), ("0xfee00000", UNCACHEABLE)):
        want(value(guest, "mtrr", gpa)["type"] == kind, f"{gpa} is not of type {kind}")


def trace_cr3(guest):
    """Switches of address spaces; each is to another one."""
    events = traced(guest, 20, "--cr", "3")
    only(events, "CR", cr=3)
    want(all(event["data"]["old"] == event["cr3"] != event["data"]["new"] for event in events), f"no switch: {events}")


def trace_one_vcpu(guest):
    """Programs run on vCPU 0 only, and ask for CPUID each second: nothing of that is seen of vCPU 1."""
    only(traced(guest, 20, "--cpuid", "--vcpu", "0"), "CPUID")
    events, _ = trace(guest, "--cpuid", "--vcpu", "1", "--for", "4s")
    want(not events, f"{len(events)} events")


def trace_msr(guest):
    """An MSR by its name."""
    only(traced(guest, 5, "--msr", "TSC_DEADLINE"), "MSR", name="TSC_DEADLINE", msr="0x6e0")


def trace_together(guest):
    """Several wishes in one trace."""
    events, end = trace(guest, "--cr", "3", "--cpuid", "--msr", "TSC_DEADLINE", "--for", "6s")
    found = {event["event"] for event in events}
    want(found == {"CR", "CPUID", "MSR"}, f"only {found} in {len(events)} events")
    want(end["seconds"] >= 6, f"it ended after {end['seconds']} s")


def trace_disassemble(guest):
    """The instruction that an event is about."""
    events = traced(guest, 3, "--cr", "3", "--disassemble")
    want(all(re.fullmatch(r"mov +%r\w+,%cr3", event["instruction"] or "") for event in events), f"not all write CR3: {events}")


def trace_text(guest):
    """Lines for people."""
    line = ask(guest, "trace", "--cr", "3", "--count", "1").splitlines()[0]
    want(re.fullmatch(r" *\d+\.\d{6} vcpu [01] cr3 [0-9a-f]{16} rip [0-9a-f]{16} CR cr3 0x[0-9a-f]+ -> 0x[0-9a-f]+", line), line)


def step(guest):
    """So many instructions, no more, of one vCPU; and they lead somewhere."""
    events, _ = trace(guest, "--step", "20", "--for", LONG)
    want(len(events) == 20, f"{len(events)} steps, not 20")
    only(events, "SINGLESTEP", failed=False)
    want({event["vcpu"] for event in events} == {0}, "another vCPU is in it")
    want(len({event["rip"] for event in events}) > 1, f"it stays where it is: {events[0]}")


def step_together(guest):
    """Steps, and what happens in them."""
    events, _ = trace(guest, "--step", "500", "--cpuid", "--msr", "TSC_DEADLINE", "--vcpu", "0", "--for", LONG)
    want(len(kinds(events, "SINGLESTEP", failed=False)) == 500, f"not 500 steps in {len(events)} events")
    want({event["event"] for event in events} <= {"SINGLESTEP", "CPUID", "MSR"}, "something else was traced")


CHECKS = {
    "boot_cr0": booted("CR", cr=0),
    "boot_cr4": booted("CR", cr=4),
    "boot_efer": booted("MSR", name="EFER"),
    "boot_lstar": booted("MSR", name="LSTAR"),
    "boot_gdtr": booted("DESCRIPTOR", access="write", register="GDTR"),
    "boot_idtr": booted("DESCRIPTOR", access="write", register="IDTR"),
    "boot_tr": booted("DESCRIPTOR", access="write", register="TR"),
    "boot_xsetbv": booted("XSETBV", xcr=0),
    "inject": inject,
    "inject_refused": inject_refused,
    "mtrr": mtrr,
    "step": step,
    "step_interrupted": lambda guest: interrupted(guest, "trace", "--step", "1000000"),
    "step_killed": lambda guest: killed(guest, "trace", "--step", "1000000"),
    "step_together": step_together,
    "trace_breakpoint": lambda guest: only(traced(guest, 2, "--breakpoint"), "BREAKPOINT", length=1),
    "trace_cpuid": lambda guest: only(traced(guest, 20, "--cpuid"), "CPUID", length=2),
    "trace_cr3": trace_cr3,
    "trace_disassemble": trace_disassemble,
    "trace_hypercall": lambda guest: only(traced(guest, 2, "--hypercall"), "HYPERCALL"),
    "trace_interrupted": lambda guest: interrupted(guest, "trace", "--cr", "3"),
    "trace_killed": lambda guest: killed(guest, "trace", "--cr", "3", "--cpuid"),
    "trace_msr": trace_msr,
    "trace_one_vcpu": trace_one_vcpu,
    "trace_text": trace_text,
    "trace_together": trace_together,
    "xsave": xsave,
} | memory_checks.CHECKS | listen_checks.CHECKS


def boot(guest):
    """Wait until the guest is up, and trace what it does for that."""
    end = time.monotonic() + SECONDS
    while True:
        status, text = guest.tool("mtrr", "0")
        if not status:
            break
        guest.must_live()
        want(time.monotonic() < end, f"the tool cannot reach the VM: {text.strip()}")
    with open(BOOT_TRACE, "w", encoding="utf-8") as file:
        tracer = subprocess.Popen(guest.words("trace", *BOOT_WATCHED, "--json"), stdin=subprocess.DEVNULL, stdout=file)
        guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
        tracer.send_signal(signal.SIGINT)
        want(tracer.wait(SECONDS) == 0, f"the trace of the boot ended with status {tracer.returncode}")


def shared(names):
    """Run checks on one guest. If it dies, that check has failed, and the others have another guest."""
    names = list(names)
    for _ in range(GUESTS):
        if not names:
            return
        with Guest(PARAMETERS) as guest:
            booted_as = run(boot, guest)
            while names and not (guest.is_dead() and booted_as[0] == "passed"):
                name = names.pop(0)
                tell(name, CHECKS[name.removeprefix("tool_")], guest, booted_as)


def alone(names):
    """Run checks that want a guest of their own."""
    for name in names:
        with Guest("orders=1 nokaslr") as guest:
            tell(name, memory_checks.ALONE[name.removeprefix("tool_")], guest)


def main():
    """Boot the guests and run the checks."""
    part, *starts = sys.argv[1:] or [""]
    together, apart = ([name for name in (f"tool_{check}" for check in checks)
                        if part in name and name.startswith(tuple(starts) or "")]
                       for checks in (CHECKS, memory_checks.ALONE))
    report({"checks": together + apart})
    try:
        shared(together)
        alone(apart)
    except Unseen as problem:
        # A guest that does not end keeps the next from being one.
        report({"failure": str(problem)})
        raise


main()
