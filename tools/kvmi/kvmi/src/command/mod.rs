// SPDX-License-Identifier: GPL-2.0

//! One file for each command of the tool.

pub mod cpuid;
pub mod find;
pub mod info;
pub mod inject;
pub mod list;
pub mod listen;
pub mod mtrr;
pub mod pause;
pub mod protect;
pub mod read;
pub mod regs;
pub mod resume;
pub mod trace;
pub mod translate;
pub mod watch;
pub mod write;
pub mod xsave;
