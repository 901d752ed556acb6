// SPDX-License-Identifier: MIT OR Apache-2.0

//! The handshake with VMMs that behave, and others.

mod hostile;

use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use zerocopy::IntoBytes;

use crate::{
    fake::vmm::{self, hello},
    handshake::{
        self, Auth, Challenge, Cookie, HandshakeError, Key, KeyError, Offer, Patience, Peer, Proof,
        Step, TOOL, VMM,
    },
};

/// More than any test takes.
const LONG: Duration = Duration::from_secs(60);
/// Over in any case.
const SHORT: Duration = Duration::from_millis(30);

type Outcome = Result<Peer, HandshakeError>;

fn key(text: &str) -> Key {
    Key::new(text.repeat(16).into()).unwrap()
}

fn forms() -> [Auth; 3] {
    [Auth::None, Auth::Sha1(key("a")), Auth::Hmac(key("a"))]
}

/// The tool's side, and the other as `vmm` plays it; what comes of both, and the tool's stream.
fn against<T: Send + 'static>(
    auth: &Auth,
    limit: Duration,
    vmm: impl FnOnce(UnixStream) -> T + Send + 'static,
) -> (Outcome, T, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let vmm = thread::spawn(move || vmm(theirs));
    let outcome = handshake::run(&ours, auth, &Patience::new(limit));
    // Whoever waits for this side must not wait for ever.
    if outcome.is_err() {
        ours.shutdown(std::net::Shutdown::Both).unwrap();
    }
    (outcome, vmm.join().unwrap(), ours)
}

/// What a VMM says that knows the key, given what the tool has offered: its challenge, and its
/// proof once it has the tool's.
fn reads(stream: &mut UnixStream, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn challenge() -> Vec<u8> {
    Challenge::new([7; 32]).as_bytes().to_vec()
}

#[test]
fn each_form_succeeds_and_leaves_what_follows() {
    for auth in forms() {
        let theirs = auth.clone();
        let (outcome, accepted, mut stream) = against(&auth, LONG, move |stream| {
            // The kernel's end is closed behind the bytes.
            vmm::offer(stream, "web", &theirs, b"behind").is_some()
        });
        let expected = Peer {
            name: "web".into(),
            uuid: *b"wwwwwwwwwwwwwwww",
            start_time: 1_700_000_000,
            max_gpa: Some(0xfff_ffff),
        };
        assert_eq!(expected.uuid_text(), "77777777-7777-7777-7777-777777777777");
        assert_eq!(outcome.unwrap(), expected, "{auth:?}");
        assert!(accepted, "{auth:?}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"behind", "{auth:?}");
    }
}

#[test]
fn another_key_is_refused() {
    let theirs = Auth::Sha1(key("b"));
    let (_, accepted, _) = against(&Auth::Sha1(key("a")), LONG, move |stream| {
        vmm::offer(stream, "web", &theirs, b"").is_some()
    });
    assert!(!accepted, "only the VMM can tell with a bare hash");

    let theirs = Auth::Hmac(key("b"));
    let (outcome, accepted, _) = against(&Auth::Hmac(key("a")), LONG, move |stream| {
        vmm::offer(stream, "web", &theirs, b"").is_some()
    });
    assert!(!accepted);
    let error = outcome.unwrap_err();
    assert!(matches!(error, HandshakeError::Closed(Step::Proof)));
    assert!(error.fix().unwrap().contains("same key"));
}

#[test]
fn a_vmm_that_does_not_know_the_key_is_refused() {
    // It takes any tool, and sends a MAC of its own, or the tool's back to it.
    for reflects in [false, true] {
        let (outcome, (), _) = against(&Auth::Hmac(key("a")), LONG, move |mut stream| {
            stream.write_all(&hello("web")).unwrap();
            let offer = reads(&mut stream, 64);
            stream.write_all(&challenge()).unwrap();
            let proof = reads(&mut stream, 40);
            let said = [&hello("web"), &offer, &challenge()[..], &proof[8..]];
            let other = Proof::new(key("b").mac(VMM, &said));
            let answer = if reflects {
                &proof[..]
            } else {
                other.as_bytes()
            };
            stream.write_all(answer).unwrap();
        });
        assert!(
            matches!(outcome, Err(HandshakeError::WrongKey)),
            "{outcome:?}"
        );
    }
}

/// A stream that a VMM said: its part of a handshake with a tool that it proved itself to.
fn recorded() -> Vec<u8> {
    let (outcome, said, _) = against(&Auth::Hmac(key("a")), LONG, |mut stream| {
        stream.write_all(&hello("web")).unwrap();
        let offer = reads(&mut stream, 64);
        stream.write_all(&challenge()).unwrap();
        let proof = reads(&mut stream, 40);
        let said = [&hello("web"), &offer, &challenge()[..], &proof[8..]];
        let answer = Proof::new(key("a").mac(VMM, &said));
        stream.write_all(answer.as_bytes()).unwrap();
        [&hello("web"), &challenge()[..], answer.as_bytes()].concat()
    });
    outcome.unwrap();
    said
}

#[test]
fn what_was_recorded_is_refused() {
    let said = recorded();
    let (outcome, (), _) = against(&Auth::Hmac(key("a")), LONG, move |mut stream| {
        stream.write_all(&said).unwrap();
        reads(&mut stream, 64 + 40);
    });
    assert!(
        matches!(outcome, Err(HandshakeError::WrongKey)),
        "{outcome:?}"
    );
}

#[test]
fn each_handshake_has_a_nonce_of_its_own() {
    let offer = || {
        let (_, offer, _) = against(&Auth::Hmac(key("a")), LONG, |mut stream| {
            stream.write_all(&hello("web")).unwrap();
            reads(&mut stream, 64)
        });
        offer
    };
    let (one, other) = (offer(), offer());
    assert_eq!(one[..32], other[..32]);
    assert_ne!(one[32..], other[32..]);
}

#[test]
fn forms_that_differ_do_not_meet() {
    for (ours, theirs) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let [ours, theirs] = [ours, theirs].map(|form| forms()[form].clone());
        let (outcome, accepted, _) = against(&ours, LONG, {
            let theirs = theirs.clone();
            move |stream| {
                // A VMM that wants more than a hash waits for it.
                stream.set_read_timeout(Some(SHORT)).unwrap();
                vmm::offer(stream, "web", &theirs, b"").is_some()
            }
        });
        assert!(!accepted, "{ours:?} {theirs:?}");
        if matches!(ours, Auth::Hmac(_)) {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, HandshakeError::Closed(Step::Challenge)),
                "{error:?}"
            );
            assert!(error.fix().unwrap().contains("auth"));
        }
    }
}

#[test]
fn records_of_other_sizes() {
    let of_size = |size: u32| {
        let mut record = hello("a\x1bb");
        record[..4].copy_from_slice(&size.to_ne_bytes());
        record.resize(size.clamp(4, 2000) as usize, 0xee);
        let (outcome, (), _) = against(&Auth::None, LONG, move |mut stream| {
            stream.write_all(&record).unwrap();
            let _ = stream.read_exact(&mut [0; 24]);
        });
        outcome
    };
    for (size, max_gpa) in [
        (96, None),
        (103, None),
        (104, Some(0xfff_ffff)),
        (1024, Some(0xfff_ffff)),
    ] {
        let peer = of_size(size).unwrap();
        assert_eq!(
            (peer.max_gpa, peer.name.as_str()),
            (max_gpa, "a?b"),
            "{size}"
        );
    }
    for size in [0, 4, 95, 1025, u32::MAX] {
        let error = of_size(size).unwrap_err();
        assert!(
            matches!(
                error,
                HandshakeError::Record {
                    step: Step::Hello,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(
            error.to_string().ends_with(&format!("{size} bytes")),
            "{error}"
        );
    }
    // All 64 bytes may be the name's.
    let (outcome, _, _) = against(&Auth::None, LONG, |stream| {
        vmm::offer(stream, &"n".repeat(64), &Auth::None, b"").is_some()
    });
    assert_eq!(outcome.unwrap().name, "n".repeat(64));
}

#[test]
fn answers_are_those_that_vmms_know() {
    let answer = |auth: Auth, size: usize| {
        let (_, answer, _) = against(&auth, LONG, move |mut stream| {
            stream.write_all(&hello("web")).unwrap();
            reads(&mut stream, size)
        });
        answer
    };
    assert_eq!(answer(Auth::None, 24), Cookie::new([0; 20]).as_bytes());
    let text = Key::new(b"0123456789abcdef".to_vec()).unwrap();
    let mut expected = vec![24, 0, 0, 0];
    expected.extend(bytes("fe5567e8d769550852182cdf69d74bb16dff8e29"));
    assert_eq!(answer(Auth::Sha1(text), 24), expected);
    let offer = answer(Auth::Hmac(key("a")), 64);
    let mut expected = Offer::new([0; 32]).as_bytes().to_vec();
    expected[32..].copy_from_slice(&offer[32..]);
    assert_eq!(offer, expected);
    assert_eq!(offer[..32], {
        let mut head = [0; 32];
        (head[0], head[24]) = (64, 2);
        head
    });
}

#[test]
fn a_mac_is_that_of_others() {
    let key = Key::new((0..32).collect()).unwrap();
    let mac = key.mac(TOOL, &[b"hello", b"offer", b"challenge"]);
    assert_eq!(
        mac[..],
        bytes("1da787d92383c0b2021816c811462bc2ccc48fe1a38478c6ec09009cbabaabaa")
    );
    assert!(key.verifies(TOOL, &[b"hellooffer", b"challenge"], &mac));
    assert!(!key.verifies(VMM, &[b"hellooffer", b"challenge"], &mac));
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn keys() {
    for size in [0, 15] {
        let error = Key::new(vec![1; size]).unwrap_err();
        assert!(matches!(error, KeyError::Short(found) if found == size));
    }
    assert!(Key::new(vec![1; 16]).is_ok() && Key::new(vec![1; 4096]).is_ok());
    assert!(matches!(Key::new(vec![1; 4097]), Err(KeyError::Long)));
    assert_eq!(
        format!("{:?}", key("a")),
        "Key(16 bytes)",
        "no key in a log"
    );
}

#[test]
fn a_file_is_a_key_as_it_is() {
    let path = std::env::temp_dir().join(format!("kvmi-key-{}", std::process::id()));
    std::fs::write(&path, b"0123456789abcde\n").unwrap();
    let key = Key::read(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(key.unwrap().bytes(), b"0123456789abcde\n");
    assert!(matches!(Key::read(&path), Err(KeyError::Io(_))));
    assert!(matches!(
        Key::read("/dev/null".as_ref()),
        Err(KeyError::Short(0))
    ));
    assert!(matches!(
        Key::read("/dev/zero".as_ref()),
        Err(KeyError::Long)
    ));
}
