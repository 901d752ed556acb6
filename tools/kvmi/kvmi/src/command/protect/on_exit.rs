// SPDX-License-Identifier: GPL-2.0

//! What becomes of the protection when this tool dies.

use clap::ValueEnum;
use kvmi_client::command;

/// What becomes of the protection when this tool dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnExit {
    /// It ends: the guest can write as before.
    Release,
    /// It stays: whoever writes there waits until another tool takes over, or until `kvmi
    /// resume`.
    Freeze,
    /// It stays, and the first write ends the VM: its VMM sees a shutdown.
    Crash,
}

impl OnExit {
    /// As the kernel is told.
    pub fn action(self) -> command::OnExit {
        match self {
            OnExit::Release => command::OnExit::Release,
            OnExit::Freeze => command::OnExit::Freeze,
            OnExit::Crash => command::OnExit::Crash,
        }
    }

    /// In a word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            OnExit::Release => "release",
            OnExit::Freeze => "freeze",
            OnExit::Crash => "crash",
        }
    }

    /// What people are told; nothing of what is as ever.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            OnExit::Release => None,
            OnExit::Freeze => {
                Some("if this tool dies, whoever writes there waits for the next one")
            }
            OnExit::Crash => Some("if this tool dies, whoever writes there ends the VM"),
        }
    }
}
