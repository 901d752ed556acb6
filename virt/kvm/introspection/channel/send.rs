// SPDX-License-Identifier: GPL-2.0

//! The sending half of a channel: a queue, and whoever sends it.
//!
//! Who sends has the half, and no lock.  Who finds it gone leaves its message in the queue: the
//! one that has it looks again before it is done.

use super::Channel;
use crate::{fifo::Fifo, sys::socket::Sender};
use kernel::{
    prelude::*,
    sync::atomic::{Full, Relaxed},
};

/// Unsent bytes from which on no further command is read.
const FULL: usize = 64 * 1024;

/// The half that sends, and the message of which a part is sent.
pub(super) struct Output {
    sender: Sender,
    current: Option<(KVec<u8>, usize)>,
}

/// What is to be sent.
pub(super) struct Outbox {
    open: bool,
    /// `None`: somebody sends.
    output: Option<Output>,
    messages: Fifo<KVec<u8>>,
    /// Bytes of the messages that are not wholly sent.
    bytes: usize,
}

impl Outbox {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            open: true,
            output: Some(Output {
                sender,
                current: None,
            }),
            messages: Fifo::new(),
            bytes: 0,
        }
    }

    /// Ends the queue, and gives the half away if nobody uses it: who does sends the rest, and
    /// then lets go of it.
    pub(super) fn close(&mut self) -> Option<Output> {
        self.open = false;
        if self.output.is_some() {
            self.messages.clear();
        }
        self.output.take()
    }
}

/// How far sending has come.
enum Sent {
    All,
    /// There is no room.
    Part,
}

impl Channel {
    /// Queues a message and sends what can be sent.  `EPIPE`: the session is over.
    pub(crate) fn send(&self, message: KVec<u8>) -> Result {
        self.queue(message)?;
        if !self.flush()? {
            // It tries again in a while, also if no room is announced.
            self.conn.wake_task();
        }
        Ok(())
    }

    fn queue(&self, message: KVec<u8>) -> Result {
        let mut outbox = self.outbox.lock();

        if self.is_dead() || !outbox.open {
            return Err(EPIPE);
        }
        outbox.bytes = outbox.bytes.saturating_add(message.len());
        outbox.messages.push(message)
    }

    /// Sends what can be sent, and returns whether that was all, or somebody else sends the rest.
    pub(crate) fn flush(&self) -> Result<bool> {
        while let Some(mut output) = self.take_output() {
            let sent = self.send_some(&mut output);

            if let Some(done) = self.put_output(output, sent)? {
                return Ok(done);
            }
        }
        Ok(true)
    }

    /// The half that sends, if there is something to send and nobody has it.
    fn take_output(&self) -> Option<Output> {
        let mut outbox = self.outbox.lock();

        if outbox.bytes == 0 {
            return None;
        }
        outbox.output.take()
    }

    /// Puts the half that sends back.  `None`: something was queued meanwhile.
    fn put_output(&self, output: Output, sent: Result<Sent>) -> Result<Option<bool>> {
        let mut outbox = self.outbox.lock();

        if self.is_dead() {
            drop(outbox);
            self.send_last(output);
            return Err(EPIPE);
        }
        outbox.output = Some(output);

        let unsent = outbox.bytes > 0;
        let full = outbox.bytes > FULL;

        drop(outbox);
        self.unsent.store(unsent, Relaxed);
        if !unsent {
            self.conn.want_room(false);
        }
        // Whoever made the room: the task revives the vCPUs that left commands in their queues.
        if self.full.xchg(full, Full) && !full {
            self.room.xchg(true, Full);
            self.conn.wake_task();
        }
        Ok(match sent? {
            Sent::All if unsent => None,
            Sent::All => Some(true),
            Sent::Part => Some(false),
        })
    }

    /// The session died while this half was in use: what was answered before is sent before the
    /// socket is shut down.
    fn send_last(&self, mut output: Output) {
        // There is nobody left to tell.
        let _ = self.send_some(&mut output);

        self.shut_down();

        let mut outbox = self.outbox.lock();

        outbox.messages.clear();
        if outbox.open {
            outbox.output = Some(output);
        } else {
            drop(outbox);
            drop(output);
        }
    }

    /// Shuts the socket down, unless somebody is sending, who does so then.
    pub(super) fn shut_down_unless_sending(&self) {
        if self.outbox.lock().output.is_some() {
            self.shut_down();
        }
    }

    fn shut_down(&self) {
        if !self.shut.xchg(true, Full) {
            self.conn.shutdown();
        }
    }

    /// Sends messages until there is none, or no room.
    fn send_some(&self, output: &mut Output) -> Result<Sent> {
        let mut asked = false;

        loop {
            if output.current.is_none() {
                output.current = self
                    .outbox
                    .lock()
                    .messages
                    .pop()
                    .map(|message| (message, 0));
            }
            let Some((message, sent)) = &mut output.current else {
                return Ok(Sent::All);
            };
            let rest = message.get(*sent..).unwrap_or(&[]);

            match output.sender.send(rest) {
                Ok(n) if n == rest.len() => {
                    let whole = message.len();
                    let mut outbox = self.outbox.lock();

                    asked = false;
                    outbox.bytes = outbox.bytes.saturating_sub(whole);
                    output.current = None;
                }
                Ok(n) => *sent = sent.saturating_add(n),
                // Asking also makes the socket tell when there is room again.  Once: a socket may
                // claim to have room and take nothing.
                Err(e) if e == EAGAIN => {
                    // Before asking: the task must hear of it if room comes meanwhile.
                    self.conn.want_room(true);
                    if asked || !output.sender.writable() {
                        return Ok(Sent::Part);
                    }
                    asked = true;
                }
                Err(e) => return Err(e),
            }
        }
    }
}
