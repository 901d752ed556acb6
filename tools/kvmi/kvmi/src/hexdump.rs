// SPDX-License-Identifier: GPL-2.0

//! Hex dumps like those of `xxd`.

use std::fmt::Write;

/// Bytes in a line.
pub const LINE: usize = 16;

/// One line: address, bytes in pairs, and what is printable of them.
///
/// `bytes` are at most 16; the columns stay where they are for fewer.
pub fn line(address: u64, bytes: &[u8]) -> String {
    let mut text = format!("{address:08x}:");
    for index in 0..LINE {
        if index % 2 == 0 {
            text.push(' ');
        }
        // Writing to a string cannot fail.
        let _ = match bytes.get(index) {
            Some(byte) => write!(text, "{byte:02x}"),
            None => write!(text, "  "),
        };
    }
    text.push_str("  ");
    text.extend(bytes.iter().take(LINE).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    }));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line() {
        assert_eq!(
            line(0x1000, b"Linux version \0\xff"),
            "00001000: 4c69 6e75 7820 7665 7273 696f 6e20 00ff  Linux version .."
        );
    }

    #[test]
    fn a_short_line() {
        assert_eq!(
            line(0x1_0000_0000, b"abc"),
            "100000000: 6162 63                                  abc"
        );
    }
}
