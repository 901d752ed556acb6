// SPDX-License-Identifier: GPL-2.0

//! `kvmi xsave`
//!
//! The area is that of the XSAVE instruction in its standard form: Intel SDM volume 1, 13.4.

use std::{fs::File, io::Write, path::Path};

use kvmi_client::{
    Code,
    command::{GetXsave, SetXsave, XSAVE},
};
use serde_json::json;

use crate::{
    cli::{Global, Xsave},
    failure::{Exit, Failure, Result},
    input,
    output::{Output, hex},
    target,
};

/// Where the header says which parts are not in their initial state.
const XSTATE_BV: usize = 512;
/// The first of sixteen SSE registers.
const XMM: usize = 160;

/// Shows the extended state, or copies it out or in.
pub fn run(global: &Global, args: &Xsave, output: &mut Output) -> Result<()> {
    let vcpu = args.vcpu;
    let new = args.load.as_deref().map(load).transpose()?;
    target::with_vcpu(global, vcpu, |vm| {
        if let Some(xsave) = &new {
            return vm
                .session
                .call(SetXsave { vcpu, xsave })
                .map_err(|error| match error.code() {
                    Some(Code::EINVAL) => {
                        Failure::new(Exit::Failed, "this is no state that the guest can have")
                    }
                    _ => target::on_vcpu(vcpu)(error),
                });
        }
        let area = vm
            .session
            .call(GetXsave { vcpu })
            .map_err(target::on_vcpu(vcpu))?;
        match args.output.as_deref() {
            Some(path) if path == Path::new("-") => output.bytes(&area[..]),
            Some(path) => File::create(path)
                .and_then(|mut file| file.write_all(&area[..]))
                .map_err(|error| Failure::file(path.display(), &error)),
            None => show(&area, vcpu, output),
        }
    })
}

fn load(path: &Path) -> Result<Box<[u8; XSAVE]>> {
    let bytes = input::read(path)?;
    let length = bytes.len();
    bytes.into_boxed_slice().try_into().map_err(|_| {
        Failure::new(
            Exit::Usage,
            format!("{}: {length} bytes, not {XSAVE}", path.display()),
        )
    })
}

fn show(area: &[u8; XSAVE], vcpu: u16, output: &mut Output) -> Result<()> {
    let parts = word(area, XSTATE_BV);
    let (control, status) = (word(area, 0) as u16, (word(area, 0) >> 16) as u16);
    let mxcsr = word(area, 24) as u32;
    let registers: Vec<_> = (0..16)
        .map(|n| {
            let at = XMM + 16 * n;
            format!("{:016x}{:016x}", word(area, at + 8), word(area, at))
        })
        .collect();
    if output.is_json() {
        return output.value(&json!({
            "vcpu": vcpu, "xstate_bv": hex(parts), "fcw": hex(control.into()),
            "fsw": hex(status.into()), "mxcsr": hex(mxcsr.into()), "xmm": registers,
        }));
    }
    output.line(format_args!(
        "in use {parts:#x}  fcw {control:04x}  fsw {status:04x}  mxcsr {mxcsr:08x}"
    ))?;
    for (n, register) in registers.iter().enumerate() {
        output.line(format_args!("xmm{n:<2} {register}"))?;
    }
    Ok(())
}

fn word(area: &[u8; XSAVE], at: usize) -> u64 {
    area.get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_little_endian_and_end_with_the_area() {
        let mut area = [0; XSAVE];
        area[XSTATE_BV] = 7;
        area[XMM + 8] = 0x12;
        assert_eq!(word(&area, XSTATE_BV), 7);
        assert_eq!(word(&area, XMM + 8), 0x12);
        assert_eq!(word(&area, XSAVE - 4), 0);
    }
}
