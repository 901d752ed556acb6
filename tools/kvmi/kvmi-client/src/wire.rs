// SPDX-License-Identifier: MIT OR Apache-2.0

//! The structures and numbers of the wire, as the UAPI headers define them.
//!
//! Everything here is generated when the crate is built. The sizes are those
//! of `Documentation/virt/kvm/kvmi.rst`; a header that drifts from them does
//! not compile.

#[allow(
    unsafe_code,
    missing_docs,
    non_camel_case_types,
    unused_qualifications,
    clippy::all
)]
mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

pub use uapi::*;

/// Largest payload of a message, the header not counted.
pub const MAX_PAYLOAD: usize = KVMI_MAX_MSG_SIZE as usize;

/// Size of a message header in bytes.
pub const HEADER: usize = size_of::<kvmi_msg_hdr>();

macro_rules! assert_sizes {
    ($($name:ident: $size:literal),* $(,)?) => {
        $(const _: () = assert!(size_of::<$name>() == $size, stringify!($name));)*
    };
}

assert_sizes! {
    kvm_introspection_hook: 24,
    kvm_introspection_feature: 8,
    kvm_regs: 144,
    kvm_sregs: 312,
    kvm_msr_entry: 16,
    kvmi_msg_hdr: 8,
    kvmi_vcpu_hdr: 8,
    kvmi_error_code: 8,
    kvmi_features: 8,
    kvmi_get_version_reply: 16,
    kvmi_vm_check_command: 8,
    kvmi_vm_check_event: 8,
    kvmi_vm_get_info_reply: 16,
    kvmi_vm_control_events: 8,
    kvmi_vm_read_physical: 16,
    kvmi_vm_write_physical: 16,
    kvmi_vm_pause_vcpu: 8,
    kvmi_vm_control_cleanup: 8,
    kvmi_vm_set_page_access: 8,
    kvmi_page_access_entry: 16,
    kvmi_vm_get_max_gfn_reply: 8,
    kvmi_vm_set_on_exit: 8,
    kvmi_vcpu_get_info_reply: 8,
    kvmi_vcpu_control_events: 8,
    kvmi_vcpu_get_registers: 8,
    kvmi_vcpu_get_registers_reply: 472,
    kvmi_vcpu_get_cpuid: 8,
    kvmi_vcpu_get_cpuid_reply: 16,
    kvmi_vcpu_control_cr: 8,
    kvmi_vcpu_inject_exception: 16,
    kvmi_vcpu_get_xcr: 8,
    kvmi_vcpu_get_xcr_reply: 8,
    kvmi_vcpu_get_mtrr_type: 8,
    kvmi_vcpu_get_mtrr_type_reply: 8,
    kvmi_vcpu_control_msr: 8,
    kvmi_vcpu_control_singlestep: 8,
    kvmi_vcpu_translate_gva: 8,
    kvmi_vcpu_translate_gva_reply: 8,
    kvmi_event_hdr: 8,
    kvmi_vcpu_event_arch: 536,
    kvmi_vcpu_event: 544,
    kvmi_vcpu_event_reply: 8,
    kvmi_vcpu_event_breakpoint: 16,
    kvmi_vcpu_event_cr: 24,
    kvmi_vcpu_event_cr_reply: 8,
    kvmi_vcpu_event_trap: 16,
    kvmi_vcpu_event_xsetbv: 24,
    kvmi_vcpu_event_descriptor: 8,
    kvmi_vcpu_event_msr: 24,
    kvmi_vcpu_event_msr_reply: 8,
    kvmi_vcpu_event_pf: 24,
    kvmi_vcpu_event_singlestep: 8,
    kvmi_vcpu_event_cpuid: 16,
}
