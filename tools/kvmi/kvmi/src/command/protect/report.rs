// SPDX-License-Identifier: GPL-2.0

//! What is printed: what is protected, and each violation.

use kvmi_linux::{Range, Task};
use serde_json::{Map, Value, json};

use super::act::{Action, Verdict};
use crate::{
    failure::Result,
    instruction, operand,
    output::{Output, hex},
    pages::{self, Frames},
    touch::{Touch, digits},
};
use kvmi_client::{Access, command::PAGE, event::VcpuEvent};

/// A part of the kernel, and what stays allowed there.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub name: &'static str,
    pub range: Range,
    pub allowed: Access,
}

impl Part {
    /// Its frames.
    pub fn frames(&self) -> Frames {
        pages::frames(self.range.gpa, self.range.size).collect()
    }
}

/// What is known of an access beside itself.
#[derive(Clone, Debug)]
pub struct Violation {
    pub verdict: Verdict,
    /// In whose name it was made.
    pub task: Option<Task>,
    /// Where RIP is.
    pub symbol: Option<String>,
    /// What it is that is accessed, by the kernel's own mapping.
    pub target: Option<String>,
    pub target_gva: Option<u64>,
    /// What would be stored, if the instruction says.
    pub stored: Option<Vec<u8>>,
}

impl Violation {
    /// The bytes that the instruction is about to store.
    pub fn stored(event: &VcpuEvent, touch: &Touch) -> Option<Vec<u8>> {
        let value = operand::stored(event, touch.instruction.as_ref()?)?;
        let size = usize::try_from(touch.length).ok()?;
        value.to_le_bytes().get(..size).map(<[u8]>::to_vec)
    }

    /// Prints it.
    pub fn print(&self, touch: &Touch, output: &mut Output) -> Result<()> {
        if output.is_json() {
            output.value(&touch.object(self.symbol.as_deref(), self.members(touch)))
        } else {
            let line = touch.line(self.symbol.as_deref());
            output.line(format_args!("{line}{}", self.tail(touch)))
        }
    }

    /// What follows the access itself.
    fn tail(&self, touch: &Touch) -> String {
        let mut text = String::new();
        if let Some(stored) = self.stored.as_ref().filter(|_| self.verdict.is_refusal()) {
            text += &format!(" instead of {}", digits(stored));
        }
        if let Some(target) = &self.target {
            text += &format!(" at {target}");
        }
        match &self.task {
            Some(task) => text += &format!(" by {} (process {})", task.comm, task.pid),
            None => text += " by an unknown process",
        }
        text += &format!(": {}", self.verdict.word());
        if let Some(instruction) = &touch.instruction {
            text += &format!("  {}", instruction::text(instruction));
        }
        text
    }

    fn members(&self, touch: &Touch) -> Map<String, Value> {
        let task = self.task.as_ref();
        let task = task.map(|task| json!({ "pid": task.pid, "tid": task.tid, "comm": task.comm }));
        let mut members = Map::new();
        for (key, value) in [
            ("verdict", json!(self.verdict.word())),
            ("task", json!(task)),
            ("target", json!(self.target)),
            ("target_gva", json!(self.target_gva.map(hex))),
            ("stored", json!(self.stored.as_deref().map(digits))),
            (
                "instruction",
                json!(touch.instruction.as_ref().map(instruction::text)),
            ),
        ] {
            members.insert(key.to_owned(), value);
        }
        members
    }
}

/// Says what is protected.
pub fn begin(
    banner: &str,
    moved: u64,
    parts: &[Part],
    action: Action,
    output: &mut Output,
) -> Result<()> {
    if output.is_json() {
        let ranges: Vec<_> = parts
            .iter()
            .map(|part| {
                json!({
                    "name": part.name, "gva": hex(part.range.gva), "gpa": hex(part.range.gpa),
                    "bytes": part.range.size, "pages": part.range.size / PAGE,
                    "allowed": part.allowed.to_string(),
                })
            })
            .collect();
        let action = format!("{action:?}").to_lowercase();
        output.value(&json!({
            "event": "protecting", "banner": banner, "moved": hex(moved), "action": action,
            "ranges": ranges,
        }))?;
        return output.finish();
    }
    output.line(format_args!("{banner}, moved by {moved:#x}"))?;
    for Part {
        name,
        range,
        allowed,
    } in parts
    {
        output.line(format_args!(
            "{name}: {:016x} to {:016x}, from gpa {:#x}, {} pages, {allowed} allowed",
            range.gva,
            range.gva + (range.size - 1),
            range.gpa,
            range.size / PAGE
        ))?;
    }
    output.finish()
}
