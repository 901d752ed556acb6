# SPDX-License-Identifier: GPL-2.0
"""A table of what ran where: a row for each test, a column for each leg."""

LEGS = ("unit", "amd", "intel", "amd-bochs")
SHOWN = {"passed": "ok", "skipped": "skip", "failed": "FAIL"}
WORST = ("failed", "passed", "skipped")
"""Of several results in one cell, the first of these that is among them is shown."""
NOTHING = "-"


def lines(cells):
    """The table's lines; `cells` are triples (row, leg, result), rows in the order of their first results."""
    legs = [leg for leg in LEGS if any(cell[1] == leg for cell in cells)]
    rows = list(dict.fromkeys(cell[0] for cell in cells))
    if not rows:
        return []
    width = max(len(row) for row in rows)

    def shown(row, leg):
        results = [result for of_row, of_leg, result in cells if (of_row, of_leg) == (row, leg)]
        return next((SHOWN[kind] for kind in WORST if kind in results), NOTHING)

    table = [["", *legs]] + [[row, *(shown(row, leg) for leg in legs)] for row in rows]
    return ["  ".join(f"{text:{max(len(leg), 4)}}" if leg else f"{text:{width}}" for leg, text in zip(["", *legs], row)).rstrip()
            for row in table]
