// SPDX-License-Identifier: GPL-2.0

//! What a vCPU is to report.

use std::{fmt, os::unix::net::UnixStream};

use kvmi_client::{
    Session,
    command::{ControlCr, ControlEvents, ControlMsr},
    wire,
};

use crate::{cli::Trace, event, msr};

/// Something that a vCPU is to report.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Writes to a control register.
    Cr(u8),
    /// Writes to an MSR.
    Msr(u32),
    /// An event.
    Event(u16),
}

impl Wish {
    /// All that the user wants to see.
    pub fn all(args: &Trace) -> Vec<Self> {
        let events = [
            (!args.cr.is_empty(), wire::KVMI_VCPU_EVENT_CR),
            (!args.msr.is_empty(), wire::KVMI_VCPU_EVENT_MSR),
            (args.cpuid, wire::KVMI_VCPU_EVENT_CPUID),
            (args.hypercall, wire::KVMI_VCPU_EVENT_HYPERCALL),
            (args.breakpoint, wire::KVMI_VCPU_EVENT_BREAKPOINT),
            (args.descriptor, wire::KVMI_VCPU_EVENT_DESCRIPTOR),
            (args.xsetbv, wire::KVMI_VCPU_EVENT_XSETBV),
        ];
        let registers = args.cr.iter().map(|&cr| Wish::Cr(cr));
        let msrs = args.msr.iter().map(|&msr| Wish::Msr(msr));
        // Numbers of events fit.
        let events = events
            .into_iter()
            .filter_map(|(wanted, event)| wanted.then_some(Wish::Event(event as u16)));
        registers.chain(msrs).chain(events).collect()
    }

    /// Turns it on or off.
    pub fn set(
        self,
        session: &mut Session<UnixStream>,
        vcpu: u16,
        enable: bool,
    ) -> kvmi_client::Result<()> {
        match self {
            Wish::Cr(cr) => session.call(ControlCr { vcpu, cr, enable }),
            Wish::Msr(msr) => session.call(ControlMsr { vcpu, msr, enable }),
            Wish::Event(event) => session.call(ControlEvents {
                vcpu,
                event,
                enable,
            }),
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Wish::Cr(cr) => write!(f, "writes to CR{cr}"),
            Wish::Msr(number) => write!(f, "writes to MSR {}", msr::name(number)),
            Wish::Event(event) => write!(f, "event {}", event::name(event)),
        }
    }
}
