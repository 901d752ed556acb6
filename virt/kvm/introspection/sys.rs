// SPDX-License-Identifier: GPL-2.0

//! The layer under the subsystem: wrappers that the kernel crate lacks, each in the place where
//! upstream would put it, and the bindings that they wrap.

#[path = "../../../rust/kernel/kvm/mod.rs"]
pub(crate) mod kvm;
#[path = "../../../rust/kernel/net/socket.rs"]
pub(crate) mod socket;
#[path = "../../../rust/kernel/vhost_task.rs"]
pub(crate) mod vhost_task;
#[path = "../../../rust/kernel/sync/wait.rs"]
pub(crate) mod wait;

/// What bindgen made of `glue.h`.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod glue {
    use kernel::ffi;

    include!(concat!(env!("OBJTREE"), "/arch/x86/kvm/kvmi_glue.rs"));
}
