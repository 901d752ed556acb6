# SPDX-License-Identifier: GPL-2.0
"""`make run`: boots a host and plays the scene in it."""

import front
import host
import modules
import tool
import guest
from failure import Failure
from progress import Step, say
from settings import BUILD, SEEN


def main():
    """Build what is missing and play the scene; the status is 0 only if all of it was seen."""
    modules.build()
    tool.build()
    guest.build(BUILD / "guest")
    say(".. booting the host: Debian's kernel, our KVM modules")
    order = host.Order(command=f"exec python3 {SEEN}/tools/lab/inside/scene.py", name="run", memory=2048)
    with Step("the scene"):
        outcome = front.boot(order)
    status = front.verdict(outcome)
    if status:
        raise Failure(f"the scene failed (status {status}); the host's kernel log is {outcome.kernel_log}", status)
    return 0
