// SPDX-License-Identifier: MIT OR Apache-2.0

//! The crate against a kernel that behaves, and one that does not.

mod absent;
mod event;
mod handshake;
mod listen;
mod request;
mod session;

use crate::{
    command::ReadPhysical,
    event::{Event, VcpuEvent},
};

fn read_command() -> ReadPhysical {
    ReadPhysical {
        gpa: 0x2000,
        size: 4,
    }
}

fn vcpu(event: Event) -> Box<VcpuEvent> {
    match event {
        Event::Vcpu(event) => event,
        event => panic!("{event:?}"),
    }
}
