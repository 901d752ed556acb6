// SPDX-License-Identifier: MIT OR Apache-2.0

//! Waiting for several files at once.

use std::{
    io,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Waits until one of the files is readable or closed, or until `deadline`;
/// which of them are. A signal may end the wait before any is.
///
/// # Errors
///
/// Those of `poll`.
pub fn readable<const N: usize>(
    files: &[Option<BorrowedFd<'_>>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    ready(&files.map(|file| Some((file?, PollFlags::IN))), deadline)
}

/// As [`readable`], for whatever is wanted of each.
pub(crate) fn ready<const N: usize>(
    files: &[Option<(BorrowedFd<'_>, PollFlags)>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.map(|left| left.min(Duration::from_secs(1 << 30)));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut polled: Vec<_> = files
        .iter()
        .flatten()
        .map(|(file, wanted)| PollFd::new(file, *wanted))
        .collect();
    match poll(&mut polled, left.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; N]),
        Err(errno) => return Err(errno.into()),
    }
    let mut results = polled.iter().map(|file| !file.revents().is_empty());
    Ok(files.map(|file| file.is_some() && results.next().unwrap_or(false)))
}
