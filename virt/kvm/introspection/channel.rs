// SPDX-License-Identifier: GPL-2.0

//! The socket of a session: whole messages in, whole messages out.
//!
//! Owns the two halves of the connection, the bytes that were received and not yet parsed, and the
//! messages that were not yet sent.
//!
//! Locks: `serving` while a message is dealt with, `inbox` and `outbox` for moments.  **None is
//! held while the socket is read or written**: whoever handed it over may have another descriptor
//! of it, and hold its locks for as long as it likes.  Each half is taken out by whoever uses it, and
//! put back.  So one reader and one sender at a time have the roles, and [`Channel::end()`] waits for
//! neither: who comes back to a channel that has ended lets go of the half.
//!
//! Whoever gives the reader's role up looks once more whether there is something to do, and wakes
//! the next.  Who finds no sender's half leaves the message to the one that has it.

mod send;

use super::{
    sys::{
        kvm::RunningVcpu,
        socket::{Connection, Receiver, Sender},
        wait::WaitQueue,
    },
    wire::{self, Failure, Message, Parsed, MAX_MESSAGE},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Mutex,
    },
};

use send::Outbox;

/// The half that receives, and what it has received.
struct Input {
    receiver: Receiver,
    bytes: KVec<u8>,
    start: usize,
    end: usize,
}

/// Where the half that receives lies while nobody reads.
struct Inbox {
    open: bool,
    input: Option<Input>,
}

/// The two directions of one socket.
#[pin_data]
pub(crate) struct Channel {
    conn: Connection,
    dead: Atomic<bool>,
    /// The socket is shut down.
    shut: Atomic<bool>,
    /// The reader's role is taken.
    busy: Atomic<bool>,
    /// Too much is unsent: no more commands.
    full: Atomic<bool>,
    /// Room has come behind `full`, and nobody has noticed yet.
    room: Atomic<bool>,
    /// Something is unsent.
    unsent: Atomic<bool>,
    /// The channel has not ended.
    #[pin]
    serving: Mutex<bool>,
    #[pin]
    inbox: Mutex<Inbox>,
    #[pin]
    outbox: Mutex<Outbox>,
}

/// Who has the reader's role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The VM's task, which looks by itself at what only it does.
    Task,
    /// A vCPU that waits for a reply.
    Vcpu,
}

/// The reader's role; dropping it hands it on.
pub(crate) struct Reader<'a> {
    channel: &'a Channel,
    who: Who,
    input: Option<Input>,
}

impl Channel {
    /// Makes a channel of a connection and its halves.
    pub(crate) fn new(
        (conn, receiver, sender): (Connection, Receiver, Sender),
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            conn,
            dead: Atomic::new(false),
            shut: Atomic::new(false),
            busy: Atomic::new(false),
            full: Atomic::new(false),
            room: Atomic::new(false),
            unsent: Atomic::new(false),
            serving <- new_mutex!(true),
            inbox <- new_mutex!(Inbox {
                open: true,
                input: Some(Input {
                    receiver,
                    bytes: KVec::from_elem(0, MAX_MESSAGE, GFP_KERNEL_ACCOUNT)?,
                    start: 0,
                    end: 0,
                }),
            }),
            outbox <- new_mutex!(Outbox::new(sender)),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Returns whether the tool is so far behind that it gets no more answers for now.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// Ends the conversation.  Only marks, shuts down and wakes: may be called from anywhere.
    pub(crate) fn die(&self) {
        if !self.dead.xchg(true, Full) {
            self.shut_down_unless_sending();
            self.conn.wake_all();
        }
    }

    /// Calls `f` if the channel has not ended, and has its end wait until `f` has returned: `f`
    /// waits for nobody, and does not touch the socket.
    pub(crate) fn while_open<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let open = self.serving.lock();

        (*open).then(f)
    }

    /// Ends the channel, after [`Channel::die()`]: waits for the message that is being dealt with,
    /// calls `undo`, and lets go of the socket and of all that was queued.  Only the first call
    /// does so; the others return when it has.
    pub(crate) fn end(&self, undo: impl FnOnce()) {
        let mut open = self.serving.lock();

        if !*open {
            return;
        }
        *open = false;
        undo();

        let input = {
            let mut inbox = self.inbox.lock();

            inbox.open = false;
            inbox.input.take()
        };
        let output = self.outbox.lock().close();

        drop(open);
        drop(input);
        drop(output);
    }

    /// Returns whether there is something to read that a vCPU may read, and nobody is reading.
    fn wants_reader(&self) -> bool {
        self.conn.is_readable() && !self.busy.load(Relaxed) && !self.is_full()
    }

    /// Returns whether there is something that only the task does.
    fn wants_task(&self) -> bool {
        self.is_dead() || self.room.load(Relaxed) || self.has_unsent()
    }

    /// Takes the reader's role if it is free, and the channel has not ended.
    pub(crate) fn try_read(&self, who: Who) -> Option<Reader<'_>> {
        self.busy.cmpxchg(false, true, Full).ok()?;

        let input = self.inbox.lock().input.take();
        let reader = Reader {
            channel: self,
            who,
            input,
        };

        reader.input.is_some().then_some(reader)
    }

    /// Returns whether there is something to read for a vCPU that has nothing better to do.
    pub(crate) fn readable_by_vcpu(&self) -> bool {
        self.wants_reader()
    }

    /// Wakes somebody if there is something to do and nobody does it.
    pub(crate) fn hand_on(&self) {
        if self.wants_task() {
            self.conn.wake_task();
        }
        self.hand_reading_on();
    }

    fn hand_reading_on(&self) {
        if self.wants_reader() {
            self.conn.wake_reader();
        }
    }

    /// A vCPU waits for `ready()` or for something to read.  `EINTR`: a signal came, or the
    /// VMM wants its vCPU back; `ECANCELED`: the vCPU got INIT.
    pub(crate) fn wait_vcpu(
        &self,
        vcpu: &RunningVcpu<'_>,
        own: &WaitQueue,
        ready: impl Fn() -> bool,
    ) -> Result {
        self.conn.wait_vcpu(vcpu, own, || {
            ready() || self.is_dead() || self.wants_reader()
        })
    }

    /// Has the task look.
    pub(crate) fn wake_task(&self) {
        self.conn.wake_task();
    }

    /// Returns, once, whether room has come since the channel was full.
    pub(crate) fn take_room(&self) -> bool {
        self.room.xchg(false, Full)
    }

    /// Returns whether something is unsent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Relaxed)
    }
}

impl Reader<'_> {
    /// The next message, if all of it is here.  An error ends the session.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Failure> {
        let channel = self.channel;
        let input = self.input.as_mut().ok_or(Failure::Protocol)?;

        if channel.is_dead() {
            return Err(Failure::Protocol);
        }
        if channel.is_full() {
            return Ok(None);
        }

        loop {
            if let Parsed::Message(message, taken) = wire::parse(input.received())? {
                input.start = input.start.saturating_add(taken);
                return Ok(Some(message));
            }
            if !input.fill(&channel.conn)? {
                return Ok(None);
            }
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let channel = self.channel;
        let received = self.input.as_ref().map_or(&[][..], Input::received);

        if wire::is_ready(received) {
            channel.conn.set_readable(true);
        }

        let open = {
            let mut inbox = channel.inbox.lock();

            if inbox.open {
                inbox.input = self.input.take();
            }
            inbox.open
        };

        // A full barrier: whoever found the role taken went to sleep before, and is woken.
        channel.busy.xchg(false, Full);
        match self.who {
            _ if !open => (),
            Who::Vcpu => channel.hand_on(),
            Who::Task => channel.hand_reading_on(),
        }
    }
}

impl Input {
    /// What was received and not yet parsed.
    fn received(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Receives more behind what is there.  `false`: nothing came.
    fn fill(&mut self, conn: &Connection) -> Result<bool, Failure> {
        let Self {
            receiver,
            bytes,
            start,
            end,
        } = self;

        if *start > 0 {
            bytes.copy_within(*start..*end, 0);
            *end = end.saturating_sub(*start);
            *start = 0;
        }

        let room = bytes.get_mut(*end..).unwrap_or(&mut []);

        conn.set_readable(false);
        match receiver.recv(room) {
            Ok(0) => Err(Failure::Protocol),
            Ok(n) => {
                *end = end.saturating_add(n);
                if receiver.has_data() {
                    conn.set_readable(true);
                }
                Ok(true)
            }
            Err(e) if e == EAGAIN => Ok(false),
            Err(_) => Err(Failure::Protocol),
        }
    }
}
