// SPDX-License-Identifier: GPL-2.0

//! The guest's own page tables, 64-bit mode, four or five levels.

use crate::memory::{Error, Memory, PAGE, Result, u64_at};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 to 51.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const CR4_LA57: u64 = 1 << 12;
const ENTRIES: u64 = 512;

/// Most tables that one walk looks at: a gigabyte of small pages, and some.
const MAX_TABLES: usize = 600;

/// An address space: what CR3 and CR4 say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSpace {
    root: u64,
    levels: u32,
}

/// Memory that is mapped in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Guest virtual address of its start.
    pub gva: u64,
    /// Guest physical address of its start.
    pub gpa: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it may be executed.
    pub executable: bool,
}

impl Mapping {
    /// Whether `gva` lies in it.
    pub fn contains(&self, gva: u64) -> bool {
        gva.checked_sub(self.gva)
            .is_some_and(|offset| offset < self.size)
    }

    /// Whether `next` goes on where this ends, with the same rights.
    fn continues(&self, next: &Mapping) -> bool {
        self.gva.checked_add(self.size) == Some(next.gva)
            && self.gpa.checked_add(self.size) == Some(next.gpa)
            && (self.writable, self.executable) == (next.writable, next.executable)
    }
}

impl AddressSpace {
    /// The address space that these registers choose.
    pub fn new(cr3: u64, cr4: u64) -> Self {
        AddressSpace {
            root: cr3 & ADDRESS,
            levels: if cr4 & CR4_LA57 == 0 { 4 } else { 5 },
        }
    }

    /// With page-table isolation, the kernel's half of a pair of tables.
    pub fn kernel_half(self) -> Self {
        AddressSpace {
            root: self.root & !PAGE,
            ..self
        }
    }

    /// The bytes that one entry of a table of `level` covers; 1 is the lowest.
    fn span(level: u32) -> u64 {
        PAGE << (9 * (level - 1))
    }

    /// The mapping of the page with `gva`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn translate<M: Memory>(
        &self,
        memory: &mut M,
        gva: u64,
    ) -> Result<Option<Mapping>, M::Error> {
        let (mut table, mut writable, mut executable) = (self.root, true, true);
        for level in (1..=self.levels).rev() {
            let span = Self::span(level);
            let index = gva / span % ENTRIES;
            let bytes = memory.read(table + index * 8, 8)?;
            let Some(entry) = u64_at(&bytes, 0).filter(|entry| entry & PRESENT != 0) else {
                return Ok(None);
            };
            writable &= entry & WRITABLE != 0;
            executable &= entry & NO_EXECUTE == 0;
            if level == 1 || (entry & LARGE != 0 && level <= 3) {
                return Ok(Some(Mapping {
                    gva: gva & !(span - 1),
                    gpa: entry & ADDRESS & !(span - 1),
                    size: span,
                    writable,
                    executable,
                }));
            }
            table = entry & ADDRESS;
        }
        Ok(None)
    }

    /// Reads at a virtual address.
    ///
    /// # Errors
    ///
    /// [`Error::Unmapped`], and those of reading.
    pub fn read<M: Memory>(
        &self,
        memory: &mut M,
        gva: u64,
        size: usize,
    ) -> Result<Vec<u8>, M::Error> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let gva = gva.wrapping_add(bytes.len() as u64);
            let mapping = self.translate(memory, gva)?.ok_or(Error::Unmapped(gva))?;
            let offset = gva - mapping.gva;
            let left = (mapping.size - offset).min((size - bytes.len()) as u64);
            // Not more than `size`, so it fits.
            let more = memory.read(mapping.gpa + offset, left as usize)?;
            if more.is_empty() {
                return Err(Error::Unmapped(gva));
            }
            bytes.extend(more);
        }
        Ok(bytes)
    }

    /// Reads a number at a virtual address.
    ///
    /// # Errors
    ///
    /// As [`AddressSpace::read`].
    pub fn read_u64<M: Memory>(&self, memory: &mut M, gva: u64) -> Result<u64, M::Error> {
        let bytes = self.read(memory, gva, 8)?;
        u64_at(&bytes, 0).ok_or(Error::Unmapped(gva))
    }

    /// What is mapped from `from` to `to`, both included and in the same half;
    /// neighbours with the same rights are one mapping.
    ///
    /// # Errors
    ///
    /// Those of reading; more than `limit` mappings.
    pub fn mappings<M: Memory>(
        &self,
        memory: &mut M,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<Vec<Mapping>, M::Error> {
        let mut walk = Walk {
            memory,
            from,
            to,
            limit,
            tables: 0,
            found: Vec::new(),
        };
        // What an entry of the highest level does not say, the sign extension does.
        let base = from & !(Self::span(self.levels + 1) - 1);
        walk.table(self.root, self.levels, base, (true, true))?;
        Ok(walk.found)
    }
}

struct Walk<'a, M> {
    memory: &'a mut M,
    from: u64,
    to: u64,
    limit: usize,
    /// Tables looked at.
    tables: usize,
    found: Vec<Mapping>,
}

impl<M: Memory> Walk<'_, M> {
    /// Looks at the part of a table that is asked for; `base` is where the
    /// table's first entry maps.
    fn table(
        &mut self,
        table: u64,
        level: u32,
        base: u64,
        (writable, executable): (bool, bool),
    ) -> Result<(), M::Error> {
        let span = AddressSpace::span(level);
        self.tables += 1;
        if self.tables > MAX_TABLES {
            return Err(Error::guest("the guest has too many page tables"));
        }
        let bytes = self.memory.read(table, PAGE as usize)?;
        for (index, entry) in (0..).zip(bytes.chunks_exact(8)) {
            let gva = base.wrapping_add(span * index);
            let entry = u64_at(entry, 0).unwrap_or(0);
            if gva > self.to || gva + (span - 1) < self.from || entry & PRESENT == 0 {
                continue;
            }
            let rights = (
                writable && entry & WRITABLE != 0,
                executable && entry & NO_EXECUTE == 0,
            );
            if level > 1 && (entry & LARGE == 0 || level > 3) {
                self.table(entry & ADDRESS, level - 1, gva, rights)?;
                continue;
            }
            self.add(Mapping {
                gva,
                gpa: entry & ADDRESS & !(span - 1),
                size: span,
                writable: rights.0,
                executable: rights.1,
            })?;
        }
        Ok(())
    }

    fn add(&mut self, mapping: Mapping) -> Result<(), M::Error> {
        let pieces = self.found.len();
        match self.found.last_mut() {
            Some(last) if last.continues(&mapping) => last.size += mapping.size,
            _ if pieces >= self.limit => {
                return Err(Error::guest("the guest's page tables map too many pieces"));
            }
            _ => self.found.push(mapping),
        }
        Ok(())
    }
}
