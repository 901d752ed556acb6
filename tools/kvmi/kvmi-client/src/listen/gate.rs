// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many are let in: at once into the handshake, and altogether.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, write},
};

/// Counts connections. Its lock is held for moments, and nothing is done under it.
pub(super) struct Gate {
    handshakes: usize,
    count: Option<usize>,
    state: Mutex<State>,
    /// Readable since the last look when somebody has left.
    changes: OwnedFd,
}

#[derive(Clone, Copy, Default)]
struct State {
    under_way: usize,
    arrived: usize,
}

impl Gate {
    pub fn new(handshakes: usize, count: Option<usize>) -> io::Result<Self> {
        Ok(Gate {
            handshakes,
            count,
            state: Mutex::default(),
            changes: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Whether as many have arrived as were wanted.
    pub fn is_done(&self) -> bool {
        self.count
            .is_some_and(|count| self.state().arrived >= count)
    }

    /// Whether one more may try now. Of those that are wanted no more may try
    /// than are missing: who has proved himself is let in.
    pub fn is_open(&self) -> bool {
        let State { under_way, arrived } = self.state();
        let missing = self
            .count
            .map_or(usize::MAX, |count| count.saturating_sub(arrived));
        under_way < self.handshakes.min(missing)
    }

    /// One tries.
    pub fn enter(&self) {
        self.change(|state| state.under_way += 1);
    }

    /// One has tried.
    pub fn leave(&self, arrived: bool) {
        self.change(|state| {
            state.under_way -= 1;
            state.arrived += usize::from(arrived);
        });
        // It fails only when it is readable already.
        let _ = write(&self.changes, &1u64.to_ne_bytes());
    }

    /// A file that is readable when somebody has left.
    pub fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Makes that file unreadable until the next leaves.
    pub fn note_changes(&self) {
        let _ = read(&self.changes, &mut [0u8; 8]);
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
