//! Calls: what the engine is asked and told of them, and what it answers.

use breaker::{Decision, Judged, Key, Pass, Recorded, Report, State, Ticket, Time, Verdict};

use super::Engine;
use super::entry::{Entry, Inner};
use super::limits::EngineError;
use super::permit::{Permit, PermitKind};
use super::registry::Known;
use super::shares::Creator;

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// What the machine decided.
    pub decision: Decision,
    /// What the call carries, if it may go ahead.
    pub permit: Option<Permit>,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

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
}

impl Engine {
    /// May a call go ahead? As [`Engine::allow_for`], on behalf of nobody.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow(&self, service: &str, name: &str, now: Time) -> Result<Allowed, EngineError> {
        self.allow_for(Creator::Server, service, name, now)
    }

    /// May a call go ahead? The breaker is created at its first use, and counts for `creator` then.
    ///
    /// # Errors
    /// [`EngineError::Key`], [`EngineError::Full`].
    pub fn allow_for(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        now: Time,
    ) -> Result<Allowed, EngineError> {
        let id = self.seals.key_id(service, name);
        let owner = || self.owner(service, creator);
        self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            inner.used(now);
            self.sync_wall(inner);
            if !self.is_enabled() {
                return self.allow_untracked(entry, inner, now);
            }
            let (decision, transitions) = inner.breaker.allow(now);
            inner.counters.decided(&decision);
            self.settle(entry, inner, &transitions);
            let permit = decision.pass.map(|pass| self.permit(entry, inner, pass, now));
            Allowed { decision, permit, config_revision: inner.breaker.config_revision() }
        })
    }

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
            let ticket = Ticket::Bare { epoch };
            return self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
                self.take(entry, inner, ticket, report, now)
            });
        };
        if !service.is_empty() || !name.is_empty() {
            Key::new(service, name)?;
            if self.seals.key_id(service, name) != permit.key {
                return Err(EngineError::OtherBreaker { service: service.into(), name: name.into() });
            }
        }
        if let Some(given) = epoch
            && given != permit.pass.epoch
        {
            return Err(EngineError::OtherEpoch { permit: permit.pass.epoch, given });
        }
        let record = |entry: &Entry, inner: &mut Inner| {
            if permit.timeline != self.timeline || permit.branch != 0 || permit.has_expired(now) {
                inner.counters.late += 1;
                return RecordResult { recorded: Recorded::Late, state: self.shown(inner.breaker.state()) };
            }
            if permit.kind == PermitKind::Untracked {
                return RecordResult {
                    recorded: Recorded::NotCounted,
                    state: self.shown(inner.breaker.state()),
                };
            }
            if permit.issuer == self.issuer {
                return self.take(entry, inner, Ticket::Own(permit.pass), report, now);
            }
            self.take_foreign(entry, inner, &permit, report, now)
        };
        if service.is_empty() {
            loop {
                let recorded = match self.registry.known(permit.key) {
                    Some(Known::Live(entry)) => match entry.lock() {
                        Some(mut inner) => return Ok(record(&entry, &mut inner)),
                        None => continue,
                    },
                    Some(Known::Retired(tombstone)) if tombstone.epoch > permit.pass.epoch => Recorded::Late,
                    // Not used since: it is closed, and without its name it cannot be created.
                    _ => Recorded::NotCounted,
                };
                return Ok(RecordResult { recorded, state: self.shown(State::Closed) });
            }
        }
        self.registry.with_breaker(permit.key, service, name, owner, now, record)
    }

    /// Gives a probe back unused.
    pub fn release(&self, permit: &Permit, now: Time) {
        if let Some(probe) = permit.pass.probe {
            self.registry.with_known(permit.key, |_, inner| inner.breaker.release(probe, now));
        }
    }

    /// The answer while breakerd is disabled as a whole: yes, and nothing will be recorded of it.
    fn allow_untracked(&self, entry: &Entry, inner: &Inner, now: Time) -> Allowed {
        let epoch = inner.breaker.epoch();
        let pass = Pass { epoch, number: 0, probe: None };
        let permit = Permit { kind: PermitKind::Untracked, ..self.permit(entry, inner, pass, now) };
        let decision = Decision {
            verdict: Verdict::Disabled,
            state: State::Disabled,
            epoch,
            pass: Some(pass),
            retry_after: None,
            would_deny: false,
        };
        Allowed { decision, permit: Some(permit), config_revision: permit.config_revision }
    }

    fn permit(&self, entry: &Entry, inner: &Inner, pass: Pass, now: Time) -> Permit {
        Permit {
            timeline: self.timeline,
            key: entry.id,
            branch: 0,
            kind: PermitKind::Tracked,
            pass,
            issuer: self.issuer,
            issued_at: now,
            config_revision: inner.breaker.config_revision(),
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
            return self.take(entry, inner, Ticket::Foreign(permit.pass), report, now);
        }
        inner.last_used = now;
        self.look(entry, inner, now);
        inner.counters.recorded(Recorded::Duplicate, inner.breaker.thresholds().judge(report));
        RecordResult { recorded: Recorded::Duplicate, state: inner.breaker.state() }
    }

    fn take(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        ticket: Ticket,
        report: &Report<'_>,
        now: Time,
    ) -> RecordResult {
        inner.used(now);
        self.sync_wall(inner);
        if !self.is_enabled() {
            return RecordResult { recorded: Recorded::NotCounted, state: State::Disabled };
        }
        let judged = inner.breaker.thresholds().judge(report);
        let (recorded, transitions) = inner.breaker.record(ticket, report, now);
        inner.counters.recorded(recorded, judged);
        if recorded == Recorded::Recorded
            && judged != Judged::Ignored
            && let Some(took) = report.duration
        {
            entry.durations.observe(took);
        }
        self.settle(entry, inner, &transitions);
        RecordResult { recorded, state: inner.breaker.state() }
    }
}
