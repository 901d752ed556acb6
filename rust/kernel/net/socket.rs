// SPDX-License-Identifier: GPL-2.0

//! A connected stream socket whose readiness is known without asking.
//!
//! Receiving and sending never wait for the peer, and run under the credentials of whoever handed
//! the socket over.  A connection has two halves, which are values of their own: who has one has
//! the socket's file, and letting go of both closes it.

use super::{
    glue,
    kvm::RunningVcpu,
    vhost_task::TaskRef,
    wait::{self, WaitQueue},
};
use core::ptr::NonNull;
use kernel::{ffi::c_void, prelude::*};

/// The flags that the socket's wait queue sets, and those who wait for it.
///
/// # Invariants
///
/// The pointer holds a reference.
pub(crate) struct Connection(NonNull<glue::kvmi_conn>);

// SAFETY: `kvmi_conn_*()` that take no half may be called by several tasks at once: they read and
// write flags, or take the locks of wait queues.
unsafe impl Send for Connection {}
// SAFETY: As for `Send`: all methods take `&self` and call such functions.
unsafe impl Sync for Connection {}

/// The half that receives.
///
/// # Invariants
///
/// The pointer holds a reference, and the one right to receive.
pub(crate) struct Receiver(NonNull<glue::kvmi_conn>);

// SAFETY: The right to receive may go from task to task.
unsafe impl Send for Receiver {}

/// The half that sends.
///
/// # Invariants
///
/// The pointer holds a reference, and the one right to send.
pub(crate) struct Sender(NonNull<glue::kvmi_conn>);

// SAFETY: The right to send may go from task to task.
unsafe impl Send for Sender {}

impl Connection {
    /// Takes the socket behind a descriptor of the calling process; `task` is woken for what no
    /// vCPU waits for.
    ///
    /// - `EINVAL`: no socket, not a stream, or not connected.
    /// - `EOPNOTSUPP`: neither of family UNIX or VSOCK nor plain TCP.
    /// - `EBUSY`: another connection has it.
    pub(crate) fn open(fd: i32, task: &TaskRef) -> Result<(Self, Receiver, Sender)> {
        let mut conn = core::ptr::null_mut();
        // SAFETY: `task` holds a reference, and `conn` is a valid place for the result.
        kernel::error::to_result(unsafe { glue::kvmi_conn_open(fd, task.as_ptr(), &mut conn) })?;
        let conn = NonNull::new(conn).ok_or(EINVAL)?;

        // INVARIANT: The call made the connection with three references and two halves.
        Ok((Self(conn), Receiver(conn), Sender(conn)))
    }

    /// Notes whether there may be something to receive; a full barrier.
    pub(crate) fn set_readable(&self, readable: bool) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_set_readable(self.0.as_ptr(), readable) }
    }

    /// Returns whether there may be something to receive.
    pub(crate) fn is_readable(&self) -> bool {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_is_readable(self.0.as_ptr()) }
    }

    /// Has the task woken when there is room to send, or no more; a full barrier.
    pub(crate) fn want_room(&self, want: bool) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_want_room(self.0.as_ptr(), want) }
    }

    /// Wakes one waiting vCPU, or the task when none waits.
    pub(crate) fn wake_reader(&self) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_wake_reader(self.0.as_ptr()) }
    }

    /// Wakes the task.
    pub(crate) fn wake_task(&self) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_wake_task(self.0.as_ptr()) }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { glue::kvmi_conn_wake_all(self.0.as_ptr()) }
    }

    /// Shuts both directions, if the socket is still there.
    pub(crate) fn shutdown(&self) {
        // SAFETY: The pointer is valid by the type invariant; the call takes a file of its own.
        unsafe { glue::kvmi_conn_shutdown(self.0.as_ptr()) }
    }

    /// Sleeps until `ready()`, which must not block.  `EINTR`: a signal came, or the VMM wants its
    /// vCPU back; `ECANCELED`: the vCPU got INIT.
    pub(crate) fn wait_vcpu<F: FnMut() -> bool>(
        &self,
        vcpu: &RunningVcpu<'_>,
        own: &WaitQueue,
        mut ready: F,
    ) -> Result {
        // SAFETY: `ready` lives until the call returns and is used by nobody else; the vCPU is
        // the caller's own, inside `KVM_RUN` with `kvm->srcu` held, by the invariant of its type.
        kernel::error::to_result(unsafe {
            glue::kvmi_conn_wait_vcpu(
                self.0.as_ptr(),
                vcpu.as_ptr(),
                own.as_ptr(),
                Some(wait::call::<F>),
                (&raw mut ready).cast::<c_void>(),
            )
        })
    }
}

impl Receiver {
    /// Receives what is there: `Ok(0)` is the end of the stream, `EAGAIN` nothing yet.
    pub(crate) fn recv(&mut self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: `buf` is writable for its length, and the half has the file.
        let r =
            unsafe { glue::kvmi_conn_recv(self.0.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
        result(r)
    }

    /// Returns whether there is something to receive now.
    pub(crate) fn has_data(&mut self) -> bool {
        // SAFETY: The pointer is valid by the type invariant, and the half has the file.
        unsafe { glue::kvmi_conn_has_data(self.0.as_ptr()) }
    }
}

impl Sender {
    /// Sends as much as there is room for: `EAGAIN` when there is none.
    pub(crate) fn send(&mut self, buf: &[u8]) -> Result<usize> {
        // SAFETY: `buf` is readable for its length, and the half has the file.
        let r = unsafe { glue::kvmi_conn_send(self.0.as_ptr(), buf.as_ptr().cast(), buf.len()) };
        result(r)
    }

    /// Returns whether there is room to send now.
    pub(crate) fn writable(&mut self) -> bool {
        // SAFETY: The pointer is valid by the type invariant, and the half has the file.
        unsafe { glue::kvmi_conn_writable(self.0.as_ptr()) }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to put, and it is put once.
        unsafe { glue::kvmi_conn_put(self.0.as_ptr()) }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is a half, which is put once.
        unsafe { glue::kvmi_conn_put_half(self.0.as_ptr()) }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is a half, which is put once.
        unsafe { glue::kvmi_conn_put_half(self.0.as_ptr()) }
    }
}

fn result(r: isize) -> Result<usize> {
    match usize::try_from(r) {
        Ok(n) => Ok(n),
        Err(_) => Err(Error::from_errno(
            i32::try_from(r).unwrap_or(EIO.to_errno()),
        )),
    }
}
