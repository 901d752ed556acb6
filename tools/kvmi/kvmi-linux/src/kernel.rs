// SPDX-License-Identifier: GPL-2.0

//! The guest's kernel: where it is, and what it says of itself.

use crate::{
    btf::Btf,
    kallsyms,
    memory::{Error, Memory, PAGE, Result, text},
    paging::{AddressSpace, Mapping},
    symbols::Symbols,
};

/// Where a 64-bit kernel's image is mapped; modules come behind it.
const IMAGE: std::ops::RangeInclusive<u64> = 0xffff_ffff_8000_0000..=0xffff_ffff_bfff_ffff;
/// Most mappings of it: each change of rights begins one.
const PIECES: usize = 4096;
/// Most read-only data that is read.
const LARGEST: u64 = 128 << 20;

/// The registers of a vCPU that lead to the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcpu {
    /// The page tables.
    pub cr3: u64,
    /// How many levels they have.
    pub cr4: u64,
    /// Where SYSCALL goes.
    pub lstar: u64,
    /// Where per-CPU data are, or the program's.
    pub gs_base: u64,
    /// The other of the two.
    pub kernel_gs_base: u64,
}

impl Vcpu {
    /// Where per-CPU data are: SWAPGS exchanges the two.
    pub fn kernel_gs(&self) -> u64 {
        let is_kernel = |base: u64| base >> 63 != 0;
        if is_kernel(self.gs_base) {
            self.gs_base
        } else {
            self.kernel_gs_base
        }
    }
}

/// A part of the kernel that lies in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Guest virtual address, the start of a page.
    pub gva: u64,
    /// Guest physical address.
    pub gpa: u64,
    /// Size in bytes, whole pages.
    pub size: u64,
}

impl Range {
    /// The virtual address of a physical one inside.
    pub fn gva(&self, gpa: u64) -> Option<u64> {
        let offset = gpa.checked_sub(self.gpa)?;
        (offset < self.size).then(|| self.gva + offset)
    }

    /// Whether a virtual address lies in it.
    pub fn contains(&self, gva: u64) -> bool {
        gva.checked_sub(self.gva)
            .is_some_and(|offset| offset < self.size)
    }
}

/// A Linux kernel that runs in a guest.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it calls itself, as in /proc/version.
    pub banner: String,
    /// The names of its functions and data.
    pub symbols: Symbols,
    /// Its types; empty if it has none.
    pub types: Btf,
    /// The page tables that map it, whatever runs.
    pub space: AddressSpace,
    /// How far it was moved at boot (KASLR).
    pub moved: u64,
    /// How they map its image.
    pub pieces: Vec<Mapping>,
}

impl Kernel {
    /// Finds the kernel that this vCPU runs.
    ///
    /// # Errors
    ///
    /// [`Error::Guest`] says what is missing; those of reading the guest.
    pub fn find<M: Memory>(memory: &mut M, vcpu: &Vcpu) -> Result<Self, M::Error> {
        if !IMAGE.contains(&vcpu.lstar) {
            return Err(Error::guest(format!(
                "no 64-bit Linux kernel has set up this vCPU: LSTAR is {:#x}",
                vcpu.lstar
            )));
        }
        let (space, pieces) = image(memory, vcpu)?;
        let data = pieces
            .iter()
            .filter(|piece| !piece.writable && !piece.executable);
        for piece in data.filter(|piece| piece.size <= LARGEST) {
            let bytes = memory.read(piece.gpa, piece.size as usize)?;
            let Some(symbols) = kallsyms::find(&bytes, piece.gva) else {
                continue;
            };
            let part = |from, to| {
                let offset = |name| symbols.address(name)?.checked_sub(piece.gva);
                let (from, to) = (offset(from)? as usize, offset(to)? as usize);
                bytes.get(from..to).map(<[u8]>::to_vec)
            };
            let types = part("__start_BTF", "__stop_BTF").and_then(Btf::parse);
            let banner = symbols
                .address("linux_banner")
                .map(|at| at.wrapping_sub(piece.gva));
            let banner = banner.and_then(|at| bytes.get(at as usize..)).map(text);
            let moved = symbols.address("_text").map(|at| at.wrapping_sub(DEFAULT));
            let space = lasting(&symbols, &pieces, space, vcpu);
            return Ok(Kernel {
                banner: banner.unwrap_or_default().trim_end_matches('?').to_owned(),
                types: types.unwrap_or_default(),
                symbols,
                space,
                moved: moved.unwrap_or(0),
                pieces,
            });
        }
        Err(Error::guest(
            "no symbol table is in the kernel's read-only data: it still boots, or runs with \
             rodata=off, or has no kallsyms",
        ))
    }

    /// The kernel's text.
    ///
    /// # Errors
    ///
    /// [`Error::Guest`] if its symbols do not say where it is, or it may be
    /// written, or does not lie in one piece.
    pub fn text<E>(&self) -> Result<Range, E> {
        self.range("text", "_text", "_etext", true)
    }

    /// The kernel's read-only data.
    ///
    /// # Errors
    ///
    /// As [`Kernel::text`].
    pub fn read_only_data<E>(&self) -> Result<Range, E> {
        self.range("read-only data", "__start_rodata", "__end_rodata", false)
    }

    /// What lies between two symbols. The pages beside it are free memory: the
    /// kernel gives them away and leaves their mapping as it is.
    fn range<E>(&self, what: &str, from: &str, to: &str, executable: bool) -> Result<Range, E> {
        let (Some(start), Some(end)) = (self.symbols.address(from), self.symbols.address(to))
        else {
            let why = format!("the kernel has no symbols {from} and {to}: where is its {what}?");
            return Err(Error::guest(why));
        };
        let gva = start & !(PAGE - 1);
        let end = end.checked_next_multiple_of(PAGE);
        let size = end.and_then(|end| end.checked_sub(gva)).unwrap_or(u64::MAX);
        let piece = self.pieces.iter().find(|piece| piece.contains(gva));
        let fits = |piece: &&Mapping| {
            !piece.writable
                && piece.executable == executable
                && size <= piece.size - (gva - piece.gva)
        };
        match piece.filter(fits) {
            Some(piece) => Ok(Range {
                gva,
                gpa: piece.gpa + (gva - piece.gva),
                size,
            }),
            None => Err(Error::guest(format!(
                "the guest may itself still write its {what}: it boots, or runs with rodata=off"
            ))),
        }
    }

    /// An address in the kernel's own image as text; `None` outside of it.
    pub fn place(&self, gva: u64) -> Option<String> {
        let inside = self.symbols.address("_end").is_none_or(|end| gva < end);
        let place = self.symbols.at(gva)?;
        (inside && IMAGE.contains(&gva)).then(|| place.to_string())
    }

    /// The start of the function that holds an address of the kernel's own text.
    pub fn function(&self, gva: u64) -> Option<u64> {
        let end = self.symbols.address("_etext")?;
        let place = self.symbols.at(gva)?;
        (IMAGE.contains(&gva) && gva < end).then(|| gva - place.offset)
    }

    /// An address in the kernel's image or in a module as text.
    ///
    /// # Errors
    ///
    /// Those of reading the guest.
    pub fn describe<M: Memory>(
        &self,
        memory: &mut M,
        gva: u64,
    ) -> Result<Option<String>, M::Error> {
        if let Some(place) = self.place(gva) {
            return Ok(Some(place));
        }
        if gva >> 63 == 0 {
            return Ok(None);
        }
        match self.module(memory, gva)? {
            Some(module) => self.in_module(memory, &module, gva).map(Some),
            None => Ok(None),
        }
    }
}

/// The kernel's own page tables: those of a program go when it ends.
fn lasting(
    symbols: &Symbols,
    pieces: &[Mapping],
    found: AddressSpace,
    vcpu: &Vcpu,
) -> AddressSpace {
    let root = symbols.address("init_top_pgt").and_then(|gva| {
        let piece = pieces.iter().find(|piece| piece.contains(gva))?;
        Some(piece.gpa + (gva - piece.gva))
    });
    root.map_or(found, |root| AddressSpace::new(root, vcpu.cr4))
}

/// Where `_text` is without KASLR.
const DEFAULT: u64 = 0xffff_ffff_8100_0000;

/// The page tables that map the kernel, and what they map of it. Those of a
/// program map its entry code only, where page tables are isolated.
fn image<M: Memory>(memory: &mut M, vcpu: &Vcpu) -> Result<(AddressSpace, Vec<Mapping>), M::Error> {
    let space = AddressSpace::new(vcpu.cr3, vcpu.cr4);
    let mut best: Option<(AddressSpace, Vec<Mapping>)> = None;
    for space in [space, space.kernel_half()] {
        let pieces = space.mappings(memory, *IMAGE.start(), *IMAGE.end(), PIECES)?;
        let entry = |piece: &Mapping| piece.executable && piece.contains(vcpu.lstar);
        let size = |pieces: &[Mapping]| pieces.iter().map(|piece| piece.size).sum::<u64>();
        let larger = |(_, before): &(_, Vec<Mapping>)| size(before) < size(&pieces);
        if pieces.iter().any(entry) && best.as_ref().is_none_or(larger) {
            best = Some((space, pieces));
        }
    }
    best.ok_or_else(|| {
        Error::guest("this vCPU's page tables do not map the kernel that LSTAR names")
    })
}
