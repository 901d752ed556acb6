# SPDX-License-Identifier: GPL-2.0
"""A guest of the QEMU that offers its guests to introspection tools, and the objects that do so."""

import contextlib
import os
import socket

from asking import want
from peer import Peer
from qmp import People, Qmp, Refused
from vm import Guest, Unseen

PROGRAM = "/kvmi/build/qemu/qemu-system-x86_64"
KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
KEY_FILE = "/tmp/key"
SOCKET = "/tmp/tool"
RECONNECT = 200
"""Milliseconds between two attempts to connect."""
PATIENCE = 600
NAME = "guest of the lab"
UUID = "8f0d7c1e-6a2b-4c55-9d3e-102030405060"
PARAMETERS = "orders=1"
CONNECTED, FAILED, HOOKED, UNHOOKED = (f"INTROSPECTION_{name}" for name in ("CONNECTED", "FAILED", "HOOKED", "UNHOOKED"))


class Offering(Guest):
    """Such a guest, and its monitors."""

    def __init__(self, more=(), name=""):
        self.errors = f"/tmp/errors{name}"
        self.monitor, people = f"/tmp/qmp{name}", f"/tmp/people{name}"
        words = ["-action", "reboot=reset", "-name", NAME, "-uuid", UUID, "-qmp", f"unix:{self.monitor},server=on,wait=off",
                 "-monitor", f"unix:{people},server=on,wait=off", *more]
        for path in (self.monitor, people):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with open(self.errors, "wb") as errors:
            super().__init__(PARAMETERS, PROGRAM, words, name, errors)
        self.qmp = Qmp(self.monitor)
        self._people = people

    def __exit__(self, *reason):
        self.qmp.close()
        super().__exit__(*reason)

    @contextlib.contextmanager
    def people(self):
        """The monitor for people."""
        monitor = People(self._people)
        try:
            yield monitor
        finally:
            monitor.close()

    def complaints(self):
        """What QEMU has written to its standard error."""
        with open(self.errors, encoding="utf-8", errors="replace") as file:
            return file.read()

    def info(self):
        """What QEMU says of introspection: of its one object."""
        shown = self.qmp.ask("query-introspection")
        want(len(shown) == 1, f"there are {len(shown)} introspection objects")
        return shown[0]

    def state(self):
        """What the object does."""
        return self.info()["state"]

    def add_chardev(self, address=SOCKET, name="c0", server=False, reconnect=RECONNECT):
        """Make a chardev that connects to a tool."""
        where = ({"type": "unix", "data": {"path": address}} if isinstance(address, str) else
                 {"type": "vsock", "data": {"cid": str(address[0]), "port": str(address[1])}})
        data = {"addr": where, "server": server} | ({"wait": False} if server else {"reconnect-ms": reconnect})
        self.qmp.ask("chardev-add", id=name, backend={"type": "socket", "data": data})

    def add_key(self, key=KEY):
        """Make a secret of a key."""
        with open(KEY_FILE, "wb") as file:
            file.write(key)
        self.qmp.ask("object-add", **{"qom-type": "secret", "id": "k0", "file": KEY_FILE})

    def add_object(self, name="kvmi", **properties):
        """Make an introspection object; it is patient, so that a slow machine changes nothing."""
        properties = {"handshake_timeout": PATIENCE, "unhook_timeout": PATIENCE} | properties
        self.qmp.ask("object-add", **{"qom-type": "introspection", "id": name, "chardev": "c0"} | {
            key.replace("_", "-"): value for key, value in properties.items()})

    @staticmethod
    @contextlib.contextmanager
    def refusing(words):
        """See that QEMU refuses an order, and that these words are in the reason."""
        try:
            yield
        except Refused as reason:
            want(words in str(reason), f"the reason is: {reason}")
            return
        raise Unseen(f"QEMU does not refuse: {words}")

    def refuses(self, words, **properties):
        """See that no introspection object is made of this, and that these words are in the reason."""
        with self.refusing(words):
            self.add_object(**properties)
        want(not self.qmp.ask("query-introspection"), "there is an object all the same")

    @contextlib.contextmanager
    def chardev(self, **options):
        """A chardev, and nothing of it afterwards."""
        self.add_chardev(**options)
        try:
            yield
        finally:
            self.qmp.ask("chardev-remove", id=options.get("name", "c0"))

    @contextlib.contextmanager
    def key(self, key=KEY):
        """A secret, and nothing of it afterwards."""
        self.add_key(key)
        try:
            yield
        finally:
            self.qmp.ask("object-del", id="k0")

    @contextlib.contextmanager
    def offered(self, address=SOCKET, **properties):
        """A tool to which the guest is offered; there is a key, k0. Nothing of it all is left afterwards."""
        self.qmp.forget()
        with Peer(address if isinstance(address, str) else (socket.VMADDR_CID_ANY, address[1])) as peer, self.key(), \
                self.chardev(address=address):
            self.add_object(**properties)
            try:
                yield peer
            finally:
                if self.qmp.ask("query-introspection"):
                    self.qmp.ask("object-del", id="kvmi")

    def hooked(self, peer, auth="none", key=KEY):
        """Let a tool come to the guest as it should; its connection."""
        line = peer.accept().shake(auth, key)
        self.qmp.wait(HOOKED)
        return line

    def failed(self, words):
        """See that a tool does not get the guest, and that these words are in the reason."""
        event = self.qmp.wait(FAILED, HOOKED)
        want(event["event"] == FAILED, "the tool got the guest")
        want(words in event["data"]["reason"], f"the reason is: {event['data']['reason']}")

    def unhooked(self, words):
        """Wait until the guest is no longer introspected, and see that these words are in the reason."""
        reason = self.qmp.wait(UNHOOKED)["data"]["reason"]
        want(words in reason, f"the reason is: {reason}")
