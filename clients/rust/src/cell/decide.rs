//! Whether a call may go ahead.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::{State, Time};
use tokio::sync::oneshot;

use super::held::{Held, Remote};
use super::ticket::{Decision, RemotePermit, Ticket};
use super::{Cell, Context, KIND_BITS, Kind, STOCK_MAX};
use crate::clock::Clock;
use crate::settings::WhenUnreachable;

/// How long a call that found no free probe slot is told to wait, when nothing better is known.
const PROBE_RETRY: Duration = Duration::from_millis(100);
/// A call that decides alone whether the dependency is back, and was never reported, is not waited for any longer.
const RETURNING_MAX: Duration = Duration::from_mins(1);

impl Cell {
    /// What can be told without the lock. None: look under it.
    #[inline]
    pub(crate) fn decide_fast(&self, clock: &Clock) -> Option<Decision> {
        let word = self.word.load(Ordering::Acquire);
        let era = word >> KIND_BITS;
        match word & ((1 << KIND_BITS) - 1) {
            kind if kind == Kind::Closed as u32 => Some(Decision::Allowed(Ticket::Counted { era })),
            kind if kind == Kind::Uncounted as u32 => Some(Decision::Allowed(Ticket::Uncounted)),
            kind if kind == Kind::Open as u32 => self.still_rejected(State::Open, clock),
            kind if kind == Kind::ForcedOpen as u32 => self.still_rejected(State::ForcedOpen, clock),
            _ => None,
        }
    }

    fn still_rejected(&self, state: State, clock: &Clock) -> Option<Decision> {
        let until = Time::from_micros(self.until.load(Ordering::Acquire));
        if until == Time::MAX {
            return Some(Decision::Rejected(self.reject(state, None)));
        }
        let rest = until.since(clock.about_now());
        (rest > Duration::ZERO).then(|| Decision::Rejected(self.reject(state, Some(rest))))
    }

    /// Decides under the lock.
    pub(crate) fn decide(&self, context: &Context<'_>) -> Decision {
        self.decide_locked(&mut self.lock(), context)
    }

    /// As [`Cell::decide`]. If breakerd has to be asked, `waiting` is told the answer.
    pub(crate) fn decide_or_wait(
        &self,
        context: &Context<'_>,
        waiting: oneshot::Sender<Decision>,
    ) -> Decision {
        let mut held = self.lock();
        let decision = self.decide_locked(&mut held, context);
        if matches!(decision, Decision::Request) {
            held.requests.waiting = Some(waiting);
        }
        decision
    }

    fn decide_locked(&self, held: &mut MutexGuard<'_, Held>, context: &Context<'_>) -> Decision {
        let now = context.now;
        held.end_overrides(now);
        let live = held.is_live(context);
        let decision = if !context.enabled {
            Decision::Allowed(Ticket::Uncounted)
        } else if !live && self.allows_blindly(context) {
            Decision::Allowed(Ticket::Counted { era: held.era })
        } else if !live && self.when_unreachable == WhenUnreachable::Deny {
            Decision::Rejected(self.reject(State::Open, None))
        } else if let Some(set) = held.override_at(now) {
            match set.state {
                State::Disabled => Decision::Allowed(Ticket::Uncounted),
                State::MetricsOnly => Decision::Allowed(Ticket::Counted { era: held.era }),
                state => {
                    let rest = (set.until != Time::MAX).then(|| set.until.since(now));
                    Decision::Rejected(self.reject(state, rest))
                }
            }
        } else if live {
            self.by_breakerd(held, now)
        } else if matches!(self.when_unreachable, WhenUnreachable::LastKnown { .. })
            && held.remote.state == State::Closed
        {
            Decision::Allowed(Ticket::Counted { era: held.era })
        } else {
            self.alone(held, now)
        };
        self.publish(held, context);
        decision
    }

    /// Whether calls go ahead while breakerd is away, whatever is known.
    fn allows_blindly(&self, context: &Context<'_>) -> bool {
        match self.when_unreachable {
            WhenUnreachable::Allow => true,
            WhenUnreachable::LastKnown { at_most } => context.is_older_than(at_most),
            WhenUnreachable::Local | WhenUnreachable::Deny => false,
        }
    }

    fn by_breakerd(&self, held: &mut Held, now: Time) -> Decision {
        let Remote { state, until, .. } = held.remote;
        match state {
            State::Open if until > now => {
                let rest = (until != Time::MAX).then(|| until.since(now));
                Decision::Rejected(self.reject(State::Open, rest))
            }
            State::Open | State::HalfOpen => self.request(held, now),
            _ if held.opened_alone => self.returning(held, now),
            _ => Decision::Allowed(Ticket::Counted { era: held.era }),
        }
    }

    /// HALF_OPEN at breakerd: a probe of the stock, or a request for one.
    fn request(&self, held: &mut Held, now: Time) -> Decision {
        // One that is too old goes back to breakerd at the next refresh.
        let usable = |(permit, since): &mut (RemotePermit, Time)| {
            now.since(*since) < STOCK_MAX && permit.expires.is_none_or(|expires| expires > now)
        };
        if let Some((permit, _)) = held.requests.stock.take_if(usable) {
            return Decision::Allowed(Ticket::Remote(permit));
        }
        let requests = &mut held.requests;
        if requests.in_flight || requests.not_before > now {
            let rest = requests.not_before.since(now);
            let retry_after = if rest.is_zero() { PROBE_RETRY } else { rest };
            return Decision::Rejected(self.reject(State::HalfOpen, Some(retry_after)));
        }
        requests.in_flight = true;
        Decision::Request
    }

    /// CLOSED at breakerd, and opened here while it was away: the wait goes on, then one call at a time, until one succeeds. Else
    /// all clients would flood a dependency that is still dead, together.
    fn returning(&self, held: &mut Held, now: Time) -> Decision {
        held.machine.poll(now);
        match (held.machine.state(), held.machine.next_deadline()) {
            (State::Open, until) => {
                let rest = until.map(|until| until.since(now));
                Decision::Rejected(self.reject(State::Open, rest))
            }
            _ if held.returning.is_some_and(|since| now.since(since) < RETURNING_MAX) => {
                Decision::Rejected(self.reject(State::HalfOpen, Some(PROBE_RETRY)))
            }
            _ => {
                held.returning = Some(now);
                Decision::Allowed(Ticket::Returning { era: held.era })
            }
        }
    }

    /// breakerd is away: the stricter of what it said last and what the machine here says.
    fn alone(&self, held: &mut Held, now: Time) -> Decision {
        let Remote { state, until, .. } = held.remote;
        if state == State::Open && until > now {
            let rest = (until != Time::MAX).then(|| until.since(now));
            return Decision::Rejected(self.reject(State::Open, rest));
        }
        let (decision, _) = held.machine.allow(now);
        held.opened_alone |= held.machine.state() != State::Closed;
        match decision.pass {
            Some(pass) if pass.probe.is_some() => Decision::Allowed(Ticket::Local(pass)),
            Some(_) => Decision::Allowed(Ticket::Counted { era: held.era }),
            None => Decision::Rejected(self.reject(decision.state, decision.retry_after)),
        }
    }

    /// Remote mode: every call is asked for.
    pub(crate) fn must_request(&self, context: &Context<'_>) -> bool {
        let held = self.lock();
        context.enabled && held.is_live(context)
    }
}
