// SPDX-License-Identifier: GPL-2.0

//! Following what the guest does, event by event.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    time::Instant,
};

use kvmi_client::{
    Session,
    event::{Event, VcpuEvent},
};
use serde_json::json;

use crate::{failure::Result, output::Output, wait};

/// Who follows.
pub trait Follower {
    /// Where the events come from.
    fn session(&mut self) -> &mut Session<UnixStream>;

    /// Takes note of an event, and answers it.
    fn note(&mut self, event: &VcpuEvent) -> Result<()>;

    /// Hands on what was printed: nothing more is there at the moment.
    fn flush(&mut self) -> Result<()>;

    /// Whether enough was seen.
    fn is_over(&self) -> bool;

    /// Takes back what was asked of the VM, before the VMM saves it or sends it elsewhere. What
    /// is left behind by a failure ends with the session.
    fn take_back(&mut self) -> kvmi_client::Result<()>;
}

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Enough was seen.
    Enough,
    /// The time is over.
    Time,
    /// A signal came.
    Signal,
    /// The VMM asked the tool to leave.
    Unhook,
}

impl End {
    /// In a word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            End::Enough => "enough",
            End::Time => "time",
            End::Signal => "signal",
            End::Unhook => "unhook",
        }
    }

    /// What people are told behind the sum.
    pub fn remark(self) -> &'static str {
        match self {
            End::Unhook => "; the VMM asked to leave",
            _ => "",
        }
    }
}

/// Takes what comes until it is over, until `until`, until a signal, or until the VMM wants the
/// tool to leave.
///
/// Time and signals count however many events there are: those that came with the replies to a
/// follower's own commands may never come to an end, if several vCPUs send them.
pub fn follow(
    follower: &mut impl Follower,
    until: Option<Instant>,
    signals: &UnixStream,
) -> Result<End> {
    loop {
        let kept = follower.session().kept_event()?;
        if kept.is_none() {
            follower.flush()?;
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Ok(End::Time);
        }
        let files = [
            Some(follower.session().stream().as_fd()),
            Some(signals.as_fd()),
        ];
        // With an event at hand this only looks.
        let deadline = kept.as_ref().map(|_| Instant::now()).or(until);
        let [more, signal] = wait::wait(&files, deadline)?;
        if signal {
            return Ok(End::Signal);
        }
        let event = match kept {
            Some(event) => event,
            None if more => follower.session().event()?,
            None => continue,
        };
        match take(follower, event) {
            Ok(None) => {}
            Ok(Some(end)) => return Ok(end),
            // It came while a page was waited for.
            Err(failure) if failure.is_stopped() => return Ok(End::Signal),
            Err(failure) => return Err(failure),
        }
    }
}

/// Takes an event; whether that is the end.
fn take(follower: &mut impl Follower, event: Event) -> Result<Option<End>> {
    match event {
        Event::Vcpu(event) => follower.note(&event)?,
        Event::Unhook => {
            // The end of the session takes back what this could not.
            let _ = follower.take_back();
            return Ok(Some(End::Unhook));
        }
        Event::Vm(_) => {}
    }
    Ok(follower.is_over().then_some(End::Enough))
}

/// Says how many there were since `start`, and how many in a second.
pub fn summary(
    output: &mut Output,
    what: &str,
    events: u64,
    start: Instant,
    end: End,
) -> Result<()> {
    let seconds = start.elapsed().as_secs_f64();
    let rate = events as f64 / seconds.max(1e-6);
    if output.is_json() {
        return output.value(&json!({
            "event": "end", "events": events, "seconds": seconds, "per_second": rate,
            "reason": end.word(),
        }));
    }
    output.line(format_args!(
        "{events} {what} in {seconds:.1} s, {rate:.0} per second{}",
        end.remark()
    ))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::mpsc, time::Duration};

    use kvmi_client::{
        event::Answer,
        fake::{self, Fake},
        wire,
    };

    use super::*;

    const PAUSE: u16 = wire::KVMI_VCPU_EVENT_PAUSE as u16;

    /// Counts events; after the first, something happens.
    struct Counter<F> {
        session: Session<UnixStream>,
        events: usize,
        first: Option<F>,
    }

    impl<F: FnOnce()> Follower for Counter<F> {
        fn session(&mut self) -> &mut Session<UnixStream> {
            &mut self.session
        }

        fn note(&mut self, event: &VcpuEvent) -> Result<()> {
            self.session.answer(event, Answer::Continue)?;
            self.events += 1;
            if let Some(first) = self.first.take() {
                first();
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        fn is_over(&self) -> bool {
            self.events == 3
        }

        fn take_back(&mut self) -> kvmi_client::Result<()> {
            Ok(())
        }
    }

    /// Three events at once; how many were noted before it ended.
    fn noted(first: impl FnOnce(), until: Option<Instant>, signals: &UnixStream) -> usize {
        let (sent, are_sent) = mpsc::channel();
        let (session, kernel) = fake::session(move |kernel: &mut Fake| {
            for vcpu in 0..3 {
                kernel.event(u32::from(vcpu), vcpu, PAUSE, &[]);
            }
            sent.send(()).unwrap();
            while kernel.try_message().is_some() {}
        });
        are_sent.recv().unwrap();
        let mut counter = Counter {
            session,
            events: 0,
            first: Some(first),
        };
        follow(&mut counter, until, signals).unwrap();
        let events = counter.events;
        drop(counter);
        kernel.join().unwrap();
        events
    }

    #[test]
    fn all_that_is_kept() {
        let (signals, _signal) = UnixStream::pair().unwrap();
        assert_eq!(noted(|| (), None, &signals), 3);
    }

    #[test]
    fn a_signal_counts_while_events_are_kept() {
        let (signals, mut signal) = UnixStream::pair().unwrap();
        let first = || signal.write_all(&[0]).unwrap();
        assert_eq!(noted(first, None, &signals), 1);
    }

    #[test]
    fn time_counts_while_events_are_kept() {
        let (signals, _signal) = UnixStream::pair().unwrap();
        let until = Instant::now() + Duration::from_secs(2);
        let first = || std::thread::sleep(until - Instant::now());
        assert_eq!(noted(first, Some(until), &signals), 1);
    }
}
