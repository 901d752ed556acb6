# SPDX-License-Identifier: GPL-2.0
"""All tests: unit tests, unused cost, selftests on both vendors; a matrix, and one last line that counts."""

import sys
import threading
import traceback

import front
import legs
import matrix
import modules
import progress
import qemu_leg
import selftests
import tool_leg
from failure import Failure


def main(options):
    """Run the legs that were asked for."""
    wanted = set(options.legs.split(","))
    unknown = wanted - set(matrix.LEGS)
    if unknown:
        raise Failure(f"no such leg: {', '.join(sorted(unknown))}")
    results = legs.Results()
    if options.kernel == "debug":
        wanted = {"amd"}
    if "unit" in wanted:
        import unit
        unit.run(results)
    cpus = [cpu for cpu in matrix.LEGS if cpu in wanted - {"unit"}]
    if cpus:
        _selftests(cpus, options, results)
    return _sum_up(results)


def _selftests(cpus, options, results):
    front.prepare(options)
    names, failure = selftests.build()
    if failure:
        results.add("the selftests build", "failed", str(failure))
    stock = [name for name in names if not name.startswith("kvmi_") and options.only in name]
    ours = [name for name in names if name.startswith("kvmi_") and options.only in name]
    if options.kernel == "stock" and not options.only:
        import unused_cost
        unused_cost.check(results)

    def leg(cpu):
        try:
            if stock or ours:
                legs.run(cpu, front.boot, stock, ours, results, options.kernel)
            if options.kernel == "stock" and tool_leg.wanted(cpu, options.only):
                tool_leg.run(front.boot, cpu, options.only, results)
            if cpu == "amd" and options.kernel == "stock" and qemu_leg.wanted(options.only):
                qemu_leg.run(front.boot, options.only, results)
        except Exception:  # pylint: disable=broad-except  (a leg's fault must be counted, not lost with its thread)
            results.add(f"{cpu}: the leg", "failed", traceback.format_exc())

    # Shared stages are made before the legs start side by side.
    if set(cpus) - {"amd"}:
        import bochs
        import disk
        bochs.bochs().get()
        disk.base().get()
    if "intel" in cpus and tool_leg.wanted("intel", options.only):
        disk.base(with_emulator=True).get()
    threads = [threading.Thread(target=leg, args=(cpu,), daemon=True) for cpu in cpus]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _sum_up(results):
    for title, seconds in progress.TIMES:
        print(f"time    {seconds:5.0f} s  {title}")
    _listed(results, "passed")
    print("\n".join(matrix.lines(results.cells)))
    # What is not as it should be stands last, where it is still seen when only the end of a log is.
    for kind in ("skipped", "failed"):
        for line in together(kind, results.of(kind)):
            print(line)
    passed, failed, skipped = (len(results.of(kind)) for kind in ("passed", "failed", "skipped"))
    sys.stderr.flush()
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not passed else 0


def _listed(results, kind):
    for name, reason in results.of(kind):
        print(f"{kind:8}{name}" + (f": {reason}" if reason else ""))


def together(kind, entries):
    """A line for each reason, with the names of all to which it applies; reasons that apply to few stand last."""
    names = {}
    for name, reason in entries:
        names.setdefault(reason, []).append(name)
    return [f"{kind:8}{', '.join(found)}" + (f": {reason}" if reason else "")
            for reason, found in sorted(names.items(), key=lambda item: -len(item[1]))]
