// SPDX-License-Identifier: MIT OR Apache-2.0

//! The key that a VMM and a tool share.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A key: bytes as they are, all of a file's, a newline at its end included.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

/// Why something is no key.
#[derive(Debug)]
pub enum KeyError {
    /// It has too few bytes.
    Short(usize),
    /// It has too many bytes.
    Long,
    /// The file cannot be read.
    Io(io::Error),
}

impl Key {
    /// The fewest bytes of a key.
    pub const SHORTEST: usize = 16;
    /// The most bytes of a key.
    pub const LONGEST: usize = 4096;

    /// A key of these bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Short`], [`KeyError::Long`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, KeyError> {
        match bytes.len() {
            size @ ..Self::SHORTEST => Err(KeyError::Short(size)),
            Self::SHORTEST..=Self::LONGEST => Ok(Key(bytes)),
            _ => Err(KeyError::Long),
        }
    }

    /// The key that a file holds.
    ///
    /// # Errors
    ///
    /// See [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(Self::LONGEST as u64 + 1).read_to_end(&mut bytes))
            .map_err(KeyError::Io)?;
        Key::new(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The MAC over `label` and what was said.
    pub(crate) fn mac(&self, label: &[u8], said: &[&[u8]]) -> [u8; 32] {
        self.begun(label, said).finalize().into_bytes().into()
    }

    /// Whether `mac` is that MAC; takes as long whichever bytes differ.
    pub(crate) fn verifies(&self, label: &[u8], said: &[&[u8]], mac: &[u8; 32]) -> bool {
        self.begun(label, said).verify_slice(mac).is_ok()
    }

    fn begun(&self, label: &[u8], said: &[&[u8]]) -> Hmac<Sha256> {
        // HMAC takes keys of any length.
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("a key of {} bytes", self.0.len()));
        mac.update(label);
        for part in said {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Short(size) => write!(
                f,
                "a key of {size} bytes is too short: {} are the least",
                Key::SHORTEST
            ),
            KeyError::Long => write!(
                f,
                "the key is too long: {} bytes are the most",
                Key::LONGEST
            ),
            KeyError::Io(error) => write!(f, "the key cannot be read: {error}"),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KeyError::Io(error) => Some(error),
            KeyError::Short(_) | KeyError::Long => None,
        }
    }
}
