//! The client of Sentinel.

use std::time::Duration;

use incident_manager::call_error::CallError;
use incident_manager::incident::Severity;
use incident_manager::sentinel::{Sentinel, SentinelClient};
use incident_manager::stand_ins::{Behavior, Peer};
use serde_json::json;

use crate::support::{MISBEHAVIORS, PATIENCE, SHORT, class, incident, sentinel_config};

#[tokio::test]
async fn sentinel_is_asked_about_the_incident_and_its_answer_is_read() {
    let peer = Peer::sentinel().await.unwrap();
    let client = SentinelClient::new(&sentinel_config(&peer, PATIENCE)).unwrap();
    let analysis = client.analyze_anomaly(&incident("checkout is slow")).await.unwrap();
    assert_eq!((analysis.severity, analysis.summary.is_empty()), (Severity::Critical, false));
    let alerts = client.fetch_alerts("checkout & pay", 10).await.unwrap();
    assert_eq!(alerts[0].id, "a-1");

    let [asked, fetched] = &*peer.received() else { panic!("two requests") };
    assert!(asked.head.contains("authorization: Bearer sesame\r\n"), "{asked:?}");
    let question: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(question["title"], "checkout is slow");
    assert_eq!(fetched.line, "GET /v1/alerts?source=checkout+%26+pay&limit=10 HTTP/1.1\r\n");
}

#[tokio::test]
async fn each_way_to_fail_has_its_error() {
    let peer = Peer::sentinel().await.unwrap();
    let client = SentinelClient::new(&sentinel_config(&peer, PATIENCE)).unwrap();
    let ask = async || client.analyze_anomaly(&incident("x")).await;
    for (behavior, expected) in MISBEHAVIORS {
        peer.behave(behavior);
        assert_eq!(class(ask().await), expected, "{behavior:?}");
        assert_eq!(class(client.fetch_alerts("x", 1).await), expected, "{behavior:?}");
    }
    for (status, expected) in [
        (400, "invalid_request"),
        (401, "invalid_request"),
        (404, "invalid_request"),
        (302, "invalid_request"),
        (408, "service_failed"),
        (500, "service_failed"),
        (503, "service_failed"),
    ] {
        peer.behave(Behavior::Status(status));
        assert_eq!(class(ask().await), expected, "{status}");
    }
    peer.behave(Behavior::Throttle(7));
    let error = ask().await.unwrap_err();
    assert_eq!((error.class(), error.retry_after()), ("throttled", Some(Duration::from_secs(7))));
    // Well again: nothing of this stays.
    peer.behave(Behavior::Answer);
    ask().await.unwrap();
}

#[tokio::test]
async fn a_call_to_a_peer_that_hangs_ends_at_its_timeout() {
    let peer = Peer::sentinel().await.unwrap();
    peer.behave(Behavior::Hang);
    let client = SentinelClient::new(&sentinel_config(&peer, SHORT)).unwrap();
    let error = client.analyze_anomaly(&incident("x")).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(SHORT)), "{error}");
}

#[tokio::test]
async fn a_peer_that_is_gone_is_a_connection_error() {
    let peer = Peer::sentinel().await.unwrap();
    let client = SentinelClient::new(&sentinel_config(&peer, PATIENCE)).unwrap();
    drop(peer);
    assert_eq!(class(client.analyze_anomaly(&incident("x")).await), "connection");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_or_has_no_end_is_invalid() {
    for answer in [
        json!({ "score": 3, "severity": "critical", "summary": "" }).to_string(),
        json!({ "score": 0.5, "severity": "mauve", "summary": "" }).to_string(),
        "x".repeat(2 * 1024 * 1024),
    ] {
        let peer = Peer::http(move |_| (200, answer.clone())).await.unwrap();
        let client = SentinelClient::new(&sentinel_config(&peer, PATIENCE)).unwrap();
        assert_eq!(class(client.analyze_anomaly(&incident("x")).await), "invalid_answer");
    }
}
