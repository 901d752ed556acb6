# SPDX-License-Identifier: GPL-2.0
"""The disk of a host in Bochs: what it needs of the root, of the kernel's modules and of the checkout."""

import shutil
from pathlib import Path

import debian_root
import host
import initramfs
import kernel_packages
from settings import BUILD, CHECKOUT, LOG
from stage import Stage

PROGRAMS = """
    bash dash sh busybox python3 kmod modprobe insmod rmmod lsmod ip stty setsid mount umount cat ls cp mv rm mkdir chmod
    chown ln sleep sync true false echo printf head tail wc sort uniq cut tr tee seq id uname dmesg timeout kill env grep
    sed awk ps find xargs stat dd date touch mktemp readlink basename dirname test expr od setpriv unshare taskset
""".split()
EMULATOR = ["qemu-system-x86_64"]
OF_EMULATOR = ["/usr/share/qemu", "/usr/share/seabios"]
OF_TOOL = ["/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"]
"""What the tool needs of the root, which is not built yet when this is collected."""
NOT_OF_PYTHON = ["test", "idlelib", "ensurepip", "lib2to3", "turtledemo", "tkinter", "pydoc_data", "config-*", "unittest"]

COLLECT = r"""
cd /
files=$(for name in {programs}; do command -v $name || :; done)
for name in $files; do echo $name; readlink -f $name; ldd $name 2>/dev/null | grep -o '/[^ ]*' || :; done > /tmp/first
{python}
echo /usr/lib64/ld-linux-x86-64.so.2 >> /tmp/first
for extra in {extra}; do find "$extra" -type f -o -type l; done >> /tmp/first
find /usr/lib/python3*/lib-dynload -name '*.so' -exec ldd {{}} + | grep -o ' /[^ ]*' >> /tmp/first
sort -u /tmp/first | sed 's#^ */##; s#^\(bin\|sbin\|lib\|lib64\)/#usr/\1/#' | while read -r name; do
    [ ! -e "$name" ] || {{ echo "$name"; readlink -f "$name" | sed 's#^/##'; }}
done | sort -u | tar -cf /tmp/all.tar --no-recursion --verbatim-files-from -T -
tar -xf /tmp/all.tar -C /stage
cd /stage
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
mkdir -p proc sys dev run tmp root etc var/tmp kvmi mnt
cp /etc/passwd /etc/group /etc/nsswitch.conf etc/
"""


def base(with_emulator=False):
    """The stage of what comes from the root; `with_emulator` adds QEMU with its firmware, and what the tool needs."""
    name = "disk-qemu" if with_emulator else "disk"
    programs = PROGRAMS + (EMULATOR if with_emulator else [])
    extra = [*OF_EMULATOR, *OF_TOOL] if with_emulator else []

    def build(folder):
        prune = " -o ".join(f"-name '{name}'" for name in NOT_OF_PYTHON)
        python = f"find /usr/lib/python3.* \\( {prune} \\) -prune -o -type f -print >> /tmp/first"
        script = COLLECT.format(programs=" ".join(programs), python=python, extra=" ".join(extra))
        debian_root.run(["sh", "-ec", script], LOG / f"{name}.log", "collecting the disk's files", [(folder, "/stage", True)])

    inputs = {"root": debian_root.root().key, "programs": programs, "extra": extra, "script": COLLECT,
              "python": NOT_OF_PYTHON}
    return Stage(name, "collecting the files of the Bochs host", inputs, build, ["usr/bin/python3", "usr/bin/busybox"])


def make(folder, order):
    """Make the disk image `disk.img` in `folder`."""
    content = folder / "content"
    shutil.copytree(base(bool(order.extra)).get(), content, symlinks=True)
    _kernel_modules(content)
    _checkout(content)
    for source, inside in order.extra:
        if isinstance(source, Path):
            target = content / inside.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    size = sum(path.lstat().st_size for path in content.rglob("*")) // 2 ** 20 * 5 // 4 + 64
    words = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", "/out/content", "/out/disk.img", f"{size}M"]
    debian_root.run(words, LOG / "mke2fs.log", "making the disk of the Bochs host", [(folder, "/out", True)])
    shutil.rmtree(content)


def _kernel_modules(content):
    source = kernel_packages.modules_folder()
    target = content / "usr/lib/modules" / source.name
    target.mkdir(parents=True)
    for path in source.glob("modules.*"):
        shutil.copy2(path, target)
    wanted = host.ALSO + ["irqbypass", "ccp"]
    for name in initramfs.closure((source / "modules.dep").read_text(), wanted):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)


def _checkout(content):
    for name in ("modules", "stock", "selftests"):
        if (BUILD / name).is_dir():
            shutil.copytree(BUILD / name, content / "kvmi/build" / name)
    if (BUILD / "kvmi").is_file():
        shutil.copy2(BUILD / "kvmi", content / "kvmi/build/kvmi")
    shutil.copytree(CHECKOUT / "tools/lab", content / "kvmi/tools/lab", ignore=shutil.ignore_patterns("__pycache__"))
