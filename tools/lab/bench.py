# SPDX-License-Identifier: GPL-2.0
"""`make bench`: what introspection costs, in instructions, as the tables of kvmi-costs.rst."""

import json
import shlex
import threading

import bench_table
import front
import host
import kernel_log
import modules
import selftests
from failure import Failure
from legs import OURS_OFF, OURS_ON, STOCK
from progress import Step
from settings import BUILD, SEEN

CPUS = ["amd", "intel"]
TIMES = 2
"""How often each program is run, so that it is seen how stable its numbers are."""
SECONDS = 3600
EXITS, REST = "kvmi_bench_exits", ["kvmi_bench_events", "kvmi_bench_pages"]
MODES = ["unhooked", "other", "hooked", "protected", "unexecutable"]


def plan(cpu):
    """What a host is to run: with Debian's modules, and with ours, off and on."""
    folder = f"{SEEN}/build"
    vendor = [f"{folder}/{{}}/kvm-{cpu}.ko", ["enable_apicv=0"] if cpu == "intel" else []]

    def step(name, from_folder, parameters, programs):
        return {"name": name, "unload": [f"kvm_{cpu}", "kvm"], "programs": programs,
                "modules": [[f"{folder}/{from_folder}/kvm.ko", parameters],
                            [vendor[0].format(from_folder), vendor[1]]]}

    return {"times": TIMES, "rounds": [
        step(STOCK, "stock", [], [[EXITS, "unhooked"]]),
        step(OURS_OFF, "modules", ["introspection=0"], [[EXITS, "unhooked"]]),
        step(OURS_ON, "modules", ["introspection=1"], [*([EXITS, mode] for mode in MODES), *([name] for name in REST)])]}


def measure(cpu):
    """Boot a host and return its figures: (round, mode, key) with the numbers of each time."""
    command = f"exec python3 {SEEN}/tools/lab/inside/bench.py {shlex.quote(json.dumps(plan(cpu)))}"
    order = host.Order(command=command, cpu=cpu, name="bench", stream=False, timeout=SECONDS, counting=True)
    with Step(f"counting on {cpu}"):
        outcome = front.boot(order)
    if outcome.complaints:
        raise Failure(f"the kernel complained ({outcome.kernel_log}):\n"
                      + kernel_log.excerpt(outcome.kernel_log.read_text(errors="replace")))
    if outcome.status:
        raise Failure(f"a benchmark failed on {cpu}:\n{outcome.output[-3000:]}", outcome.status)
    found = {}
    for value in outcome.reports:
        if "bench" in value:
            found.setdefault((value["round"], value["mode"], value["bench"]), []).append(value["numbers"])
    return found


def main(cpus):
    """Build, measure side by side, print; what was printed is also kept in build/bench.rst."""
    cpus = cpus.split(",")
    if set(cpus) - set(CPUS):
        raise Failure(f"no such processor: {', '.join(sorted(set(cpus) - set(CPUS)))}")
    modules.build()
    modules.stock()
    _names, failure = selftests.build()
    if failure:
        raise failure
    found, failures = {}, []

    def leg(cpu):
        try:
            found[cpu] = measure(cpu)
        except Failure as problem:
            failures.append(problem)

    threads = [threading.Thread(target=leg, args=(cpu,), daemon=True) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = "\n".join(line for cpu in cpus if cpu in found for line in bench_table.tables(cpu, found[cpu]))
    modules.replace(BUILD / "bench.rst", text.encode() + b"\n")
    print(text, flush=True)
    if failures:
        raise Failure("\n".join(str(problem) for problem in failures))
    faults = [f"{cpu}: {fault}" for cpu in cpus for fault in bench_table.faults(found[cpu])]
    if faults:
        raise Failure("these numbers mean nothing:\n" + "\n".join(faults))
    return 0
