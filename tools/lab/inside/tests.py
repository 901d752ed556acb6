# SPDX-License-Identifier: GPL-2.0
"""Runs the selftests inside a host and reports each result to the lab.

Usage: tests.py PLAN, a JSON object: {"rounds": [{"name", "modules": [[path, parameters]..], "unload": [..],
"tests": [..]}], "timeout": seconds}. Each round loads its modules and runs its tests; a test fails when
its status says so, when it does not end in time, or when the kernel complains while it runs.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, "/kvmi/tools/lab")

from kernel_log import COMPLAINTS  # noqa: E402
from report import report  # noqa: E402
from stacks import stacks  # noqa: E402

FOLDER = "/kvmi/build/selftests"
SKIP = 4
KEPT_CHARACTERS = 3000


class KernelLog:
    """The kernel's messages from now on."""

    def __init__(self):
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def complaints(self):
        """The complaints since the last call."""
        found = []
        while True:
            try:
                line = os.read(self._fd, 8192).decode(errors="replace").split(";", 1)[-1]
            except BlockingIOError:
                return found
            except OSError:
                continue
            if COMPLAINTS.search(line):
                found.append(line.strip())


def judge(status, output):
    """What a test's status and TAP output say: (result, reason)."""
    failures = re.findall(r"^\s*(?:# )?not ok.*", output, re.M)
    skips = re.findall(r"^\s*(?:# )?ok.*# SKIP *(.*)|^1\.\.0 # SKIP *(.*)", output, re.M)
    reasons = sorted({(first or second).strip() for first, second in skips})
    if status == SKIP:
        told = re.findall(r"(?:skipping|SKIP)[^\n]*", output)
        return "skipped", "; ".join(filter(None, reasons)) or (told[-1] if told else "no reason given")
    if status or failures:
        places = re.findall(r"^[# ]*(\S+\.c:\d+:.*)", output, re.M)
        return "failed", "; ".join([f"status {status}", *(found[0].strip() for found in (failures, places) if found)])
    return "passed", "some parts skipped: " + "; ".join(filter(None, reasons)) if any(reasons) else ""


def run(name, timeout, kernel):
    """Run one test; returns what to report."""
    start = time.monotonic()
    kernel.complaints()
    child = subprocess.Popen([f"{FOLDER}/{name}"], cwd="/tmp", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output = child.communicate(timeout=timeout)[0].decode(errors="replace")
        result, reason = judge(child.returncode, output)
    except subprocess.TimeoutExpired:
        where = stacks()
        os.killpg(child.pid, signal.SIGKILL)
        try:
            output = child.communicate(timeout=10)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            output = "(the test cannot be killed)"
        output += f"\nIts threads:\n{where}\n"
        result, reason = "failed", f"did not end within {timeout} s"
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    found = kernel.complaints()
    if found:
        result, reason = "failed", f"the kernel complained: {found[0]}"
    return {"test": name, "result": result, "reason": reason, "seconds": round(time.monotonic() - start, 1),
            "output": output[-KEPT_CHARACTERS:] if result == "failed" else ""}


def load(step):
    """Load a round's modules, in place of those loaded now."""
    for words in [["rmmod", name] for name in step["unload"]] + [["insmod", path, *given] for path, given in step["modules"]]:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            return f"{' '.join(words)}: {done.stdout.strip()}"
    return ""


def main():
    """Run the whole plan."""
    plan = json.loads(sys.argv[1])
    kernel = KernelLog()
    for step in plan["rounds"]:
        problem = load(step)
        for name in step["tests"]:
            if problem:
                value = {"test": name, "result": "failed", "reason": problem, "seconds": 0, "output": ""}
            else:
                value = run(name, plan["timeout"], kernel)
            value["round"] = step["name"]
            print(f"{value['result']:8}{step['name']}: {name} {value['seconds']} s {value['reason']}", flush=True)
            report(value)
    # What the last round left of our modules goes as well: nothing in the kernel holds them.
    report({"unloaded": load({"unload": plan["rounds"][-1]["unload"], "modules": []})})


if __name__ == "__main__":
    main()
