// SPDX-License-Identifier: GPL-2.0

//! What is printed: what is protected, and each violation.

use kvmi_linux::{Range, Task};
use serde_json::{Map, Value, json};

use super::{
    OnExit,
    act::{Action, Verdict},
};
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
    /// Whether it has this address.
    pub fn holds(&self, gpa: u64) -> bool {
        let Range {
            gpa: start, size, ..
        } = self.range;
        let frame = gpa / PAGE;
        frame >= start / PAGE && frame <= start.saturating_add(size.max(1) - 1) / PAGE
    }

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

/// What is protected.
pub struct Beginning<'a> {
    pub banner: &'a str,
    pub moved: u64,
    pub parts: &'a [Part],
    pub action: Action,
    pub on_exit: OnExit,
    /// It was taken over from a tool that died.
    pub frozen: bool,
}

impl Beginning<'_> {
    /// Says it.
    pub fn print(&self, output: &mut Output) -> Result<()> {
        if output.is_json() {
            output.value(&self.object())?;
            return output.finish();
        }
        output.line(format_args!("{}, moved by {:#x}", self.banner, self.moved))?;
        for part in self.parts {
            let Range { gva, gpa, size } = part.range;
            output.line(format_args!(
                "{}: {gva:016x} to {:016x}, from gpa {gpa:#x}, {} pages, {} allowed",
                part.name,
                gva + (size - 1),
                size / PAGE,
                part.allowed
            ))?;
        }
        if self.frozen {
            output.line("taken over from a tool that died; nothing was open in between")?;
        }
        if let Some(remark) = self.on_exit.remark() {
            output.line(remark)?;
        }
        output.finish()
    }

    fn object(&self) -> Value {
        let ranges: Vec<_> = self
            .parts
            .iter()
            .map(|part| {
                json!({
                    "name": part.name, "gva": hex(part.range.gva), "gpa": hex(part.range.gpa),
                    "bytes": part.range.size, "pages": part.range.size / PAGE,
                    "allowed": part.allowed.to_string(),
                })
            })
            .collect();
        let action = format!("{:?}", self.action).to_lowercase();
        json!({
            "event": "protecting", "banner": self.banner, "moved": hex(self.moved),
            "action": action, "on_exit": self.on_exit.word(), "frozen": self.frozen,
            "ranges": ranges,
        })
    }
}
