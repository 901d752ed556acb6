// SPDX-License-Identifier: GPL-2.0

//! The door: what C calls.  Pointers become references here and nowhere else.

use super::{
    ioctl::Door,
    run::Verdict,
    sys::{
        glue,
        kvm::{LockedVcpu, RunningVcpu, Vm},
    },
};
use core::ptr::NonNull;
use kernel::{
    ffi::{c_int, c_void},
    prelude::*,
};

/// Exports functions to C, each with the signature that `glue.h` declares: one that drifts, or that
/// is not declared there, does not compile.
macro_rules! export {
    ($(
        $(#[$doc:meta])*
        fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$doc])*
        #[no_mangle]
        unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? $body

        const _: () = { if true { glue::$name } else { $name }; };
    )*};
}

mod event;

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
    // SAFETY: By the requirement above, which is C's to keep.
    errno(unsafe { door(kvm) }.ok_or(EPERM).and_then(f))
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that is being created.
    fn kvmi_rs_create_vm(kvm: *mut glue::kvm) -> c_int {
        let Some(raw) = NonNull::new(kvm) else {
            return EINVAL.to_errno();
        };
        // SAFETY: The door is dropped before the VM is.
        let vm = unsafe { Vm::from_raw(raw) };

        match Door::new(vm) {
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
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM whose vCPUs nobody runs any more.
    fn kvmi_rs_pre_destroy_vm(kvm: *mut glue::kvm) {
        // SAFETY: By the requirement above, which is C's to keep.
        if let Some(door) = unsafe { door(kvm) } {
            door.close();
        }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that nobody else uses any more.
    fn kvmi_rs_destroy_vm(kvm: *mut glue::kvm) {
        // SAFETY: By the requirement above, which is C's to keep.
        let door = unsafe { glue::kvmi_vm_private(kvm) }.cast::<Door>();

        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { glue::kvmi_vm_set_private(kvm, core::ptr::null_mut()) };
        if !door.is_null() {
            // SAFETY: It came from `KBox::into_raw()`, and nobody uses it any more.
            drop(unsafe { Pin::new_unchecked(KBox::from_raw(door)) });
        }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM whose address space is going away.
    fn kvmi_rs_mm_release(kvm: *mut glue::kvm) {
        // SAFETY: The caller keeps the VM: the notifier is unregistered before it is destroyed.
        if let Some(door) = unsafe { door(kvm) } {
            door.mm_release();
        }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps.
    fn kvmi_rs_vcpu_postcreate(kvm: *mut glue::kvm) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        match unsafe { door(kvm) }.and_then(Door::session) {
            Some(session) => errno(session.add_vcpus()),
            None => 0,
        }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps.
    fn kvmi_rs_protect_vm(kvm: *mut glue::kvm) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { door(kvm) }.map_or(0, |door| errno(door.refuse()))
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps, `hook` points to a structure.
    fn kvmi_rs_hook(
        kvm: *mut glue::kvm,
        hook: *const glue::kvm_introspection_hook,
        foreign: bool,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { at_door(kvm, |door| door.hook(&*hook, foreign)) }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps.
    fn kvmi_rs_unhook(kvm: *mut glue::kvm, foreign: bool) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { at_door(kvm, |door| door.unhook(foreign)) }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps, `feature` points to a structure.
    fn kvmi_rs_allow_command(
        kvm: *mut glue::kvm,
        feature: *const glue::kvm_introspection_feature,
        foreign: bool,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { at_door(kvm, |door| door.allow_command(&*feature, foreign)) }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps, `feature` points to a structure.
    fn kvmi_rs_allow_event(
        kvm: *mut glue::kvm,
        feature: *const glue::kvm_introspection_feature,
        foreign: bool,
    ) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { at_door(kvm, |door| door.allow_event(&*feature, foreign)) }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps.
    fn kvmi_rs_preunhook(kvm: *mut glue::kvm) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { at_door(kvm, Door::preunhook) }
    }
}

export! {
    /// # Safety
    ///
    /// `kvm` is a VM that the caller keeps, `status` points to a zeroed structure.
    fn kvmi_rs_status(kvm: *mut glue::kvm, status: *mut glue::kvmi_status) {
        // SAFETY: By the requirement above, which is C's to keep.
        if let (Some(door), status) = unsafe { (door(kvm), &mut *status) } {
            door.status(status);
        }
    }
}

/// Calls `f` with the vCPU and the door of its VM.
///
/// # Safety
///
/// `vcpu` is a vCPU whose mutex the calling thread holds.
unsafe fn with_locked<R>(
    vcpu: *mut glue::kvm_vcpu,
    f: impl FnOnce(&Door, &LockedVcpu<'_>) -> R,
) -> Option<R> {
    let raw = NonNull::new(vcpu)?;
    // SAFETY: The caller holds the mutex until this returns, by the requirement above.
    let locked = unsafe { LockedVcpu::from_raw(raw) };
    // SAFETY: The vCPU keeps its VM, and a VM with a vCPU is not being destroyed.
    let door = unsafe { door(glue::kvmi_vcpu_vm(vcpu)) }?;

    Some(f(door, &locked))
}

/// Calls `f` with the vCPU and the door of its VM.
///
/// # Safety
///
/// `vcpu` is the vCPU that the calling thread runs, with its state loaded and `kvm->srcu` held.
unsafe fn with_running<R>(
    vcpu: *mut glue::kvm_vcpu,
    f: impl FnOnce(&Door, &RunningVcpu<'_>) -> R,
) -> Option<R> {
    let raw = NonNull::new(vcpu)?;
    // SAFETY: The caller runs the vCPU until this returns, by the requirement above.
    let here = unsafe { RunningVcpu::from_raw(raw) };
    // SAFETY: The vCPU keeps its VM, and a VM with a vCPU is not being destroyed.
    let door = unsafe { door(glue::kvmi_vcpu_vm(vcpu)) }?;

    Some(f(door, &here))
}

export! {
    /// # Safety
    ///
    /// `vcpu` is the vCPU that the calling thread runs, with its state loaded and `kvm->srcu` held.
    fn kvmi_rs_handle_requests(vcpu: *mut glue::kvm_vcpu) -> c_int {
        // SAFETY: By the requirement above, which is C's to keep.
        let verdict = unsafe { with_running(vcpu, |door, here| door.run_vcpu(here)) };

        match verdict {
            None | Some(Verdict::Continue) => 1,
            Some(Verdict::Crash) => {
                // SAFETY: By the requirement above, which is C's to keep.
                unsafe { glue::kvmi_vcpu_exit_shutdown(vcpu) };
                0
            }
            Some(Verdict::Interrupted) => {
                // SAFETY: By the requirement above, which is C's to keep.
                unsafe { glue::kvmi_vcpu_exit_intr(vcpu) };
                EINTR.to_errno()
            }
        }
    }
}

export! {
    /// # Safety
    ///
    /// `vcpu` is a vCPU whose mutex the calling thread holds.
    fn kvmi_rs_state_written(vcpu: *mut glue::kvm_vcpu) {
        // SAFETY: The caller holds the vCPU's mutex, by the requirement above.
        let _ = unsafe { with_locked(vcpu, Door::state_written) };
    }
}

export! {
    /// # Safety
    ///
    /// `vcpu` is a vCPU whose mutex the calling thread holds.
    fn kvmi_rs_hears(vcpu: *mut glue::kvm_vcpu, event: u16) -> bool {
        // SAFETY: The caller holds the vCPU's mutex, by the requirement above.
        unsafe { with_locked(vcpu, |door, vcpu| door.hears(vcpu, event)) }.unwrap_or(false)
    }
}

export! {
    /// Returns whether a session lives; a dead one has ended behind this.
    ///
    /// # Safety
    ///
    /// `vcpu` is a vCPU whose mutex the calling thread holds.
    fn kvmi_rs_end_if_dead(vcpu: *mut glue::kvm_vcpu) -> bool {
        // SAFETY: The caller holds the vCPU's mutex, by the requirement above.
        unsafe { with_locked(vcpu, |door, _| door.end_if_dead()) }.unwrap_or(false)
    }
}

export! {
    /// # Safety
    ///
    /// `vcpu` is a vCPU whose mutex the calling thread holds.
    fn kvmi_rs_lives(vcpu: *mut glue::kvm_vcpu) -> bool {
        // SAFETY: By the requirement above, which is C's to keep.
        unsafe { with_locked(vcpu, |door, _| door.lives()) }.unwrap_or(false)
    }
}
