// SPDX-License-Identifier: GPL-2.0

//! What is spoken: messages, and the only place that sees their bytes.
//!
//! The structures are those of the UAPI headers, `Documentation/virt/kvm/kvmi.rst`.

use super::sys::glue;
use glue::*;
use kernel::{alloc::AllocError, prelude::*};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of a header.
pub(crate) const HEADER: usize = core::mem::size_of::<kvmi_msg_hdr>();
/// Bytes of a payload, at the most.
pub(crate) const MAX_PAYLOAD: usize = KVMI_MAX_MSG_SIZE as usize;
/// Bytes of a message, at the most.
pub(crate) const MAX_MESSAGE: usize = HEADER + MAX_PAYLOAD;

const _: () = {
    assert!(core::mem::size_of::<kvmi_vcpu_event>() == 544);
    assert!(core::mem::size_of::<kvmi_vcpu_event_arch>() == 536);
    assert!(core::mem::size_of::<kvmi_vcpu_get_registers_reply>() == 472);
    assert!(core::mem::size_of::<kvmi_get_version_reply>() == 16);
    assert!(MAX_MESSAGE == 8192);
};

/// Why a command is refused; the reply carries it.  Values as in `kvm_para.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(i32);

impl Code {
    pub(crate) const EPERM: Self = Self(-(KVMI_EPERM as i32));
    pub(crate) const ENOENT: Self = Self(-(KVMI_ENOENT as i32));
    pub(crate) const EAGAIN: Self = Self(-(KVMI_EAGAIN as i32));
    pub(crate) const ENOMEM: Self = Self(-(KVMI_ENOMEM as i32));
    pub(crate) const EBUSY: Self = Self(-(KVMI_EBUSY as i32));
    pub(crate) const EINVAL: Self = Self(-(KVMI_EINVAL as i32));
    pub(crate) const EOPNOTSUPP: Self = Self(-(KVMI_EOPNOTSUPP as i32));
    pub(crate) const ENOSYS: Self = Self(-(KVMI_ENOSYS as i32));

    /// What an error of ours is to the tool.
    pub(crate) fn from_errno(error: Error) -> Self {
        match error {
            e if e == EPERM => Self::EPERM,
            e if e == ENOENT => Self::ENOENT,
            e if e == EAGAIN => Self::EAGAIN,
            e if e == ENOMEM => Self::ENOMEM,
            e if e == EBUSY => Self::EBUSY,
            e if e == EOPNOTSUPP => Self::EOPNOTSUPP,
            _ => Self::EINVAL,
        }
    }

    pub(crate) fn value(self) -> i32 {
        self.0
    }
}

/// How a command can end without its reply.
pub(crate) enum Failure {
    /// An error reply.
    Refused(Code),
    /// The tool broke the protocol: the connection closes.
    Protocol,
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Refused(code)
    }
}

impl From<AllocError> for Failure {
    fn from(_: AllocError) -> Self {
        Self::Refused(Code::ENOMEM)
    }
}

/// Bytes of a reply in front of what the command adds.
const REPLY_HEAD: usize = HEADER + core::mem::size_of::<kvmi_error_code>();

/// The body of a successful reply, in the buffer that is sent: room for what stands in front of it
/// comes with the first byte.
pub(crate) struct Payload(KVec<u8>);

impl Payload {
    /// An empty body.
    pub(crate) fn new() -> Self {
        Self(KVec::new())
    }

    /// An empty body with room for `len` bytes.
    pub(crate) fn with_capacity(len: usize) -> Result<Self, AllocError> {
        let mut bytes = KVec::with_capacity(REPLY_HEAD.saturating_add(len), GFP_KERNEL_ACCOUNT)?;

        bytes.extend_from_slice(&[0; REPLY_HEAD], GFP_KERNEL_ACCOUNT)?;
        Ok(Self(bytes))
    }

    /// Adds bytes.
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), AllocError> {
        if self.0.is_empty() {
            *self = Self::with_capacity(bytes.len())?;
        }
        self.0.extend_from_slice(bytes, GFP_KERNEL_ACCOUNT)
    }

    /// Has `fill` append to it.
    pub(crate) fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut KVec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        fill(&mut self.0)
    }

    /// What was added.
    pub(crate) fn body_mut(&mut self) -> &mut [u8] {
        self.0.get_mut(REPLY_HEAD..).unwrap_or(&mut [])
    }
}

/// A structure that can be sent and received: its padding can be tested.
pub(crate) trait Request: FromBytes + IntoBytes + Immutable {
    /// Is every byte of padding zero?
    fn padding_is_zero(&self) -> bool;
}

macro_rules! request {
    ($($type:ty { $($field:ident),* })*) => {
        $(impl Request for $type {
            fn padding_is_zero(&self) -> bool {
                true $(&& self.$field.as_bytes().iter().all(|byte| *byte == 0))*
            }
        })*
    };
}

request! {
    kvmi_vcpu_hdr { padding1, padding2 }
    kvmi_vm_check_command { padding1, padding2 }
    kvmi_vm_check_event { padding1, padding2 }
    kvmi_vm_control_events { padding1, padding2 }
    kvmi_vm_read_physical { padding1, padding2 }
    kvmi_vm_write_physical { padding1, padding2 }
    kvmi_vm_pause_vcpu { padding1, padding2 }
    kvmi_vm_control_cleanup { padding }
    kvmi_vm_set_on_exit { padding }
    kvmi_vm_set_page_access { padding1, padding2 }
    kvmi_page_access_entry { padding }
    kvmi_vcpu_control_events { padding1, padding2 }
    kvmi_vcpu_get_registers { padding1, padding2 }
    kvmi_vcpu_get_cpuid {}
    kvmi_vcpu_get_xcr { padding }
    kvmi_vcpu_translate_gva {}
    kvmi_vcpu_event_reply { padding1, padding2 }
    kvmi_vcpu_event_cr_reply {}
    kvmi_vcpu_control_cr { padding1, padding2 }
    kvmi_vcpu_inject_exception { padding1, padding2 }
    kvmi_vcpu_get_mtrr_type {}
    kvmi_vcpu_control_msr { padding1, padding2 }
    kvmi_vcpu_control_singlestep { padding }
    kvm_regs {}
    () {}
}

/// One message from the tool.
pub(crate) struct Message {
    pub(crate) header: kvmi_msg_hdr,
    pub(crate) body: KVec<u8>,
}

/// What the head of the input is.
pub(crate) enum Parsed {
    /// A message, and how many bytes it took.
    Message(Message, usize),
    /// Not all of it is here.
    Incomplete,
}

/// The header at the head of `bytes`, how long a payload it announces, and what is behind it.
fn announced(bytes: &[u8]) -> Option<(kvmi_msg_hdr, usize, &[u8])> {
    let (header, rest) = kvmi_msg_hdr::read_from_prefix(bytes).ok()?;

    Some((header, usize::from(header.size), rest))
}

/// Is there something at the head of `bytes` to be dealt with: a message, or what can be none?
pub(crate) fn is_ready(bytes: &[u8]) -> bool {
    announced(bytes).is_some_and(|(_, size, rest)| size > MAX_PAYLOAD || size <= rest.len())
}

/// Reads the message at the head of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Failure> {
    let Some((header, size, rest)) = announced(bytes) else {
        return Ok(Parsed::Incomplete);
    };

    if size > MAX_PAYLOAD {
        return Err(Failure::Protocol);
    }
    let Some(payload) = rest.get(..size) else {
        return Ok(Parsed::Incomplete);
    };

    let mut body = KVec::new();
    body.extend_from_slice(payload, GFP_KERNEL_ACCOUNT)?;
    Ok(Parsed::Message(Message { header, body }, HEADER + size))
}

/// A request at the head of a payload: a shorter one is extended with zeros.  What lies behind it
/// is returned too.
pub(crate) fn request<T: Request>(payload: &[u8]) -> (T, &[u8]) {
    let mut request = T::new_zeroed();
    let bytes = request.as_mut_bytes();
    let (head, rest) = payload
        .split_at_checked(bytes.len())
        .unwrap_or((payload, &[]));

    for (to, from) in bytes.iter_mut().zip(head) {
        *to = *from;
    }
    (request, rest)
}

/// Makes a reply's body of one structure.
pub(crate) fn payload<T: IntoBytes + Immutable>(reply: &T) -> Result<Payload, Failure> {
    let mut payload = Payload::with_capacity(reply.as_bytes().len())?;

    payload.extend_from_slice(reply.as_bytes())?;
    Ok(payload)
}

/// A flag of the wire: 0 or 1.
pub(crate) fn flag(value: u8) -> Result<bool, Code> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Code::EINVAL),
    }
}

/// Puts a message together of the parts of its payload.
pub(crate) fn message(id: u16, seq: u32, parts: &[&[u8]]) -> Result<KVec<u8>> {
    let size = parts
        .iter()
        .try_fold(0usize, |sum, part| sum.checked_add(part.len()))
        .filter(|size| *size <= MAX_PAYLOAD)
        .ok_or(EMSGSIZE)?;
    let header = kvmi_msg_hdr {
        id,
        size: u16::try_from(size)?,
        seq,
    };
    let mut message = KVec::with_capacity(HEADER + size, GFP_KERNEL_ACCOUNT)?;

    message.extend_from_slice(header.as_bytes(), GFP_KERNEL_ACCOUNT)?;
    for part in parts {
        message.extend_from_slice(part, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(message)
}

/// The reply to a command: an error code, and what follows it on success.
pub(crate) fn reply(
    to: &kvmi_msg_hdr,
    answer: core::result::Result<Payload, Code>,
) -> Result<KVec<u8>> {
    let (err, mut message) = match answer {
        Ok(Payload(message)) => (0, message),
        Err(code) => (code.value(), KVec::new()),
    };

    if message.is_empty() {
        message.extend_from_slice(&[0; REPLY_HEAD], GFP_KERNEL_ACCOUNT)?;
    }

    let size = message
        .len()
        .checked_sub(HEADER)
        .filter(|size| *size <= MAX_PAYLOAD)
        .ok_or(EMSGSIZE)?;
    let header = kvmi_msg_hdr {
        id: to.id,
        size: u16::try_from(size)?,
        seq: to.seq,
    };
    let (head, rest) = message.split_at_mut_checked(HEADER).ok_or(EMSGSIZE)?;

    header.write_to(head).map_err(|_| EMSGSIZE)?;
    kvmi_error_code { err, padding: 0 }
        .write_to_prefix(rest)
        .map_err(|_| EMSGSIZE)?;
    Ok(message)
}
