//! PagerDuty, by the Events API v2.

use std::time::Duration;

use async_trait::async_trait;
use breakerd_client::Breaker;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::{Channel, Sender};
use crate::breakers::{Guard, guard};
use crate::call_error::CallError;
use crate::config::{PagerDutyConfig, Secret};
use crate::http;
use crate::incident::Incident;

/// PagerDuty.
#[derive(Debug, Clone)]
pub struct PagerDutySender {
    http: Client,
    url: String,
    routing_key: Secret,
    timeout: Duration,
}

impl PagerDutySender {
    /// The sender. Connects with the first call.
    ///
    /// # Errors
    /// The certificates of the system cannot be used.
    pub fn new(config: &PagerDutyConfig) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: http::client()?,
            url: format!("{}/v2/enqueue", config.url.trim_end_matches('/')),
            routing_key: config.routing_key.clone(),
            timeout: config.timeout,
        })
    }
}

#[async_trait]
impl Sender for PagerDutySender {
    fn channel(&self) -> Channel {
        Channel::PagerDuty
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        #[derive(Deserialize)]
        struct Answer {
            status: String,
        }
        let event = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": "trigger",
            // A repeated event adds to the same page instead of another one.
            "dedup_key": incident.id,
            "payload": {
                "summary": incident.title,
                "source": incident.source,
                "severity": incident.severity,
                "timestamp": incident.created_at.format(&Rfc3339).ok(),
                "custom_details": { "description": incident.description, "analysis": incident.analysis },
            },
        });
        let answer: Answer = http::json(self.timeout, self.http.post(&self.url).json(&event)).await?;
        match &*answer.status {
            "success" => Ok(()),
            other => Err(CallError::InvalidAnswer(format!("status {other:?}"))),
        }
    }
}

/// PagerDuty behind the breaker `notifications` / `pagerduty`.
#[derive(Debug, Clone)]
pub struct PagerDutySenderWithBreaker<S = PagerDutySender> {
    inner: S,
    guard: Guard,
}

impl<S: Sender> PagerDutySenderWithBreaker<S> {
    /// Protects `inner` with `breaker`.
    pub fn new(inner: S, breaker: &Breaker) -> Self {
        Self { inner, guard: guard(breaker) }
    }
}

#[async_trait]
impl<S: Sender> Sender for PagerDutySenderWithBreaker<S> {
    fn channel(&self) -> Channel {
        self.inner.channel()
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        Ok(self.guard.call(self.inner.send(incident)).await?)
    }
}
