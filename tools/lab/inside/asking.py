# SPDX-License-Identifier: GPL-2.0
"""What the checks of the tool have in common: running it, and saying what they want of it."""

import contextlib
import json
import subprocess
import time

from running import SECONDS, Unseen
from vm import TOOL

KEPT_CHARACTERS = 3000


class Skipped(Exception):
    """The check is not possible here."""


def want(truth, what):
    """A condition of a check."""
    if not truth:
        raise Unseen(what)


def ask(guest, *words, status=0):
    """Run the tool, which must end with this status; what it printed."""
    got, text = guest.tool(*words)
    want(got == status, f"kvmi {' '.join(words)} ended with status {got}, not {status}: {text[-KEPT_CHARACTERS:]}")
    return text


def value(guest, *words):
    """Run the tool; the JSON that it printed."""
    return json.loads(ask(guest, *words, "--json"))


@contextlib.contextmanager
def started(guest, *words):
    """The tool, which has printed its first line and prints on. It does not outlive the block."""
    tracer = guest.start(*words, "--json")
    try:
        want(tracer.line().startswith('{"'), "the first line is no object")
        yield tracer
    finally:
        tracer.kill()


def interrupted(guest, *words):
    """See that the tool ends as it should at Ctrl-C."""
    with started(guest, *words) as tracer:
        tracer.interrupt()
        lines = tracer.rest()
        want(not tracer.status(), f"it ended with status {tracer.status()}")
        want(json.loads(lines[-1])["event"] == "end", f"its last line is {lines[-1]}")
    want(watched(guest) == "none", f"it left a session that is {watched(guest)}")


def killed(guest, *words):
    """See that the tool leaves nothing behind when it is killed."""
    with started(guest, *words) as tracer:
        tracer.kill()
    end = time.monotonic() + SECONDS
    while watched(guest) == "active":
        want(time.monotonic() < end, "its session did not end")
        time.sleep(0.1)
    guest.await_heartbeats(2, SECONDS, "after the tool was killed")
    want(value(guest, "info")["vcpu_count"] == 2, "the VM has lost a vCPU")


def watched(guest):
    """What the VM says of its session."""
    done = subprocess.run([TOOL, "--json", "list"], stdout=subprocess.PIPE, timeout=SECONDS, check=True)
    return next(vm["introspection"] for vm in json.loads(done.stdout)["vms"] if vm["pid"] == guest.pid)
