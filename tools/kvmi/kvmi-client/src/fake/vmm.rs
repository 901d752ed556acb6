// SPDX-License-Identifier: MIT OR Apache-2.0

//! A VMM that connects to the tool, played by a test.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use sha1::{Digest, Sha1};
use zerocopy::{FromBytes, IntoBytes};

use super::Fake;
use crate::{
    handshake::{Auth, Challenge, Cookie, Hello, Key, Offer, Proof, TOOL, VMM},
    message::Reader,
};

/// The VMM's record for a VM of this name, whose uuid is 16 times the first
/// byte of it.
pub fn hello(name: &str) -> Vec<u8> {
    let mut hello = Hello {
        size: size_of::<Hello>() as u32,
        uuid: [name.bytes().next().unwrap_or_default(); 16],
        padding: 0,
        start_time: 1_700_000_000,
        name: [0; 64],
        max_gpa: 0xfff_ffff,
    };
    let size = name.len().min(hello.name.len());
    hello.name[..size].copy_from_slice(&name.as_bytes()[..size]);
    hello.as_bytes().to_vec()
}

/// Offers a VM as a VMM does that insists on `auth`; the kernel's end of its
/// session, or `None` if this VMM does not like the tool.
///
/// The last bytes that it sends are followed by `behind` at once.
pub fn offer(mut stream: UnixStream, name: &str, auth: &Auth, behind: &[u8]) -> Option<Fake> {
    let hello = hello(name);
    let cookie = match auth {
        Auth::Hmac(key) => {
            stream.write_all(&hello).ok()?;
            mutual(&mut stream, key, &hello, behind)?;
            return Some(kernel(stream));
        }
        Auth::Sha1(key) => Sha1::digest(key.bytes()).into(),
        Auth::None => [0; 20],
    };
    stream.write_all(&[&hello, behind].concat()).ok()?;
    let answer: Cookie = record(&mut stream)?;
    (answer.size == 24 && answer.hash == cookie).then(|| kernel(stream))
}

fn mutual(stream: &mut UnixStream, key: &Key, hello: &[u8], behind: &[u8]) -> Option<()> {
    let theirs: Offer = record(stream)?;
    if theirs.size != 64 || theirs.version != 2 {
        return None;
    }
    let mut nonce = [0; 32];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).ok()?;
    let ours = Challenge::new(nonce);
    stream.write_all(ours.as_bytes()).ok()?;
    let proof: Proof = record(stream)?;
    let said = [hello, theirs.as_bytes(), ours.as_bytes()];
    if proof.size != 40 || !key.verifies(TOOL, &said, &proof.mac) {
        return None;
    }
    let said = [hello, theirs.as_bytes(), ours.as_bytes(), &proof.mac];
    let answer = Proof::new(key.mac(VMM, &said));
    stream.write_all(&[answer.as_bytes(), behind].concat()).ok()
}

/// The kernel has the socket now.
fn kernel(stream: UnixStream) -> Fake {
    Fake {
        stream,
        reader: Reader::default(),
    }
}

fn record<T: FromBytes>(stream: &mut UnixStream) -> Option<T> {
    let mut bytes = vec![0; size_of::<T>()];
    stream.read_exact(&mut bytes).ok()?;
    T::read_from_bytes(&bytes).ok()
}
