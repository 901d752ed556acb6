# SPDX-License-Identifier: GPL-2.0
"""What an introspection object may be made of, and what a tool may then do."""

import struct
import subprocess

from asking import started, want, watched
from offering import PROGRAM, SOCKET
from peer import EPERM, EVENT_CR, VCPU_CONTROL_EVENTS, VM_GET_INFO, VM_READ_PHYSICAL, Peer
from qmp import SECONDS

MODULES = "/kvmi/build/modules"
READ = struct.pack("=QHHI", 0x1000, 8, 0, 0)
FOLLOW_CR = struct.pack("=HHIHBBI", 0, 0, 0, EVENT_CR, 1, 0, 0)
UNASSIGNED = "63"
"""A number that no command and no event has."""


def refused(words, secret=b"", **properties):
    """A check that an object with these properties is refused for this reason."""
    def check(guest):
        with guest.chardev():
            if secret:
                with guest.key(secret):
                    guest.refuses(words, **properties)
            else:
                guest.refuses(words, **properties)
    return check


def chardevs(guest):
    """Only a socket that connects, again and again, will do."""
    guest.refuses("no chardev 'c0'")
    wrong = "no plain socket that connects and reconnects"
    guest.qmp.ask("chardev-add", id="c0", backend={"type": "null", "data": {}})
    guest.refuses(wrong)
    guest.qmp.ask("chardev-remove", id="c0")
    with Peer(SOCKET):
        with guest.chardev(server=True, address=SOCKET + "-server"):
            guest.refuses(wrong)
        with guest.chardev(reconnect=0):
            guest.refuses(wrong)


def hints(guest):
    """People are told what to do."""
    with guest.people() as people:
        with guest.chardev(reconnect=0, server=True):
            said = people.ask("object_add introspection,id=kvmi,chardev=c0")
        want("reconnect-ms=1000" in said, f"nothing is said of reconnect-ms: {said}")
        with guest.chardev():
            said = people.ask("object_add introspection,id=kvmi,chardev=c0,command.0=vm-read")
        want("'vm-read'" in said and "\n  vm-read-physical\n" in said, f"the names are not listed: {said}")


def commands(guest):
    """A tool may use what is listed, by either kind of name, or by number."""
    allowed = ["VM_CONTROL_EVENTS", "vm-get-info", str(VCPU_CONTROL_EVENTS)]
    with guest.offered(command=allowed) as peer:
        line = guest.hooked(peer).wants_to_know()
        want(struct.unpack_from("=I", line.do(VM_GET_INFO))[0] == 2, "there are not 2 vCPUs")
        line.do(VCPU_CONTROL_EVENTS, FOLLOW_CR)
        want(line.ask(VM_READ_PHYSICAL, READ)[0] == EPERM, "it may read, which is not listed")


def events(guest):
    """A tool may ask for the events that are listed, and always for the one that asks it to leave."""
    with guest.offered(event=["vcpu-event-breakpoint"]) as peer:
        line = guest.hooked(peer).wants_to_know()
        want(line.ask(VCPU_CONTROL_EVENTS, FOLLOW_CR)[0] == EPERM, "it may follow CR writes, which is not listed")
        line.do(VM_READ_PHYSICAL, READ)


def everything(guest):
    """An empty list is none."""
    with guest.offered(command=[], event=[]) as peer:
        line = guest.hooked(peer)
        line.do(VM_READ_PHYSICAL, READ)
        line.do(VCPU_CONTROL_EVENTS, FOLLOW_CR)


def two(guest):
    """There is one object at most."""
    with guest.offered() as peer:
        guest.hooked(peer)
        with guest.chardev(name="c1"):
            with guest.refusing("already"):
                guest.add_object("other", chardev="c1")
        want(guest.state() == "hooked", f"it is {guest.info()}")


def removed(guest):
    """An object may go while the guest is introspected; nothing is left."""
    with guest.offered() as peer:
        line = guest.hooked(peer)
        line.follow_cr3(0)
        line.event()
        want(watched(guest) == "active", "the VM is not watched")
        guest.qmp.ask("object-del", id="kvmi")
        guest.unhooked("removed")
        while line.read(1):
            pass
        want(watched(guest) == "none", f"the VM is {watched(guest)}")


def attached(guest):
    """Where a tool has attached to the VM, no other gets it from QEMU; it does when the first has gone."""
    with started(guest, "trace", "--cr", "3"), guest.offered() as peer:
        peer.accept().shake("none")
        guest.failed("cannot hook the guest")
    with guest.offered() as peer:
        guest.hooked(peer).must_work()


def fails_to_start(accelerator, *words):
    """A check that QEMU says why it cannot offer a guest, and ends."""
    command = [PROGRAM, "-accel", accelerator, "-machine", "none", "-nodefaults", "-display", "none",
               "-chardev", f"socket,id=c0,path={SOCKET},reconnect-ms=200", "-object", "introspection,id=kvmi,chardev=c0"]

    def check(_guest):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=SECONDS, check=False)
        want(done.returncode == 1, f"its status is {done.returncode}: {done.stdout}")
        for word in words:
            want(word in done.stdout, f"it says: {done.stdout}")
        return "ended"
    return check


def load(parameter):
    """Load KVM anew, with this value of its parameter."""
    for words in (["rmmod", "kvm_amd", "kvm"], ["insmod", f"{MODULES}/kvm.ko", f"introspection={parameter}"],
                  ["insmod", f"{MODULES}/kvm-amd.ko"]):
        subprocess.run(words, check=True)


def without_parameter(guest):
    """KVM's parameter is off."""
    load(0)
    try:
        return fails_to_start("kvm", "KVM cannot introspect guests", "introspection=1")(guest)
    finally:
        load(1)


ALONE = {
    "without_kvm": fails_to_start("qtest", "needs the accelerator kvm"),
    "without_parameter": without_parameter,
}
"""What needs no guest, or that there is none."""

CHECKS = {
    "allow_commands": commands,
    "allow_events": events,
    "allow_everything": everything,
    "attached": attached,
    "chardevs": chardevs,
    "hints": hints,
    "key_missing": refused("auth=hmac needs a key", auth="hmac"),
    "key_short": refused("16 are the least", b"fifteen bytes..", key="k0"),
    "key_unknown": refused("No secret with id 'k0'", key="k0"),
    "key_useless": refused("auth=none has no use for a key", b"sixteen bytes...", key="k0", auth="none"),
    "removed": removed,
    "timeout_zero": refused("1 or more", handshake_timeout=0),
    "two": two,
    "unknown_command": refused("no introspection command 'vm-red-physical'", command=["vm-red-physical"]),
    "unknown_event": refused("no introspection event 'vm-read-physical'", event=["vm-read-physical"]),
    "unknown_number": refused(f"KVM knows no introspection command {UNASSIGNED}", command=[UNASSIGNED]),
    "unknown_event_number": refused(f"KVM knows no introspection event {UNASSIGNED}", event=[UNASSIGNED]),
}
