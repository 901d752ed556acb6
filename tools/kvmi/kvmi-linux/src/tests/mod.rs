// SPDX-License-Identifier: GPL-2.0

//! A guest made by hand: tables as the kernel's build writes them, mapped by
//! page tables.

mod btf;
mod kallsyms;
mod kernel;
mod paging;
mod types;

use std::{collections::HashMap, convert::Infallible};

use crate::memory::{Memory, PAGE};

/// Physical memory by frame number.
#[derive(Default)]
pub struct Ram {
    pages: HashMap<u64, Vec<u8>>,
    /// Where the next page table goes.
    tables: u64,
}

impl Memory for Ram {
    type Error = Infallible;

    fn read(&mut self, gpa: u64, size: usize) -> Result<Vec<u8>, Infallible> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let at = gpa + bytes.len() as u64;
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                break;
            };
            let rest = &page[(at % PAGE) as usize..];
            bytes.extend_from_slice(&rest[..rest.len().min(size - bytes.len())]);
        }
        Ok(bytes)
    }
}

impl Ram {
    /// Memory whose page tables begin at `root`.
    pub fn new(root: u64) -> Self {
        let mut ram = Ram {
            tables: root,
            ..Ram::default()
        };
        ram.table();
        ram
    }

    pub fn write(&mut self, gpa: u64, bytes: &[u8]) {
        for (at, byte) in (gpa..).zip(bytes) {
            let page = self.pages.entry(at / PAGE);
            page.or_insert_with(|| vec![0; 4096])[(at % PAGE) as usize] = *byte;
        }
    }

    /// Maps `size` bytes, whole pages.
    pub fn map(&mut self, root: u64, gva: u64, gpa: u64, size: u64, flags: u64) {
        for offset in (0..size).step_by(4096) {
            self.map_page(root, gva + offset, 1, (gpa + offset) | flags);
        }
    }

    /// Maps one page; its entry is in a table of `level`.
    pub fn map_page(&mut self, root: u64, gva: u64, level: u32, entry: u64) {
        let mut table = root;
        for above in (level + 1..=4).rev() {
            let at = table + (gva >> (12 + 9 * (above - 1))) % 512 * 8;
            let found = u64::from_le_bytes(self.read(at, 8).unwrap().try_into().unwrap());
            table = match found {
                0 => {
                    let next = self.table();
                    self.write(at, &(next | 7).to_le_bytes());
                    next
                }
                found => found & !0xfff,
            };
        }
        let at = table + (gva >> (12 + 9 * (level - 1))) % 512 * 8;
        self.write(at, &(entry | 1).to_le_bytes());
    }

    fn table(&mut self) -> u64 {
        self.tables += PAGE;
        self.write(self.tables - PAGE, &[0; 4096]);
        self.tables - PAGE
    }
}
