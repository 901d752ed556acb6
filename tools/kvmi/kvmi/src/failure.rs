// SPDX-License-Identifier: GPL-2.0

//! Failures: what is printed, and the exit code.

use std::{
    fmt::{self, Display},
    io,
    process::ExitCode,
};

use kvmi_client::{
    Code, Error,
    attach::AttachError,
    handshake::{HandshakeError, KeyError},
    listen::BindError,
};
use serde_json::json;

/// The result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// The exit codes. They are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Something failed, or the VM refused it.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such VM, or several.
    NoVm = 3,
    /// Not permitted, or this host does not support it.
    Denied = 4,
    /// Another tool watches the VM.
    Held = 5,
    /// The session or the VM ended.
    Ended = 6,
    /// No answer in time.
    Timeout = 7,
    /// Nothing found.
    NotFound = 8,
}

impl Exit {
    /// The meaning of a code that a command ended with.
    pub fn of_code(code: i32) -> Self {
        [
            Exit::Usage,
            Exit::NoVm,
            Exit::Denied,
            Exit::Held,
            Exit::Ended,
            Exit::Timeout,
            Exit::NotFound,
        ]
        .into_iter()
        .find(|exit| *exit as i32 == code)
        .unwrap_or(Exit::Failed)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What was refused, and by whom.
    pub message: String,
    /// What would help.
    pub fix: Option<String>,
    kind: Kind,
}

/// What the caller may want to know of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Whoever reads the output has gone: nothing to say.
    Quiet,
    /// A page is not in the VMM's memory now.
    Absent,
    /// A signal ended a wait.
    Stopped,
}

impl Failure {
    /// A failure without advice.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            fix: None,
            kind: Kind::Plain,
        }
    }

    /// Adds advice.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says in front what was being done.
    pub fn context(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Reading or writing something of the user's failed.
    pub fn file(name: impl Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::Quiet,
            _ => Kind::Plain,
        };
        Failure {
            kind,
            ..Failure::new(Exit::Failed, format!("{name}: {error}"))
        }
    }

    /// Whether a page is not in the VMM's memory now: whoever can do without it does.
    pub fn is_absent(&self) -> bool {
        self.kind == Kind::Absent
    }

    /// Whether a signal ended the wait for a page.
    pub fn is_stopped(&self) -> bool {
        self.kind == Kind::Stopped
    }

    /// Prints the failure on standard error; the program's exit code.
    ///
    /// A broken pipe is no failure: whoever read the output has enough.
    pub fn report(&self, json: bool) -> ExitCode {
        use io::Write;
        if self.kind == Kind::Quiet {
            return ExitCode::SUCCESS;
        }
        // If standard error is closed, the exit code must do.
        let mut stderr = io::stderr().lock();
        let _ = if json {
            let error = json!({
                "exit": self.exit as u8,
                "message": self.message,
                "fix": self.fix,
            });
            writeln!(stderr, "{}", json!({ "error": error }))
        } else {
            let _ = writeln!(stderr, "kvmi: {}", self.message);
            match &self.fix {
                Some(fix) => writeln!(stderr, "kvmi: to fix: {fix}"),
                None => Ok(()),
            }
        };
        ExitCode::from(self.exit as u8)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Closed => Exit::Ended,
            Error::Timeout { .. } | Error::Absent { .. } => Exit::Timeout,
            Error::Usage(_) => Exit::Usage,
            Error::Refused { code, .. } if *code == Code::EPERM => Exit::Denied,
            Error::Refused { .. } | Error::Stopped | Error::Protocol(_) | Error::Io(_) => {
                Exit::Failed
            }
        };
        let fix = match &error {
            Error::Timeout { .. } => Some(
                "a vCPU answers only while its VMM runs it: is the VM stopped? \
                 --timeout waits longer",
            ),
            Error::Absent { .. } => Some(
                "try again: the host's memory is short, or what supplies the VM's memory is slow",
            ),
            Error::Refused { code, .. } if *code == Code::ENOSYS => {
                Some("a newer kernel may have the command; `kvmi info` shows what this one has")
            }
            _ => None,
        };
        let kind = match &error {
            Error::Absent { .. } => Kind::Absent,
            Error::Stopped => Kind::Stopped,
            _ => Kind::Plain,
        };
        let failure = Failure {
            kind,
            ..Failure::new(exit, error.to_string())
        };
        match fix {
            Some(fix) => failure.fix(fix),
            None => failure,
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let exit = match &error {
            KeyError::Io(_) => Exit::Failed,
            KeyError::Short(_) | KeyError::Long => Exit::Usage,
        };
        Failure::new(exit, error.to_string())
            .fix("`head -c 32 /dev/urandom` makes a good one, for the VMM and the tool alike")
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        let exit = match &error {
            BindError::NoVsock => Exit::Denied,
            _ => Exit::Failed,
        };
        Failure {
            fix: error.fix().map(str::to_owned),
            ..Failure::new(exit, error.to_string())
        }
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        let exit = match &error {
            HandshakeError::Timeout(_) => Exit::Timeout,
            HandshakeError::Closed(_) | HandshakeError::Withdrawn | HandshakeError::Stopped => {
                Exit::Ended
            }
            HandshakeError::WrongKey | HandshakeError::Record { .. } => Exit::Denied,
            HandshakeError::Io(_) => Exit::Failed,
        };
        Failure {
            fix: error.fix().map(str::to_owned),
            ..Failure::new(exit, error.to_string())
        }
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        let exit = match &error {
            AttachError::NoProcess(_) | AttachError::NotVm(_) => Exit::NoVm,
            AttachError::Held { .. } => Exit::Held,
            AttachError::Os { .. } => Exit::Failed,
            AttachError::Ptrace { .. }
            | AttachError::Host(_)
            | AttachError::Capability(_)
            | AttachError::Protected(_) => Exit::Denied,
        };
        Failure {
            fix: error.fix(),
            ..Failure::new(exit, error.to_string())
        }
    }
}
