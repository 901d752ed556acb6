# SPDX-License-Identifier: GPL-2.0
"""The documents say something of everything that there is."""

import re
import unittest

import bench_table
from settings import CHECKOUT

COSTS = (CHECKOUT / "Documentation/virt/kvm/kvmi-costs.rst").read_text()
ABI = (CHECKOUT / "Documentation/virt/kvm/kvmi.rst").read_text()
HEADER = (CHECKOUT / "include/uapi/linux/kvmi.h").read_text()
PROMISES = (CHECKOUT / "SPECIFICATION.md").read_text()
SELFTESTS = CHECKOUT / "tools/testing/selftests/kvm/x86"


class Documents(unittest.TestCase):
    """kvmi.rst and SPECIFICATION.md against the sources."""

    def test_each_command_and_event_has_a_section(self):
        names = dict(re.findall(r"^#define (KVMI_(?:GET|VM|VCPU)_\w+)\s+(\d+)$", HEADER, re.M))
        self.assertGreater(len(names), 35)
        headings = re.findall(r"^[45]\.\d+ (KVMI_\w+) \((\d+)\)\n-+$", ABI, re.M)
        self.assertEqual(len(headings), len(set(headings)))
        # Two ids only say that a message is an event.
        for name in ("KVMI_VM_EVENT", "KVMI_VCPU_EVENT"):
            names.pop(name, None)
        self.assertEqual(dict(headings), names)

    def test_sections_are_numbered_in_order(self):
        for levels in (1, 2):
            found = [tuple(map(int, text.split("."))) for text in re.findall(r"^(\d+(?:\.\d+)*)\.? [^\n]*\n[=-]{3,}$", ABI, re.M)]
            found = [number for number in found if len(number) == levels]
            self.assertEqual(found, sorted(set(found)))
            self.assertGreater(len(found), 9)

    def test_each_test_stands_in_the_support_table(self):
        support = ABI[ABI.index("\n10. Support\n"):]
        for path in set(SELFTESTS.glob("kvmi_*.c")) - set(SELFTESTS.glob("kvmi_bench_*.c")):
            self.assertRegex(support, rf"\b{path.stem}\b")

    def test_the_costs_have_each_row_for_each_host(self):
        for name in bench_table.NAMES.values():
            self.assertEqual(COSTS.count(f"\n{name}\n---"), 1)
        for _key, title, *_other in bench_table.EXITS + bench_table.MEDIANS + bench_table.COUNTS:
            rows = re.findall(rf"^{re.escape(title)}  +-?[0-9]", COSTS, re.M)
            self.assertEqual(len(rows), len(bench_table.NAMES), title)

    def test_each_promise_names_tests_that_exist(self):
        for name in set(re.findall(r"`(kvmi_\w+)", PROMISES)):
            if not re.fullmatch(r"kvmi_(enabled|in_use|page_)", name):
                self.assertTrue((SELFTESTS / f"{name}.c").is_file(), name)
