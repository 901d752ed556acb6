// SPDX-License-Identifier: GPL-2.0

//! The kernel's own symbol table, found by its structure.
//!
//! `scripts/kallsyms.c` writes these tables one behind the other:
//!
//! - `kallsyms_num_syms`
//! - `kallsyms_names`: for each symbol a length, then as many tokens; the first
//!   character that they spell is the symbol's type
//! - `kallsyms_markers`: where in the names each 256th symbol is
//! - `kallsyms_token_table`: 256 strings
//! - `kallsyms_token_index`: where each of the strings is
//! - `kallsyms_offsets`: see [`offsets`](mod@offsets)
//!
//! The index is 256 rising numbers that fit to the strings before it, which
//! nothing else in a kernel is. From there everything is counted backwards
//! and forwards, and each table checks another.

mod offsets;

use crate::{
    memory::{u16_at, u32_at},
    symbols::Symbols,
};

const TOKENS: usize = 256;
/// Symbols between two markers.
const STRIDE: usize = 256;
/// Bytes of the longest name in `kallsyms_names`: two of length, then tokens.
const LONGEST: usize = 2 + 0x3fff;
/// Most bytes between two tables.
const PADDING: usize = 8;
/// A kernel has some 200,000; more than this is no kernel.
const MOST: usize = 4 << 20;

/// Most places that are looked at more closely: a guest may have made them all.
const ATTEMPTS: usize = 64;

/// Finds the tables in the kernel's read-only data, of which `image` is a copy
/// and `base` the address.
pub fn find(image: &[u8], base: u64) -> Option<Symbols> {
    let mut from = 0;
    for _ in 0..ATTEMPTS {
        let index = next_index(image, from)?;
        if let Some(symbols) = at_index(image, base, index) {
            return Some(symbols);
        }
        from = index + 4;
    }
    None
}

/// The next place from `from` that may be `kallsyms_token_index`.
fn next_index(image: &[u8], from: usize) -> Option<usize> {
    let last = image.len().checked_sub(2 * TOKENS)?;
    (from..=last).step_by(4).find(|&at| {
        let table = &image[at..at + 2 * TOKENS];
        // Cheap first: the index begins with 0, and its tokens are few bytes each.
        table[..2] == [0; 2] && table[2..4] != [0; 2] && is_rising(table)
    })
}

fn is_rising(table: &[u8]) -> bool {
    let entries = table.chunks_exact(2).map(|entry| u16_at(entry, 0));
    entries.is_sorted_by(|one, next| one < next)
}

/// Reads everything, if `index` is the place of `kallsyms_token_index`.
fn at_index(image: &[u8], base: u64, index: usize) -> Option<Symbols> {
    let tokens = Tokens::before(image, index)?;
    let markers = Markers::before(image, tokens.start)?;
    let names = markers.names(image)?;
    let behind = index + 2 * TOKENS;
    let addresses = offsets::find(image, base, behind, names.head, names.count)?;
    let mut text = String::new();
    let mut ends = Vec::with_capacity(names.count);
    let mut at = names.start;
    for _ in 0..names.count {
        let (name, next) = name(image, at)?;
        tokens.expand(name, &mut text);
        ends.push(text.len());
        at = next;
    }
    let mut start = 0;
    let symbols = addresses
        .into_iter()
        .zip(ends)
        .filter_map(|(address, end)| {
            // The type is a character of its own.
            let whole = text.get(start..end).unwrap_or_default();
            start = end;
            let mut rest = whole.chars();
            rest.next()?;
            Some((address, rest.as_str()))
        });
    Some(Symbols::new(symbols.collect::<Vec<_>>()))
}

/// The 256 strings that names are made of.
struct Tokens<'a> {
    start: usize,
    strings: Vec<&'a str>,
}

impl<'a> Tokens<'a> {
    /// The strings that end where `index` begins, and that it fits to.
    fn before(image: &'a [u8], index: usize) -> Option<Self> {
        let offsets: Vec<usize> = image[index..index + 2 * TOKENS]
            .chunks_exact(2)
            .filter_map(|entry| u16_at(entry, 0).map(usize::from))
            .collect();
        let last = *offsets.last()?;
        // The last string is a token too: a few characters, its NUL, padding.
        let near = index.checked_sub(last + 1)?;
        let far = near.saturating_sub(64 + PADDING);
        (far..=near)
            .rev()
            .filter(|at| at % 4 == 0)
            .find_map(|start| {
                let strings = Self::strings(&image[start..index], &offsets)?;
                Some(Tokens { start, strings })
            })
    }

    fn strings(table: &'a [u8], offsets: &[usize]) -> Option<Vec<&'a str>> {
        let ends = offsets.iter().skip(1).copied();
        let rest = table.get(*offsets.last()?..)?;
        let end = offsets.last()? + rest.iter().position(|byte| *byte == 0)? + 1;
        let padding = table.get(end..)?;
        if padding.len() >= PADDING || padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let strings: Vec<&str> = offsets
            .iter()
            .zip(ends.chain([end]))
            .filter_map(|(&start, end)| {
                let (nul, string) = table.get(start..end)?.split_last()?;
                let plain = string.iter().all(u8::is_ascii_graphic);
                let string = std::str::from_utf8(string).ok()?;
                Some(string).filter(|_| *nul == 0 && plain)
            })
            .collect();
        // What occurs in names stands for itself, and digits do.
        let digits = (b'0'..=b'9').all(|digit| {
            strings
                .get(usize::from(digit))
                .map(|string| string.as_bytes())
                == Some(&[digit][..])
        });
        Some(strings).filter(|strings| strings.len() == TOKENS && digits)
    }

    fn expand(&self, name: &[u8], text: &mut String) {
        for token in name {
            text.push_str(self.strings.get(usize::from(*token)).unwrap_or(&""));
        }
    }
}

/// Where in the names each 256th symbol is.
struct Markers {
    start: usize,
    offsets: Vec<usize>,
}

/// Where the names are.
struct Names {
    /// Where their number is.
    head: usize,
    start: usize,
    count: usize,
}

impl Markers {
    /// The rising numbers from 0 on that end at `end`.
    fn before(image: &[u8], end: usize) -> Option<Self> {
        let mut offsets = Vec::new();
        let mut start = end;
        loop {
            start = start.checked_sub(4)?;
            // No conversion loses anything: usize has 64 bits where this runs.
            let offset = u32_at(image, start)? as usize;
            match offsets.last() {
                // Padding behind the markers.
                None if offset == 0 && end - start <= PADDING => continue,
                Some(above) if offset >= *above => return None,
                _ => offsets.push(offset),
            }
            if offset == 0 {
                break;
            }
            if offsets.len() > MOST / STRIDE {
                return None;
            }
        }
        offsets.reverse();
        Some(Markers { start, offsets })
    }

    /// The names that end where the markers begin.
    fn names(&self, image: &[u8]) -> Option<Names> {
        let blocks = self.offsets.len();
        let marked = *self.offsets.last()?;
        let near = self.start.checked_sub(marked)?;
        let far = near.saturating_sub(STRIDE * LONGEST);
        let starts = (far..=near).rev().filter(|start| start % 4 == 0);
        // The number, and perhaps padding to 8 bytes.
        let candidates = starts.flat_map(|start| [(start, 4), (start, 8)]);
        candidates
            .filter_map(|(start, gap)| {
                let head = start.checked_sub(gap)?;
                let count = u32_at(image, head)? as usize;
                let plausible = count.div_ceil(STRIDE) == blocks && count <= MOST;
                plausible.then_some(Names { head, start, count })
            })
            .take(ATTEMPTS)
            .find(|names| self.fit(image, names))
    }

    /// Whether counting the names leads past each marker to the markers.
    fn fit(&self, image: &[u8], names: &Names) -> bool {
        let mut at = names.start;
        for index in 0..names.count {
            let marked = self.offsets.get(index / STRIDE);
            if index % STRIDE == 0 && marked != Some(&(at - names.start)) {
                return false;
            }
            match name(image, at) {
                Some((_, next)) if next <= self.start => at = next,
                _ => return false,
            }
        }
        self.start - at < PADDING
    }
}

/// The tokens of the name at `at`, and where the next one is.
fn name(image: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let first = usize::from(*image.get(at)?);
    let (size, start) = if first & 0x80 == 0 {
        (first, at + 1)
    } else {
        let second = usize::from(*image.get(at + 1)?);
        ((first & 0x7f) | (second << 7), at + 2)
    };
    let end = start.checked_add(size)?;
    Some((image.get(start..end)?, end)).filter(|_| size != 0)
}
