// SPDX-License-Identifier: GPL-2.0

//! Charging memory to a VM.

use super::glue;
use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

/// The memory cgroup of a VM, or none where there is none.
///
/// # Invariants
///
/// The pointer is null or holds a reference.
pub(crate) struct Memcg(*mut glue::mem_cgroup);

// SAFETY: A reference to a cgroup may be used and put anywhere.
unsafe impl Send for Memcg {}
// SAFETY: As above.
unsafe impl Sync for Memcg {}

/// While this lives, accounted allocations of this task are charged to the VM.
pub(crate) struct Charge<'a> {
    old: *mut glue::mem_cgroup,
    _memcg: PhantomData<&'a Memcg>,
    _task: NotThreadSafe,
}

impl Memcg {
    /// # Safety
    ///
    /// The pointer is null or holds a reference that becomes ours.
    pub(super) unsafe fn from_raw(raw: *mut glue::mem_cgroup) -> Self {
        // INVARIANT: By the requirement above.
        Self(raw)
    }

    /// Charges what this task allocates to the VM, until the result is dropped.
    pub(crate) fn charge(&self) -> Charge<'_> {
        Charge {
            // SAFETY: By the type invariant, and `Charge` borrows it.
            old: unsafe { glue::kvmi_memcg_enter(self.0) },
            _memcg: PhantomData,
            _task: NotThreadSafe,
        }
    }
}

impl Clone for Memcg {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant.
        // INVARIANT: The call takes a reference for us.
        Self(unsafe { glue::kvmi_memcg_get(self.0) })
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { glue::kvmi_memcg_put(self.0) }
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        // SAFETY: What was active before outlives us: guards nest.
        unsafe { glue::kvmi_memcg_leave(self.old) }
    }
}
