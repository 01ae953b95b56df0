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

mod decide;
mod follow;
mod report;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use breaker::{Breaker as Machine, Identity, Key, Numbering, Pass, State, Thresholds, Time, WallOffset};
use bytes::Bytes;
use tokio::sync::oneshot;

pub(crate) use self::decide::Decision;
pub(crate) use self::follow::{Answered, Heard, Source};
use crate::classify::Failure;
use crate::clock::Clock;
use crate::error::Rejected;
use crate::lock;
use crate::outbox::Outbox;
use crate::pending::Pending;
use crate::settings::WhenUnreachable;
use crate::stats::{BreakerStats, Rejections, Reports};

/// State changes that wait for their listeners; what comes on top is not told.
const CHANGES_MAX: usize = 1_024;

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

/// What an allowed call carries.
#[derive(Debug)]
pub(crate) enum Ticket {
    /// An ordinary call of an era.
    Counted { era: u32 },
    /// A call that breakerd itself allowed: a probe, or any call in remote mode.
    Remote(RemotePermit),
    /// A probe of the machine here.
    Local(Pass),
    /// The one call at a time after breakerd was away.
    Returning { era: u32 },
    /// Nothing is recorded of it.
    Uncounted,
}

/// A permit of breakerd.
#[derive(Debug)]
pub(crate) struct RemotePermit {
    pub(crate) permit: Bytes,
    /// When its probe slot is free again, if it is a probe.
    pub(crate) expires: Option<Time>,
}

/// How a call went.
#[derive(Debug, Clone)]
pub(crate) enum Result {
    Success,
    Failure(Failure),
    Ignored,
}

/// What decisions are made with, beside the breaker itself.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    /// Whether breakerd rules.
    pub(crate) live: bool,
    /// When it was last heard. None: never.
    pub(crate) last_heard: Option<Time>,
    /// `enabled` of breakerd's configuration.
    pub(crate) enabled: bool,
    pub(crate) around: &'a Around,
}

/// What the breakers of a client share.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) clock: Clock,
    pub(crate) link: crate::link::Link,
    pub(crate) outbox: Outbox,
    pub(crate) changes: Mutex<VecDeque<StateChange>>,
    /// Wakes who tells the listeners.
    pub(crate) changed: tokio::sync::Notify,
    /// Wakes who sends.
    pub(crate) wake: crate::wake::Wake,
    pub(crate) enabled: std::sync::atomic::AtomicBool,
}

impl Around {
    pub(crate) fn context(&self) -> Context<'_> {
        let now = self.clock.now();
        Context {
            now,
            live: self.link.live(now),
            last_heard: self.link.last_heard(),
            enabled: self.enabled.load(Ordering::Acquire),
            around: self,
        }
    }
}

/// A change of the state that this process decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// The breaker.
    pub key: Key,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Whether breakerd said so. If not, this process decided alone.
    pub by_breakerd: bool,
}

/// What breakerd said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remote {
    state: State,
    /// When OPEN, or the override, ends; [`Time::MAX`]: no end is set.
    until: Time,
    /// None: not known; it is CLOSED then.
    epoch: Option<u64>,
    open_count: u32,
}

impl Remote {
    const CLOSED: Self = Self { state: State::Closed, until: Time::MAX, epoch: None, open_count: 0 };
}

/// The override of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServiceOverride {
    pub(crate) state: State,
    pub(crate) until: Time,
}

/// Requests to breakerd for one breaker.
#[derive(Debug, Default)]
struct Requests {
    in_flight: bool,
    /// None before this.
    not_before: Time,
    /// A permit that its requester did not wait for.
    stock: Option<(RemotePermit, Time)>,
    /// Who waits for the one in flight.
    waiting: Option<oneshot::Sender<Decision>>,
}

/// Outcomes and rejections that breakerd has not been told yet, for its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LocalTotals {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    pub(crate) rejected: Rejections,
}

#[derive(Debug, Default)]
struct Totals {
    successful: u64,
    failed: u64,
    ignored: u64,
    slow: u64,
    transitions: u64,
    reports: Reports,
    /// Not sent yet; of `rejected`: what was sent.
    local: LocalTotals,
}

#[derive(Debug)]
struct Held {
    machine: Machine,
    remote: Remote,
    service: Option<ServiceOverride>,
    era: u32,
    /// What a call of an earlier era reports as its epoch: an earlier one than the present. None: such a call is late.
    earlier_epoch: Option<u64>,
    /// The machine opened while breakerd was away.
    opened_alone: bool,
    /// The one call that is out after that, and since when.
    returning: Option<Time>,
    /// breakerd refused an outcome of this breaker: until then it is decided here.
    refused_until: Time,
    requests: Requests,
    totals: Totals,
    shown: State,
}

/// One breaker in this process.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) key: Key,
    pub(crate) when_unreachable: WhenUnreachable,
    /// The era, and a [`Kind`] in its lower bits.
    word: AtomicU32,
    /// OPEN: its end in microseconds; [`Time::MAX`]: none is set.
    until: AtomicU64,
    /// Successes that took longer, in microseconds, are slow.
    slow_after: AtomicU64,
    pending: Pending,
    rejected: [AtomicU64; 3],
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
            wall: WallOffset::ZERO,
        };
        let slow_after = slow_after(&thresholds);
        let machine = Machine::new(thresholds, 0, identity, context.now);
        let held = Held {
            machine,
            remote: Remote::CLOSED,
            service: None,
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
            let mut changes = lock(&context.around.changes);
            if changes.len() < CHANGES_MAX {
                changes.push_back(change);
            }
            drop(changes);
            context.around.changed.notify_one();
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
        let waits_for_no_one = match self.when_unreachable {
            WhenUnreachable::Local => true,
            WhenUnreachable::Deny => held.is_live(context),
            WhenUnreachable::Allow | WhenUnreachable::LastKnown { .. } => false,
        };
        match (held.remote.state, held.machine.state()) {
            (State::Closed, State::Closed) if !held.opened_alone => match self.when_unreachable {
                WhenUnreachable::Deny if !waits_for_no_one => (Kind::Locked, Time::MAX),
                _ => (Kind::Closed, Time::MAX),
            },
            (State::Closed, State::Open) if held.opened_alone && waits_for_no_one => {
                (Kind::Open, held.machine.next_deadline().unwrap_or(context.now))
            }
            (State::Open, _) if waits_for_no_one => (Kind::Open, held.remote.until),
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
        self.drain(&mut held, context);
        if let Some((permit, since)) = held.requests.stock.take() {
            if context.now.since(since) < STOCK_MAX {
                held.requests.stock = Some((permit, since));
            } else {
                self.give_back(&mut held, permit, context);
            }
        }
        self.look(&mut held, context);
    }

    /// The breaker as this process sees it.
    pub(crate) fn stats(self: &Arc<Self>, context: &Context<'_>) -> BreakerStats {
        let mut held = self.lock();
        self.drain(&mut held, context);
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

fn slow_after(thresholds: &Thresholds) -> u64 {
    let micros = |threshold: Duration| u64::try_from(threshold.as_micros()).unwrap_or(u64::MAX);
    thresholds.slow_call_duration_threshold().map_or(u64::MAX, micros)
}

impl Context<'_> {
    /// Whether what breakerd said last is older than `at_most`.
    fn is_older_than(&self, at_most: Duration) -> bool {
        self.last_heard.is_none_or(|heard| self.now.since(heard) > at_most)
    }
}

impl Held {
    /// Whether breakerd rules over this breaker.
    fn is_live(&self, context: &Context<'_>) -> bool {
        context.live && self.refused_until <= context.now
    }

    /// The override in force: its own before that of its service.
    fn override_at(&self, now: Time) -> Option<ServiceOverride> {
        let Remote { state, until, .. } = self.remote;
        let own = is_override(state).then_some(ServiceOverride { state, until });
        own.or(self.service).filter(|set| set.until > now)
    }

    /// Takes overrides back whose end has come: CLOSED, until breakerd says more.
    fn end_overrides(&mut self, now: Time) {
        if is_override(self.remote.state) && self.remote.until <= now {
            self.remote = Remote { state: State::Closed, until: Time::MAX, ..self.remote };
        }
        self.service = self.service.filter(|set| set.until > now);
    }
}

fn is_override(state: State) -> bool {
    matches!(state, State::ForcedOpen | State::Disabled | State::MetricsOnly)
}
