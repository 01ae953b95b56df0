//! What is kept: the newest state of each breaker, the history of every transition, the configuration.
//!
//! Two stores are offered: Postgres, which replicas can share, and an embedded `SQLite` file, which one process
//! has for itself. A third is in memory, for tests and simulations ([`MemoryStore`]). One contract suite runs on all. The rest of
//! breakerd sees only the traits and the types here. There is a trait for each noun, with its types beside it, and [`Store`]
//! is their sum:
//!
//! | trait | subject |
//! |---|---|
//! | [`TransitionStore`] | the newest state of each breaker, and the history of transitions |
//! | [`ConfigStore`] | what services are judged by, the audit, and the ids of requests |
//! | [`TimelineStore`] | the identity of the store, its revision and its timeline |
//! | [`PermitKeyStore`] | the keys that permits are sealed with |
//! | [`StoreAdmin`] | whether it answers and takes writes; its end |
//!
//! Replicas that share a store ask [`SharedStore`], [`ReplicaStore`] and [`CountStore`] beside that: their proposals, the probes, what
//! others changed; who is there; and what they count of breakers that fail.
//!
//! A transaction that spans tables of several nouns is written once for all stores, in `script`; a noun that is added brings its
//! steps to it.
//!
//! | table | what, and why |
//! |---|---|
//! | `breaker` | the newest state of each breaker: what a start loads, and the guard of every proposal |
//! | `transition` | the history, only ever added to; in Postgres partitioned by time, so that old parts can be dropped |
//! | `episode` | outages that are over, written with the transition that ended each; one that lasts is in its breaker's row |
//! | `open_time` | how long each breaker was open on each day: sums, so that nobody has to go through the history |
//! | `receipt` | what each id was answered, so that a replay writes nothing twice: a row for a range of ids; beside the history, because a table partitioned by time can have no unique index on the id |
//! | `revision`, `change` | the one counter, and its nonces, for those who follow the store |
//! | `file_config`, `service_config`, `service_override` | what services are judged by: the file's thresholds, what was set over them, the overrides of whole services |
//! | `audit` | who changed what, when and why, in the transaction that changed it |
//! | `config_head`, `config_request` | the guard of the next change, and the ids that make a client's change safe to send again |
//! | `meta` | what the store is, and the key that breakers and callers are named under |
//! | `permit_key` | the keys that permits are sealed with: several, so that the key can be changed while permits are out |
//! | `probe` | in Postgres: the probe slots that replicas claimed; empty while one process has the store |
//! | `replica` | in Postgres: the replicas that share the store |
//! | `counts`, `counting_replica` | in Postgres: what replicas count of breakers that fail, and which of them are live; kept for seconds |
//!
//! The views (`current_state`, `history`, `episodes` ...) are for people, and have the same columns in both. Durations are
//! kept in whole microseconds.
//!
//! Every transaction that changes configuration or state bumps the single `revision` row last and stamps what
//! it wrote with it, so that commit order is revision order without gaps. Rows of breakers are locked in the
//! order of their keys, so that two batches cannot wait for each other. Claims of probes lock these alone, and do not wait for
//! the revision (ADR 41).

mod cell;
mod columns;
mod config_rows;
mod config_store;
mod count_detail;
mod count_store;
mod decided_by;
mod deferred;
mod entered_again;
mod entered_by;
mod episode;
mod error;
mod failures;
mod file_config;
mod history;
mod judge;
mod layer_json;
mod local_snapshot;
mod memory;
mod monitor;
mod open;
mod open_time;
mod permit_key_rows;
mod permit_key_store;
mod postgres;
pub(crate) mod proposal;
mod range_filter;
mod receipt;
mod replica_store;
mod rows;
mod script;
mod shared_script;
mod shared_store;
mod sqlite;
mod sqlstate;
mod sqlx_error;
mod statements;
mod store_admin;
mod timeline_store;
mod timestamp;
mod transaction;
mod transition_store;

pub use self::config_store::{
    ChangeKind, ChangeQuery, ConfigEdit, ConfigStore, ConfigWrite, ConfigWritten, RequestId, ServiceOverride,
    StoredChange, StoredConfiguration,
};
pub use self::count_store::{COUNTS_MAX, CountCursor, CountExchange, CountPage, CountStore};
pub use self::decided_by::decided_in_store;
pub use self::deferred::DeferredStore;
pub use self::entered_again::entered_again;
pub use self::error::StoreError;
pub use self::local_snapshot::{EncodedSnapshot, LocalSnapshot, SnapshotError, SnapshotKey};
#[cfg(test)]
pub(crate) use self::memory::SeededRandom;
pub use self::memory::{Availability, MemorySnapshot, MemoryStore};
pub use self::monitor::{OperationKind, StoreMonitor, StoreStatus};
pub use self::open::{
    Shared, Target, location, location_by_file, open, open_by_file, open_shared, open_shared_by_file,
    open_shared_listening,
};
pub use self::permit_key_store::{
    PERMIT_KEY_KEPT, PERMIT_KEYS_MAX, PermitKey, PermitKeyAdded, PermitKeyStore,
};
pub use self::postgres::{Access, PostgresStore, PostgresUrl, check_url_file};
pub use self::proposal::{Answer, Change, DecidedBy, DecidedIn, Gap, GapCause, Proposal, TransitionId};
pub use self::replica_store::{LiveReplica, OtherReplicas, ReplicaStore, StoredReplica, StoredReplicas};
pub use self::shared_store::{
    Answered, ChangedRow, ProbeRequest, ProbeResponse, RowCursor, RowPlace, RowsPage, SharedStore, Told,
    UNUSED_ROWS_KEPT, UnreadableRow,
};
pub use self::sqlite::SqliteStore;
pub use self::store_admin::StoreAdmin;
pub use self::timeline_store::{ChangeId, Meta, Position, SeenPosition, TimelineStore};
pub use self::transition_store::{
    HistoryCursor, Pruned, Retention, StoredBreaker, StoredTransition, TransitionQuery, TransitionStore,
};

/// Pages of the history and of the audit that a store reads at one time, on connections that serve nothing else. They are
/// for people, so a few; and each may scan a month of rows.
pub const HISTORY_READS_AT_ONCE: u32 = 4;

/// Everything that breakerd keeps and reads back. A store implements the traits by noun, and a function takes the one that it needs.
pub trait Store: TransitionStore + ConfigStore + TimelineStore + PermitKeyStore + StoreAdmin {}

impl<T: TransitionStore + ConfigStore + TimelineStore + PermitKeyStore + StoreAdmin> Store for T {}
