//! The clients of Slack, email and PagerDuty.

use std::time::Duration;

use incident_manager::incident::{Analysis, Severity};
use incident_manager::senders::{EmailSender, PagerDutySender, Sender, SlackSender};
use incident_manager::stand_ins::{Behavior, Peer};

use crate::support::{
    MISBEHAVIORS, PATIENCE, SHORT, class, email_config, incident, pagerduty_config, slack_config,
};

#[tokio::test]
async fn slack_gets_a_message_that_notifies_no_channel() {
    let peer = Peer::slack().await.unwrap();
    let sender = SlackSender::new(&slack_config(&peer, PATIENCE)).unwrap();
    let mut incident = incident("<!channel> is slow");
    let summary = "Look.\n<!here> too".to_owned();
    incident.analysis = Some(Analysis { score: 0.5, severity: Severity::Info, summary });
    sender.send(&incident).await.unwrap();
    let [request] = &*peer.received() else { panic!("one request") };
    assert_eq!(request.line, "POST /services/secret HTTP/1.1\r\n");
    let message: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        message["text"],
        "*error* &lt;!channel&gt; is slow (checkout &amp; pay)\n> Look.\n> &lt;!here&gt; too"
    );
}

#[tokio::test]
async fn pagerduty_gets_an_event_that_can_be_repeated() {
    let peer = Peer::pagerduty().await.unwrap();
    let sender = PagerDutySender::new(&pagerduty_config(&peer, PATIENCE)).unwrap();
    let incident = incident("checkout is slow");
    sender.send(&incident).await.unwrap();
    let [request] = &*peer.received() else { panic!("one request") };
    assert_eq!(request.line, "POST /v2/enqueue HTTP/1.1\r\n");
    let event: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&event["routing_key"], &event["event_action"]), (&"R123".into(), &"trigger".into()));
    assert_eq!(event["dedup_key"], incident.id.to_string());
    assert_eq!(
        (&event["payload"]["summary"], &event["payload"]["severity"]),
        (&"checkout is slow".into(), &"error".into())
    );
}

#[tokio::test]
async fn email_goes_to_every_recipient() {
    let peer = Peer::smtp().await.unwrap();
    let sender = EmailSender::new(&email_config(&peer, PATIENCE)).unwrap();
    sender.send(&incident("checkout is slow")).await.unwrap();
    let [message] = &*peer.received() else { panic!("one message") };
    for command in
        ["MAIL FROM:<incidents@example.org>", "RCPT TO:<oncall@example.org>", "RCPT TO:<boss@example.org>"]
    {
        assert!(message.head.contains(command), "{command}: {message:?}");
    }
    assert!(message.body.contains("Subject: [error] checkout is slow\r\n"), "{message:?}");
    assert!(message.body.contains("Source: checkout & pay"), "{message:?}");
}

/// Slack and PagerDuty with one timeout each.
async fn over_http(timeout: Duration) -> Vec<(Peer, Box<dyn Sender>)> {
    let (slack, pagerduty) = (Peer::slack().await.unwrap(), Peer::pagerduty().await.unwrap());
    let to_slack = SlackSender::new(&slack_config(&slack, timeout)).unwrap();
    let to_pagerduty = PagerDutySender::new(&pagerduty_config(&pagerduty, timeout)).unwrap();
    vec![(slack, Box::new(to_slack)), (pagerduty, Box::new(to_pagerduty))]
}

#[tokio::test]
async fn each_way_to_fail_over_http_has_its_error() {
    for (peer, sender) in over_http(PATIENCE).await {
        let channel = sender.channel();
        for (behavior, expected) in MISBEHAVIORS {
            peer.behave(behavior);
            assert_eq!(class(sender.send(&incident("x")).await), expected, "{channel}: {behavior:?}");
        }
        for (status, expected) in [
            (400, "invalid_request"),
            (403, "invalid_request"),
            (410, "invalid_request"),
            (500, "service_failed"),
        ] {
            peer.behave(Behavior::Status(status));
            let error = sender.send(&incident("x")).await.unwrap_err();
            assert_eq!(error.class(), expected, "{channel}: {status}");
            assert_eq!(error.is_client_fault(), status < 500, "{channel}: {status}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        peer.behave(Behavior::Throttle(30));
        let error = sender.send(&incident("x")).await.unwrap_err();
        assert!(!error.is_client_fault(), "429 is about the load, not about the request");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));

        drop(peer);
        let error = sender.send(&incident("x")).await.unwrap_err();
        assert_eq!(error.class(), "connection", "{channel}");
        assert!(
            !format!("{error} {error:?}").contains("secret"),
            "the URL of a webhook is a secret: {error:?}"
        );
    }
    for (peer, sender) in over_http(SHORT).await {
        peer.behave(Behavior::Hang);
        assert_eq!(class(sender.send(&incident("x")).await), "timeout");
    }
}

#[tokio::test]
async fn each_way_to_fail_over_smtp_has_its_error() {
    let peer = Peer::smtp().await.unwrap();
    let sender = EmailSender::new(&email_config(&peer, PATIENCE)).unwrap();
    for (behavior, expected) in [
        (Behavior::Reset, "connection"),
        (Behavior::Garbage, "invalid_answer"),
        (Behavior::Throttle(1), "service_failed"),
        (Behavior::Status(451), "service_failed"),
        (Behavior::Status(550), "invalid_request"),
        (Behavior::Status(535), "invalid_request"),
    ] {
        peer.behave(behavior);
        let error = sender.send(&incident("x")).await.unwrap_err();
        assert_eq!(error.class(), expected, "{behavior:?}: {error:?}");
    }
    peer.behave(Behavior::Answer);
    sender.send(&incident("x")).await.unwrap();
    drop(peer);
    assert_eq!(class(sender.send(&incident("x")).await), "connection");

    let peer = Peer::smtp().await.unwrap();
    peer.behave(Behavior::Hang);
    let sender = EmailSender::new(&email_config(&peer, SHORT)).unwrap();
    assert_eq!(class(sender.send(&incident("x")).await), "timeout");
}
