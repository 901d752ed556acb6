# SPDX-License-Identifier: GPL-2.0
"""`make soak`: restricts, releases, moves and logs a guest's pages at random, for as long as one likes."""

import front
import host
import selftests
from failure import Failure
from progress import say
from settings import SEEN

PROGRAM = "kvmi_page_soak"
BOOT_SECONDS = 900


def main(options):
    """Build, boot, soak; the status is the program's own, unless the kernel complained."""
    front.prepare(options)
    _names, failure = selftests.build()
    if failure:
        raise failure
    say(f".. {options.seconds} s from seed {options.seed} on {options.cpu}, {options.kernel} kernel")
    # A copy: the one that the host sees may be built anew meanwhile.
    command = (f"cp {SEEN}/build/selftests/{PROGRAM} /tmp && "
               f"exec /tmp/{PROGRAM} -s {options.seconds} -r {options.seed}")
    order = host.Order(command=command, cpu=options.cpu, name=f"soak-{options.kernel}",
                       timeout=2 * options.seconds + BOOT_SECONDS)
    status = front.verdict(front.boot(order, options.kernel))
    if status:
        raise Failure(f"the soak failed: status {status}, seed {options.seed}", status)
    return 0
