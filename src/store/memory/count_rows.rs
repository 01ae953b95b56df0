//! What replicas count, in memory. No backup has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use breaker::{Key, PublishedCounts, ReadCounts, Time};

use crate::store::CountCursor;
use crate::store::count_store::{COUNTS_KEPT, CountExchange, CountPage};

/// What was published, and who is live.
#[derive(Debug, Default)]
pub(super) struct Counts {
    rows: BTreeMap<CountCursor, CountEntry>,
    /// The last exchange of each replica.
    seen: BTreeMap<u64, Time>,
}

#[derive(Debug)]
struct CountEntry {
    counts: PublishedCounts,
    timeline: u32,
    written_at: Time,
}

impl Counts {
    /// See [`crate::store::CountStore::exchange_counts`].
    pub(super) fn exchange(&mut self, exchange: &CountExchange, now: Time) -> CountPage {
        let CountExchange { boot, timeline, published, fresher_than, live_within, after, limit, .. } =
            exchange;
        self.seen.retain(|_, at| now.since(*at) < COUNTS_KEPT);
        self.seen.insert(*boot, now);
        self.rows.retain(|_, entry| now.since(entry.written_at) < COUNTS_KEPT);
        for (key, counts) in published {
            let place = CountCursor { key: key.clone(), boot: *boot, epoch: counts.epoch };
            let entry = CountEntry { counts: counts.clone(), timeline: *timeline, written_at: now };
            self.rows.insert(place, entry);
        }
        let behind = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let read = |(place, entry): (&CountCursor, &CountEntry)| {
            let age = now.since(entry.written_at);
            let is_read = place.boot != *boot && entry.timeline == *timeline && age < *fresher_than;
            let counts = is_read.then(|| entry.counts.clone())?;
            Some((Key::clone(&place.key), ReadCounts { boot: place.boot, age, counts }))
        };
        let rows = self.rows.range((behind, Bound::Unbounded)).filter_map(read);
        let rows = rows.take((*limit).max(1) as usize + 1).collect();
        let live =
            |(other, at): (&u64, &Time)| (other != boot && now.since(*at) < *live_within).then_some(*other);
        let live: BTreeSet<_> = self.seen.iter().filter_map(live).collect();
        CountPage::new(rows, *limit, live)
    }
}
