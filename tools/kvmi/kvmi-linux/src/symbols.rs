// SPDX-License-Identifier: GPL-2.0

//! Symbols, by name and by address.

use std::{collections::HashMap, fmt, ops::Range};

/// An address, as the symbol that it lies behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The symbol.
    pub name: &'a str,
    /// Bytes from its address.
    pub offset: u64,
    /// The module that it belongs to; `None` for the kernel itself.
    pub module: Option<&'a str>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)?;
        match self.module {
            Some(module) => write!(f, " [{module}]"),
            None => Ok(()),
        }
    }
}

/// Names and addresses.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// In the order of their addresses; of one address, the first is its name.
    entries: Vec<(u64, Range<usize>)>,
    text: String,
    by_name: HashMap<String, u64>,
}

impl Symbols {
    /// A table of these; of several of one name, the first counts.
    pub fn new<'a>(symbols: impl IntoIterator<Item = (u64, &'a str)>) -> Self {
        let mut table = Symbols::default();
        for (address, name) in symbols {
            let start = table.text.len();
            table.text.push_str(name);
            table.entries.push((address, start..table.text.len()));
            table.by_name.entry(name.to_owned()).or_insert(address);
        }
        // Stable: what has one address keeps its order.
        table.entries.sort_by_key(|(address, _)| *address);
        table
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The address of a symbol.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The addresses of a function and of what compilers made of it, such as
    /// `name.isra.0`.
    pub fn versions(&self, name: &str) -> Vec<u64> {
        let is_version = |other: &str| {
            let rest = other.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let entries = self.entries.iter();
        entries
            .filter(|(_, range)| self.text.get(range.clone()).is_some_and(is_version))
            .map(|(address, _)| *address)
            .collect()
    }

    /// Where the symbol of this address ends: at the next one's.
    pub fn end(&self, address: u64) -> Option<u64> {
        let next = self.entries.partition_point(|(start, _)| *start <= address);
        self.entries.get(next).map(|(start, _)| *start)
    }

    /// The symbol at or before an address.
    pub fn at(&self, address: u64) -> Option<Place<'_>> {
        let behind = self.entries.partition_point(|(start, _)| *start <= address);
        let (start, _) = self.entries.get(behind.checked_sub(1)?)?;
        let first = self.entries.partition_point(|(other, _)| other < start);
        let (_, name) = self.entries.get(first)?;
        Some(Place {
            name: self.text.get(name.clone())?,
            offset: address - start,
            module: None,
        })
    }
}
