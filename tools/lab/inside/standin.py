# SPDX-License-Identifier: GPL-2.0
"""What stands in for a VMM that offers its VM to a tool, for guests whose QEMU does not.

It connects, makes the handshake, and hands the socket to the KVM of a running QEMU, whose VM it duplicates.
"""

import ctypes
import fcntl
import hashlib
import hmac
import os
import select
import socket
import struct
import time
import uuid

from asking import want, watched

SECONDS = 120
PIDFD_GETFD = 438
HOOK, UNHOOK, COMMAND, EVENT, PREUNHOOK = 0x4018AEC8, 0xAEC9, 0x4008AECA, 0x4008AECB, 0xAECC
HELLO = struct.Struct("=I16sIq64sQ")
OFFER = struct.Struct("=I20sII32s")
PART = struct.Struct("=II32s")
LIBC = ctypes.CDLL(None, use_errno=True)


def connect(address):
    """A connection to a path, or to (cid, port), as soon as somebody listens there."""
    end = time.monotonic() + SECONDS
    while True:
        line = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_VSOCK)
        line.settimeout(SECONDS)
        try:
            line.connect(address)
            return line
        except OSError:
            line.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def mac(key, who, *said):
    """What proves that one has a key."""
    return hmac.digest(key, b"kvmi2 " + who + b"\0" + b"".join(said), "sha256")


class Standin:
    """A VMM that offers the VM of a guest's QEMU. It takes it back at the end of the `with` block."""

    def __init__(self, guest, name="guest of the lab"):
        self.guest = guest
        self.name = name
        self.uuid = uuid.uuid4()
        self._line = None

    def __enter__(self):
        return self

    def __exit__(self, *_reason):
        if self._line:
            self._line.close()
            self._line = None
            self._order(UNHOOK)

    def offer(self, address, auth="none", key=b""):
        """Offer the VM; whether the tool is one that gets it."""
        line = connect(address)
        if not self._shake(line, auth, key):
            line.close()
            return False
        self._line = line
        with self._vm() as vm:
            fcntl.ioctl(vm.fileno(), HOOK, struct.pack("=iI16s", line.fileno(), 0, self.uuid.bytes))
            for order in (COMMAND, EVENT):
                fcntl.ioctl(vm.fileno(), order, struct.pack("=Ii", 1, -1))
        if auth == "hmac":
            line.sendall(self._proof)
        return True

    def ask_to_leave(self):
        """Have KVM ask the tool to leave."""
        self._order(PREUNHOOK)

    def await_leave(self):
        """Wait until the tool has closed its end, and take the VM back."""
        poll = select.poll()
        poll.register(self._line, select.POLLRDHUP)
        want(poll.poll(SECONDS * 1000), "the tool does not leave")
        self._line.close()
        self._line = None
        self._order(UNHOOK)
        want(watched(self.guest) == "none", f"the VM is {watched(self.guest)}")

    def _order(self, number):
        with self._vm() as vm:
            fcntl.ioctl(vm.fileno(), number, 0)

    def _vm(self):
        """The VM's file, duplicated out of QEMU."""
        folder = f"/proc/{self.guest.pid}/fd"
        files = [int(name) for name in os.listdir(folder) if os.readlink(f"{folder}/{name}") == "anon_inode:kvm-vm"]
        pidfd = os.pidfd_open(self.guest.pid)
        try:
            file = LIBC.syscall(PIDFD_GETFD, pidfd, min(files), 0)
        finally:
            os.close(pidfd)
        want(file >= 0, f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        return os.fdopen(file, "rb", buffering=0)

    def _shake(self, line, auth, key):
        hello = HELLO.pack(HELLO.size, self.uuid.bytes, 0, int(time.time()), self.name.encode(), (256 << 20) - 1)
        line.sendall(hello)
        if auth != "hmac":
            cookie = read(line, 24)
            return cookie == struct.pack("=I", 24) + (hashlib.sha1(key).digest() if auth == "sha1" else bytes(20))
        offer = read(line, OFFER.size)
        if len(offer) < OFFER.size or OFFER.unpack(offer)[:4] != (OFFER.size, bytes(20), 2, 0):
            return False
        challenge = PART.pack(PART.size, 2, os.urandom(32))
        line.sendall(challenge)
        answer = read(line, PART.size)
        proof = mac(key, b"tool", hello, offer, challenge)
        if len(answer) < PART.size or not hmac.compare_digest(answer, PART.pack(PART.size, 2, proof)):
            return False
        # As QEMU does, when KVM has the socket.
        self._proof = PART.pack(PART.size, 2, mac(key, b"qemu", hello, offer, challenge, proof))
        return True


def read(line, size):
    """So many bytes and not one more; fewer only if there are no more to come."""
    got = b""
    while len(got) < size:
        try:
            part = line.recv(size - len(got))
        except ConnectionResetError:
            part = b""
        if not part:
            break
        got += part
    return got
