// SPDX-License-Identifier: GPL-2.0

//! One file for each command of the tool.

pub mod cpuid;
pub mod find;
pub mod info;
pub mod list;
pub mod pause;
pub mod read;
pub mod regs;
pub mod resume;
pub mod translate;
pub mod write;
