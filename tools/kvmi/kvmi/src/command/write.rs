// SPDX-License-Identifier: GPL-2.0

//! `kvmi write`

use serde_json::json;

use crate::{
    cli::{Global, Write},
    failure::{Exit, Failure, Result},
    input, memory,
    output::{self, Output},
    target,
};

/// Writes guest physical memory.
pub fn run(global: &Global, args: &Write, output: &mut Output) -> Result<()> {
    let data = match (&args.hex, &args.file) {
        (Some(bytes), _) => bytes.0.clone(),
        (None, Some(path)) => input::read(path)?,
        (None, None) => Vec::new(),
    };
    if data.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is nothing to write"));
    }
    memory::end(args.gpa, data.len() as u64)?;
    target::with(global, |vm| {
        let bar = output::progress(data.len() as u64, false);
        memory::store(&mut vm.session, args.gpa, &data, |size| bar.inc(size))?;
        bar.finish_and_clear();
        if output.is_json() {
            output.value(&json!({ "gpa": output::hex(args.gpa), "written": data.len() }))
        } else {
            output.line(format_args!(
                "{} bytes written at {:#x}",
                data.len(),
                args.gpa
            ))
        }
    })
}
