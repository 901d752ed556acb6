// SPDX-License-Identifier: GPL-2.0

//! Who runs on a vCPU.

use crate::{
    kernel::{Kernel, Vcpu},
    memory::{Memory, Result, text, u32_at, u64_at},
};

/// A task of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process id, as the guest's first namespace has it.
    pub pid: u32,
    /// The thread's own id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
}

impl Kernel {
    /// The task that runs on this vCPU; `None` if the kernel's types do not
    /// say where to look.
    ///
    /// # Errors
    ///
    /// Those of reading the guest.
    pub fn current<M: Memory>(
        &self,
        memory: &mut M,
        vcpu: &Vcpu,
    ) -> Result<Option<Task>, M::Error> {
        let (Some(current), Some(fields)) = (self.current_task(), self.task_fields()) else {
            return Ok(None);
        };
        // Per-CPU data lie at the same distance from their symbols as GS says.
        let at = vcpu.kernel_gs().wrapping_add(current);
        let task = self.space.read_u64(memory, at)?;
        let mut field = |member: crate::btf::Member| {
            let size = usize::try_from(member.size).unwrap_or(0).min(64);
            self.space
                .read(memory, task.wrapping_add(member.offset), size)
        };
        let [comm, tid, pid] = fields;
        Ok(Some(Task {
            comm: text(&field(comm)?),
            tid: u32_at(&field(tid)?, 0).unwrap_or(0),
            pid: u32_at(&field(pid)?, 0).unwrap_or(0),
        }))
    }

    /// The per-CPU pointer to the task that runs.
    fn current_task(&self) -> Option<u64> {
        let symbol = |name| self.symbols.address(name);
        symbol("current_task").or_else(|| {
            // Some kernels keep it in a structure with other such things.
            let member = self.types.member("pcpu_hot", "current_task")?;
            Some(symbol("pcpu_hot")?.wrapping_add(member.offset))
        })
    }

    fn task_fields(&self) -> Option<[crate::btf::Member; 3]> {
        let member = |name| self.types.member("task_struct", name);
        Some([member("comm")?, member("pid")?, member("tgid")?])
    }

    /// The number at a virtual address of the kernel.
    ///
    /// # Errors
    ///
    /// Those of reading the guest.
    pub fn return_address<M: Memory>(
        &self,
        memory: &mut M,
        rsp: u64,
    ) -> Result<Option<u64>, M::Error> {
        Ok(u64_at(&self.space.read(memory, rsp, 8)?, 0))
    }
}
