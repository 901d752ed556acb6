// SPDX-License-Identifier: GPL-2.0

//! The process that looks after one VM.

use std::{
    env,
    ffi::OsString,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use kvmi_client::{listen::Arrival, poll::readable};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    place::Place,
    relay::{Lines, To, Voice},
};
use crate::given;

/// What is run for each VM.
pub enum Job {
    /// A command of this program: where it is, and its arguments. Its lines are handed on.
    Own(io::Result<PathBuf>, Vec<OsString>),
    /// A program and its arguments, which has the standard streams.
    Program(OsString, Vec<OsString>),
}

impl Job {
    /// A command of this program.
    pub fn own(words: &[OsString], timeout: Duration, json: bool) -> Self {
        let timeout = format!("{}ms", timeout.as_millis());
        let mut arguments = vec!["--timeout".into(), timeout.into()];
        if json {
            arguments.push("--json".into());
        }
        arguments.extend_from_slice(words);
        Job::Own(env::current_exe(), arguments)
    }

    /// A program.
    pub fn program(program: &OsString, arguments: &[OsString]) -> Self {
        Job::Program(program.clone(), arguments.to_vec())
    }

    fn command(&self, fd: i32) -> io::Result<Command> {
        match self {
            Job::Own(Ok(program), arguments) => {
                let mut command = Command::new(program);
                command
                    .args(["--fd".to_owned(), fd.to_string()])
                    .args(arguments)
                    .env(given::LISTENER, process::id().to_string())
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                Ok(command)
            }
            Job::Own(Err(error), _) => Err(io::Error::new(error.kind(), error.to_string())),
            Job::Program(program, arguments) => {
                let mut command = Command::new(program);
                command.args(arguments).env(given::FD, fd.to_string());
                Ok(command)
            }
        }
    }
}

/// The process that looks after one VM.
pub struct Child {
    process: process::Child,
    pidfd: OwnedFd,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
    /// The listener was told to stop, and told it.
    Stopped,
}

impl Child {
    /// Starts it.
    pub fn start(job: &Job, place: &Place, arrival: Arrival) -> io::Result<Self> {
        let Arrival { peer, session } = arrival;
        let mut command = job.command(place.number())?;
        command
            .env(given::NAME, &peer.name)
            .env(given::UUID, peer.uuid_text());
        let mut process = place.spawn(&mut command, session.into_stream())?;
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid
            .ok_or(io::ErrorKind::InvalidInput.into())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from));
        match pidfd {
            Ok(pidfd) => Ok(Child { process, pidfd }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Hands on what it prints until it has ended. If `stop` becomes readable it is told to end;
    /// if it has not within `patience`, it is killed.
    pub fn follow(
        mut self,
        voice: &Voice<'_, '_>,
        stop: BorrowedFd<'_>,
        patience: Duration,
    ) -> io::Result<End> {
        let mut output = Pipe::new(self.process.stdout.take(), To::Output);
        let mut errors = Pipe::new(self.process.stderr.take(), To::Errors);
        let (mut running, mut stopped, mut deadline) = (true, false, None);
        while running || output.is_open() || errors.is_open() {
            let files = [
                output.as_fd(),
                errors.as_fd(),
                running.then(|| self.pidfd.as_fd()),
                Some(stop).filter(|_| !stopped),
            ];
            let [printed, complained, ended, told] = readable(&files, deadline)?;
            if printed {
                output.hand_on(voice)?;
            }
            if complained {
                errors.hand_on(voice)?;
            }
            running &= !ended;
            if told || (voice.is_broken() && !stopped) {
                stopped = true;
                self.signal(Signal::TERM);
                deadline = Some(patience)
                    .filter(|patience| !patience.is_zero())
                    .and_then(|patience| Instant::now().checked_add(patience));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.signal(Signal::KILL);
                deadline = None;
            }
        }
        let status = self.process.wait()?;
        Ok(end(status, stopped))
    }

    fn signal(&self, signal: Signal) {
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }
}

impl Drop for Child {
    /// Leaves nobody behind when following it failed; one that has ended is no more affected.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a process ended that may have been told to.
fn end(status: ExitStatus, stopped: bool) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) if !stopped => End::Exit(code),
        (None, Some(signal)) if !stopped => End::Signal(signal),
        _ => End::Stopped,
    }
}

/// What one of the process's streams brings.
struct Pipe<T> {
    file: Option<T>,
    to: To,
    lines: Lines,
}

impl<T: Read + AsFd> Pipe<T> {
    fn new(file: Option<T>, to: To) -> Self {
        Pipe {
            file,
            to,
            lines: Lines::default(),
        }
    }

    fn is_open(&self) -> bool {
        self.file.is_some()
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    fn hand_on(&mut self, voice: &Voice<'_, '_>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut room = [0; 1 << 16];
        match file.read(&mut room) {
            Ok(0) => {
                self.file = None;
                self.lines.finish(|line| voice.hand_on(self.to, line));
            }
            Ok(size) => {
                let (bytes, _) = room.split_at(size);
                self.lines.take(bytes, |line| voice.hand_on(self.to, line));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
