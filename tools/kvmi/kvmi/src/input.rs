// SPDX-License-Identifier: GPL-2.0

//! What the user hands in: a file, or standard input.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use crate::failure::{Failure, Result};

/// All bytes of a file; `-` is standard input.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let result = if path == Path::new("-") {
        let mut data = Vec::new();
        io::stdin().read_to_end(&mut data).map(|_| data)
    } else {
        fs::read(path)
    };
    result.map_err(|error| Failure::file(path.display(), &error))
}
