// SPDX-License-Identifier: GPL-2.0

//! A queue.

use kernel::prelude::*;

/// First in, first out, on one vector, which may grow beyond what the page allocator has in one
/// piece.
///
/// What was taken leaves a hole at the front; the vector is emptied when the last one goes, and
/// compacted when half of it is holes, so that a push costs constant time on the average.
pub(crate) struct Fifo<T> {
    items: KVVec<Option<T>>,
    head: usize,
}

impl<T> Fifo<T> {
    /// Makes an empty queue.
    pub(crate) const fn new() -> Self {
        Self {
            items: KVVec::new(),
            head: 0,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.items.len().saturating_sub(self.head)
    }

    /// Appends one.
    pub(crate) fn push(&mut self, item: T) -> Result {
        if self.head > self.len() {
            self.items.retain(|item| item.is_some());
            self.head = 0;
        }
        self.items.push(Some(item), GFP_KERNEL_ACCOUNT)?;
        Ok(())
    }

    /// The oldest.
    pub(crate) fn front(&self) -> Option<&T> {
        self.items.get(self.head)?.as_ref()
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = self.items.get_mut(self.head)?.take();

        self.head = self.head.saturating_add(1);
        if self.len() == 0 {
            self.clear();
        }
        item
    }

    /// Removes one that equals `item`, wherever it is.
    pub(crate) fn remove(&mut self, item: &T) -> bool
    where
        T: PartialEq,
    {
        let found = self
            .items
            .iter()
            .position(|other| other.as_ref() == Some(item));

        let removed = found.is_some_and(|at| self.items.remove(at).is_ok());

        if self.len() == 0 {
            self.clear();
        }
        removed
    }

    /// Drops them all, and the memory.
    pub(crate) fn clear(&mut self) {
        self.items = KVVec::new();
        self.head = 0;
    }
}
