# SPDX-License-Identifier: GPL-2.0
"""The selftests: ours and eleven of the kernel's own, built with the kernel's KVM selftest library."""

import debian_root
import modules
from failure import Failure
from kernel_tree import make_words
from progress import Step
from settings import BUILD, CHECKOUT, JOBS, LOG, TREE

FOLDER = "tools/testing/selftests/kvm"
STOCK = ["x86/sync_regs_test", "x86/userspace_msr_exit_test", "x86/userspace_io_test", "x86/cpuid_test",
         "x86/set_sregs_test", "x86/exit_on_emulation_failure_test", "x86/fix_hypercall_test", "x86/kvm_pv_test",
         "x86/smm_test", "x86/state_test", "set_memory_region_test"]
"""What must give the same result with our modules as with Debian's own."""

NO_TESTS = "kvmi_bench_"
"""What begins so is built with the tests and run by `make bench` alone."""

ADDED = {
    "LIBKVM_x86 += lib/x86/vmx.c\n": "LIBKVM_x86 += $(wildcard lib/x86/kvmi*.c)\n",
    "TEST_GEN_PROGS_x86 += x86/cpuid_test\n": "TEST_GEN_PROGS_x86 += $(patsubst %.c,%,$(wildcard x86/kvmi_*.c))\n",
}
"""The lines to add to Makefile.kvm, each after one that is there."""


def ours():
    """The names of our tests, relative to the folder of the KVM selftests."""
    return [f"x86/{path.stem}" for path in sorted((CHECKOUT / FOLDER / "x86").glob("kvmi_*.c"))]


def with_ours(makefile, sources=None):
    """The text of Makefile.kvm with our sources in its lists; those that a patch has listed are there already."""
    if "kvmi" not in makefile:
        for line, added in ADDED.items():
            makefile = makefile.replace(line, line + added, 1)
    if next(iter(ADDED.values())) in makefile:
        return makefile
    listed = set(makefile.split())
    for line in ADDED:
        name, folder = line.split()[0], "lib/x86/" if line.startswith("LIB") else "x86/"
        for source in _sources() if sources is None else sources:
            entry = source if folder != "x86/" else source.removesuffix(".c")
            if source.startswith(folder) and entry not in listed:
                makefile = makefile.replace(line, f"{line}{name} += {entry}\n", 1)
    return makefile


def _sources():
    """Our sources as Makefile.kvm names them."""
    folder = CHECKOUT / FOLDER
    return [str(path.relative_to(folder)) for part in ("lib/x86", "x86") for path in sorted((folder / part).glob("kvmi_*.c"))]


def build():
    """Build all programs and leave them in build/selftests; returns the tests' names and what went wrong, if anything."""
    tree = modules.work_tree()
    names = STOCK + ours()
    with tree.locked():
        tree.update()
        makefile = f"{FOLDER}/Makefile.kvm"
        tree.put(makefile, with_ours((tree.path / makefile).read_text()).encode())
        binds = [(tree.path, TREE, True)]
        log = LOG / "selftests.log"
        with Step("building the selftests"):
            _headers(tree, binds, log)
            failure = _make(names, binds, log)
        for name in names:
            path = BUILD / "selftests" / name.rsplit("/", 1)[-1]
            made = tree.path / FOLDER / name
            if made.is_file():
                modules.replace(path, made.read_bytes())
                path.chmod(0o755)
            else:
                path.unlink(missing_ok=True)
    tests = [name.rsplit("/", 1)[-1] for name in names]
    return [name for name in tests if not name.startswith(NO_TESTS)], failure


def _make(names, binds, log):
    """Build what can be built; returns what went wrong with the rest, or None."""
    inside = f"{TREE}/{FOLDER}"
    # No test of ours touches VFIO, whose library needs more packages.
    words = ["make", f"-j{JOBS}", "-k", "-s", "ARCH=x86", "LDFLAGS=-static -pthread -no-pie", "LIBVFIO_O=", "LDLIBS=-ldl",
             *(f"{inside}/{name}" for name in names)]
    try:
        debian_root.run(words, log, "building the selftests", binds, cwd=inside)
        return None
    except Failure:
        errors = [line for line in log.read_text(errors="replace").splitlines() if "rror" in line and ": Target" not in line]
        return Failure("building the selftests failed; the errors in " + f"{log}:\n" + "\n".join(errors[:30]))


def _headers(tree, binds, log):
    """Install the user-space headers again if one of them changed, and see that C++ takes them."""
    sources = [tree.path / "include/uapi/linux/kvm.h", tree.path / "include/uapi/linux/kvmi.h",
               tree.path / "include/uapi/linux/kvm_para.h",
               tree.path / "arch/x86/include/uapi/asm/kvm.h", tree.path / "arch/x86/include/uapi/asm/kvmi.h"]
    text = b"\0".join(path.read_bytes() for path in sources if path.is_file())
    seen = BUILD / ".headers"
    installed = tree.path / "usr/include/linux/kvmi.h"
    if seen.is_file() and seen.read_bytes() == text and installed.is_file():
        return
    debian_root.run(make_words("headers"), log, "installing the kernel's headers", binds, cwd=TREE)
    for standard in ("c++98", "c++20"):
        line = f"echo '#include <linux/kvmi.h>' | g++ -std={standard} -Wall -Wextra -Werror -fsyntax-only -I usr/include -x c++ -"
        debian_root.run(["sh", "-c", line], log, "compiling <linux/kvmi.h> as C++", binds, cwd=TREE)
    modules.replace(seen, text)
