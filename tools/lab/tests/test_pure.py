# SPDX-License-Identifier: GPL-2.0
"""The lab's functions that need nothing but their arguments."""

import re
import unittest

import bench_table
import debug_kernel
import guest
import initramfs
import kernel_log
import kernel_packages
import layout
import legs
import machine
import matrix
import qemu_leg
import selftests
import testing
import tool_leg
import unused_cost
from cpio import Archive
from settings import CHECKOUT

NO_NAMES = "V(M|CPU)_EVENT$|EVENT_ACTION_|ON_EXIT_"
"""What stands among the numbers of commands and events, and is none."""


class Benchmarks(unittest.TestCase):
    """What is made of counts."""

    def test_a_counter_of_instructions(self):
        counts = {("on", "", "host.empty"): [[3, 3, 3, 9], [3, 3, 3, 9]],
                  ("on", "", "host.loop"): [[2004, 2004, 2004, 9], [2004, 2004, 2004, 9]]}
        self.assertEqual(bench_table.faults(counts), [])

    def test_a_counter_of_something_else(self):
        counts = {("on", "", "empty"): [[30], [30]], ("on", "", "loop"): [[2031], [2032]]}
        self.assertEqual(len(bench_table.faults(counts)), 1)


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


class Summaries(unittest.TestCase):
    """What stands at the end of a run."""

    def test_a_reason_is_told_once_and_the_rare_one_last(self):
        entries = [("a", "odd"), ("b", "same"), ("c", "same"), ("d", "")]
        self.assertEqual(testing.together("failed", entries), ["failed  b, c: same", "failed  a: odd", "failed  d"])


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

    def test_makefile_gets_what_no_patch_lists(self):
        text = "".join(selftests.ADDED) + "TEST_GEN_PROGS_x86 += x86/kvmi_a\n"
        sources = ["lib/x86/kvmi_l.c", "x86/kvmi_a.c", "x86/kvmi_b.c"]
        once = selftests.with_ours(text, sources)
        self.assertEqual([once.count(f" += {name}\n") for name in ("lib/x86/kvmi_l.c", "x86/kvmi_b")], [1, 1])
        self.assertEqual(once.count("kvmi_a"), 1)
        self.assertEqual(selftests.with_ours(once, sources), once)

    def test_fragment(self):
        self.assertEqual(debug_kernel.fragment("# x\nA=y B=n\n"), "CONFIG_A=y\n# CONFIG_B is not set\n")

    def test_archive_is_aligned(self):
        archive = Archive()
        archive.file("a", b"123")
        self.assertEqual(len(archive.bytes()) % 512, 0)


class Guests(unittest.TestCase):
    """What the tool is tried on."""

    def test_program_starts_with_its_code(self):
        content = guest.program(b"\xcc")
        entry = int.from_bytes(content[24:32], "little")
        self.assertEqual(content[entry - guest.ADDRESS:], b"\xcc")

    def test_part_of_a_name(self):
        for cpu in ("amd", "intel"):
            self.assertTrue(tool_leg.wanted(cpu, ""))
            self.assertTrue(tool_leg.wanted(cpu, "tool_trace"))
            self.assertFalse(tool_leg.wanted(cpu, "kvmi_pause"))
        self.assertFalse(tool_leg.wanted("amd-bochs", ""))
        self.assertTrue(qemu_leg.wanted("qemu_stop"))
        self.assertFalse(qemu_leg.wanted("tool_trace"))

    def test_qemu_knows_all_commands_and_events(self):
        header = (CHECKOUT / "include/uapi/linux/kvmi.h").read_text()
        ids = {name for name in re.findall(r"#define KVMI_(\w+)\t+\d+\n", header) if not re.match(NO_NAMES, name)}
        self.assertGreater(len(ids), 30)
        series = "".join(path.read_text() for path in (CHECKOUT / "tools/qemu").glob("*.patch"))
        known = {name: number for name, number in re.findall(r'\{ "([a-z-]+)", KVMI_(\w+) \}', series)}
        self.assertEqual(set(known.values()), ids)
        for name, number in known.items():
            self.assertEqual(name, number.lower().replace("_", "-"))


class Verdicts(unittest.TestCase):
    """What results mean."""

    def test_difference_from_stock_fails(self):
        reports = [{"round": step, "test": "t", "result": result, "reason": ""} for step, result in
                   ((legs.STOCK, "passed"), (legs.OURS_OFF, "passed"), (legs.OURS_ON, "failed"))]
        results = legs.Results()
        legs.compare("amd", reports, ["t"], results)
        self.assertEqual([len(results.of(kind)) for kind in ("passed", "failed")], [1, 1])

    def test_a_leg_has_its_share(self):
        ours = ["kvmi_cr", "kvmi_pause", "kvmi_param_off"]
        self.assertEqual(legs.share("amd-bochs", ["stock"], ours), ([], ["kvmi_cr"]))
        self.assertEqual(legs.share("intel", ["stock"], ours), (["stock"], ours))

    def test_no_round_without_tests(self):
        steps = legs.rounds("amd", "amd-bochs", [], ["kvmi_cr"])
        self.assertEqual([(step["name"], step["tests"]) for step in steps], [(legs.OURS_ON, ["kvmi_cr"])])
        self.assertTrue(all("/build/modules/" in path for path, _ in steps[0]["modules"]))
        self.assertEqual(len(legs.rounds("amd", "amd", ["stock"], ["kvmi_param_off"])), 3)

    def test_pages_are_tested_with_each_mmu(self):
        results = legs.Results()
        reports = [{"round": step["name"], "test": test, "result": "passed", "reason": ""}
                   for step in legs.rounds("intel", "intel", [], ["kvmi_cr", "kvmi_page_x"]) for test in step["tests"]]
        legs.own("intel", reports, ["kvmi_cr", "kvmi_page_x"], results)
        self.assertEqual([cell[0] for cell in results.cells],
                         ["kvmi_cr", "kvmi_page_x", "kvmi_page_x, older MMU", "kvmi_page_x, shadow paging"])
        self.assertEqual(len(results.of("passed")), 4)

    def test_another_round(self):
        results = legs.Results()
        legs.own("amd", [{"round": "a guest", "test": "tool_x", "result": "passed", "reason": ""}], ["tool_x"], results, "a guest")
        self.assertEqual(len(results.of("passed")), 1)

    def test_missing_result_fails(self):
        results = legs.Results()
        legs.own("amd", [], ["kvmi_x"], results)
        self.assertEqual(len(results.of("failed")), 1)


class Matrix(unittest.TestCase):
    """What ran where."""

    def test_rows_and_columns(self):
        cells = [("unit tests", "unit", "passed"), ("kvmi_x", "amd", "passed"), ("kvmi_y", "amd", "skipped"),
                 ("kvmi_x", "intel", "failed"), ("kvmi_y", "intel", "passed")]
        self.assertEqual([line.split() for line in matrix.lines(cells)],
                         [["unit", "amd", "intel"], ["unit", "tests", "ok", "-", "-"], ["kvmi_x", "-", "ok", "FAIL"],
                          ["kvmi_y", "-", "skip", "ok"]])

    def test_one_failure_shows(self):
        cells = [("stock", "amd", "passed"), ("stock", "amd", "failed"), ("stock", "amd", "skipped")]
        self.assertEqual(matrix.lines(cells)[1].split(), ["stock", "FAIL"])

    def test_columns_are_aligned(self):
        cells = [("a", "intel", "passed"), ("longer", "amd-bochs", "skipped")]
        self.assertEqual(matrix.lines(cells), ["        intel  amd-bochs", "a       ok     -", "longer  -      skip"])

    def test_nothing_ran(self):
        self.assertEqual(matrix.lines([]), [])

    def test_results_fill_it(self):
        results = legs.Results()
        legs.own("amd", [{"round": legs.OURS_ON, "test": "kvmi_x", "result": "passed", "reason": ""}], ["kvmi_x", "kvmi_y"], results)
        results.add("the log is clean", "passed")
        self.assertEqual(results.cells, [("kvmi_x", "amd", "passed"), ("kvmi_y", "amd", "failed")])


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
