//! What streams are fed from: what changed behind a cursor.
//!
//! A watcher is a cursor and nothing else. Nobody keeps a queue for it: when its client has room it asks for what is
//! behind its cursor, and reads it from memory that all watchers share. Whoever is slow is behind by more, and costs no
//! more. Three feeds: the configuration (it is [`crate::control::Control::watch`], and stands there), the states of
//! breakers ([`StateFeed`]), the history ([`HistoryTail`]).

mod states;
mod tail;

use std::sync::Arc;

pub use states::{StateFeed, StatesBehind, Told};
pub(crate) use tail::end_of;
pub use tail::{Behind, HistoryTail, Page};

use crate::metrics::WatchMetrics;
use crate::store::{Meta, Store};

/// The feeds of one process, and the store whose tokens they take.
pub struct Feeds {
    /// The states of breakers.
    pub states: Arc<StateFeed>,
    /// The history.
    pub tail: Arc<HistoryTail>,
    /// Random, made with the store.
    pub store_id: u64,
    /// Counts up when the store went back.
    pub lineage: u32,
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
        Arc::new(Self { states, tail, store_id: meta.store_id, lineage: meta.lineage })
    }
}
