// SPDX-License-Identifier: GPL-2.0

//! Events as they are printed: a line for people, an object for programs.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use kvmi_client::{
    event::{self, Kind, VcpuEvent},
    wire,
};
use serde_json::{Map, Value, json};

use crate::{msr, output::hex};

/// The name of an event's number.
pub fn name(event: u16) -> &'static str {
    event::ALL
        .iter()
        .find(|(id, _)| *id == event)
        .map_or("unknown", |(_, name)| name)
}

/// An event for people.
pub struct Line<'a> {
    /// Since the trace began.
    pub seconds: f64,
    /// What happened.
    pub event: &'a VcpuEvent,
    /// What is at RIP, if that is to be shown.
    pub instruction: Option<String>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (event, arch) = (self.event, &self.event.arch);
        write!(
            f,
            "{:12.6} vcpu {} cr3 {:016x} rip {:016x} {}",
            self.seconds,
            event.vcpu,
            arch.sregs.cr3,
            arch.regs.rip,
            name(event.kind.id())
        )?;
        match &event.kind {
            Kind::Cr(data) => write!(
                f,
                " cr{} {:#x} -> {:#x}",
                data.cr, data.old_value, data.new_value
            ),
            Kind::Msr(data) => {
                let name = msr::name(data.msr);
                write!(f, " {name} {:#x} -> {:#x}", data.old_value, data.new_value)
            }
            Kind::Xsetbv(data) => {
                write!(
                    f,
                    " xcr{} {:#x} -> {:#x}",
                    data.xcr, data.old_value, data.new_value
                )
            }
            Kind::Cpuid(data) => write!(f, " leaf {:#x} index {:#x}", data.function, data.index),
            Kind::Breakpoint(data) => write!(f, " gpa {:#x} length {}", data.gpa, data.insn_len),
            Kind::Descriptor(data) => {
                write!(f, " {} {}", access(data.write), register(data.descriptor))
            }
            Kind::Singlestep(data) if data.failed != 0 => write!(f, " failed"),
            _ => Ok(()),
        }?;
        match &self.instruction {
            Some(instruction) => write!(f, "  {instruction}"),
            None => Ok(()),
        }
    }
}

/// An event for programs: the common members, and those of its kind. The
/// instruction at RIP, null if it cannot be read, if that is to be shown.
pub fn object(event: &VcpuEvent, instruction: Option<Option<String>>) -> Value {
    let arch = &event.arch;
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64());
    let mut object = Map::new();
    for (key, value) in [
        ("time", json!(time)),
        ("vcpu", json!(event.vcpu)),
        ("cr3", json!(hex(arch.sregs.cr3))),
        ("rip", json!(hex(arch.regs.rip))),
        ("event", json!(name(event.kind.id()))),
        ("data", data(&event.kind)),
    ] {
        object.insert(key.to_owned(), value);
    }
    if let Some(instruction) = instruction {
        object.insert("instruction".to_owned(), json!(instruction));
    }
    Value::Object(object)
}

fn data(kind: &Kind) -> Value {
    match kind {
        Kind::Cr(data) => json!({
            "cr": data.cr, "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Msr(data) => json!({
            "msr": hex(data.msr.into()), "name": msr::name(data.msr),
            "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Xsetbv(data) => json!({
            "xcr": data.xcr, "old": hex(data.old_value), "new": hex(data.new_value),
        }),
        Kind::Cpuid(data) => json!({
            "function": hex(data.function.into()), "index": hex(data.index.into()),
            "length": data.insn_len,
        }),
        Kind::Breakpoint(data) => json!({ "gpa": hex(data.gpa), "length": data.insn_len }),
        Kind::Descriptor(data) => json!({
            "access": access(data.write), "register": register(data.descriptor),
        }),
        Kind::Singlestep(data) => json!({ "failed": data.failed != 0 }),
        _ => json!({}),
    }
}

fn access(write: u8) -> &'static str {
    if write == 0 { "read" } else { "write" }
}

/// The register of a DESCRIPTOR event.
fn register(descriptor: u8) -> &'static str {
    match u32::from(descriptor) {
        wire::KVMI_DESC_IDTR => "IDTR",
        wire::KVMI_DESC_GDTR => "GDTR",
        wire::KVMI_DESC_LDTR => "LDTR",
        wire::KVMI_DESC_TR => "TR",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use kvmi_client::{event::Event, fake, message::Message};

    use super::*;

    const CR: u16 = wire::KVMI_VCPU_EVENT_CR as u16;

    fn event(id: u16, data: &[u8]) -> Box<VcpuEvent> {
        let message = Message {
            id: 1,
            seq: 1,
            payload: fake::vcpu_event(2, id, data),
        };
        match Event::parse(&message).unwrap() {
            Event::Vcpu(event) => event,
            event => panic!("{event:?}"),
        }
    }

    fn step() -> Box<VcpuEvent> {
        event(wire::KVMI_VCPU_EVENT_SINGLESTEP as u16, &[0; 8])
    }

    fn cr3() -> Box<VcpuEvent> {
        let data = [3u64, 0x1000, 0x2000].map(u64::to_le_bytes).concat();
        event(CR, &data)
    }

    #[test]
    fn lines() {
        let line = |event: &VcpuEvent, instruction: Option<&str>| {
            Line {
                seconds: 1.5,
                event,
                instruction: instruction.map(str::to_owned),
            }
            .to_string()
        };
        assert_eq!(
            line(&cr3(), None),
            "    1.500000 vcpu 2 cr3 0000000000000000 rip 0000000000001000 CR cr3 0x1000 -> 0x2000"
        );
        assert_eq!(
            line(&step(), Some("cpuid")),
            "    1.500000 vcpu 2 cr3 0000000000000000 rip 0000000000001000 SINGLESTEP  cpuid"
        );
    }

    #[test]
    fn objects() {
        let write = object(&cr3(), None);
        assert_eq!(write["vcpu"], 2);
        assert_eq!(write["rip"], "0x1000");
        assert_eq!(write["event"], "CR");
        assert_eq!(
            write["data"],
            json!({ "cr": 3, "old": "0x1000", "new": "0x2000" })
        );
        assert!(write["time"].is_f64());
        let step = object(&step(), Some(None));
        assert_eq!(step["event"], "SINGLESTEP");
        assert_eq!(step["data"], json!({ "failed": false }));
        assert!(write.get("instruction").is_none());
        assert_eq!(step["instruction"], Value::Null);
    }
}
