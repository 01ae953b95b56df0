//! What the transports use: the clock, and, once they are loaded, the engine and the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use breaker::Time;
use breakerd_common::clock::{Clock, WallTime};

use crate::control::Control;
use crate::engine::Engine;
use crate::feed::Feeds;
use crate::health::{Health, Problem, ReplicaStats};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::permit_keys::PermitKeys;
use crate::replica::{Presence, Replica};
use crate::store::Store;
use crate::traces::Tracer;

/// The running service, as gRPC and HTTP see it.
pub struct App {
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// What is counted beside the breakers.
    pub metrics: Arc<Metrics>,
    /// What the process is about to do.
    pub status: Status,
    /// The health of the store and the journal.
    pub health: Health,
    /// What makes spans; none: tracing is disabled.
    pub tracer: Option<Tracer>,
    /// When this was made.
    pub started_at: Time,
    loaded: OnceLock<Loaded>,
}

/// The phase of the process: set by the server, shown by its health pages.
#[derive(Debug, Default)]
pub struct Status {
    shutting_down: AtomicBool,
}

impl Status {
    /// The end has begun: from now on the process calls itself not ready.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Whether the end has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }
}

/// What is there once the store has been read.
#[derive(Clone)]
pub struct Loaded {
    /// The breakers.
    pub engine: Arc<Engine>,
    /// Their history.
    pub store: Arc<dyn Store>,
    /// What is on its way to the store.
    pub journal: Arc<Journal>,
    /// This replica among the others of its store; none: it has the store for itself.
    pub presence: Option<Arc<Presence>>,
    /// What calls are decided with.
    pub replica: Replica,
    /// The keys of permits, and the way to change them.
    pub permit_keys: Arc<PermitKeys>,
    /// The configuration, and the way to change it.
    pub control: Arc<Control>,
    /// What streams are fed from.
    pub feeds: Arc<Feeds>,
}

impl App {
    /// Nothing is loaded yet: the listeners may serve already, and report that.
    pub fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>, health: Health) -> Self {
        let started_at = clock.now();
        let status = Status::default();
        Self { clock, metrics, status, health, tracer: None, started_at, loaded: OnceLock::new() }
    }

    /// The same, with spans of what it does.
    #[must_use]
    pub fn traced(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// Everything that is not well at the moment.
    pub fn problems(&self) -> Vec<Problem> {
        let replica = self.loaded().map_or_else(ReplicaStats::default, |loaded| ReplicaStats {
            changes_unread_for: loaded
                .presence
                .as_ref()
                .map_or(Duration::ZERO, |presence| presence.unread_for()),
            probes_unanswered_for: loaded.replica.probes_unanswered_for(),
            counts_unshared_for: loaded.replica.counts_unshared_for(),
            permit_keys_unread_for: loaded.permit_keys.unread_for(),
        });
        self.health.problems(self.metrics.journal(), replica)
    }

    /// The engine and the store; none: they are not loaded yet.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    /// Since when the store has not answered, by the wall clock; none: it answers, or was not asked yet.
    pub fn store_away_since(&self) -> Option<WallTime> {
        let since = self.health.store().get().away_since?;
        Some(WallTime(self.clock.wall_offset().to_wall(since)))
    }

    /// From now on calls are answered. A second time changes nothing.
    pub fn load(&self, loaded: Loaded) {
        let engine = Arc::clone(&loaded.engine);
        // It fails only when there is one already, and that one serves.
        if self.loaded.set(loaded).is_ok()
            && let Err(error) = self.metrics.show_breakers(engine, Arc::clone(&self.clock))
        {
            tracing::error!(%error, "cannot add breakers to the metrics");
        }
    }
}
