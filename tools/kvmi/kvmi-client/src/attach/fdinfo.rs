// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `/proc/PID/fdinfo` says about the session of a VM.

use crate::text::printable;

/// Who hooked a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooker {
    /// The hooker's process id, if it is visible from here.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: String,
    /// What it chose to identify the session.
    pub uuid: String,
}

/// The introspection of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody watches.
    None,
    /// A tool watches.
    Active(Hooker),
    /// A tool watched; its connection is closed.
    Dead(Hooker),
    /// A tool watched, and died; what it restricted stays so until the next
    /// tool, or until UNHOOK.
    Frozen(Hooker),
    /// The kernel says nothing about it: it has no introspection.
    Unknown,
}

impl State {
    /// Reads the lines `kvmi:`, `kvmi-hooker-pid:`, `kvmi-hooker-comm:` and
    /// `kvmi-uuid:` of an fdinfo file.
    pub fn parse(fdinfo: &str) -> State {
        let field = |name: &str| {
            fdinfo
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let hooker = || Hooker {
            pid: field("kvmi-hooker-pid")
                .and_then(|pid| pid.parse().ok())
                .filter(|&pid| pid != 0),
            comm: printable(field("kvmi-hooker-comm").unwrap_or_default()),
            uuid: printable(field("kvmi-uuid").unwrap_or_default()),
        };
        match field("kvmi") {
            Some("none") => State::None,
            Some("active") => State::Active(hooker()),
            Some("dead") => State::Dead(hooker()),
            Some("frozen") => State::Frozen(hooker()),
            _ => State::Unknown,
        }
    }

    /// One word: `none`, `active`, `dead`, `frozen` or `unavailable`.
    pub fn word(&self) -> &'static str {
        match self {
            State::None => "none",
            State::Active(_) => "active",
            State::Dead(_) => "dead",
            State::Frozen(_) => "frozen",
            State::Unknown => "unavailable",
        }
    }
}

/// The bytes of a uuid as hexadecimal digits.
pub(super) fn hex(uuid: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*uuid))
}

/// Whether two spellings, with or without dashes, are one uuid.
pub(super) fn same_uuid(one: &str, other: &str) -> bool {
    let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
    !one.is_empty() && digits(one) == digits(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_names_the_hooker() {
        let text = "pos:\t0\nflags:\t02\nkvmi:\tactive\nkvmi-hooker-pid:\t123\n\
                    kvmi-hooker-comm:\tmy \x1btool: x\nkvmi-uuid:\t0011-ff\n";
        let State::Active(hooker) = State::parse(text) else {
            panic!("{text}");
        };
        assert_eq!(hooker.pid, Some(123));
        assert_eq!(hooker.comm, "my ?tool: x");
        assert!(same_uuid(&hooker.uuid, "0011FF"));
    }

    #[test]
    fn other_states() {
        assert_eq!(State::parse("kvmi:\tnone\n"), State::None);
        assert_eq!(
            State::parse("kvmi:\tdead\n"),
            State::Dead(Hooker::default())
        );
        let frozen = State::parse("kvmi:\tfrozen\nkvmi-hooker-pid:\t7\n");
        assert!(matches!(&frozen, State::Frozen(hooker) if hooker.pid == Some(7)));
        assert_eq!(frozen.word(), "frozen");
        assert_eq!(State::parse("pos:\t0\n"), State::Unknown);
        assert_eq!(State::parse(""), State::Unknown);
    }

    #[test]
    fn uuids() {
        assert!(!same_uuid("", ""));
        assert_eq!(hex(&[0xab; 16]), "ab".repeat(16));
    }
}
