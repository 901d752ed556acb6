// SPDX-License-Identifier: GPL-2.0

//! `kvmi watch`
//!
//! One line for each access of some bytes of the guest's memory. The pages that hold them are
//! restricted, so whatever touches these pages stops; what does not touch the bytes is let
//! through unseen.

pub mod place;
#[cfg(test)]
mod tests;

use std::{os::unix::net::UnixStream, time::Instant};

use kvmi_client::{
    Access, Session,
    command::{PAGE, within_page},
    event::{Answer, Kind, VcpuEvent},
    wire,
};
use serde_json::{Map, json};

use crate::{
    cli::{Global, Watch},
    failure::{Exit, Failure, Result},
    follow::{self, End, Follower, follow},
    linux::Linux,
    output::Output,
    pages, target,
    touch::{Through, Touch},
    wait,
};
use place::{Place, Places};

/// Prints accesses until told to stop.
pub fn run(global: &Global, args: &Watch, output: &mut Output) -> Result<()> {
    let signals = wait::signals()?;
    target::hold(global, |vm| {
        if vm.frozen {
            let message = "the VM is frozen: what a tool that died has restricted must stay so";
            return Err(Failure::new(Exit::Held, message)
                .fix("`kvmi protect` takes it over; `kvmi resume` gives everything back"));
        }
        wait::heed(&mut vm.session, &signals)?;
        let vcpus = target::vcpus(vm, args.vcpu)?;
        let session = &mut vm.session;
        let linux = match args.place {
            Place::Symbol(..) => Some(Linux::find(session, &vcpus)?),
            _ if args.no_symbols => None,
            _ => match Linux::find(session, &vcpus) {
                Ok(linux) => Some(linux),
                // Without it there are no names, and that is all.
                Err(failure) if failure.exit == Exit::NotFound => None,
                Err(failure) => return Err(failure),
            },
        };
        let vcpu = args.vcpu.unwrap_or(0);
        let places = Places::find(session, &args.place, args.len, vcpu, linux.as_ref())?;
        let mut watcher = Watcher::new(session, output, places, args.access);
        watcher.linux = linux;
        watcher.limit = args.count;
        watcher.begin(&vcpus)?;
        let until = args.time.map(|time| Instant::now() + time);
        let end = follow(&mut watcher, until, &signals)?;
        watcher.finish(end)
    })
}

/// A watch that is under way.
struct Watcher<'a> {
    session: &'a mut Session<UnixStream>,
    output: &'a mut Output,
    start: Instant,
    places: Places,
    wanted: Access,
    linux: Option<Linux>,
    through: Through<()>,
    events: u64,
    limit: Option<u64>,
    /// Those that report.
    vcpus: Vec<u16>,
}

impl<'a> Watcher<'a> {
    fn new(
        session: &'a mut Session<UnixStream>,
        output: &'a mut Output,
        places: Places,
        wanted: Access,
    ) -> Self {
        Watcher {
            session,
            output,
            start: Instant::now(),
            places,
            wanted,
            linux: None,
            through: Through::new(),
            events: 0,
            limit: None,
            vcpus: Vec::new(),
        }
    }

    /// Restricts the pages; before, whoever could be denied something can report it.
    fn begin(&mut self, vcpus: &[u16]) -> Result<()> {
        target::expect_unhook(self.session)?;
        pages::report(self.session, vcpus)?;
        self.vcpus = vcpus.to_vec();
        pages::watch(self.session, &self.places.frames(), self.wanted)?;
        self.start = Instant::now();
        let (wanted, pages) = (self.wanted, self.places.pages());
        if self.output.is_json() {
            self.output.value(&json!({
                "event": "watching", "access": wanted.to_string(), "bytes": self.places.size(),
                "pages": pages,
            }))?;
        } else {
            let places = &self.places;
            self.output
                .line(format_args!("watching {wanted} of {places}"))?;
        }
        self.output.finish()
    }

    /// An access of a page that is restricted.
    fn denied(&mut self, event: &VcpuEvent, pf: &wire::kvmi_vcpu_event_pf) -> Result<()> {
        let rest_of_page = within_page(pf.gpa, PAGE) as u64;
        if !Access::from_bits(pf.access).meets(self.wanted)
            || !self.places.meets(pf.gpa, rest_of_page)
        {
            return Ok(self.session.answer(event, Answer::Continue)?);
        }
        let mut touch = Touch::new(self.session, event, pf, self.start)?;
        if !self.places.meets(touch.gpa, touch.length) {
            return Ok(self.session.answer(event, Answer::Continue)?);
        }
        touch.gva = touch.gva.or_else(|| self.places.gva(touch.gpa));
        let done = self.through.allow(self.session, event, touch, ())?;
        done.map_or(Ok(()), |(touch, ())| self.print(&touch))
    }

    fn print(&mut self, touch: &Touch) -> Result<()> {
        // Several may end at once.
        if self.is_over() {
            return Ok(());
        }
        self.events += 1;
        let symbol = match &mut self.linux {
            Some(linux) => linux.name(self.session, touch.rip)?,
            None => None,
        };
        if self.output.is_json() {
            self.output
                .value(&touch.object(symbol.as_deref(), Map::new()))
        } else {
            self.output.line(touch.line(symbol.as_deref()))
        }
    }

    /// Says how much it was.
    fn finish(&mut self, end: End) -> Result<()> {
        for (touch, ()) in self.through.rest() {
            self.print(&touch)?;
        }
        follow::summary(self.output, "accesses", self.events, self.start, end)
    }
}

impl Follower for Watcher<'_> {
    fn session(&mut self) -> &mut Session<UnixStream> {
        self.session
    }

    fn flush(&mut self) -> Result<()> {
        self.output.finish()
    }

    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.events >= limit)
    }

    fn take_back(&mut self) -> kvmi_client::Result<()> {
        pages::take_back(self.session, &self.places.frames(), &self.vcpus)?;
        self.through.take_back(self.session)
    }

    fn note(&mut self, event: &VcpuEvent) -> Result<()> {
        match &event.kind {
            Kind::Pf(pf) => self.denied(event, pf),
            Kind::Singlestep(_) => {
                for (touch, ()) in self.through.stepped(self.session, event)? {
                    self.print(&touch)?;
                }
                Ok(())
            }
            _ => Ok(self.session.answer(event, Answer::Continue)?),
        }
    }
}
