// SPDX-License-Identifier: GPL-2.0

//! `kvmi protect`
//!
//! Takes the right to write from the pages of the guest kernel's text and read-only data. It is
//! the frames that are restricted, so it does not matter by which mapping the guest reaches them,
//! nor what its own page tables and CR0.WP allow.

mod act;
mod on_exit;
mod patching;
mod report;
#[cfg(test)]
mod tests;

pub use act::Action;
pub use on_exit::OnExit;

use std::{os::unix::net::UnixStream, time::Instant};

use kvmi_client::{
    Access, Error, Session,
    command::{self, SetOnExit, SetPageAccess},
    event::{Answer, Kind, VcpuEvent},
    wire,
};
use serde_json::json;

use crate::{
    cli::{Global, Protect},
    failure::Result,
    follow::{End, Follower, follow},
    linux::{self, Linux},
    output::Output,
    pages, target,
    touch::{Through, Touch},
    wait,
};
use act::Verdict;
use patching::Patching;
use report::{Part, Violation};

/// Protects the kernel until told to stop.
pub fn run(global: &Global, args: &Protect, output: &mut Output) -> Result<()> {
    let signals = wait::signals()?;
    target::hold(global, |vm| {
        wait::heed(&mut vm.session, &signals)?;
        let vcpus = target::vcpus(vm, None)?;
        let session = &mut vm.session;
        let linux = Linux::find(session, &vcpus)?;
        let parts = parts(&linux, args.no_execute_data)?;
        let mut protector = Protector::new(session, output, linux, parts, args.action);
        protector.allow_own = !args.no_allow_self_patching;
        protector.limit = args.count;
        protector.on_exit = args.on_exit;
        protector.frozen = vm.frozen;
        protector.begin(&vcpus)?;
        // From here on the session's death means what was wanted, and a failure is a death.
        (vm.on_exit, vm.frozen) = (args.on_exit.action(), false);
        let until = args.time.map(|time| Instant::now() + time);
        let end = follow(&mut protector, until, &signals)?;
        protector.finish(end)?;
        protector.let_go()
    })
}

/// What is to be protected.
fn parts(linux: &Linux, no_execute_data: bool) -> Result<Vec<Part>> {
    let mut data = Access::ALL - Access::WRITE;
    if no_execute_data {
        data = data - Access::EXECUTE;
    }
    let kernel = &linux.kernel;
    Ok(vec![
        Part {
            name: "text",
            range: kernel.text().map_err(linux::missing)?,
            allowed: Access::ALL - Access::WRITE,
        },
        Part {
            name: "read-only data",
            range: kernel.read_only_data().map_err(linux::missing)?,
            allowed: data,
        },
    ])
}

/// A protection that is under way.
struct Protector<'a> {
    session: &'a mut Session<UnixStream>,
    output: &'a mut Output,
    start: Instant,
    linux: Linux,
    patching: Patching,
    parts: Vec<Part>,
    action: Action,
    /// Whether the guest's own patching is let through.
    allow_own: bool,
    through: Through<Violation>,
    violations: u64,
    patches: u64,
    limit: Option<u64>,
    on_exit: OnExit,
    /// The VM is one that a tool has left frozen.
    frozen: bool,
    /// The VM was ended.
    over: bool,
    /// Those that report.
    vcpus: Vec<u16>,
}

impl<'a> Protector<'a> {
    fn new(
        session: &'a mut Session<UnixStream>,
        output: &'a mut Output,
        linux: Linux,
        parts: Vec<Part>,
        action: Action,
    ) -> Self {
        Protector {
            session,
            output,
            start: Instant::now(),
            patching: Patching::new(&linux.kernel.symbols),
            linux,
            parts,
            action,
            allow_own: true,
            through: Through::new(),
            violations: 0,
            patches: 0,
            limit: None,
            on_exit: OnExit::Release,
            frozen: false,
            over: false,
            vcpus: Vec::new(),
        }
    }

    /// Restricts the pages; before, whoever could be denied something can report it.
    ///
    /// A frozen VM is taken over with nothing open in between. What the dead tool has restricted
    /// stays: what it had in common with this one is set anew, not lifted first; the rest, which
    /// nobody lists, is lifted by [`Self::lift`] where it is met, thus after all of this. If this
    /// tool dies before it is done, the VM is frozen as before.
    fn begin(&mut self, vcpus: &[u16]) -> Result<()> {
        if !self.frozen && self.on_exit != OnExit::Release {
            target::set_on_exit(self.session, self.on_exit.action())?;
        }
        target::expect_unhook(self.session)?;
        pages::report(self.session, vcpus)?;
        self.vcpus = vcpus.to_vec();
        for part in &self.parts {
            pages::restrict(self.session, &part.frames(), part.allowed)?;
        }
        if self.frozen && self.on_exit != OnExit::Freeze {
            target::set_on_exit(self.session, self.on_exit.action())?;
        }
        self.start = Instant::now();
        let kernel = &self.linux.kernel;
        let (banner, moved) = (&kernel.banner, kernel.moved);
        let beginning = report::Beginning {
            banner,
            moved,
            parts: &self.parts,
            action: self.action,
            on_exit: self.on_exit,
            frozen: self.frozen,
        };
        beginning.print(self.output)
    }

    /// Ends the protection as it was told to: it is no death. What is restricted then goes with
    /// the session.
    fn let_go(&mut self) -> Result<()> {
        if self.on_exit == OnExit::Release {
            return Ok(());
        }
        let action = command::OnExit::Release;
        match self.session.call(SetOnExit { action }) {
            // The VM may have ended.
            Ok(()) | Err(Error::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lifts what a dead tool has restricted and this one does not want, now that it is met.
    fn lift(&mut self, event: &VcpuEvent, gpa: u64) -> Result<()> {
        let entries = &[SetPageAccess::entry(gpa, Access::ALL)];
        match self.session.call(SetPageAccess { entries }) {
            // Its memory may be gone.
            Ok(()) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.session.answer(event, Answer::Continue)?)
    }

    /// An access of a page that is restricted.
    fn denied(&mut self, event: &VcpuEvent, pf: &wire::kvmi_vcpu_event_pf) -> Result<()> {
        if !self.parts.iter().any(|part| part.holds(pf.gpa)) {
            return self.lift(event, pf.gpa);
        }
        let mut touch = Touch::new(self.session, event, pf, self.start)?;
        let own = match self
            .patching
            .is_own(self.session, &self.linux, event, &touch)
        {
            // Who it is cannot be told now: nothing is done, and it is tried again.
            Err(failure) if failure.is_absent() => {
                return Ok(self.session.answer(event, Answer::Retry)?);
            }
            own => own?,
        };
        if touch.unread && self.action != Action::Log {
            return Ok(self.session.answer(event, Answer::Retry)?);
        }
        let mut violation = self.violation(event, &touch)?;
        if own && self.allow_own {
            violation.verdict = Verdict::SelfPatching;
        } else if self.action != Action::Log {
            let Some(verdict) = self.action.stop(self.session, event, &touch)? else {
                return Ok(());
            };
            self.over |= verdict == Verdict::Crashed;
            violation.verdict = verdict;
            // Nothing was stored.
            touch.after = touch.before.clone();
            return self.print(&touch, &violation);
        }
        match self.through.allow(self.session, event, touch, violation)? {
            Some((touch, violation)) => self.print(&touch, &violation),
            None => Ok(()),
        }
    }

    /// What is known of an access; it counts as logged.
    fn violation(&mut self, event: &VcpuEvent, touch: &Touch) -> Result<Violation> {
        let target_gva = self.parts.iter().find_map(|part| part.range.gva(touch.gpa));
        let target = target_gva.and_then(|gva| self.linux.kernel.place(gva));
        Ok(Violation {
            verdict: Verdict::Logged,
            task: self.linux.task(self.session, event)?,
            symbol: self.linux.name(self.session, touch.rip)?,
            target,
            target_gva,
            stored: Violation::stored(event, touch),
        })
    }

    fn print(&mut self, touch: &Touch, violation: &Violation) -> Result<()> {
        match violation.verdict {
            Verdict::SelfPatching => self.patches += 1,
            _ => self.violations += 1,
        }
        violation.print(touch, self.output)
    }

    /// Says how much it was.
    fn finish(&mut self, end: End) -> Result<()> {
        for (touch, violation) in self.through.rest() {
            self.print(&touch, &violation)?;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let (violations, patches) = (self.violations, self.patches);
        if self.output.is_json() {
            return self.output.value(&json!({
                "event": "end", "violations": violations, "self_patching": patches,
                "seconds": seconds, "reason": end.word(),
            }));
        }
        self.output.line(format_args!(
            "{violations} violations and {patches} writes of the guest's own patching in \
             {seconds:.1} s{}",
            end.remark()
        ))
    }
}

impl Follower for Protector<'_> {
    fn session(&mut self) -> &mut Session<UnixStream> {
        self.session
    }

    fn flush(&mut self) -> Result<()> {
        self.output.finish()
    }

    fn is_over(&self) -> bool {
        self.over || self.limit.is_some_and(|limit| self.violations >= limit)
    }

    fn take_back(&mut self) -> kvmi_client::Result<()> {
        if self.on_exit != OnExit::Release {
            let action = command::OnExit::Release;
            self.session.call(SetOnExit { action })?;
        }
        let frames = self.parts.iter().flat_map(Part::frames).collect();
        pages::take_back(self.session, &frames, &self.vcpus)?;
        self.through.take_back(self.session)
    }

    fn note(&mut self, event: &VcpuEvent) -> Result<()> {
        match &event.kind {
            Kind::Pf(pf) => self.denied(event, pf),
            Kind::Singlestep(_) => {
                for (touch, violation) in self.through.stepped(self.session, event)? {
                    self.print(&touch, &violation)?;
                }
                Ok(())
            }
            // TRAP says what a fault was delivered as.
            _ => Ok(self.session.answer(event, Answer::Continue)?),
        }
    }
}
