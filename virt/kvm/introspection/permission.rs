// SPDX-License-Identifier: GPL-2.0

//! What the device manager allows the tool.

use kernel::sync::atomic::{Atomic, Full, Relaxed};

/// A set of ids below 64.
pub(crate) struct IdSet(Atomic<u64>);

/// The bit of an id.
const fn bit(id: u16) -> u64 {
    if id < u64::BITS as u16 {
        1 << id
    } else {
        0
    }
}

impl IdSet {
    /// The set of the given ids.
    pub(crate) const fn new(bits: u64) -> Self {
        Self(Atomic::new(bits))
    }

    pub(crate) fn contains(&self, id: u16) -> bool {
        self.0.load(Relaxed) & bit(id) != 0
    }

    /// Adds or removes one.
    pub(crate) fn set(&self, id: u16, member: bool) {
        self.change(bit(id), member);
    }

    /// Adds or removes several.
    pub(crate) fn change(&self, bits: u64, member: bool) {
        let mut old = self.0.load(Relaxed);

        loop {
            let new = if member { old | bits } else { old & !bits };

            match self.0.cmpxchg(old, new, Full) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// The bits of several ids.
pub(crate) const fn bits(ids: &[u16]) -> u64 {
    let mut all = 0;
    let mut i = 0;

    while i < ids.len() {
        all |= bit(ids[i]);
        i += 1;
    }
    all
}
