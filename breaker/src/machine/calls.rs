//! Calls: what one is told before it goes ahead, and what its outcome does.
//!
//! The passing of time has taken effect before: what is here judges in the state that it has led to.

use std::sync::Arc;
use std::time::Duration;

use super::Breaker;
use super::half_open::Place;
use super::phase::{Cause, Crossing, Next, Phase};
use crate::mix;
use crate::outcome::{Awaited, Decision, Pass, Recorded, Report, RunRecorded, Ticket, Verdict};
use crate::probes::{PROBE_RETRY_AFTER_MAX, ProbeOutcome, ProbeSettled};
use crate::state::{OverrideKind, State};
use crate::tally::{Run, Tally, TripsJudged};
use crate::thresholds::{Judged, Thresholds};
use crate::time::Time;
use crate::transition::{Stats, Transition};
use crate::wait::wait;

impl Breaker {
    /// What a call is told, once the time that passed has taken effect. `awaited`: what it was told to wait for before.
    pub(super) fn decide(&mut self, awaited: Option<Awaited>, now: Time) -> Decision {
        let state = self.state();
        let would_deny = self.would_deny(now);
        let is_hidden = self.hidden_behind().is_some();
        let proposed = self.proposed();
        let epoch = self.epoch;
        let (mut waits, mut lease, mut timed_out_probes) = (None, None, 0);
        let (verdict, probe, retry_after) = match (&mut self.phase, proposed) {
            // A proposal that lets calls through again, or that time brought about, waits for the store as the state that it leaves.
            (phase, _) if is_hidden => {
                let is_half_open = matches!(phase, Phase::HalfOpen(_));
                waits = is_half_open.then_some(Awaited { epoch, answer: None });
                (Verdict::without_probes(state), None, None)
            }
            (Phase::Open(open), _) => (Verdict::Open, None, Some((self.entered_at + open.wait).since(now))),
            (Phase::Overridden(active), _) if active.set_by.kind == OverrideKind::ForcedOpen => {
                (Verdict::ForcedOpen, None, active.ends_at(self.wall).map(|end| end.since(now)))
            }
            (Phase::HalfOpen(half_open), None) => {
                // Never 0, and not to be guessed from the number of another life of the process.
                let nonce = mix(self.salt ^ self.next_number).max(1);
                let awaited =
                    awaited.filter(|awaited| awaited.epoch == epoch).and_then(|awaited| awaited.answer);
                match half_open.take(nonce, awaited, now) {
                    Place::Probe { probe, lease: left, timed_out } => {
                        lease = Some(left);
                        timed_out_probes = u32::from(timed_out);
                        (Verdict::Probe, Some(probe), None)
                    }
                    Place::Exhausted(retry_after) => (Verdict::HalfOpenExhausted, None, Some(retry_after)),
                    Place::Wanted { answer } => {
                        waits = Some(Awaited { epoch, answer: Some(answer) });
                        (Verdict::HalfOpenExhausted, None, Some(PROBE_RETRY_AFTER_MAX))
                    }
                }
            }
            _ => (Verdict::without_probes(state), None, None),
        };
        // Whoever waits for the store asks again; one that gives up says so itself.
        self.note_rejected(u64::from(!verdict.allows() && waits.is_none()));
        let pass = verdict.allows().then(|| {
            let number = self.next_number;
            self.next_number += 1;
            Pass { epoch: self.epoch, number, probe }
        });
        Decision {
            verdict,
            state,
            epoch: self.epoch,
            pass,
            lease,
            timed_out_probes,
            retry_after,
            would_deny,
            waits,
            branch: 0,
        }
    }

    /// Whether METRICS_ONLY lets a call pass that would be denied: within the wait that would have begun at the last
    /// crossing, and for as long as the counts stay past the trip. What probes would have found nobody knows.
    fn would_deny(&mut self, now: Time) -> bool {
        let proposed = self.proposed();
        let (Phase::MetricsOnly(metrics_only), None) = (&mut self.phase, proposed) else { return false };
        let Some(Crossing { at, retry_after }) = metrics_only.crossing else { return false };
        if now < at + wait(&self.thresholds, self.key_hash, self.epoch + 1, 1, retry_after) {
            return true;
        }
        metrics_only.tally.advance(now);
        metrics_only.crossed && metrics_only.tally.trip(&self.thresholds, TripsJudged::ALL).is_some()
    }

    /// Takes an outcome that is no repeat.
    pub(super) fn take(
        &mut self,
        ticket: Ticket,
        report: &Report<'_>,
        now: Time,
    ) -> (Recorded, Option<Transition>) {
        let (epoch, probe) = match ticket {
            Ticket::Own(pass) | Ticket::Foreign(pass) => (Some(pass.epoch), pass.probe),
            Ticket::Bare { epoch } => (epoch, None),
        };
        if let Some(refused) = self.not_of_this_epoch(epoch) {
            return (refused, None);
        }
        let thresholds = Arc::clone(&self.thresholds);
        let judged = thresholds.judge(report);
        match (&mut self.phase, probe) {
            (Phase::Closed(_) | Phase::MetricsOnly(_), None) => {
                let Judged::Counted { failed, slow } = judged else {
                    return (Recorded::Recorded, None);
                };
                let run = Run { failed, slow, caller: report.caller, count: 1 };
                (Recorded::Recorded, self.count(run, report, &thresholds, now))
            }
            (Phase::HalfOpen(half_open), Some(probe)) => {
                // Where the store decides, it is asked with a report of the probe instead.
                let Some(probes) = half_open.own() else { return (Recorded::NotCounted, None) };
                let outcome = ProbeOutcome::of(judged);
                let settled = probes.settle(probe, outcome, now);
                if settled != ProbeSettled::Recorded {
                    return (settled.into(), None);
                }
                let failed = outcome.is_some_and(|outcome| outcome.failed);
                (Recorded::Recorded, self.decided(report.honored_retry_after(failed), now))
            }
            _ => (Recorded::NotCounted, None),
        }
    }

    /// What becomes of an outcome that is of another epoch, or of a state that may be over.
    fn not_of_this_epoch(&self, epoch: Option<u64>) -> Option<Recorded> {
        let (given_in, present) = (epoch.unwrap_or(self.epoch), self.epoch);
        let proposed = self.proposed().is_some();
        if given_in < present || (proposed && epoch.is_some() && given_in == present) {
            return Some(Recorded::Late);
        }
        (given_in > present || proposed).then_some(Recorded::NotCounted)
    }

    /// Takes `count` outcomes alike, as so many single ones.
    pub(super) fn take_run(
        &mut self,
        epoch: Option<u64>,
        report: &Report<'_>,
        count: u32,
        now: Time,
    ) -> (RunRecorded, Vec<Transition>) {
        let thresholds = Arc::clone(&self.thresholds);
        let judged = thresholds.judge(report);
        let (mut run_recorded, mut transitions) = (RunRecorded::default(), Vec::new());
        let mut part = 1;
        while run_recorded.total() < count {
            let left = count - run_recorded.total();
            // The same for each of a part, as is whether the counts make a trip before it.
            let would_deny = self.would_deny(now);
            let before = run_recorded.recorded;
            let counts = self.not_of_this_epoch(epoch).is_none() && self.tally().is_some();
            if let (Judged::Counted { failed, slow }, true) = (judged, counts) {
                let run = Run { failed, slow, caller: report.caller, count: part.min(left) };
                transitions.extend(self.count(run, report, &thresholds, now));
                run_recorded.add(Recorded::Recorded, run.count);
                if run.count < left {
                    part = self.tally().map_or(1, |tally| tally.part_of(run, &thresholds));
                }
            } else {
                // Each of the rest is taken alike, and changes nothing.
                let (recorded, _) = self.take(Ticket::Bare { epoch }, report, now);
                run_recorded.add(recorded, left);
            }
            run_recorded.would_be_denied += if would_deny { run_recorded.recorded - before } else { 0 };
        }
        (run_recorded, transitions)
    }

    /// Where outcomes are counted, in the states that do.
    pub(super) fn tally(&mut self) -> Option<&mut Tally> {
        match &mut self.phase {
            Phase::Closed(tally) => Some(tally),
            Phase::MetricsOnly(metrics_only) => Some(&mut metrics_only.tally),
            _ => None,
        }
    }

    /// Counts outcomes of the present epoch, and says which transition they make.
    fn count(
        &mut self,
        run: Run,
        report: &Report<'_>,
        thresholds: &Thresholds,
        now: Time,
    ) -> Option<Transition> {
        if let Phase::MetricsOnly(metrics_only) = &mut self.phase {
            metrics_only.look(thresholds, now);
        }
        self.share(run, thresholds, now);
        self.tally()?.count(run, thresholds.minimum_reporters(), now);
        let retry_after = report.honored_retry_after(run.failed);
        let trips = self.trips_judged(false, now);
        self.tripped(thresholds, retry_after, trips, now)
            .or_else(|| self.crossed(thresholds, retry_after, trips, now))
    }

    /// Opens a closed breaker whose counts make a trip.
    pub(super) fn tripped(
        &mut self,
        thresholds: &Thresholds,
        retry_after: Option<Duration>,
        trips: TripsJudged,
        now: Time,
    ) -> Option<Transition> {
        let Phase::Closed(tally) = &self.phase else {
            return None;
        };
        let (reason, reporters) = tally.trip(thresholds, trips)?;
        let cause = Cause { reason, attribution: None, reporters };
        Some(self.enter(Next::Open { retry_after }, cause, now))
    }

    /// Says, once a crossing, that it would have opened.
    pub(super) fn crossed(
        &mut self,
        thresholds: &Thresholds,
        retry_after: Option<Duration>,
        trips: TripsJudged,
        now: Time,
    ) -> Option<Transition> {
        let Phase::MetricsOnly(metrics_only) = &mut self.phase else {
            return None;
        };
        let (reason, reporters) = metrics_only.tally.trip(thresholds, trips)?;
        if std::mem::replace(&mut metrics_only.crossed, true) {
            return None;
        }
        metrics_only.crossing = Some(Crossing { at: now, retry_after });
        Some(Transition {
            from: State::MetricsOnly,
            reason,
            stats: Stats { reporters, ..self.stats() },
            base_epoch: self.epoch,
            at: self.wall.to_wall(now),
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after: self.snapshot(),
            shadow: true,
        })
    }

    /// Leaves half-open when its probes have decided.
    fn decided(&mut self, retry_after: Option<Duration>, now: Time) -> Option<Transition> {
        let Phase::HalfOpen(half_open) = &mut self.phase else {
            return None;
        };
        let (state, reason) = half_open.own()?.verdict()?;
        let next = if state == State::Open { Next::Open { retry_after } } else { Next::Closed };
        Some(self.enter(next, Cause::own(reason), now))
    }
}
