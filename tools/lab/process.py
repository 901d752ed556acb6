# SPDX-License-Identifier: GPL-2.0
"""Programs that the lab starts, each with its output in a file."""

import subprocess
from pathlib import Path

from failure import Failure

TAIL_LINES = 15


def tail(path, lines=TAIL_LINES):
    """The last lines of a text file."""
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def run(command, log, what, **options):
    """Run `command` with its output in the file `log`; a failure names the file and shows its end."""
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, **options)
    if done.returncode:
        raise Failure(f"{what} failed (status {done.returncode}). The end of {log}:\n{tail(log)}")


def ask(command, **options):
    """Run `command` and return what it printed, or None when it failed or does not exist."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False, **options)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
