//! Counts connections, and what is rejected, by protocol and reason.

use prometheus::IntGauge;

use super::{AccessMetrics, ConnectionMetrics, TlsMetrics};
use crate::auth::Protocol;

/// Why a request or connection was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not authenticated.
    Unauthenticated,
    /// Authenticated, without the required right.
    PermissionDenied,
    /// A limit of one caller is reached.
    CallerLimit,
    /// The client did not read the response.
    Stalled,
    /// The client's calls are rejected so often that its connection is read more slowly.
    RefusalRate,
}

impl Refusal {
    const ALL: [Self; 5] =
        [Self::Unauthenticated, Self::PermissionDenied, Self::CallerLimit, Self::Stalled, Self::RefusalRate];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::CallerLimit => "caller_limit",
            Self::Stalled => "stalled",
            Self::RefusalRate => "refusal_rate",
        }
    }
}

impl AccessMetrics {
    /// A request or connection was rejected.
    pub fn refused(&self, protocol: Protocol, refusal: Refusal) {
        self.refused_total.with_label_values(&[protocol.as_str(), refusal.as_str()]).inc();
    }

    /// Creates every series, so that the first refusal is an increase and no new series.
    pub(super) fn begin(&self) {
        for protocol in Protocol::ALL {
            for refusal in Refusal::ALL {
                self.refused_total.with_label_values(&[protocol.as_str(), refusal.as_str()]);
            }
        }
        // A process that starts has loaded its files.
        self.last_reload_successful.set(1);
    }
}

impl TlsMetrics {
    /// A TLS handshake failed.
    pub fn failed(&self, protocol: Protocol) {
        self.handshake_errors_total.with_label_values(&[protocol.as_str()]).inc();
    }

    pub(super) fn begin(&self) {
        for protocol in Protocol::ALL {
            self.handshake_errors_total.with_label_values(&[protocol.as_str()]);
        }
        self.last_reload_successful.set(1);
    }
}

impl ConnectionMetrics {
    /// The number of open connections, for the listener of `protocol`, which accepts up to `max`.
    pub fn open(&self, protocol: Protocol, max: usize) -> IntGauge {
        let labels = [protocol.as_str()];
        self.connections_max.with_label_values(&labels).set(i64::try_from(max).unwrap_or(i64::MAX));
        self.connections.with_label_values(&labels)
    }
}
