// SPDX-License-Identifier: GPL-2.0

//! The guest's own patching of its text: static keys, ftrace, kprobes, alternatives.
//!
//! Linux does all of it in `__text_poke()`, which maps the page a second time, in the lower half
//! of an address space of its own, and stores by `text_poke_memcpy()` or `text_poke_memset()`.
//! These either store themselves or call a function that copies, which has no frame, so that the
//! number on top of the stack is where it returns to.
//!
//! It is known by who stores and where to, not by what: whoever makes these functions work for
//! him is not told from the kernel.

use std::{collections::HashSet, os::unix::net::UnixStream};

use kvmi_client::{Session, event::VcpuEvent};
use kvmi_linux::symbols::Symbols;

use crate::{failure::Result, linux::Linux, touch::Touch};

const PATCHERS: &[&str] = &["text_poke_memcpy", "text_poke_memset", "__text_poke"];
const COPIERS: &[&str] = &[
    "memcpy",
    "memcpy_orig",
    "memmove",
    "memset",
    "memset_orig",
    "rep_movs_alternative",
    "rep_stos_alternative",
];

/// The functions that patch, and those that copy for them, by their addresses.
pub struct Patching {
    patchers: HashSet<u64>,
    copiers: HashSet<u64>,
}

impl Patching {
    /// Finds them among a kernel's symbols.
    pub fn new(symbols: &Symbols) -> Self {
        let all = |names: &[&str]| {
            names
                .iter()
                .flat_map(|name| symbols.versions(name))
                .collect()
        };
        Patching {
            patchers: all(PATCHERS),
            copiers: all(COPIERS),
        }
    }

    /// Whether a write is the kernel's own patching.
    pub fn is_own(
        &self,
        session: &mut Session<UnixStream>,
        linux: &Linux,
        event: &VcpuEvent,
        touch: &Touch,
    ) -> Result<bool> {
        let is_alias = touch.gva.is_some_and(|gva| gva >> 63 == 0);
        if !touch.writes() || !is_alias || event.arch.sregs.ss.dpl != 0 {
            return Ok(false);
        }
        let within = |functions: &HashSet<u64>, address: u64| {
            let function = linux.kernel.function(address);
            function.is_some_and(|start| functions.contains(&start))
        };
        if within(&self.patchers, touch.rip) {
            return Ok(true);
        }
        if !within(&self.copiers, touch.rip) {
            return Ok(false);
        }
        let caller = linux.on_stack(session, event.arch.regs.rsp)?;
        Ok(caller.is_some_and(|caller| within(&self.patchers, caller)))
    }
}
