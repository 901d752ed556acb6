// SPDX-License-Identifier: GPL-2.0

//! What `kvmi listen` takes as its command line. What it does is tested with the program itself,
//! in `tests/listen.rs`.

use std::{fs, time::Duration};

use super::*;

const GLOBAL: Global = Global {
    pid: None,
    fd: None,
    timeout: Duration::from_secs(10),
};

fn arguments(line: &str) -> Listen {
    match Cli::try_parse_from(line.split(' ')).unwrap().action {
        Action::Listen(args) => args,
        action => panic!("{action:?}"),
    }
}

fn words(line: &str, json: bool) -> (Vec<String>, bool) {
    let (job, json) = job(&arguments(line), &GLOBAL, json).unwrap();
    let words = match job {
        Job::Own(_, words) => words,
        Job::Program(program, mut words) => {
            words.insert(0, program);
            words
        }
    };
    let words = words.into_iter().map(|word| word.into_string().unwrap());
    (words.collect(), json)
}

#[test]
fn another_command_line_is_handed_on() {
    let (own, json) = words(
        "kvmi listen unix:/x --count 2 trace --cr 3 --count 5",
        false,
    );
    let expected = ["--timeout", "10000ms", "trace", "--cr", "3", "--count", "5"];
    assert_eq!((own, json), (expected.map(str::to_owned).into(), false));
    let line = "kvmi listen vsock:7 --auth none -- sh -c exit --json";
    let (program, json) = words(line, false);
    let expected = ["sh", "-c", "exit", "--json"];
    assert_eq!((program, json), (expected.map(str::to_owned).into(), false));
}

#[test]
fn json_may_be_wanted_in_either() {
    for (line, outer) in [
        ("kvmi listen unix:/x info --json", false),
        ("kvmi listen unix:/x info", true),
    ] {
        let (own, json) = words(line, outer);
        assert!(json);
        assert_eq!(own[2], "--json");
    }
}

#[test]
fn what_cannot_be_run_for_each_vm() {
    for (line, text) in [
        ("kvmi listen unix:/x", "what is to be run"),
        ("kvmi listen unix:/x list", "needs the process"),
        ("kvmi listen unix:/x resume", "needs the process"),
        (
            "kvmi listen unix:/x listen unix:/y info",
            "needs the process",
        ),
        ("kvmi listen unix:/x read 0 1 --raw", "standard output"),
        ("kvmi listen unix:/x read 0 1 --output -", "standard output"),
        ("kvmi listen unix:/x xsave --output -", "standard output"),
        ("kvmi listen unix:/x xsave --load -", "standard input"),
        ("kvmi listen unix:/x write 0 --file -", "standard input"),
    ] {
        let failure = job(&arguments(line), &GLOBAL, false).map(drop).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains(text),
            "{line}: {}",
            failure.message
        );
    }
}

#[test]
fn authentication() {
    let path = std::env::temp_dir().join(format!("kvmi-listen-key-{}", std::process::id()));
    fs::write(&path, [7; 16]).unwrap();
    let form = |options: &str| {
        let line = format!("kvmi listen unix:/x {options} info");
        let args = arguments(
            &line
                .replace("KEY", path.to_str().unwrap())
                .replace("  ", " "),
        );
        auth(&args)
    };
    assert!(matches!(form(""), Ok(Auth::None)));
    assert!(matches!(form("--auth none"), Ok(Auth::None)));
    assert!(matches!(form("--key KEY"), Ok(Auth::Hmac(_))));
    assert!(matches!(form("--key KEY --auth hmac"), Ok(Auth::Hmac(_))));
    assert!(matches!(form("--key KEY --auth sha1"), Ok(Auth::Sha1(_))));
    for options in ["--auth hmac", "--auth sha1", "--key KEY --auth none"] {
        assert_eq!(form(options).unwrap_err().exit, Exit::Usage, "{options}");
    }
    fs::write(&path, [7; 15]).unwrap();
    let failure = form("--key KEY").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.message.contains("15 bytes"), "{}", failure.message);
    fs::remove_file(&path).unwrap();
    assert_eq!(form("--key KEY").unwrap_err().exit, Exit::Failed);
}
