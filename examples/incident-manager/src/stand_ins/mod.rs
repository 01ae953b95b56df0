//! Stand-ins for the outside services, on loopback: for the tests, and for `make demo`. Each can be told how to behave.

mod addresses;
mod http;
mod peer;
mod smtp;
mod tunnel;

pub use addresses::{KeptAddresses, Nobody};
pub use peer::{Behavior, Peer, Received};

use serde_json::json;

impl Peer {
    /// Sentinel.
    ///
    /// # Errors
    /// No free port.
    pub async fn sentinel() -> std::io::Result<Self> {
        Self::http(|request| {
            if request.line.starts_with("POST /v1/anomalies/analyze ") {
                (200, json!({ "score": 0.93, "severity": "critical", "summary": "Latency is nine times its usual value." }).to_string())
            } else if request.line.starts_with("GET /v1/alerts?") {
                (200, json!({ "alerts": [{ "id": "a-1", "title": "p99 above 2 s" }] }).to_string())
            } else {
                (404, String::new())
            }
        })
        .await
    }

    /// Slack.
    ///
    /// # Errors
    /// No free port.
    pub async fn slack() -> std::io::Result<Self> {
        Self::http(|_| (200, "ok".to_owned())).await
    }

    /// PagerDuty.
    ///
    /// # Errors
    /// No free port.
    pub async fn pagerduty() -> std::io::Result<Self> {
        Self::http(|_| (202, json!({ "status": "success", "message": "Event processed" }).to_string())).await
    }

    /// A mail server.
    ///
    /// # Errors
    /// No free port.
    pub async fn smtp() -> std::io::Result<Self> {
        Self::start(smtp::serve).await
    }

    /// A way to a database (or anything else with an address), that can be cut.
    ///
    /// # Errors
    /// No free port.
    pub async fn tunnel(to: String) -> std::io::Result<Self> {
        Self::start(move |connection, behavior, record| {
            tunnel::serve(connection, behavior, record, to.clone())
        })
        .await
    }
}
