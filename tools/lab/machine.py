# SPDX-License-Identifier: GPL-2.0
"""The machine that the lab runs on: its rights, its package archive, its processor."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

from failure import Failure
from process import run
from settings import LOG

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian's search path with the administrator's programs, which an ordinary user's lacks."""

FOR_A_USER = {"newuidmap": "uidmap", "mmdebstrap": "mmdebstrap"}
"""What an ordinary user cannot do without, and cannot install: programs and their packages."""


def is_root():
    """Whether we may chroot without a user namespace."""
    return os.geteuid() == 0


def namespace():
    """The command that enters fresh namespaces in which mounts may be made."""
    check_rights()
    return _namespace()


def _namespace():
    common = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    if is_root():
        return common
    return common + ["--user", "--map-root-user", "--map-auto"]


def require(program, package):
    """As root: make sure that `program` exists, install its package if not."""
    if shutil.which(program):
        return
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    log = LOG / f"install-{package}.log"
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    try:
        run(install, log, f"installing {package}", env=environment)
    except Failure:
        run(["apt-get", "update"], log, "apt-get update", env=environment)
        run(install, log, f"installing {package}", env=environment)


@functools.cache
def check_rights():
    """As an ordinary user: say in one line what is missing for a root of our own."""
    if is_root():
        return
    missing = [package for program, package in FOR_A_USER.items() if not shutil.which(program)]
    if missing:
        raise Failure(f"install what an ordinary user needs here, or run as root: {' '.join(missing)}")
    done = subprocess.run(_namespace() + ["true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Failure(f"user namespaces do not work for this user ({told}): allow them, or run as root")


def archive():
    """The package archive of this machine's apt configuration, or None for mmdebstrap's default.

    Only a Debian machine's archive is of use, and of its entries the first of the main archive.
    """
    names = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list")),
             *sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))]
    texts = [path.read_text(errors="replace") for path in names if path.is_file()]
    return archive_in(texts) if "ID=debian" in _os_release() else None


def archive_in(texts):
    """The first address of a Debian main archive in the texts of apt source files."""
    for text in texts:
        for line in text.splitlines():
            found = re.match(r"\s*URIs:\s*(\S+)", line) or re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)", line)
            if found and re.search(r"/debian/?$", found.group(1)):
                return found.group(1)
    return None


def _os_release():
    try:
        return Path("/etc/os-release").read_text()
    except OSError:
        return ""


def nested_hardware(flag):
    """Whether this processor has `svm` or `vmx` for real, with nesting on.

    The device node alone proves nothing: there are paravirtual flavours of it.
    """
    if not re.search(rf"^flags\s*:.*\b{flag}\b", Path("/proc/cpuinfo").read_text(), re.M):
        return False
    module = {"svm": "kvm_amd", "vmx": "kvm_intel"}[flag]
    try:
        nested = Path(f"/sys/module/{module}/parameters/nested").read_text().strip()
    except OSError:
        return False
    return nested in ("1", "Y") and os.access("/dev/kvm", os.R_OK | os.W_OK)
