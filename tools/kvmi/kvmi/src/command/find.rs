// SPDX-License-Identifier: GPL-2.0

//! `kvmi find`

use kvmi_client::{
    Code,
    attach::Attachment,
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
        let to = match args.to {
            Some(to) => to,
            None => end_of_memory(vm)?,
        };
        let bar = output::progress(to.saturating_sub(args.from), false);
        let mut search = Search::new(args.text.as_bytes());
        let mut found = None;
        memory::scan(&mut vm.session, args.from, to, |gpa, size, bytes| {
            bar.inc(size);
            found = search.feed(gpa, bytes);
            Ok(found.is_none())
        })?;
        bar.finish_and_clear();
        let Some(gpa) = found else {
            let message = format!("not found between {:#x} and {to:#x}", args.from);
            return Err(Failure::new(Exit::NotFound, message));
        };
        let text = line(vm, gpa)?;
        if output.is_json() {
            output.value(&json!({ "gpa": output::hex(gpa), "text": text }))
        } else {
            output.line(format_args!("{gpa:#x}: {text}"))
        }
    })
}

/// The address behind the last page of memory.
fn end_of_memory(vm: &mut Attachment) -> Result<u64> {
    match vm.session.call(GetMaxGfn) {
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
fn line(vm: &mut Attachment, gpa: u64) -> Result<String> {
    let mut text = Vec::new();
    let end = gpa.saturating_add(LONGEST);
    memory::scan(&mut vm.session, gpa, end, |_, _, bytes| {
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
    use super::*;

    #[test]
    fn guests_do_not_reach_the_terminal() {
        assert_eq!(printable(b"ok \x1b[2J\x07\xff"), "ok .[2J.\u{fffd}");
    }
}
