// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages that are not in the VMM's memory: they are asked for again, and not for ever.

use std::{
    os::unix::net::UnixStream,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{
    Code, Session,
    command::{GetMaxGfn, PauseVcpu, ReadPhysical, TranslateGva, WritePhysical},
    error::Error,
    event::Event,
    fake::{self, Vm},
};

const NEVER: u64 = u64::MAX;
const READ: ReadPhysical = ReadPhysical {
    gpa: 0x1008,
    size: 4,
};

/// A VM whose page 1 is not there `times` times.
fn vm(times: u64) -> (Session<UnixStream>, JoinHandle<Vm>) {
    let vm = Vm {
        vcpus: 1,
        pages: (0..3).map(|gfn| (gfn, vec![gfn as u8; 4096])).collect(),
        absent: [(1, times)].into(),
        ..Vm::default()
    };
    let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
    session.set_patience(Duration::from_millis(200));
    (session, kernel)
}

#[test]
fn a_page_that_comes_late_is_read() {
    let (mut session, kernel) = vm(3);
    assert_eq!(session.call(READ).unwrap(), [1; 4]);
    drop(session);
    assert_eq!(kernel.join().unwrap().commands, [12; 4]);
}

#[test]
fn a_page_that_comes_late_is_written_once() {
    let (mut session, kernel) = vm(2);
    let write = WritePhysical {
        gpa: 0x1008,
        data: b"new",
    };
    session.call(write).unwrap();
    drop(session);
    let vm = kernel.join().unwrap();
    assert_eq!(vm.commands, [14; 3]);
    assert_eq!(vm.pages[&1][7..12], *b"\x01new\x01");
}

#[test]
fn page_tables_that_come_late_are_walked() {
    let (mut session, kernel) = vm(2);
    let gva = 0x1234;
    assert_eq!(
        session.call(TranslateGva { vcpu: 0, gva }).unwrap(),
        Some(gva)
    );
    drop(session);
    assert_eq!(kernel.join().unwrap().commands, [29; 3]);
}

#[test]
fn a_page_that_does_not_come_is_told() {
    let (mut session, kernel) = vm(NEVER);
    let start = Instant::now();
    let error = session.call(READ).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(matches!(error, Error::Absent { .. }));
    assert_eq!(error.code(), Some(Code::EAGAIN));
    let text = error.to_string();
    assert!(
        text.contains("the page is not in the VMM's memory now"),
        "{text}"
    );
    let gva = 0x1000;
    let text = session
        .call(TranslateGva { vcpu: 0, gva })
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("page tables is not in the VMM's memory"),
        "{text}"
    );
    // The session is as good as before.
    assert_eq!(session.call(GetMaxGfn).unwrap(), 2);
    drop(session);
    // Pauses grow: 1, 2, 4 ... milliseconds.
    let asked = kernel.join().unwrap().commands;
    assert!(
        (3..20).contains(&asked.iter().filter(|id| **id == 12).count()),
        "{asked:?}"
    );
}

#[test]
fn what_is_asked_once_is_asked_once() {
    let (mut session, kernel) = vm(NEVER);
    let error = session.call_once(READ).unwrap_err();
    let again = Error::Refused {
        command: "VM_READ_PHYSICAL",
        code: Code::EAGAIN,
    };
    assert_eq!(error.to_string(), again.to_string());
    drop(session);
    assert_eq!(kernel.join().unwrap().commands, [12]);
}

#[test]
fn the_callers_file_ends_the_wait() {
    let (mut session, kernel) = vm(NEVER);
    session.set_patience(Duration::from_secs(1000));
    let (stop, signals) = UnixStream::pair().unwrap();
    session.stop_by(stop.into());
    drop(signals);
    assert!(matches!(session.call(READ), Err(Error::Stopped)));
    drop(session);
    kernel.join().unwrap();
}

#[test]
fn other_commands_go_on_meanwhile() {
    let (mut session, kernel) = vm(3);
    let first = session.send(READ).unwrap();
    let second = session
        .send(ReadPhysical {
            gpa: 0x2000,
            ..READ
        })
        .unwrap();
    session
        .call(PauseVcpu {
            vcpu: 0,
            wait: false,
        })
        .unwrap();
    assert_eq!(session.wait(first).unwrap(), [1; 4]);
    assert_eq!(session.wait(second).unwrap(), [2; 4]);
    assert!(matches!(session.event(), Ok(Event::Vcpu(_))));
    drop(session);
    kernel.join().unwrap();
}

#[test]
fn only_memory_is_asked_for_again() {
    let (mut session, kernel) = fake::session(|kernel| {
        let command = kernel.message();
        kernel.reply(&command, Err(Code::EAGAIN));
        kernel.try_message()
    });
    let error = session.call(GetMaxGfn).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    drop(session);
    assert_eq!(kernel.join().unwrap(), None);
}
