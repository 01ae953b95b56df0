//! What replicas count of breakers that fail, told to each other over the store.
//!
//! Nothing here is kept: a replica overwrites what it published before, and whoever comes by deletes what is older than ten
//! seconds. What a crash of the store loses is published again within an interval. So it bumps no revision, and no watcher
//! hears of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Key, PublishedCounts, ReadCounts};

use super::error::StoreError;

/// What was published is deleted after so long.
pub(super) const COUNTS_KEPT: Duration = Duration::from_secs(10);
/// Counts of breakers, exchanged between replicas.
#[async_trait]
pub trait CountStore: Send + Sync + 'static {
    /// Publishes what a replica counted, over what it published of the same breakers and epochs before, and reads what others
    /// did. Either may be empty. It is also how a replica says that it is live.
    ///
    /// All ages are by the clock of the store. Bumps no revision, and waits for no other replica.
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError>;
}

/// What a replica publishes, and what it wants to read.
#[derive(Debug, Clone)]
pub struct CountExchange {
    /// Its name.
    pub replica: Arc<str>,
    /// Random for each life of its process: whoever reads knows it by this.
    pub boot: u64,
    /// The timeline of the store that it counts in; what was published under another is not read.
    pub timeline: u32,
    /// What it counted, of at most [`COUNTS_MAX`] breakers, each once.
    pub published: Vec<(Key, PublishedCounts)>,
    /// Others are to look at once, and not when their next look is due.
    pub hints: bool,
    /// Only what was written in this time is read.
    pub fresher_than: Duration,
    /// A replica is live for so long after an exchange: at most 10 s.
    pub live_within: Duration,
    /// Reading goes on behind this place; none: it begins.
    pub after: Option<CountCursor>,
    /// Rows to be read at the most. 0 is 1.
    pub limit: u32,
}

/// Breakers that are published at one time, at the most.
pub const COUNTS_MAX: usize = 1_000;

/// A place in what others published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountCursor {
    /// The breaker.
    pub key: Key,
    /// Who published it.
    pub boot: u64,
    /// In which epoch.
    pub epoch: u64,
}

/// What others published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountPage {
    /// In the order of the breakers.
    pub rows: Vec<(Key, ReadCounts)>,
    /// Where the next page begins; none: there is no more.
    pub next: Option<CountCursor>,
    /// The other replicas that are live.
    pub live: BTreeSet<u64>,
}

impl CountPage {
    /// Of one row more than the limit, if there are so many.
    pub(super) fn new(mut rows: Vec<(Key, ReadCounts)>, limit: u32, live: BTreeSet<u64>) -> Self {
        let most = limit.max(1) as usize;
        let has_more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| has_more).map(|(key, read)| CountCursor {
            key: key.clone(),
            boot: read.boot,
            epoch: read.counts.epoch,
        });
        Self { rows, next, live }
    }
}
