//! Tells other replicas what this one counts of breakers that fail, and takes what they count.
//!
//! While some breaker is hot, here or elsewhere, once an interval: what is hot here is published, and what the others published
//! lately is read, in one statement, or in several that go on where the one before stopped. While none is, one look a second
//! finds out, and that this replica is live. The interval follows from how many are live. A hint brings it forward: else a replica without failures would be silent for a
//! second, and one bad node among ten would read as a rate of 100 % until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use breaker::{CountsInterval, Key, ReadCounts, Time};
use breakerd_common::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, KeyId};
use crate::store::{COUNTS_MAX, CountCursor, CountExchange, CountPage, CountStore, StoreError};
use crate::trouble::Trouble;

/// What it asks of the store.
const ACT: &str = "exchange counts";
/// A replica is live for so long after an exchange, or for three intervals.
const LIVE: Duration = Duration::from_secs(3);
/// Between two looks while nothing is hot.
const IDLE: Duration = Duration::from_secs(1);
/// Published in one statement: breakers, and bytes, as far as sizes are known.
const BREAKERS_MAX: usize = COUNTS_MAX;
const BYTES_MAX: usize = 256 * 1024;
/// Rows that are read in one statement; a few hundred bytes each.
const ROWS_MAX: u32 = 4_000;
/// What is older is of no use, however long rounds take.
const FRESH_MAX: Duration = Duration::from_secs(10);

/// Shares the counts of this replica's breakers.
pub struct CountSharing {
    engine: Arc<Engine>,
    store: Arc<dyn CountStore>,
    clock: Arc<dyn Clock>,
    /// Another replica has something to tell.
    hint: Arc<Notify>,
    replica: Arc<str>,
    boot: u64,
    trouble: Arc<Trouble>,
}

impl std::fmt::Debug for CountSharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CountSharing").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl CountSharing {
    /// Of the breakers of `engine`. `replica` is the name of this replica, for people, and `boot` is random for each life of its
    /// process. `hint` wakes it: another replica's exchange hinted (in Postgres: NOTIFY `breakerd_counts`).
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn CountStore>,
        clock: Arc<dyn Clock>,
        hint: Arc<Notify>,
        replica: Arc<str>,
        boot: u64,
    ) -> Self {
        Self { engine, store, clock, hint, replica, boot, trouble: Arc::default() }
    }

    /// The same, and notes in `trouble` how long the store has not answered.
    #[must_use]
    pub fn noting(self, trouble: Arc<Trouble>) -> Self {
        Self { trouble, ..self }
    }

    /// Shares until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (mut was_hot, mut pace) = (false, Pace::default());
        let mut fresher_than = pace.slowest.fresh();
        loop {
            let begun = self.clock.now();
            let is_hot = self.engine.has_hot();
            let round = self.round(is_hot && !was_hot, fresher_than, &mut pace);
            let Some(round) = stop.run_until_cancelled(round).await else { return };
            match &round {
                Ok(_) => self.trouble.is_over(ACT, self.clock.now()),
                Err(error) => self.trouble.note(ACT, error, self.clock.now()),
            }
            // Unanswered, a hint may not have been given.
            was_hot = is_hot && round.is_ok();
            // What others published is read at least once, also where rounds take longer than what is fresh.
            let took = self.clock.now().since(begun);
            fresher_than = (took.saturating_mul(3)).clamp(pace.slowest.fresh(), FRESH_MAX);
            let others = matches!(round, Ok(Others::Publish));
            if stop.run_until_cancelled(self.pause(begun, others, pace.own.length())).await.is_none() {
                return;
            }
        }
    }

    /// Waits until the next round is due.
    async fn pause(&self, begun: Time, others: bool, interval: Duration) {
        if !others && !self.engine.has_hot() {
            tokio::select! {
                biased;
                () = self.clock.sleep_until(begun + IDLE) => {}
                () = self.engine.turned_hot() => {}
                () = self.hint.notified() => {}
            }
            return;
        }
        // Not without end, and not at once: a round may have taken longer than the interval.
        let due = (begun + interval).max(self.clock.now() + interval / 20);
        self.clock.sleep_until(due).await;
    }

    /// Publishes what is hot, and takes what others published.
    async fn round(
        &self,
        mut hints: bool,
        fresher_than: Duration,
        pace: &mut Pace,
    ) -> Result<Others, StoreError> {
        let (mut published_keys, mut read_keys) = (BTreeSet::new(), BTreeSet::new());
        let (mut reading, mut mine) = (Reading::default(), Mine::Behind(None));
        loop {
            let published = match mine {
                Mine::Done => Vec::new(),
                Mine::Behind(after) => {
                    let hot = self.engine.hot_counts(
                        after,
                        (BREAKERS_MAX, BYTES_MAX),
                        pace.slowest,
                        self.clock.now(),
                    );
                    mine = hot.next.map_or(Mine::Done, |last| Mine::Behind(Some(last)));
                    hot.counts
                }
            };
            published_keys.extend(published.iter().map(|(key, _)| key.clone()));
            let exchange = CountExchange {
                replica: Arc::clone(&self.replica),
                boot: self.boot,
                timeline: self.engine.timeline(),
                published,
                hints: std::mem::take(&mut hints),
                fresher_than,
                live_within: pace.slowest.fresh().max(LIVE),
                after: reading.after.clone(),
                // Once all is read there is only the rest to publish.
                limit: if reading.is_done { 1 } else { ROWS_MAX },
            };
            let read = self.store.exchange_counts(&exchange).await?;
            pace.follow(read.live.len() + 1, self.clock.now());
            if !reading.is_done {
                for (key, rows) in reading.add(read) {
                    self.take(&key, &rows, &reading.live, pace.slowest);
                    read_keys.insert(key);
                }
            }
            if reading.is_done && matches!(mine, Mine::Done) {
                break;
            }
        }
        for key in published_keys.difference(&read_keys) {
            self.take(key, &[], &reading.live, pace.slowest);
        }
        Ok(if reading.has_rows { Others::Publish } else { Others::Silent })
    }

    fn take(&self, key: &Key, rows: &[ReadCounts], live: &BTreeSet<u64>, interval: CountsInterval) {
        self.engine.take_counts(key, rows, live, interval, self.clock.now());
    }
}

/// How often this replica exchanges, and by which interval it judges what it reads.
#[derive(Debug)]
struct Pace {
    /// That of the replicas that are live now.
    own: CountsInterval,
    /// The longest by which another may still publish: one that has not heard yet that replicas went. One that has not heard of
    /// new ones publishes more often, which loses nothing.
    slowest: CountsInterval,
    slowest_until: Time,
}

impl Pace {
    /// So many replicas are live, with this one.
    fn follow(&mut self, live: usize, now: Time) {
        self.own = CountsInterval::of(live);
        if self.own >= self.slowest || now >= self.slowest_until {
            self.slowest = self.own;
            self.slowest_until = now + FRESH_MAX;
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        let shortest = CountsInterval::SHORTEST;
        Self { own: shortest, slowest: shortest, slowest_until: Time::ZERO }
    }
}

/// Whether other replicas publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    Publish,
    Silent,
}

/// How far publishing has come in a round.
#[derive(Debug, Clone, Copy)]
enum Mine {
    Behind(Option<KeyId>),
    Done,
}

/// How far reading has come in a round.
#[derive(Debug, Default)]
struct Reading {
    after: Option<CountCursor>,
    is_done: bool,
    has_rows: bool,
    live: BTreeSet<u64>,
    /// The last breaker of a page may go on in the next.
    last: Vec<(Key, ReadCounts)>,
}

impl Reading {
    /// The breakers that are complete with this page, with all their rows.
    fn add(&mut self, page: CountPage) -> BTreeMap<Key, Vec<ReadCounts>> {
        let CountPage { rows, next, live } = page;
        self.live.extend(live);
        self.has_rows |= !rows.is_empty();
        self.is_done = next.is_none();
        // Behind the last row there is nothing to read, should there be more to publish.
        let last = rows.last().map(|(key, read)| CountCursor {
            key: key.clone(),
            boot: read.boot,
            epoch: read.counts.epoch,
        });
        self.after = next.or(last).or(self.after.take());
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, read) in std::mem::take(&mut self.last).into_iter().chain(rows) {
            by_key.entry(key).or_default().push(read);
        }
        if !self.is_done
            && let Some((key, rows)) = by_key.pop_last()
        {
            self.last = rows.into_iter().map(|read| (key.clone(), read)).collect();
        }
        by_key
    }
}
