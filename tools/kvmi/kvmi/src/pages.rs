// SPDX-License-Identifier: GPL-2.0

//! Restricting what the guest may do to its pages.

use std::{collections::BTreeSet, os::unix::net::UnixStream};

use kvmi_client::{
    Access, Code, Error, Session,
    command::{Command, ControlEvents, PAGE, SetPageAccess},
    wire,
};

use crate::{
    failure::{Exit, Failure, Result},
    target,
};

const PF: u16 = wire::KVMI_VCPU_EVENT_PF as u16;

/// Frame numbers.
pub type Frames = BTreeSet<u64>;

/// The frames that hold `size` bytes from `gpa`.
pub fn frames(gpa: u64, size: u64) -> impl Iterator<Item = u64> {
    let last = gpa.saturating_add(size.max(1) - 1) / PAGE;
    gpa / PAGE..=last
}

/// Has these vCPUs report what is denied. Others are let through unseen.
pub fn report(session: &mut Session<UnixStream>, vcpus: &[u16]) -> Result<()> {
    for &vcpu in vcpus {
        let command = ControlEvents {
            vcpu,
            event: PF,
            enable: true,
        };
        session
            .call(command)
            .map_err(target::refused(vcpu, &"event PF"))?;
    }
    Ok(())
}

/// Leaves only `allowed` on these frames. It ends with the session.
pub fn restrict(session: &mut Session<UnixStream>, frames: &Frames, allowed: Access) -> Result<()> {
    let entries: Vec<_> = frames
        .iter()
        .map(|gfn| SetPageAccess::entry(gfn * PAGE, allowed))
        .collect();
    for batch in SetPageAccess::batches(&entries) {
        match session.call(batch) {
            Ok(()) => {}
            Err(error) => return Err(refused(session, batch.entries, error)),
        }
    }
    Ok(())
}

/// Gives these frames all back, and has nothing reported of these vCPUs any more.
pub fn take_back(
    session: &mut Session<UnixStream>,
    frames: &Frames,
    vcpus: &[u16],
) -> kvmi_client::Result<()> {
    let entries: Vec<_> = frames
        .iter()
        .map(|gfn| SetPageAccess::entry(gfn * PAGE, Access::ALL))
        .collect();
    for batch in SetPageAccess::batches(&entries) {
        session.call(batch)?;
    }
    for &vcpu in vcpus {
        session.call(ControlEvents {
            vcpu,
            event: PF,
            enable: false,
        })?;
    }
    Ok(())
}

/// As [`restrict`], so that `watched` is seen: nothing more is taken than that
/// and what cannot stay without it.
pub fn watch(session: &mut Session<UnixStream>, frames: &Frames, watched: Access) -> Result<()> {
    let mut allowed = Access::ALL - watched;
    if watched.meets(Access::READ) {
        // Nothing can be written that cannot be read.
        allowed = allowed - Access::WRITE;
    }
    if allowed == Access::EXECUTE {
        // Few processors can.
        let first: Frames = frames.iter().take(1).copied().collect();
        match restrict(session, &first, allowed) {
            Err(failure) if failure.exit == Exit::Denied => allowed = Access::NONE,
            other => other?,
        }
    }
    restrict(session, frames, allowed)
}

fn refused(
    session: &mut Session<UnixStream>,
    entries: &[wire::kvmi_page_access_entry],
    error: Error,
) -> Failure {
    match error.code() {
        Some(Code::EINVAL) => {
            let culprit = entries.iter().find(|entry| {
                let alone = SetPageAccess {
                    entries: std::slice::from_ref(*entry),
                };
                session.call(alone).is_err()
            });
            let gpa = culprit.map_or(0, |entry| entry.gpa);
            Failure::new(
                Exit::Failed,
                format!("KVM does not restrict the page at {gpa:#x}: no memory of the VM is there"),
            )
            .fix("`kvmi info` shows where memory ends; devices and firmware leave holes below")
        }
        Some(Code::EOPNOTSUPP) => Failure::new(
            Exit::Denied,
            "KVM cannot restrict pages in that way on this host",
        )
        .fix("its processor has no pages that can be executed but not read: take executions, too"),
        Some(Code::ENOSYS) => Failure::new(
            Exit::Denied,
            "this kernel's introspection restricts no pages",
        ),
        Some(Code::ENOMEM) => Failure::new(
            Exit::Failed,
            "the host has no memory left for restrictions, or the VM's cgroup has not",
        )
        .fix("watch less, or give the VM's cgroup more memory"),
        _ => Failure::from(error).context(SetPageAccess::NAME),
    }
}

#[cfg(test)]
mod tests {
    use kvmi_client::fake::{self, Vm};

    use super::*;

    fn vm(frames: u64) -> Vm {
        Vm {
            pages: (0..frames).map(|gfn| (gfn, vec![0; 4096])).collect(),
            ..Vm::default()
        }
    }

    #[test]
    fn frames_of_ranges() {
        let list = |gpa, size| frames(gpa, size).collect::<Vec<_>>();
        assert_eq!(list(0x1fff, 2), [1, 2]);
        assert_eq!(list(0x1000, 0x1000), [1]);
        assert_eq!(list(0x1000, 0), [1]);
        assert_eq!(list(u64::MAX, 9), [u64::MAX / PAGE]);
    }

    #[test]
    fn what_is_left_where_something_is_watched() {
        for (watched, left) in [
            ("w", 5),
            ("x", 3),
            ("wx", 1),
            ("r", 0),
            ("rw", 0),
            ("rwx", 0),
        ] {
            let (mut session, kernel) = fake::session(|kernel| vm(4).serve(kernel));
            let watched = Access::parse(watched).unwrap();
            watch(&mut session, &Frames::from([1, 2]), watched).unwrap();
            drop(session);
            let restricted = kernel.join().unwrap().restricted;
            assert_eq!(restricted, [(1, left), (2, left)].into(), "{watched}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        let (mut session, kernel) = fake::session(|kernel| vm(4).serve(kernel));
        let beyond: Frames = (2..6).collect();
        let failure = restrict(&mut session, &beyond, Access::READ).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(
            failure.message.contains("page at 0x4000"),
            "{}",
            failure.message
        );
        drop(session);
        kernel.join().unwrap();
        for (code, exit, text) in [
            (Code::EOPNOTSUPP, Exit::Denied, "on this host"),
            (Code::ENOSYS, Exit::Denied, "this kernel"),
            (Code::ENOMEM, Exit::Failed, "no memory left"),
        ] {
            let (mut session, kernel) = fake::session(move |kernel| {
                let command = kernel.message();
                kernel.reply(&command, Err(code));
            });
            let failure = restrict(&mut session, &Frames::from([1]), Access::READ).unwrap_err();
            assert_eq!(failure.exit, exit);
            assert!(failure.message.contains(text), "{}", failure.message);
            kernel.join().unwrap();
        }
    }
}
