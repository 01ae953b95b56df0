//! One breaker in this process: what breakerd says of it, the state machine that runs here, and what callers read.
//!
//! Callers of a CLOSED breaker, and of an OPEN one, read two atomic words. All else is decided under a lock that is held for
//! a moment, never while anything is awaited.
//!
//! # Eras
//! A breaker's era changes with its epoch, and when its epoch becomes unknown. A permit carries its era, so that the outcome
//! of a call of before is told from one of now.
//!
//! # Who decides
//! breakerd, while it can be reached ([`crate::link::Link`]). Else the machine here, which is told every outcome of this
//! process all the time, and starts from what breakerd said last.

mod context;
mod decide;
mod follow;
mod heard;
mod held;
mod report;
#[cfg(test)]
mod tests;
mod ticket;
mod totals;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use breaker::{Breaker as Machine, Identity, Key, Numbering, State, Thresholds, Time, WallOffset};

pub(crate) use self::heard::{Answered, Heard, ServiceOverride, Source};
use self::held::{Held, Remote, Requests};
pub(crate) use self::ticket::{Decision, RemotePermit, Result, Ticket};
pub(crate) use self::totals::LocalTotals;
use self::totals::Totals;
use crate::changes::StateChange;
use crate::error::Rejected;
use crate::lock;
use crate::pending::Pending;
use crate::settings::WhenUnreachable;
use crate::stats::{BreakerStats, Rejections};

/// What the breakers of a client share.
pub(crate) type Around = context::Around<Cell>;
/// What decisions are made with, beside the breaker itself.
pub(crate) type Context<'a> = context::Context<'a, Cell>;

/// The lower bits of a word.
const KIND_BITS: u32 = 3;

/// What the word of a breaker says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    /// Look under the lock.
    Locked = 0,
    /// It may go ahead, and counts.
    Closed = 1,
    /// It may not, until the time in `until`.
    Open = 2,
    /// Likewise, since an operator said so.
    ForcedOpen = 3,
    /// It may go ahead, and does not count.
    Uncounted = 4,
}

/// One breaker in this process.
///
/// What a call of a CLOSED breaker reads and writes comes first, within one line of the cache: with thousands of breakers, each line is a miss.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Cell {
    /// The era, and a [`Kind`] in its lower bits.
    word: AtomicU32,
    /// Successes that took longer, in microseconds, are slow.
    slow_after: AtomicU64,
    /// OPEN: its end in microseconds; [`Time::MAX`]: none is set.
    until: AtomicU64,
    pending: Pending,
    rejected: [AtomicU64; 3],
    pub(crate) key: Key,
    pub(crate) when_unreachable: WhenUnreachable,
    held: Mutex<Held>,
}

impl Cell {
    pub(crate) fn new(
        key: Key,
        when_unreachable: WhenUnreachable,
        thresholds: Arc<Thresholds>,
        context: &Context<'_>,
    ) -> Self {
        let identity = Identity {
            key_hash: fastrand::u64(..),
            salt: fastrand::u64(..),
            first_number: 0,
            numbering: Numbering::Own,
            stagger: Duration::ZERO,
            wall: WallOffset::ZERO,
        };
        let slow_after = slow_after(&thresholds);
        let machine = Machine::new(thresholds, 0, identity, context.now);
        let held = Held {
            machine,
            remote: Remote::CLOSED,
            service: None,
            epoch_said_at: context.now,
            era: 0,
            earlier_epoch: None,
            opened_alone: false,
            returning: None,
            refused_until: Time::ZERO,
            requests: Requests::default(),
            totals: Totals::default(),
            shown: State::Closed,
        };
        let cell = Self {
            key,
            when_unreachable,
            word: AtomicU32::new(Kind::Locked as u32),
            until: AtomicU64::new(0),
            slow_after: AtomicU64::new(slow_after),
            pending: Pending::new(0),
            rejected: Default::default(),
            held: Mutex::new(held),
        };
        cell.publish(&mut cell.lock(), context);
        cell
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    /// Makes what callers read agree with what is held, and notes a change of state.
    fn publish(&self, held: &mut Held, context: &Context<'_>) {
        held.opened_alone &= held.machine.state() != State::Closed;
        let (kind, until) = self.kind(held, context);
        self.until.store(until.as_micros(), Ordering::Release);
        self.word.store(held.era << KIND_BITS | kind as u32, Ordering::Release);
        let live = held.is_live(context);
        let state = self.state_of(held, context);
        if state != held.shown {
            let change =
                StateChange { key: self.key.clone(), from: held.shown, to: state, by_breakerd: live };
            held.shown = state;
            held.totals.transitions += 1;
            context.around.changes.push(change);
        }
    }

    /// What callers need to read, in the states that they can decide by reading alone.
    fn kind(&self, held: &Held, context: &Context<'_>) -> (Kind, Time) {
        if !context.enabled {
            return (Kind::Uncounted, Time::MAX);
        }
        if let Some(set) = held.override_at(context.now) {
            return match (set.state, set.until) {
                // What follows such an override must not depend on who looks.
                _ if matches!(self.when_unreachable, WhenUnreachable::Allow | WhenUnreachable::Deny) => {
                    (Kind::Locked, Time::MAX)
                }
                (State::ForcedOpen, until) => (Kind::ForcedOpen, until),
                (State::Disabled, Time::MAX) => (Kind::Uncounted, Time::MAX),
                (State::MetricsOnly, Time::MAX) => (Kind::Closed, Time::MAX),
                _ => (Kind::Locked, Time::MAX),
            };
        }
        let (what, live) = (self.when_unreachable, held.is_live(context));
        // With any other policy, whether a call is rejected depends on whether breakerd rules when it is made.
        let rejects = what == WhenUnreachable::Local || (what == WhenUnreachable::Deny && live);
        match (held.remote.state, held.machine.state()) {
            (State::Closed, State::Closed) if what != WhenUnreachable::Deny || live => {
                (Kind::Closed, Time::MAX)
            }
            (State::Closed, State::Open) if held.opened_alone && rejects => {
                (Kind::Open, held.machine.next_deadline().unwrap_or(context.now))
            }
            (State::Open, _) if rejects => (Kind::Open, held.remote.until),
            _ => (Kind::Locked, Time::MAX),
        }
    }

    /// The state that this process decides by.
    fn state_of(&self, held: &Held, context: &Context<'_>) -> State {
        if !context.enabled {
            return State::Disabled;
        }
        if let Some(set) = held.override_at(context.now) {
            return set.state;
        }
        let machine = held.machine.state();
        if held.is_live(context) {
            return if held.opened_alone { machine } else { held.remote.state };
        }
        match self.when_unreachable {
            WhenUnreachable::Allow => State::Closed,
            WhenUnreachable::Deny => State::Open,
            WhenUnreachable::LastKnown { at_most } if context.is_older_than(at_most) => State::Closed,
            WhenUnreachable::LastKnown { .. } if held.remote.state == State::Closed => State::Closed,
            WhenUnreachable::Local | WhenUnreachable::LastKnown { .. } => machine,
        }
    }

    /// The state that this process decides by, now.
    pub(crate) fn state(&self, context: &Context<'_>) -> State {
        let mut held = self.lock();
        self.look(&mut held, context);
        held.shown
    }

    /// Lets the time that passed, and whether breakerd can be reached, take effect on what is shown.
    fn look(&self, held: &mut Held, context: &Context<'_>) {
        held.end_overrides(context.now);
        if !held.is_live(context) {
            held.machine.poll(context.now);
        }
        self.publish(held, context);
    }

    /// As [`Cell::state`], for what no caller looks at.
    pub(crate) fn refresh(self: &Arc<Self>, context: &Context<'_>) {
        let mut held = self.lock();
        self.drain_if_room(&mut held, context);
        self.forget_old_epoch(&mut held, context);
        if let Some((permit, since)) = held.requests.stock.take() {
            if context.now.since(since) < STOCK_MAX {
                held.requests.stock = Some((permit, since));
            } else {
                self.give_back(&mut held, permit, context);
            }
        }
        self.look(&mut held, context);
    }

    /// Gives a permit back that no call took, before the client ends: its probe slot would stay taken until its lease is over.
    pub(crate) fn give_unused_back(self: &Arc<Self>, context: &Context<'_>) {
        let mut held = self.lock();
        if let Some((permit, _)) = held.requests.stock.take() {
            self.give_back(&mut held, permit, context);
        }
    }

    /// The breaker as this process sees it.
    pub(crate) fn stats(self: &Arc<Self>, context: &Context<'_>) -> BreakerStats {
        let mut held = self.lock();
        self.drain_if_room(&mut held, context);
        self.look(&mut held, context);
        let view = held.machine.view(context.now);
        let until = match held.override_at(context.now) {
            Some(set) => Some(set.until),
            None if held.shown != State::Open => None,
            None if held.remote.state == State::Open && held.is_live(context) => Some(held.remote.until),
            None => held.machine.next_deadline(),
        };
        let Totals { successful, failed, ignored, slow, transitions, reports, .. } = held.totals;
        BreakerStats {
            service: self.key.service().to_string(),
            name: self.key.name().to_string(),
            state: held.shown,
            connected: held.is_live(context),
            successful,
            failed,
            ignored,
            slow,
            rejected: self.rejections(),
            consecutive_failures: view.stats.consecutive_failures,
            consecutive_successes: view.stats.consecutive_successes,
            transitions,
            remaining_wait: until.filter(|until| *until != Time::MAX).map(|until| until.since(context.now)),
            reports,
        }
    }

    fn rejections(&self) -> Rejections {
        let [open, half_open, forced_open] =
            [0, 1, 2].map(|reason| self.rejected[reason].load(Ordering::Relaxed));
        Rejections { open, half_open, forced_open }
    }

    /// Notes a rejection, and is the answer to it.
    fn reject(&self, state: State, retry_after: Option<Duration>) -> Rejected {
        let reason = match state {
            State::HalfOpen => 1,
            State::ForcedOpen => 2,
            _ => 0,
        };
        self.rejected[reason].fetch_add(1, Ordering::Relaxed);
        Rejected { state, retry_after }
    }

    /// Takes what breakerd has not been told for its metrics. None: nothing.
    pub(crate) fn take_local_totals(&self) -> Option<LocalTotals> {
        let mut held = self.lock();
        let rejected = self.rejections();
        let told = held.totals.local.rejected;
        let mut totals = std::mem::take(&mut held.totals.local);
        totals.rejected = Rejections {
            open: rejected.open - told.open,
            half_open: rejected.half_open - told.half_open,
            forced_open: rejected.forced_open - told.forced_open,
        };
        held.totals.local.rejected = rejected;
        (totals != LocalTotals::default()).then_some(totals)
    }

    /// Puts back what could surely not be told.
    pub(crate) fn put_local_totals_back(&self, totals: LocalTotals) {
        let local = &mut self.lock().totals.local;
        local.successful += totals.successful;
        local.failed += totals.failed;
        local.ignored += totals.ignored;
        local.rejected.open -= totals.rejected.open;
        local.rejected.half_open -= totals.rejected.half_open;
        local.rejected.forced_open -= totals.rejected.forced_open;
    }
}

/// A permit that nobody took for so long goes back to breakerd.
pub(crate) const STOCK_MAX: Duration = Duration::from_secs(1);

/// How long a breaker is decided here after breakerd refused an outcome of it, or a failure could not be sent.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

fn slow_after(thresholds: &Thresholds) -> u64 {
    let micros = |threshold: Duration| u64::try_from(threshold.as_micros()).unwrap_or(u64::MAX);
    thresholds.slow_call_duration_threshold().map_or(u64::MAX, micros)
}
