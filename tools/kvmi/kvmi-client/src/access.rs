// SPDX-License-Identifier: MIT OR Apache-2.0

//! What may be done to a page, or is done to it.

use std::{
    fmt,
    ops::{BitAnd, BitOr, Sub},
};

use crate::wire;

/// A set of reading, writing and executing.
///
/// In a [`SetPageAccess`](crate::command::SetPageAccess) it is what stays
/// allowed, in a PF event what was attempted and denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Nothing.
    pub const NONE: Access = Access(0);
    /// Reading.
    pub const READ: Access = Access(wire::KVMI_PAGE_ACCESS_R as u8);
    /// Writing.
    pub const WRITE: Access = Access(wire::KVMI_PAGE_ACCESS_W as u8);
    /// Executing.
    pub const EXECUTE: Access = Access(wire::KVMI_PAGE_ACCESS_X as u8);
    /// Everything: a page that is not restricted.
    pub const ALL: Access = Access(Self::READ.0 | Self::WRITE.0 | Self::EXECUTE.0);

    const LETTERS: [(char, Access); 3] =
        [('r', Self::READ), ('w', Self::WRITE), ('x', Self::EXECUTE)];

    /// The bits of the wire; others than the known are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Access(bits & Self::ALL.0)
    }

    /// The bits of the wire.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the two sets have something in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Reads letters such as `rw`, each at most once and in any order.
    pub fn parse(text: &str) -> Option<Self> {
        let mut set = Self::NONE;
        for letter in text.chars() {
            let (_, access) = Self::LETTERS.iter().find(|(known, _)| *known == letter)?;
            if set.meets(*access) {
                return None;
            }
            set = set | *access;
        }
        Some(set).filter(|set| !set.is_empty())
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Access(self.0 | other.0)
    }
}

impl BitAnd for Access {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Access(self.0 & other.0)
    }
}

impl Sub for Access {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Access(self.0 & !other.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        Self::LETTERS
            .iter()
            .filter(|(_, access)| self.meets(*access))
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters() {
        for text in ["r", "w", "x", "rw", "rx", "wx", "rwx"] {
            assert_eq!(Access::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Access::parse("xr"), Access::parse("rx"));
        for text in ["", "-", "rr", "rq", "R"] {
            assert_eq!(Access::parse(text), None, "{text}");
        }
        assert_eq!(Access::NONE.to_string(), "-");
    }

    #[test]
    fn sets() {
        let both = Access::READ | Access::WRITE;
        assert_eq!(both.bits(), 3);
        assert_eq!(Access::ALL - both, Access::EXECUTE);
        assert_eq!(both & Access::WRITE, Access::WRITE);
        assert!(both.meets(Access::READ) && !both.meets(Access::EXECUTE));
        assert_eq!(Access::from_bits(0xff), Access::ALL);
    }
}
