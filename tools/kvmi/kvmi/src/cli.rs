// SPDX-License-Identifier: GPL-2.0

//! The command line.

mod listen;
#[cfg(test)]
mod tests;

pub use listen::{Form, Listen};

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};

use kvmi_client::Access;

use crate::{
    command::{
        protect,
        watch::place::{self, Place},
    },
    msr, number,
};

/// Looks into the virtual machines of this host and controls them, through
/// KVM introspection.
#[derive(Debug, Parser)]
#[command(name = "kvmi", version, after_help = NOTES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub action: Action,
}

/// Exit codes are part of the interface: see [`crate::failure::Failure`].
const NOTES: &str = "\
Numbers are decimal, or hexadecimal with 0x; K, M, G and T multiply by 1024.

Exit codes: 0 done; 1 something failed or was refused; 2 wrong command line;
3 no such VM, or several; 4 not permitted, or not supported by this host;
5 another tool watches the VM; 6 the session or the VM ended; 7 no answer in
time, or memory that is not there now; 8 nothing found.";

/// What every command that talks to a VM takes.
#[derive(Args, Debug)]
pub struct Global {
    /// Process that runs the VM; not needed if only one VM runs.
    #[arg(long, global = true)]
    pub pid: Option<u32>,
    /// Number of the file descriptor of a connected socket whose other end KVM has, as `kvmi
    /// listen` leaves it to programs; instead of --pid.
    #[arg(long, global = true, value_name = "N", conflicts_with = "pid")]
    pub fd: Option<u16>,
    /// How long to wait for an answer, such as 500ms or 10s; 0 for ever.
    #[arg(long, global = true, value_name = "TIME", default_value = "10s",
          value_parser = number::duration)]
    pub timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the VMs of this host and who watches them.
    List,
    /// Show version, features and size of a VM, and what may be done with it.
    Info,
    /// Show registers.
    Regs(Regs),
    /// Show guest physical memory, or copy it out.
    Read(Read),
    /// Write guest physical memory.
    Write(Write),
    /// Find text in guest physical memory and print the line it begins.
    ///
    /// Where the guest has no memory, the search goes on in steps of up to
    /// 1 MiB: what is smaller and lies in the middle of nothing may be missed.
    Find(Find),
    /// Translate a guest virtual address.
    Translate(Translate),
    /// Show a CPUID leaf of the guest.
    Cpuid(Cpuid),
    /// Print what the guest does as it does it, until Ctrl-C.
    ///
    /// Every event is let through as the guest wanted it. The vCPU of an
    /// event waits while its line is printed. What was asked for is given
    /// back when the trace ends, however it ends.
    Trace(Trace),
    /// Print accesses of some bytes of memory as they happen, until Ctrl-C.
    ///
    /// Each is let through, and printed with what was there before and what is
    /// there when its instruction is done. The pages that hold the bytes are
    /// restricted for it, and given back when the watch ends, however it ends.
    Watch(Watch),
    /// Keep a Linux guest's kernel from being changed, until Ctrl-C.
    ///
    /// Finds the kernel in the guest's memory, and takes the right to write
    /// from the pages of its text and its read-only data. Whoever writes there
    /// nevertheless is named and stopped.
    Protect(Protect),
    /// Make a vCPU take an exception, and tell which one it took.
    Inject(Inject),
    /// Show the extended state of a vCPU, or copy it out or in.
    Xsave(Xsave),
    /// Show the memory type that the guest's MTRRs give an address.
    Mtrr(Mtrr),
    /// Stop vCPUs until Ctrl-C, `kvmi resume`, or the end of a piped input.
    Pause(Pause),
    /// End the `kvmi pause` that holds the VM, or thaw a VM that a tool has left frozen.
    Resume,
    /// Wait for VMMs that connect and offer their VMs, and run a command for each.
    Listen(Listen),
}

impl Action {
    /// Its name, if it needs the process that runs the VM.
    pub fn process_only(&self) -> Option<&'static str> {
        match self {
            Action::List => Some("list"),
            Action::Resume => Some("resume"),
            Action::Listen(_) => Some("listen"),
            _ => None,
        }
    }
}

#[derive(Args, Debug)]
pub struct Regs {
    /// Only this vCPU.
    #[arg(long, value_name = "N")]
    pub vcpu: Option<u16>,
    /// Show this MSR, by name or number, instead of the common ones; may be
    /// given several times.
    #[arg(long, value_name = "NAME|NUMBER", value_parser = msr::parse)]
    pub msr: Vec<u32>,
}

#[derive(Args, Debug)]
pub struct Read {
    /// Guest physical address.
    #[arg(value_parser = number::integer)]
    pub gpa: u64,
    /// Number of bytes.
    #[arg(value_parser = number::integer)]
    pub len: u64,
    /// Write the bytes themselves to this file; - for standard output.
    #[arg(long, short, value_name = "FILE", conflicts_with = "json")]
    pub output: Option<PathBuf>,
    /// Write the bytes themselves to standard output.
    #[arg(long, conflicts_with_all = ["output", "json"])]
    pub raw: bool,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true))]
pub struct Write {
    /// Guest physical address.
    #[arg(value_parser = number::integer)]
    pub gpa: u64,
    /// The bytes as hexadecimal digits, spaces allowed.
    #[arg(long, value_name = "BYTES", group = "what", value_parser = number::bytes)]
    pub hex: Option<number::Bytes>,
    /// Take the bytes from this file; - for standard input.
    #[arg(long, value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Find {
    /// What to look for.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub text: String,
    /// Guest physical address to start at.
    #[arg(long, value_name = "GPA", default_value = "0", value_parser = number::integer)]
    pub from: u64,
    /// Guest physical address to stop before; the end of memory by default.
    #[arg(long, value_name = "GPA", value_parser = number::integer)]
    pub to: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Translate {
    /// Guest virtual address.
    #[arg(value_parser = number::integer)]
    pub gva: u64,
    /// By the page tables of this vCPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vcpu: u16,
}

#[derive(Args, Debug)]
pub struct Cpuid {
    /// EAX of the instruction.
    #[arg(value_parser = number::integer32)]
    pub function: u32,
    /// ECX of the instruction.
    #[arg(value_parser = number::integer32, default_value = "0")]
    pub index: u32,
    /// As this vCPU sees it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vcpu: u16,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub struct Trace {
    /// Only this vCPU; for --step, 0 if not given.
    #[arg(long, value_name = "N")]
    pub vcpu: Option<u16>,
    /// Writes to this control register, 0, 3 or 4; may be given several times.
    #[arg(long, value_name = "N", group = "what", value_parser = control_register)]
    pub cr: Vec<u8>,
    /// Writes to this MSR, by name or number; may be given several times.
    #[arg(long, value_name = "NAME|NUMBER", group = "what", value_parser = msr::parse)]
    pub msr: Vec<u32>,
    /// CPUID.
    #[arg(long, group = "what")]
    pub cpuid: bool,
    /// Calls of the guest to the tool.
    #[arg(long, group = "what")]
    pub hypercall: bool,
    /// INT3.
    #[arg(long, group = "what")]
    pub breakpoint: bool,
    /// Accesses to GDTR, IDTR, LDTR and TR.
    #[arg(long, group = "what")]
    pub descriptor: bool,
    /// Writes to XCR0.
    #[arg(long, group = "what")]
    pub xsetbv: bool,
    /// Stop a vCPU, run so many instructions of it one by one, then stop
    /// the trace.
    ///
    /// Each line is printed behind an instruction: RIP is at the next one.
    /// Interrupts wait meanwhile.
    #[arg(long, value_name = "N", group = "what", value_parser = clap::value_parser!(u64).range(1..))]
    pub step: Option<u64>,
    /// Show the instruction at RIP: behind a step, the next one.
    ///
    /// It is read before the event is answered, which takes two commands more.
    #[arg(long)]
    pub disassemble: bool,
    /// Stop after so many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time, such as 500ms or 5s.
    #[arg(long = "for", value_name = "TIME", value_parser = number::duration)]
    pub time: Option<Duration>,
}

#[derive(Args, Debug)]
pub struct Watch {
    /// Guest physical address, guest virtual address, or symbol of the guest's
    /// kernel.
    ///
    /// A number below 2^52 is a guest physical address, one above is virtual;
    /// gpa: or gva: in front says which it is. A symbol may be followed by +N.
    #[arg(value_name = "GPA|GVA|SYMBOL", value_parser = place::parse)]
    pub place: Place,
    /// Number of bytes.
    #[arg(value_parser = number::integer)]
    pub len: u64,
    /// What is watched: some of r (reads), w (writes) and x (instructions).
    ///
    /// Where reads are watched, writes are held up too, and on most processors
    /// instructions; if they are not asked for, they are let through unseen.
    #[arg(long, value_name = "RWX", default_value = "w", value_parser = access)]
    pub access: Access,
    /// Only accesses by this vCPU; virtual addresses are those of its page
    /// tables, of vCPU 0 if it is not given.
    #[arg(long, value_name = "N")]
    pub vcpu: Option<u16>,
    /// Do not look for the guest's kernel, and name no functions.
    #[arg(long)]
    pub no_symbols: bool,
    /// Stop after so many accesses.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time, such as 500ms or 5s.
    #[arg(long = "for", value_name = "TIME", value_parser = number::duration)]
    pub time: Option<Duration>,
}

#[derive(Args, Debug)]
pub struct Protect {
    /// What to do about a write.
    #[arg(long, value_name = "ACTION", default_value = "log")]
    pub action: protect::Action,
    /// Let the kernel's own patching through, whatever the action is: static
    /// keys, ftrace, kprobes. This is the default.
    #[arg(long, overrides_with = "no_allow_self_patching")]
    pub allow_self_patching: bool,
    /// Treat the kernel's own patching as any other write.
    #[arg(long)]
    pub no_allow_self_patching: bool,
    /// Take the right to execute from the read-only data too.
    #[arg(long)]
    pub no_execute_data: bool,
    /// What becomes of the protection if this tool dies, or fails, without having been told to
    /// stop.
    #[arg(long, value_name = "WHAT", default_value = "release")]
    pub on_exit: protect::OnExit,
    /// Stop after so many violations; the kernel's own patching does not count.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time, such as 500ms or 5s.
    #[arg(long = "for", value_name = "TIME", value_parser = number::duration)]
    pub time: Option<Duration>,
}

/// What is watched.
fn access(text: &str) -> Result<Access, String> {
    Access::parse(text).ok_or_else(|| "one or more of r, w and x, each once".into())
}

/// A control register whose writes can be seen.
fn control_register(text: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "3" => Ok(3),
        "4" => Ok(4),
        _ => Err("only writes to CR0, CR3 and CR4 can be seen".into()),
    }
}

#[derive(Args, Debug)]
pub struct Inject {
    /// Vector of the exception, 0 to 31 but 2.
    #[arg(value_parser = clap::value_parser!(u8).range(0..32))]
    pub nr: u8,
    /// Error code, for exceptions that have one.
    #[arg(long, value_name = "CODE", value_parser = number::integer32, default_value = "0")]
    pub error_code: u32,
    /// What CR2 says, for a page fault (14).
    #[arg(long, value_name = "GVA", value_parser = number::integer, default_value = "0")]
    pub address: u64,
    /// Into this vCPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vcpu: u16,
}

#[derive(Args, Debug)]
pub struct Xsave {
    /// Of this vCPU.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vcpu: u16,
    /// Write the 4096 bytes to this file; - for standard output.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["json", "load"])]
    pub output: Option<PathBuf>,
    /// Load the 4096 bytes of this file; - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub load: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Mtrr {
    /// Guest physical address.
    #[arg(value_parser = number::integer)]
    pub gpa: u64,
    /// As this vCPU sees it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub vcpu: u16,
}

#[derive(Args, Debug)]
pub struct Pause {
    /// Only this vCPU.
    #[arg(long, value_name = "N")]
    pub vcpu: Option<u16>,
    /// Go on after this time, such as 500ms or 5s.
    #[arg(long = "for", value_name = "TIME", value_parser = number::duration)]
    pub time: Option<Duration>,
}
