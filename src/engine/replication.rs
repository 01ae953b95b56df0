//! One of several replicas: what breakers ask of the store, what it answers, and the calls that wait for that.
//!
//! The engine asks nothing itself: it keeps the breakers that have something to ask, for the one who does
//! ([`crate::replica`]), and takes the answers. A lone process has none of it: its breakers answer themselves.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, EnteredBy, Judged, Key, Numbering, ProbeAnswer, ProbeClaim, ProbeGrant, ProbeOutcome,
    ProbeReport, ProposalAnswer, ProposalId, Reason, Recorded, Report, State, StoredRow, Ticket, Time,
};
use tokio::sync::futures::Notified;

use super::Engine;
use super::entry::{Entry, Inner, LastTransition};
use super::limits::EngineError;
use super::permit::{KeyId, Permit, PermitKind};
use super::record::Target;
use super::registry::Known;
use super::shares::{Creator, Room};
use super::store_requests::AnswerGroup;
use crate::protocol_rules::{Rule, holds};

/// What one breaker asks of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRequests {
    /// The breaker.
    pub key: Key,
    /// The timeline of the store that it is in.
    pub timeline: u32,
    /// The epoch that it is in.
    pub epoch: u64,
    /// How many slots its half-open has.
    pub slots: u32,
    /// Probes that it wants.
    pub claim: Option<ProbeClaim>,
    /// Nonces of probes that it gives back.
    pub returned: Vec<u64>,
}

/// How much is asked at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimit {
    /// Breakers.
    pub breakers: usize,
    /// Slots of their half-opens.
    pub slots: u32,
}

/// The outcome of a probe over which the store decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedProbe {
    /// Its breaker.
    pub key: Key,
    /// The outcome.
    pub report: ProbeReport,
    /// How many slots its half-open has, as far as is known here.
    pub slots: u32,
}

/// What the store answered about one breaker.
#[derive(Debug, Clone)]
pub enum StoreAnswer<'a> {
    /// To a proposal.
    Proposal {
        /// Which.
        id: ProposalId,
        /// What became of it.
        answer: ProposalAnswer,
        /// The row as it is now.
        row: &'a StoredRow,
    },
    /// To a proposal that no store will ever take: it could not be read, or stored.
    Dropped(ProposalId),
    /// To a claim of probes, of the epoch that the row is in.
    Probes {
        /// What was given.
        grant: &'a ProbeGrant,
        /// In which timeline.
        timeline: u32,
    },
    /// To the outcome of a probe.
    Settled {
        /// The outcome.
        report: &'a ProbeReport,
        /// How long the call took; none: it did not say.
        took: Option<Duration>,
        /// What became of it.
        answer: &'a ProbeAnswer,
    },
    /// The row, newer than before.
    Row(&'a StoredRow),
    /// The row as it was when something else was answered: a claim of probes, an act, a question. Newer ones may have been read
    /// since.
    AnsweredRow(&'a StoredRow),
}

/// Whether an answer can be older than what was read of the same breaker since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerOrder {
    /// Rows are read in the order in which they changed.
    InTurn,
    /// To one question; it may have been on its way for a while.
    AnyTime,
}

/// What others are told of when it changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    epoch: u64,
    state: State,
    deadline: Option<Time>,
}

impl Shown {
    pub(super) fn of(breaker: &Breaker) -> Self {
        Self { epoch: breaker.epoch(), state: breaker.state(), deadline: breaker.next_deadline() }
    }
}

impl StoreAnswer<'_> {
    fn row(&self) -> Option<&StoredRow> {
        match self {
            Self::Proposal { row, .. } | Self::Row(row) | Self::AnsweredRow(row) => Some(row),
            Self::Settled { answer, .. } => Some(&answer.row),
            Self::Probes { .. } | Self::Dropped(_) => None,
        }
    }

    fn order(&self) -> AnswerOrder {
        if matches!(self, Self::Row(_)) { AnswerOrder::InTurn } else { AnswerOrder::AnyTime }
    }

    /// The timeline of the store that answered; none: it matters to none.
    fn timeline(&self) -> Option<u32> {
        match self {
            Self::Probes { timeline, .. } => Some(*timeline),
            _ => self.row().map(|row| row.version.timeline),
        }
    }
}

impl Engine {
    /// Whether the store numbers the epochs, as there are other replicas.
    pub fn is_replicated(&self) -> bool {
        self.registry.numbering() == Numbering::Store
    }

    /// Ends when some breaker has something to ask of the store. For one task.
    pub async fn requested(&self) {
        self.replication.requested().await;
    }

    /// Whether some breaker has something to ask of the store.
    pub fn is_asked(&self) -> bool {
        self.replication.is_asked()
    }

    /// What breakers ask of the store, as much as `limit` says, and of one breaker in any case. What is taken is to be asked, or
    /// given back with [`Engine::ask_again`].
    pub fn take_requests(&self, limit: RequestLimit, now: Time) -> Vec<BreakerRequests> {
        let (mut requests, mut slots) = (Vec::new(), 0_u32);
        for _ in 0..limit.breakers {
            let Some(taken) = self.replication.take() else { break };
            let request = self.registry.with_known(taken.id, |entry, inner| {
                let with = slots.saturating_add(inner.breaker.half_open_slots());
                let fits = requests.is_empty() || with <= limit.slots;
                fits.then(|| BreakerRequests {
                    key: entry.key.clone(),
                    timeline: self.timeline_of(&inner.breaker),
                    epoch: inner.breaker.epoch(),
                    slots: inner.breaker.half_open_slots(),
                    claim: inner.breaker.probe_claim(now),
                    returned: inner.breaker.returned_nonces(now),
                })
            });
            match request {
                Some(None) => {
                    self.replication.put_back(&taken);
                    break;
                }
                Some(Some(request)) if request.claim.is_some() || !request.returned.is_empty() => {
                    slots = slots.saturating_add(request.slots);
                    requests.push(request);
                }
                // It has nothing to ask any more.
                None | Some(Some(_)) => {}
            }
        }
        requests
    }

    /// No call will come any more: breakers give back the probes that wait for one, and those that a claim may have got of which
    /// the store has not said.
    pub fn return_stock(&self) {
        for entry in self.registry.entries() {
            let Some(mut inner) = entry.lock() else { continue };
            inner.breaker.return_stock();
            self.note_requests(&entry, &inner);
        }
    }

    /// The store did not answer what this breaker asked: it asks again.
    pub fn ask_again(&self, key: &Key) {
        self.replication.ask(self.seals.key_id(key.service(), key.name()));
    }

    /// Takes what the store answered about a breaker. `entered_by` says how its row came into its state, if that is known.
    ///
    /// A breaker that is not known here is created, whatever the limit, if it ever left its first state: its epoch must not
    /// be forgotten. Of one that is closed and idle, or was deleted, only the epoch is kept. An answer of another timeline than that of its breaker changes nothing
    /// ([`Engine::take_timeline`]), but that a proposal is known to be answered.
    pub fn take_answer(&self, key: &Key, answer: &StoreAnswer<'_>, entered_by: Option<EnteredBy>, now: Time) {
        let id = self.seals.key_id(key.service(), key.name());
        loop {
            let row = (answer.row(), entered_by);
            let Some(entry) = self.answered_entry(id, key, row, answer.order(), now) else { return };
            let Some(mut inner) = entry.lock() else { continue };
            let timeline = self.timeline_of(&inner.breaker);
            let is_of_another = |of: &u32| *of != timeline && holds(Rule::TimelineByTail);
            if let Some(of) = answer.timeline().filter(is_of_another) {
                if let StoreAnswer::Proposal { id, .. } = answer
                    && of > timeline
                {
                    inner.breaker.answered_in_later_timeline(*id);
                }
                return;
            }
            self.sync_wall(&mut inner);
            self.take_store_answer(&entry, &mut inner, answer, entered_by, now);
            break;
        }
        self.replication.answered(AnswerGroup::of(id)).notify_waiters();
    }

    /// The breaker that the store answered about, which is created if it has to be; none: there is nothing to be told.
    pub(super) fn answered_entry(
        &self,
        id: KeyId,
        key: &Key,
        (row, entered_by): (Option<&StoredRow>, Option<EnteredBy>),
        order: AnswerOrder,
        now: Time,
    ) -> Option<Arc<Entry>> {
        match (self.registry.known(id), row) {
            (Some(Known::Live(entry)), _) => Some(entry),
            (_, None) => None,
            (Some(Known::Retired(tombstone)), Some(row))
                if row.snapshot.epoch == tombstone.epoch && row.snapshot.state == State::Closed =>
            {
                None
            }
            // It was known when the breaker was retired, as when another replica deleted it: its old state must not come back.
            (Some(Known::Retired(tombstone)), Some(row)) if row.version <= tombstone.version => None,
            // Of a timeline before no version says so. Should its epochs have begun at 0 again, the row is read in its turn.
            (Some(Known::Retired(tombstone)), Some(row))
                if row.snapshot.epoch < tombstone.epoch && order == AnswerOrder::AnyTime =>
            {
                None
            }
            (None, Some(row)) if row.snapshot.epoch == 0 && row.snapshot.state == State::Closed => None,
            (_, Some(row)) if row.version.timeline != self.timeline() => None,
            (None, Some(row)) if self.bury_row(id, key, row, entered_by, now) => None,
            _ => {
                let owner = self.owner(key.service(), Creator::Server);
                self.registry.create(id, key.clone(), owner, Room::Always, now).ok()
            }
        }
    }

    /// Keeps only the epoch of a breaker that is not known here, if it is closed and idle, or was deleted.
    fn bury_row(
        &self,
        id: KeyId,
        key: &Key,
        row: &StoredRow,
        entered_by: Option<EnteredBy>,
        now: Time,
    ) -> bool {
        let deleted = entered_by.is_some_and(|entered_by| entered_by.reason == Reason::Deleted);
        // Its service's override is to be brought to it, and there is to be a breaker for that.
        let is_overridden = self.registry.service_override(key.service()).is_some();
        !is_overridden && self.bury(id, key, (&row.snapshot, row.version), now - row.age, deleted, now)
    }

    fn take_store_answer(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        answer: &StoreAnswer<'_>,
        entered_by: Option<EnteredBy>,
        now: Time,
    ) {
        let before = Shown::of(&inner.breaker);
        match answer {
            StoreAnswer::Proposal { id, answer, row } => inner.breaker.answered(*id, *answer, row, now),
            StoreAnswer::Dropped(id) => inner.breaker.proposal_dropped(*id, now),
            StoreAnswer::Probes { grant, .. } => {
                inner.breaker.granted(grant, now);
                inner.counters.probes_timed_out(grant.timed_out);
            }
            StoreAnswer::Settled { report, took, answer } => {
                inner.breaker.probe_settled(report.epoch, report.probe, answer, now);
                let (recorded, judged) = (answer.settled.into(), judged(report));
                inner.counters.recorded(recorded, judged);
                if let (Recorded::Recorded, Some(took), true) = (recorded, took, report.outcome.is_some()) {
                    entry.durations.observe(*took);
                }
            }
            StoreAnswer::Row(row) | StoreAnswer::AnsweredRow(row) => inner.breaker.adopt(row, now),
        }
        if let Some(row) = answer.row().filter(|_| !holds(Rule::OldRowsIgnored)) {
            inner.breaker.follow(&row.snapshot, now);
        }
        self.show_taken(entry, inner, before, (answer.row(), entered_by));
    }

    /// A breaker may be in another state, which a row of the store says.
    pub(super) fn show_taken(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        before: Shown,
        (row, entered_by): (Option<&StoredRow>, Option<EnteredBy>),
    ) {
        let after = Shown::of(&inner.breaker);
        if before.epoch != after.epoch {
            let taken = entered_by.filter(|_| row.is_some_and(|row| row.snapshot.epoch == after.epoch)).map(
                |entered_by| {
                    let snapshot = inner.breaker.snapshot();
                    LastTransition::restored(&snapshot, entered_by, inner.breaker.wall_offset())
                },
            );
            // Another replica deleted it: it goes, unless it is used again before ([`Engine::retire_deleted`]).
            inner.deleted |= taken.as_ref().is_some_and(|last| last.reason == Reason::Deleted);
            if taken.is_some() {
                inner.newest.get_or_insert_default().last_transition = taken;
            }
        }
        if before != after {
            self.registry.reindex(entry, inner);
            self.sink.moved(&entry.key);
        }
        self.arm(entry, inner);
        self.note_requests(entry, inner);
    }

    /// The breakers about which answers are told together with those about this one.
    pub fn answer_group(&self, service: &str, name: &str) -> AnswerGroup {
        AnswerGroup::of(self.seals.key_id(service, name))
    }

    /// Ends when the store has answered something about a breaker of this group. To be made before the look that finds out
    /// that there is something to wait for.
    pub fn answered_in(&self, group: AnswerGroup) -> Notified<'_> {
        self.replication.answered(group).notified()
    }

    /// As [`Engine::answered_in`], by the key of a permit.
    pub fn answered_of(&self, id: KeyId) -> Notified<'_> {
        self.answered_in(AnswerGroup::of(id))
    }

    /// Whether a permit is of an epoch, or of a timeline, that is not known here yet: another replica gave it.
    pub fn is_behind(&self, permit: &Permit) -> bool {
        let timeline = self.timeline();
        let (timeline, known) = match self.registry.known(permit.key) {
            Some(Known::Live(entry)) => entry
                .lock()
                .map_or((timeline, 0), |inner| (self.timeline_of(&inner.breaker), inner.breaker.epoch())),
            Some(Known::Retired(tombstone)) => (timeline, tombstone.epoch),
            None => (timeline, 0),
        };
        let is_newer = permit.timeline == timeline && permit.pass.epoch > known;
        self.is_replicated() && (is_newer || permit.timeline > timeline)
    }

    /// The outcome of a probe over which the store decides; none: [`Engine::record_for`] takes it. That of a later timeline than its
    /// breaker is in here is the store's: whatever the breaker knows is of before.
    ///
    /// # Errors
    /// As those of [`Engine::record_for`].
    pub fn probe_report(
        &self,
        target: &Target<'_>,
        report: &Report<'_>,
        now: Time,
    ) -> Result<Option<ReportedProbe>, EngineError> {
        self.check_target(target)?;
        let is_live = |permit: &Permit| {
            self.is_replicated()
                && permit.pass.probe.is_some()
                && permit.kind == PermitKind::Tracked
                && permit.branch == 0
                && !permit.has_expired(now)
                && self.is_enabled()
        };
        let Some(permit) = target.permit.filter(is_live) else { return Ok(None) };
        let reported = |entry: &Entry, inner: &mut Inner| {
            inner.used(now);
            self.sync_wall(inner);
            let timeline = self.timeline_of(&inner.breaker);
            if permit.timeline < timeline {
                return None;
            }
            let is_of_later_timeline = permit.timeline > timeline;
            let is_later = is_of_later_timeline || permit.pass.epoch > inner.breaker.epoch();
            if is_later && !holds(Rule::LaterEpochToStore) {
                return None;
            }
            let ticket = Ticket::Foreign(permit.pass);
            let report = if is_of_later_timeline {
                inner.breaker.probe_report_of_later_timeline(ticket, report, now)?
            } else {
                inner.breaker.probe_report(ticket, report, now)?
            };
            Some(ReportedProbe { key: entry.key.clone(), report, slots: inner.breaker.half_open_slots() })
        };
        if let Some(reported) = self.registry.with_known(permit.key, reported) {
            return Ok(reported);
        }
        // Another replica gave it for a breaker that was never used here; without a name nobody here can say which.
        if target.service.is_empty() {
            return Ok(None);
        }
        let owner = || self.owner(target.service, Creator::Server);
        self.registry.with_breaker(permit.key, target.service, target.name, owner, now, |entry, inner| {
            let reported = reported(entry, inner);
            self.settle(entry, inner, &[]);
            reported
        })
    }

    /// A breaker that was looked at may have something to ask of the store.
    pub(super) fn note_requests(&self, entry: &Entry, inner: &Inner) {
        if self.is_replicated() && inner.breaker.has_requests() {
            self.replication.ask(entry.id);
        }
    }
}

fn judged(report: &ProbeReport) -> Judged {
    let counted = |ProbeOutcome { failed, slow }| Judged::Counted { failed, slow };
    report.outcome.map_or(Judged::Ignored, counted)
}
