// SPDX-License-Identifier: GPL-2.0

use super::Ram;
use crate::{memory::Error, paging::*};

const ROOT: u64 = 0x10_0000;
const NX: u64 = 1 << 63;
const KERNEL: u64 = 0xffff_ffff_8000_0000;

#[test]
fn pages_of_all_sizes() {
    let mut ram = Ram::new(ROOT);
    ram.map_page(ROOT, KERNEL, 3, 0x4000_0000 | 0x80);
    ram.map_page(ROOT, 0x4020_0000, 2, 0x20_0000 | 0x82 | NX);
    ram.map_page(ROOT, 0x1000, 1, 0x5000 | 2);
    let space = AddressSpace::new(ROOT | 0xfff, 0);
    let mut at = |gva| space.translate(&mut ram, gva).unwrap();
    let large = at(KERNEL + 0x1234_5678).unwrap();
    assert_eq!(
        (large.gva, large.gpa, large.size),
        (KERNEL, 0x4000_0000, 1 << 30)
    );
    assert!(large.executable && !large.writable);
    let medium = at(0x4023_4567).unwrap();
    assert_eq!((medium.gva, medium.gpa), (0x4020_0000, 0x20_0000));
    assert!(!medium.executable && medium.writable);
    assert_eq!(at(0x1fff).unwrap().gpa, 0x5000);
    assert_eq!(at(0x2000), None);
    assert_eq!(at(u64::MAX), None);
}

#[test]
fn neighbours_are_one_mapping() {
    let mut ram = Ram::new(ROOT);
    ram.map(ROOT, KERNEL, 0x20_0000, 0x3000, 0);
    ram.map(ROOT, KERNEL + 0x3000, 0x20_3000, 0x2000, NX);
    ram.map(ROOT, KERNEL + 0x5000, 0x30_0000, 0x1000, NX);
    ram.map(ROOT, KERNEL - 0x1000, 0x40_0000, 0x1000, 0);
    let space = AddressSpace::new(ROOT, 0);
    let found = space
        .mappings(&mut ram, KERNEL, KERNEL + 0xffff, 8)
        .unwrap();
    let sizes: Vec<_> = found
        .iter()
        .map(|piece| (piece.gva - KERNEL, piece.size))
        .collect();
    assert_eq!(sizes, [(0, 0x3000), (0x3000, 0x2000), (0x5000, 0x1000)]);
    assert!(found[0].contains(KERNEL + 0x2fff) && !found[0].contains(KERNEL + 0x3000));
    let few = space.mappings(&mut ram, KERNEL, KERNEL + 0xffff, 2);
    assert!(matches!(few, Err(Error::Guest(_))));
}

#[test]
fn tables_that_point_at_themselves_end() {
    let mut ram = Ram::new(ROOT);
    for index in 0..512 {
        ram.write(ROOT + index * 8, &(ROOT | 7).to_le_bytes());
    }
    let space = AddressSpace::new(ROOT, 0);
    assert!(space.mappings(&mut ram, KERNEL, u64::MAX, 1 << 30).is_err());
    assert_eq!(
        space.translate(&mut ram, KERNEL).unwrap().unwrap().gpa,
        ROOT
    );
}

#[test]
fn reads_across_pages() {
    let mut ram = Ram::new(ROOT);
    ram.map(ROOT, 0x1000, 0x9000, 0x1000, 0);
    ram.map(ROOT, 0x2000, 0x7000, 0x1000, 0);
    ram.write(0x9ffe, b"ab");
    ram.write(0x7000, b"cd");
    let space = AddressSpace::new(ROOT, 0);
    assert_eq!(space.read(&mut ram, 0x1ffe, 4).unwrap(), b"abcd");
    assert_eq!(
        space.read(&mut ram, 0x2ffe, 4),
        Err(Error::Unmapped(0x3000))
    );
}

#[test]
fn five_levels_and_halves() {
    let mut ram = Ram::new(ROOT);
    let five = 0x20_0000;
    ram.write(five + 511 * 8, &(ROOT | 7).to_le_bytes());
    ram.map(ROOT, KERNEL, 0x5000, 0x1000, 0);
    let space = AddressSpace::new(five, 1 << 12);
    assert_eq!(
        space.translate(&mut ram, KERNEL).unwrap().unwrap().gpa,
        0x5000
    );
    let found = space.mappings(&mut ram, KERNEL, u64::MAX, 8).unwrap();
    assert_eq!((found.len(), found[0].gva), (1, KERNEL));
    let pair = AddressSpace::new(0x3000, 0);
    assert_eq!(pair.kernel_half(), AddressSpace::new(0x2000, 0));
}
