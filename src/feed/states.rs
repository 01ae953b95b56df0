//! Which breakers changed, and in which order.
//!
//! Only their keys: a watcher reads the present state from the engine. So a breaker that changed a thousand times is
//! here once, and no watcher is sent an older state after a newer one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use breaker::Key;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::engine::{Appended, Event, TransitionSink};

/// The most breakers whose last change is kept. A watcher that lags further resyncs.
const CHANGED_MAX: usize = 65_536;

/// The breakers that changed last. A [`TransitionSink`]: the engine sends it changes.
#[derive(Debug)]
pub struct StateFeed {
    inner: Mutex<Inner>,
    newest: watch::Sender<u64>,
    changed_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// The number of the last change.
    newest: u64,
    /// A watcher with an older cursor resyncs.
    floor: u64,
    by_key: HashMap<Key, u64>,
    by_number: BTreeMap<u64, Key>,
}

/// What changed after a cursor.
#[derive(Debug, PartialEq, Eq)]
pub enum StateChanges {
    /// These breakers changed; the cursor goes to the number.
    Changed(Vec<Key>, u64),
    /// The cursor is older than what is kept, or everything changed at once.
    TooOld,
}

impl Default for StateFeed {
    fn default() -> Self {
        Self::with_changed_max(CHANGED_MAX)
    }
}

impl StateFeed {
    /// Keeps the last change of so many breakers.
    pub fn with_changed_max(changed_max: usize) -> Self {
        Self { inner: Mutex::default(), newest: watch::Sender::new(0), changed_max }
    }

    /// The number of the last change: where a snapshot that is made from now on can be followed.
    pub fn newest(&self) -> u64 {
        self.inner.lock().newest
    }

    /// Wakes at every change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The breakers that changed after `cursor`, at most `limit`, in the order of their last changes.
    pub fn after(&self, cursor: u64, limit: usize) -> StateChanges {
        let inner = self.inner.lock();
        if cursor < inner.floor {
            return StateChanges::TooOld;
        }
        let after = inner.by_number.range((Bound::Excluded(cursor), Bound::Unbounded)).take(limit);
        let mut last = cursor;
        let keys = after
            .map(|(number, key)| {
                last = *number;
                key.clone()
            })
            .collect();
        StateChanges::Changed(keys, last)
    }

    fn note(&self, key: &Key) {
        let newest = {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            inner.newest += 1;
            if let Some(before) = inner.by_key.insert(key.clone(), inner.newest) {
                inner.by_number.remove(&before);
            }
            inner.by_number.insert(inner.newest, key.clone());
            if inner.by_number.len() > self.changed_max
                && let Some((number, oldest)) = inner.by_number.pop_first()
            {
                inner.by_key.remove(&oldest);
                inner.floor = number;
            }
            inner.newest
        };
        self.wake(newest);
    }

    fn wake(&self, newest: u64) {
        // Not without receivers; of two at one time the later one may come first.
        if self.newest.receiver_count() > 0 {
            self.newest.send_modify(|newest_sent| *newest_sent = newest.max(*newest_sent));
        }
    }
}

impl TransitionSink for StateFeed {
    fn append(&self, event: Event<'_>) -> Appended {
        if !event.transition.shadow {
            self.note(event.key);
        }
        Appended::default()
    }

    fn moved(&self, key: &Key) {
        self.note(key);
    }

    fn all_changed(&self) {
        let newest = {
            let mut inner = self.inner.lock();
            inner.newest += 1;
            inner.floor = inner.newest;
            inner.by_key.clear();
            inner.by_number.clear();
            inner.newest
        };
        self.wake(newest);
    }
}

/// Both, the feed first, so that what the store has the feed has too. A watcher that it wakes has to lock the breaker to read
/// its state, and then the journal has it as well.
#[derive(Debug)]
pub struct FanOut<J> {
    /// The journal.
    pub journal: J,
    /// The feed of states.
    pub states: Arc<StateFeed>,
}

impl<J: TransitionSink> TransitionSink for FanOut<J> {
    fn append(&self, event: Event<'_>) -> Appended {
        self.states.append(event);
        self.journal.append(event)
    }

    fn moved(&self, key: &Key) {
        self.states.moved(key);
    }

    fn all_changed(&self) {
        self.states.all_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("s", name).unwrap()
    }

    #[test]
    fn a_breaker_stands_once_however_often_it_changed() {
        let feed = StateFeed::default();
        for _ in 0..1_000 {
            feed.moved(&key("a"));
        }
        feed.moved(&key("b"));
        assert_eq!(feed.after(0, 9), StateChanges::Changed(vec![key("a"), key("b")], 1_001));
        assert_eq!(feed.after(0, 1), StateChanges::Changed(vec![key("a")], 1_000));
        assert_eq!(feed.after(1_001, 9), StateChanges::Changed(vec![], 1_001));
    }

    #[test]
    fn whoever_is_behind_what_is_remembered_begins_anew() {
        let feed = StateFeed::with_changed_max(2);
        for name in ["a", "b", "c"] {
            feed.moved(&key(name));
        }
        assert_eq!(feed.after(0, 9), StateChanges::TooOld);
        assert_eq!(feed.after(1, 9), StateChanges::Changed(vec![key("b"), key("c")], 3));
        feed.all_changed();
        assert_eq!(feed.after(3, 9), StateChanges::TooOld);
        assert_eq!(feed.after(feed.newest(), 9), StateChanges::Changed(vec![], 4));
    }
}
