// SPDX-License-Identifier: GPL-2.0

//! Numbers, times and bytes on the command line.

use std::time::Duration;

/// Bytes that are one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Decimal, or hexadecimal with `0x`; `K`, `M`, `G`, `T` multiply by 1024.
pub fn integer(text: &str) -> Result<u64, String> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let body = hexadecimal.unwrap_or(text);
    let shift = match body.bytes().last().map(|byte| byte.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    };
    let digits = &body[..body.len() - usize::from(shift != 0)];
    // from_str_radix() would take a sign.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("not a number".into());
    }
    let radix = if hexadecimal.is_some() { 16 } else { 10 };
    let number = u64::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        std::num::IntErrorKind::InvalidDigit => "not a number (hexadecimal needs 0x)".to_owned(),
        _ => "more than 64 bits".to_owned(),
    })?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "more than 64 bits".into())
}

/// As [`integer`], of 32 bits.
pub fn integer32(text: &str) -> Result<u32, String> {
    integer(text)?
        .try_into()
        .map_err(|_| "more than 32 bits".into())
}

/// A time: a number with `ms`, `s` (also by default), `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits
        .parse()
        .map_err(|_| "not a time, such as 500ms, 5s or 2m")?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("unknown unit: use ms, s, m or h".into()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| "too long".into())
}

/// Bytes as hexadecimal digits; spaces, commas and `0x` in front are allowed.
pub fn bytes(text: &str) -> Result<Bytes, String> {
    let mut digits = Vec::new();
    for word in text.split([' ', ',', '\n', '\t']) {
        for character in word.strip_prefix("0x").unwrap_or(word).chars() {
            let digit = character
                .to_digit(16)
                .ok_or_else(|| format!("'{character}' is not a hexadecimal digit"))?;
            // A digit is less than 16.
            digits.push(digit as u8);
        }
    }
    if digits.is_empty() {
        return Err("no bytes".into());
    }
    if digits.len() % 2 != 0 {
        return Err("an odd number of digits".into());
    }
    let pairs = digits.chunks_exact(2);
    Ok(Bytes(pairs.map(|two| (two[0] << 4) | two[1]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, number) in [
            ("0", 0),
            ("4096", 4096),
            ("0x1000", 0x1000),
            ("0XfF", 255),
            ("4K", 4096),
            ("0x10k", 16384),
            ("3G", 3 << 30),
            ("1T", 1 << 40),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in [
            "",
            "K",
            "0x",
            "0xK",
            "-1",
            "+1",
            "1.5",
            "ff",
            "1e3",
            "ä",
            "1ä",
            " 1",
            "16777216T",
            "0x10000000000000000",
            "1KK",
        ] {
            assert!(integer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "5x", "-1s", "1.5s", "99999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hexadecimal_bytes() {
        assert_eq!(bytes("deadBEEF"), Ok(Bytes(vec![0xde, 0xad, 0xbe, 0xef])));
        assert_eq!(bytes("0xde ad,0x01"), Ok(Bytes(vec![0xde, 0xad, 1])));
        for text in ["", " ", "f", "0x", "xy", "0g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
