// SPDX-License-Identifier: GPL-2.0

//! `kvmi find`

use std::os::unix::net::UnixStream;

use kvmi_client::{
    Code, Session,
    command::{GetMaxGfn, PAGE},
};
use serde_json::json;

use crate::{
    cli::{Find, Global},
    failure::{Exit, Failure, Result},
    memory::{self, Search},
    output::{self, Output},
    target,
};

/// Longest text that is printed, in bytes.
const LONGEST: u64 = 1024;

/// Finds the first place that holds a text, and prints the rest of its line.
pub fn run(global: &Global, args: &Find, output: &mut Output) -> Result<()> {
    target::with(global, |vm| {
        let session = &mut vm.session;
        let to = match args.to {
            Some(to) => to,
            None => end_of_memory(session)?,
        };
        let bar = output::progress(to.saturating_sub(args.from), false);
        let found = search(session, args, to, |gpa| {
            bar.set_position(gpa - args.from);
        })?;
        bar.finish_and_clear();
        let Some(gpa) = found else {
            let message = format!("not found between {:#x} and {to:#x}", args.from);
            return Err(Failure::new(Exit::NotFound, message));
        };
        let text = line(session, gpa)?;
        if output.is_json() {
            output.value(&json!({ "gpa": output::hex(gpa), "text": text }))
        } else {
            output.line(format_args!("{gpa:#x}: {text}"))
        }
    })
}

/// The first address before `to` that holds the text.
fn search(
    session: &mut Session<UnixStream>,
    args: &Find,
    to: u64,
    progress: impl Fn(u64),
) -> Result<Option<u64>> {
    let mut search = Search::new(args.text.as_bytes());
    let mut next = args.from;
    loop {
        let mut found = None;
        let mut hole = None;
        memory::scan(session, next, to, |gpa, size, bytes| {
            progress(gpa + size);
            found = search.feed(gpa, bytes);
            hole = bytes.is_none().then_some(gpa);
            Ok(found.is_none() && hole.is_none())
        })?;
        let Some(gpa) = hole else {
            return Ok(found);
        };
        match memory::skip_hole(session, gpa, to)? {
            Some(gpa) => next = gpa,
            None => return Ok(None),
        }
    }
}

/// The address behind the last page of memory.
fn end_of_memory(session: &mut Session<UnixStream>) -> Result<u64> {
    match session.call(GetMaxGfn) {
        Ok(gfn) => Ok(gfn.saturating_add(1).saturating_mul(PAGE)),
        Err(error) if error.code() == Some(Code::ENOSYS) => Err(Failure::new(
            Exit::Usage,
            "this kernel does not say where memory ends",
        )
        .fix("say it with --to")),
        Err(error) => Err(error.into()),
    }
}

/// The text at `gpa` up to the end of its line, a NUL, or the end of memory.
fn line(session: &mut Session<UnixStream>, gpa: u64) -> Result<String> {
    let mut text = Vec::new();
    let end = gpa.saturating_add(LONGEST);
    memory::scan(session, gpa, end, |_, _, bytes| {
        let bytes = bytes.unwrap_or_default();
        let stop = bytes.iter().position(|byte| matches!(byte, b'\n' | 0));
        text.extend_from_slice(&bytes[..stop.unwrap_or(bytes.len())]);
        Ok(stop.is_none() && !bytes.is_empty())
    })?;
    Ok(printable(&text))
}

/// The guest's bytes with nothing in them that a terminal would obey.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use kvmi_client::fake::{self, Vm};

    use super::*;

    #[test]
    fn a_text_across_pages_and_its_line() {
        let mut vm = Vm::default();
        for gfn in [0, 1, 2, 9, 10] {
            vm.pages.insert(gfn, vec![0; 4096]);
        }
        vm.pages
            .insert(9, [vec![b'.'; 4091], b"Linux".to_vec()].concat());
        vm.pages.get_mut(&10).unwrap()[..9].copy_from_slice(b" 7.3\x07 x\nz");
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        let find = |text: &str, from| Find {
            text: text.into(),
            from,
            to: None,
        };
        let to = end_of_memory(&mut session).unwrap();
        assert_eq!(to, 11 * PAGE);
        let found = search(&mut session, &find("Linux 7", 5), to, |_| ()).unwrap();
        assert_eq!(found, Some(0x9ffb));
        assert_eq!(line(&mut session, 0x9ffb).unwrap(), "Linux 7.3. x");
        let none = search(&mut session, &find("Linux 7", 0x9ffc), to, |_| ()).unwrap();
        assert_eq!(none, None);
        // Text up to the end of memory.
        assert_eq!(line(&mut session, 0xaffe).unwrap(), "");
        assert_eq!(line(&mut session, 0x100_0000).unwrap(), "");
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn guests_do_not_reach_the_terminal() {
        assert_eq!(printable(b"ok \x1b[2J\x07\xff"), "ok .[2J.\u{fffd}");
    }
}
