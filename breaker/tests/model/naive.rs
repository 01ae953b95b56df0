//! A breaker written once more, from the documents and as simply as can be: it keeps every outcome and every
//! probe in a list, and works everything out from the lists each time it is asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use breaker::{
    AfterMaxWait, HalfOpenTerms, Outcome, Override, Pass, Reason, Recorded, Scope, State, Stats, Thresholds,
    Ticket, Time, Verdict,
};

use crate::counted::Counts;
use crate::rules;
use crate::steps::{OwnedReport, Remote};

#[derive(Debug, Clone)]
pub(crate) struct Naive {
    pub(crate) thresholds: Arc<Thresholds>,
    pub(crate) revision: u64,
    pub(crate) epoch: u64,
    pub(crate) open_count: u32,
    pub(crate) state: State,
    pub(crate) entered_at: Time,
    pub(crate) entered_revision: u64,
    last_now: Time,
    counted: Counts,
    /// OPEN.
    pub(crate) wait: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
    stats_at_opening: Stats,
    /// HALF_OPEN.
    pub(crate) terms: Option<HalfOpenTerms>,
    probes: Vec<Probe>,
    completed: Vec<(bool, bool)>,
    after_restart: bool,
    pub(crate) set_by: Option<Override>,
    /// METRICS_ONLY: the present crossing has been said.
    said: bool,
    /// METRICS_ONLY: the last crossing that was said, and the `retry_after` of it.
    crossing: Option<(Time, Option<Duration>)>,
    /// The override of its service.
    pub(crate) service: Option<Override>,
    reported: HashSet<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    given_at: Time,
    lease_until: Time,
    back: bool,
    done: bool,
}

/// A transition as the model sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) at: Time,
    pub(crate) stats: Stats,
    pub(crate) epoch: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) would_deny: bool,
}

impl Naive {
    pub(crate) fn new(thresholds: Arc<Thresholds>, now: Time) -> Self {
        Self {
            thresholds,
            revision: 0,
            epoch: 0,
            open_count: 0,
            state: State::Closed,
            entered_at: now,
            entered_revision: 0,
            last_now: now,
            counted: Counts::default(),
            wait: None,
            retry_after: None,
            stats_at_opening: Stats::default(),
            terms: None,
            probes: Vec::new(),
            completed: Vec::new(),
            after_restart: false,
            set_by: None,
            said: false,
            crossing: None,
            service: None,
            reported: HashSet::new(),
        }
    }

    /// A time below the last one seen counts as the last one seen.
    pub(crate) fn clock(&mut self, now: Time) -> Time {
        self.last_now = self.last_now.max(now);
        self.last_now
    }

    pub(crate) fn look(&mut self, now: Time) -> Vec<Change> {
        let now = self.clock(now);
        let mut changes = Vec::new();
        if self.after_restart && self.service_at(now).is_none() {
            changes.push(self.enter(State::HalfOpen, Reason::Restart, now, 0));
        }
        loop {
            if self.set_by.is_none() && self.service_at(now).is_some() {
                changes.push(self.take_up(self.service.clone().unwrap(), now));
            }
            let Some(due) = self.deadline().filter(|due| *due <= now) else { break };
            let (to, reason) = match self.state {
                State::Open => (State::HalfOpen, Reason::WaitElapsed),
                State::HalfOpen => match self.terms.unwrap().after_max_wait {
                    AfterMaxWait::Open => (State::Open, Reason::HalfOpenTimeout),
                    AfterMaxWait::Closed => (State::Closed, Reason::HalfOpenTimeout),
                },
                _ => (State::Closed, Reason::OverrideExpired),
            };
            changes.push(self.enter(to, reason, due.max(self.entered_at), 0));
        }
        changes
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Closed => None,
            State::Open => Some(self.entered_at + self.wait.unwrap()),
            State::HalfOpen => Some(self.probes.first()?.given_at + self.terms.unwrap().max_wait?),
            State::ForcedOpen | State::Disabled | State::MetricsOnly => self.set_by.as_ref()?.expires_at,
        }
    }

    pub(crate) fn allow(&mut self, now: Time) -> (Answer, Vec<Change>) {
        let changes = self.look(now);
        let now = self.last_now;
        let (verdict, retry_after) = match self.state {
            State::Closed => (Verdict::Closed, None),
            State::Open => (Verdict::Open, Some((self.entered_at + self.wait.unwrap()).since(now))),
            State::HalfOpen if self.out(now).count() + self.completed.len() < self.permitted() => {
                (Verdict::Probe, None)
            }
            State::HalfOpen => {
                let lease_end = self.next_lease_end(now).map_or(Duration::MAX, |end| end.since(now));
                (Verdict::HalfOpenExhausted, Some(lease_end.min(Duration::from_secs(1))))
            }
            State::ForcedOpen => {
                let expires_at = self.set_by.as_ref().unwrap().expires_at;
                (Verdict::ForcedOpen, expires_at.map(|end| end.since(now)))
            }
            State::Disabled => (Verdict::Disabled, None),
            State::MetricsOnly => (Verdict::MetricsOnly, None),
        };
        let would_deny = self.would_deny(now);
        (Answer { verdict, retry_after, would_deny }, changes)
    }

    /// Whether METRICS_ONLY allows what would be denied, once the time that passed has taken effect.
    pub(crate) fn would_deny(&mut self, now: Time) -> bool {
        let now = self.clock(now);
        self.crossing.is_some_and(|(at, retry_after)| {
            now < at + rules::wait(&self.thresholds, self.epoch + 1, 1, retry_after)
                || self.said && self.counted.trip(&self.thresholds, now).is_some()
        })
    }

    /// The number of the pass that a probe got.
    pub(crate) fn gave(&mut self, pass: Pass) {
        if self.state == State::HalfOpen {
            let lease_until = self.last_now + self.terms.unwrap().lease;
            let probe =
                Probe { number: pass.number, given_at: self.last_now, lease_until, back: false, done: false };
            self.probes.push(probe);
        }
    }

    pub(crate) fn record(
        &mut self,
        ticket: Ticket,
        report: OwnedReport,
        now: Time,
    ) -> (Recorded, Vec<Change>) {
        let mut changes = self.look(now);
        let now = self.last_now;
        let (epoch, pass) = match ticket {
            Ticket::Own(pass) => {
                if !self.reported.insert(pass.number) {
                    return (Recorded::Duplicate, changes);
                }
                (Some(pass.epoch), Some(pass))
            }
            Ticket::Foreign(pass) => (Some(pass.epoch), Some(pass)),
            Ticket::Bare { epoch } => (epoch, None),
        };
        if epoch.is_some_and(|epoch| epoch < self.epoch) {
            return (Recorded::Late, changes);
        }
        if epoch.is_some_and(|epoch| epoch > self.epoch) {
            return (Recorded::NotCounted, changes);
        }
        let recorded = match (self.state, pass) {
            (State::Closed | State::MetricsOnly, _) => {
                if let Some((failed, slow)) = rules::judge(&self.thresholds, report) {
                    let retry_after =
                        report.retry_after.filter(|_| failed && report.outcome == Outcome::Failure);
                    self.before_counting(now);
                    self.counted.push(failed, slow, report.caller, now);
                    changes.extend(self.after_counting(retry_after, now));
                }
                Recorded::Recorded
            }
            (State::HalfOpen, Some(pass)) => self.record_probe(pass.number, report, now, &mut changes),
            _ => Recorded::NotCounted,
        };
        (recorded, changes)
    }

    fn record_probe(
        &mut self,
        number: u64,
        report: OwnedReport,
        now: Time,
        changes: &mut Vec<Change>,
    ) -> Recorded {
        let known = |probe: &&mut Probe| probe.number == number;
        if self.probes.iter_mut().find(known).is_some_and(|probe| probe.done) {
            return Recorded::Duplicate;
        }
        if !self.give_back(number, now) {
            return Recorded::Late;
        }
        let Some((failed, slow)) = rules::judge(&self.thresholds, report) else { return Recorded::Recorded };
        if let Some(probe) = self.probes.iter_mut().find(known) {
            probe.done = true;
        }
        self.completed.push((failed, slow));
        let terms = self.terms.unwrap();
        let failures = self.completed.iter().filter(|(failed, _)| *failed).count();
        let slows = self.completed.iter().filter(|(_, slow)| *slow).count();
        let to_come = self.permitted() - self.completed.len();
        let fail_limit = terms.failures_to_open as usize;
        let slow_limit = terms.slow_to_open.map_or(usize::MAX, |limit| limit as usize);
        if failures >= fail_limit || slows >= slow_limit {
            let reason = if failures >= fail_limit { Reason::ProbesFailed } else { Reason::ProbesSlow };
            self.retry_after = report.retry_after.filter(|_| failed && report.outcome == Outcome::Failure);
            changes.push(self.enter(State::Open, reason, now, 0));
        } else if failures + to_come < fail_limit && slows + to_come < slow_limit {
            changes.push(self.enter(State::Closed, Reason::ProbesSucceeded, now, 0));
        }
        Recorded::Recorded
    }

    pub(crate) fn release(&mut self, number: u64, now: Time) {
        let now = self.clock(now);
        if self.state == State::HalfOpen {
            self.give_back(number, now);
        }
    }

    /// Ends a probe; false when it is not out.
    fn give_back(&mut self, number: u64, now: Time) -> bool {
        let probe = self.probes.iter_mut().find(|probe| probe.number == number);
        match probe {
            Some(probe) if !probe.back && now < probe.lease_until => {
                probe.back = true;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn record_remote(&mut self, remote: Remote, now: Time) -> Vec<Change> {
        let mut changes = self.look(now);
        let now = self.last_now;
        if matches!(self.state, State::Closed | State::MetricsOnly) && remote.number > 0 {
            self.before_counting(now);
            for _ in 0..remote.number {
                self.counted.push(remote.failed, remote.slow, remote.caller, now);
            }
            changes.extend(self.after_counting(None, now));
        }
        changes
    }

    pub(crate) fn set_thresholds(
        &mut self,
        thresholds: &Arc<Thresholds>,
        revision: u64,
        now: Time,
    ) -> Vec<Change> {
        let mut changes = self.look(now);
        let now = self.last_now;
        self.revision = revision;
        let former = std::mem::replace(&mut self.thresholds, Arc::clone(thresholds));
        if former == *thresholds {
            return changes;
        }
        if self.state == State::Open {
            self.wait = Some(rules::wait(&self.thresholds, self.epoch, self.open_count, self.retry_after));
            if now >= self.entered_at + self.wait.unwrap() {
                changes.push(self.enter(State::HalfOpen, Reason::ThresholdsChanged, now, 0));
            }
        }
        self.counted.change(&former, thresholds);
        changes
    }

    pub(crate) fn set_override(&mut self, set_by: Override, now: Time) -> Vec<Change> {
        let mut changes = self.look(now);
        if self.set_by.as_ref() != Some(&set_by) {
            changes.push(self.take_up(set_by, self.last_now));
        }
        changes
    }

    pub(crate) fn set_service_override(&mut self, service: Option<Override>, now: Time) -> Vec<Change> {
        let mut changes = self.look(now);
        self.service = service;
        if !self.has(Scope::Breaker) {
            let present = self.service_at(self.last_now);
            if let Some(service) = present.clone().filter(|_| present != self.set_by) {
                changes.push(self.take_up(service, self.last_now));
            } else if present.is_none() && self.set_by.is_some() {
                changes.push(self.enter(State::Closed, Reason::OverrideCleared, self.last_now, 0));
            }
        }
        changes
    }

    fn take_up(&mut self, set_by: Override, now: Time) -> Change {
        let change = self.enter(set_by.kind.into(), Reason::OverrideSet, now, 0);
        self.set_by = Some(set_by);
        change
    }

    fn service_at(&self, now: Time) -> Option<Override> {
        self.service.clone().filter(|service| service.expires_at.is_none_or(|end| now < end))
    }

    fn has(&self, scope: Scope) -> bool {
        self.set_by.as_ref().is_some_and(|set_by| set_by.scope == scope)
    }

    pub(crate) fn clear_override(&mut self, now: Time) -> (bool, Vec<Change>) {
        let mut changes = self.look(now);
        let set = self.has(Scope::Breaker);
        if set {
            changes.push(self.enter(State::Closed, Reason::OverrideCleared, self.last_now, 0));
            changes.extend(self.look(now));
        }
        (set, changes)
    }

    pub(crate) fn reset(&mut self, now: Time) -> (bool, Vec<Change>) {
        let mut changes = self.look(now);
        let may = self.service_at(self.last_now).is_none() && !self.has(Scope::Service);
        if may {
            changes.push(self.enter(State::Closed, Reason::Reset, self.last_now, 0));
        }
        (may, changes)
    }

    pub(crate) fn close_idle(&mut self, idle: Duration, now: Time) -> Vec<Change> {
        let mut changes = self.look(now);
        let out = self.probes_out(self.last_now);
        if self.state == State::HalfOpen && out == 0 && self.last_now.since(self.entered_at) >= idle {
            changes.push(self.enter(State::Closed, Reason::Idle, self.last_now, 0));
        }
        changes
    }

    pub(crate) fn probe(&mut self, now: Time) -> (bool, Vec<Change>) {
        let mut changes = self.look(now);
        let open = self.state == State::Open;
        if open {
            changes.push(self.enter(State::HalfOpen, Reason::ProbeRequested, self.last_now, 0));
        }
        (open, changes)
    }

    /// The next life knows the state and nothing that was counted in it; its clock may be another.
    pub(crate) fn restart(&mut self, now: Time) {
        self.last_now = now;
        self.entered_at = self.entered_at.min(now);
        self.counted = Counts::default();
        self.probes.clear();
        self.completed.clear();
        self.reported.clear();
        (self.said, self.crossing) = (false, None);
        self.stats_at_opening = Stats::default();
        self.after_restart = self.state == State::HalfOpen;
        // Born again: into its service's override, be it one that had ended by a clock that went back since.
        if self.epoch == 0
            && self.state == State::Closed
            && let Some(service) = self.service_at(now)
        {
            self.state = service.kind.into();
            self.set_by = Some(service);
        }
    }

    fn enter(&mut self, to: State, reason: Reason, at: Time, reporters: u32) -> Change {
        let from = self.state;
        let stats = Stats { reporters, ..self.stats(at) };
        self.state = to;
        self.epoch += 1;
        self.entered_at = at;
        self.entered_revision = self.revision;
        self.counted = Counts::default();
        self.probes.clear();
        self.completed.clear();
        (self.set_by, self.said, self.crossing, self.after_restart) = (None, false, None, false);
        let retry_after = self.retry_after.take();
        (self.wait, self.terms) = (None, None);
        match to {
            State::Closed => self.open_count = 0,
            State::Open => {
                self.open_count += 1;
                self.retry_after = retry_after.filter(|_| self.thresholds.honor_retry_after());
                self.stats_at_opening = stats;
                self.wait =
                    Some(rules::wait(&self.thresholds, self.epoch, self.open_count, self.retry_after));
            }
            State::HalfOpen => self.terms = Some(rules::half_open_terms(&self.thresholds)),
            State::ForcedOpen | State::Disabled | State::MetricsOnly => {}
        }
        Change { from, to, reason, at, stats, epoch: Some(self.epoch) }
    }

    fn before_counting(&mut self, now: Time) {
        self.said &= self.counted.trip(&self.thresholds, now).is_some();
    }

    fn after_counting(&mut self, retry_after: Option<Duration>, now: Time) -> Option<Change> {
        let reason = self.counted.trip(&self.thresholds, now)?;
        let reporters = match self.thresholds.minimum_reporters() {
            1 => 0,
            needed => needed,
        };
        if self.state == State::Closed {
            self.retry_after = retry_after;
            return Some(self.enter(State::Open, reason, now, reporters));
        }
        if std::mem::replace(&mut self.said, true) {
            return None;
        }
        self.crossing = Some((now, retry_after));
        let stats = Stats { reporters, ..self.stats(now) };
        Some(Change { from: State::MetricsOnly, to: State::Open, reason, at: now, stats, epoch: None })
    }

    pub(crate) fn stats(&self, now: Time) -> Stats {
        match self.state {
            State::Closed | State::MetricsOnly => self.counted.stats(&self.thresholds, now),
            State::Open => self.stats_at_opening,
            State::HalfOpen => {
                let all: Vec<_> = self.completed.iter().map(|(failed, _)| *failed).collect();
                rules::stats(&self.completed, &all)
            }
            State::ForcedOpen | State::Disabled => Stats::default(),
        }
    }

    pub(crate) fn probes_out(&self, now: Time) -> usize {
        self.out(now).count()
    }

    pub(crate) fn next_lease_end(&self, now: Time) -> Option<Time> {
        self.out(now).map(|probe| probe.lease_until).min()
    }

    fn out(&self, now: Time) -> impl Iterator<Item = &Probe> {
        self.probes.iter().filter(move |probe| !probe.back && now < probe.lease_until)
    }

    fn permitted(&self) -> usize {
        self.terms.unwrap().permitted as usize
    }
}
