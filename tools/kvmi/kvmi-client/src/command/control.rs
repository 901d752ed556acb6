// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands that choose what a vCPU reports, and that make things happen in it.

use super::Command;
use crate::{error::Result, wire};

/// Turns an event of a vCPU on or off.
///
/// Errors: `EINVAL` not an event of a vCPU, `EPERM` not allowed, `EOPNOTSUPP`
/// hardware cannot, `EBUSY` breakpoints belong to the VMM.
#[derive(Clone, Copy, Debug)]
pub struct ControlEvents {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Number of the event.
    pub event: u16,
    /// On or off.
    pub enable: bool,
}

impl Command for ControlEvents {
    const ID: u16 = wire::KVMI_VCPU_CONTROL_EVENTS as u16;
    const NAME: &'static str = "VCPU_CONTROL_EVENTS";
    type Request = wire::kvmi_vcpu_control_events;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_control_events {
            event_id: self.event,
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Chooses the control registers that raise CR events.
///
/// Errors: `EINVAL` not 0, 3 or 4.
#[derive(Clone, Copy, Debug)]
pub struct ControlCr {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Number of the register.
    pub cr: u8,
    /// On or off.
    pub enable: bool,
}

impl Command for ControlCr {
    const ID: u16 = wire::KVMI_VCPU_CONTROL_CR as u16;
    const NAME: &'static str = "VCPU_CONTROL_CR";
    type Request = wire::kvmi_vcpu_control_cr;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_control_cr {
            cr: self.cr,
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Makes the guest take an exception; a TRAP event follows.
///
/// Errors: `EPERM` TRAP is not allowed, `EINVAL` not an exception, `EBUSY` one
/// is under way: its TRAP event has not come.
#[derive(Clone, Copy, Debug)]
pub struct InjectException {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Vector, 0 to 31 but 2.
    pub nr: u8,
    /// For vectors that have one.
    pub error_code: u32,
    /// For #PF: CR2.
    pub address: u64,
}

impl Command for InjectException {
    const ID: u16 = wire::KVMI_VCPU_INJECT_EXCEPTION as u16;
    const NAME: &'static str = "VCPU_INJECT_EXCEPTION";
    type Request = wire::kvmi_vcpu_inject_exception;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_inject_exception {
            nr: self.nr,
            error_code: self.error_code,
            address: self.address,
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Chooses the MSRs whose writes raise MSR events.
///
/// Errors: `EINVAL` outside 0 to 0x1fff and 0xc0000000 to 0xc0001fff, `EPERM`
/// the VMM filters it.
#[derive(Clone, Copy, Debug)]
pub struct ControlMsr {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Number of the MSR.
    pub msr: u32,
    /// On or off.
    pub enable: bool,
}

impl Command for ControlMsr {
    const ID: u16 = wire::KVMI_VCPU_CONTROL_MSR as u16;
    const NAME: &'static str = "VCPU_CONTROL_MSR";
    type Request = wire::kvmi_vcpu_control_msr;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_control_msr {
            msr: self.msr,
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Turns single-stepping on or off.
///
/// Errors: `EPERM` SINGLESTEP is not allowed, `EOPNOTSUPP` hardware cannot,
/// `EBUSY` the VMM debugs the vCPU itself.
#[derive(Clone, Copy, Debug)]
pub struct ControlSinglestep {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// On or off.
    pub enable: bool,
}

impl Command for ControlSinglestep {
    const ID: u16 = wire::KVMI_VCPU_CONTROL_SINGLESTEP as u16;
    const NAME: &'static str = "VCPU_CONTROL_SINGLESTEP";
    type Request = wire::kvmi_vcpu_control_singlestep;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_control_singlestep {
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
