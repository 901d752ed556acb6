# SPDX-License-Identifier: GPL-2.0
"""Running the checks of a guest: each is one test of the lab."""

import time

from asking import Skipped
from report import report
from running import SECONDS

ROUND = "a guest"


def run(check, guest):
    """Run one check, after which the guest must live on; its result and the reason."""
    try:
        if check(guest) != "ended":
            guest.await_heartbeats(1, SECONDS, "afterwards")
        return "passed", ""
    except Skipped as reason:
        return "skipped", str(reason)
    except Exception as problem:  # pylint: disable=broad-except  (whatever it is, the check has failed)
        return "failed", f"{type(problem).__name__}: {problem}"


def tell(name, check, guest, before=("passed", "")):
    """Run one check and report what came of it; if what was `before` it did not pass, that is the check's result too."""
    start = time.monotonic()
    result, reason = run(check, guest) if before[0] == "passed" else before
    seconds = round(time.monotonic() - start, 1)
    print(f"{result:8}{name} {seconds} s {reason}", flush=True)
    report({"test": name, "result": result, "reason": reason, "seconds": seconds, "round": ROUND, "output": ""})
    return result, reason
