# SPDX-License-Identifier: GPL-2.0
"""The three KVM modules: ours, built in the work tree, and Debian's own beside them."""

import lzma
import os

import debian_root
import kernel_packages
import kernel_tree
from progress import Step
from settings import BUILD, LOG, TREE
from work_tree import WorkTree

NAMES = ["kvm", "kvm-amd", "kvm-intel"]
FOLDER = "arch/x86/kvm"


def work_tree():
    """The work tree of the stock kernel."""
    return WorkTree(kernel_tree.tree())


def build(tree=None, into=BUILD / "modules", words=()):
    """Build the modules and leave them in `into`."""
    tree = tree or work_tree()
    with tree.locked():
        tree.update()
        with Step("building the modules"):
            debian_root.run(kernel_tree.make_words(*words, f"M={FOLDER}", "modules"), LOG / f"{into.name}.log",
                            "building the modules", [(tree.path, TREE, True)], cwd=TREE)
        for name in NAMES:
            replace(into / f"{name}.ko", (tree.path / FOLDER / f"{name}.ko").read_bytes())


def stock():
    """Leave Debian's own modules, decompressed, in build/stock."""
    version_file = BUILD / "stock" / "version"
    version = kernel_packages.version()
    if version_file.is_file() and version_file.read_text() == version:
        return
    for name in NAMES:
        packed = kernel_packages.modules_folder() / "kernel" / FOLDER / f"{name}.ko.xz"
        replace(BUILD / "stock" / f"{name}.ko", lzma.decompress(packed.read_bytes()))
    replace(version_file, version.encode())


def replace(path, content):
    """Put a file in place at once, and leave it alone when it has this content already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    os.replace(temporary, path)


