// SPDX-License-Identifier: GPL-2.0

//! Memory types: Intel SDM volume 3, 13.11.

use crate::mtrr::Mtrrs;

const UC: u8 = 0;
const WC: u8 = 1;
const WT: u8 = 4;
const WP: u8 = 5;
const WB: u8 = 6;

const ON: u64 = 1 << 11;
const FIXED_ON: u64 = 1 << 10;
const VALID: u64 = 1 << 11;
const MASK_36: u64 = (1 << 36) - 1;

fn of(default: u64, fixed: &[u64; 11], variable: &[u64], gpa: u64) -> u8 {
    Mtrrs {
        present: true,
        default,
        fixed,
        variable,
    }
    .memory_type(gpa)
}

/// A pair for `size` bytes at `base`.
fn range(base: u64, size: u64, kind: u8) -> [u64; 2] {
    [base | u64::from(kind), MASK_36 & !(size - 1) | VALID]
}

#[test]
fn mtrr_none_is_write_back() {
    let mtrrs = Mtrrs {
        present: false,
        default: 0,
        fixed: &[0; 11],
        variable: &[],
    };

    assert_eq!(mtrrs.memory_type(0), WB);
}

#[test]
fn mtrr_off_is_uncached() {
    let ranges = range(0, 1 << 30, WB);

    for gpa in [0, 0xa0000, 1 << 20, 1 << 32] {
        assert_eq!(of(u64::from(WB), &[!0; 11], &ranges, gpa), UC);
        assert_eq!(of(FIXED_ON | u64::from(WB), &[!0; 11], &ranges, gpa), UC);
    }
}

#[test]
fn mtrr_default_where_nothing_matches() {
    for kind in [UC, WC, WT, WP, WB] {
        assert_eq!(of(ON | u64::from(kind), &[0; 11], &[], 5 << 20), kind);
    }
}

/// Each of the 88 fixed ranges has the byte that is its own, from its first address to its last.
#[test]
fn mtrr_fixed_ranges() {
    let mut at = 0;

    for index in 0..88usize {
        let size = match index {
            0..8 => 0x10000,
            8..24 => 0x4000,
            _ => 0x1000,
        };
        let mut fixed = [u64::MAX; 11];

        fixed[index / 8] &= !(0xff << (index % 8 * 8));
        fixed[index / 8] |= u64::from(WP) << (index % 8 * 8);
        for gpa in [at, at + 1, at + size - 1] {
            assert_eq!(of(ON | FIXED_ON, &fixed, &[], gpa), WP, "{gpa:#x}");
        }
        if at > 0 {
            assert_eq!(of(ON | FIXED_ON, &fixed, &[], at - 1), 0xff, "{at:#x}");
        }
        at += size;
        if at < 1 << 20 {
            assert_eq!(of(ON | FIXED_ON, &fixed, &[], at), 0xff, "{at:#x}");
        }
    }
    assert_eq!(at, 1 << 20);
}

#[test]
fn mtrr_fixed_win_over_variable_and_end_at_1_mib() {
    let ranges = range(0, 1 << 30, WT);
    let fixed = [u64::from_ne_bytes([WB; 8]); 11];

    assert_eq!(of(ON | FIXED_ON, &fixed, &ranges, (1 << 20) - 1), WB);
    assert_eq!(of(ON | FIXED_ON, &fixed, &ranges, 1 << 20), WT);
    assert_eq!(of(ON, &fixed, &ranges, (1 << 20) - 1), WT, "fixed ones off");
}

#[test]
fn mtrr_variable_range_has_its_bounds() {
    let ranges = range(0x8000_0000, 0x1000, WC);

    assert_eq!(of(ON | u64::from(WB), &[0; 11], &ranges, 0x7fff_ffff), WB);
    assert_eq!(of(ON | u64::from(WB), &[0; 11], &ranges, 0x8000_0000), WC);
    assert_eq!(of(ON | u64::from(WB), &[0; 11], &ranges, 0x8000_0fff), WC);
    assert_eq!(of(ON | u64::from(WB), &[0; 11], &ranges, 0x8000_1000), WB);
}

#[test]
fn mtrr_invalid_pair_does_not_count() {
    let [base, mask] = range(0, 1 << 30, UC);

    assert_eq!(of(ON | u64::from(WB), &[0; 11], &[base, mask & !VALID], 0), WB);
}

/// A mask with a hole in it selects addresses, not a range.
#[test]
fn mtrr_discontiguous_mask() {
    let pair = [u64::from(WC), MASK_36 & !0xfff & !(1 << 20) | VALID];

    assert_eq!(of(ON | u64::from(WB), &[0; 11], &pair, 0), WC);
    assert_eq!(of(ON | u64::from(WB), &[0; 11], &pair, 1 << 20), WC);
    assert_eq!(of(ON | u64::from(WB), &[0; 11], &pair, 1 << 21), WB);
}

/// Every pair of types that overlaps, in both orders.
#[test]
fn mtrr_overlaps() {
    for one in [UC, WC, WT, WP, WB] {
        for other in [UC, WC, WT, WP, WB] {
            let expected = match (one, other) {
                _ if one == other => one,
                (UC, _) | (_, UC) => UC,
                (WT, WB) | (WB, WT) => WT,
                _ => WB,
            };
            let pairs = [range(0, 1 << 30, one), range(0, 1 << 20, other)].concat();

            assert_eq!(of(ON, &[0; 11], &pairs, 0x1000), expected, "{one} {other}");
            assert_eq!(of(ON, &[0; 11], &pairs, 1 << 20), one);
        }
    }
}

#[test]
fn mtrr_three_overlap() {
    let pairs = [
        range(0, 1 << 30, WB),
        range(0, 1 << 30, WT),
        range(0, 1 << 30, UC),
    ];

    assert_eq!(of(ON, &[0; 11], &pairs.concat(), 0), UC);
    assert_eq!(of(ON, &[0; 11], &pairs[..2].concat(), 0), WT);
}
