// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where to listen.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port that the host, and what else the hypervisor lets through, can
    /// reach over vsock.
    Vsock(u32),
}

/// The text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Address::Unix(path.into())),
            Some(("vsock", port)) => match port.parse() {
                // The last number means any port.
                Ok(u32::MAX) | Err(_) => Err(AddressError),
                Ok(port) => Ok(Address::Vsock(port)),
            },
            _ => Err(AddressError),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Vsock(port) => write!(f, "vsock:{port}"),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address is unix:PATH or vsock:PORT")
    }
}

impl std::error::Error for AddressError {}
