# SPDX-License-Identifier: GPL-2.0
"""An introspection tool made for tests: it says what a tool should say to QEMU and to KVM, or something else."""

import hashlib
import hmac
import os
import select
import socket
import struct

from asking import want
from qmp import SECONDS
from standin import read

GET_VERSION, VM_GET_INFO, VM_CONTROL_EVENTS, VM_READ_PHYSICAL, VM_SET_PAGE_ACCESS, VM_SET_ON_EXIT = 2, 8, 10, 12, 20, 24
VCPU_CONTROL_EVENTS, VCPU_CONTROL_CR = 5, 13
VM_EVENT, VCPU_EVENT = 0, 1
EVENT_UNHOOK, EVENT_CR, EVENT_PF = 0, 7, 17
READ_EXECUTE = 5
FREEZE = 1
EPERM = -1
FIRST = 0x100
"""The frame at 1 MiB, where memory without holes begins."""
ENTRIES = 500
"""Frames in one message; there is room for a few more."""

RECORD = struct.Struct("=I16sIq64sQ")
OFFER = struct.Struct("=I20xII32s")
PART = struct.Struct("=II32s")
"""A nonce of QEMU, or a proof of either."""


def mac(key, who, *said):
    """What proves that one has the key."""
    return hmac.new(key, b"kvmi2 " + who + b"\0" + b"".join(said), hashlib.sha256).digest()


def cookie(key=None):
    """The answer of older tools."""
    return struct.pack("=I20s", 24, hashlib.sha1(key).digest() if key else b"")


class Line:
    """A connection that QEMU has made."""

    def __init__(self, line):
        self._line = line
        self._line.settimeout(SECONDS)
        self.record = b""
        self.said = []
        self._sequence = 0
        self._events = []

    def close(self):
        """Go away."""
        self._line.close()

    def send(self, data):
        """Send these bytes."""
        self._line.sendall(data)

    def read(self, size):
        """Read so many bytes; fewer only if there are no more to come."""
        return read(self._line, size)

    def must_end(self):
        """See that the other end has closed, and said nothing more."""
        rest = self.read(1)
        want(not rest, f"the connection is open, and carries {rest}")

    # What is said to QEMU.

    def hello(self):
        """QEMU's record, as a tuple."""
        self.record = self.read(RECORD.size)
        want(len(self.record) == RECORD.size, f"QEMU's record has {len(self.record)} bytes")
        return RECORD.unpack(self.record)

    def offer(self, nonce=None):
        """Our nonce."""
        self.said = [OFFER.pack(OFFER.size, 2, 0, nonce or os.urandom(32))]
        return self.said[0]

    def proof(self, key):
        """Our proof, when QEMU has sent its nonce."""
        challenge = self.read(PART.size)
        want(PART.unpack(challenge)[:2] == (PART.size, 2), f"QEMU's nonce is {challenge}")
        self.said += [challenge, PART.pack(PART.size, 2, mac(key, b"tool", self.record, self.said[0], challenge))]
        return self.said[2]

    def must_prove(self, key):
        """See that QEMU has the key as well."""
        offer, challenge, proof = self.said
        size, version, got = PART.unpack(self.read(PART.size))
        want((size, version) == (PART.size, 2), f"QEMU's proof has size {size}, version {version}")
        want(got == mac(key, b"qemu", self.record, offer, challenge, proof[8:]), "QEMU does not have the key")

    def shake(self, auth, key=None):
        """The whole of it, as it should be."""
        self.hello()
        if auth == "hmac":
            self.send(self.offer())
            self.send(self.proof(key))
            self.must_prove(key)
        else:
            self.send(cookie(key))
        return self

    # What is said to KVM.

    def command(self, number, payload=b""):
        """A command, as bytes."""
        self._sequence += 1
        return struct.pack("=HHI", number, len(payload), self._sequence) + payload

    def answer(self):
        """KVM's answer to the last command: its error, and the rest."""
        while True:
            number, sequence, payload = self._message()
            if number in (VM_EVENT, VCPU_EVENT):
                self._events.append((number, sequence, payload))
                continue
            want(sequence == self._sequence, f"this answers command {sequence}, not {self._sequence}")
            return struct.unpack_from("=i", payload)[0], payload[8:]

    def ask(self, number, payload=b""):
        """Send a command; its error, and the rest of the answer."""
        self.send(self.command(number, payload))
        return self.answer()

    def do(self, number, payload=b""):
        """Send a command that must succeed; its answer."""
        error, rest = self.ask(number, payload)
        want(error == 0, f"command {number} is answered {error}")
        return rest

    def event(self):
        """The next event: whether it is a vCPU's, which event it is, its sequence and payload."""
        number, sequence, payload = self._events.pop(0) if self._events else self._message()
        want(number in (VM_EVENT, VCPU_EVENT), f"this is no event: {number}")
        return number == VCPU_EVENT, struct.unpack_from("=H", payload)[0], sequence, payload

    def wants_to_know(self):
        """Ask to be told to leave."""
        self.do(VM_CONTROL_EVENTS, struct.pack("=HBBI", EVENT_UNHOOK, 1, 0, 0))
        return self

    def must_be_asked_to_leave(self):
        """Wait until we are asked to leave, whatever else comes meanwhile."""
        while True:
            of_vcpu, event, _, _ = self.event()
            if not of_vcpu and event == EVENT_UNHOOK:
                return

    def restrict(self, count):
        """Let nobody write to so many frames of memory."""
        for start in range(FIRST, FIRST + count, ENTRIES):
            part = range(start, min(start + ENTRIES, FIRST + count))
            entries = b"".join(struct.pack("=QB7x", frame << 12, READ_EXECUTE) for frame in part)
            self.do(VM_SET_PAGE_ACCESS, struct.pack("=HHI", len(part), 0, 0) + entries)

    def freeze(self):
        """Have what is restricted stay so when this tool dies, which it does then."""
        self.do(VM_SET_ON_EXIT, struct.pack("=B7x", FREEZE))
        self.close()

    def follow(self, vcpu, event):
        """Ask for an event of a vCPU."""
        self.do(VCPU_CONTROL_EVENTS, struct.pack("=HHIHBBI", vcpu, 0, 0, event, 1, 0, 0))

    def follow_cr3(self, vcpu):
        """Ask for writes to CR3."""
        self.follow(vcpu, EVENT_CR)
        self.do(VCPU_CONTROL_CR, struct.pack("=HHIBB6x", vcpu, 0, 0, 3, 1))

    def must_work(self):
        """See that KVM answers."""
        version = struct.unpack_from("=II", self.do(GET_VERSION))
        want(version == (1, 8184), f"the version is {version}")
        return self

    def _message(self):
        head = self.read(8)
        want(len(head) == 8, "KVM has closed the connection")
        number, size, sequence = struct.unpack("=HHI", head)
        payload = self.read(size)
        want(len(payload) == size, "KVM has closed the connection in a message")
        return number, sequence, payload


class Peer:
    """A tool that listens, at the path of a socket or at (cid, port)."""

    def __init__(self, address):
        self._address = address
        self._listening = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_VSOCK)
        self._listening.settimeout(SECONDS)
        if isinstance(address, str) and os.path.exists(address):
            os.unlink(address)
        self._listening.bind(address)
        self._listening.listen(8)
        self._lines = []

    def __enter__(self):
        return self

    def __exit__(self, *_reason):
        for line in self._lines:
            line.close()
        self._listening.close()

    def accept(self):
        """The next connection of which QEMU makes use. One that was begun too early is closed without a word."""
        while True:
            line, _ = self._listening.accept()
            self._lines.append(Line(line))
            if line.recv(1, socket.MSG_PEEK):
                return self._lines[-1]

    def comes(self, seconds):
        """Whether QEMU connects within this time."""
        return bool(select.select([self._listening], [], [], seconds)[0])
