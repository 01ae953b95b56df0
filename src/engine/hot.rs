//! The breakers whose counts are published to other replicas: those that fail, as far as there is room.

use std::collections::BTreeSet;
use std::ops::Bound;

use tokio::sync::Notify;

use super::permit::KeyId;
use super::sync::{AtomicUsize, Mutex, Ordering};

/// Breakers at the most: 16 bytes each here, and some hundred in a statement. One beyond it counts by itself until there is room.
const HOT_MAX: usize = 16_384;

/// The breakers that are hot.
#[derive(Debug, Default)]
pub(super) struct HotBreakers {
    listed: Mutex<BTreeSet<KeyId>>,
    count: AtomicUsize,
    added: Notify,
}

impl HotBreakers {
    /// Lists a breaker; false: there is no room.
    pub(super) fn list(&self, id: KeyId) -> bool {
        // Most of those that find no room find that out without the lock.
        if self.len() >= HOT_MAX {
            return false;
        }
        let mut listed = self.listed.lock();
        if listed.len() >= HOT_MAX {
            return false;
        }
        listed.insert(id);
        self.count.store(listed.len(), Ordering::Relaxed);
        drop(listed);
        self.added.notify_one();
        true
    }

    /// It is cold, or gone.
    pub(super) fn remove(&self, id: KeyId) {
        let mut listed = self.listed.lock();
        listed.remove(&id);
        self.count.store(listed.len(), Ordering::Relaxed);
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends when one was listed.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// At most `most` of them, behind `after`.
    pub(super) fn after(&self, after: Option<KeyId>, most: usize) -> Vec<KeyId> {
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.listed.lock().range((behind, Bound::Unbounded)).take(most).copied().collect()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn one_beyond_the_bound_has_to_wait_for_room() {
        let hot = HotBreakers::default();
        let listed = (0..=HOT_MAX).filter(|number| hot.list(KeyId(*number as u128))).count();
        assert_eq!((listed, hot.len()), (HOT_MAX, HOT_MAX));
        hot.remove(KeyId(7));
        assert!(hot.list(KeyId(u128::MAX)) && !hot.list(KeyId(u128::MAX - 1)));
        assert_eq!(hot.after(Some(KeyId(5)), 2), [KeyId(6), KeyId(8)]);
    }
}
