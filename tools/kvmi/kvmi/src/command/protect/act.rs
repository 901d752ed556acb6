// SPDX-License-Identifier: GPL-2.0

//! What is done about a violation.

use std::os::unix::net::UnixStream;

use clap::ValueEnum;
use kvmi_client::{
    Code, Session,
    command::{InjectException, SetRegisters},
    event::{Answer, VcpuEvent},
};

use crate::{failure::Result, target, touch::Touch};

/// #GP: what Linux survives, unlike a page fault of its own.
const GENERAL_PROTECTION: u8 = 13;

/// What to do about a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Let it through.
    Log,
    /// Skip the instruction, as if it were not there.
    Block,
    /// Have the instruction raise #GP: Linux ends the program in whose name it runs.
    Fault,
    /// End the VM: its VMM sees a shutdown.
    Crash,
}

/// What came of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the guest's own patching, and let through.
    SelfPatching,
    /// It was let through.
    Logged,
    /// Its instruction was skipped.
    Blocked,
    /// Its instruction raised #GP.
    Faulted,
    /// The VM was ended.
    Crashed,
}

impl Verdict {
    /// Whether the access was not made.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Verdict::SelfPatching | Verdict::Logged)
    }

    /// In one word or two.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::SelfPatching => "self-patching",
            Verdict::Logged => "logged",
            Verdict::Blocked => "blocked",
            Verdict::Faulted => "faulted",
            Verdict::Crashed => "crashed",
        }
    }
}

impl Action {
    /// Stops an access; `None` if it will be tried once more and come again.
    pub fn stop(
        self,
        session: &mut Session<UnixStream>,
        event: &VcpuEvent,
        touch: &Touch,
    ) -> Result<Option<Verdict>> {
        match self {
            Action::Crash => {
                session.answer(event, Answer::Crash)?;
                Ok(Some(Verdict::Crashed))
            }
            // What is fetched from data is no instruction to go on behind.
            Action::Block if touch.writes() => match skipped(event, touch) {
                Some(regs) => {
                    let vcpu = event.vcpu;
                    session
                        .call(SetRegisters { vcpu, regs })
                        .map_err(target::on_vcpu(vcpu))?;
                    session.answer(event, Answer::Retry)?;
                    Ok(Some(Verdict::Blocked))
                }
                None => fault(session, event),
            },
            _ => fault(session, event),
        }
    }
}

/// The registers behind the instruction; `None` if its length is not known.
fn skipped(event: &VcpuEvent, touch: &Touch) -> Option<kvmi_client::wire::kvm_regs> {
    let instruction = touch
        .instruction
        .filter(|instruction| !instruction.is_invalid())?;
    let mut regs = event.arch.regs;
    let rip = regs.rip.wrapping_add(instruction.len() as u64);
    // Outside of 64-bit mode RIP has 32 bits.
    regs.rip = match event.arch.mode {
        8 => rip,
        _ => rip & u64::from(u32::MAX),
    };
    Some(regs)
}

fn fault(session: &mut Session<UnixStream>, event: &VcpuEvent) -> Result<Option<Verdict>> {
    let vcpu = event.vcpu;
    let injected = session.call(InjectException {
        vcpu,
        nr: GENERAL_PROTECTION,
        error_code: 0,
        address: 0,
    });
    let verdict = match injected {
        Ok(()) => Some(Verdict::Faulted),
        // One is on its way: this access comes again behind it, or does not.
        Err(error) if error.code() == Some(Code::EBUSY) => None,
        Err(error) => return Err(target::on_vcpu(vcpu)(error)),
    };
    session.answer(event, Answer::Retry)?;
    Ok(verdict)
}
