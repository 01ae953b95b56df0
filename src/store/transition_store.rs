//! The newest state of each breaker and the history of its transitions: what is proposed, what is read, what is pruned.
//!
//! A proposal is decided by the breaker's row, in one transaction with the row of the history, the outage that it ends and
//! the audit of what an operator did. The rules are pure (`judge`), and the order of the steps stands once for every
//! store (`script`). Rows of the history are never changed, and go only by [`TransitionStore::prune`].

use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, CausingOutcome, EnteredBy, Key, Reason, Snapshot, State, Stats, Time};

use super::StoreError;
use super::proposal::{Answer, DecidedBy, Proposal, TransitionId};

/// Rows of the history that go in one transaction of [`TransitionStore::prune`]: no writer waits for longer than these take.
pub(super) const PRUNED_ROWS_MAX: u32 = 10_000;

/// Breakers and their transitions.
#[async_trait]
pub trait TransitionStore: Send + Sync + 'static {
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
    /// What brought it into this state, if perhaps no journal has it; none: a journal has, or an earlier version wrote the row.
    pub decided_by: Option<DecidedBy>,
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
    pub lasted: Option<Duration>,
    /// Calls rejected in the state that was left.
    pub rejected_calls: u64,
    /// The outcome that caused it; none: no outcome did, or it had neither class nor caller.
    pub outcome: Option<CausingOutcome>,
    /// Who asked for it, and why; of a gap, breakerd, and the cause.
    pub attribution: Option<Attribution>,
    /// How often the breaker had opened since it last closed, this time included.
    pub open_count: u32,
    /// OPEN: how long it waits.
    pub wait: Option<Duration>,
    /// A gap: how many rows are missing.
    pub lost_transitions: u64,
    /// `METRICS_ONLY` kept it from happening.
    pub shadow: bool,
    /// Decided while the store was away.
    pub store_unavailable: bool,
    /// It lost against another replica's change.
    pub superseded: bool,
    /// The timeline of the store that it was decided in; none: not known, or one process had the store for itself.
    pub timeline: Option<u32>,
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

/// What is to be let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// History, audit and receipts from before this go, and closed breakers that have no history behind it.
    pub before: Time,
    /// Request ids from before this go.
    pub requests_before: Time,
}

/// What was let go of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows of the history.
    pub transitions: u64,
    /// Rows of the audit.
    pub changes: u64,
}
