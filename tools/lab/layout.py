# SPDX-License-Identifier: GPL-2.0
"""Which files of this repository go where in a kernel tree: to the same path."""

from pathlib import Path

from failure import Failure
from settings import CHECKOUT, SERIES

FOLDERS = ["virt", "arch", "include", "rust", "Documentation", "tools/testing"]
"""The folders of the repository that mirror a kernel tree."""

LEFTOVERS = (".o", ".orig", ".rej", ".swp", "~", ".cmd", ".ko", ".mod", ".d")


def files():
    """The repository's files that belong into a kernel tree, as relative paths."""
    found = []
    for folder in FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob("*")):
            relative = path.relative_to(CHECKOUT)
            hidden = any(part.startswith(".") and part != ".kunitconfig" for part in relative.parts)
            if path.is_file() and not hidden and not path.name.endswith(LEFTOVERS):
                found.append(relative)
    return found


def patches():
    """The patches to KVM's own files, in the order of `series`, or of their names."""
    folder = CHECKOUT / "patches" / f"linux-{SERIES}"
    series = folder / "series"
    if series.is_file():
        lines = [line.split("#")[0].strip() for line in series.read_text().splitlines()]
        chosen = [folder / line for line in lines if line]
        missing = [path.name for path in chosen if not path.is_file()]
        if missing:
            raise Failure(f"{series} names patches that do not exist: {', '.join(missing)}")
        return chosen
    return sorted(folder.glob("*.patch"))


def touched(patch_texts):
    """The paths that patches change, as the patches name them without their first component."""
    names = set()
    for text in patch_texts:
        for line in text.splitlines():
            if line.startswith(("+++ ", "--- ")):
                name = line[4:].split("\t")[0].strip()
                if name != "/dev/null" and "/" in name:
                    names.add(name.split("/", 1)[1])
    return sorted(names)


def clashes(tree):
    """The repository's files that a pristine tree already has: there must be none."""
    return [str(path) for path in files() if (Path(tree) / path).exists()]
