// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that share a value with whoever started them.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use super::glue;
use core::ptr::NonNull;
use kernel::{ffi::c_void, prelude::*, sync::Arc};

/// What a kernel thread does.
pub(crate) trait ThreadBody: Send + Sync + 'static {
    /// Runs until it is done or until [`should_stop()`] says so.
    fn run(&self);
}

/// Has somebody asked the calling kernel thread to end?
pub(crate) fn should_stop() -> bool {
    // SAFETY: Called from a kernel thread, see `trampoline()`, or harmlessly from another task.
    unsafe { glue::kvmi_thread_should_stop() }
}

/// A kernel thread.  Dropping it asks the thread to end and waits until it has.
///
/// # Invariants
///
/// `task` is a kernel thread that holds a reference for us, and `_body` outlives it.
pub(crate) struct KThread<T: ThreadBody> {
    task: NonNull<glue::task_struct>,
    _body: Arc<T>,
}

// SAFETY: A task may be stopped from any thread, and the body is shared already.
unsafe impl<T: ThreadBody> Send for KThread<T> {}

impl<T: ThreadBody> KThread<T> {
    /// Starts a thread on behalf of the VM of process `vm_pid`.
    pub(crate) fn start(body: Arc<T>, vm_pid: i32) -> Result<Self> {
        let data = (&raw const *body).cast_mut().cast::<c_void>();
        // SAFETY: `trampoline` gets a pointer to a `T` that lives as long as the thread: the
        // `KThread` holds it until the thread has ended.
        let task = unsafe { glue::kvmi_thread_start(Some(trampoline::<T>), data, vm_pid) };
        let task = NonNull::new(task).ok_or(ENOMEM)?;

        // INVARIANT: `kvmi_thread_start()` took a reference for us.
        Ok(Self { task, _body: body })
    }
}

impl<T: ThreadBody> Drop for KThread<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the task is ours to stop, once; this puts the reference.
        unsafe { glue::kvmi_thread_stop(self.task.as_ptr()) }
    }
}

/// # Safety
///
/// `data` points to a `T` that lives until this returns.
unsafe extern "C" fn trampoline<T: ThreadBody>(data: *mut c_void) -> kernel::ffi::c_int {
    // SAFETY: By the requirement above.
    let body = unsafe { &*data.cast::<T>() };

    body.run();
    0
}
