//! Whether this replica is alone, and which breakers decided something so.

use std::collections::BTreeSet;

use super::permit::KeyId;
use super::sync::{AtomicBool, Mutex, Ordering};

/// Whether this replica is alone, and what it decided so.
#[derive(Debug, Default)]
pub(super) struct Branches {
    is_alone: AtomicBool,
    /// Breakers that stand on a branch, or did since it began.
    begun: Mutex<BTreeSet<KeyId>>,
}

impl Branches {
    pub(super) fn are_allowed(&self) -> bool {
        self.is_alone.load(Ordering::Relaxed)
    }

    /// False: that is so already.
    pub(super) fn allow(&self, is_alone: bool) -> bool {
        self.is_alone.swap(is_alone, Ordering::Relaxed) != is_alone
    }

    pub(super) fn note(&self, id: KeyId) {
        self.begun.lock().insert(id);
    }

    pub(super) fn take(&self) -> BTreeSet<KeyId> {
        std::mem::take(&mut *self.begun.lock())
    }
}
