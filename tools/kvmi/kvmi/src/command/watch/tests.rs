// SPDX-License-Identifier: GPL-2.0

//! `kvmi watch` against a kernel that a test plays.

use kvmi_client::{
    command::{Command, ControlSinglestep},
    event::Event,
    fake::{self, Fake, Vm},
};

use super::*;

const PF: u16 = wire::KVMI_VCPU_EVENT_PF as u16;
const STEP: u16 = wire::KVMI_VCPU_EVENT_SINGLESTEP as u16;

/// The store at RIP 0x1000: `movl $0x44332211,0x2010`.
const STORE: &[u8] = b"\xc7\x04\x25\x10\x20\0\0\x11\x22\x33\x44";

fn pf(gpa: u64, access: Access) -> Vec<u8> {
    let access = u64::from(access.bits());
    [u64::MAX, gpa, access].map(u64::to_ne_bytes).concat()
}

fn vm() -> Vm {
    let mut vm = Vm {
        vcpus: 2,
        pages: (1..4).map(|gfn| (gfn, vec![0x90; 4096])).collect(),
        ..Vm::default()
    };
    vm.pages.get_mut(&1).unwrap()[..STORE.len()].copy_from_slice(STORE);
    vm
}

/// The vCPU of this VM in 64-bit mode.
fn event(kernel: &mut Fake, seq: u32, id: u16, data: &[u8]) {
    let mut payload = fake::vcpu_event(1, id, data);
    payload[16] = 8;
    kernel.send(wire::KVMI_VCPU_EVENT as u16, seq, &payload);
}

fn places() -> Places {
    let (mut session, _kernel) = fake::session(|_| ());
    Places::find(&mut session, &Place::Physical(0x2010), 4, 0, None).unwrap()
}

/// Watches until the kernel has played; how many accesses were counted.
fn watch(
    wanted: Access,
    limit: Option<u64>,
    play: impl FnOnce(&mut Fake, &mut Vm) + Send + 'static,
) -> (u64, Vm) {
    let (mut session, kernel) = fake::session(move |kernel| {
        let mut vm = vm();
        play(kernel, &mut vm);
        if limit.is_none() {
            // The VMM asks to let go.
            kernel.send(0, 99, &[0; 8]);
        }
        while vm.obey(kernel).is_some() {}
        vm
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let mut watcher = Watcher::new(&mut session, &mut output, places(), wanted);
    watcher.limit = limit;
    watcher.begin(&[0, 1]).unwrap();
    let end = follow(&mut watcher, None, &signals).unwrap();
    watcher.finish(end).unwrap();
    let events = watcher.events;
    drop(session);
    (events, kernel.join().unwrap())
}

/// Obeys the commands that begin a watch.
fn begin(kernel: &mut Fake, vm: &mut Vm) {
    for _ in 0..4 {
        let message = kernel.message();
        let answer = vm.answer(&message);
        kernel.reply(&message, answer);
    }
}

#[test]
fn a_write_is_followed_by_one_step() {
    let (events, vm) = watch(Access::WRITE, None, |kernel, vm| {
        begin(kernel, vm);
        event(kernel, 1, PF, &pf(0x2010, Access::WRITE));
        assert_eq!(vm.obey(kernel), Some(0));
        vm.pages.get_mut(&2).unwrap()[0x10..0x14].copy_from_slice(&STORE[7..]);
        event(kernel, 2, STEP, &[0; 8]);
        assert_eq!(vm.obey(kernel), Some(0));
    });
    assert_eq!(events, 1);
    assert_eq!(vm.lifted, [(2, 5)].into());
    assert!(vm.restricted.is_empty(), "given back when the VMM asks");
    let steps = vm
        .commands
        .iter()
        .filter(|id| **id == ControlSinglestep::ID);
    assert_eq!(steps.count(), 2, "on and off");
}

#[test]
fn what_is_beside_the_bytes_or_not_wanted_is_let_through() {
    let (events, vm) = watch(Access::READ, None, |kernel, vm| {
        begin(kernel, vm);
        for (gpa, access) in [
            (0x2010, Access::WRITE),
            (0x2010, Access::EXECUTE),
            (0x2000, Access::READ),
            (0x2014, Access::READ),
        ] {
            event(kernel, 1, PF, &pf(gpa, access));
            assert_eq!(vm.obey(kernel), Some(0));
        }
        event(kernel, 1, PF, &pf(0x2013, Access::READ));
        assert_eq!(vm.obey(kernel), Some(0));
    });
    assert_eq!(events, 1);
    assert_eq!(vm.lifted, [(2, 0)].into());
    assert!(!vm.commands.contains(&ControlSinglestep::ID));
}

#[test]
fn so_many_and_no_more() {
    let (events, _) = watch(Access::EXECUTE, Some(2), |kernel, vm| {
        begin(kernel, vm);
        for _ in 0..2 {
            event(kernel, 1, PF, &pf(0x2010, Access::EXECUTE));
            assert_eq!(vm.obey(kernel), Some(0));
        }
    });
    assert_eq!(events, 2);
}

#[test]
fn a_write_whose_end_is_not_seen_is_told() {
    let (events, vm) = watch(Access::WRITE, None, |kernel, vm| {
        begin(kernel, vm);
        event(kernel, 1, PF, &pf(0x2010, Access::WRITE));
        assert_eq!(vm.obey(kernel), Some(0));
    });
    assert_eq!(events, 1);
    let last = vm.commands.last();
    assert_eq!(
        last,
        Some(&ControlSinglestep::ID),
        "the VMM gets it unstepped"
    );
}

#[test]
fn a_vmm_that_leaves_first_is_no_failure() {
    let (mut session, kernel) = fake::session(|kernel| {
        begin(kernel, &mut vm());
        kernel.send(0, 99, &[0; 8]);
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let mut watcher = Watcher::new(&mut session, &mut output, places(), Access::WRITE);
    watcher.begin(&[0, 1]).unwrap();
    assert_eq!(follow(&mut watcher, None, &signals).unwrap(), End::Unhook);
    kernel.join().unwrap();
}

#[test]
fn touches_in_words_and_for_programs() {
    let (mut session, kernel) = fake::session(|kernel| vm().serve(kernel));
    let message = kvmi_client::message::Message {
        id: 1,
        seq: 1,
        payload: {
            let mut payload = fake::vcpu_event(1, PF, &pf(0x2010, Access::WRITE));
            payload[16] = 8;
            payload
        },
    };
    let Event::Vcpu(event) = Event::parse(&message).unwrap() else {
        panic!("no event of a vCPU");
    };
    let Kind::Pf(data) = &event.kind else {
        panic!("no PF");
    };
    let mut touch = Touch::new(&mut session, &event, data, Instant::now()).unwrap();
    assert_eq!((touch.gva, touch.length), (Some(0x2010), 4));
    let line = touch.line(Some("store+0x1")).to_string();
    let tail = "rip 0000000000001000 store+0x1 PF w gpa 0x2010 gva 0x2010 90909090 -> ?";
    assert!(line.ends_with(tail), "{line}");
    touch.after = Some(vec![0x11, 0x22, 0x33, 0x44]);
    let object = touch.object(None, Map::new());
    assert_eq!(object["event"], "PF");
    assert_eq!(
        object["data"],
        json!({
            "access": "w", "gpa": "0x2010", "gva": "0x2010", "length": 4, "symbol": null,
            "before": "90909090", "after": "11223344",
        })
    );
    drop(session);
    kernel.join().unwrap();
}
