// SPDX-License-Identifier: GPL-2.0

//! One vCPU of a session: its queue, and the event in flight.
//!
//! Two views: [`Vcpu`] is what everybody may do to it, [`Stopped`] what only its own thread may,
//! and only while the vCPU waits for the answer to an event.
//!
//! Locks: `gate` while the vCPU's thread does something for the tool; `state` inside of it or alone,
//! held only for moments.

use super::{
    fifo::Fifo,
    permission::IdSet,
    sys::{
        glue::{kvm_regs, kvmi_injection},
        kvm::{LockedVcpu, RunningVcpu, VcpuIndex},
        wait::WaitQueue,
    },
    wire::{Code, Message},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        Arc, Mutex,
    },
};

/// Commands that may wait, `abi.md` A.
const MAX_COMMANDS: usize = 1024;
/// Pauses that may wait.
const MAX_PAUSES: usize = 1002;
/// Events that ended without their reply and whose reply is still expected.
const MAX_OVER: usize = 64;

/// What a vCPU does next.
pub(crate) enum Job {
    Command(Message),
    Pause,
}

/// A checked answer to the event in flight.
pub(crate) struct Answer {
    pub(crate) event: u8,
    pub(crate) action: u8,
    /// What the tool wants in the registers.
    pub(crate) registers: Option<kvm_regs>,
    /// What the tool wants written, where the event is a write.
    pub(crate) value: u64,
}

/// What makes two events the same: where the guest was, and what it did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) rip: u64,
    pub(crate) cr3: u64,
    pub(crate) specific: [u64; 3],
}

impl Place {
    /// A place, and the words of what the guest did there.
    pub(crate) fn new(rip: u64, cr3: u64, bytes: &[u8]) -> Self {
        let mut specific = [0; 3];

        for (word, chunk) in specific.iter_mut().zip(bytes.chunks(8)) {
            for (byte, shift) in chunk.iter().zip((0u32..).step_by(8)) {
                *word |= u64::from(*byte) << (shift & 63);
            }
        }
        Self { rip, cr3, specific }
    }
}

/// A reply to an event, as it came.
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) event: u8,
    pub(crate) action: u8,
    pub(crate) value: u64,
}

/// An event that was sent and not yet answered.
struct Flight {
    event: u8,
    seq: u32,
    /// Where the guest does it again, if KVM_RUN was left; `None`: between two instructions.
    place: Option<Place>,
    registers: Option<kvm_regs>,
    /// The reply, and which jobs came before it.
    reply: Option<(Reply, u64)>,
}

struct State {
    commands: Fifo<(u64, Message)>,
    pauses: Fifo<u64>,
    next_ticket: u64,
    flight: Option<Flight>,
    /// Events that are over: their replies are late, and ignored.
    over: Fifo<u32>,
    injection: Injection,
}

/// An exception that the tool injects.
#[derive(Clone, Copy)]
enum Injection {
    None,
    /// To be queued before the next entry.
    Wanted(kvmi_injection),
    /// Queued, or something in its place: the tool is to be told.
    Done(kvmi_injection),
}

/// The introspection state of a vCPU.
#[pin_data]
pub(crate) struct Vcpu {
    pub(crate) index: VcpuIndex,
    /// Events that the tool enabled.
    pub(crate) events: IdSet,
    queue: WaitQueue,
    /// Something changed since the vCPU last looked.
    attention: Atomic<bool>,
    /// The session goes on; held by the vCPU's thread while it does something for the tool.
    #[pin]
    gate: Mutex<bool>,
    #[pin]
    state: Mutex<State>,
}

impl Vcpu {
    pub(crate) fn new(index: VcpuIndex) -> Result<Arc<Self>> {
        let queue = WaitQueue::new()?;

        Arc::pin_init(
            try_pin_init!(Self {
                index,
                events: IdSet::new(0),
                queue,
                attention: Atomic::new(false),
                gate <- new_mutex!(true),
                state <- new_mutex!(State {
                    commands: Fifo::new(),
                    pauses: Fifo::new(),
                    next_ticket: 0,
                    flight: None,
                    over: Fifo::new(),
                    injection: Injection::None,
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Calls `f` if the session goes on, and has its end wait until `f` has returned: `f` waits for
    /// nobody.  Called by the vCPU's own thread for whatever a tool changes of it.
    pub(crate) fn while_it_lasts<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let open = self.gate.lock();

        (*open).then(f)
    }

    /// The session has ended: nothing is done for the tool any more, and nobody answers.
    pub(crate) fn end(&self) {
        *self.gate.lock() = false;
        self.land();
        self.attract();
    }

    /// Where its thread waits.
    pub(crate) fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Makes its thread look, if it waits.
    pub(crate) fn attract(&self) {
        self.attention.xchg(true, Full);
        self.queue.wake();
    }

    /// Has something changed since the last look?
    pub(crate) fn has_attention(&self) -> bool {
        self.attention.load(kernel::sync::atomic::Relaxed)
    }

    /// Takes notice.
    pub(crate) fn look(&self) {
        self.attention.xchg(false, Full);
    }

    /// Queues a command.  `EBUSY`: too many wait; `ENOMEM`.
    pub(crate) fn push_command(&self, message: Message) -> Result<(), Code> {
        let mut state = self.state.lock();

        if state.commands.len() >= MAX_COMMANDS {
            return Err(Code::EBUSY);
        }
        let ticket = state.ticket();

        state
            .commands
            .push((ticket, message))
            .map_err(|_| Code::ENOMEM)?;
        drop(state);
        self.attract();
        Ok(())
    }

    /// Queues a pause.  `EBUSY`: too many wait.
    pub(crate) fn push_pause(&self) -> Result<(), Code> {
        let mut state = self.state.lock();

        if state.pauses.len() >= MAX_PAUSES {
            return Err(Code::EBUSY);
        }
        let ticket = state.ticket();

        state.pauses.push(ticket).map_err(|_| Code::ENOMEM)?;
        drop(state);
        self.attract();
        Ok(())
    }

    /// Does anything wait to be done?
    pub(crate) fn has_work(&self) -> bool {
        let state = self.state.lock();

        state.commands.len() > 0
            || state.pauses.len() > 0
            || state.flight.is_some()
            || !matches!(state.injection, Injection::None)
    }

    /// The next job of a vCPU that waits for no answer; no command while `full`.
    pub(crate) fn next(&self, full: bool) -> Option<Job> {
        let mut state = self.state.lock();
        let command = state.commands.front().map(|(ticket, _)| *ticket);
        let pause = state.pauses.front().copied();

        match (command, pause) {
            (Some(command), pause) if pause.is_none_or(|pause| command < pause) => {
                if full {
                    return None;
                }
                state
                    .commands
                    .pop()
                    .map(|(_, message)| Job::Command(message))
            }
            (_, Some(_)) => state.pauses.pop().map(|_| Job::Pause),
            _ => None,
        }
    }

    /// The next command to run inside an event: one that came before the reply.
    pub(crate) fn next_in_event(&self, full: bool) -> Option<Message> {
        let mut state = self.state.lock();
        let end = match state.flight.as_ref()?.reply {
            Some((_, ticket)) => ticket,
            None => u64::MAX,
        };

        if full || state.commands.front()?.0 >= end {
            return None;
        }
        state.commands.pop().map(|(_, message)| message)
    }

    /// Has an exception queued before the next entry.  `EBUSY`: one is on its way.
    pub(crate) fn want_injection(&self, injection: kvmi_injection) -> Result<(), Code> {
        let mut state = self.state.lock();

        if !matches!(state.injection, Injection::None) {
            return Err(Code::EBUSY);
        }
        state.injection = Injection::Wanted(injection);
        Ok(())
    }

    /// Queues the exception that is wanted, if one is.
    pub(crate) fn inject(&self, here: &RunningVcpu<'_>) {
        let mut state = self.state.lock();

        if let Injection::Wanted(wanted) = state.injection {
            state.injection =
                Injection::Done(here.inject(&wanted).unwrap_or_else(|instead| instead));
        }
    }

    /// What was injected and not told yet.
    pub(crate) fn take_injected(&self) -> Option<kvmi_injection> {
        let mut state = self.state.lock();

        match state.injection {
            Injection::Done(done) => {
                state.injection = Injection::None;
                Some(done)
            }
            Injection::None | Injection::Wanted(_) => None,
        }
    }

    /// Is an event waiting for its answer?
    pub(crate) fn in_event(&self) -> bool {
        self.state.lock().flight.is_some()
    }

    /// Is the next thing to do a pause?
    pub(crate) fn pauses_next(&self) -> bool {
        let state = self.state.lock();

        match (state.commands.front(), state.pauses.front()) {
            (Some((command, _)), Some(pause)) => pause < command,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    /// Notes that an event is about to be sent.
    pub(crate) fn take_off(&self, event: u8, seq: u32, place: Option<Place>) {
        self.state.lock().flight = Some(Flight {
            event,
            seq,
            place,
            registers: None,
            reply: None,
        });
    }

    /// Delivers the reply to an event.  An error: nothing of the kind is awaited, and the
    /// connection closes.
    pub(crate) fn deliver(&self, seq: u32, reply: Reply) -> Result {
        let mut state = self.state.lock();

        if state.over.remove(&seq) {
            return Ok(());
        }
        let ticket = state.ticket();
        let flight = state.flight.as_mut().ok_or(EPROTO)?;

        if flight.reply.is_some() || flight.seq != seq || flight.event != reply.event {
            return Err(EPROTO);
        }
        flight.reply = Some((reply, ticket));
        drop(state);
        self.attract();
        Ok(())
    }

    /// Has the answer come, and has every command before it been run?
    pub(crate) fn is_answered(&self) -> bool {
        self.state.lock().answer().is_some()
    }

    /// Takes the answer, if that is so.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        let mut state = self.state.lock();
        let reply = state.answer()?;

        state.flight.take().map(|flight| Answer {
            event: flight.event,
            action: reply.action,
            registers: flight.registers,
            value: reply.value,
        })
    }

    /// Where the event in flight was, if it was one of an instruction.
    pub(crate) fn place(&self) -> Option<Place> {
        self.state.lock().flight.as_ref()?.place
    }

    /// Is the event in flight this one?
    pub(crate) fn recurs(&self, event: u8, place: &Place) -> bool {
        self.state
            .lock()
            .flight
            .as_ref()
            .is_some_and(|flight| flight.event == event && flight.place.as_ref() == Some(place))
    }

    /// Nobody will answer any more.
    pub(crate) fn land(&self) {
        let mut state = self.state.lock();

        state.flight = None;
        state.commands.clear();
        state.pauses.clear();
        state.injection = Injection::None;
    }

    /// The VMM wrote the vCPU's state: the event in flight is over, what the tool stored for it is
    /// stale, and its reply, early or late, counts for nothing.
    pub(crate) fn cancel_event(&self) {
        let mut state = self.state.lock();

        if let Some(flight) = state.flight.take() {
            if flight.reply.is_none() {
                if state.over.len() >= MAX_OVER {
                    state.over.pop();
                }
                // Without memory a late reply closes the connection, as any unexpected one.
                let _ = state.over.push(flight.seq);
            }
        }
    }

    /// The vCPU is not what it was: INIT came, or the VMM wrote its state.  Nothing of what was
    /// under way survives that, but for the news of an exception that the guest has got.
    pub(crate) fn start_anew(&self, here: &LockedVcpu<'_>) {
        self.cancel_event();
        if here.forget() {
            self.state.lock().injection = Injection::None;
        }
    }

    /// The vCPU as its own thread may treat it while an event is in flight.
    pub(crate) fn stopped<'a>(&'a self, _here: &'a RunningVcpu<'_>) -> Option<Stopped<'a>> {
        self.in_event().then_some(Stopped(self))
    }
}

impl State {
    /// The reply, once every command that came before it has been run.
    fn answer(&self) -> Option<Reply> {
        let (reply, ticket) = self.flight.as_ref()?.reply?;

        self.commands
            .front()
            .is_none_or(|(first, _)| *first >= ticket)
            .then_some(reply)
    }

    fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;

        self.next_ticket = ticket.wrapping_add(1);
        ticket
    }
}

/// A vCPU that waits for the answer to its event, in the hands of its own thread.
pub(crate) struct Stopped<'a>(&'a Vcpu);

impl Stopped<'_> {
    /// Stores registers that are written when a valid answer has come; the last ones win.
    pub(crate) fn set_registers(&self, registers: kvm_regs) {
        if let Some(flight) = self.0.state.lock().flight.as_mut() {
            flight.registers = Some(registers);
        }
    }
}
