// SPDX-License-Identifier: MIT OR Apache-2.0

//! Error codes of replies.

use std::fmt;

use crate::wire;

/// The error code of a reply, as the protocol counts: positive, `KVMI_E*`.
///
/// Unknown codes are kept as they came: the kernel may learn new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u32);

macro_rules! codes {
    ($($name:ident = $value:ident, $text:literal;)*) => {
        impl Code {
            $(#[doc = $text] pub const $name: Code = Code(wire::$value);)*

            /// The protocol's name of the code, such as `KVM_EINVAL`.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(concat!("KVM_", stringify!($name))),)*
                    _ => None,
                }
            }

            /// What the code says, in a few words.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    _ => "an error that this tool does not know",
                }
            }
        }
    };
}

codes! {
    EPERM = KVMI_EPERM, "the owner of the VM does not allow it";
    ENOENT = KVMI_ENOENT, "there is no such thing in this VM";
    EAGAIN = KVMI_EAGAIN, "the vCPU, or the page, is not there now; try again";
    ENOMEM = KVMI_ENOMEM, "the host is out of memory";
    EBUSY = KVMI_EBUSY, "something else is under way or owns it";
    EINVAL = KVMI_EINVAL, "an argument is not valid for this VM";
    EOPNOTSUPP = KVMI_EOPNOTSUPP, "this host or this state of the vCPU does not support it";
    ENOSYS = KVMI_ENOSYS, "this kernel does not know the command";
}

impl Code {
    /// The code of a reply; `None` if `err` is 0, which means success.
    ///
    /// The wire carries codes negated. A positive number breaks the protocol
    /// but is an error all the same, so the sign is dropped.
    pub fn from_wire(err: i32) -> Option<Code> {
        match err.unsigned_abs() {
            0 => None,
            code => Some(Code(code)),
        }
    }

    /// The number, positive.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.explanation()),
            None => write!(f, "{} ({})", self.explanation(), self.0),
        }
    }
}
