// SPDX-License-Identifier: GPL-2.0

//! A vCPU inside `KVM_RUN`: it runs what the tool wants of it, and waits for the answers to its
//! events.
//!
//! All of it runs in the vCPU's own thread, at the top of the run loop or where an exit is handled,
//! and holds no lock itself.  The tool is waited for in [`Session::await_answer()`] only, which a
//! signal, INIT and the end of the session cut short.

use super::{
    command,
    event::{self, Event as _},
    session::Session,
    sys::{glue::kvmi_injection, kvm::RunningVcpu},
    vcpu::{Job, Vcpu},
    wire::{Failure, Message},
};
use kernel::{prelude::*, sync::atomic::Relaxed};

/// How a vCPU goes on.
pub(crate) enum Verdict {
    /// Into the guest.
    Continue,
    /// Out of `KVM_RUN` with `KVM_EXIT_SHUTDOWN`.
    Crash,
    /// Out of `KVM_RUN` with `EINTR`; what was in flight stays.
    Interrupted,
}

/// How waiting for an answer ended.
pub(crate) enum Wait {
    /// It is there.
    Answered,
    /// The session is dead: nobody will answer any more, and nothing is refused for it.
    Ended,
    /// The event is over without an answer: INIT came.  What it was about is not done.
    Cancelled,
    /// A signal came, or the VMM wants to have its vCPU; the event stays in flight.
    Interrupted,
}

impl Session {
    /// Runs what the tool wants of this vCPU, and waits for the answer to its event.
    pub(crate) fn run_vcpu(&self, me: &Vcpu, here: &RunningVcpu<'_>) -> Verdict {
        loop {
            if here.take_crash() {
                if me.has_work() {
                    here.request();
                }
                return Verdict::Crash;
            }
            // KVM acts on INIT first; what the tool was told is history then.
            if here.has_init() {
                me.start_anew(here);
                here.take_step();
                while here.take_written().is_some() {}
                if me.has_work() {
                    here.request();
                }
                return Verdict::Continue;
            }
            if let Some(place) = me.place() {
                // The guest gets the answer when it does the same again.
                match self.await_answer(me, here) {
                    Wait::Answered if here.missed(place.rip) => me.cancel_event(),
                    Wait::Answered => {
                        here.hold(true);
                        return Verdict::Continue;
                    }
                    Wait::Ended | Wait::Cancelled => (),
                    Wait::Interrupted => {
                        here.request();
                        return Verdict::Interrupted;
                    }
                }
                continue;
            }
            here.hold(false);
            if me.in_event() {
                match self.settle(me, here) {
                    Verdict::Continue => continue,
                    other => return other,
                }
            }
            if self.is_dead() {
                me.land();
                here.release(!self.cleanup.load(Relaxed));
                return Verdict::Continue;
            }
            if here.was_injected() || me.pauses_next() {
                if let Some(injected) = me.take_injected() {
                    here.told();
                    self.raise_trap(&injected, me, here);
                    continue;
                }
            }
            if let Some(gpa) = here.take_written() {
                if me.events.contains(event::x86::Pf::ID.into()) {
                    let event = event::x86::written(gpa);

                    event::raise::<event::x86::Pf>(self, me, here, &event, None);
                }
                continue;
            }
            if here.take_step() {
                let event = event::x86::singlestep();

                event::raise::<event::x86::Singlestep>(self, me, here, &event, None);
                continue;
            }
            // A tool that floods the vCPU with commands does not keep it from its VMM.
            if here.is_cut() && me.has_work() {
                here.request();
                return Verdict::Interrupted;
            }
            match me.next(self.channel.is_full()) {
                Some(Job::Command(message)) => self.run_command(&message, me, here),
                Some(Job::Pause) => event::raise::<event::Pause>(self, me, here, &(), None),
                None => {
                    me.inject(here);
                    return Verdict::Continue;
                }
            }
        }
    }

    fn run_command(&self, message: &Message, me: &Vcpu, here: &RunningVcpu<'_>) {
        let Some(answer) = me.while_it_lasts(|| {
            let answer = command::run_on_vcpu(self, message, me, here);

            here.claim(self.id);
            answer
        }) else {
            return;
        };

        match answer {
            Ok(payload) => self.answer(&message.header, Ok(payload)),
            Err(Failure::Refused(code)) => self.answer(&message.header, Err(code)),
            Err(_) => self.die(),
        }
    }

    /// Waits out an event between two instructions, and does what the answer says.
    fn settle(&self, me: &Vcpu, here: &RunningVcpu<'_>) -> Verdict {
        let verdict = match self.await_answer(me, here) {
            Wait::Answered => me
                .while_it_lasts(|| {
                    me.take_answer()
                        .map(|answer| event::conclude(self, &answer, here))
                })
                .flatten()
                .unwrap_or(Verdict::Continue),
            Wait::Ended | Wait::Cancelled => Verdict::Continue,
            Wait::Interrupted => Verdict::Interrupted,
        };

        if !matches!(verdict, Verdict::Continue) && me.has_work() {
            here.request();
        }
        verdict
    }

    fn raise_trap(&self, injected: &kvmi_injection, me: &Vcpu, here: &RunningVcpu<'_>) {
        let event = event::x86::trap(injected, here);

        event::raise::<event::x86::Trap>(self, me, here, &event, None);
    }

    /// Tells the tool of an injection before it hears of something else, and waits for its answer;
    /// false: there was none.  What the guest is doing must be done again, for the tool may have
    /// changed anything.
    pub(crate) fn tell_of_injection(&self, me: &Vcpu, here: &RunningVcpu<'_>) -> bool {
        let Some(injected) = me.take_injected() else {
            return false;
        };

        here.told();
        self.raise_trap(&injected, me, here);
        if let Verdict::Crash = self.settle(me, here) {
            here.note_crash();
        }
        true
    }

    /// Waits for the answer to the event in flight, running commands meanwhile.
    pub(crate) fn await_answer(&self, me: &Vcpu, here: &RunningVcpu<'_>) -> Wait {
        let ended = loop {
            me.look();
            while let Some(message) = me.next_in_event(self.channel.is_full()) {
                self.run_command(&message, me, here);
                if here.is_cut() {
                    break;
                }
            }
            if me.is_answered() {
                break Wait::Answered;
            }
            if self.is_dead() {
                me.land();
                break Wait::Ended;
            }
            if !me.in_event() {
                break Wait::Cancelled;
            }
            if here.is_cut() {
                break Wait::Interrupted;
            }
            if self.channel.readable_by_vcpu() {
                self.pump(|| me.has_attention() || here.is_cut());
                continue;
            }

            match self
                .channel
                .wait_vcpu(here, me.wait_queue(), || me.has_attention())
            {
                Ok(()) => (),
                Err(e) if e == ECANCELED => {
                    me.cancel_event();
                    break Wait::Cancelled;
                }
                Err(_) => break Wait::Interrupted,
            }
        };

        // We may have been the one who was woken to read.
        self.channel.hand_on();
        ended
    }
}
