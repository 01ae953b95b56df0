//! Notifications over several channels, and enrichment.

use std::sync::Arc;

use incident_manager::enrich::Enricher;
use incident_manager::metrics::Metrics;
use incident_manager::notify::Notifier;
use incident_manager::senders::{Channel, EmailSender, Sender, SlackSender};
use incident_manager::sentinel::SentinelClient;
use incident_manager::stand_ins::{Behavior, Peer};
use prometheus::Registry;

use crate::support::{PATIENCE, email_config, incident, sentinel_config, slack_config};

fn notifier(senders: Vec<Arc<dyn Sender>>) -> Notifier {
    Notifier::new(senders, Metrics::register(&Registry::new()).unwrap())
}

#[tokio::test]
async fn notify_fails_only_when_every_configured_channel_failed() {
    let (slack, smtp) = (Peer::slack().await.unwrap(), Peer::smtp().await.unwrap());
    let notifier = notifier(vec![
        Arc::new(SlackSender::new(&slack_config(&slack, PATIENCE)).unwrap()),
        Arc::new(EmailSender::new(&email_config(&smtp, PATIENCE)).unwrap()),
    ]);
    let failed = |deliveries: &[incident_manager::notify::Delivery]| -> Vec<Channel> {
        deliveries
            .iter()
            .filter(|delivery| delivery.error.is_some())
            .map(|delivery| delivery.channel)
            .collect()
    };

    assert!(failed(&notifier.notify(&incident("x")).await.unwrap()).is_empty());
    slack.behave(Behavior::Status(500));
    assert_eq!(failed(&notifier.notify(&incident("x")).await.unwrap()), [Channel::Slack]);
    smtp.behave(Behavior::Reset);
    let nobody = notifier.notify(&incident("x")).await.unwrap_err();
    assert_eq!(failed(&nobody.deliveries), [Channel::Slack, Channel::Email]);
}

#[tokio::test]
async fn channels_that_are_not_configured_do_not_count() {
    assert_eq!(notifier(Vec::new()).notify(&incident("x")).await, Ok(Vec::new()));
    let slack = Peer::slack().await.unwrap();
    slack.behave(Behavior::Reset);
    let only = notifier(vec![Arc::new(SlackSender::new(&slack_config(&slack, PATIENCE)).unwrap())]);
    only.notify(&incident("x")).await.unwrap_err();
}

#[tokio::test]
async fn an_incident_that_cannot_be_enriched_stays_as_it_is() {
    let peer = Peer::sentinel().await.unwrap();
    let enricher = Enricher::new(Arc::new(SentinelClient::new(&sentinel_config(&peer, PATIENCE)).unwrap()));
    let known = enricher.enrich(incident("x")).await;
    assert!(known.analysis.is_some() && !known.related_alerts.is_empty(), "{known:?}");

    peer.behave(Behavior::Status(500));
    let before = incident("x");
    assert_eq!(enricher.enrich(before.clone()).await, before);
}
