// SPDX-License-Identifier: GPL-2.0

//! The modules that the guest has loaded.

use crate::{
    btf::Member,
    kernel::Kernel,
    memory::{Memory, PAGE, Result, text, u32_at, u64_at},
    symbols::Place,
};

/// Most modules that are looked at.
const MOST: usize = 1024;
/// Most symbols of a module that are read.
const MOST_SYMBOLS: u32 = 1 << 16;
/// Size of an `Elf64_Sym`, and of the longest name that is read of it.
const SYMBOL: usize = 24;
const LONGEST: usize = 128;

/// A module, and the piece of its memory that an address lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Guest virtual address of the piece.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Where its `struct module` is.
    address: u64,
}

impl Module {
    fn contains(&self, gva: u64) -> bool {
        let offset = gva.checked_sub(self.start);
        offset.is_some_and(|offset| offset < self.size)
    }
}

/// Where in `struct module` things are.
struct Layout {
    list: Member,
    name: Member,
    /// The addresses and sizes of the pieces of its memory.
    pieces: Vec<(Member, Member)>,
}

impl Kernel {
    /// The module whose memory holds `address`; `None` too if the kernel's types
    /// do not say where to look.
    ///
    /// # Errors
    ///
    /// Those of reading the guest.
    pub fn module<M: Memory>(
        &self,
        memory: &mut M,
        address: u64,
    ) -> Result<Option<Module>, M::Error> {
        let (Some(head), Some(layout)) = (self.symbols.address("modules"), self.module_layout())
        else {
            return Ok(None);
        };
        let mut at = self.space.read_u64(memory, head)?;
        for _ in 0..MOST {
            if at == head {
                break;
            }
            let module = at.wrapping_sub(layout.list.offset);
            let found = self.piece_with(memory, module, &layout, address)?;
            if found.is_some() {
                return Ok(found);
            }
            at = self.space.read_u64(memory, at)?;
        }
        Ok(None)
    }

    /// The module at `module`, if a piece of its memory holds `address`.
    fn piece_with<M: Memory>(
        &self,
        memory: &mut M,
        module: u64,
        layout: &Layout,
        address: u64,
    ) -> Result<Option<Module>, M::Error> {
        let mut field = |member: Member, size| {
            let at = module.wrapping_add(member.offset);
            self.space.read(memory, at, size)
        };
        for (base, size) in &layout.pieces {
            let mut found = Module {
                name: String::new(),
                start: u64_at(&field(*base, 8)?, 0).unwrap_or(0),
                size: u32_at(&field(*size, 4)?, 0).unwrap_or(0).into(),
                address: module,
            };
            if found.contains(address) {
                let length = layout.name.size.min(64) as usize;
                found.name = text(&field(layout.name, length)?);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The symbol of a module at or before `address`, in words.
    ///
    /// # Errors
    ///
    /// Those of reading the guest.
    pub fn in_module<M: Memory>(
        &self,
        memory: &mut M,
        module: &Module,
        address: u64,
    ) -> Result<String, M::Error> {
        Ok(match self.module_symbol(memory, module, address)? {
            Some((start, name)) => Place {
                name: &name,
                offset: address - start,
                module: Some(&module.name),
            }
            .to_string(),
            None => format!("[{}]+{:#x}", module.name, address - module.start),
        })
    }

    /// The symbol before `address` that lies in the same piece of memory.
    fn module_symbol<M: Memory>(
        &self,
        memory: &mut M,
        module: &Module,
        address: u64,
    ) -> Result<Option<(u64, String)>, M::Error> {
        let Some((entries, strings)) = self.module_table(memory, module)? else {
            return Ok(None);
        };
        let mut best: Option<(u64, u32)> = None;
        for entry in entries.chunks_exact(SYMBOL) {
            let (name, value) = (u32_at(entry, 0).unwrap_or(0), u64_at(entry, 8).unwrap_or(0));
            let before = best.is_none_or(|(start, _)| start < value) && value <= address;
            if name != 0 && before && module.contains(value) {
                best = Some((value, name));
            }
        }
        let Some((start, name)) = best else {
            return Ok(None);
        };
        let at = strings.wrapping_add(name.into());
        // A name may end where memory does.
        let first = (LONGEST as u64).min(PAGE - at % PAGE) as usize;
        let mut bytes = self.space.read(memory, at, first)?;
        if !bytes.contains(&0) && first < LONGEST {
            let more = at.wrapping_add(first as u64);
            bytes.extend(self.space.read(memory, more, LONGEST - first)?);
        }
        Ok(Some((start, text(&bytes))))
    }

    /// The entries of a module's symbol table, and where its strings are.
    fn module_table<M: Memory>(
        &self,
        memory: &mut M,
        module: &Module,
    ) -> Result<Option<(Vec<u8>, u64)>, M::Error> {
        let member = |name| self.types.member("mod_kallsyms", name);
        let (Some(pointer), Some(table), Some(count), Some(strings)) = (
            self.types.member("module", "kallsyms"),
            member("symtab"),
            member("num_symtab"),
            member("strtab"),
        ) else {
            return Ok(None);
        };
        let base = self
            .space
            .read_u64(memory, module.address.wrapping_add(pointer.offset))?;
        let mut number = |member: Member| {
            self.space
                .read_u64(memory, base.wrapping_add(member.offset))
        };
        let (table, strings) = (number(table)?, number(strings)?);
        let count = self
            .space
            .read(memory, base.wrapping_add(count.offset), 4)?;
        let count = u32_at(&count, 0).unwrap_or(0).min(MOST_SYMBOLS) as usize;
        let entries = self.space.read(memory, table, count * SYMBOL)?;
        Ok(Some((entries, strings)))
    }

    /// Its memory has been described in two ways: as an array of pieces, and
    /// before that as two of them.
    fn module_layout(&self) -> Option<Layout> {
        let member = |name| self.types.member("module", name);
        let piece = |outer| {
            let inside = |name| self.types.inner(outer, name);
            Some((inside("base")?, inside("size")?))
        };
        let mut pieces = Vec::new();
        if let Some(all) = member("mem") {
            let (base, size) = piece(all)?;
            let one = self.types.size("module_memory").filter(|one| *one != 0)?;
            for index in 0..(all.size / one).min(64) {
                pieces.push((base.moved(index * one), size.moved(index * one)));
            }
        } else {
            for name in ["core_layout", "init_layout"] {
                pieces.push(piece(member(name)?)?);
            }
        }
        Some(Layout {
            list: member("list")?,
            name: member("name")?,
            pieces,
        })
    }
}
