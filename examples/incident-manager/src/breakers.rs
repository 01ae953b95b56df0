//! The breakers of this program, and the one rule by which they count: which results are failures of the service.

use breakerd_client::{Breaker, BreakerError, Classified, Classify, Client, Error};

use crate::call_error::CallError;

/// The breakers, one for each outside service. Those of a service (the first part of the key) share its thresholds.
#[derive(Debug, Clone)]
pub struct Breakers {
    /// Sentinel.
    pub sentinel: Breaker,
    /// The incident store.
    pub store: Breaker,
    /// Slack.
    pub slack: Breaker,
    /// Email.
    pub email: Breaker,
    /// PagerDuty.
    pub pagerduty: Breaker,
}

impl Breakers {
    /// All of them at the start of the program, so that metrics and pages show them before their first call.
    ///
    /// # Errors
    /// Only for keys that are invalid, which these are not, or too many.
    pub fn of(client: &Client) -> Result<Self, BreakerError> {
        Ok(Self {
            sentinel: client.breaker(("sentinel", "sentinel-llm"))?,
            store: client.breaker(("database", "incident-store"))?,
            slack: client.breaker(("notifications", "slack"))?,
            email: client.breaker(("notifications", "email"))?,
            pagerduty: client.breaker(("notifications", "pagerduty"))?,
        })
    }
}

/// A breaker, with the rule below.
pub(crate) type Guard = breakerd_client::Guard<ByFault>;

/// Protects calls with `breaker`.
pub(crate) fn guard(breaker: &Breaker) -> Guard {
    breaker.guard().classifier(ByFault)
}

/// A request that was our fault says nothing about the service: it neither opens the circuit nor closes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByFault;

impl<T> Classify<T, CallError> for ByFault {
    fn classify(&self, result: Result<&T, &CallError>) -> Classified {
        match result {
            Ok(_) => Classified::Success,
            Err(error) if error.is_client_fault() => Classified::Ignored,
            Err(error) => Classified::failure(error.class()).retry_after(error.retry_after()),
        }
    }
}

impl From<Error<CallError>> for CallError {
    fn from(error: Error<CallError>) -> Self {
        match error {
            Error::Open { state, retry_after } => Self::CircuitOpen { state, retry_after },
            Error::Timeout { after } => Self::Timeout(after),
            Error::Inner(error) => error,
            other => Self::Connection(other.to_string().into()),
        }
    }
}
