# SPDX-License-Identifier: GPL-2.0
"""The figures of the benchmarks as tables in reStructuredText."""

from legs import OURS_OFF, OURS_ON, STOCK

NAMES = {"amd": "AMD: SVM and nested paging in QEMU", "intel": "Intel: VMX and EPT in Bochs"}

LOOP = 2001
"""Instructions of the loop that shows whether the time-stamp counter counts them."""

SETUPS = [("Debian's", STOCK, "unhooked"), ("off", OURS_OFF, "unhooked"), ("on", OURS_ON, "unhooked"),
          ("other VM", OURS_ON, "other"), ("hooked", OURS_ON, "hooked"), ("protected", OURS_ON, "protected"),
          ("no X", OURS_ON, "unexecutable")]

EXITS = [("cpuid", "CPUID"), ("msr", "WRMSR"), ("cr4", "MOV to CR4"), ("port", "OUT to user space"),
         ("fault", "first touch of a page"), ("mapped", "256 stores, no exit")]

MEDIANS = [
    ("event.cpuid", "CPUID event", "pingpong.cpuid"),
    ("event.cr3", "CR3 event", "pingpong.cr3"),
    ("event.pf.continue", "PF event, CONTINUE", "pingpong.pf"),
    ("event.pf.retry", "PF event, access given, RETRY", "pingpong.pf"),
    ("command.version", "GET_VERSION, by the thread", "pingpong.version"),
    ("command.read", "READ_PHYSICAL of 4096, by the thread", "pingpong.read"),
    ("command.paused.read", "READ_PHYSICAL of 4096, in an event", "pingpong.read"),
    ("command.paused.registers", "GET_REGISTERS, in an event", "pingpong.registers"),
    ("set.1", "SET_PAGE_ACCESS, 1 page", "pingpong.set.1"),
    ("forget.1", "SET_PAGE_ACCESS, 1 page, forgotten", "pingpong.set.1"),
    ("set.511", "SET_PAGE_ACCESS, 511 pages", "pingpong.set.511"),
    ("set.unmapped.511", "SET_PAGE_ACCESS, 511 pages, not mapped", "pingpong.set.511"),
    ("forget.511", "SET_PAGE_ACCESS, 511 pages, forgotten", "pingpong.set.511"),
    ("walk.free", "load after INVLPG", "walk.free.first"),
    ("walk.restricted", "load after INVLPG, page table restricted", "walk.free.first"),
]
"""Key, title, and the key of what it is compared with."""

COUNTS = [
    ("event.cpuid.exits", "exits, 1000 CPUID events"),
    ("event.cr3.exits", "exits, 1000 CR3 events"),
    ("event.pf.continue.exits", "exits, 1000 PF events, CONTINUE"),
    ("event.pf.retry.exits", "exits, 1000 PF events, RETRY"),
    ("set.65536", "instructions, 65,536 pages restricted"),
    ("set.65536.flushes", "flushes, 65,536 pages restricted"),
    ("forget.65536", "instructions, 65,536 pages forgotten"),
    ("forget.65536.flushes", "flushes, 65,536 pages forgotten"),
    ("set.1.flushes", "flushes, 1000 pages, one a command"),
    ("walk.free.exits", "exits, 1000 loads, page table free"),
    ("walk.restricted.exits", "exits, 1000 loads, page table restricted"),
    ("large.before", "large pages, none restricted"),
    ("large.one", "large pages, one frame restricted"),
    ("large.after", "large pages, none restricted again"),
]
"""Counts alone, with what they are of, and in how many items."""


def _table(heads, rows):
    """A simple table; all columns but the first are right-aligned."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    border = "  ".join("=" * width for width in widths)

    def line(cells):
        return "  ".join(cell.ljust(width) if not number else cell.rjust(width)
                         for number, (cell, width) in enumerate(zip(cells, widths))).rstrip()

    return [border, line(heads), border, *map(line, rows), border]


def _ratio(count, reference):
    return f"{count / reference:.2f}" if reference else "-"


def _exits(found):
    rows = []
    for key, title in EXITS:
        times = [found[(step, mode, key)] for _name, step, mode in SETUPS]
        # The lowest of the times: what was disturbed is more, never less.
        counts = [min(numbers[0] for numbers in each) for each in times]
        more = [f"{count - counts[0]:+}" for count in counts[1:]]
        spread = max(max(numbers[0] for numbers in each) - min(numbers[0] for numbers in each) for each in times)
        rows.append([title, counts[0], *more, spread])
    return _table(["instructions of one", SETUPS[0][0], *(name for name, *_rest in SETUPS[1:]), "spread"], rows)


def _medians(found):
    rows = []
    for key, title, other in MEDIANS:
        first, second = (numbers for numbers in found[(OURS_ON, "", key)][:2])
        reference = found[(OURS_ON, "", other)][0][0]
        rows.append([title, first[0], second[0], f"{first[1]}-{first[2]}", reference, _ratio(first[0], reference)])
    return _table(["instructions of one", "count", "again", "middle 80 %", "reference", "ratio"], rows)


def _counts(found):
    rows = []
    for key, title in COUNTS:
        (count, items), (again, _items) = found[(OURS_ON, "", key)][:2]
        rows.append([title, count, again, items, _ratio(count, items)])
    return _table(["count", "count", "again", "items", "for each"], rows)


def tables(cpu, found):
    """The lines of the tables of one host."""
    title = NAMES[cpu]
    return [title, "-" * len(title), "", *_exits(found), "", *_medians(found), "", *_counts(found), ""]


def faults(found):
    """What shows that the counter does not count instructions."""
    wrong = []
    for (step, mode, key), times in sorted(found.items()):
        if key not in ("loop", "host.loop"):
            continue
        empty = found[(step, mode, key.replace("loop", "empty"))]
        for numbers, nothing in zip(times, empty):
            if numbers[0] - nothing[0] != LOOP:
                wrong.append(f"{step}, {mode}: {key} is {numbers[0] - nothing[0]}, not {LOOP} instructions")
    return wrong
