// SPDX-License-Identifier: GPL-2.0

//! `kvmi listen`
//!
//! Each VM that is offered gets a process of its own, which has the VM's socket and nothing of the
//! others': a command of this program, or another program. What becomes of one is no concern of
//! the others.

mod child;
mod place;
mod relay;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    os::fd::AsFd,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;
use kvmi_client::{
    handshake::{Auth, HandshakeError, Key},
    listen::{Arrival, Config, Listener},
};
use serde_json::json;
use signal_hook::consts::SIGTERM;

use crate::{
    cli::{Action, Cli, Form, Global, Listen},
    failure::{Exit, Failure, Result},
    output::Output,
    target, wait,
};
use child::{Child, End, Job};
use place::Place;
use relay::Relay;

/// Lets VMs in until told to stop.
pub fn run(global: &Global, args: &Listen, output: &mut Output) -> Result<()> {
    // Before any other file is opened, for a number that is easy to remember.
    let place = Place::new().map_err(|error| Failure::file("/dev/null", &error))?;
    let signals = wait::signals()?;
    if global.pid.is_some() {
        return Err(usage(
            "the VMs that connect are chosen by nobody: --pid has no meaning here",
        ));
    }
    let (job, json) = job(args, global, output.is_json())?;
    let mut config = Config::new(auth(args)?);
    config.count = args
        .count
        .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let listener = Listener::bind(&args.address)?;
    let address = args.address.to_string();
    let relay = Relay::new(output, json);
    relay.say(
        &json!({ "event": "listening", "address": address }),
        &format!("listening at {address}"),
    );
    let server = Server {
        relay,
        job,
        place,
        failure: Mutex::new(None),
        over: AtomicBool::new(false),
    };
    listener
        .serve(&config, signals.as_fd(), |arrival| {
            server.arrive(arrival, &signals, global);
        })
        .map_err(|error| Failure::file(&address, &error))?;
    match server.failure.into_inner().ok().flatten() {
        Some(failure) if args.count.is_some() => Err(failure),
        _ => Ok(()),
    }
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

/// What is asked of VMMs.
fn auth(args: &Listen) -> Result<Auth> {
    let key = args.key.as_deref().map(Key::read).transpose()?;
    match (args.auth, key) {
        (None | Some(Form::Hmac), Some(key)) => Ok(Auth::Hmac(key)),
        (Some(Form::Sha1), Some(key)) => Ok(Auth::Sha1(key)),
        (None | Some(Form::None), None) => Ok(Auth::None),
        (Some(Form::None), Some(_)) => Err(usage("a key is of no use with --auth none")),
        (Some(_), None) => {
            Err(usage("this kind of authentication needs a key").fix("name its file with --key"))
        }
    }
}

/// What is to be run for each VM, and whether the output is for programs.
fn job(args: &Listen, global: &Global, json: bool) -> Result<(Job, bool)> {
    let words = &args.command;
    if words.is_empty() {
        return match args.program.split_first() {
            Some((program, arguments)) => Ok((Job::program(program, arguments), json)),
            None => Err(usage("what is to be run for each VM?")
                .fix("name a command of kvmi with its arguments, or a program behind --")),
        };
    }
    // What is wrong with it is said now, and not when a VM has come.
    let start = ["kvmi", "--fd", "3"].map(OsString::from);
    let inner = Cli::try_parse_from(start.iter().chain(words)).unwrap_or_else(|error| error.exit());
    target::check(&inner)?;
    if inner.global.fd != Some(3) {
        return Err(usage(
            "the VMs that connect have their own sockets: --fd has no meaning here",
        ));
    }
    if let Some(what) = standard_stream(&inner.action) {
        return Err(usage(&format!("{what} would be that of all VMs")).fix(
            "have a program do it, such as `-- sh -c 'kvmi --fd 3 read 0 4K --output $KVMI_VM_UUID'`",
        ));
    }
    let json = json || inner.json;
    Ok((Job::own(words, global.timeout, json), json))
}

/// What of the standard streams a command would use for bytes as they are.
fn standard_stream(action: &Action) -> Option<&'static str> {
    let dash = |path: Option<&std::path::PathBuf>| {
        path.is_some_and(|path| path.as_os_str() == OsStr::new("-"))
    };
    match action {
        Action::Read(read) if read.raw || dash(read.output.as_ref()) => Some("standard output"),
        Action::Xsave(xsave) if dash(xsave.output.as_ref()) => Some("standard output"),
        Action::Xsave(xsave) if dash(xsave.load.as_ref()) => Some("standard input"),
        Action::Write(write) if dash(write.file.as_ref()) => Some("standard input"),
        _ => None,
    }
}

/// What the threads of all VMs share.
struct Server<'a> {
    relay: Relay<'a>,
    job: Job,
    place: Place,
    /// Of the first command that failed.
    failure: Mutex<Option<Failure>>,
    /// Whoever reads the output has gone.
    over: AtomicBool,
}

impl Server<'_> {
    /// Sees a VM through.
    fn arrive(
        &self,
        arrival: std::result::Result<Arrival, HandshakeError>,
        signals: &std::os::unix::net::UnixStream,
        global: &Global,
    ) {
        let arrival = match arrival {
            Ok(arrival) => arrival,
            // Nobody was there who could be told.
            Err(HandshakeError::Withdrawn | HandshakeError::Stopped) => return,
            Err(error) => {
                let failure = Failure::from(error).context("a connection was refused");
                failure.report(self.relay.is_json());
                return;
            }
        };
        let peer = &arrival.peer;
        let uuid = peer.uuid_text();
        let vm = if peer.name.is_empty() {
            uuid.clone()
        } else {
            peer.name.clone()
        };
        let voice = self.relay.voice(&vm);
        voice.say(
            json!({
                "event": "connected", "uuid": uuid, "start_time": peer.start_time,
                "max_gpa": peer.max_gpa.map(crate::output::hex),
            }),
            &format!("connected, uuid {uuid}"),
        );
        let child = Child::start(&self.job, &self.place, arrival);
        let end = child.and_then(|child| child.follow(&voice, signals.as_fd(), global.timeout));
        let (code, text) = match &end {
            Ok(End::Exit(code)) => (Some(*code), format!("ended with exit code {code}")),
            Ok(End::Signal(signal)) => (None, format!("ended by signal {signal}")),
            Ok(End::Stopped) => (None, "stopped".into()),
            Err(error) => (None, format!("failed: {error}")),
        };
        voice.say(
            json!({ "event": "ended", "exit": code, "how": text }),
            &text,
        );
        if !matches!(end, Ok(End::Exit(0) | End::Stopped)) {
            let exit = code.map_or(Exit::Failed, Exit::of_code);
            let failure = Failure::new(exit, format!("the command for {vm} {text}"));
            if let Ok(mut first) = self.failure.lock() {
                first.get_or_insert(failure);
            }
        }
        if self.relay.is_broken() && !self.over.swap(true, Ordering::Relaxed) {
            // Whoever read the output has had enough: that is an end as by a signal.
            let _ = signal_hook::low_level::raise(SIGTERM);
        }
    }
}
