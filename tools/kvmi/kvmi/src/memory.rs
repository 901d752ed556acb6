// SPDX-License-Identifier: GPL-2.0

//! Guest physical memory in runs longer than a page.

use std::{
    collections::VecDeque,
    io::{Read, Write},
};

use kvmi_client::{
    Code, Error, Session,
    command::{ReadPhysical, WritePhysical, within_page},
};

use crate::failure::{Exit, Failure, Result};

/// Commands on their way at once. Their replies fit into a socket's buffer.
const WINDOW: usize = 32;

/// Reads from `gpa` up to `end`, page by page in order; `each` gets the
/// address and the bytes, or `None` for a page without memory, and says
/// whether to go on.
pub fn scan<S: Read + Write>(
    session: &mut Session<S>,
    gpa: u64,
    end: u64,
    mut each: impl FnMut(u64, u64, Option<&[u8]>) -> Result<bool>,
) -> Result<()> {
    let mut next = gpa;
    let mut sent = VecDeque::new();
    let result = loop {
        while sent.len() < WINDOW && next < end {
            // Within a page, so it fits.
            let size = within_page(next, end - next) as u16;
            let command = ReadPhysical { gpa: next, size };
            sent.push_back((next, u64::from(size), session.send(command)?));
            next += u64::from(size);
        }
        let Some((gpa, size, ticket)) = sent.pop_front() else {
            break Ok(());
        };
        let more = match session.wait(ticket) {
            Ok(bytes) => each(gpa, size, Some(&bytes)),
            Err(error) if error.code() == Some(Code::ENOENT) => each(gpa, size, None),
            Err(error) => Err(at(gpa)(error)),
        };
        match more {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    for (_, _, ticket) in sent {
        session.forget(ticket);
    }
    result
}

/// Writes `data` at `gpa`, page by page in order; `progress` gets the number of
/// bytes each time.
pub fn store<S: Read + Write>(
    session: &mut Session<S>,
    gpa: u64,
    data: &[u8],
    mut progress: impl FnMut(u64),
) -> Result<()> {
    end(gpa, data.len() as u64)?;
    let mut rest = data;
    while !rest.is_empty() {
        let done = data.len() - rest.len();
        let gpa = gpa + done as u64;
        let (data, behind) = rest.split_at(within_page(gpa, rest.len() as u64));
        session
            .call(WritePhysical { gpa, data })
            .map_err(at(gpa))
            .map_err(|failure| match done {
                0 => failure,
                _ => failure.context(format_args!("{done} bytes were written, then")),
            })?;
        progress(data.len() as u64);
        rest = behind;
    }
    Ok(())
}

/// Says at which address a command failed.
pub fn at(gpa: u64) -> impl Fn(Error) -> Failure {
    move |error| match error.code() {
        Some(Code::ENOENT) => hole(gpa),
        _ => Failure::from(error).context(format_args!("at {gpa:#x}")),
    }
}

/// The failure where the guest has no memory.
pub fn hole(gpa: u64) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the guest has no memory at {gpa:#x} that KVM could reach"),
    )
    .fix("`kvmi info` shows where memory ends; devices and firmware leave holes below")
}

/// The address behind `len` bytes from `gpa`.
pub fn end(gpa: u64, len: u64) -> Result<u64> {
    gpa.checked_add(len).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            "the range goes beyond the end of the address space",
        )
    })
}

/// Looks for `needle` in a stream of pages, across page boundaries.
pub struct Search<'a> {
    needle: &'a [u8],
    /// The end of what came before, too short to hold the whole needle.
    tail: Vec<u8>,
}

impl<'a> Search<'a> {
    /// A search for `needle`, which is not empty.
    pub fn new(needle: &'a [u8]) -> Self {
        Search {
            needle,
            tail: Vec::new(),
        }
    }

    /// Looks into the bytes at `gpa`; `None` is a hole. The address of the
    /// first place where the needle is complete with these bytes.
    pub fn feed(&mut self, gpa: u64, bytes: Option<&[u8]>) -> Option<u64> {
        let Some(bytes) = bytes else {
            self.tail.clear();
            return None;
        };
        let start = gpa - self.tail.len() as u64;
        self.tail.extend_from_slice(bytes);
        let found = self
            .tail
            .windows(self.needle.len())
            .position(|window| window == self.needle);
        if let Some(offset) = found {
            return Some(start + offset as u64);
        }
        let keep = self.tail.len().min(self.needle.len() - 1);
        self.tail.drain(..self.tail.len() - keep);
        None
    }
}

#[cfg(test)]
mod tests {
    use kvmi_client::fake::{self, Vm};

    use super::*;

    fn vm(frames: impl Iterator<Item = u64>) -> Vm {
        Vm {
            pages: frames.map(|gfn| (gfn, vec![gfn as u8; 4096])).collect(),
            ..Vm::default()
        }
    }

    #[test]
    fn a_scan_sees_pages_and_holes_in_order() {
        let vm = vm((2..100).chain(102..104));
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        let mut seen = Vec::new();
        scan(&mut session, 0x1ffe, 0x68000, |gpa, size, bytes| {
            seen.push((gpa, size, bytes.map(|bytes| (bytes.len(), bytes[0]))));
            Ok(true)
        })
        .unwrap();
        assert_eq!(seen[0], (0x1ffe, 2, None));
        assert_eq!(seen[1], (0x2000, 4096, Some((4096, 2))));
        assert_eq!(seen.len(), 1 + 102);
        assert_eq!(seen[99], (0x64000, 4096, None));
        assert_eq!(seen[102], (0x67000, 4096, Some((4096, 103))));
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn a_scan_that_stops_early_leaves_the_session_usable() {
        let (mut session, kernel) = fake::session(|kernel| vm(0..64).serve(kernel));
        scan(&mut session, 0, 0x40000, |_, _, _| Ok(false)).unwrap();
        let bytes = session
            .call(ReadPhysical {
                gpa: 0x7005,
                size: 3,
            })
            .unwrap();
        assert_eq!(bytes, [7, 7, 7]);
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn a_store_crosses_pages_up_to_a_hole() {
        let (mut session, kernel) = fake::session(|kernel| vm(1..3).serve(kernel));
        store(&mut session, 0x1ffe, b"abcd", |_| ()).unwrap();
        let failure = store(&mut session, 0x2fff, b"xy", |_| ()).unwrap_err();
        assert!(failure.message.starts_with("1 bytes were written"));
        assert!(failure.message.contains("0x3000"), "{}", failure.message);
        assert!(store(&mut session, u64::MAX, b"xy", |_| ()).is_err());
        drop(session);
        let pages = kernel.join().unwrap().pages;
        assert_eq!(pages[&1][4093..], [1, b'a', b'b']);
        assert_eq!(pages[&2][..3], [b'c', b'd', 2]);
        assert_eq!(pages[&2][4094..], [2, b'x']);
    }

    #[test]
    fn a_needle_across_pages() {
        let mut search = Search::new(b"needle");
        assert_eq!(search.feed(0x1000, Some(b"hay nee")), None);
        assert_eq!(search.feed(0x1007, Some(b"d")), None);
        assert_eq!(search.feed(0x1008, Some(b"le hay")), Some(0x1004));
    }

    #[test]
    fn a_hole_breaks_a_needle() {
        let mut search = Search::new(b"needle");
        assert_eq!(search.feed(0x1000, Some(b"nee")), None);
        assert_eq!(search.feed(0x1003, None), None);
        assert_eq!(search.feed(0x2003, Some(b"dle")), None);
        assert_eq!(search.feed(0x2006, Some(b"xneedle")), Some(0x2007));
    }

    #[test]
    fn a_needle_of_one_byte() {
        let mut search = Search::new(b"x");
        assert_eq!(search.feed(0, Some(b"ab")), None);
        assert_eq!(search.feed(2, Some(b"x")), Some(2));
    }

    #[test]
    fn ends() {
        assert_eq!(end(1, 2).unwrap(), 3);
        assert!(end(u64::MAX, 2).is_err());
    }
}
