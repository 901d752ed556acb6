// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests: what is sent.

use super::read_command;
use crate::{access::Access, command::*, error::Error, fake::session, wire};

#[test]
fn a_command_on_the_wire() {
    let (mut session, kernel) = session(|kernel| {
        let command = kernel.message();
        kernel.reply(&command, Ok(b"data".to_vec()));
        command
    });
    assert_eq!(session.call(read_command()).unwrap(), b"data");
    let command = kernel.join().unwrap();
    assert_eq!(command.id, 12);
    let expected = [0x2000u64.to_ne_bytes(), 4u64.to_ne_bytes()].concat();
    assert_eq!(command.payload, expected);
}

#[test]
fn a_vcpu_command_begins_with_the_vcpu() {
    let (mut session, kernel) = session(|kernel| {
        let command = kernel.message();
        kernel.reply(&command, Ok(u64::MAX.to_ne_bytes().to_vec()));
        command.payload
    });
    let command = TranslateGva {
        vcpu: 3,
        gva: 0xabc,
    };
    assert_eq!(session.call(command).unwrap(), None);
    let expected = [3u64.to_ne_bytes(), 0xabcu64.to_ne_bytes()].concat();
    assert_eq!(kernel.join().unwrap(), expected);
}

#[test]
fn many_pages_are_many_commands() {
    let (mut session, kernel) = session(|kernel| {
        let mut vm = crate::fake::Vm::default();
        vm.pages.extend((0..1100).map(|gfn| (gfn, Vec::new())));
        vm.serve(kernel)
    });
    let access = Access::READ | Access::EXECUTE;
    let entries: Vec<_> = (0..1100)
        .map(|gfn| SetPageAccess::entry(gfn * 4096, access))
        .collect();
    for batch in SetPageAccess::batches(&entries) {
        session.call(batch).unwrap();
    }
    let all = SetPageAccess { entries: &entries };
    assert!(matches!(session.call(all), Err(Error::Usage(_))));
    drop(session);
    let vm = kernel.join().unwrap();
    assert_eq!(vm.commands, [20; 3]);
    assert_eq!(vm.restricted.len(), 1100);
    assert!(vm.restricted.values().all(|access| *access == 5));
    assert_eq!(SetPageAccess::batches(&[]).count(), 0);
    assert_eq!(PAGES_AT_ONCE, 511);
}

/// Sizes of requests on the wire, the header not counted, as `kvmi.rst` has
/// them.
#[test]
fn request_sizes() {
    fn size<C: Command>(command: C, id: u16, size: usize) {
        assert_eq!(C::ID, id, "{}", C::NAME);
        let payload = payload(&command).unwrap();
        assert_eq!(payload.len(), size, "{}", C::NAME);
        assert!(ALL.contains(&(id, C::NAME)));
        assert_eq!(command.vcpu().is_some(), id % 2 == 1, "{}", C::NAME);
    }
    let (vcpu, enable, event) = (0, true, 1);
    size(GetVersion, 2, 0);
    size(CheckCommand { id: 2 }, 4, 8);
    size(CheckEvent { id: 1 }, 6, 8);
    size(GetInfo, 8, 0);
    size(ControlVmEvents { event, enable }, 10, 8);
    size(ReadPhysical { gpa: 0, size: 1 }, 12, 16);
    size(
        WritePhysical {
            gpa: 0,
            data: b"abc",
        },
        14,
        16 + 3,
    );
    size(PauseVcpu { vcpu, wait: true }, 16, 8);
    size(ControlCleanup { enable }, 18, 8);
    let entries = [wire::kvmi_page_access_entry::default(); 3];
    size(SetPageAccess { entries: &entries }, 20, 8 + 16 * 3);
    size(GetMaxGfn, 22, 0);
    let action = OnExit::Freeze;
    size(SetOnExit { action }, 24, 8);
    size(GetVcpuInfo { vcpu }, 3, 8);
    size(
        ControlEvents {
            vcpu,
            event,
            enable,
        },
        5,
        16,
    );
    size(
        GetRegisters {
            vcpu,
            msrs: &[1, 2],
        },
        7,
        16 + 4 * 2,
    );
    let regs = wire::kvm_regs::default();
    size(SetRegisters { vcpu, regs }, 9, 8 + 144);
    let (function, index) = (0, 0);
    size(
        GetCpuid {
            vcpu,
            function,
            index,
        },
        11,
        16,
    );
    size(
        ControlCr {
            vcpu,
            cr: 3,
            enable,
        },
        13,
        16,
    );
    let (nr, error_code, address) = (14, 0, 0);
    size(
        InjectException {
            vcpu,
            nr,
            error_code,
            address,
        },
        15,
        24,
    );
    size(GetXcr { vcpu, xcr: 0 }, 17, 16);
    size(GetXsave { vcpu }, 19, 8);
    let xsave = &[0; 4096];
    size(SetXsave { vcpu, xsave }, 21, 8 + 4096);
    size(GetMtrrType { vcpu, gpa: 0 }, 23, 16);
    size(
        ControlMsr {
            vcpu,
            msr: 0,
            enable,
        },
        25,
        16,
    );
    size(ControlSinglestep { vcpu, enable }, 27, 16);
    size(TranslateGva { vcpu, gva: 0 }, 29, 16);
    assert_eq!(ALL.len(), 26);
}

#[test]
fn requests_that_do_not_fit() {
    let (mut session, kernel) = session(|kernel| kernel.try_message());
    let data = &[0; 9000];
    let error = session.call(WritePhysical { gpa: 0, data }).unwrap_err();
    assert!(matches!(error, Error::Usage(_)));
    let data = &[0; 70000];
    let error = session.call(WritePhysical { gpa: 0, data }).unwrap_err();
    assert!(matches!(error, Error::Usage(_)));
    drop(session);
    assert_eq!(kernel.join().unwrap(), None);
}

#[test]
fn pages() {
    assert_eq!(within_page(0, 1), 1);
    assert_eq!(within_page(0, 5000), 4096);
    assert_eq!(within_page(4095, 5000), 1);
    assert_eq!(within_page(u64::MAX, 5000), 1);
}

#[test]
fn what_becomes_of_restrictions() {
    let (mut session, kernel) = session(|kernel| crate::fake::Vm::default().serve(kernel));
    for action in [OnExit::Freeze, OnExit::Crash, OnExit::Release] {
        session.call(SetOnExit { action }).unwrap();
    }
    assert_eq!(session.call(GetVersion).unwrap().features.on_exit, 1);
    assert_eq!(OnExit::default(), OnExit::Release);
    drop(session);
    assert_eq!(kernel.join().unwrap().on_exit, [1, 2, 0]);
}
