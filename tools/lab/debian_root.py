# SPDX-License-Identifier: GPL-2.0
"""The root: a Debian tree that holds every tool, and the way to run commands in it.

The root is read-only once made. Every command gets its own mount and process namespaces, so that
nothing it mounts or starts outlives it.
"""

import os
import shlex
import subprocess
from pathlib import Path

import machine
import process
from settings import CHECKOUT, ROOT_PACKAGES, SEEN, SUITE, TREE
from stage import Stage

MOUNT_POINTS = [SEEN, TREE, "/stage", "/packages", "/bochs", "/image", "/cargo", "/export", "/out"]
"""Empty folders of the root, for the folders that commands need to see."""


def root():
    """The stage of the root."""
    return _ROOT


def _build(folder):
    machine.require("mmdebstrap", "mmdebstrap")
    mirror = machine.archive()
    makes = [f'mkdir -p "$1{point}"' for point in MOUNT_POINTS]
    # An ordinary user's root gets the same user namespace here as later, in `command`: mmdebstrap's own knows the user
    # only as a stranger, who may not enter a private home folder, and whom the files would not belong to.
    command = ["mmdebstrap", "--variant=apt", "--mode=root",
               "--include=" + ",".join(ROOT_PACKAGES), "--format=directory",
               "--customize-hook=" + "; ".join(makes),
               "--customize-hook=chmod 755 \"$1\"", SUITE, str(folder)]
    if mirror:
        command += sources(mirror)
    else:
        # With its default archive mmdebstrap writes the first line; the others follow from it.
        derive = (r"sed -n 's/^deb \([^ ]*debian\/\?\) " + SUITE + r" .*/deb \1 " + SUITE + r"-backports main\n"
                  r"deb-src \1 " + SUITE + r" main/p' \"$1/etc/apt/sources.list\" > \"$1/etc/apt/sources.list.d/lab.list\"")
        command.insert(4, "--customize-hook=" + derive.replace('\\"', '"'))
    prefix = [] if machine.is_root() else machine.namespace()
    process.run([*prefix, *command], _ROOT.log, "making the Debian root", env=dict(os.environ, PATH=machine.PATH))


def sources(mirror):
    """The lines of the root's sources.list, all derived from one address."""
    return [f"deb {mirror} {SUITE} main", f"deb {mirror} {SUITE}-backports main", f"deb-src {mirror} {SUITE} main"]


_ROOT = Stage("root", "making the Debian root",
              {"suite": SUITE, "packages": ROOT_PACKAGES, "points": MOUNT_POINTS}, _build,
              ["etc/debian_version", "usr/bin/rustc", "usr/bin/qemu-system-x86_64"])


def command(words, binds=(), cwd="/", environment=None):
    """The command line that runs `words` inside the root.

    `binds` are triples of an outside folder, its place inside, and whether it may be written;
    this checkout is always seen read-only at its fixed place. All of it ends with the thread that starts it.
    """
    base = str(root().get())
    lines = ["set -e", f"mount --bind {shlex.quote(base)} {shlex.quote(base)}", f"cd {shlex.quote(base)}",
             "mount -t tmpfs tmpfs tmp", "mount --rbind /dev dev", "mount -t proc proc proc",
             "mount --rbind /sys sys || :", "mount -t tmpfs tmpfs run"]
    files = [(name, name) for name in ("/etc/resolv.conf", "/etc/hosts", str(machine.CERTIFICATES))
             if Path(name).is_file()]
    lines += [f"mount --bind {shlex.quote(os.path.realpath(source))} .{shlex.quote(point)}"
              for source, point in files if Path(base + point).exists()]
    for source, point, writable in [(CHECKOUT, SEEN, False), *binds]:
        lines.append(f"mount --rbind {shlex.quote(str(source))} .{point}")
        if not writable:
            lines.append(f"mount -o remount,bind,ro .{point} 2>/dev/null || :")
    lines += ["mount -o remount,bind,ro . 2>/dev/null || :",
              f"exec env PATH={machine.PATH} chroot . env -i " + " ".join(shlex.quote(word) for word in [
                  *(f"{name}={value}" for name, value in _environment(environment).items()),
                  "sh", "-c", f"cd {shlex.quote(cwd)} && exec {shlex.join(map(str, words))}"])]
    return ["setpriv", "--pdeathsig", "KILL", *machine.namespace(), "sh", "-c", "\n".join(lines)]


def _environment(extra):
    environment = {"PATH": machine.PATH, "HOME": "/tmp",
                   "LC_ALL": "C.UTF-8", "TERM": os.environ.get("TERM", "dumb"), "KBUILD_BUILD_USER": "kvmi",
                   "KBUILD_BUILD_HOST": "lab", "DEBIAN_FRONTEND": "noninteractive"}
    environment |= {name: value for name, value in os.environ.items()
                    if name.lower() in ("http_proxy", "https_proxy", "no_proxy")}
    return environment | (extra or {})


def run(words, log, what, binds=(), cwd="/", environment=None):
    """Run `words` inside the root, output to the file `log`."""
    process.run(command(words, binds, cwd, environment), log, what)


def ask(words, binds=(), cwd="/"):
    """Run `words` inside the root and return what it printed, or None."""
    return process.ask(command(words, binds, cwd))


def start(words, binds=(), **options):
    """Start `words` inside the root and return the running process."""
    return subprocess.Popen(command(words, binds), **options)
