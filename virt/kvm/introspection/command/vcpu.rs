// SPDX-License-Identifier: GPL-2.0

//! Commands of a vCPU, `Documentation/virt/kvm/kvmi.rst`.

use super::{switch, Call, Outcome, VcpuCommand};
use crate::{
    event,
    sys::{glue::*, kvm::RunningVcpu},
    vcpu::Vcpu,
    wire::{payload, Code, Payload, MAX_PAYLOAD},
};
use core::mem::size_of;
use kernel::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// The frequency of the guest's TSC in Hz, 0 where it cannot be scaled.
pub(crate) struct GetInfo;

impl VcpuCommand for GetInfo {
    const ID: u16 = KVMI_VCPU_GET_INFO as u16;
    type Request = ();

    fn run(_: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        payload(&kvmi_vcpu_get_info_reply {
            tsc_speed: here.tsc_hz(),
        })
    }
}

/// Enables an event of this vCPU.  `EINVAL`: padding, flag, not such an event; `EPERM`:
/// disallowed; `EOPNOTSUPP`: hardware cannot tell; `EBUSY`: breakpoints are the VMM's, or are so
/// already.
pub(crate) struct ControlEvents;

impl VcpuCommand for ControlEvents {
    const ID: u16 = KVMI_VCPU_CONTROL_EVENTS as u16;
    type Request = kvmi_vcpu_control_events;

    fn run(call: &Call<'_, Self::Request>, me: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let id = call.request.event_id;
        let before = me.events.contains(id);

        call.check_padding()?;

        let done = switch(
            call.session,
            &me.events,
            event::is_vcpu_event(id),
            id,
            call.request.enable,
        )?;

        if event::x86::needs_kvm(id) {
            here.want_event(id, call.request.enable != 0)
                .inspect_err(|_| me.events.set(id, before))
                .map_err(Code::from_errno)?;
        }
        Ok(done)
    }
}

/// Reads the registers, and the MSRs that the request lists.  `EINVAL`: padding, a request
/// shorter than announced, a reply that would be too long, an MSR that cannot be read.
pub(crate) struct GetRegisters;

impl VcpuCommand for GetRegisters {
    const ID: u16 = KVMI_VCPU_GET_REGISTERS as u16;
    type Request = kvmi_vcpu_get_registers;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let count = usize::from(call.request.nmsrs);
        let room = MAX_PAYLOAD
            .saturating_sub(size_of::<kvmi_error_code>())
            .saturating_sub(size_of::<kvmi_vcpu_get_registers_reply>());

        call.check_padding()?;
        if call.size < size_of::<kvmi_vcpu_get_registers>() {
            return Err(Code::EINVAL.into());
        }
        let indexes = call
            .rest
            .get(..count.saturating_mul(size_of::<u32>()))
            .ok_or(Code::EINVAL)?;
        if count.saturating_mul(size_of::<kvm_msr_entry>()) > room {
            return Err(Code::EINVAL.into());
        }

        let head = KBox::new(
            kvmi_vcpu_get_registers_reply {
                mode: here.mode().into(),
                padding: 0,
                regs: here.regs(),
                sregs: here.sregs(),
                msrs_nmsrs: call.request.nmsrs.into(),
                msrs_pad: 0,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut reply = payload(&*head)?;

        for bytes in indexes.chunks_exact(size_of::<u32>()) {
            let index = u32::read_from_bytes(bytes).map_err(|_| Code::EINVAL)?;
            let entry = kvm_msr_entry {
                index,
                reserved: 0,
                data: here.msr(index).map_err(|_| Code::EINVAL)?,
            };

            reply.extend_from_slice(entry.as_bytes())?;
        }
        Ok(reply)
    }
}

/// Stores registers for the end of the event.  `EINVAL`: too short; `EOPNOTSUPP`: no event waits
/// for its reply.
pub(crate) struct SetRegisters;

impl VcpuCommand for SetRegisters {
    const ID: u16 = KVMI_VCPU_SET_REGISTERS as u16;
    type Request = kvm_regs;

    fn run(call: &Call<'_, Self::Request>, me: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        if call.size < size_of::<kvm_regs>() {
            return Err(Code::EINVAL.into());
        }
        me.stopped(here)
            .ok_or(Code::EOPNOTSUPP)?
            .set_registers(call.request);
        Ok(Payload::new())
    }
}

/// A leaf of the guest's CPUID table.  `ENOENT`: no such leaf.
pub(crate) struct GetCpuid;

impl VcpuCommand for GetCpuid {
    const ID: u16 = KVMI_VCPU_GET_CPUID as u16;
    type Request = kvmi_vcpu_get_cpuid;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let leaf = here
            .cpuid(call.request.function, call.request.index)
            .ok_or(Code::ENOENT)?;

        payload(&leaf)
    }
}

/// An extended control register.  `EINVAL`: padding, any but XCR0.
pub(crate) struct GetXcr;

impl VcpuCommand for GetXcr {
    const ID: u16 = KVMI_VCPU_GET_XCR as u16;
    type Request = kvmi_vcpu_get_xcr;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        call.check_padding()?;
        if call.request.xcr != 0 {
            return Err(Code::EINVAL.into());
        }
        payload(&kvmi_vcpu_get_xcr_reply { value: here.xcr0() })
    }
}

/// Where the current page tables put an address; all ones: nowhere.  No access bits are checked.
pub(crate) struct TranslateGva;

impl VcpuCommand for TranslateGva {
    const ID: u16 = KVMI_VCPU_TRANSLATE_GVA as u16;
    type Request = kvmi_vcpu_translate_gva;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        payload(&kvmi_vcpu_translate_gva_reply {
            gpa: here.translate(call.request.gva).map_err(|_| Code::EAGAIN)?,
        })
    }
}
