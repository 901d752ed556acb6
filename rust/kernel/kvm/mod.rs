// SPDX-License-Identifier: GPL-2.0

//! KVM's objects, as the introspection subsystem sees them.

mod memcg;
mod vcpu;
mod vm;

use super::glue;

pub(crate) use memcg::Memcg;
pub(crate) use vcpu::{RunningVcpu, VcpuIndex};
pub(crate) use vm::{GuestPhysical, Hooker, Vm};
