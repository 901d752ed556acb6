# SPDX-License-Identifier: GPL-2.0
"""The user's terminal while it is connected to a host's."""

import contextlib
import sys
import termios
import tty


@contextlib.contextmanager
def raw():
    """Give every key to the host; put the terminal back afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
