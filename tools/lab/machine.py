# SPDX-License-Identifier: GPL-2.0
"""The machine that the lab runs on: its rights, its package archive, its processor."""

import os
import re
import shutil
from pathlib import Path

from failure import Failure
from process import ask, run
from settings import LOG

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def is_root():
    """Whether we may chroot without a user namespace."""
    return os.geteuid() == 0


def namespace():
    """The command that enters fresh namespaces in which mounts may be made."""
    common = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    if is_root():
        return common
    return common + ["--user", "--map-root-user", "--map-auto"]


def require(program, package):
    """Make sure that `program` exists: install its package as root, say what is missing otherwise."""
    if shutil.which(program):
        return
    if not is_root():
        raise Failure(f"{program} is missing: install the package {package}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    log = LOG / f"install-{package}.log"
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    try:
        run(install, log, f"installing {package}", env=environment)
    except Failure:
        run(["apt-get", "update"], log, "apt-get update", env=environment)
        run(install, log, f"installing {package}", env=environment)


def check_namespaces():
    """As an ordinary user: say in one line what is missing for a root of our own."""
    if is_root():
        return
    require("newuidmap", "uidmap")
    if ask(namespace() + ["true"]) is None:
        raise Failure("user namespaces do not work for this user (no range in /etc/subuid, or forbidden): "
                      "run as root, or allow them")


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
