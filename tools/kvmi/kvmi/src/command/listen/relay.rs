// SPDX-License-Identifier: GPL-2.0

//! The lines of many VMs in one output, each saying whose it is.

use std::{
    io::{self, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::output::Output;

/// The output that all share.
pub struct Relay<'a> {
    output: Mutex<&'a mut Output>,
    json: bool,
    /// Nobody reads it any more.
    broken: AtomicBool,
}

/// What speaks for one VM.
pub struct Voice<'a, 'b> {
    relay: &'a Relay<'b>,
    vm: String,
}

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Output,
    Errors,
}

impl<'a> Relay<'a> {
    pub fn new(output: &'a mut Output, json: bool) -> Self {
        Relay {
            output: Mutex::new(output),
            json,
            broken: AtomicBool::new(false),
        }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads it any more.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// What speaks for a VM.
    pub fn voice(&self, vm: &str) -> Voice<'_, 'a> {
        Voice {
            relay: self,
            vm: vm.to_owned(),
        }
    }

    /// Prints a line for programs or for people.
    pub fn say(&self, object: &Value, text: &str) {
        if self.json {
            self.print(object.to_string().as_bytes());
        } else {
            self.print(text.as_bytes());
        }
    }

    fn print(&self, line: &[u8]) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = output
            .bytes(line)
            .and_then(|()| output.bytes(b"\n"))
            .and_then(|()| output.finish());
        if printed.is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}

impl Voice<'_, '_> {
    /// Prints a line of the listener's own.
    pub fn say(&self, object: Value, text: &str) {
        let line = if self.relay.json {
            object.to_string()
        } else {
            text.to_owned()
        };
        self.hand_on(To::Output, line.as_bytes());
    }

    /// Whether nobody reads any more what this prints.
    pub fn is_broken(&self) -> bool {
        self.relay.is_broken()
    }

    /// Prints a line that a command printed.
    pub fn hand_on(&self, to: To, line: &[u8]) {
        let line = marked(&self.vm, line, self.relay.json);
        match to {
            To::Output => self.relay.print(&line),
            // If standard error is closed, nobody wants to know.
            To::Errors => drop(io::stderr().write_all(&[&line[..], b"\n"].concat())),
        }
    }
}

/// A line with the VM's name in it: in front, or as the first member of an object.
fn marked(vm: &str, line: &[u8], json: bool) -> Vec<u8> {
    let object = line.strip_prefix(b"{").filter(|_| json);
    let Some(members) = object else {
        return [vm.as_bytes(), b": ", line].concat();
    };
    let name = json!(vm).to_string();
    let comma: &[u8] = if members == b"}" { b"" } else { b"," };
    [b"{\"vm\":", name.as_bytes(), comma, members].concat()
}

/// Cuts what a command prints into lines.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes what was printed, and hands on the lines that are complete.
    pub fn take(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return;
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        whole[..end]
            .split(|&byte| byte == b'\n')
            .for_each(&mut line);
    }

    /// Hands on what has no end.
    pub fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.rest.is_empty() {
            line(&std::mem::take(&mut self.rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_whose_they_are() {
        let marked =
            |line: &str, json| String::from_utf8(marked("w\"b", line.as_bytes(), json)).unwrap();
        assert_eq!(marked("a: b", false), "w\"b: a: b");
        assert_eq!(marked("{}", false), "w\"b: {}");
        assert_eq!(marked("{}", true), r#"{"vm":"w\"b"}"#);
        assert_eq!(marked(r#"{"a":{}}"#, true), r#"{"vm":"w\"b","a":{}}"#);
        assert_eq!(marked("panic", true), "w\"b: panic");
    }

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["one\ntw", "o", "\n\nthr", "ee\nfour"] {
            lines.take(piece.as_bytes(), |line| seen.push(line.to_vec()));
        }
        assert_eq!(
            seen,
            [
                b"one".to_vec(),
                b"two".to_vec(),
                b"".to_vec(),
                b"three".to_vec()
            ]
        );
        lines.finish(|line| seen.push(line.to_vec()));
        lines.finish(|_| panic!("nothing is left"));
        assert_eq!(seen.len(), 5);
    }
}
