// SPDX-License-Identifier: GPL-2.0

//! One vCPU of a session: its queue, and the event in flight.
//!
//! Two views: [`Vcpu`] is what everybody may do to it, [`Stopped`] what only its own thread may,
//! and only while the vCPU waits for the answer to an event.
//!
//! Lock: `state`, taken alone and held only for moments; nothing is sent or run under it.

use super::{
    fifo::Fifo,
    permission::IdSet,
    sys::{
        glue::{kvm_regs, kvmi_vcpu_event_reply},
        kvm::{RunningVcpu, VcpuIndex},
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
    pub(crate) action: u8,
    /// What the tool wants in the registers.
    pub(crate) registers: Option<kvm_regs>,
}

/// An event that was sent and not yet answered.
struct Flight {
    event: u8,
    seq: u32,
    registers: Option<kvm_regs>,
    /// The action, and which jobs came before the reply.
    reply: Option<(u8, u64)>,
}

struct State {
    commands: Fifo<(u64, Message)>,
    pauses: Fifo<u64>,
    next_ticket: u64,
    flight: Option<Flight>,
    /// Events that are over: their replies are late, and ignored.
    over: Fifo<u32>,
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
                state <- new_mutex!(State {
                    commands: Fifo::new(),
                    pauses: Fifo::new(),
                    next_ticket: 0,
                    flight: None,
                    over: Fifo::new(),
                }),
            }),
            GFP_KERNEL_ACCOUNT,
        )
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

    /// Queues a command.  `EBUSY`: too many wait.
    pub(crate) fn push_command(&self, message: Message) -> Result<(), (Code, Message)> {
        let mut state = self.state.lock();

        if state.commands.len() >= MAX_COMMANDS {
            return Err((Code::EBUSY, message));
        }
        let header = message.header;
        let ticket = state.ticket();

        state.commands.push((ticket, message)).map_err(|_| {
            (
                Code::ENOMEM,
                Message {
                    header,
                    body: KVec::new(),
                },
            )
        })?;
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

        state.commands.len() > 0 || state.pauses.len() > 0 || state.flight.is_some()
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

    /// Is an event waiting for its answer?
    pub(crate) fn in_event(&self) -> bool {
        self.state.lock().flight.is_some()
    }

    /// Notes that an event is about to be sent.
    pub(crate) fn take_off(&self, event: u8, seq: u32) {
        self.state.lock().flight = Some(Flight {
            event,
            seq,
            registers: None,
            reply: None,
        });
    }

    /// Delivers the reply to an event.  An error: nothing of the kind is awaited, and the
    /// connection closes.
    pub(crate) fn deliver(&self, seq: u32, reply: &kvmi_vcpu_event_reply) -> Result {
        let mut state = self.state.lock();

        if state.over.remove(&seq) {
            return Ok(());
        }
        let ticket = state.ticket();
        let flight = state.flight.as_mut().ok_or(EPROTO)?;

        if flight.reply.is_some() || flight.seq != seq || flight.event != reply.event {
            return Err(EPROTO);
        }
        flight.reply = Some((reply.action, ticket));
        drop(state);
        self.attract();
        Ok(())
    }

    /// Takes the answer if it has come and every command before it has been run.
    pub(crate) fn take_answer(&self) -> Option<Answer> {
        let mut state = self.state.lock();
        let (action, ticket) = state.flight.as_ref()?.reply?;

        if state.commands.front().is_some_and(|(t, _)| *t < ticket) {
            return None;
        }
        state.flight.take().map(|flight| Answer {
            action,
            registers: flight.registers,
        })
    }

    /// Nobody will answer any more.
    pub(crate) fn land(&self) {
        let mut state = self.state.lock();

        state.flight = None;
        state.commands.clear();
        state.pauses.clear();
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

    /// The vCPU as its own thread may treat it while an event is in flight.
    pub(crate) fn stopped<'a>(&'a self, _here: &'a RunningVcpu<'_>) -> Option<Stopped<'a>> {
        self.in_event().then_some(Stopped(self))
    }
}

impl State {
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
