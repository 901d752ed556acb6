// SPDX-License-Identifier: GPL-2.0

//! What C calls when a guest does something that a tool may want to hear of.

use super::with_running;
use crate::{
    event::{x86::Site, Said},
    sys::glue,
};
use kernel::ffi::c_int;

/// Asks about something that the guest is doing; a value that the tool wants is stored.
///
/// # Safety
///
/// `vcpu` is the vCPU that the calling thread runs, with its state loaded and `kvm->srcu` held.
unsafe fn ask(
    vcpu: *mut glue::kvm_vcpu,
    value: Option<&mut u64>,
    ask: impl FnOnce(Site<'_>) -> Said,
) -> c_int {
    // SAFETY: By the requirement above, which is C's to keep.
    let said = unsafe { with_running(vcpu, |door, here| door.ask(here, ask)) };
    let (wanted, verdict) = match said {
        None | Some(Said::Unasked) => (None, glue::KVMI_UNASKED),
        Some(Said::Proceed(wanted)) => (wanted, glue::KVMI_PROCEED),
        Some(Said::Rewritten(wanted)) => (wanted, glue::KVMI_REWRITTEN),
        Some(Said::Retry) => (None, glue::KVMI_RETRY),
        Some(Said::Refused) => (None, glue::KVMI_REFUSED),
    };

    if let (Some(value), Some(wanted)) = (value, wanted) {
        *value = wanted;
    }
    verdict as c_int
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_hypercall(vcpu: *mut glue::kvm_vcpu) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.hypercall()) }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_breakpoint(vcpu: *mut glue::kvm_vcpu, insn_len: u8) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.breakpoint(insn_len)) }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`]; `value` points to the value that the guest writes.
    fn kvmi_rs_cr(
        vcpu: *mut glue::kvm_vcpu,
        cr: u8,
        old_value: u64,
        value: *mut u64,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe {
            let new = *value;

            ask(vcpu, Some(&mut *value), |site| site.cr(cr, old_value, new))
        }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_xsetbv(
        vcpu: *mut glue::kvm_vcpu,
        old_value: u64,
        value: u64,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.xsetbv(old_value, value)) }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_descriptor(
        vcpu: *mut glue::kvm_vcpu,
        descriptor: u8,
        write: bool,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.descriptor(descriptor, write)) }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`]; `value` points to the value that the guest writes.
    fn kvmi_rs_msr(
        vcpu: *mut glue::kvm_vcpu,
        msr: u32,
        old_value: u64,
        value: *mut u64,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe {
            let new = *value;

            ask(vcpu, Some(&mut *value), |site| {
                site.msr(msr, old_value, new)
            })
        }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_pf(
        vcpu: *mut glue::kvm_vcpu,
        gva: u64,
        gpa: u64,
        access: u8,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.pf(gva, gpa, access)) }
    }
}

export! {
    /// # Safety
    ///
    /// See [`ask()`].
    fn kvmi_rs_cpuid(
        vcpu: *mut glue::kvm_vcpu,
        function: u32,
        index: u32,
        insn_len: u8,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { ask(vcpu, None, |site| site.cpuid(function, index, insn_len)) }
    }
}
