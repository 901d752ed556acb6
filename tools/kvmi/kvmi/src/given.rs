// SPDX-License-Identifier: GPL-2.0

//! A session that the caller made: a connected socket that is open in this process.

use std::{
    env,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::{
    io::Errno,
    net::{SocketType, getpeername, sockopt::socket_type},
    process::{
        Pid, PidfdFlags, PidfdGetfdFlags, Signal, getpid, getppid, kill_process, pidfd_getfd,
        pidfd_open, set_parent_process_death_signal,
    },
};

use crate::failure::{Exit, Failure, Result};

/// The variable in which `kvmi listen` tells a program the number of its socket. Others follow.
pub const FD: &str = "KVMI_FD";
/// The VM's name.
pub const NAME: &str = "KVMI_VM_NAME";
/// The VM's uuid.
pub const UUID: &str = "KVMI_VM_UUID";
/// The listener's process, for commands that are to end with it.
pub const LISTENER: &str = "KVMI_LISTENER";

/// What the caller says of the VM.
pub struct Given {
    /// Its name.
    pub name: Option<String>,
    /// Its uuid.
    pub uuid: Option<String>,
}

impl Given {
    /// As `kvmi listen` says it.
    pub fn from_environment() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Given {
            name: variable(NAME),
            uuid: variable(UUID),
        }
    }
}

/// The stream that the caller has left open as `fd`: a duplicate of it.
///
/// Its type is that of a local socket, whatever it is: reading, writing and
/// time limits are the same for all.
pub fn stream(fd: u16) -> Result<UnixStream> {
    let file = duplicate(fd).map_err(|errno| match errno {
        Errno::BADF => usage(fd, "is not open"),
        errno => Failure::file("pidfd_getfd", &errno.into()),
    })?;
    match socket_type(&file) {
        Ok(SocketType::STREAM) => {}
        Ok(_) | Err(Errno::NOTSOCK) => return Err(usage(fd, "is no stream socket")),
        Err(errno) => return Err(Failure::file("socket", &errno.into())),
    }
    match getpeername(&file) {
        Ok(_) => Ok(file.into()),
        Err(Errno::NOTCONN) => Err(usage(fd, "is not connected")),
        Err(errno) => Err(Failure::file("socket", &errno.into())),
    }
}

/// A descriptor of this process is nobody's in particular, so a duplicate is made of it.
fn duplicate(fd: u16) -> std::result::Result<OwnedFd, Errno> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(&own, fd.into(), PidfdGetfdFlags::empty())
}

fn usage(fd: u16, what: &str) -> Failure {
    Failure::new(Exit::Usage, format!("file descriptor {fd} {what}"))
        .fix("`kvmi listen` leaves a program the socket of its VM, and its number in KVMI_FD")
}

/// Has this process end as by SIGTERM when the listener that started it ends, however it does: a
/// VM must not stay held by a command that nobody sees any more.
pub fn end_with_listener() {
    let Some(listener) = env::var(LISTENER).ok().and_then(|pid| pid.parse().ok()) else {
        return;
    };
    let told = set_parent_process_death_signal(Some(Signal::TERM));
    // It may have ended before.
    if told.is_ok() && getppid().map(Pid::as_raw_pid) != Some(listener) {
        let _ = kill_process(getpid(), Signal::TERM);
    }
}

/// Ends the session, whoever else has the socket open.
pub fn end(stream: &UnixStream) {
    match stream.shutdown(Shutdown::Both) {
        // The other end may have been quicker.
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn number(file: &impl AsRawFd) -> u16 {
        file.as_raw_fd().try_into().unwrap()
    }

    #[test]
    fn only_connected_streams() {
        let (one, _other) = UnixStream::pair().unwrap();
        stream(number(&one)).unwrap();
        let (datagrams, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (fd, text) in [
            (number(&datagrams), "is no stream socket"),
            (number(&file), "is no stream socket"),
            (number(&listener), "is not connected"),
            (u16::MAX, "is not open"),
        ] {
            let failure = stream(fd).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert_eq!(failure.message, format!("file descriptor {fd} {text}"));
        }
    }
}
