// SPDX-License-Identifier: GPL-2.0

//! Commands of the VM, `Documentation/virt/kvm/kvmi.rst`.

use super::{is_known, switch, Call, Outcome, VmCommand};
use crate::{
    event,
    session::Session,
    sys::{
        glue::*,
        kvm::{has_singlestep, GuestPhysical, VcpuIndex},
    },
    wire::{flag, payload, request, Code, Failure, Payload, Request},
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

    fn run(_: &Call<'_, ()>) -> Outcome {
        let mut reply = kvmi_get_version_reply::new_zeroed();

        reply.version = KVMI_VERSION;
        reply.max_msg_size = KVMI_MAX_MSG_SIZE;
        reply.features.singlestep = has_singlestep().into();
        reply.features.on_exit = 1;
        payload(&reply)
    }
}

/// Is a command there (`ENOENT`) and allowed (`EPERM`)?  `EINVAL`: padding.
pub(crate) struct CheckCommand;

impl VmCommand for CheckCommand {
    const ID: u16 = KVMI_VM_CHECK_COMMAND as u16;
    type Request = kvmi_vm_check_command;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        call.check_padding()?;
        check(
            is_known(call.request.id),
            call.session.commands.contains(call.request.id),
        )
    }
}

/// Is an event there (`ENOENT`) and allowed (`EPERM`)?  `EINVAL`: padding.
pub(crate) struct CheckEvent;

impl VmCommand for CheckEvent {
    const ID: u16 = KVMI_VM_CHECK_EVENT as u16;
    type Request = kvmi_vm_check_event;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        call.check_padding()?;
        check(
            event::is_known(call.request.id),
            call.session.events.contains(call.request.id),
        )
    }
}

fn check(known: bool, allowed: bool) -> Outcome {
    if !known {
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

    fn run(call: &Call<'_, ()>) -> Outcome {
        let mut reply = kvmi_vm_get_info_reply::new_zeroed();

        reply.vcpu_count = call.session.vm.vcpu_count();
        payload(&reply)
    }
}

/// Enables an event of the VM.  `EINVAL`: padding, flag, not such an event; `EPERM`: disallowed.
pub(crate) struct ControlEvents;

impl VmCommand for ControlEvents {
    const ID: u16 = KVMI_VM_CONTROL_EVENTS as u16;
    type Request = kvmi_vm_control_events;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let id = call.request.event_id;

        call.check_padding()?;
        switch(
            call.session,
            &call.session.vm_events,
            event::is_vm_event(id),
            id,
            call.request.enable,
        )
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
/// memory there; `EAGAIN`: the page is not resident; `ENOMEM`.
pub(crate) struct ReadPhysical;

impl VmCommand for ReadPhysical {
    const ID: u16 = KVMI_VM_READ_PHYSICAL as u16;
    type Request = kvmi_vm_read_physical;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let (gpa, size) = range(call.request.gpa, call.request.size)?;

        call.check_padding()?;
        let mut bytes = Payload::with_capacity(size)?;

        bytes
            .fill(|to| call.session.vm.read(gpa, size, to))
            .map_err(Code::from_errno)?;
        Ok(bytes)
    }
}

/// Writes guest memory.  Fewer bytes than announced close the connection; `EINVAL`, `ENOENT` as
/// for reading, the latter for a read-only slot too; `EAGAIN`, `ENOMEM` as for reading; `EBUSY`: the
/// dirty ring is full.
pub(crate) struct WritePhysical;

impl VmCommand for WritePhysical {
    const ID: u16 = KVMI_VM_WRITE_PHYSICAL as u16;
    type Request = kvmi_vm_write_physical;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let data = call
            .rest
            .get(..usize::from(call.request.size))
            .filter(|_| call.size >= size_of::<kvmi_vm_write_physical>())
            .ok_or(Failure::Protocol)?;
        let (gpa, _) = range(call.request.gpa, call.request.size)?;

        call.check_padding()?;
        call.session.vm.write(gpa, data).map_err(Code::from_errno)?;
        Ok(Payload::new())
    }
}

/// Queues a pause.  `EINVAL`: flag, padding; `EPERM`: the event is disallowed; `EINVAL`: no such
/// vCPU; `EBUSY`: 1002 wait already.
pub(crate) struct PauseVcpu;

impl VmCommand for PauseVcpu {
    const ID: u16 = KVMI_VM_PAUSE_VCPU as u16;
    type Request = kvmi_vm_pause_vcpu;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let wait = flag(call.request.wait)?;

        call.check_padding()?;
        if !call.session.events.contains(KVMI_VCPU_EVENT_PAUSE as u16) {
            return Err(Code::EPERM.into());
        }
        if u32::from(call.request.vcpu) >= call.session.vm.vcpu_count() {
            return Err(Code::EINVAL.into());
        }
        let vcpu = call
            .session
            .vcpu(VcpuIndex(call.request.vcpu))
            .ok_or(Code::EAGAIN)?;

        vcpu.push_pause()?;
        call.session.vm.kick(vcpu.index, wait);
        Ok(Payload::new())
    }
}

/// Chooses whether intercepts are given back at the end.  `EINVAL`: padding, flag.
pub(crate) struct ControlCleanup;

impl VmCommand for ControlCleanup {
    const ID: u16 = KVMI_VM_CONTROL_CLEANUP as u16;
    type Request = kvmi_vm_control_cleanup;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let enable = flag(call.request.enable)?;

        call.check_padding()?;
        call.session.cleanup.store(enable, Relaxed);
        Ok(Payload::new())
    }
}

/// Restricts access to pages, or no more.  Fewer entries than announced close the connection.
/// `EINVAL`: padding, access, a frame without memory, W without R; `EOPNOTSUPP`: the hardware cannot
/// express it; `ENOMEM`.  Every entry is tried; the first error is told.
pub(crate) struct SetPageAccess;

/// All that can be allowed.
const ALL_ACCESS: u32 = KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X;

impl VmCommand for SetPageAccess {
    const ID: u16 = KVMI_VM_SET_PAGE_ACCESS as u16;
    type Request = kvmi_vm_set_page_access;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let size = usize::from(call.request.count) * size_of::<kvmi_page_access_entry>();
        let entries = call
            .rest
            .get(..size)
            .filter(|_| call.size >= size_of::<Self::Request>())
            .ok_or(Failure::Protocol)?;
        let mut gfns = KVec::with_capacity(call.request.count.into(), GFP_KERNEL_ACCOUNT)?;
        let mut outcome = Ok(Payload::new());

        call.check_padding()?;
        for bytes in entries.chunks_exact(size_of::<kvmi_page_access_entry>()) {
            let (entry, _) = request::<kvmi_page_access_entry>(bytes);

            match restrict(call.session, &entry) {
                Ok(gfn) => gfns.push(gfn, GFP_KERNEL_ACCOUNT)?,
                Err(code) => outcome = outcome.and(Err(code.into())),
            }
        }
        call.session.vm.apply_access(&gfns);
        outcome
    }
}

fn restrict(session: &Session, entry: &kvmi_page_access_entry) -> Result<u64, Code> {
    if !entry.padding_is_zero() || u32::from(entry.access) & !ALL_ACCESS != 0 {
        return Err(Code::EINVAL);
    }
    let gfn = entry.gpa / u64::from(PAGE);

    session
        .vm
        .set_access(gfn, entry.access)
        .map_err(Code::from_errno)?;
    Ok(gfn)
}

/// The highest frame number that a user memory slot backs.  `ENOENT`: none does.
pub(crate) struct GetMaxGfn;

impl VmCommand for GetMaxGfn {
    const ID: u16 = KVMI_VM_GET_MAX_GFN as u16;
    type Request = ();

    fn run(call: &Call<'_, ()>) -> Outcome {
        let gfn = call.session.vm.max_gfn().ok_or(Code::ENOENT)?;

        payload(&kvmi_vm_get_max_gfn_reply { gfn })
    }
}

/// Chooses what becomes of restrictions when the tool dies.  `EINVAL`: padding, no such action.
pub(crate) struct SetOnExit;

impl VmCommand for SetOnExit {
    const ID: u16 = KVMI_VM_SET_ON_EXIT as u16;
    type Request = kvmi_vm_set_on_exit;

    fn run(call: &Call<'_, Self::Request>) -> Outcome {
        let action = u32::from(call.request.action);

        call.check_padding()?;
        if !matches!(
            action,
            KVMI_ON_EXIT_RELEASE | KVMI_ON_EXIT_FREEZE | KVMI_ON_EXIT_CRASH
        ) {
            return Err(Code::EINVAL.into());
        }
        call.session.on_exit.store(action, Relaxed);
        Ok(Payload::new())
    }
}
