//! The HTTP edge over a real listener and a real engine, with a clock and a store of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Outcome, Override, OverrideKind, Report, Scope, Snapshot, State, Time};
use breakerd::app::{App, Loaded};
use breakerd::auth::TransportSecurity;
use breakerd::catalog::Changed;
use breakerd::control::Configuration;
use breakerd::engine::{Engine, Limits, Target};
use breakerd::health::Health;
use breakerd::http;
use breakerd::metrics::{MeteredStore, Metrics, StoreOperations};
use breakerd::runtime::{Parts, Runtime};
use breakerd::store::{
    Answer, ChangeId, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, Store, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};
use breakerd_common::clock::{Clock, ManualClock};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::journal;

/// When every test begins.
pub(crate) const START_SECONDS: u64 = 1_000;
pub(crate) const IDLE_TTL: Duration = Duration::from_hours(1);
pub(crate) const JOURNAL_LAG_MAX: Duration = Duration::from_secs(30);

/// How long a page waits for its client to take some of it.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) app: Arc<App>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) database: Arc<Database>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<breakerd::listener::Drained>,
    client: reqwest::Client,
    loaded: Loaded,
    _folder: tempfile::TempDir,
}

pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Page {
    async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }
}

impl World {
    /// Everything is loaded, and room for ten breakers with series of their own.
    pub(crate) async fn loaded() -> Self {
        Self::with_own_series(10).await
    }

    pub(crate) async fn with_own_series(own_series_max: usize) -> Self {
        let world = Self::not_loaded(own_series_max, Duration::from_millis(100)).await;
        world.load();
        world
    }

    /// Everything is loaded, behind authentication.
    pub(crate) async fn with_security(security: TransportSecurity) -> Self {
        let world = Self::not_loaded_behind(security, 10, Duration::from_millis(100)).await;
        world.load();
        world
    }

    /// The listener stands, and nothing else.
    pub(crate) async fn not_loaded(own_series_max: usize, grace: Duration) -> Self {
        Self::not_loaded_behind(TransportSecurity::disabled(), own_series_max, grace).await
    }

    async fn not_loaded_behind(security: TransportSecurity, own_series_max: usize, grace: Duration) -> Self {
        let clock = ManualClock::new(Time::ZERO + Duration::from_secs(START_SECONDS));
        let limits = Limits {
            breakers_max: 10_000,
            breakers_per_service_max: 10_000,
            breakers_per_caller_max: 10_000,
            own_series_max,
            idle_ttl: IDLE_TTL,
        };
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let metrics = Arc::new(Metrics::default());
        let database = Arc::<Database>::default();
        let app = Arc::new(App::new(Arc::clone(&shared), metrics, Health::new(JOURNAL_LAG_MAX)));
        let (store_metrics, monitor) = (app.metrics.store.clone(), Arc::clone(app.health.store()));
        let operations = StoreOperations::new(store_metrics, monitor, Arc::clone(&shared));
        let store: Arc<dyn Store> =
            Arc::new(MeteredStore::new(Arc::clone(&database) as Arc<dyn Store>, operations));
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = journal(folder.path(), 1 << 20);
        let stored = StoredConfiguration { revision: 42, ..StoredConfiguration::default() };
        let runtime = Runtime::assemble(Parts {
            clock: shared,
            store: Arc::clone(&store),
            meta: Meta { store_id: 1, timeline: 1, id_key: [7; 16] },
            journal,
            configuration: Arc::new(Configuration::new(stored).unwrap()),
            limits,
            issuer: 1,
            shared: None,
            watch: app.metrics.watch.clone(),
            tracer: None,
            webhooks: None,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let timeouts = http::Timeouts { write: WRITE_TIMEOUT, grace };
        let server =
            tokio::spawn(http::serve(Arc::clone(&app), security, listener, shutdown.clone(), timeouts));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            clock,
            app,
            engine: Arc::clone(&runtime.loaded.engine),
            database,
            store,
            address,
            shutdown,
            server,
            client,
            loaded: runtime.loaded,
            _folder: folder,
        }
    }

    pub(crate) fn load(&self) {
        self.app.load(self.loaded.clone());
    }

    pub(crate) async fn ask(&self, method: reqwest::Method, path: &str) -> Page {
        let url = format!("http://{}{path}", self.address);
        Page::of(self.client.request(method, url).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Page {
        self.ask(reqwest::Method::GET, path).await
    }

    /// As whoever has this `authorization`.
    pub(crate) async fn get_as(&self, path: &str, authorization: Option<&[u8]>) -> Page {
        let mut request = self.client.get(format!("http://{}{path}", self.address));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        Page::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        let page = self.get("/metrics").await;
        assert_eq!(page.status, 200);
        Scrape(page.text)
    }

    /// A call that goes ahead, or is denied, and what became of it.
    pub(crate) fn call(&self, service: &str, name: &str, outcome: Outcome) {
        let now = self.clock.now();
        let allowed = self.engine.allow(service, name, now).unwrap();
        let Some(permit) = allowed.permit else { return };
        let target = Target { permit: Some(permit), service: "", name: "", epoch: None };
        let report = Report { duration: Some(Duration::from_millis(30)), ..Report::plain(outcome) };
        self.engine.record(target, &report, now).unwrap();
    }

    pub(crate) fn fail(&self, service: &str, name: &str, times: usize) {
        for _ in 0..times {
            self.call(service, name, Outcome::Failure);
        }
    }

    /// Puts a breaker in a state that an operator set.
    pub(crate) fn set(&self, service: &str, name: &str, kind: OverrideKind, expires_at: Option<Time>) {
        let snapshot = Snapshot {
            epoch: 1,
            state: State::from(kind),
            entered_at: self.clock.now(),
            set_by: Some(Override {
                kind,
                scope: Scope::Breaker,
                expires_at,
                ttl: None,
                actor: "ada".into(),
                reason: "drill".into(),
            }),
            ..Snapshot::pristine()
        };
        self.engine.restore(&Key::new(service, name).unwrap(), &snapshot, None, 0, self.clock.now());
    }
}

/// The text of a scrape.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    /// The value of a sample, named without the namespace.
    pub(crate) fn value(&self, sample: &str) -> Option<f64> {
        let sample = format!("llm_incident_manager_{sample} ");
        self.0.lines().find_map(|line| line.strip_prefix(&sample)).map(|value| value.parse().unwrap())
    }

    /// The samples that hold `text`.
    pub(crate) fn samples(&self, text: &str) -> Vec<&str> {
        self.0.lines().filter(|line| !line.starts_with('#') && line.contains(text)).collect()
    }
}

/// A store that holds nothing, and is away, or takes no writes, when told so.
#[derive(Default)]
pub(crate) struct Database {
    away: AtomicBool,
    read_only: AtomicBool,
}

impl Database {
    pub(crate) fn go_away(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    fn write<T>(&self, answer: T) -> Result<T, StoreError> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("write", "the database is away"));
        }
        self.answer(answer)
    }

    fn answer<T>(&self, answer: T) -> Result<T, StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("ask", "the database is away"));
        }
        Ok(answer)
    }
}

#[async_trait]
impl TransitionStore for Database {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        self.write(proposals.iter().map(|_| Answer::Won { epoch: 1, revision: 12 }).collect())
    }

    async fn breakers(&self, _: Option<&Key>, _: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        self.answer(Vec::new())
    }

    async fn transitions(&self, _: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        self.answer(Vec::new())
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        self.answer(0)
    }

    async fn prune(&self, _: Retention) -> Result<Pruned, StoreError> {
        self.answer(Pruned::default())
    }

    async fn breakers_without_history(
        &self,
        _: Time,
        _: Option<&Key>,
        _: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        self.answer(Vec::new())
    }

    async fn delete_breakers(&self, _: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.answer(Vec::new())
    }
}

#[async_trait]
impl ConfigStore for Database {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        self.answer(StoredConfiguration::default())
    }

    async fn write_config(&self, _: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        self.write(ConfigWritten::Written(Changed { revision: 11, at: Time::ZERO }))
    }

    async fn request(&self, _: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        self.answer(None)
    }

    async fn keep_request(&self, _: &RequestId) -> Result<(), StoreError> {
        self.write(())
    }

    async fn changes(&self, _: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        self.answer(Vec::new())
    }
}

#[async_trait]
impl TimelineStore for Database {
    async fn meta(&self) -> Result<Meta, StoreError> {
        self.answer(Meta { store_id: 1, timeline: 1, id_key: [7; 16] })
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.answer(10)
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        self.answer(Position {
            is_checked: true,
            timeline: 1,
            newest: ChangeId { revision: 10, nonce: 1 },
            nonce: (seen == 10).then_some(1),
        })
    }

    async fn renew_timeline(&self, _: u32, _: u32) -> Result<(), StoreError> {
        self.answer(())
    }
}

#[async_trait]
impl PermitKeyStore for Database {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        let age = Duration::from_secs(1);
        self.answer(vec![PermitKey { number: 1, secret: [7; 16], age, sealing_for: Some(age) }])
    }

    async fn add_permit_key(&self, _: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        self.write(PermitKeyAdded::Pending { number: 1 })
    }

    async fn advance_permit_keys(&self, _: u32) -> Result<(), StoreError> {
        self.write(())
    }
}

#[async_trait]
impl StoreAdmin for Database {
    async fn ping(&self) -> Result<(), StoreError> {
        self.answer(())
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.write(())
    }

    async fn close(&self) {}
}
