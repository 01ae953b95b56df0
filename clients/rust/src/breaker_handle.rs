//! A breaker as callers hold it, and the permits that it gives.

use std::borrow::Borrow;
use std::future::Future;
use std::sync::Arc;

use breaker::{Key, State};
use tokio::sync::oneshot;

use crate::cell::{Cell, Decision, Result as CallResult, Ticket};
use crate::classify::{Classified, Failure};
use crate::clock::Started;
use crate::error::{Error, Rejected};
use crate::requests;
use crate::settings::Mode;
use crate::shared::{Life, Shared};
use crate::stats::BreakerStats;

/// One breaker of a [`crate::Client`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Breaker {
    cell: Arc<Cell>,
    life: Arc<Life>,
}

impl Breaker {
    pub(crate) fn new(cell: Arc<Cell>, life: Arc<Life>) -> Self {
        Self { cell, life }
    }

    fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }

    /// Service and name.
    pub fn key(&self) -> &Key {
        &self.cell().key
    }

    /// The state that this process decides by.
    pub fn state(&self) -> State {
        self.cell().state(&self.shared().context())
    }

    /// What became of the calls of this process.
    pub fn stats(&self) -> BreakerStats {
        self.cell().stats(&self.shared().context())
    }

    /// Makes `call` if the breaker allows it, and reports how it went: `Ok` is a success, `Err` a failure. For more, see [`Breaker::guard`].
    ///
    /// A panic of `call` is a failure. If the returned future is dropped, the call is ignored.
    ///
    /// # Errors
    /// [`Error::Open`] without having polled `call`, or [`Error::Inner`] with its error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>> {
        let permit = self.acquire().await?;
        match call.await {
            Ok(value) => {
                permit.success();
                Ok(value)
            }
            Err(error) => {
                permit.failure();
                Err(Error::Inner(error))
            }
        }
    }

    /// As [`Breaker::call`]; if the call is rejected or fails, `fallback` gives the result.
    ///
    /// # Errors
    /// Those of `fallback`.
    pub async fn call_with_fallback<T, E, F: Future<Output = Result<T, Error<E>>>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(Error<E>) -> F,
    ) -> Result<T, Error<E>> {
        match self.call(call).await {
            Ok(value) => Ok(value),
            Err(error) => fallback(error).await,
        }
    }

    /// Permission for one call, decided without waiting. In `HALF_OPEN` it requests a probe from breakerd for the calls after this one; in
    /// remote mode it asks nobody, and decides by what this process knows. Where you can await, use [`Breaker::acquire`].
    ///
    /// # Errors
    /// [`Rejected`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<&Self>, Rejected> {
        let ticket = self.decide_now()?;
        Ok(Permit::new(self, ticket))
    }

    /// Permission for one call. Waits for breakerd in `HALF_OPEN`, and in remote mode, for at most the deadline of the client.
    ///
    /// # Errors
    /// [`Rejected`].
    #[inline]
    pub async fn acquire(&self) -> Result<Permit<&Self>, Rejected> {
        let ticket = self.decide().await?;
        Ok(Permit::new(self, ticket))
    }

    /// As [`Breaker::acquire`]; the permit keeps the breaker, for calls that outlive the borrow.
    ///
    /// # Errors
    /// [`Rejected`].
    pub async fn acquire_owned(&self) -> Result<Permit<Self>, Rejected> {
        let ticket = self.decide().await?;
        Ok(Permit::new(self.clone(), ticket))
    }

    #[inline]
    fn decide_now(&self) -> Result<Ticket, Rejected> {
        match self.cell().decide_fast(&self.shared().around.clock) {
            Some(Decision::Allowed(ticket)) => Ok(ticket),
            Some(Decision::Rejected(rejected)) => Err(rejected),
            _ => self.decide_locked(),
        }
    }

    #[cold]
    fn decide_locked(&self) -> Result<Ticket, Rejected> {
        let shared = self.shared();
        match self.cell().decide(&shared.context()) {
            Decision::Allowed(ticket) => Ok(ticket),
            Decision::Rejected(rejected) => Err(rejected),
            Decision::Request => {
                requests::probe(shared, self.cell());
                Err(self.cell().too_long(shared.deadline))
            }
        }
    }

    #[inline]
    async fn decide(&self) -> Result<Ticket, Rejected> {
        let shared = self.shared();
        if shared.mode == Mode::Local {
            match self.cell().decide_fast(&shared.around.clock) {
                Some(Decision::Allowed(ticket)) => return Ok(ticket),
                Some(Decision::Rejected(rejected)) => return Err(rejected),
                _ => {}
            }
        }
        self.decide_waiting().await
    }

    #[cold]
    async fn decide_waiting(&self) -> Result<Ticket, Rejected> {
        let (shared, cell) = (self.shared(), self.cell());
        let (sender, receiver) = oneshot::channel();
        let decision = if shared.mode == Mode::Remote && cell.must_request(&shared.context()) {
            requests::remote(shared, cell, sender);
            Decision::Request
        } else {
            let decision = cell.decide_or_wait(&shared.context(), sender);
            if matches!(decision, Decision::Request) {
                requests::probe(shared, cell);
            }
            decision
        };
        match decision {
            Decision::Allowed(ticket) => Ok(ticket),
            Decision::Rejected(rejected) => Err(rejected),
            Decision::Request => match receiver.await {
                Ok(Decision::Allowed(ticket)) => Ok(ticket),
                Ok(Decision::Rejected(rejected)) => Err(rejected),
                // No answer: whatever this process knows.
                Ok(Decision::Request) | Err(_) => self.decide_locked(),
            },
        }
    }

    #[inline]
    fn finish(&self, ticket: Ticket, started: Started, result: CallResult) {
        let around = &self.shared().around;
        if let Ticket::Uncounted = ticket {
            return;
        }
        let duration = around.clock.elapsed(started);
        if let (Ticket::Counted { era }, CallResult::Success) = (&ticket, &result)
            && self.cell().report_fast(*era, duration)
        {
            around.wake.soon();
            return;
        }
        self.cell().report(ticket, result, duration, &around.context());
    }
}

/// Permission for one call. Report how the call went with one of its methods. A permit that is dropped is ignored, as if there had been no call;
/// or a failure, if its thread panics, or as [`Permit::failure_if_dropped`] says.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once does not count"]
pub struct Permit<B: Borrow<Breaker> = Breaker> {
    breaker: B,
    ticket: Option<Ticket>,
    started: Started,
    dropped_is_failure: bool,
}

impl<B: Borrow<Breaker>> Permit<B> {
    #[inline]
    fn new(breaker: B, ticket: Ticket) -> Self {
        let started = breaker.borrow().shared().around.clock.start();
        Self { breaker, ticket: Some(ticket), started, dropped_is_failure: false }
    }

    /// The dependency works.
    #[inline]
    pub fn success(mut self) {
        self.finish(CallResult::Success);
    }

    /// The dependency failed.
    pub fn failure(mut self) {
        self.finish(CallResult::Failure(Failure::default()));
    }

    /// The call says nothing about the dependency.
    pub fn ignored(mut self) {
        self.finish(CallResult::Ignored);
    }

    /// What a result of the call says.
    pub fn record(mut self, classified: Classified) {
        self.finish(match classified {
            Classified::Success => CallResult::Success,
            Classified::Failure(failure) => CallResult::Failure(failure),
            Classified::Ignored => CallResult::Ignored,
        });
    }

    /// If the permit is dropped, the call is a failure, of the class "cancelled".
    pub fn failure_if_dropped(mut self) -> Self {
        self.dropped_is_failure = true;
        self
    }

    #[inline]
    fn finish(&mut self, result: CallResult) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.borrow().finish(ticket, self.started, result);
        }
    }
}

impl<B: Borrow<Breaker>> Drop for Permit<B> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let class =
            |class: &'static str| CallResult::Failure(Failure { class: class.into(), retry_after: None });
        self.finish(if std::thread::panicking() {
            class("panic")
        } else if self.dropped_is_failure {
            class("cancelled")
        } else {
            CallResult::Ignored
        });
    }
}
