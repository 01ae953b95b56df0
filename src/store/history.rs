//! Rows of the history: how they are written, how they are read, and which are asked for.

use std::sync::Arc;

use breaker::{Attribution, CausingOutcome, Key, Reason, Snapshot, State, Stats};
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};

use super::cell::{Cell, Column};
use super::columns::{Reader, bigint, hex, micros, printable, unhex};
use super::judge::Entry;
use super::range_filter::RangeFilter;
use super::timestamp::Timestamp;
use super::{Change, ChangeId, HistoryCursor, StoreError, StoredTransition, TransitionId, TransitionQuery};

/// The actor of a gap: nobody asked for it.
const GAP_ACTOR: &str = "breakerd";

/// A row of `transition`, as it is written and as it is read.
#[derive(FromRow)]
pub(super) struct TransitionRow {
    pub(super) revision: i64,
    pub(super) number: i64,
    pub(super) replica: String,
    pub(super) boot: String,
    pub(super) seq: i64,
    pub(super) service: String,
    pub(super) name: String,
    pub(super) from_state: String,
    pub(super) to_state: String,
    pub(super) reason: String,
    pub(super) epoch: Option<i64>,
    pub(super) base_epoch: i64,
    pub(super) calls: i64,
    pub(super) failures: i64,
    pub(super) slow_calls: i64,
    pub(super) consecutive_failures: i64,
    pub(super) consecutive_successes: i64,
    pub(super) reporters: i64,
    pub(super) open_count: i64,
    pub(super) wait_us: Option<i64>,
    pub(super) retry_after_us: Option<i64>,
    pub(super) actor: Option<String>,
    pub(super) override_reason: Option<String>,
    pub(super) lasted_us: Option<i64>,
    pub(super) rejected_calls: i64,
    pub(super) error_class: Option<String>,
    pub(super) caller: Option<String>,
    pub(super) lost_transitions: i64,
    pub(super) shadow: bool,
    pub(super) store_unavailable: bool,
    pub(super) superseded_by: Option<i64>,
    pub(super) timeline: Option<i64>,
    pub(super) config_revision: i64,
    pub(super) occurred_at: Timestamp,
    pub(super) recorded_at: Timestamp,
}

/// Where a transaction stands in the history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bumped {
    pub(super) revision: i64,
    pub(super) recorded_at: Timestamp,
    /// What tells the revision from the same revision in another history.
    pub(super) nonce: i64,
}

impl Bumped {
    /// The change that it makes.
    pub(super) fn change(self) -> ChangeId {
        ChangeId { revision: self.revision.unsigned_abs(), nonce: self.nonce.cast_unsigned() }
    }
}

impl TransitionRow {
    pub(super) fn new(entry: &Entry<'_>, number: usize, bumped: Bumped) -> Result<Self, StoreError> {
        let act = "write the history";
        let proposal = entry.proposal;
        let (transition, after, lost_transitions) = match &proposal.change {
            Change::Transition(transition) => (Some(&**transition), Some(&transition.after), 0),
            Change::Gap(gap) => (None, gap.after.as_ref(), gap.lost_transitions),
        };
        let attribution = match &proposal.change {
            Change::Transition(transition) => transition.attribution.clone(),
            Change::Gap(gap) => {
                Some(Attribution { actor: GAP_ACTOR.to_owned(), reason: gap.cause.text().to_owned() })
            }
        };
        let stats = transition.map_or_else(Stats::default, |transition| transition.stats);
        let outcome = transition.and_then(|transition| transition.outcome.as_ref());
        let reason = transition.map_or(Reason::HistoryGap, |transition| transition.reason);
        let text = |text: &str| (!text.is_empty()).then(|| printable(text).into_owned());
        Ok(Self {
            revision: bumped.revision,
            number: bigint(act, "number", number as u64)?,
            replica: proposal.id.replica.to_string(),
            boot: hex(proposal.id.boot),
            seq: bigint(act, "seq", proposal.id.seq)?,
            service: proposal.key.service().to_string(),
            name: proposal.key.name().to_string(),
            from_state: entry.from.as_str().to_owned(),
            to_state: entry.to.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            epoch: entry.epoch.map(|epoch| bigint(act, "epoch", epoch)).transpose()?,
            base_epoch: bigint(act, "base_epoch", entry.base_epoch)?,
            calls: stats.calls.into(),
            failures: stats.failures.into(),
            slow_calls: stats.slow_calls.into(),
            consecutive_failures: stats.consecutive_failures.into(),
            consecutive_successes: stats.consecutive_successes.into(),
            reporters: stats.reporters.into(),
            open_count: after.map_or(0, |after| after.open_count.into()),
            wait_us: after.and_then(|after| after.wait).map(micros),
            retry_after_us: after.and_then(|after| after.retry_after).map(micros),
            actor: attribution.as_ref().map(|attribution| printable(&attribution.actor).into_owned()),
            override_reason: attribution
                .as_ref()
                .map(|attribution| printable(&attribution.reason).into_owned()),
            lasted_us: entry.lasted.map(micros),
            rejected_calls: bigint(
                act,
                "rejected_calls",
                transition.map_or(0, |transition| transition.rejected_calls),
            )?,
            error_class: outcome.and_then(|outcome| text(&outcome.error_class)),
            caller: outcome.and_then(|outcome| text(&outcome.caller)),
            lost_transitions: bigint(act, "lost_transitions", lost_transitions)?,
            shadow: entry.epoch.is_none() && matches!(&proposal.change, Change::Transition(t) if t.shadow),
            store_unavailable: proposal.store_unavailable,
            superseded_by: entry.superseded_by.map(|epoch| bigint(act, "epoch", epoch)).transpose()?,
            timeline: proposal.decided_in.timeline.map(i64::from),
            config_revision: bigint(act, "config_revision", after.map_or(0, config_revision))?,
            occurred_at: Timestamp(entry.occurred_at),
            recorded_at: bumped.recorded_at,
        })
    }

    /// The columns that [`Self::cells`] has the values of, in the same order.
    pub(super) const COLUMNS: [Column; 35] = [
        Column::Plain("revision"),
        Column::Plain("number"),
        Column::Plain("replica"),
        Column::Plain("boot"),
        Column::Plain("seq"),
        Column::Plain("service"),
        Column::Plain("name"),
        Column::Plain("from_state"),
        Column::Plain("to_state"),
        Column::Plain("reason"),
        Column::Plain("epoch"),
        Column::Plain("base_epoch"),
        Column::Plain("calls"),
        Column::Plain("failures"),
        Column::Plain("slow_calls"),
        Column::Plain("consecutive_failures"),
        Column::Plain("consecutive_successes"),
        Column::Plain("reporters"),
        Column::Plain("open_count"),
        Column::Plain("wait_us"),
        Column::Plain("retry_after_us"),
        Column::Plain("actor"),
        Column::Plain("override_reason"),
        Column::Plain("lasted_us"),
        Column::Plain("rejected_calls"),
        Column::Plain("error_class"),
        Column::Plain("caller"),
        Column::Plain("lost_transitions"),
        Column::Plain("shadow"),
        Column::Plain("store_unavailable"),
        Column::Plain("superseded_by"),
        Column::Plain("timeline"),
        Column::Plain("config_revision"),
        Column::Time("occurred_at"),
        Column::Time("recorded_at"),
    ];

    /// What is written of it, in the order of [`Self::COLUMNS`].
    pub(super) fn cells(&self) -> [Cell<'_>; 35] {
        [
            self.revision.into(),
            self.number.into(),
            (&self.replica).into(),
            (&self.boot).into(),
            self.seq.into(),
            (&self.service).into(),
            (&self.name).into(),
            (&self.from_state).into(),
            (&self.to_state).into(),
            (&self.reason).into(),
            self.epoch.into(),
            self.base_epoch.into(),
            self.calls.into(),
            self.failures.into(),
            self.slow_calls.into(),
            self.consecutive_failures.into(),
            self.consecutive_successes.into(),
            self.reporters.into(),
            self.open_count.into(),
            self.wait_us.into(),
            self.retry_after_us.into(),
            self.actor.as_ref().into(),
            self.override_reason.as_ref().into(),
            self.lasted_us.into(),
            self.rejected_calls.into(),
            self.error_class.as_ref().into(),
            self.caller.as_ref().into(),
            self.lost_transitions.into(),
            self.shadow.into(),
            self.store_unavailable.into(),
            self.superseded_by.into(),
            self.timeline.into(),
            self.config_revision.into(),
            self.occurred_at.into(),
            self.recorded_at.into(),
        ]
    }

    pub(super) fn transition(self) -> Result<StoredTransition, StoreError> {
        let row = format!("transition {} of revision {}", self.number, self.revision);
        let reader = Reader { act: "read the history", row: &row };
        Ok(StoredTransition {
            id: TransitionId {
                replica: Arc::from(self.replica),
                boot: unhex(&self.boot).ok_or_else(|| reader.wrong("boot", &self.boot))?,
                seq: reader.number("seq", self.seq)?,
            },
            cursor: HistoryCursor {
                revision: reader.number("revision", self.revision)?,
                number: reader.number("number", self.number)?,
            },
            key: Key::new(&self.service, &self.name).map_err(|error| reader.says(error))?,
            from: reader.word("from_state", &self.from_state, State::parse)?,
            to: reader.word("to_state", &self.to_state, State::parse)?,
            reason: reader.word("reason", &self.reason, Reason::parse)?,
            epoch: self.epoch.map(|epoch| reader.number("epoch", epoch)).transpose()?,
            base_epoch: reader.number("base_epoch", self.base_epoch)?,
            stats: Stats {
                consecutive_failures: reader.number("consecutive_failures", self.consecutive_failures)?,
                consecutive_successes: reader.number("consecutive_successes", self.consecutive_successes)?,
                calls: reader.number("calls", self.calls)?,
                failures: reader.number("failures", self.failures)?,
                slow_calls: reader.number("slow_calls", self.slow_calls)?,
                reporters: reader.number("reporters", self.reporters)?,
            },
            lasted: self.lasted_us.map(|lasted| reader.duration("lasted_us", lasted)).transpose()?,
            rejected_calls: reader.number("rejected_calls", self.rejected_calls)?,
            outcome: (self.error_class.is_some() || self.caller.is_some()).then(|| CausingOutcome {
                error_class: self.error_class.unwrap_or_default(),
                caller: self.caller.unwrap_or_default(),
            }),
            attribution: self
                .actor
                .map(|actor| Attribution { actor, reason: self.override_reason.unwrap_or_default() }),
            open_count: reader.number("open_count", self.open_count)?,
            wait: self.wait_us.map(|wait| reader.duration("wait_us", wait)).transpose()?,
            lost_transitions: reader.number("lost_transitions", self.lost_transitions)?,
            shadow: self.shadow,
            store_unavailable: self.store_unavailable,
            superseded: self.superseded_by.is_some(),
            timeline: self.timeline.map(|timeline| reader.number("timeline", timeline)).transpose()?,
            config_revision: reader.number("config_revision", self.config_revision)?,
            occurred_at: self.occurred_at.0,
            recorded_at: self.recorded_at.0,
        })
    }
}

fn config_revision(after: &Snapshot) -> u64 {
    after.config_revision
}

/// Adds to a query that ends in `WHERE true` what is asked for.
///
/// A filter that is not asked for is not in the query at all: a database that plans a statement before it
/// sees the values could not use the index on the breaker behind `$1 IS NULL OR service = $1`.
pub(super) fn narrow<DB>(
    sql: &mut QueryBuilder<DB>,
    occurred_at: &'static str,
    query: &TransitionQuery,
) -> Result<(), StoreError>
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    Timestamp: for<'q> Encode<'q, DB> + Type<DB>,
{
    if let Some(service) = &query.service {
        sql.push(" AND service = ").push_bind(service.clone());
    }
    if let Some(name) = &query.name {
        sql.push(" AND name = ").push_bind(name.clone());
    }
    if !query.to.is_empty() {
        sql.push(" AND to_state IN (");
        let mut states = sql.separated(", ");
        for state in &query.to {
            states.push_bind(state.as_str().to_owned());
        }
        sql.push(")");
    }
    let range = RangeFilter {
        from_time: query.from_time,
        until_time: query.until_time,
        after: query.after,
        oldest_first: query.oldest_first,
        limit: query.limit,
    };
    range.narrow(sql, occurred_at, "read the history")
}
