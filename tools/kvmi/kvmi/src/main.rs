// SPDX-License-Identifier: GPL-2.0

//! `kvmi`: looks into the virtual machines of this host and controls them,
//! through KVM introspection.

#![deny(unsafe_code)]

mod cli;
mod command;
mod event;
mod failure;
mod follow;
mod given;
mod hexdump;
mod input;
mod instruction;
mod linux;
mod memory;
mod msr;
mod number;
mod operand;
mod output;
mod pages;
mod target;
mod touch;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use cli::{Action, Cli};
use failure::Result;
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    let result = run(&cli, &mut output);
    match result.and_then(|()| output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.json),
    }
}

fn run(cli: &Cli, output: &mut Output) -> Result<()> {
    let global = &cli.global;
    if global.fd.is_some() {
        target::check(cli)?;
        given::end_with_listener();
    }
    match &cli.action {
        Action::List => command::list::run(output),
        Action::Info => command::info::run(global, output),
        Action::Regs(args) => command::regs::run(global, args, output),
        Action::Read(args) => command::read::run(global, args, output),
        Action::Write(args) => command::write::run(global, args, output),
        Action::Find(args) => command::find::run(global, args, output),
        Action::Translate(args) => command::translate::run(global, args, output),
        Action::Cpuid(args) => command::cpuid::run(global, args, output),
        Action::Trace(args) => command::trace::run(global, args, output),
        Action::Watch(args) => command::watch::run(global, args, output),
        Action::Protect(args) => command::protect::run(global, args, output),
        Action::Inject(args) => command::inject::run(global, args, output),
        Action::Xsave(args) => command::xsave::run(global, args, output),
        Action::Mtrr(args) => command::mtrr::run(global, args, output),
        Action::Pause(args) => command::pause::run(global, args, output),
        Action::Resume => command::resume::run(global, output),
        Action::Listen(args) => command::listen::run(global, args, output),
    }
}
