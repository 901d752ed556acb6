// SPDX-License-Identifier: MIT OR Apache-2.0

//! Generates the wire types from the two UAPI headers of the repository, so
//! that the headers stay the one definition of the wire.

use std::{env, error::Error, path::PathBuf};

use bindgen::callbacks::{DeriveInfo, ParseCallbacks, TypeKind};

/// Gives every structure the conversions from and to bytes.
///
/// The derives refuse, at compile time, a structure with implicit padding.
#[derive(Debug)]
struct Zerocopy;

impl ParseCallbacks for Zerocopy {
    fn add_derives(&self, info: &DeriveInfo<'_>) -> Vec<String> {
        match info.kind {
            TypeKind::Struct => ["FromBytes", "IntoBytes", "Immutable", "KnownLayout"]
                .map(|name| format!("zerocopy::{name}"))
                .to_vec(),
            _ => Vec::new(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../..");
    let linux = root.join("include/uapi");
    let asm = root.join("arch/x86/include/uapi");
    let header = linux.join("linux/kvmi.h");

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", header.display());
    println!(
        "cargo::rerun-if-changed={}",
        asm.join("asm/kvmi.h").display()
    );

    bindgen::Builder::default()
        .header(header.display().to_string())
        .clang_arg(format!("-I{}", linux.display()))
        .clang_arg(format!("-I{}", asm.display()))
        // Hides flexible tails: what lies behind a structure is bytes of its own.
        .clang_arg("-D__BINDGEN__")
        .allowlist_type("kvmi_.*|kvm_introspection_.*|kvm_msr_entry")
        .allowlist_var("KVMI_.*|KVM_CAP_INTROSPECTION|KVM_HC_XEN_.*")
        .derive_default(true)
        .parse_callbacks(Box::new(Zerocopy))
        .generate()?
        .write_to_file(PathBuf::from(env::var("OUT_DIR")?).join("uapi.rs"))?;
    Ok(())
}
