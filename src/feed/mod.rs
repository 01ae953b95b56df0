//! What streams are fed from: what changed behind a cursor.
//!
//! A watcher is a cursor and nothing else. Nobody keeps a queue for it: when its client has room it asks for what is
//! behind its cursor, and reads it from memory that all watchers share. Whoever is slow is behind by more, and costs no
//! more. Three feeds: the configuration (it is [`crate::control::Control::watch`], and stands there), the states of
//! breakers ([`StateFeed`]), the history ([`HistoryTail`]).

mod anchors;
mod states;
mod tail;

use std::sync::Arc;

use breaker::Time;
use tokio::sync::watch;

pub use states::{FanOut, StateFeed, StatesBehind};
pub(crate) use tail::end_of;
pub use tail::{Behind, Checked, HistoryTail, Looked, Page};

use crate::metrics::WatchMetrics;
use crate::store::{Meta, Position, Store};

/// The feeds of one process, and the store whose tokens they take.
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
    /// Over a store that is `meta`; the engine tells `states` of its changes.
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

    /// Follows the history that a store which went back has now, and tells everybody who follows this one.
    pub fn begin_anew(&self, position: &Position, now: Time) {
        // In this order: who knows of the timeline reads nothing from memory that is of the one before.
        self.tail.begin_anew(position, now);
        self.timeline.send_replace(position.timeline);
    }
}
