// SPDX-License-Identifier: GPL-2.0

//! `kvmi trace` against a kernel that a test plays.

use std::{io::Write, time::Duration};

use clap::Parser;
use kvmi_client::{
    Code,
    fake::{self, Fake},
    wire,
};

use super::*;
use crate::{
    cli::{Action, Cli},
    failure::Exit,
};

const CR: u16 = wire::KVMI_VCPU_EVENT_CR as u16;
const STEP: u16 = wire::KVMI_VCPU_EVENT_SINGLESTEP as u16;

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
    follow(&mut tracer, Some(late), &signals).unwrap();
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
fn the_vmm_gets_back_what_was_asked_for() {
    let (mut session, kernel) = fake::session(|kernel| {
        agree(kernel, 6);
        kernel.send(0, 1, &[0; 8]);
        let mut taken = Vec::new();
        while let Some(command) = kernel.try_message() {
            kernel.reply(&command, Ok(Vec::new()));
            let id = u32::from(command.id);
            let enable = match id {
                wire::KVMI_VCPU_CONTROL_SINGLESTEP => 8,
                wire::KVMI_VCPU_CONTROL_CR => 9,
                _ => 10,
            };
            taken.push((id, command.payload[enable]));
        }
        taken
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let mut tracer = Tracer::new(&mut session, &mut output, None);
    tracer
        .watch(&arguments("kvmi trace --cr 3 --cpuid"), &[0])
        .unwrap();
    tracer.step(0, 1000).unwrap();
    assert_eq!(follow(&mut tracer, None, &signals).unwrap(), End::Unhook);
    tracer.finish(End::Unhook).unwrap();
    drop(session);
    assert_eq!(
        kernel.join().unwrap(),
        [
            (wire::KVMI_VCPU_CONTROL_SINGLESTEP, 0),
            (wire::KVMI_VCPU_CONTROL_CR, 0),
            (wire::KVMI_VCPU_CONTROL_EVENTS, 0),
            (wire::KVMI_VCPU_CONTROL_EVENTS, 0),
        ]
    );
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
fn single_steps_begin_in_a_pause_and_end_in_the_last() {
    let (mut session, kernel) = fake::session(|kernel| {
        let asked = kernel.message();
        kernel.reply(&asked, Ok(Vec::new()));
        kernel.event(1, 1, wire::KVMI_VCPU_EVENT_PAUSE as u16, &[]);
        let mut said = vec![asked];
        for seq in 2.. {
            let message = kernel.message();
            let command = u32::from(message.id) != wire::KVMI_VCPU_EVENT;
            if command {
                kernel.reply(&message, Ok(Vec::new()));
            } else if seq <= 6 {
                // The answer to the pause or to a step lets the vCPU make the next.
                kernel.event(seq, 1, STEP, &[0; 8]);
            }
            said.push(message);
            if said.len() == 7 {
                break;
            }
        }
        assert_eq!(kernel.try_message(), None);
        said
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let mut tracer = Tracer::new(&mut session, &mut output, None);
    tracer.step(1, 3).unwrap();
    follow(&mut tracer, None, &signals).unwrap();
    assert_eq!(tracer.events, 3, "the pause is no event of the trace");
    drop(session);
    let said = kernel.join().unwrap();
    let ids: Vec<u32> = said.iter().map(|message| message.id.into()).collect();
    assert_eq!(
        ids,
        [
            wire::KVMI_VM_PAUSE_VCPU,
            wire::KVMI_VCPU_CONTROL_SINGLESTEP,
            wire::KVMI_VCPU_EVENT,
            wire::KVMI_VCPU_EVENT,
            wire::KVMI_VCPU_EVENT,
            wire::KVMI_VCPU_CONTROL_SINGLESTEP,
            wire::KVMI_VCPU_EVENT,
        ]
    );
    assert_eq!(said[1].payload[..9], [1, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(said[5].payload[..9], [1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_signal_ends_single_steps() {
    let (mut session, kernel) = fake::session(|kernel| {
        agree(kernel, 1);
        let command = kernel.message();
        // Before the signal: the tool may be gone behind it.
        kernel.event(1, 0, STEP, &[0; 8]);
        kernel.reply(&command, Ok(Vec::new()));
        // What the vCPU is in the middle of ends with the connection.
        while kernel.try_message().is_some() {}
    });
    let mut output = Output::new(true);
    let (signals, mut signal) = UnixStream::pair().unwrap();
    let mut tracer = Tracer::new(&mut session, &mut output, None);
    tracer.step(0, 1000).unwrap();
    signal.write_all(b"x").unwrap();
    let late = Instant::now() + Duration::from_secs(60);
    let end = follow(&mut tracer, Some(late), &signals).unwrap();
    assert_eq!(end, End::Signal);
    drop(session);
    kernel.join().unwrap();
}

#[test]
fn single_steps_are_refused() {
    for (code, text) in [
        (
            Code::ENOSYS,
            "vCPU 0: single steps: this kernel cannot report that",
        ),
        (
            Code::EBUSY,
            "vCPU 0: single steps: the VMM debugs the guest itself",
        ),
    ] {
        let (mut session, kernel) = fake::session(move |kernel| {
            agree(kernel, 1);
            let command = kernel.message();
            kernel.reply(&command, Err(code));
        });
        let mut output = Output::new(true);
        let mut tracer = Tracer::new(&mut session, &mut output, None);
        let failure = tracer.step(0, 1).unwrap_err();
        assert_eq!(failure.exit, Exit::Denied);
        assert_eq!(failure.message, text);
        kernel.join().unwrap();
    }
}
