//! What is kept: the newest state of each breaker, the history of every transition, the configuration.
//!
//! Two stores stand behind one trait, and one contract suite runs on both: Postgres, which several
//! processes may one day share, and an embedded `SQLite` file, which one process has for itself. The rest of
//! breakerd sees only [`Store`] and the types here.
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
//! | `meta` | what the store is, and the key of the permits |
//! | `probe`, `counts` | in Postgres: what replicas will share; empty while one process has the store |
//!
//! The views (`current_state`, `history`, `episodes` ...) are for people, and have the same columns in both. Durations are
//! kept in whole microseconds.
//!
//! Every transaction that changes configuration or state bumps the single `revision` row last and stamps what
//! it wrote with it, so that commit order is revision order without gaps. Rows of breakers are locked in the
//! order of their keys, so that two batches cannot wait for each other.

mod cell;
mod columns;
mod config_rows;
mod configuration;
mod entered_by;
mod episode;
mod error;
mod failures;
mod file_config;
mod history;
mod judge;
mod layer_json;
mod monitor;
mod open;
mod position;
mod postgres;
mod range_filter;
mod receipt;
mod rows;
mod script;
mod sqlite;
mod sqlstate;
mod sqlx_error;
mod timestamp;
mod transaction;

use std::sync::Arc;

use async_trait::async_trait;
use breaker::{
    Attribution, CausingOutcome, EnteredBy, Key, Numbering, Reason, Snapshot, State, Stats, Time, Transition,
};

pub use self::configuration::{
    ChangeKind, ChangeQuery, ConfigEdit, ConfigWrite, ConfigWritten, Pruned, RequestId, Retention,
    ServiceOverride, StoredChange, StoredConfiguration,
};
pub use self::error::StoreError;
pub use self::monitor::{OperationKind, StoreMonitor, StoreStatus};
pub use self::open::{Target, location, location_by_file, open, open_by_file};
pub use self::position::{ChangeId, Position};
pub use self::postgres::{PostgresStore, PostgresUrl, check_url_file};
pub use self::sqlite::SqliteStore;

/// Touches every table that breakerd writes to while it runs, and changes nothing: fails where one is gone, or may not be
/// written. The same words in both stores.
const TOUCH_TABLES: &str = "
    UPDATE breaker SET service = service WHERE false;
    UPDATE transition SET service = service WHERE false;
    UPDATE receipt SET revision = revision WHERE false;
    UPDATE change SET rev = rev WHERE false;
    UPDATE file_config SET revision = revision WHERE false;
    UPDATE audit SET service = service WHERE false;
    UPDATE episode SET service = service WHERE false;
    UPDATE open_time SET service = service WHERE false;
    UPDATE config_head SET revision = revision WHERE false;
    UPDATE service_config SET service = service WHERE false;
    UPDATE service_override SET service = service WHERE false;
    UPDATE config_request SET digest = digest WHERE false";

/// Pages of the history and of the audit that a store reads at one time, on connections that serve nothing else. They are
/// for people, so a few; and each may scan a month of rows.
pub const HISTORY_READS_AT_ONCE: u32 = 4;

/// What breakerd keeps and asks back.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What this store is, and the key that permits are sealed with; made on first use.
    async fn meta(&self) -> Result<Meta, StoreError>;

    /// Writes a batch of changes in the order given, all or none, and answers each.
    ///
    /// A change whose id is known is answered as the first time and written no second time: a lost reply is
    /// no second transition. (Of one that lost, the answer tells what stands now, not what stood then.) A batch
    /// that adds nothing to the history bumps no revision.
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError>;

    /// The newest state of every breaker that ever left its first one, `limit` at a time in the order of
    /// their keys, after `after`.
    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError>;

    /// The history, filtered, newest or oldest first, a page at a time.
    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError>;

    /// Everything that services are judged by, as of one moment.
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError>;

    /// Writes a change of configuration, whole or not at all, if nothing came between: what it changes, a row of the
    /// audit, and the waits of the stored OPEN breakers that it touches.
    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError>;

    /// What a change under this request id was answered: [`ConfigWritten::Known`] or [`ConfigWritten::Reused`]. None:
    /// the id is new.
    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError>;

    /// Keeps the id of a request that asked for what is so already, so that sent again it stays without effect. One
    /// that is known stays as it is.
    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError>;

    /// The audit, filtered, newest first, a page at a time.
    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError>;

    /// The newest revision of which rows of the history have been let go of; 0: all of it is there.
    async fn history_floor(&self) -> Result<u64, StoreError>;

    /// Lets go of what is older than it is to be kept, some at a time; to be called again while it finds any. Also
    /// makes the room that the history needs next (Postgres: its partitions).
    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError>;

    /// The breakers that are CLOSED, entered that before `before`, and have no history left, with their epochs: `limit` at
    /// a time in the order of their keys, after `after`.
    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError>;

    /// Deletes the rows of these breakers, where they are still CLOSED at these epochs. Answers which.
    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError>;

    /// The newest revision: the number of transactions that changed configuration or state.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// The newest revision and the timeline, and the nonce that the store has for the revision `seen`.
    async fn position(&self, seen: u64) -> Result<Position, StoreError>;

    /// Gives the store another timeline, larger than `present` and `past`, in a transaction that bumps the revision; if
    /// it still has `present`, else another process was first, and nothing is written. `past` is the largest that was
    /// ever seen of it.
    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError>;

    /// Whether the store answers, and still belongs to this process.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether the store takes writes: a transaction that touches every table that others write to, and changes nothing.
    /// For when nothing else has been written for a while.
    async fn check_writable(&self) -> Result<(), StoreError>;

    /// Closes every connection; the lock on the store goes with it.
    async fn close(&self);
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Random, made with the store.
    pub store_id: u64,
    /// Another and larger number after the store went back (a restored backup): what was decided before means nothing
    /// after.
    pub timeline: u32,
    /// What permits are sealed with. Secret.
    pub permit_key: [u8; 16],
}

/// The id of a change, made by the replica that made the change.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransitionId {
    /// The name of the replica.
    pub replica: Arc<str>,
    /// Random for each life of its process.
    pub boot: u64,
    /// Counts up within that life.
    pub seq: u64,
}

/// One change on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its id: a replay writes nothing twice.
    pub id: TransitionId,
    /// The breaker.
    pub key: Key,
    /// What changed.
    pub change: Change,
    /// Whether the store numbers it, or it comes numbered.
    pub numbering: Numbering,
    /// Decided while the store was away.
    pub store_unavailable: bool,
}

/// What a row of the history says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A transition (or a shadow, which changes no state).
    Transition(Box<Transition>),
    /// Transitions of this breaker before this row are lost to the history.
    Gap(Box<Gap>),
}

/// Transitions of one breaker that the history will never have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many, at least 1.
    pub lost_transitions: u64,
    /// When the last of them happened.
    pub at: Time,
    /// The breaker's epoch before the gap, as far as known.
    pub base_epoch: u64,
    /// The state that the last of them entered. It takes the breaker's row if its epoch is higher than the row's, so
    /// that only history is lost and never state. None: not known (written by an earlier version), or all of them were
    /// shadows, which entered no state.
    pub after: Option<Snapshot>,
    /// Why they are lost.
    pub cause: GapCause,
}

/// Why transitions are lost to the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The journal reached its bound on disk before the store took them.
    JournalFull,
    /// The journal's file could not be written, and its bound in memory was reached before the store took them.
    JournalUnwritable,
}

impl GapCause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::JournalFull, Self::JournalUnwritable];

    /// As the journal has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JournalFull => "JOURNAL_FULL",
            Self::JournalUnwritable => "JOURNAL_UNWRITABLE",
        }
    }

    /// The inverse of [`GapCause::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// For people: what stands in the history as the reason.
    pub fn text(self) -> &'static str {
        match self {
            Self::JournalFull => {
                "the journal reached journal.bytes_max before the store took these transitions"
            }
            Self::JournalUnwritable => {
                "the journal could not be written, and its limit in memory was reached before the store took these transitions"
            }
        }
    }
}

/// What the store made of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It stands, under this epoch and revision.
    Won {
        /// The epoch; of a shadow and of a gap that entered none, the one they were seen in.
        epoch: u64,
        /// The revision of the transaction.
        revision: u64,
    },
    /// It does not stand: the breaker's row was not as the proposal named it. (With [`Numbering::Own`]: the row
    /// has this epoch or a later one.) Kept in the history as superseded, unless what stands is what it would
    /// have brought about, or it came too early.
    Lost {
        /// The state that stands.
        present: Snapshot,
    },
}

/// A breaker's newest state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBreaker {
    /// The breaker.
    pub key: Key,
    /// Its state.
    pub snapshot: Snapshot,
    /// How it came into this state; none: not known.
    pub entered_by: Option<EnteredBy>,
    /// The revision that wrote it.
    pub revision: u64,
}

/// A row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransition {
    /// Its id.
    pub id: TransitionId,
    /// Its place in the history: orders rows in the order they were written.
    pub cursor: HistoryCursor,
    /// The breaker.
    pub key: Key,
    /// The state that was left; of a gap, the one that the store had.
    pub from: State,
    /// The state that was entered; of a shadow, the one that would have been; of a gap without an epoch, as `from`.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The epoch that was entered; none of a shadow, of a change that was superseded, and of a gap that changed no row.
    pub epoch: Option<u64>,
    /// The epoch that was left.
    pub base_epoch: u64,
    /// What was counted in the state that was left.
    pub stats: Stats,
    /// How long the state that was left had lasted; none: not known, or no state was left.
    pub lasted: Option<std::time::Duration>,
    /// Calls rejected in the state that was left.
    pub rejected_calls: u64,
    /// The outcome that caused it; none: no outcome did, or it had neither class nor caller.
    pub outcome: Option<CausingOutcome>,
    /// Who asked for it, and why; of a gap, breakerd, and the cause.
    pub attribution: Option<Attribution>,
    /// How often the breaker had opened since it last closed, this time included.
    pub open_count: u32,
    /// OPEN: how long it waits.
    pub wait: Option<std::time::Duration>,
    /// A gap: how many rows are missing.
    pub lost_transitions: u64,
    /// `METRICS_ONLY` kept it from happening.
    pub shadow: bool,
    /// Decided while the store was away.
    pub store_unavailable: bool,
    /// It lost against another replica's change.
    pub superseded: bool,
    /// The thresholds in force.
    pub config_revision: u64,
    /// When it happened.
    pub occurred_at: Time,
    /// When the store wrote it.
    pub recorded_at: Time,
}

/// The place of a row in the history: by revision, and within one by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryCursor {
    /// The revision of the transaction that wrote it.
    pub revision: u64,
    /// Its number within that transaction, from 0.
    pub number: u32,
}

/// Which rows of the history, and in which order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransitionQuery {
    /// Of this service only.
    pub service: Option<String>,
    /// Of this name only.
    pub name: Option<String>,
    /// Into one of these states only; empty: into any.
    pub to: Vec<State>,
    /// That occurred at this time or later.
    pub from_time: Option<Time>,
    /// That occurred before this time.
    pub until_time: Option<Time>,
    /// The oldest first; else the newest.
    pub oldest_first: bool,
    /// Behind this place, in the order asked for.
    pub after: Option<HistoryCursor>,
    /// At most so many.
    pub limit: u32,
}

impl TransitionQuery {
    /// Whether it is one page of all there is behind a place, in the order it was written: found by an index, and short
    /// whatever the history holds. So is what those who follow the history ask.
    pub(crate) fn follows(&self) -> bool {
        let Self { service, name, to, from_time, until_time, oldest_first, after, limit: _ } = self;
        let is_filtered = service.is_some() || name.is_some() || !to.is_empty();
        *oldest_first && after.is_some() && !is_filtered && from_time.is_none() && until_time.is_none()
    }
}
