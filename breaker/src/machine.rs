//! The state machine of one breaker.
//!
//! Everything goes through four questions: [`Breaker::allow`] (may a call go ahead), [`Breaker::record`] (how
//! it went), [`Breaker::poll`] (has time changed anything) and the operator's calls. Each is given `now`,
//! first lets the time that passed take effect, then does its own work, and answers with a value and the
//! transitions that it caused: at most a few, since a wait can have ended before a verdict was reached.
//!
//! # Edge cases that the rules decide
//! * A `now` below the last one seen counts as the last one seen.
//! * OPEN turns HALF_OPEN at `open_until`, whoever looks first and however late, stamped with `open_until`.
//! * Trips are tested on every counted outcome (a success can reveal a rate at the minimum number of
//!   calls), never on a read or on a change of thresholds.
//! * An outcome of an earlier epoch changes nothing: it neither closes nor prolongs.
//! * The thresholds of half-open are fixed when it is entered.
//!
//! # Two clocks
//! `now` is a time of the monotonic clock, and all that the machine counts on is. What leaves it to be stored or shown
//! (snapshots, transitions, views) is a time of the wall clock, as that is set ([`WallOffset`]); what comes back from
//! the store is converted again. The wall clock decides one thing: when an override ends that was set until a time of it.
//!
//! # Overrides of a service
//! A breaker knows the override of its service, if there is one, and is in it unless it has one of its own: the
//! nearest wins. When its own ends, it takes the service's up; while the service has one, it is never without.
//!
//! # Who numbers the epochs
//! With [`Numbering::Own`] a transition is in force the moment it is made. With [`Numbering::Store`] it is a
//! *proposal*: one that denies does so at once; one that lets calls through, or that time alone brings about, answers as the state
//! it leaves, and is not shown;
//! nothing is recorded, and time stands still for the breaker, until [`Breaker::answered`] or [`Breaker::adopt`]
//! says what the store made of it. So a trip never waits for the store, and everything that lets calls through
//! again does.
//!
//! A replica that the store does not answer at all may be told that it is alone; then its breakers go on by themselves ([`alone`]).

mod active_override;
mod alone;
mod calls;
mod elapse;
mod half_open;
mod numbering;
mod operator_actions;
mod overtaken_trip;
mod phase;
mod replication;
mod resume;
mod sharing;
mod snapshot;
mod store_probes;
mod stored_row;

use std::sync::Arc;
use std::time::Duration;

pub use self::active_override::ActiveOverride;
use self::half_open::HalfOpen;
pub use self::half_open::{ProbeClaim, ProbeGrant};
pub use self::numbering::Numbering;
pub use self::operator_actions::{Needed, WrongState};
use self::phase::{Cause, MetricsOnly, Next, Open, Phase};
pub use self::snapshot::View;
use self::stored_row::Replicated;
pub use self::stored_row::{
    EarlierAnswer, ProbeAnswer, ProbeReport, ProposalAnswer, ProposalId, RowVersion, StoredRow,
};
use crate::dedup::ReportedNumbers;
use crate::outcome::{Awaited, Decision, Probe, Recorded, Report, RunRecorded, Ticket};
use crate::state::{OverrideKind, Reason, Scope, State};
use crate::tally::Tally;
use crate::thresholds::Thresholds;
use crate::time::{Time, WallOffset};
use crate::transition::{CausingOutcome, HalfOpenTerms, Snapshot, Stats, Transition};
use crate::wait::wait;

/// Calls that are counted as rejected in one state: a million a second for eleven days. Clients say how many they rejected, and the sums
/// over a history have to stay within the 63 bits that a database has.
const REJECTED_CALLS_MAX: u64 = 1_000_000_000_000;

/// What a breaker is made with, beside its thresholds.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// A hash of the key, the same in every process: waits are drawn from it, so that replicas agree.
    pub key_hash: u64,
    /// Random for each life of the process: probes of two lives are told apart by it.
    pub salt: u64,
    /// The number of the first pass. A breaker that was retired and is born again must not begin below the
    /// numbers it gave before; a clock's microseconds will do.
    pub first_number: u64,
    /// Who numbers its epochs.
    pub numbering: Numbering,
    /// What time alone brings about is held back here for a part of this that is drawn for each epoch, so that of many replicas
    /// one proposes it, and the others have heard of it before they would. Zero where there is one. Whole milliseconds, and
    /// 65.535 s at most.
    pub stagger: Duration,
    /// How the wall clock stands.
    pub wall: WallOffset,
}

/// One circuit breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    thresholds: Arc<Thresholds>,
    config_revision: u64,
    key_hash: u64,
    salt: u64,
    /// In milliseconds: a million breakers have it.
    stagger_ms: u16,
    epoch: u64,
    open_count: u32,
    numbering: Numbering,
    /// The store does not answer, and this replica is to decide by itself.
    is_alone: bool,
    /// What a replica knows of the store's row; none: nothing, or there is no store that others write to.
    replicated: Option<Box<Replicated<Self>>>,
    next_number: u64,
    seen: ReportedNumbers,
    last_now: Time,
    wall: WallOffset,
    /// When the wall clock was last set: an end by the wall clock that this moved into the past came then.
    wall_set_at: Time,
    entered_at: Time,
    /// Calls rejected since then, or since a restart after it.
    rejected_calls: u64,
    /// The revision that was in force when the state was entered.
    entered_revision: u64,
    /// The override of its service; one whose end has passed may still be here.
    service: Option<Arc<ActiveOverride>>,
    phase: Phase,
}

impl Breaker {
    /// A breaker that nobody has told anything yet.
    pub fn new(thresholds: Arc<Thresholds>, config_revision: u64, identity: Identity, now: Time) -> Self {
        let phase = Phase::Closed(Tally::new(&thresholds));
        Self {
            thresholds,
            config_revision,
            key_hash: identity.key_hash,
            salt: identity.salt,
            stagger_ms: u16::try_from(identity.stagger.as_millis()).unwrap_or(u16::MAX),
            epoch: 0,
            open_count: 0,
            numbering: identity.numbering,
            is_alone: false,
            replicated: None,
            next_number: identity.first_number,
            seen: ReportedNumbers::default(),
            last_now: now,
            wall: identity.wall,
            wall_set_at: Time::ZERO,
            entered_at: now,
            rejected_calls: 0,
            entered_revision: config_revision,
            service: None,
            phase,
        }
    }

    /// May a call go ahead?
    pub fn allow(&mut self, now: Time) -> (Decision, Vec<Transition>) {
        self.allow_again(None, now)
    }

    /// May a call go ahead that was told to wait for this answer? As [`Breaker::allow`]; a probe that it wanted before is not
    /// wanted twice.
    pub fn allow_again(&mut self, awaited: Option<Awaited>, now: Time) -> (Decision, Vec<Transition>) {
        let now = self.clock(now);
        let transitions = self.advance(now);
        let decision = self.decide_on_branch(now).unwrap_or_else(|| self.decide(awaited, now));
        (decision, transitions)
    }

    /// How a call went.
    pub fn record(&mut self, ticket: Ticket, report: &Report<'_>, now: Time) -> (Recorded, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if let (Some(ticket), Some(own)) = (self.own_ticket(ticket), self.branch_mut()) {
            let (recorded, made) = own.record(ticket, report, now);
            transitions.extend(self.of_branch(made));
            return (recorded, transitions);
        }
        if let Ticket::Own(pass) = ticket
            && !self.seen.note(pass.number)
        {
            return (Recorded::Duplicate, transitions);
        }
        let (recorded, mut transition) = self.take(ticket, report, now);
        if let Some(transition) = &mut transition {
            transition.outcome = Some(CausingOutcome::of(report));
        }
        transitions.extend(transition);
        (recorded, transitions)
    }

    /// How a run of calls without passes went, all of them alike: as `count` calls of [`Breaker::record`] with
    /// [`Ticket::Bare`] would take it, at this moment and one after the other. The breaker may open in the middle of it.
    ///
    /// Costs no more than a window of calls holds outcomes, and of a window of time a handful, however many there are.
    pub fn record_run(
        &mut self,
        epoch: Option<u64>,
        report: &Report<'_>,
        count: u32,
        now: Time,
    ) -> (RunRecorded, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if let (Some(_), Some(own)) = (self.own_ticket(Ticket::Bare { epoch }), self.branch_mut()) {
            let (recorded, made) = own.record_run(None, report, count, now);
            transitions.extend(self.of_branch(made));
            return (recorded, transitions);
        }
        let (recorded, mut own) = self.take_run(epoch, report, count, now);
        for transition in &mut own {
            transition.outcome = Some(CausingOutcome::of(report));
        }
        transitions.append(&mut own);
        (recorded, transitions)
    }

    /// So many calls were rejected in the present state by others than this breaker: by clients that know its state. They are in
    /// [`Transition::rejected_calls`] of the end of it, a million million at the most, and change nothing else.
    pub fn note_rejected(&mut self, calls: u64) {
        if let Some(own) = self.branch_mut() {
            return own.note_rejected(calls);
        }
        self.rejected_calls = self.rejected_calls.saturating_add(calls).min(REJECTED_CALLS_MAX);
    }

    /// Gives a probe back unused: its place is free again.
    pub fn release(&mut self, probe: Probe, now: Time) {
        let now = self.clock(now);
        if let Some(own) = self.branch_mut() {
            own.release(probe, now);
        }
        if let Some(half_open) = self.half_open_of_row_mut() {
            half_open.release(probe, now);
        }
    }

    /// How far the wall clock is ahead, as far as it knows.
    pub fn wall_offset(&self) -> WallOffset {
        self.wall
    }

    /// The wall clock was set at `set_at`. Overrides that end by it end accordingly, at the next look; nothing else
    /// changes but what is shown.
    pub fn set_wall_offset(&mut self, wall: WallOffset, set_at: Time) {
        if wall != self.wall {
            self.wall = wall;
            self.wall_set_at = set_at;
        }
        if let Some(own) = self.branch_mut() {
            own.set_wall_offset(wall, set_at);
        }
    }

    /// Judges by other thresholds from now on. State, epoch, counts and attempts stay; OPEN waits as long
    /// from its beginning as it now should; half-open keeps those that it was entered with.
    pub fn set_thresholds(
        &mut self,
        thresholds: Arc<Thresholds>,
        config_revision: u64,
        now: Time,
    ) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        self.config_revision = config_revision;
        if let Some(own) = self.branch_mut() {
            let made = own.set_thresholds(Arc::clone(&thresholds), config_revision, now);
            transitions.extend(self.of_branch(made));
        }
        if *thresholds == *self.thresholds {
            self.thresholds = thresholds;
            return transitions;
        }
        self.thresholds = thresholds;
        match &mut self.phase {
            Phase::Closed(_) | Phase::MetricsOnly(_) => self.reshape(now),
            Phase::Open(open) => {
                let retry_after = open.retry_after;
                let wait = self.set_wait(retry_after);
                if self.proposed().is_none() && self.branch().is_none() && now >= self.entered_at + wait {
                    let cause = Cause::own(Reason::ThresholdsChanged);
                    transitions.push(self.enter(Next::HalfOpen, cause, now));
                }
            }
            Phase::HalfOpen(_) | Phase::HalfOpenRestored(_) | Phase::Overridden(_) => {}
        }
        transitions
    }

    /// The state that it is shown in: that of the row, while the store has not answered a change that is not to be shown before
    /// ([`Breaker::is_unconfirmed`] changes that deny are).
    pub fn state(&self) -> State {
        if let Some(own) = self.branch() {
            return own.phase_state();
        }
        self.hidden_behind().map_or_else(|| self.phase_state(), |(row, _)| row.state)
    }

    fn phase_state(&self) -> State {
        match &self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::HalfOpen(_) | Phase::HalfOpenRestored(_) => State::HalfOpen,
            Phase::Overridden(active) => active.set_by.kind.into(),
            Phase::MetricsOnly(_) => State::MetricsOnly,
        }
    }

    /// How many transitions there were.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What it is judged by.
    pub fn thresholds(&self) -> &Arc<Thresholds> {
        &self.thresholds
    }

    /// The revision that its thresholds are of.
    pub fn config_revision(&self) -> u64 {
        self.config_revision
    }

    /// Whether it is in an override of its own, over which that of its service has no power.
    pub fn has_own_override(&self) -> bool {
        self.override_in_force().is_some_and(|active| active.set_by.scope == Scope::Breaker)
    }

    /// Whether it never left the state that it was born in, so that nothing is lost with it.
    pub fn is_pristine(&self) -> bool {
        let inherited =
            || self.override_in_force().is_some_and(|active| active.set_by.scope == Scope::Service);
        self.epoch == 0
            && self.proposed().is_none()
            && (matches!(self.phase, Phase::Closed(_)) || inherited())
    }

    /// Whether nothing but its epoch is lost with it: it is CLOSED, or in the state that it was born in.
    pub fn is_retirable(&self) -> bool {
        self.proposed().is_none() && (matches!(self.phase, Phase::Closed(_)) || self.is_pristine())
    }

    /// `now`, or the last time seen when that is later.
    fn clock(&mut self, now: Time) -> Time {
        self.last_now = self.last_now.max(now);
        self.last_now
    }

    /// The only place where the state changes, and the only one that makes a real [`Transition`].
    fn enter(&mut self, next: Next, cause: Cause, at: Time) -> Transition {
        self.end_branch();
        let from = self.phase_state();
        let base_epoch = self.epoch;
        self.age(at);
        let stats = Stats { reporters: cause.reporters, ..self.stats() };
        self.end_sharing();
        let epoch = base_epoch + 1;
        match self.numbering {
            Numbering::Own => self.epoch = epoch,
            Numbering::Store => self.propose(cause.reason),
        }
        let lasted = Some(at.since(self.entered_at));
        let rejected_calls = std::mem::take(&mut self.rejected_calls);
        self.entered_at = at;
        self.entered_revision = self.config_revision;
        let entered = match next {
            Next::Closed => {
                self.open_count = 0;
                Phase::Closed(Tally::new(&self.thresholds))
            }
            Next::Open { retry_after } => {
                self.open_count = self.open_count.saturating_add(1);
                let retry_after = retry_after.filter(|_| self.thresholds.honor_retry_after());
                let wait = wait(&self.thresholds, self.key_hash, epoch, self.open_count, retry_after);
                Phase::Open(Box::new(Open { wait, retry_after, stats }))
            }
            Next::HalfOpen => Phase::HalfOpen(Box::new(self.half_open(self.half_open_terms()))),
            Next::Override(set_by) => self.overridden(set_by),
        };
        let left = std::mem::replace(&mut self.phase, entered);
        self.keep_probes(left);
        let after = Snapshot { epoch, ..self.phase_snapshot() };
        Transition {
            from,
            reason: cause.reason,
            stats,
            base_epoch,
            at: self.wall.to_wall(at),
            lasted,
            rejected_calls,
            outcome: None,
            attribution: cause.attribution,
            after,
            shadow: false,
        }
    }

    fn overridden(&self, set_by: Arc<ActiveOverride>) -> Phase {
        if set_by.set_by.kind == OverrideKind::MetricsOnly {
            return Phase::MetricsOnly(Box::new(MetricsOnly::new(set_by, &self.thresholds)));
        }
        Phase::Overridden(set_by)
    }

    fn half_open(&self, terms: HalfOpenTerms) -> HalfOpen {
        match self.numbering {
            Numbering::Own => HalfOpen::decided_here(terms),
            Numbering::Store => HalfOpen::decided_by_store(terms),
        }
    }

    /// What half-open is entered with under the present thresholds.
    fn half_open_terms(&self) -> HalfOpenTerms {
        HalfOpenTerms {
            permitted: self.thresholds.permitted(),
            failures_to_open: self.thresholds.failures_to_open(),
            slow_to_open: self.thresholds.slow_to_open(),
            lease: self.thresholds.lease(),
            max_wait: self.thresholds.max_wait_in_half_open(),
            after_max_wait: self.thresholds.after_max_wait(),
        }
    }

    fn override_in_force(&self) -> Option<&ActiveOverride> {
        match &self.phase {
            Phase::Overridden(set_by) => Some(set_by),
            Phase::MetricsOnly(metrics_only) => Some(&metrics_only.set_by),
            _ => None,
        }
    }

    fn stats(&self) -> Stats {
        match &self.phase {
            Phase::Closed(tally) => tally.stats(),
            Phase::MetricsOnly(metrics_only) => metrics_only.tally.stats(),
            Phase::Open(open) => open.stats,
            Phase::HalfOpen(half_open) => half_open.counts().stats(),
            Phase::HalfOpenRestored(_) | Phase::Overridden(_) => Stats::default(),
        }
    }

    /// Lets the present OPEN wait as long as the present thresholds say.
    fn set_wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let wait = self.wait(retry_after);
        if let Phase::Open(open) = &mut self.phase {
            open.wait = wait;
        }
        wait
    }

    /// The wait of the present OPEN under the present thresholds.
    fn wait(&self, retry_after: Option<Duration>) -> Duration {
        // The wait was drawn for the epoch that OPEN has, or, unconfirmed, will have.
        let epoch = self.epoch + u64::from(self.proposed().is_some());
        wait(&self.thresholds, self.key_hash, epoch, self.open_count, retry_after)
    }
}
