// SPDX-License-Identifier: GPL-2.0

//! What is watched: bytes by their guest physical addresses.

use std::os::unix::net::UnixStream;

use kvmi_client::{
    Session,
    command::{TranslateGva, within_page},
};

use crate::{
    failure::{Exit, Failure, Result},
    linux::Linux,
    memory, number,
    pages::{self, Frames},
    target,
};

/// Below, a bare number is a guest physical address: processors have no more bits of them.
const PHYSICAL: u64 = 1 << 52;
/// Most bytes that are watched at once.
const LARGEST: u64 = 1 << 30;

/// An address on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Guest physical.
    Physical(u64),
    /// Guest virtual.
    Virtual(u64),
    /// Bytes behind a symbol of the guest's kernel.
    Symbol(String, u64),
}

/// Reads `0x1000`, `gpa:0x1000`, `gva:0x7f0000000000`, `linux_banner` or `linux_banner+0x10`.
pub fn parse(text: &str) -> std::result::Result<Place, String> {
    if let Some(rest) = text.strip_prefix("gpa:") {
        return number::integer(rest).map(Place::Physical);
    }
    if let Some(rest) = text.strip_prefix("gva:") {
        return number::integer(rest).map(Place::Virtual);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return number::integer(text).map(|address| match address {
            0..PHYSICAL => Place::Physical(address),
            _ => Place::Virtual(address),
        });
    }
    let (name, offset) = text.split_once('+').unwrap_or((text, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err("neither an address nor the name of a symbol".into());
    }
    let offset = number::integer(offset).map_err(|error| format!("the offset is {error}"))?;
    Ok(Place::Symbol(name.to_owned(), offset))
}

/// Bytes that lie in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest physical address.
    pub gpa: u64,
    /// Guest virtual address, if that is how it was named.
    pub gva: Option<u64>,
    /// Size in bytes.
    pub size: u64,
}

impl Piece {
    /// Whether some of `size` bytes at `gpa` are among these.
    fn meets(&self, gpa: u64, size: u64) -> bool {
        gpa < self.gpa.saturating_add(self.size) && self.gpa < gpa.saturating_add(size)
    }
}

/// All that is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(Vec<Piece>);

impl Places {
    /// Finds `len` bytes; virtual addresses are those of `vcpu`.
    pub fn find(
        session: &mut Session<UnixStream>,
        place: &Place,
        len: u64,
        vcpu: u16,
        linux: Option<&Linux>,
    ) -> Result<Self> {
        if len == 0 || len > LARGEST {
            let message = format!("{len} bytes cannot be watched: at least 1, at most 1G");
            return Err(Failure::new(Exit::Usage, message));
        }
        let gva = match place {
            Place::Physical(gpa) => {
                memory::end(*gpa, len)?;
                return Ok(Places(vec![Piece {
                    gpa: *gpa,
                    gva: None,
                    size: len,
                }]));
            }
            Place::Virtual(gva) => *gva,
            Place::Symbol(name, offset) => {
                // Without a kernel, this was a failure before.
                let start = linux.map_or(Ok(0), |linux| linux.symbol(name))?;
                memory::end(start, *offset)?
            }
        };
        Self::translate(session, gva, len, vcpu)
    }

    fn translate(
        session: &mut Session<UnixStream>,
        start: u64,
        len: u64,
        vcpu: u16,
    ) -> Result<Self> {
        memory::end(start, len - 1)?;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut done = 0;
        while done < len {
            let gva = start + done;
            let gpa = session
                .call(TranslateGva { vcpu, gva })
                .map_err(target::on_vcpu(vcpu))?
                .ok_or_else(|| {
                    let message = format!("vCPU {vcpu} has nothing mapped at {gva:#x}");
                    Failure::new(Exit::NotFound, message).fix(
                        "--vcpu chooses whose page tables are asked; they are those of the \
                         program that runs there at this moment",
                    )
                })?;
            let size = within_page(gva, len - done) as u64;
            match pieces.last_mut() {
                Some(last) if last.gpa + last.size == gpa => last.size += size,
                _ => pieces.push(Piece {
                    gpa,
                    gva: Some(gva),
                    size,
                }),
            }
            done += size;
        }
        Ok(Places(pieces))
    }

    /// The frames that hold them.
    pub fn frames(&self) -> Frames {
        let pieces = self.0.iter();
        pieces
            .flat_map(|piece| pages::frames(piece.gpa, piece.size))
            .collect()
    }

    /// Whether an access touches what is watched.
    pub fn meets(&self, gpa: u64, size: u64) -> bool {
        self.0.iter().any(|piece| piece.meets(gpa, size))
    }

    /// The virtual address of a physical one, if that is how its piece was named.
    pub fn gva(&self, gpa: u64) -> Option<u64> {
        let piece = self.0.iter().find(|piece| piece.meets(gpa, 1))?;
        Some(piece.gva?.wrapping_add(gpa.checked_sub(piece.gpa)?))
    }

    /// How many bytes they are.
    pub fn size(&self) -> u64 {
        self.0.iter().map(|piece| piece.size).sum()
    }

    /// How many pages are restricted for it.
    pub fn pages(&self) -> usize {
        self.frames().len()
    }
}

impl std::fmt::Display for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.size();
        let first = self.0.first().map_or(0, |piece| piece.gpa);
        let pages = self.pages();
        write!(f, "{size} bytes from gpa {first:#x} (pages: {pages})")
    }
}

#[cfg(test)]
mod tests {
    use kvmi_client::fake::{self, Vm};

    use super::*;

    #[test]
    fn words() {
        for (text, place) in [
            ("0x1000", Place::Physical(0x1000)),
            ("4K", Place::Physical(4096)),
            ("gpa:7", Place::Physical(7)),
            ("gva:7", Place::Virtual(7)),
            ("0xffff800000000000", Place::Virtual(0xffff_8000_0000_0000)),
            ("linux_banner", Place::Symbol("linux_banner".into(), 0)),
            ("_text+0x10", Place::Symbol("_text".into(), 16)),
            ("f.isra.0", Place::Symbol("f.isra.0".into(), 0)),
        ] {
            assert_eq!(parse(text), Ok(place), "{text}");
        }
        for text in [
            "", "-1", "0x", "gpa:", "gva:x", "a b", "a+", "a+b", "+1", "1x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn virtual_ranges_are_translated_by_page() {
        let vm = Vm {
            pages: [(1, vec![0; 4096]), (2, vec![0; 4096])].into(),
            ..Vm::default()
        };
        let (mut session, kernel) = fake::session(|kernel| vm.serve(kernel));
        let start = 0xffff_8000_0000_1ff0;
        let mut find = |len| Places::find(&mut session, &Place::Virtual(start), len, 0, None);
        let places = find(0x20).unwrap();
        let piece = Piece {
            gpa: 0x1ff0,
            gva: Some(start),
            size: 0x20,
        };
        assert_eq!(places.0, [piece]);
        assert_eq!(places.frames(), [1, 2].into());
        assert_eq!(places.gva(0x2001), Some(start + 0x11));
        for (gpa, size, meets) in [
            (0x1ff0, 1, true),
            (0x1fe8, 8, false),
            (0x1fe9, 8, true),
            (0x200f, 1, true),
            (0x2010, 8, false),
        ] {
            assert_eq!(places.meets(gpa, size), meets, "{gpa:#x}");
        }
        let failure = find(0x2000).unwrap_err();
        assert!(
            failure.message.contains("0xffff800000003000"),
            "{}",
            failure.message
        );
        assert_eq!(find(0).unwrap_err().exit, Exit::Usage);
        assert_eq!(find(LARGEST + 1).unwrap_err().exit, Exit::Usage);
        drop(session);
        kernel.join().unwrap();
    }
}
