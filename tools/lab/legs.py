# SPDX-License-Identifier: GPL-2.0
"""The selftests on one vendor: which rounds a host goes through, and what its reports mean."""

import json
import shlex

import host
import kernel_log
from failure import Failure
from progress import Step
from settings import LOG, SEEN

TEST_SECONDS = {"amd": 600, "intel": 600, "amd-bochs": 600}
"""Seconds of the host's clock. One of Bochs' takes about one of ours when busy, and none when idle."""

UNSEEN_ON_AMD = ["kvmi_breakpoint", "kvmi_cpuid_event", "kvmi_cr", "kvmi_descriptor", "kvmi_guest_debug", "kvmi_hypercall",
                 "kvmi_init_intercepts", "kvmi_intercepts", "kvmi_msr", "kvmi_nested", "kvmi_xsetbv"]
"""What the leg amd-bochs runs, and nothing else: tests of instructions, where QEMU's SVM does not save the next RIP, and
Bochs' does."""

TOO_SLOW = {}
"""What is skipped in Bochs, and why."""

DEBUG_SLOWER = 6
"""How much longer a test may take on the debug kernel."""

LEG_SECONDS = {"amd": 1800, "intel": 1800, "amd-bochs": 1800}
OURS_OFF, OURS_ON, STOCK = "parameter off", "parameter on", "Debian's modules"
OLDER_MMU, SHADOWS = "older MMU", "shadow paging"

PAGES = "kvmi_page_"
"""The tests whose names begin so are run with KVM's older MMU and without nested paging, too."""

NO_NESTED_PAGING = {"amd": "npt=0", "intel": "ept=0"}


class Results:
    """Passed, failed and skipped tests, each with a name and a reason."""

    def __init__(self):
        self.entries = []
        self.cells = []
        """What goes into the matrix: triples (row, leg, result)."""

    def add(self, name, result, reason="", cell=None):
        """Count one result; `cell`, a pair of row and leg, is its place in the matrix."""
        self.entries.append((name, result, reason))
        if cell:
            self.cells.append((*cell, result))

    def of(self, result):
        """The entries with this result."""
        return [(name, reason) for name, kind, reason in self.entries if kind == result]


def rounds(vendor, cpu, stock, ours, kernel="stock"):
    """The rounds of a host: the kernel's own tests three times, ours once, with the parameter on."""
    folder = f"{SEEN}/build"
    limits = ["enable_apicv=0"] if cpu == "intel" else []
    unload = [f"kvm_{vendor}", "kvm"]

    def step(name, modules, parameters, tests, vendors=()):
        return {"name": name, "unload": unload, "tests": tests,
                "modules": [[f"{folder}/{modules}/kvm.ko", parameters],
                            [f"{folder}/{modules}/kvm-{vendor}.ko", [*limits, *vendors]]]}

    def pages(modules):
        tests = [name for name in ours if name.startswith(PAGES)]
        return tests and [step(OLDER_MMU, modules, ["introspection=1", "tdp_mmu=0"], tests),
                          step(SHADOWS, modules, ["introspection=1"], tests, [NO_NESTED_PAGING[vendor]])]

    off_tests = [name for name in ours if name.endswith("_param_off")]
    on_tests = [name for name in ours if name not in off_tests]
    if kernel == "debug":
        return [step(OURS_ON, "debug/modules", ["introspection=1"], stock + on_tests), *pages("debug/modules")]
    last = [step(OURS_ON, "modules", ["introspection=1"], stock + on_tests), *pages("modules")]
    if not stock and not off_tests:
        return last
    return [step(STOCK, "stock", [], stock), step(OURS_OFF, "modules", ["introspection=0"], stock + off_tests), *last]


def share(cpu, stock, ours):
    """Which of the kernel's own tests and of ours a leg runs."""
    if cpu == "amd-bochs":
        return [], [name for name in ours if name in UNSEEN_ON_AMD]
    return stock, ours


def compare(cpu, reports, stock, results):
    """The kernel's own tests must give the same result in each round; what they give does not matter."""
    seen = {(value["round"], value["test"]): value for value in reports if "test" in value}
    cell = (f"the kernel's own ({len(stock)})", cpu)
    for name in stock:
        expected = seen.get((STOCK, name))
        for step in (OURS_OFF, OURS_ON):
            title = f"{cpu}: {name}, {step}, as with Debian's modules"
            got = seen.get((step, name))
            if not expected or not got:
                results.add(title, "failed", "it did not run: the host ended early", cell)
            elif expected["result"] != got["result"]:
                results.add(title, "failed", f"{got['result']} ({got['reason']}), but {expected['result']} with Debian's", cell)
            elif "kernel complained" in got["reason"]:
                results.add(title, "failed", got["reason"], cell)
            else:
                results.add(title, "passed", "" if got["result"] == "passed" else f"both {got['result']}", cell)


def own(cpu, reports, names, results, on=OURS_ON):
    """Our tests must pass, those of pages with each kind of MMU; `on` is the round with the parameter on."""
    seen = {(value["round"], value["test"]): value for value in reports if "test" in value}
    for name in names:
        for step in (OURS_ON, OLDER_MMU, SHADOWS) if name.startswith(PAGES) else (OURS_ON,):
            row = name if step == OURS_ON else f"{name}, {step}"
            value = seen.get((OURS_OFF if name.endswith("_param_off") else on if step == OURS_ON else step, name))
            if not value:
                results.add(f"{cpu}: {row}", "failed", "it did not run: the host ended early, or it was not built", (row, cpu))
            else:
                results.add(f"{cpu}: {row}", value["result"], value["reason"], (row, cpu))


def run(cpu, boot, stock, ours, results, kernel="stock"):
    """Run one leg and add its results."""
    vendor = "intel" if cpu == "intel" else "amd"
    stock, ours = share(cpu, stock, ours)
    if not stock and not ours:
        return
    if cpu != "amd":
        for name in set(TOO_SLOW) & set(stock + ours):
            results.add(f"{cpu}: {name}", "skipped", TOO_SLOW[name], (name, cpu))
        stock = [name for name in stock if name not in TOO_SLOW]
        ours = [name for name in ours if name not in TOO_SLOW]
    plan = {"rounds": rounds(vendor, cpu, stock, ours, kernel), "timeout": TEST_SECONDS[cpu] * (DEBUG_SLOWER if kernel == "debug" else 1)}
    command = f"exec python3 {SEEN}/tools/lab/inside/tests.py {shlex.quote(json.dumps(plan))}"
    order = host.Order(command=command, cpu=cpu, name=f"test-{kernel}", stream=False,
                       timeout=LEG_SECONDS[cpu] * (DEBUG_SLOWER if kernel == "debug" else 1))
    reports = order.reports
    see_through(cpu, f"selftests on {cpu}", order, boot, results, kernel)
    for problem in [value["unloaded"] for value in reports if "unloaded" in value]:
        results.add(f"{cpu}: the modules can be unloaded after the tests", "failed" if problem else "passed", problem)
    if kernel == "stock":
        compare(cpu, reports, stock, results)
        own(cpu, reports, ours, results)
    else:
        # One round, with the parameter on.
        own(cpu, reports, [name for name in stock + ours if not name.endswith("_param_off")], results)
    keep(LOG / f"test-{kernel}-{cpu}.log", reports)


def see_through(label, title, order, boot, results, kernel):
    """Boot a host; that it came to its end, and its kernel's log, are results too."""
    try:
        with Step(title):
            outcome = boot(order, kernel)
        if outcome.complaints:
            text = outcome.kernel_log.read_text(errors="replace")
            results.add(f"{label}: the kernel's log is clean", "failed",
                        f"{outcome.kernel_log}:\n{kernel_log.excerpt(text, 12)}")
        else:
            results.add(f"{label}: the kernel's log is clean", "passed")
    except Failure as failure:
        results.add(f"{label}: the host ran to its end", "failed", str(failure))


def keep(log, reports):
    """Keep what the tests reported."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{v['result']:8}{v['round']}: {v['test']} {v['seconds']} s {v['reason']}\n{v['output']}"
                           for v in reports if "test" in v))
