// SPDX-License-Identifier: GPL-2.0

//! The file descriptor that children find their socket at.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    process::{Child, Command},
    sync::{Mutex, PoisonError},
};

use rustix::io::{DupFlags, dup2, dup3};

/// A descriptor that is inherited by one child at a time.
///
/// It is /dev/null, and closed in children, but while a child is started. No other is started
/// meanwhile: none inherits the socket of another's VM, whose session would live on with it.
pub struct Place {
    number: RawFd,
    file: Mutex<OwnedFd>,
    null: File,
}

impl Place {
    /// The lowest number that is free: 3, if it is made first.
    pub fn new() -> io::Result<Self> {
        let file = OwnedFd::from(File::open("/dev/null")?);
        Ok(Place {
            number: file.as_raw_fd(),
            file: Mutex::new(file),
            null: File::open("/dev/null")?,
        })
    }

    /// The number.
    pub fn number(&self) -> RawFd {
        self.number
    }

    /// Starts a child that inherits `stream`, which is closed here.
    pub fn spawn(&self, command: &mut Command, stream: UnixStream) -> io::Result<Child> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        dup2(&stream, &mut file)?;
        let child = command.spawn();
        dup3(&self.null, &mut file, DupFlags::CLOEXEC)?;
        child
    }
}
