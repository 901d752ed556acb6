// SPDX-License-Identifier: GPL-2.0

//! Commands of a vCPU that are x86's own, `Documentation/virt/kvm/kvmi.rst`.

use super::{Call, Outcome, VcpuCommand};
use crate::{
    mtrr::Mtrrs,
    sys::{
        glue::*,
        kvm::{RunningVcpu, XSAVE},
    },
    vcpu::Vcpu,
    wire::{flag, payload, Code, Payload},
};
use zerocopy::FromZeros;

/// Watches writes to CR0, CR3 or CR4, or no more.  `EINVAL`: padding, flag, another register;
/// `ENOMEM`.
pub(crate) struct ControlCr;

impl VcpuCommand for ControlCr {
    const ID: u16 = KVMI_VCPU_CONTROL_CR as u16;
    type Request = kvmi_vcpu_control_cr;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let enable = flag(call.request.enable)?;

        call.check_padding()?;
        if !matches!(call.request.cr, 0 | 3 | 4) {
            return Err(Code::EINVAL.into());
        }
        here.want_cr(call.request.cr, enable)
            .map_err(Code::from_errno)?;
        Ok(Payload::new())
    }
}

/// Watches writes to an MSR, or no more.  `EINVAL`: padding, flag, an MSR outside of the two ranges
/// of 8192; `EPERM`: the VMM filters its writes; `ENOMEM`.
pub(crate) struct ControlMsr;

impl VcpuCommand for ControlMsr {
    const ID: u16 = KVMI_VCPU_CONTROL_MSR as u16;
    type Request = kvmi_vcpu_control_msr;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let enable = flag(call.request.enable)?;

        call.check_padding()?;
        here.want_msr(call.request.msr, enable)
            .map_err(Code::from_errno)?;
        Ok(Payload::new())
    }
}

/// Has an exception injected; the TRAP event tells what was.  `EPERM`: that event is disallowed;
/// `EINVAL`: padding, no exception or NMI; `EBUSY`: an injection is on its way; `ENOMEM`.
pub(crate) struct InjectException;

/// Vectors of exceptions end here, and this one is none.
const LAST_EXCEPTION: u8 = 31;
const NMI: u8 = 2;

impl VcpuCommand for InjectException {
    const ID: u16 = KVMI_VCPU_INJECT_EXCEPTION as u16;
    type Request = kvmi_vcpu_inject_exception;

    fn run(call: &Call<'_, Self::Request>, me: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let trap = KVMI_VCPU_EVENT_TRAP as u16;

        if !call.session.events.contains(trap) {
            return Err(Code::EPERM.into());
        }
        call.check_padding()?;
        if call.request.nr > LAST_EXCEPTION || call.request.nr == NMI {
            return Err(Code::EINVAL.into());
        }
        here.want_event(trap, true).map_err(Code::from_errno)?;
        me.want_injection(kvmi_injection {
            nr: call.request.nr,
            has_error_code: 0,
            padding: [0; 2],
            error_code: call.request.error_code,
            address: call.request.address,
        })?;
        Ok(Payload::new())
    }
}

/// Steps through the guest, or no more; the SINGLESTEP event tells of each instruction.  `EPERM`:
/// that event is disallowed; `EINVAL`: flag, padding; `EOPNOTSUPP`: the processor cannot; `EBUSY`:
/// the VMM debugs the vCPU; `ENOMEM`.
pub(crate) struct ControlSinglestep;

impl VcpuCommand for ControlSinglestep {
    const ID: u16 = KVMI_VCPU_CONTROL_SINGLESTEP as u16;
    type Request = kvmi_vcpu_control_singlestep;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let event = KVMI_VCPU_EVENT_SINGLESTEP as u16;

        if !call.session.events.contains(event) {
            return Err(Code::EPERM.into());
        }
        let enable = flag(call.request.enable)?;

        call.check_padding()?;
        here.want_step(enable).map_err(Code::from_errno)?;
        Ok(Payload::new())
    }
}

/// The extended state.  `EOPNOTSUPP`: it has more than 4096 bytes; `ENOMEM`.
pub(crate) struct GetXsave;

impl VcpuCommand for GetXsave {
    const ID: u16 = KVMI_VCPU_GET_XSAVE as u16;
    type Request = ();

    fn run(_: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let mut reply = Payload::with_capacity(XSAVE)?;

        reply.extend_from_slice(&[0; XSAVE])?;

        let area = reply.body_mut().first_chunk_mut().ok_or(Code::EINVAL)?;

        here.xsave(area).map_err(Code::from_errno)?;
        Ok(reply)
    }
}

/// Loads the extended state, at once.  `EINVAL`: fewer bytes, or what KVM does not load;
/// `EOPNOTSUPP`: as for reading; `ENOMEM`.
pub(crate) struct SetXsave;

impl VcpuCommand for SetXsave {
    const ID: u16 = KVMI_VCPU_SET_XSAVE as u16;
    type Request = ();

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let area = call.rest.first_chunk().ok_or(Code::EINVAL)?;

        here.set_xsave(area).map_err(Code::from_errno)?;
        Ok(Payload::new())
    }
}

/// The memory type that the guest's MTRRs give an address.
pub(crate) struct GetMtrrType;

impl VcpuCommand for GetMtrrType {
    const ID: u16 = KVMI_VCPU_GET_MTRR_TYPE as u16;
    type Request = kvmi_vcpu_get_mtrr_type;

    fn run(call: &Call<'_, Self::Request>, _: &Vcpu, here: &RunningVcpu<'_>) -> Outcome {
        let registers = here.mtrrs();
        let mut reply = kvmi_vcpu_get_mtrr_type_reply::new_zeroed();

        reply.type_ = Mtrrs {
            present: registers.present != 0,
            default: registers.deftype,
            fixed: &registers.fixed,
            variable: &registers.variable,
        }
        .memory_type(call.request.gpa);
        payload(&reply)
    }
}
