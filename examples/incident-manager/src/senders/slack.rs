//! Slack, by an incoming webhook.

use std::time::Duration;

use async_trait::async_trait;
use breakerd_client::Breaker;
use reqwest::Client;
use serde_json::json;

use super::{Channel, Sender};
use crate::breakers::{Guard, guard};
use crate::call_error::{CallError, shortened};
use crate::config::{Secret, SlackConfig};
use crate::http;
use crate::incident::Incident;

/// Slack.
#[derive(Debug, Clone)]
pub struct SlackSender {
    http: Client,
    webhook_url: Secret,
    timeout: Duration,
}

impl SlackSender {
    /// The sender. Connects with the first call.
    ///
    /// # Errors
    /// The certificates of the system cannot be used.
    pub fn new(config: &SlackConfig) -> Result<Self, reqwest::Error> {
        Ok(Self { http: http::client()?, webhook_url: config.webhook_url.clone(), timeout: config.timeout })
    }
}

#[async_trait]
impl Sender for SlackSender {
    fn channel(&self) -> Channel {
        Channel::Slack
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        let message = json!({ "text": text(incident) });
        let request = self.http.post(self.webhook_url.expose()).json(&message);
        match http::text(self.timeout, request).await?.trim() {
            "ok" => Ok(()),
            other => Err(CallError::InvalidAnswer(shortened(other))),
        }
    }
}

fn text(incident: &Incident) -> String {
    let mut text =
        format!("*{}* {} ({})", incident.severity, escaped(&incident.title), escaped(&incident.source));
    if let Some(analysis) = &incident.analysis {
        text.push_str("\n> ");
        text.push_str(&escaped(&analysis.summary).replace('\n', "\n> "));
    }
    text
}

/// The three characters with a meaning in Slack's messages: without this, a title could notify `<!channel>`.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Slack behind the breaker `notifications` / `slack`.
#[derive(Debug, Clone)]
pub struct SlackSenderWithBreaker<S = SlackSender> {
    inner: S,
    guard: Guard,
}

impl<S: Sender> SlackSenderWithBreaker<S> {
    /// Protects `inner` with `breaker`.
    pub fn new(inner: S, breaker: &Breaker) -> Self {
        Self { inner, guard: guard(breaker) }
    }
}

#[async_trait]
impl<S: Sender> Sender for SlackSenderWithBreaker<S> {
    fn channel(&self) -> Channel {
        self.inner.channel()
    }

    async fn send(&self, incident: &Incident) -> Result<(), CallError> {
        Ok(self.guard.call(self.inner.send(incident)).await?)
    }
}
