//! Overrides of a service that replicas bring to its breakers, and hear of at different times.

use breaker::{Attribution, OverrideKind, Reason};
use breakerd_common::clock::ManualClock;

use super::life::Life;
use super::*;
use crate::engine::NotedOverride;
use crate::replica::Replication;
use crate::store::{
    ConfigEdit, ConfigStore, ConfigWrite, ConfigWritten, MemoryStore, ServiceOverride, StoredTransition,
    TransitionQuery, TransitionStore,
};

/// A replica that carries to the store what it is told to, when it is told to.
struct Replica {
    engine: Arc<Engine>,
    replication: Replication,
    _folder: tempfile::TempDir,
}

impl Replica {
    fn new(name: &str, store: &Arc<MemoryStore>, clock: &ManualClock) -> Self {
        let Life { engine, journal, folder } = Life::new(name, 1, Arc::new(clock.clone()));
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let store = Arc::clone(store);
        let replication = Replication::new(Arc::clone(&engine), store, clock, journal, 1);
        Self { engine, replication, _folder: folder }
    }

    /// Takes note of what the configuration has.
    async fn note(&self, store: &MemoryStore) {
        let stored = store.configuration().await.unwrap();
        let noted = stored.overrides.into_iter().map(|(service, set)| {
            (service, NotedOverride { set_by: set.as_override(), revision: set.revision })
        });
        self.engine.note_service_overrides(noted, NOW);
    }

    fn walk(&self) {
        let by = Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
        let mut walk = self.engine.walk(Some("db"), by);
        while self.engine.walk_on(&mut walk, 10, NOW) {}
    }

    /// What it proposed goes to the store, and what is there comes here.
    async fn exchange(&self) {
        self.replication.catch_up(1).await.unwrap();
    }

    /// A call looks at the breaker.
    fn state(&self, name: &str) -> State {
        self.engine.allow("db", name, NOW).unwrap().decision.state
    }
}

async fn set(store: &MemoryStore, kind: Option<OverrideKind>) {
    let by = Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
    let set = kind.map(|kind| ServiceOverride {
        kind,
        expires_at: None,
        ttl: None,
        attribution: by.clone(),
        set_at: Time::ZERO,
        revision: 0,
    });
    let write = ConfigWrite {
        based_on: store.configuration().await.unwrap().revision,
        edit: ConfigEdit::Override { service: "db".to_owned(), set, not_before: None },
        touched: ["db".to_owned()].into(),
        attribution: by,
        request: None,
        waits: &|_, _| None,
    };
    assert!(matches!(store.write_config(&write).await.unwrap(), ConfigWritten::Written(_)));
}

async fn history(store: &MemoryStore) -> Vec<(State, State, Reason)> {
    let query = TransitionQuery { oldest_first: true, limit: 100, ..TransitionQuery::default() };
    let edge = |row: &StoredTransition| (row.from, row.to, row.reason);
    store.transitions(&query).await.unwrap().iter().map(edge).collect()
}

const SET: (State, State, Reason) = (State::Closed, State::Disabled, Reason::OverrideSet);
const CLEARED: (State, State, Reason) = (State::Disabled, State::Closed, Reason::OverrideCleared);

#[tokio::test]
async fn a_replica_that_has_not_heard_that_an_override_was_cleared_does_not_set_it_again() {
    let clock = ManualClock::new(NOW);
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
    let (here, there) = (Replica::new("here", &store, &clock), Replica::new("there", &store, &clock));
    for replica in [&here, &there] {
        assert_eq!((replica.state("x"), replica.state("y")), (State::Closed, State::Closed));
    }
    set(&store, Some(OverrideKind::Disabled)).await;
    for replica in [&here, &there] {
        replica.note(&store).await;
        replica.walk();
    }
    here.exchange().await;
    there.exchange().await;
    assert_eq!(history(&store).await, [SET, SET], "each breaker once, though both replicas brought it");
    set(&store, None).await;
    here.note(&store).await;
    here.walk();
    here.exchange().await;
    // Its breakers are closed, and it does not know why. It looks at them, and walks once more.
    there.exchange().await;
    assert_eq!((there.state("x"), there.state("y")), (State::Closed, State::Closed));
    there.walk();
    for _ in 0..3 {
        there.exchange().await;
        assert_eq!((there.state("x"), there.state("y")), (State::Closed, State::Closed));
    }
    assert_eq!(history(&store).await, [SET, SET, CLEARED, CLEARED]);
}

#[tokio::test]
async fn a_replica_that_has_not_heard_that_an_override_was_set_again_does_not_clear_it() {
    let clock = ManualClock::new(NOW);
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), 7));
    let (here, there) = (Replica::new("here", &store, &clock), Replica::new("there", &store, &clock));
    assert_eq!((here.state("x"), there.state("x")), (State::Closed, State::Closed));
    set(&store, Some(OverrideKind::Disabled)).await;
    for replica in [&here, &there] {
        replica.note(&store).await;
        replica.walk();
        replica.exchange().await;
    }
    set(&store, None).await;
    there.note(&store).await;
    set(&store, Some(OverrideKind::Disabled)).await;
    here.note(&store).await;
    here.walk();
    here.exchange().await;
    there.walk();
    there.exchange().await;
    assert_eq!((here.state("x"), there.state("x")), (State::Disabled, State::Disabled));
    assert_eq!(history(&store).await, [SET]);
}
