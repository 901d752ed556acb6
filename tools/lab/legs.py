# SPDX-License-Identifier: GPL-2.0
"""The selftests on one vendor: which rounds a host goes through, and what its reports mean."""

import json
import shlex

import host
import kernel_log
from failure import Failure
from progress import Step
from settings import LOG, SEEN

TEST_SECONDS = {"amd": 240, "intel": 600, "amd-bochs": 600}
"""Seconds of the host's clock. One of Bochs' takes about one of ours when busy, and none when idle."""

TOO_SLOW = {}
"""What is skipped in Bochs, and why."""

DEBUG_SLOWER = 6
"""How much longer a test may take on the debug kernel."""

LEG_SECONDS = {"amd": 1800, "intel": 1800, "amd-bochs": 1800}
OURS_OFF, OURS_ON, STOCK = "parameter off", "parameter on", "Debian's modules"


class Results:
    """Passed, failed and skipped tests, each with a name and a reason."""

    def __init__(self):
        self.entries = []

    def add(self, name, result, reason=""):
        """Count one result."""
        self.entries.append((name, result, reason))

    def of(self, result):
        """The entries with this result."""
        return [(name, reason) for name, kind, reason in self.entries if kind == result]


def rounds(vendor, cpu, stock, ours, kernel="stock"):
    """The rounds of a host: the kernel's own tests three times, ours once, with the parameter on."""
    folder = f"{SEEN}/build"
    limits = ["enable_apicv=0"] if cpu == "intel" else []
    unload = [f"kvm_{vendor}", "kvm"]

    def step(name, modules, parameters, tests):
        return {"name": name, "unload": unload, "tests": tests,
                "modules": [[f"{folder}/{modules}/kvm.ko", parameters], [f"{folder}/{modules}/kvm-{vendor}.ko", limits]]}

    off_tests = [name for name in ours if name.endswith("_param_off")]
    on_tests = [name for name in ours if name not in off_tests]
    if kernel == "debug":
        return [step(OURS_ON, "debug/modules", ["introspection=1"], stock + on_tests)]
    return [step(STOCK, "stock", [], stock), step(OURS_OFF, "modules", ["introspection=0"], stock + off_tests),
            step(OURS_ON, "modules", ["introspection=1"], stock + on_tests)]


def compare(cpu, reports, stock, results):
    """The kernel's own tests must give the same result in each round; what they give does not matter."""
    seen = {(value["round"], value["test"]): value for value in reports if "test" in value}
    for name in stock:
        expected = seen.get((STOCK, name))
        for step in (OURS_OFF, OURS_ON):
            title = f"{cpu}: {name}, {step}, as with Debian's modules"
            got = seen.get((step, name))
            if not expected or not got:
                results.add(title, "failed", "it did not run: the host ended early")
            elif expected["result"] != got["result"]:
                results.add(title, "failed", f"{got['result']} ({got['reason']}), but {expected['result']} with Debian's")
            elif "kernel complained" in got["reason"]:
                results.add(title, "failed", got["reason"])
            else:
                results.add(title, "passed", "" if got["result"] == "passed" else f"both {got['result']}")


def own(cpu, reports, names, results):
    """Our tests must pass."""
    seen = {value["test"]: value for value in reports if "test" in value}
    for name in names:
        value = seen.get(name)
        if not value:
            results.add(f"{cpu}: {name}", "failed", "it did not run: the host ended early, or it was not built")
        else:
            results.add(f"{cpu}: {name}", value["result"], value["reason"])


def run(cpu, boot, stock, ours, results, kernel="stock"):
    """Run one leg and add its results."""
    vendor = "intel" if cpu == "intel" else "amd"
    if cpu != "amd":
        for name in set(TOO_SLOW) & set(stock + ours):
            results.add(f"{cpu}: {name}", "skipped", TOO_SLOW[name])
        stock = [name for name in stock if name not in TOO_SLOW]
        ours = [name for name in ours if name not in TOO_SLOW]
    plan = {"rounds": rounds(vendor, cpu, stock, ours, kernel), "timeout": TEST_SECONDS[cpu] * (DEBUG_SLOWER if kernel == "debug" else 1)}
    command = f"exec python3 {SEEN}/tools/lab/inside/tests.py {shlex.quote(json.dumps(plan))}"
    order = host.Order(command=command, cpu=cpu, name=f"test-{kernel}", stream=False,
                       timeout=LEG_SECONDS[cpu] * (DEBUG_SLOWER if kernel == "debug" else 1))
    log = LOG / f"test-{kernel}-{cpu}.log"
    reports = order.reports
    try:
        with Step(f"selftests on {cpu}"):
            outcome = boot(order, kernel)
        if outcome.complaints:
            text = outcome.kernel_log.read_text(errors="replace")
            results.add(f"{cpu}: the kernel's log is clean", "failed",
                        f"{outcome.kernel_log}:\n{kernel_log.excerpt(text, 12)}")
        else:
            results.add(f"{cpu}: the kernel's log is clean", "passed")
    except Failure as failure:
        results.add(f"{cpu}: the host ran to its end", "failed", str(failure))
    if kernel == "stock":
        compare(cpu, reports, stock, results)
        own(cpu, reports, ours, results)
    else:
        # One round, with the parameter on.
        own(cpu, reports, [name for name in stock + ours if not name.endswith("_param_off")], results)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{v['result']:8}{v['round']}: {v['test']} {v['seconds']} s {v['reason']}\n{v['output']}"
                           for v in reports if "test" in v))
    return log
