// SPDX-License-Identifier: GPL-2.0

//! KVM's objects, as the introspection subsystem sees them.

mod memcg;
mod vcpu;
mod vm;

use super::glue;

pub(crate) use memcg::Memcg;
pub(crate) use vcpu::{clamp, LockedVcpu, RunningVcpu, VcpuIndex, XSAVE};
pub(crate) use vm::{has_singlestep, GuestPhysical, Hooker, Vm};

/// Counts the hooked VMs: with none, the hook sites are no-ops.
pub(crate) fn in_use(more: bool) {
    // SAFETY: Called without KVM's locks, from an ioctl.
    unsafe {
        if more {
            glue::kvmi_in_use_inc();
        } else {
            glue::kvmi_in_use_dec();
        }
    }
}
