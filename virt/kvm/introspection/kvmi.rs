// SPDX-License-Identifier: GPL-2.0

//! KVM introspection.
//!
//! A program outside a VM speaks to it over a socket that was handed over with an ioctl.  A
//! message walks through the rooms once, in one direction:
//!
//! - [`ffi`] is the door through which C comes in, [`ioctl`] what the device manager may ask;
//! - [`session`] is one hooked VM, [`channel`] its socket, [`vcpu`] each of its vCPUs, which comes
//!   to us in [`run`];
//! - [`wire`] turns bytes into requests, [`permission`] says which are allowed;
//! - [`command`] and [`event`] hold one type for each command and event.
//!
//! Threads, locks and lives are described in `Documentation/virt/kvm/kvmi-internals.rst`.

#![deny(unsafe_code)]

mod channel;
mod command;
mod event;
#[allow(unsafe_code)]
mod ffi;
mod fifo;
mod ioctl;
#[path = "../../../arch/x86/kvm/introspection/mtrr.rs"]
mod mtrr;
mod permission;
mod run;
mod session;
#[allow(unsafe_code)]
mod sys;
mod vcpu;
mod wire;

/// What `pr_*!` puts in front.
const __LOG_PREFIX: &[u8] = b"kvmi\0";
