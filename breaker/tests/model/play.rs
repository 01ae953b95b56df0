//! Plays a story to the machine and to the model, and compares everything after every step.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    ActiveOverride, Attribution, Breaker, Identity, Numbering, Override, OverrideKind, Pass, Reason,
    Recorded, RunRecorded, Scope, Snapshot, State, Thresholds, Ticket, Time, Transition, WallOffset,
    WindowKind,
};

use crate::naive::{Change, Naive};
use crate::rules::KEY_HASH;
use crate::settings::Settings;
use crate::steps::{OwnedReport, Step, What, When};

pub(crate) struct Play {
    breaker: Breaker,
    model: Naive,
    identity: Identity,
    now: Time,
    revision: u64,
    /// Every pass given, and the life that gave it.
    passes: Vec<(Pass, u64)>,
}

impl Play {
    pub(crate) fn begin(settings: &Settings, now: Time) -> Self {
        let identity = Identity {
            key_hash: KEY_HASH,
            salt: 0,
            first_number: 1,
            numbering: Numbering::Own,
            stagger: Duration::ZERO,
            wall: WallOffset::ZERO,
        };
        let thresholds = settings.thresholds();
        let breaker = Breaker::new(Arc::clone(&thresholds), 0, identity, now);
        let model = Naive::new(thresholds, now);
        Self { breaker, model, identity, now, revision: 0, passes: Vec::new() }
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// The last time that the machine saw.
    pub(crate) fn now(&self) -> Time {
        self.model.clone().clock(self.now)
    }

    pub(crate) fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        self.now = self.time_of(step.when);
        let epoch = self.breaker.epoch();
        match &step.what {
            What::Allow => {
                self.allow();
            }
            What::Call(report) => {
                if let Some(pass) = self.allow() {
                    self.record(Ticket::Own(pass), *report);
                }
            }
            What::Report { which, foreign, report } => {
                if let Some((pass, life)) = pick(*which, &self.passes) {
                    let own = *life == self.identity.salt && !foreign;
                    self.record(if own { Ticket::Own(*pass) } else { Ticket::Foreign(*pass) }, *report);
                }
            }
            What::ReportNewest(report) => {
                if let Some((pass, life)) = self.passes.last().copied() {
                    let own = life == self.identity.salt;
                    self.record(if own { Ticket::Own(pass) } else { Ticket::Foreign(pass) }, *report);
                }
            }
            What::Bare { epoch, report } => {
                let epoch = epoch.map(|offset| self.breaker.epoch().saturating_add_signed(offset));
                self.record(Ticket::Bare { epoch }, *report);
            }
            What::Run { epoch, report, count } => {
                let epoch = epoch.map(|offset| self.breaker.epoch().saturating_add_signed(offset));
                self.record_run(epoch, *report, *count);
            }
            What::Release { which } => {
                if let Some((pass, _)) = pick(*which, &self.passes)
                    && let Some(probe) = pass.probe
                {
                    self.breaker.release(probe, self.now);
                    self.model.release(pass.number, self.now);
                }
            }
            What::Poll => {
                let (transitions, changes) = (self.breaker.poll(self.now), self.model.look(self.now));
                self.compare(&transitions, &changes, epoch);
            }
            What::Change(settings) => self.change(settings),
            What::ChangeToTheSame => self.set_thresholds(&Arc::new((**self.breaker.thresholds()).clone())),
            What::Override { kind, expires_after_ms } => {
                let set_by = self.set_by(*kind, Scope::Breaker, *expires_after_ms);
                let transitions = self.breaker.set_override(set_by.clone(), self.now);
                let changes = self.model.set_override(set_by, self.now);
                self.compare(&transitions, &changes, epoch);
            }
            What::Service(set) => {
                let service = set.map(|(kind, ms)| self.set_by(kind, Scope::Service, ms));
                let shared = self.active(service.clone());
                let transitions = self.breaker.set_service_override(shared, &ann(), self.now);
                let changes = self.model.set_service_override(service, self.now);
                self.compare(&transitions, &changes, epoch);
            }
            What::Clear => {
                let (cleared, transitions) = self.breaker.clear_override(ann(), self.now);
                let (expected, changes) = self.model.clear_override(self.now);
                assert_eq!(cleared.is_ok(), expected);
                self.compare(&transitions, &changes, epoch);
            }
            What::Reset => {
                let (reset, transitions) = self.breaker.reset(ann(), self.now);
                let (expected, changes) = self.model.reset(self.now);
                assert_eq!(reset.is_ok(), expected);
                self.compare(&transitions, &changes, epoch);
            }
            What::CloseIdle { after_ms } => {
                let idle = Duration::from_millis(*after_ms);
                let transitions = self.breaker.close_idle(idle, self.now);
                let changes = self.model.close_idle(idle, self.now);
                self.compare(&transitions, &changes, epoch);
            }
            What::Probe => {
                let (probed, transitions) = self.breaker.probe(ann(), self.now);
                let (expected, changes) = self.model.probe(self.now);
                assert_eq!(probed.is_ok(), expected);
                self.compare(&transitions, &changes, epoch);
            }
            What::Restart => self.restart(),
            What::Remote(remote) => {
                let transitions = self.breaker.record_remote(&remote.deltas(), self.now);
                let changes = self.model.record_remote(*remote, self.now);
                self.compare(&transitions, &changes, epoch);
            }
        }
        self.compare_states();
        self.check_the_deadline();
    }

    fn set_by(&self, kind: OverrideKind, scope: Scope, expires_after_ms: Option<i64>) -> Override {
        let end = |ms: i64| Time::from_micros(self.now.as_micros().saturating_add_signed(ms * 1_000));
        let expires_at = expires_after_ms.map(end);
        Override { kind, scope, expires_at, ttl: None, actor: "ann".into(), reason: String::new() }
    }

    fn active(&self, service: Option<Override>) -> Option<Arc<ActiveOverride>> {
        service.map(|service| Arc::new(ActiveOverride::new(service, self.identity.wall, self.now)))
    }

    fn time_of(&self, when: When) -> Time {
        let beside = |time: Option<Time>, beside: i64| {
            let micros = time.unwrap_or(self.now).as_micros().saturating_add_signed(beside);
            Time::from_micros(micros)
        };
        match when {
            When::AtOnce => self.now,
            When::After { micros } => self.now + Duration::from_micros(micros),
            When::Before { micros } => self.now - Duration::from_micros(micros),
            When::Deadline { beside: micros } => beside(self.breaker.next_deadline(), micros),
            When::Lease { beside: micros } => beside(self.model.next_lease_end(self.now), micros),
        }
    }

    fn allow(&mut self) -> Option<Pass> {
        let epoch = self.breaker.epoch();
        let (decision, transitions) = self.breaker.allow(self.now);
        let (answer, changes) = self.model.allow(self.now);
        self.compare(&transitions, &changes, epoch);
        assert_eq!(decision.verdict, answer.verdict);
        assert_eq!(decision.retry_after, answer.retry_after);
        assert_eq!(decision.would_deny, answer.would_deny);
        assert_eq!(decision.state, self.model.state);
        assert_eq!(decision.epoch, self.model.epoch);
        assert_eq!(decision.pass.is_some(), decision.verdict.allows());
        let pass = decision.pass?;
        assert_eq!(pass.epoch, self.model.epoch);
        assert_eq!(pass.probe.is_some(), self.model.state == State::HalfOpen);
        assert!(self.passes.iter().all(|(given, _)| given.number != pass.number), "a number is given once");
        self.passes.push((pass, self.identity.salt));
        self.model.gave(pass);
        Some(pass)
    }

    /// The model knows no runs: it is told of one call after the other.
    fn record_run(&mut self, epoch: Option<u64>, report: OwnedReport, count: u32) {
        let before = self.breaker.epoch();
        let (recorded, transitions) = self.breaker.record_run(epoch, &report.as_report(), count, self.now);
        let (mut expected, mut changes) = (RunRecorded::default(), self.model.look(self.now));
        for _ in 0..count {
            let would_deny = self.model.would_deny(self.now);
            let (recorded, more) = self.model.record(Ticket::Bare { epoch }, report, self.now);
            changes.extend(more);
            *match recorded {
                Recorded::Recorded => &mut expected.recorded,
                Recorded::Late => &mut expected.late,
                Recorded::NotCounted => &mut expected.not_counted,
                Recorded::Duplicate => panic!("what has no permit is no repeat"),
            } += 1;
            expected.would_be_denied += u32::from(would_deny && recorded == Recorded::Recorded);
        }
        assert_eq!(recorded, expected);
        self.compare(&transitions, &changes, before);
    }

    fn record(&mut self, ticket: Ticket, report: OwnedReport) {
        let before = polled(&self.breaker, self.now);
        let epoch = self.breaker.epoch();
        let (recorded, transitions) = self.breaker.record(ticket, &report.as_report(), self.now);
        let (expected, changes) = self.model.record(ticket, report, self.now);
        assert_eq!(recorded, expected);
        self.compare(&transitions, &changes, epoch);
        if recorded != Recorded::Recorded {
            let (before, after) = (before.view(self.now), polled(&self.breaker, self.now).view(self.now));
            assert_eq!(before, after, "what is {recorded} changes nothing");
        }
    }

    /// A window of time keeps its size: what another size keeps may hang on the slices.
    fn change(&mut self, settings: &Settings) {
        let (old, mut new) = (Arc::clone(self.breaker.thresholds()), settings.thresholds());
        if old.window_kind() == WindowKind::Time && new.window_kind() == WindowKind::Time {
            new = settings.clone().with_window_size(old.window_size()).thresholds();
        }
        self.set_thresholds(&new);
    }

    fn set_thresholds(&mut self, thresholds: &Arc<Thresholds>) {
        let epoch = self.breaker.epoch();
        self.revision += 1;
        let transitions = self.breaker.set_thresholds(Arc::clone(thresholds), self.revision, self.now);
        let changes = self.model.set_thresholds(thresholds, self.revision, self.now);
        self.compare(&transitions, &changes, epoch);
        assert_eq!(self.breaker.config_revision(), self.revision);
    }

    fn restart(&mut self) {
        self.identity.salt += 1;
        self.identity.first_number += 1_000_000;
        let thresholds = Arc::clone(self.breaker.thresholds());
        let snapshot = self.breaker.snapshot();
        self.breaker = Breaker::restore(thresholds, self.revision, self.identity, snapshot.clone(), self.now);
        self.breaker.inherit(self.active(self.model.service.clone()), self.now);
        self.model.restart(self.now);
        let restored = self.breaker.snapshot();
        let mut expected = Snapshot { entered_at: restored.entered_at, ..snapshot };
        // Nothing is kept of a breaker that never left its first state: it is born again, and with a clock that went
        // back into an override that had ended.
        if expected.epoch == 0 {
            expected = Snapshot { state: restored.state, set_by: restored.set_by.clone(), ..expected };
            let is_born_so = match &restored.set_by {
                Some(set_by) => set_by.scope == Scope::Service,
                None => restored.state == State::Closed,
            };
            assert!(is_born_so, "{restored:?}");
        }
        assert_eq!(restored, expected, "starting writes no state");
    }

    /// Transitions as the model expects them; each real one counts one up and goes along an edge there is.
    fn compare(&mut self, transitions: &[Transition], changes: &[Change], epoch: u64) {
        let found: Vec<Change> = transitions
            .iter()
            .map(|transition| Change {
                from: transition.from,
                to: transition.to(),
                reason: transition.reason,
                at: transition.at,
                stats: transition.stats,
                epoch: transition.epoch(),
            })
            .collect();
        assert_eq!(found, changes);
        let mut last = epoch;
        for transition in transitions {
            assert_eq!(transition.base_epoch, last);
            if transition.shadow {
                assert_eq!(transition.from, State::MetricsOnly);
                assert_eq!(transition.after.epoch, last);
            } else {
                last += 1;
                assert_eq!(transition.epoch(), Some(last));
                assert_eq!(transition.after.entered_at, transition.at);
                assert!(legal(transition), "{transition:?}");
            }
        }
        assert_eq!(self.breaker.epoch(), last);
        if let Some(newest) = transitions.iter().rfind(|transition| !transition.shadow) {
            // A change of thresholds may have lengthened the wait of an OPEN that it found.
            let present = Snapshot { wait: newest.after.wait, ..self.breaker.snapshot() };
            assert_eq!(newest.after, present, "what is kept is what is");
        }
    }

    fn compare_states(&mut self) {
        let (kept, model) = (self.breaker.snapshot(), &self.model);
        let expected = Snapshot {
            epoch: model.epoch,
            state: model.state,
            open_count: model.open_count,
            entered_at: model.entered_at,
            wait: model.wait,
            retry_after: model.retry_after,
            set_by: model.set_by.clone(),
            half_open: model.terms,
            config_revision: model.entered_revision,
        };
        assert_eq!(kept, expected);
        assert_eq!(self.breaker.next_deadline(), model.deadline());
        assert_eq!(self.breaker.is_pristine(), model.epoch == 0);

        // What it looks like after a look at this moment, without looking.
        let (mut looked, mut model) = (self.breaker.clone(), self.model.clone());
        looked.poll(self.now);
        model.look(self.now);
        let (now, view) = (model.clock(self.now), looked.view(self.now));
        assert_eq!(view.stats, model.stats(now));
        let judged = matches!(view.snapshot.state, State::Closed | State::MetricsOnly)
            && view.stats.calls >= looked.thresholds().minimum_calls();
        assert_eq!(view.rates_judged, judged);
        assert_eq!(view.probes_out as usize, model.probes_out(now));
        if let Some(terms) = view.snapshot.half_open {
            assert!(view.probes_out + view.stats.calls <= terms.permitted, "{view:?}");
        }
    }

    /// Just before the deadline nothing happens, and at it something does.
    fn check_the_deadline(&self) {
        let Some(deadline) = self.breaker.next_deadline() else { return };
        // An override of its service that it has not taken up yet is no matter of time: whoever looks first sees it.
        let looked = self.breaker.clone().poll(self.now);
        if looked.iter().any(|transition| transition.reason == Reason::OverrideSet) {
            return;
        }
        let just_before = deadline - Duration::from_micros(1);
        if just_before > self.now && just_before >= self.breaker.snapshot().entered_at {
            let mut breaker = self.breaker.clone();
            // The last time seen may be past the deadline, if the clock went back since.
            if self.model.clone().clock(just_before) == just_before {
                assert_eq!(breaker.poll(just_before), [], "before the deadline");
            }
        }
        assert!(!self.breaker.clone().poll(deadline).is_empty(), "at the deadline");
    }
}

fn polled(breaker: &Breaker, now: Time) -> Breaker {
    let mut polled = breaker.clone();
    polled.poll(now);
    polled
}

fn legal(transition: &Transition) -> bool {
    use State::{Closed, HalfOpen, Open};
    use breaker::Reason as R;
    let (from, to) = (transition.from, transition.to());
    let by_hand = |state| !matches!(state, Closed | Open | HalfOpen);
    match transition.reason {
        R::ConsecutiveFailures | R::FailureCount | R::FailureRate | R::SlowCallRate => {
            (from, to) == (Closed, Open)
        }
        R::WaitElapsed | R::ProbeRequested | R::ThresholdsChanged => (from, to) == (Open, HalfOpen),
        R::ProbesSucceeded | R::Idle => (from, to) == (HalfOpen, Closed),
        R::ProbesFailed | R::ProbesSlow => (from, to) == (HalfOpen, Open),
        R::HalfOpenTimeout => from == HalfOpen && matches!(to, Open | Closed),
        R::Restart => (from, to) == (HalfOpen, HalfOpen),
        R::OverrideSet => by_hand(to),
        R::OverrideCleared | R::OverrideExpired => by_hand(from) && to == Closed,
        R::Reset | R::Deleted => to == Closed,
        R::HistoryGap => false,
    }
}

fn pick<T>(which: proptest::sample::Index, among: &[T]) -> Option<&T> {
    (!among.is_empty()).then(|| which.get(among))
}

/// Whoever does something by hand in these tests.
pub(crate) fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() }
}
