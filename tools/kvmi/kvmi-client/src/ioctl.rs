// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ioctls of KVM that introspection needs: the only hand-written `unsafe`.

#![allow(unsafe_code)]

use std::{ffi::c_void, os::fd::AsFd};

use rustix::{
    io,
    ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode, Setter, opcode},
};

use crate::wire;

const KVMIO: u8 = 0xAE;
const CHECK_EXTENSION: Opcode = opcode::none(KVMIO, 0x03);
const HOOK: Opcode = opcode::write::<wire::kvm_introspection_hook>(KVMIO, 0xc8);
const UNHOOK: Opcode = opcode::none(KVMIO, 0xc9);
const COMMAND: Opcode = opcode::write::<wire::kvm_introspection_feature>(KVMIO, 0xca);
const EVENT: Opcode = opcode::write::<wire::kvm_introspection_feature>(KVMIO, 0xcb);

const _: () = assert!(HOOK == 0x4018_aec8 && UNHOOK == 0xaec9);
const _: () = assert!(COMMAND == 0x4008_aeca && EVENT == 0x4008_aecb);

/// `KVM_CHECK_EXTENSION`: takes a number, returns a number.
struct CheckExtension(u32);

// SAFETY: The ioctl takes its argument by value and touches no memory.
unsafe impl Ioctl for CheckExtension {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CHECK_EXTENSION
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::without_provenance_mut(self.0 as usize)
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> io::Result<i32> {
        Ok(out)
    }
}

/// What `/dev/kvm` knows of a capability; 0 if nothing.
pub(crate) fn check_extension(kvm: impl AsFd, capability: u32) -> io::Result<i32> {
    // SAFETY: As above; on a file that is not KVM's it fails with ENOTTY.
    unsafe { ioctl::ioctl(kvm, CheckExtension(capability)) }
}

/// Hands a socket to a VM.
pub(crate) fn hook(vm: impl AsFd, hook: wire::kvm_introspection_hook) -> io::Result<()> {
    // SAFETY: HOOK reads a struct kvm_introspection_hook.
    unsafe { ioctl::ioctl(vm, Setter::<HOOK, _>::new(hook)) }
}

/// Ends the session of a VM.
pub(crate) fn unhook(vm: impl AsFd) -> io::Result<()> {
    // SAFETY: UNHOOK takes no argument.
    unsafe { ioctl::ioctl(vm, NoArg::<UNHOOK>::new()) }
}

/// Allows the session every command.
pub(crate) fn allow_commands(vm: impl AsFd) -> io::Result<()> {
    // SAFETY: COMMAND reads a struct kvm_introspection_feature.
    unsafe { ioctl::ioctl(vm, Setter::<COMMAND, _>::new(ALL)) }
}

/// Allows the session every event.
pub(crate) fn allow_events(vm: impl AsFd) -> io::Result<()> {
    // SAFETY: EVENT reads a struct kvm_introspection_feature.
    unsafe { ioctl::ioctl(vm, Setter::<EVENT, _>::new(ALL)) }
}

const ALL: wire::kvm_introspection_feature = wire::kvm_introspection_feature { allow: 1, id: -1 };
