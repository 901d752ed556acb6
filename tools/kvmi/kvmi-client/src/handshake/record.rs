// SPDX-License-Identifier: MIT OR Apache-2.0

//! The records of the handshake, as they lie on the wire.
//!
//! They are the VMM's business, not the kernel's: no UAPI header has them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Peer;
use crate::text::printable;

/// What the MACs begin with, so that none is good for the other side.
pub(crate) const TOOL: &[u8] = b"kvmi2 tool\0";
/// As [`TOOL`], for the VMM's.
pub(crate) const VMM: &[u8] = b"kvmi2 qemu\0";

/// The version of the handshake in which both sides prove themselves.
pub(crate) const MUTUAL: u32 = 2;

/// The VMM's record. It comes first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Hello {
    pub size: u32,
    pub uuid: [u8; 16],
    pub padding: u32,
    pub start_time: i64,
    pub name: [u8; 64],
    pub max_gpa: u64,
}

impl Hello {
    /// The size of this record before it had `max_gpa`.
    pub const SHORTEST: usize = size_of::<Self>() - size_of::<u64>();
    /// The largest that is accepted. What may be added to the record some day fits by far, and
    /// whoever does not speak this protocol is told from who does.
    pub const LONGEST: usize = 1024;

    /// Reads a record whose size is within these bounds; what is not there is zero, what is more
    /// is not known here.
    pub fn read(bytes: &[u8]) -> Self {
        let mut whole = [0; size_of::<Self>()];
        let size = bytes.len().min(whole.len());
        whole[..size].copy_from_slice(&bytes[..size]);
        zerocopy::transmute!(whole)
    }
}

impl From<Hello> for Peer {
    fn from(hello: Hello) -> Self {
        let whole = usize::try_from(hello.size).is_ok_and(|size| size >= size_of::<Hello>());
        let name = hello.name.split(|&byte| byte == 0).next();
        Peer {
            name: printable(&String::from_utf8_lossy(name.unwrap_or_default())),
            uuid: hello.uuid,
            start_time: hello.start_time,
            max_gpa: whole.then_some(hello.max_gpa),
        }
    }
}

/// The tool's answer of old: the SHA-1 of the key, or zeros.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Cookie {
    pub size: u32,
    pub hash: [u8; 20],
}

impl Cookie {
    pub fn new(hash: [u8; 20]) -> Self {
        Cookie {
            size: size_of::<Self>() as u32,
            hash,
        }
    }
}

/// The tool's answer when both are to prove themselves. It begins as a [`Cookie`] that no VMM
/// takes for a good one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Offer {
    pub size: u32,
    pub zero: [u8; 20],
    pub version: u32,
    pub padding: u32,
    pub nonce: [u8; 32],
}

impl Offer {
    pub fn new(nonce: [u8; 32]) -> Self {
        Offer {
            size: size_of::<Self>() as u32,
            zero: [0; 20],
            version: MUTUAL,
            padding: 0,
            nonce,
        }
    }
}

/// The VMM's challenge.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Challenge {
    pub size: u32,
    pub version: u32,
    pub nonce: [u8; 32],
}

impl Challenge {
    #[cfg(any(test, feature = "fake"))]
    pub fn new(nonce: [u8; 32]) -> Self {
        Challenge {
            size: size_of::<Self>() as u32,
            version: MUTUAL,
            nonce,
        }
    }
}

/// What either side proves itself with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Proof {
    pub size: u32,
    pub version: u32,
    pub mac: [u8; 32],
}

impl Proof {
    pub fn new(mac: [u8; 32]) -> Self {
        Proof {
            size: size_of::<Self>() as u32,
            version: MUTUAL,
            mac,
        }
    }
}

const _: () = assert!(size_of::<Hello>() == 104 && Hello::SHORTEST == 96);
const _: () = assert!(size_of::<Cookie>() == 24 && size_of::<Offer>() == 64);
const _: () = assert!(size_of::<Challenge>() == 40 && size_of::<Proof>() == 40);
