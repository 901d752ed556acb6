// SPDX-License-Identifier: GPL-2.0

//! A wait queue of one's own.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::glue;
use core::ptr::NonNull;
use kernel::{ffi::c_void, prelude::*};

/// A wait queue head.
///
/// # Invariants
///
/// The pointer is to an initialised head that nobody else frees.
pub(crate) struct WaitQueue(NonNull<glue::wait_queue_head>);

// SAFETY: A wait queue has a lock of its own.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Makes an empty queue.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: No requirements.
        let head = unsafe { glue::kvmi_wait_alloc() };

        // INVARIANT: The head is initialised and ours.
        Ok(Self(NonNull::new(head).ok_or(ENOMEM)?))
    }

    /// Wakes whoever waits here.
    pub(crate) fn wake(&self) {
        // SAFETY: By the type invariant.
        unsafe { glue::kvmi_wait_wake(self.0.as_ptr()) }
    }

    pub(super) fn as_ptr(&self) -> *mut glue::wait_queue_head {
        self.0.as_ptr()
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody waits on a queue that is dropped, because waiting
        // borrows it.
        unsafe { glue::kvmi_wait_free(self.0.as_ptr()) }
    }
}

/// Calls the closure behind `data`.
///
/// # Safety
///
/// `data` points to an `F` that nobody else uses meanwhile.
pub(super) unsafe extern "C" fn call<F: FnMut() -> bool>(data: *mut c_void) -> bool {
    // SAFETY: By the requirement above.
    let f = unsafe { &mut *data.cast::<F>() };

    f()
}
