// SPDX-License-Identifier: GPL-2.0

//! Where the guest's bytes come from.

use std::fmt;

/// Size of the pages in which memory is read.
pub const PAGE: u64 = 4096;

/// Guest physical memory.
pub trait Memory {
    /// What can go wrong on the way to the memory.
    type Error;

    /// Reads `size` bytes at `gpa`. Where the guest has no memory, the bytes
    /// end early.
    ///
    /// # Errors
    ///
    /// Those of the way to the memory; a hole is none.
    fn read(&mut self, gpa: u64, size: usize) -> std::result::Result<Vec<u8>, Self::Error>;
}

/// The result of everything that looks at a guest.
pub type Result<T, E> = std::result::Result<T, Error<E>>;

/// Why something was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// Memory could not be read.
    Memory(E),
    /// The guest maps nothing at this virtual address.
    Unmapped(u64),
    /// The guest is not, or not yet, as it would have to be.
    Guest(String),
}

impl<E> Error<E> {
    /// What is missing in the guest.
    pub(crate) fn guest(what: impl Into<String>) -> Self {
        Error::Guest(what.into())
    }
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Error::Memory(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Memory(error) => error.fmt(f),
            Error::Unmapped(gva) => write!(f, "the guest maps nothing at {gva:#x}"),
            Error::Guest(what) => f.write_str(what),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Error<E> {}

/// The little-endian number at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The little-endian number at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The little-endian number at `offset`.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The text up to the first NUL, without what a terminal would obey.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())])
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
