# SPDX-License-Identifier: GPL-2.0
"""The debug kernel: the same source, small, with every detector of locking and memory mistakes on."""

from pathlib import Path

import debian_root
import kernel_packages
import kernel_tree
import modules
import qemu_host
from failure import Failure
from settings import BUILD, SEEN, TREE
from stage import Stage
from work_tree import WorkTree

CONFIG = Path(__file__).parent / "debug-config"
INSTALLED = "kvmi-install"
NEEDED = ["RUST", "KVM", "KVM_AMD", "PROVE_LOCKING", "DEBUG_ATOMIC_SLEEP", "DEBUG_KMEMLEAK", "KASAN", "UBSAN",
          "RUST_DEBUG_ASSERTIONS", "9P_FS", "OVERLAY_FS", "MEMCG"]
OPTIONS = {
    "include/config/auto.conf": "CONFIG_KVM_INTROSPECTION=y\n",
    "include/generated/autoconf.h": "#define CONFIG_KVM_INTROSPECTION 1\n",
    "include/generated/rustc_cfg": '--cfg=CONFIG_KVM_INTROSPECTION\n--cfg=CONFIG_KVM_INTROSPECTION="y"\n',
}
TIMEOUT = 1800
PARAMETERS = "no5lvl"
"""With five levels of page tables, KASAN reports an access of the kernel's own before it has looked at the
processor, and with that the lock debugging ends."""
COMPILER = ["LLVM=1", "CC=clang"]
"""Kconfig allows Rust together with KASAN only with Clang."""


def fragment(text):
    """The lines of a .config for the words of `debug-config`."""
    words = [word for line in text.splitlines() if not line.startswith("#") for word in line.split()]
    pairs = [word.split("=", 1) for word in words]
    return "".join(f"# CONFIG_{name} is not set\n" if value == "n" else f"CONFIG_{name}={value}\n" for name, value in pairs)


def kernel():
    """The stage of the debug kernel: its whole built tree."""
    inputs = {"kernel": kernel_packages.version(), "packages": kernel_packages.packages().key,
              "root": debian_root.root().key, "config": CONFIG.read_text(), "compiler": COMPILER, "code": 1}
    return Stage("debug-kernel", "building the debug kernel (once, 15 minutes or more)", inputs, _build,
                 ["arch/x86/boot/bzImage", "Module.symvers", ".config"])


def _build(folder):
    log = kernel().log
    binds = kernel_tree.unpack(folder, log)
    (folder / "kvmi.config").write_text(fragment(CONFIG.read_text()))

    def step(*words):
        debian_root.run(list(words), log, "building the debug kernel", binds, cwd=TREE)

    step(*kernel_tree.make_words("tinyconfig", *COMPILER))
    step("sh", "-ec", "cat kvmi.config >> .config")
    step(*kernel_tree.make_words("olddefconfig", *COMPILER))
    config = (folder / ".config").read_text().splitlines()
    missing = [name for name in NEEDED if f"CONFIG_{name}=y" not in config and f"CONFIG_{name}=m" not in config]
    if missing:
        raise Failure(f"the debug kernel's configuration lacks {', '.join(missing)}")
    step(*kernel_tree.make_words("bzImage", "modules", *COMPILER))
    step(*kernel_tree.make_words("modules_install", *COMPILER, f"INSTALL_MOD_PATH={TREE}/{INSTALLED}"))


def build_modules():
    """Build our modules for the debug kernel into build/debug/modules."""
    modules.build(WorkTree(kernel(), "linux-debug", OPTIONS), BUILD / "debug/modules", COMPILER)


def run(order):
    """Boot the debug kernel."""
    if order.cpu != "amd":
        raise Failure("the debug kernel runs on the AMD host only")
    tree = kernel().get()
    order.memory = order.memory or 4096
    order.timeout = order.timeout or TIMEOUT
    return qemu_host.run(order, tree / "arch/x86/boot/bzImage",
                         tree / INSTALLED / "lib/modules" / kernel_packages.version(), f"{SEEN}/build/debug/modules", PARAMETERS)
