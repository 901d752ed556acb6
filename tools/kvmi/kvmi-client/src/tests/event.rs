// SPDX-License-Identifier: MIT OR Apache-2.0

//! Events: what is read, what may be answered.

use zerocopy::IntoBytes;

use super::vcpu;
use crate::{
    code::Code,
    error::Error,
    event::{Answer, Event, Kind, VcpuEvent},
    fake::{reply, vcpu_event},
    message::Message,
    wire,
};

#[test]
fn replies_and_events_are_told_apart() {
    let message = |id, payload: &[u8]| Message {
        id,
        seq: 1,
        payload: payload.to_vec(),
    };
    assert!(message(12, &[0; 8]).is_reply());
    assert!(message(12, &[0; 3]).is_reply());
    assert!(!message(0, &[0; 8]).is_reply());
    assert!(message(1, &reply(Err(Code::EINVAL))).is_reply());
    assert!(!message(1, &vcpu_event(0, 1, &[])).is_reply());
    let unhook = Event::parse(&message(0, &[0; 8])).unwrap();
    assert!(matches!(unhook, Event::Unhook));
}

fn parse(id: u16, data: &[u8]) -> crate::Result<Box<VcpuEvent>> {
    Event::parse(&Message {
        id: 1,
        seq: 1,
        payload: vcpu_event(0, id, data),
    })
    .map(vcpu)
}

#[test]
fn event_data_and_answers() {
    let data = wire::kvmi_vcpu_event_cr {
        cr: 4,
        old_value: 1,
        new_value: 2,
        ..Default::default()
    };
    let event = parse(7, data.as_bytes()).unwrap();
    assert!(matches!(&event.kind, Kind::Cr(data) if data.cr == 4));
    // The guest's own value goes back unless another is given.
    let value = |answer| event.answer(answer).unwrap()[16..].to_vec();
    assert_eq!(value(Answer::Continue), 2u64.to_ne_bytes());
    assert_eq!(value(Answer::ContinueWith(5)), 5u64.to_ne_bytes());
    assert!(matches!(event.answer(Answer::Retry), Err(Error::Usage(_))));

    let event = parse(17, wire::kvmi_vcpu_event_pf::default().as_bytes()).unwrap();
    let answer = event.answer(Answer::Retry).unwrap();
    assert_eq!((answer.len(), answer[8], answer[9]), (16, 1, 17));
    let value = event.answer(Answer::ContinueWith(5));
    assert!(matches!(value, Err(Error::Usage(_))));

    let event = parse(99, b"new").unwrap();
    assert!(matches!(&event.kind, Kind::Unknown { id: 99, data } if data == b"new"));
}

#[test]
fn events_that_are_too_short() {
    for (id, size) in [(5, 16), (7, 24), (9, 16), (11, 24), (13, 8), (15, 24)] {
        assert!(parse(id, &vec![0; size]).is_ok(), "{id}");
        assert!(matches!(
            parse(id, &vec![0; size - 1]),
            Err(Error::Protocol(_))
        ));
    }
    for (id, size) in [(17, 24), (19, 8), (21, 16)] {
        assert!(parse(id, &vec![0; size]).is_ok(), "{id}");
        assert!(matches!(
            parse(id, &vec![0; size - 1]),
            Err(Error::Protocol(_))
        ));
    }
    let whole = vcpu_event(0, 1, &[]);
    assert_eq!(whole.len(), 552);
    for size in 0..whole.len() {
        let payload = whole[..size].to_vec();
        let message = Message {
            id: 1,
            seq: 1,
            payload,
        };
        assert!(Event::parse(&message).is_err(), "{size}");
    }
    // A common part that claims more than there is, or less than there must be.
    for size in [0u16, 543, 545, u16::MAX] {
        let mut payload = whole.clone();
        payload[8..10].copy_from_slice(&size.to_ne_bytes());
        let message = Message {
            id: 1,
            seq: 1,
            payload,
        };
        assert!(Event::parse(&message).is_err(), "{size}");
    }
}
