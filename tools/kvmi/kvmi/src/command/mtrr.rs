// SPDX-License-Identifier: GPL-2.0

//! `kvmi mtrr`

use kvmi_client::command::GetMtrrType;
use serde_json::json;

use crate::{
    cli::{Global, Mtrr},
    failure::Result,
    output::{Output, hex},
    target,
};

/// Shows the memory type that the guest's MTRRs give an address.
pub fn run(global: &Global, args: &Mtrr, output: &mut Output) -> Result<()> {
    let Mtrr { gpa, vcpu } = *args;
    target::with_vcpu(global, vcpu, |vm| {
        let kind = vm
            .session
            .call(GetMtrrType { vcpu, gpa })
            .map_err(target::on_vcpu(vcpu))?;
        if output.is_json() {
            return output.value(&json!({
                "vcpu": vcpu, "gpa": hex(gpa), "type": kind, "name": name(kind),
            }));
        }
        output.line(format_args!("{kind} ({})", name(kind)))
    })
}

/// The name of a memory type: Intel SDM volume 3, table 13-2.
fn name(kind: u8) -> &'static str {
    match kind {
        0 => "uncacheable",
        1 => "write combining",
        4 => "write-through",
        5 => "write-protected",
        6 => "write-back",
        _ => "reserved",
    }
}
