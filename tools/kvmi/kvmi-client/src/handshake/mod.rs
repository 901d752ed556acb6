// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is said before KVM gets the socket: a VMM that connects to the tool says who it is, and
//! both prove that they know the same key.
//!
//! The VMM begins with its record. The tool answers with the SHA-1 of the key ([`Auth::Sha1`],
//! or zeros, [`Auth::None`]), which older VMMs know and which proves the tool only; or with a
//! challenge ([`Auth::Hmac`]), upon which both prove themselves by HMAC-SHA-256 over all that was
//! said before. Behind its last record the VMM hands the socket to KVM: what follows belongs to
//! the session, so nothing is read beyond a record.
//!
//! Numbers are in the order of the processor, as everything in KVM's messages.

mod error;
mod key;
mod line;
mod record;
#[cfg(any(test, feature = "fake"))]
pub(crate) use record::*;

pub use error::{HandshakeError, Step};
pub use key::{Key, KeyError};
pub use line::Patience;

use std::os::unix::net::UnixStream;

use rustix::rand::{GetRandomFlags, getrandom};
use sha1::{Digest, Sha1};
use zerocopy::IntoBytes;

use line::Line;
#[cfg(not(any(test, feature = "fake")))]
use record::*;

/// How the VMM and the tool prove themselves to each other. No other form is accepted than the
/// one that was chosen, neither a weaker one nor a stronger one.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Neither proves anything.
    None,
    /// The tool proves that it knows the key, to whoever asks: by its SHA-1, the same each time.
    Sha1(Key),
    /// Both prove it, to nobody else, and anew each time.
    Hmac(Key),
}

/// What a VMM says of its VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The VM's name; nothing in it that a terminal would obey. May be empty.
    pub name: String,
    /// The VM's uuid.
    pub uuid: [u8; 16],
    /// When the VM was started, as the VMM counts it.
    pub start_time: i64,
    /// The highest guest physical address; VMMs older than this field do not say.
    pub max_gpa: Option<u64>,
}

impl Peer {
    /// The uuid as people write it.
    pub fn uuid_text(&self) -> String {
        let digits = format!("{:032x}", u128::from_be_bytes(self.uuid));
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        parts.map(|part| digits[part].to_owned()).join("-")
    }
}

/// Makes the tool's side of the handshake. Behind it the stream is a session's.
///
/// # Errors
///
/// See [`HandshakeError`]; the stream is of no further use then.
pub fn run(
    stream: &UnixStream,
    auth: &Auth,
    patience: &Patience<'_>,
) -> Result<Peer, HandshakeError> {
    let mut line = Line::new(stream, patience);
    let hello = line.hello()?;
    match auth {
        Auth::None => line.send(Cookie::new([0; 20]).as_bytes())?,
        Auth::Sha1(key) => line.send(Cookie::new(Sha1::digest(key.bytes()).into()).as_bytes())?,
        Auth::Hmac(key) => mutual(&mut line, key, &hello)?,
    }
    Ok(Hello::read(&hello).into())
}

/// Proves that this side knows the key, and sees that the other does.
fn mutual(line: &mut Line<'_>, key: &Key, hello: &[u8]) -> Result<(), HandshakeError> {
    let mut nonce = [0; 32];
    getrandom(&mut nonce, GetRandomFlags::empty())
        .map_err(|errno| HandshakeError::Io(errno.into()))?;
    let ours = Offer::new(nonce);
    line.send(ours.as_bytes())?;
    let theirs = line.challenge()?;
    let said = [hello, ours.as_bytes(), theirs.as_bytes()];
    let proof = Proof::new(key.mac(TOOL, &said));
    line.send(proof.as_bytes())?;
    let answer = line.proof()?;
    let said = [
        hello,
        ours.as_bytes(),
        theirs.as_bytes(),
        proof.mac.as_slice(),
    ];
    if key.verifies(VMM, &said, &answer.mac) {
        Ok(())
    } else {
        Err(HandshakeError::WrongKey)
    }
}
