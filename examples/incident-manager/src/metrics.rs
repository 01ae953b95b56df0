//! This program's own metrics. Those of its breakers come from the client.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::senders::Channel;

/// Counters.
#[derive(Clone)]
pub struct Metrics {
    incidents: IntCounterVec,
    notifications: IntCounterVec,
}

impl Metrics {
    /// Creates and registers them.
    ///
    /// # Errors
    /// The registry has metrics of the same name.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let incidents = IntCounterVec::new(
            Opts::new("incident_manager_incidents_total", "Incidents received, by what became of them."),
            &["result"],
        )?;
        let notifications = IntCounterVec::new(
            Opts::new("incident_manager_notifications_total", "Notifications, by channel and result."),
            &["channel", "result"],
        )?;
        registry.register(Box::new(incidents.clone()))?;
        registry.register(Box::new(notifications.clone()))?;
        Ok(Self { incidents, notifications })
    }

    /// Counts an incident.
    pub fn incident(&self, result: &str) {
        self.incidents.with_label_values(&[result]).inc();
    }

    /// Counts a notification.
    pub fn notification(&self, channel: Channel, result: &str) {
        self.notifications.with_label_values(&[&*channel.to_string(), result]).inc();
    }
}
