// SPDX-License-Identifier: GPL-2.0

//! The command line of `kvmi listen`, which holds another one.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

use kvmi_client::listen::Address;

#[derive(Args, Debug)]
pub struct Listen {
    /// Where to listen: unix:PATH or vsock:PORT.
    pub address: Address,
    /// File that holds the key which the VMMs know too, at least 16 bytes, taken as they are.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How the VMM and the tool prove themselves; hmac if there is a key, else none.
    #[arg(long, value_name = "FORM")]
    pub auth: Option<Form>,
    /// Stop listening when so many VMs have come, and end when their commands have.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// The command of kvmi to run for each VM, with its arguments; it comes last.
    #[arg(value_name = "COMMAND", allow_hyphen_values = true)]
    pub command: Vec<OsString>,
    /// A program to run for each VM, and its arguments; its variables KVMI_FD, KVMI_VM_NAME and
    /// KVMI_VM_UUID say which file descriptor is the VM's, and which VM it is.
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// How a VMM and the tool prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Both prove that they know the key.
    Hmac,
    /// The tool proves it, by the key's SHA-1, which is the same each time.
    Sha1,
    /// Neither proves anything.
    None,
}
