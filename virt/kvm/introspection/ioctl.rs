// SPDX-License-Identifier: GPL-2.0

//! What a device manager may ask of a VM: hook, unhook, allow lists, preunhook.
//!
//! Locks: `ioctl` serialises the five; `hooked`, a spin lock, says what the VM is and is never held
//! for longer than that.

use super::{
    command,
    event::{self, x86::Site, Said},
    permission::bits,
    run::Verdict,
    session::Session,
    sys::{
        glue::{self, kvm_introspection_feature, kvm_introspection_hook, kvmi_status},
        kvm::{Hooker, Memcg, RunningVcpu, Vm},
        socket::Connection,
    },
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
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

/// What every VM has while introspection is enabled.
#[pin_data]
pub(crate) struct Door {
    vm: Vm,
    memcg: Memcg,
    /// The last session wanted its intercepts to stay.
    keep: Atomic<bool>,
    #[pin]
    ioctl: Mutex<()>,
    #[pin]
    hooked: SpinLock<Slot>,
}

impl Door {
    pub(crate) fn new(vm: Vm) -> impl PinInit<Self> {
        pin_init!(Self {
            vm,
            memcg: vm.memcg(),
            keep: Atomic::new(false),
            ioctl <- new_mutex!(()),
            hooked <- new_spinlock!(Slot::Free),
        })
    }

    /// The session, dead or alive.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match &*self.hooked.lock() {
            Slot::Hooked(session) => Some(session.clone()),
            Slot::Free | Slot::Refused => None,
        }
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
    /// - `EOPNOTSUPP`: a protected VM, or a family of sockets that is not supported.
    /// - `EEXIST`: an active session.
    /// - `EBUSY`: the socket carries another session.
    /// - `EIO`: the VM's address space is gone.
    pub(crate) fn hook(&self, hook: &kvm_introspection_hook, foreign: bool) -> Result {
        if hook.padding != 0 {
            return Err(EINVAL);
        }

        let _ioctl = self.ioctl.lock();
        let _charge = self.memcg.charge();

        if self.vm.is_protected() || matches!(&*self.hooked.lock(), Slot::Refused) {
            return Err(EOPNOTSUPP);
        }
        if self.session().is_some_and(|session| !session.is_dead()) {
            return Err(EEXIST);
        }

        if !self.vm.has_mm() {
            return Err(EIO);
        }

        let conn = Connection::open(hook.fd)?;
        let hooker = Hooker::current(&hook.uuid, foreign);
        let session = Session::new(self.vm, self.memcg.clone(), conn, hooker)?;

        self.bury();
        glue_in_use(true);
        if let Err(e) = self.publish(&session) {
            glue_in_use(false);
            session.bury();
            return Err(e);
        }
        session.hooker.announce(&self.vm);

        // A vCPU that came between is picked up here; without memory it answers EAGAIN.
        let _ = session.add_vcpus();
        session.start();

        // Whoever ended the address space meanwhile may not have seen the session.
        if !self.vm.has_mm() {
            self.bury();
            return Err(EIO);
        }
        Ok(())
    }

    fn publish(&self, session: &Arc<Session>) -> Result {
        let mut slot = self.hooked.lock();

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
        self.bury();
        Ok(())
    }

    /// Ends the session because the VM ends.
    pub(crate) fn close(&self) {
        let _ioctl = self.ioctl.lock();

        self.bury();
    }

    /// Takes the session out of the VM and ends it.
    fn bury(&self) {
        let mut slot = self.hooked.lock();

        if !matches!(&*slot, Slot::Hooked(_)) {
            return;
        }
        let old = core::mem::replace(&mut *slot, Slot::Free);

        drop(slot);
        if let Slot::Hooked(session) = old {
            self.keep.store(!session.cleanup.load(Relaxed), Relaxed);
            session.bury();
            self.vm.trace_unhook();
            glue_in_use(false);
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
        let _ioctl = self.ioctl.lock();
        let _charge = self.memcg.charge();

        event::unhook(&*self.session().ok_or(EFAULT)?)
    }

    /// Never hook this VM.  `EBUSY`: it is hooked.
    pub(crate) fn refuse(&self) -> Result {
        let mut slot = self.hooked.lock();

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

        status.state = if session.is_dead() {
            glue::KVMI_STATE_DEAD
        } else {
            glue::KVMI_STATE_ACTIVE
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

    /// Does a living session want to hear of an event?
    pub(crate) fn hears(&self, here: &RunningVcpu<'_>, event: u16) -> bool {
        self.session()
            .filter(|session| !session.is_dead())
            .zip(here.index())
            .and_then(|(session, index)| session.vcpu(index))
            .is_some_and(|me| me.events.contains(event))
    }

    /// Is there a session that is not dead?
    pub(crate) fn lives(&self) -> bool {
        self.session().is_some_and(|session| !session.is_dead())
    }

    /// The VMM wrote the state of this vCPU, or INIT reset it.
    pub(crate) fn state_written(&self, here: &RunningVcpu<'_>) {
        let me = self
            .session()
            .zip(here.index())
            .and_then(|(session, index)| session.vcpu(index));

        match me {
            Some(me) => me.start_anew(here),
            None => {
                here.forget();
            }
        }
    }
}

fn glue_in_use(more: bool) {
    super::sys::kvm::in_use(more);
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
