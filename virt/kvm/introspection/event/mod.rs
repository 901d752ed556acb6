// SPDX-License-Identifier: GPL-2.0

//! What the tool is told: one type per event, and how an event is sent and concluded.

#[path = "../../../../arch/x86/kvm/introspection/event.rs"]
pub(crate) mod x86;

use super::{
    permission::bits,
    run::{Verdict, Wait},
    session::Session,
    sys::{
        glue::*,
        kvm::{RunningVcpu, VcpuIndex},
    },
    vcpu::{Answer, Place, Vcpu},
    wire,
};
use kernel::prelude::*;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// An event of a vCPU.
pub(crate) trait Event {
    /// Its id.
    const ID: u8;
    /// What it tells besides the state of the vCPU.
    type Specific: IntoBytes + Immutable;
    /// What its reply carries besides the action.
    type Reply;
}

/// An event of an instruction, which the guest does again if KVM_RUN had to be left meanwhile.
pub(crate) trait Doing: Event {
    /// May the tool send the guest back without the instruction done?
    const RETRY: bool;
}

/// A vCPU stopped because the tool asked for it.
pub(crate) struct Pause;

impl Event for Pause {
    const ID: u8 = KVMI_VCPU_EVENT_PAUSE as u8;
    type Specific = ();
    type Reply = ();
}

/// Events of the VM that this build has.
pub(crate) const VM_EVENTS: u64 = bits(&[KVMI_VM_EVENT_UNHOOK as u16]);

macro_rules! events {
    ($($event:ty),* $(,)?) => {
        /// Events of a vCPU that this build has.
        pub(crate) const VCPU_EVENTS: u64 = bits(&[$(<$event as Event>::ID as u16,)*]);

        /// How many bytes the reply to an event has behind its common part.
        pub(crate) fn reply_size(event: u8) -> Option<usize> {
            $(
                if event == <$event as Event>::ID {
                    return Some(core::mem::size_of::<<$event as Event>::Reply>());
                }
            )*
            None
        }
    };
}

events! {
    Pause,
    x86::Hypercall,
    x86::Breakpoint,
    x86::Cr,
    x86::Trap,
    x86::Xsetbv,
    x86::Descriptor,
    x86::Msr,
    x86::Cpuid,
    x86::Pf,
    x86::Singlestep,
}

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
pub(crate) fn raise<E: Event>(
    session: &Session,
    me: &Vcpu,
    here: &RunningVcpu<'_>,
    specific: &E::Specific,
    place: Option<Place>,
) {
    let header = event_header(E::ID.into());
    let seq = session.next_seq();

    // The answer may come before the send returns.
    me.take_off(E::ID, seq, place);
    session.vm.trace_event(me.index.0.into(), E::ID.into(), seq);

    // On the heap: the structure is too large for the stack of a hook site.
    let sent = KBox::new(common(here, me.index), GFP_KERNEL_ACCOUNT)
        .map_err(Error::from)
        .and_then(|event| {
            wire::message(
                KVMI_VCPU_EVENT as u16,
                seq,
                &[header.as_bytes(), event.as_bytes(), specific.as_bytes()],
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

/// Carries the answer to an event between two instructions out: first the registers, then the action.  An action that the event does not
/// allow ends the session.
pub(crate) fn conclude(session: &Session, answer: &Answer, here: &RunningVcpu<'_>) -> Verdict {
    if let Some(registers) = &answer.registers {
        here.set_regs(registers);
    }

    match u32::from(answer.action) {
        KVMI_EVENT_ACTION_CONTINUE => Verdict::Continue,
        KVMI_EVENT_ACTION_CRASH => Verdict::Crash,
        // What it tells of is done: there is nothing to do again.
        KVMI_EVENT_ACTION_RETRY if answer.event == x86::Pf::ID => Verdict::Continue,
        _ => {
            session.die();
            Verdict::Continue
        }
    }
}

/// What the tool says of something that the guest is doing.
pub(crate) enum Said {
    /// It does not want to be asked.
    Unasked,
    /// Nothing, or to go on.
    Proceed(Option<u64>),
    /// To go on, and the registers are what it wants them to be.
    Rewritten(Option<u64>),
    /// To let the guest go on where its RIP is.
    Retry,
    /// Something that the event does not allow.
    Refused,
}

/// Asks the tool about something that the guest is doing, and waits for the answer.
///
/// When KVM_RUN has to be left meanwhile, the event stays in flight: the guest does the same again
/// and gets the answer then.  What ends without an answer is not done, unless the session is dead.
pub(crate) fn ask<E: Doing>(
    session: &Session,
    me: &Vcpu,
    here: &RunningVcpu<'_>,
    specific: &E::Specific,
) -> Said {
    if session.is_dead() || !me.events.contains(E::ID.into()) {
        return Said::Unasked;
    }

    let place = Place::new(here.rip(), here.cr3(), specific.as_bytes());

    if !me.recurs(E::ID, &place) {
        me.cancel_event();
        here.hold(false);
        // The tool hears of an injection before it hears of anything else.
        if session.tell_of_injection(me, here) {
            return Said::Retry;
        }
        raise::<E>(session, me, here, specific, Some(place));
    }

    let said = match session.await_answer(me, here) {
        Wait::Answered => me
            .while_it_lasts(|| {
                me.take_answer()
                    .map(|answer| act::<E>(session, &answer, here, &place))
            })
            .flatten(),
        Wait::Ended => None,
        Wait::Cancelled => {
            here.hold(false);
            here.request();
            return Said::Retry;
        }
        Wait::Interrupted => {
            // No interrupt gets between this and what the guest does again.
            here.hold(true);
            here.request();
            return Said::Retry;
        }
    };

    here.hold(false);
    if me.has_work() {
        here.request();
    }
    match said {
        Some(said) => said,
        // What becomes of the restriction is what the tool has chosen for its death.
        None if E::ID == x86::Pf::ID => Said::Unasked,
        None => Said::Proceed(None),
    }
}

fn act<E: Doing>(session: &Session, answer: &Answer, here: &RunningVcpu<'_>, at: &Place) -> Said {
    let value = (core::mem::size_of::<E::Reply>() > 0).then_some(answer.value);

    here.note_moved(false);
    if let Some(registers) = &answer.registers {
        here.set_regs(registers);
    }

    match u32::from(answer.action) {
        KVMI_EVENT_ACTION_CONTINUE => match &answer.registers {
            Some(registers) => {
                here.note_moved(registers.rip != at.rip);
                Said::Rewritten(value)
            }
            None => Said::Proceed(value),
        },
        KVMI_EVENT_ACTION_CRASH => {
            here.note_crash();
            Said::Retry
        }
        KVMI_EVENT_ACTION_RETRY if E::RETRY => Said::Retry,
        _ => {
            session.die();
            Said::Refused
        }
    }
}
