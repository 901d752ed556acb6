// SPDX-License-Identifier: GPL-2.0

//! `kvmi trace`
//!
//! One line for each event. A vCPU waits while its line is printed: whoever
//! does not read what this prints slows the guest down.

#[cfg(test)]
mod tests;
mod wish;

use std::{os::unix::net::UnixStream, time::Instant};

use kvmi_client::{
    Session,
    command::{ControlSinglestep, PauseVcpu},
    event::{Answer, Kind, VcpuEvent},
};

use crate::{
    cli::{Global, Trace},
    event,
    failure::Result,
    follow::{self, End, Follower, follow},
    instruction,
    output::Output,
    target, wait,
};
use wish::Wish;

/// Prints events until told to stop.
pub fn run(global: &Global, args: &Trace, output: &mut Output) -> Result<()> {
    let signals = wait::signals()?;
    target::hold(global, |vm| {
        wait::heed(&mut vm.session, &signals)?;
        let vcpus = target::vcpus(vm, args.vcpu)?;
        let mut tracer = Tracer::new(&mut vm.session, output, args.count);
        tracer.disassemble = args.disassemble;
        tracer.watch(args, &vcpus)?;
        if let Some(steps) = args.step {
            tracer.step(args.vcpu.unwrap_or(0), steps)?;
        }
        let until = args.time.map(|time| Instant::now() + time);
        let end = follow(&mut tracer, until, &signals)?;
        tracer.finish(end)
    })
}

/// A trace that is under way.
struct Tracer<'a> {
    session: &'a mut Session<UnixStream>,
    output: &'a mut Output,
    start: Instant,
    events: u64,
    limit: Option<u64>,
    /// Whether to show the instruction at RIP.
    disassemble: bool,
    /// What the vCPUs were asked to report.
    wishes: Vec<(u16, Wish)>,
    /// The vCPU that is stepped and the instructions that are still to come, if that was asked for.
    steps: Option<(u16, u64)>,
}

impl<'a> Tracer<'a> {
    fn new(
        session: &'a mut Session<UnixStream>,
        output: &'a mut Output,
        limit: Option<u64>,
    ) -> Self {
        Tracer {
            session,
            output,
            start: Instant::now(),
            events: 0,
            limit,
            disassemble: false,
            wishes: Vec::new(),
            steps: None,
        }
    }

    /// Turns on what is to be seen.
    fn watch(&mut self, args: &Trace, vcpus: &[u16]) -> Result<()> {
        target::expect_unhook(self.session)?;
        for &vcpu in vcpus {
            for wish in Wish::all(args) {
                wish.set(self.session, vcpu, true)
                    .map_err(target::refused(vcpu, &wish))?;
                self.wishes.push((vcpu, wish));
            }
        }
        Ok(())
    }

    /// Stops a vCPU, to go on by single steps.
    fn step(&mut self, vcpu: u16, steps: u64) -> Result<()> {
        self.session
            .call(PauseVcpu { vcpu, wait: false })
            .map_err(target::on_vcpu(vcpu))?;
        // The vCPU carries this out inside its pause, or inside an event before that.
        let enable = true;
        self.session
            .call(ControlSinglestep { vcpu, enable })
            .map_err(target::refused(vcpu, &"single steps"))?;
        self.steps = Some((vcpu, steps));
        Ok(())
    }

    /// Counts a step; the last one ends the stepping while its vCPU still waits.
    fn count_step(&mut self, vcpu: u16) -> Result<()> {
        let Some((_, steps)) = &mut self.steps else {
            return Ok(());
        };
        *steps = steps.saturating_sub(1);
        if *steps == 0 {
            let enable = false;
            self.session
                .call(ControlSinglestep { vcpu, enable })
                .map_err(target::on_vcpu(vcpu))?;
        }
        Ok(())
    }

    /// Says how much it was.
    fn finish(&mut self, end: End) -> Result<()> {
        follow::summary(self.output, "events", self.events, self.start, end)
    }
}

impl Follower for Tracer<'_> {
    fn session(&mut self) -> &mut Session<UnixStream> {
        self.session
    }

    fn flush(&mut self) -> Result<()> {
        self.output.finish()
    }

    fn is_over(&self) -> bool {
        self.steps.is_some_and(|(_, steps)| steps == 0)
            || self.limit.is_some_and(|limit| self.events >= limit)
    }

    fn take_back(&mut self) -> kvmi_client::Result<()> {
        if let Some((vcpu, _)) = self.steps {
            let enable = false;
            self.session.call(ControlSinglestep { vcpu, enable })?;
        }
        for &(vcpu, wish) in &self.wishes {
            wish.set(self.session, vcpu, false)?;
        }
        Ok(())
    }

    /// Prints an event and lets its vCPU go on.
    fn note(&mut self, event: &VcpuEvent) -> Result<()> {
        if matches!(event.kind, Kind::Pause) {
            // Where the stepping begins.
            return Ok(self.session.answer(event, Answer::Continue)?);
        }
        self.events += 1;
        let instruction = self
            .disassemble
            .then(|| instruction::at_rip(self.session, event))
            .transpose()?;
        if self.output.is_json() {
            self.output.value(&event::object(event, instruction))?;
        } else {
            let line = event::Line {
                seconds: self.start.elapsed().as_secs_f64(),
                event,
                instruction: instruction.flatten(),
            };
            self.output.line(line)?;
        }
        if matches!(event.kind, Kind::Singlestep(_)) {
            self.count_step(event.vcpu)?;
        }
        Ok(self.session.answer(event, Answer::Continue)?)
    }
}
