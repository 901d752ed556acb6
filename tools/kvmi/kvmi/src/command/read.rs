// SPDX-License-Identifier: GPL-2.0

//! `kvmi read`

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use serde_json::json;

use crate::{
    cli::{Global, Read},
    failure::{Failure, Result},
    hexdump, memory,
    output::{self, Output},
    target,
};

/// Shows guest physical memory, or copies it to a file or pipe.
pub fn run(global: &Global, args: &Read, output: &mut Output) -> Result<()> {
    let end = memory::end(args.gpa, args.len)?;
    target::with(global, |vm| {
        let file = match &args.output {
            Some(path) if path != Path::new("-") => Some(path),
            _ => None,
        };
        let mut sink = match file {
            Some(path) => Sink::File(path, create(path)?),
            None if args.raw || args.output.is_some() => Sink::Raw(output),
            None if output.is_json() => Sink::Json(output, String::new()),
            None => Sink::Dump(output, Dump::new(args.gpa)),
        };
        let bar = output::progress(args.len, file.is_none());
        let result = memory::scan(&mut vm.session, args.gpa, end, |gpa, size, bytes| {
            sink.put(bytes.ok_or_else(|| memory::hole(gpa))?)?;
            bar.inc(size);
            Ok(true)
        });
        bar.finish_and_clear();
        // What was read before a failure is shown.
        sink.finish(args.gpa, args.len).and(result)
    })
}

fn create(path: &Path) -> Result<io::BufWriter<File>> {
    File::create(path)
        .map(io::BufWriter::new)
        .map_err(|error| Failure::file(path.display(), &error))
}

/// Where the bytes go.
enum Sink<'a> {
    File(&'a Path, io::BufWriter<File>),
    Raw(&'a mut Output),
    Json(&'a mut Output, String),
    Dump(&'a mut Output, Dump),
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Sink::File(path, file) => file
                .write_all(bytes)
                .map_err(|error| Failure::file(path.display(), &error)),
            Sink::Raw(output) => output.bytes(bytes),
            Sink::Json(_, digits) => {
                use std::fmt::Write;
                for byte in bytes {
                    // Writing to a string cannot fail.
                    let _ = write!(digits, "{byte:02x}");
                }
                Ok(())
            }
            Sink::Dump(output, dump) => dump.put(output, bytes),
        }
    }

    fn finish(self, gpa: u64, len: u64) -> Result<()> {
        match self {
            Sink::File(path, mut file) => file
                .flush()
                .map_err(|error| Failure::file(path.display(), &error)),
            Sink::Raw(_) => Ok(()),
            Sink::Json(output, digits) if digits.len() as u64 == len.saturating_mul(2) => {
                output.value(&json!({ "gpa": output::hex(gpa), "len": len, "hex": digits }))
            }
            // A program gets all or nothing.
            Sink::Json(..) => Ok(()),
            Sink::Dump(output, dump) => dump.finish(output),
        }
    }
}

/// Makes lines of bytes that come in pieces of any length.
struct Dump {
    address: u64,
    line: Vec<u8>,
}

impl Dump {
    fn new(address: u64) -> Self {
        Dump {
            address,
            line: Vec::with_capacity(hexdump::LINE),
        }
    }

    fn put(&mut self, output: &mut Output, bytes: &[u8]) -> Result<()> {
        for &byte in bytes {
            self.line.push(byte);
            if self.line.len() == hexdump::LINE {
                output.line(hexdump::line(self.address, &self.line))?;
                self.address = self.address.wrapping_add(hexdump::LINE as u64);
                self.line.clear();
            }
        }
        Ok(())
    }

    fn finish(self, output: &mut Output) -> Result<()> {
        match self.line.as_slice() {
            [] => Ok(()),
            rest => output.line(hexdump::line(self.address, rest)),
        }
    }
}
