// SPDX-License-Identifier: GPL-2.0

//! The Linux kernel that a VM runs, found in its memory.

use std::{collections::HashMap, os::unix::net::UnixStream};

use kvmi_client::{Session, command::GetRegisters, event::VcpuEvent};
use kvmi_linux::{Error, Kernel, Memory, Task, Vcpu};

use crate::{
    failure::{Exit, Failure, Result},
    memory, target,
};

const LSTAR: u32 = 0xc000_0082;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// Most places whose names are remembered.
const REMEMBERED: usize = 4096;

/// Guest physical memory through a session.
struct Physical<'a>(&'a mut Session<UnixStream>);

impl Memory for Physical<'_> {
    type Error = Failure;

    fn read(&mut self, gpa: u64, size: usize) -> Result<Vec<u8>> {
        let mut read = Vec::with_capacity(size);
        let end = gpa.saturating_add(size as u64);
        memory::scan(self.0, gpa, end, |_, _, bytes| {
            read.extend_from_slice(bytes.unwrap_or_default());
            Ok(bytes.is_some())
        })?;
        Ok(read)
    }
}

/// A kernel, and the names of places in it.
pub struct Linux {
    pub kernel: Kernel,
    names: HashMap<u64, Option<String>>,
}

impl Linux {
    /// A kernel that was found.
    pub fn new(kernel: Kernel) -> Self {
        Linux {
            kernel,
            names: HashMap::new(),
        }
    }

    /// Finds the kernel by the registers of one of the vCPUs.
    pub fn find(session: &mut Session<UnixStream>, vcpus: &[u16]) -> Result<Self> {
        let mut why = Failure::new(Exit::NotFound, "the VM has no vCPUs");
        for &vcpu in vcpus {
            let registers = registers(session, vcpu)?;
            match Kernel::find(&mut Physical(session), &registers) {
                Ok(kernel) => return Ok(Linux::new(kernel)),
                Err(Error::Memory(failure)) => return Err(failure),
                Err(error) => why = missing(error).context(format_args!("vCPU {vcpu}")),
            }
        }
        Err(why)
    }

    /// An address in the kernel or in one of its modules as text.
    pub fn name(&mut self, session: &mut Session<UnixStream>, gva: u64) -> Result<Option<String>> {
        if let Some(known) = self.names.get(&gva) {
            return Ok(known.clone());
        }
        let described = self.kernel.describe(&mut Physical(session), gva);
        if is_absent(&described) {
            // It may be known the next time.
            return Ok(None);
        }
        let name = found(described)?.flatten();
        if self.names.len() < REMEMBERED {
            self.names.insert(gva, name.clone());
        }
        Ok(name)
    }

    /// The task that runs on the vCPU of an event.
    pub fn task(
        &self,
        session: &mut Session<UnixStream>,
        event: &VcpuEvent,
    ) -> Result<Option<Task>> {
        let arch = &event.arch;
        let vcpu = Vcpu {
            cr3: arch.sregs.cr3,
            cr4: arch.sregs.cr4,
            lstar: arch.msrs.lstar,
            gs_base: arch.sregs.gs.base,
            kernel_gs_base: arch.msrs.shadow_gs,
        };
        let current = self.kernel.current(&mut Physical(session), &vcpu);
        if is_absent(&current) {
            return Ok(None);
        }
        Ok(found(current)?.flatten())
    }

    /// The number on top of the stack: in a function without a frame, where it returns to. It fails
    /// if that is not in the VMM's memory now.
    pub fn on_stack(&self, session: &mut Session<UnixStream>, rsp: u64) -> Result<Option<u64>> {
        Ok(found(self.kernel.return_address(&mut Physical(session), rsp))?.flatten())
    }

    /// The virtual address of a symbol.
    pub fn symbol(&self, name: &str) -> Result<u64> {
        self.kernel.symbols.address(name).ok_or_else(|| {
            let message = format!("the guest's kernel has no symbol {name}");
            Failure::new(Exit::NotFound, message).fix(
                "its own list is /proc/kallsyms there; the symbols of modules are not looked up",
            )
        })
    }
}

/// What there is; nothing if the guest does not have it, which may change any moment.
fn found<T>(result: kvmi_linux::Result<T, Failure>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Memory(failure)) => Err(failure),
        Err(_) => Ok(None),
    }
}

/// Whether memory was needed that is not there now.
fn is_absent<T>(result: &kvmi_linux::Result<T, Failure>) -> bool {
    matches!(result, Err(Error::Memory(failure)) if failure.is_absent())
}

/// Why the guest's kernel is not as it would have to be.
pub fn missing(error: Error<Failure>) -> Failure {
    match error {
        Error::Memory(failure) => failure,
        error => Failure::new(Exit::NotFound, format!("no Linux kernel found: {error}"))
            .fix("the guest must be a 64-bit Linux that has booted"),
    }
}

fn registers(session: &mut Session<UnixStream>, vcpu: u16) -> Result<Vcpu> {
    let command = GetRegisters {
        vcpu,
        msrs: &[LSTAR, KERNEL_GS_BASE],
    };
    let all = session.call(command).map_err(target::on_vcpu(vcpu))?;
    let msr = |index: usize| all.msrs.get(index).map_or(0, |msr| msr.data);
    Ok(Vcpu {
        cr3: all.sregs.cr3,
        cr4: all.sregs.cr4,
        lstar: msr(0),
        gs_base: all.sregs.gs.base,
        kernel_gs_base: msr(1),
    })
}
