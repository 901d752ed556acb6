// SPDX-License-Identifier: GPL-2.0

//! `kvmi resume`
//!
//! The session that stopped a VM belongs to a living `kvmi pause`; the kernel
//! says which. Resuming is asking that process to end (SIGTERM), and waiting
//! until the VM is free.
//!
//! A VM that a tool has left frozen goes on when it is hooked and unhooked.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use kvmi_client::attach::{Attachment, Hooker, Process, State};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde_json::json;

use crate::{
    cli::Global,
    failure::{Exit, Failure, Result},
    output::Output,
    target,
};

/// Ends the `kvmi pause` that holds a VM.
pub fn run(global: &Global, output: &mut Output) -> Result<()> {
    let process = target::find(global)?;
    let vm = process.pid;
    let by = match state(&process)? {
        State::Active(by) => by,
        State::Frozen(_) => return thaw(&process, output),
        State::None | State::Dead(_) => {
            let message = format!("nothing holds the VM of process {vm}: it is not paused by kvmi");
            return Err(Failure::new(Exit::NotFound, message));
        }
        State::Unknown => {
            return Err(Failure::new(
                Exit::Denied,
                "this host's KVM has no introspection",
            ));
        }
    };
    let pid = by.pid.ok_or_else(|| not_pause(vm, &by))?;
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or_else(|| not_pause(vm, &by))?;
    // The descriptor first: what is checked is then what is signalled.
    let holder = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(holder) => Some(holder),
        Err(Errno::SRCH) => None,
        Err(errno) => return Err(Failure::file("pidfd_open", &errno.into())),
    };
    if let Some(holder) = holder {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A process that has just ended has no command line, and needs none.
        if !cmdline.is_empty() && !is_pause(&cmdline) {
            return Err(not_pause(vm, &by));
        }
        match pidfd_send_signal(&holder, Signal::TERM) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(Errno::PERM) => {
                let message = format!("process {pid}, which holds the VM, is another user's");
                return Err(Failure::new(Exit::Denied, message).fix("run as that user or as root"));
            }
            Err(errno) => return Err(Failure::file("pidfd_send_signal", &errno.into())),
        }
    }
    wait(global, &process, &by)?;
    if output.is_json() {
        output.value(&json!({ "resumed": vm, "ended": pid }))
    } else {
        output.line(format_args!(
            "the VM of process {vm} goes on: `kvmi pause` (process {pid}) has ended"
        ))
    }
}

/// Gives back what a tool that died has left restricted.
fn thaw(process: &Process, output: &mut Output) -> Result<()> {
    let vm = process.pid;
    Attachment::new(vm)?.detach();
    if matches!(state(process)?, State::Frozen(_)) {
        let message = format!("the VM of process {vm} is still frozen");
        return Err(Failure::new(Exit::Failed, message));
    }
    if output.is_json() {
        return output.value(&json!({ "resumed": vm, "ended": null }));
    }
    output.line(format_args!(
        "the VM of process {vm} goes on: nothing is restricted any more"
    ))
}

/// Waits until the session of `by` has ended.
fn wait(global: &Global, process: &Process, by: &Hooker) -> Result<()> {
    let start = Instant::now();
    while matches!(state(process)?, State::Active(now) if now == *by) {
        if !global.timeout.is_zero() && start.elapsed() >= global.timeout {
            let message = format!("{} was asked to end, and has not", by.comm);
            return Err(Failure::new(Exit::Timeout, message));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn state(process: &Process) -> Result<State> {
    process.state().map_err(|error| {
        let message = format!("the VM of process {} has ended ({error})", process.pid);
        Failure::new(Exit::Ended, message)
    })
}

fn not_pause(vm: u32, by: &Hooker) -> Failure {
    let pid = by
        .pid
        .map_or(String::new(), |pid| format!(" (process {pid})"));
    Failure::new(
        Exit::Held,
        format!(
            "the VM of process {vm} is held by {}{pid}, which is not a `kvmi pause`",
            by.comm
        ),
    )
    .fix("end that tool")
}

/// Whether a command line, of NUL-terminated words, is that of `kvmi pause`.
fn is_pause(cmdline: &[u8]) -> bool {
    let mut words = cmdline.split(|&byte| byte == 0);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(|&byte| byte == b'/').next();
    name == Some(b"kvmi".as_slice()) && words.any(|word| word == b"pause")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pause_is_a_pause() {
        assert!(is_pause(b"kvmi\0pause\0"));
        assert!(is_pause(b"/usr/bin/kvmi\0--pid\x007\0pause\0--for\x005s\0"));
        assert!(!is_pause(b"kvmi\0read\0"));
        assert!(!is_pause(b"gdb\0pause\0"));
        assert!(!is_pause(b""));
    }
}
