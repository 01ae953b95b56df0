//! The breakers that have something to ask of the store, and who waits for its answers.

use std::collections::BTreeSet;
use std::ops::Bound;

use tokio::sync::Notify;

use super::permit::KeyId;
use super::sync::Mutex;

/// Calls that wait for the answer to one breaker are woken with those of a few others.
const WAIT_GROUPS: usize = 64;

/// The breakers that have something to ask of the store, each once; and who waits for answers.
#[derive(Debug)]
pub(super) struct StoreRequests {
    asking: Mutex<Asking>,
    asked: Notify,
    answered: [Notify; WAIT_GROUPS],
}

/// Breakers about which answers are told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerGroup(usize);

impl AnswerGroup {
    pub(super) fn of(id: KeyId) -> Self {
        Self(usize::try_from(id.hash()).unwrap_or_default() % WAIT_GROUPS)
    }
}

#[derive(Debug, Default)]
struct Asking {
    breakers: BTreeSet<KeyId>,
    /// The last one that was taken: the next are those behind it, so that each has its turn.
    taken: Option<KeyId>,
}

/// A breaker that was taken, and the one that was taken before it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) id: KeyId,
    before: Option<KeyId>,
}

impl Default for StoreRequests {
    fn default() -> Self {
        Self {
            asking: Mutex::new(Asking::default()),
            asked: Notify::new(),
            answered: std::array::from_fn(|_| Notify::new()),
        }
    }
}

impl StoreRequests {
    /// A breaker has something to ask.
    pub(super) fn ask(&self, id: KeyId) {
        let is_new = self.asking.lock().breakers.insert(id);
        if is_new {
            self.asked.notify_one();
        }
    }

    /// Ends when some breaker has something to ask.
    pub(super) async fn requested(&self) {
        self.asked.notified().await;
    }

    /// Whether some breaker has something to ask.
    pub(super) fn is_asked(&self) -> bool {
        !self.asking.lock().breakers.is_empty()
    }

    /// The one of those that ask whose turn it is; it is to ask again if it is not answered.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut asking = self.asking.lock();
        let before = asking.taken;
        let behind = (before.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let first = asking.breakers.range(behind).next().or_else(|| asking.breakers.first());
        let id = *first?;
        asking.breakers.remove(&id);
        asking.taken = Some(id);
        Some(Taken { id, before })
    }

    /// The one that was taken last is not asked for now, and its turn is the next one.
    pub(super) fn put_back(&self, taken: &Taken) {
        let mut asking = self.asking.lock();
        asking.breakers.insert(taken.id);
        asking.taken = taken.before;
    }

    /// Told when a breaker of this group is answered.
    pub(super) fn answered(&self, group: AnswerGroup) -> &Notify {
        &self.answered[group.0]
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn ids(ids: impl IntoIterator<Item = u128>) -> Vec<KeyId> {
        ids.into_iter().map(KeyId).collect()
    }

    #[test]
    fn each_breaker_has_its_turn_however_often_others_ask() {
        let requests = StoreRequests::default();
        for id in ids(0..5) {
            requests.ask(id);
        }
        let take = |most| (0..most).map_while(|_| requests.take()).map(|taken| taken.id).collect::<Vec<_>>();
        assert_eq!(take(2), ids([0, 1]));
        for id in ids(0..2) {
            requests.ask(id);
        }
        assert_eq!(take(2), ids([2, 3]));
        assert_eq!(take(2), ids([4, 0]));
        requests.put_back(&Taken { id: KeyId(0), before: Some(KeyId(4)) });
        assert_eq!(take(3), ids([0, 1]));
        assert!(!requests.is_asked() && take(2).is_empty());
    }
}
