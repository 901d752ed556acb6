// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sessions: which reply belongs to whom, and what breaks them.

use std::{
    io::{Cursor, Read},
    thread,
    time::Duration,
};

use zerocopy::IntoBytes;

use super::{read_command, vcpu};
use crate::{
    code::Code,
    command::*,
    error::Error,
    event::Answer,
    fake::{Fake, reply, session, vcpu_event},
    message::{Message, Reader},
    wire,
};

#[test]
fn bytes_that_come_one_at_a_time() {
    let (mut session, kernel) = session(|kernel| {
        let seq = kernel.message().seq;
        let bytes = Message::encode(12, seq, &reply(Ok(b"data".to_vec()))).unwrap();
        for byte in bytes {
            kernel.raw(&[byte]);
            thread::yield_now();
        }
    });
    assert_eq!(session.call(read_command()).unwrap(), b"data");
    kernel.join().unwrap();
}

#[test]
fn messages_that_come_at_once() {
    let mut bytes = Message::encode(1, 7, b"").unwrap();
    bytes.extend(Message::encode(12, 8, &[9; 8184]).unwrap());
    let mut reader = Reader::default();
    let mut stream = Cursor::new(bytes);
    let first = reader.read(&mut stream, "").unwrap();
    assert_eq!((first.id, first.seq, first.payload.len()), (1, 7, 0));
    let second = reader.read(&mut stream, "").unwrap();
    assert_eq!((second.id, second.seq, second.payload.len()), (12, 8, 8184));
    assert!(matches!(reader.read(&mut stream, ""), Err(Error::Closed)));
}

#[test]
fn many_messages_in_pieces_of_any_size() {
    let mut bytes = Vec::new();
    let sizes: Vec<usize> = (0..200).map(|index| index * 41 % 8185).collect();
    for (seq, size) in (0..).zip(&sizes) {
        bytes.extend(Message::encode(12, seq, &vec![seq as u8; *size]).unwrap());
    }
    for piece in [1, 7, 8, 4096, 100_000] {
        let mut reader = Reader::default();
        let mut stream = Pieces(Cursor::new(&bytes), piece);
        for (seq, size) in (0..).zip(&sizes) {
            let message = reader.read(&mut stream, "").unwrap();
            assert_eq!(message.seq, seq);
            assert_eq!(message.payload, vec![seq as u8; *size]);
        }
        assert!(matches!(reader.read(&mut stream, ""), Err(Error::Closed)));
    }
}

/// A stream that brings at most so many bytes at a time.
struct Pieces<'a>(Cursor<&'a Vec<u8>>, usize);

impl Read for Pieces<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let size = room.len().min(self.1);
        self.0.read(&mut room[..size])
    }
}

#[test]
fn a_message_that_claims_too_much() {
    let header = wire::kvmi_msg_hdr {
        id: 12,
        size: 8185,
        seq: 1,
    };
    let mut stream = Cursor::new(header.as_bytes().to_vec());
    let result = Reader::default().read(&mut stream, "");
    assert!(matches!(result, Err(Error::Protocol(_))));
    assert!(matches!(
        Message::encode(14, 1, &[0; 8185]),
        Err(Error::Usage(_))
    ));
}

#[test]
fn events_between_command_and_reply_are_kept() {
    let (mut session, kernel) = session(|kernel| {
        let command = kernel.message();
        kernel.event(1, 0, 1, &[]);
        kernel.event(2, 1, 1, &[]);
        kernel.reply(&command, Ok(b"data".to_vec()));
        kernel.message()
    });
    assert_eq!(session.call(read_command()).unwrap(), b"data");
    let first = vcpu(session.kept_event().unwrap().unwrap());
    assert_eq!((first.seq, first.vcpu, first.kind.id()), (1, 0, 1));
    assert_eq!(first.arch.regs.rip, 0x1000);
    let second = vcpu(session.event().unwrap());
    assert_eq!((second.seq, second.vcpu), (2, 1));
    assert!(session.kept_event().unwrap().is_none());
    session.answer(&second, Answer::Continue).unwrap();
    let answer = kernel.join().unwrap();
    assert_eq!((answer.id, answer.seq), (1, 2));
    assert_eq!(
        answer.payload,
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn replies_may_overtake_one_another() {
    let (mut session, kernel) = session(|kernel| {
        let commands = [kernel.message(), kernel.message()];
        kernel.reply(&commands[1], Ok(b"2222".to_vec()));
        kernel.reply(&commands[0], Ok(b"1111".to_vec()));
    });
    let first = session.send(read_command()).unwrap();
    let second = session.send(read_command()).unwrap();
    assert_eq!(session.wait(first).unwrap(), b"1111");
    assert_eq!(session.wait(second).unwrap(), b"2222");
    kernel.join().unwrap();
}

#[test]
fn error_replies() {
    for number in [1, 2, 11, 16, 22, 95, 1000, 4242] {
        let (mut session, kernel) = session(move |kernel| {
            let command = kernel.message();
            let error = wire::kvmi_error_code {
                err: -number,
                padding: 0,
            };
            kernel.send(command.id, command.seq, error.as_bytes());
        });
        let error = session.call_once(read_command()).unwrap_err();
        let code = error.code().unwrap();
        assert_eq!(code.number(), number as u32);
        assert_eq!(code.name().is_some(), number != 4242);
        assert!(error.to_string().contains("VM_READ_PHYSICAL"), "{error}");
        kernel.join().unwrap();
    }
    assert_eq!(Code::from_wire(-1000), Some(Code::ENOSYS));
    assert_eq!(Code::from_wire(i32::MIN).unwrap().number(), 1 << 31);
    assert_eq!(Code::from_wire(0), None);
}

/// What the tool makes of a kernel that answers with `play`.
fn broken<C: Command>(command: C, play: impl FnOnce(&mut Fake, Message) + Send + 'static) -> Error
where
    C::Reply: std::fmt::Debug,
{
    let (mut session, kernel) = session(move |kernel| {
        let command = kernel.message();
        play(kernel, command);
    });
    let error = session.call(command).unwrap_err();
    kernel.join().unwrap();
    error
}

#[test]
fn replies_that_are_too_short() {
    let short = |error| assert!(matches!(error, Error::Protocol(_)), "{error}");
    for size in [0, 4, 7] {
        short(broken(read_command(), move |kernel, command| {
            kernel.send(command.id, command.seq, &vec![0; size]);
        }));
    }
    short(broken(read_command(), |kernel, command| {
        kernel.reply(&command, Ok(vec![0; 3]));
    }));
    short(broken(GetVersion, |kernel, command| {
        kernel.reply(&command, Ok(vec![0; 15]));
    }));
    short(broken(
        GetRegisters {
            vcpu: 0,
            msrs: &[0x10],
        },
        |kernel, command| kernel.reply(&command, Ok(vec![0; 472 + 16])),
    ));
    short(broken(
        GetRegisters {
            vcpu: 0,
            msrs: &[0x10],
        },
        |kernel, command| {
            let mut body = vec![0; 472 + 8];
            body[464] = 1;
            kernel.reply(&command, Ok(body));
        },
    ));
}

#[test]
fn replies_that_answer_nothing() {
    let error = broken(read_command(), |kernel, command| {
        kernel.send(command.id, command.seq + 1, &[0; 12]);
    });
    assert!(matches!(error, Error::Protocol(_)));
    let error = broken(read_command(), |kernel, command| {
        kernel.send(14, command.seq, &[0; 12]);
    });
    assert!(matches!(error, Error::Protocol(_)));
}

#[test]
fn registers_and_msrs() {
    let (mut session, kernel) = session(|kernel| {
        let command = kernel.message();
        let mut head = wire::kvmi_vcpu_get_registers_reply {
            mode: 8,
            msrs_nmsrs: 2,
            ..Default::default()
        };
        head.regs.rip = 0x1234;
        head.sregs.cr3 = 0x5000;
        let msr = |index, data| wire::kvm_msr_entry {
            index,
            data,
            ..Default::default()
        };
        let msrs = [msr(0x10, 77), msr(0xc000_0080, 0xd01)];
        kernel.reply(&command, Ok([head.as_bytes(), msrs.as_bytes()].concat()));
        command.payload
    });
    let command = GetRegisters {
        vcpu: 1,
        msrs: &[0x10, 0xc000_0080],
    };
    let registers = session.call(command).unwrap();
    assert_eq!(registers.mode, 8);
    assert_eq!(registers.regs.rip, 0x1234);
    assert_eq!(registers.sregs.cr3, 0x5000);
    assert_eq!(registers.msrs[1].data, 0xd01);
    let words = [1u32, 0, 2, 0, 0x10, 0xc000_0080];
    assert_eq!(kernel.join().unwrap(), words.as_bytes());
}

#[test]
fn the_other_end_closes() {
    let (mut session, kernel) = session(|_| ());
    kernel.join().unwrap();
    assert!(matches!(session.call(GetVersion), Err(Error::Closed)));
    let error = broken(GetVersion, |kernel, _| kernel.raw(&[2, 0, 24]));
    assert!(matches!(error, Error::Closed));
}

#[test]
fn a_late_reply_is_dropped() {
    let (mut session, kernel) = session(|kernel| {
        let late = kernel.message();
        let next = kernel.message();
        kernel.reply(&late, Ok(b"late".to_vec()));
        kernel.reply(&next, Ok(b"next".to_vec()));
    });
    session_limit(&session, Duration::from_millis(20));
    let error = session.call(read_command()).unwrap_err();
    assert!(matches!(
        error,
        Error::Timeout {
            what: "VM_READ_PHYSICAL"
        }
    ));
    session_limit(&session, Duration::from_secs(10));
    assert_eq!(session.call(read_command()).unwrap(), b"next");
    kernel.join().unwrap();
}

fn session_limit(session: &crate::Session<std::os::unix::net::UnixStream>, limit: Duration) {
    session.stream().set_read_timeout(Some(limit)).unwrap();
}

#[test]
fn half_a_message_survives_a_timeout() {
    let (mut session, kernel) = session(|kernel| {
        let event = Message::encode(1, 5, &vcpu_event(0, 1, &[])).unwrap();
        kernel.raw(&event[..11]);
        assert_eq!(kernel.message().id, 12);
        kernel.raw(&event[11..]);
    });
    session_limit(&session, Duration::from_millis(20));
    assert!(matches!(session.event(), Err(Error::Timeout { .. })));
    session_limit(&session, Duration::from_secs(10));
    let ticket = session.send(read_command()).unwrap();
    assert_eq!(vcpu(session.event().unwrap()).seq, 5);
    kernel.join().unwrap();
    assert!(matches!(session.wait(ticket), Err(Error::Closed)));
}

#[test]
fn a_refused_event_reply_is_reported() {
    let error = broken(GetVersion, |kernel, _| {
        kernel.send(1, 9, &reply(Err(Code::EINVAL)));
    });
    assert_eq!(error.code(), Some(Code::EINVAL));
}
