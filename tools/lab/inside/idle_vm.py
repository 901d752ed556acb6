# SPDX-License-Identifier: GPL-2.0
"""A VM that keeps KVM from patching the scheduler."""

import fcntl
import os

KVM_CREATE_VM = 0xAE01


class IdleVm:
    """A VM that does nothing while others come and go.

    KVM patches the scheduler's code when the first VM comes and when the last one goes, and QEMU's own emulation
    was seen to run a processor into the half-patched instruction (Oops: int3 in finish_task_switch).
    """

    def __init__(self):
        self._fds = []

    def close(self):
        """Let the modules go."""
        while self._fds:
            os.close(self._fds.pop())

    def open(self):
        """Make it."""
        self._fds.append(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        self._fds.append(fcntl.ioctl(self._fds[0], KVM_CREATE_VM, 0))
