//! How calls went.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::{Outcome, Report, State, Ticket as MachineTicket, Time};

use bytes::Bytes;

use super::held::Held;
use super::ticket::{RemotePermit, Result, Ticket};
use super::{Cell, Context, REFUSED_PAUSE};
use crate::outbox::{Item, Outgoing};
use crate::pending::Durations;
use crate::settings::WhenUnreachable;

/// An outcome that waited for so long is not sent any more: an old failure must not trip a dependency that has recovered.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(1);

impl Result {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Success => Outcome::Success,
            Self::Failure(_) => Outcome::Failure,
            Self::Ignored => Outcome::Ignored,
        }
    }
}

/// The epoch that a call reports.
enum ReportedEpoch {
    Is(Option<u64>),
    /// It is of another timeline.
    TooLate,
}

impl Held {
    fn epoch_of(&self, era: u32) -> ReportedEpoch {
        if era == self.era {
            return ReportedEpoch::Is(self.remote.epoch);
        }
        self.earlier_epoch.map_or(ReportedEpoch::TooLate, |epoch| ReportedEpoch::Is(Some(epoch)))
    }
}

impl Cell {
    /// Counts a success without the lock. False: it has to be reported under it.
    #[inline]
    pub(crate) fn report_fast(&self, era: u32, duration: Duration) -> bool {
        let slow_after = self.slow_after.load(Ordering::Relaxed);
        (slow_after == u64::MAX || duration.as_micros() <= u128::from(slow_after))
            && self.pending.add(era, duration)
    }

    /// Counts how a call went, whatever it is.
    pub(crate) fn report(
        self: &Arc<Self>,
        ticket: Ticket,
        result: Result,
        duration: Duration,
        context: &Context<'_>,
    ) {
        let mut held = self.lock();
        self.drain(&mut held, context);
        match ticket {
            Ticket::Uncounted => {}
            Ticket::Counted { era } => self.deliver_counted(&mut held, era, result, duration, context),
            Ticket::Returning { era } => {
                held.returning = None;
                if matches!(result, Result::Success) {
                    held.opened_alone = false;
                    let epoch = held.machine.epoch() + 1;
                    let closed =
                        breaker::Snapshot { epoch, entered_at: context.now, ..breaker::Snapshot::pristine() };
                    held.machine.follow(&closed, context.now);
                }
                self.deliver_counted(&mut held, era, result, duration, context);
            }
            Ticket::Remote(permit) => {
                self.tell_machine(&mut held, MachineTicket::Bare { epoch: None }, &result, duration, context);
                self.deliver_permit(&mut held, permit, result, duration, context);
            }
            Ticket::Local(pass) => {
                self.tell_machine(&mut held, MachineTicket::Own(pass), &result, duration, context);
                held.totals.note(result.outcome(), 1);
                held.totals.alone(result.outcome(), 1);
                context.around.wake.soon();
            }
        }
        self.publish(&mut held, context);
    }

    fn deliver_counted(
        self: &Arc<Self>,
        held: &mut Held,
        era: u32,
        result: Result,
        duration: Duration,
        context: &Context<'_>,
    ) {
        if era == held.era {
            self.tell_machine(held, MachineTicket::Bare { epoch: None }, &result, duration, context);
        }
        let outgoing = self.outgoing(result, duration);
        held.totals.slow += u64::from(outgoing.slow);
        match held.epoch_of(era) {
            ReportedEpoch::Is(epoch) => self.deliver(held, Outgoing { epoch, ..outgoing }, context),
            ReportedEpoch::TooLate => {
                held.totals.note(outgoing.outcome, 1);
                held.totals.reports.late += 1;
            }
        }
    }

    pub(super) fn deliver_permit(
        self: &Arc<Self>,
        held: &mut Held,
        permit: RemotePermit,
        result: Result,
        duration: Duration,
        context: &Context<'_>,
    ) {
        let probe = permit.expires.is_some();
        let outgoing = Outgoing { permit: permit.permit, probe, ..self.outgoing(result, duration) };
        held.totals.slow += u64::from(outgoing.slow);
        self.deliver(held, outgoing, context);
    }

    /// One call, without a permit, in the present epoch.
    fn outgoing(&self, result: Result, duration: Duration) -> Outgoing {
        let mut durations = Durations::default();
        durations.add(duration);
        let outcome = result.outcome();
        let (error_class, retry_after) = match result {
            Result::Failure(failure) => (failure.class, failure.retry_after),
            Result::Success | Result::Ignored => (Cow::Borrowed(""), None),
        };
        Outgoing {
            permit: Bytes::new(),
            probe: false,
            epoch: None,
            outcome,
            count: 1,
            slow: outcome != Outcome::Ignored && self.is_slow(duration),
            durations,
            error_class,
            retry_after,
        }
    }

    fn is_slow(&self, duration: Duration) -> bool {
        let slow_after = self.slow_after.load(Ordering::Relaxed);
        slow_after != u64::MAX && duration.as_micros() > u128::from(slow_after)
    }

    /// The machine here is told everything, so that it can decide when breakerd cannot.
    fn tell_machine(
        &self,
        held: &mut Held,
        ticket: MachineTicket,
        result: &Result,
        duration: Duration,
        context: &Context<'_>,
    ) {
        let mut report = Report { duration: Some(duration), ..Report::plain(result.outcome()) };
        if let Result::Failure(failure) = result {
            report.error_class = &failure.class;
            report.retry_after = failure.retry_after;
        }
        held.machine.record(ticket, &report, context.now);
        self.note_trip(held, context);
    }

    fn note_trip(&self, held: &mut Held, context: &Context<'_>) {
        let alone = self.when_unreachable == WhenUnreachable::Local && !held.is_live(context);
        held.opened_alone |= alone && held.machine.state() != State::Closed;
    }

    /// Counts the successes that wait, before anything else happens to the breaker.
    pub(super) fn drain(self: &Arc<Self>, held: &mut Held, context: &Context<'_>) {
        self.drain_into(held, held.era, context);
    }

    /// As [`Cell::drain`], if nothing else is about to happen to it: where the queue is full, successes wait where they are.
    pub(super) fn drain_if_room(self: &Arc<Self>, held: &mut Held, context: &Context<'_>) {
        if context.around.outbox.has_room() {
            self.drain(held, context);
        }
    }

    /// As [`Cell::drain`]; the next successes are of `era`.
    pub(super) fn drain_into(self: &Arc<Self>, held: &mut Held, era: u32, context: &Context<'_>) {
        let (count, durations) = self.pending.drain(era);
        held.era = era;
        if count == 0 {
            return;
        }
        held.machine.record_run(None, &Report::plain(Outcome::Success), count, context.now);
        let outgoing = Outgoing {
            permit: Bytes::new(),
            probe: false,
            epoch: held.remote.epoch,
            outcome: Outcome::Success,
            count,
            slow: false,
            durations,
            error_class: Cow::Borrowed(""),
            retry_after: None,
        };
        self.deliver(held, outgoing, context);
    }

    /// Queues an outcome for breakerd, or counts it as one of the time without it.
    fn deliver(self: &Arc<Self>, held: &mut Held, outgoing: Outgoing, context: &Context<'_>) {
        let Outgoing { outcome, count, .. } = outgoing;
        held.totals.note(outcome, count);
        if !held.is_live(context) && !outgoing.probe {
            held.totals.alone(outcome, count);
            context.around.wake.soon();
            return;
        }
        let urgent = outcome == Outcome::Failure || outgoing.probe;
        if !context.around.outbox.push(self, outgoing, context.now) {
            held.totals.reports.dropped += u64::from(count);
            if outcome == Outcome::Failure {
                // breakerd cannot trip on what it is not sent.
                held.refused_until = context.now + REFUSED_PAUSE;
            }
            return;
        }
        held.totals.reports.waiting += u64::from(count);
        if outcome == Outcome::Failure {
            context.around.link.failure_sent(context.now);
        }
        if urgent {
            context.around.wake.now();
        } else {
            context.around.wake.soon();
        }
    }

    /// Whether what was queued is too old to be sent; it counts as one of the time without breakerd then.
    pub(crate) fn retire_if_old(self: &Arc<Self>, item: &Item<Self>, now: Time) -> bool {
        let Outgoing { outcome, count, probe, .. } = &item.outgoing;
        if now.since(item.queued_at) < WAIT_MAX || *probe {
            return false;
        }
        let mut held = self.lock();
        held.totals.reports.waiting -= u64::from(*count);
        held.totals.alone(*outcome, *count);
        true
    }

    /// Successes that were not counted yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.count() > 0
    }
}
