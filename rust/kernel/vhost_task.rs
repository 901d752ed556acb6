// SPDX-License-Identifier: GPL-2.0

//! A thread of the process that creates a VM, which runs in the kernel.
//!
//! C header: [`include/linux/sched/vhost_task.h`](srctree/include/linux/sched/vhost_task.h)

use super::glue;
use core::ptr::NonNull;
use kernel::{
    ffi::{c_uint, c_void},
    prelude::*,
    sync::Arc,
};

/// What is left when a portion is done.
pub(crate) enum Work {
    /// Nothing: the task sleeps until it is woken.
    Idle,
    /// More of the same.
    More,
    /// Something that must be tried again in so many milliseconds, 2 at the least.
    Later(u16),
}

/// What a task does.
pub(crate) trait TaskBody: Send + Sync + 'static {
    /// Does one portion, and waits for nobody.  Runs in the task.
    fn turn(&self) -> Work;

    /// A signal has ended the task: [`TaskBody::turn()`] is not called any more.  Runs in a work
    /// item, where it may sleep.
    fn killed(&self);
}

/// A reference to a task: whoever has one may wake it.
///
/// # Invariants
///
/// The pointer holds a reference.
pub(crate) struct TaskRef(NonNull<glue::kvmi_task>);

// SAFETY: `kvmi_task_wake()` and its like may be called in any context and by several at once.
unsafe impl Send for TaskRef {}
// SAFETY: As for `Send`: every method takes `&self` and calls such a function.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Returns whether no signal has ended the task.
    pub(crate) fn is_alive(&self) -> bool {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_task_is_alive(self.0.as_ptr()) }
    }

    pub(super) fn as_ptr(&self) -> *mut glue::kvmi_task {
        self.0.as_ptr()
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put, and it is put once.
        unsafe { glue::kvmi_task_put(self.0.as_ptr()) }
    }
}

/// A task.  When this is dropped the task is ended, by a work item that nobody waits for.
pub(crate) struct VhostTask(TaskRef);

impl VhostTask {
    /// Makes a task of the calling process.  `ENOMEM`; `EAGAIN`: the process may have no more;
    /// `ERESTARTNOINTR`: a signal is pending.
    pub(crate) fn create<T: TaskBody>(body: Arc<T>) -> Result<Self> {
        let mut task = core::ptr::null_mut();
        let data = Arc::into_raw(body);
        // SAFETY: The functions of `Ops<T>` take a pointer that `Arc::into_raw()` gave for a `T`,
        // and are called before `released()`, which takes the reference back.
        let made = kernel::error::to_result(unsafe {
            glue::kvmi_task_create(&Ops::<T>::OPS, data.cast_mut().cast(), &mut task)
        });

        match (made, NonNull::new(task)) {
            // INVARIANT: The call left a reference for the caller.
            (Ok(()), Some(task)) => Ok(Self(TaskRef(task))),
            (made, _) => {
                // SAFETY: Without a task nobody else has the pointer that was given away above.
                drop(unsafe { Arc::from_raw(data) });
                Err(made.err().unwrap_or(ENOMEM))
            }
        }
    }
}

impl core::ops::Deref for VhostTask {
    type Target = TaskRef;

    fn deref(&self) -> &TaskRef {
        &self.0
    }
}

impl Drop for VhostTask {
    fn drop(&mut self) {
        // SAFETY: The pointer is valid, and only the one `VhostTask` of a task ends it.
        unsafe { glue::kvmi_task_end(self.0.as_ptr()) }
    }
}

struct Ops<T>(core::marker::PhantomData<T>);

impl<T: TaskBody> Ops<T> {
    const OPS: glue::kvmi_task_ops = glue::kvmi_task_ops {
        turn: Some(turn::<T>),
        killed: Some(killed::<T>),
        released: Some(released::<T>),
    };
}

/// # Safety
///
/// `data` came from `Arc::<T>::into_raw()`, and [`released()`] was not called.
unsafe extern "C" fn turn<T: TaskBody>(data: *mut c_void) -> c_uint {
    // SAFETY: By the requirement above the value lives until `released()`.
    let body = unsafe { &*data.cast::<T>() };

    match body.turn() {
        Work::Idle => 0,
        Work::More => 1,
        Work::Later(milliseconds) => c_uint::from(milliseconds.max(2)),
    }
}

/// # Safety
///
/// As for [`turn()`].
unsafe extern "C" fn killed<T: TaskBody>(data: *mut c_void) {
    // SAFETY: By the requirement above the value lives until `released()`.
    let body = unsafe { &*data.cast::<T>() };

    body.killed();
}

/// # Safety
///
/// As for [`turn()`]; called once, when nobody calls the others any more.
unsafe extern "C" fn released<T: TaskBody>(data: *mut c_void) {
    // SAFETY: By the requirement above the reference that `create()` gave away is still there.
    drop(unsafe { Arc::<T>::from_raw(data.cast::<T>()) });
}
