# SPDX-License-Identifier: GPL-2.0
"""Reading the kernel's log of a host: was there a complaint?"""

import re

COMPLAINTS = re.compile("|".join([
    r"WARNING:", r"\bBUG:", r"kernel BUG at", r"\bOops\b", r"general protection fault", r"[Uu]nable to handle",
    r"UBSAN:", r"KASAN:", r"kmemleak: .*(unreferenced|suspected)", r"INFO: task .* blocked", r"rcu: INFO",
    r"self-detected stall", r"Kernel panic", r"refcount_t:", r"scheduling while atomic", r"possible .* lock",
    r"DEBUG_LOCKS_WARN_ON", r"rust_kernel: panicked", r"soft lockup", r"list_(add|del) corruption", r"stack segment:",
    r"invalid opcode:", r"divide error:", r"kernel tried to execute", r"Tainted: .*W", r"suspicious RCU usage",
    r"kvmi-lab: lock debugging is off"]))
READY = "kvmi-lab: ready"
CONTEXT_LINES = 6


def complaints(text):
    """The lines of a log, from the moment our part began, that tell of a fault in the kernel."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if READY in line), 0)
    return [line for line in lines[start:] if COMPLAINTS.search(line)]


def excerpt(text, limit=40):
    """The complaints with the lines that follow each, for a message."""
    lines = text.splitlines()
    start = next((number for number, line in enumerate(lines) if READY in line), 0)
    shown = {}
    for number in range(start, len(lines)):
        if COMPLAINTS.search(lines[number]):
            for near in range(number, min(number + CONTEXT_LINES, len(lines))):
                shown[near] = lines[near]
    return "\n".join(shown[number] for number in sorted(shown)[:limit])
