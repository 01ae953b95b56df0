//! Sentinel, which analyzes anomalies with a language model and knows the alerts of all systems.

use std::time::Duration;

use async_trait::async_trait;
use breakerd_client::Breaker;
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::json;

use crate::breakers::{Guard, guard};
use crate::call_error::CallError;
use crate::config::SentinelConfig;
use crate::http;
use crate::incident::{Alert, Analysis, Incident};

/// What Sentinel can be asked.
#[async_trait]
pub trait Sentinel: Send + Sync {
    /// How unusual and how bad an incident is.
    ///
    /// # Errors
    /// [`CallError`].
    async fn analyze_anomaly(&self, incident: &Incident) -> Result<Analysis, CallError>;

    /// The newest alerts of a system, at most `limit`.
    ///
    /// # Errors
    /// [`CallError`].
    async fn fetch_alerts(&self, source: &str, limit: usize) -> Result<Vec<Alert>, CallError>;
}

/// Sentinel over HTTP.
#[derive(Debug, Clone)]
pub struct SentinelClient {
    http: Client,
    url: String,
    token: Option<String>,
    timeout: Duration,
}

impl SentinelClient {
    /// The client. Connects with the first call.
    ///
    /// # Errors
    /// The certificates of the system cannot be used.
    pub fn new(config: &SentinelConfig) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: http::client()?,
            url: config.url.trim_end_matches('/').to_owned(),
            token: config.token.as_ref().map(|token| token.expose().to_owned()),
            timeout: config.timeout,
        })
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

#[async_trait]
impl Sentinel for SentinelClient {
    async fn analyze_anomaly(&self, incident: &Incident) -> Result<Analysis, CallError> {
        let question = json!({
            "title": incident.title,
            "description": incident.description,
            "source": incident.source,
            "severity": incident.severity,
        });
        let request = self.http.post(format!("{}/v1/anomalies/analyze", self.url)).json(&question);
        let analysis: Analysis = http::json(self.timeout, self.authorized(request)).await?;
        if !(0.0..=1.0).contains(&analysis.score) {
            return Err(CallError::InvalidAnswer(format!("score: {} is not within 0 to 1", analysis.score)));
        }
        Ok(analysis)
    }

    async fn fetch_alerts(&self, source: &str, limit: usize) -> Result<Vec<Alert>, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            alerts: Vec<Alert>,
        }
        let limit_text = limit.to_string();
        let request = self
            .http
            .get(format!("{}/v1/alerts", self.url))
            .query(&[("source", source), ("limit", &limit_text)]);
        let mut answer: Answer = http::json(self.timeout, self.authorized(request)).await?;
        answer.alerts.truncate(limit);
        Ok(answer.alerts)
    }
}

/// Sentinel behind the breaker `sentinel` / `sentinel-llm`.
#[derive(Debug, Clone)]
pub struct SentinelClientWithBreaker<S = SentinelClient> {
    inner: S,
    guard: Guard,
}

impl<S: Sentinel> SentinelClientWithBreaker<S> {
    /// Protects `inner` with `breaker`.
    pub fn new(inner: S, breaker: &Breaker) -> Self {
        Self { inner, guard: guard(breaker) }
    }
}

#[async_trait]
impl<S: Sentinel> Sentinel for SentinelClientWithBreaker<S> {
    async fn analyze_anomaly(&self, incident: &Incident) -> Result<Analysis, CallError> {
        Ok(self.guard.call(self.inner.analyze_anomaly(incident)).await?)
    }

    async fn fetch_alerts(&self, source: &str, limit: usize) -> Result<Vec<Alert>, CallError> {
        Ok(self.guard.call(self.inner.fetch_alerts(source, limit)).await?)
    }
}
