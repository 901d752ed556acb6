// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whole messages: where one ends, and whether it is a reply or an event.

use std::io::{ErrorKind, Read};

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

/// Cuts a stream into messages.
///
/// Half a message stays here when the stream times out, so that the next call
/// goes on where the last one stopped.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Vec<u8>,
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
            let wanted = match self.header()? {
                None => HEADER,
                Some(header) => {
                    let end = HEADER + usize::from(header.size);
                    if self.partial.len() == end {
                        let payload = self.partial.split_off(HEADER);
                        self.partial.clear();
                        return Ok(Message {
                            id: header.id,
                            seq: header.seq,
                            payload,
                        });
                    }
                    end
                }
            };
            self.fill(stream, wanted, what)?;
        }
    }

    /// The header, once it is here.
    fn header(&self) -> Result<Option<wire::kvmi_msg_hdr>> {
        let Ok((header, _)) = wire::kvmi_msg_hdr::read_from_prefix(&self.partial) else {
            return Ok(None);
        };
        if usize::from(header.size) > MAX_PAYLOAD {
            return Err(Error::Protocol(format!(
                "a message claims {} bytes; {MAX_PAYLOAD} are allowed",
                header.size
            )));
        }
        Ok(Some(header))
    }

    /// Reads at least one byte and never beyond `wanted`.
    fn fill(&mut self, stream: &mut impl Read, wanted: usize, what: &'static str) -> Result<()> {
        let have = self.partial.len();
        self.partial.resize(wanted, 0);
        let result = loop {
            match stream.read(&mut self.partial[have..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.partial.truncate(have + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(Error::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(Error::from_io(error, what)),
        }
    }
}
