# SPDX-License-Identifier: GPL-2.0
"""Where the threads of the tool, of QEMU and of the subsystem are in the kernel: for whoever finds them stuck."""

from pathlib import Path

NAMES = ("kvmi", "qemu", "CPU ", "kvm")
"""How the names of these threads begin. QEMU calls those of its vCPUs `CPU 0/KVM`."""


def stacks():
    """A paragraph for each thread: its name, its state, and the functions it is in, the innermost first."""
    found = []
    for task in sorted(Path("/proc").glob("[0-9]*/task/[0-9]*"), key=lambda path: int(path.name)):
        try:
            name = (task / "comm").read_text().strip()
            if not name.startswith(NAMES):
                continue
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            frames = [line.split()[-1] for line in (task / "stack").read_text().splitlines()]
        except OSError:
            # It has just ended.
            continue
        found.append(f"{task.name} {name} {state}: " + (" < ".join(frames) or "not in the kernel, or running"))
    return "\n".join(found)
