//! What breakerd says of a breaker: on the stream, and in its answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::{Outcome, Recorded, Snapshot, State, Thresholds, Time};
use tokio::sync::oneshot;

use super::heard::{Answered, Heard, ServiceOverride, Source};
use super::held::{Held, Remote};
use super::ticket::{Decision, RemotePermit, Result, Ticket};
use super::{Cell, Context, KIND_BITS, REFUSED_PAUSE, slow_after};
use crate::error::Rejected;

/// The longest time that breakerd's "retry after" keeps this process from asking for a probe.
const REQUEST_PAUSE_MAX: Duration = Duration::from_secs(1);
/// After an answer that says nothing better.
const REQUEST_PAUSE: Duration = Duration::from_millis(100);
/// The epoch of a CLOSED breaker of which breakerd has said nothing for so long is forgotten. Epochs begin at 0 again, earliest 29 hours
/// after the last use of the breaker, when replicas of breakerd delete the row of one that none of them uses. No call is out for so long.
pub(super) const EPOCH_UNSAID_MAX: Duration = Duration::from_hours(24);

impl Cell {
    /// Takes a state over.
    pub(crate) fn hear(self: &Arc<Self>, heard: Heard, source: Source, context: &Context<'_>) {
        let mut held = self.lock();
        self.take_over(&mut held, heard, source, context);
        self.publish(&mut held, context);
    }

    fn take_over(self: &Arc<Self>, held: &mut Held, heard: Heard, source: Source, context: &Context<'_>) {
        self.forget_old_epoch(held, context);
        let Remote { state, epoch, .. } = held.remote;
        let older = heard.epoch.zip(epoch).is_some_and(|(heard, known)| heard < known);
        if older && matches!(source, Source::Stream | Source::Answer) {
            return;
        }
        if heard.epoch.is_some() {
            held.epoch_said_at = context.now;
        }
        if source == Source::Answer && held.remote.streamed && heard.epoch == epoch {
            Self::confirm(held, heard, context.now);
            return;
        }
        // It is CLOSED in an unknown epoch, and this says which: that of the calls that are out, as no other was mentioned.
        let same_era = match source {
            Source::Answer if epoch.is_none() => heard.state == state,
            // What a snapshot leaves out is CLOSED still, or again: its own epoch tells.
            Source::Snapshot { same_timeline: true } if heard.epoch.is_none() => heard.state == state,
            Source::Snapshot { same_timeline: false } | Source::AnswerOfEarlierEpoch => false,
            _ => heard.epoch == epoch && heard.state == state,
        };
        if !same_era {
            self.begin_era(held, context);
            held.earlier_epoch = match (source, heard.epoch) {
                // Every epoch that was counted in is larger than this one.
                (Source::AnswerOfEarlierEpoch, _) | (Source::Snapshot { same_timeline: false }, None) => None,
                (_, Some(epoch)) => Some(epoch.saturating_sub(1)),
                (_, None) => epoch.or(held.earlier_epoch),
            };
            held.requests.not_before = Time::ZERO;
            held.requests.stock = None;
        }
        let known_epoch = if same_era { heard.epoch.or(epoch) } else { heard.epoch };
        let until = heard.remaining.map_or(Time::MAX, |remaining| context.now + remaining);
        let streamed = heard.epoch.is_some() && matches!(source, Source::Stream | Source::Snapshot { .. });
        let remote =
            Remote { state: heard.state, until, epoch: known_epoch, open_count: heard.open_count, streamed };
        let was = std::mem::replace(&mut held.remote, remote);
        Self::follow(held, was, context.now);
    }

    /// Takes an answer of the epoch that the stream said too. A replica that decides alone has several states in one epoch
    /// (`decided_alone`), and an answer may be older than what the stream said last: the state is the stream's.
    fn confirm(held: &mut Held, heard: Heard, now: Time) {
        let was = held.remote;
        if heard.state != was.state {
            return;
        }
        if let Some(remaining) = heard.remaining {
            // Each was a while on its way, so the earlier end is nearer to the truth; breakerd's clock decides whether it is over.
            let until = now + remaining;
            held.remote.until = if was.until > now { was.until.min(until) } else { until };
        }
        Self::follow(held, was, now);
    }

    /// Forgets the epoch of a CLOSED breaker of which breakerd has said nothing for [`EPOCH_UNSAID_MAX`]: its epochs may have begun
    /// at 0 again. The next calls count in the epoch that breakerd has then, and calls of before are late.
    pub(super) fn forget_old_epoch(self: &Arc<Self>, held: &mut Held, context: &Context<'_>) {
        let Remote { state, epoch, .. } = held.remote;
        let unsaid = context.now.since(held.epoch_said_at);
        if state != State::Closed || epoch.is_none() || unsaid < EPOCH_UNSAID_MAX {
            return;
        }
        self.begin_era(held, context);
        held.earlier_epoch = None;
        held.remote.epoch = None;
        held.remote.streamed = false;
    }

    /// What was counted until now is of an earlier era than what follows.
    fn begin_era(self: &Arc<Self>, held: &mut Held, context: &Context<'_>) {
        self.drain_into(held, (held.era + 1) & (u32::MAX >> KIND_BITS), context);
    }

    /// Brings the machine here to the state of breakerd, so that it can go on from there.
    fn follow(held: &mut Held, was: Remote, now: Time) {
        let local = held.machine.state();
        let pristine = Snapshot { epoch: held.machine.epoch() + 1, entered_at: now, ..Snapshot::pristine() };
        let remote = held.remote;
        let snapshot = match remote.state {
            State::Open | State::HalfOpen => {
                held.opened_alone = false;
                if was.state == remote.state
                    && was.epoch == remote.epoch
                    && local == remote.state
                    && was.until == remote.until
                    && was.open_count == remote.open_count
                {
                    return;
                }
                let wait = (remote.state == State::Open).then(|| remote.until.since(now));
                Snapshot { state: remote.state, open_count: remote.open_count, wait, ..pristine }
            }
            State::Closed if local == State::Closed && was.epoch == remote.epoch => return,
            // Its failures and those of others did not come to a trip at breakerd. Before all of them are answered, that is not said.
            State::Closed if held.totals.reports.waiting > 0 && was.state == State::Closed => return,
            State::Closed if held.opened_alone => return,
            _ => {
                held.opened_alone = false;
                pristine
            }
        };
        held.returning = None;
        held.machine.follow(&snapshot, now);
    }

    /// The override of its service is this one from now on.
    pub(crate) fn hear_service_override(
        self: &Arc<Self>,
        set: Option<ServiceOverride>,
        context: &Context<'_>,
    ) {
        let mut held = self.lock();
        if held.service != set {
            self.drain(&mut held, context);
            held.service = set;
        }
        self.publish(&mut held, context);
    }

    /// Its thresholds are these from now on.
    pub(crate) fn hear_thresholds(&self, thresholds: Arc<Thresholds>, revision: u64, context: &Context<'_>) {
        let mut held = self.lock();
        self.slow_after.store(slow_after(&thresholds), Ordering::Relaxed);
        held.machine.set_thresholds(thresholds, revision, context.now);
        self.publish(&mut held, context);
    }

    /// A request for permission was answered. None: it was not, in time or at all.
    pub(crate) fn answered(self: &Arc<Self>, answer: Option<Answered>, context: &Context<'_>) {
        let mut held = self.lock();
        held.requests.in_flight = false;
        let waiting = held.requests.waiting.take();
        let Some(answer) = answer else {
            held.requests.not_before = context.now + REQUEST_PAUSE;
            self.publish(&mut held, context);
            drop(held);
            // Decided by what is known here, or not before it is known that breakerd is away.
            drop(waiting);
            return;
        };
        self.take_over(&mut held, answer.heard, Source::Answer, context);
        let decision = self.decision_of(&mut held, answer, context);
        self.publish(&mut held, context);
        if !matches!(decision, Decision::Request) {
            self.hand_over(&mut held, waiting, decision, context);
        }
    }

    /// Nobody has waited for the answer of remote mode before: it says what became of one call.
    pub(crate) fn answered_remote(self: &Arc<Self>, answer: Answered, context: &Context<'_>) -> Decision {
        let mut held = self.lock();
        self.take_over(&mut held, answer.heard, Source::Answer, context);
        let decision = self.decision_of(&mut held, answer, context);
        self.publish(&mut held, context);
        decision
    }

    /// [`Decision::Request`]: the answer was overtaken by news of a later epoch, and says nothing about a call of now.
    fn decision_of(self: &Arc<Self>, held: &mut Held, answer: Answered, context: &Context<'_>) -> Decision {
        if answer.heard.epoch < held.remote.epoch {
            if answer.allowed {
                self.give_back(held, answer.permit, context);
            }
            return Decision::Request;
        }
        if answer.allowed {
            return Decision::Allowed(Ticket::Remote(answer.permit));
        }
        let Heard { state, .. } = answer.heard;
        if state == State::HalfOpen {
            let pause = answer.retry_after.unwrap_or(REQUEST_PAUSE).min(REQUEST_PAUSE_MAX);
            // Else all clients ask for the next probe at the same moment.
            held.requests.not_before = context.now + pause.mul_f64(1.0 + fastrand::f64() / 10.0);
        }
        Decision::Rejected(self.reject(state, answer.retry_after))
    }

    /// Gives an answer to who waits for it; a permit that nobody waits for serves the next call.
    fn hand_over(
        self: &Arc<Self>,
        held: &mut Held,
        waiting: Option<oneshot::Sender<Decision>>,
        decision: Decision,
        context: &Context<'_>,
    ) {
        let left = match waiting {
            Some(waiting) => waiting.send(decision).err(),
            None => Some(decision),
        };
        if let Some(Decision::Allowed(Ticket::Remote(permit))) = left {
            if permit.expires.is_some() {
                held.requests.stock = Some((permit, context.now));
            } else {
                self.give_back(held, permit, context);
            }
        }
    }

    /// The permit of a call that does not take place.
    pub(super) fn give_back(self: &Arc<Self>, held: &mut Held, permit: RemotePermit, context: &Context<'_>) {
        self.deliver_permit(held, permit, Result::Ignored, Duration::ZERO, context);
    }

    /// Whoever waits for the request that is in flight waited long enough.
    pub(crate) fn stop_waiting(&self, waited: Duration) {
        let waiting = self.lock().requests.waiting.take();
        if let Some(waiting) = waiting {
            // It may have gone.
            let _ = waiting.send(Decision::Rejected(self.too_long(waited)));
        }
    }

    /// What a call is told that does not wait for the request in flight.
    pub(crate) fn too_long(&self, retry_after: Duration) -> Rejected {
        self.reject(State::HalfOpen, Some(retry_after))
    }

    /// What became of `counts` calls that were reported in `epoch`, and the state that breakerd answered with.
    pub(crate) fn acknowledged(
        self: &Arc<Self>,
        epoch: Option<u64>,
        counts: &[(Recorded, u32)],
        heard: Option<Heard>,
        context: &Context<'_>,
    ) {
        let mut held = self.lock();
        let reports = &mut held.totals.reports;
        for (recorded, count) in counts {
            let count = u64::from(*count);
            reports.waiting -= count;
            match recorded {
                // A repeat is counted already, by this very report.
                Recorded::Recorded | Recorded::Duplicate => reports.recorded += count,
                Recorded::Late => reports.late += count,
                Recorded::NotCounted => reports.not_counted += count,
            }
        }
        if let Some(heard) = heard {
            let refuted = counts.iter().any(|(recorded, count)| *recorded == Recorded::NotCounted && *count > 0)
                && epoch.is_some()
                && heard.epoch < epoch
                && epoch == held.remote.epoch
                // Else breakerd reached it after this answer.
                && !held.remote.streamed;
            let source = if refuted { Source::AnswerOfEarlierEpoch } else { Source::Answer };
            self.take_over(&mut held, heard, source, context);
        }
        self.publish(&mut held, context);
    }

    /// breakerd answered a report with an error: this breaker is decided here for a while.
    pub(crate) fn refused(&self, outcome: Outcome, count: u32, context: &Context<'_>) {
        let mut held = self.lock();
        held.totals.reports.waiting -= u64::from(count);
        held.totals.reports.refused += u64::from(count);
        if outcome == Outcome::Failure {
            held.refused_until = context.now + REFUSED_PAUSE;
        }
        self.publish(&mut held, context);
    }

    /// breakerd answered a request for permission with an error: this breaker is decided here for a while.
    pub(crate) fn request_refused(&self, context: &Context<'_>) {
        let mut held = self.lock();
        held.refused_until = context.now + REFUSED_PAUSE;
        self.publish(&mut held, context);
    }

    /// The answer to a report was lost.
    pub(crate) fn unknown(&self, count: u32) {
        let reports = &mut self.lock().totals.reports;
        reports.waiting -= u64::from(count);
        reports.unknown += u64::from(count);
    }
}
