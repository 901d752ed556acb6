# SPDX-License-Identifier: GPL-2.0
"""`make run`: boots a host and plays a scene in it."""

import front
import host
import modules
import qemu_build
import tool
import guest
import watcher
from failure import Failure
from progress import Step, say
from settings import SEEN

MEMORY = {"amd": 2048, "intel": 1024}
"""In MiB. What Bochs emulates is memory of its own, touched or not."""

SCENES = {"one-vm": "scene.py", "two-vms": "two_vms.py"}
"""By their names, the programs that play them in the host."""


def main(cpu, name):
    """Build what is missing and play a scene; the status is 0 only if all of it was seen."""
    if name == "two-vms" and cpu != "amd":
        raise Failure("the scene of two VMs is for CPU=amd")
    modules.build()
    tool.build()
    files = guest.build()
    if name == "two-vms":
        qemu_build.build()
        watcher.build()
    say(".. booting the host: Debian's kernel, our KVM modules")
    order = host.Order(command=f"exec python3 {SEEN}/tools/lab/inside/{SCENES[name]}", cpu=cpu, name="run",
                       memory=MEMORY[cpu], extra=files)
    with Step("the scene"):
        outcome = front.boot(order)
    status = front.verdict(outcome)
    if status:
        raise Failure(f"the scene failed (status {status}); the host's kernel log is {outcome.kernel_log}", status)
    return 0
