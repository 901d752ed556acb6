// SPDX-License-Identifier: GPL-2.0

//! The memory type that a guest's MTRRs give an address: Intel SDM volume 3, 13.11 "Memory type
//! range registers"; AMD APM volume 2, 7.7.
//!
//! A pure function of the registers: nothing here touches a VM.

const UNCACHED: u8 = 0;
const WRITE_THROUGH: u8 = 4;
const WRITE_BACK: u8 = 6;

/// `MSR_MTRRdefType`: the MTRRs are on, the fixed ones too.
const ENABLED: u64 = 1 << 11;
const FIXED_ENABLED: u64 = 1 << 10;
/// `MSR_MTRRphysMask`: the pair counts.
const VALID: u64 = 1 << 11;
/// What of a base or a mask is an address.
const ADDRESS: u64 = !0xfff;

/// The fixed ranges: first address, bits of one range's size, index of the first register.  A
/// register has eight ranges, a byte each.
const FIXED: [(u64, u32, u64); 3] = [(0xc0000, 12, 3), (0x80000, 14, 1), (0, 16, 0)];
const FIXED_END: u64 = 0x10_0000;

/// The MTRRs of a vCPU.
pub(crate) struct Mtrrs<'a> {
    /// Does the guest have them?
    pub(crate) present: bool,
    /// `MSR_MTRRdefType`.
    pub(crate) default: u64,
    /// One register for the 64 KiB ranges, two for those of 16 KiB, eight for those of 4 KiB.
    pub(crate) fixed: &'a [u64],
    /// Pairs of base and mask.
    pub(crate) variable: &'a [u64],
}

impl Mtrrs<'_> {
    /// The type at an address.
    ///
    /// Switched off, everything is uncached; without MTRRs, write-back.  Where variable ranges
    /// overlap, uncached wins, then write-through over write-back; what the manuals leave
    /// undefined is write-back, as KVM had it.
    pub(crate) fn memory_type(&self, gpa: u64) -> u8 {
        if !self.present {
            return WRITE_BACK;
        }
        if self.default & ENABLED == 0 {
            return UNCACHED;
        }
        self.fixed_type(gpa)
            .or_else(|| self.variable_type(gpa))
            .unwrap_or(self.default as u8)
    }

    fn fixed_type(&self, gpa: u64) -> Option<u8> {
        if self.default & FIXED_ENABLED == 0 || gpa >= FIXED_END {
            return None;
        }
        let (start, bits, first) = FIXED.iter().find(|(start, ..)| gpa >= *start)?;
        let range = (gpa - start) >> bits;
        let register = usize::try_from(first + range / 8).ok()?;

        self.fixed
            .get(register)
            .map(|types| (types >> (range % 8 * 8)) as u8)
    }

    fn variable_type(&self, gpa: u64) -> Option<u8> {
        self.variable
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [base, mask] if mask & VALID != 0 => {
                    let mask = mask & ADDRESS;

                    (gpa & mask == base & mask).then_some(*base as u8)
                }
                _ => None,
            })
            .reduce(both)
    }
}

/// The type where two ranges overlap.
fn both(one: u8, other: u8) -> u8 {
    match (one, other) {
        (one, other) if one == other => one,
        (UNCACHED, _) | (_, UNCACHED) => UNCACHED,
        (WRITE_THROUGH, WRITE_BACK) | (WRITE_BACK, WRITE_THROUGH) => WRITE_THROUGH,
        _ => WRITE_BACK,
    }
}
