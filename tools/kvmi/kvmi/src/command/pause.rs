// SPDX-License-Identifier: GPL-2.0

//! `kvmi pause`
//!
//! A vCPU stays stopped only while the session lives that stopped it. So this
//! command holds the VM until it is told to let go: by a signal (Ctrl-C,
//! `kvmi resume`), by the time of `--for`, by its VMM (PREUNHOOK), or by the end
//! of its standard input if that is a pipe or a socket. Killing it lets go too.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::FileTypeExt, net::UnixStream},
    },
    time::{Duration, Instant},
};

use kvmi_client::{
    Error, Session,
    command::PauseVcpu,
    event::{Answer, Event, Kind, VcpuEvent},
};
use serde_json::json;

use crate::{
    cli::{Global, Pause},
    failure::Result,
    follow::End,
    output::{Output, hex},
    target, wait,
};

/// Stops vCPUs until told to let go.
pub fn run(global: &Global, args: &Pause, output: &mut Output) -> Result<()> {
    // Before the VM is touched, so that no signal is missed.
    let signals = wait::signals()?;
    target::hold(global, |vm| {
        let vcpus = target::vcpus(vm, args.vcpu)?;
        let mut hold = Hold::new(&mut vm.session, output, vcpus)?;
        let until = args.time.map(|time| Instant::now() + time);
        // After a failure the end of the session lets go of everything.
        let end = hold.until(until, global.timeout, &signals)?;
        hold.release(end)
    })
}

/// The vCPUs that are held.
struct Hold<'a> {
    session: &'a mut Session<UnixStream>,
    output: &'a mut Output,
    /// Those that have not stopped yet.
    waiting: Vec<u16>,
    /// The events of those that have.
    stopped: Vec<VcpuEvent>,
    /// The VMM asks to let go.
    unhook: bool,
}

impl<'a> Hold<'a> {
    /// Asks `vcpus` to stop.
    fn new(
        session: &'a mut Session<UnixStream>,
        output: &'a mut Output,
        vcpus: Vec<u16>,
    ) -> Result<Self> {
        for &vcpu in &vcpus {
            session
                .call(PauseVcpu { vcpu, wait: false })
                .map_err(target::on_vcpu(vcpu))?;
        }
        target::expect_unhook(session)?;
        Ok(Hold {
            session,
            output,
            waiting: vcpus,
            stopped: Vec::new(),
            unhook: false,
        })
    }

    /// Reports what stops until it is time to let go.
    fn until(
        &mut self,
        until: Option<Instant>,
        patience: Duration,
        signals: &UnixStream,
    ) -> Result<End> {
        let mut stdin = Some(io::stdin()).filter(|stdin| until.is_none() && is_pipe(stdin.as_fd()));
        let mut complain = Some(Instant::now() + patience).filter(|_| !patience.is_zero());
        loop {
            while let Some(event) = self.session.kept_event()? {
                self.note(event)?;
            }
            self.output.finish()?;
            let now = Instant::now();
            if self.unhook {
                return Ok(End::Unhook);
            }
            if until.is_some_and(|until| until <= now) {
                return Ok(End::Time);
            }
            if complain.is_some_and(|complain| complain <= now || self.waiting.is_empty()) {
                complain = None;
                self.complain();
            }
            let deadline = until.into_iter().chain(complain).min();
            let ready = wait::wait(
                &[
                    Some(self.session.stream().as_fd()),
                    Some(signals.as_fd()),
                    stdin.as_ref().map(AsFd::as_fd),
                ],
                deadline,
            )?;
            if ready[1] {
                return Ok(End::Signal);
            }
            if ready[2] {
                // What is said on standard input is of no interest; its end is.
                let end = stdin
                    .as_mut()
                    .is_some_and(|input| !matches!(input.lock().read(&mut [0; 4096]), Ok(1..)));
                if end {
                    return Ok(End::Enough);
                }
            }
            if ready[0] {
                let event = self.session.event()?;
                self.note(event)?;
            }
        }
    }

    /// Takes note of an event.
    fn note(&mut self, event: Event) -> Result<()> {
        let event = match event {
            // Nobody else would answer it, and its vCPU waits.
            Event::Vcpu(event) if !matches!(event.kind, Kind::Pause) => {
                return Ok(self.session.answer(&event, Answer::Continue)?);
            }
            Event::Vcpu(event) => *event,
            Event::Unhook => {
                self.unhook = true;
                return Ok(());
            }
            Event::Vm(_) => return Ok(()),
        };
        let (vcpu, rip, cr3) = (event.vcpu, event.arch.regs.rip, event.arch.sregs.cr3);
        self.waiting.retain(|waiting| *waiting != vcpu);
        self.stopped.push(event);
        if self.output.is_json() {
            self.output.value(&json!({
                "event": "stopped", "vcpu": vcpu, "rip": hex(rip), "cr3": hex(cr3),
            }))?;
        } else {
            self.output.line(format_args!(
                "vCPU {vcpu} stopped at rip {rip:016x}, cr3 {cr3:016x}"
            ))?;
        }
        if self.waiting.is_empty() {
            let text = "paused; Ctrl-C or `kvmi resume` lets go";
            if self.output.is_json() {
                self.output.value(&json!({ "event": "paused" }))?;
            } else {
                self.output.line(text)?;
            }
        }
        Ok(())
    }

    /// Says which vCPUs take their time.
    fn complain(&self) {
        use io::Write;
        for vcpu in &self.waiting {
            // If standard error is closed, nobody wants to know.
            let _ = writeln!(
                io::stderr(),
                "kvmi: vCPU {vcpu} has not stopped yet: its VMM does not run it. It will stop \
                 before it runs again."
            );
        }
    }

    /// Lets every vCPU go on.
    fn release(&mut self, end: End) -> Result<()> {
        for event in self.stopped.drain(..) {
            match self.session.answer(&event, Answer::Continue) {
                // Then nothing holds it any more.
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if self.output.is_json() {
            self.output
                .value(&json!({ "event": "resumed", "reason": end.word() }))?;
        } else {
            self.output.line(format_args!("resumed{}", end.remark()))?;
        }
        self.output.finish()
    }
}

/// Whether a file is a pipe or a socket. A terminal is not read: Ctrl-C is
/// what it is for, and reading would stop a job in the background. /dev/null,
/// which scripts give to such jobs, has no end to wait for.
fn is_pipe(file: BorrowedFd<'_>) -> bool {
    let Ok(file) = file.try_clone_to_owned() else {
        return false;
    };
    std::fs::File::from(file)
        .metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo() || metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use kvmi_client::fake::{self, Vm};

    use super::*;
    use crate::failure::Exit;

    fn vm(vcpus: u16) -> Vm {
        Vm {
            vcpus,
            ..Vm::default()
        }
    }

    #[test]
    fn every_vcpu_stops_and_goes_on() {
        let (mut session, kernel) = fake::session(|kernel| vm(2).serve(kernel));
        let mut output = Output::new(true);
        let (signals, _keep) = UnixStream::pair().unwrap();
        let mut hold = Hold::new(&mut session, &mut output, vec![0, 1]).unwrap();
        let until = Instant::now() + Duration::from_millis(200);
        let end = hold.until(Some(until), Duration::ZERO, &signals).unwrap();
        assert!(hold.waiting.is_empty());
        hold.release(end).unwrap();
        drop(session);
        assert_eq!(kernel.join().unwrap().answers, [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_signal_lets_go() {
        let (mut session, kernel) = fake::session(|kernel| vm(1).serve(kernel));
        let mut output = Output::new(true);
        let (signals, mut signal) = UnixStream::pair().unwrap();
        signal.write_all(b"x").unwrap();
        let mut hold = Hold::new(&mut session, &mut output, vec![0]).unwrap();
        let late = Instant::now() + Duration::from_secs(60);
        let end = hold.until(Some(late), Duration::ZERO, &signals).unwrap();
        assert_eq!(end, End::Signal);
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn the_vmm_asks_to_let_go() {
        let (mut session, kernel) = fake::session(|kernel| {
            for _ in 0..2 {
                let command = kernel.message();
                kernel.reply(&command, Ok(Vec::new()));
            }
            kernel.send(0, 1, &[0; 8]);
            kernel.try_message()
        });
        let mut output = Output::new(true);
        let (signals, _keep) = UnixStream::pair().unwrap();
        let mut hold = Hold::new(&mut session, &mut output, vec![0]).unwrap();
        let end = hold.until(None, Duration::ZERO, &signals).unwrap();
        assert_eq!(end, End::Unhook);
        drop(session);
        assert_eq!(kernel.join().unwrap(), None);
    }

    #[test]
    fn the_vm_ends_meanwhile() {
        let (mut session, kernel) = fake::session(|kernel| {
            for _ in 0..2 {
                let command = kernel.message();
                kernel.reply(&command, Ok(Vec::new()));
            }
        });
        let mut output = Output::new(true);
        let (signals, _keep) = UnixStream::pair().unwrap();
        let mut hold = Hold::new(&mut session, &mut output, vec![0]).unwrap();
        let late = Instant::now() + Duration::from_secs(60);
        let result = hold.until(Some(late), Duration::ZERO, &signals);
        assert_eq!(result.unwrap_err().exit, Exit::Ended);
        kernel.join().unwrap();
    }
}
