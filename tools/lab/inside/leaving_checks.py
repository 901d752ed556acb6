# SPDX-License-Identifier: GPL-2.0
"""How a tool is asked to leave, or made to, before the guest is stopped, saved, migrated or reset; and how it comes back."""

import contextlib
import os
import socket
import threading
import time

from asking import want, watched
from offering import CONNECTED, KEY_FILE, PATIENCE, RECONNECT, SOCKET, UNHOOKED, Offering
from peer import EVENT_PF, Peer
from qmp import SECONDS
from vm import BOOT_SECONDS, Unseen

DISK = "/tmp/snapshots"
DISK_BYTES = 1 << 30
ON_ITS_WAY = "/tmp/migration"
FRAMES = 0x8000
"""The first 128 MiB: the guest's kernel writes there without end."""


def stop(guest):
    """A tool is asked to leave before the guest is stopped, which runs on until it has; it comes back with cont."""
    with guest.offered() as peer, guest.people() as people:
        line = guest.hooked(peer).wants_to_know()
        guest.qmp.order("stop")
        line.must_be_asked_to_leave()
        # The main loop goes on, and so does the guest.
        want("running" in people.ask("info status"), "the guest does not run while the tool takes its leave")
        line.must_work()
        line.close()
        guest.qmp.answer()
        order = [event["event"] for event in guest.qmp.events if event["event"] in (UNHOOKED, "STOP")]
        want(order == [UNHOOKED, "STOP"], f"the events are {guest.qmp.events}")
        guest.qmp.forget()
        want(guest.info()["held-back"] and guest.state() == "disconnected", f"it is {guest.info()}")
        guest.qmp.ask("cont")
        guest.qmp.wait("RESUME")
        guest.qmp.wait(CONNECTED)
        guest.hooked(peer).must_work()


def held_back(guest):
    """While the guest is stopped, no connection is made."""
    with guest.offered() as peer:
        guest.hooked(peer)
        guest.qmp.ask("stop")
        guest.unhooked("no tool is wanted")
        guest.qmp.forget()
        want(not peer.comes(5 * RECONNECT / 1000), "QEMU connects all the same")
        want(CONNECTED not in guest.qmp.seen(), "QEMU has connected all the same")
        guest.qmp.ask("cont")
        guest.hooked(peer).must_work()


def stop_late(guest):
    """A tool that does not leave in time is made to."""
    with guest.offered(unhook_timeout=1) as peer:
        line = guest.hooked(peer).wants_to_know()
        guest.qmp.order("stop")
        line.must_be_asked_to_leave()
        guest.unhooked("did not leave in time")
        guest.qmp.answer()
        line.must_end()
        guest.qmp.ask("cont")
        guest.hooked(peer).must_work()


def stop_people(guest):
    """People's stop does not wait, and says so."""
    with guest.offered() as peer, guest.people() as people:
        line = guest.hooked(peer).wants_to_know()
        want("will be stopped when the tool" in people.ask("stop"), "it is not said that the guest will be stopped")
        line.must_be_asked_to_leave()
        want("running" in people.ask("info status"), "the guest does not run while the tool takes its leave")
        line.close()
        guest.qmp.wait("STOP")
        people.ask("cont")
        guest.hooked(peer).must_work()


def stop_removed(guest):
    """The object may go while QEMU waits for the tool."""
    with guest.offered() as peer, guest.people() as people:
        line = guest.hooked(peer).wants_to_know()
        guest.qmp.order("stop")
        line.must_be_asked_to_leave()
        people.ask("object_del kvmi")
        guest.unhooked("removed")
        guest.qmp.answer()
        line.must_end()
        guest.qmp.ask("cont")


def stop_in_handshake(guest):
    """A tool that has not said all is not waited for."""
    with guest.offered() as peer:
        line = peer.accept()
        line.hello()
        guest.qmp.ask("stop")
        guest.failed("no tool is wanted")
        line.must_end()
        guest.qmp.ask("cont")
        guest.hooked(peer).must_work()


def reset(guest):
    """A reset unhooks at once; the tool comes back to a guest that boots."""
    with guest.offered() as peer:
        line = guest.hooked(peer).wants_to_know()
        line.follow_cr3(0)
        line.event()
        printed = len(guest.console())
        guest.qmp.ask("system_reset")
        guest.unhooked("reset")
        while line.read(1):
            pass
        guest.hooked(peer).must_work()
        end = time.monotonic() + BOOT_SECONDS
        while "heartbeat 2\n" not in guest.console()[printed:].replace("\r", ""):
            if time.monotonic() > end:
                raise Unseen(f"the guest has not started again in {BOOT_SECONDS} s")
            time.sleep(0.2)


def make_disk(guest):
    """A place for snapshots, made by QEMU itself: nothing of the guest is on it."""
    guest.qmp.run_job("blockdev-create", "file", options={"driver": "file", "filename": DISK, "size": 0})
    guest.qmp.ask("blockdev-add", driver="file", filename=DISK, **{"node-name": "file"})
    guest.qmp.run_job("blockdev-create", "qcow2", options={"driver": "qcow2", "file": "file", "size": DISK_BYTES})
    guest.qmp.ask("blockdev-add", driver="qcow2", file="file", **{"node-name": "snapshots"})


def snapshot(guest):
    """A tool is asked to leave before a snapshot is saved, and before one is loaded; it comes back after either."""
    make_disk(guest)
    with guest.offered() as peer, guest.people() as people:
        line = guest.hooked(peer).wants_to_know()
        said = people.ask("savevm other")
        want("introspects the guest" in said and "snapshot-save" in said, f"people's savevm says: {said}")
        line.must_work()
        for command in ("snapshot-save", "snapshot-load"):
            line.restrict(16)
            guest.qmp.ask(command, tag="one", vmstate="snapshots", devices=["snapshots"], **{"job-id": command})
            line.must_be_asked_to_leave()
            want(guest.state() == "unhooking", f"it is {guest.info()}")
            want(guest.qmp.ask("query-status")["status"] == "running", "the guest does not run while the tool takes its leave")
            line.close()
            guest.unhooked("closed the connection")
            guest.qmp.end_job(command)
            guest.await_heartbeats(1, 120, f"after {command}")
            line = guest.hooked(peer).wants_to_know()
            line.must_work()
        # People's loadvm resets the guest, and that waits for nobody.
        people.ask("loadvm one")
        guest.unhooked("reset")
        while line.read(1):
            pass
        guest.await_heartbeats(1, 120, "after people's loadvm")
        guest.hooked(peer).must_work()
    guest.qmp.ask("blockdev-del", **{"node-name": "snapshots"})
    guest.qmp.ask("blockdev-del", **{"node-name": "file"})
    os.unlink(DISK)


def leave_home(guest):
    """Begin a migration."""
    guest.qmp.ask("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    guest.qmp.ask("migrate", uri=f"unix:{ON_ITS_WAY}")


def cancelled(guest):
    """A migration that is given up while the tool takes its leave: the tool comes back."""
    with guest.offered() as peer, socket.socket(socket.AF_UNIX) as target:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(ON_ITS_WAY)
        target.bind(ON_ITS_WAY)
        target.listen()
        line = guest.hooked(peer).wants_to_know()
        leave_home(guest)
        line.must_be_asked_to_leave()
        guest.qmp.wait("MIGRATION", status="wait-unplug")
        # The migration waits for the object.
        with guest.refusing("in use"):
            guest.qmp.ask("object-del", id="kvmi")
        guest.qmp.ask("migrate_cancel")
        line.close()
        guest.qmp.wait("MIGRATION", status="cancelled")
        guest.hooked(peer).must_work()


def migration(guest):
    """A tool with restrictions, an event that waits for its answer and CR3 writes that it follows: it is asked to leave,
    only goes, and nothing of it is left in either QEMU. The guest goes on in the target, where the tool gets it anew."""
    arguments = ["-object", f"secret,id=k0,file={KEY_FILE}",
                 "-chardev", f"socket,id=c0,path={SOCKET}-2,reconnect-ms={RECONNECT}",
                 "-object", f"introspection,id=kvmi,chardev=c0,key=k0,handshake-timeout={PATIENCE}", "-incoming", f"unix:{ON_ITS_WAY}"]
    with guest.offered(key="k0") as peer, Peer(SOCKET + "-2") as other, Offering(arguments, "-2") as target:
        want(target.info()["held-back"], f"the target wants a tool: {target.info()}")
        line = guest.hooked(peer, "hmac").wants_to_know()
        for vcpu in (0, 1):
            line.follow(vcpu, EVENT_PF)
            line.follow_cr3(vcpu)
        line.restrict(FRAMES)
        of_vcpu, _, _, _ = line.event()
        want(of_vcpu, "the guest does nothing that the tool wants to know")
        leave_home(guest)
        line.must_be_asked_to_leave()
        guest.qmp.wait("MIGRATION", status="wait-unplug")
        line.close()
        guest.unhooked("closed the connection")
        want(watched(guest) == "none", f"the source is {watched(guest)}")
        guest.qmp.wait("MIGRATION", status="completed")
        want(guest.state() == "disconnected" and guest.info()["held-back"], f"the source is {guest.info()}")
        arrived = target.hooked(other, "hmac")
        arrived.must_work()
        target.await_heartbeats(3, 120, "in the target")
        want(watched(target) == "active", f"the target is {watched(target)}")
        target.qmp.ask("quit")
        while arrived.read(1):
            pass
        want(target.await_end(60) == 0, "QEMU does not end as it should")
        # It lives on here, as if it had never gone.
        guest.qmp.ask("cont")
        guest.hooked(peer, "hmac").must_work()


def sink(place):
    """Take a migration, and all of what is sent, at this socket."""
    line, _ = place.accept()
    with line:
        while line.recv(1 << 20):
            pass


def frozen(guest):
    """A tool dies that wanted its restrictions to stay: they do, the guest is not sent away or saved, and the next tool
    has them. When that one has left, the guest may go."""
    with guest.offered() as peer, guest.people() as people, socket.socket(socket.AF_UNIX) as target:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(ON_ITS_WAY)
        target.bind(ON_ITS_WAY)
        target.listen()
        line = guest.hooked(peer)
        line.restrict(FRAMES)
        line.freeze()
        guest.unhooked("left the guest frozen")
        want(watched(guest) == "frozen", f"the VM is {watched(guest)}")
        want(guest.info()["frozen"], f"it is {guest.info()}")
        with guest.refusing("left the guest frozen"):
            leave_home(guest)
        said = people.ask("savevm other")
        want("left the guest frozen" in said, f"people's savevm says: {said}")
        # It is stopped and goes on as any other, and nothing comes loose, though the next tool has come already.
        line = peer.accept()
        line.hello()
        guest.qmp.ask("stop")
        guest.failed("no tool is wanted")
        line.must_end()
        guest.qmp.ask("cont")
        want(watched(guest) == "frozen", f"the VM is {watched(guest)} behind stop and cont")
        line = guest.hooked(peer).wants_to_know()
        want(not guest.info()["frozen"] and watched(guest) == "active", f"it is {guest.info()}, the VM {watched(guest)}")
        for vcpu in (0, 1):
            line.follow(vcpu, EVENT_PF)
        of_vcpu, event, _, _ = line.event()
        want(of_vcpu and event == EVENT_PF, f"the first event is {event}")
        thread = threading.Thread(target=sink, args=[target], daemon=True)
        thread.start()
        leave_home(guest)
        line.must_be_asked_to_leave()
        line.close()
        guest.unhooked("closed the connection")
        guest.qmp.wait("MIGRATION", status="completed")
        thread.join(SECONDS)
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        guest.qmp.ask("cont")
        guest.hooked(peer).must_work()


def frozen_removed(guest):
    """The object goes, and with it what a tool has left frozen."""
    with guest.offered() as peer:
        line = guest.hooked(peer)
        line.restrict(FRAMES)
        line.freeze()
        guest.unhooked("left the guest frozen")
        guest.qmp.ask("object-del", id="kvmi")
        guest.unhooked("removed")
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        guest.await_heartbeats(2, SECONDS, "when nothing is frozen any more")


CHECKS = {
    "frozen": frozen,
    "frozen_removed": frozen_removed,
    "held_back": held_back,
    "migration": migration,
    "migration_cancelled": cancelled,
    "reset": reset,
    "snapshot": snapshot,
    "stop": stop,
    "stop_in_handshake": stop_in_handshake,
    "stop_late": stop_late,
    "stop_people": stop_people,
    "stop_removed": stop_removed,
}
