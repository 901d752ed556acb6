// SPDX-License-Identifier: GPL-2.0

//! A VM, seen from anywhere.

use super::{glue, Memcg, VcpuIndex};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A guest physical address.
#[derive(Clone, Copy)]
pub(crate) struct GuestPhysical(pub(crate) u64);

/// A VM.
///
/// # Invariants
///
/// The pointer is to a `struct kvm` that outlives every use of this value: whoever holds one is
/// a task inside an ioctl of the VM, or is stopped before the VM is destroyed.
#[derive(Clone, Copy)]
pub(crate) struct Vm(NonNull<glue::kvm>);

// SAFETY: What is called on it is callable from any task.
unsafe impl Send for Vm {}
// SAFETY: As above.
unsafe impl Sync for Vm {}

impl Vm {
    /// # Safety
    ///
    /// See the type invariant.
    pub(crate) unsafe fn from_raw(kvm: NonNull<glue::kvm>) -> Self {
        // INVARIANT: By the requirement above.
        Self(kvm)
    }

    pub(super) fn as_ptr(&self) -> *mut glue::kvm {
        self.0.as_ptr()
    }

    /// How many vCPUs are online; it never falls.
    pub(crate) fn vcpu_count(&self) -> u32 {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_vcpu_count(self.as_ptr()) }
    }

    /// Are its memory or registers out of the host's sight?
    pub(crate) fn is_protected(&self) -> bool {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_is_protected(self.as_ptr()) }
    }

    /// Notes what a frame allows; it counts once it is applied.  `EINVAL`: no memory is there, or
    /// nothing can express it; `EOPNOTSUPP`: the hardware cannot; `ENOMEM`.
    pub(crate) fn set_access(&self, gfn: u64, access: u8) -> Result {
        // SAFETY: The VM is valid by the type invariant.
        kernel::error::to_result(unsafe { glue::kvmi_vm_set_access(self.as_ptr(), gfn, access) })
    }

    /// Has what was noted for these frames count.
    pub(crate) fn apply_access(&self, gfns: &[u64]) {
        let nr = u32::try_from(gfns.len()).unwrap_or(0);

        // SAFETY: The VM is valid by the type invariant; the pointer is to that many frames.
        unsafe { glue::kvmi_vm_apply_access(self.as_ptr(), gfns.as_ptr(), nr) }
    }

    /// Restricts nothing any more, whatever a session left.
    pub(crate) fn release_access(&self) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_release_access(self.as_ptr()) }
    }

    /// Leaves the restrictions of a session that died, or none of them: `KVMI_ON_EXIT_*`.
    pub(crate) fn leave_access(&self, on_exit: u32) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_leave_access(self.as_ptr(), on_exit) }
    }

    /// Takes over what another session left.
    pub(crate) fn inherit_access(&self) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_inherit_access(self.as_ptr()) }
    }

    /// Returns whether there are restrictions that a session left.
    pub(crate) fn is_frozen(&self) -> bool {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_is_frozen(self.as_ptr()) }
    }

    /// The highest guest frame number that a user memory slot backs.
    pub(crate) fn max_gfn(&self) -> Option<u64> {
        let mut gfn = 0;

        // SAFETY: The VM is valid by the type invariant; `gfn` is a valid place.
        unsafe { glue::kvmi_vm_max_gfn(self.as_ptr(), &mut gfn) }.then_some(gfn)
    }

    /// Must a write to its memory come from one of its vCPUs, to be logged?
    pub(crate) fn needs_vcpu_to_write(&self) -> bool {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_needs_vcpu_to_write(self.as_ptr()) }
    }

    /// Reads `len` bytes within one page and appends them to `to`, which has room for them.
    /// `ENOENT`: no memory there; `EAGAIN`: the page is not resident; `ENOMEM`; `EINVAL`: no room.
    pub(crate) fn read(&self, gpa: GuestPhysical, len: usize, to: &mut KVec<u8>) -> Result {
        let room = to.spare_capacity_mut().get_mut(..len).ok_or(EINVAL)?;

        // SAFETY: The VM is valid by the type invariant; `room` is writable for its length.
        kernel::error::to_result(unsafe {
            glue::kvmi_vm_read(self.as_ptr(), gpa.0, room.as_mut_ptr().cast(), room.len())
        })?;
        // SAFETY: There is room for so many, and the call has written them all.
        unsafe { to.inc_len(len) };
        Ok(())
    }

    /// Writes within one page.  `ENOENT`: no writable memory there; `EAGAIN`: the page is not
    /// resident; `EBUSY`: the dirty ring of the vCPU has no room; `ENOMEM`.
    pub(crate) fn write(&self, gpa: GuestPhysical, data: &[u8]) -> Result {
        // SAFETY: The VM is valid by the type invariant; `data` is readable for its length.
        kernel::error::to_result(unsafe {
            glue::kvmi_vm_write(self.as_ptr(), gpa.0, data.as_ptr().cast(), data.len())
        })
    }

    /// Makes a vCPU look at its queue; with `wait`, returns when it has left the guest.
    pub(crate) fn kick(&self, vcpu: VcpuIndex, wait: bool) {
        // SAFETY: The VM is valid by the type invariant; an index out of range is ignored.
        unsafe { glue::kvmi_vm_kick(self.as_ptr(), vcpu.0.into(), wait) }
    }

    /// Makes every vCPU look whether its session is still there.
    pub(crate) fn kick_all(&self) {
        for index in 0..self.vcpu_count() {
            // SAFETY: The VM is valid by the type invariant; an index out of range is ignored.
            unsafe { glue::kvmi_vm_kick(self.as_ptr(), index, false) }
        }
    }

    /// Tracepoint `kvmi:kvmi_unhook`.
    pub(crate) fn trace_unhook(&self) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_trace_unhook(self.as_ptr()) }
    }

    /// Tracepoint `kvmi:kvmi_command`.
    pub(crate) fn trace_command(&self, header: &glue::kvmi_msg_hdr) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_trace_command(self.as_ptr(), header) }
    }

    /// Tracepoint `kvmi:kvmi_reply`.
    pub(crate) fn trace_reply(&self, header: &glue::kvmi_msg_hdr, err: i32) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_trace_reply(self.as_ptr(), header, err) }
    }

    /// Tracepoint `kvmi:kvmi_event`.
    pub(crate) fn trace_event(&self, vcpu: u32, event: u16, seq: u32) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_trace_event(self.as_ptr(), vcpu, event, seq) }
    }

    /// Tracepoint `kvmi:kvmi_event_reply`.
    pub(crate) fn trace_event_reply(&self, vcpu: u32, event: u8, seq: u32, action: u8) {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_trace_event_reply(self.as_ptr(), vcpu, event, seq, action) }
    }

    /// Has it an address space still?  A full barrier.
    pub(crate) fn has_mm(&self) -> bool {
        // SAFETY: The VM is valid by the type invariant.
        unsafe { glue::kvmi_vm_has_mm(self.as_ptr()) }
    }

    /// The memory cgroup that pays for the VM.
    pub(crate) fn memcg(&self) -> Memcg {
        // SAFETY: The VM is valid by the type invariant; the call returns a reference.
        unsafe { Memcg::from_raw(glue::kvmi_vm_memcg(self.as_ptr())) }
    }
}

/// Who handed a socket over.
///
/// # Invariants
///
/// `pid` holds a reference.
pub(crate) struct Hooker(glue::kvmi_hooker);

// SAFETY: Only the reference to the pid is a pointer, and that may be used anywhere.
unsafe impl Send for Hooker {}
// SAFETY: It is never changed.
unsafe impl Sync for Hooker {}

impl Hooker {
    /// The calling process.
    pub(crate) fn current(uuid: &[u8; 16], foreign: bool) -> Self {
        let mut hooker = glue::kvmi_hooker {
            pid: core::ptr::null_mut(),
            comm: [0; 16],
            uuid: [0; 16],
            foreign: foreign.into(),
        };

        // SAFETY: Both pointers are valid.
        unsafe { glue::kvmi_hooker_fill(&mut hooker, uuid.as_ptr(), foreign) };
        // INVARIANT: The call took the reference.
        Self(hooker)
    }

    /// Was it another process than the one that owns the VM?
    pub(crate) fn is_foreign(&self) -> bool {
        self.0.foreign != 0
    }

    /// Writes it down in the kernel log and the trace.
    pub(crate) fn announce(&self, vm: &Vm) {
        // SAFETY: Both are valid by their invariants.
        unsafe {
            glue::kvmi_log_hook(vm.as_ptr(), &self.0);
            glue::kvmi_trace_hook(vm.as_ptr(), &self.0);
        }
    }

    /// Copies it for C, which puts the reference.
    pub(crate) fn copy_to(&self, to: &mut glue::kvmi_hooker) {
        // SAFETY: Both are valid.
        unsafe { glue::kvmi_hooker_copy(to, &self.0) }
    }
}

impl Drop for Hooker {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { glue::kvmi_hooker_put(&mut self.0) }
    }
}

/// Can a guest be stepped through on this machine?
pub(crate) fn has_singlestep() -> bool {
    // SAFETY: It only reads what was found out when KVM was loaded.
    unsafe { glue::kvmi_has_singlestep() }
}
