// SPDX-License-Identifier: GPL-2.0

//! A vCPU, seen from its own thread.

use super::glue;
use core::{marker::PhantomData, ptr::NonNull};
use glue::{kvm_regs, kvm_sregs, kvmi_vcpu_event_arch_msrs, kvmi_vcpu_get_cpuid_reply};
use kernel::{prelude::*, types::NotThreadSafe};
use zerocopy::FromZeros;

/// The index of a vCPU, in the order of creation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VcpuIndex(pub(crate) u16);

/// The index, if it is below `size`, for speculation too.
pub(crate) fn clamp(index: usize, size: usize) -> Option<usize> {
    // SAFETY: No requirements.
    (index < size).then(|| unsafe { glue::kvmi_index_nospec(index, size) })
}

/// A vCPU in the hands of its own thread, inside `KVM_RUN` and outside of the guest.
///
/// # Invariants
///
/// The pointer is to the vCPU that the calling thread runs; its state is loaded and `kvm->srcu`
/// is held.
pub(crate) struct RunningVcpu<'a> {
    vcpu: NonNull<glue::kvm_vcpu>,
    _life: PhantomData<&'a ()>,
    _task: NotThreadSafe,
}

impl RunningVcpu<'_> {
    /// # Safety
    ///
    /// See the type invariant.
    pub(crate) unsafe fn from_raw(vcpu: NonNull<glue::kvm_vcpu>) -> Self {
        // INVARIANT: By the requirement above.
        Self {
            vcpu,
            _life: PhantomData,
            _task: NotThreadSafe,
        }
    }

    pub(crate) fn as_ptr(&self) -> *mut glue::kvm_vcpu {
        self.vcpu.as_ptr()
    }

    /// Its index, if it fits the wire: KVM has at most 4096 vCPUs.
    pub(crate) fn index(&self) -> Option<VcpuIndex> {
        // SAFETY: By the type invariant; so below.
        let index = unsafe { glue::kvmi_vcpu_index(self.as_ptr()) };

        u16::try_from(index).ok().map(VcpuIndex)
    }

    /// Come back here before the guest is entered.
    pub(crate) fn request(&self) {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_request(self.as_ptr()) }
    }

    /// Has it got INIT, and is it about to act on it?
    pub(crate) fn has_init(&self) -> bool {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_has_init(self.as_ptr()) }
    }

    /// The frequency of the guest's TSC in Hz; 0 where it cannot be scaled.
    pub(crate) fn tsc_hz(&self) -> u64 {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_tsc_hz(self.as_ptr()) }
    }

    /// General registers.
    pub(crate) fn regs(&self) -> kvm_regs {
        let mut regs = kvm_regs::new_zeroed();

        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_get_regs(self.as_ptr(), &mut regs) };
        regs
    }

    /// Writes the general registers; pending exceptions stay.
    pub(crate) fn set_regs(&self, regs: &kvm_regs) {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_set_regs(self.as_ptr(), regs) }
    }

    /// Special registers.
    pub(crate) fn sregs(&self) -> kvm_sregs {
        let mut sregs = kvm_sregs::new_zeroed();

        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_get_sregs(self.as_ptr(), &mut sregs) };
        sregs
    }

    /// The size of an address in the current code segment: 2, 4 or 8 bytes.
    pub(crate) fn mode(&self) -> u8 {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_mode(self.as_ptr()) }
    }

    /// Reads an MSR as the host may; `EINVAL`: there is none.
    pub(crate) fn msr(&self, index: u32) -> Result<u64> {
        let mut data = 0;

        // SAFETY: See `index()`.
        kernel::error::to_result(unsafe {
            glue::kvmi_vcpu_get_msr(self.as_ptr(), index, &mut data)
        })?;
        Ok(data)
    }

    /// The MSRs that every event carries.
    pub(crate) fn event_msrs(&self) -> kvmi_vcpu_event_arch_msrs {
        let mut msrs = kvmi_vcpu_event_arch_msrs::new_zeroed();

        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_get_event_msrs(self.as_ptr(), &mut msrs) };
        msrs
    }

    /// A leaf of the guest's CPUID table.
    pub(crate) fn cpuid(&self, function: u32, index: u32) -> Option<kvmi_vcpu_get_cpuid_reply> {
        let mut reply = kvmi_vcpu_get_cpuid_reply::new_zeroed();

        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_get_cpuid(self.as_ptr(), function, index, &mut reply) }
            .then_some(reply)
    }

    /// The guest's XCR0.
    pub(crate) fn xcr0(&self) -> u64 {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_xcr0(self.as_ptr()) }
    }

    /// Where the current page tables put an address; all ones: nowhere.
    pub(crate) fn translate(&self, gva: u64) -> u64 {
        // SAFETY: See `index()`.
        unsafe { glue::kvmi_vcpu_translate(self.as_ptr(), gva) }
    }
}
