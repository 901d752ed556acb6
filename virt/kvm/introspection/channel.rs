// SPDX-License-Identifier: GPL-2.0

//! The socket of a session: whole messages in, whole messages out.
//!
//! Owns the connection, the bytes that were received and not yet parsed, and the messages that
//! were not yet sent.  Locks: `inbox` and `outbox`, never both but in [`Channel::close()`], which
//! takes `inbox` first.  Under them the socket is read and written without waiting for the peer.
//!
//! One reader at a time holds the role ([`Channel::try_read()`]); half a message belongs to the
//! channel, not to the reader.  Whoever gives the role up looks once more whether there is
//! something to read, and wakes the next.

use super::{
    fifo::Fifo,
    sys::{kvm::RunningVcpu, socket::Connection, wait::WaitQueue},
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

/// Unsent bytes from which on no further command is read.
const FULL: usize = 64 * 1024;

/// How often the thread tries to send what no readiness was announced for, in milliseconds.
const RETRY_MS: u32 = 100;

/// What was received.
struct Inbox {
    bytes: KVec<u8>,
    start: usize,
    end: usize,
    /// A message that only the thread can deal with.
    deferred: Option<Message>,
}

/// What is to be sent.
struct Outbox {
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
    /// Room has come, or is to be looked for: the thread has not noticed yet.
    room: Atomic<bool>,
    /// Something is unsent.
    unsent: Atomic<bool>,
    /// The next message is for the thread.
    deferred: Atomic<bool>,
    #[pin]
    inbox: Mutex<Inbox>,
    #[pin]
    outbox: Mutex<Outbox>,
}

/// The reader's role; dropping it hands it on.
pub(crate) struct Reader<'a>(&'a Channel);

impl Channel {
    /// Makes a channel of a connection.
    pub(crate) fn new(conn: Connection) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            conn,
            dead: Atomic::new(false),
            busy: Atomic::new(false),
            full: Atomic::new(false),
            room: Atomic::new(false),
            unsent: Atomic::new(false),
            deferred: Atomic::new(false),
            inbox <- new_mutex!(Inbox {
                bytes: KVec::from_elem(0, MAX_MESSAGE, GFP_KERNEL_ACCOUNT)?,
                start: 0,
                end: 0,
                deferred: None,
            }),
            outbox <- new_mutex!(Outbox {
                messages: Fifo::new(),
                sent: 0,
                bytes: 0,
            }),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// Is the tool so far behind that it gets no more answers for now?
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

    /// Lets go of the socket and of all that was queued.  Only after [`Channel::die()`].
    pub(crate) fn close(&self) {
        let mut inbox = self.inbox.lock();
        let mut outbox = self.outbox.lock();

        self.conn.drop_file();
        inbox.bytes = KVec::new();
        inbox.start = 0;
        inbox.end = 0;
        inbox.deferred = None;
        outbox.messages.clear();
        outbox.bytes = 0;
        outbox.sent = 0;
    }

    /// Queues a message and sends what can be sent.  `EPIPE`: the session is over.
    pub(crate) fn send(&self, message: KVec<u8>) -> Result {
        let mut outbox = self.outbox.lock();

        if self.is_dead() {
            return Err(EPIPE);
        }
        outbox.bytes = outbox.bytes.saturating_add(message.len());
        outbox.messages.push(message)?;
        self.flush_locked(&mut outbox)
    }

    /// Sends what can be sent.
    pub(crate) fn flush(&self) -> Result {
        self.flush_locked(&mut self.outbox.lock())
    }

    fn flush_locked(&self, outbox: &mut Outbox) -> Result {
        let mut asked = false;

        while let Some(message) = outbox.messages.front() {
            let rest = message.get(outbox.sent..).unwrap_or(&[]);

            match self.conn.send(rest) {
                Ok(n) if n == rest.len() => {
                    let whole = message.len();

                    asked = false;

                    outbox.bytes = outbox.bytes.saturating_sub(whole);
                    outbox.sent = 0;
                    outbox.messages.pop();
                }
                Ok(n) => outbox.sent = outbox.sent.saturating_add(n),
                // Asking also makes the socket tell when there is room again.  Once: a socket may
                // claim to have room and take nothing, and the thread tries again in a while.
                Err(e) if e == EAGAIN => {
                    // Before asking: the thread must see it if room comes meanwhile.
                    self.unsent.xchg(true, Full);
                    if asked {
                        self.look_for_room();
                        break;
                    }
                    if !self.conn.writable() {
                        break;
                    }
                    asked = true;
                }
                Err(e) => return Err(e),
            }
        }

        self.unsent.store(outbox.bytes > 0, Relaxed);

        let full = outbox.bytes > FULL;

        // Whoever made the room: the thread revives the vCPUs that left commands in their queues.
        if self.full.xchg(full, Full) && !full {
            self.look_for_room();
        }
        Ok(())
    }

    fn look_for_room(&self) {
        self.room.xchg(true, Full);
        self.conn.wake_thread();
    }

    /// Is there something that a vCPU may read, and is nobody reading?
    fn wants_reader(&self) -> bool {
        self.conn.is_readable()
            && !self.busy.load(Relaxed)
            && !self.is_full()
            && !self.deferred.load(Relaxed)
    }

    /// Takes the reader's role if it is free.
    pub(crate) fn try_read(&self) -> Option<Reader<'_>> {
        self.busy
            .cmpxchg(false, true, Full)
            .is_ok()
            .then(|| Reader(self))
    }

    /// Is there something to read for a vCPU that has nothing better to do?
    pub(crate) fn readable_by_vcpu(&self) -> bool {
        self.wants_reader()
    }

    /// Wakes somebody if there is something to read and nobody reads.
    pub(crate) fn hand_on(&self) {
        if self.deferred.load(Relaxed) {
            self.conn.wake_thread();
        } else if self.wants_reader() {
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

    /// The thread waits until there is something for it to do.
    pub(crate) fn wait_thread(&self, started: impl Fn() -> bool) {
        self.conn.wait_thread(
            || {
                self.is_dead()
                    || started()
                        && (self.wants_reader()
                            || self.room.load(Relaxed)
                            || self.deferred.load(Relaxed) && !self.busy.load(Relaxed)
                            || self.unsent.load(Relaxed) && self.conn.take_writable())
                // `writable` was taken: the caller flushes.
            },
            if self.has_unsent() { RETRY_MS } else { 0 },
        );
    }

    /// The thread sleeps a moment, or until the session dies.
    pub(crate) fn pause_thread(&self, milliseconds: u32) {
        self.conn.wait_thread(|| self.is_dead(), milliseconds);
    }

    /// Has the tool closed its end?  Says nothing of what it sent before.
    pub(crate) fn is_hung_up(&self) -> bool {
        let _file_stays = self.outbox.lock();

        self.conn.hung_up()
    }

    /// Lets the thread look at its state.
    pub(crate) fn wake_thread(&self) {
        self.conn.wake_thread();
    }

    /// Has room come since this was last asked?
    pub(crate) fn take_room(&self) -> bool {
        self.room.xchg(false, Full)
    }

    /// Is something unsent?
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent.load(Relaxed)
    }
}

impl Reader<'_> {
    /// The next message, if all of it is here.  An error ends the session.
    pub(crate) fn next(&mut self, thread: bool) -> Result<Option<Message>, Failure> {
        let channel = self.0;
        let mut inbox = channel.inbox.lock();

        if channel.is_dead() {
            return Err(Failure::Protocol);
        }
        if inbox.deferred.is_some() {
            if !thread {
                return Ok(None);
            }
            channel.deferred.store(false, Relaxed);
            return Ok(inbox.deferred.take());
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

    /// Leaves a message to the thread: it needs to wait.
    pub(crate) fn defer(&mut self, message: Message) {
        let mut inbox = self.0.inbox.lock();

        inbox.deferred = Some(message);
        self.0.deferred.store(true, Relaxed);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let inbox = self.0.inbox.lock();

        if wire::is_ready(inbox.received()) {
            self.0.conn.set_readable(true);
        }
        drop(inbox);
        // A full barrier: whoever found the role taken went to sleep before, and is woken.
        self.0.busy.xchg(false, Full);
        self.0.hand_on();
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
            bytes, start, end, ..
        } = self;

        if *start > 0 {
            bytes.copy_within(*start..*end, 0);
            *end = end.saturating_sub(*start);
            *start = 0;
        }

        let room = bytes.get_mut(*end..).unwrap_or(&mut []);

        conn.set_readable(false);
        match conn.recv(room) {
            Ok(0) => Err(Failure::Protocol),
            Ok(n) => {
                *end = end.saturating_add(n);
                if conn.has_data() {
                    conn.set_readable(true);
                }
                Ok(true)
            }
            Err(e) if e == EAGAIN => Ok(false),
            Err(_) => Err(Failure::Protocol),
        }
    }
}
