# SPDX-License-Identifier: GPL-2.0
"""Checks of `kvmi listen`: the guest is offered to a tool that listens, at the path of a socket or over vsock."""

import contextlib
import json
import os

from asking import want, watched
from running import Running
from standin import Standin
from vm import ROOTKIT, TOOL

KEY = bytes(range(32))
KEY_FILE, OTHER_KEY_FILE = "/tmp/listen-key", "/tmp/listen-other-key"
PATH = "/tmp/listen-socket"
PORT, LOOPBACK = 7654, 1
PLACES = {"unix": (f"unix:{PATH}", PATH), "vsock": (f"vsock:{PORT}", (LOOPBACK, PORT))}
"""Where the tool listens, and where one connects."""
NAME = "guest of the lab"


class Listener(Running):
    """`kvmi listen`, with JSON, which listens already. It does not outlive the `with` block."""

    def __init__(self, place, *words, key=KEY_FILE):
        for path, content in ((KEY_FILE, KEY), (OTHER_KEY_FILE, KEY[::-1])):
            with open(path, "wb") as file:
                file.write(content)
        super().__init__([TOOL, "--json", "listen", place, *(["--key", key] if key else []), *words])
        first = self.line()
        want(first and json.loads(first) == {"event": "listening", "address": place}, f"the first line is {first}")

    def __enter__(self):
        return self

    def __exit__(self, *_reason):
        self.kill()

    def said(self, event=None):
        """The next line; it is of the guest, and of this event if one is given."""
        text = self.line()
        want(text, "the output has ended")
        line = json.loads(text)
        want(line.get("vm") == NAME and event in (None, line.get("event")), f"the line is {line}")
        return line

    def end(self):
        """Its end, by itself: the lines that it still prints."""
        lines = [json.loads(line) for line in self.rest()]
        want(self.status() == 0, f"it ended with status {self.status()}: {lines}")
        want(not os.path.exists(PATH), "it leaves its socket")
        return lines


@contextlib.contextmanager
def offered(guest, where, *words, auth="hmac", options=()):
    """The guest while `kvmi listen` has it, which runs a command on it: the listener, and the stand-in for the VMM."""
    place, address = PLACES[where]
    key = None if auth == "none" else KEY_FILE
    with Listener(place, *options, *words, key=key) as listener, Standin(guest, NAME) as vmm:
        want(vmm.offer(address, auth, KEY), "the tool is not what it should be")
        line = listener.said("connected")
        want(line["uuid"] == str(vmm.uuid) and line["max_gpa"] == "0xfffffff", f"it is told {line}")
        yield listener, vmm
    guest.await_heartbeats(1, 60, "after the tool")
    want(watched(guest) == "none", f"the VM is {watched(guest)}")


def once(guest, where, *words, **options):
    """Have a command run on the guest to its end; the lines that it prints."""
    with offered(guest, where, *words, options=["--count", "1", *options.pop("options", [])], **options) as (listener, _):
        *lines, end = listener.end()
        want(end["event"] == "ended" and end["exit"] == 0, f"it ended as {end}")
    return lines


def asks(where):
    """A check of commands that only ask: facts, registers, the banner in the guest's memory."""
    def check(guest):
        info, = once(guest, where, "info")
        want((info["vm"], info["name"], info["pid"], info["vcpu_count"]) == (NAME, NAME, None, 2), f"it is {info}")
        regs, = once(guest, where, "regs")
        want([vcpu["vcpu"] for vcpu in regs["vcpus"]] == [0, 1], f"they are {regs}")
        place, = once(guest, where, "translate", hex(guest.symbol("linux_banner")))
        read, = once(guest, where, "read", place["gpa"], "16")
        want(bytes.fromhex(read["hex"]).startswith(b"Linux version 7."), f"it is {read}")
    return check


def traces(where):
    """A check of a trace: so many events, each of the guest."""
    def check(guest):
        *events, end = once(guest, where, "trace", "--cr", "3", "--count", "20")
        seen = {(event["vm"], event["event"], event["data"]["cr"]) for event in events}
        want(seen == {(NAME, "CR", 3)}, f"they are {events}")
        want((len(events), end["events"], end["reason"]) == (20, 20, "enough"), f"it ends with {end}")
    return check


def protects(where):
    """A check that a rootkit is stopped, and that the tool leaves when it is asked to, and leaves nothing."""
    def check(guest):
        # Nothing is to be looked up while the guest is slow.
        guest.symbols(*ROOTKIT.values())
        with offered(guest, where, "protect", "--action", "block", options=["--count", "1"]) as (listener, vmm):
            listener.said("protecting")
            guest.attack()
            changed = guest.rooted()
            want(not changed[0], f"the rootkit works: {changed}")
            vmm.ask_to_leave()
            vmm.await_leave()
            *events, last, end = listener.end()
        want((last["event"], last["reason"], last["violations"]) == ("end", "unhook", len(ROOTKIT)), f"it ends with {last}")
        want((end["event"], end["exit"]) == ("ended", 0), f"it ended as {end}")
        blocked = [event["data"] for event in events if event["data"]["verdict"] != "self-patching"]
        want([data["verdict"] for data in blocked] == ["blocked"] * len(ROOTKIT), f"they are {blocked}")
        # Now nothing is in its way.
        guest.obey("rmmod rootkit")
        guest.attack()
        want(guest.rooted()[0] == set(ROOTKIT), f"something is still restricted: {guest.rooted()}")
        guest.obey("rmmod rootkit")
    return check


def leaves(*words):
    """A check that a tool leaves when it is asked to, which has not seen enough yet."""
    def check(guest):
        with offered(guest, "unix", *words, options=["--count", "1"]) as (listener, vmm):
            listener.said()
            vmm.ask_to_leave()
            vmm.await_leave()
            *_, last, end = listener.end()
        want((last["reason"], end["exit"]) == ("unhook", 0), f"it ends with {last}, {end}")
    return check


def older(guest):
    """The forms of the handshake that older VMMs know."""
    for auth in ("none", "sha1"):
        info, = once(guest, "unix", "info", auth=auth, options=["--auth", auth])
        want(info["vcpu_count"] == 2, f"it is {info}")


def another_key(guest):
    """A tool with another key does not get the guest, and says that there was somebody; it waits for the next."""
    place, address = PLACES["unix"]
    with Listener(place, "info", key=OTHER_KEY_FILE) as listener, Standin(guest, NAME) as vmm:
        want(not vmm.offer(address, "hmac", KEY), "the tool gets the guest")
        want(not vmm.offer(address, "sha1", KEY), "the tool gets the guest by less than its key")
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        listener.interrupt()
        lines = listener.end()
    want(len(lines) == 2 and all("refused" in line["error"]["message"] for line in lines), f"it told {lines}")


def interrupted(guest):
    """Ctrl-C ends the command as if it were run alone."""
    with offered(guest, "unix", "trace", "--cr", "3") as (listener, _):
        listener.said("CR")
        listener.interrupt()
        *_, last, end = listener.end()
        want((last["reason"], end["how"]) == ("signal", "stopped"), f"it ends with {last}, {end}")


def killed(guest):
    """A listener that is killed takes its command with it, and the guest goes on."""
    with offered(guest, "vsock", "trace", "--cr", "3", "--cpuid") as (listener, vmm):
        listener.said()
        listener.kill()
        vmm.await_leave()


def program(guest):
    """A program that runs several commands on the guest, in one session."""
    script = f'"{TOOL}" --fd $KVMI_FD --json info; "{TOOL}" --fd $KVMI_FD --json mtrr 0x1000'
    with offered(guest, "unix", "--", "sh", "-c", script, options=["--count", "1"]) as (listener, _):
        info, mtrr, end = listener.end()
    want((info["name"], info["vcpu_count"], mtrr["gpa"], end["exit"]) == (NAME, 2, "0x1000", 0), f"{info} {mtrr} {end}")


CHECKS = {
    "listen_another_key": another_key,
    "listen_interrupted": interrupted,
    "listen_killed": killed,
    "listen_older": older,
    "listen_pause_leaves": leaves("pause"),
    "listen_program": program,
    "listen_step_leaves": leaves("trace", "--step", "1000000"),
    "listen_unix_asks": asks("unix"),
    "listen_unix_protects": protects("unix"),
    "listen_unix_traces": traces("unix"),
    "listen_vsock_asks": asks("vsock"),
    "listen_vsock_protects": protects("vsock"),
    "listen_vsock_traces": traces("vsock"),
    "listen_watch_leaves": leaves("watch", "jiffies_64", "8", "--access", "rw"),
}
"""By the names of the tests, without what all of them begin with."""
