# SPDX-License-Identifier: GPL-2.0
"""A program that runs while something else goes on. No wait for it is without an end."""

import queue
import signal
import subprocess
import threading
import time

from stacks import stacks

SECONDS = 120
"""How long it may take to say something, or to end, when it is expected to."""


class Unseen(Exception):
    """Something that should have been seen was not."""


class Running:
    """A program, its output taken line by line."""

    def __init__(self, words):
        self._words = words
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True)
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put("")

    def line(self, seconds=SECONDS):
        """The next line; nothing if the output has ended."""
        try:
            line = self._lines.get(timeout=max(seconds, 0))
        except queue.Empty:
            raise self._stuck("prints nothing more") from None
        if not line:
            # Whoever asks again is told again.
            self._lines.put(line)
        return line

    def rest(self, seconds=SECONDS):
        """The lines up to the end of the output."""
        lines, end = [], time.monotonic() + seconds
        while line := self.line(end - time.monotonic()):
            lines.append(line)
        return lines

    def interrupt(self):
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def lives(self):
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def status(self, seconds=SECONDS):
        """Its exit status, when it has ended."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._stuck("does not end") from None

    def kill(self):
        """End it at once, if it has not ended."""
        self._process.kill()
        self.status()

    def _stuck(self, what):
        return Unseen(f"`{' '.join(self._words)}` {what}; the threads:\n{stacks()}")
