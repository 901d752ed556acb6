// SPDX-License-Identifier: GPL-2.0

//! Charging memory to a VM.

use super::glue;

/// The memory cgroup of a VM, or none where there is none.
///
/// # Invariants
///
/// The pointer is null or holds a reference.
pub(crate) struct Memcg(*mut glue::mem_cgroup);

// SAFETY: A reference to a cgroup may be used and put anywhere.
unsafe impl Send for Memcg {}
// SAFETY: The reference is only read, and the cgroup has locks of its own.
unsafe impl Sync for Memcg {}

impl Memcg {
    /// # Safety
    ///
    /// The pointer is null or holds a reference that becomes ours.
    pub(super) unsafe fn from_raw(raw: *mut glue::mem_cgroup) -> Self {
        // INVARIANT: By the requirement above.
        Self(raw)
    }

    /// Calls `f`; what this task allocates in it is charged to the VM.
    pub(crate) fn charge<R>(&self, f: impl FnOnce() -> R) -> R {
        // SAFETY: The pointer is valid by the type invariant for as long as `self` is borrowed,
        // which is until the second call.
        let old = unsafe { glue::kvmi_memcg_enter(self.0) };
        let result = f();

        // SAFETY: `old` was active when `f` began; whoever made it so waits for us to return.
        unsafe { glue::kvmi_memcg_leave(old) };
        result
    }
}

impl Clone for Memcg {
    fn clone(&self) -> Self {
        // SAFETY: The pointer is valid by the type invariant.
        // INVARIANT: The call takes a reference for the new value.
        Self(unsafe { glue::kvmi_memcg_get(self.0) })
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put, and it is put once.
        unsafe { glue::kvmi_memcg_put(self.0) }
    }
}
