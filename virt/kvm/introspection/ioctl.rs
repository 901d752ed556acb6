// SPDX-License-Identifier: GPL-2.0

//! What a device manager may ask of a VM: hook, unhook, allow lists, preunhook.
//!
//! Locks: `ioctl` serialises the five; `state`, a spin lock, says what the VM is and is never held
//! for longer than that.

use super::{
    command,
    event::{self, x86::Site, Said},
    permission::bits,
    run::Verdict,
    session::Session,
    sys::{
        glue::{self, kvm_introspection_feature, kvm_introspection_hook, kvmi_status},
        kvm::{in_use, Hooker, LockedVcpu, Memcg, RunningVcpu, Vm},
        socket::{Connection, Receiver, Sender},
        vhost_task::{TaskBody, VhostTask, Work},
    },
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        lock::mutex::MutexGuard,
        Arc, Mutex, SpinLock,
    },
};

/// What a VM is to us.
enum Slot {
    Free,
    /// Its memory or registers are out of the host's sight.
    Refused,
    Hooked(Arc<Session>),
}

/// What the VM and its task share: the task finds the session here.
#[pin_data]
pub(crate) struct Attached {
    #[pin]
    state: SpinLock<Slot>,
}

impl Attached {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self { state <- new_spinlock!(Slot::Free) })
    }

    /// The session, dead or alive.
    fn session(&self) -> Option<Arc<Session>> {
        match &*self.state.lock() {
            Slot::Hooked(session) => Some(session.clone()),
            Slot::Free | Slot::Refused => None,
        }
    }
}

impl TaskBody for Attached {
    fn turn(&self) -> Work {
        self.session().map_or(Work::Idle, |session| session.turn())
    }

    fn killed(&self) {
        if let Some(session) = self.session() {
            session.finish();
        }
    }
}

/// What every VM has while introspection is enabled.
#[pin_data]
pub(crate) struct Door {
    vm: Vm,
    memcg: Memcg,
    /// The last session wanted its intercepts to stay.
    keep: Atomic<bool>,
    attached: Arc<Attached>,
    task: VhostTask,
    #[pin]
    ioctl: Mutex<()>,
}

impl Door {
    /// Makes the door of a VM that the calling process creates, and the VM's task.  `ENOMEM`;
    /// `EAGAIN`: the process may have no more tasks; `ERESTARTNOINTR`: a signal is pending.
    pub(crate) fn new(vm: Vm) -> Result<Pin<KBox<Self>>> {
        let attached = Arc::pin_init(Attached::new(), GFP_KERNEL_ACCOUNT)?;
        let task = VhostTask::create(attached.clone())?;

        KBox::pin_init(
            pin_init!(Self {
                vm,
                memcg: vm.memcg(),
                keep: Atomic::new(false),
                attached,
                task,
                ioctl <- new_mutex!(()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The session, dead or alive.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.attached.session()
    }

    /// The session, for a caller who may command it: while a foreign one is active the VMM may
    /// not (`EPERM`).
    fn session_for(&self, foreign: bool) -> Result<Option<Arc<Session>>> {
        let session = self.session();

        match &session {
            Some(s) if !s.is_dead() && s.hooker.is_foreign() && !foreign => Err(EPERM),
            _ => Ok(session),
        }
    }

    /// Hooks the VM.
    ///
    /// - `EINVAL`: padding, or no connected stream socket.
    /// - `EOPNOTSUPP`: a protected VM, or a kind of socket that is not supported.
    /// - `EEXIST`: an active session.
    /// - `EBUSY`: the socket carries another session.
    /// - `EIO`: the VM's address space is gone, or a signal has ended its task.
    pub(crate) fn hook(&self, hook: &kvm_introspection_hook, foreign: bool) -> Result {
        if hook.padding != 0 {
            return Err(EINVAL);
        }

        // The socket is looked at without the lock: whoever handed it over may hold its own.
        drop(self.lock_to_hook()?);

        let socket = self
            .memcg
            .charge(|| Connection::open(hook.fd, &self.task))?;
        let _ioctl = self.lock_to_hook()?;

        self.memcg.charge(|| self.attach(hook, socket, foreign))
    }

    /// Takes the lock, if the VM can be hooked.
    fn lock_to_hook(&self) -> Result<MutexGuard<'_, ()>> {
        let ioctl = self.ioctl.lock();

        if self.vm.is_protected() || matches!(&*self.attached.state.lock(), Slot::Refused) {
            return Err(EOPNOTSUPP);
        }
        if self.session().is_some_and(|session| !session.is_dead()) {
            return Err(EEXIST);
        }
        if !self.can_serve() {
            return Err(EIO);
        }
        Ok(ioctl)
    }

    /// Returns whether the VM has its memory and its task still.
    fn can_serve(&self) -> bool {
        self.vm.has_mm() && self.task.is_alive()
    }

    fn attach(
        &self,
        hook: &kvm_introspection_hook,
        socket: (Connection, Receiver, Sender),
        foreign: bool,
    ) -> Result {
        let hooker = Hooker::current(&hook.uuid, foreign);
        let session = Session::new(self.vm, self.memcg.clone(), socket, hooker)?;

        self.detach(Session::finish);
        self.vm.inherit_access();
        in_use(true);
        if let Err(e) = self.publish(&session) {
            in_use(false);
            session.finish();
            return Err(e);
        }
        session.hooker.announce(&self.vm);

        // A vCPU that came between is picked up here; without memory it answers EAGAIN.
        let _ = session.add_vcpus();
        session.channel.wake_task();

        // Whoever ended the address space or the task meanwhile may not have seen the session.
        if !self.can_serve() {
            self.detach(Session::withdraw);
            return Err(EIO);
        }
        Ok(())
    }

    fn publish(&self, session: &Arc<Session>) -> Result {
        let mut slot = self.attached.state.lock();

        if matches!(&*slot, Slot::Refused) {
            return Err(EOPNOTSUPP);
        }
        *slot = Slot::Hooked(session.clone());
        Ok(())
    }

    /// Ends the session, if there is one.  `EPERM`: it is somebody else's.
    pub(crate) fn unhook(&self, foreign: bool) -> Result {
        let _ioctl = self.ioctl.lock();

        self.session_for(foreign)?;
        self.detach(Session::withdraw);
        // A session that is gone may have left restrictions.
        self.vm.release_access();
        Ok(())
    }

    /// Ends the session because the VM ends.
    pub(crate) fn close(&self) {
        let _ioctl = self.ioctl.lock();

        self.detach(Session::withdraw);
    }

    /// Takes the session out of the VM and ends it.
    fn detach(&self, end: impl FnOnce(&Session)) {
        let mut slot = self.attached.state.lock();

        if !matches!(&*slot, Slot::Hooked(_)) {
            return;
        }
        let old = core::mem::replace(&mut *slot, Slot::Free);

        drop(slot);
        if let Slot::Hooked(session) = old {
            self.keep.store(!session.cleanup.load(Relaxed), Relaxed);
            end(&session);
            self.vm.trace_unhook();
            in_use(false);
        }
    }

    /// Allows or disallows a command.  `EINVAL`: no such command, flag; `EFAULT`: not hooked;
    /// `EPERM`: it is always allowed.
    pub(crate) fn allow_command(
        &self,
        feature: &kvm_introspection_feature,
        foreign: bool,
    ) -> Result {
        let (ids, allow) = checked(feature, command::KNOWN)?;
        let _ioctl = self.ioctl.lock();
        let session = self.session_for(foreign)?.ok_or(EFAULT)?;

        if !allow && feature.id != -1 && ids & command::ALWAYS_ALLOWED != 0 {
            return Err(EPERM);
        }
        session
            .commands
            .change(ids & !command::ALWAYS_ALLOWED, allow);
        Ok(())
    }

    /// Allows or disallows an event.  `EINVAL`: no such event, flag; `EFAULT`: not hooked.
    pub(crate) fn allow_event(&self, feature: &kvm_introspection_feature, foreign: bool) -> Result {
        let (ids, allow) = checked(feature, event::VM_EVENTS | event::VCPU_EVENTS)?;
        let _ioctl = self.ioctl.lock();
        let session = self.session_for(foreign)?.ok_or(EFAULT)?;

        session.events.change(ids, allow);
        Ok(())
    }

    /// Tells the tool to leave.  `EFAULT`: not hooked; `ENOENT`: it did not ask to be told;
    /// `EBUSY`: it does not read what it is told.
    pub(crate) fn preunhook(&self) -> Result {
        // Without the lock: sending may have to wait for the one of the socket.
        let session = self.session().ok_or(EFAULT)?;

        self.memcg.charge(|| event::unhook(&session))
    }

    /// Never hook this VM.  `EBUSY`: it is hooked.
    pub(crate) fn refuse(&self) -> Result {
        let mut slot = self.attached.state.lock();

        match &*slot {
            Slot::Hooked(_) => return Err(EBUSY),
            Slot::Free | Slot::Refused => *slot = Slot::Refused,
        }
        Ok(())
    }

    /// What fdinfo shows.
    pub(crate) fn status(&self, status: &mut kvmi_status) {
        let Some(session) = self.session() else {
            return;
        };

        // What is said to be dead has ended.
        if session.is_dead() {
            session.finish();
        }
        status.state = match session.is_dead() {
            true if self.vm.is_frozen() => glue::KVMI_STATE_FROZEN,
            true => glue::KVMI_STATE_DEAD,
            false => glue::KVMI_STATE_ACTIVE,
        };
        session.hooker.copy_to(&mut status.hooker);
    }

    /// Runs what the tool wants of this vCPU.
    pub(crate) fn run_vcpu(&self, here: &RunningVcpu<'_>) -> Verdict {
        let Some(session) = self.session() else {
            // A session without clean-up leaves what it wanted to the next one.
            here.release(self.keep.load(Relaxed));
            return Verdict::Continue;
        };

        here.adopt(session.id);
        match here.index().and_then(|index| session.vcpu(index)) {
            Some(me) => session.run_vcpu(&me, here),
            None => Verdict::Continue,
        }
    }

    /// Asks the session of this VM about something that the guest is doing.
    pub(crate) fn ask(&self, here: &RunningVcpu<'_>, ask: impl FnOnce(Site<'_>) -> Said) -> Said {
        let Some(session) = self.session() else {
            return Said::Unasked;
        };

        match here.index().and_then(|index| session.vcpu(index)) {
            Some(me) => ask(Site {
                session: &session,
                me: &me,
                here,
            }),
            None => Said::Unasked,
        }
    }

    /// Returns whether a living session wants to hear of an event.
    pub(crate) fn hears(&self, vcpu: &LockedVcpu<'_>, event: u16) -> bool {
        self.session()
            .filter(|session| !session.is_dead())
            .zip(vcpu.index())
            .and_then(|(session, index)| session.vcpu(index))
            .is_some_and(|me| me.events.contains(event))
    }

    /// Returns whether there is a session that is not dead.
    pub(crate) fn lives(&self) -> bool {
        self.session().is_some_and(|session| !session.is_dead())
    }

    /// Returns whether there is a session that is not dead; one that is has ended behind this.
    pub(crate) fn end_if_dead(&self) -> bool {
        match self.session() {
            Some(session) if session.is_dead() => {
                session.finish();
                false
            }
            session => session.is_some(),
        }
    }

    /// Ends the session because the VM's address space is going away.
    pub(crate) fn mm_release(&self) {
        if let Some(session) = self.session() {
            session.withdraw();
        }
    }

    /// The VMM wrote the state of this vCPU, or INIT reset it.
    pub(crate) fn state_written(&self, vcpu: &LockedVcpu<'_>) {
        let me = self
            .session()
            .zip(vcpu.index())
            .and_then(|(session, index)| session.vcpu(index));

        match me {
            Some(me) => me.start_anew(vcpu),
            None => {
                vcpu.forget();
            }
        }
    }
}

/// The ids that a feature names, and whether they are to be allowed.
fn checked(feature: &kvm_introspection_feature, known: u64) -> Result<(u64, bool)> {
    let ids = match feature.id {
        -1 => known,
        id => bits(&[u16::try_from(id).map_err(|_| EINVAL)?]) & known,
    };

    match feature.allow {
        _ if ids == 0 => Err(EINVAL),
        0 => Ok((ids, false)),
        1 => Ok((ids, true)),
        _ => Err(EINVAL),
    }
}
