// SPDX-License-Identifier: MIT OR Apache-2.0

//! Asking again for a page that is not in the VMM's memory.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    poll,
};

/// How long is asked for a page: what a swap device needs under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(250);

/// How long is still asked, and the next pause.
#[derive(Debug)]
pub(crate) struct Patience {
    end: Instant,
    next: Duration,
}

impl Patience {
    /// Begins to wait, for so long in all.
    pub(crate) fn new(limit: Duration) -> Self {
        let now = Instant::now();
        Patience {
            end: now.checked_add(limit).unwrap_or(now),
            next: FIRST,
        }
    }

    /// Waits until it is time to ask again; false when it was asked long
    /// enough.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if `stop` is readable.
    pub(crate) fn pause(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<bool> {
        let now = Instant::now();
        if now >= self.end {
            return Ok(false);
        }
        let until = now.checked_add(self.next).unwrap_or(now).min(self.end);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        while Instant::now() < until {
            // A signal without a file of its own only ends one round.
            let [stopped] = poll::readable(&[stop], Some(until)).map_err(Error::Io)?;
            if stopped {
                return Err(Error::Stopped);
            }
        }
        Ok(true)
    }
}
