# SPDX-License-Identifier: GPL-2.0
"""Programs that the lab builds from Debian's own source packages, with patches of ours."""

import debian_root
from kernel_packages import APT, ARCHIVE_FOLDERS


def fetch(folder, package, log):
    """Have the source of a package unpacked in the folder that is a stage in the making, Debian's patches applied to it.

    Its place there is `debs` and the name of the package. The two archives are all that is needed; apt verifies each
    against the signed list of sources.
    """
    for name in ARCHIVE_FOLDERS:
        (folder / name).mkdir()
    binds = [(folder, "/stage", True)]
    debian_root.run(["apt-get", *APT, "update"], log, "reading the archive's lists", binds)
    for part in ("--tar-only", "--diff-only"):
        debian_root.run(["apt-get", *APT, "source", "--download-only", part, package], log, f"fetching {package}", binds,
                        cwd="/stage/debs")
    lines = [f"mkdir {package}", f"tar -xf {package}_*.orig.tar.* --strip-components=1 -C {package}",
             f"tar -xf {package}_*.debian.tar.* -C {package}", f"cd {package}",
             "for name in $(sed 's/#.*//' debian/patches/series); do patch -p1 < debian/patches/$name; done"]
    debian_root.run(["sh", "-exc", "\n".join(lines)], log, f"unpacking {package}", binds, cwd="/stage/debs")


def build(folder, package, patches, lines, log):
    """Apply patches (pairs of name and text) to what fetch() left, run these lines of shell there, and tidy up."""
    for name, text in patches:
        (folder / name).write_text(text)
    lines = [*(f"patch -p1 < /stage/{name}" for name, _ in patches), *lines,
             "cd /stage", "rm -rf lists cache debs"]
    debian_root.run(["sh", "-exc", "\n".join(lines)], log, f"building {package}", [(folder, "/stage", True)],
                    cwd=f"/stage/debs/{package}")
