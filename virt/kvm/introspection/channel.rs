// SPDX-License-Identifier: GPL-2.0

//! The socket of a session: whole messages in, whole messages out.
//!
//! Owns the two halves of the connection, the bytes that were received and not yet parsed, and the
//! messages that were not yet sent.  Locks: `inbox` for the whole of dealing with a message, and
//! `outbox` inside of it or alone.  Under both the socket is read and written without waiting for
//! the peer.
//!
//! One reader at a time holds the role ([`Channel::try_read()`]); half a message belongs to the
//! channel, not to the reader.  Whoever gives the role up looks once more whether there is
//! something to do, and wakes the next.  [`Channel::end()`] takes what is behind the locks away, so
//! that there is no role and no half any more.

use super::{
    fifo::Fifo,
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
        lock::mutex::MutexGuard,
        Mutex,
    },
};

/// Unsent bytes from which on no further command is read.
const FULL: usize = 64 * 1024;

/// What was received.
struct Inbox {
    receiver: Receiver,
    bytes: KVec<u8>,
    start: usize,
    end: usize,
}

/// What is to be sent.
struct Outbox {
    sender: Sender,
    messages: Fifo<KVec<u8>>,
    /// Bytes of the oldest that are sent already.
    sent: usize,
    /// Bytes of them all.
    bytes: usize,
}

/// The two directions of one socket.
#[pin_data]
pub(crate) struct Channel {
    conn: Connection,
    dead: Atomic<bool>,
    /// The reader's role is taken.
    busy: Atomic<bool>,
    /// Too much is unsent: no more commands.
    full: Atomic<bool>,
    /// Room has come behind `full`, and nobody has noticed yet.
    room: Atomic<bool>,
    /// Something is unsent.
    unsent: Atomic<bool>,
    #[pin]
    inbox: Mutex<Option<Inbox>>,
    #[pin]
    outbox: Mutex<Option<Outbox>>,
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
    inbox: MutexGuard<'a, Option<Inbox>>,
}

impl Channel {
    /// Makes a channel of a connection and its halves.
    pub(crate) fn new(
        (conn, receiver, sender): (Connection, Receiver, Sender),
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            conn,
            dead: Atomic::new(false),
            busy: Atomic::new(false),
            full: Atomic::new(false),
            room: Atomic::new(false),
            unsent: Atomic::new(false),
            inbox <- new_mutex!(Some(Inbox {
                receiver,
                bytes: KVec::from_elem(0, MAX_MESSAGE, GFP_KERNEL_ACCOUNT)?,
                start: 0,
                end: 0,
            })),
            outbox <- new_mutex!(Some(Outbox {
                sender,
                messages: Fifo::new(),
                sent: 0,
                bytes: 0,
            })),
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
            self.conn.shutdown();
            self.conn.wake_all();
        }
    }

    /// Ends the channel, after [`Channel::die()`]: waits for the message that is being dealt with,
    /// calls `undo`, and lets go of the socket and of all that was queued.  Only the first call
    /// does so; the others return when it has.
    pub(crate) fn end(&self, undo: impl FnOnce()) {
        let mut inbox = self.inbox.lock();
        let rest = self.close(&mut inbox, undo);

        drop(inbox);
        drop(rest);
    }

    fn close(
        &self,
        inbox: &mut Option<Inbox>,
        undo: impl FnOnce(),
    ) -> Option<(Inbox, Option<Outbox>)> {
        if inbox.is_some() {
            undo();
        }
        Some((inbox.take()?, self.outbox.lock().take()))
    }

    /// Queues a message and sends what can be sent.  `EPIPE`: the session is over.
    pub(crate) fn send(&self, message: KVec<u8>) -> Result {
        let mut outbox = self.outbox.lock();
        let queue = (*outbox)
            .as_mut()
            .filter(|_| !self.is_dead())
            .ok_or(EPIPE)?;

        queue.bytes = queue.bytes.saturating_add(message.len());
        queue.messages.push(message)?;
        if !self.flush_locked(queue)? {
            // It tries again in a while, also if no room is announced.
            self.conn.wake_task();
        }
        Ok(())
    }

    /// Sends what can be sent, and returns whether that was all.
    pub(crate) fn flush(&self) -> Result<bool> {
        match (*self.outbox.lock()).as_mut() {
            Some(queue) => self.flush_locked(queue),
            None => Ok(true),
        }
    }

    fn flush_locked(&self, outbox: &mut Outbox) -> Result<bool> {
        let mut asked = false;

        while let Some(message) = outbox.messages.front() {
            let rest = message.get(outbox.sent..).unwrap_or(&[]);

            match outbox.sender.send(rest) {
                Ok(n) if n == rest.len() => {
                    let whole = message.len();

                    asked = false;

                    outbox.bytes = outbox.bytes.saturating_sub(whole);
                    outbox.sent = 0;
                    outbox.messages.pop();
                }
                Ok(n) => outbox.sent = outbox.sent.saturating_add(n),
                // Asking also makes the socket tell when there is room again.  Once: a socket may
                // claim to have room and take nothing.
                Err(e) if e == EAGAIN => {
                    // Before asking: the task must hear of it if room comes meanwhile.
                    self.conn.want_room(true);
                    if asked || !outbox.sender.writable() {
                        break;
                    }
                    asked = true;
                }
                Err(e) => return Err(e),
            }
        }

        let unsent = outbox.bytes > 0;
        let full = outbox.bytes > FULL;

        self.unsent.store(unsent, Relaxed);
        if !unsent {
            self.conn.want_room(false);
        }
        // Whoever made the room: the task revives the vCPUs that left commands in their queues.
        if self.full.xchg(full, Full) && !full {
            self.room.xchg(true, Full);
            self.conn.wake_task();
        }
        Ok(!unsent)
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

        let reader = Reader {
            channel: self,
            who,
            inbox: self.inbox.lock(),
        };

        reader.inbox.is_some().then_some(reader)
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

    /// A vCPU waits for `ready()` or for something to read.  `EINTR`: a signal came, `in_place` a
    /// fatal one; `ECANCELED`: the vCPU got INIT.
    pub(crate) fn wait_vcpu(
        &self,
        vcpu: &RunningVcpu<'_>,
        own: &WaitQueue,
        in_place: bool,
        ready: impl Fn() -> bool,
    ) -> Result {
        self.conn.wait_vcpu(vcpu, own, in_place, || {
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
        let inbox = (*self.inbox).as_mut().ok_or(Failure::Protocol)?;

        if channel.is_dead() {
            return Err(Failure::Protocol);
        }
        if channel.is_full() {
            return Ok(None);
        }

        loop {
            if let Parsed::Message(message, taken) = wire::parse(inbox.received())? {
                inbox.start = inbox.start.saturating_add(taken);
                return Ok(Some(message));
            }
            if !inbox.fill(&channel.conn)? {
                return Ok(None);
            }
        }
    }

    /// Ends the channel in the reader's place: see [`Channel::end()`].
    pub(crate) fn end(mut self, undo: impl FnOnce()) {
        let rest = self.channel.close(&mut self.inbox, undo);

        drop(self);
        drop(rest);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let received = self.inbox.as_ref().map_or(&[][..], Inbox::received);

        if wire::is_ready(received) {
            self.channel.conn.set_readable(true);
        }
        // A full barrier: whoever found the role taken went to sleep before, and is woken.
        self.channel.busy.xchg(false, Full);
        match self.who {
            _ if self.inbox.is_none() => (),
            Who::Vcpu => self.channel.hand_on(),
            Who::Task => self.channel.hand_reading_on(),
        }
    }
}

impl Inbox {
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
