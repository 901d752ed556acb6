// SPDX-License-Identifier: GPL-2.0

//! The door: what C calls.  Pointers become references here and nowhere else.

use super::{
    event::{x86::Site, Said},
    ioctl::Door,
    run::Verdict,
    sys::{
        glue,
        kvm::{RunningVcpu, Vm},
    },
};
use core::ptr::NonNull;
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
};

/// A signature that drifts from `glue.h` does not compile.
macro_rules! same_as_in_c {
    ($($name:ident),* $(,)?) => {
        $(const _: () = { if true { glue::$name } else { $name }; };)*
    };
}

same_as_in_c! {
    kvmi_rs_create_vm, kvmi_rs_pre_destroy_vm, kvmi_rs_destroy_vm, kvmi_rs_mm_release,
    kvmi_rs_vcpu_postcreate, kvmi_rs_protect_vm, kvmi_rs_hook, kvmi_rs_unhook,
    kvmi_rs_allow_command, kvmi_rs_allow_event, kvmi_rs_preunhook, kvmi_rs_status,
    kvmi_rs_handle_requests, kvmi_rs_state_written, kvmi_rs_hears, kvmi_rs_hypercall, kvmi_rs_breakpoint,
    kvmi_rs_cr, kvmi_rs_xsetbv, kvmi_rs_descriptor, kvmi_rs_msr, kvmi_rs_cpuid, kvmi_rs_pf,
}

/// The door of a VM, if it has one: a VM that is half made or half gone has none.
///
/// # Safety
///
/// `kvm` is a VM that the caller keeps, and `kvmi_rs_destroy_vm()` does not run meanwhile.
unsafe fn door<'a>(kvm: *mut glue::kvm) -> Option<&'a Door> {
    // SAFETY: By the requirement above; the pointer is ours, see `kvmi_rs_create_vm()`.
    unsafe { glue::kvmi_vm_private(kvm).cast::<Door>().as_ref() }
}

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Calls `f` with the door of a VM; `EPERM`: it has none.
///
/// # Safety
///
/// See [`door()`].
unsafe fn at_door(kvm: *mut glue::kvm, f: impl FnOnce(&Door) -> Result) -> c_int {
    // SAFETY: As required.
    errno(unsafe { door(kvm) }.ok_or(EPERM).and_then(f))
}

/// # Safety
///
/// `kvm` is a VM that is being created.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_create_vm(kvm: *mut glue::kvm) -> c_int {
    let Some(raw) = NonNull::new(kvm) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The door is dropped before the VM is.
    let vm = unsafe { Vm::from_raw(raw) };

    match KBox::pin_init(Door::new(vm), GFP_KERNEL_ACCOUNT) {
        Ok(door) => {
            // SAFETY: The door is not moved, and not freed before `kvmi_rs_destroy_vm()`.
            let door = KBox::into_raw(unsafe { Pin::into_inner_unchecked(door) });

            // SAFETY: `kvm` is valid.
            unsafe { glue::kvmi_vm_set_private(kvm, door.cast::<c_void>()) };
            0
        }
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// `kvm` is a VM whose vCPUs nobody runs any more.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_pre_destroy_vm(kvm: *mut glue::kvm) {
    // SAFETY: As required.
    if let Some(door) = unsafe { door(kvm) } {
        door.close();
    }
}

/// # Safety
///
/// `kvm` is a VM that nobody else uses any more.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_destroy_vm(kvm: *mut glue::kvm) {
    // SAFETY: As required.
    let door = unsafe { glue::kvmi_vm_private(kvm) }.cast::<Door>();

    // SAFETY: As required.
    unsafe { glue::kvmi_vm_set_private(kvm, core::ptr::null_mut()) };
    if !door.is_null() {
        // SAFETY: It came from `KBox::into_raw()`, and nobody uses it any more.
        drop(unsafe { Pin::new_unchecked(KBox::from_raw(door)) });
    }
}

/// # Safety
///
/// `kvm` is a VM whose address space is going away.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_mm_release(kvm: *mut glue::kvm) {
    // SAFETY: As required; the notifier is unregistered before the VM is destroyed.
    if let Some(session) = unsafe { door(kvm) }.and_then(Door::session) {
        session.die();
    }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_vcpu_postcreate(kvm: *mut glue::kvm) -> c_int {
    // SAFETY: As required.
    match unsafe { door(kvm) }.and_then(Door::session) {
        Some(session) => errno(session.add_vcpus()),
        None => 0,
    }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_protect_vm(kvm: *mut glue::kvm) -> c_int {
    // SAFETY: As required.
    unsafe { door(kvm) }.map_or(0, |door| errno(door.refuse()))
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps, `hook` points to a structure.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_hook(
    kvm: *mut glue::kvm,
    hook: *const glue::kvm_introspection_hook,
    foreign: bool,
) -> c_int {
    // SAFETY: As required.
    unsafe { at_door(kvm, |door| door.hook(&*hook, foreign)) }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_unhook(kvm: *mut glue::kvm, foreign: bool) -> c_int {
    // SAFETY: As required.
    unsafe { at_door(kvm, |door| door.unhook(foreign)) }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps, `feature` points to a structure.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_allow_command(
    kvm: *mut glue::kvm,
    feature: *const glue::kvm_introspection_feature,
    foreign: bool,
) -> c_int {
    // SAFETY: As required.
    unsafe { at_door(kvm, |door| door.allow_command(&*feature, foreign)) }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps, `feature` points to a structure.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_allow_event(
    kvm: *mut glue::kvm,
    feature: *const glue::kvm_introspection_feature,
    foreign: bool,
) -> c_int {
    // SAFETY: As required.
    unsafe { at_door(kvm, |door| door.allow_event(&*feature, foreign)) }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_preunhook(kvm: *mut glue::kvm) -> c_int {
    // SAFETY: As required.
    unsafe { at_door(kvm, Door::preunhook) }
}

/// # Safety
///
/// `kvm` is a VM that the caller keeps, `status` points to a zeroed structure.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_status(kvm: *mut glue::kvm, status: *mut glue::kvmi_status) {
    // SAFETY: As required.
    if let (Some(door), status) = unsafe { (door(kvm), &mut *status) } {
        door.status(status);
    }
}

/// Calls `f` with the vCPU and the door of its VM.
///
/// # Safety
///
/// `vcpu` is a vCPU whose mutex the calling thread holds.
unsafe fn with_vcpu<R>(
    vcpu: *mut glue::kvm_vcpu,
    f: impl FnOnce(&Door, &RunningVcpu<'_>) -> R,
) -> Option<R> {
    let raw = NonNull::new(vcpu)?;
    // SAFETY: As required.
    let here = unsafe { RunningVcpu::from_raw(raw) };
    // SAFETY: The vCPU keeps its VM.
    let door = unsafe { door(glue::kvmi_vcpu_vm(vcpu)) }?;

    Some(f(door, &here))
}

/// # Safety
///
/// `vcpu` is the vCPU that the calling thread runs, with its state loaded and `kvm->srcu` held.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_handle_requests(vcpu: *mut glue::kvm_vcpu) -> c_int {
    // SAFETY: As required.
    let verdict = unsafe { with_vcpu(vcpu, |door, here| door.run_vcpu(here)) };

    match verdict {
        None | Some(Verdict::Continue) => 1,
        Some(Verdict::Crash) => {
            // SAFETY: As required.
            unsafe { glue::kvmi_vcpu_exit_shutdown(vcpu) };
            0
        }
        Some(Verdict::Interrupted) => {
            // SAFETY: As required.
            unsafe { glue::kvmi_vcpu_exit_intr(vcpu) };
            EINTR.to_errno()
        }
    }
}

/// # Safety
///
/// `vcpu` is a vCPU whose mutex the calling thread holds.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_state_written(vcpu: *mut glue::kvm_vcpu) {
    // SAFETY: As required; the registers of the vCPU are not touched.
    let _ = unsafe { with_vcpu(vcpu, Door::state_written) };
}

/// # Safety
///
/// `vcpu` is a vCPU whose mutex the calling thread holds.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_hears(vcpu: *mut glue::kvm_vcpu, event: u16) -> bool {
    // SAFETY: As required; only the index of the vCPU is read.
    unsafe { with_vcpu(vcpu, |door, here| door.hears(here, event)) }.unwrap_or(false)
}

/// # Safety
///
/// `vcpu` is a vCPU whose mutex the calling thread holds.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_lives(vcpu: *mut glue::kvm_vcpu) -> bool {
    // SAFETY: As required.
    unsafe { with_vcpu(vcpu, |door, _| door.lives()) }.unwrap_or(false)
}

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
    // SAFETY: As required.
    let said = unsafe { with_vcpu(vcpu, |door, here| door.ask(here, ask)) };
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

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_hypercall(vcpu: *mut glue::kvm_vcpu) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.hypercall()) }
}

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_breakpoint(vcpu: *mut glue::kvm_vcpu, insn_len: u8) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.breakpoint(insn_len)) }
}

/// # Safety
///
/// See [`ask()`]; `value` points to the value that the guest writes.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_cr(
    vcpu: *mut glue::kvm_vcpu,
    cr: u8,
    old_value: u64,
    value: *mut u64,
) -> c_int {
    // SAFETY: As required.
    unsafe {
        let new = *value;

        ask(vcpu, Some(&mut *value), |site| site.cr(cr, old_value, new))
    }
}

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_xsetbv(
    vcpu: *mut glue::kvm_vcpu,
    old_value: u64,
    value: u64,
) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.xsetbv(old_value, value)) }
}

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_descriptor(
    vcpu: *mut glue::kvm_vcpu,
    descriptor: u8,
    write: bool,
) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.descriptor(descriptor, write)) }
}

/// # Safety
///
/// See [`ask()`]; `value` points to the value that the guest writes.
#[no_mangle]
unsafe extern "C" fn kvmi_rs_msr(
    vcpu: *mut glue::kvm_vcpu,
    msr: u32,
    old_value: u64,
    value: *mut u64,
) -> c_int {
    // SAFETY: As required.
    unsafe {
        let new = *value;

        ask(vcpu, Some(&mut *value), |site| {
            site.msr(msr, old_value, new)
        })
    }
}

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_pf(
    vcpu: *mut glue::kvm_vcpu,
    gva: u64,
    gpa: u64,
    access: u8,
) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.pf(gva, gpa, access)) }
}

/// # Safety
///
/// See [`ask()`].
#[no_mangle]
unsafe extern "C" fn kvmi_rs_cpuid(
    vcpu: *mut glue::kvm_vcpu,
    function: u32,
    index: u32,
    insn_len: u8,
) -> c_int {
    // SAFETY: As required.
    unsafe { ask(vcpu, None, |site| site.cpuid(function, index, insn_len)) }
}
