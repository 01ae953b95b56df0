//! Overrides of whole services on more breakers than the journal has places: engine, journal and SQLite, all real.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, Numbering, Override, OverrideKind, Reason, Scope, State, Time, Verdict};
use breakerd::catalog::Catalog;
use breakerd::catalog::Declaration;
use breakerd::engine::{Engine, Limits, Seals, StoreIdentity};
use breakerd::journal::Journal;
use breakerd::journal::writer::Writer;
use breakerd::override_reconciler::{apply_service_override, reconcile_overrides};
use breakerd::store::{Store, TransitionQuery};
use breakerd_common::clock::{Clock, ManualClock};
use tokio_util::sync::CancellationToken;

use crate::support::{Bed, journal};

/// What the journal may take on disk: far less than a transition of each breaker does.
const BYTES_MAX: u64 = 1024 * 1024;
/// Breakers whose transitions take more than half of that.
const SEVERAL: usize = 4_096;
const BREAKERS: usize = 20_000;
const START: Time = Time::from_micros(1_700_000_000_000_000);

struct World {
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = journal(folder.path(), BYTES_MAX);
        let limits = Limits {
            breakers_max: BREAKERS,
            breakers_per_service_max: BREAKERS,
            breakers_per_caller_max: BREAKERS,
            own_series_max: 10,
            idle_ttl: Duration::from_hours(1),
        };
        let standing =
            StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
        let declaration = Declaration { enabled: true, ..Declaration::default() };
        let catalog = Arc::new(Catalog::new(&declaration, 0, &std::collections::BTreeMap::new()).unwrap());
        let sink = Box::new(Arc::clone(&journal));
        let engine = Arc::new(Engine::new(limits, standing, &catalog, sink, START));
        Self { engine, journal, clock: Arc::new(ManualClock::new(START)), _folder: folder }
    }

    async fn put(&self, set: Option<Override>) -> usize {
        self.engine.note_service_overrides(set.map(|set| ("db".to_owned(), set.into())), START);
        apply_service_override(&self.engine, &self.journal, &self.clock, "db", ann()).await.changed
    }
}

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "done".to_owned() }
}

fn forced_open() -> Override {
    Override {
        kind: OverrideKind::ForcedOpen,
        scope: Scope::Service,
        expires_at: None,
        ttl: None,
        actor: "ann".to_owned(),
        reason: "its disks are being changed".to_owned(),
    }
}

/// The names of the breakers in the history that went `to` for `reason`; each row must be another breaker's.
async fn told(store: &dyn Store, to: State, reason: Reason) -> BTreeSet<String> {
    let (mut names, mut after) = (BTreeSet::new(), None);
    loop {
        let query = TransitionQuery { to: vec![to], after, limit: 1_000, ..TransitionQuery::default() };
        let page = store.transitions(&query).await.unwrap();
        let Some(last) = page.last() else { return names };
        after = Some(last.cursor);
        for row in page.iter().filter(|row| row.reason == reason) {
            assert!(names.insert(row.key.name().to_string()), "{} twice", row.key);
        }
    }
}

#[tokio::test]
async fn an_override_of_more_breakers_than_the_journal_has_places_loses_no_row_of_the_history() {
    let bed = Bed::sqlite().await;
    let world = World::new();
    for index in 0..BREAKERS {
        world.engine.allow("db", &index.to_string(), START).unwrap();
    }
    let stop = CancellationToken::new();
    let writer = Writer::new(Arc::clone(&world.journal), bed.store.clone());
    let writer = tokio::spawn(writer.run(stop.clone()));

    assert_eq!(world.put(Some(forced_open())).await, BREAKERS);
    for index in [0, BREAKERS / 2, BREAKERS - 1] {
        let decided = world.engine.allow("db", &index.to_string(), START).unwrap().decision;
        assert_eq!(decided.verdict, Verdict::ForcedOpen);
    }
    assert_eq!(world.put(None).await, BREAKERS);
    assert_eq!(
        reconcile_overrides(&world.engine, &world.journal, &world.clock).await,
        0,
        "nothing was left undone"
    );
    world.journal.emptied().await;
    assert_eq!(world.journal.stats(START).dropped, 0);
    stop.cancel();
    writer.await.unwrap();
    let store = &*bed.store;
    assert_eq!(told(store, State::ForcedOpen, Reason::OverrideSet).await.len(), BREAKERS);
    assert_eq!(told(store, State::Closed, Reason::OverrideCleared).await.len(), BREAKERS);
    bed.end().await;
}

#[tokio::test]
async fn a_walk_waits_for_a_store_that_is_away_and_goes_on_when_it_is_back() {
    let bed = Bed::sqlite().await;
    let world = World::new();
    for index in 0..SEVERAL {
        world.engine.allow("db", &index.to_string(), START).unwrap();
    }
    let mut put = std::pin::pin!(world.put(Some(forced_open())));
    let waits = async {
        while world.journal.stats(START).depth_bytes <= BYTES_MAX / 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut put => panic!("the journal cannot take it all"),
        () = waits => {}
    }
    assert!(futures_util::poll!(&mut put).is_pending());
    // A breaker that is born is under it already.
    let born = world.engine.allow("db", "born", START).unwrap().decision;
    assert_eq!(born.verdict, Verdict::ForcedOpen);

    let stop = CancellationToken::new();
    let writer = Writer::new(Arc::clone(&world.journal), bed.store.clone());
    let writer = tokio::spawn(writer.run(stop.clone()));
    assert_eq!(put.await, SEVERAL);
    world.journal.emptied().await;
    assert_eq!(world.journal.stats(START).dropped, 0);
    stop.cancel();
    writer.await.unwrap();
    assert_eq!(told(&*bed.store, State::ForcedOpen, Reason::OverrideSet).await.len(), SEVERAL);
    bed.end().await;
}
