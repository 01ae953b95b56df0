//! What is held under the lock of a breaker.

use breaker::{Breaker as Machine, State, Time};
use tokio::sync::oneshot;

use super::context::Context;
use super::heard::ServiceOverride;
use super::ticket::{Decision, RemotePermit};
use super::totals::Totals;

/// What breakerd said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) state: State,
    /// When OPEN, or the override, ends; [`Time::MAX`]: no end is set.
    pub(super) until: Time,
    /// None: not known; it is CLOSED then.
    pub(super) epoch: Option<u64>,
    pub(super) open_count: u32,
    /// The stream said so, and not only an answer: among news of one epoch, the stream's order rules.
    pub(super) streamed: bool,
}

impl Remote {
    pub(super) const CLOSED: Self =
        Self { state: State::Closed, until: Time::MAX, epoch: None, open_count: 0, streamed: false };
}

/// Requests to breakerd for one breaker.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) in_flight: bool,
    /// None before this.
    pub(super) not_before: Time,
    /// A permit that its requester did not wait for.
    pub(super) stock: Option<(RemotePermit, Time)>,
    /// Who waits for the one in flight.
    pub(super) waiting: Option<oneshot::Sender<Decision>>,
}

/// What is held under the lock of a breaker.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) machine: Machine,
    pub(super) remote: Remote,
    pub(super) service: Option<ServiceOverride>,
    /// When breakerd last said the epoch of `remote`.
    pub(super) epoch_said_at: Time,
    pub(super) era: u32,
    /// What a call of an earlier era reports as its epoch: an earlier one than the present. None: such a call is late.
    pub(super) earlier_epoch: Option<u64>,
    /// The machine opened while breakerd was away.
    pub(super) opened_alone: bool,
    /// The one call that is out after that, and since when.
    pub(super) returning: Option<Time>,
    /// breakerd refused an outcome of this breaker: until then it is decided here.
    pub(super) refused_until: Time,
    pub(super) requests: Requests,
    pub(super) totals: Totals,
    pub(super) shown: State,
}

impl Held {
    /// Whether breakerd rules over this breaker.
    pub(super) fn is_live<B>(&self, context: &Context<'_, B>) -> bool {
        context.live && self.refused_until <= context.now
    }

    /// The override in force: its own before that of its service.
    pub(super) fn override_at(&self, now: Time) -> Option<ServiceOverride> {
        let Remote { state, until, .. } = self.remote;
        let own = is_override(state).then_some(ServiceOverride { state, until });
        own.or(self.service).filter(|set| set.until > now)
    }

    /// Takes overrides back whose end has come: CLOSED, until breakerd says more.
    pub(super) fn end_overrides(&mut self, now: Time) {
        if is_override(self.remote.state) && self.remote.until <= now {
            self.remote = Remote { state: State::Closed, until: Time::MAX, ..self.remote };
        }
        self.service = self.service.filter(|set| set.until > now);
    }
}

fn is_override(state: State) -> bool {
    matches!(state, State::ForcedOpen | State::Disabled | State::MetricsOnly)
}
