// SPDX-License-Identifier: MIT OR Apache-2.0

//! The commands: one type for each, with its number, its request, its reply.

mod control;
mod memory;
mod vcpu;
mod vm;

pub use control::*;
pub use memory::*;
pub use vcpu::*;
pub use vm::*;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    error::{Error, Result},
    wire,
};

/// A command: what is sent, and what comes back.
pub trait Command {
    /// Its number on the wire.
    const ID: u16;
    /// Its name, as the protocol spells it without the prefix.
    const NAME: &'static str;
    /// Whether it looks at the guest's memory, or at its page tables: then `EAGAIN` says that a
    /// page is not in the VMM's memory now, and [`Session`](crate::Session) asks again.
    const REACHES_MEMORY: bool = false;
    /// The fixed part of the request, behind the vCPU's index if there is one.
    type Request: IntoBytes + Immutable;
    /// What a successful reply carries.
    type Reply;

    /// The vCPU that is to carry it out; `None` for a command to the VM.
    fn vcpu(&self) -> Option<u16> {
        None
    }

    /// The fixed part of the request.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the arguments do not fit into a message.
    fn request(&self) -> Result<Self::Request>;

    /// The bytes behind the fixed part.
    fn tail(&self) -> &[u8] {
        &[]
    }

    /// Reads a successful reply, the error code not counted.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if the bytes are no such reply.
    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply>;
}

/// The payload of `command`: vCPU index, fixed part, tail.
pub(crate) fn payload<C: Command>(command: &C) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(vcpu) = command.vcpu() {
        let header = wire::kvmi_vcpu_hdr {
            vcpu,
            ..Default::default()
        };
        bytes.extend_from_slice(header.as_bytes());
    }
    bytes.extend_from_slice(command.request()?.as_bytes());
    bytes.extend_from_slice(command.tail());
    Ok(bytes)
}

/// Reads a reply of fixed size. More bytes than known are ignored: replies may
/// grow at their end.
pub(crate) fn fixed<C: Command, T: FromBytes>(bytes: &[u8]) -> Result<T> {
    T::read_from_prefix(bytes)
        .map(|(reply, _)| reply)
        .map_err(|_| short::<C>(bytes.len(), size_of::<T>()))
}

/// The error for a reply of `got` bytes that should have `want`.
pub(crate) fn short<C: Command>(got: usize, want: usize) -> Error {
    Error::Protocol(format!(
        "the reply to {} has {got} bytes instead of {want}",
        C::NAME
    ))
}

/// The numbers and names of all commands that can be asked for.
///
/// 0 and 1 carry events and are not commands.
pub const ALL: &[(u16, &str)] = &[
    (GetVersion::ID, GetVersion::NAME),
    (CheckCommand::ID, CheckCommand::NAME),
    (CheckEvent::ID, CheckEvent::NAME),
    (GetInfo::ID, GetInfo::NAME),
    (ControlVmEvents::ID, ControlVmEvents::NAME),
    (ReadPhysical::ID, ReadPhysical::NAME),
    (WritePhysical::ID, WritePhysical::NAME),
    (PauseVcpu::ID, PauseVcpu::NAME),
    (ControlCleanup::ID, ControlCleanup::NAME),
    (SetPageAccess::ID, SetPageAccess::NAME),
    (GetMaxGfn::ID, GetMaxGfn::NAME),
    (SetOnExit::ID, SetOnExit::NAME),
    (GetVcpuInfo::ID, GetVcpuInfo::NAME),
    (ControlEvents::ID, ControlEvents::NAME),
    (GetRegisters::ID, GetRegisters::NAME),
    (SetRegisters::ID, SetRegisters::NAME),
    (GetCpuid::ID, GetCpuid::NAME),
    (ControlCr::ID, ControlCr::NAME),
    (InjectException::ID, InjectException::NAME),
    (GetXcr::ID, GetXcr::NAME),
    (GetXsave::ID, GetXsave::NAME),
    (SetXsave::ID, SetXsave::NAME),
    (GetMtrrType::ID, GetMtrrType::NAME),
    (ControlMsr::ID, ControlMsr::NAME),
    (ControlSinglestep::ID, ControlSinglestep::NAME),
    (TranslateGva::ID, TranslateGva::NAME),
];
