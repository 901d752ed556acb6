# SPDX-License-Identifier: GPL-2.0
"""Stages: things that are made once and kept, each named by a hash of its inputs.

A stage is built in a temporary folder and renamed into place, under a lock of its own, so that two
runs may start at once and an interrupted one leaves nothing half-made. A stamp inside records the
inputs and the hashes of the files named as proof; both are verified before the stage is used.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path

import machine
from progress import Step, say
from settings import CACHE, LOG

STAMP = ".kvmi-stamp"


@contextlib.contextmanager
def locked(path, what):
    """Hold the lock file `path`; say so when somebody else has it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f".. waiting for another run: {what}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(path):
    """Remove a folder, also one whose files belong to the user namespace of an ordinary user."""
    if not os.path.lexists(path):
        return
    command = ["rm", "-rf", "--one-file-system", str(path)]
    prefix = [] if machine.is_root() else machine.namespace()
    subprocess.run(prefix + command, check=True)


def digest(path):
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Stage:
    """One thing in the cache.

    `inputs` is anything JSON can write; `build` gets the folder to fill; `proof` are the files
    (relative to it) whose contents are checked before each use.
    """

    def __init__(self, name, title, inputs, build, proof):
        self.name = name
        self.title = title
        self.inputs = json.dumps(inputs, sort_keys=True)
        self.key = hashlib.sha256(self.inputs.encode()).hexdigest()[:12]
        self.path = CACHE / f"{name}-{self.key}"
        self.build = build
        self.proof = proof
        self._known_good = False

    def get(self):
        """The folder of this stage, made if need be."""
        if self._known_good or self._valid():
            self._known_good = True
            return self.path
        with locked(CACHE / f"{self.path.name}.lock", self.title):
            if not self._valid():
                self._make()
        self._known_good = True
        return self.path

    @property
    def log(self):
        """Where the building of this stage writes."""
        return LOG / f"{self.name}.log"

    def _valid(self):
        try:
            stamp = json.loads((self.path / STAMP).read_text())
            if stamp["inputs"] != self.inputs or sorted(stamp["proof"]) != sorted(self.proof):
                return False
            for name, expected in stamp["proof"].items():
                if digest(self.path / name) != expected:
                    say(f"!! {self.path / name} was damaged: building it anew")
                    return False
            return True
        except (OSError, ValueError, KeyError):
            return False

    def _make(self):
        temporary = CACHE / f".making-{self.path.name}"
        remove(temporary)
        remove(self.path)
        temporary.mkdir(parents=True)
        try:
            with Step(self.title):
                self.build(temporary)
                proof = {name: digest(temporary / name) for name in self.proof}
                self._write_stamp(temporary, json.dumps({"inputs": self.inputs, "proof": proof}))
                os.rename(temporary, self.path)
        except BaseException:
            remove(temporary)
            raise

    @staticmethod
    def _write_stamp(folder, text):
        if os.access(folder, os.W_OK):
            (folder / STAMP).write_text(text)
        else:
            command = machine.namespace() + ["tee", str(folder / STAMP)]
            subprocess.run(command, input=text.encode(), stdout=subprocess.DEVNULL, check=True)
