// SPDX-License-Identifier: GPL-2.0

//! The addresses of symbols, which kernels store in several forms:
//!
//! - each offset counts from where it is stored (this is 7.3's);
//! - from `kallsyms_relative_base`, which is behind them;
//! - as that, but per-CPU symbols are absolute: negative offsets count down
//!   from one below the base, the others are addresses themselves;
//! - as these, but base and offsets are in front of all other tables.

use crate::memory::{u32_at, u64_at};

/// Where a 64-bit kernel's image can be.
const IMAGE: u64 = 0xffff_ffff_8000_0000;

/// The addresses of `count` symbols; the other tables begin at `head` and end
/// at `behind`.
pub(super) fn find(
    image: &[u8],
    base: u64,
    behind: usize,
    head: usize,
    count: usize,
) -> Option<Vec<u64>> {
    let size = count.checked_mul(4)?;
    let after = || {
        let table = image.get(behind..behind.checked_add(size)?)?;
        let start = base.wrapping_add(behind as u64);
        // No other number that may follow is as large as a base.
        u64_at(image, (behind + size).next_multiple_of(8))
            .and_then(|relative| from_base(table, relative))
            .or_else(|| from_places(table, start))
    };
    let before = || {
        let at = head.checked_sub(8)? & !7;
        let end = at & !3;
        let relative = u64_at(image, at)?;
        // The table ends at the base, perhaps with padding.
        [0, 4].into_iter().find_map(|gap| {
            let end = end.checked_sub(gap)?;
            from_base(image.get(end.checked_sub(size)?..end)?, relative)
        })
    };
    after().or_else(before)
}

/// Offsets that count from where they are stored.
fn from_places(table: &[u8], start: u64) -> Option<Vec<u64>> {
    let places = (0..).map(|index| start.wrapping_add(4 * index));
    let addresses: Vec<u64> = offsets(table)
        .zip(places)
        .map(|(offset, place)| place.wrapping_add_signed(offset.into()))
        .collect();
    Some(addresses).filter(|addresses| is_kernel(addresses))
}

/// Offsets from a base.
fn from_base(table: &[u8], base: u64) -> Option<Vec<u64>> {
    if base < IMAGE {
        return None;
    }
    // The sign is no sign: an image may be larger than 2 GiB, per-CPU data included.
    let plain = offsets(table).map(|offset| base.wrapping_add(u64::from(offset as u32)));
    let plain: Vec<u64> = plain.collect();
    if is_kernel(&plain) {
        return Some(plain);
    }
    let absolute: Vec<u64> = offsets(table)
        .map(|offset| match u64::try_from(offset) {
            Ok(address) => address,
            Err(_) => (base - 1).wrapping_add_signed(-i64::from(offset)),
        })
        .collect();
    let first = absolute.partition_point(|address| *address < IMAGE);
    let (percpu, others) = absolute.split_at(first);
    (percpu.is_sorted() && is_kernel(others)).then_some(absolute)
}

fn offsets(table: &[u8]) -> impl Iterator<Item = i32> {
    table
        .chunks_exact(4)
        .filter_map(|entry| u32_at(entry, 0).map(|offset| offset as i32))
}

/// Whether these are the addresses of a kernel's symbols, in their order.
fn is_kernel(addresses: &[u64]) -> bool {
    addresses.is_sorted() && addresses.first().is_some_and(|first| *first >= IMAGE)
}
