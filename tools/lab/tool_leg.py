# SPDX-License-Identifier: GPL-2.0
"""The tool against a real guest: the checks of `inside/tool_checks.py`, all of them on AMD and some on Intel."""

import guest_leg
import tool

INTEL = ("tool_boot_", "tool_step", "tool_trace_breakpoint", "tool_trace_hypercall", "tool_watch_execute", "tool_watch_write",
         "tool_protect_blocked")
"""Bochs is slow, so that its leg runs the checks of what differs from AMD: exits on #BP and on calls, single steps, and
access to pages, execute-only among it."""

PARTS = {cpu: guest_leg.Part("tool", "the tool and a guest", "tool_checks.py", 1500, cpu=cpu, starts=starts)
         for cpu, starts in (("amd", ()), ("intel", INTEL))}


def wanted(cpu, only):
    """Whether a leg runs checks whose names hold `only`."""
    return cpu in PARTS and PARTS[cpu].wanted(only)


def run(boot, cpu, only, results, kernel="stock"):
    """Run the checks of a leg and add their results."""
    tool.build()
    PARTS[cpu].run(boot, only, results, kernel)
