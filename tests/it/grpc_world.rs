//! A breakerd of real parts behind a real socket: engine, SQLite, gRPC; only the clock stands still until told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use breaker::{Field, Layer, Time, Value};
use breakerd::app::App;
use breakerd::auth::TransportSecurity;
use breakerd::catalog::Declaration;
use breakerd::config::Settings;
use breakerd::control::first_configuration;
use breakerd::engine::{Limits as EngineLimits, Seals};
use breakerd::grpc::{EnvoySettings, GrpcServices, Limits, serve};
use breakerd::health::Health;
use breakerd::journal::Journal;
use breakerd::journal::writer::Writer;
use breakerd::listener::Drained;
use breakerd::metrics::{DroppedSpans, MeteredStore, Metrics, StoreOperations};
use breakerd::runtime::{Parts, Runtime};
use breakerd::store::{SharedStore, Store, Target, open};
use breakerd::traces::{SpanQueue, StoreSystem, Tracer};
use breakerd::webhook::Webhooks;
use breakerd_api::v1;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_common::clock::ManualClock;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::support::journal;

/// Breakers that fit.
pub(crate) const BREAKERS_MAX: usize = 300;
/// When the clock stands still at first.
pub(crate) const START: Time = Time::from_micros(1_700_000_000_000_000);

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) app: Arc<App>,
    pub(crate) grpc: GrpcServices,
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: JoinHandle<Drained>,
    writer: OnceLock<(JoinHandle<()>, CancellationToken)>,
    journal: Arc<Journal>,
    breakers_max: usize,
    breakers_per_caller_max: usize,
    /// Where transitions are posted, once it is loaded.
    pub(crate) webhooks: Option<Arc<Webhooks>>,
    _folder: TempDir,
}

impl World {
    /// Loaded and serving.
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), None).await
    }

    /// Loaded and serving, where each caller may have so many breakers.
    pub(crate) async fn with_caller_share(breakers_max: usize) -> Self {
        let mut world = Self::unloaded(Limits::default()).await;
        world.breakers_per_caller_max = breakers_max;
        world.load(None).await;
        world
    }

    /// Loaded and serving, with room for so many breakers.
    pub(crate) async fn with_room(breakers_max: usize) -> Self {
        let mut world = Self::unloaded(Limits::default()).await;
        world.breakers_max = breakers_max;
        world.breakers_per_caller_max = breakers_max;
        world.load(None).await;
        world
    }

    pub(crate) async fn with(limits: Limits, shared: Option<Arc<dyn SharedStore>>) -> Self {
        let world = Self::unloaded(limits).await;
        world.load(shared).await;
        world
    }

    /// Loaded and serving, with spans of what has no caller that decides, or of none of that, and the queue of so many of them.
    pub(crate) async fn traced(roots_per_million: u32, queue_max: usize) -> (Self, SpanQueue) {
        let (world, queue) = Self::unloaded_traced(roots_per_million, queue_max).await;
        world.load(None).await;
        (world, queue)
    }

    /// As [`World::traced`], with nothing loaded.
    pub(crate) async fn unloaded_traced(roots_per_million: u32, queue_max: usize) -> (Self, SpanQueue) {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(folder.path().join("breakerd.db"));
        let (clock, metrics) = (ManualClock::new(START), Arc::new(Metrics::default()));
        let dropped = metrics.tracing.dropped(DroppedSpans::QueueFull);
        let (tracer, queue) =
            Tracer::new(roots_per_million, queue_max, StoreSystem::Sqlite, Arc::new(clock.clone()), dropped);
        let app = App::new(Arc::new(clock.clone()), metrics, Health::new(Duration::from_secs(30)));
        let app = Arc::new(app.traced(Some(tracer)));
        let world = Self::unloaded_with(
            &target,
            folder,
            TransportSecurity::disabled(),
            Limits::default(),
            clock,
            app,
        );
        (world.await, queue)
    }

    /// Loaded and serving, behind authentication.
    pub(crate) async fn with_security(security: TransportSecurity, limits: Limits) -> Self {
        let world = Self::unloaded_behind(security, limits).await;
        world.load(None).await;
        world
    }

    /// Loaded and serving, behind authentication, on a store that nobody else has open.
    pub(crate) async fn on(target: &Target, security: TransportSecurity) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self::unloaded_on(target, folder, security, Limits::default()).await;
        world.load(None).await;
        world
    }

    /// Serving, and nothing loaded.
    pub(crate) async fn unloaded(limits: Limits) -> Self {
        Self::unloaded_behind(TransportSecurity::disabled(), limits).await
    }

    async fn unloaded_behind(security: TransportSecurity, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::Sqlite(folder.path().join("breakerd.db"));
        Self::unloaded_on(&target, folder, security, limits).await
    }

    async fn unloaded_on(
        target: &Target,
        folder: TempDir,
        security: TransportSecurity,
        limits: Limits,
    ) -> Self {
        let clock = ManualClock::new(START);
        let app = Arc::new(App::new(
            Arc::new(clock.clone()),
            Arc::new(Metrics::default()),
            Health::new(Duration::from_secs(30)),
        ));
        Self::unloaded_with(target, folder, security, limits, clock, app).await
    }

    async fn unloaded_with(
        target: &Target,
        folder: TempDir,
        security: TransportSecurity,
        limits: Limits,
        clock: ManualClock,
        app: Arc<App>,
    ) -> Self {
        let mut store = open(target).await.unwrap();
        if app.tracer.is_some() {
            let operations = StoreOperations::new(
                app.metrics.store.clone(),
                Arc::clone(app.health.store()),
                Arc::clone(&app.clock),
            );
            store = Arc::new(MeteredStore::new(store, operations.traced(app.tracer.clone())));
        }
        let settings = Settings { envoy_enabled: true, ..Settings::default() };
        let envoy = EnvoySettings::of(&settings);
        let grpc = GrpcServices::with_security(security, Arc::clone(&app), limits, envoy).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(grpc.clone(), listener, shutdown.clone()));
        let (journal, _) = journal(&folder.path().join("journal"), 8 << 20);
        let writer = OnceLock::new();
        let breakers_max = BREAKERS_MAX;
        Self {
            clock,
            app,
            grpc,
            address,
            store,
            shutdown,
            served,
            writer,
            journal,
            breakers_max,
            breakers_per_caller_max: breakers_max,
            webhooks: None,
            _folder: folder,
        }
    }

    pub(crate) async fn load(&self, shared: Option<Arc<dyn SharedStore>>) {
        let meta = self.store.meta().await.unwrap();
        let limits = EngineLimits {
            breakers_max: self.breakers_max,
            breakers_per_service_max: self.breakers_max,
            breakers_per_caller_max: self.breakers_per_caller_max,
            own_series_max: BREAKERS_MAX,
            idle_ttl: Duration::from_hours(1),
        };
        let seals = Seals::new(&meta.id_key);
        let configuration = first_configuration(&*self.store, &seals, Some(&declaration())).await.unwrap();
        let parts = Parts {
            clock: Arc::new(self.clock.clone()),
            store: Arc::clone(&self.store),
            meta,
            journal: Arc::clone(&self.journal),
            configuration,
            limits,
            issuer: 1,
            shared,
            watch: self.app.metrics.watch.clone(),
            tracer: self.app.tracer.clone(),
            webhooks: self.webhooks.clone(),
        };
        self.app.load(Runtime::assemble(parts).loaded);
        self.grpc.health().loaded();
    }

    /// From now on what the engine says goes to the store by itself.
    pub(crate) fn keep_writing(&self) {
        self.writer.get_or_init(|| {
            let stop = CancellationToken::new();
            let writer = Writer::new(Arc::clone(&self.journal), self.store.clone());
            (tokio::spawn(writer.run(stop.clone())), stop)
        });
    }

    /// Ends when the store has what the engine said.
    pub(crate) async fn write_behind(&self) {
        self.keep_writing();
        self.journal.emptied().await;
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn breakers(&self) -> BreakerServiceClient<Channel> {
        BreakerServiceClient::new(self.channel().await)
    }

    pub(crate) async fn configs(&self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.channel().await)
    }

    pub(crate) async fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel().await)
    }

    /// Ends the server; everything must have been answered by then.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        assert_eq!(self.served.await.unwrap(), Drained::Whole);
        if let Some((writer, stop)) = self.writer.into_inner() {
            stop.cancel();
            writer.await.unwrap();
        }
        self.store.close().await;
    }
}

/// `sentinel` opens after three failures for two minutes; everything else as built in.
fn declaration() -> Declaration {
    let mut sentinel = Layer::default();
    sentinel.set(Field::FailureThreshold, Value::Count(3)).unwrap();
    sentinel.set(Field::Timeout, Value::Duration(Duration::from_mins(2))).unwrap();
    Declaration {
        generation: None,
        enabled: true,
        defaults: Layer::default(),
        services: BTreeMap::from([("sentinel".to_owned(), sentinel)]),
    }
}

pub(crate) fn ask(service: &str, name: &str) -> v1::AllowRequestRequest {
    v1::AllowRequestRequest { service: service.into(), name: name.into(), caller: String::new() }
}

pub(crate) fn report(permit: &v1::AllowRequestResponse, outcome: v1::Outcome) -> v1::RecordOutcomeRequest {
    v1::RecordOutcomeRequest {
        permit: permit.permit.clone(),
        outcome: outcome as i32,
        ..v1::RecordOutcomeRequest::default()
    }
}

/// Fails `service` until it is open.
pub(crate) async fn trip(client: &mut BreakerServiceClient<Channel>, service: &str, name: &str) {
    for _ in 0..5 {
        let allowed = client.allow_request(ask(service, name)).await.unwrap().into_inner();
        if allowed.allowed {
            client.record_outcome(report(&allowed, v1::Outcome::Failure)).await.unwrap();
        }
    }
    let denied = client.allow_request(ask(service, name)).await.unwrap().into_inner();
    assert_eq!(denied.state(), v1::State::Open);
}
