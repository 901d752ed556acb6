# SPDX-License-Identifier: GPL-2.0
"""A host: a machine with the stock kernel and our modules that runs one command and ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import kernel_log
from failure import Failure
from process import tail
from settings import BUILD, LOG, SEEN

POLL_SECONDS = 0.05
END_SECONDS = 30
FAILED_LINES = 60
"""How much of the kernel's log is told when a host has failed."""
AGENT = Path(__file__).parent / "inside/agent.py"
ALSO = ["vsock", "vsock_loopback", "vhost_vsock", "vhost_net", "tun", "sctp", "tls"]
"""Modules that tests may use; which of them a host has is no matter."""


@dataclass
class Order:
    """What a host is asked to do."""

    command: str = "true"
    cpu: str = "amd"
    modules: str = "ours"
    introspection: bool = True
    timeout: int = 0
    interactive: bool = False
    counting: bool = False
    """Its time-stamp counter is to count instructions."""
    name: str = "host"
    memory: int = 0
    stream: bool = True
    reports: list = field(default_factory=list)
    """What the host told, also when it did not come to its end."""
    extra: list = field(default_factory=list)
    """For disk hosts: the files or folders it needs besides the usual, as pairs (outside, inside)."""


@dataclass
class Outcome:
    """What came of it."""

    status: int
    reports: list
    complaints: list
    kernel_log: Path
    output: str


def module_list(order, vendor, folder=None):
    """What the agent is to load: pairs of a path in the host and parameters."""
    folder = folder or {"ours": f"{SEEN}/build/modules", "stock": f"{SEEN}/build/stock"}[order.modules]
    ours = order.modules != "stock"
    kvm = [f"introspection={int(order.introspection)}"] if ours and has_parameter() else []
    parameters = ["enable_apicv=0"] if vendor == "intel" and order.cpu == "intel" else []
    return [(f"{folder}/kvm.ko", kvm), (f"{folder}/kvm-{vendor}.ko", parameters)]


def has_parameter():
    """Whether our kvm.ko knows the parameter yet (an unpatched tree's does not)."""
    path = BUILD / "modules/kvm.ko"
    return not path.is_file() or b"parmtype=introspection:" in path.read_bytes()


def job(order, vendor, drain, shares=(), folder=None):
    """The description that the agent gets."""
    size = shutil.get_terminal_size()
    return {"command": order.command, "interactive": order.interactive, "drain": drain, "shares": list(shares),
            "modules": module_list(order, vendor, folder), "before": ["irqbypass", *(["ccp"] if vendor == "amd" else [])],
            "also": ALSO, "rows": size.lines, "columns": size.columns, "term": os.environ.get("TERM", "linux")}


class Watch:
    """Follows a running emulator: streams the output, collects reports, ends it in time."""

    def __init__(self, order, folder, process, timeout, examine):
        self.order = order
        self._examine = examine
        self.folder = Path(folder)
        self.process = process
        self.timeout = order.timeout or timeout
        self.reports = order.reports
        self._positions = {}
        self._rest = b""
        self.output = bytearray()

    def follow(self):
        """Wait for the end; returns the command's status, or raises Failure."""
        start = time.monotonic()
        ended = None
        while True:
            alive = self.process.poll() is None
            self._stream()
            self._collect()
            status = next((value["exit"] for value in self.reports if "exit" in value), None)
            if not alive:
                break
            now = time.monotonic()
            if status is not None:
                ended = ended or now
                if now - ended > END_SECONDS:
                    self._end()
            elif now - start > self.timeout:
                if self._examine:
                    self._examine(self.folder)
                self._end()
                raise Failure(f"the {self.order.cpu} host did not finish within {self.timeout} s and was stopped", 124)
            time.sleep(POLL_SECONDS)
        if status is None:
            raise Failure(f"the {self.order.cpu} host ended without a result", 125)
        return status

    def _end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _new(self, name):
        try:
            with open(self.folder / name, "rb") as file:
                file.seek(self._positions.get(name, 0))
                content = file.read()
        except FileNotFoundError:
            return b""
        self._positions[name] = self._positions.get(name, 0) + len(content)
        return content

    def _stream(self):
        content = self._new("output")
        if content:
            self.output += content
            if self.order.stream and not self.order.interactive:
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()

    def _collect(self):
        *lines, self._rest = (self._rest + self._new("report")).split(b"\n")
        for line in lines:
            try:
                self.reports.append(json.loads(line))
            except ValueError:
                continue


def run(order, start, timeout, examine=None):
    """Boot a host with `start(folder)`, which returns the emulator's process, and see it through.

    Before a host that does not come to its end is stopped, `examine(folder)` has it say where it is.
    """
    LOG.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kvmi-host-") as folder:
        os.chmod(folder, 0o755)
        process = start(Path(folder))
        watch = Watch(order, folder, process, timeout, examine)
        kept = LOG / f"{order.name}-{order.cpu}-kernel.log"
        try:
            status = watch.follow()
        except Failure as failure:
            raise Failure(f"{failure}; the end of its kernel log, {kept}:\n{tail(Path(folder) / 'kernel', FAILED_LINES)}"
                          f"{tail(Path(folder) / 'emulator', 5)}", failure.status) from None
        finally:
            if process.poll() is None:
                watch._end()  # pylint: disable=protected-access
            if (Path(folder) / "kernel").exists():
                shutil.copyfile(Path(folder) / "kernel", kept)
        text = kept.read_text(errors="replace")
        for value in watch.reports:
            if "failure" in value:
                raise Failure(f"the host is not usable: {value['failure']} ({kept}):\n{tail(kept)}", 125)
        found = kernel_log.complaints(text)
        return Outcome(status, watch.reports, found, kept, watch.output.decode(errors="replace"))
