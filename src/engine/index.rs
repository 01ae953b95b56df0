//! Breakers in the order of their keys, by state: what lists and snapshots are read from, so that a page costs what it
//! shows and not what there is.
//!
//! A breaker stands under the state of its last transition. Where time alone has changed it since, it is about to move: the
//! timers see to that, and a list looks for it under its former state too while one of them is due.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use breaker::{KEY_PART_BYTES_MAX, Key, State};

use super::entry::Entry;
use super::sync::Mutex;

/// Keys looked at under one lock: microseconds, since a breaker that changes its state waits for it.
const LOOKED_AT_MAX: usize = 256;

/// The first and the last name that a breaker can have, by the characters that names may hold.
const FIRST_NAME: &str = "-";
const LAST_NAME: &str = match std::str::from_utf8(&[b'z'; KEY_PART_BYTES_MAX]) {
    Ok(name) => name,
    Err(_) => "",
};

/// Every breaker, under its state.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_state: Mutex<[BTreeSet<ByKey>; State::ALL.len()]>,
}

/// A pointer that is ordered by the key of its breaker.
#[derive(Debug)]
pub(super) struct ByKey(pub(super) Arc<Entry>);

/// Some of what was asked for, in the order of the keys.
pub(super) struct Page {
    pub(super) entries: Vec<Arc<Entry>>,
    /// Where to go on; none: there is no more.
    pub(super) next: Option<Bound<Key>>,
}

/// What to do with a breaker that comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selected {
    Yes,
    No,
    /// No, nor is any other of its service.
    NoneOfService,
    /// No, nor is any that comes after it.
    NoneAfter,
}

impl Index {
    pub(super) fn insert(&self, entry: Arc<Entry>, state: State) {
        self.by_state.lock()[state as usize].insert(ByKey(entry));
    }

    pub(super) fn remove(&self, key: &Key, state: State) {
        self.by_state.lock()[state as usize].remove(key);
    }

    pub(super) fn change(&self, key: &Key, from: State, to: State) {
        let mut by_state = self.by_state.lock();
        if let Some(entry) = by_state[from as usize].take(key) {
            by_state[to as usize].insert(entry);
        }
    }

    /// At most `most` breakers in one of `states`, from `from` on, of those that `select` selects. There may be fewer
    /// though there are more to come.
    pub(super) fn page(
        &self,
        states: &[State],
        mut from: Bound<Key>,
        most: usize,
        select: impl Fn(&Key) -> Selected,
    ) -> Page {
        let mut entries = Vec::new();
        let by_state = self.by_state.lock();
        let mut left = LOOKED_AT_MAX;
        'seek: loop {
            let range = (from.as_ref(), Bound::Unbounded);
            // The next breaker under each state, and those behind it.
            let mut heads: Vec<_> = states
                .iter()
                .filter_map(|state| {
                    let mut behind = by_state[*state as usize].range::<Key, _>(range);
                    behind.next().map(|head| (head, behind))
                })
                .collect();
            loop {
                let first = heads.iter().enumerate().min_by_key(|(_, (head, _))| *head);
                let Some((index, (ByKey(entry), _))) = first else {
                    return Page { entries, next: None };
                };
                let entry = Arc::clone(entry);
                match heads[index].1.next() {
                    Some(next) => heads[index].0 = next,
                    None => drop(heads.swap_remove(index)),
                }
                left -= 1;
                match select(&entry.key) {
                    Selected::Yes => entries.push(Arc::clone(&entry)),
                    Selected::No => {}
                    Selected::NoneOfService => {
                        from = Bound::Excluded(last_of(&entry.key));
                        if left == 0 {
                            return Page { entries, next: Some(from) };
                        }
                        continue 'seek;
                    }
                    Selected::NoneAfter => return Page { entries, next: None },
                }
                if left == 0 || entries.len() >= most {
                    return Page { entries, next: Some(Bound::Excluded(entry.key.clone())) };
                }
            }
        }
    }
}

/// Where the breakers of `service` begin whose names start with `prefix`; none: it cannot be a service, or a prefix.
pub(super) fn first_of(service: &str, prefix: &str) -> Option<Key> {
    Key::new(service, if prefix.is_empty() { FIRST_NAME } else { prefix }).ok()
}

/// The last key that a breaker of the same service can have.
pub(super) fn last_of(key: &Key) -> Key {
    Key::new(key.service(), LAST_NAME).unwrap_or_else(|_| key.clone())
}

impl Borrow<Key> for ByKey {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
