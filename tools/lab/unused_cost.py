# SPDX-License-Identifier: GPL-2.0
"""The cost of introspection while nothing is introspected, read from the built modules.

Each hook site must be a no-op that the kernel patches, and nothing of ours may be reached in KVM's
own code but through such a site. The modules are disassembled and walked from each function's entry
with the keys off; what is then reached may not mention a symbol of introspection.
"""

import re
import subprocess

import debian_root
import elf
from failure import Failure
from modules import NAMES, work_tree
from progress import Step
from settings import BUILD, SEEN

KEYS = ["kvmi_in_use", "kvmi_enabled"]
"""Off until a VM is hooked; off until the parameter is on."""

LIFE = {"kvm_x86_init", "kvm_x86_exit", "init_module", "cleanup_module"}
"""Run once when the module is loaded and unloaded: not a hook site."""

NO_RETURN = {"__stack_chk_fail"}
"""What a function may end with by calling it: the next function is not reached from there."""

ENTRY_BYTES = 16
LINE = re.compile(r"^ *([0-9a-f]+):\t(\S+) *(.*)$")
NO_OPS = ("nop", "nopl", "nopw", "data16", "xchg")


class Code:
    """The instructions of a module, by (section, offset)."""

    def __init__(self, listing):
        self.instructions = {}
        self.next = {}
        section, last = None, None
        for line in listing.splitlines():
            if line.startswith("Disassembly of section "):
                section, last = line.split(" ", 3)[3].rstrip(":"), None
                continue
            found = LINE.match(line)
            if not found:
                continue
            here = (section, int(found.group(1), 16))
            self.instructions[here] = (found.group(2), found.group(3))
            if last:
                self.next[last] = here
            last = here

    def is_no_op(self, place):
        """Whether a no-op of the two lengths that the kernel patches is here."""
        word, operands = self.instructions.get(place, ("", ""))
        following = self.next.get(place)
        length = following[1] - place[1] if following else 0
        harmless = word in NO_OPS and (word != "xchg" or operands.startswith("%ax,%ax"))
        return harmless and length in (2, 5)


def listing(name):
    """The disassembly of a module."""
    command = debian_root.command(["objdump", "-d", "--no-show-raw-insn", f"{SEEN}/build/modules/{name}.ko"])
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    if done.returncode:
        raise Failure(f"{name}.ko cannot be disassembled")
    return done.stdout


def sites(module):
    """The jump-table entries of our keys: (key, place of the instruction)."""
    table = module.relocations("__jump_table")
    found = []
    for offset in sorted(table):
        if offset % ENTRY_BYTES == 8 and table[offset].symbol.name in KEYS:
            code = table.get(offset - 8)
            place = module.place(code, 0) if code else None
            found.append((table[offset].symbol.name, place))
    return found


def introspection_functions():
    """The names of what the introspection subsystem's own objects define."""
    tree = work_tree().path
    names = set()
    for folder in ("virt/kvm/introspection", "arch/x86/kvm/introspection"):
        for path in (tree / folder).glob("**/*.o"):
            names |= {symbol.name for symbol in elf.Object(path).symbols if symbol.section and symbol.name
                      and symbol.kind != elf.SECTION_SYMBOL and symbol.section < 0xff00}
    return names


def is_ours(name, ours):
    """Whether a symbol belongs to introspection, by where it is defined or by its name."""
    plain = name.removeprefix("__pfx_")
    return not plain.startswith(".") and (plain in ours or re.search(r"(?<![a-z])kvmi_|_kvmi_", plain) is not None)


class Walk:
    """Everything that is reached in KVM's own functions while the keys are off."""

    def __init__(self, module, code, ours, no_ops):
        self.module, self.code, self.ours, self.no_ops = module, code, ours, no_ops
        self.relocations = {section.name: module.relocations(section.name) for section in module.sections
                            if section.flags & 4}
        self.seen = set()
        self.faults = []

    def functions(self):
        """Walk from the entry of each function that is not introspection's and not the cold part of one."""
        count = 0
        for function in self.module.functions():
            # The padding before a function falls through into it, so it is as much its entry.
            alive = function.name.removeprefix("__pfx_") in LIFE
            if not is_ours(function.name, self.ours) and not alive and ".cold" not in function.name:
                count += 1
                self._from((self.module.sections[function.section].name, function.value), function.name)
        return count

    def _from(self, entry, name):
        stack = [entry]
        while stack:
            here = stack.pop()
            while here and here not in self.seen and here in self.code.instructions:
                self.seen.add(here)
                following = self.code.next.get(here)
                word, operands = self.code.instructions[here]
                relocation = self._relocation(here, following)
                if relocation and here not in self.no_ops:
                    self._check(relocation, here, name)
                if word.startswith("j"):
                    target = self._target(here, operands, relocation)
                    if target:
                        stack.append(target)
                    if word.startswith("jmp"):
                        break
                elif word.startswith(("ret", "ud2", "hlt", "int3")):
                    break
                elif word.startswith("call") and relocation and relocation.symbol.name in NO_RETURN:
                    break
                here = following

    def _relocation(self, here, following):
        end = following[1] if following else here[1] + 15
        table = self.relocations.get(here[0], {})
        return next((table[offset] for offset in range(here[1], min(end, here[1] + 15)) if offset in table), None)

    def _check(self, relocation, here, name):
        symbol = relocation.symbol.name
        if is_ours(symbol, self.ours):
            self.faults.append(f"{name} ({here[0]}+{here[1]:#x}) mentions {symbol} without a static key before it")

    def _target(self, here, operands, relocation):
        if relocation:
            return self.module.place(relocation, 4)
        found = re.match(r"([0-9a-f]+)\b", operands)
        return (here[0], int(found.group(1), 16)) if found else None


def inspect(name, ours):
    """The report and the faults of one module."""
    path = BUILD / "modules" / f"{name}.ko"
    module, code = elf.Object(path), Code(listing(name))
    faults, lines, places = [], [], set()
    functions = module.functions()
    for key, place in sites(module):
        owner = next((f for f in functions if place and module.sections[f.section].name == place[0]
                      and f.value <= place[1] < f.value + f.size), None)
        where = f"{owner.name}+{place[1] - owner.value:#x}" if owner else str(place)
        lines.append(f"    {key:14}{name}.ko  {where}")
        places.add(place)
        if not code.is_no_op(place):
            faults.append(f"{where}: the instruction is {' '.join(code.instructions.get(place, ('?',)))}, not a no-op")
    walk = Walk(module, code, ours, places)
    count = walk.functions()
    return lines, faults + walk.faults, count


def check(results=None):
    """Check all modules, print the sites; returns the faults."""
    ours = introspection_functions()
    faults, lines, walked = [], [], 0
    with Step("checking the unused cost"):
        for name in NAMES:
            more, wrong, count = inspect(name, ours)
            lines, faults, walked = lines + more, faults + [f"{name}.ko: {fault}" for fault in wrong], walked + count
    print("hook sites (one no-op each while their key is off):")
    print("\n".join(lines))
    used = {line.split()[0] for line in lines}
    if "kvmi_in_use" not in used:
        faults.append("no site of kvmi_in_use was found: the check sees nothing")
    print(f"{len(lines)} sites, {walked} functions of KVM walked, {len(faults)} faults", flush=True)
    if results is not None:
        results.add("unused cost: hook sites are no-ops and nothing else is reached", "failed" if faults else "passed",
                    "; ".join(faults[:10]))
    return faults


def main():
    """The command: build, check, say."""
    import modules
    modules.build()
    faults = check()
    if faults:
        raise Failure("\n".join(faults))
    return 0
