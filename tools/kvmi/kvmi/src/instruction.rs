// SPDX-License-Identifier: GPL-2.0

//! The guest's instructions as text, as the assembler of Linux writes them.

use std::io::{Read, Write};

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};
use kvmi_client::{
    Code, Session,
    command::{ReadPhysical, TranslateGva, within_page},
    event::VcpuEvent,
};

use crate::{failure::Result, target};

/// The longest instruction, in bytes.
const LONGEST: u64 = 15;

/// The instruction at RIP as text; `None` if it cannot be read.
pub fn at_rip<S: Read + Write>(
    session: &mut Session<S>,
    event: &VcpuEvent,
) -> Result<Option<String>> {
    match decode(session, event) {
        Err(failure) if failure.is_absent() => Ok(None),
        decoded => Ok(decoded?.as_ref().map(text)),
    }
}

/// The instruction at RIP, which may be an invalid one; `None` if nothing is mapped there. It
/// fails if that is in memory which is not there now.
pub fn decode<S: Read + Write>(
    session: &mut Session<S>,
    event: &VcpuEvent,
) -> Result<Option<Instruction>> {
    let bytes = read(session, event.vcpu, fetched_from(event))?;
    let (mode, rip) = (event.arch.mode, event.arch.regs.rip);
    Ok(Some(decoded(mode, rip, &bytes)).filter(|_| !bytes.is_empty()))
}

/// The virtual address of the instruction at RIP.
pub fn fetched_from(event: &VcpuEvent) -> u64 {
    let (arch, rip) = (&event.arch, event.arch.regs.rip);
    match arch.mode {
        8 => rip,
        // Segments and 32 bits are of other modes.
        _ => arch.sregs.cs.base.wrapping_add(rip) & u64::from(u32::MAX),
    }
}

/// Reads up to the longest instruction; less where there is no more memory.
fn read<S: Read + Write>(session: &mut Session<S>, vcpu: u16, gva: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(left @ 1..) = LONGEST.checked_sub(bytes.len() as u64) {
        let gva = gva.wrapping_add(bytes.len() as u64);
        let command = TranslateGva { vcpu, gva };
        let Some(gpa) = session.call(command).map_err(target::on_vcpu(vcpu))? else {
            break;
        };
        // Within a page and not more than what is left, so it fits.
        let size = within_page(gpa, left) as u16;
        match session.call(ReadPhysical { gpa, size }) {
            Ok(more) => bytes.extend(more),
            Err(error) if error.code() == Some(Code::ENOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

fn decoded(mode: u8, rip: u64, bytes: &[u8]) -> Instruction {
    let bits = match mode {
        2 => 16,
        4 => 32,
        _ => 64,
    };
    Decoder::with_ip(bits, bytes, rip, DecoderOptions::NONE).decode()
}

/// An instruction as text.
pub fn text(instruction: &Instruction) -> String {
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_uppercase_hex(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use kvmi_client::{
        command::Command,
        fake::{self, Fake, Vm},
    };

    use super::*;

    fn text(mode: u8, rip: u64, bytes: &[u8]) -> String {
        super::text(&decoded(mode, rip, bytes))
    }

    #[test]
    fn modes() {
        assert_eq!(text(8, 0, b"\x0f\x22\xd8"), "mov %rax,%cr3");
        assert_eq!(text(4, 0, b"\x0f\x22\xd8"), "mov %eax,%cr3");
        assert_eq!(text(2, 0, b"\x66\x0f\x01\x10"), "lgdtl (%bx,%si)");
        assert_eq!(text(8, 0xabc0, b"\xeb\xfe"), "jmp 0x000000000000abc0");
        assert_eq!(text(8, 0, b"\x48"), "(bad)");
    }

    /// A guest with memory below 0x2000 only, mapped one to one: NOPs, and
    /// `end` at its end.
    fn serve(kernel: &mut Fake, end: &[u8]) {
        let mut memory = vec![0x90; 0x2000];
        memory[0x2000 - end.len()..].copy_from_slice(end);
        let mut vm = Vm::default();
        for (gfn, page) in (0..).zip(memory.chunks(4096)) {
            vm.pages.insert(gfn, page.to_vec());
        }
        while let Some(command) = kernel.try_message() {
            let answer = if command.id == TranslateGva::ID {
                let gva = command.payload[8..].first_chunk().unwrap();
                let mapped = Some(u64::from_le_bytes(*gva)).filter(|gva| *gva < 0x3000);
                Ok(mapped.unwrap_or(u64::MAX).to_le_bytes().to_vec())
            } else {
                vm.answer(&command)
            };
            kernel.reply(&command, answer);
        }
    }

    #[test]
    fn across_pages_and_up_to_the_end_of_memory() {
        let (mut session, kernel) = fake::session(|kernel| serve(kernel, b"\x0f\xa2"));
        assert_eq!(read(&mut session, 0, 0xffe).unwrap(), [0x90; 15]);
        assert_eq!(read(&mut session, 0, 0x1ffd).unwrap(), b"\x90\x0f\xa2");
        assert!(read(&mut session, 0, 0x2000).unwrap().is_empty());
        assert!(read(&mut session, 0, u64::MAX).unwrap().is_empty());
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn segments_count_outside_of_64_bit_mode() {
        let (mut session, kernel) = fake::session(|kernel| serve(kernel, b"\x0f\xa2"));
        let mut event = fake::parsed_event(1, &[]);
        event.arch.sregs.cs.base = 0xffe;
        for (mode, expected) in [(8, "nop"), (4, "cpuid"), (2, "cpuid")] {
            event.arch.mode = mode;
            assert_eq!(at_rip(&mut session, &event).unwrap().unwrap(), expected);
        }
        event.arch.mode = 8;
        event.arch.regs.rip = 0x2000;
        assert_eq!(at_rip(&mut session, &event).unwrap(), None);
        drop(session);
        kernel.join().unwrap();
    }

    #[test]
    fn memory_that_is_not_there_now_is_told_from_none() {
        let mut vm = Vm {
            pages: [(1, vec![0x90; 4096])].into(),
            ..Vm::default()
        };
        vm.absent.insert(1, u64::MAX);
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        session.set_patience(std::time::Duration::from_millis(10));
        let event = fake::parsed_event(kvmi_client::wire::KVMI_VCPU_EVENT_PAUSE as u16, &[]);
        assert!(decode(&mut session, &event).unwrap_err().is_absent());
        assert_eq!(at_rip(&mut session, &event).unwrap(), None);
        drop(session);
        kernel.join().unwrap();
    }
}
