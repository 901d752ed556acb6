# SPDX-License-Identifier: GPL-2.0
"""Tests that need no host: the tool's and the lab's own."""

import re
import subprocess
import sys
from pathlib import Path

import tool
from failure import Failure
from progress import Step
from settings import CHECKOUT, LOG

LAB = Path(__file__).parent


def run(results):
    """Run them all and add their results."""
    _lab(results)
    _cargo(results, "the tool's tests", "tools/kvmi", ["test", "--release"])
    _cargo(results, "the tool's formatting", "tools/kvmi", ["fmt", "--check"])
    _cargo(results, "the tool under Clippy", "tools/kvmi", ["clippy", "--release", "--all-targets", "--", "-D", "warnings"])
    if (CHECKOUT / "tools/unit/Cargo.toml").is_file():
        _cargo(results, "the subsystem's unit tests", "tools/unit", ["test", "--release"])


def _lab(results):
    with Step("the lab's own tests"):
        done = subprocess.run([sys.executable, "-B", "-m", "unittest", "discover", "-s", str(LAB / "tests"), "-t", str(LAB)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    results.add("the lab's own tests", "failed" if done.returncode else "passed", done.stdout if done.returncode else "",
                ("the lab's own tests", "unit"))


def _cargo(results, title, folder, words):
    """Run cargo; each test it counts is counted here, everything else is one."""
    log = LOG / (re.sub(r"\W+", "-", title) + ".log")
    try:
        tool.cargo(folder, words, log, title)
    except Failure as failure:
        results.add(title, "failed", str(failure), (title, "unit"))
        return
    counts = [int(number) for number in re.findall(r"^test result: ok. (\d+) passed", log.read_text(), re.M)]
    results.add(title, "passed", f"{sum(counts)} tests" if counts else "", (title, "unit"))
