# SPDX-License-Identifier: GPL-2.0
"""Debian's kernel, as its packages hold it: source, headers, modules, image.

They are fetched by the root's own apt, which verifies them, and unpacked; nothing is installed.
"""

import re

import debian_root
import process
from progress import say
from settings import KERNEL, SERIES
from stage import Stage

APT = ["-o", "Dir::State::Lists=/stage/lists", "-o", "Dir::Cache=/stage/cache", "-o", "Dir::State::status=/dev/null",
       "-o", "APT::Sandbox::User=root"]
ARCHIVE_FOLDERS = ["lists", "lists/partial", "cache", "cache/archives", "cache/archives/partial", "debs"]


def packages():
    """The stage of the kernel's packages."""
    return _PACKAGES


def version():
    """The release that was found: the one the lab names, or the newest of its series."""
    return (packages().get() / "version").read_text().strip()


def modules_folder():
    """The folder of the kernel's own modules, with `vmlinuz` in it."""
    return packages().get() / "x/usr/lib/modules" / version()


def headers_folder():
    """The folder of the kernel's headers, with `.config`, `Module.symvers` and `vmlinux` in it."""
    return packages().get() / f"x/usr/src/linux-headers-{version()}"


def newest(names, flavour):
    """The newest release of our series among the names of header packages, or None."""
    pattern = re.compile(rf"linux-headers-({re.escape(SERIES)}\.(\d+){re.escape(flavour)})$")
    found = [match for match in map(pattern.match, names) if match]
    return max(found, key=lambda match: int(match.group(2))).group(1) if found else None


def _choose(names):
    if f"linux-headers-{KERNEL}" in names:
        return KERNEL
    flavour = KERNEL[len(re.match(r"[\d.]+", KERNEL).group()):]
    found = newest(names, flavour) or newest(names, re.sub(r"^\+[^-]*", "+deb13", flavour))
    if not found:
        raise process.Failure(f"the archive holds no kernel {SERIES}.y for {flavour}")
    say(f".. kernel {KERNEL} is gone from the archive: using {found}, the newest {SERIES}.y")
    return found


def _build(folder):
    for name in ARCHIVE_FOLDERS:
        (folder / name).mkdir()
    binds = [(folder, "/stage", True)]
    log = packages().log

    debian_root.run(["apt-get", *APT, "update"], log, "reading the archive's lists", binds)
    listed = debian_root.ask(["apt-cache", *APT, "pkgnames", "linux-headers-"], binds) or ""
    release = _choose(set(listed.split()))
    shown = debian_root.ask(["apt-cache", *APT, "show", f"linux-headers-{release}"], binds) or ""
    package_version = re.search(r"^Version: (\S+)", shown, re.M).group(1)
    common = release.rsplit("-", 1)[0]
    names = [f"linux-source-{SERIES}", f"linux-headers-{release}", f"linux-headers-{common}-common",
             f"linux-binary-{release}", f"linux-modules-{release}", f"linux-base-{release}"]
    debian_root.run(["apt-get", *APT, "download", *(f"{name}={package_version}" for name in names)],
                    log, "fetching the kernel packages", binds, cwd="/stage/debs")
    unpack = f"for deb in debs/*.deb; do dpkg -x $deb x; done; depmod -b x/usr {release} || depmod -b x {release}"
    debian_root.run(["sh", "-ec", unpack], log, "unpacking the kernel packages", binds, cwd="/stage")
    debian_root.run(["sh", "-ec", f"echo {release} > version; mv x/usr/src/linux-source-*.tar.xz source.tar.xz; "
                     "rm -rf lists cache debs"], log, "tidying the kernel packages", binds, cwd="/stage")


_PACKAGES = Stage("kernel", "fetching Debian's kernel packages",
                  {"kernel": KERNEL, "code": 1}, _build, ["version", "source.tar.xz"])
