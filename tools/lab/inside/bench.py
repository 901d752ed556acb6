# SPDX-License-Identifier: GPL-2.0
"""Runs the benchmarks inside a host and reports each figure to the lab.

Usage: bench.py PLAN, a JSON object: {"rounds": [{"name", "modules", "unload", "programs": [words..]}..], "times": n}.
Each round loads its modules and runs its programs `times` times. A line "bench KEY MEDIAN LOW HIGH ITEMS" of a
program is the median of a count and where the middle 80 % are; "bench KEY COUNT / ITEMS" is a count alone.
"""

import json
import subprocess
import sys
import time

from report import report
from tests import FOLDER, load

SETTLE_SECONDS = 3
"""The key of a hooked VM is switched off a second after the VM is gone, by the host's clock."""


def figures(text):
    """The figures among the lines of a program's output, as (key, numbers)."""
    lines = [line.split() for line in text.splitlines() if line.startswith("bench ")]
    return [(words[1], [int(word) for word in words[2:] if word != "/"]) for words in lines]


def run(step, words, turn):
    """Run one program; a status that is not zero ends everything."""
    time.sleep(SETTLE_SECONDS)
    done = subprocess.run([f"{FOLDER}/{words[0]}", *words[1:]], cwd="/tmp", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    mode = words[1] if len(words) > 1 else ""
    print(f"{step['name']}: {' '.join(words)}: status {done.returncode}", flush=True)
    if done.returncode:
        print(done.stdout[:3000], flush=True)
        sys.exit(1)
    for key, numbers in figures(done.stdout):
        report({"bench": key, "round": step["name"], "mode": mode, "turn": turn, "numbers": numbers})


def main():
    """Run the whole plan."""
    plan = json.loads(sys.argv[1])
    for step in plan["rounds"]:
        problem = load(step)
        if problem:
            print(problem, flush=True)
            sys.exit(1)
        for turn in range(plan["times"]):
            for words in step["programs"]:
                run(step, words, turn)


main()
