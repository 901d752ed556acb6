// SPDX-License-Identifier: GPL-2.0

use super::{
    Ram,
    kallsyms::{BASE, Form, add},
    types,
};
use crate::{Error, Kernel, Vcpu, paging::AddressSpace};

const TEXT: u64 = 0xffff_ffff_8200_0000;
const TEXT_GPA: u64 = 0x20_0000;
const DATA_GPA: u64 = TEXT_GPA + (BASE - TEXT);
/// The kernel's own page tables are the third page behind its read-only data.
const ROOT: u64 = DATA_GPA + 0x8000 + 0x2000;
const NX: u64 = 1 << 63;
const WRITABLE: u64 = 2;
const MODULE: u64 = 0xffff_ffff_c000_0000;
/// Per-CPU data of the only vCPU, and how far from their symbols they are.
const PERCPU: u64 = 0xffff_8880_0000_0000;

fn names(rodata_end: u64) -> Vec<(u64, String)> {
    let fixed = [
        (TEXT, "_text"),
        (TEXT + 0x80, "entry_SYSCALL_64"),
        (TEXT + 0x1000, "text_poke_memcpy"),
        (TEXT + 0x1ff0, "_etext"),
        (BASE, "__start_rodata"),
        (BASE + 0x10, "linux_banner"),
        (BASE + 0x100, "__start_BTF"),
        (BASE + 0x100 + types::kernel().len() as u64, "__stop_BTF"),
        (rodata_end, "__end_rodata"),
        (rodata_end + 0x1000, "modules"),
        (rodata_end + 0x1008, "current_task"),
        (rodata_end + 0x2000, "init_top_pgt"),
        (rodata_end + 0x3000, "_end"),
    ];
    let filler = (0..400).map(|index| (TEXT + 0x1100 + index, format!("sym_{index}")));
    let mut all: Vec<_> = fixed.map(|(at, name)| (at, name.to_owned())).into();
    all.extend(filler);
    all.sort();
    all
}

/// A kernel with text, read-only data, data; and its vCPU.
fn guest() -> (Ram, Vcpu, u64) {
    let (size, end) = (0x8000, BASE + 0x8000);
    let mut data = vec![0; 0x100];
    data[0x10..0x1e].copy_from_slice(b"Linux 7.3\n\0\0\0\0");
    data.extend(types::kernel());
    add(&mut data, &names(end), Form::Places);
    assert!(data.len() < size as usize);
    let mut ram = Ram::new(ROOT);
    ram.write(DATA_GPA, &data);
    ram.write(DATA_GPA + size - 1, &[0]);
    for page in (DATA_GPA..DATA_GPA + size + 0x2000).step_by(4096) {
        ram.write(page + 4095, &[0]);
    }
    ram.map(ROOT, TEXT, TEXT_GPA, 0x2000, 0);
    ram.map(ROOT, BASE, DATA_GPA, size, NX);
    ram.map(ROOT, end, DATA_GPA + size, 0x3000, NX | WRITABLE);
    let vcpu = Vcpu {
        cr3: ROOT,
        lstar: TEXT + 0x80,
        gs_base: PERCPU.wrapping_sub(end + 0x1000),
        ..Vcpu::default()
    };
    (ram, vcpu, end)
}

#[test]
fn a_kernel_is_found() {
    let (mut ram, vcpu, end) = guest();
    let kernel = Kernel::find(&mut ram, &vcpu).unwrap();
    assert_eq!(kernel.banner, "Linux 7.3");
    assert_eq!(kernel.moved, TEXT - 0xffff_ffff_8100_0000);
    let text = kernel.text::<()>().unwrap();
    assert_eq!((text.gva, text.gpa, text.size), (TEXT, TEXT_GPA, 0x2000));
    let data = kernel.read_only_data::<()>().unwrap();
    assert_eq!(
        (data.gva, data.gpa, data.size),
        (BASE, DATA_GPA, end - BASE)
    );
    assert_eq!(data.gva(DATA_GPA + 5), Some(BASE + 5));
    assert_eq!(data.gva(DATA_GPA - 1), None);
    assert_eq!(kernel.place(TEXT + 0x1002).unwrap(), "text_poke_memcpy+0x2");
    assert_eq!(kernel.place(MODULE), None);
    assert_eq!(kernel.function(TEXT + 0x1002), Some(TEXT + 0x1000));
    assert_eq!(kernel.function(BASE + 5), None, "that is no text");
}

#[test]
fn programs_and_their_page_tables() {
    let (mut ram, vcpu, _) = guest();
    // Page-table isolation: a program's tables map the entry only.
    let user = ROOT | 0x1000;
    let moved = ram.pages.remove(&(user / 4096)).unwrap();
    let other = 0x300_0000;
    ram.pages.insert(other / 4096, moved);
    ram.write(ROOT + 511 * 8, &(other | 7).to_le_bytes());
    ram.write(user, &[0; 4096]);
    ram.tables = 0x400_0000;
    ram.map(user, TEXT, TEXT_GPA, 0x1000, 0);
    let program = Vcpu { cr3: user, ..vcpu };
    assert_eq!(
        Kernel::find(&mut ram, &program)
            .unwrap()
            .text::<()>()
            .unwrap()
            .size,
        0x2000
    );
}

#[test]
fn the_kernels_own_page_tables_last() {
    let (mut ram, vcpu, _) = guest();
    let program = 0x300_0000;
    let root = ram.pages[&(ROOT / 4096)].clone();
    ram.pages.insert(program / 4096, root);
    let vcpu = Vcpu {
        cr3: program,
        ..vcpu
    };
    let kernel = Kernel::find(&mut ram, &vcpu).unwrap();
    assert_eq!(kernel.space, AddressSpace::new(ROOT, 0));
    ram.pages.remove(&(program / 4096));
    let bytes = kernel.space.read(&mut ram, BASE + 0x10, 5).unwrap();
    assert_eq!(bytes, b"Linux");
}

#[test]
fn what_is_missing_is_said() {
    let (mut ram, vcpu, _) = guest();
    let mut why = |vcpu| match Kernel::find(&mut ram, &vcpu) {
        Err(Error::Guest(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(why(Vcpu { lstar: 0, ..vcpu }).contains("LSTAR is 0x0"));
    assert!(
        why(Vcpu {
            cr3: 0x900_0000,
            ..vcpu
        })
        .contains("page tables")
    );
    let (mut ram, vcpu, end) = guest();
    ram.map(ROOT, BASE, DATA_GPA, end - BASE, NX | WRITABLE);
    assert!(
        matches!(Kernel::find(&mut ram, &vcpu), Err(Error::Guest(why)) if why.contains("rodata=off"))
    );
    let (mut ram, vcpu, _) = guest();
    ram.map(ROOT, TEXT, TEXT_GPA, 0x2000, WRITABLE);
    let kernel = Kernel::find(&mut ram, &vcpu).unwrap();
    assert!(
        matches!(kernel.text::<()>(), Err(Error::Guest(why)) if why.contains("still write its text"))
    );
}

#[test]
fn the_current_task() {
    let (mut ram, vcpu, end) = guest();
    let kernel = Kernel::find(&mut ram, &vcpu).unwrap();
    // current_task is 8 bytes into the per-CPU data.
    ram.map(ROOT, PERCPU, 0x50_0000, 0x2000, NX | WRITABLE);
    ram.write(0x50_0008, &(PERCPU + 0x1000).to_le_bytes());
    ram.write(0x50_1010, &[7, 0, 0, 0, 5, 0, 0, 0]);
    ram.write(0x50_1020, b"insmod\x1b\0xx");
    let task = kernel.current(&mut ram, &vcpu).unwrap().unwrap();
    assert_eq!((task.pid, task.tid, task.comm.as_str()), (5, 7, "insmod?"));
    let swapped = Vcpu {
        gs_base: 0x7f00_0000_0000,
        kernel_gs_base: vcpu.gs_base,
        ..vcpu
    };
    assert_eq!(kernel.current(&mut ram, &swapped).unwrap().unwrap(), task);
    let lost = Vcpu {
        gs_base: 1 << 63,
        ..vcpu
    };
    assert!(matches!(
        kernel.current(&mut ram, &lost),
        Err(Error::Unmapped(_))
    ));
    let _ = end;
}

#[test]
fn modules_and_their_symbols() {
    let (mut ram, vcpu, end) = guest();
    let kernel = Kernel::find(&mut ram, &vcpu).unwrap();
    let (modules, module) = (DATA_GPA + (end - BASE), MODULE + 0x2000);
    ram.map(ROOT, MODULE, 0x60_0000, 0x5000, WRITABLE);
    ram.write(0x60_4fff, &[0]);
    let at = |gva: u64| 0x60_0000 + (gva - MODULE);
    ram.write(modules, &(module + 8).to_le_bytes());
    ram.write(at(module + 8), &(end + 0x1000).to_le_bytes());
    ram.map(ROOT, end + 0x1000, modules, 0x1000, NX | WRITABLE);
    ram.write(at(module + 24), b"rootkit\0");
    // The third piece of its memory.
    ram.write(at(module + 80 + 144), &MODULE.to_le_bytes());
    ram.write(at(module + 92 + 144), &0x1000u32.to_le_bytes());
    let why = |ram: &mut Ram, gva| kernel.describe(ram, gva).unwrap();
    let table = module + 0x400;
    ram.write(at(module + 600), &table.to_le_bytes());
    let head = [table + 24, 2, table + 100].map(u64::to_le_bytes);
    ram.write(at(table), &head.concat());
    for (index, (name, value)) in [(1u32, 0u64), (5, MODULE + 0x100)].into_iter().enumerate() {
        let entry = at(table + 24 + 24 * index as u64);
        ram.write(entry, &name.to_le_bytes());
        ram.write(entry + 8, &value.to_le_bytes());
    }
    ram.write(at(table + 100), b"\0abc\0hook\0");
    assert_eq!(
        why(&mut ram, MODULE + 0x123).unwrap(),
        "hook+0x23 [rootkit]"
    );
    assert_eq!(why(&mut ram, MODULE + 0x23).unwrap(), "[rootkit]+0x23");
    assert_eq!(why(&mut ram, MODULE + 0x1000), None);
    assert_eq!(why(&mut ram, 0x400000), None);
    // A list that does not come back ends.
    ram.write(at(module + 8), &(module + 8).to_le_bytes());
    assert_eq!(why(&mut ram, MODULE + 0x1000), None);
}
