# SPDX-License-Identifier: GPL-2.0
"""As much of ELF as the check of the unused cost needs: sections, symbols, relocations of 64-bit objects."""

import struct
from collections import namedtuple

Section = namedtuple("Section", "name kind flags offset size link info")
Symbol = namedtuple("Symbol", "name kind section value size")
Relocation = namedtuple("Relocation", "offset symbol addend")

SYMTAB, RELA = 2, 4
FUNCTION, SECTION_SYMBOL = 2, 3


class Object:
    """A relocatable object file."""

    def __init__(self, path):
        self.data = path.read_bytes()
        start, = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        raw = [struct.unpack_from("<IIQQQQIIQQ", self.data, start + number * size) for number in range(count)]
        base = raw[names][4]
        self.sections = [Section(self._text(base + entry[0]), entry[1], entry[2], entry[4], entry[5], entry[6], entry[7])
                         for entry in raw]
        self.symbols = self._symbols()

    def _text(self, offset):
        return self.data[offset:self.data.index(b"\0", offset)].decode(errors="replace")

    def _symbols(self):
        table = next((section for section in self.sections if section.kind == SYMTAB), None)
        if not table:
            return []
        strings = self.sections[table.link].offset
        found = []
        for offset in range(table.offset, table.offset + table.size, 24):
            name, info, _other, section, value, size = struct.unpack_from("<IBBHQQ", self.data, offset)
            text = self._text(strings + name)
            if info & 15 == SECTION_SYMBOL and section < len(self.sections):
                text = self.sections[section].name
            found.append(Symbol(text, info & 15, section, value, size))
        return found

    def relocations(self, name):
        """The relocations of the section `name`, by offset."""
        found = {}
        for section in self.sections:
            if section.kind == RELA and self.sections[section.info].name == name:
                for offset in range(section.offset, section.offset + section.size, 24):
                    place, info, addend = struct.unpack_from("<QQq", self.data, offset)
                    found[place] = Relocation(place, self.symbols[info >> 32], addend)
        return found

    def functions(self):
        """The functions that are defined here."""
        return [symbol for symbol in self.symbols if symbol.kind == FUNCTION and 0 < symbol.section < len(self.sections)]

    def place(self, relocation, bias=0):
        """Where a relocation points: (section name, offset), or None when outside of this object."""
        symbol = relocation.symbol
        if not 0 < symbol.section < len(self.sections):
            return None
        return self.sections[symbol.section].name, symbol.value + relocation.addend + bias
