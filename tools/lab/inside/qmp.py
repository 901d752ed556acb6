# SPDX-License-Identifier: GPL-2.0
"""QEMU's monitors: orders as JSON (QMP), and as lines for people."""

import json
import socket
import time

SECONDS = 120
"""What anything may take that is waited for."""


class Refused(Exception):
    """QEMU's answer was an error."""


def connect(path, seconds=SECONDS):
    """A connection to a socket that QEMU has opened, or will soon."""
    end = time.monotonic() + seconds
    while True:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(SECONDS)
        try:
            line.connect(path)
            return line
        except OSError:
            line.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


class Qmp:
    """A connection to QEMU's monitor. What is not awaited stays: events are in the order in which they came."""

    def __init__(self, path):
        self._line = connect(path)
        # Not a file of Python's, which could not be read any more once something has taken too long.
        self._rest = b""
        self.events = []
        self._answers = []
        while "QMP" not in self._read():
            pass
        self.ask("qmp_capabilities")

    def close(self):
        """Leave it."""
        self._line.close()

    def order(self, command, /, **arguments):
        """Give an order, without waiting for its answer."""
        self._line.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def answer(self):
        """The answer to an order; raises Refused."""
        while not self._answers:
            self._sort(self._read())
        value = self._answers.pop(0)
        if "error" in value:
            raise Refused(value["error"]["desc"])
        return value["return"]

    def ask(self, command, /, **arguments):
        """Give an order, and wait for its answer."""
        self.order(command, **arguments)
        return self.answer()

    def human(self, line):
        """Give an order as people do; what they would see."""
        return self.ask("human-monitor-command", **{"command-line": line})

    def wait(self, *names, **data):
        """Wait for the next event of one of these names that has this data; those before it are dropped."""
        while True:
            while not self.events:
                self._sort(self._read())
            event = self.events.pop(0)
            if event["event"] in names and data.items() <= event["data"].items():
                return event

    def seen(self):
        """The names of the events that have come, and are not yet awaited."""
        self.ask("query-name")
        return [event["event"] for event in self.events]

    def forget(self):
        """Drop the events that have come."""
        self.seen()
        self.events.clear()

    def run_job(self, command, name, /, **arguments):
        """Run a job to its end."""
        self.ask(command, **{"job-id": name}, **arguments)
        self.end_job(name)

    def end_job(self, name):
        """Wait until a job has come to its end, and see that it went well."""
        self.wait("JOB_STATUS_CHANGE", status="concluded", id=name)
        job = next(job for job in self.ask("query-jobs") if job["id"] == name)
        self.ask("job-dismiss", id=name)
        if "error" in job:
            raise Refused(job["error"])

    def _read(self):
        while b"\n" not in self._rest:
            part = self._line.recv(65536)
            if not part:
                raise EOFError("QEMU has closed its monitor")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _sort(self, value):
        if "event" in value:
            self.events.append(value | {"data": value.get("data", {})})
        else:
            self._answers.append(value)


class People:
    """QEMU's monitor for people, on a connection of its own."""

    PROMPT = b"(qemu) "

    def __init__(self, path):
        self._line = connect(path)
        self._until_prompt()

    def close(self):
        """Leave it."""
        self._line.close()

    def ask(self, text):
        """Give an order; what was printed."""
        self._line.sendall(text.encode() + b"\n")
        # The first line is the order, as if it were typed.
        return self._until_prompt().replace("\r", "").partition("\n")[2]

    def _until_prompt(self):
        seen = b""
        while not seen.endswith(self.PROMPT):
            part = self._line.recv(4096)
            if not part:
                raise EOFError("QEMU has closed its monitor")
            seen += part
        return seen.decode(errors="replace")
