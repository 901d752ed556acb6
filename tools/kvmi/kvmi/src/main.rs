// SPDX-License-Identifier: GPL-2.0

//! `kvmi`: looks into the virtual machines of this host and controls them,
//! through KVM introspection.

#![deny(unsafe_code)]

mod cli;
mod command;
mod failure;
mod hexdump;
mod memory;
mod msr;
mod number;
mod output;
mod target;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use cli::{Action, Cli};
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    let global = &cli.global;
    let result = match cli.action {
        Action::List => command::list::run(&mut output),
        Action::Info => command::info::run(global, &mut output),
        Action::Regs(args) => command::regs::run(global, &args, &mut output),
        Action::Read(args) => command::read::run(global, &args, &mut output),
        Action::Write(args) => command::write::run(global, &args, &mut output),
        Action::Find(args) => command::find::run(global, &args, &mut output),
        Action::Translate(args) => command::translate::run(global, &args, &mut output),
        Action::Cpuid(args) => command::cpuid::run(global, &args, &mut output),
        Action::Trace(args) => command::trace::run(global, &args, &mut output),
        Action::Inject(args) => command::inject::run(global, &args, &mut output),
        Action::Xsave(args) => command::xsave::run(global, &args, &mut output),
        Action::Mtrr(args) => command::mtrr::run(global, &args, &mut output),
        Action::Pause(args) => command::pause::run(global, &args, &mut output),
        Action::Resume => command::resume::run(global, &mut output),
    };
    match result.and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.json),
    }
}
