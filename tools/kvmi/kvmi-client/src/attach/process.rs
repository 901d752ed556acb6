// SPDX-License-Identifier: MIT OR Apache-2.0

//! The processes of this host that run VMs, as `/proc` shows them.

use std::{fs, io, path::PathBuf};

use super::{AttachError, State};
use crate::text::printable;

/// A process that runs a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The VM's name if its VMM was given one, else the process's.
    pub name: String,
    /// Number of vCPUs.
    pub vcpus: usize,
    /// Number of the VM's file in that process; the lowest if there are many.
    pub vm_fd: i32,
}

impl Process {
    /// Who watches the VM.
    ///
    /// # Errors
    ///
    /// The process has ended, or may not be looked into.
    pub fn state(&self) -> io::Result<State> {
        let path = format!("/proc/{}/fdinfo/{}", self.pid, self.vm_fd);
        fs::read_to_string(path).map(|text| State::parse(&text))
    }
}

/// Looks for VMs in all processes. The second value is the number of
/// processes that may not be looked into.
///
/// # Errors
///
/// `/proc` is not readable.
pub fn list() -> io::Result<(Vec<Process>, usize)> {
    let mut found = Vec::new();
    let mut hidden = 0;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry
            .ok()
            .and_then(|e| e.file_name().to_str()?.parse().ok())
        else {
            continue;
        };
        match process(pid) {
            Ok(process) => found.push(process),
            Err(AttachError::Ptrace { .. }) => hidden += 1,
            // Not a VM, or ended meanwhile.
            Err(_) => {}
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok((found, hidden))
}

/// Looks for the VM of one process.
///
/// # Errors
///
/// [`AttachError::NoProcess`], [`AttachError::Ptrace`] if it may not be
/// looked into, [`AttachError::NotVm`].
pub fn process(pid: u32) -> Result<Process, AttachError> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let hidden = AttachError::Ptrace { pid, yama: None };
    let entries = match fs::read_dir(root.join("fd")) {
        Ok(entries) => entries,
        Err(error) if denied(&error) => return Err(hidden),
        Err(_) => return Err(AttachError::NoProcess(pid)),
    };
    let mut vm_fd = None;
    let mut vcpus = 0;
    for entry in entries.flatten() {
        let target = match fs::read_link(entry.path()) {
            Ok(target) => target,
            // Its owner may be this user and its capabilities more.
            Err(error) if denied(&error) => return Err(hidden),
            // Closed meanwhile.
            Err(_) => continue,
        };
        match target.to_str() {
            Some("anon_inode:kvm-vm") => {
                let number = entry
                    .file_name()
                    .to_str()
                    .and_then(|n| n.parse::<i32>().ok());
                vm_fd = vm_fd.into_iter().chain(number).min();
            }
            Some(link) if link.starts_with("anon_inode:kvm-vcpu:") => vcpus += 1,
            _ => {}
        }
    }
    let vm_fd = vm_fd.ok_or(AttachError::NotVm(pid))?;
    let read = |file| fs::read(root.join(file)).unwrap_or_default();
    let name = qemu_name(&read("cmdline"))
        .unwrap_or_else(|| String::from_utf8_lossy(&read("comm")).trim_end().to_owned());
    let name = printable(&name);
    Ok(Process {
        pid,
        name,
        vcpus,
        vm_fd,
    })
}

/// The value of QEMU's `-name`, in a command line of NUL-terminated words:
/// `-name NAME[,…]` or `-name guest=NAME[,…]`.
fn qemu_name(cmdline: &[u8]) -> Option<String> {
    let mut words = cmdline.split(|&byte| byte == 0);
    words.find(|word| matches!(*word, b"-name" | b"--name"))?;
    let value = String::from_utf8_lossy(words.next()?).into_owned();
    value
        .split(',')
        .enumerate()
        .find_map(|(index, part)| match part.split_once('=') {
            Some(("guest", name)) => Some(name),
            None if index == 0 => Some(part),
            _ => None,
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |text: &str| qemu_name(text.as_bytes());
        assert_eq!(name("qemu\0-name\0web\0-m\x001G\0").as_deref(), Some("web"));
        assert_eq!(
            name("q\0-name\0guest=db,debug-threads=on\0").as_deref(),
            Some("db")
        );
        assert_eq!(
            name("q\0-name\0debug-threads=on,guest=x\0").as_deref(),
            Some("x")
        );
        assert_eq!(name("q\0-name\0a,process=p\0").as_deref(), Some("a"));
        assert_eq!(name("q\0-name\0"), None);
        assert_eq!(name("q\0-m\x001G\0"), None);
    }

    #[test]
    fn this_process_runs_no_vm() {
        let own = std::process::id();
        assert!(matches!(process(own), Err(AttachError::NotVm(pid)) if pid == own));
        assert!(matches!(process(u32::MAX), Err(AttachError::NoProcess(_))));
    }
}
