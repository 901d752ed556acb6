// SPDX-License-Identifier: MIT OR Apache-2.0

//! Attaching to a VM that another process runs.

mod error;
mod fdinfo;
mod host;
mod process;

pub use error::AttachError;
pub use fdinfo::{Hooker, State};
pub use host::Host;
pub use process::{Process, list, process};

use std::{
    fmt,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    rand::{GetRandomFlags, getrandom},
};

use crate::{ioctl, session::Session, wire};

/// A session with the VM of a process.
///
/// Dropping it closes the socket, and the kernel gives back everything that
/// the session changed; [`Attachment::detach`] also forgets the session.
#[derive(Debug)]
pub struct Attachment {
    /// The session.
    pub session: Session<UnixStream>,
    /// What it hangs on.
    pub hook: Hook,
}

/// What a session with the VM of a process hangs on.
pub struct Hook {
    /// The process that runs the VM.
    pub process: Process,
    pidfd: OwnedFd,
    uuid: String,
}

impl Attachment {
    /// Hooks the VM of process `pid` and allows the session everything.
    ///
    /// The duplicate of the VM's file is closed before this returns.
    ///
    /// # Errors
    ///
    /// See [`AttachError`].
    pub fn new(pid: u32) -> Result<Self, AttachError> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = match raw.map(|raw| pidfd_open(raw, PidfdFlags::empty())) {
            Some(Ok(pidfd)) => pidfd,
            // A thread's id, which is no process's, is EINVAL or ENOENT.
            None | Some(Err(Errno::SRCH | Errno::INVAL | Errno::NOENT)) => {
                return Err(AttachError::NoProcess(pid));
            }
            Some(Err(errno)) => return Err(AttachError::os("pidfd_open", errno)),
        };
        let process = process(pid)?;
        let vm = duplicate(&pidfd, &process)?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| AttachError::Os {
            what: "socketpair",
            error,
        })?;
        let mut uuid = [0; 16];
        getrandom(&mut uuid, GetRandomFlags::empty())
            .map_err(|errno| AttachError::os("getrandom", errno))?;
        let hook = wire::kvm_introspection_hook {
            fd: theirs.as_raw_fd(),
            padding: 0,
            uuid,
        };
        ioctl::hook(&vm, hook).map_err(|errno| AttachError::hook(errno, &process))?;
        for (what, result) in [
            ("KVM_INTROSPECTION_COMMAND", ioctl::allow_commands(&vm)),
            ("KVM_INTROSPECTION_EVENT", ioctl::allow_events(&vm)),
        ] {
            result.map_err(|errno| AttachError::os(what, errno))?;
        }
        Ok(Attachment {
            session: Session::new(ours),
            hook: Hook {
                process,
                pidfd,
                uuid: fdinfo::hex(&uuid),
            },
        })
    }

    /// Ends the session and makes the VM forget it; see [`Hook::detach`].
    pub fn detach(self) {
        self.hook.detach();
    }
}

impl Hook {
    /// Makes the VM forget the session, which ends.
    ///
    /// Failure is no loss: closing the socket gives everything back too.
    pub fn detach(self) {
        // The VMM may have lost the session to another tool meanwhile: unhook
        // only what is our own.
        let ours = |state: &State| match state {
            State::Active(hooker) | State::Dead(hooker) => {
                fdinfo::same_uuid(&hooker.uuid, &self.uuid)
            }
            // What is frozen stays so: its session did not end by leave.
            State::None | State::Frozen(_) | State::Unknown => false,
        };
        if self.process.state().is_ok_and(|state| ours(&state)) {
            if let Ok(vm) = duplicate(&self.pidfd, &self.process) {
                let _ = ioctl::unhook(&vm);
            }
        }
    }

    /// A file that becomes readable when the process ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pidfd.as_fd()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("process", &self.process)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

/// Duplicates the VM's file out of its process.
fn duplicate(pidfd: &OwnedFd, process: &Process) -> Result<OwnedFd, AttachError> {
    pidfd_getfd(pidfd, process.vm_fd, PidfdGetfdFlags::empty()).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => AttachError::Ptrace {
            pid: process.pid,
            yama: Host::ptrace_scope(),
        },
        Errno::SRCH => AttachError::NoProcess(process.pid),
        Errno::BADF => AttachError::NotVm(process.pid),
        errno => AttachError::os("pidfd_getfd", errno),
    })
}
