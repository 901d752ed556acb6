# SPDX-License-Identifier: GPL-2.0
"""Checks of what the tool does with the guest's memory: `kvmi watch` and `kvmi protect`.

The guest does what it is ordered to; the kernel's variable `page_cluster`, which nothing else uses, is written and
read by one instruction each.
"""

import contextlib
import json
import re
import time

from asking import KEPT_CHARACTERS, ask, interrupted, killed, value, want, watched
from running import SECONDS, Unseen
from vm import BOOT_SECONDS, ROOTKIT

WRITES, READS = ("echo {} >/proc/sys/vm/page-cluster", "cat /proc/sys/vm/page-cluster >/dev/null")
KEY = "echo {} >/proc/sys/kernel/timer_migration"
"""Turns a static key on or off."""
NOT_FOUND, FAILED, HELD = 8, 1, 5
LOOKS = 10
"""How often a frozen guest is looked at."""
ADDRESS = r"0x[0-9a-f]+"


class Seen:
    """What a watch or a protection has printed: the first line, and, when it has ended, the others."""

    def __init__(self, first):
        self.first, self.events, self.end = first, [], None


@contextlib.contextmanager
def following(guest, *words, ends=False):
    """The tool while it follows the guest; it is interrupted behind the block, or ends there by itself."""
    tool = guest.start(*words, "--json")
    try:
        line = tool.line()
        want(line.startswith('{"') and '"error"' not in line, f"the first line is {line}")
        seen = Seen(json.loads(line))
        yield seen
        if not ends:
            tool.interrupt()
        *seen.events, seen.end = map(json.loads, tool.rest())
        want(not tool.status(), f"it ended with status {tool.status()}")
        want(seen.end["event"] == "end", f"its last line is {seen.end}")
    except Unseen as problem:
        tool.kill()
        raise Unseen(f"{problem}; what the tool said: {''.join(tool.rest())[-KEPT_CHARACTERS:]}") from None
    finally:
        tool.kill()


def number(digits):
    """Bytes as they lie in memory, as a number."""
    return int.from_bytes(bytes.fromhex(digits), "little")


def counted(seen, count):
    """See that there are so many accesses, and that the last line says so."""
    want(len(seen.events) == count == seen.end["events"], f"{len(seen.events)} accesses, not {count}: {seen.end}")
    return [event["data"] for event in seen.events]


def watch_write(guest):
    """Each write once, with what was there before and after, at the address that the guest's own list has."""
    guest.obey(WRITES.format(1))
    with following(guest, "watch", "page_cluster", "4") as seen:
        for value in (2, 3, 4, 5):
            guest.obey(WRITES.format(value))
        guest.obey(READS)
    data = counted(seen, 4)
    want([(number(write["before"]), number(write["after"])) for write in data] == [(1, 2), (2, 3), (3, 4), (4, 5)], f"{data}")
    want({write["access"] for write in data} == {"w"} and {write["length"] for write in data} == {4}, f"{data}")
    want({int(write["gva"], 16) for write in data} == {guest.symbol("page_cluster")}, f"{data}")
    want(all(re.fullmatch(rf"\w*proc\w*\+{ADDRESS}", write["symbol"]) for write in data), f"{data}")


def watch_read(guest):
    """Each read once; writes are held up too, and not counted."""
    with following(guest, "watch", "page_cluster", "4", "--access", "r") as seen:
        for value in (2, 3):
            guest.obey(WRITES.format(value))
            guest.obey(READS)
    data = counted(seen, 2)
    got = [(read["access"], number(read["before"]), read["after"]) for read in data]
    want(got == [("r", 2, None), ("r", 3, None)], f"{data}")


def watch_both(guest):
    """Reads and writes in their order."""
    with following(guest, "watch", "page_cluster", "4", "--access", "rw") as seen:
        for value in (2, 3):
            guest.obey(WRITES.format(value))
            guest.obey(READS)
    want([found["access"] for found in counted(seen, 4)] == ["w", "r", "w", "r"], f"{seen.events}")


def watch_execute(guest):
    """Each call of a function once; a write calls it once."""
    with following(guest, "watch", "proc_dointvec_minmax", "1", "--access", "x") as seen:
        for value in (2, 3, 4):
            guest.obey(WRITES.format(value))
    data = counted(seen, 3)
    want({call["symbol"] for call in data} == {"proc_dointvec_minmax+0x0"}, f"{data}")
    want(all(event["rip"] == event["data"]["gva"] for event in seen.events), f"{data}")


def watch_beside(guest):
    """What is done to the bytes before and behind the watched ones is not seen."""
    for place in ("page_cluster+4", gva(guest.symbol("page_cluster") - 1)):
        with following(guest, "watch", place, "1") as seen:
            guest.obey(WRITES.format(3))
        want(all(event["data"]["symbol"] and "proc" not in event["data"]["symbol"] for event in seen.events), f"{seen.events}")


def gva(address):
    """An address on the command line."""
    return f"gva:{address:#x}"


def watch_physical(guest):
    """One place by each of its addresses."""
    with following(guest, "watch", gva(guest.symbol("page_cluster")), "4", "--count", "1", ends=True) as seen:
        guest.obey(WRITES.format(4))
    gpa = counted(seen, 1)[0]["gpa"]
    with following(guest, "watch", gpa, "4", "--no-symbols") as seen:
        guest.obey(WRITES.format(5))
    write, = counted(seen, 1)
    want((write["gpa"], number(write["after"]), write["symbol"]) == (gpa, 5, None), f"{write}")


def watch_count(guest):
    """So many, and the guest goes on."""
    with following(guest, "watch", "page_cluster", "4", "--count", "2", ends=True) as seen:
        for value in (1, 2, 3):
            guest.obey(WRITES.format(value))
    want([number(write["after"]) for write in counted(seen, 2)] == [1, 2], f"{seen.events}")


def watch_refused(guest):
    """What cannot be watched is named."""
    for place, status, text in (("nonsense", NOT_FOUND, "no symbol nonsense"), ("gva:0x10", NOT_FOUND, "nothing mapped at 0x10"),
                                ("512M", FAILED, "no memory of the VM is there")):
        got = ask(guest, "watch", place, "1", "--for", "1s", status=status)
        want(text in got, got)


def watch_text(guest):
    """A line for people."""
    line = ask(guest, "watch", "jiffies_64", "8", "--count", "1").splitlines()[1]
    want(re.fullmatch(rf" *\d+\.\d{{6}} vcpu [01] cr3 [0-9a-f]{{16}} rip [0-9a-f]{{16}} \w+\+{ADDRESS} PF w gpa {ADDRESS} "
                      rf"gva {ADDRESS} [0-9a-f]{{16}} -> [0-9a-f]{{16}}", line), line)


def protect_ranges(guest):
    """What is protected is what the guest's own list calls text and read-only data."""
    with following(guest, "protect") as seen:
        pass
    ranges = {part["name"]: part for part in seen.first["ranges"]}
    for name, start, end in (("text", "_text", "_etext"), ("read-only data", "__start_rodata", "__end_rodata")):
        start, end = guest.symbol(start), guest.symbol(end)
        size = (end + 4095) // 4096 * 4096 - start
        want(int(ranges[name]["gva"], 16) == start and ranges[name]["bytes"] == size, f"{name}: {ranges[name]}, not {start:#x}")
    want("Linux version 7." in seen.first["banner"], seen.first["banner"])
    want(seen.end["violations"] == 0, f"{seen.events}")


def protect_patching(guest):
    """The guest may change its own code: each byte of it is seen, and at the end all is as it was."""
    with following(guest, "protect", "--action", "block", "--no-execute-data") as seen:
        for value in (0, 1):
            guest.obey(KEY.format(value))
    patches = own(seen)
    want(seen.end["violations"] == 0, f"{seen.end}")
    code = {}
    for patch in patches:
        before, _ = code.get(patch["gpa"], (patch["before"], None))
        code[patch["gpa"]] = before, patch["after"]
    want(all(before == after for before, after in code.values()), f"the code has changed: {code}")
    want({patch["task"]["comm"] for patch in patches} <= {"init", "sh"}, f"{patches[0]}")


def own(seen):
    """The writes of the guest's own patching: all that were seen, as many for one way as for the other."""
    data = [event["data"] for event in seen.events]
    want(data and {patch["verdict"] for patch in data} == {"self-patching"}, f"{seen.events[:3]}")
    want(seen.end["self_patching"] == len(data) and len(data) % 2 == 0, f"{seen.end}")
    for patch in data:
        want(patch["symbol"].startswith("text_poke_mem") and patch["length"] == 1, f"{patch}")
        want(re.fullmatch(rf"\w[\w.]*\+{ADDRESS}", patch["target"]), f"{patch}")
    half = len(data) // 2
    want([patch["gpa"] for patch in data[:half]] == [patch["gpa"] for patch in data[half:]], "the ways differ")
    return data


def protect_no_patching(guest):
    """The guest's own patching counts, if that is wanted."""
    with following(guest, "protect", "--no-allow-self-patching") as seen:
        for value in (0, 1):
            guest.obey(KEY.format(value))
    end = seen.end
    want(end["violations"] == len(seen.events) > 0 == end["self_patching"], f"{end}")
    want({event["data"]["verdict"] for event in seen.events} == {"logged"}, f"{seen.events[:3]}")


def protect_quiet(guest):
    """A guest that changes nothing runs as ever."""
    with following(guest, "protect", "--action", "crash") as seen:
        guest.await_heartbeats(5, SECONDS, "while it is protected")
    want(not seen.events and seen.end["violations"] == 0, f"{seen.events[:3]}")


def stopped(seen, ways, verdict, command):
    """See that these attacks were seen, each by its one write, and what was done about them."""
    data = [event["data"] for event in seen.events if event["data"]["verdict"] != "self-patching"]
    want([found["verdict"] for found in data] == [verdict] * len(ways), f"{data}")
    want(seen.end["violations"] == len(ways), f"{seen.end}")
    for found, way in zip(data, ways):
        offset = 24 if way == "ops" else 0
        want(found["target"] == f"{ROOTKIT[way]}+{offset:#x}" and found["length"] == (8 if way == "ops" else 4), f"{found}")
        want(found["task"]["comm"] == command and re.fullmatch(rf".*\+{ADDRESS}( \[rootkit\])?", found["symbol"]), f"{found}")
        want("rootkit" in found["symbol"] and found["access"] == "w", f"{found}")
        left, gone = ("stored", "before") if verdict == "logged" else ("before", "stored")
        want(found["after"] == found[left] != found[gone], f"{found}")
    return data


def protect_logged(guest):
    """A rootkit that is only watched: all it does is named, and works."""
    with following(guest, "protect") as seen:
        guest.attack()
    stopped(seen, list(ROOTKIT), "logged", "insmod")
    want(guest.rooted()[0] == set(ROOTKIT), f"{guest.rooted()}")
    with following(guest, "protect") as seen:
        guest.obey("rmmod rootkit")
    stopped(seen, list(ROOTKIT), "logged", "rmmod")
    want(not guest.rooted()[0], f"{guest.rooted()}")


def protect_blocked(guest):
    """A rootkit that is stopped: nothing of what it does has an effect, and the guest lives on."""
    with following(guest, "protect", "--action", "block") as seen:
        guest.attack()
        want(not guest.rooted()[0], f"{guest.rooted()}")
    data = stopped(seen, list(ROOTKIT), "blocked", "insmod")
    want([found["stored"] for found in data[1:]] == ["31c0c390"] * 2, f"{data}")
    guest.obey("rmmod rootkit")
    want(not guest.rooted()[0], f"{guest.rooted()}")


def protect_count(guest):
    """It ends after so many violations, and the guest is as unprotected as before."""
    with following(guest, "protect", "--action", "block", "--count", "1", ends=True) as seen:
        guest.attack()
    stopped(seen, ["ops"], "blocked", "insmod")
    want(guest.rooted()[0] == {"text", "wp"}, f"{guest.rooted()}")
    guest.obey("rmmod rootkit")
    want(not guest.rooted()[0], f"{guest.rooted()}")


def protect_faulted(guest):
    """Its first write ends the rootkit; the guest lives on."""
    guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
    with following(guest, "protect", "--action", "fault") as seen:
        guest.attack()
        want(not guest.rooted()[0], f"{guest.rooted()}")
    stopped(seen, ["ops"], "faulted", "insmod")
    want("general protection fault" in guest.obey("dmesg | grep 'general protection'"), "the guest says nothing of it")


def protect_crashed(guest):
    """Its first write ends the VM."""
    guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
    address = guest.symbol(ROOTKIT["text"])
    with following(guest, "protect", "--action", "crash", ends=True) as seen:
        guest.order(f"insmod /rootkit.ko text={address:#x}")
    stopped(seen, ["text"], "crashed", "insmod")
    guest.await_end(SECONDS)
    return "ended"


@contextlib.contextmanager
def left(guest, on_exit):
    """A guest whose protection has died, and was to do this."""
    # What is asked of the guest is asked before.
    guest.symbols(*ROOTKIT.values())
    guard = guest.start("protect", "--action", "block", "--on-exit", on_exit, "--json")
    try:
        first = json.loads(guard.line())
        want(first.get("on_exit") == on_exit and not first["frozen"], f"the first line is {first}")
    finally:
        guard.kill()
    end = time.monotonic() + SECONDS
    while watched(guest) == "active":
        want(time.monotonic() < end, "its session did not end")
        time.sleep(0.1)
    try:
        yield
    finally:
        # Whatever has become of the check, the next one wants its guest.
        if not guest.is_dead() and watched(guest) == "frozen":
            ask(guest, "resume")


def protect_on_exit_freeze(guest):
    """A protection is killed: a rootkit waits at its first write, which is not done. The next protection has it all."""
    text = guest.symbol(ROOTKIT["text"])
    gpa = value(guest, "translate", f"{text:#x}")["gpa"]
    code = value(guest, "read", gpa, "4")["hex"]
    with left(guest, "freeze"):
        want(watched(guest) == "frozen", f"the VM is {watched(guest)}")
        start = len(guest.console())
        mark = guest.order(guest.attacking())
        for _ in range(LOOKS):
            # Whoever only looks leaves it frozen.
            want(value(guest, "read", gpa, "4")["hex"] == code, "the rootkit has written")
            want(watched(guest) == "frozen", f"the VM is {watched(guest)} after a look")
        want("frozen" in ask(guest, "watch", gpa, "4", "--no-symbols", "--for", "1s", status=HELD), "why it is not watched")
        want(mark not in guest.console()[start:], "the rootkit is done")
        with following(guest, "protect", "--action", "block") as seen:
            guest.await_done(mark, start)
            want(not guest.rooted()[0], f"{guest.rooted()}")
        want(seen.first["frozen"] and seen.first["on_exit"] == "release", f"{seen.first}")
        stopped(seen, list(ROOTKIT), "blocked", "insmod")
    want(watched(guest) == "none", f"the VM is {watched(guest)}")
    guest.obey("rmmod rootkit")
    want(not guest.rooted()[0], f"{guest.rooted()}")


def protect_on_exit_resumed(guest):
    """What is frozen goes on when everything is given back, and the rootkit has its way."""
    with left(guest, "freeze"):
        start = len(guest.console())
        mark = guest.order(guest.attacking())
        got = value(guest, "resume")
        want(got == {"resumed": guest.pid, "ended": None}, f"{got}")
        want(watched(guest) == "none", f"the VM is {watched(guest)}")
        guest.await_done(mark, start)
    want(guest.rooted()[0] == set(ROOTKIT), f"{guest.rooted()}")
    guest.obey("rmmod rootkit")


def protect_on_exit_release(guest):
    """A protection that is to end with its tool does, and the rootkit has its way."""
    with left(guest, "release"):
        want(watched(guest) != "frozen", f"the VM is {watched(guest)}")
        guest.attack()
    want(guest.rooted()[0] == set(ROOTKIT), f"{guest.rooted()}")
    guest.obey("rmmod rootkit")


def protect_on_exit_crash(guest):
    """A protection is killed, and the rootkit's first write ends the VM."""
    guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
    with left(guest, "crash"):
        guest.order(guest.attacking("text"))
        guest.await_end(SECONDS)
    return "ended"


def protect_unmoved(guest):
    """A kernel that was not moved at boot."""
    end = guest.await_heartbeats(2, BOOT_SECONDS, "while the guest boots")
    want(end, "no heartbeat")
    protect_ranges(guest)
    with following(guest, "protect") as seen:
        pass
    want(seen.first["moved"] == "0x0", f"{seen.first}")


CHECKS = {
    "protect_blocked": protect_blocked,
    "protect_count": protect_count,
    "protect_interrupted": lambda guest: interrupted(guest, "protect", "--action", "block"),
    "protect_killed": lambda guest: killed(guest, "protect", "--action", "block"),
    "protect_logged": protect_logged,
    "protect_no_patching": protect_no_patching,
    "protect_on_exit_freeze": protect_on_exit_freeze,
    "protect_on_exit_interrupted": lambda guest: interrupted(guest, "protect", "--on-exit", "freeze"),
    "protect_on_exit_release": protect_on_exit_release,
    "protect_on_exit_resumed": protect_on_exit_resumed,
    "protect_patching": protect_patching,
    "protect_quiet": protect_quiet,
    "protect_ranges": protect_ranges,
    "watch_beside": watch_beside,
    "watch_both": watch_both,
    "watch_count": watch_count,
    "watch_execute": watch_execute,
    "watch_interrupted": lambda guest: interrupted(guest, "watch", "jiffies_64", "8", "--access", "rw"),
    "watch_killed": lambda guest: killed(guest, "watch", "jiffies_64", "8", "--access", "rwx"),
    "watch_physical": watch_physical,
    "watch_read": watch_read,
    "watch_refused": watch_refused,
    "watch_text": watch_text,
    "watch_write": watch_write,
}
"""By the names of the tests, without what all of them begin with."""

ALONE = {"protect_crashed": protect_crashed, "protect_faulted": protect_faulted,
         "protect_on_exit_crash": protect_on_exit_crash, "protect_unmoved": protect_unmoved}
"""Those that want a guest of their own, which runs at the address that it was built for."""
