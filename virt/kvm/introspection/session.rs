// SPDX-License-Identifier: GPL-2.0

//! One hooked VM: what the session owns, how it is born and how it dies, and what its thread does.
//!
//! It is born in HOOK, dies when the conversation ends ([`Channel::die()`]: the tool closed the
//! socket or broke the protocol, the VMM unhooked, the VM or its address space went away), and is
//! buried by UNHOOK, by a HOOK that replaces it, or with the VM.  Dead or alive, its thread is
//! stopped before it is dropped.
//!
//! Locks: `vcpus`, innermost.  Whoever holds an `Arc<Session>` is the session's thread, a vCPU
//! thread inside `KVM_RUN`, or inside an ioctl.

use super::{
    channel::{Channel, Reader},
    command,
    permission::IdSet,
    sys::{
        glue,
        kthread::{self, KThread, ThreadBody},
        kvm::{clamp, Hooker, Memcg, VcpuIndex, Vm},
        socket::Connection,
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

/// How often a page is asked for: after 1, 2, 4, ... 64, 64 ... milliseconds.
const PAGE_TRIES: u32 = 80;

/// The id of the session that was made last.
static LAST_ID: Atomic<u64> = Atomic::new(0);

/// A hooked VM.
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
    /// Give intercepts back at the end?
    pub(crate) cleanup: Atomic<bool>,
    memcg: Memcg,
    seq: Atomic<u32>,
    started: Atomic<bool>,
    #[pin]
    pub(crate) channel: Channel,
    #[pin]
    vcpus: Mutex<KVec<Arc<Vcpu>>>,
    #[pin]
    thread: Mutex<Option<KThread<Session>>>,
}

/// Who runs a command.
pub(crate) enum Runner {
    /// The connection thread: it may wait.
    Thread,
    /// A vCPU that waits for a reply.
    Vcpu,
}

impl Session {
    /// Makes a session that does nothing until [`Session::start()`].
    pub(crate) fn new(vm: Vm, memcg: Memcg, conn: Connection, hooker: Hooker) -> Result<Arc<Self>> {
        let session = Arc::pin_init(
            try_pin_init!(Self {
                vm,
                id: LAST_ID.fetch_add(1, Relaxed).wrapping_add(1),
                hooker,
                commands: IdSet::new(command::ALWAYS_ALLOWED),
                events: IdSet::new(0),
                vm_events: IdSet::new(0),
                cleanup: Atomic::new(true),
                memcg,
                seq: Atomic::new(0),
                started: Atomic::new(false),
                channel <- Channel::new(conn),
                vcpus <- new_mutex!(KVec::new()),
                thread <- new_mutex!(None),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;

        session.add_vcpus()?;

        let thread = KThread::start(session.clone(), vm.pid())?;
        *session.thread.lock() = Some(thread);
        Ok(session)
    }

    /// Lets the thread begin: the session can be found now.
    pub(crate) fn start(&self) {
        self.started.store(true, Relaxed);
        self.channel.wake_thread();
    }

    /// Makes room for the vCPUs that are online and not known yet.
    pub(crate) fn add_vcpus(&self) -> Result {
        let _charge = self.memcg.charge();
        let mut vcpus = self.vcpus.lock();

        while let Ok(index) = u16::try_from(vcpus.len()) {
            if u32::from(index) >= self.vm.vcpu_count() {
                break;
            }
            vcpus.push(Vcpu::new(VcpuIndex(index))?, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// A vCPU, if it is known yet.
    pub(crate) fn vcpu(&self, index: VcpuIndex) -> Option<Arc<Vcpu>> {
        let vcpus = self.vcpus.lock();

        vcpus.get(clamp(index.0.into(), vcpus.len())?).cloned()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.channel.is_dead()
    }

    /// Ends the conversation; may be called from anywhere.
    pub(crate) fn die(&self) {
        self.channel.die();
        self.vm.kick_all();
    }

    /// Ends the session for good.  Called once, without locks, by whoever took it from its VM.
    pub(crate) fn bury(&self) {
        self.die();

        let thread = self.thread.lock().take();
        drop(thread);
        self.channel.close();
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
    pub(crate) fn answer(&self, to: &Message, answer: core::result::Result<Payload, wire::Code>) {
        let err = answer.as_ref().err().map_or(0, |code| code.value());

        self.trace_reply(&to.header, err);
        // A failure has ended the session, which is all there is to do about it.
        let _ = self.send(wire::reply(&to.header, &answer));
    }

    fn trace_reply(&self, header: &glue::kvmi_msg_hdr, err: i32) {
        self.vm.trace_reply(header, err);
    }

    /// Deals with one message from the tool.
    fn dispatch(&self, message: Message, runner: &Runner) -> Result<(), (Failure, Message)> {
        self.vm.trace_command(&message.header);
        match command::dispatch(self, &message, runner) {
            Ok(command::Done::Reply(payload)) => self.answer(&message, Ok(payload)),
            Ok(command::Done::Silent) => (),
            Ok(command::Done::ForVcpu(vcpu)) => match vcpu.push_command(message) {
                Ok(()) => self.vm.kick(vcpu.index, false),
                Err((code, message)) => self.answer(&message, Err(code)),
            },
            Err(Failure::Refused(code)) => self.answer(&message, Err(code)),
            Err(failure) => return Err((failure, message)),
        }
        Ok(())
    }

    /// Reads and deals with messages until there are none, or until `enough()`.
    pub(crate) fn pump(&self, runner: &Runner, enough: impl Fn() -> bool) {
        let Some(mut reader) = self.channel.try_read() else {
            return;
        };

        while !enough() {
            let thread = matches!(runner, Runner::Thread);
            let message = match reader.next(thread) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return self.fail(reader),
            };

            match self.dispatch(message, runner) {
                Ok(()) => (),
                Err((Failure::Later, message)) => {
                    reader.defer(message);
                    break;
                }
                Err(_) => return self.fail(reader),
            }
        }
    }

    fn fail(&self, reader: Reader<'_>) {
        self.die();
        drop(reader);
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

    /// Sends what can be sent, and revives those who waited for room.
    fn tend(&self) {
        if self.channel.has_unsent() && self.channel.flush().is_err() {
            self.die();
        }
        if self.channel.take_room() {
            self.revive_vcpus();
        }
    }

    /// Calls `access` until the page is there.  Only the thread waits, about five seconds and not
    /// beyond the session: then the tool may ask again (`EAGAIN`).
    pub(crate) fn reach(
        &self,
        runner: &Runner,
        mut access: impl FnMut() -> Result,
    ) -> Result<(), Failure> {
        for tries in 0..PAGE_TRIES {
            match access() {
                Ok(()) => return Ok(()),
                Err(e) if e == EAGAIN => (),
                Err(e) if e == EBUSY => return Err(wire::Code::EBUSY.into()),
                Err(_) => return Err(wire::Code::ENOENT.into()),
            }
            if let Runner::Vcpu = runner {
                return Err(Failure::Later);
            }
            // What was sent before must not wait for the page, and nobody reads that the tool is
            // gone.
            self.tend();
            if self.is_dead() || self.channel.is_hung_up() || kthread::should_stop() {
                return Err(Failure::Protocol);
            }
            self.channel.pause_thread(1 << tries.min(6));
        }
        Err(wire::Code::EAGAIN.into())
    }
}

impl ThreadBody for Session {
    fn run(&self) {
        let _charge = self.memcg.charge();

        loop {
            self.channel.wait_thread(|| self.started.load(Relaxed));
            if kthread::should_stop() || self.is_dead() {
                break;
            }
            self.tend();
            self.pump(&Runner::Thread, kthread::should_stop);
        }

        // Death drops the socket and all that was queued at once, without waiting for UNHOOK.
        self.die();
        self.channel.close();
        self.for_each_vcpu(Vcpu::land);
        self.vm.lift_access();
    }
}
