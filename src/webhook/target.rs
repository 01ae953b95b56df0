//! A target while breakerd runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use breaker::Time;

use super::endpoint::Endpoint;
use super::notice::Notice;
use super::queue::{Pushed, Queue, Queued};
use super::settings::TargetSettings;
use crate::metrics::{NotifyMetrics, NotifyTargetMetrics};

/// A target: where notifications for it wait, and where they are posted to.
pub struct Target {
    settings: TargetSettings,
    endpoint: ArcSwap<Endpoint>,
    pub(super) queue: Queue,
    pub(super) metrics: NotifyTargetMetrics,
}

impl Target {
    /// With nothing to post.
    pub fn new(settings: TargetSettings, endpoint: Endpoint, metrics: &NotifyMetrics) -> Self {
        let metrics = metrics.of_target(&settings.name);
        let queue = Queue::new(settings.queue_max, metrics.queue_depth.clone());
        Self { settings, endpoint: ArcSwap::from_pointee(endpoint), queue, metrics }
    }

    /// As it was configured.
    pub fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    /// Where it is posted to now.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.load_full()
    }

    /// From the next attempt on it is posted to another one.
    pub fn replace_endpoint(&self, endpoint: Endpoint) {
        self.endpoint.store(Arc::new(endpoint));
    }

    pub(super) fn push(&self, notice: Arc<Notice>, now: Time) {
        if self.queue.push(Queued { notice, queued_at: now }) == Pushed::OldestDropped {
            self.metrics.dropped_total.inc();
        }
    }
}
