# SPDX-License-Identifier: GPL-2.0
"""A guest that watches another guest of the same host: the tool listens in it, over vsock."""

import time

from running import SECONDS, Unseen
from vm import BOOT_SECONDS, Guest

CID, PORT = 42, 7654
WORDS = ["-initrd", "/kvmi/build/guest/watcher", "-device", f"vhost-vsock-pci,guest-cid={CID}", "-smp", "1", "-m", "192"]
KEY_FILE = "/key"


class Watcher(Guest):
    """Such a guest, which is up. It knows a key, a text."""

    def __init__(self, key):
        super().__init__(more=WORDS, name="-watcher")
        try:
            self._await("watcher is up", 0, 2 * BOOT_SECONDS)
            self.obey(f"echo -n {key} >{KEY_FILE}")
        except BaseException:
            self.__exit__()
            raise

    def listen(self, *words):
        """Have the tool listen for one VM, and run a command on it; what `end` takes."""
        start = len(self.console())
        return start, self.order(f"kvmi listen vsock:{PORT} --key {KEY_FILE} --count 1 {' '.join(words)}")

    def shows(self, started, text):
        """Wait until the tool has printed this."""
        return self._await(text, started[0], 2 * SECONDS)

    def end(self, started):
        """Wait until the tool has ended; what it has printed."""
        start, mark = started
        return self._await(mark, start, 2 * SECONDS)

    def _await(self, text, start, seconds):
        end = time.monotonic() + seconds
        while text not in (seen := self.console()[start:]):
            self.must_live()
            if time.monotonic() > end:
                raise Unseen(f"the watching guest did not say `{text}` in {seconds} s, but: {seen[-500:]}")
            time.sleep(0.2)
        return seen[:seen.index(text)].replace("\r", "")
