// SPDX-License-Identifier: GPL-2.0

//! `kvmi protect` against a kernel that a test plays.

mod on_exit;

use kvmi_client::{
    command::{Command, ControlSinglestep, InjectException, SetRegisters},
    fake::{self, Fake, Vm},
};
use kvmi_linux::{
    Kernel,
    btf::Btf,
    paging::{AddressSpace, Mapping},
    symbols::Symbols,
};

use super::*;

const TEXT: u64 = 0xffff_ffff_8100_0000;
const DATA: u64 = TEXT + 0x2000;
const PATCH: u64 = TEXT + 0x100;
const COPY: u64 = TEXT + 0x200;
const EVIL: u64 = TEXT + 0x300;
const TEXT_GPA: u64 = 0x2000;
const DATA_GPA: u64 = 0x4000;
/// The page tables: one large page, one to one.
const ROOT: u64 = 0x8000;

/// `rep movsb`, and `mov %rax,(%rdi)`.
const MOVSB: &[u8] = b"\xf3\xa4";
const STORE: &[u8] = b"\x48\x89\x07";

fn linux() -> Linux {
    let piece = |gva, gpa, size, executable| Mapping {
        gva,
        gpa,
        size,
        writable: false,
        executable,
    };
    Linux::new(Kernel {
        banner: "Linux".into(),
        symbols: Symbols::new([
            (TEXT, "_text"),
            (PATCH, "text_poke_memcpy.isra.0"),
            (COPY, "memcpy"),
            (EVIL, "evil"),
            (TEXT + 0x1ff0, "_etext"),
            (DATA, "__start_rodata"),
            (DATA + 0x10, "ops"),
            (DATA + 0x1000, "__end_rodata"),
            (DATA + 0x1000, "_end"),
        ]),
        types: Btf::default(),
        space: AddressSpace::new(ROOT, 0),
        moved: 0,
        pieces: vec![
            piece(TEXT, TEXT_GPA, 0x2000, true),
            piece(DATA, DATA_GPA, 0x1000, false),
        ],
    })
}

fn vm() -> Vm {
    let mut vm = Vm {
        vcpus: 1,
        pages: (0..12).map(|gfn| (gfn, vec![0; 4096])).collect(),
        ..Vm::default()
    };
    let mut put = |gpa: u64, bytes: &[u8]| {
        let page = vm.pages.entry(gpa / 4096).or_insert_with(|| vec![0; 4096]);
        let at = (gpa % 4096) as usize;
        page[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(ROOT, &(0x9000u64 | 7).to_le_bytes());
    put(0x9000, &0x87u64.to_le_bytes());
    // Where the fake translates addresses of the upper half to.
    let fetched = TEXT & ((1 << 47) - 1);
    put(fetched + 0x100, MOVSB);
    put(fetched + 0x200, MOVSB);
    put(fetched + 0x300, STORE);
    vm
}

/// A write, or another access, at `gpa`.
struct Attempt {
    rip: u64,
    rdi: u64,
    gpa: u64,
    access: Access,
    /// What is on top of the stack.
    stack: u64,
}

const ATTEMPT: Attempt = Attempt {
    rip: EVIL,
    rdi: DATA_GPA + 0x18,
    gpa: DATA_GPA + 0x18,
    access: Access::WRITE,
    stack: 0,
};

fn event(kernel: &mut Fake, seq: u32, id: u32, data: &[u8], attempt: &Attempt) {
    let mut payload = fake::vcpu_event(0, id as u16, data);
    payload[16] = 8;
    // RDI and RIP are the 6th and the 17th register.
    payload[24 + 5 * 8..][..8].copy_from_slice(&attempt.rdi.to_ne_bytes());
    payload[24 + 16 * 8..][..8].copy_from_slice(&attempt.rip.to_ne_bytes());
    kernel.send(wire::KVMI_VCPU_EVENT as u16, seq, &payload);
}

/// What came of an attempt.
struct Outcome {
    /// The answer to the PF event.
    answer: u8,
    violations: u64,
    patches: u64,
    over: bool,
    vm: Vm,
}

impl Outcome {
    fn did(&self, command: u16) -> bool {
        self.vm.commands.contains(&command)
    }
}

fn attempt(action: Action, allow_own: bool, attempt: Attempt) -> Outcome {
    let (mut session, kernel) = fake::session(move |kernel| {
        let mut vm = vm();
        vm.pages.get_mut(&0).unwrap()[..8].copy_from_slice(&attempt.stack.to_le_bytes());
        let words = [u64::MAX, attempt.gpa, attempt.access.bits().into()];
        let data = words.map(u64::to_ne_bytes).concat();
        // The commands that begin it.
        for _ in 0..4 {
            let message = kernel.message();
            let answer = vm.answer(&message);
            kernel.reply(&message, answer);
        }
        event(kernel, 1, wire::KVMI_VCPU_EVENT_PF, &data, &attempt);
        let answer = vm.obey(kernel).expect("an answer");
        if vm.commands.contains(&ControlSinglestep::ID) {
            event(
                kernel,
                2,
                wire::KVMI_VCPU_EVENT_SINGLESTEP,
                &[0; 8],
                &attempt,
            );
            vm.obey(kernel).expect("an answer to the step");
        }
        if u32::from(answer) != wire::KVMI_EVENT_ACTION_CRASH {
            kernel.send(0, 9, &[0; 8]);
        }
        while vm.obey(kernel).is_some() {}
        (answer, vm)
    });
    let mut output = Output::new(true);
    let (signals, _keep) = UnixStream::pair().unwrap();
    let linux = linux();
    let parts = parts(&linux, true).unwrap();
    let mut protector = Protector::new(&mut session, &mut output, linux, parts, action);
    protector.allow_own = allow_own;
    protector.begin(&[0]).unwrap();
    let end = follow(&mut protector, None, &signals).unwrap();
    protector.finish(end).unwrap();
    let (violations, patches, over) = (protector.violations, protector.patches, protector.over);
    drop(session);
    let (answer, vm) = kernel.join().unwrap();
    Outcome {
        answer,
        violations,
        patches,
        over,
        vm,
    }
}

#[test]
fn frames_lose_the_right_to_write() {
    let outcome = attempt(Action::Log, true, ATTEMPT);
    assert_eq!(outcome.vm.lifted, [(2, 5), (3, 5), (4, 1)].into());
    assert!(
        outcome.vm.restricted.is_empty(),
        "given back when the VMM asks"
    );
}

#[test]
fn a_write_is_let_through_when_only_logged() {
    let outcome = attempt(Action::Log, true, ATTEMPT);
    assert_eq!(
        (outcome.answer, outcome.violations, outcome.patches),
        (0, 1, 0)
    );
    assert!(outcome.did(ControlSinglestep::ID) && !outcome.did(SetRegisters::ID));
}

#[test]
fn a_write_is_skipped() {
    let outcome = attempt(Action::Block, true, ATTEMPT);
    assert_eq!((outcome.answer, outcome.violations), (1, 1));
    assert_eq!(outcome.vm.rip, Some(EVIL + STORE.len() as u64));
    assert!(!outcome.did(ControlSinglestep::ID));
}

#[test]
fn a_write_faults() {
    let outcome = attempt(Action::Fault, true, ATTEMPT);
    assert_eq!((outcome.answer, outcome.violations), (1, 1));
    assert!(outcome.did(InjectException::ID) && !outcome.did(SetRegisters::ID));
}

#[test]
fn a_write_ends_the_vm() {
    let outcome = attempt(Action::Crash, true, ATTEMPT);
    assert_eq!((outcome.answer, outcome.violations), (2, 1));
    assert!(outcome.over);
}

#[test]
fn what_cannot_be_skipped_faults() {
    let fetch = Attempt {
        rip: DATA + 0x18,
        access: Access::EXECUTE,
        ..ATTEMPT
    };
    let outcome = attempt(Action::Block, true, fetch);
    assert!(outcome.did(InjectException::ID) && !outcome.did(SetRegisters::ID));
    // What is no instruction has no length.
    let outcome = attempt(
        Action::Block,
        true,
        Attempt {
            rip: EVIL + 0x900_0000,
            ..ATTEMPT
        },
    );
    assert!(outcome.did(InjectException::ID) && !outcome.did(SetRegisters::ID));
}

#[test]
fn the_kernels_own_patching_is_let_through() {
    let patch = || Attempt {
        rip: PATCH,
        ..ATTEMPT
    };
    let outcome = attempt(Action::Block, true, patch());
    assert_eq!(
        (outcome.answer, outcome.violations, outcome.patches),
        (0, 0, 1)
    );
    let outcome = attempt(Action::Block, false, patch());
    assert_eq!(
        (outcome.answer, outcome.violations, outcome.patches),
        (1, 1, 0)
    );
    let copy = |stack| Attempt {
        rip: COPY,
        stack,
        ..ATTEMPT
    };
    let outcome = attempt(Action::Block, true, copy(PATCH + 9));
    assert_eq!(
        (outcome.violations, outcome.patches),
        (0, 1),
        "a copy for it"
    );
    let outcome = attempt(Action::Block, true, copy(EVIL + 9));
    assert_eq!(
        (outcome.violations, outcome.patches),
        (1, 0),
        "a copy for another"
    );
}

#[test]
fn patching_by_another_mapping_is_not_the_kernels_own() {
    let upper = Attempt {
        rip: PATCH,
        rdi: 0xffff_8000_0000_0000 | ATTEMPT.gpa,
        ..ATTEMPT
    };
    let outcome = attempt(Action::Block, true, upper);
    assert_eq!((outcome.violations, outcome.patches), (1, 0));
}
