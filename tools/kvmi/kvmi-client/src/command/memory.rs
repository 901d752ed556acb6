// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands on guest physical memory.

use zerocopy::IntoBytes;

use super::{Command, fixed, short};
use crate::{
    access::Access,
    error::{Error, Result},
    wire,
};

/// Size in bytes of the pages that reads and writes may not cross.
pub const PAGE: u64 = 4096;

/// Most bytes from `gpa`, `len` wanted, that one command can reach.
pub fn within_page(gpa: u64, len: u64) -> usize {
    // At most PAGE, so the conversion loses nothing.
    (PAGE - gpa % PAGE).min(len) as usize
}

/// Reads guest physical memory, within one page.
///
/// Errors: `EINVAL` nothing, too much, or across pages; `ENOENT` no memory;
/// `EAGAIN` the page is not in the VMM's memory now.
#[derive(Clone, Copy, Debug)]
pub struct ReadPhysical {
    /// Guest physical address.
    pub gpa: u64,
    /// Number of bytes, 1 to 4096.
    pub size: u16,
}

impl Command for ReadPhysical {
    const ID: u16 = wire::KVMI_VM_READ_PHYSICAL as u16;
    const NAME: &'static str = "VM_READ_PHYSICAL";
    const REACHES_MEMORY: bool = true;
    type Request = wire::kvmi_vm_read_physical;
    type Reply = Vec<u8>;

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_read_physical {
            gpa: self.gpa,
            size: self.size,
            ..Default::default()
        })
    }

    fn reply(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let size = usize::from(self.size);
        bytes
            .get(..size)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| short::<Self>(bytes.len(), size))
    }
}

/// Writes guest physical memory, within one page.
///
/// Errors: `EINVAL` nothing, too much, or across pages; `ENOENT` no memory, or
/// memory that is read-only; `EAGAIN` the page is not in the VMM's memory now.
#[derive(Clone, Copy, Debug)]
pub struct WritePhysical<'a> {
    /// Guest physical address.
    pub gpa: u64,
    /// The bytes, 1 to 4096.
    pub data: &'a [u8],
}

impl Command for WritePhysical<'_> {
    const ID: u16 = wire::KVMI_VM_WRITE_PHYSICAL as u16;
    const NAME: &'static str = "VM_WRITE_PHYSICAL";
    const REACHES_MEMORY: bool = true;
    type Request = wire::kvmi_vm_write_physical;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_write_physical {
            gpa: self.gpa,
            size: u16::try_from(self.data.len())
                .map_err(|_| Error::Usage("one write covers at most a page"))?,
            ..Default::default()
        })
    }

    fn tail(&self) -> &[u8] {
        self.data
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Most pages that one [`SetPageAccess`] can carry.
pub const PAGES_AT_ONCE: usize = (wire::MAX_PAYLOAD - size_of::<wire::kvmi_vm_set_page_access>())
    / size_of::<wire::kvmi_page_access_entry>();

/// Restricts what the guest may do to pages.
///
/// Every entry is tried; the reply is the first error. Errors: `EINVAL`
/// unknown bits, write without read, or no memory; `EOPNOTSUPP` execute
/// without read where hardware cannot; `ENOMEM`.
#[derive(Clone, Copy, Debug)]
pub struct SetPageAccess<'a> {
    /// Page addresses and what stays allowed there; at most [`PAGES_AT_ONCE`].
    pub entries: &'a [wire::kvmi_page_access_entry],
}

impl<'a> SetPageAccess<'a> {
    /// As many commands as it takes for all `entries`.
    pub fn batches(entries: &'a [wire::kvmi_page_access_entry]) -> impl Iterator<Item = Self> {
        let batches = entries.chunks(PAGES_AT_ONCE);
        batches.map(|entries| SetPageAccess { entries })
    }

    /// What is said of one page: `access` is what stays allowed at `gpa`.
    pub fn entry(gpa: u64, access: Access) -> wire::kvmi_page_access_entry {
        wire::kvmi_page_access_entry {
            gpa,
            access: access.bits(),
            ..Default::default()
        }
    }
}

impl Command for SetPageAccess<'_> {
    const ID: u16 = wire::KVMI_VM_SET_PAGE_ACCESS as u16;
    const NAME: &'static str = "VM_SET_PAGE_ACCESS";
    type Request = wire::kvmi_vm_set_page_access;
    type Reply = ();

    fn request(&self) -> Result<Self::Request> {
        Ok(wire::kvmi_vm_set_page_access {
            count: u16::try_from(self.entries.len())
                .ok()
                .filter(|count| usize::from(*count) <= PAGES_AT_ONCE)
                .ok_or(Error::Usage("at most 511 pages at once"))?,
            ..Default::default()
        })
    }

    fn tail(&self) -> &[u8] {
        self.entries.as_bytes()
    }

    fn reply(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Asks for the highest guest frame number that memory backs.
#[derive(Clone, Copy, Debug)]
pub struct GetMaxGfn;

impl Command for GetMaxGfn {
    const ID: u16 = wire::KVMI_VM_GET_MAX_GFN as u16;
    const NAME: &'static str = "VM_GET_MAX_GFN";
    type Request = ();
    type Reply = u64;

    fn request(&self) -> Result<()> {
        Ok(())
    }

    fn reply(&self, bytes: &[u8]) -> Result<u64> {
        fixed::<Self, wire::kvmi_vm_get_max_gfn_reply>(bytes).map(|reply| reply.gfn)
    }
}
