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
//! * The figures of half-open are fixed when it is entered.
//!
//! # Overrides of a service
//! A breaker knows the override of its service, if there is one, and is in it unless it has one of its own: the
//! nearest wins. When its own ends, it takes the service's up; while the service has one, it is never without.
//!
//! # Who numbers the epochs
//! With [`Numbering::Own`] a transition is in force the moment it is made. With [`Numbering::Store`] it is a
//! *proposal*: one that denies does so at once, one that lets calls through answers as the state it leaves;
//! nothing is recorded, and time stands still for the breaker, until [`Breaker::confirm`] or [`Breaker::adopt`]
//! says what the store made of it. So a trip never waits for the store, and everything that lets calls through
//! again does.

mod by_hand;
mod phase;
mod replicas;

use std::sync::Arc;
use std::time::Duration;

pub use self::by_hand::WrongState;
use self::phase::{Cause, Crossing, MetricsOnly, Next, Open, Phase};
use crate::half_open::HalfOpen;
use crate::mix;
use crate::outcome::{Decision, Pass, Probe, Recorded, Report, Ticket, Verdict};
use crate::seen::Seen;
use crate::state::{
    Figures, HalfOpenTerms, Override, OverrideKind, Reason, Scope, Snapshot, State, Transition,
};
use crate::tally::Tally;
use crate::thresholds::{AfterMaxWait, Judged, Thresholds};
use crate::time::Time;
use crate::wait::wait;

/// Who numbers a breaker's epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// The machine: it is the only one.
    Own,
    /// The store: there are other replicas.
    Store,
}

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
}

/// A breaker as it is shown: its state, and what has been counted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The state.
    pub snapshot: Snapshot,
    /// What was counted; in OPEN, what was counted when it opened.
    pub figures: Figures,
    /// `HALF_OPEN`: probes that are out under a lease.
    pub probes_out: u32,
    /// Whether the window holds enough calls for its rates to be judged.
    pub rates_judged: bool,
}

/// One circuit breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    thresholds: Arc<Thresholds>,
    config_revision: u64,
    key_hash: u64,
    salt: u64,
    epoch: u64,
    attempts: u32,
    numbering: Numbering,
    /// The state stands, but the store has not numbered it yet: the state that it was proposed in.
    proposed: Option<State>,
    next_number: u64,
    seen: Seen,
    last_now: Time,
    entered_at: Time,
    /// The revision that was in force when the state was entered.
    entered_revision: u64,
    /// The override of its service; one whose end has passed may still be here.
    service: Option<Arc<Override>>,
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
            epoch: 0,
            attempts: 0,
            numbering: identity.numbering,
            proposed: None,
            next_number: identity.first_number,
            seen: Seen::default(),
            last_now: now,
            entered_at: now,
            entered_revision: config_revision,
            service: None,
            phase,
        }
    }

    /// A breaker as the store and the journal kept it. Its window starts empty.
    ///
    /// What is left of a wait is never longer than the wait, even if the clock was set back meanwhile; and
    /// the wait is the one that the present thresholds make.
    ///
    /// HALF_OPEN comes back as such, but whom its probes went to is forgotten. Where the machine numbers the
    /// epochs, the first look enters it anew (reason RESTART). Where the store does, a restart spends no epoch
    /// (each crash would hand out P anew): every place counts as out, for a lease from now.
    pub fn restore(
        thresholds: Arc<Thresholds>,
        config_revision: u64,
        identity: Identity,
        snapshot: Snapshot,
        now: Time,
    ) -> Self {
        let mut breaker = Self::new(thresholds, config_revision, identity, now);
        breaker.take_over(snapshot, now);
        match &mut breaker.phase {
            Phase::Open(open) => {
                let retry_after = open.retry_after;
                breaker.set_wait(retry_after);
            }
            Phase::HalfOpen(half_open) => match identity.numbering {
                Numbering::Own => breaker.phase = Phase::Reborn(Box::new(half_open.terms())),
                Numbering::Store => half_open.presume_out(now),
            },
            _ => {}
        }
        breaker
    }

    /// May a call go ahead?
    pub fn allow(&mut self, now: Time) -> (Decision, Vec<Transition>) {
        let now = self.clock(now);
        let transitions = self.advance(now);
        (self.decide(now), transitions)
    }

    /// How a call went.
    pub fn record(&mut self, ticket: Ticket, report: &Report<'_>, now: Time) -> (Recorded, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if let Ticket::Own(pass) = ticket
            && !self.seen.note(pass.number)
        {
            return (Recorded::Duplicate, transitions);
        }
        let (recorded, transition) = self.take(ticket, report, now);
        transitions.extend(transition);
        (recorded, transitions)
    }

    /// Gives a probe back unused: its place is free again.
    pub fn release(&mut self, probe: Probe, now: Time) {
        let now = self.clock(now);
        if let Phase::HalfOpen(half_open) = &mut self.phase {
            half_open.release(probe, now);
        }
    }

    /// Lets the time that passed take effect, and nothing else.
    pub fn poll(&mut self, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let transitions = self.advance(now);
        self.age(now);
        transitions
    }

    /// When time alone will change the state next; none: never.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.proposed.is_some() {
            return None;
        }
        match &self.phase {
            Phase::Closed(_) | Phase::Reborn(_) => None,
            Phase::Open(open) => Some(self.entered_at + open.wait),
            Phase::HalfOpen(half_open) => half_open.deadline(),
            Phase::Overridden(set_by) => set_by.expires_at,
            Phase::MetricsOnly(metrics_only) => metrics_only.set_by.expires_at,
        }
    }

    /// Judges by other thresholds from now on. State, epoch, counts and attempts stay; OPEN waits as long
    /// from its beginning as it now should; half-open keeps the figures it was entered with.
    pub fn set_thresholds(
        &mut self,
        thresholds: Arc<Thresholds>,
        config_revision: u64,
        now: Time,
    ) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        self.config_revision = config_revision;
        if *thresholds == *self.thresholds {
            self.thresholds = thresholds;
            return transitions;
        }
        self.thresholds = thresholds;
        match &mut self.phase {
            Phase::Closed(tally) => tally.reshape(&self.thresholds, now),
            Phase::MetricsOnly(metrics_only) => metrics_only.tally.reshape(&self.thresholds, now),
            Phase::Open(open) => {
                let retry_after = open.retry_after;
                let wait = self.set_wait(retry_after);
                if self.proposed.is_none() && now >= self.entered_at + wait {
                    let cause = Cause::own(Reason::ThresholdsChanged);
                    transitions.push(self.enter(Next::HalfOpen, cause, now));
                }
            }
            Phase::HalfOpen(_) | Phase::Reborn(_) | Phase::Overridden(_) => {}
        }
        transitions
    }

    /// The state.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::HalfOpen(_) | Phase::Reborn(_) => State::HalfOpen,
            Phase::Overridden(set_by) => set_by.kind.into(),
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

    /// Whether it never left the state that it was born in, so that nothing is lost with it.
    pub fn is_pristine(&self) -> bool {
        let inherited = || self.override_in_force().is_some_and(|set_by| set_by.scope == Scope::Service);
        self.epoch == 0 && self.proposed.is_none() && (matches!(self.phase, Phase::Closed(_)) || inherited())
    }

    /// How it is shown at `now`. Call [`Breaker::poll`] first: this only reads.
    pub fn view(&self, now: Time) -> View {
        let probes_out = match &self.phase {
            Phase::HalfOpen(half_open) => half_open.out(now.max(self.last_now)),
            _ => 0,
        };
        let figures = self.figures();
        let rates_judged = matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly(_))
            && figures.calls >= self.thresholds.minimum_calls();
        View { snapshot: self.snapshot(), figures, probes_out, rates_judged }
    }

    /// Its state as it is kept.
    pub fn snapshot(&self) -> Snapshot {
        let (wait, retry_after) = match &self.phase {
            Phase::Open(open) => (Some(open.wait), open.retry_after),
            _ => (None, None),
        };
        let half_open = match &self.phase {
            Phase::HalfOpen(half_open) => Some(half_open.terms()),
            Phase::Reborn(terms) => Some(**terms),
            _ => None,
        };
        Snapshot {
            epoch: self.epoch,
            state: self.state(),
            attempts: self.attempts,
            entered_at: self.entered_at,
            wait,
            retry_after,
            set_by: self.override_in_force().cloned(),
            half_open,
            config_revision: self.entered_revision,
        }
    }

    /// `now`, or the last time seen when that is later.
    fn clock(&mut self, now: Time) -> Time {
        self.last_now = self.last_now.max(now);
        self.last_now
    }

    fn advance(&mut self, now: Time) -> Vec<Transition> {
        let mut transitions = Vec::new();
        while let Some(transition) = self.elapse(now) {
            transitions.push(transition);
        }
        transitions
    }

    /// Lets go of what has left the window.
    fn age(&mut self, now: Time) {
        match &mut self.phase {
            Phase::Closed(tally) => tally.advance(now),
            Phase::MetricsOnly(metrics_only) => metrics_only.tally.advance(now),
            _ => {}
        }
    }

    /// The next change that the passing of time makes. At most three follow on each other: half-open lasted
    /// too long, the wait after it is over too, and there half-open waits for its first probe. (Or two: its own
    /// override ends, and the service's is there.)
    fn elapse(&mut self, now: Time) -> Option<Transition> {
        if self.proposed.is_some() {
            return None;
        }
        if self.service.is_some()
            && self.override_in_force().is_none()
            && let Some(service) = self.service_at(now)
        {
            return Some(self.take_up(service, now));
        }
        if matches!(self.phase, Phase::Closed(_)) {
            return None;
        }
        if matches!(self.phase, Phase::Reborn(_)) {
            return Some(self.enter(Next::HalfOpen, Cause::own(Reason::Restart), now));
        }
        let due = self.next_deadline().filter(|due| *due <= now)?;
        let (next, reason) = match &self.phase {
            Phase::Open(_) => (Next::HalfOpen, Reason::WaitElapsed),
            Phase::HalfOpen(half_open) => match half_open.terms().after_max_wait {
                AfterMaxWait::Open => (Next::Open { retry_after: None }, Reason::HalfOpenTimeout),
                AfterMaxWait::Closed => (Next::Closed, Reason::HalfOpenTimeout),
            },
            _ => (Next::Closed, Reason::OverrideExpired),
        };
        // An override may be set with an end that is past; it does not end before it began.
        let due = due.max(self.entered_at);
        Some(self.enter(next, Cause::own(reason), due))
    }

    fn decide(&mut self, now: Time) -> Decision {
        let mut state = self.state();
        let would_deny = self.would_deny(now);
        let (verdict, probe, retry_after) = match (&mut self.phase, self.proposed) {
            (Phase::Open(open), _) => (Verdict::Open, None, Some((self.entered_at + open.wait).since(now))),
            (Phase::Overridden(set_by), _) if set_by.kind == OverrideKind::ForcedOpen => {
                (Verdict::ForcedOpen, None, set_by.expires_at.map(|end| end.since(now)))
            }
            // A proposal that lets calls through again waits for the store, as the state that it leaves.
            (_, Some(left)) => {
                state = left;
                (Verdict::without_probes(left), None, None)
            }
            (Phase::HalfOpen(half_open), None) => {
                // Never 0, and not to be guessed from the number of another life of the process.
                let nonce = mix(self.salt ^ self.next_number) | 1;
                match half_open.give(nonce, now) {
                    Ok(probe) => (Verdict::Probe, Some(probe), None),
                    Err(retry_after) => (Verdict::HalfOpenExhausted, None, Some(retry_after)),
                }
            }
            _ => (Verdict::without_probes(state), None, None),
        };
        let pass = verdict.allows().then(|| {
            let number = self.next_number;
            self.next_number += 1;
            Pass { epoch: self.epoch, number, probe }
        });
        Decision { verdict, state, epoch: self.epoch, pass, retry_after, would_deny }
    }

    /// Whether METRICS_ONLY lets a call pass that would be denied: within the wait that would have begun at the last
    /// crossing, and for as long as the counts stay past the trip. What probes would have found nobody knows.
    fn would_deny(&mut self, now: Time) -> bool {
        let (Phase::MetricsOnly(metrics_only), None) = (&mut self.phase, self.proposed) else { return false };
        let Some(Crossing { at, retry_after }) = metrics_only.crossing else { return false };
        if now < at + wait(&self.thresholds, self.key_hash, self.epoch + 1, 1, retry_after) {
            return true;
        }
        metrics_only.tally.advance(now);
        metrics_only.crossed && metrics_only.tally.trip(&self.thresholds).is_some()
    }

    /// Takes an outcome that is no repeat.
    fn take(&mut self, ticket: Ticket, report: &Report<'_>, now: Time) -> (Recorded, Option<Transition>) {
        let (epoch, probe) = match ticket {
            Ticket::Own(pass) | Ticket::Foreign(pass) => (Some(pass.epoch), pass.probe),
            Ticket::Bare { epoch } => (epoch, None),
        };
        let (given_in, present) = (epoch.unwrap_or(self.epoch), self.epoch);
        let proposed = self.proposed.is_some();
        if given_in < present || (proposed && epoch.is_some() && given_in == present) {
            return (Recorded::Late, None);
        }
        if given_in > present || proposed {
            return (Recorded::NotCounted, None);
        }
        let thresholds = Arc::clone(&self.thresholds);
        let judged = thresholds.judge(report);
        match (&mut self.phase, probe) {
            (Phase::Closed(tally), None) => {
                let Judged::Counted { failed, slow } = judged else {
                    return (Recorded::Recorded, None);
                };
                tally.count(failed, slow, report.caller, now);
                let retry_after = report.retry_after.filter(|_| failed);
                (Recorded::Recorded, self.tripped(&thresholds, retry_after, now))
            }
            (Phase::MetricsOnly(metrics_only), None) => {
                let Judged::Counted { failed, slow } = judged else {
                    return (Recorded::Recorded, None);
                };
                metrics_only.look(&thresholds, now);
                metrics_only.tally.count(failed, slow, report.caller, now);
                let retry_after = report.retry_after.filter(|_| failed);
                (Recorded::Recorded, self.crossed(&thresholds, retry_after, now))
            }
            (Phase::HalfOpen(half_open), Some(probe)) => {
                let (held, retry_after) = match judged {
                    Judged::Ignored => (half_open.release(probe, now), None),
                    Judged::Counted { failed, slow } => {
                        (half_open.complete(probe, failed, slow, now), report.retry_after.filter(|_| failed))
                    }
                };
                if !held {
                    return (Recorded::Late, None);
                }
                (Recorded::Recorded, self.decided(retry_after, now))
            }
            _ => (Recorded::NotCounted, None),
        }
    }

    /// Opens a closed breaker whose counts make a trip.
    fn tripped(
        &mut self,
        thresholds: &Thresholds,
        retry_after: Option<Duration>,
        now: Time,
    ) -> Option<Transition> {
        let Phase::Closed(tally) = &self.phase else {
            return None;
        };
        let (reason, reporters) = tally.trip(thresholds)?;
        let cause = Cause { reason, asked: None, reporters };
        Some(self.enter(Next::Open { retry_after }, cause, now))
    }

    /// Says, once a crossing, that it would have opened.
    fn crossed(
        &mut self,
        thresholds: &Thresholds,
        retry_after: Option<Duration>,
        now: Time,
    ) -> Option<Transition> {
        let Phase::MetricsOnly(metrics_only) = &mut self.phase else {
            return None;
        };
        let (reason, reporters) = metrics_only.tally.trip(thresholds)?;
        if std::mem::replace(&mut metrics_only.crossed, true) {
            return None;
        }
        metrics_only.crossing = Some(Crossing { at: now, retry_after });
        Some(Transition {
            from: State::MetricsOnly,
            reason,
            figures: Figures { reporters, ..self.figures() },
            base_epoch: self.epoch,
            at: now,
            asked: None,
            after: self.snapshot(),
            shadow: true,
        })
    }

    /// Leaves half-open when its probes have decided.
    fn decided(&mut self, retry_after: Option<Duration>, now: Time) -> Option<Transition> {
        let Phase::HalfOpen(half_open) = &self.phase else {
            return None;
        };
        let (state, reason) = half_open.verdict()?;
        let next = if state == State::Open { Next::Open { retry_after } } else { Next::Closed };
        Some(self.enter(next, Cause::own(reason), now))
    }

    /// The only place where the state changes, and the only one that makes a real [`Transition`].
    fn enter(&mut self, next: Next, cause: Cause, at: Time) -> Transition {
        let from = self.state();
        let base_epoch = self.epoch;
        self.age(at);
        let figures = Figures { reporters: cause.reporters, ..self.figures() };
        let epoch = base_epoch + 1;
        match self.numbering {
            Numbering::Own => self.epoch = epoch,
            Numbering::Store => self.proposed = self.proposed.or(Some(from)),
        }
        self.entered_at = at;
        self.entered_revision = self.config_revision;
        self.phase = match next {
            Next::Closed => {
                self.attempts = 0;
                Phase::Closed(Tally::new(&self.thresholds))
            }
            Next::Open { retry_after } => {
                self.attempts = self.attempts.saturating_add(1);
                let retry_after = retry_after.filter(|_| self.thresholds.honor_retry_after());
                let wait = wait(&self.thresholds, self.key_hash, epoch, self.attempts, retry_after);
                Phase::Open(Box::new(Open { wait, retry_after, figures }))
            }
            Next::HalfOpen => Phase::HalfOpen(Box::new(HalfOpen::new(self.half_open_terms()))),
            Next::Override(set_by) => self.overridden(set_by),
        };
        let after = Snapshot { epoch, ..self.snapshot() };
        Transition {
            from,
            reason: cause.reason,
            figures,
            base_epoch,
            at,
            asked: cause.asked,
            after,
            shadow: false,
        }
    }

    /// Takes a kept state over as it is, with nothing counted.
    fn take_over(&mut self, snapshot: Snapshot, now: Time) {
        self.epoch = snapshot.epoch;
        self.attempts = snapshot.attempts;
        self.proposed = None;
        // A state entered in what is now the future was entered now: a clock that was set back must not
        // make a wait longer than it is.
        self.entered_at = snapshot.entered_at.min(now);
        self.entered_revision = snapshot.config_revision;
        self.phase = match (snapshot.state, snapshot.set_by) {
            (State::Open, _) => {
                let retry_after = snapshot.retry_after;
                let wait = snapshot.wait.unwrap_or_else(|| self.wait(retry_after));
                Phase::Open(Box::new(Open { wait, retry_after, figures: Figures::default() }))
            }
            (State::HalfOpen, _) => {
                let terms = snapshot.half_open.unwrap_or_else(|| self.half_open_terms());
                Phase::HalfOpen(Box::new(HalfOpen::new(terms)))
            }
            (State::ForcedOpen | State::Disabled | State::MetricsOnly, Some(set_by)) => {
                self.overridden(Arc::new(set_by))
            }
            _ => Phase::Closed(Tally::new(&self.thresholds)),
        };
    }

    fn overridden(&self, set_by: Arc<Override>) -> Phase {
        if set_by.kind == OverrideKind::MetricsOnly {
            return Phase::MetricsOnly(Box::new(MetricsOnly::new(set_by, &self.thresholds)));
        }
        Phase::Overridden(set_by)
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

    fn override_in_force(&self) -> Option<&Override> {
        match &self.phase {
            Phase::Overridden(set_by) => Some(set_by),
            Phase::MetricsOnly(metrics_only) => Some(&metrics_only.set_by),
            _ => None,
        }
    }

    fn figures(&self) -> Figures {
        match &self.phase {
            Phase::Closed(tally) => tally.figures(),
            Phase::MetricsOnly(metrics_only) => metrics_only.tally.figures(),
            Phase::Open(open) => open.figures,
            Phase::HalfOpen(half_open) => half_open.figures(),
            Phase::Reborn(_) | Phase::Overridden(_) => Figures::default(),
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
        let epoch = self.epoch + u64::from(self.proposed.is_some());
        wait(&self.thresholds, self.key_hash, epoch, self.attempts, retry_after)
    }
}
