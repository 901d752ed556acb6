// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whole records over a stream, in time, and not one byte more.

use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{Challenge, HandshakeError, Hello, MUTUAL, Proof, Step};
use crate::poll;

type Result<T> = std::result::Result<T, HandshakeError>;

/// How long a handshake may take as a whole, however it is spread over it.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    /// `None` is for ever.
    end: Option<Instant>,
    stop: Option<BorrowedFd<'a>>,
}

impl<'a> Patience<'a> {
    /// So long from now on.
    pub fn new(limit: Duration) -> Self {
        Patience {
            end: Instant::now().checked_add(limit),
            stop: None,
        }
    }

    /// Ends at once when `file` becomes readable.
    pub fn stopped_by(self, file: BorrowedFd<'a>) -> Self {
        Patience {
            stop: Some(file),
            ..self
        }
    }

    /// Waits until something can be done with the stream.
    pub(crate) fn wait(&self, stream: BorrowedFd<'_>, wanted: PollFlags, step: Step) -> Result<()> {
        loop {
            if self.end.is_some_and(|end| end <= Instant::now()) {
                return Err(HandshakeError::Timeout(step));
            }
            let files = [
                self.stop.map(|stop| (stop, PollFlags::IN)),
                Some((stream, wanted)),
            ];
            let [stopped, ready] = poll::ready(&files, self.end).map_err(HandshakeError::Io)?;
            if stopped {
                return Err(HandshakeError::Stopped);
            }
            if ready {
                return Ok(());
            }
        }
    }
}

/// The connection during the handshake.
pub(super) struct Line<'a> {
    stream: &'a UnixStream,
    patience: &'a Patience<'a>,
}

impl<'a> Line<'a> {
    pub fn new(stream: &'a UnixStream, patience: &'a Patience<'a>) -> Self {
        Line { stream, patience }
    }

    /// The VMM's record, all of it: its first member says how long it is.
    pub fn hello(&mut self) -> Result<Vec<u8>> {
        let mut size = [0; size_of::<u32>()];
        let (first, rest) = size.split_at_mut(1);
        self.fill(first, Step::Hello).map_err(|error| match error {
            HandshakeError::Closed(_) => HandshakeError::Withdrawn,
            error => error,
        })?;
        self.fill(rest, Step::Hello)?;
        let whole = u32::from_ne_bytes(size) as usize;
        if !(Hello::SHORTEST..=Hello::LONGEST).contains(&whole) {
            return Err(HandshakeError::Record {
                step: Step::Hello,
                what: format!("it claims to have {whole} bytes"),
            });
        }
        let mut bytes = size.to_vec();
        bytes.resize(whole, 0);
        self.fill(&mut bytes[size.len()..], Step::Hello)?;
        Ok(bytes)
    }

    /// The VMM's challenge.
    pub fn challenge(&mut self) -> Result<Challenge> {
        let challenge: Challenge = self.record(Step::Challenge)?;
        check(
            challenge.size,
            size_of::<Challenge>(),
            challenge.version,
            Step::Challenge,
        )?;
        Ok(challenge)
    }

    /// The VMM's proof.
    pub fn proof(&mut self) -> Result<Proof> {
        let proof: Proof = self.record(Step::Proof)?;
        check(proof.size, size_of::<Proof>(), proof.version, Step::Proof)?;
        Ok(proof)
    }

    /// Sends a record.
    pub fn send(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.patience
                .wait(self.stream.as_fd(), PollFlags::OUT, Step::Consent)?;
            match send(
                self.stream,
                bytes,
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Ok(size) => bytes = bytes.get(size..).unwrap_or_default(),
                Err(errno) => retry(errno, Step::Consent)?,
            }
        }
        Ok(())
    }

    fn record<T: FromBytes + IntoBytes + FromZeros>(&mut self, step: Step) -> Result<T> {
        let mut record = T::new_zeroed();
        self.fill(record.as_mut_bytes(), step)?;
        Ok(record)
    }

    /// Reads so many bytes, and none behind them.
    fn fill(&mut self, mut room: &mut [u8], step: Step) -> Result<()> {
        while !room.is_empty() {
            self.patience
                .wait(self.stream.as_fd(), PollFlags::IN, step)?;
            match recv(self.stream, &mut *room, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(HandshakeError::Closed(step)),
                Ok((size, _)) => room = room.get_mut(size..).unwrap_or_default(),
                Err(errno) => retry(errno, step)?,
            }
        }
        Ok(())
    }
}

/// Sees that a record is what it should be.
fn check(size: u32, expected: usize, version: u32, step: Step) -> Result<()> {
    if size as usize == expected && version == MUTUAL {
        return Ok(());
    }
    Err(HandshakeError::Record {
        step,
        what: format!("its size is {size}, its version {version}"),
    })
}

/// Sorts the error of a stream; some are none.
fn retry(errno: Errno, step: Step) -> Result<()> {
    match errno {
        Errno::INTR | Errno::AGAIN => Ok(()),
        Errno::PIPE | Errno::CONNRESET | Errno::CONNABORTED | Errno::NOTCONN => {
            Err(HandshakeError::Closed(step))
        }
        _ => Err(HandshakeError::Io(errno.into())),
    }
}
