//! A store that several replicas write to: what they propose, the probes that they share, and the rows that others changed.
//!
//! Every row that is answered says which version it is, and how long its state has lasted by the store's clock, which is the
//! one that counts: the clocks of replicas differ.

use std::time::Duration;

use async_trait::async_trait;
use breaker::{EnteredBy, Key, ProbeAnswer, ProbeClaim, ProbeGrant, ProbeReport, StoredRow};

use super::error::StoreError;
use super::proposal::{Answer, DecidedBy, Proposal, TransitionId};
use super::timeline_store::{ChangeId, Position};

/// The slots of an epoch that is over are kept for so long after the last of them was written: a replica sends the outcome of a
/// probe again for half of that, and a repeat is told from one that is late.
pub(super) const PROBES_KEPT: Duration = Duration::from_mins(10);

/// Who uses breakers says so when it did not for this long. Nothing else is written for it.
pub(super) const USE_SAID_EVERY: Duration = Duration::from_hours(6);
/// The row of a closed breaker without history goes when no replica has said for this long that it uses it: the last use is a life
/// of a permit (24 hours) ago then, and more.
pub const UNUSED_ROWS_KEPT: Duration = Duration::from_hours(36);

/// What several replicas ask of the one store that they share.
#[async_trait]
pub trait SharedStore: Send + Sync + 'static {
    /// As [`super::TransitionStore::propose`], with the row of each breaker as it is afterwards.
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError>;

    /// Claims, gives back and settles probes, all or none, in this order, and answers each. The transition that an outcome
    /// decides is in the same transaction. A batch without outcomes bumps no revision, and waits for no other breaker.
    ///
    /// Whatever is sent again means the same: a claim gets the slots that its nonces have, an outcome that counted is a duplicate,
    /// and answered with the transition that it decided, whatever came after that.
    /// Of a breaker whose row or slots cannot be read nothing changes, and all others of the batch are answered.
    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError>;

    /// The rows that are newer than a place, in the order that they were written, at most `limit` of them. A row that was
    /// written more than once is there as it is now, once. A limit of 0 is one of 1. Rows that cannot be read are named, and passed
    /// over. `seen` are the revisions whose nonces are wanted ([`RowsPage::seen`]), a few.
    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError>;

    /// Says that a replica uses these breakers, at the epochs that it knows, so that their rows stay. Answers the rows that have other
    /// epochs. One without a row, of which the replica knows an epoch above 0, is answered as CLOSED at epoch 0, in the version of
    /// the newest change, if a row of such an epoch was ever let go of: it is to be forgotten. Otherwise the store may have gone back,
    /// and nothing is said of it.
    ///
    /// Writes nothing for those of which somebody said so within the last 6 hours, and never bumps a revision.
    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError>;

    /// The store went back: begins another timeline, larger than `present` and `past`, unless it is not in `present` any more. `past`
    /// is the largest that was ever seen of it. In one transaction the server's own timeline counts as checked, and half-open
    /// breakers enter half-open again: claims of probes may be lost.
    ///
    /// The only thing that is written while the timeline of the server is not checked.
    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError>;

    /// Calls `told` when somebody may have written, until that cannot be told any more; answers why. It only says that it is
    /// time to look, and may miss some: what [`SharedStore::rows_after`] reads is the truth. A store that cannot tell never
    /// answers.
    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        let _ = told;
        std::future::pending().await
    }
}

/// What a store tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Somebody wrote.
    Changes,
    /// A replica has counts to tell ([`super::CountExchange::hints`]).
    Counts,
}

/// The answer to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// What became of it.
    pub answer: Answer,
    /// The row of its breaker.
    pub row: ChangedRow,
    /// The newest change of the store then: no row of the answer is of a later one.
    pub newest: ChangeId,
}

/// What is asked about probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeRequest {
    /// Probes for calls.
    Claim {
        /// The breaker.
        key: Key,
        /// What is wanted.
        claim: ProbeClaim,
        /// The timeline that the breaker is in: in another, nothing is given.
        timeline: u32,
    },
    /// Probes that no call took, or claims that were given up: what slots these nonces have are free for others.
    Release {
        /// The breaker.
        key: Key,
        /// The epoch that they are of.
        epoch: u64,
        /// What they were claimed with.
        nonces: Vec<u64>,
    },
    /// The outcome of a probe.
    Settle {
        /// The breaker.
        key: Key,
        /// What the transition is known by that it may decide.
        id: TransitionId,
        /// The outcome.
        report: ProbeReport,
        /// How long ago it was reported: it counts if the probe held its slot then, and nobody else has it now.
        age: Duration,
    },
}

impl ProbeRequest {
    /// The breaker.
    pub fn key(&self) -> &Key {
        match self {
            Self::Claim { key, .. } | Self::Release { key, .. } | Self::Settle { key, .. } => key,
        }
    }

    /// The epoch that its probes are of.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Claim { claim, .. } => claim.epoch,
            Self::Release { epoch, .. } => *epoch,
            Self::Settle { report, .. } => report.epoch,
        }
    }
}

/// What is answered about probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResponse {
    /// To a claim.
    Claimed {
        /// What was given; none: the row is not in half-open, or in that of another epoch.
        grant: Option<ProbeGrant>,
        /// The row.
        row: ChangedRow,
        /// As [`Answered::newest`].
        newest: ChangeId,
    },
    /// They are free.
    Released,
    /// To an outcome.
    Settled {
        /// What became of it, with the row.
        answer: ProbeAnswer,
        /// How the row came into its state; none: not known.
        entered_by: Option<EnteredBy>,
        /// As [`ChangedRow::decided_by`].
        decided_by: Option<DecidedBy>,
        /// The transition that it decided, now or when it came first; none: it decided none.
        decided: Option<Box<Proposal>>,
        /// As [`Answered::newest`].
        newest: ChangeId,
    },
    /// To anything about a breaker whose row or slots cannot be read, as a later version wrote them: why.
    Unreadable(String),
}

/// A row that changed and that cannot be read, as a later version wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Which version of which row.
    pub place: RowPlace,
    /// What it says that no row can say.
    pub problem: String,
}

/// A row, and how it came into its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRow {
    /// The breaker.
    pub key: Key,
    /// The row.
    pub row: StoredRow,
    /// How it came into its state; none: not known.
    pub entered_by: Option<EnteredBy>,
    /// What brought it into its state, if perhaps no journal has it; none: a journal has, or an earlier version wrote the row.
    pub decided_by: Option<DecidedBy>,
}

/// A place in the order that rows are written in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowCursor {
    /// Rows of this revision and of earlier ones were read.
    pub revision: u64,
    /// And these behind them: up to this one.
    pub part: Option<RowPlace>,
}

/// A version of a row, in the order of [`RowCursor`]. The names are as they stand there: no key may have them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// The revision that wrote it.
    pub revision: u64,
    /// The service.
    pub service: String,
    /// The name.
    pub name: String,
}

impl RowPlace {
    pub(super) fn of(key: &Key, revision: u64) -> Self {
        Self { revision, service: key.service().to_string(), name: key.name().to_string() }
    }
}

/// Rows in the order that they were written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsPage {
    /// The rows.
    pub rows: Vec<ChangedRow>,
    /// Those between them that cannot be read.
    pub unreadable: Vec<UnreadableRow>,
    /// Where to go on from.
    pub next: RowCursor,
    /// Whether there is none behind it.
    pub is_last: bool,
    /// Where the store was, and the nonce of the revision that was asked from.
    pub position: Position,
    /// What the store has of the revisions that were asked about.
    pub seen: Vec<ChangeId>,
    /// The newest revision that changed what services are judged by.
    pub configuration: u64,
}

impl RowsPage {
    /// The page of the first `limit` of `rows`, which are one more if there are any behind it.
    pub(super) fn new(
        after: &RowCursor,
        mut rows: Vec<(RowPlace, Result<ChangedRow, StoreError>)>,
        limit: u32,
        (position, configuration): (Position, u64),
        seen: Vec<ChangeId>,
    ) -> Self {
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        let next = match rows.last() {
            Some((place, _)) if !is_last => RowCursor { revision: after.revision, part: Some(place.clone()) },
            _ => RowCursor { revision: position.newest.revision, part: None },
        };
        let readable = Vec::with_capacity(rows.len());
        let mut page =
            Self { rows: readable, unreadable: Vec::new(), next, is_last, position, seen, configuration };
        for (place, row) in rows {
            match row {
                Ok(row) => page.rows.push(row),
                Err(error) => page.unreadable.push(UnreadableRow { place, problem: error.to_string() }),
            }
        }
        page
    }
}
