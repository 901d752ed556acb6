// SPDX-License-Identifier: GPL-2.0

//! `kvmi trace`
//!
//! One line for each event. A vCPU waits while its line is printed: whoever
//! does not read what this prints slows the guest down.

use std::{
    fmt,
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use kvmi_client::{
    Code, Error, Session,
    command::{Command, ControlCr, ControlEvents, ControlMsr, ControlVmEvents},
    event::{self, Answer, Event, Kind, VcpuEvent},
    wire,
};
use serde_json::{Map, Value, json};

use crate::{
    cli::{Global, Trace},
    failure::{Exit, Failure, Result},
    msr,
    output::{Output, hex},
    target, wait,
};

/// Prints events until told to stop.
pub fn run(global: &Global, args: &Trace, output: &mut Output) -> Result<()> {
    let signals = wait::signals()?;
    target::with(global, |vm| {
        let vcpus = target::vcpus(vm, args.vcpu)?;
        let mut tracer = Tracer::new(&mut vm.session, output, args.count);
        tracer.watch(args, &vcpus)?;
        let until = args.time.map(|time| Instant::now() + time);
        tracer.until(until, &signals)?;
        tracer.finish()
    })
}

/// A trace that is under way.
struct Tracer<'a> {
    session: &'a mut Session<UnixStream>,
    output: &'a mut Output,
    start: Instant,
    events: u64,
    limit: Option<u64>,
    /// The VMM asks to let go.
    unhook: bool,
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
            unhook: false,
        }
    }

    /// Turns on what is to be seen.
    fn watch(&mut self, args: &Trace, vcpus: &[u16]) -> Result<()> {
        let watch = ControlVmEvents {
            event: wire::KVMI_VM_EVENT_UNHOOK as u16,
            enable: true,
        };
        match self.session.call(watch) {
            // Without it the VMM ends the session unasked.
            Ok(()) | Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let events = [
            (!args.cr.is_empty(), wire::KVMI_VCPU_EVENT_CR),
            (!args.msr.is_empty(), wire::KVMI_VCPU_EVENT_MSR),
            (args.cpuid, wire::KVMI_VCPU_EVENT_CPUID),
            (args.hypercall, wire::KVMI_VCPU_EVENT_HYPERCALL),
            (args.breakpoint, wire::KVMI_VCPU_EVENT_BREAKPOINT),
            (args.descriptor, wire::KVMI_VCPU_EVENT_DESCRIPTOR),
            (args.xsetbv, wire::KVMI_VCPU_EVENT_XSETBV),
        ];
        for &vcpu in vcpus {
            for &cr in &args.cr {
                let what = format!("writes to CR{cr}");
                self.ask(
                    vcpu,
                    &what,
                    ControlCr {
                        vcpu,
                        cr,
                        enable: true,
                    },
                )?;
            }
            for &msr in &args.msr {
                let what = format!("writes to MSR {}", msr::name(msr));
                self.ask(
                    vcpu,
                    &what,
                    ControlMsr {
                        vcpu,
                        msr,
                        enable: true,
                    },
                )?;
            }
            for (_, event) in events.iter().filter(|(wanted, _)| *wanted) {
                // Numbers of events fit.
                let event = *event as u16;
                let what = format!("event {}", name(event));
                self.ask(
                    vcpu,
                    &what,
                    ControlEvents {
                        vcpu,
                        event,
                        enable: true,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Turns one thing on; its vCPU may be in an event of another already.
    fn ask<C: Command<Reply = ()>>(&mut self, vcpu: u16, what: &str, command: C) -> Result<()> {
        let refused =
            |text: &str| Failure::new(Exit::Denied, format!("vCPU {vcpu}: {what}: {text}"));
        self.session
            .call(command)
            .map_err(|error| match error.code() {
                Some(Code::EINVAL | Code::ENOSYS) => refused("this kernel cannot report that"),
                Some(Code::EOPNOTSUPP) => refused("this processor cannot report that"),
                Some(Code::EPERM) => refused("the VMM keeps that for itself"),
                Some(Code::EBUSY) => refused("the VMM uses breakpoints itself")
                    .fix("end the debugger that is connected to the VMM"),
                _ => target::on_vcpu(vcpu)(error),
            })
    }

    /// Prints what comes until it is time to stop.
    fn until(&mut self, until: Option<Instant>, signals: &UnixStream) -> Result<()> {
        loop {
            while let Some(event) = self.session.kept_event()? {
                self.note(event)?;
                if self.is_over() {
                    return Ok(());
                }
            }
            self.output.finish()?;
            if until.is_some_and(|until| until <= Instant::now()) {
                return Ok(());
            }
            let files = [Some(self.session.stream().as_fd()), Some(signals.as_fd())];
            let [event, signal] = wait::wait(&files, until)?;
            if signal {
                return Ok(());
            }
            if event {
                let event = self.session.event()?;
                self.note(event)?;
                if self.is_over() {
                    return Ok(());
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.unhook || self.limit.is_some_and(|limit| self.events >= limit)
    }

    /// Prints an event and lets its vCPU go on.
    fn note(&mut self, event: Event) -> Result<()> {
        let event = match event {
            Event::Vcpu(event) => event,
            Event::Unhook => {
                self.unhook = true;
                return Ok(());
            }
            Event::Vm(_) => return Ok(()),
        };
        self.events += 1;
        if self.output.is_json() {
            self.output.value(&object(&event))?;
        } else {
            let line = Line {
                seconds: self.start.elapsed().as_secs_f64(),
                event: &event,
            };
            self.output.line(line)?;
        }
        Ok(self.session.answer(&event, Answer::Continue)?)
    }

    /// Says how much it was.
    fn finish(&mut self) -> Result<()> {
        let seconds = self.start.elapsed().as_secs_f64();
        let (events, rate) = (self.events, self.events as f64 / seconds.max(1e-6));
        if self.output.is_json() {
            return self.output.value(&json!({
                "event": "end", "events": events, "seconds": seconds, "per_second": rate,
            }));
        }
        self.output.line(format_args!(
            "{events} events in {seconds:.1} s, {rate:.0} per second"
        ))
    }
}

fn name(event: u16) -> &'static str {
    event::ALL
        .iter()
        .find(|(id, _)| *id == event)
        .map_or("unknown", |(_, name)| name)
}

/// An event for people.
struct Line<'a> {
    seconds: f64,
    event: &'a VcpuEvent,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, arch) = (self.event, &self.event.arch);
        write!(
            f,
            "{:12.6} vcpu {} cr3 {:016x} rip {:016x} {}",
            self.seconds,
            event.vcpu,
            arch.sregs.cr3,
            arch.regs.rip,
            name(event.kind.id())
        )?;
        match &event.kind {
            Kind::Cr(data) => write!(
                f,
                " cr{} {:#x} -> {:#x}",
                data.cr, data.old_value, data.new_value
            ),
            Kind::Msr(data) => {
                let name = msr::name(data.msr);
                write!(f, " {name} {:#x} -> {:#x}", data.old_value, data.new_value)
            }
            Kind::Xsetbv(data) => {
                write!(
                    f,
                    " xcr{} {:#x} -> {:#x}",
                    data.xcr, data.old_value, data.new_value
                )
            }
            Kind::Cpuid(data) => write!(f, " leaf {:#x} index {:#x}", data.function, data.index),
            Kind::Breakpoint(data) => write!(f, " gpa {:#x} length {}", data.gpa, data.insn_len),
            Kind::Descriptor(data) => {
                write!(f, " {} {}", access(data.write), register(data.descriptor))
            }
            _ => Ok(()),
        }
    }
}

/// An event for programs: the common members, and those of its kind.
fn object(event: &VcpuEvent) -> Value {
    let arch = &event.arch;
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let mut object = Map::new();
    for (key, value) in [
        ("time", json!(time)),
        ("vcpu", json!(event.vcpu)),
        ("cr3", json!(hex(arch.sregs.cr3))),
        ("rip", json!(hex(arch.regs.rip))),
        ("event", json!(name(event.kind.id()))),
        ("data", data(&event.kind)),
    ] {
        object.insert(key.to_owned(), value);
    }
    Value::Object(object)
}

fn data(kind: &Kind) -> Value {
    match kind {
        Kind::Cr(data) => json!({
            "cr": data.cr, "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Msr(data) => json!({
            "msr": hex(data.msr.into()), "name": msr::name(data.msr),
            "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Xsetbv(data) => json!({
            "xcr": data.xcr, "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Cpuid(data) => json!({
            "function": hex(data.function.into()), "index": hex(data.index.into()),
            "length": data.insn_len,
        }),
        Kind::Breakpoint(data) => json!({ "gpa": hex(data.gpa), "length": data.insn_len }),
        Kind::Descriptor(data) => json!({
            "access": access(data.write), "register": register(data.descriptor),
        }),
        _ => json!({}),
    }
}

fn access(write: u8) -> &'static str {
    if write == 0 { "read" } else { "write" }
}

/// The register of a DESCRIPTOR event.
fn register(descriptor: u8) -> &'static str {
    match u32::from(descriptor) {
        wire::KVMI_DESC_IDTR => "IDTR",
        wire::KVMI_DESC_GDTR => "GDTR",
        wire::KVMI_DESC_LDTR => "LDTR",
        wire::KVMI_DESC_TR => "TR",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use kvmi_client::fake::{self, Fake};

    use super::*;
    use crate::cli::{Action, Cli};

    const CR: u16 = wire::KVMI_VCPU_EVENT_CR as u16;

    fn arguments(line: &str) -> Trace {
        match Cli::try_parse_from(line.split(' ')).unwrap().action {
            Action::Trace(args) => args,
            action => panic!("{action:?}"),
        }
    }

    /// Agrees to `commands` commands; their ids.
    fn agree(kernel: &mut Fake, commands: usize) -> Vec<u16> {
        (0..commands)
            .map(|_| {
                let command = kernel.message();
                kernel.reply(&command, Ok(Vec::new()));
                command.id
            })
            .collect()
    }

    fn cr3(old: u64, new: u64) -> Vec<u8> {
        [
            &[3, 0, 0, 0, 0, 0, 0, 0][..],
            &old.to_ne_bytes(),
            &new.to_ne_bytes(),
        ]
        .concat()
    }

    #[test]
    fn asks_for_what_is_wanted_and_no_more() {
        let (mut session, kernel) = fake::session(|kernel| agree(kernel, 6));
        let mut output = Output::new(true);
        let mut tracer = Tracer::new(&mut session, &mut output, None);
        let args = arguments("kvmi trace --cr 3 --msr LSTAR --cpuid");
        tracer.watch(&args, &[0]).unwrap();
        drop(session);
        let ids: Vec<u32> = kernel.join().unwrap().into_iter().map(u32::from).collect();
        assert_eq!(
            ids,
            [
                wire::KVMI_VM_CONTROL_EVENTS,
                wire::KVMI_VCPU_CONTROL_CR,
                wire::KVMI_VCPU_CONTROL_MSR,
                wire::KVMI_VCPU_CONTROL_EVENTS,
                wire::KVMI_VCPU_CONTROL_EVENTS,
                wire::KVMI_VCPU_CONTROL_EVENTS,
            ]
        );
    }

    #[test]
    fn stops_after_so_many_events_and_lets_each_through() {
        let (mut session, kernel) = fake::session(|kernel| {
            (1..=3)
                .map(|seq| {
                    kernel.event(seq, 0, CR, &cr3(0x1000, 0x2000 * u64::from(seq)));
                    kernel.message().payload
                })
                .collect::<Vec<_>>()
        });
        let mut output = Output::new(true);
        let (signals, _keep) = UnixStream::pair().unwrap();
        let mut tracer = Tracer::new(&mut session, &mut output, Some(3));
        let late = Instant::now() + Duration::from_secs(60);
        tracer.until(Some(late), &signals).unwrap();
        assert_eq!(tracer.events, 3);
        let replies = kernel.join().unwrap();
        for (reply, seq) in replies.iter().zip(1u64..) {
            assert_eq!(reply.len(), 24);
            assert_eq!(reply[8], wire::KVMI_EVENT_ACTION_CONTINUE as u8);
            assert_eq!(
                reply[16..],
                (0x2000 * seq).to_ne_bytes(),
                "the guest's own value"
            );
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_explained() {
        let (mut session, kernel) = fake::session(|kernel| {
            agree(kernel, 1);
            let command = kernel.message();
            kernel.reply(&command, Err(Code::EOPNOTSUPP));
        });
        let mut output = Output::new(true);
        let mut tracer = Tracer::new(&mut session, &mut output, None);
        let args = arguments("kvmi trace --descriptor");
        let failure = tracer.watch(&args, &[0]).unwrap_err();
        assert_eq!(failure.exit, Exit::Denied);
        assert_eq!(
            failure.message,
            "vCPU 0: event DESCRIPTOR: this processor cannot report that"
        );
        kernel.join().unwrap();
    }

    #[test]
    fn lines_and_objects() {
        let message = kvmi_client::message::Message {
            id: 1,
            seq: 1,
            payload: fake::vcpu_event(2, CR, &cr3(0x1000, 0x2000)),
        };
        let Event::Vcpu(event) = Event::parse(&message).unwrap() else {
            panic!("no event of a vCPU");
        };
        let line = Line {
            seconds: 1.5,
            event: &event,
        };
        assert_eq!(
            line.to_string(),
            "    1.500000 vcpu 2 cr3 0000000000000000 rip 0000000000001000 CR cr3 0x1000 -> 0x2000"
        );
        let object = object(&event);
        assert_eq!(object["vcpu"], 2);
        assert_eq!(object["rip"], "0x1000");
        assert_eq!(object["event"], "CR");
        assert_eq!(
            object["data"],
            json!({ "cr": 3, "old": "0x1000", "new": "0x2000" })
        );
        assert!(object["time"].is_f64());
    }
}
