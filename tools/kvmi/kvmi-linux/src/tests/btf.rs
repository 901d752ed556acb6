// SPDX-License-Identifier: GPL-2.0

use super::types::{Types, kernel};
use crate::btf::Btf;

fn place(btf: &Btf, structure: &str, member: &str) -> Option<(u64, u64)> {
    let member = btf.member(structure, member)?;
    Some((member.offset, member.size))
}

#[test]
fn members() {
    let btf = Btf::parse(kernel()).unwrap();
    assert_eq!(place(&btf, "task_struct", "pid"), Some((16, 4)));
    assert_eq!(place(&btf, "task_struct", "comm"), Some((32, 16)));
    assert_eq!(place(&btf, "task_struct", "none"), None);
    assert_eq!(place(&btf, "none", "pid"), None);
    assert_eq!(btf.size("task_struct"), Some(64));
    let pieces = btf.member("module", "mem").unwrap();
    assert_eq!((pieces.offset, pieces.size), (80, 7 * 72));
    assert_eq!(btf.inner(pieces, "size").unwrap().offset, 92);
    let list = btf.member("module", "list").unwrap();
    assert_eq!(btf.inner(list, "prev").unwrap().offset, 16);
}

#[test]
fn members_of_what_has_no_name() {
    let mut types = Types::new();
    let int = types.int(4);
    let inner = types.structure(5, "", 4, &[("a", int, 0), ("b", int, 0)]);
    let volatile = types.add("", 9 << 24, inner, &[]);
    let typedef = types.add("name", 8 << 24, volatile, &[]);
    types.structure(
        4,
        "outer",
        12,
        &[("x", int, 0), ("", inner, 4), ("", typedef, 8)],
    );
    let btf = Btf::parse(types.section()).unwrap();
    assert_eq!(place(&btf, "outer", "b"), Some((4, 4)));
    assert_eq!(place(&btf, "outer", "x"), Some((0, 4)));
}

#[test]
fn bit_fields_move_offsets() {
    let mut types = Types::new();
    let int = types.int(4);
    let names = [
        types.add("flag", 8 << 24, int, &[]),
        types.add("word", 8 << 24, int, &[]),
    ];
    let strings = types.section();
    let find = |name: &[u8]| {
        let strings_at = strings
            .windows(name.len())
            .position(|text| text == name)
            .unwrap();
        (strings_at - 24 - (4 * 4 + 2 * 12)) as u32
    };
    let (flag, word) = (find(b"flag\0"), find(b"word\0"));
    let data = [flag, names[0], 3 << 24, word, names[1], 64];
    types.add("s", (1 << 31) | (4 << 24) | 2, 16, &data);
    let btf = Btf::parse(types.section()).unwrap();
    assert_eq!(place(&btf, "s", "word"), Some((8, 4)));
    assert_eq!(
        place(&btf, "s", "flag"),
        None,
        "it is no whole number of bytes"
    );
}

#[test]
fn what_is_damaged_is_refused() {
    let whole = kernel();
    for size in 0..whole.len() {
        assert!(Btf::parse(whole[..size].to_vec()).is_none(), "{size}");
    }
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 0xff;
        // Whatever comes of it, it ends.
        if let Some(btf) = Btf::parse(other) {
            let _ = (place(&btf, "task_struct", "comm"), btf.size("module"));
        }
    }
}

#[test]
fn a_structure_inside_itself_ends() {
    let mut types = Types::new();
    types.structure(4, "s", 8, &[("", 1, 0)]);
    types.add("t", 8 << 24, 2, &[]);
    types.structure(4, "u", 8, &[("x", 2, 0)]);
    let btf = Btf::parse(types.section()).unwrap();
    assert_eq!(place(&btf, "s", "x"), None);
    assert_eq!(place(&btf, "u", "x"), None);
}

#[test]
fn structures_that_hold_one_another_many_times_end() {
    let mut types = Types::new();
    let mut inner = types.int(4);
    for _ in 0..14 {
        inner = types.structure(4, "", 4, &[("", inner, 0); 40]);
    }
    types.structure(4, "s", 4, &[("", inner, 0)]);
    let btf = Btf::parse(types.section()).unwrap();
    assert_eq!(place(&btf, "s", "x"), None);
}
