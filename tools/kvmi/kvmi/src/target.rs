// SPDX-License-Identifier: GPL-2.0

//! The VM that a command is for.

use kvmi_client::{
    Code, Error,
    attach::{self, AttachError, Attachment, Process},
    command::GetInfo,
};

use crate::{
    cli::Global,
    failure::{Exit, Failure, Result},
};

/// The process that `--pid` names, or the only one that runs a VM.
pub fn find(global: &Global) -> Result<Process> {
    if let Some(pid) = global.pid {
        return Ok(attach::process(pid)?);
    }
    let (mut found, hidden) = attach::list().map_err(|error| Failure::file("/proc", &error))?;
    // A VM without vCPUs is one in the making, or a duplicate in a tool.
    found.retain(|process| process.vcpus != 0);
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let failure = Failure::new(Exit::NoVm, "no KVM virtual machine runs on this host");
            Err(match hidden {
                0 => failure,
                _ => failure.fix(format!(
                    "{hidden} processes may not be looked into by this user: run as root to see \
                     their VMs"
                )),
            })
        }
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|process| format!("{} ({})", process.pid, process.name))
                .collect();
            let message = format!("{} VMs run: {}", several.len(), names.join(", "));
            Err(Failure::new(Exit::NoVm, message).fix("choose one with --pid"))
        }
    }
}

/// Runs `work` with a session, and ends the session whatever comes of it.
pub fn with<T>(global: &Global, work: impl FnOnce(&mut Attachment) -> Result<T>) -> Result<T> {
    let process = find(global)?;
    let mut vm = Attachment::new(process.pid).map_err(|error| match error {
        // It was there a moment ago.
        AttachError::NoProcess(pid) => Failure::new(
            Exit::Ended,
            format!("the VM of process {pid} has just ended"),
        ),
        error => error.into(),
    })?;
    // Zero means for ever, for which the system's word is None.
    let limit = Some(global.timeout).filter(|limit| !limit.is_zero());
    vm.session
        .stream()
        .set_read_timeout(limit)
        .map_err(|error| Failure::file("socket", &error))?;
    let result = work(&mut vm);
    vm.detach();
    result
}

/// The vCPUs that a command is for: `only`, or all.
pub fn vcpus(vm: &mut Attachment, only: Option<u16>) -> Result<Vec<u16>> {
    let count = vm.session.call(GetInfo)?.vcpu_count;
    let count = u16::try_from(count)
        .map_err(|_| Failure::new(Exit::Failed, format!("{count} vCPUs are too many")))?;
    match only {
        Some(vcpu) if vcpu >= count => Err(no_vcpu(vcpu, count)),
        Some(vcpu) => Ok(vec![vcpu]),
        None => Ok((0..count).collect()),
    }
}

/// Says which vCPU a command failed on.
pub fn on_vcpu(vcpu: u16) -> impl Fn(Error) -> Failure {
    move |error| match error.code() {
        Some(Code::EAGAIN) => Failure::new(
            Exit::Failed,
            format!("vCPU {vcpu} cannot take commands yet"),
        )
        .fix("try again in a moment"),
        _ => Failure::from(error).context(format_args!("vCPU {vcpu}")),
    }
}

fn no_vcpu(vcpu: u16, count: u16) -> Failure {
    let last = count.saturating_sub(1);
    Failure::new(Exit::Failed, format!("the VM has no vCPU {vcpu}"))
        .fix(format!("vCPUs are numbered from 0 to {last}"))
}
