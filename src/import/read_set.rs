//! Records which attributes of a layer or node have been read, so that a remaining one is refused:
//! an option of a newer version that would change the result is never ignored.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Names (or positions) that have been read.
#[derive(Debug)]
pub(super) struct ReadSet<T> {
    seen: RefCell<BTreeSet<T>>,
}

impl<T: Ord> Default for ReadSet<T> {
    fn default() -> Self {
        Self {
            seen: RefCell::default(),
        }
    }
}

impl<T: Ord> ReadSet<T> {
    /// Records that an attribute has been read.
    pub(super) fn mark(&self, name: T) {
        self.seen.borrow_mut().insert(name);
    }

    /// Whether it has been.
    pub(super) fn has<Q: Ord + ?Sized>(&self, name: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        self.seen.borrow().contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known() {
        let set = ReadSet::default();
        set.mark("padding".to_owned());
        assert!(set.has("padding"));
        assert!(!set.has("groups"));
    }
}
