// SPDX-License-Identifier: GPL-2.0

//! A Linux guest seen from outside.
//!
//! Everything is found in the guest's memory by its structure; no symbol files
//! are needed. [`Kernel::find`] starts at a vCPU's registers: LSTAR points into
//! the kernel's text, CR3 to page tables that map it. The read-only data
//! mapped beside it holds the tables of kallsyms, and these name the rest.
//!
//! What is read was written by the guest and is taken for no more than that:
//! nothing in it makes this crate panic, loop without end, or allocate more
//! than a bounded amount.

#![deny(unsafe_code)]

pub mod btf;
pub mod kallsyms;
mod kernel;
pub mod memory;
mod module;
pub mod paging;
pub mod symbols;
mod task;

#[cfg(test)]
mod tests;

pub use kernel::{Kernel, Range, Vcpu};
pub use memory::{Error, Memory, Result};
pub use module::Module;
pub use task::Task;
