// SPDX-License-Identifier: GPL-2.0

//! What the tool may ask: one type per command, and the table that everything else comes from.

mod vcpu;
mod vm;
#[path = "../../../../arch/x86/kvm/introspection/command.rs"]
mod x86;

use super::{
    event,
    permission::{bits, IdSet},
    session::Session,
    sys::{
        glue::*,
        kvm::{RunningVcpu, VcpuIndex},
    },
    vcpu::{Reply, Vcpu},
    wire::{self, Code, Failure, Message, Payload, Request},
};
use kernel::{prelude::*, sync::Arc};

/// What comes of a command: the payload of its reply, or why there is none.
pub(crate) type Outcome = Result<Payload, Failure>;

/// A command of the VM: run by whoever read it.
pub(crate) trait VmCommand {
    /// Its id, even.
    const ID: u16;
    /// What it asks.
    type Request: Request;

    fn run(call: &Call<'_, Self::Request>) -> Outcome;
}

/// A command of a vCPU: run by its own thread.
pub(crate) trait VcpuCommand {
    /// Its id, odd.
    const ID: u16;
    /// What it asks, behind the header that names the vCPU.
    type Request: Request;

    fn run(call: &Call<'_, Self::Request>, me: &Vcpu, here: &RunningVcpu<'_>) -> Outcome;
}

/// One command as it was sent.
pub(crate) struct Call<'a, R> {
    session: &'a Session,
    request: R,
    /// How many bytes came, the header that names a vCPU apart.
    size: usize,
    /// What lies behind the request.
    rest: &'a [u8],
}

impl<'a, R: Request> Call<'a, R> {
    fn new(session: &'a Session, body: &'a [u8]) -> Self {
        let (request, rest) = wire::request::<R>(body);

        Self {
            session,
            request,
            size: body.len(),
            rest,
        }
    }

    /// Padding that is not zero is `EINVAL`.
    fn check_padding(&self) -> Result<(), Code> {
        if self.request.padding_is_zero() {
            Ok(())
        } else {
            Err(Code::EINVAL)
        }
    }
}

/// Enables or disables an event in `set`.  `EINVAL`: flag, not an event of the kind; `EPERM`:
/// disallowed.
fn switch(session: &Session, set: &IdSet, known: bool, id: u16, enable: u8) -> Outcome {
    let enable = wire::flag(enable)?;

    if !known {
        return Err(Code::EINVAL.into());
    }
    if !session.events.contains(id) {
        return Err(Code::EPERM.into());
    }
    set.set(id, enable);
    Ok(Payload::new())
}

type VmEntry = fn(&Session, &[u8]) -> Outcome;
type VcpuEntry = fn(&Session, &[u8], &Vcpu, &RunningVcpu<'_>) -> Outcome;

enum Entry {
    Vm(VmEntry),
    Vcpu(VcpuEntry),
}

fn run_vm<C: VmCommand>(session: &Session, body: &[u8]) -> Outcome {
    C::run(&Call::new(session, body))
}

fn run_vcpu<C: VcpuCommand>(
    session: &Session,
    body: &[u8],
    me: &Vcpu,
    here: &RunningVcpu<'_>,
) -> Outcome {
    C::run(&Call::new(session, body), me, here)
}

macro_rules! commands {
    (vm { $($vm:ty),* $(,)? } vcpu { $($vcpu:ty),* $(,)? }) => {
        /// The commands that this build has.
        static TABLE: &[(u16, Entry)] = &[
            $((<$vm as VmCommand>::ID, Entry::Vm(run_vm::<$vm>)),)*
            $((<$vcpu as VcpuCommand>::ID, Entry::Vcpu(run_vcpu::<$vcpu>)),)*
        ];

        /// Their ids.
        pub(crate) const KNOWN: u64 = bits(&[
            $(<$vm as VmCommand>::ID,)*
            $(<$vcpu as VcpuCommand>::ID,)*
        ]);
    };
}

commands! {
    vm {
        vm::GetVersion,
        vm::CheckCommand,
        vm::CheckEvent,
        vm::GetInfo,
        vm::ControlEvents,
        vm::ReadPhysical,
        vm::WritePhysical,
        vm::PauseVcpu,
        vm::ControlCleanup,
        vm::SetPageAccess,
        vm::GetMaxGfn,
        vm::SetOnExit,
    }
    vcpu {
        vcpu::GetInfo,
        vcpu::ControlEvents,
        vcpu::GetRegisters,
        vcpu::SetRegisters,
        vcpu::GetCpuid,
        vcpu::GetXcr,
        vcpu::TranslateGva,
        x86::ControlCr,
        x86::InjectException,
        x86::GetXsave,
        x86::SetXsave,
        x86::GetMtrrType,
        x86::ControlMsr,
        x86::ControlSinglestep,
    }
}

/// What no device manager can take away.
pub(crate) const ALWAYS_ALLOWED: u64 = bits(&[
    <vm::GetVersion as VmCommand>::ID,
    <vm::CheckCommand as VmCommand>::ID,
    <vm::CheckEvent as VmCommand>::ID,
]);

/// Is this the id of a command?
pub(crate) fn is_known(id: u16) -> bool {
    bits(&[id]) & KNOWN != 0
}

fn find(id: u16) -> Option<&'static Entry> {
    TABLE
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, entry)| entry)
}

/// How a message was dealt with.
pub(crate) enum Done {
    /// Answer with this.
    Reply(Payload),
    /// It wants no answer.
    Silent,
    /// It is for this vCPU.
    ForVcpu(Arc<Vcpu>),
}

/// The vCPU that a message names, by the header at the head of its body.
fn addressed(session: &Session, body: &[u8]) -> Result<Arc<Vcpu>, Code> {
    let (header, _) = wire::request::<kvmi_vcpu_hdr>(body);

    if body.len() < core::mem::size_of::<kvmi_vcpu_hdr>() || !header.padding_is_zero() {
        return Err(Code::EINVAL);
    }
    if u32::from(header.vcpu) >= session.vm.vcpu_count() {
        return Err(Code::EINVAL);
    }
    session.vcpu(VcpuIndex(header.vcpu)).ok_or(Code::EAGAIN)
}

/// Deals with a message: unknown, disallowed, of the VM, or of a vCPU.
pub(crate) fn dispatch(session: &Session, message: &Message) -> Result<Done, Failure> {
    let id = message.header.id;

    if u32::from(id) == KVMI_VCPU_EVENT {
        return event_reply(session, message);
    }

    let entry = find(id).ok_or(Code::ENOSYS)?;
    if !session.commands.contains(id) {
        return Err(Code::EPERM.into());
    }
    match entry {
        // With a dirty ring alone only a vCPU can log what is written.
        Entry::Vm(_)
            if id == <vm::WritePhysical as VmCommand>::ID && session.vm.needs_vcpu_to_write() =>
        {
            let vcpu = session.vcpu(VcpuIndex(0)).ok_or(Code::EAGAIN)?;

            Ok(Done::ForVcpu(vcpu))
        }
        Entry::Vm(run) => run(session, &message.body).map(Done::Reply),
        Entry::Vcpu(_) => addressed(session, &message.body)
            .map(Done::ForVcpu)
            .map_err(Into::into),
    }
}

/// The answer to an event.  What is wrong with it ends the session; what is wrong with the header
/// that names the vCPU is answered, as for a command.
fn event_reply(session: &Session, message: &Message) -> Result<Done, Failure> {
    let body = message
        .body
        .get(core::mem::size_of::<kvmi_vcpu_hdr>()..)
        .ok_or(Failure::Protocol)?;
    let vcpu = addressed(session, &message.body)?;
    let (reply, specific) = wire::request::<kvmi_vcpu_event_reply>(body);
    let size = event::reply_size(reply.event)
        .map(|specific| core::mem::size_of::<kvmi_vcpu_event_reply>().saturating_add(specific));

    if Some(body.len()) != size || !reply.padding_is_zero() {
        return Err(Failure::Protocol);
    }
    session.vm.trace_event_reply(
        vcpu.index.0.into(),
        reply.event,
        message.header.seq,
        reply.action,
    );
    // A value is all that any event has in its reply.
    let (value, _) = wire::request::<kvmi_vcpu_event_cr_reply>(specific);
    let reply = Reply {
        event: reply.event,
        action: reply.action,
        value: value.new_val,
    };

    vcpu.deliver(message.header.seq, reply)
        .map_err(|_| Failure::Protocol)?;
    Ok(Done::Silent)
}

/// Runs a queued command on its vCPU.
pub(crate) fn run_on_vcpu(
    session: &Session,
    message: &Message,
    me: &Vcpu,
    here: &RunningVcpu<'_>,
) -> Outcome {
    match find(message.header.id).ok_or(Code::ENOSYS)? {
        Entry::Vcpu(run) => {
            let body = message
                .body
                .get(core::mem::size_of::<kvmi_vcpu_hdr>()..)
                .unwrap_or(&[]);

            run(session, body, me, here)
        }
        // A write that came here to be logged.
        Entry::Vm(run) => run(session, &message.body),
    }
}
