// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this host's kernel offers.

use std::fs::{self, File};

use crate::{ioctl, wire};

/// Whether this host's kernel can introspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// KVM is not loaded.
    NoKvm,
    /// KVM has no introspection.
    Lacking,
    /// KVM has introspection, and it is turned off.
    Off,
    /// Introspection is on; the version of the protocol if `/dev/kvm` could be
    /// asked.
    On(Option<u32>),
}

impl Host {
    /// Asks the module parameter, and `/dev/kvm` where it may be opened.
    pub fn probe() -> Host {
        let version = File::open("/dev/kvm")
            .ok()
            .and_then(|kvm| ioctl::check_extension(&kvm, wire::KVM_CAP_INTROSPECTION).ok())
            .and_then(|version| u32::try_from(version).ok());
        if let Some(version @ 1..) = version {
            return Host::On(Some(version));
        }
        match fs::read_to_string("/sys/module/kvm/parameters/introspection") {
            Ok(value) if value.trim() == "Y" => Host::On(None),
            Ok(_) => Host::Off,
            Err(_) if version.is_some() => Host::Lacking,
            Err(_) if fs::exists("/sys/module/kvm").unwrap_or(false) => Host::Lacking,
            Err(_) => Host::NoKvm,
        }
    }

    /// Yama's restriction of ptrace, if the host has it: 0 classic, 1 only
    /// descendants, 2 only administrators, 3 nobody.
    pub(super) fn ptrace_scope() -> Option<u32> {
        fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}
