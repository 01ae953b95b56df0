//! Protected calls with more than a breaker alone.

use std::future::Future;
use std::time::Duration;

use crate::breaker_handle::Breaker;
use crate::classify::{ByResult, Classified, Classify};
use crate::error::Error;

/// What a call is whose future was dropped before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnCancel {
    /// It says nothing about the dependency.
    #[default]
    Ignored,
    /// The dependency was too slow for its caller: a failure of the class "cancelled".
    Failure,
}

/// A breaker, and what the results of its calls mean. From [`Breaker::guard`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Guard<C> {
    breaker: Breaker,
    classifier: C,
    timeout: Option<Duration>,
    on_cancel: OnCancel,
}

impl Breaker {
    /// Protects calls with more than [`Breaker::call`] has: which results count, a timeout, what a dropped call is.
    pub fn guard(&self) -> Guard<ByResult> {
        Guard { breaker: self.clone(), classifier: ByResult, timeout: None, on_cancel: OnCancel::default() }
    }
}

impl<C> Guard<C> {
    /// What results mean, as a closure with the types of the results: `|result: Result<&Response, &MyError>| ...`.
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Classified>(self, classify: F) -> Guard<F> {
        self.classifier(classify)
    }

    /// What results mean, as a type that implements [`Classify`].
    pub fn classifier<D>(self, classifier: D) -> Guard<D> {
        let Self { breaker, timeout, on_cancel, .. } = self;
        Guard { breaker, classifier, timeout, on_cancel }
    }

    /// Cancels calls that take longer. They are failures of the class "timeout". Calls need a tokio runtime with a timer then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What a call is whose future was dropped. Default: ignored.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// The breaker.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Makes `call` if the breaker allows it, and reports how it went.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        let mut permit = self.breaker.acquire().await?;
        if self.on_cancel == OnCancel::Failure {
            permit = permit.failure_if_dropped();
        }
        let result = match self.timeout {
            None => call.await,
            Some(after) => {
                let Ok(result) = tokio::time::timeout(after, call).await else {
                    permit.record(Classified::failure("timeout"));
                    return Err(Error::Timeout { after });
                };
                result
            }
        };
        permit.record(self.classifier.classify(result.as_ref()));
        result.map_err(Error::Inner)
    }

    /// As [`Guard::call`]; if the call is rejected, times out or fails, `fallback` gives the result.
    ///
    /// # Errors
    /// Those of `fallback`.
    pub async fn call_with_fallback<T, E, F: Future<Output = Result<T, Error<E>>>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(Error<E>) -> F,
    ) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
    {
        match self.call(call).await {
            Ok(value) => Ok(value),
            Err(error) => fallback(error).await,
        }
    }
}
