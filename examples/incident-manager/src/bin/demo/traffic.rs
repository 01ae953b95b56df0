//! What the demo does with an incident manager: report incidents, and look at its pages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::processes::Manager;

/// What an incident manager answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn is_enriched(&self) -> bool {
        self.body["analysis"].is_object()
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.body["stored"] == true
    }

    /// The channels over which people heard of it.
    pub(crate) fn channels(&self) -> Vec<&str> {
        let deliveries = self.body["notifications"].as_array().into_iter().flatten();
        deliveries
            .filter(|delivery| delivery["error"].is_null())
            .filter_map(|it| it["channel"].as_str())
            .collect()
    }
}

/// The page `/health/circuit-breakers`, of breakerd and of an incident manager alike.
#[derive(Deserialize)]
struct Page {
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    name: String,
    state: String,
}

/// The states on such a page, by the name of the breaker.
pub(crate) async fn states(http: &Client, page: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let page: Page = http.get(page).send().await?.json().await.context("not the page of circuit breakers")?;
    Ok(page.details.into_iter().map(|detail| (detail.name, detail.state)).collect())
}

impl Manager {
    pub(crate) fn page(&self) -> String {
        format!("{}/health/circuit-breakers", self.url)
    }

    /// Reports an incident.
    pub(crate) async fn report(&self) -> anyhow::Result<Answer> {
        let report = json!({ "title": "checkout is slow", "source": "checkout", "severity": "error" });
        let began = Instant::now();
        let answer = self.http.post(format!("{}/incidents", self.url)).json(&report).send().await?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.json().await?, took: began.elapsed() })
    }

    /// A counter of a breaker, from `/metrics`.
    pub(crate) async fn counter(&self, metric: &str, breaker: &str) -> anyhow::Result<u64> {
        let text = self.http.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let (start, label) =
            (format!("llm_incident_manager_circuit_breaker_{metric}{{"), format!("name=\"{breaker}\""));
        let lines = text.lines().filter(|line| line.starts_with(&start) && line.contains(&label));
        let values: Vec<u64> = lines
            .map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse()?))
            .collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!values.is_empty(), "no {metric} of {breaker} in the metrics of {}", self.name);
        Ok(values.iter().sum())
    }
}
