// SPDX-License-Identifier: GPL-2.0

//! A vCPU, seen from its own thread.

use super::glue;
use core::{marker::PhantomData, ptr::NonNull};
use glue::{kvm_regs, kvm_sregs, kvmi_vcpu_event_arch_msrs, kvmi_vcpu_get_cpuid_reply};
use kernel::{error::to_result, prelude::*, types::NotThreadSafe};
use zerocopy::FromZeros;

/// Bytes of `struct kvm_xsave`.
pub(crate) const XSAVE: usize = 4096;

/// The index of a vCPU, in the order of creation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct VcpuIndex(pub(crate) u16);

/// The index, if it is below `size`, for speculation too.
pub(crate) fn clamp(index: usize, size: usize) -> Option<usize> {
    // SAFETY: No requirements.
    (index < size).then(|| unsafe { glue::kvmi_index_nospec(index, size) })
}

/// A vCPU whose mutex the calling thread holds.
///
/// # Invariants
///
/// The pointer is to such a vCPU, for as long as `'a`.
pub(crate) struct LockedVcpu<'a> {
    vcpu: NonNull<glue::kvm_vcpu>,
    _life: PhantomData<&'a ()>,
    _task: NotThreadSafe,
}

impl LockedVcpu<'_> {
    /// # Safety
    ///
    /// The calling thread holds the vCPU's mutex until the value is dropped.
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
        // SAFETY: The vCPU is valid by the type invariant.
        let index = unsafe { glue::kvmi_vcpu_index(self.as_ptr()) };

        u16::try_from(index).ok().map(VcpuIndex)
    }

    /// Forgets what was under way: what was granted and held, and an injection that the guest has
    /// not got.  False: the guest has got it.
    pub(crate) fn forget(&self) -> bool {
        // SAFETY: The vCPU is valid and its mutex is held, by the type invariant; its registers are not
        // touched.
        unsafe { glue::kvmi_vcpu_forget(self.as_ptr()) }
    }
}

/// A vCPU in the hands of its own thread, inside `KVM_RUN` and outside of the guest.
///
/// # Invariants
///
/// The vCPU's state is loaded, and `kvm->srcu` is held.
pub(crate) struct RunningVcpu<'a>(LockedVcpu<'a>);

impl<'a> core::ops::Deref for RunningVcpu<'a> {
    type Target = LockedVcpu<'a>;

    fn deref(&self) -> &LockedVcpu<'a> {
        &self.0
    }
}

impl RunningVcpu<'_> {
    /// # Safety
    ///
    /// The calling thread runs the vCPU, with its state loaded and `kvm->srcu` held, until the
    /// value is dropped.
    pub(crate) unsafe fn from_raw(vcpu: NonNull<glue::kvm_vcpu>) -> Self {
        // SAFETY: Whoever runs a vCPU holds its mutex.
        // INVARIANT: By the requirement above.
        Self(unsafe { LockedVcpu::from_raw(vcpu) })
    }

    /// Come back here before the guest is entered.
    pub(crate) fn request(&self) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_request(self.as_ptr()) }
    }

    /// Returns whether it must leave `KVM_RUN`: because of a signal, or because the VMM says so in
    /// `immediate_exit`.
    pub(crate) fn is_cut(&self) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_is_cut(self.as_ptr()) }
    }

    /// Has it got INIT, and is it about to act on it?
    pub(crate) fn has_init(&self) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_has_init(self.as_ptr()) }
    }

    /// The frequency of the guest's TSC in Hz; 0 where it cannot be scaled.
    pub(crate) fn tsc_hz(&self) -> u64 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_tsc_hz(self.as_ptr()) }
    }

    /// General registers.
    pub(crate) fn regs(&self) -> kvm_regs {
        let mut regs = kvm_regs::new_zeroed();

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_get_regs(self.as_ptr(), &mut regs) };
        regs
    }

    /// Writes the general registers; pending exceptions stay.
    pub(crate) fn set_regs(&self, regs: &kvm_regs) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_set_regs(self.as_ptr(), regs) }
    }

    /// Special registers.
    pub(crate) fn sregs(&self) -> kvm_sregs {
        let mut sregs = kvm_sregs::new_zeroed();

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_get_sregs(self.as_ptr(), &mut sregs) };
        sregs
    }

    /// The size of an address in the current code segment: 2, 4 or 8 bytes.
    pub(crate) fn mode(&self) -> u8 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_mode(self.as_ptr()) }
    }

    /// Reads an MSR as the host may; `EINVAL`: there is none.
    pub(crate) fn msr(&self, index: u32) -> Result<u64> {
        let mut data = 0;

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        to_result(unsafe { glue::kvmi_vcpu_get_msr(self.as_ptr(), index, &mut data) })?;
        Ok(data)
    }

    /// The MSRs that every event carries.
    pub(crate) fn event_msrs(&self) -> kvmi_vcpu_event_arch_msrs {
        let mut msrs = kvmi_vcpu_event_arch_msrs::new_zeroed();

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_get_event_msrs(self.as_ptr(), &mut msrs) };
        msrs
    }

    /// A leaf of the guest's CPUID table.
    pub(crate) fn cpuid(&self, function: u32, index: u32) -> Option<kvmi_vcpu_get_cpuid_reply> {
        let mut reply = kvmi_vcpu_get_cpuid_reply::new_zeroed();

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_get_cpuid(self.as_ptr(), function, index, &mut reply) }
            .then_some(reply)
    }

    /// The guest's XCR0.
    pub(crate) fn xcr0(&self) -> u64 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_xcr0(self.as_ptr()) }
    }

    /// Where the current page tables put an address; all ones: nowhere.  `EAGAIN`: the host has
    /// no page of one of them in memory.
    pub(crate) fn translate(&self, gva: u64) -> Result<u64> {
        let mut gpa = 0;

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant; `gpa` is written by the call only.
        to_result(unsafe { glue::kvmi_vcpu_translate(self.as_ptr(), gva, &mut gpa) })?;
        Ok(gpa)
    }

    /// The extended state, as `struct kvm_xsave`.  `EOPNOTSUPP`: it has more than fits.
    pub(crate) fn xsave(&self, area: &mut [u8; XSAVE]) -> Result {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant; the area is as large as the structure.
        to_result(unsafe { glue::kvmi_vcpu_get_xsave(self.as_ptr(), area.as_mut_ptr().cast()) })
    }

    /// Loads it.  `EINVAL`: KVM would not load that; `ENOMEM`; `EOPNOTSUPP` as above.
    pub(crate) fn set_xsave(&self, area: &[u8; XSAVE]) -> Result {
        // SAFETY: See `xsave()`.
        to_result(unsafe { glue::kvmi_vcpu_set_xsave(self.as_ptr(), area.as_ptr().cast()) })
    }

    /// The guest's MTRRs.
    pub(crate) fn mtrrs(&self) -> glue::kvmi_mtrrs {
        let mut mtrrs = glue::kvmi_mtrrs {
            variable: [0; 16],
            fixed: [0; 11],
            deftype: 0,
            present: 0,
            padding: [0; 7],
        };

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_get_mtrrs(self.as_ptr(), &mut mtrrs) };
        mtrrs
    }

    /// The instruction pointer.
    pub(crate) fn rip(&self) -> u64 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_rip(self.as_ptr()) }
    }

    /// The same with the base of the code segment.
    pub(crate) fn linear_rip(&self) -> u64 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_linear_rip(self.as_ptr()) }
    }

    /// CR3.
    pub(crate) fn cr3(&self) -> u64 {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_cr3(self.as_ptr()) }
    }

    /// Has hardware and KVM tell of an event, or no more.  `EOPNOTSUPP`: they cannot; `EBUSY`: the
    /// VMM has it, or it is so already; `ENOMEM`.
    pub(crate) fn want_event(&self, event: u16, want: bool) -> Result {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        to_result(unsafe { glue::kvmi_vcpu_want_event(self.as_ptr(), event, want) })
    }

    /// The same for writes to a control register, 0, 3 or 4.
    pub(crate) fn want_cr(&self, cr: u8, want: bool) -> Result {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        to_result(unsafe { glue::kvmi_vcpu_want_cr(self.as_ptr(), cr, want) })
    }

    /// The same for writes to an MSR.  `EINVAL`: none that can be watched; `EPERM`: the VMM filters
    /// it.
    pub(crate) fn want_msr(&self, msr: u32, want: bool) -> Result {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        to_result(unsafe { glue::kvmi_vcpu_want_msr(self.as_ptr(), msr, want) })
    }

    /// Steps through the guest from here on, or no more.  `EOPNOTSUPP`: the processor cannot;
    /// `EBUSY`: the VMM debugs the vCPU; `ENOMEM`.
    pub(crate) fn want_step(&self, want: bool) -> Result {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        to_result(unsafe { glue::kvmi_vcpu_want_step(self.as_ptr(), want) })
    }

    /// Is an instruction done that the tool has not been told of?  Asked once.
    pub(crate) fn take_step(&self) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_take_step(self.as_ptr()) }
    }

    /// Where an instruction wrote into a page table that may not be written, while the processor
    /// walked it.  Each is told once.
    pub(crate) fn take_written(&self) -> Option<u64> {
        let mut gpa = 0;
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant; `gpa` is written by the call only.
        let written = unsafe { glue::kvmi_vcpu_take_written(self.as_ptr(), &mut gpa) };

        written.then_some(gpa)
    }

    /// Gives back what an earlier session wanted.
    pub(crate) fn adopt(&self, owner: u64) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_adopt(self.as_ptr(), owner) }
    }

    /// What is wanted from now on is what this session wants.
    pub(crate) fn claim(&self, owner: u64) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_claim(self.as_ptr(), owner) }
    }

    /// Has the guest been entered with the exception that was queued last?
    pub(crate) fn was_injected(&self) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_was_injected(self.as_ptr()) }
    }

    /// The tool knows of it.
    pub(crate) fn told(&self) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_told(self.as_ptr()) }
    }

    /// A session is over: forgets what was under way, and gives back what was wanted unless that
    /// is kept.
    pub(crate) fn release(&self, keep: bool) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_release(self.as_ptr(), keep) }
    }

    /// Holds interrupts back until an answered event recurs, or no longer.
    pub(crate) fn hold(&self, hold: bool) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_hold(self.as_ptr(), hold) }
    }

    /// Has the guest run on from `rip` without the event that was held for?
    pub(crate) fn missed(&self, rip: u64) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_held(self.as_ptr(), rip) == glue::KVMI_HOLD_MISSED }
    }

    /// Did the tool move RIP in the event that is being concluded?
    pub(crate) fn note_moved(&self, moved: bool) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_note_moved(self.as_ptr(), moved) }
    }

    /// The next turn of the run loop ends with `KVM_EXIT_SHUTDOWN`.
    pub(crate) fn note_crash(&self) {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_note_crash(self.as_ptr()) }
    }

    /// Is it this turn?
    pub(crate) fn take_crash(&self) -> bool {
        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        unsafe { glue::kvmi_vcpu_take_crash(self.as_ptr()) }
    }

    /// Queues an exception for the next entry.  `Err`: what is injected in its place.
    pub(crate) fn inject(
        &self,
        wanted: &glue::kvmi_injection,
    ) -> core::result::Result<glue::kvmi_injection, glue::kvmi_injection> {
        let mut done = *wanted;

        // SAFETY: The vCPU is loaded and the caller's own, by the type invariant.
        if unsafe { glue::kvmi_vcpu_inject(self.as_ptr(), wanted, &mut done) } {
            Ok(done)
        } else {
            Err(done)
        }
    }
}
