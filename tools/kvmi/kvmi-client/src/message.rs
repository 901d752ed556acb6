// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whole messages: where one ends, and whether it is a reply or an event.

use std::{
    io::{ErrorKind, Read},
    ops::Range,
};

use zerocopy::{FromBytes, IntoBytes};

use crate::{
    error::{Error, Result},
    wire::{self, HEADER, MAX_PAYLOAD},
};

/// A whole message from the kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of the command that is answered, or 0 or 1 for an event.
    pub id: u16,
    /// Sequence number: the command's, or the event's own.
    pub seq: u32,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Message {
    /// Whether this is a command's reply; everything else is an event.
    ///
    /// With id 0 or 1, a payload of 8 bytes whose error code is not zero is a
    /// reply (an event reply that the kernel refused); any other is an event.
    pub fn is_reply(&self) -> bool {
        let event_id = u32::from(self.id) <= wire::KVMI_VCPU_EVENT;
        let refused = || self.error_code().is_some_and(|code| code.err != 0);
        !event_id || (self.payload.len() == size_of::<wire::kvmi_error_code>() && refused())
    }

    /// The first 8 bytes read as an error code; `None` if there are fewer.
    pub fn error_code(&self) -> Option<wire::kvmi_error_code> {
        wire::kvmi_error_code::read_from_prefix(&self.payload)
            .ok()
            .map(|(code, _)| code)
    }

    /// The bytes to send for a message of `id`: header and payload in one.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the payload is larger than the protocol allows.
    pub fn encode(id: u16, seq: u32, payload: &[u8]) -> Result<Vec<u8>> {
        let size = u16::try_from(payload.len())
            .ok()
            .filter(|&size| usize::from(size) <= MAX_PAYLOAD)
            .ok_or(Error::Usage("the message is larger than 8184 bytes"))?;
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(wire::kvmi_msg_hdr { id, size, seq }.as_bytes());
        bytes.extend_from_slice(payload);
        Ok(bytes)
    }
}

/// Room for what one read may bring: several messages of any size.
const ROOM: usize = 8 * (HEADER + MAX_PAYLOAD);

/// Cuts a stream into messages.
///
/// What was read beyond a message, or of half a message, stays here: a call
/// goes on where the last one stopped.
#[derive(Debug)]
pub struct Reader {
    room: Box<[u8]>,
    /// Where the bytes lie that no message has taken yet; within the room.
    have: Range<usize>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader {
            room: vec![0; ROOM].into_boxed_slice(),
            have: 0..0,
        }
    }
}

impl Reader {
    /// Reads until one message is complete. `what` names what is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] at the end of the stream, [`Error::Timeout`] if the
    /// stream has a time limit, [`Error::Protocol`] if a header claims more
    /// than the protocol allows, [`Error::Io`] for everything else.
    pub fn read(&mut self, stream: &mut impl Read, what: &'static str) -> Result<Message> {
        loop {
            if let Some(message) = self.kept()? {
                return Ok(message);
            }
            self.fill(stream, what)?;
        }
    }

    /// A message that is here already; never reads from the stream.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if a header claims more than the protocol allows.
    pub fn kept(&mut self) -> Result<Option<Message>> {
        let bytes = &self.room[self.have.clone()];
        let Ok((header, rest)) = wire::kvmi_msg_hdr::read_from_prefix(bytes) else {
            return Ok(None);
        };
        let size = usize::from(header.size);
        if size > MAX_PAYLOAD {
            return Err(Error::Protocol(format!(
                "a message claims {size} bytes; {MAX_PAYLOAD} are allowed"
            )));
        }
        let Some(payload) = rest.get(..size) else {
            return Ok(None);
        };
        let message = Message {
            id: header.id,
            seq: header.seq,
            payload: payload.to_vec(),
        };
        self.have.start += HEADER + size;
        Ok(Some(message))
    }

    /// Reads what there is, at least one byte.
    fn fill(&mut self, stream: &mut impl Read, what: &'static str) -> Result<()> {
        // Less than a message is left, so that there is always room behind it.
        self.room.copy_within(self.have.clone(), 0);
        self.have = 0..self.have.len();
        let result = loop {
            match stream.read(&mut self.room[self.have.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            Ok(0) => Err(Error::Closed),
            Ok(size) => {
                self.have.end += size;
                Ok(())
            }
            Err(error) => Err(Error::from_io(error, what)),
        }
    }
}
