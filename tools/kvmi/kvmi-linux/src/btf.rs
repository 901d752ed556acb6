// SPDX-License-Identifier: GPL-2.0

//! The kernel's description of its own types (`Documentation/bpf/btf.rst`):
//! where the members of a structure are.

use std::{cell::Cell, ops::Range};

use crate::memory::{u16_at, u32_at};

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
/// Anonymous structures inside one another, and names for a type.
const DEEPEST: usize = 16;
/// Most members that are looked at for one: structures that hold one another many times would be
/// more than anybody can count.
const MOST_MEMBERS: usize = 1 << 16;

const PTR: u32 = 2;
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;
/// Kinds that are another name, or a property, of a type.
const NAMES: [u32; 5] = [8, 9, 10, 11, 18];

/// The types of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Where each type is, by its number; the first is void.
    types: Vec<usize>,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the outermost structure.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    ty: u32,
}

impl Member {
    /// The same so many bytes further: of another element of an array.
    pub fn moved(self, by: u64) -> Self {
        let offset = self.offset + by;
        Member { offset, ..self }
    }
}

/// One type: its fixed part.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    info: u32,
    /// The size of a type, or the number of another one.
    size: u32,
    /// Where its own data are.
    data: usize,
}

impl Type {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn count(self) -> usize {
        // 16 bits.
        (self.info & 0xffff) as usize
    }

    /// Whether offsets of members carry sizes of bit fields.
    fn has_bit_fields(self) -> bool {
        self.info >> 31 != 0
    }

    fn data_size(self) -> usize {
        let count = self.count();
        match self.kind() {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
            ENUM | FUNC_PROTO => 8 * count,
            _ => 0,
        }
    }
}

impl Btf {
    /// Reads the section `.BTF`; `None` if it is damaged.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |offset| u32_at(&bytes, offset).map(|word| word as usize);
        if u16_at(&bytes, 0)? != MAGIC || word(4)? < HEADER {
            return None;
        }
        let part = |at: usize| {
            let start = word(4)?.checked_add(word(at)?)?;
            let end = start.checked_add(word(at + 4)?)?;
            Some(start..end).filter(|part| part.end <= bytes.len())
        };
        let (types, strings) = (part(8)?, part(16)?);
        let mut btf = Btf {
            strings,
            types: vec![0],
            bytes,
        };
        let mut at = types.start;
        while at < types.end {
            let next = btf.at(at)?;
            btf.types.push(at);
            at = next.data.checked_add(next.data_size())?;
        }
        Some(btf).filter(|_| at == types.end)
    }

    /// A member of a structure, by its name; those of anonymous structures and
    /// unions inside count as its own.
    pub fn member(&self, structure: &str, member: &str) -> Option<Member> {
        self.structures(structure)
            .find_map(|ty| self.find(ty, member, 0, DEEPEST))
    }

    /// A member of what `outer` is: a structure, or an array of them.
    pub fn inner(&self, outer: Member, member: &str) -> Option<Member> {
        let mut ty = self.resolve(outer.ty)?;
        if ty.kind() == ARRAY {
            ty = self.resolve(u32_at(&self.bytes, ty.data)?)?;
        }
        self.find(ty, member, outer.offset, DEEPEST)
    }

    /// The size of a structure.
    pub fn size(&self, structure: &str) -> Option<u64> {
        self.structures(structure).next().map(|ty| ty.size.into())
    }

    fn structures(&self, name: &str) -> impl Iterator<Item = Type> {
        let types = self.types.iter().skip(1).filter_map(|at| self.at(*at));
        types.filter(move |ty| {
            ty.kind() == STRUCT && ty.count() != 0 && self.name(ty.name) == Some(name.as_bytes())
        })
    }

    fn find(&self, outer: Type, wanted: &str, base: u64, depth: usize) -> Option<Member> {
        self.search(outer, wanted, base, depth, &Cell::new(MOST_MEMBERS))
    }

    /// As [`Btf::find`]; `left` is how many members may still be looked at.
    fn search(
        &self,
        outer: Type,
        wanted: &str,
        base: u64,
        depth: usize,
        left: &Cell<usize>,
    ) -> Option<Member> {
        if !matches!(outer.kind(), STRUCT | UNION) {
            return None;
        }
        let depth = depth.checked_sub(1)?;
        (0..outer.count()).find_map(|index| {
            left.set(left.get().checked_sub(1)?);
            let at = outer.data + 12 * index;
            let (name, ty) = (u32_at(&self.bytes, at)?, u32_at(&self.bytes, at + 4)?);
            let mut bits = u32_at(&self.bytes, at + 8)?;
            if outer.has_bit_fields() {
                if bits >> 24 != 0 {
                    return None;
                }
                bits &= 0x00ff_ffff;
            }
            let offset = base + u64::from(bits / 8);
            match self.name(name)? {
                b"" => self.search(self.resolve(ty)?, wanted, offset, depth, left),
                name if name == wanted.as_bytes() => {
                    let size = self.size_of(ty, depth)?;
                    Some(Member { offset, size, ty })
                }
                _ => None,
            }
        })
    }

    /// The type behind its names, `const` and the like.
    fn resolve(&self, id: u32) -> Option<Type> {
        let mut ty = self.ty(id)?;
        for _ in 0..DEEPEST {
            if !NAMES.contains(&ty.kind()) {
                return Some(ty);
            }
            ty = self.ty(ty.size)?;
        }
        None
    }

    fn size_of(&self, id: u32, depth: usize) -> Option<u64> {
        let ty = self.resolve(id)?;
        match ty.kind() {
            PTR => Some(8),
            ARRAY => {
                let element = self.size_of(u32_at(&self.bytes, ty.data)?, depth.checked_sub(1)?)?;
                element.checked_mul(u32_at(&self.bytes, ty.data + 8)?.into())
            }
            _ => Some(ty.size.into()),
        }
    }

    fn ty(&self, id: u32) -> Option<Type> {
        let at = *self.types.get(usize::try_from(id).ok()?)?;
        (id != 0).then(|| self.at(at))?
    }

    fn at(&self, at: usize) -> Option<Type> {
        Some(Type {
            name: u32_at(&self.bytes, at)?,
            info: u32_at(&self.bytes, at + 4)?,
            size: u32_at(&self.bytes, at + 8)?,
            data: at + 12,
        })
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let strings = self.bytes.get(self.strings.clone())?;
        let rest = strings.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..end)
    }
}
