// SPDX-License-Identifier: GPL-2.0

//! Tests of those parts of the kernel code that need no kernel: the files themselves are compiled
//! here, against the `kernel` crate of this directory.

#![cfg(test)]
#![forbid(unsafe_code)]

#[path = "../../../virt/kvm/introspection/fifo.rs"]
mod fifo;
#[path = "../../../arch/x86/kvm/introspection/mtrr.rs"]
mod mtrr;
mod mtrr_tests;
#[path = "../../../virt/kvm/introspection/permission.rs"]
mod permission;

use fifo::Fifo;
use permission::{bits, IdSet};
use std::collections::VecDeque;

#[test]
fn fifo_is_empty_at_first() {
    let mut fifo = Fifo::<u32>::new();

    assert_eq!(fifo.len(), 0);
    assert_eq!(fifo.front(), None);
    assert_eq!(fifo.pop(), None);
    assert_eq!(fifo.len(), 0);
}

#[test]
fn fifo_keeps_order() {
    let mut fifo = Fifo::new();

    for i in 0..5 {
        fifo.push(i).unwrap();
    }
    assert_eq!(fifo.len(), 5);
    for i in 0..5 {
        assert_eq!(fifo.front(), Some(&i));
        assert_eq!(fifo.pop(), Some(i));
    }
    assert_eq!(fifo.pop(), None);
}

/// Any mixture of pushes, pops and removals does what a `VecDeque` does.
#[test]
fn fifo_is_a_queue() {
    let mut fifo = Fifo::new();
    let mut model = VecDeque::new();
    let mut random = 12345u32;

    for i in 0..20_000u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match random >> 29 {
            0..=3 => {
                fifo.push(i).unwrap();
                model.push_back(i);
            }
            4..=6 => assert_eq!(fifo.pop(), model.pop_front()),
            _ => {
                let victim = i.saturating_sub(random >> 8 & 15);
                let at = model.iter().position(|item| *item == victim);

                assert_eq!(fifo.remove(&victim), at.is_some());
                at.and_then(|at| model.remove(at));
            }
        }
        assert_eq!(fifo.len(), model.len());
        assert_eq!(fifo.front(), model.front());
    }
}

#[test]
fn fifo_removes_each_once() {
    let mut fifo = Fifo::new();

    fifo.push(7).unwrap();
    fifo.push(8).unwrap();
    assert_eq!(fifo.pop(), Some(7));
    assert!(!fifo.remove(&7), "what was taken is gone");
    assert!(fifo.remove(&8));
    assert!(!fifo.remove(&8));
    assert_eq!(fifo.len(), 0);
    fifo.push(9).unwrap();
    assert_eq!(fifo.pop(), Some(9));
}

#[test]
fn fifo_clears() {
    let mut fifo = Fifo::new();

    fifo.push(1).unwrap();
    fifo.clear();
    assert_eq!(fifo.len(), 0);
    assert_eq!(fifo.pop(), None);
}

#[test]
fn ids_beyond_the_set_are_never_members() {
    let set = IdSet::new(u64::MAX);

    assert!(set.contains(0));
    assert!(set.contains(63));
    for id in [64, 65, 128, 0x7fff, u16::MAX] {
        assert!(!set.contains(id), "{id}");
        assert_eq!(bits(&[id]), 0);
    }
}

#[test]
fn ids_are_added_and_removed() {
    let set = IdSet::new(bits(&[2, 4]));

    set.set(9, true);
    set.set(2, false);
    for id in 0..64 {
        assert_eq!(set.contains(id), id == 4 || id == 9, "{id}");
    }
    set.change(bits(&[4, 9, 11]), false);
    assert!((0..64).all(|id| !set.contains(id)));
    set.change(bits(&[11, 63]), true);
    assert!(set.contains(11) && set.contains(63));
}
