// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can go wrong in a session.

use std::{fmt, io};

use crate::code::Code;

/// The result of everything that talks to the kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in a session.
#[derive(Debug)]
pub enum Error {
    /// The other end closed the connection: the VM ended, or the host ended
    /// the session.
    Closed,
    /// No answer within the time that the stream allows.
    ///
    /// The session is still good: a late reply is dropped.
    Timeout {
        /// What was waited for: a command's name, or "event".
        what: &'static str,
    },
    /// A command was answered with an error.
    Refused {
        /// The command's name.
        command: &'static str,
        /// Why.
        code: Code,
    },
    /// A page is not in the VMM's memory, and was asked for again and again.
    Absent {
        /// The command's name.
        command: &'static str,
        /// What is not there.
        what: &'static str,
    },
    /// The caller's own file ended the wait for a page: see
    /// [`Session::stop_by`](crate::Session::stop_by).
    Stopped,
    /// The other end broke the protocol. The session is of no further use.
    Protocol(String),
    /// The caller asked for what cannot be sent. Nothing was sent.
    Usage(&'static str),
    /// The stream failed.
    Io(io::Error),
}

impl Error {
    /// The code, if the error is a command's refusal.
    pub fn code(&self) -> Option<Code> {
        match self {
            Error::Refused { code, .. } => Some(*code),
            Error::Absent { .. } => Some(Code::EAGAIN),
            _ => None,
        }
    }

    /// Sorts the error of a stream; `what` is what was waited for.
    pub(crate) fn from_io(error: io::Error, what: &'static str) -> Self {
        use io::ErrorKind::*;
        match error.kind() {
            WouldBlock | TimedOut => Error::Timeout { what },
            BrokenPipe | ConnectionReset | ConnectionAborted | NotConnected | UnexpectedEof => {
                Error::Closed
            }
            _ => Error::Io(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => {
                f.write_str("the session has ended: the VM is gone, or the host closed it")
            }
            Error::Timeout { what } => write!(f, "no answer in time ({what})"),
            Error::Refused { command, code } => write!(f, "{command} was refused: {code}"),
            Error::Absent { command, what } => write!(
                f,
                "{command} was refused: {what} is not in the VMM's memory now (swapped out, or \
                 behind a file or a migration that has not delivered it)"
            ),
            Error::Stopped => f.write_str("a signal ended the wait for a page of the VMM's memory"),
            Error::Protocol(what) => write!(f, "the kernel broke the protocol: {what}"),
            Error::Usage(what) => f.write_str(what),
            Error::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}
