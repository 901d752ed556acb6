// SPDX-License-Identifier: GPL-2.0

//! `kvmi translate`

use kvmi_client::command::TranslateGva;
use serde_json::json;

use crate::{
    cli::{Global, Translate},
    failure::{Exit, Failure, Result},
    output::{Output, hex},
    target,
};

/// Translates a guest virtual address by a vCPU's page tables.
pub fn run(global: &Global, args: &Translate, output: &mut Output) -> Result<()> {
    let Translate { gva, vcpu } = *args;
    target::with_vcpu(global, vcpu, |vm| {
        let gpa = vm
            .session
            .call(TranslateGva { vcpu, gva })
            .map_err(target::on_vcpu(vcpu))?;
        if output.is_json() {
            output.value(&json!({ "vcpu": vcpu, "gva": hex(gva), "gpa": gpa.map(hex) }))?;
        } else if let Some(gpa) = gpa {
            output.line(hex(gpa))?;
        }
        gpa.map(|_| ()).ok_or_else(|| {
            let message = format!("vCPU {vcpu} has nothing mapped at {gva:#x}");
            Failure::new(Exit::NotFound, message)
        })
    })
}
