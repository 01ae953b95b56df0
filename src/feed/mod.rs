//! The sources of watch streams: what changed after a cursor.
//!
//! A watcher is a cursor and nothing else. There is no queue for it: when its client has room it reads what is
//! after its cursor, from memory that all watchers share. A slow watcher lags further, and costs no
//! more. Three feeds: the configuration ([`crate::control::Control::watch`]), the states of
//! breakers ([`StateFeed`]), the history ([`HistoryTail`]).

mod anchors;
mod states;
mod tail;

use std::sync::Arc;

use breaker::Time;
use tokio::sync::watch;

pub use states::{FanOut, StateChanges, StateFeed};
pub(crate) use tail::end_of;
pub use tail::{Checked, HistoryTail, Page, Polled, RowsAfter};

use crate::metrics::WatchMetrics;
use crate::store::{Meta, Position, Store};

/// The feeds of one process, and the store that their tokens are of.
pub struct Feeds {
    /// The states of breakers.
    pub states: Arc<StateFeed>,
    /// The history.
    pub tail: Arc<HistoryTail>,
    /// Random, made with the store.
    pub store_id: u64,
    timeline: watch::Sender<u32>,
}

impl Feeds {
    /// Over a store that is `meta`; the engine sends its changes to `states`.
    pub fn new(
        states: Arc<StateFeed>,
        store: Arc<dyn Store>,
        meta: &Meta,
        metrics: WatchMetrics,
    ) -> Arc<Self> {
        let tail = Arc::new(HistoryTail::new(store, metrics));
        Arc::new(Self { states, tail, store_id: meta.store_id, timeline: watch::Sender::new(meta.timeline) })
    }

    /// The timeline of the store, and every change of it.
    pub fn timeline(&self) -> watch::Receiver<u32> {
        self.timeline.subscribe()
    }

    /// Follows the history of a restored store, and makes every watch resync.
    pub fn reset(&self, position: &Position, now: Time) {
        // In this order: a watch that has the new timeline reads nothing from memory that is of the one before.
        self.tail.reset(position, now);
        self.timeline.send_replace(position.timeline);
    }
}
