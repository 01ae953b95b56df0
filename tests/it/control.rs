//! How a change of configuration is made: engine, journal and SQLite, all real; only the wire to the store can be cut.

mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use breaker::{Attribution, Field, Layer, OverrideKind, State, Time, Value};
use breakerd::app::Loaded;
use breakerd::control::{
    Configuration, Control, ControlError, LayerChange, Update, Updated, first_configuration,
};
use breakerd::engine::{Creator, Engine, Limits, Seals, Unknown};
use breakerd::journal::Journal;
use breakerd::metrics::Metrics;
use breakerd::runtime::{Parts, Runtime};
use breakerd::store::{ConfigEdit, ConfigWrite, RequestId, ServiceOverride, StoreError};
use breakerd_common::clock::ManualClock;
use futures_util::poll;
use tokio::sync::Semaphore;

use self::wire::Wire;
use crate::process::PATIENCE;
use crate::support::{Bed, journal};

const START: Time = Time::from_micros(1_700_000_000_000_000);
/// What the journal may take on disk.
const JOURNAL_BYTES_MAX: u64 = 32 * 1024;
/// Breakers whose transitions take more than half of that.
const SEVERAL: usize = 100;

struct World {
    bed: Bed,
    wire: Arc<Wire>,
    engine: Arc<Engine>,
    control: Arc<Control>,
    clock: ManualClock,
    journal: Arc<Journal>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let bed = Bed::sqlite().await;
        let wire = Arc::new(Wire {
            store: Arc::clone(&bed.store),
            is_cut: AtomicBool::new(false),
            loses_next: AtomicBool::new(false),
            gate: Semaphore::new(1),
            at_gate: AtomicU32::new(0),
            reads: AtomicU32::new(0),
        });
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = journal(folder.path(), JOURNAL_BYTES_MAX);
        let limits = Limits {
            breakers_max: 200,
            breakers_per_service_max: 200,
            breakers_per_caller_max: 200,
            own_series_max: 10,
            idle_ttl: Duration::from_hours(1),
        };
        let seals = Seals::new(&[7; 16]);
        let configuration = first_configuration(&*bed.store, &seals, None).await.unwrap();
        let clock = ManualClock::new(START);
        let runtime = Runtime::assemble(Parts {
            clock: Arc::new(clock.clone()),
            store: wire.clone(),
            meta: bed.store.meta().await.unwrap(),
            journal: Arc::clone(&journal),
            configuration,
            limits,
            issuer: 1,
            shared: None,
            watch: Metrics::default().watch.clone(),
            tracer: None,
            webhooks: None,
        });
        let Loaded { engine, control, .. } = runtime.loaded;
        Self { bed, wire, engine, control, clock, journal, _folder: folder }
    }

    async fn set(&self, service: &str, failures: u32) -> Result<Updated, ControlError> {
        self.control.update(update(service, failures)).await
    }

    fn cut(&self, is_cut: bool) {
        self.wire.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// Ends when `count` writes have come as far as the gate.
    async fn at_gate(&self, count: u32) {
        while self.wire.at_gate.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    /// What the store has been told to be set.
    async fn stored(&self) -> Vec<(String, Layer)> {
        self.bed.store.configuration().await.unwrap().set.into_iter().collect()
    }

    async fn end(self) {
        self.control.finished().await;
        self.bed.end().await;
    }
}

fn failures(count: u32) -> Layer {
    Layer::default().with(Field::FailureThreshold, Value::Count(count)).unwrap()
}

fn update(service: &str, count: u32) -> Update {
    Update {
        service: service.to_owned(),
        change: LayerChange::Whole(failures(count)),
        etag: None,
        must_exist: false,
        validate_only: false,
        request: None,
        attribution: ann(),
    }
}

fn under_id(update: Update, id: &str, digest: u64) -> Update {
    Update { request: Some(RequestId { id: id.to_owned(), digest }), ..update }
}

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() }
}

fn forced_open() -> ServiceOverride {
    ServiceOverride {
        kind: OverrideKind::ForcedOpen,
        expires_at: None,
        ttl: None,
        attribution: ann(),
        set_at: Time::ZERO,
        revision: 0,
    }
}

fn is_away(result: &Result<Updated, ControlError>) {
    assert!(matches!(result, Err(ControlError::Store(StoreError::Unavailable { .. }))), "{result:?}");
}

#[tokio::test]
async fn what_the_store_took_without_saying_so_is_taken_over_when_it_answers() {
    let world = World::new().await;
    let keeping_up = tokio::spawn({
        let control = Arc::clone(&world.control);
        async move { control.run_reload().await }
    });
    let mut published = world.control.watch();
    world.engine.allow("orders", "", START).unwrap();
    world.wire.loses_next.store(true, Ordering::SeqCst);
    is_away(&world.set("orders", 9).await);
    assert_eq!(world.control.configuration().revision(), 0);
    world.cut(true);
    for _ in 0..20 {
        is_away(&world.set("orders", 7).await);
    }
    world.clock.advance(Duration::from_secs(1));
    world.cut(false);
    // One that is already on its way may find the store still away, and asks again.
    while !published.has_changed().unwrap() {
        world.clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    let taken_over = published.borrow_and_update().clone();
    assert_eq!((taken_over.revision(), taken_over.service("orders").set), (1, failures(9)));
    let view = world.engine.view("orders", "", START).unwrap();
    assert_eq!((view.thresholds.failure_threshold(), view.config_revision), (9, 1));

    // However many writes failed, one asks for all of them; and what came meanwhile asks once more.
    world.set("orders", 8).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    world.set("orders", 7).await.unwrap();
    assert!(world.wire.reads.load(Ordering::SeqCst) <= 2);
    keeping_up.abort();
    world.end().await;
}

#[tokio::test]
async fn who_asks_again_after_a_lost_answer_is_told_what_the_store_has() {
    let world = World::new().await;
    let first = under_id(update("orders", 9), "one", 1);
    world.wire.loses_next.store(true, Ordering::SeqCst);
    is_away(&world.control.update(first.clone()).await);
    let again = world.control.update(first).await.unwrap();
    assert_eq!((again.changed, again.config.set), (false, failures(9)));
    world.end().await;
}

#[tokio::test]
async fn what_was_made_without_an_answer_can_be_taken_back_at_once() {
    let world = World::new().await;
    world.wire.loses_next.store(true, Ordering::SeqCst);
    is_away(&world.set("orders", 9).await);
    let nothing = Update { change: LayerChange::Whole(Layer::default()), ..update("orders", 0) };
    assert!(world.control.update(nothing).await.unwrap().changed, "as far as is known here, nothing was set");
    assert_eq!(world.stored().await, []);

    world.wire.loses_next.store(true, Ordering::SeqCst);
    let set = world.control.set_override("db", Some(forced_open()), ann()).await;
    assert!(matches!(set, Err(ControlError::Store(_))), "{set:?}");
    world.control.set_override("db", None, ann()).await.unwrap();
    assert!(world.bed.store.configuration().await.unwrap().overrides.is_empty());
    world.end().await;
}

#[tokio::test]
async fn whoever_goes_away_before_its_turn_has_changed_nothing() {
    let world = World::new().await;
    let gate = world.wire.gate.acquire().await.unwrap();
    let mut first = Box::pin(world.set("first", 3));
    assert!(poll!(&mut first).is_pending());
    world.at_gate(1).await;
    let mut second = Box::pin(world.set("second", 3));
    assert!(poll!(&mut second).is_pending());
    drop(second);
    drop(gate);
    assert!(first.await.unwrap().changed);
    world.control.finished().await;
    assert_eq!(world.stored().await, [("first".to_owned(), failures(3))]);
    assert_eq!(world.wire.at_gate.load(Ordering::SeqCst), 1);
    world.end().await;
}

#[tokio::test]
async fn a_change_that_has_its_turn_is_finished_though_nobody_waits_for_it() {
    let world = World::new().await;
    let gate = world.wire.gate.acquire().await.unwrap();
    let mut change = Box::pin(world.set("orders", 3));
    assert!(poll!(&mut change).is_pending());
    world.at_gate(1).await;
    drop(change);
    drop(gate);
    world.control.finished().await;
    assert_eq!(world.control.configuration().service("orders").set, failures(3));
    assert_eq!(world.stored().await, [("orders".to_owned(), failures(3))]);
    world.end().await;
}

#[tokio::test]
async fn a_change_is_planned_again_on_what_came_between() {
    let world = World::new().await;
    world.engine.allow("db", "", START).unwrap();
    // Another process changes thresholds and an override.
    let elsewhere = |based_on, edit, service: &str| {
        let touched = [service.to_owned()].into();
        let write =
            ConfigWrite { based_on, edit, touched, attribution: ann(), request: None, waits: &|_, _| None };
        let store = Arc::clone(&world.bed.store);
        async move { store.write_config(&write).await.unwrap() }
    };
    elsewhere(0, ConfigEdit::Thresholds { service: "orders".to_owned(), layer: failures(4) }, "orders").await;
    elsewhere(
        1,
        ConfigEdit::Override { service: "db".to_owned(), set: Some(forced_open()), not_before: None },
        "db",
    )
    .await;
    let wait = Layer::default().with(Field::SuccessThreshold, Value::Count(3)).unwrap();
    let change = LayerChange::Fields(vec![(Field::SuccessThreshold, Some(Value::Count(3)))]);
    let done = world.control.update(Update { change, ..update("orders", 0) }).await.unwrap();
    let both = failures(4).with(Field::SuccessThreshold, wait.get(Field::SuccessThreshold).unwrap().clone());
    assert_eq!(done.config.set, both.unwrap());
    assert_eq!(world.control.configuration().revision(), 3);
    // The override that came along is told to the breakers that there are.
    world.control.reconcile_due().await;
    world.control.reconcile_overrides().await;
    assert_eq!(world.engine.view("db", "", START).unwrap().state, State::ForcedOpen);
    world.end().await;
}

/// The start reads the configuration long before it follows what other replicas change.
#[tokio::test]
async fn what_another_replica_changed_during_a_start_is_taken_over_and_not_undone() {
    let world = World::new().await;
    world.engine.allow("db", "", START).unwrap();
    let edit = ConfigEdit::Override { service: "db".to_owned(), set: Some(forced_open()), not_before: None };
    let touched = ["db".to_owned()].into();
    let write =
        ConfigWrite { based_on: 0, edit, touched, attribution: ann(), request: None, waits: &|_, _| None };
    world.bed.store.write_config(&write).await.unwrap();
    let newest = tokio::sync::watch::Sender::new(1);
    world.control.follow(newest.subscribe());
    world
        .engine
        .set_override(Creator::Server, Unknown::Create, "db", "", forced_open().as_override(), START)
        .unwrap();
    world.control.reconcile_overrides().await;
    let state = || world.engine.view("db", "", START).unwrap().state;
    assert_eq!(state(), State::ForcedOpen, "the override that is not known here yet was undone");

    let following = Arc::clone(&world.control);
    let following = tokio::spawn(async move { following.run_follow().await });
    let taken_over = tokio::time::timeout(PATIENCE, world.control.reconcile_due());
    taken_over.await.expect("the configuration is taken over");
    assert_eq!(world.control.configuration().revision(), 1);
    world.control.reconcile_overrides().await;
    assert_eq!(state(), State::ForcedOpen);
    following.abort();
    world.end().await;
}

#[tokio::test]
async fn a_request_that_comes_again_is_answered_before_anything_else_is_looked_at() {
    let world = World::new().await;
    let first = under_id(Update { etag: Some(etag(&world, "orders")), ..update("orders", 9) }, "one", 1);
    assert!(world.control.update(first.clone()).await.unwrap().changed);
    // Meanwhile somebody sets what the first contradicts.
    let contradicting = Layer::default()
        .with(Field::PermittedCalls, Value::Count(2))
        .and_then(|layer| layer.with(Field::SuccessThreshold, Value::Count(2)))
        .unwrap();
    let other = Update { change: LayerChange::Whole(contradicting.clone()), ..update("orders", 0) };
    world.control.update(other).await.unwrap();
    let again = world.control.update(first.clone()).await.unwrap();
    assert_eq!((again.changed, again.config.set), (false, contradicting.clone()));
    let fields = vec![(Field::SuccessThreshold, Some(Value::Count(9)))];
    let wrong = Update { change: LayerChange::Fields(fields), ..first.clone() };
    assert!(!world.control.update(wrong).await.unwrap().changed, "it would contradict, were it looked at");
    let reused = under_id(first, "one", 2);
    assert!(matches!(world.control.update(reused).await, Err(ControlError::RequestReused)));

    // What changed nothing is not made later either.
    let equal = Update { change: LayerChange::Whole(contradicting), ..update("orders", 0) };
    let equal = under_id(equal, "two", 3);
    assert!(!world.control.update(equal.clone()).await.unwrap().changed);
    world.set("orders", 5).await.unwrap();
    let again = world.control.update(equal).await.unwrap();
    assert_eq!((again.changed, again.config.set), (false, failures(5)));
    world.end().await;
}

fn etag(world: &World, service: &str) -> String {
    world.control.configuration().service(service).etag()
}

#[tokio::test]
async fn overrides_on_their_way_to_the_breakers_have_a_limit() {
    let world = World::new().await;
    // Nobody empties the journal, and the first override fills it.
    for index in 0..SEVERAL {
        world.engine.allow("full", &index.to_string(), START).unwrap();
    }
    let set = |service: String| {
        let control = Arc::clone(&world.control);
        tokio::spawn(async move { control.set_override(&service, Some(forced_open()), ann()).await })
    };
    let mut under_way = vec![set("full".to_owned())];
    while world.journal.stats(START).depth_bytes <= JOURNAL_BYTES_MAX / 2 {
        tokio::task::yield_now().await;
    }
    under_way.extend((1..16).map(|index| set(index.to_string())));
    let all = |present: &Arc<Configuration>| present.overrides().len() == 16;
    world.control.watch().wait_for(all).await.unwrap();
    let refused = world.control.set_override("one more", Some(forced_open()), ann()).await;
    assert!(matches!(refused, Err(ControlError::OverridesInProgress { max: 16 })), "{refused:?}");
    assert_eq!(world.bed.store.configuration().await.unwrap().overrides.len(), 16);
    for task in under_way {
        assert!(!task.is_finished());
        task.abort();
    }
    // Those that wait go on as soon as there is room; here nobody makes any, and the process ends.
    drop(world);
}
