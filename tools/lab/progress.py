# SPDX-License-Identifier: GPL-2.0
"""Progress lines: one per step that takes longer than two seconds."""

import sys
import threading
import time

QUIET_SECONDS = 2
TIMES = []
"""The steps that were worth a line, as (title, seconds), in the order of their ends."""

_output = threading.Lock()


def say(text):
    """Print one line to the user."""
    with _output:
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        print(clear + text, file=sys.stderr, flush=True)


class Step:
    """A `with` block that shows its title and age once it is two seconds old."""

    def __init__(self, title):
        self.title = title
        self._done = threading.Event()

    def __enter__(self):
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._done.set()
        self._thread.join()
        age = time.monotonic() - self._start
        if age >= QUIET_SECONDS:
            say(f"{'ok' if kind is None else '!!'} {self.title} {age:.0f} s")
            TIMES.append((self.title, age))

    def _show(self):
        if self._done.wait(QUIET_SECONDS):
            return
        if not sys.stderr.isatty():
            say(f".. {self.title}")
            return
        while not self._done.wait(1):
            age = time.monotonic() - self._start
            with _output:
                print(f"\r\033[K.. {self.title} {age:.0f} s", end="", file=sys.stderr, flush=True)
