// SPDX-License-Identifier: GPL-2.0

//! Events of x86, `Documentation/virt/kvm/kvmi.rst`.

use super::{ask, Doing, Event, Said};
use crate::{
    session::Session,
    sys::{glue::*, kvm::RunningVcpu},
    vcpu::Vcpu,
};
use zerocopy::FromZeros;

macro_rules! event {
    ($(#[$doc:meta])* $name:ident, $id:ident, $specific:ty, $reply:ty) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl Event for $name {
            const ID: u8 = $id as u8;
            type Specific = $specific;
            type Reply = $reply;
        }
    };
    ($(#[$doc:meta])* $name:ident, $id:ident, $specific:ty, $reply:ty, retry: $retry:literal) => {
        event! { $(#[$doc])* $name, $id, $specific, $reply }

        impl Doing for $name {
            const RETRY: bool = $retry;
        }
    };
}

event! {
    /// The guest speaks to the tool.
    Hypercall, KVMI_VCPU_EVENT_HYPERCALL, (), (), retry: false
}
event! {
    /// INT3.
    Breakpoint, KVMI_VCPU_EVENT_BREAKPOINT, kvmi_vcpu_event_breakpoint, (), retry: true
}
event! {
    /// A write to CR0, CR3 or CR4.
    Cr, KVMI_VCPU_EVENT_CR, kvmi_vcpu_event_cr, kvmi_vcpu_event_cr_reply, retry: false
}
event! {
    /// What was injected.
    Trap, KVMI_VCPU_EVENT_TRAP, kvmi_vcpu_event_trap, ()
}
event! {
    /// A write to XCR0.
    Xsetbv, KVMI_VCPU_EVENT_XSETBV, kvmi_vcpu_event_xsetbv, (), retry: false
}
event! {
    /// An access to a descriptor-table register.
    Descriptor, KVMI_VCPU_EVENT_DESCRIPTOR, kvmi_vcpu_event_descriptor, (), retry: true
}
event! {
    /// A write to an MSR.
    Msr, KVMI_VCPU_EVENT_MSR, kvmi_vcpu_event_msr, kvmi_vcpu_event_msr_reply, retry: false
}
event! {
    /// CPUID.
    Cpuid, KVMI_VCPU_EVENT_CPUID, kvmi_vcpu_event_cpuid, (), retry: false
}

event! {
    /// An access that the tool took from a page.
    Pf, KVMI_VCPU_EVENT_PF, kvmi_vcpu_event_pf, (), retry: true
}
event! {
    /// An instruction was executed.
    Singlestep, KVMI_VCPU_EVENT_SINGLESTEP, kvmi_vcpu_event_singlestep, ()
}

/// The events that are enabled with VCPU_CONTROL_EVENTS and need something of KVM.
pub(crate) fn needs_kvm(event: u16) -> bool {
    [
        Hypercall::ID,
        Breakpoint::ID,
        Cr::ID,
        Xsetbv::ID,
        Descriptor::ID,
        Msr::ID,
        Cpuid::ID,
        Pf::ID,
    ]
    .iter()
    .any(|id| u16::from(*id) == event)
}

/// The vCPU, its session, and where we are: what every event needs.
pub(crate) struct Site<'a> {
    pub(crate) session: &'a Session,
    pub(crate) me: &'a Vcpu,
    pub(crate) here: &'a RunningVcpu<'a>,
}

impl Site<'_> {
    fn ask<E: Doing>(&self, specific: &E::Specific) -> Said {
        ask::<E>(self.session, self.me, self.here, specific)
    }

    pub(crate) fn hypercall(&self) -> Said {
        self.ask::<Hypercall>(&())
    }

    pub(crate) fn breakpoint(&self, insn_len: u8) -> Said {
        let mut event = kvmi_vcpu_event_breakpoint::new_zeroed();

        event.gpa = self
            .here
            .translate(self.here.linear_rip())
            .unwrap_or(u64::MAX);
        event.insn_len = insn_len;
        self.ask::<Breakpoint>(&event)
    }

    pub(crate) fn cr(&self, cr: u8, old_value: u64, new_value: u64) -> Said {
        let mut event = kvmi_vcpu_event_cr::new_zeroed();

        event.cr = cr;
        event.old_value = old_value;
        event.new_value = new_value;
        self.ask::<Cr>(&event)
    }

    pub(crate) fn xsetbv(&self, old_value: u64, new_value: u64) -> Said {
        let mut event = kvmi_vcpu_event_xsetbv::new_zeroed();

        event.old_value = old_value;
        event.new_value = new_value;
        self.ask::<Xsetbv>(&event)
    }

    pub(crate) fn descriptor(&self, descriptor: u8, write: bool) -> Said {
        let mut event = kvmi_vcpu_event_descriptor::new_zeroed();

        event.descriptor = descriptor;
        event.write = write.into();
        self.ask::<Descriptor>(&event)
    }

    pub(crate) fn msr(&self, msr: u32, old_value: u64, new_value: u64) -> Said {
        let mut event = kvmi_vcpu_event_msr::new_zeroed();

        event.msr = msr;
        event.old_value = old_value;
        event.new_value = new_value;
        self.ask::<Msr>(&event)
    }

    pub(crate) fn pf(&self, gva: u64, gpa: u64, access: u8) -> Said {
        let mut event = kvmi_vcpu_event_pf::new_zeroed();

        event.gva = gva;
        event.gpa = gpa;
        event.access = access;
        self.ask::<Pf>(&event)
    }

    pub(crate) fn cpuid(&self, function: u32, index: u32, insn_len: u8) -> Said {
        let mut event = kvmi_vcpu_event_cpuid::new_zeroed();

        event.function = function;
        event.index = index;
        event.insn_len = insn_len;
        self.ask::<Cpuid>(&event)
    }
}

/// What the tool is told of an injection; `address` is CR2 as it is.
pub(crate) fn trap(done: &kvmi_injection, here: &RunningVcpu<'_>) -> kvmi_vcpu_event_trap {
    let mut event = kvmi_vcpu_event_trap::new_zeroed();

    event.nr = done.nr;
    event.error_code = done.error_code;
    event.address = here.sregs().cr2;
    event
}

/// What the tool is told of a page table that an instruction wrote while it was walked.
pub(crate) fn written(gpa: u64) -> kvmi_vcpu_event_pf {
    let mut event = kvmi_vcpu_event_pf::new_zeroed();

    event.gva = u64::MAX;
    event.gpa = gpa;
    event.access = KVMI_PAGE_ACCESS_W as u8;
    event
}

/// What the tool is told of a step: that it did not fail, for none does.
pub(crate) fn singlestep() -> kvmi_vcpu_event_singlestep {
    kvmi_vcpu_event_singlestep::new_zeroed()
}
