// SPDX-License-Identifier: GPL-2.0

//! A connected stream socket whose readiness is known without asking.
//!
//! Receiving and sending never wait for the peer, and run under the credentials of whoever handed
//! the socket over.

use super::{glue, kvm::RunningVcpu, wait};
use core::ptr::NonNull;
use kernel::{ffi::c_void, prelude::*};

use super::wait::WaitQueue;

/// A socket, the flags that its wait queue sets, and those who wait for it.
///
/// # Invariants
///
/// The pointer is to a connection that only this value frees.
pub(crate) struct Connection(NonNull<glue::kvmi_conn>);

// SAFETY: A connection is built for use from several threads; `conn.c` says which calls exclude
// one another, and those are `&self` methods behind the locks of the channel.
unsafe impl Send for Connection {}
// SAFETY: As above.
unsafe impl Sync for Connection {}

impl Connection {
    /// Takes the socket behind a descriptor of the calling process.
    ///
    /// - `EINVAL`: no socket, not a stream, or not connected.
    /// - `EOPNOTSUPP`: of a family other than UNIX, VSOCK, INET and INET6.
    /// - `EBUSY`: another connection has it.
    pub(crate) fn open(fd: i32) -> Result<Self> {
        let mut conn = core::ptr::null_mut();
        // SAFETY: `conn` is a valid place for the result.
        kernel::error::to_result(unsafe { glue::kvmi_conn_open(fd, &mut conn) })?;

        // INVARIANT: The connection was made for us.
        Ok(Self(NonNull::new(conn).ok_or(EINVAL)?))
    }

    /// Receives what is there: `Ok(0)` is the end of the stream, `EAGAIN` nothing yet.
    pub(crate) fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        // SAFETY: `buf` is writable for its length.
        let r =
            unsafe { glue::kvmi_conn_recv(self.0.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
        result(r)
    }

    /// Sends as much as there is room for: `EAGAIN` when there is none.
    pub(crate) fn send(&self, buf: &[u8]) -> Result<usize> {
        // SAFETY: `buf` is readable for its length.
        let r = unsafe { glue::kvmi_conn_send(self.0.as_ptr(), buf.as_ptr().cast(), buf.len()) };
        result(r)
    }

    /// Is there room to send now?
    pub(crate) fn writable(&self) -> bool {
        // SAFETY: By the type invariant; so below.
        unsafe { glue::kvmi_conn_writable(self.0.as_ptr()) }
    }

    /// Is there something to receive now?
    pub(crate) fn has_data(&self) -> bool {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_has_data(self.0.as_ptr()) }
    }

    /// Has the peer closed its end?
    pub(crate) fn hung_up(&self) -> bool {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_hung_up(self.0.as_ptr()) }
    }

    /// Notes whether there may be something to receive; a full barrier.
    pub(crate) fn set_readable(&self, readable: bool) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_set_readable(self.0.as_ptr(), readable) }
    }

    /// May there be something to receive?
    pub(crate) fn is_readable(&self) -> bool {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_is_readable(self.0.as_ptr()) }
    }

    /// Has room to send come since this was last asked?
    pub(crate) fn take_writable(&self) -> bool {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_take_writable(self.0.as_ptr()) }
    }

    /// Wakes one waiting vCPU, or the thread when none waits.
    pub(crate) fn wake_reader(&self) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_wake_reader(self.0.as_ptr()) }
    }

    /// Wakes the thread.
    pub(crate) fn wake_thread(&self) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_wake_thread(self.0.as_ptr()) }
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_wake_all(self.0.as_ptr()) }
    }

    /// Shuts both directions.
    pub(crate) fn shutdown(&self) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_shutdown(self.0.as_ptr()) }
    }

    /// Lets go of the socket.  Nobody must be receiving or sending: the channel holds its locks.
    pub(crate) fn drop_file(&self) {
        // SAFETY: See `writable()`.
        unsafe { glue::kvmi_conn_drop_file(self.0.as_ptr()) }
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
        // the caller's own, inside `KVM_RUN` with `kvm->srcu` held.
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

    /// Sleeps until `ready()`, until the thread is asked to end, or for `timeout_ms` (0: for
    /// ever).
    pub(crate) fn wait_thread<F: FnMut() -> bool>(&self, mut ready: F, timeout_ms: u32) {
        // SAFETY: `ready` lives until the call returns and is used by nobody else.
        unsafe {
            glue::kvmi_conn_wait_thread(
                self.0.as_ptr(),
                Some(wait::call::<F>),
                (&raw mut ready).cast::<c_void>(),
                timeout_ms,
            )
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { glue::kvmi_conn_free(self.0.as_ptr()) }
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
