//! What the tests share.

use std::time::Duration;

use incident_manager::call_error::CallError;
use incident_manager::config::{EmailConfig, PagerDutyConfig, SentinelConfig, SlackConfig, StoreConfig};
use incident_manager::incident::{Incident, NewIncident, Severity};
use incident_manager::stand_ins::{Behavior, Peer};
use time::OffsetDateTime;

/// For calls that are to be answered: only a hang takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// For calls to a peer that hangs.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// What a service can do wrong, with the class of the error that a client makes of it. Hanging is apart: it needs a
/// client with a short timeout.
pub(crate) const MISBEHAVIORS: [(Behavior, &str); 3] = [
    (Behavior::Reset, "connection"),
    (Behavior::Garbage, "invalid_answer"),
    (Behavior::WrongContent, "invalid_answer"),
];

pub(crate) fn incident(title: &str) -> Incident {
    let report = NewIncident {
        id: None,
        title: title.to_owned(),
        description: "p99 is 9 s".to_owned(),
        source: "checkout & pay".to_owned(),
        severity: Severity::Error,
    };
    Incident::from_report(report, OffsetDateTime::now_utc()).unwrap()
}

pub(crate) fn sentinel_config(peer: &Peer, timeout: Duration) -> SentinelConfig {
    SentinelConfig { url: peer.url("http"), token: Some("sesame".into()), timeout }
}

pub(crate) fn slack_config(peer: &Peer, timeout: Duration) -> SlackConfig {
    SlackConfig { webhook_url: format!("{}/services/secret", peer.url("http")).as_str().into(), timeout }
}

pub(crate) fn email_config(peer: &Peer, timeout: Duration) -> EmailConfig {
    EmailConfig {
        smtp_url: peer.url("smtp").as_str().into(),
        from: "Incidents <incidents@example.org>".parse().unwrap(),
        to: vec!["On call <oncall@example.org>".parse().unwrap(), "boss@example.org".parse().unwrap()],
        timeout,
    }
}

pub(crate) fn pagerduty_config(peer: &Peer, timeout: Duration) -> PagerDutyConfig {
    PagerDutyConfig { routing_key: "R123".into(), url: peer.url("http"), timeout }
}

pub(crate) fn sqlite(folder: &std::path::Path, timeout: Duration) -> StoreConfig {
    StoreConfig { url: format!("sqlite:{}/incidents.db", folder.display()).as_str().into(), timeout }
}

/// The class of the error, which there has to be.
pub(crate) fn class<T: std::fmt::Debug>(result: Result<T, CallError>) -> &'static str {
    result.unwrap_err().class()
}

/// Waits until something is so; fails when only a hang can be the reason that it is not.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "not so: {what}");
}
