// SPDX-License-Identifier: GPL-2.0

//! Commands of the VM, `Documentation/virt/kvm/kvmi.rst`.

use super::{is_known, VmCommand};
use crate::{
    event,
    session::{Runner, Session},
    sys::{
        glue::*,
        kvm::{GuestPhysical, VcpuIndex},
    },
    wire::{flag, payload, Code, Failure, Payload, Request},
};
use core::mem::size_of;
use kernel::{prelude::*, sync::atomic::Relaxed};
use zerocopy::FromZeros;

/// Bytes of a guest page.
const PAGE: u16 = 4096;

/// What the kernel speaks: version, largest payload, features.
pub(crate) struct GetVersion;

impl VmCommand for GetVersion {
    const ID: u16 = KVMI_GET_VERSION as u16;
    type Request = ();

    fn run(_: &Session, (): &(), _: usize, _: &[u8], _: &Runner) -> Result<Payload, Failure> {
        let mut reply = kvmi_get_version_reply::new_zeroed();

        reply.version = KVMI_VERSION;
        reply.max_msg_size = KVMI_MAX_MSG_SIZE;
        payload(&reply)
    }
}

/// Is a command there (`ENOENT`) and allowed (`EPERM`)?  `EINVAL`: padding.
pub(crate) struct CheckCommand;

impl VmCommand for CheckCommand {
    const ID: u16 = KVMI_VM_CHECK_COMMAND as u16;
    type Request = kvmi_vm_check_command;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        _: &Runner,
    ) -> Result<Payload, Failure> {
        check(
            request.padding_is_zero(),
            is_known(request.id),
            session.commands.contains(request.id),
        )
    }
}

/// Is an event there (`ENOENT`) and allowed (`EPERM`)?  `EINVAL`: padding.
pub(crate) struct CheckEvent;

impl VmCommand for CheckEvent {
    const ID: u16 = KVMI_VM_CHECK_EVENT as u16;
    type Request = kvmi_vm_check_event;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        _: &Runner,
    ) -> Result<Payload, Failure> {
        check(
            request.padding_is_zero(),
            event::is_known(request.id),
            session.events.contains(request.id),
        )
    }
}

fn check(padding: bool, known: bool, allowed: bool) -> Result<Payload, Failure> {
    if !padding {
        Err(Code::EINVAL.into())
    } else if !known {
        Err(Code::ENOENT.into())
    } else if !allowed {
        Err(Code::EPERM.into())
    } else {
        Ok(Payload::new())
    }
}

/// How many vCPUs are online.
pub(crate) struct GetInfo;

impl VmCommand for GetInfo {
    const ID: u16 = KVMI_VM_GET_INFO as u16;
    type Request = ();

    fn run(session: &Session, (): &(), _: usize, _: &[u8], _: &Runner) -> Result<Payload, Failure> {
        let mut reply = kvmi_vm_get_info_reply::new_zeroed();

        reply.vcpu_count = session.vm.vcpu_count();
        payload(&reply)
    }
}

/// Enables an event of the VM.  `EINVAL`: padding, flag, not such an event; `EPERM`: disallowed.
pub(crate) struct ControlEvents;

impl VmCommand for ControlEvents {
    const ID: u16 = KVMI_VM_CONTROL_EVENTS as u16;
    type Request = kvmi_vm_control_events;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        _: &Runner,
    ) -> Result<Payload, Failure> {
        let enable = flag(request.enable)?;

        if !request.padding_is_zero() || !event::is_vm_event(request.event_id) {
            return Err(Code::EINVAL.into());
        }
        if !session.events.contains(request.event_id) {
            return Err(Code::EPERM.into());
        }
        session.vm_events.set(request.event_id, enable);
        Ok(Payload::new())
    }
}

/// A range of bytes within one page.
fn range(gpa: u64, size: u16) -> Result<(GuestPhysical, usize), Code> {
    let offset = u16::try_from(gpa % u64::from(PAGE)).map_err(|_| Code::EINVAL)?;
    let room = PAGE.checked_sub(offset).ok_or(Code::EINVAL)?;

    if size == 0 || size > room {
        return Err(Code::EINVAL);
    }
    Ok((GuestPhysical(gpa), size.into()))
}

/// Reads guest memory.  `EINVAL`: size 0, a range that leaves its page, padding; `ENOENT`: no
/// memory there.
pub(crate) struct ReadPhysical;

impl VmCommand for ReadPhysical {
    const ID: u16 = KVMI_VM_READ_PHYSICAL as u16;
    type Request = kvmi_vm_read_physical;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        runner: &Runner,
    ) -> Result<Payload, Failure> {
        let (gpa, size) = range(request.gpa, request.size)?;

        if !request.padding_is_zero() {
            return Err(Code::EINVAL.into());
        }
        let mut bytes = Payload::from_elem(0, size, GFP_KERNEL_ACCOUNT)?;

        session.reach(runner, || session.vm.read(gpa, &mut bytes))?;
        Ok(bytes)
    }
}

/// Writes guest memory.  Fewer bytes than announced close the connection; `EINVAL`, `ENOENT` as
/// for reading, the latter for a read-only slot too.
pub(crate) struct WritePhysical;

impl VmCommand for WritePhysical {
    const ID: u16 = KVMI_VM_WRITE_PHYSICAL as u16;
    type Request = kvmi_vm_write_physical;

    fn run(
        session: &Session,
        request: &Self::Request,
        size: usize,
        rest: &[u8],
        runner: &Runner,
    ) -> Result<Payload, Failure> {
        let data = rest
            .get(..usize::from(request.size))
            .filter(|_| size >= size_of::<kvmi_vm_write_physical>())
            .ok_or(Failure::Protocol)?;
        let (gpa, _) = range(request.gpa, request.size)?;

        if !request.padding_is_zero() {
            return Err(Code::EINVAL.into());
        }
        session.reach(runner, || session.vm.write(gpa, data))?;
        Ok(Payload::new())
    }
}

/// Queues a pause.  `EINVAL`: flag, padding; `EPERM`: the event is disallowed; `EINVAL`: no such
/// vCPU; `EBUSY`: 1002 wait already.
pub(crate) struct PauseVcpu;

impl VmCommand for PauseVcpu {
    const ID: u16 = KVMI_VM_PAUSE_VCPU as u16;
    type Request = kvmi_vm_pause_vcpu;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        _: &Runner,
    ) -> Result<Payload, Failure> {
        let wait = flag(request.wait)?;

        if !request.padding_is_zero() {
            return Err(Code::EINVAL.into());
        }
        if !session.events.contains(KVMI_VCPU_EVENT_PAUSE as u16) {
            return Err(Code::EPERM.into());
        }
        if u32::from(request.vcpu) >= session.vm.vcpu_count() {
            return Err(Code::EINVAL.into());
        }
        let vcpu = session.vcpu(VcpuIndex(request.vcpu)).ok_or(Code::EAGAIN)?;

        vcpu.push_pause()?;
        session.vm.kick(vcpu.index, wait);
        Ok(Payload::new())
    }
}

/// Chooses whether intercepts are given back at the end.  `EINVAL`: padding, flag.
pub(crate) struct ControlCleanup;

impl VmCommand for ControlCleanup {
    const ID: u16 = KVMI_VM_CONTROL_CLEANUP as u16;
    type Request = kvmi_vm_control_cleanup;

    fn run(
        session: &Session,
        request: &Self::Request,
        _: usize,
        _: &[u8],
        _: &Runner,
    ) -> Result<Payload, Failure> {
        let enable = flag(request.enable)?;

        if !request.padding_is_zero() {
            return Err(Code::EINVAL.into());
        }
        session.cleanup.store(enable, Relaxed);
        Ok(Payload::new())
    }
}

/// The highest frame number that a user memory slot backs.  `ENOENT`: none does.
pub(crate) struct GetMaxGfn;

impl VmCommand for GetMaxGfn {
    const ID: u16 = KVMI_VM_GET_MAX_GFN as u16;
    type Request = ();

    fn run(session: &Session, (): &(), _: usize, _: &[u8], _: &Runner) -> Result<Payload, Failure> {
        let gfn = session.vm.max_gfn().ok_or(Code::ENOENT)?;

        payload(&kvmi_vm_get_max_gfn_reply { gfn })
    }
}
