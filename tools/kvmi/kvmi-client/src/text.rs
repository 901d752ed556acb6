// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text from elsewhere.

/// A name with nothing in it that a terminal would obey: whoever has a name
/// chooses it freely.
pub(crate) fn printable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
