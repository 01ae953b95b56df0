//! What Sentinel knows is added to an incident, if Sentinel answers. An incident never waits for more than that.

use std::sync::Arc;

use crate::call_error::CallError;
use crate::incident::Incident;
use crate::sentinel::Sentinel;

/// Alerts that are kept with an incident.
const ALERTS_MAX: usize = 10;

/// Enriches incidents.
#[derive(Clone)]
pub struct Enricher {
    sentinel: Arc<dyn Sentinel>,
}

impl Enricher {
    /// Enriches with what `sentinel` says.
    pub fn new(sentinel: Arc<dyn Sentinel>) -> Self {
        Self { sentinel }
    }

    /// Adds the analysis and the related alerts. What Sentinel does not say, because its circuit is open or it fails,
    /// stays as it was.
    pub async fn enrich(&self, mut incident: Incident) -> Incident {
        let (analysis, alerts) = tokio::join!(
            self.sentinel.analyze_anomaly(&incident),
            self.sentinel.fetch_alerts(&incident.source, ALERTS_MAX),
        );
        if let Some(analysis) = known(&incident, "analysis", analysis) {
            incident.analysis = Some(analysis);
        }
        if let Some(alerts) = known(&incident, "alerts", alerts) {
            incident.related_alerts = alerts;
        }
        incident
    }
}

fn known<T>(incident: &Incident, part: &str, answer: Result<T, CallError>) -> Option<T> {
    answer
        .inspect_err(|error| tracing::warn!(incident = %incident.id, part, %error, "enrichment skipped"))
        .ok()
}
