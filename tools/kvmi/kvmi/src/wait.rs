// SPDX-License-Identifier: GPL-2.0

//! Waiting for several things at once, signals among them.

use std::{
    io,
    os::{fd::BorrowedFd, unix::net::UnixStream},
    time::Instant,
};

use kvmi_client::{Session, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::{Failure, Result};

/// A socket that becomes readable when a signal says to let go. To be made before the VM is
/// touched, so that none is missed.
pub fn signals() -> Result<UnixStream> {
    register().map_err(|error| Failure::file("signals", &error))
}

fn register() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

/// Has a signal end the waits of a session for memory too.
pub fn heed(session: &mut Session<UnixStream>, signals: &UnixStream) -> Result<()> {
    let signals = signals.try_clone();
    let signals = signals.map_err(|error| Failure::file("signals", &error))?;
    session.stop_by(signals.into());
    Ok(())
}

/// Waits until one of the files is readable or closed, or until `deadline`;
/// which of them are.
pub fn wait<const N: usize>(
    files: &[Option<BorrowedFd<'_>>; N],
    deadline: Option<Instant>,
) -> Result<[bool; N]> {
    poll::readable(files, deadline).map_err(|error| Failure::file("poll", &error))
}
