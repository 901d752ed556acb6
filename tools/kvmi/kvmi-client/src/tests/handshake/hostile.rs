// SPDX-License-Identifier: MIT OR Apache-2.0

//! VMMs that are slow, silent, gone, or that want less than was agreed.

use super::*;

#[test]
fn a_record_may_be_cut_off_anywhere() {
    let said = recorded();
    for cut in 1..said.len() {
        let part = said[..cut].to_vec();
        let (outcome, (), _) = against(&Auth::Hmac(key("a")), LONG, move |mut stream| {
            stream.write_all(&part).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // What the tool says is taken, so that it is this end it meets.
            stream.read_to_end(&mut Vec::new()).unwrap();
        });
        let step = match cut {
            0..104 => Step::Hello,
            104..144 => Step::Challenge,
            _ => Step::Proof,
        };
        assert!(
            matches!(outcome, Err(HandshakeError::Closed(found)) if found == step),
            "{cut}: {outcome:?}"
        );
    }
}

#[test]
fn a_vmm_may_withdraw() {
    let (outcome, (), _) = against(&Auth::None, LONG, drop);
    assert!(
        matches!(outcome, Err(HandshakeError::Withdrawn)),
        "{outcome:?}"
    );
}

#[test]
fn a_vmm_may_be_gone_before_the_answer() {
    for auth in forms() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&hello("web")).unwrap();
        drop(theirs);
        let outcome = handshake::run(&ours, &auth, &Patience::new(LONG));
        assert!(
            matches!(outcome, Err(HandshakeError::Closed(Step::Consent))),
            "{outcome:?}"
        );
    }
}

#[test]
fn silence_ends_at_the_limit() {
    let said = recorded();
    for (cut, step) in [
        (0, Step::Hello),
        (50, Step::Hello),
        (104, Step::Challenge),
        (144, Step::Proof),
        (183, Step::Proof),
    ] {
        let part = said[..cut].to_vec();
        let (outcome, (), _) = against(&Auth::Hmac(key("a")), SHORT, move |mut stream| {
            stream.write_all(&part).unwrap();
            // Until the tool gives up.
            stream.read_to_end(&mut Vec::new()).unwrap();
        });
        assert!(
            matches!(outcome, Err(HandshakeError::Timeout(found)) if found == step),
            "{cut}: {outcome:?}"
        );
    }
}

#[test]
fn the_limit_is_that_of_the_whole() {
    // A byte now and then, for as long as anybody listens.
    let (outcome, (), _) = against(&Auth::None, SHORT, |mut stream| {
        let mut record = hello("web");
        record[..4].copy_from_slice(&1024u32.to_ne_bytes());
        record.resize(1024, 0);
        for byte in record {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(
        matches!(outcome, Err(HandshakeError::Timeout(Step::Hello))),
        "{outcome:?}"
    );
}

#[test]
fn a_tool_that_nobody_reads_ends_at_the_limit() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&hello("web")).unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let outcome = handshake::run(&ours, &Auth::None, &Patience::new(SHORT));
    assert!(
        matches!(outcome, Err(HandshakeError::Timeout(Step::Consent))),
        "{outcome:?}"
    );
}

#[test]
fn a_byte_at_a_time_will_do() {
    let (outcome, (), mut stream) = against(&Auth::Hmac(key("a")), LONG, |mut stream| {
        let slowly = |stream: &mut UnixStream, bytes: &[u8]| {
            for byte in bytes {
                stream.write_all(&[*byte]).unwrap();
            }
        };
        slowly(&mut stream, &hello("web"));
        let offer = reads(&mut stream, 64);
        slowly(&mut stream, &challenge());
        let proof = reads(&mut stream, 40);
        let said = [&hello("web"), &offer, &challenge()[..], &proof[8..]];
        assert!(key("a").verifies(TOOL, &said[..3], proof[8..].try_into().unwrap()));
        slowly(&mut stream, Proof::new(key("a").mac(VMM, &said)).as_bytes());
        slowly(&mut stream, b"behind");
    });
    assert_eq!(outcome.unwrap().name, "web");
    assert_eq!(reads(&mut stream, 6), b"behind");
}

#[test]
fn it_can_be_stopped() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    let stopper = thread::spawn(move || stopper.write_all(b"x").map(|()| stopper).unwrap());
    let patience = Patience::new(LONG).stopped_by(stop.as_fd());
    let outcome = handshake::run(&ours, &Auth::None, &patience);
    assert!(
        matches!(outcome, Err(HandshakeError::Stopped)),
        "{outcome:?}"
    );
    stopper.join().unwrap();
}

#[test]
fn a_vmm_cannot_weaken_it() {
    // It takes the beginning of the offer for a hash, and goes on with a session.
    let (outcome, (), _) = against(&Auth::Hmac(key("a")), LONG, |mut stream| {
        stream.write_all(&hello("web")).unwrap();
        reads(&mut stream, 24);
        stream.write_all(&[0; 64]).unwrap();
    });
    assert!(
        matches!(
            outcome,
            Err(HandshakeError::Record {
                step: Step::Challenge,
                ..
            })
        ),
        "{outcome:?}"
    );
    // Records of another version, or of another size.
    for (at, value, step) in [
        (104, 24u32, Step::Challenge),
        (108, 1, Step::Challenge),
        (144, 24, Step::Proof),
        (148, 1, Step::Proof),
    ] {
        let mut said = recorded();
        said[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        let (outcome, (), _) = against(&Auth::Hmac(key("a")), LONG, move |mut stream| {
            stream.write_all(&said).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let found = match outcome {
            Err(HandshakeError::Record { step, .. }) => step,
            other => panic!("{at}: {other:?}"),
        };
        assert_eq!(found, step, "{at}");
    }
}
