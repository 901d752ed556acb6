# SPDX-License-Identifier: GPL-2.0
"""`make apply`: our files and patches onto a kernel tree of somebody's own."""

import shutil
import tempfile
from pathlib import Path

import layout
from failure import Failure
from progress import say
from work_tree import apply_patch

MARK = "virt/kvm/introspection/Kconfig"


def main(name):
    """Apply everything, or nothing if a patch does not fit."""
    tree = Path(name).expanduser() if name else None
    if not tree or not (tree / "virt/kvm/Makefile.kvm").is_file():
        raise Failure(f"{name or 'KDIR'} is not a kernel tree: give KDIR=/path/to/linux")
    texts = [path.read_text() for path in layout.patches()]
    touched = layout.touched(texts)
    if (tree / MARK).exists():
        if _is_applied(tree, touched):
            say(f"{tree}: already applied")
            return 0
        raise Failure(f"{tree} holds another state of introspection: start from a clean tree")
    mistakes = layout.clashes(tree)
    if mistakes:
        raise Failure(f"{tree} has files of these names already: {', '.join(mistakes)}")
    with tempfile.TemporaryDirectory(prefix="kvmi-apply-") as scratch:
        _copy(tree, Path(scratch), touched)
        for path in layout.patches():
            apply_patch(scratch, path)
        _copy(Path(scratch), tree, touched)
    for path in layout.files():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(layout.CHECKOUT / path, tree / path)
    say(f"{tree}: {len(layout.files())} files and {len(texts)} patches applied; set CONFIG_KVM_INTROSPECTION=y")
    return 0


def _is_applied(tree, touched):
    """Whether the tree has our files and each patch comes off cleanly, the last first."""
    for path in layout.files():
        there = tree / path
        if not there.is_file() or there.read_bytes() != (layout.CHECKOUT / path).read_bytes():
            return False
    with tempfile.TemporaryDirectory(prefix="kvmi-apply-") as scratch:
        _copy(tree, Path(scratch), touched)
        try:
            for path in reversed(layout.patches()):
                apply_patch(scratch, path, "--reverse")
        except Failure:
            return False
    return True


def _copy(source, target, names):
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
