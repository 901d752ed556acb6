# SPDX-License-Identifier: GPL-2.0
"""The work tree: a checkout's own copy of a prepared kernel tree, with our files and patches in it.

It starts as a copy made of hard links, so no file in it is ever written in place. Bringing it up to
date touches only what differs, so that the build after an edit is short.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import layout
import process
from failure import Failure
from progress import Step
from settings import BUILD, LOG
from stage import locked, remove

OPTIONS = {
    "include/config/auto.conf": "CONFIG_KVM_INTROSPECTION=y\nCONFIG_KVM_WERROR=y\n",
    "include/generated/autoconf.h": "#define CONFIG_KVM_INTROSPECTION 1\n#define CONFIG_KVM_WERROR 1\n",
    "include/generated/rustc_cfg": '--cfg=CONFIG_KVM_INTROSPECTION\n--cfg=CONFIG_KVM_INTROSPECTION="y"\n',
}
"""What Kconfig would have written, had our option existed when the tree was configured."""


class WorkTree:
    """A copy of the tree of `stage`, in the checkout's build folder under `name`."""

    def __init__(self, stage, name="linux", options=None):
        self.stage = stage
        self.options = OPTIONS if options is None else options
        self.path = BUILD / name
        self.lock = BUILD / f".{name}.lock"
        self._state = BUILD / f".{name}.json"

    def locked(self):
        """Hold the lock of this tree: needed around `update` and any build in it."""
        return locked(self.lock, f"the kernel tree {self.path}")

    def update(self):
        """Bring our files and patches in the tree up to date."""
        pristine = self.stage.get()
        state = self._read_state()
        if state.get("stage") != str(pristine) or not self.path.is_dir():
            self._copy(pristine)
            state = {"stage": str(pristine), "placed": [], "touched": [], "patches": []}
            self._write_state(state)
        mistakes = layout.clashes(pristine)
        if mistakes:
            raise Failure("these files would replace the kernel's own (make a patch instead): " + ", ".join(mistakes))
        state["touched"] = self._patch(pristine, state)
        state["placed"] = self._place(state["placed"])
        for name, text in self.options.items():
            self.put(name, (pristine / name).read_bytes() + text.encode())
        self._write_state(state)

    def put(self, name, content):
        """Give the file `name` this content, without touching it when it has it already."""
        path = self.path / name
        try:
            if path.read_bytes() == content:
                return
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def _place(self, before):
        wanted = [str(path) for path in layout.files()]
        for name in set(before) - set(wanted):
            (self.path / name).unlink(missing_ok=True)
        for name in wanted:
            source = layout.CHECKOUT / name
            self.put(name, source.read_bytes())
            mode = source.stat().st_mode & 0o777
            if (self.path / name).stat().st_mode & 0o777 != mode:
                (self.path / name).chmod(mode)
        return wanted

    def _patch(self, pristine, state):
        """Apply the patches to pristine copies of the files they touch, then take over what differs."""
        patches = layout.patches()
        texts = [path.read_text() for path in patches]
        names = layout.touched(texts)
        if state["patches"] == texts:
            return state["touched"]
        scratch = BUILD / f".{self.path.name}.patching"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for name in names:
            if (pristine / name).is_file():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(pristine / name, scratch / name)
        for path in patches:
            apply_patch(scratch, path)
        for name in sorted(set(names) | set(state["touched"])):
            made = scratch / name if name in names else pristine / name
            if made.is_file():
                self.put(name, made.read_bytes())
            else:
                (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(scratch)
        state["patches"] = texts
        return names

    def _copy(self, pristine):
        with Step("copying the kernel tree"):
            temporary = BUILD / f".{self.path.name}.copying"
            remove(temporary)
            remove(self.path)
            BUILD.mkdir(exist_ok=True)
            linked = subprocess.run(["cp", "-al", str(pristine), str(temporary)], stderr=subprocess.DEVNULL,
                                    check=False)
            if linked.returncode:
                remove(temporary)
                process.run(["cp", "-a", str(pristine), str(temporary)], LOG / "copy-tree.log", "copying the tree")
            os.rename(temporary, self.path)

    def _read_state(self):
        try:
            return json.loads(self._state.read_text())
        except (OSError, ValueError):
            return {}

    def _write_state(self, state):
        temporary = Path(f"{self._state}.new")
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._state)


def apply_patch(tree, patch, *options):
    """Apply one patch to a tree; a failure says which and shows what `patch` said."""
    done = subprocess.run(["patch", "-p1", "--batch", "--no-backup-if-mismatch", *(options or ["--forward"]),
                           "-d", str(tree), "-i", str(patch)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Failure(f"{patch} does not apply:\n{done.stdout}")
