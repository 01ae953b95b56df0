//! Assembles the components of a running breakerd: for the server, for tests that serve, for benchmarks.

use std::sync::Arc;

use breaker::Numbering;
use breakerd_common::clock::Clock;

use crate::app::Loaded;
use crate::control::{Configuration, Control};
use crate::engine::{Engine, Limits, Seals, StoreIdentity, TransitionSink};
use crate::feed::{FanOut, Feeds, StateFeed};
use crate::journal::Journal;
use crate::metrics::WatchMetrics;
use crate::permit_keys::PermitKeys;
use crate::replica::{Replica, Replication};
use crate::store::{Meta, SharedStore, Store};
use crate::traces::{Tracer, TracingSink};
use crate::transition_log::{self, TransitionLog};
use crate::webhook::{NotifyingSink, Webhooks};

/// What is there before it is put together: opened, read, and not running yet.
pub struct Parts {
    /// The one clock.
    pub clock: Arc<dyn Clock>,
    /// Where the history goes.
    pub store: Arc<dyn Store>,
    /// What the store is.
    pub meta: Meta,
    /// What is on its way to the store.
    pub journal: Arc<Journal>,
    /// The first configuration.
    pub configuration: Arc<Configuration>,
    /// Bounds of the breakers.
    pub limits: Limits,
    /// Random for each life of the process: which permits are its own.
    pub issuer: u64,
    /// The store once more, if other replicas write to it too; none: this process has it for itself.
    pub shared: Option<Arc<dyn SharedStore>>,
    /// Where streams are counted.
    pub watch: WatchMetrics,
    /// What makes spans; none: tracing is disabled.
    pub tracer: Option<Tracer>,
    /// Where transitions are posted; none: nowhere.
    pub webhooks: Option<Arc<Webhooks>>,
}

/// What runs. Breakers are those that the configuration names, until others are restored or called.
pub struct Runtime {
    /// What transports work with.
    pub loaded: Loaded,
    /// The lines of transitions, for the task that writes them.
    pub transition_log: Arc<TransitionLog>,
    /// What runs where other replicas write to the store too.
    pub replication: Option<Replication>,
}

impl Runtime {
    /// Assembles it. A transition goes from the engine to its span, the webhooks, the log, the journal and the streams.
    pub fn assemble(parts: Parts) -> Self {
        let Parts {
            clock,
            store,
            meta,
            journal,
            configuration,
            limits,
            issuer,
            shared,
            watch,
            tracer,
            webhooks,
        } = parts;
        let identity = StoreIdentity {
            seals: Seals::new(&meta.id_key),
            timeline: meta.timeline,
            issuer,
            numbering: if shared.is_some() { Numbering::Store } else { Numbering::Own },
        };
        let states = Arc::new(StateFeed::default());
        let sink = FanOut { journal: Arc::clone(&journal), states: Arc::clone(&states) };
        let (sink, transition_log) = transition_log::logging(sink, Arc::clone(&clock));
        let webhooks = webhooks.unwrap_or_else(|| Arc::new(Webhooks::none(Arc::clone(&clock))));
        let sink = NotifyingSink::new(sink, webhooks);
        let sink: Box<dyn TransitionSink> = match tracer {
            Some(tracer) => Box::new(TracingSink::new(sink, tracer)),
            None => Box::new(sink),
        };
        let engine = Arc::new(Engine::new(limits, identity, &Arc::default(), sink, clock.now()));
        engine.note_wall_offset(clock.wall_offset(), clock.now());
        // The overrides first: the breakers that the catalog names are created in them.
        engine.note_service_overrides(configuration.engine_overrides(), clock.now());
        engine.apply(configuration.catalog(), clock.now());
        let permit_keys = Arc::new(PermitKeys::new(
            engine.seals().clone(),
            store.clone(),
            Arc::clone(&clock),
            shared.is_some(),
        ));
        let replication = shared.map(|shared| {
            let (engine, clock) = (Arc::clone(&engine), Arc::clone(&clock));
            Replication::new(engine, shared, clock, Arc::clone(&journal), issuer)
        });
        let replica = replication
            .as_ref()
            .map_or_else(|| Replica::lone(Arc::clone(&engine), Arc::clone(&clock)), Replication::replica);
        let control =
            Control::new(store.clone(), Arc::clone(&engine), clock, Arc::clone(&journal), configuration);
        let feeds = Feeds::new(states, Arc::clone(&store), &meta, watch);
        let loaded = Loaded { engine, store, journal, presence: None, replica, permit_keys, control, feeds };
        Self { loaded, transition_log: Arc::new(transition_log), replication }
    }
}
