// SPDX-License-Identifier: GPL-2.0

//! The few items of the kernel crate that the files under test use, with the same names and
//! signatures, on top of `std`.  No logic of its own.

#![forbid(unsafe_code)]

pub mod prelude {
    pub use super::{Error, Flags, KVVec, GFP_KERNEL_ACCOUNT};

    /// The kernel's `Result` has a default for both parameters.
    pub type Result<T = (), E = Error> = core::result::Result<T, E>;
}

/// An errno.
#[derive(Debug, PartialEq, Eq)]
pub struct Error;

/// How to allocate.
#[derive(Clone, Copy)]
pub struct Flags;

pub const GFP_KERNEL_ACCOUNT: Flags = Flags;

/// A vector whose growth takes flags and can fail.
#[derive(Debug)]
pub struct KVVec<T>(Vec<T>);

impl<T> KVVec<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn push(&mut self, item: T, _: Flags) -> Result<(), Error> {
        self.0.push(item);
        Ok(())
    }

    pub fn remove(&mut self, at: usize) -> Result<T, Error> {
        if at < self.0.len() {
            Ok(self.0.remove(at))
        } else {
            Err(Error)
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(|item| keep(item));
    }
}

impl<T> core::ops::Deref for KVVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> core::ops::DerefMut for KVVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

pub mod sync {
    pub mod atomic {
        use core::sync::atomic::{AtomicU64, Ordering};

        pub struct Relaxed;
        pub struct Full;

        /// Only `u64`, the one that is used.
        pub struct Atomic<T> {
            value: AtomicU64,
            kind: core::marker::PhantomData<T>,
        }

        impl Atomic<u64> {
            pub const fn new(value: u64) -> Self {
                Self {
                    value: AtomicU64::new(value),
                    kind: core::marker::PhantomData,
                }
            }

            pub fn load(&self, _: Relaxed) -> u64 {
                self.value.load(Ordering::Relaxed)
            }

            pub fn cmpxchg(&self, old: u64, new: u64, _: Full) -> Result<u64, u64> {
                self.value
                    .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            }
        }
    }
}
