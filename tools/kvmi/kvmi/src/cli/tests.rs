// SPDX-License-Identifier: GPL-2.0

//! What is taken as a command line, and what is not.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
    Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn global_arguments_come_before_or_after() {
    for line in ["kvmi --pid 7 --json info", "kvmi info --json --pid 7"] {
        let cli = parse(line).unwrap();
        assert_eq!((cli.global.pid, cli.json), (Some(7), true));
    }
}

#[test]
fn arguments() {
    let Ok(Cli {
        action: Action::Read(read),
        ..
    }) = parse("kvmi read 0x10 4K")
    else {
        panic!();
    };
    assert_eq!((read.gpa, read.len), (0x10, 4096));
    assert!(parse("kvmi write 0 --hex 00ff").is_ok());
    assert!(parse("kvmi trace --cr 0 --cr 3 --msr LSTAR --for 5s --count 3").is_ok());
    assert!(parse("kvmi trace --step 20 --vcpu 1 --cr 3 --disassemble").is_ok());
    assert!(parse("kvmi watch 0x1000 8 --access rw --count 3 --for 5s").is_ok());
    assert!(parse("kvmi watch linux_banner+1 8 --no-symbols --vcpu 1").is_ok());
    assert!(parse("kvmi protect --action block --no-execute-data --count 1").is_ok());
    for (words, expected) in [
        ("", protect::OnExit::Release),
        (" --on-exit release", protect::OnExit::Release),
        (" --on-exit freeze", protect::OnExit::Freeze),
        (" --on-exit crash", protect::OnExit::Crash),
    ] {
        let cli = parse(&format!("kvmi protect{words}")).unwrap();
        assert!(matches!(cli.action, Action::Protect(args) if args.on_exit == expected));
    }
    let both = parse("kvmi protect --no-allow-self-patching --allow-self-patching").unwrap();
    assert!(matches!(both.action, Action::Protect(args) if !args.no_allow_self_patching));
    assert!(parse("kvmi inject 14 --error-code 0x2 --address 0x1000 --vcpu 1").is_ok());
    assert!(parse("kvmi regs --msr EFER --msr 0x10 --vcpu 1").is_ok());
    assert!(parse("kvmi --fd 3 info").is_ok() && parse("kvmi info --fd 3").is_ok());
    assert!(parse("kvmi listen unix:/x --key k --auth sha1 --count 2 info --json").is_ok());
}

#[test]
fn wrong_arguments() {
    for line in [
        "kvmi",
        "kvmi read 0",
        "kvmi read 0 x",
        "kvmi read 0 1 --raw --json",
        "kvmi write 0",
        "kvmi write 0 --hex 0",
        "kvmi write 0 --hex 00 --file f",
        "kvmi regs --msr NONSENSE",
        "kvmi cpuid 0x100000000",
        "kvmi pause --for 5x",
        "kvmi translate -1",
        "kvmi trace",
        "kvmi trace --cr 2",
        "kvmi trace --cpuid --count 0",
        "kvmi trace --step 0",
        "kvmi trace --disassemble",
        "kvmi protect --action stop",
        "kvmi protect --on-exit stay",
        "kvmi protect --on-exit",
        "kvmi watch 0",
        "kvmi watch 0 1 --access q",
        "kvmi watch 0 1 --access",
        "kvmi watch -1 1",
        "kvmi watch 0 1 --count 0",
        "kvmi inject 32",
        "kvmi inject",
        "kvmi xsave --load f --output g",
        "kvmi info --fd 3 --pid 7",
        "kvmi info --fd -1",
        "kvmi listen",
        "kvmi listen /x info",
        "kvmi listen unix:/x --auth md5 info",
        "kvmi listen unix:/x --count 0 info",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
