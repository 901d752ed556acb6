// SPDX-License-Identifier: GPL-2.0

//! One session of a VM: what it owns, how it begins and how it ends.
//!
//! It begins in HOOK and dies when the conversation ends ([`Session::die()`]: the tool closed the
//! socket or broke the protocol, the VMM unhooked, the VM or its address space went away).  It has
//! *ended* when [`Session::finish()`] has returned: then nothing of it changes anything any more.
//!
//! Locks: the channel's `serving` is held for the whole of ending, and by whoever deals with a
//! message; `vcpus` and the gates of vCPUs inside of it.  Whoever holds an `Arc<Session>` is the
//! VM's task, a vCPU thread inside `KVM_RUN`, or inside an ioctl.  The VM may be gone when a session
//! has ended: the task uses it in [`Channel::while_open()`] only.

use super::{
    channel::{Channel, Reader, Who},
    command,
    permission::IdSet,
    sys::{
        glue,
        kvm::{clamp, Hooker, Memcg, VcpuIndex, Vm},
        socket::{Connection, Receiver, Sender},
        vhost_task::Work,
    },
    vcpu::Vcpu,
    wire::{self, Failure, Message, Payload},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

/// Messages that the task deals with in one portion.
const PORTION: usize = 64;

/// How often the task tries to send what no room was announced for, in milliseconds.
const RETRY_MS: u16 = 100;

/// The id of the session that was made last.
static LAST_ID: Atomic<u64> = Atomic::new(0);

/// The header of a command, and the answer to it.
type Answer = (
    glue::kvmi_msg_hdr,
    core::result::Result<Payload, wire::Code>,
);

/// A session.
#[pin_data]
pub(crate) struct Session {
    pub(crate) vm: Vm,
    /// No two sessions have the same, nor is it 0.
    pub(crate) id: u64,
    pub(crate) hooker: Hooker,
    /// Commands that the device manager allows.
    pub(crate) commands: IdSet,
    /// Events that the device manager allows.
    pub(crate) events: IdSet,
    /// Events of the VM that the tool enabled.
    pub(crate) vm_events: IdSet,
    /// Whether intercepts are given back at the end.
    pub(crate) cleanup: Atomic<bool>,
    /// What becomes of restrictions when the session dies: `KVMI_ON_EXIT_*`.
    pub(crate) on_exit: Atomic<u32>,
    /// The session is ended on the VMM's side: nothing of it is left, whatever the tool chose.
    withdrawn: Atomic<bool>,
    memcg: Memcg,
    seq: Atomic<u32>,
    #[pin]
    pub(crate) channel: Channel,
    #[pin]
    vcpus: Mutex<KVec<Arc<Vcpu>>>,
}

impl Session {
    /// Makes a session that nobody can find yet.
    pub(crate) fn new(
        vm: Vm,
        memcg: Memcg,
        socket: (Connection, Receiver, Sender),
        hooker: Hooker,
    ) -> Result<Arc<Self>> {
        let session = Arc::pin_init(
            try_pin_init!(Self {
                vm,
                id: LAST_ID.fetch_add(1, Relaxed).wrapping_add(1),
                hooker,
                commands: IdSet::new(command::ALWAYS_ALLOWED),
                events: IdSet::new(0),
                vm_events: IdSet::new(0),
                cleanup: Atomic::new(true),
                on_exit: Atomic::new(glue::KVMI_ON_EXIT_RELEASE),
                withdrawn: Atomic::new(false),
                memcg,
                seq: Atomic::new(0),
                channel <- Channel::new(socket),
                vcpus <- new_mutex!(KVec::new()),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;

        session.add_vcpus()?;
        Ok(session)
    }

    /// Makes room for the vCPUs that are online and not known yet.
    pub(crate) fn add_vcpus(&self) -> Result {
        self.memcg.charge(|| {
            let mut vcpus = self.vcpus.lock();

            while let Ok(index) = u16::try_from(vcpus.len()) {
                if u32::from(index) >= self.vm.vcpu_count() {
                    break;
                }
                vcpus.push(Vcpu::new(VcpuIndex(index))?, GFP_KERNEL_ACCOUNT)?;
            }
            Ok(())
        })
    }

    /// A vCPU, if it is known yet.
    pub(crate) fn vcpu(&self, index: VcpuIndex) -> Option<Arc<Vcpu>> {
        let vcpus = self.vcpus.lock();

        vcpus.get(clamp(index.0.into(), vcpus.len())?).cloned()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.channel.is_dead()
    }

    /// Ends the conversation; may be called from anywhere.  The session is ended by whoever deals
    /// with messages next.
    pub(crate) fn die(&self) {
        self.channel.die();
    }

    /// Ends the session.  When this returns nothing of it changes anything any more, whoever has
    /// ended it.  It waits for the message that is being dealt with, and for what each vCPU is doing
    /// for the tool, none of which waits for anybody.
    ///
    /// Restrictions are left as the tool has chosen.
    pub(crate) fn finish(&self) {
        self.die();
        self.channel.end(|| self.undo());
    }

    /// Ends the session from the VMM's side: its restrictions go, whatever the tool has chosen and
    /// whoever has ended it before.  The caller keeps the VM.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.store(true, Relaxed);
        self.finish();
        self.vm.release_access();
    }

    /// What [`Session::finish()`] undoes: runs once, in the channel's role.
    fn undo(&self) {
        if self.withdrawn.load(Relaxed) {
            self.vm.release_access();
        } else {
            self.vm.leave_access(self.on_exit.load(Relaxed));
        }
        self.for_each_vcpu(Vcpu::end);
        // Each gives back what was intercepted for the tool.
        self.vm.kick_all();
    }

    /// The number of the next event, the first being 1.
    pub(crate) fn next_seq(&self) -> u32 {
        self.seq.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// Sends a message; if that cannot be, the session dies.
    pub(crate) fn send(&self, message: Result<KVec<u8>>) -> Result {
        message
            .and_then(|message| self.channel.send(message))
            .inspect_err(|_| self.die())
    }

    /// Replies to a command.
    pub(crate) fn answer(
        &self,
        to: &glue::kvmi_msg_hdr,
        answer: core::result::Result<Payload, wire::Code>,
    ) {
        let err = answer.as_ref().err().map_or(0, |code| code.value());
        let reply = wire::reply(to, answer);

        // Behind the end the VM may be gone, and nobody reads.
        self.channel.while_open(|| self.vm.trace_reply(to, err));
        // A failure has ended the session, which is all there is to do about it.
        let _ = self.send(reply);
    }

    /// Deals with the next message from the tool.  `false`: there is none.
    fn serve(&self, reader: &mut Reader<'_>) -> Result<bool, Failure> {
        let Some(message) = reader.next()? else {
            return Ok(false);
        };

        match self.channel.while_open(|| self.deal_with(message)) {
            // What is sent, is sent without the lock.
            Some(Ok(Some((header, answer)))) => self.answer(&header, answer),
            Some(Ok(None)) => (),
            Some(Err(_)) | None => return Err(Failure::Protocol),
        }
        Ok(true)
    }

    /// Returns the answer to a message, if it is answered now.
    fn deal_with(&self, message: Message) -> Result<Option<Answer>, Failure> {
        let header = message.header;

        self.vm.trace_command(&header);

        let answer = match command::dispatch(self, &message) {
            Ok(command::Done::Reply(payload)) => Ok(payload),
            Ok(command::Done::Silent) => return Ok(None),
            Ok(command::Done::ForVcpu(vcpu)) => match vcpu.push_command(message) {
                Ok(()) => {
                    self.vm.kick(vcpu.index, false);
                    return Ok(None);
                }
                Err(code) => Err(code),
            },
            Err(Failure::Refused(code)) => Err(code),
            Err(Failure::Protocol) => return Err(Failure::Protocol),
        };

        Ok(Some((header, answer)))
    }

    /// Reads and deals with messages until there are none, or until `enough()`.
    pub(crate) fn pump(&self, enough: impl Fn() -> bool) {
        let Some(mut reader) = self.channel.try_read(Who::Vcpu) else {
            return;
        };

        while !enough() {
            match self.serve(&mut reader) {
                Ok(true) => (),
                Ok(false) => return,
                Err(_) => return self.finish(),
            }
        }
    }

    /// A portion of the task's work: sends what can be sent, revives those who waited for room,
    /// and deals with messages that no vCPU reads.  Whoever has the role instead hands it on.
    pub(crate) fn turn(&self) -> Work {
        if self.is_dead() || self.channel.flush().is_err() {
            self.finish();
            return Work::Idle;
        }
        if self.channel.take_room() {
            self.channel.while_open(|| self.revive_vcpus());
        }

        let Some(mut reader) = self.channel.try_read(Who::Task) else {
            return self.later();
        };

        for _ in 0..PORTION {
            match self.serve(&mut reader) {
                Ok(true) => (),
                Ok(false) => return self.later(),
                Err(_) => {
                    self.finish();
                    return Work::Idle;
                }
            }
        }
        Work::More
    }

    /// When the task looks again, if nobody wakes it.
    fn later(&self) -> Work {
        if self.channel.has_unsent() {
            Work::Later(RETRY_MS)
        } else {
            Work::Idle
        }
    }

    /// Room has come: the vCPUs that left commands in their queues take them up again.
    fn revive_vcpus(&self) {
        self.for_each_vcpu(|vcpu| {
            if vcpu.has_work() {
                vcpu.attract();
                self.vm.kick(vcpu.index, false);
            }
        });
    }

    fn for_each_vcpu(&self, mut f: impl FnMut(&Vcpu)) {
        let mut index = 0;

        while let Some(vcpu) = self.vcpu(VcpuIndex(index)) {
            f(&vcpu);
            let Some(next) = index.checked_add(1) else {
                break;
            };
            index = next;
        }
    }
}
