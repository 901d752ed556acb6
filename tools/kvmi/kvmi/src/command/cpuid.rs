// SPDX-License-Identifier: GPL-2.0

//! `kvmi cpuid`

use kvmi_client::{Code, command::GetCpuid};
use serde_json::json;

use crate::{
    cli::{Cpuid, Global},
    failure::{Exit, Failure, Result},
    output::{Output, hex},
    target,
};

/// Shows a CPUID leaf of the guest.
pub fn run(global: &Global, args: &Cpuid, output: &mut Output) -> Result<()> {
    let Cpuid {
        function,
        index,
        vcpu,
    } = *args;
    target::with_vcpu(global, vcpu, |vm| {
        let command = GetCpuid {
            vcpu,
            function,
            index,
        };
        let leaf = vm
            .session
            .call(command)
            .map_err(|error| match error.code() {
                Some(Code::ENOENT) => Failure::new(
                    Exit::NotFound,
                    format!("the guest has no CPUID leaf {function:#x}, index {index:#x}"),
                ),
                _ => target::on_vcpu(vcpu)(error),
            })?;
        if output.is_json() {
            return output.value(&json!({
                "vcpu": vcpu,
                "function": hex(function.into()),
                "index": hex(index.into()),
                "eax": hex(leaf.eax.into()),
                "ebx": hex(leaf.ebx.into()),
                "ecx": hex(leaf.ecx.into()),
                "edx": hex(leaf.edx.into()),
            }));
        }
        output.line(format_args!(
            "eax {:08x}  ebx {:08x}  ecx {:08x}  edx {:08x}",
            leaf.eax, leaf.ebx, leaf.ecx, leaf.edx
        ))
    })
}
