// SPDX-License-Identifier: GPL-2.0

//! What goes to standard output: text for people, or JSON for programs.

use std::{
    fmt::Display,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::{Failure, Result};

/// Standard output, buffered.
pub struct Output {
    stdout: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    /// Standard output, for programs if `json`.
    pub fn new(json: bool) -> Self {
        Output {
            stdout: BufWriter::new(io::stdout()),
            json,
        }
    }

    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl Display) -> Result<()> {
        writeln!(self.stdout, "{text}").map_err(|error| broken(&error))
    }

    /// Prints a value as one line of JSON.
    pub fn value(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).map_err(|error| broken(&error.into()))?;
        self.line(text)
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stdout.write_all(bytes).map_err(|error| broken(&error))
    }

    /// Hands on what is buffered.
    pub fn finish(&mut self) -> Result<()> {
        self.stdout.flush().map_err(|error| broken(&error))
    }
}

fn broken(error: &io::Error) -> Failure {
    Failure::file("standard output", error)
}

/// A 64-bit value for JSON: a string with hexadecimal digits, since numbers of
/// JSON hold 53 bits only.
pub fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// A progress bar over `len` bytes on standard error; nothing if that is no
/// terminal, or if what is printed meanwhile goes to the same terminal.
pub fn progress(len: u64, prints: bool) -> ProgressBar {
    if len < 1 << 20 || !io::stderr().is_terminal() || (prints && io::stdout().is_terminal()) {
        return ProgressBar::hidden();
    }
    // The template is a constant; the default style would do as well.
    let style = ProgressStyle::with_template(
        "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style)
}
