// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands that a vCPU carries out itself.
//!
//! No reply comes before the VM runs that vCPU (`KVM_RUN`), or while the VMM
//! holds it stopped. Errors of all of them: `EINVAL` no such vCPU, `EAGAIN` not
//! ready yet.

use zerocopy::{FromBytes, IntoBytes};

use super::{Command, fixed, short};
use crate::{
    error::{Error, Result},
    wire,
};

/// Asks for the speed of the time stamp counter, in Hz; 0 where hardware
/// cannot scale it.
#[derive(Clone, Copy, Debug)]
pub struct GetVcpuInfo {
    /// Index of the vCPU.
    pub vcpu: u16,
}

impl Command for GetVcpuInfo {
    const ID: u16 = wire::KVMI_VCPU_GET_INFO as u16;
    const NAME: &'static str = "VCPU_GET_INFO";
    type Request = ();
    type Reply = u64;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<()> {
        Ok(())
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, wire::kvmi_vcpu_get_info_reply>(bytes).map(|reply| reply.tsc_speed)
    }
}

/// What GET_REGISTERS brings.
#[derive(Clone, Debug)]
pub struct Registers {
    /// Width of the code that runs, in bytes: 2, 4 or 8.
    pub mode: u32,
    /// General registers.
    pub regs: wire::kvm_regs,
    /// Segment, table and control registers.
    pub sregs: wire::kvm_sregs,
    /// The MSRs asked for, in that order.
    pub msrs: Vec<wire::kvm_msr_entry>,
}

/// Reads general, segment and control registers, and MSRs.
///
/// Errors: `EINVAL` an MSR cannot be read, or more than 481; `ENOMEM`.
#[derive(Clone, Copy, Debug)]
pub struct GetRegisters<'a> {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Numbers of the MSRs.
    pub msrs: &'a [u32],
}

impl Command for GetRegisters<'_> {
    const ID: u16 = wire::KVMI_VCPU_GET_REGISTERS as u16;
    const NAME: &'static str = "VCPU_GET_REGISTERS";
    type Request = wire::kvmi_vcpu_get_registers;
    type Reply = Registers;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_get_registers {
            nmsrs: u16::try_from(self.msrs.len())
                .map_err(|_| Error::Usage("at most 481 MSRs at once"))?,
            ..Default::default()
        })
    }

    fn tail(&self) -> &[u8] {
        self.msrs.as_bytes()
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        let head: wire::kvmi_vcpu_get_registers_reply = fixed::<Self, _>(bytes)?;
        let rest = bytes.get(size_of_val(&head)..).unwrap_or_default();
        // The count is the kernel's word: it must be what was asked for.
        if usize::try_from(head.msrs_nmsrs) != Ok(self.msrs.len()) {
            return Err(Error::Protocol(format!(
                "{} MSRs came instead of {}",
                head.msrs_nmsrs,
                self.msrs.len()
            )));
        }
        let size = size_of::<wire::kvm_msr_entry>();
        let msrs: Vec<_> = rest
            .chunks_exact(size)
            .take(self.msrs.len())
            .filter_map(|entry| wire::kvm_msr_entry::read_from_bytes(entry).ok())
            .collect();
        if msrs.len() != self.msrs.len() {
            return Err(short::<Self>(rest.len(), size * self.msrs.len()));
        }
        Ok(Registers {
            mode: head.mode,
            regs: head.regs,
            sregs: head.sregs,
            msrs,
        })
    }
}

/// Sets the general registers when the event is answered.
///
/// Errors: `EOPNOTSUPP` the vCPU does not wait for the answer to an event.
#[derive(Clone, Copy, Debug)]
pub struct SetRegisters {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// All of them.
    pub regs: wire::kvm_regs,
}

impl Command for SetRegisters {
    const ID: u16 = wire::KVMI_VCPU_SET_REGISTERS as u16;
    const NAME: &'static str = "VCPU_SET_REGISTERS";
    type Request = wire::kvm_regs;
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(self.regs)
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What CPUID gives the guest at this moment.
///
/// Errors: `ENOENT` no such leaf.
#[derive(Clone, Copy, Debug)]
pub struct GetCpuid {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// EAX of the instruction.
    pub function: u32,
    /// ECX of the instruction.
    pub index: u32,
}

impl Command for GetCpuid {
    const ID: u16 = wire::KVMI_VCPU_GET_CPUID as u16;
    const NAME: &'static str = "VCPU_GET_CPUID";
    type Request = wire::kvmi_vcpu_get_cpuid;
    type Reply = wire::kvmi_vcpu_get_cpuid_reply;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_get_cpuid {
            function: self.function,
            index: self.index,
        })
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, _>(bytes)
    }
}

/// Reads an extended control register.
///
/// Errors: `EINVAL` not 0.
#[derive(Clone, Copy, Debug)]
pub struct GetXcr {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Number of the register.
    pub xcr: u8,
}

impl Command for GetXcr {
    const ID: u16 = wire::KVMI_VCPU_GET_XCR as u16;
    const NAME: &'static str = "VCPU_GET_XCR";
    type Request = wire::kvmi_vcpu_get_xcr;
    type Reply = u64;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_get_xcr {
            xcr: self.xcr,
            ..Default::default()
        })
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, wire::kvmi_vcpu_get_xcr_reply>(bytes).map(|reply| reply.value)
    }
}

/// Size in bytes of the area that the XSAVE commands carry.
pub const XSAVE: usize = 4096;

/// Reads the XSAVE area.
///
/// Errors: `EOPNOTSUPP` the guest has more state than fits.
#[derive(Clone, Copy, Debug)]
pub struct GetXsave {
    /// Index of the vCPU.
    pub vcpu: u16,
}

impl Command for GetXsave {
    const ID: u16 = wire::KVMI_VCPU_GET_XSAVE as u16;
    const NAME: &'static str = "VCPU_GET_XSAVE";
    type Request = ();
    type Reply = Box<[u8; XSAVE]>;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<()> {
        Ok(())
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, [u8; XSAVE]>(bytes).map(Box::new)
    }
}

/// Writes the XSAVE area, at once.
///
/// Errors: `EOPNOTSUPP` the guest has more state than fits, `EINVAL` the
/// contents are not valid.
#[derive(Clone, Copy, Debug)]
pub struct SetXsave<'a> {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// The area.
    pub xsave: &'a [u8; XSAVE],
}

impl Command for SetXsave<'_> {
    const ID: u16 = wire::KVMI_VCPU_SET_XSAVE as u16;
    const NAME: &'static str = "VCPU_SET_XSAVE";
    type Request = [u8; XSAVE];
    type Reply = ();

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(*self.xsave)
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Asks for the memory type that the MTRRs give a page.
#[derive(Clone, Copy, Debug)]
pub struct GetMtrrType {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Guest physical address.
    pub gpa: u64,
}

impl Command for GetMtrrType {
    const ID: u16 = wire::KVMI_VCPU_GET_MTRR_TYPE as u16;
    const NAME: &'static str = "VCPU_GET_MTRR_TYPE";
    type Request = wire::kvmi_vcpu_get_mtrr_type;
    type Reply = u8;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_get_mtrr_type { gpa: self.gpa })
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, wire::kvmi_vcpu_get_mtrr_type_reply>(bytes).map(|reply| reply.type_)
    }
}

/// Translates a virtual address by the vCPU's page tables of this moment;
/// `None` if nothing is mapped there.
#[derive(Clone, Copy, Debug)]
pub struct TranslateGva {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Guest virtual address.
    pub gva: u64,
}

impl Command for TranslateGva {
    const ID: u16 = wire::KVMI_VCPU_TRANSLATE_GVA as u16;
    const NAME: &'static str = "VCPU_TRANSLATE_GVA";
    const REACHES_MEMORY: bool = true;
    type Request = wire::kvmi_vcpu_translate_gva;
    type Reply = Option<u64>;

    fn vcpu(&self) -> Option<u16> {
        Some(self.vcpu)
    }

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vcpu_translate_gva { gva: self.gva })
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, wire::kvmi_vcpu_translate_gva_reply>(bytes)
            .map(|reply| Some(reply.gpa).filter(|&gpa| gpa != u64::MAX))
    }
}
