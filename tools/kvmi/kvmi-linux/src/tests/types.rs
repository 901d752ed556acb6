// SPDX-License-Identifier: GPL-2.0

//! Types as pahole writes them.

/// A `.BTF` section in the making.
pub struct Types {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Types {
    pub fn new() -> Self {
        Types {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    /// Adds a type; its number.
    pub fn add(&mut self, name: &str, info: u32, size: u32, data: &[u32]) -> u32 {
        let name = self.name(name);
        let words = [&[name, info, size], data].concat();
        self.types
            .extend(words.into_iter().flat_map(u32::to_le_bytes));
        self.count += 1;
        self.count
    }

    /// A number of so many bytes.
    pub fn int(&mut self, size: u32) -> u32 {
        self.add("int", 1 << 24, size, &[8 * size])
    }

    pub fn pointer(&mut self) -> u32 {
        self.add("", 2 << 24, 0, &[])
    }

    pub fn array(&mut self, of: u32, count: u32) -> u32 {
        self.add("", 3 << 24, 0, &[of, of, count])
    }

    /// A structure (4) or union (5); its members with their offsets in bytes.
    pub fn structure(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let data: Vec<u32> = members
            .iter()
            .flat_map(|(name, ty, offset)| [self.name(name), *ty, offset * 8])
            .collect();
        self.add(name, (kind << 24) | members.len() as u32, size, &data)
    }

    pub fn section(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let head = [0x0001_eb9f, 24, 0, types, types, strings];
        let head: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
        [head.as_slice(), &self.types, &self.strings].concat()
    }
}

/// What a kernel must have for tasks and modules to be found.
pub fn kernel() -> Vec<u8> {
    let mut types = Types::new();
    let (int, character) = (types.int(4), types.int(1));
    let pointer = types.pointer();
    let list = types.structure(
        4,
        "list_head",
        16,
        &[("next", pointer, 0), ("prev", pointer, 8)],
    );
    let comm = types.array(character, 16);
    types.structure(
        4,
        "task_struct",
        64,
        &[("pid", int, 16), ("tgid", int, 20), ("comm", comm, 32)],
    );
    let name = types.array(character, 56);
    let memory = [("base", pointer, 0), ("size", int, 12)];
    let memory = types.structure(4, "module_memory", 72, &memory);
    let pieces = types.array(memory, 7);
    types.structure(
        4,
        "module",
        640,
        &[
            ("list", list, 8),
            ("name", name, 24),
            ("mem", pieces, 80),
            ("kallsyms", pointer, 600),
        ],
    );
    let table = [
        ("symtab", pointer, 0),
        ("num_symtab", int, 8),
        ("strtab", pointer, 16),
    ];
    types.structure(4, "mod_kallsyms", 24, &table);
    types.section()
}
