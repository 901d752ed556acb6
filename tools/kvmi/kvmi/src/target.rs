// SPDX-License-Identifier: GPL-2.0

//! The VM that a command is for.

use std::{fmt::Display, os::unix::net::UnixStream};

use kvmi_client::{
    Code, Error, Session,
    attach::{self, AttachError, Attachment, Hook, Process, State},
    command::{ControlVmEvents, GetInfo, GetVersion, OnExit, SetOnExit},
    wire,
};

use crate::{
    cli::{Cli, Global},
    failure::{Exit, Failure, Result},
    given::{self, Given},
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

/// A VM, and a session with it.
pub struct Vm {
    /// The session.
    pub session: Session<UnixStream>,
    /// Where it comes from.
    pub source: Source,
    /// What becomes of page restrictions if this process dies.
    pub on_exit: OnExit,
    /// A tool that died has left it frozen, and nobody has taken that over yet.
    pub frozen: bool,
}

/// Where a session comes from.
pub enum Source {
    /// This process made it.
    Attached(Hook),
    /// The caller did.
    Given(Given),
}

impl Vm {
    fn open(global: &Global) -> Result<Self> {
        if let Some(fd) = global.fd {
            return Ok(Vm {
                session: Session::new(given::stream(fd)?),
                source: Source::Given(Given::from_environment()),
                on_exit: OnExit::Release,
                frozen: false,
            });
        }
        let process = find(global)?;
        let frozen = matches!(process.state(), Ok(State::Frozen(_)));
        let vm = Attachment::new(process.pid).map_err(|error| match error {
            // It was there a moment ago.
            AttachError::NoProcess(pid) => Failure::new(
                Exit::Ended,
                format!("the VM of process {pid} has just ended"),
            ),
            error => error.into(),
        })?;
        let mut vm = Vm {
            session: vm.session,
            source: Source::Attached(vm.hook),
            on_exit: OnExit::Release,
            frozen,
        };
        // Whoever only looks leaves it as it was, also if this process dies.
        if frozen {
            set_on_exit(&mut vm.session, OnExit::Freeze)?;
            vm.on_exit = OnExit::Freeze;
        }
        Ok(vm)
    }

    /// Whether the session is to die rather than be undone: what is restricted then becomes what
    /// was set with VM_SET_ON_EXIT.
    fn dies<T>(&self, result: &Result<T>) -> bool {
        self.on_exit != OnExit::Release && (result.is_err() || self.frozen)
    }
}

/// Sets what becomes of page restrictions if this process dies.
pub fn set_on_exit(session: &mut Session<UnixStream>, action: OnExit) -> Result<()> {
    let denied = |text: &str| Failure::new(Exit::Denied, text);
    if session.call(GetVersion)?.features.on_exit == 0 {
        return Err(denied(
            "this kernel's introspection gives everything back when the tool dies, and has no \
             choice in that",
        )
        .fix("leave --on-exit away, or load newer KVM modules"));
    }
    session
        .call(SetOnExit { action })
        .map_err(|error| match error.code() {
            Some(Code::EPERM) => denied(
                "the owner of the VM does not let the tool say what becomes of it when the tool \
                 dies (VM_SET_ON_EXIT)",
            )
            .fix("leave --on-exit away, or allow the command: for QEMU, among command.N"),
            _ => error.into(),
        })
}

/// Runs `work` with a session. One that this process made ends then, whatever
/// comes of it; one that the caller made goes on if all went well.
pub fn with<T>(global: &Global, work: impl FnOnce(&mut Vm) -> Result<T>) -> Result<T> {
    run(global, false, work)
}

/// As [`with`], for what changes the VM as long as its session lasts: that
/// ends in any case.
pub fn hold<T>(global: &Global, work: impl FnOnce(&mut Vm) -> Result<T>) -> Result<T> {
    run(global, true, work)
}

fn run<T>(global: &Global, ends: bool, work: impl FnOnce(&mut Vm) -> Result<T>) -> Result<T> {
    let mut vm = Vm::open(global)?;
    // Zero means for ever, for which the system's word is None.
    let limit = Some(global.timeout).filter(|limit| !limit.is_zero());
    vm.session
        .stream()
        .set_read_timeout(limit)
        .map_err(|error| Failure::file("socket", &error))?;
    let result = work(&mut vm);
    let dies = vm.dies(&result);
    match vm.source {
        Source::Attached(_) if dies => {}
        Source::Attached(hook) => hook.detach(),
        Source::Given(_) if ends || result.is_err() => given::end(vm.session.stream()),
        Source::Given(_) => {}
    }
    result
}

/// As [`with`], for a command to one vCPU, which the VM must have.
pub fn with_vcpu<T>(
    global: &Global,
    vcpu: u16,
    work: impl FnOnce(&mut Vm) -> Result<T>,
) -> Result<T> {
    with(global, |vm| {
        vcpus(vm, Some(vcpu))?;
        work(vm)
    })
}

/// Asks to be told when the VMM wants the tool to leave.
pub fn expect_unhook(session: &mut Session<UnixStream>) -> Result<()> {
    let watch = ControlVmEvents {
        event: wire::KVMI_VM_EVENT_UNHOOK as u16,
        enable: true,
    };
    match session.call(watch) {
        // Without it the VMM ends the session unasked.
        Ok(()) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The vCPUs that a command is for: `only`, or all.
pub fn vcpus(vm: &mut Vm, only: Option<u16>) -> Result<Vec<u16>> {
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
        Some(Code::EAGAIN) if !matches!(error, Error::Absent { .. }) => Failure::new(
            Exit::Failed,
            format!("vCPU {vcpu} cannot take commands yet"),
        )
        .fix("try again in a moment"),
        _ => Failure::from(error).context(format_args!("vCPU {vcpu}")),
    }
}

/// Says why a vCPU does not report something.
pub fn refused(vcpu: u16, what: &impl Display) -> impl Fn(Error) -> Failure {
    let what = what.to_string();
    move |error| {
        let refused =
            |text: &str| Failure::new(Exit::Denied, format!("vCPU {vcpu}: {what}: {text}"));
        match error.code() {
            Some(Code::EINVAL | Code::ENOSYS) => refused("this kernel cannot report that"),
            Some(Code::EOPNOTSUPP) => refused("this processor cannot report that"),
            Some(Code::EPERM) => refused("the VMM keeps that for itself"),
            Some(Code::EBUSY) => refused("the VMM debugs the guest itself")
                .fix("end the debugger that is connected to the VMM"),
            _ => on_vcpu(vcpu)(error),
        }
    }
}

/// Sees that a command line makes sense whose command is to be carried out on a socket.
pub fn check(cli: &Cli) -> Result<()> {
    if cli.global.pid.is_some() {
        let message = "a VM is chosen by its process or by its socket, not by both";
        return Err(Failure::new(Exit::Usage, message).fix("leave --pid away"));
    }
    let Some(name) = cli.action.process_only() else {
        return Ok(());
    };
    let message =
        format!("`kvmi {name}` needs the process that runs a VM, and no socket leads there");
    Err(Failure::new(Exit::Usage, message)
        .fix("run it on the host of the VM, with --pid or without"))
}

fn no_vcpu(vcpu: u16, count: u16) -> Failure {
    let last = count.saturating_sub(1);
    Failure::new(Exit::Failed, format!("the VM has no vCPU {vcpu}"))
        .fix(format!("vCPUs are numbered from 0 to {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_dies_where_that_means_what_was_wanted() {
        let failed = || Err::<(), _>(Failure::new(Exit::Failed, "x"));
        for (on_exit, frozen, result, dies) in [
            (OnExit::Release, false, Ok(()), false),
            (OnExit::Release, false, failed(), false),
            // Told to end, a protection ends; what fails, dies.
            (OnExit::Freeze, false, Ok(()), false),
            (OnExit::Freeze, false, failed(), true),
            (OnExit::Crash, false, failed(), true),
            // Whoever only looks at what is frozen.
            (OnExit::Freeze, true, Ok(()), true),
            (OnExit::Freeze, true, failed(), true),
        ] {
            let (stream, _other) = UnixStream::pair().unwrap();
            let vm = Vm {
                session: Session::new(stream),
                source: Source::Given(Given::from_environment()),
                on_exit,
                frozen,
            };
            assert_eq!(vm.dies(&result), dies, "{on_exit:?} {frozen} {result:?}");
        }
    }
}
