// SPDX-License-Identifier: GPL-2.0

//! What the tool is told: one type per event, and how an event is sent and concluded.

use super::{
    permission::bits,
    session::{Session, Verdict},
    sys::{
        glue::*,
        kvm::{RunningVcpu, VcpuIndex},
    },
    vcpu::{Answer, Vcpu},
    wire,
};
use kernel::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

/// An event of a vCPU.
pub(crate) trait Event {
    /// Its id.
    const ID: u8;
    /// May the tool answer RETRY?
    const RETRY: bool;
}

/// A vCPU stopped because the tool asked for it.
pub(crate) struct Pause;

impl Event for Pause {
    const ID: u8 = KVMI_VCPU_EVENT_PAUSE as u8;
    const RETRY: bool = false;
}

/// Events of the VM that this build has.
pub(crate) const VM_EVENTS: u64 = bits(&[KVMI_VM_EVENT_UNHOOK as u16]);
/// Events of a vCPU that this build has.
pub(crate) const VCPU_EVENTS: u64 = bits(&[KVMI_VCPU_EVENT_PAUSE as u16]);

/// Is this the id of an event?
pub(crate) fn is_known(id: u16) -> bool {
    is_vm_event(id) || is_vcpu_event(id)
}

pub(crate) fn is_vm_event(id: u16) -> bool {
    bits(&[id]) & VM_EVENTS != 0
}

pub(crate) fn is_vcpu_event(id: u16) -> bool {
    bits(&[id]) & VCPU_EVENTS != 0
}

/// The state of a vCPU, as every event carries it.
fn common(here: &RunningVcpu<'_>, index: VcpuIndex) -> kvmi_vcpu_event {
    let mut event = kvmi_vcpu_event::new_zeroed();

    event.size = core::mem::size_of::<kvmi_vcpu_event>() as u16;
    event.vcpu = index.0;
    event.arch.mode = here.mode();
    event.arch.regs = here.regs();
    event.arch.sregs = here.sregs();
    event.arch.msrs = here.event_msrs();
    event
}

/// Sends an event; its answer is awaited in the vCPU's loop.
///
/// If it cannot be sent the session is over, and nothing is in flight.
pub(crate) fn raise<E: Event>(session: &Session, me: &Vcpu, here: &RunningVcpu<'_>) {
    let header = event_header(E::ID.into());
    let seq = session.next_seq();

    // The answer may come before the send returns.
    me.take_off(E::ID, seq);
    session.vm.trace_event(me.index.0.into(), E::ID.into(), seq);

    // On the heap: the structure is too large for the stack of a hook site.
    let sent = KBox::new(common(here, me.index), GFP_KERNEL_ACCOUNT)
        .map_err(Error::from)
        .and_then(|event| {
            wire::message(
                KVMI_VCPU_EVENT as u16,
                seq,
                &[header.as_bytes(), event.as_bytes()],
            )
        });
    if session.send(sent).is_err() {
        me.land();
    }
}

fn event_header(event: u16) -> kvmi_event_hdr {
    kvmi_event_hdr {
        event,
        padding: [0; 3],
    }
}

/// Tells the tool to leave.  `ENOENT`: it did not ask to be told, or it is gone; `EBUSY`: it reads
/// nothing, and was told often enough.
pub(crate) fn unhook(session: &Session) -> Result {
    let id = KVMI_VM_EVENT_UNHOOK as u16;

    if session.is_dead() || !session.vm_events.contains(id) {
        return Err(ENOENT);
    }
    if session.channel.is_full() {
        return Err(EBUSY);
    }
    let seq = session.next_seq();

    session.vm.trace_event(u32::MAX, id, seq);
    session
        .send(wire::message(
            KVMI_VM_EVENT as u16,
            seq,
            &[event_header(id).as_bytes()],
        ))
        .map_err(|_| ENOENT)
}

/// Carries an answer out: first the registers, then the action.  An action that the event does not
/// allow ends the session.
pub(crate) fn conclude<E: Event>(
    session: &Session,
    answer: &Answer,
    here: &RunningVcpu<'_>,
) -> Verdict {
    if let Some(registers) = &answer.registers {
        here.set_regs(registers);
    }

    match u32::from(answer.action) {
        KVMI_EVENT_ACTION_CONTINUE => Verdict::Continue,
        KVMI_EVENT_ACTION_CRASH => Verdict::Crash,
        KVMI_EVENT_ACTION_RETRY if E::RETRY => Verdict::Continue,
        _ => {
            session.die();
            Verdict::Continue
        }
    }
}
