// SPDX-License-Identifier: GPL-2.0

//! `kvmi info`

use kvmi_client::{
    Code,
    command::{self, CheckCommand, CheckEvent, Command, GetMaxGfn, GetVcpuInfo, GetVersion},
    event,
};
use serde_json::{Value, json};

use crate::{
    cli::Global,
    failure::Result,
    output::{Output, hex},
    target::{self, Source, Vm},
};

/// Shows what is known of a VM and what may be done with it.
pub fn run(global: &Global, output: &mut Output) -> Result<()> {
    target::with(global, |vm| {
        let version = vm.session.call(GetVersion)?;
        let vcpus = target::vcpus(vm, None)?;
        let max_gfn = match vm.session.call(GetMaxGfn) {
            Ok(gfn) => Some(gfn),
            // A kernel of another make.
            Err(error) if error.code() == Some(Code::ENOSYS) => None,
            Err(error) => return Err(error.into()),
        };
        let mut speeds = Vec::new();
        for &vcpu in &vcpus {
            let speed = vm.session.call(GetVcpuInfo { vcpu });
            speeds.push(speed.map_err(target::on_vcpu(vcpu))?);
        }
        let commands = check(vm, command::ALL, |id| CheckCommand { id })?;
        let events = check(vm, event::ALL, |id| CheckEvent { id })?;
        let (pid, name, uuid) = match &vm.source {
            Source::Attached(hook) => (Some(hook.process.pid), Some(&hook.process.name), None),
            Source::Given(given) => (None, given.name.as_ref(), given.uuid.as_ref()),
        };
        if output.is_json() {
            let list = |names: &[Checked]| -> Vec<Value> {
                names
                    .iter()
                    .map(|c| json!({ "id": c.id, "name": c.name, "state": c.state }))
                    .collect()
            };
            return output.value(&json!({
                "pid": pid,
                "name": name,
                "uuid": uuid,
                "version": version.version,
                "max_message_size": version.max_msg_size,
                "features": {
                    "singlestep": version.features.singlestep != 0,
                    "on_exit": version.features.on_exit != 0,
                },
                "vcpu_count": vcpus.len(),
                "max_gfn": max_gfn.map(hex),
                "vcpus": vcpus.iter().zip(&speeds)
                    .map(|(vcpu, speed)| json!({ "vcpu": vcpu, "tsc_speed_hz": speed }))
                    .collect::<Vec<_>>(),
                "commands": list(&commands),
                "events": list(&events),
            }));
        }
        if let Some(pid) = pid {
            output.line(format_args!("process      {pid}"))?;
        }
        if let Some(name) = name {
            output.line(format_args!("name         {name}"))?;
        }
        if let Some(uuid) = uuid {
            output.line(format_args!("uuid         {uuid}"))?;
        }
        output.line(format_args!("version      {}", version.version))?;
        output.line(format_args!(
            "messages     up to {} bytes",
            version.max_msg_size
        ))?;
        let has = |feature: u8| if feature != 0 { "yes" } else { "no" };
        let (step, on_exit) = (version.features.singlestep, version.features.on_exit);
        output.line(format_args!("single-step  {}", has(step)))?;
        output.line(format_args!("on-exit      {}", has(on_exit)))?;
        output.line(format_args!("vCPUs        {}", vcpus.len()))?;
        match max_gfn {
            Some(gfn) => {
                let mib = gfn.saturating_add(1) / 256;
                output.line(format_args!(
                    "memory       up to frame {gfn:#x} ({mib} MiB, holes included)"
                ))?;
            }
            None => output.line("memory       this kernel does not say")?,
        }
        for (vcpu, speed) in vcpus.iter().zip(&speeds) {
            match speed {
                0 => output.line(format_args!("vCPU {vcpu:<7} TSC not scaled"))?,
                hz => output.line(format_args!("vCPU {vcpu:<7} TSC {} kHz", hz / 1000))?,
            }
        }
        print(output, "commands", &commands)?;
        print(output, "events", &events)
    })
}

/// A command or event, and whether it may be used.
struct Checked {
    id: u16,
    name: &'static str,
    state: &'static str,
}

fn check<C: Command<Reply = ()>>(
    vm: &mut Vm,
    all: &[(u16, &'static str)],
    ask: impl Fn(u16) -> C,
) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    for &(id, name) in all {
        let state = match vm.session.call(ask(id)) {
            Ok(()) => "available",
            Err(error) => match error.code() {
                Some(Code::ENOENT) => "unsupported",
                Some(Code::EPERM) => "disallowed",
                _ => return Err(error.into()),
            },
        };
        checked.push(Checked { id, name, state });
    }
    Ok(checked)
}

fn print(output: &mut Output, title: &str, checked: &[Checked]) -> Result<()> {
    for state in ["available", "disallowed", "unsupported"] {
        let names: Vec<_> = checked
            .iter()
            .filter(|c| c.state == state)
            .map(|c| c.name)
            .collect();
        if names.is_empty() {
            continue;
        }
        output.line(format_args!("{title} {state}:"))?;
        for row in names.chunks(3) {
            let row: Vec<_> = row.iter().map(|name| format!("  {name:<24}")).collect();
            output.line(row.concat().trim_end())?;
        }
    }
    Ok(())
}
