// SPDX-License-Identifier: GPL-2.0

//! Accesses of watched pages, and letting them through.
//!
//! What a write leaves behind is read when its instruction is done: the vCPU makes one single
//! step. Other vCPUs run meanwhile, so if several write to one place at once, what is read may be
//! another one's.

use std::{
    collections::HashMap,
    fmt,
    os::unix::net::UnixStream,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use iced_x86::Instruction;
use kvmi_client::{
    Access, Error, Session,
    command::{ControlSinglestep, ReadPhysical, within_page},
    event::{Answer, VcpuEvent},
    wire,
};
use serde_json::{Map, Value, json};

use crate::{failure::Result, instruction, operand, output::hex, target};

/// One access.
#[derive(Clone, Debug)]
pub struct Touch {
    /// When it was seen.
    time: SystemTime,
    seconds: f64,
    pub vcpu: u16,
    pub cr3: u64,
    pub rip: u64,
    /// What was attempted.
    pub access: Access,
    pub gpa: u64,
    pub gva: Option<u64>,
    /// Its size in bytes, within the page.
    pub length: u64,
    /// The bytes there before it.
    pub before: Option<Vec<u8>>,
    /// After it, if it is a write.
    pub after: Option<Vec<u8>>,
    /// The instruction that does it.
    pub instruction: Option<Instruction>,
    /// The instruction lies in memory that is not there now.
    pub unread: bool,
}

impl Touch {
    /// Looks at what a PF event is about; `start` is when the watching began.
    pub fn new(
        session: &mut Session<UnixStream>,
        event: &VcpuEvent,
        pf: &wire::kvmi_vcpu_event_pf,
        start: Instant,
    ) -> Result<Self> {
        let (time, seconds) = (SystemTime::now(), start.elapsed().as_secs_f64());
        let (instruction, unread) = match instruction::decode(session, event) {
            Ok(instruction) => (instruction, false),
            Err(failure) if failure.is_absent() => (None, true),
            Err(failure) => return Err(failure),
        };
        let operand = operand::find(session, event, pf, instruction.as_ref())?;
        let mut touch = Touch {
            time,
            seconds,
            vcpu: event.vcpu,
            cr3: event.arch.sregs.cr3,
            rip: event.arch.regs.rip,
            access: Access::from_bits(pf.access),
            gpa: pf.gpa,
            gva: operand.gva,
            length: operand.length,
            before: None,
            after: None,
            instruction,
            unread,
        };
        touch.before = touch.read(session)?;
        Ok(touch)
    }

    /// Whether it writes.
    pub fn writes(&self) -> bool {
        self.access.meets(Access::WRITE)
    }

    /// What is there now; `None` if it is nothing that a read reaches.
    fn read(&self, session: &mut Session<UnixStream>) -> Result<Option<Vec<u8>>> {
        // Within a page, so it fits.
        let size = within_page(self.gpa, self.length) as u16;
        match session.call(ReadPhysical {
            gpa: self.gpa,
            size,
        }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Refused { .. } | Error::Absent { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// For people; `symbol` is what RIP is called.
    pub fn line<'a>(&'a self, symbol: Option<&'a str>) -> impl fmt::Display + 'a {
        Line {
            touch: self,
            symbol,
        }
    }

    /// For programs: the members of an event, and `more` in its data.
    pub fn object(&self, symbol: Option<&str>, more: Map<String, Value>) -> Value {
        let time = self.time.duration_since(UNIX_EPOCH);
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(digits);
        let mut data = json!({
            "access": self.access.to_string(), "gpa": hex(self.gpa), "gva": self.gva.map(hex),
            "length": self.length, "before": bytes(&self.before), "after": bytes(&self.after),
            "symbol": symbol,
        });
        if let Value::Object(data) = &mut data {
            data.extend(more);
        }
        json!({
            "time": time.map_or(0.0, |time| time.as_secs_f64()), "vcpu": self.vcpu,
            "cr3": hex(self.cr3), "rip": hex(self.rip), "event": "PF", "data": data,
        })
    }
}

struct Line<'a> {
    touch: &'a Touch,
    symbol: Option<&'a str>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let touch = self.touch;
        write!(
            f,
            "{:12.6} vcpu {} cr3 {:016x} rip {:016x}",
            touch.seconds, touch.vcpu, touch.cr3, touch.rip
        )?;
        if let Some(symbol) = self.symbol {
            write!(f, " {symbol}")?;
        }
        write!(f, " PF {} gpa {:#x}", touch.access, touch.gpa)?;
        if let Some(gva) = touch.gva {
            write!(f, " gva {gva:#x}")?;
        }
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("?".to_owned(), digits);
        write!(f, " {}", bytes(&touch.before))?;
        if touch.writes() {
            write!(f, " -> {}", bytes(&touch.after))?;
        }
        Ok(())
    }
}

/// Bytes as they lie in memory.
pub fn digits(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Accesses that are let through, with whatever else is known of them.
#[derive(Debug, Default)]
pub struct Through<T> {
    /// By vCPU, those whose instruction is not done.
    held: HashMap<u16, Vec<(Touch, T)>>,
}

impl<T> Through<T> {
    /// Nothing is under way.
    pub fn new() -> Self {
        Through {
            held: HashMap::new(),
        }
    }

    /// Lets an access through, and returns it if that is all that will be known of it. If not, it
    /// comes from [`Through::stepped`].
    pub fn allow(
        &mut self,
        session: &mut Session<UnixStream>,
        event: &VcpuEvent,
        touch: Touch,
        what: T,
    ) -> Result<Option<(Touch, T)>> {
        let steps = touch.writes() && self.step(session, event.vcpu)?;
        session.answer(event, Answer::Continue)?;
        if !steps {
            return Ok(Some((touch, what)));
        }
        self.held.entry(event.vcpu).or_default().push((touch, what));
        Ok(None)
    }

    /// Has a vCPU stop behind its instruction; false where it cannot.
    fn step(&self, session: &mut Session<UnixStream>, vcpu: u16) -> Result<bool> {
        if self.held.contains_key(&vcpu) {
            return Ok(true);
        }
        let enable = true;
        match session.call(ControlSinglestep { vcpu, enable }) {
            Ok(()) => Ok(true),
            Err(Error::Refused { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// An instruction is done: what it did, its vCPU going on.
    pub fn stepped(
        &mut self,
        session: &mut Session<UnixStream>,
        event: &VcpuEvent,
    ) -> Result<Vec<(Touch, T)>> {
        let (vcpu, enable) = (event.vcpu, false);
        let mut done = self.held.remove(&vcpu).unwrap_or_default();
        for (touch, _) in &mut done {
            touch.after = touch.read(session)?;
        }
        session
            .call(ControlSinglestep { vcpu, enable })
            .map_err(target::on_vcpu(vcpu))?;
        session.answer(event, Answer::Continue)?;
        Ok(done)
    }

    /// Has no vCPU stop any more behind what was let through.
    pub fn take_back(&self, session: &mut Session<UnixStream>) -> kvmi_client::Result<()> {
        let enable = false;
        for &vcpu in self.held.keys() {
            session.call(ControlSinglestep { vcpu, enable })?;
        }
        Ok(())
    }

    /// Those that were let through and whose end was not seen.
    pub fn rest(&mut self) -> Vec<(Touch, T)> {
        self.held.drain().flat_map(|(_, held)| held).collect()
    }
}
