// SPDX-License-Identifier: GPL-2.0

//! `kvmi inject`

use kvmi_client::{
    Code,
    command::InjectException,
    event::{Answer, Event, Kind},
};
use serde_json::json;

use crate::{
    cli::{Global, Inject},
    failure::{Exit, Failure, Result},
    output::{Output, hex},
    target,
};

/// Has a vCPU take an exception, and waits until it has.
pub fn run(global: &Global, args: &Inject, output: &mut Output) -> Result<()> {
    let vcpu = args.vcpu;
    target::with_vcpu(global, vcpu, |vm| {
        let command = InjectException {
            vcpu,
            nr: args.nr,
            error_code: args.error_code,
            address: args.address,
        };
        vm.session
            .call(command)
            .map_err(|error| match error.code() {
                Some(Code::EINVAL) => Failure::new(
                    Exit::Failed,
                    format!("vector {} is no exception that can be injected", args.nr),
                ),
                _ => target::on_vcpu(vcpu)(error),
            })?;
        loop {
            let Event::Vcpu(event) = vm.session.event()? else {
                continue;
            };
            vm.session.answer(&event, Answer::Continue)?;
            let Kind::Trap(trap) = &event.kind else {
                continue;
            };
            if output.is_json() {
                output.value(&json!({
                    "vcpu": vcpu, "nr": trap.nr, "error_code": trap.error_code,
                    "address": hex(trap.address), "rip": hex(event.arch.regs.rip),
                }))?;
            } else {
                output.line(format_args!(
                    "vCPU {vcpu} took exception {}, error code {:#x}, cr2 {:016x}",
                    trap.nr, trap.error_code, trap.address
                ))?;
            }
            if trap.nr == args.nr {
                return Ok(());
            }
            return Err(Failure::new(
                Exit::Failed,
                format!("vCPU {vcpu} was given something else at the same moment"),
            )
            .fix("try again"));
        }
    })
}
