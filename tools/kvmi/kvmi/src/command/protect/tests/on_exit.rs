// SPDX-License-Identifier: GPL-2.0

//! `kvmi protect` that may die, and that takes over from one that has died.

use std::time::Duration;

use kvmi_client::{
    Code,
    command::{ControlEvents, ControlVmEvents, GetVersion, ReadPhysical},
};

use super::*;
use crate::failure::Exit;

const BEGUN: [u16; 4] = [
    ControlVmEvents::ID,
    ControlEvents::ID,
    SetPageAccess::ID,
    SetPageAccess::ID,
];
const SET: [u16; 2] = [GetVersion::ID, SetOnExit::ID];

/// Begins, does something, and what has become of the VM then.
fn begun(
    vm: Vm,
    on_exit: OnExit,
    frozen: bool,
    then: impl FnOnce(&mut Protector<'_>) -> Result<()>,
) -> (Result<()>, Vm) {
    let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
    let mut output = Output::new(true);
    let linux = linux();
    let parts = parts(&linux, true).unwrap();
    let mut protector = Protector::new(&mut session, &mut output, linux, parts, Action::Block);
    (protector.on_exit, protector.frozen) = (on_exit, frozen);
    let result = protector.begin(&[0]).and_then(|()| then(&mut protector));
    drop(session);
    (result, kernel.join().unwrap())
}

#[test]
fn what_dies_with_it_is_not_spoken_of() {
    let (result, vm) = begun(vm(), OnExit::Release, false, |it| it.let_go());
    result.unwrap();
    assert_eq!(vm.commands, BEGUN);
}

#[test]
fn it_is_said_before_anything_is_restricted() {
    for (on_exit, number) in [(OnExit::Freeze, 1), (OnExit::Crash, 2)] {
        let (result, vm) = begun(vm(), on_exit, false, |_| Ok(()));
        result.unwrap();
        assert_eq!(vm.commands, [&SET[..], &BEGUN].concat());
        assert_eq!(vm.on_exit, [number]);
        assert_eq!(vm.restricted, [(2, 5), (3, 5), (4, 1)].into());
    }
}

#[test]
fn an_end_that_was_wished_is_no_death() {
    let (result, vm) = begun(vm(), OnExit::Freeze, false, |it| it.let_go());
    result.unwrap();
    assert_eq!(vm.on_exit, [1, 0]);
    // Nor is it when the VMM asks: first that, then what is lifted one by one.
    let (result, vm) = begun(self::vm(), OnExit::Crash, false, |protector| {
        protector.take_back().map_err(Into::into)
    });
    result.unwrap();
    assert_eq!(vm.on_exit, [2, 0]);
    let lifted = &vm.commands[SET.len() + BEGUN.len()..];
    assert_eq!(
        lifted,
        [SetOnExit::ID, SetPageAccess::ID, ControlEvents::ID]
    );
    assert!(vm.restricted.is_empty());
}

/// What a tool that died has left: of the text more than this one wants, of the data something
/// else, and a page of its own.
fn frozen() -> Vm {
    Vm {
        restricted: [(2, 0), (3, 5), (4, 5), (6, 0)].into(),
        ..vm()
    }
}

#[test]
fn a_frozen_vm_is_taken_over_and_nothing_is_open_in_between() {
    for (on_exit, said) in [
        (OnExit::Freeze, &[][..]),
        (OnExit::Crash, &[2]),
        (OnExit::Release, &[0]),
    ] {
        let (result, vm) = begun(frozen(), on_exit, true, |_| Ok(()));
        result.unwrap();
        // What it wants to become of it holds when all is in place, not before.
        let said_last = if said.is_empty() { &[][..] } else { &SET };
        assert_eq!(vm.commands, [&BEGUN[..], said_last].concat());
        assert_eq!(vm.on_exit, said);
        assert!(vm.lifted.is_empty());
        assert_eq!(vm.restricted, [(2, 5), (3, 5), (4, 1), (6, 0)].into());
    }
}

#[test]
fn what_it_does_not_want_is_lifted_where_it_is_met() {
    let (mut session, kernel) = fake::session(|kernel| {
        let mut vm = frozen();
        let words = [u64::MAX, 0x6010, Access::WRITE.bits().into()];
        let data = words.map(u64::to_ne_bytes).concat();
        for _ in 0..BEGUN.len() {
            let message = kernel.message();
            let answer = vm.answer(&message);
            kernel.reply(&message, answer);
        }
        event(kernel, 1, wire::KVMI_VCPU_EVENT_PF, &data, &ATTEMPT);
        assert_eq!(vm.obey(kernel), Some(0));
        assert_eq!(vm.restricted, [(2, 5), (3, 5), (4, 1)].into());
        kernel.send(0, 9, &[0; 8]);
        while vm.obey(kernel).is_some() {}
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let linux = linux();
    let parts = parts(&linux, true).unwrap();
    let mut protector = Protector::new(&mut session, &mut output, linux, parts, Action::Crash);
    (protector.on_exit, protector.frozen) = (OnExit::Freeze, true);
    protector.begin(&[0]).unwrap();
    assert_eq!(follow(&mut protector, None, &signals).unwrap(), End::Unhook);
    assert_eq!((protector.violations, protector.patches), (0, 0));
    drop(session);
    kernel.join().unwrap();
}

#[test]
fn a_kernel_without_it_and_an_owner_who_forbids_it() {
    let old = Vm { old: true, ..vm() };
    let (result, vm) = begun(old, OnExit::Freeze, false, |_| Ok(()));
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Denied);
    assert!(failure.message.starts_with("this kernel's introspection"));
    assert_eq!(vm.commands, [GetVersion::ID], "nothing was restricted");
    let forbidding = Vm {
        forbids_on_exit: true,
        ..self::vm()
    };
    let (result, vm) = begun(forbidding, OnExit::Crash, false, |_| Ok(()));
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Denied);
    assert!(failure.message.contains("VM_SET_ON_EXIT"));
    assert_eq!(vm.commands, SET, "nothing was restricted");
}

/// The answers to a write by `attempt` while page `gfn` is not in memory, until it is not a
/// retry any more, and how many violations were counted.
fn while_absent(action: Action, gfn: u64, attempt: Attempt) -> (Vec<u8>, u64) {
    let (mut session, kernel) = fake::session(move |kernel| {
        let mut vm = vm();
        for _ in 0..BEGUN.len() {
            let message = kernel.message();
            let answer = vm.answer(&message);
            kernel.reply(&message, answer);
        }
        vm.absent.insert(gfn, u64::MAX);
        let words = [u64::MAX, attempt.gpa, attempt.access.bits().into()];
        let data = words.map(u64::to_ne_bytes).concat();
        let mut answers = Vec::new();
        for seq in 1..=2 {
            event(kernel, seq, wire::KVMI_VCPU_EVENT_PF, &data, &attempt);
            answers.push(vm.obey(kernel).expect("an answer"));
            // It comes: the second time it is there.
            vm.absent.clear();
        }
        kernel.send(0, 9, &[0; 8]);
        while vm.obey(kernel).is_some() {}
        answers
    });
    session.set_patience(Duration::from_millis(20));
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let linux = linux();
    let parts = parts(&linux, true).unwrap();
    let mut protector = Protector::new(&mut session, &mut output, linux, parts, action);
    protector.begin(&[0]).unwrap();
    follow(&mut protector, None, &signals).unwrap();
    let violations = protector.violations;
    drop(session);
    (kernel.join().unwrap(), violations)
}

#[test]
fn nobody_is_judged_by_memory_that_is_not_there() {
    // The instruction.
    let fetched = (TEXT & ((1 << 47) - 1)) / 4096;
    assert_eq!(
        while_absent(Action::Block, fetched, ATTEMPT),
        (vec![1, 1], 1)
    );
    // The stack, which says for whom is copied.
    let copy = Attempt {
        rip: COPY,
        ..ATTEMPT
    };
    assert_eq!(while_absent(Action::Block, 0, copy), (vec![1, 1], 1));
}

#[test]
fn what_is_only_named_does_without() {
    // What was there before.
    let gfn = DATA_GPA / 4096;
    assert_eq!(while_absent(Action::Block, gfn, ATTEMPT), (vec![1, 1], 2));
}

#[test]
fn a_signal_ends_the_wait_for_memory() {
    let (mut session, kernel) = fake::session(|kernel| {
        let mut vm = vm();
        for _ in 0..BEGUN.len() {
            let message = kernel.message();
            let answer = vm.answer(&message);
            kernel.reply(&message, answer);
        }
        vm.absent.insert(DATA_GPA / 4096, u64::MAX);
        let words = [u64::MAX, ATTEMPT.gpa, ATTEMPT.access.bits().into()];
        let data = words.map(u64::to_ne_bytes).concat();
        event(kernel, 1, wire::KVMI_VCPU_EVENT_PF, &data, &ATTEMPT);
        while vm.obey(kernel).is_some() {}
        vm.commands
            .iter()
            .filter(|id| **id == ReadPhysical::ID)
            .count()
    });
    session.set_patience(Duration::from_secs(1000));
    let mut output = Output::new(true);
    let (signals, sender) = UnixStream::pair().unwrap();
    wait::heed(&mut session, &signals).unwrap();
    let linux = linux();
    let parts = parts(&linux, true).unwrap();
    let mut protector = Protector::new(&mut session, &mut output, linux, parts, Action::Block);
    protector.begin(&[0]).unwrap();
    let thread = std::thread::spawn(move || {
        // The wait has begun, or it begins with a signal at hand: either ends it.
        std::thread::sleep(Duration::from_millis(50));
        drop(sender);
    });
    assert_eq!(follow(&mut protector, None, &signals).unwrap(), End::Signal);
    thread.join().unwrap();
    drop(session);
    kernel.join().unwrap();
}

#[test]
fn refusals_other_than_absence_are_failures() {
    let (mut session, kernel) = fake::session(|kernel| {
        let command = kernel.message();
        kernel.reply(&command, Err(Code::EINVAL));
    });
    let failure = target::set_on_exit(&mut session, command::OnExit::Freeze).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    kernel.join().unwrap();
}
