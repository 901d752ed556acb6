# SPDX-License-Identifier: GPL-2.0
"""A part of a leg that is a program of checks on a real guest in a host."""

import shlex
from dataclasses import dataclass

import guest
import host
import legs
from settings import LOG, SEEN

ROUND = "a guest"
"""What the checks call the one round there is."""


@dataclass
class Part:
    """Such a part: names of its checks begin with its own."""

    name: str
    title: str
    program: str
    seconds: int
    """Of the host's clock, until it is stopped."""
    memory: int = 0
    cpu: str = "amd"
    starts: tuple = ()
    """How the names of the checks begin that it runs; nothing: it runs all."""

    def wanted(self, only):
        """Whether a part of a name can be that of a check."""
        return not only or f"{self.name}_" in only

    def run(self, boot, only, results, kernel="stock"):
        """Run the checks and add their results."""
        words = ["exec", "python3", f"{SEEN}/tools/lab/inside/{self.program}", only, *self.starts]
        order = host.Order(command=shlex.join(words), cpu=self.cpu, name=f"test-{self.name}-{kernel}", stream=False,
                           memory=self.memory, extra=guest.build(),
                           timeout=self.seconds * (legs.DEBUG_SLOWER if kernel == "debug" else 1))
        legs.see_through(f"{self.cpu}, the {self.name}", f"{self.title} on {self.cpu}", order, boot, results, kernel)
        names = next((value["checks"] for value in order.reports if "checks" in value), [f"{self.name}_*"])
        legs.own(self.cpu, order.reports, names, results, ROUND)
        legs.keep(LOG / f"test-{self.name}-{kernel}-{self.cpu}.log", order.reports)
