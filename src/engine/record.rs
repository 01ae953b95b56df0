//! How calls went: what the engine is told of them, with permits and without, and what became of it.

use std::time::Duration;

use breaker::{Judged, Key, Recorded, Report, RunRecorded, State, Ticket, Time};

use super::Engine;
use super::counters::LocalTotals;
use super::durations::RunDurations;
use super::entry::{Entry, Inner};
use super::limits::EngineError;
use super::permit::{Permit, PermitKind};
use super::registry::Known;
use super::shares::Creator;
use super::tombstones::Tombstone;
use crate::protocol_rules::{Rule, holds};

/// What an outcome is reported for: a permit, or a breaker.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The permit, opened.
    pub permit: Option<Permit>,
    /// The service; may be empty beside a permit.
    pub service: &'a str,
    /// The name; empty: the service's own.
    pub name: &'a str,
    /// The epoch the call was decided in, if known.
    pub epoch: Option<u64>,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordResult {
    /// Whether it counted.
    pub recorded: Recorded,
    /// The state after it.
    pub state: State,
    /// The number of that state.
    pub epoch: u64,
    /// How long that state lasts at least: OPEN until the end of its wait, an override until it expires. None: no end is set.
    pub remaining: Option<Duration>,
}

/// How many calls went alike: a run of outcomes without permits.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The epoch they were decided in, if known.
    pub epoch: Option<u64>,
    /// How each of them went; its duration stands for none of them.
    pub report: Report<'a>,
    /// Whether each took longer than the service's `slow_call_duration_threshold`.
    pub slow: bool,
    /// How many there are.
    pub count: u32,
    /// How long they took, if that is known.
    pub durations: Option<RunDurations<'a>>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunResult {
    /// How many of it counted.
    pub recorded: RunRecorded,
    /// The breaker after it, and whether any of it counted.
    pub after: RecordResult,
}

impl Engine {
    /// How a call went. As [`Engine::record_for`], on behalf of nobody.
    ///
    /// # Errors
    /// [`EngineError`], each of them.
    pub fn record(
        &self,
        target: Target<'_>,
        report: &Report<'_>,
        now: Time,
    ) -> Result<RecordResult, EngineError> {
        self.record_for(Creator::Server, target, report, now)
    }

    /// How a call went. A breaker that is named and not known is created, and counts for `creator` then; one that is
    /// known only by a permit cannot be, and nothing is counted.
    ///
    /// # Errors
    /// [`EngineError`], each of them.
    pub fn record_for(
        &self,
        creator: Creator<'_>,
        target: Target<'_>,
        report: &Report<'_>,
        now: Time,
    ) -> Result<RecordResult, EngineError> {
        let Target { permit, service, name, epoch } = target;
        let owner = || self.owner(service, creator);
        let Some(permit) = permit else {
            let id = self.seals.key_id(service, name);
            return self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
                self.take_bare(entry, inner, epoch, report, now)
            });
        };
        self.check_target(&target)?;
        let record = |entry: &Entry, inner: &mut Inner| {
            if permit.timeline != self.timeline_of(&inner.breaker)
                // What another replica, or another life of this one, gave alone.
                || (permit.branch != 0 && permit.issuer != self.issuer && holds(Rule::BranchOutcomesStay))
                || permit.has_expired(now)
            {
                inner.counters.late += 1;
                return self.result(inner, Recorded::Late, now);
            }
            if permit.kind == PermitKind::Untracked {
                return self.result(inner, Recorded::NotCounted, now);
            }
            if permit.issuer == self.issuer {
                return self.take(entry, inner, (Ticket::Own(permit.pass), permit.branch), report, now);
            }
            self.take_foreign(entry, inner, &permit, report, now)
        };
        if service.is_empty() {
            loop {
                let (recorded, epoch) = match self.registry.known(permit.key) {
                    Some(Known::Live(entry)) => match entry.lock() {
                        Some(mut inner) => return Ok(record(&entry, &mut inner)),
                        None => continue,
                    },
                    Some(Known::Retired(Tombstone { epoch, .. }))
                        if epoch > permit.pass.epoch || permit.branch != 0 =>
                    {
                        (Recorded::Late, epoch)
                    }
                    // Not used since: it is closed, and without its name it cannot be created.
                    Some(Known::Retired(tombstone)) => (Recorded::NotCounted, tombstone.epoch),
                    None if permit.branch != 0 => (Recorded::Late, 0),
                    None => (Recorded::NotCounted, 0),
                };
                let state = self.shown(State::Closed);
                return Ok(RecordResult { recorded, state, epoch, remaining: None });
            }
        }
        self.registry.with_breaker(permit.key, service, name, owner, now, record)
    }

    /// Whether a permit is for the breaker and the epoch that are named beside it.
    pub(super) fn check_target(&self, target: &Target<'_>) -> Result<(), EngineError> {
        let Target { permit: Some(permit), service, name, epoch } = *target else { return Ok(()) };
        if !service.is_empty() || !name.is_empty() {
            Key::new(service, name)?;
            if self.seals.key_id(service, name) != permit.key {
                return Err(EngineError::OtherBreaker { service: service.into(), name: name.into() });
            }
        }
        match epoch.filter(|given| *given != permit.pass.epoch) {
            Some(given) => Err(EngineError::OtherEpoch { permit: permit.pass.epoch, given }),
            None => Ok(()),
        }
    }

    /// How many calls went alike. A breaker that is not known is created, and counts for `creator` then.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn record_run_for(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        run: &Run<'_>,
        now: Time,
    ) -> Result<RunResult, EngineError> {
        let id = self.seals.key_id(service, name);
        let owner = || self.owner(service, creator);
        self.registry
            .with_breaker(id, service, name, owner, now, |entry, inner| self.take_run(entry, inner, run, now))
    }

    /// Adds what a client decided by itself to the counters of a breaker. Nothing of it is judged. A breaker that is not known is
    /// created, and counts for `creator` then.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn add_local_totals_for(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        totals: &LocalTotals,
        now: Time,
    ) -> Result<(), EngineError> {
        let id = self.seals.key_id(service, name);
        let owner = || self.owner(service, creator);
        self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            inner.used(now);
            // While breakerd is disabled it leaves the machine alone; the client decided all the same.
            if self.is_enabled() {
                self.look(entry, inner, now);
                let rejected = totals.rejected_in(inner.breaker.state());
                inner.breaker.note_rejected(rejected);
            }
            inner.counters.add_local(totals);
        })
    }

    fn take_run(&self, entry: &Entry, inner: &mut Inner, run: &Run<'_>, now: Time) -> RunResult {
        // Longer than any threshold, where there is one: who reports has compared it already.
        let report = Report { duration: run.slow.then_some(Duration::MAX), ..run.report };
        let (result, judged) = self.take_alike(entry, inner, run.epoch, &report, run.count, now);
        if judged != Judged::Ignored
            && result.recorded.recorded > 0
            && let Some(durations) = run.durations
        {
            entry.durations.observe_run(durations);
        }
        result
    }

    /// An outcome without a permit.
    fn take_bare(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        epoch: Option<u64>,
        report: &Report<'_>,
        now: Time,
    ) -> RecordResult {
        let (result, judged) = self.take_alike(entry, inner, epoch, report, 1, now);
        if judged != Judged::Ignored
            && result.recorded.recorded > 0
            && let Some(took) = report.duration
        {
            entry.durations.observe(took);
        }
        result.after
    }

    /// `count` outcomes alike, without permits, and what each was judged to be.
    fn take_alike(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        epoch: Option<u64>,
        report: &Report<'_>,
        count: u32,
        now: Time,
    ) -> (RunResult, Judged) {
        inner.used(now);
        self.sync_wall(inner);
        let judged = inner.breaker.thresholds().judge(report);
        if !self.is_enabled() {
            let recorded = RunRecorded { not_counted: count, ..RunRecorded::default() };
            return (RunResult { recorded, after: self.result(inner, Recorded::NotCounted, now) }, judged);
        }
        let (recorded, transitions) = inner.breaker.record_run(epoch, report, count, now);
        inner.counters.run_recorded(recorded, judged);
        self.settle(entry, inner, &transitions);
        let any = match recorded {
            RunRecorded { recorded: 1.., .. } => Recorded::Recorded,
            RunRecorded { late: 1.., .. } => Recorded::Late,
            _ => Recorded::NotCounted,
        };
        (RunResult { recorded, after: self.result(inner, any, now) }, judged)
    }

    /// What became of an outcome, and what its breaker is now.
    fn result(&self, inner: &Inner, recorded: Recorded, now: Time) -> RecordResult {
        let breaker = &inner.breaker;
        let state = self.shown(breaker.state());
        let ends = self.is_enabled() && !matches!(state, State::Closed | State::HalfOpen);
        let remaining = breaker.next_deadline().filter(|_| ends).map(|deadline| deadline.since(now));
        RecordResult { recorded, state, epoch: breaker.epoch(), remaining }
    }

    /// Gives a probe back unused.
    pub fn release(&self, permit: &Permit, now: Time) {
        if let Some(probe) = permit.pass.probe {
            self.registry.with_known(permit.key, |entry, inner| {
                inner.breaker.release(probe, now);
                self.arm(entry, inner);
                self.note_requests(entry, inner);
            });
        }
    }

    /// An outcome under a permit of another issuer, which its breaker cannot tell from a repeat.
    fn take_foreign(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        permit: &Permit,
        report: &Report<'_>,
        now: Time,
    ) -> RecordResult {
        // What is not recorded is not noted either: sent again, it is not recorded again.
        if !self.is_enabled() || self.reported.note(permit, now) {
            return self.take(entry, inner, (Ticket::Foreign(permit.pass), 0), report, now);
        }
        inner.last_used = now;
        self.look(entry, inner, now);
        inner.counters.recorded(Recorded::Duplicate, inner.breaker.thresholds().judge(report));
        self.result(inner, Recorded::Duplicate, now)
    }

    fn take(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        (ticket, branch): (Ticket, u32),
        report: &Report<'_>,
        now: Time,
    ) -> RecordResult {
        inner.used(now);
        self.sync_wall(inner);
        if !self.is_enabled() {
            return self.result(inner, Recorded::NotCounted, now);
        }
        let judged = inner.breaker.thresholds().judge(report);
        let (recorded, transitions) = match ticket {
            Ticket::Own(pass) if branch != 0 => inner.breaker.record_on_branch(branch, pass, report, now),
            ticket => inner.breaker.record(ticket, report, now),
        };
        inner.counters.recorded(recorded, judged);
        if recorded == Recorded::Recorded
            && judged != Judged::Ignored
            && let Some(took) = report.duration
        {
            entry.durations.observe(took);
        }
        self.settle(entry, inner, &transitions);
        self.result(inner, recorded, now)
    }
}
