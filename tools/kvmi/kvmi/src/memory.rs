// SPDX-License-Identifier: GPL-2.0

//! Guest physical memory in runs longer than a page.

use std::{
    collections::VecDeque,
    io::{Read, Write},
};

use kvmi_client::{
    Code, Error, Session,
    command::{PAGE, ReadPhysical, WritePhysical, within_page},
};

use memchr::memmem::Finder;

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
        // Many at once, so that both sides work in batches.
        let room = if sent.len() > WINDOW / 2 {
            0
        } else {
            WINDOW - sent.len()
        };
        for _ in 0..room {
            if next >= end {
                break;
            }
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

/// Longest distance in bytes between the probes of [`skip_hole`].
const STRIDE: u64 = 1 << 20;

/// The first page with memory behind the hole at `gpa` and before `end`;
/// `None` if there is none.
///
/// The hole is probed at distances that double up to 1 MiB, so that gigabytes
/// without memory cost little. A piece of memory that begins and ends between
/// two probes is missed.
pub fn skip_hole<S: Read + Write>(
    session: &mut Session<S>,
    gpa: u64,
    end: u64,
) -> Result<Option<u64>> {
    let mut hole = gpa / PAGE;
    // The last page is always probed: memory ends there.
    let last = end.saturating_sub(1) / PAGE;
    let mut step = 1;
    let mut found = loop {
        if hole >= last {
            return Ok(None);
        }
        // Multiples of the step, so that regions are met at their beginning.
        let next = ((hole / step + 1) * step).min(last);
        if has_memory(session, next)? {
            break next;
        }
        hole = next;
        step = (step * 2).min(STRIDE / PAGE);
    };
    while found - hole > 1 {
        let middle = hole + (found - hole) / 2;
        if has_memory(session, middle)? {
            found = middle;
        } else {
            hole = middle;
        }
    }
    Ok(Some(found * PAGE))
}

fn has_memory<S: Read + Write>(session: &mut Session<S>, gfn: u64) -> Result<bool> {
    let gpa = gfn * PAGE;
    match session.call_once(ReadPhysical { gpa, size: 1 }) {
        Ok(_) => Ok(true),
        // There is, though it is not in the VMM's memory now.
        Err(error) if error.code() == Some(Code::EAGAIN) => Ok(true),
        Err(error) if error.code() == Some(Code::ENOENT) => Ok(false),
        Err(error) => Err(at(gpa)(error)),
    }
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
    needle: Finder<'a>,
    /// The end of what came before, too short to hold the whole needle.
    tail: Vec<u8>,
}

impl<'a> Search<'a> {
    /// A search for `needle`, which is not empty.
    pub fn new(needle: &'a [u8]) -> Self {
        Search {
            needle: Finder::new(needle),
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
        if let Some(offset) = self.needle.find(&self.tail) {
            return Some(start + offset as u64);
        }
        let keep = self.tail.len().min(self.needle.needle().len() - 1);
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
    fn holes_are_skipped_and_what_is_behind_is_met_at_its_beginning() {
        let behind = [0x100, 0x8_0005, 0xf_ffc0];
        let vm = vm(behind.into_iter().flat_map(|gfn| gfn..gfn + 0x40));
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        let mut skip = |from: u64, to| skip_hole(&mut session, from * PAGE, to).unwrap();
        let end = 1 << 32;
        assert_eq!(skip(0, end), Some(0x10_0000));
        // Too short, and off the beat.
        assert_eq!(skip(0x140, end), Some(0xf_ffc0 * PAGE));
        assert_eq!(skip(0x8_0000, end), Some(0x8_0005 * PAGE));
        assert_eq!(skip(0x8_0045, end), Some(0xf_ffc0 * PAGE));
        assert_eq!(skip(0x140, 0x8_0000 * PAGE), None);
        assert_eq!(skip(0x140, 0x8_0006 * PAGE), Some(0x8_0005 * PAGE));
        assert_eq!(skip(0x140, 0x140 * PAGE), None);
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn pages_that_are_not_there_now_are_memory() {
        let absent = |times| {
            let mut vm = vm(0..3);
            vm.absent.insert(1, times);
            vm
        };
        let kernel = absent(3);
        let (mut session, kernel) = fake::session(|fake| kernel.serve(fake));
        let mut read = Vec::new();
        scan(&mut session, 0, 3 * PAGE, |_, _, bytes| {
            read.extend_from_slice(bytes.unwrap_or_default());
            Ok(true)
        })
        .unwrap();
        let pages: Vec<_> = read.chunks(4096).map(|page| page[0]).collect();
        assert_eq!(pages, [0, 1, 2], "in their order");
        drop(session);
        kernel.join().unwrap();

        let kernel = absent(u64::MAX);
        let (mut session, kernel) = fake::session(|fake| kernel.serve(fake));
        assert!(has_memory(&mut session, 1).unwrap(), "nobody waits for it");
        session.set_patience(std::time::Duration::from_millis(10));
        let failure = scan(&mut session, 0, 3 * PAGE, |_, _, _| Ok(true)).unwrap_err();
        assert!(failure.is_absent() && failure.exit == Exit::Timeout);
        let message = &failure.message;
        assert!(
            message.starts_with("at 0x1000: VM_READ_PHYSICAL"),
            "{message}"
        );
        let failure = store(&mut session, 0xfff, b"ab", |_| ()).unwrap_err();
        let message = &failure.message;
        assert!(
            message.starts_with("1 bytes were written, then: at 0x1000"),
            "{message}"
        );
        drop(session);
        let asked = kernel.join().unwrap().commands;
        assert_eq!(asked[0], 12);
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
