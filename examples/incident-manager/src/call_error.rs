//! Why a call to an outside service failed. Every client here fails with this type, and so does every client with a
//! breaker: a caller does not need to know which of the two it has.

use std::error::Error;
use std::time::Duration;

use breakerd_client::State;

/// Whatever a library failed with.
pub type Source = Box<dyn Error + Send + Sync>;

/// Why a call to an outside service failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The breaker rejected the call. Nothing was sent.
    #[error("rejected: the circuit is {state:?}")]
    CircuitOpen {
        /// State of the breaker.
        state: State,
        /// When to try again, if that is known.
        retry_after: Option<Duration>,
    },
    /// The service did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection, or it broke before the answer was complete.
    #[error("connection failed: {0}")]
    Connection(#[source] Source),
    /// The service is well and refused this one request: our request, our credentials or our data are wrong.
    #[error("the request is invalid ({code}): {text}")]
    InvalidRequest {
        /// HTTP status, SMTP reply code or kind of SQL error.
        code: String,
        /// What the service said, shortened.
        text: String,
    },
    /// The service asks for fewer requests.
    #[error("throttled")]
    Throttled {
        /// How long to wait, if the service said so.
        retry_after: Option<Duration>,
    },
    /// The service says that it failed.
    #[error("the service failed ({code}): {text}")]
    ServiceFailed {
        /// HTTP status, SMTP reply code or SQLSTATE.
        code: String,
        /// What the service said, shortened.
        text: String,
        /// How long to wait, if the service said so.
        retry_after: Option<Duration>,
    },
    /// The service answered, with something that is not its protocol.
    #[error("the answer is invalid: {0}")]
    InvalidAnswer(String),
}

impl CallError {
    /// Whether the request is at fault, and not the service: repeating it does not help, and it says nothing about
    /// the service.
    pub fn is_client_fault(&self) -> bool {
        matches!(self, Self::InvalidRequest { .. })
    }

    /// How long the service, or its breaker, asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. }
            | Self::Throttled { retry_after }
            | Self::ServiceFailed { retry_after, .. } => *retry_after,
            Self::Timeout(_) | Self::Connection(_) | Self::InvalidRequest { .. } | Self::InvalidAnswer(_) => {
                None
            }
        }
    }

    /// Error class for breakerd: few words, so that its history can be grouped by them.
    pub fn class(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Timeout(_) => "timeout",
            Self::Connection(_) => "connection",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::Throttled { .. } => "throttled",
            Self::ServiceFailed { .. } => "service_failed",
            Self::InvalidAnswer(_) => "invalid_answer",
        }
    }
}

/// Runs `call` for at most `limit`. The clients use it for whole calls: the timeouts of the libraries cover single
/// steps (lettre's is for the connection only), or nothing at all (sqlx).
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(CallError::Timeout(limit)))
}

/// The beginning of a text, for logs.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = text.trim();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
