// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a handshake failed.

use std::{fmt, io};

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The VMM's record, with which it begins.
    Hello,
    /// That the VMM takes what the tool says, and that its kernel answers.
    Consent,
    /// The VMM's challenge.
    Challenge,
    /// The VMM's proof that it knows the key.
    Proof,
}

/// Why a handshake failed: at which step, and through whom.
#[derive(Debug)]
pub enum HandshakeError {
    /// It was not done within the time that it may take.
    Timeout(Step),
    /// The other end closed the connection.
    Closed(Step),
    /// The other end closed the connection before it had said anything, as a
    /// VMM does that sees that it came too early.
    Withdrawn,
    /// A record is none that may come here.
    Record {
        /// Which record.
        step: Step,
        /// What is wrong with it.
        what: String,
    },
    /// The other end does not know the key.
    WrongKey,
    /// This end was told to stop.
    Stopped,
    /// The stream failed.
    Io(io::Error),
}

impl HandshakeError {
    /// What would help, as one sentence; `None` if nothing is known.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            HandshakeError::Closed(Step::Consent) => Some(
                "the VMM may expect another kind of authentication, or another key: give both \
                 the same",
            ),
            HandshakeError::Closed(Step::Challenge) => Some(
                "the VMM may expect another kind of authentication: give both the same `auth`, \
                 and both a key or none",
            ),
            HandshakeError::Closed(Step::Proof) | HandshakeError::WrongKey => {
                Some("give both the same key, byte for byte; a newline at its end counts")
            }
            HandshakeError::Record { .. } => {
                Some("only a VMM that offers its VM to an introspection tool may connect here")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Hello => "the VMM's record",
            Step::Consent => "the VMM's consent",
            Step::Challenge => "the VMM's challenge",
            Step::Proof => "the VMM's proof",
        })
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Timeout(step) => {
                write!(f, "the handshake took too long, waiting for {step}")
            }
            HandshakeError::Closed(step) => {
                write!(
                    f,
                    "the other end closed the connection where {step} was due"
                )
            }
            HandshakeError::Withdrawn => {
                f.write_str("the other end closed the connection and said nothing")
            }
            HandshakeError::Record { step, what } => write!(f, "what came is not {step}: {what}"),
            HandshakeError::WrongKey => f.write_str("the VMM does not know the key"),
            HandshakeError::Stopped => f.write_str("the handshake was given up"),
            HandshakeError::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl std::error::Error for HandshakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            HandshakeError::Io(error) => Some(error),
            _ => None,
        }
    }
}
