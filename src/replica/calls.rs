//! Calls that are decided together: those that wait for the store wait at the same time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use breaker::{Awaited, Time};
use breakerd_common::clock::Clock;
use tokio::sync::futures::Notified;

use super::coordinator::Coordinator;
use crate::engine::{Allowed, AnswerGroup, Creator, Engine, EngineError, Permit, Waits};

/// How long calls wait for the store in half-open, all together and at the most; then they are denied.
const CALLS_WAIT: Duration = Duration::from_millis(50);

/// One or more calls of one caller, each known by a number.
///
/// First look at each ([`Calls::look`]), then at those that are named ([`Calls::answered`]), until none is, and then say that the
/// caller is told ([`Calls::told`]). Dropped before that, the caller has gone, and its probes wait for other calls.
pub struct Calls<'a> {
    engine: &'a Engine,
    clock: &'a dyn Clock,
    /// None: this process is alone, and nothing waits.
    coordinator: Option<&'a Coordinator>,
    creator: Creator<'a>,
    /// Until when they wait; none: none did yet.
    gives_up_at: Option<Time>,
    waiting: BTreeMap<AnswerGroup, Waiting<'a>>,
    /// Probes that were given, of which the caller does not know yet.
    given: Vec<Permit>,
}

/// Calls that wait for answers about the same breakers.
struct Waiting<'a> {
    answered: Pin<Box<Notified<'a>>>,
    calls: Vec<WaitingCall>,
}

/// A call that waits.
#[derive(Debug, Clone, Copy)]
pub struct WaitingCall {
    /// The number that it is known by.
    pub number: usize,
    awaited: Option<Awaited>,
}

impl WaitingCall {
    /// One that has not been looked at yet.
    pub fn new(number: usize) -> Self {
        Self { number, awaited: None }
    }
}

impl std::fmt::Debug for Calls<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("gives_up_at", &self.gives_up_at).finish_non_exhaustive()
    }
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        clock: &'a dyn Clock,
        coordinator: Option<&'a Coordinator>,
        creator: Creator<'a>,
    ) -> Self {
        let (waiting, given) = (BTreeMap::new(), Vec::new());
        Self { engine, clock, coordinator, creator, gives_up_at: None, waiting, given }
    }

    /// Decides whether a call is allowed; none: it waits for the store, and will be named by [`Calls::answered`]. Nothing waits
    /// while the store does not answer, nor 50 ms after the first call waited.
    ///
    /// # Errors
    /// As [`crate::engine::Engine::allow_for`].
    pub fn look(
        &mut self,
        mut call: WaitingCall,
        service: &str,
        name: &str,
        now: Time,
    ) -> Result<Option<Allowed>, EngineError> {
        let may_wait = self.may_wait(now);
        let allowed = self.decide(&mut call, service, name, may_wait, now)?;
        if call.awaited.is_none() || !may_wait {
            return Ok(Some(self.given(allowed)));
        }
        let group = self.engine.answer_group(service, name);
        if let Entry::Vacant(vacant) = self.waiting.entry(group) {
            let answered = Box::pin(self.engine.answered_in(group));
            vacant.insert(Waiting { answered, calls: Vec::new() });
            // The answer may have come before it was listened for.
            let allowed = self.decide(&mut call, service, name, may_wait, now)?;
            if call.awaited.is_none() {
                self.waiting.remove(&group);
                return Ok(Some(self.given(allowed)));
            }
        }
        self.waiting.entry(group).and_modify(|waiting| waiting.calls.push(call));
        self.gives_up_at.get_or_insert(now + CALLS_WAIT);
        Ok(None)
    }

    fn decide(
        &self,
        call: &mut WaitingCall,
        service: &str,
        name: &str,
        may_wait: bool,
        now: Time,
    ) -> Result<Allowed, EngineError> {
        let waits = if may_wait { Waits::For(call.awaited) } else { Waits::Not(call.awaited) };
        let allowed = self.engine.try_allow_for(self.creator, service, name, waits, now)?;
        call.awaited = allowed.decision.waits;
        Ok(allowed)
    }

    /// Ends when calls are to be looked at again, and says which: the store has answered about their breakers, or about others
    /// of their group, or they have waited long enough. None: none waits.
    pub async fn answered(&mut self) -> Vec<WaitingCall> {
        let Some(gives_up_at) = self.gives_up_at.filter(|_| !self.waiting.is_empty()) else {
            return Vec::new();
        };
        let mut over = pin!(self.clock.sleep_until(gives_up_at));
        let waiting = &mut self.waiting;
        let groups: Vec<AnswerGroup> = poll_fn(|cx| {
            let answered = waiting.iter_mut().filter_map(|(group, waiting)| {
                waiting.answered.as_mut().poll(cx).is_ready().then_some(*group)
            });
            let answered: Vec<_> = answered.collect();
            if !answered.is_empty() {
                return Poll::Ready(answered);
            }
            over.as_mut().poll(cx).map(|()| waiting.keys().copied().collect())
        })
        .await;
        let answered = groups.iter().filter_map(|group| self.waiting.remove(group));
        answered.flat_map(|waiting| waiting.calls).collect()
    }

    /// The caller is told what was decided.
    pub fn told(mut self) {
        self.given.clear();
    }

    fn may_wait(&self, now: Time) -> bool {
        let can = self.coordinator.is_some_and(|coordinator| !coordinator.is_failing());
        can && self.gives_up_at.is_none_or(|gives_up_at| now < gives_up_at)
    }

    fn given(&mut self, allowed: Allowed) -> Allowed {
        self.given.extend(allowed.permit.filter(|permit| permit.pass.probe.is_some()));
        allowed
    }
}

impl Drop for Calls<'_> {
    fn drop(&mut self) {
        for permit in &self.given {
            self.engine.release(permit, self.clock.now());
        }
    }
}
