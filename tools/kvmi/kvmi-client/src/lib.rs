// SPDX-License-Identifier: MIT OR Apache-2.0

//! Client of KVM introspection.
//!
//! A [`Session`] speaks the protocol of `Documentation/virt/kvm/kvmi.rst` on
//! any connected stream: it sends [`command`]s, waits for their replies, and
//! keeps the [`event`]s that come in between. There are two ways to such a
//! stream: the [`attach`] module makes one for a VM that another process of this
//! host runs; the [`listen`] module waits for VMMs that connect.
//!
//! ```no_run
//! use kvmi_client::{attach::Attachment, command::ReadPhysical};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut vm = Attachment::new(4711)?;
//! let bytes = vm.session.call(ReadPhysical { gpa: 0x1000, size: 16 })?;
//! println!("{bytes:02x?}");
//! vm.detach();
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

pub mod access;
pub mod attach;
pub mod code;
pub mod command;
pub mod error;
pub mod event;
pub mod handshake;
pub mod listen;
pub mod message;
mod patience;
pub mod poll;
pub mod session;
pub mod wire;

#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod ioctl;
#[cfg(test)]
mod tests;
mod text;

pub use access::Access;
pub use code::Code;
pub use error::{Error, Result};
pub use session::Session;
