//! Counting with other replicas: what is published of breakers that fail, and what others published.
//!
//! The engine tells nobody itself: it lists the breakers that are hot, for the one who does ([`crate::replica`]). A lone process
//! has none of it.

use std::collections::BTreeSet;

use breaker::{CountsInterval, Key, PublishedCounts, ReadCounts, Time};

use super::Engine;
use super::entry::{Entry, Inner};
use super::permit::KeyId;

/// What is published of some breakers.
#[derive(Debug)]
pub struct HotCounts {
    /// Of each that is hot.
    pub counts: Vec<(Key, PublishedCounts)>,
    /// Those behind this one are next; none: there are no more.
    pub next: Option<KeyId>,
}

impl Engine {
    /// Whether some breaker is hot.
    pub fn has_hot(&self) -> bool {
        self.hot.len() > 0
    }

    /// Ends when some breaker turned hot. For one task.
    pub async fn turned_hot(&self) {
        self.hot.added().await;
    }

    /// What is to be published of the breakers behind `after`: of at most `breakers`, and of no more once it comes to `bytes`,
    /// as far as their sizes are known. A breaker that is hot no more leaves the list.
    pub fn hot_counts(
        &self,
        after: Option<KeyId>,
        (breakers, bytes): (usize, usize),
        interval: CountsInterval,
        now: Time,
    ) -> HotCounts {
        let ids = self.hot.after(after, breakers);
        let (mut counts, mut size, mut last) = (Vec::with_capacity(ids.len()), 0, None);
        let mut is_cut = ids.len() == breakers;
        for id in ids {
            if size >= bytes {
                is_cut = true;
                break;
            }
            let known = self.registry.with_known(id, |entry, inner| {
                let published = inner.breaker.published_counts(interval, now);
                if published.is_none() {
                    inner.breaker.set_listed(false);
                    self.hot.remove(id);
                }
                published.map(|published| (entry.key.clone(), published))
            });
            match known {
                Some(published) => {
                    size += published.as_ref().map_or(0, |(key, published)| size_of_counts(key, published));
                    counts.extend(published);
                }
                None => self.hot.remove(id),
            }
            last = Some(id);
        }
        HotCounts { counts, next: last.filter(|_| is_cut) }
    }

    /// Takes what others published of a breaker, all of one read. `live`: the other replicas that are there. `interval` as for
    /// [`breaker::Breaker::take_counts`].
    ///
    /// A breaker that is not known here is not created for it: it has nothing to tell, and learns of a trip by its row.
    pub fn take_counts(
        &self,
        key: &Key,
        rows: &[ReadCounts],
        live: &BTreeSet<u64>,
        interval: CountsInterval,
        now: Time,
    ) {
        self.registry.with_known(self.seals.key_id(key.service(), key.name()), |entry, inner| {
            if self.is_enabled() {
                self.sync_wall(inner);
                // What was counted in another epoch says nothing of this one.
                let epoch = inner.breaker.epoch();
                let publishes =
                    |boot: &u64| rows.iter().any(|row| row.boot == *boot && row.counts.epoch == epoch);
                let has_all = live.iter().all(publishes);
                let transitions = inner.breaker.take_counts(rows, has_all, interval, now);
                self.settle(entry, inner, &transitions);
            }
        });
    }

    /// A breaker that turned hot is published from now on, if there is room.
    pub(super) fn list_hot(&self, entry: &Entry, inner: &mut Inner) {
        if self.hot.list(entry.id) {
            inner.breaker.set_listed(true);
        }
    }
}

/// About as many bytes as it takes in a statement.
fn size_of_counts(key: &Key, counts: &PublishedCounts) -> usize {
    let PublishedCounts { window, failed_callers, slow_callers, .. } = counts;
    64 + key.service().len()
        + key.name().len()
        + 8 * window.len()
        + 11 * (failed_callers.len() + slow_callers.len())
}
