# SPDX-License-Identifier: GPL-2.0
"""The scene of two VMs: a guest, and the tool inside another one, to which the guest's QEMU offers it over vsock."""

import contextlib
import os
import re
import subprocess
import sys

from offering import HOOKED, PROGRAM, UNHOOKED
from qmp import Qmp, Refused
from running import Unseen
from vm import BOOT_SECONDS, ROOTKIT, Guest
from watcher import CID, PORT, Watcher

NAME, UUID = "web", "8f0d7c1e-6a2b-4c55-9d3e-102030405060"
KEY_FILE, MONITOR = "/tmp/scene-key", "/tmp/scene-monitor"
WORDS = ["-name", NAME, "-uuid", UUID, "-qmp", f"unix:{MONITOR},server=on,wait=off",
         "-object", f"secret,id=k0,file={KEY_FILE}",
         "-chardev", f"socket,id=c0,cid={CID},port={PORT},reconnect-ms=500",
         "-object", "introspection,id=kvmi,chardev=c0,key=k0"]


def tell(text):
    """One line of the transcript."""
    print(text, flush=True)


class Scene:
    """The guest, its QEMU's monitor, and the guest that watches it."""

    def __init__(self, guest, monitor, watcher):
        self.guest, self.monitor, self.watcher = guest, monitor, watcher

    def begin(self, *words):
        """The tool listens in the one guest, and gets the other."""
        tell(f"in the watching guest: kvmi listen vsock:{PORT} --key /key --count 1 {' '.join(words)}")
        started = self.watcher.listen(*words)
        self.watcher.shows(started, "listening at")
        self.monitor.wait(HOOKED)
        return started

    def end(self, started, wanted):
        """See the tool end; what it printed, in which there must be this."""
        text = self.watcher.end(started)
        tell("\n".join(f"    {line}" for line in text.splitlines() if "self-patching" not in line))
        if wanted not in text or f"{NAME}: ended with exit code 0" not in text:
            raise Unseen(f"`{wanted}`, and a good end")
        return text

    def show(self, wanted, *words):
        """Have the tool do something on the guest to its end."""
        text = self.end(self.begin(*words), wanted)
        self.monitor.wait(UNHOOKED)
        return text

    def rootkit(self):
        """See a rootkit stopped, and the tool leave before the guest is stopped."""
        started = self.begin("protect", "--action", "block")
        self.watcher.shows(started, "read-only data")
        tell("in the guest: insmod rootkit.ko")
        self.guest.attack()
        changed, shown = self.guest.rooted()
        if changed:
            raise Unseen(f"the rootkit was not stopped: {shown}")
        tell("QEMU's monitor: stop")
        self.monitor.ask("stop")
        if self.end(started, "; the VMM asked to leave").count(": blocked ") != len(ROOTKIT):
            raise Unseen("each write of the rootkit, blocked")
        tell("QEMU's monitor: cont")
        self.monitor.ask("cont")
        self.guest.obey("rmmod rootkit")


def play():
    """The whole scene."""
    key = os.urandom(16).hex()
    with open(KEY_FILE, "w", encoding="ascii") as file:
        file.write(key)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(MONITOR)
    with Watcher(key) as watcher, Guest("orders=1", PROGRAM, WORDS, "-scene") as guest, \
            contextlib.closing(Qmp(MONITOR)) as monitor:
        tell(f"a guest is up that has the tool, and vsock as context {CID}: QEMU, process {watcher.pid}")
        tell(f"another one starts, whose QEMU, process {guest.pid}, offers it to port {PORT} there")
        guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
        tell(f"it is up: heartbeat {guest.heartbeats()}")
        scene = Scene(guest, monitor, watcher)
        scene.show("vCPUs        2", "info")
        # Once for all: nothing of it is to be looked up while the guest is slow.
        gva, *_ = guest.symbols("linux_banner", *ROOTKIT.values())
        gpa, = re.findall("0x[0-9a-f]+$", scene.show("0x", "translate", hex(gva)), re.M)
        scene.show("Linux version 7.", "read", gpa, "16")
        scene.show("5 events in", "trace", "--cr", "3", "--count", "5")
        scene.rootkit()
        tell(f"the guest lives on: heartbeat {guest.await_heartbeats(3, 60, 'after the tool has left')}")


def check(_guest):
    """The scene as a check, with guests of its own."""
    play()
    return "ended"


def main():
    """Play it; the status is 0 only if all of it was seen."""
    try:
        play()
    except (Unseen, Refused, OSError, EOFError, subprocess.TimeoutExpired, ValueError) as problem:
        tell(f"NOT SEEN: {problem}")
        return 1
    tell("all of it was seen")
    return 0


if __name__ == "__main__":
    sys.exit(main())
