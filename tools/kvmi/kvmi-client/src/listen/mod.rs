// SPDX-License-Identifier: MIT OR Apache-2.0

//! Waiting for VMMs that connect and offer their VMs.
//!
//! ```no_run
//! use std::{os::{fd::AsFd, unix::net::UnixStream}, path::Path};
//!
//! use kvmi_client::{
//!     command::GetInfo,
//!     handshake::{Auth, Key},
//!     listen::{Config, Listener},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind(&"unix:/run/kvmi.sock".parse()?)?;
//! let config = Config::new(Auth::Hmac(Key::read(Path::new("/etc/kvmi.key"))?));
//! // Whatever is written to `_stop`, or its end, ends the serving.
//! let (stop, _stop) = UnixStream::pair()?;
//! listener.serve(&config, stop.as_fd(), |arrival| match arrival {
//!     Ok(mut vm) => println!("{}: {:?}", vm.peer.name, vm.session.call(GetInfo)),
//!     Err(error) => eprintln!("{error}"),
//! })?;
//! # Ok(())
//! # }
//! ```

mod address;
mod gate;
mod socket;

pub use address::{Address, AddressError};
pub use socket::{BindError, Listener};

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::PollFlags;

use crate::{
    code::Code,
    command::CheckEvent,
    error::Error,
    handshake::{self, Auth, HandshakeError, Patience, Peer, Step},
    poll::readable,
    session::Session,
    wire,
};
use gate::Gate;

/// A VM that a VMM has offered.
#[derive(Debug)]
pub struct Arrival {
    /// What its VMM says of it.
    pub peer: Peer,
    /// The session with it. The stream is of the type of a local socket
    /// whatever it is: reading, writing and time limits are the same for all.
    pub session: Session<UnixStream>,
}

/// How VMs are let in.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is asked of their VMMs.
    pub auth: Auth,
    /// How long a handshake may take.
    pub patience: Duration,
    /// How many handshakes may be under way at once. Further connections wait.
    pub handshakes: usize,
    /// How many VMs are let in altogether; `None` for any number.
    pub count: Option<usize>,
}

impl Config {
    /// Any number of VMs, 16 handshakes at once, 10 seconds for each.
    pub fn new(auth: Auth) -> Self {
        Config {
            auth,
            patience: Duration::from_secs(10),
            handshakes: 16,
            count: None,
        }
    }
}

/// How long to wait until something else may have become possible.
const PAUSE: Duration = Duration::from_millis(100);

/// How often to ask whether all is allowed that will be.
const TRIES: u32 = 20;

impl Listener {
    /// Lets VMs in until `stop` becomes readable, or until there were as many
    /// as wanted; then nobody can connect any more. Returns when `arrive` has
    /// returned for each.
    ///
    /// `arrive` is called for each VM, and for each handshake that failed, on a
    /// thread of its own: it may use the session there as long as it likes.
    /// Handshakes that are under way at `stop` are given up. One that fails is
    /// the concern of its connection only.
    ///
    /// # Errors
    ///
    /// The listening itself failed.
    pub fn serve(
        self,
        config: &Config,
        stop: BorrowedFd<'_>,
        arrive: impl Fn(Result<Arrival, HandshakeError>) + Sync,
    ) -> io::Result<()> {
        let gate = Gate::new(config.handshakes.max(1), config.count)?;
        thread::scope(|scope| {
            while !gate.is_done() {
                let door = gate.is_open().then(|| self.as_fd());
                let [stopped, changed, connection] =
                    readable(&[Some(stop), Some(gate.changes()), door], None)?;
                if stopped {
                    break;
                }
                if changed {
                    gate.note_changes();
                }
                if !connection {
                    continue;
                }
                let stream = match self.accept() {
                    Ok(Some(stream)) => stream,
                    Ok(None) => continue,
                    // Too many files are open, or the like: that passes.
                    Err(error) => {
                        arrive(Err(HandshakeError::Io(error)));
                        readable(&[Some(stop)], Some(Instant::now() + PAUSE))?;
                        continue;
                    }
                };
                gate.enter();
                let (gate, arrive) = (&gate, &arrive);
                scope.spawn(move || {
                    let patience = Patience::new(config.patience).stopped_by(stop);
                    let result = let_in(stream, config, &patience);
                    gate.leave(result.is_ok());
                    arrive(result);
                });
            }
            // The others still run: from now on nobody waits for an answer in vain.
            drop(self);
            Ok(())
        })
    }
}

/// Makes the handshake, and sees that the session has begun.
fn let_in(
    stream: UnixStream,
    config: &Config,
    patience: &Patience<'_>,
) -> Result<Arrival, HandshakeError> {
    let peer = handshake::run(&stream, &config.auth, patience)?;
    let mut session = Session::new(stream);
    if !matches!(config.auth, Auth::Hmac(_)) {
        // Half a message must not hold this up for ever either.
        let limit = Some(config.patience).filter(|limit| !limit.is_zero());
        let within = |session: &Session<UnixStream>, limit| {
            session
                .stream()
                .set_read_timeout(limit)
                .map_err(HandshakeError::Io)
        };
        within(&session, limit)?;
        settle(&mut session, patience)?;
        within(&session, None)?;
    }
    Ok(Arrival { peer, session })
}

/// Waits until the VMM has told KVM what is allowed, for a while at most.
///
/// With [`Auth::Hmac`] it has when it proves itself. Otherwise it says nothing
/// at its end, and whoever is quick is refused what he may do a moment later;
/// that the tool may be asked to leave is allowed last.
fn settle(
    session: &mut Session<UnixStream>,
    patience: &Patience<'_>,
) -> Result<(), HandshakeError> {
    let failed = |error| match error {
        Error::Closed => HandshakeError::Closed(Step::Consent),
        Error::Timeout { .. } => HandshakeError::Timeout(Step::Consent),
        Error::Io(error) => HandshakeError::Io(error),
        error => HandshakeError::Io(io::Error::other(error)),
    };
    let id = wire::KVMI_VM_EVENT_UNHOOK as u16;
    for _ in 0..TRIES {
        let ticket = session.send(CheckEvent { id }).map_err(failed)?;
        patience.wait(session.stream().as_fd(), PollFlags::IN, Step::Consent)?;
        match session.wait(ticket) {
            Err(error) if error.code() == Some(Code::EPERM) => {}
            Ok(()) | Err(Error::Refused { .. }) => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
