//! Who was refused, where and why.

use super::{AccessMetrics, TlsMetrics};

/// Where somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// gRPC.
    Grpc,
    /// The pages.
    Http,
}

/// Why somebody was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody that is known.
    Unauthenticated,
    /// Somebody who may not do this.
    PermissionDenied,
    /// Somebody who has as much at work as one caller may have.
    CallerLimit,
    /// Somebody who did not read the answer.
    Stalled,
    /// Somebody whose calls are refused so often that their connection is read more slowly.
    RefusalRate,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
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
    /// Somebody was refused.
    pub fn refused(&self, transport: Transport, refusal: Refusal) {
        self.refused_total.with_label_values(&[transport.as_str(), refusal.as_str()]).inc();
    }

    /// Every series from the beginning, so that the first refusal is an increase and no new series.
    pub(super) fn begin(&self) {
        for transport in Transport::ALL {
            for refusal in Refusal::ALL {
                self.refused_total.with_label_values(&[transport.as_str(), refusal.as_str()]);
            }
        }
        // Whoever starts has read its files.
        self.last_reload_successful.set(1);
    }
}

impl TlsMetrics {
    /// Hands were not shaken.
    pub fn failed(&self, transport: Transport) {
        self.handshake_errors_total.with_label_values(&[transport.as_str()]).inc();
    }

    pub(super) fn begin(&self) {
        for transport in Transport::ALL {
            self.handshake_errors_total.with_label_values(&[transport.as_str()]);
        }
        self.last_reload_successful.set(1);
    }
}
