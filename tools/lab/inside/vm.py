# SPDX-License-Identifier: GPL-2.0
"""A guest in a host, and the tool at work on it."""

import re
import socket
import subprocess
import time

from running import SECONDS, Running, Unseen
from stacks import stacks

TOOL = "/kvmi/build/kvmi"
CONSOLE = "/tmp/console"
ORDERS = "/tmp/orders"
ROOTKIT = {"ops": "cpuinfo_op", "text": "loadavg_proc_show", "wp": "uptime_proc_show"}
"""What the guest's rootkit can do, and to what: change a pointer in a table of read-only data, and the text of a
function through another mapping, and with CR0.WP cleared."""
BOOT_SECONDS = 480
LAST_WORDS = 6000
"""How much of what a guest has printed is told when it has died."""
QEMU = "qemu-system-x86_64"
MACHINE = ["-accel", "kvm", "-cpu", "host", "-smp", "2", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none",
           "-kernel", "/kvmi/build/guest/vmlinuz", "-initrd", "/kvmi/build/guest/initrd"]
KERNEL_LINE = "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable"


class Guest:
    """Debian's kernel under QEMU, printing a heartbeat each second. It ends with the `with` block.

    QEMU is unmodified unless another program is given; `more` are more words for it. Guests at the same time have
    different names.
    """

    def __init__(self, parameters="", program=QEMU, more=(), name="", errors=None):
        self._console = CONSOLE + name
        self._where = ORDERS + name
        # What a guest before this one said is not said by this one.
        open(self._console, "wb").close()
        ports = ["-serial", f"file:{self._console}", "-serial", f"unix:{self._where},server=on,wait=off"]
        words = [program, *MACHINE, *ports, "-append", f"{KERNEL_LINE} {parameters}".strip(), *more]
        self._qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=errors)
        self.pid = self._qemu.pid
        self._orders = 0
        self._symbols = {}
        self._port = None

    def __enter__(self):
        return self

    def __exit__(self, *_reason):
        if self._port:
            self._port.close()
        self._qemu.kill()
        try:
            self._qemu.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Unseen(f"there is no end of QEMU; the threads:\n{stacks()}") from None

    def heartbeats(self):
        """The number of the last heartbeat, 0 before the first."""
        found = re.findall(r"heartbeat (\d+)", self.console())
        return int(found[-1]) if found else 0

    def await_heartbeats(self, count, seconds, what):
        """Wait until the guest has beaten `count` times more; the number of the last one."""
        start, end = self.heartbeats(), time.monotonic() + seconds
        while self.heartbeats() < start + count:
            self.must_live()
            if time.monotonic() > end:
                raise Unseen(f"{what}: no heartbeat for {seconds} s; the threads:\n{stacks()}")
            time.sleep(0.2)
        return self.heartbeats()

    def console(self):
        """What the guest has printed."""
        with open(self._console, encoding="utf-8", errors="replace") as file:
            return file.read()

    def order(self, line):
        """Have the guest run a line of shell; it runs while this returns. What to look for at its end."""
        self._orders += 1
        mark = f"order {self._orders} is done"
        if not self._port:
            self._port = socket.socket(socket.AF_UNIX)
            self._port.settimeout(SECONDS)
            self._port.connect(self._where)
        self._port.sendall(f"{line}; echo {mark}\n".encode())
        return mark

    def obey(self, line, seconds=2 * SECONDS):
        """Have the guest run a line of shell; what was printed meanwhile."""
        start = len(self.console())
        return self.await_done(self.order(line), start, seconds)

    def await_done(self, mark, start, seconds=2 * SECONDS):
        """Wait until the guest has done what order() has ordered when so much was printed; what was printed since."""
        end = time.monotonic() + seconds
        while mark not in (text := self.console()[start:]):
            self.must_live()
            if time.monotonic() > end:
                raise Unseen(f"the guest did not get to \"{mark}\" in {seconds} s; the threads:\n{stacks()}")
            time.sleep(0.2)
        return text[:text.index(mark)]

    def symbol(self, name):
        """The address of a symbol of its kernel, as it has it itself."""
        address, = self.symbols(name)
        return address

    def symbols(self, *names):
        """The addresses of symbols: its list is long, and read once for all that are not known yet."""
        unknown = [name for name in names if name not in self._symbols]
        if unknown:
            # Strings are found much faster than patterns are.
            text = self.obey("grep -F " + " ".join(f"-e ' {name}'" for name in unknown) + " /proc/kallsyms")
            for address, name in re.findall(r"([0-9a-f]{16}) \w (\S+)", text):
                self._symbols.setdefault(name, int(address, 16))
            if set(unknown) - self._symbols.keys():
                raise Unseen(f"the guest does not have all of the symbols {unknown}: {text}")
        return [self._symbols[name] for name in names]

    def attack(self, *ways):
        """Have the guest load its rootkit, which does so many of the things in ROOTKIT."""
        self.obey(self.attacking(*ways))

    def attacking(self, *ways):
        """The line of shell that loads the rootkit."""
        ways = ways or list(ROOTKIT)
        addresses = self.symbols(*(ROOTKIT[way] for way in ways))
        words = [f"{way}={address:#x}" for way, address in zip(ways, addresses)]
        return "insmod /rootkit.ko " + " ".join(words)

    def rooted(self):
        """Which of the things in ROOTKIT are seen, and what is shown of them."""
        text = self.obey('echo "ops=[$(head -n 1 /proc/cpuinfo)] text=[$(cat /proc/loadavg)] wp=[$(cat /proc/uptime)]."')
        shown = dict(re.findall(r"(\w+)=\[(.*?)\][ .]", text))
        if shown.keys() != ROOTKIT.keys():
            raise Unseen(f"the guest shows {text}")
        return {way for way, value in shown.items() if value == ("rooted" if way == "ops" else "")}, shown

    def await_end(self, seconds):
        """Wait until QEMU has ended; its status."""
        return self._qemu.wait(seconds)

    def is_dead(self):
        """Whether QEMU has ended."""
        return self._qemu.poll() is not None

    def must_live(self):
        """See that QEMU still runs."""
        if self.is_dead():
            raise Unseen(f"QEMU ended with status {self._qemu.returncode}; the guest's last words:\n{self.console()[-LAST_WORDS:]}")

    def words(self, *words):
        """The command line that runs the tool on this guest."""
        return [TOOL, words[0], "--pid", str(self.pid), *words[1:]]

    def tool(self, *words):
        """Run the tool to its end: its status, and what it printed."""
        tool = self.start(*words)
        try:
            text = "".join(tool.rest())
            return tool.status(), text
        finally:
            tool.kill()

    def start(self, *words):
        """Start the tool."""
        return Running(self.words(*words))
