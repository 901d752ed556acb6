// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands to the VM as a whole.

use super::{Command, fixed};
use crate::{error::Result, wire};

/// Asks for version, limits and features of the protocol. Never refused.
#[derive(Clone, Copy, Debug)]
pub struct GetVersion;

impl Command for GetVersion {
    const ID: u16 = wire::KVMI_GET_VERSION as u16;
    const NAME: &'static str = "GET_VERSION";
    type Request = ();
    type Reply = wire::kvmi_get_version_reply;

    fn request(&self) -> Result<()> {
        Ok(())
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, _>(bytes)
    }
}

/// Asks whether a command exists and is allowed.
///
/// Errors: `ENOENT` no such command, `EPERM` not allowed.
#[derive(Clone, Copy, Debug)]
pub struct CheckCommand {
    /// Number of the command.
    pub id: u16,
}

impl Command for CheckCommand {
    const ID: u16 = wire::KVMI_VM_CHECK_COMMAND as u16;
    const NAME: &'static str = "VM_CHECK_COMMAND";
    type Request = wire::kvmi_vm_check_command;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_check_command {
            id: self.id,
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Asks whether an event exists and is allowed.
///
/// Errors: `ENOENT` no such event, `EPERM` not allowed.
#[derive(Clone, Copy, Debug)]
pub struct CheckEvent {
    /// Number of the event.
    pub id: u16,
}

impl Command for CheckEvent {
    const ID: u16 = wire::KVMI_VM_CHECK_EVENT as u16;
    const NAME: &'static str = "VM_CHECK_EVENT";
    type Request = wire::kvmi_vm_check_event;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_check_event {
            id: self.id,
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Asks for the number of vCPUs.
#[derive(Clone, Copy, Debug)]
pub struct GetInfo;

impl Command for GetInfo {
    const ID: u16 = wire::KVMI_VM_GET_INFO as u16;
    const NAME: &'static str = "VM_GET_INFO";
    type Request = ();
    type Reply = wire::kvmi_vm_get_info_reply;

    fn request(&self) -> Result<()> {
        Ok(())
    }

    fn reply(&self, bytes: &[u8]) -> Result<Self::Reply> {
        fixed::<Self, _>(bytes)
    }
}

/// Turns an event of the VM on or off.
///
/// Errors: `EINVAL` not an event of the VM, `EPERM` not allowed.
#[derive(Clone, Copy, Debug)]
pub struct ControlVmEvents {
    /// Number of the event.
    pub event: u16,
    /// On or off.
    pub enable: bool,
}

impl Command for ControlVmEvents {
    const ID: u16 = wire::KVMI_VM_CONTROL_EVENTS as u16;
    const NAME: &'static str = "VM_CONTROL_EVENTS";
    type Request = wire::kvmi_vm_control_events;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_control_events {
            event_id: self.event,
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Asks a vCPU to stop; a PAUSE event follows for each request.
///
/// Errors: `EINVAL` no such vCPU, `EPERM` the event is not allowed, `EBUSY`
/// more than 1002 requests are pending.
#[derive(Clone, Copy, Debug)]
pub struct PauseVcpu {
    /// Index of the vCPU.
    pub vcpu: u16,
    /// Reply only when the vCPU has left the guest.
    pub wait: bool,
}

impl Command for PauseVcpu {
    const ID: u16 = wire::KVMI_VM_PAUSE_VCPU as u16;
    const NAME: &'static str = "VM_PAUSE_VCPU";
    type Request = wire::kvmi_vm_pause_vcpu;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_pause_vcpu {
            vcpu: self.vcpu,
            wait: self.wait.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Chooses whether interceptions are given back when the session ends.
#[derive(Clone, Copy, Debug)]
pub struct ControlCleanup {
    /// On, the default, gives them back.
    pub enable: bool,
}

impl Command for ControlCleanup {
    const ID: u16 = wire::KVMI_VM_CONTROL_CLEANUP as u16;
    const NAME: &'static str = "VM_CONTROL_CLEANUP";
    type Request = wire::kvmi_vm_control_cleanup;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_control_cleanup {
            enable: self.enable.into(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// What becomes of page restrictions when the tool dies, that is when its
/// connection ends without UNHOOK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// They end: the guest gets everything back.
    #[default]
    Release,
    /// They stay with the VM, and a vCPU that meets one waits for the next tool.
    Freeze,
    /// The first vCPU that meets one ends the VM by a shutdown.
    Crash,
}

impl OnExit {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        let number = match self {
            OnExit::Release => wire::KVMI_ON_EXIT_RELEASE,
            OnExit::Freeze => wire::KVMI_ON_EXIT_FREEZE,
            OnExit::Crash => wire::KVMI_ON_EXIT_CRASH,
        };
        number as u8
    }
}

/// Sets what becomes of page restrictions when this session dies.
///
/// A session begins with [`OnExit::Release`], also on a VM that is frozen.
/// UNHOOK releases always. `features.on_exit` of [`GetVersion`] says whether
/// the kernel has the command.
///
/// Errors: `EPERM` not allowed, `ENOSYS` an older kernel.
#[derive(Clone, Copy, Debug)]
pub struct SetOnExit {
    /// What becomes of them.
    pub action: OnExit,
}

impl Command for SetOnExit {
    const ID: u16 = wire::KVMI_VM_SET_ON_EXIT as u16;
    const NAME: &'static str = "VM_SET_ON_EXIT";
    type Request = wire::kvmi_vm_set_on_exit;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_set_on_exit {
            action: self.action.number(),
            ..Default::default()
        })
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
