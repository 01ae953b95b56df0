//! Notifications over every configured channel at once.

use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;

use crate::call_error::CallError;
use crate::incident::Incident;
use crate::metrics::Metrics;
use crate::senders::{Channel, Sender};

/// The configured channels.
#[derive(Clone)]
pub struct Notifier {
    senders: Vec<Arc<dyn Sender>>,
    metrics: Metrics,
}

/// What became of a notification on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The channel.
    pub channel: Channel,
    /// Absent: it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Every configured channel failed: nobody knows of the incident.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no channel delivered the notification")]
pub struct NobodyNotified {
    /// Each configured channel, with its error.
    pub deliveries: Vec<Delivery>,
}

impl Notifier {
    /// Notifies over `senders`; a channel that is not configured is not among them.
    pub fn new(senders: Vec<Arc<dyn Sender>>, metrics: Metrics) -> Self {
        Self { senders, metrics }
    }

    /// The configured channels.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        self.senders.iter().map(|sender| sender.channel())
    }

    /// Tells people of an incident. A channel that is slow does not delay the others.
    ///
    /// # Errors
    /// [`NobodyNotified`] if there are channels, and every one failed. One success is enough, and so is no channel.
    pub async fn notify(&self, incident: &Incident) -> Result<Vec<Delivery>, NobodyNotified> {
        let deliveries = join_all(self.senders.iter().map(|sender| async move {
            let (channel, sent) = (sender.channel(), sender.send(incident).await);
            self.metrics.notification(channel, sent.as_ref().err().map_or("sent", CallError::class));
            if let Err(error) = &sent {
                tracing::warn!(%channel, incident = %incident.id, %error, "notification failed");
            }
            Delivery { channel, error: sent.err().map(|error| error.to_string()) }
        }))
        .await;
        let is_undelivered = |delivery: &Delivery| delivery.error.is_some();
        if !deliveries.is_empty() && deliveries.iter().all(is_undelivered) {
            return Err(NobodyNotified { deliveries });
        }
        Ok(deliveries)
    }
}
