// SPDX-License-Identifier: GPL-2.0

//! Names of model-specific registers.

use crate::number;

/// Those that `kvmi regs` shows unasked: every 64-bit guest has them.
pub const COMMON: &[u32] = &[
    0x10,
    0x1b,
    0x174,
    0x175,
    0x176,
    0x277,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
];

const NAMES: &[(u32, &str)] = &[
    (0x10, "TSC"),
    (0x1b, "APIC_BASE"),
    (0x3a, "FEATURE_CONTROL"),
    (0x3b, "TSC_ADJUST"),
    (0x48, "SPEC_CTRL"),
    (0x8b, "UCODE_REV"),
    (0xfe, "MTRR_CAP"),
    (0x10a, "ARCH_CAPABILITIES"),
    (0x174, "SYSENTER_CS"),
    (0x175, "SYSENTER_ESP"),
    (0x176, "SYSENTER_EIP"),
    (0x179, "MCG_CAP"),
    (0x1a0, "MISC_ENABLE"),
    (0x1d9, "DEBUGCTL"),
    (0x277, "PAT"),
    (0x2ff, "MTRR_DEF_TYPE"),
    (0x6a0, "U_CET"),
    (0x6a2, "S_CET"),
    (0x6e0, "TSC_DEADLINE"),
    (0xda0, "XSS"),
    (0xc000_0080, "EFER"),
    (0xc000_0081, "STAR"),
    (0xc000_0082, "LSTAR"),
    (0xc000_0083, "CSTAR"),
    (0xc000_0084, "SFMASK"),
    (0xc000_0100, "FS_BASE"),
    (0xc000_0101, "GS_BASE"),
    (0xc000_0102, "KERNEL_GS_BASE"),
    (0xc000_0103, "TSC_AUX"),
    (0xc001_0010, "SYSCFG"),
    (0xc001_0114, "VM_CR"),
    (0xc001_0117, "VM_HSAVE_PA"),
    (0x4b56_4d00, "KVM_WALL_CLOCK"),
    (0x4b56_4d01, "KVM_SYSTEM_TIME"),
];

/// The name of an MSR, or its number.
pub fn name(msr: u32) -> String {
    NAMES
        .iter()
        .find(|(number, _)| *number == msr)
        .map_or_else(|| format!("{msr:#x}"), |(_, name)| (*name).to_owned())
}

/// An MSR by name, in any case and with or without `MSR_`, or by number.
pub fn parse(text: &str) -> Result<u32, String> {
    let upper = text.to_ascii_uppercase();
    let bare = upper
        .trim_start_matches("MSR_")
        .trim_start_matches("IA32_")
        .to_owned();
    NAMES
        .iter()
        .find(|(_, name)| *name == bare)
        .map(|(number, _)| Ok(*number))
        .unwrap_or_else(|| {
            number::integer32(text).map_err(|error| format!("no known MSR, and {error}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(parse("EFER"), Ok(0xc000_0080));
        assert_eq!(parse("msr_lstar"), Ok(0xc000_0082));
        assert_eq!(parse("MSR_IA32_SYSENTER_CS"), Ok(0x174));
        assert_eq!(parse("0xc0000080"), Ok(0xc000_0080));
        assert!(parse("NOSUCH").is_err());
        assert_eq!(name(0xc000_0080), "EFER");
        assert_eq!(name(0x123), "0x123");
        assert!(COMMON.iter().all(|msr| !name(*msr).starts_with("0x")));
    }
}
