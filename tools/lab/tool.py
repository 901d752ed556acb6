# SPDX-License-Identifier: GPL-2.0
"""The command-line tool, built by the root's cargo from a copy of its sources.

The copy is there because cargo writes beside the sources; packages that cargo fetches are kept in the cache.
"""

import debian_root
import modules
from layout import LEFTOVERS
from progress import Step
from settings import BUILD, CACHE, CHECKOUT, LOG
from stage import locked

SOURCES = ["tools/kvmi", "tools/unit", "include/uapi", "arch/x86/include/uapi", "arch/x86/kvm/introspection",
           "virt/kvm/introspection", "rust"]
"""What the tool and the unit tests are built from."""

COPY = BUILD / "tool"


def cargo(folder, words, log, what):
    """Run cargo in a folder of the copy; `tools/kvmi` is the tool's."""
    home = CACHE / "cargo"
    home.mkdir(parents=True, exist_ok=True)
    with locked(BUILD / ".tool.lock", what):
        _copy()
        with Step(what):
            debian_root.run(["cargo", *words], log, what, [(home, "/cargo", True), (COPY, "/out", True)], cwd=f"/out/{folder}",
                            environment={"CARGO_HOME": "/cargo", "CARGO_TARGET_DIR": "/out/target",
                                         "CARGO_TERM_COLOR": "never"})


def build():
    """Build the tool and leave it as build/kvmi."""
    cargo("tools/kvmi", ["build", "--release", "--bin", "kvmi"], LOG / "tool.log", "building the tool")
    path = BUILD / "kvmi"
    modules.replace(path, (COPY / "target/release/kvmi").read_bytes())
    path.chmod(0o755)


def _copy():
    """Bring the copy of the sources up to date, touching only what differs."""
    wanted = set()
    for folder in SOURCES:
        for path in (CHECKOUT / folder).rglob("*"):
            if path.is_file() and "target" not in path.parts and not path.name.endswith(LEFTOVERS):
                relative = path.relative_to(CHECKOUT)
                wanted.add(COPY / relative)
                modules.replace(COPY / relative, path.read_bytes())
    for folder in SOURCES:
        for path in list((COPY / folder).rglob("*")):
            if path.is_file() and path not in wanted and path.name != "Cargo.lock":
                path.unlink()
