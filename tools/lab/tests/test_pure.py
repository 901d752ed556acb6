# SPDX-License-Identifier: GPL-2.0
"""The lab's functions that need nothing but their arguments."""

import unittest

import debug_kernel
import initramfs
import kernel_log
import kernel_packages
import layout
import legs
import machine
import selftests
import unused_cost
from cpio import Archive


class Archives(unittest.TestCase):
    """Where packages come from."""

    def test_deb822(self):
        text = "Types: deb\n# a comment\nURIs: http://example.org/debian\nSuites: x\n"
        self.assertEqual(machine.archive_in([text]), "http://example.org/debian")

    def test_one_line(self):
        text = "deb [signed-by=/k] http://example.org/other x main\ndeb http://example.org/debian/ x main\n"
        self.assertEqual(machine.archive_in([text]), "http://example.org/debian/")

    def test_security_alone_is_none(self):
        self.assertIsNone(machine.archive_in(["URIs: http://example.org/debian-security\n"]))

    def test_newest(self):
        series = kernel_packages.SERIES
        names = [f"linux-headers-{series}.{number}+deb13-amd64" for number in (4, 10, 9)]
        self.assertEqual(kernel_packages.newest(names, "+deb13-amd64"), f"{series}.10+deb13-amd64")
        self.assertIsNone(kernel_packages.newest(["linux-headers-1.2.3+deb13-amd64"], "+deb13-amd64"))


class Logs(unittest.TestCase):
    """Complaints of a kernel."""

    def test_before_our_part_does_not_count(self):
        self.assertEqual(kernel_log.complaints(f"WARNING: early\n{kernel_log.READY}\nfine\n"), [])

    def test_after_it_does(self):
        text = f"{kernel_log.READY}\n[ 1.0] WARNING: CPU: 0 PID: 1 at x.c:1\n[ 1.1] fine\n"
        self.assertEqual(len(kernel_log.complaints(text)), 1)
        self.assertIn("fine", kernel_log.excerpt(text))


class Trees(unittest.TestCase):
    """Patches and module lists."""

    def test_touched(self):
        text = "--- a/virt/kvm/x.c\n+++ b/virt/kvm/x.c\n--- /dev/null\n+++ b/new.c\n"
        self.assertEqual(layout.touched([text]), ["new.c", "virt/kvm/x.c"])

    def test_closure_has_what_is_needed_first(self):
        text = "kernel/9p.ko.xz: kernel/9pnet.ko.xz kernel/netfs.ko.xz\nkernel/9pnet.ko.xz:\nkernel/netfs.ko.xz:\n"
        order = initramfs.closure(text, ["9p"])
        self.assertEqual(order[-1], "kernel/9p.ko.xz")
        self.assertEqual(len(order), 3)

    def test_makefile_is_changed_once(self):
        text = "".join(selftests.ADDED)
        once = selftests.with_ours(text)
        self.assertEqual(once.count("kvmi"), 2)
        self.assertEqual(selftests.with_ours(once), once)

    def test_fragment(self):
        self.assertEqual(debug_kernel.fragment("# x\nA=y B=n\n"), "CONFIG_A=y\n# CONFIG_B is not set\n")

    def test_archive_is_aligned(self):
        archive = Archive()
        archive.file("a", b"123")
        self.assertEqual(len(archive.bytes()) % 512, 0)


class Verdicts(unittest.TestCase):
    """What results mean."""

    def test_difference_from_stock_fails(self):
        reports = [{"round": step, "test": "t", "result": result, "reason": ""} for step, result in
                   ((legs.STOCK, "passed"), (legs.OURS_OFF, "passed"), (legs.OURS_ON, "failed"))]
        results = legs.Results()
        legs.compare("amd", reports, ["t"], results)
        self.assertEqual([len(results.of(kind)) for kind in ("passed", "failed")], [1, 1])

    def test_missing_result_fails(self):
        results = legs.Results()
        legs.own("amd", [], ["kvmi_x"], results)
        self.assertEqual(len(results.of("failed")), 1)


LISTING = """
Disassembly of section .text:

0000000000000000 <hook>:
   0:\tnopl   0x0(%rax,%rax,1)
   5:\tret
   6:\tcall   7 <hook+0x7>
"""


class UnusedCost(unittest.TestCase):
    """Reading code."""

    def test_no_op(self):
        code = unused_cost.Code(LISTING)
        self.assertTrue(code.is_no_op((".text", 0)))
        self.assertFalse(code.is_no_op((".text", 5)))

    def test_whose_symbol(self):
        self.assertTrue(unused_cost.is_ours("__kvmi_create_vm", set()))
        self.assertTrue(unused_cost.is_ours("__pfx_kvmi_init", set()))
        self.assertFalse(unused_cost.is_ours("kvm_init", set()))


if __name__ == "__main__":
    unittest.main()
