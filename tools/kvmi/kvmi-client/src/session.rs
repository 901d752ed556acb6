// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session: commands out, replies and events in.

use std::{
    collections::{HashMap, VecDeque},
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use crate::{
    code::Code,
    command::{self, Command},
    error::{Error, Result},
    event::{Answer, Event, VcpuEvent},
    message::{Message, Reader},
    patience::{PATIENCE, Patience},
    wire,
};

/// A session over a connected stream whose other end the kernel holds.
///
/// If the stream has a time limit for reading, calls return
/// [`Error::Timeout`] when it is over, and the session goes on.
#[derive(Debug)]
pub struct Session<S> {
    stream: S,
    reader: Reader,
    /// The sequence number of the last command.
    seq: u32,
    /// Commands without their answer taken, by sequence number.
    pending: HashMap<u32, Slot>,
    events: VecDeque<Event>,
    /// How long is asked for a page.
    patience: Duration,
    /// What ends that.
    stop: Option<OwnedFd>,
}

/// What is known of a command that was sent.
#[derive(Debug)]
struct Slot {
    id: u16,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    /// The payload of the reply.
    Answered(Vec<u8>),
    /// Nobody waits any more.
    Abandoned,
}

/// A command that was sent: the right to its reply.
#[must_use = "the reply is kept until somebody waits for it"]
#[derive(Debug)]
pub struct Ticket<C> {
    seq: u32,
    command: C,
}

impl<S: Read + Write> Session<S> {
    /// A session on `stream`, on which nothing has been said yet.
    pub fn new(stream: S) -> Self {
        Session {
            stream,
            reader: Reader::default(),
            seq: 0,
            pending: HashMap::new(),
            events: VecDeque::new(),
            patience: PATIENCE,
            stop: None,
        }
    }

    /// Sets how long is asked again for a page that is not in the VMM's
    /// memory; about five seconds if this is not called.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Has the wait for a page end with [`Error::Stopped`] as soon as `file`
    /// is readable: the tool's signals, for one.
    pub fn stop_by(&mut self, file: OwnedFd) {
        self.stop = Some(file);
    }

    /// The stream, to be polled or given a time limit.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, for somebody else. Nothing that was read stays with it: of
    /// a session that has been used, events and late replies are lost.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Sends a command and waits for its reply; events that come first are
    /// kept for [`Session::event`].
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the kernel's code, [`Error::Absent`] and
    /// [`Error::Stopped`] for memory, and those of the connection.
    pub fn call<C: Command>(&mut self, command: C) -> Result<C::Reply> {
        let ticket = self.send(command)?;
        self.wait(ticket)
    }

    /// As [`Session::call`], but a page that is not in the VMM's memory is
    /// asked for once only: [`Error::Refused`] with `EAGAIN`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the kernel's code, and those of the connection.
    pub fn call_once<C: Command>(&mut self, command: C) -> Result<C::Reply> {
        let seq = self.ask(&command)?;
        self.answer_to(seq, &command)
    }

    /// Sends a command, to wait for its reply later. A few dozen commands may
    /// be on their way at once; more could fill the socket in both directions.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it does not fit into a message, and those of the
    /// connection.
    pub fn send<C: Command>(&mut self, command: C) -> Result<Ticket<C>> {
        let seq = self.ask(&command)?;
        Ok(Ticket { seq, command })
    }

    /// Sends a command; its sequence number.
    fn ask<C: Command>(&mut self, command: &C) -> Result<u32> {
        let payload = command::payload(command)?;
        loop {
            self.seq = self.seq.wrapping_add(1);
            if !self.pending.contains_key(&self.seq) {
                break;
            }
        }
        self.write(&Message::encode(C::ID, self.seq, &payload)?)?;
        let slot = Slot {
            id: C::ID,
            state: State::Waiting,
        };
        self.pending.insert(self.seq, slot);
        Ok(self.seq)
    }

    /// Waits for the reply to a command that was sent.
    ///
    /// The kernel waits for no page that is not in the VMM's memory: it says
    /// `EAGAIN`. This is where such a command is sent again.
    ///
    /// # Errors
    ///
    /// As [`Session::call`]. After any error the command is given up: its
    /// reply, should it come, is dropped.
    pub fn wait<C: Command>(&mut self, ticket: Ticket<C>) -> Result<C::Reply> {
        let Ticket { mut seq, command } = ticket;
        let mut patience = None;
        loop {
            match self.answer_to(seq, &command) {
                Err(error) if C::REACHES_MEMORY && error.code() == Some(Code::EAGAIN) => {
                    let limit = self.patience;
                    let patience = patience.get_or_insert_with(|| Patience::new(limit));
                    if !patience.pause(self.stop.as_ref().map(AsFd::as_fd))? {
                        return Err(absent(&command));
                    }
                    seq = self.ask(&command)?;
                }
                result => return result,
            }
        }
    }

    /// Waits for the reply to one sequence number.
    fn answer_to<C: Command>(&mut self, seq: u32, command: &C) -> Result<C::Reply> {
        loop {
            match self.pending.remove(&seq) {
                Some(Slot {
                    state: State::Answered(payload),
                    ..
                }) => return decode(command, &payload),
                Some(slot) => {
                    self.pending.insert(seq, slot);
                }
                None => return Err(Error::Usage("the command belongs to another session")),
            }
            if let Err(error) = self.receive(C::NAME) {
                self.abandon(seq);
                return Err(error);
            }
        }
    }

    /// Gives a command up: it is carried out, but its reply is dropped.
    pub fn forget<C>(&mut self, ticket: Ticket<C>) {
        self.abandon(ticket.seq);
    }

    fn abandon(&mut self, seq: u32) {
        match self.pending.get_mut(&seq) {
            Some(slot) if matches!(slot.state, State::Waiting) => slot.state = State::Abandoned,
            _ => {
                self.pending.remove(&seq);
            }
        }
    }

    /// The next event: one that is kept, or else the next that comes.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn event(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.kept_event()? {
                return Ok(event);
            }
            self.receive("event")?;
        }
    }

    /// The next event that is here already; never reads from the stream. Only
    /// when there is none, the stream says whether there is more.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn kept_event(&mut self) -> Result<Option<Event>> {
        while self.events.is_empty() {
            match self.reader.kept()? {
                Some(message) => self.sort(message)?,
                None => break,
            }
        }
        Ok(self.events.pop_front())
    }

    /// Answers an event, whereupon its vCPU goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the event does not allow the answer (nothing was
    /// sent), and those of the connection.
    pub fn answer(&mut self, event: &VcpuEvent, answer: Answer) -> Result<()> {
        let payload = event.answer(answer)?;
        let id = wire::KVMI_VCPU_EVENT as u16;
        self.write(&Message::encode(id, event.seq, &payload)?)
    }

    /// Writes a whole message at once, as the kernel wants it.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .map_err(|error| Error::from_io(error, "sending"))
    }

    /// Reads one message and puts it where it belongs.
    fn receive(&mut self, what: &'static str) -> Result<()> {
        let message = self.reader.read(&mut self.stream, what)?;
        self.sort(message)
    }

    /// Puts a message where it belongs.
    fn sort(&mut self, message: Message) -> Result<()> {
        if !message.is_reply() {
            self.events.push_back(Event::parse(&message)?);
            return Ok(());
        }
        if u32::from(message.id) <= wire::KVMI_VCPU_EVENT {
            // A refused event reply belongs to no command.
            let err = message.error_code().map_or(0, |code| code.err);
            let code = Code::from_wire(err).unwrap_or(Code::EINVAL);
            return Err(Error::Refused {
                command: "event reply",
                code,
            });
        }
        match self.pending.get_mut(&message.seq) {
            Some(slot) if slot.id != message.id => Err(Error::Protocol(format!(
                "command {} was answered as {}",
                slot.id, message.id
            ))),
            Some(slot) if matches!(slot.state, State::Waiting) => {
                slot.state = State::Answered(message.payload);
                Ok(())
            }
            Some(slot) if matches!(slot.state, State::Abandoned) => {
                self.pending.remove(&message.seq);
                Ok(())
            }
            _ => Err(Error::Protocol(format!(
                "a reply to command {} (sequence {}) that nobody waits for",
                message.id, message.seq
            ))),
        }
    }
}

/// The error of a command whose page has not come.
fn absent<C: Command>(command: &C) -> Error {
    // A vCPU that cannot take commands yet says the same.
    let what = match command.vcpu() {
        None => "the page",
        Some(_) => "the vCPU cannot take commands yet, or a page of the guest's page tables",
    };
    Error::Absent {
        command: C::NAME,
        what,
    }
}

/// Reads a reply: the error code, then what the command expects.
fn decode<C: Command>(command: &C, payload: &[u8]) -> Result<C::Reply> {
    let head = size_of::<wire::kvmi_error_code>();
    let Some((code, body)) = payload.split_at_checked(head) else {
        return Err(command::short::<C>(payload.len(), head));
    };
    let (err, _) = code.split_at(size_of::<i32>());
    // The slice has 4 bytes by construction.
    let err = i32::from_ne_bytes(err.try_into().unwrap_or_default());
    match Code::from_wire(err) {
        Some(code) => Err(Error::Refused {
            command: C::NAME,
            code,
        }),
        None => command.reply(body),
    }
}
