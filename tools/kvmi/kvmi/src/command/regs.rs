// SPDX-License-Identifier: GPL-2.0

//! `kvmi regs`

use kvmi_client::{
    Code,
    command::{GetRegisters, Registers},
    wire::{kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs},
};
use serde_json::{Map, Value, json};

use crate::{
    cli::{Global, Regs},
    failure::{Exit, Failure, Result},
    msr,
    output::{Output, hex},
    target::{self, Vm},
};

/// Shows the registers of all vCPUs, or of one.
pub fn run(global: &Global, args: &Regs, output: &mut Output) -> Result<()> {
    target::with(global, |vm| {
        let vcpus = target::vcpus(vm, args.vcpu)?;
        let mut values = Vec::new();
        for (index, &vcpu) in vcpus.iter().enumerate() {
            let registers = if args.msr.is_empty() {
                common(vm, vcpu)?
            } else {
                chosen(vm, vcpu, &args.msr)?
            };
            if output.is_json() {
                values.push(value(vcpu, &registers));
                continue;
            }
            if index != 0 {
                output.line("")?;
            }
            print(output, vcpu, &registers)?;
        }
        if output.is_json() {
            output.value(&json!({ "vcpus": values }))?;
        }
        Ok(())
    })
}

/// Registers with the MSRs that the user chose; all must be readable.
fn chosen(vm: &mut Vm, vcpu: u16, msrs: &[u32]) -> Result<Registers> {
    vm.session
        .call(GetRegisters { vcpu, msrs })
        .map_err(|error| match error.code() {
            Some(Code::EINVAL) => {
                let names: Vec<_> = msrs.iter().map(|number| msr::name(*number)).collect();
                Failure::new(
                    Exit::Failed,
                    format!("vCPU {vcpu} has no readable MSR {}", names.join(" or ")),
                )
            }
            _ => target::on_vcpu(vcpu)(error),
        })
}

/// Registers with those of the common MSRs that this guest has.
fn common(vm: &mut Vm, vcpu: u16) -> Result<Registers> {
    let ask = |vm: &mut Vm, msrs: &[u32]| vm.session.call(GetRegisters { vcpu, msrs });
    match ask(vm, msr::COMMON) {
        Err(error) if error.code() == Some(Code::EINVAL) => {}
        result => return result.map_err(target::on_vcpu(vcpu)),
    }
    // One of them cannot be read, and the kernel does not say which.
    let readable: Vec<u32> = msr::COMMON
        .iter()
        .copied()
        .filter(|number| ask(vm, &[*number]).is_ok())
        .collect();
    ask(vm, &readable).map_err(target::on_vcpu(vcpu))
}

fn general(regs: &kvm_regs) -> [(&'static str, u64); 18] {
    [
        ("rax", regs.rax),
        ("rbx", regs.rbx),
        ("rcx", regs.rcx),
        ("rdx", regs.rdx),
        ("rsi", regs.rsi),
        ("rdi", regs.rdi),
        ("rbp", regs.rbp),
        ("rsp", regs.rsp),
        ("r8", regs.r8),
        ("r9", regs.r9),
        ("r10", regs.r10),
        ("r11", regs.r11),
        ("r12", regs.r12),
        ("r13", regs.r13),
        ("r14", regs.r14),
        ("r15", regs.r15),
        ("rip", regs.rip),
        ("rflags", regs.rflags),
    ]
}

fn segments(sregs: &kvm_sregs) -> [(&'static str, &kvm_segment); 8] {
    [
        ("cs", &sregs.cs),
        ("ds", &sregs.ds),
        ("es", &sregs.es),
        ("fs", &sregs.fs),
        ("gs", &sregs.gs),
        ("ss", &sregs.ss),
        ("tr", &sregs.tr),
        ("ldt", &sregs.ldt),
    ]
}

fn tables(sregs: &kvm_sregs) -> [(&'static str, &kvm_dtable); 2] {
    [("gdt", &sregs.gdt), ("idt", &sregs.idt)]
}

fn control(sregs: &kvm_sregs) -> [(&'static str, u64); 7] {
    [
        ("cr0", sregs.cr0),
        ("cr2", sregs.cr2),
        ("cr3", sregs.cr3),
        ("cr4", sregs.cr4),
        ("cr8", sregs.cr8),
        ("efer", sregs.efer),
        ("apic_base", sregs.apic_base),
    ]
}

fn object(pairs: &[(&str, u64)]) -> Value {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), hex(*value).into()));
    Value::Object(pairs.collect())
}

fn value(vcpu: u16, registers: &Registers) -> Value {
    let sregs = &registers.sregs;
    let segments: Map<String, Value> = segments(sregs)
        .iter()
        .map(|(name, segment)| {
            let value = json!({
                "selector": hex(segment.selector.into()),
                "base": hex(segment.base),
                "limit": hex(segment.limit.into()),
                "type": segment.type_,
                "present": segment.present != 0,
                "dpl": segment.dpl,
                "db": segment.db != 0,
                "s": segment.s != 0,
                "l": segment.l != 0,
                "g": segment.g != 0,
                "avl": segment.avl != 0,
                "unusable": segment.unusable != 0,
            });
            ((*name).to_owned(), value)
        })
        .collect();
    let tables: Map<String, Value> = tables(sregs)
        .iter()
        .map(|(name, table)| {
            let value = json!({ "base": hex(table.base), "limit": hex(table.limit.into()) });
            ((*name).to_owned(), value)
        })
        .collect();
    let msrs: Vec<Value> = registers
        .msrs
        .iter()
        .map(|entry| {
            json!({
                "index": hex(entry.index.into()),
                "name": msr::name(entry.index),
                "value": hex(entry.data),
            })
        })
        .collect();
    json!({
        "vcpu": vcpu,
        "mode": registers.mode,
        "regs": object(&general(&registers.regs)),
        "segments": segments,
        "tables": tables,
        "control": object(&control(sregs)),
        "msrs": msrs,
    })
}

fn print(output: &mut Output, vcpu: u16, registers: &Registers) -> Result<()> {
    let sregs = &registers.sregs;
    output.line(format_args!(
        "vCPU {vcpu}: {}-bit code",
        registers.mode.saturating_mul(8)
    ))?;
    columns(output, &general(&registers.regs))?;
    for (name, segment) in segments(sregs) {
        let unusable = if segment.unusable != 0 {
            "  unusable"
        } else {
            ""
        };
        output.line(format_args!(
            "  {name:<9} {:04x}  base {:016x}  limit {:08x}  type {:x}  dpl {}{unusable}",
            segment.selector, segment.base, segment.limit, segment.type_, segment.dpl
        ))?;
    }
    for (name, table) in tables(sregs) {
        output.line(format_args!(
            "  {name:<9}       base {:016x}  limit {:08x}",
            table.base, table.limit
        ))?;
    }
    columns(output, &control(sregs))?;
    for kvm_msr_entry { index, data, .. } in &registers.msrs {
        output.line(format_args!("  MSR {:<17} {data:016x}", msr::name(*index)))?;
    }
    Ok(())
}

fn columns(output: &mut Output, pairs: &[(&str, u64)]) -> Result<()> {
    for row in pairs.chunks(3) {
        let row: Vec<_> = row
            .iter()
            .map(|(name, value)| format!("  {name:<9} {value:016x}"))
            .collect();
        output.line(row.concat())?;
    }
    Ok(())
}
