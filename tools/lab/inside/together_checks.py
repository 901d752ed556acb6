# SPDX-License-Identifier: GPL-2.0
"""The tool itself as QEMU's peer: `kvmi listen` gets the guest, and takes its leave when it is asked to."""

import contextlib
import json
import subprocess

from asking import want, watched
from leaving_checks import ON_ITS_WAY, leave_home
from offering import CONNECTED, HOOKED, KEY_FILE, NAME, OTHER_KEY, PATIENCE, RECONNECT, SOCKET, UUID, Offering
from vm import TOOL


class Listener:
    """`kvmi listen`, and the objects that it prints."""

    def __init__(self, *words, key=True):
        words = [TOOL, "--json", "listen", f"unix:{SOCKET}", *(["--key", KEY_FILE] if key else []), *words]
        self._tool = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.wait("listening")

    def __enter__(self):
        return self

    def __exit__(self, *_reason):
        self._tool.kill()
        self._tool.wait()
        self._tool.stdout.close()

    def wait(self, event, **members):
        """Wait for the next object of this event that has these members."""
        while True:
            line = self._tool.stdout.readline()
            want(line, f"the tool ended before {event}")
            value = json.loads(line)
            if value.get("event") == event and members.items() <= value.items():
                return value


@contextlib.contextmanager
def offered(guest, *words, auth="hmac", key="k0"):
    """The guest, offered to a tool that does this."""
    guest.qmp.forget()
    with guest.key():
        properties = {"auth": auth} | ({"key": key} if auth != "none" else {})
        with Listener("--auth", auth, *words, key=auth != "none") as tool, guest.chardev():
            guest.add_object(**properties)
            try:
                yield tool
            finally:
                guest.qmp.ask("object-del", id="kvmi")


def listens(auth):
    """A check that the tool gets the guest by this form of the handshake, and sees what it does."""
    def check(guest):
        with offered(guest, "trace", "--cr", "3", auth=auth) as tool:
            guest.qmp.wait(HOOKED)
            tool.wait("connected", vm=NAME, uuid=UUID)
            tool.wait("CR", vm=NAME)
    return check


def wrong_key(guest):
    """A tool with another key does not get the guest."""
    with open(KEY_FILE, "wb") as file:
        file.write(OTHER_KEY)
    # The tool reads its file when it starts.
    with Listener("trace", "--cr", "3"), guest.key(), guest.chardev():
        guest.add_object(key="k0")
        try:
            guest.failed("another key")
        finally:
            guest.qmp.ask("object-del", id="kvmi")


def leaves(guest):
    """The tool leaves by itself before the guest is stopped, and gets it again with cont."""
    with offered(guest, "trace", "--cr", "3") as tool:
        tool.wait("CR")
        guest.qmp.ask("stop")
        guest.unhooked("the tool closed the connection")
        tool.wait("ended", vm=NAME, exit=0)
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        guest.qmp.ask("cont")
        guest.qmp.wait(CONNECTED)
        tool.wait("connected")
        tool.wait("CR")


def moves(guest):
    """The guest moves to another QEMU, and the tool has it there."""
    arguments = ["-object", f"secret,id=k0,file={KEY_FILE}", "-chardev", f"socket,id=c0,path={SOCKET},reconnect-ms={RECONNECT}",
                 "-object", f"introspection,id=kvmi,chardev=c0,key=k0,handshake-timeout={PATIENCE}", "-incoming", f"unix:{ON_ITS_WAY}"]
    with offered(guest, "trace", "--cr", "3") as tool, Offering(arguments, "-2") as target:
        tool.wait("CR")
        leave_home(guest)
        guest.unhooked("the tool closed the connection")
        guest.qmp.wait("MIGRATION", status="completed")
        target.qmp.wait(HOOKED)
        tool.wait("connected", vm=NAME)
        tool.wait("CR")
        target.await_heartbeats(3, 120, "in the target")
        target.qmp.ask("quit")
        target.await_end(60)
        guest.qmp.ask("cont")
        guest.qmp.wait(HOOKED)


CHECKS = {
    "listen_hmac": listens("hmac"),
    "listen_leaves": leaves,
    "listen_moves": moves,
    "listen_none": listens("none"),
    "listen_sha1": listens("sha1"),
    "listen_wrong_key": wrong_key,
}
