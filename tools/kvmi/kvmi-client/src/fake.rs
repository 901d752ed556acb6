// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's end of a session, played by a test.
//!
//! Everything here panics when the other end does not do what the test
//! expects: the tool's side of the conversation is what is tested. [`vmm`]
//! plays who hands the connection to the kernel.

pub mod vmm;

use std::{
    collections::HashMap,
    io::Write,
    os::unix::net::UnixStream,
    thread::{self, JoinHandle},
    time::Duration,
};

use zerocopy::{FromBytes, IntoBytes};

use crate::{
    code::Code,
    command::{
        CheckCommand, CheckEvent, Command, ControlEvents, ControlSinglestep, ControlVmEvents,
        GetInfo, GetMaxGfn, GetVersion, InjectException, PauseVcpu, ReadPhysical, SetOnExit,
        SetPageAccess, SetRegisters, TranslateGva, WritePhysical,
    },
    error::Error,
    event::{Event, VcpuEvent},
    message::{Message, Reader},
    session::Session,
    wire,
};

/// What a reply carries: bytes, or an error.
pub type Answer = Result<Vec<u8>, Code>;

/// The kernel's end of a connection.
#[derive(Debug)]
pub struct Fake {
    stream: UnixStream,
    reader: Reader,
}

/// A session, and a thread that plays the kernel on its other end.
///
/// Both sides give up after 10 seconds, so that a test that fails does end.
pub fn session<T: Send + 'static>(
    kernel: impl FnOnce(&mut Fake) -> T + Send + 'static,
) -> (Session<UnixStream>, JoinHandle<T>) {
    let (ours, theirs) = UnixStream::pair().expect("socketpair");
    for stream in [&ours, &theirs] {
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).expect("SO_RCVTIMEO");
    }
    let thread = thread::spawn(move || {
        kernel(&mut Fake {
            stream: theirs,
            reader: Reader::default(),
        })
    });
    (Session::new(ours), thread)
}

impl Fake {
    /// The next message from the tool.
    pub fn message(&mut self) -> Message {
        self.try_message().expect("a message from the tool")
    }

    /// The next message from the tool; `None` when it has closed its end.
    pub fn try_message(&mut self) -> Option<Message> {
        match self.reader.read(&mut self.stream, "message") {
            Ok(message) => Some(message),
            Err(Error::Closed) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sending");
    }

    /// Sends a message.
    pub fn send(&mut self, id: u16, seq: u32, payload: &[u8]) {
        let bytes = Message::encode(id, seq, payload).expect("a message that fits");
        self.raw(&bytes);
    }

    /// Replies to a command.
    pub fn reply(&mut self, command: &Message, answer: Answer) {
        self.send(command.id, command.seq, &reply(answer));
    }

    /// Sends an event of a vCPU whose RIP is 0x1000.
    pub fn event(&mut self, seq: u32, vcpu: u16, event: u16, data: &[u8]) {
        assert!(self.try_event(seq, vcpu, event, data), "nobody is there");
    }

    /// The same; whether the tool was still there.
    pub fn try_event(&mut self, seq: u32, vcpu: u16, event: u16, data: &[u8]) -> bool {
        let payload = vcpu_event(vcpu, event, data);
        let bytes = Message::encode(wire::KVMI_VCPU_EVENT as u16, seq, &payload)
            .expect("a message that fits");
        self.stream.write_all(&bytes).is_ok()
    }
}

/// The payload of a reply.
pub fn reply(answer: Answer) -> Vec<u8> {
    let (err, body) = match answer {
        Ok(body) => (0, body),
        Err(code) => (-(code.number() as i32), Vec::new()),
    };
    let head = wire::kvmi_error_code { err, padding: 0 };
    [head.as_bytes(), &body].concat()
}

/// The payload of an event of a vCPU whose RIP is 0x1000.
pub fn vcpu_event(vcpu: u16, event: u16, data: &[u8]) -> Vec<u8> {
    let header = wire::kvmi_event_hdr {
        event,
        ..Default::default()
    };
    let mut common = wire::kvmi_vcpu_event {
        size: size_of::<wire::kvmi_vcpu_event>() as u16,
        vcpu,
        ..Default::default()
    };
    common.arch.regs.rip = 0x1000;
    [header.as_bytes(), common.as_bytes(), data].concat()
}

/// An event of vCPU 0, whose RIP is 0x1000.
pub fn parsed_event(event: u16, data: &[u8]) -> VcpuEvent {
    let message = Message {
        id: wire::KVMI_VCPU_EVENT as u16,
        seq: 1,
        payload: vcpu_event(0, event, data),
    };
    match Event::parse(&message) {
        Ok(Event::Vcpu(event)) => *event,
        other => panic!("no event of a vCPU: {other:?}"),
    }
}

/// A VM with memory and vCPUs that stop when asked.
#[derive(Clone, Debug, Default)]
pub struct Vm {
    /// Number of vCPUs.
    pub vcpus: u16,
    /// Pages by frame number; what is not here is a hole.
    pub pages: HashMap<u64, Vec<u8>>,
    /// Pages that are not in memory now: how many more times they are not.
    pub absent: HashMap<u64, u64>,
    /// Whether the kernel is older than VM_SET_ON_EXIT.
    pub old: bool,
    /// Whether VM_SET_ON_EXIT is not allowed.
    pub forbids_on_exit: bool,
    /// What becomes of restrictions, each time that it was set.
    pub on_exit: Vec<u8>,
    /// The answers of events, in the order in which they came: vCPU, action.
    pub answers: Vec<(u16, u8)>,
    /// What pages are restricted to, by frame number.
    pub restricted: HashMap<u64, u8>,
    /// What pages were restricted to that are no more.
    pub lifted: HashMap<u64, u8>,
    /// The commands that came, in their order.
    pub commands: Vec<u16>,
    /// The RIP of the last SET_REGISTERS.
    pub rip: Option<u64>,
}

impl Vm {
    /// Plays this VM until the tool closes; what has become of it.
    pub fn serve(mut self, fake: &mut Fake) -> Self {
        let mut events = 0;
        while let Some(message) = fake.try_message() {
            if u32::from(message.id) == wire::KVMI_VCPU_EVENT {
                let (vcpu, rest) = wire::kvmi_vcpu_hdr::read_from_prefix(&message.payload)
                    .expect("an event reply");
                let (reply, _) =
                    wire::kvmi_vcpu_event_reply::read_from_prefix(rest).expect("an event reply");
                self.answers.push((vcpu.vcpu, reply.action));
                continue;
            }
            fake.reply(&message, self.answer(&message));
            if message.id == PauseVcpu::ID {
                let (pause, _) = wire::kvmi_vm_pause_vcpu::read_from_prefix(&message.payload)
                    .expect("a request");
                events += 1;
                fake.event(events, pause.vcpu, wire::KVMI_VCPU_EVENT_PAUSE as u16, &[]);
            }
        }
        self
    }

    /// Plays this VM until an event was answered: the action; `None` when the tool has closed.
    pub fn obey(&mut self, fake: &mut Fake) -> Option<u8> {
        while let Some(message) = fake.try_message() {
            if u32::from(message.id) == wire::KVMI_VCPU_EVENT {
                return Some(message.payload[8]);
            }
            let answer = self.answer(&message);
            fake.reply(&message, answer);
        }
        None
    }

    /// What this VM answers to a command.
    pub fn answer(&mut self, message: &Message) -> Answer {
        self.commands.push(message.id);
        match message.id {
            GetVersion::ID => Ok(wire::kvmi_get_version_reply {
                version: wire::KVMI_VERSION,
                max_msg_size: wire::KVMI_MAX_MSG_SIZE,
                features: wire::kvmi_features {
                    on_exit: (!self.old).into(),
                    ..Default::default()
                },
            }
            .as_bytes()
            .to_vec()),
            CheckCommand::ID
            | CheckEvent::ID
            | PauseVcpu::ID
            | ControlVmEvents::ID
            | ControlEvents::ID
            | ControlSinglestep::ID
            | InjectException::ID => Ok(Vec::new()),
            SetPageAccess::ID => self.restrict(message),
            SetOnExit::ID if self.old => Err(Code::ENOSYS),
            SetOnExit::ID if self.forbids_on_exit => Err(Code::EPERM),
            SetOnExit::ID => {
                assert_eq!(message.payload[1..], [0; 7], "padding");
                self.on_exit.push(message.payload[0]);
                Ok(Vec::new())
            }
            SetRegisters::ID => {
                let (_, regs) = message.payload.split_at(size_of::<wire::kvmi_vcpu_hdr>());
                let (regs, _) = wire::kvm_regs::read_from_prefix(regs).expect("registers");
                self.rip = Some(regs.rip);
                Ok(Vec::new())
            }
            TranslateGva::ID => Ok(self.translate(message)?.to_ne_bytes().to_vec()),
            GetInfo::ID => Ok(wire::kvmi_vm_get_info_reply {
                vcpu_count: self.vcpus.into(),
                ..Default::default()
            }
            .as_bytes()
            .to_vec()),
            GetMaxGfn::ID => {
                let gfn = self.pages.keys().copied().max().unwrap_or(0);
                Ok(gfn.to_ne_bytes().to_vec())
            }
            ReadPhysical::ID | WritePhysical::ID => self.access(message),
            _ => Err(Code::ENOSYS),
        }
    }

    /// Virtual addresses of this VM are physical ones, in the upper half too.
    fn translate(&mut self, message: &Message) -> Result<u64, Code> {
        let gva = message.payload.last_chunk().expect("a request");
        let gpa = u64::from_ne_bytes(*gva) & ((1 << 47) - 1);
        let mapped = self.pages.contains_key(&(gpa / 4096));
        self.is_there(gpa / 4096)?;
        Ok(if mapped { gpa } else { u64::MAX })
    }

    /// `EAGAIN` for a page that is not in memory now.
    fn is_there(&mut self, gfn: u64) -> Result<(), Code> {
        match self.absent.get_mut(&gfn) {
            Some(0) | None => Ok(()),
            Some(times) => {
                *times -= 1;
                Err(Code::EAGAIN)
            }
        }
    }

    fn restrict(&mut self, message: &Message) -> Answer {
        let (head, entries) =
            wire::kvmi_vm_set_page_access::read_from_prefix(&message.payload).expect("a request");
        let (entries, rest) = entries.split_at(usize::from(head.count) * 16);
        assert!(rest.is_empty(), "more entries than announced");
        let mut answer = Ok(Vec::new());
        for entry in entries.chunks_exact(16) {
            let entry = wire::kvmi_page_access_entry::read_from_bytes(entry).expect("an entry");
            let gfn = entry.gpa / 4096;
            if !self.pages.contains_key(&gfn) || entry.access & 3 == 2 {
                answer = Err(Code::EINVAL);
            } else if entry.access == 4 {
                answer = Err(Code::EOPNOTSUPP);
            } else if entry.access == 7 {
                self.lifted.extend(self.restricted.remove_entry(&gfn));
            } else {
                self.restricted.insert(gfn, entry.access);
            }
        }
        answer
    }

    fn access(&mut self, message: &Message) -> Answer {
        let (request, data) =
            wire::kvmi_vm_read_physical::read_from_prefix(&message.payload).expect("a request");
        let offset = (request.gpa % 4096) as usize;
        let range = offset..offset + usize::from(request.size);
        if range.is_empty() || range.end > 4096 {
            return Err(Code::EINVAL);
        }
        self.is_there(request.gpa / 4096)?;
        let page = self.pages.get_mut(&(request.gpa / 4096));
        let page = &mut page.ok_or(Code::ENOENT)?[range];
        if message.id == ReadPhysical::ID {
            return Ok(page.to_vec());
        }
        page.copy_from_slice(data);
        Ok(Vec::new())
    }
}
