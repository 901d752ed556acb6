// SPDX-License-Identifier: GPL-2.0

//! `kvmi write`

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use kvmi_client::command::{WritePhysical, within_page};
use serde_json::json;

use crate::{
    cli::{Global, Write},
    failure::{Exit, Failure, Result},
    memory,
    output::{self, Output},
    target,
};

/// Writes guest physical memory.
pub fn run(global: &Global, args: &Write, output: &mut Output) -> Result<()> {
    let data = match (&args.hex, &args.file) {
        (Some(bytes), _) => bytes.0.clone(),
        (None, Some(path)) => load(path)?,
        (None, None) => Vec::new(),
    };
    if data.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is nothing to write"));
    }
    memory::end(args.gpa, data.len() as u64)?;
    target::with(global, |vm| {
        let bar = output::progress(data.len() as u64, false);
        let mut done = 0;
        while done < data.len() {
            let gpa = args.gpa + done as u64;
            let rest = &data[done..];
            let data = &rest[..within_page(gpa, rest.len() as u64)];
            vm.session
                .call(WritePhysical { gpa, data })
                .map_err(memory::at(gpa))
                .map_err(|failure| match done {
                    0 => failure,
                    _ => failure.context(format_args!("{done} bytes were written, then")),
                })?;
            done += data.len();
            bar.inc(data.len() as u64);
        }
        bar.finish_and_clear();
        if output.is_json() {
            output.value(&json!({ "gpa": output::hex(args.gpa), "written": done }))
        } else {
            output.line(format_args!("{done} bytes written at {:#x}", args.gpa))
        }
    })
}

fn load(path: &Path) -> Result<Vec<u8>> {
    let result = if path == Path::new("-") {
        let mut data = Vec::new();
        io::stdin().read_to_end(&mut data).map(|_| data)
    } else {
        fs::read(path)
    };
    result.map_err(|error| Failure::file(path.display(), &error))
}
