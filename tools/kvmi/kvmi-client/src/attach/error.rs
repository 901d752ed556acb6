// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a VM could not be hooked.

use std::{fmt, io};

use rustix::io::Errno;

use super::{Hooker, Host, Process, State};

/// Why a VM could not be hooked: what was refused, and by whom.
#[derive(Debug)]
pub enum AttachError {
    /// There is no such process.
    NoProcess(u32),
    /// The process runs no VM.
    NotVm(u32),
    /// This process may not look into the other: ptrace rights are missing.
    Ptrace {
        /// The other process.
        pid: u32,
        /// Yama's `ptrace_scope`, if it may be the reason.
        yama: Option<u32>,
    },
    /// The host cannot introspect.
    Host(Host),
    /// The kernel wants `CAP_SYS_PTRACE` where the VM was created.
    Capability(u32),
    /// Another tool watches the VM.
    Held {
        /// The process that runs the VM.
        pid: u32,
        /// Who watches it, if the kernel says.
        by: Option<Hooker>,
    },
    /// The VM is protected against its host.
    Protected(u32),
    /// A system call failed otherwise.
    Os {
        /// The call.
        what: &'static str,
        /// Its error.
        error: io::Error,
    },
}

impl AttachError {
    pub(super) fn os(what: &'static str, errno: Errno) -> Self {
        AttachError::Os {
            what,
            error: errno.into(),
        }
    }

    /// Why HOOK failed.
    pub(super) fn hook(errno: Errno, process: &Process) -> Self {
        let pid = process.pid;
        match errno {
            Errno::EXIST => AttachError::Held {
                pid,
                by: match process.state() {
                    Ok(State::Active(hooker)) => Some(hooker),
                    _ => None,
                },
            },
            Errno::OPNOTSUPP => AttachError::Protected(pid),
            Errno::PERM => match Host::probe() {
                Host::On(_) => AttachError::Capability(pid),
                host => AttachError::Host(host),
            },
            // What KVM does not know it answers with ENOTTY; a foreign caller
            // of a kernel without introspection gets EIO before that.
            Errno::NOTTY | Errno::IO | Errno::INVAL => match Host::probe() {
                Host::On(_) => AttachError::os("KVM_INTROSPECTION_HOOK", errno),
                host => AttachError::Host(host),
            },
            errno => AttachError::os("KVM_INTROSPECTION_HOOK", errno),
        }
    }

    /// What would help, as one sentence or several; `None` if nothing is known.
    pub fn fix(&self) -> Option<String> {
        Some(match self {
            AttachError::NoProcess(_) | AttachError::NotVm(_) => {
                "`kvmi list` shows the processes that run VMs".into()
            }
            AttachError::Ptrace { yama: Some(3), .. } => {
                "Yama forbids it to everybody (kernel.yama.ptrace_scope is 3) until the host \
                 is booted again"
                    .into()
            }
            AttachError::Ptrace { .. } | AttachError::Capability(_) => {
                "run as root, or with CAP_SYS_PTRACE in the user namespace in which the VM was \
                 started"
                    .into()
            }
            AttachError::Host(Host::Off) => {
                "put `options kvm introspection=1` into a file in /etc/modprobe.d and load KVM \
                 again, or boot with kvm.introspection=1"
                    .into()
            }
            AttachError::Host(Host::NoKvm) => "load kvm_intel or kvm_amd".into(),
            AttachError::Host(_) => "load KVM modules built with CONFIG_KVM_INTROSPECTION".into(),
            AttachError::Held { by: Some(by), .. } if by.pid.is_some() => {
                "end that tool; `kvmi resume` ends a `kvmi pause`".into()
            }
            AttachError::Held { .. } => "end that tool".into(),
            AttachError::Protected(_) => {
                "SEV-ES, SEV-SNP and TDX guests cannot be introspected".into()
            }
            AttachError::Os { .. } => return None,
        })
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NoProcess(pid) => write!(f, "there is no process {pid}"),
            AttachError::NotVm(pid) => write!(f, "process {pid} runs no KVM virtual machine"),
            AttachError::Ptrace { pid, yama } => {
                write!(
                    f,
                    "the kernel does not let this user look into process {pid}"
                )?;
                match yama {
                    Some(scope @ 1..) => write!(f, " (kernel.yama.ptrace_scope is {scope})"),
                    _ => Ok(()),
                }
            }
            AttachError::Host(Host::NoKvm) => f.write_str("KVM is not loaded on this host"),
            AttachError::Host(Host::Off) => {
                f.write_str("KVM's introspection is turned off on this host (kvm.introspection=N)")
            }
            AttachError::Host(_) => f.write_str("this host's KVM has no introspection"),
            AttachError::Capability(pid) => write!(
                f,
                "KVM does not let this user watch the VM of process {pid}: CAP_SYS_PTRACE is missing"
            ),
            AttachError::Held { pid, by } => {
                write!(f, "the VM of process {pid} is already watched")?;
                match by {
                    Some(Hooker {
                        pid: Some(pid),
                        comm,
                        ..
                    }) => write!(f, " by {comm} (process {pid})"),
                    Some(Hooker { comm, .. }) => write!(f, " by {comm}"),
                    None => f.write_str(" by another tool"),
                }
            }
            AttachError::Protected(pid) => {
                write!(f, "the VM of process {pid} is protected against its host")
            }
            AttachError::Os { what, error } => write!(f, "{what} failed: {error}"),
        }
    }
}

impl std::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AttachError::Os { error, .. } => Some(error),
            _ => None,
        }
    }
}
