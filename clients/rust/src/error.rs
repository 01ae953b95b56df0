//! What can go wrong for a protected call, and for the settings of a client.

use std::time::Duration;

use breaker::{KeyError, State};

/// A call without a result of its dependency, or with an error of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call was rejected: it did not happen.
    Open {
        /// The state of the breaker: OPEN, `HALF_OPEN` or `FORCED_OPEN`.
        state: State,
        /// When to try again. None: unknown.
        retry_after: Option<Duration>,
    },
    /// The call took longer than the timeout of its guard, and was cancelled.
    Timeout {
        /// The timeout.
        after: Duration,
    },
    /// The error of the call.
    Inner(E),
}

impl<E> Error<E> {
    /// The error of the call itself. None: it was rejected, or timed out.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the call was rejected, so that it did not happen.
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The error, with the error of the call itself turned into another.
    pub fn map_inner<F>(self, map: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Open { state, retry_after } => Error::Open { state, retry_after },
            Self::Timeout { after } => Error::Timeout { after },
            Self::Inner(error) => Error::Inner(map(error)),
        }
    }
}

impl<E: std::fmt::Display> std::fmt::Display for Error<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { state, retry_after } => Rejected { state: *state, retry_after: *retry_after }.fmt(f),
            Self::Timeout { after } => write!(f, "call timed out after {after:?}"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            _ => None,
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(Rejected { state, retry_after }: Rejected) -> Self {
        Self::Open { state, retry_after }
    }
}

/// Why a call was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// The state of the breaker: OPEN, `HALF_OPEN` or `FORCED_OPEN`.
    pub state: State,
    /// When to try again. None: unknown.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "call rejected: circuit breaker is {}", self.state)?;
        self.retry_after.map_or(Ok(()), |after| write!(f, ", retry after {after:?}"))
    }
}

impl std::error::Error for Rejected {}

/// Why there is no such breaker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BreakerError {
    /// The service or the name is not valid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The service is not among those that the client was built for.
    #[error("service {service:?}: not among the services of this client")]
    NotWatched {
        /// The service.
        service: String,
    },
    /// The client has as many breakers as it may have.
    #[error("too many breakers: this client has {limit}, its limit")]
    TooMany {
        /// [`crate::Builder::breakers_max`].
        limit: usize,
    },
}

/// Why a client cannot be built. That breakerd cannot be reached is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is out of its range.
    #[error("{field}: invalid value {value}: must be {expected}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// Fallback thresholds contradict each other.
    #[error("fallback thresholds of service {service:?}: {problem}")]
    Thresholds {
        /// The service; empty: the defaults.
        service: String,
        /// The first contradiction.
        problem: breaker::Problem,
    },
    /// A certificate or a key is not valid.
    #[error("tls: {0}")]
    Tls(#[source] tonic::transport::Error),
    /// The thread of the client cannot be started.
    #[error("cannot start the thread of the client: {0}")]
    Thread(#[source] std::io::Error),
}
