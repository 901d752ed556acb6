# SPDX-License-Identifier: GPL-2.0
"""A module for the guest that does what a rootkit does, built for the guest's kernel."""

import shutil
from pathlib import Path

import debian_root
import kernel_tree
from modules import replace
from progress import Step
from settings import BUILD, LOG, TREE
from stage import locked

SOURCES = Path(__file__).parent / "rootkit"
FOLDER = BUILD / "rootkit"


def build():
    """Build it from a copy of its sources, if they have changed; the path of the module."""
    built = FOLDER / "rootkit.ko"
    with locked(BUILD / ".rootkit.lock", "building the rootkit"):
        inputs = kernel_tree.tree().key.encode() + b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))
        stamp = FOLDER / "inputs"
        if not (built.is_file() and stamp.is_file() and stamp.read_bytes() == inputs):
            shutil.rmtree(FOLDER, ignore_errors=True)
            shutil.copytree(SOURCES, FOLDER)
            with Step("building the rootkit"):
                debian_root.run(kernel_tree.make_words("M=/out", "modules"), LOG / "rootkit.log", "building the rootkit",
                                [(kernel_tree.tree().get(), TREE, False), (FOLDER, "/out", True)], cwd=TREE)
            replace(stamp, inputs)
    return built
