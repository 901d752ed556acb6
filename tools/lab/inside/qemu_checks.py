# SPDX-License-Identifier: GPL-2.0
"""QEMU hands guests over to introspection tools, run in a host: each check is one test of the lab.

Usage: qemu_checks.py [PART]...: only the checks whose name holds a PART. They share a guest, which boots while a tool has it:
QEMU is started with exactly the arguments that tools/qemu/README.md has for libvirt.
"""

import os
import re
import sys

import handshake_checks
import leaving_checks
import object_checks
import together_checks
import two_vms
from asking import want, watched
from checking import tell
from offering import HOOKED, Offering
from peer import Peer
from report import report
from vm import BOOT_SECONDS

DOCUMENT = "/kvmi/tools/qemu/README.md"
ALONE = {"two_vms": two_vms.check}
"""Those that want guests of their own."""
UNLOADED = object_checks.ALONE
"""Those that want no VM to be there, because they load KVM anew."""
CHECKS = handshake_checks.CHECKS | object_checks.CHECKS | leaving_checks.CHECKS | together_checks.CHECKS


def documented():
    """The words that libvirt is to give to QEMU, and the paths in them: of the key, and of the tool's socket."""
    with open(DOCUMENT, encoding="utf-8") as file:
        words = re.findall(r"<qemu:arg value='([^']*)'/>", file.read())
    key, tool = (re.search(pattern, " ".join(words)).group(1) for pattern in (r"file=([^, ]+)", r"path=([^, ]+)"))
    return words, key, tool


def libvirt(key, path):
    """A check of what is documented for libvirt: a tool has the guest from its first instruction on."""
    def check(guest):
        with Peer(path) as peer:
            with open(key, "rb") as file:
                line = peer.accept().shake("hmac", file.read())
            guest.qmp.wait(HOOKED)
            line.must_work()
            guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
            want(watched(guest) == "active", f"the VM is {watched(guest)}")
            line.close()
            guest.unhooked("closed the connection")
            want(watched(guest) == "none", f"the VM is {watched(guest)}")
        # The other checks begin with nothing.
        name = guest.info()["chardev"]
        guest.qmp.ask("object-del", id=guest.info()["id"])
        guest.qmp.ask("chardev-remove", id=name)
    return check


def main():
    """Boot the guest and run the checks."""
    parts = sys.argv[1:] or [""]
    names, alone, unloaded = ([name for name in map("qemu_{}".format, checks) if any(part in name for part in parts)]
                              for checks in (CHECKS, ALONE, UNLOADED))
    words, key, tool = documented()
    report({"checks": ["qemu_libvirt", *names, *alone, *unloaded]})
    for path in (key, tool):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(key, "wb") as file:
        file.write(os.urandom(32))
    with Offering(words) as guest:
        booted_as = tell("qemu_libvirt", libvirt(key, tool), guest)
        for name in names:
            tell(name, CHECKS[name.removeprefix("qemu_")], guest, booted_as)
    for name in alone:
        tell(name, ALONE[name.removeprefix("qemu_")], None)
    for name in unloaded:
        tell(name, UNLOADED[name.removeprefix("qemu_")], None)


main()
