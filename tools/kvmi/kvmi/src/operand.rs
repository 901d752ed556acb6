// SPDX-License-Identifier: GPL-2.0

//! What a PF event is about: which of the instruction's operands, and how much of it.
//!
//! The event has the exact guest physical address, and on Intel the virtual one. The rest is
//! the instruction's.

use std::io::{Read, Write};

use iced_x86::{Instruction, InstructionInfoFactory, Register, UsedMemory};
use kvmi_client::{
    Access, Error, Session,
    command::{PAGE, TranslateGva, within_page},
    event::VcpuEvent,
    wire,
};

use crate::{failure::Result, instruction, target};

/// The part of an operand that lies in the event's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Its guest virtual address; `None` if the instruction does not lead to it, as where the
    /// processor stores something of its own, a stack frame for one.
    pub gva: Option<u64>,
    /// Its size in bytes; 1 if it is not known.
    pub length: u64,
}

/// The operand that a PF event is about.
pub fn find<S: Read + Write>(
    session: &mut Session<S>,
    event: &VcpuEvent,
    pf: &wire::kvmi_vcpu_event_pf,
    instruction: Option<&Instruction>,
) -> Result<Operand> {
    let told = Some(pf.gva).filter(|gva| *gva != u64::MAX);
    let candidates = match instruction {
        Some(instruction) if Access::from_bits(pf.access).meets(Access::EXECUTE) => {
            vec![(instruction::fetched_from(event), instruction.len() as u64)]
        }
        Some(instruction) => operands(event, instruction),
        None => Vec::new(),
    };
    for (start, size) in candidates {
        for (gva, length) in parts(start, size) {
            if gva % PAGE != pf.gpa % PAGE {
                continue;
            }
            let leads = match told {
                Some(told) => told == gva,
                None => {
                    let vcpu = event.vcpu;
                    match session.call(TranslateGva { vcpu, gva }) {
                        // Not known, which is no reason to fail.
                        Err(Error::Absent { .. }) => false,
                        gpa => gpa.map_err(target::on_vcpu(vcpu))? == Some(pf.gpa),
                    }
                }
            };
            if leads {
                let gva = Some(gva);
                return Ok(Operand { gva, length });
            }
        }
    }
    Ok(Operand {
        gva: told,
        length: 1,
    })
}

/// What lies in the first page, and what in the second.
fn parts(start: u64, size: u64) -> impl Iterator<Item = (u64, u64)> {
    let first = within_page(start, size.max(1)) as u64;
    let second = size.saturating_sub(first);
    let second = (second > 0).then(|| (start.wrapping_add(first), second.min(PAGE)));
    std::iter::once((start, first)).chain(second)
}

/// The addresses and sizes of what an instruction reads and writes, written things first.
fn operands(event: &VcpuEvent, instruction: &Instruction) -> Vec<(u64, u64)> {
    let mut factory = InstructionInfoFactory::new();
    let mut used = factory.info(instruction).used_memory().to_vec();
    used.sort_by_key(|memory| !writes(memory));
    let several = instruction.memory_size().size();
    let found = used.iter().filter_map(|memory| {
        let address = memory.virtual_address(0, |register, _, _| value(event, register))?;
        // That of a string instruction is not known as a whole, that of an iteration is.
        let size = Some(memory.memory_size().size()).filter(|size| *size != 0);
        Some((address, size.unwrap_or(several) as u64))
    });
    found.collect()
}

fn writes(memory: &UsedMemory) -> bool {
    use iced_x86::OpAccess::*;
    matches!(
        memory.access(),
        Write | CondWrite | ReadWrite | ReadCondWrite
    )
}

/// The value of a register, or the base of a segment; `None` for what addresses are not made of.
fn value(event: &VcpuEvent, register: Register) -> Option<u64> {
    let (regs, sregs) = (&event.arch.regs, &event.arch.sregs);
    if register.is_segment_register() {
        let base = match register {
            Register::FS => sregs.fs.base,
            Register::GS => sregs.gs.base,
            // The others have none in 64-bit mode.
            _ if event.arch.mode == 8 => 0,
            Register::CS => sregs.cs.base,
            Register::DS => sregs.ds.base,
            Register::ES => sregs.es.base,
            _ => sregs.ss.base,
        };
        return Some(base);
    }
    let whole = match register.full_register() {
        Register::RAX => regs.rax,
        Register::RBX => regs.rbx,
        Register::RCX => regs.rcx,
        Register::RDX => regs.rdx,
        Register::RSI => regs.rsi,
        Register::RDI => regs.rdi,
        Register::RSP => regs.rsp,
        Register::RBP => regs.rbp,
        Register::R8 => regs.r8,
        Register::R9 => regs.r9,
        Register::R10 => regs.r10,
        Register::R11 => regs.r11,
        Register::R12 => regs.r12,
        Register::R13 => regs.r13,
        Register::R14 => regs.r14,
        Register::R15 => regs.r15,
        _ => return None,
    };
    let bits = 8 * register.size() as u32;
    Some(whole & u64::MAX.checked_shr(64 - bits).unwrap_or(0))
}

/// What an instruction is about to store, where it is a register or a number as a whole.
pub fn stored(event: &VcpuEvent, instruction: &Instruction) -> Option<u64> {
    use iced_x86::{Mnemonic::*, OpKind};
    match instruction.mnemonic() {
        Mov if instruction.op0_kind() == OpKind::Memory => match instruction.op1_kind() {
            OpKind::Register => value(event, instruction.op1_register()),
            _ => Some(instruction.immediate(1)),
        },
        Stosb => value(event, Register::AL),
        Stosw => value(event, Register::AX),
        Stosd => value(event, Register::EAX),
        Stosq => value(event, Register::RAX),
        Push if instruction.op0_kind() == OpKind::Register => {
            value(event, instruction.op0_register())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};
    use kvmi_client::fake::{self, Vm};

    use super::*;

    fn event() -> VcpuEvent {
        let mut event = fake::parsed_event(1, &[]);
        event.arch.mode = 8;
        event.arch.regs.rbx = 0x1ffc;
        event.arch.regs.rdi = 0x1800;
        event.arch.regs.rsi = 0x2010;
        event.arch.regs.rsp = 0x2000;
        event.arch.regs.rax = 0x8877_6655_4433_2211;
        event.arch.sregs.gs.base = 0x1000;
        event
    }

    fn decode(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).decode()
    }

    fn seek(bytes: &[u8], access: Access, gpa: u64, gva: u64) -> Operand {
        let vm = Vm {
            pages: (0..4).map(|gfn| (gfn, vec![0; 4096])).collect(),
            ..Vm::default()
        };
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        let pf = wire::kvmi_vcpu_event_pf {
            gpa,
            gva,
            access: access.bits(),
            ..Default::default()
        };
        let found = find(&mut session, &event(), &pf, Some(&decode(bytes))).unwrap();
        drop(session);
        kernel.join().unwrap();
        found
    }

    #[test]
    fn the_operand_of_an_access() {
        let write = |bytes: &[u8], gpa| {
            let found = seek(bytes, Access::WRITE, gpa, u64::MAX);
            (found.gva, found.length)
        };
        assert_eq!(
            write(b"\x48\x89\x07", 0x1800),
            (Some(0x1800), 8),
            "mov %rax,(%rdi)"
        );
        assert_eq!(write(b"\xf3\xa4", 0x1800), (Some(0x1800), 1), "rep movsb");
        assert_eq!(write(b"\x48\xa5", 0x1800), (Some(0x1800), 8), "movsq");
        assert_eq!(write(b"\x50", 0x1ff8), (Some(0x1ff8), 8), "push %rax");
        assert_eq!(
            write(b"\xff\x17", 0x1ff8),
            (Some(0x1ff8), 8),
            "call *(%rdi)"
        );
        assert_eq!(
            write(b"\x65\x89\x04\x25\x10\0\0\0", 0x1010),
            (Some(0x1010), 4),
            "gs"
        );
        assert_eq!(
            write(b"\xc6\x05\x01\0\0\0\x90", 0x1008),
            (Some(0x1008), 1),
            "relative"
        );
        assert_eq!(write(b"\x67\xc6\x07\x90", 0x1800), (Some(0x1800), 1), "edi");
        assert_eq!(write(b"\x90", 0x1800), (None, 1), "nop");
    }

    #[test]
    fn both_parts_of_one_that_crosses_pages() {
        let store = b"\x48\x89\x03"; // mov %rax,(%rbx)
        let first = seek(store, Access::WRITE, 0x1ffc, u64::MAX);
        assert_eq!((first.gva, first.length), (Some(0x1ffc), 4));
        let second = seek(store, Access::WRITE, 0x2000, u64::MAX);
        assert_eq!((second.gva, second.length), (Some(0x2000), 4));
        let fetch = seek(b"\x48\x89\x07", Access::EXECUTE, 0x1000, u64::MAX);
        assert_eq!((fetch.gva, fetch.length), (Some(0x1000), 3));
    }

    #[test]
    fn what_the_processor_told_is_right() {
        let store = b"\x48\x89\x07";
        let found = seek(store, Access::WRITE, 0x3800, 0x1800);
        assert_eq!((found.gva, found.length), (Some(0x1800), 8));
        let found = seek(store, Access::WRITE, 0x3808, 0x5808);
        assert_eq!((found.gva, found.length), (Some(0x5808), 1));
    }

    #[test]
    fn what_is_stored() {
        let stored = |bytes: &[u8]| stored(&event(), &decode(bytes));
        assert_eq!(stored(b"\x48\x89\x07"), Some(0x8877_6655_4433_2211));
        assert_eq!(stored(b"\x88\x07"), Some(0x11));
        assert_eq!(stored(b"\xc7\x07\x01\x02\x03\x04"), Some(0x0403_0201));
        assert_eq!(stored(b"\xaa"), Some(0x11));
        assert_eq!(stored(b"\x50"), Some(0x8877_6655_4433_2211));
        assert_eq!(stored(b"\x48\x01\x07"), None, "add");
        assert_eq!(stored(b"\x48\x8b\x07"), None, "a load");
    }
}
