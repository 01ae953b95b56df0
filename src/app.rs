//! What the edges stand on: the clock, and, once they are loaded, the engine and the store.

use std::sync::{Arc, OnceLock};

use crate::engine::{Clock, Engine};
use crate::metrics::Metrics;
use crate::replica::Coordinator;
use crate::store::Store;

/// The running service, as gRPC and HTTP see it.
pub struct App {
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// What is counted beside the breakers.
    pub metrics: Arc<Metrics>,
    loaded: OnceLock<Loaded>,
}

/// What is there once the store has been read.
pub struct Loaded {
    /// The breakers.
    pub engine: Arc<Engine>,
    /// Their history.
    pub store: Arc<dyn Store>,
    /// Agreement on probes.
    pub coordinator: Arc<dyn Coordinator>,
}

impl App {
    /// Nothing is loaded yet: listeners may stand, and say so.
    pub fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { clock, metrics, loaded: OnceLock::new() }
    }

    /// The engine and the store; none: they are not loaded yet.
    pub fn loaded(&self) -> Option<&Loaded> {
        self.loaded.get()
    }

    /// From now on calls are answered. A second time changes nothing.
    pub fn load(&self, loaded: Loaded) {
        // It fails only when there is one already, and that one serves.
        let _ = self.loaded.set(loaded);
    }
}
