# SPDX-License-Identifier: GPL-2.0
"""What QEMU and a tool say before the tool gets the guest."""

import contextlib
import os
import time
import uuid

from asking import want, watched
from offering import CONNECTED, FAILED, KEY, NAME, OTHER_KEY, SOCKET, UNHOOKED, UUID
from peer import GET_VERSION, OFFER, Peer, cookie

MEMORY = 256 << 20
VSOCK_PORT = 7654
LOOPBACK = 1
CLOSED = "closed the connection in the handshake"


def good(auth, **properties):
    """A check of a form of the handshake, as it should be."""
    def check(guest):
        with guest.offered(auth=auth, **properties) as peer:
            line = guest.hooked(peer, auth)
            line.must_work()
            info = guest.info()
            want((info["state"], info["auth"], info["chardev"]) == ("hooked", auth, "c0"), f"it is {info}")
            want(0 <= time.time() - info["since"] < 600 and not info["held-back"] and "error" not in info, f"it is {info}")
    return check


def record(guest):
    """Who the guest is."""
    with guest.offered() as peer:
        size, number, padding, start, name, last = peer.accept().hello()
        want((size, padding) == (104, 0), f"size {size}, padding {padding}")
        want(str(uuid.UUID(bytes=number)) == UUID, f"it is {number}")
        want(name.rstrip(b"\0").decode() == NAME, f"its name is {name}")
        want(0 <= time.time() - start < 7200, f"it started at {start}")
        want(last >= MEMORY - 1, f"its memory ends at {last:#x}")


def default_auth(guest):
    """With a key, the best form; without one, none."""
    with guest.offered() as peer:
        guest.hooked(peer)
        want(guest.info()["auth"] == "none", f"without a key it is {guest.info()}")
    with guest.offered(key="k0") as peer:
        guest.hooked(peer, "hmac")
        want(guest.info()["auth"] == "hmac", f"with a key it is {guest.info()}")


def vsock(guest):
    """A tool at a vsock address."""
    with guest.offered(address=(LOOPBACK, VSOCK_PORT)) as peer:
        guest.hooked(peer).must_work()


def wrong(auth, words="another key"):
    """A check that a tool with another key does not get the guest, and one with the right key does afterwards."""
    def check(guest):
        with guest.offered(key="k0", auth=auth) as peer:
            line = peer.accept()
            line.hello()
            if auth == "hmac":
                line.send(line.offer())
                line.send(line.proof(OTHER_KEY))
            else:
                line.send(cookie(OTHER_KEY))
            guest.failed(words)
            line.must_end()
            want(words in guest.info()["error"], f"it is {guest.info()}")
            guest.hooked(peer, auth).must_work()
    return check


def answered(auth, answer, words):
    """A check that a tool that answers so does not get the guest."""
    def check(guest):
        with guest.offered(key="k0", auth=auth) as peer:
            line = peer.accept()
            line.hello()
            line.send(answer)
            guest.failed(words)
            line.must_end()
    return check


def replayed(guest):
    """What a tool has said once does not open the door again."""
    with guest.offered(key="k0") as peer:
        line = guest.hooked(peer, "hmac")
        said = line.said
        line.close()
        guest.unhooked("closed the connection")
        line = peer.accept()
        line.hello()
        line.send(said[0])
        line.read(40)
        line.send(said[2])
        guest.failed("another key")
        line.must_end()


def truncated(guest):
    """A record that ends too early is none."""
    with guest.offered(key="k0") as peer:
        line = peer.accept()
        line.hello()
        line.send(line.offer()[:40])
        line.close()
        guest.failed(CLOSED)


def bytewise(guest):
    """A byte is sent when QEMU has taken the one before."""
    with guest.offered(key="k0") as peer:
        line = peer.accept()
        line.hello()
        for piece in (line.offer(), None):
            for byte in piece or line.proof(KEY):
                line.send(bytes([byte]))
                guest.state()
        line.must_prove(KEY)
        line.must_work()


def ahead(guest):
    """What follows the last record is KVM's, even if it comes with it."""
    with guest.offered() as peer:
        line = peer.accept()
        line.hello()
        line.send(cookie() + line.command(GET_VERSION))
        want(line.answer()[0] == 0, "KVM does not answer")


def silent(guest):
    """A tool that says nothing is left after its time."""
    with guest.offered(handshake_timeout=1) as peer:
        line = peer.accept()
        line.hello()
        guest.failed("longer than 1 s")
        line.must_end()


def slow(guest):
    """The time is for all of the handshake, not for each byte."""
    with guest.offered(key="k0", handshake_timeout=1) as peer:
        line = peer.accept()
        line.hello()
        for byte in line.offer()[:-1]:
            try:
                line.send(bytes([byte]))
            except BrokenPipeError:
                break
            if FAILED in guest.qmp.seen():
                break
            time.sleep(0.1)
        guest.failed("longer than 1 s")


def gone(guest):
    """A tool may go at any step."""
    with guest.offered(key="k0") as peer:
        for step in range(5):
            line = peer.accept()
            if step > 0:
                line.hello()
            if step > 1:
                line.send(line.offer())
            if step > 2:
                line.proof(KEY)
            if step > 3:
                line.send(line.said[2][:20])
            line.close()
            guest.failed(CLOSED)
        guest.hooked(peer, "hmac").must_work()


def gone_at_last(guest):
    """A tool may go when it has said all, and does not wait for the guest."""
    with guest.offered(key="k0") as peer:
        line = peer.accept()
        line.hello()
        line.send(line.offer())
        line.send(line.proof(KEY))
        line.close()
        guest.qmp.wait(FAILED, UNHOOKED)
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        guest.hooked(peer, "hmac").must_work()


def no_socket(guest):
    """Where there is no socket, QEMU says so, and comes when there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    with open(SOCKET, "wb"):
        pass
    with guest.chardev():
        guest.add_object()
        try:
            end = time.monotonic() + 60
            while f"Failed to connect to '{SOCKET}'" not in guest.complaints():
                want(time.monotonic() < end, f"QEMU says: {guest.complaints()}")
                guest.state()
                time.sleep(0.1)
            want(guest.state() == "disconnected", f"it is {guest.info()}")
            with Peer(SOCKET) as peer:
                guest.hooked(peer).must_work()
        finally:
            guest.qmp.ask("object-del", id="kvmi")


def returns(guest):
    """A tool that ends and starts again gets the guest again."""
    with guest.offered() as peer:
        for _ in range(3):
            line = guest.hooked(peer)
            line.must_work()
            line.close()
            guest.unhooked("closed the connection")
        guest.qmp.wait(CONNECTED)


CHECKS = {
    "ahead": ahead,
    "auth_default": default_auth,
    "auth_hmac": good("hmac", key="k0"),
    "auth_none": good("none"),
    "auth_sha1": good("sha1", key="k0"),
    "bytewise": bytewise,
    "gone": gone,
    "gone_at_last": gone_at_last,
    "no_socket": no_socket,
    "record": record,
    "replayed": replayed,
    "returns": returns,
    "silent": silent,
    "slow": slow,
    "stronger": answered("sha1", b"\x40\0\0\0" + bytes(60), "wants auth=hmac"),
    "truncated": truncated,
    "version": answered("hmac", OFFER.pack(OFFER.size, 3, 0, bytes(32)), "no known version"),
    "vsock": vsock,
    "weaker": answered("hmac", cookie(KEY), "auth=sha1 or less"),
    "wrong_key_hmac": wrong("hmac"),
    "wrong_key_sha1": wrong("sha1"),
    "wrong_size": answered("sha1", b"\x20\0\0\0", "32 bytes, not of 24"),
}
