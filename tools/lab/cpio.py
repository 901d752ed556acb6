# SPDX-License-Identifier: GPL-2.0
"""Initial RAM file systems: archives in the kernel's "newc" format, written without any program."""

import stat


class Archive:
    """An archive in the making. Several archives after one another are one to the kernel."""

    def __init__(self):
        self._parts = []
        self._count = 0

    def folder(self, name):
        """Add a folder."""
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, content, mode=0o644):
        """Add a regular file."""
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name, target):
        """Add a symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def bytes(self):
        """The whole archive."""
        trailer = self._packed("TRAILER!!!", 0, b"", 0)
        whole = b"".join([*self._parts, trailer])
        return whole + bytes(-len(whole) % 512)

    def _entry(self, name, mode, content):
        self._count += 1
        self._parts.append(self._packed(name, mode, content, self._count))

    @staticmethod
    def _packed(name, mode, content, number):
        raw = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        head += bytes(-len(head) % 4)
        return head + content + bytes(-len(content) % 4)
