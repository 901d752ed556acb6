# SPDX-License-Identifier: GPL-2.0
"""QEMU that hands guests over to introspection tools, in an AMD host: the checks of `inside/qemu_checks.py`."""

import guest_leg
import qemu_build
import tool
import watcher

PART = guest_leg.Part("qemu", "QEMU's handing over", "qemu_checks.py", 1800)


def wanted(only):
    """Whether a part of a name can be that of a check."""
    return PART.wanted(only)


def run(boot, only, results):
    """Run the checks and add their results."""
    qemu_build.build()
    tool.build()
    watcher.build()
    PART.run(boot, only, results)
