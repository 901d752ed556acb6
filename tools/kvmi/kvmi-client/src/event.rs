// SPDX-License-Identifier: MIT OR Apache-2.0

//! The events: what the kernel reports, and what may be answered.

use zerocopy::{FromBytes, IntoBytes};

use crate::{
    error::{Error, Result},
    message::Message,
    wire,
};

/// Something that the kernel reports.
#[derive(Clone, Debug)]
pub enum Event {
    /// The VMM asks the tool to detach. Not answered.
    Unhook,
    /// Another event of the VM, from a kernel newer than this crate. Not
    /// answered.
    Vm(u16),
    /// A vCPU waits for an answer.
    Vcpu(Box<VcpuEvent>),
}

/// A vCPU's event. The vCPU waits until it is answered.
#[derive(Clone, Debug)]
pub struct VcpuEvent {
    /// Sequence number, which the answer repeats.
    pub seq: u32,
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Its registers.
    pub arch: wire::kvmi_vcpu_event_arch,
    /// What happened.
    pub kind: Kind,
}

/// What may be answered to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on; writes to registers take the guest's own value.
    Continue,
    /// Go on, but write this value instead of the guest's (CR, MSR).
    ContinueWith(u64),
    /// Run the instruction again.
    Retry,
    /// Stop the VM: its VMM sees a shutdown.
    Crash,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(($data:ident))? = $id:ident, $text:literal;)*) => {
        /// What happened on a vCPU, with the event's own data.
        #[derive(Clone, Debug)]
        pub enum Kind {
            $($(#[$doc])* $name $((wire::$data))?,)*
            /// An event from a kernel newer than this crate.
            Unknown {
                /// Its number.
                id: u16,
                /// Its data.
                data: Vec<u8>,
            },
        }

        impl Kind {
            /// The event's number.
            pub fn id(&self) -> u16 {
                match self {
                    $(Kind::$name { .. } => wire::$id as u16,)*
                    Kind::Unknown { id, .. } => *id,
                }
            }

            fn parse(id: u16, data: &[u8]) -> Result<Self> {
                match u32::from(id) {
                    $(wire::$id => Ok(kinds!(@new $name, data, $text $(, $data)?)),)*
                    _ => Ok(Kind::Unknown { id, data: data.to_vec() }),
                }
            }
        }

        /// The numbers and names of all events.
        pub const ALL: &[(u16, &str)] = &[
            (wire::KVMI_VM_EVENT_UNHOOK as u16, "UNHOOK"),
            $((wire::$id as u16, $text),)*
        ];
    };
    (@new $name:ident, $bytes:ident, $text:literal) => {
        Kind::$name
    };
    (@new $name:ident, $bytes:ident, $text:literal, $data:ident) => {
        Kind::$name(
            wire::$data::read_from_prefix($bytes)
                .map(|(data, _)| data)
                .map_err(|_| short($text, $bytes.len()))?,
        )
    };
}

kinds! {
    /// The vCPU has stopped, as asked.
    Pause = KVMI_VCPU_EVENT_PAUSE, "PAUSE";
    /// The guest calls the tool.
    Hypercall = KVMI_VCPU_EVENT_HYPERCALL, "HYPERCALL";
    /// The guest runs into INT3.
    Breakpoint(kvmi_vcpu_event_breakpoint) = KVMI_VCPU_EVENT_BREAKPOINT, "BREAKPOINT";
    /// The guest writes a control register.
    Cr(kvmi_vcpu_event_cr) = KVMI_VCPU_EVENT_CR, "CR";
    /// An exception was injected.
    Trap(kvmi_vcpu_event_trap) = KVMI_VCPU_EVENT_TRAP, "TRAP";
    /// The guest writes an extended control register.
    Xsetbv(kvmi_vcpu_event_xsetbv) = KVMI_VCPU_EVENT_XSETBV, "XSETBV";
    /// The guest reads or writes a descriptor table register.
    Descriptor(kvmi_vcpu_event_descriptor) = KVMI_VCPU_EVENT_DESCRIPTOR, "DESCRIPTOR";
    /// The guest writes an MSR.
    Msr(kvmi_vcpu_event_msr) = KVMI_VCPU_EVENT_MSR, "MSR";
    /// The guest touches a restricted page.
    Pf(kvmi_vcpu_event_pf) = KVMI_VCPU_EVENT_PF, "PF";
    /// One instruction has run.
    Singlestep(kvmi_vcpu_event_singlestep) = KVMI_VCPU_EVENT_SINGLESTEP, "SINGLESTEP";
    /// The guest runs CPUID.
    Cpuid(kvmi_vcpu_event_cpuid) = KVMI_VCPU_EVENT_CPUID, "CPUID";
}

/// Where the data of a vCPU's event starts, and the smallest such event.
const VCPU_EVENT: usize = size_of::<wire::kvmi_event_hdr>() + size_of::<wire::kvmi_vcpu_event>();

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if it is shorter than its kind demands.
    pub fn parse(message: &Message) -> Result<Event> {
        let bytes = message.payload.as_slice();
        let (header, rest) =
            wire::kvmi_event_hdr::read_from_prefix(bytes).map_err(|_| short("VM", bytes.len()))?;
        if u32::from(message.id) == wire::KVMI_VM_EVENT {
            return Ok(match u32::from(header.event) {
                wire::KVMI_VM_EVENT_UNHOOK => Event::Unhook,
                _ => Event::Vm(header.event),
            });
        }
        let (common, _) = wire::kvmi_vcpu_event::read_from_prefix(rest)
            .map_err(|_| short("vCPU", bytes.len()))?;
        // The common part may grow: its own size says where the data starts.
        let data = Some(usize::from(common.size))
            .filter(|&size| size >= VCPU_EVENT - size_of::<wire::kvmi_event_hdr>())
            .and_then(|size| rest.get(size..))
            .ok_or_else(|| short("vCPU", bytes.len()))?;
        Ok(Event::Vcpu(Box::new(VcpuEvent {
            seq: message.seq,
            vcpu: common.vcpu,
            arch: common.arch,
            kind: Kind::parse(header.event, data)?,
        })))
    }
}

impl VcpuEvent {
    /// The payload that answers this event.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the event does not allow the answer; the kernel
    /// would close the connection.
    pub fn answer(&self, answer: Answer) -> Result<Vec<u8>> {
        let own = match &self.kind {
            Kind::Cr(data) => Some(data.new_value),
            Kind::Msr(data) => Some(data.new_value),
            _ => None,
        };
        let (action, value) = match answer {
            Answer::Continue => (wire::KVMI_EVENT_ACTION_CONTINUE, own),
            Answer::ContinueWith(value) if own.is_some() => {
                (wire::KVMI_EVENT_ACTION_CONTINUE, Some(value))
            }
            Answer::ContinueWith(_) => return Err(Error::Usage("this event takes no value")),
            Answer::Retry if self.may_retry() => (wire::KVMI_EVENT_ACTION_RETRY, None),
            Answer::Retry => return Err(Error::Usage("this event does not allow RETRY")),
            Answer::Crash => (wire::KVMI_EVENT_ACTION_CRASH, own),
        };
        let vcpu = wire::kvmi_vcpu_hdr {
            vcpu: self.vcpu,
            ..Default::default()
        };
        let head = wire::kvmi_vcpu_event_reply {
            // Actions and the numbers of events fit into a byte.
            action: action as u8,
            event: u8::try_from(self.kind.id())
                .map_err(|_| Error::Usage("this event cannot be answered"))?,
            ..Default::default()
        };
        let mut bytes = [vcpu.as_bytes(), head.as_bytes()].concat();
        bytes.extend(value.into_iter().flat_map(u64::to_ne_bytes));
        Ok(bytes)
    }

    fn may_retry(&self) -> bool {
        matches!(
            self.kind,
            Kind::Breakpoint(_) | Kind::Descriptor(_) | Kind::Pf(_)
        )
    }
}

fn short(what: &str, got: usize) -> Error {
    Error::Protocol(format!("a {what} event of {got} bytes is too short"))
}
